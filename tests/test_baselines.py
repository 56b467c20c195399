"""Contract of every untrained baseline, and what people's imitations are found with by each."""

import librosa
import numpy as np
import pytest

from iminet_viz.baselines import BASELINES, HEARD_S, align_sequences, constant_q_statistics, cosine_scores, mfcc
from iminet_viz.frames import MEL_FRAMES, mel_decibels, trim_frames

RATE = 16_000
# docs/voices.md, "The first trial" and "The second trial"; the aligned net's own conditioning is .326 to .330
REFERENCE = {"mfcc": 0.141, "log-mel": 0.129, "cqt": 0.132, "dtw-mfcc": 0.239, "dtw": 0.326}


def chirp(low: float, high: float, seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * (low * time + (high - low) * time**2 / (2 * seconds))
    return (0.3 * np.sin(phase) * np.sin(np.pi * time / seconds) ** 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def sounds() -> list[np.ndarray]:
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    return [
        chirp(200, 2_000, 1.0),
        chirp(2_000, 200, 1.0),
        chirp(500, 500, 0.5),
        0.1 * noise,
        (0.2 * noise * np.exp(-np.arange(RATE) / 800)).astype(np.float32),
        chirp(3_000, 3_000, 2.0),
    ]


def scores(name: str, queries: list[np.ndarray], candidates: list[np.ndarray]) -> np.ndarray:
    baseline = BASELINES[name]
    return baseline.scores(
        [baseline.keep(x, "imitation") for x in queries], [baseline.keep(x, "recording") for x in candidates]
    )


@pytest.mark.parametrize("name", BASELINES)
def test_a_sound_is_most_like_itself_louder_later_and_with_silence_around(name, sounds):
    grid = scores(name, [np.pad(0.5 * x, (3_200, 4_800)) for x in sounds], sounds)
    assert grid.shape == (len(sounds), len(sounds))
    np.testing.assert_array_equal(grid.argmax(axis=1), np.arange(len(sounds)))


@pytest.mark.parametrize("name", BASELINES)
def test_any_sound_has_finite_scores(name):
    rng = np.random.default_rng(0)
    odd = [
        np.zeros(8_000),
        np.zeros(1),
        np.ones(1),
        np.full(20_000, 0.5),
        0.1 * rng.standard_normal(50),
        1e-7 * rng.standard_normal(9_000),
        np.eye(1, 9_000, 4_000)[0],
    ]
    assert np.isfinite(scores(name, [x.astype(np.float32) for x in odd], [x.astype(np.float32) for x in odd])).all()


@pytest.mark.parametrize("name", BASELINES)
def test_of_a_long_clip_the_beginning_is_heard(name, sounds):
    heard = round(HEARD_S * RATE)
    beginning = np.tile(sounds[3], 30)[:heard]
    ends_otherwise = np.concatenate([beginning, sounds[5]])
    grid = scores(name, [beginning], [ends_otherwise, beginning])
    assert grid[0, 0] == grid[0, 1]


@pytest.mark.parametrize("name", ["dtw", "dtw-mfcc"])
def test_alignment_tells_up_from_down_and_statistics_hardly_do(name, sounds):
    slower = [chirp(200, 2_000, 1.4)]
    up, down = scores(name, slower, sounds[:2])[0]
    assert up > down
    assert down < 1.5 * up  # both negative
    assert np.ptp(scores("mfcc", slower, sounds[:2])) < 0.01


def test_the_cepstrum_is_librosas(sounds):
    db = trim_frames(mel_decibels(sounds[0]), MEL_FRAMES.trim_db)
    np.testing.assert_allclose(mfcc(sounds[0]), librosa.feature.mfcc(S=db, n_mfcc=13), rtol=1e-4, atol=1e-3)


def test_the_plain_alignment_worked_out_by_hand():
    a, b = np.array([[0.0], [1], [3]]), np.array([[0.0], [3]])
    # 0-0, 1-0 and 3-3: one distance of 1, over 3 + 2 frames
    assert align_sequences([a], [b])[0, 0] == pytest.approx(-1 / 5)
    assert align_sequences([a, b], [b, a])[1, 0] == 0


def test_the_cosine_worked_out_by_hand():
    grid = cosine_scores([np.array([3.0, 4]), np.zeros(2)], [np.array([6.0, 8]), np.array([4.0, -3])])
    np.testing.assert_allclose(grid, [[1, 0], [0, 0]], atol=1e-12)


def test_constant_q_statistics_are_of_patches_and_their_steps(sounds):
    values = constant_q_statistics(sounds[0]).reshape(6, 2, 72, 20)  # statistic, patch or step, bin, frame
    largest, smallest, mean, middle, deviation, spread = values
    assert (largest >= mean).all() and (mean >= smallest).all() and (largest >= middle).all()
    assert (deviation >= 0).all() and (spread >= 0).all()
    assert largest[0].max() == 0 and smallest[0].min() >= -80  # dB below the clip's own maximum


def test_people_are_found_as_well_as_in_the_trials_or_better(data_folder):
    from iminet_viz.datasets import telephone
    from iminet_viz.evaluation import compare_paired, reciprocal_ranks
    from iminet_viz.scoring import load_scorer
    from iminet_viz.trials import evaluate_trial, run_trial

    root = data_folder / telephone.NAME
    trial, grids = run_trial(telephone.load(root), root, [load_scorer(name) for name in BASELINES])
    figures = {name: evaluate_trial(trial, grid).overall for name, grid in zip(BASELINES, grids, strict=True)}
    assert {(result.n, result.candidates) for result in figures.values()} == {(244, 170)}
    for name, result in figures.items():
        assert result.mrr > REFERENCE[name] - 0.005, name
        assert result.permuted_mrr < 0.05
        assert result.p == pytest.approx(1 / 1_001)
    ranks = [reciprocal_ranks(grids[list(BASELINES).index(name)], trial.answers) for name in ("dtw", "mfcc")]
    assert compare_paired(*ranks).interval[0] > 0.1
