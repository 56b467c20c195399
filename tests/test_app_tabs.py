"""Compare, Explain and Listen test without a browser: what they show and refuse, and that the test is blind."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import shutil
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what gradio imports
    import gradio as gr

    from iminet_viz.app import compare, explain, make, study

from iminet_viz.app import AppSettings
from iminet_viz.app._context import SHIPPED_GALLERY, close_context, open_context
from iminet_viz.app._work import Cancelled, Orders, Step, follow, progress_bar, sentence
from iminet_viz.audio import read_native
from iminet_viz.errors import AppError, CheckpointError, GalleryError, StudyError
from iminet_viz.shipped import find_model
from iminet_viz.study import fits_pool

RATE = 16_000
EVIL = '<img src=x onerror="alert(1)">.wav'


@pytest.fixture
def context(tmp_path):
    opened = open_context(AppSettings(study=tmp_path / "study.sqlite"))
    yield opened
    close_context(opened)


@pytest.fixture
def lay_out(context, monkeypatch):
    """Lay a tab out; its functions, by their names."""
    loops, new_loop = [], asyncio.new_event_loop  # gradio leaves those open that it makes
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: loops.append(new_loop()) or loops[-1])

    def lay_out(tab) -> dict:
        with gr.Blocks() as app:
            tab.build(context)
        functions = [own.fn for own in app.fns.values() if own.fn]
        return {getattr(own, "__name__", getattr(own, "args", None)): own for own in functions}

    yield lay_out
    asyncio.set_event_loop(None)
    for loop in loops:
        loop.close()


def explained(context, query: Path, candidate: Path, model: str = "dtw", called=None):
    *_, last = explain.explain_files(context, query, candidate, model, called or {})
    return last.result


# --- work that is followed ------------------------------------------------------------------------------------------


def test_work_is_followed_to_its_result():
    def work(report):
        report("half", 0.5)
        time.sleep(0.7)
        return 42

    steps = list(follow(work))
    assert [step.what for step in steps[:-1]] == ["half"] * (len(steps) - 1) and len(steps) > 1
    assert steps[-1].result == 42


def test_what_goes_wrong_in_the_work_goes_wrong_for_who_follows_it():
    def work(report):
        raise AppError("no")

    with pytest.raises(AppError, match="no"):
        list(follow(work))


def test_work_ends_when_nobody_follows_it_any_more():
    ended = threading.Event()

    def work(report):
        try:
            while True:
                report("on and on", 0.1)
                time.sleep(0.01)
        except Cancelled:
            ended.set()
            raise

    steps = follow(work)
    next(steps)
    steps.close()  # as gradio does at a cancel
    assert ended.wait(5)


def test_an_order_is_taken_once_and_not_after_a_cancel():
    orders = Orders()
    orders.give("page", "first")
    orders.give("page", "second")
    orders.give("other", "third")
    order = orders.take("page")
    assert order.wanted == ("second",) and orders.take("page") is None
    orders.cancel("page")
    assert order.ended.is_set() and not orders.take("other").ended.is_set()
    begun = []
    with pytest.raises(Cancelled):
        next(follow(begun.append, "", order.ended))
    assert begun == []


@pytest.mark.parametrize(
    ("tab", "button", "work", "given"),
    [
        (explain, "start", "explain_files", ("voice.wav", "sound.wav", "dtw", {})),
        (compare, "wait", "compare_models", ("tl-iminet-conv123", "tl-iminet-conv1", 2)),
    ],
)
def test_a_cancel_counts_before_the_work_has_its_turn_and_after(lay_out, monkeypatch, tab, button, work, given):
    begun, ended = [], threading.Event()

    def busy(report):
        begun.append(True)
        try:
            while True:
                report("on and on", 0.1)
                time.sleep(0.01)
        finally:
            ended.set()

    monkeypatch.setattr(tab, work, lambda *called: follow(busy, "", called[-1]))
    do = lay_out(tab)
    page = SimpleNamespace(session_hash="page")

    def shown_by_another_event() -> list:
        return [one for shown in do["work"](page) for one in shown if one != gr.skip()]

    do[button](*given, page)
    assert "Cancelled." in do["stop"](page)[0]
    assert shown_by_another_event() == [] and not begun
    do[button](*given, page)
    steps = do["work"](page)
    next(steps)
    assert "on and on" in next(steps)[0]
    assert shown_by_another_event() == [] and len(begun) == 1  # one order is worked on once
    do["stop"](page)
    (last,) = steps
    assert "Cancelled." in last[0] and ended.wait(5)
    do[button](*given, page)
    steps = do["work"](page)
    next(steps), next(steps)
    do[button](*given, page)
    *_, last = steps
    assert "Waiting for its turn" in last[0] and last[-1].interactive  # the next one


def test_progress_and_faults_are_text():
    assert "<img" not in progress_bar(Step(EVIL, 0.5, 1.0)) + sentence(EVIL)
    assert 'value="50"' in progress_bar(Step("half", 0.5, 1.0))
    assert "value=" not in progress_bar(Step("unknown", -1.0, 1.0))


# --- explain --------------------------------------------------------------------------------------------------------


def test_an_alignment_is_shown_with_clips_and_what_met(context, clips):
    figures, folder = explained(context, clips["slower"], clips["sweep"])
    page = explain.show(context, figures, folder)
    assert page.count("<audio") == 4 and page.count('class="iv-head"') == 2
    assert "slower.wav" in page and "The moments that met" in page and "Rotations beaten" in page
    for address in re.findall(r'(?:src|href)="gradio_api/file=@scratch/([^"]+)"', page):
        assert (context.roots["scratch"] / address).is_file()
    assert str(clips["slower"].parent) not in page + json.dumps(figures)


def test_cells_are_shown_with_shares_tests_and_units_that_lead_to_patterns(context, clips):
    from iminet_viz.attribution import ExplainSettings, explain_match
    from iminet_viz.explanation import write_explanation

    model = context.model("tl-iminet-conv123")
    files = {"imitation": clips["slower"], "recording": clips["sweep"]}
    shares: list[float] = []
    settings = ExplainSettings(steps=2, controls=1, perturbations=1, fractions=2)
    made = explain_match(model, *files.values(), settings, shares.append)
    assert shares == sorted(shares) and 0.9 < shares[-1] <= 1  # the estimate of the work is not far off
    folder = context.scratch()
    figures = write_explanation(folder, made, files)
    for unit in figures["units"]:
        unit["pattern"] = None
    known = next(entry for entry in context.gallery.entries if entry.startswith("tl-iminet-conv123/fc1/"))
    figures["units"][0]["pattern"] = known
    figures["units"][0]["adds"] = 1.0
    page = explain.show(context, figures, folder)
    assert f'href="?tab=patterns&amp;id={known}"' in page
    assert "?tab=make&amp;model=tl-iminet-conv123&amp;layer=fc1&amp;neuron=" in page
    for word in ("Who gave how much", "Deletion", "Insertion", "Infidelity", "Convergence delta", "What counts"):
        assert word in page


@pytest.mark.parametrize("model", ["tl-iminet-conv123", "dtw"])
def test_work_on_an_explanation_ends_at_a_cancel(clips, model):
    class StoppedError(Exception):
        pass

    seen: list[float] = []

    def report(share):
        seen.append(share)
        if len(seen) == 3:
            raise StoppedError

    from iminet_viz.attribution import explain_match

    with pytest.raises(StoppedError):
        explain_match(model, clips["slower"], clips["sweep"], report=report)
    assert 0 < seen[0] < seen[1] < seen[2] < 0.5  # in the midst of it


def test_the_share_of_an_alignment_grows_to_the_whole(clips):
    from iminet_viz.attribution import explain_match

    shares: list[float] = []
    explain_match("dtw", clips["slower"], clips["sweep"], report=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 10


def test_a_sound_that_is_replaced_while_it_is_explained_is_explained(context, clips, tmp_path):
    query = tmp_path / "query.wav"
    shutil.copyfile(clips["slower"], query)
    steps = explain.explain_files(context, query, clips["sweep"], "dtw", {})
    for step in steps:
        if step.what != "Loading the model":
            query.unlink(missing_ok=True)
    assert step.result is not None
    assert not any(path.name in ("imitation", "recording") for path in context.roots["scratch"].glob("*/*"))
    with pytest.raises(AppError, match="a sound is gone"):
        explained(context, query, clips["sweep"])


@pytest.mark.parametrize(
    ("query", "candidate", "model", "said"),
    [
        ("silence", "sweep", "dtw", r"silence\.wav: is silent"),
        ("sweep", "text", "dtw", "^text.wav: "),
        ("sweep", "slower", "../../etc", "no model '../../etc' that can be explained"),
        ("sweep", "slower", "imisound", "no model 'imisound' that can be explained"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence_without_a_place_on_this_machine(
    context, clips, query, candidate, model, said
):
    with pytest.raises(AppError, match=said) as raised:
        explained(context, clips[query], clips[candidate], model)
    assert str(clips["sweep"].parent) not in str(raised.value) and "\n" not in str(raised.value)


def test_a_hit_of_a_model_that_cannot_be_explained_says_what_explains_it_instead(context, clips, tmp_path):
    folder = shutil.copytree(find_model("tl-iminet-conv1"), tmp_path / "mine")
    context.named.update({"mfcc", "mfcc+0.5*tl-iminet-conv1", "dtw+voice-search", "imisound", str(folder)})

    def by(name: str) -> tuple[str, bool]:
        chosen, said = explain.explained_by(context, name)
        assert not said or (said.startswith(f"{name} ") and chosen in said and str(tmp_path) not in said)
        return chosen, bool(said)

    assert by("tl-iminet-scratch") == ("tl-iminet-scratch", False) and by("default") == ("voice-search", False)
    assert by("mfcc") == ("voice-search", True) and by("imisound") == ("voice-search", True)
    assert by("mfcc+0.5*tl-iminet-conv1") == ("tl-iminet-conv1", True)
    assert by("dtw+voice-search") == ("dtw+voice-search", False)  # all of it aligns
    assert by(str(folder)) == (str(folder), False)
    other = str(shutil.copytree(folder, tmp_path / "other"))  # a path in a link alone
    assert explain.explained_by(context, other)[0] == "voice-search"
    with pytest.raises(AppError, match="no model"):
        explained(context, clips["sweep"], clips["slower"], other)
    chosen, said = explain.explained_by(context, "mfcc+0.5*tl-iminet-conv1")
    figures, _ = explained(context, clips["sweep"], clips["slower"], "dtw", {"model": "dtw", "said": said})
    assert figures["notes"][0] == said and said in explain.show(context, figures, _)
    figures, _ = explained(context, clips["sweep"], clips["slower"], "dtw", {"model": chosen, "said": said})
    assert said not in figures["notes"]
    figures, _ = explained(context, clips["sweep"], clips["slower"], str(folder))
    assert figures["kind"] != "alignment" and str(tmp_path) not in explain.show(context, figures, _)


def test_the_same_sound_on_both_sides_is_said(context, clips, tmp_path):
    other = tmp_path / "other.wav"
    shutil.copyfile(clips["sweep"], other)
    figures, _ = explained(context, clips["sweep"], other)
    assert any("same sound" in note for note in figures["notes"])


def test_a_sound_that_is_too_long_is_refused_before_it_is_read(context, clips):
    with pytest.raises(AppError, match="the imitation is 2 s long, at most 1 s are taken"):
        explain.check_length("imitation", clips["slower"], 1.0)
    explain.check_length("imitation", clips["text"], 1.0)  # told when it is read


def test_names_of_files_are_text_and_short(context, clips):
    called = {"imitation": "a/b/" + EVIL, "recording": "x" * 500}
    figures, folder = explained(context, clips["slower"], clips["sweep"], called=called)
    page = explain.show(context, figures, folder)
    assert "<img src=x" not in page and "&lt;img src=x" in page
    assert "x" * 100 not in page


# --- compare --------------------------------------------------------------------------------------------------------


@pytest.fixture
def shipped(context):
    found = compare.find_shipped(context)
    assert found is not None
    return found


def test_the_shipped_report_is_there_at_once_with_every_claim_and_layer(context, shipped):
    page = compare.show(context, shipped)
    assert page.count('class="iv-claim"') == len(shipped.numbers["claims"]) == 8
    measured = sum(len(claim["findings"]) for claim in shipped.numbers["claims"].values())
    assert page.count('class="iv-finding"') == measured
    for layer in shipped.numbers["layers"]:
        assert f"{layer['cka']:.2f} [" in page
    for neurons in (compare.AS_SHIPPED, 24):
        *_, last = compare.compare_models(context, *shipped.models, neurons)
        assert last.result.folder == shipped.folder
    assert "The report of the gallery: " in page and "24 neurons of each layer" in page


def test_another_number_of_neurons_is_another_report(context, shipped, tmp_path, monkeypatch):
    from iminet_viz import comparison_report

    asked = []

    def build_report(first, second, out, clips, settings, **_):
        asked.append(settings.neurons)
        raise AppError("that is all")

    monkeypatch.setattr(comparison_report, "build_report", build_report)
    monkeypatch.setattr(compare, "made_here", lambda _: tmp_path)
    for models, neurons in ((shipped.models, 8), (("tl-iminet-conv123", "tl-iminet-conv1"), compare.AS_SHIPPED)):
        with pytest.raises(AppError, match="that is all"):
            list(compare.compare_models(context, *models, neurons))
    assert asked == [8, 4]
    with pytest.raises(AppError, match="only the shipped report has 24 neurons"):
        list(compare.compare_models(context, "tl-iminet-conv123", "tl-iminet-conv1", 24))
    own = shutil.copytree(shipped.folder, tmp_path / "own")
    context.serve("own", own)
    assert "Made on this machine: " in compare.show(context, compare.read_report(context, own))


def correlations(page: str) -> list[float]:
    return [float(text) for text in re.findall(r'data-correlation="([^"]+)"', page)]


def test_twins_can_be_sorted_filtered_and_paged_through(context, shipped):
    every = [pair.correlation for pair in compare.list_pairs(context, shipped)]
    best, _ = compare.show_twins(context, shipped, compare.ALL, "best", False, 0)
    worst, _ = compare.show_twins(context, shipped, compare.ALL, "worst", False, 0)
    assert correlations(best) == pytest.approx(sorted(every)[::-1][: compare.EACH_PAGE], abs=1e-4)
    assert correlations(worst) == pytest.approx(sorted(every)[: compare.EACH_PAGE], abs=1e-4)
    seen, turned = [], 0
    while True:
        page, at = compare.show_twins(context, shipped, "recording.conv2", "best", False, turned)
        if at < turned:
            break
        seen += correlations(page)
        turned += 1
    assert set(re.findall(r'data-layer="([^"]+)"', page)) == {"recording.conv2"}
    assert len(seen) == sum(pair.layer == "recording.conv2" for pair in compare.list_pairs(context, shipped))
    assert compare.show_twins(context, shipped, "recording.conv2", "best", False, -5)[1] == 0


def test_twins_with_pictures_have_both_and_sounds_and_files_that_are_there(context, shipped):
    page, _ = compare.show_twins(context, shipped, compare.ALL, "best", True, 0)
    assert page.count("<img") == 2 * compare.EACH_PAGE and page.count("<audio") >= 2 * compare.EACH_PAGE
    for address in re.findall(r'src="gradio_api/file=@gallery/([^"]+)"', page):
        assert (SHIPPED_GALLERY / address).is_file()


def test_pictures_of_another_net_of_the_same_name_are_not_shown(context, shipped):
    models = [{**model, "fingerprint": "another"} for model in shipped.numbers["models"]]
    other = dataclasses.replace(shipped, numbers={**shipped.numbers, "models": models})
    assert not any(any(pair.shown) for pair in compare.list_pairs(context, other))


@pytest.mark.parametrize(
    ("first", "second", "neurons", "said"),
    [
        ("tl-iminet-conv123", "nowhere", 4, "no model 'nowhere' with stored activations"),
        ("tl-iminet-conv123", "iminet-tied", 4, "no model 'iminet-tied' with stored activations"),
        ("tl-iminet-scratch", "tl-iminet-scratch", 4, "two different models"),
        ("tl-iminet-conv1", "tl-iminet-scratch", 1000, "1000 neurons of each layer"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(context, first, second, neurons, said):
    with pytest.raises(AppError, match=said):
        list(compare.compare_models(context, first, second, neurons))


@pytest.mark.parametrize("damage", ["{}", '{"kind": "comparison", "models": [], "layers": [], "claims": {}}', "[]"])
def test_a_damaged_report_is_said_to_be(context, tmp_path, damage):
    context.serve("reports", tmp_path)
    (tmp_path / "comparison.json").write_text(damage)
    with pytest.raises((GalleryError, CheckpointError), match=r"damaged|expected a JSON"):
        compare.read_report(context, tmp_path)


def test_a_report_outside_of_what_is_served_is_not_read(context, tmp_path):
    shutil.copyfile(SHIPPED_GALLERY / "comparison" / "comparison.json", tmp_path / "comparison.json")
    with pytest.raises(AppError, match="in no folder that the app may show"):
        compare.read_report(context, tmp_path)


def test_foreign_words_of_a_report_stay_text(context, shipped):
    numbers = json.loads(json.dumps(shipped.numbers))
    numbers["models"][0]["name"] = EVIL
    for claim in numbers["claims"].values():
        claim["text"] = claim["verdict"] = EVIL
        for finding in claim["findings"]:
            finding["where"] = finding["unit"] = finding["sides"][0] = EVIL
    numbers["layers"][0]["layer"] = EVIL
    other = dataclasses.replace(shipped, numbers=numbers)
    page = compare.show(context, other) + compare.show_twins(context, other, compare.ALL, "best", False, 0)[0]
    assert "<img src=x" not in page and "&lt;img src=x" in page


def test_a_comparison_at_work_changes_nothing_for_who_uses_the_same_nets(tmp_path, clips, monkeypatch):
    """Optimising swaps a network's units for leaky ones; here it is held while they are swapped."""
    from iminet_viz import comparison_report
    from iminet_viz.patterns.leaky import leaky

    opened = open_context(AppSettings())
    swapped, go_on = threading.Event(), threading.Event()

    def build_report(first, second, *_, **__):
        with leaky(first.network), leaky(second.network):
            swapped.set()
            assert go_on.wait(60)
        raise AppError("that is all")

    def numbers() -> list:
        run = make.Run()
        list(make.follow(opened, run, make.Wish("tl-iminet-conv123", "imitation.conv1", 12, steps=3, sounds=())))
        return [run.entry["activation"], run.entry["evidence"], study.excite(opened, clips["sweep"])]

    monkeypatch.setattr(comparison_report, "build_report", build_report)
    monkeypatch.setattr(compare, "made_here", lambda _: tmp_path)
    try:
        alone = numbers()
        steps = compare.compare_models(opened, "tl-iminet-conv123", "tl-iminet-conv1", 2)
        next(steps)
        assert swapped.wait(60)
        assert repr(numbers()) == repr(alone)
        go_on.set()
        with pytest.raises(AppError, match="that is all"):
            list(steps)
    finally:
        go_on.set()
        close_context(opened)


