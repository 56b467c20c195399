"""Pieces of pages that several tabs show: a picture with its sounds and a playhead, numbers, charts, tables.

All return HTML that :func:`iminet_viz.app._context.tag` wrote, so whatever comes from files is text. What moves is in
``app.js``: a sound's playhead runs over the pictures of its ``figure`` that show its side.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from iminet_viz.app._context import Context, Gallery, Markup, tag

# Where the axes of a spectrogram lie in plotting's plates, as shares of the picture; tests hold them to plotting.
PLATE_LEFT, PLATE_WIDTH = 0.1, 0.7553
METHODS = {"griffin-lim": "Griffin-Lim", "direct": "Direct"}
TOWERS = {"imitation": "Imitation tower", "recording": "Recording tower"}
NONE = "–"
ROLES = ("imitation", "recording")
THIN = "\u00a0"


@dataclasses.dataclass(frozen=True)
class Sound:
    """A sound beside a picture."""

    url: str
    label: str  # for a screen reader
    name: str  # shown
    seconds: float
    side: str = ""  # whose playhead it moves


def plate_rows(rows: int) -> list[tuple[float, float]]:
    """Top and height of the axes of each row of a plate of ``plotting.plot_pattern``, as shares of the picture."""
    bottom, top = 0.19 / rows, 1 - 0.11 / rows
    gap = 0.45 if rows > 1 else 0.2  # of the height of a row
    height = (top - bottom) / (rows + gap * (rows - 1))
    return [(1 - top + row * height * (1 + gap), height) for row in range(rows)]


def figure(
    picture: str, alt: str, size: Sequence[int], sides: Sequence[str], sounds: Sequence[Sound], note: object = None
) -> Markup:
    """A picture of spectrograms below each other, and players of its sounds."""
    heads = [
        tag(
            "i",
            class_="iv-head",
            hidden=True,
            data_side=side,
            data_left=PLATE_LEFT,
            data_width=PLATE_WIDTH,
            style=f"top:{100 * top:.2f}%;height:{100 * height:.2f}%",
        )
        for side, (top, height) in zip(sides, plate_rows(len(sides) or 1), strict=False)
    ]
    image = tag("img", src=picture, alt=alt, width=size[0], height=size[1], decoding="async")
    return tag(
        "div",
        framed(size, image, *heads),
        tag("div", *(player(sound) for sound in sounds), class_="iv-players") if sounds else note,
        class_="iv-figure",
    )


def framed(size: Sequence[int], *parts: Markup) -> Markup:
    """A picture of a size with what lies over it; a phone scrolls through it, so that its axes can be read."""
    whole = tag("div", *parts, class_="iv-plate", style=f"aspect-ratio:{size[0]}/{size[1]}")
    return tag("div", whole, class_="iv-wide")


def thumbnail(picture: str, rows: int) -> Markup:
    """The spectrograms of a plate side by side, without their axes; the text beside it says what they are."""
    left, width = -100 * PLATE_LEFT / PLATE_WIDTH, 100 / PLATE_WIDTH
    crops = [
        tag(
            "span",
            tag(
                "img",
                src=picture,
                alt="",
                loading="lazy",
                decoding="async",
                style=f"left:{left:.1f}%;width:{width:.1f}%;top:{-100 * top / height:.1f}%;height:{100 / height:.1f}%",
            ),
        )
        for top, height in plate_rows(rows)
    ]
    return tag("span", *crops, class_="iv-thumb")


def player(sound: Sound) -> Markup:
    """Play button, name, position and time of one sound."""
    return tag(
        "div",
        tag(
            "button",
            _icon("iv-go", "M4.5 2.2v11.6L14 8z"),
            _icon("iv-stop", "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z"),
            type="button",
            data_iv="play",
            class_="iv-play",
            aria_label=f"Play or pause {sound.label}",
        ),
        tag("span", sound.name, class_="iv-name"),
        tag("input", type="range", min=0, max=1000, value=0, aria_label=f"Position in {sound.label}"),
        tag("span", f"0.0 of {sound.seconds:.1f} s", class_="iv-time"),
        tag("audio", src=sound.url, preload="none", data_side=sound.side, data_seconds=sound.seconds),
        class_="iv-player",
    )


def entry_figure(context: Context, entry: Mapping[str, Any], folder: Any) -> Markup:
    """Picture and sounds of a gallery's entry, whose files lie in a served folder."""
    sides = list(entry["inputs"])
    return figure(
        context.url(folder / entry["picture"]),
        f"Spectrogram{'s' * (len(sides) > 1)} found for {long_name(entry)} of {entry['model']}",
        picture_size(entry),
        sides,
        entry_sounds(context, entry, folder),
        tag("p", "No sound: only log-mel inputs can be made to sound.", class_="iv-quiet"),
    )


