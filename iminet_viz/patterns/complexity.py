"""How sharp, fine, banded and complex a pattern is: the numbers behind the paper's words (section VII; evidence E6).

The paper judges by eye. Here each word is a measure of one array. Modulations are in units that do not depend on the
tower: cycles per second along time, cycles per octave along frequency. The mel scale is logarithmic above 1 kHz only,
so an octave is one above 1 kHz; below, bands are wider and the same ripple counts as if it lay higher. Edges are those
of neighbouring cells: compared within one tower only.

Modulations are those of the array as it is drawn (level in dB, standardised): its two-dimensional spectrum, under a
Hann window in both directions, since a pattern does not go on where it ends.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from iminet_viz.errors import PatternError
from iminet_viz.frontends import FrontEndConfig, make_frontend

if TYPE_CHECKING:
    from iminet_viz.patterns.engine import Pattern

# What both towers of TL-IMINET can show: the recording tower has 43 frames a second, the imitation tower 10 bands an
# octave. Only modulations below both are compared where strips and bands are told apart.
FASTEST_HZ = 20.0
FINEST_PER_OCTAVE = 5.0
# A strip stands at least an octave high and passes within a quarter of a second; a band is thinner or lasts longer.
STRIP_PER_OCTAVE = 0.5
STRIP_HZ = 2.0


@dataclasses.dataclass(frozen=True)
class Complexity:
    """Measures of one array. White noise and a constant are the two ends that a measure is read between.

    Attributes:
        edge_energy: mean squared slope between neighbouring cells, 1 for white noise, 0 for a constant. Sharpness,
            but noise is sharp too.
        coherent_edges: the part of it that has one direction in its neighbourhood: all of it for stripes, a fifth
            for white noise. Sharpness that noise does not have.
        direction: share of the edge energy that has one direction: structure, however sharp.
        order: 1 - entropy of the modulations' energy / log of their number: near 0 for white noise, whose energy is
            everywhere, and near 1 for few ripples that fill the picture.
        temporal_centroid_hz: mean temporal modulation, cycles per second, weighted by its energy.
        spectral_centroid_per_octave: mean spectral modulation, cycles per octave.
        temporal_peak_hz: as ``temporal_centroid_hz``, weighted by the square of the energy: where the strongest ripples
            are. Noise, which is the finest of all, is spread over all modulations and counts for little.
        spectral_peak_per_octave: the same along frequency.
        band_concentration: 1 where all power lies in one band, 0 where it is the same in all (1 - entropy / log bands).
        verticality: share of the modulations that stand at least an octave high and pass within a quarter of a second.
        horizontality: share that is thinner than an octave and lasts longer.
        octave_cells: effective number (exp entropy) of cells of an octave of temporal by an octave of spectral
            modulation that share the energy. 1 for one stripe; most where there is as much on every scale; white noise,
            whose energy lies on the finest scales, has fewer.
    """

    edge_energy: float
    coherent_edges: float
    direction: float
    order: float
    temporal_centroid_hz: float
    spectral_centroid_per_octave: float
    temporal_peak_hz: float
    spectral_peak_per_octave: float
    band_concentration: float
    verticality: float
    horizontality: float
    octave_cells: float

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


def pattern_complexity(pattern: Pattern) -> dict[str, Complexity]:
    """Measure each side of a pattern, by role.

    Raises:
        PatternError: as for :func:`measure_complexity`.
    """
    return {
        role: measure_complexity(values, pattern.frontends[role], pattern.db_statistics[role].std_db)
        for role, values in pattern.inputs.items()
    }


def measure_complexity(values: np.ndarray, config: FrontEndConfig, std_db: float) -> Complexity:
    """Measure an array; its mean and scale do not matter, but for ``band_concentration``.

    Args:
        values: ``(bands, frames)`` as a front end gives it.
        config: that front end's.
        std_db: dB to one unit of ``values``.

    Returns:
        The measures; a constant has no modulation: 0 in all of them.

    Raises:
        PatternError: the array holds NaN or infinite values, or is smaller than 4 by 4.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 2 or min(x.shape) < 4:
        raise PatternError(f"a pattern of shape {x.shape}, expected bands by frames, at least 4 by 4")
    if not np.isfinite(x).all():
        raise PatternError("the pattern holds NaN or infinite values")
    deviation = x.std()
    if deviation <= 1e-9 * max(float(np.abs(x).max()), 1e-30):
        return Complexity(*(0.0 for _ in dataclasses.fields(Complexity)))
    edges, coherent = _edges(x / deviation)
    power, spectral, temporal = modulation_spectrum(x, config)
    share = power / max(power.sum(), 1e-300)
    strongest = share**2 / max(float((share**2).sum()), 1e-300)
    common = share * (spectral <= FINEST_PER_OCTAVE)[:, None] * (temporal <= FASTEST_HZ)
    common = common / max(common.sum(), 1e-300)
    tall, quick = (spectral < STRIP_PER_OCTAVE)[:, None], temporal >= STRIP_HZ
    level = 10 ** (np.minimum(std_db * (x - x.max()), 0) / 10).mean(axis=1)  # power of each band
    return Complexity(
        edge_energy=edges,
        coherent_edges=coherent,
        direction=coherent / edges,
        order=1 - _entropy(share) / float(np.log(share.size)),
        temporal_centroid_hz=float((share.sum(axis=0) * temporal).sum()),
        spectral_centroid_per_octave=float((share.sum(axis=1) * spectral).sum()),
        temporal_peak_hz=float((strongest.sum(axis=0) * temporal).sum()),
        spectral_peak_per_octave=float((strongest.sum(axis=1) * spectral).sum()),
        band_concentration=max(0.0, 1 - _entropy(level / level.sum()) / float(np.log(len(level)))),
        verticality=float((common * (tall & quick)).sum()),
        horizontality=float((common * (~tall & ~quick)).sum()),
        octave_cells=float(np.exp(_entropy(octave_shares(power)))),
    )