# --- listen test ----------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(context):
    return study.Desk(context)


def test_questions_are_of_pre_trained_and_scratch_of_the_same_layer(desk):
    assert desk.kinds() == ["pretrained", "fits"]
    for pair in desk.pretrained.pairs:
        right, wrong = (name.split("/") for name in (pair.right, pair.wrong))
        assert (right[0], wrong[0]) == ("tl-iminet-conv123", "tl-iminet-scratch")
        assert right[1] == wrong[1] and right[2].split()[1] == wrong[2].split()[1]


def test_nothing_that_is_shown_says_which_is_right(context, desk):
    someone = desk.join("", "Ann")
    for _ in range(4):
        asked = desk.ask(someone, "pretrained", None)
        page = study.show_question(context, asked)
        answer = json.dumps({side: asked.addresses(context, side) for side in asked.sides})
        shown = re.sub(r'@scratch/[\w-]{16}\.|data-question="[\w-]{12}"', "", page + answer)  # random
        for word in ("conv123", "scratch", "imitation", "recording", "conv", "fc1", "right", "wrong"):
            assert word not in shown, word
        sizes = set()
        for side in asked.sides.values():
            content = side.picture.read_bytes() + side.sound.read_bytes()
            assert b"iminet" not in content and b"tEXt" not in content and b"LIST" not in content
            sizes.add(side.sound.stat().st_size)
        assert len(sizes) == 1  # sounds of one length
        # apart from the names of files, both sides are built alike
        cards = re.split(r'<section class="iv-panel iv-figure"', page)[1:]
        plain = [re.sub(r"@scratch/[\w-]+|\b(sound )?[AB]\b|data-key=\"\d\"", "", card) for card in cards]
        assert plain[0].split("</section>")[0] == plain[1].split("</section>")[0]
        desk.study.answer(asked.question.id, "skip")


