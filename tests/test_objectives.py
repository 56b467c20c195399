"""Objectives add and scale like numbers, say what they are, and refuse what a network does not have."""

import math

import numpy as np
import pytest
import torch

from iminet_viz.checkpoint import untrained_model
from iminet_viz.errors import PatternError
from iminet_viz.patterns.objectives import Objective, Term, channel, direction, fc_unit, unit

LAYERS = [f"{role}.conv{index}" for role in ("imitation", "recording") for index in (1, 2, 3)] + ["fc1"]


@pytest.fixture(scope="module")
def network():
    return untrained_model("tl-iminet", 0).network


@pytest.fixture(scope="module")
def values() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"imitation.conv1": (48, 5, 7), "recording.conv2": (48, 3, 4), "fc1": (108,)}
    return {layer: torch.randn(shape, generator=generator, dtype=torch.float64) for layer, shape in shapes.items()}


def test_each_objective_reads_what_it_names(values):
    maps = values["imitation.conv1"]
    assert channel("imitation.conv1", 3)(values) == maps[3].mean()
    assert unit("imitation.conv1", 3, (4, 6))(values) == maps[3, 4, 6]
    assert unit("imitation.conv1", 3)(values) == maps[3, 0, 0]
    assert fc_unit(107)(values) == values["fc1"][107]
    vector = np.arange(48.0) - 20
    expected = torch.tensordot(torch.tensor(vector / np.linalg.norm(vector)), maps.mean(dim=(1, 2)), dims=1)
    torch.testing.assert_close(direction("imitation.conv1", vector)(values), expected)


@pytest.mark.parametrize("n_terms", [1, 2, 3, 4, 7])
def test_a_weighted_sum_is_the_hand_computation(values, n_terms):
    """A well-known library compounds the multipliers: right for two terms, wrong from the third on."""
    weights = [2.0, -0.5, 3.0, 0.25, -7.0, 1.0, 0.0][:n_terms]
    parts = [
        channel("imitation.conv1", 0),
        channel("recording.conv2", 1),
        unit("imitation.conv1", 2, (1, 1)),
        fc_unit(3),
        channel("imitation.conv1", 4),
        direction("recording.conv2", np.ones(48)),
        fc_unit(5),
    ][:n_terms]
    total = weights[0] * parts[0]
    for weight, part in zip(weights[1:], parts[1:], strict=True):
        total = total + weight * part
    by_hand = sum(weight * float(part(values)) for weight, part in zip(weights, parts, strict=True))
    assert float(total(values)) == pytest.approx(by_hand, rel=1e-12)
    nested = weights[0] * parts[0]  # the same from the right: a + (b + (c + ...))
    if n_terms > 1:
        rest = weights[-1] * parts[-1]
        for weight, part in zip(weights[-2:0:-1], parts[-2:0:-1], strict=True):
            rest = weight * part + rest
        nested = nested + rest
    assert nested == total


def test_the_laws_of_arithmetic(values):
    a, b, c = channel("imitation.conv1", 3), fc_unit(4), unit("recording.conv2", 5, (2, 3))
    assert float((a - a)(values)) == 0
    assert 2 * (a + b) == 2 * a + 2 * b
    assert a * 2 == 2 * a
    assert 2 * (3 * a) == 6 * a
    assert -a == a * -1
    assert (a + b) + c == a + (b + c)
    assert a - (b - c) == a - b + c
    assert float((2 * (a - 3 * b) - c)(values)) == pytest.approx(
        2 * float(a(values)) - 6 * float(b(values)) - float(c(values)), rel=1e-12
    )
    assert float((0 * a)(values)) == 0
    # nothing was changed on the way
    assert (a, b) == (channel("imitation.conv1", 3), fc_unit(4))


def test_a_numpy_factor_is_a_factor(values):
    a = channel("imitation.conv1", 3)
    assert a * np.float64(2) == np.float64(2) * a == 2 * a


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        (channel("imitation.conv2", 17), "imitation.conv2:17"),
        (unit("recording.conv1", 3, (1, 20)), "recording.conv1:3@1,20"),
        (unit("recording.conv1", 3), "recording.conv1:3@0,0"),
        (fc_unit(5), "fc1:5"),
        (2 * fc_unit(5), "2 * fc1:5"),
        (direction("imitation.conv1", np.ones(48)), "imitation.conv1:direction"),
        (channel("imitation.conv1", 0) - 0.5 * fc_unit(1), "imitation.conv1:0 + -0.5 * fc1:1"),
    ],
)
def test_an_objective_says_what_it_is(objective, text):
    assert str(objective) == text


