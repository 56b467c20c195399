"""Tab "Make a pattern": optimise one while it can be watched, hear it, judge it, keep it.

Every run works on a copy of the network in a thread of its own, so users do not disturb each other; a run ends with its
page, at the next step after "Stop", or when its page makes another.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from iminet_viz.app import _figure as pieces
from iminet_viz.app._context import Context, Gallery, Markup, endpoint, in_a_sentence, tag
from iminet_viz.app._work import ENDS
from iminet_viz.errors import IminetVizError, PatternError
from iminet_viz.shipped import find_model, read_fusion, shipped_models

if TYPE_CHECKING:
    import numpy as np

    from iminet_viz.assessment import Assessment
    from iminet_viz.checkpoint import TrainedModel
    from iminet_viz.patterns.engine import Pattern
    from iminet_viz.patterns.objectives import Objective

OBJECTIVES = {"channel": "The whole neuron", "unit": "One position of its map", "joint": "Two neurons together"}
PARAMETERIZATIONS = {
    "spectrum": "Frequencies (default)",
    "pixels": "Cells, as in the paper",
    "fourier": "Fourier coefficients",
    "phase": "Phases of real spectra",
}
SOUNDS = {"griffin-lim": "Griffin-Lim", "direct": "Direct"}
MOST_STEPS = 400
MOST_PAGES = 20  # that watch, as many by the API
RUNNING = threading.BoundedSemaphore(2)  # runs at once; the others wait, and say so
LOOK_S = 0.4  # between two looks at a picture that forms
FIRST_MODEL = "tl-iminet-conv123"


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is to be made."""

    model: str
    layer: str
    neuron: int = 0
    objective: str = "channel"
    band: int = 0  # of the position
    frame: int = 0
    second: int = 1  # the other neuron of two
    weight: float = 1.0  # of the other
    parameterization: str = "spectrum"
    seed: int = 0
    steps: int = 80
    sounds: tuple[str, ...] = ("griffin-lim", "direct")
    stability: bool = False  # further patterns, as evidence


