"""Stripes, blobs and noise of known modulation get the numbers that they must, in every front end's units."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from iminet_viz.errors import PatternError
from iminet_viz.frames import MEL_FRAMES
from iminet_viz.frontends import CONSTANT_Q, IMITATION, RECORDING
from iminet_viz.patterns.complexity import (
    bands_per_octave,
    measure_complexity,
    modulation_spectrum,
    octave_shares,
)

CONFIGS = {"imitation": IMITATION, "recording": RECORDING, "constant-q": CONSTANT_Q, "mel-frames": MEL_FRAMES}
STD_DB = 16.0
every = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def stripes(config, along_time: float = 0, along_bands: float = 0, phase: float = 0.3) -> np.ndarray:
    """A sinusoid with so many cycles in the whole picture."""
    bands, frames = config.shape
    time, band = np.arange(frames) / frames, np.arange(bands)[:, None] / bands
    return np.cos(2 * np.pi * (along_time * time + along_bands * band) + phase)


def noise(config, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(config.shape)


def on_every_scale(config) -> np.ndarray:
    """Noise with equal energy in each octave of each direction."""
    spectrum = np.fft.fft2(noise(config))
    rows, columns = (np.abs(np.fft.fftfreq(size) * size).clip(1) for size in config.shape)
    return np.fft.ifft2(spectrum / np.sqrt(rows[:, None] * columns)).real


@every
@pytest.mark.parametrize("cycles", [2, 7, 12])
def test_a_stripe_has_the_modulation_it_was_made_with(config, cycles):
    along_time = measure_complexity(stripes(config, along_time=cycles), config, STD_DB)
    assert along_time.temporal_centroid_hz == pytest.approx(cycles / config.duration_s, rel=1e-6)
    along_bands = measure_complexity(stripes(config, along_bands=cycles), config, STD_DB)
    expected = cycles / config.shape[0] * bands_per_octave(config)
    assert along_bands.spectral_centroid_per_octave == pytest.approx(expected, rel=1e-6)
    # along the other axis there is nothing but what the window spreads: a third of a cycle in the whole picture
    assert along_bands.temporal_centroid_hz == pytest.approx(1 / 3 / config.duration_s, rel=1e-6)


@every
def test_up_and_down_glides_are_alike_and_no_energy_is_lost(config):
    up, down = stripes(config, 6, 5), stripes(config, 6, -5)
    first, second = measure_complexity(up, config, STD_DB), measure_complexity(down, config, STD_DB)
    assert first.temporal_centroid_hz == pytest.approx(second.temporal_centroid_hz, rel=1e-6)
    assert first.spectral_centroid_per_octave == pytest.approx(second.spectral_centroid_per_octave, rel=1e-6)
    values = noise(config)
    energy, spectral, temporal = modulation_spectrum(values, config)
    assert energy.shape == (len(spectral), len(temporal)) == tuple(size // 2 + 1 for size in config.shape)
    window = np.outer(*(0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n) for n in config.shape))
    centred = values - (window * values).sum() / window.sum()
    assert energy.sum() == pytest.approx(values.size * np.square(window * centred).sum(), rel=1e-9)  # Parseval


def test_an_octave_of_a_constant_q_has_its_bins_and_mel_scales_are_logarithmic_at_the_top():
    assert bands_per_octave(CONSTANT_Q) == pytest.approx(12)
    for config in (IMITATION, RECORDING):
        # Slaney's mel scale: 27 steps for a factor of 6.4 above 1 kHz, which is step 15
        top = 15 + 27 * np.log(config.fmax / 1_000) / np.log(6.4)
        expected = 27 * np.log(2) / np.log(6.4) * (config.n_mels + 1) / top
        assert bands_per_octave(config) == pytest.approx(expected, rel=1e-3)


@every
def test_sharper_is_more_edge_and_noise_has_no_direction(config):
    measured = [
        measure_complexity(gaussian_filter(stripes(config, 0, 8) > 0.5, width, output=float), config, STD_DB)
        for width in (0.2, 1.0, 2.0)
    ]
    for sharp, soft in itertools.pairwise(measured):
        assert sharp.edge_energy > 1.1 * soft.edge_energy
        assert sharp.coherent_edges > 1.1 * soft.coherent_edges
    for one in measured:
        assert one.coherent_edges == pytest.approx(one.edge_energy, rel=1e-6)  # all in one direction
    of_noise = measure_complexity(noise(config), config, STD_DB)
    assert of_noise.edge_energy == pytest.approx(1, abs=0.05)
    assert 0.1 < of_noise.coherent_edges < 0.3


@every
def test_structure_on_every_scale_is_more_complex_than_noise_and_noise_more_than_a_stripe(config):
    cells = [
        measure_complexity(values, config, STD_DB).octave_cells
        for values in (stripes(config, 6), stripes(config, 8, 8), noise(config), on_every_scale(config))
    ]
    assert cells[0] == pytest.approx(1)  # 5 to 7 cycles are one octave
    assert 2 < cells[1] < 3  # the window spreads 8 cycles to 7, of the octave below, in both directions
    assert 10 < cells[2] < 0.85 * cells[3]


@every
def test_blobs_rank_by_their_size_in_both_directions(config):
    def blobs(cycles: int) -> np.ndarray:
        return stripes(config, along_time=cycles) * stripes(config, along_bands=cycles)

    coarse, fine = (measure_complexity(blobs(cycles), config, STD_DB) for cycles in (3, 9))
    for one, cycles in ((coarse, 3), (fine, 9)):
        assert one.temporal_centroid_hz == pytest.approx(cycles / config.duration_s, rel=0.03)
        expected = cycles / config.shape[0] * bands_per_octave(config)
        assert one.spectral_centroid_per_octave == pytest.approx(expected, rel=0.03)
        assert one.octave_cells < measure_complexity(noise(config), config, STD_DB).octave_cells / 2
    assert fine.edge_energy > 2 * coarse.edge_energy


@every
def test_noise_hardly_moves_the_modulation_of_the_strongest_ripples(config):
    pure = measure_complexity(stripes(config, 7, 5), config, STD_DB)
    noisy = measure_complexity(stripes(config, 7, 5) + noise(config), config, STD_DB)
    for name in ("spectral_centroid_per_octave", "temporal_centroid_hz"):
        peak = name.replace("centroid", "peak")
        assert getattr(pure, peak) == pytest.approx(getattr(pure, name), rel=1e-6)
        assert getattr(noisy, peak) == pytest.approx(getattr(pure, peak), rel=0.1)
        assert getattr(noisy, name) > 1.3 * getattr(pure, name)


def test_strips_and_bands_are_told_apart():
    config = RECORDING
    cycles = round(8 * config.duration_s)  # 8 Hz
    vertical = measure_complexity(stripes(config, cycles), config, STD_DB)
    assert vertical.verticality > 0.999 and vertical.horizontality < 1e-6
    horizontal = measure_complexity(stripes(config, 0, 20), config, STD_DB)
    assert horizontal.horizontality > 0.999 and horizontal.verticality < 1e-6
    slow = measure_complexity(stripes(config, 2), config, STD_DB)  # 0.7 Hz: neither
    assert slow.verticality < 1e-6 and slow.horizontality < 1e-6
    assert 0.03 < measure_complexity(noise(config), config, STD_DB).verticality < 0.12
    mixed = stripes(config, cycles) + 0.5 * noise(config)
    assert 0.3 < measure_complexity(mixed, config, STD_DB).verticality < 0.999


def test_both_towers_call_the_same_sound_as_vertical():
    """The same strips at 8 Hz in the noise that a tower adds: what only one of the towers can show does not count."""
    shares = []
    for config in (IMITATION, RECORDING):
        frames = np.arange(config.shape[1]) * config.duration_s / config.shape[1]
        picture = np.tile(np.cos(2 * np.pi * 8 * frames), (config.shape[0], 1))
        shares.append(measure_complexity(picture, config, STD_DB).verticality)
    assert shares == pytest.approx([1, 1], abs=1e-3)


@every
def test_power_in_one_band_is_concentrated_and_equal_power_is_not(config):
    flat = measure_complexity(stripes(config, 9), config, STD_DB)
    assert flat.band_concentration < 1e-9
    single = np.full(config.shape, -5.0)
    single[config.shape[0] // 2] = 0
    single[:, 0] += 1e-3
    assert measure_complexity(single, config, STD_DB).band_concentration > 0.99
    half = np.where(np.arange(config.shape[0])[:, None] < config.shape[0] // 2, 0.0, -5.0) + np.zeros(config.shape)
    found = measure_complexity(half, config, STD_DB).band_concentration
    assert found == pytest.approx(1 - np.log(config.shape[0] // 2) / np.log(config.shape[0]), abs=1e-3)


@every
def test_level_and_contrast_do_not_matter(config):
    values = noise(config) + 2 * stripes(config, 5, 3)
    plain = measure_complexity(values, config, STD_DB).as_dict()
    changed = measure_complexity(3 * values + 40, config, STD_DB / 3).as_dict()
    assert changed == pytest.approx(plain, rel=1e-6)


def test_a_constant_has_nothing_and_what_is_not_finite_is_refused():
    constant = measure_complexity(np.full(IMITATION.shape, 2.5, np.float32), IMITATION, STD_DB)
    assert dataclasses.asdict(constant) == dict.fromkeys(dataclasses.asdict(constant), 0.0)
    for bad in (np.nan, np.inf):
        values = noise(IMITATION)
        values[3, 4] = bad
        with pytest.raises(PatternError, match="NaN or infinite"):
            measure_complexity(values, IMITATION, STD_DB)
    with pytest.raises(PatternError, match="at least 4 by 4"):
        measure_complexity(np.zeros((3, 9)), IMITATION, STD_DB)


def test_octaves_share_all_the_energy():
    shares = octave_shares(np.ones((20, 242)))
    assert shares.shape == (5, 8) and shares.sum() == pytest.approx(1)
    assert shares[0, 0] == pytest.approx(4 / (20 * 242))  # 0 and 1 cycle of each
    assert shares[-1, -1] == pytest.approx(4 * 114 / (20 * 242))  # 16 to 19 by 128 to 241
