"""The paper's comparison, and what goes beyond it: every system trained on one corpus, several seeds, one table.

A *job* trains a system with a seed, or computes the spectrograms of a front end that several systems share. Jobs run in
processes of one thread each; what a job leaves is its result, so an experiment that was killed goes on where it was::

    OUT/split.json                who is trained, validated and tested on; the content of the corpus
    OUT/cache/<view>.safetensors  spectrograms
    OUT/runs/<system>-<seed>/     recipe.json, model/, logs/ or losses.json, and, when all is done, scores.safetensors
    OUT/table1.csv, table1.md, figure6.png, ranks.csv, config.json
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from iminet_viz.audio import atomic_path, load_audio
from iminet_viz.autoencoder import train_autoencoder
from iminet_viz.baselines import BASELINES
from iminet_viz.checkpoint import DbStatistics, read_json, write_json
from iminet_viz.contrastive import ContrastiveRecipe, TrainingSound, search_scores, train_contrastive
from iminet_viz.datasets import Pair, demo, find_dataset, vocalsketch
from iminet_viz.errors import DatasetError, IminetVizError, TrainingError
from iminet_viz.evaluation import evaluate_within
from iminet_viz.imitator.batch import cores, for_workers
from iminet_viz.models import Imisound, Siamese, TLIminet
from iminet_viz.pairs import SPLIT_SEED, PairSplit, split_sounds
from iminet_viz.systems import SYSTEMS, VIEWS, AnyRecipe
from iminet_viz.tables import CATEGORIES, Scores, searched, write_results
from iminet_viz.training import (
    LabelledPairs,
    PairTask,
    Recipe,
    export,
    fit,
    initialise,
    start_from_towers,
    versions,
)

IMITATIONS = 10  # of each sound
AT_ONCE = 256  # queries searched
# Feature maps of a batch are hundreds of MB. By default each goes back to the system and is asked for again, a third of
# the time of a training step (1.3 + 0.6 s instead of 1.2 + 0.05 s); kept, a process takes 2.6 instead of 1.5 GB.
KEEP_MEMORY = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**30))

Job = tuple[str, int]  # a system and its seed, or a view and -1


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What all jobs share; ``epochs`` bounds those of every training."""

    root: Path
    out: Path
    dataset: str
    split: PairSplit
    device: str = "cpu"
    epochs: int | None = None

    def recipe(self, name: str, seed: int) -> AnyRecipe | None:
        """How a system is trained with a seed; None for a baseline."""
        recipe = SYSTEMS[name].recipe
        if recipe is None:
            return None
        return dataclasses.replace(recipe, seed=seed, epochs=min(recipe.epochs, self.epochs or recipe.epochs))

    def folder(self, job: Job) -> Path:
        """Where a run is kept."""
        return self.out / "runs" / f"{job[0]}-{job[1]}"

    def result(self, job: Job) -> Path:
        """The last file that a job writes."""
        return self.out / "cache" / f"{job[0]}.safetensors" if job[1] < 0 else self.folder(job) / "scores.safetensors"

    def key(self, path: Path) -> str:
        """Name of a file below the corpus."""
        return path.relative_to(self.root).as_posix()

    def cost(self, job: Job) -> float:
        """About how many seconds a job takes."""
        recipe = None if job[1] < 0 else self.recipe(*job)
        epochs = 0 if recipe is None else min(recipe.epochs, 30 if isinstance(recipe, Recipe) else recipe.epochs)
        return 30.0 + epochs * (SYSTEMS[job[0]].epoch_s if recipe else 0)


# --- one job --------------------------------------------------------------------------------------------------------


def perform(experiment: Experiment, job: Job, report: Callable[[float], None]) -> None:
    """Do a job from where it was left; ``report`` is told the share that is done.

    Raises:
        AudioError: a file cannot be read.
        TrainingError: the loss is not finite.
    """
    name, seed = job
    if seed < 0:
        _keep_spectrograms(experiment, name, report)
        return
    recipe = experiment.recipe(name, seed)
    write_json(experiment.folder(job) / "recipe.json", {} if recipe is None else dataclasses.asdict(recipe))
    grids = _search_baseline(experiment, name, report) if recipe is None else _train(experiment, job, report)
    _save_arrays(experiment.result(job), grids)
    shutil.rmtree(experiment.folder(job) / "checkpoints", ignore_errors=True)


