"""Explain: why an imitation and a recording match, or not; seen on both spectrograms, and heard."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from iminet_viz.app._context import Context, Markup, in_a_sentence, join, tag
from iminet_viz.app._figure import Sound, empty_state, framed, number, percent, player, plural, table, thumbnail
from iminet_viz.app._plates import wide_picture
from iminet_viz.app._work import Cancelled, Orders, Report, Step, follow, progress_bar, sentence
from iminet_viz.errors import AppError, IminetVizError
from iminet_viz.shipped import DEFAULT_SEARCH, find_model, read_fusion, read_json, shipped_models

ROLES = ("imitation", "recording")
UNTRAINED = {"dtw": "dtw", "dtw-mfcc": "dtw-mfcc"}
DEFAULT = DEFAULT_SEARCH
ALIGN = ("aligned", "joint")  # kinds of nets
EXPLAINED = ("tl-iminet", "iminet", "recurrent", *ALIGN)  # they have two towers, or align
NAME_LENGTH = 80  # of a file, where it is shown
SHOWN_UNITS = 6


def build(context: Context) -> None:
    """Lay the tab out; what it does is in :func:`explain_files` and :func:`show`."""
    gr.HTML(
        tag(
            "p",
            "Give an imitation and a recording. The net's score of the pair is taken apart: which moments or which "
            "parts "
            "of the spectrum speak for it, drawn and made audible, and whether the drawing can be believed.",
            class_="iv-lead",
        ),
        js_on_load=None,
    )
    sounds: dict[str, Any] = {
        "sources": ["upload", "microphone"],
        "type": "filepath",
        "editable": False,
        "min_width": 280,
    }
    with gr.Row():
        query = gr.Audio(label="Imitation (your voice)", elem_id="iv-explain-query", buttons=["download"], **sounds)
        candidate = gr.Audio(label="Recording", elem_id="iv-explain-candidate", buttons=["download"], **sounds)
    with gr.Row(elem_classes="iv-actions"):
        model = gr.Dropdown(
            explainable_models(context),
            value=DEFAULT,
            label="Model",
            info="Those that align say which moments met, in seconds; TL-IMINET and IMINET which cells count, in "
            "half a minute.",
            elem_id="iv-explain-model",
            scale=3,
            min_width=280,
        )
        run = gr.Button("Explain", variant="primary", elem_id="iv-explain-run", scale=1, min_width=120)
        cancel = gr.Button(
            "Cancel", variant="secondary", interactive=False, elem_id="iv-explain-cancel", scale=1, min_width=120
        )
    page = gr.HTML(nothing_yet(), js_on_load=None, elem_id="iv-explain-page", apply_default_css=False)
    called, asked = gr.State({}), gr.State("")  # names that a link gave; changes where a link came

    orders = Orders()

    def forget(request: gr.Request) -> None:
        orders.cancel(str(request.session_hash))

    def start(
        query: str | None, candidate: str | None, model: str, called: Mapping[str, str], request: gr.Request
    ) -> tuple[Markup, gr.Button]:
        if not query or not candidate:
            forget(request)
            return nothing_yet(query, candidate), able(False)
        orders.give(str(request.session_hash), Path(query), Path(candidate), model, called)
        return waiting(), able(True)

    def work(request: gr.Request) -> Iterator[tuple[Markup, gr.Button]]:
        yield gr.skip(), gr.skip()  # what ends without a word empties the page
        session = str(request.session_hash)
        if (order := orders.take(session)) is None:
            return
        query, candidate, model, called = order.wanted
        try:
            for step in explain_files(context, query, candidate, model, called, order.ended):
                shown = progress_bar(step) if step.result is None else show(context, *step.result)
                yield shown, able(step.result is None)
        except Cancelled:  # gradio shows the last word again
            yield (waiting(), able(True)) if orders.waits(session) else (cancelled(), able(False))
        except IminetVizError as error:
            yield sentence(error), able(False)

    def stop(request: gr.Request) -> tuple[Markup, gr.Button]:
        forget(request)
        return cancelled(), able(False)

    def arrive(link: Mapping[str, str]) -> tuple[Any, ...]:
        """A hit's "why": clips by their tokens, model by its name."""
        clips = [context.kept(link.get(key, "")) for key in ("query", "candidate")]
        chosen, said = explained_by(context, link.get("model", ""))
        models = gr.Dropdown(choices=explainable_models(context, chosen), value=chosen)
        given: dict[str, str] = {"model": chosen, "said": said} | {
            role: link.get(f"{key}_name", "") for role, key in zip(ROLES, ("query", "candidate"), strict=True)
        }
        if None in clips:
            gone = "query" in link or "candidate" in link
            text = "The sounds of this link are gone: they are kept for an hour. Search again, or drop the files here"
            return *(gr.skip() for _ in range(5)), sentence(text) if gone else gr.skip(), gr.skip()
        shown = [context.uploads.copy(clip) for clip in clips if clip is not None]
        return str(shown[0]), str(shown[1]), models, given, secrets.token_hex(4), waiting(), able(False)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    clips = [query, candidate]
    heavy: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "heavy", "trigger_mode": "multiple", **quiet}
    shown, given = [page, cancel], [*clips, model, called]
    for begin in (run.click, asked.change):
        begin(start, given, shown, queue=False, **quiet).then(work, None, shown, **heavy)
    cancel.click(stop, None, shown, queue=False, **quiet)  # "cancels" of gradio fails for what is on its way
    context.on_leave(forget)
    for own, role in zip(clips, ROLES, strict=True):
        hold(context, own, role)
        own.input(lambda called, role=role: {**called, role: "", "said": ""}, called, called, queue=False, **quiet)
    context.on_visit("explain", arrive, [query, candidate, model, called, asked, page, cancel])

    def api(query: str, candidate: str, model: str) -> tuple[dict[str, Any], str]:
        if not query or not candidate:
            raise AppError("two sounds are needed, an imitation and a recording")
        try:
            *_, last = explain_files(context, Path(query), Path(candidate), model, {})
        finally:
            context.uploads.remove(query, candidate)
        assert last.result is not None
        figures, folder = last.result
        return figures, str(folder / "explanation.png")

    gr.Button(visible=False).click(
        in_a_sentence(api),
        [
            gr.Audio(type="filepath", label="query", visible=False),
            gr.Audio(type="filepath", label="candidate", visible=False),
            gr.Textbox(DEFAULT, label="model", visible=False),
        ],
        [gr.JSON(label="explanation", visible=False), gr.Image(type="filepath", label="picture", visible=False)],
        api_name="explain",
        api_description="Why a model scores an imitation and a recording as it does: all numbers, and the picture.",
        concurrency_limit=1,
        concurrency_id="heavy",
    )


