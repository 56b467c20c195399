"""Exact search of vector rows: every path gives the answer of brute force in float64."""

import concurrent.futures
import functools
import subprocess
import sys

import numpy as np
import pytest
import torch

from iminet_viz.audio import fit_length
from iminet_viz.checkpoint import load_model, untrained_model
from iminet_viz.errors import SearchError
from iminet_viz.scan import CosineRows, FactorisedRows, ProductRows, Rows

PATHS = [(precision, device) for precision in ("float32", "int8") for device in ("cpu", "cpu:0")]
FORMS = {"factorised": 108, "product": 48, "cosine": 300}  # and the width of their rows here


class Form:
    """A form of rows with random weights, and its brute force."""

    def __init__(self, name: str, width: int | None = None, hidden: int = 32) -> None:
        self.name, self.width = name, width or FORMS[name]
        rng = np.random.default_rng(7)
        self.hidden_weight = rng.standard_normal((hidden, self.width)).astype(np.float32) / 8
        self.hidden_bias = rng.standard_normal(hidden).astype(np.float32)
        self.weight = rng.standard_normal(hidden if name == "product" else self.width).astype(np.float32)

    def rows(self, rows, **options) -> Rows:
        if self.name == "cosine":
            return CosineRows(rows, self.width, **options)
        if self.name == "product":
            return ProductRows(rows, self.hidden_weight, self.hidden_bias, self.weight, 0.25, **options)
        return FactorisedRows(rows, self.weight, 0.25, **options)

    def scores(self, query: np.ndarray, rows: np.ndarray, dtype: type = np.float64) -> np.ndarray:
        """The best of a query's windows for each row, by NumPy."""
        rows, weight = rows.astype(dtype), self.weight.astype(dtype)
        if self.name == "cosine":
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-12)
        best = []
        for window in query.astype(dtype):
            if self.name == "cosine":
                best.append((rows * (window / np.linalg.norm(window).clip(min=1e-12))).sum(axis=1))
                continue
            values = np.maximum(rows + window, 0)
            if self.name == "product":
                values = np.maximum(values @ self.hidden_weight.T.astype(dtype) + self.hidden_bias.astype(dtype), 0)
            best.append((values * weight).sum(axis=1) + dtype(0.25))
        return np.max(best, axis=0)


def brute_force(scores: np.ndarray, k: int, allowed: np.ndarray | None = None) -> np.ndarray:
    """Numbers of the k best, ties by number; what differs by rounding in float64 alone is a tie."""
    numbers = np.arange(len(scores)) if allowed is None else np.flatnonzero(allowed)
    return numbers[np.lexsort((numbers, -np.round(scores[numbers], 11)))[:k]]


def paths(name: str) -> list[dict[str, str]]:
    return [{"precision": p, "device": d} for p, d in PATHS if name != "product" or p != "int8"]


CASES = [(name, path) for name in FORMS for path in paths(name)]
cases = pytest.mark.parametrize(
    ("name", "path"), CASES, ids=lambda x: x if isinstance(x, str) else "-".join(x.values())
)


