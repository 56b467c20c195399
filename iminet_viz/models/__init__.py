"""The family of models: one file each, found here by kind."""

from iminet_viz.models._model import Model, Searcher, Siamese
from iminet_viz.models._tower import ConvSpec, ReceptiveField, Tower
from iminet_viz.models.aligned import Aligned, AlignedNet
from iminet_viz.models.iminet import Iminet
from iminet_viz.models.imisound import Imisound
from iminet_viz.models.joint import JointNet
from iminet_viz.models.recurrent import RecurrentIminet
from iminet_viz.models.tl_iminet import LanguageTower, SoundTower, TLIminet

MODELS: dict[str, type[Model]] = {
    cls.KIND: cls
    for cls in (TLIminet, LanguageTower, SoundTower, Iminet, Imisound, RecurrentIminet, AlignedNet, JointNet)
}

__all__ = [
    "MODELS",
    "Aligned",
    "AlignedNet",
    "ConvSpec",
    "Iminet",
    "Imisound",
    "JointNet",
    "LanguageTower",
    "Model",
    "ReceptiveField",
    "RecurrentIminet",
    "Searcher",
    "Siamese",
    "SoundTower",
    "TLIminet",
    "Tower",
]
