"""What a pair of inputs of an fc1 unit proves: who gives how much, and are its sides alike (paper, section VII, 3)?

A unit of fc1 sees an imitation and a recording. Shares of both sides are exact Shapley values of a game of two, whose
absent side is silence as the front end sees it (zeros), as in :mod:`iminet_viz.attribution`. Before its ReLU the unit
is a sum of two halves, so there both sides can gain nothing from each other; after it they can.

The paper hears that the sides of a pair "are similar from the aspect of temporal evolution but with timbre being
different". Here that is two correlations, each against the sides of different pairs: of the level over time, and of the
mean spectrum, where both sides have time and frequency in common. Both are correlations of dB: it is what the network
sees, and about what is heard as loud. Of power, one loud frame in 80 dB of range decides alone; it is stated too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iminet_viz.checkpoint import TrainedModel
from iminet_viz.errors import PatternError
from iminet_viz.evaluation import bootstrap_interval
from iminet_viz.frontends import FrontEndConfig, make_frontend, to_mel_power
from iminet_viz.models import Siamese
from iminet_viz.patterns.engine import Pattern
from iminet_viz.patterns.evidence import single_term, unit_columns

ROLES = ("imitation", "recording")
RESAMPLES = 2_000
AT_ONCE = 8  # sides in a tower: conv1's maps of one imitation take 3 MB


@dataclasses.dataclass(frozen=True)
class PairEvidence:
    """What one unit's pair proves; activations are those of the original ReLU network.

    Attributes:
        neuron: the unit of fc1.
        activation: of both sides together.
        silence: of silence on both sides.
        alone: by role, of that side with silence on the other.
        shares: by role, Shapley value; both sum to ``activation - silence``.
        synergy: ``v(both) - v(imitation) - v(recording) + v(silence)``: below 0 where the sides do the same work.
        synergy_before_relu: the same before the ReLU, where it is 0 but for rounding.
        others: number of other pairs that it was set against.
        kept: by the role that is exchanged for that of each other pair, mean share of the activation that is left;
            None without other pairs or activation.
        envelope: correlation of both sides' level over common time, of dB.
        envelope_power: the same of power.
        spectrum: correlation of both sides' mean spectrum over common frequencies, of dB.
        spectrum_power: the same of power.
        across: by the names of these four, the mean of the correlations that either side has with the other side of the
            other pairs; None without other pairs.
    """

    neuron: int
    activation: float
    silence: float
    alone: dict[str, float]
    shares: dict[str, float]
    synergy: float
    synergy_before_relu: float
    others: int
    kept: dict[str, float | None]
    envelope: float
    envelope_power: float
    spectrum: float
    spectrum_power: float
    across: dict[str, float | None]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    def measures(self) -> dict[str, float | None]:
        """What :class:`iminet_viz.patterns.evidence.Evidence` holds of it."""
        gained = self.activation - self.silence
        kept = [value for value in self.kept.values() if value is not None]
        return {
            "imitation_share": self.shares["imitation"] / gained if gained > 0 else None,
            "synergy_share": self.synergy / self.activation if self.activation > 0 else None,
            "swap_kept": float(np.mean(kept)) if kept else None,
            "alike_in_time": self.envelope,
            "alike_in_timbre": self.spectrum,
        }


@dataclasses.dataclass(frozen=True)
class Likeness:
    """Are the two sides of a pair more alike than an imitation side and a recording side of different pairs?

    Attributes:
        own: mean correlation within pairs.
        others: mean correlation across pairs.
        excess: ``own - others``.
        interval: 95 % bootstrap interval of the excess, over pairs.
        p: share of permutations of the recording sides with a mean correlation at least as large.
        by_pair: ``(pairs,)`` correlation of each pair less the mean of those that its sides have with other pairs'.
    """

    own: float
    others: float
    excess: float
    interval: tuple[float, float]
    p: float
    by_pair: tuple[float, ...]

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.by_pair)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"n": self.n, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class PairStudy:
    """Evidence of several units' pairs, and how alike the sides are, by ``envelope``, ``spectrum`` and ``*_power``.

    ``likeness`` is empty with fewer than three pairs: there is nothing to compare with.
    """

    pairs: tuple[PairEvidence, ...]
    likeness: dict[str, Likeness]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "pairs": [pair.as_dict() for pair in self.pairs],
            "likeness": {name: value.as_dict() for name, value in self.likeness.items()},
        }


def is_pair(pattern: Pattern) -> bool:
    """Is it of one fc1 unit that sees two sides? A classifier's fc1 sees one."""
    term = single_term(pattern)
    return term is not None and term.layer == "fc1" and len(pattern.inputs) == 2


