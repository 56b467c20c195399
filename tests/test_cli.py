"""The command line: help from anywhere, one sentence for a mistake, exit status 0, 1 or 2, JSON for machines."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from iminet_viz import checkpoint, cli
from iminet_viz import shipped as shelf
from iminet_viz.audio import read_native, save_audio
from iminet_viz.checkpoint import save_model, untrained_model
from iminet_viz.gallery import read_pattern

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("flac", "direct.flac", "npy")  # files of a side of a pattern
VERBS = [
    [],
    ["train"],
    ["join"],
    ["search"],
    ["evaluate"],
    ["experiment"],
    ["experiment", "table1"],
    ["models"],
    ["reference"],
    ["imitate"],
    ["maximize"],
    ["explain"],
    ["compare"],
    ["gallery"],
    ["gallery", "build"],
    ["gallery", "verify"],
    ["index"],
    ["index", "add"],
    ["index", "status"],
    ["index", "remove"],
    ["index", "verify"],
    ["index", "compact"],
    ["index", "duplicates"],
    ["app"],
    ["study"],
    ["study", "export"],
    ["data"],
    ["data", "list"],
    ["data", "check"],
    ["data", "download"],
    ["data", "unpack"],
    ["corpus"],
    ["corpus", "make"],
]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with one untrained model of each kind that the verbs below need."""
    folder = tmp_path_factory.mktemp("models")
    for name, kind, architecture in (("pair", "tl-iminet", {}), ("tower", "sound-tower", {"classes": ["a", "b"]})):
        model = untrained_model(kind, 0, architecture)
        data = {"data": {"name": "none", "licence": "none"}}
        save_model(folder / name, model.network, model.db_statistics, data, {})
    return folder


@pytest.fixture
def shipped(models, monkeypatch) -> Path:
    """The untrained models in place of the shipped ones."""
    monkeypatch.setattr(shelf, "SHIPPED", models)
    return models


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for index in range(3):
        save_audio(folder / f"{index}.wav", 0.1 * rng.standard_normal(8_000).clip(-5, 5), 16_000)
    return folder


def mistake(result: tuple[int, str, str], status: int = 1) -> str:
    """The sentence on stderr; nothing on stdout, no traceback."""
    code, out, err = result
    assert code == status, (out, err)
    assert out == ""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.strip()]
    assert lines[-1].startswith("Error: ")
    return lines[-1]


