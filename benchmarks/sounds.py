"""What the two sounds of each pattern are worth, by layer, beside real clips.

    python benchmarks/sounds.py gallery --clips FOLDER

Reads the manifest of a gallery, in which every number is of the samples that are stored. Medians with 95 % bootstrap
intervals over neurons; crest of the direct sound is also given as what it has more than the Griffin-Lim sound.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from iminet_viz.audio import (
    crest_db,
    find_audio,
    fit_length,
    frame_rate_buzz_db,
    load_audio,
    spectral_flatness,
)
from iminet_viz.checkpoint import read_json
from iminet_viz.evaluation import bootstrap_interval
from iminet_viz.frontends import IMITATION, RECORDING

COLUMNS = (("crest_db", 1), ("buzz_db", 1), ("flatness", 2))  # and decimals


def show(values: list[float], digits: int = 2) -> str:
    """Median and interval of as many values as there are."""
    found = np.array([value for value in values if value is not None])
    if not len(found):
        return "-"
    low, high = bootstrap_interval(found, np.median, 0)
    return f"{np.median(found):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gallery", type=Path)
    parser.add_argument("--clips", type=Path, help="folder of recordings, whose crest, buzz and flatness are shown")
    parser.add_argument("--count", type=int, default=60, help="clips, evenly over the folder")
    given = parser.parse_args()
    entries = read_json(given.gallery / "manifest.json")["entries"]
    print("| model | layer | n | method | activation kept | crest, dB | more than G-L | buzz, dB | flatness |")
    print("|---|---|---|---|---|---|---|---|---|")
    groups = dict.fromkeys((entry["model"], entry["layer"]) for entry in entries)
    for model, layer in groups:
        some = [entry for entry in entries if (entry["model"], entry["layer"]) == (model, layer)]
        for method in ("griffin-lim", "direct"):
            sides = [side["sounds"] for entry in some for side in entry["inputs"].values() if method in side["sounds"]]
            if not sides:
                continue
            kept = [next(iter(e["inputs"].values()))["sounds"][method]["activation_kept"] for e in some]
            more = [side[method]["crest_db"] - side["griffin-lim"]["crest_db"] for side in sides]
            columns = [show([side[method][key] for side in sides], digits) for key, digits in COLUMNS]
            cells = [show(kept), columns[0], show(more, 1) if method == "direct" else "", *columns[1:]]
            print(f"| {model} | {layer} | {len(some)} | {method} | {' | '.join(cells)} |")
    if given.clips is None:
        return
    files = find_audio(given.clips)
    files = [files[index] for index in np.unique(np.linspace(0, len(files) - 1, given.count).round().astype(int))]
    print("\n| real clips, as a side hears them | n | crest, dB | buzz, dB | flatness |\n|---|---|---|---|---|")
    for name, config in (("imitation", IMITATION), ("recording", RECORDING)):
        clips = [fit_length(load_audio(path, config.sample_rate), config.n_samples) for path in files]
        clips = [clip for clip in clips if clip.any()]
        rate = config.sample_rate / config.hop_length
        columns = [
            show([crest_db(clip) for clip in clips], 1),
            show([frame_rate_buzz_db(clip, config.sample_rate, rate) for clip in clips], 1),
            show([spectral_flatness(clip, config.sample_rate, config.fmax) for clip in clips]),
        ]
        print(f"| {name} | {len(clips)} | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
