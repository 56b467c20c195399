"""The demo corpus: 240 synthesised sounds and their synthetic vocal imitations, in the layout of VocalSketch.

:func:`make_corpus` makes it offline, the same bytes for the same seed: no recording is used, nothing is fetched. 40
acoustic instruments, 40 commercial synthesizers, 120 everyday sounds, 40 single synthesizer notes, as in VocalSketch,
in the same tables and folders, so that one loader reads both. What differs: the concepts are our own, files are FLAC
and called so in the tables, every imitation has a participant of its own, columns that only a survey of people can fill
are empty, and there is no ``everyday_filename_translation.csv``, since the everyday sounds are all there.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iminet_viz import __version__
from iminet_viz.audio import atomic_path, save_audio
from iminet_viz.datasets import vocalsketch
from iminet_viz.datasets._table import Complain, Pair, Survey, refuse, require_files
from iminet_viz.errors import AudioError, DatasetError, ImitationError

if TYPE_CHECKING:
    from iminet_viz.datasets._demo.concepts import Concept

NAME = "demo"
LICENCE = "CC0 1.0: synthesised, no recording was used"
CITATION = "this toolkit's demo corpus (iminet-viz corpus make), in the layout of Cartwright and Pardo's VocalSketch"
SOURCE = "`iminet-viz corpus make DIR` synthesises it on this machine, offline"
RATES = (16_000, 44_100)

VERSION = "1"  # of the sounds; changes whenever one of them does
SETTINGS = "corpus.json"  # first to be written; the tables are last, so what is unfinished is never loaded
SOUNDS, IMITATIONS = "sound_recordings", "vocal_imitations"  # folders
LABEL_TABLE, SOUND_TABLE, IMITATION_TABLE = "sound_labels.csv", "sound_recordings.csv", "vocal_imitations.csv"
COLUMNS = {
    LABEL_TABLE: ("id", "label", "audio_concept_subset"),
    SOUND_TABLE: ("id", "filename", "sound_label", "sound_label_id", "audio_concept_subset"),
    IMITATION_TABLE: (
        *("id", "filename", "stimulus_type", "included", "draft", "training", "participant_id", "satisfaction"),
        *("sound_label", "sound_label_id", "sound_recording", "sound_recording_id", "audio_concept_subset"),
        *("participants_sound_recording_description", "participants_sound_recording_description_confidence"),
        "description_match",
    ),
}

_STAYS = "what is finished stays, the same call makes the rest"
_TEMPORARY = re.compile(r"\..*-[a-z0-9_]{8}\.flac")  # what atomic_path leaves where a run was killed
_README = """\
# Demo corpus of iminet-viz, version {version}, seed {seed}

240 sounds and {count} vocal imitations of each, all synthesised by `iminet-viz corpus make` ({package}): no person
spoke and no recording was used. So it can be made anywhere, offline, and shared; it cannot show how a system fares
with people.

Layout and tables are those of VocalSketch v1.0.4 (M. Cartwright, B. Pardo, CHI 2015), with our own concepts and FLAC
files: 40 acoustic instruments, 40 commercial synthesizers, 120 everyday sounds, 40 single synthesizer notes in
`sound_recordings/` (44.1 kHz, mono, 16 bit), imitations in `vocal_imitations/included/` (16 kHz, mono, 16 bit). Each
imitation is by a synthetic voice of its own (`participant_id`).

The same version and seed give the same bytes. Licence: CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/
"""


def load(root: Path) -> list[Pair]:
    """List the pairs: the chain is the sound, the category its subset, the speaker the imitation's own.

    Raises:
        DatasetError: the corpus is not finished, a table, a column or a file is missing, or tables contradict each
            other.
    """
    if (root / SETTINGS).is_file() and not (root / IMITATION_TABLE).is_file():
        raise DatasetError(f"{root}: the corpus is not finished, `iminet-viz corpus make` makes the rest")
    found = survey(root, refuse)
    require_files(found, root, root / IMITATION_TABLE)
    return found.items


def survey(root: Path, complain: Complain) -> Survey[Pair]:
    """Read the tables as VocalSketch's."""
    return vocalsketch.survey(root, complain)


# --- making it ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Made:
    """What :func:`make_corpus` did."""

    folder: Path
    sounds: int  # that are there now
    imitations: int
    sounds_made: int  # how many of them were not there before
    imitations_made: int


