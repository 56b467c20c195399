"""Every format gives the signal that was written; every bad file gives one sentence with its name and the reason."""

import contextlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from iminet_viz.audio import (
    atomic_path,
    crest_db,
    find_audio,
    fit_length,
    load_audio,
    read_blocks,
    read_native,
    save_audio,
    split_windows,
)
from iminet_viz.errors import AudioError

# container, encoding, suffix, largest error of a sample (8 bits: half a step of 1/128)
LOSSLESS = [
    ("WAV", "PCM_U8", ".wav", 1 / 128),
    ("WAV", "PCM_16", ".wav", 1 / 2**15),
    ("WAV", "PCM_24", ".wav", 1 / 2**22),
    ("WAV", "PCM_32", ".wav", 1e-7),
    ("WAV", "FLOAT", ".wav", 1e-7),
    ("WAV", "DOUBLE", ".wav", 1e-7),
    ("WAVEX", "PCM_16", ".wav", 1 / 2**15),
    ("RF64", "PCM_16", ".wav", 1 / 2**15),
    ("FLAC", "PCM_16", ".flac", 1 / 2**15),
    ("FLAC", "PCM_24", ".flac", 1 / 2**22),
    ("AIFF", "PCM_16", ".aiff", 1 / 2**15),
    ("AIFF", "FLOAT", ".aif", 1e-7),
]
LOSSY = [("OGG", "VORBIS", ".ogg"), ("OGG", "OPUS", ".ogg"), ("MP3", "MPEG_LAYER_III", ".mp3")]


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of that size at a new folder, or skip the test."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def tone(rate: int, duration_s: float = 0.3, channels: int = 1) -> np.ndarray:
    """440 Hz, another level in each channel: ``(samples, channels)`` float64."""
    time = np.arange(round(rate * duration_s)) / rate
    return 0.8 * np.sin(2 * np.pi * 440 * time)[:, None] * np.linspace(1, 0.3, channels)


def noise(rate: int = 16_000, duration_s: float = 2.0) -> np.ndarray:
    return 0.3 * np.random.default_rng(0).uniform(-1, 1, round(rate * duration_s))


def write(path: Path, signal: np.ndarray, rate: int, container: str = "WAV", encoding: str = "PCM_16") -> Path:
    soundfile.write(path, signal, rate, format=container, subtype=encoding)
    return path


def refusal(path: Path) -> str:
    """The reason for which a file is refused; the message is one line that starts with the file."""
    with pytest.raises(AudioError) as caught:
        load_audio(path, 16_000)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
@pytest.mark.parametrize(("container", "encoding", "suffix", "error"), LOSSLESS)
def test_lossless_formats_give_the_mean_of_the_channels(tmp_path, container, encoding, suffix, error, rate, channels):
    signal = tone(rate, 0.05, channels)
    waveform, native_rate = read_native(write(tmp_path / f"a{suffix}", signal, rate, container, encoding))
    assert native_rate == rate
    assert waveform.dtype == np.float32
    np.testing.assert_allclose(waveform, signal.mean(axis=1), atol=error + 1e-7)


@pytest.mark.parametrize(
    ("container", "encoding", "suffix", "rate", "channels"),
    [(*lossy, rate, channels) for lossy in LOSSY for rate in (8_000, 48_000) for channels in (1, 2)]
    + [("OGG", "VORBIS", ".ogg", 44_100, 8), ("OGG", "VORBIS", ".ogg", 96_000, 1), (*LOSSY[2], 44_100, 2)],
)
def test_lossy_formats_keep_length_pitch_and_level(tmp_path, container, encoding, suffix, rate, channels):
    signal = tone(rate, 0.5, channels)
    waveform, native_rate = read_native(write(tmp_path / f"a{suffix}", signal, rate, container, encoding))
    assert (native_rate, len(waveform)) == (rate, len(signal))
    middle, expected = (x[len(x) // 4 : 3 * len(x) // 4] for x in (waveform, signal.mean(axis=1)))
    assert np.argmax(np.abs(np.fft.rfft(middle))) == np.argmax(np.abs(np.fft.rfft(expected)))
    assert np.std(middle) == pytest.approx(np.std(expected), rel=0.1)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000])
