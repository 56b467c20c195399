"""Tab "Patterns": the gallery, with picture and sound together, the twin beside it, and what the evidence says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from iminet_viz.app import _figure as pieces
from iminet_viz.app._context import SERVED, Context, Gallery, Markup, endpoint, in_a_sentence, join, tag
from iminet_viz.errors import AppError, GalleryError

PAGE = 60  # pictures at once
ALIVE = 0.05  # share of the map above 0, as evidence warns
FILTERS = {"alive": "Alive", "sound": "No warnings"}
BUILD = "iminet-viz gallery build --models tl-iminet-conv123 tl-iminet-scratch --out DIR"


def build(context: Context) -> None:
    """Lay out the tab."""
    gallery = context.gallery
    if not gallery.entries:
        gr.HTML(
            pieces.empty_state(
                "There is no gallery to browse.",
                "Build one with ",
                tag("code", BUILD),
                " and start the app with ",
                tag("code", "--gallery DIR"),
                ". A single pattern can be made in the tab ",
                tag("a", "Make a pattern", href=context.link("make")),
                ".",
            )
        )
        return
    first = sort_entries(list(gallery.entries.values()), gallery, "layer")
    with gr.Row(elem_classes="iv-bar"):
        model = gr.Dropdown([("All models", ""), *gallery.models], value=gallery.models[0], label="Model")
        layer = gr.Dropdown([("All layers", ""), *layers_of(gallery)], value="", label="Tower and layer")
        sort = gr.Dropdown(sorts_of(gallery), value="layer", label="Sort by")
        only = gr.CheckboxGroup([(text, key) for key, text in FILTERS.items()], value=[], label="Show only")
    page = gr.State(0)
    with gr.Row(elem_classes="iv-split"):
        with gr.Column(scale=2, min_width=300, elem_classes="iv-master"):
            listed, before, after, _ = list_page(context, gallery.models[0], "", "layer", [], 0)
            grid = gr.HTML(listed, js_on_load=None, apply_default_css=False)
            with gr.Row(elem_classes="iv-pager"):
                earlier = gr.Button("Previous 60", size="sm", visible=before)
                later = gr.Button("Next 60", size="sm", visible=after)
        with gr.Column(scale=5, min_width=320, elem_classes="iv-detail"):
            shown = next((entry for entry in first if entry["model"] == gallery.models[0]), first[0])
            detail = gr.HTML(show_entry(context, shown), js_on_load=None, apply_default_css=False, elem_id="iv-pattern")

    def turn(step: int) -> Any:
        def turned(name: str, where: str, by: str, kinds: list[str], number: int) -> Any:
            number = number + step if step else 0
            listed, before, after, number = list_page(context, name, where, by, kinds, number)
            return listed, gr.Button(visible=before), gr.Button(visible=after), number

        return in_a_sentence(turned)

    inputs, outputs = [model, layer, sort, only, page], [grid, earlier, later, page]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    for one in (model, layer, sort, only):
        one.change(turn(0), inputs, outputs, **quiet)
    earlier.click(turn(-1), inputs, outputs, **quiet)
    later.click(turn(1), inputs, outputs, **quiet)

    def visit(query: Mapping[str, str]) -> Any:
        name = query.get("id")
        return gr.skip() if name is None else show_entry(context, gallery.entries.get(name), name)

    context.on_visit("patterns", visit, [detail])

    def patterns(
        model: str = "", layer: str = "", sort: str = "layer", alive: bool = False, no_warnings: bool = False
    ) -> list[dict]:
        """List the patterns of the gallery: id, model, layer, neuron, activation, evidence, warnings, twin.

        Without a model or layer all are listed; sort is layer, activation or the name of a measure.
        """
        kinds = [key for key, wanted in (("alive", alive), ("sound", no_warnings)) if wanted]
        found = select(gallery, model, layer, sort, kinds)
        keys = ("id", "model", "layer", "neuron", "kind", "activation", "evidence", "warnings", "twin")
        return [{key: entry.get(key) for key in keys} for entry in found]

    def pattern(id: str) -> dict:
        """All that the gallery knows of one pattern, with the addresses of its picture and sounds."""
        entry = gallery.entries.get(id) if isinstance(id, str) else None
        if entry is None:
            raise GalleryError(f"the gallery has no pattern {id!r}, expected for example {next(iter(gallery.entries))}")
        return {**entry, "urls": urls_of(context, entry), "link": context.link("patterns", id=entry["id"])}

    endpoint(patterns, "patterns")
    endpoint(pattern, "pattern")


# --- the list -------------------------------------------------------------------------------------------------------


def layers_of(gallery: Gallery) -> list[tuple[str, str]]:
    """Title and name of every layer, shallow to deep, tower by tower."""
    layers = sorted({str(entry["layer"]) for entry in gallery.entries.values()}, key=pieces.layer_order)
    return [(pieces.layer_title(layer), layer) for layer in layers]


def sorts_of(gallery: Gallery) -> list[tuple[str, str]]:
    """What the list can be sorted by, and which end comes first."""
    known = [("Layer and neuron", "layer"), ("Activation, highest first", "activation")]
    for key, measure in gallery.measures.items():
        if any(_value(entry, key) is not None for entry in gallery.entries.values()):
            end = "lowest" if measure.get("more_is_better") is False else "highest"
            known.append((f"{measure.get('label', key)}, {end} first", str(key)))
    return known


def select(gallery: Gallery, model: str, layer: str, sort: str, only: Sequence[str]) -> list[Mapping[str, Any]]:
    """Entries of a model and layer (empty: all) that pass the filters, sorted.

    Raises:
        GalleryError: nothing can be sorted by that, or there is no such model or layer.
    """
    sorts = [key for _, key in sorts_of(gallery)]
    layers = [name for _, name in layers_of(gallery)]
    for what, name, known in (("model", model, gallery.models), ("layer", layer, layers), ("measure", sort, sorts)):
        if name and name not in known:
            raise GalleryError(f"the gallery has no {what} {name!r}, expected one of: {', '.join(known)}")
    found = [
        entry
        for entry in gallery.entries.values()
        if (not model or entry["model"] == model)
        and (not layer or entry["layer"] == layer)
        and ("alive" not in only or (_value(entry, "alive") or 0) >= ALIVE)
        and ("sound" not in only or not entry.get("warnings"))
    ]
    return sort_entries(found, gallery, sort or "layer")


def sort_entries(entries: list[Mapping[str, Any]], gallery: Gallery, sort: str) -> list[Mapping[str, Any]]:
    """Sort by layer and neuron or by a measure, the better end first; what was not measured comes last."""
    ranks = {name: rank for rank, name in enumerate(gallery.models)}

    def place(entry: Mapping[str, Any]) -> tuple[Any, ...]:
        return (*pieces.layer_order(entry["layer"]), ranks[entry["model"]], entry["neuron"], entry["id"])

    in_order = sorted(entries, key=place)
    if sort == "layer":
        return in_order
    sign = 1 if gallery.measures.get(sort, {}).get("more_is_better") is False else -1

    def rank(entry: Mapping[str, Any]) -> tuple[bool, float]:
        value = _value(entry, sort)
        return value is None, 0.0 if value is None else sign * value

    return sorted(in_order, key=rank)


def list_page(
    context: Context, model: str, layer: str, sort: str, only: Sequence[str], page: int
) -> tuple[str, bool, bool, int]:
    """HTML of one page of the list, whether there are pages before and after it, and its number."""
    gallery = context.gallery
    found = select(gallery, model or "", layer or "", sort or "layer", only or ())
    last = max(math.ceil(len(found) / PAGE) - 1, 0)
    page = min(max(page, 0), last)
    if not found:
        text = "Choose another layer or model, or show more than the patterns you ticked."
        return pieces.empty_state("No pattern matches.", text), False, False, 0
    part = found[page * PAGE : (page + 1) * PAGE]
    end = page * PAGE + len(part)
    count = pieces.plural(len(found), "pattern") + (f", {page * PAGE + 1} to {end} shown" if last else "")
    cards = tag("div", *(card(context, entry, sort) for entry in part), class_="iv-grid")
    return tag("div", tag("p", count, class_="iv-quiet", role="status"), cards), page > 0, page < last, page


def card(context: Context, entry: Mapping[str, Any], sort: str) -> Markup:
    """A small picture that opens the pattern, with the value that the list is sorted by."""
    gallery = context.gallery
    own = gallery.measures.get(sort)
    value = pieces.measure_text(gallery, entry, sort) if own else pieces.number(entry.get("activation"))
    label = str(own.get("label", sort)) if own else "Activation"
    doubtful = len(entry.get("warnings") or ())
    layer = str(entry["layer"]).rpartition(".")[2]
    tower = str(entry["layer"]).partition(".")[0] if "." in str(entry["layer"]) else "pair"
    return tag(
        "a",
        _thumbnail(context, entry),
        tag(
            "span",
            tag("b", f"{layer} {entry['neuron']}"),
            tag("span", tower, class_="iv-tower"),
            tag("span", "!", class_="iv-flag", title=f"{pieces.plural(doubtful, 'warning')}") if doubtful else None,
        ),
        tag("span", f"{label} {value}", class_="iv-quiet"),
        class_="iv-card",
        href=context.link("patterns", id=entry["id"]),
        aria_label=f"{pieces.long_name(entry)}, {entry['model']}, {label} {value}"
        + (f", {pieces.plural(doubtful, 'warning')}" if doubtful else ""),
    )


# --- one pattern ----------------------------------------------------------------------------------------------------


def show_entry(context: Context, entry: Mapping[str, Any] | None, name: str = "") -> str:
    """Everything about one pattern; an empty state where there is none of that name, or it is damaged."""
    if entry is None:
        return pieces.empty_state(f"The gallery has no pattern {name!r}.", "Choose one from the list.")
    try:
        return _show(context, entry)
    except (KeyError, TypeError, ValueError, AttributeError, AppError):
        return pieces.empty_state(
            f"The pattern {entry['id']!r} is damaged.",
            "Check the gallery with ",
            tag("code", "iminet-viz gallery verify"),
        )


def _show(context: Context, entry: Mapping[str, Any]) -> Markup:
    gallery = context.gallery
    pair = len(entry["inputs"]) > 1
    again = {"model": entry["model"], "layer": entry["layer"], "neuron": entry["neuron"], "seed": entry.get("seed", 0)}
    link = context.link("patterns", id=entry["id"])
    head = tag(
        "div",
        tag("div", tag("h2", pieces.long_name(entry)), tag("p", entry["model"], class_="iv-quiet"), class_="iv-titles"),
        tag("a", "Make it again", href=context.link("make", **again), class_="iv-button"),
        tag("button", "Copy link", type="button", data_iv="copy", data_link=link, class_="iv-button"),
        class_="iv-head-row",
    )
    own = tag(
        "section",
        tag("h3", "Picture and sound"),
        pieces.entry_figure(context, entry, _home(context, entry)),
        aria_label="Picture and sound",
    )
    charts = []
    if chart := pieces.histogram(entry):
        charts.append(tag("section", tag("h3", f"Against real {'pairs' if pair else 'clips'}"), chart))
    if clips := _top_clips(context, entry):
        charts.append(clips)
    return tag(
        "div",
        head,
        tag("div", own, _twin(context, entry), class_="iv-pairup"),
        tag("div", pieces.badges(entry), tag("p", pieces.verdict(entry)), pieces.doubts(entry), class_="iv-verdict"),
        tag("div", *charts, class_="iv-pairup") if charts else None,
        pieces.pair_table(gallery, entry),
        pieces.evidence_table(gallery, entry),
        _downloads(context, entry),
        class_="iv-stack",
    )


def _twin(context: Context, entry: Mapping[str, Any]) -> Markup:
    gallery = context.gallery
    twin = entry.get("twin")
    other = gallery.entries.get(twin["id"]) if isinstance(twin, dict) else None
    if not isinstance(twin, dict) or other is None:
        why = (
            f"Its twin {twin['id']} has no pattern in this gallery." if twin else "No twin was matched to this neuron."
        )
        return tag("section", tag("h3", "Twin"), tag("p", why, class_="iv-blank"), aria_label="Twin")
    about = (
        f" Correlation {pieces.number(twin['correlation'], 2)} of the two neurons' activations on the same real clips. "
        "Neurons of two nets are matched by it, because their numbers mean nothing across nets."
    )
    name = f"{pieces.long_name(other)}, {other['model']}"
    return tag(
        "section",
        tag("h3", "Twin in ", other["model"]),
        pieces.entry_figure(context, other, _home(context, other)),
        tag("p", tag("a", name, href=context.link("patterns", id=other["id"])), ".", about, class_="iv-quiet"),
        aria_label="Twin",
    )


def _top_clips(context: Context, entry: Mapping[str, Any]) -> Markup | None:
    """Real clips that excite the neuron most, to be heard where the gallery has copies of them."""
    top = (entry.get("reference") or {}).get("top") or ()
    if not top:
        return None
    sides = entry["inputs"]
    items, heard = [], False
    for clip in top:
        roles = [role for role in sides if role in clip] or [next(iter(sides))]
        names = [str(clip.get("clip") or clip[role]) for role in roles]
        pictures = clip.get("pictures") or [clip.get("picture")]
        sounds = clip.get("sounds") or [clip.get("sound")]
        figures = []
        for role, name, picture, sound in zip(roles, names, pictures, sounds, strict=False):
            if picture and sound and context.gallery.folder is not None:
                heard = True
                url = context.url(context.gallery.folder / sound)
                own = pieces.Sound(url, f"real clip {name}", role.capitalize(), sides[role]["duration_s"], role)
                image = context.url(context.gallery.folder / picture)
                figures.append(pieces.figure(image, f"Spectrogram of {name}", (512, 200), [role], [own]))
        named = zip(roles, names, strict=True)
        title = join(tag("span", f"{role}: {name}" if len(roles) > 1 else name) for role, name in named)
        value = tag("b", pieces.number(clip.get("activation")))
        items.append(tag("li", tag("div", tag("div", title, class_="iv-lines"), value, class_="iv-row"), *figures))
    what = "pairs" if len(sides) > 1 else "clips"
    note = tag(
        "p",
        "The recordings themselves are not in this gallery. Build it on your own copy (",
        tag("code", "--exemplars FOLDER"),
        ") to hear them here.",
        class_="iv-quiet",
    )
    heading = f"Real {what} that excite it most"
    return tag(
        "section",
        tag("h3", heading, tag("small", " activation")),
        tag("ol", *items, class_="iv-clips"),
        None if heard else note,
    )


def _downloads(context: Context, entry: Mapping[str, Any]) -> Markup:
    home, files = _home(context, entry), []
    for name in ("pattern.json", *(str(name) for name in entry.get("files", ()))):
        if Path(name).suffix in SERVED and (home / name).is_file():
            files.append(tag("a", name, href=context.url(home / name), download=True, class_="iv-button"))
    return tag("div", tag("span", "Files ", class_="iv-quiet"), *files, class_="iv-files")


def urls_of(context: Context, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Addresses of an entry's picture, sounds and arrays, relative to the app's."""
    home = _home(context, entry)
    sounds = {
        f"{role}.{method}": context.url(home / sound["file"])
        for role, side in entry["inputs"].items()
        for method, sound in side.get("sounds", {}).items()
    }
    arrays = {role: context.url(home / side["array"]) for role, side in entry["inputs"].items()}
    return {"picture": context.url(home / entry["picture"]), "sounds": sounds, "arrays": arrays}


def _home(context: Context, entry: Mapping[str, Any]) -> Path:
    assert context.gallery.folder is not None
    return context.gallery.folder / str(entry["folder"])


def _thumbnail(context: Context, entry: Mapping[str, Any]) -> Markup:
    try:
        return pieces.thumbnail(context.url(_home(context, entry) / entry["picture"]), len(entry["inputs"]))
    except AppError:  # a name that leads out of the gallery
        return tag("span", class_="iv-thumb")


def _value(entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get("activation") if key == "activation" else entry["evidence"].get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
