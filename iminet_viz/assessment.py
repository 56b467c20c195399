"""From patterns to patterns with sounds and all evidence, also that which needs sounds or further patterns.

::

    pattern -+-> sounds -> front end -> network            activation kept (E4)
             +-> the same objective, another random start  stability (E5)
             +-> the same layer of a random net            control (E5)
             +-> stored activations of real clips          percentile, headroom (E2), importance (E8)
             +-> of a pair, each side with silence         shares of the sides, synergy
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from iminet_viz.checkpoint import TrainedModel
from iminet_viz.direct import DirectSettings, make_direct_many
from iminet_viz.errors import PatternError
from iminet_viz.frontends import LogMelConfig
from iminet_viz.patterns import evidence, stability
from iminet_viz.patterns.engine import Pattern, maximize_many
from iminet_viz.patterns.objectives import Objective
from iminet_viz.patterns.pair_evidence import PairEvidence, is_pair, study_pairs
from iminet_viz.sonification import SHORTLIST, PatternSound, SonifySettings, choose_griffin_lim

METHODS = GRIFFIN_LIM, DIRECT = "griffin-lim", "direct"
Report = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class AssessSettings:
    """Which sounds are made, and whether further patterns are."""

    shortlist: tuple[SonifySettings, ...] = SHORTLIST  # of Griffin-Lim; the best for each pattern is taken
    direct: DirectSettings | None = dataclasses.field(default_factory=DirectSettings)  # None: no direct sounds
    stability: bool = True  # a second pattern of each neuron, and some of a random net

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> AssessSettings:
        """Read settings back; raises TypeError or KeyError where they do not fit."""
        direct = values["direct"]
        return AssessSettings(
            shortlist=tuple(SonifySettings(**one) for one in values["shortlist"]),
            direct=None if direct is None else DirectSettings(**direct),
            stability=values["stability"],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Assessment:
    """A pattern with all its evidence, and its sounds by method; without log-mel there are none.

    ``pair`` is what an fc1 unit's pair proves alone; :func:`iminet_viz.patterns.pair_evidence.study_pairs` sets several
    against each other.
    """

    pattern: Pattern
    sounds: Mapping[str, PatternSound]
    pair: PairEvidence | None = None


def assess(
    model: TrainedModel,
    pattern: Pattern,
    settings: AssessSettings | None = None,
    references: evidence.References | None = None,
    report: Report | None = None,
) -> Assessment:
    """Make a pattern's sounds and gather its evidence; see :func:`assess_many`."""
    settings = settings or AssessSettings()
    control: Sequence[stability.Textures] = ()
    (term, *others) = pattern.objective.terms
    if settings.stability and not others and term.direction is None:  # a random net has no such sum or direction
        follow = _steps(report, "patterns of a random net", pattern.config.steps)
        control = stability.make_control(model, term, pattern.config, report=follow)
    return assess_many(model, [pattern], settings, references, control, report)[0]


def assess_many(
    model: TrainedModel,
    patterns: Sequence[Pattern],
    settings: AssessSettings | None = None,
    references: evidence.References | None = None,
    control: Sequence[stability.Textures] = (),
    report: Report | None = None,
) -> list[Assessment]:
    """Make the sounds of patterns of one layer and gather their evidence.

    Args:
        model: of the patterns.
        patterns: of one layer, one seed and one configuration.
        settings: what to make.
        references: real clips; those stored with the model if ``None``.
        control: textures of a random net, see :func:`iminet_viz.patterns.stability.make_control`.
        report: called with what is being made, how much of it is done, and how much there is; an error that it raises
            ends the work.

    Raises:
        PatternError: the patterns are of other weights, or do not belong together.
    """
    settings = settings or AssessSettings()
    if any(pattern.fingerprint != model.fingerprint for pattern in patterns):
        raise PatternError(f"{model.name}: the patterns are of other weights")
    references = references or evidence.stored_references(model)
    sounds = make_sounds(model, patterns, settings, report)
    second: dict[Objective, Pattern] = {}
    if settings.stability:
        first = patterns[0]
        again = [pattern.objective for pattern in patterns]
        lost: list[tuple[Objective, str]] = []  # the first seed's came out: a lost second is no stability, no failure
        follow = _steps(report, "another random start", first.config.steps)
        made = maximize_many(model, again, first.config, first.seed + 1, follow, lost)
        second = {pattern.objective: pattern for pattern in made}
    found = []
    for pattern, heard in zip(patterns, sounds, strict=True):
        judged = dataclasses.replace(pattern, evidence=evidence.measure(pattern, references))
        if settings.stability:
            judged = stability.judge_stability(judged, second.get(pattern.objective), control)
        if GRIFFIN_LIM in heard:
            of_sounds = dataclasses.replace(
                judged.evidence,
                activation_kept=heard[GRIFFIN_LIM].activation_kept,
                direct_kept=heard[DIRECT].activation_kept if DIRECT in heard else None,
                log_mel_error_db=max(heard[GRIFFIN_LIM].log_mel_error_db.values()),
                crest_db=max(heard[GRIFFIN_LIM].crest_db.values()),
            )
            judged = dataclasses.replace(judged, evidence=of_sounds)
        pair = study_pairs(model, [pattern]).pairs[0] if is_pair(pattern) else None
        if pair is not None:
            judged = dataclasses.replace(judged, evidence=dataclasses.replace(judged.evidence, **pair.measures()))
        found.append(Assessment(judged, heard, pair))
    return found


def _steps(report: Report | None, what: str, total: int) -> Callable[..., None]:
    """A report of the engine's steps as one of ours."""

    def follow(step: int, *_: object) -> None:
        if report:
            report(what, step + 1, total)

    return follow


def make_sounds(
    model: TrainedModel,
    patterns: Sequence[Pattern],
    settings: AssessSettings | None = None,
    report: Report | None = None,
) -> list[dict[str, PatternSound]]:
    """Make the sounds of patterns of one layer, by method; none where a side has no log-mel.

    Args:
        model: of the patterns.
        patterns: all on the same sides.
        settings: which sounds, and how.
        report: called with what is being made, how much of it is done, and how much there is.
    """
    settings = settings or AssessSettings()
    if not all(isinstance(config, LogMelConfig) for pattern in patterns for config in pattern.frontends.values()):
        return [{} for _ in patterns]
    starts = []
    for done, pattern in enumerate(patterns):
        if report:
            report("Griffin-Lim sounds", done, len(patterns))
        starts.append(choose_griffin_lim(model, pattern, settings.shortlist))
    if settings.direct is None:
        return [{GRIFFIN_LIM: start} for start in starts]

    def follow(step: int, total: int, activations: torch.Tensor) -> None:
        if report:
            report("direct sounds", step, total)

    raised = make_direct_many(model, patterns, starts, settings.direct, follow)
    return [{GRIFFIN_LIM: start, DIRECT: own} for start, own in zip(starts, raised, strict=True)]
