"""VocalSketch v1.0.4 as published: vocal imitations of 240 sounds by people who heard the sound.

``vocal_imitations.csv``, ``sound_recordings.csv``, ``sound_labels.csv``; sound files in ``vocal_imitations/included``
(``included_vocal_imitations`` in earlier versions) and ``sound_recordings``. Half of the sounds, the subset "everyday
sounds", may not be redistributed by the publisher; :data:`EVERYDAY` says where they come from.

A row of ``vocal_imitations.csv`` is an imitation. Drafts, rounds of practice and what did not meet the authors'
criteria are left out, as in their analysis, and so are imitations whose maker read a label and heard no recording.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from iminet_viz.datasets._table import (
    Complain,
    Pair,
    Row,
    Survey,
    find_sounds,
    is_below,
    is_true,
    read_rows,
    refuse,
    sound_file,
)
from iminet_viz.errors import DatasetError

NAME = "vocalsketch"
LICENCE = "not stated in the repository; CC BY 4.0 by its Zenodo record, as far as known"
CITATION = "M. Cartwright, B. Pardo, VocalSketch: Vocally Imitating Audio Concepts, CHI 2015"
SOURCE = (
    "the authors publish it at https://github.com/interactiveaudiolab/VocalSketchDataSet and on Zenodo (versions 1.0: "
    "record 164926, 1.1: record 1251982); no checksum of theirs is known here, and half of the sounds lie elsewhere"
)
RATES = (8_000, 192_000)
SUBSETS = ("acoustic instruments", "commercial synthesizers", "everyday sounds", "single synthesizer")
STIMULI = ("sound recording", "sound label")
EVERYDAY = (
    "the publisher may not redistribute the everyday sounds: get them from "
    "http://marcellm.people.cofc.edu/confrontation%20sound%20naming/confront.htm and rename them as "
    "everyday_filename_translation.csv says"
)


def load(root: Path, subsets: tuple[str, ...] = SUBSETS, stimuli: tuple[str, ...] = ("sound recording",)) -> list[Pair]:
    """List the pairs, in the order of the table: chain and recording are the sound, the category is its subset.

    Args:
        root: folder of the data set.
        subsets: those to load; without "everyday sounds" the files that the publisher may not give are not needed.
        stimuli: what the makers were given. With "sound label" also imitations made from a label, paired with the
            recording of that label, which their makers did not hear.

    Raises:
        DatasetError: a table, a column or a file is missing, tables contradict each other, or a subset is unknown.
    """
    survey_ = survey(root, refuse, subsets, stimuli)
    if absent := survey_.absent():
        missing = Counter(survey_.files[path] for path in absent)
        parts = [f"{missing[subset]} of {subset}" for subset in subsets if missing[subset]]
        message = f"{root}: {len(absent)} of {len(survey_.files)} files are not there ({', '.join(parts)})"
        others = tuple(subset for subset in subsets if not missing[subset])
        if missing[SUBSETS[2]]:
            message += f"; {EVERYDAY}"
        if others:
            message += f"; subsets={others!r} loads the others"
        raise DatasetError(f"{message}; the first is {absent[0].relative_to(root)}")
    return survey_.items


def survey(
    root: Path,
    complain: Complain,
    subsets: tuple[str, ...] = SUBSETS,
    stimuli: tuple[str, ...] = ("sound recording",),
) -> Survey[Pair]:
    """Read the three tables."""
    for name, values, legal in (("subset", subsets, SUBSETS), ("stimulus", stimuli, STIMULI)):
        if unknown := [value for value in values if value not in legal]:
            raise DatasetError(f"unknown {name} {unknown[0]!r} of {NAME}, expected some of {', '.join(legal)}")
    found = Survey[Pair]()
    recordings = _read_recordings(root, complain, found)
    by_label = {row["sound_label_id"]: row for row in recordings.values()}
    paths = {name: _recording_file(root, row) for name, row in recordings.items()}
    for name, row in recordings.items():
        if row["audio_concept_subset"] in subsets:
            found.files[paths[name]] = row["audio_concept_subset"]
        else:
            found.spare.add(paths[name])

    table = root / "vocal_imitations.csv"
    columns: tuple[str, ...] = ("id", "filename", "stimulus_type", "included", "draft", "training", "participant_id")
    columns += ("sound_label", "sound_label_id", "sound_recording", "sound_recording_id", "audio_concept_subset")
    folder = _folder(root, "vocal_imitations/included", "included_vocal_imitations")
    excluded = _folder(root, "vocal_imitations/excluded", "excluded_vocal_imitations")
    left_out: Counter[str] = Counter()
    names: dict[str, int] = {}

    def spare(row: dict[str, str]) -> None:  # also of a row that is refused
        found.spare.update(sound_file(place / row["filename"]) for place in (folder, excluded))

    rows = read_rows(table, columns, complain, "id", spare)
    if not rows:  # else every imitation would be one too many
        found.spare |= set(find_sounds(root)[0])
    for number, row in rows:
        if not is_below(table, (number, row), "filename", complain):
            continue
        if (other := names.setdefault(row["filename"], number)) != number:
            complain(table, f"row {number} repeats the filename {row['filename']!r} of row {other}")
            continue
        path = sound_file(folder / row["filename"])
        spare(row)
        if not Path(row["filename"]).stem.endswith(f" - {row['id']}"):  # "label - id.wav", in every version
            said = f"row {number} names the file {row['filename']!r}, expected one that ends with its id {row['id']}"
            found.doubts.append((table, said))
        reason = _reason_to_leave_out(table, (number, row), subsets, stimuli, complain)
        if reason is None:
            sound = _target(table, (number, row), recordings, by_label, complain)
            if sound is not None:
                chain = Path(sound["filename"]).stem
                subset = sound["audio_concept_subset"]
                for column in ("sound_label", "sound_label_id"):  # who heard a recording has no id of a label
                    if row[column] != sound[column] and (row[column] or column == "sound_label"):
                        of = sound["filename"]
                        said = f"row {number} has {column} {row[column]!r}, {of} has {sound[column]!r}"
                        found.doubts.append((table, said))
                if not row["participant_id"].strip():
                    found.doubts.append((table, f"row {number} has an empty participant_id: its maker is not known"))
                found.files[path] = subset
                found.items.append(
                    Pair(
                        imitation=path,
                        recording=paths[sound["filename"]],
                        chain=chain,
                        subtree=f"{chain}/{row['id']}",
                        category=subset,
                        speaker=row["participant_id"],
                    )
                )
        elif reason:
            left_out[reason] += 1
    if names and not found.items:
        complain(table, f"no row is an included imitation of {' or '.join(stimuli)} in {', '.join(subsets)}")
    found.notes += [f"{count} imitations left out: {reason}" for reason, count in sorted(left_out.items())]
    _note_other_files(root, found, set(paths.values()))
    return found


def _read_recordings(root: Path, complain: Complain, found: Survey[Pair]) -> dict[str, dict[str, str]]:
    """``sound_recordings.csv`` by file name, its labels checked against ``sound_labels.csv``."""
    labels_table = root / "sound_labels.csv"
    labels = {}
    columns: tuple[str, ...] = ("id", "label", "audio_concept_subset")
    for number, row in read_rows(labels_table, columns, complain, "id", refused=lambda _: None):  # names no file
        labels[row["id"]] = row
        if _subset(row) not in SUBSETS:
            complain(labels_table, f"row {number} has the unknown audio_concept_subset {row['audio_concept_subset']!r}")
    table = root / "sound_recordings.csv"
    columns = ("id", "filename", "sound_label", "sound_label_id", "audio_concept_subset")
    recordings: dict[str, dict[str, str]] = {}

    def spare(row: dict[str, str]) -> None:  # a refused row names its file all the same, in whatever folder it lies
        places = (root / "sound_recordings" / subset for subset in ("", *SUBSETS))
        found.spare.update(sound_file(place / row["filename"]) for place in places)

    for number, row in read_rows(table, columns, complain, "id", spare):
        label = labels.get(row["sound_label_id"])
        if not is_below(table, (number, row), "filename", complain):
            continue
        if row["filename"] in recordings:
            complain(table, f"row {number} repeats the filename {row['filename']!r}")
        elif _subset(row) not in SUBSETS:
            complain(table, f"{row['filename']} has the unknown audio_concept_subset {row['audio_concept_subset']!r}")
        elif labels and label is None:
            complain(
                table,
                f"{row['filename']} has the sound_label_id {row['sound_label_id']}, which {labels_table.name} lacks",
            )
        elif label is not None and label["label"] != row["sound_label"]:
            complain(
                table,
                f"{row['filename']} has the label {row['sound_label']!r}, {labels_table.name} says {label['label']!r}",
            )
        else:
            recordings[row["filename"]] = {**row, "audio_concept_subset": _subset(row)}
            continue
        spare(row)
    return recordings


def _subset(row: dict[str, str]) -> str:
    """The subset of a row; ``sound_labels.csv`` calls the everyday sounds "everyday"."""
    subset = row["audio_concept_subset"]
    return "everyday sounds" if subset == "everyday" else subset


def _reason_to_leave_out(
    table: Path, row: Row, subsets: tuple[str, ...], stimuli: tuple[str, ...], complain: Complain
) -> str | None:
    """Why a row gives no pair: None if it gives one, empty after a complaint."""
    included, draft, training = (is_true(table, row, column, complain) for column in ("included", "draft", "training"))
    if included is None or draft is None or training is None:
        return ""
    number, cells = row
    if cells["stimulus_type"] not in STIMULI:
        complain(table, f"row {number} has the unknown stimulus_type {cells['stimulus_type']!r}")
        return ""
    if _subset(cells) not in SUBSETS:
        complain(table, f"row {number} has the unknown audio_concept_subset {cells['audio_concept_subset']!r}")
        return ""
    if draft:
        return "drafts"
    if training:
        return "practice"
    if not included:
        return "did not meet the authors' criteria"
    if cells["stimulus_type"] not in stimuli:
        return f"made from a {cells['stimulus_type']}"
    if _subset(cells) not in subsets:
        return f"of the subset {_subset(cells)}"
    return None


def _target(
    table: Path,
    row: Row,
    recordings: dict[str, dict[str, str]],
    by_label: dict[str, dict[str, str]],
    complain: Complain,
) -> dict[str, str] | None:
    """The recording that an imitation is of; None after a complaint."""
    number, cells = row
    if not recordings:
        return None  # its table has been complained about
    if cells["stimulus_type"] == "sound label":
        if cells["sound_label_id"] not in by_label:
            complain(table, f"row {number} imitates the label {cells['sound_label_id']}, which no recording has")
        return by_label.get(cells["sound_label_id"])
    sound = recordings.get(cells["sound_recording"])
    if sound is None:
        complain(table, f"row {number} imitates {cells['sound_recording']!r}, which sound_recordings.csv lacks")
    elif sound["id"] != cells["sound_recording_id"]:
        complain(
            table, f"row {number} has the id {cells['sound_recording_id']} for {sound['filename']}, not {sound['id']}"
        )
        return None
    elif sound["audio_concept_subset"] != _subset(cells):
        complain(
            table, f"row {number} puts {sound['filename']} into {_subset(cells)}, not {sound['audio_concept_subset']}"
        )
        return None
    return sound


def _folder(root: Path, *names: str) -> Path:
    """The first of several folders that is there, or the first."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def _recording_file(root: Path, row: dict[str, str]) -> Path:
    """Where a recording lies: in ``sound_recordings``, or there in a folder of its subset."""
    path = sound_file(root / "sound_recordings" / row["filename"])
    sorted_path = sound_file(root / "sound_recordings" / row["audio_concept_subset"] / row["filename"])
    return sorted_path if sorted_path.is_file() and not path.is_file() else path


def _note_other_files(root: Path, found: Survey[Pair], recordings: set[Path]) -> None:
    """Account for the second set, and everyday sounds that are not there."""
    second = [path for path in root.glob("vocal_imitations_set2/*/*") if path.is_file()]
    if second:
        found.spare |= set(second)
        found.notes.append(f"{len(second)} files of the second set (version 1.1) are not read")
    everyday = [path for path in recordings if found.files.get(path) == SUBSETS[2]]
    if absent := [path for path in everyday if not path.is_file()]:
        found.notes.append(f"{len(absent)} of {len(everyday)} everyday sounds are not there: {EVERYDAY}")
