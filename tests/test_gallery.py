"""A gallery is written whole, comes out the same twice, goes on where it stopped, and names every damage."""

import contextlib
import copy
import dataclasses
import json
import math
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from iminet_viz import gallery
from iminet_viz.assessment import AssessSettings, assess, assess_many
from iminet_viz.audio import read_native, save_audio
from iminet_viz.checkpoint import TrainedModel, untrained_model, write_json
from iminet_viz.direct import DirectSettings
from iminet_viz.errors import GalleryError, IminetVizError, PatternError
from iminet_viz.gallery import GallerySettings, build, read_pattern, verify, write_entry
from iminet_viz.patterns import evidence, objectives
from iminet_viz.patterns.engine import EngineConfig, Pattern, activation_of, maximize
from iminet_viz.patterns.evidence import References, compute_references
from iminet_viz.patterns.pair_evidence import study_pairs
from iminet_viz.patterns.stability import make_control
from iminet_viz.plotting import plot_spectrogram, save_figure
from iminet_viz.sonification import SonifySettings

SOUND = SonifySettings(mel_iterations=2, griffin_lim_iterations=1)  # what it sounds like is tested elsewhere
ENGINE = EngineConfig(steps=2, precision="32")
LAYERS = [f"{role}.conv{index}" for role in ("imitation", "recording") for index in (1, 2, 3)] + ["fc1"]
SOUNDS = AssessSettings(shortlist=(SOUND,), direct=DirectSettings(steps=1))
BARE = AssessSettings(shortlist=(SOUND,), direct=None, stability=False)
SMALL = GallerySettings(("small",), neurons=1, seed=0, engine=ENGINE, assess=BARE)  # one tower: four entries


def make_models() -> dict[str, TrainedModel]:
    classes = {"classes": ("a", "b")}
    return {
        "first": untrained_model("tl-iminet", 0, name="first"),
        "second": untrained_model("tl-iminet", 1, name="second"),
        "small": untrained_model("sound-tower", 0, classes, name="small"),
        "other": untrained_model("sound-tower", 1, classes, name="other"),
    }


MODELS = make_models()


