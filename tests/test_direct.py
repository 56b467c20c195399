"""Direct sounds excite the neuron, stay within their limits, and never do worse than their starts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from iminet_viz import direct
from iminet_viz.audio import crest_db, quantize
from iminet_viz.checkpoint import load_model, untrained_model
from iminet_viz.direct import DirectSettings, make_direct, make_direct_many
from iminet_viz.errors import PatternError
from iminet_viz.frontends import IMITATION, RECORDING
from iminet_viz.patterns.engine import EngineConfig, maximize, maximize_many
from iminet_viz.patterns.objectives import channel, fc_unit
from iminet_viz.sonification import SHORTLIST, activation_of, choose_griffin_lim, frame_rate_buzz_db, measure

ENGINE = EngineConfig(steps=24, precision="32")
FEW = DirectSettings(steps=6, precision="32")
ONE = SHORTLIST[:1]


@pytest.fixture(scope="module")
def model():
    return load_model("tl-iminet-conv123")


@pytest.fixture(scope="module", params=["imitation.conv2", "recording.conv2"])
def made(request, model):
    """Three patterns of a layer, their Griffin-Lim sounds and their direct ones."""
    patterns = maximize_many(model, [channel(request.param, index) for index in (3, 10, 30)], ENGINE)
    starts = [choose_griffin_lim(model, pattern, ONE) for pattern in patterns]
    return patterns, starts, make_direct_many(model, patterns, starts, FEW)


def test_each_excites_more_than_its_start(made):
    _, starts, sounds = made
    for start, sound in zip(starts, sounds, strict=True):
        assert sound.method == "direct"
        assert sound.activation > 1.02 * start.activation


def test_the_activation_is_that_of_the_samples_that_are_saved(model, made):
    for pattern, _, sound in zip(*made, strict=True):
        for waveform in sound.waveforms.values():
            assert np.array_equal(quantize(waveform), waveform)
        assert sound.activation == pytest.approx(activation_of(model, pattern, sound.waveforms), rel=1e-6)
        assert sound.activation_kept == pytest.approx(sound.activation / pattern.activation)


def test_it_is_as_long_as_loud_in_band_and_hardly_spikier(made):
    for pattern, start, sound in zip(*made, strict=True):
        for role, waveform in sound.waveforms.items():
            config, before = pattern.frontends[role], start.waveforms[role]
            assert waveform.shape == (config.n_samples,) and np.isfinite(waveform).all()
            assert np.sqrt(np.mean(waveform**2)) == pytest.approx(np.sqrt(np.mean(before**2)), rel=0.05)
            assert crest_db(waveform) < crest_db(before) + FEW.crest_db + 0.5
            power = np.abs(np.fft.rfft(waveform)) ** 2
            above = np.fft.rfftfreq(len(waveform), 1 / config.sample_rate) > config.fmax
            assert power[above].sum() < 1e-5 * power.sum()
            assert np.abs(waveform[[0, -1]]).max() < 0.01


def test_it_does_not_depend_on_the_batch(model, made):
    patterns, starts, sounds = made
    alone = make_direct(model, patterns[1], starts[1], FEW)
    assert alone.activation == pytest.approx(sounds[1].activation, rel=1e-3)
    backwards = make_direct_many(model, patterns[::-1], starts[::-1], FEW)
    assert backwards[1].activation == pytest.approx(sounds[1].activation, rel=1e-3)


def test_a_shipped_neuron_gets_a_sound_that_excites_it_as_its_picture_does(model):
    pattern = maximize(model, channel("recording.conv3", 17))
    start = choose_griffin_lim(model, pattern)
    sound = make_direct(model, pattern, start)
    assert sound.activation_kept > 0.95 > start.activation_kept
    assert sound.crest_db["recording"] < start.crest_db["recording"] + 1
    assert sound.buzz_db["recording"] < start.buzz_db["recording"] + 3


def test_a_pair_is_raised_together(model):
    pattern = maximize(model, fc_unit(5), dataclasses.replace(ENGINE, steps=8))
    start = choose_griffin_lim(model, pattern, ONE)
    sound = make_direct(model, pattern, start, dataclasses.replace(FEW, steps=3))
    assert set(sound.waveforms) == {"imitation", "recording"}
    assert sound.activation > start.activation
    for role in sound.waveforms:
        assert not np.array_equal(sound.waveforms[role], start.waveforms[role])


def test_without_steps_it_is_its_start(model, made):
    patterns, starts, _ = made
    for pattern, start in zip(patterns[:1], starts[:1], strict=True):
        still = make_direct(model, pattern, start, dataclasses.replace(FEW, steps=0))
        assert still.activation >= start.activation


def test_it_can_be_followed_and_stopped(model, made):
    patterns, starts, _ = made
    seen = []

    def stop(step, total, activations):
        seen.append((step, total))
        return step == 2

    stopped = make_direct_many(model, patterns, starts, FEW, stop)
    assert seen == [(1, FEW.steps), (2, FEW.steps)]
    assert len(stopped) == len(patterns)
    assert all(sound.activation >= start.activation for sound, start in zip(stopped, starts, strict=True))


def test_a_dead_neuron_is_said_to_be_dead():
    net = untrained_model("tl-iminet", 0)
    pattern = maximize(net, channel("recording.conv1", 2), dataclasses.replace(ENGINE, steps=2))
    with torch.no_grad():
        net.network.recording.block("conv1").conv.bias[2] = -1e3
    with pytest.raises(PatternError, match="may be dead"):
        make_direct(net, pattern, None, dataclasses.replace(FEW, steps=2))


def test_the_network_is_as_it_was(model, made):
    patterns, starts, _ = made
    model.network.train()
    gradients = [parameter.requires_grad for parameter in model.network.parameters()]
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    make_direct_many(model, patterns[:1], starts[:1], dataclasses.replace(FEW, steps=1))
    assert model.network.training
    model.network.eval()
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    assert [parameter.requires_grad for parameter in model.network.parameters()] == gradients


def test_what_does_not_fit_is_refused(model, made):
    patterns, starts, _ = made
    with pytest.raises(PatternError, match="expected as many"):
        make_direct_many(model, patterns, starts[:1], FEW)
    (role,) = starts[0].waveforms
    short = dataclasses.replace(starts[0], waveforms={role: starts[0].waveforms[role][:-1]})
    with pytest.raises(PatternError, match="finite samples"):
        make_direct_many(model, patterns[:1], [short], FEW)
    bad = dataclasses.replace(starts[0], waveforms={role: starts[0].waveforms[role] * np.nan})
    with pytest.raises(PatternError, match="finite samples"):
        make_direct_many(model, patterns[:1], [bad], FEW)
    net = untrained_model("iminet", 0)
    pattern = maximize(net, channel("imitation.conv1", 0), dataclasses.replace(ENGINE, steps=1))
    with pytest.raises(PatternError, match="no log-mel"):
        make_direct(net, pattern, None, FEW)


@pytest.mark.parametrize("values", [{"steps": -1}, {"learning_rate": 0.0}, {"momentum": 1.0}, {"overlap": 1}])
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(PatternError):
        DirectSettings(**values)


# --- the limits, one by one -----------------------------------------------------------------------------------------


def loud_noise(config, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(config.n_samples).astype(np.float32)


@pytest.mark.parametrize("config", [IMITATION, RECORDING], ids=["imitation", "recording"])
def test_what_swells_with_every_frame_is_made_even_and_the_rest_stays(config):
    rate = config.sample_rate / config.hop_length
    time = np.arange(config.n_samples) / config.sample_rate
    plain = loud_noise(config)
    for phase in (0.0, 1.0):
        buzzing = (plain * np.exp(2 * np.cos(2 * np.pi * rate * time + phase))).astype(np.float32)  # 17 dB up and down
        side = direct._Side(config, [buzzing, plain], FEW, torch.device("cpu"))
        side.steps = FEW.steps  # the ascent is over
        heard = side.waveforms().detach().numpy()
        buzz = [frame_rate_buzz_db(x, config.sample_rate, rate) for x in (buzzing, plain, *heard)]
        assert buzz[0] > 25 and max(buzz[2:]) < -3
        assert (
            np.corrcoef(heard[1], side._limit(torch.from_numpy(plain)[None])[0])[0, 1] > 0.7
        )  # it swells by chance, too


@pytest.mark.parametrize("config", [IMITATION, RECORDING], ids=["imitation", "recording"])
def test_what_sticks_out_is_turned_down_while_the_sound_is_raised(config):
    plain, spiky = loud_noise(config), loud_noise(config)
    spiky[:: config.n_samples // 7] = 2.0
    side = direct._Side(config, [plain], FEW, torch.device("cpu"))
    allowed = crest_db(plain) + FEW.crest_db
    assert crest_db(side.waveforms().detach().numpy()[0]) < allowed  # which it hardly has to change
    side.bins = direct._Side(config, [spiky], FEW, torch.device("cpu")).bins
    assert crest_db(spiky) > allowed + 5 > crest_db(side.waveforms().detach().numpy()[0]) + 4.5


# --- the choice of a Griffin-Lim sound ------------------------------------------------------------------------------


def test_the_choice_is_the_lowest_crest_of_those_that_keep_as_much(model, made):
    pattern = made[0][0]
    chosen = choose_griffin_lim(model, pattern)
    each = [choose_griffin_lim(model, pattern, [settings]) for settings in SHORTLIST]
    enough = [one for one in each if one.activation >= 0.95 * max(one.activation for one in each)]
    (role,) = chosen.waveforms
    assert chosen.crest_db[role] == min(one.crest_db[role] for one in enough)
    assert chosen.settings in [dataclasses.asdict(settings) for settings in SHORTLIST]


def test_a_sound_at_less_contrast_is_the_same_picture_to_the_network(model, made):
    """The front end takes a clip's deviation away: what is drawn at a quarter of it is heard as it was."""
    pattern = made[0][0]
    (role,) = pattern.inputs
    sound = choose_griffin_lim(model, pattern, [dataclasses.replace(SHORTLIST[0], contrast=0.25)])
    with torch.no_grad():
        heard = model.frontends[role](torch.from_numpy(sound.waveforms[role])[None])[0, 0].numpy()
    assert np.corrcoef(heard.ravel(), pattern.inputs[role].ravel())[0, 1] > 0.5
    # the error is in dB of the picture, whose deviation it cannot exceed where they are alike; at the sound's own
    # contrast it would be a quarter
    off = np.abs(heard - pattern.inputs[role]).mean() * pattern.db_statistics[role].std_db
    assert 0.5 < sound.log_mel_error_db[role] / off < 2
    again = measure(model, pattern, sound.waveforms, "griffin-lim", sound.settings, 0.25)
    assert again.activation == sound.activation
