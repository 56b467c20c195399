"""The family of models: one file each, found here by kind."""

from iminet_viz.models._tower import ConvSpec, ReceptiveField, Tower
from iminet_viz.models.tl_iminet import LanguageTower, SoundTower, TLIminet

Model = TLIminet | LanguageTower | SoundTower

MODELS: dict[str, type[Model]] = {cls.KIND: cls for cls in (TLIminet, LanguageTower, SoundTower)}

__all__ = ["MODELS", "ConvSpec", "LanguageTower", "Model", "ReceptiveField", "SoundTower", "TLIminet", "Tower"]
