"""Whatever can search, behind one interface: a trained model, an untrained baseline, or a fusion of several.

A clip is kept once for its role, and kept clips are compared: all with all here, which a trial needs; a library keeps
them as rows of fixed width and is searched by :mod:`iminet_viz.scan`. To make a new kind of network searchable, write a
class like :class:`Part` and name it in ``NETWORKS``.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from iminet_viz.audio import fit_length
from iminet_viz.baselines import BASELINES, HEARD_S, WINDOW_S
from iminet_viz.checkpoint import Fusion, TrainedModel, find_model, load_model, read_fusion, shipped_models
from iminet_viz.errors import CheckpointError
from iminet_viz.frames import MEL_FRAMES, TRIMS_DB, stretched_cuts
from iminet_viz.models import Aligned, AlignedNet, Iminet, Imisound, JointNet, RecurrentIminet, Searcher, TLIminet
from iminet_viz.scan import CosineRows, FactorisedRows, ProductRows, Rows, StoredForm
from iminet_viz.scan.aligned import AlignedRows, pack, unpack

GRID_VALUES = 1 << 24  # hidden values that are in memory at a time
# of TL-IMINET, from which on int8 is scanned: as fast at 10^6, then faster (benchmarks/README.md)
INT8_ROWS = 2_000_000


class Part(Protocol):
    """One system that can search."""

    def sample_rate(self, role: str) -> int:
        """Rate of the waveforms that a side wants, in Hz; ``role`` is ``imitation`` or ``recording``."""

    def keep(self, waveform: np.ndarray, role: str) -> Any:
        """``(samples,)`` at that rate to what is stored of a clip."""

    def scores(self, queries: Sequence[Any], candidates: Sequence[Any]) -> np.ndarray:
        """Scores of all pairs of what is stored: ``(queries, candidates)``, higher is more alike."""

    @property
    def fingerprint(self) -> str:
        """Of all that decides what is stored: weights and front end."""

    @property
    def window_s(self) -> float:
        """Length of the windows that a library cuts long recordings into, in seconds."""

    @property
    def query_window_s(self) -> float:
        """Length of the windows that a long imitation is cut into, in seconds."""

    @property
    def whole(self) -> bool:
        """Whether it hears clips of any length, so that a window may be a whole sound."""

    @property
    def stored(self) -> StoredForm | None:
        """A window's row; None where clips of different lengths keep different numbers of values."""

    @property
    def prepare(self) -> Callable[[np.ndarray], np.ndarray]:
        """The front end of a recording's window, ``(samples,)`` at the part's rate to float32 of one shape.

        It can be pickled, and needs no network: worker processes run it.
        """

    def embed(self, prepared: np.ndarray) -> np.ndarray:
        """The network over a batch of what ``prepare`` gave: ``(batch, ...)`` to rows ``(batch, stored.width)``."""

    def read(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What rows say, ``(rows, stored.width)``: values that are alike for sounds that are, and other numbers.

        Shape:
            ``(rows, values)``, and ``(rows, numbers)``, perhaps none; both floats.
        """

    def query(self, kept: Any) -> np.ndarray:
        """What is kept of an imitation as :meth:`rows` are asked: to ``(values,)`` float32."""

    def rows(self, stored: np.ndarray, device: str = "cpu") -> Rows:
        """A library of what ``embed`` gave, ready to be searched: ``(rows, stored.width)``, not copied."""


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Parts with their weights; a single part is scored as it is, several by :func:`fuse`."""

    name: str
    parts: tuple[Part, ...]
    weights: tuple[float, ...] = (1.0,)

    @property
    def fingerprint(self) -> str:
        """Of what a library stores for it: that of the parts, whatever they weigh."""
        own = [part.fingerprint for part in self.parts]
        return own[0] if len(own) == 1 else hashlib.sha256(" ".join(own).encode()).hexdigest()[:16]

    def keep(self, waveform: np.ndarray, sample_rate: int, role: str) -> tuple[Any, ...]:
        """Keep a clip for each part: ``(samples,)`` at any rate, as ``imitation`` or ``recording``."""
        import soxr

        at_rate = {sample_rate: waveform}
        for rate in {part.sample_rate(role) for part in self.parts} - {sample_rate}:
            resampled = soxr.resample(waveform, sample_rate, rate)
            at_rate[rate] = resampled if len(resampled) else np.zeros(1, np.float32)  # less than a sample there
        return tuple(part.keep(at_rate[part.sample_rate(role)], role) for part in self.parts)

    def scores(
        self,
        queries: Sequence[tuple[Any, ...]],
        candidates: Sequence[tuple[Any, ...]],
        excluded: np.ndarray | None = None,
    ) -> np.ndarray:
        """Scores of all pairs of kept clips.

        Args:
            queries: kept as ``imitation``.
            candidates: kept as ``recording``.
            excluded: ``(queries, candidates)`` bool, pairs that take no part: they score ``-inf``, and a fusion does
                not standardise by them.

        Returns:
            ``(queries, candidates)`` float64, higher is more alike.
        """
        grids = []
        for number, part in enumerate(self.parts):
            grid = part.scores([clip[number] for clip in queries], [clip[number] for clip in candidates])
            grid = np.asarray(grid, np.float64)
            grids.append(grid if excluded is None else np.where(excluded, -np.inf, grid))
        return grids[0] if len(grids) == 1 else fuse(grids, self.weights)


def standardize_scores(scores: np.ndarray) -> np.ndarray:
    """Zero mean and unit deviation over each query's candidates that take part; all the same gives zeros.

    Shape:
        ``(queries, candidates)``, ``-inf`` where a candidate does not take part, to the same.
    """
    present = ~np.isneginf(scores)
    count = present.sum(axis=1, keepdims=True).clip(min=1)
    mean = np.where(present, scores, 0).sum(axis=1, keepdims=True) / count
    centred = np.where(present, scores, mean) - mean
    deviation = np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / count)
    return np.where(present, centred / deviation.clip(min=1e-9), -np.inf)


