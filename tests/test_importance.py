"""Importance: ablating what does nothing costs nothing, and what is ablated is what would be by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from iminet_viz.audio import save_audio
from iminet_viz.checkpoint import TrainedModel, untrained_model
from iminet_viz.datasets import Pair
from iminet_viz.errors import DatasetError, PatternError
from iminet_viz.evaluation import reciprocal_ranks
from iminet_viz.patterns import importance as importance_module
from iminet_viz.patterns.evidence import load_input
from iminet_viz.patterns.importance import measure_importance

RECORDINGS, EACH = 5, 2
CONSTANT = (
    *((f"imitation.blocks.{name}.conv", neuron) for name, neuron in (("conv1", 9), ("conv2", 20), ("conv3", 2))),
    *((f"recording.blocks.{name}.conv", neuron) for name, neuron in (("conv1", 9), ("conv2", 20), ("conv3", 2))),
    ("fc1", 30),
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> list[Pair]:
    """Tones with two imitations each: the same tone, noisier."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    made = []
    for number in range(RECORDINGS):
        tone = np.sin(2 * np.pi * 300 * 1.7**number * np.arange(16_000) / 16_000)
        save_audio(folder / f"r{number}.wav", 0.5 * tone, 16_000)
        for other in range(EACH):
            noisy = 0.4 * tone + 0.05 * (other + 1) * rng.standard_normal(16_000)
            save_audio(folder / f"i{number}{other}.wav", noisy, 16_000)
            name = str(number)
            made.append(Pair(folder / f"i{number}{other}.wav", folder / f"r{number}.wav", name, name, "c"))
    return made


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    made = untrained_model("tl-iminet", 3)
    with torch.no_grad():
        for part, neuron in CONSTANT:  # neurons that say the same of every clip
            layer = made.network.get_submodule(part)
            layer.weight[neuron], layer.bias[neuron] = 0, 1
        made.network.fc2.weight[0, 30] = 9  # listened to: what would be put in its place would be heard
        # neurons that nobody listens to
        made.network.imitation.block("conv2").conv.weight[:, 4] = 0
        made.network.recording.block("conv3").conv.weight[:, 7] = 0
        made.network.fc2.weight[0, 11] = 0
        features = made.network.fc1.weight[:, made.network.imitation.n_features :].view(108, 48, -1)
        features[:, 9] = 0
    return made


@pytest.fixture(scope="module")
def importance(model, pairs) -> dict[str, np.ndarray]:
    return measure_importance(model, pairs)[0]


def test_every_neuron_has_a_finite_value(model, importance):
    assert {layer: values.shape for layer, values in importance.items()} == {
        layer: (2, model.network.n_channels(layer)) for layer in model.network.layers
    }
    assert all(np.isfinite(values).all() and (values[1] >= 0).all() for values in importance.values())
    assert max(np.abs(values[0]).max() for values in importance.values()) > 0  # something matters


def test_a_neuron_without_outgoing_weights_is_worth_nothing(importance):
    assert importance["imitation.conv1"][:, 4].tolist() == [0, 0]
    assert importance["recording.conv2"][:, 7].tolist() == [0, 0]
    assert importance["recording.conv3"][:, 9].tolist() == [0, 0]
    assert importance["fc1"][:, 11].tolist() == [0, 0]


@pytest.mark.parametrize(("part", "neuron"), CONSTANT)
def test_ablating_nothing_changes_nothing(importance, part, neuron):
    """A neuron that already is its mean, which is not 0, and to which all above it listen."""
    layer = part.replace(".blocks", "").removesuffix(".conv")
    assert importance[layer][:, neuron].tolist() == [0, 0]


