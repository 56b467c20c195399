"""Speech in seven languages, gathered from many open collections: the material of the language tower.

Language goes with collection, microphone and length of unit, so a split must hold out whole collections.
``voxforge-real`` (genuine VoxForge submissions) has the same table and is the test set.
"""

from __future__ import annotations

from pathlib import Path

from iminet_viz.datasets._table import Clip, Complain, Survey, read_metadata, refuse, require_files

NAME = "speech-lid"
LICENCE = "per clip: GPL-2.0+, Apache-2.0, CC BY-SA 4.0, public domain; EmoDB free without an explicit licence"
CITATION = (
    "Tux Paint stamps, KTuberling, KLettres, Picovoice demos, Free Spoken Digit Dataset, CSS10 references, "
    "EmoDB (Burkhardt et al., 2005); VoxForge (voxforge.org) for the test"
)
SOURCE = "it was gathered clip by clip from the collections of its citation, which have no common archive"
RATES = (8_000, 16_000)
LANGUAGES = ("de", "en", "es", "fr", "it", "nl", "ru")


def load(root: Path) -> list[Clip]:
    """List the clips of ``speech-lid`` or ``voxforge-real``; the label is the language code.

    Raises:
        DatasetError: the table or a file is missing, or a language is none of the seven.
    """
    survey_ = survey(root, refuse)
    require_files(survey_, root, root / "metadata.csv")
    return survey_.items


def survey(root: Path, complain: Complain) -> Survey[Clip]:
    """Read ``metadata.csv``."""
    found = Survey[Clip]()
    for row in read_metadata(root, ("file", "label", "speaker"), complain, found):
        path = root / row["file"]
        if row["label"] not in LANGUAGES:
            complain(
                root / "metadata.csv",
                f"{row['file']} has the unknown language {row['label']!r}, expected one of {', '.join(LANGUAGES)}",
            )
            found.spare.add(path)
            continue
        if not row["speaker"].strip():
            found.doubts.append((path, "has an empty speaker: who speaks is not known"))
        collection = row.get("collection") or f"{root.name}/{row['speaker']}"
        found.files[path] = row["label"]
        found.items.append(Clip(path, row["label"], collection, speaker=row["speaker"]))
    return found
