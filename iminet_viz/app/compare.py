"""Compare: two nets side by side; which neurons correspond, and does what the paper saw hold?"""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from iminet_viz.app import _figure as pieces
from iminet_viz.app._context import Context, Markup, endpoint, tag
from iminet_viz.app._figure import Sound, empty_state, number, plural
from iminet_viz.app._plates import draw_plate, plate, wide_picture
from iminet_viz.app._work import Cancelled, Orders, Report, Step, follow, progress_bar, sentence
from iminet_viz.app.explain import able, details, plain_table, section, waiting
from iminet_viz.errors import AppError, GalleryError, IminetVizError
from iminet_viz.shipped import REFERENCES, find_model, read_json, shipped_models

SHIPPED = "comparison"  # folder in the gallery
SERVED = "comparisons"  # name of the folder with those made here
EACH_PAGE = 6  # twins
SORTS = {
    "best": "Best matched",
    "worst": "Worst matched",
    "first": "Neurons of the first net",
    "second": "Neurons of the second net",
}
NEURONS = [2, 4, 8]  # of each layer, where a report is made
AS_SHIPPED, USUAL = 0, 4  # neurons: of the shipped report, or where there is none
BADGES = {"holds": "iv-beats", "does not hold": "iv-warn"}
ALL = "all"


