"""What the data sets share: clips, pairs, and a checked reading of their tables.

A data set reads its folder once, in ``survey(root, complain)``, and says what is wrong with it to ``complain``.
``load`` passes :func:`refuse`, so that the first fault is an error; ``iminet_viz.datasets.check`` passes a list, so
that all are named. What is refused and what is named can so never differ.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import math
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from iminet_viz.audio import SUFFIXES, why_no_sound
from iminet_viz.errors import DatasetError


@dataclasses.dataclass(frozen=True)
class Clip:
    """One sound file with what its table says of it."""

    path: Path
    label: str
    collection: str = ""  # clips of one collection share microphones, codecs, speakers
    fold: int = 0  # official fold of a cross-validation; 0 = none
    speaker: str = ""  # empty = not known


@dataclasses.dataclass(frozen=True)
class Pair:
    """A vocal imitation and the recording that its maker heard, or that a table names as a right answer.

    An imitation with several right answers stands in several pairs.
    """

    imitation: Path
    recording: Path
    chain: str  # pairs of one chain go back to the same first sound; nothing is shared between chains
    subtree: str  # the first imitation of the chain that this pair descends from
    category: str = ""  # the group within which the recording is searched
    speaker: str = ""  # who made the imitation; empty = not known


Item = TypeVar("Item", Clip, Pair)
Complain = Callable[[Path, str], None]
Row = tuple[int, dict[str, str]]  # number of the row, the first below the header being 1, and its cells


@dataclasses.dataclass
class Survey(Generic[Item]):
    """What the folder of a data set should hold."""

    items: list[Item] = dataclasses.field(default_factory=list)
    files: dict[Path, str] = dataclasses.field(default_factory=dict)  # what must be there, and its label or subset
    spare: set[Path] = dataclasses.field(default_factory=set)  # what tables name, and ``load`` need not use
    doubts: list[tuple[Path, str]] = dataclasses.field(default_factory=list)  # a check names them, ``load`` goes on
    notes: list[str] = dataclasses.field(default_factory=list)  # what was left out by rule, and how much
    told: dict[Path, tuple[float, float]] = dataclasses.field(default_factory=dict)  # s and Hz, NaN where not told

    def absent(self) -> list[Path]:
        """Files that must be there and are not."""
        return [file for file in self.files if not file.is_file()]


def refuse(path: Path, reason: str) -> None:
    """Raise a DatasetError: what ``load`` does with a fault."""
    raise DatasetError(f"{path}: {reason}")


def require_files(survey: Survey[Item], root: Path, table: Path) -> None:
    """Refuse a folder in which files are missing.

    Raises:
        DatasetError: says how many of how many are missing and names the first.
    """
    if absent := survey.absent():
        first = absent[0].relative_to(root) if absent[0].is_relative_to(root) else absent[0]
        raise DatasetError(f"{table}: {len(absent)} of {len(survey.files)} files are not there, the first is {first}")


def read_rows(
    path: Path,
    columns: tuple[str, ...],
    complain: Complain,
    key: str | None,
    refused: Callable[[dict[str, str]], object],
    doubt: Complain | None = None,
) -> list[Row]:
    """Read a table with its header, UTF-8 with or without a byte order mark.

    Args:
        path: the table; its lines may end as on any system.
        columns: those that each row must have; others are kept as they are.
        complain: told of a missing table or column, of text that is not UTF-8, a table without rows, a row that ends
            early or goes on beyond the columns, whose quotation marks do not match or whose cell is longer than any
            name can be, and a key that is empty or repeated.
        key: the column that tells rows apart; None where rows may repeat.
        refused: told the columns of each row with a fault, empty where there is nothing: a file may be named there.
        doubt: told of a repeated key instead of ``complain``; the row is kept.

    Returns:
        The rows without fault; none if the table as a whole cannot be read.
    """
    if not path.is_file():
        complain(path, f"no such table; is {path.parent} the folder of the data set?")
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            text = file.read()
        if "\0" in text:  # of a disk that lost what it had; a path cannot hold it
            raise csv.Error("it holds a NUL")
    except (csv.Error, UnicodeDecodeError) as error:
        complain(path, f"not a table ({error})")
        return []
    (header, quoting), *lines = _split(text) or [([], "")]
    if quoting:
        complain(path, f"the header {quoting}")
    if missing := [column for column in columns if column not in header]:
        complain(path, f"the table lacks the columns {', '.join(missing)}")
        return []
    if not lines:
        complain(path, "the table has no rows")
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for number, (cells, fault) in enumerate(lines, start=1):
        row = dict(zip(header, cells, strict=False))
        long = [column for column in columns if _is_too_long(row.get(column, ""))]
        if fault:
            pass
        elif short := [column for column in columns if column not in row]:
            fault = f"ends before the column {short[0]}"
        elif len(cells) > len(header):  # a comma without quotes has moved the cells behind it
            fault = f"has {len(cells)} cells, the table {len(header)} columns"
        elif long:
            fault = f"has a {long[0]} of {len(row[long[0]]):,} characters, more than any name can have"
        elif key is not None and not row[key]:
            fault = f"has an empty {key}"
        elif key is not None and (first := seen.setdefault(row[key], number)) != number:
            fault = f"repeats the {key} {row[key]!r} of row {first}"
            if doubt is not None:
                doubt(path, f"row {number} {fault}")
                fault = ""
        if fault:
            complain(path, f"row {number} {fault}")
            refused({column: "" if column in long else row.get(column, "") for column in columns})
        else:
            rows.append((number, row))
    return rows


def _split(text: str) -> list[tuple[list[str], str]]:
    """The rows of a table as cells, and what is wrong with their quotation marks.

    A mark that is never closed would make one cell of the rest of the table: such a row ends with its line.
    """
    lines = list(io.StringIO(text, newline=""))
    rows: list[tuple[list[str], str]] = []
    start = 0
    while start < len(lines):
        reader = csv.reader(itertools.islice(lines, start, None), strict=True)
        done = 0
        try:
            for cells in reader:
                if cells:  # no empty line
                    rows.append((cells, ""))
                done = reader.line_num
        except csv.Error:
            start += done
            cells = lines[start].replace('"', "").rstrip("\r\n").split(",")
            rows.append((cells, 'has a quotation mark (") that does not enclose a cell'))
            start += 1
        else:
            break
    return rows


def _is_too_long(cell: str) -> bool:
    """Tell whether a cell is longer than a name in a file system, or a path, can be."""
    size = len(cell.encode())
    return size > 255 and (size > 2_000 or max(len(part.encode()) for part in re.split(r"[/\\]", cell)) > 255)


def read_metadata(
    root: Path,
    columns: tuple[str, ...],
    complain: Complain,
    found: Survey[Item],
) -> list[dict[str, str]]:
    """Read ``metadata.csv``, whose column ``file`` holds paths below ``root``; what is not below it is a fault.

    A file that is named twice is a doubt: six rows of ``speech-lid`` are, and models were trained on them; the last row
    tells its length. The files of rows with a fault are added to the spare ones.
    """
    table = root / "metadata.csv"
    rows = read_rows(
        *(table, columns, complain, "file"),
        refused=lambda cells: found.spare.add(root / cells["file"]),
        doubt=lambda path, reason: found.doubts.append((path, reason)),
    )
    rows = [row for row in rows if is_below(table, row, "file", complain)]
    for row in rows:
        seconds, rate = (read_number(table, row, column, found) for column in ("seconds", "rate"))
        found.told[root / row[1]["file"]] = seconds, rate
    return [cells for _, cells in rows]


def read_number(table: Path, row: Row, column: str, found: Survey[Item]) -> float:
    """Read a number from a column that a table need not have: NaN if it is not told, or is none, which is a doubt."""
    text = row[1].get(column, "")
    try:
        number = float(text or "nan")
    except ValueError:
        number = math.inf
    if not math.isinf(number):
        return number
    found.doubts.append((table, f"row {row[0]} has {column} {text!r}, expected a number"))
    return math.nan


def note_missing_rows(found: Survey[Item], published: int) -> None:
    """Note that a table names fewer clips than the published one: a part is legal, and may not be meant."""
    if found.items and len(found.items) < published:
        found.notes.append(f"the table names {len(found.items):,} of the {published:,} clips that were published")


def is_below(table: Path, row: Row, column: str, complain: Complain) -> bool:
    """Tell whether a cell holds a path below the data set's folder; a published table has no business elsewhere."""
    path = PurePosixPath(row[1][column].replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        complain(table, f"row {row[0]} points outside of the data set ({row[1][column]})")
        return False
    return True


def sound_file(path: Path) -> Path:
    """The file that a table names, or its FLAC copy if only that is there: collections are often kept so."""
    copy = path.with_suffix(".flac")
    # not Path.is_file, which raises where ".flac" makes a name too long
    return copy if path != copy and not path.is_file() and os.path.isfile(copy) else path  # noqa: PTH113


def is_true(table: Path, row: Row, column: str, complain: Complain) -> bool | None:
    """Read a cell that holds True or False; None if it holds anything else, which is a fault."""
    text = row[1][column]
    if text not in {"True", "False"}:
        complain(table, f"row {row[0]} has {column} {text!r}, expected True or False")
        return None
    return text == "True"


def real_path(path: Path) -> Path:
    """A path without links; ``Path.resolve`` raises where links form a circle."""
    return Path(os.path.realpath(path))


def find_sounds(root: Path) -> tuple[list[Path], list[tuple[Path, str]], list[str]]:
    """All sound files below a folder that are not hidden, sorted, those in linked folders too.

    None if ``root`` is a file: a table's files may lie anywhere.

    Returns:
        The files; what may have been meant as a sound, and why it is none; and a note on each folder that was not
        walked: one that was walked under another name, a link that leads back to a folder around itself or around
        ``root``, and one that cannot be opened.
    """
    found: list[Path] = []
    passed_over: list[tuple[Path, str]] = []
    notes: list[str] = []
    seen: set[Path] = set()
    top = real_path(root)
    folders = [root] if root.is_dir() else []
    links: list[Path] = []
    while folders or links:
        is_link = not folders  # last, so that a file has its true path if that lies below root, too
        folder = links.pop(0) if is_link else folders.pop()
        name, target = folder.relative_to(root).as_posix(), real_path(folder)
        if is_link and (top.is_relative_to(target) or real_path(folder.parent).is_relative_to(target)):
            notes.append(f"the linked folder {name!r} is not walked: it leads back to a folder around it")
            continue
        if target in seen:
            notes.append(f"the linked folder {name!r} is not walked: its files are known under another path")
            continue
        seen.add(target)
        try:
            with os.scandir(folder) as entries:
                inside = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            notes.append(f"the folder {name!r} is not walked: it cannot be opened ({error.strerror})")
            continue
        for entry in inside:
            path = folder / entry.name
            if reason := why_no_sound(path):
                passed_over.append((path, reason))
            elif path.is_dir():
                (links if entry.is_symlink() else folders).append(path)
            elif path.suffix.lower() in SUFFIXES:
                found.append(path)
    return sorted(found), passed_over, notes
