"""The sound library that all pages search: opened once, grown in the background while searching goes on.

A search works on a :class:`Shelf`, one version of the library with all that it needs in memory, which nobody changes:
searches need no lock and run side by side. Whoever adds sounds does so with a library of its own, and puts a new shelf
in the place of the old one after a commit.

An index is of one model. Another model searches the same sounds once it has heard them: its index lies in the user's
cache folder, and follows the library.

Files are had by their id in the library, never by their path: an address holds 32 hexadecimal digits, so that odd names
and paths outside cannot be asked for, and a file that is not in the library has none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iminet_viz.app._context import Context
from iminet_viz.audio import SUFFIXES, atomic_path, one_line, read_blocks, read_native, save_audio
from iminet_viz.errors import AppError, AudioError, IminetVizError, ImitationError, LibraryError
from iminet_viz.shipped import shipped_models

if TYPE_CHECKING:
    from iminet_viz.datasets._demo.concepts import Concept
    from iminet_viz.retrieval import Answer, Hit, Query, SoundLibrary

CACHE = "IMINET_VIZ_CACHE"  # environment variable: folder of what is made once
PLAYED = {".wav": ".wav", ".wave": ".wav", ".flac": ".flac", ".ogg": ".ogg", ".oga": ".ogg", ".mp3": ".mp3"}
BINS = 300  # of a waveform's outline
MOST_SEARCHES = 512  # that can be gone on with, or exported
MOST_ALLOWED = 512  # files of the library that were asked for last
REST, LEAST_S = 5.0, 1.0  # a shelf is renewed after this many times what that took, and this long
DEMO_STEP = 60  # sounds of the demo library that are made before they are added
DEMO_SEED = 0
CLOSE_S = 10.0  # how long an app that ends waits for its work
MOST_FOUND = 2 << 30  # bytes of what was made for requests
LOCKED_S = 600.0  # how long another process may be waited for
IMITATED_S, TRIES = 8.0, 5  # sounds that a synthetic voice imitates, and how many it tries
MOST_FAILURES = 200  # that are told
MOST_OTHERS = 3  # models beside the library's own whose rows are in memory
MOST_PARTS = 4  # of a fusion
TOLD_S = 60.0  # how long a page that opens is told of work that ended well


@dataclasses.dataclass(frozen=True)
class Shelf:
    """One version of the library, resident."""

    library: SoundLibrary
    by_id: dict[str, int]  # id of a file -> its row in windows.files
    missing: int = 0  # sounds of the app's library that this model has not heard
    of: int = 0  # version of the app's library that this was said of

    @property
    def files(self) -> int:
        """That can be found."""
        return len(self.by_id)


@dataclasses.dataclass(frozen=True)
class Search:
    """A query that was answered: what it takes to go on with it."""

    query: Query
    kept: str  # token of the recording
    text: str
    answer: Answer | None = None
    model: str = ""  # that heard the query; "" is the library's own
    id: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))  # of this list of hits, to take along


@dataclasses.dataclass
class Job:
    """What goes on in the background."""

    what: str
    unit: str = "file"
    done: int = 0
    total: int = 0
    started: float = dataclasses.field(default_factory=time.monotonic)
    ended: float | None = None
    cancelled: bool = False
    said: str = ""  # how it ended
    error: str = ""
    failures: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # file, reason
    stop: threading.Event = dataclasses.field(default_factory=threading.Event)
    id: str = dataclasses.field(default_factory=lambda: secrets.token_hex(4))

    @property
    def running(self) -> bool:
        """Not ended yet."""
        return self.ended is None

    @property
    def is_old(self) -> bool:
        """Ended a while ago."""
        return self.ended is not None and time.monotonic() - self.ended > TOLD_S

    @property
    def rate(self) -> float | None:
        """Units a second; None before one is done."""
        seconds = (self.ended or time.monotonic()) - self.started
        return self.done / seconds if self.done and seconds > 0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds to go, if it goes on as it did."""
        rate = self.rate
        return None if rate is None or not self.running else (self.total - self.done) / rate

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "what": self.what,
            "running": self.running,
            "done": self.done,
            "total": self.total,
            "files_per_s": self.rate,
            "left_s": self.left_s,
            "cancelled": self.cancelled,
            "said": self.said,
            "error": self.error,
            "failures": [{"file": file, "reason": reason} for file, reason in self.failures[:MOST_FAILURES]],
        }


