"""The aligned net: one small tower for both sides, frames compared in order by dynamic time warping.

The paper's towers flatten a fixed grid, so a shift, a slower tempo or leading silence is another input. Here a clip
becomes a sequence of frames, and time is left to the comparison::

    64 bands x 64 frames   (the trimmed clip, whatever its length)
    conv1 16@5x5  stride 2x1   16 x 32 x 64
    conv2 32@3x3  stride 2x2   32 x 16 x 32
    conv3 32@3x3  stride 2x1   32 x  8 x 32
    frames 48@3   over time    48 x 32, not normalised

Training compares by a soft maximum over frame pairs, which has a gradient everywhere; search compares by
:func:`align_scores`. The same comparison of untrained frames is the baseline, :func:`align_clips`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from iminet_viz.frames import MEL_FRAMES, MelFrames
from iminet_viz.frontends import FrontEndConfig
from iminet_viz.models._model import Model
from iminet_viz.models._tower import init_glorot

STEP_COST = 1.3  # of a step that is not diagonal, relative to one that is, for untrained frames
DURATION_COST = 0.15  # per unit of |log duration ratio|, for untrained frames
LEVEL_WEIGHT = 0.3  # an untrained frame at L dB below the loudest weighs exp(0.3 L / 10)


@dataclasses.dataclass(frozen=True)
class AlignedConfig:
    """What decides the shape of the aligned net."""

    channels: tuple[int, int, int] = (16, 32, 32)
    features: int = 48  # values a frame

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))


class FrameBlock(nn.Module):
    """Convolution with stride and zero padding, group norm, ReLU.

    Not batch norm: its statistics would be those of synthesised imitations, which people's voices do not share (MRR on
    people .34 instead of .35 for their imitations of sounds, .43 instead of .53 for their drums).

    Shape:
        ``(batch, in_channels, bands, frames)`` to ``(batch, channels, bands / stride, frames / stride)``.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2)
        self.norm = nn.GroupNorm(8, channels)
        self.relu = nn.ReLU()

    def preactivation(self, x: Tensor) -> Tensor:
        """Feature maps before the ReLU."""
        return self.norm(self.conv(x))

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps."""
        return self.relu(self.preactivation(x))


class Aligned(Model):
    """A net for both sides whose frames are compared by dynamic time warping; abstract."""

    FRONTENDS: ClassVar[dict[str, FrontEndConfig]] = {"imitation": MEL_FRAMES, "recording": MEL_FRAMES}

    @property
    def duration_cost(self) -> float:
        """What a factor e in duration costs."""
        raise NotImplementedError

    def inputs_of(self, layer: str) -> tuple[str, ...]:
        """Roles of the inputs that a layer depends on: either side's, there is one net."""
        return ("imitation",)

    def embed(self, x: Tensor) -> Tensor:
        """Frames of a clip: ``(batch, 1, 64, 64)`` to ``(batch, 32, config.features)``."""
        raise NotImplementedError

    def query_half(self, imitation: Tensor, duration_s: Tensor | None = None) -> Tensor:
        """Index vector: the frames, and the log of the duration (of 1 s where none is given).

        Shape:
            ``(batch, 1, 64, 64)`` and seconds ``(batch,)`` to ``(batch, 32 * features + 1)``.
        """
        frames = self.embed(imitation).flatten(1)
        log_s = frames.new_zeros(len(frames)) if duration_s is None else duration_s.to(frames).log()
        return torch.cat([frames, log_s[:, None]], dim=1)

    def candidate_half(self, recording: Tensor, duration_s: Tensor | None = None) -> Tensor:
        """As :meth:`query_half`."""
        return self.query_half(recording, duration_s)

    def score_halves(self, query: Tensor, candidate: Tensor) -> Tensor:
        """Scores of all pairs of index vectors by :meth:`align`: to ``(queries, candidates)``."""

        def frames(half: Tensor) -> Tensor:
            return half[:, :-1].unflatten(1, (-1, self.config.features)).detach().cpu()

        durations = query[:, -1].exp().detach().cpu(), candidate[:, -1].exp().detach().cpu()
        return torch.from_numpy(self.align(frames(query), frames(candidate), *durations)).to(query)

    @torch.no_grad()
    def align(self, query: Tensor, candidate: Tensor, query_s: Tensor, candidate_s: Tensor) -> np.ndarray:
        """Scores of all pairs for search, by :func:`align_scores` over the learned frames.

        Unlike untrained frames, learned ones want warping to cost nothing and duration the whole of what was learned
        (MRR on people .366 instead of .351 with 1.3 for a step and half of it; mean of four nets).

        Shape:
            as for :meth:`interact`.
        """
        return align_scores(
            list(query.float().numpy()),
            list(candidate.float().numpy()),
            query_s.numpy(),
            candidate_s.numpy(),
            step_cost=1.0,
            duration_cost=self.duration_cost,
        )


