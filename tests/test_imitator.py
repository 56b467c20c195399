"""The imitator: what a voice keeps of a sound, what it cannot do, and that nothing unusable comes out."""

import dataclasses

import numpy as np
import pytest
from scipy.signal import find_peaks

from iminet_viz.audio import crest_db
from iminet_viz.errors import ImitationError
from iminet_viz.imitator import SAMPLE_RATE, STRATEGIES, ImitatorConfig, analyse, imitate
from iminet_viz.imitator.analysis import FRAME_RATE, HOP, LONGEST_S
from iminet_viz.imitator.person import draw_person
from iminet_viz.imitator.strategies import retell
from iminet_viz.imitator.voice import Burst, Score, formants_to_response, limit_glide, perform

RATE = 22_050
# Nothing but the voice and what it follows: no errors, tempo, room or microphone.
FAITHFUL = ImitatorConfig(vary_tempo=False, vary_repeats=False, vary_accuracy=False, microphone=False, room=False)

every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


def seconds(duration: float, rate: int = RATE) -> np.ndarray:
    return np.arange(int(duration * rate)) / rate


def tone(hz: float, duration: float = 1.0, rate: int = RATE) -> np.ndarray:
    t = seconds(duration, rate)
    wave = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 6) if hz * k < rate / 2)
    return 0.3 * np.asarray(wave) * np.minimum(1, np.minimum(t, t[-1] - t) / 0.02)


def white(duration: float = 1.0, seed: int = 0) -> np.ndarray:
    return 0.2 * np.random.default_rng(seed).standard_normal(int(duration * RATE))


def ticks(per_s: float, duration: float = 2.0) -> np.ndarray:
    sound = np.zeros(int(duration * RATE))
    click = np.random.default_rng(1).standard_normal(300) * np.exp(-np.arange(300) / 60)
    for start in np.arange(0.05, duration - 0.05, 1 / per_s):
        at = int(start * RATE)
        sound[at : at + 300] += 0.5 * click
    return sound


SOUNDS = {
    "tone": tone(440),
    "low tone": tone(55),
    "chirp": np.sin(2 * np.pi * (500 * seconds(1) + 1_200 * seconds(1) ** 2)) * 0.4,
    "noise": white(),
    "ticks": ticks(5),
    "one sample": np.array([0.5]),
    "quiet": tone(300) * 1e-3,
    "offset": tone(300) + 0.3,
    "full scale square": np.sign(tone(200)),
}


@every_strategy
@pytest.mark.parametrize("name", SOUNDS)
def test_every_strategy_imitates_every_sound(name, strategy):
    for seed in range(4):
        made = imitate(analyse(SOUNDS[name], RATE), seed, ImitatorConfig(strategies=(strategy,)))
        assert made.strategy == strategy
        assert made.waveform.dtype == np.float32 and made.waveform.ndim == 1
        assert np.isfinite(made.waveform).all()
        assert 0.1 < np.abs(made.waveform).max() < 1
        assert 0.03 < len(made.waveform) / SAMPLE_RATE < 9
        assert crest_db(made.waveform) < 40


@pytest.mark.parametrize("switch", [field.name for field in dataclasses.fields(ImitatorConfig)][1:])
def test_every_switch_changes_the_imitation_and_harms_nothing(switch):
    # a tone that comes and goes in noise, a high one, ticks
    parts = [part for _ in range(4) for part in (tone(300, 0.3), white(0.05))]
    sound = np.concatenate([*parts, tone(900, 0.4), ticks(6, 0.7)])
    features = analyse(sound, RATE)
    voices = [(seed, (strategy,)) for strategy in STRATEGIES for seed in range(2)]
    on = [imitate(features, seed, ImitatorConfig(strategies)).waveform for seed, strategies in voices]
    without = {switch: False}
    off = [imitate(features, seed, ImitatorConfig(strategies, **without)).waveform for seed, strategies in voices]
    assert any(len(a) != len(b) or not np.array_equal(a, b) for a, b in zip(on, off, strict=True))
    assert all(np.isfinite(wave).all() and 0.1 < np.abs(wave).max() < 1 for wave in off)


def test_the_same_seed_gives_the_same_samples():
    first, again, other = (imitate(analyse(SOUNDS["chirp"], RATE), seed) for seed in ((3, 1), (3, 1), (3, 2)))
    assert np.array_equal(first.waveform, again.waveform)
    assert len(first.waveform) != len(other.waveform) or not np.array_equal(first.waveform, other.waveform)


# --- listening ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hz", [82.0, 220.0, 440.0, 1_000.0, 2_500.0])
def test_pitch_is_heard(hz):
    features = analyse(tone(hz), RATE)
    middle = slice(20, -20)
    assert np.median(features.pitch_hz[middle]) == pytest.approx(hz, rel=0.02)
    assert np.median(features.periodicity[middle]) > 0.9
    assert features.tonality > 0.8