def hold(context: Context, sound: gr.Audio, place: str) -> None:
    """Remove the upload that a component shows when it shows another one, or its page goes."""

    def show(path: str | None, request: gr.Request) -> None:
        context.uploads.show(str(request.session_hash), place, path)

    sound.change(show, sound, None, queue=False, show_progress="hidden", api_visibility="private")


# --- the work -------------------------------------------------------------------------------------------------------


def explainable_models(context: Context, more: str = "") -> list[tuple[str, str]]:
    """What can be asked why: ``(shown, name)``, the default first; ``more`` is what a search's model comes to."""
    found = [(name, name) for name in shipped_models() if name != DEFAULT and kind_of(name) in EXPLAINED]
    known = (DEFAULT, *UNTRAINED, *(name for name, _ in found))
    own = {name for name in (more, context.settings.model) if name not in (*known, "default")}
    found += [(shown_name(name), name) for name in sorted(own) if explained_by(context, name) == (name, "")]
    found.sort(key=lambda pair: (not pair[1].startswith("tl-"), pair[1] != "tl-iminet-conv123", pair[1]))
    return [
        (f"{DEFAULT} (default)", DEFAULT),
        *found,
        *((f"{shown} (untrained)", name) for name, shown in UNTRAINED.items()),
    ]


def kind_of(name: str) -> str:
    """Kind of a model's network; of an untrained baseline its name, of what is none nothing."""
    try:
        return name if name in UNTRAINED else str(read_json(find_model(name) / "config.json").get("kind"))
    except IminetVizError:
        return ""