@pytest.fixture(scope="module", autouse=True)
def known_models():
    """Make the random models loadable by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "load_model", lambda name, device="cpu": MODELS[name])
        yield


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for index, name in enumerate(("a.wav", "cats/b.wav", "cats/c.wav", "d.wav")):
        time = np.arange(16_000) / 16_000
        sound = np.sin(2 * np.pi * (300 + 400 * index) * time) * np.exp(-index * time)
        sound = 0.4 * sound + 0.1 * rng.standard_normal(len(time)) * (index + 1) / 4
        (folder / name).parent.mkdir(exist_ok=True)
        save_audio(folder / name, 0.5 * sound / np.abs(sound).max(), 16_000)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, clips) -> Path:
    """Two TL-IMINETs with exemplars: read only; the tests that damage it copy it."""
    out = tmp_path_factory.mktemp("galleries") / "whole"
    build(GallerySettings(("first", "second"), 1, 0, ENGINE, SOUNDS), out, exemplars=clips)
    return out


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("galleries") / "small"
    build(SMALL, out)
    return out


@pytest.fixture
def damaged(small, tmp_path) -> Path:
    return shutil.copytree(small, tmp_path / "damaged")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def rewrite(folder: Path, manifest: dict) -> None:
    """A manifest and a page that agree, as a forger would leave them."""
    write_json(folder / "manifest.json", manifest)
    gallery._write_page(folder, manifest)


# --- a whole gallery ------------------------------------------------------------------------------------------------


def test_everything_that_is_listed_is_there_and_nothing_else(whole):
    assert verify(whole, MODELS) == []
    manifest = manifest_of(whole)
    assert [entry["id"] for entry in manifest["entries"]] == [
        f"{entry['model']}/{entry['layer']}/{entry['neuron']}" for entry in manifest["entries"]
    ]
    assert [(entry["model"], entry["layer"]) for entry in manifest["entries"]] == [
        (name, layer) for name in ("first", "second") for layer in LAYERS
    ]
    listed = {"manifest.json", "index.html"} | {figure["file"] for figure in manifest["figures"]}
    listed |= {"references/first.safetensors", "references/second.safetensors"}
    for entry in manifest["entries"]:
        roles = ["imitation", "recording"] if entry["layer"] == "fc1" else [entry["layer"].split(".")[0]]
        names = {"pattern.png", *(f"{role}.{kind}" for role in roles for kind in ("flac", "direct.flac", "npy"))}
        assert set(entry["files"]) == names
        listed |= {f"{entry['folder']}/{name}" for name in names | {"pattern.json"}}
        for clip in entry["reference"]["top"]:
            listed |= {clip["sound"], clip["picture"]} if "sound" in clip else {*clip["sounds"], *clip["pictures"]}
    assert listed == set(contents(whole))
    assert [figure["file"] for figure in manifest["figures"]] == [f"figures/figure{n}.png" for n in (7, 8, 9)]
    assert manifest["failed"] == []
    assert not (whole / ".work").exists()


def test_an_entry_is_the_pattern_and_its_sound(whole):
    for entry in manifest_of(whole)["entries"]:
        home = whole / entry["folder"]
        pattern = read_pattern(home)
        assert pattern.fingerprint == MODELS[entry["model"]].fingerprint
        inputs = {role: np.load(home / side["array"]).astype(np.float32) for role, side in entry["inputs"].items()}
        again = activation_of(MODELS[entry["model"]], pattern.objective, inputs)
        assert again == pytest.approx(entry["activation"], rel=1e-4, abs=1e-6)
        assert entry["steps"] == len(entry["trace"]) == 2
        for role, side in entry["inputs"].items():
            config = MODELS[entry["model"]].frontends[role].config
            assert list(side["sounds"]) == ["griffin-lim", "direct"]
            for sound in side["sounds"].values():
                waveform, rate = read_native(home / sound["file"])
                assert (len(waveform), rate) == (config.n_samples, config.sample_rate)
            assert inputs[role].shape == (side["bands"], side["frames"]) == config.shape
        for name in (entry["picture"],):
            header = (home / name).read_bytes()[:24]
            assert header.startswith(b"\x89PNG")
            size = [int.from_bytes(header[k : k + 4], "big") for k in (16, 20)]
            assert entry["picture_size"] == size


def test_no_json_holds_nan(whole):
    for path in whole.rglob("*.json"):
        json.loads(path.read_text(), parse_constant=lambda name, path=path: pytest.fail(f"{path}: {name}"))


def test_exemplars_are_copied_and_named(whole, clips):
    manifest = manifest_of(whole)
    assert manifest["reference"] == {"clips": 4, "source": clips.name}
    for entry in manifest["entries"]:
        top = entry["reference"]["top"]
        assert len(top) == 3
        assert [clip["activation"] for clip in top] == sorted((c["activation"] for c in top), reverse=True)
        for clip in top:
            if entry["layer"] == "fc1":
                assert (clips / clip["imitation"]).is_file()
                assert (clips / clip["recording"]).is_file()
                sounds = list(zip(("imitation", "recording"), clip["sounds"], clip["pictures"], strict=True))
            else:
                assert (clips / clip["clip"]).is_file()
                sounds = [(clip["role"], clip["sound"], clip["picture"])]
            for role, sound, picture in sounds:
                config = MODELS["first"].frontends[role].config
                waveform, rate = read_native(whole / sound)
                assert (len(waveform), rate) == (config.n_samples, config.sample_rate)
                assert (whole / picture).read_bytes().startswith(b"\x89PNG")


def test_twins_point_at_each_other(whole, clips):
    entries = {entry["id"]: entry for entry in manifest_of(whole)["entries"]}
    files = [(str(path.relative_to(clips)), path) for path in sorted(clips.rglob("*.wav"))]
    stored = {name: compute_references(MODELS[name], files) for name in ("first", "second")}
    for entry in entries.values():
        twin = entries[entry["twin"]["id"]]
        assert twin["model"] != entry["model"]
        assert twin["layer"] == entry["layer"]
        assert twin["twin"] == {"id": entry["id"], "correlation": entry["twin"]["correlation"]}
        if entry["layer"] != "fc1":
            a, b = (stored[e["model"]].values[e["layer"]][:, e["neuron"]] for e in (entry, twin))
            assert entry["twin"]["correlation"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-3)


def test_the_same_settings_give_the_same_bytes(small, tmp_path):
    manifest = build(SMALL, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(small)
    assert json.loads(json.dumps(manifest)) == manifest_of(small)
    # and so does the manifest alone
    settings = GallerySettings.from_dict(manifest_of(small)["settings"])
    assert settings == SMALL


def test_more_neurons_than_there_are_alive_are_not_invented():
    alive = np.zeros((5, 48), np.float32)
    alive[:, [3, 30]] = np.arange(1, 6)[:, None]
    layers = MODELS["small"].network.layers
    values = {layer: alive[:, : MODELS["small"].network.n_channels(layer)] for layer in layers if layer != "fc1"}
    references = {"small": References("f", tuple("abcde"), tuple("abcde"), values)}
    chosen = gallery.choose_neurons([MODELS["small"]], references, dataclasses.replace(SMALL, neurons=9))
    assert [neuron for neuron, _ in chosen["small"]["recording.conv2"]] == [3, 30]
    assert [neuron for neuron, _ in chosen["small"]["recording.conv1"]] == [3]  # it has 24 neurons
    assert len(chosen["small"]["fc1"]) == 9


# --- interruptions --------------------------------------------------------------------------------------------------


def stop_after(count: int, of: int = 4):
    def progress(what, done, total):
        assert total == of
        if done == count:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("count", [1, 3])
def test_an_interrupted_build_goes_on_where_it_stopped(small, tmp_path, monkeypatch, count):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build(SMALL, out, progress=stop_after(count), workers=1)
    assert not (out / "manifest.json").exists()
    assert not (out / "index.html").exists()
    with pytest.raises(GalleryError, match="no gallery"):
        verify(out, MODELS)
    finished = {path: path.stat().st_mtime_ns for path in (out / "entries").rglob("*") if path.is_file()}
    written = []
    write = gallery.write_entry
    monkeypatch.setattr(gallery, "write_entry", lambda folder, *rest: written.append(folder) or write(folder, *rest))
    build(SMALL, out)
    assert len(written) == 4 - count
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert contents(out) == contents(small)
    assert verify(out, MODELS) == []


@pytest.mark.parametrize("damage", [False, True])
def test_the_patterns_of_a_random_net_outlive_a_kill(tmp_path, monkeypatch, damage):
    settings = dataclasses.replace(SMALL, assess=dataclasses.replace(BARE, stability=True))
    build(settings, tmp_path / "straight")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build(settings, out, progress=stop_after(1), workers=1)
    kept = sorted((out / ".work").glob("*.safetensors"))
    assert len(kept) == 4
    for path in kept if damage else ():
        path.write_bytes(path.read_bytes()[:-9])
    made = []
    monkeypatch.setattr(gallery, "make_control", lambda *rest: made.append(rest) or make_control(*rest))
    build(settings, out)
    assert len(made) == (3 if damage else 0)  # the layer of the entry that is there needs none
    assert contents(out) == contents(tmp_path / "straight")


def test_a_fault_of_one_pattern_is_one_failure(tmp_path, monkeypatch):
    """Whatever goes wrong with its sound or evidence: the others are there, and it is listed."""

    def faulty(model, patterns, *rest):
        if any(pattern.neuron == bad for pattern in patterns):
            raise PatternError("no sound of it")
        return assess_many(model, patterns, *rest)

    settings = dataclasses.replace(SMALL, neurons=3)
    layers = gallery.choose_neurons([MODELS["small"]], {"small": None}, settings)["small"]
    bad = next(neuron for neuron, _ in layers["recording.conv2"])
    lost = [f"small/{layer}/{bad}" for layer, neurons in layers.items() if bad in dict(neurons)]
    monkeypatch.setattr(gallery, "assess_many", faulty)
    manifest = build(settings, tmp_path / "out")
    assert manifest["failed"] == [{"id": name, "reason": "no sound of it"} for name in lost]
    assert len(manifest["entries"]) == 12 - len(lost)


def test_a_model_without_log_mels_is_listed_and_the_others_are_built(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "silent", untrained_model("iminet", 0, name="silent"))
    manifest = build(dataclasses.replace(SMALL, models=("silent", "small")), tmp_path / "out")
    assert [failure["id"] for failure in manifest["failed"]] == ["silent"]
    assert "no log-mel" in manifest["failed"][0]["reason"]
    assert {entry["model"] for entry in manifest["entries"]} == {"small"} and "silent" not in manifest["title"]


def test_the_dead_are_nobodys_twins(tmp_path):
    """Of two models only neurons are drawn that have a twin; with all of them, those without stand alone."""
    values = np.random.default_rng(0).random((2, 40, 48)).astype(np.float32)
    values[0, :, 5:] = 0
    values[1, :, 8:] = 0
    layer = "recording.conv2"
    references = {
        name: References("f", tuple(map(str, range(40))), tuple(map(str, range(40))), {layer: own})
        for name, own in zip(("small", "other"), values, strict=True)
    }
    models = [MODELS["small"], MODELS["other"]]
    chosen = gallery.choose_neurons(models, references, dataclasses.replace(SMALL, neurons=9))
    assert [neuron for neuron, _ in chosen["small"][layer]] == [0, 1, 2, 3, 4]
    assert all(neuron < 8 and twin for neuron, twin in chosen["other"][layer])
    every = gallery.choose_neurons(models, references, dataclasses.replace(SMALL, neurons=None))
    assert sorted(neuron for neuron, _ in every["other"][layer]) == list(range(48))
    assert sum(twin is not None for _, twin in every["small"][layer]) == 5


@pytest.mark.parametrize("how", ["not a number", "cut", "missing", "not json", "no list"])
def test_what_is_damaged_when_a_build_goes_on_is_made_anew(small, tmp_path, how):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build(SMALL, out, progress=stop_after(2), workers=1)
    (home, *_) = [path.parent for path in (out / "entries").rglob("pattern.json")]
    if how == "not a number":
        array = np.load(home / "recording.npy")
        array[3, 4] = np.nan
        np.save(home / "recording.npy", array)
    elif how == "cut":
        (home / "pattern.png").write_bytes((home / "pattern.png").read_bytes()[:-9])
    elif how == "missing":
        (home / "recording.flac").unlink()
    else:
        (home / "pattern.json").write_text("{" if how == "not json" else "[]")
    build(SMALL, out)
    assert contents(out) == contents(small)


def test_what_real_clips_do_is_computed_once(tmp_path, clips, monkeypatch):
    out = tmp_path / "out"
    build(SMALL, out, clips)
    first = contents(out)
    with monkeypatch.context() as patch:
        patch.setattr(evidence, "load_input", lambda *_: pytest.fail("a known clip was decoded"))
        patch.setattr(gallery, "_copy_exemplar", lambda *_: pytest.fail("stop here"))
        with pytest.raises(pytest.fail.Exception, match="stop here"):
            build(SMALL, out, clips, force=True)
    build(SMALL, out, clips)
    assert contents(out) == first
    build(SMALL, out, force=True)
    assert not (out / "references").exists()


@pytest.mark.parametrize("step", ["save_audio", "write_json", "_write_page"])
def test_wherever_it_is_interrupted_nothing_half_written_is_listed(small, tmp_path, monkeypatch, step):
    out = tmp_path / "out"

    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(gallery, step, fail)
        build(SMALL, out)
    assert not (out / "index.html").exists()
    build(SMALL, out)
    assert contents(out) == contents(small)


def test_an_entry_without_its_exemplars_is_not_finished(tmp_path, clips, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(gallery, "_copy_exemplars", fail)
        build(SMALL, tmp_path / "out", clips)
    made = build(SMALL, tmp_path / "out", clips)
    assert all(clip.get("sound") for clip in made["entries"][0]["reference"]["top"])


def test_going_on_with_other_settings_leaves_nothing_of_the_first(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build(SMALL, out, progress=stop_after(2), workers=1)
    build(dataclasses.replace(SMALL, seed=1), out)
    assert verify(out, MODELS) == []


def test_what_a_killed_build_leaves_is_cleared_away(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build(SMALL, out, progress=stop_after(1), workers=1)
    first = next((out / "entries").rglob("pattern.png"))
    first.with_name(".pattern-k3x0a.png").write_bytes(b"\x89PNG half")  # what audio.atomic_path leaves when killed
    build(SMALL, out)
    assert verify(out, MODELS) == []


def test_going_on_with_a_second_model_names_the_twins(tmp_path, clips):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build(SMALL, out, clips, progress=stop_after(1), workers=1)
    made = build(dataclasses.replace(SMALL, models=("small", "other")), out, clips)
    assert all(entry["twin"] for entry in made["entries"] if entry["layer"] != "fc1")


# --- pairs ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Two pairs of a TL-IMINET whose other layers are left out."""
    out = tmp_path_factory.mktemp("galleries") / "pairs"
    with only_pairs():
        build(PAIRS, out)
    return out


