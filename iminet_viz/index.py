"""The sound library: folders to windows of sound to stored vectors, incremental, in one LanceDB table.

A row is a window of a file; a file that cannot be indexed is a row too, with the reason. Every commit replaces all rows
of the files that it holds in one version of the table, so a reader has the old file or the new one, never half of it,
and whatever is killed goes on from the last commit. What it was made with travels in the table's schema. A search reads
the copy beside the table (:mod:`iminet_viz.resident`), which whoever changed the table makes last.

Paths are kept as bytes, because a name need not be text; filters never hold one, but ``id``, a hash of it in hex.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import stat
import threading
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from iminet_viz import resident
from iminet_viz.audio import SUFFIXES, one_line, why_no_sound
from iminet_viz.errors import AudioError, IminetVizError, LibraryError, first_line
from iminet_viz.resident import (
    Copy,
    Files,
    Windows,
    find_copy,
    read_copy,
    read_notes,
    table_key,
    write_copy,
    write_notes,
)
from iminet_viz.windows import Sound, WindowConfig, decode, no_room

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    import pyarrow as pa

    from iminet_viz.scoring import Part, Scorer

FORMAT = 1
TABLE = "windows"
SETTINGS = b"iminet-viz"  # key in the schema's metadata
LOCK = "adding.lock"
SPOOL = "prepared"  # folder for what workers hand over of long files
SPOOLED = 1 << 21  # bytes of a file's prepared windows that go through a pipe at most
# Windows in a network at a time. Of more, the feature maps do not stay in the heap: the system gives and takes pages
# for every batch, half of the time of the default model's network (64: 2.3 ms of a core a window, 16: 1.1).
BATCH = 16
DEPTH = 128  # files with workers: they go on while a batch is in the network
COMMIT_ROWS, COMMIT_FILES, COMMIT_S = 4_096, 512, 5.0  # a commit holds no more, and is not later
COMPACT_COMMITS = 64  # every commit is a file; many small ones make reading slow
GRACE = timedelta(minutes=10)  # older versions are deleted; a reader that still uses a younger one can go on
READ_ROWS = 2_048  # at a time: 8,192 of the default model leave the cache, and take half as long again
IDS = 512  # in one filter
LICENCE_FILES = ("licence.txt", "license.txt", "licence", "license", "licence.md", "license.md")
RECHECKED = 3  # windows of a file that a deep check embeds again
NEAR = 0.02, 1e-4  # of the largest value, and of any: int8 rounds to .008, devices differ by less
TRIES = 8  # to find the table at rest, to start workers
FAILED = -1  # window number of a file that cannot be indexed
OK = "ok"
NO_WORKERS = "worker processes cannot be started; --workers 0 (workers=0) does without"


# --- what is found in folders ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Found:
    """A file of a folder, as it lies on the disk."""

    path: str  # absolute; bytes that are no UTF-8 are surrogates, as the os module has them
    root: str  # the folder it was added under
    size: int
    mtime_ns: int
    reason: str = ""  # why it is none of the sounds that can be read, known from its name
    licence: str | None = None  # that was given for it, or that another index has of it

    @functools.cached_property
    def id(self) -> str:
        """Key of the file: 32 hexadecimal digits."""
        return file_id(self.path)

    @property
    def label(self) -> str:
        """Folder that holds it, below the root; of what lies in the root itself, the root's name."""
        folder = os.path.relpath(os.path.dirname(self.path), self.root)  # noqa: PTH120 (10,000 files in no time)
        return Path(self.root).name if folder == os.curdir else Path(folder).as_posix()


def file_id(path: str | os.PathLike[str]) -> str:
    """Key of a file in the table: a hash of its absolute path."""
    return hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:32]  # noqa: PTH100


def list_files(folder: str | os.PathLike[str], complain: Callable[[str, str], None]) -> Iterator[Found]:
    """List the sounds below a folder (or the file itself), and what may have been meant as one; hidden ones left out.

    Args:
        folder: links to folders in it are not followed.
        complain: told the path and the reason of a folder that cannot be listed.

    Raises:
        LibraryError: it is not there.
    """
    root = os.path.abspath(folder)  # noqa: PTH100 (resolves no link, and keeps odd names)
    if os.path.isfile(root):  # noqa: PTH113
        if (file := _found(root, os.path.dirname(root))) is None:  # noqa: PTH120
            raise LibraryError(f"{one_line(Path(root))}: is no sound file ({', '.join(sorted(SUFFIXES))})")
        yield file
        return
    if not os.path.isdir(root):  # noqa: PTH112
        raise LibraryError(f"{one_line(Path(root))}: no such folder or file")

    def refuse(error: OSError) -> None:
        complain(str(error.filename), f"cannot be listed ({error.strerror})")

    for place, folders, files in os.walk(root, onerror=refuse):
        for name in folders:
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):  # noqa: PTH122
                files.append(name)  # perhaps an empty one, where a sound was expected
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and (file := _found(os.path.join(place, name), root)):  # noqa: PTH118
                yield file


def _found(path: str, root: str) -> Found | None:
    """A sound, or why it is none; nothing if it is not meant as one."""
    reason = ""
    known = os.path.splitext(path)[1].lower() in SUFFIXES  # noqa: PTH122
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        reason = why_no_sound(Path(path))
        status = os.lstat(path)
        if not known:
            return None
    if not (known and stat.S_ISREG(status.st_mode)):
        reason = reason or why_no_sound(Path(path))
        if not reason:
            return None
    return Found(path, root, status.st_size, status.st_mtime_ns, reason)


def words_of(text: str) -> str:
    """Fold case and compatible characters, so that words are found however they are written."""
    return unicodedata.normalize("NFKC", text.encode("utf-8", "replace").decode()).casefold()


def find_licence(path: str, root: str, seen: dict[str, Any]) -> str:
    """Read a file's licence from beside it, or from the folders above it up to the root; empty where none says.

    A ``sources.json`` maps a file or folder beside it to its licence (or to an object with ``licence``); else the first
    line of ``licence.txt``, ``LICENSE`` and the like counts.

    Args:
        path: of the sound.
        root: the last folder that is looked into.
        seen: what folders say, filled here.
    """
    folder = os.path.dirname(path)  # noqa: PTH120 (10,000 files in no time)
    if folder not in seen:
        seen[folder] = _licences_above(folder, root, seen)
    named, text = seen[folder]
    for below, sources in named:
        parts = Path(path).relative_to(below).parts
        for name in ("/".join(parts), parts[-1], Path(parts[-1]).stem, parts[0]):
            entry = sources.get(name)
            entry = entry.get("licence", entry.get("license")) if isinstance(entry, dict) else entry
            if isinstance(entry, str) and entry:
                return entry
    return text


def _licences_above(folder: str, root: str, seen: dict[str, Any]) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    """What counts for the files of a folder: each sources.json up to the first licence file, and what that says."""
    sources, text = _sidecar(Path(folder))
    named = [(folder, sources)] if sources else []
    above = os.path.dirname(folder)  # noqa: PTH120
    if text or folder in (root, above):
        return named, text
    if above not in seen:
        seen[above] = _licences_above(above, root, seen)
    return named + seen[above][0], seen[above][1]


def _sidecar(folder: Path) -> tuple[dict[str, Any], str]:
    """What a folder says of licences: its sources.json, and the first line of its licence file."""
    sources: Any = {}
    text = ""
    with contextlib.suppress(OSError):
        for entry in sorted(folder.iterdir()):
            name = entry.name.lower()
            if name == "sources.json":
                with contextlib.suppress(ValueError, OSError):
                    sources = json.loads(entry.read_text(encoding="utf-8"))
            elif name in LICENCE_FILES and not text:
                with contextlib.suppress(OSError):
                    lines = entry.read_text(encoding="utf-8", errors="replace").splitlines()
                    text = next((line.strip(" #*\t")[:200] for line in lines if line.strip(" #*\t")), "")
    return (sources if isinstance(sources, dict) else {}), text