def fuse(grids: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """Weighted sum of standardised scores (weights 1 without any): ``(queries, candidates)`` each, and again."""
    weights = [1.0] * len(grids) if weights is None else weights
    return np.sum([weight * standardize_scores(grid) for weight, grid in zip(weights, grids, strict=True)], axis=0)


class VectorPart:
    """A network by its index vectors: each clip passes its side once."""

    def __init__(self, model: TrainedModel) -> None:
        assert isinstance(model.network, Searcher)
        self.model, self.network = model, model.network

    def sample_rate(self, role: str) -> int:
        """16 or 44.1 kHz."""
        return self.model.frontends[role].config.sample_rate

    @torch.no_grad()
    def keep(self, waveform: np.ndarray, role: str) -> np.ndarray:
        """The index vector, ``(values,)``, of the first window of the clip."""
        frontend = self.model.frontends[role]
        window = torch.from_numpy(np.ascontiguousarray(fit_length(waveform, frontend.config.n_samples), np.float32))
        half = self.network.query_half if role == "imitation" else self.network.candidate_half
        return half(frontend(window[None].to(self.model.device)))[0].cpu().numpy()

    @torch.no_grad()
    def scores(self, queries: Sequence[np.ndarray], candidates: Sequence[np.ndarray]) -> np.ndarray:
        """Logits or cosines, a few queries at a time: all hidden values at once would fill the memory."""
        query, candidate = (torch.from_numpy(np.stack(side)).to(self.model.device) for side in (queries, candidates))
        at_once = max(1, GRID_VALUES // candidate.numel())
        return torch.cat([self.network.score_halves(some, candidate) for some in query.split(at_once)]).cpu().numpy()

    whole = False

    @property
    def fingerprint(self) -> str:
        """Of weights and front ends."""
        return self.model.fingerprint

    @property
    def window_s(self) -> float:
        """What the recording side sees at a time."""
        config = self.model.frontends["recording"].config
        return config.n_samples / config.sample_rate

    @property
    def query_window_s(self) -> float:
        """What the imitation side sees at a time."""
        config = self.model.frontends["imitation"].config
        return config.n_samples / config.sample_rate

    @property
    def stored(self) -> StoredForm:
        """The index vector."""
        return StoredForm("float32", self._width)

    @functools.cached_property
    def _width(self) -> int:
        config = self.model.frontends["recording"].config
        return self.embed(np.zeros((1, config.n_samples), np.float32)).shape[1]

    @property
    def prepare(self) -> Callable[[np.ndarray], np.ndarray]:
        """Cut or fill up; the front end goes with the network, both are fast in batches only."""
        return functools.partial(fit_length, samples=self.model.frontends["recording"].config.n_samples)

    @torch.no_grad()
    def embed(self, prepared: np.ndarray) -> np.ndarray:
        """``(batch, n_samples)`` to ``(batch, values)``."""
        waveforms = torch.from_numpy(prepared).to(self.model.device)
        return self.network.candidate_half(self.model.frontends["recording"](waveforms)).cpu().numpy()

    def read(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows as they are."""
        return stored, stored[:, :0]

    def query(self, kept: np.ndarray) -> np.ndarray:
        """The index vector."""
        return kept

    def rows(self, stored: np.ndarray, device: str = "cpu") -> Rows:
        """By the form of the network's score."""

        def values(linear: torch.nn.Linear) -> tuple[np.ndarray, np.ndarray]:
            return linear.weight.detach().cpu().numpy(), linear.bias.detach().cpu().numpy()

        network = self.model.network
        if isinstance(network, Imisound):
            return CosineRows(stored, device=device)
        if isinstance(network, Iminet):
            last, bias = values(network.fc3)
            return ProductRows(stored, *values(network.fc2), last[0], bias.item(), device=device)
        assert isinstance(network, TLIminet | RecurrentIminet)
        last, bias = values(network.fc2)
        # the answers are the same; on a GPU, where it was not measured, float32 stays
        precision = "int8" if len(stored) >= INT8_ROWS and device == "cpu" else "float32"
        return FactorisedRows(stored, last[0], bias.item(), precision=precision, device=device)


N_FRAMES = MEL_FRAMES.n_frames // 2  # that the aligned net makes of a clip


class AlignedPart:
    """The aligned net: a clip is one index vector for each of its cuts; the best pair of cuts counts."""

    def __init__(self, model: TrainedModel) -> None:
        assert isinstance(model.network, Aligned)
        self.model, self.network = model, model.network

    def sample_rate(self, role: str) -> int:
        """16 kHz on both sides."""
        return MEL_FRAMES.sample_rate

    @torch.no_grad()
    def keep(self, waveform: np.ndarray, role: str) -> np.ndarray:
        """Index vectors of the clip's cuts: ``(cuts, values)``."""
        return self._halves(stretched_cuts(waveform[: round(HEARD_S * MEL_FRAMES.sample_rate)], role))

    def _halves(self, cuts: np.ndarray) -> np.ndarray:
        """``(cuts, 64 * 64 + 1)`` to ``(cuts, values)``."""
        values = torch.from_numpy(cuts).to(self.model.device)
        shape = (1, MEL_FRAMES.n_mels, MEL_FRAMES.n_frames)
        return self.network.query_half(values[:, :-1].unflatten(1, shape), values[:, -1].exp()).cpu().numpy()

    @torch.no_grad()
    def scores(self, queries: Sequence[np.ndarray], candidates: Sequence[np.ndarray]) -> np.ndarray:
        """Dynamic time warping of each cut of a query with each of a recording; the best pair counts."""
        query, candidate = (torch.from_numpy(np.concatenate(side)) for side in (queries, candidates))
        scores = self.network.score_halves(query, candidate).numpy()
        cuts = [len(TRIMS_DB[role]) for role in ("imitation", "recording")]
        return scores.reshape(len(queries), cuts[0], len(candidates), cuts[1]).max(axis=(1, 3))

    whole = True
    window_s = query_window_s = WINDOW_S

    @property
    def fingerprint(self) -> str:
        """Of weights and front end."""
        return self.model.fingerprint

    @property
    def stored(self) -> StoredForm:
        """Frames of the cuts in int8, their scales and durations."""
        return StoredForm("int8", len(TRIMS_DB["recording"]) * (N_FRAMES * self.network.config.features + 8))

    prepare = staticmethod(functools.partial(stretched_cuts, role="recording"))

    @torch.no_grad()
    def embed(self, prepared: np.ndarray) -> np.ndarray:
        """``(batch, cuts, 64 * 64 + 1)`` to ``(batch, stored.width)``."""
        batch, cuts = prepared.shape[:2]
        halves = self._halves(prepared.reshape(batch * cuts, -1)).reshape(batch, cuts, -1)
        frames = halves[..., :-1].reshape(batch, cuts, N_FRAMES, -1)
        return pack(frames, halves[..., -1])

    def read(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames, and the logs of the cuts' durations."""
        frames, log_durations = unpack(stored, len(TRIMS_DB["recording"]), self.network.config.features)
        return frames.reshape(len(stored), -1), log_durations

    def query(self, kept: np.ndarray) -> np.ndarray:
        """All cuts, one after the other."""
        return kept.ravel()

    def rows(self, stored: np.ndarray, device: str = "cpu") -> Rows:
        """Exact alignment over int8 frames."""
        network, cuts = self.network, len(TRIMS_DB["recording"])
        return AlignedRows(stored, cuts, N_FRAMES, network.config.features, network.duration_cost, device)


# Class of the network -> what makes it searchable
NETWORKS: dict[type, Callable[[TrainedModel], Part]] = {
    TLIminet: VectorPart,
    RecurrentIminet: VectorPart,
    Iminet: VectorPart,
    Imisound: VectorPart,
    AlignedNet: AlignedPart,
    JointNet: AlignedPart,
}


def load_scorer(name: str, device: str = "cpu") -> Scorer:
    """Load what ``name`` says: a shipped model, a folder, a baseline, or a fusion ``a+b`` or ``0.7*a+0.3*b``.

    Raises:
        CheckpointError: a part is unknown (the message lists the names), cannot search, or does not load; a weight is
            not a positive number.
    """
    if (fusion := _find_fusion(name)) is not None:
        loaded = [part_of(load_model((fusion.folder / part).resolve(), device)) for part in fusion.networks]
        loaded += [_load_part(part, device) for part in fusion.untrained]
        return Scorer(name, tuple(loaded), (*fusion.networks.values(), *fusion.untrained.values()))
    if _is_folder(name):  # whatever signs its path holds
        return Scorer(name, (_load_part(name, device),))
    weights, parts = [], []
    for term in name.split("+"):
        weight, star, part = term.partition("*")
        if not star or _is_folder(term):
            weight, part = "1", term
        weights.append(_weight(weight, name))
        parts.append(_load_part(part.strip(), device))
    return Scorer(name, tuple(parts), tuple(weights))


def _find_fusion(name: str) -> Fusion | None:
    try:
        folder = find_model(name)
    except CheckpointError:
        return None
    return read_fusion(folder)


def _is_folder(name: str) -> bool:
    return (Path(name) / "config.json").is_file()


def _weight(text: str, name: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise CheckpointError(f"{name}: the weight {text.strip()!r} is not a positive number")
    return weight


def _load_part(name: str, device: str) -> Part:
    if name in BASELINES:
        return BASELINES[name]
    try:
        find_model(name)
    except CheckpointError:
        raise CheckpointError(
            f"no model {name!r}, expected a folder with config.json; one of: {', '.join(shipped_models())}; "
            f"a baseline: {', '.join(BASELINES)}; or a fusion, a+b or 0.7*a+0.3*b"
        ) from None
    if (fusion := _find_fusion(name)) is not None:
        parts = " and ".join((*fusion.networks, *fusion.untrained))
        raise CheckpointError(f"{name}: is a fusion itself, of {parts}; a sum cannot hold it, name its parts")
    return part_of(load_model(name, device))


def part_of(model: TrainedModel) -> Part:
    """Make a model searchable.

    Raises:
        CheckpointError: it does not compare two sounds.
    """
    make = NETWORKS.get(type(model.network))
    if make is None:
        raise CheckpointError(f"{model.name}: a {model.network.KIND} does not compare two sounds, so it cannot search")
    return make(model)
