"""The library: windows of known grids, files of every fault, one version a commit, whatever is killed goes on."""

import dataclasses
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from datetime import timedelta
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from iminet_viz import index, windows
from iminet_viz.audio import fit_length, load_audio
from iminet_viz.errors import LibraryError
from iminet_viz.index import Library, find_duplicates, find_licence, list_files, open_index
from iminet_viz.scan import StoredForm
from iminet_viz.scoring import AlignedPart
from iminet_viz.windows import WindowConfig, decode

RATE = 1_000  # of the fake part: small files, fast tests
FORM = StoredForm("float32", 8)
HERE = Path(__file__).resolve().parent


def first_samples(waveform: np.ndarray) -> np.ndarray:
    """A front end: 8 values that tell what was heard."""
    return fit_length(waveform, 8).astype(np.float32)


def fussy(waveform: np.ndarray) -> np.ndarray:
    """A front end that fails where a sound begins with a half, and is not finite where it begins with a quarter."""
    if waveform[0] == 0.5:
        raise IndexError("index 0 is out of bounds\nmore")
    return np.where(waveform[0] == 0.25, np.nan, first_samples(waveform))


def ending(waveform: np.ndarray) -> np.ndarray:
    """A front end that kills its process where a sound begins with exactly a half."""
    if waveform[0] == 0.5:
        os.kill(os.getpid(), signal.SIGKILL)
    return first_samples(waveform)


def sleepy(waveform: np.ndarray) -> np.ndarray:
    """A front end that takes its time."""
    time.sleep(0.8)
    return first_samples(waveform)


@dataclasses.dataclass
class FakePart:
    """A part whose network says what it was given."""

    fingerprint: str = "fake"
    window_s: float = 0.4
    whole: bool = False
    stored: StoredForm | None = FORM
    prepare: object = first_samples
    embedded: int = 0

    def sample_rate(self, role: str) -> int:
        return RATE

    def read(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return stored, stored[:, :0]

    def embed(self, prepared: np.ndarray) -> np.ndarray:
        self.embedded += len(prepared)
        rows = prepared if self.stored.dtype == "float32" else np.round(100 * prepared)
        return rows.astype(self.stored.dtype)[:, : self.stored.width]


@dataclasses.dataclass
class FakeScorer:
    parts: tuple
    name: str = "fake"

    @property
    def fingerprint(self) -> str:
        return "+".join(part.fingerprint for part in self.parts)


def fake(**changes) -> FakeScorer:
    return FakeScorer((FakePart(**changes),))


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.4, 0.4, round(seconds * rate)).astype(np.float32)


def pcm(waveform: np.ndarray) -> np.ndarray:
    """16 bits; libsndfile rounds floats otherwise in WAV than in FLAC."""
    return np.round(32_767 * waveform).astype(np.int16)


def write(path: Path, waveform: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), waveform, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def add(path: Path, *folders, scorer=None, **options) -> tuple[index.Added, Library, FakePart]:
    scorer = scorer or fake()
    library = open_index(path, scorer)
    before = sum(part.embedded for part in scorer.parts)
    added = library.add(folders, **{"workers": 0, **options})
    assert sum(part.embedded for part in scorer.parts) - before == added.windows * len(scorer.parts)
    return added, library, scorer.parts[0]


def rows_of(library: Library) -> list[tuple[str, int, float, float]]:
    found = library.windows
    return [
        (Path(found.path(row)).name, int(found.number[row]), float(found.start_s[row]), float(found.stop_s[row]))
        for row in range(len(found))
    ]


def spans(seconds: float, window_s: float = 4.0, whole: bool = False, quiet: tuple = ()) -> list[tuple[float, float]]:
    """Windows in s of a file that is loud but in the spans ``quiet``; levels every 10 ms at 1 kHz."""
    level = np.ones(round(100 * seconds))
    for start, stop in quiet:
        level[round(100 * start) : round(100 * stop)] = 0.000_99
    config = WindowConfig(window_s, (RATE,), whole)
    found = windows.find_spans(level, 10, round(RATE * seconds), RATE, config)
    return [(span.start / RATE, span.stop / RATE) for span in found]


# --- windows --------------------------------------------------------------------------------------------------------


def test_windows_of_known_grids():
    assert spans(3) == [(0, 3)]
    assert spans(4) == [(0, 4)]
    assert spans(10) == [(0, 4), (2, 6), (4, 8), (6, 10)]
    assert spans(11) == [(0, 4), (2, 6), (4, 8), (6, 10), (7, 11)]  # the tail is not on the grid
    assert spans(4.5, whole=True) == [(0, 4), (0.5, 4.5), (0, 4.5)]
    assert spans(12, whole=True)[-1] == (0, 12)
    assert spans(12.01, whole=True)[-1] == (8.01, 12.01)
    assert spans(4, whole=True) == [(0, 4)]


def test_silence_is_trimmed_and_left_out():
    assert spans(9, quiet=((0, 1), (6, 9))) == [(1, 5), (2, 6)]
    assert spans(9, quiet=((0, 3), (6, 9))) == [(3, 6)]
    assert spans(20, quiet=((4, 14),)) == [(0, 4), (2, 6), (12, 16), (14, 18), (16, 20)]  # 4 to 8 ... 10 to 14 are not


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (96_000, 2), (44_100, 8), (16_000, 1), (11_025, 1)])
@pytest.mark.parametrize("in_memory", [1 << 24, 1_000])
def test_a_window_holds_what_load_audio_reads_to_the_bit(tmp_path, monkeypatch, rate, channels, in_memory):
    monkeypatch.setattr(windows, "IN_MEMORY", in_memory)
    path = tmp_path / "a.wav"
    write(path, np.stack([noise(7.3, rate, seed) for seed in range(channels)], axis=1), rate)
    sound = decode(path, WindowConfig(4.0, (16_000, 44_100)))
    assert (sound.duration_s, sound.rate) == (pytest.approx(7.3, abs=1e-3), rate)
    for wanted in (16_000, 44_100):
        whole = load_audio(path, wanted)
        for span in sound.spans:
            start = min(round(span.start * wanted / rate), len(whole) - 4 * wanted)
            assert np.array_equal(sound.cut(span, wanted), whole[start : start + 4 * wanted])
    sound.close()