def explained_by(context: Context, name: str) -> tuple[str, str]:
    """What explains a hit of a model, and a sentence where that is not the model itself."""
    if name in ("", "default"):
        return DEFAULT, ""
    own = name in (context.settings.model, *context.named)  # a path in somebody else's words is never opened
    parts = parts_of(name) if own else [part.rpartition("*")[2].strip() for part in name.split("+")]
    if not own and not all(part in (*shipped_models(), *UNTRAINED) for part in parts):
        parts = []
    kinds = {part: kind_of(part) for part in parts}
    aligns = bool(kinds) and all(kind in (*ALIGN, *UNTRAINED) for kind in kinds.values())
    if aligns or kinds.get(name) in EXPLAINED:
        return name, ""
    for part, kind in kinds.items():
        if kind in EXPLAINED or kind in UNTRAINED:
            text = "is a fusion whose sum cannot be taken apart: the pair is explained with its part"
            return part, f"{shown_name(name)} {text} {shown_name(part)}."
    text = "gives a score that cannot be taken apart: the pair is explained with"
    return DEFAULT, f"{shown_name(name)} {text} {DEFAULT} instead, which did not find it."


def parts_of(name: str) -> list[str]:
    """What a search's model adds up: networks by name or folder, untrained baselines by name."""
    try:
        fusion = read_fusion(find_model(name))
    except IminetVizError:  # no folder: a sum of names
        return [part if kind_of(part) else part.partition("*")[2].strip() for part in name.split("+")]
    if fusion is None:
        return [name]
    return [*(str((fusion.folder / part).resolve()) for part in fusion.networks), *fusion.untrained]


