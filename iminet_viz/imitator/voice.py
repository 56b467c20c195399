"""A model of the human voice: a score of gestures to a waveform.

Source and filter (Fant, 1960): glottal pulses (Rosenberg, 1971) with jitter, shimmer and breath, or noise, through a
vocal tract of eight formants with bandwidths like those of Klatt (1980). Fricatives are noise shaped by the cavity
before the constriction, plosives and lip pops short bursts; a whistle is a sine in a little breath.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np

from iminet_viz.imitator.analysis import FRAME_RATE, HOP, SAMPLE_RATE, band_frequencies, smooth
from iminet_viz.imitator.person import Person

N_FFT = 512  # of the synthesis: frames of 16 ms, room for the tract's ringing
WIDTH = 256
# Of an adult man. People hardly move the formants above the third; without those above the fifth, which speech
# synthesis leaves out, the voice is 10 dB too dull between 3 and 8 kHz.
HIGHER_FORMANTS_HZ = (3_500.0, 4_500.0, 5_500.0, 6_500.0, 7_500.0)
FORMANT_BANDWIDTHS_HZ = np.array([65.0, 85.0, 130.0, 200.0, 300.0, 400.0, 500.0, 600.0])


@dataclasses.dataclass(frozen=True)
class Burst:
    """A plosive, a click of the tongue, or a pop of the lips."""

    frame: int
    amplitude: float
    centre_hz: float
    width_octaves: float
    duration_s: float
    pop: float = 0.0  # amplitude of the breath's thump
    pop_hz: float = 150.0
    pop_s: float = 0.012  # in which it falls by 9 dB


@dataclasses.dataclass(frozen=True)
class Score:
    """What the voice does, as tracks of ``frames``; amplitudes are linear, 1 is the loudest that it gets."""

    pitch_hz: np.ndarray
    voiced: np.ndarray  # amplitude of the voice
    breath: np.ndarray  # of noise from the glottis, through the tract
    friction: np.ndarray  # of noise from a constriction
    friction_hz: np.ndarray  # its centre
    friction_width: np.ndarray  # octaves
    formants_hz: np.ndarray  # (frames, 3) of an adult man
    whistle: np.ndarray
    whistle_hz: np.ndarray
    nasal: np.ndarray  # 0 .. 1: closed lips
    trill_hz: float = 0.0  # of tongue or lips
    growl: float = 0.0  # share of every second pulse that is missing
    bursts: tuple[Burst, ...] = ()
    free_db: np.ndarray | None = None  # (frames, N_BANDS): a shape that no tract has, instead of all the filters

    @property
    def n_frames(self) -> int:
        """Length."""
        return len(self.pitch_hz)


def perform(score: Score, person: Person, rng: np.random.Generator, glottal_noise: bool = True) -> np.ndarray:
    """Sing a score: ``(score.n_frames * HOP,)`` float64."""
    n = score.n_frames * HOP
    at = np.arange(n) / HOP

    def samples(track: np.ndarray) -> np.ndarray:
        return np.interp(at, np.arange(score.n_frames), track)

    trill = np.ones(1)
    if score.trill_hz:
        rate = score.trill_hz * 2 ** smooth(rng.normal(0, 0.3, score.n_frames), 0.1)
        phase = 2 * np.pi * np.cumsum(samples(rate)) / SAMPLE_RATE
        trill = 0.1 + 0.9 * (0.5 - 0.5 * np.cos(phase)) ** 1.5
    output = np.zeros(n)
    frequencies = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
    tract: np.ndarray = _tract(score, person)
    # a whisper arises above the glottis, where it excites the lowest formant least
    whispered: np.ndarray = tract * np.sqrt(frequencies / 1_000)
    effort = np.maximum(1, frequencies / 500) ** (person.effort / 6.02)
    # a cavity has a second resonance, which moves with tongue and lips
    above = 2 ** (rng.uniform(0.6, 1.4) + smooth(rng.normal(0, 1, score.n_frames), 0.3))
    cavity = _band(score.friction_hz[:, None], score.friction_width[:, None], frequencies)
    cavity += rng.uniform(0.1, 0.6) * _band((score.friction_hz * above)[:, None], 0.4, frequencies)
    if score.free_db is not None:
        tract = whispered = cavity = _free(score.free_db)
    if score.voiced.max() > 0:
        pulses = _pulses(samples(np.log(score.pitch_hz)), score, person, rng, glottal_noise)
        output += _shape(pulses, tract * effort, score.voiced) * trill
    breath = score.breath + (person.breath * score.voiced if glottal_noise else 0)
    if breath.max() > 0:
        output += _shape(rng.standard_normal(n), whispered, breath) * trill
    if score.friction.max() > 0:
        output += _shape(rng.standard_normal(n), cavity, score.friction) * trill
    if score.whistle.max() > 0:
        log_pitch = np.log2(score.whistle_hz) + smooth(rng.normal(0, 0.02, score.n_frames), 0.05)
        tone = np.sin(2 * np.pi * np.cumsum(2 ** samples(log_pitch)) / SAMPLE_RATE)
        output += 1.4 * tone * samples(score.whistle)  # as loud as noise of the same amplitude
        narrow = _band(score.whistle_hz[:, None], 0.25, frequencies)
        output += _shape(rng.standard_normal(n), narrow, score.whistle * 0.12)
    for burst in score.bursts:
        _add_burst(output, burst, rng)
    return output


def _pulses(
    log_pitch: np.ndarray, score: Score, person: Person, rng: np.random.Generator, glottal_noise: bool
) -> np.ndarray:
    """Derivative of the glottal flow, by reading one period at a varying speed."""
    n = len(log_pitch)
    cycles = np.cumsum(np.exp(log_pitch)) / SAMPLE_RATE
    count = int(cycles[-1]) + 2
    if glottal_noise:
        # one random deviation a period, joined linearly
        cycles = cycles + np.interp(cycles, np.arange(count + 1), np.cumsum(rng.normal(0, person.jitter, count + 1)))
        cycles -= min(0.0, cycles.min())
    index = np.minimum(cycles.astype(int), count)
    loudness = 1 + (person.shimmer * rng.standard_normal(count + 1) if glottal_noise else np.zeros(count + 1))
    if score.growl:
        loudness[::2] *= 1 - score.growl
    table = _glottal_period(round(person.open_quotient, 2))
    return np.interp(cycles % 1, np.linspace(0, 1, len(table)), table) * loudness[index][:n]


@cache
def _glottal_period(open_quotient: float) -> np.ndarray:
    """One period of the derivative of Rosenberg's glottal pulse (1971, type B), ``(1025,)``."""
    opening, n = 0.7 * open_quotient, 1_024
    t = np.arange(n) / n
    closing = open_quotient - opening
    flow = np.where(t < opening, 3 * (t / opening) ** 2 - 2 * (t / opening) ** 3, 0.0)
    flow = np.where((t >= opening) & (t < open_quotient), 1 - ((t - opening) / closing) ** 2, flow)
    spectrum = np.fft.rfft(np.diff(flow, append=flow[0]))
    spectrum *= np.exp(-np.arange(len(spectrum)) / 120)  # no voice has corners: less aliasing
    period = np.fft.irfft(spectrum)
    period = period / np.sqrt(np.mean(period**2))
    return np.append(period, period[0])


