"""The copy beside the table: the answers of the table, whatever happens to either."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from test_index import FakePart, FakeScorer, add, fake, noise, rows_of, write

from iminet_viz import index, resident
from iminet_viz.errors import LibraryError
from iminet_viz.index import Library, open_index
from iminet_viz.scan import StoredForm


@pytest.fixture
def made(tmp_path) -> Path:
    """Three files of four windows."""
    for number in range(3):
        write(tmp_path / f"s/{number}.wav", noise(1.0, seed=number))
    add(tmp_path / "i", tmp_path / "s")
    return tmp_path


def copies(path: Path) -> list[Path]:
    return [entry for entry in (path / resident.FOLDER).iterdir() if entry.is_dir()]


def of_table(path: Path) -> Library:
    """A library that has no copy to read, at the latest version."""
    hidden = path.parent / "elsewhere"
    (path / resident.FOLDER).rename(hidden)
    library = open_index(path)
    assert library._copy is None
    _ = library.vectors()
    hidden.rename(path / resident.FOLDER)
    return library


def same(one: Library, other: Library) -> None:
    assert rows_of(one) == rows_of(other)
    for field in dataclasses.fields(one.windows.files):
        np.testing.assert_array_equal(*(getattr(x.windows.files, field.name) for x in (one, other)))
    for part in range(len(one.settings.parts)):
        vectors = one.vectors(part)
        assert vectors.dtype == other.vectors(part).dtype
        assert not vectors.flags.writeable
        assert np.array_equal(vectors, other.vectors(part))
    assert (one.version, one.settings) == (other.version, other.settings)


def test_what_a_copy_says_is_what_the_table_says(tmp_path):
    parts = FakePart(), FakePart("other", stored=StoredForm("int8", 4))
    odd = os.fsdecode(b"odd \xff\n.wav")
    for name in ("Grüße/a.wav", "b.wav", odd):
        write(tmp_path / "s" / name, noise(1.0, seed=len(name)))
    (tmp_path / "s/bad.wav").write_text("no sound")
    (tmp_path / "s/licence.txt").write_text("CC0\n")
    scorer = FakeScorer(parts)
    open_index(tmp_path / "i", scorer).add(tmp_path / "s", workers=0)
    library = open_index(tmp_path / "i", scorer)
    assert library._copy is not None
    same(library, of_table(tmp_path / "i"))
    assert library.words_mask("grüße").sum() == 4
    assert any(path.endswith(odd) for path in library.windows.files.paths)


def test_each_change_makes_another_copy_and_only_one_stays(made):
    path, seen = made / "i", set()

    def check(files: int) -> None:
        library = open_index(path)
        assert library._copy is not None
        assert len(library.windows.files.paths) == files
        same(library, of_table(path))
        (copy,) = copies(path)
        seen.add(copy.name)

    check(3)
    write(made / "s/3.wav", noise(1.0, seed=3))
    add(path, made / "s")
    check(4)
    open_index(path).remove([made / "s/0.wav"])
    check(3)
    open_index(path).compact(timedelta(0))
    check(3)
    before = set(seen)
    os.utime(made / "s/1.wav", ns=(1, 1))
    add(path, made / "s/1.wav", licence="CC0")  # only what is said of the file
    check(3)
    assert len(seen) == 5
    add(path, made / "s/1.wav", licence="CC0")  # nothing
    check(3)
    assert len(seen - before) == 1
    open_index(path).remove(missing=True)  # nothing either
    check(3)


@pytest.mark.parametrize("most", [resident.MOST_BYTES, 0])
def test_whoever_changes_a_library_reads_what_it_has_become(made, monkeypatch, most):
    path = made / "i"
    monkeypatch.setattr(index, "COMMIT_FILES", 1)
    monkeypatch.setattr(index, "BATCH", 1)
    monkeypatch.setattr(resident, "MOST_BYTES", most)
    for number in range(3, 6):
        write(made / f"s/{number}.wav", noise(1.0, seed=number))
    library = open_index(path, fake())
    assert library._copy is not None and len(library.windows) == 12
    added = library.add(made / "s", workers=0, stop=lambda: True)
    assert added.interrupted and 0 < added.windows < 12  # no copy is made of it
    assert len(library.windows) == 12 + added.windows
    same(library, of_table(path))
    library.add(made / "s", workers=0)
    same(library, of_table(path))
    library.remove([made / "s/0.wav"])
    assert len(library.windows) == 20
    same(library, of_table(path))
    library.compact()
    same(library, of_table(path))


def test_a_search_needs_neither_lancedb_nor_pyarrow(made):
    code = (
        "import sys\n"
        "from iminet_viz.index import open_index\n"
        f"library = open_index({str(made / 'i')!r})\n"
        "print(len(library.vectors()), library.words_mask('1').sum(), library.keep_copy(), library.version > 0)\n"
        "print({'lancedb', 'pyarrow', 'torch', 'pandas'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["12 4 True True", "set()"]


def damage(path: Path, kind: str) -> None:
    (copy,) = copies(path)
    vectors, head = copy / "vector_0.npy", copy / resident.HEAD
    content = bytearray(vectors.read_bytes())
    if kind == "a bit of a vector":
        content[-5] ^= 1
        vectors.write_bytes(content)
    elif kind == "half a file":
        vectors.write_bytes(content[: len(content) // 2])
    elif kind == "a file is gone":
        (copy / "files.json").unlink()
    elif kind == "a name":
        (copy / "files.json").write_text((copy / "files.json").read_text().replace("1.wav", "9.wav"))
    elif kind == "a number of the head":
        head.write_text(head.read_text().replace('"window_s', '"window_t').replace("0.4", "0.8"))
    elif kind == "no head":
        head.unlink()
    elif kind == "half a head":
        head.write_text(head.read_text()[:100])
    elif kind == "another format":
        text = head.read_text().split("\n", 1)[1].replace('"format": 1', '"format": 2', 1)
        head.write_text(f"{resident._head_check(text)}\n{text}")
    elif kind == "of another version":
        text = head.read_text().split("\n", 1)[1].replace(copy.name, "0" * 32)
        head.write_text(f"{resident._head_check(text)}\n{text}")


KINDS = (
    "a bit of a vector", "half a file", "a file is gone", "a name", "a number of the head", "no head", "half a head",
    "another format", "of another version",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_copy_is_not_believed_and_made_again(made, kind):
    path = made / "i"
    expected = of_table(path)
    damage(path, kind)
    library = open_index(path)
    same(library, expected)
    assert library._copy is None
    assert library.keep_copy()
    again = open_index(path)
    assert again._copy is not None
    same(again, expected)


def test_a_copy_that_is_being_made_is_not_seen_and_what_a_killed_one_left_goes(made, monkeypatch):
    path = made / "i"
    expected = of_table(path)
    resident.clear_copies(path)

    def killed(*arguments) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(resident.shutil, "rmtree", lambda *arguments, **options: None)  # nor does it clean up
    monkeypatch.setattr(index.Library, "_fill", killed)
    library = open_index(path)
    with pytest.raises(KeyboardInterrupt):
        library.keep_copy()
    monkeypatch.undo()
    (half,) = copies(path)
    assert half.name.startswith("making-")
    library = open_index(path)
    assert library._copy is None
    same(library, expected)
    assert library.keep_copy()
    assert copies(path) == [path / resident.FOLDER / library._key]


@pytest.mark.parametrize("why", ["read-only", "full", "large"])
def test_without_a_copy_the_table_is_read(made, monkeypatch, why):
    path = made / "i"
    expected = of_table(path)
    resident.clear_copies(path)

    if why == "large":
        monkeypatch.setattr(resident, "MOST_BYTES", 12 * 32 - 1)
    else:
        refused, place = (Path, "mkdir") if why == "read-only" else (os, "posix_fallocate")
        make = getattr(refused, place)

        def refuse(what, *arguments, **options) -> None:
            if why == "full" or resident.FOLDER in what.parts:
                raise OSError("no")
            make(what, *arguments, **options)

        monkeypatch.setattr(refused, place, refuse)
    library = open_index(path)
    same(library, expected)
    assert not library.keep_copy()
    assert not copies(path)
    library.keep_note("recall", 1)  # is left undone, or done
    monkeypatch.undo()
    assert library.keep_copy()


def test_a_reader_keeps_its_version_and_never_mixes_two(made):
    path = made / "i"
    early, late = open_index(path), open_index(path)
    before = of_table(path)
    same(early, before)  # has read its copy
    write(made / "s/0.wav", noise(0.6, seed=50))
    add(path, made / "s")
    same(early, before)
    same(late, before)  # its copy was deleted before it was read: the table has the version still
    assert early.status()["files"] == 3  # opens the table, at its version
    assert early._table.version == before.version
    assert early.refresh()
    same(early, of_table(path))
    held = open_index(path)
    version = held.version
    write(made / "s/1.wav", noise(0.6, seed=51))
    add(path, made / "s")
    open_index(path).compact(timedelta(0))
    with pytest.raises(LibraryError, match=f"version {version} cannot be read, refresh"):
        held.vectors()
    assert held.refresh()
    same(held, of_table(path))


def test_a_table_made_again_has_another_name(made):
    path = made / "i"
    key = resident.table_key(path / "windows.lance")
    (copy,) = copies(path)
    shutil.copytree(copy, made / "kept")
    shutil.rmtree(path)
    for number in range(3):
        write(made / f"s/{number}.wav", noise(1.0, seed=10 + number))
    add(path, made / "s")  # as many versions of as many bytes
    library = open_index(path)
    assert resident.table_key(path / "windows.lance") != key
    shutil.copytree(made / "kept", path / resident.FOLDER / key)
    same(open_index(path), library)
    same(library, of_table(path))


def test_searching_while_others_add_and_make_copies(made):
    path = made / "i"
    stop, faults, read = threading.Event(), [], []

    def search() -> None:
        try:
            while not stop.is_set():
                library = open_index(path)
                vectors, windows = library.vectors(), library.windows
                assert len(vectors) == len(windows)
                for row, (name, _, start, _) in enumerate(rows_of(library)):  # each vector is of its own file
                    sound = noises[int(name[0])]
                    assert any(
                        np.array_equal(vectors[row], x[round(1000 * start) :][:8].astype(np.float32)) for x in sound
                    ), name
                library.keep_copy()
                read.append(library._copy is not None)
        except LibraryError as error:
            if "refresh" not in str(error):
                faults.append(error)
        except BaseException as error:
            faults.append(error)

    noises = {number: [noise(1.0, seed=number + 10 * turn) for turn in range(7)] for number in range(3)}
    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(1, 7):
        for number in range(3):
            write(made / f"s/{number}.wav", noises[number][turn])
        add(path, made / "s")
        if turn % 3 == 0:
            open_index(path).compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults
    assert any(read)
    same(open_index(path), of_table(path))


def test_notes_are_of_one_version(made):
    path = made / "i"
    library = open_index(path, fake())
    assert library.note("recall") is None
    library.keep_note("recall", {"best": 7})
    library.keep_note("other", 1)
    assert open_index(path).note("recall") == {"best": 7}
    (notes,) = (path / resident.FOLDER).glob("*.json")
    text = notes.read_text()
    notes.write_text(text.replace("7", "8"))
    assert open_index(path).note("recall") is None
    notes.write_text(text)
    write(made / "s/3.wav", noise(1.0, seed=3))
    add(path, made / "s")
    assert open_index(path).note("recall") is None
    assert not list((path / resident.FOLDER).glob("*.json"))
    assert json.loads((copies(path)[0] / resident.HEAD).read_text().split("\n", 1)[1])["format"] == resident.FORMAT
