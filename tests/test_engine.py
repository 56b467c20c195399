"""The engine finds what was planted, inside the set of inputs that a sound can have, and leaves no trace behind."""

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from iminet_viz.checkpoint import DbStatistics, TrainedModel, untrained_model
from iminet_viz.errors import PatternError
from iminet_viz.frontends import standardize
from iminet_viz.models import MODELS
from iminet_viz.patterns.engine import (
    EngineConfig,
    Pattern,
    generator_for,
    layer_values,
    maximize,
    maximize_many,
    to_decibels,
)
from iminet_viz.patterns.evidence import FILE_NAME, References, measure, save_references, stored_magnitudes
from iminet_viz.patterns.leaky import leaky
from iminet_viz.patterns.objectives import Objective, channel, direction, fc_unit, unit
from iminet_viz.patterns.parameterizations import PARAMETERIZATIONS, natural_magnitude
from iminet_viz.plotting import plot_pattern
from iminet_viz.sonification import sonify_pattern

TOWER_LAYERS = [f"{role}.conv{index}" for role in ("imitation", "recording") for index in (1, 2, 3)]
SHAPES = {"imitation": (39, 482), "recording": (128, 128)}
# Deterministic on every processor; "auto" would take bf16 where it is native.
FEW = EngineConfig(steps=6, precision="32", final_slope=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """As a model's own, with the mean spectrum of made-up clips."""
    folder = tmp_path_factory.mktemp("model")
    generator = torch.Generator().manual_seed(5)
    magnitudes = {}
    for role, shape in SHAPES.items():
        clips = torch.randn(8, *shape, generator=generator).cumsum(dim=2)
        magnitudes[role] = natural_magnitude(torch.fft.rfft2(clips).abs().mean(dim=0), shape).numpy()
    fingerprint = untrained_model("tl-iminet", 0).fingerprint
    save_references(folder / FILE_NAME, References(fingerprint, (), (), {}, magnitudes=magnitudes))
    return folder


@pytest.fixture(scope="module")
def model(folder) -> TrainedModel:
    return dataclasses.replace(untrained_model("tl-iminet", 0), folder=folder)


@pytest.fixture(scope="module")
def few(model) -> dict[str, list[Pattern]]:
    """Three patterns of each layer after few steps."""
    made = {}
    for layer in model.network.layers:
        make = fc_unit if layer == "fc1" else lambda index, layer=layer: channel(layer, index)
        made[layer] = maximize_many(model, [make(index) for index in (0, 5, 23)], FEW)
    return made


def activation(model: TrainedModel, objective: Objective, inputs: dict[str, torch.Tensor], slope: float = 0) -> float:
    """The objective's value by the plain definition, one input at a time."""
    network = model.network
    layers = {}
    with torch.no_grad():
        for layer in objective.layers:
            given = {role: inputs[role][None, None] for role in network.inputs_of(layer)}
            layers[layer] = nn.functional.leaky_relu(network.preactivation(layer, **given)[0], slope)
    return float(objective(layers))


def as_tensors(pattern: Pattern) -> dict[str, torch.Tensor]:
    return {role: torch.from_numpy(values) for role, values in pattern.inputs.items()}


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


# --- leaky ReLUs ----------------------------------------------------------------------------------------------------


def relus(network: nn.Module) -> dict[str, nn.Module]:
    found = {name: part for name, part in network.named_modules() if isinstance(part, nn.ReLU | nn.LeakyReLU)}
    assert len(found) == 7
    return found


@pytest.mark.parametrize("fails", [False, True])
def test_relus_are_leaky_inside_and_the_same_modules_afterwards(model, fails):
    before = relus(model.network)
    assert all(isinstance(part, nn.ReLU) and not part.inplace for part in before.values())
    x = {role: torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(1)) for role, shape in SHAPES.items()}
    logits = model.network(**x)
    modules = dict(model.network.named_modules())
    try:
        with leaky(model.network, 0.2):
            inside = relus(model.network)
            assert all(isinstance(part, nn.LeakyReLU) and part.negative_slope == 0.2 for part in inside.values())
            assert not torch.equal(model.network(**x), logits)
            if fails:
                raise RuntimeError("inside")
    except RuntimeError as error:
        assert str(error) == "inside"
    assert torch.equal(model.network(**x), logits)
    after = dict(model.network.named_modules())
    assert list(after) == list(modules)
    assert all(after[name] is part for name, part in modules.items())


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.3, 1.0])
def test_the_slope_is_that_of_negative_values(model, slope):
    x = torch.randn(1, 39, 482, generator=torch.Generator().manual_seed(2))
    objectives = [channel("imitation.conv1", 0)]
    before = model.network.preactivation("imitation.conv1", imitation=x[:, None])
    assert (before < 0).any()
    with leaky(model.network, slope):
        values = layer_values(model.network, objectives, {"imitation": x})["imitation.conv1"]
    torch.testing.assert_close(values, torch.where(before > 0, before, slope * before))
    plain = layer_values(model.network, objectives, {"imitation": x})["imitation.conv1"]
    assert torch.equal(plain, before.relu())


# --- known answers --------------------------------------------------------------------------------------------------

ROWS, COLUMNS = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
KERNELS = {
    "vertical edge": torch.sign(COLUMNS - 2.5),
    "horizontal edge": torch.sign(ROWS - 2.5),
    "diagonal": torch.sign(ROWS - COLUMNS + 0.5),
    "spot": torch.where((ROWS - 2.5).square() + (COLUMNS - 2.5).square() < 4, 1.0, -1.0),
}


def planted(kernel: torch.Tensor, spot: tuple[int, int] | None = None) -> TrainedModel:
    """A network whose only weights are one filter of conv1, and one of conv2 that looks at it at one place."""
    model = untrained_model("tl-iminet", 0)
    with torch.no_grad():
        for parameter in model.network.imitation.parameters():
            parameter.zero_()
        model.network.imitation.block("conv1").conv.weight[7, 0] = kernel / kernel.norm()
        if spot is not None:
            model.network.imitation.block("conv2").conv.weight[3, 7, spot[0], spot[1]] = 1
    return model


