"""Galleries of patterns: pictures, sounds, arrays and evidence in a folder that opens without a server.

::

    DIR/index.html                            the page; everything it shows is embedded or beside it
    DIR/manifest.json                         all entries, figures, settings; written last
    DIR/figures/figure7.png ...               the paper's layout
    DIR/entries/MODEL/LAYER/NEURON/           pattern.png, {role}.flac, {role}.direct.flac, {role}.npy, pattern.json
    DIR/exemplars/, DIR/references/           top real clips, and what all clips do to all neurons: only where a folder
                                              of recordings was given

A build that was interrupted goes on where it stopped; the same settings give the same bytes on the same machine.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
import os
import queue
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

from iminet_viz.assessment import GRIFFIN_LIM, Assessment, AssessSettings, assess_many
from iminet_viz.audio import atomic_path, crest_db, find_audio, fit_length, load_audio, read_native, save_audio
from iminet_viz.checkpoint import DbStatistics, TrainedModel, load_model, read_json, write_json
from iminet_viz.errors import AudioError, CheckpointError, GalleryError, IminetVizError
from iminet_viz.frontends import LogMelConfig, config_from_dict, config_to_dict
from iminet_viz.pages import fill_page
from iminet_viz.patterns import evidence, objectives
from iminet_viz.patterns.complexity import pattern_complexity
from iminet_viz.patterns.engine import EngineConfig, Pattern, activation_of, maximize_many
from iminet_viz.patterns.evidence import Evidence
from iminet_viz.patterns.objectives import Objective, Term
from iminet_viz.patterns.pair_evidence import is_pair, study_pairs
from iminet_viz.patterns.stability import Textures, make_control
from iminet_viz.plotting import plot_pairs, plot_pattern, plot_spectrogram, plot_tower, save_figure
from iminet_viz.sonification import PatternSound

FORMAT = 3  # 1 had no evidence beside relu_transfer and alive, 2 none of pairs
TRACE_POINTS = 64
AT_ONCE = 16  # patterns that are optimised together: a build that was killed loses so many a thread at most
DRAWING = threading.Lock()  # fonts and colour maps are one for all threads
SHOWN = 4  # of a layer in the figures, where all neurons have an entry

Progress = Callable[[str, int, int], None]  # what is being made, entries done, entries in all


@dataclasses.dataclass(frozen=True)
class GallerySettings:
    """All that decides a gallery besides the models' weights and the recordings."""

    models: tuple[str, ...]
    neurons: int | None = 4  # of a layer; None: all
    seed: int = 0
    engine: EngineConfig = dataclasses.field(default_factory=EngineConfig)
    assess: AssessSettings = dataclasses.field(default_factory=AssessSettings)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> GallerySettings:
        """Read the ``settings`` of a manifest.

        Raises:
            GalleryError: a key is unknown or missing.
        """
        names = {field.name for field in dataclasses.fields(GallerySettings)}
        if unknown := sorted(set(values) - names):
            raise GalleryError(f"the settings of the manifest hold unknown keys: {', '.join(unknown)}")
        try:
            return GallerySettings(
                models=tuple(values["models"]),
                neurons=values["neurons"],
                seed=values["seed"],
                engine=EngineConfig(**values["engine"]),
                assess=AssessSettings.from_dict(values["assess"]),
            )
        except (KeyError, TypeError) as error:
            raise GalleryError(f"the settings of the manifest do not fit this version ({error})") from None