def make_corpus(
    folder: str | os.PathLike[str],
    seed: int = 0,
    count: int = 10,
    workers: int | None = None,
    force: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
    concepts: tuple[Concept, ...] | None = None,
) -> Made:
    """Make the demo corpus; what is there already, from a run that was interrupted, stays.

    Args:
        folder: new or empty, or a corpus of the same version and seed.
        seed: of every random draw.
        count: imitations of each sound.
        workers: processes (default: one a core); the result does not depend on it.
        force: make a corpus of another seed or version anew.
        progress: called with (label of the sound, imitations done, all).
        concepts: only these sounds (default: all).

    Raises:
        DatasetError: the folder holds something else, or a corpus of another seed or version, or a table cannot be
            written; what is finished stays.
        AudioError, ImitationError: the same of a sound, of an imitation.
    """
    from iminet_viz.datasets._demo.concepts import CONCEPTS, synthesise
    from iminet_viz.datasets._demo.signals import RATE
    from iminet_viz.imitator.batch import Task, render

    if count < 1:
        raise DatasetError(f"{count} imitations of each sound were asked for, expected at least 1")
    folder = Path(folder)
    chosen = concepts or CONCEPTS
    settings = {"name": NAME, "version": VERSION, "package": __version__, "seed": seed}
    _prepare(folder, settings, count, force)

    made = {"sounds": 0, "imitations": 0}
    by_path: dict[Path, Concept] = {}

    def tasks() -> Iterator[Task]:
        for concept in chosen:
            path = folder / SOUNDS / concept.filename
            if not path.is_file():
                save_audio(path, synthesise(concept, seed), RATE)
                made["sounds"] += 1
            by_path[path] = concept
            rows = _imitation_rows(concept, seed, count)
            outputs = tuple(folder / IMITATIONS / "included" / row["filename"] for row in rows)
            yield Task(path, outputs, _seeds(concept, seed, count))

    try:
        with contextlib.closing(render(tasks(), workers=workers)) as outcomes:
            for number, outcome in enumerate(outcomes, start=1):
                if outcome.reason:
                    raise DatasetError(f"the corpus is not finished: {outcome.reason}")
                made["imitations"] += outcome.made
                if progress is not None:
                    progress(by_path[outcome.task.sound].label, number * count, len(chosen) * count)
    except (AudioError, ImitationError) as error:
        raise type(error)(f"{error}; {_STAYS}") from None
    for path in [*folder.glob(f"{SOUNDS}/.*"), *folder.glob(f"{IMITATIONS}/included/.*")]:
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)
    _write_tables(folder, chosen, settings, count)
    return Made(folder, len(chosen), len(chosen) * count, made["sounds"], made["imitations"])


def _prepare(folder: Path, settings: dict[str, Any], count: int, force: bool) -> None:
    """Make the folder ready, or refuse it."""
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"{folder}: is a file, expected a folder")
    path = folder / SETTINGS
    there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    ours = {SETTINGS, SOUNDS, IMITATIONS, *COLUMNS}
    if path.is_file():
        old = _read_settings(path)
        changed = [key for key in settings if old.get(key) != settings[key]]
        if changed and not force:
            key = changed[0]
            raise DatasetError(
                f"{folder}: holds a corpus with {key} {old.get(key)!r}, not {settings[key]!r}; --force makes it anew"
            )
        if not force and isinstance(old.get("count"), int) and old["count"] > count:
            raise DatasetError(
                f"{folder}: holds {old['count']} imitations of each sound, not {count}; --force makes it anew"
            )
        if force:
            for name in COLUMNS:
                (folder / name).unlink(missing_ok=True)
            for name in (SOUNDS, IMITATIONS):
                if (folder / name).is_dir():
                    shutil.rmtree(folder / name)
    elif taken := sorted(ours.intersection(there)):
        raise DatasetError(f"{folder}: holds another data set ({taken[0]}), choose an empty folder")
    elif there and not force:
        raise DatasetError(f"{folder}: holds something else ({there[0]}); --force makes the corpus beside it")
    _write(path, json.dumps({**settings, "count": count, "licence": LICENCE}, indent=2) + "\n")


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = None
    return values if isinstance(values, dict) else {}


def _number(seed: int, *what: object) -> str:
    """An id as VocalSketch has them: sixteen digits, here from the seed and names."""
    from iminet_viz.datasets._demo.concepts import draw

    return str(4_500_000_000_000_000 + draw(seed, *what) % 2_255_000_000_000_000)


def _seeds(concept: Concept, seed: int, count: int) -> tuple[int, ...]:
    from iminet_viz.datasets._demo.concepts import draw

    return tuple(draw(seed, "voice", concept.label, number) for number in range(count))


def _imitation_rows(concept: Concept, seed: int, count: int) -> list[dict[str, str]]:
    """Rows of ``vocal_imitations.csv``; as there, those who heard a recording have no id of a label."""
    rows = []
    for number in range(count):
        name = _number(seed, "imitation", concept.label, number)
        rows.append(
            {
                "id": name,
                "filename": f"{concept.label} - {name}.flac",
                "stimulus_type": "sound recording",
                "included": "True",
                "draft": "False",
                "training": "False",
                "participant_id": _number(seed, "participant", concept.label, number),
                "sound_label": concept.label,
                "sound_recording": concept.filename,
                "sound_recording_id": _number(seed, "recording", concept.label),
                "audio_concept_subset": concept.subset,
            }
        )
    return rows


def _write_tables(folder: Path, concepts: tuple[Concept, ...], settings: dict[str, Any], count: int) -> None:
    """Write README and tables; that of the imitations is the last."""
    seed = settings["seed"]
    labels, sounds, imitations = [], [], []
    for concept in concepts:
        label = _number(seed, "label", concept.label)
        sounds.append(
            {
                "id": _number(seed, "recording", concept.label),
                "filename": concept.filename,
                "sound_label": concept.label,
                "sound_label_id": label,
                "audio_concept_subset": concept.subset,
            }
        )
        subset = concept.subset.removesuffix(" sounds")  # "everyday" there, and only there
        labels.append({"id": label, "label": concept.label, "audio_concept_subset": subset})
        imitations += _imitation_rows(concept, seed, count)
    text = _README.format(version=VERSION, seed=seed, count=count, package=f"iminet-viz {__version__}")
    _write(folder / "README.md", text)
    for name, rows in ((LABEL_TABLE, labels), (SOUND_TABLE, sounds), (IMITATION_TABLE, imitations)):
        end = "\r\n" if name == LABEL_TABLE else "\n"  # as published
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, COLUMNS[name], lineterminator=end)
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: row["id"]))
        _write(folder / name, table.getvalue())


def _write(path: Path, content: str) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content.encode())
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror}); {_STAYS}") from None
