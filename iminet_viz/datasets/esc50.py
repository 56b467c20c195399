"""ESC-50 as published: ``meta/esc50.csv`` and ``audio/``, 2,000 clips of 5 s in fifty classes and five folds."""

from __future__ import annotations

import math
import re
from pathlib import Path

from iminet_viz.datasets._download import Remote
from iminet_viz.datasets._table import (
    Clip,
    Complain,
    Survey,
    is_below,
    is_true,
    note_missing_rows,
    read_rows,
    refuse,
    require_files,
    sound_file,
)

NAME = "esc50"
LICENCE = "CC BY-NC 3.0 (its ESC-10 part: CC BY 3.0)"
CITATION = "K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015"
COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"
SOURCE = Remote(
    url=f"https://github.com/karolpiczak/ESC-50/archive/{COMMIT}.zip",
    file_name=f"ESC-50-{COMMIT[:7]}.zip",
    # GitHub packs this archive anew from time to time, so its own checksum does not last: public projects give five
    # different ones. The table's is the same in all of them, and each file in a zip carries its CRC-32.
    checksum="",
    contents={"meta/esc50.csv": "md5:54a0d0055a10bb7df84ad340a148722e"},
)
RATES = (44_100, 44_100)
TABLE = "meta/esc50.csv"
N_FOLDS = 5
N_CLIPS = 2_000
CLIP_S = 5.0
# the place in this list is the column ``target``
CATEGORIES = (
    *("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow"),
    *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds"),
    *("water_drops", "wind", "pouring_water", "toilet_flush", "thunderstorm"),
    *("crying_baby", "sneezing", "clapping", "breathing", "coughing"),
    *("footsteps", "laughing", "brushing_teeth", "snoring", "drinking_sipping"),
    *("door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening"),
    *("washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking"),
    *("helicopter", "chainsaw", "siren", "car_horn", "engine"),
    *("train", "church_bells", "airplane", "fireworks", "hand_saw"),
)
_NAME = re.compile(r"(\d+)-\d+-[A-Z]+-(\d+)\.\w+")  # FOLD-CLIP-TAKE-TARGET.wav


def load(root: Path) -> list[Clip]:
    """List the clips; the label is the category ("dog"), the fold the official one.

    Raises:
        DatasetError: the table, a column or a file is missing, a fold is not 1 to 5, a category or target is unknown
            or they differ, or a file's name says another fold or target than its row.
    """
    survey_ = survey(root, refuse)
    require_files(survey_, root, root / TABLE)
    return survey_.items


def survey(root: Path, complain: Complain) -> Survey[Clip]:
    """Read ``meta/esc50.csv``."""
    found = Survey[Clip]()
    table = root / TABLE

    def spare(cells: dict[str, str]) -> None:
        found.spare.add(sound_file(root / "audio" / cells["filename"]))

    for row in read_rows(table, ("filename", "fold", "target", "category", "esc10"), complain, "filename", spare):
        if not is_below(table, row, "filename", complain):
            continue
        name, fold, target = row[1]["filename"], row[1]["fold"], row[1]["target"]
        category = row[1]["category"]
        named = _NAME.fullmatch(name)
        if fold not in {"1", "2", "3", "4", "5"}:
            complain(table, f"{name} has fold {fold!r}, expected 1 to 5")
        elif category not in CATEGORIES:
            complain(table, f"{name} has the unknown category {category!r}")
        elif target != str(CATEGORIES.index(category)):
            complain(table, f"{name} has target {target!r}, expected {CATEGORIES.index(category)} for {category}")
        elif named and named[1] != fold:
            complain(table, f"{name} has fold {fold}, its name says {named[1]}: folds must stay the official ones")
        elif named and named[2] != target:
            complain(table, f"{name} has target {target}, its name says {named[2]}")
        elif is_true(table, row, "esc10", complain) is not None:
            path = sound_file(root / "audio" / name)
            found.files[path] = category
            found.told[path] = CLIP_S, math.nan
            found.items.append(Clip(path, category, collection=fold, fold=int(fold)))
            continue
        spare(row[1])
    note_missing_rows(found, N_CLIPS)
    return found
