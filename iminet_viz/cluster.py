"""The sound library past one machine: searched in shards, and filled, by the nodes of a Ray cluster.

::

    table -take-> rows of a shard, in its process -search-> its best -merge-> what one process would find, to the bit
    files -tasks-> decoded and embedded on any node -> committed by the one that asked, as ever

The table lies where every node can read it. Each shard reads its own rows; row ids go to it, queries, and who takes
part, never vectors. A score depends on nothing but the query and its row, so the best of the shards' best are those of
the whole, ties by the same number.

A shard whose process or node is lost is started again elsewhere by Ray, reads its rows again and answers what it was
asked. A search gives the whole answer or raises: there is no partial one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iminet_viz.audio import one_line
from iminet_viz.errors import ClusterError, IminetVizError, LibraryError, first_line
from iminet_viz.index import Library, Prepared, Task, Work, embed_files, prepare_file
from iminet_viz.retrieval import SoundLibrary
from iminet_viz.scan import Rows
from iminet_viz.scan.aligned import SKETCHED, AlignedRows, Calibration, Cascade, typical_rows
from iminet_viz.scoring import Scorer

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

PATIENCE_S = 60.0  # without a sign of life from a shard
SIGN_S = 2.0  # without an answer, until a shard is asked for one
TICK_S = 0.5
CONNECT_S = 5.0
FILES_AT_ONCE = 16  # in a task: their windows go through the networks together
LIVES = 3  # processes that a file may end before it is the file's fault
ROOM = 1.3  # of a shard beside its rows: norms and sketches
PROCESS_BYTES = 700 << 20  # of a shard without rows: torch, lancedb, compiled loops


# --- in the processes of the cluster --------------------------------------------------------------------------------


class Shard:
    """Some windows of a library, read from the table when they are first asked for, again after a loss.

    Args:
        path: of the index.
        version: of its table.
    """

    def __init__(self, path: str, version: int) -> None:
        self.path, self.version = path, version
        self._rows: dict[int, Rows] = {}

    def call(self, kept: Sequence[Any], name: str, part: int, arguments: tuple[Any, ...]) -> Any:
        """What a method or value of the rows of a part gives.

        Args:
            kept: references to the scorer, to the arguments of :meth:`iminet_viz.index.Library.take`, and of a cascade
                to what the sketch of all shards is fitted to.
            name: of the method or value.
            part: of the scorer.
            arguments: of the method.
        """
        if part not in self._rows:
            import ray

            scorer, row_ids, places, *typical = ray.get(list(kept))
            library = Library(self.path, scorer)
            try:
                library.checkout(self.version)
            except LibraryError as error:
                raise LibraryError(f"{error}; a shard on {socket.gethostname()} needs it") from None
            rows = scorer.parts[part].rows(library.take(row_ids, places, part))
            for some in typical:
                rows.fit_sketch(some)
            self._rows[part] = rows
        found = getattr(self._rows[part], name)
        return found(*arguments) if callable(found) else found

    def sign(self) -> tuple[str, int]:
        """Node and process where it lives."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()


def _embed(scorer: Scorer, work: Work, tasks: Sequence[Task]) -> list[Prepared]:
    """Prepare files and run the networks on them."""
    import torch

    torch.set_num_threads(1)  # there is a task for every core
    for root in {task.file.root for task in tasks}:
        if not Path(root).exists():
            raise ClusterError(
                f"{one_line(Path(root))}: is not there on {socket.gethostname()}, a node of the cluster; "
                "the sounds must lie where every node can read them"
            )
    with tempfile.TemporaryDirectory() as spool:
        prepared = [prepare_file(dataclasses.replace(work, spool=spool), task) for task in tasks]
        embedded, _ = embed_files(scorer.parts, [file for file in prepared if file.parts])
    return [file for file in prepared if not file.parts] + embedded


# --- in the one that asks -------------------------------------------------------------------------------------------


