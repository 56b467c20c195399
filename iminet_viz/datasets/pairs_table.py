"""A table of pairs for your own imitations and recordings: ``imitation,recording[,category][,speaker]``.

The table is a CSV file, or ``pairs.csv`` in a folder. Its paths are relative to the table, or absolute. Several rows
for one imitation mean several right answers. Other columns are ignored.
"""

from __future__ import annotations

import os
from pathlib import Path

from iminet_viz.datasets._table import Complain, Pair, Survey, read_rows, refuse, require_files

NAME = "pairs-table"
LICENCE = "that of your own recordings"
CITATION = "none: a layout for your own recordings"
SOURCE = "it is a layout for your own recordings: a table with the columns imitation and recording"
RATES = (8_000, 192_000)
COLUMNS = ("imitation", "recording")


def load(root: Path) -> list[Pair]:
    """List the pairs, in the order of the table; ``root`` is the table or its folder.

    Pairs that share an imitation or a recording, also by way of others, are of one chain: a split that holds out
    whole chains leaks neither. The subtree is the imitation.

    Raises:
        DatasetError: the table, a column or a file is missing, a row is repeated, pairs a file with itself, or
            contradicts another row of its imitation on the category or speaker.
    """
    survey_ = survey(root, refuse)
    require_files(survey_, _table(root).parent, _table(root))
    return survey_.items


def survey(root: Path, complain: Complain) -> Survey[Pair]:
    """Read the table."""
    table = _table(root)
    found = Survey[Pair]()
    rows = []
    first: dict[Path, tuple[int, str, str]] = {}
    pairs: dict[tuple[Path, Path], int] = {}

    def spare(row: dict[str, str]) -> None:  # a refused row names its files all the same
        found.spare.update(_locate(table, row[column]) for column in COLUMNS if row[column])

    for number, row in read_rows(table, COLUMNS, complain, None, spare):
        spare(row)
        if empty := [column for column in COLUMNS if not row[column]]:
            complain(table, f"row {number} has an empty {empty[0]}")
            continue
        imitation, recording = (_locate(table, row[column]) for column in COLUMNS)
        about = (row.get("category") or "").strip(), (row.get("speaker") or "").strip()
        said = first.setdefault(imitation, (number, *about))
        if (imitation, recording) in pairs:
            complain(table, f"row {number} repeats the pair of row {pairs[imitation, recording]}")
        elif imitation == recording:
            complain(table, f"row {number} pairs {row['imitation']} with itself")
        elif said[1:] != about:
            complain(table, f"row {number} gives {row['imitation']} another category or speaker than row {said[0]}")
        else:
            pairs[imitation, recording] = number
            rows.append((imitation, recording, *about))
    chains = _chains([(imitation, recording) for imitation, recording, _, _ in rows])
    for imitation, recording, category, speaker in rows:
        chain = chains[recording]
        found.files[imitation] = found.files[recording] = category
        found.items.append(Pair(imitation, recording, chain, f"{chain}/{imitation}", category, speaker))
    several = len(rows) - len({imitation for imitation, *_ in rows})
    if several:
        found.notes.append(f"{several} pairs name a further right answer for an imitation")
    return found


def _table(root: Path) -> Path:
    return root / "pairs.csv" if root.is_dir() else root


def _locate(table: Path, name: str) -> Path:
    """One path for one file, however a row writes it; links are not followed, since a link may be meant."""
    return Path(os.path.normpath(table.parent / name))


def _chains(pairs: list[tuple[Path, Path]]) -> dict[Path, str]:
    """Name the group of each file: files that pairs join, directly or by way of others."""
    parent: dict[Path, Path] = {}

    def root_of(path: Path) -> Path:
        parent.setdefault(path, path)
        while parent[path] != path:
            parent[path] = parent[parent[path]]
            path = parent[path]
        return path

    for imitation, recording in pairs:
        one, other = sorted((root_of(imitation), root_of(recording)))
        parent[other] = one
    return {path: str(root_of(path)) for path in list(parent)}
