"""Look into and listen to networks that search sounds by vocal imitation (IMINET, TL-IMINET)."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("iminet-viz")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0.1.0"

# Public name -> module that holds it (":name" where it is called otherwise there); loaded on first use, so that
# `import iminet_viz` and --help stay instant.
_EXPORTS = {
    "load_model": "checkpoint",
    "untrained_model": "checkpoint",
    "load_audio": "audio",
    "save_audio": "audio",
    "maximize": "patterns.engine",
    "maximize_many": "patterns.engine",
    "EngineConfig": "patterns.engine",
    "Pattern": "patterns.engine",
    "Evidence": "patterns.evidence",
    "assess": "assessment",
    "study_pairs": "patterns.pair_evidence",
    "open_index": "retrieval",
    "plot_pattern": "plotting",
    "explain_match": "attribution",
    "plot_explanation": "plotting",
    "compare": "comparison",
    "Comparison": "comparison",
    "CompareSettings": "comparison",
    "sonify": "sonification:sonify_pattern",
    "IminetVizError": "errors",
}
_MODULES = ("frontends", "evaluation", "training", "gallery")

__all__ = [*_EXPORTS, "__version__", "objectives"]


def __getattr__(name: str) -> Any:
    if name == "objectives":
        return import_module("iminet_viz.patterns.objectives")
    if name in _EXPORTS:
        module, _, own_name = _EXPORTS[name].partition(":")
        return getattr(import_module(f"iminet_viz.{module}"), own_name or name)
    if name in _MODULES:
        return import_module(f"iminet_viz.{name}")
    raise AttributeError(f"module 'iminet_viz' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