def modulation_spectrum(values: np.ndarray, config: FrontEndConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energy of each modulation, up and down glides together.

    Args:
        values: ``(bands, frames)``.
        config: of the front end, for the units.

    Returns:
        Energy ``(bands // 2 + 1, frames // 2 + 1)``, spectral modulation of its rows in cycles per octave, temporal
        modulation of its columns in cycles per second.
    """
    x = np.asarray(values, np.float64)
    bands, frames = x.shape
    window = _hann(bands)[:, None] * _hann(frames)
    x = x - (window * x).sum() / window.sum()  # so that what is constant leaves nothing under the window
    energy = np.abs(np.fft.fft2(window * x)) ** 2
    for axis in (0, 1):  # fold negative modulations onto positive ones
        energy = np.moveaxis(energy, axis, 0)
        half = len(energy) // 2 + 1
        folded = energy[:half].copy()
        mirrored = energy[half:][::-1]
        folded[1 : 1 + len(mirrored)] += mirrored
        energy = np.moveaxis(folded, 0, axis)
    spectral = np.arange(energy.shape[0]) / bands * bands_per_octave(config)
    temporal = np.arange(energy.shape[1]) / (frames * config.duration_s / config.shape[1])
    return energy, spectral, temporal


def octave_shares(energy: np.ndarray) -> np.ndarray:
    """Share of the energy in each octave of spectral by each octave of temporal modulation; below two cycles is one.

    Shape:
        of :func:`modulation_spectrum`, to ``(octaves, octaves)``, sum 1.
    """
    rows, columns = (np.log2(np.maximum(np.arange(size), 1)).astype(int) for size in energy.shape)
    cells = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(cells, (rows[:, None], columns[None]), energy)
    return cells / max(cells.sum(), 1e-300)


@functools.lru_cache(maxsize=8)
def bands_per_octave(config: FrontEndConfig) -> float:
    """Bands in an octave at the upper end, where every scale of ours is logarithmic."""
    centres = make_frontend(config).band_frequencies()
    return float(1 / np.log2(centres[-1] / centres[-2]))


def _edges(x: np.ndarray) -> tuple[float, float]:
    """Energy of all edges and of those with a common direction, of an array of deviation 1."""
    from scipy.ndimage import gaussian_filter

    # slopes at the corner of four cells; of white noise each has the variance 1
    along = (x[:-1, 1:] - x[:-1, :-1] + x[1:, 1:] - x[1:, :-1]) / 2
    across = (x[1:, :-1] - x[:-1, :-1] + x[1:, 1:] - x[:-1, 1:]) / 2
    tensor = [gaussian_filter(part, 2.0) for part in (along**2, across**2, along * across)]
    coherent = np.sqrt((tensor[0] - tensor[1]) ** 2 + 4 * tensor[2] ** 2)
    return float((along**2 + across**2).mean() / 2), float(coherent.mean() / 2)


def _entropy(shares: np.ndarray) -> float:
    found = shares[shares > 0]
    return -float(np.sum(found * np.log(found)))


def _hann(size: int) -> np.ndarray:
    """Periodic Hann window that is nowhere 0: all but three bins of its transform are."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)
