"""What all tabs of the app share: settings, models, the gallery, files that may be served, links between tabs.

A tab is a file ``app/NAME.py`` with ``def build(context: Context) -> None``, called inside ``with gr.Tab(...)``::

    def build(context):
        query = gr.Audio(type="filepath")
        ...
        endpoint(search, "search")                               # a function with type hints: plain values in and out
        button.click(show, query, hits, api_visibility="private")         # what the page itself calls, hidden
        context.on_visit("search", open_query, [query])                   # what a link to this tab does

**Links between tabs.** Every state worth a link is an address:
``?tab=patterns&id=tl-iminet-conv123/imitation.conv2/17`` shows a neuron's pattern,
``?tab=explain&query=TOKEN&candidate=TOKEN&model=NAME`` explains a hit (tokens of :meth:`Context.keep`).
:meth:`Context.link` writes them, escaped. Put one into any HTML as ``<a href="...">``: the page follows it without
loading anew (``address.js``), so that recordings in other tabs stay; the back button works; the same address opens the
same state in another window. A tab that can be linked to says what to do by :meth:`Context.on_visit`; the frame selects
the tab. Names of the tabs: search, patterns, make, compare, explain, study.

**Files.** :meth:`Context.url` is the address of a file in the gallery, in the work folder, or in a folder given to
:meth:`Context.serve`; nothing else on the machine can be had, no link leads out, and only pictures, sounds, arrays and
JSON; single files by what a tab knows of them: :meth:`Context.serve_found`. A sound that another tab shall find again
goes into :meth:`Context.keep`, which answers the token for the link.

**What comes from files or users is text**: build HTML with :func:`tag`, which escapes it; ``_figure.py`` has players
with a playhead, tables, charts and empty states. Numbers that the manifest of a gallery holds are foreign too.

**A mistake is a sentence**: wrap what the page or an endpoint calls in :func:`in_a_sentence`.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import dataclasses
import functools
import html
import inspect
import json
import os
import secrets
import shutil
import tempfile
import threading
import time
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from iminet_viz.app._uploads import Uploads
from iminet_viz.errors import AppError, CheckpointError, GalleryError, IminetVizError
from iminet_viz.shipped import shipped_models

if TYPE_CHECKING:
    from iminet_viz.checkpoint import TrainedModel

SHIPPED_GALLERY = Path(__file__).resolve().parents[2] / "gallery"
SERVED = {".png", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aif", ".aiff", ".npy", ".json", ".csv"}
KEEP_S = 3600  # kept files and uploads live so long after they were written
MOST_MODELS = 8  # in memory at once
VOID_TAGS = {"img", "br", "input", "source"}


@dataclasses.dataclass(frozen=True)
class AppSettings:
    """How the app is started."""

    index: Path | None = None  # sound library; None: the demo library
    gallery: Path | None = None  # None: the shipped one
    model: str = "default"  # of the search
    host: str = "127.0.0.1"
    port: int | None = None  # None: the first free one from 7860
    auth: tuple[str, str] | None = None  # user, password
    max_upload_mb: int = 100
    max_upload_s: float = 600.0  # of a sound that is uploaded or recorded
    study: Path | None = None  # file of the listening test; None: in the user's data folder
    queue_size: int = 40  # requests that wait; one more is told to come back
    browser: bool = True  # open one


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Entries of a gallery by their id (``model/layer/neuron``), as its manifest has them."""

    folder: Path | None = None
    entries: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    measures: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)  # label, unit, meaning
    manifest: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """In the order of the manifest."""
        return list(dict.fromkeys(str(entry["model"]) for entry in self.entries.values()))


# a sound and a number of hits, to what was found, best first, by a name that stays; raises what a search raises
Search = Callable[[Path, int], Mapping[str, Path]]


@dataclasses.dataclass(frozen=True)
class Hook:
    """What a tab does at a moment.

    These are ``visit`` of its address, ``select`` of its tab, ``open`` and ``leave`` of a page, ``start`` and ``close``
    of the app.
    """

    moment: str
    function: Callable[..., Any]
    outputs: Sequence[Any] = ()
    tab: str = ""
    inputs: Sequence[Any] = ()