def test_noise_has_no_pitch():
    assert analyse(white(), RATE).tonality < 0.4


def test_a_short_thump_with_a_ring_is_not_less_periodic_than_noise():  # its correlation after 4 to 8 ms is negative
    time = np.arange(300) / RATE
    sound = np.hanning(300) * (np.sin(2 * np.pi * 80 * time) + 0.1 * np.sin(2 * np.pi * 2_000 * time))
    heard = analyse(sound, RATE)
    assert heard.periodicity.min() >= 0 and heard.periodicity.max() <= 1
    assert all(np.isfinite(imitate(heard, seed).waveform).all() for seed in range(4))


@pytest.mark.parametrize("per_s", [2, 5, 9])
def test_events_are_counted(per_s):
    features = analyse(ticks(per_s), RATE)
    assert abs(len(features.onsets) - len(np.arange(0.05, 1.95, 1 / per_s))) <= 1
    assert np.median(np.diff(features.onsets)) / FRAME_RATE == pytest.approx(1 / per_s, rel=0.1)


def test_flutter_is_found_where_it_is():
    t = seconds(1.5)
    assert analyse(white(1.5) * (1 + 0.9 * np.sin(2 * np.pi * 25 * t)), RATE).flutter_hz == pytest.approx(25, abs=1.5)
    assert analyse(tone(440, 1.5), RATE).flutter_hz == 0
    assert analyse(white(1.5), RATE).flutter_hz == 0


def test_silence_around_a_sound_is_not_imitated():
    sound = np.concatenate([np.zeros(RATE), tone(440, 0.5), np.zeros(2 * RATE)])
    features = analyse(sound, RATE)
    assert features.start_s == pytest.approx(1.0, abs=0.03)
    assert features.stop_s == pytest.approx(1.5, abs=0.06)


def test_a_long_sound_is_imitated_for_one_breath():
    made = imitate(analyse(white(60.0), RATE), 0)
    assert made.stop_s - made.start_s <= LONGEST_S + 0.01


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        (np.zeros(1_000), "silent"),
        (np.zeros(0), "shape"),
        (np.full(100, np.nan), "NaN"),
        (np.zeros((10, 2)), "shape"),
        (np.full(RATE, 0.5), "nothing between"),
    ],
)
def test_what_cannot_be_imitated_is_said(sound, words):
    with pytest.raises(ImitationError, match=words):
        imitate(analyse(sound, RATE), 0)


def test_unknown_and_no_strategy_are_refused():
    with pytest.raises(ImitationError, match=r"yodel.*hum"):
        imitate(analyse(tone(440), RATE), 0, ImitatorConfig(strategies=("yodel",)))
    with pytest.raises(ImitationError, match="no strategy"):
        imitate(analyse(tone(440), RATE), 0, ImitatorConfig(strategies=()))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
def test_any_rate(rate):
    assert analyse(tone(440, rate=rate), rate).tonality > 0.8
    assert np.abs(imitate(analyse(tone(440, rate=rate), rate), 0).waveform).max() > 0.1


@pytest.mark.parametrize("hz", [8, 10_000, 15_000])
def test_what_no_voice_reaches_is_refused_and_its_residue_is_not_imitated(hz):
    with pytest.raises(ImitationError, match="8 kHz"):
        analyse(0.3 * np.sin(2 * np.pi * hz * seconds(1, 44_100)) * np.hanning(44_100), 44_100)


# --- the limits of a voice ------------------------------------------------------------------------------------------


def heard_by(sound: np.ndarray, seed: int, config: ImitatorConfig = FAITHFUL):
    rng = np.random.default_rng(seed)
    person = draw_person(rng)
    return retell(analyse(sound, RATE), person, rng, config), person


@pytest.mark.parametrize("hz", [60, 440, 3_000])
def test_pitch_is_folded_by_octaves_into_the_register(hz):
    for seed in range(10):
        heard, person = heard_by(tone(hz), seed)
        pitch = np.median(heard.pitch_hz)
        assert person.lowest_hz * 0.99 <= pitch <= person.highest_hz * 1.01
        octaves = np.log2(pitch / hz)
        assert abs(octaves - round(octaves)) < 0.05


def test_a_glide_wider_than_the_voice_is_sung_narrower_without_a_leap():
    octaves = 4.0
    rising = np.sin(2 * np.pi * np.cumsum(150 * 2 ** (octaves * seconds(2.0) / 2.0)) / RATE)
    for seed in range(10):
        heard, person = heard_by(rising, seed)
        log_pitch = np.log2(heard.pitch_hz[25:-25])
        assert (np.diff(log_pitch) > -0.02).all()  # never back
        assert np.ptp(log_pitch) > 0.7 * np.log2(person.highest_hz / person.lowest_hz)