@dataclasses.dataclass(frozen=True)
class Found:
    """A report of ``iminet-viz compare``: its numbers and its folder."""

    numbers: Mapping[str, Any]
    folder: Path

    @property
    def models(self) -> tuple[str, str]:
        """The pre-trained one, the one from scratch."""
        first, second = (str(model["name"]) for model in self.numbers["models"])
        return first, second

    @property
    def neurons(self) -> int:
        """Drawn of each layer."""
        return int(self.numbers.get("settings", {}).get("neurons", 0))

    @property
    def layers(self) -> list[str]:
        """In their order."""
        return [str(layer["layer"]) for layer in self.numbers["layers"]]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two neurons that correspond."""

    layer: str
    neurons: tuple[int, int]
    correlation: float
    shown: tuple[bool, bool] = (False, False)  # whether there is a picture of either


def build(context: Context) -> None:
    """Lay the tab out."""
    names = comparable_models()
    gr.HTML(
        tag(
            "p",
            "Neuron 7 of one net has nothing to do with neuron 7 of another. So neurons are matched by what they do "
            "on the "
            "same clips, and each claim of the paper becomes a number with an interval, beside the same number for "
            "nets "
            "that never learned.",
            class_="iv-lead",
        ),
        js_on_load=None,
        apply_default_css=False,
    )
    with gr.Row(elem_classes="iv-actions"):
        one = gr.Dropdown(names, value=names[0], label="With pre-training", min_width=180, elem_id="iv-compare-first")
        other = gr.Dropdown(names, value=names[-1], label="Against", min_width=180, elem_id="iv-compare-second")
        numbers = [(f"As shipped, else {USUAL}", AS_SHIPPED), *((str(one), one) for one in NEURONS)]
        neurons = gr.Dropdown(
            numbers, value=AS_SHIPPED, label="Neurons a layer", min_width=170, elem_id="iv-compare-neurons"
        )
        run = gr.Button("Compare", variant="primary", min_width=110, elem_id="iv-compare-run")
        cancel = gr.Button("Cancel", min_width=110, interactive=False, elem_id="iv-compare-cancel")
    page = gr.HTML(nothing_yet(), js_on_load=None, elem_id="iv-compare-page", apply_default_css=False)
    place, turned = gr.State(""), gr.State(0)  # folder of the report; page of twins
    with gr.Column(visible=False, elem_id="iv-compare-twins") as drawer:
        with gr.Row(elem_classes="iv-actions"):
            layer = gr.Dropdown(
                layer_choices(None), value=ALL, label="Layer", min_width=220, elem_id="iv-compare-layer"
            )
            sort = gr.Dropdown([(text, key) for key, text in SORTS.items()], value="best", label="Order", min_width=220,
                               elem_id="iv-compare-sort")  # fmt: skip
            pictured = gr.Checkbox(
                True, label="Only with pictures of both", min_width=220, elem_id="iv-compare-pictured"
            )
        twins = gr.HTML("", js_on_load=None, elem_id="iv-compare-list", apply_default_css=False)
        with gr.Row():
            back = gr.Button("Previous", size="sm", elem_id="iv-compare-back")
            forth = gr.Button("Next", size="sm", elem_id="iv-compare-forth")

    def open_report(found: Found) -> tuple[Any, ...]:
        choices = gr.Dropdown(choices=layer_choices(found), value=ALL)
        both = show_twins(context, found, ALL, "best", True, 0)
        return show(context, found), str(found.folder), 0, gr.Column(visible=True), choices, gr.Checkbox(True), both[0]

    def still(shown: Any) -> tuple[Any, ...]:
        return shown, gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip()

    orders = Orders()

    def wait(first: str, second: str, count: float, request: gr.Request) -> tuple[Any, ...]:
        """The twins of another pair would stand below what is made."""
        orders.give(str(request.session_hash), first, second, int(count))
        return waiting(), gr.Column(visible=False), able(True)

    def begin(place: str) -> tuple[Any, ...]:
        """What the gallery holds, when the tab is first opened."""
        found = None if place else find_shipped(context)
        return (*open_report(found), *found.models) if found else (*still(gr.skip()), gr.skip(), gr.skip())

    def work(request: gr.Request) -> Iterator[tuple[Any, ...]]:
        yield *still(gr.skip()), gr.skip()  # what ends without a word empties the page
        session = str(request.session_hash)
        if (order := orders.take(session)) is None:
            return
        first, second, count = order.wanted
        try:
            for step in compare_models(context, first, second, count, order.ended):
                shown = still(progress_bar(step)) if step.result is None else open_report(step.result)
                yield *shown, able(step.result is None)
        except Cancelled:  # gradio shows the last word again
            more = orders.waits(session)
            yield *still(waiting() if more else cancelled()), able(more)
        except IminetVizError as error:
            yield *still(sentence(error)), able(False)

    def forget(request: gr.Request) -> None:
        orders.cancel(str(request.session_hash))

    def stop(request: gr.Request) -> tuple[Markup, gr.Button]:
        forget(request)
        return cancelled(), able(False)

    def turn(by: int, place: str, layer: str, sort: str, pictured: bool, turned: int) -> tuple[Markup, int]:
        return show_twins(context, read_report(context, Path(place)), layer, sort, pictured, turned + by if by else 0)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    shown = [page, place, turned, drawer, layer, pictured, twins]
    begun = run.click(wait, [one, other, neurons], [page, drawer, cancel], queue=False, **quiet)
    heavy: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "heavy", "trigger_mode": "multiple", **quiet}
    begun.then(work, None, [*shown, cancel], **heavy)
    cancel.click(stop, None, [page, cancel], queue=False, **quiet)
    context.on_leave(forget)
    state = [place, layer, sort, pictured, turned]
    for control in (layer, sort, pictured):
        control.input(functools.partial(turn, 0), state, [twins, turned], **quiet)
    back.click(functools.partial(turn, -1), state, [twins, turned], **quiet)
    forth.click(functools.partial(turn, 1), state, [twins, turned], **quiet)
    context.on_select("compare", begin, [place], [*shown, one, other])

    def compare(first: str, second: str, neurons: int = 0) -> Iterator[dict]:
        """Compare two nets: yields how far it is, and at last all numbers of the report.

        What the gallery holds is there at once where neurons (of each layer) is 0 or the number of that; other pairs
        or numbers (2, 4, 8; 0 is 4) are made: some minutes. Cancelling stops the work; the next one goes on from there.
        """
        for step in compare_models(context, first, second, neurons):
            if step.result is None:
                yield {"stage": step.what, "share": step.share}
            else:
                yield {"stage": "done", **step.result.numbers}

    endpoint(compare, "compare", concurrency_limit=1, concurrency_id="heavy")


# --- the work -------------------------------------------------------------------------------------------------------


def comparable_models() -> list[str]:
    """Shipped nets whose activations on real clips are stored beside them."""
    names = [name for name in shipped_models() if (find_model(name) / REFERENCES).is_file()]
    return sorted(names, key=lambda name: (name.endswith("scratch"), [-ord(c) for c in name]))  # pre-trained first


def find_shipped(context: Context) -> Found | None:
    """The report in the gallery, if there is one that can be read."""
    if context.gallery.folder is None:
        return None
    try:
        return read_report(context, context.gallery.folder / SHIPPED)
    except IminetVizError:
        return None


def read_report(context: Context, folder: Path) -> Found:
    """Read a report's numbers from a folder that is served.

    Raises:
        AppError: it is in none of these.
        GalleryError: there is none, or it is damaged.
    """
    from iminet_viz.comparison import FORMAT

    context.url(folder / "comparison.json")
    numbers = read_json(folder / "comparison.json")
    try:
        found = Found(numbers, folder)
        kind = numbers["kind"], numbers["format"]
        if len({*found.models}) == 2 and found.layers and kind == ("comparison", FORMAT):
            for claim in numbers["claims"].values():
                if not all(math.isfinite(f["effect"]["delta"]) for f in claim["findings"]):
                    raise ValueError
            return found
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    raise GalleryError("the comparison in the gallery is damaged; iminet-viz compare makes it anew")


def made_here(context: Context) -> Path:
    """Folder of the reports that were made on demand; it is kept, so that none is made twice."""
    from platformdirs import user_cache_path

    with context.lock:
        if SERVED not in context.roots:
            folder = user_cache_path("iminet-viz", appauthor=False) / SERVED
            folder.mkdir(parents=True, exist_ok=True)
            context.serve(SERVED, folder)
        return context.roots[SERVED]


def compare_models(
    context: Context, first: str, second: str, neurons: int, ended: threading.Event | None = None
) -> Iterator[Step[Found]]:
    """Find the report of two nets, or make it; the last step's result is it, and ``ended`` ends it.

    Raises:
        AppError: models or number of neurons that cannot be compared.
        Cancelled: it was ended.
        IminetVizError: as for :func:`iminet_viz.comparison.compare`.
    """
    names = comparable_models()
    for name in (first, second):
        if name not in names:
            raise AppError(f"no model {name!r} with stored activations, expected one of: {', '.join(names)}")
    if first == second:
        raise AppError("two different models are needed")
    shipped = find_shipped(context)
    count = shipped.neurons if shipped else AS_SHIPPED
    if neurons not in (known := sorted({AS_SHIPPED, *NEURONS, count})):
        raise AppError(f"{neurons} neurons of each layer, expected one of: {', '.join(map(str, known))}")
    marks = [context.model(name).fingerprint for name in (first, second)]
    same = shipped and [model.get("fingerprint") for model in shipped.numbers["models"]] == marks
    if shipped and same and neurons in (AS_SHIPPED, count):
        yield Step("", 1.0, 0.0, shipped)
        return
    neurons = neurons or USUAL
    if neurons not in NEURONS:
        raise AppError(f"only the shipped report has {neurons} neurons of each layer: iminet-viz compare makes others")

    def work(report: Report) -> Found:
        report("Matching neurons", 0.0)
        from iminet_viz.comparison import FORMAT, CompareSettings
        from iminet_viz.comparison_report import build_report

        out = made_here(context) / f"{'-'.join(marks)}-{neurons}-{FORMAT}"
        if not (out / "index.html").is_file():
            settings = CompareSettings(neurons=neurons, best=min(neurons, 4), random_nets=2)

            def tell(what: str, done: int, total: int) -> None:
                report(what or "Writing the report", 0.8 * done / max(total, 1))

            # with its pictures, before the page that says that it is whole
            models = [context.own_model(name) for name in (first, second)]  # it swaps parts of them
            compared = build_report(models[0], models[1], out, None, settings, progress=tell)
            write_twins(out / "twins", compared, report)
        return read_report(context, out)

    yield from follow(work, "Waiting", ended)


def write_twins(folder: Path, compared: Any, report: Report) -> None:
    """Draw and sound the patterns of a comparison that was just made; the report itself keeps only plates of them."""
    from iminet_viz.audio import save_audio
    from iminet_viz.sonification import sonify_pattern

    for done, twin in enumerate(compared.twins):
        report(f"Sounds of {twin.layer}", 0.8 + 0.2 * done / len(compared.twins))
        for side, (neuron, pattern) in enumerate(zip(twin.neurons, twin.patterns, strict=True)):
            for role, values in pattern.inputs.items():
                stem = folder / twin.layer / f"{side}-{neuron}-{role}"
                stem.parent.mkdir(parents=True, exist_ok=True)
                if not stem.with_suffix(".wav").is_file():
                    draw_plate(stem.with_suffix(".png"), values, pattern.frontends[role])
                    save_audio(stem.with_suffix(".wav"), *sonify_pattern(pattern, role))


def list_pairs(context: Context, found: Found) -> list[Pair]:
    """All neurons that correspond, and whether they can be shown."""
    pairs = []
    for layer in found.numbers["layers"]:
        for neuron, twin, correlation in layer["twins"]:
            own = (int(neuron), int(twin))
            shown = tuple(bool(_pictures(context, found, str(layer["layer"]), side, own[side])) for side in (0, 1))
            pairs.append(Pair(str(layer["layer"]), own, float(correlation), (shown[0], shown[1])))
    return pairs


def _pictures(context: Context, found: Found, layer: str, side: int, neuron: int) -> list[Path] | Mapping[str, Any]:
    """A neuron's entry in the gallery, or the pictures that were made with the report."""
    mark = found.numbers["models"][side].get("fingerprint")
    entry = context.gallery.entries.get(f"{found.models[side]}/{layer}/{neuron}")
    if entry is not None and entry.get("fingerprint") == mark:
        return entry
    return sorted((found.folder / "twins" / layer).glob(f"{side}-{neuron}-*.png"))


