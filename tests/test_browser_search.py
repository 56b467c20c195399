"""The search tab in a real browser, and its endpoints."""

import io
import os
import re
import threading
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("lancedb")

from app_server import CHROMIUM, CHROMIUM_FLAGS, ROOT, running_app
from app_sounds import RATE, make_sounds, tone

from iminet_viz.audio import save_audio

pytestmark = pytest.mark.browser

NASTY = "<img src=x onerror=document.title='hit'> & ${document.title='hit'} {{value}}.wav"
LONG_S, AT_S = 600, 420
SLOW = 90_000  # ms: what loads a model for the first time


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The sounds of the library: twelve, one with a nasty name and folder, one of ten minutes."""
    folder = tmp_path_factory.mktemp("library")
    make_sounds(folder / "<script>document.title='hit'</script>")
    save_audio(folder / NASTY, tone(330, 0.5), RATE)
    rng = np.random.default_rng(3)
    long = (0.0002 * rng.standard_normal(LONG_S * 8000)).astype(np.float32)
    t = np.arange(3 * 8000) / 8000
    long[AT_S * 8000 : AT_S * 8000 + len(t)] += (0.5 * np.sin(2 * np.pi * (300 * t + 90 * np.sin(9 * t)))).astype("f4")
    save_audio(folder / "long recording.flac", long, 8000)
    return folder


@pytest.fixture(scope="module")
def app(folder, tmp_path_factory):
    from iminet_viz.retrieval import open_index

    path = tmp_path_factory.mktemp("index") / "index"
    open_index(path, "voice-search").add(folder, workers=0)
    with running_app("--index", path) as app:
        yield app


def sound(folder: Path, name: str) -> Path:
    return next(folder.rglob(f"{name}.*"))


def open_page(page, app) -> None:
    page.goto(app.url)
    page.wait_for_selector(".iv-rec")
    page.wait_for_selector("#iv-shelf:has-text('14 sounds'), #iv-shelf:has-text('sounds')")


def uploads(app) -> list[Path]:
    """What the app keeps of what was sent."""
    return [path for path in app.temporary.glob("iminet-viz-*/uploads/*/*") if path.is_file()]


def wait_until(condition, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def search_with(page, path) -> None:
    """Give a file and wait for what comes of it."""
    before = page.evaluate("document.querySelector('#iv-hits .iv-answer')?.dataset.token || ''")
    page.set_input_files("#iv-recorder input[type=file]", path)
    page.wait_for_function(
        "old => (document.querySelector('#iv-hits .iv-answer')?.dataset.token || old) !== old",
        arg=before,
    )


PLAYER = "(() => { const a = document.querySelector('.iv-hit-audio'); return [a.paused, a.currentTime, a.src]; })()"


def test_a_clip_of_the_library_finds_itself_first(page, app, folder):
    open_page(page, app)
    search_with(page, sound(folder, "siren"))
    assert page.inner_text("#iv-hits .iv-hit:first-child .iv-file") == "siren.wav"
    assert page.locator("#iv-words").bounding_box()["width"] > 300  # styles of other tabs leave this one alone
    axes = page.inner_text("#iv-query .iv-axes")
    assert "Hz" in axes
    assert re.search(r"\b1\s?s\b", axes)
    page.wait_for_selector("#iv-hits .iv-hit:first-child .iv-outline path", state="attached")
    assert page.inner_text(".iv-rec-state").startswith("or drop")


def test_hits_are_played_by_button_key_and_click(page, app, folder):
    open_page(page, app)
    search_with(page, sound(folder, "siren"))
    page.click("#iv-hits .iv-hit:first-child .iv-play")
    page.wait_for_function(f"{PLAYER}[1] > 0.05 && !{PLAYER}[0]")
    first = page.evaluate(PLAYER)[2]
    page.keyboard.press("ArrowDown")
    page.wait_for_function(f"old => {PLAYER}[2] !== old && {PLAYER}[1] > 0", arg=first)
    assert page.locator("#iv-hits .iv-hit:nth-child(2).iv-current").count() == 1
    page.keyboard.press(" ")
    page.wait_for_function(f"{PLAYER}[0]")
    page.keyboard.press("ArrowUp")
    page.wait_for_function(f"old => {PLAYER}[2] === old && !{PLAYER}[0]", arg=first)
    box = page.locator("#iv-hits .iv-hit:nth-child(3) .iv-wavebox").bounding_box()
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 10)
    seconds = float(page.get_attribute("#iv-hits .iv-hit:nth-child(3)", "data-seconds"))
    page.wait_for_function(f"half => {PLAYER}[1] >= half", arg=0.45 * seconds)
    page.fill("#iv-words input, #iv-words textarea", "")
    page.keyboard.press("ArrowDown")  # in a field of text it is the field's
    assert page.locator("#iv-hits .iv-hit:nth-child(3).iv-current").count() == 1


def test_a_hit_in_a_long_file_plays_from_where_it_is(page, app, folder, tmp_path):
    import soundfile

    values, _ = soundfile.read(folder / "long recording.flac", start=AT_S * 8000, frames=3 * 8000)
    save_audio(tmp_path / "query.wav", values.astype(np.float32), 8000)
    open_page(page, app)
    search_with(page, tmp_path / "query.wav")
    row = page.locator("#iv-hits .iv-hit", has_text="long recording.flac")
    assert "of 10:00.0" in row.inner_text()
    assert row.locator(".iv-span").count() == 1
    assert "nothing above 4 kHz" in page.inner_text("#iv-query")
    row.locator(".iv-play").click()
    page.wait_for_function(f"{PLAYER}[1] > {AT_S - 6} && {PLAYER}[1] < {AT_S + 6} && !{PLAYER}[0]")
    link = row.locator("text=Why?").get_attribute("href")
    assert re.fullmatch(
        r"\?tab=explain&query=[\w-]+&candidate=hit-[0-9a-f]{32}-\d+-\d+&model=voice-search&query_name=query.wav&candidate_name=long\+recording.flac%2C\+[\d%A-F.]+\+to\+[\d%A-F.]+",
        link,
    )


def test_why_opens_the_explanation_with_both_sounds_named(page, app, folder):
    open_page(page, app)
    search_with(page, sound(folder, "siren"))
    before = set(uploads(app))
    row = page.locator("#iv-hits .iv-hit:nth-child(2)")
    name = row.locator(".iv-file").inner_text()
    row.get_by_text("Why?").click()
    page.wait_for_selector(".iv-explained", timeout=SLOW)
    assert page.inner_text(".iv-explained h2") == f"Why siren.wav and {name} match, or not"
    assert page.locator(".iv-explained .iv-panel .iv-file").all_inner_texts() == ["siren.wav", name]
    shown = set(uploads(app)) - before  # what the page shows
    assert len(shown) >= 2
    page.context.new_page()
    page.close()
    wait_until(lambda: not shown & set(uploads(app)))


def test_hits_are_judged_in_the_listen_test(page, app, folder):
    page.goto(f"{app.url}?tab=study")
    page.get_by_label("Hits for your imitation").click()
    page.set_input_files("#iv-study-clip input[type=file]", sound(folder, "siren"))
    page.wait_for_selector("#iv-study-clip audio, #iv-study-clip #waveform", state="attached")
    page.click("#iv-study-start")
    first = page.wait_for_selector("[data-question]", timeout=SLOW).get_attribute("data-question")
    assert page.inner_text(".iv-trial h2") == "Which hit matches your imitation better?"
    assert page.locator(".iv-trial audio").count() == 3
    assert ".wav" not in page.inner_text(".iv-trial")
    page.keyboard.press("b")
    page.wait_for_function("id => document.querySelector('[data-question]')?.dataset.question !== id", arg=first)
    assert "Pair 2 of" in page.inner_text(".iv-trial")


def test_names_from_files_are_text(page, app, folder):
    open_page(page, app)
    search_with(page, folder / NASTY)
    page.wait_for_timeout(500)
    assert page.title() == "iminet-viz"
    assert page.inner_text("#iv-hits .iv-hit:first-child .iv-file") == NASTY
    assert "<script>document.title='hit'</script>" in page.inner_text("#iv-hits")
    assert page.inner_text("#iv-query h2") == NASTY
    assert page.locator("#iv-hits img, #iv-query img").count() == 0


def test_words_narrow_more_widens_and_hits_are_taken_along(page, app, folder):
    open_page(page, app)
    search_with(page, sound(folder, "siren"))
    assert page.locator("#iv-hits .iv-hit").count() == 10
    page.click("#iv-hits .iv-more")
    page.wait_for_function("document.querySelectorAll('#iv-hits .iv-hit').length > 10")
    page.fill("#iv-words input, #iv-words textarea", "knocks")
    page.wait_for_function("document.querySelectorAll('#iv-hits .iv-hit').length === 2")
    for kind, start in (("csv", b"rank,path"), ("json", b"{"), ("m3u", b"#EXTM3U"), ("zip", b"PK")):
        with page.expect_download() as download:
            page.click(f"#iv-hits a:text-is('{kind.upper()}')")
        content = Path(download.value.path()).read_bytes()
        assert content.startswith(start)
        assert download.value.suggested_filename == f"hits.{kind}"
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert sorted(name.partition(" ")[2] for name in names) == ["", "knocks.wav", "two knocks.wav"]  # and hits.csv
    page.fill("#iv-words input, #iv-words textarea", "zebra")
    page.wait_for_selector("#iv-hits:has-text('No sound with these words')")


def test_what_cannot_be_searched_is_said_and_the_next_sound_works(page, app, folder, tmp_path):
    open_page(page, app)
    (tmp_path / "notes.wav").write_bytes(b"this is no sound")
    save_audio(tmp_path / "nothing.wav", np.zeros(RATE, np.float32), RATE)
    for name, said in (
        ("notes.wav", "cannot be decoded"),
        ("notes.wav", "cannot be decoded"),
        ("nothing.wav", "silent"),
    ):
        before = page.evaluate("document.querySelector('#iv-query [role=alert]')?.dataset.token")
        page.set_input_files("#iv-recorder input[type=file]", tmp_path / name)
        page.wait_for_function(
            "old => (document.querySelector('#iv-query [role=alert]')?.dataset.token ?? old) !== old", arg=before
        )
        assert said in page.inner_text("#iv-query [role=alert]")
        page.wait_for_function("document.querySelector('.iv-rec-state').textContent.startsWith('or drop')")
        assert str(tmp_path) not in page.inner_text("#iv-query")
        assert page.locator("#iv-hits .iv-hit").count() == 0
    search_with(page, sound(folder, "bell"))
    assert page.inner_text("#iv-hits .iv-hit:first-child .iv-file") == "bell.wav"


def test_ten_minutes_are_taken_and_eleven_are_not(page, app, folder, tmp_path):
    open_page(page, app)
    search_with(page, folder / "long recording.flac")
    assert "only the first 60 s of 10:00.0" in page.inner_text("#iv-query")
    save_audio(tmp_path / "eleven.flac", np.full(660 * 8000, 0.1, np.float32), 8000)
    page.set_input_files("#iv-recorder input[type=file]", tmp_path / "eleven.flac")
    page.wait_for_selector("#iv-query [role=alert]:has-text('11.0 minutes long, at most 10')")


def test_a_sound_is_dropped_on_the_page(page, app, folder):
    import base64

    open_page(page, app)
    data = base64.b64encode(sound(folder, "chirps").read_bytes()).decode()
    page.evaluate(
        """data => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "chirps.wav", { type: "audio/wav" }));
            const options = { bubbles: true, cancelable: true, dataTransfer: transfer };
            for (const name of ["dragover", "drop"]) document.body.dispatchEvent(new DragEvent(name, options));
        }""",
        data,
    )
    page.wait_for_selector("#iv-hits .iv-hit")
    assert page.inner_text("#iv-hits .iv-hit:first-child .iv-file") == "chirps.wav"


def test_the_microphone(browser, app, folder, tmp_path):
    """Chromium plays a file into its fake device: what is recorded is found in the library."""
    siren = sound(folder, "siren")
    import soundfile
    import soxr

    values, rate = soundfile.read(siren)
    values = np.concatenate([np.zeros(24_000), soxr.resample(values, rate, 48_000), np.zeros(60_000)])
    soundfile.write(tmp_path / "microphone.wav", values, 48_000)
    flags = [
        *CHROMIUM_FLAGS,
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={tmp_path / 'microphone.wav'}",
    ]
    chromium = browser.browser_type.launch(executable_path=str(CHROMIUM), args=flags)
    try:
        page = chromium.new_page()
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        open_page(page, app)
        page.click(".iv-rec")
        page.wait_for_selector(".iv-rec.iv-on")
        page.wait_for_function("parseFloat(document.querySelector('.iv-rec-label').textContent.slice(5)) > 2")
        page.click(".iv-rec")
        page.wait_for_selector("#iv-hits .iv-hit")
        files = page.locator("#iv-hits .iv-hit .iv-file").all_inner_texts()
        assert "siren.wav" in files[:3]
        assert "recording.wav" in page.inner_text("#iv-query h2")
        assert page.inner_text(".iv-rec") == "Record"
        assert faults == []
    finally:
        chromium.close()


def test_a_synthetic_voice_stands_in_for_a_microphone(page, app):
    open_page(page, app)
    page.click(".iv-imitate")
    page.wait_for_selector("#iv-hits .iv-hit")
    assert page.inner_text("#iv-query h2").startswith("A synthetic voice imitates ")
    page.click("#iv-query .iv-play")
    page.wait_for_function("!document.querySelector('#iv-query audio').paused")


def test_a_microphone_that_is_refused_is_said(page, app):
    open_page(page, app)
    refuse = "Promise.reject(new DOMException('no', 'NotAllowedError'))"
    page.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = () => {refuse}; }}")
    page.click(".iv-rec")
    page.wait_for_selector(".iv-rec-state.iv-bad:has-text('allow it')")
    assert page.is_enabled(".iv-rec")


def test_a_search_is_an_address(page, app, folder, settled):
    open_page(page, app)
    search_with(page, sound(folder, "siren"))
    page.wait_for_url(re.compile(r"\?tab=search&query=[\w-]+$"))
    settled()
    page.reload()
    page.wait_for_selector("#iv-hits .iv-hit")
    assert page.inner_text("#iv-hits .iv-hit:first-child .iv-file") == "siren.wav"
    settled()
    page.goto(f"{app.url}?tab=search&query=unknown")
    page.wait_for_selector("#iv-hits:has-text('not kept any more')")


def test_two_users_at_once_do_not_meet(browser, app, folder):
    names = ["siren", "bell"]
    contexts = [browser.new_context() for _ in names]
    try:
        pages = [context.new_page() for context in contexts]
        for page in pages:
            open_page(page, app)
        for page, name in zip(pages, names, strict=True):
            page.set_input_files("#iv-recorder input[type=file]", sound(folder, name))
        for page, name in zip(pages, names, strict=True):
            page.wait_for_selector("#iv-hits .iv-hit")
            assert page.inner_text("#iv-hits .iv-hit:first-child .iv-file") == f"{name}.wav"
            assert page.inner_text("#iv-query h2") == f"{name}.wav"
    finally:
        for context in contexts:
            context.close()


def choose(page, label: str, name: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=name, exact=True).click()


def test_another_model_hears_the_library_and_searches(page, app, folder):
    open_page(page, app)
    search_with(page, sound(folder, "siren"))
    assert "by voice-search" in page.inner_text("#iv-hits")
    choose(page, "Model", "tl-iminet-conv123")
    page.wait_for_selector("#iv-hits:has-text('tl-iminet-conv123 has not heard the 14 sounds')", timeout=SLOW)
    page.click("#iv-hits .iv-let-hear")
    page.wait_for_selector("#iv-hits:has-text('by tl-iminet-conv123') .iv-hit", timeout=SLOW)  # by itself
    assert page.inner_text("#iv-hits .iv-hit:first-child .iv-file") == "siren.wav"
    assert "model=tl-iminet-conv123" in page.url
    assert "model=tl-iminet-conv123" in page.locator("#iv-hits .iv-hit a:text-is('Why?')").first.get_attribute("href")
    search_with(page, sound(folder, "bell"))  # a new sound goes to the model that was chosen
    assert "by tl-iminet-conv123" in page.inner_text("#iv-hits")
    choose(page, "Fused with", "mfcc")
    page.click("#iv-hits .iv-let-hear", timeout=SLOW)
    page.wait_for_selector("#iv-hits:has-text('by tl-iminet-conv123+mfcc') .iv-hit", timeout=SLOW)
    address = page.url
    page.goto("about:blank")
    page.goto(address)  # opens the same search by the same models
    page.wait_for_selector("#iv-hits:has-text('by tl-iminet-conv123+mfcc') .iv-hit", timeout=SLOW)
    assert page.get_by_label("Fused with", exact=True).input_value() == "mfcc"
    page.fill("#iv-words input, #iv-words textarea", "knocks")
    page.wait_for_function("location.search.includes('text=knocks')")
    page.fill("#iv-words input, #iv-words textarea", "")
    page.wait_for_function("document.querySelectorAll('#iv-hits .iv-hit').length > 2")
    choose(page, "Fused with", "nothing")
    page.wait_for_selector("#iv-hits:has-text('by tl-iminet-conv123') .iv-hit")
    page.wait_for_function("!document.querySelector('#iv-hits').classList.contains('iv-waits')")


def test_a_folder_is_added_while_others_search(browser, page, app, folder, tmp_path):
    new = tmp_path / "new"
    rng = np.random.default_rng(5)
    for number in range(40):
        save_audio(new / f"noise {number}.wav", (0.1 * rng.standard_normal(RATE)).astype(np.float32), RATE)
    t = np.arange(RATE) / RATE
    save_audio(new / "unmistakable.wav", (0.5 * np.sin(2 * np.pi * 150 * np.exp(2 * t) * t)).astype("f4"), RATE)
    (new / "broken.wav").write_bytes(b"nothing")
    open_page(page, app)
    before = int(re.search(r"(\d+) sounds", page.inner_text("#iv-shelf"))[1])
    page.click(".iv-to-grow")
    page.wait_for_selector("#iv-folder input, #iv-folder textarea", state="visible")
    page.fill("#iv-folder input, #iv-folder textarea", str(new))
    page.click("#iv-add")
    page.wait_for_selector("#iv-work [role=progressbar]")
    other = browser.new_page()
    open_page(other, app)
    search_with(other, sound(folder, "siren"))  # goes on meanwhile
    assert other.inner_text("#iv-hits .iv-hit:first-child .iv-file") == "siren.wav"
    other.close()
    page.wait_for_selector("#iv-work:has-text('41 sounds added')", timeout=60_000)
    assert f"{before + 41} sounds" in page.inner_text("#iv-shelf")
    page.click("#iv-work summary")
    assert "broken.wav" in page.inner_text("#iv-work")
    search_with(page, new / "unmistakable.wav")
    assert page.inner_text("#iv-hits .iv-hit:first-child .iv-file") == "unmistakable.wav"


def test_a_folder_that_is_not_there_is_said_where_it_was_typed(page, app):
    open_page(page, app)
    page.click(".iv-to-grow")
    page.fill("#iv-folder input, #iv-folder textarea", "/no/such/<i>folder</i>")
    page.click("#iv-add")
    page.wait_for_selector("#iv-grow-note [role=alert]")
    assert "/no/such/<i>folder</i>: there is no such folder" in page.inner_text("#iv-grow-note")


def test_adding_is_stopped(page, app, tmp_path):
    new = tmp_path / "many"
    rng = np.random.default_rng(6)
    long = (0.1 * rng.standard_normal(20 * RATE)).astype(np.float32)
    for number in range(60):
        save_audio(new / f"{number}.wav", np.roll(long, 1000 * number), RATE)
    open_page(page, app)
    page.click(".iv-to-grow")
    page.fill("#iv-folder input, #iv-folder textarea", str(new))
    page.click("#iv-add")
    page.wait_for_function(
        "/[1-9]\\d* of 60 files/.test(document.querySelector('#iv-work')?.innerText)", timeout=60_000
    )
    page.click("#iv-halt-work")
    page.wait_for_selector("#iv-work:has-text('Stopped')", timeout=60_000)
    page.wait_for_selector("#iv-halt-work", state="hidden")


def test_a_phone_shows_it_whole(browser, app, folder):
    context = browser.new_context(viewport={"width": 400, "height": 800})
    try:
        page = context.new_page()
        open_page(page, app)
        search_with(page, folder / NASTY)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
    finally:
        context.close()


def test_an_app_that_is_stopped_while_it_adds_leaves_a_whole_index(tmp_path):
    from gradio_client import Client

    from iminet_viz.retrieval import open_index

    make_sounds(tmp_path / "first")
    open_index(tmp_path / "index", "voice-search").add(tmp_path / "first", workers=0)
    rng = np.random.default_rng(6)
    for number in range(300):
        save_audio(tmp_path / "many" / f"{number}.wav", (0.1 * rng.standard_normal(RATE)).astype(np.float32), RATE)
    with running_app("--index", tmp_path / "index") as app:
        client = Client(app.url, verbose=False)
        client.predict(str(tmp_path / "many"), api_name="/add_folder")
        until = time.monotonic() + 60
        while client.predict(api_name="/library")["job"]["done"] < 5 and time.monotonic() < until:
            time.sleep(0.05)
        app.process.terminate()
        assert app.process.wait(15) is not None
        assert [path.name for path in app.temporary.iterdir() if path.name.startswith("iminet-viz")] == []
    library = open_index(tmp_path / "index")
    assert 12 <= len(library.windows.files.paths) < 312
    assert library.verify() == []


# --- endpoints ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(app):
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(app.url, verbose=False)


def test_search_by_program(client, folder):
    from gradio_client import handle_file

    answer = client.predict(handle_file(sound(folder, "siren")), 3, api_name="/search")
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
    assert answer["hits"][0]["file"].endswith("siren.wav")
    assert answer["exact"] is True
    answer = client.predict(file=handle_file(sound(folder, "siren")), text="bell", api_name="/search")
    assert len(answer["hits"]) == 1


def test_what_was_sent_is_removed_when_it_was_used(app, client, folder, tmp_path):
    from gradio_client import handle_file

    before = set(uploads(app))
    client.predict(handle_file(sound(folder, "siren")), 3, api_name="/search")
    (tmp_path / "notes.wav").write_bytes(b"this is no sound")
    with pytest.raises(Exception, match="cannot be decoded"):
        client.predict(handle_file(tmp_path / "notes.wav"), 3, api_name="/search")
    client.predict(*[handle_file(sound(folder, name)) for name in ("siren", "bell")], "dtw", api_name="/explain")
    assert {path.suffix for path in set(uploads(app)) - before} <= {".png"}  # the picture is an answer
    with (tmp_path / "notes.wav").open("rb") as one, (tmp_path / "notes.wav").open("rb") as other:
        places = [httpx.post(f"{app.url}gradio_api/upload", files={"files": file}).json() for file in (one, other)]
    assert places[0] != places[1]  # equal files of two users: who is done with theirs leaves the other's


@pytest.mark.parametrize("path", ["/etc/passwd", "", "../../etc/passwd", "/proc/self/environ"])
def test_a_program_cannot_search_with_files_of_the_machine(app, path):
    answer = httpx.post(f"{app.url}gradio_api/call/search", json={"data": [{"path": path}, 10, ""]})
    event = answer.json()["event_id"]
    said = httpx.get(f"{app.url}gradio_api/call/search/{event}", timeout=30).text
    assert "event: error" in said
    assert "root:" not in said


def test_mistakes_of_programs_are_a_sentence(client, folder, tmp_path):
    from gradio_client import handle_file

    (tmp_path / "notes.wav").write_bytes(b"this is no sound")
    for arguments, said in (
        ((handle_file(sound(folder, "siren")), 0), "0 hits were asked for"),
        ((handle_file(sound(folder, "siren")), 3, "zebra"), "zebra"),
        ((handle_file(tmp_path / "notes.wav"), 3), "notes.wav: cannot be decoded"),
    ):
        with pytest.raises(Exception, match=said):
            client.predict(*arguments, api_name="/search")
    with pytest.raises(Exception, match="no such folder"):
        client.predict("/no/such/folder", api_name="/add_folder")


def test_the_library_by_program(client, tmp_path):
    save_audio(tmp_path / "more" / "more.wav", tone(444, 0.5), RATE)
    before = client.predict(api_name="/library")
    assert before["model"] == "voice-search"
    job = client.predict(str(tmp_path / "more"), api_name="/add_folder")
    assert job["what"].startswith("Adding ")
    until = time.monotonic() + 60
    while (now := client.predict(api_name="/library"))["job"]["running"] and time.monotonic() < until:
        time.sleep(0.2)
    assert now["files"] == before["files"] + 1
    assert now["version"] > before["version"]


def test_the_examples_of_the_documentation_run(client, folder, tmp_path, capsys):
    save_audio(tmp_path / "more" / "example.wav", tone(555, 0.5), RATE)
    text = (ROOT / "docs" / "app.md").read_text(encoding="utf-8").partition("## Search")[2]
    text = text.replace("meow_by_me.wav", str(sound(folder, "siren"))).replace("animal", "siren")
    text = text.replace("/home/me/samples", str(tmp_path / "more"))
    examples = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    names: dict[str, object] = {"client": client}
    for example in examples:
        exec(example, names)
    assert len(examples) == 3
    said = capsys.readouterr().out
    assert "siren.wav" in said
    assert "1 sound added" in said


def test_files_of_the_library_and_nothing_else(app, folder):
    from iminet_viz.index import file_id

    def status(name: str) -> int:
        return httpx.get(f"{app.url}gradio_api/file={name}").status_code

    own = sound(folder, "siren")
    assert status(f"@sound/{file_id(own)}.wav") == 200
    assert httpx.get(f"{app.url}gradio_api/file=@sound/{file_id(own)}.wav").content == own.read_bytes()
    part = httpx.get(f"{app.url}gradio_api/file=@sound/{file_id(own)}.wav", headers={"Range": "bytes=44-143"})
    assert (part.status_code, len(part.content)) == (206, 100)
    for name in (str(own), f"@sound/{own}", f"@sound/..%2f..%2f{os.path.relpath(own, '/')}", f"@sound/{'0' * 32}.wav"):
        assert status(name) == 403


def test_many_programs_at_once(app, folder):
    """Eight clients, each with its own sound, get their own answers."""
    from gradio_client import Client, handle_file

    names = ["siren", "bell", "hiss", "sweep", "fall", "hum", "knocks", "chirps"]
    wrong: list[object] = []

    def user(name: str) -> None:
        try:
            client = Client(app.url, verbose=False)
            for _ in range(2):
                answer = client.predict(handle_file(sound(folder, name)), 3, api_name="/search")
                if not answer["hits"][0]["file"].endswith(f"/{name}.wav"):
                    wrong.append((name, answer["hits"][0]["file"]))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=user, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
