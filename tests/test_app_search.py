"""The search tab without a browser: what may be had, searches beside each other, growing, the demo library."""

import asyncio
import csv
import dataclasses
import io
import json
import os
import re
import shutil
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("lancedb")

from app_sounds import RATE, make_sounds, tone  # (beside this file)

from iminet_viz import index as index_module
from iminet_viz.app import AppSettings, _sounds, search
from iminet_viz.app._context import close_context, open_context
from iminet_viz.app._gate import Gate
from iminet_viz.app._sounds import Job, Search, Sounds
from iminet_viz.audio import save_audio
from iminet_viz.errors import AppError, AudioError, IminetVizError, LibraryError, SearchError
from iminet_viz.index import file_id
from iminet_viz.retrieval import Query, open_index
from iminet_viz.shipped import SHIPPED

NO_QUERY = Query("a.wav", 1.0, (), (), ())
NASTY = '<img src=x onerror=alert(1)> & "quotes" ${alert(2)} {{value}}.wav'


@pytest.fixture(scope="module")
def scorer():
    from iminet_viz.scoring import load_scorer

    return load_scorer("voice-search")


@pytest.fixture(scope="module")
def index(tmp_path_factory, scorer) -> Path:
    """An index of the shared sounds, one long file, and names that are no fun."""
    folder = tmp_path_factory.mktemp("sounds")
    make_sounds(folder / "<b>bold</b> label")
    save_audio(folder / NASTY, tone(330, 0.5), RATE)
    rng = np.random.default_rng(3)
    long = 0.001 * rng.standard_normal(90 * RATE).astype(np.float32)
    long[60 * RATE : 61 * RATE] += tone(700, 1.0)
    save_audio(folder / "long.flac", long, RATE)
    save_audio(folder / "plain.wav", tone(500, 0.4), RATE)
    (folder / "plain.wav").rename(os.fsdecode(os.fsencode(folder) + b"/no-utf8-\xff\n.wav"))
    path = tmp_path_factory.mktemp("index") / "index"
    added = open_index(path, scorer).add(folder, workers=0)
    assert added.failed == 0
    return path


@pytest.fixture(scope="module")
def sounds(index, scorer):
    context = open_context(AppSettings(index=index))
    own = Sounds(context)
    own._scorer = scorer
    own.open()
    assert own.error == ""
    yield own
    close_context(context)


def files_of(sounds) -> list[str]:
    return sounds.shelf.library.windows.files.paths


def id_of(sounds, part: str) -> str:
    return next(file_id(path) for path in files_of(sounds) if part in path)