# --- from anywhere, at once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: " ".join(verb) or "iminet-viz")
def test_help_works_from_another_directory(tmp_path, verb):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *verb, "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: ")
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_help_loads_nothing_heavy():
    code = (
        "import sys, iminet_viz, iminet_viz.cli as cli\n"
        "sys.argv = ['iminet-viz', '--help']\n"
        "cli.run()\n"
        "heavy = {'torch', 'librosa', 'matplotlib', 'gradio', 'lightning', 'numpy', 'scipy', 'captum', 'soundfile'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stderr


def test_every_verb_is_in_the_help(call):
    status, out, _ = call("--help")
    assert status == 0
    for name in ("train", "evaluate", "models", "reference", "maximize", "gallery"):
        assert f"\n  {name} " in out
    assert {" ".join(verb) for verb in VERBS if verb} == {
        *cli.main.commands,
        *(
            f"{group.name} {name}"
            for group in (cli.experiment, cli.gallery, cli.index, cli.study, cli.data, cli.corpus)
            for name in group.commands
        ),
    }


def test_the_version_is_that_of_the_package(call):
    from iminet_viz import __version__

    assert call("--version") == (0, f"iminet-viz, version {__version__}\n", "")


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["maximize", "nobody", "imitation.conv1", "0", "--out", "OUT"],
        ["evaluate", "nobody", "--data", "OUT"],
        ["reference", "nobody", "OUT"],
        ["gallery", "build", "--models", "nobody", "--out", "OUT"],
        ["gallery", "build", "--models", "pair", "nobody", "--out", "OUT"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_an_unknown_model_is_one_sentence_with_the_known_ones(call, shipped, tmp_path, arguments):
    given = [str(tmp_path / "out") if part == "OUT" else part for part in arguments]
    sentence = mistake(call(*given))
    assert "'nobody'" in sentence
    assert "pair, tower" in sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", ["nowhere", "a/b/c"])
def test_a_missing_folder_is_one_sentence(call, models, tmp_path, folder):
    missing = tmp_path / folder
    assert str(missing) in mistake(call("gallery", "verify", missing))
    assert str(missing) in mistake(call("reference", models / "pair", missing, "--out", tmp_path / "out"))
    assert "nowhere" in mistake(
        call(
            "gallery",
            "build",
            "--models",
            models / "tower",
            "--out",
            tmp_path / "g",
            "--exemplars",
            tmp_path / "nowhere",
        )
    )
    assert "json" in mistake(call("gallery", "build", "--manifest", missing / "m.json", "--out", tmp_path / "g"))


@pytest.mark.parametrize("verb", ["language-tower", "sound-tower", "tl-iminet"])
def test_training_without_data_is_one_sentence(call, tmp_path, verb):
    result = call("train", verb, "--data", tmp_path / "nowhere", "--out", tmp_path / "out", "--device", "cpu")
    assert "nowhere" in mistake(result) or "test" in mistake(result)


@pytest.mark.parametrize(
    ("layer", "neuron", "more", "says"),
    [
        ("recording.conv1", "24", [], "neurons 0 to 23, 24"),
        ("fc1", "108", [], "0 to 107"),
        ("imitation.conv4", "0", [], "imitation.conv3"),
        ("conv1", "0", [], "fc1"),
        ("imitation.conv1", "0", ["--unit", "34,0"], "34 x 477"),
        ("fc1", "0", ["--unit", "1,1"], "fc_unit"),
        ("imitation.conv1", "0", ["--learning-rate", "0"], "learning_rate"),
        ("imitation.conv1", "0", ["--jitter", "-1"], "jitter"),
        ("imitation.conv1", "0", ["--device", "quantum"], "quantum"),
    ],
)
def test_what_cannot_be_maximised_is_one_sentence(call, models, tmp_path, layer, neuron, more, says):
    out = tmp_path / "out"
    result = call("maximize", models / "pair", layer, neuron, "--out", out, "--steps", "1", *more)
    assert says in mistake(result)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], ""),
        (["dance"], "No such command"),
        (["maximize"], "Missing argument"),
        (["maximize", "m", "imitation.conv1", "x", "--out", "o"], "not a valid integer"),
        (["maximize", "m", "fc1", "-1", "--out", "o"], "neurons count from 0"),
        (["maximize", "m", "fc1", "-12", "--out", "o"], "neurons count from 0"),
        (["maximize", "m", "fc1", "0", "--out", "o", "--soud", "both"], "'--sound'"),
        (["maximize", "m", "imitation.conv1", "0", "--out", "o", "--steps", "0"], "0 is not in the range"),
        (["maximize", "m", "imitation.conv1", "0"], "--out"),
        (["gallery", "build", "--models", "PAIR", "--out", "o", "--steps", "9" * 20], "is not in the range"),
        (["compare", "PAIR", "PAIR", "--out", "o", "--steps", "9" * 20], "is not in the range"),
        (["explain", "PAIR", "q", "c", "--out", "o", "--steps", "9" * 20], "is not in the range"),
        (["maximize", "PAIR", "imitation.conv1", "0", "--out", "o", "--unit", "3"], "BAND,FRAME"),
        (["maximize", "PAIR", "imitation.conv1", "0", "--out", "o", "--unit", "1,2,3"], "BAND,FRAME"),
        (["gallery", "build", "--out", "o"], "at least one model"),
        (["gallery", "build", "--out", "o", "--models", "m", "--neurons", "0"], "0 is not in the range"),
        (["gallery", "build", "--out", "o", "--models", "m", "--manifest", "f"], "names the models itself"),
        (["gallery", "build", "--out", "o", "--models"], "requires an argument"),
        (["train", "sound-tower", "--data", "d", "--out", "o", "--set", "epochs"], "KEY=VALUE"),
        (["train", "no-tower", "--data", "d", "--out", "o"], "no-tower"),
        (["models", "--colour"], "No such option"),
    ],
    ids=lambda value: " ".join(value[:3] + value[-2:]) if isinstance(value, list) else "",
)
def test_wrong_usage_has_status_2(call, models, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(*(models / "pair" if part == "PAIR" else part for part in arguments))
    assert status == 2
    assert says in out + err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", ["colour=red", "epochs=-1", "epochs=many", "batch_size=0", "model=tl-iminet"])
def test_a_recipe_that_cannot_be_run_is_one_sentence(call, tmp_path, change):
    sentence = mistake(call("train", "sound-tower", "--data", tmp_path, "--out", tmp_path / "o", "--set", change))
    assert change.partition("=")[0] in sentence or "recipe" in sentence or "folder" in sentence


@pytest.mark.parametrize("content", ["[]", "{", '{"model": "tl-iminet"}'])
def test_a_recipe_file_of_something_else_is_one_sentence(call, tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    arguments = ("train", "sound-tower", "--data", tmp_path, "--out", tmp_path / "o", "--recipe", tmp_path / "r.json")
    assert "r.json" in mistake(call(*arguments))


@pytest.mark.parametrize(
    ("verb", "seed"),
    [
        ("maximize", 2**64),
        ("gallery", -1),
        ("gallery", 2**64),
        ("maximize", -1),
    ],
)
def test_any_seed_works_or_is_refused(call, models, tmp_path, verb, seed):
    arguments = {
        "maximize": ("maximize", models / "tower", "recording.conv3", "0", "--out", tmp_path / "o", "--steps", "1"),
        "gallery": ("gallery", "build", "--models", models / "tower", "--neurons", "1", "--steps", "1", "--out"),
    }[verb] + ((tmp_path / "o",) if verb == "gallery" else ())
    status, _, err = call(*arguments, "--seed", seed)
    assert status in (0, 1, 2)
    assert "Traceback" not in err


# --- models, reference ----------------------------------------------------------------------------------------------


def test_models_are_listed(call, shipped):
    status, out, _ = call("models", "--json")
    assert status == 0
    listed = json.loads(out)
    assert listed["default"] is None  # none of these is
    rows = {row["name"]: row for row in listed["models"]}
    assert list(rows) == ["pair", "tower"]
    assert rows["tower"]["role"] == "starts the recording tower of TL-IMINET"
    assert rows["pair"]["parameters"] == 799_417
    assert rows["pair"]["kind"] == "tl-iminet"
    assert rows["pair"]["bytes"] == (shipped / "pair" / "weights.safetensors").stat().st_size
    assert rows["pair"]["fingerprint"] == checkpoint.load_model("pair").fingerprint
    status, out, _ = call("models")
    assert status == 0
    assert "799,417 parameters" in out


def test_no_models_are_an_empty_list(call, monkeypatch, tmp_path):
    monkeypatch.setattr(shelf, "SHIPPED", tmp_path)
    status, out, _ = call("models", "--json")
    assert (status, json.loads(out)) == (0, {"default": None, "models": []})


def test_a_reference_is_stored_once(call, models, recordings, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "bad.wav").write_bytes(b"")
    path = tmp_path / "r.safetensors"
    status, out, err = call("reference", models / "tower", recordings, tmp_path / "more", "--out", path)
    assert status == 0
    assert out == f"3 clips, 1 left out: {path}\n"
    assert "bad.wav" in err
    from iminet_viz.patterns.evidence import load_references

    stored = load_references(path, checkpoint.load_model(models / "tower"))
    assert stored.clips == tuple(f"{recordings.name}/{index}.wav" for index in range(3))
    before = path.read_bytes()
    assert "--force" in mistake(call("reference", models / "tower", recordings, "--out", path))
    assert path.read_bytes() == before
    assert call("reference", models / "tower", recordings, "--out", path, "--force")[0] == 0
    for force in ((), ("--force",)):
        result = call("reference", models / "tower", recordings, "--out", tmp_path / "more", *force)
        assert mistake(result) == f"Error: {tmp_path / 'more'}: is a folder, expected a file"


# --- patterns -------------------------------------------------------------------------------------------------------


def test_maximize_writes_picture_sound_array_and_json(call, models, tmp_path):
    out = tmp_path / "deep" / "pattern"
    arguments = (
        "maximize",
        models / "pair",
        "fc1",
        "7",
        "--out",
        out,
        "--steps",
        "2",
        "--device",
        "cpu",
        "--seed",
        "3",
    )
    status, text, _ = call(*arguments, "--json")
    assert status == 0
    entry = json.loads(text)
    assert entry == json.loads((out / "pattern.json").read_text())
    assert (entry["id"], entry["seed"], entry["steps"]) == ("pair/fc1/7", 3, 2)
    roles = ("imitation", "recording")
    names = {"pattern.json", "pattern.png", *(f"{role}.{kind}" for role in roles for kind in KINDS)}
    assert {path.name for path in out.iterdir()} == names
    pattern = read_pattern(out)
    assert pattern.neuron == 7
    for role in roles:
        waveform, rate = read_native(out / f"{role}.flac")
        assert (len(waveform), rate) == (pattern.frontends[role].n_samples, pattern.frontends[role].sample_rate)
        assert np.abs(waveform).max() > 0.4

    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert "--force" in mistake(call(*arguments))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    status, text, _ = call(*arguments, "--force")
    assert status == 0
    assert text.startswith("fc1:7 of pair: activation ")
    assert str(out) in text
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before  # the same seed, the same bytes


@pytest.mark.parametrize("sound", ["griffin-lim", "direct"])
def test_maximize_writes_the_sound_that_was_asked_for(call, models, tmp_path, sound):
    arguments = ("maximize", models / "tower", "recording.conv3", "5", "--out", tmp_path / "o", "--steps", "1")
    status, text, err = call(*arguments, "--sound", sound)
    assert status == 0, err
    name = {"griffin-lim": "recording.flac", "direct": "recording.direct.flac"}[sound]
    assert [path.name for path in (tmp_path / "o").glob("*.flac")] == [name]
    entry = json.loads((tmp_path / "o" / "pattern.json").read_text())
    assert list(entry["inputs"]["recording"]["sounds"]) == [sound] and f"{sound} sound: " in text
    of_its_own = {"griffin-lim": ("activation_kept", "log_mel_error_db", "crest_db"), "direct": ("direct_kept",)}
    for method, keys in of_its_own.items():  # nothing is said of a sound that is not there
        assert [entry["evidence"][key] is not None for key in keys] == [method == sound] * len(keys)


def test_maximize_says_what_the_sides_of_a_pair_give(call, models, tmp_path):
    arguments = ("maximize", models / "pair", "fc1", "7", "--out", tmp_path / "o", "--steps", "2", "--sound")
    status, text, err = call(*arguments, "griffin-lim")
    assert status == 0, err
    entry = json.loads((tmp_path / "o" / "pattern.json").read_text())
    share = entry["evidence"]["imitation_share"]
    assert f"imitation's share: {share:.0%}\n" in text and "alone, with silence on the other side: the imit" in text
    assert "kept after a swap" not in text  # there is no other pair


def test_maximize_compares_with_recordings_of_ones_own(call, models, recordings, tmp_path):
    out = tmp_path / "o"
    (tmp_path / "mixed").mkdir()
    for path in recordings.iterdir():
        shutil.copy(path, tmp_path / "mixed")
    (tmp_path / "mixed" / "broken.wav").write_text("not a sound")
    arguments = ("maximize", models / "pair", "fc1", "27", "--out", out, "--steps", "1", "--sound", "griffin-lim")
    status, text, err = call(*arguments, "--exemplars", tmp_path / "mixed")
    assert status == 0 and "left out: " in err and "broken.wav" in err
    entry = json.loads((out / "pattern.json").read_text())
    top = entry["reference"]["top"]
    assert top
    assert entry["reference"]["clips"] == len(list(recordings.iterdir())) ** 2
    for clip in top:
        assert clip["imitation"] in text
        assert all((out / name).is_file() for name in (*clip["sounds"], *clip["pictures"]))
    assert entry["inputs"]["imitation"]["real_sounds"]["n"] == len(list(recordings.iterdir()))
    (out / "exemplars" / "mine.txt").write_text("stays")
    assert call(*arguments, "--force")[0] == 0
    assert [path.name for path in (out / "exemplars").iterdir()] == ["mine.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert str(empty) in mistake(call(*arguments, "--force", "--exemplars", empty))
    assert (out / "pattern.json").is_file()


@pytest.mark.parametrize(("kind", "layer"), [("aligned", "conv2"), ("iminet", "imitation.conv2")])
def test_maximize_draws_what_cannot_sound(call, tmp_path, kind, layer):
    model = checkpoint.untrained_model(kind)
    data = {"data": {"name": "none", "licence": "none"}}
    save_model(tmp_path / "net", model.network, model.db_statistics, data, {})
    status, out, err = call("maximize", tmp_path / "net", layer, "3", "--out", tmp_path / "o", "--steps", "1")
    assert status == 0 and "no sound: only log-mel" in out, err
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["imitation.npy", "pattern.json", "pattern.png"]
    arguments = ("gallery", "build", "--models", tmp_path / "net", "--out", tmp_path / "g")
    assert "no log-mel" in mistake(call(*arguments)) and not (tmp_path / "g").exists()


def test_maximize_takes_the_engines_options(call, models, tmp_path):
    options = "--steps 2 --parameterization fourier --slope 0.1 --learning-rate 0.02 --total-variation 0.5 --l2 0.25"
    more = "--jitter 3 --unconstrained --unit 2,1"
    arguments = ("maximize", models / "tower", "recording.conv3", "5", "--out", tmp_path / "o", "--json")
    status, text, err = call(*arguments, *options.split(), *more.split())
    assert status == 0, err
    engine = json.loads(text)["engine"]
    given = {
        "steps": 2,
        "learning_rate": 0.02,
        "slope": 0.1,
        "parameterization": "fourier",
        "reachable": False,
        "total_variation": 0.5,
        "l2": 0.25,
        "jitter": 3,
    }
    assert {key: engine[key] for key in given} == given
    assert json.loads(text)["kind"] == "unit"
    assert json.loads(text)["terms"][0]["position"] == [2, 1]


def test_maximize_unconstrained(call, models, tmp_path):
    arguments = ("maximize", models / "tower", "recording.conv3", "5", "--out", tmp_path / "o", "--steps", "2")
    assert call(*arguments, "--unconstrained")[0] == 0


def test_force_leaves_nothing_of_the_pattern_that_was_there(call, models, tmp_path):
    out = tmp_path / "o"
    call("maximize", models / "pair", "fc1", "7", "--out", out, "--steps", "1")
    call("maximize", models / "pair", "recording.conv3", "7", "--out", out, "--steps", "1", "--force")
    names = {path.name for path in out.iterdir()}
    assert names == {"pattern.json", "pattern.png", *(f"recording.{kind}" for kind in KINDS)}


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["plain", "force"])
@pytest.mark.parametrize("name", ["recording.flac", "imitation.npy", "pattern.png", "pattern.json"])
def test_files_that_are_of_no_pattern_are_never_touched(call, models, tmp_path, name, force):
    out = tmp_path / "o"
    out.mkdir()
    (out / name).write_text('{"mine": 1}')
    result = call("maximize", models / "tower", "recording.conv3", "0", "--out", out, "--steps", "1", *force)
    assert f"holds {name}, which is of no pattern" in mistake(result)
    assert [path.name for path in out.iterdir()] == [name] and (out / name).read_text() == '{"mine": 1}'


def test_force_spares_a_strangers_file_beside_a_pattern(call, models, tmp_path):
    out = tmp_path / "o"
    call("maximize", models / "tower", "recording.conv3", "0", "--out", out, "--steps", "1")
    (out / "imitation.npy").write_text("mine")  # a pattern of the recording tower has none
    result = call("maximize", models / "tower", "recording.conv3", "1", "--out", out, "--steps", "1", "--force")
    assert "holds imitation.npy" in mistake(result)
    assert (out / "imitation.npy").read_text() == "mine"
    assert json.loads((out / "pattern.json").read_text())["neuron"] == 0


def test_a_pattern_that_cannot_be_written_is_refused_before_the_work(call, models, tmp_path, monkeypatch):
    from iminet_viz.patterns import engine

    monkeypatch.setattr(engine, "maximize_many", lambda *_: pytest.fail("the work was begun"))
    (tmp_path / "file").write_text("mine")
    arguments = ("maximize", models / "tower", "recording.conv3", "0", "--steps", "1", "--out")
    assert "file" in mistake(call(*arguments, tmp_path / "file" / "o"))
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert "cannot be written to" in mistake(call(*arguments, tmp_path / "o"))


def test_out_that_is_a_file_is_one_sentence(call, models, tmp_path):
    (tmp_path / "o").write_text("mine")
    result = call("maximize", models / "tower", "recording.conv3", "0", "--out", tmp_path / "o", "--steps", "1")
    assert str(tmp_path / "o") in mistake(result)
    result = call("gallery", "build", "--models", models / "tower", "--out", tmp_path / "o")
    assert str(tmp_path / "o") in mistake(result)
    assert (tmp_path / "o").read_text() == "mine"


# --- galleries ------------------------------------------------------------------------------------------------------


def test_a_gallery_is_built_verified_and_built_again(call, shipped, recordings, tmp_path):
    out = tmp_path / "g"
    options = ("--neurons", "1", "--steps", "1", "--device", "cpu")
    arguments = ("gallery", "build", "--models", "tower", "--out", out, "--exemplars", recordings, *options)
    status, text, _ = call(*arguments, "--json")
    assert status == 0
    found = json.loads(text)
    assert (found["entries"], found["failed"], found["of"]) == (4, [], 3)
    assert Path(found["page"]).is_file()

    status, text, _ = call("gallery", "verify", out, "--json")
    assert (status, json.loads(text)) == (0, {"entries": 4, "faults": []})
    assert call("gallery", "verify", out)[1] == "4 patterns, 0 faults\n"

    assert "--force" in mistake(call(*arguments))
    again = tmp_path / "again"
    arguments = ("gallery", "build", "--manifest", out / "manifest.json", "--exemplars", recordings, "--out", again)
    status, text, _ = call(*arguments, "--device", "cpu")
    assert status == 0
    assert text.splitlines()[0].startswith("4 patterns; ")
    assert text.splitlines()[-1] == f"Open {(again / 'index.html').as_uri()}"
    names = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    assert names == {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    assert all((again / name).read_bytes() == (out / name).read_bytes() for name in names)

    picture = next(out.glob("entries/*/*/*/pattern.png"))
    picture.write_bytes(b"")
    status, text, _ = call("gallery", "verify", out, "--json")
    assert status == 1
    (fault,) = json.loads(text)["faults"]
    assert str(picture.relative_to(out)) in fault
    status, text, _ = call("gallery", "verify", out)
    assert (status, text.splitlines()) == (1, [fault, "4 patterns, 1 faults"])


def test_a_gallery_of_a_model_of_ones_own_can_be_verified(call, models, tmp_path):
    out = tmp_path / "g"
    options = ("--neurons", "1", "--steps", "1", "--out", out)
    assert call("gallery", "build", "--models", models / "tower", *options)[0] == 0
    status, text, err = call("gallery", "verify", out)
    assert status == 0, text + err


def test_force_removes_nothing_before_the_arguments_are_known_to_be_good(call, models, tmp_path):
    out = tmp_path / "pattern"
    arguments = ("maximize", models / "tower", "recording.conv3", "0", "--out", out, "--steps", "1")
    assert call(*arguments)[0] == 0
    before = sorted(path.name for path in out.iterdir())
    assert call("maximize", models / "tower", "recording.conv3", "999", "--out", out, "--force")[0] == 1
    assert sorted(path.name for path in out.iterdir()) == before
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "recipe.json").write_text("{}")
    train = ("train", "tl-iminet", "--data", tmp_path / "nowhere", "--out", run, "--force")
    assert call(*train)[0] == 1 and call(*train, "--set", "bogus=1")[0] == 1
    assert (run / "model").is_dir() and (run / "recipe.json").is_file()
