"""The family of strategies: how people imitate (Lemaitre and Rocchesso, 2014), one function each.

A strategy takes what was heard and who imitates, and gives a score for the voice. A new one is one function, named in
:data:`STRATEGIES` with how likely people are to choose it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from iminet_viz.imitator.analysis import (
    FRAME_RATE,
    LONGEST_S,
    N_BANDS,
    Features,
    audibility_db,
    band_frequencies,
    smooth,
)
from iminet_viz.imitator.person import Person
from iminet_viz.imitator.voice import (
    FORMANT_BANDWIDTHS_HZ,
    Burst,
    Score,
    all_formants,
    formants_to_response,
    limit_glide,
)


@dataclasses.dataclass(frozen=True)
class ImitatorConfig:
    """Switches of the imitator; each can be turned off to measure what it is worth. Defaults are what is best."""

    strategies: tuple[str, ...] = ("hum", "syllables", "whistle", "noise")
    limit_pitch: bool = True  # pitch folded into a human register, glides limited
    limit_tract: bool = True  # spectral shape only as far as formants and fricatives go
    limit_articulation: bool = True  # at most about 12 syllables a second
    steady_voicing: bool = True  # the voice does not flip on and off within a call
    glottal_noise: bool = True  # jitter, shimmer, breath
    consonants: bool = True  # plosives, clicks, pops, dips between syllables
    vary_tempo: bool = True
    vary_repeats: bool = True
    vary_accuracy: bool = True  # errors of pitch, level and spectral shape
    microphone: bool = True  # its response, noise, silence around
    room: bool = True


@dataclasses.dataclass(frozen=True)
class Heard:
    """A sound as one person retells it: tracks in the imitation's own time."""

    features: Features
    amplitude: np.ndarray  # (frames,) of the voice
    pitch_hz: np.ndarray  # (frames,) in the person's register
    voicing: np.ndarray  # (frames,) 0 noise .. 1 voice
    formants_hz: np.ndarray  # (frames, 3)
    friction_hz: np.ndarray  # (frames,)
    friction_width: np.ndarray  # (frames,) octaves


HIGHEST_WHISTLE_HZ = 4_500.0
DULL_HZ = 350.0  # centroid below which a sound becomes a thump

# --- vowels and fricatives ------------------------------------------------------------------------------------------

# First and second formants over an adult man's vowel quadrilateral (Peterson and Barney, 1952).
_VOWELS = np.array(
    [
        (f1, f2)
        for f1 in (270, 340, 430, 530, 640, 750)
        for f2 in (700, 850, 1_000, 1_200, 1_450, 1_750, 2_050, 2_300)
        # no open vowel is as far front or back as the closed ones
        if f1 + 250 < f2 < 2_300 - 1.6 * (f1 - 270)
    ],
    float,
)
# From blowing at the microphone to "kh", the lips' "f", and "s".
_FRICATIVES = np.array([(hz, width) for hz in np.geomspace(150, 7_000, 18) for width in (0.6, 1.2, 2.4)])


