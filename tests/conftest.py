"""What the tests share: the folder of real recordings, the command line, and one thread for torch."""

import os
import sys
from pathlib import Path

import pytest
import torch

from iminet_viz import cli

torch.set_num_threads(1)  # the networks are small: threads cost more than they give


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder with the real recordings, named by IMINET_VIZ_DATA."""
    name = os.environ.get("IMINET_VIZ_DATA")
    if not name:
        pytest.skip("the environment variable IMINET_VIZ_DATA does not name the folder of real recordings")
    if not Path(name).is_dir():
        pytest.skip(f"IMINET_VIZ_DATA names {name}, which is not a folder")
    return Path(name)


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process: exit status, stdout, stderr. A traceback is the test's own failure."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["iminet-viz", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.run()
            status = 0
        except SystemExit as stop:
            status = 0 if stop.code is None else int(stop.code)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
