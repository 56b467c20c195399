"""The recurrent net: TL-IMINET's inputs and metric, time read by a GRU instead of flattened (paper, section VIII).

The paper's future work: "employ Recurrent Neural Networks under the Siamese Network architecture to better model the
temporal evolution". Here the convolutions keep time at about 15 frames a second for the imitation and 21 for the
recording, and a clip's features are the mean of the GRU's states, to which silence at the end cannot be the last word::

    imitation      39 x 482                              recording      128 x 128
    conv1 16@5x5   35 x 478   pool 2x4   17 x 119        conv1 16@5x5   124 x 124   pool 4x2   31 x 62
    conv2 32@3x3   15 x 117   pool 2x2    7 x 58         conv2 32@3x3    29 x 60    pool 2x1   14 x 60
    conv3 32@3x3    5 x 56                               conv3 32@3x3    12 x 58    pool 2x1    6 x 58
    gru 64 over 56 frames of 160 values                  gru 64 over 58 frames of 192 values
                     concatenate: 128 -> fc1: 108, ReLU -> fc2: 1 logit
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor, nn

from iminet_viz.frontends import IMITATION, RECORDING, FrontEndConfig
from iminet_viz.models._model import Siamese
from iminet_viz.models._tower import ConvSpec, Tower, init_glorot

IMITATION_LAYERS = (
    ConvSpec(16, (5, 5), (2, 4)),
    ConvSpec(32, (3, 3), (2, 2)),
    ConvSpec(32, (3, 3)),
)
RECORDING_LAYERS = (
    ConvSpec(16, (5, 5), (4, 2)),
    ConvSpec(32, (3, 3), (2, 1)),
    ConvSpec(32, (3, 3), (2, 1)),
)


class RecurrentTower(Tower):
    """A convolutional tower whose features are the mean state of a GRU over its frames.

    Shape:
        ``(batch, 1, bands, frames)`` to ``(batch, hidden)``.
    """

    def __init__(
        self, specs: tuple[ConvSpec, ...], input_shape: tuple[int, int], hidden: int, batch_norm: bool = False
    ) -> None:
        super().__init__(specs, input_shape, batch_norm)
        channels, bands, _ = self.output_shapes()[self.layers[-1]]
        self.gru = nn.GRU(channels * bands, hidden, batch_first=True)
        self.n_features = hidden

    def states(self, x: Tensor) -> Tensor:
        """State after each frame: ``(batch, 1, bands, frames)`` to ``(batch, hidden, frames of the last layer)``."""
        frames = self.maps(x).flatten(1, 2).transpose(1, 2)  # (batch, frames, channels * bands)
        # cuDNN gives no gradient in evaluation mode, which patterns need; autocast leaves the state in two precisions
        with torch.backends.cudnn.flags(enabled=False), torch.autocast(x.device.type, enabled=False):
            return self.gru(frames.float())[0].transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Features: ``(batch, 1, bands, frames)`` to ``(batch, hidden)``."""
        return self.states(x).mean(dim=2)


@dataclasses.dataclass(frozen=True)
class RecurrentConfig:
    """What decides the shape of the recurrent net."""

    hidden: int = 64  # of either GRU
    fc1: int = 108
    batch_norm: bool = False


class RecurrentIminet(Siamese):
    """Two recurrent towers, one metric on top of both."""

    KIND: ClassVar[str] = "recurrent"
    CONFIG: ClassVar[type[RecurrentConfig]] = RecurrentConfig
    FRONTENDS: ClassVar[dict[str, FrontEndConfig]] = {"imitation": IMITATION, "recording": RECORDING}
    imitation: RecurrentTower
    recording: RecurrentTower

    def __init__(self, config: RecurrentConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or RecurrentConfig()
        self.imitation = RecurrentTower(IMITATION_LAYERS, IMITATION.shape, config.hidden, config.batch_norm)
        self.recording = RecurrentTower(RECORDING_LAYERS, RECORDING.shape, config.hidden, config.batch_norm)
        self.fc1 = nn.Linear(self.imitation.n_features + self.recording.n_features, config.fc1)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(config.fc1, 1)
        init_glorot(self)

    @property
    def channels(self) -> dict[str, int]:
        """Feature maps of the towers' convolutions, units of the GRUs and of fc1."""
        below = super().channels
        fc1 = below.pop("fc1")
        return {**below, "imitation.gru": self.config.hidden, "recording.gru": self.config.hidden, "fc1": fc1}

    def head(self, hidden: Tensor) -> Tensor:
        """Logits from fc1's values before the ReLU: ``(..., 108)`` to ``(...)``."""
        return self.relu(hidden) @ self.fc2.weight[0] + self.fc2.bias

    def activate(self, layer: str, values: Tensor) -> Tensor:
        """Apply a layer's ReLU; a GRU's states have their non-linearity in them."""
        return values if layer.endswith(".gru") else super().activate(layer, values)

    def _preactivation(self, layer: str, inputs: dict[str, Tensor]) -> Tensor:
        if layer == "fc1":
            return super()._preactivation(layer, inputs)
        role = layer.partition(".")[0]
        return (self.imitation if role == "imitation" else self.recording).states(inputs[role])
