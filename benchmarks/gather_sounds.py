"""Sounds to train a search model on, of which every one has a stated licence that allows it.

From three places, into one folder a source, each sound cut to its first event of at most 4 s (people imitate one bark,
not five seconds of barks):

* collections of the folder of recordings whose licence is stated: ESC-10, Tux Paint's effects, gmrockkit's drums;
* the demo corpus, synthesised (``iminet-viz corpus make``);
* sounds that come with free games and instruments in Debian 12's packages: downloaded by ``apt-get``, unpacked, never
  installed, no music and no speech; and notes of all 128 instruments of a sound font, played by ``fluidsynth``.

A sound that is or holds a recording of ``telephone-imitations`` or a drum that ``beatbox`` searches is left out, so
that both stay tests. ``sources.json`` names the licences::

    .venv/bin/python benchmarks/gather_sounds.py --data DATA --corpus CORPUS --downloads PACKAGES --out SOUNDS
    iminet-viz imitate SOUNDS --count 4 --out PAIRS
    iminet-viz train aligned --data PAIRS --sources SOUNDS/sources.json --out RUN
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import struct
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from transfer import People, Sound, check_cache, collection, drop_leaks, first_event

from iminet_viz.audio import find_audio, read_native, save_audio
from iminet_viz.datasets import demo
from iminet_viz.errors import AudioError, IminetVizError

COLLECTIONS = {
    "esc10": "CC BY 3.0 (ESC-10; K. J. Piczak and the recordists at Freesound)",
    "tuxpaint-effects": "GPL-2.0-or-later",
    "gmrockkit-drums": "GPL-2.0-or-later",
}
DEMO = "demo corpus"
# Debian package: licences of its sounds as its copyright file states them
PACKAGES = {
    "boswars-data": "GPL-2.0-or-later",
    "chromium-bsu-data": "Clarified Artistic License",
    "colobot-common-sounds": "GPL-3.0-or-later",
    "frozen-bubble-data": "GPL-2.0",
    "hedgewars-data": "GPL-2.0",
    "hydrogen-drumkits": "GPL-2.0-or-later, GPL-2.0, CC BY 3.0, by drum kit",
    "lincity-ng-data": "GPL-2.0-or-later",
    "lmms-common": "GPL-2.0-or-later",
    "minetest-data": "CC BY-SA 3.0",
    "openarena-data": "GPL-2.0-or-later",
    "oxygen-sounds": "LGPL-3.0-or-later",
    "scorched3d-data": "GPL-2.0-or-later, CC BY-SA 3.0",
    "sonic-pi-samples": "CC0, a few CC BY-SA 4.0",
    "sound-theme-freedesktop": "CC BY-SA 3.0, CC BY 3.0, GPL-2.0-or-later",
    "ufoai-sound": "GPL-2.0-or-later, CC BY-SA 3.0, CC BY 3.0",
    "warzone2100-data": "GPL-2.0-or-later, CC0, CC BY-SA 3.0",
    "wesnoth-1.16-data": "GPL-2.0-or-later",
}
SOUNDFONT = ("fluid-soundfont-gm", "MIT")
MOST = 150  # of one package, drawn at random
SECONDS = (0.05, 12.0)
NO_SOUND = re.compile(  # below a package: speech, music, loops, and waveforms of one period
    r"voices?/|/memressp|/countdown|tutorial|/taunts|vtoltalk|music|/beats/|bassloops|buffers|cmndrvoc|/sequences|"
    r"speech|/shapes/|/waveforms/|soldiers|civilians|campaigns",
    re.IGNORECASE,
)
ARCHIVES = (".pk3", ".wz")  # zip files of games
NOTES = 2  # of each instrument


def run(*command: Any, folder: Path | None = None) -> str:
    """Run a program; returns what it printed."""
    done = subprocess.run([*map(str, command)], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def download(package: str, folder: Path) -> Path:
    """Unpack a Debian package below a folder; returns where. Nothing is installed."""
    target = folder / package
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            run("apt-get", "download", "-qq", package, folder=Path(temporary))
            (archive,) = Path(temporary).glob("*.deb")
            unpacked = Path(temporary) / "unpacked"
            run("dpkg-deb", "--extract", archive, unpacked)
            (unpacked / "VERSION").write_text(run("dpkg-deb", "--field", archive, "Version"), encoding="utf-8")
            unpacked.rename(target)
    for path in sorted(path for path in target.rglob("*") if path.suffix in ARCHIVES):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                inner = target / "unzipped" / name
                if name.lower().endswith((".wav", ".ogg")) and inner.resolve().is_relative_to(target.resolve()):
                    archive.extract(name, target / "unzipped")
    return target


def sounds_of(root: Path) -> list[Path]:
    """Sound files of an unpacked package, in random order; the same each time."""
    paths = [path for path in find_audio(root) if not NO_SOUND.search(path.relative_to(root).as_posix())]
    random.Random(root.name).shuffle(paths)
    return paths


def write_notes(soundfont: Path, out: Path) -> None:
    """Play two notes of every General MIDI instrument and all drums, one file each."""
    rng, rate, gap_s, ticks = random.Random(0), 44_100, 3.0, 1_000  # a tick is a millisecond
    wanted = [(f"instrument{program:03d}", 0, program, note) for program in range(128) for note in draw_notes(rng)]
    wanted += [("drum", 9, 0, note) for note in range(35, 82)]
    events, last = b"", 0
    for number, (_, channel, program, note) in enumerate(wanted):
        at = int(number * gap_s * ticks)
        for when, message in (
            (at, bytes([0xC0 | channel, program])),
            (at + 10, bytes([0x90 | channel, note, 100])),
            (at + 10 + int(rng.uniform(0.3, 1.6) * ticks), bytes([0x80 | channel, note, 0])),
        ):
            events += variable_length(when - last) + message
            last = when
    events += variable_length(int(len(wanted) * gap_s * ticks) - last) + b"\xff\x2f\x00"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 500)  # 500 ticks a beat of half a second
    with tempfile.TemporaryDirectory() as temporary:
        score, played = Path(temporary) / "notes.mid", Path(temporary) / "notes.wav"
        score.write_bytes(header + b"MTrk" + struct.pack(">I", len(events)) + events)
        dry = ["-R", "0", "-C", "0"]  # no room, no chorus
        run("fluidsynth", "-niq", *dry, "-r", rate, "-F", played, soundfont, score)
        waveform, _ = read_native(played)
    building = Path(tempfile.mkdtemp(dir=out.parent))
    for number, (name, _, _, note) in enumerate(wanted):
        own = waveform[int(number * gap_s * rate) : int((number + 1) * gap_s * rate)]
        if (peak := np.abs(own).max(initial=0)) > 1e-3:  # a few instruments are silent at some notes
            save_audio(building / f"{name}_{note}.wav", 0.5 / peak * own, rate)
    building.rename(out)


def draw_notes(rng: random.Random) -> list[int]:
    return sorted(rng.sample(range(43, 85), NOTES))


def variable_length(value: int) -> bytes:
    """A number as MIDI files write it."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def candidates(data: Path, corpus: Path, downloads: Path) -> Iterator[tuple[str, str, list[Path]]]:
    """Name, licence and files of each source."""
    for name, licence in COLLECTIONS.items():
        yield name, licence, [path for path, _ in collection(data / name)]
    yield DEMO, demo.LICENCE, sorted(find_audio(corpus / "sound_recordings"))
    for package, licence in PACKAGES.items():
        click.echo(f"{package} ...", err=True)
        root = download(package, downloads)
        yield f"{package} {(root / 'VERSION').read_text(encoding='utf-8')}", licence, sounds_of(root)
    package, licence = SOUNDFONT
    root, notes = download(package, downloads), downloads / "notes"
    if not notes.is_dir():
        (soundfont,) = root.rglob("*.sf2")
        write_notes(soundfont, notes)
    yield f"{package} {(root / 'VERSION').read_text(encoding='utf-8')}", licence, sorted(find_audio(notes))


