"""How long is a library searched? Times beside one plain read of the same array, in the same run.

    python benchmarks/search.py --folder SCRATCH

Each section writes its table between its markers in benchmarks/README.md. Rows are drawn with the mean and covariance
of what TL-IMINET stores of 200 generated sounds; queries are 15 generated sounds through its other tower.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numba
import numpy as np
import torch

from iminet_viz.audio import atomic_path, fit_length
from iminet_viz.checkpoint import load_model
from iminet_viz.evaluation import bootstrap_interval
from iminet_viz.scan import CosineRows, FactorisedRows, ProductRows, Rows
from iminet_viz.scan._topk import in_threads

PAGE = Path(__file__).resolve().parent / "README.md"
MODEL = "tl-iminet-conv123"
MEASURED = 200  # recordings that pass the tower one by one
ROUNDS = 15
K = 100
BLOCK = 4_096


@numba.njit(nogil=True, fastmath=True)
def add_up(values):
    """Sum of integers, as fast as they come from memory."""
    total = np.int64(0)
    for value in values:
        total += value
    return total


def read_plainly(rows: np.ndarray) -> None:
    """Read all bytes once, on all cores, eight at a time."""
    values = rows.reshape(-1).view(np.int64)
    in_threads(lambda first, last: add_up(values[first:last]), len(values), 8)


def seconds(work: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


class Fetched:
    """Rows that count how many are read."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.count = rows, 0

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        self.count += len(numbers)
        return self.rows[numbers]


def show(values: list[float], scale: float = 1.0, digits: int = 1) -> str:
    """Median and its 95 % bootstrap interval over rounds."""
    array = np.array(values) * scale
    low, high = bootstrap_interval(array, np.median, 0)
    return f"{np.median(array):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def beside_a_read(library: Rows, scanned: np.ndarray, queries: list[np.ndarray]) -> tuple[list[str], list[float]]:
    """Cells of a table: plain read and search in ms, their ratio, that of their CPU time; rounds take turns."""
    read_plainly(scanned)
    library.search(queries[:1], K)
    reads, searches, of_cpu = [], [], []
    for query in queries:
        before = time.process_time()
        reads.append(seconds(read_plainly, scanned))
        between = time.process_time()
        searches.append(seconds(library.search, [query], K))
        of_cpu.append((time.process_time() - between) / (between - before))
    ratios = [search / read for search, read in zip(searches, reads, strict=True)]
    return [show(reads, 1e3), show(searches, 1e3), show(ratios, digits=2), show(of_cpu, digits=2)], searches


def sounds(count: int, rate: int, samples: int, rng: np.random.Generator) -> torch.Tensor:
    """Decaying noise with a gliding tone: ``(count, samples)``."""
    made = []
    for _ in range(count):
        t = np.arange(round(rng.uniform(0.5, 4) * rate)) / rate
        noise = rng.standard_normal(len(t)) * np.exp(-t * rng.uniform(0.2, 20))
        tone = rng.uniform(0, 2) * np.sin(2 * np.pi * rng.uniform(80, 4_000) * t * (1 + rng.uniform(-0.2, 0.2) * t))
        made.append(fit_length((0.1 * (noise + tone)).astype(np.float32), samples))
    return torch.from_numpy(np.stack(made))


@torch.no_grad()
def stored_sounds() -> tuple[object, list[np.ndarray], np.ndarray, float]:
    """The network, queries, what is stored of the measured recordings, and the tower's seconds for one."""
    model, rng = load_model(MODEL), np.random.default_rng(0)
    inputs = {}
    for role, count in (("imitation", ROUNDS), ("recording", MEASURED)):
        config = model.frontends[role].config
        inputs[role] = model.frontends[role](sounds(count, config.sample_rate, config.n_samples, rng))
    queries = [vector[None] for vector in model.network.query_half(inputs["imitation"]).numpy()]
    times, vectors = [], []
    for recording in inputs["recording"]:
        start = time.perf_counter()
        vectors.append(model.network.candidate_half(recording[None])[0].numpy())
        times.append(time.perf_counter() - start)
    return model.network, queries, np.stack(vectors), float(np.median(times))


def draw_rows(path: Path, count: int, vectors: np.ndarray) -> np.ndarray:
    """Rows of the mean and covariance of ``vectors``, memory-mapped: ``(count, width)`` float32."""
    mean = vectors.mean(axis=0)
    root = np.linalg.cholesky(np.cov(vectors.T) + 1e-4 * np.eye(len(mean))).T.astype(np.float32)
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (count, len(mean)))
    rng = np.random.default_rng(1)
    for first in range(0, count, 1 << 16):
        size = min(1 << 16, count - first)
        rows[first : first + size] = rng.standard_normal((size, len(mean)), np.float32) @ root + mean
    return rows


