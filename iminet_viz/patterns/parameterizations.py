"""How a pattern is written down while it is optimised: as pixels, as frequencies, or as a two-dimensional spectrum.

A parameterisation draws a start for each pattern from that pattern's own generator, so that a result depends neither
on the batch nor on its order, and turns parameters into images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Parameterization(Protocol):
    """Draws a start and turns parameters into images."""

    name: str
    natural: bool  # takes its magnitudes from real clips
    linear: bool  # images are of linear frequencies: the engine sums them to bands, as the front end does

    def start(self, shape: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """Parameters, one row a generator, for images of (bands, frames)."""

    def image(self, parameters: Tensor, shape: tuple[int, int], magnitude: Tensor | None = None) -> Tensor:
        """Images ``(batch, bands, frames)``; ``magnitude`` ``(bands, frames // 2 + 1)`` if ``natural``."""


class Pixels:
    """Every cell of the spectrogram is a parameter, started from white noise: the paper's way."""

    name = "pixels"
    natural = False
    linear = False

    def start(self, shape: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """``(batch, bands, frames)``, standard normal."""
        return torch.stack([torch.randn(shape, generator=generator) for generator in generators])

    def image(self, parameters: Tensor, shape: tuple[int, int], magnitude: Tensor | None = None) -> Tensor:
        """The parameters themselves."""
        return parameters


class Spectrum(Pixels):
    """Every frequency of every frame is a parameter; the mel bands are their sums.

    Mel bands share frequencies, so most pictures are no sound's: a lone band without its neighbours cannot be. What
    comes from here can: its realizability is 0, as that of real clips. Where there are no mel bands, or a patch of a
    clip is drawn, or anything goes (``reachable=False``), it is the same as pixels.
    """

    name = "spectrum"
    linear = True


class Fourier:
    """Real and imaginary parts of the two-dimensional spectrum, scaled by 1/frequency.

    A step of the optimiser then moves coarse structure as easily as fine structure (Olah et al., Feature
    Visualization, Distill 2017).
    """

    name = "fourier"
    natural = False
    linear = False

    def start(self, shape: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """``(batch, bands, frames // 2 + 1, 2)``, standard normal."""
        size = (shape[0], shape[1] // 2 + 1, 2)
        return torch.stack([torch.randn(size, generator=generator) for generator in generators])

    def image(self, parameters: Tensor, shape: tuple[int, int], magnitude: Tensor | None = None) -> Tensor:
        """Inverse transform, scaled so that the start has a deviation near 1."""
        return torch.fft.irfft2(torch.view_as_complex(parameters) * _one_over_f(shape, parameters.device), s=shape)


class Phase:
    """The phases of the two-dimensional spectrum alone; its magnitudes are the mean of real clips' (MaCo).

    No step can make the coarse or fine structure of a pattern stronger than recordings have it (Fel et al., Unlocking
    Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization, NeurIPS 2023). The patch of a
    ``unit`` objective has no clips of its size: 1/frequency then.
    """

    name = "phase"
    natural = True
    linear = False

    def start(self, shape: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """``(batch, bands, frames // 2 + 1)`` radians, uniform."""
        size = (shape[0], shape[1] // 2 + 1)
        return torch.stack([math.pi * (2 * torch.rand(size, generator=generator) - 1) for generator in generators])

    def image(self, parameters: Tensor, shape: tuple[int, int], magnitude: Tensor | None = None) -> Tensor:
        """Inverse transform, with exactly the given magnitudes."""
        if magnitude is None:
            magnitude = natural_magnitude(_one_over_f(shape, parameters.device), shape)
        # Columns 0 and, where frames are even, the last hold both of each pair of conjugates.
        conjugate = parameters.flip(1).roll(1, dims=1)
        both = torch.zeros(parameters.shape[2], dtype=torch.bool, device=parameters.device)
        both[0] = True
        both[-1] |= shape[1] % 2 == 0
        phases = torch.where(both, parameters - conjugate, parameters)
        return torch.fft.irfft2(torch.polar(magnitude.to(phases).expand_as(phases), phases), s=shape)


def natural_magnitude(magnitude: Tensor, shape: tuple[int, int]) -> Tensor:
    """Scale magnitudes so that their images have mean 0 and deviation 1: ``(bands, frames // 2 + 1)`` to the same."""
    bands, frames = shape
    magnitude = magnitude.clone()
    magnitude[0, 0] = 0
    twice = torch.full_like(magnitude, 2)  # every column but the first, and the last of an even number, stands for two
    twice[:, 0] = 1
    if frames % 2 == 0:
        twice[:, -1] = 1
    # Parseval: the inverse transform divides by the number of cells
    return magnitude * (bands * frames) / (twice * magnitude.square()).sum().sqrt()


def _one_over_f(shape: tuple[int, int], device: torch.device) -> Tensor:
    """1/frequency, scaled so that standard normal real and imaginary parts give images of a deviation near 1."""
    bands, frames = shape
    vertical = torch.fft.fftfreq(bands, device=device)[:, None]
    horizontal = torch.fft.rfftfreq(frames, device=device)[None]
    scale = 1 / (vertical.square() + horizontal.square()).sqrt().clamp_min(1 / max(shape))
    return scale * (bands * frames) / scale.square().sum().mul(2).sqrt()


PARAMETERIZATIONS: dict[str, Parameterization] = {p.name: p for p in (Pixels(), Spectrum(), Fourier(), Phase())}
