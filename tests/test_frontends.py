"""The front ends against librosa on real and made signals, at the edges of what a signal can be; their gradients."""

import dataclasses

import librosa
import numpy as np
import pytest
import torch

from iminet_viz.audio import find_audio, fit_length, load_audio
from iminet_viz.errors import FrontEndError
from iminet_viz.frames import MEL_FRAMES
from iminet_viz.frontends import (
    CONSTANT_Q,
    IMITATION,
    RECORDING,
    ConstantQConfig,
    LogMel,
    LogMelConfig,
    config_from_dict,
    config_to_dict,
    log_mel_of_frames,
    make_frontend,
    power_to_db,
    standardize,
)

CONFIGS = {"imitation": IMITATION, "recording": RECORDING, "constant-q": CONSTANT_Q}
MODULES = {name: make_frontend(config) for name, config in CONFIGS.items()}
SETS = ("esc10", "telephone-imitations", "speech-lid", "beatbox-paullin1", "dirt-samples-subset", "vocobox-sung-notes")
CLIPS_PER_SET = 4

each_frontend = pytest.mark.parametrize("name", CONFIGS)


def chirp(config: LogMelConfig | ConstantQConfig) -> np.ndarray:
    """From 200 Hz, 1,000 Hz higher each second, with its octave: ``(n_samples,)``."""
    time = np.arange(config.n_samples) / config.sample_rate
    phase = 2 * np.pi * (200 * time + 500 * time**2)
    return (0.5 * np.sin(phase) + 0.1 * np.sin(2 * phase)).astype(np.float32)


