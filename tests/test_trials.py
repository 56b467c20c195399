"""`iminet-viz evaluate --pairs`: who is searched among whom, what is right, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from iminet_viz.audio import save_audio
from iminet_viz.baselines import BASELINES
from iminet_viz.checkpoint import find_model, read_json, save_model, shipped_models, untrained_model
from iminet_viz.datasets import pairs_table, telephone
from iminet_viz.errors import DatasetError
from iminet_viz.scoring import load_scorer
from iminet_viz.trials import Trial, compare_trial, evaluate_trial, run_trial

NAMES = ("hat", "kick", "meow", "wind")


def write_sound(path: Path, seed: int, colour: int) -> None:
    """Noise of one of four colours and shapes."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(8_000))
    band = np.arange(len(spectrum)) // 1_000 == colour
    shape = np.exp(-np.arange(8_000) / (500 * 3**colour))
    save_audio(path, (5 * np.fft.irfft(spectrum * (band + 0.01)) * shape * 0.05).clip(-1, 1), 16_000)


def write_table(folder: Path, rows: list[str], header: str = "imitation,recording") -> Path:
    (folder / "pairs.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "pairs.csv"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for colour, name in enumerate(NAMES):
        write_sound(folder / "sounds" / f"{name}.wav", colour, colour)
        for take in range(2):
            write_sound(folder / "voices" / f"{name}{take}.wav", 100 + 10 * colour + take, colour)
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "t")
    write_table(tmp_path / "t", [f"voices/{n}{t}.wav,sounds/{n}.wav" for n in NAMES for t in range(2)])
    return tmp_path / "t"


def trial_of(folder: Path, more: Path | None = None):
    trial, (scores,) = run_trial(pairs_table.load(folder), folder, [load_scorer("mfcc")], more)
    return trial, scores


def figures(call, *arguments: object) -> dict:
    status, out, err = call("evaluate", *arguments, "--json")
    assert status == 0, err
    return json.loads(out)