@pytest.mark.parametrize(
    ("name", "parameterization", "reachable"),
    [
        *((name, "pixels", True) for name in KERNELS),
        ("diagonal", "fourier", True),
        ("diagonal", "fourier", False),
        pytest.param("diagonal", "pixels", False),
    ],
)
def test_a_planted_filter_comes_back(name, parameterization, reachable):
    config = EngineConfig(
        steps=400, precision="32", parameterization=parameterization, reachable=reachable, tolerance=1e-5
    )
    kernel = KERNELS[name]
    pattern = maximize(planted(kernel), unit("imitation.conv1", 7, (20, 300)), config)
    patch = pattern.inputs["imitation"][20:26, 300:306]
    # Fourier moves all cells at once: 1/f colours what is found, and cells far beyond a bound do not come back
    assert correlation(patch, kernel) > (0.95 if parameterization == "pixels" else 0.7)
    if (
        reachable and parameterization == "pixels"
    ):  # the best that is possible: the loudest cell where the kernel is positive, the floor elsewhere
        best = torch.where(kernel > 0, 50 / 16, -30 / 16)
        bound = float((kernel / kernel.norm() * best).sum())
        assert 0.95 * bound < pattern.activation <= bound * 1.001


def test_a_filter_planted_in_the_second_layer_comes_back():
    """conv2 looks at conv1's filter 2 rows and 3 columns of the pooled map in: at 4..5 rows, 6..7 columns in."""
    kernel = KERNELS["diagonal"]
    model = planted(kernel, spot=(2, 3))
    starts: list[torch.Tensor] = []

    def report(step, values, inputs):
        starts.append(inputs["imitation"][0].clone())

    pattern = maximize(model, unit("imitation.conv2", 3, (5, 100)), EngineConfig(steps=200, precision="32"), 0, report)
    patch = pattern.inputs["imitation"][10:27, 200:217]
    found = {(i, k): correlation(patch[i : i + 6, k : k + 6], kernel) for i in range(12) for k in range(12)}
    best = max(found, key=found.get)
    assert best in {(4, 6), (4, 7), (5, 6), (5, 7)}
    assert found[best] > 0.95
    np.testing.assert_allclose(patch[:4], starts[0][:4], atol=2e-3)  # elsewhere the noise stayed
    np.testing.assert_allclose(patch[:, 13:], starts[0][:, 13:], atol=2e-3)


# Where magnitudes are given they decide how alike neighbours are, and no phase can change it.
@pytest.mark.parametrize("parameterization", [name for name, kind in PARAMETERIZATIONS.items() if not kind.natural])
@pytest.mark.parametrize("name", ["vertical edge", "horizontal edge"])
def test_the_channel_objective_draws_the_filters_texture(name, parameterization):
    config = EngineConfig(steps=40, precision="32", parameterization=parameterization)
    model = planted(KERNELS[name])
    pattern = maximize(model, channel("imitation.conv1", 7), config)
    image = pattern.inputs["imitation"][4:-4, 4:-4]
    along_bands = correlation(image[1:], image[:-1])
    along_frames = correlation(image[:, 1:], image[:, :-1])
    if name == "vertical edge":  # the same in all bands, another in each run of frames
        assert along_bands > along_frames + 0.1
    else:
        assert along_frames > along_bands + 0.1
    random = standardize(torch.randn(39, 482, generator=torch.Generator().manual_seed(3)))
    assert pattern.activation > 1.5 * activation(model, pattern.objective, {"imitation": random})


# --- one position: only its receptive field -------------------------------------------------------------------------