# --- one file, in a worker process ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Task:
    """A file to be prepared, and the hash of what it held before."""

    file: Found
    known_sha256: str


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What became of a file: windows ready for the networks, the same samples as before, or the reason it has none."""

    file: Found
    reason: str = ""
    same: bool = False
    sha256: str = ""
    duration_s: float = 0.0
    spans: tuple[tuple[float, float], ...] = ()  # start and stop in s
    parts: tuple[np.ndarray | str, ...] = ()  # (windows, ...) of each, or the .npy that holds it
    vectors: tuple[np.ndarray, ...] = ()  # (windows, width) of each, once the networks have run


@dataclasses.dataclass(frozen=True)
class Work:
    """What a worker needs to know; the networks stay in the process that started it."""

    config: WindowConfig
    parts: tuple[tuple[int, Callable[[np.ndarray], np.ndarray]], ...]  # rate in Hz and front end of each
    spool: str


def prepare_file(work: Work, task: Task) -> Prepared:
    """Decode a file, cut it, and run the front end of every part on every window."""
    file = task.file
    try:
        sound = decode(file.path, work.config)
    except AudioError as error:
        return Prepared(file, reason=str(error).removeprefix(f"{one_line(Path(file.path))}: "))
    except MemoryError:
        return Prepared(file, reason="needs more memory than there is")
    try:
        outcome = _prepare(work, task, sound)
    except OSError as error:
        outcome = Prepared(file, reason=no_room(work.spool, error))
    finally:
        sound.close()
    if outcome.reason:  # room for the others
        for number in range(len(work.parts)):
            _spooled(work, file, number).unlink(missing_ok=True)
    return outcome


def _prepare(work: Work, task: Task, sound: Sound) -> Prepared:
    known = Prepared(task.file, sha256=sound.sha256, duration_s=sound.duration_s)
    if sound.sha256 == task.known_sha256:
        return dataclasses.replace(known, same=True)
    arrays = []
    for number, (rate, prepare) in enumerate(work.parts):
        rows = _Rows(_spooled(work, task.file, number), len(sound.spans))
        for span in sound.spans:
            try:
                values = prepare(sound.cut(span, rate))
            except Exception as error:  # of one file among thousands: it is that file's, whatever it is
                return Prepared(task.file, reason=f"the front end fails on it ({first_line(error)})")
            if not np.isfinite(values).all():
                return Prepared(task.file, reason="the front end gives values that are not finite")
            rows.append(values)
        arrays.append(rows.finish())
    return dataclasses.replace(known, spans=tuple(map(sound.seconds, sound.spans)), parts=tuple(arrays))


def _spooled(work: Work, file: Found, number: int) -> Path:
    return Path(work.spool, f"{file.id}-{number}.npy")


class _Rows:
    """Prepared windows of a part: in memory while they are few, else in a file.

    It is written, not mapped: where a disk is full, to write to what is mapped ends the process.
    """

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count
        self._kept: list[np.ndarray] = []
        self._spooled = False

    def append(self, values: np.ndarray) -> None:
        if self._count * values.nbytes <= SPOOLED:
            self._kept.append(values)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab" if self._spooled else "wb") as file:
            if not self._spooled:
                form = np.lib.format.dtype_to_descr(values.dtype)
                header = {"shape": (self._count, *values.shape), "fortran_order": False, "descr": form}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(values.tobytes())
        self._spooled = True

    def finish(self) -> np.ndarray | str:
        return str(self._path) if self._spooled else np.stack(self._kept)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the first one stops the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import soundfile  # noqa: F401 (now, while the model is loaded, and not with the first file)
    import soxr  # noqa: F401


def _end_with_parent() -> None:
    """End this worker when the process that started it was killed."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def start_workers(count: int) -> ProcessPoolExecutor:
    """Start processes for :func:`prepare_files`; they come up while something else is done."""
    from concurrent.futures.process import BrokenProcessPool

    from iminet_viz.imitator.batch import for_workers, spawn_pool

    executor = spawn_pool(count, _start_worker)
    with for_workers(), contextlib.suppress(BrokenProcessPool):  # that is told where files are lost
        for _ in range(count):
            executor.submit(os.getpid)
    return executor


def prepare_files(
    work: Work, tasks: Sequence[Task], workers: int, executor: ProcessPoolExecutor | None = None
) -> Generator[Prepared | None, None, None]:
    """Prepare files in worker processes, in any order; one that a worker does not survive is told as the reason.

    None comes where there is nothing yet, so that whoever waits can be interrupted.

    Close the generator (``contextlib.closing``) to stop early.

    Args:
        work: what workers need.
        tasks: one a file.
        workers: processes; 0 works in this one.
        executor: these, where they were started already; shut down at the end.

    Raises:
        LibraryError: workers cannot start.
    """
    if not workers:
        for task in tasks:
            yield prepare_file(work, task)
        return
    from concurrent.futures import FIRST_COMPLETED, Future, wait
    from concurrent.futures.process import BrokenProcessPool

    from iminet_viz.imitator.batch import for_workers

    waiting, suspects = deque(tasks), deque[Task]()
    running: dict[Future[Prepared], Task] = {}
    worked = alone = False
    idle = 0  # pools that ended before there was work
    try:
        while waiting or suspects or running:
            lost: list[Task] = []
            broken = False
            if executor is None:
                executor = start_workers(workers)
            alone = bool(suspects) or (alone and bool(running))
            source, depth = (suspects, 1) if alone else (waiting, max(DEPTH, 4 * workers))
            with for_workers():
                while source and len(running) < depth and not broken:
                    try:
                        running[executor.submit(prepare_file, work, source[0])] = source[0]
                        source.popleft()
                    except BrokenProcessPool:
                        broken = True
                        lost += running.values()
                        running.clear()
            done = wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done
            if not done:
                yield None
            for future in done:
                task = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    lost.append(task)
                    continue
                worked = True
                yield outcome
            if lost or broken:  # one of these killed its worker: they are tried one by one
                lost += running.values()
                running.clear()
                executor.shutdown(wait=True)
                executor = None
                if len(lost) == 1:
                    if not worked:
                        _try_worker()
                    yield Prepared(lost[0].file, reason="the process that read it ended: a fault of the decoder")
                elif lost:
                    suspects.extend(lost)
                elif (idle := idle + 1) == TRIES:
                    raise LibraryError(NO_WORKERS)
    finally:
        if executor is not None:
            executor.shutdown(cancel_futures=True)


def _try_worker() -> None:
    """Start one worker that does nothing, to tell a file that kills workers from workers that cannot live."""
    from concurrent.futures.process import BrokenProcessPool

    with start_workers(1) as executor:
        try:
            executor.submit(os.getpid).result()
        except BrokenProcessPool:
            raise LibraryError(NO_WORKERS) from None


def embed_files(parts: Sequence[Part], prepared: Sequence[Prepared]) -> tuple[list[Prepared], float]:
    """Run the networks on the windows of files, all together in batches.

    Returns:
        the files with their vectors, or with the reason why they have none; and the seconds in the networks.
    """
    if not prepared:
        return [], 0.0
    columns: list[np.ndarray] = []
    network_s = 0.0
    for number, part in enumerate(parts):
        arrays = [x.parts[number] for x in prepared]
        opened = [np.load(x, mmap_mode="r") if isinstance(x, str) else x for x in arrays]
        vectors = []
        for batch in _batches(opened, BATCH):
            begun = time.monotonic()
            vectors.append(part.embed(batch))
            network_s += time.monotonic() - begun
        columns.append(np.concatenate(vectors))
        del opened
        for x in arrays:
            if isinstance(x, str):
                Path(x).unlink()
    embedded = []
    start = 0
    for file in prepared:
        stop = start + len(file.spans)
        own = tuple(column[start:stop] for column in columns)
        start = stop
        if all(np.isfinite(x).all() for x in own):
            embedded.append(dataclasses.replace(file, parts=(), vectors=own))
        else:
            embedded.append(dataclasses.replace(file, reason="the model gives values that are not finite", parts=()))
    return embedded, network_s


