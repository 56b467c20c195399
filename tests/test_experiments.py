"""The experiment on a miniature corpus: its table recomputed, its models searched again, resumed, refused."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from iminet_viz import experiments, shipped, tables
from iminet_viz.audio import load_audio, save_audio
from iminet_viz.autoencoder import AutoencoderRecipe, train_autoencoder
from iminet_viz.checkpoint import load_model
from iminet_viz.datasets import demo, vocalsketch
from iminet_viz.errors import AudioError, DatasetError, IminetVizError, TrainingError
from iminet_viz.evaluation import reciprocal_ranks
from iminet_viz.experiments import run_table1
from iminet_viz.models import Imisound
from iminet_viz.models.imisound import ImisoundConfig
from iminet_viz.pairs import split_sounds
from iminet_viz.plotting import plot_retrieval
from iminet_viz.scoring import fuse, load_scorer
from iminet_viz.training import evaluate_model

SYSTEMS = ("imisound", "iminet-tied", "aligned", "dtw")
RATE = 16_000


def tone(index: int, seed: int) -> np.ndarray:
    """A quarter of a second of a noisy note that falls silent, different for each index."""
    rng = np.random.default_rng((index, seed))
    time = np.arange(RATE // 4) / RATE
    note = np.sin(2 * np.pi * 150 * 1.13**index * time * (1 + 0.02 * seed)) * np.exp(-time * (1 + index % 4) * 4)
    return (0.3 * note + 0.003 * rng.normal(size=len(time))).astype(np.float32)


def make_corpus(root: Path, sounds: int = 4, imitations: int = 4, categories: tuple[str, ...] = vocalsketch.SUBSETS):
    """Notes in the layout of VocalSketch."""
    tables_: dict[str, list[dict[str, str]]] = {name: [] for name in demo.COLUMNS}
    for place, category in enumerate(categories):
        for number in range(sounds):
            index = place * sounds + number
            label, sound = f"note {index}", f"note {index}.wav"
            save_audio(root / demo.SOUNDS / sound, tone(index, 0), RATE)
            common = {"sound_label": label, "audio_concept_subset": category}
            tables_[demo.LABEL_TABLE].append({"id": f"1{index}", "label": label, "audio_concept_subset": category})
            tables_[demo.SOUND_TABLE].append(
                {"id": f"2{index}", "filename": sound, "sound_label_id": f"1{index}"} | common
            )
            for seed in range(1, imitations + 1):
                name = f"{label} - {seed}.wav"
                save_audio(root / demo.IMITATIONS / "included" / name, tone(index, seed), RATE)
                facts = {"stimulus_type": "sound recording", "included": "True", "draft": "False", "training": "False"}
                ids = {"id": f"3{index}0{seed}", "participant_id": f"{seed}", "sound_recording_id": f"2{index}"}
                tables_[demo.IMITATION_TABLE].append(
                    {"filename": name, "sound_recording": sound} | facts | ids | common
                )
    for name, rows in tables_.items():
        with (root / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, demo.COLUMNS[name])
            writer.writeheader()
            writer.writerows(rows)
    return root


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def run(corpus: Path, out: Path, systems=SYSTEMS, seeds: int = 2, **options) -> dict:
    return run_table1(corpus, out, seeds, systems, workers=0, **{"epochs": 1, **options})


@pytest.fixture(scope="module")
def out(corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    run(corpus, folder)
    return folder


def scores(out: Path, name: str, part: str = "test") -> np.ndarray:
    return experiments._load_arrays(out / "runs" / name / "scores.safetensors")[part]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_split_is_half_of_each_category_and_tells_no_test_sound(corpus, out):
    split = json.loads((out / "split.json").read_text())
    sounds = {part: {(row[2], row[1]) for row in split[part]} for part in ("train", "validation", "test")}
    assert sounds["train"] == sounds["validation"] and not sounds["train"] & sounds["test"]
    for part in sounds.values():
        assert [sum(c == category for c, _ in part) for category in vocalsketch.SUBSETS] == [2, 2, 2, 2]
    assert [len(split[part]) for part in ("train", "validation", "test")] == [24, 8, 32]
    assert len({row[0] for part in sounds for row in split[part]}) == 64
    assert set(split["fewer_imitations"].values()) == {4} and len(split["fewer_imitations"]) == 16


def test_a_sound_with_many_imitations_gives_seven_three_or_ten(tmp_path):
    pairs = vocalsketch.load(make_corpus(tmp_path, imitations=12))
    split = split_sounds(pairs, 0)
    for part, each, count in ((split.train, 7, 8), (split.validation, 3, 8), (split.test, 10, 8)):
        counts = {sound: sum(pair.recording == sound for pair in part) for sound in {p.recording for p in part}}
        assert set(counts.values()) == {each} and len(counts) == count
    assert split_sounds(pairs[::-1], 0) == split  # the order of the table does not matter
    assert split_sounds(pairs, 1) != split


def test_the_table_is_that_of_the_stored_scores(out):
    table = {(row["system"], row["part"]): row for row in rows(out / "table1.csv")}
    systems = ["imisound", "iminet-tied", "iminet-tied+imisound", "dtw", "aligned", "aligned+dtw"]
    assert {name for name, _ in table} == set(systems)
    split = json.loads((out / "split.json").read_text())["test"]
    candidates = sorted({row[1] for row in split})
    targets = np.array([candidates.index(row[1]) for row in split])
    own = np.array([row[2] == "everyday sounds" for row in split])
    columns = np.unique(targets[own])
    mrr = []
    for seed in (0, 1):
        inside = scores(out, f"iminet-tied-{seed}")[np.ix_(own, columns)]
        mrr.append(reciprocal_ranks(inside, np.searchsorted(columns, targets[own])).mean())
    row = table["iminet-tied", "ED"]
    assert float(row["mrr"]) == pytest.approx(np.mean(mrr), abs=1e-4)
    assert float(row["sd"]) == pytest.approx(np.std(mrr, ddof=1), abs=1e-4)
    assert (row["chance"], row["n"], row["candidates"], row["seeds"]) == ("0.7500", "8", "2", "2")
    assert row["paper_mrr"] == "0.158"
    assert table["dtw", "all"]["seeds"] == "1" and table["dtw", "all"]["sd"] == ""
    ranks = [float(r["reciprocal_rank_all"]) for r in rows(out / "ranks.csv") if r["system"] == "aligned"]
    assert len(ranks) == 64 and np.mean(ranks) == pytest.approx(float(table["aligned", "all"]["mrr"]), abs=1e-4)
    text = (out / "table1.md").read_text()
    assert "| iminet-tied+imisound | 0." in text and "| 0.504 | 0.355 | 0.171 | 0.452 |" in text
    assert "| iminet-tied | imisound | " in text and "| chance | 0.750 |" in text
    assert (out / "figure6.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["iminet-tied-1", "imisound-0", "aligned-1"])
def test_a_model_of_the_experiment_gives_its_figures_again(corpus, out, name):
    model = load_model(out / "runs" / name / "model")
    stored, again = model.metrics["test within category"], evaluate_model(model, corpus)["test within category"]
    assert again["mrr"] == pytest.approx(stored["mrr"], abs=1e-6) and again["n"] == stored["n"] == 32
    assert "iminet-viz evaluate MODEL --data CORPUS" in (model.folder / "README.md").read_text()


def test_fusions_by_the_papers_equations(out):
    one, other = scores(out, "iminet-tied-0"), scores(out, "imisound-0")
    likelihood = np.exp(-(1 - other)) / np.exp(-(1 - other)).sum(axis=1, keepdims=True)
    expected = 1 / (1 + np.exp(-one)) * likelihood
    np.testing.assert_allclose(np.exp(tables.fuse_product({"iminet-tied": one, "imisound": other})), expected)
    config = json.loads((out / "config.json").read_text())
    weight = config["weights"]["aligned+dtw"][1]
    mixed = fuse([scores(out, "aligned-1"), scores(out, "dtw-0")], [weight, 1 - weight])
    fused = [float(row["reciprocal_rank_all"]) for row in rows(out / "ranks.csv") if row["system"] == "aligned+dtw"]
    targets = json.loads((out / "split.json").read_text())["test"]
    candidates = sorted({row[1] for row in targets})
    expected = reciprocal_ranks(mixed, np.array([candidates.index(row[1]) for row in targets]))
    np.testing.assert_allclose(fused[len(fused) // 2 :], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["imisound-0", "iminet-tied-1", "aligned-1"])
def test_the_models_search_as_the_table_says(corpus, out, name):
    scorer = load_scorer(str(out / "runs" / name / "model"))
    split = json.loads((out / "split.json").read_text())["test"]
    sides = ([row[0] for row in split[:6]], sorted({row[1] for row in split}))
    kept = [
        [scorer.keep(load_audio(corpus / path, RATE), RATE, role) for path in paths]
        for role, paths in zip(("imitation", "recording"), sides, strict=True)
    ]
    np.testing.assert_allclose(scorer.scores(*kept), scores(out, name)[:6], atol=1e-3)
    config = json.loads((out / "runs" / name / "model" / "config.json").read_text())
    assert config["recipe"]["seed"] == int(name[-1]) and config["data"]["name"] == "vocalsketch"
    assert not (out / "runs" / name / "checkpoints").exists()


def test_only_what_is_missing_is_trained_and_comes_out_the_same(corpus, out, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    for name in ("iminet-tied-1", "aligned-0"):
        shutil.rmtree(copy / "runs" / name)
    done = []
    perform = experiments.perform
    monkeypatch.setattr(experiments, "perform", lambda e, job, report: (done.append(job), perform(e, job, report)))
    run(corpus, copy)
    assert done == [("iminet-tied", 1), ("aligned", 0)]
    for name in ("table1.csv", "table1.md", "ranks.csv", "figure6.png"):
        assert (copy / name).read_bytes() == (out / name).read_bytes(), name
    run(corpus, copy, ("dtw",))  # fewer of them: nothing to do, and the others stay in the table
    assert len(done) == 2 and (copy / "table1.csv").read_bytes() == (out / "table1.csv").read_bytes()


@pytest.mark.parametrize("name", ["imisound", "aligned", "iminet-tied"])
def test_a_killed_training_goes_on_with_the_epoch_in_progress(corpus, tmp_path, name, monkeypatch):
    class KilledError(Exception):
        pass

    told = []

    def stop(what: str, done: int, total: int) -> None:
        told.append((what, done))
        if len([1 for what, _ in told if what.startswith(name)]) == 2:
            raise KilledError

    monkeypatch.setattr(experiments.Experiment, "cost", lambda *_: 1.0)
    with pytest.raises(KilledError):
        run(corpus, tmp_path / "killed", (name,), seeds=1, epochs=3, report=stop)
    again = []
    run(corpus, tmp_path / "killed", (name,), seeds=1, epochs=3, report=lambda _, done, __: again.append(done))
    run(corpus, tmp_path / "whole", (name,), seeds=1, epochs=3)
    first, second = (scores(tmp_path / folder, f"{name}-0") for folder in ("killed", "whole"))
    np.testing.assert_array_equal(first, second)
    assert min(again) > (17 if name == "imisound" else 33)  # of two layers; the first epoch was not done again


def test_an_autoencoder_stopped_in_either_layer_ends_with_the_same_weights(tmp_path):
    torch.manual_seed(0)
    given, start = torch.randn(6, 1, 72, 40), Imisound(ImisoundConfig((8, 4))).state_dict()
    recipe = AutoencoderRecipe(epochs=2, batch_size=4)

    def train(stop: int | None, checkpoint: Path | None) -> dict[str, torch.Tensor]:
        network = Imisound(ImisoundConfig((8, 4)))
        network.load_state_dict(start)
        calls = iter(range(9))

        def report(*_: object) -> None:
            if next(calls) == stop:
                raise InterruptedError

        train_autoencoder(network, given, recipe, report, checkpoint)
        return network.state_dict()

    whole = train(None, None)
    for stop in range(4):
        path = tmp_path / f"{stop}.pt"
        with pytest.raises(InterruptedError):
            train(stop, path)
        resumed = train(None, path)
        assert all(torch.equal(resumed[key], whole[key]) for key in whole), stop


def test_bad_data_are_refused_in_one_sentence_before_any_training(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "_train", None)

    def refused(root: Path, text: str, error: type[IminetVizError] = DatasetError, systems=SYSTEMS) -> None:
        with pytest.raises(error, match=text) as caught:
            run(root, tmp_path / "none", systems)
        assert "\n" not in str(caught.value) and not (tmp_path / "none" / "runs").exists()

    one = vocalsketch.SUBSETS[:1]
    refused(tmp_path, "no such table")
    refused(make_corpus(tmp_path / "one", 1, 3, one), "one sound only, note 0.wav")
    refused(make_corpus(tmp_path / "few", 3, 3, one), "'acoustic instruments' has 3 sounds, expected at least 4")
    refused(make_corpus(tmp_path / "rare", 4, 1, one), "has one imitation, expected at least 2")
    refused(make_corpus(tmp_path / "three", 4, 2, vocalsketch.SUBSETS[:3]), "no sound of 'single synthesizer'")
    refused(corpus, "no system 'dwt', expected some of imisound, ", TrainingError, ("dwt",))
    broken = tmp_path / "broken"
    shutil.copytree(corpus, broken)
    (broken / demo.SOUNDS / "note 3.wav").write_bytes(b"RIFF")
    refused(broken, r"note 3\.wav", AudioError)
    (broken / demo.SOUNDS / "note 3.wav").unlink()
    refused(broken, "1 of 80 files are not there")


def test_another_corpus_or_recipe_needs_another_folder(corpus, out, tmp_path, monkeypatch):
    other = tmp_path / "other"
    shutil.copytree(corpus, other)
    save_audio(other / demo.SOUNDS / "note 3.wav", tone(40, 0), RATE)
    with pytest.raises(TrainingError, match="holds an experiment on other data"):
        run(other, out)
    with pytest.raises(TrainingError, match="another recipe than the one asked for"):
        run(corpus, out, epochs=2)
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path)
    with pytest.raises(IminetVizError, match="language-tower"):
        run(corpus, tmp_path / "out", ("tl-iminet-conv1",))


def test_processes_do_the_same(corpus, out, tmp_path, call):
    folder = tmp_path / "out"
    options = ("--data", corpus, "--out", folder, "--epochs", 1, "--systems", "imisound", "--seeds", 1)
    status, text, errors = call("experiment", "table1", *options, "--workers", 2)
    assert status == 0 and "| imisound | " in text and "16 sounds have fewer than 10" in errors
    np.testing.assert_allclose(scores(folder, "imisound-0"), scores(out, "imisound-0"), atol=1e-5)
    assert json.loads((folder / "config.json").read_text())["command"].startswith("iminet-viz experiment table1")


def test_figure_6_has_a_bar_a_system_and_category():
    figure = plot_retrieval({"a": [[0.5, 0.7], [0.2, 0.2]], "b": [[0.4], [0.1]]}, ["x", "y"], [0.2, 0.1])
    (axes,) = figure.axes
    assert [round(patch.get_height(), 3) for patch in axes.patches] == [0.6, 0.2, 0.4, 0.1]
    assert axes.get_xlabel() and axes.get_ylabel()


def test_every_comparison_and_fusion_is_of_systems_that_there_are():
    known = {*experiments.SYSTEMS, *tables.PRODUCTS, *tables.WEIGHTED}
    named = [*tables.PAPER, *tables.FIGURE_6, *(name for pair in tables.COMPARISONS for name in pair)]
    named += [part for parts in (*tables.PRODUCTS.values(), *tables.WEIGHTED.values()) for part in parts]
    assert set(named) <= known and set(tables.PAPER) <= known
    for system in experiments.SYSTEMS.values():
        if system.recipe is not None:
            assert dataclasses.replace(system.recipe, seed=1).seed == 1


def test_of_fewer_seeds_all_that_is_finished_is_in_the_table(corpus, out, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(out, again)
    run(corpus, again, ("dtw",), seeds=1)
    assert {row["system"] for row in rows(again / "table1.csv")} == {row["system"] for row in rows(out / "table1.csv")}
    assert {row["seeds"] for row in rows(again / "table1.csv")} == {"1"}
    shutil.rmtree(again / "runs" / "aligned-0")
    run(corpus, again, ("dtw",), seeds=1)
    assert "aligned" not in {row["system"] for row in rows(again / "table1.csv")}
