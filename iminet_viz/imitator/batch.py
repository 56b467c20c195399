"""Imitations of many sounds, as sound files and a table of pairs: several processes, resumable, bound to a seed.

:func:`imitate_files` makes a folder of pairs; :func:`render` is the layer below, for whoever names files and seeds.

Each file says in its comment with which seed and strategy it was made. So a run that was killed at any moment knows
which files are finished, without a journal, and a recording that was replaced since is imitated again.

The seed of an imitation comes from the run's seed, the *content* of the sound file and the imitation's number: it does
not depend on where the sound lies, what it is called, which others are imitated beside it, or how many processes work.
(A seed from the name would survive encoding a sound anew, but differ between ``imitate sounds`` and ``imitate
sounds/dogs``, and could not tell that a sound was replaced.) Files of equal bytes get equal imitations.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import hashlib
import io
import itertools
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iminet_viz import __version__
from iminet_viz.audio import (
    Block,
    atomic_path,
    cancelled,
    find_audio,
    libsndfile_name,
    one_line,
    read_blocks,
    save_audio,
    why_no_sound,
)
from iminet_viz.errors import AudioError, ImitationError
from iminet_viz.imitator import SAMPLE_RATE, STRATEGIES, Imitation, ImitatorConfig, analyse, imitate

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

TABLE = "pairs.csv"
SETTINGS = "imitations.json"
COLUMNS = ("imitation", "recording", "category", "speaker", "strategy", "seed")
PART = ("start_s", "stop_s")  # of the recording that was imitated, further columns
HEARD_S = 60.0  # nobody imitates more; an hour at 96 kHz need not be in memory for that
AUDIBLE_DB = 35.0  # below the loudest 10 ms, what is quieter is not imitated (``analysis.audible_part``)

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_TEMPORARY = re.compile(r"\.\d+-[a-z0-9_]{8}\.(wav|flac)")  # what atomic_path leaves if the machine goes down


# --- one task a sound -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Task:
    """One sound and the imitations wanted of it."""

    sound: Path
    outputs: tuple[Path, ...]  # .wav or .flac
    seeds: tuple[int, ...]  # one an output; equal seeds give equal imitations


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a task; if its worker was told to end, also less than was wanted."""

    task: Task
    finished: dict[Path, dict[str, Any]]  # outputs that are there now, with their descriptions
    made: int = 0  # how many of them were not there before
    shortened: bool = False  # the sound goes on after the HEARD_S seconds that were used
    reason: str = ""  # why the sound was left out: one line that names it


class _WriteError(ImitationError):
    """Nothing more can be written: unlike a sound that cannot be imitated, this ends a run."""


def render(
    tasks: Iterable[Task], config: ImitatorConfig | None = None, workers: int | None = None
) -> Generator[Outcome, None, None]:
    """Make the imitations of all tasks, yielding an outcome as soon as a sound is done, in any order.

    An output that is there and was made with its seed is kept. ``tasks`` is read as work is needed. Close the iterator
    (``contextlib.closing``) to stop early: each worker ends with the imitation that it is making.

    Args:
        tasks: sounds, outputs and seeds.
        config: of the imitator.
        workers: processes (default: one a core); 1 works in this process. More are started anew, so a script must call
            this below ``if __name__ == "__main__":``.

    Raises:
        ImitationError: a file cannot be written, or a worker was ended from outside. What is finished stays.
    """
    config = config or ImitatorConfig()
    workers = workers or cores()
    if workers == 1:
        for task in tasks:
            yield _perform(task, config, _finished(task))
        return

    from concurrent.futures import FIRST_COMPLETED, Future, wait
    from concurrent.futures.process import BrokenProcessPool

    stop = multiprocessing.get_context("spawn").Event()
    waiting: set[Future[Outcome]] = set()
    executor = spawn_pool(workers, _start_worker, stop)
    try:
        for task in tasks:
            finished = _finished(task)
            if len(finished) == len(task.outputs):
                yield Outcome(task, finished)
                continue
            with for_workers():
                waiting.add(executor.submit(_perform, task, config, finished))
            if len(waiting) >= 2 * workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool:
        raise ImitationError("a worker process was ended from outside, perhaps for lack of memory") from None
    finally:
        stop.set()
        executor.shutdown(cancel_futures=True)