PAIRS = dataclasses.replace(SMALL, models=("first",), neurons=3)


@contextlib.contextmanager
def only_pairs():
    choose = gallery.choose_neurons
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            gallery,
            "choose_neurons",
            lambda *given: {name: {"fc1": by_layer["fc1"]} for name, by_layer in choose(*given).items()},
        )
        yield


def test_pairs_are_set_against_each_other(pairs):
    assert verify(pairs, MODELS) == []
    entries = manifest_of(pairs)["entries"]
    patterns = [read_pattern(pairs / entry["folder"]) for entry in entries]
    assert len(entries) == 3
    for entry, pattern, pair in zip(entries, patterns, study_pairs(MODELS["first"], patterns).pairs, strict=True):
        assert entry["pair"] == pair.as_dict() and entry["pair"]["others"] == 2
        assert {key: entry["evidence"][key] for key in pair.measures()} == pair.measures()
        assert pattern.evidence.swap_kept == pair.measures()["swap_kept"] is not None
    measures = manifest_of(pairs)["measures"]
    assert {key for key, measure in measures.items() if measure["pairs_only"]} == set(pair.measures())


def test_an_interrupted_build_has_the_same_pairs(pairs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(gallery, "AT_ONCE", 1)
    with only_pairs():
        with pytest.raises(KeyboardInterrupt):
            build(PAIRS, out, progress=stop_after(2, 3), workers=1)
        assert not (out / "manifest.json").exists()
        alone = json.loads(next(out.rglob("pattern.json")).read_text())
        assert alone["pair"]["others"] == 0 and alone["pair"]["kept"] == {"imitation": None, "recording": None}
        build(PAIRS, out)
    assert contents(out) == contents(pairs)


@pytest.mark.parametrize("edit", ["kept", "evidence", "none", "missing"])
def test_a_forged_pair_is_named(pairs, tmp_path, edit):
    copied = shutil.copytree(pairs, tmp_path / "g")
    manifest = manifest_of(copied)
    entry = manifest["entries"][1]
    if edit == "kept":
        entry["pair"]["kept"]["imitation"] += 0.1
    elif edit == "evidence":
        entry["evidence"]["alike_in_time"] += 0.1
    elif edit == "none":
        entry["pair"] = None
    else:
        del entry["pair"]["across"]
    write_json(copied / entry["folder"] / "pattern.json", {k: v for k, v in entry.items() if k != "folder"})
    rewrite(copied, manifest)
    assert verify(copied, MODELS) == [f"{entry['id']}: studied again, its pair gives other values than the manifest"]


def test_where_a_pair_is_damaged_the_others_are_not_accused(pairs, tmp_path):
    copied = shutil.copytree(pairs, tmp_path / "g")
    name = manifest_of(copied)["entries"][0]["folder"] + "/imitation.npy"
    (copied / name).write_bytes(b"")
    assert verify(copied, MODELS) == [f"{name}: its content has changed"]


def test_sounds_stand_beside_those_of_real_clips(whole, tmp_path):
    manifest = manifest_of(whole)
    for entry in manifest["entries"]:
        stored = evidence.load_references(whole / f"references/{entry['model']}.safetensors", MODELS[entry["model"]])
        for role, side in entry["inputs"].items():
            assert side["real_sounds"] == stored.sounds[role] and side["real_sounds"]["n"] == 4
    copied = shutil.copytree(whole, tmp_path / "g")
    entry = manifest["entries"][0]
    next(iter(entry["inputs"].values()))["real_sounds"]["crest_db"][1] += 1
    write_json(copied / entry["folder"] / "pattern.json", {k: v for k, v in entry.items() if k != "folder"})
    rewrite(copied, manifest)
    (fault,) = verify(copied, MODELS)
    assert fault.startswith(entry["id"]) and "how real clips sound" in fault


def test_the_title_is_an_english_sentence(pairs, whole):
    assert manifest_of(pairs)["title"] == "What first listens for"
    assert manifest_of(whole)["title"] == "What first and second listen for"


# --- damage ---------------------------------------------------------------------------------------------------------

FIRST = "entries/small/recording.conv1"


def home_of(folder: Path) -> Path:
    return folder / manifest_of(folder)["entries"][0]["folder"]


@pytest.mark.parametrize("name", ["pattern.png", "recording.npy", "recording.flac"])
@pytest.mark.parametrize("how", ["changed", "cut", "missing", "linked out"])
def test_a_damaged_file_of_an_entry_is_named(damaged, tmp_path, name, how):
    path = home_of(damaged) / name
    content = path.read_bytes()
    if how == "changed":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif how == "cut":
        path.write_bytes(content[:-100])
    else:
        path.unlink()
        if how == "linked out":
            (tmp_path / "outside").write_bytes(content)
            path.symlink_to(tmp_path / "outside")
    (fault,) = verify(damaged, MODELS)
    assert str(path.relative_to(damaged)) in fault or name in fault
    assert {"missing": "missing", "linked out": "outside"}.get(how, "changed") in fault


@pytest.mark.parametrize("how", ["value", "cut", "missing", "other objective", "not json", "a list"])
def test_a_damaged_json_is_named(damaged, how):
    path = home_of(damaged) / "pattern.json"
    entry = json.loads(path.read_text())
    if how == "value":
        write_json(path, {**entry, "activation_leaky": entry["activation_leaky"] + 0.01})
    elif how == "cut":
        path.write_text(path.read_text()[:-20])
    elif how == "missing":
        path.unlink()
    elif how == "other objective":
        entry["terms"][0]["channel"] = (entry["neuron"] + 1) % 24
        write_json(path, entry)
    elif how == "not json":
        path.write_bytes(b"\xff\xfe\x00")
    else:
        path.write_text("[]")
    faults = verify(damaged, MODELS)
    assert faults
    assert any(manifest_of(damaged)["entries"][0]["id"] in fault or "pattern.json" in fault for fault in faults)


def test_missing_and_unlisted_files_are_named(damaged):
    (damaged / "index.html").unlink()
    (damaged / "figures" / "figure8.png").unlink()
    (damaged / "entries" / "more.wav").write_bytes(b"x")
    (damaged / ".hidden").write_bytes(b"x")
    (damaged / "README.md").write_text("one may describe a gallery")
    faults = verify(damaged, MODELS)
    assert sorted(faults) == [
        ".hidden: is not in the manifest",
        "entries/more.wav: is not in the manifest",
        "figures/figure8.png: is missing",
        "index.html: is missing",
    ]


def test_a_changed_figure_is_named(damaged):
    path = damaged / "figures" / "figure8.png"
    path.write_bytes(path.read_bytes() + b"\0")
    assert verify(damaged, MODELS) == ["figures/figure8.png: its content has changed"]


def test_an_activation_edited_in_the_manifest_is_named(damaged):
    manifest = manifest_of(damaged)
    manifest["entries"][1]["activation"] += 0.5
    rewrite(damaged, manifest)
    faults = verify(damaged, MODELS)
    assert any("activation is" in fault for fault in faults)
    assert any("differ" in fault for fault in faults)
    assert all(manifest["entries"][1]["id"] in fault for fault in faults)


def test_an_activation_edited_everywhere_is_computed_again(damaged):
    manifest = manifest_of(damaged)
    entry = manifest["entries"][1]
    entry["activation"] += 0.5
    write_json(damaged / entry["folder"] / "pattern.json", {k: v for k, v in entry.items() if k != "folder"})
    rewrite(damaged, manifest)
    (fault,) = verify(damaged, MODELS)
    assert entry["id"] in fault
    assert f"the manifest says {entry['activation']:.5f}" in fault


def test_other_weights_are_named(small):
    (fault,) = verify(small, {"small": MODELS["other"]})
    assert fault.startswith("model small: its weights")
    assert any(fault.startswith("model small:") for fault in verify(small, {"x": MODELS["small"]}))


@pytest.mark.parametrize("edit", ["text", "script"])
def test_an_edited_page_is_named(damaged, edit):
    page = damaged / "index.html"
    text = page.read_text()
    page.write_text(text.replace("</body>", "<p>more</p></body>") if edit == "text" else text + "<script>1</script>")
    assert verify(damaged, MODELS) == ["index.html: does not show this manifest"]


def test_a_page_of_bytes_is_named(damaged):
    (damaged / "index.html").write_bytes(b"\xff\xfe\x00")
    assert verify(damaged, MODELS) == ["index.html: does not show this manifest"]


@pytest.mark.parametrize("folder", ["../outside", "/tmp", "entries/../../outside"])
def test_an_entry_outside_the_gallery_is_refused(damaged, tmp_path, folder):
    shutil.copytree(home_of(damaged), tmp_path / "outside")
    manifest = manifest_of(damaged)
    manifest["entries"][0]["folder"] = folder
    rewrite(damaged, manifest)
    assert any("is outside the gallery" in fault for fault in verify(damaged, MODELS))


def test_an_entry_that_is_a_link_to_outside_is_refused(damaged, tmp_path):
    home = home_of(damaged)
    shutil.move(home, tmp_path / "outside")
    home.symlink_to(tmp_path / "outside")
    assert any("is outside the gallery" in fault for fault in verify(damaged, MODELS))


@pytest.mark.parametrize("name", ["../figure8.png", "/etc/passwd"])
def test_a_figure_outside_the_gallery_is_refused(damaged, name):
    manifest = manifest_of(damaged)
    manifest["figures"][0]["file"] = name
    rewrite(damaged, manifest)
    assert any("lies outside the gallery" in fault for fault in verify(damaged, MODELS))


@pytest.mark.parametrize("name", ["pattern.json", "index.html"])
def test_other_links_to_outside_are_named(damaged, tmp_path, name):
    path = damaged / name if name == "index.html" else home_of(damaged) / name
    shutil.move(path, tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    assert verify(damaged, MODELS)


@pytest.mark.parametrize("kind", ["sound", "picture"])
def test_a_changed_exemplar_is_named(whole, tmp_path, kind):
    folder = shutil.copytree(whole, tmp_path / "damaged")
    path = folder / manifest_of(folder)["entries"][0]["reference"]["top"][0][kind]
    path.write_bytes(path.read_bytes()[:-50])
    assert verify(folder, MODELS)


def test_an_exemplar_outside_the_gallery_is_refused(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "damaged")
    manifest = manifest_of(folder)
    entry = manifest["entries"][0]
    clip = entry["reference"]["top"][0]
    shutil.copy(folder / clip["sound"], tmp_path / "outside.flac")
    clip["sound"] = "../outside.flac"
    write_json(folder / entry["folder"] / "pattern.json", {k: v for k, v in entry.items() if k != "folder"})
    rewrite(folder, manifest)
    assert any("outside" in fault for fault in verify(folder, MODELS))


def test_a_missing_exemplar_is_named(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "damaged")
    name = manifest_of(folder)["entries"][0]["reference"]["top"][0]["sound"]
    (folder / name).unlink()
    assert verify(folder, MODELS) == [f"{name}: is missing"]


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "{", '{"entries": [], "models": []}', '{"entries": 1, "models": 2}']
)
def test_a_manifest_that_is_none_is_refused(damaged, content):
    (damaged / "manifest.json").write_text(content)
    with pytest.raises(GalleryError, match="no gallery to verify"):
        verify(damaged, MODELS)


