"""An imitation to ranked hits: which sounds of a library, where in them, and how far they stand out.

::

    file -windows.decode-> windows -keep-> halves of the query -scan-> windows of the library -> one hit a file

A file's score is that of its best window for the best window of the query, so a hit says where. The answer is exact
unless a recall below 1 is asked for.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from iminet_viz.audio import Block, atomic_path, one_line, read_native, save_audio
from iminet_viz.errors import AudioError, LibraryError, SearchError
from iminet_viz.index import Library
from iminet_viz.scan import Rows
from iminet_viz.scan.aligned import CALIBRATED_BY, Calibration
from iminet_viz.scoring import Part, Scorer, fuse
from iminet_viz.windows import LONGEST_S, Sound, Span, WindowConfig, decode

SAMPLE = 256  # windows of the library that a hit is compared with: their median is known to .08 of their deviation
CLIPPED = 3  # equal samples in a row at the peak
QUIET = 0.01  # peak, -40 dB: louder is better for the microphone's noise
SHORT_S = 0.1
EXCERPT_S = 30.0  # of a longer file only what was found is exported


@dataclasses.dataclass(frozen=True)
class Query:
    """What is searched with.

    Attributes:
        name: of the file.
        duration_s: of the file.
        spans: start and stop of its windows in seconds.
        halves: of each part of the scorer ``(windows, values)`` float32.
        warnings: what is wrong with the recording, a sentence each.
    """

    name: str
    duration_s: float
    spans: tuple[tuple[float, float], ...]
    halves: tuple[np.ndarray, ...]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Hit:
    """One file of the library.

    Attributes:
        rank: from 1.
        path: of the file.
        start_s: where the best window begins.
        stop_s: where it ends.
        duration_s: of the file.
        score: higher is more alike; comparable for one query only.
        percentile: share of the other searched files that score less, in percent.
        stands_out: how far the score is above a window of the library at random, in robust deviations (1.48 times the
            median absolute deviation; of a sample, or for a fusion of all); None for a library too small to say.
        label: folder of the file below the root that was added.
        licence: empty where it is not known.
    """

    rank: int
    path: str
    start_s: float
    stop_s: float
    duration_s: float
    score: float
    percentile: float
    stands_out: float | None
    label: str
    licence: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """The hits for a query, which it yields, and what the search was.

    Attributes:
        hits: best first, one a file.
        query: what was searched with.
        files: that were searched.
        windows: of these.
        exact: whether every window was settled; otherwise ``recall`` is what was measured, see
            :class:`~iminet_viz.scan.aligned.Calibration`.
        seconds: of its steps: ``query`` (model, decode, front end, network), ``library`` (in memory, prepared) and
            ``scan``.
    """

    hits: tuple[Hit, ...]
    query: Query
    files: int
    windows: int
    exact: bool
    recall: float | None
    seconds: dict[str, float]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "hits": [
                {**dataclasses.asdict(hit), "path": os.fsencode(hit.path).decode("utf-8", "replace")}
                for hit in self.hits
            ],
            "query": {
                "name": self.query.name,
                "duration_s": self.query.duration_s,
                "spans": [list(span) for span in self.query.spans],
                "warnings": list(self.query.warnings),
            },
            "files": self.files,
            "windows": self.windows,
            "exact": self.exact,
            "recall": self.recall,
            "seconds": dict(self.seconds),
        }


class SoundLibrary(Library):
    """A library that can be searched by voice."""

    def search(
        self,
        query: str | os.PathLike[str] | Query,
        k: int = 10,
        text: str = "",
        recall: float | None = None,
    ) -> Answer:
        """Find the sounds that an imitation means.

        Args:
            query: a sound file, or what :meth:`hear` made of one.
            k: hits that are wanted, at least 1.
            text: only files whose name, folders or label hold all of these words.
            recall: below 1, the share of the first ten to find, for speed; exact without it. What is measured is of
                queries drawn from the library, which also choose what is left out.

        Raises:
            AudioError: the query cannot be read, is silent or too short.
            LibraryError: the library is empty, or was made with another model.
            SearchError: no file holds the words, or the query's values are not finite.
        """
        if k < 1:
            raise SearchError(f"{k} hits were asked for, expected at least 1")
        if recall is not None and not 0 < recall <= 1:
            raise SearchError(f"a recall of {recall} was asked for, expected more than 0 and at most 1")
        began = time.perf_counter()
        with ThreadPoolExecutor(1) as other:
            reading = other.submit(self._read_copy)  # while the model is loaded
            if not isinstance(query, Query):
                query = self.hear(query)
            reading.result()
        heard = time.perf_counter()
        if not len(self.windows):
            raise LibraryError(f"{one_line(self.path)}: holds no sound yet; see iminet-viz index add")
        for part in range(len(self.scorer.parts)):
            self.rows(part)
        ready = time.perf_counter()
        allowed = self._allowed(text)
        of_file = self.windows.file
        files = len(self.windows.files.paths if allowed is None else np.unique(of_file[allowed]))
        fused = self._fused(query) if len(self.scorer.parts) > 1 else None
        scores, first = self._best_files(query, min(k, files), allowed, recall, fused)
        low, spread = self._background(query, fused)
        as_good = np.searchsorted(-scores, -scores, side="right")  # files; equal scores stand together
        hits = []
        for rank, (row, score) in enumerate(zip(first[:k], scores, strict=False), start=1):
            file = int(of_file[row])
            hits.append(
                Hit(
                    rank=rank,
                    path=self.windows.files.paths[file],
                    start_s=float(self.windows.start_s[row]),
                    stop_s=float(self.windows.stop_s[row]),
                    duration_s=float(self.windows.files.durations_s[file]),
                    score=float(score),
                    percentile=100 * float(files - as_good[rank - 1]) / (files - 1) if files > 1 else 100.0,
                    stands_out=None if spread is None else (float(score) - low) / spread,
                    label=self.windows.files.labels[file],
                    licence=self.windows.files.licences[file],
                )
            )
        seconds = {"query": heard - began, "library": ready - heard, "scan": time.perf_counter() - ready}
        windows = len(of_file) if allowed is None else int(allowed.sum())
        # a library of few windows is settled whole, whatever recall is asked for
        measured = None if recall is None else self._measured_recall(recall)
        return Answer(tuple(hits), query, files, windows, measured is None, measured, seconds)

    def hear(self, path: str | os.PathLike[str]) -> Query:
        """Turn an imitation into what is searched with.

        Raises:
            AudioError: it cannot be read, is silent or too short.
        """
        scorer = self.scorer
        beginning = _Beginning()
        sound = decode(path, _windows_of(scorer, "imitation"), beginning.append)
        try:
            spans = [span for span in sound.spans if span.start < LONGEST_S * sound.rate]
            if not spans:
                text = f"its first {LONGEST_S:.0f} s, which are searched with, are silent"
                raise AudioError(f"{one_line(Path(path))}: {text}")
            kept = [
                np.stack(
                    [part.query(part.keep(sound.cut(s, part.sample_rate("imitation")), "imitation")) for s in spans]
                )
                for part in scorer.parts
            ]
            return Query(
                name=one_line(Path(Path(path).name)),
                duration_s=sound.duration_s,
                spans=tuple(sound.seconds(span) for span in spans),
                halves=tuple(np.ascontiguousarray(half, np.float32) for half in kept),
                warnings=tuple(judge_query(beginning.waveform, sound.rate, sound.duration_s)),
            )
        finally:
            sound.close()

    def _allowed(self, text: str) -> np.ndarray | None:
        if not text.strip():
            return None
        mask = self.words_mask(text)
        if not mask.any():
            raise SearchError(f"no sound of the library has {text.strip()!r} in its name, its folders or its label")
        return mask

    def rows(self, part: int = 0) -> Rows:
        """The rows of a part, ready to be searched, resident for this version of the table."""
        if ("rows", part) not in self._cached:
            self._cached["rows", part] = self.scorer.parts[part].rows(self.vectors(part), self.device)
        return self._cached["rows", part]

    def _best_files(
        self,
        query: Query,
        k: int,
        allowed: np.ndarray | None,
        recall: float | None,
        fused: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the best files, and the row of the best window of each: k, and all that are as good as the kth."""
        of_file = self.windows.file
        if fused is not None:
            order = np.argsort(-fused, kind="stable")
            order = order if allowed is None else order[allowed[order]]
            first = order[np.sort(np.unique(of_file[order], return_index=True)[1])]
            return fused[first], first
        total = len(of_file) if allowed is None else int(allowed.sum())
        wanted = min(4 * k, total)
        options = {} if recall is None or not self.can_skip else {"recall": recall}
        if "recall" in options and options["recall"] < 1:
            self._calibrate(options["recall"])
        while True:  # until the first windows are of enough files, and the last is worse than these
            rows, scores = self.rows().search([query.halves[0]], wanted, allowed, **options)[0]
            places = np.sort(np.unique(of_file[rows], return_index=True)[1])
            if wanted >= total or (len(places) >= k and scores[-1] < scores[places[k - 1]]):
                return scores[places], rows[places]
            wanted = min(4 * wanted, total)

    def _calibrate(self, recall: float) -> None:
        """Take what a recall needs from beside the index, or find it out, which takes seconds, and keep it there."""
        rows: Any = self.rows()
        if recall in rows.calibrations or not rows.skips:
            return
        name = f"recall {recall!r} of {self.scorer.fingerprint} by {CALIBRATED_BY}"
        if (known := self.note(name)) is not None:
            rows.calibrations[recall] = Calibration(**known)
        else:
            self.keep_note(name, dataclasses.asdict(rows.calibrate(recall)))

    def _fused(self, query: Query) -> np.ndarray:
        """Sum of the parts' scores, standardised over all windows, so that words change none: ``(windows,)``."""
        grids = [self.rows(number).scores(half)[None] for number, half in enumerate(query.halves)]
        return fuse(grids, self.scorer.weights)[0]

    def _background(self, query: Query, fused: np.ndarray | None) -> tuple[float, float | None]:
        """Median and robust deviation of the scores of windows at random; of a fusion, which has them, of all."""
        n = len(self.windows)
        if n < 20:
            return 0.0, None
        rows = np.sort(np.random.default_rng(0).choice(n, size=min(n, SAMPLE), replace=False))
        sample = self.rows().scores(query.halves[0], rows) if fused is None else fused
        middle = float(np.median(sample))
        spread = 1.4826 * float(np.median(np.abs(sample - middle)))
        return middle, spread if spread > 0 else None

    @property
    def can_skip(self) -> bool:
        """Whether ``recall`` means anything to its rows."""
        return len(self.scorer.parts) == 1 and hasattr(self.rows(), "calibrations")

    def _measured_recall(self, recall: float) -> float | None:
        """What was measured when windows were left out for this recall; None where none were."""
        if not self.can_skip:
            return None
        calibration = getattr(self.rows(), "calibrations", {}).get(recall)
        return None if calibration is None else float(calibration.measured)


