"""The convolutional tower: named layers, their shapes, their receptive fields.

Each block is convolution, optional batch norm, max pooling, ReLU. Pooling before the ReLU gives the same numbers
as after it (both the maximum and the ReLU are monotone, and so is the leaky ReLU) at a fraction of the work.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn
from torch.nn import functional as F

from iminet_viz.errors import PatternError


@dataclasses.dataclass(frozen=True)
class ConvSpec:
    """One convolutional layer: output channels, kernel and pooling as (bands, frames); stride 1, no padding."""

    channels: int
    kernel: tuple[int, int]
    pool: tuple[int, int] = (1, 1)


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """The patch of the input that one position of a layer sees, in (bands, frames)."""

    size: tuple[int, int]
    stride: tuple[int, int]


class ConvBlock(nn.Module):
    """Convolution, optional batch norm, max pooling, ReLU.

    Shape:
        ``(batch, in_channels, bands, frames)`` to
        ``(batch, channels, (bands - kernel + 1) // pool, (frames - kernel + 1) // pool)``.
    """

    def __init__(self, in_channels: int, spec: ConvSpec, batch_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, spec.channels, spec.kernel)
        # The lab's later code has momentum 0.01 (0.99 in Keras terms): too slow for a hundred updates, whose running
        # statistics would still be a third of what they started from.
        self.norm = nn.BatchNorm2d(spec.channels, eps=1e-3, momentum=0.1) if batch_norm else nn.Identity()
        self.pool = nn.MaxPool2d(spec.pool) if spec.pool != (1, 1) else nn.Identity()
        self.relu = nn.ReLU()

    def preactivation(self, x: Tensor, channels: Tensor | None = None) -> Tensor:
        """Feature maps before pooling and ReLU.

        With ``channels`` ``(batch,)``, only that one map of each input, ``(batch, 1, bands, frames)``: the maps that
        nobody looks at are most of the work.
        """
        if channels is None:
            return self.norm(self.conv(x))
        weight, bias = self.conv.weight[channels], self.conv.bias
        assert bias is not None
        # one group an input: (1, batch * in_channels, bands, frames) by (batch, in_channels, *kernel)
        maps = F.conv2d(x.reshape(1, -1, *x.shape[2:]), weight, bias[channels], groups=len(x)).transpose(0, 1)
        if isinstance(self.norm, nn.BatchNorm2d):
            norm = self.norm
            assert norm.running_mean is not None and norm.running_var is not None and not norm.training
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            shift = norm.bias - norm.running_mean * scale
            maps = maps * scale[channels, None, None, None] + shift[channels, None, None, None]
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps after pooling and ReLU."""
        return self.relu(self.pool(self.preactivation(x)))


class Tower(nn.Module):
    """A stack of convolutional blocks named ``conv1``, ``conv2``, ...

    Shape:
        ``(batch, 1, bands, frames)`` to ``(batch, features)``.
    """

    def __init__(self, specs: tuple[ConvSpec, ...], input_shape: tuple[int, int], batch_norm: bool = False) -> None:
        super().__init__()
        self.specs = specs
        self.input_shape = input_shape
        self.blocks = nn.ModuleDict()
        channels = 1
        for index, spec in enumerate(specs, start=1):
            self.blocks[f"conv{index}"] = ConvBlock(channels, spec, batch_norm)
            channels = spec.channels
        bands, frames = self.output_shapes()[f"conv{len(specs)}"][1:]
        self.n_features = channels * bands * frames

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, shallow to deep."""
        return tuple(self.blocks)

    def block(self, layer: str) -> ConvBlock:
        """Look a layer up by its name.

        Raises:
            PatternError: no such layer; the message lists the legal names.
        """
        if layer not in self.blocks:
            raise PatternError(f"no layer {layer!r} in this tower, expected one of {', '.join(self.layers)}")
        block = self.blocks[layer]
        assert isinstance(block, ConvBlock)
        return block

    def output_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Shape after each layer's pooling: ``{name: (channels, bands, frames)}`` (paper.md, section 2)."""
        shapes = {}
        bands, frames = self.input_shape
        for index, spec in enumerate(self.specs, start=1):
            bands = (bands - spec.kernel[0] + 1) // spec.pool[0]
            frames = (frames - spec.kernel[1] + 1) // spec.pool[1]
            shapes[f"conv{index}"] = (spec.channels, bands, frames)
        return shapes

    def map_shape(self, layer: str) -> tuple[int, int]:
        """Bands and frames of a layer's feature maps before pooling."""
        self.block(layer)
        before = {"conv1": self.input_shape}
        for index, (_, bands, frames) in enumerate(self.output_shapes().values(), start=2):
            before[f"conv{index}"] = (bands, frames)
        kernel = self.specs[self.layers.index(layer)].kernel
        return before[layer][0] - kernel[0] + 1, before[layer][1] - kernel[1] + 1

    def receptive_field(self, layer: str) -> ReceptiveField:
        """Input patch seen by one position of a layer's feature maps (before its own pooling)."""
        self.block(layer)
        size, stride = [1, 1], [1, 1]
        for name, spec in zip(self.layers, self.specs, strict=True):
            for axis in (0, 1):
                size[axis] += (spec.kernel[axis] - 1) * stride[axis]
            if name == layer:
                break
            for axis in (0, 1):
                size[axis] += (spec.pool[axis] - 1) * stride[axis]
                stride[axis] *= spec.pool[axis]
        return ReceptiveField((size[0], size[1]), (stride[0], stride[1]))

    def preactivation(self, x: Tensor, layer: str, channels: Tensor | None = None) -> Tensor:
        """Feature maps of a layer before its pooling and ReLU; deeper layers are not computed.

        Shape:
            ``(batch, 1, bands, frames)`` to ``(batch, channels, *map_shape(layer))``; with ``channels`` ``(batch,)``
            (evaluation mode only) to ``(batch, 1, *map_shape(layer))``, one map of each input.

        Raises:
            PatternError: no such layer.
        """
        target = self.block(layer)
        for block in self.blocks.values():
            if block is target:
                break
            x = block(x)
        return target.preactivation(x, channels)

    def maps(self, x: Tensor) -> Tensor:
        """The last layer's feature maps: ``(batch, 1, bands, frames)`` to its ``output_shapes``."""
        for block in self.blocks.values():
            x = block(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Features: ``(batch, 1, bands, frames)`` to ``(batch, n_features)``."""
        return self.maps(x).flatten(1)


def init_glorot(module: nn.Module) -> None:
    """Glorot uniform weights and zero biases (the paper's Keras default), in place."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
