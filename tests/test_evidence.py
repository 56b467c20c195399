"""What real clips do to the neurons is stored as it is computed, and a pattern's place among them is counted right."""

import copy
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from iminet_viz.audio import (
    crest_db,
    fit_length,
    frame_rate_buzz_db,
    load_audio,
    save_audio,
    spectral_flatness,
)
from iminet_viz.checkpoint import TrainedModel, load_model, untrained_model
from iminet_viz.errors import AudioError, CheckpointError
from iminet_viz.frontends import IMITATION, RECORDING, frontend_of
from iminet_viz.patterns import evidence
from iminet_viz.patterns.engine import EngineConfig, Pattern, maximize
from iminet_viz.patterns.evidence import (
    FILE_NAME,
    MEASURES,
    Evidence,
    References,
    compare_with_real,
    compute_references,
    load_references,
    match_neurons,
    measure,
    save_references,
    stored_magnitudes,
)
from iminet_viz.patterns.objectives import channel, direction, fc_unit, unit

CLIPS = 6


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return untrained_model("tl-iminet", 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[tuple[str, Path]]:
    """Noise bursts and glides of several lengths and rates."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    made = []
    for index in range(CLIPS):
        rate = (16_000, 44_100, 22_050)[index % 3]
        time = np.arange(int(rate * (0.4 + 0.3 * index))) / rate
        sound = np.sin(2 * np.pi * (200 + 300 * index) * time * (1 + time)) * np.exp(-time * index)
        sound = 0.5 * sound + 0.02 * (index + 1) * rng.standard_normal(len(time))
        path = folder / f"clip{index}.wav"
        save_audio(path, sound / np.abs(sound).max() * 0.9, rate)
        made.append((f"set/{path.name}", path))
    return made


@pytest.fixture(scope="module")
def references(model, files) -> References:
    return compute_references(model, files)


@pytest.fixture(scope="module")
def inputs(model, files) -> dict[str, list[torch.Tensor]]:
    """What the towers see of each clip: ``(1, 1, bands, frames)``."""
    made = {}
    for role, frontend in model.frontends.items():
        sounds = [load_audio(path, frontend.config.sample_rate) for _, path in files]
        made[role] = [
            frontend(torch.from_numpy(fit_length(sound, frontend.config.n_samples))[None]) for sound in sounds
        ]
    return made


@pytest.fixture(scope="module")
def pattern(model) -> Pattern:
    """A pattern to put other objectives and activations into."""
    return maximize(model, channel("recording.conv3", 0), EngineConfig(steps=1, precision="32"))


def made_up(values: np.ndarray) -> References:
    names = tuple(f"clip{index}" for index in range(len(values)))
    return References("f", names, names, {"recording.conv3": values, "recording.conv3.max": 2 * values})


def brute_force(model: TrainedModel, layer: str, **given: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.network.preactivation(layer, **given)[0].relu()


# --- computing, storing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["imitation.conv1", "imitation.conv3", "recording.conv2"])
def test_activations_are_those_of_a_plain_forward_pass(model, references, inputs, pattern, layer):
    role = layer.split(".")[0]
    maps = [brute_force(model, layer, **{role: x}) for x in inputs[role]]
    for neuron in (0, 7):
        fake = dataclasses.replace(pattern, objective=channel(layer, neuron))
        expected = [float(m[neuron].mean()) for m in maps]
        np.testing.assert_allclose(references.of(fake), expected, rtol=1e-4, atol=1e-6)
        fake = dataclasses.replace(pattern, objective=unit(layer, neuron, (0, 1)))
        expected = [float(m[neuron].max()) for m in maps]
        np.testing.assert_allclose(references.of(fake), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("neuron", [0, 107])
def test_pairs_are_those_of_a_forward_pass_of_every_pair(files, inputs, pattern, neuron):
    model = untrained_model("tl-iminet", 0)
    torch.nn.init.normal_(model.network.fc1.bias)  # zero at the start: a bias counted twice would not show
    stored = compute_references(model, files[:3])
    found = stored.of(dataclasses.replace(pattern, objective=fc_unit(neuron)))
    assert found.shape == (3, 3)
    for i, imitation in enumerate(inputs["imitation"][:3]):
        for k, recording in enumerate(inputs["recording"][:3]):
            expected = float(brute_force(model, "fc1", imitation=imitation, recording=recording)[neuron])
            assert found[i, k] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    "objective",
    [
        channel("recording.conv3", 1) + channel("recording.conv3", 2),
        2 * channel("recording.conv3", 1),
        direction("recording.conv3", np.ones(48)),
    ],
    ids=str,
)
def test_what_is_no_neuron_has_no_reference(references, pattern, objective):
    fake = dataclasses.replace(pattern, objective=objective)
    assert references.of(fake) is None
    assert compare_with_real(fake, references) is None


def test_a_classifier_has_a_reference_for_its_tower_only(files, pattern):
    model = untrained_model("sound-tower", 0, {"classes": ("a", "b")})
    stored = compute_references(model, files[:2])
    assert set(stored.values) == {f"recording.conv{i}{end}" for i in (1, 2, 3) for end in ("", ".max")}
    assert stored.of(dataclasses.replace(pattern, objective=fc_unit(0))) is None
    assert len(stored.of(pattern)) == 2


def test_references_come_back_as_they_were_written(model, references, tmp_path):
    path = tmp_path / "deeper" / "reference.safetensors"
    save_references(path, references)
    again = load_references(path, model)
    assert (again.fingerprint, again.clips) == (references.fingerprint, references.clips)
    assert again.clips == tuple(f"set/clip{index}.wav" for index in range(CLIPS))
    assert set(again.values) == set(references.values)
    for key, value in references.values.items():
        assert value.dtype == np.float32
        assert len(value) == CLIPS
        assert np.isfinite(value).all()
        assert np.array_equal(again.values[key], value)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing temporary is left


def test_the_mean_spectrum_is_stored_with_the_activations(model, references, inputs, tmp_path):
    save_references(tmp_path / FILE_NAME, references)
    assert not any("magnitude" in key for key in load_references(tmp_path / FILE_NAME, model).values)
    stored = stored_magnitudes(dataclasses.replace(model, folder=tmp_path), tuple(inputs))
    for role, clips in inputs.items():
        spectra = np.abs(np.fft.rfft2(torch.cat(clips)[:, 0].double().numpy()))
        mean = spectra.mean(axis=0)
        mean[0, 0] = 0
        scale = stored[role].max() / mean.max()
        np.testing.assert_allclose(stored[role], scale * mean, rtol=1e-4, atol=1e-6 * stored[role].max())
        image = np.fft.irfft2(stored[role], s=clips[0].shape[2:])
        assert image.std() == pytest.approx(1, rel=1e-4)


def test_how_real_clips_sound_is_stored_with_the_activations(model, files, references, tmp_path):
    save_audio(tmp_path / "silence.wav", np.zeros(8_000), 16_000)
    found = compute_references(model, [*files, ("silence", tmp_path / "silence.wav")])  # which has no crest
    assert found.sounds == references.sounds
    for role, frontend in model.frontends.items():
        config = frontend.config
        heard = [fit_length(load_audio(path, config.sample_rate), config.n_samples) for _, path in files]
        expected = {
            "crest_db": [crest_db(x) for x in heard],
            "buzz_db": [
                frame_rate_buzz_db(x, config.sample_rate, config.sample_rate / config.hop_length) for x in heard
            ],
            "flatness": [spectral_flatness(x, config.sample_rate, config.fmax) for x in heard],
        }
        stated = references.sounds[role]
        assert stated.keys() == {"n", *expected} and stated["n"] == CLIPS
        for name, values in expected.items():
            assert stated[name] == pytest.approx(np.quantile(values, [0.05, 0.5, 0.95]), rel=1e-3)
    save_references(tmp_path / FILE_NAME, references)
    assert load_references(tmp_path / FILE_NAME, model).sounds == references.sounds


def test_a_reference_of_before_sounds_were_measured_is_read(model, references, tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    save_references(tmp_path / "new", references)
    with safe_open(tmp_path / "new", "numpy") as file:
        facts = json.loads(file.metadata()["references"])
        values = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    del facts["sounds"]
    save_file(values, tmp_path / "old", metadata={"references": json.dumps(facts)})
    assert load_references(tmp_path / "old", model).sounds == {}


def test_known_clips_are_heard_again_where_their_sound_was_not_measured(model, files, references):
    old = dataclasses.replace(references, sounds={})
    assert compute_references(model, files, known=old).sounds == references.sounds


def test_importance_is_taken_over_from_the_same_weights_only(references):
    rows = np.ones((2, 48), np.float32)
    measured = dataclasses.replace(references, values={"importance.recording.conv3": rows}, importance_of="a set")
    kept = references.with_importance_of(measured)
    assert kept.importance_of == "a set" and kept.values.keys() == {*references.values, "importance.recording.conv3"}
    other = dataclasses.replace(measured, fingerprint="other")
    assert references.with_importance_of(other) is references is references.with_importance_of(None)


def test_the_same_references_give_the_same_bytes(references, tmp_path):
    contents = set()
    for _ in range(16):
        save_references(tmp_path / "reference.safetensors", references)
        contents.add((tmp_path / "reference.safetensors").read_bytes())
    assert len(contents) == 1


def test_references_of_other_weights_are_refused(references, tmp_path):
    path = tmp_path / "reference.safetensors"
    save_references(path, references)
    with pytest.raises(CheckpointError, match="other weights"):
        load_references(path, untrained_model("tl-iminet", 1))


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "no header", "clips", "missing", "folder"])
def test_damaged_references_are_refused(model, references, tmp_path, damage):
    from safetensors.numpy import save_file

    path = tmp_path / "reference.safetensors"
    save_references(path, references)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("not tensors\n")
    elif damage == "no header":
        save_file(references.values, path)
    elif damage == "clips":
        save_file(references.values, path, metadata={"fingerprint": references.fingerprint, "clips": "["})
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    with pytest.raises(CheckpointError, match=r"reference\.safetensors"):
        load_references(path, model)


def test_files_that_cannot_be_read_are_left_out_with_the_reason(model, files, references, tmp_path):
    empty, text = tmp_path / "empty.wav", tmp_path / "text.wav"
    empty.write_bytes(b"")
    text.write_text("not a sound")
    mixed = [("a", empty), files[0], ("b", text), files[1], ("c", tmp_path / "gone.wav")]
    failed: list[tuple[str, str]] = []
    seen = []
    found = compute_references(model, mixed, lambda done, total: seen.append((done, total)), failed)
    assert found.clips == (files[0][0], files[1][0])
    assert [name for name, _ in failed] == ["a", "b", "c"]
    assert "empty" in failed[0][1]
    assert "gone.wav: no such file" in failed[2][1]
    assert seen == [(done, 5) for done in range(1, 6)]
    for key, value in found.values.items():  # rows stay with their clips
        np.testing.assert_allclose(value, references.values[key][:2], rtol=1e-5, atol=1e-6)
    with pytest.raises(AudioError, match=r"empty\.wav"):
        compute_references(model, mixed)
    with pytest.raises(AudioError, match="none"):
        compute_references(model, mixed[:1], failed=[])


# --- where a pattern stands -----------------------------------------------------------------------------------------


def test_the_percentile_of_every_clip_is_its_rank(pattern):
    """Each clip's own activation as a pattern: the percentiles are spread evenly, the top one's is near 100."""
    values = np.random.default_rng(0).gamma(2, size=(200, 48)).astype(np.float32)
    stored = made_up(values)
    own = [compare_with_real(dataclasses.replace(pattern, activation=float(value)), stored) for value in values[:, 0]]
    ranks = np.argsort(np.argsort(values[:, 0]))
    np.testing.assert_allclose([found["percentile"] for found in own], (ranks + 1) / 2, atol=1e-9)
    top = own[int(values[:, 0].argmax())]
    assert top["percentile"] == 100
    assert top["headroom"] == 1
    assert not top["exceeds"]


def test_percentiles_of_other_clips_are_uniform(pattern):
    rng = np.random.default_rng(1)
    stored = made_up(rng.gamma(2, size=(400, 48)).astype(np.float32))
    found = np.sort(
        [
            compare_with_real(dataclasses.replace(pattern, activation=float(value)), stored)["percentile"]
            for value in rng.gamma(2, size=400)
        ]
    )
    assert np.abs(found / 100 - (np.arange(400) + 0.5) / 400).max() < 0.096  # Kolmogorov-Smirnov, p = .05, n = m = 400


def test_beyond_all_clips_and_below(pattern):
    stored = made_up(np.arange(10, dtype=np.float32)[:, None].repeat(48, 1))
    found = compare_with_real(dataclasses.replace(pattern, activation=18.0), stored)
    assert (found["percentile"], found["headroom"], found["exceeds"], found["max"]) == (100, 2, True, 9)
    assert found["clips"] == sum(found["histogram"]["counts"]) == 10
    edges = found["histogram"]["edges"]
    assert (edges[0], edges[-1], len(edges)) == (0, 18, 21)
    found = compare_with_real(dataclasses.replace(pattern, activation=-1.0), stored)
    assert (found["percentile"], found["exceeds"]) == (0, False)
    found = compare_with_real(dataclasses.replace(pattern, activation=0.0), stored)
    assert found["percentile"] == 10  # the clip that excites the neuron as much counts


def test_a_neuron_that_no_clip_excites_has_no_headroom(pattern):
    stored = made_up(np.zeros((5, 48), np.float32))
    found = compare_with_real(dataclasses.replace(pattern, activation=0.3), stored)
    assert (found["headroom"], found["max"], found["percentile"], found["exceeds"]) == (None, 0, 100, True)


@pytest.mark.parametrize("layer", ["imitation.conv2", "recording.conv3"])
def test_top_clips_are_those_of_brute_force(model, references, files, inputs, pattern, layer):
    role = layer.split(".")[0]
    every = torch.stack([brute_force(model, layer, **{role: x}).mean(dim=(1, 2)) for x in inputs[role]])
    neuron = int(every.std(dim=0).argmax())
    expected = sorted(
        ((float(every[index, neuron]), name) for index, (name, _) in enumerate(files)), key=lambda pair: -pair[0]
    )
    fake = dataclasses.replace(
        pattern, objective=channel(layer, neuron), inputs={role: np.zeros(model.frontends[role].config.shape)}
    )
    found = compare_with_real(fake, references)
    assert [clip["clip"] for clip in found["top"]] == [name for _, name in expected[:3]]
    assert [clip["activation"] for clip in found["top"]] == pytest.approx([v for v, _ in expected[:3]], rel=1e-4)
    assert {clip["role"] for clip in found["top"]} == {role}
    assert len(compare_with_real(fake, references, n_top=99)["top"]) == CLIPS


def test_what_does_not_excite_the_neuron_is_no_top_clip(pattern):
    few = np.array([0, 3, 0, -1, 2], np.float32)[:, None].repeat(48, 1)
    found = compare_with_real(pattern, made_up(few))
    assert [clip["activation"] for clip in found["top"]] == [3, 2] and found["clips"] == 5


def test_top_pairs_are_the_strongest_and_share_no_clip(references, pattern):
    for neuron in range(0, 108, 9):
        fake = dataclasses.replace(pattern, objective=fc_unit(neuron))
        real = references.of(fake)
        top = compare_with_real(fake, references, n_top=99)["top"]
        assert compare_with_real(fake, references)["top"] == top[:3]
        left = {(i, k): float(real[i, k]) for i in range(CLIPS) for k in range(CLIPS)}
        for pair in top:
            i = references.clips.index(pair["imitation"])
            k = references.clips.index(pair["recording"])
            assert pair["activation"] == float(real[i, k]) == max(left.values())
            left = {key: value for key, value in left.items() if key[0] != i and key[1] != k}
            assert pair["activation"] > 0
        assert max(left.values(), default=0) <= 0
        found = compare_with_real(fake, references)
        assert sum(found["histogram"]["counts"]) == found["clips"] == CLIPS**2


# --- twins ----------------------------------------------------------------------------------------------------------


def permuted(model: TrainedModel, order: torch.Tensor) -> TrainedModel:
    """The same function with the channels of the recording tower's conv2 in another order."""
    network = copy.deepcopy(model.network)
    first, second = network.recording.block("conv2").conv, network.recording.block("conv3").conv
    with torch.no_grad():
        first.weight.copy_(first.weight[order].clone())
        first.bias.copy_(first.bias[order].clone())
        second.weight.copy_(second.weight[:, order].clone())
    return dataclasses.replace(model, network=network, name="permuted")


def test_a_network_matches_its_own_permuted_copy_with_one(model, files, references):
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    other = compute_references(permuted(model, order), files)
    twins, correlation = match_neurons(references.values["recording.conv2"], other.values["recording.conv2"])
    np.testing.assert_allclose(correlation, 1, atol=1e-5)
    assert np.array_equal(order.numpy()[twins], np.arange(48))
    twins, correlation = match_neurons(references.values["recording.conv1"], other.values["recording.conv1"])
    assert np.array_equal(twins, np.arange(24))
    # and the rest of the network is the same function
    np.testing.assert_allclose(other.values["candidate"], references.values["candidate"], rtol=1e-3, atol=1e-5)


def test_random_networks_match_less_than_perfectly(model, files, references):
    other = compute_references(untrained_model("tl-iminet", 7), files)
    twins, correlation = match_neurons(references.values["recording.conv3"], other.values["recording.conv3"])
    mine, theirs = (x.values["recording.conv3"].max(axis=0) > 0 for x in (references, other))
    assert np.array_equal(twins >= 0, mine) or theirs.sum() < mine.sum()  # the dead have none
    assert set(twins[twins >= 0]) <= set(np.flatnonzero(theirs)) and len(set(twins[twins >= 0])) == (twins >= 0).sum()
    assert correlation[twins >= 0].mean() < 0.999


def test_matching_is_the_best_of_all_pairings_and_ignores_scale():
    rng = np.random.default_rng(3)
    a = rng.standard_normal((30, 6)).astype(np.float32)
    twins, correlation = match_neurons(a, 5 * a[:, ::-1] + 3)
    assert np.array_equal(twins, np.arange(6)[::-1])
    np.testing.assert_allclose(correlation, 1, atol=1e-6)
    # greedy would give neuron 0 its best twin and leave neuron 1 the worst
    base, other = rng.standard_normal((2, 4000))
    a = np.stack([base, base + 0.2 * other], 1)
    b = np.stack([base + 0.1 * other, other], 1)
    assert np.array_equal(match_neurons(a, b)[0], [0, 1])


@pytest.mark.parametrize("value", [0.0, 0.1, 3.7])
def test_a_constant_neuron_has_no_twin_and_is_none(value):
    a = np.random.default_rng(4).standard_normal((13, 4)).astype(np.float32)
    b = a.copy()
    a[:, 1] = b[:, 2] = value
    twins, correlation = match_neurons(a, b)
    assert twins[1] == -1 and correlation[1] == 0
    assert 2 not in twins and sorted(twins)[1:] != sorted(twins)[:-1]
    assert np.isfinite(correlation).all()
    twins, correlation = match_neurons(np.full_like(a, value), np.full_like(a, value))
    assert not correlation.any()
    assert (twins == -1).all()


@pytest.mark.parametrize("kind", ["iminet", "imisound", "recurrent", "aligned"])
def test_every_model_has_references_of_its_layers(files, kind):
    model = untrained_model(kind, 0)
    stored = compute_references(model, files[:2])
    layers = [layer for layer in model.network.layers if not layer.startswith("fc")]
    halves = {"query", "candidate"} if kind in ("iminet", "recurrent") else set()
    assert set(stored.values) == {f"{layer}{end}" for layer in layers for end in ("", ".max")} | halves
    for layer in layers:
        assert stored.values[layer].shape == (2, model.network.n_channels(layer))
        own = maximize(model, channel(layer, 1), EngineConfig(steps=1))
        assert compare_with_real(own, stored)["clips"] == 2
    if kind == "iminet":
        pair = maximize(model, fc_unit(3), EngineConfig(steps=1))
        assert compare_with_real(pair, stored)["clips"] == 4  # pairs of clips
        assert compare_with_real(maximize(model, channel("fc2", 3), EngineConfig(steps=1)), stored) is None


# --- stored once ----------------------------------------------------------------------------------------------------


def test_files_of_the_same_content_are_not_computed_again(model, files, references, tmp_path, monkeypatch):
    renamed = [(f"other/{name}", path) for name, path in files]
    changed = tmp_path / "changed.wav"
    save_audio(changed, load_audio(files[0][1], 16_000)[::-1].copy(), 16_000)
    computed = []
    plain = evidence._activations
    monkeypatch.setattr(evidence, "_activations", lambda *given: computed.append(1) or plain(*given))
    again = compute_references(model, [*renamed, ("new", changed)], known=references)
    assert len(computed) == 1
    assert again.clips == (*(name for name, _ in renamed), "new")
    for key, values in references.values.items():
        np.testing.assert_array_equal(again.values[key][:-1], values)


def test_what_is_known_of_other_weights_is_not_taken_over(files, references):
    other = untrained_model("tl-iminet", 9)
    assert compute_references(other, files[:1], known=references).fingerprint == other.fingerprint
    fresh = compute_references(other, files[:1]).values["recording.conv3"]
    np.testing.assert_array_equal(
        compute_references(other, files[:1], known=references).values["recording.conv3"], fresh
    )


def test_importance_goes_with_the_references_and_into_the_evidence(model, references, pattern, tmp_path):
    rows = np.stack([np.linspace(-1, 1, 48), np.full(48, 0.1)], axis=1).astype(np.float32).T  # as it is measured
    known = dataclasses.replace(
        references, values={**references.values, "importance.recording.conv3": rows}, importance_of="a set"
    )
    save_references(tmp_path / "r.safetensors", known)
    loaded = load_references(tmp_path / "r.safetensors", model)
    assert loaded.importance_of == "a set"
    found = measure(dataclasses.replace(pattern, objective=channel("recording.conv3", 47)), loaded)
    assert (found.importance, found.importance_se) == (1, pytest.approx(0.1))
    assert measure(dataclasses.replace(pattern, objective=channel("recording.conv2", 3)), loaded).importance is None


# --- one pattern's evidence -----------------------------------------------------------------------------------------


def test_every_measure_has_its_words():
    keys = {field.name for field in dataclasses.fields(Evidence)} - {"importance_se"}
    assert list(MEASURES) == [field.name for field in dataclasses.fields(Evidence) if field.name in keys]
    assert {key: len(re.findall(r"[.!?](?: |$)", text.meaning)) for key, text in MEASURES.items()} == dict.fromkeys(
        MEASURES, 2
    )


def test_evidence_of_a_pattern_with_stored_references():
    pattern = maximize(load_model("tl-iminet-conv123"), channel("recording.conv1", 5), EngineConfig(steps=8))
    found = pattern.evidence
    assert found.relu_transfer == pattern.activation / pattern.activation_leaky
    assert 0 <= found.percentile <= 100
    assert found.headroom > 0
    assert 0 <= found.realizability <= 1
    assert abs(found.importance) < 0.3 and found.importance_se >= 0
    assert found.activation_kept is found.stability is None  # need sounds, further patterns


@pytest.mark.parametrize(("imitation", "recording"), [(0.1, 0.4), (0.4, 0.1)])
def test_a_pair_is_as_far_from_any_sound_as_its_worse_side(pattern, monkeypatch, imitation, recording):
    distances = {IMITATION: imitation, RECORDING: recording}
    monkeypatch.setattr(evidence, "realizability", lambda values, config, *_: distances[config])
    noise = np.random.default_rng(0).standard_normal(IMITATION.shape).astype(np.float32)
    pair = dataclasses.replace(
        pattern,
        objective=fc_unit(0),
        inputs={"imitation": noise, **pattern.inputs},
        frontends={"imitation": IMITATION, **pattern.frontends},
        db_statistics={"imitation": pattern.db_statistics["recording"], **pattern.db_statistics},
    )
    assert measure(pair, None).realizability == 0.4
    assert measure(pattern, None).realizability == recording  # one side only


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"relu_transfer": 0.49}, "leaks"),
        ({"relu_transfer": -0.2}, "only 0%"),
        ({"alive": 0.0}, "hardly fires"),
        ({"percentile": 94.0, "headroom": 0.9}, "excite the neuron more"),
        ({"percentile": 100.0}, "no real clip excites the neuron at all"),
        ({"realizability": 0.31}, "no sound has this picture"),
        ({"stability": 0.97, "control": 0.9}, "also found in random nets"),
        ({"control": 0.9}, "also found in random nets"),
        ({"stability": 0.5, "control": 0.5}, "also found in random nets"),
    ],
)
def test_what_is_no_evidence_says_so(values, word):
    (warning,) = Evidence(**values).warnings()
    assert word in warning


def test_what_is_good_evidence_has_no_warning():
    good = Evidence(relu_transfer=0.5, alive=0.05, percentile=95, realizability=0.3, stability=0.97, control=0.899)
    assert good.warnings() == Evidence().warnings() == []
    for less in ({"stability": 0.6, "control": 0.59}, {"stability": None}):
        assert dataclasses.replace(good, **less).warnings() == []


@pytest.mark.parametrize("config", [IMITATION, RECORDING], ids=["imitation", "recording"])
def test_the_extreme_rays_span_all_mel_spectra(config):
    basis = frontend_of(config).mel_basis.double().numpy()
    rays = evidence._extreme_rays(config)
    assert rays.shape[1] < basis.shape[1]
    used = basis[:, basis.any(axis=0)]
    assert max(nnls(rays, column / np.linalg.norm(column))[1] for column in used.T) < 1e-12
