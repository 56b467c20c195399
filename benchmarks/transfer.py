"""Does it transfer to people? Nets trained on imitations of a collection, queried with recordings of people.

Two measures, on recordings that nothing was trained on:

* ``telephone``: of each unflagged imitation of ``telephone-imitations`` (all generations, 244), the rank of the
  recording that its maker heard, among the 170 recordings that somebody heard. An imitation that others imitated is
  itself one of the 170: it is no candidate for itself.
* ``beatbox``: of each kick, snare and hi-hat of ``beatbox-paullin1`` (202), the rank of the *first* candidate of its
  class among the kicks, snares and hi-hats of ``gmrockkit-drums`` and ``dirt-samples-subset``. The reciprocal ranks
  are averaged within each class, and then over the three classes. With three classes this is far from zero by chance:
  the permuted figure (the classes of the queries permuted, 1,000 times) is what to compare with.

Sounds that are, or contain, a telephone recording or a drum candidate are left out of the training (normalised
cross-correlation): those with a correlation of 1.000 are counted, each of the others is printed, ``--json`` names all.
Beside the nets: the untrained alignment, nets with random weights, the mean over seeds (of scores standardised per
query), the sum of that mean and the untrained alignment, and how far both are above that, over the same queries.

    .venv/bin/python benchmarks/transfer.py --data DATA --cache /tmp/imitations
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import hashlib
import inspect
import itertools
import json
import multiprocessing
import multiprocessing.pool
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

import iminet_viz.imitator
from iminet_viz.audio import atomic_path, read_native
from iminet_viz.datasets import telephone
from iminet_viz.datasets._table import Clip, Survey, read_metadata, refuse
from iminet_viz.errors import IminetVizError, ImitationError, TrainingError
from iminet_viz.evaluation import RetrievalResult, bootstrap_interval, count_above, evaluate_retrieval, reciprocal_rank
from iminet_viz.imitator import ImitatorConfig, analyse, imitate
from iminet_viz.imitator.batch import cores
from iminet_viz.scoring import fuse

SOUNDS = ("dirt-samples-subset", "tuxpaint-effects", "gmrockkit-drums", "lupyan-seed-sounds", "esc10")
DRUMS = {"kick": ("kick",), "snare": ("snare",), "hihat": ("hihat", "hat", "openhat")}  # class: labels of candidates
NETS = ("dtw", "aligned", "tl-iminet")
LEAK_RATE = 4_000  # Hz, of the search for leaks


@dataclasses.dataclass(frozen=True)
class Options:
    """What was asked for on the command line, where each is explained."""

    data: Path
    folders: tuple[str, ...]
    imitations: Path | None
    cache: Path | None
    count: int
    strategies: str
    switches: tuple[str, ...]
    train: str
    nets: str
    seeds: int
    settings: tuple[str, ...]
    trim_db: float
    floor_db: float
    pretrained: Path | None
    pretrained_layers: int
    leak_threshold: float
    json_path: Path | None


@dataclasses.dataclass(frozen=True)
class Sound:
    """A sound to train on; ``waveform`` is its first event."""

    path: Path
    waveform: np.ndarray
    sample_rate: int


@dataclasses.dataclass(frozen=True)
class MadeImitation:
    """An imitation of one of the sounds, at the imitator's rate unless it came from a file."""

    waveform: np.ndarray
    sample_rate: int
    strategy: str


def collection(folder: Path) -> list[tuple[Path, str]]:
    """Sounds and labels of a collection's ``metadata.csv``, in its order."""
    rows = read_metadata(folder, ("file", "label"), refuse, Survey[Clip]())
    return [(folder / row["file"], row["label"]) for row in rows]


