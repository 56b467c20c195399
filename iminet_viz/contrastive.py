"""Training a network to search: in each batch, an imitation's own sound against the sounds of all the others.

In-batch softmax, both ways: a batch of B imitations and their B sounds gives a grid of B x B scores at the cost of 2 B
clips. What a network is fed with, how it is scored in training and in search, is its *view*; the loop is the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iminet_viz.audio import atomic_path, find_audio, fit_length, load_audio
from iminet_viz.baselines import HEARD_S
from iminet_viz.cards import write_card
from iminet_viz.checkpoint import DbStatistics, TrainedModel, read_json, save_model, write_json
from iminet_viz.datasets import Pair, pairs_table
from iminet_viz.errors import AudioError, CheckpointError, DatasetError, TrainingError
from iminet_viz.frames import (
    MEL_FRAMES,
    TRIMS_DB,
    MelFramesConfig,
    condition_frames,
    mel_decibels,
    resample_frames,
    stretched_cuts,
    trim_frames,
)
from iminet_viz.frontends import FrontEnd, FrontEndConfig, make_frontend, standardize, trim_silence
from iminet_viz.imitator.batch import SETTINGS, TABLE
from iminet_viz.models import AlignedNet, JointNet, Searcher, Siamese, TLIminet
from iminet_viz.training import claim_run, export, initialise, remove_run, versions
from iminet_viz.trials import require_searchable

ROLES = ("imitation", "recording")


@dataclasses.dataclass(frozen=True)
class Alterations:
    """How far a clip is altered each time that training draws it; uniform within the ranges unless said otherwise."""

    tempo: tuple[float, float] = (0.8, 1.25)  # log-uniform
    warp: float = 0.15  # deviation of the log of the tempo from quarter to quarter of a clip
    shift_bands: float = 4.0  # of 64 bands, either way; of fewer or more bands in proportion
    equalizer_db: float = 5.0  # deviation of five gains over the bands
    tilt_db: float = 6.0  # from the lowest to the highest band, either way
    floor_db: tuple[float, float] = (35.0, 80.0)
    trim_db: tuple[float, float] = (10.0, 30.0)  # of a network that sees trimmed clips
    silence: float = 0.15  # share of the length, at most, that is left silent at either end
    probability: float = 0.3  # that a clip is altered at all: an imitation differs enough from its sound as it is

    def __post_init__(self) -> None:
        for name in ("tempo", "floor_db", "trim_db"):
            low, high = getattr(self, name)
            object.__setattr__(self, name, (low, high))  # JSON has lists
            if not 0 < low <= high:
                raise TrainingError(f"{name} {low}, {high} in the recipe, expected two rising numbers above 0")
        for name in ("warp", "shift_bands", "equalizer_db", "tilt_db"):
            if not 0 <= getattr(self, name) < math.inf:
                raise TrainingError(f"{name} {getattr(self, name)} in the recipe, expected a number of at least 0")
        for name in ("silence", "probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingError(f"{name} {getattr(self, name)} in the recipe, expected 0 to 1")


@dataclasses.dataclass(frozen=True)
class ContrastiveRecipe:
    """Everything that decides a training besides the sounds."""

    seed: int = 0
    epochs: int = 8  # each draws every sound once, with one of its imitations
    batch_size: int = 48
    learning_rate: float = 2e-3  # the peak of one cycle
    weight_decay: float = 1e-2
    altered: float = 0.0  # share of the queries that are altered copies of their sound instead of imitations
    within_category: bool = False  # whether an imitation competes only with the sounds of its category
    precision: str = "32"  # or "bf16": towers run about four times faster on processors that have it
    alterations: Alterations = dataclasses.field(default_factory=Alterations)

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise TrainingError(f"{name} {value!r} in the recipe, expected a whole number of at least {least}")
        if not 0 < self.learning_rate < math.inf or not 0 <= self.weight_decay < math.inf:
            raise TrainingError(
                f"learning_rate {self.learning_rate}, weight_decay {self.weight_decay} in the recipe, expected numbers "
                "above 0 and of at least 0"
            )
        if not 0 <= self.altered <= 1:
            raise TrainingError(f"altered {self.altered} in the recipe, expected 0 to 1")
        if self.precision not in ("bf16", "32"):
            raise TrainingError(f"precision {self.precision!r} in the recipe, expected bf16 or 32")


# Chosen by recordings of people (benchmarks/transfer.py); figures on synthesised imitations do not predict them.
RECIPES = {
    "aligned": ContrastiveRecipe(epochs=14, learning_rate=1e-3, alterations=Alterations(probability=0.5)),
    "tl-iminet": ContrastiveRecipe(precision="bf16"),
}


def recipe_from_dict(values: Mapping[str, Any]) -> ContrastiveRecipe:
    """Read a recipe, its alterations in it or beside it.

    Raises:
        TrainingError: a key is unknown, or a value impossible.
    """
    own = {field.name for field in dataclasses.fields(ContrastiveRecipe)}
    of_alterations = {field.name for field in dataclasses.fields(Alterations)}
    values = dict(values)
    alterations = values.pop("alterations", {})
    if not isinstance(alterations, Mapping):
        raise TrainingError(f"alterations {alterations!r} in the recipe, expected an object")
    alterations = dict(alterations)
    alterations |= {key: values.pop(key) for key in of_alterations & set(values)}
    if unknown := sorted((set(values) - own) | (set(alterations) - of_alterations)):
        legal = ", ".join(sorted((own - {"alterations"}) | of_alterations))
        raise TrainingError(f"unknown keys in the recipe: {', '.join(unknown)}; legal are {legal}")
    try:
        return ContrastiveRecipe(**values, alterations=Alterations(**alterations))
    except (TypeError, ValueError) as error:  # a word for a number, one number for a range
        raise TrainingError(f"recipe: {error}") from None


@dataclasses.dataclass(frozen=True)
class TrainingSound:
    """A sound and its imitations, as spectrograms ``(bands, frames)`` in dB below their maximum.

    ``copy`` is the sound as the imitation side sees it, which altered copies are made of. Sounds of one ``chain`` may
    be right answers for each other's imitations, so none is a negative of another.
    """

    recording: np.ndarray
    copy: np.ndarray
    imitations: tuple[np.ndarray, ...] = ()
    category: str = ""
    chain: str = ""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Inputs of one side: ``(clips, 1, bands, frames)``, and the clips' durations in seconds, ``(clips,)``."""

    inputs: Tensor
    duration_s: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(self.inputs.to(device), self.duration_s.to(device))


