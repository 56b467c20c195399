"""Every layout that can be read: a small true copy loads, and a check of a damaged copy names every damage."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from iminet_viz.datasets import (
    DATASETS,
    Clip,
    check,
    class_folder,
    esc10,
    esc50,
    pairs_table,
    urbansound8k,
    vocalsketch,
    voxforge,
)
from iminet_viz.errors import DatasetError

Rows = list[list[str]]


def write_sound(path: Path, rate: int, samples: np.ndarray | None = None, subtype: str = "PCM_16") -> None:
    """A tone that its path decides, so that no two files are equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if samples is None:
        samples = 0.5 * np.sin(np.arange(rate // 20) * (0.05 + zlib.crc32(str(path).encode()) / 2**34))
    soundfile.write(path, samples, rate, subtype=subtype if path.suffix == ".wav" else None)


def write_table(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def read_table(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture(autouse=True)
def short_clips(monkeypatch):
    """The copies of ESC-50 have clips of 50 ms, as all copies have."""
    monkeypatch.setattr(esc50, "CLIP_S", 0.05)


# --- small true copies: a dozen sound files in each layout ------------------------------------------------------------


def make_esc10(root: Path) -> None:
    names = [("001_-_Dog_bark", "002_-_Rain")[number % 2] for number in range(12)]
    rows = [[f"{name}/{number}.wav", name, str(1 + number % 5)] for number, name in enumerate(names)]
    write_table(root / "metadata.csv", [["file", "label", "fold"], *rows])
    for row in rows:
        write_sound(root / row[0], 44_100)


def make_speech(root: Path) -> None:
    rows = [
        [f"{'de' if n % 2 else 'nl'}/{n}.wav", "de" if n % 2 else "nl", f"s{n % 3}", f"c{n % 2}"] for n in range(12)
    ]
    write_table(root / "metadata.csv", [["file", "label", "speaker", "collection"], *rows])
    for row in rows:
        write_sound(root / row[0], 16_000)


def make_telephone(root: Path) -> None:
    header = ["file", "label", "message_id", "generation", "flagged_bad_by_authors", "parent_file"]
    rows = [["seed.wav", "chain", "", "0", "", ""]]
    rows += [[f"{n}.wav", "chain", str(n), "1", "1" if n == 11 else "0", "seed.wav"] for n in range(1, 12)]
    write_table(root / "metadata.csv", [header, *rows])
    for row in rows:
        write_sound(root / row[0], 16_000)


def make_vocalsketch(root: Path, voice_rate: int = 48_000) -> None:
    """Two sounds of each subset, five imitations of each sound of which two are used; columns as published."""
    labels, recordings, imitations = [], [], []
    for place, subset in enumerate(vocalsketch.SUBSETS):
        for number in range(2):
            label, sound_id, label_id = f"sound {place}{number}", f"9{place}{number}", f"8{place}{number}"
            name = f"sound_{place}{number}.wav"
            labels.append([label_id, label, "everyday" if subset.startswith("every") else subset])
            recordings.append([sound_id, name, label, label_id, subset])
            write_sound(root / "sound_recordings" / name, 44_100)
            for kind in range(6):
                stimulus = "sound label" if kind == 5 else "sound recording"
                flags = [["True", "False"][kind in (2, 4)], str(kind == 2), str(kind == 3)]
                heard = ["", name, sound_id] if kind < 5 else [label_id, "", ""]
                row_id = f"5{place}{number}{kind}"
                row = [row_id, f"{label} - {row_id}.wav", stimulus, *flags, f"person {kind}", "Mostly satisfied"]
                imitations.append([*row, label, *heard, subset, "Güiro, played", "Confident", ""])
                folder = "included" if flags[0] == "True" else "excluded"
                write_sound(root / "vocal_imitations" / folder / row[1], voice_rate)
    columns = (
        "id,filename,stimulus_type,included,draft,training,participant_id,satisfaction,sound_label,sound_label_id,"
    )
    columns += "sound_recording,sound_recording_id,audio_concept_subset,participants_sound_recording_description,"
    columns += "participants_sound_recording_description_confidence,description_match"
    write_table(root / "sound_labels.csv", [["id", "label", "audio_concept_subset"], *labels])
    header = ["id", "filename", "sound_label", "sound_label_id", "audio_concept_subset"]
    write_table(root / "sound_recordings.csv", [header, *recordings])
    write_table(root / "vocal_imitations.csv", [columns.split(","), *imitations])


def make_urbansound(root: Path) -> None:
    rows = []
    for number in range(12):
        fold, label = 1 + number % 10, number % len(urbansound8k.CLASSES)
        name = f"10{number}-{label}-0-0.wav"
        rows.append([name, f"10{number}", "0.0", "0.05", "1", str(fold), str(label), urbansound8k.CLASSES[label]])
        write_sound(root / "audio" / f"fold{fold}" / name, (44_100, 48_000, 22_050)[number % 3])
    header = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]
    write_table(root / urbansound8k.TABLE, [header, *rows])
    (root / "FREESOUNDCREDITS.txt").write_text("the names of people")


def make_voxforge(root: Path) -> None:
    for language, submission, user in (
        ("de", "1337ad-20170321-ajg", "1337ad"),
        ("nl", "Eelco-20150731-cqc", "Eelco"),
        ("nl", "anonymous-20150801-abc", "anonymous"),
    ):
        folder = root / language / submission
        names = [f"{language}-{number:04}" for number in range(4)]
        for name in names:
            write_sound(folder / "wav" / f"{name}.wav", 16_000)
        (folder / "etc").mkdir()
        (folder / "etc" / "README").write_text(
            f"User Name:{user}\n\nSpeaker Characteristics:\n\nGender: mannelijk\nLanguage: {language.upper()}\n"
        )
        (folder / "etc" / "PROMPTS").write_text(
            "".join(f"{submission}/mfc/{name} DIT HANDBOEK IS\n" for name in names), encoding="latin-1"
        )
        (folder / "LICENSE").write_text("GPL")


def make_esc50(root: Path) -> None:
    rows = []
    for number in range(12):
        fold, target = 1 + number % 5, (0, 36, 10)[number % 3]
        category = esc50.CATEGORIES[target]
        name = f"{fold}-{100 + number}-A-{target}.wav"
        rows.append([name, str(fold), str(target), category, str(category in esc10.LABELS), str(100 + number), "A"])
        write_sound(root / "audio" / name, 44_100)
    write_table(root / esc50.TABLE, [["filename", "fold", "target", "category", "esc10", "src_file", "take"], *rows])


def make_pairs(root: Path) -> None:
    """Three kinds of drum; of each three imitations and three recordings, each a right answer for each imitation."""
    rows = []
    for kind in ("kick", "snare", "hihat"):
        for voice in range(3):
            write_sound(root / "voices" / f"{kind}{voice}.wav", 16_000)
            write_sound(root / "drums" / kind / f"{voice}.wav", 44_100)
            rows += [[f"voices/{kind}{voice}.wav", f"drums/{kind}/{n}.wav", kind, f"p{voice}", "x"] for n in range(3)]
    write_table(root / "pairs.csv", [["imitation", "recording", "category", "speaker", "own column"], *rows])


def make_folders(root: Path) -> None:
    for number in range(12):
        write_sound(root / ("dog", "cat")[number % 2] / ("", "deep/er")[number // 6] / f"{number}.wav", 44_100)
    (root / "notes.txt").write_text("mine")


@dataclasses.dataclass
class Layout:
    """A layout with what its damages are: the main table, and changes of its rows with the word that names each."""

    make: Callable[[Path], None]
    items: int
    table: str = ""
    changes: dict[str, tuple[Callable[[Rows], object], str]] = dataclasses.field(default_factory=dict)
    missing: str = "no such file"  # what is said of a file that is gone
    needed: tuple[str, ...] = ()  # columns


def cell(row: int, column: int, value: str) -> Callable[[Rows], object]:
    return lambda rows: rows[row].__setitem__(column, value)


def again(rows: Rows) -> None:
    rows.append(list(rows[2]))


def more(rows: Rows) -> None:
    rows[3].append("")


def short(rows: Rows) -> None:
    rows.append(rows[1][:1])
    rows[-1][0] = "x.wav"


LAYOUTS = {
    "esc10": Layout(
        make_esc10,
        12,
        "metadata.csv",
        {
            "duplicate row": (again, "row 13 repeats the file"),
            "wrong fold": (cell(3, 2, "6"), "has fold '6', expected 1 to 5"),
            "unknown label": (cell(3, 1, "011_-_Cow"), "its label '011_-_Cow' is none of ESC-10"),
            "row that points nowhere": (cell(3, 0, "a/gone.wav"), "a/gone.wav: no such file"),
            "row that points outside": (cell(3, 0, "../gone.wav"), "row 3 points outside of the data set"),
            "empty file name": (cell(3, 0, ""), "row 3 has an empty file"),
            "short row": (short, "row 13 ends before the column label"),
        },
        needed=("file", "label", "fold"),
    ),
    "speech-lid": Layout(
        make_speech,
        12,
        "metadata.csv",
        {
            "duplicate row": (again, "row 13 repeats the file"),
            "no speaker": (cell(3, 2, " "), "2.wav: has an empty speaker"),
            "unknown label": (cell(3, 1, "xx"), "has the unknown language 'xx'"),
            "row that points nowhere": (cell(3, 0, "a/gone.wav"), "a/gone.wav: no such file"),
            "row that points outside": (cell(3, 0, "/etc/gone.wav"), "row 3 points outside of the data set"),
            "short row": (short, "row 13 ends before the column label"),
        },
        needed=("file", "label", "speaker"),
    ),
    "telephone-imitations": Layout(
        make_telephone,
        10,
        "metadata.csv",
        {
            "duplicate row": (again, "row 13 repeats the file"),
            "unknown parent": (cell(3, 5, "gone.wav"), "the recording gone.wav that 2.wav imitates is missing"),
            "unknown flag": (cell(3, 4, "1 "), "2.wav has flagged_bad_by_authors '1 ', expected 1, 0 or nothing"),
            "no parent": (cell(3, 5, ""), "2.wav has generation '1' and no parent_file"),
            "parent of a first sound": (cell(3, 3, "0"), "2.wav has generation '0' and a parent_file"),
            "circle": (cell(3, 5, "2.wav"), "2.wav goes back to a circle"),
            "row that points nowhere": (cell(3, 0, "gone.wav"), "gone.wav: no such file"),
            "short row": (short, "row 13 ends before the column label"),
        },
        needed=("file", "label", "message_id", "generation", "flagged_bad_by_authors", "parent_file"),
    ),
    "vocalsketch": Layout(
        make_vocalsketch,
        16,
        "vocal_imitations.csv",
        {
            "duplicate id": (cell(3, 0, "5000"), "row 3 repeats the id '5000' of row 1"),
            "duplicate row": (again, "row 49 repeats the id"),
            "more cells": (more, "row 3 has 17 cells, the table 16 columns"),
            "no maker": (cell(2, 6, ""), "row 2 has an empty participant_id"),
            "duplicate file": (cell(2, 1, "sound 00 - 5000.wav"), "row 2 repeats the filename"),
            "unknown stimulus": (cell(2, 2, "smell"), "row 2 has the unknown stimulus_type 'smell'"),
            "unknown flag": (cell(2, 3, "yes"), "row 2 has included 'yes', expected True or False"),
            "unknown label": (cell(2, 12, "noises"), "row 2 has the unknown audio_concept_subset 'noises'"),
            "contradiction": (cell(2, 12, "everyday"), "puts sound_00.wav into everyday sounds"),
            "recording that is nowhere": (
                cell(2, 10, "x.wav"),
                "row 2 imitates 'x.wav', which sound_recordings.csv lacks",
            ),
            "wrong id": (cell(2, 11, "1"), "row 2 has the id 1 for sound_00.wav, not 900"),
            "row that points nowhere": (cell(2, 1, "gone - 5001.wav"), "gone - 5001.wav: no such file"),
            "other label": (cell(2, 8, "bell"), "row 2 has sound_label 'bell', sound_00.wav has 'sound 00'"),
            "other label's id": (cell(2, 9, "1"), "row 2 has sound_label_id '1', sound_00.wav has '800'"),
            "row that points outside": (cell(2, 1, "../gone.wav"), "row 2 points outside of the data set"),
            "short row": (short, "row 49 ends before the column filename"),
        },
        needed=(
            *("id", "filename", "stimulus_type", "included", "draft", "training", "participant_id", "sound_label"),
            *("sound_label_id", "sound_recording", "sound_recording_id", "audio_concept_subset"),
        ),
    ),
    "urbansound8k": Layout(
        make_urbansound,
        12,
        urbansound8k.TABLE,
        {
            "duplicate row": (again, "row 13 repeats the slice_file_name"),
            "wrong fold": (cell(3, 5, "11"), "102-2-0-0.wav has fold '11', expected 1 to 10"),
            "fold of another": (cell(3, 5, "4"), "audio/fold4/102-2-0-0.wav: no such file"),
            "unknown label": (cell(3, 7, "meow"), "102-2-0-0.wav has the unknown class 'meow'"),
            "more cells": (more, "row 3 has 9 cells, the table 8 columns"),
            "wrong number": (cell(3, 6, "7"), "has classID '7', expected 2 for children_playing"),
            "other length": (cell(3, 3, "0.5"), "102-2-0-0.wav: lasts 0.05 s, expected 0.50"),
            "no number": (cell(3, 2, "x"), "row 3 has start 'x', expected a number"),
            "name of another": (cell(3, 1, "7"), "its row says that its name is 7-2-..."),
            "row that points nowhere": (cell(3, 0, "102-2-0-9.wav"), "102-2-0-9.wav: no such file"),
            "row that points outside": (cell(3, 0, "../x.wav"), "row 3 points outside of the data set"),
            "short row": (short, "row 13 ends before the column fsID"),
        },
        needed=("slice_file_name", "fsID", "fold", "classID", "class"),
    ),
    "voxforge": Layout(make_voxforge, 12, missing="its prompts name"),
    "esc50": Layout(
        make_esc50,
        12,
        esc50.TABLE,
        {
            "duplicate row": (again, "row 13 repeats the filename"),
            "wrong fold": (cell(3, 1, "6"), "3-102-A-10.wav has fold '6', expected 1 to 5"),
            "fold of another": (cell(3, 1, "1"), "3-102-A-10.wav has fold 1, its name says 3"),
            "unknown label": (cell(3, 3, "drizzle"), "3-102-A-10.wav has the unknown category 'drizzle'"),
            "wrong number": (cell(3, 2, "7"), "has target '7', expected 10 for rain"),
            "unknown flag": (cell(3, 4, "1"), "row 3 has esc10 '1', expected True or False"),
            "row that points nowhere": (cell(3, 0, "3-9-A-10.wav"), "audio/3-9-A-10.wav: no such file"),
            "short row": (short, "row 13 ends before the column fold"),
        },
        needed=("filename", "fold", "target", "category", "esc10"),
    ),
    "pairs-table": Layout(
        make_pairs,
        27,
        "pairs.csv",
        {
            "duplicate row": (again, "row 28 repeats the pair of row 2"),
            "itself": (cell(3, 1, "voices/kick0.wav"), "row 3 pairs voices/kick0.wav with itself"),
            "other speaker": (cell(3, 3, "p9"), "row 3 gives voices/kick0.wav another category or speaker than row 1"),
            "more cells": (more, "row 3 has 6 cells, the table 5 columns"),
            "empty cell": (cell(3, 1, ""), "row 3 has an empty recording"),
            "row that points nowhere": (cell(3, 1, "drums/gone.wav"), "drums/gone.wav: no such file"),
            "short row": (short, "row 28 ends before the column recording"),
        },
        needed=("imitation", "recording"),
    ),
    "class-folder": Layout(make_folders, 12, missing=""),  # without a table nobody can know
}
LAYOUTS["demo"] = dataclasses.replace(LAYOUTS["vocalsketch"], make=lambda root: make_vocalsketch(root, 16_000))
WITH_TABLE = [name for name, layout in LAYOUTS.items() if layout.table]
every_layout = pytest.mark.parametrize("name", LAYOUTS)
every_table = pytest.mark.parametrize("name", WITH_TABLE)


def faults(name: str, root: Path, **options: object) -> list[str]:
    return [f"{fault.file}: {fault.reason}" for fault in check(DATASETS[name], root, **options).faults]


def used_files(name: str, root: Path) -> list[Path]:
    """Files of the clips or pairs, in order, each once."""
    files: dict[Path, None] = {}
    for item in DATASETS[name].load(root):
        files |= dict.fromkeys([item.path] if isinstance(item, Clip) else [item.imitation, item.recording])
    return list(files)


# --- every layout -----------------------------------------------------------------------------------------------------


def test_every_layout_is_tested():
    assert set(LAYOUTS) == set(DATASETS)


@every_layout
def test_an_undamaged_copy_has_no_fault(tmp_path, name):
    LAYOUTS[name].make(tmp_path)
    steps = []
    report = check(DATASETS[name], tmp_path, lambda *step: steps.append(step))
    assert report.faults == []
    items = DATASETS[name].load(tmp_path)
    assert report.items == len(items) == LAYOUTS[name].items
    assert sum(report.labels.values()) == len(items)
    assert all(path.is_file() for path in used_files(name, tmp_path))
    assert report.named <= report.files == sum(report.rates.values()) == sum(report.channels.values())
    assert all(0.04 < seconds < 0.06 for seconds in report.duration_s)
    assert report.hours == pytest.approx(report.files * 0.05 / 3600, rel=0.01)
    assert steps[-1] == ("", report.files, report.files)
    json.dumps(report.as_dict())


@every_layout
def test_the_copy_may_be_named_by_a_path_with_detours(tmp_path, name, monkeypatch):
    LAYOUTS[name].make(tmp_path / "voices" / "de")
    monkeypatch.chdir(tmp_path)
    assert check(DATASETS[name], Path("voices/../voices/de")).faults == []


@every_layout
def test_all_damages_of_files_are_named_at_once(tmp_path, name):
    LAYOUTS[name].make(tmp_path)
    files = [path for path in used_files(name, tmp_path) if path != tmp_path / "seed.wav"]
    missing, truncated, empty, text, nan, slow, silent, zero, quiet = files[:9]
    expected = []

    def damage(path: Path, reason: str) -> None:
        expected.append(f"{path.relative_to(tmp_path)}: {reason}")

    missing.unlink()
    if LAYOUTS[name].missing == "its prompts name":
        expected.append(f"{missing.parent.parent.relative_to(tmp_path)}: its prompts name {missing.stem}, which is")
    elif LAYOUTS[name].missing:
        damage(missing, LAYOUTS[name].missing)
    truncated.write_bytes(truncated.read_bytes()[:-500])
    damage(truncated, "truncated (its header promises")
    empty.write_bytes(b"")
    damage(empty, "the file is empty (0 bytes)")
    text.write_text("This is no sound.")
    damage(text, "cannot be decoded as audio")
    rate = soundfile.info(nan).samplerate
    write_sound(nan, rate, np.full(800, np.nan), "FLOAT")
    damage(nan, "holds NaN or infinite samples")
    write_sound(slow, 4000)
    damage(slow, "at 4000 Hz, expected")
    write_sound(silent, rate, np.zeros(800))
    damage(silent, "silent")
    write_sound(zero, rate, np.zeros(0))
    damage(zero, "holds no samples (zero length)")
    write_sound(quiet, rate, np.full(800, 1e-6), "FLOAT")
    damage(quiet, "silent")
    extra = files[9].with_name("extra.wav") if name != "class-folder" else tmp_path / "extra.wav"
    write_sound(extra, rate)
    words = {"class-folder": "lies outside of the class folders", "voxforge": "no prompt names it"}
    damage(extra, words.get(name, "no table names it"))

    found = faults(name, tmp_path)
    for line in expected:
        assert [line in fault for fault in found].count(True) == 1, line
    assert len(found) == len(expected)


@every_layout
def test_sounds_that_are_too_short_cancel_out_or_are_copies_are_named(tmp_path, name):
    LAYOUTS[name].make(tmp_path)
    files = [path for path in used_files(name, tmp_path) if path != tmp_path / "seed.wav"]
    one, few, opposed, *others = files[:6]
    first, second = sorted(others[:2])
    rate = soundfile.info(one).samplerate
    write_sound(one, rate, np.full(1, 0.5))
    write_sound(few, rate, np.zeros(70))
    tone = 0.5 * np.sin(np.arange(800))
    write_sound(opposed, rate, np.stack([tone, -tone], axis=1))
    second.write_bytes(first.read_bytes())
    found = faults(name, tmp_path)
    for path, reason in (
        (one, "1 sample, 0.000 s: too short to hold a sound"),
        (few, f"70 samples, {70 / rate:.3f} s: too short to hold a sound"),
        (opposed, "its 2 channels cancel out: their mean, which is what is read, is silent"),
        (second, f"has the same content as {first.relative_to(tmp_path)}"),
    ):
        assert [fault for fault in found if fault.startswith(f"{path.relative_to(tmp_path)}: ")] == [
            f"{path.relative_to(tmp_path)}: {reason}"
        ]
    assert len(found) == 4
    assert len(DATASETS[name].load(tmp_path)) == LAYOUTS[name].items


@every_table
def test_what_linked_folders_hold_is_found(tmp_path, name):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    LAYOUTS[name].make(root)
    write_sound(elsewhere / "deep" / "extra.wav", soundfile.info(used_files(name, root)[0]).samplerate)
    (elsewhere / "deep" / "circle").symlink_to(elsewhere)
    (root / "more").symlink_to(elsewhere)
    (root / "up").symlink_to(tmp_path)
    folder = used_files(name, root)[0].parent
    if folder != root:
        (root / "again").symlink_to(folder)
    report = check(DATASETS[name], root)
    assert [(fault.file, fault.reason) for fault in report.faults] == [("more/deep/extra.wav", "no table names it")]
    back = "is not walked: it leads back to a folder around it"
    for link in ("up", "more/deep/circle"):
        assert f"the linked folder {link!r} {back}" in report.notes
    if folder != root:
        assert "the linked folder 'again' is not walked: its files are known under another path" in report.notes


@every_layout
def test_a_folder_of_the_data_set_may_be_a_link(tmp_path, name):
    LAYOUTS[name].make(tmp_path)
    sound_folder = next((path for path in sorted(tmp_path.iterdir()) if path.is_dir() and path.name != "meta"), None)
    if sound_folder is None:
        pytest.skip("the layout has no folders")
    before = check(DATASETS[name], tmp_path)
    (tmp_path / ".other disk").mkdir()
    sound_folder.symlink_to(sound_folder.rename(tmp_path / ".other disk" / sound_folder.name))
    assert check(DATASETS[name], tmp_path) == before


def test_linked_folders_within_a_class_are_noted(tmp_path):
    make_folders(tmp_path)
    before = check(class_folder, tmp_path)
    (tmp_path / "dog" / "cats").symlink_to(tmp_path / "cat")
    report = check(class_folder, tmp_path)
    assert (report.faults, report.files) == ([], before.files)
    assert "6 files in linked folders within 'dog' are not read" in report.notes


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *[("urbansound8k", damage) for damage in ("wrong fold", "unknown label", "wrong number")],
        *[("pairs-table", damage) for damage in ("itself", "other speaker")],
    ],
)
def test_the_file_of_a_refused_row_is_not_called_unnamed(tmp_path, name, damage):
    layout = LAYOUTS[name]
    layout.make(tmp_path)
    rows = read_table(tmp_path / layout.table)
    if name == "pairs-table":  # the only row of its two files
        write_sound(tmp_path / "voices" / "alone.wav", 16_000)
        rows.append(["voices/alone.wav", "voices/alone.wav", "kick", "p0", "x"])
        if damage == "other speaker":
            write_sound(tmp_path / "drums" / "alone.wav", 16_000)
            rows[-1] = ["voices/kick0.wav", "drums/alone.wav", "kick", "p9", "x"]
            (tmp_path / "voices" / "alone.wav").unlink()
    else:
        layout.changes[damage][0](rows)
    write_table(tmp_path / layout.table, rows)
    (fault,) = faults(name, tmp_path)
    assert fault.startswith(f"{layout.table}: ")


@every_layout
def test_what_lies_hidden_is_no_part_of_it(tmp_path, name):
    LAYOUTS[name].make(tmp_path)
    place = used_files(name, tmp_path)[0]
    place.with_name("._copy.wav").write_bytes(b"of another system")
    write_sound(tmp_path / ".trash" / "old.wav", 16_000)
    assert faults(name, tmp_path) == []


@every_layout
def test_a_folder_that_is_not_there_is_said(tmp_path, name):
    reasons = faults(name, tmp_path / "nowhere")
    assert reasons and all("no such" in reason for reason in reasons)
    with pytest.raises(DatasetError, match="no such"):
        DATASETS[name].load(tmp_path / "nowhere")
    assert faults(name, tmp_path)  # nor is an empty one a data set
    with pytest.raises(DatasetError):
        DATASETS[name].load(tmp_path)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "voxforge"])
def test_what_was_meant_as_a_sound_and_is_none_is_named(tmp_path, name):
    LAYOUTS[name].make(tmp_path)
    folder = used_files(name, tmp_path)[0].parent
    (folder / "gone.wav").symlink_to("nowhere.wav")
    (folder / "loop.wav").symlink_to("loop.wav")
    os.mkfifo(folder / "pipe.wav")
    (folder / "folder.wav").mkdir()
    (folder / "a.M4A").write_bytes(b"x")
    (folder / "notes.txt").write_text("mine")
    assert {Path(fault.file).name: fault.reason.split(",")[0] for fault in check(DATASETS[name], tmp_path).faults} == {
        "gone.wav": "is a link to what is not there",
        "loop.wav": "is a link to what is not there",
        "pipe.wav": "is a pipe",
        "folder.wav": "is an empty folder",
        "a.M4A": "files named .m4a are not read",
    }


@every_layout
def test_a_constant_is_no_sound(tmp_path, name):
    LAYOUTS[name].make(tmp_path)
    path = used_files(name, tmp_path)[1]
    write_sound(path, soundfile.info(path).samplerate, np.full(2_000, 0.25))
    assert faults(name, tmp_path) == [
        f"{path.relative_to(tmp_path)}: silent: every sample is 0.250 of full scale",
    ]


def test_half_an_hour_is_checked_in_little_memory(tmp_path):
    (tmp_path / "a").mkdir()
    with soundfile.SoundFile(tmp_path / "a" / "long.flac", "w", 8_000, 2) as file:
        for second in range(1_800):
            file.write(np.full((8_000, 2), second / 2_000))
    tracemalloc.start()
    report = check(class_folder, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (report.faults, report.hours) == ([], 0.5)
    assert peak < 15e6  # 115 MB as float


@pytest.mark.parametrize("name", ["esc10", "speech-lid", "telephone-imitations"])
def test_lengths_and_rates_of_a_table_are_compared_with_the_files(tmp_path, name):
    LAYOUTS[name].make(tmp_path)
    header, *rows = read_table(tmp_path / "metadata.csv")
    rate = str(soundfile.info(used_files(name, tmp_path)[0]).samplerate)
    rows = [[*row, "0.05", rate] for row in rows]
    rows[5][-2:] = ["", ""]
    write_table(tmp_path / "metadata.csv", [[*header, "seconds", "rate"], *rows])
    assert faults(name, tmp_path) == []
    rows[2][-2], rows[3][-1], rows[4][-2] = "0.2", "11025", "long"
    write_table(tmp_path / "metadata.csv", [[*header, "seconds", "rate"], *rows])
    assert faults(name, tmp_path) == [
        "metadata.csv: row 5 has seconds 'long', expected a number",
        *sorted(
            [
                f"{rows[2][0]}: lasts 0.05 s, expected 0.20",
                f"{rows[3][0]}: at {rate} Hz, its table says 11025",
            ]
        ),
    ]


@pytest.mark.parametrize("name", ["esc50", "esc10"])
def test_clips_of_esc50_have_five_seconds(tmp_path, name, monkeypatch):
    make_esc50(tmp_path)
    monkeypatch.setattr(esc50, "CLIP_S", 5.0)
    assert all(fault.endswith(": lasts 0.05 s, expected 5.00") for fault in faults(name, tmp_path))
    assert len(faults(name, tmp_path)) == 12
    assert "the table names 12 of the 2,000 clips that were published" in check(DATASETS[name], tmp_path).notes


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "damage"), [(name, damage) for name in WITH_TABLE for damage in LAYOUTS[name].changes]
)
def test_each_damage_of_a_table_is_named(tmp_path, name, damage):
    layout = LAYOUTS[name]
    layout.make(tmp_path)
    rows = read_table(tmp_path / layout.table)
    change, words = layout.changes[damage]
    change(rows)
    write_table(tmp_path / layout.table, rows)
    found = faults(name, tmp_path)
    assert [words in fault for fault in found].count(True) == 1
    # besides, a row that names another file leaves its own without a name
    assert len([fault for fault in found if "no table names it" not in fault]) == 1
    try:
        DATASETS[name].load(tmp_path)
    except DatasetError as error:
        assert "\n" not in str(error) and str(tmp_path) in str(error)


