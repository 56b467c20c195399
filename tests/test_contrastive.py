"""Training by in-batch softmax: the loss, the alterations, the loop, and the search for leaks."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from iminet_viz import contrastive
from iminet_viz.audio import save_audio
from iminet_viz.checkpoint import load_model
from iminet_viz.contrastive import (
    AlignedView,
    Alterations,
    ContrastiveRecipe,
    TowerView,
    TrainingSound,
    alter,
    find_leaks,
    read_sounds,
    search_scores,
    softmax_loss,
    train_aligned,
    train_contrastive,
)
from iminet_viz.datasets import pairs_table
from iminet_viz.errors import CheckpointError, DatasetError, TrainingError
from iminet_viz.models import Iminet, RecurrentIminet
from iminet_viz.models.aligned import AlignedNet
from iminet_viz.models.recurrent import RecurrentConfig
from iminet_viz.models.tl_iminet import TLIminet, TLIminetConfig

RECIPE = ContrastiveRecipe(epochs=3, batch_size=6)


def tones(index: int, seed: int = 0) -> np.ndarray:
    """Two notes, noisy, different for each index: half a second at 16 kHz."""
    rng = np.random.default_rng((index, seed))
    time = np.arange(4_000) / 16_000
    notes = [np.sin(2 * np.pi * 200 * 1.25 ** ((index * k) % 11) * time) for k in (1, 3)]
    return (0.3 * np.concatenate(notes) + 0.003 * rng.normal(size=8_000)).astype(np.float32)


def make_sounds(view: AlignedView | TowerView, count: int) -> list[TrainingSound]:
    def keep(index: int, seed: int, role: str) -> np.ndarray:
        waveform = tones(index, seed)
        return view.spectrogram(waveform if view.sample_rate(role) == 16_000 else waveform.repeat(3)[:22_050], role)

    return [
        TrainingSound(
            recording=keep(index, 0, "recording"),
            copy=keep(index, 0, "imitation"),
            imitations=tuple(keep(index, seed, "imitation") for seed in (1, 2)),
        )
        for index in range(count)
    ]


@pytest.fixture(scope="module")
def sounds() -> list[TrainingSound]:
    return make_sounds(AlignedView(), 12)


def build(seed: int = 0) -> AlignedNet:
    torch.manual_seed(seed)
    return AlignedNet()


def test_the_loss_of_known_scores():
    assert softmax_loss(torch.zeros(8, 8)).item() == pytest.approx(math.log(8))
    assert softmax_loss(50 * torch.eye(4)).item() == pytest.approx(0, abs=1e-6)
    one_way = torch.tensor([[0.0, -50.0], [0.0, -50.0]])  # every imitation takes the first sound
    by_hand = 0.5 * ((0 + 50) / 2 + math.log(2))
    assert softmax_loss(one_way).item() == pytest.approx(by_hand, rel=1e-5)


def test_training_reduces_the_loss_and_finds_the_sounds(sounds):
    network = build()
    losses = train_contrastive(network, AlignedView(), sounds, dataclasses.replace(RECIPE, epochs=12))
    assert losses[-1] < 0.6 * losses[0]
    assert not network.training
    scores = search_scores(network, AlignedView(), [s.imitations[0] for s in sounds], [s.recording for s in sounds])
    assert (scores.argmax(axis=1) == np.arange(12)).mean() > 0.8


def test_the_same_seed_gives_the_same_weights(sounds):
    networks = [build() for _ in range(3)]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        torch.manual_seed(seed + 7)  # what else draws numbers does not matter
        train_contrastive(network, AlignedView(), sounds, dataclasses.replace(RECIPE, epochs=1, seed=seed))
    first, same, other = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_altered_copies_need_no_imitations(sounds):
    bare = [dataclasses.replace(sound, imitations=()) for sound in sounds]
    reported = []
    recipe = dataclasses.replace(RECIPE, epochs=2, altered=1.0)
    losses = train_contrastive(build(), AlignedView(), bare, recipe, lambda *epoch: reported.append(epoch))
    assert reported == list(enumerate(losses))
    with pytest.raises(TrainingError, match="12 of 12 sounds have no imitation"):
        train_contrastive(build(), AlignedView(), bare, RECIPE)
    with pytest.raises(TrainingError, match="at least two"):
        train_contrastive(build(), AlignedView(), sounds[:1], RECIPE)


def test_tl_iminet_learns_by_the_same_loop():
    torch.manual_seed(0)
    view, network = TowerView(), TLIminet(TLIminetConfig(batch_norm=True))
    sounds = make_sounds(view, 3)
    losses = train_contrastive(network, view, sounds, ContrastiveRecipe(epochs=2, batch_size=3, learning_rate=1e-3))
    assert np.isfinite(losses).all()
    imitations = view.batch([sound.imitations[0] for sound in sounds], "imitation")
    recordings = view.batch([sound.recording for sound in sounds[:2]], "recording")
    grid = view.search(network, [sound.imitations[0] for sound in sounds], [sound.recording for sound in sounds[:2]])
    with torch.no_grad():
        for column in range(2):
            alone = network(imitations.inputs, recordings.inputs[column : column + 1].expand(3, -1, -1, -1))
            np.testing.assert_allclose(grid[:, column], alone.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("make", [Iminet, lambda: RecurrentIminet(RecurrentConfig(batch_norm=True))])
def test_iminet_and_the_recurrent_net_learn_by_the_same_loop(make):
    torch.manual_seed(0)
    network = make()
    view = TowerView(configs=network.FRONTENDS)
    sounds = make_sounds(view, 4)
    recipe = ContrastiveRecipe(epochs=25, batch_size=4, learning_rate=3e-3, precision="bf16")
    losses = train_contrastive(network, view, sounds, recipe)
    assert losses[-1] < 0.7 * math.log(4)
    scores = search_scores(network, view, [s.imitations[0] for s in sounds], [s.recording for s in sounds])
    assert scores.shape == (4, 4) and np.isfinite(scores).all()
    alone = search_scores(network, view, [sounds[2].imitations[0]], [sounds[1].recording])
    np.testing.assert_allclose(alone, scores[2:3, 1:2], rtol=1e-3, atol=1e-3)


def test_the_towers_see_the_paper_s_input_without_trimming_and_floor():
    from iminet_viz.audio import fit_length
    from iminet_viz.frontends import IMITATION, make_frontend

    waveform = np.concatenate([np.zeros(3_200, np.float32), tones(1)])
    view = TowerView(trim_db=None, floor_db=80.0)
    batch = view.batch([view.spectrogram(waveform, "imitation")], "imitation")
    expected = make_frontend(IMITATION)(torch.from_numpy(fit_length(waveform, IMITATION.n_samples))[None])
    torch.testing.assert_close(batch.inputs, expected)
    trimmed = TowerView()
    a, b = (trimmed.spectrogram(x, "imitation") for x in (waveform, tones(1)))
    np.testing.assert_allclose(a, b, atol=1e-3)  # silence before is gone, on either side the same way


@pytest.mark.parametrize("shape", [(64, 120), (39, 482), (64, 1)])
def test_alterations_stay_decibels(shape):
    rng = np.random.default_rng(0)
    db = rng.uniform(-80, 0, shape).astype(np.float32)
    for _ in range(20):
        altered = alter(db, rng, Alterations(), 80.0)
        assert altered.shape[0] == shape[0]
        assert shape[1] / 1.7 <= altered.shape[1] <= max(shape[1] / 0.59, 2)
        assert altered.max() == 0 and altered.min() >= -80 and np.isfinite(altered).all()


def test_no_alteration_is_the_clip_itself():
    still = Alterations((1.0, 1.0), 0.0, 0.0, 0.0, 0.0, (80.0, 80.0), (17.0, 17.0), silence=0.0, probability=1.0)
    view = AlignedView()
    clip = view.spectrogram(tones(3), "imitation")
    altered = view.batch([clip], "imitation", np.random.default_rng(0), still)
    plain = view.batch([clip], "imitation")
    torch.testing.assert_close(altered.inputs, plain.inputs, atol=1e-4, rtol=0)
    assert altered.duration_s == plain.duration_s
    never = view.batch([clip], "imitation", np.random.default_rng(0), Alterations(probability=0.0))
    torch.testing.assert_close(never.inputs, plain.inputs)


def noise(seed: int, samples: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=samples).astype(np.float32)


def test_a_planted_copy_is_found():
    recording, other = noise(0, 8_000), noise(1, 6_000)
    excerpt = -0.1 * recording[2_000:5_000]
    shifted = np.concatenate([np.zeros(1_500, np.float32), recording]) + 0.8 * noise(2, 9_500)
    holder = np.concatenate([noise(3, 3_000), other, noise(4, 3_000)])
    unrelated = noise(5, 8_000)
    leaks = find_leaks([excerpt, unrelated, shifted, holder], [other, recording])
    assert [(index, test) for index, test, _ in leaks] == [(0, 1), (2, 1), (3, 0)]
    assert leaks[0][2] > 0.95


def test_notes_and_clicks_are_not_the_same_recording():
    time = np.arange(4_000) / 4_000
    decay = np.exp(-6 * time)
    notes = [np.sin(2 * np.pi * f * time) * decay for f in (220, 221, 440)]
    assert find_leaks(notes[:1], notes[1:]) == []
    click, pop = np.exp(-time * 900) * noise(0, 4_000), np.exp(-time * 700) * noise(1, 4_000)
    assert find_leaks([click], [pop]) == []
    assert find_leaks([np.zeros(100)], notes) == []


def test_within_categories_of_one_sound_there_is_nothing_to_tell_apart(sounds):
    recipe = dataclasses.replace(RECIPE, within_category=True)
    alone = [dataclasses.replace(sound, category=str(number)) for number, sound in enumerate(sounds)]
    np.testing.assert_allclose(train_contrastive(build(), AlignedView(), alone, recipe), 0, atol=1e-6)
    together = train_contrastive(build(), AlignedView(), sounds, recipe)  # all of one category: nothing is masked
    assert together == train_contrastive(build(), AlignedView(), sounds, RECIPE)


# --- from a table to a model -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Six sounds of two imitations each; the first two sounds answer an imitation both."""
    root = tmp_path_factory.mktemp("pairs")
    rows = ["imitation,recording"]
    for index in range(6):
        save_audio(root / f"{index}.wav", tones(index), 16_000)
        for seed in (1, 2):
            save_audio(root / f"{index}-{seed}.wav", tones(index, seed), 16_000)
            rows.append(f"{index}-{seed}.wav,{index}.wav")
    rows.append("0-1.wav,1.wav")
    (root / "pairs.csv").write_text("\n".join(rows) + "\n")
    return root


