"""Who imitates: a random voice, its habits, and the microphone and room it is heard through."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Person:
    """One imitator; ranges are those of adults (Peterson and Barney, 1952; Titze, 1994)."""

    register_hz: float  # comfortable pitch
    highest_hz: float  # pitch that is still reached
    lowest_hz: float
    tract: float  # formants relative to an adult man's
    whistle_hz: float  # comfortable whistled pitch
    tempo: float  # durations relative to the sound's
    unsteadiness: float  # share by which the tempo wanders
    pitch_error: float  # semitones
    level_exponent: float  # how much of the sound's dynamics is followed
    quietest_db: float  # what is quieter than the loudest by more than this is left out
    articulation_s: float  # shortest time between two syllables
    breath: float  # share of breath in the voice
    effort: float  # dB an octave by which the voice is brighter than a soft one
    jitter: float  # relative deviation of periods
    shimmer: float  # relative deviation of their amplitudes
    open_quotient: float  # of the glottis
    roughness: float  # readiness to growl
    microphone_db: np.ndarray  # (6,) gains at octaves from 125 Hz to 4 kHz
    highpass_hz: float
    lowpass_hz: float
    room_s: float  # reverberation time
    room_level: float  # of the reverberation
    floor_db: float  # of the room's noise
    lead_s: float  # silence before
    tail_s: float  # and after


def draw_person(rng: np.random.Generator) -> Person:
    """Draw somebody at random."""
    small = rng.random() < 0.5  # women and the young: higher voices go with shorter tracts
    register = float(np.exp(rng.normal(np.log(210 if small else 120), 0.16)))
    telephone = rng.random() < 0.1
    return Person(
        register_hz=register,
        highest_hz=register * 2 ** rng.uniform(1.0, 2.0),
        lowest_hz=register * 2 ** -rng.uniform(0.4, 0.8),
        tract=float(rng.normal(1.16 if small else 1.0, 0.05)),
        whistle_hz=float(np.exp(rng.uniform(np.log(800), np.log(2_000)))),
        tempo=float(np.exp(rng.uniform(np.log(0.7), np.log(1.4)))),
        unsteadiness=rng.uniform(0.02, 0.2),
        pitch_error=rng.uniform(0.2, 1.5),
        level_exponent=rng.uniform(0.6, 1.1),
        quietest_db=-rng.uniform(18, 40),
        articulation_s=1 / rng.uniform(6, 12),
        breath=rng.uniform(0.02, 0.3),
        effort=rng.uniform(0, 5),
        jitter=rng.uniform(0.003, 0.015),
        shimmer=rng.uniform(0.03, 0.12),
        open_quotient=rng.uniform(0.4, 0.75),
        roughness=rng.uniform(0, 1),
        microphone_db=rng.normal(0, 3, 6),
        highpass_hz=300.0 if telephone else float(rng.uniform(40, 150)),
        lowpass_hz=3_400.0 if telephone else float(rng.choice([5_500, 8_000, 8_000, 8_000])),
        room_s=rng.uniform(0.1, 0.6),
        room_level=10 ** (rng.uniform(-35, -12) / 20),
        floor_db=rng.uniform(-75, -35),
        lead_s=rng.uniform(0, 0.5),
        tail_s=rng.uniform(0.05, 0.5),
    )
