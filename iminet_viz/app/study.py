"""Listen test: blind choices between A and B, and what they prove.

What is shown is drawn and written anew for each question under a random name, so neither an address nor a file says
where it comes from; sounds are brought to one level. The answer is known to the study's file alone.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from iminet_viz.app._context import Context, Markup, in_a_sentence, tag
from iminet_viz.app._figure import Sound, empty_state, player, table
from iminet_viz.app._plates import draw_plate, plate
from iminet_viz.app._theme import read_asset
from iminet_viz.app._work import sentence
from iminet_viz.app.explain import check_length, details, digest, hold, plain_table, shown_name
from iminet_viz.errors import AppError, IminetVizError, StudyError
from iminet_viz.study import (
    CHANCE,
    KINDS,
    RIGHT,
    Pool,
    Question,
    Study,
    Tally,
    default_path,
    fits_pool,
    match_pool,
    pretrained_pool,
)

EXCITED, CALM = 90.0, 40.0  # percentile among the reference clips: what a neuron responds to, and what not
HITS = 20  # of a search, of which the upper half is compared with the lower
MOST_POOLS = 64  # of sounds that were dropped
MOST_CLIPS = 12  # of a gallery's real clips
LEVEL = 0.07  # root mean square of what is compared, -23 dB of full scale, or less where peaks would not fit
TITLES = {"pretrained": "Pre-trained or scratch?", "fits": "Pattern and clip", "match": "Hits for your imitation"}
STORAGE = "iminet-viz-participant"
# what a button sends: the question that is seen, since another one may be on its way
SEEN = """(participant, kind, clip, seen, current) => {
  const shown = document.querySelector("#iv-study-stage [data-question]");
  return [participant, kind, clip, shown ? shown.dataset.question : "", current];
}"""


def build(context: Context) -> None:
    """Lay the tab out."""
    desk = Desk(context)
    kinds = desk.kinds()
    gr.HTML(
        tag(
            "p",
            "Two things, A and B; you choose, and nothing tells you which is which. Answers are kept on this "
            "machine, and "
            "the results say what they prove. Decide before you begin how many you will give: who stops when it looks "
            "good finds something in nothing.",
            class_="iv-lead",
        ),
        js_on_load=None,
    )
    if not kinds:
        gr.HTML(
            empty_state(
                "There is nothing to compare.",
                "The test needs a gallery with patterns of a pre-trained net and of one trained from scratch. Start "
                "the app "
                "with --gallery DIR.",
            ),
            js_on_load=None,
        )
        return
    participant = gr.BrowserState("", storage_key=STORAGE, secret=STORAGE)
    seen = gr.Textbox(visible=False)  # the question on the page, filled in by it
    current = gr.State({})  # the question that is shown, and since when
    with gr.Row(elem_classes="iv-actions"):
        kind = gr.Radio(
            [(TITLES[key], key) for key in kinds], value=kinds[0], label="Question", scale=3, elem_id="iv-study-kind"
        )
        name = gr.Textbox(
            label="Your name, if you like", max_length=60, scale=2, min_width=180, elem_id="iv-study-name"
        )
        start = gr.Button("Start", variant="primary", scale=1, min_width=120, elem_id="iv-study-start")
    with gr.Column(visible=kinds[0] != "pretrained") as sounds:
        clip = gr.Audio(
            type="filepath",
            sources=["upload", "microphone"],
            editable=False,
            buttons=[],
            label="A sound to ask about: record or drop one",
            elem_id="iv-study-clip",
        )
    stage = gr.HTML(
        nothing_asked(kinds), js_on_load=read_asset("study.js"), elem_id="iv-study-stage", apply_default_css=False
    )
    with gr.Row(elem_id="iv-study-buttons"):
        buttons = [
            gr.Button("A", interactive=False, elem_id="iv-study-a", min_width=80),
            gr.Button("Skip", interactive=False, elem_id="iv-study-skip", min_width=80),
            gr.Button("B", interactive=False, elem_id="iv-study-b", min_width=80),
        ]
    with gr.Accordion("Results", open=False, elem_id="iv-study-results") as drawer:
        results = gr.HTML(show_results([], []), js_on_load=None, apply_default_css=False)
        with gr.Row():
            again = gr.Button("Count again", size="sm")
            finish = gr.Button("End my test", size="sm", visible=False, elem_id="iv-study-end")

    def off() -> list[gr.Button]:
        return [gr.Button(interactive=False) for _ in buttons]

    def show_next(someone: str, kind: str, clip: str | None) -> tuple[Any, ...]:
        try:
            asked = desk.ask(someone, kind, Path(clip) if clip else None)
        except IminetVizError as error:
            ended = isinstance(error, StudyError)
            shown = empty_state("No further question.", f"{str(error).capitalize()}.") if ended else sentence(error)
            return shown, {}, *off()
        shown = show_question(context, asked)
        return shown, {"id": asked.question.id, "at": time.time()}, *(gr.Button(interactive=True) for _ in buttons)

    def begin(someone: str | None, name: str, kind: str, clip: str | None) -> tuple[Any, ...]:
        try:
            joined = desk.join(someone or "", name)
        except IminetVizError as error:
            return someone, sentence(error), {}, *off(), gr.skip(), gr.skip()
        return joined, *show_next(joined, kind, clip), *count(joined)

    def choose(
        choice: str, someone: str, kind: str, clip: str | None, seen: str, current: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        """Take an answer to the question that was seen when the button was pressed, whatever came since."""
        same = bool(seen) and current.get("id") == seen
        try:
            if not seen or not desk.study.answer(seen, choice, time.time() - current["at"] if same else None):
                return tuple(gr.skip() for _ in shown)  # pressed twice
        except IminetVizError as error:
            return sentence(error), {}, *off()
        return show_next(someone, kind, clip)

    def count(someone: str | None) -> tuple[Markup, gr.Button]:
        """The results, or why they are not open."""
        try:
            waits = desk.study.is_asked(someone or "")
            told = not_over() if waits else show_results(desk.study.results(), desk.study.results(by_participant=True))
            return told, gr.Button(visible=waits)
        except IminetVizError as error:
            return sentence(error), gr.Button(visible=False)

    def end(someone: str | None) -> tuple[Any, ...]:
        """Forget who it was: results were seen, so what comes next is no answer of this participant."""
        try:
            desk.study.end(someone or "")
        except IminetVizError as error:
            return someone, sentence(error), {}, *off(), gr.skip(), gr.skip()
        return "", over(), {}, *off(), *count("")

    def turn(kind: str) -> tuple[Any, ...]:
        label = "Your imitation: record or drop it" if kind == "match" else "A sound to ask about: record or drop one"
        return gr.Column(visible=kind != "pretrained"), gr.Audio(label=label), nothing_asked(kinds), {}, *off()

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    shown = [stage, current, *buttons]
    told = [results, finish]
    start.click(begin, [participant, name, kind, clip], [participant, *shown, *told], **quiet)
    for button, choice in zip(buttons, ("A", "skip", "B"), strict=True):
        button.click(
            functools.partial(choose, choice), [participant, kind, clip, seen, current], shown, js=SEEN, **quiet
        )
    hold(context, clip, "study")
    kind.input(turn, kind, [sounds, clip, *shown], queue=False, **quiet)
    for event in (drawer.expand, again.click):
        event(count, participant, told, **quiet)
    finish.click(end, participant, [participant, *shown, *told], **quiet)

    def study_question(participant: str, kind: str, name: str, clip: str | None) -> dict[str, Any]:
        try:
            joined = desk.join(participant, name)
            asked = desk.ask(joined, kind, Path(clip) if clip else None)
        finally:
            context.uploads.remove(clip)
        question = asked.question
        facts = {"participant": joined, "question": question.id, "kind": kind, "text": KINDS[kind]}
        place = {"number": question.number + 1, "of": question.pairs}
        return facts | place | {side: asked.addresses(context, side) for side in asked.sides}

    def study_answer(question: str, choice: str, seconds: float | None) -> dict[str, Any]:
        return {"question": question, "kept": desk.study.answer(question, choice, seconds or None)}

    def study_results() -> list[dict[str, Any]]:
        return [own.as_dict() for own in desk.study.results()]

    hidden = gr.Button(visible=False)
    answer_json = functools.partial(gr.JSON, visible=False)
    text = functools.partial(gr.Textbox, visible=False)
    hidden.click(
        in_a_sentence(study_question),
        [
            text("", label="participant"),
            text("pretrained", label="kind"),
            text("", label="name"),
            gr.Audio(type="filepath", label="clip", visible=False),
        ],
        answer_json(label="question"),
        api_name="study_question",
        api_description="The next blind question; leave participant empty to begin. Kinds: " + ", ".join(KINDS) + ".",
    )
    hidden.click(
        in_a_sentence(study_answer),
        [text(label="question"), text(label="choice"), gr.Number(None, label="seconds", visible=False)],
        answer_json(label="kept"),
        api_name="study_answer",
        api_description="Keep an answer: A, B or skip. The first one to a question counts.",
    )
    hidden.click(
        in_a_sentence(study_results),
        None,
        answer_json(label="results"),
        api_name="study_results",
        api_description="Right answers of each kind with their intervals, and what can be concluded.",
    )


# --- what is asked --------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Stimulus:
    """What can be seen and heard on one side, under names that say nothing."""

    sound: Path
    seconds: float
    picture: Path | None = None
    picture_s: float = 1.0


@dataclasses.dataclass(frozen=True)
class Asked:
    """A question with all that is shown of it: sides ``A`` and ``B``, and ``clip`` where it is about one."""

    question: Question
    sides: dict[str, Stimulus]

    def addresses(self, context: Context, side: str) -> dict[str, str]:
        """Of a side's sound and picture."""
        own = self.sides[side]
        found = {"sound": context.url(own.sound)}
        return found | {"picture": context.url(own.picture)} if own.picture else found


