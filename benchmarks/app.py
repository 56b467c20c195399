"""How fast and how steady the app is on a library of 10,000 sounds.

The library: the 240 sounds of the demo corpus (and with ``--recordings`` those of a folder, 10 s of each), and copies
of them: played 0.7 to 1.4 times as fast, begun up to a fifth later, tilted by up to 6 dB an octave, 20 to 50 dB above
noise, 0 to 20 dB quieter; FLAC at 16 kHz. It stays in ``--work`` and is used again. The query is 4 s long, 48 kHz, as a
browser records it.

Measured, on the machine that also runs the users:

* from the start of the process to the first page;
* in Chromium, from the choice of a file to the picture and to the hits on screen, the first time and the median of ten;
* users who query at once through ``/search``, each the next as soon as the answer is there;
* what the process has grown by, from query 50 to the last of one user after the other.

::

    .venv/bin/python benchmarks/app.py --work WORK
    .venv/bin/python benchmarks/app.py --work WORK --sounds 1000 --seconds 20 --queries 100
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import statistics
import sys
import threading
import time
from pathlib import Path

import click
import numpy as np

from iminet_viz.audio import atomic_path, find_audio, read_native, save_audio

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from app_server import CHROMIUM, CHROMIUM_FLAGS, running_app

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- app: written by app.py -->", "<!-- /app -->"
RATE = 16_000
PARTS_S = 10.0
FIRST_QUERIES = 50  # whose growth is not counted: what is made once is made by then


# --- the library ----------------------------------------------------------------------------------------------------


def perturb(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy that is another sound: ``(samples,)`` at ``RATE`` to the same."""
    import soxr

    own = waveform[round(rng.uniform(0, 0.2) * len(waveform)) :]
    own = soxr.resample(own, RATE, RATE / rng.uniform(0.7, 1.4))
    spectrum = np.fft.rfft(own)
    octaves = np.log2(np.maximum(np.arange(len(spectrum)), 1) / max(len(spectrum) // 8, 1))
    own = np.fft.irfft(spectrum * 10 ** (rng.uniform(-6, 6) * octaves.clip(-4, 3) / 20), len(own))
    own = own / max(float(np.abs(own).max()), 1e-9)
    own = own + 10 ** (-rng.uniform(20, 50) / 20) * 0.3 * rng.standard_normal(len(own))
    return (0.9 * 10 ** (-rng.uniform(0, 20) / 20) * own / np.abs(own).max()).astype(np.float32)


def make_library(work: Path, count: int, recordings: Path | None) -> tuple[Path, Path]:
    """Sounds and their index; what is there already stays."""
    from iminet_viz.app._sounds import make_demo_sound
    from iminet_viz.datasets._demo.concepts import CONCEPTS
    from iminet_viz.retrieval import open_index

    sources = work / "sources"
    with click.progressbar(CONCEPTS, label="demo corpus", file=sys.stderr) as concepts:
        for concept in concepts:
            make_demo_sound(sources, concept)
    paths = find_audio(sources) + (find_audio(recordings) if recordings else [])
    waveforms = []
    for path in paths:
        with contextlib.suppress(Exception):  # a folder of recordings may hold broken ones
            waveform, rate = read_native(path)
            waveforms.append((path.stem, _at_rate(waveform[: round(PARTS_S * rate)], rate)))
    sounds = work / f"sounds-{count}{'-and-recordings' * bool(recordings)}"
    with click.progressbar(range(count), label="copies", file=sys.stderr) as numbers:
        for number in numbers:
            name, waveform = waveforms[number % len(waveforms)]
            path = sounds / f"{number // 1000:02d}" / f"{name} {number}.flac"
            if not path.is_file():
                rng = np.random.default_rng(number)
                save_audio(path, waveform if number < len(waveforms) else perturb(waveform, rng), RATE)
    index = work / f"index-{sounds.name}"
    library = open_index(index, "voice-search")

    def report(what: str, done: int, total: int) -> None:
        if done % 100 == 0:
            print(f"{done} of {total} files, {what}", file=sys.stderr)

    added = library.add(sounds, report=report)
    print(f"{added.new} new, {added.unchanged} there, {len(library.windows)} windows", file=sys.stderr)
    return index, sounds


def make_query(sounds: Path, work: Path) -> Path:
    """4 s at 48 kHz."""
    import soxr

    path = work / "query.wav"
    pieces = [read_native(path)[0] for path in find_audio(sounds)[1:400:57]]
    waveform = soxr.resample(np.concatenate(pieces)[: 4 * RATE], RATE, 48_000)
    save_audio(path, waveform / max(1.0, float(np.abs(waveform).max())), 48_000)
    return path


def _at_rate(waveform: np.ndarray, rate: int) -> np.ndarray:
    import soxr

    own = soxr.resample(waveform, rate, RATE)
    return (own / max(1.0, float(np.abs(own).max(initial=0)))).astype(np.float32)


# --- the app --------------------------------------------------------------------------------------------------------


def resident_mb(process: int) -> float:
    """Memory of a process in MB."""
    text = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


def measure_page(url: str, query: Path, times: int = 10) -> dict[str, float]:
    """Seconds from the choice of a file to picture and hits in Chromium."""
    from playwright.sync_api import sync_playwright

    pictures, hits, first = [], [], 0.0
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(url)
        page.wait_for_selector("#iv-shelf code")
        changed = "old => (document.querySelector('{} [data-token]')?.dataset.token || old) !== old"
        token = "document.querySelector('{} [data-token]')?.dataset.token || ''"
        for number in range(times + 1):
            old = [page.evaluate(token.format(place)) for place in ("#iv-query", "#iv-hits")]
            begun = time.perf_counter()
            page.set_input_files("#iv-recorder input[type=file]", query)
            page.wait_for_function(changed.format("#iv-query"), arg=old[0])
            picture = time.perf_counter() - begun
            page.wait_for_function(changed.format("#iv-hits"), arg=old[1])
            answered = time.perf_counter() - begun
            if number:
                pictures.append(picture)
                hits.append(answered)
            else:
                first = answered
        browser.close()
    return {"first": first, "picture": statistics.median(pictures), "hits": statistics.median(hits)}


def measure_users(url: str, query: Path, users: int, seconds: float) -> tuple[list[float], list[str], list[float]]:
    """Users who query at once: seconds of each answer, errors, and seconds of the scan alone."""
    from gradio_client import Client, handle_file

    times: list[float] = []
    scans: list[float] = []
    errors: list[str] = []
    clients = [Client(url, verbose=False) for _ in range(users)]
    until = time.perf_counter() + seconds

    def use(client: Client) -> None:
        while time.perf_counter() < until:
            begun = time.perf_counter()
            try:
                answer = client.predict(handle_file(query), 10, api_name="/search")
                times.append(time.perf_counter() - begun)
                scans.append(answer["seconds"]["scan"])
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")
                time.sleep(0.5)

    threads = [threading.Thread(target=use, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, errors, scans


def measure_growth(url: str, process: int, query: Path, queries: int) -> tuple[float, float, float, float]:
    """MB after the first queries, growth after all of them, median seconds of an answer, and of its scan alone."""
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False)
    times, scans, before = [], [], 0.0
    for number in range(max(queries, FIRST_QUERIES + 1)):
        if number == FIRST_QUERIES:
            before = resident_mb(process)
        begun = time.perf_counter()
        answer = client.predict(handle_file(query), 10, api_name="/search")
        times.append(time.perf_counter() - begun)
        scans.append(answer["seconds"]["scan"])
    own = (statistics.median(values[FIRST_QUERIES:]) for values in (times, scans))
    return before, resident_mb(process) - before, *own


# --- the table ------------------------------------------------------------------------------------------------------


def write_table(text: str) -> None:
    """Put the table between its markers, at the end where there are none."""
    whole = README.read_text(encoding="utf-8") if README.is_file() else "# Benchmarks\n"
    own = f"{BEGIN}\n{text}{END}"
    if BEGIN in whole:
        before, _, rest = whole.partition(BEGIN)
        whole = before + own + rest.partition(END)[2]
    else:
        whole = f"{whole.rstrip()}\n\n## The app\n\n{own}\n"
    with atomic_path(README) as temporary:
        temporary.write_text(whole, encoding="utf-8")


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder of sounds and index.")
@click.option("--recordings", type=click.Path(path_type=Path, exists=True), help="Folder of further sounds.")
@click.option("--sounds", "count", default=10_000, show_default=True)
@click.option("--users", default=20, show_default=True)
@click.option("--seconds", default=120.0, show_default=True, help="How long they query.")
@click.option("--queries", default=500, show_default=True, help="Over which memory is watched.")
@click.option("--note", default="", help="Said below the table, for example what else the machine did.")
@click.option("--only-library", is_flag=True, help="Make sounds and index, measure nothing.")
def main(
    work: Path,
    recordings: Path | None,
    count: int,
    users: int,
    seconds: float,
    queries: int,
    note: str,
    only_library: bool,
) -> None:
    """Measure the app and write the table into benchmarks/README.md."""
    index, sounds = make_library(work.absolute(), count, recordings)
    if only_library:
        return
    query = make_query(sounds, work.absolute())
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    with running_app("--index", index) as app:
        url, process = app.url, app.process.pid
        page = measure_page(url, query)
        before, growth, alone, scan = measure_growth(url, process, query, queries)
        times, errors, scans = measure_users(url, query, users, seconds)
        after = resident_mb(process)
    ordered = sorted(times)
    p95 = ordered[max(0, round(0.95 * len(ordered)) - 1)] if ordered else float("nan")
    rows = [
        ("start to first page", f"{app.seconds:.1f} s", "8 s"),
        ("4 s recording to picture, in the browser", f"{page['picture']:.2f} s", ""),
        ("4 s recording to hits, in the browser", f"{page['hits']:.2f} s (first {page['first']:.2f} s)", "1.5 s"),
        ("the same by `/search`, one user", f"{alone:.2f} s", ""),
        ("of it the scan", f"{scan:.2f} s", "0.5 s"),
        (f"{users} users for {seconds:.0f} s: answers", f"{len(times)} ({len(times) / seconds:.1f}/s)", ""),
        (f"{users} users: errors", f"{len(errors)}", "0"),
        (
            f"{users} users: median, 95 %",
            f"{statistics.median(times):.2f} s, {p95:.2f} s" if times else "-",
            "p95 15 s",
        ),
        (f"{users} users: scan alone, median", f"{statistics.median(scans):.2f} s" if scans else "-", ""),
        (f"memory after {FIRST_QUERIES} queries", f"{before:.0f} MB", ""),
        (f"growth to query {max(queries, FIRST_QUERIES + 1)}", f"{growth:+.0f} MB", "50 MB"),
        (f"growth by the {users} users", f"{after - before - growth:+.0f} MB", ""),
    ]
    lines = [f"| {count:,} sounds, voice-search | measured | wanted |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    command = f"app.py --work WORK --sounds {count} --users {users} --seconds {seconds:g} --queries {queries}"
    about = (
        f"`{command}`, Python {platform.python_version()}, {cores} cores with the users and the browser on them, load "
        f"{load:.1f} before. {note}"
    )
    text = "\n".join([*lines, "", about.strip(), ""])
    print(text)
    for error in sorted(set(errors))[:5]:
        print(error, file=sys.stderr)
    write_table(text)


if __name__ == "__main__":
    main()