# --- the page -------------------------------------------------------------------------------------------------------


def nothing_yet() -> Markup:
    """What to do first."""
    return empty_state(
        "No comparison yet.", "Choose two models and press Compare. It takes some minutes, and can be cancelled."
    )


def cancelled() -> Markup:
    """What a cancelled work leaves."""
    return empty_state("Cancelled.", "What was made is kept: Compare goes on from there.")


def layer_choices(found: Found | None) -> list[tuple[str, str]]:
    """Layers to filter by."""
    return [("All layers", ALL), *((pieces.layer_title(layer), layer) for layer in (found.layers if found else []))]


def show(context: Context, found: Found) -> Markup:
    """Verdicts and likeness of layers."""
    numbers = found.numbers
    first, second = found.models
    clips = numbers.get("clips", {})
    settings = numbers.get("settings", {})
    nets = settings.get("random_nets", 0)
    shipped = context.gallery.folder is not None and found.folder == context.gallery.folder / SHIPPED
    facts = (
        f"{'The report of the gallery' if shipped else 'Made on this machine'}: "
        f"{plural(int(clips.get('n', 0)), 'clip')}, {found.neurons} neurons of each layer drawn by seed "
        f"{settings.get('seed')}, {plural(int(nets), 'random net')} of the same architecture."
    )
    rows = [_claim(key, claim) for key, claim in numbers["claims"].items()]
    return tag(
        "article",
        tag("h2", f"{first} and {second}"),
        tag("p", facts, class_="iv-note"),
        section(
            "What holds",
            "Effect size is Cliff’s delta: how much more often a value of the one is larger than one of the other, "
            "−1 to 1. "
            f"The bar is its 95 % bootstrap interval over neurons; grey is what random nets show. {numbers['rule']} "
            "A claim’s strip shows the effects of all its measurements; open it to see each of them.",
            tag("div", *rows, class_="iv-claims"),
        ),
        section(
            "How alike the layers are",
            "CKA compares whole layers: do two clips that are alike in one net look alike in the other? 1 is the "
            "same, 0 "
            "nothing in common. Matching finds some correlation in anything; shuffled clips and random nets say how "
            "much.",
            _layers(numbers["layers"]),
        ),
        section("Twins", "Neurons that do the same on the same clips, and the inputs that excite each most."),
        class_="iv-stack iv-compared",
    )