def test_no_manifest_is_refused(tmp_path):
    with pytest.raises(GalleryError, match="no gallery"):
        verify(tmp_path, MODELS)
    with pytest.raises(GalleryError, match="no gallery"):
        verify(tmp_path / "nowhere", MODELS)


ENTRY_KEYS = ["id", "model", "folder", "files", "activation", "inputs", "reference", "layer", "twin"]


@pytest.mark.parametrize(
    ("how", "key"),
    [
        (how, key)
        for how in ("gone", "word", "none")
        for key in ENTRY_KEYS
        if how != "none" or key not in ("reference", "twin")  # there they are null already
    ],
)
def test_a_manifest_with_a_damaged_entry_is_a_fault_never_a_crash(damaged, how, key):
    manifest = manifest_of(damaged)
    entry = manifest["entries"][0]
    if how == "gone":
        del entry[key]
    else:
        entry[key] = "word" if how == "word" else None
    rewrite(damaged, manifest)
    with contextlib.suppress(GalleryError):  # as good as a fault
        assert verify(damaged, MODELS)


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_finished_gallery_is_only_replaced_on_request(damaged, small):
    (damaged / "entries" / "stale.txt").write_text("of another time")
    before = contents(damaged)
    with pytest.raises(GalleryError, match="--force"):
        build(SMALL, damaged)
    assert contents(damaged) == before
    build(SMALL, damaged, force=True)
    assert contents(damaged) == contents(small)


