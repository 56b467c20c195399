"""Check the folder of a data set: what is there, what is missing, what is broken."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from iminet_viz.audio import STEP, cancelled, one_line, read_blocks
from iminet_viz.datasets._table import Clip, Pair, Survey, find_sounds, real_path
from iminet_viz.errors import AudioError

SHORTEST_S = 0.01  # less than a period of the lowest voices
TOLERANCE_S = 0.05  # what coding and resampling may add to a sound or take


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong: a path below the data set's folder, and the reason."""

    file: str
    reason: str


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """What a check found; sound files that cannot be decoded count in ``files`` only."""

    name: str
    root: str
    items: int  # clips or pairs that can be used
    named: int  # files that must be there
    files: int  # sound files that are there
    hours: float
    duration_s: tuple[float, float, float]  # shortest, median, longest; zeros if nothing could be decoded
    rates: dict[int, int]  # Hz -> files
    channels: dict[int, int]
    labels: dict[str, int]  # label, or category of pairs -> clips or pairs
    notes: list[str]
    faults: list[Fault]

    def as_dict(self) -> dict[str, Any]:
        """The report for ``json.dumps``."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class _Sound:
    """What a file turned out to hold."""

    path: Path
    seconds: float = 0.0
    rate: int = 0
    channels: int = 0
    digest: str = ""
    faults: tuple[str, ...] = ()


def check(
    dataset: ModuleType, root: Path, progress: Callable[[str, int, int], None] | None = None, **options: Any
) -> CheckReport:
    """Read the tables and decode every sound file of a data set's folder.

    Args:
        dataset: a module of this family.
        root: the folder.
        progress: called with ("", files done, files in all).
        options: what the data set's ``survey`` takes besides (``subsets`` of vocalsketch).

    Returns:
        The report. A fault is what ``load`` refuses, what it leaves out without saying so in the tables, a file that
        is missing, broken, silent, too short, at a rate that the set cannot have, of another length or rate than its
        table says, the copy of another, or that no table names; and what may have been meant as a sound and is none.
        Folders that are linked are walked as well; a note names those that are not.
    """
    faults: dict[Fault, None] = {}  # in order, each once
    root = Path(os.path.normpath(root))  # so that one file has one path
    base = root.parent if root.is_file() else root  # a table of pairs may be named itself

    def complain(path: Path, reason: str) -> None:
        faults[Fault(_show(path, base), reason)] = None

    survey: Survey[Any] = dataset.survey(root, complain, **options)
    for path, reason in survey.doubts:
        complain(path, reason)
    walked, passed_over, notes = find_sounds(root)
    # a file may lie below the folder twice, by its true path and by a linked folder; it counts once
    place = _Places()
    used, spare = ({place(path) for path in paths} for paths in (survey.files, survey.spare))
    on_disk = [path for path in walked if path in survey.files or place(path) not in used]
    sounds = _measure_all(sorted({*survey.files, *on_disk}), dataset.RATES, progress)
    for sound in sounds:
        for reason in (*sound.faults, *_contradictions(sound, survey)):
            complain(sound.path, reason)
    first: dict[str, Path] = {}
    for sound in sounds:
        if sound.digest and (sound.path in survey.files or place(sound.path) not in spare):
            other = first.setdefault(sound.digest, sound.path)
            if real_path(other) != real_path(sound.path):  # a link may be meant
                complain(sound.path, f"has the same content as {_show(other, base)}")
    if survey.files:  # else the tables could not be read, and every file would be one too many
        for path in on_disk:
            if path not in survey.files and place(path) not in spare:
                complain(path, "no table names it")
    for path, reason in passed_over:
        if place(path) not in used and place(path) not in spare:
            complain(path, reason)
    decoded = [sound for sound in sounds if sound.rate]
    seconds = [sound.seconds for sound in decoded]
    return CheckReport(
        name=dataset.NAME,
        root=str(root),
        items=len(survey.items),
        named=len(survey.files),
        files=len(on_disk) + sum(path.is_file() for path in set(survey.files) - set(on_disk)),
        hours=sum(seconds) / 3600,
        duration_s=(min(seconds), statistics.median(seconds), max(seconds)) if seconds else (0.0, 0.0, 0.0),
        rates=dict(sorted(Counter(sound.rate for sound in decoded).items())),
        channels=dict(sorted(Counter(sound.channels for sound in decoded).items())),
        labels=dict(sorted(Counter(_label(item) for item in survey.items).items())),
        notes=[*survey.notes, *notes],
        faults=list(faults),
    )


def _label(item: Clip | Pair) -> str:
    return item.label if isinstance(item, Clip) else item.category or "no category"


def _contradictions(sound: _Sound, survey: Survey[Any]) -> Iterator[str]:
    """In what a file is not as its table says."""
    seconds, rate = survey.told.get(sound.path, (math.nan, math.nan))
    if sound.rate and abs(sound.seconds - seconds) > TOLERANCE_S:
        yield f"lasts {sound.seconds:.2f} s, expected {seconds:.2f}"
    if sound.rate and abs(sound.rate - rate) > 0:
        yield f"at {sound.rate} Hz, its table says {rate:g}"


class _Places:
    """Tells where a file lies once the links among its folders are followed; a link that is a file stays one."""

    def __init__(self) -> None:
        self.folders: dict[Path, Path] = {}

    def __call__(self, path: Path) -> Path:
        if path.parent not in self.folders:
            self.folders[path.parent] = real_path(path.parent)
        return self.folders[path.parent] / path.name


def _measure_all(
    paths: list[Path], rates: tuple[int, int], progress: Callable[[str, int, int], None] | None
) -> list[_Sound]:
    sounds = []
    # threads: libsndfile decodes outside of the interpreter's lock
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, sound in enumerate(pool.map(lambda path: _measure(path, rates), paths), start=1):
            sounds.append(sound)
            if progress is not None:
                progress("", done, len(paths))
    return sounds


def _measure(path: Path, rates: tuple[int, int]) -> _Sound:
    samples = rate = channels = 0
    peak = channels_peak = 0.0
    low, high = float("inf"), -float("inf")
    try:
        for block in read_blocks(path):
            rate, channels = block.rate, block.channels
            samples += len(block.waveform)
            low, high = min(low, float(block.waveform.min())), max(high, float(block.waveform.max()))
            peak, channels_peak = max(high, -low), max(channels_peak, block.peak)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except AudioError as error:
        return _Sound(path, faults=(str(error).removeprefix(f"{one_line(path)}: "),))
    faults = []
    seconds = samples / rate
    if seconds < SHORTEST_S:
        faults.append(f"{samples} sample{'s'[: samples > 1]}, {seconds:.3f} s: too short to hold a sound")
    elif reason := cancelled(peak, channels, channels_peak):
        faults.append(reason)
    elif peak < STEP:
        faults.append("silent: no sample reaches 1/32768 of full scale")
    elif high - low < STEP:
        faults.append(f"silent: every sample is {high:.3f} of full scale")
    if not rates[0] <= rate <= rates[1]:
        expected = f"{rates[0]}" if rates[0] == rates[1] else f"{rates[0]} to {rates[1]}"
        faults.append(f"at {rate} Hz, expected {expected}")
    return _Sound(path, seconds, rate, channels, digest, tuple(faults))


def _show(path: Path, root: Path) -> str:
    """A path below the folder, on one line whatever characters it holds."""
    return one_line(path.relative_to(root) if path != root and path.is_relative_to(root) else path)
