"""IMISOUND: patches, pooled statistics and cosine by hand, and the training of its encoder."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from iminet_viz.autoencoder import AutoencoderRecipe, train_autoencoder
from iminet_viz.errors import TrainingError
from iminet_viz.models.imisound import Imisound, ImisoundConfig

RECIPE = AutoencoderRecipe(epochs=4, batch_size=16)


def build(hidden: tuple[int, int] = (50, 30), seed: int = 0) -> Imisound:
    torch.manual_seed(seed)
    return Imisound(ImisoundConfig(hidden)).eval()


def spectrograms(clips: int, frames: int = 129, seed: int = 0) -> torch.Tensor:
    """A few ridges each, standardised: something to be learned."""
    rng = np.random.default_rng(seed)
    bins = np.arange(72)[:, None]
    ridges = [
        np.exp(-0.05 * (bins - rng.uniform(0, 72) - rng.normal(0, 0.2) * np.arange(frames)) ** 2) for _ in range(clips)
    ]
    x = torch.from_numpy(np.stack(ridges).astype(np.float32))[:, None]
    return (x - x.mean(dim=(2, 3), keepdim=True)) / x.std(dim=(2, 3), keepdim=True)


@pytest.mark.parametrize(
    ("frames", "patches"), [(1, 1), (19, 1), (20, 1), (21, 2), (30, 2), (31, 3), (129, 12), (500, 49)]
)
def test_patches_cover_every_frame_and_end_in_silence(frames, patches):
    x = torch.randn(2, 1, 72, frames, generator=torch.Generator().manual_seed(0))
    cut = build().patches(x)
    assert cut.shape == (2, patches, 1_440)
    for clip, own in zip(x[:, 0], cut, strict=True):
        for index, patch in enumerate(own.unflatten(1, (72, 20))):
            there = clip[:, 10 * index : 10 * index + 20]
            assert torch.equal(patch[:, : there.shape[1]], there)
            assert (patch[:, there.shape[1] :] == clip.min()).all()


@pytest.mark.parametrize("frames", [5, 20, 30, 129])
@torch.no_grad()
def test_the_vector_is_what_numpy_computes(frames):
    model = build()
    x = spectrograms(3, frames)
    code = np.stack([torch.sigmoid(model.preactivation("hidden2", x[[i]]))[0].T.numpy() for i in range(3)])
    hidden = torch.sigmoid(model.encoder["hidden1"](model.patches(x)))
    np.testing.assert_allclose(code, torch.sigmoid(model.encoder["hidden2"](hidden)).numpy(), rtol=1e-5)
    padded = np.pad(code, ((0, 0), (1, 1), (0, 0)), mode="edge")
    features = np.concatenate([code, (padded[:, 2:] - padded[:, :-2]) / 2], axis=2)
    np.testing.assert_allclose(model.features(x).numpy(), features, atol=1e-6)
    low, median, high = np.percentile(features, [25, 50, 75], axis=1)
    statistics = [features.max(1), features.min(1), features.mean(1), median, features.std(1), high - low]
    vector = model.describe(x)
    assert vector.shape == (3, 6 * 60)
    np.testing.assert_allclose(vector.numpy(), np.concatenate(statistics, axis=1), atol=1e-5)


@torch.no_grad()
def test_the_paper_s_sizes_and_the_cosine():
    model = build((1_000, 600))
    x = spectrograms(3)
    vectors = model.describe(x)
    assert vectors.shape == (3, 7_200)
    scores = model.score_halves(model.query_half(x), model.candidate_half(x))
    for i, j in np.ndindex(3, 3):
        cosine = torch.dot(vectors[i], vectors[j]) / (vectors[i].norm() * vectors[j].norm())
        assert scores[i, j].item() == pytest.approx(cosine.item(), abs=1e-5)
    assert torch.equal(scores.argmax(1), torch.arange(3))
    silent = model.query_half(torch.zeros(1, 1, 72, 129))
    assert silent.isfinite().all() and silent.norm().item() == pytest.approx(1)


def test_training_lowers_the_loss_of_each_layer():
    x, reported = spectrograms(12), []
    model = build()
    losses = train_autoencoder(model, x, dataclasses.replace(RECIPE, epochs=12), lambda *event: reported.append(event))
    assert reported == [(layer, epoch, loss) for layer in losses for epoch, loss in enumerate(losses[layer])]
    assert list(losses) == ["hidden1", "hidden2"]
    assert losses["hidden1"][-1] < 0.6 * losses["hidden1"][0] < 2  # 1 is the variance of the patches
    assert losses["hidden2"][-1] < 0.5 * losses["hidden2"][0]
    assert not model.training


def test_each_layer_is_trained_on_what_is_below_and_leaves_it_alone():
    x = spectrograms(4)
    both, first = build(), build()
    train_autoencoder(both, x, RECIPE)
    del first.encoder["hidden2"]
    train_autoencoder(first, x, RECIPE)
    assert torch.equal(both.encoder["hidden1"].weight, first.encoder["hidden1"].weight)


def test_the_same_seed_gives_the_same_weights():
    x = spectrograms(4)
    networks = [build() for _ in range(3)]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        torch.manual_seed(seed + 7)  # what else draws numbers does not matter
        state = torch.random.get_rng_state()
        train_autoencoder(network, x, dataclasses.replace(RECIPE, epochs=1, seed=seed))
        assert torch.equal(torch.random.get_rng_state(), state)
    first, same, other = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(TrainingError, match="no spectrogram"):
        train_autoencoder(build(), torch.zeros(0, 1, 72, 129), RECIPE)
    with pytest.raises(TrainingError, match="the loss of hidden1 is nan in epoch 0"):
        train_autoencoder(build(), torch.full((1, 1, 72, 129), math.nan), RECIPE)
