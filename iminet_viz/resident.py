"""A plain copy of a library beside its table: what a search needs, memory-mapped, so that LanceDB is not even loaded.

A copy is a folder, named by a hash of all manifests of the table: whatever changes the table changes the name, and the
copy is not found any more. It is made beside its place and put there by one rename, every byte of it is under a
checksum, and whoever finds none, or a damaged one, reads the table. It may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from iminet_viz.audio import atomic_path

FOLDER = "resident"
FORMAT = 1
HEAD = "copy.json"
MOST_BYTES = 1 << 32  # of vectors; more take longer to be checked than LanceDB to be loaded, and fill the disk
PIECE = 1 << 22  # bytes under one checksum


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of a library that have windows, sorted by path."""

    paths: list[str]
    labels: list[str]
    licences: list[str]
    texts: list[str]  # what words are looked for in, folded by words_of
    durations_s: np.ndarray  # (files,)
    sha256: list[str]


@dataclasses.dataclass(frozen=True)
class Windows:
    """The windows of a library, sorted by path and number: row ``i`` here is row ``i`` of the vectors."""

    file: np.ndarray  # (windows,) int32, row in files
    number: np.ndarray  # (windows,) int32, in its file
    start_s: np.ndarray  # (windows,) float64
    stop_s: np.ndarray  # (windows,) float64
    files: Files

    def __len__(self) -> int:
        return len(self.file)

    def path(self, row: int) -> str:
        """Absolute path of the file of a window."""
        return self.files.paths[self.file[row]]

    def label(self, row: int) -> str:
        """Folder below the root."""
        return self.files.labels[self.file[row]]

    def licence(self, row: int) -> str:
        """Empty where it is not known."""
        return self.files.licences[self.file[row]]


COLUMNS = ("file", "number", "start_s", "stop_s")  # of Windows


@dataclasses.dataclass(frozen=True)
class Copy:
    """A copy that was found: its head was checked, the rest is when it is read."""

    place: Path
    version: int  # of the table
    settings: str  # as in the table's schema
    checks: dict[str, list[int]]  # name of a file -> CRC-32 of each PIECE of it


def table_key(table: Path) -> str | None:
    """Hash of all manifests of a Lance table; None where there is none, or one went away just now.

    A manifest is never written again, and names the files of its version by random numbers.
    """
    digest = hashlib.sha256()
    try:
        manifests = sorted(path for path in (table / "_versions").iterdir() if path.suffix == ".manifest")
        for path in manifests:
            digest.update(hashlib.sha256(path.name.encode() + b"\0" + path.read_bytes()).digest())
    except OSError:
        return None
    return digest.hexdigest()[:32] if manifests else None


def find_copy(index: Path, key: str) -> Copy | None:
    """Find the copy of the version that :func:`table_key` names."""
    place = index / FOLDER / key
    try:
        check, text = (place / HEAD).read_text(encoding="utf-8").split("\n", 1)
        values = json.loads(text) if check == _head_check(text) else {}
    except (OSError, ValueError):
        return None
    if values.get("format") != FORMAT or values["key"] != key:
        return None
    return Copy(place, values["version"], values["settings"], values["checks"])


def read_copy(copy: Copy) -> tuple[Windows, list[np.ndarray]] | None:
    """Windows, and the vectors of each part, memory-mapped; a damaged copy gives None, and is removed."""
    try:
        for name, checks in copy.checks.items():
            if _checks(copy.place / name) != checks:
                raise ValueError(name)
        arrays = {
            name: np.load(copy.place / name, mmap_mode="r").view(np.ndarray)
            for name in copy.checks
            if name.endswith(".npy")
        }
        files = json.loads((copy.place / "files.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        shutil.rmtree(copy.place, ignore_errors=True)
        return None
    files["durations_s"] = np.array(files["durations_s"], np.float64)
    windows = Windows(**{name: arrays[f"{name}.npy"] for name in COLUMNS}, files=Files(**files))
    vectors = [arrays[_vectors(part)] for part in range(len(arrays) - len(COLUMNS))]
    return windows, vectors


def write_copy(
    index: Path,
    key: str,
    version: int,
    settings: str,
    windows: Windows,
    parts: Sequence[tuple[np.dtype[Any], int, Callable[[np.ndarray], None]]],
    is_latest: Callable[[], bool],
) -> bool:
    """Write a copy, in place of all others; tell whether it is there: not on a full disk or one that is only read.

    Args:
        index: folder of the library.
        key: of the version.
        version: its number.
        settings: as in the table's schema.
        windows: at least one.
        parts: dtype and width of the vectors, and what fills ``(windows, width)``.
        is_latest: asked at the end; a copy of a version that has passed is thrown away.
    """
    made = index / FOLDER / f"making-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        made.mkdir(parents=True)
        for name in COLUMNS:
            np.save(made / f"{name}.npy", getattr(windows, name))
        files = vars(windows.files) | {"durations_s": windows.files.durations_s.tolist()}
        (made / "files.json").write_text(json.dumps(files), encoding="utf-8")
        for part, (dtype, width, fill) in enumerate(parts):
            with _room(made / _vectors(part), (len(windows), width), dtype) as room:
                fill(room)
        checks = {path.name: _checks(path) for path in sorted(made.iterdir())}
        head = {"format": FORMAT, "key": key, "version": version, "settings": settings, "checks": checks}
        text = json.dumps(head)
        (made / HEAD).write_text(f"{_head_check(text)}\n{text}", encoding="utf-8")
        if not is_latest():
            return False
        if find_copy(index, key) is None:
            shutil.rmtree(made.parent / key, ignore_errors=True)  # a damaged one
            made.rename(made.parent / key)
    except OSError:
        return find_copy(index, key) is not None  # another process may have been faster
    finally:
        shutil.rmtree(made, ignore_errors=True)
    clear_copies(index, key)
    return True


def clear_copies(index: Path, key: str | None = None) -> None:
    """Remove all that is kept beside a table, but what is of one version of it."""
    with contextlib.suppress(OSError):
        for entry in (index / FOLDER).iterdir():
            if key is not None and entry.name.startswith(key):
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def read_notes(index: Path, key: str) -> dict[str, Any]:
    """What was found out about a version and is worth keeping; empty where nothing was."""
    try:
        check, text = (index / FOLDER / f"{key}.json").read_text(encoding="utf-8").split("\n", 1)
        return json.loads(text) if check == _head_check(text) else {}
    except (OSError, ValueError):
        return {}


def write_notes(index: Path, key: str, notes: dict[str, Any]) -> None:
    """Keep what :func:`read_notes` shall read; left undone where that cannot be written."""
    text = json.dumps(notes)
    with contextlib.suppress(OSError):
        (index / FOLDER).mkdir(exist_ok=True)
        with atomic_path(index / FOLDER / f"{key}.json") as temporary:
            temporary.write_text(f"{_head_check(text)}\n{text}", encoding="utf-8")


def _vectors(part: int) -> str:
    return f"vector_{part}.npy"


def _head_check(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _checks(path: Path) -> list[int]:
    """CRC-32 of each PIECE of a file, on two cores: it is read while the interpreter does something else."""

    def check(start: int) -> int:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            return zlib.crc32(file.read(PIECE))

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(check, range(0, path.stat().st_size, PIECE)))


@contextlib.contextmanager
def _room(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[np.ndarray]:
    """A new .npy on the disk, to be filled."""
    room = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:  # or a full disk would end the process when a page of it is written
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    yield room
    room.flush()


__all__ = ["Copy", "Files", "Windows", "find_copy", "read_copy", "table_key", "write_copy"]
