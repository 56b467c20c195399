"""Starts the app as a user does, in a process of its own on a free port, for the tests of all tabs.

::

    with running_app("--gallery", folder) as app:
        httpx.get(app.url)

The fixtures ``app_url`` (one app for the whole session) and ``page`` (a browser's page that must not log an error) are
in ``conftest.py``.
"""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]


@dataclasses.dataclass(frozen=True)
class RunningApp:
    """An app that answers; ``seconds`` is how long it took from the start to the first page."""

    url: str
    process: subprocess.Popen
    seconds: float
    temporary: Path  # its TMPDIR: what it leaves there is a leak


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_app(*arguments: object, environment: dict[str, str] | None = None) -> Iterator[RunningApp]:
    """Start ``iminet-viz app`` with more arguments, wait for its first page, and stop it.

    Its library is empty, unless the arguments name one or the environment a cache for the demo library: that is a
    minute's work, and the user's own cache is no place for tests.
    """
    port = free_port()
    command = [sys.executable, str(ROOT / "cli.py"), "app", "--no-browser", "--port", str(port), *map(str, arguments)]
    with (
        tempfile.TemporaryDirectory() as temporary,
        tempfile.TemporaryDirectory() as own,  # what an app keeps for its user
        tempfile.TemporaryFile("w+") as log,
    ):
        folders = {"TMPDIR": temporary, "XDG_DATA_HOME": own, "IMINET_VIZ_CACHE": own}
        settings = {**os.environ, **folders, **(environment or {})}
        if "--index" not in arguments and "IMINET_VIZ_CACHE" not in (environment or {}):
            command += ["--index", str(Path(temporary) / "library")]
        begun = time.monotonic()
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=subprocess.STDOUT, cwd=temporary)
        url = f"http://127.0.0.1:{port}/"
        try:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(url, timeout=5)
                    break
                if process.poll() is not None or time.monotonic() - begun > 120:
                    log.seek(0)
                    raise RuntimeError(f"the app did not start (status {process.poll()}): {log.read()}")
                time.sleep(0.1)
            yield RunningApp(url, process, time.monotonic() - begun, Path(temporary))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
