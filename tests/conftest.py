"""What the tests share: the folder of real recordings, and one thread for torch."""

import os
from pathlib import Path

import pytest
import torch

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