class Desk:
    """Asks and takes answers; one for the app."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.pools: dict[str, Pool] = {}
        self.hits: dict[str, Mapping[str, Path]] = {}
        self.lock = threading.Lock()

    @functools.cached_property
    def study(self) -> Study:
        """The file, opened when somebody first takes part."""
        return Study(self.context.settings.study or default_path())

    def join(self, someone: str, name: str) -> str:
        """A participant's id, of a new one where it is not known here; the name is kept if there is one."""
        if not someone or not self.study.knows(someone):
            return self.study.join(name)
        if name.strip():
            self.study.rename(someone, name)
        return someone

    def kinds(self) -> list[str]:
        """Kinds of question that can be asked here."""
        found = []
        if self.pretrained.pairs:
            found += ["pretrained", "fits"]
        return [*found, *(["match"] if self.context.searches else [])]

    @functools.cached_property
    def pretrained(self) -> Pool:
        """Patterns of the pre-trained net against those from scratch."""
        models = self.context.gallery.models
        scratch = [name for name in models if name.endswith("scratch")]
        trained = [name for name in models if not name.endswith("scratch")]
        if not scratch or not trained:
            return Pool("pretrained", ())
        return pretrained_pool(self.context.gallery.entries, trained[0], scratch[0])

    def ask(self, someone: str, kind: str, clip: Path | None) -> Asked:
        """The next question.

        Raises:
            AppError: this kind needs a sound, or the sound does not do.
            StudyError: there is no further one.
        """
        if kind not in KINDS:
            raise AppError(f"no kind of question {kind!r}, expected one of: {', '.join(KINDS)}")
        if kind == "pretrained":
            question = self.study.ask(someone, self.pretrained)
            return Asked(question, self._patterns(question))
        if clip is not None:
            check_length("sound", clip, self.context.settings.max_upload_s)
            label = f"{shown_name(clip.name)} {digest(clip)[:12]}"
        if kind == "fits":
            if clip is not None:
                clips = {label: clip}
                pool = self._fits(label, clip)
                if not pool.pairs:
                    raise AppError(
                        "this sound excites no neuron of the gallery much more than others: take another one"
                    )
            else:
                clips, pool = self._own_clips()
                if not pool.pairs:
                    raise AppError("record or drop a sound first, then press Start")
            question = self.study.ask(someone, pool)
            return Asked(question, {**self._sounds({"clip": clips[question.about]}), **self._patterns(question)})
        if clip is None:
            raise AppError("record or drop your imitation first, then press Start")
        hits = self._hits(label, clip)
        question = self.study.ask(someone, match_pool(label, [*hits]))
        return Asked(question, self._sounds({"clip": clip, "A": hits[question.A], "B": hits[question.B]}))

    def _hits(self, label: str, clip: Path) -> Mapping[str, Path]:
        """What is found with a sound; kept as long as all of it can be heard, so that answers come at once."""
        if not self.context.searches:
            raise AppError("no sound library is open: open one in the tab Search")
        with self.lock:
            found = self.hits.get(label, {})
        if not found or not all(path.is_file() for path in found.values()):
            try:
                found = self.context.searches[0](clip, HITS)
            except IminetVizError as error:
                raise AppError(str(error).replace(clip.name, shown_name(clip.name))) from None
            if len(found) < 4:
                raise AppError("the library has too few sounds to compare hits of")
            with self.lock:
                while len(self.hits) >= MOST_POOLS:
                    self.hits.pop(next(iter(self.hits)))
                self.hits[label] = found
        return found

    def _fits(self, label: str, clip: Path) -> Pool:
        """Questions about a sound; those of the last sounds are kept, so that only the first one takes a second."""
        with self.lock:
            if label not in self.pools:
                try:
                    reached = excite(self.context, clip)
                except IminetVizError as error:
                    raise AppError(str(error).replace(str(clip), shown_name(clip.name))) from None
                while len(self.pools) >= MOST_POOLS:
                    self.pools.pop(next(iter(self.pools)))
                self.pools[label] = fits_pool(self.context.gallery.entries, {label: reached}, EXCITED, CALM)
            return self.pools[label]

    @functools.lru_cache(maxsize=1)  # noqa: B019 (one desk for the life of the app)
    def _own_clips(self) -> tuple[dict[str, Path], Pool]:
        """Real clips that the gallery holds, and the questions about them."""
        root, entries = self.context.gallery.folder, self.context.gallery.entries
        names = {
            str(top["sound"])
            for entry in entries.values()
            for top in (entry.get("reference") or {}).get("top", ())
            if top.get("sound")
        }
        if root is None or not names:
            return {}, Pool("fits", ())
        clips = {name: root / name for name in sorted(names)[:MOST_CLIPS] if (root / name).is_file()}
        reached = {name: excite(self.context, path) for name, path in clips.items()}
        return clips, fits_pool(entries, reached, EXCITED, CALM)

    def _patterns(self, question: Question) -> dict[str, Stimulus]:
        """Picture and sound of both sides, each a side of a gallery's entry."""
        from iminet_viz.gallery import read_pattern

        pictures, files = {}, {}
        for side in ("A", "B"):
            id, _, role = getattr(question, side).partition(" ")
            entry, root = self.context.gallery.entries[id], self.context.gallery.folder
            assert root is not None
            folder = root / entry["folder"]
            pattern = read_pattern(folder)
            pictures[side] = self.context.scratch(".png"), pattern.frontends[role].duration_s
            draw_plate(pictures[side][0], pattern.inputs[role], pattern.frontends[role])
            sounds = entry["inputs"][role]["sounds"]
            files[side] = folder / (sounds.get("griffin-lim") or next(iter(sounds.values())))["file"]
        return {
            side: dataclasses.replace(own, picture=pictures[side][0], picture_s=pictures[side][1])
            for side, own in self._sounds(files).items()
        }

    def _sounds(self, files: Mapping[str, Path]) -> dict[str, Stimulus]:
        """Sounds under new names, without what their files say of them, all at one level."""
        import numpy as np

        from iminet_viz.audio import read_native, save_audio
        from iminet_viz.baselines import HEARD_S

        heard = {}
        for side, path in files.items():
            try:
                waveform, rate = read_native(path)
            except IminetVizError as error:
                raise AppError(str(error).replace(str(path), shown_name(path.name))) from None
            waveform = waveform[: round(HEARD_S * rate)]
            heard[side] = waveform, rate, float(np.sqrt(np.square(waveform).mean())), float(np.abs(waveform).max())
        level = min([LEVEL, *(0.99 * power / peak for *_, power, peak in heard.values() if peak > 0)])
        made = {}
        for side, (waveform, rate, power, _) in heard.items():
            made[side] = Stimulus(self.context.scratch(".wav"), len(waveform) / rate)
            save_audio(made[side].sound, waveform * (level / power if power > 0 else 1.0), rate)
        return made


