"""The family of data sets: one file each, with NAME, LICENCE, CITATION and ``load(root)``."""

from types import ModuleType

from iminet_viz.datasets import esc10, speech_lid, telephone
from iminet_viz.datasets._table import Clip, Pair

DATASETS: dict[str, ModuleType] = {module.NAME: module for module in (esc10, speech_lid, telephone)}

__all__ = ["DATASETS", "Clip", "Pair"]
