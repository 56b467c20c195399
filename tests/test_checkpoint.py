"""What is saved loads to the same model; every fault gives one error that names the folder or the key."""

import dataclasses
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from iminet_viz import checkpoint
from iminet_viz.checkpoint import (
    DbStatistics,
    fingerprint_of,
    load_model,
    save_model,
    untrained_model,
    weights_of,
)
from iminet_viz.errors import CheckpointError
from iminet_viz.models import MODELS

CLASSES = ("de", "en", "es", "fr", "it", "nl", "ru")
METRICS = {"mrr": 0.25, "n": 60}


def new_model(kind: str, seed: int = 0, **architecture):
    if kind in ("language-tower", "sound-tower"):
        architecture.setdefault("classes", CLASSES)
    return untrained_model(kind, seed, architecture)


def save(folder: Path, model, config=None, metrics=None) -> Path:
    save_model(folder, model.network, model.db_statistics, config or {}, METRICS if metrics is None else metrics)
    return folder


def inputs(model) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    configs = [frontend.config for frontend in model.frontends.values()]
    waves = [torch.rand(2, config.n_samples, generator=generator) - 0.5 for config in configs]
    return [frontend(wave) for frontend, wave in zip(model.frontends.values(), waves, strict=True)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A language tower in its folder, to be copied and damaged."""
    return save(tmp_path_factory.mktemp("models") / "whole", new_model("language-tower"))


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "damaged"))


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def edit_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder: Path, edit) -> None:
    path = folder / "weights.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        header = file.metadata()
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    edit(weights)
    safetensors.torch.save_file(weights, path, metadata=header)


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [
        *((kind, {}) for kind in MODELS),
        *((kind, {"batch_norm": True}) for kind in ("tl-iminet", "language-tower", "sound-tower", "recurrent")),
        ("iminet", {"tying": "partial"}),
        ("iminet", {"tying": "untied"}),
        ("imisound", {"hidden": [30, 20]}),
        ("aligned", {"channels": [8, 8, 16], "features": 5}),
    ],
)
def test_a_saved_model_loads_to_the_same_model(tmp_path, kind, architecture):
    model = new_model(kind, **architecture)
    loaded = load_model(save(tmp_path / "new" / "mine", model, {"recipe": {"seed": 3}}))
    model.network.requires_grad_(False)  # a GRU whose weights want gradients rounds otherwise
    with torch.no_grad():
        assert torch.equal(loaded.network(*inputs(loaded)), model.network(*inputs(model)))
    assert loaded.network.config == model.network.config
    assert loaded.fingerprint == model.fingerprint
    assert loaded.db_statistics == model.db_statistics
    assert loaded.metrics == METRICS
    assert loaded.config["recipe"] == {"seed": 3}
    assert loaded.name == "mine"
    assert not loaded.network.training
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
    assert loaded.device.type == "cpu"
    assert {path.name for path in (tmp_path / "new" / "mine").iterdir()} == {
        "weights.safetensors",
        "config.json",
        "metrics.json",
    }


def test_a_model_without_metrics_loads(folder):
    (folder / "metrics.json").unlink()
    assert load_model(folder).metrics == {}


def test_a_missing_folder_is_named_with_what_there_is(tmp_path):
    message = refusal(tmp_path / "nowhere")
    assert all(name in message for name in checkpoint.shipped_models())
    (tmp_path / "empty").mkdir()
    assert "expected a folder with config.json" in refusal(tmp_path / "empty")


def test_missing_weights_are_named(folder):
    (folder / "weights.safetensors").unlink()
    assert "holds no weights.safetensors" in refusal(folder)


@pytest.mark.parametrize("key", ["format", "kind", "architecture", "frontends", "db_statistics"])
def test_a_missing_key_is_named(folder, key):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content))
    assert f"config.json: lacks {key}" in refusal(folder)


LANGUAGE_TOWER = {"classes": list(CLASSES), "batch_norm": False}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"colour": "red"}, "unknown keys colour"),
        ({"format": 2}, "format 2, this version reads 1"),
        ({"kind": "iminet-9000"}, "unknown kind 'iminet-9000', expected one of tl-iminet"),
        ({"kind": ["language-tower"]}, "unknown kind"),
        ({"kind": "sound-tower"}, "recording front end is not the one of sound-tower"),
        ({"architecture": {**LANGUAGE_TOWER, "depth": 3}}, "unknown architecture keys depth"),
        (
            {"architecture": {**LANGUAGE_TOWER, "classes": list(CLASSES[::-1])}},
            "architecture in config.json is not what",
        ),
        ({"architecture": {**LANGUAGE_TOWER, "batch_norm": True}}, "architecture in config.json is not what"),
        ({"architecture": {"classes": 7, "batch_norm": False}}, "no network has the architecture"),
        ({"architecture": {"batch_norm": False}}, "classes"),
        ({"architecture": None}, "architecture None, expected an object"),
        ({"architecture": []}, "expected an object"),
        ({"frontends": None}, "config.json"),
        ({"frontends": {"imitation": "log-mel"}}, "config.json"),
        ({"frontends": {}}, "imitation front end is not the one of language-tower"),
        ({"db_statistics": {}}, "db_statistics must give"),
        ({"db_statistics": None}, "db_statistics must give"),
        ({"db_statistics": {"imitation": {"mean_db": -50.0}}}, "db_statistics must give"),
        ({"db_statistics": {"recording": {"mean_db": -50.0, "std_db": 16.0}}}, "db_statistics must give"),
        ({"db_statistics": {"imitation": {"mean_db": -50.0, "std_db": 0}}}, "std_db > 0"),
        ({"db_statistics": {"imitation": {"mean_db": -50.0, "std_db": -1}}}, "std_db > 0"),
        ({"db_statistics": {"imitation": {"mean_db": float("nan"), "std_db": 16.0}}}, "db_statistics must give"),
        ({"db_statistics": {"imitation": {"mean_db": -50.0, "std_db": float("inf")}}}, "db_statistics must give"),
        ({"db_statistics": {"imitation": {"mean_db": "loud", "std_db": 16.0}}}, "db_statistics must give"),
    ],
)
def test_an_edited_config_is_refused(folder, changes, reason):
    edit_config(folder, **changes)
    assert reason in refusal(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hop_length": 134}, "imitation front end is not the one of language-tower"),
        ({"pad_mode": "reflect"}, "imitation front end is not the one of language-tower"),
        ({"kind": "wavelet"}, "unknown kind 'wavelet'"),
        ({"mels": 3}, "unknown settings mels"),
    ],
)
def test_another_front_end_is_refused(folder, change, reason):
    frontends = json.loads((folder / "config.json").read_text())["frontends"]
    frontends["imitation"].update(change)
    edit_config(folder, frontends=frontends)
    assert reason in refusal(folder)


def test_weights_trained_with_another_front_end_are_refused(folder):
    """The fault is in the header of the weights alone."""
    path = folder / "weights.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        header = file.metadata()
    content = json.loads(header["frontends"])
    content["imitation"]["pad_mode"] = "reflect"
    header["frontends"] = json.dumps(content, sort_keys=True)
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata=header)
    assert "frontends in config.json is not what the weights were trained with" in refusal(folder)
    safetensors.torch.save_file(safetensors.torch.load_file(path), path)  # no header at all
    assert "is not what the weights were trained with" in refusal(folder)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda weights: weights.pop("fc2.bias"), "lacks the tensor fc2.bias"),
        (lambda weights: weights.update({"fc3.bias": torch.zeros(1)}), "holds an unknown tensor fc3.bias"),
        (lambda weights: weights.update({"fc2.bias": torch.zeros(8)}), r"fc2.bias has shape (8,), expected (7,)"),
        (lambda weights: weights.update({"fc2.bias": torch.zeros(7, 1)}), "fc2.bias has shape (7, 1)"),
        (lambda weights: weights.update({"fc2.bias": torch.zeros(7).half()}), "fc2.bias is torch.float16"),
        (lambda weights: weights["fc2.bias"].fill_(torch.nan), "fc2.bias holds NaN or infinite values"),
        (lambda weights: weights["fc1.weight"][3].fill_(-torch.inf), "fc1.weight holds NaN or infinite values"),
    ],
)
def test_damaged_weights_are_refused(folder, edit, reason):
    edit_weights(folder, edit)
    assert reason in refusal(folder)


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_is_refused_and_never_loaded(folder, tmp_path, writer):
    sign = tmp_path / "was unpickled"
    writer(_Bomb(sign), folder / "weights.safetensors")
    assert "pickled weights are never loaded" in refusal(folder)
    assert not sign.exists()
    pickle.loads(pickle.dumps(_Bomb(sign)))  # the bomb is live
    assert sign.exists()


@pytest.mark.parametrize("kept", [0, 4, 100, -1, -10_000])
def test_truncated_weights_are_refused(folder, kept):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert "weights.safetensors: not a safetensors file" in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe{}", b'{"a": 1} x'])
def test_invalid_json_is_refused(folder, name, content):
    (folder / name).write_bytes(content)
    assert name in refusal(folder)


def test_an_unreadable_config_is_refused(folder, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert "cannot be read (Permission denied)" in refusal(folder)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value):
    model = new_model("language-tower")
    with torch.no_grad():
        model.network.fc1.bias[5] = value
    with pytest.raises(CheckpointError, match=r"fc1\.bias holds NaN"):
        save(tmp_path / "a", model)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("metrics", [{"mrr": float("nan")}, {"mrr": object()}])
@pytest.mark.parametrize("part", ["metrics", "config"])
def test_what_json_cannot_hold_is_not_saved(saved, folder, part, metrics):
    """Nothing of the new model is written: new weights beside old figures would be believed."""
    values = {"config": {}, "metrics": {}} | {part: {"recipe": metrics}}
    with pytest.raises(CheckpointError, match=rf"{part}\.json"):
        save(folder, new_model("language-tower", seed=1), values["config"], values["metrics"])
    for path in saved.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_a_failed_save_leaves_no_half_written_file(saved, folder, monkeypatch):
    def fail(weights, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OSError, match="No space"):
        save(folder, new_model("language-tower", seed=1))
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in saved.iterdir())
    for path in saved.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", MODELS)
def test_fingerprints_tell_models_apart(kind):
    model = new_model(kind)
    weights, configs = weights_of(model.network), model.network.FRONTENDS
    assert fingerprint_of(weights, configs) == model.fingerprint == new_model(kind).fingerprint
    assert new_model(kind, seed=1).fingerprint != model.fingerprint
    nudged = {key: value.clone() for key, value in weights.items()}
    next(iter(nudged.values())).view(-1)[0] += 1e-6
    assert fingerprint_of(nudged, configs) != model.fingerprint
    renamed = {f"x.{key}": value for key, value in weights.items()}
    assert fingerprint_of(renamed, configs) != model.fingerprint
    for role, config in configs.items():
        other = {**configs, role: dataclasses.replace(config, top_db=70.0)}
        assert fingerprint_of(weights, other) != model.fingerprint
    assert fingerprint_of(dict(reversed(weights.items())), configs) == model.fingerprint


@pytest.mark.parametrize(("tying", "shared"), [("tied", 4), ("partial", 2), ("untied", 0)])
def test_tied_weights_are_stored_once_and_stay_tied(tmp_path, tying, shared):
    folder = save(tmp_path / "tied", new_model("iminet", tying=tying))
    with safetensors.safe_open(folder / "weights.safetensors", framework="pt") as file:
        keys = set(file.keys())
    assert sum(key.startswith("recording.") for key in keys) == 2 * (4 - shared)  # weight and bias
    network = load_model(folder).network
    for index in range(4, 4 - shared, -1):
        assert network.imitation.block(f"conv{index}") is network.recording.block(f"conv{index}")
    if shared:  # a second copy could differ from the first
        edit_weights(folder, lambda weights: weights.update({"recording.blocks.conv4.conv.bias": torch.zeros(6)}))
        assert "unknown tensor recording.blocks.conv4.conv.bias" in refusal(folder)
        edit_config(folder, architecture={"tying": "untied", "fc1": 432, "fc2": 32})
        assert "architecture in config.json is not what the weights were trained with" in refusal(folder)


def test_untrained_models_follow_their_seed_and_leave_the_global_one_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    model = new_model("tl-iminet", seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.name == "tl-iminet-random2"
    assert not model.network.training
    assert all(isinstance(value, DbStatistics) for value in model.db_statistics.values())


@pytest.mark.parametrize(
    ("kind", "architecture", "reason"),
    [
        ("iminet-9000", {}, "unknown kind"),
        ("tl-iminet", {"depth": 3}, "unknown architecture keys depth"),
        ("tl-iminet", {"fc1": -1}, "no network has the architecture"),
        ("tl-iminet", {"fc1": "wide"}, "no network has the architecture"),
        ("language-tower", {}, "classes"),
        ("iminet", {"tying": "loose"}, "tying 'loose', expected one of tied, partial, untied"),
        ("imisound", {"hidden": [1_000]}, "no network has the architecture"),
        ("imisound", {"hidden": 600}, "no network has the architecture"),
        ("recurrent", {"hidden": 0}, "no network has the architecture"),
        ("aligned", {"channels": [16, 32]}, "no network has the architecture"),
    ],
)
def test_untrained_models_refuse_nonsense(kind, architecture, reason):
    with pytest.raises(CheckpointError, match=reason):
        untrained_model(kind, architecture=architecture)


def test_shipped_models_load_by_name():
    """A loop, not parameters: there may be none yet, and a skip would hide that they are gone."""
    assert checkpoint.SHIPPED.name == "trained_models"
    assert checkpoint.DEFAULT_SEARCH in checkpoint.shipped_models()
    for name in checkpoint.shipped_models():
        if checkpoint.read_fusion(checkpoint.find_model(name)) is not None:
            continue
        model = load_model(name)
        assert model.name == name
        with torch.no_grad():
            assert model.network(*inputs(model)).isfinite().all(), name


@pytest.mark.gpu
@pytest.mark.parametrize("kind", MODELS)
def test_a_model_moves_to_the_gpu_with_its_front_ends(tmp_path, kind):
    model = load_model(save(tmp_path, new_model(kind)), device="cuda")
    assert model.device.type == "cuda"
    waves = [torch.rand(1, frontend.config.n_samples, device="cuda") for frontend in model.frontends.values()]
    values = [frontend(wave) for frontend, wave in zip(model.frontends.values(), waves, strict=True)]
    assert model.network(*values).isfinite().all()
