"""Leaky ReLUs for the time of an optimisation (paper, section VII): a negative input keeps a gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def leaky(network: nn.Module, slope: float = 0.3) -> Iterator[Callable[[float], None]]:
    """Swap every ReLU of the network for a leaky one; restored at the end, also after an error.

    The weights are shared, so the network's outputs afterwards are the same bits as before.

    Yields:
        A function that sets another slope.
    """
    swapped = []
    replacements: list[nn.LeakyReLU] = []

    def set_slope(value: float) -> None:
        for replacement in replacements:
            replacement.negative_slope = value

    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                swapped.append((parent, name, child))
    try:
        for parent, name, _ in swapped:
            replacements.append(nn.LeakyReLU(slope))
            setattr(parent, name, replacements[-1])
        yield set_slope
    finally:
        for parent, name, child in swapped:
            setattr(parent, name, child)
