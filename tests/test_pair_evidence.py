"""Shares, swaps and synergy are those of the network asked four times; likeness finds what was put in."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch

from iminet_viz.checkpoint import TrainedModel, untrained_model
from iminet_viz.errors import PatternError
from iminet_viz.patterns.engine import EngineConfig, Pattern, maximize_many
from iminet_viz.patterns.objectives import channel, fc_unit
from iminet_viz.patterns.pair_evidence import PairStudy, _common_edges, _rebin, measure_likeness, study_pairs

ROLES = ("imitation", "recording")
UNITS = (3, 20, 50, 71)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    made = untrained_model("tl-iminet", 0)
    torch.nn.init.normal_(made.network.fc1.bias, std=0.05)  # zero at the start: silence would always be 0
    return made


@pytest.fixture(scope="module")
def patterns(model) -> list[Pattern]:
    return maximize_many(model, [fc_unit(unit) for unit in UNITS], EngineConfig(steps=4, precision="32"))


@pytest.fixture(scope="module")
def study(model, patterns) -> PairStudy:
    return study_pairs(model, patterns)


def ask(model: TrainedModel, unit: int, imitation: np.ndarray | None, recording: np.ndarray | None) -> float:
    """The unit before its ReLU, by the plain network; None is silence."""
    network = model.network
    features = []
    for role, values in zip(ROLES, (imitation, recording), strict=True):
        x = torch.zeros(1, 1, *model.frontends[role].config.shape)
        if values is not None:
            x[0, 0] = torch.from_numpy(values)
        features.append(network.towers[role](x))
    with torch.no_grad():
        return float(network.fc1(torch.cat(features, dim=1))[0, unit])


def test_values_are_those_of_the_network_asked_for_every_coalition(model, patterns, study):
    for pattern, pair in zip(patterns, study.pairs, strict=True):
        i, r = pattern.inputs["imitation"], pattern.inputs["recording"]
        before = [ask(model, pair.neuron, *sides) for sides in ((i, r), (i, None), (None, r), (None, None))]
        both, imitation, recording, silence = (max(value, 0) for value in before)
        assert pair.activation == pytest.approx(both, rel=1e-5) == pytest.approx(pattern.activation, rel=1e-4)
        assert pair.silence == pytest.approx(silence, abs=1e-5)
        assert pair.alone == pytest.approx({"imitation": imitation, "recording": recording}, rel=1e-4, abs=1e-5)
        assert pair.synergy == pytest.approx(both - imitation - recording + silence, rel=1e-3, abs=1e-4)
        # linear before the ReLU: also in the network itself, not only in how it is summed here
        assert abs(before[0] - before[1] - before[2] + before[3]) < 1e-5 * abs(before[0])
        assert pair.synergy_before_relu == 0


def test_synergy_before_the_relu_is_what_is_left_of_the_sums(model, patterns):
    """Halves so unlike in size that float64 rounds their sums: what does not cancel is reported, not presumed."""
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        network.fc1.weight[:, : network.imitation.n_features] *= 1e20
    changed = dataclasses.replace(model, network=network)
    sides = [
        torch.from_numpy(np.stack([pattern.inputs[role] for pattern in patterns] + [0 * patterns[0].inputs[role]]))
        for role in ROLES
    ]
    with torch.no_grad():
        query, candidate = network.query_half(sides[0][:, None]), network.candidate_half(sides[1][:, None])
    found = study_pairs(changed, patterns).pairs
    for row, pair in enumerate(found):
        (a, c), (b, d) = ((float(half[row, pair.neuron]), float(half[-1, pair.neuron])) for half in (query, candidate))
        assert pair.synergy_before_relu == (a + b) - (a + d) - (c + b) + (c + d)
    assert any(pair.synergy_before_relu for pair in found)


def test_shapley_shares_sum_to_what_the_pair_gains_over_silence(study):
    for pair in study.pairs:
        assert sum(pair.shares.values()) == pytest.approx(pair.activation - pair.silence, rel=1e-9)
        other = dict(zip(ROLES, reversed(ROLES), strict=True))
        for role, share in pair.shares.items():  # the mean of what it adds first and what it adds last
            first, last = pair.alone[role] - pair.silence, pair.activation - pair.alone[other[role]]
            assert share == pytest.approx((first + last) / 2, rel=1e-9)


def test_a_swap_puts_each_other_pairs_side_in(model, patterns, study):
    for number, pair in enumerate(study.pairs):
        others = [pattern for index, pattern in enumerate(patterns) if index != number]
        own = patterns[number].inputs
        left = {
            "imitation": [ask(model, pair.neuron, o.inputs["imitation"], own["recording"]) for o in others],
            "recording": [ask(model, pair.neuron, own["imitation"], o.inputs["recording"]) for o in others],
        }
        for role, values in left.items():
            assert pair.kept[role] == pytest.approx(np.maximum(values, 0).mean() / pair.activation, rel=1e-4)
        assert min(pair.kept.values()) < 1  # the sides were made for their unit


def test_alikeness_is_set_against_that_of_the_other_pairs(model, patterns, study):
    own = {"envelope": [], "spectrum": []}
    for number, pair in enumerate(study.pairs):
        assert pair.others == len(UNITS) - 1
        mixed = []
        for other in [pattern for index, pattern in enumerate(patterns) if index != number]:
            for one, two in ((patterns[number], other), (other, patterns[number])):
                sides = {"imitation": one.inputs["imitation"], "recording": two.inputs["recording"]}
                levels = {"imitation": one.db_statistics["imitation"], "recording": two.db_statistics["recording"]}
                mixed.append(dataclasses.replace(one, inputs=sides, db_statistics=levels))
        for name in own:
            expected = np.mean([getattr(study_pairs(model, [one]).pairs[0], name) for one in mixed])
            assert pair.across[name] == pytest.approx(expected, abs=1e-6)
            own[name].append(getattr(pair, name) - pair.across[name])
    for name, values in own.items():
        assert study.likeness[name].by_pair == pytest.approx(values)


def test_measures_are_shares_of_what_the_pair_has(study):
    for pair in study.pairs:
        found = pair.measures()
        gained = pair.activation - pair.silence
        assert found["imitation_share"] + pair.shares["recording"] / gained == pytest.approx(1)
        assert found["synergy_share"] * pair.activation == pytest.approx(pair.synergy)
        assert found["swap_kept"] == pytest.approx((pair.kept["imitation"] + pair.kept["recording"]) / 2)
        dead = dataclasses.replace(pair, activation=0.0, silence=0.0, kept=dict.fromkeys(ROLES)).measures()
        assert dead["imitation_share"] is dead["synergy_share"] is dead["swap_kept"] is None


def test_it_is_json_and_the_same_again(model, patterns, study):
    text = json.dumps(study.as_dict(), allow_nan=False)
    assert json.dumps(study_pairs(model, patterns).as_dict()) == text
    assert [pair["neuron"] for pair in json.loads(text)["pairs"]] == list(UNITS)
    assert set(study.likeness) == {"envelope", "envelope_power", "spectrum", "spectrum_power"}


def test_two_pairs_have_nothing_to_be_compared_with_and_one_nothing_to_be_exchanged(model, patterns):
    assert study_pairs(model, patterns[:2]).likeness == {}
    single = study_pairs(model, patterns[:1])
    assert single.pairs[0].kept == {"imitation": None, "recording": None}
    assert single.pairs[0].others == 0 and set(single.pairs[0].across.values()) == {None}
    json.dumps(single.as_dict(), allow_nan=False)


def made_up(pattern: Pattern, seed: int, *, same_envelope: bool, same_spectrum: bool) -> Pattern:
    """A pair whose sides have the same or other levels over time, and the same or other spectra, smooth both."""
    rng = np.random.default_rng(seed)

    def curve(end: float):
        phases, sizes = rng.uniform(0, 2 * np.pi, 4), rng.standard_normal(4)
        return lambda x: sum(sizes[k] * np.cos(2 * np.pi * (k + 1) * x / end + phases[k]) for k in range(4))

    envelope, spectrum = curve(3.0), curve(40.0)
    inputs = {}
    for role, config in pattern.frontends.items():
        if role == "recording":
            envelope = envelope if same_envelope else curve(3.0)
            spectrum = spectrum if same_spectrum else curve(40.0)
        time = (np.arange(config.n_frames) + 0.5) * config.duration_s / config.n_frames
        top = 15 + 27 * np.log(config.fmax / 1_000) / np.log(6.4)
        mel = (np.arange(config.n_mels) + 1) * top / (config.n_mels + 1)
        values = envelope(time) + spectrum(mel)[:, None]
        inputs[role] = (values / 4).astype(np.float32)
    return dataclasses.replace(pattern, inputs=inputs)


@pytest.mark.parametrize(("same_envelope", "same_spectrum"), [(True, False), (False, True), (False, False)])
def test_likeness_in_time_and_in_timbre_are_found_where_they_are(model, patterns, same_envelope, same_spectrum):
    fakes = [
        made_up(
            dataclasses.replace(patterns[0], objective=fc_unit(n)),
            n,
            same_envelope=same_envelope,
            same_spectrum=same_spectrum,
        )
        for n in range(8)
    ]
    found = study_pairs(model, fakes)
    for name, put_in in (("envelope", same_envelope), ("spectrum", same_spectrum)):
        likeness = found.likeness[name]
        assert likeness.n == 8
        if put_in:
            assert min(getattr(pair, name) for pair in found.pairs) > 0.97
            assert likeness.own - likeness.others == pytest.approx(likeness.excess)
            assert likeness.interval[0] > 0.3 and likeness.p < 0.01
        else:
            assert likeness.interval[0] < 0.2 and likeness.p > 0.01


def test_cells_are_averaged_not_skipped():
    edges, wanted = np.linspace(0, 3, 13), np.linspace(0, 3, 4)
    values = np.random.default_rng(0).random((2, 12))
    np.testing.assert_allclose(_rebin(values, edges, wanted), values.reshape(2, 3, 4).mean(axis=2))
    np.testing.assert_allclose(_rebin(values, edges, edges), values)
    uneven = np.array([0.1, 0.7, 2.9])
    np.testing.assert_allclose(_rebin(np.ones((1, 12)), edges, uneven), 1)


def test_sides_meet_on_the_coarser_axis_within_both():
    fine, coarse = np.linspace(0, 4, 41), np.linspace(0, 3, 7)
    for axes in ((fine, coarse), (coarse, fine)):
        np.testing.assert_array_equal(_common_edges(*axes), coarse)
    np.testing.assert_array_equal(_common_edges(fine, coarse + 2), (coarse + 2)[:5])  # up to 4, where one ends


def test_likeness_of_chance_is_none():
    rng = np.random.default_rng(1)
    found = [measure_likeness(rng.standard_normal((8, 8)), seed) for seed in range(60)]
    covered = np.mean([one.interval[0] <= 0 <= one.interval[1] for one in found])
    assert covered > 0.8  # few pairs: somewhat below 95 %
    assert 0.35 < np.mean([one.p for one in found]) < 0.65
    with pytest.raises(PatternError, match="at least 3 pairs"):
        measure_likeness(np.ones((2, 2)))


def test_what_is_no_pair_is_refused(model, patterns):
    other = untrained_model("tl-iminet", 1)
    with pytest.raises(PatternError, match="other weights"):
        study_pairs(other, patterns)
    with pytest.raises(PatternError, match="no single unit of fc1"):
        study_pairs(model, [dataclasses.replace(patterns[0], objective=fc_unit(1) + fc_unit(2))])
    with pytest.raises(PatternError, match="no single unit of fc1"):
        study_pairs(model, [dataclasses.replace(patterns[0], objective=channel("recording.conv3", 2))])
    with pytest.raises(PatternError, match="no two towers"):
        study_pairs(untrained_model("sound-tower", 0, {"classes": ("a", "b")}), patterns)
    with pytest.raises(PatternError, match="no pattern"):
        study_pairs(model, [])
