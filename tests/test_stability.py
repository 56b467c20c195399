"""Likeness of patterns: of textures, not of pictures cell by cell; the random net is the same pipeline."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from iminet_viz.checkpoint import load_model, untrained_model
from iminet_viz.patterns.engine import EngineConfig, maximize, maximize_many
from iminet_viz.patterns.evidence import MEASURES
from iminet_viz.patterns.objectives import Term, channel, fc_unit
from iminet_viz.patterns.stability import CONTROLS, judge_stability, likeness, make_control, texture, textures

FEW = EngineConfig(steps=24, learning_rate=0.1, precision="32")


def stripes(cycles_per_width: float, bands: int = 39, frames: int = 120, tilt: float = 0.0, shift: float = 0.0):
    band, frame = np.mgrid[:bands, :frames]
    return np.sin(2 * np.pi * (cycles_per_width * (frame / frames) + tilt * band / bands + shift))


def like(a: np.ndarray, b: np.ndarray) -> float:
    return likeness({"imitation": texture(a)}, {"imitation": texture(b)})


def test_a_shifted_copy_is_the_same_texture():
    picture = stripes(12, tilt=2) + 0.3 * stripes(5)
    assert like(picture, np.roll(picture, 17, axis=1)) == pytest.approx(1, abs=1e-6)
    assert like(picture, 3 * picture + 7) == pytest.approx(1, abs=1e-6)  # neither level nor size counts
    assert like(stripes(12), stripes(12, shift=0.4)) == pytest.approx(1, abs=0.01)


def test_other_stripes_are_unlike_and_direction_counts():
    assert like(stripes(12), stripes(40)) < 0.1
    assert like(stripes(12, tilt=6), stripes(12, tilt=-6)) < 0.2
    near, far = like(stripes(12), stripes(14)), like(stripes(12), stripes(30))
    assert far < near < 1


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7])
def test_a_picture_without_modulation_is_like_nothing(value):
    flat = np.full((39, 120), value)
    assert not texture(flat).any()
    assert like(flat, flat) == like(flat, stripes(5)) == 0


@pytest.fixture(scope="module")
def model():
    return load_model("tl-iminet-conv123")


def test_a_seed_is_wholly_like_itself_and_another_more_than_another_neuron(model):
    objectives = [channel("recording.conv1", neuron) for neuron in (3, 11)]
    first, second = (maximize_many(model, objectives, FEW, seed) for seed in (0, 1))
    again = judge_stability(first[0], maximize(model, objectives[0], FEW, 0))
    assert again.evidence.stability == pytest.approx(1, abs=1e-6)
    own = judge_stability(first[0], second[0]).evidence.stability
    assert judge_stability(first[0], second[1]).evidence.stability < own < 1


def test_a_random_net_is_controlled_by_its_own_patterns():
    """The control of the very net that the control is made with finds the pattern itself."""
    net = untrained_model("tl-iminet", 1_000)
    pattern = maximize(net, channel("recording.conv2", 0), FEW)
    control = make_control(net, Term("recording.conv2"), FEW, neurons=3)
    assert len(control) == 3
    judged = judge_stability(pattern, None, control)
    assert judged.evidence.control == pytest.approx(1, abs=1e-3)
    assert judged.evidence.stability is None
    assert judge_stability(pattern, None).evidence.control is None


def test_a_control_has_all_of_a_first_layer_and_as_many_of_the_others_as_the_page_says(model):
    config = dataclasses.replace(FEW, steps=1)
    sizes = [len(make_control(model, Term(layer), config)) for layer in ("recording.conv1", "recording.conv2", "fc1")]
    assert sizes == [24, CONTROLS, CONTROLS]
    assert f"the most alike of {CONTROLS} pictures (in a tower's first layer: all)" in MEASURES["control"].meaning


def test_the_control_knows_nothing_of_the_weights_that_it_is_a_control_of():
    few = dataclasses.replace(FEW, steps=2)
    nets = [untrained_model("tl-iminet", seed) for seed in (5, 6)]
    first, second = (make_control(net, Term("recording.conv1"), few, neurons=1)[0]["recording"] for net in nets)
    assert first.any() and np.array_equal(first, second)


def test_pairs_are_compared_side_by_side(model):
    pattern = maximize(model, fc_unit(5), dataclasses.replace(FEW, steps=2))
    own = textures(pattern)
    assert set(own) == {"imitation", "recording"}
    mixed = {**own, "recording": -own["recording"]}
    assert likeness(own, mixed) == pytest.approx(0, abs=1e-6)


def test_the_random_numbers_of_the_caller_are_left_alone(model):
    state = torch.random.get_rng_state()
    make_control(model, Term("recording.conv1"), dataclasses.replace(FEW, steps=1), neurons=1)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("parameterization", ["spectrum", "phase", "fourier", "pixels"])
def test_the_random_net_is_drawn_with_as_the_model_is(model, parameterization):
    config = EngineConfig(steps=1, parameterization=parameterization)
    assert len(make_control(model, Term("imitation.conv1"), config, neurons=1)) == 1
