"""A sound file, decoded once in blocks, to windows of sound at the rates that models want.

Worker processes import this: nothing heavy is above.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from iminet_viz.audio import STEP, Block, cancelled, one_line, read_blocks
from iminet_viz.errors import AudioError

SILENCE_DB = 60.0  # below the file's peak
SHORTEST_S = 0.01
LONGEST_S = 60.0  # of a query; of a longer one the beginning is heard
WHOLE_S = 12.0  # a model that stretches clips is given files up to this as a whole too
RATES = (1_000, 1_000_000)  # Hz; beyond, a header is wrong, and resampling would fill the disk
IN_MEMORY = 1 << 24  # samples of a file at one rate that are kept in memory, 64 MB; more go to a temporary file


@dataclasses.dataclass(frozen=True)
class WindowConfig:
    """How files are cut: windows of ``window_s`` every half of it, from where sound begins to where it ends."""

    window_s: float
    rates: tuple[int, ...]  # Hz
    whole: bool = False  # one more window over the whole of a file of more than a window, up to WHOLE_S


class Span(NamedTuple):
    """A window, in samples of the file."""

    start: int
    stop: int


class Sound:
    """A decoded file: what it holds, and its windows.

    ``sha256`` is that of the decoded samples and their rate, so it is the same for a FLAC of a WAV.
    """

    def __init__(
        self, rate: int, length: int, sha256: str, spans: list[Span], window_s: float, samples: dict[int, _Samples]
    ) -> None:
        self.rate, self.length, self.sha256, self.spans = rate, length, sha256, spans
        self._window_s, self._samples = window_s, samples

    @property
    def duration_s(self) -> float:
        """Of the file."""
        return self.length / self.rate

    def seconds(self, span: Span) -> tuple[float, float]:
        """Start and stop of a window in the file."""
        return span.start / self.rate, span.stop / self.rate

    def cut(self, span: Span, rate: int) -> np.ndarray:
        """Samples of a window: ``(samples,)`` float32 at one of the rates that were asked for."""
        samples = self._samples[rate]
        start = round(span.start * rate / self.rate)
        if span.stop - span.start == round(self._window_s * self.rate):
            count = round(self._window_s * rate)  # all windows alike, whatever their start is rounded to
        else:
            count = round(span.stop * rate / self.rate) - start
        count = max(1, min(count, samples.length))
        start = max(0, min(start, samples.length - count))
        return samples.read(start, start + count)

    def close(self) -> None:
        """Give up the samples."""
        for samples in self._samples.values():
            samples.close()


def decode(path: str | os.PathLike[str], config: WindowConfig, listen: Callable[[Block], None] | None = None) -> Sound:
    """Decode a file once, in blocks, and find its windows.

    Both ends are trimmed where 10 ms are ``SILENCE_DB`` below the file's peak; windows in which all are, are left out.
    A file of at most a window is one window. The last window ends with the sound where the grid does not. Samples at
    a rate are those of :func:`~iminet_viz.audio.load_audio`, to the bit.

    Args:
        path: of the file.
        config: how it is cut.
        listen: told every block as it is read.

    Raises:
        AudioError: as for :func:`~iminet_viz.audio.load_audio`; or the file is silent, its channels cancel out, it is
            shorter than ``SHORTEST_S``, its rate is absurd, or there is no room for a long one.
    """
    import soxr

    name = one_line(Path(path))
    samples: dict[int, _Samples] = {}
    streams: dict[int, Any] = {}
    digest = hashlib.sha256()
    levels = _Levels()
    length = rate = channels = 0
    peak = 0.0
    try:
        for block in read_blocks(path):
            if not length:
                rate, channels = block.rate, block.channels
                if not RATES[0] <= rate <= RATES[1]:
                    raise AudioError(f"{name}: has a sample rate of {rate} Hz, expected {RATES[0]} to {RATES[1]}")
                levels.step = max(1, rate // 100)
                samples = {wanted: _Samples() for wanted in config.rates}
                streams = {x: soxr.ResampleStream(rate, x, 1, dtype="float32") for x in config.rates if x != rate}
            if listen is not None:
                listen(block)
            length += len(block.waveform)
            peak = max(peak, block.peak)
            digest.update(block.waveform.tobytes())
            levels.append(block.waveform)
            for wanted, kept in samples.items():
                kept.append(streams[wanted].resample_chunk(block.waveform) if wanted in streams else block.waveform)
        for wanted, stream in streams.items():
            samples[wanted].append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
            if not samples[wanted].length:
                samples[wanted].append(np.zeros(1, np.float32))
        level = levels.finish()
        if reason := cancelled(float(level.max()), channels, peak):
            raise AudioError(f"{name}: {reason}")
        if level.max() < STEP:
            raise AudioError(f"{name}: is silent")
        if length < SHORTEST_S * rate:
            raise AudioError(f"{name}: is too short ({length} samples, {1000 * length / rate:.2g} ms), expected 10 ms")
    except BaseException as error:
        for kept in samples.values():
            kept.close()
        if isinstance(error, OSError):  # those of the file itself are told by what reads it
            raise AudioError(f"{name}: {no_room(tempfile.tempdir, error)}") from None
        raise
    digest.update(f" at {rate}".encode())
    spans = find_spans(level, levels.step, length, rate, config)
    return Sound(rate, length, digest.hexdigest(), spans, config.window_s, samples)


def find_spans(level: np.ndarray, step: int, length: int, rate: int, config: WindowConfig) -> list[Span]:
    """Find the windows of a sound.

    Args:
        level: ``(ceil(length / step),)``, the largest absolute sample of every ``step`` samples; not silent.
        step: see above.
        length: samples of the file.
        rate: of the file in Hz.
        config: window and hop.
    """
    loud = level >= level.max() * 10 ** (-SILENCE_DB / 20)
    first, last = np.flatnonzero(loud)[[0, -1]]
    start, stop = int(first) * step, min((int(last) + 1) * step, length)
    window, hop = round(config.window_s * rate), round(config.window_s * rate / 2)
    if stop - start <= window:
        return [Span(start, stop)]
    starts = list(range(start, stop - window + 1, hop))
    if starts[-1] + window < stop:
        starts.append(stop - window)
    spans = [Span(x, x + window) for x in starts if loud[x // step : math.ceil((x + window) / step)].any()]
    if config.whole and stop - start <= WHOLE_S * rate:
        spans.append(Span(start, stop))
    return spans


def no_room(folder: str | None, error: OSError) -> str:
    """Say that what is made of a file cannot be kept while it is read."""
    return f"cannot be kept in {one_line(Path(folder or 'a temporary folder'))} while it is read ({error.strerror})"


class _Levels:
    """Largest absolute sample of every ``step`` samples."""

    def __init__(self) -> None:
        self.step = 1
        self._levels: list[np.ndarray] = []
        self._rest = np.zeros(0, np.float32)

    def append(self, waveform: np.ndarray) -> None:
        waveform = np.concatenate([self._rest, np.abs(waveform)])
        whole = len(waveform) // self.step * self.step
        self._levels.append(waveform[:whole].reshape(-1, self.step).max(axis=1))
        self._rest = waveform[whole:]

    def finish(self) -> np.ndarray:
        rest: Sequence[np.ndarray] = [self._rest.max(keepdims=True)] if len(self._rest) else []
        return np.concatenate([*self._levels, *rest])


class _Samples:
    """A sound at one rate, in memory while it is short."""

    def __init__(self) -> None:
        self.length = 0
        self._blocks: list[np.ndarray] = []
        self._file: IO[bytes] | None = None

    def append(self, block: np.ndarray) -> None:
        self.length += len(block)
        self._blocks.append(block)
        if self._file is None and self.length > IN_MEMORY:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the sound)
        if self._file is not None:
            for waiting in self._blocks:
                self._file.write(waiting.tobytes())
            self._file.flush()  # a full disk is told now, and not by whoever reads
            self._blocks.clear()

    def read(self, start: int, stop: int) -> np.ndarray:
        if self._file is not None:
            self._file.seek(4 * start)
            return np.frombuffer(bytearray(self._file.read(4 * (stop - start))), np.float32)  # writable, for torch
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks)]
        return self._blocks[0][start:stop]

    def close(self) -> None:
        self._blocks.clear()
        if self._file is not None:
            with contextlib.suppress(OSError):  # of a full disk, that was told before
                self._file.close()