class Sounds:
    """The library of the app, its background work, and its files."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.shelf: Shelf | None = None
        self.job: Job | None = None
        self.error = ""  # why there is no library
        self.path: Path | None = context.settings.index
        self.is_demo = self.path is None
        self.ready = threading.Event()  # opened, for better or worse
        self._scorer: Any = None
        self._others: OrderedDict[str, Shelf] = OrderedDict()  # of other models, the one used last at the end
        self._worker: threading.Thread | None = None
        self._closing = False
        self._lock = threading.Lock()  # of what follows, and of job
        self._renewing = threading.Lock()
        self._searches: OrderedDict[str, Search] = OrderedDict()
        self._seen = 0.0
        self.found = context.folder / "found"
        self.found.mkdir(exist_ok=True)
        context.allowed.append(str(self.found))
        context.serve_found("sound", self.find_sound)
        context.serve_found("outline", self.find_outline)
        context.serve_found("hits", self.find_export)
        context.serve_found("hit", self.find_hit)
        context.on_close(self.close)

    # --- opening ---

    def open(self) -> None:
        """Load the model and the library; without one, begin to make the demo library."""
        from iminet_viz.checkpoint import DEFAULT_SEARCH
        from iminet_viz.index import is_index
        from iminet_viz.retrieval import open_index
        from iminet_viz.scoring import load_scorer

        try:
            name = self.context.settings.model
            name = DEFAULT_SEARCH if name == "default" else name
            if self.path is not None and is_index(self.path):
                library = open_index(self.path, None if self.context.settings.model == "default" else name)
                self._scorer = library.scorer
            else:
                self._scorer = load_scorer(name)
            if self.path is None:
                from iminet_viz.datasets import demo

                self.path = cache_folder() / f"demo-{demo.VERSION}" / f"index-{self._scorer.fingerprint}"
            self.context.named.add(self._scorer.name)
            self.renew()
            self._warm_up()
            self.make_demo()
        except IminetVizError as error:
            self.error = str(error)
        except OSError as error:
            self.error = f"{one_line(Path(str(error.filename)))}: cannot be written ({error.strerror})"
        except BaseException:
            self.error = "it could not be opened, the log says why"
            raise
        finally:
            self.ready.set()

    @property
    def is_unfinished(self) -> bool:
        """The demo library is not whole, and nobody is at it."""
        idle = self.job is None or not self.job.running
        return idle and self.is_demo and self.path is not None and not self._mark.is_file()

    @property
    def _mark(self) -> Path:
        """The file that says that the demo library is whole."""
        assert self.path is not None
        return self.path.parent / f"{self.path.name}.json"

    def make_demo(self) -> None:
        """Begin to make the demo library, or go on with it, where it is not whole.

        Raises:
            LibraryError: something else is being added.
        """
        if self.is_unfinished:
            self._begin(Job("Making the demo library", "sound"), self._make_demo)

    def _warm_up(self) -> None:
        """Compile and load what the first search would wait for."""
        rate = 16_000
        sound = np.sin(np.arange(rate, dtype=np.float32) * 0.3) * np.linspace(0, 0.5, rate, dtype=np.float32)
        path = self.context.scratch(".wav")
        save_audio(path, sound, rate)
        try:
            with contextlib.suppress(IminetVizError):
                query = self.hear(path)
                if self.shelf is not None and self.shelf.files:
                    self.shelf.library.search(query, 1)
        finally:
            path.unlink(missing_ok=True)

    def renew(self) -> bool:
        """Put the latest version of the library on the shelf; tell whether there is another one."""
        from iminet_viz.retrieval import SoundLibrary

        assert self.path is not None
        with self._renewing:
            self._seen = time.monotonic()
            library = SoundLibrary(self.path, self._scorer)
            if self.shelf is not None and self.shelf.library.version == library.version:
                return False
            self.shelf = _put_on_shelf(library)
            return True

    def look_again(self) -> None:
        """Renew the shelves if somebody else changed the library, at most every ten seconds."""
        if self.ready.is_set() and self._scorer is not None and time.monotonic() - self._seen > 10:
            with contextlib.suppress(IminetVizError):
                self.renew()
                for model in list(self._others):
                    self._renew_other(model)

    # --- other models ---

    def shelf_of(self, model: str = "") -> Shelf:
        """The library as a model hears it; "" is the library's own. Nothing is in it before :meth:`hear_library`.

        Raises:
            AppError: there is no such model.
            LibraryError: there is no library, or nothing in it.
            CheckpointError: the model does not load, or cannot search.
        """
        own, model = self._wait(), self.canonical(model)
        if not model:
            return own
        with self._lock:
            known = self._others.get(model)
            if known is not None and known.of == own.library.version:
                self._others.move_to_end(model)
                return known
        return self._renew_other(model)

    def _renew_other(self, model: str) -> Shelf:
        """Put the latest version of what another model heard on its shelf."""
        with self._renewing:
            library = self._library_of(model)
            known, own = self._others.get(model), self._wait()
            with contextlib.suppress(LibraryError):  # somebody else is changing it, and will do so
                _forget_others(library, own.library)
            if known is None or known.library.version != library.version:
                known = _put_on_shelf(library)
            shelf = dataclasses.replace(known, missing=_count_missing(known, own), of=own.library.version)
            with self._lock:
                self._others[model] = shelf
                self._others.move_to_end(model)
                while len(self._others) > MOST_OTHERS:
                    self._others.popitem(last=False)
            return shelf

    def _library_of(self, model: str) -> SoundLibrary:
        """Open the index of a model (as :meth:`canonical` calls it), among what is kept of this library."""
        from iminet_viz.index import Settings
        from iminet_viz.retrieval import SoundLibrary
        from iminet_viz.scoring import load_scorer

        assert self.path is not None
        if not model:
            return SoundLibrary(self.path, self._scorer)
        known = self._others.get(model)
        scorer = load_scorer(model) if known is None else known.library.scorer
        Settings.of(scorer)  # refuses what no index can be made for
        return SoundLibrary(self._heard / f"index-{scorer.fingerprint}", scorer)

    @property
    def _heard(self) -> Path:
        """Where the indexes of other models lie: nobody's own, not even of an app that was started with that model."""
        assert self.path is not None
        own = hashlib.sha256(os.fsencode(os.path.realpath(self.path))).hexdigest()[:16]
        return cache_folder() / "heard" / own

    def _listeners(self) -> list[str]:
        """Other models that have heard something of this library, in this app or before."""
        from iminet_viz.index import Library, is_index

        found = []
        for path in filter(is_index, sorted(self._heard.glob("index-*"))):
            with contextlib.suppress(IminetVizError):  # damaged, or of a model that there was
                settings = Library(path).settings
                found.append(self.canonical(settings.model if settings is not None else ""))
        return [model for model in found if model]

    def canonical(self, model: str) -> str:
        """One name for each model, or sum of models, that a user may ask for; "" for the library's own.

        It holds shipped networks, baselines and the library's own model: a user's word is never a path.

        Raises:
            AppError: there is no such model.
        """
        from iminet_viz.baselines import BASELINES

        own = self.model
        if model in ("", own):
            return ""
        known = (*shipped_models(), *BASELINES)
        rest = model.removeprefix(f"{own}+")
        named = rest != model and own not in known  # a path may hold any sign
        terms = [_read_term(term) for term in (rest if named else model).split("+")]
        if not all(name in known and 0 < weight < float("inf") for name, weight in terms):
            shown = model if len(model) <= 80 else f"{model[:80]}…"
            text = f"no model {shown!r}, expected one of: {', '.join(known)}; or a sum of some, a+b or 0.7*a+0.3*b"
            raise AppError(text)
        terms = [(own, 1.0)] * named + terms
        names = [name for name, _ in terms]
        parts = "+".join(names).split("+")  # the library's own model may be a sum itself
        if len(set(parts)) < len(parts) or len(parts) > MOST_PARTS:
            raise AppError(f"a sum is of up to {MOST_PARTS} models, each of them once")
        if len({weight for _, weight in terms}) == 1:
            return "" if names == [own] else "+".join(names)
        return "+".join(f"{weight:g}*{name}" for name, weight in terms)

    def sum_of(self, model: str, other: str) -> str:
        """Name of a model fused with another; of the library's own alone it is ""."""
        self.ready.wait(60)
        own = model or self.model
        if other in ("", own):
            return model if model != self.model else ""
        return f"{own}+{other}"

    def hear_library(self, model: str) -> Job:
        """Begin to let another model hear what it has not heard of the library; it can search what it has.

        Raises:
            AppError: there is no such model, or this app is open to people whose machine this is not.
            LibraryError: there is no library, or something else is going on.
        """
        self._require_owner("models can be made to hear the library")
        model = self.canonical(model)
        self.shelf_of(model)
        if not model:
            raise AppError("the library's own model has heard it")
        return self._begin(Job(f"{model} hears the library", "sound"), lambda job: self._hear(job, model))

    def _hear(self, job: Job, model: str) -> None:
        """What has left the library is forgotten when the shelf is renewed."""
        self._add(job, self._wait().library.path, model=model)
        job.said = job.said.replace(" added", " heard")

    # --- searching ---

    @property
    def model(self) -> str:
        """Name of what searches."""
        return "" if self._scorer is None else str(self._scorer.name)

    def _wait(self) -> Shelf:
        self.ready.wait(60)
        if self.error:
            raise LibraryError(self.error)
        if self.shelf is None or not self.shelf.files:
            if self.job is not None and self.job.running and self.is_demo:
                raise LibraryError("the demo library is just being made; its first sounds are there in a minute")
            raise LibraryError("the library holds no sound yet: add a folder")
        return self.shelf

    def hear(self, path: Path, name: str = "", model: str = "") -> Query:
        """Turn a recording into a query of a model; ``name`` is what its user calls it.

        Raises:
            AudioError: it cannot be read, is too long, silent or too short.
            IminetVizError: as for :meth:`shelf_of`; its own model also hears for an empty library.
        """
        if self.shelf is None:
            self.ready.wait(60)
        if self.shelf is None:
            raise LibraryError(self.error or "the app is still starting, try again in a few seconds")
        library = (self.shelf_of(model) if model else self.shelf).library
        with by_name(path, name):
            require_short(path, self.context.settings.max_upload_s)
            return dataclasses.replace(library.hear(path), name=name or one_line(Path(path.name)))

    def search(self, query: Query, k: int = 10, text: str = "", recall: float | None = None, model: str = "") -> Answer:
        """Search the shelf of the model that heard the query.

        Raises:
            LibraryError: it is empty, or not there.
            SearchError: as for ``SoundLibrary.search``.
            IminetVizError: as for :meth:`shelf_of`.
        """
        shelf = self.shelf_of(model)
        if not shelf.files:
            raise LibraryError(f"{model} has heard nothing of this library yet")
        return shelf.library.search(query, k, text, recall)

    def find_hits(self, path: Path, k: int) -> dict[str, Path]:
        """What is found with a recording, best first: sounds of their own by file and place in it.

        Raises:
            AudioError: the recording cannot be searched with.
            LibraryError: there is no library, or nothing in it.
        """
        found = {}
        for hit in self.search(self.hear(path), k).hits:
            own = self.find_hit(name_of(hit))
            if own is not None:  # the file is still there
                name = os.fsencode(hit.path).decode("utf-8", "replace")
                found[f"{name} {hit.start_s:.3f}-{hit.stop_s:.3f} s"] = own
        return found

    def imitate(self) -> tuple[Path, str]:
        """Let a synthetic voice imitate a sound of the library at random: a new file, and the sound's name.

        Raises:
            LibraryError: there is no sound, or none that can be imitated.
        """
        from iminet_viz.imitator import SAMPLE_RATE, analyse, imitate

        shelf = self._wait()
        rng = np.random.default_rng()
        files = shelf.library.windows.files
        short = np.flatnonzero(files.durations_s <= IMITATED_S)
        for row in rng.permutation(short)[:TRIES]:
            path = Path(files.paths[row])
            with contextlib.suppress(AudioError, ImitationError):
                own = imitate(analyse(*read_native(path)), int(rng.integers(2**31)))
                made = self.context.scratch(".wav")
                save_audio(made, own.waveform / max(1.0, float(np.abs(own.waveform).max())), SAMPLE_RATE)
                return made, one_line(Path(os.fsencode(path.name).decode("utf-8", "replace")))
        raise LibraryError("no sound of the library can be imitated")

    def remember(self, search: Search, token: str) -> None:
        """Keep a search to go on with it."""
        with self._lock:
            for key in (token, search.id):
                self._searches[key] = search
                self._searches.move_to_end(key)
            while len(self._searches) > MOST_SEARCHES:
                self._searches.popitem(last=False)

    def recall(self, token: str) -> Search | None:
        """A search that was remembered."""
        with self._lock:
            return self._searches.get(token)

    # --- what can be had of a file ---

    def path_of(self, key: str) -> Path | None:
        """The file of an id, if it is in the library, still there, and a sound by its name, links followed.

        Links may lead about in the folder that was added, not out of it: a file may become one after it was added.
        """
        shelf = self.shelf
        row = None if shelf is None else shelf.by_id.get(key)
        if shelf is None or row is None:
            return None
        path = Path(shelf.library.windows.files.paths[row])
        try:
            real = Path(os.path.realpath(path))
            if not (real.is_file() and real.suffix.lower() in SUFFIXES):
                return None
            if real != path:
                (root,) = shelf.library._read_table(["root"], f"window = 0 AND id = '{key}'")["root"].to_pylist()
                if not real.is_relative_to(os.path.realpath(os.fsdecode(root))):
                    return None
            return path
        except (OSError, ValueError, LibraryError):
            return None

    def find_sound(self, what: str) -> Path | None:
        """``ID.wav``: a file of the library as a browser can play it."""
        key, _, _ = what.partition(".")
        if (path := self.path_of(key)) is None:
            return None
        suffix = PLAYED.get(path.suffix.lower())
        if suffix is None or _is_double(path):
            return self._once(f"{_stamp(path, key)}.flac", lambda to: _save_again(path, to))
        link = self.found / f"{key}{suffix}"
        with self._lock:
            real = os.path.realpath(path)
            if not link.is_symlink() or os.path.realpath(link) != real:
                link.unlink(missing_ok=True)
                link.symlink_to(real)
            if real in self.context.allowed:
                self.context.allowed.remove(real)
            self.context.allowed.append(real)
            own = [x for x in self.context.allowed if Path(x).suffix.lower() in SUFFIXES]
            for old in own[:-MOST_ALLOWED]:
                self.context.allowed.remove(old)
        return link

    def find_outline(self, what: str) -> Path | None:
        """``ID.json``: the outline of a waveform, ``BINS`` peaks from 0 to 100 relative to the largest."""
        key, _, _ = what.partition(".")
        if (path := self.path_of(key)) is None:
            return None
        return self._once(f"{_stamp(path, key)}.json", lambda to: to.write_text(json.dumps(outline(path))))

    def find_hit(self, what: str) -> Path | None:
        """What :func:`name_of` names, kept as a sound of its own; for the tab that explains."""
        from iminet_viz.retrieval import EXCERPT_S

        key, _, span = what.partition("-")
        start, dash, stop = span.partition("-")
        path = self.path_of(key)
        if path is None or not (dash and start.isdecimal() and stop.isdecimal() and len(span) < 30):
            return None
        begin, end = int(start) / 1000, int(stop) / 1000
        if header_seconds(path) <= EXCERPT_S:
            begin, end = 0.0, float("inf")
        elif not 0 < end - begin <= 2 * EXCERPT_S:
            return None
        suffix = PLAYED.get(path.suffix.lower(), ".flac")
        if end < float("inf") or suffix == ".flac":
            return self._once(f"../kept/hit-{what}.flac", lambda to: _save_again(path, to, begin, end))
        return self._once(f"../kept/hit-{what}{suffix}", lambda to: shutil.copyfile(path, to))

    def find_export(self, what: str) -> Path | None:
        """``ID.csv``, ``.json``, ``.m3u`` or ``.zip``: the hits of a search that is remembered, by its id or token."""
        token, _, kind = what.rpartition(".")
        search = self.recall(token)
        if search is None or search.answer is None:
            return None
        answer = search.answer
        from iminet_viz.index import file_id
        from iminet_viz.retrieval import to_csv, to_json, to_m3u

        texts = {"csv": to_csv, "json": to_json, "m3u": to_m3u}
        name = f"{search.id}/hits.{kind}"
        if kind in texts:
            write = texts[kind]
            return self._once(name, lambda to: to.write_text(write(answer), encoding="utf-8", errors="replace"))
        if kind != "zip" or any(self.path_of(file_id(hit.path)) is None for hit in answer.hits):
            return None
        return self._once(name, lambda to: _save_zip(answer, to, self.context.scratch()))

    def _once(self, name: str, write: Callable[[Path], Any]) -> Path | None:
        """A file of the folder of found ones, written if it is not there."""
        path = (self.found / name).resolve()
        if not path.is_file():
            try:
                with atomic_path(path) as temporary:
                    write(temporary)
            except (IminetVizError, OSError):
                return None
            if path.suffix != ".json":
                with self._lock:
                    keep_latest(self.found, MOST_FOUND, path)
        return path

    # --- growing ---

    def add_folder(self, folder: str) -> Job:
        """Begin to add a folder of this machine.

        Raises:
            AppError: this app is open to people who may not read this machine's folders, or the path is none.
            LibraryError: something else is being added.
        """
        self._require_owner("folders can be added")
        folder = folder.strip().strip('"')
        if not folder:
            raise AppError("give the path of a folder on this machine, for example ~/samples")
        with contextlib.suppress(RuntimeError):  # no such user
            folder = os.path.expanduser(folder)  # noqa: PTH111 (keeps odd names)
        if "\0" in folder or not os.path.isabs(folder):  # noqa: PTH117
            raise AppError(f"{one_line(Path(folder))}: give the whole path, from the root of the disk")
        if not os.path.isdir(folder):  # noqa: PTH112
            raise AppError(f"{one_line(Path(folder))}: there is no such folder on this machine")
        self.ready.wait(60)
        if self.error:
            raise LibraryError(self.error)

        def work(job: Job) -> None:
            self._add(job, folder)
            said = job.said
            for model in self._listeners():
                if not job.stop.is_set():
                    job.what, job.done, job.total, job.started = f"{model} hears it too", 0, 0, time.monotonic()
                    self._hear(job, model)
            job.what, job.said = f"Adding {one_line(Path(folder))}", said

        return self._begin(Job(f"Adding {one_line(Path(folder))}"), work)

    def _require_owner(self, what: str) -> None:
        settings = self.context.settings
        if settings.host not in ("127.0.0.1", "::1", "localhost") and settings.auth is None:
            raise AppError(f"{what} only where the app is used on its own machine, or with a password")

    def cancel(self) -> None:
        """End the work in the background; what is finished stays."""
        job = self.job
        if job is not None and job.running:
            job.stop.set()

    def close(self) -> None:
        """End the work in the background at the next file."""
        self._closing = True
        self.cancel()
        if self._worker is not None:
            self._worker.join(CLOSE_S)

    def _begin(self, job: Job, work: Callable[[Job], None]) -> Job:
        with self._lock:
            if self.job is not None and self.job.running:
                raise LibraryError(f"one thing after the other: {self.job.what[:1].lower()}{self.job.what[1:]} goes on")
            self.job = job

        def run() -> None:
            try:
                work(job)
            except IminetVizError as error:
                job.error = str(error)
            except OSError as error:
                job.error = f"{error.strerror}: {one_line(Path(str(error.filename)))}"
            except BaseException:
                job.error = "it failed; the log says why"
                raise
            finally:
                job.cancelled = job.stop.is_set()
                job.ended = time.monotonic()

        self._worker = threading.Thread(target=run, daemon=True)
        self._worker.start()
        return job

    def _add(self, job: Job, folder: str | Path, *, count: bool = True, model: str = "") -> None:
        """Add a folder; what was made for the demo library (not counted) is added though its making was stopped."""
        from iminet_viz.imitator.batch import cores

        library = self._library_of(model)
        library.path.parent.mkdir(parents=True, exist_ok=True)
        renew = functools.partial(self._renew_other, model) if model else self.renew
        took, last = 0.0, time.monotonic()

        def report(_: str, done: int, total: int) -> None:
            nonlocal took, last
            if count:
                job.done, job.total = done, total
            if time.monotonic() - last > max(LEAST_S, REST * took):
                begun = time.monotonic()
                renew()
                last = time.monotonic()
                took = last - begun

        stop = job.stop.is_set if count else lambda: self._closing
        # a core is left to those who search
        added = library.add(folder, workers=max(1, cores() - 1), report=report, stop=stop)
        renew()
        job.failures += [(one_line(Path(path)), reason) for path, reason in [*added.unlisted, *added.failures]]
        if count:
            new = added.new + added.replaced
            job.said = f"{new:,} sound{'s' * (new != 1)} added, {added.unchanged + added.touched:,} were there already"
            if not added.found:
                job.said = "There is no sound file in that folder"

    def _make_demo(self, job: Job) -> None:
        """Synthesise the sounds of the demo corpus and index them, some at a time; go on where it was left."""
        from iminet_viz.datasets import demo
        from iminet_viz.datasets._demo.concepts import CONCEPTS

        assert self.path is not None
        folder = self.path.parent / "sounds"
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "licence.txt") as temporary:
            temporary.write_text(f"{demo.LICENCE}\n", encoding="utf-8")
        job.total = len(CONCEPTS)
        order = [x for first in range(7) for x in CONCEPTS[first::7]]  # the first ones are of all kinds
        step = 0
        while step < len(order) and not job.stop.is_set():
            for concept in order[step : step + DEMO_STEP]:
                if job.stop.is_set():
                    break
                make_demo_sound(folder, concept)
                job.done += 1
            step += DEMO_STEP
            self._add_demo(job, folder)
        if job.done == len(order):
            with atomic_path(self._mark) as temporary:
                temporary.write_text(json.dumps({"sounds": len(order), "seed": DEMO_SEED}), encoding="utf-8")
        job.said = f"{job.done}{f' of {len(order)}' * (job.done < len(order))} sounds are there"

    def _add_demo(self, job: Job, folder: Path) -> None:
        """Index what is there; another app on this machine may be at the same."""
        until = time.monotonic() + LOCKED_S
        while True:
            try:
                self._add(job, folder, count=False)
                return
            except LibraryError as error:
                if "is changing it" not in str(error) or time.monotonic() > until or job.stop.wait(1):
                    raise
                self.renew()

    def as_dict(self) -> dict[str, Any]:
        """What the library is, and what goes on: JSON values."""
        shelf = self.shelf
        seconds = 0.0 if shelf is None else float(np.sum(shelf.library.windows.files.durations_s))
        return {
            "index": "" if self.path is None else one_line(self.path),
            "model": self.model,
            "other_models": {model: shelf.files for model, shelf in list(self._others.items())},
            "demo": self.is_demo,
            "ready": self.ready.is_set(),
            "files": 0 if shelf is None else shelf.files,
            "windows": 0 if shelf is None else len(shelf.library.windows),
            "hours": seconds / 3600,
            "version": 0 if shelf is None else shelf.library.version,
            "error": self.error,
            "job": None if self.job is None else self.job.as_dict(),
        }


