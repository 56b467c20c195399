"""The app without a browser: what its tabs compute, that foreign words stay text, that no file leaks, that runs end."""

import copy
import dataclasses
import html.parser
import http.client
import http.server
import itertools
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import httpx
import numpy as np
import pytest
from app_server import ROOT, running_app

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what gradio imports; what it warns of in use is an error as everywhere
    import gradio as gr

    from iminet_viz.app import _figure, make, patterns
    from iminet_viz.app._frame import TABS

from iminet_viz.app import AppSettings
from iminet_viz.app._context import (
    SHIPPED_GALLERY,
    Context,
    Gallery,
    close_context,
    in_a_sentence,
    join,
    open_context,
    read_gallery,
    tag,
)
from iminet_viz.app._gate import find_file
from iminet_viz.errors import AppError, GalleryError, PatternError
from iminet_viz.gallery import read_pattern
from iminet_viz.patterns import engine, objectives
from iminet_viz.patterns.evidence import MEASURES
from iminet_viz.plotting import plot_pattern

NEURON = "tl-iminet-conv123/imitation.conv1/12"
PAIR = next(
    entry["id"]
    for entry in json.loads((SHIPPED_GALLERY / "manifest.json").read_text())["entries"]
    if entry["id"].startswith("tl-iminet-conv123/fc1/")
)
EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">\'"&{{value}}${value}'


@pytest.fixture(scope="module")
def context():
    opened = open_context(AppSettings())
    yield opened
    close_context(opened)


@pytest.fixture
def gallery_copy(tmp_path) -> Path:
    """A gallery of two entries in a folder of its own, with traps around and inside."""
    folder = tmp_path / "gallery"
    manifest = json.loads((SHIPPED_GALLERY / "manifest.json").read_text())
    manifest["entries"] = [entry for entry in manifest["entries"] if entry["id"] in (NEURON, PAIR)]
    for entry in manifest["entries"]:
        shutil.copytree(SHIPPED_GALLERY / entry["folder"], folder / entry["folder"])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def rewrite(folder: Path, change) -> Gallery:
    """Read the gallery again after a change of its first entry."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest["entries"][0])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return read_gallery(folder)


class Elements(html.parser.HTMLParser):
    """Names of the elements and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.names.append(name)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += data


def assert_harmless(text: str) -> Elements:
    found = Elements(text)
    assert not {"script", "iframe", "object", "embed", "style", "form"} & set(found.names)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert not [v for name, v in found.attributes if name in ("href", "src") and "javascript:" in str(v)]
    return found


# --- HTML -----------------------------------------------------------------------------------------------------------


def test_text_and_attributes_are_escaped_and_elements_are_not_escaped_twice():
    written = tag("p", EVIL, tag("b", "a<b"), None, title=EVIL, hidden=True, lang=None, data_iv="x", class_="c")
    found = assert_harmless(written)
    assert found.names == ["p", "b"]
    assert found.text == EVIL + "a<b"
    expected = [("title", EVIL), ("hidden", None), ("data-iv", "x"), ("class", "c")]
    assert found.attributes == expected
    assert tag("p", str(tag("b", "x"))) == "<p>&lt;b&gt;x&lt;/b&gt;</p>"  # a plain string is never trusted
    assert join(["<", tag("br")]) == "&lt;<br>"


@pytest.mark.parametrize("evil", [EVIL, "\u202egnp.exe", "a\x00b", "{{#each value}}", "'; alert(1); '"])
def test_foreign_words_of_a_gallery_stay_text(gallery_copy, evil):
    def spoil(entry):
        entry["model"] = entry["layer"] = entry["id"] = entry["kind"] = evil
        entry["warnings"] = [evil]
        entry["twin"] = {"id": evil, "correlation": 0.5}
        entry["reference"]["top"][0]["clip"] = evil
        entry["files"] = {evil: "0", **entry["files"]}

    gallery = rewrite(gallery_copy, spoil)
    gallery.measures["alive"].update(label=evil, meaning=evil)
    opened = dataclasses.replace(open_context(AppSettings(gallery=gallery_copy)), gallery=gallery)
    try:
        shown = assert_harmless(patterns.show_entry(opened, gallery.entries[evil]))
        assert shown.text.count(evil) >= 4  # it is there, as text
        listed, *_ = patterns.list_page(opened, "", "", "layer", [], 0)
        assert_harmless(listed)
        missing = patterns.show_entry(opened, None, evil)
        assert_harmless(missing)
    finally:
        close_context(opened)


@pytest.mark.parametrize("rows", [1, 2])
def test_the_playhead_runs_over_the_axes_of_the_picture(rows):
    entry = PAIR if rows == 2 else NEURON
    figure = plot_pattern(read_pattern(SHIPPED_GALLERY / "entries" / entry))
    figure.canvas.draw()
    axes = figure.axes[:rows]
    for (top, height), own in zip(_figure.plate_rows(rows), axes, strict=True):
        left, bottom, width, tall = own.get_position().bounds
        assert (left, width) == pytest.approx((_figure.PLATE_LEFT, _figure.PLATE_WIDTH), abs=1e-4)
        assert (top, height) == pytest.approx((1 - bottom - tall, tall), abs=1e-6)


