"""Spectrograms without a title, with a playhead: what the gallery has no picture of, or none that may name its net."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from iminet_viz.app._context import Context, Markup, tag
from iminet_viz.app._figure import framed

if TYPE_CHECKING:
    import numpy as np

    from iminet_viz.frontends import FrontEndConfig

SIZE, AXES, DPI = (5.6, 2.5), (0.13, 0.2, 0.85, 0.76), 150  # inches; left, bottom, width, height; per inch


def draw_plate(path: Path, values: np.ndarray, config: FrontEndConfig) -> None:
    """Write the picture of ``(bands, frames)``, axes in seconds and Hz."""
    from matplotlib.figure import Figure

    from iminet_viz.audio import atomic_path
    from iminet_viz.gallery import DRAWING
    from iminet_viz.plotting import draw_spectrogram

    with DRAWING, atomic_path(path) as temporary:  # matplotlib's fonts are one for all threads
        figure = Figure(figsize=SIZE)
        axes = figure.add_axes(AXES)
        draw_spectrogram(axes, values, config)
        axes.set_xlabel("time (s)", fontsize=10, labelpad=1)
        axes.set_ylabel("frequency (Hz)", fontsize=10, labelpad=1)
        axes.tick_params(labelsize=9, pad=2)
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})


def plate(url: str, alt: str, side: str, seconds: float, picture_s: float) -> Markup:
    """The picture with the playhead of the sound of its ``side``, which is ``seconds`` long."""
    left, bottom, width, height = AXES
    head = tag(
        "i",
        class_="iv-head",
        hidden=True,
        data_side=side,
        data_left=left,
        data_width=round(width * min(1.0, seconds / picture_s), 4),
        style=f"top:{100 * (1 - bottom - height):.2f}%;height:{100 * height:.2f}%",
    )
    across, down = (round(DPI * inches) for inches in SIZE)
    picture = tag("img", src=url, alt=alt, width=across, height=down, decoding="async")
    return framed((across, down), picture, head)


def wide_picture(context: Context, path: Path, alt: str) -> Markup:
    """A large picture, which a narrow screen scrolls through; its place is kept until it is there."""
    url = context.url(path)
    width, height = png_size(path)
    image = tag("img", src=url, alt=alt, width=width, height=height, loading="lazy")
    link = tag("a", image, href=url, target="_blank", title="Open the picture alone")
    return tag("div", link, class_="iv-scroll", tabindex=0, role="group", aria_label=alt)


def png_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the head of the file."""
    with path.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return width, height
