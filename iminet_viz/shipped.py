"""Folders of models as files: where they lie, their names, and their JSON. Reads no weights and loads no torch."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

from iminet_viz.errors import CheckpointError

FORMAT = 1
FUSION = "fusion"  # the kind of a folder that names parts
DEFAULT_SEARCH = "voice-search"  # what searches where nothing else is asked for; "default" names it too
REFERENCES = "reference.safetensors"  # activations on real clips, see patterns/evidence.py
SHIPPED = Path(__file__).resolve().parent.parent / "trained_models"


def find_model(name: str | os.PathLike[str]) -> Path:
    """Find a model's folder by its path or its shipped name.

    Raises:
        CheckpointError: there is none; the message lists the shipped names.
    """
    for folder in (Path(name), SHIPPED / (DEFAULT_SEARCH if name == "default" else name)):
        if (folder / "config.json").is_file():
            return folder
    raise CheckpointError(
        f"no model {str(name)!r}, expected a folder with config.json or one of: {', '.join(shipped_models())}"
    )


@dataclasses.dataclass(frozen=True)
class Fusion:
    """Parts of a fusion with their weights: networks in folders within its own, and untrained baselines."""

    folder: Path
    networks: dict[str, float]
    untrained: dict[str, float]


def read_fusion(folder: Path) -> Fusion | None:
    """Read what a folder fuses; None of a folder with one network.

    Raises:
        CheckpointError: a key is unknown or missing, parts are no names with positive weights, or a network's folder
            is missing.
    """
    config = read_json(folder / "config.json")
    if config.get("kind") != FUSION:
        return None
    expected = {"format", "kind", "networks", "untrained", "data"}
    if odd := sorted(expected ^ set(config)):
        raise CheckpointError(f"{folder / 'config.json'}: {', '.join(odd)}: expected {', '.join(sorted(expected))}")
    if config["format"] != FORMAT:
        raise CheckpointError(f"{folder}: format {config['format']!r}, this version reads {FORMAT}")
    parts = []
    for kind in ("networks", "untrained"):
        own = config[kind]
        if not isinstance(own, dict) or not all(map(_is_part, own, own.values())):
            raise CheckpointError(f"{folder / 'config.json'}: {kind} {own!r}, expected names with positive weights")
        parts.append(dict(own))
    if not parts[0] and not parts[1]:
        raise CheckpointError(f"{folder / 'config.json'}: fuses nothing")
    if missing := [name for name in parts[0] if not (folder / name / "config.json").is_file()]:
        raise CheckpointError(f"{folder}: holds no network {missing[0]!r}, which its config.json names")
    return Fusion(folder, *parts)


def _is_part(name: str, weight: Any) -> bool:
    number = isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight < math.inf
    return number and Path(name).name == name and name not in ("", "..")  # nothing outside the folder


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/config.json"))


def name_of(folder: Path) -> str:
    """Name of a model's folder: of one that comes with the package below these."""
    folder = folder.resolve()
    return str(folder.relative_to(SHIPPED)) if folder.is_relative_to(SHIPPED) else folder.name


def write_json(path: Path, content: Any) -> None:
    """Write JSON with two-space indentation; the file appears whole or not at all, and never with NaN."""
    from iminet_viz.audio import atomic_path  # loads numpy

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: the file is missing or is not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return content
