"""How a pattern is written down while it is optimised: as pixels, or as a spectrum.

A parameterisation draws a start for each pattern from that pattern's own generator, so that a result depends neither
on the batch nor on its order, and turns parameters into images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Parameterization(Protocol):
    """Draws a start and turns parameters into images."""

    name: str

    def start(self, shape: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """Parameters, one row a generator, for images of (bands, frames)."""

    def image(self, parameters: Tensor, shape: tuple[int, int]) -> Tensor:
        """Images ``(batch, bands, frames)``."""


class Pixels:
    """Every cell of the spectrogram is a parameter, started from white noise: the paper's way."""

    name = "pixels"

    def start(self, shape: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """``(batch, bands, frames)``, standard normal."""
        return torch.stack([torch.randn(shape, generator=generator) for generator in generators])

    def image(self, parameters: Tensor, shape: tuple[int, int]) -> Tensor:
        """The parameters themselves."""
        return parameters


class Fourier:
    """Real and imaginary parts of the two-dimensional spectrum, scaled by 1/frequency.

    A step of the optimiser then moves coarse structure as easily as fine structure (Olah et al., Feature
    Visualization, Distill 2017).
    """

    name = "fourier"

    def start(self, shape: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """``(batch, bands, frames // 2 + 1, 2)``, standard normal."""
        size = (shape[0], shape[1] // 2 + 1, 2)
        return torch.stack([torch.randn(size, generator=generator) for generator in generators])

    def image(self, parameters: Tensor, shape: tuple[int, int]) -> Tensor:
        """Inverse transform, scaled so that the start has a deviation near 1."""
        bands, frames = shape
        vertical = torch.fft.fftfreq(bands, device=parameters.device)[:, None]
        horizontal = torch.fft.rfftfreq(frames, device=parameters.device)[None]
        scale = 1 / (vertical.square() + horizontal.square()).sqrt().clamp_min(1 / max(shape))
        # Parseval: the inverse transform divides by the number of cells
        scale = scale * (bands * frames) / scale.square().sum().mul(2).sqrt()
        return torch.fft.irfft2(torch.view_as_complex(parameters) * scale, s=shape)


PARAMETERIZATIONS: dict[str, Parameterization] = {p.name: p for p in (Pixels(), Fourier())}
