"""Why did this pair match, or this neuron fire? Attribution to the cells of the spectrograms, tested and made audible.

Integrated gradients from silence (Sundararajan, Taly, Yan 2017) and occlusion say which cells; exact Shapley values say
how much either side gave; of TL-IMINET, the units of fc1 say by which patterns. An attribution may look good and be
wrong, so each comes with tests of it: cells are taken away (deletion) and put in (insertion) in its order, and, as a
control, in the order of maps that know as much of where the sound is loud, and nothing else.

Silence is what each front end makes of a silent clip: zeros everywhere. In a clip that sounds, zero is its mean level,
and a cell that is taken away is set to that.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iminet_viz.audio import fit_length, load_audio
from iminet_viz.checkpoint import TrainedModel
from iminet_viz.errors import PatternError
from iminet_viz.frontends import ConstantQConfig, FrontEndConfig, MelFramesConfig, make_frontend
from iminet_viz.models import RecurrentIminet, Siamese, TLIminet

Target = Callable[..., Tensor]  # inputs, (batch, 1, bands, frames) each, to (batch,)


@dataclasses.dataclass(frozen=True)
class ExplainSettings:
    """How thoroughly a match is explained."""

    steps: int = 64  # of the integral
    window: tuple[float, float] = (1 / 8, 1 / 8)  # occluded at once, as shares of bands and frames
    fractions: int = 20  # of the area, in equal steps, at which cells are deleted and inserted
    controls: int = 20  # maps that know the level alone
    noise: float = 0.1  # standard deviations of the input, by which infidelity perturbs
    perturbations: int = 32  # of infidelity
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.controls, self.perturbations) < 1 or self.fractions < 2 or not self.noise > 0:
            raise PatternError(f"{self}: counts must be at least 1, fractions at least 2, noise above 0")
        if not all(0 < share <= 1 for share in self.window):
            raise PatternError(f"{self}: the shares of the window must be above 0 and at most 1")


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """Mean of the target while cells go (``deletion``, low is good) or come (``insertion``, high is good).

    ``*_control`` are those of the controls; ``curve``s are over growing areas.
    """

    deletion: float
    deletion_control: tuple[float, ...]
    insertion: float
    insertion_control: tuple[float, ...]
    deletion_curve: tuple[float, ...]
    insertion_curve: tuple[float, ...]

    @property
    def better_than(self) -> dict[str, float]:
        """Share of controls that the attribution beats, by test; a tie counts half, so chance is one half."""
        deletion = np.sign(np.array(self.deletion_control) - self.deletion)
        insertion = np.sign(self.insertion - np.array(self.insertion_control))
        return {"deletion": float(deletion.mean() + 1) / 2, "insertion": float(insertion.mean() + 1) / 2}


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
        units: of TL-IMINET's score: fc1's units and what each adds to the logit, the largest magnitude first.
        convergence_delta: what the attributions' sum misses of ``value - silence``.
        infidelity: share of what small noise does to the target that the attribution does not foretell (Yeh et al.
            2019, normalised as captum does and by the mean square of the change): 0 is perfect, 1 says nothing.
        faithfulness: deletion and insertion with their controls.
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

    def as_dict(self) -> dict[str, Any]:
        """Everything but the maps, as JSON values."""
        return {
            "model": self.model,
            "target": self.target,
            "value": self.value,
            "silence": self.silence,
            "shares": self.shares,
            "units": [{"layer": "fc1", "neuron": unit, "adds": added} for unit, added in self.units],
            "convergence_delta": self.convergence_delta,
            "infidelity": self.infidelity,
            "faithfulness": dataclasses.asdict(self.faithfulness) | {"better_than": self.faithfulness.better_than},
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


def explain_match(
    model: TrainedModel,
    query: str | os.PathLike[str],
    candidate: str | os.PathLike[str],
    settings: ExplainSettings | None = None,
) -> Explanation:
    """Explain the score of an imitation and a recording, by their files; see :func:`explain_pair`.

    Raises:
        AudioError: a file cannot be read.
        PatternError: the model has no two towers, or both are silent.
    """
    return explain_pair(model, load_sides(model, query, candidate), settings)


def explain_pair(
    model: TrainedModel, waveforms: dict[str, np.ndarray], settings: ExplainSettings | None = None
) -> Explanation:
    """Explain the score of a pair.

    Args:
        model: with two towers.
        waveforms: by role, ``(samples,)`` at the rate of its front end; the first window is explained.
        settings: how thoroughly.

    Raises:
        PatternError: the model has no two towers, a side is missing, or both are silent.
    """
    network = model.network
    if not isinstance(network, Siamese):
        raise PatternError(
            f"{model.name}: a network of kind {network.KIND} has no two towers whose match could be explained"
        )
    inputs = _inputs(model, waveforms, tuple(network.FRONTENDS))
    explained = _explain(model, "score", network, inputs, settings or ExplainSettings())
    return dataclasses.replace(explained, units=_units(network, inputs))


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
        PatternError: no such layer or neuron, a side is missing, or the sides that the layer sees are silent.
    """
    network = model.network
    if not 0 <= neuron < network.n_channels(layer):
        raise PatternError(f"{layer} has neurons 0 to {network.n_channels(layer) - 1}, not {neuron}")
    roles = network.inputs_of(layer)

    def activation(*sides: Tensor) -> Tensor:
        values = network.activate(layer, network.preactivation(layer, **dict(zip(roles, sides, strict=True))))
        return values[:, neuron].flatten(1).mean(dim=1) if values.ndim > 2 else values[:, neuron]

    inputs = _inputs(model, waveforms, roles)
    return _explain(model, f"{layer} {neuron}", activation, inputs, settings or ExplainSettings())


