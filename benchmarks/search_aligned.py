"""How fast a library of an aligned net is searched: exhaustively and exactly, and by the cascade.

The library: windows of 4 s, every 2 s, of the sounds of the data sets below, embedded by the model, and enlarged to the
sizes asked with pairs of them: cuts of one, time warped by up to a factor 1.5 locally, blended with 0 to 50 % of
another's, in each frame an error of 10 % of the deviation, durations off by a factor of e ** N(0, 0.2). The queries are
imitations by people (telephone-imitations), which are in no library.

The table goes between its markers in benchmarks/README.md. ``--people`` instead measures what int8 costs: MRR of the
imitations among their recordings, the recordings kept as float32 and as int8.

    .venv/bin/python benchmarks/search_aligned.py --data DATA
    .venv/bin/python benchmarks/search_aligned.py --data DATA --people
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import soxr
from search import write_section

from iminet_viz.audio import find_audio, read_native
from iminet_viz.datasets import telephone
from iminet_viz.errors import AudioError, IminetVizError
from iminet_viz.models.aligned import align_scores
from iminet_viz.scan.aligned import AlignedRows, pack, unpack
from iminet_viz.scoring import AlignedPart, Scorer, load_scorer
from iminet_viz.trials import compare_trial, evaluate_trial, run_trial

SOUNDS = (
    "dirt-samples-subset",
    "esc10",
    "gmrockkit-drums",
    "lupyan-seed-sounds",
    "nonverbal-deeply-subset",
    "telephone-imitations/extra-seeds",
    "telephone-imitations/seeds",
    "tuxpaint-effects",
    "vocobox-sung-notes",
)
WINDOW_S, HOP_S = 4, 2
FRAMES = 32  # of a cut
K = 10


class StoredPart:
    """An aligned net whose recordings are kept as a library keeps them."""

    def __init__(self, part: AlignedPart) -> None:
        self.part = part

    def sample_rate(self, role: str) -> int:
        return self.part.sample_rate(role)

    def keep(self, waveform: np.ndarray, role: str) -> np.ndarray:
        kept = self.part.keep(waveform, role)
        if role == "imitation":
            return kept
        features = self.part.network.config.features
        frames, log_s = unpack(pack(kept[:, :-1].reshape(len(kept), -1, features), kept[:, -1]), len(kept), features)
        return np.concatenate([frames.reshape(len(kept), -1), log_s[:, None]], axis=1)

    def scores(self, queries: Sequence[np.ndarray], candidates: Sequence[np.ndarray]) -> np.ndarray:
        return self.part.scores(queries, candidates)


def compare_people(data: Path, name: str) -> None:
    """Print MRR with recordings in float32 and in int8, and their paired difference."""
    part = aligned_part(name)
    folder = data / telephone.NAME
    scorers = [Scorer("float32", (part,)), Scorer("int8", (StoredPart(part),))]
    trial, grids = run_trial(telephone.load(folder), folder, scorers)
    for scorer, grid in zip(scorers, grids, strict=True):
        result = evaluate_trial(trial, grid).overall
        low, high = result.interval
        click.echo(f"{scorer.name}: MRR {result.mrr:.4f} [{low:.3f}, {high:.3f}], {result.n} among {result.candidates}")
    paired = compare_trial(trial, grids[1], grids[0])
    click.echo(f"int8 over float32: {paired.difference:+.4f} [{paired.interval[0]:+.4f}, {paired.interval[1]:+.4f}]")


def aligned_part(name: str) -> AlignedPart:
    part = load_scorer(name).parts[0]
    if not isinstance(part, AlignedPart):
        raise click.ClickException(f"{name} is not an aligned net")
    return part


def keep_windows(part: AlignedPart, paths: Sequence[Path], role: str) -> Iterator[np.ndarray]:
    """Cuts of the windows of files: each ``(cuts, values)``."""
    rate = part.sample_rate(role)
    length = WINDOW_S * rate
    for path in paths:
        try:
            waveform, sample_rate = read_native(path)
        except AudioError:
            continue
        waveform = soxr.resample(waveform, sample_rate, rate)
        for start in range(0, max(1, len(waveform) - length + 1), HOP_S * rate):
            window = waveform[start : start + length]
            if len(window) > rate // 20 and np.abs(window).max() > 1e-4:
                yield part.keep(np.ascontiguousarray(window, np.float32), role)


def enlarge(kept: np.ndarray, n: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of a library of ``n`` windows from real ones ``(windows, cuts, values)``: first those, then blends."""
    cuts = kept.shape[1]
    values = kept[:, :, :-1].reshape(len(kept), cuts, frames, -1)
    deviation = values.std()
    rows = np.empty((n, cuts * (values[0, 0].size + 8)), np.int8)
    real = min(n, len(kept))
    rows[:real] = pack(values[:real], kept[:real, :, -1])
    for start in range(real, n, 4_096):
        some = min(4_096, n - start)
        one, other = rng.integers(0, len(kept), (2, some))
        speed = np.exp(np.log(1.5) * rng.uniform(-1, 1, (some, 4)))[:, np.arange(frames) * 4 // frames].cumsum(axis=1)
        place = (speed - speed[:, :1]) / (speed[:, -1:] - speed[:, :1]) * (frames - 1)
        warped = values[one[:, None], :, np.rint(place).astype(int)].transpose(0, 2, 1, 3)
        weight = rng.uniform(0, 0.5, (some, 1, 1, 1)).astype(np.float32)
        noise = rng.standard_normal(warped.shape, np.float32) * 0.1 * deviation
        log_s = kept[one, :, -1] + rng.normal(0, 0.2, (some, 1))
        rows[start : start + some] = pack((1 - weight) * warped + weight * values[other] + noise, log_s)
    return rows


def measure(run: Callable[[], Any], times: int = 3) -> tuple[float, float, Any]:
    """The least wall time in seconds, that of all cores together, and what came out."""
    wall, cores, result = np.inf, np.inf, None
    for _ in range(times):
        start, start_cores = time.perf_counter(), time.process_time()
        result = run()
        wall = min(wall, time.perf_counter() - start)
        cores = min(cores, time.process_time() - start_cores)
    return wall, cores, result


def read_plainly(rows: np.ndarray) -> None:
    rows.view(np.int64).sum()


def per_pair(rows: AlignedRows, queries: Sequence[np.ndarray]) -> float:
    """Seconds of one core a row by the kernel that compares pair by pair, from 100 rows."""
    frames, log_s = unpack(rows.rows[:100], rows.n_cuts, rows.features)
    cuts = queries[0].reshape(-1, rows.frames * rows.features + 1)
    own = list(cuts[:, :-1].reshape(-1, rows.frames, rows.features))

    def run() -> None:
        align_scores(
            own,
            list(frames.reshape(-1, rows.frames, rows.features)),
            np.exp(cuts[:, -1]),
            np.exp(log_s.ravel()),
            step_cost=1.0,
            duration_cost=rows.duration_cost,
        )

    run()
    return measure(run)[1] / len(frames)


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the data sets.")
@click.option("--model", "name", default="voice-search", help="An aligned net, shipped or a folder.")
@click.option("--sizes", default="10000,100000,1000000", help="Windows, comma-separated.")
@click.option("--queries", "n_queries", default=20, help="Imitations by people.")
@click.option("--recall", default=0.95, help="Of the cascade.")
@click.option("--people", is_flag=True, help="Measure what int8 costs instead.")
def main(data: Path, name: str, sizes: str, n_queries: int, recall: float, people: bool) -> None:
    """Measure the search of aligned nets, and write the table (see the top of the file) to benchmarks/README.md."""
    try:
        if people:
            compare_people(data, name)
        else:
            text = run(data, name, [int(size) for size in sizes.split(",")], n_queries, recall)
            command = f"python benchmarks/search_aligned.py --data DATA --model {name}"
            write_section("aligned", "Search of the aligned net's rows", command, text)
    except IminetVizError as error:
        raise click.ClickException(str(error)) from None


def run(data: Path, name: str, sizes: list[int], n_queries: int, recall: float) -> str:
    """The table, in Markdown; each row is printed when it is there."""
    part = aligned_part(name)
    sounds = [path for folder in SOUNDS for path in sorted(find_audio(data / folder))]
    kept = np.stack(list(keep_windows(part, sounds, "recording")))
    rng = np.random.default_rng(0)
    rng.shuffle(kept)
    imitations = sorted({pair.imitation for pair in telephone.load(data / telephone.NAME)})
    chosen = [imitations[i] for i in np.linspace(0, len(imitations) - 1, n_queries).astype(int)]
    queries = [cuts.reshape(1, -1) for cuts in keep_windows(part, chosen, "imitation")]
    lines = [
        "| windows | exact, s a query | core-s | over one plain read | pair by pair, extrapolated, core-s "
        f"| cascade, s a query | core-s | over one plain read | rows N | calibrated in s | recall@{K} measured "
        "| memory over rows |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for size in sizes:
        stored = enlarge(kept, size, FRAMES, rng)
        rows = part.rows(stored)
        rows.search(queries[:1], K)  # compiles
        calibrated, _, known = measure(lambda rows=rows: rows.calibrate(recall), 1)
        times, recalls = [], []
        for query in queries:
            once, _, _ = measure(lambda stored=stored: read_plainly(stored), 1)
            *exact, ((found, _),) = measure(lambda rows=rows, query=query: rows.search([query], K), 2)
            *fast, ((quick, _),) = measure(lambda rows=rows, query=query: rows.search([query], K, recall=recall), 2)
            times.append((once, *exact, *fast))
            recalls.append(np.isin(found, quick).mean())
        once, exact, exact_cores, fast, fast_cores = np.median(times, axis=0)
        least = np.min(times, axis=0)
        lines.append(
            f"| {size:,} | {exact:.3f} (least {least[1]:.3f}) | {exact_cores:.3f} | {exact / once:.1f} "
            f"| {per_pair(rows, queries) * size:,.1f} "
            f"| {fast:.3f} (least {least[3]:.3f}) | {fast_cores:.3f} | {fast / once:.2f} | {known.best:,} "
            f"| {calibrated:.1f} | {np.mean(recalls):.3f} (n = {len(queries)}) | {rows.n_bytes / stored.nbytes:.2f} |"
        )
        click.echo(lines[-1], err=True)
        del rows, stored
    lines += [
        "",
        f"{len(kept):,} real windows of {len(sounds):,} files and blends of them, {kept.shape[1]} cuts each, against 3 "
        f"of a query; medians over {len(queries)} of {len(imitations)} imitations by people. Exact: the first {K} of "
        f"all. Cascade: asked for a recall@{K} of {recall:g}.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
