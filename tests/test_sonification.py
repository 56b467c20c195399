"""Sonification against known answers: tones, chirps, clicks, silence and real clips."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from iminet_viz import sonification
from iminet_viz.audio import crest_db, find_audio, fit_length, load_audio
from iminet_viz.checkpoint import DbStatistics, TrainedModel, load_model, untrained_model
from iminet_viz.errors import FrontEndError, PatternError
from iminet_viz.frontends import IMITATION, RECORDING, LogMel, LogMelConfig, to_mel_power
from iminet_viz.patterns import engine
from iminet_viz.patterns.engine import EngineConfig
from iminet_viz.patterns.evidence import realizability
from iminet_viz.patterns.objectives import channel, fc_unit
from iminet_viz.sonification import PatternSound, SonifySettings, sonify

# A second of each front end: what does not depend on the length is tested there.
SHORT_IMITATION = dataclasses.replace(IMITATION, n_frames=120)
SHORT_RECORDING = dataclasses.replace(RECORDING, n_frames=43)
both = pytest.mark.parametrize("config", [SHORT_IMITATION, SHORT_RECORDING], ids=["imitation", "recording"])


def see(waveform: np.ndarray, config: LogMelConfig) -> tuple[np.ndarray, float, float]:
    """The front end's view of a waveform: standardised log-mel, and its mean and deviation in dB."""
    db = LogMel(config).decibels(torch.from_numpy(waveform.astype(np.float32))[None])[0].double().numpy()
    return (db - db.mean()) / max(db.std(), 1e-9), db.mean(), db.std()


def seconds(config: LogMelConfig) -> np.ndarray:
    return np.arange(config.n_samples) / config.sample_rate


def smooth_noise(config: LogMelConfig, seed: int, cells: float = 2.0) -> np.ndarray:
    values = gaussian_filter(np.random.default_rng(seed).standard_normal(config.shape), cells)
    return (values - values.mean()) / values.std()


def share_between(waveform: np.ndarray, sample_rate: int, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(waveform.astype(np.float64))) ** 2
    frequency = np.fft.rfftfreq(len(waveform), 1 / sample_rate)
    return power[(frequency >= low) & (frequency < high)].sum() / power.sum()


@both
def test_to_mel_power_inverts_standardisation(config: LogMelConfig) -> None:
    pattern = np.full(config.shape, -100.0)  # far below the floor
    pattern[3, 5], pattern[4, 6] = 2.0, 1.0
    power = to_mel_power(pattern, config, mean_db=-50, std_db=10)
    assert power[3, 5] == 1
    assert power[4, 6] == pytest.approx(0.1)  # one deviation of 10 dB is a factor of ten in power
    assert power[0, 0] == pytest.approx(1e-8)  # 80 dB