def _put_on_shelf(library: SoundLibrary) -> Shelf:
    """Load all that searches need."""
    from iminet_viz.index import file_id

    if len(library.windows):
        for part in range(len(library.scorer.parts)):
            library.rows(part)
    return Shelf(library, {file_id(path): row for row, path in enumerate(library.windows.files.paths)})


def _read_term(term: str) -> tuple[str, float]:
    """Name and weight of a term of a sum; 0 where the weight is no number."""
    weight, star, name = term.partition("*")
    try:
        return (name.strip(), float(weight[:20])) if star else (term.strip(), 1.0)
    except ValueError:
        return name.strip(), 0.0


def _forget_others(library: SoundLibrary, own: SoundLibrary) -> None:
    """Remove from what another model heard the files that the app's library does not hold, or not as they were.

    Raises:
        LibraryError: another process is changing it.
    """
    files = own.windows.files
    now = dict(zip(files.paths, files.sha256, strict=True))
    heard = library.windows.files
    if gone := [path for path, sha256 in zip(heard.paths, heard.sha256, strict=True) if now.get(path) != sha256]:
        library.remove(gone)


def _count_missing(shelf: Shelf, own: Shelf) -> int:
    """Sounds of the app's library that a model could hear and has not."""
    missing = own.by_id.keys() - shelf.by_id.keys()
    if missing and shelf.files:  # those that it cannot hear, or that are gone, are not asked for again
        missing -= set(shelf.library._read_table(["id"], "status != 'ok'")["id"].to_pylist())
        paths = own.library.windows.files.paths
        missing = {key for key in missing if os.path.isfile(paths[own.by_id[key]])}  # noqa: PTH113 (odd names)
    return len(missing)