def study_pairs(model: TrainedModel, patterns: Sequence[Pattern], seed: int = 0) -> PairStudy:
    """Study the pairs of some units of a model's fc1.

    Args:
        model: with two towers, the patterns' own.
        patterns: of single fc1 units, different ones.
        seed: of permutations and bootstrap.

    Raises:
        PatternError: the model has no two towers, or a pattern is no pair of one fc1 unit of this model.
    """
    network = model.network
    if not isinstance(network, Siamese):
        raise PatternError(
            f"{model.name}: a network of kind {network.KIND} has no two towers, so its units see no pair"
        )
    if not patterns:
        raise PatternError("no pattern was given")
    for pattern in patterns:
        if not is_pair(pattern):
            raise PatternError(f"{pattern.objective}: is no single unit of fc1")
        if pattern.fingerprint != model.fingerprint:
            raise PatternError(f"{pattern.objective}: belongs to other weights than {model.name}'s")
    units = [pattern.neuron for pattern in patterns]
    query, candidate = _halves(network, model.device, patterns)
    alike = {name: _across(*profiles) for name, profiles in _profiles(patterns).items()}
    pairs = []
    for row, unit in enumerate(units):
        # Numbers of float32 in float64: their sums are exact, so halves that add up leave nothing of the synergy.
        of_imitation, of_recording = float(query[row, unit]), float(candidate[row, unit])
        no_imitation, no_recording = float(query[-1, unit]), float(candidate[-1, unit])
        before = [
            of_imitation + of_recording,
            of_imitation + no_recording,
            no_imitation + of_recording,
            no_imitation + no_recording,
        ]
        both, imitation, recording, silence = (max(0.0, value) for value in before)
        others = [index for index in range(len(units)) if index != row]
        exchanged = {
            "imitation": np.maximum(query[others, unit] + of_recording, 0),
            "recording": np.maximum(of_imitation + candidate[others, unit], 0),
        }
        pairs.append(
            PairEvidence(
                neuron=unit,
                activation=both,
                silence=silence,
                alone={"imitation": imitation, "recording": recording},
                shares={
                    "imitation": (imitation - silence + both - recording) / 2,
                    "recording": (recording - silence + both - imitation) / 2,
                },
                synergy=both - imitation - recording + silence,
                synergy_before_relu=before[0] - before[1] - before[2] + before[3],
                others=len(others),
                kept={
                    role: float(values.mean()) / both if len(values) and both > 0 else None
                    for role, values in exchanged.items()
                },
                **{name: float(grid[row, row]) for name, grid in alike.items()},
                across={
                    name: float(np.mean([grid[row, others], grid[others, row]])) if others else None
                    for name, grid in alike.items()
                },
            )
        )
    likeness = {name: measure_likeness(grid, seed) for name, grid in alike.items()} if len(units) > 2 else {}
    return PairStudy(tuple(pairs), likeness)