def test_glides_are_limited():
    followed = limit_glide(np.concatenate([np.full(50, 100.0), np.full(150, 800.0)]), octaves_per_s=6)
    assert np.abs(np.diff(np.log2(followed))).max() * FRAME_RATE <= 6.001
    assert followed[-1] == pytest.approx(800)  # three octaves in 0.5 s of the 0.6
    assert (np.diff(followed) >= 0).all()


def test_no_more_than_twelve_syllables_a_second():
    heard, person = heard_by(ticks(25), 0)
    assert np.diff(heard.features.onsets).min() / FRAME_RATE >= 1 / 12 - 0.02
    free, _ = heard_by(ticks(25), 0, dataclasses.replace(FAITHFUL, limit_articulation=False))
    assert len(free.features.onsets) > 1.5 * len(heard.features.onsets)
    assert person.articulation_s >= 1 / 12


def test_ticks_stay_apart():
    for seed in range(5):
        config = dataclasses.replace(FAITHFUL, strategies=("syllables",))
        features = analyse(imitate(analyse(ticks(4), RATE), seed, config).waveform, SAMPLE_RATE)
        assert 6 <= len(features.onsets) <= 10  # of 8


@every_strategy
def test_no_voice_opens_and_closes_twenty_times_a_second(strategy):
    features = dataclasses.replace(analyse(ticks(20), RATE), flutter_hz=0.0)  # or the tongue would roll it

    def dips_a_second(config: ImitatorConfig) -> float:
        rates = []
        for seed in range(8):
            wave = imitate(features, seed, config).waveform
            level = np.sqrt(np.convolve(wave**2, np.hanning(320) / 160, "same"))[::80]  # 5 ms
            dips = find_peaks(-20 * np.log10(level + 0.01 * level.max()), prominence=8)[0]
            rates.append(len(dips) / (len(wave) / SAMPLE_RATE))
        return float(np.median(rates))

    config = dataclasses.replace(FAITHFUL, strategies=(strategy,))
    free = dips_a_second(dataclasses.replace(config, limit_articulation=False))
    assert dips_a_second(config) <= 12 < free


def thump() -> np.ndarray:
    t = seconds(0.4)
    return 0.8 * np.sin(2 * np.pi * (50 * t - 4 * np.exp(-t / 0.03))) * np.exp(-t / 0.1)


def test_a_thump_is_popped_and_boomed_not_hissed():
    """People keep .98 of a kick drum's energy below 300 Hz (median of 40 in a collection of mouth-made drums)."""

    def low(wave: np.ndarray) -> float:
        power, hz = np.abs(np.fft.rfft(wave)) ** 2, np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
        return power[hz < 300].sum() / power.sum()

    assert np.median([low(imitate(analyse(thump(), RATE), seed).waveform) for seed in range(30)]) > 0.5
    assert np.median([low(imitate(analyse(white(0.2), RATE), seed).waveform) for seed in range(30)]) < 0.2


def test_nobody_whistles_above_their_lips_reach():
    config = dataclasses.replace(FAITHFUL, strategies=("whistle",))
    for seed in range(10):
        wave = imitate(analyse(tone(3_900), RATE), seed, config).waveform
        power, hz = np.abs(np.fft.rfft(wave)) ** 2, np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
        assert power[hz > 5_000].sum() < 0.01 * power.sum()


def test_what_has_a_pitch_is_spoken_with_voice():
    voiced = [
        imitate(analyse(tone(330), RATE), seed, ImitatorConfig(("syllables",), microphone=False, room=False))
        for seed in range(20)
    ]
    tonalities = np.array([analyse(made.waveform, SAMPLE_RATE).tonality for made in voiced])
    assert (tonalities > 0.5).mean() > 0.85


def test_the_level_is_followed():
    rising = white(1.5) * np.linspace(0.02, 1, int(1.5 * RATE)) ** 2
    for seed in range(5):
        made = imitate(analyse(rising, RATE), seed, dataclasses.replace(FAITHFUL, strategies=("noise",))).waveform
        parts = [np.sqrt(np.mean(part**2)) for part in np.array_split(made, 5)]
        assert parts[4] > 3 * parts[1] and parts[3] > parts[1]


def test_brightness_is_followed():
    dull, bright = (np.convolve(white(), kernel, "same") for kernel in (np.hanning(40) / 20, np.array([1, -2, 1])))
    config = dataclasses.replace(FAITHFUL, strategies=("noise",))
    for seed in range(5):
        low, high = (analyse(imitate(analyse(s, RATE), seed, config).waveform, SAMPLE_RATE) for s in (dull, bright))
        assert high.brightness_hz > 1.5 * low.brightness_hz