def name_of(hit: Hit) -> str:
    """``ID-START-STOP`` in ms: names what was found of a file."""
    from iminet_viz.index import file_id

    return f"{file_id(hit.path)}-{round(1000 * hit.start_s)}-{round(1000 * hit.stop_s)}"


def keep_latest(folder: Path, most: int, last: Path) -> None:
    """Remove the oldest files below a folder until the others have ``most`` bytes; ``last`` stays."""
    files = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another one removed it
            status = path.lstat()
            if path.is_file() and not path.is_symlink() and path != last:
                files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= most:
            return
        path.unlink(missing_ok=True)
        total -= size


@contextlib.contextmanager
def by_name(path: Path, name: str = "") -> Iterator[None]:
    """Say what is wrong with a sound by its name: where the app keeps it is nobody's business."""
    try:
        yield
    except AudioError as error:
        own = name or one_line(Path(path.name))
        text = str(error).replace(one_line(path), own).replace(one_line(Path(path.name)), own)
        raise AudioError(text) from None


def cache_folder() -> Path:
    """Where this user's programs keep what they can make again."""
    if own := os.environ.get(CACHE):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "iminet-viz"  # noqa: PTH117


def make_demo_sound(folder: Path, concept: Concept) -> None:
    """Synthesise a sound of the demo corpus into the folder of its kind, if it is not there."""
    from iminet_viz.datasets._demo.concepts import synthesise
    from iminet_viz.datasets._demo.signals import RATE

    path = folder / concept.subset / concept.filename
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_audio(path, synthesise(concept, DEMO_SEED), RATE)