def measure_likeness(grid: np.ndarray, seed: int = 0) -> Likeness:
    """Compare the diagonal of a square of correlations with the rest.

    Args:
        grid: ``(pairs, pairs)``, imitation side by recording side; three pairs or more.
        seed: of permutations and bootstrap.

    Raises:
        PatternError: the grid has another shape.
    """
    grid = np.asarray(grid, np.float64)
    n = len(grid)
    if grid.shape != (n, n) or n < 3:
        raise PatternError(f"correlations of shape {grid.shape}, expected a square of at least 3 pairs")
    own = np.diag(grid)
    others = (grid.sum(axis=0) + grid.sum(axis=1) - 2 * own) / (2 * (n - 1))
    rng = np.random.default_rng(seed)
    permuted = [grid[np.arange(n), rng.permutation(n)].mean() for _ in range(RESAMPLES)]
    by_pair = own - others
    return Likeness(
        own=float(own.mean()),
        others=float(others.mean()),
        excess=float(by_pair.mean()),
        interval=bootstrap_interval(by_pair, lambda drawn: float(drawn.mean()), seed, RESAMPLES),
        p=float((1 + np.sum(np.array(permuted) >= own.mean() - 1e-12)) / (RESAMPLES + 1)),
        by_pair=tuple(float(value) for value in by_pair),
    )


@torch.no_grad()
def _halves(network: Siamese, device: torch.device, patterns: Sequence[Pattern]) -> tuple[np.ndarray, np.ndarray]:
    """Both halves of fc1 for each pattern and, last, for silence: ``(patterns + 1, units)`` float64."""

    def half(role: str, compute: Callable[[Tensor], Tensor]) -> np.ndarray:
        sides = np.stack([pattern.inputs[role] for pattern in patterns]).astype(np.float32)
        x = torch.from_numpy(sides)[:, None].to(device)
        parts = torch.cat([x, torch.zeros_like(x[:1])]).split(AT_ONCE)
        return torch.cat([compute(part) for part in parts]).double().cpu().numpy()

    return half("imitation", network.query_half), half("recording", network.candidate_half)


def _profiles(patterns: Sequence[Pattern]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Envelopes and mean spectra of both sides on common axes, ``(patterns, places)`` each."""
    edges = {role: _edges(patterns[0].frontends[role]) for role in ROLES}
    power = {role: np.stack([_power(pattern, role) for pattern in patterns]) for role in ROLES}
    found = {}
    for name, axis, kept in (("envelope", 1, 2), ("spectrum", 0, 1)):
        common = _common_edges(*(edges[role][axis] for role in ROLES))
        sides = [_rebin(power[role].mean(axis=3 - kept), edges[role][axis], common) for role in ROLES]
        found[name] = tuple(10 * np.log10(np.maximum(side, 1e-12)) for side in sides)
        found[f"{name}_power"] = tuple(sides)
    return {name: (sides[0], sides[1]) for name, sides in found.items()}


def _power(pattern: Pattern, role: str) -> np.ndarray:
    """``(bands, frames)`` power, the loudest cell 1; the mean, which no correlation sees, is left out."""
    return to_mel_power(pattern.inputs[role], pattern.frontends[role], 0.0, pattern.db_statistics[role].std_db)


def _edges(config: FrontEndConfig) -> tuple[np.ndarray, np.ndarray]:
    """Where bands (in mel) and frames (in seconds) begin and end."""
    import librosa

    centres = librosa.hz_to_mel(make_frontend(config).band_frequencies())
    middles = (centres[1:] + centres[:-1]) / 2
    bands = np.concatenate([[2 * centres[0] - middles[0]], middles, [2 * centres[-1] - middles[-1]]])
    return bands, np.linspace(0, config.duration_s, config.shape[1] + 1)


def _common_edges(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The cells of the coarser axis that lie within both."""
    low, high = max(first[0], second[0]), min(first[-1], second[-1])
    step = (high - low) * 1e-9
    axes = [edges[(edges >= low - step) & (edges <= high + step)] for edges in (first, second)]
    return min(axes, key=len)


def _rebin(values: np.ndarray, edges: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Mean over wider cells: ``(patterns, cells)`` between ``edges`` to those between ``wanted``."""
    total = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values * np.diff(edges), axis=1)], axis=1)
    at = np.stack([np.interp(wanted, edges, row) for row in total])
    return np.diff(at, axis=1) / np.diff(wanted)


def _across(imitations: np.ndarray, recordings: np.ndarray) -> np.ndarray:
    """Correlation of every imitation side with every recording side; a side that does not vary correlates with none."""
    return unit_columns(imitations.T).T @ unit_columns(recordings.T)