def open_index(
    path: str | os.PathLike[str], model: str | Scorer | Any | None = None, device: str = "cpu"
) -> SoundLibrary:
    """As :func:`iminet_viz.index.open_index`, and the library can be searched; ``device`` also scans its rows."""
    return SoundLibrary(path, model, device)


def _windows_of(scorer: Scorer, role: str) -> WindowConfig:
    """How a file of a side is cut for a scorer: so that no part misses what the others hear."""
    lengths = [part.query_window_s if role == "imitation" else part.window_s for part in scorer.parts]
    rates = tuple(sorted({part.sample_rate(role) for part in scorer.parts}))
    return WindowConfig(min(lengths), rates, any(part.whole for part in scorer.parts))


def best_windows(
    scorer: Scorer, query: str | os.PathLike[str], candidate: str | os.PathLike[str]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[float, float]]]:
    """Those windows of an imitation and a recording that a search compares and scores highest.

    The scores of a fusion are standardised over the windows of these two files, not over a library.

    Returns:
        by role the samples, ``(samples,)`` at the rate of the first part, and start and stop in the file in seconds.

    Raises:
        AudioError: a file cannot be read, is silent or too short.
    """
    sounds: dict[str, Sound] = {}
    spans: dict[str, list[Span]] = {}
    with contextlib.ExitStack() as stack:
        for role, path in (("imitation", query), ("recording", candidate)):
            sounds[role] = stack.enter_context(contextlib.closing(decode(path, _windows_of(scorer, role))))
            spans[role] = sounds[role].spans
        # what a search hears of a long imitation; if that is silent, all of it
        heard = [span for span in spans["imitation"] if span.start < LONGEST_S * sounds["imitation"].rate]
        spans["imitation"] = heard or spans["imitation"]

        def cut(part: Part, role: str, span: Span) -> np.ndarray:
            return sounds[role].cut(span, part.sample_rate(role))

        grids = []
        for part in scorer.parts:
            kept = [[part.keep(cut(part, role, span), role) for span in own] for role, own in spans.items()]
            grids.append(np.asarray(part.scores(*kept), np.float64))
        scores = grids[0] if len(grids) == 1 else fuse([grid.reshape(1, -1) for grid in grids], scorer.weights)
        best = np.unravel_index(scores.argmax(), grids[0].shape)
        found = {role: own[place] for (role, own), place in zip(spans.items(), best, strict=True)}
        windows = {role: cut(scorer.parts[0], role, span) for role, span in found.items()}
        return windows, {role: sounds[role].seconds(span) for role, span in found.items()}