@pytest.mark.parametrize("layer", TOWER_LAYERS)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_unit_depends_on_its_patch_alone_on_any_background(model, layer, place):
    role, name = layer.split(".")
    tower = model.network.towers[role]
    shape, field = tower.map_shape(name), tower.receptive_field(name)
    position = {"first": (0, 0), "middle": (shape[0] // 2, shape[1] // 2), "last": (shape[0] - 1, shape[1] - 1)}[place]
    objective = unit(layer, 11, position)
    pattern = maximize(model, objective, EngineConfig(steps=30, precision="32"))
    image = torch.from_numpy(pattern.inputs[role])
    top, left = position[0] * field.stride[0], position[1] * field.stride[1]
    inside = (slice(top, top + field.size[0]), slice(left, left + field.size[1]))
    patch = image[inside]
    assert patch.shape == field.size
    outside = image.clone()
    outside[inside] = 0
    assert not outside.any()
    # the patch alone: its feature map has one cell
    alone = tower.preactivation(patch[None, None], name)
    assert alone.shape[2:] == (1, 1)
    noise = torch.randn(SHAPES[role], generator=torch.Generator().manual_seed(4))
    with leaky(model.network):
        alone_leaky = model.network.relu(tower.preactivation(patch[None, None], name))[0, 11, 0, 0].item()
        for background in (torch.zeros_like(image), noise, 10 * noise, torch.full_like(image, -3.0)):
            pasted = background.clone()
            pasted[inside] = patch
            pasted.requires_grad_()
            value = objective(
                {k: v[0] for k, v in layer_values(model.network, [objective], {role: pasted[None]}).items()}
            )
            assert value.item() == pytest.approx(alone_leaky, rel=1e-4, abs=1e-6)
            value.backward()
            moved = pasted.grad.abs()
            assert moved[inside].any()
            moved[inside] = 0
            assert not moved.any()
    assert pattern.activation_leaky == pytest.approx(alone_leaky, rel=1e-4, abs=1e-6)
    assert pattern.activation == pytest.approx(activation(model, objective, {role: image}), rel=1e-4, abs=1e-6)


def test_the_position_of_a_unit_decides_where_not_what():
    model = planted(KERNELS["diagonal"])
    patches = []
    for position in ((0, 0), (33, 476)):
        pattern = maximize(model, unit("imitation.conv1", 7, position), EngineConfig(steps=150, precision="32"))
        patches.append(pattern.inputs["imitation"][position[0] : position[0] + 6, position[1] : position[1] + 6])
    assert correlation(*patches) > 0.95


def test_units_of_one_layer_share_a_batch(model):
    objectives = [unit("recording.conv2", index, (index, 2 * index)) for index in (0, 7, 12)]
    config = EngineConfig(steps=20, precision="32")
    for pattern, objective in zip(maximize_many(model, objectives, config), objectives, strict=True):
        alone = maximize(model, objective, config)
        np.testing.assert_allclose(pattern.inputs["recording"], alone.inputs["recording"], atol=2e-3)
        assert pattern.activation == pytest.approx(alone.activation, rel=1e-3)


def test_a_sum_of_channels_at_one_position(model):
    both = unit("imitation.conv2", 3, (4, 50)) + 0.5 * unit("imitation.conv2", 8, (4, 50))
    pattern = maximize(model, both, EngineConfig(steps=20, precision="32"))
    assert pattern.activation == pytest.approx(activation(model, both, as_tensors(pattern)), rel=1e-4)
    assert pattern.trace[-1] > pattern.trace[0]


# --- batches and seeds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "jitter"), [("imitation.conv2", 0), ("recording.conv3", 0), ("recording.conv3", 3), ("fc1", 0)]
)
def test_a_pattern_depends_neither_on_its_batch_nor_on_its_place_in_it(model, layer, jitter):
    make = fc_unit if layer == "fc1" else lambda index: channel(layer, index)
    # patience of 3: some are done early, and must stay as they are
    config = EngineConfig(steps=10, precision="32", jitter=jitter, patience=2, tolerance=0.3, final_slope=0.3)
    objectives = [make(index) for index in (3, 9)]
    together = maximize_many(model, objectives, config)
    backwards = maximize_many(model, objectives[::-1], config)[::-1]
    for objective, one, other in zip(objectives, together, backwards, strict=True):
        alone = maximize(model, objective, config)
        for again in (one, other):
            assert again.objective == objective
            assert again.activation == pytest.approx(alone.activation, rel=1e-3, abs=1e-6)
            assert again.activation_leaky == pytest.approx(alone.activation_leaky, rel=1e-3, abs=1e-6)
            assert again.converged == alone.converged
            np.testing.assert_allclose(again.trace, alone.trace, rtol=1e-3, atol=1e-6)
            for role in alone.inputs:
                assert correlation(again.inputs[role], alone.inputs[role]) > 0.999


@pytest.mark.parametrize("make", [channel, unit])
def test_each_neuron_starts_from_its_own_noise(model, make):
    starts = []
    objectives = [make("recording.conv1", index) for index in (3, 9)]
    config = dataclasses.replace(FEW, steps=1)
    maximize_many(model, objectives, config, report=lambda step, values, x: starts.extend(x["recording"].clone()))
    assert abs(correlation(*starts)) < 0.6  # a patch of 5 x 5 has but 25 numbers


def test_a_sum_in_the_batch_changes_nothing_for_the_others(model):
    objective = channel("recording.conv3", 3)
    both = maximize_many(model, [objective, objective + channel("recording.conv3", 9)], FEW)
    assert correlation(both[0].inputs["recording"], maximize(model, objective, FEW).inputs["recording"]) > 0.999


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(model, parameterization):
    config = dataclasses.replace(FEW, parameterization=parameterization, jitter=2, steps=4)

    def made(seed, index=5):
        return maximize(model, channel("recording.conv2", index), config, seed)

    torch.manual_seed(1)  # the global generator must not matter
    first = made(3)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = made(3)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.inputs["recording"].tobytes() == again.inputs["recording"].tobytes()
    assert first.trace.tobytes() == again.trace.tobytes()
    assert first.activation == again.activation
    assert abs(correlation(first.inputs["recording"], made(4).inputs["recording"])) < 0.9
    starts = [torch.randn(1000, generator=generator_for(0, channel("fc1", index))) for index in (0, 1)]
    assert abs(correlation(*starts)) < 0.2


# --- reachable inputs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [*TOWER_LAYERS, "fc1"])
def test_every_pattern_is_one_that_the_front_end_can_emit(model, few, layer):
    for pattern in few[layer]:
        assert set(pattern.inputs) == set(model.network.inputs_of(layer))
        for role, values in pattern.inputs.items():
            assert values.shape == SHAPES[role]
            assert values.dtype == np.float32
            assert np.array_equal(values, values.astype(np.float16))  # what is stored is what was measured
            assert abs(values.mean()) < 1e-2
            assert abs(values.std() - 1) < 1e-2
            level = pattern.db_statistics[role]
            assert (values.max() - values.min()) * level.std_db <= 80 * (1 + 1e-3)
            decibels = values * level.std_db + level.mean_db
            assert decibels.min() >= -80.05
            assert decibels.max() <= 0.05


@pytest.mark.parametrize("level", [DbStatistics(-50.0, 16.0), DbStatistics(-30.0, 9.0), DbStatistics(-79.5, 20.0)])
def test_all_numbers_become_decibels_and_none_loses_its_gradient(level):
    x = torch.linspace(-4, 4, 401, dtype=torch.float64).reshape(1, 1, -1).requires_grad_()
    db = to_decibels(x, 80.0, level)
    assert -80 <= db.min() < db.max() <= 0
    (slope,) = torch.autograd.grad(db.sum(), x)
    assert (slope > 0).all()
    if level.mean_db > -76:  # through the mean, with the deviation as its slope there
        assert db[0, 0, 200].item() == pytest.approx(level.mean_db, abs=1e-9)
        assert slope[0, 0, 200].item() == pytest.approx(level.std_db, rel=1e-9)
    extreme = to_decibels(torch.tensor([[[-1e6, 1e6]]]), 80.0, level)
    assert extreme.flatten().tolist() == pytest.approx([-80, 0], abs=1e-3)


@pytest.mark.parametrize("role", SHAPES)
def test_making_noise_reachable_keeps_it_noise(model, role):
    """Only the tails of white noise leave the range: bringing them back must not change the rest."""
    for seed in range(6):
        objective = channel(f"{role}.conv1", seed)
        starts: list[dict[str, torch.Tensor]] = []
        config = EngineConfig(steps=1, parameterization="pixels")
        maximize(model, objective, config, seed, lambda *seen, starts=starts: starts.append(seen[2]))
        start = starts[0][role][0]
        noise = torch.randn(SHAPES[role], generator=generator_for(seed, objective))
        assert correlation(noise, start) > 0.9
        assert 80 / float(start.max() - start.min()) > 10  # dB of deviation that is left, of 16


@pytest.mark.parametrize("layer", ["imitation.conv2", "recording.conv2"])
def test_patterns_have_the_contrast_of_sounds(model, layer):
    """Not a spike of 137 deviations on a flat floor, whose level would be a fraction of a decibel."""
    role = layer.split(".")[0]
    objectives = [channel(layer, index) for index in (4, 9)]
    for pattern in maximize_many(model, objectives, EngineConfig(steps=20, precision="32")):
        assert pattern.inputs[role].max() < 8
        assert pattern.db_statistics[role].std_db > 8
        assert pattern.trace[-1] > pattern.trace[0] + 1e-3


def test_unconstrained_patterns_escape(model):
    free = dataclasses.replace(FEW, reachable=False, steps=30, learning_rate=0.5)
    pattern = maximize(model, channel("recording.conv2", 3), free)
    held = maximize(model, channel("recording.conv2", 3), dataclasses.replace(free, reachable=True))
    assert pattern.inputs["recording"].std() > 2
    assert pattern.activation_leaky > 2 * held.activation_leaky
    patch = maximize(model, unit("imitation.conv1", 3), dataclasses.replace(free, steps=100)).inputs["imitation"]
    assert np.abs(patch).max() > 4  # a patch of a clip can reach 3.1 and -1.9


# --- what a pattern says of itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [*TOWER_LAYERS, "fc1"])
def test_the_activations_are_those_of_the_stored_arrays(model, few, layer):
    for index, pattern in zip((0, 5, 23), few[layer], strict=True):
        given = as_tensors(pattern)
        assert pattern.activation == pytest.approx(activation(model, pattern.objective, given), rel=1e-4, abs=1e-6)
        with leaky(model.network, 0.3), torch.no_grad():
            values = {
                k: v[0]
                for k, v in layer_values(
                    model.network, [pattern.objective], {r: x[None] for r, x in given.items()}
                ).items()
            }
        assert pattern.activation_leaky == pytest.approx(float(pattern.objective(values)), rel=1e-4, abs=1e-6)
        assert (pattern.layer, pattern.neuron, pattern.seed) == (layer, index, 0)
        assert (pattern.model, pattern.fingerprint) == (model.name, model.fingerprint)
        assert pattern.config == FEW
        plain = model.network.preactivation(layer, **{r: x[None, None] for r, x in given.items()})[0, index].relu()
        assert pattern.evidence.alive == pytest.approx(float((plain > 0).float().mean()), abs=1e-3)
        assert pattern.trace.shape == (FEW.steps,)
        assert not pattern.converged
        assert pattern.trace.max() > pattern.trace[0]


@pytest.mark.parametrize("layer", ["imitation.conv3", "recording.conv2", "fc1"])
def test_without_a_slope_both_activations_are_the_same(model, layer):
    make = fc_unit if layer == "fc1" else lambda index: channel(layer, index)
    config = dataclasses.replace(FEW, slope=0.0)
    pattern = next(p for p in maximize_many(model, [make(i) for i in range(4)], config) if p.activation > 0)
    assert pattern.activation == pattern.activation_leaky
    assert pattern.evidence.relu_transfer == 1


def test_the_transfer_is_a_ratio_where_there_is_one(few):
    pattern = few["fc1"][0]
    assert pattern.evidence.relu_transfer == pattern.activation / pattern.activation_leaky


def test_bf16_only_steers(model):
    pattern = maximize(model, channel("recording.conv3", 5), dataclasses.replace(FEW, precision="bf16", steps=2))
    expected = activation(model, pattern.objective, as_tensors(pattern))
    assert pattern.activation == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert pattern.config.precision == "bf16"


def test_auto_is_settled_before_it_is_written_down(model):
    assert maximize(model, unit("imitation.conv1", 0), EngineConfig(steps=1)).config.precision in ("bf16", "32")


# --- the loop -------------------------------------------------------------------------------------------------------


def test_the_loop_rises_and_stops_when_nothing_more_is_gained(model):
    config = EngineConfig(steps=1000, precision="32", patience=16, final_slope=0.3)
    pattern = maximize(model, unit("imitation.conv1", 3), config)  # a bounded linear objective: soon exhausted
    assert pattern.converged
    assert 2 * config.patience < len(pattern.trace) < 800
    assert pattern.trace[-1] > pattern.trace[0]
    tail = pattern.trace[-16:].mean() - pattern.trace[-32:-16].mean()
    assert tail <= 1e-3 * pattern.trace[-16:].mean()
    short = maximize(model, unit("imitation.conv1", 3), dataclasses.replace(config, steps=20))
    assert not short.converged
    assert len(short.trace) == 20


def test_the_defaults_can_converge():
    config = EngineConfig(precision="32", learning_rate=1.0)  # at its bounds after a few steps
    pattern = maximize(planted(KERNELS["diagonal"]), unit("imitation.conv1", 7), config)
    assert pattern.trace[-1] - pattern.trace[-8] < 1e-3 * pattern.trace[-1]
    assert pattern.converged


@pytest.mark.parametrize(("slope", "final"), [(0.3, 0.01), (0.3, 0.3), (0.1, 0.0)])
def test_the_slope_falls_in_the_third_quarter(model, slope, final):
    seen = []

    def report(step, values, inputs):
        slopes = {part.negative_slope for part in model.network.modules() if isinstance(part, nn.LeakyReLU)}
        assert len(slopes) == 1
        seen.append(slopes.pop())

    config = EngineConfig(steps=40, precision="32", slope=slope, final_slope=final)
    maximize(model, unit("recording.conv1", 3), config, report=report)
    assert seen[:20] == [slope] * 20
    assert seen[30:] == pytest.approx([final] * 10)
    assert all(final <= later <= earlier <= slope for earlier, later in itertools.pairwise(seen))
    assert len(set(seen)) == (1 if slope == final else 11)


def test_the_learning_rate_falls_to_nothing_at_the_end(model):
    """The gradient to a planted filter of one cell is constant: its moves are the rates."""
    kernel = torch.zeros(6, 6)
    kernel[2, 3] = 1
    seen = []
    config = EngineConfig(steps=40, precision="32", learning_rate=0.01, reachable=False, tolerance=0)

    def report(step, values, x):
        seen.append(float(x["imitation"][0, 2, 3]))

    maximize(planted(kernel), unit("imitation.conv1", 7), config, report=report)
    moves = np.diff(seen)
    np.testing.assert_allclose(moves[:24], 0.01, rtol=1e-3)
    assert (np.diff(moves[24:]) < 0).all()
    assert 0 < moves[-1] < 5e-4


def test_a_pattern_that_is_done_waits_for_the_others(model):
    config = EngineConfig(steps=200, precision="32", patience=8, tolerance=0.02, final_slope=0.3)
    objectives = [unit("recording.conv2", index, (3, 1)) for index in range(6)]
    made = maximize_many(model, objectives, config)
    lengths = {len(pattern.trace) for pattern in made}
    assert len(lengths) > 1
    for pattern, objective in zip(made, objectives, strict=True):
        alone = maximize(model, objective, config)
        assert len(alone.trace) == len(pattern.trace)
        assert pattern.activation == pytest.approx(alone.activation, rel=1e-3)


def test_the_report_sees_every_step_and_can_stop(model):
    seen = []

    def report(step, values, inputs):
        seen.append((step, float(values[0]), inputs["recording"].shape, inputs["recording"].requires_grad))
        return step == 3

    pattern = maximize(model, channel("recording.conv3", 2), FEW, report=report)
    assert [step for step, *_ in seen] == [0, 1, 2, 3]
    assert seen[0][2:] == ((1, 128, 128), False)
    assert pattern.trace == pytest.approx([value for _, value, *_ in seen])
    assert not pattern.converged
    # stopped before the step: what is returned is what was reported last
    assert pattern.activation_leaky == pytest.approx(pattern.trace[-1], rel=1e-2, abs=1e-3)


def test_a_pair_is_raised_over_its_random_start(few):
    for pattern in few["fc1"]:
        assert list(pattern.inputs) == ["imitation", "recording"]
        assert pattern.trace[-1] > pattern.trace[0] + 0.5
        assert pattern.activation_leaky > pattern.trace[0] + 0.5


def test_the_one_tower_of_a_classifier_is_all_that_fc1_needs():
    architecture = {"classes": ("a", "b")}
    pattern = maximize(untrained_model("sound-tower", 0, architecture), fc_unit(3), dataclasses.replace(FEW, steps=3))
    assert list(pattern.inputs) == ["recording"]
    assert pattern.trace[-1] > pattern.trace[0]


@pytest.mark.parametrize(
    "objective",
    [
        channel("recording.conv2", 3) + 2 * channel("recording.conv2", 9),
        channel("recording.conv1", 3) - 0.5 * channel("recording.conv3", 9) + 3 * channel("recording.conv2", 1),
        channel("imitation.conv2", 3) + channel("recording.conv2", 9),
        0.1 * fc_unit(3) + channel("imitation.conv1", 9),
        direction("recording.conv2", np.arange(48.0) - 20),
        -channel("recording.conv2", 3),
    ],
    ids=str,
)
def test_sums_across_neurons_layers_and_towers_are_raised(model, objective):
    pattern = maximize(model, objective, dataclasses.replace(FEW, steps=12))
    assert tuple(pattern.inputs) == objective.roles(model.network)
    assert pattern.trace[-1] > pattern.trace[0]
    assert pattern.activation == pytest.approx(activation(model, objective, as_tensors(pattern)), rel=1e-4, abs=1e-6)


# --- penalties and parameterisations --------------------------------------------------------------------------------


def total_variation(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image, axis=0)).mean() + np.abs(np.diff(image, axis=1)).mean())


