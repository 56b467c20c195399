"""The demo corpus: its sounds, no two alike; the same bytes however it was made; refusals; VocalSketch's layout."""

import csv
import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import soxr

from iminet_viz import cli
from iminet_viz.audio import read_native
from iminet_viz.datasets import demo, vocalsketch
from iminet_viz.datasets._demo.concepts import CONCEPTS, synthesise
from iminet_viz.datasets._demo.signals import RATE
from iminet_viz.errors import DatasetError, IminetVizError

SAMPLE = CONCEPTS[5::20]  # 12, of every subset
SHORT = tuple(concept for concept in CONCEPTS if concept.label in {"sine beep", "castanets", "whip cracking"})


# --- measures -------------------------------------------------------------------------------------------------------


def log_mel(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """``(40, frames)`` at 50 frames a second, 60 dB of range, mean 0."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=waveform, sr=sample_rate, n_fft=512, hop_length=sample_rate // 50, n_mels=40, fmin=40
    )
    level = 10 * np.log10(np.maximum(power, power.max() * 1e-6))
    return level - level.mean()


def largest_correlation(a: np.ndarray, b: np.ndarray, size: int) -> np.ndarray:
    """Largest absolute correlation over all lags, of spectra of unit-energy signals ``(..., bins)``."""
    return np.abs(scipy.fft.irfft(a * b.conj(), size, axis=-1)).max(axis=-1)


def correlations(waveforms: list[np.ndarray], sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs: largest normalised correlation of the waveforms at 8 kHz, and of their log-mels, over all lags."""
    low = [soxr.resample(waveform, sample_rate, 8_000).astype(np.float32) for waveform in waveforms]
    size = scipy.fft.next_fast_len(2 * max(map(len, low)), real=True)
    spectra = np.stack([scipy.fft.rfft(x / np.linalg.norm(x), size) for x in low])
    mels = [log_mel(x, 8_000) for x in low]
    mel_size = scipy.fft.next_fast_len(2 * max(mel.shape[1] for mel in mels), real=True)
    mel_spectra = np.stack([scipy.fft.rfft(mel / np.linalg.norm(mel), mel_size, axis=1) for mel in mels])
    number = len(low)
    wave, mel = np.eye(number), np.eye(number)
    for i in range(number - 1):
        wave[i, i + 1 :] = wave[i + 1 :, i] = [largest_correlation(spectra[i], s, size) for s in spectra[i + 1 :]]
        cross = (mel_spectra[i] * mel_spectra[i + 1 :].conj()).sum(axis=1)
        mel[i, i + 1 :] = mel[i + 1 :, i] = scipy.fft.irfft(cross, mel_size, axis=1).max(axis=1)
    return wave, mel


def features(waveforms: list[np.ndarray], sample_rate: int) -> np.ndarray:
    """Simple statistics of the log-mel, standardised: what an ear might go by, ``(sounds, features)``."""
    rows = []
    for waveform in waveforms:
        mel = log_mel(soxr.resample(waveform, sample_rate, 16_000), 16_000)
        change = np.abs(np.diff(mel, axis=1))
        bands = mel.reshape(10, 4, -1).mean(axis=1)
        rows.append(
            np.r_[
                bands.mean(axis=1),
                bands.std(axis=1),
                change.reshape(10, -1).mean(axis=1),
                mel.std(axis=0).mean(),  # tones stand out of the spectrum
                np.abs(np.diff(mel, axis=0)).mean(),
                np.log(len(waveform)),
                np.log(np.abs(waveform).max() / waveform.std()),
            ]
        )
    values = np.array(rows)
    return (values - values.mean(axis=0)) / values.std(axis=0)


def nearest_neighbour_accuracy(values: np.ndarray, labels: list[str]) -> tuple[float, float, float]:
    """Leave one out: accuracy of the nearest neighbour, mean over the classes, and that of drawing a class."""
    distances = ((values[:, None] - values) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    right = np.array(labels)[distances.argmin(axis=1)] == np.array(labels)
    classes = sorted(set(labels))
    return (
        float(right.mean()),
        float(np.mean([right[np.array(labels) == name].mean() for name in classes])),
        1 / len(classes),
    )


# --- sounds ---------------------------------------------------------------------------------------------------------


@functools.cache
def sample_takes() -> dict[str, np.ndarray]:
    """The sounds of seed 0, synthesised once."""
    return {concept.label: synthesise(concept, 0) for concept in SAMPLE}


def faults(waveform: np.ndarray) -> list[str]:
    """What is wrong with a sound of the corpus."""
    found = []
    if waveform.dtype != np.float32 or waveform.ndim != 1 or not np.isfinite(waveform).all():
        return ["not finite"]
    peak = np.abs(waveform).max()
    edge = RATE // 500
    if not 0.3 <= len(waveform) / RATE <= 6:
        found.append(f"lasts {len(waveform) / RATE:.2f} s")
    if not 0.5 < peak <= 0.95:
        found.append(f"peak {peak:.3f}")
    if abs(waveform.mean()) > 2e-3 * peak:
        found.append(f"offset {waveform.mean():.4f}")
    if waveform.std() < 0.01:
        found.append(f"nearly silent ({waveform.std():.4f})")
    if abs(waveform[0]) > 1e-3 or abs(waveform[-1]) > 1e-3:
        found.append("clicks at an end")
    if min(np.abs(waveform[: 40 * edge]).max(), np.abs(waveform[-40 * edge :]).max()) < 5e-4 * peak:
        found.append("silence at an end")
    if (np.abs(waveform) > 0.999 * peak).mean() > 0.05:
        found.append("flat at the peak")
    return found


def test_the_concepts_are_240_of_four_kinds():
    assert Counter(concept.subset for concept in CONCEPTS) == {
        "acoustic instruments": 40,
        "commercial synthesizers": 40,
        "everyday sounds": 120,
        "single synthesizer": 40,
    }
    assert len({concept.label for concept in CONCEPTS}) == len({concept.filename for concept in CONCEPTS}) == 240
    by_label = {concept.label: concept.filename for concept in CONCEPTS}
    assert by_label["violin (bowed)"] == "violin_bowed.flac"


@pytest.mark.parametrize("concept", SAMPLE, ids=lambda concept: concept.label)
def test_a_sound_is_clean(concept):
    assert not faults(sample_takes()[concept.label])


def test_the_same_seed_is_the_same_take():
    for concept in SHORT:
        assert np.array_equal(synthesise(concept, 0), synthesise(concept, 0))


def test_another_seed_is_another_take():
    takes = [synthesise(SHORT[0], seed) for seed in (0, 1)]
    assert len(takes[0]) != len(takes[1]) or not np.array_equal(*takes)


def test_no_two_sounds_of_a_sample_are_alike():
    wave, mel = correlations(list(sample_takes().values()), RATE)
    for matrix, limit in ((wave, 0.6), (mel, 0.92)):
        np.fill_diagonal(matrix, 0)
        assert matrix.max() < limit


def test_alike_sounds_are_found_out():
    first = synthesise(SHORT[0], 0)
    wave, mel = correlations([first, -0.3 * np.pad(first, (5000, 0)), synthesise(SHORT[1], 0)], RATE)
    assert wave[0, 1] > 0.99 > 0.6 > wave[0, 2]
    assert mel[0, 1] > mel[0, 2]


# --- the corpus -----------------------------------------------------------------------------------------------------


def make(folder: Path, **options) -> demo.Made:
    return demo.make_corpus(folder, **{"count": 2, "workers": 1, "concepts": SHORT, **options})


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Three sounds with two imitations each; not to be changed."""
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    assert make(folder) == demo.Made(folder, 3, 6, 3, 6)
    return folder


@pytest.fixture
def copy(small, tmp_path) -> Path:
    shutil.copytree(small, tmp_path / "corpus")
    return tmp_path / "corpus"


def test_the_corpus_loads_as_vocalsketch_does(small):
    pairs = demo.load(small)
    assert pairs == vocalsketch.load(small)
    assert Counter(pair.chain for pair in pairs) == {Path(concept.filename).stem: 2 for concept in SHORT}
    assert len({pair.speaker for pair in pairs}) == len({pair.imitation for pair in pairs}) == 6
    assert {pair.category for pair in pairs} == {concept.subset for concept in SHORT}
    for pair in pairs:
        assert read_native(pair.recording)[1] == 44_100
        assert read_native(pair.imitation)[1] == 16_000
        assert pair.imitation.parent == small / "vocal_imitations" / "included"


def test_nothing_in_the_corpus_is_a_fault(small):
    found: list[str] = []
    survey = demo.survey(small, lambda path, reason: found.append(f"{path}: {reason}"))
    assert not found
    assert not survey.notes
    assert not survey.absent()


def test_the_tables_are_those_of_vocalsketch(small, data_folder):
    true = data_folder / "vocalsketch-metadata"
    names = {
        "sound_labels.csv": "sound_labels.csv",
        "sound_recordings.csv": "sound_recordings.csv",
        "vocal_imitations.csv": "vocal_imitations.HEAD-SAMPLE.csv",
    }
    for name, true_name in names.items():
        texts = [(small / name).read_bytes(), (true / true_name).read_bytes()]
        headers = [text.splitlines(keepends=True)[0] for text in texts]
        assert headers[0] == headers[1]  # also how lines end
        ours, theirs = (list(csv.DictReader(text.decode().splitlines())) for text in texts)
        filled = [{key for row in rows for key, value in row.items() if value} for rows in (ours, theirs)]
        assert filled[0] <= filled[1]
        assert {len(row["id"]) for row in ours} == {16}


def test_a_corpus_says_what_it_is(small):
    settings = json.loads((small / "corpus.json").read_text())
    assert (settings["seed"], settings["version"], settings["count"]) == (0, demo.VERSION, 2)
    text = (small / "README.md").read_text()
    assert "CC0" in text
    assert "synthesised" in text
    assert f"version {demo.VERSION}, seed 0" in text


def test_a_second_run_makes_only_what_is_missing(small, copy):
    whole = content(copy)
    assert make(copy) == demo.Made(copy, 3, 6, 0, 0)
    sound = next((copy / "sound_recordings").iterdir())
    imitation = next((copy / "vocal_imitations" / "included").iterdir())
    sound.unlink()
    imitation.unlink()
    (copy / "vocal_imitations" / "included" / f".{imitation.stem[:40]}-abcd_123.flac").write_bytes(b"half")
    assert make(copy) == demo.Made(copy, 3, 6, 1, 1)
    assert content(copy) == whole == content(small)


def test_more_imitations_are_added(small, copy):
    assert make(copy, count=3).imitations_made == 3
    kept = {name: file for name, file in content(small).items() if name.endswith(".flac")}
    assert kept.items() <= content(copy).items()
    assert len(demo.load(copy)) == 9
    with pytest.raises(DatasetError, match="holds 3 imitations of each sound, not 2; --force"):
        make(copy)


def test_what_was_finished_when_interrupted_stays(small, tmp_path):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "corpus"
    with pytest.raises(KeyboardInterrupt):
        make(folder, progress=stop)
    begun = {name: file for name, file in content(folder).items() if name.endswith(".flac")}
    assert 3 <= len(begun) < 9
    assert begun.items() <= content(small).items()
    with pytest.raises(DatasetError, match="not finished"):
        demo.load(folder)
    made = make(folder)
    assert made.sounds_made + made.imitations_made == 9 - len(begun)
    assert content(folder) == content(small)


@pytest.mark.parametrize("room", [1, 2, 3, 9, 11])
def test_a_full_disk_is_one_sentence_and_what_is_finished_stays(small, tmp_path, monkeypatch, room):
    written = []
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if len(written) >= room:
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        return write(path, data)

    folder = tmp_path / "corpus"
    monkeypatch.setattr(Path, "write_bytes", full)
    words = r"cannot be written \(No space left on device\); what is finished stays, the same call makes the rest"
    with pytest.raises(IminetVizError, match=words):
        make(folder)
    monkeypatch.undo()
    assert content(folder).items() <= content(small).items()
    assert len(content(folder)) == room
    make(folder)
    assert content(folder) == content(small)


def test_what_is_not_a_corpus_is_left_alone(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"holds something else \(a.txt\); --force"):
        make(tmp_path / "letters")
    make(tmp_path / "letters", force=True)
    assert (tmp_path / "letters" / "a.txt").read_text() == "mine"
    with pytest.raises(DatasetError, match="is a file"):
        make(tmp_path / "letters" / "a.txt")
    (tmp_path / "real" / "sound_recordings").mkdir(parents=True)
    with pytest.raises(DatasetError, match="holds another data set"):
        make(tmp_path / "real", force=True)


def test_another_seed_or_version_needs_force(small, copy, monkeypatch):
    with pytest.raises(DatasetError, match="holds a corpus with seed 0, not 7; --force makes it anew"):
        make(copy, seed=7)
    assert content(copy) == content(small)
    made = make(copy, seed=7, force=True)
    assert (made.sounds_made, made.imitations_made) == (3, 6)
    assert len(demo.load(copy)) == 6
    assert not {pair.speaker for pair in demo.load(copy)} & {pair.speaker for pair in demo.load(small)}
    monkeypatch.setattr(demo, "VERSION", "next")
    with pytest.raises(DatasetError, match="version '1', not 'next'"):
        make(copy, seed=7)


def test_the_command_tells_what_it_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("iminet_viz.datasets._demo.concepts.CONCEPTS", SHORT)

    def call(*arguments: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["iminet-viz", "corpus", "make", str(tmp_path / "corpus"), *arguments])
        cli.run()
        captured = capsys.readouterr()
        return captured.out, captured.err

    out, err = call("--count", "1", "--workers", "1")
    assert out == f"3 sounds (3 made now) and 3 vocal imitations (3 made now): {tmp_path / 'corpus'}\n"
    assert "3/3 imitations" in err
    figures = json.loads(call("--count", "1", "--workers", "1", "--json")[0])
    assert (figures["sounds"], figures["imitations"], figures["imitations_made"]) == (3, 3, 0)
    with pytest.raises(SystemExit, match="1"):
        call("--seed", "1", "--count", "1")
    assert capsys.readouterr().err.strip().startswith("Error: ")


# --- the whole corpus -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_sounds_are_clean_and_no_two_alike():
    waveforms = [synthesise(concept, 0) for concept in CONCEPTS]
    bad = {concept.label: faults(waveform) for concept, waveform in zip(CONCEPTS, waveforms, strict=True)}
    assert not {label: found for label, found in bad.items() if found}
    wave, mel = correlations(waveforms, RATE)
    for name, matrix, limit in (("waveforms", wave, 0.6), ("log-mels", mel, 0.92)):
        np.fill_diagonal(matrix, 0)
        one, other = np.unravel_index(matrix.argmax(), matrix.shape)
        print(f"{name}: largest correlation {matrix.max():.3f}: {CONCEPTS[one].label}, {CONCEPTS[other].label}")
        assert matrix.max() < limit
    labels = [concept.subset for concept in CONCEPTS]
    accuracy, balanced, chance = nearest_neighbour_accuracy(features(waveforms, RATE), labels)
    print(f"category by nearest neighbour: {accuracy:.3f}, balanced {balanced:.3f}, chance {chance:.3f} (n = 240)")
    assert balanced > 0.4


@pytest.mark.slow
def test_killed_and_continued_with_other_workers_it_is_the_same_corpus(tmp_path):
    def command(name: str, workers: int) -> list[str]:
        program = ["-c", "from iminet_viz.cli import run; run()", "corpus", "make", str(tmp_path / name)]
        return [sys.executable, *program, "--count", "1", "--workers", str(workers)]

    for sign, status in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        process = subprocess.Popen(command("cut", 2), stderr=subprocess.DEVNULL, start_new_session=True)
        folder = tmp_path / "cut" / "vocal_imitations" / "included"
        before = len(list(folder.glob("[!.]*")))
        while len(list(folder.glob("[!.]*"))) < before + 15:
            assert process.poll() is None
            time.sleep(0.05)
        if sign == signal.SIGINT:
            os.killpg(process.pid, sign)  # as a terminal does
        else:
            process.send_signal(sign)
        assert process.wait() == status
        time.sleep(3)  # workers whose parent was killed end on their own
        for path in (tmp_path / "cut").rglob("[!.]*.flac"):
            read_native(path)
    done = subprocess.run([*command("cut", 1), "--json"], check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout)
    assert figures["sounds"] == figures["imitations"] == 240
    assert 0 < figures["imitations_made"] < 240
    subprocess.run(command("whole", 2), check=True, capture_output=True)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert len(demo.load(tmp_path / "whole")) == 240
