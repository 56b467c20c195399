"""A folder per class: ``ROOT/<label>/**/*.wav`` (or FLAC, OGG, MP3, AIFF), the layout that needs no table."""

from __future__ import annotations

from pathlib import Path

from iminet_viz.audio import SUFFIXES
from iminet_viz.datasets._table import Clip, Complain, Survey, find_sounds, refuse

NAME = "class-folder"
LICENCE = "that of your own recordings"
CITATION = "none: a layout for your own recordings"
SOURCE = "it is a layout for your own recordings: one folder for each class, with its sounds in it"
RATES = (8_000, 192_000)


def load(root: Path) -> list[Clip]:
    """List the clips, sorted; the label is the name of the folder below ``root``, however deep the clip lies in it.

    Hidden files and folders are left out, and what a linked folder within a class folder holds. The folder in which a
    clip lies is its collection.

    Raises:
        DatasetError: ``root`` is no folder, a class has no sound, or a sound lies outside of the class folders.
    """
    return survey(root, refuse).items


def survey(root: Path, complain: Complain) -> Survey[Clip]:
    """Read the folders."""
    found = Survey[Clip]()
    if not root.is_dir():
        complain(root, "no such folder")
        return found
    entries = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    for path in entries:
        if path.is_file() and path.suffix.lower() in SUFFIXES:
            complain(path, "lies outside of the class folders, so it has no label")
            found.spare.add(path)
    folders = [path for path in entries if path.is_dir()]
    if not folders:
        complain(root, "holds no class folder, expected one folder for each class")
    for folder in folders:
        clips = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in SUFFIXES
            and path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(root).parts)
        )
        if not clips:
            complain(folder, "holds no sound file")
        if behind_links := set(find_sounds(folder)[0]) - set(clips):
            found.spare |= behind_links
            found.notes.append(f"{len(behind_links)} files in linked folders within {folder.name!r} are not read")
        for path in clips:
            found.files[path] = folder.name
            found.items.append(Clip(path, folder.name, path.parent.relative_to(root).as_posix()))
    return found