def test_penalties_lower_what_they_penalise(model):
    objective = channel("recording.conv1", 3)
    base = EngineConfig(steps=25, precision="32", learning_rate=0.1, reachable=False, parameterization="fourier")
    plain = maximize(model, objective, base)
    smooth = maximize(model, objective, dataclasses.replace(base, total_variation=1.0))
    small = maximize(model, objective, dataclasses.replace(base, l2=1.0))
    assert total_variation(smooth.inputs["recording"]) < 0.5 * total_variation(plain.inputs["recording"])
    assert np.square(small.inputs["recording"]).mean() < 0.5 * np.square(plain.inputs["recording"]).mean()
    # the trace is the objective, not the objective less the penalty
    assert plain.trace[0] == smooth.trace[0] == small.trace[0]


def test_total_variation_also_smooths_reachable_patterns(model):
    config = EngineConfig(steps=25, precision="32", learning_rate=0.1)
    rough, smooth = (
        maximize(model, channel("recording.conv1", 3), dataclasses.replace(config, total_variation=weight))
        for weight in (0.0, 1.0)
    )
    assert total_variation(smooth.inputs["recording"]) < 0.9 * total_variation(rough.inputs["recording"])


def test_jitter_changes_the_pattern_and_keeps_its_seed(model):
    objective = channel("recording.conv3", 3)
    plain, first, again = (maximize(model, objective, dataclasses.replace(FEW, jitter=jitter)) for jitter in (0, 9, 9))
    assert first.inputs["recording"].tobytes() == again.inputs["recording"].tobytes()
    assert first.inputs["recording"].tobytes() != plain.inputs["recording"].tobytes()
    assert first.activation == pytest.approx(activation(model, objective, as_tensors(first)), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("shape", [(39, 482), (128, 128), (6, 6), (17, 17), (39, 39), (32, 100)])
@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_starts_have_a_deviation_near_one(name, shape):
    parameterization = PARAMETERIZATIONS[name]
    generators = [torch.Generator().manual_seed(seed) for seed in range(40)]
    parameters = parameterization.start(shape, generators)
    images = parameterization.image(parameters, shape)
    assert images.shape == (40, *shape)
    assert images.dtype == torch.float32
    assert 0.7 < images.std(dim=(1, 2)).mean() < 1.4
    alone = parameterization.start(shape, [torch.Generator().manual_seed(7)])
    assert torch.equal(parameters[7], alone[0])


@pytest.mark.parametrize("shape", [(39, 482), (128, 128)])
def test_fourier_starts_smoother_than_pixels(shape):
    """1/f against white: most of the energy below a quarter of the highest frequency, where white has 1/16 x pi/4."""
    share = {}
    vertical, horizontal = torch.fft.fftfreq(shape[0])[:, None], torch.fft.fftfreq(shape[1])[None]
    low = (vertical.square() + horizontal.square()).sqrt() < 0.125
    for name, parameterization in PARAMETERIZATIONS.items():
        generators = [torch.Generator().manual_seed(seed) for seed in range(8)]
        images = standardize(parameterization.image(parameterization.start(shape, generators), shape))
        power = torch.fft.fft2(images).abs().square()
        share[name] = float(power[:, low].sum() / power.sum())
    assert share["pixels"] == pytest.approx(float(low.float().mean()), abs=0.01)
    assert share["fourier"] > 0.5


@pytest.mark.parametrize("shape", [(39, 482), (128, 128), (6, 7), (5, 4)])
def test_phase_images_have_the_magnitudes_of_real_clips_whatever_the_phases(shape):
    """Also at the frequencies that are their own conjugates, in odd and in even sizes."""
    generator = torch.Generator().manual_seed(1)
    clips = torch.randn(9, *shape, generator=generator).cumsum(dim=1).double()
    magnitude = natural_magnitude(torch.fft.rfft2(clips).abs().mean(dim=0), shape)
    phase = PARAMETERIZATIONS["phase"]
    for parameters in (phase.start(shape, [generator]), 5 * torch.randn(3, shape[0], shape[1] // 2 + 1)):
        images = phase.image(parameters.double(), shape, magnitude)
        found = torch.fft.rfft2(images).abs()
        torch.testing.assert_close(found, magnitude.expand_as(found), rtol=1e-9, atol=1e-9 * float(magnitude.max()))
        torch.testing.assert_close(images.std(dim=(1, 2), correction=0), torch.ones(len(images), dtype=torch.float64))
        assert images.mean(dim=(1, 2)).abs().max() < 1e-9
    torch.testing.assert_close(natural_magnitude(7 * magnitude, shape), magnitude)  # the level is taken away


def test_phase_patterns_are_drawn_with_the_models_own_spectrum(model, folder):
    """Without the curve of reachable decibels the pattern's spectrum is the stored one."""
    config = dataclasses.replace(FEW, parameterization="phase", reachable=False)
    patterns = maximize_many(model, [fc_unit(3), fc_unit(8)], config)
    stored = stored_magnitudes(model, tuple(SHAPES))
    for pattern in patterns:
        assert pattern.trace[-1] > pattern.trace[0]
        for role, values in pattern.inputs.items():
            found = np.abs(np.fft.rfft2(values.astype(np.float64)))
            np.testing.assert_allclose(found, stored[role], atol=1e-3 * stored[role].max())  # the pattern is float16
    patch = maximize(model, unit("imitation.conv2", 3), dataclasses.replace(config, steps=20))
    assert patch.trace[-1] > patch.trace[0]  # no clip is so small: 1/frequency


def test_phase_depends_neither_on_the_batch_nor_on_its_order(model):
    config = dataclasses.replace(FEW, parameterization="phase")
    objectives = [channel("recording.conv2", index) for index in (3, 9, 20)]
    together = maximize_many(model, objectives, config)
    backwards = maximize_many(model, objectives[::-1], config)[::-1]
    for objective, one, other in zip(objectives, together, backwards, strict=True):
        alone = maximize(model, objective, config)
        for again in (one, other):
            np.testing.assert_allclose(again.trace, alone.trace, rtol=1e-3, atol=1e-6)
            assert correlation(again.inputs["recording"], alone.inputs["recording"]) > 0.999


def test_without_a_spectrum_of_real_clips_phase_says_what_makes_it():
    message = r"tl-iminet-random0 has no mean spectrum of real clips.*iminet-viz reference tl-iminet-random0 FOLDER"
    with pytest.raises(PatternError, match=message):
        maximize(untrained_model("tl-iminet", 0), fc_unit(0), dataclasses.replace(FEW, parameterization="phase"))


# --- nothing is left behind -----------------------------------------------------------------------------------------


def state(network: nn.Module) -> tuple:
    weights = b"".join(value.numpy().tobytes() for value in network.state_dict().values())
    flags = [parameter.requires_grad for parameter in network.parameters()]
    gradients = [parameter.grad is None for parameter in network.parameters()]
    hooks = [
        (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        for module in network.modules()
    ]
    kinds = {name: id(module) for name, module in network.named_modules()}
    return weights, flags, gradients, hooks, kinds, [module.training for module in network.modules()]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_network_is_left_as_it_was(training, fails, batch_norm):
    model = untrained_model("tl-iminet", 0, {"batch_norm": batch_norm})
    network = model.network.train(training)
    network.fc2.requires_grad_(False)
    before = state(network)

    def report(step, values, inputs):
        assert not network.training  # with batch statistics patterns would leak into each other
        if fails:
            raise KeyError("stop")

    objectives = [channel("recording.conv3", index) for index in (0, 1)]
    config = dataclasses.replace(FEW, steps=2)
    if fails:
        with pytest.raises(KeyError):
            maximize_many(model, objectives, config, report=report)
    else:
        maximize_many(model, objectives, config, report=report)
    assert state(network) == before
    with pytest.raises(PatternError):
        maximize(model, channel("recording.conv9", 0), config)
    assert state(network) == before


def test_parts_in_another_mode_than_the_whole_stay_so():
    """Someone who fine-tunes freezes batch norm by ``eval()`` on a part."""
    model = untrained_model("tl-iminet", 0, {"batch_norm": True})
    model.network.train()
    model.network.imitation.eval()
    before = state(model.network)
    maximize(model, channel("recording.conv1", 0), dataclasses.replace(FEW, steps=1))
    assert state(model.network) == before


def test_batch_norm_does_not_mix_the_patterns_of_a_batch():
    model = untrained_model("tl-iminet", 0, {"batch_norm": True})
    model.network.train()
    objectives = [channel("recording.conv2", index) for index in (0, 1)]
    config = dataclasses.replace(FEW, steps=3)
    for one, objective in zip(maximize_many(model, objectives, config), objectives, strict=True):
        alone = maximize(model, objective, config)
        assert correlation(one.inputs["recording"], alone.inputs["recording"]) > 0.999


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    "objective",
    [
        pytest.param(channel("recording.conv1", 2)),
        pytest.param(unit("recording.conv2", 2)),
        fc_unit(2),
        channel("recording.conv1", 2) + channel("recording.conv1", 1),
    ],
    ids=str,
)
def test_weights_that_are_not_finite_are_named_with_the_step(bad, objective):
    model = untrained_model("tl-iminet", 0)
    with torch.no_grad():
        model.network.recording.block("conv1").conv.weight.fill_(bad)
    before = [type(module) for module in model.network.modules()]
    with pytest.raises(PatternError, match=r"finite in step 0") as caught:
        maximize(model, objective, FEW)
    assert str(objective) in str(caught.value)
    assert [type(module) for module in model.network.modules()] == before


def test_the_pattern_that_stops_being_finite_is_the_one_that_is_named():
    model = untrained_model("tl-iminet", 0)
    with torch.no_grad():
        model.network.recording.block("conv3").conv.weight[4] = math.nan
    with pytest.raises(PatternError, match=r"recording.conv3:4 stopped"):
        maximize_many(model, [channel("recording.conv3", index) for index in (1, 4, 5)], FEW)


@pytest.mark.parametrize("layer", ["imitation.conv1", "recording.conv3", "fc1"])
def test_one_pattern_that_fails_loses_no_other(model, layer, monkeypatch):
    objectives = [channel(layer, index) for index in (1, 4, 5)]
    whole = maximize_many(model, objectives, FEW)
    usual = PARAMETERIZATIONS["spectrum"]

    class Damaged(type(usual)):
        def start(self, shape, generators):
            parameters = usual.start(shape, generators)
            parameters[-2, 3, 3] = math.nan  # of the second of three, of the first of two
            return parameters

    monkeypatch.setitem(PARAMETERIZATIONS, "spectrum", Damaged())
    failed: list[tuple[Objective, str]] = []
    patterns = maximize_many(model, objectives, FEW, failed=failed)
    assert failed == [(objectives[1], f"the value of {layer}:4 stopped being finite in step 0")]
    for pattern, expected in zip(patterns, (whole[0], whole[2]), strict=True):
        assert pattern.objective == expected.objective
        np.testing.assert_allclose(pattern.trace, expected.trace, rtol=1e-3)
        assert pattern.activation == pytest.approx(expected.activation, rel=1e-3)
    with pytest.raises(PatternError, match=f"{layer}:4 stopped being finite in step 0"):
        maximize_many(model, objectives, FEW)


def test_weights_that_are_not_finite_fail_only_where_they_are_used():
    model = untrained_model("tl-iminet", 0)
    with torch.no_grad():
        model.network.recording.block("conv3").conv.weight[4] = math.nan
    failed: list[tuple[Objective, str]] = []
    objectives = [channel("recording.conv3", index) for index in (1, 4, 5)]
    assert [p.neuron for p in maximize_many(model, objectives, FEW, failed=failed)] == [1, 5]
    assert [objective for objective, _ in failed] == objectives[1:2]
    assert maximize_many(model, objectives[1:2], FEW, failed=failed) == []


@pytest.mark.parametrize("values", [{"learning_rate": 1e3}, {"learning_rate": 1e3, "l2": 1e30}])
def test_a_pattern_is_finite_or_an_error(model, values):
    """The last step is not followed by a look at the values, and float16 ends at 65,504."""
    config = EngineConfig(steps=200, precision="32", reachable=False, **values)
    try:
        pattern = maximize(model, channel("recording.conv1", 0), config)
    except PatternError:
        return
    assert np.isfinite(pattern.inputs["recording"]).all()
    assert math.isfinite(pattern.activation)


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ([], "no objective"),
        ([channel("imitation.conv1", 0), channel("recording.conv1", 0)], "same inputs"),
        ([fc_unit(0), channel("recording.conv1", 0)], "same inputs"),
        ([unit("imitation.conv1", 0), channel("imitation.conv1", 0)], "cannot share a batch"),
        ([unit("imitation.conv1", 0), unit("imitation.conv2", 0)], "same layer"),
        ([unit("imitation.conv1", 0) + unit("imitation.conv1", 1, (0, 1))], "one position"),
        ([unit("imitation.conv1", 0) + unit("imitation.conv2", 1)], "one position"),
        ([unit("imitation.conv1", 0) + channel("imitation.conv1", 1)], "one position|unit and other"),
        ([channel("imitation.conv1", 1) + unit("imitation.conv1", 0)], "unit and other"),
        ([channel("imitation.conv1", 48)], "0 to 47"),
        ([channel("imitation.conv1", 0), channel("imitation.conv7", 0)], "imitation.conv3"),
    ],
)
def test_objectives_that_do_not_fit_are_refused(model, objectives, message):
    with pytest.raises(PatternError, match=message):
        maximize_many(model, objectives, FEW)


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0},
        {"steps": -3},
        {"patience": 0},
        {"jitter": -1},
        {"l2": -0.1},
        {"total_variation": -1.0},
        {"learning_rate": 0.0},
        {"learning_rate": -0.05},
        {"learning_rate": math.nan},
        {"precision": "fp8"},
        {"parameterization": "wavelets"},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(values):
    (name,) = values
    with pytest.raises(PatternError, match=name):
        EngineConfig(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"l2": math.nan},
        {"total_variation": math.nan},
        {"l2": math.inf},
        {"learning_rate": math.inf},
        {"slope": math.nan},
        {"slope": math.inf},
        {"tolerance": math.nan},
    ],
    ids=str,
)
def test_settings_that_are_not_finite_are_refused(values):
    with pytest.raises(PatternError):
        EngineConfig(**values)


