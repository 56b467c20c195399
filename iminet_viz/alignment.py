"""Why did this pair match by alignment? Which moments met, and what each meeting adds to the score: an exact sum.

The aligned net, the two untrained alignments and fusions of them score a pair by a path of pairs of frames. Each pair
costs its distance, so what it adds is at most 0; what is drawn is how much nearer its frames are than two frames of
these clips taken at random.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from iminet_viz.baselines import BASELINES
from iminet_viz.errors import PatternError
from iminet_viz.frames import MEL_FRAMES, TRIMS_DB, loud_span, mel_decibels
from iminet_viz.frontends import LogMelConfig, log_mel_of_frames
from iminet_viz.models.aligned import DURATION_COST, LEVEL_WEIGHT, STEP_COST
from iminet_viz.retrieval import best_windows
from iminet_viz.scoring import AlignedPart, Part, Scorer

RATE = MEL_FRAMES.sample_rate
HOP_S = MEL_FRAMES.hop_length / RATE
ROLES = ("imitation", "recording")
ROTATIONS = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """How one part aligned a pair.

    Attributes:
        part: its name.
        weight: of its standardised scores in the fusion.
        score: what it gives the pair: ``adds.sum() + duration_adds``.
        edges: by role, ``(frames + 1,)``, where the compared frames begin and end in the clip, in seconds.
        distances: ``(frames, frames)`` of imitation and recording.
        path: ``(meetings, 2)``, frames of imitation and recording that met.
        adds: ``(meetings,)``, what each adds to the score, at most 0.
        duration_adds: what the difference in duration adds, at most 0.
        rotated: scores of the same recording, where its sounding part begins at another moment and goes on from its end
            to its beginning. (Frames in random order would be no control: learned frames tell where in the clip they
            are, so that even noise matches noise better in the right order.)
    """

    part: str
    weight: float
    score: float
    edges: dict[str, np.ndarray]
    distances: np.ndarray
    path: np.ndarray
    adds: np.ndarray
    duration_adds: float
    rotated: tuple[float, ...]

    @property
    def nearness(self) -> np.ndarray:
        """Of each meeting, ``(meetings,)``: 1 for equal frames, 0 for two of these clips at random, below 0 farther."""
        chance = float(self.distances.mean())
        met = self.distances[self.path[:, 0], self.path[:, 1]]
        return 1 - met / chance if chance > 0 else np.ones(len(met))

    @property
    def beaten(self) -> float:
        """Number of rotations that score less; a tie counts half, so half is chance."""
        return float((np.sign(self.score - np.array(self.rotated)) + 1).sum() / 2)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values; each meeting with its seconds."""
        meetings = [
            {
                **{
                    role: [round(float(self.edges[role][frame + end]), 4) for end in (0, 1)]
                    for role, frame in zip(ROLES, pair, strict=True)
                },
                "adds": float(added),
                "nearness": float(near),
            }
            for pair, added, near in zip(self.path, self.adds, self.nearness, strict=True)
        ]
        return {
            "part": self.part,
            "weight": self.weight,
            "score": self.score,
            "compared_s": {role: [float(edges[0]), float(edges[-1])] for role, edges in self.edges.items()},
            "meetings_add": float(self.adds.sum()),
            "duration_adds": self.duration_adds,
            "nearness": float(self.nearness.mean()),
            "rotated": list(self.rotated),
            "beaten": self.beaten,
            "meetings": meetings,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class AlignedExplanation:
    """How all parts of a scorer aligned a pair.

    Attributes:
        model: the scorer's name.
        alignments: of each part.
        inputs: by role, ``(bands, frames)`` in dB below the clip's maximum, of all that was heard.
        frontends: by role, of these.
        spans: by role, start and stop in the file of what was heard, in seconds; all times count from the start.
    """

    model: str
    alignments: tuple[Alignment, ...]
    inputs: dict[str, np.ndarray]
    frontends: dict[str, LogMelConfig]
    spans: dict[str, tuple[float, float]]
    target: str = "score"

    @property
    def value(self) -> float | None:
        """The score; None of a fusion, whose scores are relative to a library."""
        return self.alignments[0].score if len(self.alignments) == 1 else None

    def profile(self, role: str) -> np.ndarray:
        """Nearness over time: ``(frames,)``, every 10 ms, mean of the parts by weight; NaN where none compared."""
        time = (np.arange(self.inputs[role].shape[1]) + 0.5) * HOP_S
        total, weight = np.zeros(len(time)), np.zeros(len(time))
        for own in self.alignments:
            edges, side = own.edges[role], own.path[:, ROLES.index(role)]
            near = np.bincount(side, own.nearness) / np.bincount(side)
            frame = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, len(near) - 1)
            compared = (time >= edges[0]) & (time < edges[-1])
            total += np.where(compared, own.weight * near[frame], 0)
            weight += np.where(compared, own.weight, 0)
        return np.where(weight > 0, total / np.maximum(weight, 1e-12), np.nan)

    def moments(self, count: int = 5) -> list[dict[str, Any]]:
        """Stretches of the imitation that are nearest to what they met, and where that is in the recording."""
        near = self.profile("imitation")
        time = (np.arange(len(near)) + 0.5) * HOP_S
        good = np.nan_to_num(near, nan=-np.inf) >= max(0.0, float(np.nanquantile(near, 0.6)))
        edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(int)))
        found: list[dict[str, Any]] = []
        for start, stop in edges.reshape(-1, 2):
            if (stop - start) * HOP_S < 0.04:  # shorter than a frame
                continue
            ends = []
            for own in self.alignments:
                centres = {role: (e[1:] + e[:-1]) / 2 for role, e in own.edges.items()}
                query, met = (centres[role][own.path[:, side]] for side, role in enumerate(ROLES))
                inside = met[(query >= time[start]) & (query <= time[stop - 1])]
                if len(inside):
                    ends.append((inside.min(), inside.max()))
            if not ends:
                continue
            low, high = np.median(ends, axis=0)
            found.append(
                {
                    "imitation": [round(float(edge) * HOP_S, 3) for edge in (start, stop)],
                    "recording": [round(max(0.0, float(low) - 0.02), 3), round(float(high) + 0.02, 3)],
                    "nearness": float(near[start:stop].mean()),
                }
            )

        def weight(moment: dict[str, Any]) -> float:
            start, stop = moment["imitation"]
            return float(moment["nearness"] * (stop - start))

        return sorted(found, key=weight, reverse=True)[:count]

    @property
    def warnings(self) -> list[str]:
        """Why not to believe the picture, each a sentence."""
        said = []
        weights = np.array([own.weight for own in self.alignments])
        beaten = float(np.average([own.beaten / len(own.rotated) for own in self.alignments], weights=weights))
        if beaten < 0.8:
            said.append(
                f"Begun at another moment the recording scores as much in {1 - beaten:.0%} of the cases: the clips may "
                "be alike in colour, but this match says little about their course in time."
            )
        near = float(np.average([own.nearness.mean() for own in self.alignments], weights=weights))
        if near < 0.1:
            said.append(
                "The moments that met are hardly nearer than any two moments of these clips: even the best alignment "
                "found little that is alike."
            )
        return said

    def as_dict(self) -> dict[str, Any]:
        """Everything but the spectrograms and distances, as JSON values."""
        return {
            "kind": "alignment",
            "model": self.model,
            "target": self.target,
            "value": self.value,
            "parts": [own.as_dict() for own in self.alignments],
            "moments": self.moments(),
            "warnings": self.warnings,
        }


