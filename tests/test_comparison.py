"""Nets are matched as they were made alike, effects are those of known samples, a report is whole and resumed."""

import copy
import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import iminet_viz as iv
from iminet_viz import comparison, comparison_report
from iminet_viz.audio import save_audio
from iminet_viz.checkpoint import DbStatistics, TrainedModel, fingerprint_of, save_model, untrained_model, weights_of
from iminet_viz.comparison import (
    CLAIMS,
    MEASURES,
    CompareSettings,
    Comparison,
    Effect,
    Finding,
    compare,
    linear_cka,
    match_layer,
    measure_effect,
)
from iminet_viz.comparison_report import SAID, WORDS, build_report, write_report
from iminet_viz.errors import AudioError, CheckpointError, GalleryError, IminetVizError, PatternError
from iminet_viz.frontends import RECORDING
from iminet_viz.patterns import evidence
from iminet_viz.patterns.complexity import pattern_complexity
from iminet_viz.patterns.engine import EngineConfig, Pattern
from iminet_viz.patterns.objectives import channel
from iminet_viz.patterns.pair_evidence import PairStudy, measure_likeness

CLASSES = {"classes": ("a", "b")}
QUICK = EngineConfig(steps=2, precision="32")
SMALL = CompareSettings(neurons=2, best=1, random_nets=2, engine=QUICK)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Twelve short sounds, each another pitch, noise and length."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for index in range(12):
        time = np.arange(int(16_000 * (0.3 + 0.15 * index))) / 16_000
        sound = np.sin(2 * np.pi * 150 * (index + 1) * time) + 0.05 * index * rng.standard_normal(len(time))
        save_audio(folder / "set" / f"{index:02}.wav", 0.5 * sound / np.abs(sound).max(), 16_000)
    return folder


@pytest.fixture(scope="module")
def towers() -> tuple[TrainedModel, TrainedModel]:
    """Two nets of one small tower, with different weights."""
    return (
        untrained_model("sound-tower", 1, CLASSES, "first"),
        untrained_model("sound-tower", 2, CLASSES, "second <b>&</b>"),
    )


@pytest.fixture(scope="module")
def made(towers, clips) -> Comparison:
    return compare(*towers, clips, SMALL)


def permuted(model: TrainedModel, seed: int) -> tuple[TrainedModel, dict[str, np.ndarray]]:
    """The same network with its channels and fc1 units in another order; ``{layer: old channel of each new}``."""
    rng = np.random.default_rng(seed)
    network = copy.deepcopy(model.network)
    orders = {}
    columns = []
    for role, tower in network.towers.items():
        before = None
        for name, block in tower.blocks.items():
            weight = block.conv.weight.data
            order = torch.from_numpy(rng.permutation(len(weight)))
            weight = weight if before is None else weight[:, before]
            block.conv.weight.data = weight[order].contiguous()
            for each in (block.conv.bias, block.norm.weight, block.norm.bias):
                each.data = each.data[order]
            block.norm.running_mean, block.norm.running_var = (
                values[order] for values in (block.norm.running_mean, block.norm.running_var)
            )
            orders[f"{role}.{name}"] = order.numpy()
            before = order
        channels, bands, frames = list(tower.output_shapes().values())[-1]
        places = torch.arange(channels * bands * frames).reshape(channels, bands * frames)[before].flatten()
        columns.append(places + sum(map(len, columns)))
    units = torch.from_numpy(rng.permutation(network.fc1.out_features))
    network.fc1.weight.data = network.fc1.weight.data[units][:, torch.cat(columns)].contiguous()
    network.fc1.bias.data = network.fc1.bias.data[units]
    network.fc2.weight.data = network.fc2.weight.data[:, units].contiguous()
    orders["fc1"] = units.numpy()
    mark = fingerprint_of(weights_of(network), network.FRONTENDS)
    return dataclasses.replace(model, name="permuted", network=network, fingerprint=mark), orders


# --- matching and CKA -----------------------------------------------------------------------------------------------