def library(form: Form, count: int, queries: list[np.ndarray]) -> np.ndarray:
    """Random rows, some of them several times; about a good row of each query many that hardly differ from it."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((count, form.width)).astype(np.float32)
    rows[count // 2 : count // 2 + count // 10] = rows[: count // 10]
    for number, query in enumerate(queries):
        best = rows[np.argmax(form.scores(query, rows[:2_000]))]
        near = rng.choice(count, 30, replace=False)
        rows[near] = best
        rows[near, rng.integers(0, form.width, 30)] += (1e-6 * np.arange(30)).astype(np.float32) * (1 + number)
    return rows


@functools.cache
def reference(name: str) -> tuple[Form, np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """A form, its rows, 20 queries of one to three windows, and their scores in float64."""
    form, rng = Form(name), np.random.default_rng(2)
    queries = [rng.standard_normal((1 + n % 3, form.width)).astype(np.float32) for n in range(20)]
    rows = library(form, {"factorised": 50_000}.get(name, 10_000), queries)
    return form, rows, queries, [form.scores(query, rows) for query in queries]


@cases
def test_every_path_finds_what_brute_force_finds(name, path):
    form, rows, queries, scores = reference(name)
    found = form.rows(rows, **path).search(queries, 100)
    for (numbers, own), truth in zip(found, scores, strict=True):
        np.testing.assert_array_equal(numbers, brute_force(truth, 100))
        np.testing.assert_allclose(own, truth[numbers], rtol=0, atol=1e-9)


@pytest.mark.gpu
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_gpu_finds_what_brute_force_finds(name, precision):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if name == "product" and precision == "int8":
        pytest.skip("no such path")
    form, rows, queries, scores = reference(name)
    found = form.rows(rows, precision=precision, device="cuda").search(queries, 100)
    for (numbers, own), truth in zip(found, scores, strict=True):
        np.testing.assert_array_equal(numbers, brute_force(truth, 100))
        np.testing.assert_allclose(own, truth[numbers], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FORMS)
def test_all_paths_report_the_same_bits(name):
    form, rows, queries, _ = reference(name)
    first, *others = [form.rows(rows, **path).search(queries[:3], 100) for path in paths(name)]
    for other in others:
        for (numbers, scores), (its, own) in zip(first, other, strict=True):
            assert (numbers == its).all()
            assert (scores == own).all()


@pytest.mark.parametrize("name", FORMS)
def test_the_library_is_hard_enough(name):
    form, rows, queries, scores = reference(name)
    plain = [brute_force(form.scores(query, rows, np.float32).astype(np.float64), 100) for query in queries]
    assert any((own != brute_force(truth, 100)).any() for own, truth in zip(plain, scores, strict=True))


@cases
def test_equal_rows_come_by_number_however_many_there_are(name, path):
    form = Form(name)
    rows = np.ones((20_000, form.width), np.float32)  # more than there is room for at first
    query = np.full((1, form.width), 0.5, np.float32)
    ((numbers, scores),) = form.rows(rows, **path).search([query], 50)
    np.testing.assert_array_equal(numbers, np.arange(50))
    assert len(set(scores)) == 1


@cases
def test_scores_that_rise_with_the_number_never_overflow(name, path):
    form = Form(name)
    rng = np.random.default_rng(3)
    rows, query = rng.standard_normal((30_000, form.width)).astype(np.float32), rng.standard_normal((1, form.width))
    rows = rows[np.argsort(form.scores(query, rows))]
    ((numbers, _),) = form.rows(rows, **path).search([query], 300)
    np.testing.assert_array_equal(numbers, np.arange(30_000)[::-1][:300])


@cases
@pytest.mark.parametrize("count", [0, 1, 2, 37])
def test_small_libraries_give_what_they_have(name, path, count):
    form = Form(name)
    rng = np.random.default_rng(4)
    rows, query = rng.standard_normal((count, form.width)).astype(np.float32), rng.standard_normal((2, form.width))
    library = form.rows(rows, **path)
    assert len(library) == count
    assert library.search([], 3) == []
    for numbers, scores in library.search([query, query], 50):
        np.testing.assert_array_equal(numbers, brute_force(form.scores(query, rows), 50))
        assert numbers.dtype == np.int64
        assert scores.dtype == np.float64
    assert library.scores(query).shape == (count,)


@cases
def test_only_who_is_allowed_takes_part(name, path):
    form, rows, queries, scores = reference(name)
    library = form.rows(rows[:10_000], **path)
    truth = scores[2][:10_000]
    some = np.random.default_rng(5).random(10_000) < 0.01
    some[brute_force(truth, 20)[::2]] = False
    for allowed in (some, ~some, np.zeros(10_000, bool), np.ones(10_000, bool)):
        ((numbers, _),) = library.search([queries[2]], 120, allowed)
        np.testing.assert_array_equal(numbers, brute_force(truth, 120, allowed))


@pytest.mark.parametrize("name", FORMS)
def test_scores_of_some_rows_keep_their_order(name):
    form, rows, queries, scores = reference(name)
    library = form.rows(rows)
    some = np.array([7, 3, 3, 9_999])
    np.testing.assert_allclose(library.scores(queries[1], some), scores[1][some], rtol=0, atol=1e-9)
    np.testing.assert_allclose(library.scores(queries[1]), scores[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["factorised", "cosine"])
def test_zeros_and_dimensions_that_do_not_vary(name):
    form = Form(name)
    rng = np.random.default_rng(6)
    rows = rng.standard_normal((500, form.width)).astype(np.float32)
    rows[:, 3], rows[:, 4], rows[:, 5] = 0, 1e4, 1e4 + rng.random(500)
    rows[100:200] = 0
    for query in (rng.standard_normal((1, form.width)), np.zeros((1, form.width))):
        for path in paths(name):
            ((numbers, scores),) = form.rows(rows, **path).search([query], 450)
            truth = form.scores(query, rows)
            np.testing.assert_array_equal(numbers, brute_force(truth, 450))
            assert np.isfinite(scores).all()


@pytest.mark.parametrize("path", paths("factorised"), ids=lambda x: "-".join(x.values()))
def test_weights_of_any_size_and_bars_beyond_the_codes(path):
    rng = np.random.default_rng(8)
    rows, query = rng.standard_normal((3_000, 108)).astype(np.float32), rng.standard_normal((1, 108))
    query[:, ::3] *= 50  # far beyond what rows can offset
    for scale in (0, 1e-8, 1, 1e6):
        form = Form("factorised")
        form.weight = (scale * form.weight * np.where(np.arange(108) == 5, 1e4, 1)).astype(np.float32)
        truth = form.scores(query, rows) - 0.25
        ((numbers, _),) = FactorisedRows(rows, form.weight, **path).search([query], 100)
        np.testing.assert_array_equal(numbers, np.lexsort((np.arange(3_000), -truth))[:100])


def test_searches_at_once_do_not_meet():
    form, rows, queries, scores = reference("factorised")
    library = form.rows(rows)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda query: library.search([query], 100)[0][0], queries))
    for numbers, truth in zip(found, scores, strict=True):
        np.testing.assert_array_equal(numbers, brute_force(truth, 100))


def test_rows_that_cannot_be_read_are_not_left_out():
    rows, broken = np.random.default_rng(9).standard_normal((20_000, 108)).astype(np.float32), False

    def fetch(numbers: np.ndarray) -> np.ndarray:
        if broken:
            raise OSError("gone")
        return rows[numbers]

    library = Form("factorised").rows(fetch, count=len(rows), precision="int8")
    broken = True
    with pytest.raises(OSError, match="gone"):
        library.search([rows[:1]], 5)


# int8: what its bound is made of


def worst_case() -> tuple[np.ndarray, np.ndarray]:
    """Weights and rows, of which int8 puts the best, number 0, as low and the next as high as it can.

    In steps of int8: row 0 is stored 0.49 too low in each of 100 dimensions, row 1 0.49 too high. As stored, row 1 is
    97 ahead; in truth 97 - 98 = -1.
    """
    width, step = 100, 2 / 254
    sign = np.where(np.arange(width) % 3 == 0, -1, 1)
    codes = np.full((2, width), 25)
    codes[1, :97] += sign[:97]
    rows = step * (codes + np.array([[0.49], [-0.49]]) * sign)
    ends = np.where(np.eye(width, dtype=bool), sign[:, None], -sign[None])  # from -1 to 1 in each, no good match
    return sign.astype(np.float32), np.concatenate([rows, ends]).astype(np.float32)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_the_bound_of_int8_is_needed_in_full(device):
    weight, rows = worst_case()
    query = np.ones((1, 100))
    assert FactorisedRows(rows, weight).search([query], 1)[0][0] == [0]
    library = FactorisedRows(rows, weight, precision="int8", device=device)
    assert library.search([query], 1)[0][0] == [0]
    library._quantised.half *= 0.9
    assert library.search([query], 1)[0][0] == [1]


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_no_scan_is_further_off_than_its_bound(device):
    for name, path in CASES:
        form, rows, queries, scores = reference(name)
        if path["device"] != device:
            continue
        library = form.rows(rows[:5_000], **path)
        for query, truth in zip(queries[:5], scores, strict=False):
            checked = query.astype(np.float64)
            eps = library._eps(checked).max()
            scan = library._scan_by_torch if library.device is not None else library._scan_by_loop
            ((numbers, approximate),) = scan(
                checked, np.array([0, len(query)]), np.array([np.float64(1e3)]), 5_000, np.empty(0, bool)
            )
            bias = 0 if name == "cosine" else 0.25
            off = np.abs(approximate + np.float64(bias) - truth[numbers]).max()
            assert off < eps
            assert path["precision"] == "float32" or off > eps / 100  # of the size of what happens


def test_int8_keeps_a_quarter_and_reads_few_rows_again(tmp_path):
    form, rows, queries, scores = reference("factorised")
    read = []

    def fetch(numbers: np.ndarray) -> np.ndarray:
        read.append(len(numbers))
        return rows[numbers]

    np.save(tmp_path / "rows.npy", rows)
    fetched = form.rows(fetch, count=len(rows), precision="int8")
    mapped = form.rows(np.load(tmp_path / "rows.npy", mmap_mode="r"), precision="int8")
    assert fetched.n_bytes <= 0.26 * form.rows(rows).n_bytes
    read.clear()
    for library in (fetched, mapped):
        for query, truth in zip(queries, scores, strict=True):
            np.testing.assert_array_equal(library.search([query], 100)[0][0], brute_force(truth, 100))
    assert sum(read) < 0.1 * len(rows) * len(queries)
    np.testing.assert_allclose(fetched.scores(queries[0]), scores[0], rtol=0, atol=1e-9)


def test_rows_that_are_fetched_can_be_scanned_in_float32():
    form, rows, queries, scores = reference("factorised")
    library = form.rows(lambda numbers: rows[numbers], count=len(rows))
    np.testing.assert_array_equal(library.search(queries[:1], 100)[0][0], brute_force(scores[0], 100))


# The stored form of a model is the model


def clips(count: int, seconds: float, rate: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    return [
        (
            0.1 * rng.standard_normal(len(time)) * np.exp(-time * rng.uniform(1, 20))
            + 0.1 * np.sin(2 * np.pi * rng.uniform(100, 2_000) * time * (1 + rng.uniform(-0.2, 0.2) * time))
        ).astype(np.float32)
        for _ in range(count)
    ]


def rows_of(network, rows, **path) -> Rows:
    """A model's library, as :mod:`iminet_viz.scoring` is to make it."""
    if network.KIND == "imisound":
        return CosineRows(rows, **path)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    if network.KIND == "iminet":
        return ProductRows(
            rows, weights["fc2.weight"], weights["fc2.bias"], weights["fc3.weight"][0], weights["fc3.bias"][0], **path
        )
    return FactorisedRows(rows, weights["fc2.weight"][0], weights["fc2.bias"][0], **path)


