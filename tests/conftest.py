"""What the tests share: recordings, the command line, one thread for torch, the running app and a browser."""

import functools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from iminet_viz import cli

torch.set_num_threads(1)  # the networks are small: threads cost more than they give


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder with the real recordings, named by IMINET_VIZ_DATA."""
    name = os.environ.get("IMINET_VIZ_DATA")
    if not name:
        pytest.skip("the environment variable IMINET_VIZ_DATA does not name the folder of real recordings")
    if not Path(name).is_dir():
        pytest.skip(f"IMINET_VIZ_DATA names {name}, which is not a folder")
    return Path(name)


@pytest.fixture
def full_disk(monkeypatch) -> None:
    """Files of more than a second at 1 kHz go to a temporary file, on a disk that is full."""
    from iminet_viz import windows

    tempfile.gettempdir()
    monkeypatch.setattr(windows, "IN_MEMORY", 1_000)
    monkeypatch.setattr(windows.tempfile, "TemporaryFile", functools.partial(open, "/dev/full", "w+b"))


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process: exit status, stdout, stderr. A traceback is the test's own failure."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["iminet-viz", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.run()
            status = 0
        except SystemExit as stop:
            status = 0 if stop.code is None else int(stop.code)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> dict[str, Path]:
    """A sweep, its imitation by a slower one, silence, and a file that is no sound."""
    import numpy as np

    from iminet_viz.audio import save_audio

    folder, rate = tmp_path_factory.mktemp("clips"), 16_000
    made = {name: folder / f"{name}.wav" for name in ("sweep", "slower", "silence", "text")}
    for name, seconds in (("sweep", 1.0), ("slower", 1.5)):
        time = np.arange(round(seconds * rate)) / rate
        save_audio(made[name], 0.3 * np.sin(2 * np.pi * (300 + 400 * time / seconds) * time), rate)
    save_audio(made["silence"], np.zeros(rate), rate)
    made["text"].write_text("no sound")
    return made


@pytest.fixture(scope="session")
def app_url() -> Iterator[str]:
    """Address of the app, started once with the shipped gallery; tests share it as users do."""
    from app_server import running_app

    with running_app() as app:
        # its page asks how far the library is while that is opened; a reload would cut such a request, and log it
        client = pytest.importorskip("gradio_client").Client(app.url, verbose=False)
        until = time.monotonic() + 60
        while not client.predict(api_name="/library")["ready"] and time.monotonic() < until:
            time.sleep(0.2)
        yield app.url


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, driven by playwright; skipped where one of them is missing."""
    from app_server import CHROMIUM, CHROMIUM_FLAGS

    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.is_file():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def settled(page):
    """Call it to wait until the page has all answers that it asked for.

    After 20 s it goes on: of a stream that the page itself closes, the driver does not always tell the end.
    """
    waiting: set[object] = set()

    def asks(request) -> None:
        if "/queue/" in request.url:
            waiting.add(request)

    page.on("request", asks)
    for end in ("requestfinished", "requestfailed"):
        page.on(end, lambda request: waiting.discard(request))  # playwright marks its handlers: no built-in function

    def wait() -> None:
        quiet, until = 0, time.monotonic() + 20
        while quiet < 5 and time.monotonic() < until:  # what one answer sets off is asked for at once
            page.wait_for_timeout(100)
            quiet = 0 if waiting else quiet + 1

    return wait


# what gradio's page logs when a reload, or the end of the app, cuts a stream of answers: the test's doing
CUT = (
    "net::ERR_INCOMPLETE_CHUNKED_ENCODING",
    "TypeError: network error",
    "Connection errored out",
    "Server stopped unexpectedly",
    "AbortError",
)


@pytest.fixture
def page(browser):
    """A page of a user of its own; whatever it logs as an error, or asks of another machine, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)  # of states that come at once, on a machine that has much else to do
    page = context.new_page()
    faults: list[str] = []

    def fault(text: str) -> None:
        if not any(cut in text for cut in CUT):
            faults.append(text)

    page.on("console", lambda message: fault(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: fault(str(error)))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith(("http://127.0.0.1", "data:", "blob:")) else faults.append(request.url)
        ),
    )
    yield page
    context.close()
    assert not faults, faults