def test_a_net_matches_its_own_permuted_copy_at_one_and_itself_too(clips):
    model = untrained_model("tl-iminet", 3, {"batch_norm": True})
    torch.manual_seed(0)
    torch.nn.init.normal_(model.network.fc1.bias, std=0.1)
    for part in model.network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):  # as training leaves it: each channel another
            for values, low, high in (
                *((part.weight, 0.5, 1.5), (part.bias, -0.2, 0.2)),
                *((part.running_mean, -0.2, 0.2), (part.running_var, 0.5, 2.0)),
            ):
                torch.nn.init.uniform_(values, low, high)
    copied, orders = permuted(model, 0)
    files = [(path.name, path) for path in sorted(clips.rglob("*.wav"))]
    references = [evidence.compute_references(net, files) for net in (model, copied)]
    pair = [torch.randn(2, 1, *frontend.config.shape) for frontend in model.frontends.values()]
    with torch.no_grad():
        torch.testing.assert_close(model.network(*pair), copied.network(*pair))  # the copy does the same
    for layer in model.network.layers:
        activity = [reference.activity(layer) for reference in references]
        match = match_layer(layer, activity, len(files))
        assert match.median == pytest.approx(1, abs=1e-6)
        for neuron, twin, correlation in match.twins:
            assert correlation == pytest.approx(1, abs=1e-6)
            same = np.corrcoef(activity[0][:, neuron], activity[0][:, orders[layer][twin]])[0, 1]
            assert same == pytest.approx(1, abs=1e-6)  # the very neuron, or one that no clip tells from it
        exact = np.mean([orders[layer][twin] == neuron for neuron, twin, _ in match.twins])
        assert exact > 0.9
        assert match.cka == pytest.approx(1, abs=1e-6)
        assert match.shuffled < 0.9
        assert linear_cka(activity[0], activity[0]) == pytest.approx(1, abs=1e-12)


def brute_hsic(K: np.ndarray, L: np.ndarray) -> float:
    """Song et al. 2012, equation 5, with the matrices of clips by clips."""
    n = len(K)
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    one = np.ones(n)
    return (
        np.trace(K @ L) + (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ K @ L @ one
    ) / (n * (n - 3))


def test_cka_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((30, 7)) + 3, rng.standard_normal((30, 5))
    b[:, :3] += a[:, :3]
    K, L = a @ a.T, b @ b.T
    expected = brute_hsic(K, L) / np.sqrt(brute_hsic(K, K) * brute_hsic(L, L))
    assert linear_cka(a, b) == pytest.approx(expected, rel=1e-9)
    rotation = np.linalg.qr(rng.standard_normal((7, 7)))[0]
    assert linear_cka(5 * a @ rotation + 1, b) == pytest.approx(expected, rel=1e-9)


def test_cka_of_what_has_nothing_in_common_is_near_zero_where_the_plain_one_is_not():
    rng = np.random.default_rng(1)
    debiased, plain = [], []
    for _ in range(100):
        a, b = rng.standard_normal((40, 48)), rng.standard_normal((40, 48))
        debiased.append(linear_cka(a, b))
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        norms = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
        plain.append(np.linalg.norm(a.T @ b) ** 2 / norms)
    assert abs(np.mean(debiased)) < 0.02 < 0.3 < np.mean(plain)
    assert linear_cka(np.ones((9, 3)), np.random.default_rng(0).random((9, 3))) == 0


def test_the_interval_over_clips_has_the_spread_that_other_clips_would_give():
    rng = np.random.default_rng(2)
    mixing = rng.standard_normal((6, 10))

    def draw(n: int):
        hidden = rng.standard_normal((n, 6))
        return hidden @ mixing, hidden @ mixing[:, ::-1] + 2 * rng.standard_normal((n, 10))

    spread = np.percentile([linear_cka(*draw(100)) for _ in range(300)], [2.5, 97.5])
    widths = []
    for seed in range(10):
        low, high = match_layer("x", draw(100), 100, seed).cka_interval
        widths.append(high - low)
    assert np.mean(widths) == pytest.approx(spread[1] - spread[0], rel=0.25)


def test_dead_neurons_are_left_out_and_named(clips):
    rng = np.random.default_rng(0)
    a = rng.random((20, 6))
    b = a[:, [5, 4, 3, 2, 1, 0]].copy()
    a[:, 2], b[:, [0, 1]] = 0, 0  # b's 0 and 1 are a's 5 and 4
    match = match_layer("x", [a, b, rng.random((20, 6))], 20)
    assert match.dead == ((2,), (0, 1))
    assert {(n, t) for n, t, r in match.twins if r > 0.999} == {(0, 5), (1, 4), (3, 2)}
    assert len(match.twins) == 4 and len(match.random) == 1 and match.random_pairs == ()


# --- effects and verdicts -------------------------------------------------------------------------------------------


def test_effects_of_known_samples():
    up = measure_effect([(np.array([2.0, 3, 4, 5]), np.array([1.0, 1, 1, 6]))], paired=False)
    assert up.delta == pytest.approx((12 - 4) / 16) and up.n == (4, 4) and up.medians == (3.5, 1)
    paired = measure_effect([(np.arange(6.0), np.arange(6.0) - 1), (np.zeros(2), np.ones(2))], paired=True)
    assert paired.delta == pytest.approx((6 - 2) / 8) and paired.n == (8, 8)
    ties = measure_effect([(np.ones(7), np.ones(7))], paired=True)
    assert (ties.delta, ties.interval, ties.verdict) == (0, (0, 0), "undecided")
    assert measure_effect([(np.arange(5.0), np.arange(5.0) + 9)], paired=False).verdict == "does not hold"
    with pytest.raises(ValueError, match="no values"):
        measure_effect([(np.array([]), np.array([]))], paired=False)


@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_covers_the_true_effect(paired):
    rng = np.random.default_rng(3)
    covered = []
    for seed in range(100):
        a, b = rng.standard_normal(20), rng.standard_normal(20)
        low, high = measure_effect([(a, b)], paired, seed).interval
        covered.append(low <= 0 <= high)
    assert 0.87 < np.mean(covered) <= 1


def test_few_neurons_decide_nothing():
    assert measure_effect([(np.ones(5), np.zeros(5))], paired=True).verdict == "undecided"
    assert measure_effect([(np.ones(6), np.zeros(6))], paired=True).verdict == "holds"
    assert measure_effect([(np.ones(3), np.zeros(9))], paired=False).verdict == "undecided"
    assert measure_effect([(np.ones(4), np.zeros(9))], paired=False).verdict == "holds"


def effect(delta: float, paired: bool = False) -> Effect:
    return Effect(delta, (delta - 0.1, delta + 0.1), (9, 9), paired, (0.0, 0.0))


FOR, AGAINST, OPEN = (0.9, 0.0), (-0.9, 0.0), (0.0, 0.9)  # effect and that of random nets
RANDOM_FOR, RANDOM_AGAINST = (0.9, 0.9), (-0.9, -0.9)


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ((FOR, FOR, OPEN), "holds"),
        ((FOR, AGAINST, AGAINST), "does not hold"),
        ((FOR, AGAINST, OPEN, OPEN), "mixed"),
        ((FOR, OPEN, OPEN), "undecided"),
        ((FOR, OPEN), "undecided"),
        # what random nets show too is neither for ...
        ((FOR, FOR, RANDOM_FOR, OPEN, OPEN), "undecided"),
        ((FOR, RANDOM_FOR, RANDOM_FOR, OPEN), "undecided"),
        # ... nor against
        ((AGAINST, AGAINST, RANDOM_AGAINST, OPEN, OPEN), "undecided"),
        ((FOR, FOR, FOR, RANDOM_AGAINST, RANDOM_AGAINST), "holds"),
        ((FOR, RANDOM_AGAINST, OPEN), "undecided"),
        ((FOR, AGAINST, RANDOM_AGAINST, RANDOM_AGAINST), "mixed"),
        ((FOR, RANDOM_FOR, RANDOM_FOR), "as in random nets"),
        ((FOR, RANDOM_FOR, RANDOM_AGAINST), "as in random nets"),
    ],
)
@pytest.mark.parametrize("claim", ["sharper", "complexity"])
def test_a_claim_is_summed_up_by_more_than_half_beyond_random_nets(made, claim, effects, verdict):
    paired = claim in comparison.TRAINING  # then two random nets that differ, whichever way
    findings = tuple(
        Finding(claim, "x", "order", ("a", "b"), effect(own, paired), effect(abs(of) if paired else of, paired))
        for own, of in effects
    )
    changed = dataclasses.replace(made, findings=findings)
    assert changed.verdict_of(claim) == verdict
    assert changed.tally(claim) == {
        "holds": effects.count(FOR),
        "does not hold": effects.count(AGAINST),
        "as in random nets": effects.count(RANDOM_FOR) + effects.count(RANDOM_AGAINST),
        "undecided": effects.count(OPEN),
    }
    with pytest.raises(KeyError):
        made.verdict_of("no such claim")