# --- the library ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an index was made with; kept in the table's schema."""

    model: str
    fingerprint: str
    window_s: float
    whole: bool
    parts: tuple[dict[str, Any], ...]  # fingerprint, sample_rate, dtype, width of each

    @classmethod
    def of(cls, scorer: Scorer) -> Settings:
        """What a scorer needs.

        Raises:
            LibraryError: a part of it keeps no vectors.
        """
        parts = []
        for part in scorer.parts:
            if part.stored is None:
                raise LibraryError(f"{scorer.name}: keeps no rows of a fixed width, so it cannot search an index")
            stored = {"dtype": str(part.stored.dtype), "width": int(part.stored.width)}
            rate = int(part.sample_rate("recording"))
            parts.append({"fingerprint": part.fingerprint, "sample_rate": rate, **stored})
        return cls(
            scorer.name,
            scorer.fingerprint,
            min(float(part.window_s) for part in scorer.parts),  # so that no part misses what the others hear
            any(part.whole for part in scorer.parts),
            tuple(parts),
        )

    @property
    def windows(self) -> WindowConfig:
        """How files are cut."""
        rates = tuple(sorted({part["sample_rate"] for part in self.parts}))
        return WindowConfig(self.window_s, rates, self.whole)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"format": FORMAT, **dataclasses.asdict(self), "hop_s": self.window_s / 2, "parts": list(self.parts)}


@dataclasses.dataclass
class Added:
    """What one :meth:`Library.add` did."""

    found: int = 0
    unchanged: int = 0
    touched: int = 0  # same samples, or only another licence: nothing was embedded
    new: int = 0
    replaced: int = 0
    failed: int = 0  # are rows with a reason
    windows: int = 0  # embedded
    audio_s: float = 0.0  # of the files that were embedded
    wall_s: float = 0.0  # from the first file on; the model is loaded before, and workers come up meanwhile
    network_s: float = 0.0
    commits: int = 0
    version: int = 0
    interrupted: bool = False
    failures: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # path, reason
    unlisted: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # folders that cannot be read

    def as_dict(self) -> dict[str, Any]:
        """As JSON values, with rates."""
        wall_s = max(self.wall_s, 1e-9)
        done = self.touched + self.new + self.replaced + self.failed
        values = dataclasses.asdict(self)
        for name in ("failures", "unlisted"):
            values[name] = [{"file": one_line(Path(path)), "reason": reason} for path, reason in values[name]]
        return values | {
            "files_per_s": done / wall_s,
            "audio_s_per_s": self.audio_s / wall_s,
            "network_share": self.network_s / wall_s,
        }


@dataclasses.dataclass(frozen=True)
class _Known:
    """What the table says of a file."""

    size: int
    mtime_ns: int
    failed: bool
    windows: int
    sha256: str
    licence: str


@dataclasses.dataclass
class _Finished:
    """Rows that wait for a commit."""

    outcomes: list[Prepared] = dataclasses.field(default_factory=list)  # without vectors it has failed
    tables: list[Any] = dataclasses.field(default_factory=list)  # pyarrow tables of rows that are there already
    replaced: list[str] = dataclasses.field(default_factory=list)  # ids that have rows already
    rows: int = 0
    files: int = 0


Report = Callable[[str, int, int], None]


def open_index(path: str | os.PathLike[str], model: str | Scorer | Any | None = None, device: str = "cpu") -> Library:
    """Open the index in a folder; one that is not there is made by the first :meth:`Library.add`.

    Args:
        path: folder of the index.
        model: what it is made with, or searched with: a name that ``load_scorer`` knows, a loaded model or scorer.
            Without one, that of the index.
        device: of the networks; ``auto`` is the GPU if there is one.

    Raises:
        LibraryError: it is not there and no model is named, holds something else, or was made with another model.
    """
    return Library(path, model, device)


def is_index(path: str | os.PathLike[str]) -> bool:
    """Tell whether a folder looks like an index, or like one that was killed while it was made."""
    return (Path(path) / f"{TABLE}.lance").is_dir()


