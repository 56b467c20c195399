"""Sound files to mono float32 waveforms at a wanted rate, and back.

libsndfile decodes WAV, FLAC, OGG, MP3 and AIFF; soxr resamples. What neither reports, we check: libsndfile
silently returns what is left of a truncated WAV, AIFF or OGG file, and of an OGG file with a hole.
"""

from __future__ import annotations

import io
import math
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from iminet_viz.errors import AudioError

# What we can tell to be whole. libsndfile reads more (AU, CAF, W64 ...), also where the end is missing.
_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF"})
SUFFIXES = frozenset({".wav", ".wave", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".aifc"})
# sounds that a folder's owner may miss: not decoded, or not looked for
_OTHER_SUFFIXES = frozenset(
    {
        *(".3gp", ".aac", ".ac3", ".aiffc", ".amr", ".ape", ".au", ".caf", ".m4a", ".m4b", ".mka", ".mp2", ".mp4"),
        *(".mpc", ".opus", ".ra", ".snd", ".sph", ".spx", ".tta", ".voc", ".w64", ".webm", ".wma", ".wv"),
    }
)
STEP = 1 / 32_768  # of 16 bits; what never reaches one is silent
LOUDEST = 1e12  # whole numbers of 32 bits kept as floats are below; from 1e17 on the power of a frame leaves float32
_TINY = 1e-30  # keeps quotients finite


def load_audio(path: str | os.PathLike[str], sample_rate: int) -> np.ndarray:
    """Read a sound file as one channel at the wanted rate.

    Args:
        path: WAV, FLAC, OGG, MP3 or AIFF, any rate, width and number of channels (channels are averaged).
        sample_rate: wanted rate in Hz.

    Returns:
        ``(samples,)`` float32; full scale is 1.0. Silence is legal.

    Raises:
        AudioError: the file is missing, empty, truncated, not audio, of zero length, or holds NaN, infinity
            or samples beyond ``LOUDEST``.
    """
    import soxr

    waveform, native_rate = read_native(path)
    if native_rate != sample_rate:
        waveform = soxr.resample(waveform, native_rate, sample_rate)
        if not len(waveform):  # fewer than one sample at the wanted rate
            waveform = np.zeros(1, np.float32)
    return np.ascontiguousarray(waveform, np.float32)