class View(Protocol):
    """What training and search must know of a network."""

    def sample_rate(self, role: str) -> int:
        """Rate of the waveforms that a side wants, in Hz."""

    def spectrogram(self, waveform: np.ndarray, role: str) -> np.ndarray:
        """``(samples,)`` to what is kept of a clip, ``(bands, frames)`` in dB below its maximum."""

    def batch(
        self,
        clips: Sequence[np.ndarray],
        role: str,
        rng: np.random.Generator | None = None,
        alterations: Alterations | None = None,
    ) -> Batch:
        """Kept spectrograms to inputs of a side, altered at random where a generator is given."""

    def grid(self, network: nn.Module, imitations: Batch, recordings: Batch) -> Tensor:
        """Scores of all pairs, to be trained by: ``(imitations, recordings)``."""

    def search(
        self, network: nn.Module, imitations: Sequence[np.ndarray], recordings: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Scores of all pairs of kept spectrograms, to be searched by."""


class AlignedView:
    """The aligned net's: trimmed clips of any length, stretched to a fixed number of frames."""

    def __init__(self, config: MelFramesConfig = MEL_FRAMES) -> None:
        self.config = config

    def sample_rate(self, role: str) -> int:
        """16 kHz on both sides."""
        return self.config.sample_rate

    def spectrogram(self, waveform: np.ndarray, role: str) -> np.ndarray:
        """Log-mel of the whole clip, before trimming."""
        return mel_decibels(waveform, self.config)

    def batch(
        self,
        clips: Sequence[np.ndarray],
        role: str,
        rng: np.random.Generator | None = None,
        alterations: Alterations | None = None,
    ) -> Batch:
        """Trim, condition, stretch; altered before trimming."""
        config = self.config
        inputs, durations = [], []
        for db in clips:
            trim_db, before, after = config.trim_db, 0, 0
            if rng is not None and alterations is not None and rng.random() < alterations.probability:
                db = alter(db, rng, alterations, config.top_db)
                trim_db = rng.uniform(*alterations.trim_db)
                silence = rng.uniform(0, alterations.silence, 2) * (rng.random(2) < 0.3)
                before, after = (int(share * db.shape[1]) for share in silence)
            db = np.pad(trim_frames(db, trim_db), ((0, 0), (before, after)), constant_values=db.min())
            frames = condition_frames(db, config)
            inputs.append(resample_frames(frames.values, config.n_frames))
            durations.append(frames.duration_s)
        return Batch(torch.from_numpy(np.stack(inputs))[:, None], torch.tensor(durations))

    def grid(self, network: nn.Module, imitations: Batch, recordings: Batch) -> Tensor:
        """Soft-max interaction of frames; one pass for both sides."""
        assert isinstance(network, AlignedNet)
        frames = network.embed(torch.cat([imitations.inputs, recordings.inputs])).float()
        query, candidate = frames.split([len(imitations.inputs), len(recordings.inputs)])
        return network.interact(query, candidate, imitations.duration_s, recordings.duration_s)

    @torch.no_grad()
    def search(
        self, network: nn.Module, imitations: Sequence[np.ndarray], recordings: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Dynamic time warping of frames, for each way to cut either clip; the best counts."""
        assert isinstance(network, AlignedNet)
        sides = []
        for role, clips in zip(ROLES, (imitations, recordings), strict=True):
            cuts = [
                AlignedView(dataclasses.replace(self.config, trim_db=db)).batch(clips, role) for db in TRIMS_DB[role]
            ]
            sides.append([(network.embed(cut.inputs), cut.duration_s) for cut in cuts])
        pairs = itertools.product(*sides)
        return np.max([network.align(query, own, query_s, own_s) for (query, query_s), (own, own_s) in pairs], axis=0)


class TowerView:
    """A Siamese net's: a window of fixed length on each side, by default with silence cut and the floor raised.

    ``configs`` are the ``FRONTENDS`` of the network, TL-IMINET's if none are given. ``trim_db=None, floor_db=80`` is
    the paper's front end. A flattened grid wants both sides to start at the same frame, and recordings of people start
    with breath and a click: cut at 30 dB MRR on people is .13, at 17 dB .15.
    """

    def __init__(
        self,
        trim_db: float | None = 17.0,
        floor_db: float = 45.0,
        configs: Mapping[str, FrontEndConfig] | None = None,
    ) -> None:
        self.trim_db, self.floor_db = trim_db, floor_db
        self.configs = configs or TLIminet.FRONTENDS
        self.frontends: dict[str, FrontEnd] = {role: make_frontend(config) for role, config in self.configs.items()}

    def sample_rate(self, role: str) -> int:
        """16 or 44.1 kHz."""
        return self.configs[role].sample_rate

    @torch.no_grad()
    def spectrogram(self, waveform: np.ndarray, role: str) -> np.ndarray:
        """Log-mel (constant-Q) of the window, floored at 80 dB."""
        config = self.configs[role]
        if self.trim_db is not None:
            waveform = trim_silence(waveform, config.sample_rate, self.trim_db)
        return self.frontends[role].decibels(torch.from_numpy(fit_length(waveform, config.n_samples))[None])[0].numpy()

    def batch(
        self,
        clips: Sequence[np.ndarray],
        role: str,
        rng: np.random.Generator | None = None,
        alterations: Alterations | None = None,
    ) -> Batch:
        """Floor and standardise; altered before."""
        frames = self.configs[role].n_frames
        inputs = []
        for db in clips:
            floor, before = self.floor_db, 0
            if rng is not None and alterations is not None and rng.random() < alterations.probability:
                db = alter(db, rng, alterations, 80.0)
                floor = min(rng.uniform(*alterations.floor_db), self.floor_db)
                before = int(rng.uniform(0, alterations.silence) * frames * (rng.random() < 0.5))
            db = np.pad(db, ((0, 0), (before, frames)), constant_values=-80.0)[:, :frames]
            inputs.append(np.maximum(db, -floor))
        x = standardize(torch.from_numpy(np.stack(inputs).astype(np.float32)))[:, None]
        return Batch(x.contiguous(memory_format=torch.channels_last), torch.ones(len(x)))

    def grid(self, network: nn.Module, imitations: Batch, recordings: Batch) -> Tensor:
        """Logits of all pairs from the two halves of fc1."""
        assert isinstance(network, Siamese)
        query, candidate = network.query_half(imitations.inputs), network.candidate_half(recordings.inputs)
        return network.score_halves(query.float(), candidate.float())

    @torch.no_grad()
    def search(
        self, network: nn.Module, imitations: Sequence[np.ndarray], recordings: Sequence[np.ndarray]
    ) -> np.ndarray:
        """As in training, a few clips at a time: feature maps of hundreds would fill the memory."""
        assert isinstance(network, Searcher)
        query = torch.cat([network.query_half(x) for x in self.batch(imitations, "imitation").inputs.split(32)])
        candidate = torch.cat([network.candidate_half(x) for x in self.batch(recordings, "recording").inputs.split(32)])
        return network.score_halves(query, candidate).numpy()


def alter(db: np.ndarray, rng: np.random.Generator, alterations: Alterations, top_db: float) -> np.ndarray:
    """Alter a clip by its spectrogram: pitch, tone, tempo, noise floor.

    Shape:
        ``(bands, frames)`` in dB below the maximum to ``(bands, other frames)``, the same.
    """
    bands, frames = db.shape
    shift = rng.uniform(-1, 1) * alterations.shift_bands * bands / 64
    db = _interpolate(db.T, np.arange(bands) - shift).T
    points = rng.normal(0, alterations.equalizer_db, 5)
    tilt = rng.uniform(-0.5, 0.5) * alterations.tilt_db * np.linspace(-1, 1, bands)
    db = db + (np.interp(np.linspace(0, 4, bands), np.arange(5), points) + tilt)[:, None].astype(np.float32)
    # a position in the clip for each frame of the altered one, at a tempo that drifts around its mean
    low, high = np.log(alterations.tempo)
    speed = np.exp(np.interp(np.linspace(0, 4, frames), np.arange(5), rng.normal(0, alterations.warp, 5)))
    longer = max(2, round(frames / math.exp(rng.uniform(low, high))))
    passed = np.concatenate([[0], np.cumsum(speed[:-1] + speed[1:])]) if frames > 1 else np.zeros(1)
    position = np.interp(np.linspace(0, passed[-1], longer), passed, np.arange(frames))
    db = _interpolate(db.T, position).T
    return np.maximum(db - db.max(), -min(rng.uniform(*alterations.floor_db), top_db))


def _interpolate(rows: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Rows at fractional positions, the first and the last held beyond the ends."""
    position = position.clip(0, len(rows) - 1)
    below = np.minimum(position.astype(int), max(len(rows) - 2, 0))
    above = np.minimum(below + 1, len(rows) - 1)
    share = (position - below).astype(np.float32)[:, None]
    return rows[below] * (1 - share) + rows[above] * share


def softmax_loss(scores: Tensor) -> Tensor:
    """Cross-entropy of each imitation's own sound among the batch, and of each sound's own imitation.

    Shape:
        ``(batch, batch)``, pairs on the diagonal, to a number; scores that tell nothing give ``log(batch)``.
    """
    own = torch.arange(len(scores), device=scores.device)
    return 0.5 * (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own))


def train_contrastive(
    network: nn.Module,
    view: View,
    sounds: Sequence[TrainingSound],
    recipe: ContrastiveRecipe,
    report: Callable[[int, float], None] | None = None,
    checkpoint: Path | None = None,
) -> list[float]:
    """Train a network in place, where it is; the same network, sounds and recipe give the same weights.

    A batch never holds a sound twice, so no sound is its own negative. ``report`` is called with the number of the
    epoch and its mean loss. With a ``checkpoint`` each epoch is kept there, and a training that finds one continues it,
    to the same weights.

    Returns:
        The mean loss of each epoch.

    Raises:
        TrainingError: fewer than two sounds, a sound without the imitations that the recipe asks for, or a loss that
            is not finite.
    """
    if len(sounds) < 2:
        raise TrainingError(f"{len(sounds)} sounds, expected at least two to tell apart")
    if recipe.altered < 1 and (bare := sum(not sound.imitations for sound in sounds)):
        raise TrainingError(f"{bare} of {len(sounds)} sounds have no imitation")
    size = min(recipe.batch_size, len(sounds))
    steps = len(sounds) // size  # the last, smaller batch would be an easier task: its sounds wait for another epoch
    rng = np.random.default_rng((recipe.seed, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * steps)
    losses: list[float] = []
    device = next(network.parameters()).device
    network.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if checkpoint is not None and checkpoint.is_file():
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
            for part, name in ((network, "network"), (optimizer, "optimizer"), (schedule, "schedule")):
                part.load_state_dict(state[name])
            torch.set_rng_state(state["torch"])
            rng.bit_generator.state = json.loads(state["rng"])
            losses = state["losses"]
        for epoch in range(len(losses), recipe.epochs):
            total = 0.0
            order = rng.permutation(len(sounds))[: steps * size].reshape(steps, size)
            for indices in order:
                drawn = [sounds[index] for index in indices]
                queries = [_draw_query(sound, recipe.altered, rng) for sound in drawn]
                imitations = view.batch(queries, "imitation", rng, recipe.alterations).to(device)
                recordings = view.batch([s.recording for s in drawn], "recording", rng, recipe.alterations).to(device)
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                    scores = view.grid(network, imitations, recordings)
                scores = scores.masked_fill(_masked(drawn, recipe.within_category).to(device), -torch.inf)
                loss = softmax_loss(scores.float())
                if not torch.isfinite(loss):
                    raise TrainingError(f"the loss is {loss.item()} in epoch {epoch}, lower the learning rate")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item()
            losses.append(total / steps)
            if checkpoint is not None:
                state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses}
                state |= {"schedule": schedule.state_dict(), "torch": torch.get_rng_state()}
                with atomic_path(checkpoint) as path:
                    torch.save({**state, "rng": json.dumps(rng.bit_generator.state)}, path)
            if report is not None:
                report(epoch, losses[-1])
    network.eval()
    return losses


def _masked(sounds: Sequence[TrainingSound], within_category: bool) -> Tensor:
    """Pairs that are no negatives: sounds of one chain, and, if so wanted, of different categories.

    Shape:
        ``(sounds, sounds)`` bool.
    """
    chain, category = (np.array([getattr(sound, name) for sound in sounds]) for name in ("chain", "category"))
    masked = (chain[:, None] == chain) & (chain != "") & ~np.eye(len(sounds), dtype=bool)
    if within_category:
        masked |= category[:, None] != category
    return torch.from_numpy(masked)


def _draw_query(sound: TrainingSound, altered: float, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < altered:
        return sound.copy
    return sound.imitations[rng.integers(len(sound.imitations))]


def chance_loss(sounds: Sequence[TrainingSound], recipe: ContrastiveRecipe) -> float:
    """Loss of scores that tell nothing: mean logarithm of how many sounds an imitation chooses from in a batch."""
    rng = np.random.default_rng((recipe.seed, 2))
    size = min(recipe.batch_size, len(sounds))
    logs = []
    for _ in range(64):
        drawn = [sounds[index] for index in rng.permutation(len(sounds))[:size]]
        logs.append((~_masked(drawn, recipe.within_category)).sum(dim=1).double().log().mean().item())
    return float(np.mean(logs))


def read_sounds(
    pairs: Sequence[Pair], view: AlignedView, report: Callable[[str, int, int], None] | None = None
) -> list[TrainingSound]:
    """Read recordings and their imitations for training; each file is decoded once for each side that it stands on.

    Of long files the first 30 s are heard, as in search.

    Args:
        pairs: an imitation may have several recordings, a recording several imitations.
        view: what is kept of a clip; it sees both sides alike.
        report: called with what is counted, how many are done, and how many there are.

    Raises:
        AudioError: a file cannot be read.
    """
    kept: dict[tuple[str, Path], np.ndarray] = {}
    files = list(dict.fromkeys((role, getattr(pair, role)) for pair in pairs for role in ROLES))
    for number, (role, path) in enumerate(files, start=1):
        rate = view.sample_rate(role)
        kept[role, path] = view.spectrogram(load_audio(path, rate)[: round(HEARD_S * rate)], role)
        if report is not None:
            report("files read", number, len(files))
    own: dict[Path, list[Pair]] = {}
    for pair in pairs:
        own.setdefault(pair.recording, []).append(pair)
    sounds = []
    for path, rows in own.items():
        recording = kept["recording", path]
        imitations = tuple(kept["imitation", row.imitation] for row in rows)
        sounds.append(TrainingSound(recording, recording, imitations, rows[0].category, rows[0].chain))
    return sounds


def train_aligned(
    recipe: ContrastiveRecipe,
    data: Path,
    out: Path,
    sources: Mapping[str, str] | None = None,
    device: str = "cpu",
    resume: bool = False,
    force: bool = False,
    report: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Train the aligned net on a table of imitations and recordings, for example that of ``iminet-viz imitate``.

    Args:
        recipe: how.
        data: the table, or the folder that holds ``pairs.csv``.
        out: the run; the model appears in ``out/model``.
        sources: licence of each source of the sounds, for the card.
        device: of the training.
        resume: continue from the last whole epoch.
        force: replace a run that is there, once nothing is wrong with the new one.
        report: called with what is counted, how many are done, and how many there are.

    Returns:
        The metrics written to ``metrics.json``: the mean loss of the last epoch, and chance.

    Raises:
        DatasetError: the table is refused, has fewer than two recordings, or joins all of them by common imitations.
        AudioError: a file cannot be read.
        CheckpointError: all imitations, or all recordings, are silent.
        TrainingError: as for :func:`train_contrastive`; the folder holds another run, there is none to resume, or it
            has another recipe or other sounds.
    """
    pairs = pairs_table.load(data)
    require_searchable(pairs, data)
    if len({pair.chain for pair in pairs}) < 2:
        raise DatasetError(
            f"{data}: imitations with several right answers join all recordings, so none is wrong for any imitation"
        )
    stored = out / "recipe.json"
    if stored.exists() and not (force or resume):
        claim_run(stored, recipe, resume, out)  # refuses, before a minute of reading
    view = AlignedView()
    sounds = read_sounds(pairs, view, report)
    statistics = {
        "imitation": DbStatistics.of(imitation for sound in sounds for imitation in sound.imitations),
        "recording": DbStatistics.of(sound.recording for sound in sounds),
    }
    fingerprint = _fingerprint(sounds)
    if force and not resume:
        remove_run(out)
    claim_run(stored, recipe, resume, out)
    if not resume:
        write_json(out / "data.json", {"fingerprint": fingerprint})
    elif read_json(out / "data.json").get("fingerprint") != fingerprint:
        raise TrainingError(f"{out}: cannot resume, the run there learns from other sounds than {data} names")
    network = initialise(AlignedNet, recipe.seed).to(device)

    def told(epoch: int, loss: float) -> None:
        if report is not None:
            report(f"epochs, loss {loss:.3f}", epoch + 1, recipe.epochs)

    losses = train_contrastive(network, view, sounds, recipe, told, out / "checkpoints" / "last.pt")
    write_json(out / "losses.json", {"train": losses})
    imitations = len({pair.imitation for pair in pairs})
    table = data / TABLE if data.is_dir() else data
    by = " made by iminet-viz imitate" if table.name == TABLE and (table.parent / SETTINGS).is_file() else ""
    about = f"{imitations:,} imitations{by} of {len(sounds):,} sounds"
    facts: dict[str, Any] = {"name": pairs_table.NAME, "licence": pairs_table.LICENCE}
    if sources:
        about += f" from {len(sources)} sources"
        facts |= {"licence": "that of each source", "sources": dict(sources)}
    facts |= {"about": about, "sounds": len(sounds), "imitations": imitations, "fingerprint": fingerprint}
    metrics = {"run": {"epochs": recipe.epochs, "train_loss": losses[-1], "chance_loss": chance_loss(sounds, recipe)}}
    export(out / "model", network.cpu().eval(), statistics, recipe, facts, metrics)
    return metrics


def join_aligned(
    models: Sequence[TrainedModel],
    data: Path,
    out: Path,
    force: bool = False,
    report: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Join aligned nets that differ in their seed to one, and write it as a model folder.

    Args:
        models: trained in the same way.
        data: folder of sounds, whose frames decide which values are kept; use those of the training.
        out: the model folder.
        force: replace what is there.
        report: called with what is counted, how many are done, and how many there are.

    Returns:
        The metrics written: the share of the joined frames' variance that is kept.

    Raises:
        AudioError: the folder holds no sound.
        CheckpointError: a model is no aligned net, they were trained in different ways, or ``out`` exists.
    """
    if not models or not all(isinstance(model.network, AlignedNet) for model in models):
        raise CheckpointError("expected aligned nets to join, at least one")
    first = models[0].config
    ways = [(model.config["data"], {**model.config["recipe"], "seed": 0}) for model in models]
    if any(way != ways[0] for way in ways):
        raise CheckpointError("the nets to join were trained in different ways; only their seeds may differ")
    if out.exists() and not force:
        raise CheckpointError(f"{out}: exists; --force replaces it")
    rate = MEL_FRAMES.sample_rate
    clips, left_out = [], []
    files = find_audio(data)
    for number, path in enumerate(files, start=1):
        try:
            clips.append(stretched_cuts(load_audio(path, rate)[: round(HEARD_S * rate)], "recording"))
        except AudioError:
            left_out.append(path)
        if report is not None:
            report("files read", number, len(files))
    if not clips:
        raise AudioError(f"{data}: no sound in it can be read")
    inputs = torch.from_numpy(np.concatenate(clips)[:, :-1]).unflatten(1, (1, MEL_FRAMES.n_mels, MEL_FRAMES.n_frames))
    members = [model.network for model in models if isinstance(model.network, AlignedNet)]
    try:
        network = JointNet.of(members, inputs)
    except ValueError as error:
        raise CheckpointError(f"cannot join: {error}") from None
    config = {
        "recipe": first["recipe"],
        "data": first["data"],
        "joined": {"seeds": [model.config["recipe"]["seed"] for model in models], "sounds": len(clips)},
        "versions": versions(),
    }
    metrics = {"join": {"variance_kept": network.variance_kept(inputs), "left_out": len(left_out)}}
    save_model(out, network, models[0].db_statistics, config, metrics)
    write_card(out)
    return metrics


def _fingerprint(sounds: Sequence[TrainingSound]) -> str:
    """Hash of what a training hears, in order."""
    digest = hashlib.sha256()
    for sound in sounds:
        for clip in (sound.recording, *sound.imitations):
            digest.update(clip.tobytes())
        digest.update(f"{sound.category}/{sound.chain == ''}".encode())
    return digest.hexdigest()[:16]


def find_leaks(
    sounds: Sequence[np.ndarray], tests: Sequence[np.ndarray], threshold: float = 0.35
) -> list[tuple[int, int, float]]:
    """Find the sounds that are, or hold, or are held in, a test sound: by normalised cross-correlation.

    At every lag the shorter of two is compared with what it covers of the longer (which is padded with half of the
    shorter at both ends), so a cut, a shift and a gain hide nothing; the sign is ignored. Two notes correlate too, at
    many lags: a recording stands out from the other lags (``PROMINENCE``). So do two clicks, at their peak: a
    recording correlates all along (``CONSISTENCY``).

    Args:
        sounds: waveforms, each ``(samples,)``, all at one rate (4 kHz is enough).
        tests: the same, at the same rate.
        threshold: least correlation that counts as the same recording. Lossy copies of noise go down to 0.38.

    Returns:
        ``(index of the sound, index of the test sound it is most like, correlation)`` of each sound to leave out.
    """
    # differenced, since the lowest partials say least
    steps = [[np.diff(x.astype(np.float32), prepend=np.float32(0)) for x in side] for side in (sounds, tests)]
    totals = [[np.cumsum(np.concatenate([[0.0], np.square(x, dtype=np.float64)])) for x in side] for side in steps]
    spectra: dict[tuple[int, int], np.ndarray] = {}  # of the tests, by number and length of the transform
    leaks = []
    for index, (own, own_total) in enumerate(zip(steps[0], totals[0], strict=True)):
        own_spectra: dict[int, np.ndarray] = {}
        best, which = 0.0, -1
        for number, (other, other_total) in enumerate(zip(steps[1], totals[1], strict=True)):
            shorter, longer = sorted((len(own), len(other)))
            size = 1 << (longer + shorter).bit_length()  # few sizes, so that transforms can be kept
            if size not in own_spectra:
                own_spectra[size] = np.fft.rfft(own, size)
            if (number, size) not in spectra:
                spectra[number, size] = np.fft.rfft(other, size)
            if len(own) <= len(other):
                product = spectra[number, size] * own_spectra[size].conj()
                short, long, short_total, long_total = own, other, own_total, other_total
            else:
                product = own_spectra[size] * spectra[number, size].conj()
                short, long, short_total, long_total = other, own, other_total, own_total
            correlation = np.abs(np.fft.irfft(product, size))  # at each lag, modulo size
            lags = np.arange(-(shorter // 2), longer - shorter + shorter // 2 + 1)
            covered = long_total[(lags + shorter).clip(max=longer)] - long_total[lags.clip(min=0)]
            loud = covered > 0.05 * covered.max()  # where the longer is almost silent a correlation means nothing
            if not short_total[-1] * covered.max() > 0:
                continue
            lags, ratio = lags[loud], correlation[lags[loud]] / np.sqrt(short_total[-1] * covered[loud])
            value = float(ratio.max())
            if (
                value > max(best, threshold)
                and value > min(PROMINENCE * math.sqrt(np.mean(ratio**2)), CERTAIN)
                and _consistency(short, long, int(lags[ratio.argmax()])) > CONSISTENCY * value
            ):
                best, which = value, number
        if which >= 0:
            leaks.append((index, which, best))
    return leaks


# Of 20 segments of ESC-10 clips, both lossy, 19 are found; of 46 pairs of different sounds that correlate, 7 are too.
PROMINENCE = 10.0  # correlation over its root mean square at the other lags, which few pairs of notes reach
CERTAIN = 0.9  # correlation that needs not stand out: clips of a few milliseconds never do
CONSISTENCY = 0.65  # correlation of the third worst eighth of the energy over that of the whole


def _consistency(short: np.ndarray, long: np.ndarray, lag: int) -> float:
    """Third smallest correlation of eight stretches of equal energy, at the lag and with the sign of the whole."""
    start, stop = max(lag, 0), min(lag + len(short), len(long))
    a, b = short[start - lag : stop - lag], long[start:stop]
    energy = np.cumsum(np.square(a, dtype=np.float64))
    edges = np.searchsorted(energy, energy[-1] * np.arange(1, 8) / 8)
    sign = np.sign(np.dot(a, b))
    parts = zip(np.split(a, edges), np.split(b, edges), strict=True)
    values = [float(sign * np.dot(x, y) / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-12)) for x, y in parts]
    return sorted(values)[2]


@torch.no_grad()
def search_scores(
    network: nn.Module, view: View, queries: Sequence[np.ndarray], candidates: Sequence[np.ndarray]
) -> np.ndarray:
    """Scores of all pairs of kept spectrograms: ``(queries, candidates)``, higher is more alike."""
    network.eval()
    return view.search(network, queries, candidates)
