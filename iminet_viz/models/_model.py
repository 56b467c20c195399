"""What every model offers the rest of the package: named layers to look into, and scores by halves.

A layer of a tower is called ``role.name`` (``imitation.conv2``); one that sees both sides (``fc1``), and one of a net
that serves both sides alike (``frames``), has a name without a role.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from iminet_viz.errors import PatternError
from iminet_viz.frontends import FrontEndConfig
from iminet_viz.models._tower import Tower


@runtime_checkable
class Searcher(Protocol):
    """What search needs of a model: a vector a sound, computed once, and the scores of all pairs of vectors."""

    def query_half(self, imitation: Tensor) -> Tensor:
        """Index vectors of imitations: ``(batch, 1, bands, frames)`` to ``(batch, values)``."""

    def candidate_half(self, recording: Tensor) -> Tensor:
        """Index vectors of recordings: ``(batch, 1, bands, frames)`` to ``(batch, values)``."""

    def score_halves(self, query: Tensor, candidate: Tensor) -> Tensor:
        """Scores of all pairs, higher is more alike: to ``(queries, candidates)``."""


class Model(nn.Module):
    """A network with named layers; abstract."""

    KIND: ClassVar[str]
    CONFIG: ClassVar[type[Any]]
    FRONTENDS: ClassVar[dict[str, FrontEndConfig]]  # by role
    config: Any
    relu: nn.ReLU

    @property
    def towers(self) -> dict[str, Tower]:
        """The convolutional towers by role, as far as there are any."""
        return {}

    @property
    def channels(self) -> dict[str, int]:
        """Number of neurons (feature maps, units) of each layer, shallow to deep."""
        raise NotImplementedError

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers with neurons to look at."""
        return tuple(self.channels)

    def n_channels(self, layer: str) -> int:
        """Number of neurons (feature maps) of a layer.

        Raises:
            PatternError: no such layer.
        """
        return self.channels[self._check(layer)]

    def inputs_of(self, layer: str) -> tuple[str, ...]:
        """Roles of the inputs that a layer depends on: one tower's, or all."""
        role = layer.partition(".")[0]
        return (role,) if role in self.FRONTENDS else tuple(self.FRONTENDS)

    def map_shape(self, layer: str) -> tuple[int, int] | None:
        """Bands and frames of the feature maps of a tower's layer; None for layers whose neurons have no positions.

        Raises:
            PatternError: no such layer.
        """
        role, _, name = self._check(layer).partition(".")
        tower = self.towers.get(role)
        return tower.map_shape(name) if tower is not None and name in tower.layers else None

    def preactivation(self, layer: str, imitation: Tensor | None = None, recording: Tensor | None = None) -> Tensor:
        """Values of a layer before its non-linearity (and pooling).

        Shape:
            the inputs of the layer, each ``(batch, 1, bands, frames)``, to ``(batch, channels, ...)``: bands and frames
            of a feature map, frames of a layer over time, nothing for fully connected layers.

        Raises:
            PatternError: no such layer, or an input that the layer needs is not given.
        """
        self._check(layer)
        given = {"imitation": imitation, "recording": recording}
        if missing := [role for role in self.inputs_of(layer) if given[role] is None]:
            raise PatternError(f"layer {layer} needs the input {' and '.join(missing)}")
        inputs = {role: x for role, x in given.items() if x is not None}
        if self.map_shape(layer) is not None:
            role, name = layer.split(".")
            return self.towers[role].preactivation(inputs[role], name)
        return self._preactivation(layer, inputs)

    def _preactivation(self, layer: str, inputs: dict[str, Tensor]) -> Tensor:
        """As above, of a layer that is no tower's convolution."""
        raise NotImplementedError

    def activate(self, layer: str, values: Tensor) -> Tensor:
        """Apply a layer's non-linearity to what :meth:`preactivation` gave."""
        return self.relu(values)

    def _check(self, layer: str) -> str:
        if layer not in self.channels:
            raise PatternError(f"no layer {layer!r}, expected one of {', '.join(self.channels)}")
        return layer


class Siamese(Model):
    """Two towers, one metric on top of both; abstract.

    ``fc1`` is linear in the concatenated features, so its two halves can be computed apart, once per sound:
    ``logit = head(query_half + candidate_half)``.
    """

    imitation: Tower
    recording: Tower
    fc1: nn.Linear

    @property
    def towers(self) -> dict[str, Tower]:
        """The towers by role."""
        return {"imitation": self.imitation, "recording": self.recording}

    @property
    def channels(self) -> dict[str, int]:
        """Feature maps of the towers' convolutions, units of fc1."""
        maps = {
            f"{role}.{layer}": shape[0]
            for role, tower in self.towers.items()
            for layer, shape in tower.output_shapes().items()
        }
        return {**maps, "fc1": self.fc1.out_features}

    def head(self, hidden: Tensor) -> Tensor:
        """Logits from fc1's values before the ReLU: ``(..., fc1)`` to ``(...)``."""
        raise NotImplementedError

    def query_half(self, imitation: Tensor) -> Tensor:
        """Imitation's share of fc1: ``(batch, 1, bands, frames)`` to ``(batch, fc1)``."""
        weight = self.fc1.weight[:, : self.imitation.n_features]
        return self.imitation(imitation) @ weight.T

    def candidate_half(self, recording: Tensor) -> Tensor:
        """Recording's share of fc1, its bias included: ``(batch, 1, bands, frames)`` to ``(batch, fc1)``."""
        weight = self.fc1.weight[:, self.imitation.n_features :]
        return self.recording(recording) @ weight.T + self.fc1.bias

    def score_halves(self, query: Tensor, candidate: Tensor) -> Tensor:
        """Logits of all pairs: ``(queries, fc1)`` and ``(candidates, fc1)`` to ``(queries, candidates)``."""
        rows = max(1, (1 << 24) // max(candidate.numel(), 1))  # 64 MB of fc1 at a time
        return torch.cat([self.head(part[:, None] + candidate[None]) for part in query.split(rows)])

    def forward(self, imitation: Tensor, recording: Tensor) -> Tensor:
        """Logit of each pair: ``(batch, 1, bands, frames)`` of either side to ``(batch,)``."""
        features = torch.cat([self.imitation(imitation), self.recording(recording)], dim=1)
        return self.head(self.fc1(features))

    def _preactivation(self, layer: str, inputs: dict[str, Tensor]) -> Tensor:
        return self.query_half(inputs["imitation"]) + self.candidate_half(inputs["recording"])  # fc1