@both
def test_mel_to_linear_recovers_the_bands_of_a_power_spectrum(config: LogMelConfig) -> None:
    basis = LogMel(config).mel_basis
    # 60 dB between neighbours: least squares would lose the quiet cells
    power = 10 ** (-6 * torch.rand(config.n_fft // 2 + 1, 20, generator=torch.Generator().manual_seed(0)))
    mel_power = basis @ power
    found = sonification.mel_to_linear(mel_power, basis, SonifySettings().mel_iterations)
    assert (found >= 0).all()
    error_db = (10 * torch.log10(basis @ found / mel_power)).abs()
    assert error_db.mean() < 0.1
    assert error_db.quantile(0.99) < 1
    unseen = basis.sum(0) == 0
    assert unseen.any()
    assert (found[unseen] == 0).all()  # nothing at 0 Hz, nothing above fmax


def test_mel_to_linear_is_the_same_alone_and_in_a_batch() -> None:
    basis = LogMel(IMITATION).mel_basis
    mel_power = torch.rand(3, 39, 7, generator=torch.Generator().manual_seed(0))
    together = sonification.mel_to_linear(mel_power, basis, 20)
    for alone, one in zip(mel_power, together, strict=True):
        torch.testing.assert_close(sonification.mel_to_linear(alone, basis, 20), one)


def test_mel_to_linear_refuses_other_bands() -> None:
    with pytest.raises(PatternError, match="38 mel bands and a basis of 39"):
        sonification.mel_to_linear(torch.ones(38, 5), LogMel(IMITATION).mel_basis, 1)


def test_interpolation_meets_the_frames_and_never_overshoots() -> None:
    power = torch.tensor([[1e-8, 1e-8, 1.0, 1.0, 1e-4], [0.0, 0.0, 0.0, 0.0, 0.0], [1e-2, 1e-4, 1e-6, 1e-8, 1e-10]])
    fine = sonification.interpolate_frames(power, np.arange(-1, 6, 0.25))
    torch.testing.assert_close(fine[:, 4:21:4], power, rtol=1e-5, atol=0)
    assert fine[0].max() <= 1 + 1e-6  # an onset of 80 dB
    assert fine[0, 4:9].min() >= 1e-8 * (1 - 1e-5)
    assert (fine[1] == 0).all()
    assert fine[2, 6] == pytest.approx(1e-3, rel=1e-4)  # straight in dB stays straight
    torch.testing.assert_close(fine[:, :4], power[:, :1].expand(-1, 4), rtol=1e-5, atol=0)  # held before the first
    torch.testing.assert_close(fine[:, 20:], power[:, -1:].expand(-1, 8), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("n_fft", "hop"), [(133, 33), (256, 64)])
def test_griffin_lim_finds_a_signal_with_the_magnitudes(n_fft: int, hop: int) -> None:
    time = np.arange(hop * 200) / 16_000
    signal = torch.from_numpy(np.sin(2 * np.pi * (300 * time + 2_000 * time**2)) * np.exp(-3 * time)).float()

    def magnitude(waveform: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(n_fft)
        stft = torch.stft(waveform, n_fft, hop, window=window, pad_mode="constant", return_complex=True)
        return stft.abs()

    wanted = magnitude(signal)
    found = sonification.griffin_lim(wanted, n_fft, hop, iterations=200, length=len(signal))
    assert found.shape == signal.shape
    convergence = torch.linalg.norm(magnitude(found) - wanted) / torch.linalg.norm(wanted)
    assert convergence < 0.05  # random phases give about 0.6
    start = sonification.griffin_lim(wanted, n_fft, hop, iterations=0, length=len(signal))
    assert torch.linalg.norm(magnitude(start) - wanted) / torch.linalg.norm(wanted) > 5 * convergence


def test_griffin_lim_is_the_same_alone_and_in_a_batch() -> None:
    magnitude = torch.rand(2, 65, 30, generator=torch.Generator().manual_seed(0))
    together = sonification.griffin_lim(magnitude, 128, 32, 10)
    for alone, one in zip(magnitude, together, strict=True):
        torch.testing.assert_close(sonification.griffin_lim(alone, 128, 32, 10), one, rtol=1e-4, atol=1e-5)


def test_griffin_lim_refuses_what_does_not_fit() -> None:
    with pytest.raises(PatternError, match="64 frequencies"):
        sonification.griffin_lim(torch.ones(64, 10), 128, 32, 1)
    with pytest.raises(PatternError, match="do not cover 5000 samples"):
        sonification.griffin_lim(torch.ones(65, 10), 128, 32, 1, length=5_000)


@both
def test_a_tone_keeps_its_pitch(config: LogMelConfig) -> None:
    sound = sonify(*_tone_arguments(config))
    power = np.abs(np.fft.rfft(sound.waveform.astype(np.float64)))
    peak_hz = power.argmax() * config.sample_rate / config.n_samples
    centres = LogMel(config).band_frequencies()
    band = np.abs(centres - 440).argmin()
    assert centres[band - 1] < peak_hz < centres[band + 1]
    assert sound.crest_db < 6  # a sine has 3
    assert sound.log_mel_error_db < 2


def _tone_arguments(config: LogMelConfig) -> tuple[np.ndarray, LogMelConfig, float, float]:
    pattern, mean_db, std_db = see(0.5 * np.sin(2 * np.pi * 440 * seconds(config)), config)
    return pattern, config, mean_db, std_db


@both
def test_a_chirp_rises(config: LogMelConfig) -> None:
    time = seconds(config)
    rate = (4_000 - 300) / time[-1]
    pattern, mean_db, std_db = see(0.5 * np.sin(2 * np.pi * (300 * time + rate * time**2 / 2)), config)
    sound = sonify(pattern, config, mean_db, std_db)
    pieces = np.array_split(sound.waveform.astype(np.float64), 8)
    heard = [np.abs(np.fft.rfft(piece * np.hanning(len(piece)))).argmax() / len(piece) for piece in pieces]
    heard_hz = np.array(heard) * config.sample_rate
    middle_hz = 300 + (np.arange(8) + 0.5) / 8 * 3_700
    assert (np.diff(heard_hz) > 0).all()
    assert np.abs(heard_hz - middle_hz).max() < 3_700 / 8  # a piece sweeps that far


def test_nothing_above_the_highest_band() -> None:
    sound = sonify(smooth_noise(SHORT_IMITATION, 0), SHORT_IMITATION, -50, 16)
    assert share_between(sound.waveform, 16_000, 5_100, 8_000) < 1e-6
    assert share_between(sound.waveform, 16_000, 0, 20) < 1e-2


@both
def test_length_peak_and_gain(config: LogMelConfig) -> None:
    settings = SonifySettings(peak=0.5, fade_s=0.02)
    sound = sonify(smooth_noise(config, 1), config, -50, 16, settings)
    assert sound.waveform.shape == (config.n_samples,)
    assert sound.waveform.dtype == np.float32
    assert sound.sample_rate == config.sample_rate
    assert np.abs(sound.waveform).max() == pytest.approx(0.5, rel=1e-6)
    assert abs(sound.waveform[0]) < 1e-4  # faded
    assert abs(sound.waveform[-1]) < 1e-4
    louder = sonify(smooth_noise(config, 1), config, -50, 16, dataclasses.replace(settings, peak=1.0))
    assert louder.gain == pytest.approx(2 * sound.gain)
    # The gain leads back to the level of the pattern: largest mel power about 1.
    tone = sonify(*_tone_arguments(config))
    raw = torch.from_numpy(tone.waveform / np.float32(tone.gain))[None]
    assert 10 * torch.log10(LogMel(config).spectrogram(raw).max()) == pytest.approx(0, abs=2)


def test_the_same_seed_gives_the_same_bytes() -> None:
    arguments = (smooth_noise(SHORT_IMITATION, 2), SHORT_IMITATION, -50.0, 16.0)
    first, again, other = (sonify(*arguments, seed=seed) for seed in (3, 3, 4))
    assert first.waveform.tobytes() == again.waveform.tobytes()
    assert first.log_mel_error_db == again.log_mel_error_db
    assert first.waveform.tobytes() != other.waveform.tobytes()


def test_the_mean_cancels_and_the_deviation_does_not() -> None:
    pattern = smooth_noise(SHORT_IMITATION, 2)
    sound = sonify(pattern, SHORT_IMITATION, -50, 16)
    assert np.array_equal(sonify(pattern, SHORT_IMITATION, 0, 16).waveform, sound.waveform)
    assert not np.array_equal(sonify(pattern, SHORT_IMITATION, -50, 8).waveform, sound.waveform)


@both
@pytest.mark.parametrize("value", [0.0, -7.0, 1e-300])
@pytest.mark.parametrize("std_db", [0.0, 16.0])
def test_a_constant_pattern_is_stationary_noise(config: LogMelConfig, value: float, std_db: float) -> None:
    pattern = np.full(config.shape, value)
    sound = sonify(pattern, config, 0.0, std_db, SonifySettings(griffin_lim_iterations=8))
    assert np.isfinite(sound.waveform).all()
    assert np.isfinite([sound.gain, sound.log_mel_error_db, sound.crest_db, sound.buzz_db]).all()
    assert 6 < sound.crest_db < 18
    assert realizability(pattern[:, :4], dataclasses.replace(config, n_frames=4), 0.0, std_db) < 1


def test_silence_becomes_a_defined_sound() -> None:
    pattern, mean_db, std_db = see(np.zeros(SHORT_IMITATION.n_samples), SHORT_IMITATION)
    sound = sonify(pattern, SHORT_IMITATION, mean_db, std_db)
    assert np.isfinite(sound.waveform).all()
    assert np.abs(sound.waveform).max() == pytest.approx(SonifySettings().peak, rel=1e-6)


def test_a_single_loud_cell_and_huge_values_stay_finite() -> None:
    pattern = np.zeros(SHORT_IMITATION.shape)
    pattern[20, 60] = 1e200
    sound = sonify(pattern, SHORT_IMITATION, -50, 16)
    assert np.isfinite(sound.waveform).all()
    centre = 60 * SHORT_IMITATION.hop_length
    assert abs(np.abs(sound.waveform).argmax() - centre) < SHORT_IMITATION.hop_length


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pattern: pattern[:, :-1], r"pattern of shape \(39, 119\).*\(39, 120\)"),
        (lambda pattern: pattern[None], r"pattern of shape \(1, 39, 120\)"),
        (lambda pattern: np.where(pattern == pattern.max(), np.nan, pattern), "NaN"),
        (lambda pattern: np.where(pattern == pattern.max(), np.inf, pattern), "infinite"),
        (lambda pattern: pattern * 1e308, "absurdly large"),
    ],
    ids=["frames", "dimensions", "nan", "infinity", "overflow"],
)
def test_what_is_no_pattern_is_refused(change, message: str) -> None:
    pattern = change(np.clip(smooth_noise(SHORT_IMITATION, 0), -1.5, 1.5))
    with pytest.raises(FrontEndError, match=message):
        sonify(pattern, SHORT_IMITATION, -50, 16)
    with pytest.raises(FrontEndError, match=message):
        realizability(pattern, SHORT_IMITATION, -50, 16)