@pytest.mark.parametrize("wanted", [16_000, 44_100])
def test_resampling_keeps_the_tone_and_the_duration(tmp_path, rate, wanted):
    waveform = load_audio(write(tmp_path / "a.wav", tone(rate), rate, encoding="FLOAT"), wanted)
    expected = tone(wanted)[:, 0]
    assert abs(len(waveform) - len(expected)) <= 1
    assert waveform.flags.c_contiguous
    inner = slice(wanted // 20, len(expected) - wanted // 20)  # the filter rings at both ends
    np.testing.assert_allclose(waveform[inner], expected[inner], atol=1e-3)


@pytest.mark.parametrize(
    "name", ["with space.wav", "Ünï-日本語.wav", "new\nline.wav", "UPPER.WAV", "-dash.wav", "a" * 250 + ".wav"]
)
def test_any_name_is_written_and_read(tmp_path, name):
    save_audio(tmp_path / name, tone(16_000)[:, 0], 16_000)
    np.testing.assert_allclose(load_audio(tmp_path / name, 16_000), tone(16_000)[:, 0], atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
def test_a_name_that_is_not_unicode_is_read(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.wav"))
    try:
        path.write_bytes(write(tmp_path / "a.wav", tone(16_000), 16_000).read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert len(load_audio(path, 16_000)) == 4_800


def test_an_error_is_one_line_whatever_the_name(tmp_path):
    with pytest.raises(AudioError, match=r"new\\nline\.wav: no such file") as caught:
        load_audio(tmp_path / "new\nline.wav", 16_000)
    assert "\n" not in str(caught.value)


def test_bad_paths_are_refused_with_their_reason(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    assert refusal(tmp_path / "missing.wav") == "no such file"
    assert refusal(tmp_path / "folder.wav") == "is a folder, expected a sound file"
    assert refusal(tmp_path / "empty.wav") == "the file is empty (0 bytes)"
    assert "File name too long" in refusal(tmp_path / ("a" * 300 + ".wav"))


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "secret.wav", tone(16_000), 16_000)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads all

        def refuse(*args: object, **kwargs: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    assert refusal(path) == "cannot be read (Permission denied)"


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff"])
@pytest.mark.parametrize(
    "content", [b"this is not a sound\n" * 100, b"<html>404</html>", b"\x00" * 5_000, b"RIFF", b"OggS"]
)
def test_what_is_not_audio_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"text{suffix}"
    path.write_bytes(content)
    assert refusal(path).startswith(("cannot be decoded as audio (", "truncated (", "holds no samples"))
    assert "does not exist" not in refusal(path)  # libsndfile's reason for text named .mp3


@pytest.mark.parametrize("container", ["AU", "CAF", "W64"])
def test_containers_whose_end_we_cannot_check_are_refused(tmp_path, container):
    assert refusal(write(tmp_path / "a.wav", tone(16_000), 16_000, container)).startswith(
        f"holds {container}, expected"
    )


@pytest.mark.parametrize("kept", [-1, -2, 0.99, 0.9, 0.5, 0.1])
@pytest.mark.parametrize(
    ("container", "encoding", "suffix"), [case[:3] for case in LOSSLESS if case[1] != "DOUBLE"] + LOSSY
)
def test_truncated_files_are_refused(tmp_path, capfd, container, encoding, suffix, kept):
    path = write(tmp_path / f"a{suffix}", noise(), 16_000, container, encoding)
    whole = path.read_bytes()
    assert len(load_audio(path, 16_000)) == 32_000
    path.write_bytes(whole[: kept if kept < 0 else int(kept * len(whole))])
    reason = refusal(path)
    assert reason.startswith(("truncated (", "cannot be decoded as audio ("))
    capfd.readouterr()  # libmpg123 warns on its own


@pytest.mark.parametrize("encoding", ["VORBIS", "OPUS"])
def test_an_ogg_that_ends_with_a_whole_page_but_not_its_last_is_refused(tmp_path, encoding):
    path = write(tmp_path / "a.ogg", noise(duration_s=6.0), 16_000, "OGG", encoding)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"OggS")])
    assert refusal(path) == "truncated (the Ogg stream has no last page)"


@pytest.mark.parametrize("encoding", ["VORBIS", "OPUS"])
def test_damage_within_an_ogg_is_refused(tmp_path, encoding):
    path = write(tmp_path / "a.ogg", noise(duration_s=6.0), 16_000, "OGG", encoding)
    whole = path.read_bytes()
    pages = [match.start() for match in re.finditer(b"OggS", whole)]
    assert len(pages) > 4
    hole = bytearray(whole)
    hole[len(whole) // 2 : len(whole) // 2 + 4_096] = bytes(4_096)
    header = bytearray(whole)
    header[pages[3] : pages[3] + 4] = bytes(4)
    bit = bytearray(whole)
    bit[pages[3] + 200] ^= 1
    for content, words in (
        (hole, r"damaged \((the Ogg page at byte \d+ has not its checksum|there is no Ogg page at byte \d+)\)"),
        (header, rf"damaged \(there is no Ogg page at byte {pages[3]}\)"),
        (bit, rf"damaged \(the Ogg page at byte {pages[3]} has not its checksum\)"),
        (whole[: pages[3]] + whole[pages[4] :], rf"damaged \(an Ogg page before byte {pages[3]} is lost\)"),
    ):
        path.write_bytes(content)
        assert re.fullmatch(words, refusal(path))
    path.write_bytes(whole + b"TAG of another format")
    assert len(load_audio(path, 16_000)) == 96_000


def test_blocks_are_the_file(tmp_path):
    for container, encoding, suffix in [case[:3] for case in LOSSLESS] + LOSSY:
        path = write(tmp_path / f"a{suffix}", np.stack([noise(), 0.5 * noise()], axis=1), 16_000, container, encoding)
        blocks = list(read_blocks(path, 0.3))
        assert [len(block.waveform) for block in blocks] == [4_800] * 6 + [3_200]
        waveform, rate = read_native(path)
        # libmpg123 rounds otherwise
        np.testing.assert_allclose(np.concatenate([block.waveform for block in blocks]), waveform, 0, 1e-7)
        assert {(block.rate, block.channels) for block in blocks} == {(rate, 2)}
        loudest = np.abs(soundfile.read(path, dtype="float32")[0]).max()
        assert max(block.peak for block in blocks) == pytest.approx(loudest, abs=1e-7)


def test_a_hole_in_an_mp3_or_flac_is_refused(tmp_path, capfd):
    for container, encoding, suffix in (("FLAC", "PCM_16", ".flac"), ("MP3", "MPEG_LAYER_III", ".mp3")):
        path = write(tmp_path / f"a{suffix}", noise(), 16_000, container, encoding)
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 1_000] = bytes(1_000)
        path.write_bytes(content)
        assert refusal(path).startswith(("truncated (", "cannot be decoded as audio ("))
    capfd.readouterr()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_nan_and_infinity_are_refused(tmp_path, value, channels):
    signal = tone(16_000, channels=channels)
    signal[100, channels - 1] = value
    assert refusal(write(tmp_path / "a.wav", signal, 16_000, encoding="FLOAT")) == "holds NaN or infinite samples"


def test_channels_that_overflow_together_are_refused(tmp_path):
    path = write(tmp_path / "a.wav", np.full((4, 8), 3e38), 16_000, encoding="FLOAT")
    assert refusal(path) == "holds NaN or infinite samples"


@pytest.mark.parametrize("channels", [1, 2])
def test_absurd_samples_are_refused_and_whole_numbers_are_not(tmp_path, channels):
    signal = np.array([1, -1])[:channels] * np.full((4, channels), 1e18)  # two cancel out
    assert refusal(write(tmp_path / "a.wav", signal, 16_000, encoding="FLOAT")) == (
        "holds samples of 1.0e+18, expected at most 1e+12"
    )
    assert load_audio(write(tmp_path / "b.wav", np.full((4, 1), 2e9), 16_000, encoding="FLOAT"), 16_000).max() == 2e9


@pytest.mark.parametrize(("container", "suffix"), [("WAV", ".wav"), ("AIFF", ".aiff")])
def test_zero_length_is_refused(tmp_path, container, suffix):
    path = write(tmp_path / f"a{suffix}", np.zeros(0), 16_000, container)
    assert refusal(path) == "holds no samples (zero length)"


@pytest.mark.parametrize("rate", [100, 8_000, 16_000, 96_000])
def test_silence_and_one_sample_are_legal(tmp_path, rate):
    silence = load_audio(write(tmp_path / "silence.wav", np.zeros(rate), rate), 16_000)
    assert not silence.any()
    assert len(silence) == 16_000
    one = load_audio(write(tmp_path / "one.wav", np.ones(1) * 0.5, rate), 16_000)
    assert len(one) >= 1
    assert np.isfinite(one).all()


# FFmpeg; arecord; SoX (rounded down to whole samples)
@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF000, 0x7FFFEFFC])
def test_a_wav_written_into_a_pipe_is_read(tmp_path, length):
    path = write(tmp_path / "pipe.wav", tone(16_000), 16_000)
    content = bytearray(path.read_bytes())
    start = content.index(b"data") + 4
    content[start : start + 4] = struct.pack("<I", length)
    content[4:8] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)
    np.testing.assert_allclose(load_audio(path, 16_000), tone(16_000)[:, 0], atol=1e-4)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_what_is_saved_is_read_back(tmp_path, suffix):
    path = tmp_path / "new" / "folder" / f"a{suffix}"
    save_audio(path, tone(22_050)[:, 0], 22_050)
    waveform, rate = read_native(path)
    assert rate == 22_050
    assert soundfile.info(path).subtype == "PCM_16"
    np.testing.assert_allclose(waveform, tone(22_050)[:, 0], atol=1 / 2**15)


