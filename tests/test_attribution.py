"""Explanations: known answers on networks whose attribution can be worked out, and faults."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from iminet_viz import attribution
from iminet_viz.attribution import (
    ExplainSettings,
    explain_match,
    explain_neuron,
    explain_pair,
    hear_attribution,
    measure_faithfulness,
    measure_infidelity,
)
from iminet_viz.audio import load_audio, save_audio
from iminet_viz.checkpoint import load_model, save_model, untrained_model
from iminet_viz.errors import PatternError
from iminet_viz.frames import MEL_FRAMES
from iminet_viz.frontends import CONSTANT_Q, IMITATION, RECORDING, make_frontend
from iminet_viz.retrieval import open_index

QUICK = ExplainSettings(steps=16, window=(0.5, 0.5), fractions=4, controls=2)


def noise(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(int(seconds * rate)) * np.hanning(int(seconds * rate))).astype(np.float32)


CLIPS = {"imitation": noise(2, 16_000), "recording": noise(2, 44_100)}
CQT_CLIPS = {"imitation": noise(2, 16_000), "recording": noise(3, 16_000, 1)}


@pytest.fixture(scope="module")
def model():
    return untrained_model("tl-iminet", 0)


@pytest.mark.parametrize(("kind", "clips"), [("tl-iminet", CLIPS), ("iminet", CQT_CLIPS), ("recurrent", CLIPS)])
def test_shares_and_attributions_sum_to_what_the_pair_has_over_silence(kind, clips):
    explained = explain_pair(untrained_model(kind, 0), clips, dataclasses.replace(QUICK, steps=64))
    gained = explained.value - explained.silence
    assert sum(explained.shares.values()) == pytest.approx(gained, abs=1e-4)
    total = sum(float(values.sum()) for values in explained.attributions.values())
    assert total - explained.convergence_delta == pytest.approx(gained, abs=1e-3)
    assert abs(explained.convergence_delta) < 0.05 * abs(gained) + 0.02
    assert all(explained.attributions[role].shape == x.shape for role, x in explained.inputs.items())


# an index rounds frames of the aligned net to int8
@pytest.mark.parametrize(("name", "tolerance"), [("tl-iminet-conv1", 1e-4), ("voice-search", 0.1)])
def test_of_long_files_the_windows_are_explained_that_a_search_scores_highest(tmp_path, name, tolerance):
    rate, silence = 16_000, np.zeros(7 * 16_000, np.float32)
    hum = (0.2 * np.sin(2 * np.pi * 180 * np.arange(4 * rate) / rate)).astype(np.float32)
    (tmp_path / "sounds").mkdir()
    save_audio(tmp_path / "sounds" / "long.wav", np.concatenate([silence, noise(5, rate), hum]), rate)
    save_audio(tmp_path / "voice.wav", np.concatenate([silence, hum, noise(5, rate, 1)]), rate)
    library = open_index(tmp_path / "index", name)
    library.add(tmp_path / "sounds", workers=0)
    answer = library.search(tmp_path / "voice.wav")
    explained = explain_match(name, tmp_path / "voice.wav", tmp_path / "sounds" / "long.wav", QUICK)
    (hit,) = answer
    assert explained.value == pytest.approx(hit.score, abs=tolerance)
    assert explained.spans["recording"] == pytest.approx((hit.start_s, hit.stop_s), abs=1e-3)
    assert explained.spans["imitation"] in answer.query.spans and len(answer.query.spans) > 2
    assert explained.spans["imitation"][0] > 6


@pytest.mark.parametrize(
    ("kind", "layer", "units"), [("tl-iminet", "fc1", 108), ("recurrent", "fc1", 108), ("iminet", "fc2", 32)]
)
def test_units_add_up_to_the_logit(kind, layer, units):
    model = untrained_model(kind, 0)
    explained = explain_pair(model, CQT_CLIPS if kind == "iminet" else CLIPS, QUICK)
    assert (explained.unit_layer, len(explained.units)) == (layer, units)
    added = [value for _, value in explained.units]
    last = model.network.fc3 if kind == "iminet" else model.network.fc2
    assert sum(added) + last.bias.item() == pytest.approx(explained.value, abs=1e-4)
    assert sorted(map(abs, added), reverse=True) == list(map(abs, added))


def test_two_player_shapley_by_hand(model):
    explained = explain_pair(model, CLIPS, QUICK)
    x = {role: torch.from_numpy(values)[None, None] for role, values in explained.inputs.items()}
    nothing = {role: torch.zeros_like(values) for role, values in x.items()}
    with torch.no_grad():
        both, none = model.network(**x).item(), model.network(**nothing).item()
        voice = model.network(x["imitation"], nothing["recording"]).item()
        sound = model.network(nothing["imitation"], x["recording"]).item()
    assert explained.shares["imitation"] == pytest.approx(((voice - none) + (both - sound)) / 2, abs=1e-5)
    assert explained.shares["recording"] == pytest.approx(((sound - none) + (both - voice)) / 2, abs=1e-5)


def test_a_side_that_does_not_matter_has_no_share(model):
    deaf = untrained_model("tl-iminet", 0)
    with torch.no_grad():
        deaf.network.fc1.weight[:, deaf.network.imitation.n_features :] = 0
    explained = explain_pair(deaf, CLIPS, QUICK)
    assert explained.shares["recording"] == pytest.approx(0, abs=1e-6)
    for maps in (explained.attributions, explained.occlusion):
        assert np.abs(maps["recording"]).max() < 1e-6 < np.abs(maps["imitation"]).max()


@pytest.mark.parametrize(
    ("layer", "roles"),
    [("imitation.conv2", ["imitation"]), ("recording.conv3", ["recording"]), ("fc1", ["imitation", "recording"])],
)
def test_a_neuron_is_explained_by_what_it_sees_alone(model, layer, roles):
    explained = explain_neuron(model, layer, 3, CLIPS, QUICK)
    assert list(explained.inputs) == roles and explained.target == f"{layer} 3"
    assert explained.units == ()
    with torch.no_grad():
        inputs = {role: torch.from_numpy(x)[None, None] for role, x in explained.inputs.items()}
        value = model.network.relu(model.network.preactivation(layer, **inputs))[0, 3].mean().item()
    assert explained.value == pytest.approx(value, abs=1e-5)


def test_an_attribution_that_is_right_beats_its_controls_and_a_wrong_one_does_not():
    """The target is the sum of one corner: the map that says so must win, its negative must lose."""
    x = {"imitation": torch.rand(1, 1, 20, 30) + 0.5}
    weight = torch.zeros(20, 30)
    weight[:5, :6] = 1.0

    def target(values: torch.Tensor) -> torch.Tensor:
        return (values * weight).sum(dim=(1, 2, 3))

    right = {"imitation": (x["imitation"][0, 0] * weight).numpy()}
    good = measure_faithfulness(target, x, right, ExplainSettings(fractions=10, controls=10))
    assert good.beaten == {kind: {"deletion": 10.0, "insertion": 10.0} for kind in ("random", "level")}
    assert good.deletion < 0.05 * target(x["imitation"]).item() < good.insertion
    bad = measure_faithfulness(target, x, {"imitation": -right["imitation"]}, ExplainSettings(fractions=10))
    assert bad.beaten["random"]["deletion"] < 2 and bad.beaten["level"]["deletion"] < 2


def test_a_map_that_only_knows_where_the_sound_is_beats_half_of_its_controls():
    rng = np.random.default_rng(1)
    beaten = []
    for seed in range(60):  # the controls of one map are alike, so each map wins or loses against nearly all of them
        level = np.full((48, 72), -1.0, np.float32)
        level[8:36, 12:56] = rng.uniform(0.5, 2, (28, 44))
        weight = torch.from_numpy(np.abs(rng.standard_normal((48, 72))).astype(np.float32))
        blind = np.where(level > 0, 1, -1) * rng.uniform(0.5, 1, level.shape).astype(np.float32)
        x = {"imitation": torch.from_numpy(level)[None, None]}
        settings = ExplainSettings(fractions=8, controls=8, seed=seed)

        def target(values: torch.Tensor, weight: torch.Tensor = weight) -> torch.Tensor:
            return (values.clamp_min(0) * weight).sum(dim=(1, 2, 3))

        found = measure_faithfulness(target, x, {"imitation": blind}, settings).beaten
        assert set(found["random"].values()) == {8.0}  # they do not even know where the sound is
        beaten += found["level"].values()
    assert 0.35 < np.mean(beaten) / 8 < 0.65


def test_a_dead_target_ties_with_every_control():
    x = {"imitation": torch.rand(1, 1, 8, 8)}
    found = measure_faithfulness(lambda v: v.sum(dim=(1, 2, 3)) * 0, x, {"imitation": np.eye(8)}, QUICK)
    assert found.beaten == {kind: {"deletion": 1.0, "insertion": 1.0} for kind in ("random", "level")}


def test_a_random_order_is_a_control_of_both_tests():
    """What is left when it deletes is what it inserts backwards, and no area is more or less than it says."""
    x = {"imitation": torch.rand(1, 1, 20, 30), "recording": torch.rand(1, 1, 10, 40)}
    kept = []

    def target(*sides: torch.Tensor) -> torch.Tensor:
        cells = sum((side != 0).sum(dim=(1, 2, 3)) for side in sides)
        kept.extend(cells.tolist())
        return cells.double()

    found = measure_faithfulness(target, x, {role: np.ones(v.shape[2:]) for role, v in x.items()}, QUICK)
    assert found.random.insertion_curve == tuple(area * 1_000 for area in found.areas)
    assert found.random.deletion_curve == found.random.insertion_curve[::-1]
    assert {round(cells) for cells in kept} == {250, 500, 750}


def test_infidelity_of_a_linear_target_is_zero_and_of_a_wrong_map_is_not():
    x = torch.randn(1, 1, 10, 12, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(10, 12, generator=torch.Generator().manual_seed(1))

    def target(values: torch.Tensor) -> torch.Tensor:
        return (values * weight).sum(dim=(1, 2, 3))

    assert measure_infidelity(target, (x,), (x * weight,), ExplainSettings()) < 1e-6
    assert measure_infidelity(target, (x,), (x * weight.flip(0),), ExplainSettings()) > 0.5


@pytest.mark.filterwarnings("ignore::UserWarning")  # captum's own, of its decorator
def test_infidelity_is_that_of_captum_divided_by_the_mean_square_of_the_change(model):
    from captum.metrics import infidelity

    settings = dataclasses.replace(QUICK, perturbations=6)
    explained = explain_pair(model, CLIPS, settings)
    inputs = tuple(torch.from_numpy(x)[None, None] for x in explained.inputs.values())
    attributions = tuple(torch.from_numpy(x)[None, None] for x in explained.attributions.values())
    generator = torch.Generator().manual_seed(settings.seed)
    noises, perturbed, changes = [], [], []
    for _ in range(settings.perturbations):
        noise = [settings.noise * x.std() * torch.randn(x.shape, generator=generator) for x in inputs]
        perturbed.append([x - own for x, own in zip(inputs, noise, strict=True)])
        noises.append([own / x for x, own in zip(inputs, noise, strict=True)])  # attributions hold the input as factor
        with torch.no_grad():
            changes.append(explained.value - model.network(*perturbed[-1]).item())

    def perturb(*_: object) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        return tuple(map(torch.cat, zip(*noises, strict=True))), tuple(map(torch.cat, zip(*perturbed, strict=True)))

    theirs = infidelity(
        model.network, perturb, inputs, attributions, n_perturb_samples=settings.perturbations, normalize=True
    )
    assert explained.infidelity == pytest.approx(theirs.item() / np.mean(np.square(changes)), rel=1e-3)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_fast_copy_of_a_network_gives_the_same(batch_norm):
    plain = untrained_model("tl-iminet", 0, {"batch_norm": batch_norm}).network
    for layer in (layer for layer in plain.modules() if isinstance(layer, torch.nn.BatchNorm2d)):
        layer.running_mean.uniform_(-1, 1), layer.running_var.uniform_(0.5, 2), layer.bias.data.uniform_(-1, 1)
    before = {key: value.clone() for key, value in plain.state_dict().items()}
    fast = attribution._fast(plain)
    sides = (torch.randn(3, 1, 39, 482), torch.randn(3, 1, 128, 128))
    with torch.no_grad():
        torch.testing.assert_close(fast(*sides), plain(*sides), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[key], value) for key, value in plain.state_dict().items())


def test_the_same_seed_explains_the_same(model):
    first, again = (explain_pair(model, CLIPS, QUICK) for _ in range(2))
    assert first.as_dict() == again.as_dict()
    json.dumps(first.as_dict(), allow_nan=False)


# --- heard ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [IMITATION, RECORDING, CONSTANT_Q], ids=["imitation", "recording", "constant-q"])
def test_a_full_mask_returns_the_clip_within_the_bands(config):
    time = np.arange(config.n_samples) / config.sample_rate
    clip = (0.3 * np.sin(2 * np.pi * 1_000 * time)).astype(np.float32)
    heard = hear_attribution(clip, config, np.ones(config.shape))
    middle = slice(len(clip) // 4, len(clip) // 2)
    np.testing.assert_allclose(heard[middle], clip[middle], atol=0.01)


@pytest.mark.parametrize(("config", "band"), [(IMITATION, 12), (CONSTANT_Q, 7), (CONSTANT_Q, 40)])
def test_a_mask_on_one_band_passes_its_tone_and_not_one_beside(config, band):
    mask = np.zeros(config.shape)
    mask[band] = 1.0
    time = np.arange(config.n_samples) / config.sample_rate
    kept = []
    for other in (band, band + 6):
        tone = (0.3 * np.sin(2 * np.pi * make_frontend(config).band_frequencies()[other] * time)).astype(np.float32)
        middle = slice(len(tone) // 4, 3 * len(tone) // 4)
        kept.append(np.std(hear_attribution(tone, config, mask)[middle]) / np.std(tone[middle]))
    assert kept[0] > 0.4 and kept[0] > 5 * kept[1]


def test_what_speaks_half_as_much_is_heard_half_as_loud():
    """The mask is soft: its height is the gain, up to that of the loudest tenth."""
    heights = (0.25, 0.5, 0.75, 1.0)
    mask = np.repeat(heights, RECORDING.shape[1] // 4 + 1)[None, : RECORDING.shape[1]] * np.ones(RECORDING.shape)
    time = np.arange(RECORDING.n_samples) / RECORDING.sample_rate
    tone = (0.3 * np.sin(2 * np.pi * 1_000 * time)).astype(np.float32)
    heard = hear_attribution(tone, RECORDING, 0.01 * mask)
    part = len(tone) // 12  # the middle third of each quarter
    gains = [np.std(heard[start : start + part]) / np.std(tone) for start in range(part, len(tone), 3 * part)][:4]
    assert gains == pytest.approx(heights, abs=0.02)


def test_one_cell_is_heard():
    mask = np.zeros(RECORDING.shape)
    mask[60, 30] = 1.0
    assert np.abs(hear_attribution(CLIPS["recording"], RECORDING, mask)).max() > 0


def test_a_mask_on_one_band_lets_one_tone_through():
    centres = make_frontend(RECORDING).band_frequencies()
    low, high = 20, 80
    time = np.arange(RECORDING.n_samples) / RECORDING.sample_rate
    tones = [np.sin(2 * np.pi * centres[band] * time) for band in (low, high)]
    mask = np.zeros(RECORDING.shape)
    mask[low - 2 : low + 3] = 1.0
    heard = hear_attribution((0.2 * (tones[0] + tones[1])).astype(np.float32), RECORDING, mask)
    levels = [abs(np.dot(heard, tone)) for tone in tones]
    assert levels[0] > 100 * levels[1]
    early = np.zeros(RECORDING.shape)
    early[:, :40] = 1.0
    heard = hear_attribution((0.2 * tones[0]).astype(np.float32), RECORDING, early)
    assert np.abs(heard[: len(heard) // 4]).max() > 0.1 > 10 * np.abs(heard[len(heard) // 2 :]).max()


# --- faults ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_explained_is_said(model):
    with pytest.raises(PatternError, match=r"no two towers.*--layer.*conv1"):
        explain_pair(untrained_model("sound-tower", 0, {"classes": ["a", "b"]}), CLIPS, QUICK)
    for name in ("mfcc", "dtw+mfcc"):
        with pytest.raises(PatternError, match="dtw"):
            explain_match(name, "a.wav", "b.wav")
    with pytest.raises(PatternError, match="stretches clips"):
        explain_neuron(untrained_model("aligned", 0), "conv1", 0, CQT_CLIPS, QUICK)
    with pytest.raises(PatternError, match="needs the recording"):
        explain_pair(model, {"imitation": CLIPS["imitation"]}, QUICK)
    silence = np.zeros_like(CLIPS["recording"])
    with pytest.raises(PatternError, match=r"^recording: silent"):
        explain_pair(model, CLIPS | {"recording": silence}, QUICK)
    late = np.concatenate([silence, silence, silence, CLIPS["recording"]])
    with pytest.raises(PatternError, match=r"^the beginning of the recording: silent"):
        explain_pair(model, CLIPS | {"recording": late}, QUICK)
    with pytest.raises(PatternError, match="has neurons 0 to 47, not 48"):
        explain_neuron(model, "imitation.conv1", 48, CLIPS, QUICK)
    with pytest.raises(PatternError, match="no layer"):
        explain_neuron(model, "conv9", 0, CLIPS, QUICK)
    with pytest.raises(PatternError, match="nothing in this clip"):
        hear_attribution(CLIPS["imitation"], IMITATION, -np.ones(IMITATION.shape))
    with pytest.raises(PatternError, match="expected"):
        hear_attribution(CLIPS["imitation"], MEL_FRAMES, np.ones(MEL_FRAMES.shape))
    with pytest.raises(PatternError, match="at least 1"):
        ExplainSettings(controls=0)
    for wrong in ({"fractions": 1}, {"window": (2.0, 0.5)}, {"noise": 0.0}):
        with pytest.raises(PatternError):
            ExplainSettings(**wrong)


def test_the_command_writes_numbers_pictures_sounds_and_a_page(call, model, tmp_path, monkeypatch):
    monkeypatch.setattr(attribution, "ExplainSettings", lambda **chosen: dataclasses.replace(QUICK, **chosen))
    data = {"data": {"name": "none", "licence": "none"}}
    save_model(tmp_path / "net", model.network, model.db_statistics, data, {})
    for role, clip in CLIPS.items():
        save_audio(tmp_path / f"{role}.wav", clip, {"imitation": 16_000, "recording": 44_100}[role])
    files = [tmp_path / "imitation.wav", tmp_path / "recording.wav"]
    status, out, err = call("explain", tmp_path / "net", *files, "--out", tmp_path / "why", "--steps", "8", "--json")
    assert status == 0, err
    figures = json.loads(out)
    assert figures == json.loads((tmp_path / "why" / "explanation.json").read_text())
    assert set(figures["shares"]) == {"imitation", "recording"} and len(figures["units"]) == 108
    assert (tmp_path / "why" / "explanation.png").read_bytes().startswith(b"\x89PNG")
    for role, config in (("imitation", IMITATION), ("recording", RECORDING)):
        for name in (role, f"{role}-heard"):
            assert len(load_audio(tmp_path / "why" / f"{name}.wav", config.sample_rate)) == config.n_samples
    same = explain_match(load_model(tmp_path / "net"), *files, dataclasses.replace(QUICK, steps=8))
    assert same.shares == pytest.approx(figures["shares"])
    status, _, err = call("explain", tmp_path / "net", *files, "--out", tmp_path / "why")
    assert status == 1 and "--force" in err
    (tmp_path / "recording.wav").unlink()  # a neuron of the other tower needs it not
    arguments = [
        "explain",
        tmp_path / "net",
        *files,
        "--out",
        tmp_path / "why",
        "--layer",
        "imitation.conv1",
        "--force",
    ]
    assert call(*arguments)[0] == 2
    status, out, err = call(*arguments, "--neuron", "5", "--steps", "8")
    assert status == 0 and "imitation.conv1 5" in out, err
    assert not list(Path(tmp_path / "why").glob("recording*"))  # of the explanation before
    status, _, err = call(*arguments, "--neuron", "5", "--gallery", tmp_path)
    assert status == 1 and "is no gallery" in err
