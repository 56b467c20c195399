"""Patterns, pairs and the paper's Figures 7 to 9 as matplotlib Figures; nothing here saves or shows.

White is more energy, as in the paper. Axes are in Hz (mel scale) and seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from iminet_viz.alignment import AlignedExplanation
from iminet_viz.audio import atomic_path
from iminet_viz.frames import MelFramesConfig
from iminet_viz.frontends import ConstantQConfig, FrontEndConfig, LogMelConfig, make_frontend
from iminet_viz.patterns.engine import Pattern

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from iminet_viz.attribution import Explanation

ROLE_TITLES = {"imitation": "imitation tower", "recording": "recording tower"}


def draw_spectrogram(
    axes: Axes, values: np.ndarray, config: FrontEndConfig, limits: tuple[float, float] | None = None
) -> AxesImage:
    """Draw ``(bands, frames)`` on axes in seconds and Hz; returns the image for a colour bar."""
    image = axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        cmap="gray",
        interpolation="auto",  # antialiased where cells are smaller than pixels
        extent=(0, config.duration_s, -0.5, config.shape[0] - 0.5),
        vmin=limits[0] if limits else None,
        vmax=limits[1] if limits else None,
    )
    bands, labels = frequency_ticks(config)
    axes.set_yticks(bands, labels)
    return image


@functools.lru_cache(maxsize=8)
def frequency_ticks(config: FrontEndConfig) -> tuple[np.ndarray, list[str]]:
    """Band positions and labels of round frequencies inside the front end's range."""
    centres = make_frontend(config).band_frequencies()
    wanted = [200, 500, 1_000, 2_000, 5_000, 10_000, 20_000]
    if isinstance(config, LogMelConfig) and config.fmax <= 5_000:
        wanted = [250, 1_000, 2_000, 4_000]
    wanted = [frequency for frequency in wanted if centres[0] <= frequency <= centres[-1] * 1.02]
    positions = np.interp(wanted, centres, np.arange(len(centres)))
    return positions, [f"{frequency // 1000}k" if frequency >= 1_000 else str(frequency) for frequency in wanted]


def plot_pattern(pattern: Pattern) -> Figure:
    """Draw a pattern, both sides of it if it is a pair, with a colour bar in the units of its front end."""
    roles = list(pattern.inputs)
    figure = _plate(len(roles))
    for axes, role in zip(_column(figure, len(roles)), roles, strict=True):
        config = pattern.frontends[role]
        image = draw_spectrogram(axes, pattern.inputs[role], config)
        title = f"{pattern.layer} neuron {pattern.neuron}" + (f", {role} side" if len(roles) > 1 else "")
        axes.set_title(f"{title}   ({pattern.model})", fontsize=9, parse_math=False)
        _label(axes, config)
        label = "level (1 = 20 dB)" if isinstance(config, MelFramesConfig) else "level (std)"
        figure.colorbar(image, ax=axes, label=label, pad=0.02)
    return figure


def plot_spectrogram(values: np.ndarray, config: FrontEndConfig, title: str, label: str = "level (std)") -> Figure:
    """Draw one spectrogram ``(bands, frames)`` with axes and colour bar."""
    figure = _plate(1)
    (axes,) = _column(figure, 1)
    image = draw_spectrogram(axes, values, config)
    axes.set_title(title, fontsize=9, parse_math=False)
    _label(axes, config)
    figure.colorbar(image, ax=axes, label=label, pad=0.02)
    return figure


