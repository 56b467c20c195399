"""Several aligned nets as one: their frames side by side, reduced to as few values as one net has.

Nets that differ in their random start err differently, so the sum of their scores finds more than each. Their distances
add up in the same way within a frame: the frames are joined, and what the joined frames have in common is kept by their
first principal components. On people the joint net is as good as the sum of standardised scores, at a third of its cost
and of its index (docs/people.md); and its score depends on the pair alone, not on the rest of the library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from iminet_viz.models._tower import init_glorot
from iminet_viz.models.aligned import Aligned, AlignedConfig, AlignedNet


@dataclasses.dataclass(frozen=True)
class JointConfig:
    """What decides the shape of the joint net: its members and the values that a frame keeps."""

    members: int = 3
    channels: tuple[int, int, int] = (16, 32, 32)
    member_features: int = 48
    features: int = 48

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if not 1 <= self.features <= self.members * self.member_features:
            raise ValueError(f"features {self.features}, expected 1 to {self.members * self.member_features}")


class JointNet(Aligned):
    """Aligned nets side by side and one projection of their frames."""

    KIND: ClassVar[str] = "joint"
    CONFIG: ClassVar[type[JointConfig]] = JointConfig

    def __init__(self, config: JointConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or JointConfig()
        member = AlignedConfig(config.channels, config.member_features)
        self.members = nn.ModuleDict({f"net{number + 1}": AlignedNet(member) for number in range(config.members)})
        self.relu = nn.ReLU()
        self.joint = nn.Linear(config.members * config.member_features, config.features, bias=False)
        init_glorot(self)

    @staticmethod
    def of(members: Sequence[AlignedNet], clips: Tensor, features: int = 48) -> JointNet:
        """Join trained nets of one shape.

        Args:
            members: one or more.
            clips: ``(clips, 1, 64, 64)``, inputs whose frames decide what is kept.
            features: values a frame keeps.

        Raises:
            ValueError: there is no member, they differ in shape, or the clips have fewer frames than values are kept.
        """
        if not members or any(member.config != members[0].config for member in members):
            raise ValueError("expected aligned nets of one shape, at least one")
        first = members[0].config
        network = JointNet(JointConfig(len(members), first.channels, first.features, features))
        for own, member in zip(network.members.values(), members, strict=True):
            own.load_state_dict(member.state_dict())
        network.eval()
        with torch.no_grad():
            frames = network._side_by_side(clips).flatten(0, 1).double()
            frames -= frames.mean(dim=0)
            if len(frames) < features:
                raise ValueError(f"{len(frames)} frames, expected at least {features}")
            components = torch.linalg.eigh(frames.T @ frames).eigenvectors.flip(1)[:, :features].T
            components *= components.sum(dim=1, keepdim=True).sign()  # the same on every machine
            # distances are those of one net: the root of the mean of the members' squares
            network.joint.weight.copy_(components / len(members) ** 0.5)
        return network

    @torch.no_grad()
    def variance_kept(self, clips: Tensor) -> float:
        """Share of the variance of the members' frames that the joint frames keep: ``(clips, 1, 64, 64)``."""
        before, after = (
            x.flatten(0, 1).var(dim=0).sum().item() for x in (self._side_by_side(clips), self.embed(clips))
        )
        return after * self.config.members / before

    @property
    def channels(self) -> dict[str, int]:
        """Layers of each member, ``net1.conv1``, and the joint frames."""
        own = {f"{name}.{layer}": n for name, member in self._named() for layer, n in member.channels.items()}
        return {**own, "frames": self.config.features}

    @property
    def duration_cost(self) -> float:
        """What a factor e in duration costs: the members' mean."""
        return sum(member.duration_cost for _, member in self._named()) / self.config.members

    def activate(self, layer: str, values: Tensor) -> Tensor:
        """Apply a layer's ReLU; frames have none."""
        return values if layer.endswith("frames") else super().activate(layer, values)

    def _preactivation(self, layer: str, inputs: dict[str, Tensor]) -> Tensor:
        """``(batch, 1, 64, 64)`` to ``(batch, channels, bands, frames)``, for frames ``(batch, features, 32)``."""
        if layer == "frames":
            return self.embed(inputs["imitation"]).transpose(1, 2)
        name, _, own = layer.partition(".")
        member = self.members[name]
        assert isinstance(member, AlignedNet)
        return member._preactivation(own, inputs)

    def embed(self, x: Tensor) -> Tensor:
        """Frames of a clip: ``(batch, 1, 64, 64)`` to ``(batch, 32, features)``."""
        return self.joint(self._side_by_side(x))

    def forward(self, imitation: Tensor, recording: Tensor) -> Tensor:
        """Score of each pair by the members' comparison in training, durations left out; as :class:`AlignedNet` has it.

        Shape:
            ``(batch, 1, 64, 64)`` twice to ``(batch,)``.
        """
        query, candidate = self.embed(imitation), self.embed(recording)
        same = torch.ones(len(query), device=query.device)
        scores = [member.interact(query, candidate, same, same).diagonal() for _, member in self._named()]
        return torch.stack(scores).mean(dim=0)

    def _side_by_side(self, x: Tensor) -> Tensor:
        return torch.cat([member.embed(x) for _, member in self._named()], dim=2)

    def _named(self) -> list[tuple[str, AlignedNet]]:
        return [(name, member) for name, member in self.members.items() if isinstance(member, AlignedNet)]


__all__ = ["JointConfig", "JointNet"]
