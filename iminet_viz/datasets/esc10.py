"""ESC-10: ten classes of environmental sounds in five official folds, the material of the sound tower."""

from __future__ import annotations

from pathlib import Path

from iminet_viz.datasets._table import Clip, read_table
from iminet_viz.errors import DatasetError

NAME = "esc10"
LICENCE = "CC BY 3.0 (the Creative Commons Attribution subset of ESC-50)"
CITATION = "K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015"
N_FOLDS = 5


def load(root: Path) -> list[Clip]:
    """List the clips; the label is the name of the class ("Dog_bark").

    Raises:
        DatasetError: the table or a file is missing, or a fold is not 1 to 5.
    """
    clips = []
    for row in read_table(root, ("file", "label", "fold")):
        if row["fold"] not in {"1", "2", "3", "4", "5"}:
            raise DatasetError(f"{root / 'metadata.csv'}: {row['file']} has fold {row['fold']!r}, expected 1 to 5")
        label = row["label"].split("_-_")[-1]  # "001_-_Dog_bark"
        clips.append(Clip(root / row["file"], label, collection=row["fold"], fold=int(row["fold"])))
    return clips