@every_table
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_stray_quotation_mark_costs_one_row(tmp_path, name, place):
    LAYOUTS[name].make(tmp_path)
    table = tmp_path / LAYOUTS[name].table
    lines = table.read_bytes().splitlines(keepends=True)
    if place == "first":
        lines[3] = b'"' + lines[3]
    else:
        cells = lines[3].rstrip().split(b",")
        lines[3] = b",".join([*cells[:-1], b'"' + cells[-1]]) + b"\n"
    # long enough that the rest of the table is more than a name, or a cell of csv, can be
    table.write_bytes(b"".join(lines) + b"\n" * 200_000)
    (fault,) = faults(name, tmp_path)
    assert fault == f'{LAYOUTS[name].table}: row 3 has a quotation mark (") that does not enclose a cell'
    with pytest.raises(DatasetError, match="quotation mark"):
        DATASETS[name].load(tmp_path)


@every_table
def test_a_name_that_is_too_long_is_named_in_a_short_line(tmp_path, name):
    LAYOUTS[name].make(tmp_path)
    rows = read_table(tmp_path / LAYOUTS[name].table)
    place, column = next(
        (n, c) for n, c in enumerate(rows[0]) if c in {"file", "filename", "slice_file_name", "imitation"}
    )
    for long in (260, 100_000):
        rows[3][place] = "x" * (long - 4) + ".wav"
        write_table(tmp_path / LAYOUTS[name].table, rows)
        words = f"{LAYOUTS[name].table}: row 3 has a {column} of {long:,} characters, more than any name can have"
        assert [fault for fault in faults(name, tmp_path) if "no table names it" not in fault] == [words]
    rows[3][place] = f"{'x' * 248}.wav"  # with .flac it would be too long
    write_table(tmp_path / LAYOUTS[name].table, rows)
    assert faults(name, tmp_path)