def can_align(scorer: Scorer) -> bool:
    """Tell whether every part of a scorer aligns frames."""
    return all(
        isinstance(part, AlignedPart) or part in (BASELINES["dtw"], BASELINES["dtw-mfcc"]) for part in scorer.parts
    )


def explain_alignment(
    scorer: Scorer,
    query: str | os.PathLike[str],
    candidate: str | os.PathLike[str],
    seed: int = 0,
    report: Callable[[float], None] | None = None,
) -> AlignedExplanation:
    """Explain the score of an imitation and a recording by what was aligned.

    Args:
        scorer: see :func:`can_align`.
        query: file of the imitation.
        candidate: file of the recording; those windows of both are explained that a search scores highest.
        seed: of the rotations.
        report: called with the share that is done; what it raises ends the work.

    Raises:
        AudioError: a file cannot be read, is silent or too short.
        PatternError: a part of the scorer does not align.
    """
    if not can_align(scorer):
        raise PatternError(f"{scorer.name}: not every part of it aligns frames")
    clips, spans = best_windows(scorer, query, candidate)
    db = {role: mel_decibels(clip) for role, clip in clips.items()}
    rotated = _rotate(clips["recording"], db["recording"], seed)
    total, done = len(scorer.parts) * (1 + ROTATIONS), itertools.count(1)

    def step() -> None:
        if report is not None:
            report(next(done) / total)

    alignments = [
        _align(part, weight, clips, db, rotated, step)
        for part, weight in zip(scorer.parts, scorer.weights, strict=True)
    ]
    config = log_mel_of_frames(MEL_FRAMES).config
    frontends = {role: dataclasses.replace(config, n_frames=x.shape[1]) for role, x in db.items()}
    return AlignedExplanation(scorer.name, tuple(alignments), db, frontends, spans)


