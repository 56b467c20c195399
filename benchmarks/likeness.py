"""How alike are two pictures of one neuron, of two neurons, and of a neuron and a net that never learned?

The threshold of the warning "also found in random nets" (``AS_ALIKE`` in ``patterns/evidence.py``) comes from here:
the likeness that nearly every neuron's second picture reaches, and hardly another neuron's of the same layer.

    .venv/bin/iminet-viz gallery build --models tl-iminet-conv123 --all --out GALLERY
    .venv/bin/python benchmarks/likeness.py GALLERY
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from scipy.stats import binomtest

from iminet_viz.checkpoint import read_json
from iminet_viz.evaluation import bootstrap_interval
from iminet_viz.patterns.evidence import AS_ALIKE
from iminet_viz.patterns.stability import likeness, texture


@click.command()
@click.argument("gallery", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(gallery: Path) -> None:
    layers: dict[tuple[str, str], list[dict]] = {}
    for entry in read_json(gallery / "manifest.json")["entries"]:
        layers.setdefault((entry["model"], entry["layer"]), []).append(entry)
    own, control, towers, fc1 = [], [], [], []
    for (model, layer), entries in layers.items():
        pictures = [
            {
                role: texture(np.load(gallery / entry["folder"] / side["array"]))
                for role, side in entry["inputs"].items()
            }
            for entry in entries
        ]
        grid = np.array([[likeness(a, b) for b in pictures] for a in pictures])
        others = grid[~np.eye(len(grid), dtype=bool)].reshape(len(grid), -1)  # (neurons, other neurons)
        stability, random = (np.array([e["evidence"][key] for e in entries]) for key in ("stability", "control"))
        said = ", ".join(
            f"{name} {np.median(values):.2f} (5 % to 95 %: {np.percentile(values, 5):.2f} to "
            f"{np.percentile(values, 95):.2f})"
            for name, values in (("own second", stability), ("another neuron's", others), ("random net's best", random))
        )
        click.echo(f"{model} {layer}, {len(entries)} neurons: {said}")
        own += [*stability]
        control += [*random]
        (fc1 if layer == "fc1" else towers).extend((others >= AS_ALIKE).mean(axis=1))
    reached = sum(value >= AS_ALIKE for value in own)
    low, high = binomtest(reached, len(own)).proportion_ci(method="wilson")
    click.echo(f"own second picture at {AS_ALIKE} or more: {reached} of {len(own)} [{low:.3f}, {high:.3f}]")
    for name, shares in (("the towers", towers), ("fc1", fc1)):
        low, high = bootstrap_interval(np.array(shares), lambda drawn: float(drawn.mean()), 0, 2_000)
        click.echo(f"another neuron's of its layer, {name}: {np.mean(shares):.3f} [{low:.3f}, {high:.3f}] of the pairs")
    click.echo(f"random net's most alike: {sum(value >= AS_ALIKE for value in control)} of {len(control)} neurons")


if __name__ == "__main__":
    main()