@torch.no_grad()
def _inputs(model: TrainedModel, waveforms: dict[str, np.ndarray], roles: tuple[str, ...]) -> dict[str, Tensor]:
    """What the network sees of each side: ``(1, 1, bands, frames)``."""
    if missing := [role for role in roles if role not in waveforms]:
        raise PatternError(f"{model.name}: needs the {' and the '.join(missing)}")
    inputs = {}
    for role in roles:
        frontend = model.frontends[role]
        if isinstance(frontend.config, MelFramesConfig):
            raise PatternError(f"{model.name}: its front end stretches clips, so its cells have no time of their own")
        window = torch.from_numpy(np.ascontiguousarray(frontend.fit(waveforms[role]), np.float32))
        inputs[role] = frontend(window[None].to(model.device))
    if not any(x.any() for x in inputs.values()):
        raise PatternError(f"{' and '.join(roles)}: silent, so there is nothing to explain")
    return inputs


def _explain(
    model: TrainedModel, name: str, target: Target, inputs: dict[str, Tensor], settings: ExplainSettings
) -> Explanation:
    from captum.attr import IntegratedGradients, Occlusion, ShapleyValues

    given = tuple(inputs.values())
    silence = tuple(torch.zeros_like(x) for x in given)
    integrated, delta = IntegratedGradients(target).attribute(
        given, silence, n_steps=settings.steps, internal_batch_size=16, return_convergence_delta=True
    )
    window = tuple((1, *_window(x, settings.window)) for x in given)
    strides = tuple((1, *(max(1, size // 2) for size in shape[1:])) for shape in window)
    with torch.no_grad():
        occluded = Occlusion(target).attribute(given, window, strides, silence, perturbations_per_eval=16)
        players = tuple(torch.full_like(x, number, dtype=torch.long) for number, x in enumerate(given))
        shares = ShapleyValues(target).attribute(given, silence, feature_mask=players)
        value, nothing = target(*given).item(), target(*silence).item()
    maps = {role: x[0, 0].detach().cpu().numpy() for role, x in zip(inputs, integrated, strict=True)}
    return Explanation(
        model=model.name,
        target=name,
        value=value,
        silence=nothing,
        inputs={role: x[0, 0].cpu().numpy() for role, x in inputs.items()},
        frontends={role: model.frontends[role].config for role in inputs},
        attributions=maps,
        occlusion={role: x[0, 0].cpu().numpy() for role, x in zip(inputs, occluded, strict=True)},
        # every cell of a side carries the side's value
        shares={role: x.flatten()[0].item() for role, x in zip(inputs, shares, strict=True)},
        units=(),
        convergence_delta=delta.item(),
        infidelity=measure_infidelity(target, given, integrated, settings),
        faithfulness=measure_faithfulness(target, inputs, maps, settings),
    )


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
def _units(network: Siamese, inputs: dict[str, Tensor]) -> tuple[tuple[int, float], ...]:
    """What each unit of fc1 adds to the logit, where the logit is a weighted sum of them."""
    if not isinstance(network, TLIminet | RecurrentIminet):
        return ()
    hidden = network.activate("fc1", network.preactivation("fc1", **inputs))[0]
    added = (network.fc2.weight[0] * hidden).cpu().numpy()
    return tuple((int(unit), float(added[unit])) for unit in np.argsort(-np.abs(added), kind="stable"))


@torch.no_grad()
def measure_faithfulness(
    target: Target, inputs: dict[str, Tensor], maps: dict[str, np.ndarray], settings: ExplainSettings
) -> Faithfulness:
    """Delete and insert cells in the order of their attribution, and in that of controls.

    A control has the values of the map at every level of the input, in places that the map, rolled elsewhere, decides.
    So it knows as much as the map of how loud a cell must be, and its areas have the same texture.

    Args:
        target: what is explained.
        inputs: by role, ``(1, 1, bands, frames)``.
        maps: by role, ``(bands, frames)``, the attribution.
        settings: areas and number of controls.
    """
    rng = np.random.default_rng(settings.seed)
    areas = np.arange(1, settings.fractions) / settings.fractions  # all and nothing are the same for every order

    def curves(orders: dict[str, np.ndarray]) -> tuple[list[float], list[float]]:
        values = np.concatenate([order.ravel() for order in orders.values()])
        ranked = np.empty(len(values))  # equal values in random order, so that every area is what it says
        ranked[np.lexsort((rng.random(len(values)), values))] = np.arange(len(values)) / len(values)
        ends = np.cumsum([order.size for order in orders.values()])[:-1]
        ranks = {
            role: part.reshape(order.shape)
            for (role, order), part in zip(orders.items(), np.split(ranked, ends), strict=True)
        }
        deleted, inserted = [], []
        for first in range(0, len(areas), 8):
            above = {
                role: torch.from_numpy(rank[None] >= 1 - areas[first : first + 8, None, None])[:, None]
                for role, rank in ranks.items()
            }
            kept = [x * above[role].to(x.device) for role, x in inputs.items()]
            rest = [x * ~above[role].to(x.device) for role, x in inputs.items()]
            inserted += target(*kept).tolist()
            deleted += target(*rest).tolist()
        return deleted, inserted

    deletion, insertion = curves(maps)
    controls = []
    for _ in range(settings.controls):
        moved = {role: _elsewhere(order, inputs[role][0, 0].cpu().numpy(), rng) for role, order in maps.items()}
        controls.append([float(np.mean(curve)) for curve in curves(moved)])
    return Faithfulness(
        deletion=float(np.mean(deletion)),
        deletion_control=tuple(control[0] for control in controls),
        insertion=float(np.mean(insertion)),
        insertion_control=tuple(control[1] for control in controls),
        deletion_curve=tuple(deletion),
        insertion_curve=tuple(insertion),
    )


def _elsewhere(order: np.ndarray, level: np.ndarray, rng: np.random.Generator, together: int = 32) -> np.ndarray:
    """The values of a map in other places of about the same level: ``(bands, frames)`` twice, to the same.

    So many cells next to each other in level exchange their values; where their levels lie far apart, as at the edge of
    a sound in silence, they keep them.
    """
    shift = [int(rng.integers(size // 4, max(size // 4 + 1, size - size // 4))) for size in order.shape]
    rolled = np.roll(order, shift, axis=(0, 1)).ravel()
    by_level = np.lexsort((rng.random(level.size), level.ravel()))
    moved = order.flatten()
    for cells in np.array_split(by_level, max(1, level.size // together)):
        if np.ptp(level.ravel()[cells]) > 0.5 * level.std():
            continue
        moved[cells[np.lexsort((rng.random(len(cells)), rolled[cells]))]] = np.sort(order.ravel()[cells])
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
