"""A trial: the imitations of a table of pairs, searched among its recordings by whatever can search.

An imitation that stands in several pairs is one query with several right answers. A clip may be a query in one pair
and a candidate in another, but never a candidate for itself. Sameness is that of the files' bytes: a copy of the query
is no candidate for it, and a copy of a right answer is right. A table that names a copy of the query as its answer is
refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from iminet_viz.audio import find_audio, one_line, read_native
from iminet_viz.datasets import Pair
from iminet_viz.errors import AudioError, DatasetError
from iminet_viz.evaluation import (
    PairedResult,
    RetrievalResult,
    compare_paired,
    evaluate_retrieval,
    evaluate_within,
    reciprocal_ranks,
)
from iminet_viz.scoring import Scorer

AT_ONCE = 64  # queries


@dataclasses.dataclass(frozen=True)
class Trial:
    """Who is searched among whom, and what is right.

    ``answers`` and ``excluded`` are ``(queries, candidates)`` bool; ``categories`` are ``(queries,)``, all empty where
    the table has none; ``left_out`` are files of the folder that cannot be read, with the reason.
    """

    queries: tuple[Path, ...]
    candidates: tuple[Path, ...]
    answers: np.ndarray
    excluded: np.ndarray
    categories: np.ndarray
    left_out: tuple[tuple[Path, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """Figures of one system; ``within`` and ``by_category`` are of a table with categories."""

    overall: RetrievalResult
    within: RetrievalResult | None
    by_category: dict[str, RetrievalResult]

    def as_dict(self) -> dict[str, Any]:
        """Figures as JSON values: those over all, and ``within_category`` with each of its ``categories``."""
        figures = dataclasses.asdict(self.overall)
        if self.within is not None:
            each = {name: dataclasses.asdict(result) for name, result in self.by_category.items()}
            figures["within_category"] = {**dataclasses.asdict(self.within), "categories": each}
        return figures


def require_searchable(pairs: Sequence[Pair], table: Path) -> None:
    """Refuse pairs that nothing can be said about by searching.

    Raises:
        DatasetError: there are none, all have the same recording, or some have a category and others do not.
    """
    if not pairs:
        raise DatasetError(f"{one_line(table)}: no pairs, expected at least two")
    recordings = {pair.recording for pair in pairs}
    if len(recordings) < 2:
        raise DatasetError(
            f"{one_line(table)}: names one recording only, {one_line(min(recordings))}; a search needs at least two"
        )
    bare = [pair for pair in pairs if not pair.category]
    if bare and len(bare) < len(pairs):
        raise DatasetError(
            f"{one_line(table)}: the category is empty in {len(bare)} of {len(pairs)} pairs, the first is of "
            f"{one_line(bare[0].imitation)}; name all of them or none"
        )


def run_trial(
    pairs: Sequence[Pair],
    table: Path,
    scorers: Sequence[Scorer],
    folder: Path | None = None,
    report: Callable[[str, int, int], None] | None = None,
) -> tuple[Trial, list[np.ndarray]]:
    """Read each file once, keep it for each scorer, and score all pairs of queries and candidates.

    Args:
        pairs: rows of the table.
        table: for error messages.
        scorers: one or more.
        folder: every sound below it is one more candidate; those that cannot be read are left out.
        report: called with what is counted, how many are done, and how many there are.

    Returns:
        The trial, and of each scorer ``(queries, candidates)``, ``-inf`` where a candidate is the query itself.

    Raises:
        AudioError: a file of the table cannot be read, or the folder is missing or holds no sound.
        DatasetError: as for :func:`require_searchable`, files that are copies of each other counted once.
    """
    require_searchable(pairs, table)
    queries = list(dict.fromkeys(pair.imitation for pair in pairs))
    named = sorted({pair.recording for pair in pairs})
    known = {os.path.realpath(path) for path in named}
    extra = [] if folder is None else [path for path in find_audio(folder) if os.path.realpath(path) not in known]
    of_table = {*queries, *named}
    # those of the table first: what cannot be read there is said before a long folder is walked
    files = list(dict.fromkeys([*queries, *named, *extra]))
    heard_as = {"imitation": set(queries), "recording": {*named, *extra}}
    kept: dict[tuple[Path, str], list[tuple[Any, ...]]] = {}
    numbers: dict[str, int] = {}
    content: dict[Path, int] = {}  # equal for files of equal bytes
    left_out = []
    for done, path in enumerate(files, start=1):
        try:
            waveform, sample_rate = read_native(path)
        except AudioError as error:
            if path in of_table:
                raise
            left_out.append((path, str(error)))
        else:
            content[path] = numbers.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), len(numbers))
            for role, paths in heard_as.items():
                if path in paths:
                    kept[path, role] = [scorer.keep(waveform, sample_rate, role) for scorer in scorers]
        if report is not None:
            report("files read", done, len(files))
    candidates = [path for path in (*named, *extra) if path in content]
    right: dict[Path, list[int]] = {}
    category: dict[Path, str] = {}
    for pair in pairs:
        right.setdefault(pair.imitation, []).append(content[pair.recording])
        category[pair.imitation] = pair.category
    candidate_content = np.array([content[path] for path in candidates])
    answers = np.stack([np.isin(candidate_content, right[query]) for query in queries])
    same = np.array([content[query] for query in queries])[:, None] == candidate_content
    if (same & answers).any():
        query = queries[int((same & answers).any(axis=1).argmax())]
        raise DatasetError(f"{one_line(table)}: pairs {one_line(query)} with a copy of itself")
    if len(set(candidate_content.tolist())) < 2:
        raise DatasetError(f"{one_line(table)}: all recordings are copies of one; a search needs at least two")
    trial = Trial(
        queries=tuple(queries),
        candidates=tuple(candidates),
        answers=answers,
        excluded=same,
        categories=np.array([category[query] for query in queries]),
        left_out=tuple(left_out),
    )
    recordings = [kept[path, "recording"] for path in candidates]
    grids: list[list[np.ndarray]] = [[] for _ in scorers]
    for first in range(0, len(queries), AT_ONCE):  # queries do not depend on each other
        some = queries[first : first + AT_ONCE]
        for number, scorer in enumerate(scorers):
            imitations = [kept[path, "imitation"][number] for path in some]
            against = [clip[number] for clip in recordings]
            grids[number].append(scorer.scores(imitations, against, trial.excluded[first : first + AT_ONCE]))
        if report is not None:
            report("queries searched", first + len(some), len(queries))
    return trial, [np.concatenate(grid) for grid in grids]


def evaluate_trial(trial: Trial, scores: np.ndarray, seed: int = 0) -> TrialResult:
    """Figures of one system's ``(queries, candidates)`` scores, over all candidates and within each category."""
    overall = evaluate_retrieval(scores, trial.answers, seed)
    if not trial.categories[0]:
        return TrialResult(overall, None, {})
    return TrialResult(overall, *evaluate_within(scores, trial.answers, trial.categories, seed))


def compare_trial(trial: Trial, first: np.ndarray, second: np.ndarray, seed: int = 0) -> PairedResult:
    """First minus second system over the same queries, resampled by candidate: queries after one sound go together.

    A query with several right answers goes with those that have the same first one.
    """
    clusters = trial.answers.argmax(axis=1)
    own, other = (reciprocal_ranks(scores, trial.answers) for scores in (first, second))
    return compare_paired(own, other, clusters, seed)