def excite(context: Context, clip: Path) -> dict[str, float]:
    """What a clip does to the neurons of a gallery: by entry, per cent of the reference clips that do less.

    Args:
        context: its gallery's models; those without stored reference activations are left out.
        clip: a sound file.

    Raises:
        AudioError: it cannot be read.
    """
    from iminet_viz.patterns.evidence import compute_references, stored_references

    reached: dict[str, float] = {}
    for name in context.gallery.models:
        model = context.model(name)
        stored = stored_references(model)
        if stored is None:
            continue
        done = compute_references(model, [(clip.name, clip)])
        for id, entry in context.gallery.entries.items():
            layer, neuron = str(entry["layer"]), int(entry["neuron"])
            known = stored.values.get(layer)
            same = entry["model"] == name and entry.get("fingerprint") == model.fingerprint
            if same and known is not None and layer in done.values and neuron < known.shape[1]:
                reached[id] = 100 * float((known[:, neuron] < done.values[layer][0, neuron]).mean())
    return reached


# --- the page -------------------------------------------------------------------------------------------------------


def nothing_asked(kinds: list[str]) -> Markup:
    """What to do first."""
    more = "" if "match" in kinds else " Questions about hits are asked once a sound library is open in the tab Search."
    return tag(
        "div",
        empty_state("No question yet.", f"Choose what you want to judge and press Start. Headphones help.{more}"),
        class_="iv-trial",
    )