def test_page_and_numbers_say_how_a_verdict_comes_about_and_what_did_not_count(made, tmp_path):
    findings = tuple(
        Finding("structure", "x", "order", ("a", "b"), effect(own, True), effect(abs(of), True))
        for own, of in (FOR, FOR, FOR, RANDOM_FOR, RANDOM_AGAINST)
    )
    write_report(tmp_path, dataclasses.replace(made, findings=findings))
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count(comparison.RULE) == 1
    assert "Of 5 measurements 3 for it, 2 as in random nets." in page
    assert page.count("<td class='left'>holds, as in random nets</td>") == 1
    assert page.count("<td class='left'>does not hold, as in random nets</td>") == 1
    stored = json.loads((tmp_path / "comparison.json").read_text())
    claim = stored["claims"]["structure"]
    assert stored["rule"] == comparison.RULE
    assert claim["tally"] == {"holds": 3, "does not hold": 0, "as in random nets": 2, "undecided": 0}
    assert [finding["says"] for finding in claim["findings"]] == ["holds"] * 3 + ["as in random nets"] * 2


def test_what_random_nets_show_too_is_said():
    def finding(claim: str, delta: float, random: float | None, paired: bool = False) -> Finding:
        null = None if random is None else effect(random, paired)
        return Finding(claim, "x", "octave_cells", ("a", "b"), effect(delta, paired), null)

    assert finding("complexity", 0.9, 0.5).also_random
    assert not finding("complexity", 0.9, 0.0).also_random
    assert not finding("complexity", 0.9, -0.5).also_random
    assert not finding("complexity", 0.9, None).also_random
    # between two nets the size counts, whichever of them has more
    assert finding("finer", -0.5, 0.6, paired=True).also_random
    assert not finding("finer", -0.7, 0.6, paired=True).also_random


