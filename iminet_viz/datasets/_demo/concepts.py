"""The 240 concepts of the demo corpus and how one becomes a sound."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from iminet_viz.datasets._demo import creatures, instruments, machines, objects, signals, synthesizers


@dataclasses.dataclass(frozen=True)
class Concept:
    """A named sound: the generator and what tells this sound from others of the family."""

    label: str
    subset: str  # audio_concept_subset of VocalSketch
    generator: Callable[..., np.ndarray]
    parameters: Mapping[str, Any]

    @property
    def filename(self) -> str:
        """As VocalSketch names its recordings: "violin (bowed)" is violin_bowed."""
        return f"{re.sub('[^a-z0-9]+', '_', self.label.lower()).strip('_')}.flac"


_FAMILIES = {
    "acoustic instruments": instruments.SOUNDS,
    "commercial synthesizers": synthesizers.PATCHES,
    "everyday sounds": [*creatures.SOUNDS, *objects.SOUNDS, *machines.SOUNDS],
    "single synthesizer": synthesizers.SINGLE,
}
CONCEPTS: tuple[Concept, ...] = tuple(
    Concept(label, subset, generator, parameters)
    for subset, sounds in _FAMILIES.items()
    for label, generator, parameters in sounds  # type: ignore[attr-defined]
)


def draw(seed: int, *what: object) -> int:
    """A number of 63 bits that depends on the seed and on names alone."""
    text = "\0".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def synthesise(concept: Concept, seed: int) -> np.ndarray:
    """The sound of a concept, ``(samples,)`` float32 at :data:`signals.RATE`, 0.3 to 6 s, peak 0.89."""
    rng = np.random.default_rng(draw(seed, "sound", concept.label))
    waveform = concept.generator(rng, **concept.parameters)
    if concept.subset == "acoustic instruments":  # nobody plays in a room without any echo
        waveform = signals.room(rng, waveform, 0.5, 0.06)
    return signals.finish(waveform)