def all_formants(lowest_hz: np.ndarray) -> np.ndarray:
    """The first three formants, ``(frames, 3)``, with those above: ``(frames, 8)``."""
    return np.concatenate([lowest_hz, np.broadcast_to(HIGHER_FORMANTS_HZ, (len(lowest_hz), 5))], axis=1)


def formants_to_response(formants_hz: np.ndarray, bandwidths_hz: np.ndarray, frequencies_hz: np.ndarray) -> np.ndarray:
    """Complex response of resonances in a row: ``(..., formants)`` and ``(bins,)`` to ``(..., bins)``, 1 at 0 Hz."""
    squared = formants_hz[..., None] ** 2
    f = frequencies_hz
    return np.prod(squared / (squared - f**2 + 1j * f * bandwidths_hz[..., None]), axis=-2)


def _tract(score: Score, person: Person) -> np.ndarray:
    """Response of the vocal tract per frame, ``(frames, N_FFT // 2 + 1)`` complex."""
    # a nasal murmur has its lowest resonance at 250 Hz, whatever the tongue does (Fujimura, 1962)
    lowest = score.formants_hz.copy()
    lowest[:, 0] += score.nasal * (250 - lowest[:, 0])
    formants = all_formants(lowest) * person.tract
    # losses grow with the opening of the mouth; closed lips damp what is above the first formant
    bandwidths = FORMANT_BANDWIDTHS_HZ * (1 + score.nasal[:, None] * np.where(np.arange(8) < 1, 0.3, 3.0))
    frequencies = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
    response = formants_to_response(formants, bandwidths, frequencies)
    damping = 1 / (1 + score.nasal[:, None] * (frequencies / 700) ** 2)
    radiation = frequencies / 1_000 / np.sqrt(1 + (frequencies / 1_000) ** 2)  # from the lips
    return response * damping * (0.2 + radiation)


def _band(centre_hz: np.ndarray | float, width_octaves: np.ndarray | float, frequencies_hz: np.ndarray) -> np.ndarray:
    """Gain of a cavity: one at its centre, falling by 12 dB at the width; ``(frames, 1)`` and ``(bins,)`` to both."""
    distance = np.log2(np.maximum(frequencies_hz, 30) / centre_hz) / width_octaves
    return np.asarray(1 / (1 + 3 * distance**2))


def _free(bands_db: np.ndarray) -> np.ndarray:
    """Gain that follows a sound's own bands, ``(frames, N_FFT // 2 + 1)``."""
    frequencies = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
    above = np.searchsorted(band_frequencies(), frequencies).clip(1, len(band_frequencies()) - 1)
    low, high = band_frequencies()[above - 1], band_frequencies()[above]
    share = ((frequencies - low) / (high - low)).clip(0, 1)
    return 10 ** ((bands_db[:, above - 1] * (1 - share) + bands_db[:, above] * share) / 20)