def entry_sounds(context: Context, entry: Mapping[str, Any], folder: Any) -> list[Sound]:
    """Sounds of an entry, those of one method together."""
    pair = len(entry["inputs"]) > 1
    return [
        Sound(
            context.url(folder / side["sounds"][method]["file"]),
            f"{METHODS[method]} sound of {f'the {role} side of ' * pair}{long_name(entry)}, {entry['model']}",
            f"{METHODS[method]}{f', {role}' * pair}",
            float(side["duration_s"]),
            role,
        )
        for method in METHODS
        for role, side in entry["inputs"].items()
        if method in side.get("sounds", {})
    ]


def picture_size(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of an entry's picture in pixels."""
    try:
        width, height = (int(value) for value in entry["picture_size"])
        return max(width, 1), max(height, 1)
    except (KeyError, TypeError, ValueError):
        return 512, 200 * max(len(entry["inputs"]), 1)


# --- names ----------------------------------------------------------------------------------------------------------


def layer_title(layer: str) -> str:
    """``imitation.conv2`` as ``Imitation tower, conv2``; ``fc1`` as ``Pairs, fc1``."""
    tower, dot, name = layer.partition(".")
    return f"{TOWERS.get(tower, tower)}, {name}" if dot else f"Pairs, {layer}"


def neuron_name(entry: Mapping[str, Any]) -> str:
    """``neuron 17``, ``unit 5`` of a pair, ``direction``."""
    kind = entry.get("kind")
    return "direction" if kind == "direction" else f"{'unit' if kind == 'fc_unit' else 'neuron'} {entry['neuron']}"


def long_name(entry: Mapping[str, Any]) -> str:
    """Layer and neuron."""
    return f"{layer_title(entry['layer'])} {neuron_name(entry)}"


def layer_order(layer: str) -> tuple[int, str]:
    """Key that sorts layers as the towers have them: imitation, recording, pairs."""
    order = ("imitation.", "recording.", "fc")
    return next((place for place, start in enumerate(order) if layer.startswith(start)), len(order)), layer


# --- numbers --------------------------------------------------------------------------------------------------------


def number(value: object, digits: int = 3) -> str:
    """Digits that count: 0.0123, 1.23, 123."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e5 or size < 1e-4:
        return f"{value:.{digits - 1}e}".replace("-", "\u2212")
    places = max(0, min(6, digits - 1 - math.floor(math.log10(size))))
    return f"{value:.{places}f}".replace("-", "\u2212")


def percent(share: object) -> str:
    """A share as per cent; never rounded onto 0 or 100 from beside it."""
    if not isinstance(share, int | float) or not math.isfinite(share):
        return NONE
    value = 100 * share
    text = f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}"
    if float(text) == 100 and value < 100:
        text = "> 99.9" if value >= 99.95 else f"{value:.1f}"
    elif float(text) == 0 and value > 0:
        text = "< 0.1"
    return f"{text}{THIN}%".replace("-", "\u2212")


def times(value: object) -> str:
    """A factor."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return NONE
    return f"{value:.0f}{THIN}×" if value >= 100 else f"{number(value, 1) if value < 0.01 else f'{value:.2f}'}{THIN}×"


def decibels(value: object) -> str:
    """A level."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return NONE
    return f"{value:.1f}{THIN}dB".replace("-", "\u2212")


SHOWN: dict[str, Callable[[object], str]] = {"%": percent, "x": times, "dB": decibels, "": number}


def measure_text(gallery: Gallery, entry: Mapping[str, Any], key: str) -> str:
    """A measure of an entry with its unit."""
    unit = str(gallery.measures.get(key, {}).get("unit", ""))
    return SHOWN.get(unit, number)(entry["evidence"].get(key))


def plural(count: int, word: str) -> str:
    """``1 clip``, ``664 clips``."""
    return f"{count:,} {word}{'s' * (count != 1)}"


# --- what the evidence says -----------------------------------------------------------------------------------------


def badges(entry: Mapping[str, Any], most: int = 3) -> Markup:
    """Whether the pattern beats real clips, and its warnings in short."""
    real = "real pair" if len(entry["inputs"]) > 1 else "real clip"
    reference = entry.get("reference")
    if not reference:
        marks = [("", f"not compared with {real}s")]
    elif reference.get("exceeds"):
        marks = [("iv-beats", f"beats every {real}")]
    else:
        marks = [("", f"below the strongest {real}")]
    warnings = [str(text).split(":")[0] for text in entry.get("warnings") or ()]
    marks += [("iv-warn", text) for text in warnings[:most]]
    return tag(
        "div", *(tag("span", text, class_=f"iv-badge {kind}".strip()) for kind, text in marks), class_="iv-badges"
    )


def verdict(entry: Mapping[str, Any]) -> str:
    """Where the pattern stands among real clips, in a sentence or two."""
    pair = len(entry["inputs"]) > 1
    what, sound = ("pair", "pair") if pair else ("clip", "sound")
    reference = entry.get("reference")
    if not reference:
        return (
            f"It was not compared with real {what}s: nothing here says whether real sound excites the neuron as much."
        )
    clips = plural(reference["clips"], f"real {what}")
    headroom = reference.get("headroom")
    if reference.get("exceeds"):
        factor = f"{times(headroom)} that of the strongest of" if headroom else "above that of each of"
        return (
            f"Its activation is {factor} {clips}. It is an extreme that no real {sound} among them reaches; the real "
            f"{what}s that excite the neuron most show what it meets in practice."
        )
    return (
        f"At least one of {clips} excites the neuron more: the pattern reaches {percent(headroom)} of the strongest. "
        f"The picture is not the neuron's strongest input, so look at those {what}s too."
    )


def doubts(entry: Mapping[str, Any]) -> Markup | None:
    """The warnings in full; None where there are none."""
    texts = [str(text) for text in entry.get("warnings") or ()]
    if not texts:
        return None
    items = [tag("li", f"{text[:1].upper()}{text[1:]}.") for text in texts]
    return tag("div", tag("strong", "Why this picture is weak evidence"), tag("ul", *items), class_="iv-doubts")


def evidence_table(gallery: Gallery, entry: Mapping[str, Any]) -> Markup:
    """Every measure with its value and what it means."""
    own = entry["evidence"]
    rows = [
        (
            "Activation",
            number(entry.get("activation"), 4),
            "Of the neuron on the original network, after its ReLU. Without a unit: it compares within one neuron.",
        )
    ]
    for key, measure in gallery.measures.items():
        if measure.get("pairs_only"):  # see pair_table
            continue
        text = measure_text(gallery, entry, key)
        spread = own.get(f"{key}_se")
        if text != NONE and isinstance(spread, int | float):
            text += f" ± {number(abs(spread), 2)}"
        rows.append((str(measure.get("label", key)), text, str(measure.get("meaning", ""))))
    if reference := entry.get("reference"):
        clips = plural(reference["clips"], "real pair" if len(entry["inputs"]) > 1 else "real clip")
        rows.append(
            ("Strongest real", number(reference["max"], 4), f"The largest activation of this neuron on {clips}.")
        )
    converged = (
        ("yes", "The optimisation stopped by itself: further steps hardly raised the objective.")
        if entry.get("converged")
        else ("no", "The step limit came first; a longer run might go higher.")
    )
    rows += [("Converged", *converged), ("Steps", entry.get("steps", NONE), "Of gradient ascent that were taken.")]
    return table("Evidence", ("Measure", "Value", "What it means"), rows)


def pair_table(gallery: Gallery, entry: Mapping[str, Any]) -> Markup | None:
    """What the two sides of an fc1 unit's pair give, and how alike they are; None where there are no two."""
    pair = entry.get("pair")
    if not pair:
        return None

    def meaning(key: str) -> str:
        return str(gallery.measures.get(key, {}).get("meaning", ""))

    def across(name: str) -> str:
        return "" if pair["across"][name] is None else f"of other pairs {number(pair['across'][name], 2)}"

    gained = pair["activation"] - pair["silence"]
    shares = [percent(pair["shares"][role] / gained if gained > 0 else None) for role in ROLES]
    swapped = f"{plural(pair['others'], 'other pair')} to put in. " + meaning("swap_kept")
    rows = [
        ("Alone", *(number(pair["alone"][role]) for role in ROLES), "Activation of one side, silence on the other."),
        ("Share", *shares, meaning("imitation_share")),
        ("Synergy", number(pair["synergy"]), measure_text(gallery, entry, "synergy_share"), meaning("synergy_share")),
        ("Kept after a swap", *(percent(pair["kept"][role]) for role in ROLES), swapped),
        ("Alike in time", number(pair["envelope"], 2), across("envelope"), meaning("alike_in_time")),
        ("Alike in timbre", number(pair["spectrum"], 2), across("spectrum"), meaning("alike_in_timbre")),
    ]
    return table("The two sides", ("Measure", "Imitation", "Recording", "What it means"), rows)


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """A table; on a phone the last column goes below."""
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", cell, class_="iv-value") for cell in row[1:-1]),
            tag("td", row[-1], class_="iv-meaning"),
        )
        for row in rows
    ]
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *(tag("th", text, scope="col") for text in head))),
        tag("tbody", *body),
        class_="iv-table",
    )