def test_nets_are_held_against_the_two_random_nets_that_differ_most():
    def net(level: float) -> dict:
        return {"recording.conv1": {"edge_energy": [level] * 8}}

    measures = {"a": net(2), "b": net(1), "random": {}}
    (found,) = comparison._judge(("a", "b"), measures, [net(5), net(5), net(6)], {}, 0)
    assert (found.claim, found.verdict, found.random.delta, found.says) == ("sharper", "holds", 1, "as in random nets")
    (found,) = comparison._judge(("a", "b"), measures, [net(5), net(5)], {}, 0)
    assert (found.random.delta, found.says) == (0, "holds")


def found_by(claim: str, measures: dict, pairs: dict | None = None) -> dict[tuple[str, str], Finding]:
    """A claim's findings of two nets ``a`` and ``b``, by place and measure."""
    judged = comparison._judge(("a", "b"), measures, [], pairs or {}, 0)
    return {(found.where, found.measure): found for found in judged if found.claim == claim}


@pytest.mark.parametrize(
    ("claim", "measure"),
    [
        ("complexity", "octave_cells"),
        ("spectrogram", "band_concentration"),
        ("spectrogram", "realizable"),
        ("spectrogram", "real_modulations"),
    ],
)
def test_depth_is_the_last_layer_held_against_the_first(claim, measure):
    def net(first: float, last: float) -> dict:
        levels = (first, 5.0, last)
        return {f"recording.conv{n}": {measure: [level] * 6} for n, level in enumerate(levels, 1)}

    found = found_by(claim, {"a": net(1, 2), "b": net(2, 1), "random": net(3, 2)})
    rises, falls = found["recording tower, a", measure], found["recording tower, b", measure]
    assert (rises.effect.delta, rises.effect.medians, rises.verdict) == (1, (2, 1), "holds")
    assert (falls.effect.delta, falls.effect.medians, falls.verdict) == (-1, (1, 2), "does not hold")
    assert rises.sides == ("conv3", "conv1")
    assert (rises.random.delta, rises.random.medians) == (-1, (2, 3))
    assert (rises.says, falls.says) == ("holds", "as in random nets")


def test_strips_are_held_against_the_same_deepest_layer_of_random_nets():
    def net(first: float, last: float, imitation: float) -> dict:
        levels = {"imitation.conv1": 0.5, "imitation.conv3": imitation, "recording.conv1": first}
        return {place: {"verticality": [level] * 6} for place, level in (levels | {"recording.conv3": last}).items()}

    found = found_by("strips", {"a": net(0.9, 0.6, 0.1), "b": net(0.0, 0.2, 0.4), "random": net(0.99, 0.3, 0.25)})
    by_where = {where: finding for (where, _), finding in found.items()}
    towers = by_where["both towers, a"]
    assert towers.sides == ("recording.conv3", "imitation.conv3")
    assert (towers.effect.medians, towers.random.medians) == ((0.6, 0.1), (0.3, 0.25))
    assert by_where["both towers, b"].effect.medians == (0.2, 0.4)
    assert by_where["recording.conv3, a"].effect.medians == (0.6, 0.3)
    assert by_where["recording.conv3, a"].verdict == "holds"
    assert by_where["recording.conv3, b"].effect.medians == (0.2, 0.3)
    assert by_where["recording.conv3, b"].verdict == "does not hold"


def pairs_of(**levels: tuple[float, float]) -> PairStudy:
    """Seven pairs whose sides correlate so much with each other, and so much with those of other pairs."""
    grids = {name: np.where(np.eye(7, dtype=bool), own, other) for name, (own, other) in levels.items()}
    pairs = tuple(SimpleNamespace(**{name: own for name, (own, _) in levels.items()}) for _ in range(7))
    return PairStudy(pairs, {name: measure_likeness(grid) for name, grid in grids.items()})