def strip(findings: Sequence[Mapping[str, Any]]) -> Markup:
    """The effects of a claim on -1 to 1, and those of random nets below them in grey."""

    def dots(effects: Sequence[float], kind: str) -> Markup:
        return tag("span", *(tag("b", style=f"left:{50 * (1 + effect):.1f}%") for effect in effects), class_=kind)

    own = [float(finding["effect"]["delta"]) for finding in findings]
    null = [float(finding["random"]["delta"]) for finding in findings if finding.get("random")]
    said = f"effects {', '.join(map(signed, own))}; of random nets {', '.join(map(signed, null))}; from -1 to 1"
    return tag("span", dots(null, "iv-null"), dots(own, "iv-own"), class_="iv-scale", role="img", aria_label=said)


def _claim(key: str, claim: Mapping[str, Any]) -> Markup:
    from iminet_viz.comparison_report import SAID, say_tally

    findings = claim["findings"]
    effects = [float(finding["effect"]["delta"]) for finding in findings]
    verdict = str(claim["verdict"])
    summary = tag(
        "summary",
        tag("span", str(claim["text"]), class_="iv-claim-text"),
        tag("span", verdict, class_=f"iv-badge {BADGES.get(verdict, '')}".strip()),
        strip(findings),
        tag(
            "span",
            f"{plural(len(findings), 'measurement')}: {say_tally(claim['tally'])}; effects {signed(min(effects))} to "
            f"{signed(max(effects))}",
            class_="iv-quiet",
        ),
    )
    rows = [_finding(finding) for finding in findings]
    return tag("details", summary, tag("p", SAID.get(key, ""), class_="iv-note"), *rows, class_="iv-claim")


