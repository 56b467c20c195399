"""Two networks side by side, pre-trained against scratch: which neurons correspond, and does what the paper saw hold?

Neuron 7 of one net has nothing to do with neuron 7 of another. So neurons are matched by their activations on the same
clips (Hungarian method), layers by linear CKA, and only then are patterns compared: of twins, in pairs. Each claim of
the paper's section VII becomes measures (:mod:`iminet_viz.patterns.complexity`, :mod:`~iminet_viz.patterns
.pair_evidence`), an effect size with an interval over neurons, and the same for nets with random weights, through the
same pipeline: what they show too was not learned.

The effect size is Cliff's delta, which needs no distribution: how much more often the one is larger than the other, -1
to 1. Over twins it is taken within pairs. "holds" is an interval above 0, "does not hold" one below 0; how a claim's
verdict comes about is said in :data:`RULE`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from iminet_viz.audio import atomic_path, find_audio
from iminet_viz.checkpoint import DbStatistics, TrainedModel, read_json, untrained_like, write_json
from iminet_viz.errors import AudioError, CheckpointError, PatternError
from iminet_viz.frontends import FrontEndConfig, LogMelConfig
from iminet_viz.models import Siamese
from iminet_viz.patterns import evidence, objectives
from iminet_viz.patterns.complexity import modulation_spectrum, octave_shares, pattern_complexity
from iminet_viz.patterns.engine import EngineConfig, Pattern, maximize_many
from iminet_viz.patterns.objectives import Objective
from iminet_viz.patterns.pair_evidence import PairStudy, study_pairs

FORMAT = 2
RESAMPLES = 2_000
SHUFFLES = 20  # of the clips, for the null of matching
PROFILE_CLIPS = 64  # that say what a real spectrogram's modulations are
FEWEST_CLIPS = 8  # half of them must still allow an unbiased CKA
FEWEST_PAIRS, FEWEST_EACH = 6, 4  # below, no outcome is rarer by chance than one in twenty
RANDOM_SEED = 10_000  # trained nets began from small seeds

Progress = Callable[[str, int, int], None]  # what is done, done and all in units of work
CLIP_WORK, PATTERN_WORK = 1, 40  # a pattern takes about as long as so many clips


@dataclasses.dataclass(frozen=True)
class CompareSettings:
    """All that decides a comparison besides weights and clips."""

    neurons: int = 8  # of each layer, drawn at random: the measures are of these
    best: int = 4  # of each layer, the best matched: shown only, they are no fair sample
    random_nets: int = 3
    seed: int = 0
    engine: EngineConfig = dataclasses.field(default_factory=EngineConfig)

    def __post_init__(self) -> None:
        for name, smallest in (("neurons", 1), ("best", 0), ("random_nets", 0), ("seed", 0)):
            if getattr(self, name) < smallest:
                raise PatternError(f"{name} {getattr(self, name)}, expected at least {smallest}")


@dataclasses.dataclass(frozen=True)
class LayerMatch:
    """How the neurons of one layer of two nets correspond.

    Attributes:
        layer: its name.
        neurons: of either net.
        dead: of either net, neurons without any activation on all clips; they are left out.
        twins: ``(neuron, twin, correlation)`` of each matched pair.
        median: of the correlations.
        interval: of the median, bootstrap over pairs.
        shuffled: median where the clips of one net are shuffled: what matching finds in nothing.
        random: median of the first net against each random net.
        random_pairs: median of random nets against each other.
        cka: debiased linear CKA of the activation means per clip.
        cka_interval: over clips.
        cka_random: of the first net against each random net.
        cka_random_pairs: of random nets against each other.
    """

    layer: str
    neurons: tuple[int, int]
    dead: tuple[tuple[int, ...], tuple[int, ...]]
    twins: tuple[tuple[int, int, float], ...]
    median: float
    interval: tuple[float, float]
    shuffled: float
    random: tuple[float, ...]
    random_pairs: tuple[float, ...]
    cka: float
    cka_interval: tuple[float, float]
    cka_random: tuple[float, ...]
    cka_random_pairs: tuple[float, ...]


# what a measurement can say of its claim, and what becomes of all that it says
HOLDS, DOES_NOT_HOLD, AS_RANDOM, UNDECIDED = SAYINGS = ("holds", "does not hold", "as in random nets", "undecided")
RULE = (
    "A claim’s verdict is what more than half of its measurements say, and one that random nets show too says only "
    f"“{AS_RANDOM}”, which is neither for nor against; without such a majority it is “mixed” if some are for and some "
    f"against, else “{UNDECIDED}”."
)


@dataclasses.dataclass(frozen=True, eq=False)
class Twin:
    """Patterns of a matched pair of neurons; ``drawn`` at random, or shown as one of the best matched only."""

    layer: str
    neurons: tuple[int, int]
    correlation: float
    drawn: bool
    patterns: tuple[Pattern, Pattern]


@dataclasses.dataclass(frozen=True)
class Effect:
    """Cliff's delta of two samples with its interval over neurons."""

    delta: float
    interval: tuple[float, float]
    n: tuple[int, int]
    paired: bool
    medians: tuple[float, float]

    @property
    def verdict(self) -> str:
        """``holds``, ``does not hold`` or ``undecided``."""
        enough = self.n[0] >= FEWEST_PAIRS if self.paired else min(self.n) >= FEWEST_EACH
        if not enough or self.interval[0] <= 0 <= self.interval[1]:
            return UNDECIDED
        return HOLDS if self.interval[0] > 0 else DOES_NOT_HOLD


