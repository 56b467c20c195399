"""What a pattern proves: measures that travel with it (interpretability: E1 to E8), and what real clips do to neurons.

:data:`MEASURES` says what each means, in words; E7, the clips that excite a neuron most and the histogram of its
activations, is :func:`compare_with_real`.

The activations of all neurons on a set of recordings are computed once and stored, keyed by the model's weights and the
files' content; the numbers are kept, the recordings are not.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from iminet_viz.audio import (
    atomic_path,
    crest_db,
    frame_rate_buzz_db,
    load_audio,
    one_line,
    spectral_flatness,
)
from iminet_viz.checkpoint import TrainedModel
from iminet_viz.errors import AudioError, CheckpointError, PatternError
from iminet_viz.frontends import LogMelConfig, frontend_of, to_mel_power
from iminet_viz.models import Siamese
from iminet_viz.patterns.complexity import pattern_complexity
from iminet_viz.patterns.parameterizations import natural_magnitude
from iminet_viz.shipped import REFERENCES

if TYPE_CHECKING:
    from iminet_viz.patterns.engine import Pattern
    from iminet_viz.patterns.objectives import Term

FILE_NAME = REFERENCES
MAGNITUDE = "magnitude."  # begins the names of mean spectra in that file
AS_ALIKE = 0.9  # what a neuron's own second picture reaches, and hardly another neuron's: figures in stability.py


@dataclasses.dataclass(frozen=True)
class Measure:
    """A measure in words: its unit (``%`` of 1, ``x``, ``dB`` or none), whether more is better, two sentences."""

    label: str
    unit: str
    more_is_better: bool | None
    meaning: str
    pairs_only: bool = False  # of fc1 units, which see two sides


MEASURES = {
    "relu_transfer": Measure(
        "ReLU transfer",
        "%",
        True,
        "Activation on the real network, with ReLUs, over that on the leaky one where the picture was optimised. Far "
        "below 100 % the picture lives on leaks that the real network does not have; above is possible, because "
        "negative values lower the leaky reading.",
    ),
    "alive": Measure(
        "Alive",
        "%",
        True,
        "Share of the neuron's map that is above 0 on the real network; of a single unit 100 % or 0 %. Near 0 the "
        "neuron hardly fires, whatever the picture shows.",
    ),
    "percentile": Measure(
        "Percentile",
        "",
        True,
        "Per cent of the real clips that excite the neuron no more than the picture does. Below 95 ordinary sounds do "
        "better: look at them instead.",
    ),
    "headroom": Measure(
        "Headroom",
        "x",
        True,
        "Activation over the largest one of a real clip. Above 1 no real clip reaches it; far above 1 the picture is "
        "an extreme that the neuron never meets.",
    ),
    "realizability": Measure(
        "Realizability",
        "",
        False,
        "How far the picture's frames are from any sound's spectrum, 0 to 1: neighbouring mel bands share frequencies. "
        "Real clips have 0; above 0.3 no sound has this picture.",
    ),
    "activation_kept": Measure(
        "Activation kept",
        "%",
        True,
        "Activation of the Griffin-Lim sound, heard by the network, over that of the picture. At 100 % one hears what "
        "excites the neuron; below 50 % the sound is hardly the picture.",
    ),
    "direct_kept": Measure(
        "Activation kept, direct",
        "%",
        True,
        "The same of the direct sound. It was raised until it excites the neuron itself, so it may pass 100 %, and it "
        "need not look like the picture.",
    ),
    "log_mel_error_db": Measure(
        "Log-mel error",
        "dB",
        False,
        "Mean difference between the picture and what the front end sees of its sound, in the picture's own dB; level "
        "and contrast, which the front end takes away, are set aside. 0 is a perfect copy; without any likeness it is "
        "about the picture's deviation, some 20 dB.",
    ),
    "crest_db": Measure(
        "Crest factor",
        "dB",
        False,
        "Peak over root mean square of the sound. A sine has 3 dB, speech about 15; clicks have 30 or more.",
    ),
    "stability": Measure(
        "Stability",
        "",
        True,
        "Likeness of the picture to that of another random start, -1 to 1, by their modulation spectra. Near 1 the "
        "picture belongs to the neuron (in fc1 it need not: those of different units are as alike), near 0 to the "
        "start.",
    ),
    "control": Measure(
        "Random-net control",
        "",
        False,
        "Likeness to the most alike of 16 pictures (in a tower's first layer: all) of one network of random weights, "
        "made in the same way. From 0.9 on, as alike as its own second picture, it comes from the architecture, not "
        "from learning; a lower one is no proof, since another random network may have it.",
    ),
    "complexity": Measure(
        "Complexity",
        "",
        None,
        "Over how many octaves of modulation, in time by over frequency, the picture's energy is spread. One grating "
        "has 1, a picture with structure on every scale the most; white noise, all of it fine, has fewer.",
    ),
    "importance": Measure(
        "Importance",
        "",
        True,
        "Mean reciprocal rank that the search loses where the neuron is replaced by its mean. Within two standard "
        "errors of 0, as with most neurons, the others do without it.",
    ),
    "imitation_share": Measure(
        "Imitation's share",
        "%",
        None,
        "Shapley value of the imitation side over what the pair gains above silence; the rest is the recording side's. "
        "Far from 50 % one side does the work; above 100 % the other side lowers the activation.",
        pairs_only=True,
    ),
    "synergy_share": Measure(
        "Synergy",
        "%",
        None,
        "Activation of the pair less what the sides have alone, over that of the pair; before the ReLU, where the unit "
        "is a sum of two halves, it is 0. Below 0 the sides do the same work; above 0 it takes both.",
        pairs_only=True,
    ),
    "swap_kept": Measure(
        "Kept after a swap",
        "%",
        False,
        "Activation that is left where one side is exchanged for that of another unit's pair: mean over both sides and "
        "all other pairs. Near 100 % the side need not be this one.",
        pairs_only=True,
    ),
    "alike_in_time": Measure(
        "Alike in time",
        "",
        None,
        "Correlation of both sides' level over time, in dB. It proves something only beyond what sides of different "
        "pairs have.",
        pairs_only=True,
    ),
    "alike_in_timbre": Measure(
        "Alike in timbre",
        "",
        None,
        "Correlation of both sides' mean spectrum, in dB, where they share frequencies. It proves something only "
        "beyond what sides of different pairs have.",
        pairs_only=True,
    ),
}


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What was measured of a pattern; None is "not measured", or "has no value" (a ratio to 0).

    Of a pair ``complexity`` is the mean of its sides; ``realizability``, ``log_mel_error_db`` and ``crest_db`` are of
    the worse side.
    """

    relu_transfer: float | None = None
    alive: float | None = None
    percentile: float | None = None
    headroom: float | None = None
    realizability: float | None = None
    activation_kept: float | None = None
    direct_kept: float | None = None  # of the direct sound
    log_mel_error_db: float | None = None
    crest_db: float | None = None
    stability: float | None = None
    control: float | None = None
    complexity: float | None = None
    importance: float | None = None
    importance_se: float | None = None  # standard error of ``importance`` over the queries
    # of an fc1 unit's pair, see :class:`iminet_viz.patterns.pair_evidence.PairEvidence`
    imitation_share: float | None = None
    synergy_share: float | None = None
    swap_kept: float | None = None  # needs other pairs
    alike_in_time: float | None = None
    alike_in_timbre: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """All measures by their keys, as JSON values."""
        return dataclasses.asdict(self)

    def warnings(self) -> list[str]:
        """Why the pattern is no evidence, or weak evidence, of what the neuron does in the real network."""
        found = []
        if self.relu_transfer is not None and self.relu_transfer < 0.5:
            found.append(
                f"only {max(self.relu_transfer, 0):.0%} of the activation is left on the real network: the picture "
                "lives on the leaks of the optimisation"
            )
        if self.alive is not None and self.alive < 0.05:
            found.append(f"{self.alive:.0%} of the map is above 0: the neuron hardly fires")
        if self.percentile is not None and self.percentile < 95:
            found.append(
                f"{100 - self.percentile:.0f} % of the real clips excite the neuron more: look at them instead"
            )
        if self.realizability is not None and self.realizability > 0.3:
            found.append(f"no sound has this picture: its nearest is {self.realizability:.0%} away in a typical frame")
        if self.percentile == 100 and self.headroom is None:
            found.append("no real clip excites the neuron at all: nothing shows that it ever responds to one")
        own = AS_ALIKE if self.stability is None else min(self.stability, AS_ALIKE)
        if self.control is not None and self.control >= own:
            found.append(
                f"also found in random nets: one has a picture that is {self.control:.2f} alike, where hardly another "
                f"neuron's reaches {AS_ALIKE} and its own second one has "
                + ("no value" if self.stability is None else f"{self.stability:.2f}")
                + ": it does not prove learning"
            )
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class References:
    """Activations (after the non-linearity) of every neuron of one side on every clip.

    ``values`` holds ``{layer}`` (mean over the map) and ``{layer}.max`` (largest position), each ``(clips, channels)``;
    for fc1 the two halves before their sum, ``query`` and ``candidate``, so that all pairs of clips are known; and,
    where it was measured, ``importance.{layer}``, ``(2, channels)``: see :mod:`iminet_viz.patterns.importance`.
    ``hashes`` are of the clips' bytes; ``importance_of`` says what the importance was measured on.
    ``magnitudes`` holds the mean magnitude spectrum of the clips as each side sees them, scaled to mean 0 and deviation
    1, ``{role: (bands, frames // 2 + 1)}``: the phase parameterisation draws with it.
    ``sounds`` says how the clips themselves sound to each side that hears log-mels: ``n`` clips that are not silent,
    and 5 %, median and 95 % of their ``crest_db``, ``buzz_db`` and ``flatness``, to set the sounds of patterns beside.
    """

    fingerprint: str
    clips: tuple[str, ...]
    hashes: tuple[str, ...]
    values: dict[str, np.ndarray]
    importance_of: str = ""
    magnitudes: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    sounds: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def of(self, pattern: Pattern) -> np.ndarray | None:
        """Activations of a pattern's neuron on all clips (all pairs for fc1); None for sums and directions.

        Returns:
            ``(clips,)``, or ``(clips, clips)``: imitation by recording.
        """
        term = single_term(pattern)
        if term is None:
            return None
        if term.layer == "fc1":
            if "query" not in self.values:
                return None
            return np.maximum(
                self.values["query"][:, term.channel, None] + self.values["candidate"][None, :, term.channel], 0
            )
        key = term.layer if term.position is None else f"{term.layer}.max"
        return self.values[key][:, term.channel] if key in self.values else None

    def activity(self, layer: str) -> np.ndarray | None:
        """Activations that the neurons of a layer are compared by, None where none are known.

        Returns:
            ``(clips, channels)``, means over the map; of fc1 ``(4 * clips, units)``: each clip as imitation with itself
            and the next three as recording, always the same pairs, whatever the model.
        """
        if layer != "fc1":
            return self.values.get(layer)
        if "query" not in self.values:
            return None
        query, candidate = self.values["query"], self.values["candidate"]
        return np.concatenate([np.maximum(query + np.roll(candidate, shift, axis=0), 0) for shift in range(4)])

    def importance(self, pattern: Pattern) -> tuple[float, float] | None:
        """MRR lost without the pattern's neuron, and its standard error; None where it was not measured."""
        term = single_term(pattern)
        stored = None if term is None else self.values.get(f"importance.{term.layer}")
        if term is None or stored is None:
            return None
        return float(stored[0, term.channel]), float(stored[1, term.channel])

    def with_importance_of(self, other: References | None) -> References:
        """The same with another's importance, where it was measured on the same weights: clips do not change it."""
        if other is None or not other.importance_of or other.fingerprint != self.fingerprint:
            return self
        measured = {key: value for key, value in other.values.items() if key.startswith("importance.")}
        return dataclasses.replace(self, values={**self.values, **measured}, importance_of=other.importance_of)