def describe(path: Path) -> dict[str, Any]:
    """Read what an imitation's file says of itself: seed, strategy ...; empty if it is not there or no imitation."""
    import soundfile

    try:
        with soundfile.SoundFile(libsndfile_name(path)) as file:
            values = json.loads(file.comment)
    except (OSError, ValueError, soundfile.LibsndfileError):
        return {}
    return values if isinstance(values, dict) and "seed" in values and "strategy" in values else {}


def read_beginning(path: Path, seconds: float = HEARD_S) -> tuple[np.ndarray, int, tuple[float, bool]]:
    """Read a sound as one channel, but of a file of more than ``seconds`` no more than these, from where sound begins.

    A long file is read twice, a second after the other: sound begins with the first one in which anything is within
    ``AUDIBLE_DB`` of the loudest 10 ms, as the imitator cuts it.

    Returns:
        ``(samples,)`` float32, the rate in Hz, and of these samples where they begin in the file in s and whether it
        goes on after them.

    Raises:
        AudioError: the file is missing, empty, truncated, not audio, of zero length, holds NaN or infinity, or its
            channels cancel out.
    """
    blocks: list[Block] = []  # from the start, as many as may be heard
    levels: list[float] = []
    length = 0
    for block in read_blocks(path, 1.0):
        if length < seconds * block.rate:
            blocks.append(block)
        levels.append(_level(block))
        length += len(block.waveform)
    rate, size = blocks[0].rate, len(blocks[0].waveform)
    left = int(seconds * rate)
    quietest = max(levels) * 10 ** (-AUDIBLE_DB / 20)
    begin = next(number for number, level in enumerate(levels) if level >= quietest) if length > left else 0
    if begin:
        blocks = list(itertools.islice(read_blocks(path, 1.0), begin, begin + -(-left // size)))
    waveform = np.concatenate([block.waveform for block in blocks])[:left]
    peak = float(max(waveform.max(), -waveform.min()))
    if reason := cancelled(peak, blocks[0].channels, max(block.peak for block in blocks)):
        raise AudioError(f"{one_line(path)}: {reason}")
    return waveform, rate, (begin * size / rate, begin * size + len(waveform) < length)


def _level(block: Block) -> float:
    """Root mean square of a block's loudest 10 ms."""
    step = max(1, block.rate // 100)
    parts = np.pad(block.waveform, (0, -len(block.waveform) % step)).reshape(-1, step)
    return float(np.sqrt(np.einsum("ij,ij->i", parts, parts).max() / step))


def _perform(task: Task, config: ImitatorConfig, finished: dict[Path, dict[str, Any]]) -> Outcome:
    """Decode a sound once and make what is missing."""
    if len(finished) == len(task.outputs):
        return Outcome(task, finished)
    there = dict(finished)
    shortened = False
    reason = ""
    try:
        waveform, sample_rate, (begin_s, shortened) = read_beginning(task.sound)
        with _one_thread():
            features = analyse(waveform, sample_rate)
            for output, seed in zip(task.outputs, task.seeds, strict=True):
                if output in there:
                    continue
                if _stop is not None and _stop.is_set():
                    break
                imitation = imitate(features, seed, config)
                _check(imitation, seed)
                description = {"seed": seed, "strategy": imitation.strategy}
                description |= {name: round(begin_s + float(getattr(imitation, name)), 4) for name in PART}
                with _writing, _written():
                    save_audio(output, imitation.waveform, SAMPLE_RATE, json.dumps(description))
                there[output] = description
    except AudioError as error:
        reason = str(error)
    except _WriteError:
        raise
    except ImitationError as error:
        reason = f"{one_line(task.sound)}: {error}"
    except Exception as error:
        error.add_note(f"while {one_line(task.sound)} was imitated")
        raise
    return Outcome(task, there, len(there) - len(finished), shortened, reason)


def _finished(task: Task) -> dict[Path, dict[str, Any]]:
    """Those outputs that are there and were made with the task's seed."""
    finished = {}
    for output, seed in zip(task.outputs, task.seeds, strict=True):
        description = describe(output)
        if description.get("seed") == seed:
            finished[output] = description
    return finished


def _check(imitation: Imitation, seed: int) -> None:
    """Refuse what must not be: an imitation that is not a sound is a bug of the imitator."""
    waveform = imitation.waveform
    fault = ""
    if waveform.ndim != 1 or not len(waveform):
        fault = f"has the shape {waveform.shape}"
    elif not np.isfinite(waveform).all():
        fault = "is not finite"
    elif np.abs(waveform).max() > 1:
        fault = f"clips (peak {np.abs(waveform).max():.3f} of 1)"
    elif np.sqrt(np.mean(np.square(waveform, dtype=np.float64))) < 1e-4:  # three steps of 16 bits
        fault = "is silent"
    if fault:
        raise RuntimeError(f"the imitation with seed {seed} {fault}")


@contextlib.contextmanager
def _written() -> Iterator[None]:
    """Tell a file that cannot be written from a sound that cannot be read."""
    try:
        yield
    except AudioError as error:
        raise _WriteError(str(error)) from None


def _write(path: Path, content: bytes) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise _WriteError(f"{one_line(path)}: cannot be written ({error.strerror})") from None


# --- processes ------------------------------------------------------------------------------------------------------

_stop: Any = None  # in a worker: the event that says to come to an end
_writing = threading.Lock()


def _start_worker(stop: Any) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the first one tells the others
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when the process that started it was killed, but not while a file is half written."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    with _writing:
        os._exit(1)


def spawn_pool(count: int, start: Callable[..., None], *given: Any) -> ProcessPoolExecutor:
    """Processes for work that is submitted in :func:`for_workers`; each begins with ``start(*given)``."""
    from concurrent.futures import ProcessPoolExecutor

    # spawned, since a forked copy of a process whose libraries have threads can hang
    executor = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), start, given)
    # All start before any is watched, as forked ones do. Else every submit starts one, and Python up to 3.12 waits for
    # ever for one that comes up while the death of another ends the pool.
    executor._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]
    return executor


@contextlib.contextmanager
def for_workers(**environment: str) -> Iterator[None]:
    """Start workers in here: with one thread each, deaf to Ctrl-C from the first moment, and with some environment.

    A library counts its threads when it is loaded, which is before :func:`_start_worker` runs. A spawned worker would
    run the user's script again, which then starts workers of its own unless the script guards against it; nothing of it
    is needed here, so its path is hidden.
    """
    environment |= dict.fromkeys(_THREADS, "1")
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else None
    script = sys.modules["__main__"]
    hidden = {name: getattr(script, name) for name in ("__file__", "__spec__") if hasattr(script, name)}
    if "__file__" in hidden:
        del script.__file__
    script.__spec__ = None
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(script, name, value)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _one_thread() -> contextlib.AbstractContextManager[object]:
    """Limit linear algebra to one thread: sums in another order would give other bytes."""
    from threadpoolctl import threadpool_limits

    limits: contextlib.AbstractContextManager[object] = threadpool_limits(1)
    return limits


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- a folder of pairs ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Imitated:
    """What :func:`imitate_files` did."""

    table: Path
    sounds: int  # that were found
    imitations: int  # of them, that are there now
    made: int  # how many of these were not there before
    left_out: tuple[tuple[Path, str], ...]  # sounds that could not be imitated, each with a line that says why
    shortened: tuple[Path, ...]  # sounds that go on after the HEARD_S seconds that were used, as far as any was made


@dataclasses.dataclass(frozen=True)
class _Sound:
    path: Path  # absolute
    place: Path  # below the output folder, where its imitations go
    category: str


def imitate_files(
    sounds: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    count: int = 10,
    seed: int = 0,
    config: ImitatorConfig | None = None,
    workers: int | None = None,
    suffix: str = ".wav",
    force: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Imitated:
    """Imitate sounds ``count`` times each: ``OUT/<folder>/<sound>/<number>.wav`` and the table ``OUT/pairs.csv``.

    The table has a row for each imitation (also of earlier calls with other sounds and the same settings): its path and
    that of its recording, both relative to OUT; the recording's folder below the folder that was given, as category;
    the synthetic speaker, each imitation's own; strategy and seed. A run that was interrupted continues.

    Args:
        sounds: folders and sound files.
        out: output folder.
        count: imitations of each sound.
        seed: of all imitations.
        config: of the imitator.
        workers: processes, as for :func:`render`.
        suffix: ``.wav`` or ``.flac``.
        force: replace what was made with other settings, or is there already.
        progress: called with ("", imitations done, all).

    Raises:
        ImitationError: no sound, other settings, or a file cannot be written (what is finished stays).
    """
    config = config or ImitatorConfig()
    if count < 1:
        raise ImitationError(f"{count} imitations of each sound were asked for, expected at least 1")
    out = Path(out).resolve()
    found, left_out = _find(sounds, out)
    numbers = [f"{number:0{max(2, len(str(count - 1)))}d}{suffix}" for number in range(count)]
    settings = {"version": __version__, "seed": seed, "count": count, "suffix": suffix}
    settings = json.loads(json.dumps(settings | {"imitator": dataclasses.asdict(config)}))
    targets = {out / sound.place / number: sound for sound in found for number in numbers}
    old = {
        out / row["imitation"]: row
        for row in _prepare(out, settings, targets, force)
        if all((out / row[column]).exists() for column in COLUMNS[:2])
    }

    n_sounds = len(found) + len(left_out)
    rows: dict[Path, dict[str, str]] = {}
    shortened: list[Path] = []
    by_path = {sound.path: sound for sound in found}
    begun: dict[Path, Task] = {}
    done = made = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress("", done * count, len(found) * count)

    def tasks() -> Iterator[Task]:
        for sound in found:
            for number in numbers:
                old.pop(out / sound.place / number, None)  # what is there is listed anew
            try:
                seeds = _seeds(sound.path, seed, count)
            except OSError as error:
                left_out.append((sound.path, f"{one_line(sound.path)}: cannot be read ({error.strerror})"))
                step()
                continue
            begun[sound.path] = Task(sound.path, tuple(out / sound.place / number for number in numbers), seeds)
            yield begun[sound.path]

    def list_rows(task: Task, finished: dict[Path, dict[str, Any]]) -> None:
        for path, description in finished.items():
            rows[path] = _row(out, path, by_path[task.sound], description)

    # the largest that the table can become
    longest = {"seed": 2**48, "strategy": max(STRATEGIES, key=len), **dict.fromkeys(PART, 100_000.0001)}
    most = [_row(out, out / sound.place / numbers[0], sound, longest) for sound in found]
    size = count * len(_table(most)) + len(_table(old.values()))
    try:
        with (
            _room(out / TABLE, size),
            contextlib.closing(render(tasks(), config, min(workers or cores(), max(len(found), 1)))) as outcomes,
        ):
            for outcome in outcomes:
                list_rows(outcome.task, outcome.finished)
                del begun[outcome.task.sound]
                made += outcome.made
                if outcome.reason:
                    left_out.append((outcome.task.sound, outcome.reason))
                elif outcome.shortened:
                    shortened.append(outcome.task.sound)
                step()
    except BaseException as error:  # also Ctrl-C: the table shall list what is finished
        for task in begun.values():
            list_rows(task, _finished(task))
        unlisted = ""
        try:
            if rows:
                _write(out / TABLE, _table([*old.values(), *rows.values()]))
        except _WriteError:
            unlisted = f" but {TABLE} could not be written,"
        if isinstance(error, ImitationError):
            there = f"{len(rows) + len(old)} imitations are there,{unlisted} the same call makes the rest"
            raise ImitationError(f"{error}; {there}") from None
        raise
    if rows:
        _write(out / TABLE, _table([*old.values(), *rows.values()]))
    elif not (out / TABLE).exists():
        (out / SETTINGS).unlink()  # nothing was made: no settings bind the next call
    left_out.sort()
    return Imitated(out / TABLE, n_sounds, len(rows), made, tuple(left_out), tuple(sorted(shortened)))


def _find(sounds: Iterable[str | os.PathLike[str]], out: Path) -> tuple[list[_Sound], list[tuple[Path, str]]]:
    """List the sounds, each once, with its place in the output; and what is left out at first sight.

    A place begins with the name of the folder that was given, so that a second call with another folder adds to the
    first one's imitations. It ends with the full name of the sound: ``a.wav`` and ``a.flac`` may lie beside each other.
    """
    found: dict[Path, _Sound] = {}
    left_out: dict[Path, str] = {}
    names: dict[Path, str] = {}
    empty: AudioError | None = None
    for given in map(Path, sounds):
        if not given.is_dir() and not given.is_file():  # a pipe would be waited for
            raise ImitationError(f"{one_line(given)}: no such file or folder")
        root = given.resolve() if given.is_dir() else given.parent.resolve()
        if root.is_relative_to(out):
            raise ImitationError(f"{one_line(given)}: lies in the output folder {one_line(out)}, choose another one")
        if root not in names:
            name = root.name or "sounds"  # the root of the file system has none
            number = 1
            while name in names.values():
                number += 1
                name = f"{root.name}-{number}"
            names[root] = name
        if given.is_dir():
            left_out |= {path: why for path, why in _passed_over(root) if not path.is_relative_to(out)}
        try:
            files = find_audio(root) if given.is_dir() else [root / given.name]
        except AudioError as error:
            empty = error
            continue
        for path in files:
            if path in found or path.is_relative_to(out):  # imitations of an earlier run are no sounds
                continue
            inner = path.relative_to(root)
            try:
                str(inner).encode()
            except UnicodeEncodeError:
                left_out[path] = f"{one_line(path)}: its name is not UTF-8, a table cannot hold it"
                continue
            category = inner.parent.as_posix() if inner.parent != Path() else ""
            found[path] = _Sound(path, names[root] / inner, category)
    if not found and not left_out:
        raise ImitationError(str(empty or f"no sound to imitate beside those in {one_line(out)}"))
    return list(found.values()), [(path, why) for path, why in left_out.items() if path not in found]


def _passed_over(root: Path) -> Iterator[tuple[Path, str]]:
    """What lies below a folder and may have been meant as a sound, with the reason why it is none; opens nothing."""
    for path in root.rglob("*"):
        if not any(part.startswith(".") for part in path.relative_to(root).parts) and (why := why_no_sound(path)):
            yield path, f"{one_line(path)}: {why}"


def _prepare(out: Path, settings: dict[str, Any], targets: dict[Path, _Sound], force: bool) -> list[dict[str, str]]:
    """Make the folder ready, or refuse it; returns the rows of its table."""
    if out.exists() and not out.is_dir():
        raise ImitationError(f"{one_line(out)}: is a file, expected a folder")
    rows: list[dict[str, str]] = []
    if force:
        if (out / TABLE).exists() and not (out / SETTINGS).exists():
            raise ImitationError(f"{one_line(out / TABLE)}: was not made by this command, choose another output folder")
        _require_hearable({sound.path for sound in targets.values()})  # before anything is removed
        with contextlib.suppress(ImitationError):
            rows = _read_table(out)
        # a table that somebody edited may name anything: only imitations in this folder are removed
        listed = [out / row["imitation"] for row in rows]
        ours = [path for path in listed if path.resolve().is_relative_to(out) and describe(path)]
        for path in {*ours, *targets, out / TABLE}:
            if path.is_file():
                path.unlink()
        rows = []
    elif (out / SETTINGS).exists():
        _compare(out, settings)
        rows = _read_table(out)
        for row in rows:
            sound = targets.get(out / row["imitation"])
            other = out / row["recording"]
            if sound is not None and other.exists() and not other.samefile(sound.path):
                raise ImitationError(
                    f"{one_line(out / row['imitation'])}: imitates {one_line(other.resolve())}, not "
                    f"{one_line(sound.path)}; choose another output folder, or --force"
                )
    elif out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise ImitationError(f"{one_line(out)}: holds files but no {SETTINGS}; choose an empty folder, or --force")
    for folder in {path.parent for path in targets}:
        if folder.is_dir():
            for path in folder.iterdir():
                if _TEMPORARY.fullmatch(path.name):
                    path.unlink(missing_ok=True)
    _write(out / SETTINGS, (json.dumps(settings, indent=2) + "\n").encode())
    return rows


def _require_hearable(sounds: set[Path]) -> None:
    """Refuse when none of the sounds can be imitated."""
    reasons = []
    for sound in sorted(sounds):
        try:
            analyse(*read_beginning(sound)[:2])
        except (AudioError, ImitationError) as error:
            reasons.append(str(error) if isinstance(error, AudioError) else f"{one_line(sound)}: {error}")
        else:
            return
    why = f" ({reasons[0]})" if reasons else ""
    raise ImitationError(f"none of {len(sounds)} sounds could be imitated, nothing was replaced{why}")


def _compare(out: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that was made with other settings."""
    try:
        stored = json.loads((out / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = None
    if not isinstance(stored, dict):
        raise ImitationError(
            f"{one_line(out / SETTINGS)}: cannot be read, so nothing is added here; --force replaces all"
        )
    before, now = ({**values, **values.get("imitator", {})} for values in (stored, settings))
    other = [key for key in now if key != "imitator" and before.get(key) != now[key]]
    if other:
        changes = " and ".join(f"{key} {json.dumps(before.get(key))}, not {json.dumps(now[key])}" for key in other)
        raise ImitationError(f"{one_line(out)}: holds imitations made with {changes}; --force replaces them")


def _seeds(sound: Path, seed: int, count: int) -> tuple[int, ...]:
    """Seeds of a sound's imitations, 48 bits each: unlikely to meet, and a spreadsheet keeps 15 digits."""
    with sound.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    digests = (hashlib.sha256(content + f"{seed} {number}".encode()).digest() for number in range(count))
    return tuple(int.from_bytes(digest[:6], "big") for digest in digests)


# --- table ----------------------------------------------------------------------------------------------------------


def _row(out: Path, path: Path, sound: _Sound, description: dict[str, Any]) -> dict[str, str]:
    try:
        recording = os.path.relpath(sound.path, out)
    except ValueError:  # another drive
        recording = str(sound.path)
    return {
        "imitation": path.relative_to(out).as_posix(),
        "recording": Path(recording).as_posix(),
        "category": sound.category,
        "speaker": f"p{description['seed']:012x}",  # a seed makes a person, so no two imitations share one
        "strategy": str(description["strategy"]),
        "seed": str(description["seed"]),
        **{name: str(description[name]) for name in PART},
    }


def _read_table(out: Path) -> list[dict[str, str]]:
    """Rows of the table, if there is one."""
    path = out / TABLE
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ImitationError(f"{one_line(path)}: not a table ({error}); --force replaces all") from None
    if any(row.get(column) is None for row in rows for column in COLUMNS):
        raise ImitationError(f"{one_line(path)}: lacks columns or ends within a row; --force replaces all")
    return rows


def _table(rows: Iterable[dict[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, (*COLUMNS, *PART), restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: row["imitation"]))
    return text.getvalue().encode()


@contextlib.contextmanager
def _room(path: Path, size: int) -> Iterator[None]:
    """Keep room for a file on a disk that may fill up; it is free again afterwards, however this process ends."""
    with tempfile.TemporaryFile(dir=path.parent, buffering=0) as file:
        try:
            if file.write(bytes(size)) < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise _WriteError(f"{one_line(path)}: cannot be written ({error.strerror})") from None
        yield
