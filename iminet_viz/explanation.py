"""An explanation as a folder: numbers, pictures, sounds and one page that opens from disk.

::

    DIR/index.html             the page
    DIR/explanation.json       all numbers, written last
    DIR/explanation.png        both sides, all ways of asking; of an alignment also paths.png
    DIR/{role}.png             one side alone, as the page shows it
    DIR/{role}.wav             what was heard of the clip
    DIR/{role}-heard.wav       of it, what speaks for the score; missing if nothing does
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from iminet_viz.alignment import AlignedExplanation, hear_alignment
from iminet_viz.attribution import Explanation, hear_attribution
from iminet_viz.audio import fit_length, load_audio, one_line, save_audio
from iminet_viz.baselines import HEARD_S
from iminet_viz.checkpoint import SHIPPED, read_json, write_json
from iminet_viz.errors import GalleryError, IminetVizError, PatternError
from iminet_viz.pages import fill_page
from iminet_viz.plotting import SIDE_AXES, plot_alignment, plot_explanation, plot_paths, plot_side

ROLES = ("imitation", "recording")
MARK = "explanation.json"
NAMES = (
    MARK,
    "index.html",
    "explanation.png",
    "paths.png",
    *(f"{role}{end}" for role in ROLES for end in (".png", ".wav", "-heard.wav")),
)


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
    present = [name for name in NAMES if (out / name).exists()]
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
) -> dict[str, Any]:
    """Write the folder of an explanation; what an earlier one left there goes only when all is ready.

    Args:
        out: folder to make.
        explained: what to write.
        files: by role, the clips that were explained.
        asked: name or folder of the model, as commands on the page shall name it.
        gallery: folder of a gallery; units that it has a pattern of are linked.
        force: replace an explanation that is there.

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
        work = Path(tempfile.mkdtemp(dir=out, prefix=".explanation-"))
    except OSError as error:
        raise GalleryError(f"{one_line(out)}: cannot be written to ({error.strerror})") from None
    try:
        figures = _write_files(work, out, explained, files, asked or explained.model, gallery)
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


def _write_files(
    folder: Path,
    out: Path,
    explained: Explanation | AlignedExplanation,
    files: Mapping[str, str | os.PathLike[str]],
    asked: str,
    gallery: Path | None,
) -> dict[str, Any]:
    aligned = isinstance(explained, AlignedExplanation)
    figures: dict[str, Any] = explained.as_dict() | {"files": {role: str(files[role]) for role in explained.inputs}}
    sides, notes = {}, []
    for role, config in explained.frontends.items():
        clip = load_audio(files[role], config.sample_rate)
        file_s = len(clip) / config.sample_rate
        shown = clip[: round(HEARD_S * config.sample_rate)] if aligned else fit_length(clip, config.n_samples)
        shown_s = len(shown) / config.sample_rate
        if file_s > shown_s + 0.05:
            notes.append(f"The {role} is {file_s:.1f} s long; its first {shown_s:.2f} s are heard.")
        elif not aligned and file_s < config.duration_s / 10:
            notes.append(f"The {role} is only {file_s:.2f} s long; the rest of {config.duration_s:.2f} s is silence.")
        save_audio(folder / f"{role}.wav", shown.clip(-1, 1), config.sample_rate)
        side: dict[str, Any] = {
            "name": Path(files[role]).name,
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
        sides[role] = side
    if len(files) > 1 and len({Path(path).resolve() for path in files.values()}) == 1:
        notes.append("Both sides are the same file.")
    if isinstance(explained, AlignedExplanation):
        _save(folder / "explanation.png", plot_alignment(explained), 120)
        _save(folder / "paths.png", plot_paths(explained), 100)
    else:
        _save(folder / "explanation.png", plot_explanation(explained), 120)
        patterns = find_patterns(gallery, explained, out) if gallery is not None else {}
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
        By unit: ``id``, ``href`` in the gallery's page, addresses of ``picture`` and ``sounds`` (by role).
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
            found[unit] = {
                "id": str(entry["id"]),
                "href": f"{up}/index.html#{quote(str(entry['id']))}",
                "picture": f"{at}/{quote(Path(entry['picture']).name)}",
                "sounds": {
                    role: f"{at}/{quote(Path(entry['inputs'][role]['sounds']['griffin-lim']['file']).name)}"
                    for role in ROLES
                    if entry["inputs"].get(role, {}).get("sounds")
                },
            }
        except (IminetVizError, KeyError, TypeError, AttributeError):  # no pattern, or none that can be shown
            continue
    return found


def _save(path: Path, figure: Any, dpi: int) -> None:
    figure.savefig(path, dpi=dpi, format="png", metadata={"Software": None})