@pytest.mark.parametrize(
    ("value", "number", "share"),
    [
        (0, "0", "0\u00a0%"),
        (0.0123456, "0.0123", "1.2\u00a0%"),
        (0.99999, "1.000", "> 99.9\u00a0%"),
        (1e-7, "1.00e\u221207", "< 0.1\u00a0%"),
        (-2.5, "\u22122.50", "\u2212250.0\u00a0%"),
        (math.nan, "–", "–"),
        (None, "–", "–"),
        ("<b>", "–", "–"),
    ],
)
def test_numbers_never_round_onto_0_or_100(value, number, share):
    assert (_figure.number(value), _figure.percent(value)) == (number, share)


def test_a_histogram_marks_the_pattern_and_has_a_bar_for_every_bin_with_clips(context):
    entry = context.gallery.entries[NEURON]
    found = Elements(_figure.histogram(entry))
    assert found.names.count("rect") == sum(count > 0 for count in entry["reference"]["histogram"]["counts"])
    assert f"pattern {_figure.number(entry['activation'])}" in found.text
    assert _figure.histogram({**entry, "reference": None}) is None
    broken = copy.deepcopy(dict(entry))
    broken["reference"]["histogram"]["edges"] = [0, math.inf]
    assert _figure.histogram(broken) is None


# --- the gallery ----------------------------------------------------------------------------------------------------