def not_over() -> Markup:
    """Instead of the results, while a question waits for an answer."""
    return empty_state(
        "The results open when your own test is over.",
        "They could sway your answers. Answer all pairs, or end your test: what you gave counts.",
    )


def over() -> Markup:
    """After the end."""
    return tag(
        "div",
        empty_state(
            "Your test has ended.",
            "The results are open below. Start begins another test, which counts as that of another participant.",
        ),
        class_="iv-trial",
    )


def show_question(context: Context, asked: Asked) -> Markup:
    """A question: nothing in it says which is which."""
    question = asked.question
    about = asked.sides.get("clip")
    title = {"fits": "The clip", "match": "Your imitation"}.get(question.kind, "")
    return tag(
        "div",
        tag("p", f"Pair {question.number + 1} of {question.pairs}", class_="iv-quiet"),
        tag("h2", KINDS[question.kind]),
        _card(context, title, about, "0") if about else None,
        tag(
            "div",
            *(_card(context, side, asked.sides[side], key) for side, key in (("A", "1"), ("B", "2"))),
            class_="iv-sides",
        ),
        tag(
            "p",
            *join_keys(("1", "plays A"), ("2", "plays B"), *((("0", "plays the clip"),) if about else ())),
            tag("span", tag("kbd", "A"), " or ", tag("kbd", "B"), " answers"),
            *join_keys(("S", "skips")),
            class_="iv-keys",
        ),
        class_="iv-stack iv-trial",
        data_question=question.id,
    )


