"""Which parameterisation draws patterns that excite their neuron and are a sound's? The tables of docs/patterns.md.

    .venv/bin/python benchmarks/parameterizations.py --model tl-iminet-conv123 --per-layer 6 --pictures OUT

The same neurons, seed and steps for all; intervals are 95 %, by bootstrap over neurons.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import click
import numpy as np

from iminet_viz.audio import atomic_path
from iminet_viz.checkpoint import TrainedModel, load_model
from iminet_viz.patterns import evidence
from iminet_viz.patterns.engine import EngineConfig, Pattern, maximize_many
from iminet_viz.patterns.objectives import channel
from iminet_viz.patterns.parameterizations import PARAMETERIZATIONS
from iminet_viz.sonification import choose_griffin_lim

MEASURES = {
    "headroom": "headroom",  # E2
    "beyond": "beyond all clips",
    "percentile": "percentile",
    "transfer": "ReLU transfer",  # E1
    "realizability": "realizability",  # E3
    "kept": "activation kept",  # E4
    "heard": "headroom of the sound",
    "heard_beyond": "sound beyond all clips",
    "both": "sound beyond all clips, and realizability below 0.3",
    "error_db": "log-mel error, dB",
    "crest_db": "crest, dB",
}


def measure(model: TrainedModel, pattern: Pattern, references: evidence.References) -> dict[str, float]:
    """E1 to E4 of a tower's pattern."""
    ((role, values),) = pattern.inputs.items()
    config, level = pattern.frontends[role], pattern.db_statistics[role]
    real = evidence.compare_with_real(pattern, references)
    assert real is not None and real["headroom"] is not None
    made = choose_griffin_lim(model, pattern)
    kept = made.activation / pattern.activation
    possible = evidence.realizability(values, config, level.mean_db, level.std_db)
    heard_beyond = kept * real["headroom"] > 1
    return {
        "headroom": real["headroom"],
        "beyond": float(real["exceeds"]),
        "percentile": real["percentile"],
        "transfer": pattern.evidence.relu_transfer or 0.0,
        "realizability": possible,
        "kept": kept,
        "heard": kept * real["headroom"],
        "heard_beyond": float(heard_beyond),
        "both": float(heard_beyond and possible < 0.3),
        "error_db": made.log_mel_error_db[role],
        "crest_db": made.crest_db[role],
    }


def interval(values: np.ndarray, statistic: str) -> str:
    """Statistic and its 95 % interval: ``(neurons,)`` to words."""
    rng = np.random.default_rng(0)
    reduce = getattr(np, statistic)
    drawn = reduce(values[rng.integers(0, len(values), (4000, len(values)))], axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{reduce(values):.3g} [{low:.3g}, {high:.3g}]"


@click.command()
@click.option("--model", "name", default="tl-iminet-conv123", show_default=True)
@click.option("--per-layer", default=6, show_default=True, type=click.IntRange(1), help="Neurons of each layer.")
@click.option("--seed", default=0, show_default=True)
@click.option("--pictures", type=click.Path(path_type=Path), help="Folder for pictures of the first neurons.")
def main(name: str, per_layer: int, seed: int, pictures: Path | None) -> None:
    """Compare the parameterisations and print the tables."""
    model = load_model(name)
    references = evidence.stored_references(model)
    assert references is not None, "iminet-viz reference makes what patterns are compared with"
    layers = [layer for layer in model.network.layers if model.network.map_shape(layer)]
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    used: list[str] = []
    for layer in layers:
        # those that some real clip excites, evenly spread: without one there is no headroom
        alive = np.flatnonzero(references.values[layer].max(axis=0) > 1e-6)
        neurons = alive[np.linspace(0, len(alive) - 1, min(per_layer, len(alive))).round().astype(int)]
        used += [f"{layer} {', '.join(map(str, neurons))}"]
        for parameterization in PARAMETERIZATIONS:
            begin = time.perf_counter()
            config = EngineConfig(parameterization=parameterization)
            patterns = maximize_many(model, [channel(layer, int(neuron)) for neuron in neurons], config, seed)
            found[layer, parameterization] = [measure(model, pattern, references) for pattern in patterns]
            click.echo(f"{layer} {parameterization}: {time.perf_counter() - begin:.1f} s", err=True)
            if pictures:
                draw(pictures / f"{layer}-{parameterization}.png", patterns[1 % len(patterns)])

    def of(parameterization: str, measure: str, layers: list[str]) -> np.ndarray:
        return np.array([row[measure] for layer in layers for row in found[layer, parameterization]])

    n = len(of("pixels", "headroom", layers))
    click.echo(f"\nNeurons (n = {n}): {'; '.join(used)}.\n")
    click.echo(
        f"| mean over n = {n} | " + " | ".join(PARAMETERIZATIONS) + " |\n|---|" + "---|" * len(PARAMETERIZATIONS)
    )
    for measure_, words in MEASURES.items():
        cells = [interval(of(kind, measure_, layers), "mean") for kind in PARAMETERIZATIONS]
        click.echo(f"| {words} | " + " | ".join(cells) + " |")
    others = [kind for kind in PARAMETERIZATIONS if kind != "pixels"]
    click.echo("\n| difference from pixels, same neurons | " + " | ".join(others) + " |\n|---|" + "---|" * len(others))
    for measure_, words in MEASURES.items():
        pixels = of("pixels", measure_, layers)
        click.echo(
            f"| {words} | " + " | ".join(interval(of(k, measure_, layers) - pixels, "mean") for k in others) + " |"
        )
    shown = ("headroom", "realizability", "kept", "heard", "error_db")
    click.echo("\n| layer, medians | parameterisation | " + " | ".join(MEASURES[key] for key in shown) + " |")
    click.echo("|---|---|" + "---|" * len(shown))
    for layer in layers:
        for kind in PARAMETERIZATIONS:
            cells = [f"{np.median(of(kind, key, [layer])):.2f}" for key in shown]
            click.echo(f"| {layer} | {kind} | " + " | ".join(cells) + " |")
    click.echo(f"\nEngine: {dataclasses.asdict(EngineConfig())}", err=True)


def draw(path: Path, pattern: Pattern) -> None:
    """Write a pattern's picture."""
    from iminet_viz.plotting import plot_pattern

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        plot_pattern(pattern).savefig(temporary, format="png")


if __name__ == "__main__":
    main()