def hear_alignment(waveform: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """Let through the moments that are near to what they met: ``(samples,)`` at 16 kHz to as many as were heard.

    Raises:
        PatternError: no moment is nearer than chance.
    """
    from scipy.ndimage import gaussian_filter1d

    near = np.maximum(np.nan_to_num(profile), 0)
    if not near.any():
        raise PatternError("no moment of this clip is nearer to what it met than chance")
    gain = gaussian_filter1d(np.minimum(near / np.quantile(near[near > 0], 0.9), 1), 1.0)  # 10 ms: no clicks
    at = np.arange(len(waveform)) / (HOP_S * RATE) - 0.5
    return (waveform * np.interp(at, np.arange(len(gain)), gain)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class _Cut:
    """Frames of a clip between two moments: ``values`` ``(frames, features)``, ``weights`` ``(frames,)``."""

    values: np.ndarray
    weights: np.ndarray
    edges: np.ndarray  # (frames + 1,), seconds
    duration_s: float


def _cuts(part: Part, waveform: np.ndarray, db: np.ndarray, role: str) -> list[_Cut]:
    """What a part compares of a clip: as it keeps it, with the seconds of each frame."""
    kept: Any = part.keep(waveform, role)
    if isinstance(part, AlignedPart):
        cuts = []
        for vector, trim_db in zip(kept, TRIMS_DB[role], strict=True):
            values = vector[:-1].reshape(-1, part.network.config.features)
            span = loud_span(db, trim_db)
            start, stop = span.start, span.stop
            pooled = -(-(stop - start) // MEL_FRAMES.pool)
            # every other of 64 positions from the first pooled frame to the last
            place = 2 * np.arange(len(values)) / (MEL_FRAMES.n_frames - 1) * (pooled - 1)
            centres = np.minimum(start + MEL_FRAMES.pool * (place + 0.5), stop)
            edges = np.concatenate([[start], (centres[1:] + centres[:-1]) / 2, [stop]]) * HOP_S
            cuts.append(_Cut(values, np.ones(len(values)), edges, float(np.exp(vector[-1]))))
        return cuts
    span = loud_span(db, MEL_FRAMES.trim_db)
    start, stop = span.start, span.stop
    values, weights, duration_s = kept, np.ones(len(kept)) if isinstance(kept, np.ndarray) else None, 1.0
    if weights is None:
        values, duration_s = kept.values, kept.duration_s
        weights = np.exp(LEVEL_WEIGHT * kept.level_db / 10)
    edges = np.minimum(start + MEL_FRAMES.pool * np.arange(len(values) + 1), stop) * HOP_S
    return [_Cut(values, weights, edges, duration_s)]


def _align(
    part: Part,
    weight: float,
    clips: dict[str, np.ndarray],
    db: dict[str, np.ndarray],
    rotated: list[np.ndarray],
    step: Callable[[], None],
) -> Alignment:
    """Align a pair, then its rotations; ``step`` is called after the pair and after each rotation."""
    from scipy.spatial.distance import cdist

    if isinstance(part, AlignedPart):
        name, step_cost = part.model.name, 1.0
        duration_cost = part.network.duration_cost
    elif part is BASELINES["dtw"]:
        name, step_cost, duration_cost = "dtw", STEP_COST, DURATION_COST
    else:
        name, step_cost, duration_cost = "dtw-mfcc", 1.0, 0.0
    queries, candidates = (_cuts(part, clips[role], db[role], role) for role in ROLES)
    best: Alignment | None = None
    for query in queries:
        for candidate in candidates:
            loudest = np.maximum(query.weights[:, None], candidate.weights)
            distances = cdist(query.values.astype(np.float64), candidate.values.astype(np.float64)) * loudest
            path, costs = warp(distances, step_cost)
            adds = 0.0 - costs / sum(distances.shape)  # never -0.0
            longer = 0.0 - duration_cost * abs(float(np.log(query.duration_s) - np.log(candidate.duration_s)))
            score = float(adds.sum()) + longer
            if best is None or score > best.score:
                edges = {"imitation": query.edges, "recording": candidate.edges}
                best = Alignment(name, weight, score, edges, distances, path, adds, longer, ())
    assert best is not None
    step()
    kept = part.keep(clips["imitation"], "imitation")
    scores = []
    for clip in rotated:
        scores.append(part.scores([kept], [part.keep(clip, "recording")]).item())
        step()
    return dataclasses.replace(best, rotated=tuple(scores))


def _rotate(clip: np.ndarray, db: np.ndarray, seed: int) -> list[np.ndarray]:
    """Begin a clip's sounding part at other moments; what is cut off at its ends stays."""
    loud = loud_span(db, max(TRIMS_DB["recording"]))
    sounding = slice(loud.start * MEL_FRAMES.hop_length, loud.stop * MEL_FRAMES.hop_length)
    rotated = []
    for share in np.random.default_rng(seed).uniform(0.15, 0.85, ROTATIONS):
        other = clip.copy()
        other[sounding] = np.roll(clip[sounding], round(share * len(clip[sounding])))
        rotated.append(other)
    return rotated


def warp(distances: np.ndarray, step_cost: float) -> tuple[np.ndarray, np.ndarray]:
    """Find the path of :func:`iminet_viz.models.aligned.align_scores`, and what each of its pairs costs.

    Shape:
        ``(n, m)`` to ``(pairs, 2)`` and ``(pairs,)``; a diagonal step wins a tie.
    """
    n, m = distances.shape
    cost = distances.tolist()
    total = [[0.0] * m for _ in range(n)]
    came = [[0] * m for _ in range(n)]  # 0 diagonal, 1 from above, 2 from the left
    for i in range(n):
        for j in range(m):
            own = cost[i][j]
            if i and j:
                ways = (
                    total[i - 1][j - 1] + own,
                    total[i - 1][j] + step_cost * own,
                    total[i][j - 1] + step_cost * own,
                )
                came[i][j] = way = ways.index(min(ways))
                total[i][j] = ways[way]
            elif i or j:
                came[i][j] = 1 if i else 2
                total[i][j] = (total[i - 1][j] if i else total[i][j - 1]) + step_cost * own
            else:
                total[i][j] = own
    i, j = n - 1, m - 1
    path, costs = [], []
    while True:
        way = came[i][j]
        path.append((i, j))
        costs.append(cost[i][j] * (step_cost if way else 1.0))
        if i == 0 and j == 0:
            break
        i, j = i - (way != 2), j - (way != 1)
    return np.array(path[::-1]), np.array(costs[::-1])