def test_both_sounds_have_one_level(desk):
    someone = desk.join("", "")
    for _ in range(3):
        asked = desk.ask(someone, "pretrained", None)
        sounds = [read_native(side.sound)[0] for side in asked.sides.values()]
        one, other = (np.sqrt(np.square(sound).mean()) for sound in sounds)
        assert one == pytest.approx(other, rel=0.02) and max(abs(sound).max() for sound in sounds) <= 1
        desk.study.answer(asked.question.id, "skip")


def test_the_same_question_has_other_addresses_at_every_look(context, desk):
    someone = desk.join("", "")
    first, second = (desk.ask(someone, "pretrained", None) for _ in range(2))
    assert first.question == second.question
    assert first.addresses(context, "A") != second.addresses(context, "A")


def test_a_sound_is_asked_about_by_what_it_does_to_the_neurons(context, desk, clips):
    reached = study.excite(context, clips["sweep"])
    assert len(reached) == 48 and all(0 <= value <= 100 for value in reached.values())  # fc1 needs two sounds
    pool = fits_pool(context.gallery.entries, {"clip": reached}, study.EXCITED, study.CALM)
    for pair in pool.pairs:
        right, wrong = (name.split()[0] for name in (pair.right, pair.wrong))
        assert reached[right] >= study.EXCITED > study.CALM >= reached[wrong]
    if pool.pairs:
        asked = desk.ask(desk.join("", ""), "fits", clips["sweep"])
        assert set(asked.sides) == {"clip", "A", "B"}


