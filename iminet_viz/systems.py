"""What is compared: the paper's systems, those beyond it, untrained baselines, fusions, and the paper's figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from iminet_viz.autoencoder import AutoencoderRecipe
from iminet_viz.baselines import BASELINES
from iminet_viz.contrastive import RECIPES as CONTRASTIVE
from iminet_viz.contrastive import AlignedView, ContrastiveRecipe, TowerView, View
from iminet_viz.models import AlignedNet, Iminet, Imisound, Model, RecurrentIminet, TLIminet
from iminet_viz.models.iminet import IminetConfig
from iminet_viz.models.recurrent import RecurrentConfig
from iminet_viz.models.tl_iminet import TLIminetConfig
from iminet_viz.training import RECIPES as PAIRS
from iminet_viz.training import Recipe

# What a network sees, shared by all that see the same: the paper's front ends, and the aligned net's.
VIEWS: dict[str, Callable[[], View]] = {
    "constant-q": lambda: TowerView(None, 80.0, Iminet.FRONTENDS),
    "log-mel": lambda: TowerView(None, 80.0, TLIminet.FRONTENDS),
    "frames": AlignedView,
}


AnyRecipe = Recipe | ContrastiveRecipe | AutoencoderRecipe


@dataclasses.dataclass(frozen=True)
class System:
    """One system: what it sees, its network, how it is trained; an untrained baseline has none of these."""

    view: str = ""
    build: Callable[[], Model] | None = None
    recipe: AnyRecipe | None = None
    epoch_s: float = 1.0  # about what an epoch takes on one core, for the time left


def _tl_iminet() -> Model:
    return TLIminet(TLIminetConfig(batch_norm=True))


def _pretrained(layers: int) -> System:
    recipe = dataclasses.replace(PAIRS["tl-iminet"], held_out=())
    if layers:
        recipe = dataclasses.replace(
            recipe, pretrained_layers=layers, imitation_from="language-tower", recording_from="sound-tower"
        )
    return System("log-mel", _tl_iminet, recipe, 20.0)


def _iminet(tying: str) -> System:
    recipe = Recipe(
        model="iminet", epochs=200, optimizer="adam", learning_rate=1e-3, decay=0.0, patience=5, precision="32"
    )
    return System("constant-q", lambda: Iminet(IminetConfig(tying=tying)), recipe, 3.0)


def _recurrent() -> Model:
    return RecurrentIminet(RecurrentConfig(batch_norm=True))


# An epoch of in-batch softmax draws each sound once, one of pairs all its imitations: 200 epochs are 400 updates, as 30
# of pairs are 420.
SOFTMAX = dataclasses.replace(CONTRASTIVE["tl-iminet"], epochs=200, batch_size=60, within_category=True)
ALIGNED = dataclasses.replace(CONTRASTIVE["aligned"], epochs=100, batch_size=60)
SYSTEMS: dict[str, System] = {
    "imisound": System("constant-q", Imisound, AutoencoderRecipe(), 3.0),
    "iminet-untied": _iminet("untied"),
    "iminet-partial": _iminet("partial"),
    "iminet-tied": _iminet("tied"),
    "tl-iminet-scratch": _pretrained(0),
    "tl-iminet-conv1": _pretrained(1),
    "tl-iminet-conv12": _pretrained(2),
    "tl-iminet-conv123": _pretrained(3),
    "tl-iminet-softmax": System("log-mel", _tl_iminet, SOFTMAX, 1.6),
    "tl-iminet-gru": System("log-mel", _recurrent, Recipe(model="recurrent", batch_norm=True), 6.0),
    "tl-iminet-gru-softmax": System("log-mel", _recurrent, SOFTMAX, 0.8),
    "aligned": System("frames", AlignedNet, ALIGNED, 0.4),
    **{name: System() for name in BASELINES},
}
IMINETS = ("iminet-untied", "iminet-partial", "iminet-tied")
TL_IMINETS = tuple(f"tl-iminet-{name}" for name in ("scratch", "conv1", "conv12", "conv123"))
# Products of likelihoods (paper, eq. 2, 4 and 5), by name.
PRODUCTS: dict[str, tuple[str, ...]] = {
    "iminet-all": IMINETS,
    **{f"{name}+imisound": (name, "imisound") for name in IMINETS},
    "iminet-all+imisound": (*IMINETS, "imisound"),
    **{f"{name}+imisound": (name, "imisound") for name in TL_IMINETS},
}
# Sums of standardised scores, the weight chosen on the validation pairs; these are not in the paper.
WEIGHTED = {
    "aligned+dtw": ("aligned", "dtw"),
    "tl-iminet-conv123+dtw": ("tl-iminet-conv123", "dtw"),
    "tl-iminet-softmax+aligned": ("tl-iminet-softmax", "aligned"),
}
WEIGHTS = tuple(number / 10 for number in range(11))  # of the first; 1 less that of the second

PAPER = {  # Table I: AI, CS, ED, SS
    "imisound": (0.425, 0.311, 0.126, 0.373),
    "iminet-untied": (0.377, 0.318, 0.154, 0.325),
    "iminet-partial": (0.384, 0.304, 0.154, 0.340),
    "iminet-tied": (0.401, 0.327, 0.158, 0.380),
    "iminet-all": (0.438, 0.343, 0.175, 0.382),
    "tl-iminet-scratch": (0.397, 0.309, 0.225, 0.377),
    "tl-iminet-conv1": (0.412, 0.328, 0.227, 0.399),
    "tl-iminet-conv12": (0.432, 0.325, 0.225, 0.404),
    "tl-iminet-conv123": (0.462, 0.349, 0.246, 0.390),
    "iminet-untied+imisound": (0.470, 0.356, 0.168, 0.402),
    "iminet-partial+imisound": (0.496, 0.346, 0.173, 0.417),
    "iminet-tied+imisound": (0.504, 0.355, 0.171, 0.452),
    "iminet-all+imisound": (0.520, 0.371, 0.188, 0.447),
    "tl-iminet-scratch+imisound": (0.490, 0.339, 0.199, 0.429),
    "tl-iminet-conv1+imisound": (0.513, 0.352, 0.198, 0.441),
    "tl-iminet-conv12+imisound": (0.519, 0.353, 0.209, 0.429),
    "tl-iminet-conv123+imisound": (0.534, 0.367, 0.218, 0.413),
}
FIGURE_6 = ("imisound", "iminet-tied", "tl-iminet-conv123", "iminet-tied+imisound", "tl-iminet-conv123+imisound")
# First over second: the paper's (section VI-E), then ours.
COMPARISONS = (
    ("iminet-tied", "imisound"),
    ("iminet-all", "iminet-tied"),
    ("tl-iminet-scratch", "imisound"),
    ("tl-iminet-conv123", "imisound"),
    ("tl-iminet-conv123", "tl-iminet-scratch"),
    *((f"{name}+imisound", name) for name in (*IMINETS, *TL_IMINETS)),
    ("tl-iminet-softmax", "tl-iminet-scratch"),
    ("tl-iminet-gru", "tl-iminet-scratch"),
    ("tl-iminet-gru-softmax", "tl-iminet-softmax"),
    ("aligned", "tl-iminet-conv123"),
    ("aligned", "dtw"),
    ("aligned+dtw", "dtw"),
)
