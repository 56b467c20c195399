"""How fast is a library made, kept up and searched from the command line?

    python benchmarks/index.py --data DATA --folder SCRATCH

Each section writes its table between its markers in benchmarks/README.md: ``indexing`` (real recordings, first run),
``again`` (10,000 files that have not changed) and ``search`` (from a cold start, and as a server). Commands are run as
users run them, each in a new process; files are in the page cache. The library that is searched holds real windows and
mixtures of them, as in search_aligned.py; queries are imitations by people (telephone-imitations).
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile
from search import show, write_section
from search_aligned import SOUNDS, enlarge, keep_windows

from iminet_viz.audio import find_audio, read_native
from iminet_viz.datasets import telephone
from iminet_viz.errors import AudioError
from iminet_viz.index import (
    BATCH,
    Library,
    Prepared,
    Settings,
    Task,
    Work,
    embed_files,
    file_id,
    list_files,
    prepare_file,
)
from iminet_viz.retrieval import SoundLibrary
from iminet_viz.scoring import load_scorer

MODEL = "voice-search"
RUNS = 5
QUERIES = 20
RECALL = 0.95
EACH = 4  # windows of a file of the library that is searched
CLI = Path(__file__).resolve().parents[1] / "cli.py"
# What a process says of itself at its end, on Linux; ru_maxrss would count what its parent had
MEASURED = (
    "import re, runpy, sys; sys.argv = sys.argv[1:]\n"
    "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    "finally: print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1], file=sys.stderr)\n"
)


def call(*arguments: object) -> tuple[float, float, dict[str, Any]]:
    """Run a verb in a new process: wall time in s, largest resident memory in MB, and its JSON."""
    command = [sys.executable, "-c", MEASURED, str(CLI), *map(str, arguments), "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - start
    if done.returncode:
        raise click.ClickException(f"{' '.join(command[3:])}: {done.stderr}")
    return wall_s, int(done.stderr.splitlines()[-1]) / 1000, json.loads(done.stdout)


def recordings(data: Path) -> list[Path]:
    return [path for folder in SOUNDS for path in sorted(find_audio(data / folder))]


def networks_alone(data: Path, folder: Path) -> Callable[[], tuple[int, float]]:
    """Prepare the windows of the recordings; what is returned counts them, and the seconds of the networks alone.

    They run in batches as in a run, with torch as the command line has it, and nothing beside.
    """
    scorer = load_scorer(MODEL)
    parts = tuple((part.sample_rate("recording"), part.prepare) for part in scorer.parts)
    prepared = []
    with tempfile.TemporaryDirectory(dir=folder) as spool:
        work = Work(Settings.of(scorer).windows, parts, spool)
        for file in itertools.chain.from_iterable(list_files(data / name, lambda *_: None) for name in SOUNDS):
            outcome = prepare_file(work, Task(file, ""))
            arrays = tuple(np.load(x) if isinstance(x, str) else x for x in outcome.parts)
            if arrays:
                prepared.append(dataclasses.replace(outcome, parts=arrays))

    def run() -> tuple[int, float]:
        network_s, waiting = 0.0, list[Prepared]()
        for number, outcome in enumerate(prepared, start=1):
            waiting.append(outcome)
            if sum(len(x.spans) for x in waiting) >= BATCH or number == len(prepared):
                network_s += embed_files(scorer.parts, waiting)[1]
                waiting = []
        return sum(len(x.spans) for x in prepared), network_s

    run()  # what torch does once
    return run


def indexing(data: Path, folder: Path) -> str:
    """Section: the first run over real recordings."""
    alone = networks_alone(data, folder)
    lines = [
        "| run | files | hours | windows | wall, s | files/s | s of sound a s | networks busy | tower alone, s | share "
        "| process, s | busy of that |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in range(RUNS):
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            whole_s, _, added = call("index", "add", Path(scratch) / "index", *(data / name for name in SOUNDS))
        windows, alone_s = alone()
        assert windows == added["windows"]
        cells = (
            f"{added['new']:,} | {added['audio_s'] / 3600:.2f} | {added['windows']:,} | {added['wall_s']:.1f} | "
            f"{added['files_per_s']:.1f} | {added['audio_s_per_s']:.0f} | {added['network_share']:.0%} "
            f"| {alone_s:.1f} | {alone_s / added['wall_s']:.0%} | {whole_s:.1f} | {added['network_s'] / whole_s:.0%}"
        )
        lines.append(f"| {run + 1} | {cells} |")
        click.echo(lines[-1], err=True)
    lines += [
        "",
        "Wall time is from the first file to the last commit, networks busy the share of it that they run, on all "
        "cores, beside the workers that decode. Tower alone: the same windows in the same batches, right after the "
        "run and with nothing beside; share: of the wall time. The process before lists folders, starts workers, which "
        "come up while it loads the model, and afterwards makes the copy that searches read.",
    ]
    return "\n".join(lines)


def cut_files(data: Path, folder: Path, count: int) -> None:
    """Write ``count`` sounds of one second, cut from real recordings at random."""
    rng = np.random.default_rng(0)
    waveforms = []
    for path in recordings(data):
        try:
            waveforms.append(read_native(path))
        except AudioError:
            continue
    for number in range(count):
        waveform, rate = waveforms[number % len(waveforms)]
        start = int(rng.integers(max(1, len(waveform) - rate)))
        place = folder / f"folder {number % 100:02d}"
        place.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"sound {number:05d}.flac", waveform[start : start + rate].clip(-1, 1), rate)


def again(data: Path, folder: Path, count: int) -> str:
    """Section: runs over files that have not changed."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        sounds, index = Path(scratch) / "sounds", Path(scratch) / "index"
        cut_files(data, sounds, count)
        first_s, _, first = call("index", "add", index, sounds)
        runs = []
        for _ in range(RUNS):
            wall_s, _, added = call("index", "add", index, sounds)
            if added["unchanged"] + first["failed"] < count or added["windows"]:
                raise click.ClickException(f"a second run was not idle: {added}")
            runs.append(wall_s)
    return (
        "| files | not indexed | first run, s | files/s | networks busy | second run, s |\n|---|---|---|---|---|---|\n"
        f"| {count:,} | {first['failed']:,} | {first_s:.1f} | {first['files_per_s']:.1f} "
        f"| {first['network_share']:.0%} | {show(runs, digits=2)} |\n\n"
        f"Sounds of one second, cut from {len(recordings(data)):,} recordings; whole processes, {RUNS} second runs "
        "with 95 % bootstrap interval. Not indexed are cuts that are silent."
    )