@every_table
def test_each_missing_column_is_named(tmp_path, name):
    layout = LAYOUTS[name]
    layout.make(tmp_path)
    rows = read_table(tmp_path / layout.table)
    for column in layout.needed:
        place = rows[0].index(column)
        write_table(tmp_path / layout.table, [row[:place] + row[place + 1 :] for row in rows])
        assert f"{layout.table}: the table lacks the columns {column}" in faults(name, tmp_path)
        with pytest.raises(DatasetError, match=f"the table lacks the columns {column}"):
            DATASETS[name].load(tmp_path)


@every_table
def test_the_files_are_checked_even_without_their_table(tmp_path, name):
    LAYOUTS[name].make(tmp_path)
    broken = used_files(name, tmp_path)[1]
    broken.write_bytes(b"")
    (tmp_path / LAYOUTS[name].table).unlink()
    found = faults(name, tmp_path)
    assert f"{LAYOUTS[name].table}: no such table" in found[0]
    assert f"{broken.relative_to(tmp_path)}: the file is empty (0 bytes)" in found


@every_table
def test_a_table_that_is_not_utf_8_is_named(tmp_path, name):
    LAYOUTS[name].make(tmp_path)
    table = tmp_path / LAYOUTS[name].table
    table.write_bytes(table.read_bytes() + "Café\n".encode("latin-1"))
    assert any("not a table ('utf-8' codec" in fault for fault in faults(name, tmp_path))
    with pytest.raises(DatasetError, match="not a table"):
        DATASETS[name].load(tmp_path)