@pytest.mark.parametrize("force", [False, True])
def test_strangers_files_are_left_alone(tmp_path, force):
    (tmp_path / "entries").mkdir()
    (tmp_path / "entries" / "thesis.txt").write_text("years of work")
    with pytest.raises(GalleryError):
        build(SMALL, tmp_path, force=force)
    assert contents(tmp_path) == {"entries/thesis.txt": b"years of work"}


def test_a_strangers_manifest_is_no_gallery(tmp_path):
    """Web applications and browser extensions have a manifest.json too."""
    (tmp_path / "entries").mkdir()
    (tmp_path / "entries" / "thesis.txt").write_text("years of work")
    (tmp_path / "manifest.json").write_text('{"name": "my application"}')
    before = contents(tmp_path)
    with pytest.raises(GalleryError):
        build(SMALL, tmp_path, force=True)
    assert contents(tmp_path) == before


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    for force in (False, True):
        with pytest.raises(GalleryError, match="is a file"):
            build(SMALL, tmp_path / "out", force=force)


def test_an_empty_folder_is_as_good_as_none(small, tmp_path):
    build(SMALL, tmp_path)
    assert contents(tmp_path) == contents(small)


@pytest.mark.parametrize("changes", [{"models": ()}, {"neurons": 0}, {"neurons": -1}])
def test_settings_that_make_no_gallery_are_refused_before_anything_is_written(tmp_path, changes):
    with pytest.raises(GalleryError):
        build(dataclasses.replace(SMALL, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_models_of_one_name_are_refused(tmp_path, monkeypatch):
    """Training writes OUT/model: two runs give two folders called model."""
    same = {"run1/model": "small", "run2/model": "other"}
    models = {path: dataclasses.replace(MODELS[name], name="model") for path, name in same.items()}
    monkeypatch.setattr(gallery, "load_model", lambda name, device="cpu": models[name])
    settings = dataclasses.replace(SMALL, models=tuple(same))
    try:
        made = build(settings, tmp_path / "out")
    except GalleryError:
        return
    assert len({entry["folder"] for entry in made["entries"]}) == 8


@pytest.mark.parametrize("values", [{}, {"models": ["a"]}, [], {"engine": {"speed": 3}}, {"assess": {"loud": 1}}])
def test_settings_of_another_version_are_refused(values):
    whole = json.loads(json.dumps(dataclasses.asdict(SMALL)))
    given = {**whole, **values} if isinstance(values, dict) and ({"engine", "assess"} & set(values)) else values
    with pytest.raises(GalleryError, match="do not fit"):
        GallerySettings.from_dict(given)


def test_unknown_settings_are_refused():
    with pytest.raises(GalleryError):
        GallerySettings.from_dict({**dataclasses.asdict(SMALL), "neurones": 4})


def references_of(n: int, names: str, seed: int) -> References:
    rng = np.random.default_rng(seed)
    network = MODELS["small"].network
    values = {
        layer: rng.random((len(names), network.n_channels(layer)), np.float32)
        for layer in network.layers
        if layer != "fc1"
    }
    return References(str(n), tuple(names), tuple(names), values)


def test_twins_are_only_sought_on_the_same_clips():
    given = {"small": references_of(1, "abcdef", 0), "other": references_of(2, "uvwxyz", 1)}
    chosen = gallery.choose_neurons([MODELS["small"], MODELS["other"]], given, SMALL)
    assert all(twin is None for pairs in chosen["other"].values() for _, twin in pairs)


def test_models_of_different_width_can_share_a_gallery():
    models = [untrained_model("tl-iminet", 0, {"fc1": width}, name=str(width)) for width in (60, 20)]
    rng = np.random.default_rng(0)
    clips = tuple("abcdef")
    given = {
        str(width): References("f", clips, clips, {key: rng.random((6, width)) for key in ("query", "candidate")})
        for width in (60, 20)
    }
    settings = dataclasses.replace(SMALL, models=("60", "20"), neurons=40)
    chosen = gallery.choose_neurons(models, given, settings)
    assert all(neuron < 20 for neuron, _ in chosen["20"]["fc1"])


# --- names ----------------------------------------------------------------------------------------------------------


class Scripts(HTMLParser):
    """The script elements of a page, with their content, and how many elements there are."""

    def __init__(self):
        super().__init__()
        self.scripts: list[tuple[dict, str]] = []
        self.elements = 0
        self.inside = False

    def handle_starttag(self, tag, attrs):
        self.elements += 1
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, text):
        if self.inside:
            attributes, before = self.scripts[-1]
            self.scripts[-1] = (attributes, before + text)


def parsed(page: str) -> Scripts:
    parser = Scripts()
    parser.feed(page)
    parser.close()
    return parser


@pytest.mark.parametrize(
    "name", ["</script><script>alert(1)</script>", "<!--<script>", "]]></SCRIPT >", "\u2028", "__MANIFEST__", "\\", '"']
)
def test_no_name_can_leave_the_data_of_the_page(whole, name):
    manifest = manifest_of(whole)
    plain = parsed(gallery._page(manifest))
    evil = copy.deepcopy(manifest)
    evil["title"] = evil["models"][0]["name"] = evil["entries"][0]["model"] = name
    evil["entries"][0]["reference"]["top"][0]["clip"] = name
    page = gallery._page(evil)
    found = parsed(page)
    assert found.elements == plain.elements
    assert len(found.scripts) == len(plain.scripts)
    (data,) = [text for attributes, text in found.scripts if attributes.get("id") == "manifest"]
    assert json.loads(data) == evil
    assert page.count("<script") == gallery._page(manifest).count("<script")


@pytest.mark.browser
def test_the_page_says_only_what_is_there(whole, browser, tmp_path):
    manifest = manifest_of(whole)
    everything = manifest | {"entries": list(manifest["entries"])}
    towers = [entry for entry in manifest["entries"] if "recording" in entry["inputs"]]
    for entry in towers:  # a net of one tower has an fc1 too
        entry["inputs"] = {"recording": entry["inputs"]["recording"]}
        entry["inputs"]["recording"]["sounds"].pop("direct", None)
        entry["pair"] = None
    assert any(entry["layer"] == "fc1" for entry in towers)
    page = browser.new_page()
    said = {}
    for name, shown in (("both", manifest_of(whole)), ("one", everything | {"entries": towers})):
        (tmp_path / f"{name}.html").write_text(gallery._page(shown), encoding="utf-8")
        page.goto((tmp_path / f"{name}.html").as_uri())
        said[name] = page.inner_text("header") + page.inner_text("#form") + page.inner_text("#grid")
    page.close()
    for words in ("compares vocal imitations with recordings", "two sounds", "Pairs", "Imitation", "The direct sound"):
        assert words in said["both"] and words not in said["one"], words
    assert "Recording tower, fc1" in said["one"] and "The Griffin-Lim sound" in said["one"]


def test_the_page_needs_no_server_and_sets_no_html(whole):
    page = (whole / "index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/", "")
    for call in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch("):
        assert call not in page


@pytest.mark.parametrize("name", ["a$_$b.wav", "cheap $^^$.wav"])
def test_a_clip_of_any_name_can_be_drawn(tmp_path, name):
    config = MODELS["small"].frontends["recording"].config
    save_figure(tmp_path / "a.png", plot_spectrogram(np.random.default_rng(0).random(config.shape), config, name))


# --- one entry ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "objective",
    [
        objectives.channel("recording.conv2", 3),
        objectives.unit("imitation.conv2", 5, (3, 40)),
        objectives.fc_unit(7),
        objectives.channel("recording.conv1", 3) - 0.3 * objectives.channel("recording.conv2", 1),
        objectives.direction("recording.conv1", np.arange(24.0)),
    ],
    ids=str,
)
def test_a_pattern_comes_back_from_its_entry(tmp_path, objective):
    model = MODELS["first"]
    pattern = maximize(model, objective, ENGINE, seed=3)
    assessed = assess(model, pattern, SOUNDS)
    pattern = assessed.pattern
    written = write_entry(tmp_path, assessed)
    assert json.loads(json.dumps(written)) == json.loads((tmp_path / "pattern.json").read_text())
    again = read_pattern(tmp_path)
    for field in dataclasses.fields(Pattern):
        one, other = getattr(pattern, field.name), getattr(again, field.name)
        if field.name == "inputs":
            assert list(one) == list(other)
            assert all(np.array_equal(one[role], other[role]) and other[role].dtype == np.float32 for role in one)
        elif field.name == "trace":
            np.testing.assert_allclose(one, other, atol=1e-5)
        else:
            assert one == other, field.name
    assert written["kind"] == {
        "recording.conv2:3": "channel",
        "imitation.conv2:5@3,40": "unit",
        "fc1:7": "fc_unit",
        "recording.conv1:direction": "direction",
    }.get(str(objective), "sum")
    for side in written["inputs"].values():
        assert all(math.isfinite(sound["log_mel_error_db"]) for sound in side["sounds"].values())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*written["files"], "pattern.json"])