def first_event(waveform: np.ndarray, sample_rate: int, longest_s: float = 4.0) -> np.ndarray:
    """Cut a long clip to its first event: ``(samples,)`` to at most ``longest_s``.

    Collections fill their clips with repetitions and silence; people imitate one bark, not five seconds of barks. An
    event ends where 0.3 s are 30 dB below the loudest 10 ms; events shorter than 0.15 s go on to the next.
    """
    hop = sample_rate // 100
    power = np.add.reduceat(np.square(waveform, dtype=np.float64), np.arange(0, len(waveform), hop))
    if len(power) < 150 or not power.max() > 0:
        return waveform
    loud = np.flatnonzero(power >= power.max() * 1e-3)
    first, end = loud[0], loud[-1] + 1
    for here, after in itertools.pairwise(loud):
        if after - here > 30 and here - first >= 15:
            end = here + 1
            break
    start = max(first - 2, 0) * hop
    return waveform[start : min((end + 5) * hop, start + round(longest_s * sample_rate))]


def load_sounds(paths: list[Path], parts: dict[Path, tuple[float, float]] | None = None) -> list[Sound]:
    """Decode the first events, or the parts given in seconds; silent files are left out."""
    sounds = []
    for path in paths:
        waveform, rate = read_native(path)
        if parts is None:
            waveform = first_event(waveform, rate)
        elif path in parts:
            start_s, stop_s = parts[path]
            waveform = waveform[round(start_s * rate) : round(stop_s * rate)]
        if np.abs(waveform).max() > 1e-4:
            sounds.append(Sound(path, waveform, rate))
    return sounds


def resample(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    import soxr

    return np.asarray(soxr.resample(waveform, rate, wanted), np.float32) if rate != wanted else waveform


def workers() -> multiprocessing.pool.Pool:
    """A process a core, of one thread each: more would wait for each other, and sum in another order."""
    from threadpoolctl import threadpool_limits

    return multiprocessing.get_context("spawn").Pool(cores(), threadpool_limits, (1,))


def _find_leaks(task: tuple[list[np.ndarray], list[np.ndarray], float]) -> list[tuple[int, int, float]]:
    from iminet_viz.contrastive import find_leaks

    return find_leaks(*task)


def drop_leaks(
    sounds: list[Sound], tests: list[Path], threshold: float, cache: Path | None = None
) -> tuple[list[Sound], list[dict[str, Any]]]:
    """Leave out what the tests hold, and print it; minutes, once for the same sounds where there is a cache."""
    from iminet_viz import contrastive

    contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in tests]
    digest = hashlib.sha256(repr((contents, threshold, LEAK_RATE)).encode())
    rules = (
        contrastive.find_leaks,
        contrastive._consistency,
        contrastive.PROMINENCE,
        contrastive.CERTAIN,
        contrastive.CONSISTENCY,
    )
    digest.update("".join(inspect.getsource(rule) if callable(rule) else repr(rule) for rule in rules).encode())
    for sound in sounds:
        digest.update(sound.waveform.tobytes())
    stored = cache / f"leaks-{digest.hexdigest()[:32]}.json" if cache is not None else None
    if stored is not None and stored.exists():
        found = json.loads(stored.read_text(encoding="utf-8"))
    else:
        found = [
            (index, contents.index(content), 1.0)
            for index, sound in enumerate(sounds)
            if (content := hashlib.sha256(sound.path.read_bytes()).hexdigest()) in contents
        ]
        rest = sorted(set(range(len(sounds))) - {index for index, _, _ in found})
        native = [read_native(path) for path in tests]
        heard = [resample(waveform, rate, LEAK_RATE) for waveform, rate in native]
        own = [resample(sounds[index].waveform, sounds[index].sample_rate, LEAK_RATE) for index in rest]
        n = cores()  # each sound is searched for itself: how many parts there are changes nothing
        with workers() as pool:
            parts = pool.map(_find_leaks, [(own[first::n], heard, threshold) for first in range(n)])
        for first, part in enumerate(parts):
            found += [(rest[first::n][index], number, value) for index, number, value in part]
        if stored is not None:
            with atomic_path(stored) as temporary:
                temporary.write_text(json.dumps(sorted(found)), encoding="utf-8")
    gone = {index for index, _, _ in found}
    dropped = [
        {"sound": str(sounds[index].path), "test": str(tests[number]), "correlation": round(value, 3)}
        for index, number, value in sorted(found)
    ]
    for entry in dropped:
        if entry["correlation"] < 1:
            click.echo(f"left out: {entry['sound']}, {entry['correlation']:.2f} like {entry['test']}")
    kept = [sound for index, sound in enumerate(sounds) if index not in gone]
    same = sum(entry["correlation"] == 1 for entry in dropped)
    click.echo(
        f"{len(kept)} of {len(sounds)} sounds to train on; left out: {same} that are test files, the rest as above"
    )
    return kept, dropped


