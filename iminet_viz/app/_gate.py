"""Which files a request may have: those of the folders that the context serves, and uploads; nothing else.

gradio serves a file by its path on the machine. This gate stands before it: pages name files as ``@ROOT/NAME``, a path
is only accepted in the folder of uploads, and gradio fetches no address of the net for anybody.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from iminet_viz.app._context import SERVED

ROUTES = ("/file=", "/file/", "/proxy=")
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"object-src 'none'; base-uri 'self'; frame-ancestors 'self'"),
)


class Gate:
    """ASGI middleware; ``roots`` is read at each request, so that a folder may be added while the app runs."""

    def __init__(
        self,
        app: Any,
        roots: Mapping[str, Path],
        uploads: Path,
        finders: Mapping[str, Callable[[str], Path | None]] | None = None,
    ) -> None:
        self.app, self.roots, self.uploads, self.finders = app, roots, uploads.resolve(), finders or {}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Let a request pass, with the path of the file it may have, or answer 403."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_safely(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        route = next((route for route in ROUTES if f"/gradio_api{route}" in scope["path"]), None)
        if route is not None:
            before, _, name = scope["path"].partition(f"/gradio_api{route}")
            path = None if route == "/proxy=" else await self._find(name)
            if path is None:
                headers = [(b"content-type", b"text/plain; charset=utf-8")]
                await send_safely({"type": "http.response.start", "status": 403, "headers": headers})
                await send_safely({"type": "http.response.body", "body": b"The app does not serve this file."})
                return
            scope = {**scope, "path": f"{before}/gradio_api/file={path}"}
        await self.app(scope, receive, send_safely)

    async def _find(self, name: str) -> Path | None:
        root, _, what = name.removeprefix("@").partition("/")
        if name.startswith("@") and root in self.finders:  # may read or write a file: not in the loop of the server
            return await asyncio.to_thread(self.finders[root], what)
        return find_file(name, self.roots, self.uploads)


def find_file(name: str, roots: Mapping[str, Path], uploads: Path) -> Path | None:
    """The file that a request means, links followed; None where it may not have it.

    Args:
        name: ``@ROOT/NAME``, or a path in the folder of uploads; decoded.
        roots: folders that are served, by name.
        uploads: where gradio keeps uploads and copies.
    """
    try:
        if name.startswith("@"):
            root, _, inner = name[1:].partition("/")
            folder = roots.get(root)
            if folder is None or Path(inner).suffix.lower() not in SERVED:
                return None
            path = Path(os.path.realpath(folder / inner))
            allowed = path.is_relative_to(folder) and path.suffix.lower() in SERVED
        else:
            path = Path(os.path.realpath(name if name.startswith("/") else f"/{name}"))
            allowed = path.is_relative_to(uploads)
        return path if allowed and path.is_file() else None
    except (OSError, ValueError):  # a NUL, a name too long
        return None