@pytest.mark.parametrize("name", ["tl-iminet-conv123", "iminet-tied", "iminet-untied", "imisound", "recurrent"])
@torch.no_grad()
def test_the_stored_form_of_a_model_is_its_forward_pass(name):
    model = untrained_model(name, 0) if name == "recurrent" else load_model(name)
    inputs = {}
    for role, count in (("imitation", 15), ("recording", 14)):
        config = model.frontends[role].config
        made = clips(count, 3, config.sample_rate, count)
        inputs[role] = model.frontends[role](
            torch.from_numpy(np.stack([fit_length(x, config.n_samples) for x in made]))
        )
    queries = model.network.query_half(inputs["imitation"]).numpy()
    rows = model.network.candidate_half(inputs["recording"]).numpy()
    recordings = inputs["recording"]
    forward = [model.network(one.expand(len(recordings), *one.shape), recordings) for one in inputs["imitation"]]
    forward = torch.stack(forward).numpy()  # (15, 14): 210 pairs
    assert forward.std() > 1e-3
    for path in paths("product" if name.startswith("iminet") else "factorised"):
        library = rows_of(model.network, rows, **path)
        found = library.search([query[None] for query in queries], 14)
        for query, (numbers, scores), full in zip(queries, found, forward, strict=True):
            np.testing.assert_allclose(scores, full[numbers], rtol=0, atol=1e-4)
            np.testing.assert_allclose(library.scores(query[None]), full, rtol=0, atol=1e-4)