def test_a_folder_without_manifest_or_with_a_damaged_one_is_a_sentence(tmp_path):
    for content in (None, "{", "[]", '{"entries": 3}'):
        if content is not None:
            (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(GalleryError, match="is no gallery"):
            read_gallery(tmp_path)
    assert read_gallery(tmp_path / "none", optional=True).entries == {}


@pytest.mark.parametrize("field", ["folder", "id", "model", "layer", "picture", "evidence", "inputs", "neuron"])
def test_an_entry_that_is_not_whole_is_left_out(gallery_copy, field):
    gallery = rewrite(gallery_copy, lambda entry: entry.pop(field))
    assert list(gallery.entries) == [PAIR]
    gallery = rewrite(gallery_copy, lambda entry: entry.update({field: 3.5}))
    assert list(gallery.entries) == [PAIR]


@pytest.mark.parametrize("home", ["../outside", "/etc", "entries/../../outside"])
def test_an_entry_outside_of_its_gallery_is_left_out(gallery_copy, home):
    (gallery_copy.parent / "outside").mkdir()
    assert list(rewrite(gallery_copy, lambda entry: entry.update(folder=home)).entries) == [PAIR]


@pytest.mark.parametrize(
    "change",
    [
        {"picture": "../../../../../../etc/passwd"},
        {"reference": {"clips": "many"}},
        {"reference": 7},
        {"inputs": {"imitation": {"sounds": {"direct": {"file": "/etc/passwd"}}, "duration_s": 1}}},
        {"twin": {"id": PAIR}},
        {"warnings": 7},
    ],
)
def test_a_damaged_entry_is_said_to_be_and_leaks_nothing(gallery_copy, change):
    gallery = rewrite(gallery_copy, lambda entry: entry.update(change))
    opened = dataclasses.replace(open_context(AppSettings(gallery=gallery_copy)), gallery=gallery)
    try:
        shown = patterns.show_entry(opened, gallery.entries[NEURON])
        assert "is damaged" in shown and "passwd" not in shown
    finally:
        close_context(opened)


def test_every_measure_sorts_with_its_better_end_first_and_the_unmeasured_last(context):
    gallery = context.gallery
    entries = {**gallery.entries}
    lost = {**entries[NEURON], "evidence": {}, "activation": None}
    gallery = dataclasses.replace(gallery, entries={**entries, NEURON: lost})
    for _, key in patterns.sorts_of(gallery)[1:]:
        found = patterns.select(gallery, "", "", key, [])
        values = [patterns._value(entry, key) for entry in found]
        measured = [value for value in values if value is not None]
        lowest_first = gallery.measures.get(key, {}).get("more_is_better") is False
        assert len(measured) > (3 if gallery.measures.get(key, {}).get("pairs_only") else 5)
        assert measured == sorted(measured, reverse=not lowest_first)
        assert values[: len(measured)] == measured and lost in found[len(measured) :]
    layers = [entry["layer"] for entry in patterns.select(gallery, gallery.models[0], "", "layer", [])]
    assert list(dict.fromkeys(layers)) == [
        *(f"{tower}.conv{depth}" for tower in ("imitation", "recording") for depth in (1, 2, 3)),
        "fc1",
    ]


def test_filters_keep_what_they_say(context):
    gallery = context.gallery
    every = patterns.select(gallery, "", "", "layer", [])
    sound = patterns.select(gallery, "", "", "layer", ["sound"])
    assert len(every) == len(gallery.entries)
    assert {entry["id"] for entry in every} - {entry["id"] for entry in sound} == {
        entry["id"] for entry in every if entry["warnings"]
    }
    numb = {**gallery.entries[NEURON], "evidence": {"alive": 0.01}}
    gallery = dataclasses.replace(gallery, entries={NEURON: numb, PAIR: gallery.entries[PAIR]})
    assert [entry["id"] for entry in patterns.select(gallery, "", "", "layer", ["alive"])] == [PAIR]
    for wrong in (("x", "", "layer"), ("", "x", "layer"), ("", "", "folder")):
        with pytest.raises(GalleryError, match="expected one of"):
            patterns.select(gallery, *wrong, [])


def test_pages_of_60_that_cannot_be_left(context):
    one = context.gallery.entries[NEURON]
    many = {f"{n}": {**one, "id": f"{n}", "neuron": n} for n in range(130)}
    opened = dataclasses.replace(context, gallery=dataclasses.replace(context.gallery, entries=many))
    sizes = []
    for wanted, number in ((-3, 0), (0, 0), (1, 1), (2, 2), (9, 2)):
        listed, before, after, page = patterns.list_page(opened, "", "", "layer", [], wanted)
        sizes.append(Elements(listed).names.count("a"))
        assert (page, before, after) == (number, number > 0, number < 2)
    assert sizes == [60, 60, 60, 10, 10]
    listed, *_ = patterns.list_page(opened, "tl-iminet-conv123", "", "layer", ["alive", "sound"], 0)
    assert "iv-card" in listed
    nothing = dataclasses.replace(
        opened, gallery=dataclasses.replace(opened.gallery, entries={"0": {**one, "warnings": ["x"]}})
    )
    assert "No pattern matches" in patterns.list_page(nothing, "", "", "layer", ["sound"], 0)[0]


def test_a_pattern_is_shown_with_its_twin_both_sounds_and_every_measure(context):
    entry = context.gallery.entries[NEURON]
    found = Elements(patterns.show_entry(context, entry))
    addresses = [value for name, value in found.attributes if name in ("src", "href")]
    twin = context.gallery.entries[entry["twin"]["id"]]
    for one in (entry, twin):
        for name in ("pattern.png", "imitation.flac", "imitation.direct.flac"):
            assert f"gradio_api/file=@gallery/{one['folder']}/{name}" in addresses
    assert context.link("patterns", id=twin["id"]) in addresses
    for measure in context.gallery.measures.values():
        shown = not measure.get("pairs_only")
        assert (measure["label"] in found.text) == shown == (measure["meaning"] in found.text)
    for clip in entry["reference"]["top"]:
        assert clip["clip"] in found.text


def test_what_the_sides_of_a_pair_give_is_shown(context):
    pair = {
        "activation": 80.0,
        "silence": 5.0,
        "alone": {"imitation": 56.7, "recording": 27.0},
        "shares": {"imitation": 51.0, "recording": 24.0},
        "synergy": 1.3,
        "others": 2,
        "kept": {"imitation": 0.28, "recording": None},
        "envelope": 0.071,
        "spectrum": 0.52,
        "across": {"envelope": 0.11, "spectrum": None},
    }
    gallery = Gallery(measures={key: dataclasses.asdict(measure) for key, measure in MEASURES.items()})
    entry = {"pair": pair, "evidence": {"synergy_share": 1.3 / 80}, "inputs": {"imitation": {}, "recording": {}}}
    found = Elements(str(_figure.pair_table(gallery, entry))).text
    for text in ("56.7", "68 %", "32 %", "28 %", "1.6 %", "0.071", "of other pairs 0.11", "2 other pairs to put in"):
        assert text in found.replace("\u00a0", " "), text
    assert _figure.pair_table(gallery, {**entry, "pair": None}) is None is _figure.pair_table(gallery, {"evidence": {}})


def test_real_clips_are_heard_where_the_gallery_has_them(gallery_copy):
    for name in ("a.flac", "a.png"):
        (gallery_copy / "exemplars").mkdir(exist_ok=True)
        (gallery_copy / "exemplars" / name).write_bytes(b"x")

    def add(entry):
        entry["reference"]["top"][0].update(sound="exemplars/a.flac", picture="exemplars/a.png")

    gallery = rewrite(gallery_copy, add)
    opened = open_context(AppSettings(gallery=gallery_copy))
    try:
        found = Elements(patterns.show_entry(opened, gallery.entries[NEURON]))
        assert ("src", "gradio_api/file=@gallery/exemplars/a.flac") in found.attributes
        assert "not in this gallery" not in found.text
    finally:
        close_context(opened)


# --- links, kept files ----------------------------------------------------------------------------------------------


def test_a_link_carries_any_text(context):
    link = context.link("patterns", id=NEURON)
    assert link == f"?tab=patterns&id={NEURON}"
    odd = context.link("explain", query='a&b=c#d"<ü', k=3)
    assert not set('"<#ü') & set(odd)
    assert dict(httpx.URL(f"http://x/{odd}").params) == {"tab": "explain", "query": 'a&b=c#d"<ü', "k": "3"}


def test_a_kept_file_is_found_by_its_token_alone(context, tmp_path):
    (tmp_path / "ü ber.WAV").write_bytes(b"sound")
    token = context.keep(tmp_path / "ü ber.WAV")
    kept = context.kept(token)
    assert kept is not None and kept.read_bytes() == b"sound" and kept.suffix == ".wav"
    for wrong in ("", "*", "..", "../uploads/x", f"{token}/..", f"{token}*", "[a-z]*", "a\x00"):
        assert context.kept(wrong) is None
    os.utime(kept, (0, 0))
    other = context.keep(tmp_path / "ü ber.WAV")  # whoever keeps clears away what is old
    assert context.kept(token) is None and context.kept(other) is not None


def test_an_upload_lives_as_long_as_its_page_shows_it(context, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"sound")
    uploads = context.uploads
    first, second, other = (uploads.copy(tmp_path / "a.wav") for _ in range(3))
    assert uploads.find(str(first)) == first
    uploads.show("one", "query", str(first))
    uploads.show("one", "query", str(first))  # the same again
    uploads.show("two", "query", str(other))
    assert first.is_file()
    uploads.show("one", "query", str(second))
    assert not first.parent.exists() and second.is_file()
    uploads.leave("one")
    assert not second.exists() and other.is_file()
    uploads.show("two", "query", None)
    assert [*uploads.folder.iterdir()] == []
    for name in (tmp_path / "a.wav", uploads.folder, context.folder / "kept", "nothing", None):
        uploads.remove(name)  # nothing but uploads
    assert (tmp_path / "a.wav").is_file() and uploads.folder.is_dir()
    with pytest.raises(AppError, match="send it again"):
        uploads.find(str(first))


def test_only_files_of_served_folders_have_an_address(context, tmp_path):
    with pytest.raises(AppError, match="in no folder"):
        context.url(ROOT / "pyproject.toml")
    inside = context.scratch(".png")
    inside.symlink_to(ROOT / "pyproject.toml")
    with pytest.raises(AppError):
        context.url(inside)
    inside.unlink()
    odd = context.folder / "scratch" / "ü #?%20.png"
    odd.write_bytes(b"x")
    assert context.url(odd) == "gradio_api/file=@scratch/%C3%BC%20%23%3F%2520.png"


def test_the_work_folder_is_gone_at_the_end():
    opened = open_context(AppSettings())
    assert opened.folder.is_dir()
    assert Path(os.environ["GRADIO_TEMP_DIR"]).is_relative_to(opened.folder)
    close_context(opened)
    assert not opened.folder.exists()


# --- which files can be had -----------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path) -> tuple[dict[str, Path], Path]:
    """A served folder and one of uploads, with links out of them, and secrets beside them."""
    root, uploads = tmp_path / "root", tmp_path / "uploads"
    for folder in (root / "deep", uploads / "abc", tmp_path / "root-beside"):
        folder.mkdir(parents=True)
    for path in (root / "a.png", root / "deep" / "ü #?%.flac", uploads / "abc" / "x.bin"):
        path.write_bytes(b"fine")
    for path in (tmp_path / "secret.png", tmp_path / "root-beside" / "s.png", root / "page.html", root / "pic.svg"):
        path.write_bytes(b"secret")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "fine-link.png").symlink_to(root / "a.png")
    (root / "masked.png").symlink_to(root / "page.html")
    (uploads / "link").symlink_to(tmp_path / "secret.png")
    return {"g": root.resolve()}, uploads.resolve()