def build(
    settings: GallerySettings,
    out: Path,
    exemplars: Path | None = None,
    device: str = "cpu",
    force: bool = False,
    progress: Progress | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Make the gallery of Figures 7, 8 and 9 for some models.

    The first model's neurons are drawn at random (seeded) from those that respond to real clips at all; every other
    model shows their twins: neurons matched one to one so that the sum of the correlations of activations on the same
    clips is largest. A single pair may still correlate little or below 0; the correlation is shown with it.

    Args:
        settings: models, neurons per layer, seed, engine and sound.
        out: folder to make; an interrupted build there is continued.
        exemplars: folder of recordings; the clips that excite each neuron most are copied into the gallery, and
            evidence is computed on this folder instead of the reference stored with the model.
        device: where to optimise.
        force: replace what is in ``out``.
        progress: called as the build goes on, from this thread.
        workers: threads; by default one a core, four at most, and one on a GPU. The gallery does not depend on it.

    Returns:
        The manifest.

    Raises:
        GalleryError: ``out`` holds a finished gallery or something else, or no model has a layer to show.
    """
    if not settings.models:
        raise GalleryError("no model was given")
    if settings.neurons is not None and settings.neurons < 1:
        raise GalleryError(f"{settings.neurons} neurons per layer were asked for, expected at least 1")
    models, unfit = [], []
    for name in settings.models:
        model = load_model(name, device)
        if all(isinstance(frontend.config, LogMelConfig) for frontend in model.frontends.values()):
            models.append(model)
        else:
            reason = "its inputs are no log-mel, so a gallery has no sounds of it; see maximize"
            unfit.append({"id": model.name, "reason": reason})
    if not models:
        raise GalleryError(f"{unfit[0]['id']}: {unfit[0]['reason']}")
    names = [model.name for model in models]
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise GalleryError(f"two models are called {doubles[0]}; rename one of the folders")
    # refuses an empty folder before anything is made or removed
    clips = None if exemplars is None else [(str(x.relative_to(exemplars)), x) for x in find_audio(exemplars)]
    _claim(out, force)
    unreadable: list[dict[str, str]] = []
    references = {model.name: _references(model, clips, out, unreadable) for model in models}
    chosen = choose_neurons(models, references, settings)
    total = sum(len(neurons) for by_layer in chosen.values() for neurons in by_layer.values())
    work = _Work(settings, out, exemplars, references, total, progress)
    if workers is None:
        workers = 1 if models[0].device.type != "cpu" else min(os.cpu_count() or 1, 4)
    patterns = _make_entries(work, models, chosen, workers)
    figures = _draw_figures(patterns, out)
    stored = {f"references/{model.name}.safetensors" for model in models if exemplars}
    _remove_strangers(out, work.entries, stored)
    manifest = {
        "format": FORMAT,
        "title": f"What {' and '.join(names)} listen{'s' * (len(models) == 1)} for",
        "command": "iminet-viz gallery build --manifest manifest.json --out DIR"
        + (" --exemplars FOLDER" * bool(exemplars)),
        "settings": dataclasses.asdict(settings),
        "models": [{"name": model.name, "fingerprint": model.fingerprint} for model in models],
        "reference": _describe(references[models[0].name], exemplars, models[0]),
        "references": {name: _hash(out / name) for name in sorted(stored)},
        "measures": {key: dataclasses.asdict(measure) for key, measure in evidence.MEASURES.items()},
        "figures": figures,
        "failed": unfit + unreadable + work.failed,
        "entries": work.entries,
    }
    write_json(out / "manifest.json", manifest)
    _write_page(out, manifest)
    shutil.rmtree(out / ".work", ignore_errors=True)
    return manifest


@dataclasses.dataclass
class _Work:
    """A build that is going on."""

    settings: GallerySettings
    out: Path
    exemplars: Path | None
    references: Mapping[str, evidence.References | None]
    total: int
    progress: Progress | None
    done: int = 0
    stopped: bool = False
    entries: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    failed: list[dict[str, str]] = dataclasses.field(default_factory=list)
    news: queue.SimpleQueue[tuple[str, int]] = dataclasses.field(default_factory=queue.SimpleQueue)

    def tell(self, what: str, done: int = 0) -> None:
        """Say from any thread what is going on and how many entries were finished; ends the thread of a stopped build.

        Raises:
            _StoppedError: the build was interrupted.
        """
        self.news.put((what, done))
        if self.stopped:
            raise _StoppedError

    def show(self) -> None:
        """Report what the threads said."""
        while not self.news.empty():
            what, done = self.news.get()
            self.done += done
            if self.progress:
                self.progress(what, self.done, self.total)


class _StoppedError(Exception):
    """Ends the threads of an interrupted build."""


def choose_neurons(
    models: Sequence[TrainedModel], references: Mapping[str, evidence.References | None], settings: GallerySettings
) -> dict[str, dict[str, list[tuple[int, dict[str, Any] | None]]]]:
    """Choose ``{model: {layer: [(neuron, twin)]}}``; a twin names the other model's entry and the correlation."""
    first = models[0]
    chosen: dict[str, dict[str, list[tuple[int, dict[str, Any] | None]]]] = {model.name: {} for model in models}
    for place, layer in enumerate(first.network.layers):
        channels = first.network.n_channels(layer)
        of_model = {m.name: references[m.name] for m in models}
        activity = {name: stored.activity(layer) if stored else None for name, stored in of_model.items()}
        own = activity[first.name]
        matched = {
            other.name: evidence.match_neurons(own, theirs)
            for other in models[1:]
            if layer in other.network.layers
            and own is not None
            and (theirs := activity[other.name]) is not None
            and _clips(references[first.name]) == _clips(references[other.name])
        }
        neurons = list(range(channels))
        if settings.neurons is not None:
            alive = np.arange(channels)
            if own is not None and (own.max(axis=0) > 0).any():
                alive = np.flatnonzero(own.max(axis=0) > 0)
            for twins, _ in matched.values():
                if (twins[alive] >= 0).any():
                    alive = alive[twins[alive] >= 0]
            rng = np.random.default_rng((settings.seed, place))
            neurons = sorted(int(n) for n in rng.choice(alive, size=min(settings.neurons, len(alive)), replace=False))
        own_pairs: list[tuple[int, dict[str, Any] | None]] = [(neuron, None) for neuron in neurons]
        chosen[first.name][layer] = own_pairs
        for other in models[1:]:
            if layer not in other.network.layers:
                continue
            if other.name not in matched:
                chosen[other.name][layer] = [
                    (neuron, None) for neuron in neurons if neuron < other.network.n_channels(layer)
                ]
                continue
            twins, correlation = matched[other.name]
            pairs: list[tuple[int, dict[str, Any] | None]] = []
            for index, neuron in enumerate(neurons):
                if twins[neuron] < 0:
                    continue
                value = round(float(correlation[neuron]), 4)
                pairs.append((int(twins[neuron]), {"id": f"{first.name}/{layer}/{neuron}", "correlation": value}))
                if other is models[1]:
                    twin = {"id": f"{other.name}/{layer}/{int(twins[neuron])}", "correlation": value}
                    own_pairs[index] = (neuron, twin)
            if settings.neurons is None:  # every neuron, also those that are nobody's twin
                rest = set(range(other.network.n_channels(layer))) - {neuron for neuron, _ in pairs}
                pairs += [(neuron, None) for neuron in sorted(rest)]
            chosen[other.name][layer] = pairs
    return chosen


def _clips(references: evidence.References | None) -> tuple[str, ...]:
    return references.clips if references else ()


def write_entry(
    folder: Path,
    assessed: Assessment,
    references: evidence.References | None = None,
    extra: Mapping[str, Any] | None = None,
    exemplars: tuple[TrainedModel, Path, Path] | None = None,
) -> dict[str, Any]:
    """Write a pattern's picture, sounds, arrays and, last, ``pattern.json``.

    Args:
        folder: made if missing.
        assessed: what to write.
        references: real clips that it was compared with.
        extra: further keys of the entry.
        exemplars: the model, the folder of the recordings and the root of the gallery: the top clips are copied there.

    Returns:
        The entry as written.
    """
    pattern = assessed.pattern
    picture = folder / "pattern.png"
    (folder / "pattern.json").unlink(missing_ok=True)  # of other settings: it must not stand beside these files
    with DRAWING:
        save_figure(picture, plot_pattern(pattern))
    sides: dict[str, Any] = {}
    for role, values in pattern.inputs.items():
        with atomic_path(folder / f"{role}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, values.astype(np.float16), allow_pickle=False)
        config, level = pattern.frontends[role], pattern.db_statistics[role]
        sides[role] = {
            "array": f"{role}.npy",
            "bands": config.shape[0],
            "frames": config.shape[1],
            "duration_s": round(config.duration_s, 4),
            "mean_db": level.mean_db,
            "std_db": level.std_db,
            "sounds": {method: _write_sound(folder, role, sound) for method, sound in assessed.sounds.items()},
            "real_sounds": references.sounds.get(role) if references else None,
        }
    real = evidence.compare_with_real(pattern, references) if references else None
    if real and exemplars:
        _copy_exemplars(real["top"], *exemplars)
    trace = pattern.trace[np.linspace(0, len(pattern.trace) - 1, min(len(pattern.trace), TRACE_POINTS)).astype(int)]
    term = pattern.objective.terms[0]
    simple = len(pattern.objective.terms) == 1 and term.direction is None
    kind = "fc_unit" if term.layer == "fc1" else "unit" if term.position else "channel"
    entry = {
        "id": f"{pattern.model}/{pattern.layer}/{pattern.neuron}",
        "model": pattern.model,
        "fingerprint": pattern.fingerprint,
        "layer": pattern.layer,
        "neuron": pattern.neuron,
        "kind": kind if simple else "sum" if term.direction is None else "direction",
        "objective": str(pattern.objective),
        "terms": [dataclasses.asdict(part) for part in pattern.objective.terms],
        "seed": pattern.seed,
        "engine": dataclasses.asdict(pattern.config),
        "activation": pattern.activation,
        "activation_leaky": pattern.activation_leaky,
        "evidence": pattern.evidence.as_dict(),
        "complexity": {role: side.as_dict() for role, side in pattern_complexity(pattern).items()},
        "pair": assessed.pair.as_dict() if assessed.pair else None,
        "warnings": pattern.evidence.warnings(),
        "converged": pattern.converged,
        "steps": len(pattern.trace),
        "trace": [round(float(value), 5) for value in trace],
        "reference": real,
        "frontends": {role: config_to_dict(config) for role, config in pattern.frontends.items()},
        "inputs": sides,
        "picture": picture.name,
        "picture_size": list(_png_size(picture)),
        **(extra or {}),
    }
    sounds = [sound["file"] for side in sides.values() for sound in side["sounds"].values()]
    names = [picture.name, *(side["array"] for side in sides.values()), *sounds]
    entry["files"] = {name: _hash(folder / name) for name in names}
    write_json(folder / "pattern.json", entry)
    return entry


def _write_sound(folder: Path, role: str, sound: PatternSound) -> dict[str, Any]:
    """Write one side of a sound; returns its numbers."""
    name = f"{role}.flac" if sound.method == GRIFFIN_LIM else f"{role}.{sound.method}.flac"
    save_audio(folder / name, sound.waveforms[role], sound.sample_rate[role])
    numbers = ("sample_rate", "gain", "crest_db", "buzz_db", "flatness", "log_mel_error_db")
    return {
        "file": name,
        "activation": sound.activation,
        "activation_kept": sound.activation_kept,
        **{key: getattr(sound, key)[role] for key in numbers},
        "settings": dict(sound.settings),
    }


def read_pattern(folder: Path) -> Pattern:
    """Read a pattern back from its entry.

    Raises:
        GalleryError: a file is missing or damaged.
    """
    try:
        entry = read_json(folder / "pattern.json")
        terms = tuple(
            Term(
                term["layer"],
                term["channel"],
                tuple(term["position"]) if term["position"] else None,
                tuple(term["direction"]) if term["direction"] else None,
                term["weight"],
            )
            for term in entry["terms"]
        )
        inputs = {
            role: _read_array(folder / side["array"]).astype(np.float32) for role, side in entry["inputs"].items()
        }
        frontends = {role: config_from_dict(values) for role, values in entry["frontends"].items()}
        for role, values in inputs.items():
            if values.shape != frontends[role].shape or not np.isfinite(values).all():
                raise GalleryError(f"{folder}: {role}.npy is not a finite array of {frontends[role].shape}")
        return Pattern(
            model=entry["model"],
            fingerprint=entry["fingerprint"],
            objective=Objective(terms),
            seed=entry["seed"],
            inputs=inputs,
            frontends=frontends,
            db_statistics={
                role: DbStatistics(side["mean_db"], side["std_db"]) for role, side in entry["inputs"].items()
            },
            config=EngineConfig(**entry["engine"]),
            activation=entry["activation"],
            activation_leaky=entry["activation_leaky"],
            trace=np.asarray(entry["trace"], np.float32),
            converged=entry["converged"],
            evidence=Evidence(**entry["evidence"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OSError, EOFError, IminetVizError) as error:
        raise GalleryError(f"{folder}: not a whole entry ({error})") from None


def _read_array(path: Path) -> np.ndarray:
    """Read a plain .npy; never an archive, never a pickle."""
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def verify(folder: Path, models: Mapping[str, TrainedModel] | None = None) -> list[str]:
    """Check a gallery: every file's hash, every activation computed anew, every sound decoded, the page's data.

    Args:
        folder: of ``manifest.json``.
        models: to use instead of the shipped ones, by name.

    Returns:
        One sentence for each fault; an empty list means that the gallery is whole.

    Raises:
        GalleryError: there is no manifest to check.
    """
    try:
        manifest = read_json(folder / "manifest.json")
        entries, figures = list(manifest["entries"]), list(manifest["figures"])
        sources = list(zip(manifest["settings"]["models"], manifest["models"], strict=True))
        fingerprints = {item["name"]: item["fingerprint"] for _, item in sources}
    except (CheckpointError, KeyError, TypeError, ValueError) as error:
        raise GalleryError(f"{folder}: no gallery to verify ({error})") from None
    faults: list[str] = []
    if manifest.get("format") != FORMAT:
        faults.append(f"manifest.json: format {manifest.get('format')!r}, this version reads {FORMAT}")
    loaded: dict[str, TrainedModel] = {}
    for source, item in sources:
        name = item["name"]
        try:
            loaded[name] = models[name] if models else load_model(source)
        except (CheckpointError, KeyError) as error:
            faults.append(f"model {name}: {error}")
            continue
        if loaded[name].fingerprint != fingerprints[name]:
            faults.append(f"model {name}: its weights are not those that the gallery was made with")
            del loaded[name]
    references = {name: evidence.stored_references(model) for name, model in loaded.items()}
    pairs: dict[str, list[Mapping[str, Any]]] = {}
    damaged: set[str] = set()  # models whose pairs are not all there: the others have other numbers without them
    for name, digest in manifest.get("references", {}).items():
        of = loaded.get(Path(name).stem)
        if of is not None and not _check_file(folder, name, digest):
            references[of.name] = evidence.load_references(folder / name, of)
    expected: dict[str, str | None] = {"manifest.json": None, "index.html": None}  # name: hash, if one is known
    expected.update(manifest.get("references", {}))
    for number, figure in enumerate(figures):
        try:
            expected[figure["file"]] = figure["sha256"]
        except (KeyError, TypeError) as error:
            faults.append(f"figure {number}: not a whole figure ({error!r})")
    for number, entry in enumerate(entries):
        try:
            home = entry["folder"]
            if not (folder / home).resolve().is_relative_to(folder.resolve()):
                faults.append(f"{entry['id']}: its folder {home} is outside the gallery")
                continue
            expected[f"{home}/pattern.json"] = None
            expected.update({f"{home}/{name}": digest for name, digest in entry["files"].items()})
            copies = _exemplar_files(entry)
            expected.update(copies)
            if unlisted := sorted(_exemplar_names(entry) - set(copies)):
                faults.append(f"{entry['id']}: {unlisted[0]} is outside the gallery's own exemplars")
            whole = all(not _check_file(folder, f"{home}/{name}", digest) for name, digest in entry["files"].items())
            if whole and not _check_file(folder, f"{home}/pattern.json", None):
                model = loaded.get(entry["model"])
                faults += _check_entry(folder / home, entry, model, references.get(entry["model"]))
                if entry["layer"] == "fc1" and len(entry["inputs"]) > 1:
                    pairs.setdefault(entry["model"], []).append(entry)
            else:
                damaged.add(entry["model"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            faults.append(f"entry {number}: not a whole entry ({error!r})")
    for name in sorted((pairs.keys() & loaded.keys()) - damaged):
        faults += _check_pairs(folder, pairs[name], loaded[name])
    for name, digest in sorted(expected.items()):
        faults += _check_file(folder, name, digest)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    faults += [
        f"{name}: is not in the manifest"
        for name in sorted(present - set(expected) - {"README.md"})
        if not name.startswith("comparison/")
    ]
    page = folder / "index.html"
    if page.is_file() and _page(manifest).encode() != page.read_bytes():
        faults.append("index.html: does not show this manifest")
    return faults


def _check_reference(entry: Mapping[str, Any], pattern: Pattern, references: evidence.References | None) -> list[str]:
    """Compare the pattern and its sounds with the stored reference again, if that is what they were compared with."""
    if references is None:
        return []
    for role, side in entry["inputs"].items():
        if not _agree(side["real_sounds"], references.sounds.get(role), 1.0):
            return [f"{entry['id']}: the stored reference says otherwise than the manifest how real clips sound"]
    stated = entry["reference"]
    again = evidence.compare_with_real(pattern, references)
    if stated is None or again is None or any(clip.get("files") for clip in stated["top"]):
        return []
    agrees = again["exceeds"] == stated["exceeds"] and again["clips"] == stated["clips"]
    if agrees and np.isclose(again["max"], stated["max"], rtol=1e-3, atol=1e-5):
        return []
    return [f"{entry['id']}: the stored reference says otherwise than the manifest about the real clips"]


def _check_pairs(folder: Path, entries: Sequence[Mapping[str, Any]], model: TrainedModel) -> list[str]:
    """Study the whole pairs of a model again."""
    faults = []
    try:
        patterns = [read_pattern(folder / entry["folder"]) for entry in entries]
        for entry, pair in zip(entries, study_pairs(model, patterns).pairs, strict=True):
            scale = max(1.0, pair.activation)
            same = _agree(entry["pair"], pair.as_dict(), scale) and all(
                _agree(entry["evidence"].get(key), value, 1.0) for key, value in pair.measures().items()
            )
            if not same:
                faults.append(f"{entry['id']}: studied again, its pair gives other values than the manifest")
    except (IminetVizError, KeyError, TypeError, AttributeError, ValueError) as error:
        faults.append(f"{model.name}: its pairs cannot be studied again ({error})")
    return faults


def _agree(stated: Any, again: Any, scale: float) -> bool:
    """Are they the same values, but for the last digits of another processor?"""
    if isinstance(again, list):
        return isinstance(stated, list) and all(_agree(*both, scale) for both in zip(stated, again, strict=True))
    if isinstance(again, dict):
        return (
            isinstance(stated, dict)
            and stated.keys() == again.keys()
            and all(_agree(stated[key], again[key], scale) for key in again)
        )
    return stated is again if again is None or stated is None else bool(abs(stated - again) <= 1e-3 * scale)


def _check_entry(
    home: Path, entry: Mapping[str, Any], model: TrainedModel | None, references: evidence.References | None
) -> list[str]:
    where = entry["id"]
    try:
        stored = read_json(home / "pattern.json")
        pattern = read_pattern(home)
    except IminetVizError as error:
        return [f"{where}: {error}"]
    faults = []
    if {**stored, "folder": entry["folder"]} != entry:
        faults.append(f"{where}: pattern.json and manifest.json differ")
    for role, side in entry["inputs"].items():
        config = pattern.frontends[role]
        for sound in side["sounds"].values():
            try:
                waveform, rate = read_native(home / sound["file"])
            except AudioError as error:
                faults.append(f"{where}: {error}")
                continue
            name, crest = sound["file"], crest_db(waveform)
            if rate != config.sample_rate or len(waveform) != config.n_samples:
                faults.append(f"{where}: {name} has {len(waveform)} samples at {rate} Hz, expected {config.n_samples}")
            elif abs(crest - sound["crest_db"]) > 0.1:
                faults.append(f"{where}: {name} has crest {crest:.1f} dB, not {sound['crest_db']:.1f}")
    if model is not None:
        # another processor may round differently: one part in a thousand
        again = activation_of(model, pattern.objective, pattern.inputs)
        if not np.isclose(again, entry["activation"], rtol=1e-3, atol=1e-5):
            faults.append(f"{where}: its activation is {again:.5f}, the manifest says {entry['activation']:.5f}")
        for method, sound in next(iter(entry["inputs"].values()))["sounds"].items():
            files = {role: home / side["sounds"][method]["file"] for role, side in entry["inputs"].items()}
            heard = {role: evidence.load_input(model, role, file)[0, 0].cpu().numpy() for role, file in files.items()}
            again = activation_of(model, pattern.objective, heard)
            if not np.isclose(again, sound["activation"], rtol=1e-2, atol=1e-4):
                faults.append(
                    f"{where}: its {method} sound reaches {again:.5f}, the manifest says {sound['activation']:.5f}"
                )
        faults += _check_reference(entry, pattern, references)
    return faults


def _check_file(folder: Path, name: str, digest: str | None) -> list[str]:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        return [f"{name}: lies outside the gallery"]
    if not path.is_file():
        return [f"{name}: is missing"]
    return [f"{name}: its content has changed"] if digest is not None and _hash(path) != digest else []


def _claim(out: Path, force: bool) -> None:
    """Make the folder ours, or refuse: a finished gallery and strangers' files are only replaced on request."""
    marker = out / ".work"
    if out.exists() and not out.is_dir():
        raise GalleryError(f"{out}: is a file, expected a folder")
    if out.is_dir() and any(out.iterdir()) and not marker.is_dir():
        if not force:
            raise GalleryError(f"{out}: is not empty; --force replaces the gallery in it")
        if not _is_gallery(out):
            raise GalleryError(f"{out}: holds something that is no gallery, it is left alone")
        # what real clips do to the neurons is kept: the same clips and weights give it again, and it takes minutes
        for name in ("entries", "figures", "exemplars"):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("manifest.json", "index.html"):
            (out / name).unlink(missing_ok=True)
    marker.mkdir(parents=True, exist_ok=True)


def _is_gallery(folder: Path) -> bool:
    try:
        manifest = read_json(folder / "manifest.json")
    except IminetVizError:
        return False
    whole = isinstance(manifest.get("format"), int) and isinstance(manifest.get("entries"), list)
    return whole and "settings" in manifest


def _references(
    model: TrainedModel, clips: list[tuple[str, Path]] | None, out: Path, unreadable: list[dict[str, str]]
) -> evidence.References | None:
    """Reference activations of a model: on the exemplars (kept while a build is going on), or those stored with it."""
    if clips is None:
        return evidence.stored_references(model)
    kept = out / "references" / f"{model.name}.safetensors"
    known = None
    with contextlib.suppress(CheckpointError):  # of other weights, or cut off
        known = evidence.load_references(kept, model) if kept.is_file() else None
    failures: list[tuple[str, str]] = []
    references = evidence.compute_references(model, clips, failed=failures, known=known)
    stored = evidence.stored_references(model)
    references = references.with_importance_of(stored)  # measured on pairs, which the folder has none of
    evidence.save_references(kept, references)
    listed = {failure["id"] for failure in unreadable}
    unreadable += [{"id": name, "reason": reason} for name, reason in failures if name not in listed]
    return references


def _describe(
    references: evidence.References | None, exemplars: Path | None, model: TrainedModel
) -> dict[str, Any] | None:
    if references is None:
        return None
    folders = sorted({name.split("/")[0] for name in references.clips if "/" in name})
    source = exemplars.name if exemplars else ", ".join(folders) or model.name
    return {"clips": len(references.clips), "source": source}


def _make_entries(
    work: _Work,
    models: Sequence[TrainedModel],
    chosen: Mapping[str, Mapping[str, Sequence[tuple[int, dict[str, Any] | None]]]],
    workers: int,
) -> dict[str, dict[str, list[Pattern]]]:
    """Make all entries that are not there yet, some at a time, and read the patterns that the figures show."""
    controls: dict[str, list[dict[str, np.ndarray]]] = {}
    jobs: list[tuple[TrainedModel, str, dict[int, tuple[str, dict[str, Any] | None]]]] = []
    keys: dict[str, str] = {}  # by place
    for model in models:
        for layer, neurons in chosen[model.name].items():
            missing = {}
            for neuron, twin in neurons:
                place = _place(model, layer, neuron)
                keys[place] = _key(model, work.settings, work.references[model.name], twin)
                if _finished(work.out / place, keys[place], work.out) is None:
                    missing[neuron] = (keys[place], twin)
            work.done += len(neurons) - len(missing)
            for first in range(0, len(missing), AT_ONCE):
                jobs.append((model, layer, dict(list(missing.items())[first : first + AT_ONCE])))

    # The longest first, so that no thread waits at the end for one that began late: a pair takes twice the time.
    jobs.sort(key=lambda job: -len(job[0].network.inputs_of(job[1])) * len(job[2]))

    def control(model: TrainedModel, layer: str) -> None:
        key = _control_key(model, layer, work.settings)
        work.tell(f"{model.name} {layer}: patterns of a random net")
        controls[key] = _kept_control(work.out / ".work" / f"{key}.safetensors", model, layer, work.settings)

    def entries(model: TrainedModel, layer: str, neurons: dict[int, tuple[str, dict[str, Any] | None]]) -> None:
        _make_some(work, model, layer, neurons, controls.get(_control_key(model, layer, work.settings), ()))

    if work.settings.assess.stability:  # one for all models of one architecture and level
        wanted = {_control_key(model, layer, work.settings): (model, layer) for model, layer, _ in jobs}
        _run(work, control, list(wanted.values()), workers)
    _run(work, entries, jobs, workers)

    def pairs(model: TrainedModel) -> None:
        work.tell(f"{model.name} fc1: pairs against each other")
        places = [work.out / _place(model, "fc1", neuron) for neuron, _ in chosen[model.name].get("fc1", ())]
        _compare_pairs(
            model, [place for place in places if _finished(place, keys[place.relative_to(work.out).as_posix()])]
        )

    _run(work, pairs, [(model,) for model in models], workers)
    patterns: dict[str, dict[str, list[Pattern]]] = {}
    for model in models:
        patterns[model.name] = {}
        for layer, neurons in chosen[model.name].items():
            places = [_place(model, layer, neuron) for neuron, _ in neurons]
            found = {place: _finished(work.out / place, keys[place]) for place in places}
            whole = [{**entry, "folder": place} for place, entry in found.items() if entry is not None]
            work.entries += whole
            shown = whole[: work.settings.neurons or SHOWN]
            patterns[model.name][layer] = [read_pattern(work.out / entry["folder"]) for entry in shown]
    work.failed.sort(key=lambda failure: failure["id"])
    return patterns


def _run(work: _Work, make: Callable[..., None], jobs: Sequence[tuple[Any, ...]], workers: int) -> None:
    """Do the jobs in threads, each with a copy of its network, since optimising swaps parts of it for a while.

    Every job has one core: so the same numbers come out however many there are, and small products do not wait for
    each other.
    """
    own = threading.local()

    def alone(model: TrainedModel, *rest: Any) -> None:
        copies: dict[str, TrainedModel] = own.__dict__.setdefault("models", {})
        if model.name not in copies:
            copies[model.name] = dataclasses.replace(model, network=copy.deepcopy(model.network))
        make(copies[model.name], *rest)

    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            try:
                waiting = {pool.submit(alone, *job) for job in jobs}
                while waiting:
                    finished, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                    work.show()
                    for future in finished:
                        future.result()
            except BaseException:  # also an interruption: what is going on ends before its next entry
                work.stopped = True
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(cores)


def _make_some(
    work: _Work,
    model: TrainedModel,
    layer: str,
    neurons: Mapping[int, tuple[str, dict[str, Any] | None]],
    control: Sequence[Textures],
) -> None:
    """Make some entries of a layer: ``{neuron: (key, twin)}``."""
    settings, references = work.settings, work.references[model.name]
    name = f"{model.name} {layer}"
    failures: list[tuple[Objective, str]] = []

    def report(what: str, done: int, total: int) -> None:
        work.tell(f"{name}: {what}")

    def fail(neuron: int, reason: str) -> None:
        work.failed.append({"id": f"{model.name}/{layer}/{neuron}", "reason": reason})
        work.tell(name, 1)

    wanted = [objectives.channel(layer, neuron) for neuron in neurons]
    work.tell(f"{name}: pictures")
    made = maximize_many(model, wanted, settings.engine, settings.seed, failed=failures)
    for objective, reason in failures:
        fail(objective.terms[0].channel, reason)
    live = []
    for pattern in made:
        dead = _dead(pattern, references)
        if dead is None:
            live.append(pattern)
        else:
            fail(pattern.neuron, dead)

    def judge(some: Sequence[Pattern]) -> list[Assessment]:
        """Gather evidence; where that fails, one by one, so that one fault is one failure."""
        try:
            return assess_many(model, some, settings.assess, references, control, report)
        except IminetVizError as error:
            if len(some) > 1:
                return [found for pattern in some for found in judge([pattern])]
            fail(some[0].neuron, str(error))
            return []

    for one in judge(live) if live else ():
        key, twin = neurons[one.pattern.neuron]
        copies = (model, work.exemplars, work.out) if work.exemplars else None
        place = work.out / _place(model, layer, one.pattern.neuron)
        try:
            write_entry(place, one, references, {"twin": twin, "key": key}, copies)
        except IminetVizError as error:
            fail(one.pattern.neuron, str(error))
        else:
            work.tell(name, 1)


def _compare_pairs(model: TrainedModel, places: Sequence[Path]) -> None:
    """Set a model's pairs against each other; when it was made, each was alone.

    It depends on the stored arrays alone, so an interrupted build comes out the same.
    """
    patterns = {place: pattern for place in places if is_pair(pattern := read_pattern(place))}
    if not patterns:
        return
    study = study_pairs(model, list(patterns.values()))
    for place, pair in zip(patterns, study.pairs, strict=True):
        entry = read_json(place / "pattern.json")
        told = {**entry, "evidence": {**entry["evidence"], **pair.measures()}, "pair": pair.as_dict()}
        if told != entry:
            write_json(place / "pattern.json", told)


def _place(model: TrainedModel, layer: str, neuron: int) -> str:
    return f"entries/{model.name}/{layer}/{neuron}"


def _control_key(model: TrainedModel, layer: str, settings: GallerySettings) -> str:
    """What the patterns of a random net depend on: not on the weights, so models of one architecture share them."""
    facts = f"{layer} {model.network.KIND} {model.network.config} {model.db_statistics} {settings.engine}"
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _kept_control(
    path: Path, model: TrainedModel, layer: str, settings: GallerySettings
) -> list[dict[str, np.ndarray]]:
    """Textures of a random net's patterns; those that a build made before it was killed are read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file, save_file

    with contextlib.suppress(OSError, SafetensorError):  # not made yet, or damaged
        by_role = load_file(path)
        return [dict(zip(by_role, rows, strict=True)) for rows in zip(*by_role.values(), strict=True)]
    made = make_control(model, Term(layer), settings.engine)
    with atomic_path(path) as temporary:
        save_file({role: np.stack([textures[role] for textures in made]) for role in made[0]}, temporary)
    return made


def _dead(pattern: Pattern, references: evidence.References | None) -> str | None:
    """Why there is nothing to show of a neuron, if so."""
    if pattern.activation > 0:
        return None
    real = references.of(pattern) if references else None
    if real is not None and not (real > 0).any():
        return "the neuron is dead: neither a real clip nor the ascent excites it"
    return "the ascent found nothing that excites the neuron on the real network"


def _remove_strangers(out: Path, entries: Sequence[Mapping[str, Any]], references: set[str]) -> None:
    """Delete what a former or interrupted build with other settings left behind, temporary files too."""
    wanted = {f"{entry['folder']}/{name}" for entry in entries for name in (*entry["files"], "pattern.json")}
    wanted |= references.union(*(_exemplar_files(entry) for entry in entries))
    for root in ("entries", "exemplars", "references"):
        for path in sorted((out / root).rglob("*"), reverse=True):
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.relative_to(out).as_posix() not in wanted:
                path.unlink()
        with contextlib.suppress(OSError):  # missing, or not empty
            (out / root).rmdir()


def _exemplar_names(entry: Mapping[str, Any]) -> set[str]:
    """Copied clips and pictures that the page would open."""
    names: set[str] = set()
    for clip in (entry["reference"] or {}).get("top", ()):
        names.update(clip[key] for key in ("sound", "picture") if clip.get(key))
        for key in ("sounds", "pictures"):
            names.update(clip.get(key, ()))
    return names


def _exemplar_files(entry: Mapping[str, Any]) -> dict[str, str]:
    """Name and hash of every copied clip and its picture that an entry shows."""
    found: dict[str, str] = {}
    for clip in (entry["reference"] or {}).get("top", ()):
        found.update(clip.get("files", {}))
    return found


def _key(
    model: TrainedModel,
    settings: GallerySettings,
    references: evidence.References | None,
    twin: dict[str, Any] | None,
) -> str:
    """What an entry depends on; an entry of another key is made anew."""
    facts = {
        "format": FORMAT,
        "fingerprint": model.fingerprint,
        "seed": settings.seed,
        "engine": dataclasses.asdict(settings.engine),
        "assess": dataclasses.asdict(settings.assess),
        "levels": {role: dataclasses.asdict(level) for role, level in model.db_statistics.items()},
        "clips": [references.clips, references.hashes, references.importance_of, references.sounds]
        if references
        else None,
        "twin": twin,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _finished(folder: Path, key: str, gallery: Path | None = None) -> dict[str, Any] | None:
    """The entry of a folder if it is there under this key; within a ``gallery`` its files are looked through too."""
    try:
        entry = read_json(folder / "pattern.json")
        if entry.get("key") != key:
            return None
        if gallery is not None:  # what a kill or a hand left damaged is made anew
            read_pattern(folder)
            listed = {f"{folder.relative_to(gallery)}/{name}": digest for name, digest in entry["files"].items()}
            if any(_check_file(gallery, *item) for item in (listed | _exemplar_files(entry)).items()):
                return None
    except (IminetVizError, KeyError, TypeError, AttributeError):
        return None
    return entry


def _copy_exemplars(top: list[dict[str, Any]], model: TrainedModel, exemplars: Path, out: Path) -> None:
    """Put what the tower hears of each top clip into the gallery, with its picture; names go into ``top``."""
    for clip in top:
        if "clip" in clip:
            names = list(_copy_exemplar(clip["clip"], clip["role"], model, exemplars, out))
            clip["sound"], clip["picture"] = names
        else:
            made = [_copy_exemplar(clip[role], role, model, exemplars, out) for role in ("imitation", "recording")]
            clip["sounds"], clip["pictures"] = [sound for sound, _ in made], [picture for _, picture in made]
            names = [*clip["sounds"], *clip["pictures"]]
        clip["files"] = {name: _hash(out / name) for name in names}


def _copy_exemplar(name: str, role: str, model: TrainedModel, exemplars: Path, out: Path) -> tuple[str, str]:
    config = model.frontends[role].config
    stem = f"exemplars/{hashlib.sha256(f'{role}/{name}'.encode()).hexdigest()[:16]}"
    if not (out / f"{stem}.png").is_file():
        waveform = fit_length(load_audio(exemplars / name, config.sample_rate), config.n_samples)
        peak = float(np.abs(waveform).max())
        save_audio(out / f"{stem}.flac", waveform / max(peak, 1.0), config.sample_rate)
        with torch.no_grad():
            values = model.frontends[role](torch.from_numpy(waveform)[None].to(model.device))[0, 0]
        with DRAWING:
            save_figure(out / f"{stem}.png", plot_spectrogram(values.cpu().numpy(), config, Path(name).name))
    return f"{stem}.flac", f"{stem}.png"


def _draw_figures(patterns: Mapping[str, Mapping[str, Sequence[Pattern]]], out: Path) -> list[dict[str, Any]]:
    """Draw the paper's layout for the towers and pairs that all models have."""
    figures = []
    for number, role in ((7, "imitation"), (8, "recording")):
        columns = {
            name: {layer: found for layer, found in by_layer.items() if layer.startswith(f"{role}.")}
            for name, by_layer in patterns.items()
        }
        columns = {name: by_layer for name, by_layer in columns.items() if by_layer}
        if columns and all(all(by_layer.values()) for by_layer in columns.values()):
            caption = (
                f"Inputs that excite four neurons of each layer of the {role} tower most (the paper's Figure {number})"
            )
            figures.append((number, caption, plot_tower(columns, role, caption)))
    pairs = {name: by_layer["fc1"] for name, by_layer in patterns.items() if by_layer.get("fc1")}
    if pairs and all(len(p.inputs) == 2 for found in pairs.values() for p in found):
        caption = "Pairs of inputs that together excite an fc1 unit most (the paper's Figure 9)"
        figures.append((9, caption, plot_pairs(pairs, caption)))
    described = []
    for number, caption, figure in figures:
        name = f"figures/figure{number}.png"
        save_figure(out / name, figure, dpi=82)
        width, height = _png_size(out / name)
        described.append(
            {"file": name, "caption": caption, "width": width, "height": height, "sha256": _hash(out / name)}
        )
    return described


def _write_page(out: Path, manifest: Mapping[str, Any]) -> None:
    with atomic_path(out / "index.html") as temporary:
        temporary.write_text(_page(manifest), encoding="utf-8")


def _page(manifest: Mapping[str, Any]) -> str:
    """The page with the manifest embedded."""
    return fill_page("gallery_page.html", "__MANIFEST__", manifest)


def _png_size(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[16:24]  # width and height in the IHDR chunk
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