class Library:
    """An index, at one version of its table until :meth:`refresh`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: str | Scorer | Any | None = None,
        device: str = "cpu",
    ) -> None:
        self.device = device
        self.path = Path(path)
        self._scorer: Scorer | None = None
        if model is not None and not isinstance(model, str):
            self._scorer = _as_scorer(model)
            model = self._scorer.name
        self._name: str | None = model
        self.settings: Settings | None = None
        self._opened: Any = None  # the table, once it is needed
        self._copy: Copy | None = None
        self._key: str | None = None  # of the version that is open
        self._cached: dict[Any, Any] = {}
        self._go_to_latest()
        if self.settings is None and model is None:
            raise LibraryError(f"{self._says}: there is no index, and no model to make one with")
        self._require_same_model()

    @property
    def _says(self) -> str:
        return one_line(self.path)

    # --- opening ---

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Say in one sentence what LanceDB raises; a panic of its Rust on damaged files need not be an Exception."""
        try:
            yield
        except BaseException as error:
            known = isinstance(error, RuntimeError | ValueError | OSError)
            if not (known or type(error).__name__ in ("RustPanic", "PanicException")):
                raise
            raise LibraryError(f"{self._says}: {what} ({first_line(error)})") from None

    def _go_to_latest(self) -> None:
        """Go to the latest version: to its copy, as long as the table is not needed, or to the table."""
        folder = self.path / f"{TABLE}.lance"
        for _ in range(TRIES):
            self._key = table_key(folder)
            self._copy = None if self._key is None else find_copy(self.path, self._key)
            if self._copy is not None and self._opened is None:
                self.settings = self._read_settings(self._copy.settings)
                return
            if self._opened is None:
                self._opened = self._open()
            else:
                with self._told("cannot be read"):
                    self._opened.checkout_latest()
            if self._key == table_key(folder):
                return
        self._key = self._copy = None  # somebody commits all the time

    @property
    def _table(self) -> Any:
        """The table at the version of this library; nothing where there is none yet."""
        if self._opened is None and self._copy is not None:
            self._opened = self._open()
            if self._key != table_key(self.path / f"{TABLE}.lance"):
                with self._told(f"version {self._copy.version} cannot be read, refresh"):
                    self._opened.checkout(self._copy.version)  # it has gone on
        return self._opened

    def _left_behind(self) -> None:
        """Forget what was read of a version: the table has another one now."""
        self._cached.clear()
        self._copy = self._key = None

    def _open(self) -> Any:
        """The table at its latest version; nothing where there is none yet."""
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            raise LibraryError(f"{self._says}: is a file, expected the folder of an index")
        versions = self.path / f"{TABLE}.lance" / "_versions"
        if not versions.is_dir():
            ours = {f"{TABLE}.lance", LOCK, SPOOL, resident.FOLDER}
            if other := sorted({entry.name for entry in self.path.iterdir()} - ours):
                raise LibraryError(f"{self._says}: is no index, it holds {one_line(Path(other[0]))}")
            return None
        if not any(path.suffix == ".manifest" for path in versions.iterdir()):  # killed while it was made
            return None
        with self._told("cannot be opened"):
            table = _connect(self.path).open_table(TABLE)
            schema = table.schema
        self.settings = self._read_settings((schema.metadata or {}).get(SETTINGS, b""))
        if schema.names != _schema(self.settings).names:
            raise LibraryError(f"{self._says}: is damaged, its table has not the columns of an index")
        return table

    def _read_settings(self, text: str | bytes) -> Settings:
        try:
            values = json.loads(text)
            if values["format"] != FORMAT:
                raise LibraryError(
                    f"{self._says}: has format {values['format']}, this program reads {FORMAT}; make the index again"
                )
            names = [field.name for field in dataclasses.fields(Settings)]
            return Settings(**{name: values[name] for name in names} | {"parts": tuple(values["parts"])})
        except (KeyError, TypeError, ValueError):
            raise LibraryError(f"{self._says}: holds a table that is no index of sounds") from None

    @property
    def scorer(self) -> Scorer:
        """What the index was made with, loaded when it is first asked for.

        Raises:
            LibraryError: its weights are others now.
        """
        if self._scorer is None:
            self._scorer = self._load()
            self._require_same_model()
        return self._scorer

    def _load(self) -> Scorer:
        import torch

        from iminet_viz.checkpoint import DEFAULT_SEARCH
        from iminet_viz.scoring import load_scorer

        name = self._name if self.settings is None or self._name is not None else self.settings.model
        assert name is not None
        auto = "cuda" if torch.cuda.is_available() else "cpu"
        return load_scorer(
            DEFAULT_SEARCH if name == "default" else name, auto if self.device == "auto" else self.device
        )

    def _require_same_model(self) -> None:
        """Refuse another model; equal names are believed until the model is loaded."""
        if self.settings is None:
            return
        made = f"{self._says}: was made with {self.settings.model} ({self.settings.fingerprint})"
        if self._scorer is None:
            if self._name in (None, self.settings.model):
                return
            self._scorer = self._load()
        if self._scorer.fingerprint != self.settings.fingerprint:
            raise LibraryError(
                f"{made}, not with {self._scorer.name} ({self._scorer.fingerprint}); make another index for that"
            )

    def _create(self) -> None:
        """Make the table of this scorer."""
        settings = Settings.of(self.scorer)
        with self._told("cannot be made"):
            self._opened = _connect(self.path).create_table(TABLE, schema=_schema(settings))
        self.settings = settings

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Be the only one that writes.

        The system gives the lock back when its holder ends, however it ends; the number in it is only told.

        Raises:
            LibraryError: another one is at work.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOCK).open("a+", encoding="ascii") as file:
            if not _try_lock(file):
                file.seek(0)
                number = file.read().strip() or "unknown"
                raise LibraryError(f"{self._says}: process {number} is changing it, try again when that has ended")
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            shutil.rmtree(self.path / SPOOL, ignore_errors=True)  # of one that was killed
            self.refresh()
            yield

    # --- reading ---

    @property
    def version(self) -> int:
        """Of the table; 0 before there is one."""
        if self._copy is not None:
            return self._copy.version
        return 0 if self._opened is None else int(self._opened.version)

    def checkout(self, version: int) -> None:
        """Go to a version, for reading.

        Raises:
            LibraryError: it is not there, or not any more.
        """
        self._require_table()
        table = self._table
        self._left_behind()
        with self._told(f"there is no version {version}"):
            table.checkout(version)

    def refresh(self) -> bool:
        """Go to the latest version; tell whether that is another one."""
        before = self.version
        self._go_to_latest()
        self._require_same_model()
        if self.version == before:
            return False
        self._cached.clear()
        return True

    def keep_copy(self) -> bool:
        """Make the copy that a search reads, unless it is there; tell whether it is.

        Whoever changes the library has done so. It is not made of an empty library, of more than 4 GB of vectors, nor
        where nothing can be written; then the table is read.
        """
        if self._copy is not None:
            return True
        if self._key is None or self.settings is None:
            return False
        parts = [(np.dtype(part["dtype"]), part["width"]) for part in self.settings.parts]
        row_bytes = sum(dtype.itemsize * width for dtype, width in parts)
        with self._told("cannot be read"):
            count = self._table.count_rows()
        if count * row_bytes > resident.MOST_BYTES or not len(self.windows):
            return False
        return write_copy(
            self.path,
            self._key,
            self.version,
            json.dumps(self.settings.as_dict()),
            self.windows,
            [(*part, functools.partial(self._fill, number)) for number, part in enumerate(parts)],
            lambda: table_key(self.path / f"{TABLE}.lance") == self._key,
        )

    def _read(self, columns: Sequence[str], where: str, *, row_id: bool = False) -> Iterator[pa.RecordBatch]:
        """Read columns of the rows that a filter allows, in batches."""
        if self._table is None:
            return
        with self._told(f"version {self.version} cannot be read, refresh; if that does not help it is damaged"):
            query = self._table.search().where(where).select(list(columns))
            for batch in (query.with_row_id(True) if row_id else query).to_batches(READ_ROWS):
                batch.validate(full=True)  # text of damaged files need not be text
                yield batch

    def _read_table(self, columns: Sequence[str], where: str, *, row_id: bool = False) -> pa.Table:
        import pyarrow as pa

        batches = list(self._read(columns, where, row_id=row_id))
        return pa.Table.from_batches(batches) if batches else pa.table({name: [] for name in columns})

    @property
    def windows(self) -> Windows:
        """All windows of this version."""
        self._read_copy()
        if "windows" not in self._cached:
            self._cached["windows"] = self._resident()[0]
        return self._cached["windows"]

    def _read_copy(self) -> None:
        """Take windows and vectors from the copy, if there is one."""
        if self._copy is None or "windows" in self._cached:
            return
        if (found := read_copy(self._copy)) is None:  # damaged, or deleted just now
            _ = self._table
            self._copy = None
            return
        self._cached |= {("vectors", part): values for part, values in enumerate(found[1])}
        self._cached["windows"] = found[0]

    def _resident(self) -> tuple[Windows, np.ndarray, np.ndarray]:
        """The windows, and where each row of the table has its place: row ids in order, ``(windows,)`` twice."""
        if "resident" not in self._cached:
            import pyarrow as pa
            import pyarrow.compute as pc

            found = self._read_table(
                ["id", "path", "label", "licence", "text", "duration_s", "sha256"], f"window = 0 AND status = '{OK}'"
            )
            paths = found["path"].to_pylist()
            order = sorted(range(len(paths)), key=paths.__getitem__)
            found = found.take(pa.array(order, pa.int64()))
            ids = found["id"].combine_chunks().cast(pa.string())
            pieces = []
            for batch in self._read(["id", "window", "start_s", "stop_s"], "window >= 0", row_id=True):
                file = pc.index_in(batch["id"], ids).to_numpy(zero_copy_only=False)
                pieces.append((file, *(batch[name].to_numpy() for name in ("window", "start_s", "stop_s", "_rowid"))))
            columns = [np.concatenate(x) for x in zip(*pieces, strict=True)] or [np.zeros(0)] * 5
            place = np.lexsort((columns[1], columns[0]))
            kinds = (np.int32, np.int32, np.float64, np.float64)
            file, number, start, stop = (x[place].astype(kind) for x, kind in zip(columns[:4], kinds, strict=True))
            files = Files(
                [os.fsdecode(path) for path in found["path"].to_pylist()],
                found["label"].to_pylist(),
                found["licence"].to_pylist(),
                found["text"].to_pylist(),
                found["duration_s"].to_numpy(),
                found["sha256"].to_pylist(),
            )
            row_ids = columns[4].astype(np.uint64)
            sorting = np.argsort(row_ids, kind="stable")
            where = np.empty(len(place), np.int64)
            where[place] = np.arange(len(place))
            self._cached["resident"] = Windows(file, number, start, stop, files), row_ids[sorting], where[sorting]
        return self._cached["resident"]

    def vectors(self, part: int = 0) -> np.ndarray:
        """Stored rows of a part, resident: ``(windows, width)`` of its dtype, in the order of :attr:`windows`.

        Raises:
            LibraryError: the table holds a row that is incomplete.
        """
        self._read_copy()
        if ("vectors", part) not in self._cached:
            if self.settings is None:
                return np.zeros((0, 0), np.float32)
            values = self.take(*self._resident()[1:], part)
            values.flags.writeable = False
            self._cached["vectors", part] = values
        return self._cached["vectors", part]

    def _fill(self, part: int, values: np.ndarray) -> None:
        """Read the vectors of a part into ``(windows, width)``."""
        if ("vectors", part) in self._cached:
            values[:] = self._cached["vectors", part]
        else:
            self.take(*self._resident()[1:], part, values)

    def note(self, name: str) -> Any:
        """What :meth:`keep_note` kept of this version; None where it kept nothing."""
        return None if self._key is None else read_notes(self.path, self._key).get(name)

    def keep_note(self, name: str, value: Any) -> None:
        """Keep a JSON value beside this version of the table, where that can be written."""
        if self._key is not None:
            write_notes(self.path, self._key, read_notes(self.path, self._key) | {name: value})

    def take(
        self, row_ids: np.ndarray, places: np.ndarray, part: int = 0, values: np.ndarray | None = None
    ) -> np.ndarray:
        """Stored rows of some windows: ``(rows, width)``.

        Args:
            row_ids: ``(rows,)`` of this version, ascending; where they are many, all between first and last is read.
            places: ``(rows,)`` where each comes.
            part: of the scorer.
            values: to read into, instead of a new array.

        Raises:
            LibraryError: the table holds a row that is incomplete.
        """
        import pyarrow as pa

        assert self.settings is not None
        if values is None:
            stored = self.settings.parts[part]
            values = np.empty((len(row_ids), stored["width"]), stored["dtype"])
        if not len(row_ids):
            return values
        placed = 0
        # by row id alone: with another column in the filter, Lance finds the rows first and then takes them one by one
        where = f"_rowid >= {row_ids[0]} AND _rowid <= {row_ids[-1]}"
        if len(row_ids) <= 2 * IDS:
            where = f"_rowid IN ({', '.join(map(str, row_ids))})"
        for batch in self._read([f"vector_{part}"], where, row_id=True):
            at = np.searchsorted(row_ids, batch["_rowid"].to_numpy())
            wanted = row_ids[at] == batch["_rowid"].to_numpy()  # not those of files that failed
            column = batch[f"vector_{part}"].filter(pa.array(wanted))
            if column.null_count:
                raise LibraryError(f"{self._says}: {column.null_count} windows have no vector; see index verify")
            values[places[at[wanted]]] = column.flatten().to_numpy().reshape(len(column), -1)
            placed += len(column)
        assert placed == len(row_ids)  # they are of this version
        return values

    def list_sounds(self, complain: Callable[[str, str], None]) -> Iterator[Found]:
        """List the files of this library as they lie on the disk now, with their licences.

        Those that it could not index are listed too: whoever asks tells why, and another model may hear them.

        Args:
            complain: told of those that are gone.
        """
        names = "path", "root", "licence"
        for batch in self._read(names, "window <= 0"):
            for path, root, licence in zip(*(batch[name].to_pylist() for name in names), strict=True):
                try:
                    file = _found(os.fsdecode(path), os.fsdecode(root))
                except OSError as error:
                    complain(os.fsdecode(path), f"is gone ({error.strerror})")
                    continue
                if file is not None:
                    yield dataclasses.replace(file, licence=licence or None)

    def words_mask(self, text: str) -> np.ndarray:
        """Tell which windows are of files whose name, folders or label hold every word: ``(windows,)`` bool.

        Parts of words are found too. A plain look at the resident text of the files: 10^5 take some 10 ms, it is always
        that of this version, and there is no second index to keep in step.
        """
        windows, words = self.windows, words_of(text).split()
        mask = np.array([all(word in text for word in words) for text in windows.files.texts], bool)
        return mask[windows.file]

    # --- adding ---

    def add(
        self,
        folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        workers: int | None = None,
        licence: str | None = None,
        retry: bool = False,
        report: Report | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Added:
        """Add what is new or changed in folders; what is there and unchanged is not read.

        Ctrl-C, or ``stop``, ends it after the files at hand; what is finished stays, and the next call goes on.

        Args:
            folders: one or more folders or files; of another index the files that it lists, with their licences.
            workers: processes that decode and run front ends (default: one a core); 0 works in this process.
            licence: of all these files (default: read from beside them, see :func:`find_licence`; where nothing is
                said there, a file that was changed keeps what it had).
            retry: try files again that failed before.
            report: told what goes on, files done and files to do.
            stop: asked after each file whether to end.

        Raises:
            LibraryError: a folder is not there, another one is adding, or the model is another one now.
        """
        result = Added()
        if isinstance(folders, str | os.PathLike):
            folders = [folders]
        found: dict[str, Found] = {}
        for folder in folders:
            listed = Library(folder).list_sounds if is_index(folder) else functools.partial(list_files, folder)
            for file in listed(lambda *what: result.unlisted.append(what)):
                if licence is not None:
                    file = dataclasses.replace(file, licence=licence)
                found.setdefault(file.id, file)
        result.found = len(found)
        with contextlib.ExitStack() as closing:
            executor = None
            if self.settings is None:
                executor = self._start(workers, len(found), closing)
                Settings.of(self.scorer)  # what cannot make an index leaves no folder
            closing.enter_context(self._locked())
            known = self._known()
            tasks: list[Task] = []
            touched: list[Found] = []
            failed: list[Found] = []
            for file in found.values():
                before = known.get(file.id)
                same = before is not None and (file.size, file.mtime_ns) == (before.size, before.mtime_ns)
                if same and before is not None and not (retry and before.failed):
                    if file.licence in (None, before.licence):
                        result.unchanged += 1
                    else:
                        touched.append(file)
                elif file.reason:
                    failed.append(file)
                else:
                    tasks.append(Task(file, before.sha256 if before is not None and not before.failed else ""))
            if tasks or touched or failed:
                if self._table is None:
                    self._create()
                executor = executor or self._start(workers, len(tasks), closing)
                scorer = self.scorer if tasks else None
                run = _Run(self, scorer, known, result, report, len(tasks) + len(failed))
                for file in failed:
                    run.fail(Prepared(file, reason=file.reason))
                run.touch(touched)
                run.work(tasks, workers, executor, stop)
                with self._told("cannot be read"):
                    fragments = self._table.stats()["fragment_stats"]["num_fragments"]
                if fragments > COMPACT_COMMITS:
                    self._compact(GRACE)
            elif self._table is None:
                self._create()
            if not result.interrupted:
                self._changed()
            result.version = self.version
        return result

    def _changed(self) -> None:
        """End a change: what a search reads is made anew."""
        self.refresh()
        with contextlib.suppress(LibraryError):  # of a row that is incomplete; whoever reads it is told
            self.keep_copy()

    def _start(self, workers: int | None, files: int, closing: contextlib.ExitStack) -> ProcessPoolExecutor | None:
        """Start workers for so many files: their start takes as long as the loading of a model, so it comes before."""
        count = _count_workers(workers, files)
        return closing.enter_context(start_workers(count)) if count else None

    def _outcomes(
        self, work: Work, tasks: Sequence[Task], workers: int | None, executor: ProcessPoolExecutor | None
    ) -> Generator[Prepared | None, None, None]:
        """What becomes of files, in any order, with vectors or for the networks; None where there is nothing yet."""
        return prepare_files(work, tasks, _count_workers(workers, len(tasks)), executor)

    def _known(self) -> dict[str, _Known]:
        names = [field.name for field in dataclasses.fields(_Known) if field.name != "failed"]
        known: dict[str, _Known] = {}
        for batch in self._read(["id", "status", *names], "window <= 0"):
            columns = (batch[name].to_pylist() for name in ("id", "size", "mtime_ns", "status", "windows"))
            rest = (batch[name].to_pylist() for name in ("sha256", "licence"))
            for key, size, mtime_ns, status, windows, sha256, licence in zip(*columns, *rest, strict=True):
                known[key] = _Known(size, mtime_ns, status != OK, windows, sha256, licence)
        return known

    def _replace(self, rows: pa.Table, replaced: Sequence[str]) -> None:
        """Write rows in one version, in place of all that the files in ``replaced`` had."""
        with self._told("cannot be written"):
            if not replaced:
                self._table.add(rows)
                return
            (
                self._table.merge_insert(["id", "window"])
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .when_not_matched_by_source_delete(_any_of(replaced))
                .execute(rows)
            )

    # --- upkeep ---

    def remove(
        self, paths: Sequence[str | os.PathLike[str]] = (), *, missing: bool = False, dry_run: bool = False
    ) -> list[str]:
        """Remove files from the index, never from the disk.

        Args:
            paths: files, or folders with all that lies below.
            missing: also what is not on the disk any more; only below ``paths`` where there are any.
            dry_run: only tell.

        Returns:
            the paths that were removed.

        Raises:
            LibraryError: nothing was named, or a path is not in the index.
        """
        if not paths and not missing:
            raise LibraryError("name what to remove: paths, or missing")
        self._require_table()
        with self._locked():
            stored = self._read_table(["id", "path"], "window <= 0")
            files = dict(zip(map(os.fsdecode, stored["path"].to_pylist()), stored["id"].to_pylist(), strict=True))
            chosen = set() if paths else set(files)
            names = sorted(files)
            for path in paths:
                whole = os.path.abspath(path)  # noqa: PTH100
                folder = whole.rstrip(os.sep) + os.sep
                first = bisect.bisect_left(names, folder)
                below = set(itertools.takewhile(lambda x: x.startswith(folder), names[first:]))  # noqa: B023 (used now)
                below |= {whole} & files.keys()
                if not below:
                    raise LibraryError(f"{one_line(Path(whole))}: is not in the index")
                chosen |= below
            if missing:
                chosen = {path for path in chosen if not os.path.lexists(path)}
            ids = [files[path] for path in sorted(chosen)]
            for some in () if dry_run else _chunks(ids, IDS):
                with self._told("cannot be written"):
                    self._table.delete(_any_of(some))
                self._left_behind()
            self._changed()
        return sorted(chosen)

    def compact(self, grace: timedelta = GRACE) -> dict[str, int]:
        """Join small files, and delete versions older than ``grace``: a reader that still uses one has to refresh.

        Returns:
            bytes on disk before and after, and the version.
        """
        self._require_table()
        with self._locked():
            before = _bytes_below(self.path)
            self._compact(grace)
            self._changed()
            return {"bytes_before": before, "bytes_after": _bytes_below(self.path), "version": self.version}

    def _compact(self, grace: timedelta) -> None:
        # nobody else writes, so what no version names is left from one that was killed
        with self._told("cannot be compacted"):
            self._table.optimize(cleanup_older_than=max(grace, timedelta(milliseconds=1)), delete_unverified=True)
            self._table.checkout_latest()
        self._left_behind()

    def _require_table(self) -> None:
        if self.settings is None:
            raise LibraryError(f"{self._says}: there is no index")

    def status(self) -> dict[str, Any]:
        """Counts, hours, failures by reason, model, size, version: JSON values."""
        import pyarrow.compute as pc

        self._require_table()
        assert self.settings is not None
        stored = self._read_table(["path", "status", "reason", "windows", "duration_s", "label"], "window <= 0")
        good = stored.filter(pc.equal(stored["status"], OK))
        reasons: dict[str, list[str]] = {}
        bad = stored.filter(pc.not_equal(stored["status"], OK))
        for path, reason in zip(bad["path"].to_pylist(), bad["reason"].to_pylist(), strict=True):
            reasons.setdefault(_kind_of(reason), []).append(one_line(Path(os.fsdecode(path))))
        return {
            "index": self._says,
            "version": self.version,
            "files": len(good),
            "windows": int(pc.sum(good["windows"]).as_py() or 0),
            "hours": float(pc.sum(good["duration_s"]).as_py() or 0) / 3600,
            "labels": len(good["label"].unique()),
            "failed": len(bad),
            "reasons": [
                {"reason": reason, "files": len(names), "examples": sorted(names)[:3]}
                for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1]))
            ],
            "bytes": _bytes_below(self.path),
            "settings": self.settings.as_dict(),
        }

    def verify(self, *, deep: bool = False, report: Report | None = None) -> list[str]:
        """Check every row, and the files on the disk; each problem is one line.

        Args:
            deep: also decode every file, compare its samples, and embed a few of its windows again.
            report: told what goes on.
        """
        self._require_table()
        assert self.settings is not None
        problems: list[str] = []
        parts: Sequence[Part] = ()
        try:
            parts = self.scorer.parts
        except Exception as error:  # whatever keeps the model from being loaded is the problem
            if not isinstance(error, IminetVizError):
                raise
            problems.append(f"the model of the index cannot be had: {error}")
        names = ["id", "path", "status", "size", "mtime_ns", "windows", "sha256", "reason"]
        heads = self._read_table(names, "window <= 0")
        files = {row["id"]: row for row in heads.to_pylist()}
        if len(files) < len(heads):
            problems.append(f"{len(heads) - len(files)} files have two first rows")
        problems += self._verify_rows(files, parts)
        for done, row in enumerate(files.values()):
            if report:
                report("", done + 1, len(files))
            path = os.fsdecode(row["path"])
            if reason := self._verify_file(path, row, deep, parts):
                problems.append(f"{one_line(Path(path))}: {reason}")
        return problems

    def _verify_rows(self, files: dict[str, dict[str, Any]], parts: Sequence[Part]) -> list[str]:
        """Windows that are missing, twice, without a file, of another model, incomplete or not finite."""
        assert self.settings is not None
        numbers: dict[str, list[int]] = {}
        faults: dict[str, str] = {}
        vectors = [f"vector_{number}" for number in range(len(self.settings.parts))]
        for batch in self._read(["id", "window", "start_s", "stop_s", "fingerprint", *vectors], "window >= 0"):
            ids = batch["id"].to_pylist()
            for key, number in zip(ids, batch["window"].to_pylist(), strict=True):
                numbers.setdefault(key, []).append(number)
            length = batch["stop_s"].to_numpy() - batch["start_s"].to_numpy()
            for at in np.flatnonzero(~(length > 0)):
                faults[ids[at]] = "a window has no length"
            for key, fingerprint in zip(ids, batch["fingerprint"].to_pylist(), strict=True):
                if fingerprint != self.settings.fingerprint:
                    faults[key] = f"is of another model ({fingerprint})"
            for part, name in enumerate(vectors):
                column = batch[name]
                for at in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)):
                    faults[ids[at]] = "a window has no vector"
                if not column.null_count:
                    values = column.flatten().to_numpy().reshape(len(column), -1)
                    with np.errstate(over="ignore", invalid="ignore"):  # that is what is looked for
                        read = parts[part].read(values) if parts else (values,)
                    for said in read:
                        for at in np.flatnonzero(~np.isfinite(said).all(axis=1)):
                            faults[ids[at]] = "a vector is not finite"
        for key, row in files.items():
            has = sorted(numbers.pop(key, []))
            wanted = list(range(row["windows"])) if row["status"] == OK else []
            if len(set(has)) < len(has):
                faults[key] = "a window is there twice"
            elif has != wanted:
                faults[key] = f"has {len(has)} of its {len(wanted)} windows"
        told = [f"{one_line(Path(os.fsdecode(files[key]['path'])))}: {fault}" for key, fault in faults.items()]
        return told + [f"{key}: {len(has)} windows belong to no file" for key, has in numbers.items()]

    def _verify_file(self, path: str, row: dict[str, Any], deep: bool, parts: Sequence[Part]) -> str:
        """What is wrong with a file on the disk."""
        assert self.settings is not None
        try:
            status = os.stat(path) if os.path.exists(path) else os.lstat(path)  # noqa: PTH116, PTH110
        except OSError as error:
            return "is not there any more" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
        changed = "" if (status.st_size, status.st_mtime_ns) == (row["size"], row["mtime_ns"]) else "was changed since"
        if not deep or row["status"] != OK:
            return changed
        try:
            config = self.settings.windows
            sound = decode(path, config if parts else dataclasses.replace(config, rates=()))
        except AudioError as error:
            return f"cannot be decoded any more ({error})"
        with contextlib.closing(sound):
            if sound.sha256 != row["sha256"]:
                return "its samples were changed since"
            return self._verify_vectors(row, sound, parts) if parts else ""

    def _verify_vectors(self, row: dict[str, Any], sound: Sound, parts: Sequence[Part]) -> str:
        """Whether some windows of a file are stored as they are heard now; what lacks is told of the rows."""
        if len(sound.spans) != row["windows"]:
            return f"has {len(sound.spans)} windows now, {row['windows']} are stored"
        some = sorted({round(x) for x in np.linspace(0, row["windows"] - 1, RECHECKED)})
        names = [f"vector_{number}" for number in range(len(parts))]
        where = f"{_any_of([row['id']])} AND window IN ({', '.join(map(str, some))})"
        stored = self._read_table(["window", *names], where)
        if len(stored) != len(some) or any(stored[name].null_count for name in names):
            return ""
        stored = stored.sort_by("window")
        for part, name in zip(parts, names, strict=True):
            rate = part.sample_rate("recording")
            heard = part.embed(np.stack([part.prepare(sound.cut(sound.spans[x], rate)) for x in some]))
            kept = np.stack(stored[name].to_pylist()).astype(heard.dtype)
            for new, old in zip(part.read(heard), part.read(kept), strict=True):
                off = np.abs(new.astype(np.float64) - old).max(initial=0)
                if not off <= NEAR[0] * np.abs(new).max(initial=0) + NEAR[1]:
                    return "a stored vector is not that of its sound"
        return ""

    def duplicates(self, similar: float | None = None) -> list[list[str]]:
        """Group files that hold the same sound; see :func:`find_duplicates`."""
        windows = self.windows
        parts = [] if similar is None or not len(windows) else self.scorer.parts
        vectors = [self.vectors(part) for part in range(len(parts))]
        groups = find_duplicates(windows.files.sha256, windows.file, vectors, similar, [part.read for part in parts])
        return [[windows.files.paths[file] for file in group] for group in groups]


