"""How the app looks: the colours of the project's pages, light and dark, as a theme of gradio."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils.fonts import Font

TEAL = gr.themes.Color(
    c50="#eef7f5",
    c100="#dceeea",
    c200="#b6dcd4",
    c300="#71c9bb",
    c400="#43a899",
    c500="#1f7d71",
    c600="#17675d",
    c700="#125049",
    c800="#16352f",
    c900="#0f2722",
    c950="#082924",
    name="iminet-teal",
)
STONE = gr.themes.Color(
    c50="#f4f5f3",
    c100="#eceeeb",
    c200="#d9ddda",
    c300="#b9c0bd",
    c400="#9ca6ac",
    c500="#6b767c",
    c600="#576067",
    c700="#2b3236",
    c800="#22282b",
    c900="#191d20",
    c950="#111416",
    name="iminet-stone",
)
# Fonts of the system: nothing is fetched, so it is the same without a network.
TEXT = [Font("system-ui"), Font("Segoe UI"), Font("Roboto"), Font("Helvetica Neue"), Font("Arial"), Font("sans-serif")]
CODE = [Font("ui-monospace"), Font("Menlo"), Font("Consolas"), Font("Liberation Mono"), Font("monospace")]


def make_theme() -> gr.themes.Base:
    """The theme; what it cannot say is in ``app.css``."""
    theme = gr.themes.Base(primary_hue=TEAL, secondary_hue=TEAL, neutral_hue=STONE, font=TEXT, font_mono=CODE)
    return theme.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="#1a1f21",
        body_text_color_dark="#e6eaeb",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_800",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_700",
        border_color_accent="*primary_600",
        border_color_accent_dark="*primary_300",
        color_accent="*primary_600",
        color_accent_soft="*primary_100",
        color_accent_soft_dark="*primary_800",
        link_text_color="*primary_600",
        link_text_color_dark="*primary_300",
        link_text_color_hover="*primary_700",
        link_text_color_hover_dark="*primary_200",
        link_text_color_visited="*primary_600",
        link_text_color_visited_dark="*primary_300",
        block_background_fill="#ffffff",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_radius="12px",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_400",
        block_label_background_fill="#ffffff",
        block_label_background_fill_dark="*neutral_900",
        block_label_border_width="0px",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_400",
        block_title_text_weight="400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        input_background_fill="#ffffff",
        input_background_fill_dark="*neutral_800",
        input_border_color="#8b949a",
        input_border_color_dark="*neutral_500",
        input_border_width="1px",
        input_radius="8px",
        checkbox_background_color="#ffffff",
        checkbox_background_color_dark="*neutral_800",
        checkbox_border_color="#8b949a",
        checkbox_border_color_dark="*neutral_500",
        checkbox_background_color_selected="*primary_600",
        checkbox_background_color_selected_dark="*primary_500",
        checkbox_border_color_selected="*primary_600",
        checkbox_border_color_selected_dark="*primary_500",
        checkbox_label_background_fill="*neutral_50",
        checkbox_label_background_fill_dark="*neutral_800",
        checkbox_label_background_fill_selected="*primary_100",
        checkbox_label_background_fill_selected_dark="*primary_800",
        slider_color="*primary_600",
        slider_color_dark="*primary_300",
        loader_color="*primary_600",
        loader_color_dark="*primary_300",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_300",
        button_primary_background_fill_hover_dark="*primary_200",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#082924",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_dark="*neutral_900",
        button_secondary_border_color="#8b949a",
        button_secondary_border_color_dark="*neutral_500",
        button_cancel_background_fill="#faecd5",
        button_cancel_background_fill_dark="#382910",
        button_cancel_text_color="#7c4a00",
        button_cancel_text_color_dark="#f1c07c",
        button_border_width="1px",
        button_large_radius="8px",
        button_medium_radius="8px",
        button_small_radius="8px",
        button_large_text_weight="600",
    )


def read_asset(name: str) -> str:
    """Text of a file beside this one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
