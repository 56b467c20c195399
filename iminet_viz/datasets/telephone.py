"""Telephone game imitations: pairs of a vocal imitation and the recording that its maker heard.

Generation 1 imitates the first sound of a chain, generation n the recording of generation n - 1, so a clip is an
imitation in one pair and a recording in another. Imitations that the authors flagged as bad are dropped; a flagged
clip that somebody imitated stays as the recording of that pair (four pairs), since it is what was heard.
"""

from __future__ import annotations

from pathlib import Path

from iminet_viz.datasets._table import Pair, read_table
from iminet_viz.errors import DatasetError

NAME = "telephone-imitations"
LICENCE = "not stated at the source"
CITATION = "P. Edmiston, M. Perlman, G. Lupyan, Repeated imitation makes human vocalizations more word-like, 2018"


def load(root: Path) -> list[Pair]:
    """List the pairs, in the order of the table.

    Raises:
        DatasetError: the table, a column or a file is missing, or an imitation's parent is not in the table.
    """
    rows = read_table(root, ("file", "label", "message_id", "generation", "flagged_bad_by_authors", "parent_file"))
    by_file = {row["file"]: row for row in rows}
    pairs = []
    for row in rows:
        if not row["parent_file"] or row["flagged_bad_by_authors"] == "1":
            continue
        first = row
        seen = set()
        while (parent := by_file.get(first["parent_file"])) is not None and parent["parent_file"]:
            first = parent
            if first["file"] in seen:
                raise DatasetError(f"{root}: {row['file']} goes back to a circle of imitations, {first['file']}")
            seen.add(first["file"])
        if parent is None:
            raise DatasetError(f"{root}: the recording {first['parent_file']} that {first['file']} imitates is missing")
        pairs.append(
            Pair(
                imitation=root / row["file"],
                recording=root / row["parent_file"],
                chain=row["label"],
                subtree=f"{first['label']}/{first['message_id']}",
            )
        )
    return pairs