DAMAGES = {
    "no json": lambda home: (home / "pattern.json").unlink(),
    "no array": lambda home: (home / "recording.npy").unlink(),
    "text for an array": lambda home: (home / "recording.npy").write_text("nothing"),
    "cut array": lambda home: (home / "recording.npy").write_bytes((home / "recording.npy").read_bytes()[:-10]),
    "other shape": lambda home: np.save(home / "recording.npy", np.zeros((3, 4), np.float16)),
    "nan": lambda home: np.save(home / "recording.npy", np.full((128, 128), np.nan, np.float16)),
    "pickled": lambda home: np.save(home / "recording.npy", np.array([{}], object), allow_pickle=True),
    "empty array": lambda home: (home / "recording.npy").write_bytes(b""),
    "zip": lambda home: (home / "recording.npy").write_bytes(b"PK\x03\x04 no zip"),
    "engine": lambda home: edit(home, engine={"speed": 1}),
    "terms": lambda home: edit(home, terms=None),
    "inputs": lambda home: edit(home, inputs=[]),
    "trace": lambda home: edit(home, trace=["x"]),
}


def edit(home: Path, **values) -> None:
    write_json(home / "pattern.json", {**json.loads((home / "pattern.json").read_text()), **values})


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_entry_that_is_damaged_is_refused(damaged, damage):
    home = home_of(damaged)
    DAMAGES[damage](home)
    with pytest.raises(IminetVizError, match="not a whole entry"):
        read_pattern(home)


def test_a_clip_that_cannot_be_read_is_listed_and_the_rest_is_built(small, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        save_audio(clips / f"{number}.wav", (0.1 * rng.standard_normal(44_100)).astype(np.float32), 44_100)
    (clips / "broken.ogg").write_bytes(b"OggS but no more")
    seen = []
    manifest = gallery.build(
        SMALL, tmp_path / "out", clips, progress=lambda what, done, total: seen.append((done, total))
    )
    assert [failure["id"] for failure in manifest["failed"]] == ["broken.ogg"]
    assert "broken.ogg" in manifest["failed"][0]["reason"]
    assert len(manifest["entries"]) == 4 and seen[-1] == (4, 4)