def test_pairs_are_held_against_other_pairs_and_timbre_is_said_of_those_that_differ():
    studies = {
        "a": pairs_of(envelope=(0.8, 0.6), spectrum=(0.2, 0.7)),  # alike in time, unlike in timbre
        "b": pairs_of(envelope=(0.5, 0.7), spectrum=(0.9, 0.3)),
        "random net 1": pairs_of(envelope=(0.4, 0.5), spectrum=(0.35, 0.3)),
    }
    measures: dict[str, dict] = {"a": {}, "b": {}}
    time, timbre = found_by("pair-time", measures, studies), found_by("pair-timbre", measures, studies)
    expected = {  # medians, verdict, medians of the random net
        ("pair-time", "a", "envelope"): ((0.8, 0.6), "holds", (0.4, 0.5)),
        ("pair-time", "b", "envelope"): ((0.5, 0.7), "does not hold", (0.4, 0.5)),
        # other pairs' sides first: what the claim says is that the own ones are less alike
        ("pair-timbre", "a", "spectrum"): ((0.7, 0.2), "holds", (0.3, 0.35)),
        ("pair-timbre", "b", "spectrum"): ((0.3, 0.9), "does not hold", (0.3, 0.35)),
        # here, and only here, what is compared is each likeness beyond that with other pairs
        ("pair-timbre", "a", "envelope_over_spectrum"): ((0.2, -0.5), "holds", (-0.1, 0.05)),
        ("pair-timbre", "b", "envelope_over_spectrum"): ((-0.2, 0.6), "does not hold", (-0.1, 0.05)),
    }
    assert len(time) + len(timbre) == len(expected)
    for (claim, net, measure), (medians, verdict, random) in expected.items():
        finding = (time if claim == "pair-time" else timbre)[f"fc1 pairs, {net}", measure]
        assert finding.effect.medians == pytest.approx(medians)
        assert finding.random.medians == pytest.approx(random)
        assert finding.verdict == verdict
    assert timbre["fc1 pairs, a", "spectrum"].sides == ("sides of other pairs", "own sides")


def test_likeness_to_real_modulations_is_the_correlation_with_the_clips_profile():
    rng = np.random.default_rng(0)
    made = Pattern(
        model="m",
        fingerprint="f",
        objective=channel("recording.conv1", 0),
        seed=0,
        inputs={"recording": rng.standard_normal(RECORDING.shape).astype(np.float32)},
        frontends={"recording": RECORDING},
        db_statistics={"recording": DbStatistics(-50.0, 16.0)},
        config=QUICK,
        activation=1.0,
        activation_leaky=1.0,
        trace=np.zeros(2),
        converged=True,
    )
    own = comparison._profile(made.inputs["recording"], RECORDING)
    other = rng.standard_normal(len(own))
    for real, expected in ((own, 1), (-own, -1), (other, np.corrcoef(own, other)[0, 1])):
        found = comparison._measure({"recording.conv1": [made]}, {"recording": real})
        assert found["recording.conv1"]["real_modulations"] == pytest.approx([expected])


# --- the whole ------------------------------------------------------------------------------------------------------


def test_a_comparison_holds_what_was_measured(made, towers, clips):
    assert made.models == ("first", "second <b>&</b>")
    assert made.clips["n"] == 12 and made.clips["source"] == clips.name
    assert [layer.layer for layer in made.layers] == [f"recording.conv{i}" for i in (1, 2, 3)]
    for layer in made.layers:
        assert len(layer.random) == 2 and len(layer.random_pairs) == 1 and len(layer.cka_random) == 2
        assert layer.random_pairs[0] < 1 - 1e-6  # they are different nets
        drawn = [twin for twin in made.twins if twin.layer == layer.layer and twin.drawn]
        assert len(drawn) == 2
        best = max(layer.twins, key=lambda twin: twin[2])
        assert best[:2] in {twin.neurons for twin in made.twins if twin.layer == layer.layer}
        for twin in drawn:
            assert [pattern.neuron for pattern in twin.patterns] == list(twin.neurons)
            assert [pattern.fingerprint for pattern in twin.patterns] == [net.fingerprint for net in towers]
    assert {finding.claim for finding in made.findings} == set(CLAIMS) - {"pair-time", "pair-timbre"}
    values = made.measures["random"]["recording.conv3"]["order"]
    assert len(values) == 2 * 3  # three of each random net
    assert "fc1" in {entry["id"] for entry in made.left_out}  # one side only: no activations are known
    text = json.dumps(made.as_dict(), allow_nan=False)
    assert json.dumps(compare(*towers, clips, SMALL).as_dict()) == text


