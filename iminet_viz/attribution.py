"""Why did this pair match, or this neuron fire? Attribution to the cells of the spectrograms, tested and made audible.

Integrated gradients from silence (Sundararajan, Taly, Yan 2017) and occlusion say which cells; exact Shapley values say
how much either side gave; of TL-IMINET, the units of fc1 say by which patterns. An attribution may look good and be
wrong, so each comes with tests of it: cells are taken away (deletion) and put in (insertion) in its order, and, as
controls, in random order, and in the order of maps that know as much of where the sound is loud, and nothing else.

Silence is what each front end makes of a silent clip: zeros everywhere. In a clip that sounds, zero is its mean level,
and a cell that is taken away is set to that.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_eval

from iminet_viz.alignment import AlignedExplanation, can_align, explain_alignment
from iminet_viz.audio import fit_length, load_audio
from iminet_viz.checkpoint import TrainedModel, find_model, load_model, read_fusion
from iminet_viz.errors import CheckpointError, PatternError
from iminet_viz.frames import MelFramesConfig
from iminet_viz.frontends import ConstantQConfig, FrontEndConfig, make_frontend
from iminet_viz.models import Aligned, Iminet, Model, RecurrentIminet, Siamese, TLIminet
from iminet_viz.models._tower import ConvBlock
from iminet_viz.retrieval import best_windows
from iminet_viz.scoring import Scorer, VectorPart, load_scorer, part_of

Report = Callable[[float], None]  # the share that is done, 0 to 1
Target = Callable[..., Tensor]  # inputs, (batch, 1, bands, frames) each, to (batch,)
AnyModel = TypeVar("AnyModel", bound=Model)
AT_ONCE = 4  # inputs in a batch: more leave the cache, and the imitation tower then takes half as long again


@dataclasses.dataclass(frozen=True)
class ExplainSettings:
    """How thoroughly a match is explained."""

    steps: int = 64  # of the integral
    window: tuple[float, float] = (1 / 8, 1 / 8)  # occluded at once, as shares of bands and frames
    fractions: int = 10  # of the area, in equal steps, at which cells are deleted and inserted
    controls: int = 20  # of either kind: random orders, and maps that know the level alone
    noise: float = 0.1  # standard deviations of the input, by which infidelity perturbs
    perturbations: int = 32  # of infidelity
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.controls, self.perturbations) < 1 or self.fractions < 2 or not self.noise > 0:
            raise PatternError(f"{self}: counts must be at least 1, fractions at least 2, noise above 0")
        if not all(0 < share <= 1 for share in self.window):
            raise PatternError(f"{self}: the shares of the window must be above 0 and at most 1")


@dataclasses.dataclass(frozen=True)
class Controls:
    """Deletion and insertion in other orders: the mean of each control's curve, and the mean curve of all controls."""

    deletion: tuple[float, ...]
    insertion: tuple[float, ...]
    deletion_curve: tuple[float, ...]
    insertion_curve: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """Mean of the target while cells go (``deletion``, low is good) or come (``insertion``, high is good).

    ``areas`` are the shares of all cells at which the ``curve``s are read. ``random`` orders know nothing; those of
    ``level`` know as much as the attribution of where the sound is loud.
    """

    deletion: float
    insertion: float
    areas: tuple[float, ...]
    deletion_curve: tuple[float, ...]
    insertion_curve: tuple[float, ...]
    random: Controls
    level: Controls

    @property
    def beaten(self) -> dict[str, dict[str, float]]:
        """Number of controls that the attribution beats, by kind and test; a tie counts half, so chance is half."""
        counts = {}
        for kind, controls in (("random", self.random), ("level", self.level)):
            deletion = np.sign(np.array(controls.deletion) - self.deletion)
            insertion = np.sign(self.insertion - np.array(controls.insertion))
            counts[kind] = {"deletion": (deletion + 1).sum() / 2, "insertion": (insertion + 1).sum() / 2}
        return {kind: {test: float(count) for test, count in by_test.items()} for kind, by_test in counts.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """What a target says of one pair of clips, or of one clip.

    Attributes:
        model: its name.
        target: ``score``, or layer and neuron.
        value: of the target, for the score a logit.
        silence: the target's value for silence on all sides.
        inputs: by role, ``(bands, frames)`` as the network sees them.
        frontends: by role.
        attributions: by role, ``(bands, frames)``; all together sum to ``value - silence``.
        occlusion: by role, ``(bands, frames)``: what the target loses where a window is set to the clip's mean level,
            mean over the windows that cover a cell.
        shares: by role, exact Shapley values; their sum is ``value - silence``.
        units: of a score: the units of the last layer before the logit and what each adds to it, the largest magnitude
            first; with the bias they sum to ``value``.
        unit_layer: their layer: fc1, of IMINET fc2.
        fingerprint: of the model.
        convergence_delta: what the attributions' sum misses of ``value - silence``.
        infidelity: share of what small noise does to the target that the attribution does not foretell (Yeh et al.
            2019, normalised as captum does and by the mean square of the change): 0 is perfect, 1 says nothing.
        faithfulness: deletion and insertion with their controls.
        spans: by role, start and stop in seconds of the part of a file that is explained; none: from its beginning on.
    """

    model: str
    target: str
    value: float
    silence: float
    inputs: dict[str, np.ndarray]
    frontends: dict[str, FrontEndConfig]
    attributions: dict[str, np.ndarray]
    occlusion: dict[str, np.ndarray]
    shares: dict[str, float]
    units: tuple[tuple[int, float], ...]
    convergence_delta: float
    infidelity: float
    faithfulness: Faithfulness
    unit_layer: str = "fc1"
    fingerprint: str = ""
    spans: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """Why not to believe the drawing, each a sentence."""
        said = []
        gained = abs(self.value - self.silence)
        if abs(self.convergence_delta) > 0.05 * gained + 1e-3:
            said.append(
                f"The cells miss the sum by {abs(self.convergence_delta):.2g} of {gained:.2g}: the integral was taken "
                "in too few steps (--steps), and small values of cells mean nothing."
            )
        count = len(self.faithfulness.random.deletion)
        if least := self._weakest("random", count):
            said.append(
                f"In {least[0]} the drawing beats only {least[1]:g} of {count} random orders of cells: which cells it "
                "names says little about what the network uses."
            )
        elif least := self._weakest("level", count):
            said.append(
                f"In {least[0]} the drawing beats only {least[1]:g} of {count} maps that know nothing but where the "
                "sound is loud: it may show no more than that."
            )
        if self.infidelity > 0.5:
            said.append(
                f"Of what small noise changes, the drawing leaves {self.infidelity:.0%} unexplained: it holds for the "
                "way from silence to this clip, not for small changes of the clip."
            )
        return said

    def _weakest(self, kind: str, count: int) -> tuple[str, float] | None:
        test, beaten = min(self.faithfulness.beaten[kind].items(), key=lambda item: item[1])
        return (test, beaten) if beaten < 0.95 * count else None

    def as_dict(self) -> dict[str, Any]:
        """Everything but the maps, as JSON values."""
        return {
            "kind": "cells",
            "model": self.model,
            "fingerprint": self.fingerprint,
            "target": self.target,
            "value": self.value,
            "silence": self.silence,
            "shares": self.shares,
            "units": [{"layer": self.unit_layer, "neuron": unit, "adds": added} for unit, added in self.units],
            "convergence_delta": self.convergence_delta,
            "infidelity": self.infidelity,
            "faithfulness": dataclasses.asdict(self.faithfulness) | {"beaten": self.faithfulness.beaten},
            "warnings": self.warnings,
        }


def load_sides(
    model: TrainedModel,
    query: str | os.PathLike[str],
    candidate: str | os.PathLike[str],
    roles: Sequence[str] = ("imitation", "recording"),
) -> dict[str, np.ndarray]:
    """Read an imitation and a recording, ``(samples,)`` at the rate that each side of the model wants.

    Args:
        model: it says the rates.
        query: file of the imitation.
        candidate: file of the recording.
        roles: sides to read, as far as the model has them.

    Raises:
        AudioError: a file cannot be read.
    """
    paths = {"imitation": query, "recording": candidate}
    rates = {role: frontend.config.sample_rate for role, frontend in model.frontends.items() if role in roles}
    return {role: load_audio(paths[role], rate) for role, rate in rates.items()}


def load_explainable(name: str, device: str = "cpu") -> TrainedModel | Scorer:
    """Load what can be asked why: a single network, or what :func:`iminet_viz.scoring.load_scorer` loads.

    Raises:
        CheckpointError: there is no such model, or it does not load.
    """
    try:
        single = read_fusion(find_model(name)) is None
    except CheckpointError:
        single = False
    return load_model(name, device) if single else load_scorer(name, device)


def explain_match(
    model: TrainedModel | Scorer | str,
    query: str | os.PathLike[str],
    candidate: str | os.PathLike[str],
    settings: ExplainSettings | None = None,
    report: Report | None = None,
) -> Explanation | AlignedExplanation:
    """Explain the score of an imitation and a recording, by their files.

    Args:
        model: with two towers, see :func:`explain_pair`; or whose parts all align frames, as those of the default for
            search do, see :func:`iminet_viz.alignment.explain_alignment`; or the name of one.
        query: file of the imitation.
        candidate: file of the recording; those windows of both files are explained that a search scores highest.
        settings: how thoroughly; an alignment takes but the seed.
        report: called with the share that is done; what it raises ends the work.

    Raises:
        AudioError: a file cannot be read.
        CheckpointError: there is no model of this name.
        PatternError: nothing of what the model does can be explained, or a side is silent.
    """
    if isinstance(model, str):
        model = load_explainable(model)
    settings = settings or ExplainSettings()
    if isinstance(model, TrainedModel) and isinstance(model.network, Aligned):
        model = Scorer(model.name, (part_of(model),))
    if isinstance(model, Scorer):
        if can_align(model):
            return explain_alignment(model, query, candidate, settings.seed, report)
        if len(model.parts) > 1:
            raise PatternError(f"{model.name}: only where all parts align frames a fusion is explained; name one part")
        (part,) = model.parts
        if not isinstance(part, VectorPart):
            raise PatternError(
                f"{model.name}: compares figures of whole clips, so no moment of a clip has a share of the score; "
                f"{EXPLAINED}"
            )
        model = part.model
    if not isinstance(model.network, Siamese):
        _refuse(model)
    windows, spans = best_windows(Scorer(model.name, (VectorPart(model),)), query, candidate)
    return dataclasses.replace(explain_pair(model, windows, settings, report), spans=spans)


EXPLAINED = (
    "TL-IMINET, IMINET, the recurrent net, the aligned net, dtw, dtw-mfcc and the default for search are explained"
)


def _refuse(model: TrainedModel) -> NoReturn:
    neurons = ", ".join(model.network.layers)
    why = f"{model.name}: a network of kind {model.network.KIND} has no two towers whose match could be explained"
    raise PatternError(f"{why}; --layer and --neuron explain its neurons ({neurons})")


def explain_pair(
    model: TrainedModel,
    waveforms: dict[str, np.ndarray],
    settings: ExplainSettings | None = None,
    report: Report | None = None,
) -> Explanation:
    """Explain the score of a pair.

    Args:
        model: with two towers.
        waveforms: by role, ``(samples,)`` at the rate of its front end; the first window is explained.
        settings: how thoroughly.
        report: as for :func:`explain_match`.

    Raises:
        PatternError: the model has no two towers, or a side is missing or silent.
    """
    network = model.network
    if not isinstance(network, Siamese):
        _refuse(model)
    inputs = _inputs(model, waveforms, tuple(network.FRONTENDS))
    network, settings = _fast(network), settings or ExplainSettings()
    target = _Target(network, network.head)
    if report is not None:
        target.watch(report, _evaluations(settings, len(inputs)))
    explained = _explain(model, "score", target, inputs, settings)
    layer, units = _units(network, inputs)
    return dataclasses.replace(explained, units=units, unit_layer=layer)


def explain_neuron(
    model: TrainedModel,
    layer: str,
    neuron: int,
    waveforms: dict[str, np.ndarray],
    settings: ExplainSettings | None = None,
) -> Explanation:
    """Explain a neuron's activation (of a feature map its mean), also of one inside a tower of a two-sided net.

    Args:
        model: any but the aligned net.
        layer: one of the model's.
        neuron: its channel.
        waveforms: as for :func:`explain_pair`; what the layer does not see is ignored.
        settings: how thoroughly.

    Raises:
        PatternError: no such layer or neuron, or a side that the layer sees is missing or silent.
    """
    network = model.network
    if not 0 <= neuron < network.n_channels(layer):
        raise PatternError(f"{layer} has neurons 0 to {network.n_channels(layer) - 1}, not {neuron}")
    roles = network.inputs_of(layer)

    fast = _fast(network)

    def activation(*sides: Tensor) -> Tensor:
        values = fast.activate(layer, fast.preactivation(layer, **dict(zip(roles, sides, strict=True))))
        return values[:, neuron].flatten(1).mean(dim=1) if values.ndim > 2 else values[:, neuron]

    target: Target = activation
    if isinstance(fast, Siamese) and layer == "fc1":
        target = _Target(fast, lambda hidden: fast.relu(hidden)[..., neuron])
    inputs = _inputs(model, waveforms, roles)
    return _explain(model, f"{layer} {neuron}", target, inputs, settings or ExplainSettings())


def _fast(network: AnyModel) -> AnyModel:
    """Copy a network: the same numbers but for rounding, in less than half of the time.

    Channels lie last in memory, and each batch norm is taken into its convolution.
    """
    network = copy.deepcopy(network).requires_grad_(False)
    for block in (block for block in network.modules() if isinstance(block, ConvBlock)):
        if isinstance(block.norm, torch.nn.BatchNorm2d):
            block.conv = fuse_conv_bn_eval(block.conv, block.norm)
            block.norm = torch.nn.Identity()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # lacks in its stub
    return network


class _Target:
    """A target on top of fc1, of which each side gives a summand: where one side stays, its tower runs once."""

    def __init__(self, network: Siamese, top: Callable[[Tensor], Tensor]) -> None:
        self.halves = {"imitation": network.query_half, "recording": network.candidate_half}
        self.top = top
        self.seen: Callable[[int], None] = lambda count: None  # inputs that were evaluated

    def watch(self, report: Report, total: int) -> None:
        """Report the share of ``total`` inputs that were evaluated."""
        done = 0

        def seen(count: int) -> None:
            nonlocal done
            done += count
            report(min(done / total, 1.0))

        self.seen = seen

    def __call__(self, imitation: Tensor, recording: Tensor) -> Tensor:
        self.seen(len(imitation))
        return self.top(self.halves["imitation"](imitation) + self.halves["recording"](recording))

    def alone(self, role: str, inputs: dict[str, Tensor]) -> Target:
        """The target of one side's input, the other side as it is."""
        (other,) = (self.halves[name](x) for name, x in inputs.items() if name != role)

        def target(x: Tensor) -> Tensor:
            self.seen(len(x))
            return self.top(self.halves[role](x) + other)

        return target


def _evaluations(settings: ExplainSettings, sides: int) -> int:
    """About how many inputs an explanation evaluates."""
    occluded = [max(1, round(2 / share) - 1) for share in settings.window]  # windows overlap by half
    orders = 2 + 3 * settings.controls
    return settings.steps + sides * occluded[0] * occluded[1] + settings.perturbations + orders * settings.fractions


@torch.no_grad()
def _inputs(model: TrainedModel, waveforms: dict[str, np.ndarray], roles: tuple[str, ...]) -> dict[str, Tensor]:
    """What the network sees of each side: ``(1, 1, bands, frames)``."""
    if missing := [role for role in roles if role not in waveforms]:
        raise PatternError(f"{model.name}: needs the {' and the '.join(missing)}")
    inputs = {}
    for role in roles:
        frontend = model.frontends[role]
        if isinstance(frontend.config, MelFramesConfig):
            raise PatternError(
                f"{model.name}: its front end stretches clips, so its cells have no time of their own; its score is "
                "explained by what was aligned, without --layer"
            )
        window = torch.from_numpy(np.ascontiguousarray(frontend.fit(waveforms[role]), np.float32))
        inputs[role] = frontend(window[None].to(model.device))
    if silent := [role for role, x in inputs.items() if not x.any()]:
        silent = [role if not waveforms[role].any() else f"the beginning of the {role}" for role in silent]
        raise PatternError(f"{' and '.join(silent)}: silent, so there is nothing to explain")
    return inputs


def _explain(
    model: TrainedModel, name: str, target: Target, inputs: dict[str, Tensor], settings: ExplainSettings
) -> Explanation:
    from captum.attr import IntegratedGradients, Occlusion, ShapleyValues

    given = tuple(inputs.values())
    silence = tuple(torch.zeros_like(x) for x in given)
    integrated, delta = IntegratedGradients(target).attribute(
        given, silence, n_steps=settings.steps, internal_batch_size=AT_ONCE, return_convergence_delta=True
    )
    occluded = {}
    with torch.no_grad():
        for role, x in inputs.items():
            window = (1, *_window(x, settings.window))
            strides = (1, *(max(1, size // 2) for size in window[1:]))
            seen = target.alone(role, inputs) if isinstance(target, _Target) else _alone(target, role, inputs)
            occluded[role] = Occlusion(seen).attribute(x, window, strides, 0, perturbations_per_eval=AT_ONCE)
        everybody = torch.ones(1, len(given), device=given[0].device)  # a player is a side, there or silent
        shares = ShapleyValues(
            lambda present: target(
                *(x * there[:, None, None] for x, there in zip(given, present.T[:, None, :], strict=True))
            )
        ).attribute(everybody)
        value, nothing = target(*given).item(), target(*silence).item()
    maps = {role: x[0, 0].detach().cpu().numpy() for role, x in zip(inputs, integrated, strict=True)}
    return Explanation(
        model=model.name,
        fingerprint=model.fingerprint,
        target=name,
        value=value,
        silence=nothing,
        inputs={role: x[0, 0].cpu().numpy() for role, x in inputs.items()},
        frontends={role: model.frontends[role].config for role in inputs},
        attributions=maps,
        occlusion={role: x[0, 0].cpu().numpy() for role, x in occluded.items()},
        shares=dict(zip(inputs, shares[0].tolist(), strict=True)),
        units=(),
        convergence_delta=delta.item(),
        infidelity=measure_infidelity(target, given, integrated, settings),
        faithfulness=measure_faithfulness(target, inputs, maps, settings),
    )


def _alone(target: Target, role: str, inputs: dict[str, Tensor]) -> Target:
    """The target of one side's input, the others as they are."""
    return lambda x: target(*(x if name == role else y.expand(len(x), -1, -1, -1) for name, y in inputs.items()))


@torch.no_grad()
def measure_infidelity(
    target: Target, inputs: tuple[Tensor, ...], attributions: tuple[Tensor, ...], settings: ExplainSettings
) -> float:
    """How badly attributions foretell what noise does to the target: see :class:`Explanation`.

    Integrated gradients hold the input as a factor, so noise counts as a share of it: where a cell is 0 there is none.

    Args:
        target: what is explained.
        inputs: ``(1, 1, bands, frames)`` each.
        attributions: of the same shapes, from zeros.
        settings: size and number of perturbations, seed.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    value = target(*inputs).item()
    changes, foretold = [], []
    for _ in range(settings.perturbations):
        noises = [
            torch.where(x == 0, 0.0, settings.noise * x.std() * torch.randn(x.shape, generator=generator).to(x.device))
            for x in inputs
        ]
        changes.append(value - target(*(x - noise for x, noise in zip(inputs, noises, strict=True))).item())
        shares = [torch.where(x == 0, 0.0, noise / x) for x, noise in zip(inputs, noises, strict=True)]
        foretold.append(sum((share * own).sum().item() for share, own in zip(shares, attributions, strict=True)))
    change, guess = np.array(changes), np.array(foretold)
    if not change.any():
        return 0.0 if not guess.any() else 1.0
    scale = (guess * change).mean() / max(np.square(guess).mean(), 1e-30)
    return float(np.square(scale * guess - change).mean() / np.square(change).mean())


def _window(x: Tensor, shares: tuple[float, float]) -> tuple[int, int]:
    bands, frames = (max(1, round(share * size)) for share, size in zip(shares, x.shape[2:], strict=True))
    return bands, frames


@torch.no_grad()
def _units(network: Siamese, inputs: dict[str, Tensor]) -> tuple[str, tuple[tuple[int, float], ...]]:
    """The layer whose weighted sum is the logit, and what each of its units adds."""
    layer, last = "fc1", None
    if isinstance(network, TLIminet | RecurrentIminet):
        last = network.fc2
    elif isinstance(network, Iminet):
        layer, last = "fc2", network.fc3
    if last is None:
        return layer, ()
    hidden = network.activate(layer, network.preactivation(layer, **inputs))[0]
    added = (last.weight[0] * hidden).cpu().numpy()
    return layer, tuple((int(unit), float(added[unit])) for unit in np.argsort(-np.abs(added), kind="stable"))


@torch.no_grad()
def measure_faithfulness(
    target: Target, inputs: dict[str, Tensor], maps: dict[str, np.ndarray], settings: ExplainSettings
) -> Faithfulness:
    """Delete and insert cells in the order of their attribution, and in that of controls.

    Random controls draw their order cell by cell. One order is good for both tests: what is left when it deletes an
    area is what it, run backwards, inserts.

    A control that knows the level has the values of the map at every level of the input, in places that the map, rolled
    elsewhere, decides. So it knows as much as the map of how loud a cell must be, and its areas have the same texture.

    Args:
        target: what is explained.
        inputs: by role, ``(1, 1, bands, frames)``.
        maps: by role, ``(bands, frames)``, the attribution.
        settings: areas and number of controls.
    """
    rng = np.random.default_rng(settings.seed)
    areas = np.arange(1, settings.fractions) / settings.fractions  # all and nothing are the same for every order
    *ends, total = np.cumsum([order.size for order in maps.values()]).tolist()
    first = torch.from_numpy(np.rint((1 - areas) * total).astype(np.int64))[:, None, None, None]  # rank inside an area

    def rank(orders: dict[str, np.ndarray]) -> np.ndarray:
        """Number of cells that are less: equal values in random order, so that every area is what it says."""
        values = np.concatenate([order.ravel() for order in orders.values()])
        ranked = np.empty(total, np.int64)
        ranked[np.lexsort((rng.random(total), values))] = np.arange(total)
        return ranked

    def read(ranked: np.ndarray, keep: Callable[[Tensor, Tensor], Tensor]) -> list[float]:
        """The target where of each area's cells only those stay that ``keep`` wants."""
        ranks = [
            torch.from_numpy(part.reshape(x.shape)).to(x.device)
            for part, x in zip(np.split(ranked, ends), inputs.values(), strict=True)
        ]
        values: list[float] = []
        for some in first.split(AT_ONCE):
            masks = [keep(own, some.to(own.device)) for own in ranks]
            values += target(*(x * mask for x, mask in zip(inputs.values(), masks, strict=True))).tolist()
        return values

    def both(orders: dict[str, np.ndarray]) -> tuple[list[float], list[float]]:
        ranked = rank(orders)
        return read(ranked, torch.lt), read(ranked, torch.ge)

    def summary(curves: list[tuple[list[float], list[float]]]) -> Controls:
        deleted, inserted = np.array(curves).transpose(1, 0, 2)  # (controls, areas) each
        return Controls(
            tuple(deleted.mean(axis=1).tolist()),
            tuple(inserted.mean(axis=1).tolist()),
            tuple(deleted.mean(axis=0).tolist()),
            tuple(inserted.mean(axis=0).tolist()),
        )

    deletion, insertion = both(maps)
    blind, level = [], []
    for _ in range(settings.controls):
        curve = read(rng.permutation(total), torch.ge)
        blind.append((curve[::-1], curve))
        moved = {role: _elsewhere(order, inputs[role][0, 0].cpu().numpy(), rng) for role, order in maps.items()}
        level.append(both(moved))
    return Faithfulness(
        deletion=float(np.mean(deletion)),
        insertion=float(np.mean(insertion)),
        areas=tuple(areas.tolist()),
        deletion_curve=tuple(deletion),
        insertion_curve=tuple(insertion),
        random=summary(blind),
        level=summary(level),
    )


def _elsewhere(order: np.ndarray, level: np.ndarray, rng: np.random.Generator, together: int = 32) -> np.ndarray:
    """The values of a map in other places of about the same level: ``(bands, frames)`` twice, to the same.

    So many cells next to each other in level exchange their values; where their levels lie far apart, as at the edge of
    a sound in silence, they keep them.
    """
    shift = [int(rng.integers(size // 4, max(size // 4 + 1, size - size // 4))) for size in order.shape]
    rolled = np.roll(order, shift, axis=(0, 1)).ravel()
    by_level = np.lexsort((rng.random(level.size), level.ravel()))
    group = np.arange(level.size) * max(1, level.size // together) // level.size
    sorted_level = level.ravel()[by_level]
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    spans = sorted_level[np.append(starts[1:], level.size) - 1] - sorted_level[starts]
    exchanged = (spans <= 0.5 * level.std())[group]
    cells, group = by_level[exchanged], group[exchanged]
    places = cells[np.lexsort((rng.random(len(cells)), rolled[cells], group))]
    moved = order.flatten()
    moved[places] = order.ravel()[cells[np.lexsort((order.ravel()[cells], group))]]
    return moved.reshape(order.shape)


def hear_attribution(waveform: np.ndarray, config: FrontEndConfig, attribution: np.ndarray) -> np.ndarray:
    """Let through what speaks for the target: the attribution as a soft mask on the clip's own spectrum and phase.

    Args:
        waveform: ``(samples,)`` at the front end's rate.
        config: of the front end, log-mel or constant-Q.
        attribution: ``(bands, frames)``.

    Returns:
        ``(config.n_samples,)`` float32, at the clip's own level: what is masked out is silent.

    Raises:
        PatternError: the attribution has another shape, or nothing speaks for the target.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    if attribution.shape != config.shape or isinstance(config, MelFramesConfig):
        raise PatternError(f"an attribution of shape {attribution.shape}, expected {config.shape}, bands and frames")
    positive = gaussian_filter(np.maximum(attribution, 0).astype(np.float64), 1.0)
    if not positive.any():
        raise PatternError("nothing in this clip speaks for the target")
    loudest = np.quantile(positive[positive > 1e-3 * positive.max()], 0.9)
    mask = np.minimum(positive / loudest, 1.0)
    # constant-Q bands lie 3 Hz apart at the low end
    n_fft = 4_096 if isinstance(config, ConstantQConfig) else 512 if config.sample_rate <= 16_000 else 1_024
    window, hop = _hann(n_fft), n_fft // 4
    clip = torch.from_numpy(fit_length(waveform, config.n_samples))
    stft = torch.stft(clip, n_fft, hop, window=window, return_complex=True)
    frequencies = np.arange(n_fft // 2 + 1) * config.sample_rate / n_fft
    centres = make_frontend(config).band_frequencies()
    band = np.interp(frequencies, centres, np.arange(len(centres)), left=-1, right=len(centres))
    frame = np.arange(stft.shape[1]) * hop / config.hop_length
    grid = np.meshgrid(band, np.minimum(frame, mask.shape[1] - 1), indexing="ij")
    soft = map_coordinates(mask, grid, order=1, mode="constant")  # nothing beyond the bands
    masked = stft * torch.from_numpy(soft.astype(np.float32))
    return torch.istft(masked, n_fft, hop, window=window, length=config.n_samples).numpy()


@functools.cache
def _hann(size: int) -> Tensor:
    return torch.hann_window(size)