def make_library(data: Path, index: Path, count: int) -> Library:
    """Write a library of ``count`` windows, without its sounds, in commits as large as those of ``index add``."""
    import pyarrow as pa

    library = Library(index, load_scorer(MODEL))
    part = library.scorer.parts[0]
    kept = np.stack(list(keep_windows(part, recordings(data), "recording")))
    rng = np.random.default_rng(0)
    rng.shuffle(kept)
    rows = enlarge(kept, count, 32, rng)
    with library._locked():
        library._create()
        schema = library._table.schema
        for start in range(0, count, 4_096):
            number = np.arange(start, min(start + 4_096, count))
            paths = [f"/sounds/folder {x // EACH % 100:02d}/sound {x // EACH:06d}.wav" for x in number]
            values = {
                "id": [file_id(path) for path in paths],
                "window": number % EACH,
                "windows": np.full(len(number), EACH),
                "path": [path.encode() for path in paths],
                "root": [b"/sounds"] * len(number),
                "start_s": number % EACH * 2.0,
                "stop_s": number % EACH * 2.0 + 4,
                "duration_s": np.full(len(number), 2.0 * EACH + 2),
                "label": [path.split("/")[2] for path in paths],
                "text": [path[1:] for path in paths],
                "licence": [""] * len(number),
                "size": np.ones(len(number)),
                "mtime_ns": np.ones(len(number)),
                "sha256": [f"{x // EACH:064x}" for x in number],
                "status": ["ok"] * len(number),
                "reason": [""] * len(number),
                "fingerprint": [library.scorer.fingerprint] * len(number),
            }
            columns = [pa.array(values[field.name]).cast(field.type) for field in schema if field.name in values]
            flat = pa.array(rows[number].reshape(-1))
            columns.append(pa.FixedSizeListArray.from_arrays(flat, type=schema.field("vector_0").type))
            library._table.add(pa.Table.from_arrays(columns, schema=schema))
    library.compact()
    return library