@pytest.mark.parametrize("name", ["@g/a.png", "@g/deep/ü #?%.flac", "@g/deep/../a.png", "@g/fine-link.png"])
def test_files_of_a_served_folder_can_be_had(served, name):
    found = find_file(name, *served)
    assert found is not None and found.read_bytes() == b"fine"


@pytest.mark.parametrize(
    "name",
    [
        "@g/../secret.png",
        "@g/..\\secret.png",
        "@g/link.png",
        "@g/up/secret.png",
        "@g/../root-beside/s.png",
        "@g//etc/passwd",
        "@g/page.html",
        "@g/pic.svg",
        "@g/masked.png",
        "@g/deep",
        "@g/",
        "@g",
        "@",
        "@x/a.png",
        "@../g/a.png",
        "@g/a.png\x00",
        "@g/" + "a" * 5000 + ".png",
        "/etc/passwd",
        "etc/passwd",
        "ROOT/a.png",
        "UPLOADS/link",
        "UPLOADS/../secret.png",
        "UPLOADS/abc",
        "http://127.0.0.1/x.png",
        "",
    ],
)
def test_nothing_else_can_be_had(served, name):
    roots, uploads = served
    assert find_file(name.replace("ROOT", str(roots["g"])).replace("UPLOADS", str(uploads)), roots, uploads) is None


def test_an_upload_can_be_had_by_its_path(served):
    path = served[1] / "abc" / "x.bin"
    assert find_file(str(path), *served) == path


# --- making ---------------------------------------------------------------------------------------------------------

QUICK = make.Wish("tl-iminet-conv123", "imitation.conv1", 3, steps=6, sounds=())


def finish(context: Context, run: make.Run, wish: make.Wish) -> list:
    return list(make.follow(context, run, wish))


def test_what_the_tab_makes_is_what_the_engine_makes_and_the_shared_network_stays(context):
    model = context.model(QUICK.model)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    kinds = [type(module) for module in model.network.modules()]
    run = make.Run()
    shown = finish(context, run, QUICK)
    config = engine.EngineConfig(steps=6)
    wanted = engine.maximize(model, objectives.channel(QUICK.layer, QUICK.neuron), config, QUICK.seed)
    assert run.entry["activation"] == wanted.activation
    assert run.entry["evidence"]["headroom"] == wanted.evidence.headroom
    assert [type(module) for module in model.network.modules()] == kinds
    assert all((before[name] == value).all() for name, value in model.network.state_dict().items())
    assert "iv-table" in shown[-1][1] and "Starting" in shown[0][1]
    assert {Path(name).suffix for name in run.entry["urls"]} == {".png", ".json", ".npy"}
    array = np.load(Path(run.entry["folder"]) / "imitation.npy", allow_pickle=False)
    assert (array.astype(np.float32) == wanted.inputs["imitation"]).all()


