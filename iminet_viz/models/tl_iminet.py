"""TL-IMINET and the two classifiers that pre-train its towers (paper, section V).

::

    imitation      39 x 482                              recording      128 x 128
    conv1 48@6x6   34 x 477   pool 2x2   17 x 238        conv1 24@5x5   124 x 124   pool 2x4   62 x 31
    conv2 48@6x6   12 x 233   pool 2x2    6 x 116        conv2 48@5x5    58 x 27    pool 2x4   29 x 6
    conv3 48@6x6    1 x 111   pool 1x2    1 x 55         conv3 48@5x5    25 x 2
    2,640 features                                       2,400 features
                 concatenate: 5,040 -> fc1: 108, ReLU -> fc2: 1 logit
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from iminet_viz.errors import PatternError
from iminet_viz.frontends import IMITATION, RECORDING, FrontEndConfig
from iminet_viz.models._tower import ConvSpec, Tower, init_glorot

IMITATION_LAYERS = (
    ConvSpec(48, (6, 6), (2, 2)),
    ConvSpec(48, (6, 6), (2, 2)),
    ConvSpec(48, (6, 6), (1, 2)),
)
RECORDING_LAYERS = (
    ConvSpec(24, (5, 5), (2, 4)),
    ConvSpec(48, (5, 5), (2, 4)),
    ConvSpec(48, (5, 5)),
)


def make_tower(role: str, batch_norm: bool) -> Tower:
    """Build the ``imitation`` or the ``recording`` tower."""
    if role == "imitation":
        return Tower(IMITATION_LAYERS, IMITATION.shape, batch_norm)
    return Tower(RECORDING_LAYERS, RECORDING.shape, batch_norm)


@dataclasses.dataclass(frozen=True)
class TLIminetConfig:
    """What decides the shape of TL-IMINET."""

    fc1: int = 108
    batch_norm: bool = False  # the paper names none; the lab's later code has it


class TLIminet(nn.Module):
    """Two different towers, one metric on top of both (paper, Figure 3).

    ``fc1`` is linear in the concatenated features, so its two halves can be computed apart, once per sound:
    ``logit = w2 . relu(query_half + candidate_half) + b2``.
    """

    KIND: ClassVar[str] = "tl-iminet"
    CONFIG: ClassVar[type[TLIminetConfig]] = TLIminetConfig
    FRONTENDS: ClassVar[dict[str, FrontEndConfig]] = {"imitation": IMITATION, "recording": RECORDING}

    def __init__(self, config: TLIminetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TLIminetConfig()
        self.imitation = make_tower("imitation", config.batch_norm)
        self.recording = make_tower("recording", config.batch_norm)
        self.fc1 = nn.Linear(self.imitation.n_features + self.recording.n_features, config.fc1)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(config.fc1, 1)
        init_glorot(self)

    @property
    def towers(self) -> dict[str, Tower]:
        """The towers by role."""
        return {"imitation": self.imitation, "recording": self.recording}

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers with neurons to look at."""
        return (*(f"{role}.{layer}" for role, tower in self.towers.items() for layer in tower.layers), "fc1")

    def query_half(self, imitation: Tensor) -> Tensor:
        """Imitation's share of fc1: ``(batch, 1, 39, 482)`` to ``(batch, 108)``."""
        weight = self.fc1.weight[:, : self.imitation.n_features]
        return self.imitation(imitation) @ weight.T

    def candidate_half(self, recording: Tensor) -> Tensor:
        """Recording's share of fc1, its bias included: ``(batch, 1, 128, 128)`` to ``(batch, 108)``."""
        weight = self.fc1.weight[:, self.imitation.n_features :]
        return self.recording(recording) @ weight.T + self.fc1.bias

    def score_halves(self, query: Tensor, candidate: Tensor) -> Tensor:
        """Logits of all pairs: ``(queries, 108)`` and ``(candidates, 108)`` to ``(queries, candidates)``."""
        hidden = self.relu(query[:, None] + candidate[None])
        return hidden @ self.fc2.weight[0] + self.fc2.bias

    def preactivation(self, layer: str, imitation: Tensor | None = None, recording: Tensor | None = None) -> Tensor:
        """Values of a layer before its ReLU (and pooling).

        Shape:
            tower layers: that tower's input to ``(batch, channels, bands, frames)``;
            ``fc1``: both inputs to ``(batch, 108)``.

        Raises:
            PatternError: no such layer, or an input that the layer needs is not given.
        """
        if layer not in self.layers:
            raise PatternError(f"no layer {layer!r}, expected one of {', '.join(self.layers)}")
        inputs = {"imitation": imitation, "recording": recording}
        needed = self.inputs_of(layer)
        if missing := [role for role in needed if inputs[role] is None]:
            raise PatternError(f"layer {layer} needs the input {' and '.join(missing)}")
        if layer == "fc1":
            assert imitation is not None and recording is not None
            return self.query_half(imitation) + self.candidate_half(recording)
        role, name = layer.split(".")
        x = inputs[role]
        assert x is not None
        return self.towers[role].preactivation(x, name)

    def inputs_of(self, layer: str) -> tuple[str, ...]:
        """Roles of the inputs that a layer depends on: one tower's, or both for ``fc1``."""
        return ("imitation", "recording") if layer == "fc1" else (layer.split(".")[0],)

    def n_channels(self, layer: str) -> int:
        """Number of neurons (feature maps) of a layer.

        Raises:
            PatternError: no such layer.
        """
        if layer == "fc1":
            return self.config.fc1
        if layer not in self.layers:
            raise PatternError(f"no layer {layer!r}, expected one of {', '.join(self.layers)}")
        role, name = layer.split(".")
        return self.towers[role].output_shapes()[name][0]

    def forward(self, imitation: Tensor, recording: Tensor) -> Tensor:
        """Logit of each pair: ``(batch, 1, 39, 482)`` and ``(batch, 1, 128, 128)`` to ``(batch,)``."""
        features = torch.cat([self.imitation(imitation), self.recording(recording)], dim=1)  # (batch, 5040)
        return self.fc2(self.relu(self.fc1(features)))[:, 0]

    def load_towers(self, sources: dict[str, Tower], n_layers: int) -> None:
        """Copy the first ``n_layers`` convolutional layers of pre-trained towers (paper, section V-D).

        Nothing is frozen; the fully connected layers stay random.
        """
        for role, source in sources.items():
            for name in source.layers[:n_layers]:
                self.towers[role].block(name).load_state_dict(source.block(name).state_dict())


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """What decides the shape of a pre-training classifier."""

    classes: tuple[str, ...]
    batch_norm: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))