@every_table
def test_a_table_without_rows_is_named(tmp_path, name):
    LAYOUTS[name].make(tmp_path)
    table = tmp_path / LAYOUTS[name].table
    write_table(table, read_table(table)[:1])
    assert any("the table has no rows" in fault for fault in faults(name, tmp_path))
    with pytest.raises(DatasetError, match="the table has no rows"):
        DATASETS[name].load(tmp_path)


@every_table
@pytest.mark.parametrize("ending", ["\r", "\r\n"])
def test_tables_of_other_systems_are_read(tmp_path, name, ending):
    LAYOUTS[name].make(tmp_path)
    table = tmp_path / LAYOUTS[name].table
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\ufeff" + ending.join(lines) + ending, encoding="utf-8", newline="")
    assert faults(name, tmp_path) == []


# --- what is particular to a layout -----------------------------------------------------------------------------------


def test_vocalsketch_pairs_know_their_sound_subset_and_maker(tmp_path):
    make_vocalsketch(tmp_path)
    pair = vocalsketch.load(tmp_path)[0]
    assert pair.imitation == tmp_path / "vocal_imitations" / "included" / "sound 00 - 5000.wav"
    assert pair.recording == tmp_path / "sound_recordings" / "sound_00.wav"
    assert (pair.chain, pair.subtree) == ("sound_00", "sound_00/5000")
    assert (pair.category, pair.speaker) == ("acoustic instruments", "person 0")


