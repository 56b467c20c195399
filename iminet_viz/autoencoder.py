"""Training of IMISOUND's encoder: greedy, layer by layer, without labels (paper, section VI-C; Bengio et al., 2007)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iminet_viz.audio import atomic_path
from iminet_viz.errors import TrainingError
from iminet_viz.models._tower import init_glorot
from iminet_viz.models.imisound import Imisound


@dataclasses.dataclass(frozen=True)
class AutoencoderRecipe:
    """Everything that decides a training besides the sounds; the paper gives no values."""

    seed: int = 0
    epochs: int = 20  # of each layer
    batch_size: int = 128  # patches
    learning_rate: float = 1e-3  # Adam


def train_autoencoder(
    network: Imisound,
    spectrograms: Tensor,
    recipe: AutoencoderRecipe,
    report: Callable[[str, int, float], None] | None = None,
    checkpoint: Path | None = None,
) -> dict[str, list[float]]:
    """Train the hidden layers in place, one after the other: each to rebuild, by a linear decoder, what it is given.

    The decoder is linear because standardised levels are not bounded, and is thrown away: nothing reads it. The same
    network, spectrograms and recipe give the same weights.

    Args:
        network: its weights are where the training starts.
        spectrograms: as the front end gives them, ``(clips, 1, 72, frames)``; the training imitations only (paper.md).
        recipe: how.
        report: called with the layer, the number of the epoch and its mean squared error.
        checkpoint: file in which each epoch is kept; a training that finds it continues, to the same weights.

    Returns:
        The mean squared error per value of each epoch, by layer.

    Raises:
        TrainingError: there is no clip, or the loss is not finite.
    """
    if not len(spectrograms):
        raise TrainingError("no spectrogram was given, expected at least one")
    losses: dict[str, list[float]] = {}
    network.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        with torch.no_grad():
            values = network.patches(spectrograms).flatten(0, 1)  # (patches, values), what the layer is given
        state: dict[str, Any] = {"losses": {}}
        if checkpoint is not None and checkpoint.is_file():
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
            network.load_state_dict(state["network"])
        for layer, encoder in network.encoder.items():
            assert isinstance(encoder, nn.Linear)
            decoder = nn.Linear(encoder.out_features, encoder.in_features).to(values.device)
            init_glorot(decoder)
            optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=recipe.learning_rate)
            losses[layer] = state["losses"].get(layer, [])
            if losses[layer] and layer == state["layer"]:
                decoder.load_state_dict(state["decoder"])
                optimizer.load_state_dict(state["optimizer"])
                torch.set_rng_state(state["torch"])
            for epoch in range(len(losses[layer]), recipe.epochs):
                total = 0.0
                for indices in torch.randperm(len(values)).split(recipe.batch_size):
                    given = values[indices]
                    loss = F.mse_loss(decoder(encoder(given).sigmoid()), given)
                    if not torch.isfinite(loss):
                        raise TrainingError(f"the loss of {layer} is {loss.item()} in epoch {epoch}")
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    total += loss.item() * len(given)
                losses[layer].append(total / len(values))
                if checkpoint is not None:
                    now = {"network": network.state_dict(), "decoder": decoder.state_dict(), "layer": layer}
                    now |= {"optimizer": optimizer.state_dict(), "torch": torch.get_rng_state(), "losses": losses}
                    with atomic_path(checkpoint) as path:
                        torch.save(now, path)
                if report is not None:
                    report(layer, epoch, losses[layer][-1])
            with torch.no_grad():
                values = encoder(values).sigmoid()
    network.eval()
    return losses
