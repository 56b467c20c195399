"""What to raise: the activation of a neuron, as a value that adds and scales like a number.

Values are read *after* the (leaky) ReLU. Before it, the mean of a feature map is almost the mean of the input times
the sum of the kernel: the same for every input of mean 0, so only the borders of a conv1 pattern would ever be drawn.
For a single position or unit both are the same objective, since the leaky ReLU is monotone.

Every objective is to be *raised*; the one minus sign of the package is in the engine's loop. A new objective is one
function here that returns an :class:`Objective` of one :class:`Term`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from iminet_viz.errors import PatternError
from iminet_viz.models import Model


@dataclasses.dataclass(frozen=True)
class Term:
    """One weighted reading of a layer.

    ``channel`` picks a feature map or fc1 unit; ``position`` one place (band, frame) of the map, otherwise its mean
    counts; ``direction`` replaces the channel by a weighted sum of all of them.
    """

    layer: str
    channel: int = 0
    position: tuple[int, int] | None = None
    direction: tuple[float, ...] | None = None
    weight: float = 1.0

    def read(self, values: Tensor) -> Tensor:
        """Reduce a layer's values, ``(channels, bands, frames)`` or fewer axes of one neuron, to one number."""
        if self.direction is not None:
            picked = torch.tensordot(torch.tensor(self.direction).to(values), values, dims=1)
        else:
            picked = values[self.channel]
        return picked[self.position] if self.position else picked.mean()

    def __str__(self) -> str:
        what = "direction" if self.direction is not None else str(self.channel)
        where = f"@{self.position[0]},{self.position[1]}" if self.position else ""
        scale = "" if self.weight == 1 else f"{self.weight:g} * "
        return f"{scale}{self.layer}:{what}{where}"


@dataclasses.dataclass(frozen=True)
class Objective:
    """A weighted sum of terms. ``a + 2 * b - c`` means what it says, however many terms there are."""

    terms: tuple[Term, ...]

    def __add__(self, other: Objective) -> Objective:
        return Objective(self.terms + other.terms)

    def __mul__(self, factor: float) -> Objective:
        return Objective(tuple(dataclasses.replace(term, weight=term.weight * factor) for term in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return self * -1.0

    def __sub__(self, other: Objective) -> Objective:
        return self + -other

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms))

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that must be computed."""
        return tuple(dict.fromkeys(term.layer for term in self.terms))

    def roles(self, network: Model) -> tuple[str, ...]:
        """Inputs that must be given, in the order of the network's sides."""
        needed = {role for layer in self.layers for role in network.inputs_of(layer)}
        return tuple(role for role in network.FRONTENDS if role in needed)

    def check(self, network: Model) -> None:
        """Refuse what the network does not have.

        Raises:
            PatternError: an unknown layer, a neuron or position out of range, a direction of the wrong length.
        """
        for term in self.terms:
            channels = network.n_channels(term.layer)  # unknown layers are refused there, with the legal names
            if not 0 <= term.channel < channels:
                raise PatternError(f"{term.layer} has neurons 0 to {channels - 1}, {term.channel} was asked for")
            if term.direction is not None and len(term.direction) != channels:
                raise PatternError(f"a direction in {term.layer} needs {channels} numbers, {len(term.direction)} given")
            if term.direction is not None and not np.isfinite(term.direction).all():
                raise PatternError(f"the direction in {term.layer} holds NaN or infinite values")
            if not np.isfinite(term.weight):
                raise PatternError(f"the weight of {term.layer}:{term.channel} is not finite")
            if term.position is not None:
                shape = network.map_shape(term.layer)
                if shape is None:
                    raise PatternError(f"{term.layer} has no positions; use channel or fc_unit")
                inside = len(term.position) == 2 and all(
                    0 <= place < size for place, size in zip(term.position, shape, strict=True)
                )
                if not inside:
                    raise PatternError(f"{term.layer} has maps of {shape[0]} x {shape[1]}, no position {term.position}")

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """Value to raise, from each layer's values for one input (no batch axis)."""
        return torch.stack([term.weight * term.read(values[term.layer]) for term in self.terms]).sum()


def channel(layer: str, index: int) -> Objective:
    """Mean of a feature map: the objective of the paper's Figures 7 and 8."""
    return Objective((Term(layer, index),))


def unit(layer: str, index: int, position: tuple[int, int] | None = None) -> Objective:
    """One position (band, frame) of a feature map, (0, 0) if none is given; only its receptive field is optimised."""
    return Objective((Term(layer, index, position=position or (0, 0)),))


def fc_unit(index: int, layer: str = "fc1") -> Objective:
    """One unit of fc1, raised by a *pair* of inputs optimised together (Figure 9)."""
    return Objective((Term(layer, index),))


def direction(layer: str, vector: np.ndarray | tuple[float, ...]) -> Objective:
    """A weighted sum of all neurons of a layer, the mean over positions; the vector is scaled to unit length."""
    values = np.asarray(vector, np.float64).ravel()
    length = float(np.linalg.norm(values))
    if not length or not np.isfinite(length):
        raise PatternError("a direction needs finite numbers that are not all zero")
    return Objective((Term(layer, direction=tuple(float(value) for value in values / length)),))