def wait_for(job: Job, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while job.running and time.monotonic() < until:
        time.sleep(0.02)
    assert not job.running


# --- what can be had ------------------------------------------------------------------------------------------------


def get(sounds, name: str) -> tuple[int, str]:
    """Ask the gate for a file: status, and the path that it lets gradio serve."""
    asked, answers = [], []

    async def app(scope, receive, send):
        asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        answers.append(message)

    gate = Gate(app, sounds.context.roots, sounds.context.folder / "uploads", sounds.context.finders)
    scope = {"type": "http", "path": f"/gradio_api/file={name}"}
    asyncio.run(gate(scope, None, send))
    return answers[0]["status"], asked[0].partition("file=")[2] if asked else ""


def test_every_file_of_the_library_can_be_had_whatever_its_name(sounds):
    from gradio.utils import is_allowed_file

    for path in files_of(sounds):
        status, served = get(sounds, f"@sound/{file_id(path)}.wav")
        assert status == 200
        assert Path(served).read_bytes() == Path(path).read_bytes()
        assert Path(served).name.isascii()
        assert is_allowed_file(Path(served), [], sounds.context.allowed, [])[0]


@pytest.mark.parametrize(
    "name",
    [
        *("", ".wav", "../../etc/passwd", "%2e%2e/x.wav", "0" * 32 + ".wav", "a\0b.wav", "/etc/passwd", "é" * 5000),
        *("..", "ID/../x", "ID.wav/../../x"),
    ],
)
@pytest.mark.parametrize("root", ["sound", "outline", "hits", "hit"])
def test_nothing_else_can_be_had(sounds, root, name):
    status, _ = get(sounds, f"@{root}/{name}")
    assert status == 403


def test_a_neighbour_of_a_file_in_the_library_cannot_be_had(sounds):
    folder = Path(next(path for path in files_of(sounds) if path.endswith("long.flac"))).parent
    secret = folder / "secret.wav"
    save_audio(secret, tone(100, 0.2), RATE)
    try:
        assert get(sounds, f"@sound/{file_id(secret)}.wav")[0] == 403
        assert get(sounds, str(secret))[0] == 403
    finally:
        secret.unlink()


def test_a_file_that_became_a_link_to_something_else_is_not_served(tmp_path, scorer):
    folder = tmp_path / "folder"
    save_audio(folder / "a.wav", tone(300, 0.4), RATE)
    save_audio(tmp_path / "elsewhere" / "b.wav", tone(400, 0.4), RATE)
    (folder / "b.wav").symlink_to(tmp_path / "elsewhere" / "b.wav")  # found, but not to be had
    (folder / "c.wav").symlink_to(folder / "a.wav")
    save_audio(folder / "d.wav", tone(500, 0.4), RATE)
    (tmp_path / "way").symlink_to(folder)  # the whole folder may be added by a link
    open_index(tmp_path / "index", scorer).add(tmp_path / "way", workers=0)
    open_index(tmp_path / "index", scorer).add(folder, workers=0)
    context = open_context(AppSettings(index=tmp_path / "index"))
    try:
        own = Sounds(context)
        own._scorer = scorer
        own.open()
        for place, name in ((folder, "a"), (folder, "c"), (tmp_path / "way", "a"), (tmp_path / "way", "c")):
            assert get(own, f"@sound/{file_id(place / f'{name}.wav')}.wav")[0] == 200
        (folder / "d.wav").unlink()
        (folder / "d.wav").symlink_to(tmp_path / "elsewhere" / "b.wav")  # another sound, outside
        for place, name in ((folder, "b"), (folder, "d"), (tmp_path / "way", "d")):
            assert get(own, f"@sound/{file_id(place / f'{name}.wav')}.wav")[0] == 403
            assert own.find_hit(f"{file_id(place / f'{name}.wav')}-0-400") is None
        own.remember(Search(own.hear(folder / "a.wav"), "t", "", own.search(own.hear(folder / "a.wav"), 9)), "t")
        assert get(own, "@hits/t.csv")[0] == 200 and get(own, "@hits/t.zip")[0] == 403
        (tmp_path / "secret.txt").write_text("secret")
        (folder / "a.wav").unlink()
        (folder / "a.wav").symlink_to(tmp_path / "secret.txt")
        for root in ("sound", "outline"):
            assert get(own, f"@{root}/{file_id(folder / 'a.wav')}.wav")[0] == 403
        (folder / "b.wav").unlink()
        assert get(own, f"@sound/{file_id(folder / 'b.wav')}.wav")[0] == 403
    finally:
        close_context(context)


def test_what_browsers_do_not_play_comes_as_flac(tmp_path, scorer):
    import soundfile

    soundfile.write(tmp_path / "folder.aiff", np.zeros(1), RATE)
    folder = tmp_path / "sounds"
    folder.mkdir()
    soundfile.write(folder / "a.aiff", tone(300, 0.4), RATE)
    soundfile.write(folder / "b.wav", tone(350, 0.4), RATE, subtype="DOUBLE")
    open_index(tmp_path / "index", scorer).add(folder, workers=0)
    context = open_context(AppSettings(index=tmp_path / "index"))
    try:
        own = Sounds(context)
        own._scorer = scorer
        own.open()
        for name in ("a.aiff", "b.wav"):
            _, served = get(own, f"@sound/{file_id(folder / name)}.flac")
            assert Path(served).suffix == ".flac"
            assert len(soundfile.read(served)[0]) == round(0.4 * RATE)
    finally:
        close_context(context)


def test_a_page_may_name_its_uploads_only(sounds):
    context = sounds.context
    uploads = context.folder / "uploads"
    (uploads / "own.wav").write_bytes(b"RIFF")
    (uploads / "out.wav").symlink_to(files_of(sounds)[0])
    assert context.uploads.find(str(uploads / "own.wav")) == uploads / "own.wav"
    for name in ("", "/etc/passwd", str(uploads / "out.wav"), str(uploads / ".." / "x"), "a\0b", str(uploads)):
        with pytest.raises(AppError):
            context.uploads.find(name)


def test_outlines_are_relative_to_the_peak(sounds):
    path = sounds.find_outline(f"{id_of(sounds, 'long.flac')}.json")
    peaks = json.loads(path.read_text())
    assert len(peaks) == 300
    assert max(peaks) == 100
    assert 199 <= int(np.argmax(peaks)) <= 204  # 60 s of 90 s
    assert max(peaks[:190]) <= 2


def test_a_hit_of_a_long_file_is_handed_over_as_what_was_found(sounds):
    import soundfile

    own = id_of(sounds, "long.flac")
    path = sounds.context.kept(f"hit-{own}-59500-61500")
    values, rate = soundfile.read(path)
    assert len(values) == 2 * rate
    assert np.abs(values[rate // 2 : rate]).max() > 0.3 > 0.01 > np.abs(values[: rate // 3]).max()
    for what in (f"{own}-5-5", f"{own}-0-90000", f"{own}-x-1", own, "", f"{'0' * 32}-0-1000"):
        assert sounds.context.kept(f"hit-{what}") is None
    short = id_of(sounds, "alert")
    handed = sounds.context.kept(f"hit-{short}-0-500")
    assert handed.read_bytes() == next(Path(path) for path in files_of(sounds) if "alert" in path).read_bytes()
    assert sounds.context.url(handed).startswith("gradio_api/file=@kept/hit-")  # so that the other tab can show it


# --- queries and answers --------------------------------------------------------------------------------------------


def ask(sounds, path: Path, words: str = "") -> list:
    return list(search.answer_upload(sounds.context, sounds, path, path.name, words, None))


def test_the_picture_comes_before_the_hits_and_the_right_sound_is_first(sounds):
    path = next(Path(path) for path in files_of(sounds) if "sweep" in path)
    first, second = ask(sounds, path)
    assert "iv-axes" in first[0]
    assert "Hz" in first[0]
    assert 'class="iv-hit"' in second[1]
    answer = sounds.recall(second[2]).answer
    assert answer.hits[0].path == str(path)
    assert answer.exact


def test_what_files_are_called_is_text(sounds):
    path = next(Path(path) for path in files_of(sounds) if "alert" in path)
    pages = [page for shown in ask(sounds, path) for page in shown[:2] if isinstance(page, str)]
    html = "".join(pages)
    assert "&lt;img src=x" in html
    assert "&lt;b&gt;bold&lt;/b&gt; label" in html
    assert "<img" not in html
    assert "<b>bold" not in html


def test_words_narrow_and_more_widens(sounds):
    path = next(Path(path) for path in files_of(sounds) if "sweep" in path)
    token = ask(sounds, path)[-1][2]
    html = search.search_again(sounds.context, sounds, token, "sweep", 10, None)
    assert html.count('class="iv-hit"') == 1
    assert "No sound with these words" in search.search_again(sounds.context, sounds, token, "zebra", 10, None)
    html = search.search_again(sounds.context, sounds, token, "", 20, None)
    assert html.count('class="iv-hit"') == len(files_of(sounds))
    assert search.search_again(sounds.context, sounds, "unknown", "", 10, None) is search.NOTHING


@pytest.mark.parametrize(
    ("waveform", "rate", "said"),
    [
        (np.zeros(8000, np.float32), 16_000, "silent"),
        (0.005 * tone(300, 1.0), RATE, "very quiet"),
        (np.clip(4 * tone(300, 1.0), -0.9, 0.9), RATE, "clipped"),
        (tone(300, 0.05), RATE, "very short"),
        (tone(300, 1.0)[::2], 8_000, "nothing above 4 kHz"),
        (np.tile(tone(300, 1.0), 70), RATE, "only the first 60 s"),
    ],
)
def test_warnings_of_a_query(sounds, tmp_path, waveform, rate, said):
    save_audio(tmp_path / "query.wav", waveform, rate)
    html = "".join(str(part) for shown in ask(sounds, tmp_path / "query.wav") for part in shown)
    assert said in html
    assert "nan" not in re.sub(r"base64,[^)]*", "", html).lower()
    assert "iv-axes" in html  # the picture stays where nothing can be found


def test_a_synthetic_voice_imitates_a_sound_of_the_library(sounds):
    made, name = sounds.imitate()
    try:
        assert name in [
            os.fsencode(Path(path).name).decode("utf-8", "replace").replace("\n", "\\n") for path in files_of(sounds)
        ]
        assert 'class="iv-hit"' in ask(sounds, made)[-1][1]
    finally:
        made.unlink()


def test_what_cannot_be_read_is_a_sentence_and_no_hits(sounds, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"not a sound")
    shown = ask(sounds, tmp_path / "broken.wav")
    assert "cannot be searched with" in shown[-1][0]
    assert "<p>broken.wav: " in shown[-1][0]  # by its name, not by where the app keeps it
    assert shown[-1][2] == ""


def test_a_recording_over_the_limit_is_refused_before_it_is_decoded(sounds, tmp_path, monkeypatch):
    save_audio(tmp_path / "long.flac", np.zeros(700 * 8000, np.float32) + 0.1, 8000)
    monkeypatch.setattr(_sounds, "read_blocks", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(AudioError, match=r"11\.7 minutes long, at most 10"):
        _sounds.require_short(tmp_path / "long.flac", 600)


def test_ten_minutes_are_searched_with_their_beginning(sounds, tmp_path):
    long = np.tile(tone(300, 1.0)[::2], 600)
    save_audio(tmp_path / "long.flac", long, 8000)
    _, (_, hits, token) = ask(sounds, tmp_path / "long.flac")
    assert 'class="iv-hit"' in hits
    assert max(stop for _, stop in sounds.recall(token).query.spans) <= 64


def test_exports_say_what_the_list_says(sounds):
    path = next(Path(path) for path in files_of(sounds) if "sweep" in path)
    token = ask(sounds, path)[-1][2]
    answer = sounds.recall(token).answer
    rows = list(csv.DictReader(io.StringIO(sounds.find_export(f"{token}.csv").read_text())))
    assert [row["rank"] for row in rows] == [str(hit.rank) for hit in answer.hits]
    assert len(json.loads(sounds.find_export(f"{token}.json").read_text())["hits"]) == len(answer.hits)
    assert sounds.find_export(f"{token}.m3u").read_text().startswith("#EXTM3U")
    with zipfile.ZipFile(sounds.find_export(f"{token}.zip")) as archive:
        assert len(archive.namelist()) == len(answer.hits) + 1
        assert all("/" not in name and ".." not in name for name in archive.namelist())
    for name in (f"{token}.exe", "unknown.csv", f"{token}", ""):
        assert sounds.find_export(name) is None


def test_another_list_is_another_export(sounds):
    path = next(Path(path) for path in files_of(sounds) if "sweep" in path)
    token = ask(sounds, path)[-1][2]
    whole = sounds.find_export(f"{token}.csv").read_text()
    search.search_again(sounds.context, sounds, token, "sweep", 10, None)
    assert len(sounds.find_export(f"{token}.csv").read_text()) < len(whole)


def test_what_was_made_for_requests_does_not_fill_the_disk(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.zip").write_bytes(bytes(100))
        os.utime(tmp_path / f"{number}.zip", (number, number))
    _sounds.keep_latest(tmp_path, 250, tmp_path / "0.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.zip", "3.zip", "4.zip"]


def test_old_searches_are_forgotten(sounds, monkeypatch):
    monkeypatch.setattr(_sounds, "MOST_SEARCHES", 6)  # each by its token, and by its id
    query = NO_QUERY
    for number in range(5):
        sounds.remember(Search(query, "", ""), f"t{number}")
    assert [sounds.recall(f"t{number}") is not None for number in range(5)] == [False, False, True, True, True]


# --- many at once ---------------------------------------------------------------------------------------------------


def test_searches_beside_each_other_answer_as_one_after_the_other(sounds, scorer):
    """Queries are heard and searched from eight threads while the shelf is renewed under them."""
    paths = [Path(path) for path in files_of(sounds)][:8]
    alone = [[hit.path for hit in sounds.search(sounds.hear(path), 5).hits] for path in paths]
    wrong, stop = [], threading.Event()

    def user(number: int) -> None:
        try:
            for turn in range(4):
                which = (number + turn) % len(paths)
                found = [hit.path for hit in sounds.search(sounds.hear(paths[which]), 5).hits]
                if found != alone[which]:
                    wrong.append((which, found))
        except Exception as error:
            wrong.append(error)

    def renew() -> None:
        while not stop.is_set():
            sounds.shelf = type(sounds.shelf)(sounds.shelf.library, dict(sounds.shelf.by_id))
            sounds.renew()
            time.sleep(0.01)

    users = [threading.Thread(target=user, args=(number,)) for number in range(8)]
    renewer = threading.Thread(target=renew)
    for thread in [renewer, *users]:
        thread.start()
    for thread in users:
        thread.join()
    stop.set()
    renewer.join()
    assert wrong == []


# --- growing --------------------------------------------------------------------------------------------------------


@pytest.fixture
def empty(tmp_path, scorer, monkeypatch):
    """An app whose index is not there yet; files are prepared in this process."""
    from iminet_viz.index import Library

    add = Library.add
    monkeypatch.setattr(Library, "add", lambda self, *args, **named: add(self, *args, **{**named, "workers": 0}))
    context = open_context(AppSettings(index=tmp_path / "index"))
    own = Sounds(context)
    own._scorer = scorer
    own.open()
    yield own
    close_context(context)


def test_a_folder_is_added_and_found_and_its_failures_are_told(empty, tmp_path):
    with pytest.raises(LibraryError, match="no sound yet"):
        empty.search(NO_QUERY)
    make_sounds(tmp_path / "new")
    (tmp_path / "new" / "broken.wav").write_bytes(b"nothing")
    job = empty.add_folder(str(tmp_path / "new"))
    wait_for(job)
    assert job.error == ""
    assert [Path(file).name for file, _ in job.failures] == ["broken.wav"]
    assert "broken.wav" in search.show_job(job)
    assert job.done == job.total
    assert empty.shelf.files == len(list((tmp_path / "new").iterdir())) - 1
    query = empty.hear(tmp_path / "new" / "sweep.wav")
    assert empty.search(query).hits[0].path.endswith("sweep.wav")


def test_adding_is_cancelled_and_what_is_finished_stays(empty, tmp_path, monkeypatch):
    make_sounds(tmp_path / "new")
    job = Job("Adding")
    monkeypatch.setattr(_sounds, "REST", 0)
    monkeypatch.setattr(_sounds, "LEAST_S", 0)
    monkeypatch.setattr(index_module, "BATCH", 1)
    original = empty.renew
    monkeypatch.setattr(empty, "renew", lambda: (job.stop.set(), original())[1])
    empty._add(job, str(tmp_path / "new"))
    assert 0 < empty.shelf.files < len(list((tmp_path / "new").iterdir()))


def test_an_app_that_ends_ends_its_work(tmp_path):
    context = open_context(AppSettings(index=tmp_path / "index"))
    own = Sounds(context)
    own.ready.set()
    job = own._begin(Job("Adding a"), lambda job: job.stop.wait(30))
    begun = time.monotonic()
    close_context(context)
    assert not job.running
    assert time.monotonic() - begun < 5


def test_one_thing_after_the_other(empty, tmp_path):
    going = threading.Event()
    job = empty._begin(Job("Adding a"), lambda _: going.wait(10))
    with pytest.raises(LibraryError, match="adding a goes on"):
        empty.add_folder(str(tmp_path))
    going.set()
    wait_for(job)


@pytest.mark.parametrize("path", ["", "  ", "samples", "../..", "/no/such/folder", "/etc/passwd", "a\0b", "~nobody/x"])
def test_paths_that_are_no_folder_are_refused(empty, path):
    with pytest.raises(AppError):
        empty.add_folder(path)
    assert empty.job is None


def test_folders_are_added_on_this_machine_or_with_a_password_only(tmp_path):
    for host, auth, allowed in (("127.0.0.1", None, True), ("0.0.0.0", None, False), ("0.0.0.0", ("a", "b"), True)):
        context = open_context(AppSettings(index=tmp_path / "index", host=host, auth=auth))
        own = Sounds(context)
        own.ready.set()
        own.error = "stop here"
        try:
            with pytest.raises(LibraryError if allowed else AppError):
                own.add_folder(str(tmp_path))
        finally:
            close_context(context)


def test_a_failure_of_the_work_is_told(empty):
    def fail(_: Job) -> None:
        raise LibraryError("the disk is full")

    job = empty._begin(Job("Adding x"), fail)
    wait_for(job)
    assert "The disk is full." in search.show_job(job)
    assert not any(job.running for job in [empty.job])


# --- other models ---------------------------------------------------------------------------------------------------


OTHER = "tl-iminet-conv123"


@pytest.fixture
def grown(empty, tmp_path, monkeypatch):
    """An app with a library of its own, and a cache of its own."""
    monkeypatch.setenv(_sounds.CACHE, str(tmp_path / "cache"))
    make_sounds(tmp_path / "new")
    wait_for(empty.add_folder(str(tmp_path / "new")))
    return empty


def test_another_model_searches_what_it_has_heard(grown, tmp_path):
    path = tmp_path / "new" / "sweep.wav"
    token = ask(grown, path)[-1][2]
    html = search.search_again(grown.context, grown, token, "", 10, None, OTHER)
    assert f"{OTHER} has not heard the 12 sounds" in html and "iv-let-hear" in html and "iv-hit" not in html
    with pytest.raises(LibraryError, match="has heard nothing of this library yet"):
        grown.search(grown.hear(path, model=OTHER), model=OTHER)
    wait_for(grown.hear_library(OTHER))
    assert grown.job.error == "" and grown.job.what == f"{OTHER} hears the library"
    html = search.search_again(grown.context, grown, token, "", 10, None, OTHER)
    assert f"by {OTHER}" in html and f"model={OTHER}" in html and "iv-let-hear" not in html
    answer = grown.recall(token).answer
    own = open_index(tmp_path / "own", OTHER)
    own.add(tmp_path / "new")
    assert [(hit.path, hit.score) for hit in answer] == [(hit.path, hit.score) for hit in own.search(path)]
    back = search.search_again(grown.context, grown, token, "", 10, None)
    assert "by voice-search" in back and f'data-token="{token}"' in back
    assert grown.shelf_of().library.path == tmp_path / "index"  # nobody wrote to the user's index
    assert (tmp_path / "cache" / "heard").is_dir()


def test_another_model_follows_the_library(grown, tmp_path):
    wait_for(grown.hear_library(OTHER))
    save_audio(tmp_path / "more" / "a.wav", tone(700, 0.5), RATE)
    job = grown.add_folder(str(tmp_path / "more"))
    wait_for(job)
    assert job.said.startswith("1 sound added") and "more" in job.what
    assert (grown.shelf_of(OTHER).files, grown.shelf_of(OTHER).missing) == (13, 0)
    # somebody else changes the library
    library = open_index(tmp_path / "index")
    library.remove([tmp_path / "more"])
    save_audio(tmp_path / "more" / "b.wav", tone(900, 0.5), RATE)
    (tmp_path / "more" / "a.wav").unlink()
    library.add(tmp_path / "more")
    grown._seen = 0.0
    grown.look_again()
    assert (grown.shelf_of(OTHER).files, grown.shelf_of(OTHER).missing) == (12, 1)
    token = ask(grown, tmp_path / "new" / "sweep.wav")[-1][2]
    html = search.search_again(grown.context, grown, token, "", 10, None, OTHER)
    assert f"{OTHER} has not heard 1 sound of this library" in html and "iv-let-hear" in html
    wait_for(grown.hear_library(OTHER))
    paths = grown.shelf_of(OTHER).library.windows.files.paths
    assert sorted(paths) == sorted(files_of(grown)) and grown.shelf_of(OTHER).missing == 0
    assert grown.job.said == "1 sound heard, 12 were there already"


def test_another_model_finds_what_the_library_holds_and_nothing_else(grown, tmp_path, monkeypatch):
    from iminet_viz.index import Library

    wait_for(grown.hear_library(OTHER))
    library = open_index(tmp_path / "index")
    library.remove([tmp_path / "new" / "hum.wav"])
    save_audio(tmp_path / "new" / "hiss.wav", tone(700, 0.5), RATE)  # another sound of that name
    library.add(tmp_path / "new" / "hiss.wav")
    grown.renew()
    shelf = grown.shelf_of(OTHER)
    assert not {"hum.wav", "hiss.wav"} & {Path(path).name for path in shelf.library.windows.files.paths}
    assert (shelf.files, shelf.missing) == (10, 1)
    (tmp_path / "new" / "hiss.wav").unlink()  # cannot be heard any more, and is not asked for
    grown._others.clear()
    assert grown.shelf_of(OTHER).missing == 0
    # the next app, which has not asked for this model yet, adds a folder
    grown._others.clear()
    save_audio(tmp_path / "more" / "a.wav", tone(700, 0.5), RATE)
    wait_for(grown.add_folder(str(tmp_path / "more")))
    assert "a.wav" in {Path(path).name for path in grown.shelf_of(OTHER).library.windows.files.paths}
    # another library in the same place
    shutil.rmtree(tmp_path / "index")
    other = open_index(tmp_path / "index", grown._scorer)
    assert isinstance(other, Library)
    other.add(tmp_path / "new" / "bell.wav")
    grown.renew()
    assert [Path(path).name for path in grown.shelf_of(OTHER).library.windows.files.paths] == ["bell.wav"]


def test_hits_are_taken_along_as_they_are_shown(grown, tmp_path):
    others = [OTHER, "tl-iminet-scratch"]
    token = ask(grown, tmp_path / "new" / "sweep.wav")[-1][2]
    shown = []
    for model in others:
        wait_for(grown.hear_library(model))
        html = search.search_again(grown.context, grown, token, "", 10, None, model)
        shown.append((re.findall(r"@hits/(\w+)\.csv", html)[0], [hit.path for hit in grown.recall(token).answer]))
    assert shown[0][1] != shown[1][1]
    for key, paths in shown:
        rows = csv.DictReader(io.StringIO(grown.find_export(f"{key}.csv").read_text()))
        assert [row["path"] for row in rows] == paths


def test_what_another_model_hears_is_nobody_elses_library(tmp_path, monkeypatch, scorer):
    """An app that was started with that model has an index of its own in the same cache."""
    from iminet_viz.datasets._demo import concepts

    monkeypatch.setenv(_sounds.CACHE, str(tmp_path))
    monkeypatch.setattr(concepts, "CONCEPTS", concepts.CONCEPTS[:3])
    save_audio(tmp_path / "more" / "a.wav", tone(700, 0.5), RATE)

    def start(model: str) -> Sounds:
        context = open_context(AppSettings(model=model))
        own = Sounds(context)
        own.open()
        if own.job is not None:
            wait_for(own.job)
        return own

    first = start("mfcc")
    wait_for(first.add_folder(str(tmp_path / "more")))
    second = start("default")
    assert second.shelf_of("mfcc").files == 0
    wait_for(second.hear_library("mfcc"))
    assert (second.shelf_of("mfcc").files, start("mfcc").shelf.files) == (3, 4)


def test_what_another_model_cannot_hear_is_not_asked_for_again(grown, monkeypatch):
    load = index_module.embed_files

    def embed(parts, prepared):
        prepared, seconds = load(parts, prepared)
        return [
            *(dataclasses.replace(x, reason="is too odd", vectors=()) for x in prepared[:2]),
            *prepared[2:],
        ], seconds

    monkeypatch.setattr(index_module, "embed_files", embed)
    wait_for(grown.hear_library(OTHER))
    assert [reason for _, reason in grown.job.failures] == ["is too odd"] * 2
    assert (grown.shelf_of(OTHER).files, grown.shelf_of(OTHER).missing) == (10, 0)


def test_a_fusion_hears_and_searches(grown, tmp_path):
    name = grown.sum_of("", OTHER)
    assert name == f"voice-search+{OTHER}"
    wait_for(grown.hear_library(name))
    path = tmp_path / "new" / "siren.wav"
    answer = grown.search(grown.hear(path, model=name), model=name)
    assert answer.hits[0].path == str(path)
    weighted = f"0.9*voice-search+0.1*{OTHER}"  # the same index
    assert grown._listeners() == [name]
    assert grown.shelf_of(weighted).files == 12
    heavier = grown.search(grown.hear(path, model=weighted), model=weighted)
    assert heavier.hits[0].score != answer.hits[0].score
    for number in range(3):
        grown.shelf_of(f"0.{number + 1}*voice-search+mfcc")
    assert len(grown._others) == _sounds.MOST_OTHERS


def test_names_of_fusions():
    own = Sounds.__new__(Sounds)
    own._scorer, own.ready = type("Scorer", (), {"name": "voice-search"}), threading.Event()
    own.ready.set()
    assert own.sum_of("", "") == own.sum_of("voice-search", "") == own.sum_of("", "voice-search") == ""
    assert own.sum_of("imisound", "") == own.sum_of("imisound", "imisound") == "imisound"
    assert own.sum_of("imisound", "mfcc") == "imisound+mfcc"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("voice-search", ""),
        ("1*voice-search", ""),
        (" imisound ", "imisound"),
        ("imisound+mfcc", "imisound+mfcc"),
        ("2*imisound + 2.0*mfcc", "imisound+mfcc"),
        ("0.70*imisound+.3*mfcc", "0.7*imisound+0.3*mfcc"),
        ("voice-search+mfcc", "voice-search+mfcc"),
    ],
)
def test_one_name_for_each_model(sounds, name, known):
    assert sounds.canonical(name) == known


def test_no_users_word_is_a_path(sounds, tmp_path):
    shutil.copytree(SHIPPED / "imisound", tmp_path / "x*mfcc")
    names = [
        str(tmp_path / "x*mfcc"),
        f"{'0' * 9000}1*mfcc",
        "a*mfcc",
        "*mfcc",
        "nan*mfcc",
        "0*mfcc",
        "-1*mfcc",
        "1e999*mfcc",
        "x" * 10_000,
    ]
    for name in names:
        with pytest.raises(AppError) as told:
            sounds.shelf_of(name)
        assert len(str(told.value)) < 500


@pytest.mark.parametrize(
    "name",
    ["nothing", "../x", "/etc", "voice-search+voice-search", "a*voice-search", "mfcc+", "sound-tower", "dtw", "+"],
)
def test_what_is_no_model_that_searches_is_refused(grown, name):
    with pytest.raises(IminetVizError):
        wait_for(grown.hear_library(name))
        raise LibraryError(grown.job.error)
    assert grown.shelf.files == 12
    assert not (grown.path.parent / "cache" / "heard").exists()


def test_only_who_owns_the_machine_lets_models_hear(tmp_path):
    context = open_context(AppSettings(index=tmp_path / "index", host="0.0.0.0"))
    own = Sounds(context)
    own.ready.set()
    try:
        with pytest.raises(AppError, match="on its own machine"):
            own.hear_library(OTHER)
    finally:
        close_context(context)


def test_the_choice_holds_what_can_search():
    from iminet_viz.baselines import BASELINES
    from iminet_viz.scoring import load_scorer, shipped_models

    context = type("Context", (), {"settings": AppSettings()})
    names = [name or "voice-search" for _, name in search.list_models(context)]

    def searches(name):
        try:
            return bool(load_scorer(name))
        except IminetVizError:
            return False

    assert sorted(names) == [name for name in shipped_models() if searches(name)]
    assert set(search.UNTRAINED) == {name for name, part in BASELINES.items() if part.stored is not None}


# --- the demo library -----------------------------------------------------------------------------------------------


def test_the_demo_library_is_made_once_and_goes_on_where_it_was(tmp_path, scorer, monkeypatch):
    from iminet_viz.datasets._demo import concepts
    from iminet_viz.index import Library

    add = Library.add
    monkeypatch.setattr(Library, "add", lambda self, *args, **named: add(self, *args, **{**named, "workers": 0}))
    monkeypatch.setenv(_sounds.CACHE, str(tmp_path))
    short = sorted(concepts.CONCEPTS, key=lambda concept: len(concept.label))[:6]
    monkeypatch.setattr(concepts, "CONCEPTS", tuple(short))
    monkeypatch.setattr(_sounds, "DEMO_STEP", 2)
    made, limit = [], 3

    def synthesise(concept, seed):
        if len(made) == limit:
            raise OSError(28, "No space left on device", "x.flac")
        made.append(concept.label)
        return tone(200 + 100 * len(made), 0.4)

    monkeypatch.setattr(concepts, "synthesise", synthesise)

    def start() -> Sounds:
        context = open_context(AppSettings())
        own = Sounds(context)
        own._scorer = scorer
        own.open()
        if own.job is not None:
            wait_for(own.job)
        close_context(context)
        return own

    first = start()
    assert "No space left" in first.job.error
    assert first.shelf.files == 2  # what was committed before can be searched
    limit = 99
    second = start()
    assert second.job.error == ""
    assert second.shelf.files == 6
    assert len(made) == 6  # the three of the first start were kept
    third = start()
    assert third.job is None
    assert third.shelf.files == 6
    assert set(third.shelf.library.windows.files.licences) == {"CC0 1.0: synthesised, no recording was used"}


def test_a_stopped_demo_library_has_what_was_made_and_goes_on(tmp_path, scorer, monkeypatch):
    from iminet_viz.datasets._demo import concepts
    from iminet_viz.index import Library

    add = Library.add
    monkeypatch.setattr(Library, "add", lambda self, *args, **named: add(self, *args, **{**named, "workers": 0}))
    monkeypatch.setenv(_sounds.CACHE, str(tmp_path))
    monkeypatch.setattr(concepts, "CONCEPTS", concepts.CONCEPTS[:4])
    context = open_context(AppSettings())
    own = Sounds(context)
    made = []

    def synthesise(concept, seed):
        made.append(concept.label)
        if len(made) == 2:
            own.cancel()
        return tone(200 + 100 * len(made), 0.4)

    monkeypatch.setattr(concepts, "synthesise", synthesise)
    try:
        own._scorer = scorer
        own.open()
        wait_for(own.job)
        assert own.shelf.files == 2 and own.job.said == "2 of 4 sounds are there" and own.job.cancelled
        assert search.show_state(own)[4].visible and not search.show_state(own)[3].visible
        own.make_demo()
        wait_for(own.job)
        assert own.shelf.files == 4 and own.job.said == "4 sounds are there" and len(made) == 4
        assert not search.show_state(own)[4].visible
    finally:
        close_context(context)


def test_a_cache_that_cannot_be_written_is_said(tmp_path, scorer, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(_sounds.CACHE, str(tmp_path / "file" / "cache"))
    context = open_context(AppSettings())
    try:
        own = Sounds(context)
        own._scorer = scorer
        own.open()
        if own.job is not None:
            wait_for(own.job)
        html = "".join(map(str, search.show_state(own)[:3]))
        assert "Not a directory" in html or "cannot be" in html
    finally:
        close_context(context)


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.delenv(_sounds.CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _sounds.cache_folder() == tmp_path / "iminet-viz"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _sounds.cache_folder() == tmp_path / ".cache" / "iminet-viz"
    monkeypatch.setenv(_sounds.CACHE, str(tmp_path / "own"))
    assert _sounds.cache_folder() == tmp_path / "own"


def test_clocks():
    assert [search.clock(x).replace("\u00a0", " ") for x in (0.04, 59.94, 62.4, 3599.9, 3661)] == [
        *("0.0 s", "59.9 s", "1:02.4", "59:59.9", "1:01:01")
    ]


def test_an_index_of_another_model_is_said(index):
    context = open_context(AppSettings(index=index, model="imisound"))
    try:
        own = Sounds(context)
        own.open()
        assert "voice-search" in own.error
        with pytest.raises(LibraryError):
            own.search(NO_QUERY)
        with pytest.raises(LibraryError):
            own.hear(Path("a.wav"))
    finally:
        close_context(context)


def test_hits_that_are_asked_for_too_many(sounds):
    with pytest.raises(SearchError):
        sounds.search(sounds.hear(Path(files_of(sounds)[0])), 0)