def test_the_best_matched_are_shown_and_not_counted(made, monkeypatch):
    assert any(not twin.drawn for twin in made.twins)
    for place in {twin.layer for twin in made.twins}:
        drawn = [twin.patterns for twin in made.twins if twin.layer == place and twin.drawn]
        for net, patterns in zip(made.models, zip(*drawn, strict=True), strict=True):
            cells = [pattern_complexity(pattern)["recording"].octave_cells for pattern in patterns]
            assert made.measures[net][place if place != "fc1" else "fc1 recording"]["octave_cells"] == cells
    # who is drawn does not depend on how well they match
    monkeypatch.setattr(comparison, "_make_patterns", lambda model, layer, neurons, *_: dict.fromkeys(neurons))
    settings, drawn = CompareSettings(neurons=8, best=4), []
    for sign in (1, -1):
        match = SimpleNamespace(layer="x", twins=tuple((n, n, sign * n / 40) for n in range(40)))
        twins = comparison._make_twins(match, 0, ("a", "b"), settings, None, None, [])
        best = set(range(36, 40) if sign > 0 else range(4))
        drawn.append({twin.neurons[0] for twin in twins if twin.drawn})
        assert {twin.neurons[0] for twin in twins} == drawn[-1] | best and len(drawn[-1]) == 8
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({}, False), ({"parameterization": "pixels"}, True), ({"reachable": False}, True)],
    ids=["spectrum", "pixels", "unconstrained"],
)
def test_what_part_is_a_sounds_is_asked_only_where_not_all_of_it_must_be(towers, clips, changes, said):
    engine = dataclasses.replace(QUICK, steps=1, **changes)
    found = compare(*towers, clips, CompareSettings(neurons=1, best=0, random_nets=0, engine=engine))
    asked = {finding.measure for finding in found.findings if finding.claim == "spectrogram"}
    assert asked == {"band_concentration", "real_modulations", *["realizable"] * said}


def test_pairs_of_a_net_with_two_towers_are_judged(clips):
    nets = [untrained_model("iminet", seed, {"tying": "untied"}, f"net{seed}") for seed in (1, 2)]
    settings = CompareSettings(neurons=4, best=0, random_nets=1, engine=EngineConfig(steps=1, precision="32"))
    found = compare(*nets, clips, settings)
    assert {finding.claim for finding in found.findings} == set(CLAIMS)
    assert {finding.measure for finding in found.findings} <= set(MEASURES)
    assert set(found.pairs) == {"net1", "net2", "random net 1"}
    for pair in found.pairs["net1"].pairs:
        assert pair.synergy_before_relu == 0
    by_where = {(f.claim, f.where): f for f in found.findings}
    strips = by_where["strips", "both towers, net1"]
    assert strips.sides == ("recording.conv4", "imitation.conv4") and strips.effect.n == (4, 4)
    timbre = by_where["pair-timbre", "fc1 pairs, net1"]
    assert timbre.effect.n == (4, 4) and timbre.verdict == "undecided"
    json.dumps(found.as_dict(), allow_nan=False)


def test_every_claim_and_measure_is_explained():
    assert set(WORDS) == set(MEASURES) and set(SAID) == set(CLAIMS)
    assert iv.compare is compare


