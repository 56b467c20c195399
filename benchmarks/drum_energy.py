"""Where do drums lie when people make them with their mouths, and where when the imitator does?

The share of energy between 40 and 300 Hz, of all above 40 Hz (what is below is breath and handling), median and the
middle 80 %, for the sounds, for people (``beatbox-paullin1``), and for imitations of the sounds.

    .venv/bin/python benchmarks/drum_energy.py --data DATA
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np
from transfer import DRUMS, People

from iminet_viz.audio import load_audio
from iminet_viz.imitator import SAMPLE_RATE, analyse, imitate


def low_share(waveform: np.ndarray) -> float:
    """Energy from 40 to 300 Hz over that above 40 Hz, of ``(samples,)`` at SAMPLE_RATE."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    hz = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)
    return float(power[(hz > 40) & (hz < 300)].sum() / power[hz > 40].sum())


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the data sets.")
@click.option("--count", default=4, help="Imitations of each sound.")
def main(data: Path, count: int) -> None:
    """Compare drums (see the top of the file)."""
    people = People(data)
    for number, label in enumerate(DRUMS):
        sounds = [
            load_audio(path, SAMPLE_RATE)
            for path, drum in zip(people.drums, people.candidate_classes, strict=True)
            if drum == number
        ]
        spoken = [
            load_audio(path, SAMPLE_RATE)
            for path, drum in zip(people.drum_queries, people.drum_classes, strict=True)
            if drum == number
        ]
        heard = [analyse(sound, SAMPLE_RATE) for sound in sounds]
        ours = [imitate(each, (seed, row)).waveform for row, each in enumerate(heard) for seed in range(count)]
        parts = []
        for name, waveforms in (("sounds", sounds), ("people", spoken), ("imitations", ours)):
            low, middle, high = np.quantile([low_share(waveform) for waveform in waveforms], [0.1, 0.5, 0.9])
            parts.append(f"{len(waveforms)} {name} {middle:.2f} [{low:.2f}, {high:.2f}]")
        click.echo(f"{label}: {', '.join(parts)}")


if __name__ == "__main__":
    sys.exit(main())
