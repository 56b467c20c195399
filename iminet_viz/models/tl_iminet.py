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
from typing import ClassVar

from torch import Tensor, nn

from iminet_viz.frontends import IMITATION, RECORDING, FrontEndConfig
from iminet_viz.models._model import Model, Siamese
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


class TLIminet(Siamese):
    """Two different towers, one metric on top of both (paper, Figure 3)."""

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

    def head(self, hidden: Tensor) -> Tensor:
        """Logits from fc1's values before the ReLU: ``(..., 108)`` to ``(...)``."""
        return self.relu(hidden) @ self.fc2.weight[0] + self.fc2.bias

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


class _Classifier(Model):
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
    def channels(self) -> dict[str, int]:
        """Feature maps of the tower's convolutions, units of fc1."""
        maps = {f"{self.ROLE}.{layer}": shape[0] for layer, shape in self.tower.output_shapes().items()}
        return {**maps, "fc1": self.HIDDEN}

    def _preactivation(self, layer: str, inputs: dict[str, Tensor]) -> Tensor:
        return self.fc1(self.tower(inputs[self.ROLE]))

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
