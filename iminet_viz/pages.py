"""Pages that open from disk: a template of the package, filled with data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files as package_files
from typing import Any


def fill_page(name: str, slot: str, data: Mapping[str, Any]) -> str:
    """Put data into the script element of a template; ``<`` is escaped, so no name in it can end the element.

    Args:
        name: of the template.
        slot: what stands in it for the data.
        data: JSON values.

    Raises:
        ValueError: the data hold NaN or infinite values.
    """
    folder = package_files("iminet_viz")
    template = folder.joinpath(name).read_text(encoding="utf-8")
    theme = folder.joinpath("page_theme.html").read_text(encoding="utf-8").rstrip("\n")
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return template.replace("__THEME__", theme, 1).replace(slot, text)  # the data last: they may name a slot
