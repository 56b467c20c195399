"""ESC-10: ten classes of environmental sounds in five official folds, the material of the sound tower.

Two layouts are read: a folder with ``metadata.csv`` (file, label, fold), and the published ESC-50, of which ESC-10 is
the part with ``esc10`` True. The labels are the same in both, so that a model can be measured on either.
"""

from __future__ import annotations

from pathlib import Path

from iminet_viz.datasets import esc50
from iminet_viz.datasets._table import Clip, Complain, Survey, read_metadata, refuse, require_files

NAME = "esc10"
LICENCE = "CC BY 3.0 (the Creative Commons Attribution subset of ESC-50)"
CITATION = "K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015"
SOURCE = esc50.SOURCE  # published as a part of ESC-50
RATES = (44_100, 44_100)
N_FOLDS = 5
# category in ESC-50 -> name of the class in ESC-10 as it was published first
LABELS = {
    "dog": "Dog_bark",
    "rain": "Rain",
    "sea_waves": "Sea_waves",
    "crying_baby": "Baby_cry",
    "clock_tick": "Clock_tick",
    "sneezing": "Person_sneeze",
    "helicopter": "Helicopter",
    "chainsaw": "Chainsaw",
    "rooster": "Rooster",
    "crackling_fire": "Fire_crackling",
}


def load(root: Path) -> list[Clip]:
    """List the clips; the label is the name of the class ("Dog_bark").

    Raises:
        DatasetError: the table or a file is missing, or a fold is not 1 to 5.
    """
    survey_ = survey(root, refuse)
    require_files(survey_, root, root / (esc50.TABLE if _is_published(root) else "metadata.csv"))
    return survey_.items


def survey(root: Path, complain: Complain) -> Survey[Clip]:
    """Read the table; an unknown class is a doubt, since a smaller or larger set of this layout can be trained on."""
    if _is_published(root):
        return _survey_published(root, complain)
    found = Survey[Clip]()
    table = root / "metadata.csv"
    for row in read_metadata(root, ("file", "label", "fold"), complain, found):
        path = root / row["file"]
        label = row["label"].split("_-_")[-1]  # "001_-_Dog_bark"
        if row["fold"] not in {"1", "2", "3", "4", "5"}:
            complain(table, f"{row['file']} has fold {row['fold']!r}, expected 1 to 5")
            found.spare.add(path)
            continue
        if label not in LABELS.values():
            found.doubts.append((path, f"its label {row['label']!r} is none of ESC-10"))
        found.files[path] = label
        found.items.append(Clip(path, label, collection=row["fold"], fold=int(row["fold"])))
    return found


def _is_published(root: Path) -> bool:
    return not (root / "metadata.csv").is_file() and (root / esc50.TABLE).is_file()


def _survey_published(root: Path, complain: Complain) -> Survey[Clip]:
    """ESC-10 within ESC-50; the other forty classes may be there or not."""
    whole = esc50.survey(root, complain)
    found = Survey[Clip](spare=whole.spare, doubts=whole.doubts, notes=whole.notes, told=whole.told)
    for clip in whole.items:
        if clip.label in LABELS:
            found.files[clip.path] = LABELS[clip.label]
            found.items.append(Clip(clip.path, LABELS[clip.label], clip.collection, clip.fold))
        else:
            found.spare.add(clip.path)
    found.notes.append(f"{len(found.items)} of the {len(whole.items)} clips of ESC-50 belong to ESC-10")
    return found
