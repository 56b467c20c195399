"""UrbanSound8K as published: ``metadata/UrbanSound8K.csv`` and ``audio/fold1`` to ``audio/fold10``.

8,732 clips of at most 4 s in ten classes. The folds are official: clips cut from one recording lie in one fold, so
a random split would leak, and figures of other splits cannot be compared.
"""

from __future__ import annotations

import math
from pathlib import Path

from iminet_viz.datasets._download import Remote
from iminet_viz.datasets._table import (
    Clip,
    Complain,
    Survey,
    is_below,
    note_missing_rows,
    read_number,
    read_rows,
    refuse,
    require_files,
    sound_file,
)

NAME = "urbansound8k"
LICENCE = "CC BY-NC 3.0 (its own text; the Zenodo record says CC BY-NC 4.0)"
CITATION = "J. Salamon, C. Jacoby, J. P. Bello, A Dataset and Taxonomy for Urban Sound Research, ACM Multimedia 2014"
SOURCE = Remote(
    url="https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz?download=1",
    file_name="UrbanSound8K.tar.gz",
    checksum="md5:9aa69802bbf37fb986f71ec1483a196e",
)
RATES = (8_000, 192_000)  # each clip keeps the rate of the recording that it was cut from
TABLE = "metadata/UrbanSound8K.csv"
N_FOLDS = 10
N_CLIPS = 8_732
# the place in this list is the column ``classID``
CLASSES = (
    *("air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling"),
    *("engine_idling", "gun_shot", "jackhammer", "siren", "street_music"),
)


def load(root: Path) -> list[Clip]:
    """List the clips; the label is the class ("dog_bark"), the fold the official one.

    Raises:
        DatasetError: the table, a column or a file is missing, a fold is not 1 to 10, or a class or its number is
            unknown or they differ.
    """
    survey_ = survey(root, refuse)
    require_files(survey_, root, root / TABLE)
    return survey_.items


def survey(root: Path, complain: Complain) -> Survey[Clip]:
    """Read ``metadata/UrbanSound8K.csv``; a name that says another recording or class than its row is a doubt."""
    found = Survey[Clip]()
    table = root / TABLE

    def spare(cells: dict[str, str]) -> None:  # a refused row names its file all the same, in whatever fold it lies
        folds = (root / "audio" / f"fold{number}" for number in range(1, N_FOLDS + 1))
        found.spare.update(sound_file(fold / cells["slice_file_name"]) for fold in folds)

    columns = ("slice_file_name", "fsID", "fold", "classID", "class")
    for row in read_rows(table, columns, complain, "slice_file_name", spare):
        if not is_below(table, row, "slice_file_name", complain):
            continue
        name, fold, label = row[1]["slice_file_name"], row[1]["fold"], row[1]["class"]
        if fold not in {str(number) for number in range(1, N_FOLDS + 1)}:
            complain(table, f"{name} has fold {fold!r}, expected 1 to {N_FOLDS}")
        elif label not in CLASSES:
            complain(table, f"{name} has the unknown class {label!r}")
        elif row[1]["classID"] != str(CLASSES.index(label)):
            complain(table, f"{name} has classID {row[1]['classID']!r}, expected {CLASSES.index(label)} for {label}")
        else:
            path = sound_file(root / "audio" / f"fold{fold}" / name)
            if name.split("-")[:2] != [row[1]["fsID"], row[1]["classID"]]:  # fsID-classID-occurrence-slice.wav
                expected = f"{row[1]['fsID']}-{row[1]['classID']}-..."
                found.doubts.append((path, f"its row says that its name is {expected}"))
            start, end = (read_number(table, row, column, found) for column in ("start", "end"))
            found.told[path] = end - start, math.nan
            found.files[path] = label
            found.items.append(Clip(path, label, collection=fold, fold=int(fold)))
            continue
        spare(row[1])
    note_missing_rows(found, N_CLIPS)
    return found
