"""What does a cluster cost? Sharded scans beside local ones, recovery after a loss, and what that means for sizes.

    python benchmarks/cluster.py --folder SCRATCH

Two nodes of Ray on this machine search a table of random rows in the stored forms of two models. The tables of
docs/cluster.md come from here.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # the nodes below are on the loopback address

from iminet_viz.audio import atomic_path, save_audio
from iminet_viz.cluster import PROCESS_BYTES, ROOM
from iminet_viz.scan.aligned import pack, unpack

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cluster.md"
MODELS = ("tl-iminet-conv123", "default")
K = 100
ROUNDS = 15
WINDOWS_A_FILE = 5
AT_ONCE = 50_000  # rows that are written at a time
SIZES = (10**6, 10**7, 10**8, 10**9)
PATH_BYTES = 60  # of a path in the table


def make_index(folder: Path, model: str, count: int) -> None:
    """An index of ``count`` random windows, without the sounds."""
    import pyarrow as pa

    from iminet_viz.index import OK, open_index

    library = open_index(folder, model)
    library._create()
    rng = np.random.default_rng(0)
    for first in range(0, count, AT_ONCE):
        number = np.arange(first, min(first + AT_ONCE, count))
        file = number // WINDOWS_A_FILE
        columns = []
        for field in library._table.schema:
            if field.name.startswith("vector_"):
                rows = random_rows(library.scorer.parts[0], len(number), rng)
                flat = pa.array(rows.reshape(-1))
                columns.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
                continue
            values: Any = {
                "id": [f"{x:032x}" for x in file],
                "window": number % WINDOWS_A_FILE,
                "windows": np.full(len(number), WINDOWS_A_FILE),
                "path": [f"/sounds/{x:0{PATH_BYTES - 12}d}.wav".encode() for x in file],
                "root": [b"/sounds"] * len(number),
                "start_s": 2.0 * (number % WINDOWS_A_FILE),
                "stop_s": 2.0 * (number % WINDOWS_A_FILE) + 4,
                "duration_s": np.full(len(number), 12.0),
                "label": ["sounds"] * len(number),
                "text": [f"sounds {x}" for x in file],
                "licence": ["CC0"] * len(number),
                "size": np.full(len(number), 10**6),
                "mtime_ns": np.full(len(number), 1),
                "sha256": [f"{x:064x}" for x in file],
                "status": [OK] * len(number),
                "reason": [""] * len(number),
                "fingerprint": [library.settings.fingerprint] * len(number),
            }[field.name]
            columns.append(pa.array(values, field.type))
        library._table.add(pa.Table.from_arrays(columns, schema=library._table.schema))


def random_rows(part: Any, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows as the part stores them: ``(count, width)``."""
    if part.stored.dtype == "float32":
        return rng.standard_normal((count, part.stored.width), np.float32)
    cuts = 2
    features = part.network.config.features
    frames = (part.stored.width // cuts - 8) // features
    steps = rng.standard_normal((count, cuts, frames, features), np.float32)
    for frame in range(1, frames):  # neighbouring frames are alike
        steps[:, :, frame] = 0.8 * steps[:, :, frame - 1] + 0.6 * steps[:, :, frame]
    return pack(steps, rng.normal(0, 0.5, (count, cuts)))


def make_queries(part: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    if part.stored.dtype == "float32":
        return list(rng.standard_normal((ROUNDS, 1, part.stored.width), np.float32))
    features = part.network.config.features
    found = []
    for row in random_rows(part, ROUNDS, rng):
        frames, log_s = unpack(row, 2, features)
        cuts = [np.append(frames[cut].ravel(), log_s[cut]) for cut in range(2)]
        found.append(np.concatenate(cuts).astype(np.float32)[None])
    return found


def seconds(work: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def middle(values: list[float], scale: float = 1.0, digits: int = 2) -> str:
    """Median and range."""
    low, mid, high = (scale * x for x in (min(values), float(np.median(values)), max(values)))
    return f"{mid:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def resident(process: int) -> int:
    """Private and shared bytes of a process in memory."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Nodes:
    """Two nodes on this machine."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "tests" / "cluster_nodes.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()

    def tell(self, what: str) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(folder: Path, model: str, count: int, shards: int, kills: int, losses: int) -> dict[str, Any]:
    """One form of rows: memory, loading, scans, recovery; every answer is compared with the local one."""
    from iminet_viz import cluster, retrieval

    place = folder / model
    make_index(place, model, count)
    before = resident(os.getpid())
    local = retrieval.open_index(place, model)
    opened = seconds(lambda: local.windows)
    head = resident(os.getpid()) - before
    read = seconds(local.vectors)
    own = local.rows()
    asked = make_queries(local.scorer.parts[0])
    expected = [own.search([query], K)[0] for query in asked]

    def same(found: list[tuple[np.ndarray, np.ndarray]], number: int) -> None:
        for a, b in zip(found[0], expected[number], strict=True):
            assert np.array_equal(a, b), "the answers differ"

    stored = local.vectors().nbytes
    result: dict[str, Any] = {"model": model, "windows": count, "bytes_a_window": stored / count, "shards": shards}
    result |= {"head_bytes_a_window": head / count, "metadata_s": opened, "read_s": read}
    result["table_bytes_a_window"] = sum(x.stat().st_size for x in place.rglob("*") if x.is_file()) / count
    nodes = Nodes()
    try:
        with cluster.open_index(place, model, address=nodes.address, shards=shards) as shared:
            result["load_s"] = seconds(lambda: same(shared.rows().search([asked[0]], K), 0))
            result["shard_bytes"] = [resident(process) for _, process in shared.where()]
            scans: dict[str, list[float]] = {"local_s": [], "sharded_s": []}
            for number, query in enumerate(asked):
                scans["local_s"].append(seconds(own.search, [query], K))
                found: list[Any] = []
                scans["sharded_s"].append(seconds(lambda q=query, f=found: f.extend(shared.rows().search([q], K))))
                same(found, number)
            result |= scans
            result["nothing_s"] = [seconds(shared.where) for _ in range(ROUNDS)]  # a call to every shard
            result["killed_s"] = []
            for number in range(kills):
                os.kill(shared.where()[number % shards][1], signal.SIGKILL)
                found = []
                result["killed_s"].append(
                    seconds(lambda q=asked[number], f=found: f.extend(shared.rows().search([q], K)))
                )
                same(found, number)
        result["lost_s"] = []
        for number in range(3 * losses):
            if len(result["lost_s"]) == losses:
                break
            with cluster.open_index(place, model, address=nodes.address, shards=shards) as shared:
                same(shared.rows().search([asked[0]], K), 0)
                if len({node for node, _ in shared.where()}) < 2:
                    continue  # Ray spreads them where it can: a node that has just come may be missed
                nodes.tell("remove")
                found = []
                result["lost_s"].append(
                    seconds(lambda q=asked[number], f=found: f.extend(shared.rows().search([q], K)))
                )
                same(found, number)
            nodes.tell("add")
    finally:
        nodes.close()
    shutil.rmtree(place)
    return result


def measure_adding(folder: Path, model: str, files: int) -> dict[str, Any]:
    """Files of 10 s added by one process with its workers, and by the tasks of two nodes, which start first.

    ``core_s_a_window`` is of the later three quarters: the start of workers and networks is not paid a window.
    """
    from iminet_viz import cluster, index

    rng = np.random.default_rng(2)
    for number in range(files):
        name = f"{'first' if number < files // 4 else 'rest'}/{number:04}.wav"
        save_audio(folder / model / name, 0.1 * rng.standard_normal(160_000).clip(-5, 5), 16_000)
    cores = len(os.sched_getaffinity(0))
    local = index.open_index(folder / f"local {model}", model).add(folder / model)
    nodes = Nodes()
    try:
        with cluster.open_index(folder / f"shared {model}", model, address=nodes.address) as library:
            first, rest = (library.add(folder / model / part) for part in ("first", "rest"))
    finally:
        nodes.close()
    return {
        "model": model,
        "files": files,
        "windows": local.windows,
        "local_s": local.wall_s,
        "ray_s": first.wall_s + rest.wall_s,
        "core_s_a_window": rest.wall_s * cores / rest.windows,
        "cores": cores,
    }


def in_words(duration_s: float) -> str:
    for limit, unit, name in ((1, 1e-3, "ms"), (120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if duration_s < limit:
            return f"{duration_s / unit:.0f} {name}"
    return f"{duration_s / 86_400:,.0f} days"


def in_bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count < 1e12 else f"{count / 1e12:,.2f} TB"


def tables(
    results: list[dict[str, Any]], adding: dict[str, dict[str, Any]], node_gb: float, node_cores: int, price: float
) -> str:
    """What was measured, and what follows for sizes."""
    lines = [
        "| model, windows, shards | bytes a window: row, in the table | a shard's process, MB "
        "| shards ready, s | local scan, ms | sharded, ms | ratio | a call to every shard, ms | after `kill -9` of a "
        "shard, s | after the loss of a node, s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for x in results:
        ratio = [a / b for a, b in zip(x["sharded_s"], x["local_s"], strict=True)]
        lines.append(
            f"| {x['model']}, {x['windows']:,}, {x['shards']} | {x['bytes_a_window']:,.0f}, "
            f"{x['table_bytes_a_window']:,.0f} | "
            f"{max(x['shard_bytes']) / 1e6:,.0f} | {x['load_s']:.1f} | {middle(x['local_s'], 1e3, 1)} | "
            f"{middle(x['sharded_s'], 1e3, 1)} | {middle(ratio)} | {middle(x['nothing_s'], 1e3, 1)} | "
            f"{middle(x['killed_s'], digits=1)} (n = {len(x['killed_s'])}) | "
            f"{middle(x['lost_s'], digits=1)} (n = {len(x['lost_s'])}) |"
        )
    head = max(x["head_bytes_a_window"] for x in results)  # the second table is read to memory that was used before
    lines += [
        "",
        f"The one that asks holds {head:,.0f} bytes a window, whatever the model.",
        "",
        *(
            f"Adding {a['files']} files of 10 s ({a['windows']:,} windows, `{a['model']}`): {a['local_s']:.1f} s by "
            f"one process with its workers, {a['ray_s']:.1f} s by two nodes of one core each, "
            f"{1e3 * a['core_s_a_window']:.1f} core-ms a window once they have started.\n"
            for a in adding.values()
        ),
        "| model | windows | memory of the shards | nodes | one that asks | table | scan | shards read, 1 GB/s a node "
        "| embedding, core-hours | its price | nodes' price an hour |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for x in results:
        own = adding[x["model"]]
        scanned = float(np.median(x["local_s"])) * own["cores"] / x["windows"]  # core-seconds a window
        for size in SIZES:
            rows = ROOM * size * x["bytes_a_window"]
            nodes = int(np.ceil(rows / (0.6 * node_gb * 1e9 - PROCESS_BYTES)))  # a shard each
            hours = size * own["core_s_a_window"] / 3600
            lines.append(
                f"| {x['model']} | 10^{round(np.log10(size))} | {in_bytes(rows + nodes * PROCESS_BYTES)} | {nodes:,} | "
                f"{in_bytes(size * head)} | {in_bytes(size * x['table_bytes_a_window'])} | "
                f"{in_words(size * scanned / (nodes * node_cores))} | "
                f"{in_words(size * x['bytes_a_window'] / nodes / 1e9)} | {hours:,.1f} "
                f"| {hours / node_cores * price:,.2f} | {nodes * price:,.2f} |"
            )
    return "\n".join(lines)


def write_page(text: str) -> None:
    """Put the tables between their markers."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = "<!-- measured -->\n", "<!-- end of measured -->\n"
    with atomic_path(PAGE) as temporary:
        temporary.write_text(f"{page.split(begin)[0]}{begin}{text}\n{end}{page.split(end)[1]}", encoding="utf-8")


@click.command(context_settings={"show_default": True})
@click.option("--folder", type=click.Path(path_type=Path, exists=True), help="For scratch tables.")
@click.option("--rows", "counts", type=int, nargs=2, default=(1_000_000, 100_000), help="Of each model.")
@click.option("--shards", type=int, default=2)
@click.option("--kills", type=int, default=5)
@click.option("--losses", type=int, default=3)
@click.option("--files", type=int, default=200)
@click.option("--node-gb", type=float, default=64.0, help="Memory of a node in the second table.")
@click.option("--node-cores", type=int, default=8)
@click.option("--price", type=float, default=0.5, help="Of a node and hour.")
@click.option("--adding-only", is_flag=True, help="Measure only how files are added, and print that.")
@click.option("--write", is_flag=True, help="Write docs/cluster.md.")
def main(
    folder: Path | None,
    counts: tuple[int, int],
    shards: int,
    kills: int,
    losses: int,
    files: int,
    node_gb: float,
    node_cores: int,
    price: float,
    adding_only: bool,
    write: bool,
) -> None:
    """Measure, and write the tables of docs/cluster.md."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        if adding_only:
            click.echo(json.dumps({model: measure_adding(Path(scratch), model, files) for model in MODELS}, indent=2))
            return
        results = []
        for model, count in zip(MODELS, counts, strict=True):
            results.append(measure(Path(scratch), model, count, shards, kills, losses))
            click.echo(json.dumps(results[-1]), err=True)
        adding = {model: measure_adding(Path(scratch), model, files) for model in MODELS}
        click.echo(json.dumps(adding), err=True)
    text = tables(results, adding, node_gb, node_cores, price)
    cores = len(os.sched_getaffinity(0))
    command = f"`python benchmarks/cluster.py --rows {counts[0]} {counts[1]} --files {files} --write`"
    text = f"{command}, {cores} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f} at the end.\n\n{text}"
    click.echo(text)
    if write:
        write_page(text)


if __name__ == "__main__":
    main()