def check_cache(cache: Path) -> None:
    """Refuse a cache that could be committed."""
    if cache.resolve().is_relative_to(Path(__file__).resolve().parents[1]):
        raise click.BadParameter(f"{cache} lies in the repository, where no recording may be kept")


def imitator_fingerprint(config: ImitatorConfig) -> str:
    """Hash of the imitator's switches and source, without ``batch.py``: that writes files, which are not used here."""
    digest = hashlib.sha256(repr(config).encode())
    for path in sorted(Path(iminet_viz.imitator.__file__).parent.rglob("*.py")):
        if path.name != "batch.py":
            digest.update(path.read_bytes())
    return digest.hexdigest()


def imitate_cached(task: tuple[Sound, range, ImitatorConfig, Path, str]) -> list[MadeImitation]:
    """Imitations of one sound, one a seed, from the cache where they are; one that fails is left out."""
    sound, seeds, config, cache, fingerprint = task
    content = hashlib.sha256(sound.waveform.tobytes()).hexdigest()
    stem = hashlib.sha256(f"{fingerprint} {content}".encode()).hexdigest()[:32]
    made: list[MadeImitation] = []
    heard = None
    for seed in seeds:
        path = cache / stem[:2] / f"{stem}-{seed}.npz"
        if not path.exists():
            try:
                heard = heard or analyse(sound.waveform, sound.sample_rate)
                # the same persons whatever the imitator is like: less chance between two of them
                imitation = imitate(heard, (seed, int(content[:8], 16)), config)
            except ImitationError:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                samples = np.round(imitation.waveform * 32_767).astype(np.int16)
                np.savez(temporary, samples=samples, strategy=np.array(imitation.strategy))
        with np.load(path) as stored:
            waveform = stored["samples"].astype(np.float32) / 32_767
            made.append(MadeImitation(waveform, iminet_viz.imitator.SAMPLE_RATE, str(stored["strategy"])))
    return made


def make_imitations(sounds: list[Sound], count: int, config: ImitatorConfig, cache: Path) -> list[list[MadeImitation]]:
    """Imitate every sound ``count`` times, as many at a time as there are cores."""
    fingerprint = imitator_fingerprint(config)
    with workers() as pool:
        tasks = ((sound, range(count), config, cache, fingerprint) for sound in sounds)
        return list(pool.imap(imitate_cached, tasks, chunksize=8))


