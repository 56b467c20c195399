"""What pages and programs send: found by its path, removed when it was used, or when the page that shows it goes."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
from pathlib import Path

from iminet_viz.errors import AppError


class Uploads:
    """The folder of uploads; each lies in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shown: dict[tuple[str, str], Path] = {}  # by page and place in it
        self._lock = threading.Lock()

    def find(self, name: str) -> Path:
        """The upload of a path that a page or a program names.

        Raises:
            AppError: it is none: only uploads may be named.
        """
        with contextlib.suppress(OSError, ValueError):
            path = Path(os.path.realpath(name))
            if name and path.is_relative_to(self.folder) and path.is_file():
                return path
        raise AppError("the recording did not arrive, or is not kept any more: send it again")

    def copy(self, path: Path) -> Path:
        """Make an upload of a file, for a page to show."""
        own = self.folder / secrets.token_hex(16) / path.name
        own.parent.mkdir()
        shutil.copyfile(path, own)
        return own

    def show(self, session: str, place: str, name: str | None) -> None:
        """Keep what a page shows at a place until it shows something else there, or goes; remove what was there."""
        path = None if name is None else Path(os.path.realpath(name))
        with self._lock:
            before = self._shown.pop((session, place), None)
            if path is not None:
                self._shown[session, place] = path
        if before != path:
            self.remove(before)

    def leave(self, session: str) -> None:
        """Remove what a page showed."""
        with self._lock:
            gone = [self._shown.pop(key) for key in list(self._shown) if key[0] == session]
        self.remove(*gone)

    def remove(self, *names: str | Path | None) -> None:
        """Remove uploads with their folders; nothing else, whatever is named."""
        for name in names:
            if name is None:
                continue
            path = Path(os.path.realpath(name))
            if path.parent.parent == self.folder:
                with contextlib.suppress(OSError):  # it was removed before
                    path.unlink()
                    path.parent.rmdir()
