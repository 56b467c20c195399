"""VoxForge as published: read sentences, one archive a submission, the language told by the folder around it.

``ROOT/<language>/<submission>/`` with ``wav/`` or ``flac/``, ``etc/PROMPTS`` and ``etc/README``; the archives are
unpacked with ``iminet-viz data unpack``. Only clips at 16 kHz are taken: the repository keeps a folder for each rate.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from iminet_viz.audio import SUFFIXES, libsndfile_name
from iminet_viz.datasets._download import archive_stem
from iminet_viz.datasets._table import Clip, Complain, Survey, find_sounds, refuse
from iminet_viz.datasets.speech_lid import LANGUAGES
from iminet_viz.errors import DatasetError

NAME = "voxforge"
LICENCE = "GPL-3.0+ (VoxForge; each submission carries its licence)"
CITATION = "VoxForge, free speech corpus and acoustic model repository, voxforge.org"
SOURCE = (
    "VoxForge publishes one archive a submission without checksums: fetch those of a language from "
    "http://www.repository.voxforge1.org/downloads/ (LANGUAGE/Trunk/Audio/Main/16kHz_16bit, English under "
    "SpeechCorpus), then iminet-viz data unpack ARCHIVE... --out ROOT/LANGUAGE"
)
SAMPLE_RATE = 16_000
RATES = (SAMPLE_RATE, SAMPLE_RATE)
_FIELD = re.compile(r"^\s*(user\s*name|language)\s*:[ \t]*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_SUBMISSION = re.compile(r"(?P<user>.+?)-(?P<date>\d{8})(-\w+)?")  # Eelco-20150731-cqc

log = logging.getLogger(__name__)


def load(root: Path) -> list[Clip]:
    """List the clips at 16 kHz, sorted; the label is the language code.

    The speaker is the "User Name" of the README. Anonymous submissions of one day count as one speaker, since they
    may be one, and "anonymous" alone would make one speaker of hundreds. A submission without README has the speaker
    of its name. Clips at other rates and submissions in doubt are counted in a warning of the logger.

    Raises:
        DatasetError: no submission, a folder that is none, an archive that was not unpacked, a language that is none
            of the seven, a file whose header cannot be read, or no clip at 16 kHz.
    """
    survey_ = survey(root, refuse)
    clips: list[Clip] = []
    others: list[Clip] = []
    for clip in survey_.items:
        rate = _rate(clip.path)
        (clips if rate == SAMPLE_RATE else others).append(clip)
    if not clips:
        raise DatasetError(f"{root}: none of {len(others)} clips is at {SAMPLE_RATE} Hz")
    if others:
        log.warning(
            "%s: %d of %d clips are not at %d Hz and are left out, the first is %s",
            *(root, len(others), len(survey_.items), SAMPLE_RATE, others[0].path.relative_to(root)),
        )
    if survey_.doubts:
        path, reason = survey_.doubts[0]
        log.warning("%s: %d doubts, the first: %s %s", root, len(survey_.doubts), path.relative_to(root), reason)
    return clips


def survey(root: Path, complain: Complain) -> Survey[Clip]:
    """Read the folders; clips of any rate are listed.

    Doubts are a README that is missing, names no user or says another language, and prompts without a clip or clips
    without a prompt.
    """
    found = Survey[Clip]()
    if not root.is_dir():
        complain(root, "no such folder")
        return found
    # the folder of one language may be given as well
    languages = [root] if any(_is_submission(path) for path in root.iterdir()) else _folders(root)
    known: set[str] = set()
    for folder in languages:
        language = folder.resolve().name
        submissions = _folders(folder)
        known |= {path.name for path in submissions}
        if not submissions and not any(map(_is_archive, folder.iterdir())) and language in LANGUAGES:
            complain(folder, "holds no submission")
        if submissions and language not in LANGUAGES:
            complain(
                folder, f"the folder around submissions tells their language, expected one of {', '.join(LANGUAGES)}"
            )
            found.spare |= set(find_sounds(folder)[0])
            continue
        for submission in submissions:
            _survey_submission(submission, language, found, complain)
    for archive in (path for folder in dict.fromkeys((root, *languages)) for path in sorted(folder.iterdir())):
        if _is_archive(archive) and archive_stem(archive) not in known:
            complain(archive, "the archive is not unpacked; iminet-viz data unpack does it")
    if not found.files and not found.spare:
        complain(root, "holds no submission, expected ROOT/<language>/<submission>/wav")
    return found


def _survey_submission(folder: Path, language: str, found: Survey[Clip], complain: Complain) -> None:
    clips: dict[str, Path] = {}
    for kind in ("wav", "flac"):
        for path in sorted((folder / kind).glob("*")):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                if path.stem in clips:
                    found.spare.add(path)  # the same sentence in both formats
                else:
                    clips[path.stem] = path
    if not clips:
        complain(folder, "is no submission: no sound file in wav or flac")
        return
    fields = _read_fields(folder, found)
    speaker = _speaker(folder.name, fields.get("username", ""))
    if (said := fields.get("language", "").lower()) in LANGUAGES and said != language:
        found.doubts.append((folder, f"lies under {language}, its README says {said}"))
    prompts = _read_prompts(folder)
    for name in sorted(prompts - set(clips)):
        found.doubts.append((folder, f"its prompts name {name}, which is not there"))
    for name in sorted(set(clips) - prompts) if prompts else ():
        found.doubts.append((clips[name], "no prompt names it"))
    if not prompts:
        found.doubts.append((folder, "has no etc/PROMPTS"))
    for path in clips.values():
        found.files[path] = language
        found.items.append(Clip(path, language, f"{language}/{speaker}", speaker=speaker))


def _read_fields(folder: Path, found: Survey[Clip]) -> dict[str, str]:
    """``username`` and ``language`` of the README, as far as it has them."""
    readme = _file(folder, "readme")
    if readme is None:
        found.doubts.append((folder, "has no README; its speaker is told by its name"))
        return {}
    fields = {"".join(key.lower().split()): value for key, value in _FIELD.findall(_text(readme))}
    if not fields.get("username"):
        found.doubts.append((readme, 'has no "User Name:"; the speaker is told by the name of the submission'))
    return fields


def _speaker(submission: str, user: str) -> str:
    parts = _SUBMISSION.fullmatch(submission)
    user = user or (parts["user"] if parts else submission)
    if user.lower() != "anonymous":
        return user
    return f"anonymous-{parts['date']}" if parts else submission


def _read_prompts(folder: Path) -> set[str]:
    """Names of the clips that the prompts list: the first word of a line, without its folders."""
    prompts = _file(folder, "prompts") or _file(folder, "prompts-original")
    lines = _text(prompts).splitlines() if prompts else []
    return {line.split()[0].rsplit("/", 1)[-1] for line in lines if line.strip()}


def _file(folder: Path, name: str) -> Path | None:
    """A file of a submission, in ``etc`` or beside it, whatever the case of its name."""
    for place in (folder / "etc", folder):
        for path in sorted(place.glob("*")):
            if path.name.lower() in {name, f"{name}.txt"} and path.is_file():
                return path
    return None


def _text(path: Path) -> str:
    """The text of a file that volunteers' machines wrote: UTF-8, else Latin-1, in which every byte means something."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_submission(path: Path) -> bool:
    return any((path / name).is_dir() for name in ("wav", "flac", "etc"))


def _is_archive(path: Path) -> bool:
    return archive_stem(path) != path.name and not path.name.startswith(".") and not path.is_dir()


def _rate(path: Path) -> int:
    """Rate in Hz by the header: reading every sample of ten thousand files would take minutes."""
    import soundfile

    try:
        return int(soundfile.info(libsndfile_name(path)).samplerate)
    except (soundfile.LibsndfileError, OSError):
        raise DatasetError(
            f"{path}: its header cannot be read; iminet-viz data check names every broken file"
        ) from None