def test_the_clips_of_a_gallery_are_asked_about_without_a_sound_of_the_user(tmp_path, clips, monkeypatch):
    shutil.copytree(SHIPPED_GALLERY, tmp_path / "gallery")
    shutil.copyfile(clips["sweep"], tmp_path / "gallery" / "own clip.wav")
    manifest = json.loads((tmp_path / "gallery" / "manifest.json").read_text())
    for entry in manifest["entries"][:2]:
        entry["reference"]["top"][0]["sound"] = "own clip.wav"
    (tmp_path / "gallery" / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(study, "EXCITED", 50.0)  # one sweep: whatever it does more, and less
    monkeypatch.setattr(study, "CALM", 50.0)
    context = open_context(AppSettings(study=tmp_path / "study.sqlite", gallery=tmp_path / "gallery"))
    try:
        desk = study.Desk(context)
        asked = desk.ask(desk.join("", ""), "fits", None)
        (row,) = desk.study.rows()
        reached = study.excite(context, clips["sweep"])
        assert row["about"] == "own clip.wav"
        assert reached[row["right_one"].split()[0]] >= 50 >= reached[row["wrong_one"].split()[0]]
        heard, own = read_native(asked.sides["clip"].sound)[0], read_native(clips["sweep"])[0]
        assert np.corrcoef(heard, own)[0, 1] > 0.999 and asked.sides["A"].picture is not None
        assert "own clip" not in study.show_question(context, asked)
    finally:
        close_context(context)


def test_a_kind_that_needs_a_sound_says_so(desk, clips):
    someone = desk.join("", "")
    with pytest.raises(AppError, match="record or drop a sound first"):
        desk.ask(someone, "fits", None)
    with pytest.raises(AppError, match="record or drop your imitation first"):
        desk.ask(someone, "match", None)
    with pytest.raises(AppError, match="no sound library is open"):
        desk.ask(someone, "match", clips["sweep"])
    with pytest.raises(AppError, match="no kind of question 'taste'"):
        desk.ask(someone, "taste", None)
    with pytest.raises(AppError, match=r"^text\.wav: "):
        desk.ask(someone, "fits", clips["text"])


def test_hits_are_asked_about_where_a_library_is_open(context, clips):
    found = dict(zip(["first", "second", "third", "fourth"], [clips["sweep"], clips["slower"]] * 2, strict=True))
    asked_for = []
    context.searches.append(lambda query, count: asked_for.append(query) or found)
    desk = study.Desk(context)
    assert "match" in desk.kinds()
    someone = desk.join("", "")
    asked = desk.ask(someone, "match", clips["slower"])
    assert {asked.question.A, asked.question.B} in ({"first", "third"}, {"second", "fourth"})  # names that stay
    desk.study.answer(asked.question.id, "A")
    assert desk.ask(someone, "match", clips["slower"]).question.number == 1
    assert len(asked_for) == 1  # one search for all its questions
    page = study.show_question(context, asked)
    assert "sweep" not in page and "silence" not in page


def test_results_are_in_words_and_names_are_text(context, desk):
    assert "Nothing can be concluded" in study.show_results([], [])
    someone = desk.join("", EVIL)
    desk.study.answer(desk.ask(someone, "pretrained", None).question.id, "A")
    page = study.show_results(desk.study.results(), desk.study.results(by_participant=True))
    assert "Nothing can be concluded yet: 1 answer" in page
    assert "<img src=x" not in page and "&lt;img src=x" in page and someone not in page


def test_results_are_closed_while_the_own_test_goes_on(lay_out):
    do = lay_out(study)
    assert "No answers yet" in do["count"]("")[0]  # who never began
    someone, stage, _, *_, told, finish = do["begin"]("", "Ann", "pretrained", None)
    question = re.search(r'data-question="([^"]+)"', stage)[1]
    do["A",](someone, "pretrained", None, question, {})
    for shown, button in ((told, finish), do["count"](someone)):
        assert "open when your own test is over" in shown and "Ann" not in shown and button.visible
    assert "Nothing can be concluded yet: 1 answer" in do["count"]("")[0]
    forgotten, stage, *_, told, finish = do["end"](someone)
    assert forgotten == "" and "Your test has ended." in stage and not finish.visible
    assert "Nothing can be concluded yet: 1 answer" in told and "Ann" in told
    assert "Ann" in do["count"](someone)[0]
    assert do["begin"](forgotten, "", "pretrained", None)[0] not in ("", someone)


def test_a_study_that_cannot_be_opened_is_a_sentence(tmp_path):
    (tmp_path / "damaged.sqlite").write_bytes(b"x" * 5000)
    context = open_context(AppSettings(study=tmp_path / "damaged.sqlite"))
    try:
        with pytest.raises(StudyError, match=r"damaged\.sqlite: is no study, or damaged"):
            study.Desk(context).join("", "")
    finally:
        close_context(context)


def test_the_examples_of_the_documentation_run(app_url, clips, tmp_path, monkeypatch, capsys):
    import httpx
    from gradio_client import Client

    monkeypatch.chdir(tmp_path)
    shutil.copyfile(clips["slower"], "my_voice.wav")
    shutil.copyfile(clips["sweep"], "candidate.wav")
    text = (SHIPPED_GALLERY.parent / "docs" / "app.md").read_text(encoding="utf-8")
    examples = [part.split("```")[0] for part in text.split("```py\n")[1:]]
    names = {"client": Client(app_url, verbose=False, download_files=str(tmp_path)), "httpx": httpx}
    for example in examples:
        exec(example, names)
    assert len(examples) == 3
    assert Path(names["picture"]).read_bytes().startswith(b"\x89PNG")
    assert all(sound.startswith(b"RIFF") for sound in names["sounds"]) and names["kept"]["kept"] is True
    said = capsys.readouterr().out
    assert "undecided - With pre-training, patterns are sharper" in said and "Nothing can be concluded yet" in said
