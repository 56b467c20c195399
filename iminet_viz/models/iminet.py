"""IMINET: two towers of one structure, their weights tied, partially tied or untied (paper, section IV).

::

    either side    72 x 129 constant-Q
    conv1 12@3x3   70 x 127   pool 2x4   35 x 31
    conv2 12@3x3   33 x 29    pool 2x4   16 x 7
    conv3  6@3x3   14 x 5
    conv4  6@3x3   12 x 3
    216 features
            concatenate: 432 -> fc1: 432, ReLU -> fc2: 32, ReLU -> fc3: 1 logit
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from torch import Tensor, nn

from iminet_viz.frontends import CONSTANT_Q, FrontEndConfig
from iminet_viz.models._model import Siamese
from iminet_viz.models._tower import ConvSpec, Tower, init_glorot

LAYERS = (
    ConvSpec(12, (3, 3), (2, 4)),
    ConvSpec(12, (3, 3), (2, 4)),
    ConvSpec(6, (3, 3)),
    ConvSpec(6, (3, 3)),
)
# Layers that the two towers share; layers close to the input adapt to their side, deeper ones are of both.
SHARED = {"tied": ("conv1", "conv2", "conv3", "conv4"), "partial": ("conv3", "conv4"), "untied": ()}


@dataclasses.dataclass(frozen=True)
class IminetConfig:
    """What decides the shape of IMINET."""

    tying: str = "tied"  # or "partial", "untied"; tied is the best in the paper's Table I
    fc1: int = 432
    fc2: int = 32

    def __post_init__(self) -> None:
        if self.tying not in SHARED:
            raise ValueError(f"tying {self.tying!r}, expected one of {', '.join(SHARED)}")


class Iminet(Siamese):
    """Two towers that share all, the deeper or no layers, one metric on top of both (paper, Figure 2).

    A shared layer is one module with two names: ``imitation.conv3`` and ``recording.conv3`` are the same neurons.
    """

    KIND: ClassVar[str] = "iminet"
    CONFIG: ClassVar[type[IminetConfig]] = IminetConfig
    FRONTENDS: ClassVar[dict[str, FrontEndConfig]] = {"imitation": CONSTANT_Q, "recording": CONSTANT_Q}
    DROPOUT: ClassVar[float] = 0.2

    def __init__(self, config: IminetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or IminetConfig()
        self.imitation = Tower(LAYERS, CONSTANT_Q.shape)
        self.recording = Tower(LAYERS, CONSTANT_Q.shape)
        for name in SHARED[config.tying]:
            self.recording.blocks[name] = self.imitation.blocks[name]
        self.fc1 = nn.Linear(self.imitation.n_features + self.recording.n_features, config.fc1)
        self.fc2 = nn.Linear(config.fc1, config.fc2)
        self.fc3 = nn.Linear(config.fc2, 1)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(self.DROPOUT)
        init_glorot(self)

    @property
    def channels(self) -> dict[str, int]:
        """Feature maps of the towers' convolutions, units of fc1 and fc2."""
        return {**super().channels, "fc2": self.config.fc2}

    def head(self, hidden: Tensor) -> Tensor:
        """Logits from fc1's values before the ReLU: ``(..., 432)`` to ``(...)``."""
        return self.fc3(self.dropout(self.relu(self._fc2(hidden))))[..., 0]

    def _fc2(self, hidden: Tensor) -> Tensor:
        return self.fc2(self.dropout(self.relu(hidden)))

    def _preactivation(self, layer: str, inputs: dict[str, Tensor]) -> Tensor:
        hidden = super()._preactivation(layer, inputs)
        return hidden if layer == "fc1" else self._fc2(hidden)