@pytest.mark.parametrize(
    ("name", "waveform", "reason"),
    [
        ("a.wav", np.full(9, 1.01), "clips"),
        ("a.wav", np.array([0, np.nan]), "NaN"),
        ("a.wav", np.array([0, np.inf]), "NaN or infinite"),
        ("a.wav", np.zeros((9, 2)), r"shape \(9, 2\)"),
        ("a.wav", np.zeros(0), r"shape \(0,\)"),
        ("a.mp3", np.zeros(9), "unknown suffix"),
        ("a", np.zeros(9), "unknown suffix"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_leaves_nothing(tmp_path, name, waveform, reason):
    with pytest.raises(AudioError, match=reason) as caught:
        save_audio(tmp_path / name, waveform, 16_000)
    assert str(tmp_path / name) in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (OSError(28, "No space left on device"), AudioError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failed_save_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch, error, shown):
    path = tmp_path / "a.wav"
    save_audio(path, tone(16_000)[:, 0], 16_000)
    before = path.read_bytes()

    write = Path.write_bytes

    def fail(file: Path, content: bytes) -> None:
        write(file, content[:20])
        raise error

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(shown, match=f"{path}: .*No space left on device" if shown is AudioError else None):
        save_audio(path, np.zeros(9), 16_000)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_an_audio_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "folder.wav").mkdir()
    for path in (tmp_path / "file" / "a.wav", tmp_path / "folder.wav"):
        with pytest.raises(AudioError, match="cannot be written"):
            save_audio(path, np.zeros(9), 16_000)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(AudioError, match="Read-only"):
        save_audio(tmp_path / "a.wav", np.zeros(9), 16_000)


def test_what_libsndfile_cannot_encode_is_an_audio_error(tmp_path):
    with pytest.raises(AudioError, match="cannot be written"):
        save_audio(tmp_path / "a.flac", np.zeros(9), 1_000_000)  # the most that FLAC can say is 655,350 Hz
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_really_full_disk(tmp_path, suffix):
    with small_disk(tmp_path / "disk", "32k") as disk:
        with pytest.raises(AudioError, match=rf"a{suffix}: cannot be written \(No space left on device\)"):
            save_audio(disk / f"a{suffix}", noise(), 16_000)
        assert not list(disk.iterdir())


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_comment_is_kept(tmp_path, suffix):
    save_audio(tmp_path / f"a{suffix}", np.zeros(9), 16_000, "ä said")
    with soundfile.SoundFile(tmp_path / f"a{suffix}") as file:
        assert file.comment == "ä said"


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_new_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "new") as path:
        path.write_text("x")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_find_audio_lists_sounds_sorted_without_the_hidden(tmp_path):
    for name in ("b.wav", "a.FLAC", "sub/c.ogg", ".hidden.wav", ".cache/d.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in find_audio(tmp_path)] == ["a.FLAC", "b.wav", "sub/c.ogg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match="no such folder"):
        find_audio(tmp_path / "missing")
    with pytest.raises(AudioError, match="no sound file"):
        find_audio(tmp_path / "empty")


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 25])
def test_fit_length_pads_or_cuts_at_the_end(length):
    waveform = np.arange(1, length + 1, dtype=np.float32)
    fitted = fit_length(waveform, 10)
    assert fitted.shape == (10,)
    assert fitted.dtype == np.float32
    np.testing.assert_array_equal(fitted[:length], waveform[:10])
    assert not fitted[length:].any()