class _Classifier(nn.Module):
    """A tower with two fully connected layers and one logit per class."""

    ROLE: ClassVar[str]
    HIDDEN: ClassVar[int]
    DROPOUT: ClassVar[float]
    CONFIG: ClassVar[type[ClassifierConfig]] = ClassifierConfig

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = make_tower(self.ROLE, config.batch_norm)
        self.fc1 = nn.Linear(self.tower.n_features, self.HIDDEN)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(self.DROPOUT)
        self.fc2 = nn.Linear(self.HIDDEN, len(config.classes))
        init_glorot(self)

    @property
    def towers(self) -> dict[str, Tower]:
        """The tower by its role."""
        return {self.ROLE: self.tower}

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers with neurons to look at."""
        return (*(f"{self.ROLE}.{layer}" for layer in self.tower.layers), "fc1")

    def inputs_of(self, layer: str) -> tuple[str, ...]:
        """Roles of the inputs that a layer depends on: there is one tower."""
        return (self.ROLE,)

    def n_channels(self, layer: str) -> int:
        """Number of neurons (feature maps) of a layer.

        Raises:
            PatternError: no such layer.
        """
        if layer == "fc1":
            return self.HIDDEN
        if layer not in self.layers:
            raise PatternError(f"no layer {layer!r}, expected one of {', '.join(self.layers)}")
        return self.tower.output_shapes()[layer.split(".")[1]][0]

    def preactivation(self, layer: str, **inputs: Any) -> Tensor:
        """Values of a layer before its ReLU (and pooling), from the tower's own input.

        Raises:
            PatternError: no such layer, or the tower's input is not given.
        """
        if layer not in self.layers:
            raise PatternError(f"no layer {layer!r}, expected one of {', '.join(self.layers)}")
        x = inputs.get(self.ROLE)
        if x is None:
            raise PatternError(f"layer {layer} needs the input {self.ROLE}")
        if layer == "fc1":
            return self.fc1(self.tower(x))
        return self.tower.preactivation(x, layer.split(".")[1])

    def forward(self, x: Tensor) -> Tensor:
        """Logits: ``(batch, 1, bands, frames)`` to ``(batch, classes)``."""
        hidden = self.dropout(self.relu(self.fc1(self.dropout(self.tower(x)))))
        return self.fc2(hidden)


class LanguageTower(_Classifier):
    """Spoken language classifier that pre-trains the imitation tower (paper, section V-A, Figure 4)."""

    KIND = "language-tower"
    ROLE = "imitation"
    HIDDEN = 256
    DROPOUT = 0.0
    FRONTENDS: ClassVar[dict[str, FrontEndConfig]] = {"imitation": IMITATION}


class SoundTower(_Classifier):
    """Environmental sound classifier that pre-trains the recording tower (section V-B; Salamon and Bello, 2017)."""

    KIND = "sound-tower"
    ROLE = "recording"
    HIDDEN = 64
    DROPOUT = 0.5
    FRONTENDS: ClassVar[dict[str, FrontEndConfig]] = {"recording": RECORDING}