def test_runs_at_once_do_not_disturb_each_other(context):
    wishes = [dataclasses.replace(QUICK, neuron=neuron) for neuron in (1, 2, 3)]
    alone = []
    for wish in wishes:
        run = make.Run()
        finish(context, run, wish)
        alone.append(run.entry["activation"])
    runs = [make.Run() for _ in wishes]
    threads = [
        threading.Thread(target=finish, args=(context, run, wish)) for run, wish in zip(runs, wishes, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.entry["activation"] for run in runs] == alone
    assert len(set(alone)) == 3


def test_a_run_ends_at_the_step_after_its_stop(context):
    wish = dataclasses.replace(QUICK, layer="recording.conv3", steps=400)
    run = make.Run()
    shown = []
    for one in make.follow(context, run, wish):
        shown.append(one)
        if run.step >= 1 and not run.stop.is_set():
            run.stop.set()
            at = run.step
    assert run.done.is_set() and run.entry is None and run.failure is None
    assert at <= run.step <= at + 2
    assert f"Stopped after step {run.step} of 400" in shown[-1][0]
    assert not [path for path in (context.folder / "scratch").iterdir() if path.stat().st_mtime > time.time() - 0.2]


def test_a_stop_ends_the_work_on_sounds_and_on_further_patterns_too(context):
    for stage, wish in (
        ("direct sounds", dataclasses.replace(QUICK, steps=2, sounds=("direct",))),
        ("patterns of a random net", dataclasses.replace(QUICK, steps=2, stability=True)),
        ("another random start", dataclasses.replace(QUICK, steps=2, stability=True)),
    ):
        run = make.Run()
        told, tell = [], run.tell

        def watched(what, step, steps, stage=stage, run=run, told=told, tell=tell):
            told.append(what)
            if what == stage:
                run.stop.set()
            tell(what, step, steps)

        run.tell = watched
        *_, (said, page) = make.follow(context, run, wish)
        assert told[-1] == stage and told.count(stage) == 1
        assert f"Stopped at {stage}" in said and run.failure is None
        assert {"pattern.png", "pattern.json", "imitation.npy"} <= set(run.entry["urls"]) and "pattern.png" in page
        assert not [name for name in run.entry["urls"] if name.endswith((".wav", ".flac"))]


def test_a_third_run_waits_says_so_and_can_be_stopped(context):
    with make.RUNNING, make.RUNNING:
        run = make.Run()
        shown = []
        for one in make.follow(context, run, QUICK):
            shown.append(one[0])
            if "Waiting until another pattern is done" in one[0]:
                run.stop.set()
        assert run.stop.is_set() and run.entry is None and run.live is None
        assert "Stopped." in shown[-1]
    run = make.Run()
    finish(context, run, QUICK)
    assert run.entry is not None


def test_one_position_is_drawn_where_it_looks(context):
    run = make.Run()
    finish(context, run, dataclasses.replace(QUICK, objective="unit", band=10, frame=200, layer="imitation.conv2"))
    assert run.entry["objective"] == "imitation.conv2:3@10,200"
    model = context.model(QUICK.model)
    patch = np.ones((4, 5), np.float32)
    objective = objectives.unit("imitation.conv2", 3, (10, 200))
    whole = make._whole_picture(model, "imitation", objective, patch)
    stride = model.network.towers["imitation"].receptive_field("conv2").stride
    rows, columns = np.nonzero(whole)
    assert (rows.min(), columns.min()) == (10 * stride[0], 200 * stride[1])
    assert whole.sum() == 20 and whole.shape == model.frontends["imitation"].config.shape


def test_two_neurons_are_raised_together(context):
    run = make.Run()
    finish(context, run, dataclasses.replace(QUICK, objective="joint", second=5, weight=-0.5))
    assert run.entry["objective"] == "imitation.conv1:3 + -0.5 * imitation.conv1:5"


VALUES = list(dataclasses.asdict(QUICK).values())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", None),
        ("layer", 3),
        ("neuron", None),
        ("neuron", 1.5),
        ("neuron", True),
        ("neuron", math.nan),
        ("neuron", math.inf),
        ("steps", 0),
        ("steps", make.MOST_STEPS + 1),
        ("seed", -1),
        ("seed", 2**31),
        ("weight", "1"),
        ("objective", "direction"),
        ("parameterization", "pixel"),
        ("sounds", ["both"]),
        ("sounds", "direct"),
    ],
)
def test_a_wish_that_makes_no_sense_is_a_sentence(field, value):
    names = [one.name for one in dataclasses.fields(make.Wish)]
    assert make.read_wish(VALUES) == QUICK
    with pytest.raises(PatternError):
        make.read_wish([value if name == field else old for name, old in zip(names, VALUES, strict=True)])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"neuron": 48}, "has neurons 0 to 47"),
        ({"layer": "imitation.conv9"}, "imitation.conv9"),
        ({"model": "../trained_models/tl-iminet-conv1"}, "no model"),
        ({"model": "voice-search"}, "no layer"),
        ({"objective": "unit", "band": 999}, "no position"),
        ({"layer": "fc1", "objective": "unit"}, "no positions"),
        ({"weight": math.inf, "objective": "joint"}, "not finite"),
    ],
)
def test_what_a_model_does_not_have_is_a_sentence(context, change, words):
    with pytest.raises(Exception, match=words) as caught:
        finish(context, make.Run(), dataclasses.replace(QUICK, **change))
    assert type(caught.value).__module__ == "iminet_viz.errors"