def connect(address: str | None, closing: contextlib.ExitStack) -> Any:
    """Join a cluster, or start one on this machine alone that only this process can use.

    Args:
        address: ``HOST:PORT`` of its head; None starts one.
        closing: leaves the cluster again, or ends it.

    Returns:
        the module ``ray``.

    Raises:
        ClusterError: Ray is not installed, or there is no such cluster.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address is None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # makes Ray listen on the loopback address
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray writes one to the home folder
    else:
        # else a quarter of an hour where something else answers
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
        if _only_on_loopback(address):
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # else Ray looks on the network
    try:
        import ray
    except ImportError:
        raise ClusterError("Ray is not installed: pip install 'iminet-viz[cluster]'") from None
    if ray.is_initialized():
        return ray
    options: dict[str, Any] = {"address": address or "local"}
    if address is None:
        root = Path("/tmp")  # short: the path of a socket holds some 100 letters
        folder = tempfile.mkdtemp(prefix="iminet-viz-ray-", dir=root if root.is_dir() else None)
        closing.callback(shutil.rmtree, folder, ignore_errors=True)
        options |= {"include_dashboard": False, "_temp_dir": f"{folder}/ray"}  # Ray opens its own folder to all
    else:
        host, _, port = address.rpartition(":")
        if not host or "/" in host or not port.isdecimal():
            raise ClusterError(f"{address}: is no address of a Ray cluster, expected HOST:PORT")
        try:
            socket.create_connection((host, int(port)), CONNECT_S).close()  # Ray itself would try for minutes
        except (OSError, OverflowError) as error:
            raise ClusterError(f"{address}: no Ray cluster answers there ({error})") from None
    closing.callback(ray.shutdown)
    try:
        ray.init(**options, logging_level=logging.ERROR, log_to_driver=False)
    except (RuntimeError, ConnectionError, ValueError, OSError) as error:
        raise ClusterError(f"{address or 'this machine'}: no Ray cluster can be used ({first_line(error)})") from None
    own = ray.util.get_node_ip_address()
    if address is None and own not in ("127.0.0.1", "::1", "localhost"):
        raise ClusterError(
            f"Ray would listen on {own}: it was imported before with other settings; "
            "set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before that"
        )
    return ray


def _only_on_loopback(address: str) -> bool:
    """Whether nothing answers at this machine's address in the network, which Ray takes for the loopback address."""
    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost") or not port.isdecimal():
        return False
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("8.8.8.8", 80))  # sends nothing
            own = probe.getsockname()[0]
        socket.create_connection((own, int(port)), CONNECT_S).close()
    except (OSError, OverflowError):
        return True
    return False


def open_index(
    path: str | os.PathLike[str],
    model: str | Scorer | Any | None = None,
    *,
    address: str | None = None,
    shards: int | None = None,
) -> ClusterLibrary:
    """Open the library in a folder, to be searched and filled by a cluster; use it in a ``with`` statement.

    Args:
        path: folder of the index, on storage that every node has under this path.
        model: as for :func:`iminet_viz.retrieval.open_index`.
        address: ``HOST:PORT`` of the head of a Ray cluster that this machine is a node of; without one, a cluster of
            this machine alone is started, on its loopback address, and ended with the library.
        shards: processes that hold the windows (default: one a node, each scans with all cores of its node).

    Raises:
        ClusterError: as :func:`connect`.
        LibraryError: as :func:`iminet_viz.retrieval.open_index`.
    """
    return ClusterLibrary(path, model, address, shards)