def search(data: Path, folder: Path, count: int) -> str:
    """Section: searches in new processes, and by one that has the library in memory."""
    imitations = sorted({pair.imitation for pair in telephone.load(data / telephone.NAME)})
    chosen = [imitations[i] for i in np.linspace(0, len(imitations) - 1, QUERIES).astype(int)]
    lines = [
        f"| windows | | process, s | query, s | library, s | scan, ms | as a server: scan, ms, median of {QUERIES} "
        "| slowest | memory, MB | vectors, MB | allowed, MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        index = Path(scratch) / "index"
        vectors_mb = make_library(data, index, count).vectors().nbytes / 1e6
        server = SoundLibrary(index)
        heard = [server.hear(path) for path in chosen]
        for name, recall in (("exact", None), (f"recall {RECALL}", RECALL)):
            options = () if recall is None else ("--recall", recall)
            call("search", index, chosen[0], *options)  # compiles, or calibrates
            runs = [call("search", index, path, *options) for path in chosen[:: QUERIES // RUNS]]
            steps = [[answer["seconds"][step] for *_, answer in runs] for step in ("query", "library", "scan")]
            server.search(heard[0], recall=recall)
            scans = [server.search(query, recall=recall).seconds["scan"] for query in heard]
            cells = [show([wall_s for wall_s, *_ in runs], digits=2)]
            cells += [show(steps[0], digits=2), show(steps[1], digits=2), show(steps[2], 1e3, 0)]
            cells += [show(scans, 1e3, 0), f"{1e3 * max(scans):.0f}"]
            cells += [f"{max(memory for _, memory, _ in runs):,.0f}", f"{vectors_mb:,.0f}"]
            lines.append(f"| {count:,} | {name} | {' | '.join(cells)} | {1.3 * vectors_mb + 600:,.0f} |")
            click.echo(lines[-1], err=True)
    lines += [
        "",
        f"`iminet-viz search`, {RUNS} processes each, medians with 95 % bootstrap intervals. Query: model loaded, "
        "heard, the copy of the library checked meanwhile; library: compiled loops loaded, rows prepared; scan: all "
        "until the hits, with the sample that says how far they stand out.",
    ]
    return "\n".join(lines)


TITLES = {
    "indexing": "Making a library of real recordings",
    "again": "A second run over files that have not changed",
    "search": "Search from the command line, and as a server",
}


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the data sets.")
@click.option("--section", "names", type=click.Choice(list(TITLES)), multiple=True, default=list(TITLES))
@click.option("--files", default=10_000, help="Of the section again.")
@click.option("--windows", default=100_000, help="Of the section search.")
@click.option("--folder", type=click.Path(path_type=Path, exists=True), help="For scratch files, 2 GB.")
def main(data: Path, names: list[str], files: int, windows: int, folder: Path | None) -> None:
    """Measure sections and write them to benchmarks/README.md."""
    data, folder = data.resolve(), (folder or Path(tempfile.gettempdir())).resolve()
    for name in names:
        if name == "indexing":
            text = indexing(data, folder)
        elif name == "again":
            text = again(data, folder, files)
        else:
            text = search(data, folder, windows)
        write_section(f"index {name}", TITLES[name], f"python benchmarks/index.py --data DATA --section {name}", text)
        click.echo(text)


if __name__ == "__main__":
    main()