class _Run:
    """One :meth:`Library.add` at work: networks in batches, commits, figures."""

    def __init__(
        self,
        library: Library,
        scorer: Scorer | None,
        known: dict[str, _Known],
        result: Added,
        report: Report | None,
        total: int,
    ) -> None:
        self.library, self.scorer, self.known, self.result = library, scorer, known, result
        self.report, self.total, self.done = report, total, 0
        self.waiting: list[Prepared] = []  # for the networks
        self.same: list[Found] = []  # decoded, and found to hold what they held
        self.finished = _Finished()
        self.licences: dict[str, Any] = {}
        self.started = self.committed = time.monotonic()
        self.fingerprint = library.settings.fingerprint  # type: ignore[union-attr]

    def work(
        self,
        tasks: Sequence[Task],
        workers: int | None,
        executor: ProcessPoolExecutor | None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """Prepare and embed files, and commit what is finished, whatever ends it."""
        library, result = self.library, self.result
        settings = library.settings
        assert settings is not None
        parts = () if self.scorer is None else self.scorer.parts
        work = Work(
            settings.windows,
            tuple((part.sample_rate("recording"), part.prepare) for part in parts),
            str(library.path / SPOOL),
        )
        self.started = self.committed = time.monotonic()
        outcomes = library._outcomes(work, tasks, workers, executor)
        with contextlib.closing(outcomes), _on_interrupt() as interrupted:
            try:
                for outcome in outcomes:
                    if outcome is not None:
                        self.take(outcome)
                    if interrupted() or (stop is not None and stop()):
                        result.interrupted = True
                        break
                else:
                    self.embed()
            finally:
                self.commit()
        result.wall_s = time.monotonic() - self.started

    def take(self, outcome: Prepared) -> None:
        """Take in what became of a file."""
        self.done += 1
        if outcome.same:
            self.same.append(outcome.file)
        elif outcome.reason or outcome.vectors:
            self.keep(outcome)
        else:
            self.waiting.append(outcome)
            if sum(len(x.spans) for x in self.waiting) >= BATCH:
                self.embed()
        late = time.monotonic() - self.committed > COMMIT_S
        if late and self.waiting:
            self.embed()
        if late or self.finished.rows >= COMMIT_ROWS or self.finished.files + len(self.same) >= COMMIT_FILES:
            self.commit()
        if self.report:
            rate = self.done / max(time.monotonic() - self.started, 1e-9)
            self.report(f"{rate:.1f} files/s", self.done, self.total)

    def fail(self, outcome: Prepared) -> None:
        """Keep a file that cannot be indexed, with the reason."""
        self.result.failed += 1
        self.result.failures.append((outcome.file.path, outcome.reason))
        self._finish(outcome)

    def touch(self, files: Sequence[Found]) -> None:
        """Give files that hold what they held their new size, time and licence."""

        self.result.touched += len(files)
        some: dict[str, Found] = {}
        rows = 0
        for file in files:
            some[file.id] = file
            rows += max(1, self.known[file.id].windows)
            if rows >= COMMIT_ROWS or len(some) >= IDS:
                self._rewrite(some)
                some, rows = {}, 0
        self._rewrite(some)

    def _rewrite(self, files: dict[str, Found]) -> None:
        """Read all rows of files, by id, and let them wait for a commit with the new values."""
        import pyarrow as pa

        if not files:
            return
        names = self.library._table.schema.names
        rows = self.library._read_table(names, _any_of(list(files)))
        keys = rows["id"].to_pylist()
        given = [files[key].licence for key in keys]
        licences = [old if new is None else new for new, old in zip(given, rows["licence"].to_pylist(), strict=True)]
        new = {
            "size": pa.array([files[key].size for key in keys], pa.int64()),
            "mtime_ns": pa.array([files[key].mtime_ns for key in keys], pa.int64()),
            "licence": pa.array(licences, pa.string()),
        }
        for name, values in new.items():
            rows = rows.set_column(names.index(name), name, values)
        self.finished.tables.append(rows)
        self.finished.rows += len(rows)
        self.finished.files += len(files)
        self.finished.replaced += list(files)
        if self.finished.rows >= COMMIT_ROWS:
            self.write()

    def embed(self) -> None:
        """Run the networks on all that waits."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        assert self.scorer is not None
        embedded, network_s = embed_files(self.scorer.parts, waiting)
        self.result.network_s += network_s
        for outcome in embedded:
            self.keep(outcome)

    def keep(self, outcome: Prepared) -> None:
        """Keep a file that went through the networks."""
        if outcome.reason:
            self.fail(outcome)
            return
        if outcome.file.id in self.known:
            self.result.replaced += 1
        else:
            self.result.new += 1
        self.result.windows += len(outcome.spans)
        self.result.audio_s += outcome.duration_s
        self._finish(outcome)

    def _finish(self, outcome: Prepared) -> None:
        """Let a file wait for a commit."""
        self.finished.outcomes.append(outcome)
        self.finished.rows += max(1, len(outcome.spans))
        self.finished.files += 1
        if outcome.file.id in self.known:
            self.finished.replaced.append(outcome.file.id)

    def _rows(self, outcomes: Sequence[Prepared]) -> pa.Table:
        """Rows of files: what is said of each is repeated for its windows."""
        import pyarrow as pa

        said: dict[str, list[Any]] = {}
        spans: list[tuple[float, float]] = []
        numbers: list[int] = []
        counts: list[int] = []
        for outcome in outcomes:
            file, count = outcome.file, len(outcome.spans) if outcome.vectors else 0
            label = os.fsencode(file.label).decode("utf-8", "replace")
            name = os.path.relpath(file.path, file.root)
            licence = file.licence
            if licence is None:
                licence = find_licence(file.path, file.root, self.licences)
                if not licence and file.id in self.known:
                    licence = self.known[file.id].licence
            values = {
                "id": file.id,
                "windows": count,
                "path": os.fsencode(file.path),
                "root": os.fsencode(file.root),
                "duration_s": outcome.duration_s,
                "label": label,
                "text": words_of(f"{Path(file.root).name} {name}"),
                "licence": licence,
                "size": file.size,
                "mtime_ns": file.mtime_ns,
                "sha256": outcome.sha256,
                "status": OK if count else "failed",
                "reason": outcome.reason,
                "fingerprint": self.fingerprint,
            }
            for key, value in values.items():
                said.setdefault(key, []).append(value)
            counts.append(max(1, count))
            numbers += range(count) if count else [FAILED]
            spans += outcome.spans if count else [(np.nan, np.nan)]
        number = np.array(numbers, np.int32)
        good = number >= 0
        place = np.where(good, np.cumsum(good) - 1, 0)
        repeated = pa.array(np.repeat(np.arange(len(outcomes)), counts))
        columns: list[Any] = []
        for field in self.library._table.schema:
            if field.name == "window":
                columns.append(pa.array(number))
            elif field.name in ("start_s", "stop_s"):
                column = np.array(spans)[:, 0 if field.name == "start_s" else 1]
                columns.append(pa.array(column, mask=~good))
            elif field.name.startswith("vector_"):
                own = [outcome.vectors[int(field.name[7:])] for outcome in outcomes if outcome.vectors]
                flat = np.concatenate(own).reshape(-1) if own else np.zeros(0)
                rows = pa.FixedSizeListArray.from_arrays(pa.array(flat, field.type.value_type), type=field.type)
                columns.append(rows.take(pa.array(place, mask=~good)))
            else:
                columns.append(pa.array(said[field.name], field.type).take(repeated))
        return pa.Table.from_arrays(columns, schema=self.library._table.schema)

    def commit(self) -> None:
        """Write what is finished."""
        self.touch(self.same)
        self.same.clear()
        self.write()

    def write(self) -> None:
        """Write rows that wait, as one version."""
        import pyarrow as pa

        finished, self.finished = self.finished, _Finished()
        self.committed = time.monotonic()
        if not finished.files:
            return
        schema = self.library._table.schema
        tables = [table.cast(schema) for table in finished.tables]
        if finished.outcomes:
            tables.append(self._rows(finished.outcomes))
        rows = pa.concat_tables(tables).combine_chunks()
        self.library._replace(rows, finished.replaced)
        self.library._left_behind()
        self.result.commits += 1
        if self.result.commits % COMPACT_COMMITS == 0:
            self.library._compact(GRACE)


@contextlib.contextmanager
def _on_interrupt() -> Iterator[Callable[[], bool]]:
    """Tell whether Ctrl-C was pressed, instead of being stopped by it: a commit must not be cut."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


# --- the same sound twice -------------------------------------------------------------------------------------------


def find_duplicates(
    sha256: Sequence[str],
    file: np.ndarray,
    vectors: Sequence[np.ndarray] = (),
    similar: float | None = None,
    read: Sequence[Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = (),
) -> list[list[int]]:
    """Group files whose decoded samples are equal, and with ``similar`` those whose stored windows nearly are.

    Two files are near duplicates if each window of the one with fewer windows has one in the other whose stored values
    have a cosine of at least ``similar`` in every part. All pairs of windows are compared, block by block.

    Share of copies that are found, of 67 sounds of 0.1 to 4 s (effects, drums, voices), and pairs of different ones,
    of 2,211, that are joined too:

    ===========================  ====  ====  ====  ====  ====  ====  ====  ====
    model                        voice-search            tl-iminet-conv123
    least cosine                 .98   .99   .995  .999  .98   .99   .995  .999
    ===========================  ====  ====  ====  ====  ====  ====  ====  ====
    24 bits, stereo, gain of .7  1.00  1.00  1.00  1.00  1.00  1.00  1.00  1.00
    another rate                 1.00  1.00  1.00  1.00  1.00  1.00  1.00  1.00
    silence around               .99   .99   .90   .10   1.00  1.00  1.00  .81
    MP3                          1.00  1.00  .96   .31   1.00  1.00  1.00  .60
    Ogg Vorbis                   1.00  .97   .69   .21   .97   .96   .88   .54
    pairs of different sounds    19    10    4     1     69    40    19    7
    ===========================  ====  ====  ====  ====  ====  ====  ====  ====

    From .99 on, those of ``voice-search`` are one bass drum, struck at five strengths.

    Args:
        sha256: of the decoded samples of each file.
        file: ``(windows,)``, the file of each window, ascending.
        vectors: ``(windows, width)`` of each part.
        similar: least cosine.
        read: values to compare of the rows of each part, see :class:`~iminet_viz.scoring.Part`; as they are without.

    Returns:
        groups of two and more files, each sorted, by their first file.
    """
    leader = list(range(len(sha256)))

    def find(x: int) -> int:
        while leader[x] != x:
            leader[x] = leader[leader[x]]
            x = leader[x]
        return x

    def join(a: int, b: int) -> None:
        a, b = sorted((find(a), find(b)))
        leader[b] = a

    first: dict[str, int] = {}
    for number, digest in enumerate(sha256):
        join(first.setdefault(digest, number), number)
    if similar is not None and vectors:
        counts = np.bincount(file, minlength=len(sha256))
        found: dict[tuple[int, int], set[int]] = {}  # two files -> windows of the shorter that the other has
        for a, b in _similar_rows(vectors, similar, read):
            one, other = int(file[a]), int(file[b])
            if one == other:
                continue
            if (counts[one], one) > (counts[other], other):
                one, other, a = other, one, b
            found.setdefault((one, other), set()).add(a)
        for (one, other), windows in found.items():
            if len(windows) == counts[one]:
                join(one, other)
    groups: dict[int, list[int]] = {}
    for number in range(len(sha256)):
        groups.setdefault(find(number), []).append(number)
    return [group for group in groups.values() if len(group) > 1]


def _similar_rows(
    vectors: Sequence[np.ndarray],
    similar: float,
    read: Sequence[Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]],
    size: int = 1_024,
) -> Iterator[tuple[int, int]]:
    """Pairs of rows, the lower first, whose cosine is at least ``similar`` in every part; zeros equal zeros."""

    def unit(part: int, first: int) -> np.ndarray:
        rows = vectors[part][first : first + size]
        rows = (read[part](rows)[0] if read else rows).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-12)

    total = len(vectors[0])
    for start in range(0, total, size):
        rows = [unit(part, start) for part in range(len(vectors))]
        for other in range(start, total, size):
            alike = np.ones((len(rows[0]), min(size, total - other)), bool)
            for part, one in enumerate(rows):
                alike &= one @ unit(part, other).T >= similar
            for a, b in zip(*np.nonzero(alike), strict=True):
                if start + a < other + b:
                    yield int(start + a), int(other + b)