def read_native(path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """Read a sound file as one channel at its own rate: ``(samples,)`` float32 and the rate in Hz.

    Raises:
        AudioError: as for :func:`load_audio`.
    """
    blocks = list(read_blocks(path))
    return np.concatenate([block.waveform for block in blocks]), blocks[0].rate


class Block(NamedTuple):
    """Some samples of a sound file."""

    waveform: np.ndarray  # (samples,) float32, the mean of the channels
    rate: int  # Hz
    channels: int
    peak: float  # of the channels, which may cancel out in their mean


def read_blocks(path: str | os.PathLike[str], seconds: float = float("inf")) -> Iterator[Block]:
    """Read a sound file as :func:`read_native` does, a block after the other: an hour need not be in memory.

    Args:
        path: as for :func:`load_audio`.
        seconds: of a block, at most; the last one is what is left. A block never has more than 2**18 samples.

    Raises:
        AudioError: as for :func:`load_audio`; after blocks, where a file is broken further on.
    """
    import soundfile

    path = Path(path)
    try:
        if not path.exists():
            raise AudioError(f"{one_line(path)}: no such file")
        if path.is_dir():
            raise AudioError(f"{one_line(path)}: is a folder, expected a sound file")
        if path.stat().st_size == 0:
            raise AudioError(f"{one_line(path)}: the file is empty (0 bytes)")
        if damage := _damage(path):
            raise AudioError(f"{one_line(path)}: {damage}")
        if path.suffix.lower() == ".raw":  # soundfile would ask for the rate, whatever the file holds
            raise AudioError(
                f"{one_line(path)}: has no header that tells rate and width, expected WAV, FLAC, OGG, MP3 or AIFF"
            )
        with soundfile.SoundFile(libsndfile_name(path)) as file:
            if file.format not in _FORMATS:
                raise AudioError(f"{one_line(path)}: holds {file.format}, expected WAV, FLAC, OGG, MP3 or AIFF")
            declared = file.frames
            size = int(max(1, min(seconds * file.samplerate, 2**18)))
            decoded = 0
            while len(channels := file.read(size, dtype="float32", always_2d=True)):  # (samples, channels)
                decoded += len(channels)
                with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
                    waveform = np.asarray(sum(channels.T) / file.channels, np.float32)  # 20 times as fast as mean
                if not np.isfinite(waveform).all():
                    raise AudioError(f"{one_line(path)}: holds NaN or infinite samples")
                peak = float(max(channels.max(), -channels.min()))
                if peak > LOUDEST:
                    raise AudioError(f"{one_line(path)}: holds samples of {peak:.1e}, expected at most {LOUDEST:.0e}")
                yield Block(waveform, file.samplerate, file.channels, peak)
    except soundfile.LibsndfileError as error:
        reason = str(error.error_string).strip().rstrip(".")
        if reason.startswith("File does not exist"):  # what libsndfile says of text named .mp3
            reason = "Format not recognised"
        raise AudioError(f"{one_line(path)}: cannot be decoded as audio ({reason})") from None
    except OSError as error:
        raise AudioError(f"{one_line(path)}: cannot be read ({error.strerror})") from None
    if decoded == 0:
        raise AudioError(f"{one_line(path)}: holds no samples (zero length)")
    if 0 < declared < 2**62 and decoded < declared:
        raise AudioError(f"{one_line(path)}: truncated ({decoded} of {declared} samples could be decoded)")


def cancelled(waveform_peak: float, channels: int, channels_peak: float) -> str:
    """Say that channels leave nothing of each other; empty if they do leave something, or are silent themselves."""
    if waveform_peak < STEP <= channels_peak:
        return f"its {channels} channels cancel out: their mean, which is what is read, is silent"
    return ""


def libsndfile_name(path: Path) -> bytes | Path:
    """Name a file to libsndfile: as bytes, because a name need not be UTF-8; Windows wants the name as text."""
    return os.fsencode(path) if os.name == "posix" else path


def one_line(path: Path) -> str:
    """Write a path on one line, whatever characters it holds (an error is one line)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


def why_no_sound(path: Path) -> str:
    """Say why what lies in a folder and may have been meant as a sound is none; empty of all else. Opens no file."""
    suffix = path.suffix.lower()
    if path.is_dir():
        return "is an empty folder, expected a sound file" if suffix in SUFFIXES and not any(path.glob("*")) else ""
    if not path.exists():
        return "is a link to what is not there"
    if not path.is_file():
        return "is a pipe, socket or device, expected a file"
    if suffix in _OTHER_SUFFIXES:
        return f"files named {suffix} are not read, expected {', '.join(sorted(SUFFIXES))}"
    return ""


def _damage(path: Path) -> str:
    """Say what a container promises and the file does not hold; empty if nothing is missing."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        magic = file.read(12)
        if magic[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM"):
            order = "<" if magic[:4] in (b"RIFF", b"RF64") else ">"
            wanted = b"SSND" if magic[:4] == b"FORM" else b"data"
            length64 = 0
            while len(header := file.read(8)) == 8:
                name, length = struct.unpack(f"{order}4sI", header)
                start = file.tell()
                if name == b"ds64":  # where RF64 keeps the lengths beyond 4 GB
                    length64 = int.from_bytes(file.read(16)[8:], "little")
                if name == wanted:
                    promised = length64 if length == 0xFFFFFFFF else length
                    if promised > size - start and not _is_unknown(promised):
                        return f"truncated (its header promises {promised} bytes of sound, {size - start} are there)"
                    return ""
                file.seek(start + length + length % 2)
        elif magic[:4] == b"OggS":
            file.seek(0)
            return _ogg_damage(file)
    return ""


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _ogg_damage(file: IO[bytes]) -> str:
    """Say which page of an Ogg file is damaged or lost: libsndfile leaves it out without a word.

    A page is a header of 27 bytes with its stream's number, its own number and a checksum, the table of its segments'
    lengths, and the segments (RFC 3533, section 6). The checksum is that of zlib with the bits of each byte and of the
    result in the other order, and without the inversions at both ends, so that zlib can do the work.
    """
    following: dict[bytes, int] = {}  # stream -> number of its next page
    last = False
    while len(header := file.read(27)) == 27 and header.startswith(b"OggS"):
        place = file.tell() - 27
        lengths = file.read(header[26])
        body = file.read(sum(lengths))
        if len(lengths) < header[26] or len(body) < sum(lengths):
            return "truncated (the Ogg stream has no last page)"
        page = b"".join((header[:22], bytes(4), header[26:], lengths, body)).translate(_MIRRORED)
        if zlib.crc32(page, 0xFFFFFFFF) ^ 0xFFFFFFFF != int.from_bytes(header[22:26].translate(_MIRRORED), "big"):
            return f"damaged (the Ogg page at byte {place} has not its checksum)"
        stream, number = header[14:18], int.from_bytes(header[18:22], "little")
        if number != following.get(stream, number):
            return f"damaged (an Ogg page before byte {place} is lost)"
        following[stream] = number + 1
        last = bool(header[5] & 4)  # of its stream
    if last:
        return ""  # what follows is no sound: a tag, or what fills a block of a disk
    if len(header) == 27:
        return f"damaged (there is no Ogg page at byte {file.tell() - 27})"
    return "truncated (the Ogg stream has no last page)"


def _is_unknown(length: int) -> bool:
    """Tell whether a length is what programs write that cannot know it: FFmpeg, arecord and SoX into a pipe."""
    return length >= 0xFFFFFFF0 or length in (0x7FFFFFFF, 0x80000000) or 0x7FFFEF00 < length <= 0x7FFFF000


def quantize(waveform: np.ndarray) -> np.ndarray:
    """What a FLAC of :func:`save_audio` keeps, 16 bits: ``(samples,)`` in [-1, 1] to the same, float32."""
    steps = np.rint(np.asarray(waveform, np.float64) * 32_768)
    return (np.minimum(steps, 32_767) / 32_768).astype(np.float32)


def save_audio(path: str | os.PathLike[str], waveform: np.ndarray, sample_rate: int, comment: str = "") -> None:
    """Write ``(samples,)`` float in [-1, 1] as 16-bit WAV or FLAC, by the suffix; the file appears whole or not at all.

    Args:
        path: of the file; folders are made.
        waveform: ``(samples,)``.
        sample_rate: in Hz.
        comment: kept in the file.

    Raises:
        AudioError: samples are not finite or beyond full scale, or the file cannot be written.
    """
    import soundfile

    path = Path(path)
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or not len(waveform):
        raise AudioError(f"{one_line(path)}: a waveform of shape {waveform.shape} was given, expected (samples,)")
    if not np.isfinite(waveform).all():
        raise AudioError(f"{one_line(path)}: not written, the waveform holds NaN or infinite samples")
    if np.abs(waveform).max() > 1:
        raise AudioError(f"{one_line(path)}: not written, the waveform clips (peak {np.abs(waveform).max():.3f} of 1)")
    formats = {".wav": "WAV", ".flac": "FLAC"}
    if path.suffix.lower() not in formats:
        raise AudioError(f"{one_line(path)}: unknown suffix {path.suffix!r}, expected one of {', '.join(formats)}")
    encoded = io.BytesIO()  # in memory, because libsndfile does not say that a disk is full ("System error")
    container = formats[path.suffix.lower()]
    try:
        with soundfile.SoundFile(encoded, "w", sample_rate, 1, "PCM_16", format=container) as file:
            if comment:
                file.comment = comment
            file.write(waveform)
        with atomic_path(path) as temporary:
            temporary.write_bytes(encoded.getvalue())
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{one_line(path)}: cannot be written ({error.error_string})") from None
    except OSError as error:
        raise AudioError(f"{one_line(path)}: cannot be written ({error.strerror})") from None


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and rename it there once the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=path.suffix)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes files that only the owner reads
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def find_audio(folder: str | os.PathLike[str]) -> list[Path]:
    """List all sound files below a folder, sorted, hidden ones and hidden folders left out.

    Raises:
        AudioError: the folder is missing or holds no sound file.
    """
    root = Path(folder)
    if not root.is_dir():
        raise AudioError(f"{one_line(root)}: no such folder")
    files = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not files:
        raise AudioError(f"{one_line(root)}: holds no sound file ({', '.join(sorted(SUFFIXES))})")
    return files


def fit_length(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Pad with zeros at the end, or cut at the end, to ``(samples,)`` (paper, section IV-A)."""
    if len(waveform) >= samples:
        return waveform[:samples]
    return np.pad(waveform, (0, samples - len(waveform)))


def split_windows(waveform: np.ndarray, samples: int, hop: int) -> np.ndarray:
    """Cut a waveform into overlapping windows.

    The last window ends with the waveform when the grid does not; a waveform shorter than a window is padded.

    Returns:
        ``(windows, samples)`` float32.
    """
    if samples < 1 or hop < 1:
        raise AudioError(f"windows of {samples} samples every {hop} were asked for, both must be at least 1")
    if len(waveform) <= samples:
        return fit_length(waveform, samples)[None]
    starts = list(range(0, len(waveform) - samples + 1, hop))
    if starts[-1] + samples < len(waveform):
        starts.append(len(waveform) - samples)
    return np.stack([waveform[start : start + samples] for start in starts])


def crest_db(waveform: np.ndarray) -> float:
    """Peak over root mean square, in dB: 3 for a sine, about 12 to 18 for speech, 30 and more for clicks.

    Silence has none: NaN would travel, so it gives 0.
    """
    rms = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
    peak = float(np.abs(waveform).max())
    return 20 * float(np.log10(peak / rms)) if rms > 0 else 0.0


def frame_rate_buzz_db(waveform: np.ndarray, sample_rate: int, frame_rate: float, harmonics: int = 4) -> float:
    """How far the modulation at the frame rate stands out of its surroundings, in dB; about 0 without buzz.

    The envelope (magnitude of the analytic signal) less its mean is Hann windowed; its power spectrum is averaged
    within 2 Hz of the frame rate and of its next ``harmonics - 1`` multiples, and from 4 to 16 Hz either side of
    them. The result is the ratio of the two sums. Modulation more than 80 dB below the mean envelope counts as
    none, so a steady tone has 0.

    Args:
        waveform: ``(samples,)``.
        sample_rate: in Hz.
        frame_rate: in Hz: ``sample_rate / hop_length`` of the front end (120.3 imitation, 43.1 recording).
        harmonics: how many multiples, the first included.
    """
    samples = len(waveform)
    spectrum = np.fft.fft(np.asarray(waveform, np.float64))
    spectrum[1 : (samples + 1) // 2] *= 2
    spectrum[samples // 2 + 1 :] = 0
    envelope = np.abs(np.fft.ifft(spectrum))
    mean = envelope.mean()
    if mean <= _TINY:
        return 0.0
    taper = np.hanning(samples)
    padded = max(samples, 2 * sample_rate)  # at least four points in each band of 2 Hz
    power = np.abs(np.fft.rfft((envelope / mean - 1) * taper, padded)) ** 2
    frequency = np.arange(len(power)) * (sample_rate / padded)
    line = around = 1e-8 * taper.sum() ** 2 / 4  # the line of a modulation of depth 1e-4
    for harmonic in range(1, harmonics + 1):
        distance = np.abs(frequency - harmonic * frame_rate)
        line += power[distance <= 2].mean()
        around += power[(distance >= 4) & (distance <= 16)].mean()
    return float(10 * np.log10(line / around))


def spectral_flatness(waveform: np.ndarray, sample_rate: int, fmax: float) -> float:
    """Geometric over arithmetic mean of the power spectrum up to ``fmax`` Hz: 0 for a tone, 0.56 for white noise.

    Median over windows of about 23 ms (Hann, half overlapping) within 60 dB of the loudest; silence has 0.
    """
    size = 2 ** round(math.log2(0.0232 * sample_rate))
    if len(waveform) < size:
        waveform = np.pad(waveform, (0, size - len(waveform)))
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(waveform, np.float64), size)[:: size // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2  # (frames, freqs)
    power = power[:, 1 : 1 + math.floor(fmax * size / sample_rate)]
    level = power.mean(axis=1)
    if level.max() <= _TINY:
        return 0.0
    loud = power[level > 1e-6 * level.max()]
    return float(np.median(np.exp(np.log(np.maximum(loud, _TINY)).mean(axis=1)) / loud.mean(axis=1)))