def single_term(pattern: Pattern) -> Term | None:
    """The term of a pattern that is of one neuron; None for sums and directions."""
    terms = pattern.objective.terms
    return None if len(terms) > 1 or terms[0].direction is not None or terms[0].weight != 1 else terms[0]


@torch.no_grad()
def compute_references(
    model: TrainedModel,
    files: Sequence[tuple[str, Path]],
    report: Callable[[int, int], None] | None = None,
    failed: list[tuple[str, str]] | None = None,
    known: References | None = None,
) -> References:
    """Run every clip through every tower; a recording goes through the imitation tower too.

    Args:
        model: any model with towers.
        files: name and path of each clip; the names are kept.
        report: called with clips done and clips in all.
        failed: collects name and reason of files that cannot be read; without it they raise.
        known: of the same weights: what it holds of files of the same content is taken over. Where these are the same
            files altogether, none is decoded.

    Raises:
        AudioError: a file cannot be read and ``failed`` is not given, or none can.
    """
    if known is not None and (names_now := _all_known(known, model, files)) is not None:
        if report:
            report(len(files), len(files))
        return dataclasses.replace(known, clips=names_now)
    rows: list[dict[str, np.ndarray]] = []
    spectra: dict[str, torch.Tensor] = {}
    sounding: dict[str, list[tuple[float, float, float]]] = {}
    names, hashes = [], []
    known_rows = {}
    if known is not None and known.fingerprint == model.fingerprint:
        known_rows = {digest: row for row, digest in enumerate(known.hashes)}
    for done, (name, path) in enumerate(files, start=1):
        try:
            digest = _hash_file(path)
            windows = {role: _load_window(model, role, path) for role in model.frontends}
        except AudioError as error:
            if failed is None:
                raise
            failed.append((name, str(error)))
        else:
            names.append(name)
            hashes.append(digest)
            inputs = {role: _as_input(model, role, window) for role, window in windows.items()}
            for role, x in inputs.items():
                spectra[role] = spectra.get(role, 0) + torch.fft.rfft2(x[0, 0].double()).abs().cpu()
                config = model.frontends[role].config
                if isinstance(config, LogMelConfig) and windows[role].any():
                    sounding.setdefault(role, []).append(_sound_measures(windows[role], config))
            row = known_rows.get(digest)
            if known is not None and row is not None:
                rows.append({key: v[row] for key, v in known.values.items() if not key.startswith("importance.")})
            else:
                rows.append(_activations(model, inputs))
        if report:
            report(done, len(files))
    if not names:
        raise AudioError("none of the reference clips could be read")
    values = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    magnitudes = {
        role: natural_magnitude(total, model.frontends[role].config.shape).float().numpy()
        for role, total in spectra.items()
    }
    sounds = {role: _describe_sounds(measured) for role, measured in sounding.items()}
    return References(model.fingerprint, tuple(names), tuple(hashes), values, magnitudes=magnitudes, sounds=sounds)


