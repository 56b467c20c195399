"""The aligned net, its front end, and the alignment, against brute force and known answers."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from iminet_viz.contrastive import AlignedView
from iminet_viz.errors import FrontEndError, PatternError
from iminet_viz.frames import MEL_FRAMES, condition_frames, mel_decibels, mel_frames, resample_frames, trim_frames
from iminet_viz.frontends import (
    StretchedMel,
    config_from_dict,
    config_to_dict,
    log_mel_of_frames,
    make_frontend,
    power_to_db,
    trim_silence,
)
from iminet_viz.models.aligned import AlignedConfig, AlignedNet, align_clips, align_scores


def sequence(seed: int, length: int, values: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(length, values)).astype(np.float32)


def align_slowly(a: np.ndarray, b: np.ndarray, wa: np.ndarray, wb: np.ndarray, step: float) -> float:
    """The recursion as it is defined, by memory instead of by rows."""

    def cost(i: int, j: int) -> float:
        return float(np.linalg.norm(a[i].astype(float) - b[j]) * max(wa[i], wb[j]))

    @functools.cache
    def best(i: int, j: int) -> float:
        if i < 0 or j < 0:
            return np.inf
        if i == 0 and j == 0:
            return cost(0, 0)
        return min(best(i - 1, j - 1) + cost(i, j), min(best(i - 1, j), best(i, j - 1)) + step * cost(i, j))

    return best(len(a) - 1, len(b) - 1) / (len(a) + len(b))


@pytest.mark.parametrize("step_cost", [1.0, 1.3])
def test_the_kernel_agrees_with_brute_force(step_cost):
    queries = [sequence(1, 6), sequence(2, 1), sequence(3, 9)]
    candidates = [sequence(4, 7), sequence(5, 3), sequence(6, 1), sequence(7, 12)]
    rng = np.random.default_rng(0)
    weights = [[rng.uniform(0.2, 1, len(x)) for x in side] for side in (queries, candidates)]
    query_s, candidate_s = rng.uniform(0.1, 3, 3), rng.uniform(0.1, 3, 4)
    scores = align_scores(
        queries,
        candidates,
        query_s,
        candidate_s,
        query_weights=weights[0],
        candidate_weights=weights[1],
        step_cost=step_cost,
        duration_cost=0.2,
    )
    for i, (a, wa) in enumerate(zip(queries, weights[0], strict=True)):
        for j, (b, wb) in enumerate(zip(candidates, weights[1], strict=True)):
            expected = -align_slowly(a, b, wa, wb, step_cost) - 0.2 * abs(np.log(query_s[i] / candidate_s[j]))
            assert scores[i, j] == pytest.approx(expected, rel=1e-5)


def test_a_sequence_is_at_no_distance_from_itself_and_from_a_slower_one():
    x, other = sequence(1, 20), sequence(2, 20)
    slower = np.repeat(x, 2, axis=0)
    scores = align_scores([x], [x, slower, other], np.ones(1), np.ones(3))[0]
    assert scores[0] == 0
    assert scores[1] == 0  # repeated frames cost nothing: each has its equal
    assert scores[2] < -0.5


def test_alignment_is_symmetric():
    queries, candidates = [sequence(1, 8), sequence(2, 5)], [sequence(3, 6), sequence(4, 11)]
    forwards = align_scores(queries, candidates, np.array([1.0, 2.0]), np.array([0.5, 3.0]))
    backwards = align_scores(candidates, queries, np.array([0.5, 3.0]), np.array([1.0, 2.0]))
    np.testing.assert_allclose(forwards, backwards.T, rtol=1e-6)


def test_duration_alone_costs_its_log_ratio():
    x = sequence(1, 4)
    scores = align_scores([x], [x, x], np.array([1.0]), np.array([np.e, 1 / np.e]), duration_cost=0.15)
    np.testing.assert_allclose(scores, -0.15, rtol=1e-6)


def test_nothing_to_search_gives_an_empty_table():
    assert align_scores([sequence(1, 4)], [], np.ones(1), np.ones(0)).shape == (1, 0)


@pytest.mark.parametrize("bad", [np.zeros((0, 5), np.float32), np.zeros((4, 6), np.float32), np.zeros(5, np.float32)])
def test_sequences_that_do_not_fit_are_refused(bad):
    with pytest.raises(ValueError, match="equal numbers of values"):
        align_scores([sequence(1, 4)], [bad], np.ones(1), np.ones(1))


def chirp(duration_s: float, low: float = 300.0, high: float = 3_000.0) -> np.ndarray:
    time = np.arange(round(duration_s * 16_000)) / 16_000
    phase = low * time + (high - low) * time**2 / (2 * duration_s)
    return (0.5 * np.sin(2 * np.pi * phase)).astype(np.float32)


def test_frames_ignore_gain_and_silence_around():
    plain = mel_frames(chirp(0.8))
    moved = mel_frames(np.concatenate([np.zeros(4_000, np.float32), 0.01 * chirp(0.8), np.zeros(9_600, np.float32)]))
    assert plain.values.shape == (len(plain.level_db), 64)
    assert plain.duration_s == pytest.approx(0.8, abs=0.03)
    assert moved.duration_s == pytest.approx(plain.duration_s, abs=0.03)
    same, reverse = align_clips([moved], [plain, mel_frames(chirp(0.8)[::-1])])[0]
    assert same > -0.35 and reverse < 2 * same


def test_a_slower_sound_stays_closer_than_another():
    scores = align_clips([mel_frames(chirp(0.5))], [mel_frames(chirp(1.0)), mel_frames(chirp(0.5, 3_000.0, 300.0))])
    assert scores[0, 0] > scores[0, 1]


def test_half_of_the_own_mean_is_taken_off():
    db = np.random.default_rng(0).uniform(-60, 0, (64, 41)).astype(np.float32)
    frames = condition_frames(db)
    assert frames.values.shape == (11, 64)
    assert frames.duration_s == pytest.approx(0.41)
    first = (db[:, :4] - 0.5 * db.mean(axis=1, keepdims=True)).mean(axis=1)
    np.testing.assert_allclose(frames.values[0], (first + 20) / 20, atol=1e-5)
    last = db[:, 40] - 0.5 * db.mean(axis=1)  # the frame that was left over stands alone
    np.testing.assert_allclose(frames.values[-1], (last + 20) / 20, atol=1e-5)


@pytest.mark.parametrize("length", [1, 100, 640, 16_000])
def test_silence_and_short_clips_give_finite_frames(length):
    for waveform in (np.zeros(length, np.float32), np.full(length, 0.1, np.float32)):
        frames = mel_frames(waveform)
        assert np.isfinite(frames.values).all() and frames.duration_s > 0
        assert resample_frames(frames.values, 64).shape == (64, 64)


def test_wrong_waveforms_are_refused():
    for waveform in (np.zeros(0, np.float32), np.zeros((2, 100), np.float32)):
        with pytest.raises(FrontEndError, match=r"expected \(samples,\)"):
            mel_decibels(waveform)


@pytest.mark.parametrize("length", [1, 511, 16_000, 33_333])
def test_decibels_without_torch_are_those_of_the_front_end(length):
    waveform = chirp(3.0)[:length] + np.random.default_rng(0).normal(0, 0.01, length).astype(np.float32)
    power = log_mel_of_frames(MEL_FRAMES).spectrogram(torch.from_numpy(waveform)[None])
    decibels = mel_decibels(waveform)
    assert decibels.dtype == np.float32
    np.testing.assert_allclose(decibels, power_to_db(power, MEL_FRAMES.top_db)[0], atol=0.01)


def test_trimming_keeps_what_is_within():
    db = np.full((4, 10), -80.0, np.float32)
    db[1, 2], db[2, 5], db[3, 6] = -10.0, 0.0, -30.0
    assert trim_frames(db, 17.0).shape == (4, 4)  # frames 2 to 5
    assert trim_frames(db, 35.0).shape == (4, 5)
    waveform = np.concatenate([np.zeros(1_600), np.ones(800), np.zeros(300), 0.5 * np.ones(500), np.zeros(900)])
    assert len(trim_silence(waveform, 16_000, 30.0)) == pytest.approx(1_600, abs=160)
    assert not trim_silence(np.zeros(50), 16_000, 30.0).any()


def test_resampling_frames_keeps_ends_and_lines():
    line = np.linspace(0, 1, 11)[:, None] * np.array([[1.0, -2.0]])
    resampled = resample_frames(line, 31)
    assert resampled.shape == (2, 31)
    np.testing.assert_allclose(resampled[0], np.linspace(0, 1, 31), atol=1e-6)
    np.testing.assert_allclose(resample_frames(line[:1], 4), 0)


@pytest.mark.parametrize("duration_s", [0.01, 0.7, 2.56, 4.0])
def test_the_front_end_gives_what_the_net_is_trained_on(duration_s):
    waveform = np.concatenate([np.zeros(4_000, np.float32), chirp(duration_s)])
    frontend = make_frontend(config_from_dict(config_to_dict(MEL_FRAMES)))
    assert isinstance(frontend, StretchedMel) and frontend.config == MEL_FRAMES
    view = AlignedView()
    expected = view.batch([view.spectrogram(waveform, "imitation")], "imitation")
    window = torch.from_numpy(frontend.fit(waveform))[None]
    x = frontend(window)
    assert x.shape == (1, 1, 64, 64)
    torch.testing.assert_close(x, expected.inputs)
    torch.testing.assert_close(frontend.durations(window), expected.duration_s)
    db = frontend.decibels(torch.from_numpy(waveform)[None])
    assert db.shape == (1, 64, 64) and db.min() >= -80 and db.max() <= 0
    # not the same numbers: the mean that is taken off is that of the frames before they are averaged and stretched
    torch.testing.assert_close(frontend.normalize(db)[:, None], x, atol=0.3, rtol=0)


def test_normalizing_pooled_frames_is_conditioning_them():
    db = np.random.default_rng(0).uniform(-80, 0, (64, 256)).astype(np.float32)
    frames = condition_frames(db)
    assert resample_frames(frames.values, 64).shape == frames.values.T.shape  # 2.56 s: nothing is stretched
    assert MEL_FRAMES.n_samples == 256 * 160 and MEL_FRAMES.duration_s == pytest.approx(2.56)
    pooled = torch.from_numpy(db).unfold(1, 4, 4).mean(2)[None]
    torch.testing.assert_close(
        make_frontend(MEL_FRAMES).normalize(pooled)[0].T, torch.from_numpy(frames.values), atol=1e-5, rtol=0
    )


@pytest.fixture
def network() -> AlignedNet:
    torch.manual_seed(0)
    return AlignedNet().eval()


def test_shapes_and_size(network):
    x = torch.randn(3, 1, *MEL_FRAMES.shape)
    assert network.embed(x).shape == (3, 32, 48)
    shapes = {layer: tuple(network.preactivation(layer, x).shape[1:]) for layer in network.layers}
    assert shapes == {"conv1": (16, 32, 64), "conv2": (32, 16, 32), "conv3": (32, 8, 32), "frames": (48, 32)}
    assert {layer: network.n_channels(layer) for layer in network.layers} == {n: s[0] for n, s in shapes.items()}
    assert sum(parameter.numel() for parameter in network.parameters()) == 51_380
    with pytest.raises(PatternError, match="no layer 'conv9', expected one of conv1, conv2, conv3, frames"):
        network.preactivation("conv9", x)
    with pytest.raises(PatternError):
        network.n_channels("fc1")
    assert AlignedConfig(**dataclasses.asdict(AlignedConfig())) == AlignedConfig()


@torch.no_grad()
def test_the_grid_is_the_pairs_one_by_one(network):
    query, candidate = network.embed(torch.randn(2, 1, 64, 64)), network.embed(torch.randn(3, 1, 64, 64))
    query_s, candidate_s = torch.tensor([0.5, 1.0]), torch.tensor([0.4, 1.0, 2.0])
    for compare in (network.interact, network.align):
        grid = np.asarray(compare(query, candidate, query_s, candidate_s))
        for i, j in np.ndindex(2, 3):
            alone = compare(query[[i]], candidate[[j]], query_s[[i]], candidate_s[[j]])
            assert grid[i, j] == pytest.approx(float(alone[0, 0]), rel=1e-4, abs=1e-4)


@torch.no_grad()
def test_a_clip_is_most_like_itself(network):
    frames, duration = network.embed(torch.randn(6, 1, 64, 64)), torch.linspace(0.3, 2, 6)
    for compare in (network.interact, network.align):
        scores = np.asarray(compare(frames, frames, duration, duration))
        assert (scores.argmax(axis=1) == np.arange(6)).all()
