"""Trained models as folders of tensors and JSON.

A folder holds ``weights.safetensors``, ``config.json``, ``metrics.json`` and ``README.md``, the model card.
Nothing is ever unpickled. Loading is strict: what does not fit exactly is refused with the folder and the key.

A folder may also hold a *fusion*: networks in folders of their own and untrained baselines, each with a weight. It has
no weights of its own, and searches (:mod:`iminet_viz.scoring`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iminet_viz.audio import atomic_path
from iminet_viz.errors import CheckpointError, FrontEndError
from iminet_viz.frontends import (
    FrontEnd,
    FrontEndConfig,
    config_from_dict,
    config_to_dict,
    make_frontend,
)
from iminet_viz.models import MODELS, Model

# all of a model's folder that needs no torch; whoever loads models has it here
from iminet_viz.shipped import DEFAULT_SEARCH as DEFAULT_SEARCH
from iminet_viz.shipped import FORMAT as FORMAT
from iminet_viz.shipped import FUSION as FUSION
from iminet_viz.shipped import SHIPPED as SHIPPED
from iminet_viz.shipped import Fusion as Fusion
from iminet_viz.shipped import find_model as find_model
from iminet_viz.shipped import name_of
from iminet_viz.shipped import read_fusion as read_fusion
from iminet_viz.shipped import read_json as read_json
from iminet_viz.shipped import shipped_models as shipped_models
from iminet_viz.shipped import write_json as write_json

SEEDING = threading.Lock()  # torch initialises weights from one generator for all threads


@dataclasses.dataclass(frozen=True)
class DbStatistics:
    """Level that standardisation takes away, in dB relative to the clip's maximum: means over the training clips."""

    mean_db: float
    std_db: float

    @staticmethod
    def of(clips: Iterable[np.ndarray]) -> DbStatistics:
        """Of spectrograms in dB, ``(bands, frames)`` each; silent ones are left out.

        Raises:
            CheckpointError: all are silent.
        """
        heard = [(db.mean(), db.std()) for db in clips if db.std() > 0]
        if not heard:
            raise CheckpointError("all clips of one side are silent, so there is no level to train at")
        mean_db, std_db = np.mean(heard, axis=0)
        return DbStatistics(float(mean_db), float(std_db))


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A network with all that is needed to feed it and to hear it."""

    name: str
    network: Model
    frontends: dict[str, FrontEnd]  # by role
    db_statistics: dict[str, DbStatistics]  # by role
    fingerprint: str  # of weights, architecture and front ends
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    folder: Path | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> TrainedModel:
        """Move network and front ends; returns self."""
        self.network.to(device)
        for frontend in self.frontends.values():
            frontend.to(device)
        return self


def untrained_model(
    kind: str, seed: int = 0, architecture: Mapping[str, Any] | None = None, name: str = ""
) -> TrainedModel:
    """Build a randomly initialised model in evaluation mode: the control of every claim about a trained one."""
    with SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _build(kind, dict(architecture or {}), f"untrained {kind}").eval()
    configs = network.FRONTENDS
    return TrainedModel(
        name=name or f"{kind}-random{seed}",
        network=network,
        frontends={role: make_frontend(config) for role, config in configs.items()},
        db_statistics={role: DbStatistics(-50.0, 16.0) for role in configs},
        fingerprint=fingerprint_of(weights_of(network), configs),
        config={"kind": kind},
    )


def untrained_like(model: TrainedModel, seed: int, name: str = "") -> TrainedModel:
    """Build one of a model's kind, architecture and levels, on the same device; see :func:`untrained_model`.

    Its folder is the model's, which holds the mean spectrum of real clips that patterns may be drawn with.
    """
    blank = untrained_model(model.network.KIND, seed, dataclasses.asdict(model.network.config), name)
    return dataclasses.replace(blank, db_statistics=model.db_statistics, folder=model.folder).to(model.device)


def weights_of(network: Model) -> dict[str, Tensor]:
    """The tensors of a network, each once: what tied towers share has one name."""
    once = {name for name, _ in (*network.named_parameters(), *network.named_buffers())}
    return {key: value for key, value in network.state_dict().items() if key in once}


def fingerprint_of(weights: Mapping[str, Tensor], frontends: Mapping[str, FrontEndConfig]) -> str:
    """Hash weights (names, shapes, values) and front ends: equal fingerprints give equal scores."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        tensor = weights[key].detach().cpu().contiguous()
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    digest.update(_canonical({role: config_to_dict(config) for role, config in frontends.items()}).encode())
    return digest.hexdigest()[:16]