def read_pairs(folder: Path) -> tuple[list[Sound], list[list[MadeImitation]]]:
    """Sounds and imitations named by a folder's ``pairs.csv``; paths are relative to it or absolute.

    Where the table tells the part that was imitated (``start_s``, ``stop_s``), the rest of the sound is not used.
    """
    with (folder / "pairs.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_recording: dict[Path, list[MadeImitation]] = {}
    parts = {
        folder / row["recording"]: (float(row["start_s"]), float(row["stop_s"])) for row in rows if row.get("stop_s")
    }
    for row in rows:
        waveform, rate = read_native(folder / row["imitation"])
        by_recording.setdefault(folder / row["recording"], []).append(
            MadeImitation(waveform, rate, row.get("strategy", ""))
        )
    sounds = load_sounds(list(by_recording), parts)
    return sounds, [by_recording[sound.path] for sound in sounds]


class People:
    """The two tests: files, targets, and figures from scores."""

    def __init__(self, data: Path) -> None:
        pairs = telephone.load(data / telephone.NAME)
        self.queries = [pair.imitation for pair in pairs]
        self.candidates = sorted({pair.recording for pair in pairs})
        column = {path: index for index, path in enumerate(self.candidates)}
        self.targets = np.array([column[pair.recording] for pair in pairs])
        self.itself = np.array([[query == candidate for candidate in self.candidates] for query in self.queries])
        self.heard = sorted((data / telephone.NAME).rglob("*.flac"))  # all of it, extra seeds too
        drummed = [(path, label) for path, label in collection(data / "beatbox-paullin1") if label in DRUMS]
        self.drum_queries = [path for path, _ in drummed]
        self.drum_classes = np.array([list(DRUMS).index(label) for _, label in drummed])
        self.drums, candidate_classes = [], []
        for name in ("gmrockkit-drums", "dirt-samples-subset"):
            for path, label in collection(data / name):
                for number, labels in enumerate(DRUMS.values()):
                    if label in labels:
                        self.drums.append(path)
                        candidate_classes.append(number)
        self.candidate_classes = np.array(candidate_classes)

    def figures(self, scores: dict[str, np.ndarray]) -> dict[str, RetrievalResult]:
        """MRR and its company of both tests, from ``{"telephone": (244, 170), "beatbox": (202, drums)}``."""
        return {
            "telephone": evaluate_retrieval(scores["telephone"], self.targets),
            "beatbox": evaluate_classes(scores["beatbox"], self.drum_classes, self.candidate_classes),
        }

    def reciprocal_ranks(self, scores: dict[str, np.ndarray]) -> np.ndarray:
        """Of each telephone query, ``(244,)``."""
        return reciprocal_rank(*count_above(scores["telephone"], self.targets))

    def mask(self, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Take a query's own file out of its candidates."""
        return scores | {"telephone": np.where(self.itself, -np.inf, scores["telephone"])}

    def files(self) -> dict[str, tuple[list[Path], list[Path]]]:
        """Queries and candidates of each test."""
        return {"telephone": (self.queries, self.candidates), "beatbox": (self.drum_queries, self.drums)}


def evaluate_classes(
    scores: np.ndarray, classes: np.ndarray, candidate_classes: np.ndarray, seed: int = 0, n_permutations: int = 1_000
) -> RetrievalResult:
    """Reciprocal rank of the first candidate of a query's class, averaged within and then over classes.

    ``chance`` is that of scores that put candidates in random order, by drawing.

    Args:
        scores: ``(queries, candidates)``.
        classes: ``(queries,)``.
        candidate_classes: ``(candidates,)``.
        seed: of permutations and bootstrap.
        n_permutations: how many.
    """
    names = np.unique(classes)

    def reciprocal(values: np.ndarray) -> np.ndarray:
        """``(queries, classes)``: the reciprocal rank if the query were of each class."""
        table = np.empty((len(values), len(names)))
        for column, name in enumerate(names):
            first = np.where(candidate_classes == name, values, -np.inf).argmax(axis=1)
            above, tied = count_above(values, first)
            table[:, column] = 1 / (above + (tied + 1) / 2)
        return table

    def balanced(table: np.ndarray) -> float:
        return float(np.mean([table[table[:, 0] == name, 1].mean() for name in np.unique(table[:, 0])]))

    def macro(values: np.ndarray, labels: np.ndarray) -> float:
        return balanced(np.stack([labels, values], axis=1))

    table = reciprocal(scores)
    rows, columns = np.arange(len(scores)), np.searchsorted(names, classes)
    own = table[rows, columns]
    rng = np.random.default_rng(seed)
    permuted = []
    for _ in range(n_permutations):
        other = rng.permutation(columns)
        permuted.append(macro(table[rows, other], names[other]))
    drawn = reciprocal(rng.random((200, len(candidate_classes))))
    mrr = macro(own, classes)
    ranks = 1 / own
    return RetrievalResult(
        mrr=mrr,
        interval=bootstrap_interval(np.stack([classes, own], axis=1), balanced, seed),
        chance=float(drawn.mean()),
        permuted_mrr=float(np.mean(permuted)),
        p=float((1 + np.sum(np.asarray(permuted) >= mrr)) / (1 + n_permutations)),
        recall_at_1=float((ranks <= 1).mean()),
        recall_at_5=float((ranks <= 5).mean()),
        recall_at_10=float((ranks <= 10).mean()),
        median_rank=float(np.median(ranks)),
        n=len(scores),
        candidates=len(candidate_classes),
    )


def fuse_tests(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Sum of the standardised scores of each test."""
    return {name: fuse([part[name] for part in parts]) for name in parts[0]}


def untrained_scores(people: People) -> dict[str, np.ndarray]:
    from iminet_viz.frames import MEL_FRAMES, mel_frames
    from iminet_viz.models.aligned import align_clips

    def frames(paths: list[Path]) -> list[Any]:
        return [mel_frames(resample(*read_native(path), MEL_FRAMES.sample_rate)) for path in paths]

    tests = people.files().items()
    return people.mask({name: align_clips(frames(queries), frames(found)) for name, (queries, found) in tests})


class Bench:
    """A kind of net with its view, its training clips and the tests' clips."""

    def __init__(
        self,
        kind: str,
        people: People,
        sounds: list[Sound],
        imitations: list[list[MadeImitation]],
        trim_db: float | None = 17.0,
        floor_db: float = 45.0,
    ) -> None:
        from iminet_viz.contrastive import AlignedView, TowerView, TrainingSound, View

        self.kind, self.people = kind, people
        self.view: View = AlignedView() if kind == "aligned" else TowerView(trim_db, floor_db)

        def keep(waveform: np.ndarray, rate: int, role: str) -> np.ndarray:
            return self.view.spectrogram(resample(waveform, rate, self.view.sample_rate(role)), role)

        self.sounds = [
            TrainingSound(
                recording=keep(sound.waveform, sound.sample_rate, "recording"),
                copy=keep(sound.waveform, sound.sample_rate, "imitation"),
                imitations=tuple(keep(made.waveform, made.sample_rate, "imitation") for made in own),
            )
            for sound, own in zip(sounds, imitations, strict=True)
        ]
        self.tests = {
            name: (
                [keep(*read_native(path), "imitation") for path in queries],
                [keep(*read_native(path), "recording") for path in found],
            )
            for name, (queries, found) in people.files().items()
        }

    def network(self, seed: int, pretrained: tuple[Path, int] | None = None) -> Any:
        """A net with random weights, or towers that start from the classifiers in a folder of models."""
        import torch

        from iminet_viz.models import TLIminet
        from iminet_viz.models.aligned import AlignedNet
        from iminet_viz.models.tl_iminet import TLIminetConfig

        torch.manual_seed(seed)
        if self.kind == "aligned":
            return AlignedNet()
        network = TLIminet(TLIminetConfig(batch_norm=True)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if pretrained is not None:
            from iminet_viz.checkpoint import load_model

            folder, layers = pretrained
            towers = {
                role: load_model(folder / f"{name}-tower").network.tower
                for role, name in (("imitation", "language"), ("recording", "sound"))
            }
            network.load_towers(towers, layers)
        return network

    def scores(self, network: Any) -> dict[str, np.ndarray]:
        from iminet_viz.contrastive import search_scores

        scores = {name: search_scores(network, self.view, *clips) for name, clips in self.tests.items()}
        return self.people.mask(scores)


def describe(name: str, figures: dict[str, RetrievalResult]) -> str:
    """One line of the table."""
    parts = []
    for result in figures.values():
        low, high = result.interval
        parts.append(f"{result.mrr:.3f} [{low:.3f}, {high:.3f}]  {result.permuted_mrr:.3f}  {result.p:.3f}")
    return f"{name:<34}" + "    ".join(parts)


def parse_settings(items: tuple[str, ...]) -> dict[str, Any]:
    """``KEY=VALUE``, the value as JSON or as text; lists become tuples."""
    settings = {}
    for item in items:
        key, separator, text = item.partition("=")
        if not separator:
            raise click.BadParameter(f"{item!r}, expected KEY=VALUE")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        settings[key] = tuple(value) if isinstance(value, list) else value
    return settings


def make_recipe(kind: str, settings: dict[str, Any]) -> Any:
    """The net's recipe with settings of it, or of its alterations, replaced."""
    from iminet_viz.contrastive import RECIPES, recipe_from_dict

    try:
        return recipe_from_dict({**dataclasses.asdict(RECIPES[kind]), **settings})
    except TrainingError as error:
        raise click.BadParameter(str(error)) from None


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the data sets.")
@click.option("--sounds", "folders", multiple=True, default=SOUNDS, help="Collections to train on.")
@click.option("--imitations", type=click.Path(path_type=Path, exists=True), help="Folder with a pairs.csv instead.")
@click.option("--cache", type=click.Path(path_type=Path), help="Folder to keep imitations in, outside the repository.")
@click.option("--count", default=8, help="Imitations of each sound.")
@click.option("--strategies", default="", help="Keep imitations of these strategies only (comma-separated).")
@click.option("--config", "switches", multiple=True, metavar="KEY=VALUE", help="Switches of the imitator.")
@click.option("--train", type=click.Choice(["imitations", "altered"]), default="imitations", help="What queries are.")
@click.option("--nets", default=",".join(NETS), help="Of dtw, aligned, tl-iminet.")
@click.option("--seeds", default=2, help="How many nets of each kind.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Settings of the recipe or alterations.")
@click.option("--trim-db", default=17.0, help="TL-IMINET: silence that is cut; 0 cuts none (the paper).")
@click.option("--floor-db", default=45.0, help="TL-IMINET: floor of its log-mels; 80 is the paper's.")
@click.option("--pretrained", type=click.Path(path_type=Path, exists=True), help="TL-IMINET: folder of models.")
@click.option("--pretrained-layers", default=3, help="TL-IMINET: how many layers start pre-trained.")
@click.option("--leak-threshold", default=0.35, help="Correlation with a test recording that leaves a sound out.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every figure and setting here.")
def main(**options: Any) -> None:
    """Train quickly on imitations of sounds, test on people (see the top of the file)."""
    try:
        run(Options(**options))
    except IminetVizError as error:
        raise click.ClickException(str(error)) from None


def run(options: Options) -> None:
    chosen = options.nets.split(",")
    if unknown := sorted(set(chosen) - set(NETS)):
        raise click.BadParameter(f"--nets {', '.join(unknown)}, expected some of {', '.join(NETS)}")
    if options.cache is not None:
        check_cache(options.cache)
    people = People(options.data)
    rows: dict[str, dict[str, RetrievalResult]] = {}
    report: dict[str, Any] = {"command": sys.argv, "started": time.strftime("%Y-%m-%d %H:%M:%S")}

    def add(name: str, scores: dict[str, np.ndarray]) -> None:
        rows[name] = people.figures(scores)
        click.echo(describe(name, rows[name]))

    untrained = untrained_scores(people)
    kinds = [kind for kind in chosen if kind != "dtw"]
    sounds, imitations = prepare(options, people, report) if kinds else ([], [])
    header = f"MRR {'[95 %]':>10}{'permuted':>14}{'p':>4}"
    click.echo(f"{'':<34}{'telephone ' + header:<38}    {'beatbox ' + header}")
    if "dtw" in chosen:
        add("dtw, untrained", untrained)
    from iminet_viz.contrastive import train_contrastive

    for kind in kinds:
        bench = Bench(kind, people, sounds, imitations, options.trim_db or None, options.floor_db)
        recipe = make_recipe(kind, {"altered": float(options.train == "altered"), **parse_settings(options.settings)})
        cut = {"trim_db": options.trim_db, "floor_db": options.floor_db}
        report[kind] = {"recipe": dataclasses.asdict(recipe), **cut, "runs": []}
        start = (options.pretrained, options.pretrained_layers) if options.pretrained else None
        add(f"{kind}, random weights", bench.scores(bench.network(recipe.seed).eval()))
        trained = []
        for seed in range(recipe.seed, recipe.seed + options.seeds):
            network = bench.network(seed, start)
            began = time.monotonic()
            losses = train_contrastive(
                network, bench.view, bench.sounds, dataclasses.replace(recipe, seed=seed), progress(kind)
            )
            report[kind]["runs"].append({"seed": seed, "losses": losses, "seconds": time.monotonic() - began})
            trained.append(bench.scores(network))
            add(f"{kind}, seed {seed}", trained[-1])
        mean = fuse_tests(trained)
        if options.seeds > 1:
            add(f"{kind}, mean of {options.seeds} seeds", mean)
        fused = fuse_tests([mean, untrained])
        add(f"{kind}, mean + dtw", fused)
        for name, scores in {"mean": mean, "mean + dtw": fused}.items():
            differences = people.reciprocal_ranks(scores) - people.reciprocal_ranks(untrained)
            low, high = bootstrap_interval(differences, np.mean, seed=0)
            report[kind][f"{name} over dtw"] = {"difference": differences.mean(), "interval": (low, high)}
            click.echo(
                f"{kind}, {name} over dtw, telephone, paired: {differences.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
            )
    first = people.figures(untrained)
    for name, result in first.items():
        click.echo(f"{name}: n {result.n}, {result.candidates} candidates, chance {result.chance:.3f}")
    if options.json_path is not None:
        report["figures"] = {
            name: {test: dataclasses.asdict(result) for test, result in figures.items()}
            for name, figures in rows.items()
        }
        with atomic_path(options.json_path) as temporary:
            temporary.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")


def progress(kind: str) -> Any:
    def show(epoch: int, loss: float) -> None:
        click.echo(f"{kind}: epoch {epoch + 1}, loss {loss:.3f}", err=True)

    return show


def prepare(options: Options, people: People, report: dict[str, Any]) -> tuple[list[Sound], list[list[MadeImitation]]]:
    """Sounds without leaks, and their imitations (none for altered copies)."""
    stored: dict[Path, list[MadeImitation]] = {}
    if options.imitations is not None:
        sounds, made = read_pairs(options.imitations)
        stored = {sound.path: own for sound, own in zip(sounds, made, strict=True)}
    else:
        sounds = load_sounds([path for name in options.folders for path, _ in collection(options.data / name)])
    kept, dropped = drop_leaks(sounds, [*people.heard, *people.drums], options.leak_threshold, options.cache)
    report |= {"sounds": len(kept), "dropped": dropped}
    if options.train == "altered":
        return kept, [[] for _ in kept]
    if options.imitations is not None:
        imitations = [stored[sound.path] for sound in kept]
    else:
        imitations = imitate_sounds(options, kept, report)
    if options.strategies:
        wanted = options.strategies.split(",")
        imitations = [[made for made in own if made.strategy in wanted] for own in imitations]
    tally = collections.Counter(made.strategy for own in imitations for made in own)
    report["strategies"] = dict(tally)
    click.echo("imitations: " + ", ".join(f"{number} {name}" for name, number in sorted(tally.items())))
    filled = [index for index, own in enumerate(imitations) if own]
    return [kept[index] for index in filled], [imitations[index] for index in filled]


def imitate_sounds(options: Options, sounds: list[Sound], report: dict[str, Any]) -> list[list[MadeImitation]]:
    """Make the imitations that were asked for, and say with what."""
    if options.cache is None:
        raise click.UsageError("--cache FOLDER is needed to make imitations")
    try:
        config = dataclasses.replace(ImitatorConfig(), **parse_settings(options.switches))
    except TypeError as error:
        raise click.BadParameter(f"--config: {error}") from None
    report |= {"imitator": dataclasses.asdict(config), "imitator_sha256": imitator_fingerprint(config)}
    began = time.monotonic()
    imitations = make_imitations(sounds, options.count, config, options.cache)
    click.echo(f"{sum(map(len, imitations))} imitations after {time.monotonic() - began:.0f} s", err=True)
    return imitations


if __name__ == "__main__":
    main()