@pytest.mark.parametrize(("mean_db", "std_db"), [(np.nan, 16), (-50, np.inf), (-50, -1)])
def test_what_is_no_level_is_refused(mean_db: float, std_db: float) -> None:
    with pytest.raises(FrontEndError, match="level of"):
        sonify(np.zeros(SHORT_IMITATION.shape), SHORT_IMITATION, mean_db, std_db)


@pytest.mark.parametrize(
    "values",
    [{"overlap": 0}, {"griffin_lim_iterations": -1}, {"peak": 0}, {"peak": 1.1}, {"fade_s": -1}, {"momentum": -1}],
)
def test_settings_that_make_no_sense_are_refused(values: dict) -> None:
    with pytest.raises(PatternError):
        SonifySettings(**values)


@both
def test_overlap_takes_the_clicks_away(config: LogMelConfig) -> None:
    """The paper's trap: synthesis at the hop of the analysis matches the picture and clicks."""
    arguments = (smooth_noise(config, 0), config, -50.0, 6.0)
    clicks = sonify(*arguments, SonifySettings(overlap=1))
    sound = sonify(*arguments)
    assert 10 ** (sound.crest_db / 20) < 8  # linear
    assert 10 ** (clicks.crest_db / 20) > 20
    assert clicks.buzz_db > sound.buzz_db + 6
    assert sound.log_mel_error_db < 2.5