def _finding(finding: Mapping[str, Any]) -> Markup:
    from iminet_viz.comparison import AS_RANDOM
    from iminet_viz.comparison_report import WORDS

    effect, random = finding["effect"], finding.get("random")
    verdict = str(finding["verdict"])
    count = f"{effect['n'][0]} pairs" if effect["paired"] else f"{effect['n'][0]} and {effect['n'][1]}"
    medians = " against ".join(
        f"{side} {number(median)}" for side, median in zip(finding["sides"], effect["medians"], strict=True)
    )
    null = f"; random nets {signed(random['delta'])} {interval(random['interval'])}" if random else ""
    return tag(
        "div",
        tag("strong", str(finding["unit"])),
        tag("span", str(finding["where"]), class_="iv-quiet"),
        tag(
            "span",
            verdict + f", {AS_RANDOM}" * (finding["says"] == AS_RANDOM),
            class_=f"iv-badge {BADGES.get(finding['says'], '')}".strip(),
        ),
        scale(effect, random),
        tag(
            "p",
            f"Effect {signed(effect['delta'])} {interval(effect['interval'])}, n = {count}{null}. Medians: {medians}.",
            class_="iv-quiet",
        ),
        tag("p", WORDS.get(str(finding["measure"]), ""), class_="iv-quiet"),
        class_="iv-finding",
    )


def scale(effect: Mapping[str, Any], random: Mapping[str, Any] | None) -> Markup:
    """An effect with its interval on -1 to 1, and that of random nets below it in grey."""
    bars = [_bar(random, "iv-null")] if random else []
    said = f"effect {signed(effect['delta'])}, interval {interval(effect['interval'])}, from -1 to 1"
    return tag("div", *bars, _bar(effect, "iv-own"), class_="iv-scale", role="img", aria_label=said)


def _bar(effect: Mapping[str, Any], kind: str) -> Markup:
    low, high, at = (50 * (1 + max(-1.0, min(1.0, float(x)))) for x in (*effect["interval"], effect["delta"]))
    line = tag("i", style=f"left:{low:.1f}%;width:{max(high - low, 0.5):.1f}%")
    return tag("span", line, tag("b", style=f"left:{at:.1f}%"), class_=kind)