def test_vocalsketch_files_that_change_places_are_named(tmp_path):
    make_vocalsketch(tmp_path)
    rows = read_table(tmp_path / "vocal_imitations.csv")
    rows[1][1], rows[7][1] = rows[7][1], rows[1][1]
    write_table(tmp_path / "vocal_imitations.csv", rows)
    assert faults("vocalsketch", tmp_path) == [
        "vocal_imitations.csv: row 1 names the file 'sound 01 - 5010.wav', expected one that ends with its id 5000",
        "vocal_imitations.csv: row 7 names the file 'sound 00 - 5000.wav', expected one that ends with its id 5010",
    ]
    assert len(vocalsketch.load(tmp_path)) == 16


def test_vocalsketch_says_what_it_leaves_out(tmp_path):
    make_vocalsketch(tmp_path)
    notes = check(vocalsketch, tmp_path).notes
    assert notes == [
        "8 imitations left out: did not meet the authors' criteria",
        "8 imitations left out: drafts",
        "8 imitations left out: made from a sound label",
        "8 imitations left out: practice",
    ]
    with_labels = vocalsketch.load(tmp_path, stimuli=("sound recording", "sound label"))
    assert len(with_labels) == 24
    assert with_labels[2].imitation.name == "sound 00 - 5005.wav"
    assert with_labels[2].recording.name == "sound_00.wav"


