"""Untrained comparisons of a voice and a recording: what every network has to beat.

All hear both sides alike, and cut where the level is 17 dB below the loudest, as the aligned net does: a baseline is no
straw man. Of long clips the first 30 s are heard. MRR on people (``iminet-viz evaluate NAME --pairs
DATA/telephone-imitations --dataset telephone-imitations``; 244 queries, 170 candidates, chance .034), with and without
the cut:

=========== ============================================================= ==== =====
mfcc        mean and deviation of 13 coefficients and their steps, cosine .155 .120
log-mel     mean spectrum and energy envelope, cosine                     .232 .112
cqt         constant-Q patches pooled as IMISOUND pools them, cosine      .187 .119
dtw-mfcc    plain dynamic time warping of 13 coefficients less their mean .300 .256
dtw         well-conditioned log-mel frames, warping that costs something .326 .268
=========== ============================================================= ==== =====

The cut was chosen on these recordings, so the first column is optimistic.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from iminet_viz.frames import MEL_FRAMES, level_decibels, mel_decibels, mel_frames, resample_frames, trim_frames
from iminet_viz.frontends import CONSTANT_Q, ConstantQ, power_to_db, trim_silence
from iminet_viz.models.aligned import align_clips, align_scores
from iminet_viz.scan import CosineRows, Rows, StoredForm

HEARD_S = 30.0  # alignment takes the product of two durations
WINDOW_S = 4.0  # of a library's long sounds, where clips of any length are heard
N_MFCC = 13  # the first, which is level, included
ENVELOPE = 64  # points
PATCH = 20  # constant-Q frames, 525 ms, every 10 frames (IMISOUND)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """One untrained comparison: what is kept of a clip, and the scores of what is kept.

    ``clip`` takes ``(samples,)`` at 16 kHz; ``compare`` gives ``(queries, candidates)``, higher is more alike.
    """

    clip: Callable[[np.ndarray], Any]
    compare: Callable[[Sequence[Any], Sequence[Any]], np.ndarray]

    def sample_rate(self, role: str) -> int:
        """16 kHz on both sides."""
        return MEL_FRAMES.sample_rate

    def keep(self, waveform: np.ndarray, role: str) -> Any:
        """What is kept of a clip: ``(samples,)`` at 16 kHz to whatever ``scores`` compares."""
        return self.clip(waveform[: round(HEARD_S * MEL_FRAMES.sample_rate)])

    def scores(self, queries: Sequence[Any], candidates: Sequence[Any]) -> np.ndarray:
        """Scores of all pairs of kept clips, ``(queries, candidates)``."""
        return self.compare(queries, candidates)

    whole = True
    window_s = query_window_s = WINDOW_S

    @property
    def fingerprint(self) -> str:
        """Of what is stored: the name of what is computed."""
        return f"untrained-{self.clip.__name__}"

    @functools.cached_property
    def stored(self) -> StoredForm | None:
        """A vector; None of an alignment, which keeps as many frames as there are."""
        if self.compare is not cosine_scores:
            return None
        return StoredForm("float32", len(self.clip(np.ones(MEL_FRAMES.sample_rate, np.float32))))

    @property
    def prepare(self) -> Callable[[np.ndarray], np.ndarray]:
        """All there is to compute."""
        return self.clip

    def embed(self, prepared: np.ndarray) -> np.ndarray:
        """``(batch, values)``, as it is."""
        return np.asarray(prepared, np.float32)

    def read(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows as they are."""
        return stored, stored[:, :0]

    def query(self, kept: np.ndarray) -> np.ndarray:
        """The vector."""
        return np.asarray(kept, np.float32)

    def rows(self, stored: np.ndarray, device: str = "cpu") -> Rows:
        """By the cosine."""
        return CosineRows(stored, device=device)


def cosine_scores(queries: Sequence[np.ndarray], candidates: Sequence[np.ndarray]) -> np.ndarray:
    """Cosine of all pairs of vectors, ``(values,)`` each; 0 where one is zero."""
    sides = [np.stack(side).astype(np.float64) for side in (queries, candidates)]
    query, candidate = (x / np.linalg.norm(x, axis=1, keepdims=True).clip(min=1e-12) for x in sides)
    return query @ candidate.T


