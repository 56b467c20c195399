"""Which files a request may have: those of the folders that the context serves, and uploads; nothing else.

gradio serves a file by its path on the machine. This gate stands before it: pages name files as ``@ROOT/NAME``, a path
is only accepted in the folder of uploads, and gradio fetches no address of the net for anybody. Without a password it
answers only who calls it by a name of this machine, since a foreign page may give its own name our address; with one
it answers nobody who did not log in, but what the page of the login needs.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from iminet_viz.app._context import SERVED

ROUTES = ("/file=", "/file/", "/proxy=")
LOCAL = ("127.0.0.1", "localhost", "[::1]", "::1")
OPEN = {  # without a login; "startup-events" is asked for by gradio when it starts
    *("/", "/login", "/login/", "/logout", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json"),
    *(f"/gradio_api/{name}" for name in ("theme.css", "startup-events", "login_check", "user", "token", "app_id")),
}
MOST_BYTES = 8 << 20  # of a call, which holds settings and names
OPEN_FOLDERS = ("/assets/", "/static/", "/svelte/")
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
        hosts: Collection[str] = (),
    ) -> None:
        self.app, self.roots, self.uploads, self.finders = app, roots, uploads.resolve(), finders or {}
        self.hosts = hosts  # by which it may be called; empty: any

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Let a request pass, with the path of the file it may have, or answer 401 or 403."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_safely(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        async def refuse(status: int, words: bytes) -> None:
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send_safely({"type": "http.response.start", "status": status, "headers": headers})
            await send_safely({"type": "http.response.body", "body": words})

        if self.hosts and host_of(scope) not in self.hosts:
            await refuse(403, b"The app is not to be had by this name; use http://localhost with its port.")
            return
        if not is_known(scope):
            await refuse(401, b"Log in first.")
            return
        if scope.get("method") == "POST" and "/gradio_api/" in scope["path"] and not scope["path"].endswith("/upload"):
            body = await read_body(receive)
            if body is None:
                await refuse(413, b"The call is too large; files go by upload.")
                return
            if names_address(body):
                await refuse(403, b"The app fetches no address: send the sound itself.")
                return
            receive = give_again(body, receive)
        route = next((route for route in ROUTES if f"/gradio_api{route}" in scope["path"]), None)
        if route is not None:
            before, _, name = scope["path"].partition(f"/gradio_api{route}")
            path = None if route == "/proxy=" else await self._find(name)
            if path is None:
                await refuse(403, b"The app does not serve this file.")
                return
            scope = {**scope, "path": f"{before}/gradio_api/file={path}"}
        await self.app(scope, receive, send_safely)

    async def _find(self, name: str) -> Path | None:
        root, _, what = name.removeprefix("@").partition("/")
        if name.startswith("@") and root in self.finders:  # may read or write a file: not in the loop of the server
            return await asyncio.to_thread(self.finders[root], what)
        return find_file(name, self.roots, self.uploads)


def _header(scope: Mapping[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope.get("headers", ()) if key == name), "")


def host_of(scope: Mapping[str, Any]) -> str:
    """The name that a request calls the app by, without the port."""
    host = _header(scope, b"host").lower()
    return f"{host.partition(']')[0]}]" if host.startswith("[") else host.partition(":")[0]


def is_known(scope: Mapping[str, Any]) -> bool:
    """Tell whether a request comes from who logged in, or needs no login."""
    app, path = scope.get("app"), scope["path"]
    if getattr(app, "auth", None) is None or path in OPEN or (path.startswith(OPEN_FOLDERS) and ".." not in path):
        return True
    try:
        cookies = SimpleCookie(_header(scope, b"cookie"))
    except CookieError:
        return False
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")  # type: ignore[union-attr]
    return any(name in cookies and cookies[name].value in app.tokens for name in names)  # type: ignore[union-attr]


async def read_body(receive: Any) -> bytes | None:
    """All of a request; None where it is more than ``MOST_BYTES``."""
    parts, more, size = [], True, 0
    while more:
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BYTES:
            return None
    return b"".join(parts)


def give_again(body: bytes, receive: Any) -> Callable[[], Any]:
    """What receives a body that was read, then what comes after it."""
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def names_address(body: bytes) -> bool:
    """Tell whether a file in a call is an address of the net, which gradio would fetch."""
    if b"path" not in body and b"\\u" not in body:
        return False
    try:
        waiting = [json.loads(body)]
    except (ValueError, RecursionError):
        return False  # gradio cannot read it either
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            path = one.get("path")
            if isinstance(path, str) and path.strip().lower().startswith(("http://", "https://")):
                return True
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return False


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