def test_controls_keep_what_fits_a_model(context):
    model = context.model(QUICK.model)
    layer, neuron, objective, band, *_, place, other = make.fit_controls(model, "recording.conv1", 99, "unit")
    assert (layer.value, neuron.value, neuron.maximum, objective.value) == ("recording.conv1", 23, 23, "unit")
    assert band.maximum == 123 and place.visible and not other.visible
    _, _, objective, *_ = make.fit_controls(model, "fc1", 0, "unit")
    assert objective.value == "channel"
    layer, *_ = make.fit_controls(model, "nonsense", None, "channel")
    assert layer.value == "imitation.conv1"


# --- mistakes -------------------------------------------------------------------------------------------------------


def test_a_mistake_is_one_escaped_sentence_and_a_bug_is_none():
    @in_a_sentence
    def fail(error):
        raise error

    @in_a_sentence
    def fail_late(error):
        yield 1
        raise error

    for run in (fail, lambda error: list(fail_late(error))):
        with pytest.raises(gr.Error) as caught:
            run(PatternError("a <b>"))
        assert caught.value.message == "a &lt;b&gt;"
        with pytest.raises(ZeroDivisionError):
            run(ZeroDivisionError())


def sentence(result: tuple[int, str, str]) -> str:
    status, out, err = result
    assert status == 1 and out == "" and "Traceback" not in err
    (line,) = err.splitlines()
    assert line.startswith("Error: ")
    return line


def test_the_verb_says_what_is_wrong_in_one_sentence(call, tmp_path):
    for auth in ("x", "x:", ":x", "", " :x"):
        assert "USER:PASSWORD" in sentence(call("app", "--no-browser", "--auth", auth))
    assert "is no gallery" in sentence(call("app", "--no-browser", "--gallery", tmp_path))
    assert "give --auth" in sentence(call("app", "--no-browser", "--host", "0.0.0.0"))
    (tmp_path / "text").write_text("no database, and no model")
    for option in ("--study", "--model"):
        assert str(tmp_path / "text") in sentence(call("app", "--no-browser", option, tmp_path / "text"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port}" in sentence(call("app", "--no-browser", "--port", port))


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("iminet_viz.app", {"gradio", "torch", "numpy", "matplotlib"}),
        ("iminet_viz.app._frame, iminet_viz.app.patterns, iminet_viz.app.make", {"torch", "matplotlib", "scipy"}),
    ],
)
def test_the_first_page_does_not_wait_for_what_it_does_not_need(modules, absent):
    code = f"import sys, {modules}; print(sorted({absent} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


BUILT = """
import json, sys
from pathlib import Path
from iminet_viz.app import _context, make_app
if len(sys.argv) > 1:
    _context.SHIPPED_GALLERY = Path(sys.argv[1])
app = make_app()
blocks = list(app.blocks.values())
print(json.dumps({
    "public": sorted({one.api_name for one in app.fns.values() if one.api_visibility == "public" and one.fn}),
    "tabs": [block.label for block in blocks if type(block).__name__ == "Tab"],
    "html": [str(block.value) for block in blocks if type(block).__name__ == "HTML"],
}))
"""


def built(*arguments: object) -> dict:
    """What an app that is not started holds; in a process of its own, for gradio leaves event loops open."""
    command = [sys.executable, "-c", BUILT, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_app_is_built_without_being_started():
    found = built()
    assert {"patterns", "pattern", "make"} <= set(found["public"])
    assert not set(found["public"]) & {"watch", "visit", "arrive", "select", "fit", "turned", "list_all"}
    assert found["tabs"] == [title for title in TABS.values() if title in found["tabs"]]
    assert {"Patterns", "Make a pattern"} <= set(found["tabs"])


def test_an_app_without_a_gallery_says_what_to_do(tmp_path):
    texts = built(tmp_path)["html"]
    assert any("There is no gallery to browse" in text and "gallery build" in text for text in texts)


def test_every_tab_that_is_there_can_be_built():
    folder = ROOT / "iminet_viz" / "app"
    modules = {path.stem for path in folder.glob("[a-z]*.py")}
    assert modules <= set(TABS)
    assert {"patterns", "make"} <= modules


# --- the running server ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An app with a gallery full of traps, and a small limit of uploads; nothing of it is left at the end."""
    folder = tmp_path_factory.mktemp("trapped") / "gallery"
    shutil.copytree(SHIPPED_GALLERY / "entries" / NEURON, folder / "entries" / NEURON)
    manifest = json.loads((SHIPPED_GALLERY / "manifest.json").read_text())
    entries = [entry for entry in manifest["entries"] if entry["id"] == NEURON]
    odd = {**entries[0], "id": EVIL, "model": EVIL, "folder": "entries/ü #?%20'\"<b>"}
    shutil.copytree(folder / "entries" / NEURON, folder / odd["folder"])
    (folder / "manifest.json").write_text(json.dumps({**manifest, "entries": [*entries, odd]}))
    (folder.parent / "secret.png").write_bytes(b"secret")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "etc").symlink_to("/etc")
    (folder / "index.html").write_text("<script>secret</script>")
    with running_app("--gallery", folder, "--max-upload", 1) as app:
        yield app, folder
        temporary = app.temporary
        before = list(temporary.iterdir())
        assert before  # the work folder, while it runs
        app.process.terminate()
        app.process.wait(20)
        assert not [path for path in temporary.iterdir() if not path.name.startswith("torch")]  # a cache of torch