def made_signals(config: LogMelConfig | ConstantQConfig) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(config.n_samples).astype(np.float32)
    impulse = np.zeros(config.n_samples, np.float32)
    impulse[config.n_samples // 3] = 1
    return {
        "chirp": chirp(config),
        "noise": 0.1 * noise,
        "loud noise": 100 * noise,
        "impulse": impulse,
        "constant": np.full(config.n_samples, 0.3, np.float32),
        "silence": np.zeros(config.n_samples, np.float32),
        "very quiet noise": 1e-7 * noise,
        "quiet noise": 1e-3 * noise,
        "denormal": np.full(config.n_samples, 1e-40, np.float32),
        "half silent": np.where(np.arange(config.n_samples) < config.n_samples // 2, 0.1 * noise, 0).astype(np.float32),
    }


def decibels(name: str, waveform: np.ndarray) -> np.ndarray:
    return MODULES[name].decibels(torch.from_numpy(waveform)[None])[0].numpy()


def librosa_log_mel(config: LogMelConfig, waveform: np.ndarray) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
        center=True,
        pad_mode="constant",
    )
    return librosa.power_to_db(power[:, : config.n_frames], ref=np.max, top_db=80)


@pytest.mark.parametrize(
    "config", [IMITATION, RECORDING, log_mel_of_frames(MEL_FRAMES).config], ids=["imitation", "recording", "frames"]
)
def test_mel_bands_are_librosa_s_to_the_bit(config):
    shape = {"n_mels": config.n_mels, "fmin": config.fmin, "fmax": config.fmax}
    basis = librosa.filters.mel(sr=config.sample_rate, n_fft=config.n_fft, **shape)
    assert np.array_equal(LogMel(config).mel_basis.numpy(), basis)
    edges = librosa.mel_frequencies(config.n_mels + 2, fmin=config.fmin, fmax=config.fmax)
    assert np.array_equal(LogMel(config).band_frequencies(), edges[1:-1])


def librosa_constant_q(waveform: np.ndarray, every: int) -> np.ndarray:
    """librosa.cqt in dB, at ``1 / every`` of the hop and every so many frames."""
    magnitude = librosa.cqt(
        waveform,
        sr=CONSTANT_Q.sample_rate,
        hop_length=CONSTANT_Q.hop_length // every,
        fmin=CONSTANT_Q.fmin,
        n_bins=CONSTANT_Q.n_bins,
        bins_per_octave=CONSTANT_Q.bins_per_octave,
        sparsity=0,
        pad_mode="constant",
    )
    return librosa.amplitude_to_db(np.abs(magnitude)[:, ::every][:, : CONSTANT_Q.n_frames], ref=np.max, top_db=80)


def assert_same_log_mel(name: str, waveform: np.ndarray) -> None:
    reference = librosa_log_mel(CONFIGS[name], waveform)
    ours = decibels(name, waveform)
    assert ours.min() >= -80
    # 1e-3 dB at the floor itself; 0.05 dB is far below what a network or an ear could notice
    np.testing.assert_allclose(ours, reference, atol=0.05)


def assert_same_constant_q(waveform: np.ndarray, tolerance_db: float) -> None:
    ours = decibels("constant-q", waveform)
    # at a quarter of the hop, 105 samples, librosa cannot halve the rate between octaves: the exact transform
    exact = librosa_constant_q(waveform, every=4)
    near = exact > -40
    np.testing.assert_allclose(ours[near], exact[near], atol=tolerance_db)
    # at the hop itself it decimates: a few bins at cancellations differ
    decimated = librosa_constant_q(waveform, every=1)
    assert np.mean(np.abs(ours - decimated)[decimated > -40] < 1) >= 0.98


@pytest.fixture(scope="module")
def real_clips(data_folder):
    """Clips of several sets, spread over each: speech, imitations, field recordings, drums, synthesisers, singing."""
    clips = []
    for name in SETS:
        files = find_audio(data_folder / name)
        clips += [files[index] for index in np.linspace(0, len(files) - 1, CLIPS_PER_SET).astype(int)]
    assert len(clips) >= 20
    return clips


@pytest.mark.parametrize("name", ["imitation", "recording"])
@pytest.mark.parametrize("signal", [key for key in made_signals(IMITATION) if key not in ("silence", "denormal")])
def test_log_mel_is_librosas_on_made_signals(name, signal):
    assert_same_log_mel(name, made_signals(CONFIGS[name])[signal])


@pytest.mark.parametrize("name", ["imitation", "recording"])
def test_log_mel_is_librosas_on_real_clips(name, real_clips):
    config = CONFIGS[name]
    for path in real_clips:
        assert_same_log_mel(name, fit_length(load_audio(path, config.sample_rate), config.n_samples))


@pytest.mark.parametrize("signal", ["chirp", "noise"])
def test_constant_q_is_the_definition_on_made_signals(signal):
    assert_same_constant_q(made_signals(CONSTANT_Q)[signal], 0.05)


def test_constant_q_is_the_definition_on_real_clips(real_clips):
    # the wavelets' negative frequencies, which we leave out as librosa does, tell at the onset of drums
    for path in real_clips:
        waveform = fit_length(load_audio(path, CONSTANT_Q.sample_rate), CONSTANT_Q.n_samples)
        assert_same_constant_q(waveform, 0.2)


# librosa 0.11.0, the functions above applied to chirp(config): row (band), column (frame), dB.
GOLDEN = {
    "imitation": [
        (3, 13, -2.79),
        (33, 363, -8.06),
        (31, 158, -19.47),
        (19, 126, -4.15),
        (11, 55, -7.06),
        (28, 254, -6.53),
    ],
    "recording": [
        (31, 39, -35.11),
        (10, 3, -22.76),
        (54, 79, -4.56),
        (58, 99, -41.84),
        (45, 24, -19.24),
        (85, 110, -21.81),
    ],
    "constant-q": [
        (62, 54, -30.31),
        (6, 3, -39.91),
        (58, 42, -21.54),
        (66, 35, -22.4),
        (30, 5, -25.1),
        (62, 59, -8.39),
    ],
}


@pytest.mark.parametrize("name", CONFIGS)
def test_golden_values(name):
    ours = decibels(name, chirp(CONFIGS[name]))
    for band, frame, expected in GOLDEN[name]:
        assert ours[band, frame] == pytest.approx(expected, abs=0.05), (band, frame)


@each_frontend
def test_a_tone_lies_in_its_own_band(name):
    config = CONFIGS[name]
    frequencies = MODULES[name].band_frequencies()
    assert frequencies.shape == (config.shape[0],)
    assert (np.diff(frequencies) > 0).all()
    for band in range(config.shape[0] // 4, config.shape[0], config.shape[0] // 6):
        time = np.arange(config.n_samples) / config.sample_rate
        tone = (0.5 * np.sin(2 * np.pi * frequencies[band] * time)).astype(np.float32)
        assert abs(decibels(name, tone)[:, 50].argmax() - band) <= 1  # neighbours of mel bands overlap by half


@each_frontend
@pytest.mark.parametrize("signal", made_signals(IMITATION))
def test_every_signal_gives_finite_standardised_values(name, signal):
    config = CONFIGS[name]
    values = MODULES[name](torch.from_numpy(made_signals(config)[signal])[None])
    assert values.shape == (1, 1, *config.shape)
    assert values.dtype == torch.float32
    assert values.isfinite().all()
    assert values.mean().abs() < 1e-4
    if signal in ("silence", "very quiet noise", "denormal"):  # below AMIN: defined as silence, which is all zero
        assert not values.any()
    else:
        assert values.std(correction=0) == pytest.approx(1, abs=1e-3)


@each_frontend
def test_a_batch_gives_what_single_clips_give(name):
    waveforms = torch.from_numpy(np.stack(list(made_signals(CONFIGS[name]).values())))
    together = MODULES[name](waveforms)
    alone = torch.cat([MODULES[name](waveform[None]) for waveform in waveforms])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@each_frontend
def test_loudness_does_not_matter_above_silence(name):
    waveform = chirp(CONFIGS[name])
    np.testing.assert_allclose(decibels(name, waveform), decibels(name, waveform * 0.25), atol=2e-3)


@each_frontend
@pytest.mark.parametrize("signal", made_signals(IMITATION))
def test_gradients_are_finite(name, signal):
    waveform = torch.from_numpy(made_signals(CONFIGS[name])[signal])[None].requires_grad_()
    weights = torch.randn(1, 1, *CONFIGS[name].shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((MODULES[name](waveform) * weights).sum(), waveform)
    assert gradient.isfinite().all()
    assert bool(gradient.any()) == (signal not in ("silence", "very quiet noise", "denormal"))


@pytest.mark.parametrize(
    "config",
    [
        LogMelConfig(sample_rate=800, n_fft=16, hop_length=16, n_mels=4, n_frames=6, fmin=0.0, fmax=400.0),
        ConstantQConfig(sample_rate=800, hop_length=16, n_bins=6, bins_per_octave=6, n_frames=6, fmin=60.0),
    ],
    ids=["log-mel", "constant-q"],
)
def test_gradients_are_the_finite_differences(config):
    frontend = make_frontend(config).double()
    if isinstance(config, ConstantQConfig):
        frontend.kernels = frontend.kernels.to(torch.complex128)
    waveform = torch.rand(2, config.n_samples, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    assert torch.autograd.gradcheck(frontend, waveform.requires_grad_(), eps=1e-6, atol=1e-5, fast_mode=True)


def test_power_to_db_is_relative_to_each_clip_with_a_floor():
    power = torch.tensor([[[1.0, 0.1], [1e-3, 0.0]], [[100.0, 10.0], [1e-12, 0.0]]])
    expected = torch.tensor([[[0.0, -10.0], [-30.0, -80.0]], [[0.0, -10.0], [-80.0, -80.0]]])
    torch.testing.assert_close(power_to_db(power, 80.0), expected)
    torch.testing.assert_close(power_to_db(power, 20.0), expected.clamp_min(-20))


def test_standardize_is_per_clip():
    values = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 9, 0])[:, None, None]
    standard = standardize(values - 30 * (values != 0))
    torch.testing.assert_close(standard.mean(dim=(1, 2)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard.std(dim=(1, 2), correction=0), torch.tensor([1.0, 1, 0]), atol=1e-4, rtol=0)


@each_frontend
@pytest.mark.parametrize("shape", [(100,), (1, 100), (1, 1, 100), ()])
def test_wrong_shapes_are_refused(name, shape):
    with pytest.raises(FrontEndError, match=rf"expected \(batch, {CONFIGS[name].n_samples}\)"):
        MODULES[name](torch.zeros(shape))


def test_the_papers_settings():
    assert [config.shape for config in CONFIGS.values()] == [(39, 482), (128, 128), (72, 129)]
    assert [round(config.duration_s, 2) for config in CONFIGS.values()] == [4.01, 2.97, 3.39]
    assert MODULES["constant-q"].band_frequencies()[[0, 12, 71]] == pytest.approx([50, 100, 3_200 / 2 ** (1 / 12)])


@each_frontend
def test_settings_survive_a_round_trip(name):
    values = config_to_dict(CONFIGS[name])
    assert config_from_dict(values) == CONFIGS[name]
    changed = dataclasses.replace(CONFIGS[name], top_db=60.0)
    assert config_from_dict(config_to_dict(changed)) == changed != CONFIGS[name]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "wavelet"}, "unknown kind 'wavelet', expected one of log-mel, constant-q"),
        ({"kind": None}, "unknown kind None"),
        ({"mels": 3, "colour": 1}, "unknown settings colour, mels"),
    ],
)
def test_unknown_kinds_and_settings_are_refused(change, reason):
    with pytest.raises(FrontEndError, match=reason):
        config_from_dict({**config_to_dict(IMITATION), **change})


def test_missing_settings_are_refused():
    values = config_to_dict(IMITATION)
    del values["n_fft"]
    with pytest.raises(FrontEndError, match="n_fft"):
        config_from_dict(values)


@pytest.mark.gpu
@each_frontend
def test_the_gpu_gives_what_the_cpu_gives(name):
    waveforms = torch.from_numpy(np.stack([made_signals(CONFIGS[name])[key] for key in ("chirp", "noise", "silence")]))
    frontend = make_frontend(CONFIGS[name]).to("cuda")
    on_gpu = frontend.decibels(waveforms.to("cuda")).cpu()
    torch.testing.assert_close(on_gpu, MODULES[name].decibels(waveforms), atol=0.05, rtol=0)
