"""The contract of every data set, the real folders with known counts, and damaged tables of the local collections.

The published layouts are in test_published.py.
"""

import csv
from collections import Counter
from pathlib import Path

import pytest
from test_published import LAYOUTS, read_table, write_table

from iminet_viz.datasets import DATASETS, Clip, Pair, Remote, check, esc10, speech_lid, telephone
from iminet_viz.datasets._table import refuse
from iminet_viz.errors import DatasetError

TELEPHONE = ("label", "file", "message_id", "generation", "flagged_bad_by_authors", "parent_file")
ROWS = {
    "esc10": [
        {"file": "a/1.wav", "label": "001_-_Dog_bark", "fold": "1"},
        {"file": "b/2.wav", "label": "002_-_Rain", "fold": "5"},
    ],
    "speech-lid": [
        {"file": "a/1.wav", "label": "de", "speaker": "s1", "collection": "books"},
        {"file": "b/2.wav", "label": "nl", "speaker": "s2", "collection": "digits"},
    ],
    # seed <- first <- second; seed <- other <- bad, which its authors flagged
    "telephone-imitations": [
        dict(zip(TELEPHONE, ("chain", *values), strict=True))
        for values in [
            ("seed.wav", "", "0", "", ""),
            ("first.wav", "1", "1", "0", "seed.wav"),
            ("second.wav", "2", "2", "", "first.wav"),
            ("other.wav", "3", "1", "0", "seed.wav"),
            ("bad.wav", "4", "2", "1", "other.wav"),
        ]
    ],
}

every_dataset = pytest.mark.parametrize("name", DATASETS)
every_collection = pytest.mark.parametrize("name", ROWS)  # with metadata.csv


