"""Tab "Search": a sound from the microphone or a file, what was heard of it, and the sounds of the library it means."""

from __future__ import annotations

import base64
import contextlib
import html
import io
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from iminet_viz.app import _figure as pieces
from iminet_viz.app._context import Context, Markup, endpoint, tag
from iminet_viz.app._sounds import PLAYED, Job, Search, Shelf, Sounds, by_name, header_seconds, name_of, require_short
from iminet_viz.app._theme import read_asset
from iminet_viz.audio import SUFFIXES, one_line, read_blocks
from iminet_viz.errors import AppError, AudioError, IminetVizError, LibraryError, SearchError
from iminet_viz.shipped import DEFAULT_SEARCH, find_model, read_json, shipped_models

if TYPE_CHECKING:
    from iminet_viz.retrieval import Answer, Hit

STEP, MOST = 10, 100  # hits at once, and with "more"
API_MOST = 1_000
AT_ONCE = 4  # searches that run side by side
COLUMNS = 900  # of the picture of a query, at most
TICKS_HZ = (250, 500, 1_000, 2_000, 4_000, 8_000)
SHOWN_FAILURES = 50
RECALLS = {"Exact": None, "99 % of the first ten": 0.99, "95 %": 0.95}
NO_NETWORKS = ("language-tower", "sound-tower")  # kinds that do not compare two sounds
UNTRAINED = ("log-mel", "mfcc", "cqt")  # baselines that a library can be made for


