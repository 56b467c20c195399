"""On a cluster: the same answers to the bit, whatever is killed; a whole answer or one sentence."""

import dataclasses
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from test_index import FakePart, FakeScorer, ending, fake, noise, write

from iminet_viz import cluster, index, retrieval
from iminet_viz.cluster import ClusterLibrary
from iminet_viz.errors import ClusterError, LibraryError, SearchError
from iminet_viz.retrieval import Query, SoundLibrary
from iminet_viz.scan import CosineRows, FactorisedRows, ProductRows, Rows, StoredForm
from iminet_viz.scan.aligned import AlignedRows, pack

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # drivers look for their node on the loopback address
ray = pytest.importorskip("ray")

HERE = Path(__file__).resolve().parent
WIDTH = 12
FRAMES, FEATURES = 8, 16
HEAD = np.random.default_rng(5).standard_normal(WIDTH)
HIDDEN = np.random.default_rng(6).standard_normal((4, WIDTH))


def factorised(stored: np.ndarray) -> Rows:
    return FactorisedRows(stored, HEAD, 0.25)


def coded(stored: np.ndarray) -> Rows:
    return FactorisedRows(stored, HEAD, 0.25, precision="int8")


def product(stored: np.ndarray) -> Rows:
    return ProductRows(stored, HIDDEN, np.ones(4), np.arange(4.0) - 1.5, 0.5)


def aligned(stored: np.ndarray) -> Rows:
    return AlignedRows(stored, 1, FRAMES, FEATURES, 0.1)


@dataclasses.dataclass
class FormPart(FakePart):
    """A part whose rows are random, by what was heard."""

    make: Callable[[np.ndarray], Rows] = factorised

    def embed(self, prepared: np.ndarray) -> np.ndarray:
        self.embedded += len(prepared)
        rows = [self.row(np.random.default_rng(np.abs(heard).view(np.uint32))) for heard in prepared]
        return np.stack(rows)

    def row(self, rng: np.random.Generator) -> np.ndarray:
        if self.make is aligned:
            return pack(rng.standard_normal((1, FRAMES, FEATURES)), rng.normal(size=1))
        return rng.standard_normal(WIDTH).astype(np.float32)

    def rows(self, stored: np.ndarray, device: str = "cpu") -> Rows:
        return self.make(stored)


FORMS = {"float32": factorised, "int8": coded, "product": product, "cosine": CosineRows, "aligned": aligned}
BYTES = StoredForm("int8", FRAMES * FEATURES + 8)


def part(name: str) -> FormPart:
    form = BYTES if name == "aligned" else StoredForm("float32", WIDTH)
    return FormPart(fingerprint=name, stored=form, make=FORMS[name])