def test_tempo_changes_durations_within_bounds():
    spans = [
        imitate(analyse(white(2.0), RATE), seed, dataclasses.replace(FAITHFUL, vary_tempo=True)) for seed in range(20)
    ]
    ratios = np.array([len(made.waveform) / SAMPLE_RATE / 2.0 for made in spans])
    assert 0.4 < ratios.min() < 0.95 and 1.1 < ratios.max() < 2.2


# --- the voice ------------------------------------------------------------------------------------------------------


def silent_score(n: int, **tracks) -> Score:
    zeros = np.zeros(n)
    values = {
        "pitch_hz": np.full(n, 150.0),
        "voiced": zeros,
        "breath": zeros,
        "friction": zeros,
        "friction_hz": np.full(n, 3_000.0),
        "friction_width": np.ones(n),
        "formants_hz": np.tile([500.0, 1_500.0, 2_500.0], (n, 1)),
        "whistle": zeros,
        "whistle_hz": np.full(n, 1_000.0),
        "nasal": zeros,
    }
    return Score(**{**values, **tracks})


def perform_one(score: Score, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return perform(score, dataclasses.replace(draw_person(rng), tract=1.0, breath=0.0), rng)


def test_a_silent_score_is_silent_and_a_score_has_its_length():
    assert np.array_equal(perform_one(silent_score(100)), np.zeros(100 * HOP))


def test_resonances_have_their_frequency_bandwidth_and_height():
    frequencies = np.arange(0, 4_000, 1.0)
    response = np.abs(formants_to_response(np.array([800.0]), np.array([80.0]), frequencies))
    peak = response.argmax()
    assert frequencies[peak] == pytest.approx(800, abs=5) and response[0] == pytest.approx(1)
    above = frequencies[response > response[peak] / np.sqrt(2)]
    assert np.ptp(above) == pytest.approx(80, abs=4)
    assert response[peak] == pytest.approx(10, rel=0.01)  # frequency over bandwidth


def test_the_voice_sings_the_pitch_of_its_score():
    features = analyse(perform_one(silent_score(250, voiced=np.ones(250), pitch_hz=np.full(250, 187.0))), SAMPLE_RATE)
    assert np.median(features.pitch_hz) == pytest.approx(187, rel=0.02)
    assert features.tonality > 0.8


@pytest.mark.parametrize(("first", "second"), [(300, 2_200), (700, 1_100), (350, 800)])
def test_vowels_have_their_formants(first, second):
    n = 250
    formants = np.tile([first, second, 2_600.0], (n, 1))
    wave = perform_one(silent_score(n, voiced=np.ones(n), pitch_hz=np.full(n, 90.0), formants_hz=formants))
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    hz = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
    envelope = np.array([power[np.abs(hz - f) < 60].sum() for f in np.arange(150, 3_000, 20)])
    peaks = np.arange(150, 3_000, 20)[1:-1][(envelope[1:-1] > envelope[:-2]) & (envelope[1:-1] > envelope[2:])]
    for wanted in (first, second):
        assert np.abs(peaks - wanted).min() <= 70


def test_amplitudes_are_root_mean_squares_of_the_parts():
    n = 500
    for part in ("voiced", "breath", "friction", "whistle"):
        wave = perform_one(silent_score(n, **{part: np.full(n, 0.3)}))
        level = np.sqrt(np.mean(wave[8_000:24_000] ** 2))
        assert level == pytest.approx(0.3, rel=0.25), part


def test_a_whistle_is_a_sine_at_its_frequency():
    wave = perform_one(silent_score(250, whistle=np.ones(250), whistle_hz=np.full(250, 1_700.0)))
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    hz = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
    assert power[np.abs(hz - 1_700) < 100].sum() > 0.9 * power.sum()


def test_a_trill_beats_at_its_rate():
    wave = perform_one(silent_score(400, voiced=np.ones(400), trill_hz=24.0))
    assert analyse(wave, SAMPLE_RATE).flutter_hz == pytest.approx(24, abs=6)


def test_a_burst_is_where_it_should_be_and_short():
    burst = Burst(frame=100, amplitude=0.5, centre_hz=3_000, width_octaves=0.8, duration_s=0.01)
    wave = perform_one(silent_score(250, bursts=(burst,)))
    energy = np.cumsum(wave**2) / np.sum(wave**2)
    assert (wave[: 100 * HOP] == 0).all()
    assert np.searchsorted(energy, 0.95) < 100 * HOP + 0.04 * SAMPLE_RATE
