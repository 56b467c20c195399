"""Alignments explained: every part of the score is a meeting or a duration, and time is where it is."""

import json

import numpy as np
import pytest

from iminet_viz.alignment import explain_alignment, hear_alignment, warp
from iminet_viz.attribution import explain_match
from iminet_viz.audio import load_audio, save_audio
from iminet_viz.baselines import BASELINES
from iminet_viz.checkpoint import untrained_model
from iminet_viz.errors import AudioError, PatternError
from iminet_viz.models.aligned import align_scores
from iminet_viz.scoring import Scorer, part_of

RATE = 16_000


def chirp(seconds: float, low: float, high: float) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * (low * time + (high - low) * time**2 / (2 * seconds))
    return (0.3 * np.sin(phase) * np.hanning(len(time)) ** 0.3).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A rising tone, and the same half a second later and half as fast."""
    folder = tmp_path_factory.mktemp("clips")
    save_audio(folder / "voice.wav", chirp(1.0, 300, 3_000), RATE)
    save_audio(folder / "sound.wav", np.concatenate([np.zeros(RATE // 2), chirp(2.0, 300, 3_000)]), RATE)
    save_audio(folder / "silent.wav", np.zeros(RATE), RATE)
    return folder


@pytest.fixture(scope="module")
def scorer():
    parts = (part_of(untrained_model("aligned", 0)), BASELINES["dtw"], BASELINES["dtw-mfcc"])
    return Scorer("three", parts, (1.0, 2.0, 0.5))


def test_meetings_and_durations_add_up_to_the_score_of_search(files, scorer):
    paths = files / "voice.wav", files / "sound.wav"
    explained = explain_alignment(scorer, *paths)
    for part, own in zip(scorer.parts, explained.alignments, strict=True):
        query, candidate = (
            part.keep(load_audio(path, RATE), role)
            for path, role in zip(paths, ("imitation", "recording"), strict=True)
        )
        assert own.score == pytest.approx(float(part.scores([query], [candidate])[0, 0]), rel=1e-5)
        assert own.adds.sum() + own.duration_adds == pytest.approx(own.score, abs=1e-9)
        assert (own.adds <= 0).all() and own.duration_adds <= 0
        assert own.path[0].tolist() == [0, 0] and own.path[-1].tolist() == [n - 1 for n in own.distances.shape]
        steps = np.diff(own.path, axis=0)
        assert steps.min() >= 0 and steps.max() == 1 and (steps.sum(axis=1) > 0).all()
    figures = explained.as_dict()
    assert figures["value"] is None  # of a fusion there is none without a library
    for part in figures["parts"]:
        assert sum(met["adds"] for met in part["meetings"]) + part["duration_adds"] == pytest.approx(part["score"])
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize("step_cost", [1.0, 1.3])
def test_the_path_costs_what_the_kernel_says(step_cost):
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (1, 5), (7, 1), (9, 13)):
        query, candidate = rng.standard_normal((n, 3)), rng.standard_normal((m, 3))
        distances = np.sqrt(np.square(query[:, None] - candidate).sum(-1))
        path, costs = warp(distances, step_cost)
        one = np.ones(1)
        kernel = align_scores([query], [candidate], one, one, step_cost=step_cost, duration_cost=0.0)
        assert -costs.sum() / (n + m) == pytest.approx(kernel[0, 0], rel=1e-5)
        assert len(path) == len(costs)


def test_moments_meet_where_the_sound_is_the_same(files):
    scorer = Scorer("dtw", (BASELINES["dtw"],))
    explained = explain_alignment(scorer, files / "voice.wav", files / "sound.wav")
    (own,) = explained.alignments
    # in the files: what is silent before them is not explained
    begin = {role: span[0] for role, span in explained.spans.items()}
    voice, sound = (begin[role] + (e[1:] + e[:-1]) / 2 for role, e in own.edges.items())
    met = sound[own.path[:, 1]] - (0.5 + 2 * voice[own.path[:, 0]])
    assert np.abs(met).max() < 0.15 and own.beaten == 20
    assert begin["recording"] > 0.45 and own.edges["imitation"][-1] <= 1.01
    for moment in explained.moments():
        there = begin["recording"] + moment["recording"][0]
        assert there == pytest.approx(0.5 + 2 * (begin["imitation"] + moment["imitation"][0]), abs=0.2)
        assert moment["nearness"] > 0.3


def test_a_clip_with_itself_is_as_near_as_can_be(files, scorer):
    explained = explain_alignment(scorer, files / "voice.wav", files / "voice.wav")
    for own in explained.alignments:
        assert own.score == 0 and not np.signbit(own.duration_adds) and own.nearness == pytest.approx(1)
        assert (own.path[:, 0] == own.path[:, 1]).all()
    assert np.nanmin(explained.profile("recording")) == pytest.approx(1)


def test_only_moments_that_are_near_are_heard(files):
    clip = load_audio(files / "sound.wav", RATE)
    profile = np.full(251, np.nan)
    profile[100:150], profile[150:] = 0.5, -0.5
    heard = hear_alignment(clip, profile)
    assert len(heard) == len(clip)
    np.testing.assert_allclose(heard[17_600:22_400], clip[17_600:22_400])
    assert not heard[:15_000].any() and not heard[25_000:].any()
    with pytest.raises(PatternError, match="no moment"):
        hear_alignment(clip, -np.ones(251))


def test_noise_matches_noise_wherever_it_begins(files, tmp_path):
    rng = np.random.default_rng(0)
    dtw = Scorer("dtw", (BASELINES["dtw"],))
    found = []
    for number in range(10):
        save_audio(tmp_path / f"{number}.wav", 0.1 * rng.standard_normal(RATE).clip(-4, 4), RATE)
        if number:
            found.append(explain_alignment(dtw, tmp_path / f"{number - 1}.wav", tmp_path / f"{number}.wav"))
    assert 4 < np.mean([explained.alignments[0].beaten for explained in found]) < 16
    for explained in found:
        told = any("course in time" in warning for warning in explained.warnings)
        assert told == (explained.alignments[0].beaten < 16)
    assert not explain_alignment(dtw, files / "voice.wav", files / "sound.wav").warnings


def test_what_cannot_be_aligned_is_said(files, scorer):
    with pytest.raises(AudioError, match=r"silent\.wav: is silent"):
        explain_alignment(scorer, files / "voice.wav", files / "silent.wav")
    with pytest.raises(PatternError, match="not every part"):
        explain_alignment(Scorer("mfcc", (BASELINES["mfcc"],)), files / "voice.wav", files / "sound.wav")


def test_an_aligned_net_and_a_baseline_are_explained_by_the_same_call(files):
    for model in (untrained_model("aligned", 0), "dtw"):
        explained = explain_match(model, files / "voice.wav", files / "sound.wav")
        assert explained.value == pytest.approx(explained.alignments[0].score)
