"""One interface for models, baselines and fusions: names, halves, standardised sums."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from iminet_viz import checkpoint, shipped
from iminet_viz.audio import fit_length
from iminet_viz.baselines import BASELINES
from iminet_viz.checkpoint import save_model, untrained_model
from iminet_viz.contrastive import AlignedView, TowerView, search_scores
from iminet_viz.errors import CheckpointError
from iminet_viz.models import Iminet
from iminet_viz.scoring import fuse, load_scorer, standardize_scores


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, kind, architecture in (
        ("pair", "tl-iminet", {"batch_norm": True}),
        ("a+0.5*b", "tl-iminet", {}),
        ("tower", "sound-tower", {"classes": ["a", "b"]}),
    ):
        model = untrained_model(kind, 0, architecture)
        data = {"data": {"name": "none", "licence": "none"}}
        save_model(folder / name, model.network, model.db_statistics, data, {})
    return folder


@pytest.fixture(scope="module")
def waveforms() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [np.exp(-np.arange(20_000) / decay) for decay in (500, 2_000, 8_000, 30_000)]
    return [(0.1 * rng.standard_normal(20_000) * shape).astype(np.float32) for shape in shapes]


def grid(name: str, waveforms: list[np.ndarray], excluded: np.ndarray | None = None) -> np.ndarray:
    scorer = load_scorer(str(name))
    sides = [[scorer.keep(x, 16_000, role) for x in waveforms] for role in ("imitation", "recording")]
    return scorer.scores(*sides, excluded)


def test_tl_iminet_by_its_halves_is_its_forward_pass(models, waveforms, monkeypatch):
    import soxr

    model = checkpoint.load_model(models / "pair")
    sides = []
    for role, rate in (("imitation", 16_000), ("recording", 44_100)):
        samples = model.frontends[role].config.n_samples
        windows = [fit_length(soxr.resample(x, 16_000, rate), samples) for x in waveforms]
        sides.append(model.frontends[role](torch.from_numpy(np.stack(windows))))
    with torch.no_grad():
        full = [[model.network(i[None], r[None]).item() for r in sides[1]] for i in sides[0]]
    np.testing.assert_allclose(grid(models / "pair", waveforms), full, atol=1e-4)
    monkeypatch.setattr("iminet_viz.scoring.GRID_VALUES", 1)  # one query at a time
    np.testing.assert_allclose(grid(models / "pair", waveforms), full, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "view"),
    [
        ("iminet", TowerView(None, 80.0, Iminet.FRONTENDS)),
        ("imisound", TowerView(None, 80.0, Iminet.FRONTENDS)),
        ("recurrent", TowerView(None, 80.0)),
        ("aligned", AlignedView()),
    ],
)
def test_every_network_searches_as_its_training_does(tmp_path, waveforms, kind, view):
    import soxr

    model = untrained_model(kind, 0)
    save_model(tmp_path / kind, model.network, model.db_statistics, {"data": {}}, {})
    sides = [
        [view.spectrogram(soxr.resample(x, 16_000, view.sample_rate(role)), role) for x in waveforms]
        for role in ("imitation", "recording")
    ]
    expected = search_scores(model.network, view, *sides)
    np.testing.assert_allclose(grid(tmp_path / kind, waveforms), expected, atol=1e-4)
    assert np.ptp(expected) > 1e-3


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_clips_of_any_rate_and_length_are_scored(models, rate):
    clips = [np.zeros(1, np.float32), np.zeros(rate, np.float32), np.ones(5 * rate, np.float32)]
    for name in (*BASELINES, models / "pair"):
        scorer = load_scorer(str(name))
        kept = [[scorer.keep(x, rate, role) for x in clips] for role in ("imitation", "recording")]
        scores = scorer.scores(*kept)
        assert scores.shape == (3, 3) and scores.dtype == np.float64 and np.isfinite(scores).all()


@pytest.mark.parametrize(("name", "made"), [("pair", "int8"), ("iminet-tied", None)])
def test_many_rows_are_scanned_in_int8_and_answered_the_same(models, monkeypatch, name, made):
    part = load_scorer(str(models / name) if made else name).parts[0]
    rows = np.random.default_rng(0).standard_normal((500, part.stored.width)).astype(np.float32)
    queries = [rows[:1], rows[1:3]]
    expected = part.rows(rows).search(queries, 10)
    monkeypatch.setattr("iminet_viz.scoring.INT8_ROWS", 500)
    library = part.rows(rows)
    assert library._scanned.dtype == (made or "float32")
    assert part.rows(rows[1:])._scanned.dtype == "float32"
    for found, one in zip(library.search(queries, 10), expected, strict=True):
        assert np.array_equal(found[0], one[0]) and np.array_equal(found[1], one[1])


def test_a_fusion_is_the_weighted_sum_of_standardised_scores(models, waveforms):
    parts = [standardize_scores(grid(name, waveforms)) for name in ("dtw", models / "pair")]
    np.testing.assert_allclose(grid(f"dtw+{models / 'pair'}", waveforms), sum(parts))
    weighted = grid(f"0.7*dtw + 0.3*{models / 'pair'}", waveforms)
    np.testing.assert_allclose(weighted, 0.7 * parts[0] + 0.3 * parts[1])
    np.testing.assert_allclose(grid("mfcc", waveforms), grid("2*mfcc", waveforms))  # of one, as it is


def test_excluded_candidates_neither_score_nor_standardise(waveforms):
    excluded = np.eye(4, dtype=bool)
    scores = grid("dtw+mfcc", waveforms, excluded)
    np.testing.assert_array_equal(np.isneginf(scores), excluded)
    rest = scores[~excluded].reshape(4, 3)
    np.testing.assert_allclose(rest.mean(axis=1), 0, atol=1e-12)


def test_standardised_scores_worked_out_by_hand():
    scores = np.array([[1.0, 3, -np.inf, 5], [7.0, 7, 7, 7], [-np.inf, -np.inf, -np.inf, 2]])
    z = (3 / 2) ** 0.5
    expected = [[-z, 0, -np.inf, z], [0, 0, 0, 0], [-np.inf, -np.inf, -np.inf, 0]]
    np.testing.assert_allclose(standardize_scores(scores), expected)
    np.testing.assert_allclose(fuse([scores, scores]), 2 * np.array(expected))
    assert np.isnan(standardize_scores(np.array([[1.0, np.nan]]))).all()  # not hidden


def test_a_model_is_found_by_its_shipped_name_and_by_a_folder_of_any_name(models, waveforms, monkeypatch):
    monkeypatch.setattr(shipped, "SHIPPED", models)
    np.testing.assert_array_equal(grid("pair", waveforms), grid(models / "pair", waveforms))
    assert len(load_scorer(str(models / "a+0.5*b")).parts) == 1


@pytest.mark.parametrize("name", ["nobody", "", "mfcc+", "dtw+nobody", "0.5*nobody", "MFCC"])
def test_an_unknown_name_is_refused_with_the_known_ones(models, monkeypatch, name):
    monkeypatch.setattr(shipped, "SHIPPED", models)
    with pytest.raises(CheckpointError, match=r"no model '.*pair, tower; a baseline: mfcc, log-mel"):
        load_scorer(name)


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "much", ""])
def test_a_weight_that_is_no_positive_number_is_refused(weight):
    with pytest.raises(CheckpointError, match="not a positive number"):
        load_scorer(f"{weight}*mfcc+dtw")


def test_a_classifier_cannot_search(models):
    with pytest.raises(CheckpointError, match="sound-tower does not compare two sounds"):
        load_scorer(str(models / "tower"))


# --- a fusion as a folder -------------------------------------------------------------------------------------------


FUSED = {
    "format": 1,
    "kind": "fusion",
    "networks": {"net": 1.0},
    "untrained": {"mfcc": 0.5},
    "data": {"name": "demo", "licence": "MIT"},
}


@pytest.fixture
def fused(models, tmp_path, monkeypatch):
    """A fusion of an untrained net and a baseline, shipped as the default."""
    folder = tmp_path / checkpoint.DEFAULT_SEARCH
    shutil.copytree(models / "pair", folder / "net")
    checkpoint.write_json(folder / "config.json", FUSED)
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path)
    return folder


def test_a_fusion_is_a_folder_that_names_its_parts(fused, models, waveforms):
    expected = grid(f"{models / 'pair'}+0.5*mfcc", waveforms)
    for name in (fused, fused.name, "default"):
        np.testing.assert_array_equal(grid(name, waveforms), expected)
    assert checkpoint.load_model(f"{fused.name}/net").name == f"{fused.name}/net"
    with pytest.raises(CheckpointError, match=f"a fusion of net and mfcc.*its networks are {fused.name}/net"):
        checkpoint.load_model("default")


@pytest.mark.parametrize(
    "networks", [None, [], {"net": 0}, {"net": True}, {"net": float("inf")}, {"../net": 1}, {"": 1}, {"..": 1}]
)
def test_networks_that_are_no_names_with_weights_are_refused(fused, networks):
    (fused / "config.json").write_text(json.dumps({**FUSED, "networks": networks}))
    with pytest.raises(CheckpointError, match="expected names with positive weights"):
        load_scorer("default")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"networks": {"nothing": 1}}, "holds no network 'nothing'"),
        ({"untrained": {"nothing": 1}}, "no model 'nothing'"),
        ({"networks": {}, "untrained": {}}, "fuses nothing"),
        ({"colour": 1}, "colour: expected data, format"),
        ({"format": 99}, "format 99"),
    ],
)
def test_a_fusion_that_is_not_whole_is_refused(fused, changes, says):
    checkpoint.write_json(fused / "config.json", {**FUSED, **changes})
    with pytest.raises(CheckpointError, match=says):
        load_scorer("default")


def test_a_fusion_is_no_part_of_a_sum(fused):
    with pytest.raises(CheckpointError, match="a fusion itself, of net and mfcc; a sum cannot hold it"):
        load_scorer("default+dtw")


def test_a_fusion_takes_its_own_networks_not_shipped_ones_of_the_same_name(fused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    shutil.rmtree(fused / "net")
    with pytest.raises(CheckpointError, match="holds no network 'net'"):
        load_scorer(str(fused.relative_to(tmp_path.parent)))