def raw_get(url: str, path: str) -> tuple[int, bytes]:
    """Ask for exactly this path: no client makes it tidy."""
    parsed = httpx.URL(url)
    connection = http.client.HTTPConnection(parsed.host, parsed.port, timeout=30)
    try:
        connection.putrequest("GET", path, skip_accept_encoding=True)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


ROUTES = ("/gradio_api/file=", "/gradio_api/file/")
ATTEMPTS = [
    "/etc/passwd",
    "//etc/passwd",
    "%2Fetc%2Fpasswd",
    "etc/passwd",
    "@gallery/../secret.png",
    "@gallery/%2e%2e/secret.png",
    "@gallery/..%2fsecret.png",
    "@gallery/%252e%252e/secret.png",
    "@gallery/..%5csecret.png",
    "%40gallery/../secret.png",
    "@gallery/link.png",
    "@gallery/etc/passwd",
    "@gallery/etc/hostname",
    "@gallery/index.html",
    "@gallery/entries",
    "@gallery/%00.png",
    "@kept/../uploads",
    "@scratch/../../../../../../etc/passwd",
    "FOLDER/manifest.json",
    "FOLDER/../secret.png",
    "pyproject.toml",
    "file:///etc/passwd",
    "http://127.0.0.1:1/x",
    "https://example.org/",
    "C:/Windows/win.ini",
]


@pytest.mark.parametrize(("route", "attempt"), list(itertools.product(ROUTES, ATTEMPTS)))
def test_the_server_gives_no_other_file(server, route, attempt):
    app, folder = server
    status, content = raw_get(app.url, route + attempt.replace("FOLDER", str(folder)))
    assert status in (400, 403, 404, 405)
    assert b"secret" not in content and b"root:" not in content
    assert str(folder).encode() not in content


def test_the_server_is_no_proxy(server):
    for target in ("http://127.0.0.1:1/", "https://example.org/", "file:///etc/passwd"):
        status, _ = raw_get(server[0].url, f"/gradio_api/proxy={target}")
        assert status == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:PORT", "127.0.0.1.evil.example", "[::2]", "localhost@x"]
)
def test_the_server_answers_to_names_of_this_machine_only(server, host):
    url = server[0].url
    port = str(httpx.URL(url).port)
    for path in ("", "gradio_api/file=@gallery/manifest.json"):
        for own in (f"127.0.0.1:{port}", f"LOCALHOST:{port}", "localhost", f"[::1]:{port}"):
            assert httpx.get(url + path, headers={"Host": own}).status_code == 200
        assert httpx.get(url + path, headers={"Host": host.replace("PORT", port)}).status_code == 403


def test_a_call_of_any_size_does_not_fill_the_memory(server):
    body = json.dumps({"data": ["x" * (9 << 20)], "session_hash": "x", "fn_index": 0})
    route = server[0].url + "gradio_api/queue/join"
    assert httpx.post(route, content=body, headers={"content-type": "application/json"}).status_code == 413