def build(context: Context) -> None:
    """Lay out the tab."""
    sounds = Sounds(context)
    with gr.Row(elem_classes="iv-split iv-search"):
        with gr.Column(scale=4, min_width=300):
            desk = gr.HTML(
                recorder(), js_on_load=read_asset("search.js"), apply_default_css=False, elem_id="iv-recorder"
            )
            view = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="iv-query")
        with gr.Column(scale=7, min_width=320):
            shelf = gr.HTML(show_shelf(sounds), js_on_load=None, apply_default_css=False, elem_id="iv-shelf")
            with gr.Row(elem_classes="iv-work-row", visible=False) as working:
                work = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="iv-work", scale=5)
                halt = gr.Button("Stop", variant="stop", size="sm", scale=0, min_width=90, elem_id="iv-halt-work")
                go_on = gr.Button("Go on", size="sm", scale=0, min_width=90, elem_id="iv-go-on", visible=False)
            with gr.Row(elem_classes="iv-bar"):
                text = gr.Textbox(
                    label="Only sounds with these words",
                    placeholder="in their name, folder or label, for example: door",
                    scale=4,
                    max_lines=1,
                    elem_id="iv-words",
                )
            with gr.Row(elem_classes="iv-bar iv-by"):
                models = list_models(context)
                others = [("nothing", ""), *(pair for pair in models if pair[1]), *((x, x) for x in UNTRAINED)]
                model = gr.Dropdown(models, value="", label="Model", scale=1, min_width=120, elem_id="iv-model")
                fused = gr.Dropdown(others, value="", label="Fused with", scale=1, min_width=120, elem_id="iv-fused")
                speed = gr.Dropdown(
                    list(RECALLS), value="Exact", label="How exact", visible=False, scale=1, min_width=120
                )
            hits = gr.HTML(NOTHING, js_on_load=None, apply_default_css=False, elem_id="iv-hits")
            with gr.Accordion("Add a folder to the library", open=False, elem_id="iv-grow"):
                with gr.Row(elem_classes="iv-grow-row"):
                    folder = gr.Textbox(
                        label="Folder on the machine that runs this app",
                        placeholder="/home/me/samples",
                        scale=4,
                        max_lines=1,
                        elem_id="iv-folder",
                    )
                    add = gr.Button("Add", variant="primary", scale=0, min_width=110, elem_id="iv-add")
                refusal = gr.HTML(GROW, js_on_load=None, apply_default_css=False, elem_id="iv-grow-note")
    token = gr.State("")
    timer = gr.Timer(1.0, active=False)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    searching: dict[str, Any] = {**quiet, "concurrency_id": "search", "concurrency_limit": AT_ONCE}

    asked = [text, model, fused, speed]

    def hear(words: str, own: str, more: str, how: str, event: gr.EventData) -> Iterator[Any]:
        try:
            path = context.uploads.find(str(event._data.get("path", "")))
        except AppError as error:
            yield show_problem(_sentence(error)), gr.skip(), ""
            return
        name = one_line(
            Path(str(event._data.get("name") or path.name)[:200])
        )  # gradio keeps the harmless letters of it
        try:
            yield from answer_upload(context, sounds, path, name, words, RECALLS.get(how), sounds.sum_of(own, more))
        finally:  # an address of a search can be opened again: what it needs is kept for an hour
            context.uploads.remove(path)

    # "multiple": a sound that comes while another is searched with must not be lost
    desk.heard(hear, asked, [view, hits, token], trigger_mode="multiple", **searching)

    def listen(words: str, own: str, more: str, how: str) -> Iterator[Any]:
        try:
            path, name = sounds.imitate()
        except IminetVizError as error:
            yield gr.skip(), show_problem(_sentence(error)), ""
            return
        try:
            title = f"A synthetic voice imitates {name}"
            yield from answer_upload(context, sounds, path, title, words, RECALLS.get(how), sounds.sum_of(own, more))
        finally:
            path.unlink(missing_ok=True)

    desk.imitated(listen, asked, [view, hits, token], trigger_mode="multiple", **searching)

    def again(key: str, words: str, own: str, more: str, how: str) -> Any:
        return search_again(context, sounds, key, words, STEP, RECALLS.get(how), sounds.sum_of(own, more))

    text.change(again, [token, *asked], hits, trigger_mode="always_last", **searching)
    speed.input(again, [token, *asked], hits, **searching)
    for choice in (model, fused):
        choice.input(again, [token, *asked], hits, trigger_mode="always_last", js=WAIT, **searching).then(
            None, js=GO_ON
        )

    def more(key: str, words: str, own: str, other: str, how: str) -> Any:
        before = sounds.recall(key)
        shown = len(before.answer.hits) if before is not None and before.answer is not None else 0
        most = min(shown + STEP, MOST)
        return search_again(context, sounds, key, words, most, RECALLS.get(how), sounds.sum_of(own, other))

    desk.more(more, [token, *asked], hits, **searching)

    watching = [shelf, working, work, halt, go_on, timer, speed]

    def let_hear(own: str, more: str) -> list[Any]:
        try:
            sounds.hear_library(sounds.sum_of(own, more))
        except IminetVizError as error:
            gr.Warning(html.escape(_sentence(error), quote=False), title="It does not hear this library")
        return show_state(sounds)

    desk.let_hear(let_hear, [model, fused], watching, **quiet).then(None, js=AGAIN)
    desk.has_heard(again, [token, *asked], hits, **searching)

    def watch() -> list[Any]:
        sounds.look_again()
        return show_state(sounds)

    def grow(path: str) -> list[Any]:
        try:
            sounds.add_folder(path or "")
        except IminetVizError as error:
            return [show_problem(str(error), "This folder cannot be added."), *show_state(sounds)]
        return [GROW, *show_state(sounds)]

    def resume() -> list[Any]:
        with contextlib.suppress(LibraryError):  # another page was first
            sounds.make_demo()
        return show_state(sounds)

    def stop() -> list[Any]:
        sounds.cancel()
        return show_state(sounds)

    timer.tick(lambda: show_state(sounds), None, watching, queue=False, **quiet)
    add.click(grow, folder, [refusal, *watching], **quiet)
    folder.submit(grow, folder, [refusal, *watching], **quiet)
    halt.click(stop, None, watching, queue=False, **quiet)
    go_on.click(resume, None, watching, queue=False, **quiet)
    context.on_open(watch, watching)
    context.on_start(sounds.open)
    context.searches.append(sounds.find_hits)

    def visit(query: Mapping[str, str]) -> Any:
        key = query.get("query", "")
        if not key:
            return [gr.skip()] * 6
        path = context.kept(key)
        search = sounds.recall(key)
        if path is None or search is None:
            gone = pieces.empty_state(
                "This search is not kept any more.", "Recordings are deleted after an hour: make the sound again."
            )
            return "", gone, "", *[gr.skip()] * 3
        words = query.get("text", "")
        chosen = ((own, more) for _, own in models for _, more in others)
        own, more = next((pair for pair in chosen if sounds.sum_of(*pair) == query.get("model", "")), ("", ""))
        picture = show_query(context, path, key, search.query.name)
        return picture, again(key, words, own, more, ""), key, words, own, more

    context.on_visit("search", visit, [view, hits, token, text, model, fused])
    add_endpoints(context, sounds)