@dataclasses.dataclass(frozen=True)
class Finding:
    """One measurement of one claim.

    Attributes:
        claim: key of :data:`CLAIMS`.
        where: tower, side and net.
        measure: key of :data:`MEASURES`.
        sides: what is compared: the first is claimed to be larger.
        effect: of the trained nets.
        random: the same within random nets; where the trained nets are compared with each other, of the two random
            nets that differ most. None where there are none.
    """

    claim: str
    where: str
    measure: str
    sides: tuple[str, str]
    effect: Effect
    random: Effect | None

    @property
    def verdict(self) -> str:
        """That of the effect."""
        return self.effect.verdict

    @property
    def also_random(self) -> bool:
        """Whether random nets show it too, or two of them differ as much."""
        if self.verdict == UNDECIDED or self.random is None:
            return False
        if self.effect.paired and self.claim in TRAINING:
            return self.random.delta >= abs(self.effect.delta)
        return self.random.verdict == self.verdict

    @property
    def says(self) -> str:
        """One of :data:`SAYINGS`: the verdict, or that random nets show it too, which says nothing of learning."""
        return AS_RANDOM if self.also_random else self.verdict


CLAIMS = {
    "sharper": "With pre-training, patterns are sharper",
    "finer": "With pre-training, patterns hold finer detail",
    "structure": "With pre-training, patterns show more structure",
    "spectrogram": "The deepest layer's patterns are like spectrograms, concentrated on frequency ranges",
    "strips": "The recording tower's deepest layer shows vertical strips, unlike the imitation tower's",
    "complexity": "Patterns become more complex with depth",
    "pair-time": "Both sides of an fc1 pair are alike in temporal evolution",
    "pair-timbre": "Both sides of an fc1 pair differ in timbre",
}

TRAINING = ("sharper", "finer", "structure")  # what the nets are compared with each other for

