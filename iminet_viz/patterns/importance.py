"""What a neuron is worth for retrieval: MRR lost where its output is replaced by its mean (interpretability: E8).

The search is within the category, as in the paper's Table I. A feature map is replaced by one number, the mean of its
outputs over all clips of its side, so that the layers above get the usual level and no news; a unit of fc1 by its mean
over all pairs. (Above TL-IMINET's fc1 all is linear: there any number would do, since it shifts all scores alike.)
Below 0: the net ranks better without the neuron.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from iminet_viz.checkpoint import TrainedModel
from iminet_viz.datasets import Pair
from iminet_viz.errors import DatasetError, PatternError
from iminet_viz.evaluation import reciprocal_ranks
from iminet_viz.models import Siamese
from iminet_viz.patterns.evidence import References, load_input

AT_ONCE = 32  # clips
Report = Callable[[str, int, int], None]


def add_importance(
    references: References, model: TrainedModel, pairs: Sequence[Pair], source: str, report: Report | None = None
) -> References:
    """Store the importance of every neuron with the reference activations; see :func:`measure_importance`.

    Args:
        references: of the same model.
        model: with two towers.
        pairs: searched.
        source: what they are, in words.
        report: as there.
    """
    found, mrr, queries = measure_importance(model, pairs, report=report)
    recordings = len({pair.recording for pair in pairs})
    values = {key: value for key, value in references.values.items() if not key.startswith("importance.")}
    values |= {f"importance.{layer}": value for layer, value in found.items()}
    said = f"{source}: {queries} imitations of {recordings} recordings, each within its category, MRR {mrr:.3f}"
    return dataclasses.replace(references, values=values, importance_of=said)


def measure_importance(
    model: TrainedModel, pairs: Sequence[Pair], per_recording: int = 3, report: Report | None = None
) -> tuple[dict[str, np.ndarray], float, int]:
    """Measure every neuron of a model with two towers by searching a fixed set of pairs.

    Args:
        model: IMINET, TL-IMINET or the recurrent net.
        pairs: of distinct imitations, with a category each or none at all. The candidates of a query are the
            recordings of its category.
        per_recording: imitations of each recording that are taken, the first in the order of the pairs.
        report: called with the layer, neurons done and neurons in all.

    Returns:
        ``{layer: (2, channels)}`` float32: MRR lost, and its standard error, queries after one recording taken
        together; the MRR of the whole network; the number of queries.

    Raises:
        PatternError: the model has no two towers.
        DatasetError: fewer than two recordings.
        AudioError: a file cannot be read.
    """
    network = model.network
    if not isinstance(network, Siamese):
        raise PatternError(f"{model.name}: a network of kind {network.KIND} has no two towers whose search could lose")
    recordings = sorted({pair.recording for pair in pairs})
    if len(recordings) < 2:
        raise DatasetError(f"{len(recordings)} recordings to search, expected at least two")
    taken = [
        pair
        for recording in recordings
        for pair in [pair for pair in pairs if pair.recording == recording][:per_recording]
    ]
    category = {pair.recording: pair.category for pair in pairs}
    target = np.array([recordings.index(pair.recording) for pair in taken])
    answers = target[:, None] == np.arange(len(recordings))
    inside = np.array([pair.category for pair in taken])[:, None] == np.array([category[path] for path in recordings])
    clips = {
        "imitation": torch.cat([load_input(model, "imitation", pair.imitation) for pair in taken]),
        "recording": torch.cat([load_input(model, "recording", path) for path in recordings]),
    }

    def ranks(scores: Tensor) -> np.ndarray:
        return reciprocal_ranks(np.where(inside, scores.double().cpu().numpy(), -np.inf), answers)

    with torch.no_grad():
        query = _in_parts(network.query_half, clips["imitation"])
        candidate = _in_parts(network.candidate_half, clips["recording"])
        whole = ranks(network.score_halves(query, candidate))

        def loss(scores: Tensor) -> tuple[float, float]:
            lost = whole - ranks(scores)
            by_recording = np.array([lost[target == n].mean() for n in np.unique(target)])
            return float(lost.mean()), float(by_recording.std(ddof=1) / np.sqrt(len(by_recording)))

        total = sum(network.n_channels(layer) for layer in network.layers if _measured(network, layer))
        done = 0
        found: dict[str, list[tuple[float, float]]] = {}
        for role, x in clips.items():
            half = network.query_half if role == "imitation" else network.candidate_half
            tower = network.towers[role]
            for name in tower.layers:
                layer = f"{role}.{name}"
                x = _in_parts(tower.block(name), x)
                found[layer] = []
                for channel in range(x.shape[1]):
                    own = x[:, channel].clone()
                    x[:, channel] = own.mean()
                    with _from_layer(tower.blocks, name):
                        changed = _in_parts(half, x)
                    x[:, channel] = own
                    sides = (changed, candidate) if role == "imitation" else (query, changed)
                    found[layer].append(loss(network.score_halves(*sides)))
                    done += 1
                    if report:
                        report(layer, done, total)
        hidden = query[:, None] + candidate[None]  # (queries, candidates, fc1)
        found["fc1"] = []
        for unit in range(hidden.shape[2]):
            own = hidden[..., unit].clone()
            hidden[..., unit] = network.relu(own).mean()
            found["fc1"].append(loss(network.head(hidden)))
            hidden[..., unit] = own
            done += 1
            if report:
                report("fc1", done, total)
    importance = {layer: np.array(values, np.float32).T for layer, values in found.items()}
    return importance, float(whole.mean()), len(taken)


def _measured(network: Siamese, layer: str) -> bool:
    return layer == "fc1" or network.map_shape(layer) is not None


def _in_parts(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.cat([function(part) for part in x.split(AT_ONCE)])


@contextmanager
def _from_layer(blocks: nn.ModuleDict, name: str) -> Iterator[None]:
    """Let a tower take the outputs of one of its blocks as its input; restored at the end."""
    kept = dict(blocks.items())
    try:
        for below in kept:
            blocks[below] = nn.Identity()
            if below == name:
                break
        yield
    finally:
        blocks.update(kept)