def test_log_mel_error_of_a_sound_with_itself_is_zero() -> None:
    rng = np.random.default_rng(0)
    waveform = (0.1 * rng.standard_normal(SHORT_IMITATION.n_samples)).astype(np.float32)
    mel_power = LogMel(SHORT_IMITATION).spectrogram(torch.from_numpy(waveform)[None])[0].numpy()
    assert sonification.log_mel_error_db(waveform, mel_power, SHORT_IMITATION) < 1e-3
    # ... at any level, and half the cells 1 dB off are 0.5 dB
    assert sonification.log_mel_error_db(0.1 * waveform, 7 * mel_power, SHORT_IMITATION) < 1e-2
    mel_power[:, ::2] *= 10**0.1
    assert sonification.log_mel_error_db(waveform, mel_power, SHORT_IMITATION) == pytest.approx(0.5, abs=0.02)


def test_buzz_is_measured_at_the_frame_rate() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(4 * 16_000) / 16_000
    noise = rng.standard_normal(len(time))
    rate = 16_000 / 133

    def buzz(waveform: np.ndarray) -> float:
        return sonification.frame_rate_buzz_db(waveform, 16_000, rate)

    assert abs(buzz(noise)) < 3
    assert buzz(noise * (1 + 0.5 * np.cos(2 * np.pi * rate * time))) > 10
    assert buzz(noise * (1 + 0.5 * np.cos(2 * np.pi * (rate + 30) * time))) < 3  # modulated elsewhere
    assert abs(buzz(np.sin(2 * np.pi * 440 * time))) < 3  # a steady tone has no modulation
    assert buzz(np.zeros(1_000)) == 0


@both
def test_realizability_tells_sounds_from_pictures(config: LogMelConfig) -> None:
    config = dataclasses.replace(config, n_frames=16)
    noise = np.random.default_rng(0).standard_normal(config.n_samples)
    pattern, mean_db, std_db = see(0.1 * noise, config)
    assert realizability(pattern, config, mean_db, std_db) < 1e-3
    stripes = np.where(np.arange(config.n_mels)[:, None] % 2, 1.0, -1.0) * np.ones(config.shape)
    assert realizability(stripes, config, -50, 16) > 0.05  # neighbouring bands share their bins