def test_sounds_of_one_chain_are_no_negatives_of_each_other(table):
    sounds = read_sounds(pairs_table.load(table), AlignedView())
    assert [len(sound.imitations) for sound in sounds] == [2, 3, 2, 2, 2, 2]
    masked = contrastive._masked(sounds, within_category=False)
    assert masked.sum() == 2 and masked[0, 1] and masked[1, 0]
    apart = [dataclasses.replace(sound, chain="", category=str(n % 2)) for n, sound in enumerate(sounds)]
    assert not contrastive._masked(apart, within_category=False).any()
    assert contrastive._masked(apart, within_category=True).sum() == 18


def test_a_table_becomes_a_model_that_is_found_again_after_an_interruption(table, tmp_path):
    whole = train_aligned(RECIPE, table, tmp_path / "whole", {"our garden": "CC0"})

    def stop(what, done, of):
        if what.startswith("epochs") and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_aligned(RECIPE, table, tmp_path / "cut", report=stop)
    with pytest.raises(TrainingError, match="holds a run already"):
        train_aligned(RECIPE, table, tmp_path / "cut")
    assert train_aligned(RECIPE, table, tmp_path / "cut", resume=True) == whole
    models = [load_model(tmp_path / name / "model") for name in ("whole", "cut")]
    assert models[0].fingerprint == models[1].fingerprint
    assert models[0].config["data"]["imitations"] == 12 and models[0].db_statistics["recording"].std_db > 0
    text = (tmp_path / "whole" / "model" / "README.md").read_text()
    assert text.startswith("# whole\n") and "--recipe MODEL/config.json" in text
    assert "* our garden: CC0" in text and f"loss {whole['run']['train_loss']:.3f}" in text
    again = contrastive.recipe_from_dict(models[0].config["recipe"])
    assert again == RECIPE


