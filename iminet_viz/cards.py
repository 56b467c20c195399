"""The model card: what a model was trained on, what that allows, what it reaches, and the commands that show it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from iminet_viz.audio import atomic_path
from iminet_viz.checkpoint import FUSION, SHIPPED, find_model, load_model, read_fusion, read_json
from iminet_viz.datasets import DATASETS, demo, pairs_table, telephone, vocalsketch
from iminet_viz.evaluation import describe_metrics

# What each kind of model is for, in a few words.
ROLES = {
    "language-tower": "starts the imitation tower of TL-IMINET",
    "sound-tower": "starts the recording tower of TL-IMINET",
    "tl-iminet": "the paper's TL-IMINET",
    "iminet": "the paper's IMINET",
    "imisound": "the paper's baseline",
    "recurrent": "TL-IMINET with a recurrent layer",
    "aligned": "searches by alignment",
    "joint": "searches by alignment",
    FUSION: "searches",
}
PURPOSE = {
    "language-tower": "Spoken language classifier (7 languages). Its convolutional layers start TL-IMINET's imitation "
    "tower (Zhang, Pardo, Duan 2018, section V-A).",
    "sound-tower": "Environmental sound classifier (10 classes). Its convolutional layers start TL-IMINET's recording "
    "tower (Zhang, Pardo, Duan 2018, section V-B).",
    "tl-iminet": "TL-IMINET: how likely is it that a vocal imitation means a recording (Zhang, Pardo, Duan 2018, "
    "section V)? Two different towers on log-mel spectrograms.",
    "iminet": "IMINET: how likely is it that a vocal imitation means a recording (Zhang, Pardo, Duan 2018, section "
    "IV)? Two towers of one structure on constant-Q spectrograms.",
    "imisound": "IMISOUND, the baseline of Zhang, Pardo and Duan (2018, section VI): features of a stacked "
    "auto-encoder that has seen imitations only, pooled over the clip, compared by their cosine.",
    "recurrent": "TL-IMINET with a recurrent layer over time in each tower: the future work of Zhang, Pardo and Duan "
    "(2018).",
    "aligned": "One small network for imitations and recordings, whose frames are compared in order by dynamic time "
    "warping.",
    "joint": "Finds what a voice means: several aligned nets as one, whose frames are joined and compared in order by "
    "dynamic time warping.",
    FUSION: "Finds what a voice means: the sum of the scores of its parts, standardised for each query.",
}
ON_THE_DEMO = (
    "Trained on synthesised sounds and synthesised imitations of them: the figure on its own test half says that the "
    "training works, not that people are understood. For that see the figures on recordings of people."
)
FEW_PAIRS = (
    "The training pairs are few and come from three chains of four. On the chain that training did not see, read the "
    "interval and the permuted control above before believing that it searches."
)
LIMITS = {
    "language-tower": "Language goes with speaker and microphone in these collections: most languages have one to "
    "three voices. The training clips are learned by heart while a whole held-out collection stays near chance, so "
    "the figures say that this tower has learned voices, not languages. The validation collection chose the epoch. "
    "The paper's 69.8 % comes from 56,000 clips split at random.",
    "sound-tower": "The held-out fold chose nothing: the last epoch counts. ESC-10 clips are 5 s, the tower sees 3 s; "
    "a clip's class is the mean over its windows.",
}


def describe_model(name: str) -> dict[str, Any]:
    """What ``iminet-viz models`` says of a model, as JSON values.

    Raises:
        CheckpointError: it, or a part of it, does not load.
    """
    folder = find_model(name)
    config, fusion = read_json(folder / "config.json"), read_fusion(folder)
    parts = None if fusion is None else fusion.networks | fusion.untrained
    folders = [folder] if fusion is None else [folder / part for part in fusion.networks]
    models = [load_model(path) for path in folders]
    digest = hashlib.sha256(json.dumps([parts, [model.fingerprint for model in models]]).encode())
    return {
        "name": name,
        "kind": config["kind"],
        "role": ROLES[config["kind"]],
        "parts": parts,
        "data": config["data"].get("about", config["data"]["name"]),
        "licence": _licence(config),
        "parameters": sum(p.numel() for model in models for p in model.network.parameters()),
        "bytes": sum((path / "weights.safetensors").stat().st_size for path in folders),
        "fingerprint": digest.hexdigest()[:16] if parts else models[0].fingerprint,
        "metrics": read_json(folder / "metrics.json"),
    }


def _licence(config: dict[str, Any]) -> str:
    """Of the data, and of those that the towers it starts from have heard."""
    parents = config.get("parents", {}).values()
    return "; ".join([config["data"]["licence"], *(f"{p['name']}: {p['licence']}" for p in parents if "licence" in p)])


def write_card(folder: Path) -> None:
    """Write ``README.md`` of a model folder from its ``config.json`` and ``metrics.json``."""
    config, metrics = read_json(folder / "config.json"), read_json(folder / "metrics.json")
    folder = folder.resolve()
    shipped = folder.is_relative_to(SHIPPED)
    if shipped:
        name = folder.relative_to(SHIPPED).as_posix()
    elif "test_fold" in config["data"]:
        name = f"{folder.parent.name}/{folder.name}"
    else:
        name = folder.parent.name if folder.name == "model" else folder.name  # OUT/model is called as its run
    with atomic_path(folder / "README.md") as path:
        path.write_text(card(name, config, metrics, shipped), encoding="utf-8")


def card(name: str, config: dict[str, Any], metrics: dict[str, Any], shipped: bool = True) -> str:
    """Text of the card, in Markdown; commands find a model that is not shipped by its folder."""
    kind, data = config["kind"], config["data"]
    lines = [f"# {name}", "", PURPOSE[kind], "", "## Results", ""]
    lines += [f"* {line}" for line in describe_metrics(metrics)]
    figures = [values for values in metrics.values() if "interval" in values]
    lines += ["", "Intervals are 95 % bootstrap intervals over clips or queries.", ""] if figures else [""]
    if any("mrr" in values for values in figures):
        lines += [
            "MRR: each imitation searches all recordings of its part (within category: those of its category), its own "
            "file left out. The permuted control gives every query another query's answer; p is the share of 1,000 "
            "permutations that reach the real MRR.",
            "",
        ]
    if any(part.startswith("people") for part in metrics):
        lines += [
            "People: imitations by people, none of whom was trained on (`benchmarks/people.py`). Telephone: which "
            "recording was imitated? Recipes were chosen with all of it in sight, the weights of a fusion on half of "
            "its chains. Beatbox and nonverbal: how high is the first drum, or the first sneeze or cry among the clips "
            "of ESC-10, of the right class? With so few classes chance is high.",
            "",
        ]
    if kind == FUSION:
        weights = {**config["networks"], **config["untrained"]}
        parts = ", ".join(f"{part} (weight {weight:g})" for part, weight in weights.items())
        lines += ["## Parts", "", f"{parts}. Those with a folder here have a card there; the others are untrained.", ""]
    what = data.get("about") or f"{data['name']}: {DATASETS[data['name']].CITATION}"
    lines += ["## Data", "", f"* {what}", f"* licence: {_licence(config)}"]
    lines += [
        f"* {key.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}"
        for key, value in data.items()
        if key not in ("name", "licence", "sources", *(("about", "sounds", "imitations") if "about" in data else ()))
    ]
    lines += [f"* {source}: {licence}" for source, licence in data.get("sources", {}).items()]
    if best := metrics.get("run", {}).get("best_epoch"):
        lines.append(f"* epochs: {metrics['run']['epochs']} trained, the weights of epoch {best} kept")
    for role, parent in config.get("parents", {}).items():
        lines.append(f"* {role} tower starts from {parent['name']} ({parent['fingerprint']}), whose data count too")
    if kind != FUSION:
        lines += ["", "## Recipe", "", f"{_recipe(kind, config)}; everything else in `config.json`."]
    lines.append("")
    limits = [LIMITS[kind]] if kind in LIMITS else []
    if data["name"] == demo.NAME:
        limits.append(ON_THE_DEMO)
    if data["name"] == telephone.NAME:
        limits.append(FEW_PAIRS)
    if limits:
        lines += ["## Limits", "", *limits, ""]
    commands = _commands(name if shipped else "MODEL", kind, config)
    lines += ["## Again", "", "```", *commands, "```", ""]
    return "\n".join([*lines, *([] if shipped else ["`MODEL` is this folder.", ""])])


def _recipe(kind: str, config: dict[str, Any]) -> str:
    recipe = config["recipe"]
    common = f"learning rate {recipe['learning_rate']}, batch {recipe['batch_size']}"
    if kind == "imisound":
        return f"Adam, {common}, {recipe['epochs']} epochs a layer, seed {recipe['seed']}"
    if "optimizer" not in recipe:
        joined = config.get("joined")
        seeds = f"seed {recipe['seed']}" if joined is None else f"seeds {', '.join(map(str, joined['seeds']))}"
        trained = f"AdamW, in-batch softmax, {common}, {recipe['epochs']} epochs, {seeds}"
        of = "" if joined is None else f"; principal components of the joined frames of {joined['sounds']:,} sounds"
        return trained + of
    precision = "bf16 mixed precision on channels_last" if recipe["precision"] == "bf16" else "float32"
    norm = "with batch normalisation" if recipe["batch_norm"] else "without batch normalisation"
    optimizer = "Adam" if recipe["optimizer"] == "adam" else "SGD with Nesterov momentum"
    return f"{optimizer}, {common}, at most {recipe['epochs']} epochs, {precision}, {norm}, seed {recipe['seed']}"


def _commands(name: str, kind: str, config: dict[str, Any]) -> list[str]:
    """Commands that compute the figures again, and those that train the model again."""
    data = config["data"]["name"]
    folder = name if name == "MODEL" else f"trained_models/{name}"
    again = f"iminet-viz train {'aligned' if kind == 'joint' else kind} --recipe {folder}/config.json"
    if kind == "language-tower":
        return [
            f"iminet-viz evaluate {name} --data DATA/voxforge-real   # test",
            f"iminet-viz evaluate {name} --data DATA/speech-lid      # validation",
            f"{again} --data DATA/{data} --test DATA/voxforge-real --out RUN",
        ]
    people = f"iminet-viz evaluate {name} --pairs DATA/telephone-imitations --dataset telephone-imitations"
    if kind == FUSION:
        return [people]
    if data == pairs_table.NAME:
        sources = "" if name == "MODEL" else " --sources SOUNDS/sources.json"
        seeds = config["joined"]["seeds"] if kind == "joint" else []
        made = [f"{again} --seed {seed} --data PAIRS{sources} --out RUN{seed}" for seed in seeds]
        made.append(
            f"iminet-viz join {' '.join(f'RUN{seed}/model' for seed in seeds)} --data SOUNDS --out OUT"
            if seeds
            else f"{again} --data PAIRS{sources} --out RUN"
        )
        if name == "MODEL":
            return made
        gather = "benchmarks/gather_sounds.py --data DATA --corpus CORPUS --downloads PACKAGES --out SOUNDS"
        return [people, gather, "iminet-viz imitate SOUNDS --count 4 --out PAIRS", *made]
    if data in (demo.NAME, vocalsketch.NAME):
        system, seed = config["data"]["system"], config["recipe"]["seed"]
        return [
            people,
            *(["iminet-viz corpus make CORPUS"] if data == demo.NAME else []),
            f"iminet-viz evaluate {name} --data CORPUS",
            f"iminet-viz experiment table1 --data CORPUS --seeds {seed + 1} --systems {system} --out OUT   "
            f"# OUT/runs/{system}-{seed}/model",
        ]
    return [f"iminet-viz evaluate {name} --data DATA/{data}", f"{again} --data DATA/{data} --out RUN"]