def _keep_spectrograms(experiment: Experiment, name: str, report: Callable[[float], None]) -> None:
    view = VIEWS[name]()
    split = experiment.split
    pairs = [*split.train, *split.validation, *split.test]
    files = [("imitation", pair.imitation) for pair in pairs]
    files += [("recording", path) for path in sorted({pair.recording for pair in pairs})]
    clips = {}
    for number, (role, path) in enumerate(files):
        waveform = load_audio(path, view.sample_rate(role))
        clips[f"{role}/{experiment.key(path)}"] = np.ascontiguousarray(view.spectrogram(waveform, role), np.float32)
        report(number / len(files))
    _save_arrays(experiment.result((name, -1)), clips)


def _save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    with atomic_path(path) as temporary:
        save_file(arrays, temporary)


@functools.lru_cache(maxsize=1)  # jobs of one front end follow each other
def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def _search_baseline(experiment: Experiment, name: str, report: Callable[[float], None]) -> dict[str, np.ndarray]:
    baseline, grids = BASELINES[name], {}
    for number, part in enumerate(("validation", "test")):
        sides = searched(getattr(experiment.split, part))
        kept = [
            [baseline.keep(load_audio(path, baseline.sample_rate(role)), role) for path in paths]
            for role, paths in zip(("imitation", "recording"), sides[:2], strict=True)
        ]
        report(0.3 + 0.4 * number)
        grids[part] = np.asarray(baseline.scores(*kept), np.float64)
    return grids


class _Report(Callback):
    """Tells the share of epochs that are done."""

    def __init__(self, report: Callable[[int], None]) -> None:
        self.report = report

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.report(trainer.current_epoch)


def _train(experiment: Experiment, job: Job, report: Callable[[float], None]) -> dict[str, np.ndarray]:
    """Train a network and keep it; returns the scores of the validation and of the test."""
    system, recipe, folder = SYSTEMS[job[0]], experiment.recipe(*job), experiment.folder(job)
    assert system.build is not None and recipe is not None
    view, clips = VIEWS[system.view](), _load_arrays(experiment.result((system.view, -1)))

    def of(role: str, paths: Sequence[Path]) -> list[np.ndarray]:
        return [clips[f"{role}/{experiment.key(path)}"] for path in paths]

    def inputs(role: str, paths: Sequence[Path]) -> dict[Path, torch.Tensor]:
        return {path: view.batch(of(role, [path]), role).inputs[0] for path in sorted(set(paths))}

    def done(epoch: int) -> None:
        report((epoch + 1) / recipe.epochs)

    split = experiment.split
    own: dict[str, list[Pair]] = {}
    for pair in split.train:
        own.setdefault(experiment.key(pair.recording), []).append(pair)
    network = initialise(system.build, job[1])
    checkpoint = folder / "checkpoints" / "last.pt"
    parents, losses, figures = {}, {}, {}
    if isinstance(recipe, Recipe):
        assert isinstance(network, Siamese)
        if isinstance(network, TLIminet):
            parents = start_from_towers(network, recipe)
        train, validation = (
            LabelledPairs(
                part,
                SPLIT_SEED,
                inputs("imitation", [pair.imitation for pair in part]),
                inputs("recording", [pair.recording for pair in part]),
            )
            for part in (split.train, split.validation)
        )
        loaders = train.loader(recipe, True), validation.loader(recipe, False)
        task = PairTask(network, recipe)
        figures = fit(task, *loaders, folder, experiment.device, resume=True, callbacks=[_Report(done)], bar=False)
    elif isinstance(recipe, ContrastiveRecipe):
        sounds = []
        for pairs in own.values():
            (recording,) = of("recording", [pairs[0].recording])
            imitations = of("imitation", [pair.imitation for pair in pairs])
            # no recipe here asks for altered copies, so what they are made of is not computed
            sounds.append(TrainingSound(recording, recording, tuple(imitations), pairs[0].category))
        network.to(experiment.device)
        losses = {"train": train_contrastive(network, view, sounds, recipe, lambda n, _: done(n), checkpoint)}
    else:
        assert isinstance(network, Imisound)
        given = torch.stack(list(inputs("imitation", [pair.imitation for pair in split.train]).values()))
        network.to(experiment.device)

        def told(layer: str, epoch: int, _: float) -> None:
            report((list(network.encoder).index(layer) + (epoch + 1) / recipe.epochs) / len(network.encoder))

        losses = train_autoencoder(network, given.to(experiment.device), recipe, told, checkpoint)
    network.cpu().eval()
    grids = {}
    for part in ("validation", "test"):
        queries, candidates, targets, categories = searched(getattr(split, part))
        rows = [queries[first : first + AT_ONCE] for first in range(0, len(queries), AT_ONCE)]
        recordings = of("recording", candidates)
        grid = [search_scores(network, view, of("imitation", some), recordings) for some in rows]
        grids[part] = np.concatenate(grid).astype(np.float64)
    within, _ = evaluate_within(grids["test"], targets, categories)
    if losses:
        write_json(folder / "losses.json", losses)
    statistics = {
        role: DbStatistics.of(of(role, [getattr(pair, role) for pair in split.train])) for role in network.FRONTENDS
    }
    data = {
        "name": experiment.dataset,
        "system": job[0],
        "licence": find_dataset(experiment.dataset).LICENCE,
        "train_pairs": len(split.train),
        "validation_pairs": len(split.validation),
        "test_pairs": len(split.test),
    }
    metrics = {"run": figures, "test within category": dataclasses.asdict(within)}
    export(folder / "model", network, statistics, recipe, data, metrics, parents)
    return grids


