"""The family of data sets: one file each, with NAME, LICENCE, CITATION, SOURCE, RATES, ``load`` and ``survey``.

``load(root)`` lists clips or pairs and refuses a folder with a fault; ``survey(root, complain)`` is the same reading,
which goes on and tells every fault to ``complain`` (:func:`check`). ``SOURCE`` is where the publisher's archive lies
(:func:`download`), or a sentence that says why it must be fetched by hand. ``RATES`` are the lowest and the highest
rate in Hz that its files can have.
"""

from types import ModuleType

from iminet_viz.datasets import (
    class_folder,
    demo,
    esc10,
    esc50,
    pairs_table,
    speech_lid,
    telephone,
    urbansound8k,
    vocalsketch,
    voxforge,
)
from iminet_viz.datasets._check import CheckReport, Fault, check
from iminet_viz.datasets._download import Remote, archive_stem, download, unpack
from iminet_viz.datasets._table import Clip, Pair
from iminet_viz.errors import DatasetError

DATASETS: dict[str, ModuleType] = {
    module.NAME: module
    for module in (
        esc10,
        speech_lid,
        telephone,
        vocalsketch,
        urbansound8k,
        voxforge,
        esc50,
        pairs_table,
        class_folder,
        demo,
    )
}


def find_dataset(name: str) -> ModuleType:
    """The data set of a name.

    Raises:
        DatasetError: there is none; the message lists the names.
    """
    if name not in DATASETS:
        raise DatasetError(f"no data set {name!r}, expected one of {', '.join(DATASETS)}")
    return DATASETS[name]


__all__ = [
    "DATASETS",
    "CheckReport",
    "Clip",
    "Fault",
    "Pair",
    "Remote",
    "archive_stem",
    "check",
    "download",
    "find_dataset",
    "unpack",
]
