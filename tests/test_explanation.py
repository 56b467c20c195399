"""The folder of an explanation: whole or not at all, whatever the files are called, with links that lead somewhere."""

import dataclasses
import json
import os
import re
import shutil
import time
from pathlib import Path
from urllib.parse import unquote, urldefrag

import numpy as np
import pytest

from iminet_viz import explanation
from iminet_viz.assessment import AssessSettings
from iminet_viz.attribution import ExplainSettings, explain_match, explain_neuron, load_sides
from iminet_viz.audio import read_native, save_audio
from iminet_viz.checkpoint import untrained_model
from iminet_viz.errors import GalleryError
from iminet_viz.explanation import (
    NAMES,
    _replace_units,
    claim_folder,
    find_patterns,
    make_patterns,
    write_explanation,
)
from iminet_viz.gallery import read_pattern
from iminet_viz.patterns.engine import EngineConfig
from iminet_viz.sonification import SonifySettings

QUICK = ExplainSettings(steps=2, window=(1.0, 1.0), fractions=2, controls=1, perturbations=1)
EVIL = "<img src=x onerror=alert(1)>\"'& \u2028.wav"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for name in (EVIL, "recording.wav"):
        save_audio(folder / name, (0.1 * rng.standard_normal(16_000)).clip(-0.9, 0.9), 16_000)
    return {"imitation": folder / EVIL, "recording": folder / "recording.wav"}


@pytest.fixture(scope="module")
def model():
    return dataclasses.replace(untrained_model("tl-iminet", 0), name="a net")


@pytest.fixture(scope="module")
def explained(model, clips):
    return explain_match(model, *clips.values(), QUICK)