def _shape(source: np.ndarray, response: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """Filter a source by a response per frame and bring it to an amplitude (root mean square) per frame."""
    n_frames = len(response)
    window = np.hanning(WIDTH + 1)[:-1]
    padded = np.pad(source, (WIDTH // 2, WIDTH))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WIDTH)[::HOP][:n_frames]
    spectrum = np.fft.rfft(frames * window, N_FFT) * response
    energy = np.mean(np.abs(spectrum) ** 2, axis=1) / WIDTH / 0.375  # 3/8: mean square of the window
    level = np.sqrt(smooth(energy, 0.04))  # over several periods of the voice
    gain = amplitude / np.maximum(level, 1e-3 * level.max() + 1e-12)
    filtered = np.fft.irfft(spectrum * gain[:, None], N_FFT)
    output = np.zeros((n_frames + N_FFT // HOP) * HOP)
    for part in range(N_FFT // HOP):  # overlap and add, a hop at a time
        piece = filtered[:, part * HOP : (part + 1) * HOP].reshape(-1)
        output[part * HOP : part * HOP + len(piece)] += piece
    return output[WIDTH // 2 : WIDTH // 2 + n_frames * HOP] * HOP / (0.5 * WIDTH)


def _add_burst(output: np.ndarray, burst: Burst, rng: np.random.Generator) -> None:
    """Add a burst where its frame is, in place."""
    start = burst.frame * HOP
    duration_s = 0.02 + 3 * burst.duration_s + (5 * burst.pop_s if burst.pop else 0)
    length = min(len(output) - start, int(SAMPLE_RATE * duration_s))
    if length < 16:
        return
    t = np.arange(length) / SAMPLE_RATE
    n_fft = 1 << (length - 1).bit_length()
    frequencies = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE)
    band = _band(burst.centre_hz, burst.width_octaves, frequencies)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(length), n_fft) * band)[:length]
    noise *= np.exp(-t / burst.duration_s) * np.minimum(1, t / 0.001)
    output[start : start + length] += burst.amplitude * noise / (np.sqrt(np.mean(noise[:160] ** 2)) + 1e-12)
    if burst.pop:
        fall = np.exp(-t / burst.pop_s)
        cycles = burst.pop_hz * (t + 0.4 * burst.pop_s * (1 - fall))  # its pitch falls too, from a little above
        output[start : start + length] += burst.pop * fall * np.sin(2 * np.pi * cycles)


def record(voice: np.ndarray, person: Person, rng: np.random.Generator, microphone: bool, room: bool) -> np.ndarray:
    """Hear a voice through a person's room and microphone; silence before and after is added.

    Returns:
        ``(samples,)`` with a peak of at most 0.95.
    """
    lead, tail = (int(seconds * SAMPLE_RATE) for seconds in (person.lead_s, person.tail_s + 0.05))
    voice = np.pad(voice, (lead, tail)) if microphone else voice
    n_fft = 1 << (len(voice) + SAMPLE_RATE // 2 - 1).bit_length()
    spectrum = np.fft.rfft(voice, n_fft)
    frequencies = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE)
    if room:
        t = np.arange(int(person.room_s * SAMPLE_RATE)) / SAMPLE_RATE
        response = rng.standard_normal(len(t)) * np.exp(-6.9 * t / person.room_s)  # -60 dB at room_s
        response *= person.room_level / np.sqrt(np.sum(response**2))
        response = np.concatenate([np.zeros(int(rng.uniform(0.001, 0.01) * SAMPLE_RATE)), response])
        spectrum = spectrum * (1 + np.fft.rfft(response, n_fft))
    if microphone:
        octaves = np.log2(np.maximum(frequencies, 20) / 125)
        gain = 10 ** (np.interp(octaves, np.arange(6), person.microphone_db) / 20)
        gain = gain / np.sqrt(1 + (person.highpass_hz / np.maximum(frequencies, 1)) ** 4)
        gain = gain / np.sqrt(1 + (frequencies / person.lowpass_hz) ** 12)
        spectrum = spectrum * gain
    heard = np.fft.irfft(spectrum, n_fft)[: len(voice)]
    heard = heard / np.abs(heard).max()
    if microphone:
        white = np.fft.rfft(rng.standard_normal(len(heard)))
        pink = white / np.maximum(np.fft.rfftfreq(len(heard), 1 / SAMPLE_RATE), 50) ** rng.uniform(0, 1)
        noise = np.fft.irfft(pink, len(heard))
        # relative to the voice's usual level, some 15 dB below its peak
        heard = heard + noise / np.sqrt(np.mean(noise**2)) * 10 ** ((person.floor_db - 15) / 20)
    return heard * (0.95 * 10 ** (-rng.uniform(0, 12) / 20) / np.abs(heard).max())


def limit_glide(track: np.ndarray, octaves_per_s: float) -> np.ndarray:
    """Follow a track of frequencies no faster than a voice can."""
    step = octaves_per_s / FRAME_RATE
    wanted = np.log2(track)
    reached = wanted.copy()
    for frame in range(1, len(wanted)):
        reached[frame] = reached[frame - 1] + min(step, max(-step, wanted[frame] - reached[frame - 1]))
    return 2**reached