def queries(name: str, count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    width = 3 * (FRAMES * FEATURES + 1) if name == "aligned" else WIDTH
    return [rng.standard_normal((1 + number % 2, width)).astype(np.float32) for number in range(count)]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """70 files of 1,470 windows; eight of them the same sound, a silent one."""
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(70):
        write(folder / ("birds" if number % 3 else "rain") / f"{number:02}.wav", noise(4.3, seed=max(number, 8)))
    write(folder / "silent.wav", np.zeros(500))
    return folder


@pytest.fixture(scope="module")
def folder(sounds, tmp_path_factory) -> Path:
    """An index of every form, in several fragments, some rows of which were replaced and removed."""
    path = tmp_path_factory.mktemp("index") / "index"
    library = index.open_index(path, FakeScorer(tuple(map(part, FORMS))))
    for some in ("rain", "birds/10.wav", "birds/20.wav", "."):
        library.add(sounds / some, workers=0)
    write(sounds / "rain/03.wav", noise(3.1, seed=99))
    library.add(sounds, workers=0)
    library.remove([sounds / "birds/10.wav"])
    assert library._table.stats()["fragment_stats"]["num_fragments"] > 3
    return path


def start_nodes() -> tuple[subprocess.Popen, str]:
    nodes = subprocess.Popen(
        [sys.executable, HERE / "cluster_nodes.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parent}"},  # the parts below are known there
    )
    assert nodes.stdout is not None
    return nodes, nodes.stdout.readline().strip()


def tell(nodes: subprocess.Popen, what: str) -> None:
    nodes.stdin.write(what + "\n")
    nodes.stdin.flush()
    assert nodes.stdout.readline() == "done\n"


@pytest.fixture(scope="module")
def nodes() -> Iterator[subprocess.Popen]:
    """Two nodes that this process is connected to."""
    own, address = start_nodes()
    with own:
        ray.init(address, logging_level="ERROR", log_to_driver=False)
        yield own
        ray.shutdown()
        own.stdin.close()


@pytest.fixture(scope="module")
def pair(folder, nodes) -> Iterator[tuple[SoundLibrary, ClusterLibrary]]:
    """The index in one process, and in three shards on two nodes."""
    scorer = FakeScorer(tuple(map(part, FORMS)))
    scorer.weights = (1.0, 0.5, 2.0, 1.0, 1.5)
    with cluster.open_index(folder, scorer, shards=3) as shared:
        yield retrieval.open_index(folder, scorer), shared


def assert_same(found, expected) -> None:
    assert len(found) == len(expected)
    for (rows, scores), (own_rows, own_scores) in zip(found, expected, strict=True):
        assert rows.dtype == own_rows.dtype and scores.dtype == own_scores.dtype
        assert np.array_equal(rows, own_rows)
        assert np.array_equal(scores, own_scores)  # to the bit


# --- the same answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(FORMS)), ids=list(FORMS))
def test_shards_answer_as_one_process_to_the_bit(pair, number):
    local, shared = pair
    own, rows = local.rows(number), shared.rows(number)
    assert len(rows) == len(own) == len(local.windows) == 1_443
    rng = np.random.default_rng(number)
    asked = queries(list(FORMS)[number])
    one_shard = np.zeros(len(own), bool)
    one_shard[shared._shards()[1].places[::7]] = True
    masks = [None, rng.random(len(own)) < 0.3, one_shard, np.zeros(len(own), bool)]
    for k, allowed in itertools.product((1, 10, 600, 5_000), masks):  # 481 rows a shard
        assert_same(rows.search(asked, k, allowed), own.search(asked, k, allowed))
    some = rng.permutation(len(own))[:200]
    assert np.array_equal(rows.scores(asked[0], some), own.scores(asked[0], some))
    assert np.array_equal(rows.scores(asked[1]), own.scores(asked[1]))
    assert rows.n_bytes >= own.n_bytes
    names = np.array([int(Path(path).stem) for path in local.windows.files.paths])[local.windows.file]
    alike = np.flatnonzero((local.windows.number == 3) & (names < 9) & (names != 3))  # one sound
    assert len(alike) == 8 and len({np.isin(alike, shard.places).tobytes() for shard in shared._shards()}) > 1
    (found, scores), *_ = rows.search(asked[:1], len(own), None)
    places = np.flatnonzero(np.isin(found, alike))
    assert np.array_equal(found[places], alike) and len(set(scores[places])) == 1
    with pytest.raises(SearchError, match=r"NaN|not finite") as caught:
        rows.search([np.full_like(asked[0], np.nan)], 3)
    assert type(caught.value) is SearchError and "\n" not in str(caught.value)


def test_a_cascade_leaves_out_the_same_windows(pair):
    number = list(FORMS).index("aligned")
    own, rows = pair[0].rows(number), pair[1].rows(number)
    asked = queries("aligned")
    half = np.arange(len(own)) % 5 > 0
    for recall, allowed in itertools.product((0.3, 0.9, 1), (None, half)):
        assert_same(rows.search(asked, 10, allowed, recall), own.search(asked, 10, allowed, recall))
    assert rows.calibrations == own.calibrations
    assert own.calibrations[0.3].best < 1_000  # windows were left out


def as_query(*halves: np.ndarray) -> Query:
    return Query("q", 1.0, ((0.0, 1.0),) * len(halves[0]), halves, ())


def test_fusion_words_and_hits_are_those_of_one_process(pair):
    local, shared = pair
    query = as_query(*(queries(name, 1)[0] for name in FORMS))
    for k, text in itertools.product((1, 7, 100), ("", "rain", "birds 2")):
        answer, own = shared.search(query, k, text), local.search(query, k, text)
        assert (answer.hits, answer.files, answer.windows) == (own.hits, own.files, own.windows)
    with pytest.raises(SearchError, match="has 'violin' in its name"):
        shared.search(query, text="violin")


@pytest.mark.slow
def test_a_library_of_one_part_grows_while_it_is_searched(sounds, nodes, tmp_path):
    scorer = FakeScorer((part("aligned"),))
    writer = index.open_index(tmp_path / "i", scorer)
    writer.add(sounds / "rain", workers=0)
    query = as_query(queries("aligned", 1)[0])
    with cluster.open_index(tmp_path / "i", scorer) as shared:
        before = shared.search(query, 30)
        assert before.hits == retrieval.open_index(tmp_path / "i", scorer).search(query, 30).hits
        assert len({node for node, _ in shared.where()}) == 2  # one a node
        old = [process for _, process in shared.where()]
        writer.add(sounds, workers=0)
        assert shared.search(query, 30).hits == before.hits  # the old version, whole
        assert shared.refresh()
        local = retrieval.open_index(tmp_path / "i", scorer)
        after = shared.search(query, 30, recall=0.9)
        own = local.search(query, 30, recall=0.9)
        assert (after.hits, after.files, after.recall) == (own.hits, own.files, own.recall)
        assert after.files > before.files
        young = [process for _, process in shared.where()]
        wait_for(lambda: not any(map(alive, old)))
    wait_for(lambda: not any(map(alive, young)))  # closing ends them


@pytest.mark.slow
def test_more_shards_than_windows(nodes, tmp_path):
    write(tmp_path / "s/a.wav", noise(0.5))
    scorer = FakeScorer((part("float32"),))
    index.open_index(tmp_path / "i", scorer).add(tmp_path / "s", workers=0)
    query = as_query(queries("float32", 1)[0])
    with cluster.open_index(tmp_path / "i", scorer, shards=64) as shared:
        assert shared.search(query).hits == retrieval.open_index(tmp_path / "i", scorer).search(query).hits
        assert len(shared.where()) == 2
    with cluster.open_index(tmp_path / "none", scorer) as shared, pytest.raises(LibraryError, match="no sound yet"):
        shared.search(query)


# --- what is killed -------------------------------------------------------------------------------------------------


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for(reached: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_killed_shard_is_started_again_and_the_answer_is_whole(pair):
    local, shared = pair
    asked = queries("float32")
    expected = local.rows().search(asked, 50)
    before = shared.where()
    os.kill(before[1][1], signal.SIGKILL)
    assert_same(shared.rows().search(asked, 50), expected)
    after = shared.where()
    assert after[0] == before[0] and after[2] == before[2] and after[1][1] != before[1][1]

    killing = threading.Timer(0.05, lambda: [os.kill(process, signal.SIGKILL) for _, process in after[:2]])
    killing.start()  # while it searches
    while killing.is_alive():
        assert_same(shared.rows().search(asked, 50), expected)
    assert_same(shared.rows().search(asked, 50), expected)
    assert {process for _, process in shared.where()} & {process for _, process in after} == {after[2][1]}


def test_without_a_place_for_a_shard_there_is_no_answer_but_one_sentence(folder, nodes, monkeypatch):
    monkeypatch.setattr(cluster, "PROCESS_BYTES", 1 << 40)  # Ray counts ten-thousandths in 64 bits: 1 << 50 overflows
    monkeypatch.setattr(cluster, "PATIENCE_S", 3)
    scorer = FakeScorer(tuple(map(part, FORMS)))
    query = as_query(*(queries(name, 1)[0] for name in FORMS))
    with cluster.open_index(folder, scorer, shards=2) as shared:
        with pytest.raises(
            ClusterError, match=r"shard \d of 2 has not answered for 3 s, .* no complete answer"
        ) as caught:
            shared.search(query)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_shard_whose_version_is_gone_says_so(sounds, nodes, tmp_path):
    scorer = FakeScorer((part("float32"),))
    writer = index.open_index(tmp_path / "i", scorer)
    writer.add(sounds / "rain", workers=0)
    query = as_query(queries("float32", 1)[0])
    with cluster.open_index(tmp_path / "i", scorer, shards=1) as shared:
        shared.search(query)
        writer.add(sounds / "birds", workers=0)
        writer.compact(timedelta(0))
        shared.search(query)  # resident
        os.kill(shared.where()[0][1], signal.SIGKILL)
        with pytest.raises(LibraryError, match=r"there is no version \d|cannot be read, refresh") as caught:
            shared.rows().search(query.halves, 5)
        assert "\n" not in str(caught.value)
        shared.refresh()
        assert shared.search(query).hits == retrieval.open_index(tmp_path / "i", scorer).search(query).hits


@pytest.mark.slow
def test_a_node_is_lost_while_searching_and_the_answer_is_whole(folder, tmp_path):
    """In a process of its own: this one is connected to other nodes."""
    code = (
        "import sys, threading, time, numpy as np\n"
        "from pathlib import Path\n"
        "from test_cluster import *\n"
        "folder, address = Path(sys.argv[1]), sys.argv[2]\n"
        "scorer = FakeScorer(tuple(map(part, FORMS)))\n"
        "expected = retrieval.open_index(folder, scorer).rows().search(queries('float32'), 50)\n"
        "with cluster.open_index(folder, scorer, address=address, shards=4) as shared:\n"
        "    assert_same(shared.rows().search(queries('float32'), 50), expected)\n"
        "    before = shared.where()\n"
        "    print(len({node for node, _ in before}), flush=True)\n"
        "    until = time.monotonic() + 120\n"
        "    while shared.where() == before and time.monotonic() < until:\n"
        "        assert_same(shared.rows().search(queries('float32'), 50), expected)\n"
        "    assert_same(shared.rows().search(queries('float32'), 50), expected)\n"
        "    print(len({node for node, _ in shared.where()}), flush=True)\n"
    )
    nodes, address = start_nodes()
    with nodes:
        try:
            done = subprocess.Popen(
                [sys.executable, "-c", code, folder, address], cwd=HERE, stdout=subprocess.PIPE, text=True
            )
            with done:
                said = (line for line in done.stdout if line.strip().isdigit())  # Ray says things there too
                assert next(said) == "2\n"
                tell(nodes, "remove")
                assert next(said) == "1\n"
                assert done.wait(60) == 0
        finally:
            nodes.stdin.close()


# --- adding ---------------------------------------------------------------------------------------------------------


def stored(library: index.Library) -> tuple[list, np.ndarray]:
    windows = library.windows
    return [(windows.path(row), int(windows.number[row])) for row in range(len(windows))], library.vectors()


def test_the_nodes_embed_what_one_process_would(sounds, nodes, tmp_path):
    with cluster.open_index(tmp_path / "i", fake()) as shared:
        added = shared.add(sounds)
        assert (added.new, added.failed, added.interrupted) == (70, 1, False)
        assert [reason for _, reason in added.failures] == ["is silent"]
        again = shared.add(sounds)
        assert (again.unchanged, again.windows) == (71, 0)
        assert shared.verify(deep=True) == []
        local = index.open_index(tmp_path / "local", fake())
        local.add(sounds, workers=0)
        names, vectors = stored(shared)
        own_names, own_vectors = stored(local)
        assert names == own_names and np.array_equal(vectors, own_vectors)
        os.utime(sounds / "rain/00.wav", ns=(1, 1))  # a task without anything for the networks
        touched = shared.add(sounds)
        assert (touched.touched, touched.unchanged) == (1, 70)


@pytest.mark.slow
def test_a_file_that_ends_its_process_is_told_and_the_others_are_added(nodes, tmp_path):
    for number in range(12):
        waveform = noise(0.5, seed=number)
        waveform[0] = 0.5 if number == 7 else 0.1
        write(tmp_path / f"s/{number:02}.wav", waveform)
    with cluster.open_index(tmp_path / "i", fake(prepare=ending)) as shared:
        added = shared.add(tmp_path / "s")
        assert (added.new, added.failed) == (11, 1)
        ((path, reason),) = added.failures
        assert Path(path).name == "07.wav" and "the process that read it ended, 3 times" in reason
        assert shared.verify() == []


ADD = (
    "import sys\n"
    "from test_cluster import *\n"
    "with cluster.open_index(sys.argv[1], fake(), address=sys.argv[3] or None) as shared:\n"
    "    added = shared.add(sys.argv[2], report=lambda *what: print(*what, flush=True))\n"
    "    print('interrupted', added.interrupted, flush=True)\n"
)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_job_that_ends_half_way_goes_on(tmp_path, sign):
    for number in range(600):
        write(tmp_path / f"s/{number:03}.wav", noise(0.6, seed=number))
    nodes, address = start_nodes()
    with nodes:
        try:
            command = [sys.executable, "-c", ADD, tmp_path / "i", tmp_path / "s", address]
            done_before = 0
            for ended_at in (100, 50, 20):
                with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True) as job:
                    for number, _ in enumerate(job.stdout):
                        if number == ended_at:
                            job.send_signal(sign)
                            break
                    rest = job.stdout.read()
                assert ("interrupted True" in rest) == (sign == signal.SIGINT)
                library = index.open_index(tmp_path / "i", fake())
                assert library.verify() == []
                assert library.status()["files"] >= done_before
                done_before = library.status()["files"]
            assert 0 < done_before < 600 or sign == signal.SIGKILL
            last = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, text=True, check=True).stdout
            assert "interrupted False" in last
        finally:
            nodes.stdin.close()
    library = index.open_index(tmp_path / "i", fake())
    assert library.verify(deep=True) == []
    local = index.open_index(tmp_path / "local", fake())
    local.add(tmp_path / "s", workers=0)
    names, vectors = stored(library)
    own_names, own_vectors = stored(local)
    assert names == own_names and np.array_equal(vectors, own_vectors)  # nothing lost, nothing twice