def _third_formant(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.maximum(2_400 + 0.1 * (first - 500), second + 450)


@lru_cache(maxsize=64)
def _vowel_templates(tract: float) -> np.ndarray:
    """Spectra of the vowels in dB over the bands, centred: ``(vowels, N_BANDS)``."""
    third = _third_formant(_VOWELS[:, 0], _VOWELS[:, 1])
    formants = all_formants(np.concatenate([_VOWELS, third[:, None]], axis=1)) * tract
    frequencies = band_frequencies()
    response = 20 * np.log10(np.abs(formants_to_response(formants, FORMANT_BANDWIDTHS_HZ * 1.5, frequencies)))
    return _centred(np.maximum(response - 6 * np.log2(frequencies / 100), -50))


@lru_cache(maxsize=1)
def _fricative_templates() -> np.ndarray:
    distance = np.log2(band_frequencies() / _FRICATIVES[:, :1]) / _FRICATIVES[:, 1:]
    return _centred(np.maximum(-20 * np.log10(1 + 3 * distance**2), -40))


def _centred(spectra: np.ndarray) -> np.ndarray:
    spectra = spectra - spectra.mean(axis=1, keepdims=True)
    return spectra / np.linalg.norm(spectra, axis=1, keepdims=True)


def _nearest(bands_db: np.ndarray, templates: np.ndarray, amplitude: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Template that fits each frame best, ``(frames,)``; loud frames speak for the quiet ones around them."""
    fit = _centred(bands_db + 1e-6 * np.arange(N_BANDS)) @ templates.T + error
    weight = amplitude + 1e-3
    width = 0.04  # seconds in which articulators move
    total = np.stack([smooth(column * weight, width) for column in fit.T], axis=1)
    return (total / smooth(weight, width)[:, None]).argmax(axis=1)


# --- listening ------------------------------------------------------------------------------------------------------


def retell(features: Features, person: Person, rng: np.random.Generator, config: ImitatorConfig) -> Heard:
    """Hear a sound as a person will imitate it: in their tempo, register and vocal tract."""
    features = _retime(features, person, rng, config)
    level = features.level_db
    if config.limit_articulation:  # no voice falls silent between events that follow faster than it can say them
        level = smooth(_fill_gaps(level, person.articulation_s), 0.03)
    level = level - level.max()
    exponent = person.level_exponent if config.vary_accuracy else 1.0
    if config.vary_accuracy:
        level = level + smooth(rng.normal(0, 6, len(level)), 0.3)
    amplitude = np.where(level > person.quietest_db, 10 ** (exponent * np.minimum(level, 0) / 20), 0)
    amplitude = np.clip(smooth(amplitude, 0.012), 0, None)

    spread = 0.06 if config.vary_accuracy else 0.0  # of the correlation with a template
    tract = round(person.tract, 2)
    vowel = _nearest(features.bands_db, _vowel_templates(tract), amplitude, rng.normal(0, spread, len(_VOWELS)))
    formants = np.stack([smooth(np.log(column[vowel]), 0.05) for column in _VOWELS.T], axis=1)
    formants = np.exp(formants)
    formants = np.concatenate([formants, _third_formant(formants[:, 0], formants[:, 1])[:, None]], axis=1)
    error = rng.normal(0, spread, len(_FRICATIVES))
    # a snare's drumhead is louder than its wires, but "ksh" is what is heard
    bands_db = np.maximum(features.bands_db + audibility_db(), -40)
    fricative = _FRICATIVES[_nearest(bands_db, _fricative_templates(), amplitude, error)]
    voicing = _voicing(features, amplitude, config)
    return Heard(
        features,
        amplitude,
        _fold_pitch(features, person, rng, config, amplitude, person.register_hz),
        voicing,
        formants,
        np.exp(smooth(np.log(fricative[:, 0]), 0.05)),
        smooth(fricative[:, 1], 0.05),
    )


def _retime(features: Features, person: Person, rng: np.random.Generator, config: ImitatorConfig) -> Features:
    """Change the tempo, drop or repeat events, and keep events apart that follow too fast."""
    onsets, sharpness = features.onsets, features.sharpness
    if config.limit_articulation:
        apart = person.articulation_s * FRAME_RATE / (person.tempo if config.vary_tempo else 1)
        kept: list[int] = []
        for index in np.argsort(-sharpness + (onsets == 0) * -9):
            if all(abs(onsets[index] - onsets[other]) >= apart for other in kept):
                kept.append(int(index))
        kept.sort()
        onsets, sharpness = onsets[kept], sharpness[kept]
    n = len(features.level_db)
    pieces = [
        (float(a), float(b), float(s)) for a, b, s in zip(onsets, (*onsets[1:], n), sharpness, strict=True) if b > a
    ]
    if config.vary_repeats and len(pieces) >= 3:
        # some lose count, some stop early
        change = rng.choice(["same", "drop", "repeat", "stop"], p=[0.7, 0.1, 0.1, 0.1])
        at = int(rng.integers(1, len(pieces)))
        if change == "drop":
            pieces.pop(at)
        elif change == "repeat":
            pieces.insert(at, pieces[at])
        elif change == "stop":
            pieces = pieces[: max(2, int(len(pieces) * rng.uniform(0.3, 0.9)))]
    positions, starts = [], []
    length = 0
    for start, stop, _ in pieces:
        tempo = person.tempo * np.exp(rng.normal(0, person.unsteadiness)) if config.vary_tempo else 1.0
        count = max(round((stop - start) * tempo), int(0.06 * FRAME_RATE) if config.limit_articulation else 2)
        starts.append(length)
        positions.append(np.linspace(start, stop, count, endpoint=False))
        length += count
        if length > LONGEST_S * FRAME_RATE * 1.4:
            break  # out of breath
    place = np.concatenate(positions)  # in the sound, of each frame of the imitation

    def moved(track: np.ndarray) -> np.ndarray:
        return np.interp(place, np.arange(n), track)

    low = np.minimum(place.astype(int), n - 1)
    return dataclasses.replace(
        features,
        level_db=moved(features.level_db),
        bands_db=features.bands_db[low],
        centroid_hz=moved(features.centroid_hz),
        pitch_hz=np.exp(moved(np.log(features.pitch_hz))),
        periodicity=moved(features.periodicity),
        onsets=np.array(starts).astype(int),
        sharpness=np.array([piece[2] for piece in pieces[: len(starts)]]),
    )


def _fill_gaps(track: np.ndarray, duration_s: float) -> np.ndarray:
    """Lift what is lower than both sides for less than a duration (a closing); beginnings and ends stay sharp."""
    width = int(duration_s * FRAME_RATE) | 1
    for extreme, beyond in ((np.max, -np.inf), (np.min, np.inf)):
        padded = np.pad(track, width // 2, constant_values=beyond)
        track = extreme(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)
    return track


def _voicing(features: Features, amplitude: np.ndarray, config: ImitatorConfig) -> np.ndarray:
    if not config.steady_voicing:
        return np.clip((features.periodicity - 0.3) / 0.4, 0, 1)
    # decided over a tenth of a second, by the loud frames
    weight = amplitude**2 + 1e-6
    periodicity = smooth(features.periodicity * weight, 0.15) / smooth(weight, 0.15)
    return smooth((periodicity > 0.5).astype(float), 0.05)


def _fold_pitch(
    features: Features,
    person: Person,
    rng: np.random.Generator,
    config: ImitatorConfig,
    amplitude: np.ndarray,
    comfortable_hz: float,
) -> np.ndarray:
    """The sound's pitch, moved by octaves to where a person sings, no higher, lower or faster than they can."""
    weight = amplitude * features.periodicity + 1e-6
    scale = comfortable_hz / person.register_hz
    low, high = np.log2(person.lowest_hz * scale), np.log2(min(person.highest_hz * scale, HIGHEST_WHISTLE_HZ))
    if features.tonality < 0.35:
        # nothing to sing: the voice rises and falls with the brightness, a little
        contour = 0.35 * np.log2(features.centroid_hz)
        contour += np.log2(comfortable_hz) - (contour * weight).sum() / weight.sum()
    else:
        contour = np.log2(features.pitch_hz)
        if config.limit_pitch:  # as few octaves as bring most of it within reach
            octaves = np.array(sorted(range(-7, 8), key=abs))[:, None]
            reached = ((contour + octaves > low) & (contour + octaves < high)) @ weight / weight.sum()
            contour = contour + octaves[(reached - 0.02 * np.abs(octaves[:, 0])).argmax()]
    if config.vary_accuracy:
        error = smooth(rng.normal(0, 2, len(contour)), 0.2) + rng.normal()
        contour = contour + person.pitch_error * error / 12
    if not config.limit_pitch:
        return 2 ** np.clip(contour, np.log2(40), np.log2(4_000))
    # what is wider than the voice is sung narrower, and what lies beside it is moved there: nobody leaps in mid-glide
    lowest, highest = np.quantile(contour[weight > 0.1 * weight.max()], [0.05, 0.95])
    half, middle = (highest - lowest) / 2, (highest + lowest) / 2
    narrower = min(1.0, (high - low) / max(2 * half, 1e-6))
    moved = np.clip(middle, low + narrower * half, high - narrower * half)
    contour = moved + narrower * (contour - middle)
    return limit_glide(2 ** smooth(np.clip(contour, low, high), 0.04), octaves_per_s=6)


# --- strategies -----------------------------------------------------------------------------------------------------


def hum(heard: Heard, person: Person, rng: np.random.Generator, config: ImitatorConfig) -> Score:
    """Sing it: the voice follows pitch, level and vowel; noisy stretches become breath and friction."""
    n = len(heard.amplitude)
    closed = rng.random() < 0.25 + 0.5 * _dull(heard.features)  # "mmm"
    voicing = heard.voicing if heard.features.tonality > 0.35 else np.ones(n)
    if closed or rng.random() < 0.25:  # some sing everything; closed lips let no friction out
        voicing = np.maximum(voicing, 0.8)
    amplitude = heard.amplitude
    if config.consonants:
        amplitude = amplitude * _dips(heard, 0.04, 0.25)
    return _score(
        heard,
        voiced=amplitude * np.sqrt(voicing),
        friction=np.zeros(n) if closed else amplitude * np.sqrt(1 - voicing) * 0.7,
        nasal=np.full(n, float(closed)),
        growl=_growl(heard, person),
        trill_hz=_trill(heard, rng),
    )


def noise(heard: Heard, person: Person, rng: np.random.Generator, config: ImitatorConfig) -> Score:
    """Shape noise with tongue and lips: "shhh", "whoosh", "fff"; no voice."""
    # breath through the tract, or friction at the teeth; thumps are blown
    share = rng.beta(0.7, 1.2) * (1 - _dull(heard.features))
    amplitude = heard.amplitude
    bursts: tuple[Burst, ...] = ()
    if config.consonants:
        amplitude = amplitude * _dips(heard, 0.03, 0.4)
        bursts = _plosives(heard, rng, 0.5, rng.random() < 0.5)
    return _score(
        heard,
        breath=amplitude * np.sqrt(share),
        friction=amplitude * np.sqrt(1 - share),
        trill_hz=_trill(heard, rng),
        bursts=bursts,
    )


def whistle(heard: Heard, person: Person, rng: np.random.Generator, config: ImitatorConfig) -> Score:
    """Whistle it."""
    pitch = _fold_pitch(heard.features, person, rng, config, heard.amplitude, person.whistle_hz)
    amplitude = heard.amplitude * (_dips(heard, 0.04, 0.1) if config.consonants else 1)
    return _score(heard, whistle=amplitude, whistle_hz=pitch, breath=0.08 * amplitude)


def syllables(heard: Heard, person: Person, rng: np.random.Generator, config: ImitatorConfig) -> Score:
    """Say it: each event is a syllable, the same word for all ("psh", "tik", "woof", "brrr", "tss", "ding")."""
    n = len(heard.amplitude)
    features = heard.features
    tonality = features.tonality
    start = rng.choice(["plosive", "fricative", "affricate", "glide", "none"], p=_start_odds(heard))
    voiceless = rng.random()  # how readily noise is whispered instead of spoken
    end = rng.choice(["open", "fricative", "nasal", "stop"], p=[0.35, 0.3 * (1 - tonality) + 0.1, 0.25 * tonality + 0.1, 0.15 + 0.05 * tonality])  # fmt: skip # noqa: E501
    voiced, friction, breath = np.zeros(n), np.zeros(n), np.zeros(n)
    nasal = np.zeros(n)
    formants = heard.formants_hz.copy()
    shortest = rng.uniform(0.03, 0.08)  # seconds in which a syllable dies away at the fastest
    bursts: list[Burst] = []
    pop = rng.random() < 0.5
    dull = _dull(features)
    for begin, stop, sharp in zip(features.onsets, (*features.onsets[1:], n), features.sharpness, strict=True):
        length = stop - begin
        t = np.arange(length)
        own = heard.amplitude[begin:stop]
        peak = own.max()
        if peak < 0.03:
            continue
        rise = int(own.argmax())
        own = np.maximum(own, peak * np.exp(-np.abs(t - rise) / (shortest * FRAME_RATE)))
        own = own * _closure(length, 0.035)
        voicing = float((heard.voicing[begin:stop] * own).sum() / own.sum())
        vowel = voiceless < 0.2 + 0.8 * max(voicing, _pitched(features), 0.7 * dull)
        # where the consonants are, in frames
        onset = int(min(rng.uniform(0.04, 0.12) * FRAME_RATE, 0.4 * length))
        first = {"fricative": 1.0, "affricate": 1.0, "plosive": 0.3, "glide": 0.0, "none": 0.0}[str(start)]
        first_friction = first * np.clip(1.5 - t / max(onset, 1), 0, 1)
        last = np.zeros(length)
        if end in ("fricative", "nasal"):
            below = np.flatnonzero(own[rise:] < 0.5 * peak)
            turn = rise + (int(below[0]) if len(below) else length // 2)
            last = np.clip((t - max(turn, onset)) / (0.03 * FRAME_RATE), 0, 1)
        nucleus = np.clip(1 - first_friction - (last if end == "fricative" else 0), 0, 1)
        share = friction[begin:stop]
        share += own * (first_friction + (last if end == "fricative" else 0)).clip(0, 1)
        if vowel:
            voiced[begin:stop] += own * nucleus
        else:
            share += own * nucleus * 0.7
            breath[begin:stop] += own * nucleus * 0.7 * (1 - dull)
        if end == "nasal":
            nasal[begin:stop] = last
        if start == "glide":  # "w": the lips open
            opening = np.exp(-t / (0.05 * FRAME_RATE))[:, None]
            formants[begin:stop] = formants[begin:stop] * (1 - opening) + np.array([300.0, 650.0, 2_300.0]) * opening
        if config.consonants and start in ("plosive", "affricate"):
            bursts.append(_plosive(heard, int(begin), peak * rng.uniform(0.7, 1.6), pop, rng))
        if config.consonants and end == "stop" and length > 20:
            bursts.append(_plosive(heard, int(stop - 8), peak * rng.uniform(0.2, 0.6), False, rng))
        if sharp < 0.3:
            ramp = min(length, int(0.05 * FRAME_RATE))
            for track in (voiced, friction, breath):
                track[begin : begin + ramp] *= np.linspace(0.2, 1, ramp)
    pitch = heard.pitch_hz
    if tonality < 0.35:  # no pitch to follow: the melody of speech
        for begin, stop in itertools.pairwise((*features.onsets, n)):
            fall = np.linspace(rng.uniform(0, 0.3), rng.uniform(-0.4, 0.1), stop - begin)
            pitch = np.concatenate([pitch[:begin], pitch[begin:stop] * 2**fall, pitch[stop:]])
    return dataclasses.replace(
        _score(
            heard,
            voiced=voiced,
            friction=friction,
            breath=breath,
            nasal=nasal,
            growl=_growl(heard, person),
            trill_hz=_trill(heard, rng),
            bursts=tuple(bursts),
        ),
        pitch_hz=pitch,
        formants_hz=formants,
    )


def _score(
    heard: Heard,
    voiced: np.ndarray | None = None,
    breath: np.ndarray | None = None,
    friction: np.ndarray | None = None,
    whistle: np.ndarray | None = None,
    whistle_hz: np.ndarray | None = None,
    nasal: np.ndarray | None = None,
    growl: float = 0.0,
    trill_hz: float = 0.0,
    bursts: tuple[Burst, ...] = (),
) -> Score:
    """A score that follows what was heard, silent where nothing is given."""
    silent = np.zeros(len(heard.amplitude))
    return Score(
        pitch_hz=heard.pitch_hz,
        voiced=silent if voiced is None else voiced,
        breath=silent if breath is None else breath,
        friction=silent if friction is None else friction,
        friction_hz=heard.friction_hz,
        friction_width=heard.friction_width,
        formants_hz=heard.formants_hz,
        whistle=silent if whistle is None else whistle,
        whistle_hz=heard.pitch_hz if whistle_hz is None else whistle_hz,
        nasal=silent if nasal is None else nasal,
        trill_hz=trill_hz,
        growl=growl,
        bursts=bursts,
    )


def _start_odds(heard: Heard) -> np.ndarray:
    """How a syllable begins: sudden sounds with a plosive, slow ones with a fricative or a glide."""
    sharp = float(heard.features.sharpness.max())
    noisy = (1 - heard.features.tonality) * (1 - _dull(heard.features))
    odds = np.array([0.1 + 0.6 * sharp, 0.35 * noisy + 0.02, 0.3 * sharp * noisy + 0.02, 0.25 * (1 - sharp) + 0.05, 0.1])  # fmt: skip # noqa: E501
    return odds / odds.sum()


def _closure(length: int, duration_s: float) -> np.ndarray:
    """Fade of a syllable's end, so that the next one stands apart."""
    width = min(length // 2, int(duration_s * FRAME_RATE))
    fade = np.ones(length)
    fade[length - width :] = np.linspace(1, 0.05, width)
    return fade


def _dips(heard: Heard, duration_s: float, threshold: float) -> np.ndarray:
    """Gain that closes shortly before each sudden event."""
    gain = np.ones(len(heard.amplitude))
    width = int(duration_s * FRAME_RATE)
    for onset, sharp in zip(heard.features.onsets, heard.features.sharpness, strict=True):
        if onset and sharp > threshold:
            start = max(0, onset - width)
            gain[start:onset] *= np.linspace(1, 0.1, onset - start)
    return gain


def _plosive(heard: Heard, frame: int, amplitude: float, pop: bool, rng: np.random.Generator) -> Burst:
    """Release of lips or tongue where the sound's spectrum at this frame is nearest; a thump is a pop of the lips."""
    near = slice(frame, frame + 10)
    centre = float(np.exp(np.log(heard.friction_hz[near]).mean() + rng.normal(0, 0.2)))
    dull = _dull(heard.features)
    pop = pop or rng.random() < dull
    return Burst(
        frame,
        amplitude * (1 - 0.8 * dull),
        centre,
        width_octaves=1.2 if centre < 1_200 else 0.8,
        duration_s=rng.uniform(0.004, 0.02),
        pop=amplitude * rng.uniform(0.5, 1.5) * (1 + dull) if pop else 0.0,
        pop_hz=rng.uniform(100, 250) * (1 - 0.4 * dull),
        pop_s=rng.uniform(0.008, 0.016) * (1 + 2 * dull),
    )


def _plosives(heard: Heard, rng: np.random.Generator, threshold: float, pop: bool) -> tuple[Burst, ...]:
    return tuple(
        _plosive(heard, int(onset), float(heard.amplitude[onset : onset + 20].max()) * rng.uniform(0.6, 1.4), pop, rng)
        for onset, sharp in zip(heard.features.onsets, heard.features.sharpness, strict=True)
        if sharp > threshold
    )


def _growl(heard: Heard, person: Person) -> float:
    """Rough, low sounds are growled."""
    rough = heard.features.brightness_hz < 1_500 and heard.features.tonality < 0.75
    return 0.8 * person.roughness if rough and person.roughness > 0.4 else 0.0


def _trill(heard: Heard, rng: np.random.Generator) -> float:
    """What flutters faster than syllables is rolled, at the rate of tongue or lips (Ladefoged and Maddieson, 1996)."""
    if heard.features.flutter_hz and rng.random() < 0.8:
        return float(np.clip(heard.features.flutter_hz, 16, 33))
    return 0.0


Strategy = Callable[[Heard, Person, np.random.Generator, ImitatorConfig], Score]


def _pitched(sound: Features) -> float:
    """0 for noise, 1 for a tone."""
    return float(np.clip((sound.tonality - 0.35) / 0.45, 0, 1))


def _sustained(sound: Features) -> float:
    """1 for what can be sung, near 0 for knocks: how long an event stays within 10 dB of the loudest."""
    loud_s = float((sound.level_db > -10).sum()) / FRAME_RATE / len(sound.onsets)
    return min(1.0, loud_s / 0.3)


def _dull(sound: Features) -> float:
    """1 for a thump, an octave or more below :data:`DULL_HZ`, 0 for all that is above."""
    return float(np.clip(np.log2(DULL_HZ / sound.brightness_hz), 0, 1))


# How likely each is, by what the sound is like.
STRATEGIES: dict[str, tuple[Strategy, Callable[[Features], float]]] = {
    "hum": (hum, lambda sound: 0.08 + _pitched(sound) * _sustained(sound)),
    "syllables": (syllables, lambda sound: 0.6 + 0.6 * float(sound.sharpness.max())),
    "whistle": (
        whistle,
        lambda sound: 0.03 + 0.5 * _pitched(sound) * _sustained(sound) * (np.exp(np.log(sound.pitch_hz).mean()) > 500),
    ),
    "noise": (noise, lambda sound: 0.08 + 1 - _pitched(sound)),
}