# --- every model ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "tl-iminet"])
def test_every_layer_of_every_model_has_patterns(kind):
    classes = {"classes": ("a", "b", "c")} if kind in ("language-tower", "sound-tower") else {}
    model = untrained_model(kind, 0, classes)
    for layer in model.network.layers:
        last = model.network.n_channels(layer) - 1
        patterns = maximize_many(model, [channel(layer, 0), channel(layer, last)], FEW)
        for pattern in patterns:
            assert tuple(pattern.inputs) == model.network.inputs_of(layer)
            for role, values in pattern.inputs.items():
                assert values.shape == model.frontends[role].config.shape
            assert pattern.trace[-1] > pattern.trace[0]
            given = {role: torch.from_numpy(values)[None, None] for role, values in pattern.inputs.items()}
            values = model.network.activate(layer, model.network.preactivation(layer, **given))[0]
            expected = values[pattern.neuron].mean().item()
            assert pattern.activation == pytest.approx(expected, rel=1e-4, abs=1e-5)
        shape = model.network.map_shape(layer)
        if shape is None:
            with pytest.raises(PatternError, match=f"{layer} has no positions; use channel or fc_unit"):
                maximize(model, unit(layer, 0, (0, 0)), FEW)
        else:
            corner = (shape[0] - 1, shape[1] - 1)
            assert maximize(model, unit(layer, last, corner), dataclasses.replace(FEW, steps=2)).trace[-1] < math.inf