# --- a cluster of this machine alone --------------------------------------------------------------------------------


def descendants(process: int) -> set[int]:
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, waiting = set(), [process]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found.update(children)
        waiting += children
    return found


def listening(processes: set[int]) -> set[str]:
    """Addresses in hexadecimal on which processes listen for TCP."""
    inodes = set()
    for process in processes:
        for link in Path(f"/proc/{process}/fd").glob("*"):
            try:
                inodes.add(str(link.readlink()))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.add(fields[1].split(":")[0])
    return found


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@pytest.mark.slow
def test_a_cluster_of_its_own_listens_on_loopback_and_leaves_nothing(sounds, folder, tmp_path):
    """Ctrl-C while it waits with its shards."""
    code = (
        "import sys, time\n"
        "from test_cluster import *\n"
        "scorer = FakeScorer(tuple(map(part, FORMS)))\n"
        "with cluster.open_index(sys.argv[1], scorer, shards=2) as shared:\n"
        "    found = shared.rows().search(queries('float32'), 10)\n"
        "    assert_same(found, retrieval.open_index(sys.argv[1], scorer).rows().search(queries('float32'), 10))\n"
        "    print(ray._private.worker._global_node.get_temp_dir_path(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, folder],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HOME": str(tmp_path)},
    ) as job:
        scratch = Path(job.stdout.readline().strip())
        processes = descendants(job.pid)
        assert scratch.is_dir() and len(processes) > 3
        assert scratch.parent.stat().st_mode & 0o77 == 0
        assert listening(processes | {job.pid}) <= LOOPBACK
        assert listening(processes)
        job.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in job.stderr.read()
    wait_for(lambda: not any(map(alive, processes)), 20)
    assert not scratch.parent.exists()
    assert not (tmp_path / ".ray").exists()