# name and unit of each measure
MEASURES = {
    "edge_energy": "edge energy (white noise = 1)",
    "coherent_edges": "edge energy with one direction (white noise = 0.2)",
    "direction": "share of the edges with one direction (white noise = 0.2)",
    "order": "order of the modulations (white noise = 0.03)",
    "spectral_centroid_per_octave": "mean spectral modulation (cycles per octave)",
    "spectral_peak_per_octave": "strongest spectral modulation (cycles per octave)",
    "temporal_centroid_hz": "mean temporal modulation (Hz)",
    "temporal_peak_hz": "strongest temporal modulation (Hz)",
    "band_concentration": "concentration of power over bands (0 to 1)",
    "realizable": "share of the mel spectrum that a sound can have (0 to 1)",
    "real_modulations": "likeness of the modulations to real clips' (correlation)",
    "verticality": "share of the modulations in vertical strips",
    "octave_cells": "octaves of modulation that share the energy (effective number)",
    "envelope": "likeness of both sides' level over time (correlation)",
    "spectrum": "likeness of both sides' mean spectrum (correlation)",
    "envelope_over_spectrum": "likeness in time less likeness in spectrum (correlation)",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """What two nets have in common, and which claims hold.

    Attributes:
        models: their names, the one with pre-training first.
        fingerprints: of their weights.
        settings: what decided.
        clips: how many, and where from; which were left out with the reason.
        layers: matching and CKA of each.
        twins: patterns of matched neurons.
        findings: each measurement of each claim.
        pairs: by net (the random ones too), evidence of the fc1 pairs.
        measures: ``{net: {layer or fc1 side: {measure: values}}}`` of the neurons drawn; random nets are one.
        left_out: what could not be done, with the reason.
    """

    models: tuple[str, str]
    fingerprints: tuple[str, str]
    settings: CompareSettings
    clips: dict[str, Any]
    layers: tuple[LayerMatch, ...]
    twins: tuple[Twin, ...]
    findings: tuple[Finding, ...]
    pairs: dict[str, PairStudy]
    measures: dict[str, dict[str, dict[str, list[float]]]]
    left_out: tuple[dict[str, str], ...]

    def tally(self, claim: str) -> dict[str, int]:
        """How many of a claim's measurements say what, by :data:`SAYINGS`.

        Raises:
            KeyError: no such claim, or nothing was measured of it.
        """
        said = [finding.says for finding in self.findings if finding.claim == claim]
        if not said:
            raise KeyError(claim)
        return {saying: said.count(saying) for saying in SAYINGS}

    def verdict_of(self, claim: str) -> str:
        """Sum a claim's measurements up by :data:`RULE`; raises as :meth:`tally`."""
        counts = self.tally(claim)
        most = max(counts, key=lambda saying: counts[saying])
        if 2 * counts[most] > sum(counts.values()):
            return most
        return "mixed" if counts[HOLDS] and counts[DOES_NOT_HOLD] else UNDECIDED

    def as_dict(self) -> dict[str, Any]:
        """Everything but the patterns' arrays, as JSON values."""
        claims = [key for key in CLAIMS if any(finding.claim == key for finding in self.findings)]
        return {
            "format": FORMAT,
            "kind": "comparison",
            "models": [
                {"name": name, "fingerprint": mark} for name, mark in zip(self.models, self.fingerprints, strict=True)
            ],
            "settings": dataclasses.asdict(self.settings),
            "clips": self.clips,
            "effect": "Cliff's delta, within pairs of twins where paired; 95 % bootstrap interval over neurons",
            "rule": RULE,
            "claims": {
                key: {
                    "text": CLAIMS[key],
                    "verdict": self.verdict_of(key),
                    "tally": self.tally(key),
                    "findings": [_finding_dict(finding) for finding in self.findings if finding.claim == key],
                }
                for key in claims
            },
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
            "twins": [
                {
                    "layer": twin.layer,
                    "neurons": twin.neurons,
                    "correlation": twin.correlation,
                    "drawn": twin.drawn,
                    "activation": [pattern.activation for pattern in twin.patterns],
                    "relu_transfer": [pattern.evidence.relu_transfer for pattern in twin.patterns],
                }
                for twin in self.twins
            ],
            "pairs": {name: study.as_dict() for name, study in self.pairs.items()},
            "measures": self.measures,
            "left_out": list(self.left_out),
        }


def compare(
    model_a: TrainedModel,
    model_b: TrainedModel,
    clips: Path | None = None,
    settings: CompareSettings | None = None,
    keep: Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two nets of one kind.

    Args:
        model_a: the pre-trained one: what the claims say is more of it.
        model_b: the one from scratch.
        clips: folder of recordings that neurons are matched by; without, the reference activations stored beside both
            models serve, and there is no null of matching from random nets, whose activations are not stored.
        settings: how many neurons, seed, engine.
        keep: folder in which activations and patterns are kept, so that an interrupted comparison goes on.
        progress: called with what is done, and how much of all.

    Raises:
        PatternError: the nets have no towers or other inputs, fewer than 8 clips are left, or no layer has twins.
        AudioError: the folder holds no sound.
        CheckpointError: no reference activations are stored, or on other clips.
    """
    settings = settings or CompareSettings()
    _check_models(model_a, model_b)
    files = [(path.relative_to(clips).as_posix(), path) for path in find_audio(clips)] if clips else []
    names = (model_a.name, model_b.name if model_b.name != model_a.name else f"{model_b.name} (second)")
    randoms = _random_nets(model_a, settings)
    layers = [layer for layer in model_a.network.layers if layer in model_b.network.layers]
    work = _Work(
        progress,
        len(files) * (2 + len(randoms)) * CLIP_WORK
        + len(layers) * _patterns_per_layer(settings, len(randoms)) * PATTERN_WORK,
    )
    left_out: list[dict[str, str]] = []
    if clips:
        references = _activations([model_a, model_b, *randoms], files, keep, work, left_out)
    else:
        references = [_stored(model_a), _stored(model_b)]
        if references[0].clips != references[1].clips:
            raise CheckpointError(
                f"the reference activations beside {model_a.name} and {model_b.name} are of different clips; name a "
                "folder of clips"
            )
    used = references[0].clips
    if len(used) < FEWEST_CLIPS:
        raise PatternError(f"{len(used)} clips could be read, a comparison needs at least {FEWEST_CLIPS}")
    matched = []
    for layer in layers:
        activity = [reference.activity(layer) for reference in references]
        if activity[0] is None or activity[1] is None:
            left_out.append({"id": layer, "reason": "no activations on clips are known, so no twins"})
            continue
        alive = [found for found in activity if found is not None]
        heard = f"{len(alive[0])} {'pairs of clips' if layer == 'fc1' else 'clips'}"
        if any((found > 0).any(axis=0).sum() < 2 for found in alive[:2]):
            left_out.append({"id": layer, "reason": f"fewer than two neurons respond to any of the {heard} compared"})
            continue
        match = match_layer(layer, alive, len(used), settings.seed)
        left_out += [
            {"id": f"{name}/{layer}/{neuron}", "reason": f"does not respond to any of the {heard} compared"}
            for name, dead in zip(names, match.dead, strict=True)
            for neuron in dead
        ]
        matched.append(match)
    if not matched:
        raise PatternError(f"{model_a.name} and {model_b.name}: no layer has neurons that could be matched")
    profiles = _real_profiles(model_a, clips, used, settings.seed) if clips else {}
    twins: list[Twin] = []
    of_random: dict[str, dict[str, list[Pattern]]] = {net.name: {} for net in randoms}
    for place, match in enumerate(matched):
        twins += _make_twins(match, place, (model_a, model_b), settings, keep, work, left_out)
        for number, net in enumerate(randoms):
            rng = np.random.default_rng((settings.seed, place, number))
            alive_units = np.arange(net.network.n_channels(match.layer))
            count = min(_per_random(settings), len(alive_units))
            neurons = sorted(int(n) for n in rng.choice(alive_units, count, replace=False))
            made = _make_patterns(net, match.layer, neurons, settings, keep, work, left_out)
            of_random[net.name][match.layer] = [made[neuron] for neuron in neurons if neuron in made]
    patterns: dict[str, dict[str, list[Pattern]]] = {
        name: {
            match.layer: [twin.patterns[side] for twin in twins if twin.layer == match.layer and twin.drawn]
            for match in matched
        }
        for side, name in enumerate(names)
    }
    measures = {name: _measure(by_layer, profiles) for name, by_layer in patterns.items()}
    by_random = [_measure(by_layer, profiles) for by_layer in of_random.values()]
    if randoms:
        measures["random"] = _pooled(by_random)
    pairs = _study(
        dict(zip(names, (model_a, model_b), strict=True)) | {net.name: net for net in randoms},
        {**patterns, **of_random},
        settings.seed,
    )
    work.finish()
    return Comparison(
        models=names,
        fingerprints=(model_a.fingerprint, model_b.fingerprint),
        settings=settings,
        clips={
            "n": len(used),
            "source": clips.resolve().name if clips else _sources(used),
            "real_profiles": sorted(profiles),
        },
        layers=tuple(matched),
        twins=tuple(twins),
        findings=tuple(_judge(names, measures, by_random, pairs, settings.seed)),
        pairs=pairs,
        measures=measures,
        left_out=tuple(left_out),
    )


# --- matching, CKA --------------------------------------------------------------------------------------------------


def match_layer(layer: str, activity: Sequence[np.ndarray], n_clips: int, seed: int = 0) -> LayerMatch:
    """Match the neurons of two nets in one layer, and measure how alike the layers are.

    Args:
        layer: its name.
        activity: of :meth:`iminet_viz.patterns.evidence.References.activity`: both nets', then those of random nets.
        n_clips: clips behind the rows, which follow one another in the order of the clips, once or more.
        seed: of shuffles and intervals.
    """
    first, second, *randoms = activity
    dead = [tuple(np.flatnonzero(np.ptp(values, axis=0) == 0).tolist()) for values in (first, second)]
    found, correlation = evidence.match_neurons(first, second)
    twins = tuple((index, int(twin), float(correlation[index])) for index, twin in enumerate(found) if twin >= 0)
    values = np.array([twin[2] for twin in twins])
    rng = np.random.default_rng(seed)
    rows = np.arange(len(second)).reshape(-1, n_clips)
    shuffled = [_median_match(first, second[rows[:, rng.permutation(n_clips)].ravel()]) for _ in range(SHUFFLES)]
    drawn = np.median(values[rng.integers(0, len(values), (RESAMPLES, len(values)))], axis=1)
    halves = [
        linear_cka(first[rows[:, half].ravel()], second[rows[:, half].ravel()])
        for half in (rng.permutation(n_clips)[: n_clips // 2] for _ in range(RESAMPLES // 10))
    ]
    between = [(a, b) for index, a in enumerate(randoms) for b in randoms[index + 1 :]]
    return LayerMatch(
        layer=layer,
        neurons=(first.shape[1], second.shape[1]),
        dead=(dead[0], dead[1]),
        twins=twins,
        median=float(np.median(values)),
        interval=_percentiles(drawn),
        shuffled=float(np.mean(shuffled)),
        random=tuple(_median_match(first, values) for values in randoms),
        random_pairs=tuple(_median_match(a, b) for a, b in between),
        cka=linear_cka(first, second),
        cka_interval=_percentiles(np.array(halves)),
        cka_random=tuple(linear_cka(first, values) for values in randoms),
        cka_random_pairs=tuple(linear_cka(a, b) for a, b in between),
    )


def linear_cka(a: np.ndarray, b: np.ndarray) -> float:
    """Linear CKA with the unbiased HSIC (Kornblith et al. 2019; Song et al. 2012): 1 alike, near 0 nothing in common.

    The plain estimator grows with channels per clip, also where nets share nothing; this one does not, and may fall
    below 0. Its interval comes from halves of the clips drawn without doubles, whose spread is that of the whole: in a
    bootstrap with doubles a clip would be alike with itself.

    Args:
        a: ``(clips, channels)``, at least 4 clips.
        b: ``(clips, other channels)``.

    Returns:
        At most 1; 0 where one side does not vary.
    """
    a, b = (np.asarray(x, np.float64) - np.mean(x, axis=0, dtype=np.float64) for x in (a, b))
    own = _unbiased_hsic(a, a) * _unbiased_hsic(b, b)
    return min(1.0, _unbiased_hsic(a, b) / math.sqrt(own)) if own > 0 else 0.0


def _unbiased_hsic(a: np.ndarray, b: np.ndarray) -> float:
    """HSIC without the kernels' diagonals, in the space of channels: no matrix of clips by clips is made."""
    n = len(a)
    diagonal_a, diagonal_b = (np.square(x).sum(axis=1) for x in (a, b))
    rows_a, rows_b = (x @ x.sum(axis=0) - d for x, d in ((a, diagonal_a), (b, diagonal_b)))
    trace = float(np.square(a.T @ b).sum() - diagonal_a @ diagonal_b)
    both = float(rows_a.sum() * rows_b.sum()) / ((n - 1) * (n - 2))
    return (trace + both - 2 / (n - 2) * float(rows_a @ rows_b)) / (n * (n - 3))


def _median_match(a: np.ndarray, b: np.ndarray) -> float:
    twins, correlation = evidence.match_neurons(a, b)
    return float(np.median(correlation[twins >= 0])) if (twins >= 0).any() else 0.0


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


# --- effects --------------------------------------------------------------------------------------------------------


def measure_effect(strata: Sequence[tuple[np.ndarray, np.ndarray]], paired: bool, seed: int = 0) -> Effect:
    """Cliff's delta of two samples, 95 % bootstrap interval over neurons, drawn within each layer.

    Args:
        strata: of each layer both samples, ``(neurons,)`` each; as many on both sides if ``paired``.
        paired: whether values are compared within pairs only.
        seed: of the bootstrap.

    Raises:
        ValueError: there are no values.
    """
    strata = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in strata if len(a) and len(b)]
    if not strata:
        raise ValueError("no values to compare")
    rng = np.random.default_rng(seed)
    total, weight, drawn = 0.0, 0, np.zeros(RESAMPLES)
    for a, b in strata:
        if paired:
            signs = np.sign(a - b)
            size = len(a)
            value = float(signs.mean())
            resampled = signs[rng.integers(0, size, (RESAMPLES, size))].mean(axis=1)
        else:
            signs = np.sign(a[:, None] - b[None])
            size = len(a) * len(b)
            value = float(signs.mean())
            counts = [rng.multinomial(len(x), np.full(len(x), 1 / len(x)), RESAMPLES) for x in (a, b)]
            resampled = ((counts[0] @ signs) * counts[1]).sum(axis=1) / size
        total, weight, drawn = total + size * value, weight + size, drawn + size * resampled
    sides = [np.concatenate([stratum[side] for stratum in strata]) for side in (0, 1)]
    return Effect(
        delta=total / weight,
        interval=_percentiles(drawn / weight),
        n=(len(sides[0]), len(sides[1])),
        paired=paired,
        medians=(float(np.median(sides[0])), float(np.median(sides[1]))),
    )


def _judge(
    names: tuple[str, str],
    measures: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    by_random: Sequence[Mapping[str, Mapping[str, Sequence[float]]]],
    pairs: Mapping[str, PairStudy],
    seed: int,
) -> Iterable[Finding]:
    """Every measurement of every claim."""
    places = list(measures[names[0]])
    towers = {role: [p for p in places if p.startswith(f"{role}.")] for role in ("imitation", "recording")}
    groups = {f"{role} tower": found for role, found in towers.items() if found}
    groups |= {p.replace("fc1 ", "fc1 pairs, ") + " side": [p] for p in places if p.startswith("fc1 ")}
    random = measures.get("random")

    def values(net: Mapping[str, Mapping[str, Sequence[float]]], place: str, measure: str) -> np.ndarray:
        return np.array(net.get(place, {}).get(measure, ()), np.float64)

    def contrast(
        a: Mapping[str, Any], b: Mapping[str, Any], wanted: Sequence[tuple[str, str]], measure: str, paired: bool
    ) -> Effect | None:
        strata = [(values(a, one, measure), values(b, other, measure)) for one, other in wanted]
        if paired:
            sizes = [min(map(len, stratum)) for stratum in strata]
            strata = [(x[:size], y[:size]) for (x, y), size in zip(strata, sizes, strict=True)]
        if not any(len(x) and len(y) for x, y in strata):
            return None
        return measure_effect(strata, paired, seed)

    def finding(claim: str, where: str, measure: str, sides: tuple[str, str], *effects: Effect | None) -> list[Finding]:
        return [Finding(claim, where, measure, sides, effects[0], effects[1])] if effects[0] else []

    training = {
        "sharper": ("edge_energy", "coherent_edges"),
        "finer": (
            *("spectral_centroid_per_octave", "spectral_peak_per_octave"),
            *("temporal_centroid_hz", "temporal_peak_hz"),
        ),
        "structure": ("direction", "order"),
    }
    for claim, wanted in training.items():
        for where, group in groups.items():
            for measure in wanted:
                same = [(place, place) for place in group]
                trained = contrast(measures[names[0]], measures[names[1]], same, measure, True)
                nulls = [
                    effect
                    for first, second in itertools.permutations(by_random, 2)
                    if (effect := contrast(first, second, same, measure, True))
                ]
                # the two that differ most: an interval over neurons does not say how much nets differ by chance
                null = max(nulls, key=lambda effect: effect.delta, default=None)
                yield from finding(claim, where, measure, names, trained, null)
    depth = {
        "spectrogram": ("band_concentration", "realizable", "real_modulations"),
        "complexity": ("octave_cells",),
    }
    for claim, by_depth in depth.items():
        for where, group in groups.items():
            if len(group) < 2 or where.startswith("fc1"):
                continue
            depths = [(group[-1], group[0])]
            deep = (group[-1].split(".")[1], group[0].split(".")[1])
            for name in names:
                for measure in by_depth:
                    trained = contrast(measures[name], measures[name], depths, measure, False)
                    null = contrast(random, random, depths, measure, False) if random else None
                    yield from finding(claim, f"{where}, {name}", measure, deep, trained, null)
    if all(towers.values()):
        last = (towers["recording"][-1], towers["imitation"][-1])
        for name in names:
            trained = contrast(measures[name], measures[name], [last], "verticality", False)
            null = contrast(random, random, [last], "verticality", False) if random else None
            yield from finding("strips", f"both towers, {name}", "verticality", last, trained, null)
    if towers["recording"] and random:
        deepest = towers["recording"][-1]
        for name in names:
            trained = contrast(measures[name], random, [(deepest, deepest)], "verticality", False)
            yield from finding("strips", f"{deepest}, {name}", "verticality", (name, "random nets"), trained, None)
    for name in names:
        if name not in pairs or not pairs[name].likeness:
            continue
        own, other = _likeness([pairs[name]]), _likeness(s for net, s in pairs.items() if net not in names)
        for claim, measure, sides, sign in (
            ("pair-time", "envelope", ("own sides", "sides of other pairs"), 1),
            ("pair-timbre", "spectrum", ("sides of other pairs", "own sides"), -1),
            ("pair-timbre", "envelope_over_spectrum", ("likeness in time", "likeness in spectrum"), 1),
        ):
            effects = [
                measure_effect([(a, b) if sign > 0 else (b, a)], True, seed) if len(a) else None
                for a, b in (own[measure], other[measure])
            ]
            yield from finding(claim, f"fc1 pairs, {name}", measure, sides, *effects)


def _likeness(studies: Iterable[PairStudy]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Correlations of each pair's sides, and the mean of those with the other pairs' sides, over some nets."""
    found: dict[str, list[tuple[float, float]]] = {"envelope": [], "spectrum": [], "envelope_over_spectrum": []}
    for study in studies:
        if not study.likeness:
            continue
        excess = {}
        for measure in ("envelope", "spectrum"):
            excess[measure] = study.likeness[measure].by_pair
            own = [getattr(pair, measure) for pair in study.pairs]
            found[measure] += [(r, r - over) for r, over in zip(own, excess[measure], strict=True)]
        found["envelope_over_spectrum"] += list(zip(excess["envelope"], excess["spectrum"], strict=True))
    return {
        name: (np.array([own for own, _ in values]), np.array([other for _, other in values]))
        for name, values in found.items()
    }


# --- patterns -------------------------------------------------------------------------------------------------------


def _make_twins(
    match: LayerMatch,
    place: int,
    models: tuple[TrainedModel, TrainedModel],
    settings: CompareSettings,
    keep: Path | None,
    work: _Work,
    left_out: list[dict[str, str]],
) -> list[Twin]:
    rng = np.random.default_rng((settings.seed, place))
    order = sorted(match.twins, key=lambda twin: (-twin[2], twin[0]))
    places = rng.choice(len(match.twins), min(settings.neurons, len(match.twins)), replace=False)
    drawn = {match.twins[index] for index in places}
    chosen = [twin for twin in order if twin in drawn or twin in order[: settings.best]]
    made = [
        _make_patterns(model, match.layer, neurons, settings, keep, work, left_out)
        for model, neurons in zip(models, ([t[0] for t in chosen], [t[1] for t in chosen]), strict=True)
    ]
    return [
        Twin(match.layer, twin[:2], twin[2], twin in drawn, (made[0][twin[0]], made[1][twin[1]]))
        for twin in chosen
        if twin[0] in made[0] and twin[1] in made[1]
    ]


def _make_patterns(
    model: TrainedModel,
    layer: str,
    neurons: Sequence[int],
    settings: CompareSettings,
    keep: Path | None,
    work: _Work,
    left_out: list[dict[str, str]],
) -> dict[int, Pattern]:
    """Patterns of some neurons of a layer, those that are kept as they are; what fails is listed."""
    wanted = {neuron: objectives.channel(layer, neuron) for neuron in neurons}
    found = {}
    if keep is not None:
        stored = ((neuron, _load_pattern(keep, model, objective, settings)) for neuron, objective in wanted.items())
        found = {neuron: pattern for neuron, pattern in stored if pattern is not None}
        work.add(f"{model.name} {layer}", len(found) * PATTERN_WORK)
    missing = [neuron for neuron in neurons if neuron not in found]
    if not missing:
        return found
    steps = settings.engine.steps
    unit = PATTERN_WORK * len(missing)

    def report(step: int, *_: Any) -> None:
        work.show(f"{model.name} {layer}", unit * (step + 1) // steps)

    failed: list[tuple[Objective, str]] = []
    made = maximize_many(model, [wanted[n] for n in missing], settings.engine, settings.seed, report, failed)
    found |= {pattern.neuron: pattern for pattern in made}
    left_out += [{"id": f"{model.name}/{layer}/{what.terms[0].channel}", "reason": why} for what, why in failed]
    work.add(f"{model.name} {layer}", unit)
    if keep is not None:
        for neuron in missing:
            if neuron in found:
                _save_pattern(keep, model, found[neuron], settings)
    return {neuron: found[neuron] for neuron in neurons if neuron in found}


def _pattern_path(keep: Path, model: TrainedModel, objective: Objective, settings: CompareSettings) -> Path:
    facts = {
        "format": FORMAT,
        "fingerprint": model.fingerprint,
        "objective": repr(objective),
        "seed": settings.seed,
        "engine": dataclasses.asdict(settings.engine),
        "levels": {role: dataclasses.asdict(level) for role, level in model.db_statistics.items()},
        "device": model.device.type,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    return keep / "patterns" / f"{key}.safetensors"


def _save_pattern(keep: Path, model: TrainedModel, pattern: Pattern, settings: CompareSettings) -> None:
    from safetensors.numpy import save_file

    tensors = {role: np.ascontiguousarray(values) for role, values in pattern.inputs.items()}
    facts = {
        "levels": {role: dataclasses.asdict(level) for role, level in pattern.db_statistics.items()},
        "engine": dataclasses.asdict(pattern.config),
        **{key: getattr(pattern, key) for key in ("activation", "activation_leaky", "converged")},
        "evidence": pattern.evidence.as_dict(),
    }
    with atomic_path(_pattern_path(keep, model, pattern.objective, settings)) as path:
        save_file({**tensors, "trace": pattern.trace}, path, metadata={"pattern": json.dumps(facts)})


def _load_pattern(keep: Path, model: TrainedModel, objective: Objective, settings: CompareSettings) -> Pattern | None:
    from safetensors import SafetensorError, safe_open

    path = _pattern_path(keep, model, objective, settings)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["pattern"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        return Pattern(
            model=model.name,
            fingerprint=model.fingerprint,
            objective=objective,
            seed=settings.seed,
            trace=arrays.pop("trace"),
            inputs={role: arrays[role] for role in objective.roles(model.network)},
            frontends={role: model.frontends[role].config for role in arrays},
            db_statistics={role: DbStatistics(**level) for role, level in facts.pop("levels").items()},
            config=EngineConfig(**facts.pop("engine")),
            evidence=evidence.Evidence(**facts.pop("evidence")),
            **facts,
        )
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError):
        return None  # damaged: it is made anew


# --- measures -------------------------------------------------------------------------------------------------------


def _measure(
    by_layer: Mapping[str, Sequence[Pattern]], profiles: Mapping[str, np.ndarray]
) -> dict[str, dict[str, list[float]]]:
    """All measures of each layer's patterns; fc1's by side. What is compared between ends is measured there only."""
    found: dict[str, dict[str, list[float]]] = {}
    layers = [layer for layer in by_layer if layer != "fc1"]
    ends = {end for role in ("imitation", "recording") for end in _ends([x for x in layers if x.startswith(role)])}
    for layer, patterns in by_layer.items():
        for pattern in patterns:
            for role, complexity in pattern_complexity(pattern).items():
                own = complexity.as_dict()
                config, level = pattern.frontends[role], pattern.db_statistics[role]
                drawn_as_sound = pattern.config.parameterization == "spectrum" and pattern.config.reachable
                if isinstance(config, LogMelConfig) and layer in ends and not drawn_as_sound:
                    # a fit for each frame: every fourth is enough for a median
                    every = pattern.inputs[role][:, ::4]
                    fewer = dataclasses.replace(config, n_frames=every.shape[1])
                    own["realizable"] = 1 - evidence.realizability(every, fewer, level.mean_db, level.std_db)
                if role in profiles:
                    profile = _profile(pattern.inputs[role], config)
                    own["real_modulations"] = float(np.corrcoef(profile, profiles[role])[0, 1])
                place = f"fc1 {role}" if layer == "fc1" else layer
                for measure, value in own.items():
                    found.setdefault(place, {}).setdefault(measure, []).append(float(value))
    return found


def _ends(layers: Sequence[str]) -> tuple[str, ...]:
    """The first and the last."""
    return (layers[0], layers[-1]) if layers else ()


def _profile(values: np.ndarray, config: FrontEndConfig) -> np.ndarray:
    """Level in dB of each octave by octave of modulation, nothing lower than -60."""
    shares = octave_shares(modulation_spectrum(values, config)[0]).ravel()
    level: np.ndarray = 10 * np.log10(np.maximum(shares, 1e-6))
    return level


def _real_profiles(model: TrainedModel, clips: Path, used: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Mean profile of some real clips, by role."""
    picked = np.random.default_rng(seed).permutation(len(used))[:PROFILE_CLIPS]
    profiles = {}
    for role, frontend in model.frontends.items():
        rows = []
        for index in sorted(picked):
            values = evidence.load_input(model, role, clips / used[index])[0, 0].cpu().numpy()
            if values.any():  # silence has no modulation
                rows.append(_profile(values, frontend.config))
        if rows:
            profiles[role] = np.mean(rows, axis=0)
    return profiles


def _study(
    models: Mapping[str, TrainedModel], patterns: Mapping[str, Mapping[str, Sequence[Pattern]]], seed: int
) -> dict[str, PairStudy]:
    return {
        name: study_pairs(model, patterns[name]["fc1"], seed)
        for name, model in models.items()
        if isinstance(model.network, Siamese) and patterns[name].get("fc1")
    }


def _pooled(nets: Sequence[Mapping[str, Mapping[str, list[float]]]]) -> dict[str, dict[str, list[float]]]:
    """The values of all nets together."""
    return {
        place: {measure: [value for net in nets for value in net[place][measure]] for measure in own}
        for place, own in nets[0].items()
    }


# --- models and clips -----------------------------------------------------------------------------------------------


def _check_models(model_a: TrainedModel, model_b: TrainedModel) -> None:
    for model in (model_a, model_b):
        if not model.network.towers:
            raise PatternError(
                f"{model.name}: a network of kind {model.network.KIND} has no convolutional towers to compare"
            )
    if model_a.network.FRONTENDS != model_b.network.FRONTENDS:
        raise PatternError(
            f"{model_a.name} ({model_a.network.KIND}) and {model_b.name} ({model_b.network.KIND}) do not see the same "
            "inputs, so their neurons cannot be compared"
        )
    if not any(layer in model_b.network.layers for layer in model_a.network.layers):
        raise PatternError(f"{model_a.name} and {model_b.name}: no layer of the one is in the other")


def _random_nets(model: TrainedModel, settings: CompareSettings) -> list[TrainedModel]:
    """Nets of the same architecture that never learned; their levels are the model's, as the pipeline is."""
    first = RANDOM_SEED + 100 * settings.seed
    return [untrained_like(model, first + n, f"random net {n + 1}") for n in range(settings.random_nets)]


def _per_random(settings: CompareSettings) -> int:
    """Neurons of each random net: as many as of a trained one, and pairs enough to be exchanged."""
    return max(3, settings.neurons)


def _patterns_per_layer(settings: CompareSettings, nets: int) -> int:
    return 2 * (settings.neurons + settings.best) + nets * _per_random(settings)


def _stored(model: TrainedModel) -> evidence.References:
    references = evidence.stored_references(model)
    if references is None:
        raise CheckpointError(
            f"{model.name}: no reference activations are stored with it; name a folder of clips, or store them with "
            "iminet-viz reference"
        )
    return references


def _activations(
    models: Sequence[TrainedModel],
    files: Sequence[tuple[str, Path]],
    keep: Path | None,
    work: _Work,
    left_out: list[dict[str, str]],
) -> list[evidence.References]:
    """Activations of every net on all clips; kept for a comparison that is interrupted."""
    listed: dict[str, str] = {}
    found = []
    digest = hashlib.sha256()
    for name, path in files if keep else ():
        digest.update(f"{name}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}\0".encode())
    for model in models:
        kept = keep / f"{model.fingerprint}-{digest.hexdigest()[:16]}.safetensors" if keep else None
        reasons = kept.with_suffix(".json") if kept else None
        if kept and reasons and kept.is_file() and reasons.is_file():
            try:
                references = evidence.load_references(kept, model)
                listed |= read_json(reasons)
                work.add(f"{model.name} clips", len(files) * CLIP_WORK)
                found.append(references)
                continue
            except CheckpointError:
                pass  # damaged: computed anew
        failed: list[tuple[str, str]] = []
        report = functools.partial(_show_clips, work, model.name)
        try:
            references = evidence.compute_references(model, files, report, failed)
        except AudioError as error:
            raise PatternError(f"{error}: {failed[0][1]}" if failed else str(error)) from None
        listed |= dict(failed)
        work.add(f"{model.name} clips", len(files) * CLIP_WORK)
        if kept and reasons:
            evidence.save_references(kept, references)
            write_json(reasons, dict(failed))
        found.append(references)
    left_out += [{"id": name, "reason": reason} for name, reason in sorted(listed.items())]
    return found


def _show_clips(work: _Work, name: str, done: int, _: int) -> None:
    work.show(f"{name} clips", done * CLIP_WORK)


def _sources(clips: Sequence[str]) -> str:
    return ", ".join(sorted({name.split("/")[0] for name in clips if "/" in name})) or "stored beside the models"


class _Work:
    """How much is done, for the bar: all that was finished, and a part of what is being done."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def show(self, what: str, part: int) -> None:
        if self.progress:
            self.progress(what, min(self.done + part, self.total), self.total)

    def add(self, what: str, part: int) -> None:
        self.done += part
        self.show(what, 0)

    def finish(self) -> None:
        self.done = self.total
        self.show("", 0)


def _finding_dict(finding: Finding) -> dict[str, Any]:
    return {
        **dataclasses.asdict(finding),
        "unit": MEASURES[finding.measure],
        "verdict": finding.verdict,
        "also_random": finding.also_random,
        "says": finding.says,
    }