def save_model(
    folder: str | os.PathLike[str],
    network: Model,
    db_statistics: Mapping[str, DbStatistics],
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> None:
    """Write a model folder; each file appears whole or not at all.

    Args:
        folder: made if missing.
        network: the weights to keep.
        db_statistics: by role.
        config: recipe, data and versions: all that is needed to train the same again.
        metrics: figures with n, chance and interval.

    Raises:
        CheckpointError: a weight or a figure is not finite, or a value is none of JSON's.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    weights = {key: value.detach().cpu().contiguous() for key, value in weights_of(network).items()}
    if bad := [key for key, value in weights.items() if not torch.isfinite(value).all()]:
        raise CheckpointError(f"{folder}: not written, {bad[0]} holds NaN or infinite values")
    frontends = {role: config_to_dict(value) for role, value in network.FRONTENDS.items()}
    architecture = dataclasses.asdict(network.config)
    # The same facts lie in the weights' header, so that config.json cannot be edited apart from them.
    header = {"kind": network.KIND, "architecture": _canonical(architecture), "frontends": _canonical(frontends)}
    content = {
        "format": FORMAT,
        "kind": network.KIND,
        "architecture": architecture,
        "frontends": frontends,
        "db_statistics": {role: dataclasses.asdict(value) for role, value in db_statistics.items()},
        **config,
    }
    for name, value in (("config", content), ("metrics", metrics)):  # before anything is written
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{folder}: not written, {name}.json cannot hold this ({error})") from None
    with atomic_path(folder / "weights.safetensors") as path:
        save_file(weights, path, metadata=header)
    write_json(folder / "config.json", content)
    write_json(folder / "metrics.json", metrics)


def load_model(name: str | os.PathLike[str], device: str = "cpu") -> TrainedModel:
    """Load a model by its shipped name or its folder, in evaluation mode.

    Raises:
        CheckpointError: no such model, a file is missing or damaged, a key is unknown or missing, a shape or the front
            end differs, a weight is not finite, or the weights are not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    folder = find_model(name)
    config = read_json(folder / "config.json")
    if (fusion := read_fusion(folder)) is not None:
        networks = ", ".join(f"{name_of(folder)}/{part}" for part in fusion.networks)
        raise CheckpointError(
            f"{name_of(folder)}: is a fusion of {' and '.join((*fusion.networks, *fusion.untrained))}: it searches "
            f"(evaluate --pairs), but is no single network; its networks are {networks or 'none'}"
        )
    expected = {"format", "kind", "architecture", "frontends", "db_statistics"}
    if missing := sorted(expected - set(config)):
        raise CheckpointError(f"{folder / 'config.json'}: lacks {', '.join(missing)}")
    if unknown := sorted(set(config) - expected - {"recipe", "data", "versions", "parents", "joined"}):
        raise CheckpointError(f"{folder / 'config.json'}: unknown keys {', '.join(unknown)}")
    if config["format"] != FORMAT:
        raise CheckpointError(f"{folder}: format {config['format']!r}, this version reads {FORMAT}")
    network = _build(config["kind"], config["architecture"], str(folder))
    _check_frontends(folder, network, config["frontends"])
    try:
        statistics = {role: DbStatistics(**values) for role, values in config["db_statistics"].items()}
        well_formed = set(statistics) == set(network.FRONTENDS) and all(
            math.isfinite(s.mean_db) and math.isfinite(s.std_db) and s.std_db > 0 for s in statistics.values()
        )
    except (TypeError, AttributeError):
        well_formed = False
    if not well_formed:
        raise CheckpointError(f"{folder / 'config.json'}: db_statistics must give mean_db and std_db > 0 for each role")

    path = folder / "weights.safetensors"
    if not path.is_file():
        raise CheckpointError(f"{folder}: holds no weights.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error}); pickled weights are never loaded") from None
    for key in ("architecture", "frontends"):
        if header.get(key) != _canonical(config[key]):
            raise CheckpointError(f"{folder}: {key} in config.json is not what the weights were trained with")
    _check_weights(path, network, weights)
    network.load_state_dict(weights, strict=False)  # checked above; the second names of shared tensors are not there
    network.eval().requires_grad_(False)
    metrics_path = folder / "metrics.json"
    model = TrainedModel(
        name=name_of(folder),
        network=network,
        frontends={role: make_frontend(value) for role, value in network.FRONTENDS.items()},
        db_statistics=statistics,
        fingerprint=fingerprint_of(weights, network.FRONTENDS),
        config=config,
        metrics=read_json(metrics_path) if metrics_path.is_file() else {},
        folder=folder,
    )
    return model.to(device)


def _build(kind: str, architecture: Mapping[str, Any], where: str) -> Model:
    if not isinstance(kind, str) or kind not in MODELS:
        raise CheckpointError(f"{where}: unknown kind {kind!r}, expected one of {', '.join(MODELS)}")
    cls = MODELS[kind]
    names = {field.name for field in dataclasses.fields(cls.CONFIG)}
    if not isinstance(architecture, Mapping):
        raise CheckpointError(f"{where}: architecture {architecture!r}, expected an object")
    if unknown := sorted(set(architecture) - names):
        raise CheckpointError(f"{where}: unknown architecture keys {', '.join(unknown)}")
    try:
        return cls(cls.CONFIG(**architecture))
    except (TypeError, ValueError, RuntimeError) as error:  # a width of -1, a word for a number
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{where}: no network has the architecture {dict(architecture)} ({reason})") from None


def _check_frontends(folder: Path, network: Model, stored: Mapping[str, Any]) -> None:
    try:
        read = {role: config_from_dict(values) for role, values in stored.items()}
    except (FrontEndError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from None
    for role, config in network.FRONTENDS.items():
        if read.get(role) != config:
            raise CheckpointError(f"{folder}: its {role} front end is not the one of {network.KIND} ({config})")


def _check_weights(path: Path, network: Model, weights: Mapping[str, Tensor]) -> None:
    expected = weights_of(network)
    if missing := sorted(set(expected) - set(weights)):
        raise CheckpointError(f"{path}: lacks the tensor {missing[0]}")
    if unknown := sorted(set(weights) - set(expected)):
        raise CheckpointError(f"{path}: holds an unknown tensor {unknown[0]}")
    for key, value in weights.items():
        if value.shape != expected[key].shape:
            raise CheckpointError(
                f"{path}: {key} has shape {tuple(value.shape)}, expected {tuple(expected[key].shape)}"
            )
        if value.dtype != expected[key].dtype:
            raise CheckpointError(f"{path}: {key} is {value.dtype}, expected {expected[key].dtype}")
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {key} holds NaN or infinite values")


def _canonical(values: Any) -> str:
    return json.dumps(values, sort_keys=True)