@pytest.mark.slow
def test_the_command_line_on_a_cluster(tmp_path):
    """In processes of their own: this one may be connected to other nodes."""
    import json

    for number in range(6):
        write(tmp_path / f"s/{number}.wav", noise(1, 16_000, number), 16_000)
    command = [sys.executable, HERE.parent / "cli.py"]
    engine = ["--engine", "ray"]

    def run(*arguments: object) -> dict:
        done = subprocess.run([*command, *arguments, "--json"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    added = run("index", "add", tmp_path / "i", tmp_path / "s", "--model", "mfcc", *engine)
    assert (added["new"], added["failed"]) == (6, 0)
    shared = run("search", tmp_path / "i", tmp_path / "s/3.wav", *engine, "--shards", "2")
    local = run("search", tmp_path / "i", tmp_path / "s/3.wav")
    assert shared.pop("seconds") and local.pop("seconds")
    assert shared == local and shared["hits"][0]["path"].endswith("3.wav")


# --- mistakes -------------------------------------------------------------------------------------------------------


def test_mistakes_are_one_sentence(call, tmp_path, monkeypatch, folder):
    search = ["search", folder, tmp_path / "q.wav"]
    status, _, said = call(*search, "--address", "127.0.0.1:1")
    assert status == 2 and "--address and --shards go with --engine ray" in said
    status, _, said = call("index", "add", tmp_path / "i", tmp_path, "--address", "127.0.0.1:1")
    assert status == 2 and "--address goes with --engine ray" in said
    monkeypatch.setitem(sys.modules, "ray", None)
    for arguments in (search, ["index", "add", tmp_path / "i", tmp_path]):
        status, out, said = call(*arguments, "--engine", "ray")
        assert (status, out, said) == (1, "", "Error: Ray is not installed: pip install 'iminet-viz[cluster]'\n")
    assert not (tmp_path / "i").exists()


def test_what_is_no_cluster_is_told_soon_and_one_on_the_loopback_address_alone_is_joined(nodes):
    code = (
        "import contextlib, sys\n"
        "from iminet_viz import cluster, errors\n"
        "with contextlib.ExitStack() as closing:\n"
        "    try:\n"
        "        print(len(cluster.connect(sys.argv[1], closing).nodes()))\n"
        "    except errors.ClusterError as error:\n"
        "        print(error)\n"
    )
    env = {**os.environ, "RAY_py_gcs_connect_timeout_s": "1"}
    del env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"]
    with socket.create_server(("127.0.0.1", 0)) as other:  # takes connections and says nothing
        addresses = [f"127.0.0.1:{other.getsockname()[1]}", ray.get_runtime_context().gcs_address]
        told = []
        for address in addresses:
            command = [sys.executable, "-c", code, address]
            told.append(subprocess.run(command, env=env, capture_output=True, text=True, timeout=60).stdout)
    assert told[0].startswith(f"{addresses[0]}: no Ray cluster can be used (") and told[0].count("\n") == 1
    assert int(told[1]) >= 2


def test_no_cluster_at_an_address():
    code = (
        "import contextlib\n"
        "from iminet_viz import cluster, errors\n"
        "for address in '127.0.0.1:1', '127.0.0.1:port', 'local', 'ray://127.0.0.1:1', 'no.such.host:1':\n"
        "    try:\n"
        "        cluster.connect(address, contextlib.ExitStack())\n"
        "    except errors.ClusterError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert [line.count("Ray cluster") for line in done.stdout.splitlines()] == [1] * 5, done.stdout + done.stderr
