"""All evidence of a pattern in one place: each number is that of the part it comes from."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from iminet_viz import assessment
from iminet_viz.assessment import AssessSettings, assess, assess_many
from iminet_viz.checkpoint import load_model, untrained_model
from iminet_viz.direct import DirectSettings
from iminet_viz.errors import PatternError
from iminet_viz.patterns.engine import EngineConfig, maximize, maximize_many
from iminet_viz.patterns.evidence import MEASURES
from iminet_viz.patterns.objectives import channel, direction, fc_unit, unit
from iminet_viz.patterns.pair_evidence import study_pairs
from iminet_viz.patterns.stability import likeness, textures
from iminet_viz.sonification import SHORTLIST, choose_griffin_lim

ENGINE = EngineConfig(steps=8, precision="32")
QUICK = AssessSettings(shortlist=SHORTLIST[:1], direct=DirectSettings(steps=1))


@pytest.fixture(scope="module")
def model():
    return load_model("tl-iminet-conv123")


def test_every_measure_of_a_neuron_has_a_value(model):
    seen = []
    pattern = maximize(model, channel("recording.conv2", 3), ENGINE)
    found = assess(model, pattern, QUICK, report=lambda what, done, total: seen.append((what, done <= total)))
    given = {key for key in MEASURES if getattr(found.pattern.evidence, key) is not None}
    assert given == {key for key, measure in MEASURES.items() if not measure.pairs_only} and found.pair is None
    assert found.pattern.evidence.activation_kept == found.sounds["griffin-lim"].activation_kept
    assert found.pattern.evidence.direct_kept == found.sounds["direct"].activation_kept
    second = maximize(model, pattern.objective, ENGINE, seed=1)
    expected = likeness(textures(pattern), textures(second))
    assert found.pattern.evidence.stability == pytest.approx(expected, abs=1e-6)
    stages = {"patterns of a random net", "Griffin-Lim sounds", "direct sounds", "another random start"}
    assert {what for what, _ in seen} == stages
    assert all(within for _, within in seen)


def test_a_pair_has_its_shares_and_what_needs_other_pairs_is_missing(model):
    quick = dataclasses.replace(QUICK, direct=None, stability=False)
    patterns = maximize_many(model, [fc_unit(44), fc_unit(7)], dataclasses.replace(ENGINE, steps=2))
    for found in assess_many(model, patterns, quick):
        own = found.pattern.evidence
        assert found.pair.as_dict() == study_pairs(model, [found.pattern]).pairs[0].as_dict()
        assert own.imitation_share == found.pair.shares["imitation"] / (found.pair.activation - found.pair.silence)
        assert own.synergy_share == found.pair.synergy / found.pair.activation
        assert (own.alike_in_time, own.alike_in_timbre) == (found.pair.envelope, found.pair.spectrum)
        assert own.swap_kept is None and found.pair.others == 0


def test_of_a_pairs_sounds_the_worse_side_counts(model, monkeypatch):
    monkeypatch.setattr(assessment.evidence, "measure", lambda pattern, references: pattern.evidence)
    pattern = maximize(model, fc_unit(44), dataclasses.replace(ENGINE, steps=1))
    for error, crest in (((1.5, 4.0), (14.0, 11.5)), ((4.0, 1.5), (11.5, 14.0))):
        sound = SimpleNamespace(
            activation_kept=0.5,
            log_mel_error_db=dict(zip(("imitation", "recording"), error, strict=True)),
            crest_db=dict(zip(("imitation", "recording"), crest, strict=True)),
        )
        made = [{"griffin-lim": sound}]
        monkeypatch.setattr(assessment, "make_sounds", lambda *_, made=made: made)
        (found,) = assess_many(model, [pattern], dataclasses.replace(QUICK, stability=False))
        assert (found.pattern.evidence.log_mel_error_db, found.pattern.evidence.crest_db) == (4, 14)


def test_what_is_left_out_has_no_value(model):
    pattern = maximize(model, channel("recording.conv1", 3), ENGINE)
    bare = dataclasses.replace(QUICK, direct=None, stability=False)
    found = assess(model, pattern, bare)
    assert list(found.sounds) == ["griffin-lim"]
    assert found.pattern.evidence.stability is found.pattern.evidence.control is None
    assert found.sounds["griffin-lim"].activation == choose_griffin_lim(model, pattern, SHORTLIST[:1]).activation


def test_without_log_mel_there_is_evidence_but_no_sound():
    net = untrained_model("iminet", 0)
    found = assess(net, maximize(net, channel("imitation.conv1", 0), dataclasses.replace(ENGINE, steps=1)), QUICK)
    assert found.sounds == {}
    assert found.pattern.evidence.activation_kept is None
    assert found.pattern.evidence.complexity > 0


def test_a_sum_has_no_random_counterpart_and_a_unit_has(model):
    few = dataclasses.replace(ENGINE, steps=1)
    quick = dataclasses.replace(QUICK, direct=None)
    found = assess(model, maximize(model, direction("recording.conv1", [1.0] * 24), few), quick)
    assert found.pattern.evidence.control is None
    found = assess(model, maximize(model, unit("recording.conv2", 1, (4, 3)), few), quick)
    assert found.pattern.evidence.control is not None


def test_patterns_of_other_weights_are_refused(model):
    pattern = dataclasses.replace(maximize(model, channel("recording.conv1", 3), ENGINE), fingerprint="other")
    with pytest.raises(PatternError, match="other weights"):
        assess_many(model, [pattern], QUICK)