SOUND_MEASURES = ("crest_db", "buzz_db", "flatness")


def _sound_measures(window: np.ndarray, config: LogMelConfig) -> tuple[float, float, float]:
    rate = config.sample_rate
    return (
        crest_db(window),
        frame_rate_buzz_db(window, rate, rate / config.hop_length),
        spectral_flatness(window, rate, config.fmax),
    )


def _describe_sounds(measured: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    spread = np.percentile(np.array(measured), [5, 50, 95], axis=0).T
    return {"n": len(measured)} | {
        name: [float(f"{value:.4g}") for value in row] for name, row in zip(SOUND_MEASURES, spread, strict=True)
    }


def _all_known(known: References, model: TrainedModel, files: Sequence[tuple[str, Path]]) -> tuple[str, ...] | None:
    """The names of the files if they are those of ``known``, in its order; else None."""
    if known.fingerprint != model.fingerprint or len(files) != len(known.hashes):
        return None
    if not known.sounds and any(isinstance(of.config, LogMelConfig) for of in model.frontends.values()):
        return None  # written before sounds were measured
    try:
        same = all(_hash_file(path) == digest for (_, path), digest in zip(files, known.hashes, strict=True))
    except AudioError:  # which the caller reports
        return None
    return tuple(name for name, _ in files) if same else None


@torch.no_grad()
def load_input(model: TrainedModel, role: str, path: Path) -> torch.Tensor:
    """What a tower gets of a sound file: ``(1, 1, bands, frames)``, standardised.

    Raises:
        AudioError: the file cannot be read.
    """
    return _as_input(model, role, _load_window(model, role, path))


def _load_window(model: TrainedModel, role: str, path: Path) -> np.ndarray:
    frontend = model.frontends[role]
    return frontend.fit(load_audio(path, frontend.config.sample_rate))


def _as_input(model: TrainedModel, role: str, window: np.ndarray) -> torch.Tensor:
    return model.frontends[role](torch.from_numpy(window)[None].to(model.device))


def _activations(model: TrainedModel, inputs: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """What one clip does to every neuron: ``{key of References.values: (channels,)}``."""
    network = model.network
    found: dict[str, np.ndarray] = {}
    for role, x in inputs.items():
        for layer in network.layers:
            if network.inputs_of(layer) == (role,) and not layer.startswith("fc"):
                maps = network.activate(layer, network.preactivation(layer, **{role: x}))[0].flatten(1)
                found[layer] = maps.mean(dim=1).cpu().numpy()
                found[f"{layer}.max"] = maps.amax(dim=1).cpu().numpy()
        if isinstance(network, Siamese):
            half = network.query_half(x) if role == "imitation" else network.candidate_half(x)
            found["query" if role == "imitation" else "candidate"] = half[0].cpu().numpy()
    return found


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise AudioError(f"{one_line(path)}: {(error.strerror or str(error)).lower()}") from None


def save_references(path: Path, references: References) -> None:
    """Write activations and clip names; whole or not at all."""
    from safetensors.numpy import save_file

    # one entry: safetensors writes several in any order, and the same activations shall give the same bytes
    facts = {name: getattr(references, name) for name in ("fingerprint", "clips", "hashes", "importance_of", "sounds")}
    header = {"references": json.dumps(facts)}
    magnitudes = {f"{MAGNITUDE}{role}": values for role, values in references.magnitudes.items()}
    # in the order of memory: safetensors writes a transposed array's buffer as it lies
    values = {name: np.ascontiguousarray(array) for name, array in {**references.values, **magnitudes}.items()}
    with atomic_path(path) as temporary:
        save_file(values, temporary, metadata=header)


def load_references(path: Path, model: TrainedModel) -> References:
    """Read stored activations.

    Raises:
        CheckpointError: the file is missing, damaged, or belongs to other weights.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; iminet-viz reference makes it")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            values = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        facts = json.loads(header["references"])
        magnitudes = {key[len(MAGNITUDE) :]: values.pop(key) for key in list(values) if key.startswith(MAGNITUDE)}
        references = References(
            facts["fingerprint"],
            tuple(facts["clips"]),
            tuple(facts["hashes"]),
            values,
            facts["importance_of"],
            magnitudes,
            facts.get("sounds", {}),  # older files have none
        )
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path}: no reference activations of this version ({error}); iminet-viz reference makes it anew"
        ) from None
    if references.fingerprint != model.fingerprint:
        raise CheckpointError(
            f"{path}: belongs to other weights than {model.name}'s; iminet-viz reference makes it anew"
        )
    return references


def stored_references(model: TrainedModel) -> References | None:
    """Reference activations kept in a model's own folder, if there are any; raises as :func:`load_references`."""
    path = model.folder / FILE_NAME if model.folder else None
    return load_references(path, model) if path and path.is_file() else None


def measure(pattern: Pattern, references: References | None) -> Evidence:
    """Add to a pattern's evidence what needs neither sound nor another pattern: E2, E3, E6 and E8.

    Args:
        pattern: its own evidence is kept.
        references: of the pattern's model; without them there is no E2 and no E8.
    """
    real = None if references is None else compare_with_real(pattern, references, n_top=0)
    importance = None if references is None else references.importance(pattern)
    distances = [
        realizability(values, config, pattern.db_statistics[role].mean_db, pattern.db_statistics[role].std_db)
        for role, values in pattern.inputs.items()
        if isinstance(config := pattern.frontends[role], LogMelConfig)
    ]
    spread = [side.octave_cells for side in pattern_complexity(pattern).values()]
    return dataclasses.replace(
        pattern.evidence,
        complexity=float(np.mean(spread)),
        percentile=real["percentile"] if real else None,
        headroom=real["headroom"] if real else None,
        realizability=max(distances, default=None),
        importance=importance[0] if importance else None,
        importance_se=importance[1] if importance else None,
    )


def realizability(pattern: np.ndarray, config: LogMelConfig, mean_db: float, std_db: float) -> float:
    """How far a pattern is from any sound's mel spectrum, 0 to 1 (evidence E3).

    Per frame the least ``norm(B s - m) / norm(m)`` over power spectra ``s >= 0``, ``B`` the mel basis and ``m`` the
    frame's mel power; the median over the frames that are not wholly at the floor, at most 64, evenly spread.
    Neighbouring bands share frequencies, so not every picture is a sound's. 0 if all frames are at the floor.

    Raises:
        FrontEndError: as for :func:`iminet_viz.frontends.to_mel_power`.
    """
    from scipy.optimize import nnls

    mel_power = to_mel_power(pattern, config, mean_db, std_db)
    rays = _extreme_rays(config)
    heard = mel_power[:, mel_power.max(axis=0) > 1.001 * 10 ** (-config.top_db / 10)]
    heard = heard[:, np.unique(np.linspace(0, heard.shape[1] - 1, min(64, heard.shape[1])).round().astype(int))]
    distances = [nnls(rays, frame / np.linalg.norm(frame))[1] for frame in heard.T]
    return float(np.median(distances)) if distances else 0.0


@functools.lru_cache(maxsize=8)
def _extreme_rays(config: LogMelConfig) -> np.ndarray:
    """Columns of the mel basis, of unit length, that alone span the cone of all mel spectra: ``(bands, columns)``.

    A frequency touches two neighbouring bands at most. Of those that touch the same two, all lie between the one that
    gives most to the lower and the one that gives most to the upper.
    """
    basis = frontend_of(config).mel_basis.double().numpy()
    alike: dict[tuple[int, ...], list[int]] = {}
    for column, weights in enumerate(basis.T):
        alike.setdefault(tuple(np.flatnonzero(weights)), []).append(column)
    kept: set[int] = set()
    for bands, columns in alike.items():
        if len(bands) == 2:
            ratio = basis[bands[0], columns] / basis[bands[1], columns]
            kept |= {columns[int(ratio.argmin())], columns[int(ratio.argmax())]}
        elif len(bands) == 1:
            kept.add(columns[0])
        elif bands:
            kept |= set(columns)
    rays = basis[:, sorted(kept)]
    return rays / np.linalg.norm(rays, axis=0)


def stored_magnitudes(model: TrainedModel, roles: Sequence[str]) -> dict[str, np.ndarray]:
    """Mean magnitude spectra of real clips in a model's own folder, ``{role: (bands, frames // 2 + 1)}``.

    They do not depend on the weights: :func:`iminet_viz.checkpoint.untrained_like` draws the patterns of
    random weights with a model's.

    Raises:
        PatternError: there are none.
    """
    from safetensors import SafetensorError, safe_open

    path = model.folder / FILE_NAME if model.folder else None
    try:
        if path is None:
            raise FileNotFoundError
        with safe_open(path, framework="numpy") as file:
            found = {role: file.get_tensor(f"{MAGNITUDE}{role}") for role in roles}
    except (SafetensorError, OSError):
        raise PatternError(
            f"{model.name} has no mean spectrum of real clips, which the phase parameterization draws with; "
            f"iminet-viz reference {model.name} FOLDER... makes it"
        ) from None
    return found


def compare_with_real(
    pattern: Pattern, references: References, n_top: int = 3, bins: int = 20
) -> dict[str, Any] | None:
    """Where a pattern stands among real clips: E2 and E7, as JSON values; None where the neuron has no reference.

    ``percentile`` is the share of clips (pairs) that excite the neuron no more than the pattern; ``headroom`` the
    pattern's activation over the largest real one; ``top`` the clips (pairs) that excite the neuron most, of those that
    excite it at all.
    """
    real = references.of(pattern)
    if real is None:
        return None
    flat = real.ravel()
    largest = float(flat.max())
    own = pattern.activation
    counts, edges = np.histogram(flat, bins=bins, range=(0.0, max(largest, own, 1e-9)))
    if real.ndim == 2:
        # the strongest pair, then the strongest with other clips, so that one loud clip does not fill the list
        left = real.copy()
        top: list[dict[str, Any]] = []
        for _ in range(min(n_top, len(references.clips))):
            i, k = np.unravel_index(int(left.argmax()), left.shape)
            if left[i, k] <= 0:
                break
            names = {"imitation": references.clips[i], "recording": references.clips[k]}
            top.append({**names, "activation": float(real[i, k])})
            left[i, :] = left[:, k] = -np.inf
    else:
        role = next(iter(pattern.inputs))
        order = np.argsort(-real, kind="stable")[:n_top]
        top = [{"clip": references.clips[i], "role": role, "activation": float(real[i])} for i in order if real[i] > 0]
    return {
        "clips": len(flat),  # or pairs of clips
        "max": largest,
        "percentile": float(100 * (flat <= own).mean()),
        "headroom": own / largest if largest > 0 else None,
        "exceeds": own > largest,
        "histogram": {"edges": [float(f"{edge:.6g}") for edge in edges], "counts": [int(count) for count in counts]},
        "top": top,
    }


def match_neurons(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair the neurons of two models by the correlation of their activations on the same clips (Hungarian method).

    Args:
        a: ``(clips, channels)`` of one model.
        b: the same of the other, same clips in the same order.

    Returns:
        ``(channels,)`` twin of each neuron of ``a`` in ``b``, -1 where ``b`` has too few, and ``(channels,)`` their
        correlation. A neuron that is constant on all clips, such as a dead one, has no twin and is none: -1 and 0.
    """
    from scipy.optimize import linear_sum_assignment

    live = [np.flatnonzero(np.ptp(values, axis=0) > 0) for values in (a, b)]
    correlation = unit_columns(a[:, live[0]]).T @ unit_columns(b[:, live[1]])
    rows, columns = linear_sum_assignment(correlation, maximize=True)
    twins, matched = np.full(a.shape[1], -1), np.zeros(a.shape[1])
    twins[live[0][rows]], matched[live[0][rows]] = live[1][columns], correlation[rows, columns]
    return twins, matched


def unit_columns(values: np.ndarray) -> np.ndarray:
    """Columns less their mean, of length 1, so that products are correlations; a constant one becomes zeros."""
    centred = values - values.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(centred, axis=0)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-12)
