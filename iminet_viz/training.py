"""Training on lightning: the two pre-training classifiers, and TL-IMINET on pairs (paper, sections V-A, V-B, V-D).

A recipe is data: it is written beside the run, stored with the model, and replays it. Every random draw depends on
(seed, epoch, item) alone, so a run that was interrupted and resumed ends with the numbers of one that was not.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import platform
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from iminet_viz import __version__
from iminet_viz.audio import fit_length, load_audio, split_windows
from iminet_viz.cards import write_card
from iminet_viz.checkpoint import DbStatistics, TrainedModel, load_model, read_json, save_model, write_json
from iminet_viz.datasets import DATASETS, Clip, Pair, demo, pairs_table, vocalsketch
from iminet_viz.errors import TrainingError
from iminet_viz.evaluation import (
    ClassificationResult,
    RetrievalResult,
    evaluate_classification,
    evaluate_retrieval,
)
from iminet_viz.frontends import FrontEndConfig, make_frontend, standardize
from iminet_viz.models import LanguageTower, Model, Siamese, SoundTower, TLIminet
from iminet_viz.models.tl_iminet import ClassifierConfig, TLIminetConfig
from iminet_viz.pairs import (
    SPLIT_SEED,
    LabelledPair,
    PairSplit,
    label_pairs,
    split_chains,
    split_collections,
    split_sounds,
)
from iminet_viz.scoring import Scorer, part_of
from iminet_viz.trials import evaluate_trial, run_trial

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# What is trained here, on what. The other models are trained in contrastive.py and autoencoder.py.
DATA_OF = {"language-tower": "speech-lid", "sound-tower": "esc10", "tl-iminet": "telephone-imitations"}
# Those that learn from pairs; experiments.py trains all of them, on other data.
SIAMESE = ("tl-iminet", "iminet", "recurrent")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run besides the data; unknown keys are refused."""

    model: str
    seed: int = 0
    epochs: int = 30
    batch_size: int = 128
    optimizer: str = "sgd"  # or "adam"
    learning_rate: float = 0.01
    momentum: float = 0.9  # Nesterov
    decay: float = 1e-4  # per update: lr / (1 + decay t)
    weight_decay: float = 0.0  # L2 on the fully connected layers
    patience: int = 30  # epochs without a better ``monitor`` before the training ends
    monitor: str = "validation_loss"
    precision: str = "bf16"  # or "32"; towers run about four times faster in bf16 on processors that have it
    batch_norm: bool = False
    pretrained_layers: int = 0  # convolutional layers taken from the towers below
    imitation_from: str = ""
    recording_from: str = ""
    held_out: tuple[str, ...] = ()  # validation collections, test chains, or the test fold
    validation_share: float = 0.2  # of the pairs of each training chain, as whole subtrees
    items_per_epoch: int = 0  # balanced draws per epoch; 0 = every clip once
    join: bool = False  # fill each window with several clips of one speaker
    equalizer_db: float = 0.0  # random smooth gain over the bands: hides the microphone
    warp: float = 0.0  # random stretch of both axes by up to this share: hides the speaker and the tempo
    floor_db: float = 80.0  # random floor between this and 80 dB below the maximum: hides the room's noise

    def __post_init__(self) -> None:
        object.__setattr__(self, "held_out", tuple(self.held_out))
        known = dict.fromkeys((*DATA_OF, *SIAMESE))
        if self.model not in known:
            raise TrainingError(f"model {self.model!r} in the recipe, expected one of {', '.join(known)}")
        for name, legal in (
            ("optimizer", ("sgd", "adam")),
            ("precision", ("bf16", "32")),
            ("monitor", ("validation_loss", "validation_score")),
        ):
            if getattr(self, name) not in legal:
                raise TrainingError(f"{name} {getattr(self, name)!r} in the recipe, expected {' or '.join(legal)}")
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} {getattr(self, name)} in the recipe, expected at least 1")

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Recipe:
        """Read a recipe; raises TrainingError for unknown keys."""
        names = {field.name for field in dataclasses.fields(Recipe)}
        if unknown := sorted(set(values) - names):
            raise TrainingError(
                f"unknown keys in the recipe: {', '.join(unknown)}; legal are {', '.join(sorted(names))}"
            )
        try:
            return Recipe(**values)
        except TypeError as error:
            raise TrainingError(f"recipe: {error}") from None