# --- charts ---------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 230, 58, 14, 26, 44  # of a chart in its own units, and its margins


def histogram(entry: Mapping[str, Any]) -> Markup | None:
    """Activations of real clips, counts on a logarithmic scale, with the pattern's own marked."""
    reference = entry.get("reference") or {}
    try:
        edges = [float(edge) for edge in reference["histogram"]["edges"]]
        counts = [int(count) for count in reference["histogram"]["counts"]]
        own, most = float(entry["activation"]), float(reference["max"])
        if len(edges) != len(counts) + 1 or not counts or not all(map(math.isfinite, (*edges, own))):
            return None
    except (KeyError, TypeError, ValueError):
        return None
    what = "pairs" if len(entry["inputs"]) > 1 else "clips"
    low, high = min(edges[0], own), max(edges[-1], own)
    low, high = (low, high + 0.03 * (high - low)) if high > low else (low - 0.5, high + 0.5)
    tall = math.log10(max(9, *counts) + 1)

    def across(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def up(count: float) -> float:
        return HEIGHT - BOTTOM - math.log10(count + 1) / tall * (HEIGHT - BOTTOM - TOP)

    bars = [
        tag(
            "rect",
            tag("title", f"{count} {what} between {number(left)} and {number(right)}"),
            x=f"{across(left):.1f}",
            y=f"{up(count):.1f}",
            width=f"{max(across(right) - across(left) - 1, 1.5):.1f}",
            height=f"{HEIGHT - BOTTOM - up(count):.1f}",
        )
        for left, right, count in zip(edges, edges[1:], counts, strict=False)
        if count
    ]
    at, end = across(own), across(own) > 0.6 * WIDTH
    label = (
        f"Histogram of the neuron's activation on {plural(sum(counts), f'real {what[:-1]}')}; the pattern is at "
        f"{number(own)}, the strongest real one at {number(most)}"
    )
    mark = _text(at + (-6 if end else 6), TOP - 2, f"pattern {number(own)}", "end" if end else "start", "iv-strong")
    return tag(
        "svg",
        *_y_axis([0, 10, 100, 1_000, 10_000, 100_000], up, tall, f"real {what} (log scale)"),
        tag("g", *bars, class_="iv-bars"),
        *_x_axis(low, high, across, "activation"),
        tag("path", d=f"M{at:.1f} {TOP - 8}V{HEIGHT - BOTTOM}", class_="iv-mark"),
        mark,
        **_frame(label),
    )


def trace_chart(trace: Sequence[float], steps: int) -> Markup | None:
    """The objective over the steps, ``trace`` being a sample of them."""
    values = [float(value) for value in trace if isinstance(value, int | float) and math.isfinite(value)]
    if len(values) < 2:
        return None
    low, high = min(values), max(values)
    low, high = (low - 0.04 * (high - low), high + 0.04 * (high - low)) if high > low else (low - 0.5, high + 0.5)

    def across(step: float) -> float:
        return LEFT + (step - 1) / max(steps - 1, 1) * (WIDTH - LEFT - RIGHT)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP)

    stride = (steps - 1) / (len(values) - 1)
    points = " ".join(f"{across(1 + place * stride):.1f},{up(value):.1f}" for place, value in enumerate(values))
    lines = [
        part
        for tick in _ticks(low, high)
        for part in (
            tag("path", d=f"M{LEFT} {up(tick):.1f}H{WIDTH - RIGHT}", class_="iv-rule"),
            _text(LEFT - 8, up(tick) + 4, f"{tick:g}".replace("-", "\u2212"), "end"),
        )
    ]
    return tag(
        "svg",
        *lines,
        _upright("objective"),
        *_x_axis(1, steps, across, "step"),
        tag("polyline", points=points, class_="iv-line"),
        **_frame(f"The objective over {steps} steps, from {number(values[0])} to {number(values[-1])}"),
    )