def require_short(path: Path, most_s: float) -> None:
    """Refuse a recording that is longer than allowed, before it is decoded.

    Raises:
        AudioError: it is.
    """
    seconds = header_seconds(path)
    if seconds > most_s + 1:
        raise AudioError(
            f"{one_line(Path(path.name))}: is {seconds / 60:.1f} minutes long, at most {most_s / 60:g} are taken"
        )


def outline(path: Path, bins: int = BINS) -> list[int]:
    """Peaks of equal parts of a sound from 0 to 100, relative to the largest; about, by 10 ms.

    Raises:
        AudioError: it cannot be read.
    """
    levels = []
    for block in read_blocks(path):
        step = max(1, block.rate // 100)
        waveform = np.abs(block.waveform)
        waveform = np.pad(waveform, (0, -len(waveform) % step))
        levels.append(waveform.reshape(-1, step).max(axis=1))
    level = np.concatenate(levels)
    edges = np.linspace(0, len(level), min(bins, len(level)) + 1).astype(int)
    peaks = np.maximum.reduceat(level, edges[:-1])
    return np.rint(100 * peaks / max(float(peaks.max()), 1e-9)).astype(int).tolist()


def header_seconds(path: Path) -> float:
    """Length of a sound by its header; 0 where there is none, which whoever reads it says better."""
    import soundfile

    from iminet_viz.audio import libsndfile_name

    with contextlib.suppress(soundfile.LibsndfileError, OSError), soundfile.SoundFile(libsndfile_name(path)) as file:
        return file.frames / file.samplerate if 0 < file.frames < 2**62 else 0.0
    return 0.0


def _is_double(path: Path) -> bool:
    import soundfile

    from iminet_viz.audio import libsndfile_name

    with contextlib.suppress(soundfile.LibsndfileError, OSError), soundfile.SoundFile(libsndfile_name(path)) as file:
        return bool(file.subtype in ("DOUBLE", "IMA_ADPCM", "MS_ADPCM"))
    return False


def _stamp(path: Path, key: str) -> str:
    """Name for what is made of a file: another one when the file was changed."""
    try:
        status = path.stat()
    except OSError:
        return key
    return f"{key}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _save_again(path: Path, to: Path, start_s: float = 0.0, stop_s: float = float("inf")) -> None:
    """Write a part of a sound, mono, as FLAC."""
    pieces, at, rate = [], 0, 1
    for block in read_blocks(path):
        rate = block.rate
        begin, end = round(start_s * rate) - at, min(stop_s * rate, 2**62) - at
        if end <= 0:
            break
        pieces.append(block.waveform[max(begin, 0) : round(min(end, len(block.waveform)))])
        at += len(block.waveform)
    waveform = np.concatenate(pieces)
    save_audio(to, waveform / max(1.0, float(np.abs(waveform).max(initial=0))), rate)  # floats may be beyond full scale


def _save_zip(answer: Answer, to: Path, scratch: Path) -> None:
    from iminet_viz.retrieval import export_hits

    try:
        export_hits(answer, scratch)
        made = shutil.make_archive(str(scratch), "zip", scratch)
        shutil.move(made, to)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


__all__ = ["Job", "Search", "Shelf", "Sounds", "cache_folder", "make_demo_sound", "outline"]
