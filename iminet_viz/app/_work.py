"""Long work behind a page: in a thread of its own, followed step by step, ended when nobody waits for it any more.

::

    for step in follow(lambda report: explain(..., report=report)):
        if step.result is None:
            yield progress_bar(step)      # the page's own progress
        else:
            yield show(step.result)

gradio closes the generator of an event that is cancelled, or whose page was left; the next ``report`` of the work then
raises, so that it ends too.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from iminet_viz.app._context import Markup, tag

T = TypeVar("T")
Report = Callable[[str, float], None]  # what is being done, the share that is done
EVERY_S = 0.3


class Cancelled(Exception):  # noqa: N818 (no error)
    """Nobody waits for the work any more."""


@dataclasses.dataclass(frozen=True)
class Step(Generic[T]):
    """Where the work stands; ``result`` is there at the end."""

    what: str
    share: float
    seconds: float
    result: T | None = None


def follow(work: Callable[[Report], T], what: str = "") -> Iterator[Step[T]]:
    """Run ``work`` in a thread and tell where it stands, until it has a result; what it raises is raised here."""
    ended = threading.Event()
    state: dict[str, tuple[str, float]] = {"at": (what, 0.0)}
    results: list[T] = []
    faults: list[BaseException] = []

    def report(what: str, share: float) -> None:
        if ended.is_set():
            raise Cancelled
        state["at"] = (what, share)

    def run() -> None:
        try:
            results.append(work(report))
        except BaseException as fault:  # handed over, whatever it is
            faults.append(fault)

    begun = time.monotonic()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(EVERY_S)
            if thread.is_alive():
                yield Step(*state["at"], time.monotonic() - begun)
    finally:
        ended.set()
    if faults:
        raise faults[0]
    yield Step("", 1.0, time.monotonic() - begun, results[0])


def progress_bar(step: Step[T]) -> Markup:
    """The progress of a step; a negative share is not known."""
    return tag(
        "div",
        tag("p", step.what, tag("span", f"{step.seconds:.0f} s", class_="iv-quiet"), class_="iv-doing"),
        tag("progress", max=100, value=None if step.share < 0 else round(100 * step.share), aria_label=step.what),
        class_="iv-progress",
        role="status",
    )


def sentence(text: object) -> Markup:
    """What went wrong, as one sentence in the page."""
    said = str(text)
    return tag(
        "div",
        said[:1].upper() + said[1:] + ("" if said.endswith((".", "!", "?")) else "."),
        class_="iv-fault",
        role="alert",
    )