# --- many jobs ------------------------------------------------------------------------------------------------------


def perform_all(
    experiment: Experiment, jobs: Sequence[Job], workers: int, report: Callable[[str, int, int], None] | None
) -> None:
    """Do jobs in processes, or, with 0 workers, in this one.

    Raises:
        TrainingError: a worker was ended from outside.
        IminetVizError: that of the first job that fails; the others are ended, what they kept stays.
    """
    shares = dict.fromkeys(jobs, 0.0)
    total = sum(map(experiment.cost, jobs))

    def tell(job: Job, share: float) -> None:
        shares[job] = share
        if report is not None:
            done = sum(experiment.cost(job) * share for job, share in shares.items())
            report(_name(job), round(100 * done / total), 100)

    if not workers:
        for job in jobs:
            perform(experiment, job, functools.partial(tell, job))
            tell(job, 1.0)
        return
    # spawned, since a forked copy of a process whose libraries have threads can hang
    context = multiprocessing.get_context("spawn")
    waiting = list(jobs)
    processes = []
    busy: dict[Any, Job] = {}
    try:
        for _ in range(min(workers, len(jobs))):
            connection, other = context.Pipe()
            process = context.Process(target=_work, args=(other, experiment), daemon=True)
            with for_workers(**KEEP_MEMORY):
                process.start()
            other.close()
            processes.append(process)
            busy[connection] = waiting.pop(0)
            connection.send(busy[connection])
        while busy:
            for connection in list(busy):
                try:
                    if not connection.poll(0.1):
                        continue
                    message = connection.recv()
                except (EOFError, ConnectionResetError):
                    raise TrainingError(
                        f"a worker process was ended from outside at {_name(busy[connection])}, perhaps for lack of "
                        "memory; the same command continues"
                    ) from None
                if isinstance(message, Exception):
                    raise message
                tell(busy[connection], message)
                if message == 1.0:
                    del busy[connection]
                    if waiting:
                        busy[connection] = waiting.pop(0)
                        connection.send(busy[connection])
                    else:
                        connection.send(None)
    finally:
        for process in processes:  # all that they write is written whole
            process.kill()
            process.join()


def _name(job: Job) -> str:
    return f"spectrograms {job[0]}" if job[1] < 0 else f"{job[0]}, seed {job[1]}"