def test_the_figures_of_a_table(call, folder):
    found = figures(call, "mfcc", "--pairs", folder / "pairs.csv")
    assert {"mrr", "interval", "chance", "permuted_mrr", "p", "n", "candidates"} <= set(found)
    assert (found["n"], found["candidates"], found["left_out"]) == (8, 4, [])
    assert found["mrr"] == 1  # four colours are easy
    assert found["chance"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert found["permuted_mrr"] == pytest.approx(found["chance"], abs=0.03)
    assert found["p"] < 0.05
    assert "within_category" not in found and "paired" not in found
    assert found == figures(call, "mfcc", "--pairs", folder)  # the table's folder

    status, out, err = call("evaluate", "mfcc", "--pairs", folder)
    assert status == 0
    assert out.startswith("mfcc: MRR 1.000 [1.000, 1.000], chance 0.521")
    assert "n 8, 4 candidates\n    recall@1 1.000" in out
    assert "files read" in err or "queries searched" in err


def test_categories_give_figures_within_them(call, folder):
    kinds = {"hat": "drums", "kick": "drums", "meow": "rest", "wind": "rest"}
    rows = [f"voices/{n}{t}.wav,sounds/{n}.wav,{kinds[n]}" for n in NAMES for t in range(2)]
    write_table(folder, rows, "imitation,recording,category")
    found = figures(call, "dtw", "--pairs", folder)["within_category"]
    assert {name: (part["n"], part["candidates"]) for name, part in found["categories"].items()} == {
        "drums": (4, 2),
        "rest": (4, 2),
    }
    assert found["mrr"] == pytest.approx(np.mean([part["mrr"] for part in found["categories"].values()]))
    assert found["chance"] == pytest.approx(0.75)
    out = call("evaluate", "dtw", "--pairs", folder)[1]
    assert "    within category: MRR " in out and "    within drums: MRR " in out


def test_two_systems_are_compared_over_the_same_queries(call, folder):
    found = figures(call, "log-mel+dtw", "--pairs", folder, "--against", "mfcc")
    assert found["against"]["model"] == "mfcc"
    paired = found["paired"]
    assert paired["difference"] == pytest.approx(found["mrr"] - found["against"]["mrr"])
    assert (paired["n"], paired["clusters"]) == (8, 4)
    assert paired["interval"][0] <= paired["difference"] <= paired["interval"][1]
    assert 0 <= paired["p"] <= 1
    out = call("evaluate", "log-mel+dtw", "--pairs", folder, "--against", "mfcc")[1]
    assert out.splitlines()[-1].startswith("log-mel+dtw over mfcc: ")


def test_a_model_folder_and_a_fusion_with_it(call, folder, tmp_path):
    model = untrained_model("tl-iminet")
    save_model(tmp_path / "m", model.network, model.db_statistics, {"data": {"name": "", "licence": ""}}, {})
    for name in (str(tmp_path / "m"), f"0.5*{tmp_path / 'm'}+2*cqt"):
        assert figures(call, name, "--pairs", folder)["candidates"] == 4


def test_a_folder_adds_candidates_and_names_what_it_cannot_read(call, folder, tmp_path):
    more = tmp_path / "more"
    for colour in range(4):
        write_sound(more / f"extra{colour}.wav", 500 + colour, colour)
    (more / "broken.wav").write_bytes(b"RIFF")
    (more / "notes.txt").write_text("no sound")
    (more / "link.wav").symlink_to(folder / "sounds" / "hat.wav")  # a candidate already
    found = figures(call, "mfcc", "--pairs", folder, "--candidates", more)
    assert (found["n"], found["candidates"]) == (8, 8)
    assert [entry["file"] for entry in found["left_out"]] == [str(more / "broken.wav")]
    status, _, err = call("evaluate", "mfcc", "--pairs", folder, "--candidates", more)
    assert status == 0
    assert "left out: " in err and "broken.wav" in err


def test_several_rows_of_one_imitation_are_several_right_answers(folder):
    rows = ["voices/hat0.wav,sounds/wind.wav", "voices/hat0.wav,sounds/hat.wav", "voices/kick0.wav,sounds/kick.wav"]
    write_table(folder, rows)
    trial, scores = trial_of(folder)
    assert [path.name for path in trial.queries] == ["hat0.wav", "kick0.wav"]
    assert [path.name for path in trial.candidates] == ["hat.wav", "kick.wav", "wind.wav"]
    assert trial.answers.tolist() == [[True, False, True], [False, True, False]]
    assert evaluate_trial(trial, scores).overall.mrr == 1


def test_a_query_is_never_its_own_candidate(folder):
    """Two chains, as in telephone-imitations: hat0 is imitated by hat1, and imitates hat."""
    rows = ["voices/hat0.wav,sounds/hat.wav", "voices/hat1.wav,voices/hat0.wav", "voices/kick0.wav,sounds/kick.wav"]
    write_table(folder, rows)
    trial, scores = trial_of(folder)
    names = [path.name for path in trial.candidates]
    assert sorted(names) == ["hat.wav", "hat0.wav", "kick.wav"]
    own = [[query.name == name for name in names] for query in trial.queries]
    np.testing.assert_array_equal(trial.excluded, own)
    np.testing.assert_array_equal(np.isneginf(scores), own)
    assert np.isfinite(scores).sum() == 8


def test_copies_are_what_they_are_copies_of(folder, tmp_path):
    shutil.copy(folder / "voices" / "hat0.wav", folder / "sounds" / "copy of the query.wav")
    shutil.copy(folder / "sounds" / "hat.wav", folder / "sounds" / "copy of the answer.wav")
    trial, _ = trial_of(folder, folder / "sounds")
    names = [path.name for path in trial.candidates]
    hat0 = next(row for row, query in enumerate(trial.queries) if query.name == "hat0.wav")
    assert {names[column] for column in np.flatnonzero(trial.answers[hat0])} == {"hat.wav", "copy of the answer.wav"}
    assert [names[column] for column in np.flatnonzero(trial.excluded[hat0])] == ["copy of the query.wav"]
    assert trial.excluded.sum() == 1
    shutil.copy(folder / "sounds" / "hat.wav", folder / "voices" / "hat0.wav")  # played back, it would find itself
    with pytest.raises(DatasetError, match=r"hat0\.wav with a copy of itself"):
        trial_of(folder)


def test_each_file_is_read_once_for_all_systems(folder, monkeypatch):
    from iminet_viz import trials

    read = []
    original = trials.read_native
    monkeypatch.setattr(trials, "read_native", lambda path: (read.append(path), original(path))[1])
    run_trial(pairs_table.load(folder), folder, [load_scorer("mfcc"), load_scorer("dtw")])
    assert len(read) == len(set(read)) == 12


# --- mistakes -------------------------------------------------------------------------------------------------------


def sentence_of(result: tuple[int, str, str]) -> str:
    status, out, err = result
    assert (status, out) == (1, "")
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and err.rstrip().endswith(lines[0])
    return lines[0]


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        (["voices/hat0.wav,sounds/hat.wav", "voices/gone.wav,sounds/kick.wav"], "", "the first is voices/gone.wav"),
        (["voices/hat0.wav,sounds/hat.wav", "voices/hat0.wav,sounds/hat.wav"], "", "row 2 repeats the pair of row 1"),
        (["voices/hat0.wav,sounds/hat.wav", "voices/hat1.wav,sounds/hat.wav"], "", "names one recording only"),
        (["voices/hat0.wav,sounds/hat.wav"], "", "names one recording only"),
        (["voices/hat0.wav,voices/hat0.wav"], "", "pairs voices/hat0.wav with itself"),
        (["voices/hat0.wav,"], "", "row 1 has an empty recording"),
        ([], "", "has no rows"),
        (["voices/hat0.wav,sounds/hat.wav"], "imitation,sound", "lacks the columns recording"),
        (
            ["voices/hat0.wav,sounds/hat.wav,drums", "voices/wind0.wav,sounds/wind.wav,"],
            "imitation,recording,category",
            "the category is empty in 1 of 2 pairs",
        ),
    ],
)
def test_a_table_that_cannot_be_searched_is_one_sentence(call, folder, rows, header, says):
    table = write_table(folder, rows, header or "imitation,recording")
    sentence = sentence_of(call("evaluate", "mfcc", "--pairs", table))
    assert says in sentence and str(table) in sentence