def test_vocalsketch_without_everyday_sounds_says_where_they_come_from(tmp_path):
    make_vocalsketch(tmp_path)
    for name in ("sound_20.wav", "sound_21.wav"):
        (tmp_path / "sound_recordings" / name).unlink()
    with pytest.raises(DatasetError) as caught:
        vocalsketch.load(tmp_path)
    message = str(caught.value)
    assert "2 of 24 files are not there (2 of everyday sounds)" in message
    assert "marcellm.people.cofc.edu" in message and "everyday_filename_translation.csv" in message
    assert "subsets=('acoustic instruments', 'commercial synthesizers', 'single synthesizer')" in message
    others = ("acoustic instruments", "commercial synthesizers", "single synthesizer")
    assert len(vocalsketch.load(tmp_path, subsets=others)) == 12
    assert "2 of 2 everyday sounds are not there" in check(vocalsketch, tmp_path).notes[-1]
    assert len(faults("vocalsketch", tmp_path)) == 2
    assert faults("vocalsketch", tmp_path, subsets=others) == []


def test_vocalsketch_refuses_subsets_that_it_has_not(tmp_path):
    make_vocalsketch(tmp_path)
    with pytest.raises(DatasetError, match="unknown subset 'everyday' of vocalsketch, expected some of acoustic"):
        vocalsketch.load(tmp_path, subsets=("everyday",))
    with pytest.raises(DatasetError, match="unknown stimulus 'smell'"):
        vocalsketch.load(tmp_path, stimuli=("smell",))


def test_vocalsketch_is_read_from_flac_from_folders_of_subsets_and_from_earlier_versions(tmp_path):
    make_vocalsketch(tmp_path)
    for path in list(tmp_path.rglob("*.wav")):
        samples, rate = soundfile.read(path)
        write_sound(path.with_suffix(".flac"), rate, samples)
        path.unlink()
    for row in read_table(tmp_path / "sound_recordings.csv")[1:]:
        place = tmp_path / "sound_recordings" / row[4] / row[1].replace(".wav", ".flac")
        place.parent.mkdir(exist_ok=True)
        (tmp_path / "sound_recordings" / place.name).rename(place)
    for kind in ("included", "excluded"):
        (tmp_path / "vocal_imitations" / kind).rename(tmp_path / f"{kind}_vocal_imitations")
    pairs = vocalsketch.load(tmp_path)
    assert len(pairs) == 16
    assert {path.suffix for pair in pairs for path in (pair.imitation, pair.recording)} == {".flac"}
    assert faults("vocalsketch", tmp_path) == []