@dataclasses.dataclass(frozen=True)
class Context:
    """What all tabs share; see the head of this file. One for the life of the app, used from many threads."""

    settings: AppSettings
    gallery: Gallery
    folder: Path  # for temporary files; emptied and removed at the end
    roots: dict[str, Path] = dataclasses.field(default_factory=dict)  # folders that are served, by name
    finders: dict[str, Callable[[str], Path | None]] = dataclasses.field(default_factory=dict)  # of single files
    allowed: list[str] = dataclasses.field(default_factory=list)  # what gradio may read: these folders, files found
    hooks: list[Hook] = dataclasses.field(default_factory=list)
    searches: list[Search] = dataclasses.field(default_factory=list)  # what the tab Search offers to others
    models: dict[str, TrainedModel] = dataclasses.field(default_factory=dict)
    named: set[str] = dataclasses.field(default_factory=set)  # models that who runs the app named: may be paths
    lock: threading.RLock = dataclasses.field(default_factory=threading.RLock)

    @functools.cached_property
    def uploads(self) -> Uploads:
        """What pages and programs send."""
        return Uploads(self.folder / "uploads")

    def model(self, name: str) -> TrainedModel:
        """Load a model once; it is shared, so it must not be changed: :meth:`own_model` is for who does.

        Raises:
            CheckpointError: there is no such shipped model, or it is damaged.
        """
        from iminet_viz.checkpoint import load_model

        if name not in ("default", self.settings.model, *shipped_models()):  # a user's word is never a path
            raise CheckpointError(f"no model {name!r}, expected one of: {', '.join(shipped_models())}")
        with self.lock:
            if name not in self.models:
                while len(self.models) >= MOST_MODELS:
                    self.models.pop(next(iter(self.models)))
                self.models[name] = load_model(name)
            return self.models[name]

    def own_model(self, name: str) -> TrainedModel:
        """A copy of a model for one user: optimising swaps parts of its network while others run theirs."""
        shared = self.model(name)
        return dataclasses.replace(shared, network=copy.deepcopy(shared.network))

    def link(self, tab: str, **query: object) -> str:
        """Address of a tab's state, for ``href``; relative, so that it works behind any host."""
        return "?" + urlencode({"tab": tab, **{key: str(value) for key, value in query.items()}}, safe="/")

    def on_visit(self, tab: str, function: Callable[..., Any], outputs: Sequence[Any]) -> None:
        """Call ``function(query)`` when a link leads to ``tab``; ``query`` is ``{name: text}`` from anybody.

        It returns (or yields) one value for each of ``outputs``, as an event of gradio does.
        """
        self.hooks.append(Hook("visit", function, outputs, tab))

    def on_select(self, tab: str, function: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Call ``function(*inputs)`` when a tab is opened, by hand or by a link, each time."""
        self.hooks.append(Hook("select", function, outputs, tab, inputs))

    def on_open(self, function: Callable[..., Any], outputs: Sequence[Any]) -> None:
        """Call ``function()`` when a page opens: for what takes too long while the app is built."""
        self.hooks.append(Hook("open", function, outputs))

    def on_leave(self, function: Callable[..., Any]) -> None:
        """Call ``function(request: gr.Request)`` when a page was closed: ends the work of ``request.session_hash``."""
        self.hooks.append(Hook("leave", function))

    def on_close(self, function: Callable[[], Any]) -> None:
        """Call ``function()`` when the app ends, before its work folder is removed."""
        self.hooks.append(Hook("close", function))

    def on_start(self, function: Callable[[], Any]) -> None:
        """Call ``function()`` in the background once the app answers: loads what the first request would wait for."""
        self.hooks.append(Hook("start", function))

    def serve(self, name: str, folder: Path) -> None:
        """Let the files of a folder be had under a name (letters, digits, ``-``)."""
        self.roots[name] = folder.resolve()
        self.allowed.append(str(self.roots[name]))

    def serve_found(self, name: str, find: Callable[[str], Path | None]) -> None:
        """Let single files be had under a name: ``find`` answers the file of what follows it, None where there is none.

        The address is ``gradio_api/file=@NAME/WHAT``, and ``NAME-WHAT`` is a token of :meth:`kept`. It is called from
        any thread for anybody's words; a file outside the work folder must be in ``allowed`` by then.
        """
        self.finders[name] = find

    def url(self, path: Path) -> str:
        """Address of a served file, relative to the page.

        Raises:
            AppError: it is in none of the folders that are served.
        """
        whole = path.resolve()
        for name, root in self.roots.items():
            if whole.is_relative_to(root):
                return f"gradio_api/file=@{name}/{quote(whole.relative_to(root).as_posix())}"
        raise AppError(f"{path.name}: is in no folder that the app may show")

    def keep(self, path: Path) -> str:
        """Copy a file to where other tabs find it for an hour; returns the token that :meth:`kept` takes."""
        kept = self.folder / "kept"
        _sweep(kept)
        token = secrets.token_urlsafe(12)
        suffix = path.suffix.lower()
        shutil.copyfile(path, kept / f"{token}{suffix if suffix in SERVED else '.bin'}")
        return token

    def kept(self, token: str) -> Path | None:
        """The file of a token from :meth:`keep`; None where it is gone or never was."""
        if not token.replace("-", "").replace("_", "").isalnum():
            return None
        for path in (self.folder / "kept").glob(f"{token}.*"):
            if path.is_file():
                return path
        name, _, what = token.partition("-")
        return self.finders[name](what) if name in self.finders else None

    def scratch(self, suffix: str = "") -> Path:
        """A new name in the work folder, for a file or folder that a page may show for an hour."""
        folder = self.folder / "scratch"
        _sweep(folder)
        return folder / f"{secrets.token_urlsafe(12)}{suffix}"


def _sweep(folder: Path) -> None:
    """Remove what is older than an hour."""
    for old in folder.iterdir():
        with contextlib.suppress(OSError):  # another thread was first
            if time.time() - old.stat().st_mtime > KEEP_S:
                shutil.rmtree(old) if old.is_dir() else old.unlink()


def open_context(settings: AppSettings) -> Context:
    """Read the gallery and make the work folder.

    Raises:
        GalleryError: the folder named by the settings is no gallery.
    """
    gallery = read_gallery(settings.gallery or SHIPPED_GALLERY, optional=settings.gallery is None)
    folder = Path(tempfile.mkdtemp(prefix="iminet-viz-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # where nobody closes it
    context = Context(settings, gallery, folder)
    # gradio puts uploads and what it serves there; by default both would outlive the app
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(folder / "examples")
    # gradio makes a table of its last events after each of them, for a page that we do not have: time and memory
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"], os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1", str(2**62)
    for name in ("uploads", "kept", "scratch"):
        (folder / name).mkdir()
    for name in ("kept", "scratch"):
        context.serve(name, folder / name)
    if gallery.folder is not None:
        context.serve("gallery", gallery.folder)
    return context


def close_context(context: Context, wait_s: float = 0.0) -> bool:
    """End what goes on, and remove the work folder with all uploads; tell whether all work has ended by then."""
    from iminet_viz.app._work import end_work

    for hook in context.hooks:
        if hook.moment == "close":
            hook.function()
    ended = end_work(wait_s)
    shutil.rmtree(context.folder, ignore_errors=True)
    return ended


def in_a_sentence(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a user's mistake a message of the page, or the error of an endpoint: one sentence, nothing lost.

    For functions and generators; whatever else fails is our bug and goes to the log.
    """
    import gradio as gr

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def yielding(*arguments: Any, **named: Any) -> Any:
            try:
                yield from function(*arguments, **named)
            except IminetVizError as error:
                raise gr.Error(html.escape(str(error), quote=False), print_exception=False) from None

        return yielding

    @functools.wraps(function)
    def returning(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except IminetVizError as error:
            raise gr.Error(html.escape(str(error), quote=False), print_exception=False) from None

    return returning


def endpoint(function: Callable[..., Any], name: str, **options: Any) -> None:
    """Make a function with type hints an endpoint of the API, ``/name``; what it yields comes as it goes on.

    Args:
        function: takes and returns JSON values; its docstring is shown.
        name: without the slash.
        options: of ``gr.api``, as ``concurrency_limit``.
    """
    from gradio.events import api

    hints = typing.get_type_hints(function)  # gradio reads the words of the signature, which are text in our modules
    if typing.get_origin(hints.get("return")) is Iterator:
        (hints["return"],) = typing.get_args(hints["return"])
    function.__annotations__ = hints
    api(in_a_sentence(function), api_name=name, **options)


def read_gallery(folder: Path, optional: bool = False) -> Gallery:
    """Read the manifest of a gallery; entries that are not whole are left out.

    Raises:
        GalleryError: there is no manifest, or it is none.
    """
    if optional and not (folder / "manifest.json").is_file():
        return Gallery()
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        listed = list(manifest["entries"])
    except OSError as error:
        raise GalleryError(f"{folder}: is no gallery, its manifest.json cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise GalleryError(f"{folder}: is no gallery, its manifest.json is damaged") from None
    folder = folder.resolve()
    entries: dict[str, Mapping[str, Any]] = {}
    for entry in listed:
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            home = (folder / entry["folder"]).resolve()
            words = all(isinstance(entry[key], str) for key in ("id", "model", "layer", "picture"))
            parts = all(isinstance(entry[key], dict) for key in ("evidence", "inputs"))
            if words and parts and home.is_relative_to(folder) and isinstance(entry["neuron"], int):
                entries[entry["id"]] = entry
    measures = manifest.get("measures")
    return Gallery(folder, entries, measures if isinstance(measures, dict) else {}, manifest)


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Write an HTML element; text and attributes are escaped, children made by this function are not escaped again.

    ``class_`` is class, ``data_url`` is data-url; True writes the bare attribute, None and False leave it out.
    """
    written = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        written += f" {attribute}" if value is True else f' {attribute}="{html.escape(str(value), quote=True)}"'
    if name in VOID_TAGS:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Markup:
    """Children of an element one after the other: text escaped, elements as they are, None left out."""
    parts = (
        child if isinstance(child, Markup) else html.escape(str(child), quote=False)
        for child in children
        if child is not None
    )
    return Markup("".join(parts))


class Markup(str):
    """HTML that :func:`tag` wrote, in which everything foreign is escaped."""

    __slots__ = ()