@pytest.mark.parametrize("layer", ["imitation.conv2", "recording.conv1", "recording.conv3"])
def test_it_is_the_loss_of_a_net_whose_map_is_overwritten(model, pairs, importance, layer):
    role, name = layer.split(".")
    channel = int(importance[layer][1].argmax())  # one that matters
    recordings = sorted({pair.recording for pair in pairs})
    sides = {
        "imitation": torch.cat([load_input(model, "imitation", pair.imitation) for pair in pairs]),
        "recording": torch.cat([load_input(model, "recording", path) for path in recordings]),
    }
    answers = np.array([[pair.recording == path for path in recordings] for pair in pairs])

    def ranks() -> np.ndarray:
        query = model.network.query_half(sides["imitation"])
        scores = model.network.score_halves(query, model.network.candidate_half(sides["recording"]))
        return reciprocal_ranks(scores.double().numpy(), answers)

    def overwrite(module, inputs, output):
        output = output.clone()
        output[:, channel] = output[:, channel].mean()
        return output

    with torch.no_grad():
        whole = ranks()
        hook = model.network.towers[role].block(name).register_forward_hook(overwrite)
        lost = whole - ranks()
        hook.remove()
    by_recording = lost.reshape(RECORDINGS, EACH).mean(axis=1)
    error = np.sqrt(np.square(by_recording - by_recording.mean()).sum() / (RECORDINGS - 1) / RECORDINGS)
    assert importance[layer][:, channel] == pytest.approx([lost.mean(), error], abs=1e-6)
    assert error > 0


def test_a_unit_of_fc1_is_replaced_by_the_mean_of_its_outputs_over_all_pairs(monkeypatch):
    """Of IMINET, where a ReLU of fc2 comes after: above TL-IMINET's all is linear, and no constant changes a rank."""
    net = untrained_model("iminet", 0, {"fc1": 24, "fc2": 6})
    rng = np.random.default_rng(0)
    with torch.no_grad():
        net.network.fc1.bias[:] = torch.linspace(-0.5, 0.5, 24)
        net.network.fc2.weight *= 3
    net.network.double()  # no rank hangs on rounding
    pairs = [
        Pair(Path(f"i{number}{other}"), Path(f"r{number}"), str(number), str(number), "c")
        for number in range(RECORDINGS)
        for other in range(EACH)
    ]
    shape = net.frontends["imitation"].config.shape
    clips = {
        path: torch.from_numpy(rng.standard_normal((1, 1, *shape)) * rng.uniform(0.5, 3))
        for path in sorted({path for pair in pairs for path in (pair.imitation, pair.recording)})
    }
    monkeypatch.setattr(importance_module, "load_input", lambda model, role, path: clips[path])
    found = measure_importance(net, pairs)[0]["fc1"][0]
    recordings = sorted({pair.recording for pair in pairs})
    answers = np.array([[pair.recording == path for path in recordings] for pair in pairs])
    network = net.network
    with torch.no_grad():
        outputs = torch.stack(
            [
                torch.cat([network.relu(network.preactivation("fc1", clips[q], clips[path])) for path in recordings])
                for q in (pair.imitation for pair in pairs)
            ]
        )  # (queries, candidates, fc1)

        def ranks(outputs: torch.Tensor) -> np.ndarray:
            return reciprocal_ranks(network.fc3(network.relu(network.fc2(outputs)))[..., 0].double().numpy(), answers)

        whole, expected = ranks(outputs), []
        for unit in range(24):
            changed = outputs.clone()
            changed[..., unit] = outputs[..., unit].mean()
            expected.append((whole - ranks(changed)).mean())
    assert np.count_nonzero(expected) > 6
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_network_is_as_it_was(model, pairs):
    before = {name: tuple(module.blocks) for name, module in model.network.towers.items()}
    x = load_input(model, "imitation", pairs[0].imitation)
    with torch.no_grad():
        expected = model.network.query_half(x)
        measure_importance(model, pairs[: 2 * EACH], per_recording=1)
        assert torch.equal(model.network.query_half(x), expected)
    assert {name: tuple(module.blocks) for name, module in model.network.towers.items()} == before


def test_candidates_are_those_of_the_category(model, pairs):
    """With one recording a category every query is first whatever is ablated."""
    alone = [dataclasses.replace(pair, category=pair.chain) for pair in pairs]
    assert all(not values.any() for values in measure_importance(model, alone, per_recording=1)[0].values())


def test_what_cannot_be_measured_is_refused(model, pairs):
    with pytest.raises(DatasetError, match="1 recordings to search"):
        measure_importance(model, pairs[:1])
    with pytest.raises(PatternError, match="no two towers"):
        measure_importance(untrained_model("aligned"), pairs)