# --- small things ---------------------------------------------------------------------------------------------------


def _as_scorer(model: Any) -> Scorer:
    """A loaded model as a scorer; a scorer as it is."""
    if hasattr(model, "parts"):
        return model
    from iminet_viz.scoring import Scorer, part_of

    return Scorer(model.name, (part_of(model),))


def _count_workers(workers: int | None, files: int) -> int:
    """Processes for so many files: by default one a core."""
    from iminet_viz.imitator.batch import cores

    return min(cores() if workers is None else workers, files)


def _schema(settings: Settings) -> pa.Schema:
    """Of the table of an index."""
    import pyarrow as pa

    columns = [
        pa.field("id", pa.string()),
        pa.field("window", pa.int32()),
        pa.field("windows", pa.int32()),
        *(pa.field(name, pa.binary()) for name in ("path", "root")),
        *(pa.field(name, pa.float64()) for name in ("start_s", "stop_s", "duration_s")),
        *(pa.field(name, pa.string()) for name in ("label", "text", "licence")),
        *(pa.field(name, pa.int64()) for name in ("size", "mtime_ns")),
        *(pa.field(name, pa.string()) for name in ("sha256", "status", "reason", "fingerprint")),
        *(
            pa.field(f"vector_{number}", pa.list_(pa.type_for_alias(part["dtype"]), part["width"]))
            for number, part in enumerate(settings.parts)
        ),
    ]
    return pa.schema(columns, metadata={SETTINGS: json.dumps(settings.as_dict()).encode()})


def _connect(path: Path) -> Any:
    import lancedb

    return lancedb.connect(path)


def _any_of(ids: Sequence[str]) -> str:
    """Filter of rows by id; ids are hexadecimal digits, so nothing in it is to be quoted."""
    assert all(key.isalnum() for key in ids)
    return f"id IN ({', '.join(repr(key) for key in ids)})"


def _chunks(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _batches(arrays: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Join arrays along their first axis to batches of ``size``; the last one has what is left."""
    rest: list[np.ndarray] = []
    for row in itertools.chain.from_iterable(arrays):
        rest.append(row)
        if len(rest) == size:
            yield np.stack(rest)
            rest = []
    if rest:
        yield np.stack(rest)


def _bytes_below(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):  # deleted meanwhile
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118
    return total


def _kind_of(reason: str) -> str:
    """A reason without its numbers."""
    return re.sub(r"\d+(\.\d+)?", "N", reason)


def _try_lock(file: IO[str]) -> bool:
    """Lock a file for as long as it is open; tell if it could be."""
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            file.seek(1 << 30)  # beyond the number, which others shall read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True
