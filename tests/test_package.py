"""The public surface: what ``import iminet_viz`` offers is a decision."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import iminet_viz as iv
from iminet_viz.errors import PatternError

PUBLIC = {
    "CompareSettings",
    "Comparison",
    "EngineConfig",
    "Evidence",
    "IminetVizError",
    "Pattern",
    "__version__",
    "assess",
    "compare",
    "explain_match",
    "load_audio",
    "load_model",
    "maximize",
    "maximize_many",
    "objectives",
    "plot_explanation",
    "open_index",
    "plot_pattern",
    "save_audio",
    "sonify",
    "study_pairs",
    "untrained_model",
}


def test_exported_names():
    assert set(iv.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(iv, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = iv.nothing_of_the_kind


def test_import_stays_light():
    code = "import sys, iminet_viz; print(sorted({'torch', 'librosa', 'matplotlib'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_lines_of_the_readme(tmp_path):
    model = iv.untrained_model("tl-iminet")
    config = iv.EngineConfig(steps=2)
    pattern = iv.maximize(model, iv.objectives.channel("imitation.conv2", 17), config, seed=0)
    iv.plot_pattern(pattern).savefig(tmp_path / "conv2_17.png")
    iv.save_audio(tmp_path / "conv2_17.wav", *iv.sonify(pattern))
    waveform = iv.load_audio(tmp_path / "conv2_17.wav", 16_000)
    assert len(waveform) == 482 * 133 and np.abs(waveform).max() > 0.4
    pair = iv.maximize(model, iv.objectives.fc_unit(3), config)
    with pytest.raises(PatternError, match="imitation and recording"):
        iv.sonify(pair)
    assert iv.sonify(pair, "recording")[1] == 44_100


def test_no_pickle_and_no_outside_path_in_the_package():
    for path in Path(iv.__file__).parent.rglob("*.py"):
        text = path.read_text()
        assert "allow_pickle=True" not in text and "pickle.load" not in text, path
        for line in text.splitlines():
            assert "torch.load(" not in line or "weights_only=True" in line, (path, line)