@pytest.mark.parametrize("kind", ["call", "run", "queue/join", "call/v2"])
def test_the_server_fetches_no_address(server, kind):
    asked = threading.Event()

    class Target(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.set()
            self.send_error(404)

    target = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
    threading.Thread(target=target.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{target.server_port}/x.wav"
        file = {"path": address, "meta": {"_type": "gradio.FileData"}}
        body = json.dumps({"data": [file, file, "dtw"], "session_hash": "x", "fn_index": 0})
        route = server[0].url + "gradio_api/" + (kind if kind == "queue/join" else f"{kind}/explain")
        for text in (body, body.replace("path", "p\\u0061th"), body.replace("http:", "\\u0068ttp:")):
            answer = httpx.post(route, content=text, headers={"content-type": "application/json"})
            assert answer.status_code == 403 and "fetches no address" in answer.text
        assert not asked.wait(0.5)
    finally:
        target.shutdown()
        target.server_close()


def test_files_with_odd_names_are_served_as_what_they_are(server):
    from gradio_client import Client

    app, _ = server
    client = Client(app.url, verbose=False)
    for name in (NEURON, EVIL):
        found = client.predict(name, api_name="/pattern")
        urls = found["urls"]
        picture = httpx.get(app.url + urls["picture"])
        assert picture.status_code == 200 and picture.headers["content-type"] == "image/png"
        assert picture.headers["x-content-type-options"] == "nosniff"
        sound = httpx.get(app.url + urls["sounds"]["imitation.direct"], headers={"Range": "bytes=0-3"})
        assert sound.status_code == 206 and sound.content == b"fLaC"


def test_endpoints_take_and_give_plain_values(server):
    from gradio_client import Client
    from gradio_client.exceptions import AppError as Refused

    app, _ = server
    client = Client(app.url, verbose=False)
    names = set(client.view_api(return_format="dict")["named_endpoints"])
    assert {"/patterns", "/pattern", "/make"} <= names
    assert not [name for name in names if name.startswith("/_") or "lambda" in name or "watch" in name]
    listed = client.predict(api_name="/patterns")
    assert {one["id"] for one in listed} == {NEURON, EVIL}
    assert len(client.predict(model=EVIL, no_warnings=True, api_name="/patterns")) == 1
    with pytest.raises(Refused, match="has no pattern"):
        client.predict("nothing", api_name="/pattern")
    for no_id in ([1], {"a": 1}, 3, None):
        with pytest.raises(Refused, match="has no pattern"):
            client.predict(no_id, api_name="/pattern")
    job = client.submit("tl-iminet-conv123", "imitation.conv1", 48, api_name="/make")
    for _ in job:
        pass
    with pytest.raises(Refused, match="has neurons 0 to 47"):
        job.result()
    with pytest.raises(Refused, match="has neurons 0 to 47"):
        client.predict("tl-iminet-conv123", "imitation.conv1", 48, api_name="/make")
    made = client.predict("tl-iminet-conv123", "imitation.conv1", 3, steps=3, sounds=[], api_name="/make")
    assert made["stage"] == "done" and made["neuron"] == 3 and "folder" not in made
    assert httpx.get(app.url + made["urls"]["pattern.png"]).content.startswith(b"\x89PNG")


def test_the_examples_of_the_documentation_run(server, capsys):
    text = (ROOT / "docs" / "app.md").read_text(encoding="utf-8").replace("http://127.0.0.1:7860/", server[0].url)
    text = text.partition("## Search")[0]  # whose examples run with a library, in test_browser_search.py
    examples = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    names: dict[str, object] = {}
    for example in examples:
        exec(example, names)
    assert len(examples) == 4
    assert names["picture"].startswith(b"\x89PNG") and names["sound"].startswith(b"fLaC")
    assert names["made"]["seed"] == 1
    assert NEURON in capsys.readouterr().out


def test_an_upload_that_is_too_large_is_refused(server):
    app, _ = server
    address = app.url + "gradio_api/upload"
    fine = httpx.post(address, files={"files": ("a.wav", b"x" * 1000)})
    assert fine.status_code == 200
    (path,) = fine.json()
    assert Path(path).is_relative_to(app.temporary)
    too_large = httpx.post(address, files={"files": ("a.wav", b"x" * 2_000_000)})
    assert too_large.status_code == 413
    odd = httpx.post(address, files={"files": ("../../../../evil.wav", b"x")})
    assert odd.status_code != 200 or Path(odd.json()[0]).resolve().is_relative_to(app.temporary.resolve())


def test_equal_uploads_are_two_and_one_is_gone_when_it_was_used(server, tmp_path):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError as Refused

    app, _ = server
    (tmp_path / "mine.wav").write_bytes(b"no sound")

    def found() -> list[Path]:
        return [*app.temporary.glob("iminet-viz-*/uploads/*/mine.wav")]

    for _ in range(2):  # gradio puts equal files in one place: one user's would go with the other's
        httpx.post(app.url + "gradio_api/upload", files={"files": ("mine.wav", b"no sound")})
    assert len(found()) == 2
    with pytest.raises(Refused, match=r"mine\.wav: cannot be decoded"):
        Client(app.url, verbose=False).predict(handle_file(tmp_path / "mine.wav"), api_name="/search")
    assert len(found()) == 2  # the third, which was searched with, is gone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_app_that_is_ended_while_a_pattern_is_made_ends_cleanly(number):
    from gradio_client import Client

    with running_app() as app:
        job = Client(app.url, verbose=False).submit(
            "tl-iminet-conv123", "recording.conv3", 5, steps=400, api_name="/make"
        )
        until = time.monotonic() + 60
        while not any(made["step"] for made in job.outputs()) and time.monotonic() < until:
            time.sleep(0.1)
        app.process.send_signal(number)
        assert app.process.wait(20) in (0, 130)  # not -6, of a thread that was in torch
        assert not [path for path in app.temporary.iterdir() if not path.name.startswith(("torch", "library"))]


def test_a_password_closes_everything():
    with running_app("--auth", "ann:pass:word") as app:
        listed = ("config", "gradio_api/info", "gradio_api/file=@gallery/figures/figure7.png")
        for path in ("openapi.json", "docs", "gradio_api/file=@outline/1.json", "gradio_api/file=@gallery/none.png"):
            assert httpx.get(app.url + path).status_code == 401, path  # what is there, and what is not, alike
        for path in listed:
            assert httpx.get(app.url + path).status_code == 401, path
        assert httpx.post(app.url + "login", data={"username": "ann", "password": "pass"}).status_code == 400
        with httpx.Client() as client:
            assert client.post(app.url + "login", data={"username": "ann", "password": "pass:word"}).status_code == 200
            # the cookie is marked for https; on plain http gradio sets a second one
            assert client.get(app.url + listed[2]).status_code == 200
