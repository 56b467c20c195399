"""The model card: what a model was trained on, what that allows, what it reaches, and the commands that show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iminet_viz.audio import atomic_path
from iminet_viz.checkpoint import read_json
from iminet_viz.datasets import DATASETS
from iminet_viz.evaluation import describe_metrics

PURPOSE = {
    "language-tower": "Spoken language classifier (7 languages). Its convolutional layers start TL-IMINET's imitation "
    "tower (Zhang, Pardo, Duan 2018, section V-A).",
    "sound-tower": "Environmental sound classifier (10 classes). Its convolutional layers start TL-IMINET's recording "
    "tower (Zhang, Pardo, Duan 2018, section V-B).",
    "tl-iminet": "TL-IMINET: how likely is it that a vocal imitation means a recording (Zhang, Pardo, Duan 2018, "
    "section V)?",
}

LIMITS = {
    "language-tower": "Language goes with speaker and microphone in these collections: most languages have one to "
    "three voices. The training clips are learned by heart while a whole held-out collection stays near chance, so "
    "the figures say that this tower has learned voices, not languages. The validation collection chose the epoch. "
    "The paper's 69.8 % comes from 56,000 clips split at random.",
    "sound-tower": "The held-out fold chose nothing: the last epoch counts. ESC-10 clips are 5 s, the tower sees 3 s; "
    "a clip's class is the mean over its windows.",
    "tl-iminet": "The training pairs are few and come from three chains of four. On the chain that training did not "
    "see, read the interval and the permuted control below before believing that it searches: it is shipped for "
    "looking into, not for searching.",
}


def write_card(folder: Path) -> None:
    """Write ``README.md`` of a model folder from its ``config.json`` and ``metrics.json``."""
    config, metrics = read_json(folder / "config.json"), read_json(folder / "metrics.json")
    with atomic_path(folder / "README.md") as path:
        part = f"{folder.parent.name}/" if "test_fold" in config["data"] else ""
        path.write_text(card(part + folder.name, config, metrics), encoding="utf-8")


def card(name: str, config: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Text of the card, in Markdown."""
    kind, data, recipe = config["kind"], config["data"], config["recipe"]
    dataset = DATASETS[data["name"]]
    lines = [f"# {name}", "", PURPOSE[kind], "", "## Results", ""]
    lines += [f"* {line}" for line in describe_metrics(metrics)]
    lines += ["", "Intervals are 95 % bootstrap intervals over clips or queries.", ""]
    if kind == "tl-iminet":
        lines += [
            "MRR: each imitation searches all recordings of its part, its own file left out. The permuted control "
            "gives every query another query's answer; p is the share of 1,000 permutations that reach the real MRR.",
            "",
        ]
    lines += ["## Data", "", f"* {data['name']}: {dataset.CITATION}", f"* licence: {data['licence']}"]
    lines += [
        f"* {key.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}"
        for key, value in data.items()
        if key not in ("name", "licence")
    ]
    if best := metrics.get("run", {}).get("best_epoch"):
        lines.append(f"* epochs: {metrics['run']['epochs']} trained, the weights of epoch {best} kept")
    for role, parent in config.get("parents", {}).items():
        lines.append(f"* {role} tower starts from {parent['name']} ({parent['fingerprint']}), whose data count too")
    lines += ["", "## Recipe", ""]
    precision = "bf16 mixed precision on channels_last" if recipe["precision"] == "bf16" else "float32"
    norm = "with batch normalisation" if recipe["batch_norm"] else "without batch normalisation"
    optimizer = "Adam" if recipe["optimizer"] == "adam" else "SGD with Nesterov momentum"
    lines += [
        f"{optimizer}, learning rate {recipe['learning_rate']}, batch {recipe['batch_size']}, at most "
        f"{recipe['epochs']} epochs, {precision}, {norm}, seed {recipe['seed']}; everything else in `config.json`.",
        "",
        "## Limits",
        "",
        LIMITS[kind],
        "",
        "## Again",
        "",
        "```",
    ]
    if kind == "language-tower":
        lines += [
            f"iminet-viz evaluate {name} --data DATA/voxforge-real   # test",
            f"iminet-viz evaluate {name} --data DATA/speech-lid      # validation",
        ]
    else:
        lines.append(f"iminet-viz evaluate {name} --data DATA/{data['name']}")
    test = " --test DATA/voxforge-real" if kind == "language-tower" else ""
    config_path = f"trained_models/{name}/config.json"
    lines.append(f"iminet-viz train {kind} --recipe {config_path} --data DATA/{data['name']}{test} --out RUN")
    lines += ["```", ""]
    return "\n".join(lines)
