"""The benchmarks use the package's inside: what moves there must not break them unseen."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_loads(script, name):
    assert script(name).main


def test_a_script_tells_its_options():
    done = subprocess.run(
        [sys.executable, FOLDER / "transfer.py", "--help"], capture_output=True, text=True, check=True
    )
    assert "--data" in done.stdout


def test_people_are_who_the_documents_say(script, data_folder):
    people = script("transfer").People(data_folder)
    assert (len(people.queries), len(people.candidates)) == (244, 170)
    assert (len(people.drum_queries), len(people.drums)) == (202, 97)


def test_the_sounds_to_train_on_are_found(script, data_folder):
    transfer = script("transfer")
    assert [len(transfer.collection(data_folder / name)) for name in transfer.SOUNDS] == [533, 108, 40, 52, 400]