class Run:
    """A run in its thread, and what its page may look at."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.done = threading.Event()
        self.stage, self.step, self.steps = "Starting", 0, 0
        self.value: float | None = None
        self.inputs: Mapping[str, np.ndarray] = {}
        self.live: Pattern | None = None  # as it is at the moment
        self.begun = time.monotonic()  # of the stage
        self.entry: dict[str, Any] | None = None
        self.failure: Exception | None = None
        self.halted = ""  # where it was stopped with its picture finished

    def tell(self, stage: str, step: int, steps: int) -> None:
        """Say what is going on.

        Raises:
            _StoppedError: the run shall stop.
        """
        if stage != self.stage:
            self.begun = time.monotonic()
        self.stage, self.step, self.steps = stage, step, steps
        if self.stop.is_set():
            raise _StoppedError


class _StoppedError(Exception):
    """Ends a run between two steps."""


def build(context: Context) -> None:
    """Lay out the tab."""
    runs: dict[str, Run] = {}  # by session: each page has one
    models = list_models()
    layers = sorted({str(entry["layer"]) for entry in context.gallery.entries.values()}, key=pieces.layer_order)
    with gr.Row(elem_classes="iv-split"):
        with gr.Column(scale=2, min_width=300):
            model = gr.Dropdown(models, value=FIRST_MODEL, label="Model")
            layer = gr.Dropdown(
                [(pieces.layer_title(name), name) for name in layers],
                value=layers[0] if layers else None,
                label="Tower and layer",
                info="fc1 is driven by a pair: an imitation and a recording",
            )
            neuron = gr.Number(0, label="Neuron", minimum=0, precision=0)
            objective = gr.Radio([(text, key) for key, text in OBJECTIVES.items()], value="channel", label="Raise")
            with gr.Row(visible=False) as place:
                band = gr.Number(0, label="Band", minimum=0, precision=0, min_width=100)
                frame = gr.Number(0, label="Frame", minimum=0, precision=0, min_width=100)
            with gr.Row(visible=False) as other:
                second = gr.Number(1, label="Second neuron", minimum=0, precision=0, min_width=100)
                weight = gr.Number(1.0, label="Weight, may be < 0", min_width=100)
            with gr.Accordion("How it is made", open=False):
                parameterization = gr.Dropdown(
                    [(text, key) for key, text in PARAMETERIZATIONS.items()], value="spectrum", label="Written as"
                )
                steps = gr.Slider(5, MOST_STEPS, value=80, step=1, label="Steps at most")
                seed = gr.Number(0, label="Seed", minimum=0, maximum=2**31 - 1, precision=0)
                sounds = gr.CheckboxGroup(
                    [(text, key) for key, text in SOUNDS.items()], value=[*SOUNDS], label="Sounds"
                )
                stability = gr.Checkbox(
                    False,
                    label="Evidence from further patterns",
                    info="Another start, and a net of random weights: some minutes",
                )
            with gr.Row():
                go = gr.Button("Make it", variant="primary", elem_id="iv-make")
                halt = gr.Button("Stop", variant="stop", interactive=False, elem_id="iv-halt")
        with gr.Column(scale=5, min_width=320):
            status = gr.HTML(IDLE, js_on_load=None, apply_default_css=False, elem_id="iv-status")
            result = gr.HTML(NOTHING, js_on_load=None, apply_default_css=False, elem_id="iv-made")
    inputs = [
        *(model, layer, neuron, objective, band, frame, second, weight),
        *(parameterization, seed, steps, sounds, stability),
    ]
    bounded = [layer, neuron, objective, band, frame, second, sounds, place, other]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def fit(name: str, where: str | None, number: float | None, kind: str) -> Any:
        return fit_controls(context.model(name), where, number, kind)

    fit = in_a_sentence(fit)
    for one in (model, layer, objective):
        one.input(fit, [model, layer, neuron, objective], bounded, **quiet)

    def watch(request: gr.Request, *values: Any) -> Iterator[Any]:
        session = str(request.session_hash)
        if before := runs.pop(session, None):
            before.stop.set()
        run = runs[session] = Run()
        try:
            for shown in follow(context, run, read_wish(values)):
                yield (*shown, gr.Button(interactive=False), gr.Button(interactive=True))
        except IminetVizError as error:
            failed = pieces.empty_state("Nothing was made.", _sentence(error))
            yield IDLE, failed, gr.Button(interactive=True), gr.Button(interactive=False)
            return
        finally:
            run.stop.set()  # also where the page is gone
            if runs.get(session) is run:
                del runs[session]
        yield gr.skip(), gr.skip(), gr.Button(interactive=True), gr.Button(interactive=False)

    def halt_run(request: gr.Request) -> None:
        if run := runs.get(str(request.session_hash)):
            run.stop.set()

    go.click(
        watch,
        inputs,
        [status, result, go, halt],
        concurrency_limit=MOST_PAGES,
        **quiet,
    )
    halt.click(halt_run, None, None, queue=False, **quiet)
    context.on_leave(halt_run)

    def visit(query: Mapping[str, str]) -> Iterator[Any]:
        if "model" not in query or "layer" not in query:
            yield [gr.skip()] * (len(bounded) + 2)
            return
        name, where, number = query["model"], query["layer"], _whole(query.get("neuron"))
        if name in models and where in layers:  # at once; what the model allows needs it loaded
            shown: list[Any] = [gr.skip()] * len(bounded)
            shown[:3] = where, number, "channel"
            yield [name, *shown, _whole(query.get("seed"))]
        fitted = fit_controls(context.model(name), where, number, "channel")
        yield [name, *fitted, _whole(query.get("seed"))]

    context.on_visit("make", visit, [model, *bounded, seed])

    context.on_start(lambda: context.model(FIRST_MODEL))

    def make(
        model: str,
        layer: str,
        neuron: int,
        objective: str = "channel",
        band: int = 0,
        frame: int = 0,
        second: int = 1,
        weight: float = 1.0,
        parameterization: str = "spectrum",
        seed: int = 0,
        steps: int = 80,
        sounds: list[str] = ["griffin-lim", "direct"],  # noqa: B006 (read by gradio, never changed)
        stability: bool = False,
    ) -> Iterator[dict]:
        """Make a pattern: yields how far it is, and at last the pattern's evidence and the addresses of its files.

        objective is channel, unit (at band, frame) or joint (with the neuron second, times weight); parameterization is
        spectrum, pixels, fourier or phase. Cancelling the job stops the work.
        """
        values = (model, layer, neuron, objective, band, frame, second, weight)
        wish = read_wish((*values, parameterization, seed, steps, sounds, stability))
        run = Run()
        try:
            for _ in follow(context, run, wish, draw=False):
                yield {"stage": run.stage, "step": run.step, "steps": run.steps, "value": run.value}
        finally:
            run.stop.set()
        if run.entry is not None:
            yield {"stage": "done", **{key: value for key, value in run.entry.items() if key != "folder"}}

    endpoint(make, "make", concurrency_limit=MOST_PAGES)


# --- controls -------------------------------------------------------------------------------------------------------


def list_models() -> list[str]:
    """Names of the shipped networks; fusions search, but have no neurons of their own."""
    return [name for name in shipped_models() if read_fusion(find_model(name)) is None]


def fit_controls(model: TrainedModel, layer: str | None, neuron: float | None, objective: str) -> list[Any]:
    """Layers, bounds and choices that a model has, keeping what still fits."""
    network = model.network
    layer = layer if layer in network.layers else network.layers[0]
    most, shape = network.n_channels(layer) - 1, network.map_shape(layer)
    if objective == "unit" and shape is None:
        objective = "channel"
    kinds = [(text, key) for key, text in OBJECTIVES.items() if key != "unit" or shape is not None]
    bands, frames = shape or (1, 1)
    heard = all(hasattr(frontend.config, "n_mels") for frontend in model.frontends.values())
    titles = [(_title(network, name), name) for name in network.layers]
    return [
        gr.Dropdown(choices=titles, value=layer),
        gr.Number(value=min(max(_whole(neuron), 0), most), maximum=most, label=f"Neuron, 0 to {most}"),
        gr.Radio(choices=kinds, value=objective),
        gr.Number(value=bands // 2, maximum=bands - 1, label=f"Band, 0 to {bands - 1}"),
        gr.Number(value=frames // 2, maximum=frames - 1, label=f"Frame, 0 to {frames - 1}"),
        gr.Number(maximum=most, label=f"Second, 0 to {most}"),
        gr.CheckboxGroup(interactive=heard, info=None if heard else "Only log-mel inputs can be made to sound"),
        gr.Row(visible=objective == "unit"),
        gr.Row(visible=objective == "joint"),
    ]


def _title(network: Any, layer: str) -> str:
    single = "." not in layer and len(network.inputs_of(layer)) == 1
    return f"Layer {layer}" if single else pieces.layer_title(layer)


def read_wish(values: Sequence[Any]) -> Wish:
    """Check what a page or an endpoint asks for.

    Raises:
        PatternError: a value is of the wrong kind or out of range.
    """
    names = [field.name for field in dataclasses.fields(Wish)]
    given = dict(zip(names, values, strict=True))
    for name in ("neuron", "band", "frame", "second", "seed", "steps"):
        value = given[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
            raise PatternError(f"{name} {value!r}, expected a whole number")
        given[name] = int(value)
    if not 1 <= given["steps"] <= MOST_STEPS:
        raise PatternError(f"steps {given['steps']}, expected 1 to {MOST_STEPS}")
    if not 0 <= given["seed"] < 2**31:
        raise PatternError(f"seed {given['seed']}, expected 0 to {2**31 - 1}")
    if isinstance(given["weight"], bool) or not isinstance(given["weight"], int | float):
        raise PatternError(f"weight {given['weight']!r}, expected a number")
    for name, known in (("objective", OBJECTIVES), ("parameterization", PARAMETERIZATIONS)):
        if given[name] not in known:
            raise PatternError(f"{name} {given[name]!r}, expected one of {', '.join(known)}")
    sounds = given["sounds"] or ()
    if not isinstance(sounds, list | tuple) or any(sound not in SOUNDS for sound in sounds):
        raise PatternError(f"sounds {sounds!r}, expected some of {', '.join(SOUNDS)}")
    for name in ("model", "layer"):
        if not isinstance(given[name], str):
            raise PatternError(f"no {name} was chosen")
    return Wish(**{**given, "sounds": tuple(sounds), "stability": bool(given["stability"])})


def _whole(value: object) -> int:
    try:
        return int(float(str(value)))
    except (ValueError, OverflowError):
        return 0


# --- the run --------------------------------------------------------------------------------------------------------


def follow(context: Context, run: Run, wish: Wish, draw: bool = True) -> Iterator[tuple[Any, Any]]:
    """Start a run and show how far it is until it ends: HTML of status and result, skipped where nothing is new.

    Raises:
        IminetVizError: why it failed.
    """
    ENDS.add(run.stop)
    threading.Thread(target=_work, args=(context, run, wish), daemon=True).start()
    yield show_status(run), _placeholder(wish) if draw else ""
    shown: Pattern | None = None
    while not run.done.wait(LOOK_S):
        live = run.live
        if draw and live is not None and live is not shown:
            shown = live
            yield show_status(run), show_live(live)
        else:
            yield show_status(run), gr.skip()
    if run.failure is not None:
        if isinstance(run.failure, IminetVizError):
            raise run.failure
        raise PatternError("it failed for a reason that is ours; the app's log says more") from run.failure
    if run.entry is None:
        text = f"Stopped after step {run.step} of {run.steps}." if run.live else "Stopped."
        yield tag("p", text, class_="iv-quiet", role="status"), show_live(run.live) if draw and run.live else NOTHING
        return
    if draw:
        text = "Done."
        if run.halted:
            missing = " and ".join(["sounds"] * bool(wish.sounds) + ["further evidence"] * wish.stability)
            text = f"Stopped at {run.halted}. The picture is finished and can be kept; not made: {missing}."
        yield tag("p", text, class_="iv-quiet", role="status"), show_made(context, run.entry)


def _work(context: Context, run: Run, wish: Wish) -> None:
    """Make the pattern; whatever happens, ``run.done`` is set at the end."""
    try:
        while not RUNNING.acquire(timeout=LOOK_S):
            run.tell("Waiting until another pattern is done", 0, 0)
        try:
            _make(context, run, wish)
        finally:
            RUNNING.release()
    except _StoppedError:
        pass
    except Exception as error:  # said by follow, in the thread of the page
        run.failure = error
        if not isinstance(error, IminetVizError):
            import traceback

            traceback.print_exc()
    finally:
        ENDS.discard(run.stop)
        run.done.set()


def _make(context: Context, run: Run, wish: Wish) -> None:
    import numpy as np

    from iminet_viz import assessment, gallery
    from iminet_viz.patterns import evidence
    from iminet_viz.patterns.engine import EngineConfig, Pattern, maximize_many

    run.tell("Loading the model", 0, 0)
    model = context.own_model(wish.model)
    objective = make_objective(model, wish)
    objective.check(model.network)
    config = EngineConfig(steps=wish.steps, parameterization=wish.parameterization)
    trace = np.zeros(0, np.float32)
    live = Pattern(model.name, model.fingerprint, objective, wish.seed, {}, {}, {}, config, 0.0, 0.0, trace, False)

    def seen(step: int, values: Any, inputs: Mapping[str, Any]) -> bool:
        run.value = float(values[0])
        now = {role: _whole_picture(model, role, objective, x[0].numpy()) for role, x in inputs.items()}
        frontends = {role: model.frontends[role].config for role in now}
        run.live = dataclasses.replace(live, inputs=now, frontends=frontends)
        run.tell("Picture", step + 1, config.steps)
        return False

    run.tell("Picture", 0, config.steps)
    (pattern,) = maximize_many(model, [objective], config, wish.seed, seen)
    run.live = pattern
    kept = {"direct": None} if "direct" not in wish.sounds else {}
    settings = assessment.AssessSettings(stability=wish.stability, **kept)  # type: ignore[arg-type]
    references = evidence.stored_references(model)
    assessed = None
    try:
        if wish.sounds or wish.stability:
            whole = assessment.assess(model, pattern, settings, references, run.tell)
            chosen = {method: sound for method, sound in whole.sounds.items() if method in wish.sounds}
            assessed = dataclasses.replace(whole, sounds=chosen)
    except _StoppedError:  # the picture stays
        run.halted = f"{run.stage[:1].lower()}{run.stage[1:]}".replace("griffin", "Griffin")
        run.halted += f", {run.step} of {run.steps}" if run.steps else ""
    if assessed is None:
        judged = dataclasses.replace(pattern, evidence=evidence.measure(pattern, references))
        assessed = assessment.Assessment(judged, {})
    run.stage, run.step, run.steps = "Files", 0, 1
    folder = context.scratch()
    entry = gallery.write_entry(folder, assessed, references)
    files = _write_more(folder, assessed)
    run.entry = {**entry, "folder": str(folder), "urls": {name: context.url(folder / name) for name in files}}


def make_objective(model: TrainedModel, wish: Wish) -> Objective:
    """The objective of a wish."""
    from iminet_viz.patterns import objectives

    if wish.objective == "unit":
        return objectives.unit(wish.layer, wish.neuron, (wish.band, wish.frame))
    one = objectives.channel(wish.layer, wish.neuron)
    return one if wish.objective == "channel" else one + wish.weight * objectives.channel(wish.layer, wish.second)


def _whole_picture(model: TrainedModel, role: str, objective: Objective, values: np.ndarray) -> np.ndarray:
    """The patch that a position sees at its place, the rest at the mean; what is whole already as it is."""
    import numpy as np

    shape, term = model.frontends[role].config.shape, objective.terms[0]
    if values.shape == shape or term.position is None:
        return values.copy()
    field = model.network.towers[role].receptive_field(term.layer.split(".")[1])
    top, left = (place * stride for place, stride in zip(term.position, field.stride, strict=True))
    whole = np.zeros(shape, np.float32)
    whole[top : top + values.shape[0], left : left + values.shape[1]] = values
    return whole


def _write_more(folder: Path, assessed: Assessment) -> list[str]:
    """Write the sounds as WAV too; names of all files."""
    from iminet_viz.audio import save_audio

    for method, sound in assessed.sounds.items():
        for role, waveform in sound.waveforms.items():
            name = f"{role}.wav" if method == "griffin-lim" else f"{role}.{method}.wav"
            save_audio(folder / name, waveform, sound.sample_rate[role])
    return sorted(path.name for path in folder.iterdir() if path.suffix in (".png", ".wav", ".json", ".npy", ".flac"))


# --- what is shown --------------------------------------------------------------------------------------------------

IDLE = tag("p", "Choose a neuron and press Make it: the picture forms in a few seconds.", class_="iv-quiet")
NOTHING = tag(
    "div",
    tag("div", "The picture appears here.", class_="iv-blank", style="aspect-ratio:512/200"),
    class_="iv-made",
)


def show_status(run: Run) -> Markup:
    """A bar with what is being made, how far it is, and the time left."""
    share = run.step / run.steps if run.steps else 0.0
    words = run.stage if not run.steps else f"{run.stage}: {run.step} of {run.steps}"
    if run.stage == "Picture" and run.value is not None:
        words += f", activation on the leaky network {pieces.number(run.value)}"
    spent = time.monotonic() - run.begun
    if 0 < share < 1 and spent > 0.5:
        words += f", about {max(spent * (1 - share) / share, 1):.0f} s left"
    bar = tag(
        "div",
        tag("i", style=f"width:{100 * share:.0f}%"),
        class_="iv-bar-line",
        role="progressbar",
        aria_label=run.stage,
        aria_valuemin=0,
        aria_valuemax=100,
        aria_valuenow=f"{100 * share:.0f}",
    )
    return tag("div", bar, tag("p", words, class_="iv-quiet"), class_="iv-progress")


def _placeholder(wish: Wish) -> Markup:
    """A place as large as the picture will be, so that nothing jumps."""
    rows = 1 if "." in wish.layer else 2
    return tag(
        "div", tag("div", "Starting", class_="iv-blank", style=f"aspect-ratio:512/{200 * rows}"), class_="iv-made"
    )


def show_live(pattern: Pattern) -> Markup:
    """The picture as it is now."""
    title = f"Pattern of {pattern.objective} of {pattern.model}, as it forms"
    rows = len(pattern.inputs)
    return tag("div", pieces.figure(_draw(pattern), title, (512, 200 * rows), [*pattern.inputs], []), class_="iv-made")


def _draw(pattern: Pattern) -> str:
    """The picture as a data address: it is looked at once."""
    import base64
    import tempfile

    from iminet_viz.gallery import DRAWING
    from iminet_viz.plotting import plot_pattern, save_figure

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "live.png"
        with DRAWING:
            save_figure(path, plot_pattern(pattern))
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def show_made(context: Context, entry: Mapping[str, Any]) -> Markup:
    """The finished pattern with sounds, evidence and files."""
    from iminet_viz.patterns import evidence

    folder = Path(entry["folder"])
    gallery = Gallery(measures={key: dataclasses.asdict(measure) for key, measure in evidence.MEASURES.items()})
    objective = str(entry["objective"]).replace("*", "×")
    name = pieces.long_name(entry) if entry["kind"] in ("channel", "fc_unit") else objective
    files = [
        tag("a", file, href=url, download=True, class_="iv-button")
        for file, url in entry["urls"].items()
        if not file.endswith(".flac")
    ]
    charts = [
        tag("section", tag("h3", title), chart)
        for title, chart in (
            (f"Against real {'pairs' if len(entry['inputs']) > 1 else 'clips'}", pieces.histogram(entry)),
            ("Optimisation", pieces.trace_chart(entry["trace"], entry["steps"])),
        )
        if chart
    ]
    return tag(
        "div",
        tag("div", pieces.entry_figure(context, entry, folder), class_="iv-made"),
        tag("div", tag("span", "Keep ", class_="iv-quiet"), *files, class_="iv-files"),
        tag(
            "div",
            tag("h2", name),
            tag("p", f"{entry['model']}, {objective}, seed {entry['seed']}", class_="iv-quiet"),
            pieces.badges(entry),
            tag("p", pieces.verdict(entry)),
            pieces.doubts(entry),
            class_="iv-verdict",
        ),
        tag("div", *charts, class_="iv-pairup") if charts else None,
        pieces.pair_table(gallery, entry),
        pieces.evidence_table(gallery, entry),
        class_="iv-stack",
    )


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