def _frame(label: str) -> dict[str, object]:
    return {"class_": "iv-chart", "viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria_label": label}


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str | None = None) -> Markup:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=kind)


def _upright(text: str) -> Markup:
    place = f"translate(13 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)"
    return tag("text", text, transform=place, text_anchor="middle")


def _x_axis(low: float, high: float, across: Callable[[float], float], title: str) -> list[Markup]:
    parts = [tag("path", d=f"M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}", class_="iv-axis")]
    for tick in _ticks(low, high):
        parts.append(tag("path", d=f"M{across(tick):.1f} {HEIGHT - BOTTOM}v5", class_="iv-axis"))
        parts.append(_text(across(tick), HEIGHT - BOTTOM + 19, f"{tick:g}".replace("-", "\u2212")))
    return [*parts, _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, title)]


def _y_axis(counts: Sequence[int], up: Callable[[float], float], tall: float, title: str) -> list[Markup]:
    parts = []
    for count in counts:
        if math.log10(count + 1) <= tall:
            parts.append(tag("path", d=f"M{LEFT} {up(count):.1f}H{WIDTH - RIGHT}", class_="iv-rule"))
            text = f"{count // 1000}k" if count >= 1000 else str(count)
            parts.append(_text(LEFT - 8, up(count) + 4, text, "end"))
    return [*parts, _upright(title)]


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    raw = (high - low) / count or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, first + 2 * count + 2) if k * step <= high + step * 1e-9]


def _icon(kind: str, path: str) -> Markup:
    return tag("svg", tag("path", d=path), class_=kind, viewBox="0 0 16 16", aria_hidden="true")


def empty_state(what: str, *todo: object) -> Markup:
    """Says that there is nothing, and what to do."""
    return tag("div", tag("strong", what), tag("p", *todo), class_="iv-empty")
