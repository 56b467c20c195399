"""Activation maximisation: gradient ascent on the input, the weights fixed (paper, section VII; Erhan et al., 2009).

One loop serves a single neuron and a whole layer: each pattern has its own random start, its own optimiser state and
its own stop, so it depends neither on the batch nor on its place in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from iminet_viz.checkpoint import DbStatistics, TrainedModel
from iminet_viz.errors import PatternError
from iminet_viz.frontends import FrontEndConfig, LogMel, power_to_db
from iminet_viz.models import Model
from iminet_viz.patterns.evidence import Evidence, measure, stored_magnitudes, stored_references
from iminet_viz.patterns.leaky import leaky
from iminet_viz.patterns.objectives import Objective
from iminet_viz.patterns.parameterizations import PARAMETERIZATIONS
from iminet_viz.patterns.quick import quick

CHUNK = {"cpu": 8}  # patterns in the network at a time, by device: more leave the cache and need more memory
BETAS = (0.5, 0.9)  # of Adam; the table of EngineConfig


@dataclasses.dataclass(frozen=True)
class EngineConfig:
    """How patterns are optimised. Penalties are in units of the objective, per cell of the input.

    Steps, rates and momentum of Adam were chosen together: the objective is so bent (poolings, standardisation) that
    momentum carries a pattern past what the next gradient says. Activation on the ReLU network of ``tl-iminet-conv123``
    against 256 steps at a constant rate of 0.05 with Adam's usual betas (0.9, 0.999); medians over 12 neurons of
    recording.conv3, the layer that needs most steps::

        steps  rate  falls       betas       activation
        64     0.2   last 100 %  0.9, 0.999  0.77 (6 neurons)
        64     0.2   last 50 %   0.3, 0.9    0.97
        80     0.2   last 50 %   0.3, 0.9    0.99
        80     0.2   last 40 %   0.5, 0.9    1.00      (the default)
        96     0.2   last 50 %   0.3, 0.9    1.01

    With the default the medians over 8 neurons of every layer are 1.00 to 1.02.
    """

    steps: int = 80
    learning_rate: float = 0.2  # Adam, on parameters of deviation 1; it falls as a cosine in the last 40 % of the steps
    slope: float = 0.3  # of the leaky ReLU during the optimisation (paper, section VII)
    # The slope falls to this one in the third quarter of the steps. At 0.3 to the end, as in the paper, a pattern may
    # live on leaks that the real network does not have.
    final_slope: float = 0.01
    # "pixels" is the paper's way; docs/patterns.md compares them
    parameterization: str = "spectrum"
    reachable: bool = True  # only what the front end can emit: at most top_db of range, then standardised
    total_variation: float = 0.0
    l2: float = 0.0
    jitter: int = 0  # frames: the input is rolled in time by up to so many at each step
    precision: str = "auto"  # "bf16", "32", or bf16 where the processor has it; what is reported is always float32
    tolerance: float = 1e-3  # a pattern is done when ``patience`` steps raise it by less than this share
    patience: int = 4

    def __post_init__(self) -> None:
        if self.parameterization not in PARAMETERIZATIONS:
            raise PatternError(
                f"parameterization {self.parameterization!r}, expected one of {', '.join(PARAMETERIZATIONS)}"
            )
        for name, smallest in (("steps", 1), ("patience", 1), ("jitter", 0), ("l2", 0), ("total_variation", 0)):
            if getattr(self, name) < smallest:
                raise PatternError(f"{name} {getattr(self, name)}, expected at least {smallest}")
        if self.precision not in ("auto", "bf16", "32"):
            raise PatternError(f"precision {self.precision!r}, expected auto, bf16 or 32")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise PatternError(f"{field.name} {value}, expected a finite number")
        if not 0 < self.learning_rate <= 1e3:
            raise PatternError(f"learning_rate {self.learning_rate}, expected more than 0 and at most 1000")


@dataclasses.dataclass(frozen=True, eq=False)
class Pattern:
    """An input that excites a neuron, with all that is needed to draw it, hear it and check it.

    ``inputs`` holds one array for a tower's neuron, two for an fc1 unit: ``{role: (bands, frames)}``, float32 as the
    front end gives it (standard deviations of the clip; the aligned net's is 20 dB to 1, half of the mean off), rounded
    to float16 so that the stored array is the array that was measured. A net that serves both sides has one, as
    ``imitation``.
    """

    model: str
    fingerprint: str
    objective: Objective
    seed: int
    inputs: Mapping[str, np.ndarray]
    frontends: Mapping[str, FrontEndConfig]
    # Of this pattern: standardised values * std_db + mean_db is dB (the aligned net's inputs are not standardised).
    db_statistics: Mapping[str, DbStatistics]
    config: EngineConfig
    activation: float  # on the original ReLU network
    activation_leaky: float
    trace: np.ndarray  # (steps,) the objective at each step on the leaky network
    converged: bool
    evidence: Evidence = dataclasses.field(default_factory=Evidence)

    @property
    def layer(self) -> str:
        """Layer of the first term."""
        return self.objective.terms[0].layer

    @property
    def neuron(self) -> int:
        """Neuron of the first term."""
        return self.objective.terms[0].channel


Report = Callable[[int, Tensor, Mapping[str, Tensor]], bool | None]


def maximize(
    model: TrainedModel,
    objective: Objective,
    config: EngineConfig | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> Pattern:
    """Optimise one pattern, and measure of it what needs no sound; see :func:`maximize_many`.

    Real clips are those whose activations are stored with the model.
    """
    pattern = maximize_many(model, [objective], config, seed, report)[0]
    return dataclasses.replace(pattern, evidence=measure(pattern, stored_references(model)))


def maximize_many(
    model: TrainedModel,
    objectives: Sequence[Objective],
    config: EngineConfig | None = None,
    seed: int = 0,
    report: Report | None = None,
    failed: list[tuple[Objective, str]] | None = None,
) -> list[Pattern]:
    """Optimise one pattern for each objective, as one batch.

    Args:
        model: its network is in evaluation mode and stays as it is.
        objectives: all on the same inputs (one tower, or both); ``unit`` objectives apart from the others.
        config: steps, penalties, parameterisation.
        seed: each pattern's start depends on (seed, objective) alone.
        report: called after each step with the step, the values ``(batch,)`` and the inputs; True stops the loop.
        failed: collects objective and reason where a value stops being finite; without it they raise.

    Returns:
        The patterns, in the order of the objectives, without those that failed.

    Raises:
        PatternError: an objective does not fit the network or the batch, the parameterisation needs magnitudes of real
            clips that the model does not have, or a value stops being finite and ``failed`` is not given.
    """
    config = _resolve_precision(config or EngineConfig(), model.device)
    network = model.network
    if not objectives:
        raise PatternError("no objective was given")
    for objective in objectives:
        objective.check(network)
    roles = objectives[0].roles(network)
    if any(objective.roles(network) != roles for objective in objectives):
        raise PatternError("the objectives of one batch must have the same inputs")
    crops = [_field_of(network, objective) for objective in objectives]
    if any(crop is None for crop in crops) != all(crop is None for crop in crops):
        raise PatternError("unit objectives and others cannot share a batch")
    sizes = {crop[1] for crop in crops if crop is not None}
    if len(sizes) > 1:
        raise PatternError("unit objectives of one batch must be in the same layer")
    shapes = {role: (sizes.pop() if crops[0] else model.frontends[role].config.shape) for role in roles}
    channels = _single_channels(network, objectives)
    local = [_local(objective, bool(crops[0]), channels is not None) for objective in objectives]

    with frozen(network):
        with leaky(network, config.slope) as set_slope:
            images, traces, converged, faults = _ascend(
                model, objectives, local, shapes, config, seed, report, bool(crops[0]), channels, set_slope
            )
        levels = {role: [level for _, level in made] for role, made in images.items()}
        inputs = {
            role: _paste(model, role, torch.stack([image for image, _ in made]), crops) for role, made in images.items()
        }
        # The array that is stored is the array that is measured.
        inputs = {role: image.half().float() for role, image in inputs.items()}
        patterns = []
        for index, objective in enumerate(objectives):
            own = {role: image[index : index + 1] for role, image in inputs.items()}
            if index not in faults and not all(torch.isfinite(image).all() for image in own.values()):
                faults[index] = f"the input for {objective} is not finite after the last step; lower the learning rate"
            if index in faults:
                if failed is None:
                    raise PatternError(faults[index])
                failed.append((objective, faults[index]))
                continue
            with torch.no_grad():
                relu_own = {layer: value[0] for layer, value in layer_values(network, [objective], own).items()}
                with leaky(network, config.slope):
                    leaky_own = {layer: value[0] for layer, value in layer_values(network, [objective], own).items()}
            relu_value, leaky_value = float(objective(relu_own)), float(objective(leaky_own))
            patterns.append(
                Pattern(
                    model=model.name,
                    fingerprint=model.fingerprint,
                    objective=objective,
                    seed=seed,
                    inputs={role: image[0].cpu().numpy() for role, image in own.items()},
                    frontends={role: model.frontends[role].config for role in roles},
                    db_statistics={role: levels[role][index] for role in roles},
                    config=config,
                    activation=relu_value,
                    activation_leaky=leaky_value,
                    trace=traces[index],
                    converged=converged[index],
                    evidence=Evidence(
                        relu_transfer=relu_value / leaky_value if leaky_value > 0 else None,
                        alive=_alive_share(objective, relu_own),
                    ),
                )
            )
    return patterns


def generator_for(seed: int, objective: Objective) -> torch.Generator:
    """Random numbers that depend on (seed, objective) alone."""
    digest = hashlib.sha256(f"{seed}/{objective!r}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def to_decibels(x: Tensor, top_db: float, level: DbStatistics) -> Tensor:
    """Map any numbers to dB between ``-top_db`` and 0, smoothly, so that no cell ever loses its gradient.

    A logistic curve through the training clips' mean with their deviation as its slope there: an image of mean 0 and
    deviation 1 gets about the level of a real clip. Hard limits fail here: they leave a gradient to the loudest cell
    alone, and the pattern collapses into one bright dot.

    Shape:
        ``(batch, bands, frames)`` to the same.
    """
    share = min(max(1 + level.mean_db / top_db, 0.05), 0.95)
    steepness = level.std_db / (top_db * share * (1 - share))
    return top_db * (torch.sigmoid(math.log(share / (1 - share)) + steepness * x) - 1)


def _ascend(
    model: TrainedModel,
    objectives: Sequence[Objective],
    local: Sequence[Objective],
    shapes: Mapping[str, tuple[int, int]],
    config: EngineConfig,
    seed: int,
    report: Report | None,
    cropped: bool,
    channels: Tensor | None,
    set_slope: Callable[[float], None],
) -> tuple[dict[str, list[tuple[Tensor, DbStatistics]]], list[np.ndarray], list[bool], dict[int, str]]:
    """Run the loop on the ``local`` objectives.

    Returns:
        ``{role: [(image, its level)]}``, traces, who converged, and why the others stopped being finite, by index.
    """
    parameterization = PARAMETERIZATIONS[config.parameterization]
    device = model.device
    magnitudes: dict[str, Tensor | None] = dict.fromkeys(shapes)
    if parameterization.natural and not cropped:
        stored = stored_magnitudes(model, tuple(shapes))
        magnitudes = {role: torch.from_numpy(values).to(device) for role, values in stored.items()}
    generators = [generator_for(seed, objective) for objective in objectives]
    bases = {}  # of sides whose bands are sums
    if parameterization.linear and config.reachable and not cropped:
        bases = {role: of.mel_basis for role in shapes if isinstance(of := model.frontends[role], LogMel)}
    drawn = {
        role: (bases[role].shape[1], shape[1]) if role in bases else shape  # frequencies or bands, frames
        for role, shape in shapes.items()
    }
    starts = {role: parameterization.start(shape, generators).to(device) for role, shape in drawn.items()}
    # one tensor a pattern: the optimiser passes over those that got no gradient
    parameters = {role: [own.clone().requires_grad_() for own in start] for role, start in starts.items()}

    def images(part: Sequence[int]) -> dict[str, Tensor]:
        return {role: image(role, torch.stack([own[index] for index in part])) for role, own in parameters.items()}

    def decibels(role: str, x: Tensor) -> Tensor:
        top_db = model.frontends[role].config.top_db
        db = to_decibels(x, top_db, model.db_statistics[role])
        return power_to_db(bases[role] @ 10 ** (db / 10), top_db) if role in bases else db

    def image(role: str, parameter: Tensor) -> Tensor:
        x = parameterization.image(parameter, drawn[role], magnitudes[role])
        if not config.reachable:
            return x
        level, db = model.db_statistics[role], decibels(role, x)
        # a patch is part of a clip whose mean and deviation the rest decides: those of the training clips
        return (db - level.mean_db) / level.std_db if cropped else model.frontends[role].normalize(db)

    def levels(role: str, made: Tensor) -> list[DbStatistics]:
        """What standardisation took away from each image."""
        level = model.db_statistics[role]
        if not config.reachable:  # as loud as its range allows
            spans = [max(float(x.max() - x.min()), 1e-6) for x in made]
            top_db = model.frontends[role].config.top_db
            return [DbStatistics(level.mean_db, min(level.std_db, top_db / span)) for span in spans]
        if cropped:
            return [level] * len(made)
        x = parameterization.image(torch.stack(parameters[role]), drawn[role], magnitudes[role])
        return [DbStatistics(float(db.mean()), float(db.std(correction=0))) for db in decibels(role, x)]

    def raise_values(part: Sequence[int]) -> Tensor:
        """Values of some patterns; their parameters get gradients."""
        inputs = images(part)
        seen = {role: _jittered(x, [generators[index] for index in part], config.jitter) for role, x in inputs.items()}
        own = channels if channels is None else channels[part]
        raised = objective_values(model, [local[index] for index in part], seen, own, config.precision)
        penalty = torch.zeros((), device=device)
        for x in inputs.values():
            if config.total_variation:
                steps = (x.diff(dim=1).abs().mean(dim=(1, 2)) + x.diff(dim=2).abs().mean(dim=(1, 2))).sum()
                penalty = penalty + config.total_variation * steps
            if config.l2:
                penalty = penalty + config.l2 * x.square().mean(dim=(1, 2)).sum()
        (penalty - raised.sum()).backward()  # the one minus sign: every objective is raised
        return raised.detach().cpu()

    batch, chunk = len(objectives), CHUNK.get(device.type, 128)
    optimizer = torch.optim.Adam([p for own in parameters.values() for p in own], betas=BETAS, fused=True)
    values = torch.zeros(batch)
    converged = torch.zeros(batch, dtype=torch.bool)
    faults: dict[int, str] = {}
    history: list[Tensor] = []
    lengths = [0] * batch
    settled = _slopes(config)
    rates = _learning_rates(config)
    working = list(range(batch))  # a pattern that is done stays as it is
    with quick(model.network, torch.bfloat16 if config.precision == "bf16" else torch.float32):
        for step in range(config.steps):
            set_slope(settled[step])
            optimizer.param_groups[0]["lr"] = rates[step]
            optimizer.zero_grad()
            values = values.clone()
            for begin in range(0, len(working), chunk):
                part = working[begin : begin + chunk]
                values[part] = raise_values(part)
            history.append(values)
            for index in working:
                lengths[index] += 1
                if not math.isfinite(values[index]):
                    faults[index] = f"the value of {objectives[index]} stopped being finite in step {step}"
            working = [index for index in working if index not in faults]
            if report:
                with torch.no_grad():
                    if report(step, values, images(range(batch))):
                        break
            optimizer.step()
            constant = step - 2 * config.patience
            if constant >= 0 and step % config.patience == 0 and settled[constant] == settled[step] == settled[-1]:
                recent = torch.stack(history[-config.patience :]).mean(dim=0)
                before = torch.stack(history[-2 * config.patience : -config.patience]).mean(dim=0)
                converged[working] |= ((recent - before) <= config.tolerance * recent.abs().clamp_min(1e-12))[working]
                working = [index for index in working if not converged[index]]
            if not working:
                break
    with torch.no_grad():
        final = {role: list(zip(x, levels(role, x), strict=True)) for role, x in images(range(batch)).items()}
    traces = [torch.stack(history)[: lengths[index], index].numpy() for index in range(batch)]
    return final, traces, converged.tolist(), faults


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradients of weights: a third less work; as before afterwards.

    With batch statistics the inputs of a batch would leak into each other.
    """
    modes = {module: module.training for module in network.modules()}
    wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.eval()
    network.requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter in wanted:
            parameter.requires_grad_()


def objective_values(
    model: TrainedModel,
    objectives: Sequence[Objective],
    inputs: Mapping[str, Tensor],
    channels: Tensor | None,
    precision: str,
) -> Tensor:
    """Value of each objective on its own input of the batch, ``(batch,)`` float32; the rest as :func:`layer_values`."""
    with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
        values = layer_values(model.network, objectives, inputs, channels)
    values = {layer: value.float() for layer, value in values.items()}
    return torch.stack(
        [objective({layer: v[row] for layer, v in values.items()}) for row, objective in enumerate(objectives)]
    )


@torch.no_grad()
def activation_of(model: TrainedModel, objective: Objective, inputs: Mapping[str, np.ndarray]) -> float:
    """Activation of an objective on the model's own ReLU network; inputs ``{role: (bands, frames)}``."""
    tensors = {role: torch.from_numpy(values)[None].to(model.device) for role, values in inputs.items()}
    values = layer_values(model.network, [objective], tensors)
    return float(objective({layer: value[0] for layer, value in values.items()}))


def layer_values(
    network: Model, objectives: Sequence[Objective], inputs: Mapping[str, Tensor], channels: Tensor | None = None
) -> dict[str, Tensor]:
    """Values after the network's own non-linearity (leaky or not) of every layer that the objectives name.

    Args:
        network: as it is at the moment.
        objectives: they name the layers.
        inputs: ``{role: (batch, bands, frames)}``.
        channels: ``(batch,)``: compute only this feature map of each input (one tower layer for all objectives).

    Returns:
        ``{layer: (batch, channels, bands, frames)}``, before the layer's pooling; ``(batch, units)`` for fc1,
        ``(batch, channels, frames)`` for layers over time.
    """
    layers = dict.fromkeys(layer for objective in objectives for layer in objective.layers)
    shaped = {role: x[:, None].contiguous(memory_format=torch.channels_last) for role, x in inputs.items()}
    if channels is not None:
        (layer,) = layers
        role, name = layer.split(".")
        return {layer: network.relu(network.towers[role].preactivation(shaped[role], name, channels))}
    return {
        layer: network.activate(
            layer, network.preactivation(layer, **{role: shaped[role] for role in network.inputs_of(layer)})
        )
        for layer in layers
    }


def _resolve_precision(config: EngineConfig, device: torch.device) -> EngineConfig:
    """Settle "auto": emulated bf16 would be slower than float32."""
    if config.precision != "auto":
        return config
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported()
    else:
        native = (
            device.type == "cpu"
            and bool(torch.backends.mkldnn.is_available())
            and torch.cpu._is_avx512_bf16_supported()
        )
    return dataclasses.replace(config, precision="bf16" if native else "32")


def _alive_share(objective: Objective, values: Mapping[str, Tensor]) -> float:
    term = objective.terms[0]
    if term.direction is not None:
        return float((values[term.layer] > 0).float().mean())
    picked = values[term.layer][term.channel]
    return float(((picked[term.position] if term.position else picked) > 0).float().mean())


def _jittered(x: Tensor, generators: Sequence[torch.Generator], frames: int) -> Tensor:
    if not frames:
        return x
    shifts = [int(torch.randint(-frames, frames + 1, (), generator=generator)) for generator in generators]
    return torch.stack([image.roll(shift, dims=1) for image, shift in zip(x, shifts, strict=True)])


def _slopes(config: EngineConfig) -> list[float]:
    """Slope of the leaky ReLU at each step: constant, falling in a line in the third quarter, constant."""
    progress = (np.arange(config.steps) / max(config.steps, 1) - 0.5) / 0.25
    share = np.clip(progress, 0, 1)
    return [float(value) for value in (1 - share) * config.slope + share * config.final_slope]


def _learning_rates(config: EngineConfig) -> list[float]:
    """Learning rate at each step: constant, falling as a cosine in the last 40 %."""
    progress = np.clip((np.arange(config.steps) / config.steps - 0.6) / 0.4, 0, 1)
    return [float(value) for value in config.learning_rate * (1 + np.cos(np.pi * progress)) / 2]


def _field_of(network: Model, objective: Objective) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Corner and size of the input patch that a ``unit`` objective depends on; None for all other objectives."""
    term = objective.terms[0]
    if term.position is None:
        if any(other.position for other in objective.terms):
            raise PatternError("a sum of unit and other objectives is not supported: their inputs differ in size")
        return None
    if any(other.position != term.position or other.layer != term.layer for other in objective.terms):
        raise PatternError("a sum of unit objectives must stay at one position of one layer")
    role, name = term.layer.split(".")
    field = network.towers[role].receptive_field(name)
    corner = (term.position[0] * field.stride[0], term.position[1] * field.stride[1])
    return corner, field.size


def _single_channels(network: Model, objectives: Sequence[Objective]) -> Tensor | None:
    """One feature map an objective, if all look at single maps of one tower layer; otherwise None."""
    terms = [objective.terms[0] for objective in objectives]
    single = all(len(objective.terms) == 1 for objective in objectives) and all(
        term.direction is None for term in terms
    )
    if not single or len({term.layer for term in terms}) > 1 or network.map_shape(terms[0].layer) is None:
        return None
    return torch.tensor([term.channel for term in terms], device=next(network.parameters()).device)


def _local(objective: Objective, cropped: bool, single: bool) -> Objective:
    """The same objective on what is computed: a patch whose map has one position, or one map alone."""
    changes: dict[str, Any] = {**({"position": (0, 0)} if cropped else {}), **({"channel": 0} if single else {})}
    return Objective(tuple(dataclasses.replace(term, **changes) for term in objective.terms))


def _paste(model: TrainedModel, role: str, patches: Tensor, crops: Sequence[Any]) -> Tensor:
    """Put patches where their units look, on zeros: the mean level of a clip."""
    if crops[0] is None:
        return patches
    full = torch.zeros(len(patches), *model.frontends[role].config.shape, device=patches.device)
    for canvas, patch, (corner, size) in zip(full, patches, crops, strict=True):
        canvas[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]] = patch
    return full


__all__ = ["EngineConfig", "Pattern", "layer_values", "maximize", "maximize_many", "to_decibels"]