def test_a_table_that_nothing_can_be_learned_from_is_refused_before_anything_is_written(table, tmp_path):
    one = tmp_path / "one.csv"
    one.write_text(f"imitation,recording\n{table / '0-1.wav'},{table / '0.wav'}\n")
    with pytest.raises(DatasetError, match="names one recording only"):
        train_aligned(RECIPE, one, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    one.write_text(
        f"imitation,recording\n{table / '0-1.wav'},{table / '0.wav'}\n{table / '0-1.wav'},{table / '1.wav'}\n"
    )
    with pytest.raises(DatasetError, match="join all recordings"):
        train_aligned(RECIPE, one, tmp_path / "run")
    silent = tmp_path / "silent"
    for name in ("a", "b", "c", "d"):
        save_audio(silent / f"{name}.wav", np.zeros(8_000, np.float32), 16_000)
    (silent / "pairs.csv").write_text("imitation,recording\na.wav,b.wav\nc.wav,d.wav\n")
    with pytest.raises(CheckpointError, match="silent"):
        train_aligned(RECIPE, silent, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_good_run_is_replaced_only_by_force_and_by_a_good_table(table, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=1)
    train_aligned(recipe, table, tmp_path / "run")
    kept = load_model(tmp_path / "run" / "model").fingerprint
    one = tmp_path / "one.csv"
    one.write_text(f"imitation,recording\n{table / '0-1.wav'},{table / '0.wav'}\n")
    with pytest.raises(DatasetError):
        train_aligned(recipe, one, tmp_path / "run", force=True)
    assert load_model(tmp_path / "run" / "model").fingerprint == kept
    fewer = tmp_path / "fewer.csv"
    rows = [f"{table / f'{n}-1.wav'},{table / f'{n}.wav'}" for n in range(2, 6)]
    fewer.write_text("\n".join(["imitation,recording", *rows]) + "\n")
    with pytest.raises(TrainingError, match="other sounds"):
        train_aligned(recipe, fewer, tmp_path / "run", resume=True)
    train_aligned(recipe, fewer, tmp_path / "run", force=True)
    assert load_model(tmp_path / "run" / "model").config["data"]["sounds"] == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 0},
        {"epochs": 0},
        {"epochs": "two"},
        {"learning_rate": -1},
        {"weight_decay": "x"},
        {"tempo": 1},
        {"tempo": [2.0, 1.0]},
        {"alterations": 5},
        {"precision": "fp16"},
        {"altered": 2.0},
        {"probability": -0.1},
    ],
)
def test_an_impossible_recipe_is_one_sentence(changes):
    with pytest.raises(TrainingError):
        contrastive.recipe_from_dict({**dataclasses.asdict(RECIPE), **changes})


def test_chance_counts_what_an_imitation_can_be_taken_for(table):
    sounds = read_sounds(pairs_table.load(table), AlignedView())
    assert contrastive.chance_loss(sounds[1:], RECIPE) == pytest.approx(math.log(5))
    # two of six have one rival less
    assert contrastive.chance_loss(sounds, RECIPE) == pytest.approx((4 * math.log(6) + 2 * math.log(5)) / 6)


def test_a_recipe_is_read_with_its_alterations_beside_or_in_it():
    flat = contrastive.recipe_from_dict({"epochs": 2, "tempo": [0.5, 2.0]})
    assert flat == ContrastiveRecipe(epochs=2, alterations=Alterations(tempo=(0.5, 2.0)))
    assert contrastive.recipe_from_dict(dataclasses.asdict(flat)) == flat
    with pytest.raises(TrainingError, match=r"unknown keys in the recipe: colour; legal are altered, batch_size"):
        contrastive.recipe_from_dict({"colour": 1})
