"""An explanation as a folder: numbers, pictures, sounds and one page that opens from disk.

::

    DIR/index.html             the page
    DIR/explanation.json       all numbers, written last
    DIR/explanation.png        both sides, all ways of asking; of an alignment also paths.png
    DIR/{role}.png             one side alone, as the page shows it
    DIR/{role}.wav             what was heard of the clip
    DIR/{role}-heard.wav       of it, what speaks for the score; missing if nothing does
    DIR/{role}-{map}.npy       what the pictures show, (bands, frames) float32: attribution and occlusion
    DIR/units/NEURON/          patterns of units that the gallery has none of, as a gallery's entries
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from iminet_viz.alignment import AlignedExplanation, hear_alignment
from iminet_viz.assessment import GRIFFIN_LIM, Assessment, AssessSettings, assess_many
from iminet_viz.attribution import Explanation, hear_attribution
from iminet_viz.audio import fit_length, load_audio, one_line, save_audio
from iminet_viz.checkpoint import SHIPPED, TrainedModel, read_json, write_json
from iminet_viz.errors import GalleryError, IminetVizError, PatternError
from iminet_viz.gallery import write_entry
from iminet_viz.pages import fill_page
from iminet_viz.patterns.engine import EngineConfig, maximize_many
from iminet_viz.patterns.objectives import Objective, channel
from iminet_viz.plotting import SIDE_AXES, plot_alignment, plot_explanation, plot_paths, plot_side

ROLES = ("imitation", "recording")
MARK = "explanation.json"
NAMES = (
    MARK,
    "index.html",
    "explanation.png",
    "paths.png",
    *(f"{role}{end}" for role in ROLES for end in (".png", ".wav", "-heard.wav")),
    *(f"{role}-{name}.npy" for role in ROLES for name in ("attribution", "occlusion")),
)
UNITS = "units"
WORK = ".explanation-"  # begins the name of the folder beside them in which they are made
STALE_S = 3600  # writing takes seconds


def shipped_gallery() -> Path | None:
    """The gallery beside the shipped models, if there is one."""
    folder = SHIPPED.parent / "gallery"
    return folder if (folder / "index.html").is_file() else None


def claim_folder(out: Path, files: Mapping[str, str | os.PathLike[str]], force: bool = False) -> None:
    """Check that an explanation can be written to a folder, before the work is done; nothing is changed.

    Args:
        out: folder to make.
        files: by role, the clips that are explained.
        force: replace an explanation that is there.

    Raises:
        GalleryError: it holds an explanation already, or files of these names that are none, or cannot be written to.
    """
    if out.exists() and not out.is_dir():
        raise GalleryError(f"{one_line(out)}: is a file, expected a folder")
    present = [name for name in (*NAMES, UNITS) if (out / name).exists()]
    if present and MARK not in present:
        raise GalleryError(f"{one_line(out)}: holds {present[0]}, which is of no explanation; name another folder")
    if present and not force:
        raise GalleryError(f"{one_line(out)}: holds an explanation already; --force replaces it")
    for path in map(Path, files.values()):
        if path.resolve() in {(out / name).resolve() for name in NAMES}:
            raise GalleryError(f"{one_line(path)}: would be replaced by its own explanation; name another folder")
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise GalleryError(f"{one_line(out)}: cannot be written to")


def write_explanation(
    out: Path,
    explained: Explanation | AlignedExplanation,
    files: Mapping[str, str | os.PathLike[str]],
    asked: str = "",
    gallery: Path | None = None,
    force: bool = False,
    patterns: Sequence[Assessment] = (),
) -> dict[str, Any]:
    """Write the folder of an explanation; what an earlier one left there goes only when all is ready.

    Args:
        out: folder to make.
        explained: what to write.
        files: by role, the clips that were explained.
        asked: name or folder of the model, as commands on the page shall name it.
        gallery: folder of a gallery; units that it has a pattern of are linked.
        force: replace an explanation that is there.
        patterns: of units that the gallery lacks, see :func:`make_patterns`.

    Returns:
        What ``explanation.json`` holds.

    Raises:
        AudioError: a clip cannot be read again.
        GalleryError: as for :func:`claim_folder`.
    """
    claim_folder(out, files, force)
    fresh = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        _remove_stale(out)
        work = Path(tempfile.mkdtemp(dir=out, prefix=WORK))
    except OSError as error:
        raise GalleryError(f"{one_line(out)}: cannot be written to ({error.strerror})") from None
    try:
        figures = _write_files(work, out, explained, files, asked or explained.model, gallery, patterns)
        _replace_units(work / UNITS, out / UNITS)
        for name in (*NAMES[1:], MARK):
            if (work / name).exists():
                (work / name).replace(out / name)
            else:
                (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise GalleryError(f"{one_line(out)}: cannot be written to ({error.strerror})") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if fresh and not any(out.iterdir()):
            out.rmdir()
    return figures


def _remove_stale(out: Path) -> None:
    """Delete what killed processes left here, and nothing that another one may be at work on."""
    for folder in out.glob(f"{WORK}*"):
        if folder.is_dir() and not folder.is_symlink() and time.time() - folder.stat().st_mtime > STALE_S:
            shutil.rmtree(folder, ignore_errors=True)


def _replace_units(made: Path, there: Path) -> None:
    """Put patterns in the place of those of an earlier explanation; whatever else is there stays."""
    for home in there.glob("*"):
        if (home / "pattern.json").is_file():
            shutil.rmtree(home)
    if made.is_dir():
        there.mkdir(exist_ok=True)
        for home in made.iterdir():
            home.replace(there / home.name)
    elif there.is_dir() and not any(there.iterdir()):
        there.rmdir()


def make_patterns(
    model: TrainedModel,
    explained: Explanation,
    known: Collection[int] = (),
    count: int = 6,
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> list[Assessment]:
    """Make the patterns of the units that add most, each with its Griffin-Lim sound: a few seconds each.

    Args:
        model: that was explained.
        explained: its units are in order; those that add nothing get no pattern.
        known: units that need none.
        count: of units, the known ones among them.
        seed: of the patterns' starts.
        report: called with steps done and steps in all.

    Returns:
        Those that excite their unit.
    """
    wanted = [unit for unit, added in explained.units[:count] if added and unit not in known]
    if not wanted:
        return []
    config = EngineConfig()

    def follow(step: int, *_: object) -> None:
        if report:
            report(step + 1, config.steps)

    failed: list[tuple[Objective, str]] = []  # a pattern less is no reason to explain nothing
    made = maximize_many(model, [channel(explained.unit_layer, unit) for unit in wanted], config, seed, follow, failed)
    live = [pattern for pattern in made if pattern.activation > 0]
    return assess_many(model, live, AssessSettings(direct=None, stability=False)) if live else []


def _write_files(
    folder: Path,
    out: Path,
    explained: Explanation | AlignedExplanation,
    files: Mapping[str, str | os.PathLike[str]],
    asked: str,
    gallery: Path | None,
    made: Sequence[Assessment],
) -> dict[str, Any]:
    aligned = isinstance(explained, AlignedExplanation)
    figures: dict[str, Any] = explained.as_dict() | {"files": {role: str(files[role]) for role in explained.inputs}}
    sides, notes = {}, []
    for role, config in explained.frontends.items():
        clip = load_audio(files[role], config.sample_rate)
        file_s = len(clip) / config.sample_rate
        start_s, stop_s = explained.spans.get(role, (0.0, min(file_s, config.duration_s)))
        shown = clip[round(start_s * config.sample_rate) : round(stop_s * config.sample_rate)]
        shown = shown if aligned else fit_length(shown, config.n_samples)
        shown_s = len(shown) / config.sample_rate
        if start_s > 0.005:
            part = f"{start_s:.2f} to {stop_s:.2f} s of it are explained, and times count from there"
            notes.append(f"The {role} is {file_s:.1f} s long; {part}.")
        elif file_s > shown_s + 0.05:
            notes.append(f"The {role} is {file_s:.1f} s long; its first {shown_s:.2f} s are heard.")
        elif not aligned and file_s < config.duration_s / 10:
            notes.append(f"The {role} is only {file_s:.2f} s long; the rest of {config.duration_s:.2f} s is silence.")
        save_audio(folder / f"{role}.wav", shown.clip(-1, 1), config.sample_rate)
        side: dict[str, Any] = {
            "name": Path(files[role]).name,
            "start_s": round(start_s, 4),
            "duration_s": round(shown_s, 4),
            "picture_s": round(config.duration_s, 4),
            "sound": f"{role}.wav",
            "heard": f"{role}-heard.wav",
            "picture": f"{role}.png",
        }
        try:
            if isinstance(explained, AlignedExplanation):
                heard = hear_alignment(shown, explained.profile(role))
            else:
                heard = hear_attribution(shown, config, explained.attributions[role])
            save_audio(folder / f"{role}-heard.wav", heard.clip(-1, 1), config.sample_rate)
        except PatternError as error:  # nothing of this side speaks for it
            side["heard"] = None
            notes.append(f"{role.capitalize()}: {error}.")
        _save(folder / f"{role}.png", plot_side(explained, role), 170)
        if isinstance(explained, Explanation):
            side["arrays"] = {"attribution": f"{role}-attribution.npy", "occlusion": f"{role}-occlusion.npy"}
            for values, name in zip(
                (explained.attributions, explained.occlusion), side["arrays"].values(), strict=True
            ):
                np.save(folder / name, values[role].astype(np.float32), allow_pickle=False)
        sides[role] = side
    if len(files) > 1 and len({Path(path).resolve() for path in files.values()}) == 1:
        notes.append("Both sides are the same file.")
    if isinstance(explained, AlignedExplanation):
        _save(folder / "explanation.png", plot_alignment(explained), 120)
        _save(folder / "paths.png", plot_paths(explained), 100)
    else:
        _save(folder / "explanation.png", plot_explanation(explained), 120)
        patterns = find_patterns(gallery, explained, out) if gallery is not None else {}
        for one in made:
            home = f"{UNITS}/{one.pattern.neuron}"
            entry = write_entry(folder / home, one)
            patterns[one.pattern.neuron] = _describe_pattern(entry, home, f"{home}/{entry['picture']}")
        for unit in figures["units"]:
            unit["pattern"] = patterns.get(unit["neuron"])
    figures |= {
        "sides": sides,
        "notes": notes,
        "axes": {"left": SIDE_AXES[0], "bottom": SIDE_AXES[1], "width": SIDE_AXES[2], "height": SIDE_AXES[3]},
        "maximize": f"iminet-viz maximize {shlex.quote(asked)} LAYER UNIT --out pattern-UNIT",
    }
    page = fill_page("explanation_page.html", "__EXPLANATION__", figures)
    (folder / "index.html").write_text(page, encoding="utf-8")
    write_json(folder / MARK, figures)
    return figures


def find_patterns(gallery: Path, explained: Explanation, out: Path) -> dict[int, dict[str, Any]]:
    """Find the patterns of an explanation's units in a gallery.

    Args:
        gallery: its folder.
        explained: entries of a model with another fingerprint are no patterns of it.
        out: folder of the page; addresses are relative to it.

    Returns:
        By unit: ``id``, ``href`` in the gallery's page, addresses of ``picture`` and ``sounds`` (by role), and
        ``warnings``.
    """
    root = gallery / "entries" / explained.model / explained.unit_layer
    found: dict[int, dict[str, Any]] = {}
    if not (gallery / "index.html").is_file() or not root.is_dir():
        return found
    try:
        up = quote(os.path.relpath(gallery.resolve(), out.resolve()).replace(os.sep, "/"))
    except ValueError:  # another drive
        up = gallery.resolve().as_uri()
    for unit, _ in explained.units:
        try:
            entry = read_json(root / str(unit) / "pattern.json")
            if entry.get("fingerprint") != explained.fingerprint:
                continue
            at = f"{up}/{quote(f'entries/{explained.model}/{explained.unit_layer}/{unit}')}"
            found[unit] = _describe_pattern(entry, at, f"{up}/index.html#{quote(str(entry['id']))}")
        except (IminetVizError, KeyError, TypeError, AttributeError):  # no pattern, or none that can be shown
            continue
    return found


def _describe_pattern(entry: Mapping[str, Any], at: str, href: str) -> dict[str, Any]:
    """What the page shows of a gallery's entry in the folder ``at``."""
    sounds = {role: side["sounds"] for role, side in entry["inputs"].items() if side.get("sounds")}
    return {
        "id": str(entry["id"]),
        "href": href,
        "picture": f"{at}/{quote(Path(entry['picture']).name)}",
        "sounds": {
            role: f"{at}/{quote(Path(by_method[GRIFFIN_LIM]['file']).name)}" for role, by_method in sounds.items()
        },
        "warnings": list(entry.get("warnings", ())),
    }


def _save(path: Path, figure: Any, dpi: int) -> None:
    figure.savefig(path, dpi=dpi, format="png", metadata={"Software": None})
