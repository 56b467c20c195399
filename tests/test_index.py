"""The library: windows of known grids, files of every fault, one version a commit, whatever is killed goes on."""

import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile

from iminet_viz import index, windows
from iminet_viz.audio import fit_length, load_audio
from iminet_viz.errors import AudioError, LibraryError
from iminet_viz.index import Found, Library, Task, find_duplicates, list_files, open_index, prepare_file
from iminet_viz.scan import StoredForm
from iminet_viz.windows import WindowConfig, decode

RATE = 1_000  # of the fake part: small files, fast tests
HERE = Path(__file__).resolve().parent


def first_samples(waveform: np.ndarray) -> np.ndarray:
    """A front end: 8 values that tell what was heard."""
    return fit_length(waveform, 8).astype(np.float32)


def ending(waveform: np.ndarray) -> np.ndarray:
    """A front end that kills its process where a sound begins with exactly a half."""
    if waveform[0] == 0.5:
        os.kill(os.getpid(), signal.SIGKILL)
    return first_samples(waveform)


@dataclasses.dataclass
class FakePart:
    """A part whose network says what it was given."""

    fingerprint: str = "fake"
    window_s: float = 0.4
    whole: bool = False
    stored: StoredForm | None = StoredForm("float32", 8)
    prepare: object = first_samples
    embedded: int = 0

    def sample_rate(self, role: str) -> int:
        return RATE

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


def test_smoke(tmp_path):
    write(tmp_path / "s/dog/a.wav", noise(1.0))
    write(tmp_path / "s/b.flac", noise(0.3, seed=1))
    added, library, part = add(tmp_path / "i", tmp_path / "s")
    assert (added.new, added.windows, added.failed) == (2, 5, 0)
    print(rows_of(library), library.status())
    again, library, _ = add(tmp_path / "i", tmp_path / "s")
    assert again.unchanged == 2 and again.windows == 0
    assert library.verify() == []