def test_layers_and_roles_come_once_each_in_the_order_of_the_network(network):
    both = channel("recording.conv1", 1) + channel("imitation.conv2", 1) + channel("recording.conv1", 2)
    assert both.layers == ("recording.conv1", "imitation.conv2")
    assert both.roles(network) == ("imitation", "recording")
    assert fc_unit(0).roles(network) == ("imitation", "recording")
    assert channel("recording.conv3", 0).roles(network) == ("recording",)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_neuron_of_the_network_is_accepted(network, layer):
    last = network.n_channels(layer) - 1
    make = fc_unit if layer == "fc1" else lambda index: channel(layer, index)
    for index in (0, last):
        make(index).check(network)
    for index in (-1, last + 1):
        with pytest.raises(PatternError, match=f"{layer} has neurons 0 to {last}, {index} was asked for"):
            make(index).check(network)


@pytest.mark.parametrize("layer", ["imitation.conv4", "conv1", "fc2", "", "imitation", "Imitation.conv1"])
@pytest.mark.parametrize("place", [0, 1])
def test_an_unknown_layer_lists_the_legal_names(network, layer, place):
    terms = [channel("imitation.conv1", 0), channel(layer, 0)]
    with pytest.raises(PatternError) as caught:
        (terms[place] + terms[1 - place]).check(network)
    assert repr(layer) in str(caught.value)
    assert all(name in str(caught.value) for name in LAYERS)


@pytest.mark.parametrize("layer", LAYERS[:-1])
def test_positions_reach_to_the_last_cell_of_the_map_and_not_beyond(network, layer):
    role, name = layer.split(".")
    bands, frames = network.towers[role].map_shape(name)
    for position in ((0, 0), (bands - 1, frames - 1)):
        unit(layer, 0, position).check(network)
    for position in ((bands, 0), (0, frames), (-1, 0), (0, -1)):
        with pytest.raises(PatternError, match=f"maps of {bands} x {frames}"):
            unit(layer, 0, position).check(network)


def test_fc1_has_no_positions(network):
    with pytest.raises(PatternError, match="fc_unit"):
        unit("fc1", 0, (0, 0)).check(network)


@pytest.mark.parametrize("position", [(1,), (1, 2, 3)])
def test_a_position_of_another_length_is_refused(network, position):
    with pytest.raises(PatternError):
        unit("imitation.conv1", 0, position).check(network)


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_refused(network, weight):
    with pytest.raises(PatternError, match="finite"):
        (channel("imitation.conv1", 1) + weight * channel("imitation.conv1", 0)).check(network)


def test_a_direction_has_unit_length_whatever_it_is_made_of(network):
    for vector in (np.arange(48), tuple(range(48)), np.arange(48, dtype=np.float32)[:, None]):
        objective = direction("imitation.conv1", vector)
        assert np.linalg.norm(objective.terms[0].direction) == pytest.approx(1, rel=1e-6)
        objective.check(network)


@pytest.mark.parametrize("vector", [np.zeros(48), np.full(48, np.nan), np.full(48, np.inf), [0.0, np.nan, 1.0], []])
def test_a_direction_that_points_nowhere_is_refused(vector):
    with pytest.raises(PatternError, match="finite"):
        direction("imitation.conv1", vector)


def test_a_direction_must_fit_the_layer(network):
    with pytest.raises(PatternError, match="needs 48 numbers, 47 given"):
        direction("imitation.conv1", np.ones(47)).check(network)
    bad = (1.0,) * 47 + (math.nan,)  # past the function that would have refused it
    with pytest.raises(PatternError, match="NaN"):
        Objective((Term("imitation.conv1", direction=bad),)).check(network)


def test_values_keep_their_gradient(values):
    maps = values["imitation.conv1"].clone().requires_grad_()
    (2 * channel("imitation.conv1", 3) - unit("imitation.conv1", 4, (1, 2)))({"imitation.conv1": maps}).backward()
    expected = torch.zeros_like(maps)
    expected[3] = 2 / 35
    expected[4, 1, 2] = -1
    torch.testing.assert_close(maps.grad, expected)