def _work(connection: Any, experiment: Experiment) -> None:
    """A worker: does what it is sent, one thread, until its parent ends it or ends."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's affair
    parent = multiprocessing.parent_process()
    assert parent is not None

    def outlive_nobody() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=outlive_nobody, daemon=True).start()
    torch.set_num_threads(1)
    threadpool_limits(1)
    while (job := connection.recv()) is not None:
        try:
            # 1 means that the result is there
            perform(experiment, job, lambda share: connection.send(min(share, 0.99)))
            connection.send(1.0)
        except IminetVizError as error:
            connection.send(error)
        except Exception:
            connection.send(RuntimeError(traceback.format_exc()))


# --- the experiment -------------------------------------------------------------------------------------------------


def run_table1(
    root: Path,
    out: Path,
    seeds: int,
    systems: Sequence[str] | None = None,
    device: str = "cpu",
    workers: int | None = None,
    epochs: int | None = None,
    report: Callable[[str, int, int], None] | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Train what is not trained yet and write the table, Figure 6, the ranks and the configuration.

    Args:
        root: a corpus in VocalSketch's layout.
        out: new, or of an earlier run of the same experiment, with other systems or fewer seeds if need be.
        seeds: 0 to ``seeds - 1`` are run.
        systems: names of ``SYSTEMS`` (default: all); fusions follow from them.
        device: of the training.
        workers: processes (default: one a core); 0 works in this one.
        epochs: at most so many of each training.
        report: called with what is done, the share that is done, and the whole.
        command: kept in ``config.json``.

    Returns:
        What ``config.json`` holds.

    Raises:
        DatasetError: the corpus is refused, or cannot be split (:func:`iminet_viz.pairs.split_sounds`).
        TrainingError: an unknown system, or ``out`` holds another experiment or other recipes.
        CheckpointError: a pre-trained tower does not load.
    """
    root, out = Path(root), Path(out)
    names = tuple(dict.fromkeys(SYSTEMS if systems is None else systems))
    if unknown := [name for name in names if name not in SYSTEMS]:
        raise TrainingError(f"no system {unknown[0]!r}, expected some of {', '.join(SYSTEMS)}")
    dataset = demo.NAME if (root / demo.SETTINGS).is_file() else vocalsketch.NAME
    pairs = find_dataset(dataset).load(root)
    split = split_sounds(pairs, SPLIT_SEED, IMITATIONS)
    if lacking := sorted(set(vocalsketch.SUBSETS) - {pair.category for pair in pairs}):
        raise DatasetError(f"{root}: has no sound of {lacking[0]!r}; the table needs all of {', '.join(CATEGORIES)}")
    experiment = Experiment(root, out, dataset, split, device, epochs)
    jobs = _jobs(names, seeds)
    for name in names:
        recipe, build = experiment.recipe(name, 0), SYSTEMS[name].build
        if isinstance(recipe, Recipe) and recipe.pretrained_layers and build is not None:
            start_from_towers(build(), recipe)  # type: ignore[arg-type]
    described = _describe_split(experiment, pairs)
    if (out / "split.json").is_file():
        if read_json(out / "split.json") != described:
            raise TrainingError(f"{out}: holds an experiment on other data than {root}; choose another folder")
    else:
        write_json(out / "split.json", described)
    for job in jobs:
        stored = experiment.folder(job) / "recipe.json"
        if stored.is_file() and not _has_recipe(experiment, job):
            raise TrainingError(f"{stored}: is another recipe than the one asked for; choose another folder")
    missing = [job for job in jobs if not experiment.result(job).is_file()]
    views = [(name, -1) for name in VIEWS if any(SYSTEMS[job[0]].view == name for job in missing)]
    if workers is None:
        workers = cores()
    for some in ([job for job in views if not experiment.result(job).is_file()], missing):
        if some:
            perform_all(experiment, some, workers, report)
    # what an earlier call finished stays in the table
    kept = [
        name
        for name in SYSTEMS
        if name not in names
        and all(experiment.result(job).is_file() and _has_recipe(experiment, job) for job in _jobs([name], seeds))
    ]
    names = tuple(name for name in SYSTEMS if name in names or name in kept)
    jobs += _jobs(kept, seeds)
    config = {
        "command": command,
        "seeds": seeds,
        "systems": {name: (recipe := experiment.recipe(name, 0)) and dataclasses.asdict(recipe) for name in names},
        "split_sha256": hashlib.sha256((out / "split.json").read_bytes()).hexdigest(),
        "data": {"name": dataset, "fingerprint": described["fingerprint"]},
        "device": device,
        "versions": versions(),
    }
    scores: Scores = {}
    for job in jobs:
        scores.setdefault(job[0], []).append(_load_arrays(experiment.result(job)))
    config["weights"] = write_results(out, root, dataset, split, scores)
    write_json(out / "config.json", config)
    return config


def _jobs(names: Sequence[str], seeds: int) -> list[Job]:
    """Each system with each seed; what is not trained has one result for all."""
    return [(name, seed) for name in names for seed in range(seeds if SYSTEMS[name].recipe else 1)]


def _has_recipe(experiment: Experiment, job: Job) -> bool:
    """Whether the run that is there has the recipe that a new one would have."""
    stored, recipe = experiment.folder(job) / "recipe.json", experiment.recipe(*job)
    asked = {} if recipe is None else json.loads(json.dumps(dataclasses.asdict(recipe)))
    return stored.is_file() and read_json(stored) == asked


def _describe_split(experiment: Experiment, pairs: Sequence[Pair]) -> dict[str, Any]:
    """``split.json``: the files by part, sounds with too few imitations, and a hash of the files' content."""
    split, key = experiment.split, experiment.key
    parts = {name: getattr(split, name) for name in ("train", "validation", "test")}
    digest = hashlib.sha256()
    for path in sorted({path for part in parts.values() for pair in part for path in (pair.imitation, pair.recording)}):
        digest.update(f"{key(path)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    counts = Counter(key(pair.recording) for pair in pairs)
    rows = {
        name: [[key(pair.imitation), key(pair.recording), pair.category] for pair in part]
        for name, part in parts.items()
    }
    short = {name: count for name, count in sorted(counts.items()) if count < IMITATIONS}
    return {"seed": SPLIT_SEED, "fingerprint": digest.hexdigest(), "fewer_imitations": short, **rows}
