"""The app: search by voice, browse patterns and make them, compare nets, explain a match, judge by ear.

One file a tab, each with ``build(context)``; what they share and how they link to each other is in ``_context.py``.
Importing this loads nothing heavy; :func:`make_app` and :func:`launch` load gradio.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

from iminet_viz.app._context import AppSettings, Context, close_context, open_context
from iminet_viz.errors import AppError

if TYPE_CHECKING:
    import gradio as gr

M_ARENA_MAX, POOLS = -8, 2  # of malloc.h
END_S, INTERRUPTED = 5.0, 130  # how long work is waited for; the status of a program that was interrupted


def make_app(settings: AppSettings | None = None) -> gr.Blocks:
    """Build the app without starting it; see :func:`launch`."""
    context = open_context(settings or AppSettings())
    from iminet_viz.app._frame import build_app

    return build_app(context)


def launch(settings: AppSettings | None = None) -> None:
    """Start the app and serve until it is interrupted; its temporary files are removed at the end.

    Raises:
        AppError: the port is taken, or it would be open to the network without a password.
        GalleryError: the gallery of the settings is none.
        IminetVizError: the model or the study of the settings is none.
    """
    settings = settings or AppSettings()
    _check(settings)
    _check_files(settings)
    _share_memory()
    context = open_context(settings)  # before gradio is loaded, which makes folders where this says
    from iminet_viz.app._frame import NAME, build_app, start_app

    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    app = None
    try:
        app = build_app(context)
        start_app(app, context)
        print(f"{NAME} is at {app.local_url}  (stop it with Ctrl+C)", flush=True)
        while not stop.wait(1):
            pass
    finally:
        if app is not None:
            with contextlib.suppress(Exception):  # it never started
                app.close(verbose=False)
        ended = close_context(context, END_S if app is not None else 0.0)
    if not ended:  # a thread in torch would abort the process, with a message that helps nobody
        sys.stdout.flush()
        os._exit(INTERRUPTED)


def _share_memory() -> None:
    """Let all threads take memory from two pools: glibc gives each thread one of its own, and keeps what was freed.

    Measured on 240 sounds with 20 users for 90 s: 12 MB more, level from 60 s on, instead of 31 MB.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, POOLS)


def _check(settings: AppSettings) -> None:
    """Refuse what gradio would only say in a traceback.

    Raises:
        AppError: see :func:`launch`.
    """
    local = settings.host in ("127.0.0.1", "::1", "localhost")
    if not local and settings.auth is None:
        raise AppError(f"{settings.host} is open to the network: give --auth USER:PASSWORD, or stay on 127.0.0.1")
    if settings.auth is not None and not all(settings.auth):
        raise AppError("the user and the password must not be empty")
    if settings.port is not None:
        with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, settings.port))
            except OSError as error:
                raise AppError(
                    f"port {settings.port} of {settings.host} cannot be had ({error.strerror}); take another by --port"
                ) from None


def _check_files(settings: AppSettings) -> None:
    """Open what the user named, so that a mistake is told now, not to who comes first.

    Raises:
        IminetVizError: see :func:`launch`.
    """
    if settings.study is not None:
        from iminet_viz.study import Study

        Study(settings.study)
    if settings.model != "default":
        from iminet_viz.scoring import load_scorer

        load_scorer(settings.model)


__all__ = ["AppSettings", "Context", "launch", "make_app"]