# while another model searches, what it replaces is dimmed, as with a new sound
WAIT = "(...asked) => { document.getElementById('iv-hits')?.classList.add('iv-waits'); return asked; }"
# a button that could not begin can be pressed again
AGAIN = "() => { document.querySelectorAll('.iv-let-hear').forEach((button) => { button.disabled = false; }); }"
GO_ON = "() => { document.getElementById('iv-hits')?.classList.remove('iv-waits'); }"


# --- what a query does ----------------------------------------------------------------------------------------------


def list_models(context: Context) -> list[tuple[str, str]]:
    """What can search, ``(shown, name)``, the library's own first, whatever it is."""
    kinds = {name: read_json(find_model(name) / "config.json").get("kind") for name in shipped_models()}
    found = [name for name, kind in kinds.items() if kind not in NO_NETWORKS]
    found.sort(key=lambda name: (name != DEFAULT_SEARCH, not name.startswith("tl-"), name))
    own = context.settings.model
    if own == "default" and context.settings.index is None:
        own = DEFAULT_SEARCH
    shown = "The library's own" if own == "default" else f"{Path(own).name} (the library's)"
    return [(shown, ""), *((name, name) for name in found if name != own)]


def answer_upload(
    context: Context, sounds: Sounds, path: Path, name: str, words: str, recall: float | None, model: str = ""
) -> Iterator[tuple[Any, Any, Any]]:
    """The picture of a recording at once, then the hits; what is wrong with it is said where the picture would be."""
    picture: Markup | None = None
    try:
        with by_name(path, name):
            require_short(path, context.settings.max_upload_s)
            key = context.keep(path)
            picture = show_query(context, path, key, name)
        yield picture, gr.skip(), gr.skip()
        query = sounds.hear(path, name, model)
    except AudioError as error:
        hint = " Is the microphone muted?" if "is silent" in str(error) else ""
        problem = show_problem(_stop(str(error)) + hint, "This cannot be searched with.")
        yield tag("div", picture, problem, class_="iv-stack"), NOTHING, ""
        return
    except IminetVizError as error:
        yield gr.skip(), show_problem(_sentence(error)), ""
        return
    sounds.remember(Search(query, key, words, model=model), key)
    yield gr.skip(), search_again(context, sounds, key, words, STEP, recall, model), key


def search_again(
    context: Context, sounds: Sounds, key: str, words: str, k: int, recall: float | None, model: str = ""
) -> Any:
    """Hits of a query that was heard, for other words, another model, or more of them."""
    search = sounds.recall(key)
    try:
        shelf = sounds.shelf_of(model)
        if not shelf.files:
            return show_unheard(model, shelf)
        if search is None:
            return NOTHING
        query = search.query
        if search.model != model:
            if (recording := context.kept(key)) is None:
                return pieces.empty_state("This recording is not kept any more.", "Make the sound again.")
            query = sounds.hear(recording, query.name, model)
        answer = sounds.search(query, k, words, recall, model)
    except SearchError as error:
        return pieces.empty_state("No sound with these words.", f"{_sentence(error)} Take fewer or other words.")
    except AppError as error:
        return pieces.empty_state("These models do not search together.", _sentence(error))
    except IminetVizError as error:
        return pieces.empty_state("There is nothing to search yet.", _sentence(error))
    search = Search(query, key, words, answer, model)
    sounds.remember(search, key)
    return show_hits(context, sounds, search, answer, shelf if shelf.missing else None)


def _sentence(error: Exception) -> str:
    text = str(error)
    return _stop(f"{text[:1].upper()}{text[1:]}")


