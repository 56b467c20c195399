"""Telephone game imitations: pairs of a vocal imitation and the recording that its maker heard.

Generation 1 imitates the first sound of a chain, generation n the recording of generation n - 1, so a clip is an
imitation in one pair and a recording in another. Imitations that the authors flagged as bad are dropped; a flagged
clip that somebody imitated stays as the recording of that pair (four pairs), since it is what was heard.
"""

from __future__ import annotations

from pathlib import Path

from iminet_viz.datasets._table import Complain, Pair, Survey, read_metadata, refuse, require_files

NAME = "telephone-imitations"
LICENCE = "not stated at the source"
CITATION = "P. Edmiston, M. Perlman, G. Lupyan, Repeated imitation makes human vocalizations more word-like, 2018"
SOURCE = "its authors publish the recordings file by file in the repository lupyanlab/telephone, without a licence"
RATES = (8_000, 192_000)


def load(root: Path) -> list[Pair]:
    """List the pairs, in the order of the table.

    Raises:
        DatasetError: the table, a column or a file is missing, or an imitation's parent is not in the table.
    """
    survey_ = survey(root, refuse)
    require_files(survey_, root, root / "metadata.csv")
    return survey_.items


def survey(root: Path, complain: Complain) -> Survey[Pair]:
    """Read ``metadata.csv`` and follow each imitation back to the first sound."""
    columns = ("file", "label", "message_id", "generation", "flagged_bad_by_authors", "parent_file")
    found = Survey[Pair]()
    rows = read_metadata(root, columns, complain, found)
    by_file = {row["file"]: row for row in rows}
    found.files = {root / row["file"]: row["label"] for row in rows}
    table = root / "metadata.csv"
    flagged = 0
    for row in rows:
        generation, flag = row["generation"], row["flagged_bad_by_authors"]
        if flag not in {"", "0", "1"}:
            complain(table, f"{row['file']} has flagged_bad_by_authors {flag!r}, expected 1, 0 or nothing")
            continue
        if (generation == "0") == bool(row["parent_file"]):
            other = "a" if row["parent_file"] else "no"
            complain(table, f"{row['file']} has generation {generation!r} and {other} parent_file: first sounds have 0")
            continue
        if not row["parent_file"]:
            continue
        if row["flagged_bad_by_authors"] == "1":
            flagged += 1
            continue
        if (first := _first_imitation(root, row, by_file, complain)) is None:
            continue
        found.items.append(
            Pair(
                imitation=root / row["file"],
                recording=root / row["parent_file"],
                chain=row["label"],
                subtree=f"{first['label']}/{first['message_id']}",
            )
        )
    found.notes.append(f"{flagged} imitations are flagged as bad by the authors and left out")
    return found


def _first_imitation(
    root: Path, row: dict[str, str], by_file: dict[str, dict[str, str]], complain: Complain
) -> dict[str, str] | None:
    """The imitation of the chain's first sound that ``row`` goes back to; None after a complaint."""
    first = row
    seen = set()
    while (parent := by_file.get(first["parent_file"])) is not None and parent["parent_file"]:
        first = parent
        if first["file"] in seen:
            complain(root, f"{row['file']} goes back to a circle of imitations, {first['file']}")
            return None
        seen.add(first["file"])
    if parent is None:
        complain(root, f"the recording {first['parent_file']} that {first['file']} imitates is missing")
        return None
    return first