def plot_explanation(explanation: Explanation | AlignedExplanation) -> Figure:
    """Draw what speaks for (red) and against (blue) a target over the spectrograms: attribution left, occlusion right.

    One scale of colours serves all sides of a column, so that a side that does not matter stays grey. Of an alignment
    see :func:`plot_alignment`.
    """
    if isinstance(explanation, AlignedExplanation):
        return plot_alignment(explanation)
    roles = list(explanation.inputs)
    figure = _figure(11, 0.5 + 2.6 * len(roles))
    grid = np.asarray(figure.subplots(len(roles), 2, squeeze=False))
    figure.suptitle(
        f"{explanation.model}, {explanation.target}: {explanation.value:.2f} (silence {explanation.silence:.2f})",
        fontsize=10,
        parse_math=False,
    )
    columns = {
        "integrated gradients": (explanation.attributions, "adds to the target, per cell"),
        "occlusion": (explanation.occlusion, "lost without the window"),
    }
    for column, (name, (maps, label)) in enumerate(columns.items()):
        largest = _largest(maps)
        for row, role in enumerate(roles):
            axes, config = grid[row, column], explanation.frontends[role]
            draw_spectrogram(axes, explanation.inputs[role], config)
            strength = np.clip(maps[role] / largest, -1, 1)
            image = _overlay(axes, strength, largest, config)
            axes.set_title(f"{role}, {name}   (side's share {explanation.shares[role]:+.2f})", fontsize=9)
            _label(axes, config)
            figure.colorbar(image, ax=axes, label=label, pad=0.02)
    return figure


SIDE_AXES = (0.09, 0.17, 0.88, 0.79)  # left, bottom, width, height: a page draws its playhead by them


def plot_side(explanation: Explanation | AlignedExplanation, role: str) -> Figure:
    """Draw one side alone, what speaks for and against the score over its spectrogram, in axes at ``SIDE_AXES``."""
    config, values = explanation.frontends[role], explanation.inputs[role]
    if isinstance(explanation, AlignedExplanation):
        strength, opacity = np.tile(_nearness_strength(explanation)[role], (values.shape[0], 1)), 0.6
    else:
        largest, opacity = _largest(explanation.attributions), 1.0
        strength = np.clip(explanation.attributions[role] / largest, -1, 1)
    figure = Figure(figsize=(5.6, 2.5))
    axes = figure.add_axes(SIDE_AXES)
    draw_spectrogram(axes, values, config)
    _overlay(axes, strength, 1.0, config, opacity)
    axes.set_xlabel("time (s)", fontsize=8, labelpad=1)
    axes.set_ylabel("frequency (Hz)", fontsize=8, labelpad=1)
    axes.tick_params(labelsize=8, pad=2)
    return figure


def plot_alignment(explanation: AlignedExplanation) -> Figure:
    """Draw which moments met: lines from the imitation above to the recording below, red where they are near."""
    from matplotlib.collections import LineCollection

    figure = _figure(11, 7)
    rows: Any = figure.subplots(3, 1, height_ratios=(2, 1.5, 2))
    figure.suptitle(f"{explanation.model}: which moments met", fontsize=10, parse_math=False)
    strength = _nearness_strength(explanation)
    for axes, role in ((rows[0], "imitation"), (rows[2], "recording")):
        config = explanation.frontends[role]
        draw_spectrogram(axes, explanation.inputs[role], config)
        image = _overlay(axes, np.tile(strength[role], (config.shape[0], 1)), 1.0, config, 0.6)
        _label(axes, config)
        axes.set_title(role, fontsize=9, loc="left")
    rows[0].xaxis.set_ticks_position("top")
    rows[0].xaxis.set_label_position("top")
    largest = _largest_nearness(explanation)
    lines, colours = [], []
    for own in explanation.alignments:
        ends = [
            (edges[:-1] + edges[1:])[own.path[:, side]] / 2 / explanation.frontends[role].duration_s
            for side, (role, edges) in enumerate(own.edges.items())
        ]
        lines += [[(above, 1), (below, 0)] for above, below in zip(*ends, strict=True)]
        colours += list(np.clip(own.nearness / largest, -1, 1))
    rows[1].add_collection(
        LineCollection(lines, array=np.array(colours), cmap="RdBu_r", clim=(-1, 1), linewidths=1.2, alpha=0.75)
    )
    rows[1].set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], facecolor="0.55")
    bar = figure.colorbar(image, ax=list(rows), pad=0.01, label="nearer than two moments at random")
    bar.set_ticks([-1, 0, 1], labels=[f"{-largest:.0%}", "0", f"{largest:.0%}"])
    return figure