def write(root: Path, rows: list[dict[str, str]], columns: list[str] | None = None) -> Path:
    for row in rows:
        (root / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        (root / row["file"]).touch()
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return root


def refusal(name: str, root: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        DATASETS[name].load(root)
    assert str(root) in str(caught.value)
    return str(caught.value)


def changed(name: str, index: int, **values: str) -> list[dict[str, str]]:
    rows = [dict(row) for row in ROWS[name]]
    rows[index].update(values)
    return rows


@every_dataset
def test_a_data_set_says_what_it_is(name):
    module = DATASETS[name]
    assert name == module.NAME
    assert all(len(text) > 10 for text in (module.LICENCE, module.CITATION, module.__doc__, module.load.__doc__))
    assert "Raises:" in module.load.__doc__


@every_dataset
def test_a_data_set_says_where_it_comes_from(name):
    source = DATASETS[name].SOURCE
    if isinstance(source, Remote):
        assert source.url.startswith("https://")
        assert source.checksum or source.contents  # nothing is unpacked unchecked
    else:
        assert len(source) > 10 and "\n" not in source


@every_dataset
def test_a_data_set_knows_its_rates(name):
    lowest, highest = DATASETS[name].RATES
    assert 0 < lowest <= highest


@every_collection
def test_a_small_table_loads(tmp_path, name):
    items = DATASETS[name].load(write(tmp_path, ROWS[name]))
    assert items
    for item in items:
        for path in (item.path,) if isinstance(item, Clip) else (item.imitation, item.recording):
            assert path.is_file()


@every_collection
def test_a_missing_table_is_named(tmp_path, name):
    assert "metadata.csv: no such table" in refusal(name, tmp_path)
    assert "no such table" in refusal(name, tmp_path / "nowhere")


@every_collection
def test_each_missing_column_is_named(tmp_path, name):
    for column in set(ROWS[name][0]) - {"collection"}:  # speech is read without it
        write(tmp_path, ROWS[name], [other for other in ROWS[name][0] if other != column])
        assert f"lacks the columns {column}" in refusal(name, tmp_path)


@every_collection
def test_a_table_without_rows_is_refused(tmp_path, name):
    (tmp_path / "metadata.csv").write_text(",".join(ROWS[name][0]) + "\n")
    assert "the table has no rows" in refusal(name, tmp_path)
    (tmp_path / "metadata.csv").write_text("")
    assert "lacks the columns" in refusal(name, tmp_path)


@every_collection
def test_missing_files_are_counted_and_the_first_named(tmp_path, name):
    write(tmp_path, ROWS[name])
    (tmp_path / ROWS[name][0]["file"]).unlink()
    message = refusal(name, tmp_path)
    assert f"1 of {len(ROWS[name])} files are not there, the first is {ROWS[name][0]['file']}" in message


@every_collection
def test_a_short_row_is_refused(tmp_path, name):
    write(tmp_path, ROWS[name])
    with (tmp_path / "metadata.csv").open("a") as file:
        file.write("x\n")
    assert f"row {len(ROWS[name]) + 1} ends before the column" in refusal(name, tmp_path)


@every_collection
def test_what_is_not_text_is_refused(tmp_path, name):
    write(tmp_path, ROWS[name])
    table = tmp_path / "metadata.csv"
    table.write_bytes(table.read_bytes() + "Café,x\n".encode("latin-1"))
    assert "not a table" in refusal(name, tmp_path)


@pytest.mark.parametrize("fold", ["0", "6", "", "one", "1.0"])
def test_esc10_refuses_folds_that_are_not_1_to_5(tmp_path, fold):
    write(tmp_path, changed("esc10", 1, fold=fold))
    assert f"b/2.wav has fold {fold!r}, expected 1 to 5" in refusal("esc10", tmp_path)


def test_a_file_that_is_named_twice_is_loaded_and_doubted(tmp_path):
    write(tmp_path, [*ROWS["esc10"], ROWS["esc10"][0]])
    assert len(esc10.load(tmp_path)) == 3
    reasons = [fault.reason for fault in check(esc10, tmp_path).faults]
    assert "row 3 repeats the file 'a/1.wav' of row 1" in reasons


@every_collection
@pytest.mark.parametrize("file", ["../x.wav", "/x.wav", "a/../../x.wav", "..\\x.wav", "C:/x.wav", "."])
def test_a_table_cannot_point_outside_of_its_folder(tmp_path, name, file):
    root = write(tmp_path / "set", ROWS[name])
    with (root / "metadata.csv").open("a", newline="") as table:
        csv.writer(table).writerow([file if column == "file" else "x" for column in ROWS[name][0]])
    assert f"row {len(ROWS[name]) + 1} points outside of the data set ({file})" in refusal(name, root)


@every_collection
def test_the_file_of_a_row_that_cannot_be_read_is_not_called_unnamed(tmp_path, name):
    root = write(tmp_path, ROWS[name])
    for damage in (lambda line: line[:2], lambda line: [*line, "x"]):
        with (write(root, ROWS[name]) / "metadata.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
        lines[1] = damage(lines[1])
        with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
        reasons = [fault.reason for fault in check(DATASETS[name], root).faults]
        assert sum("row 1 " in reason for reason in reasons) == 1
        assert "no table names it" not in reasons


@pytest.mark.parametrize("name", ["esc50", "urbansound8k", "pairs-table", "vocalsketch", "demo"])
def test_the_file_of_a_refused_row_is_not_called_unnamed(tmp_path, name):
    layout = LAYOUTS[name]
    layout.make(tmp_path)
    tables = {layout.table: {"filename", "slice_file_name", "recording"}}
    if name in ("vocalsketch", "demo"):
        tables |= {table: {"filename"} for table in ("sound_labels.csv", "sound_recordings.csv")}
    for table, files in tables.items():
        rows = read_table(tmp_path / table)
        first = 1 + next((place for place, column in enumerate(rows[0]) if column in files), 0)
        damages = [rows[3][:length] for length in range(first, len(rows[3]))] + [[*rows[3], "x"]]
        # a cell that makes no sense, but for those that say which file it is
        damages += [
            [*rows[3][:place], nonsense, *rows[3][place + 1 :]]
            for place, column in enumerate(rows[0])
            for nonsense in ("", "nonsense", rows[1][place])
            if column not in {*files, "imitation"} and (column, nonsense) != ("fold", rows[1][place])
        ]
        for damage in damages:
            write_table(tmp_path / table, [*rows[:3], damage, *rows[4:]])
            reasons = [fault.reason for fault in check(DATASETS[name], tmp_path).faults]
            assert "no table names it" not in reasons, damage
        write_table(tmp_path / table, rows)
    if name in ("vocalsketch", "demo"):
        (tmp_path / layout.table).unlink()
        (fault,) = check(DATASETS[name], tmp_path).faults
        assert "no such table" in fault.reason


@every_collection
def test_a_table_with_nul_bytes_is_refused(tmp_path, name):
    table = write(tmp_path, ROWS[name]) / "metadata.csv"
    table.write_bytes(table.read_bytes() + bytes(40))  # as after a power cut
    assert "not a table (it holds a NUL)" in refusal(name, tmp_path)
    assert check(DATASETS[name], tmp_path).faults[0].reason == "not a table (it holds a NUL)"


def test_esc10_labels_lose_their_number(tmp_path):
    clips = esc10.load(write(tmp_path, ROWS["esc10"]))
    assert [(clip.label, clip.fold, clip.collection) for clip in clips] == [("Dog_bark", 1, "1"), ("Rain", 5, "5")]


def test_speech_without_collections_is_held_out_by_speaker(tmp_path):
    root = write(tmp_path / "some-set", ROWS["speech-lid"], ["file", "label", "speaker"])
    assert [clip.collection for clip in speech_lid.load(root)] == ["some-set/s1", "some-set/s2"]


def test_speech_refuses_languages_that_the_tower_does_not_know(tmp_path):
    write(tmp_path, changed("speech-lid", 1, label="pt"))
    assert "b/2.wav has the unknown language 'pt', expected one of de, en, es" in refusal("speech-lid", tmp_path)


def test_speech_knows_its_speakers(tmp_path):
    assert [clip.speaker for clip in speech_lid.load(write(tmp_path, ROWS["speech-lid"]))] == ["s1", "s2"]


def test_telephone_pairs_descend_from_first_imitations(tmp_path):
    pairs = telephone.load(write(tmp_path, ROWS["telephone-imitations"]))
    assert pairs == [
        Pair(tmp_path / "first.wav", tmp_path / "seed.wav", "chain", "chain/1"),
        Pair(tmp_path / "second.wav", tmp_path / "first.wav", "chain", "chain/1"),
        Pair(tmp_path / "other.wav", tmp_path / "seed.wav", "chain", "chain/3"),
    ]


def test_telephone_names_a_parent_that_is_not_in_the_table(tmp_path):
    write(tmp_path, changed("telephone-imitations", 1, parent_file="gone.wav"))
    assert "the recording gone.wav that first.wav imitates is missing" in refusal("telephone-imitations", tmp_path)


@pytest.mark.parametrize("parent", ["second.wav", "first.wav"])
def test_telephone_refuses_imitations_in_a_circle(tmp_path, parent):
    write(tmp_path, changed("telephone-imitations", 1, parent_file=parent))
    assert "circle" in refusal("telephone-imitations", tmp_path)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("esc10", "esc10"), ("telephone-imitations", "telephone-imitations"), ("speech-lid", "voxforge-real")],
)
def test_the_real_collections_have_no_fault(data_folder, name, folder):
    assert check(DATASETS[name], data_folder / folder).faults == []


def test_six_real_rows_of_speech_are_repeated(data_folder):
    doubts = speech_lid.survey(data_folder / "speech-lid", refuse).doubts
    assert len(doubts) == 6 and all("repeats the file" in reason for _, reason in doubts)


def test_the_real_telephone_imitations(data_folder):
    pairs = telephone.load(data_folder / "telephone-imitations")
    assert len(pairs) == 244
    assert len({pair.recording for pair in pairs}) == 170
    assert len({pair.chain for pair in pairs}) == 4
    assert len({pair.imitation for pair in pairs}) == 244
    assert all(pair.imitation != pair.recording for pair in pairs)
    assert all(pair.subtree.startswith(f"{pair.chain}/") for pair in pairs)


def test_the_real_esc10(data_folder):
    clips = esc10.load(data_folder / "esc10")
    assert len(clips) == 400
    assert Counter(clip.fold for clip in clips) == dict.fromkeys(range(1, 6), 80)
    assert len({clip.label for clip in clips}) == 10
    assert set(Counter((clip.label, clip.fold) for clip in clips).values()) == {8}


def test_the_real_speech(data_folder):
    train = speech_lid.load(data_folder / "speech-lid")
    test = speech_lid.load(data_folder / "voxforge-real")
    assert (len(train), len(test)) == (3354, 79)
    assert {clip.label for clip in train} == set(speech_lid.LANGUAGES) >= {clip.label for clip in test}
    assert not {clip.collection for clip in train} & {clip.collection for clip in test}
    assert all(clip.collection.startswith("voxforge-real/") for clip in test)