def by_numpy(rows: np.ndarray, query: np.ndarray, weight: np.ndarray, block: int) -> np.ndarray:
    parts = [np.maximum(rows[first : first + block] + query, 0) @ weight for first in range(0, len(rows), block)]
    scores = np.concatenate(parts)
    best = np.argpartition(scores, -K)[-K:]
    return best[np.argsort(-scores[best])]


def in_words(duration_s: float) -> str:
    if duration_s < 120:
        return f"{duration_s:.0f} s"
    return f"{duration_s / 60:.0f} min" if duration_s < 7_200 else f"{duration_s / 3_600:.1f} h"


def vectors(folder: Path, sizes: list[int], coded_sizes: list[int]) -> str:
    """Section: TL-IMINET's 108 values, float32 and int8."""
    network, queries, stored, tower_s = stored_sounds()
    weight, bias = network.fc2.weight[0].numpy(), network.fc2.bias.item()
    lines = [
        "| rows | scanned | MB | plain read, ms | exact top-100, ms | ratio | of CPU time | re-scored "
        "| 8 queries at once, ms each | NumPy sum, ms | blocked NumPy, ms | NumPy, ms | tower for each |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        mapped = draw_rows(Path(scratch) / "rows.npy", max([*sizes, *coded_sizes]), stored)
        for precision, counts in (("float32", sizes), ("int8", coded_sizes)):
            for count in counts:
                if precision == "float32":
                    rows = np.array(mapped[:count])
                    library = FactorisedRows(rows, weight, bias)
                    cells, searches = beside_a_read(library, rows, queries)
                    again = "-"
                else:
                    fetched = Fetched(mapped)
                    library = FactorisedRows(fetched, weight, bias, count=count, precision="int8")
                    fetched.count = 0
                    cells, searches = beside_a_read(library, library._scanned, queries)
                    again = f"{100 * fetched.count / (len(queries) + 1) / count:.3f} %"
                together = [seconds(library.search, queries[:8], K) / 8 for _ in range(3)]
                total = [seconds(library._scanned.sum) for _ in range(3)]
                numpy_cells = ["-", "-"]
                if precision == "float32":
                    blocked = [seconds(by_numpy, rows, query, weight, BLOCK) for query in queries[:5]]
                    plain = [seconds(by_numpy, rows, query, weight, count) for query in queries[:5]]
                    numpy_cells = [f"{1e3 * np.median(x):.1f}" for x in (blocked, plain)]
                cells += [again, f"{1e3 * np.median(together):.1f}", f"{1e3 * np.median(total):.1f}", *numpy_cells]
                cells.append(f"{in_words(count * tower_s)}, {count * tower_s / np.median(searches):,.0f} times as long")
                lines.append(f"| {count:,} | {precision} | {library.n_bytes / 1e6:,.0f} | {' | '.join(cells)} |")
                click.echo(lines[-1], err=True)
    lines += [
        "",
        f"Medians of {ROUNDS} rounds with 95 % bootstrap intervals (NumPy: 5; its sum and 8 queries: 3). The plain "
        "read adds up the scanned bytes as 64-bit integers on all cores; NumPy's sum is on one. NumPy's scores are "
        "float32, by `argpartition`, and not exact. Re-scored: share of the rows that a query in int8 fetches, here "
        "from a memory-mapped file in the page cache; that time is in the search. The last column is the recording "
        f"tower alone, run once a candidate: {1e3 * tower_s:.1f} ms, median of {MEASURED} measured one by one on "
        f"{torch.get_num_threads()} threads, times the rows. Where other programs take the cores, the ratio of CPU "
        "time is the steadier one.",
    ]
    return "\n".join(lines)


def forms(folder: Path, sizes: list[int], coded_sizes: list[int]) -> str:
    """Section: the other models' rows, of random values."""
    rng = np.random.default_rng(2)
    lines = [
        "| rows | values | form | MB | plain read, ms | exact top-100, ms | ratio | of CPU time | re-scored |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    network = load_model("iminet-tied").network
    head = [network.fc2.weight, network.fc2.bias, network.fc3.weight[0], network.fc3.bias[0]]
    for name, count, width in (
        ("IMINET", 100_000, 432),
        ("IMISOUND", 20_000, 7_200),
        ("IMISOUND, int8", 20_000, 7_200),
    ):
        rows = rng.standard_normal((count, width), np.float32)
        queries = list(rng.standard_normal((ROUNDS, 1, width), np.float32))
        fetched = Fetched(rows)
        if name == "IMINET":
            library = ProductRows(rows, *(x.numpy() for x in head))
        elif name == "IMISOUND":
            library = CosineRows(rows)
        else:
            library = CosineRows(fetched, width, count=count, precision="int8")
            fetched.count = 0
        cells, _ = beside_a_read(library, library._scanned, queries)
        cells.append(f"{100 * fetched.count / (ROUNDS + 1) / count:.1f} %" if fetched.count else "-")
        lines.append(f"| {count:,} | {width:,} | {name} | {library.n_bytes / 1e6:,.0f} | {' | '.join(cells)} |")
        click.echo(lines[-1], err=True)
    lines += [
        "",
        "IMINET multiplies 432 x 32 for each row: it is bound by arithmetic, a read is no measure of it. "
        "Random rows of 7,200 values are all about equally far from a query: the hardest for the bound of int8.",
    ]
    return "\n".join(lines)


def cold(folder: Path, sizes: list[int], coded_sizes: list[int]) -> str:
    """Section: the first search of a new process, compiled loops in numba's cache on disk."""
    code = (
        "import time, numpy as np\n"
        "from iminet_viz.scan import FactorisedRows\n"
        "rng = np.random.default_rng(0)\n"
        "rows, query = rng.standard_normal((100_000, 108), np.float32), rng.standard_normal((1, 108), np.float32)\n"
        "for _ in range(2):\n"
        "    start = time.perf_counter()\n"
        "    library = FactorisedRows(rows, query[0], precision={precision!r})\n"
        "    built = time.perf_counter()\n"
        "    library.search([query], 100)\n"
        "    print(built - start, time.perf_counter() - built)\n"
    )
    lines = [
        "| scanned | build, first, s | search, first, s | build, second, s | search, second, s |",
        "|---|---|---|---|---|",
    ]
    for precision in ("float32", "int8"):
        runs = []
        for _ in range(6):
            done = subprocess.run(
                [sys.executable, "-c", code.format(precision=precision)], capture_output=True, text=True, check=True
            )
            runs.append([float(x) for x in done.stdout.split()])
        cells = [show(list(column), digits=3) for column in np.array(runs[1:]).T]  # the first may have compiled
        lines.append(f"| {precision} | {' | '.join(cells)} |")
        click.echo(lines[-1], err=True)
    lines += [
        "",
        "100,000 x 108 rows, 5 processes; the first build imports numba, the first search loads compiled loops.",
    ]
    return "\n".join(lines)


SECTIONS = {"vectors": vectors, "forms": forms, "cold": cold}
TITLES = {
    "vectors": "Search of TL-IMINET's rows",
    "forms": "Search of other models' rows",
    "cold": "The first search of a process",
}


def write_section(name: str, title: str, command: str, text: str) -> None:
    """Put a section between its markers, with the command and the machine; the rest of the page stays."""
    threads = f"BLAS and torch on {torch.get_num_threads()}"
    machine = f"{numba.config.NUMBA_NUM_THREADS} cores ({platform.machine()}), {threads}"
    text = f"`{command}`, {machine}, load {os.getloadavg()[0]:.1f} at the end.\n\n{text}"
    page = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else "# Benchmarks\n\nWritten by the scripts named.\n"
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    if begin not in page:
        page += f"\n## {title}\n\n{begin}{end}"
    before, after = page.split(begin)[0], page.split(end)[1]
    with atomic_path(PAGE) as temporary:
        temporary.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


@click.command(context_settings={"show_default": True})
@click.option("--section", "names", type=click.Choice(list(SECTIONS)), multiple=True, default=list(SECTIONS))
@click.option("--folder", type=click.Path(path_type=Path, exists=True), help="For a scratch file of 432 bytes a row.")
@click.option("--rows", "sizes", type=int, multiple=True, default=[10_000, 100_000, 1_000_000], help="In float32.")
@click.option("--coded", "coded_sizes", type=int, multiple=True, default=[1_000_000, 10_000_000], help="In int8.")
def main(names: list[str], folder: Path | None, sizes: list[int], coded_sizes: list[int]) -> None:
    """Measure sections and write them to benchmarks/README.md."""
    for name in names:
        text = SECTIONS[name](folder or Path(tempfile.gettempdir()), list(sizes), list(coded_sizes))
        write_section(name, TITLES[name], f"python benchmarks/search.py --section {name}", text)
        click.echo(text)


if __name__ == "__main__":
    main()