def plot_paths(explanation: AlignedExplanation) -> Figure:
    """Draw the distances of all pairs of frames of each part, and the path through them; dark is near."""
    count = len(explanation.alignments)
    columns = min(count, 2)
    figure = _figure(11 if count > 1 else 6, 0.4 + 4 * -(-count // columns))
    grid = np.asarray(figure.subplots(-(-count // columns), columns, squeeze=False)).ravel()
    for axes in grid[count:]:
        axes.set_axis_off()
    for axes, own in zip(grid, explanation.alignments, strict=False):
        across, up = own.edges["recording"], own.edges["imitation"]
        image = axes.pcolormesh(across, up, own.distances, cmap="gray", rasterized=True)
        centres = [(edges[:-1] + edges[1:]) / 2 for edges in (up, across)]
        axes.plot(centres[1][own.path[:, 1]], centres[0][own.path[:, 0]], color="#d62728", linewidth=2)
        axes.set_title(f"{own.part}: score {own.score:.3f}", fontsize=9, parse_math=False)
        axes.set_xlabel("recording, time (s)")
        axes.set_ylabel("imitation, time (s)")
        figure.colorbar(image, ax=axes, label="distance", pad=0.02)
    return figure


def _overlay(
    axes: Axes, strength: np.ndarray, largest: float, config: FrontEndConfig, opacity: float = 1.0
) -> AxesImage:
    """Lay what speaks for (red) and against (blue) over a spectrogram; ``strength`` in [-1, 1] is how opaque it is."""
    return axes.imshow(
        largest * strength,
        origin="lower",
        aspect="auto",
        cmap="RdBu_r",
        alpha=opacity * np.sqrt(np.abs(strength)),
        extent=(0, config.duration_s, -0.5, config.shape[0] - 0.5),
        vmin=-largest,
        vmax=largest,
    )


def _largest(maps: Mapping[str, np.ndarray]) -> float:
    return max(float(np.quantile(np.abs(values), 0.995)) for values in maps.values()) or 1.0


def _largest_nearness(explanation: AlignedExplanation) -> float:
    return max(float(np.nanmax(np.abs(explanation.profile(role)))) for role in explanation.inputs) or 1.0


def _nearness_strength(explanation: AlignedExplanation) -> dict[str, np.ndarray]:
    largest = _largest_nearness(explanation)
    return {role: np.nan_to_num(explanation.profile(role)) / largest for role in explanation.inputs}


def plot_tower(columns: Mapping[str, Mapping[str, Sequence[Pattern]]], role: str, title: str) -> Figure:
    """Lay out the paper's Figure 7 or 8: layers from top to bottom, one column of four neurons a model.

    Args:
        columns: ``{model: {layer: patterns}}``, shallow layers first.
        role: tower to draw.
        title: over the whole.
    """
    layers = list(next(iter(columns.values())))
    figure = _figure(11, 1.0 + 2.9 * len(layers))
    figure.suptitle(title, fontsize=11)
    blocks = np.asarray(figure.subfigures(len(layers), len(columns), squeeze=False))
    for row, layer in enumerate(layers):
        for column, (model, by_layer) in enumerate(columns.items()):
            block: Any = blocks[row, column]
            block.suptitle(f"{layer}, {model}", fontsize=9, parse_math=False)
            grid = np.asarray(block.subplots(2, 2, squeeze=False))
            for place, axes in enumerate(grid.ravel()):
                if place >= len(by_layer[layer]):
                    axes.set_axis_off()
                    continue
                pattern = by_layer[layer][place]
                draw_spectrogram(axes, pattern.inputs[role], pattern.frontends[role])
                axes.set_title(f"neuron {pattern.neuron}", fontsize=7, pad=2)
                axes.tick_params(labelsize=6, length=2)
                _label_outside(axes, row=place // 2, rows=2, column=place % 2)
    return figure


def plot_pairs(columns: Mapping[str, Sequence[Pattern]], title: str) -> Figure:
    """Lay out the paper's Figure 9: fc1 units, each a pair of inputs, one block of rows a model."""
    rows = [(model, pattern) for model, patterns in columns.items() for pattern in patterns]
    figure = _figure(11, 0.8 + 1.9 * len(rows))
    figure.suptitle(title, fontsize=11)
    grid = np.asarray(figure.subplots(len(rows), 2, squeeze=False))
    for row, (model, pattern) in enumerate(rows):
        for column, role in enumerate(("imitation", "recording")):
            axes = grid[row, column]
            draw_spectrogram(axes, pattern.inputs[role], pattern.frontends[role])
            axes.set_title(f"fc1 unit {pattern.neuron}, {role} side ({model})", fontsize=8, parse_math=False)
            axes.tick_params(labelsize=7)
            axes.set_ylabel("Hz (mel)", fontsize=7)
            if row == len(rows) - 1:
                axes.set_xlabel("time (s)", fontsize=7)
    return figure


def plot_twins(twins: Sequence[tuple[str, Pattern, Pattern]], names: tuple[str, str], title: str) -> Figure:
    """Lay out patterns of matched neurons of two nets side by side, a pair's two sides one above the other.

    Args:
        twins: a line about each, and both patterns.
        names: of the nets, over the columns.
        title: over the whole.
    """
    roles = list(twins[0][1].inputs)
    rows = [(line, role, pair) for line, *pair in twins for role in roles]
    figure = _figure(9, 0.9 + 1.45 * len(rows))
    figure.suptitle(title, fontsize=11, parse_math=False)
    grid = np.asarray(figure.subplots(len(rows), 2, squeeze=False))
    for row, (line, role, pair) in enumerate(rows):
        for column, (name, pattern) in enumerate(zip(names, pair, strict=True)):
            axes = grid[row, column]
            draw_spectrogram(axes, pattern.inputs[role], pattern.frontends[role])
            side = f", {role} side" if len(roles) > 1 else ""
            text = f"{name}, neuron {pattern.neuron}{side}" + (f"   {line}" * (column == 1))
            axes.set_title(text, fontsize=8, pad=3, loc="left", parse_math=False)
            axes.tick_params(labelsize=6.5, length=2)
            last = row == len(rows) - 1 or (len(roles) > 1 and row % len(roles) == len(roles) - 1)
            _label_outside(axes, row=int(last), rows=2, column=column)
    return figure


def plot_layers(
    layers: Sequence[str],
    series: Mapping[str, Sequence[Sequence[float]]],
    label: str,
    intervals: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Figure:
    """Draw some values of each layer, one line of marks a series: many values as small marks with their median.

    Args:
        layers: names, shallow to deep.
        series: of each layer the values, by what they are of; the first is drawn in colour.
        label: of the values.
        intervals: of some series, one a layer.
    """
    drawn = {name: values for name, values in series.items() if any(len(own) for own in values)}
    figure = _figure(6.4, 1.0 + len(layers) * (0.2 + 0.16 * len(drawn)))
    axes = figure.subplots()
    for row, (name, values) in enumerate(drawn.items()):
        colour, marker = _STYLES[list(series).index(name) % len(_STYLES)]
        for place, own in enumerate(values):
            y = place + (row - (len(drawn) - 1) / 2) * 0.8 / len(drawn)
            if intervals and name in intervals:
                axes.hlines(y, *intervals[name][place], colors=colour, linewidth=2)
            if len(own) > 1:
                axes.plot(own, np.full(len(own), y), "|", color=colour, alpha=0.35, markersize=6)
            if len(own):
                middle = [float(np.median(own))]
                axes.plot(middle, [y], marker, color=colour, markersize=6, label=name if place == 0 else None)
    axes.set_yticks(range(len(layers)), layers)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    for place in range(len(layers) - 1):
        axes.axhline(place + 0.5, color="0.85", linewidth=0.8)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_xlabel(label)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5, frameon=False)
    return figure


def plot_effects(
    rows: Sequence[tuple[str, float, tuple[float, float], tuple[float, tuple[float, float]] | None]], label: str
) -> Figure:
    """Draw effect sizes from -1 to 1 with their intervals, those of random nets in grey below each.

    Args:
        rows: what, effect, interval, and both of random nets if there are any.
        label: of the axis.
    """
    figure = _figure(6.4, 1.15 + 0.42 * len(rows))
    axes = figure.subplots()
    for place, (_, value, interval, null) in enumerate(rows):
        if null is not None:
            colour, marker = _STYLES[2]
            axes.hlines(place + 0.2, *null[1], colors=colour, linewidth=2)
            axes.plot([null[0]], [place + 0.2], marker, color=colour, markersize=6)
        colour, marker = _STYLES[0]
        axes.hlines(place - 0.1, *interval, colors=colour, linewidth=2.5)
        axes.plot([value], [place - 0.1], marker, color=colour, markersize=7)
    for number, name in ((0, "these nets"), (2, "random nets")):
        if number == 0 or any(row[3] for row in rows):
            colour, marker = _STYLES[number]
            axes.plot([], [], marker, color=colour, linestyle="-", label=name)
    axes.axvline(0, color="0.4", linewidth=1)
    axes.set_xlim(-1.05, 1.05)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows], fontsize=8.5, parse_math=False)
    axes.set_xlabel(label)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5, frameon=False)
    return figure


# first, second, random, nothing: colours that also differ for the colour-blind, and marks that differ in grey
_STYLES = (("#17675d", "o"), ("#c2570c", "s"), ("#7a838a", "D"), ("#b0a8d0", "x"))


def plot_retrieval(
    systems: Mapping[str, Sequence[Sequence[float]]], categories: Sequence[str], chance: Sequence[float]
) -> Figure:
    """Lay out the paper's Figure 6: MRR of some systems in each category, bars with the deviation between seeds.

    Args:
        systems: of each category the MRR of every seed, by the name of the system.
        categories: their names.
        chance: MRR of a constant scorer in each category, a dashed line.
    """
    figure = _figure(8, 3.6)
    axes = figure.subplots()
    place, width = np.arange(len(categories)), 0.8 / len(systems)
    for number, (name, seeds) in enumerate(systems.items()):
        means = [np.mean(values) for values in seeds]
        deviations = [np.std(values, ddof=1) if len(values) > 1 else 0 for values in seeds]
        left = place + (number - (len(systems) - 1) / 2) * width
        axes.bar(left, means, width, yerr=deviations, capsize=2, label=name)
    axes.hlines(chance, place - 0.45, place + 0.45, colors="black", linestyles="dashed", label="chance")
    axes.set_xticks(place, categories)
    axes.set_xlabel("category (sounds to choose from)")
    axes.set_ylabel("mean reciprocal rank")
    figure.legend(loc="outside upper center", ncols=3, fontsize=8)
    return figure


def save_figure(path: Path, figure: Figure, dpi: int = 80) -> None:
    """Write a PNG in 24 shades of grey, a fifth of the size; no time stamp, so the same figure gives the same bytes.

    The file appears whole or not at all.
    """
    from PIL import Image

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # and no PNG in colour that would be read again: a fifth of the time
    drawn = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
    image = drawn.convert("L").quantize(24, dither=Image.Dither.NONE)
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)


def save_chart(path: Path, figure: Figure, dpi: int = 130) -> None:
    """Write a PNG in colour, otherwise as :func:`save_figure`."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png", metadata={"Software": None})


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _plate(rows: int) -> Figure:
    """Figure of spectrograms below each other; its margins are set by hand, since to find them takes half the time."""
    figure = Figure(figsize=(6.4, 2.5 * rows))
    figure.subplots_adjust(
        left=0.1, right=1.01, bottom=0.19 / rows, top=1 - 0.11 / rows, hspace=0.45 if rows > 1 else 0.2
    )
    return figure


def _column(figure: Figure, rows: int) -> list[Axes]:
    grid = np.asarray(figure.subplots(rows, 1, squeeze=False))
    return list(grid[:, 0])


def _label(axes: Axes, config: FrontEndConfig) -> None:
    stretched = f", of a clip stretched to {config.duration_s:.2f} s" if isinstance(config, MelFramesConfig) else ""
    axes.set_xlabel(f"time (s{stretched})")
    axes.set_ylabel(f"frequency (Hz, {'log' if isinstance(config, ConstantQConfig) else 'mel'})")


def _label_outside(axes: Axes, row: int, rows: int, column: int) -> None:
    if row == rows - 1:
        axes.set_xlabel("time (s)", fontsize=6)
    else:
        axes.set_xticklabels([])
    if column == 0:
        axes.set_ylabel("Hz (mel)", fontsize=6)
    else:
        axes.set_yticklabels([])
