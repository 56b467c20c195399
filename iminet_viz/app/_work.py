"""Long work behind a page: in a thread of its own, followed step by step, ended when nobody waits for it any more.

::

    for step in follow(lambda report: explain(..., report=report)):
        if step.result is None:
            yield progress_bar(step)      # the page's own progress
        else:
            yield show(step.result)

gradio closes the generator of an event that is cancelled, or whose page was left; the next ``report`` of the work then
raises, so that it ends too. A cancel that comes before the event does, :class:`Orders` keep.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from iminet_viz.app._context import Markup, tag

OURS = Path(__file__).parent.parent  # as the code of its modules names it
T = TypeVar("T")
Report = Callable[[str, float], None]  # what is being done, the share that is done
EVERY_S = 0.3
ENDS: set[threading.Event] = set()  # of all work that goes on: what ends it, for an app that ends


class Cancelled(Exception):  # noqa: N818 (no error)
    """Nobody waits for the work any more."""


@dataclasses.dataclass(frozen=True)
class Step(Generic[T]):
    """Where the work stands; ``result`` is there at the end."""

    what: str
    share: float
    seconds: float
    result: T | None = None


@dataclasses.dataclass
class Order:
    """What a page wants made; ``ended`` is set when it does not want it any more."""

    wanted: tuple[Any, ...]
    ended: threading.Event = dataclasses.field(default_factory=threading.Event)
    taken: bool = False


class Orders:
    """What pages want made, one order each, by their sessions.

    The event that does the work comes after that of the button and waits for its turn; gradio cannot cancel it before
    it has come. So the button gives an order, and the work begins by taking it: after a cancel there is none.
    """

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}

    def give(self, session: str, *wanted: Any) -> None:
        """Want something made, and nothing else any more."""
        self.cancel(session)
        self._orders[session] = Order(wanted)

    def take(self, session: str) -> Order | None:
        """What is to be made now; None where nothing is, or it was taken already."""
        if not self.waits(session):
            return None
        order = self._orders[session]
        order.taken = True
        return order

    def waits(self, session: str) -> bool:
        """Whether something is wanted that was not taken yet."""
        order = self._orders.get(session)
        return order is not None and not order.taken

    def cancel(self, session: str) -> None:
        """Neither begin nor go on with what a page wanted."""
        if order := self._orders.pop(session, None):
            order.ended.set()


def follow(work: Callable[[Report], T], what: str = "", ended: threading.Event | None = None) -> Iterator[Step[T]]:
    """Run ``work`` in a thread and tell where it stands, until it has a result; what it raises is raised here.

    Raises:
        Cancelled: ``ended`` was set, which may be before the work begins.
    """
    ended = ended or threading.Event()
    if ended.is_set():
        raise Cancelled
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
    ENDS.add(ended)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(EVERY_S)
            if ended.is_set():
                raise Cancelled
            if thread.is_alive():
                yield Step(*state["at"], time.monotonic() - begun)
    finally:
        ended.set()
        ENDS.discard(ended)
    if faults:
        raise faults[0]
    yield Step("", 1.0, time.monotonic() - begun, results[0])


def end_work(seconds: float) -> bool:
    """End all work, and wait for it; tell whether no other thread runs code of ours any more.

    A thread that is in torch while Python ends takes the process down with it.
    """
    for end in [*ENDS]:
        end.set()
    until = time.monotonic() + seconds
    while busy := _is_busy():
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    return not busy


def _is_busy() -> bool:
    """Tell whether a thread besides this one runs code of ours."""
    for ident, frame in sys._current_frames().items():
        at: FrameType | None = frame if ident != threading.get_ident() else None
        while at is not None:
            if Path(at.f_code.co_filename).is_relative_to(OURS):
                return True
            at = at.f_back
    return False


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
    named = "." in said.partition(" ")[0]  # it begins with the name of a file, which stays as it is
    return tag(
        "div",
        (said if named else said[:1].upper() + said[1:]) + ("" if said.endswith((".", "!", "?")) else "."),
        class_="iv-fault",
        role="alert",
    )
