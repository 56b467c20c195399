"""Towers computed for their inputs' gradient alone: the same values as the plain ones up to rounding, in less time.

The convolution libraries are slow at the two shapes that an optimisation of inputs lives on: a first layer, with its
one input channel, and a single map of a layer (measured: 4 ms and 8 ms a clip for the backward pass alone). Both are
matrix products here, and pooling is a maximum of strided views. Batch norm is folded into the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iminet_viz.models._tower import ConvBlock, Tower


@contextmanager
def quick(network: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Swap every tower's blocks for quick ones of the same weights; restored at the end, also after an error.

    Inside, the network is in evaluation mode, its weights get no gradient, and the gradient to an input can be taken
    once. Whatever the blocks' ReLUs are at the moment (leaky or not) stays in effect.
    """
    towers = [module for module in network.modules() if isinstance(module, Tower)]
    kept = [dict(tower.blocks.items()) for tower in towers]
    try:
        for tower in towers:
            tower.blocks.update({name: _QuickBlock(tower.block(name), dtype) for name in tower.layers})
        yield
    finally:
        for tower, blocks in zip(towers, kept, strict=True):
            tower.blocks.update(blocks)


class _QuickBlock(ConvBlock):
    """Does what its :class:`ConvBlock` does."""

    def __init__(self, block: ConvBlock, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.relu = block.relu
        self.window = block.pool.kernel_size if isinstance(block.pool, nn.MaxPool2d) else (1, 1)
        assert block.conv.bias is not None
        weight, bias = block.conv.weight.detach(), block.conv.bias.detach()
        if isinstance(norm := block.norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
            weight = weight * scale[:, None, None, None]
            bias = (bias - norm.running_mean) * scale + norm.bias.detach()
        self.weight = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        self.bias = bias.to(dtype)

    def preactivation(self, x: Tensor, channels: Tensor | None = None) -> Tensor:
        """Feature maps before pooling and ReLU; with ``channels`` that one map of each input."""
        x = x.to(self.weight.dtype)
        if channels is None:
            return F.conv2d(x, self.weight, self.bias)
        if self.weight.shape[1] == 1:
            maps = F.conv2d(x.transpose(0, 1), self.weight[channels], self.bias[channels], groups=len(x))
            return maps.transpose(0, 1)
        return _OneMap.apply(x, self.weight[channels]) + self.bias[channels, None, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps after pooling and ReLU."""
        if self.weight.shape[1] == 1:
            largest = _FirstPooled.apply(x.to(self.weight.dtype), self.weight, self.window)
            return self.relu(largest + self.bias[:, None, None])
        return self.relu(_Pooled.apply(self.preactivation(x), self.window))


def _pool(windows: Tensor) -> Tensor:
    """Maximum over the last two axes: ``(batch, channels, bands, frames, *window)`` to ``(batch, ..., frames)``."""
    largest, *others = _cells(windows)
    for other in others:
        largest = torch.maximum(largest, other)
    return largest


def _unpool(windows: Tensor, largest: Tensor, gradient: Tensor) -> None:
    """Write in place of the windows the gradient to them: the cell that is the largest (all, if many are) has it."""
    for cell in _cells(windows):
        cell.eq_(largest).mul_(gradient)


def _cells(windows: Tensor) -> list[Tensor]:
    return [cell for row in windows.unbind(4) for cell in row.unbind(4)]


class _Pooled(torch.autograd.Function):
    """Maximum pooling of ``(batch, channels, bands, frames)``."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, window: tuple[int, int]) -> Tensor:
        largest = _pool(_windows(maps, window))
        ctx.window = window
        ctx.save_for_backward(maps, largest)
        return largest

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        maps, largest = ctx.saved_tensors
        _unpool(_windows(maps, ctx.window), largest, gradient)
        for axis, size in enumerate(ctx.window, start=2):  # what no window covers
            covered = maps.shape[axis] // size * size
            maps.narrow(axis, covered, maps.shape[axis] - covered).zero_()
        return maps, None


def _windows(maps: Tensor, window: tuple[int, int]) -> Tensor:
    return maps.unfold(2, window[0], window[0]).unfold(3, window[1], window[1])


class _FirstPooled(torch.autograd.Function):
    """Convolution of one channel (without its bias) and maximum pooling.

    All cells of a pooling window come from one patch of the input, of kernel + window - 1 cells. So the convolution is
    a product of the patches with a matrix that holds the kernels at each place in the window: 36 % more
    multiplications for a kernel of 6 x 6 and a window of 2 x 2, in a quarter of the time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, window: tuple[int, int]) -> Tensor:
        channels, _, *kernel = weight.shape
        patch = (kernel[0] + window[0] - 1, kernel[1] + window[1] - 1)
        patches = x[:, 0].unfold(1, patch[0], window[0]).unfold(2, patch[1], window[1])
        batch, bands, frames = patches.shape[:3]
        matrix = weight.new_zeros(*patch, *window, channels)
        for i in range(window[0]):
            for k in range(window[1]):
                matrix[i : i + kernel[0], k : k + kernel[1], i, k] = weight[:, 0].permute(1, 2, 0)
        matrix = matrix.flatten(2).flatten(0, 1)  # (patch, window * channels)
        cells = patches.reshape(-1, len(matrix)) @ matrix
        windows = cells.view(batch, bands, frames, *window, channels).permute(0, 5, 1, 2, 3, 4)
        largest = _pool(windows)
        ctx.window, ctx.patch, ctx.shape = window, patch, x.shape
        ctx.save_for_backward(matrix, windows, largest)
        return largest

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        matrix, windows, largest = ctx.saved_tensors
        _unpool(windows, largest, gradient)
        batch, _, bands, frames = windows.shape[:4]
        cells = windows.permute(0, 2, 3, 4, 5, 1).reshape(batch, bands * frames, -1)
        patches = (matrix @ cells.transpose(1, 2)).view(batch, *ctx.patch, bands, frames)
        x = torch.zeros(ctx.shape, device=gradient.device)
        high, wide = ctx.window
        for i in range(ctx.patch[0]):
            for k in range(ctx.patch[1]):
                x[:, 0, i : i + high * bands : high, k : k + wide * frames : wide] += patches[:, i, k]
        return x.to(gradient.dtype), None, None


class _OneMap(torch.autograd.Function):
    """Another kernel for each input of a batch: ``(batch, channels, bands, frames)`` to ``(batch, 1, ...)``.

    Every cell of the input is multiplied with every cell of the kernel, and the products are added where they belong.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        kernel = weight.shape[2:]
        products = (weight.flatten(2).transpose(1, 2) @ x.flatten(2)).view(len(x), *kernel, *x.shape[2:])
        bands, frames = x.shape[2] - kernel[0] + 1, x.shape[3] - kernel[1] + 1
        total = torch.zeros(len(x), bands, frames, device=x.device)
        for i in range(kernel[0]):
            for k in range(kernel[1]):
                total += products[:, i, k, i : i + bands, k : k + frames]
        return total[:, None].to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        kernel = weight.shape[2:]
        around = F.pad(gradient[:, 0], (kernel[1] - 1, kernel[1] - 1, kernel[0] - 1, kernel[0] - 1))
        shifted = around.unfold(1, kernel[0], 1).unfold(2, kernel[1], 1)  # (batch, bands, frames, *kernel)
        spread = shifted.reshape(len(weight), -1, kernel[0] * kernel[1]) @ weight.flatten(2).flip(2).transpose(1, 2)
        x = spread.view(*shifted.shape[:3], weight.shape[1])
        return x.permute(0, 3, 1, 2), None


__all__ = ["quick"]