def explain_files(
    context: Context,
    query: Path,
    candidate: Path,
    model: str,
    called: Mapping[str, str],
    ended: threading.Event | None = None,
) -> Iterator[Step[tuple[dict[str, Any], Path]]]:
    """Explain two files; the last step's result is what :func:`show` takes, the numbers and their folder.

    Raises:
        AppError: no such model, or a clip is too long.
        Cancelled: it was ended.
        IminetVizError: as for :func:`iminet_viz.attribution.explain_match`.
    """
    known = [name for _, name in explainable_models(context)]
    if model not in ("default", *known, *(explained_by(context, own)[0] for own in context.named)):
        raise AppError(f"no model {model!r} that can be explained")
    given = dict(zip(ROLES, (query, candidate), strict=True))
    own = context.scratch()  # what the page shows may be replaced meanwhile
    files = {role: own / role / path.name for role, path in given.items()}

    def work(report: Report) -> tuple[dict[str, Any], Path]:
        try:
            for role, path in given.items():
                check_length(role, path, context.settings.max_upload_s)
                files[role].parent.mkdir(parents=True)
                shutil.copyfile(path, files[role])
            return explain_own(report)
        except FileNotFoundError:
            raise AppError("a sound is gone: give it again") from None
        finally:
            shutil.rmtree(own, ignore_errors=True)

    def explain_own(report: Report) -> tuple[dict[str, Any], Path]:
        report("Loading the model", 0.0)
        from iminet_viz.attribution import explain_match, load_explainable
        from iminet_viz.explanation import write_explanation
        from iminet_viz.gallery import DRAWING

        loaded = load_explainable(model)
        report("Taking the score apart", -1.0)
        explained = explain_match(
            loaded,
            files["imitation"],
            files["recording"],
            report=lambda share: report("Taking the score apart", 0.02 + 0.86 * share),
        )
        report("Drawing", 0.9)
        folder = context.scratch()
        with DRAWING:  # matplotlib's fonts are one for all threads
            figures = write_explanation(folder, explained, files, model)
        (folder / "index.html").unlink()  # it is made for a folder on disk
        for role in figures["sides"]:
            figures["sides"][role]["name"] = shown_name(called.get(role) or files[role].name)
        figures.pop("files"), figures.pop("maximize")
        if called.get("said") and called.get("model") == model:
            figures["notes"] = [called["said"], *figures["notes"]]
        if digest(files["imitation"]) == digest(files["recording"]):
            text = "Both sides are the same sound, so the score says only how the model rates a perfect copy."
            figures["notes"] = [*(note for note in figures["notes"] if "same file" not in note), text]
        for unit in figures.get("units", ()):
            place = f"{explained.model}/{unit['layer']}/{unit['neuron']}"
            entry = context.gallery.entries.get(place, {})
            unit["pattern"] = place if entry.get("fingerprint") == figures["fingerprint"] else None
        (folder / "explanation.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        return figures, folder

    try:
        yield from follow(work, "Loading the model", ended)
    except IminetVizError as error:
        text = str(error)
        for role, path in files.items():  # no address on this machine
            text = text.replace(str(path), shown_name(called.get(role) or path.name))
        raise AppError(text) from None


def check_length(role: str, path: Path, most_s: float) -> None:
    """Refuse what is too long before it is read; what cannot be read is told later.

    Raises:
        AppError: it is longer than ``most_s``.
    """
    import soundfile

    try:
        seconds = soundfile.info(str(path)).duration
    except (soundfile.SoundFileError, OSError, ValueError):
        return
    if seconds > most_s:
        raise AppError(f"the {role} is {seconds:.0f} s long, at most {most_s:.0f} s are taken: cut it")


def digest(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shown_name(name: str) -> str:
    """A file's name as it is shown: without folders, not longer than a line."""
    name = Path(name).name or "sound"
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"


# --- the page -------------------------------------------------------------------------------------------------------


def able(runs: bool) -> gr.Button:
    """Cancel, which has something to end only while something runs."""
    return gr.Button(interactive=runs)


def nothing_yet(query: str | None = None, candidate: str | None = None) -> Markup:
    """What to do first."""
    missing = (
        "an imitation and a recording"
        if not query and not candidate
        else "an imitation"
        if not query
        else "a recording"
    )
    if query or candidate:
        return empty_state(
            f"One sound is there, {missing} is missing.", "Record it or drop a file, then press Explain."
        )
    return empty_state(
        "Nothing to explain yet.",
        "Record or drop an imitation and a recording, then press Explain. Or search first: each hit has a “why” that "
        "leads here with both sounds.",
    )


def waiting() -> Markup:
    """Until the work begins: one explanation is made at a time."""
    return progress_bar(Step("Waiting for its turn", 0.0, 0.0))


def cancelled() -> Markup:
    """What a cancelled work leaves."""
    return empty_state("Cancelled.", "Nothing was kept. Press Explain to begin again.")


def show(context: Context, figures: Mapping[str, Any], folder: Path) -> Markup:
    """The page of an explanation."""
    aligned = figures["kind"] == "alignment"
    sides = figures["sides"]
    names = [str(sides[role]["name"]) for role in sides]
    doubts, notes = figures["warnings"], figures["notes"]
    parts = [
        tag("h2", f"Why {' and '.join(names)} match, or not"),
        *(tag("p", text, class_="iv-lead") for text in leads(figures)),
        tag(
            "div",
            tag("strong", "Do not take the drawing at its word"),
            tag("ul", *(tag("li", text) for text in doubts)),
            class_="iv-doubts",
        )
        if doubts
        else None,
        tag("ul", *(tag("li", text) for text in notes), class_="iv-notes") if notes else None,
        section(
            "The moments that met" if aligned else "The cells that count",
            "The colour over a spectrogram says how near each moment of it is to what it met on the other side. In "
            "“what "
            "met” only the moments that are nearer than chance are heard."
            if aligned
            else "Red cells raise the score, blue cells lower it, by integrated gradients from silence to the clip. "
            "“What "
            "counts” is the clip itself, its own phase kept, where only the red cells are let through.",
            tag("div", *(side_card(context, figures, role, folder) for role in sides), class_="iv-sides"),
            tag(
                "div",
                *(
                    tag("span", tag("i", class_=f"iv-{kind}"), text)
                    for kind, text in (
                        ("for", "nearer than two moments at random" if aligned else "speaks for it"),
                        ("against", "farther apart" if aligned else "speaks against it"),
                    )
                ),
                class_="iv-legend",
            ),
        ),
    ]
    if aligned:
        parts += [moments(figures), score_parts(figures)]
    else:
        parts += [shares(figures), units(context, figures), tests(figures)]
    parts.append(
        section(
            "The whole picture",
            "A line joins each moment of the imitation, above, to the moment of the recording that it met."
            if aligned
            else "Left, integrated gradients: what each cell adds on the way from silence to the clip. Right, "
            "occlusion: "
            "what is lost where a window is set to the clip’s mean level. Where they agree, the drawing is firmer.",
            wide_picture(
                context,
                folder / "explanation.png",
                "Both spectrograms in Hz and seconds, with what speaks for the score",
            ),
            details(
                "The path of each part through the distances of all moments; dark is near",
                wide_picture(
                    context,
                    folder / "paths.png",
                    "Distances between all moments of the two clips, with the path of the alignment",
                ),
            )
            if (folder / "paths.png").exists()
            else None,
            tag(
                "p",
                "All numbers: ",
                tag(
                    "a", "explanation.json", href=context.url(folder / "explanation.json"), download="explanation.json"
                ),
                class_="iv-quiet",
            ),
        )
    )
    return tag("article", *parts, class_="iv-stack iv-explained")


def leads(figures: Mapping[str, Any]) -> list[str]:
    """What is said first."""
    model = figures["model"]
    if figures["kind"] == "alignment":
        own = figures["parts"]
        sum_of = (
            f"the scores of its {len(own)} parts are listed below; a search puts them on one scale by the library "
            f"that is "
            "searched, so the pair alone has no joint score."
            if len(own) > 1
            else f"{number(figures['value'])}, where 0 would be equal frames all along."
        )
        weight = sum(part["weight"] for part in own)
        near = sum(part["weight"] * part["nearness"] for part in own) / weight
        return [
            f"{model} laid the imitation and the recording along each other in time, so that the moments that are most "
            f"alike meet. Every pair of moments that met adds to the score, and the sum is exact: {sum_of}",
            f"On average the moments that met are {percent(abs(near))} {'nearer' if near >= 0 else 'farther apart'} "
            f"than "
            "two moments of these clips taken at random (100 % would be equal).",
        ]
    value, silence = figures["value"], figures["silence"]
    gained = ", ".join(f"the {role} gives {signed(figures['shares'][role])}" for role in figures["sides"])
    return [
        f"{model} scores this pair {number(value)}. As a probability, among pairs of which half belong together, "
        f"that is "
        f"{percent(1 / (1 + math.exp(-max(-500.0, value))))} that the recording is what the imitation imitates.",
        f"Silence with silence scores {number(silence)}, so the two clips give {signed(value - silence)}: {gained}. A "
        "search ranks by the score; only differences between candidates count there.",
    ]


def side_card(context: Context, figures: Mapping[str, Any], role: str, folder: Path) -> Markup:
    """Picture and sounds of one side."""
    side, axes = figures["sides"][role], figures["axes"]
    aligned = figures["kind"] == "alignment"
    share = min(1.0, side["duration_s"] / side["picture_s"])
    head = tag(
        "i",
        class_="iv-head",
        hidden=True,
        data_side=role,
        data_left=axes["left"],
        data_width=round(axes["width"] * share, 4),
        style=f"top:{100 * (1 - axes['bottom'] - axes['height']):.2f}%;height:{100 * axes['height']:.2f}%",
    )
    alt = f"Spectrogram of the {role} in Hz and seconds, with what speaks for and against the score laid over it"
    seconds = float(side["duration_s"])
    sounds = [player(Sound(context.url(folder / side["sound"]), f"the {role}", "The clip", seconds, role))]
    if side["heard"]:
        name = "What met" if aligned else "What counts"
        url = context.url(folder / side["heard"])
        sounds.append(player(Sound(url, f"what speaks for the score in the {role}", name, seconds, role)))
    else:
        sounds.append(
            tag(
                "p",
                f"Nothing in the {role} speaks for the score, so there is nothing to hear of it.",
                class_="iv-quiet",
            )
        )
    picture = tag("img", src=context.url(folder / side["picture"]), alt=alt, width=952, height=425)
    return tag(
        "section",
        tag("h4", tag("b", role.capitalize()), tag("span", side["name"], class_="iv-file", title=side["name"])),
        framed((952, 425), picture, head),
        tag("div", *sounds, class_="iv-players"),
        class_="iv-panel iv-figure",
    )


def shares(figures: Mapping[str, Any]) -> Markup:
    """What each tower gives."""
    values = figures["shares"]
    low, high = min(0.0, *values.values()), max(0.0, *values.values())
    rows = [
        tag(
            "div",
            tag("span", role.capitalize()),
            gauge(value, low, high),
            tag("span", signed(value), class_="iv-num"),
            class_="iv-share",
        )
        for role, value in values.items()
    ]
    return section(
        "Who gave how much",
        "Each side’s fair share (Shapley value): what it adds beside silence and beside the other clip, averaged. "
        "The two "
        "shares sum to what the pair has over silence, exactly.",
        tag("div", *rows, class_="iv-bars-list"),
    )


def moments(figures: Mapping[str, Any]) -> Markup:
    """The stretches that are nearest to what they met."""
    found = figures["moments"]
    if not found:
        return section("Moments to listen to", "No moment of the imitation is nearer to what it met than chance.")
    rows = [(span(moment["imitation"]), span(moment["recording"]), percent(moment["nearness"])) for moment in found]
    return section(
        "Moments to listen to",
        "The stretches of the imitation that are nearest to what they met; 100 % would be equal, 0 % chance.",
        plain_table("Nearest moments", ("Imitation", "met in the recording", "Nearer than chance"), rows),
    )


def score_parts(figures: Mapping[str, Any]) -> Markup:
    """The exact sum of each part."""
    rows = [
        (
            part["part"] + (f" (weight {number(part['weight'])})" if part["weight"] != 1 else ""),
            f"{part['score']:.3f}".replace("-", "\u2212"),
            f"{part['meetings_add']:.3f}".replace("-", "\u2212"),
            f"{part['duration_adds']:.3f}".replace("-", "\u2212"),
            percent(part["nearness"]),
            f"{part['beaten']:g} of {len(part['rotated'])}",
        )
        for part in figures["parts"]
    ]
    head = ("Part", "Score", "Moments add", "Durations add", "Nearer than chance", "Rotations beaten")
    return section(
        "The score, part by part",
        "Moments and durations add up to the score; nothing is left over. The last column is a control: the same "
        "recording, begun at another moment and joined end to beginning; a match that hangs on the course of the sound "
        "must score more than most of these, half would be chance.",
        plain_table("Score of each part", head, rows),
    )


def units(context: Context, figures: Mapping[str, Any]) -> Markup | None:
    """The units of the last layer that drove the score, with links to their patterns."""
    found = figures["units"]
    if not found:
        return None
    largest = max(abs(unit["adds"]) for unit in found) or 1.0
    layer = found[0]["layer"]

    def row(unit: Mapping[str, Any]) -> Markup:
        name = f"{layer} {unit['neuron']}"
        place = unit["pattern"]
        make = context.link("make", model=figures["model"], layer=layer, neuron=unit["neuron"])
        bar = gauge(unit["adds"], -largest if unit["adds"] < 0 else 0.0, 0.0 if unit["adds"] < 0 else largest)
        parts: list[Markup | None] = [
            tag("a", name, href=context.link("patterns", id=place) if place else make),
            bar,
            tag("span", signed(unit["adds"]), class_="iv-num"),
        ]
        if place:
            parts.append(unit_pattern(context, place, name))
        return tag("li", *parts, class_="iv-share")

    def column(title: str, own: Sequence[Mapping[str, Any]]) -> Markup:
        total = sum(unit["adds"] for unit in own)
        rest = own[SHOWN_UNITS:]
        return tag(
            "div",
            tag("h4", title, tag("span", f"{plural(len(own), 'unit')}, together {signed(total)}", class_="iv-quiet")),
            tag("ul", *map(row, own[:SHOWN_UNITS]), class_="iv-bars-list"),
            details(f"{plural(len(rest), 'more unit')}", tag("ul", *map(row, rest), class_="iv-bars-list"))
            if rest
            else None,
        )

    off = sum(unit["adds"] == 0 for unit in found)
    silent = (
        f" {plural(off, 'unit')} {'is' if off == 1 else 'are'} off for this pair and {'adds' if off == 1 else 'add'} "
        f"nothing." * bool(off)
    )
    return section(
        f"The units of {layer}",
        f"The score is the weighted sum of these units and a constant. What a unit responds to is shown by its "
        f"pattern, "
        f"the input that excites it most; a link leads to it, or, where the gallery has none, to where it is "
        f"made.{silent}",
        tag(
            "div",
            column("Raise the score", [unit for unit in found if unit["adds"] > 0]),
            column("Lower the score", [unit for unit in found if unit["adds"] < 0]),
            class_="iv-sides",
        ),
    )


def unit_pattern(context: Context, place: str, name: str) -> Markup | None:
    """A gallery's picture of a unit, as a link to it."""
    entry, root = context.gallery.entries[place], context.gallery.folder
    if root is None:
        return None
    picture = thumbnail(context.url(root / entry["folder"] / entry["picture"]), len(entry["inputs"]))
    link = context.link("patterns", id=place)
    return tag("a", picture, href=link, class_="iv-unit-pattern", aria_label=f"Pattern of {name}")


def tests(figures: Mapping[str, Any]) -> Markup:
    """Whether the drawing can be believed."""
    faith = figures["faithfulness"]
    count = len(faith["random"]["deletion"])
    gained = figures["value"] - figures["silence"]
    beaten = faith["beaten"]

    def beat(test: str) -> str:
        return f"{beaten['random'][test]:g} of {count} random, {beaten['level'][test]:g} of {count} by level"

    def passed(test: str) -> bool:
        return min(beaten["random"][test], beaten["level"][test]) >= 0.95 * count

    rows = [
        (
            ("Deletion", passed("deletion")),
            beat("deletion"),
            "Cells are taken away, the most important first: the score must fall sooner than in other orders. The "
            "counts "
            "say how many of them the drawing beats; half would be chance.",
        ),
        (
            ("Insertion", passed("insertion")),
            beat("insertion"),
            "Cells are put into silence, the most important first: the score must rise sooner. Orders that know "
            "where the "
            "sound is loud are the harder control.",
        ),
        (
            ("Infidelity", figures["infidelity"] <= 0.5),
            number(figures["infidelity"]),
            "Small noise is laid over the clips, and the drawing foretells what it does to the score. 0 means that it "
            "foretells everything, 1 that it foretells nothing.",
        ),
        (
            ("Convergence delta", abs(figures["convergence_delta"]) <= 0.05 * abs(gained) + 1e-3),
            signed(figures["convergence_delta"]),
            f"The cells should sum to what the clips have over silence, {signed(gained)}; this is what they miss.",
        ),
    ]
    shown = [
        (
            join(
                [
                    name,
                    tag(
                        "span",
                        "passed" if good else "not passed",
                        class_=f"iv-badge {'iv-beats' if good else 'iv-warn'}",
                    ),
                ]
            ),
            value,
            meaning,
        )
        for (name, good), value, meaning in rows
    ]
    return section(
        "Can the drawing be believed?",
        "An attribution can look convincing and be wrong, so this one was tested. A test that is not passed does not "
        "make "
        "the score wrong, only the picture of it.",
        tag("div", table("Tests of the drawing", ("Test", "Result", "What it means"), shown), class_="iv-tests"),
    )


def section(title: str, note: str, *children: object) -> Markup:
    """A heading, what it is about, and the rest."""
    return tag("section", tag("h3", title), tag("p", note, class_="iv-note"), *children, class_="iv-section")


def details(summary: str, *children: object) -> Markup:
    """What is shown on demand."""
    return tag("details", tag("summary", summary), *children, class_="iv-details")


def plain_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """A table of numbers that scrolls sideways where the screen is narrow."""
    body = [
        tag("tr", tag("th", row[0], scope="row", title=row[0]), *(tag("td", cell) for cell in row[1:])) for row in rows
    ]
    whole = tag(
        "table",
        tag("caption", caption, class_="iv-sr"),
        tag("thead", tag("tr", *(tag("th", text, scope="col") for text in head))),
        tag("tbody", *body),
        class_="iv-numbers",
    )
    return tag("div", whole, class_="iv-scroll", tabindex=0, role="group", aria_label=caption)


def gauge(value: float, low: float, high: float) -> Markup:
    """A bar from 0, between ``low`` and ``high``."""
    width = high - low or 1.0
    left, long = 100 * (min(value, 0.0) - low) / width, 100 * abs(value) / width
    bar = tag("i", class_="iv-for" if value >= 0 else "iv-against", style=f"left:{left:.2f}%;width:{long:.2f}%")
    return tag("span", bar, class_="iv-gauge", style=f"--zero:{-100 * low / width:.2f}%", aria_hidden="true")


def signed(value: float) -> str:
    """A number with its sign."""
    return ("+" if value > 0 else "") + number(value)


def span(edges: Sequence[float]) -> str:
    """From when to when."""
    return f"{edges[0]:.2f}–{edges[1]:.2f} s"