def read_first_events(paths: list[Path], most: int, seen: set[str]) -> list[Sound]:
    """Decode at most so many sounds; silent ones, those that cannot be read and copies are passed over."""
    sounds: list[Sound] = []
    for path in paths:
        try:
            waveform, rate = read_native(path)
        except AudioError:
            continue
        digest = hashlib.sha256(waveform.tobytes()).hexdigest()
        if SECONDS[0] <= len(waveform) / rate <= SECONDS[1] and np.abs(waveform).max() > 1e-3 and digest not in seen:
            seen.add(digest)
            event = first_event(waveform, rate)
            # decoders of lossy formats go beyond full scale
            sounds.append(Sound(path, event / max(1.0, float(np.abs(event).max())), rate))
        if len(sounds) == most:
            break
    return sounds


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the data sets.")
@click.option("--corpus", type=click.Path(path_type=Path, exists=True), required=True, help="The demo corpus.")
@click.option("--downloads", type=click.Path(path_type=Path), required=True, help="Folder for unpacked packages, 1 GB.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to make, outside the repository.")
def main(data: Path, corpus: Path, downloads: Path, out: Path) -> None:
    """Gather sounds with stated licences to train on (see the top of the file)."""
    missing = [tool for tool in ("apt-get", "dpkg-deb", "fluidsynth") if shutil.which(tool) is None]
    if missing:
        raise click.ClickException(f"{', '.join(missing)} is not here; apt-get install fluidsynth, on Debian 12")
    if out.exists():
        raise click.BadParameter(f"--out {out}: is there already")
    for folder in (out, downloads):
        check_cache(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    downloads.mkdir(parents=True, exist_ok=True)
    try:
        gather(data, corpus, downloads, out)
    except subprocess.CalledProcessError as error:
        raise click.ClickException(f"{' '.join(map(str, error.cmd))}: {error.stderr or error}") from None
    except IminetVizError as error:
        raise click.ClickException(str(error)) from None


def gather(data: Path, corpus: Path, downloads: Path, out: Path) -> None:
    seen: set[str] = set()
    source_of: dict[Path, str] = {}
    sounds: list[Sound] = []
    licences = {}
    for name, licence, paths in candidates(data, corpus, downloads):
        found = read_first_events(paths, MOST if name.split()[0] in PACKAGES else len(paths), seen)
        source_of |= {sound.path: name for sound in found}
        sounds += found
        licences[name] = licence
    people = People(data)
    kept, _ = drop_leaks(sounds, [*people.heard, *people.drums], threshold=0.35)
    building = Path(tempfile.mkdtemp(dir=out.parent))
    for sound in kept:
        digest = hashlib.sha256(sound.waveform.tobytes()).hexdigest()[:8]
        stem = re.sub(r"[^A-Za-z0-9_.-]", "_", sound.path.stem)
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", source_of[sound.path])
        save_audio(building / name / f"{stem}-{digest}.wav", sound.waveform, sound.sample_rate)
    counts = {name: sum(source_of[sound.path] == name for sound in kept) for name in licences}
    sources = {f"{name}, {counts[name]} sounds": licence for name, licence in licences.items() if counts[name]}
    (building / "sources.json").write_text(json.dumps(sources, indent=2) + "\n", encoding="utf-8")
    building.rename(out)
    click.echo(f"{len(kept)} sounds of {len(sources)} sources: {out}")


if __name__ == "__main__":
    main()