@pytest.mark.parametrize("length", [1, 9, 10, 11, 14, 15, 20, 23, 100])
@pytest.mark.parametrize("hop", [1, 3, 5, 10, 12])
def test_split_windows_covers_the_waveform(length, hop):
    waveform = np.arange(1, length + 1, dtype=np.float32)  # a sample is its own position
    windows = split_windows(waveform, 10, hop)
    assert windows.shape[1] == 10
    assert windows.dtype == np.float32
    for window in windows:  # whole pieces of the waveform, zeros only behind its end
        piece = window[window > 0]
        np.testing.assert_array_equal(piece, np.arange(window[0], window[0] + len(piece)))
        assert len(piece) == min(10, length)
    starts = windows[:, 0].astype(int) - 1
    assert starts[0] == 0
    assert (starts[:-1] == np.arange(len(starts) - 1) * hop).all()
    assert starts[-1] == max(0, length - 10) or starts[-1] % hop == 0
    assert windows.max() == length  # the last sample is in
    if hop <= 10:
        assert set(windows[windows > 0].astype(int)) == set(range(1, length + 1))


@pytest.mark.parametrize(("samples", "hop"), [(0, 5), (5, 0), (5, -1)])
def test_split_windows_refuses_nonsense(samples, hop):
    with pytest.raises(AudioError, match="at least 1"):
        split_windows(np.zeros(20, np.float32), samples, hop)


def test_crest_of_known_signals():
    assert crest_db(tone(16_000, 1)[:, 0]) == pytest.approx(3.01, abs=0.01)
    assert crest_db(np.ones(10)) == pytest.approx(0)
    assert crest_db(np.eye(1, 1_000)[0]) == pytest.approx(30)
    assert crest_db(np.zeros(10)) == 0


def test_every_real_recording_set_is_read(data_folder):
    folders = sorted({path.parent for path in find_audio(data_folder)})
    for folder in folders[:: max(1, len(folders) // 40)]:
        waveform = load_audio(find_audio(folder)[0], 16_000)
        assert waveform.any()
        assert np.abs(waveform).max() < 2


def test_a_file_without_a_header_is_refused(tmp_path):
    (tmp_path / "x.raw").write_bytes(b"1234")
    with pytest.raises(AudioError, match=r"x\.raw: has no header that tells rate and width"):
        read_native(tmp_path / "x.raw")