def _stop(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


# --- the recorder, the picture of the query -------------------------------------------------------------------------


def recorder() -> Markup:
    """Record, or take a file; what it does is in ``search.js``."""
    button = tag(
        "button",
        tag("span", class_="iv-dot", aria_hidden="true"),
        tag("span", "Record", class_="iv-rec-label"),
        type="button",
        class_="iv-rec",
        aria_pressed="false",
    )
    choose = tag(
        "label",
        "Choose a file",
        tag("input", type="file", accept=",".join(sorted({*SUFFIXES, "audio/*"})), class_="iv-sr", aria_label="Sound"),
        class_="iv-button iv-choose",
    )
    return tag(
        "div",
        tag("p", "Hum it, hiss it, beatbox it: one sound, a few seconds.", class_="iv-lead"),
        tag("div", button, choose, class_="iv-rec-row"),
        tag("div", tag("i"), class_="iv-level", aria_hidden="true"),
        tag("p", "or drop a sound anywhere on this page", class_="iv-rec-state iv-quiet", role="status"),
        tag(
            "p",
            "No microphone? ",
            tag("button", "Let a synthetic voice imitate a sound", type="button", class_="iv-link iv-imitate"),
            class_="iv-quiet",
        ),
        tag("audio", preload="none", class_="iv-hit-audio"),
        class_="iv-recorder",
    )


def show_problem(text: str, what: str = "Nothing was searched.") -> Markup:
    """What is wrong, where the answer would be."""
    mark = secrets.token_hex(4)  # the page sees that this came, though it said the same before
    return tag("div", tag("strong", what), tag("p", _stop(text)), class_="iv-doubts", role="alert", data_token=mark)


def show_query(context: Context, path: Path, key: str, name: str) -> Markup:
    """Waveform and log-mel on the same axis of seconds, a player, and what is wrong with the recording.

    Raises:
        AudioError: it cannot be read.
    """
    from iminet_viz.retrieval import judge_query
    from iminet_viz.windows import LONGEST_S, SILENCE_DB

    kept = context.kept(key)
    waveform, rate, duration = read_beginning(path, LONGEST_S)
    warnings = judge_query(waveform, rate)
    peak = float(np.abs(waveform).max(initial=0))
    if duration > LONGEST_S:
        warnings.append(f"It is long: only the first {LONGEST_S:.0f} s of {clock(duration)} are searched with.")
    seconds = len(waveform) / rate
    loud = np.flatnonzero(np.abs(waveform) > peak * 10 ** (-SILENCE_DB / 20)) if peak else np.zeros(0, int)
    first, last = (loud[0] / len(waveform), (loud[-1] + 1) / len(waveform)) if len(loud) else (0.0, 1.0)
    silent = [
        tag(
            "i", class_="iv-silent", style=f"left:{100 * left:.2f}%;width:{100 * width:.2f}%", title="silence: left out"
        )
        for left, width in ((0.0, first), (last, 1 - last))
        if width > 0.005
    ]
    head = {"class_": "iv-head", "hidden": True, "data_side": "query", "data_left": 0, "data_width": 1}
    levels, ticks = _log_mel(waveform, rate)
    mask = f"url(data:image/png;base64,{base64.b64encode(_png(levels)).decode()})"
    step = next((x for x in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if seconds / x <= 7), 60)
    times = [i * step for i in range(int(seconds / step + 1e-6) + 1)]
    unit = pieces.THIN + "s"
    across = [
        tag("span", f"{time:g}{unit if i == len(times) - 1 else ''}", style=f"left:{100 * time / seconds:.2f}%")
        for i, time in enumerate(times)
    ]
    up = [tag("span", f"{_hertz(hz)}", style=f"bottom:{100 * place:.2f}%") for hz, place in ticks]
    return tag(
        "div",
        tag("h2", name, class_="iv-query-name"),
        tag(
            "div",
            tag("div", tag("span", "peak"), tag("span", f"{_decibels(peak)}"), class_="iv-ys iv-ys-wave"),
            tag(
                "div",
                _wave(waveform),
                *silent,
                tag("i", **head, style="top:0;height:100%"),
                class_="iv-plot iv-plot-wave",
                role="img",
                aria_label=f"Waveform of {name}, {seconds:.1f} s, peak {_decibels(peak)}",
            ),
            tag("div", *up, class_="iv-ys iv-ys-mel"),
            tag(
                "div",
                tag("div", class_="iv-mel", style=f"mask-image:{mask};-webkit-mask-image:{mask}"),
                tag("i", **head, style="top:0;height:100%"),
                class_="iv-plot iv-plot-mel",
                role="img",
                aria_label=f"Log-mel spectrogram of {name}, 50 Hz to 8 kHz, 80 dB",
            ),
            tag("div", tag("span", "Hz"), class_="iv-ys iv-ys-unit"),
            tag("div", *across, class_="iv-xs"),
            class_="iv-axes",
        ),
        tag(
            "div",
            pieces.player(pieces.Sound(context.url(kept), name, "Your sound", duration, "query"))
            if kept is not None and kept.suffix.lower() in PLAYED
            else tag("p", "A browser may not play this kind of file.", class_="iv-quiet"),
            class_="iv-players",
        ),
        tag("div", tag("ul", *(tag("li", warning) for warning in warnings)), class_="iv-doubts") if warnings else None,
        class_="iv-figure iv-stack iv-heard",
        data_token=key,
    )


def read_beginning(path: Path, most_s: float) -> tuple[np.ndarray, int, float]:
    """Samples of the first seconds, ``(samples,)``, their rate, and the length of the whole file in seconds."""
    pieces_, count, rate = [], 0, 1
    for block in read_blocks(path):
        rate = block.rate
        pieces_.append(block.waveform)
        count += len(block.waveform)
        if count >= most_s * rate:
            break
    waveform = np.concatenate(pieces_)[: round(most_s * rate)]
    return waveform, rate, max(header_seconds(path), len(waveform) / rate)


def _wave(waveform: np.ndarray, bins: int = 400) -> Markup:
    """The outline of a waveform as an SVG that fills its box."""
    edges = np.linspace(0, len(waveform), min(bins, len(waveform)) + 1).astype(int)[:-1]
    scale = max(float(np.abs(waveform).max(initial=0)), 1e-9)
    high = np.maximum.reduceat(waveform, edges) / scale
    low = np.minimum.reduceat(waveform, edges) / scale
    top = [f"{i} {1 - max(float(value), 0.01):.3f}" for i, value in enumerate(high)]
    bottom = [f"{i} {1 - min(float(value), -0.01):.3f}" for i, value in reversed(list(enumerate(low)))]
    path = tag("path", d=f"M{'L'.join([*top, *bottom])}Z")
    view = {"viewBox": f"0 0 {max(len(edges) - 1, 1)} 2", "preserveAspectRatio": "none", "aria-hidden": "true"}
    return tag("svg", path, **view)


def _log_mel(waveform: np.ndarray, rate: int) -> tuple[np.ndarray, list[tuple[int, float]]]:
    """Levels from 0 (80 dB below the maximum) to 1, ``(bands, columns)``, and where round frequencies lie in it."""
    import soxr

    from iminet_viz.frames import MEL_FRAMES, mel_decibels
    from iminet_viz.frontends import log_mel_of_frames

    own = MEL_FRAMES.sample_rate
    samples = waveform if rate == own else soxr.resample(waveform, rate, own)
    levels = 1 + mel_decibels(samples if len(samples) else np.zeros(1, np.float32)) / MEL_FRAMES.top_db
    if not np.abs(waveform).max(initial=0) > 0:
        levels = np.zeros_like(levels)
    if levels.shape[1] > COLUMNS:
        edges = np.linspace(0, levels.shape[1], COLUMNS + 1).astype(int)[:-1]
        levels = np.maximum.reduceat(levels, edges, axis=1)
    centres = log_mel_of_frames(MEL_FRAMES).band_frequencies()
    wanted = [hz for hz in TICKS_HZ if hz <= centres[-1] * 1.05]
    places = (np.interp(wanted, centres, np.arange(len(centres))) + 0.5) / len(centres)
    ticks: list[tuple[int, float]] = []
    for hz, place in zip(reversed(wanted), reversed(places.tolist()), strict=True):  # the mel scale crowds low ones
        if not ticks or ticks[-1][1] - place > 0.12:
            ticks.append((hz, place))
    return levels.clip(0, 1), ticks


def _png(levels: np.ndarray) -> bytes:
    """Levels as the opacity of a PNG, low bands below: the page gives it a colour, light or dark."""
    from PIL import Image

    opacity = np.rint(255 * levels[::-1] ** 1.5).astype(np.uint8)
    image = Image.fromarray(np.stack([np.zeros_like(opacity), opacity], axis=-1), "LA")
    written = io.BytesIO()
    image.save(written, "PNG", compress_level=6)
    return written.getvalue()


# --- hits -----------------------------------------------------------------------------------------------------------

NOTHING = pieces.empty_state(
    "Make the sound with your voice.",
    "Record it or drop a file; the most similar sounds of the library come up here. Then ",
    tag("kbd", "↓"),
    " and ",
    tag("kbd", "↑"),
    " play one hit after the other, ",
    tag("kbd", "space"),
    " stops.",
)


def show_unheard(model: str, shelf: Shelf) -> Markup:
    """Another model has heard nothing of the library, or not all: what to do."""
    button = tag("button", "Let it hear them", type="button", class_="iv-button iv-let-hear")
    sounds = pieces.plural(shelf.missing, "sound")
    if shelf.files:
        text = tag("p", f"{model} has not heard {sounds} of this library. ", button)
        return tag("div", text, class_="iv-quiet iv-unheard")
    says = "What it hears is kept in your cache folder; searching with the library’s own model goes on meanwhile."
    return pieces.empty_state(f"{model} has not heard the {sounds} of this library.", says, tag("p", button))


def show_hits(context: Context, sounds: Sounds, search: Search, answer: Answer, unheard: Shelf | None = None) -> Markup:
    """The list of hits of a search, with what can be done with it; ``unheard`` is the shelf of who heard but a part."""
    key, model = search.kept, search.model or sounds.model
    shown = len(answer.hits)
    how = "exact" if answer.exact else f"{pieces.percent(answer.recall)} of the first ten found, measured"
    seconds = sum(answer.seconds.values())
    head = tag(
        "div",
        tag(
            "p",
            tag("b", f"{shown} of {pieces.plural(answer.files, 'sound')}"),
            f", best first, {how}",
            f", by {model}",
            tag("span", f", {seconds:.2f}{pieces.THIN}s", class_="iv-took"),
            role="status",
        ),
        tag(
            "div",
            tag("span", "Take them along:", class_="iv-quiet"),
            *(
                tag(
                    "a",
                    kind.upper(),
                    href=f"gradio_api/file=@hits/{search.id}.{kind}",
                    download=f"hits.{kind}",
                    class_="iv-button",
                    title=title,
                )
                for kind, title in EXPORTS.items()
            ),
            class_="iv-files",
        ),
        class_="iv-hits-head",
    )
    more = None
    if shown < min(answer.files, MOST):
        more = tag("button", "More", type="button", class_="iv-button iv-more")
    return tag(
        "div",
        head,
        show_unheard(model, unheard) if unheard is not None else None,
        tag(
            "ol",
            *(show_hit(context, key, answer.query.name, hit, model) for hit in answer.hits),
            class_="iv-hit-list",
        ),
        tag("div", more, class_="iv-files"),
        tag(
            "p",
            "The score compares sounds for this query only; “above” is the share of all sounds that score less; "
            "“stands out” is how far the score lies above a sound of the library at random, in deviations.",
            class_="iv-quiet iv-note",
        ),
        class_="iv-stack iv-answer",
        data_token=key,
        data_model=None if model == sounds.model else model,
        data_text=search.text or None,
    )


EXPORTS = {
    "csv": "A table with all that is said here",
    "json": "The whole answer, for programs",
    "m3u": "A playlist; players that know it start where the hit is",
    "zip": "Copies of the files, with the table",
}


def show_hit(context: Context, key: str, query: str, hit: Hit, model: str) -> Markup:
    """One hit of a model for a query of that name: play, outline with the found span, name, figures, why."""
    from iminet_viz.index import file_id
    from iminet_viz.retrieval import EXCERPT_S

    path = Path(hit.path)
    name, whole = (os.fsencode(x).decode("utf-8", "replace") for x in (path.name, hit.path))
    name = one_line(Path(name))
    own = file_id(hit.path)
    suffix = PLAYED.get(path.suffix.lower(), ".flac")
    long = hit.duration_s > hit.stop_s - hit.start_s + 0.5
    seconds = max(hit.duration_s, 1e-3)
    span = max(100 * (hit.stop_s - hit.start_s) / seconds, 0.8)
    left = min(100 * hit.start_s / seconds, 100 - span)
    where = f"{clock(hit.start_s)} to {clock(hit.stop_s)} of {clock(hit.duration_s)}" if long else clock(hit.duration_s)
    # of a long file the other tab is given what was found
    place = f", {clock(hit.start_s)} to {clock(hit.stop_s)}" if hit.duration_s > EXCERPT_S else ""
    names = {"query_name": query, "candidate_name": f"{name}{place}"}
    why = context.link("explain", query=key, candidate=f"hit-{name_of(hit)}", model=model, **names)
    facts = [("score", pieces.number(hit.score)), ("above", _percentile(hit.percentile))]
    if hit.stands_out is not None:
        facts.append(("stands out", f"{hit.stands_out:.1f}".replace("-", "−")))
    return tag(
        "li",
        tag("span", hit.rank, class_="iv-rank"),
        tag(
            "button",
            pieces._icon("iv-go", "M4.5 2.2v11.6L14 8z"),
            pieces._icon("iv-stop", "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z"),
            type="button",
            class_="iv-play",
            aria_label=f"Play or stop hit {hit.rank}, {name}",
        ),
        tag(
            "div",
            tag("svg", class_="iv-outline", viewBox="0 0 300 100", preserveAspectRatio="none", aria_hidden="true"),
            tag("i", class_="iv-span", style=f"left:{left:.2f}%;width:{span:.2f}%") if long else None,
            tag("i", class_="iv-hit-head", hidden=True),
            class_="iv-wavebox",
            title="Click to play from there",
        ),
        tag(
            "div",
            tag("b", name, class_="iv-file", title=whole),
            tag("span", f"{hit.label}{f' · {hit.licence}' if hit.licence else ''}", class_="iv-quiet iv-label"),
            class_="iv-names",
        ),
        tag(
            "dl",
            tag(
                "div",
                tag("dt", "at") if long else tag("dt", "Length", class_="iv-sr"),
                tag("dd", where, class_="iv-where"),
            ),
            *(tag("div", tag("dt", what), tag("dd", value)) for what, value in facts),
            class_="iv-facts",
        ),
        tag(
            "div",
            tag("a", "Why?", href=why, class_="iv-button", aria_label=f"Why hit {hit.rank}, {name}?"),
            tag(
                "button",
                pieces._icon("iv-sheets", "M5.5 5.5V2.5h8v8h-3M2.5 5.5h8v8h-8z"),
                type="button",
                class_="iv-button iv-copy",
                data_path=whole,
                title=f"Copy the path: {whole}",
                aria_label=f"Copy the path of hit {hit.rank}, {name}",
            ),
            class_="iv-acts",
        ),
        class_="iv-hit",
        tabindex=0 if hit.rank == 1 else -1,
        data_key=own,
        data_src=f"gradio_api/file=@sound/{own}{suffix}",
        data_outline=f"gradio_api/file=@outline/{own}.json",
        data_start=f"{hit.start_s if long else 0:.3f}",
        data_seconds=f"{hit.duration_s:.3f}",
        aria_label=f"Hit {hit.rank}: {name}, {where}",
    )


def clock(seconds: float) -> str:
    """``2.4 s``, ``1:02.4``, ``1:00:02``."""
    if seconds < 60:
        return f"{seconds:.1f}{pieces.THIN}s"
    if seconds < 3600:
        return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
    return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"


def _percentile(value: float) -> str:
    return "100" + pieces.THIN + "%" if value >= 100 else pieces.percent(value / 100)


def _hertz(hz: int) -> str:
    return f"{hz // 1000}k" if hz >= 1000 else str(hz)


def _decibels(peak: float) -> str:
    return pieces.decibels(20 * float(np.log10(peak))) if peak > 0 else "silent"


# --- the library ----------------------------------------------------------------------------------------------------


GROW = tag(
    "p",
    "Files stay where they are: only what the model hears of them is stored. WAV, FLAC, OGG, MP3 and AIFF are read; "
    "searching goes on meanwhile.",
    class_="iv-quiet",
)


def show_state(sounds: Sounds) -> list[Any]:
    """The line of the library, what goes on, what can be done to it, whether to look again, the choice of speed."""
    job = sounds.job
    running = (job is not None and job.running) or not sounds.ready.is_set()
    shelf = sounds.shelf
    skips = shelf is not None and shelf.files > 0 and shelf.library.can_skip
    said = show_job(job)
    unfinished = sounds.ready.is_set() and sounds.is_unfinished
    if unfinished and not said:
        said = tag("p", "The demo library is not whole.", class_="iv-quiet")
    return [
        show_shelf(sounds),
        gr.Row(visible=bool(said)),
        said,
        gr.Button(visible=job is not None and job.running, interactive=job is not None and not job.stop.is_set()),
        gr.Button(visible=unfinished),
        gr.Timer(active=running),
        gr.Dropdown(visible=skips),
    ]


def show_shelf(sounds: Sounds) -> Markup:
    """Which library is searched, by which model, and how much is in it."""
    shelf = sounds.shelf
    if sounds.error:
        return tag(
            "div",
            tag("strong", "There is no library."),
            tag("p", _sentence(Exception(sounds.error))),
            class_="iv-doubts",
        )
    if not sounds.ready.is_set() or shelf is None:
        return tag("p", tag("b", "Library"), " is being opened …", class_="iv-shelf-line iv-quiet")
    name = "Demo library" if sounds.is_demo else one_line(Path(sounds.path.name if sounds.path else ""))
    seconds = float(np.sum(shelf.library.windows.files.durations_s)) if shelf.files else 0.0
    return tag(
        "p",
        tag("b", name, title=one_line(sounds.path) if sounds.path else ""),
        tag("span", pieces.plural(shelf.files, "sound")),
        tag("span", _hours(seconds)) if seconds else None,
        tag("span", "model ", tag("code", sounds.model)),
        tag("button", "Add a folder", type="button", class_="iv-link iv-to-grow"),
        class_="iv-shelf-line",
    )


def show_job(job: Job | None) -> Markup | str:
    """What goes on in the background, or how it ended."""
    if job is None or (job.is_old and not job.failures and not job.error):
        return ""
    failures = None
    if job.failures:
        rows = [
            tag("li", tag("b", Path(file).name, title=file), f" {reason}")
            for file, reason in job.failures[:SHOWN_FAILURES]
        ]
        if (rest := len(job.failures) - SHOWN_FAILURES) > 0:
            rows.append(tag("li", f"and {rest:,} more, see iminet-viz index status"))
        failures = tag(
            "details",
            tag("summary", f"{pieces.plural(len(job.failures), 'file')} could not be added"),
            tag("ul", *rows),
            class_="iv-failures",
        )
    if job.running:
        rate, left = job.rate, job.left_s
        share = job.done / job.total if job.total else 0.0
        parts = [f"{job.done:,} of {job.total:,} {job.unit}s" if job.total else "looking for sounds"]
        if rate:
            parts.append(f"{rate:.1f} {job.unit}s/s")
        if left is not None and job.total:
            parts.append(f"{_left(left)} left")
        if job.stop.is_set():
            parts = ["stopping after the files at hand"]
        bar = tag(
            "div",
            tag("i", style=f"width:{100 * share:.1f}%"),
            class_="iv-bar-track",
            role="progressbar",
            aria_valuemin=0,
            aria_valuemax=100,
            aria_valuenow=round(100 * share),
            aria_label=job.what,
        )
        text = tag("p", ", ".join(parts), class_="iv-quiet")
        return tag(
            "div",
            tag("strong", job.what),
            bar,
            text,
            failures,
            class_="iv-job iv-stack",
            data_job=job.id,
            data_running=str(job.running).lower(),
        )
    if job.error:
        done = tag("p", _sentence(Exception(job.error)))
        return tag(
            "div",
            tag("strong", f"{job.what}: not finished"),
            done,
            failures,
            class_="iv-doubts",
            role="alert",
            data_job=job.id,
        )
    ended = f"Stopped: {job.said}" if job.cancelled and job.said else job.said or "Stopped; what was finished stays"
    line = f"{job.what}: {ended[:1].lower()}{ended[1:]}."
    return tag(
        "div",
        tag("p", line, class_="iv-quiet"),
        failures,
        class_="iv-job iv-stack",
        data_job=job.id,
        data_running=str(job.running).lower(),
    )


def _hours(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(seconds / 60, 0.1):.{0 if seconds > 600 else 1}f}{pieces.THIN}min"
    return f"{seconds / 3600:.1f}{pieces.THIN}h"


def _left(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# --- endpoints ------------------------------------------------------------------------------------------------------


def add_endpoints(context: Context, sounds: Sounds) -> None:
    """``/search``, ``/add_folder``, ``/hear_library`` and ``/library``."""

    def search(file: dict, k: int = 10, text: str = "", model: str = "") -> dict:
        """Find the sounds of the library that a vocal imitation means.

        file is an upload: handle_file("meow.wav"). model is another one than the library's own, or a sum, a+b or
        0.7*a+0.3*b, that has heard the library: see /hear_library. Answers the hits, best first, with what the search
        was; a hit's file is its path on the app's machine, and start_s and stop_s say where in it.
        """
        path = context.uploads.find(str((file or {}).get("path", "")) if isinstance(file, dict) else "")
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= API_MOST:
            raise SearchError(f"{k!r} hits were asked for, expected 1 to {API_MOST}")
        try:
            query = sounds.hear(path, model=str(model))
        finally:
            context.uploads.remove(path)
        answer = sounds.search(query, k, str(text), model=str(model)).as_dict()
        for hit in answer["hits"]:
            hit["file"] = hit.pop("path")  # gradio's client fetches whatever has a "path"
        return answer

    def add_folder(path: str) -> dict:
        """Begin to add a folder of the app's machine to the library; ask /library how far it is."""
        return sounds.add_folder(str(path)).as_dict()

    def hear_library(model: str) -> dict:
        """Begin to let another model, or a sum, hear the library, so that it can search; ask /library how far it is."""
        return sounds.hear_library(str(model)).as_dict()

    def library() -> dict:
        """What the library holds, its model, and what is being added."""
        sounds.look_again()
        return sounds.as_dict()

    endpoint(search, "search", concurrency_id="search")
    endpoint(add_folder, "add_folder")
    endpoint(hear_library, "hear_library")
    endpoint(library, "library")