class ClusterLibrary(SoundLibrary):
    """A library whose windows are with the shards of a cluster; what is said of files and windows stays here."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: str | Scorer | Any | None = None,
        address: str | None = None,
        shards: int | None = None,
    ) -> None:
        self.shards = shards
        with contextlib.ExitStack() as closing:
            # before the table is opened: Ray forks, and lancedb's threads do not survive a fork
            self._ray = connect(address, closing)
            super().__init__(Path(path).absolute(), model)
            self._closing = closing.pop_all()

    def __enter__(self) -> ClusterLibrary:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the shards, and the cluster if it was started here."""
        for shard in self._cached.get("shards", ()):
            self._ray.kill(shard.actor)
        self._cached.clear()
        self._closing.close()

    def rows(self, part: int = 0) -> Rows:
        """The rows of a part, with the shards."""
        if ("rows", part) not in self._cached:
            assert self.settings is not None
            shards, stored = self._shards(), self.settings.parts[part]
            alone = self.scorer.parts[part].rows(np.zeros((1, stored["width"]), stored["dtype"]))
            if isinstance(alone, AlignedRows):
                rows: Rows = ShardedCascade(shards, part, alone, functools.partial(self._take_some, part=part))
            else:
                rows = ShardedRows(shards, part)
            self._cached["rows", part] = rows
        return self._cached["rows", part]

    def _take_some(self, ids: np.ndarray, part: int) -> np.ndarray:
        """A few rows, from the table."""
        _, row_ids, places = self._resident()
        wanted, back = np.unique(ids, return_inverse=True)
        at = np.flatnonzero(np.isin(places, wanted))
        return self.take(row_ids[at], np.searchsorted(wanted, places[at]), part)[back]

    def where(self) -> list[tuple[str, int]]:
        """Node and process of each shard."""
        return ask([(shard, shard.sign) for shard in self._shards()])

    def _shards(self) -> list[_Holding]:
        """The shards of this version; those of another end when nobody refers to them."""
        if "shards" not in self._cached:
            ray = self._ray
            assert self.settings is not None
            _, row_ids, places = self._resident()
            nodes = sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())
            count = max(1, min(self.shards or nodes, len(row_ids)))
            row_bytes = sum(part["width"] * np.dtype(part["dtype"]).itemsize for part in self.settings.parts)
            remote = ray.remote(
                num_cpus=0,  # a place for it is one that has the memory
                max_restarts=-1,
                max_task_retries=-1,
                concurrency_groups={"sign": 1},
                scheduling_strategy="SPREAD",
            )(Shard)
            scorer = ray.put(self.scorer)
            found = []
            # as they lie in the table, so that each reads one piece of it
            for ids, own in zip(np.array_split(row_ids, count), np.array_split(places, count), strict=True):
                order = np.argsort(own)
                rank = np.empty(len(own), np.int64)
                rank[order] = np.arange(len(own))
                room = int(ROOM * len(own) * row_bytes) + PROCESS_BYTES
                kept = scorer, ray.put(ids), ray.put(rank)
                actor = remote.options(memory=room).remote(str(self.path), self.version)
                found.append(_Holding(actor, own[order], kept))
            self._cached["shards"] = found
        return self._cached["shards"]

    def _start(self, *_: object) -> None:
        """Start nothing: the nodes work."""

    def _outcomes(
        self, work: Work, tasks: Sequence[Task], workers: int | None, executor: ProcessPoolExecutor | None
    ) -> Generator[Prepared | None, None, None]:
        """Files embedded by tasks on the nodes; one that ends its process several times is told as the reason."""
        if not tasks:
            return
        ray = self._ray
        cores = int(ray.cluster_resources().get("CPU", 0))
        if not cores:
            raise ClusterError("no node of the cluster has a CPU for tasks")
        depth = 2 * cores if workers is None else max(1, workers)
        size = min(FILES_AT_ONCE, max(1, len(tasks) // (2 * depth)))
        remote = ray.remote(max_retries=0, scheduling_strategy="SPREAD")(_embed)
        scorer, work = ray.put(self.scorer), ray.put(work)
        waiting = deque(tasks[start : start + size] for start in range(0, len(tasks), size))
        deaths: Counter[str] = Counter()
        running: dict[Any, Sequence[Task]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < depth:
                    some = waiting.popleft()
                    running[remote.remote(scorer, work, some)] = some
                done, _ = ray.wait(list(running), timeout=TICK_S)
                if not done:
                    yield None
                for call in done:
                    some = running.pop(call)
                    try:
                        outcomes = ray.get(call)
                    except ray.exceptions.RayTaskError as error:
                        raise _cause(error) from None
                    except ray.exceptions.RayError:  # its process or node ended: which file was it?
                        deaths.update(task.file.id for task in some)
                        waiting.extend([task] for task in some if deaths[task.file.id] < LIVES)
                        outcomes = [
                            Prepared(task.file, reason=f"the process that read it ended, {LIVES} times")
                            for task in some
                            if deaths[task.file.id] == LIVES
                        ]
                    yield from outcomes
        finally:
            for call in running:
                ray.cancel(call, force=True)


@dataclasses.dataclass(frozen=True)
class _Holding:
    """A shard, and the rows of the library that it holds, ascending."""

    actor: Any
    places: np.ndarray
    kept: tuple[Any, ...]  # references that go with each call, for one that was started again

    def sign(self) -> Any:
        """Ask for a sign of life, beside what it is working on."""
        return self.actor.sign.options(concurrency_group="sign").remote()


class ShardedRows:
    """All rows of a part of a library, with the shards; see :class:`iminet_viz.scan.Rows`."""

    def __init__(self, shards: Sequence[_Holding], part: int) -> None:
        self.shards, self.part = list(shards), part

    def __len__(self) -> int:
        return sum(len(shard.places) for shard in self.shards)

    @property
    def n_bytes(self) -> int:
        """Bytes that are resident, with the shards."""
        return sum(self._ask("n_bytes", [(shard, ()) for shard in self.shards]))

    def _ask(self, name: str, calls: Sequence[tuple[_Holding, tuple[Any, ...]]]) -> list[Any]:
        """What a method of the shards' rows gives, for the arguments of each."""

        def call(shard: _Holding, own: tuple[Any, ...]) -> Any:
            return shard.actor.call.remote(shard.kept, name, self.part, own)

        return ask([(shard, functools.partial(call, shard, own)) for shard, own in calls])

    def search(
        self, queries: Sequence[np.ndarray], k: int, allowed: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best rows for each query, exactly; see :meth:`iminet_viz.scan.Rows.search`."""
        return self._search(queries, k, self._asked(allowed))

    def _asked(self, allowed: np.ndarray | None) -> list[tuple[_Holding, np.ndarray | None]]:
        """Shards with rows that take part, and which of theirs do."""
        if allowed is None:
            return [(shard, None) for shard in self.shards]
        masks = [allowed[shard.places] for shard in self.shards]
        return [(shard, mask) for shard, mask in zip(self.shards, masks, strict=True) if mask.any()]

    def _search(
        self, queries: Sequence[np.ndarray], k: int, asked: Sequence[tuple[_Holding, np.ndarray | None]], *more: Any
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        answers = self._ask("search", [(shard, (queries, k, mask, *more)) for shard, mask in asked])
        found = []
        for number in range(len(queries)):
            own_rows = [shard.places[own[number][0]] for (shard, _), own in zip(asked, answers, strict=True)]
            rows = np.concatenate([np.zeros(0, np.int64), *own_rows])
            scores = np.concatenate([np.zeros(0), *(own[number][1] for own in answers)])
            order = np.lexsort((rows, -scores))[:k]
            found.append((rows[order], scores[order]))
        return found

    def scores(self, query: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Scores of some rows (all without ``rows``), in their order: ``(windows, width)`` to ``(rows,)`` float64."""
        return self._of_each("scores", query, np.arange(len(self)) if rows is None else rows, np.float64)

    def _of_each(self, name: str, query: np.ndarray, rows: np.ndarray, dtype: Any) -> np.ndarray:
        """What a method of the shards' rows gives for a query and some rows, a value each."""
        values = np.empty(len(rows), dtype)
        calls, places = [], []
        for shard in self.shards:
            own = np.searchsorted(shard.places, rows).clip(max=len(shard.places) - 1)
            mine = np.flatnonzero(shard.places[own] == rows)
            if len(mine):
                calls.append((shard, (query, own[mine])))
                places.append(mine)
        for mine, some in zip(places, self._ask(name, calls), strict=True):
            values[mine] = some
        return values


class ShardedCascade(ShardedRows, Cascade):
    """All rows of an aligned net's library, with the shards: one sketch for all, fitted to the same rows as in one.

    Args:
        shards: see :class:`ShardedRows`.
        part: see there.
        alone: rows of the same form.
        read: gives rows as they are stored.
    """

    def __init__(
        self, shards: Sequence[_Holding], part: int, alone: AlignedRows, read: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        super().__init__(shards, part)
        self.n_cuts, self.frames, self.features = alone.n_cuts, alone.frames, alone.features
        self.calibrations: dict[float, Calibration] = {}
        self._read = read
        if len(self) >= SKETCHED:
            import ray

            typical = ray.put(read(typical_rows(len(self))))
            self.shards = [dataclasses.replace(shard, kept=(*shard.kept, typical)) for shard in shards]

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Rows as they are stored: ``(ids,)`` to ``(ids, width)``."""
        return self._read(ids)

    def sketched(self, query: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Costs of the sketches of rows: ``(ids,)`` to ``(ids,)`` float32."""
        return self._of_each("sketched", query, ids, np.float32)

    def search(
        self,
        queries: Sequence[np.ndarray],
        k: int,
        allowed: np.ndarray | None = None,
        recall: float | None = None,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best rows for each query; see :meth:`iminet_viz.scan.aligned.AlignedRows.search`."""
        asked, best = self._asked(allowed), self.best_of_sketch(k, recall)
        total = len(self) if allowed is None else int(allowed.sum())
        if best is None or best >= total or total < SKETCHED:
            return self._search(queries, k, asked)
        lowest = self._ask("lowest_sketched", [(shard, (queries, best, mask)) for shard, mask in asked])
        costs = [np.concatenate(own) for own in zip(*lowest, strict=True)]
        return self._search(queries, k, asked, None, [np.partition(own, best - 1)[best - 1] for own in costs])


def ask(calls: Sequence[tuple[_Holding, Callable[[], Any]]]) -> list[Any]:
    """Results of calls to shards, in order, all of them: what is lost is asked again while its shard gives a sign.

    Raises:
        ClusterError: a shard has given no sign of life for ``PATIENCE_S``.
        IminetVizError: that a shard raised.
    """
    import ray

    results: dict[int, Any] = {}
    pending = {call(): number for number, (_, call) in enumerate(calls)}
    signs: dict[Any, int] = {}
    heard = dict.fromkeys(range(len(calls)), time.monotonic())
    why = "Ray has no place for it, or its node is gone"
    while pending:
        done, _ = ray.wait([*pending, *signs], timeout=TICK_S)
        now = time.monotonic()
        for reference in done:
            number = signs[reference] if reference in signs else pending[reference]
            try:
                value = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise _cause(error) from None
            except ray.exceptions.RayError as error:
                why = first_line(error)
                time.sleep(TICK_S)
                if pending.pop(reference, None) is not None:
                    pending[calls[number][1]()] = number
            else:
                heard[number] = now
                if pending.pop(reference, None) is not None:
                    results[number] = value
            signs.pop(reference, None)
        for number in set(pending.values()):
            if now - heard[number] > PATIENCE_S:
                raise ClusterError(
                    f"shard {number + 1} of {len(calls)} has not answered for {PATIENCE_S:.0f} s, so there is no "
                    f"complete answer ({why})"
                )
            if now - heard[number] > SIGN_S and number not in signs.values():
                signs[calls[number][0].sign()] = number
    return [results[number] for number in range(len(calls))]


def _cause(error: Any) -> Exception:
    """What a task raised, without where Ray ran it: a mistake of the user's is one sentence there too."""
    from ray.exceptions import RaySystemError

    cause = error.cause
    if isinstance(cause, ImportError | RaySystemError):  # another version of it, or none
        return ClusterError(f"a node of the cluster cannot run iminet-viz ({first_line(cause)})")
    return type(cause)(str(cause)) if isinstance(cause, IminetVizError) else error


__all__ = ["ClusterLibrary", "Shard", "ShardedRows", "connect", "open_index"]