def test_an_unreadable_file_of_the_table_is_one_sentence(call, folder):
    (folder / "sounds" / "kick.wav").write_bytes(b"RIFF, and nothing more")
    sentence = sentence_of(call("evaluate", "mfcc", "--pairs", folder, "--candidates", folder / "sounds"))
    assert "kick.wav: cannot be decoded" in sentence


def test_other_mistakes_are_one_sentence(call, folder, tmp_path):
    assert "dtw-mfcc, dtw" in sentence_of(call("evaluate", "nobody", "--pairs", folder))
    assert "no such table" in sentence_of(call("evaluate", "mfcc", "--pairs", tmp_path / "gone.csv"))
    assert "no such folder" in sentence_of(call("evaluate", "mfcc", "--pairs", folder, "--candidates", tmp_path / "no"))
    (tmp_path / "empty").mkdir()
    result = call("evaluate", "mfcc", "--pairs", folder, "--candidates", tmp_path / "empty")
    assert "holds no sound file" in sentence_of(result)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mfcc"], "name either --data or --pairs"),
        (["mfcc", "--data", "d", "--pairs", "p"], "name either --data or --pairs"),
        (["mfcc", "--data", "d", "--against", "dtw"], "go with --pairs"),
        (["mfcc", "--pairs", "p", "--dataset", "esc10"], "esc10"),
    ],
)
def test_wrong_usage_has_status_2(call, arguments, says):
    status, out, err = call("evaluate", *arguments)
    assert (status, out) == (2, "")
    assert says in err


def test_copies_are_neither_answers_nor_something_to_choose_from(tmp_path):
    for name, seed in (("voice", 1), ("sound", 2), ("other", 3)):
        noise = np.random.default_rng(seed).uniform(-0.3, 0.3, 8_000).astype(np.float32)
        save_audio(tmp_path / f"{name}.wav", noise, 16_000)
    shutil.copy(tmp_path / "voice.wav", tmp_path / "voice2.wav")
    shutil.copy(tmp_path / "sound.wav", tmp_path / "sound2.wav")
    table = tmp_path / "pairs.csv"
    for row, says in (("voice.wav,voice2.wav", "with a copy of itself"), ("voice.wav,sound2.wav", "copies of one")):
        table.write_text(f"imitation,recording\nvoice.wav,sound.wav\n{row}\n")
        with pytest.raises(DatasetError, match=says):
            run_trial(pairs_table.load(table), table, [load_scorer("mfcc")])


# --- recordings of people -------------------------------------------------------------------------------------------


def search_people(names: list[str], data_folder: Path) -> tuple[Trial, list[np.ndarray]]:
    """Check that shipped models have the figures of their cards; returns the trial and each one's scores."""
    folder = data_folder / telephone.NAME
    trial, grids = run_trial(telephone.load(folder), folder, [load_scorer(name) for name in names])
    for name, scores in zip(names, grids, strict=True):
        if name in BASELINES:
            continue
        result = evaluate_trial(trial, scores).overall
        stored = read_json(find_model(name) / "metrics.json")["people, telephone"]
        # another processor may turn a borderline case over
        assert result.mrr == pytest.approx(stored["mrr"], abs=0.005), name
        assert (result.n, result.candidates) == (stored["n"], stored["candidates"]) == (244, 170)
        assert result.chance == pytest.approx(stored["chance"])
    return trial, grids


def test_the_default_finds_what_people_imitated_better_than_untrained_alignment(data_folder):
    trial, (default, _, untrained) = search_people(["voice-search", "tl-iminet-conv123", "dtw"], data_folder)
    paired = compare_trial(trial, default, untrained)
    assert paired.interval[0] > 0 and paired.clusters == 170


@pytest.mark.slow
def test_every_shipped_model_finds_what_its_card_says(data_folder):
    names = [name for name in shipped_models() if not name.endswith("-tower")]
    assert len(names) == 9
    search_people(names, data_folder)