def _layers(layers: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [
        (
            pieces.layer_title(str(layer["layer"])),
            f"{layer['cka']:.2f} {interval(layer['cka_interval'], False)}",
            tag("span", tag("i", style=f"width:{100 * max(0.0, layer['cka']):.0f}%"), class_="iv-meter"),
            _mean(layer.get("cka_random", ())),
            f"{layer['median']:.2f} {interval(layer['interval'], False)}",
            f"{layer['shuffled']:.2f}",
            _mean(layer.get("random", ())),
            str(len(layer["twins"])),
        )
        for layer in layers
    ]
    head = (
        *("Layer", "CKA, 95 % interval", "0 to 1", "to random nets", "Correlation of twins, median"),
        *("clips shuffled", "to random nets", "Pairs"),
    )
    return plain_table("CKA and matching of each layer", head, rows)


def show_twins(
    context: Context, found: Found, layer: str, sort: str, pictured: bool, turned: int
) -> tuple[Markup, int]:
    """A page of twins, and which it is."""
    pairs = [
        pair for pair in list_pairs(context, found) if layer in (ALL, pair.layer) and (all(pair.shown) or not pictured)
    ]
    keys = {
        "best": lambda pair: -pair.correlation,
        "worst": lambda pair: pair.correlation,
        "first": lambda pair: (pieces.layer_order(pair.layer), pair.neurons[0]),
        "second": lambda pair: (pieces.layer_order(pair.layer), pair.neurons[1]),
    }
    pairs.sort(key=keys.get(sort, keys["best"]))
    if not pairs:
        return empty_state("No twins here.", "Choose another layer, or show those without pictures too."), 0
    last = (len(pairs) - 1) // EACH_PAGE
    turned = min(max(turned, 0), last)
    shown = pairs[turned * EACH_PAGE : (turned + 1) * EACH_PAGE]
    begin = turned * EACH_PAGE + 1
    figure = found.folder / "figures" / f"twins-{layer}.png"
    plates = None
    if layer in found.layers and figure.is_file():
        alt = f"Patterns of twins of {layer}, the best matched first"
        plates = details("The plate of this layer, from the report", wide_picture(context, figure, alt))
    return tag(
        "div",
        tag(
            "p",
            f"{begin} to {begin + len(shown) - 1} of {plural(len(pairs), 'pair')}",
            class_="iv-quiet",
            role="status",
        ),
        *(_twin(context, found, pair) for pair in shown),
        plates,
        class_="iv-stack",
    ), turned


def _twin(context: Context, found: Found, pair: Pair) -> Markup:
    sides = [_twin_side(context, found, pair, side) for side in (0, 1)]
    return tag(
        "section",
        tag(
            "h3",
            pieces.layer_title(pair.layer),
            tag("span", f"correlation {pair.correlation:.2f}".replace("-", "\u2212"), class_="iv-quiet"),
        ),
        tag("div", *sides, class_="iv-sides"),
        class_="iv-panel iv-twin",
        data_correlation=f"{pair.correlation:.4f}",
        data_layer=pair.layer,
    )


def _twin_side(context: Context, found: Found, pair: Pair, side: int) -> Markup:
    model, neuron = found.models[side], pair.neurons[side]
    what = f"{'unit' if pair.layer.startswith('fc') else 'neuron'} {neuron}"
    made = _pictures(context, found, pair.layer, side, neuron)
    root = context.gallery.folder
    title: Markup | str = f"{model}, {what}"
    if isinstance(made, Mapping) and root is not None:
        title = tag("a", title, href=context.link("patterns", id=made["id"]))
        body = pieces.entry_figure(context, made, root / made["folder"])
    elif made and not isinstance(made, Mapping):
        body = tag("div", *(_made(context, picture, f"{model}, {what}") for picture in made))
    else:
        link = context.link("make", model=model, layer=pair.layer, neuron=neuron)
        body = tag("p", "No picture of it here. ", tag("a", "Make one", href=link), class_="iv-blank")
    return tag("div", tag("h4", title), body)


def _made(context: Context, picture: Path, name: str) -> Markup:
    import soundfile

    role = picture.stem.rsplit("-", 1)[-1]
    sound = picture.with_suffix(".wav")
    seconds = float(soundfile.info(str(sound)).duration)
    own = Sound(context.url(sound), f"Griffin-Lim sound of {name}, {role}", "Griffin-Lim", seconds, role)
    alt = f"Spectrogram found for {name}, {role}, in Hz and seconds"
    return tag(
        "div",
        plate(context.url(picture), alt, role, seconds, seconds),
        tag("div", pieces.player(own), class_="iv-players"),
        class_="iv-figure",
    )


def signed(value: float) -> str:
    """An effect size."""
    return f"{value:+.2f}".replace("-", "\u2212")


def interval(edges: Sequence[float], sign: bool = True) -> str:
    """An interval in brackets."""
    return f"[{', '.join(f'{edge:+.2f}' if sign else f'{edge:.2f}' for edge in edges)}]".replace("-", "\u2212")


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "–"