def test_dead_neurons_and_unreadable_clips_are_listed_and_the_rest_is_done(towers, clips, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for path in clips.rglob("*.wav"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.wav").write_text("no sound")
    network = copy.deepcopy(towers[0].network)
    with torch.no_grad():
        network.tower.block("conv2").conv.bias[5] = -1e4
    mark = fingerprint_of(weights_of(network), network.FRONTENDS)
    dead = dataclasses.replace(towers[0], network=network, fingerprint=mark)
    found = compare(dead, towers[1], folder, dataclasses.replace(SMALL, random_nets=0))
    reasons = {entry["id"]: entry["reason"] for entry in found.left_out}
    assert "broken.wav" in reasons["broken.wav"]
    assert reasons["first/recording.conv2/5"].startswith("does not respond to any of the ")
    lines = comparison_report.describe_left_out(found)
    assert any(line.startswith("first/recording.conv2, neurons 5: does not respond to any of the ") for line in lines)
    assert found.layers[1].dead[0] == (5,) and 5 not in {twin[0] for twin in found.layers[1].twins}
    assert found.clips["n"] == 12 and "random" not in found.measures
    assert all(finding.random is None for finding in found.findings)


def test_the_stored_activations_serve_where_no_clips_are_named(towers, clips, tmp_path):
    nets = []
    for number, net in enumerate(towers):
        folder = tmp_path / f"net{number}"
        save_model(folder, net.network, {"recording": DbStatistics(-50.0, 16.0)}, {}, {})
        files = [(f"set/{path.name}", path) for path in sorted(clips.rglob("*.wav"))]
        loaded = iv.load_model(folder)
        nets.append(loaded)
        if number == 0:
            evidence.save_references(folder / evidence.FILE_NAME, evidence.compute_references(loaded, files))
    with pytest.raises(CheckpointError, match="net1: no reference activations"):
        compare(*nets, None, SMALL)
    path = tmp_path / "net1" / evidence.FILE_NAME
    evidence.save_references(path, evidence.compute_references(nets[1], files[:9]))
    with pytest.raises(CheckpointError, match="different clips"):
        compare(*nets, None, SMALL)
    evidence.save_references(path, evidence.compute_references(nets[1], files))
    found = compare(*nets, None, SMALL)
    assert found.clips == {"n": 12, "source": "set", "real_profiles": []}
    assert all(layer.random == () for layer in found.layers)
    assert "random" in found.measures  # patterns need no clips


def test_nets_that_cannot_be_compared_are_one_sentence(towers, clips, tmp_path):
    language = untrained_model("language-tower", 0, CLASSES, "language")
    with pytest.raises(PatternError, match=r"first .*language .*same inputs"):
        compare(towers[0], language, clips, SMALL)
    aligned = untrained_model("aligned", 0, name="aligned net")
    with pytest.raises(PatternError, match=r"aligned net: .*no convolutional towers"):
        compare(aligned, aligned, clips, SMALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match="holds no sound file"):
        compare(*towers, tmp_path / "empty", SMALL)
    few = tmp_path / "few"
    few.mkdir()
    for number, path in enumerate(sorted(clips.rglob("*.wav"))[:3]):
        (few / path.name).write_bytes(path.read_bytes() if number else b"")
    with pytest.raises(PatternError, match="2 clips could be read, a comparison needs at least 8"):
        compare(*towers, few, SMALL)
    for path in few.iterdir():
        path.write_text("no sound")
    with pytest.raises(IminetVizError, match="none of the"):
        compare(*towers, few, SMALL)
    with pytest.raises(PatternError, match="neurons 0"):
        CompareSettings(neurons=0)


# --- the report -----------------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_is_whole_needs_no_script_and_every_name_is_escaped(made, tmp_path):
    write_report(tmp_path, made)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page.lower() and "http" not in re.sub(r"http-equiv", "", page)
    assert "<b>&</b>" not in page and "second &lt;b&gt;&amp;&lt;/b&gt;" in page
    assert "__" not in page.replace("__pycache__", "")
    pictures = re.findall(r"src='([^']+)'", page)
    assert pictures and all((tmp_path / name).is_file() for name in pictures)
    assert {f"figures/{path.name}" for path in (tmp_path / "figures").iterdir()} == set(pictures)
    assert all(text and text.strip() for text in re.findall(r"alt='([^']*)'", page))
    assert page.count("alt='") == len(pictures)
    anchors = set(re.findall(r"href='#([^']+)'", page)) | {"claims"}
    assert anchors <= set(re.findall(r"id='([^']+)'", page))
    for claim in {finding.claim for finding in made.findings}:
        assert CLAIMS[claim] in page
    stored = json.loads((tmp_path / "comparison.json").read_text())
    assert stored["claims"]["complexity"]["verdict"] == made.verdict_of("complexity")
    assert stored["layers"][0]["cka"] == pytest.approx(made.layers[0].cka, rel=1e-5)


def test_the_same_bytes_again_also_after_a_kill_and_nothing_is_made_twice(towers, clips, tmp_path, monkeypatch):
    fewer = dataclasses.replace(SMALL, best=0, random_nets=1)
    build_report(*towers, tmp_path / "a", clips, fewer)
    calls = []
    real = comparison.maximize_many

    def dying(model, objectives, *rest):
        calls.append((model.name, str(objectives[0])))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(model, objectives, *rest)

    monkeypatch.setattr(comparison, "maximize_many", dying)
    with pytest.raises(KeyboardInterrupt):
        build_report(*towers, tmp_path / "b", clips, fewer)
    assert [path.name for path in (tmp_path / "b").iterdir()] == [".work"]  # nothing half written is shown
    shown = []
    build_report(*towers, tmp_path / "b", clips, fewer, progress=lambda *what: shown.append(what))
    assert len(calls) == 4 + 3 * 3 - 3  # three layers of three nets; three were kept
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    done = [part for _, part, _ in shown]
    assert done == sorted(done) and done[-1] == shown[-1][2]


def test_a_pattern_that_fails_is_listed_and_its_layer_is_done(towers, clips, monkeypatch):
    real = comparison.maximize_many

    def failing(model, objectives, config, seed, report, failed):
        made = real(model, objectives, config, seed, report, failed)
        if model.name != "first":
            return made
        lost = [pattern.objective for pattern in made if str(pattern.objective) == f"recording.conv2:{bad}"]
        failed += [(objective, "the value stopped being finite") for objective in lost]
        return [pattern for pattern in made if pattern.objective not in lost]

    settings = CompareSettings(neurons=3, best=0, random_nets=0, engine=EngineConfig(steps=1))
    whole = compare(*towers, clips, settings)
    bad = next(twin.neurons[0] for twin in whole.twins if twin.layer == "recording.conv2")
    monkeypatch.setattr(comparison, "maximize_many", failing)
    found = compare(*towers, clips, settings)
    assert {"id": f"first/recording.conv2/{bad}", "reason": "the value stopped being finite"} in found.left_out
    left = [twin.neurons for twin in found.twins]
    assert left == [twin.neurons for twin in whole.twins if (twin.layer, twin.neurons[0]) != ("recording.conv2", bad)]


def test_the_figure_shows_drawn_twins_of_every_correlation():
    """Of 24 drawn twins and 2 others, best matched first: both others, and six from the best to the worst."""
    twins = [SimpleNamespace(layer="a.conv1", drawn=place >= 2, correlation=1 - place / 30) for place in range(26)]
    shown = comparison_report._shown(SimpleNamespace(twins=twins), "a.conv1")
    assert [twins.index(twin) for twin in shown] == [0, 1, 2, 7, 11, 16, 20, 25]
    assert comparison_report._shown(SimpleNamespace(twins=twins[:5]), "a.conv1") == twins[:5]


def test_what_was_kept_for_another_seed_is_not_shown(towers, clips, tmp_path):
    settings = CompareSettings(neurons=24, best=0, random_nets=0, engine=EngineConfig(steps=1))
    model = towers[0]
    wanted = [comparison.objectives.channel("recording.conv1", 0)]
    (first,) = comparison.maximize_many(model, wanted, settings.engine, seed=0)
    comparison._save_pattern(tmp_path, model, first, settings)
    again = comparison._load_pattern(tmp_path, model, wanted[0], settings)
    assert again is not None and np.array_equal(again.inputs["recording"], first.inputs["recording"])
    assert np.array_equal(again.trace, first.trace)
    for field in dataclasses.fields(first):
        if field.name not in ("inputs", "trace"):
            assert getattr(again, field.name) == getattr(first, field.name)
    for other in ({"seed": 1}, {"engine": EngineConfig(steps=2)}):
        assert comparison._load_pattern(tmp_path, model, wanted[0], dataclasses.replace(settings, **other)) is None
    assert comparison._load_pattern(tmp_path, towers[1], wanted[0], settings) is None


def test_a_damaged_kept_file_is_made_anew(towers, clips, tmp_path):
    kept = tmp_path / "kept"
    fewer = dataclasses.replace(SMALL, best=0, random_nets=0)
    first = compare(*towers, clips, fewer, kept)
    for path in kept.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    assert compare(*towers, clips, fewer, kept).as_dict() == first.as_dict()


def test_a_folder_is_replaced_on_request_only_and_strangers_never(made, towers, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison_report, "compare", lambda *_: made)
    out = tmp_path / "out"
    build_report(*towers, out, clips, SMALL)
    before = contents(out)
    with pytest.raises(GalleryError, match="--force replaces it"):
        build_report(*towers, out, clips, SMALL)
    (out / "figures" / "old.png").write_bytes(b"old")
    build_report(*towers, out, clips, SMALL, force=True)
    assert contents(out) == before
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(GalleryError, match="left alone"):
            build_report(*towers, mine, clips, SMALL, force)
    with pytest.raises(GalleryError, match="is a file"):
        build_report(*towers, mine / "thesis.txt", clips, SMALL)
    assert contents(mine) == {"thesis.txt": b"mine"}


def test_a_mistake_leaves_no_folder_and_no_report_is_lost(made, towers, clips, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError):
        build_report(*towers, tmp_path / "out", tmp_path / "empty", SMALL)
    assert not (tmp_path / "out").exists()
    write_report(tmp_path / "done", made)
    before = contents(tmp_path / "done")
    with pytest.raises(AudioError):
        build_report(*towers, tmp_path / "done", tmp_path / "empty", SMALL, force=True)
    assert contents(tmp_path / "done") == before
    assert not (tmp_path / "done" / ".work").exists()


def test_the_command_line_prints_the_verdicts(call, towers, clips, tmp_path):
    for number, net in enumerate(towers):
        save_model(tmp_path / f"net{number}", net.network, {"recording": DbStatistics(-50.0, 16.0)}, {}, {})
    names = [tmp_path / "net0", tmp_path / "net1"]
    options = ["--clips", clips, "--neurons", "1", "--best", "0", "--random-nets", "0", "--steps", "1"]
    out = tmp_path / "out"
    status, text, err = call("compare", *names, "--out", out, *options, "--device", "cpu")
    assert status == 0, err
    lines = text.splitlines()
    assert lines[0].startswith("With pre-training, patterns are sharper: undecided (")
    assert any(line.startswith("  recording.conv1: 24 pairs of neurons, correlation ") for line in lines)
    assert lines[-1] == f"Open {(out / 'index.html').as_uri()}"
    status, text, err = call("compare", *names, "--out", out, *options)
    assert (status, text) == (1, "") and "--force" in err and "Traceback" not in err
    status, text, _ = call("compare", *names, "--out", out, *options, "--force", "--json")
    found = json.loads(text)
    assert status == 0 and found["page"] == str(out / "index.html") and found["kind"] == "comparison"
