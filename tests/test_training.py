"""Training on small made-up data sets: recipes, resuming, what a run leaves behind, and the cards of shipped models."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from iminet_viz.audio import save_audio
from iminet_viz.cards import card
from iminet_viz.checkpoint import find_model, load_model, read_json, shipped_models
from iminet_viz.datasets import DATASETS, Pair
from iminet_viz.errors import DatasetError, TrainingError
from iminet_viz.evaluation import describe_metrics
from iminet_viz.models import Iminet, TLIminet
from iminet_viz.training import (
    RECIPES,
    EpochSampler,
    LabelledPairs,
    PairTask,
    Recipe,
    augment,
    evaluate_model,
    remove_run,
    train_language_tower,
    train_sound_tower,
    train_tl_iminet,
)

ROLES = ("imitation", "recording")
TINY = dataclasses.replace(RECIPES["tl-iminet"], epochs=3, batch_size=6, held_out=("c",), precision="32")


def write_table(root, rows):
    root.mkdir(parents=True, exist_ok=True)
    with (root / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_tone(path, frequency, rng, sample_rate=16_000, seconds=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    wave = 0.5 * np.sin(2 * np.pi * frequency * time) + 0.01 * rng.standard_normal(len(time))
    save_audio(path, wave.astype(np.float32), sample_rate)


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    """Three chains of one seed and four first imitations each."""
    root = tmp_path_factory.mktemp("chains")
    rng = np.random.default_rng(0)
    rows = []
    for place, chain in enumerate("abc"):
        seed = f"seeds/{chain}.wav"
        write_tone(root / seed, 300 * (place + 1), rng)
        base = {"label": chain, "flagged_bad_by_authors": "0"}
        rows.append({"file": seed, **base, "message_id": f"s{chain}", "generation": "0", "parent_file": ""})
        for number in range(4):
            name = f"{chain}/{number}.wav"
            write_tone(root / name, 300 * (place + 1) + 40 * number, rng)
            rows.append(
                {"file": name, **base, "message_id": f"{chain}{number}", "generation": "1", "parent_file": seed}
            )
    write_table(root, rows)
    return root


class StopAfter(Callback):
    """Press Ctrl-C in the middle of an epoch of the n-th training."""

    def __init__(self, epoch, training=1):
        self.epoch, self.left = epoch, training

    def on_train_start(self, trainer, pl_module):
        self.left -= 1

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.left == 0 and trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


def plain(values):
    """What JSON makes of it: tuples become lists."""
    return json.loads(json.dumps(values))


def weights_of(folder):
    return load_model(folder).network.state_dict()


@pytest.mark.parametrize("epoch", [0, 2])
def test_resumed_run_equals_uninterrupted_run(chains, tmp_path, epoch):
    train_tl_iminet(TINY, chains, tmp_path / "whole")
    with pytest.raises(TrainingError, match="continue with --resume"):
        train_tl_iminet(TINY, chains, tmp_path / "cut", callbacks=[StopAfter(epoch)])
    assert not (tmp_path / "cut" / "model").exists()
    train_tl_iminet(TINY, chains, tmp_path / "cut", resume=True)
    whole, cut = weights_of(tmp_path / "whole" / "model"), weights_of(tmp_path / "cut" / "model")
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    metrics = [read_json(tmp_path / name / "model" / "metrics.json") for name in ("whole", "cut")]
    assert metrics[0] == metrics[1]


def test_run_leaves_logs_recipe_card_and_figures(chains, tmp_path):
    metrics = train_tl_iminet(TINY, chains, tmp_path)
    assert read_json(tmp_path / "recipe.json") == plain(dataclasses.asdict(TINY))
    log = (tmp_path / "logs" / "start1" / "metrics.csv").read_text()
    assert "validation_loss" in log and "train_loss" in log
    assert list((tmp_path / "logs").rglob("events.out.tfevents*"))
    model = load_model(tmp_path / "model")
    assert model.config["data"]["test_chains"] == ["c"]
    text = (tmp_path / "model" / "README.md").read_text()
    for part in ("test", "validation"):
        assert metrics[part]["n"] and f"{metrics[part]['mrr']:.3f}" in text
    again = evaluate_model(model, chains)
    assert plain(again["test"]) == plain(metrics["test"])
    assert plain(again["validation"]) == plain(metrics["validation"])
    replayed = Recipe.from_dict(read_json(tmp_path / "model" / "config.json")["recipe"])
    assert replayed == TINY


def test_same_seed_same_weights_other_seed_other_weights(chains, tmp_path):
    recipe = dataclasses.replace(TINY, epochs=1)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_tl_iminet(dataclasses.replace(recipe, seed=seed), chains, tmp_path / name)
    a, b, c = (weights_of(tmp_path / name / "model")["fc1.weight"] for name in "abc")
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_run_folder_is_not_overwritten_and_resume_needs_the_same_recipe(chains, tmp_path):
    with pytest.raises(TrainingError, match="nothing to resume"):
        train_tl_iminet(TINY, chains, tmp_path, resume=True)
    train_tl_iminet(dataclasses.replace(TINY, epochs=1), chains, tmp_path)
    with pytest.raises(TrainingError, match="holds a run already"):
        train_tl_iminet(dataclasses.replace(TINY, epochs=1), chains, tmp_path)
    with pytest.raises(TrainingError, match="differs from the recipe"):
        train_tl_iminet(dataclasses.replace(TINY, epochs=1, seed=9), chains, tmp_path, resume=True)


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """A language tower and a sound tower, trained for a moment on tones; with the folders of their data."""
    root = tmp_path_factory.mktemp("towers")
    rng = np.random.default_rng(1)
    speech, sounds = [], []
    for place, language in enumerate(DATASETS["speech-lid"].LANGUAGES):
        for collection in ("one", "two"):
            name = f"{language}/{collection}.wav"
            write_tone(root / "speech" / name, 200 + 100 * place, rng)
            speech.append({"file": name, "label": language, "speaker": "x", "collection": collection})
    for place in range(2):
        for fold in range(1, 6):
            name = f"{place}/{fold}.wav"
            write_tone(root / "sounds" / name, 300 + 900 * place, rng, 44_100)
            sounds.append({"file": name, "label": f"00{place}_-_Class{place}", "fold": str(fold)})
    write_table(root / "speech", speech)
    write_table(root / "sounds", sounds)
    language = dataclasses.replace(
        RECIPES["language-tower"], epochs=1, held_out=("two",), items_per_epoch=7, precision="32", warp=0.2, floor_db=40
    )
    train_language_tower(language, root / "speech", root / "speech", root / "language")
    sound = dataclasses.replace(RECIPES["sound-tower"], epochs=2, items_per_epoch=8, precision="32")
    train_sound_tower(sound, root / "sounds", root / "sound")
    return root


def test_sound_tower_figures_come_again_from_its_fold_models(towers):
    model = load_model(towers / "sound" / "model")
    again = evaluate_model(model, towers / "sounds")
    assert plain(again["cross_validation"]) == model.metrics["cross_validation"]
    assert again["cross_validation"]["n"] == 10
    fold = load_model(towers / "sound" / "model" / "fold3")
    assert fold.config["data"]["test_fold"] == 3
    assert plain(evaluate_model(fold, towers / "sounds")["test"]) == fold.metrics["test"]


@pytest.mark.parametrize(("epoch", "training"), [(0, 1), (1, 2)])
def test_sound_tower_resumes_in_any_fold(towers, tmp_path, epoch, training):
    recipe = Recipe.from_dict(read_json(towers / "sound" / "recipe.json"))
    with pytest.raises(TrainingError, match=f"--resume in {tmp_path}$"):
        train_sound_tower(recipe, towers / "sounds", tmp_path, callbacks=[StopAfter(epoch, training)])
    with pytest.raises(TrainingError, match="holds a run already"):
        train_sound_tower(recipe, towers / "sounds", tmp_path)
    train_sound_tower(recipe, towers / "sounds", tmp_path, resume=True)
    for name in ("model", "model/fold1", "model/fold2"):
        whole, cut = weights_of(towers / "sound" / name), weights_of(tmp_path / name)
        assert all(torch.equal(whole[key], cut[key]) for key in whole)
    remove_run(tmp_path)
    assert not list(tmp_path.iterdir())


def test_language_tower_figures_come_again(towers):
    model = load_model(towers / "language" / "model")
    assert plain(evaluate_model(model, towers / "speech")["validation"]) == model.metrics["validation"]
    assert model.metrics["validation"]["n"] == 7


@pytest.mark.parametrize("layers", [1, 3])
def test_transfer_copies_the_first_layers(towers, chains, tmp_path, layers):
    recipe = dataclasses.replace(
        TINY,
        epochs=1,
        learning_rate=1e-12,  # so that what was copied is still there afterwards
        pretrained_layers=layers,
        imitation_from=str(towers / "language" / "model"),
        recording_from=str(towers / "sound" / "model"),
    )
    train_tl_iminet(recipe, chains, tmp_path)
    model = load_model(tmp_path / "model")
    assert isinstance(model.network, TLIminet)
    sources = {"imitation": towers / "language" / "model", "recording": towers / "sound" / "model"}
    for role, folder in sources.items():
        source = load_model(folder)
        assert model.config["parents"][role]["fingerprint"] == source.fingerprint
        for place in (1, 2, 3):
            copied = model.network.towers[role].block(f"conv{place}").conv.weight
            original = source.network.towers[role].block(f"conv{place}").conv.weight
            assert torch.allclose(copied, original, atol=1e-6) == (place <= layers)


def test_transfer_refuses_other_batch_norm_and_wrong_role(towers, chains, tmp_path):
    language, sound = str(towers / "language" / "model"), str(towers / "sound" / "model")
    wrong = dataclasses.replace(TINY, pretrained_layers=1, imitation_from=sound, recording_from=language)
    with pytest.raises(TrainingError, match="no imitation tower"):
        train_tl_iminet(wrong, chains, tmp_path / "a")
    plain = dataclasses.replace(
        TINY, batch_norm=False, pretrained_layers=1, imitation_from=language, recording_from=sound
    )
    with pytest.raises(TrainingError, match="batch_norm"):
        train_tl_iminet(plain, chains, tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "vgg"}, "expected one of"),
        ({"optimizer": "lion"}, "optimizer"),
        ({"precision": "8"}, "precision"),
        ({"epochs": 0}, "at least 1"),
        ({"colour": 1}, "unknown keys in the recipe: colour"),
    ],
)
def test_recipe_refuses_nonsense(changes, message):
    with pytest.raises(TrainingError, match=message):
        Recipe.from_dict({**dataclasses.asdict(TINY), **changes})


def test_unknown_chain_is_refused_before_any_training(chains, tmp_path):
    with pytest.raises(DatasetError, match="no chain nowhere"):
        train_tl_iminet(dataclasses.replace(TINY, held_out=("nowhere",)), chains, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_loss_that_stops_being_finite_is_one_sentence(chains, tmp_path):
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train_tl_iminet(dataclasses.replace(TINY, learning_rate=1e30, batch_norm=False), chains, tmp_path)


def test_sampler_depends_on_seed_and_epoch_alone():
    sampler = EpochSampler(10, seed=3)
    first = list(sampler)
    assert list(sampler) == first and sorted(index for _, index in first) == list(range(10))
    sampler.set_epoch(1)
    assert [index for _, index in sampler] != [index for _, index in first]
    pairs = [index for _, index in EpochSampler(10, seed=3, together=2)]
    assert sorted(pairs) == list(range(10)) and pairs[1::2] == [index + 1 for index in pairs[::2]] != pairs[::2]
    weighted = EpochSampler(3, 0, np.array([0.0, 1.0, 0.0]), draws=5)
    assert list(weighted) == [(0, 1)] * 5 and len(weighted) == 5


@pytest.mark.parametrize("network", [Iminet(), TLIminet()], ids=["iminet", "tl-iminet"])
def test_distinct_clips_of_a_batch_give_the_gradient_of_all_its_pairs(network):
    generator = torch.Generator().manual_seed(0)
    paths = [Path(f"{number}.wav") for number in range(8)]
    sides = [
        {path: torch.randn(1, *config.shape, generator=generator) for path in paths}
        for config in network.FRONTENDS.values()
    ]
    dataset = LabelledPairs([Pair(paths[n], paths[n + 4], "", "") for n in range(4)], 0, *sides)
    pairs = [dataset[0, number] for number in range(2, 8)]
    batch = dataset.collate(pairs)
    assert len(batch[0]) == 3 and len(batch[1]) <= 4, "each distinct clip once"
    network.eval()  # no dropout
    task = PairTask(network, dataclasses.replace(TINY, precision="32"))
    task.loss(task.logits(batch), batch[-1]).backward()
    own = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    every = [
        torch.stack([side[getattr(pair, role)] for pair in pairs]) for role, side in zip(ROLES, sides, strict=True)
    ]
    task.loss(network(*every), torch.tensor([float(pair.positive) for pair in pairs])).backward()
    for one, other in zip(own, network.parameters(), strict=True):
        torch.testing.assert_close(one, other.grad, rtol=1e-4, atol=1e-6)


def test_augment_stays_a_log_spectrogram():
    torch.manual_seed(0)
    db = -80 * torch.rand(4, 39, 482)
    recipe = dataclasses.replace(RECIPES["language-tower"], equalizer_db=20.0, warp=0.2, floor_db=30.0)
    out = augment(db, recipe, 80.0)
    assert out.shape == db.shape and torch.isfinite(out).all()
    assert torch.allclose(out.amax(dim=(1, 2)), torch.zeros(4)) and out.min() >= -80
    plain = dataclasses.replace(recipe, equalizer_db=0.0, warp=0.0, floor_db=80.0)
    assert torch.allclose(augment(db, plain, 80.0), db - db.amax(dim=(1, 2), keepdim=True))


@pytest.mark.parametrize("name", shipped_models())
def test_card_of_a_shipped_model_says_what_its_files_say(name):
    folder = find_model(name)
    config, metrics = read_json(folder / "config.json"), read_json(folder / "metrics.json")
    text = (folder / "README.md").read_text()
    assert text == card(name, config, metrics)
    assert describe_metrics(metrics) and all(line in text for line in describe_metrics(metrics))
    assert config["data"]["licence"] in text


@pytest.mark.parametrize("name", ["language-tower", "sound-tower"])
def test_figures_of_a_shipped_classifier_come_again(name, data_folder):
    """Those of the models that search are in test_trials.py."""
    model = load_model(name)
    data = "voxforge-real" if name == "language-tower" else model.config["data"]["name"]
    for part, values in evaluate_model(model, data_folder / data).items():
        for key in ("chance", "accuracy", "balanced_accuracy", "n"):
            # another processor may turn a tie or a borderline case over
            assert values[key] == pytest.approx(model.metrics[part][key], abs=0.015), (part, key)