def test_vocalsketch_notes_the_second_set(tmp_path):
    make_vocalsketch(tmp_path)
    write_sound(tmp_path / "vocal_imitations_set2" / "included" / "cat - 1.wav", 48_000)
    report = check(vocalsketch, tmp_path)
    assert report.faults == []
    assert "1 files of the second set (version 1.1) are not read" in report.notes


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("sound_recordings.csv", cell(1, 3, "1"), "has the sound_label_id 1, which sound_labels.csv lacks"),
        ("sound_recordings.csv", cell(1, 2, "bell"), "has the label 'bell', sound_labels.csv says 'sound 00'"),
        ("sound_recordings.csv", cell(1, 4, "noise"), "has the unknown audio_concept_subset 'noise'"),
        ("sound_recordings.csv", cell(1, 1, "sound_01.wav"), "row 2 repeats the filename 'sound_01.wav'"),
        ("sound_recordings.csv", cell(2, 0, "900"), "row 2 repeats the id '900' of row 1"),
        ("sound_labels.csv", cell(2, 2, "noise"), "row 2 has the unknown audio_concept_subset 'noise'"),
        ("sound_labels.csv", cell(2, 0, "800"), "row 2 repeats the id '800' of row 1"),
    ],
)
def test_vocalsketch_tables_that_contradict_each_other_are_named(tmp_path, table, change, words):
    make_vocalsketch(tmp_path)
    rows = read_table(tmp_path / table)
    change(rows)
    write_table(tmp_path / table, rows)
    assert [words in fault for fault in faults("vocalsketch", tmp_path)].count(True) == 1
    with pytest.raises(DatasetError, match=table):
        vocalsketch.load(tmp_path)