class AlignedNet(Aligned):
    """One net for imitations and recordings (untied towers fit synthesised imitations too well)."""

    KIND: ClassVar[str] = "aligned"
    CONFIG: ClassVar[type[AlignedConfig]] = AlignedConfig

    def __init__(self, config: AlignedConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AlignedConfig()
        first, second, third = config.channels
        self.blocks = nn.ModuleDict(
            {
                "conv1": FrameBlock(1, first, 5, (2, 1)),
                "conv2": FrameBlock(first, second, 3, (2, 2)),
                "conv3": FrameBlock(second, third, 3, (2, 1)),
            }
        )
        self.relu = nn.ReLU()  # as the blocks have it, for whoever looks at their values
        self.frames = nn.Conv1d(third * MEL_FRAMES.n_mels // 8, config.features, 3, padding=1)
        # Of the comparison in training, all positive, so learned as logarithms: how sharp the soft maximum is, how
        # strongly frames far apart in time are held apart, what a factor e in duration costs, what a unit is worth.
        self.log_sharpness = nn.Parameter(torch.tensor(1.0))
        self.log_prior = nn.Parameter(torch.tensor(2.0))
        self.log_duration_cost = nn.Parameter(torch.tensor(-1.0))
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        init_glorot(self)

    @property
    def channels(self) -> dict[str, int]:
        """Feature maps of the convolutions, values of the frames; both sides have the same."""
        return dict(zip((*self.blocks, "frames"), (*self.config.channels, self.config.features), strict=True))

    @property
    def duration_cost(self) -> float:
        """What a factor e in duration costs, as training found."""
        return self.log_duration_cost.exp().item()

    def activate(self, layer: str, values: Tensor) -> Tensor:
        """Apply a layer's ReLU; ``frames`` has none."""
        return values if layer == "frames" else super().activate(layer, values)

    def _preactivation(self, layer: str, inputs: dict[str, Tensor]) -> Tensor:
        """``(batch, 1, 64, 64)`` to ``(batch, channels, bands, frames)``, for ``frames`` ``(batch, features, 32)``."""
        x = inputs["imitation"]
        for name, block in self.blocks.items():
            if name == layer:
                assert isinstance(block, FrameBlock)
                return block.preactivation(x)
            x = block(x)
        return self.frames(x.flatten(1, 2))

    def embed(self, x: Tensor) -> Tensor:
        """Frames of a clip: ``(batch, 1, 64, 64)`` to ``(batch, 32, features)``."""
        return self._preactivation("frames", {"imitation": x}).transpose(1, 2)

    def forward(self, imitation: Tensor, recording: Tensor) -> Tensor:
        """Score of each pair, that of training, durations left out: ``(batch, 1, 64, 64)`` twice to ``(batch,)``."""
        same = torch.ones(len(imitation), device=imitation.device)
        return self.interact(self.embed(imitation), self.embed(recording), same, same).diagonal()

    def interact(self, query: Tensor, candidate: Tensor, query_s: Tensor, candidate_s: Tensor) -> Tensor:
        """Scores of all pairs for training: each frame finds its counterpart by a soft maximum.

        Shape:
            ``(queries, 32, features)``, ``(candidates, 32, features)`` and their durations in seconds, ``(queries,)``
            and ``(candidates,)``, to ``(queries, candidates)``.
        """
        n, m = query.shape[1], candidate.shape[1]
        product = query.flatten(0, 1) @ candidate.flatten(0, 1).T  # (queries * n, candidates * m)
        squares = query.square().sum(-1).flatten()[:, None] + candidate.square().sum(-1).flatten()[None]
        distance = (squares - 2 * product).clamp_min(1e-4).sqrt().reshape(len(query), n, len(candidate), m)
        apart = torch.linspace(0, 1, n)[:, None] - torch.linspace(0, 1, m)[None]
        sharpness = self.log_sharpness.exp()
        logits = -sharpness * distance - self.log_prior.exp() * apart.to(query).square()[:, None]
        forwards = logits.logsumexp(dim=3).mean(dim=1)
        backwards = logits.logsumexp(dim=1).mean(dim=2)
        duration = (query_s.log()[:, None] - candidate_s.log()[None]).abs()
        matched = (forwards + backwards) / (2 * sharpness)
        return self.log_scale.exp() * (matched - self.log_duration_cost.exp() * duration)


def align_clips(queries: Sequence[MelFrames], candidates: Sequence[MelFrames]) -> np.ndarray:
    """Untrained comparison of clips, ``(queries, candidates)``, higher is more alike.

    Loud frames count more: a pair of frames weighs as the louder of the two.
    """
    return align_scores(
        [clip.values for clip in queries],
        [clip.values for clip in candidates],
        np.array([clip.duration_s for clip in queries]),
        np.array([clip.duration_s for clip in candidates]),
        query_weights=[np.exp(LEVEL_WEIGHT * clip.level_db / 10) for clip in queries],
        candidate_weights=[np.exp(LEVEL_WEIGHT * clip.level_db / 10) for clip in candidates],
    )


def align_scores(
    queries: Sequence[np.ndarray],
    candidates: Sequence[np.ndarray],
    query_s: np.ndarray,
    candidate_s: np.ndarray,
    *,
    query_weights: Sequence[np.ndarray] | None = None,
    candidate_weights: Sequence[np.ndarray] | None = None,
    step_cost: float = STEP_COST,
    duration_cost: float = DURATION_COST,
) -> np.ndarray:
    """Alignment of each query with each candidate by dynamic time warping, as a score: higher is more alike.

    The cost of an alignment is the sum of the Euclidean distances along it, each times the larger weight of its two
    frames, steps in one sequence alone ``step_cost`` times; divided by ``n + m``, not by the length of the path (that
    would make warping free). A difference in duration costs ``duration_cost * |log ratio|`` on top.

    Args:
        queries: each ``(n, values)``.
        candidates: each ``(m, values)``.
        query_s: durations in seconds, ``(queries,)``.
        candidate_s: durations in seconds, ``(candidates,)``.
        query_weights: each ``(n,)``; 1 without them.
        candidate_weights: each ``(m,)``; 1 without them.
        step_cost: see above.
        duration_cost: see above.

    Returns:
        ``(queries, candidates)``, at most 0.

    Raises:
        ValueError: a sequence is empty, or frames differ in their number of values.
    """
    sequences = [*queries, *candidates]
    if any(x.ndim != 2 or not len(x) or x.shape[1] != sequences[0].shape[1] for x in sequences):
        raise ValueError("sequences must be (frames, values), not empty, with equal numbers of values")
    if not queries or not candidates:
        return np.zeros((len(queries), len(candidates)))
    costs = _alignment_kernel()(
        *_pack(queries, query_weights), *_pack(candidates, candidate_weights), np.float32(step_cost)
    )
    duration = np.abs(np.log(query_s)[:, None] - np.log(candidate_s)[None])
    return -costs - duration_cost * duration


def _pack(
    sequences: Sequence[np.ndarray], weights: Sequence[np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join sequences to one array of frames, one of weights, and where each starts."""
    frames = np.ascontiguousarray(np.concatenate(sequences), np.float32)
    joined = np.ones(len(frames), np.float32) if weights is None else np.concatenate(weights).astype(np.float32)
    return frames, joined, np.cumsum([0, *map(len, sequences)])


@functools.cache
def _alignment_kernel() -> Callable[..., np.ndarray]:
    """Compile the kernel on its first use (a second or two)."""
    import numba

    @numba.njit(fastmath=True, nogil=True)
    def align(  # type: ignore[no-untyped-def]
        queries, query_weights, query_starts, candidates, candidate_weights, candidate_starts, step_cost
    ) -> Any:
        n_values = queries.shape[1]
        costs = np.empty((len(query_starts) - 1, len(candidate_starts) - 1), np.float64)
        longest = np.max(candidate_starts[1:] - candidate_starts[:-1])
        above, row = np.empty(longest, np.float32), np.empty(longest, np.float32)
        for q in range(len(query_starts) - 1):
            for c in range(len(candidate_starts) - 1):
                first, last = candidate_starts[c], candidate_starts[c + 1]
                for i in range(query_starts[q], query_starts[q + 1]):
                    for j in range(first, last):
                        square = np.float32(0)
                        for k in range(n_values):
                            difference = queries[i, k] - candidates[j, k]
                            square += difference * difference
                        cost = np.sqrt(square) * max(query_weights[i], candidate_weights[j])
                        column = j - first
                        if i == query_starts[q]:
                            best = cost if column == 0 else row[column - 1] + step_cost * cost
                        elif column == 0:
                            best = above[0] + step_cost * cost
                        else:
                            best = min(above[column - 1] + cost, min(above[column], row[column - 1]) + step_cost * cost)
                        row[column] = best
                    above, row = row, above
                length = query_starts[q + 1] - query_starts[q] + last - first
                costs[q, c] = above[last - first - 1] / length
        return costs

    return align