def join_keys(*keys: tuple[str, str]) -> list[Markup]:
    """Keys and what they do."""
    return [tag("span", tag("kbd", key), f" {what}") for key, what in keys]


def _card(context: Context, title: str, own: Stimulus, key: str) -> Markup:
    sound = Sound(context.url(own.sound), title if len(title) > 1 else f"sound {title}", "Sound", own.seconds, title)
    alt = f"{title}: spectrogram in Hz and seconds"
    picture = plate(context.url(own.picture), alt, title, own.seconds, own.picture_s) if own.picture else None
    return tag(
        "section",
        tag("h3", title, class_="iv-side-name"),
        picture,
        tag("div", player(sound), class_="iv-players"),
        class_="iv-panel iv-figure",
        data_key=key,
    )


def show_results(results: list[Tally], each: list[Tally]) -> Markup:
    """Counts, intervals and what they prove."""
    if not results:
        return empty_state("No answers yet.", "Nothing can be concluded. Answer some questions, then come back.")
    parts = [_result(own) for own in results]
    names: dict[str, str] = {}
    for own in each:
        names.setdefault(own.who, own.name or f"participant {len(names) + 1}")
    rows = [
        (
            names[own.who],
            TITLES[own.kind],
            str(own.n),
            str(own.right),
            _percent(own.share),
            _range(own.wilson),
            f"{own.p:.2g}",
        )
        for own in each
    ]
    head = ("Participant", "Question", "Answers", "Right", "Share", "95 % interval", "p")
    whole = plain_table("Answers of each participant", head, rows)
    return tag("div", *parts, details(f"By participant ({len(names)})", whole), class_="iv-stack")


def _result(own: Tally) -> Markup:
    low, high = own.wilson
    style = f"left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"
    dot = tag("b", style=f"left:{100 * (own.share or 0):.1f}%") if own.share is not None else None
    said = f"{_percent(own.share)} right, 95 % interval {_range(own.wilson)}, chance {CHANCE:.0%}"
    scale = tag(
        "div",
        tag("i", style=style),
        dot,
        tag("span", "0 %", class_="iv-zero"),
        tag("span", "chance", class_="iv-half"),
        tag("span", "100 %", class_="iv-all"),
        class_="iv-range",
        role="img",
        aria_label=said,
    )
    facts = [
        ("Answers (n)", str(own.n), "Skipped ones aside: " + str(own.skipped)),
        ("Right", f"{own.right} ({_percent(own.share)})", f"Right is {RIGHT[own.kind]}."),
        (
            "95 % interval, Wilson",
            _range(own.wilson),
            "Where the true share lies, if the answers do not hang together.",
        ),
        ("95 % interval, exact", _range(own.exact), "By Clopper and Pearson: never too narrow, mostly too wide."),
        (
            "p",
            f"{own.p:.2g}",
            f"How often a coin gives a share as far from {CHANCE:.0%}, either way (exact binomial test).",
        ),
        ("Participants", str(own.participants), "Answers of one person hang together: few persons prove less."),
    ]
    return tag(
        "section",
        tag("h3", KINDS[own.kind]),
        tag("p", own.verdict, class_="iv-lead"),
        scale,
        details("The figures", table("", ("Figure", "Value", "What it means"), facts)),
        class_="iv-panel",
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _range(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.0%} to {interval[1]:.0%}"