def mfcc(waveform: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstrum of the trimmed clip: ``(samples,)`` at 16 kHz to ``(13, frames)``, every 10 ms."""
    from scipy.fft import dct

    db = trim_frames(mel_decibels(waveform), MEL_FRAMES.trim_db)
    return dct(db, axis=0, norm="ortho")[:N_MFCC]


def mfcc_statistics(waveform: np.ndarray) -> np.ndarray:
    """Mean and deviation of the cepstrum and of its steps: ``(samples,)`` at 16 kHz to ``(52,)``."""
    cepstrum = mfcc(waveform)
    x = np.concatenate([cepstrum, np.diff(cepstrum, axis=1, prepend=cepstrum[:, :1])])
    return np.concatenate([x.mean(axis=1), x.std(axis=1)])


def mfcc_sequence(waveform: np.ndarray) -> np.ndarray:
    """Cepstrum less its mean, averaged to 40 ms: ``(samples,)`` at 16 kHz to ``(frames, 13)``."""
    cepstrum = mfcc(waveform)
    cepstrum = cepstrum - cepstrum.mean(axis=1, keepdims=True)
    starts = np.arange(0, cepstrum.shape[1], MEL_FRAMES.pool)
    counts = np.diff(np.append(starts, cepstrum.shape[1]))
    return (np.add.reduceat(cepstrum, starts, axis=1) / counts).T


def align_sequences(queries: Sequence[np.ndarray], candidates: Sequence[np.ndarray]) -> np.ndarray:
    """Plain dynamic time warping: all steps cost alike, all frames weigh alike, durations are free."""
    unknown = (np.ones(len(side)) for side in (queries, candidates))
    return align_scores(queries, candidates, *unknown, step_cost=1.0, duration_cost=0.0)


def log_mel_shape(waveform: np.ndarray) -> np.ndarray:
    """Mean log-mel spectrum and energy envelope, of equal weight: ``(samples,)`` at 16 kHz to ``(128,)``."""
    db = trim_frames(mel_decibels(waveform), MEL_FRAMES.trim_db)
    parts = (db.mean(axis=1), resample_frames(level_decibels(db)[:, None], ENVELOPE)[0])
    centred = [part - part.mean() for part in parts]
    return np.concatenate([part / max(float(np.linalg.norm(part)), 1e-6) for part in centred])


@functools.cache
def _constant_q() -> ConstantQ:
    return ConstantQ(dataclasses.replace(CONSTANT_Q, n_frames=1 << 30))  # all there are


@torch.no_grad()
def constant_q_statistics(waveform: np.ndarray) -> np.ndarray:
    """IMISOUND without its auto-encoder: ``(samples,)`` at 16 kHz to ``(17280,)``.

    Patches of 20 frames and their steps, over the clip their maximum, minimum, mean, median, deviation and
    interquartile range.
    """
    trimmed = trim_silence(waveform, CONSTANT_Q.sample_rate, MEL_FRAMES.trim_db)
    power = _constant_q().spectrogram(torch.from_numpy(np.ascontiguousarray(trimmed, np.float32))[None])
    db = power_to_db(power, CONSTANT_Q.top_db)[0].numpy()
    db = np.pad(db, ((0, 0), (0, max(0, PATCH - db.shape[1]))), constant_values=db.min())
    starts = range(0, db.shape[1] - PATCH + 1, PATCH // 2)
    patches = np.stack([db[:, start : start + PATCH].ravel() for start in starts])  # (patches, 1440)
    x = np.concatenate([patches, np.diff(patches, axis=0, prepend=patches[:1])], axis=1)
    low, middle, high = np.percentile(x, [25, 50, 75], axis=0)
    return np.concatenate([x.max(0), x.min(0), x.mean(0), middle, x.std(0), high - low]).astype(np.float32)


BASELINES = {
    "mfcc": Baseline(mfcc_statistics, cosine_scores),
    "log-mel": Baseline(log_mel_shape, cosine_scores),
    "cqt": Baseline(constant_q_statistics, cosine_scores),
    "dtw-mfcc": Baseline(mfcc_sequence, align_sequences),
    "dtw": Baseline(mel_frames, align_clips),
}
