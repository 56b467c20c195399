"""What the data sets share: clips, pairs, and a checked reading of their tables."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

from iminet_viz.errors import DatasetError


@dataclasses.dataclass(frozen=True)
class Clip:
    """One sound file with what its table says of it."""

    path: Path
    label: str
    collection: str = ""  # clips of one collection share microphones, codecs, speakers
    fold: int = 0  # official fold of a cross-validation; 0 = none


@dataclasses.dataclass(frozen=True)
class Pair:
    """A vocal imitation and the recording that its maker heard."""

    imitation: Path
    recording: Path
    chain: str  # pairs of one chain go back to the same first sound
    subtree: str  # the first imitation of the chain that this pair descends from


def read_table(root: Path, columns: tuple[str, ...], name: str = "metadata.csv") -> list[dict[str, str]]:
    """Read a table of a data set, one dictionary a row.

    Raises:
        DatasetError: the table or a column is missing, it has no rows or a short one, or a file it names is not there.
    """
    path = root / name
    if not path.is_file():
        raise DatasetError(f"{path}: no such table; is {root} the folder of the data set?")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
                raise DatasetError(f"{path}: the table lacks the columns {', '.join(missing)}")
            rows = list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a table ({error})") from None
    if not rows:
        raise DatasetError(f"{path}: the table has no rows")
    for number, row in enumerate(rows, start=1):
        if short := [column for column in columns if row[column] is None]:
            raise DatasetError(f"{path}: row {number} ends before the column {short[0]}")
    absent = [row["file"] for row in rows if not (root / row["file"]).is_file()]
    if absent:
        raise DatasetError(f"{path}: {len(absent)} of {len(rows)} files are not there, the first is {absent[0]}")
    return rows
