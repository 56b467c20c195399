"""Imports inside the package point down only (docs/architecture.md, section 2)."""

import ast
from pathlib import Path

import pytest

import iminet_viz.errors

PACKAGE = Path(iminet_viz.errors.__file__).parent
LAYERS = [
    ["errors"],
    ["audio", "pages"],
    ["study", "shipped", "frames"],
    ["frontends", "imitator", "windows"],
    ["models"],
    ["scan"],
    ["datasets"],
    ["pairs", "checkpoint", "evaluation"],
    ["baselines", "cards"],
    ["scoring"],
    ["trials"],
    ["resident"],
    ["index"],
    ["retrieval"],
    ["cluster", "alignment"],
    ["training", "autoencoder", "patterns", "attribution"],
    ["contrastive"],
    ["plotting", "sonification"],
    ["direct", "comparison"],
    ["assessment"],
    ["systems"],
    ["tables"],
    ["comparison_report"],
    ["gallery", "experiments"],
    ["explanation"],
    ["app"],
    ["cli"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
HEAVY = {"torch", "librosa", "matplotlib", "lightning", "gradio", "scipy", "soundfile", "captum", "lancedb", "pyarrow"}
HEAVY |= {"ray"}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imported(nodes: list[ast.AST], folder: tuple[str, ...]) -> set[str]:
    """Full names of the modules that statements import; ``folder`` resolves relative ones."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*folder[: len(folder) - node.level + 1]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == "iminet_viz" else {module}
    return names


def at_import(tree: ast.Module) -> list[ast.AST]:
    """Statements that run when the module is imported: not those in functions or for type checkers."""
    nodes: list[ast.AST] = []
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        nodes.append(node)
        waiting += ast.iter_child_nodes(node)
    return nodes


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_down(module):
    own = module.parts[0].removesuffix(".py")
    if own == "__init__":
        return  # the package's surface may name everything
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    for name in imported(list(ast.walk(tree)), ("iminet_viz", *module.parts[:-1])):
        if not name.startswith("iminet_viz.") or name == "iminet_viz.__version__":
            continue
        other = name.split(".")[1]
        if other in RANK and own in RANK and other != own:
            assert RANK[other] < RANK[own], f"iminet_viz/{module} imports {name}, which is not below it"
        assert own not in RANK or other in RANK, f"iminet_viz/{module} imports {name}, which has no place in LAYERS"


@pytest.mark.parametrize("name", ["cli.py", "__init__.py"])
def test_the_command_line_starts_without_heavy_imports(name):
    if not (PACKAGE / name).exists():
        pytest.skip(f"iminet_viz/{name} is not there yet")
    names = imported(at_import(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))), ("iminet_viz",))
    assert not {name.split(".")[0] for name in names} & HEAVY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from iminet_viz.audio import load_audio", {"iminet_viz.audio"}),
        ("from iminet_viz import audio, pairs", {"iminet_viz.audio", "iminet_viz.pairs"}),
        ("import iminet_viz.audio as a, torch.nn", {"iminet_viz.audio", "torch.nn"}),
        ("from ._tower import Tower", {"iminet_viz.models._tower"}),
        ("from .. import audio", {"iminet_viz.audio"}),
        ("from ..audio import x", {"iminet_viz.audio"}),
    ],
)
def test_the_reading_of_imports(text, expected):
    assert imported(list(ast.walk(ast.parse(text))), ("iminet_viz", "models")) == expected


def test_imports_in_functions_do_not_run_at_import():
    text = "import os\ndef f():\n    import torch\nif TYPE_CHECKING:\n    import librosa\nclass C:\n    import json\n"
    assert imported(at_import(ast.parse(text)), ("iminet_viz",)) == {"os", "json"}