class _Beginning:
    """The first ``LONGEST_S`` of a file, from its blocks."""

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []
        self.missing = 0

    def append(self, block: Block) -> None:
        if not self.blocks:
            self.missing = round(LONGEST_S * block.rate)
        if self.missing:  # not even an empty part of a later one, which would keep all of it
            self.blocks.append(block.waveform[: self.missing])
            self.missing -= len(self.blocks[-1])

    @property
    def waveform(self) -> np.ndarray:
        return np.concatenate(self.blocks)


def judge_query(waveform: np.ndarray, sample_rate: int, duration_s: float | None = None) -> list[str]:
    """What is wrong with a recording, a sentence each.

    Args:
        waveform: ``(samples,)`` at its own rate, or the beginning that is searched with.
        sample_rate: in Hz.
        duration_s: of the whole recording  [default: of ``waveform``].
    """
    said = []
    duration_s = len(waveform) / sample_rate if duration_s is None else duration_s
    peak = float(np.abs(waveform).max(initial=0))
    flat = np.abs(waveform) >= 0.999 * peak
    runs = np.convolve(flat, np.ones(CLIPPED), "valid") >= CLIPPED if len(flat) >= CLIPPED else np.zeros(0)
    if peak > 0.3 and runs.sum() > max(3, 1e-4 * len(waveform)):
        said.append("It is clipped: record it again with less gain, if you can.")
    if 0 < peak < QUIET:
        said.append(f"It is very quiet (peak {20 * np.log10(peak):.0f} dB): come closer to the microphone.")
    if duration_s < SHORT_S:
        said.append(f"It is very short ({1000 * duration_s:.0f} ms).")
    if duration_s > LONGEST_S:
        said.append(f"It is long: only the first {LONGEST_S:.0f} s are searched with.")
    if sample_rate < 16_000:
        said.append(f"Its rate is {sample_rate} Hz, so nothing above {sample_rate / 2000:g} kHz can be heard in it.")
    return said