def test_a_hash_is_of_the_samples_and_their_rate(tmp_path):
    waveform = pcm(noise(0.5, 8_000))
    hashes = []
    for name, rate, subtype in (("a.wav", 8_000, "PCM_16"), ("a.flac", 8_000, "PCM_16"), ("b.wav", 16_000, "PCM_16")):
        soundfile.write(tmp_path / name, waveform, rate, subtype=subtype)
        hashes.append(decode(tmp_path / name, WindowConfig(1.0, (RATE,))).sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_long_file_needs_little_memory(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(windows, "IN_MEMORY", 1 << 20)
    path = tmp_path / "long.flac"
    block = np.round(8_000 * noise(10, 8_000)).astype(np.int16)
    with soundfile.SoundFile(path, "w", 8_000, 1) as file:
        for _ in range(60):
            file.write(block)
    tracemalloc.start()
    sound = decode(path, WindowConfig(4.0, (16_000, 44_100)))
    assert len(sound.spans) == 299
    assert all(len(sound.cut(span, 44_100)) == 4 * 44_100 for span in sound.spans)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25e6  # at 44.1 kHz alone it has 106 MB of samples
    sound.close()


# --- what cannot be indexed -----------------------------------------------------------------------------------------


def bad_files(folder: Path) -> dict[str, str]:
    """One file of each fault, and the reason that is expected."""
    write(folder / "silent.wav", np.zeros(RATE))
    write(folder / "almost-silent.wav", np.full(RATE, 1e-6))
    write(folder / "one.wav", np.full(1, 0.5))
    write(folder / "cancels.wav", np.stack([noise(1), -noise(1)], axis=1))
    write(folder / "nan.wav", np.where(np.arange(RATE) == 500, np.nan, noise(1)))
    write(folder / "infinite.wav", np.where(np.arange(RATE) == 500, np.inf, noise(1)))
    write(folder / "none.wav", np.zeros(0))
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.mp3").write_text("no sound at all, " * 100)
    (folder / "cut.wav").write_bytes((write(folder / "whole.wav", noise(1))).read_bytes()[:2_000])
    (folder / "other.m4a").write_bytes(b"x")
    (folder / "link.wav").symlink_to(folder / "nothing.wav")
    os.mkfifo(folder / "pipe.wav")
    write(folder / "slow.wav", noise(1), 10)
    return {
        "silent.wav": "is silent",
        "almost-silent.wav": "is silent",
        "one.wav": "too short",
        "cancels.wav": "cancel out",
        "nan.wav": "NaN",
        "infinite.wav": "NaN or infinite",
        "none.wav": "no samples",
        "empty.wav": "empty",
        "text.mp3": "cannot be decoded",
        "cut.wav": "truncated",
        "other.m4a": "are not read",
        "link.wav": "link to what is not there",
        "pipe.wav": "pipe",
        "slow.wav": "sample rate of 10 Hz",
    }


def test_files_that_cannot_be_indexed_are_rows_with_the_reason_and_not_tried_again(tmp_path):
    reasons = bad_files(tmp_path / "s")
    added, library, part = add(tmp_path / "i", tmp_path / "s")
    told = {Path(path).name: reason for path, reason in added.failures}
    assert set(told) == set(reasons)
    for name, reason in reasons.items():
        assert reason in told[name], name
        assert str(tmp_path) not in told[name] or name == "link.wav"  # the path is told beside it
    assert (added.failed, added.new, part.embedded) == (len(reasons), 1, 4)
    status = library.status()
    assert (status["files"], status["failed"]) == (1, len(reasons))
    assert sum(row["files"] for row in status["reasons"]) == len(reasons)
    assert [Path(name).name for name in library.windows.files.paths] == ["whole.wav"]
    again, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert (again.unchanged, again.failed, again.new) == (len(reasons) + 1, 0, 0)
    assert library.verify() == []
    retried, _, _ = add(tmp_path / "i", tmp_path / "s", retry=True)
    assert (retried.unchanged, retried.failed) == (1, len(reasons))
    write(tmp_path / "s/silent.wav", noise(0.4))
    mended, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert (mended.replaced, mended.unchanged) == (1, len(reasons))
    assert library.status()["failed"] == len(reasons) - 1
    write(tmp_path / "s/silent.wav", np.zeros(RATE))  # and back: its window goes
    _, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert len(library.windows) == 4 and library.verify() == []


def test_a_network_that_gives_nan_costs_one_file(tmp_path):
    for number in range(3):
        write(tmp_path / f"s/{number}.wav", noise(1, seed=number))
    scorer = fake()
    embed = scorer.parts[0].embed
    bad = np.float32(noise(1, seed=1)[0])
    scorer.parts[0].embed = lambda x: np.where(x[:, :1] == bad, np.nan, embed(x))
    library = open_index(tmp_path / "i", scorer)
    added = library.add(tmp_path / "s", workers=0)
    assert [(Path(path).name, reason) for path, reason in added.failures] == [
        ("1.wav", "the model gives values that are not finite")
    ]
    assert len(library.windows) == 8 and library.verify() == []


def test_of_no_files_nothing_is_embedded():
    assert index.embed_files(fake().parts, []) == ([], 0.0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_front_end_that_fails_costs_one_file(tmp_path, workers):
    for number, first in enumerate((0.1, 0.5, 0.25)):
        write(tmp_path / f"s/{number}.wav", np.full(round(0.4 * RATE), first, np.float32))
    added, library, _ = add(tmp_path / "i", tmp_path / "s", scorer=fake(prepare=fussy), workers=workers)
    assert sorted((Path(path).name, reason) for path, reason in added.failures) == [
        ("1.wav", "the front end fails on it (index 0 is out of bounds)"),
        ("2.wav", "the front end gives values that are not finite"),
    ]
    assert len(library.windows) == 1 and library.verify() == []


def roomy(waveform: np.ndarray) -> np.ndarray:
    """A front end that gives 4 MB where a sound begins with a half."""
    return np.resize(first_samples(waveform), 1 << 20 if waveform[0] == 0.5 else 8)


@pytest.fixture
def no_large_files():
    """No file of this process, or of one that it starts, gets larger than 1 MB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_whose_windows_find_no_room_costs_itself(tmp_path, no_large_files, workers):
    for number, first in enumerate((0.1, 0.5, 0.2)):
        write(tmp_path / f"s/{number}.wav", np.full(round(0.4 * RATE), first, np.float32))
    added, library, _ = add(tmp_path / "i", tmp_path / "s", scorer=fake(prepare=roomy), workers=workers)
    assert [(Path(path).name, reason) for path, reason in added.failures] == [
        ("1.wav", f"cannot be kept in {tmp_path}/i/prepared while it is read (File too large)")
    ]
    assert len(library.windows) == 2 and library.verify() == []
    assert list((tmp_path / "i" / index.SPOOL).iterdir()) == []


def test_a_long_file_on_a_full_disk_costs_itself(tmp_path, full_disk):
    write(tmp_path / "s/a.wav", noise(0.4))
    write(tmp_path / "s/long.wav", noise(2))
    write(tmp_path / "s/z.wav", noise(0.4))
    added, library, _ = add(tmp_path / "i", tmp_path / "s")
    ((path, reason),) = added.failures
    assert Path(path).name == "long.wav"
    assert reason == f"cannot be kept in {tempfile.gettempdir()} while it is read (No space left on device)"
    assert len(library.windows) == 2 and library.verify() == []


# --- incremental ----------------------------------------------------------------------------------------------------


def test_only_what_is_new_or_changed_is_embedded(tmp_path):
    for number in range(5):
        write(tmp_path / f"s/{number}.wav", noise(1, seed=number))
    first, _, _ = add(tmp_path / "i", tmp_path / "s")
    assert (first.new, first.windows, first.audio_s) == (5, 20, 5.0)
    second, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert (second.unchanged, second.windows, second.commits) == (5, 0, 0)
    assert second.version == first.version

    os.utime(tmp_path / "s/0.wav", ns=(1, 1))  # another time, the same samples
    soundfile.write(tmp_path / "s/1.wav", noise(1, seed=1), RATE, subtype="DOUBLE")  # another size, the same samples
    write(tmp_path / "s/2.wav", noise(0.3, seed=9))  # fewer windows
    write(tmp_path / "s/new.wav", noise(0.5))
    before = library.vectors().copy()
    third, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert (third.touched, third.replaced, third.new, third.unchanged) == (2, 1, 1, 2)
    assert third.windows == 1 + 2
    assert (third.commits, third.version) == (1, second.version + 1)  # all of it is one version
    assert rows_of(library)[8:] == [
        ("2.wav", 0, 0.0, 0.3),
        *(
            ("3.wav", row, start, stop)
            for row, (start, stop) in enumerate(((0, 0.4), (0.2, 0.6), (0.4, 0.8), (0.6, 1)))
        ),
        *(
            ("4.wav", row, start, stop)
            for row, (start, stop) in enumerate(((0, 0.4), (0.2, 0.6), (0.4, 0.8), (0.6, 1)))
        ),
        ("new.wav", 0, 0.0, 0.4),
        ("new.wav", 1, 0.1, 0.5),
    ]
    assert np.array_equal(library.vectors()[:8], before[:8]) and np.array_equal(library.vectors()[9:17], before[12:])
    fourth, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert (fourth.unchanged, fourth.windows) == (6, 0)
    assert library.verify(deep=True) == []


def test_two_parts_of_two_rates_and_widths(tmp_path):
    scorer = FakeScorer(
        (
            FakePart(fingerprint="a", window_s=0.5, whole=True),
            FakePart(fingerprint="b", stored=StoredForm("int8", 5)),
        )
    )
    scorer.parts[1].sample_rate = lambda role: 2 * RATE
    write(tmp_path / "s/a.wav", noise(1, 2 * RATE), 2 * RATE)
    added, library, _ = add(tmp_path / "i", tmp_path / "s", scorer=scorer)
    assert added.windows == 5  # of the shorter window, and the whole
    assert rows_of(library)[-1] == ("a.wav", 4, 0.0, 1.0)
    first, second = library.vectors(0), library.vectors(1)
    assert (first.shape, first.dtype, second.shape, second.dtype) == ((5, 8), np.float32, (5, 5), np.int8)
    heard = [noise(1, 2 * RATE)[start:][:5] for start in (0, 400, 800, 1_200, 0)]
    assert np.array_equal(second, np.round(100 * np.stack(heard)))
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


def test_what_long_files_hand_over_goes_through_files(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "SPOOLED", 0)
    monkeypatch.setattr(index, "BATCH", 3)
    for number in range(3):
        write(tmp_path / f"s/{number}.wav", noise(1, seed=number))
    _, library, _ = add(tmp_path / "i", tmp_path / "s")
    wanted = [noise(1, seed=number)[start:][:8] for number in range(3) for start in (0, 200, 400, 600)]
    assert np.array_equal(library.vectors(), wanted)
    assert list((tmp_path / "i" / index.SPOOL).iterdir()) == []


def test_removed_are_the_files_named_and_what_is_missing(tmp_path):
    for name in ("a/1", "a/2", "ab/1", "b/1", "b/2"):
        write(tmp_path / f"s/{name}.wav", noise(0.3))
    _, library, _ = add(tmp_path / "i", tmp_path / "s")
    (tmp_path / "s/b/1.wav").unlink()
    (tmp_path / "s/a/1.wav").unlink()
    again, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert again.unchanged == 3 and len(library.windows) == 5  # nothing is removed unasked
    assert sorted(line.split(": ")[1] for line in library.verify()) == ["is not there any more"] * 2
    assert library.remove([tmp_path / "s/b"], missing=True, dry_run=True) == [str(tmp_path / "s/b/1.wav")]
    assert len(library.windows) == 5
    assert library.remove([tmp_path / "s/b"], missing=True) == [str(tmp_path / "s/b/1.wav")]
    assert library.remove([tmp_path / "s/a"]) == [str(tmp_path / f"s/a/{number}.wav") for number in (1, 2)]
    assert [Path(path).parent.name for path in library.windows.files.paths] == ["ab", "b"]
    with pytest.raises(LibraryError, match="is not in the index"):
        library.remove([tmp_path / "s/a"])
    with pytest.raises(LibraryError, match="name what to remove"):
        library.remove()
    assert library.remove(missing=True) == []


def test_odd_names(tmp_path):
    names = [
        "it's",
        'a "b"',
        "100%",
        "a\nb",
        "x'); DROP TABLE windows; --",
        "back\\slash",
        "ÄÖ ß",
        os.fsdecode(b"\xff\xfe"),
    ]
    for name in names:
        write(tmp_path / "s" / name / f"{name}.wav", noise(0.3))
    _, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert {Path(path).stem for path in library.windows.files.paths} == set(names)
    again, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert again.unchanged == len(names)
    write(tmp_path / "s" / names[0] / f"{names[0]}.wav", noise(0.7))
    changed, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert (changed.replaced, changed.unchanged) == (1, len(names) - 1)
    assert library.verify(deep=True) == []
    json.dumps(library.status())
    for name in names:
        assert library.remove([tmp_path / "s" / name]) == [str(tmp_path / "s" / name / f"{name}.wav")]
    assert len(library.windows) == 0 and library.vectors().shape == (0, 8)


def test_hidden_files_and_folders_are_left_out_and_a_file_can_be_named(tmp_path):
    for name in (".hidden.wav", ".folder/a.wav", "b.wav", "c.WAV"):
        write(tmp_path / "s" / name, noise(0.3)) if not name.endswith("WAV") else soundfile.write(
            tmp_path / "s" / name, noise(0.3), RATE
        )
    (tmp_path / "s/notes.txt").write_text("x")
    (tmp_path / "s/folder.wav").mkdir()
    found = {Path(file.path).name: file.reason for file in list_files(tmp_path / "s", print)}
    assert found == {"b.wav": "", "c.WAV": "", "folder.wav": "is an empty folder, expected a sound file"}
    added, library, _ = add(tmp_path / "i", tmp_path / "s/b.wav", tmp_path / "s")
    assert added.found == 3 and library.windows.label(0) == "s"
    with pytest.raises(LibraryError, match="no such folder"):
        library.add(tmp_path / "nothing")
    with pytest.raises(LibraryError, match="is no sound file"):
        library.add(tmp_path / "s/notes.txt")


def test_the_sounds_of_another_index_are_added_as_they_were(tmp_path):
    for name in ("a/one.wav", "a/two.wav", "b/three.wav", "b/four.wav"):
        write(tmp_path / "sounds" / name, noise(0.5, seed=len(name)))
    write(tmp_path / "sounds" / "b" / "silent.wav", np.zeros(500))
    _, first, _ = add(tmp_path / "first", tmp_path / "sounds" / "a", tmp_path / "sounds" / "b")
    first.remove([tmp_path / "sounds" / "a" / "two.wav"])
    (tmp_path / "sounds" / "b" / "four.wav").unlink()
    other = fake(fingerprint="other")
    added, library, _ = add(tmp_path / "second", tmp_path / "first", scorer=other)
    assert (added.found, added.new) == (3, 2)
    assert [(Path(path).name, reason) for path, reason in added.failures] == [("silent.wav", "is silent")]
    assert [(Path(path).name, reason) for path, reason in added.unlisted] == [
        ("four.wav", "is gone (No such file or directory)")
    ]
    assert [Path(path).name for path in library.windows.files.paths] == ["one.wav", "three.wav"]
    assert library.windows.files.labels == ["a", "b"]
    again, _, _ = add(tmp_path / "second", tmp_path / "first", scorer=other)
    assert (again.new, again.unchanged) == (0, 3)


def test_a_licence_that_was_given_is_not_lost(tmp_path):
    for number in range(3):
        write(tmp_path / f"s/{number}.wav", noise(0.3, seed=number))
    add(tmp_path / "first", tmp_path / "s/0.wav", licence="CC0")
    add(tmp_path / "first", tmp_path / "s/1.wav", licence="CC BY")
    _, first, _ = add(tmp_path / "first", tmp_path / "s")
    assert first.windows.files.licences == ["CC0", "CC BY", ""]
    write(tmp_path / "s/0.wav", noise(0.3, seed=9))
    changed, first, _ = add(tmp_path / "first", tmp_path / "s")
    assert changed.replaced == 1 and first.windows.files.licences == ["CC0", "CC BY", ""]

    _, second, _ = add(tmp_path / "second", tmp_path / "first")  # another index takes them over
    assert second.windows.files.licences == ["CC0", "CC BY", ""]
    add(tmp_path / "first", tmp_path / "s/1.wav", licence="mine")
    later, second, _ = add(tmp_path / "second", tmp_path / "first")
    assert (later.touched, later.unchanged) == (1, 2) and second.windows.files.licences == ["CC0", "mine", ""]
    _, second, _ = add(tmp_path / "second", tmp_path / "first", licence="")  # but for what is said
    assert second.windows.files.licences == ["", "", ""]
    (tmp_path / "s/LICENSE").write_text("ours")
    write(tmp_path / "s/0.wav", noise(0.3, seed=10))
    _, first, _ = add(tmp_path / "first", tmp_path / "s")
    assert first.windows.files.licences == ["ours", "mine", ""]


def test_licences_labels_and_words(tmp_path):
    write(tmp_path / "s/Animals/dog/Wau_Wau.wav", noise(0.3, seed=1))
    write(tmp_path / "s/Animals/cat/miau.wav", noise(0.7, seed=2))
    write(tmp_path / "s/rain.wav", noise(0.3, seed=3))
    (tmp_path / "s/Animals/LICENSE").write_text("\n# CC0 1.0\nand so on\n")
    (tmp_path / "s/sources.json").write_text(json.dumps({"rain.wav": "CC BY 4.0", "Animals": {"licence": "unused"}}))
    _, library, _ = add(tmp_path / "i", tmp_path / "s")
    told = {Path(path).stem: row for row, path in enumerate(library.windows.files.paths)}
    assert library.windows.files.labels == ["Animals/cat", "Animals/dog", "s"]
    assert library.windows.files.licences == ["CC0 1.0", "CC0 1.0", "CC BY 4.0"]
    assert library.windows.licence(0) == "CC0 1.0" and library.windows.label(0) == "Animals/cat"

    def found(text: str) -> set[str]:
        windows = library.windows
        mask = library.words_mask(text)
        assert mask.shape == (len(windows),) and mask.dtype == bool
        return {Path(windows.path(row)).stem for row in np.flatnonzero(mask)}

    assert found("") == set(told)
    assert found("animals") == found("ANIMALS") == {"Wau_Wau", "miau"}
    assert found("animal wau") == {"Wau_Wau"}
    assert found("dog miau") == found("100%") == found("[a-z]") == set()
    changed, library, _ = add(tmp_path / "i", tmp_path / "s", licence="mine")
    assert (changed.touched, changed.windows) == (3, 0)
    assert library.windows.files.licences == ["mine"] * 3
    assert find_licence(str(tmp_path / "s/x.wav"), str(tmp_path / "s"), {}) == ""


def test_duplicates(tmp_path):
    for name, waveform in (("a.wav", noise(1)), ("c.wav", noise(0.5, seed=2)), ("d.wav", noise(2, seed=3))):
        soundfile.write(tmp_path / name, pcm(waveform), RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "b.flac", pcm(noise(1)), RATE, subtype="PCM_16")
    write(tmp_path / "e.wav", 0.99 * soundfile.read(tmp_path / "c.wav")[0])
    _, library, _ = add(tmp_path / "i", tmp_path)
    groups = [[Path(path).name for path in group] for group in library.duplicates()]
    assert groups == [["a.wav", "b.flac"]]
    groups = [[Path(path).name for path in group] for group in library.duplicates(0.999)]
    assert groups == [["a.wav", "b.flac"], ["c.wav", "e.wav"]]
    # a file whose only window is in a longer one is its near duplicate; one that shares one of two windows is not
    eye = np.eye(4, dtype=np.float32)
    rows = np.stack([eye[0], eye[1], eye[0], eye[2], eye[3], eye[0]])
    assert find_duplicates(list("abcd"), np.array([0, 0, 1, 2, 2, 3]), [rows], 0.9) == [[0, 1, 3]]
    assert find_duplicates(list("abb"), np.array([0, 0, 1, 2, 2]), [rows[[0, 1, 2, 4, 0]]], 0.9) == [[0, 1, 2]]


# --- one writer, whole versions -------------------------------------------------------------------------------------


def test_a_reader_sees_the_old_or_the_new_file_and_never_half(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "COMMIT_ROWS", 16)
    seconds = {True: 1.0, False: 0.6}  # 4 windows or 2
    for number in range(6):
        write(tmp_path / f"s/{number}.wav", noise(1.0, seed=number))
    _, held, _ = add(tmp_path / "i", tmp_path / "s")
    held_rows, held_vectors = rows_of(held), held.vectors().copy()
    stop = threading.Event()
    seen: list[set] = []

    def read() -> None:
        reader = open_index(tmp_path / "i")
        while not stop.is_set():
            reader.refresh()
            seen.append({tuple(x[2:] for x in rows_of(reader) if x[0] == f"{number}.wav") for number in range(6)})
            assert len(reader.vectors()) == len(reader.windows)

    thread = threading.Thread(target=read)
    thread.start()
    for turn in range(1, 5):
        for number in range(6):
            write(tmp_path / f"s/{number}.wav", noise(seconds[turn % 2 == 0], seed=100 * turn + number))
        add(tmp_path / "i", tmp_path / "s")
    stop.set()
    thread.join()
    long = ((0.0, 0.4), (0.2, 0.6), (0.4, 0.8), (0.6, 1.0))
    assert set().union(*seen) == {long, ((0.0, 0.4), (0.2, 0.6))}
    assert len(seen) > 5
    assert rows_of(held) == held_rows and np.array_equal(held.vectors(), held_vectors)  # until it asks for more
    held._cached.clear()
    assert np.array_equal(held.vectors(), held_vectors)
    assert held.refresh() and not held.refresh()


def test_a_second_writer_is_refused_and_a_lock_that_was_left_is_not_one(tmp_path):
    write(tmp_path / "s/a.wav", noise(0.3))
    _, library, _ = add(tmp_path / "i", tmp_path / "s")
    with library._locked():
        for change in (
            lambda: add(tmp_path / "i", tmp_path / "s"),
            library.compact,
            lambda: library.remove(missing=True),
        ):
            with pytest.raises(LibraryError, match=f"process {os.getpid()} is changing it"):
                change()
        assert len(open_index(tmp_path / "i").windows) == 1  # reading goes on
    (tmp_path / "i" / index.LOCK).write_text("1")  # of a process that lives, but holds nothing
    assert add(tmp_path / "i", tmp_path / "s")[0].unchanged == 1


def test_another_model_is_refused(tmp_path):
    write(tmp_path / "s/a.wav", noise(0.3))
    add(tmp_path / "i", tmp_path / "s")
    with pytest.raises(LibraryError, match=r"was made with fake \(fake\), not with fake \(other\); make another index"):
        open_index(tmp_path / "i", fake(fingerprint="other"))
    with pytest.raises(LibraryError, match="no rows of a fixed width"):
        open_index(tmp_path / "j", fake(stored=None)).add(tmp_path / "s")
    assert not (tmp_path / "j").exists()


def test_what_is_no_index_is_refused(tmp_path):
    with pytest.raises(LibraryError, match="there is no index"):
        open_index(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.txt").write_text("x")
    with pytest.raises(LibraryError, match=r"is no index, it holds a\.txt"):
        open_index(tmp_path / "folder", fake())
    with pytest.raises(LibraryError, match="is a file"):
        open_index(tmp_path / "folder/a.txt", fake())
    library = open_index(tmp_path / "new", fake())
    assert library.version == 0 and len(library.windows) == 0 and not (tmp_path / "new").exists()
    with pytest.raises(LibraryError, match="there is no index"):
        library.status()
    import lancedb
    import pyarrow as pa

    lancedb.connect(tmp_path / "other").create_table(index.TABLE, pa.table({"a": [1]}))
    with pytest.raises(LibraryError, match="no index of sounds"):
        open_index(tmp_path / "other", fake())


def test_a_worker_that_dies_costs_one_file(tmp_path):
    for number in range(6):
        write(tmp_path / f"s/{number}.wav", noise(0.5, seed=number))
    for name in ("2b", "4b"):
        write(tmp_path / f"s/{name}.wav", np.full(300, 0.5))
    added, library, _ = add(tmp_path / "i", tmp_path / "s", scorer=fake(prepare=ending), workers=2)
    assert sorted(Path(path).name for path, _ in added.failures) == ["2b.wav", "4b.wav"]
    assert {reason for _, reason in added.failures} == {"the process that read it ended: a fault of the decoder"}
    assert (added.new, added.windows, len(library.windows)) == (6, 12, 12)
    assert library.verify() == []
    assert 0 < added.network_s < added.wall_s


def test_a_worker_needs_no_torch():
    """Of the default model: with it each worker took a second more to start, and 300 MB."""
    work = pickle.dumps(AlignedPart.prepare)
    code = f"import pickle, sys, iminet_viz.index; pickle.loads({work!r}); sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(HERE.parent)}).returncode == 0
    )


def test_workers_that_cannot_start_are_one_sentence(tmp_path, monkeypatch):
    for number in range(3):
        write(tmp_path / f"s/{number}.wav", noise(0.5, seed=number))
    monkeypatch.setattr(index, "_start_worker", os.abort)
    with pytest.raises(LibraryError, match=r"cannot be started; --workers 0 \(workers=0\) does without"):
        add(tmp_path / "i", tmp_path / "s", workers=2)


def test_pools_that_end_before_there_is_work_are_not_started_for_ever(tmp_path, monkeypatch):
    write(tmp_path / "s/a.wav", noise(0.5))

    def broken(*_: object) -> None:
        raise BrokenProcessPool

    start = index.start_workers
    with start(1) as pool:
        monkeypatch.setattr(pool, "submit", broken)
        monkeypatch.setattr(index, "start_workers", lambda count: pool)
        with pytest.raises(LibraryError, match="cannot be started"):
            add(tmp_path / "i", tmp_path / "s", workers=1)


def test_a_worker_that_dies_while_another_comes_up_ends_the_pool_at_once(monkeypatch):
    """Python up to 3.12 would wait for the other for ever."""
    started = []
    start = SpawnProcess.start

    def slowly(process: SpawnProcess) -> None:
        start(process)
        started.append(process)
        if len(started) == 2:
            started[0].kill()
            time.sleep(0.5)  # whoever watches the first one sees its end before it has heard of this one

    monkeypatch.setattr(SpawnProcess, "start", slowly)
    ending = threading.Thread(target=index.start_workers(2).shutdown, daemon=True)
    ending.start()
    ending.join(20)
    stuck = ending.is_alive()
    for process in started:
        process.kill()  # else the tests would not end
    assert not stuck and len(started) == 2


def test_whoever_waits_for_workers_can_be_interrupted(tmp_path, monkeypatch):
    """While a file takes long, or never comes back."""
    write(tmp_path / "s/a.wav", noise(0.5))
    told = []
    options = {"stop": lambda: True, "report": lambda *what: told.append(what)}
    added, _, _ = add(tmp_path / "i", tmp_path / "s", scorer=fake(prepare=sleepy), workers=1, **options)
    assert added.interrupted and told == []


def test_ctrl_c_keeps_what_is_finished_and_the_next_call_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "BATCH", 4)
    for number in range(8):
        write(tmp_path / f"s/{number}.wav", noise(1, seed=number))
    scorer = fake()
    embed = scorer.parts[0].embed

    def interrupted(prepared: np.ndarray) -> np.ndarray:
        if scorer.parts[0].embedded == 8:
            signal.raise_signal(signal.SIGINT)
        return embed(prepared)

    scorer.parts[0].embed = interrupted
    before = signal.getsignal(signal.SIGINT)
    added, library, _ = add(tmp_path / "i", tmp_path / "s", scorer=scorer)
    assert added.interrupted and added.new == 3 and len(library.windows) == 12
    assert signal.getsignal(signal.SIGINT) is before
    again, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert (again.unchanged, again.new, again.interrupted) == (3, 5, False)
    assert library.verify() == []


# --- killed ---------------------------------------------------------------------------------------------------------


def adding(folder: str, sounds: str, workers: str) -> None:
    """What the process does that is killed: commit often, and not too fast."""
    index.BATCH, index.COMMIT_FILES, index.COMPACT_COMMITS = 4, 4, 8
    scorer = fake()
    embed = scorer.parts[0].embed

    def slowly(prepared: np.ndarray) -> np.ndarray:
        time.sleep(0.02)
        return embed(prepared)

    scorer.parts[0].embed = slowly
    open_index(folder, scorer).add(sounds, workers=int(workers), report=lambda *_: print("at work", flush=True))


def kill_and_go_on(tmp_path: Path, files: int, kills: int, workers: int, seconds: float) -> None:
    for number in range(files):
        write(tmp_path / f"s/{number:04}.wav", noise(0.3 + 0.2 * (number % 3), seed=number))
    rng = np.random.default_rng(0)
    code = "import sys; import test_index; test_index.adding(*sys.argv[1:])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    command = [sys.executable, "-c", code, str(tmp_path / "i"), str(tmp_path / "s"), str(workers)]
    there: set[str] = set()
    met = []
    for turn in range(kills):
        if turn:  # some are changed meanwhile
            write(tmp_path / f"s/{int(rng.integers(files)):04}.wav", noise(0.5, seed=1_000 + turn))
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            process.stdout.readline()  # from here on it works
            time.sleep(rng.uniform(0, seconds))
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            process.send_signal(signal.SIGKILL)
            met.append(process.wait())
        library = open_index(tmp_path / "i", fake())
        problems = [line for line in library.verify() if not line.endswith("was changed since")]
        assert problems == []
        assert len(set(rows_of(library))) == len(library.windows) == len(library.vectors())
        now = set(library.windows.files.paths)
        assert there <= now  # nothing that was committed is lost
        there = now
        for child in children:
            until = time.monotonic() + 20
            while Path(f"/proc/{child}").exists() and time.monotonic() < until:
                time.sleep(0.05)
            assert not Path(f"/proc/{child}").exists(), "a worker outlives the process that was killed"
    assert met.count(-signal.SIGKILL) >= kills / 2  # they were at work when it met them
    assert 0 < len(there) < files or kills > 5
    _, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert len(library.windows.files.paths) == files
    assert library.verify(deep=True) == []
    again, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert (again.unchanged, again.windows) == (files, 0)
    before = library.vectors().copy()
    library.compact(timedelta(0))
    assert np.array_equal(library.vectors(), before)
    uncommitted = {path.name for path in (tmp_path / "i/windows.lance/data").iterdir()}
    assert len(uncommitted) == 1  # what was half written is gone


def test_killed_while_adding_nothing_is_lost_and_nothing_twice(tmp_path):
    kill_and_go_on(tmp_path, files=60, kills=3, workers=1, seconds=0.25)


@pytest.mark.slow
def test_killed_20_times_while_adding_2000_files(tmp_path):
    kill_and_go_on(tmp_path, files=2_000, kills=20, workers=2, seconds=1.5)


def test_killed_while_the_index_is_made(tmp_path):
    write(tmp_path / "s/a.wav", noise(0.3))
    (tmp_path / "i/windows.lance/data").mkdir(parents=True)
    (tmp_path / "i/windows.lance/_versions").mkdir()
    (tmp_path / "i" / index.SPOOL).mkdir()
    (tmp_path / "i" / index.SPOOL / "left.npy").write_bytes(b"x")
    assert index.is_index(tmp_path / "i")
    added, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert added.new == 1 and library.verify() == []
    assert not (tmp_path / "i" / index.SPOOL).exists()


# --- upkeep ---------------------------------------------------------------------------------------------------------


def test_verify_finds_what_is_wrong(tmp_path):
    for number in range(4):
        write(tmp_path / f"s/{number}.wav", noise(1, seed=number))
    _, library, _ = add(tmp_path / "i", tmp_path / "s")
    one = library._table.search().where("window = 1").to_arrow()
    ids = dict(
        zip((Path(os.fsdecode(path)).name for path in one["path"].to_pylist()), one["id"].to_pylist(), strict=True)
    )
    library._table.delete(f"window = 1 AND id = '{ids['0.wav']}'")
    library._table.add(one.filter(np.array(one["id"]) == ids["1.wav"]))
    library._table.update(where=f"id = '{ids['2.wav']}'", values={"fingerprint": "older"})
    stat = (tmp_path / "s/3.wav").stat()
    write(tmp_path / "s/3.wav", noise(1, seed=33))
    os.utime(tmp_path / "s/3.wav", ns=(stat.st_mtime_ns, stat.st_mtime_ns))  # as programs do that hide a change
    library.refresh()
    told = sorted(line.removeprefix(f"{tmp_path}/s/") for line in library.verify())
    assert told == [
        "0.wav: has 3 of its 4 windows",
        "1.wav: a window is there twice",
        "2.wav: is of another model (older)",
    ]
    assert any("3.wav: its samples were changed" in line for line in library.verify(deep=True))
    library._table.delete(f"window = 0 AND id = '{ids['3.wav']}'")
    library.refresh()
    assert f"{ids['3.wav']}: 3 windows belong to no file" in library.verify()


def garble(library: Library, change: Callable[[np.ndarray], None]) -> None:
    """Change the stored vectors of all rows behind the library's back."""
    import pyarrow as pa

    rows = library._table.to_arrow()
    at = rows.schema.names.index("vector_0")
    values = rows["vector_0"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1).copy()
    change(values)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=rows.schema.field(at).type)
    library._replace(rows.set_column(at, rows.schema.field(at), column), rows["id"].to_pylist())
    library.refresh()


def test_verify_finds_vectors_that_are_not_those_of_their_sounds(tmp_path):
    for number in range(2):
        write(tmp_path / f"s/{number}.wav", noise(1, seed=number))
    _, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert library.verify(deep=True) == []
    garble(library, lambda values: np.multiply(values, -1, out=values))
    assert library.verify() == []
    told = [line.removeprefix(f"{tmp_path}/s/") for line in library.verify(deep=True)]
    assert told == [f"{number}.wav: a stored vector is not that of its sound" for number in range(2)]


def test_verify_reads_what_the_bytes_of_the_aligned_net_stand_for(tmp_path):
    from iminet_viz.checkpoint import untrained_model

    write(tmp_path / "s/a.wav", noise(1, 16_000), 16_000)
    library = open_index(tmp_path / "i", untrained_model("aligned", 0, {}))
    library.add(tmp_path / "s", workers=0)
    assert library.verify(deep=True) == []

    def change(values: np.ndarray) -> None:
        values[0, -4:] = np.float32([np.inf]).view(np.int8)  # the duration of the last cut

    garble(library, change)
    assert [line.removeprefix(f"{tmp_path}/s/") for line in library.verify()] == ["a.wav: a vector is not finite"]


@pytest.mark.parametrize("what", ["data", "manifest"])
def test_a_damaged_table_is_one_sentence_whatever_is_asked(tmp_path, what):
    write(tmp_path / "s/a.wav", noise(1))
    write(tmp_path / "t/b.wav", noise(1, seed=1))
    add(tmp_path / "i", tmp_path / "s")
    shutil.rmtree(tmp_path / "i/resident")
    if what == "data":
        (file,) = (tmp_path / "i/windows.lance/data").iterdir()
        file.write_bytes(bytes(file.stat().st_size))
    else:  # the name of a column, in the latest manifest
        for file in (tmp_path / "i/windows.lance/_versions").glob("*.manifest"):
            file.write_bytes(file.read_bytes().replace(b"start_s", b"sta\xfft_s"))
    asked = {
        "search": lambda x: x.vectors(),
        "status": Library.status,
        "verify": Library.verify,
        "add": lambda x: x.add(tmp_path / "t", workers=0),
        "remove": lambda x: x.remove(missing=True),
    }
    for ask in asked.values():
        with pytest.raises(LibraryError) as caught:
            ask(open_index(tmp_path / "i", fake()))
        assert "\n" not in str(caught.value) and "/i: " in str(caught.value)


def test_compact_keeps_the_rows(tmp_path):
    for number in range(5):
        write(tmp_path / f"s{number}/a.wav", noise(1, seed=number))
        _, library, _ = add(tmp_path / "i", tmp_path / f"s{number}")
    before, rows = library.vectors().copy(), rows_of(library)
    assert len(list((tmp_path / "i/windows.lance/data").iterdir())) == 5
    reader = open_index(tmp_path / "i")
    library.compact()  # those who read may go on
    assert np.array_equal(reader.vectors(), before)
    figures = library.compact(timedelta(0))
    assert figures["bytes_after"] < figures["bytes_before"]
    assert rows_of(library) == rows and np.array_equal(library.vectors(), before)
    assert len(list((tmp_path / "i/windows.lance/data").iterdir())) == 1
    again, _, _ = add(tmp_path / "i", tmp_path / "s0")
    assert again.unchanged == 1
    reader._cached.clear()
    with pytest.raises(LibraryError, match="cannot be read, refresh"):
        reader.vectors()
    reader.refresh()
    assert np.array_equal(reader.vectors(), before)


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture
def by_name(monkeypatch) -> FakeScorer:
    """A scorer that the command line finds by any name."""
    from iminet_viz import scoring

    scorer = fake()
    monkeypatch.setattr(
        scoring, "load_scorer", lambda name, device="cpu": dataclasses.replace(scorer, name=name, parts=scorer.parts)
    )
    return scorer


def test_the_verbs(tmp_path, call, by_name):
    reasons = bad_files(tmp_path / "s")
    folder = tmp_path / "i"
    status, out, err = call("index", "add", folder, tmp_path / "s", "--model", "m", "--workers", "0")
    assert status == 0 and "1 new" in out and f"{len(reasons)} not indexed" in out
    assert "cut.wav: truncated" in err
    status, out, _ = call("index", "add", folder, tmp_path / "s", "--json")
    figures = json.loads(out)
    assert (status, figures["unchanged"], figures["windows"]) == (0, len(reasons) + 1, 0)
    assert {"files_per_s", "audio_s_per_s", "network_share"} <= set(figures)
    status, out, _ = call("index", "status", folder, "--json")
    assert (status, json.loads(out)["windows"], json.loads(out)["settings"]["model"]) == (0, 4, "m")
    status, out, _ = call("index", "status", folder)
    assert status == 0 and "1 files, 4 windows" in out and "truncated" in out
    assert call("index", "verify", folder)[0] == 0
    assert call("index", "compact", folder, "--keep-minutes", "0")[0] == 0
    write(tmp_path / "s/copy.wav", noise(1))
    assert call("index", "add", folder, tmp_path / "s", "--workers", "0")[0] == 0
    status, out, _ = call("index", "duplicates", folder, "--json")
    assert [[Path(path).name for path in group] for group in json.loads(out)["groups"]] == [["copy.wav", "whole.wav"]]
    (tmp_path / "s/copy.wav").unlink()
    status, out, _ = call("index", "verify", folder)
    assert status == 1 and out == f"{tmp_path}/s/copy.wav: is not there any more\n"
    status, out, _ = call("index", "remove", folder, "--missing")
    assert (status, out) == (0, f"{tmp_path}/s/copy.wav\n")
    assert call("index", "remove", folder)[0] == 2
    status, _, err = call("index", "remove", folder, tmp_path / "elsewhere")
    assert status == 1 and "is not in the index" in err
    by_name.parts[0].fingerprint = "another"
    status, out, err = call("index", "add", folder, tmp_path / "s", "--model", "n")
    assert status == 1 and "was made with m (fake), not with n (another)" in err and "Traceback" not in err
    status, _, err = call("index", "verify", folder)
    assert status == 1
    status, _, err = call("index", "status", tmp_path / "nothing")
    assert status == 1 and "there is no index" in err


def test_a_plain_script_adds_with_workers(tmp_path):
    """As the API is shown in the documents: without a guard, which spawned workers would need to import the script."""
    write(tmp_path / "s" / "a.wav", noise(1.0))
    script = tmp_path / "script.py"
    script.write_text(
        "import iminet_viz as iv\n"
        f"library = iv.open_index({str(tmp_path / 'i')!r}, 'mfcc')\n"
        f"print(library.add([{str(tmp_path / 's')!r}], workers=2).new)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