# What cannot be searched


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_rows_and_queries_without_a_number_are_refused(value, precision):
    form = Form("factorised")
    rows = np.zeros((6_000, form.width), np.float32)
    library = form.rows(rows, precision=precision)
    query = np.zeros((2, form.width))
    query[1, 5] = value
    with pytest.raises(SearchError, match="the query holds NaN"):
        library.search([query[:1], query], 3)
    with pytest.raises(SearchError, match="the query holds NaN"):
        library.scores(query)
    rows[5_123, 7] = value
    with pytest.raises(SearchError, match="row 5123 of the library holds NaN"):
        form.rows(rows, precision=precision)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda library: library.search([np.zeros(108)], 3), r"a query of shape \(108,\)"),
        (lambda library: library.search([np.zeros((1, 107))], 3), r"expected \(windows, 108\)"),
        (lambda library: library.search([np.zeros((0, 108))], 3), "one at least"),
        (lambda library: library.search([np.zeros((1, 108))], 0), "k 0, expected at least 1"),
        (lambda library: library.search([np.zeros((1, 108))], 3, np.ones(4, bool)), "expected 5 bool"),
        (lambda library: library.search([np.zeros((1, 108))], 3, np.arange(5)), "expected 5 bool"),
        (lambda library: library.scores(np.zeros((1, 108)), np.array([0, 5])), "rows 0 to 5, there are 5"),
    ],
)
def test_a_wrong_question_gets_one_sentence(ask, message):
    with pytest.raises(SearchError, match=message):
        ask(Form("factorised").rows(np.zeros((5, 108), np.float32)))


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (np.zeros(108, np.float32), {}, r"rows of shape \(108,\)"),
        (np.zeros((5, 107), np.float32), {}, r"expected \(rows, 108\)"),
        (np.zeros((5, 108), np.float32), {"precision": "int4"}, "expected float32 or int8"),
        (np.zeros((5, 108), np.float32), {"device": "abacus"}, "device 'abacus' cannot be used"),
        (lambda numbers: np.zeros((len(numbers), 3)), {"count": 5}, r"fetched rows of shape \(5, 3\)"),
        (lambda numbers: np.zeros((len(numbers), 108)), {}, "need their count"),
    ],
)
def test_what_is_no_library_gets_one_sentence(rows, options, message):
    with pytest.raises(SearchError, match=message):
        Form("factorised").rows(rows, **options)


def test_nothing_is_compiled_before_a_search():
    code = "import sys, iminet_viz.scan; from iminet_viz.scan import FactorisedRows; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