# --- taking hits away -----------------------------------------------------------------------------------------------

COLUMNS = [field.name for field in dataclasses.fields(Hit)]


def to_csv(answer: Answer) -> str:
    """Hits as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(answer.as_dict()["hits"])
    return text.getvalue()


def to_m3u(answer: Answer) -> str:
    """Hits as an extended M3U playlist; a player that knows it starts where the hit is."""
    lines = ["#EXTM3U"]
    for hit in answer.hits:
        path = Path(hit.path)
        lines.append(f"#EXTINF:{max(1, round(hit.duration_s))},{one_line(Path(path.name))}")
        if hit.start_s > 0:
            lines.append(f"#EXTVLCOPT:start-time={hit.start_s:.2f}")
        odd = any(ord(c) < 32 or 0xDC80 <= ord(c) <= 0xDCFF for c in hit.path)
        lines.append(path.as_uri() if odd else hit.path)
    return "\n".join(lines) + "\n"


def export_hits(answer: Answer, out: Path) -> list[Path]:
    """Copy the hits to a folder, named by rank; of files longer than ``EXCERPT_S`` what was found, as FLAC.

    ``hits.csv`` beside them says where each came from and its licence.

    Returns:
        the files written.

    Raises:
        SearchError: the folder is not empty, or a file is gone.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SearchError(f"{one_line(out)}: is not an empty folder")
    if gone := [hit for hit in answer.hits if not Path(hit.path).is_file()]:
        raise SearchError(
            f"{one_line(Path(gone[0].path))}: is gone, so it cannot be exported; see index remove --missing"
        )
    out.mkdir(parents=True, exist_ok=True)
    written = []
    digits = len(str(len(answer.hits)))
    for hit in answer.hits:
        path = Path(hit.path)
        stem = re.sub(r"[^\w .-]+", "_", os.fsencode(path.stem).decode("utf-8", "replace"))[:100]
        name = f"{hit.rank:0{digits}d} {stem}"
        if hit.duration_s > EXCERPT_S:
            target = out / f"{name} {hit.start_s:.1f}s.flac"
            waveform, rate = read_native(path)
            save_audio(target, waveform[round(hit.start_s * rate) : round(hit.stop_s * rate)], rate)
        else:
            target = out / f"{name}{path.suffix.lower()}"
            with atomic_path(target) as temporary:
                shutil.copyfile(path, temporary)
        written.append(target)
    with atomic_path(out / "hits.csv") as temporary:
        temporary.write_text(to_csv(answer), encoding="utf-8")
    return [*written, out / "hits.csv"]


def to_json(answer: Answer) -> str:
    """Everything as JSON."""
    return json.dumps(answer.as_dict(), indent=2, allow_nan=False)


__all__ = [
    "Answer",
    "Hit",
    "Query",
    "SoundLibrary",
    "best_windows",
    "export_hits",
    "judge_query",
    "open_index",
    "to_csv",
    "to_json",
    "to_m3u",
]
