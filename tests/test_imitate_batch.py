"""Folders of imitations: the same bytes from any number of processes, continued after any end, odd sounds said."""

import contextlib
import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_audio import small_disk

from iminet_viz.audio import read_native, save_audio
from iminet_viz.errors import AudioError, ImitationError
from iminet_viz.imitator import STRATEGIES, ImitatorConfig, batch
from iminet_viz.imitator.batch import Task, describe, imitate_files, read_beginning, render

ROOT = Path(__file__).resolve().parent.parent
on_linux = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="looks at the processes through Linux's /proc"
)


def chirp(seconds: float = 0.25, rate: int = 16_000, start: float = 300) -> np.ndarray:
    time_s = np.arange(int(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * start * time_s * (1 + time_s)) * np.hanning(len(time_s))


@pytest.fixture
def sounds(tmp_path) -> Path:
    """Three sounds in two categories."""
    for index, name in enumerate(("birds/a.wav", "birds/b.flac", "dogs/a.wav")):
        save_audio(tmp_path / "sounds" / name, chirp(start=200 + 150 * index), 16_000)
    return tmp_path / "sounds"


@pytest.fixture
def call_imitate(call):
    """Run ``iminet-viz imitate`` in this process: exit status, stdout, stderr."""
    return lambda *arguments: call("imitate", *arguments)


def table(out: Path) -> list[dict[str, str]]:
    with (out / "pairs.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(out: Path) -> dict[str, bytes]:
    """All files, by name."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def last_line(err: str) -> str:
    assert "Traceback" not in err
    return [line for line in err.splitlines() if line.strip()][-1]


# --- what is made ---------------------------------------------------------------------------------------------------


def test_files_and_table(sounds, tmp_path):
    out = tmp_path / "out"
    seen = []
    done = imitate_files([sounds], out, count=2, seed=3, workers=1, progress=lambda *step: seen.append(step))
    assert (done.sounds, done.imitations, done.made, done.left_out) == (3, 6, 6, ())
    assert seen == [("", 2, 6), ("", 4, 6), ("", 6, 6)]
    rows = table(out)
    assert [row["imitation"] for row in rows] == [
        f"sounds/{name}/{number}.wav"
        for name in ("birds/a.wav", "birds/b.flac", "dogs/a.wav")
        for number in ("00", "01")
    ]
    assert list(rows[0])[:6] == ["imitation", "recording", "category", "speaker", "strategy", "seed"]
    assert [row["category"] for row in rows] == ["birds"] * 4 + ["dogs"] * 2
    assert rows[0]["recording"] == "../sounds/birds/a.wav"
    assert len({row["speaker"] for row in rows}) == len({row["seed"] for row in rows}) == 6
    for row in rows:
        assert (out / row["recording"]).is_file()
        assert row["strategy"] in STRATEGIES
        waveform, rate = read_native(out / row["imitation"])
        assert rate == 16_000
        assert 1e-3 < np.abs(waveform).max() <= 1
        assert 0 <= float(row["start_s"]) < float(row["stop_s"]) <= 0.3
    assert {path.name for path in out.rglob("*") if path.is_file()} == {
        "00.wav",
        "01.wav",
        "pairs.csv",
        "imitations.json",
    }
    assert json.loads((out / "imitations.json").read_text())["seed"] == 3


def test_a_table_s_seed_makes_the_imitation_again(sounds, tmp_path):
    imitate_files([sounds / "dogs"], tmp_path / "out", 1, workers=1)
    (row,) = table(tmp_path / "out")
    waveform, rate = read_native(tmp_path / "out" / row["recording"])
    again = batch.imitate(batch.analyse(waveform, rate), int(row["seed"]))
    written, _ = read_native(tmp_path / "out" / row["imitation"])
    assert row["strategy"] == again.strategy
    np.testing.assert_allclose(written, again.waveform, atol=1 / 32_768)


def test_the_same_bytes_from_any_number_of_processes(sounds, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    imitate_files([sounds], one, count=3, workers=1)
    done = imitate_files([sounds], two, count=3, workers=2)
    assert done.made == 9
    assert contents(one) == contents(two)


def test_the_seed_follows_the_content_not_the_name(sounds, tmp_path):
    imitate_files([sounds], tmp_path / "first", 1, workers=1)
    moved = tmp_path / "other" / "x" / "y.wav"
    moved.parent.mkdir(parents=True)
    shutil.copy(sounds / "dogs" / "a.wav", moved)
    imitate_files([moved], tmp_path / "second", 1, workers=1)
    first, second = (contents(tmp_path / name) for name in ("first", "second"))
    assert second["x/y.wav/00.wav"] == first["sounds/dogs/a.wav/00.wav"]
    imitate_files([moved], tmp_path / "third", 1, seed=1, workers=1)
    assert contents(tmp_path / "third")["x/y.wav/00.wav"] != second["x/y.wav/00.wav"]


def test_odd_and_equal_names_stay_apart_and_inside(tmp_path, monkeypatch):
    names = ("one/s/ü b.wav", "one/s/-x.wav", "one/s/line\nbreak.wav", 'one/s/"q", [/b].wav', "one/s/a.wav")
    names += ("one/s/a.flac", "two/s/a.wav", "two/s/s-2/a.wav", "one/s-2/a.wav", "one/s/a.wav.d/a.wav")
    for index, name in enumerate(names):
        save_audio(tmp_path / name, chirp(0.05, start=200 + 50 * index), 16_000)
    monkeypatch.chdir(tmp_path / "one" / "s")
    out = tmp_path / "out"
    sounds = [Path("../s"), "../../two/s", "../s-2", "-x.wav", tmp_path / "one" / "s" / "a.wav"]
    done = imitate_files(sounds, out, 2, workers=1)
    assert (done.sounds, done.imitations, done.left_out) == (len(names), 2 * len(names), ())
    rows = table(out)
    assert len({row["imitation"] for row in rows}) == 2 * len(names)
    assert {(out / row["recording"]).resolve() for row in rows} == {tmp_path / name for name in names}
    assert all((out / row["imitation"]).resolve().is_relative_to(out) for row in rows)
    assert {path.name for path in out.iterdir()} == {"s", "s-2", "s-2-2", "pairs.csv", "imitations.json"}


def test_a_name_that_no_table_can_hold_is_left_out(sounds, tmp_path):
    (sounds / "birds" / "a.wav").rename(os.fsdecode(os.fsencode(sounds) + b"/birds/\xff.wav"))
    done = imitate_files([sounds], tmp_path / "out", 1, workers=1)
    assert done.imitations == 2
    ((_, reason),) = done.left_out
    assert "not UTF-8" in reason
    reason.encode()


def test_the_output_inside_the_sounds_and_the_other_way_round(sounds):
    for _ in range(2):
        done = imitate_files([sounds], sounds / "out", 1, workers=1)
        assert done.sounds == done.imitations == 3
    with pytest.raises(ImitationError, match="lies in the output folder"):
        imitate_files([sounds], sounds.parent, 1, workers=1)


def test_render_makes_named_files_for_a_corpus(sounds, tmp_path):
    outputs = tuple(tmp_path / "corpus" / f"v{index}.flac" for index in range(2))
    task = Task(sounds / "dogs" / "a.wav", outputs, (7, 8))
    (first,) = render([task], workers=1)
    assert (first.made, first.reason, set(first.finished)) == (2, "", set(outputs))
    assert soundfile.info(outputs[0]).format == "FLAC"
    assert describe(outputs[1]) == first.finished[outputs[1]]
    before = contents(tmp_path / "corpus")
    outputs[1].unlink()
    (second,) = render([task], workers=1)
    assert (second.made, second.finished) == (1, first.finished)
    assert contents(tmp_path / "corpus") == before
    with pytest.raises(ImitationError, match="unknown suffix"):
        list(render([Task(task.sound, (tmp_path / "a.mp3",), (0,))], workers=1))


# --- continued ------------------------------------------------------------------------------------------------------


def test_a_second_run_makes_only_what_is_missing(sounds, tmp_path):
    out = tmp_path / "out"
    imitate_files([sounds], out, 2, workers=1)
    before = contents(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("0?.wav")}
    lost, half = out / "sounds" / "birds" / "a.wav" / "01.wav", out / "sounds" / "dogs" / "a.wav" / "00.wav"
    lost.unlink()
    half.write_bytes(half.read_bytes()[:40])
    (out / "pairs.csv").unlink()
    leftover = half.parent / ".01-abcd_123.wav"  # of a machine that went down
    leftover.write_bytes(b"")
    done = imitate_files([sounds], out, 2, workers=1)
    assert (done.imitations, done.made) == (6, 2)
    assert contents(out) == before
    assert [path for path in times if path.stat().st_mtime_ns != times[path]] == [
        path for path in times if path in (lost, half)
    ]


def test_a_sound_that_was_replaced_is_imitated_again(sounds, tmp_path):
    out = tmp_path / "out"
    imitate_files([sounds], out, 2, workers=1)
    save_audio(sounds / "dogs" / "a.wav", chirp(start=700), 16_000)
    assert imitate_files([sounds], out, 2, workers=1).made == 2
    save_audio(tmp_path / "fresh" / "a.wav", chirp(start=700), 16_000)
    imitate_files([tmp_path / "fresh"], tmp_path / "out2", 2, workers=1)
    assert [row["seed"] for row in table(out)[4:]] == [row["seed"] for row in table(tmp_path / "out2")]


def test_a_finished_folder_starts_no_process(sounds, tmp_path, monkeypatch):
    imitate_files([sounds], tmp_path / "out", 1, workers=1)
    monkeypatch.setattr(batch, "for_workers", None)
    assert imitate_files([sounds], tmp_path / "out", 1, workers=2).made == 0


def test_other_settings_are_refused_and_replaced_on_demand(sounds, tmp_path):
    out = tmp_path / "out"
    imitate_files([sounds], out, 2, workers=1)
    before = contents(out)
    config = ImitatorConfig(strategies=("hum",))
    for changes, said in (
        ({"seed": 1}, "seed 0, not 1"),
        ({"count": 3}, "count 2, not 3"),
        ({"suffix": ".flac"}, "suffix"),
        ({"config": config}, "strategies"),
    ):
        with pytest.raises(ImitationError, match=f"holds imitations made with {said}.*--force"):
            imitate_files([sounds], out, **{"count": 2, "workers": 1, **changes})
    assert contents(out) == before
    (tmp_path / "mine.wav").write_bytes(before["sounds/dogs/a.wav/00.wav"])
    (out / "note.txt").write_text("mine")
    with (out / "pairs.csv").open("a") as file:
        file.write("../mine.wav,x,,p,hum,1,0,1\nnote.txt,x,,p,hum,1,0,1\n")
    done = imitate_files([sounds], out, 1, 5, config, workers=1, force=True)
    assert (done.imitations, done.made) == (3, 3)
    assert {row["strategy"] for row in table(out)} == {"hum"}
    assert {path.name for path in out.rglob("*") if path.is_file()} == {
        "00.wav",
        "pairs.csv",
        "imitations.json",
        "note.txt",
    }
    assert (tmp_path / "mine.wav").exists()


def test_force_removes_nothing_unless_something_replaces_it(sounds, tmp_path):
    out = tmp_path / "out"
    imitate_files([sounds], out, 1, workers=1)
    before = contents(out)
    save_audio(tmp_path / "silent" / "a.wav", np.zeros(8_000), 16_000)
    with pytest.raises(ImitationError, match=r"nothing was replaced.*silent"):
        imitate_files([tmp_path / "silent"], out, 1, workers=1, force=True)
    assert contents(out) == before
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "pairs.csv").write_text("imitation,recording\n")
    with pytest.raises(ImitationError, match="was not made by this command"):
        imitate_files([sounds], mine, 1, workers=1, force=True)
    assert contents(mine) == {"pairs.csv": b"imitation,recording\n"}


def test_a_run_that_made_nothing_binds_nothing(sounds, tmp_path):
    save_audio(tmp_path / "silent" / "a.wav", np.zeros(8_000), 16_000)
    assert imitate_files([tmp_path / "silent"], tmp_path / "out", 2, workers=1).imitations == 0
    assert contents(tmp_path / "out") == {}
    assert imitate_files([sounds], tmp_path / "out", 1, workers=1).made == 3


def test_a_folder_of_something_else_is_refused(sounds, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(ImitationError, match="holds files but no imitations"):
        imitate_files([sounds], tmp_path / "out", 1, workers=1)
    with pytest.raises(ImitationError, match="is a file"):
        imitate_files([sounds], tmp_path / "out" / "thesis.txt", 1, workers=1)
    assert contents(tmp_path / "out") == {"thesis.txt": b"mine"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("imitations.json", "{", "cannot be read"),
        ("pairs.csv", "imitation,recording\na,b\n", "lacks columns"),
        ("pairs.csv", "\udcff", "not a table"),
    ],
)
def test_damaged_tables_are_refused(sounds, tmp_path, name, text, said):
    imitate_files([sounds], tmp_path / "out", 1, workers=1)
    (tmp_path / "out" / name).write_text(text, errors="surrogateescape")
    with pytest.raises(ImitationError, match=f"{said}.*--force"):
        imitate_files([sounds], tmp_path / "out", 1, workers=1)
    assert imitate_files([sounds], tmp_path / "out", 1, workers=1, force=True).made == 3


def test_a_second_folder_adds_to_the_table(sounds, tmp_path):
    out = tmp_path / "out"
    imitate_files([sounds / "birds"], out, 1, workers=1)
    imitate_files([sounds / "dogs"], out, 1, workers=1)
    assert [row["imitation"] for row in table(out)] == [
        "birds/a.wav/00.wav",
        "birds/b.flac/00.wav",
        "dogs/a.wav/00.wav",
    ]
    save_audio(tmp_path / "more" / "dogs" / "a.wav", chirp(start=800), 16_000)
    with pytest.raises(ImitationError, match="choose another output folder"):
        imitate_files([tmp_path / "more" / "dogs"], out, 1, workers=1)
    (sounds / "birds" / "a.wav").unlink()
    imitate_files([sounds / "dogs"], out, 1, workers=1)
    assert [row["imitation"] for row in table(out)] == ["birds/b.flac/00.wav", "dogs/a.wav/00.wav"]


# --- odd sounds -----------------------------------------------------------------------------------------------------


def long_sound(path: Path, seconds: int, rate: int, channels: int) -> None:
    """Two seconds of sound and then silence that takes no room on the disk."""
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        beginning = np.repeat((20_000 * chirp(2, rate)).astype("<i2"), channels)
        file.writeframes(beginning.tobytes())
    length = seconds * rate * channels * 2
    with path.open("r+b") as file:
        header = bytearray(file.read(44))
        header[4:8], header[40:44] = (length + 36).to_bytes(4, "little"), length.to_bytes(4, "little")
        file.seek(0)
        file.write(header)
        file.truncate(44 + length)


def test_a_long_sound_is_not_read_into_memory(tmp_path):
    long_sound(tmp_path / "long.wav", 900, 96_000, 2)
    assert (tmp_path / "long.wav").stat().st_size > 340e6
    tracemalloc.start()
    waveform, rate, (begin_s, goes_on) = read_beginning(tmp_path / "long.wav")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(waveform), rate, begin_s, goes_on) == (60 * 96_000, 96_000, 0, True)
    assert peak < 60e6
    assert np.abs(waveform).max() > 0.2


def test_a_minute_is_read_as_any_sound(tmp_path):
    long_sound(tmp_path / "minute.wav", 60, 8_000, 1)
    waveform, rate, (begin_s, goes_on) = read_beginning(tmp_path / "minute.wav")
    np.testing.assert_array_equal(waveform, read_native(tmp_path / "minute.wav")[0])
    assert (rate, begin_s, goes_on) == (8_000, 0, False)
    (tmp_path / "x.raw").write_bytes(b"1234")
    with pytest.raises(AudioError, match="no header"):
        read_beginning(tmp_path / "x.raw")
    for place in (0, 4_500):
        bad = np.zeros(8_000, np.float32)
        bad[place] = np.nan
        soundfile.write(tmp_path / "nan.wav", bad, 8_000, subtype="FLOAT")
        with pytest.raises(AudioError, match="NaN"):
            read_beginning(tmp_path / "nan.wav", 0.5)


@pytest.mark.parametrize(("silence_s", "rest_s", "goes_on"), [(70, 0, False), (70, 100, True), (2.5, 70, True)])
def test_a_minute_is_heard_from_where_the_sound_begins(tmp_path, silence_s, rest_s, goes_on):
    rate = 8_000
    sound = np.concatenate([np.zeros(int(silence_s * rate)), chirp(1, rate), np.zeros(rest_s * rate)])
    save_audio(tmp_path / "late.flac", sound, rate)
    waveform, _, (begin_s, more) = read_beginning(tmp_path / "late.flac")
    assert begin_s == int(silence_s) and more == goes_on
    expected = sound[int(silence_s) * rate :][: 60 * rate]
    np.testing.assert_allclose(waveform, expected, atol=1 / 32_768)
    done = imitate_files([tmp_path / "late.flac"], tmp_path / "out", 2, workers=1)
    assert (done.imitations, done.left_out, len(done.shortened)) == (2, (), goes_on)
    assert all(
        silence_s <= float(row["start_s"]) < float(row["stop_s"]) < silence_s + 1.2 for row in table(tmp_path / "out")
    )


@pytest.mark.parametrize("before", ["dither", "click", "hum", "silence", "sound"])
def test_what_is_far_quieter_than_the_rest_is_not_where_a_long_sound_begins(tmp_path, before):
    rate = 8_000
    quiet = np.random.default_rng(0).integers(-1, 2, 70 * rate) / 32_768
    if before == "click":
        quiet = np.eye(1, 70 * rate, 100)[0] * 0.01
    elif before == "hum":
        quiet = 0.004 * np.sin(np.arange(70 * rate) * 0.1)  # 42 dB below
    elif before == "silence":
        quiet = np.zeros(70 * rate)
    elif before == "sound":
        quiet[rate : 2 * rate] = 0.1 * chirp(1, rate)  # 20 dB below
    save_audio(tmp_path / "late.flac", np.concatenate([quiet, chirp(1, rate), np.zeros(9 * rate)]), rate)
    waveform, _, (begin_s, goes_on) = read_beginning(tmp_path / "late.flac")
    if before == "sound":
        assert (begin_s, len(waveform), goes_on) == (1, 60 * rate, True)
    else:
        assert (begin_s, len(waveform), goes_on) == (70, 10 * rate, False)
        np.testing.assert_allclose(waveform[:rate], chirp(1, rate), atol=1 / 32_768)


def test_channels_that_cancel_out_are_said(tmp_path, call_imitate):
    tone = 0.5 * np.sin(np.arange(4_000) * 0.1)
    (tmp_path / "sounds").mkdir()
    for name, length in (("short.wav", 4_000), ("long.flac", 61 * 8_000)):
        samples = np.zeros((length, 2))
        samples[-4_000:] = np.stack([tone, -0.99999 * tone], axis=1)
        soundfile.write(tmp_path / "sounds" / name, samples, 8_000, subtype="PCM_24")
    status, _, err = call_imitate(tmp_path / "sounds", "--out", tmp_path / "out", "--workers", 1)
    said = [line for line in err.splitlines() if line.startswith("left out: ")]
    assert status == 1 and len(said) == 2
    assert all(
        line.endswith(": its 2 channels cancel out: their mean, which is what is read, is silent") for line in said
    )


def test_what_is_broken_after_the_minute_is_broken(tmp_path):
    samples = np.append(np.full(61 * 8_000, 0.1), np.nan)
    soundfile.write(tmp_path / "nan.wav", samples, 8_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN"):
        read_beginning(tmp_path / "nan.wav")


def test_only_what_is_silent_throughout_is_called_silent(tmp_path, call_imitate):
    save_audio(tmp_path / "silent.flac", np.zeros(150 * 8_000), 8_000)
    _, _, err = call_imitate(tmp_path / "silent.flac", "--out", tmp_path / "out")
    assert "silent.flac: the sound is silent" in err


def test_what_a_folder_holds_besides_sounds_is_named(sounds, tmp_path, call_imitate):
    (sounds / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (sounds / "loop").symlink_to("loop")
    (sounds / "dogs" / "linked.wav").symlink_to("a.wav")
    (sounds / "dogs" / "d.wav").mkdir()
    for name in (
        "birds/a.m4a",
        "b.WMA",
        "b.mp4",
        "b.mka",
        "b.sph",
        "dogs/c\n.opus",
        ".hidden.m4a",
        "notes.txt",
        "rows.csv",
        "cover.jpg",
        "plain",
    ):
        (sounds / name).write_bytes(b"x")
    expected = {
        "gone.wav": "is a link to what is not there",
        "loop": "is a link to what is not there",
        "birds/a.m4a": "files named .m4a are not read, expected .aif,",
        **{f"b.{suffix}": f"files named .{suffix.lower()} are not read" for suffix in ("WMA", "mp4", "mka", "sph")},
        "dogs/d.wav": "is an empty folder, expected a sound file",
        "dogs/c\n.opus": "files named .opus are not read",
    }
    if hasattr(os, "mkfifo"):
        os.mkfifo(sounds / "pipe.wav")
        expected["pipe.wav"] = "is a pipe, socket or device"
    status, out, err = call_imitate(sounds, "--out", sounds / "out", "--count", 1, "--workers", 1, "--json")
    assert status == 0, err
    left_out = {
        Path(entry["sound"]).relative_to(sounds).as_posix(): entry["reason"] for entry in json.loads(out)["left_out"]
    }
    assert set(left_out) == set(expected)
    assert all(expected[name] in left_out[name] for name in expected)
    assert [line for line in err.splitlines() if line.startswith("left out: ")] == [
        f"left out: {reason}" for _, reason in sorted(left_out.items())
    ]
    assert json.loads(out)["imitations"] == 4  # the link is a sound like any other
    shutil.rmtree(sounds / "dogs"), shutil.rmtree(sounds / "out")
    for force in ((), ("--force",)):
        (tmp_path / "m4a").mkdir(exist_ok=True)
        (tmp_path / "m4a" / "a.m4a").write_bytes(b"x")
        status, out, err = call_imitate(tmp_path / "m4a", "--out", tmp_path / "none", *force)
        assert (status, out) == (1, "") and "could be imitated" in last_line(err)


def test_odd_sounds_are_imitated_or_left_out_with_a_reason(tmp_path, call_imitate):
    folder = tmp_path / "sounds"
    save_audio(folder / "telephone.wav", chirp(rate=8_000), 8_000)
    soundfile.write(folder / "wide.wav", np.stack([chirp(rate=96_000)] * 2, axis=1), 96_000)
    save_audio(folder / "one sample.wav", np.array([0.5]), 16_000)
    long_sound(folder / "long.wav", 61, 16_000, 1)
    for name, waveform in (("silent", np.zeros(4_000)), ("nan", np.full(4_000, np.nan)), ("no sample", np.zeros(0))):
        soundfile.write(folder / f"{name}.wav", waveform, 16_000, subtype="FLOAT")
    (folder / "text.wav").write_text("no sound")
    (folder / "empty.mp3").write_bytes(b"")
    status, out, err = call_imitate(folder, "--out", tmp_path / "out", "--count", 2, "--workers", 1, "--json")
    assert status == 0, err
    figures = json.loads(out)
    left_out = {Path(entry["sound"]).name: entry["reason"] for entry in figures["left_out"]}
    assert {"silent.wav", "nan.wav", "no sample.wav", "text.wav", "empty.mp3"} == set(left_out) - {"one sample.wav"}
    for name, said in (("silent.wav", "silent"), ("nan.wav", "NaN"), ("text.wav", "audio"), ("empty.mp3", "empty")):
        assert said in left_out[name]
        assert str(folder / name) in left_out[name]
    assert all(f"left out: {reason}" in err for reason in left_out.values())
    assert figures["sounds"] == 9
    assert figures["imitations"] == figures["made"] == 2 * (9 - len(left_out)) == len(table(tmp_path / "out"))
    assert [Path(name).name for name in figures["shortened"]] == ["long.wav"]
    assert "longer than 60 s" in err


def test_nothing_to_imitate_is_a_mistake(tmp_path, call_imitate):
    empty, silent = tmp_path / "empty", tmp_path / "silent"
    empty.mkdir()
    save_audio(silent / "a.wav", np.zeros(100), 16_000)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.wav")  # would be waited for
    for arguments, said in (
        ((empty,), "holds no sound file"),
        ((tmp_path / "nowhere",), "no such file or folder"),
        ((tmp_path / "pipe.wav",), "no such file or folder"),
        ((silent, empty), "none of 1 sounds could be imitated"),
    ):
        status, out, err = call_imitate(*arguments, "--out", tmp_path / "out", "--workers", 1)
        assert (status, out) == (1, "")
        assert last_line(err).startswith("Error: ")
        assert said in last_line(err)


@pytest.mark.parametrize(
    "waveform",
    [np.array([np.nan, 0.1]), np.array([0.5, -1.2]), np.zeros(1_000), np.zeros(0), np.zeros((2, 2))],
    ids=["NaN", "clips", "silent", "empty", "shape"],
)
def test_an_imitation_that_is_no_sound_is_our_bug(sounds, tmp_path, monkeypatch, waveform):
    good = batch.imitate
    calls = []

    def faulty(*arguments):
        calls.append(arguments)
        made = good(*arguments)
        return made if len(calls) < 3 else type(made)(waveform.astype(np.float32), "hum", 0.0, 0.1)

    monkeypatch.setattr(batch, "imitate", faulty)
    with pytest.raises(RuntimeError, match="the imitation with seed") as caught:
        imitate_files([sounds], tmp_path / "out", 1, workers=1)
    assert "dogs/a.wav was imitated" in caught.value.__notes__[0]
    assert len(table(tmp_path / "out")) == len([*tmp_path.rglob("00.wav")]) == 2  # what was finished before


# --- the command line -----------------------------------------------------------------------------------------------


def test_the_verb_says_what_was_made(sounds, tmp_path, call_imitate):
    arguments = (sounds, "--out", tmp_path / "out", "--count", 1, "--workers", 1, "--format", "flac")
    status, out, err = call_imitate(*arguments, "--strategies", "hum, whistle")
    assert status == 0, err
    assert out.startswith("3 imitations of 3 sounds, 3 of them made now, 0 sounds left out: ")
    assert {row["strategy"] for row in table(tmp_path / "out")} <= {"hum", "whistle"}
    assert len([*(tmp_path / "out").rglob("00.flac")]) == 3
    status, out, err = call_imitate(*arguments)
    assert (status, out) == (1, "")
    assert "strategies" in last_line(err)


def test_wrong_usage(sounds, tmp_path, call_imitate):
    for arguments in ((), (sounds, "--strategies", "yodel"), (sounds, "--count", 0), (sounds, "--format", "mp3")):
        status, out, err = call_imitate(*arguments, "--out", tmp_path / "out")
        assert (status, out) == (2, "")
        assert last_line(err).startswith("Error: ")
    assert not (tmp_path / "out").exists()


# --- ends before the end --------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_the_rest_is_made_later(sounds, tmp_path, monkeypatch, call_imitate):
    out = tmp_path / "out"
    arguments = (sounds, "--out", out, "--count", 2, "--workers", 1)
    whole = Path.write_bytes
    room = {".json": 9, ".wav": 3, ".csv": 0}

    def full(path, content):
        room[path.suffix] -= 1
        if room[path.suffix] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    status, stdout, err = call_imitate(*arguments)
    assert (status, stdout) == (1, "")
    said = "cannot be written (No space left on device); 3 imitations are there,"
    assert f"{said} but pairs.csv could not be written, the same call makes the rest" in last_line(err)
    assert not (out / "pairs.csv").exists()
    room |= {".wav": 1, ".csv": 9}
    assert f"{said.replace('3', '4')} the same call" in last_line(call_imitate(*arguments)[2])
    assert {out / row["imitation"] for row in table(out)} == {*out.rglob("0?.wav")}
    room[".wav"] = 1
    save_audio(tmp_path / "more" / "sounds" / "a.wav", chirp(), 16_000)  # is begun first, and nothing of it is made
    with pytest.raises(ImitationError, match="; 4 imitations are there, the same call"):
        imitate_files([tmp_path / "more", sounds], out, 2, workers=1)
    assert len(table(out)) == 4
    monkeypatch.undo()
    done = imitate_files([sounds], out, 2, workers=1)
    assert (done.imitations, done.made) == (6, 2)


@pytest.mark.parametrize("size", ["100k", "128k", "132k"])
def test_a_really_full_disk(sounds, tmp_path, size):
    with small_disk(tmp_path / "disk", size) as disk:
        with pytest.raises(
            ImitationError, match=r"cannot be written \(No space left on device\); \d+ imitations are there, the same"
        ) as caught:
            imitate_files([sounds], disk / "out", 30, workers=2)
        there = [*disk.rglob("??.wav")]
        assert f"; {len(there)} imitations are there" in str(caught.value)
        assert all(describe(path) and len(read_native(path)[0]) for path in there)
        assert not list(disk.rglob(".*"))
        assert {disk / "out" / row["imitation"] for row in table(disk / "out")} == {*there} != set()
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        done = imitate_files([sounds], disk / "out", 30, workers=2)
        assert (done.imitations, done.made) == (90, 90 - len(there))


def test_a_disk_without_room_for_the_table_is_said_before_anything_is_made(sounds, tmp_path):
    with small_disk(tmp_path / "disk", "48k") as disk:
        with pytest.raises(ImitationError, match=r"pairs.csv: cannot be written \(No space left on device\); 0 imit"):
            imitate_files([sounds], disk / "out", 2_000, workers=1)
        assert not [*disk.rglob("*.wav")]


def start(sounds: Path, out: Path, files: int) -> subprocess.Popen[str]:
    """Start the verb in a session of its own, with more to do than it will be given time for, and wait for files."""
    arguments = [sys.executable, str(ROOT / "cli.py"), "imitate", str(sounds), "--out", str(out)]
    process = subprocess.Popen(
        [*arguments, "--count", "5000", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len([*out.rglob("0???.wav")]) < files and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    return process


def wait_for_the_end_of(group: int) -> None:
    """Wait until no process of the group lives; a dead one that the system has yet to bury does no harm."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        states = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                state, _, its_group = path.read_text(errors="replace").rpartition(")")[2].split()[:3]
                states += [state] if its_group == str(group) else []
        if not set(states) - {"Z", "X"}:
            return
        time.sleep(0.05)
    pytest.fail(f"processes were left behind, in the states {states}")


def whole_files(out: Path) -> set[str]:
    """Names of the imitations, each of which is checked to be whole; there is nothing half written beside them."""
    assert not list(out.rglob(".*"))
    paths = [path for path in out.rglob("*.wav") if path.is_file()]
    assert all(describe(path) and len(read_native(path)[0]) for path in paths)
    return {path.relative_to(out).as_posix() for path in paths}


@on_linux
def test_interrupted_and_killed_runs_leave_whole_files_and_no_process(sounds, tmp_path):
    out = tmp_path / "out"
    process = start(sounds, out, 6)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, ""), stderr
    assert last_line(stderr) == "Interrupted."
    wait_for_the_end_of(process.pid)
    interrupted = whole_files(out)
    assert {row["imitation"] for row in table(out)} == interrupted
    times = {name: (out / name).stat().st_mtime_ns for name in interrupted}

    process = start(sounds, out, len(interrupted) + 4)
    process.kill()  # the workers are left to notice
    process.communicate(timeout=60)
    wait_for_the_end_of(process.pid)
    assert whole_files(out) > interrupted
    assert {name: (out / name).stat().st_mtime_ns for name in interrupted} == times


@on_linux
def test_a_worker_that_was_killed_is_said(sounds, tmp_path):
    process = start(sounds, tmp_path / "out", 2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = [
        pid for pid in children.read_text().split() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(int(workers[0]), signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(r"a worker process was ended from outside.*; \d+ imitations are there", last_line(stderr))
    wait_for_the_end_of(process.pid)