def test_the_true_tables_of_vocalsketch(data_folder, tmp_path):
    source = data_folder / "vocalsketch-metadata"
    if not source.is_dir():
        pytest.skip("the true tables of VocalSketch are not in IMINET_VIZ_DATA")
    for name in ("sound_recordings.csv", "sound_labels.csv"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    sample = (source / "vocal_imitations.HEAD-SAMPLE.csv").read_bytes()
    (tmp_path / "vocal_imitations.csv").write_bytes(sample)
    report = check(vocalsketch, tmp_path)
    assert all(fault.reason == "no such file" for fault in report.faults)
    assert (report.items, report.named, len(report.faults)) == (16, 256, 256)  # 240 sounds and 16 imitations
    assert report.labels == {
        "acoustic instruments": 2,
        "commercial synthesizers": 3,
        "everyday sounds": 8,
        "single synthesizer": 3,
    }
    assert "120 of 120 everyday sounds are not there" in report.notes[-1]
    with pytest.raises(DatasetError, match="256 of 256 files are not there"):
        vocalsketch.load(tmp_path)


def test_urbansound8k_keeps_the_official_folds(tmp_path):
    make_urbansound(tmp_path)
    clips = urbansound8k.load(tmp_path)
    assert [clip.fold for clip in clips[8:12]] == [9, 10, 1, 2]
    assert all(clip.path.parent.name == f"fold{clip.fold}" for clip in clips)
    assert clips[2].label == "children_playing"


def test_esc50_keeps_the_official_folds_and_esc10_is_its_part(tmp_path):
    make_esc50(tmp_path)
    assert [(clip.label, clip.fold) for clip in esc50.load(tmp_path)[:3]] == [
        ("dog", 1),
        ("vacuum_cleaner", 2),
        ("rain", 3),
    ]
    clips = esc10.load(tmp_path)
    assert [(clip.label, clip.fold) for clip in clips[:2]] == [("Dog_bark", 1), ("Rain", 3)]
    assert len(clips) == 8
    for path in (tmp_path / "audio").glob("*-36.wav"):
        path.unlink()
    assert len(esc10.load(tmp_path)) == 8  # the other classes need not be there
    assert faults("esc10", tmp_path) == []
    assert "8 of the 12 clips of ESC-50 belong to ESC-10" in check(esc10, tmp_path).notes
    with pytest.raises(DatasetError, match=r"4 of 12 files are not there, the first is audio/2-101-A-36\.wav"):
        esc50.load(tmp_path)


def test_the_classes_of_esc50():
    assert len(set(esc50.CATEGORIES)) == 50
    assert set(esc10.LABELS) < set(esc50.CATEGORIES) and len(set(esc10.LABELS.values())) == 10


def test_voxforge_speakers_come_from_the_readme(tmp_path):
    make_voxforge(tmp_path)
    (tmp_path / "nl/Eelco-20150731-cqc/etc/README").write_bytes("User Name:  Eélco \r\n".encode("latin-1"))
    clips = voxforge.load(tmp_path)
    assert {(clip.label, clip.speaker) for clip in clips} == {
        ("de", "1337ad"),
        ("nl", "Eélco"),
        ("nl", "anonymous-20150801"),
    }
    assert {clip.collection for clip in clips} == {"de/1337ad", "nl/Eélco", "nl/anonymous-20150801"}
    assert faults("voxforge", tmp_path) == []


def test_voxforge_reads_the_folder_of_one_language_and_readmes_beside_the_clips(tmp_path):
    make_voxforge(tmp_path)
    folder = tmp_path / "nl" / "Eelco-20150731-cqc"
    (folder / "etc" / "README").rename(folder / "readme.txt")
    (folder / "etc" / "PROMPTS").rename(folder / "etc" / "prompts-original")
    clips = voxforge.load(tmp_path / "nl")
    assert len(clips) == 8 and {clip.label for clip in clips} == {"nl"}
    assert faults("voxforge", tmp_path / "nl") == []


def test_voxforge_takes_only_16_khz_and_says_what_it_leaves(tmp_path, caplog):
    make_voxforge(tmp_path)
    others = [tmp_path / "de/1337ad-20170321-ajg/wav" / f"de-000{n}.wav" for n in range(2)]
    for path in others:
        write_sound(path, 48_000)
    clips = voxforge.load(tmp_path)
    assert len(clips) == 10 and not {clip.path for clip in clips} & set(others)
    assert "2 of 12 clips are not at 16000 Hz and are left out, the first is de/1337ad" in caplog.text
    for path in tmp_path.rglob("*.wav"):
        write_sound(path, 8000)
    with pytest.raises(DatasetError, match="none of 12 clips is at 16000 Hz"):
        voxforge.load(tmp_path)


def test_voxforge_takes_one_of_wav_and_flac(tmp_path):
    make_voxforge(tmp_path)
    folder = tmp_path / "de/1337ad-20170321-ajg"
    write_sound(folder / "flac" / "de-0000.flac", 16_000)
    assert len(voxforge.load(tmp_path)) == 12
    assert faults("voxforge", tmp_path) == []
    (folder / "wav" / "de-0000.wav").unlink()
    assert voxforge.load(tmp_path)[3].path.name == "de-0000.flac"


@pytest.mark.parametrize(
    ("damage", "words", "refused"),
    [
        *(
            (lambda de, name=name: (de / name).touch(), "the archive is not unpacked", True)
            for name in ("x.tgz", "x.TGZ", "x.tar", "x.tar.bz2", "../x.zip")
        ),
        (lambda de: (de.parent / "it").mkdir(), "it: holds no submission", True),
        (lambda de: (de / "1337ad-20170321-ajg.tgz").touch(), "", False),  # kept beside its folder
        (lambda de: de.rename(de.with_name("16kHz_16bit")), "the folder around submissions tells their language", True),
        (lambda de: (de / "junk").mkdir(), "junk: is no submission", True),
        (lambda de: (de / "1337ad-20170321-ajg/etc/README").unlink(), "has no README", False),
        (lambda de: (de / "1337ad-20170321-ajg/etc/README").write_text("Gender: x"), 'has no "User Name:"', False),
        (
            lambda de: (de / "1337ad-20170321-ajg/etc/README").write_text("User Name: a\nLanguage: NL\n"),
            "lies under de, its README says nl",
            False,
        ),
        (lambda de: (de / "1337ad-20170321-ajg/etc/PROMPTS").unlink(), "has no etc/PROMPTS", False),
        (
            lambda de: (de / "1337ad-20170321-ajg/wav/de-0000.wav").write_text("no"),
            "de-0000.wav: cannot be decoded as audio",
            True,
        ),
    ],
)
def test_voxforge_names_what_is_wrong_with_a_submission(tmp_path, damage, words, refused, caplog):
    make_voxforge(tmp_path)
    damage(tmp_path / "de")
    found = faults("voxforge", tmp_path)
    assert len(found) == (1 if words else 0)
    assert all(words in fault for fault in found)
    if refused:
        with pytest.raises(DatasetError, match=str(tmp_path)):
            voxforge.load(tmp_path)
    else:
        assert len(voxforge.load(tmp_path)) == 12
        assert ("1 doubts" in caplog.text) == bool(words)


def test_a_speaker_without_readme_is_told_by_the_submission(tmp_path):
    make_voxforge(tmp_path)
    for readme in tmp_path.rglob("README"):
        readme.unlink()
    assert {clip.speaker for clip in voxforge.load(tmp_path)} == {"1337ad", "Eelco", "anonymous-20150801"}


def test_pairs_with_several_right_answers_are_of_one_chain(tmp_path):
    make_pairs(tmp_path)
    pairs = pairs_table.load(tmp_path / "pairs.csv")
    assert pairs == pairs_table.load(tmp_path)
    assert len([pair for pair in pairs if pair.imitation == tmp_path / "voices/kick0.wav"]) == 3
    assert len({(pair.chain, pair.category) for pair in pairs}) == 3
    assert {pair.speaker for pair in pairs} == {"p0", "p1", "p2"}
    report = check(pairs_table, tmp_path / "pairs.csv")
    assert (report.faults, report.named, report.files) == ([], 18, 18)
    assert report.notes == ["18 pairs name a further right answer for an imitation"]


def test_pairs_need_two_columns_and_may_lie_anywhere(tmp_path):
    write_sound(tmp_path / "me.wav", 16_000)
    write_sound(tmp_path / "sounds" / "dog.wav", 44_100)
    table = tmp_path / "tables" / "mine.csv"
    write_table(table, [["recording", "imitation"], [str(tmp_path / "sounds/dog.wav"), "../me.wav"]])
    (pair,) = pairs_table.load(table)
    assert pair.imitation == tmp_path / "me.wav"
    assert pair.recording == tmp_path / "sounds" / "dog.wav"
    assert (pair.category, pair.speaker) == ("", "")
    assert check(pairs_table, table).faults == []


def test_class_folders_name_their_clips(tmp_path):
    make_folders(tmp_path)
    clips = class_folder.load(tmp_path)
    assert [clip.label for clip in clips] == ["cat"] * 6 + ["dog"] * 6
    assert {clip.collection for clip in clips} == {"cat", "cat/deep/er", "dog", "dog/deep/er"}
    (tmp_path / "empty").mkdir()
    assert faults("class-folder", tmp_path) == ["empty: holds no sound file"]
    with pytest.raises(DatasetError, match="empty: holds no sound file"):
        class_folder.load(tmp_path)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_check_command(call, tmp_path):
    make_esc50(tmp_path)
    status, out, _ = call("data", "check", "esc50", tmp_path)
    assert status == 0
    assert "12 clips or pairs of 12 files; 12 sound files are there" in out
    assert "Hz: 44100 (12)" in out and "dog (4)" in out and out.endswith("0 faults\n")
    (tmp_path / "audio" / "1-100-A-0.wav").unlink()
    status, out, _ = call("data", "check", "esc50", tmp_path)
    assert status == 1
    assert out.splitlines()[0] == "audio/1-100-A-0.wav: no such file" and out.endswith("1 faults\n")
    status, out, _ = call("data", "check", "esc50", tmp_path, "--json")
    assert status == 1
    assert json.loads(out)["faults"] == [{"file": "audio/1-100-A-0.wav", "reason": "no such file"}]


def test_the_command_line_is_a_module(tmp_path):
    make_folders(tmp_path)
    call = [sys.executable, "-m", "iminet_viz.cli", "data", "check", "class-folder", str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0 and done.stdout.endswith("0 faults\n")


def test_the_check_command_takes_subsets_of_vocalsketch(call, tmp_path):
    make_vocalsketch(tmp_path)
    (tmp_path / "sound_recordings" / "sound_20.wav").unlink()
    assert call("data", "check", "vocalsketch", tmp_path)[0] == 1
    assert call("data", "check", "vocalsketch", tmp_path, "--subset", "acoustic instruments")[0] == 0
    status, _, err = call("data", "check", "vocalsketch", tmp_path, "--subset", "everyday")
    assert status == 1 and "unknown subset 'everyday'" in err
    assert call("data", "check", "esc50", tmp_path, "--subset", "x")[0] == 2


def test_a_data_set_that_does_not_exist_is_said_with_those_that_do(call, tmp_path):
    status, _, err = call("data", "check", "esc-50", tmp_path)
    assert status == 1
    assert err == f"Error: no data set 'esc-50', expected one of {', '.join(DATASETS)}\n"


def test_the_list_command(call):
    status, out, _ = call("data", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 0 and set(rows) == set(DATASETS)
    assert rows["urbansound8k"]["download"] and not rows["voxforge"]["download"]
    assert "licence: CC BY-NC 3.0" in call("data", "list")[1]