@pytest.mark.parametrize("config", [IMITATION, RECORDING], ids=["imitation", "recording"])
def test_real_clips_stay_what_they_are(config: LogMelConfig, data_folder: Path) -> None:
    differences = []
    for folder, count in (("telephone-imitations", 2), ("esc10", 2), ("dirt-samples-subset", 2)):
        files = find_audio(data_folder / folder)
        for path in files[:: len(files) // count][:count]:
            waveform = fit_length(load_audio(path, config.sample_rate), config.n_samples)
            pattern, mean_db, std_db = see(waveform, config)
            sound = sonify(pattern, config, mean_db, std_db)
            assert sound.log_mel_error_db < 2.5, path
            spectrum = np.fft.rfft(waveform)
            spectrum[np.fft.rfftfreq(len(waveform), 1 / config.sample_rate) > config.fmax] = 0
            differences.append(sound.crest_db - crest_db(np.fft.irfft(spectrum, len(waveform))))
    assert abs(np.median(differences)) < 3
    assert np.mean(np.abs(differences) < 6) >= 0.75


# --- the loop is closed -----------------------------------------------------------------------------------------------


def judge_as_its_own_picture(model: TrainedModel, layer: str, clips: dict[str, np.ndarray]) -> PatternSound:
    """A clip's spectrogram as the pattern of the neuron that it excites most, and the clip as that pattern's sound."""
    inputs, levels = {}, {}
    for role in model.network.inputs_of(layer):
        picture, *level = see(clips[role], model.frontends[role].config)
        inputs[role], levels[role] = picture.astype(np.float32), DbStatistics(*level)
    with torch.no_grad():
        given = {role: torch.from_numpy(x)[None, None] for role, x in inputs.items()}
        values = model.network.preactivation(layer, **given)[0].relu().flatten(1 if layer != "fc1" else 0)
    neuron = int((values.mean(dim=1) if layer != "fc1" else values).argmax())
    objective = fc_unit(neuron) if layer == "fc1" else channel(layer, neuron)
    pattern = dataclasses.replace(
        engine.maximize(model, channel("imitation.conv1", 0), EngineConfig(steps=1, precision="32")),  # any
        objective=objective,
        inputs=inputs,
        frontends={role: model.frontends[role].config for role in inputs},
        db_statistics=levels,
        activation=engine.activation_of(model, objective, inputs),
    )
    return sonification.measure(model, pattern, {role: clips[role] for role in inputs}, "its own phase", {}, 1.0)


LOOP = ("imitation.conv1", "imitation.conv3", "recording.conv1", "recording.conv3", "fc1")


def test_a_made_up_clip_with_its_own_phase_keeps_all_of_its_activation() -> None:
    model = untrained_model("tl-iminet", 0)
    clips = {}
    for role, frontend in model.frontends.items():
        time = seconds(frontend.config)
        clip = np.sin(2 * np.pi * (300 + 200 * time) * time) * np.exp(-time)
        clip += 0.01 * np.random.default_rng(0).standard_normal(len(time))
        clips[role] = fit_length(0.3 * clip.astype(np.float32), frontend.config.n_samples)
    for layer in LOOP:
        found = judge_as_its_own_picture(model, layer, clips)
        assert found.activation_kept == pytest.approx(1, abs=1e-3)
        for role in found.waveforms:
            assert found.log_mel_error_db[role] < 0.1
            assert found.crest_db[role] == pytest.approx(crest_db(clips[role]), abs=0.01)


def test_a_real_clip_with_its_own_phase_keeps_all_of_its_activation(data_folder: Path) -> None:
    model = load_model("tl-iminet-conv123")
    for folder in ("telephone-imitations", "esc10"):
        files = find_audio(data_folder / folder)
        for path in files[:: len(files) // 2]:
            clips = {
                role: fit_length(load_audio(path, frontend.config.sample_rate), frontend.config.n_samples)
                for role, frontend in model.frontends.items()
            }
            for layer in LOOP:
                kept = judge_as_its_own_picture(model, layer, clips).activation_kept
                assert kept == pytest.approx(1, abs=1e-3), (path, layer)


@pytest.mark.parametrize(("config", "expected"), [(IMITATION, 0.3), (RECORDING, 0.08)], ids=["imitation", "recording"])
def test_smooth_noise_is_as_far_from_any_sound_as_it_was_found_to_be(config: LogMelConfig, expected: float) -> None:
    """Smoothed over one cell; single pictures are between .22 and .36, .06 and .09."""
    found = [realizability(smooth_noise(config, seed, 1.0), config, -50, 16) for seed in range(4)]
    assert np.mean(found) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("config", [IMITATION, RECORDING], ids=["imitation", "recording"])
def test_every_real_clip_is_a_sound(config: LogMelConfig, data_folder: Path) -> None:
    for folder in ("telephone-imitations", "esc10", "dirt-samples-subset"):
        files = find_audio(data_folder / folder)
        for path in files[:: len(files) // 3]:
            clip = fit_length(load_audio(path, config.sample_rate), config.n_samples)
            picture, *level = see(clip, config)
            assert realizability(picture, config, *level) < 1e-3, path