def test_patterns_of_the_aligned_net_are_what_its_front_end_can_give():
    model = untrained_model("aligned", 0)
    (x,) = maximize(model, channel("conv3", 3), FEW).inputs.values()
    centred = 20 * x - 20  # dB, half of each band's mean off
    db = centred + centred.mean(axis=1, keepdims=True)  # the half that was taken off is the half that is left
    assert db.min() > -80.2 and db.max() < 0.2
    free = maximize(model, channel("frames", 3), dataclasses.replace(FEW, reachable=False))
    assert np.isfinite(free.inputs["imitation"]).all()


@pytest.mark.parametrize(("kind", "layer"), [("iminet", "fc2"), ("imisound", "hidden1"), ("aligned", "conv2")])
def test_what_is_no_log_mel_of_fixed_length_can_be_drawn_and_refuses_to_sound(kind, layer, tmp_path):
    pattern = maximize(untrained_model(kind, 0), channel(layer, 0), FEW)
    plot_pattern(pattern).savefig(tmp_path / "pattern.png")
    with pytest.raises(PatternError, match=f"the imitation side of {layer}:0 is no log-mel: only those can be made"):
        sonify_pattern(pattern, "imitation")


# --- pictures that a sound can have ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["imitation.conv2", "recording.conv2", "fc1"])
def test_a_spectrum_pattern_is_a_sounds_and_a_pixel_pattern_is_none(model, layer):
    make = fc_unit(3) if layer == "fc1" else channel(layer, 3)
    config = dataclasses.replace(FEW, steps=20)
    possible = measure(maximize(model, make, config), None).realizability
    drawn = maximize(model, make, dataclasses.replace(config, parameterization="pixels"))
    assert possible < 1e-3 < 0.02 < measure(drawn, None).realizability


@pytest.mark.parametrize(
    ("objective", "changes"),
    [(unit("recording.conv2", 3, (2, 2)), {}), (channel("recording.conv2", 3), {"reachable": False})],
    ids=["unit", "unconstrained"],
)
def test_spectrum_is_pixels_where_there_are_no_whole_frames(model, objective, changes):
    config = dataclasses.replace(FEW, **changes)
    assert config.parameterization == "spectrum"
    pixels = maximize(model, objective, dataclasses.replace(config, parameterization="pixels"))
    np.testing.assert_array_equal(maximize(model, objective, config).inputs["recording"], pixels.inputs["recording"])
