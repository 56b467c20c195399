"""Leaky ReLUs for the time of an optimisation (paper, section VII): a negative input keeps a gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def leaky(network: nn.Module, slope: float = 0.3) -> Iterator[None]:
    """Swap every ReLU of the network for a leaky one; restored at the end, also after an error.

    The weights are shared, so the network's outputs afterwards are the same bits as before.
    """
    swapped = []
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                swapped.append((parent, name, child))
    try:
        for parent, name, _ in swapped:
            setattr(parent, name, nn.LeakyReLU(slope))
        yield
    finally:
        for parent, name, child in swapped:
            setattr(parent, name, child)
