"""What real clips do to the neurons, and where a pattern stands among them (interpretability: E1, E2, E7).

The activations of all neurons on a set of recordings are computed once and stored beside the model; the numbers go
with it, the recordings do not.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from iminet_viz.audio import atomic_path, load_audio
from iminet_viz.checkpoint import TrainedModel
from iminet_viz.errors import AudioError, CheckpointError, PatternError
from iminet_viz.models import Siamese
from iminet_viz.patterns.engine import Pattern
from iminet_viz.patterns.parameterizations import natural_magnitude

FILE_NAME = "reference.safetensors"
MAGNITUDE = "magnitude."  # begins the names of mean spectra in that file


@dataclasses.dataclass(frozen=True, eq=False)
class References:
    """Activations (after the non-linearity) of every neuron of one side on every clip.

    ``values`` holds ``{layer}`` (mean over the map) and ``{layer}.max`` (largest position), each ``(clips, channels)``;
    for fc1 the two halves before their sum, ``query`` and ``candidate``, so that all pairs of clips are known.
    ``magnitudes`` holds the mean magnitude spectrum of the clips as each side sees them, scaled to mean 0 and deviation
    1, ``{role: (bands, frames // 2 + 1)}``: the phase parameterisation draws with it.
    """

    fingerprint: str
    clips: tuple[str, ...]
    values: dict[str, np.ndarray]
    magnitudes: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def of(self, pattern: Pattern) -> np.ndarray | None:
        """Activations of a pattern's neuron on all clips (all pairs for fc1); None for sums and directions.

        Returns:
            ``(clips,)``, or ``(clips, clips)``: imitation by recording.
        """
        terms = pattern.objective.terms
        if len(terms) > 1 or terms[0].direction is not None or terms[0].weight != 1:
            return None
        term = terms[0]
        if term.layer == "fc1":
            if "query" not in self.values:
                return None
            return np.maximum(
                self.values["query"][:, term.channel, None] + self.values["candidate"][None, :, term.channel], 0
            )
        key = term.layer if term.position is None else f"{term.layer}.max"
        return self.values[key][:, term.channel] if key in self.values else None


@torch.no_grad()
def compute_references(
    model: TrainedModel,
    files: Sequence[tuple[str, Path]],
    report: Callable[[int, int], None] | None = None,
    failed: list[tuple[str, str]] | None = None,
) -> References:
    """Run every clip through every tower; a recording goes through the imitation tower too.

    Args:
        model: any model with towers.
        files: name and path of each clip; the names are kept.
        report: called with clips done and clips in all.
        failed: collects name and reason of files that cannot be read; without it they raise.

    Raises:
        AudioError: a file cannot be read and ``failed`` is not given, or none can.
    """
    network = model.network
    rows: dict[str, list[np.ndarray]] = {}
    spectra: dict[str, torch.Tensor] = {}
    names = []
    for done, (name, path) in enumerate(files, start=1):
        try:
            waveforms = {
                role: load_audio(path, frontend.config.sample_rate) for role, frontend in model.frontends.items()
            }
        except AudioError as error:
            if failed is None:
                raise
            failed.append((name, str(error)))
            continue
        names.append(name)
        for role, frontend in model.frontends.items():
            window = torch.from_numpy(frontend.fit(waveforms[role]))[None]
            x = frontend(window.to(model.device))
            spectra[role] = spectra.get(role, 0) + torch.fft.rfft2(x[0, 0].double()).abs().cpu()
            for layer in network.layers:
                if network.inputs_of(layer) == (role,) and not layer.startswith("fc"):
                    maps = network.activate(layer, network.preactivation(layer, **{role: x}))[0].flatten(1)
                    rows.setdefault(layer, []).append(maps.mean(dim=1).cpu().numpy())
                    rows.setdefault(f"{layer}.max", []).append(maps.amax(dim=1).cpu().numpy())
            if isinstance(network, Siamese):
                half = network.query_half(x) if role == "imitation" else network.candidate_half(x)
                rows.setdefault("query" if role == "imitation" else "candidate", []).append(half[0].cpu().numpy())
        if report:
            report(done, len(files))
    if not names:
        raise AudioError("none of the reference clips could be read")
    magnitudes = {
        role: natural_magnitude(total, model.frontends[role].config.shape).float().numpy()
        for role, total in spectra.items()
    }
    values = {key: np.stack(value) for key, value in rows.items()}
    return References(model.fingerprint, tuple(names), values, magnitudes)


def save_references(path: Path, references: References) -> None:
    """Write activations and clip names; whole or not at all."""
    from safetensors.numpy import save_file

    # one entry: safetensors writes several in any order, and the same activations shall give the same bytes
    header = {"references": json.dumps({"fingerprint": references.fingerprint, "clips": references.clips})}
    with atomic_path(path) as temporary:
        magnitudes = {f"{MAGNITUDE}{role}": values for role, values in references.magnitudes.items()}
        save_file({**references.values, **magnitudes}, temporary, metadata=header)


def load_references(path: Path, model: TrainedModel) -> References:
    """Read stored activations.

    Raises:
        CheckpointError: the file is missing, damaged, or belongs to other weights.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; iminet-viz reference makes it")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            values = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        facts = json.loads(header["references"])
        magnitudes = {key[len(MAGNITUDE) :]: values.pop(key) for key in list(values) if key.startswith(MAGNITUDE)}
        references = References(facts["fingerprint"], tuple(facts["clips"]), values, magnitudes)
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not a file of reference activations ({error})") from None
    if references.fingerprint != model.fingerprint:
        raise CheckpointError(
            f"{path}: belongs to other weights than {model.name}'s; iminet-viz reference makes it anew"
        )
    return references


def stored_references(model: TrainedModel) -> References | None:
    """Reference activations kept in a model's own folder, if there are any; raises as :func:`load_references`."""
    path = model.folder / FILE_NAME if model.folder else None
    return load_references(path, model) if path and path.is_file() else None


def stored_magnitudes(model: TrainedModel, roles: Sequence[str]) -> dict[str, np.ndarray]:
    """Mean magnitude spectra of real clips in a model's own folder, ``{role: (bands, frames // 2 + 1)}``.

    They do not depend on the weights: ``dataclasses.replace(control, folder=model.folder)`` draws the patterns of
    random weights with a model's.

    Raises:
        PatternError: there are none.
    """
    from safetensors import SafetensorError, safe_open

    path = model.folder / FILE_NAME if model.folder else None
    try:
        if path is None:
            raise FileNotFoundError
        with safe_open(path, framework="numpy") as file:
            found = {role: file.get_tensor(f"{MAGNITUDE}{role}") for role in roles}
    except (SafetensorError, OSError):
        raise PatternError(
            f"{model.name} has no mean spectrum of real clips, which the phase parameterization draws with; "
            f"iminet-viz reference {model.name} FOLDER... makes it"
        ) from None
    return found


def compare_with_real(
    pattern: Pattern, references: References, n_top: int = 3, bins: int = 20
) -> dict[str, Any] | None:
    """Where a pattern stands among real clips: E2 and E7, as JSON values; None where the neuron has no reference.

    ``percentile`` is the share of clips (pairs) that excite the neuron no more than the pattern; ``headroom`` the
    pattern's activation over the largest real one; ``top`` the clips (pairs) that excite the neuron most.
    """
    real = references.of(pattern)
    if real is None:
        return None
    flat = real.ravel()
    largest = float(flat.max())
    own = pattern.activation
    counts, edges = np.histogram(flat, bins=bins, range=(0.0, max(largest, own, 1e-9)))
    if real.ndim == 2:
        # the strongest pair, then the strongest with other clips, so that one loud clip does not fill the list
        left = real.copy()
        top: list[dict[str, Any]] = []
        for _ in range(min(n_top, len(references.clips))):
            i, k = np.unravel_index(int(left.argmax()), left.shape)
            names = {"imitation": references.clips[i], "recording": references.clips[k]}
            top.append({**names, "activation": float(real[i, k])})
            left[i, :] = left[:, k] = -np.inf
    else:
        role = next(iter(pattern.inputs))
        order = np.argsort(-real, kind="stable")[:n_top]
        top = [{"clip": references.clips[i], "role": role, "activation": float(real[i])} for i in order]
    return {
        "clips": len(flat),  # or pairs of clips
        "max": largest,
        "percentile": float(100 * (flat <= own).mean()),
        "headroom": own / largest if largest > 0 else None,
        "exceeds": own > largest,
        "histogram": {"edges": [float(f"{edge:.6g}") for edge in edges], "counts": [int(count) for count in counts]},
        "top": top,
    }


def match_neurons(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair the neurons of two models by the correlation of their activations on the same clips (Hungarian method).

    Args:
        a: ``(clips, channels)`` of one model.
        b: the same of the other, same clips in the same order.

    Returns:
        ``(channels,)`` twin of each neuron of ``a`` in ``b``, -1 where ``b`` has too few, and ``(channels,)`` their
        correlation. A neuron that is constant on all clips correlates with nothing: 0.
    """
    from scipy.optimize import linear_sum_assignment

    def normalised(values: np.ndarray) -> np.ndarray:
        centred = values - values.mean(axis=0)
        length = np.linalg.norm(centred, axis=0)
        return np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-12)

    correlation = normalised(a.astype(np.float64)).T @ normalised(b.astype(np.float64))
    rows, columns = linear_sum_assignment(correlation, maximize=True)
    twins, matched = np.full(len(correlation), -1), np.zeros(len(correlation))
    twins[rows], matched[rows] = columns, correlation[rows, columns]
    return twins, matched