# The paper's values where it gives them; the rest was chosen on validation parts (trained_models/README.md).
RECIPES = {
    "language-tower": Recipe(
        model="language-tower",
        epochs=20,
        batch_size=64,
        optimizer="adam",
        learning_rate=1e-3,
        decay=0.0,
        patience=20,
        monitor="validation_score",
        batch_norm=True,
        held_out=("ktuberling",),
        items_per_epoch=2_800,
        join=True,
        equalizer_db=10.0,
    ),
    "sound-tower": Recipe(
        model="sound-tower",
        epochs=30,
        batch_size=32,
        optimizer="adam",
        learning_rate=1e-3,
        decay=0.0,
        weight_decay=1e-3,
        patience=30,
        batch_norm=True,
        items_per_epoch=800,
    ),
    "tl-iminet": Recipe(model="tl-iminet", batch_norm=True, held_out=("between-splish",)),
}

SampleKey = tuple[int, int]  # (epoch, index): all that a random draw may depend on besides the seed


class EpochSampler(Sampler[SampleKey]):
    """Yields ``(epoch, index)``, shuffled or drawn by weight, from (seed, epoch) alone.

    Shuffled, ``together`` items that follow each other stay so.
    """

    def __init__(
        self, n_items: int, seed: int, weights: np.ndarray | None = None, draws: int = 0, together: int = 1
    ) -> None:
        if n_items % together:
            raise ValueError(f"{n_items} items do not come in groups of {together}")
        self.n_items, self.seed, self.weights, self.draws, self.together = n_items, seed, weights, draws, together
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.draws or self.n_items

    def __iter__(self) -> Iterator[SampleKey]:
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.draws:
            indices = rng.choice(self.n_items, size=self.draws, p=self.weights)
        else:
            first = self.together * rng.permutation(self.n_items // self.together)
            indices = (first[:, None] + np.arange(self.together)).ravel()
        return iter((self.epoch, int(index)) for index in indices)


def load_waveforms(paths: Sequence[Path], sample_rate: int) -> list[np.ndarray]:
    """Decode files on all cores, in order; libsndfile and soxr release Python's lock."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda path: load_audio(path, sample_rate), paths))


class ClipWindows(Dataset[tuple[Tensor, int]]):
    """Random windows of labelled clips for training; each clip's first window where ``seed`` is None."""

    def __init__(
        self, clips: list[Clip], classes: tuple[str, ...], config: FrontEndConfig, seed: int | None, join: bool
    ) -> None:
        self.clips, self.config, self.seed, self.join = clips, config, seed, join
        self.labels = [classes.index(clip.label) for clip in clips]
        self.waveforms = load_waveforms([clip.path for clip in clips], config.sample_rate)
        self.same: dict[tuple[str, str], list[int]] = {}
        for index, clip in enumerate(clips):
            self.same.setdefault((clip.label, clip.collection), []).append(index)

    def __len__(self) -> int:
        return len(self.clips)

    def weights(self) -> np.ndarray:
        """Draw labels evenly, collections of a label by the square root of their size."""
        clips = self.clips
        root = np.array([len(self.same[clip.label, clip.collection]) ** -0.5 for clip in clips])
        label = np.array(self.labels)
        per_label = np.bincount(label, weights=root)
        weights = root / per_label[label]
        return weights / weights.sum()

    def __getitem__(self, key: SampleKey) -> tuple[Tensor, int]:
        epoch, index = key
        samples = self.config.n_samples
        waveform = self.waveforms[index]
        if self.seed is not None:
            rng = np.random.default_rng((self.seed, epoch, index, 1))
            if self.join:
                waveform = self._joined(index, rng)
            waveform = _random_window(waveform, samples, rng)
        return torch.from_numpy(fit_length(waveform, samples)), self.labels[index]

    def _joined(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """Follow a clip with others of the same collection and language until the window is full.

        Single words and letters would otherwise be told by their length; short ones stay alone now and then.
        """
        clip = self.clips[index]
        parts, wanted = [self.waveforms[index]], int(self.config.n_samples * rng.uniform(0.2, 1.5))
        while sum(map(len, parts)) < wanted:
            other = self.waveforms[rng.choice(self.same[clip.label, clip.collection])]
            gap = np.zeros(int(rng.uniform(0, 0.3) * self.config.sample_rate), np.float32)
            parts += [gap, other * 10 ** (rng.uniform(-6, 6) / 20)]
        return np.concatenate(parts).astype(np.float32)


def _random_window(waveform: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Cut at random, but not into the digital silence that pads many short clips."""
    if len(waveform) <= samples:
        return waveform
    peak = np.abs(waveform).max()
    for _ in range(8):
        start = rng.integers(0, len(waveform) - samples + 1)
        window = waveform[start : start + samples]
        if np.abs(window).max() > 0.1 * peak:
            break
    return window


PairBatch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class LabelledPairs(Dataset[LabelledPair]):
    """Positive and negative pairs, and the inputs of both sides, ``(1, bands, frames)`` by file.

    The positive and the negative pair of an imitation follow each other, so a batch of an even size has both. Each
    distinct clip of a batch passes its tower once: a training step takes half the time, and its gradient is that of all
    pairs (with batch norm, whose statistics are then those of the distinct clips, nearly).
    """

    def __init__(
        self, pairs: list[Pair], seed: int, imitations: Mapping[Path, Tensor], recordings: Mapping[Path, Tensor]
    ) -> None:
        self.labelled = label_pairs(pairs, seed)
        self.imitations, self.recordings = imitations, recordings

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, key: SampleKey) -> LabelledPair:
        return self.labelled[key[1]]

    def collate(self, pairs: Sequence[LabelledPair]) -> PairBatch:
        """Join pairs: distinct imitations and recordings, of each pair its row among either, and 1 if it is positive.

        Shape:
            ``(imitations, 1, bands, frames)``, ``(recordings, 1, bands, frames)``, and ``(pairs,)`` three times.
        """
        batch: list[Tensor] = []
        rows: list[Tensor] = []
        for side, paths in (
            (self.imitations, [pair.imitation for pair in pairs]),
            (self.recordings, [pair.recording for pair in pairs]),
        ):
            distinct = {path: row for row, path in enumerate(dict.fromkeys(paths))}
            batch.append(torch.stack([side[path] for path in distinct]))
            rows.append(torch.tensor([distinct[path] for path in paths]))
        return batch[0], batch[1], rows[0], rows[1], torch.tensor([float(pair.positive) for pair in pairs])

    def loader(self, recipe: Recipe, shuffled: bool) -> DataLoader[LabelledPair]:
        """Batches in the order of the pairs, or shuffled, the two pairs of an imitation together."""
        sampler = EpochSampler(len(self), recipe.seed, together=2) if shuffled else None
        return make_loader(self, recipe, sampler, self.collate)


@torch.no_grad()
def spectrograms(paths: Sequence[Path], config: FrontEndConfig) -> dict[Path, Tensor]:
    """Standardised input of a tower for each distinct file: ``{path: (1, bands, frames)}``."""
    distinct = sorted(set(paths))
    frontend = make_frontend(config)
    waveforms = load_waveforms(distinct, config.sample_rate)
    windows = (torch.from_numpy(fit_length(waveform, config.n_samples))[None] for waveform in waveforms)
    return {path: frontend(window)[0] for path, window in zip(distinct, windows, strict=True)}


@torch.no_grad()
def measure_db(paths: Sequence[Path], config: FrontEndConfig) -> DbStatistics:
    """Mean over clips of each clip's mean and deviation in dB below its maximum; silent clips are left out."""
    frontend = make_frontend(config)
    waveforms = load_waveforms(sorted(set(paths)), config.sample_rate)
    return DbStatistics.of(frontend.decibels(torch.from_numpy(frontend.fit(x))[None])[0].numpy() for x in waveforms)


class _Task(lightning.LightningModule):
    """What both kinds of training share: seeds per epoch, the optimiser, the averages over an epoch."""

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe = recipe
        self.outputs: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout and augmentation: from (seed, epoch, batch) alone. Seeding once an epoch is not enough: the loader's
        # iterator draws from the same generator, before or after it in a resumed run.
        torch.manual_seed((self.recipe.seed * 100_003 + self.current_epoch) * 10_007 + batch_idx)

    def finish(self, loss: Tensor, batch_size: int) -> Tensor:
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {loss.item()} in epoch {self.current_epoch}, lower the learning rate")
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=batch_size)
        return loss

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        raise NotImplementedError  # in the two tasks below

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError

    def on_validation_epoch_end(self) -> None:
        outputs = torch.cat([output for output, _ in self.outputs]).float()
        targets = torch.cat([target for _, target in self.outputs])
        self.outputs.clear()
        self.log("validation_loss", self.loss(outputs, targets))
        self.log("validation_score", self.score(outputs, targets))

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        dense = [p for name, p in self.network.named_parameters() if ".conv" not in name and ".blocks." not in name]
        other = [p for name, p in self.network.named_parameters() if ".conv" in name or ".blocks." in name]
        groups: list[dict[str, Any]] = [{"params": dense, "weight_decay": recipe.weight_decay}, {"params": other}]
        optimizer: torch.optim.Optimizer
        if recipe.optimizer == "adam":
            optimizer = torch.optim.Adam(groups, lr=recipe.learning_rate)
        else:
            optimizer = torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + recipe.decay * step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class ClassifierTask(_Task):
    """Softmax cross-entropy over classes (paper.md, section 6: the paper's sigmoid is read as softmax)."""

    def __init__(self, network: LanguageTower | SoundTower, recipe: Recipe) -> None:
        super().__init__(network, recipe)
        self.frontend = make_frontend(network.FRONTENDS[network.ROLE])

    def features(self, waveforms: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            x = self.frontend.decibels(waveforms.float())
            if self.training:
                x = augment(x, self.recipe, self.frontend.config.top_db)
            return standardize(x)[:, None].contiguous(memory_format=torch.channels_last)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        waveforms, labels = batch
        return self.finish(self.loss(self.network(self.features(waveforms)), labels), len(labels))

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        waveforms, labels = batch
        self.outputs.append((self.network(self.features(waveforms)), labels))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Balanced accuracy: the validation collections are as uneven as the languages."""
        right = (outputs.argmax(dim=1) == targets).float()
        return float(np.mean([right[targets == label].mean().item() for label in targets.unique()]))


def augment(db: Tensor, recipe: Recipe, top_db: float) -> Tensor:
    """Vary what tells one collection from another: microphone, speaker, tempo, noise floor.

    Shape:
        ``(batch, bands, frames)`` in dB below the maximum to the same.
    """
    batch, bands, _ = db.shape
    if recipe.warp:
        stretch = 1 + recipe.warp * (2 * torch.rand(batch, 2, device=db.device) - 1)  # (time, frequency)
        theta = torch.diag_embed(F.pad(stretch, (0, 1)))[:, :2]  # (batch, 2, 3): scale both axes
        theta[:, :, 2] = stretch - 1  # keep the first frame and the lowest band in place
        grid = F.affine_grid(theta, [batch, 1, *db.shape[1:]], align_corners=False)
        db = F.grid_sample(db[:, None] + top_db, grid, align_corners=False)[:, 0] - top_db
    if recipe.equalizer_db:
        # five random gains per clip, joined by straight lines over the bands
        points = torch.randn(batch, 1, 5, device=db.device) * recipe.equalizer_db / 2
        db = db + F.interpolate(points, size=bands, mode="linear", align_corners=True).transpose(1, 2)
    db = db - db.amax(dim=(1, 2), keepdim=True)
    floor = recipe.floor_db + (top_db - recipe.floor_db) * torch.rand(batch, 1, 1, device=db.device)
    return torch.maximum(db, -floor)


class PairTask(_Task):
    """Binary cross-entropy on logits of positive and negative pairs (paper, section V-D)."""

    network: Siamese

    def logits(self, batch: PairBatch) -> Tensor:
        imitations, recordings, imitation_rows, recording_rows, _ = batch
        query, candidate = self.network.query_half(imitations), self.network.candidate_half(recordings)
        return self.network.head(query[imitation_rows] + candidate[recording_rows])

    def training_step(self, batch: PairBatch, _: int) -> Tensor:
        return self.finish(self.loss(self.logits(batch), batch[-1]), len(batch[-1]))

    def validation_step(self, batch: PairBatch, _: int) -> None:
        self.outputs.append((self.logits(batch), batch[-1]))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs))

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Share of pairs on the right side of one half."""
        return ((outputs > 0) == (targets > 0.5)).float().mean().item()


class _Progress(Callback):
    """One bar over all epochs, with the time left, on stderr."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn(name),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs  {task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar.start()
        self.task = self.bar.add_task("", total=trainer.max_epochs, completed=trainer.current_epoch, figures="")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        figures = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        self.bar.update(self.task, advance=1, figures=figures)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar.stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self.bar.stop()


def fit(
    task: _Task,
    train: DataLoader[Any],
    validation: DataLoader[Any],
    out: Path,
    device: str = "auto",
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    run: Path | None = None,
    bar: bool = True,
) -> dict[str, float]:
    """Train and leave the best weights in ``task.network``.

    Writes ``recipe.json``, ``metrics.csv``, TensorBoard events and ``checkpoints/`` below ``out``. Interrupted at any
    moment, the run continues with ``resume`` from its last whole epoch, or from the start if there is none yet.
    Messages name ``run``, the folder that the user knows, if ``out`` is a part of it. Without ``bar`` nothing is shown.

    Returns:
        Epochs run, best epoch and the best value of the monitored figure.

    Raises:
        TrainingError: the folder holds another run, there is nothing to resume, the recipe differs, or the run was
            interrupted.
    """
    recipe = task.recipe
    last = out / "checkpoints" / "last.ckpt"
    stored = out / "recipe.json"
    claim_run(stored, recipe, resume, run or out)
    best = ModelCheckpoint(
        dirpath=out / "checkpoints",
        filename="best",
        monitor=recipe.monitor,
        mode="max" if recipe.monitor == "validation_score" else "min",
        save_last=True,
        enable_version_counter=False,
    )
    stop = EarlyStopping(monitor=recipe.monitor, mode=best.mode, patience=recipe.patience)
    # A log per start: a resumed run continues in a second file instead of overwriting the first.
    start = f"start{len(list((out / 'logs').glob('start*'))) + 1}"
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # lightning advises worker processes; the data are in memory already
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*number of training batches.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        trainer = lightning.Trainer(
            accelerator="auto" if device == "auto" else {"cuda": "gpu"}.get(device, device),
            devices=1,
            precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
            max_epochs=recipe.epochs,
            callbacks=[best, stop, *([_Progress(recipe.model)] if bar else []), *callbacks],
            logger=[
                CSVLogger(out, name="logs", version=start),
                TensorBoardLogger(out, name="logs", version=start),
            ],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            default_root_dir=out,
        )
        try:
            # weights_only: the resumed file is read as tensors and plain values, no code in it is ever run
            trainer.fit(
                task, train, validation, ckpt_path=str(last) if resume and last.is_file() else None, weights_only=True
            )
        except (KeyboardInterrupt, SystemExit):
            raise TrainingError(
                f"interrupted; what was trained is kept, continue with --resume in {run or out}"
            ) from None
    epoch = restore(task.network, Path(best.best_model_path))
    score = best.best_model_score
    assert score is not None
    return {"epochs": trainer.current_epoch, "best_epoch": epoch, recipe.monitor: float(score)}


def restore(network: nn.Module, checkpoint: Path) -> int:
    """Put a run's stored weights into its network, on the CPU in evaluation mode; returns the epoch, from 1."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    prefix = "network."
    weights = {key.removeprefix(prefix): value for key, value in state["state_dict"].items() if key.startswith(prefix)}
    network.load_state_dict(weights)
    network.cpu().eval()
    return int(state["epoch"]) + 1


def claim_run(stored: Path, recipe: DataclassInstance, resume: bool, run: Path) -> None:
    """Write the recipe of a new run, or check that the run to resume has the same one.

    Raises:
        TrainingError: there is a run and it is not to be resumed, there is none to resume, or its recipe differs.
    """
    if not resume:
        if stored.exists():
            raise TrainingError(f"{run}: holds a run already; continue it with --resume or start anew with --force")
        write_json(stored, dataclasses.asdict(recipe))
    elif not stored.exists():
        raise TrainingError(f"{run}: nothing to resume, it holds no {stored.name}")
    elif read_json(stored) != json.loads(json.dumps(dataclasses.asdict(recipe))):
        raise TrainingError(f"{run}: cannot resume, recipe.json there differs from the recipe asked for")


def remove_run(out: Path) -> None:
    """Delete what a training run writes below ``out``, and nothing else."""
    parts = ("checkpoints", "logs", "model", "all", *(f"fold{fold}" for fold in range(1, 6)))
    if (out / "recipe.json").is_file():
        for name in parts:
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("losses.json", "data.json"):
            (out / name).unlink(missing_ok=True)
        (out / "recipe.json").unlink()


def make_loader(
    dataset: Any, recipe: Recipe, sampler: EpochSampler | None = None, collate: Callable[..., Any] | None = None
) -> DataLoader[Any]:
    """Batches of a data set, in its own order or in the sampler's."""
    keys: Any = sampler or [(0, index) for index in range(len(dataset))]
    return DataLoader(dataset, batch_size=recipe.batch_size, sampler=keys, collate_fn=collate)


def initialise(build: Callable[[], Model], seed: int) -> Model:
    """Build a network whose random weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def train_language_tower(recipe: Recipe, data: Path, test: Path | None, out: Path, **options: Any) -> dict[str, Any]:
    """Pre-train the imitation tower on spoken languages; whole collections are held out (paper, section V-A).

    Args:
        recipe: ``held_out`` names the validation collections.
        data: folder of ``speech-lid``.
        test: folder of ``voxforge-real``, evaluated once at the end.
        out: the run and, in ``out/model``, the model.
        options: ``device``, ``resume``, ``callbacks`` of :func:`fit`.

    Returns:
        The metrics written to ``metrics.json``.
    """
    dataset = DATASETS["speech-lid"]
    clips = dataset.load(data)
    classes = dataset.LANGUAGES
    train, validation = split_collections(clips, recipe.held_out)
    config = LanguageTower.FRONTENDS["imitation"]
    network = initialise(lambda: LanguageTower(ClassifierConfig(classes, recipe.batch_norm)), recipe.seed)
    assert isinstance(network, LanguageTower)
    windows = ClipWindows(train, classes, config, recipe.seed, recipe.join)
    task = ClassifierTask(network, recipe)
    sampler = EpochSampler(len(windows), recipe.seed, windows.weights(), recipe.items_per_epoch)
    held = ClipWindows(validation, classes, config, None, False)
    run = fit(task, make_loader(windows, recipe, sampler), make_loader(held, recipe), out, **options)
    metrics: dict[str, Any] = {"run": run, "validation": dataclasses.asdict(classify(network, validation))}
    if test is not None:
        metrics["test"] = dataclasses.asdict(classify(network, dataset.load(test)))
    facts = {
        "name": dataset.NAME,
        "licence": dataset.LICENCE,
        "train_clips": len(train),
        "validation_clips": len(validation),
        "validation_collections": list(recipe.held_out),
    }
    statistics = {"imitation": measure_db([clip.path for clip in train], config)}
    export(out / "model", network, statistics, recipe, facts, metrics)
    return metrics


def train_sound_tower(recipe: Recipe, data: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Pre-train the recording tower on environmental sounds: official folds, then all of them (paper, section V-B).

    Each fold's model is kept in ``out/model/fold1`` ..., so that the cross-validated figure can be computed again;
    ``out/model`` itself is trained on all folds. ``recipe.held_out`` may name one fold to train that model only.

    Returns:
        The metrics written to ``metrics.json``: the figure over all clips, each scored by the model of its fold.
    """
    dataset = DATASETS["esc10"]
    clips = dataset.load(data)
    classes = tuple(sorted({clip.label for clip in clips}))
    config = SoundTower.FRONTENDS["recording"]
    folds = [int(name) for name in recipe.held_out] or list(range(1, dataset.N_FOLDS + 1))
    model = out / "model"
    claim_run(out / "recipe.json", recipe, options.get("resume", False), out)

    def train_one(kept: list[Clip], tested: list[Clip], name: str) -> tuple[SoundTower, dict[str, float]]:
        network = initialise(lambda: SoundTower(ClassifierConfig(classes, recipe.batch_norm)), recipe.seed)
        assert isinstance(network, SoundTower)
        windows = ClipWindows(kept, classes, config, recipe.seed, False)
        sampler = EpochSampler(len(windows), recipe.seed, windows.weights(), recipe.items_per_epoch)
        task = ClassifierTask(network, recipe)
        held = ClipWindows(tested, classes, config, None, False)
        part = {
            **options,
            "run": out,
            "resume": options.get("resume", False) and (out / name / "recipe.json").is_file(),
        }
        fit(task, make_loader(windows, recipe, sampler), make_loader(held, recipe), out / name, **part)
        # No part of the tested fold may choose the epoch: the last one counts, as in the paper's fixed training.
        restore(network, out / name / "checkpoints" / "last.ckpt")
        return network, {"epochs": recipe.epochs}

    predicted, actual = [], []
    for fold in folds:
        kept = [clip for clip in clips if clip.fold != fold]
        tested = [clip for clip in clips if clip.fold == fold]
        network, run = train_one(kept, tested, f"fold{fold}")
        predicted.append(predict(network, tested))
        actual.append(np.array([classes.index(clip.label) for clip in tested]))
        statistics = {"recording": measure_db([clip.path for clip in kept], config)}
        result = evaluate_classification(predicted[-1], actual[-1], classes)
        facts = {"name": dataset.NAME, "licence": dataset.LICENCE, "train_clips": len(kept), "test_fold": fold}
        export(
            model / f"fold{fold}", network, statistics, recipe, facts, {"run": run, "test": dataclasses.asdict(result)}
        )
    result = evaluate_classification(np.concatenate(predicted), np.concatenate(actual), classes)
    metrics = {"cross_validation": dataclasses.asdict(result), "folds": folds}
    if not recipe.held_out:
        # "validation" repeats the training clips here: nothing is chosen by it
        network, run = train_one(clips, clips, "all")
        metrics["run"] = run
        statistics = {"recording": measure_db([clip.path for clip in clips], config)}
        facts = {"name": dataset.NAME, "licence": dataset.LICENCE, "train_clips": len(clips)}
        export(model, network, statistics, recipe, facts, metrics)
    return metrics


def train_tl_iminet(recipe: Recipe, data: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Train TL-IMINET on pairs, its first layers from pre-trained towers if the recipe says so (paper, section V-D).

    Returns:
        The metrics written to ``metrics.json``: retrieval on the chains held out.
    """
    split = split_of(recipe, data)
    network = initialise(lambda: TLIminet(TLIminetConfig(batch_norm=recipe.batch_norm)), recipe.seed)
    assert isinstance(network, TLIminet)
    parents = start_from_towers(network, recipe)
    pairs, validation = (
        LabelledPairs(
            part,
            recipe.seed,
            spectrograms([pair.imitation for pair in part], TLIminet.FRONTENDS["imitation"]),
            spectrograms([pair.recording for pair in part], TLIminet.FRONTENDS["recording"]),
        )
        for part in (split.train, split.validation)
    )
    task = PairTask(network, recipe)
    run = fit(task, pairs.loader(recipe, True), validation.loader(recipe, False), out, **options)
    metrics = {
        "run": run,
        "validation": dataclasses.asdict(retrieve(network, split.validation)),
        "test": dataclasses.asdict(retrieve(network, split.test)),
    }
    dataset = DATASETS["telephone-imitations"]
    facts = {
        "name": dataset.NAME,
        "licence": dataset.LICENCE,
        "train_pairs": len(split.train),
        "validation_pairs": len(split.validation),
        "test_pairs": len(split.test),
        "test_chains": list(recipe.held_out),
    }
    statistics = {
        "imitation": measure_db([pair.imitation for pair in split.train], TLIminet.FRONTENDS["imitation"]),
        "recording": measure_db([pair.recording for pair in split.train], TLIminet.FRONTENDS["recording"]),
    }
    export(out / "model", network, statistics, recipe, facts, metrics, parents)
    return metrics


def start_from_towers(network: TLIminet, recipe: Recipe) -> dict[str, dict[str, str]]:
    """Copy the recipe's pre-trained layers, if it has any, into a network.

    Returns:
        By role the name, the fingerprint and the data's licence of the model that they come from.

    Raises:
        TrainingError: a model has no such tower, or another normalisation.
        CheckpointError: a model does not load.
    """
    parents: dict[str, dict[str, str]] = {}
    if not recipe.pretrained_layers:
        return parents
    for role, name in (("imitation", recipe.imitation_from), ("recording", recipe.recording_from)):
        source = load_model(name)
        if role not in source.network.towers:
            raise TrainingError(f"{name} has no {role} tower to start from")
        if source.config["architecture"]["batch_norm"] != recipe.batch_norm:
            raise TrainingError(f"{name} and the recipe differ in batch_norm")
        network.load_towers({role: source.network.towers[role]}, recipe.pretrained_layers)
        licence = source.config["data"]["licence"]
        parents[role] = {"name": source.name, "fingerprint": source.fingerprint, "licence": licence}
    return parents


def split_of(recipe: Recipe, data: Path) -> PairSplit:
    """The split of the pairs that a recipe stands for; the same for every model, seed and machine."""
    pairs = DATASETS["telephone-imitations"].load(data)
    return split_chains(pairs, recipe.held_out, recipe.validation_share, seed=0)


def versions() -> dict[str, str]:
    """Of Python and all that numbers depend on."""
    names = ("torch", "lightning", "librosa", "numpy", "scipy")
    return {"iminet-viz": __version__, "python": platform.python_version(), **{name: version(name) for name in names}}


def export(
    folder: Path,
    network: Model,
    statistics: dict[str, DbStatistics],
    recipe: DataclassInstance,
    data: dict[str, Any],
    metrics: dict[str, Any],
    parents: dict[str, Any] | None = None,
) -> None:
    """Write a trained network as a model folder with its card, and with all that is needed to train it again."""
    config = {"recipe": dataclasses.asdict(recipe), "data": data, "versions": versions()}
    if parents:
        config["parents"] = parents
    save_model(folder, network, statistics, config, metrics)
    write_card(folder)


@torch.no_grad()
def predict(network: LanguageTower | SoundTower, clips: list[Clip]) -> np.ndarray:
    """Class of each clip, ``(clips,)``: the mean log-probability over its windows, every second one overlapping."""
    config = network.FRONTENDS[network.ROLE]
    device = next(network.parameters()).device
    frontend = make_frontend(config).to(device)
    classes = []
    for waveform in load_waveforms([clip.path for clip in clips], config.sample_rate):
        windows = split_windows(waveform, config.n_samples, config.n_samples // 2)
        peaks = np.abs(windows).max(axis=1)
        windows = windows[peaks >= 0.1 * peaks.max()]  # digital silence pads many clips
        log_p = F.log_softmax(network(frontend(torch.from_numpy(windows).to(device))), dim=1).mean(dim=0)
        classes.append(int(log_p.argmax()))
    return np.array(classes)


def classify(network: LanguageTower | SoundTower, clips: list[Clip]) -> ClassificationResult:
    """Accuracy of a classifier on labelled clips."""
    classes = network.config.classes
    actual = np.array([classes.index(clip.label) for clip in clips])
    return evaluate_classification(predict(network, clips), actual, classes)


@torch.no_grad()
def retrieve(network: TLIminet, pairs: list[Pair]) -> RetrievalResult:
    """Search each imitation among all recordings of the pairs; a clip is never its own candidate."""
    imitations = spectrograms([pair.imitation for pair in pairs], TLIminet.FRONTENDS["imitation"])
    recordings = spectrograms([pair.recording for pair in pairs], TLIminet.FRONTENDS["recording"])
    candidates = list(recordings)
    device = next(network.parameters()).device
    queries = torch.cat([network.query_half(imitations[pair.imitation][None].to(device)) for pair in pairs])
    halves = torch.cat([network.candidate_half(recordings[path][None].to(device)) for path in candidates])
    scores = network.score_halves(queries, halves).cpu().numpy().astype(np.float64)
    own = np.array([[path == pair.imitation for path in candidates] for pair in pairs])
    scores[own] = -np.inf
    return evaluate_retrieval(scores, np.array([candidates.index(pair.recording) for pair in pairs]))


def test_pairs(model: TrainedModel, data: Path) -> list[Pair]:
    """The test part of the sounds that a model was trained on.

    Raises:
        TrainingError: it was not trained on sounds with imitations that its config names.
        DatasetError: the data are not whole.
    """
    name = model.config.get("data", {}).get("name")
    if name not in (demo.NAME, vocalsketch.NAME):
        raise TrainingError(f"{model.name}: its config.json names no sounds with imitations that it was trained on")
    return split_sounds(DATASETS[name].load(data), SPLIT_SEED).test


def evaluate_model(model: TrainedModel, data: Path) -> dict[str, Any]:
    """Compute a model's figures again from its weights and its recipe's split.

    Raises:
        TrainingError: the model's config names no recipe, or its recipe tests nothing.
        CheckpointError: it was trained on pairs but cannot search.
        DatasetError: the data are not what the recipe expects.
    """
    if "recipe" not in model.config:
        raise TrainingError(f"{model.name}: its config.json names no recipe, so its test part is not known")
    name = model.config["data"]["name"]
    if name in (demo.NAME, vocalsketch.NAME):
        trial, (scores,) = run_trial(test_pairs(model, data), data, [Scorer(model.name, (part_of(model),))])
        within = evaluate_trial(trial, scores).within
        assert within is not None
        return {"test within category": dataclasses.asdict(within)}
    if name == pairs_table.NAME:
        raise TrainingError(f"{model.name}: was trained on all of its data; evaluate it by --pairs of other recordings")
    recipe = Recipe.from_dict(model.config["recipe"])
    network = model.network
    if isinstance(network, TLIminet):
        split = split_of(recipe, data)
        return {
            "validation": dataclasses.asdict(retrieve(network, split.validation)),
            "test": dataclasses.asdict(retrieve(network, split.test)),
        }
    if isinstance(network, LanguageTower):
        clips = DATASETS["speech-lid"].load(data)
        if any(clip.collection in recipe.held_out for clip in clips):
            return {"validation": dataclasses.asdict(classify(network, split_collections(clips, recipe.held_out)[1]))}
        return {"test": dataclasses.asdict(classify(network, clips))}
    if not isinstance(network, SoundTower):
        raise TrainingError(f"{model.name}: a model of kind {network.KIND} is not evaluated by its recipe")
    clips = DATASETS["esc10"].load(data)
    classes = network.config.classes
    if "test_fold" in model.config["data"]:
        tested = [clip for clip in clips if clip.fold == model.config["data"]["test_fold"]]
        return {"test": dataclasses.asdict(classify(network, tested))}
    assert model.folder is not None
    predicted, actual = [], []
    for fold in model.metrics["folds"]:
        part = load_model(model.folder / f"fold{fold}", str(model.device)).network
        assert isinstance(part, SoundTower)
        tested = [clip for clip in clips if clip.fold == fold]
        predicted.append(predict(part, tested))
        actual.append(np.array([classes.index(clip.label) for clip in tested]))
    result = evaluate_classification(np.concatenate(predicted), np.concatenate(actual), classes)
    return {"cross_validation": dataclasses.asdict(result)}


__all__ = [
    "RECIPES",
    "Recipe",
    "evaluate_model",
    "train_language_tower",
    "train_sound_tower",
    "train_tl_iminet",
]
