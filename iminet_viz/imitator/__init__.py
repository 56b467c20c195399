"""A voice that imitates any sound: :func:`analyse` hears it, :func:`imitate` draws a person who speaks.

What a person can do with their voice bounds what is followed: an imitation is not an altered copy. Training pairs can
so be made from any collection of sounds (after Cartwright and Pardo, 2015, who collected them from people).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from iminet_viz.errors import ImitationError
from iminet_viz.imitator.analysis import SAMPLE_RATE, Features, analyse
from iminet_viz.imitator.person import draw_person
from iminet_viz.imitator.strategies import STRATEGIES, ImitatorConfig, retell
from iminet_viz.imitator.voice import perform, record

__all__ = ["SAMPLE_RATE", "STRATEGIES", "Imitation", "ImitatorConfig", "analyse", "imitate"]


@dataclasses.dataclass(frozen=True)
class Imitation:
    """A synthesised vocal imitation."""

    waveform: np.ndarray  # (samples,) float32 at SAMPLE_RATE, peak below 1, finite, not silent
    strategy: str
    start_s: float  # of the imitated part within the sound
    stop_s: float


def imitate(sound: Features, seed: int | tuple[int, ...], config: ImitatorConfig | None = None) -> Imitation:
    """Imitate a sound by voice; the same seed gives the same samples.

    Args:
        sound: what :func:`analyse` heard in it, once for all imitations.
        seed: of the person, the strategy and every other draw.
        config: switches of the imitator.

    Raises:
        ImitationError: a strategy is unknown, or there is none.
    """
    config = config or ImitatorConfig()
    if unknown := [name for name in config.strategies if name not in STRATEGIES]:
        raise ImitationError(f"no strategy {unknown[0]!r}, expected some of {', '.join(STRATEGIES)}")
    if not config.strategies:
        raise ImitationError(f"no strategy was given, expected some of {', '.join(STRATEGIES)}")
    rng = np.random.default_rng(seed)
    person = draw_person(rng)
    odds = np.array([STRATEGIES[name][1](sound) for name in config.strategies])
    name = config.strategies[int(rng.choice(len(odds), p=odds / odds.sum()))]
    heard = retell(sound, person, rng, config)
    score = STRATEGIES[name][0](heard, person, rng, config)
    if not config.limit_tract:
        score = dataclasses.replace(score, free_db=heard.features.bands_db)
    voice = perform(score, person, rng, config.glottal_noise)
    heard_back = record(voice, person, rng, config.microphone, config.room)
    return Imitation(heard_back.astype(np.float32), name, sound.start_s, sound.stop_s)
