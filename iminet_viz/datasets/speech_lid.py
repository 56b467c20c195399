"""Speech in seven languages, gathered from many open collections: the material of the language tower.

Language goes with collection, microphone and length of unit, so a split must hold out whole collections.
``voxforge-real`` (genuine VoxForge submissions) has the same table and is the test set.
"""

from __future__ import annotations

from pathlib import Path

from iminet_viz.datasets._table import Clip, read_table

NAME = "speech-lid"
LICENCE = "per clip: GPL-2.0+, Apache-2.0, CC BY-SA 4.0, public domain; EmoDB free without an explicit licence"
CITATION = (
    "Tux Paint stamps, KTuberling, KLettres, Picovoice demos, Free Spoken Digit Dataset, CSS10 references, "
    "EmoDB (Burkhardt et al., 2005); VoxForge (voxforge.org) for the test"
)
LANGUAGES = ("de", "en", "es", "fr", "it", "nl", "ru")


def load(root: Path) -> list[Clip]:
    """List the clips of ``speech-lid`` or ``voxforge-real``; the label is the language code.

    Raises:
        DatasetError: the table or a file is missing.
    """
    rows = read_table(root, ("file", "label", "speaker"))
    return [
        Clip(root / row["file"], row["label"], row.get("collection") or f"{root.name}/{row['speaker']}") for row in rows
    ]
