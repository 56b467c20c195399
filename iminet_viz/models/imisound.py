"""IMISOUND, the paper's baseline: unsupervised features, pooled over a clip, compared by cosine (section VI-C).

::

    72 x frames constant-Q -> patches of 20 frames, every 10          1,440 values each
    hidden1 (1,000, sigmoid) -> hidden2 (600, sigmoid), and its delta 1,200 values each
    maximum, minimum, mean, median, deviation, quartile range         7,200 values a clip

What the paper leaves open is read as paper.md, section 5, has it. The encoder is one for both sides; it is trained by
:func:`iminet_viz.autoencoder.train_autoencoder`.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iminet_viz.frontends import CONSTANT_Q, FrontEndConfig
from iminet_viz.models._model import Model
from iminet_viz.models._tower import init_glorot

PATCH_FRAMES = 20  # 525 ms
PATCH_HOP = 10


@dataclasses.dataclass(frozen=True)
class ImisoundConfig:
    """What decides the shape of IMISOUND: units of the two hidden layers."""

    hidden: tuple[int, int] = (1_000, 600)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))


class Imisound(Model):
    """The encoding half of a stacked auto-encoder; imitations and recordings are treated alike."""

    KIND: ClassVar[str] = "imisound"
    CONFIG: ClassVar[type[ImisoundConfig]] = ImisoundConfig
    FRONTENDS: ClassVar[dict[str, FrontEndConfig]] = {"imitation": CONSTANT_Q, "recording": CONSTANT_Q}

    def __init__(self, config: ImisoundConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ImisoundConfig()
        first, second = config.hidden
        self.encoder = nn.ModuleDict(
            {"hidden1": nn.Linear(CONSTANT_Q.n_bins * PATCH_FRAMES, first), "hidden2": nn.Linear(first, second)}
        )
        init_glorot(self)

    @property
    def channels(self) -> dict[str, int]:
        """Units of the hidden layers."""
        return dict(zip(self.encoder, self.config.hidden, strict=True))

    def inputs_of(self, layer: str) -> tuple[str, ...]:
        """Roles of the inputs that a layer depends on: either side's, there is one encoder."""
        return ("imitation",)

    def activate(self, layer: str, values: Tensor) -> Tensor:
        """Apply the sigmoid."""
        return values.sigmoid()

    def _preactivation(self, layer: str, inputs: dict[str, Tensor]) -> Tensor:
        """``(batch, 1, 72, frames)`` to ``(batch, units, patches)``."""
        x = self.patches(inputs["imitation"])
        for name, linear in self.encoder.items():
            x = linear(x)
            if name == layer:
                break
            x = x.sigmoid()
        return x.transpose(1, 2)

    def patches(self, x: Tensor) -> Tensor:
        """Cut clips into overlapping patches: ``(batch, 1, 72, frames)`` to ``(batch, patches, 1440)``.

        A clip is filled up with its own lowest value, which is its silence, so that its last frames are in a patch and
        the shortest clip gives one: 1 to 20 frames give 1 patch, 21 to 30 give 2, 129 give 12.
        """
        frames = x.shape[-1]
        further = max(0, -(-(frames - PATCH_FRAMES) // PATCH_HOP))
        missing = PATCH_FRAMES + further * PATCH_HOP - frames
        silence = x.amin(dim=(1, 2, 3), keepdim=True).expand(-1, 1, x.shape[2], missing)
        whole = torch.cat([x, silence], dim=-1)[:, 0]
        return whole.unfold(2, PATCH_FRAMES, PATCH_HOP).transpose(1, 2).flatten(2)  # bins, then frames of the patch

    def features(self, x: Tensor) -> Tensor:
        """Each patch's code and its delta: ``(batch, 1, 72, frames)`` to ``(batch, patches, 1200)``.

        The delta is half the difference of the two neighbours; beyond its ends a clip stands still, so that one patch
        alone has delta 0.
        """
        code = self.activate("hidden2", self._preactivation("hidden2", {"imitation": x}))  # (batch, 600, patches)
        around = F.pad(code, (1, 1), mode="replicate")
        return torch.cat([code, (around[..., 2:] - around[..., :-2]) / 2], dim=1).transpose(1, 2)

    def describe(self, x: Tensor) -> Tensor:
        """Vector of a clip: ``(batch, 1, 72, frames)`` to ``(batch, 7200)``.

        Maximum, minimum, mean, median, standard deviation and interquartile range of the 1,200 features over patches,
        quartiles by straight lines between patches; of one patch the last two are 0.
        """
        ordered = self.features(x).sort(dim=1).values

        def quantile(share: float) -> Tensor:
            position = share * (ordered.shape[1] - 1)
            below = int(position)
            above = min(below + 1, ordered.shape[1] - 1)
            return torch.lerp(ordered[:, below], ordered[:, above], position - below)

        spread = ordered.std(dim=1, correction=0), quantile(0.75) - quantile(0.25)
        return torch.cat([ordered[:, -1], ordered[:, 0], ordered.mean(dim=1), quantile(0.5), *spread], dim=1)

    def query_half(self, imitation: Tensor) -> Tensor:
        """Vector of length 1: ``(batch, 1, 72, frames)`` to ``(batch, 7200)``."""
        return F.normalize(self.describe(imitation))

    def candidate_half(self, recording: Tensor) -> Tensor:
        """As :meth:`query_half`."""
        return self.query_half(recording)

    def score_halves(self, query: Tensor, candidate: Tensor) -> Tensor:
        """Cosines of all pairs: ``(queries, 7200)`` and ``(candidates, 7200)`` to ``(queries, candidates)``."""
        return query @ candidate.T

    def forward(self, imitation: Tensor, recording: Tensor) -> Tensor:
        """Cosine of each pair: ``(batch, 1, 72, frames)`` of either side to ``(batch,)``."""
        return (self.query_half(imitation) * self.candidate_half(recording)).sum(dim=1)