def embedded(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="explanation">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def test_the_folder_holds_what_the_page_names(explained, clips, tmp_path):
    figures = write_explanation(tmp_path / "why", explained, clips, "a net")
    assert json.loads(json.dumps(figures)) == json.loads((tmp_path / "why" / "explanation.json").read_text())
    assert json.loads(json.dumps(figures)) == embedded(tmp_path / "why" / "index.html")
    assert {path.name for path in (tmp_path / "why").iterdir()} == set(NAMES) - {"paths.png"}
    for role, side in figures["sides"].items():
        maps = {"attribution": explained.attributions[role], "occlusion": explained.occlusion[role]}
        for name, values in maps.items():
            stored = np.load(tmp_path / "why" / side["arrays"][name], allow_pickle=False)
            assert stored.dtype == np.float32
            np.testing.assert_allclose(stored, values, rtol=1e-6)
    for side in figures["sides"].values():
        assert all((tmp_path / "why" / side[key]).is_file() for key in ("sound", "heard", "picture"))
    assert figures["maximize"].startswith("iminet-viz maximize 'a net' ")
    assert all(unit["pattern"] is None for unit in figures["units"])


def test_no_name_leaves_the_data_of_the_page(explained, clips, tmp_path):
    write_explanation(tmp_path / "why", explained, clips)
    text = (tmp_path / "why" / "index.html").read_text(encoding="utf-8")
    assert EVIL[:8] not in text and embedded(tmp_path / "why" / "index.html")["sides"]["imitation"]["name"] == EVIL
    assert "innerHTML" not in text and "insertAdjacentHTML" not in text
    outside = set(re.findall(r"https?://[^\s\"'<]+", text)) - {"http://www.w3.org/2000/svg"}
    assert not outside


def test_an_alignment_is_written_too_and_what_was_there_before_goes(explained, model, clips, tmp_path):
    out = tmp_path / "why"
    aligned = explain_match("dtw", *clips.values())
    figures = write_explanation(out, aligned, clips)
    assert {path.name for path in out.iterdir()} == {name for name in NAMES if not name.endswith(".npy")}
    assert figures["kind"] == "alignment" == embedded(out / "index.html")["kind"]
    roles = ("imitation",)
    neuron = explain_neuron(model, "imitation.conv1", 0, load_sides(model, *clips.values(), roles), QUICK)
    write_explanation(out, neuron, {"imitation": clips["imitation"]}, force=True)
    assert not [*out.glob("recording*"), *out.glob("paths*"), *out.glob(".*")]


def test_a_folder_of_something_else_is_left_alone(explained, clips, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("my page")
    (tmp_path / "file").write_text("")
    for force in (False, True):
        with pytest.raises(GalleryError, match=r"index\.html, which is of no explanation"):
            write_explanation(tmp_path / "mine", explained, clips, force=force)
        with pytest.raises(GalleryError, match="is a file"):
            claim_folder(tmp_path / "file", clips, force)
    assert (tmp_path / "mine" / "index.html").read_text() == "my page"
    write_explanation(tmp_path / "why", explained, clips)
    with pytest.raises(GalleryError, match="--force"):
        write_explanation(tmp_path / "why", explained, clips)
    own = {"imitation": tmp_path / "why" / "imitation.wav", "recording": clips["recording"]}
    with pytest.raises(GalleryError, match="replaced by its own explanation"):
        write_explanation(tmp_path / "why", explained, own, force=True)


def test_a_fault_on_the_way_leaves_everything_as_it_was(explained, clips, tmp_path, monkeypatch):
    write_explanation(tmp_path / "old", explained, clips)
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(explanation, "write_json", full)
    for name in ("old", "new"):
        with pytest.raises(GalleryError, match="No space left"):
            write_explanation(tmp_path / name, explained, clips, force=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_what_a_killed_explanation_left_goes_with_the_next_one(explained, clips, tmp_path):
    out = tmp_path / "why"
    for name, age_s in ((".explanation-dead", 7200), (".explanation-at-work", 60), (".mine", 7200)):
        (out / name).mkdir(parents=True)
        (out / name / "recording.wav").touch()
        os.utime(out / name, (time.time() - age_s,) * 2)
    write_explanation(out, explained, clips)
    assert {path.name for path in out.glob(".*")} == {".explanation-at-work", ".mine"}


def test_units_lead_to_patterns_of_this_very_model(explained, clips, tmp_path):
    """Of three entries one is right, one of other weights, one damaged."""
    gallery = tmp_path / "a gallery"
    shown = [unit for unit, _ in explained.units[:3]]
    for unit, fingerprint in zip(shown, (explained.fingerprint, "another", ""), strict=True):
        folder = gallery / "entries" / "a net" / "fc1" / str(unit)
        folder.mkdir(parents=True)
        entry = {
            "id": f"a net/fc1/{unit}",
            "fingerprint": fingerprint,
            "picture": "pattern.png",
            "inputs": {
                "imitation": {"sounds": {"griffin-lim": {"file": "imitation.flac"}}},
                "recording": {"sounds": {}},
            },
        }
        (folder / "pattern.json").write_text(json.dumps(entry) if fingerprint else "{")
        (folder / "pattern.png").touch()
    assert find_patterns(gallery, explained, tmp_path / "why") == {}  # it has no page yet
    (gallery / "index.html").touch()
    figures = write_explanation(tmp_path / "deep" / "why", explained, clips, gallery=gallery)
    found = {unit["neuron"]: unit["pattern"] for unit in figures["units"] if unit["pattern"]}
    assert list(found) == shown[:1]
    pattern = found[shown[0]]
    page, fragment = urldefrag(pattern["href"])
    assert unquote(fragment) == f"a net/fc1/{shown[0]}" == pattern["id"]
    for address in (page, pattern["picture"]):
        assert (tmp_path / "deep" / "why" / unquote(address)).resolve().is_file()
    assert set(pattern["sounds"]) == {"imitation"}
    shutil.rmtree(gallery)
    assert find_patterns(gallery, explained, tmp_path / "why") == {}


def test_units_that_the_gallery_lacks_get_a_pattern_in_the_folder(model, explained, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(explanation, "EngineConfig", lambda: EngineConfig(steps=1, precision="32"))
    sound = (SonifySettings(mel_iterations=2, griffin_lim_iterations=1),)
    monkeypatch.setattr(explanation, "AssessSettings", lambda **given: AssessSettings(shortlist=sound, **given))
    first, second, third = (unit for unit, _ in explained.units[:3])
    steps = []
    made = make_patterns(model, explained, {second}, 3, report=lambda *done: steps.append(done))
    assert [one.pattern.neuron for one in made] == [first, third] and steps == [(1, 1)]
    out = tmp_path / "why"
    figures = write_explanation(out, explained, clips, patterns=made)
    assert embedded(out / "index.html") == json.loads(json.dumps(figures))
    found = {unit["neuron"]: unit["pattern"] for unit in figures["units"] if unit["pattern"]}
    assert list(found) == [first, third]
    for unit, pattern in found.items():
        assert read_pattern(out / "units" / str(unit)).neuron == unit
        assert all(
            (out / address).is_file() for address in (pattern["href"], pattern["picture"], *pattern["sounds"].values())
        )
        assert set(pattern["sounds"]) == {"imitation", "recording"}
        assert pattern["warnings"] == read_pattern(out / "units" / str(unit)).evidence.warnings()


def test_patterns_of_an_earlier_explanation_go_and_nothing_else(tmp_path):
    made, there = tmp_path / "made", tmp_path / "units"
    for name in ("units/3", "units/5", "made/5"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "pattern.json").write_text(name)
    (there / "mine.txt").write_text("stays")
    _replace_units(made, there)
    assert {path.name for path in there.iterdir()} == {"5", "mine.txt"}
    assert (there / "5" / "pattern.json").read_text() == "made/5"
    (there / "mine.txt").unlink()
    _replace_units(tmp_path / "nothing", there)
    assert not there.exists()
    _replace_units(tmp_path / "nothing", there)  # an explanation without units


def test_units_that_add_nothing_or_are_not_asked_for_get_none(model, explained):
    silent = dataclasses.replace(explained, units=tuple((unit, 0.0) for unit, _ in explained.units))
    assert make_patterns(model, silent) == make_patterns(model, explained, count=0) == []


def test_a_folder_of_units_that_is_of_no_explanation_is_left_alone(explained, clips, tmp_path):
    (tmp_path / "why" / "units" / "1").mkdir(parents=True)
    with pytest.raises(GalleryError, match="units, which is of no explanation"):
        write_explanation(tmp_path / "why", explained, clips, force=True)


def test_what_was_not_heard_of_a_long_clip_is_said(explained, clips, tmp_path):
    long = tmp_path / "long.wav"
    save_audio(long, np.tile(np.sin(np.arange(16_000) * 0.3) * 0.1, 33), 16_000)
    figures = write_explanation(tmp_path / "why", explain_match("dtw", long, long), dict.fromkeys(clips, long))
    assert "The imitation is 33.0 s long; its first 4.00 s are heard." in figures["notes"]
    assert "Both sides are the same file." in figures["notes"]


@pytest.mark.parametrize("net", ["a net", "dtw"])
def test_a_long_clip_that_begins_silent_is_explained_where_it_sounds(model, clips, tmp_path, net):
    rate, tone = 16_000, np.sin(np.arange(2 * 16_000) * 0.3) * 0.1
    long = tmp_path / "long.wav"
    save_audio(long, np.concatenate([np.zeros(35 * rate), tone]), rate)
    explained = explain_match(model if net == "a net" else net, long, clips["recording"], QUICK)
    figures = write_explanation(tmp_path / "why", explained, {**clips, "imitation": long})
    start, stop = explained.spans["imitation"]
    said = f"The imitation is 37.0 s long; {start:.2f} to {stop:.2f} s of it are explained, and times count from there."
    assert said in figures["notes"] and figures["sides"]["imitation"]["start_s"] == pytest.approx(start, abs=1e-4)
    assert start <= 35.01 < stop <= 37
    sound, _ = read_native(tmp_path / "why" / "imitation.wav")
    assert np.abs(sound[round((35 - start) * rate) + 200 :][:rate]).max() == pytest.approx(0.1, rel=0.05)
