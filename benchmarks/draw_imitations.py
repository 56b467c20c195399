"""Log-mels of sounds, of people's imitations of them where there are any, and of ours: to be looked at.

With a table of pairs, recordings of people stand beside ours: drawn for your eyes, since their licences seldom allow
that pictures of them are published. Without one, only ours are drawn.

    .venv/bin/python benchmarks/draw_imitations.py CORPUS/sound_recordings/*cat*.flac --out docs/imitations.png
    .venv/bin/python benchmarks/draw_imitations.py --data telephone-imitations --root FOLDER --out beside.png
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from iminet_viz.audio import load_audio, read_native
from iminet_viz.errors import IminetVizError
from iminet_viz.imitator import SAMPLE_RATE, STRATEGIES, ImitatorConfig, analyse, imitate

TICKS_HZ = (125, 500, 2_000, 8_000)


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """``(samples,)`` at 16 kHz to ``(64, frames)`` in dB below the maximum, frames of 10 ms."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=waveform, sr=SAMPLE_RATE, n_fft=512, hop_length=160, n_mels=64, fmin=50, fmax=8_000
    )
    return librosa.power_to_db(power, ref=np.max, top_db=60)


@click.command(context_settings={"show_default": True})
@click.argument("sounds", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--data", help="Data set whose recordings and real imitations are drawn.")
@click.option("--root", type=click.Path(path_type=Path), help="Its folder.")
@click.option("--rows", default=8, help="Recordings of the data set, evenly chosen.")
@click.option("--real", default=3, help="Real imitations of each.")
@click.option("--seed", default=0)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(
    sounds: tuple[Path, ...], data: str | None, root: Path | None, rows: int, real: int, seed: int, out: Path
) -> None:
    """Draw SOUNDS, or recordings of a data set, and imitations of them."""
    try:
        draw(list(sounds), data, root, rows, real, seed, out)
    except IminetVizError as error:
        raise click.ClickException(str(error)) from None


def draw(sounds: list[Path], data: str | None, root: Path | None, rows: int, real: int, seed: int, out: Path) -> None:
    import librosa
    from matplotlib.figure import Figure

    made_by_people: dict[Path, list[Path]] = {sound: [] for sound in sounds}
    if data is not None:
        from iminet_viz.datasets import find_dataset

        if root is None:
            raise click.UsageError("--data needs --root FOLDER")
        heard: dict[Path, list[Path]] = {}
        for pair in find_dataset(data).load(root):
            heard.setdefault(pair.recording, []).append(pair.imitation)
        popular = sorted(heard, key=lambda path: (-len(heard[path]), path))[: max(rows, 1)]
        made_by_people |= {path: heard[path][:real] for path in popular}
    if not made_by_people:
        raise click.UsageError("name sounds, or a data set with --data and --root")

    n_real = max(len(people) for people in made_by_people.values())
    columns = ["the sound", *[f"a person {number + 1}" for number in range(n_real)], *STRATEGIES]
    figure = Figure(figsize=(2.1 * len(columns), 1.5 * len(made_by_people) + 0.4), layout="constrained")
    axes = figure.subplots(len(made_by_people), len(columns), squeeze=False)
    ticks = np.searchsorted(librosa.mel_frequencies(64, fmin=50, fmax=8_000), TICKS_HZ)
    for row, (sound, people) in enumerate(made_by_people.items()):
        heard = analyse(*read_native(sound))
        voices = [
            imitate(heard, (seed, row, number), ImitatorConfig(strategies=(name,))).waveform
            for number, name in enumerate(STRATEGIES)
        ]
        drawn: list[np.ndarray | None] = [load_audio(sound, SAMPLE_RATE)]
        drawn += [load_audio(path, SAMPLE_RATE) for path in people] + [None] * (n_real - len(people)) + voices
        for axis, waveform, title in zip(axes[row], drawn, columns, strict=True):
            if waveform is None:
                axis.axis("off")
                continue
            duration = len(waveform) / SAMPLE_RATE
            axis.imshow(log_mel(waveform), origin="lower", aspect="auto", cmap="magma", extent=(0, duration, 0, 64))
            axis.set_yticks(ticks + 0.5, [f"{hz / 1000:g}" for hz in TICKS_HZ] if axis is axes[row, 0] else [])
            axis.tick_params(labelsize=6, length=2, pad=1)
            if row == 0:
                axis.set_title(title, fontsize=8)
        axes[row, 0].set_ylabel(f"{sound.stem[:24]}\nkHz (mel)", fontsize=6)
    for axis in axes[-1]:
        axis.set_xlabel("s", fontsize=6, labelpad=0)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=80)
    click.echo(f"{len(made_by_people)} sounds: {out}")


if __name__ == "__main__":
    main()
