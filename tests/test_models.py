"""Every model has the paper's shapes and parameters, and its shortcuts give what the long way gives."""

import pytest
import torch
from torch import nn

from iminet_viz.errors import PatternError
from iminet_viz.frontends import CONSTANT_Q
from iminet_viz.models import (
    MODELS,
    Aligned,
    AlignedNet,
    Iminet,
    JointNet,
    LanguageTower,
    Model,
    Searcher,
    SoundTower,
    TLIminet,
)
from iminet_viz.models.iminet import SHARED, IminetConfig
from iminet_viz.models.tl_iminet import ClassifierConfig, TLIminetConfig, make_tower

INPUTS = {"imitation": (1, 39, 482), "recording": (1, 128, 128)}
# paper.md, section 2: feature maps before pooling, output after pooling, receptive field of a map position
TOWERS = {
    "imitation": {
        "conv1": ((34, 477), (48, 17, 238), (6, 6), (1, 1)),
        "conv2": ((12, 233), (48, 6, 116), (17, 17), (2, 2)),
        "conv3": ((1, 111), (48, 1, 55), (39, 39), (4, 4)),
    },
    "recording": {
        "conv1": ((124, 124), (24, 62, 31), (5, 5), (1, 1)),
        "conv2": ((58, 27), (48, 29, 6), (14, 24), (2, 4)),
        "conv3": ((25, 2), (48, 25, 2), (32, 100), (4, 16)),
    },
}
FEATURES = {"imitation": 2_640, "recording": 2_400}
CLASSES = {"language-tower": ("de", "en", "es", "fr", "it", "nl", "ru"), "sound-tower": tuple("abcdefghij")}
LANGUAGE, SOUND = ({"classes": CLASSES[kind]} for kind in ("language-tower", "sound-tower"))
NORM = {"batch_norm": True}
# TL-IMINET and IMINET: paper.md, section 2. The others by hand: convolutions, then what follows.
LANGUAGE_PARAMETERS = 1_776 + 2 * 82_992 + 2_640 * 256 + 256 + 256 * 7 + 7
SOUND_PARAMETERS = 624 + 28_848 + 57_648 + 2_400 * 64 + 64 + 64 * 10 + 10
RECURRENT_PARAMETERS = 2 * (416 + 4_640 + 9_248) + 3 * 64 * (160 + 192 + 2 * 66) + 128 * 108 + 108 + 108 + 1
CASES = {  # every kind and every way to build it: architecture and number of parameters
    "tl-iminet": ({}, 799_417),
    "tl-iminet norm": (NORM, 799_945),
    "language-tower": (LANGUAGE, LANGUAGE_PARAMETERS),
    "language-tower norm": (LANGUAGE | NORM, LANGUAGE_PARAMETERS + 2 * 3 * 48),
    "sound-tower": (SOUND, SOUND_PARAMETERS),
    "sound-tower norm": (SOUND | NORM, SOUND_PARAMETERS + 2 * (24 + 48 + 48)),
    "iminet": ({}, 203_357),
    "iminet partial": ({"tying": "partial"}, 204_785),
    "iminet untied": ({"tying": "untied"}, 205_769),
    "imisound": ({}, 1_440 * 1_000 + 1_000 + 1_000 * 600 + 600),
    "recurrent": ({}, RECURRENT_PARAMETERS),
    "recurrent norm": (NORM, RECURRENT_PARAMETERS + 2 * 2 * (16 + 32 + 32)),
    "aligned": ({}, 51_380),
    "joint": ({}, 3 * 51_380 + 3 * 48 * 48),
}

every_case = pytest.mark.parametrize("case", CASES)
every_model = pytest.mark.parametrize("kind", MODELS)
every_tower_layer = pytest.mark.parametrize(
    ("role", "layer"), [(role, name) for role in TOWERS for name in TOWERS[role]]
)


def build(case: str) -> Model:
    torch.manual_seed(0)
    cls = MODELS[case.split()[0]]
    return cls(cls.CONFIG(**CASES[case][0])).eval()


def inputs(model: Model, batch: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {role: torch.randn(batch, 1, *c.shape, generator=generator) for role, c in model.FRONTENDS.items()}


def test_every_kind_is_tested():
    assert {case.split()[0] for case in CASES} == set(MODELS)


@every_case
def test_parameter_counts(case):
    assert sum(parameter.numel() for parameter in build(case).parameters()) == CASES[case][1]


@every_case
def test_forward_gives_finite_logits_and_gradients(case):
    model = build(case)
    logits = model(*inputs(model).values())
    assert logits.shape == ((2,) if isinstance(model, Searcher) else (2, len(CLASSES[case.split()[0]])))
    assert logits.isfinite().all()
    assert logits.std() > 0
    logits.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@every_case
def test_the_surface_that_the_rest_of_the_package_uses(case):
    model = build(case)
    assert case.split()[0] == model.KIND
    assert set(model.towers) in (set(model.FRONTENDS), set())
    for role, tower in model.towers.items():
        assert tower.input_shape == model.FRONTENDS[role].shape
    given = inputs(model)
    for layer in model.layers:
        values = model.preactivation(layer, **{role: given[role] for role in model.inputs_of(layer)})
        assert values.shape[:2] == (2, model.n_channels(layer))
        assert model.activate(layer, values).shape == values.shape
        assert model.map_shape(layer) in (None, tuple(values.shape[2:]))
        assert (model.map_shape(layer) is None) == (layer.split(".")[0] not in model.towers or ".conv" not in layer)


@pytest.mark.parametrize("role", TOWERS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_tower_shapes_are_the_papers(role, batch_norm):
    tower = make_tower(role, batch_norm).eval()
    x = torch.zeros(1, *INPUTS[role])
    for layer, (maps, output, _, _) in TOWERS[role].items():
        block = tower.block(layer)
        assert tower.map_shape(layer) == tuple(block.preactivation(x).shape[2:]) == maps
        x = block(x)
        assert tower.output_shapes()[layer] == tuple(x.shape[1:]) == output
    assert tower.n_features == tower(torch.zeros(1, *INPUTS[role])).shape[1] == FEATURES[role]


@every_tower_layer
def test_receptive_fields_are_the_papers(role, layer):
    field = make_tower(role, False).receptive_field(layer)
    assert (field.size, field.stride) == TOWERS[role][layer][2:]


@every_tower_layer
def test_gradients_end_at_the_receptive_field(role, layer):
    """No input outside the patch moves a position; over many draws of the weights, every edge of the patch does."""
    bands, frames = TOWERS[role][layer][0]
    tower = make_tower(role, False)
    field = tower.receptive_field(layer)
    generator = torch.Generator().manual_seed(0)
    touched = torch.zeros(field.size)
    for position in {(0, 0), (bands // 2, frames // 2), (bands - 1, frames - 1)}:
        # random numbers several times: pooling passes one of its inputs on, so a single draw leaves holes
        x = torch.randn(8, *INPUTS[role], generator=generator).requires_grad_()
        tower.preactivation(x, layer)[:, :, position[0], position[1]].square().sum().backward()
        top, left = position[0] * field.stride[0], position[1] * field.stride[1]
        inside = (slice(top, top + field.size[0]), slice(left, left + field.size[1]))
        moved = x.grad.abs().sum(dim=(0, 1))
        touched += moved[inside]
        moved[inside] = 0
        assert not moved.any()
    for edge in (touched[0], touched[-1], touched[:, 0], touched[:, -1]):
        assert edge.any()


@pytest.mark.parametrize(
    "case", [case for case in CASES if isinstance(build(case), Searcher) and not isinstance(build(case), Aligned)]
)
def test_the_factorised_score_is_the_forward_pass(case):
    model = build(case)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.bias)  # zero at the start: a bias counted twice would not show
    given = inputs(model, batch=3)
    queries, candidates = model.query_half(given["imitation"]), model.candidate_half(given["recording"][:2])
    scores = model.score_halves(queries, candidates)
    assert scores.shape == (3, 2)
    for query in range(3):
        for candidate in range(2):
            logit = model(given["imitation"][query, None], given["recording"][candidate, None])[0]
            assert scores[query, candidate].item() == pytest.approx(logit.item(), abs=1e-5, rel=1e-5)
    assert model.score_halves(queries[:0], candidates).shape == (0, 2)
    assert model.score_halves(queries, candidates[:0]).shape == (3, 0)


def test_many_scores_are_computed_in_parts():
    model = build("iminet")
    queries, candidates = torch.randn(5, 432), torch.randn(9_000, 432)  # 4 queries at a time
    alone = torch.cat([model.score_halves(query[None], candidates) for query in queries])
    torch.testing.assert_close(model.score_halves(queries, candidates), alone)


@torch.no_grad()
def test_index_vectors_of_the_aligned_net_hold_the_duration():
    model = build("aligned")
    assert isinstance(model, AlignedNet)
    given, seconds = inputs(model, batch=3), (torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0.4, 1.0, 3.0]))
    query = model.query_half(given["imitation"], seconds[0])
    candidate = model.candidate_half(given["recording"], seconds[1])
    assert query.shape == (3, 32 * 48 + 1)
    expected = model.align(model.embed(given["imitation"]), model.embed(given["recording"]), *seconds)
    torch.testing.assert_close(model.score_halves(query, candidate).double(), torch.from_numpy(expected))
    plain = model.score_halves(model.query_half(given["imitation"]), model.candidate_half(given["recording"]))
    assert (plain >= model.score_halves(query, candidate)).all()  # without durations nothing is taken off


@pytest.mark.parametrize("tying", SHARED)
def test_iminet_shares_the_layers_of_its_tying(tying):
    model = build("iminet" if tying == "tied" else f"iminet {tying}")
    assert isinstance(model, Iminet)
    shared = {name for name in model.imitation.layers if model.imitation.block(name) is model.recording.block(name)}
    assert (
        shared == {"tied": {"conv1", "conv2", "conv3", "conv4"}, "partial": {"conv3", "conv4"}, "untied": set()}[tying]
    )
    x = inputs(model)["imitation"]
    for name in model.imitation.layers:
        values = [model.preactivation(f"{role}.{name}", **{role: x}) for role in model.towers]
        assert torch.equal(*values) == (tying == "tied")
    with pytest.raises(ValueError, match="tying 'loose', expected one of tied, partial, untied"):
        IminetConfig("loose")


def test_iminet_has_the_paper_s_shapes_and_dropout():
    model = build("iminet")
    maps = {"conv1": (70, 127), "conv2": (33, 29), "conv3": (14, 5), "conv4": (12, 3)}
    outputs = {"conv1": (12, 35, 31), "conv2": (12, 16, 7), "conv3": (6, 14, 5), "conv4": (6, 12, 3)}
    assert CONSTANT_Q.shape == (72, 129)
    for tower in model.towers.values():
        assert {layer: tower.map_shape(layer) for layer in tower.layers} == maps
        assert tower.output_shapes() == outputs and tower.n_features == 216
    shapes = [(linear.in_features, linear.out_features) for linear in (model.fc1, model.fc2, model.fc3)]
    assert shapes == [(432, 432), (432, 32), (32, 1)]
    hidden = torch.randn(1, 432).expand(2_000, -1)
    seen = []
    model.dropout.register_forward_hook(lambda module, given, output: seen.append(output))
    assert model.head(hidden).std() < 1e-6
    assert model.train().head(hidden).std() > 1e-2
    alive = seen[0] > 0
    assert (seen[2][alive] == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert [x.shape[1] for x in seen] == [432, 32, 432, 32]  # after fc1, after fc2


@pytest.mark.parametrize("role", ["imitation", "recording"])
def test_the_recurrent_net_reads_time(role):
    """Its features are the mean of states that depend on what came before, and on nothing after."""
    model = build("recurrent")
    tower, x = model.towers[role], inputs(model)[role]
    states = tower.states(x)
    assert states.shape == (2, 64, {"imitation": 56, "recording": 58}[role])
    torch.testing.assert_close(tower(x), states.mean(dim=2))
    later = x.clone()
    later[..., x.shape[-1] // 2 :] = 0
    first = states.shape[2] // 3
    torch.testing.assert_close(tower.states(later)[..., :first], states[..., :first])
    assert not torch.allclose(tower(x.flip(3)), tower(x), atol=1e-3)  # a sound backwards is another sound


@every_tower_layer
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_pooling_first_gives_what_relu_first_gives(role, layer, slope):
    block = make_tower(role, True).eval().block(layer)
    block.relu = nn.LeakyReLU(slope)  # 0 is the ReLU; 0.3 is what the patterns are made with
    x = torch.randn(2, block.conv.in_channels, 16, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x), block.pool(block.relu(block.norm(block.conv(x)))), rtol=0, atol=0)


@every_case
def test_preactivation_is_what_the_forward_pass_computes(case):
    model = build(case)
    for module in model.modules():  # running statistics of a fresh norm change nothing
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    given = inputs(model)
    for layer in model.layers:
        seen = []
        handle = _module(model, layer).register_forward_hook(lambda *args, seen=seen: seen.append(args[2]))
        model(*given.values())
        handle.remove()
        values = seen[-1 if layer.startswith("recording") else 0]  # of a shared layer: first imitation, then recording
        values = values[0] if isinstance(values, tuple) else values
        if model.KIND == "imisound" or layer.endswith(".gru") or (layer == "frames" and model.KIND == "joint"):
            values = values.transpose(1, 2)  # time came before the units
        torch.testing.assert_close(model.preactivation(layer, **given), values, rtol=1e-5, atol=1e-5)


def _module(model: Model, layer: str) -> nn.Module:
    """What gives the values of a layer."""
    if isinstance(model, JointNet):
        name, _, own = layer.partition(".")
        return _module(model.members[name], own) if own else model.joint
    role, _, name = layer.partition(".")
    if role in model.towers:
        return model.towers[role].gru if name == "gru" else model.towers[role].block(name).norm
    if isinstance(model, AlignedNet) and layer in model.blocks:
        return model.blocks[layer].norm
    return model.encoder[layer] if model.KIND == "imisound" else getattr(model, layer)


@every_model
def test_unknown_layers_are_refused_with_the_legal_names(kind):
    model = build(kind)
    names = ("conv1", "imitation.conv4", "imitation.conv9", "fc2", "fc3", "", "recording", "fc1.conv1", "relu")
    for layer in (name for name in names if name not in model.layers):
        for call in (model.preactivation, model.n_channels, model.map_shape):
            with pytest.raises(PatternError) as caught:
                call(layer)
            assert repr(layer) in str(caught.value)
            assert all(name in str(caught.value) for name in model.layers)


@pytest.mark.parametrize("role", TOWERS)
def test_towers_refuse_unknown_layers_with_the_legal_names(role):
    tower = make_tower(role, False)
    x = torch.zeros(1, *INPUTS[role])
    for call in (tower.block, tower.map_shape, tower.receptive_field, lambda name: tower.preactivation(x, name)):
        with pytest.raises(PatternError, match=r"'conv9'.*conv1, conv2, conv3"):
            call("conv9")


@every_model
def test_a_missing_input_is_named(kind):
    model = build(kind)
    for layer in model.layers:
        for role in model.inputs_of(layer):
            given = {other: value for other, value in inputs(model).items() if other != role}
            with pytest.raises(PatternError, match=f"{layer} needs the input {role}"):
                model.preactivation(layer, **given)


@pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_load_towers_copies_exactly_the_first_layers(n_layers, batch_norm):
    sources = {
        "imitation": LanguageTower(ClassifierConfig(CLASSES["language-tower"], batch_norm)).tower,
        "recording": SoundTower(ClassifierConfig(CLASSES["sound-tower"], batch_norm)).tower,
    }
    for tower in sources.values():
        for tensor in tower.state_dict().values():
            tensor.fill_(7)
    model = TLIminet(TLIminetConfig(batch_norm=batch_norm))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_towers(sources, n_layers)
    for key, value in model.state_dict().items():
        taken = any(f".conv{index}." in key for index in range(1, n_layers + 1))
        assert bool((value == 7).all()) == taken, key
        assert taken or torch.equal(value, before[key]), key
    assert all(parameter.requires_grad for parameter in model.parameters())  # nothing is frozen
    assert sources["imitation"].block("conv1").conv.weight is not model.imitation.block("conv1").conv.weight


def test_one_tower_can_be_loaded_alone():
    model = TLIminet()
    before = model.recording.block("conv1").conv.weight.clone()
    source = LanguageTower(ClassifierConfig(CLASSES["language-tower"])).tower
    model.load_towers({"imitation": source}, 1)
    assert torch.equal(model.imitation.block("conv1").conv.weight, source.block("conv1").conv.weight)
    assert torch.equal(model.recording.block("conv1").conv.weight, before)


@every_model
def test_initialisation_is_glorot_with_zero_bias(kind):
    for module in build(kind).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach()
            assert module.bias is None or not module.bias.any()
            if weight.numel() < 1_000:
                continue  # too few for their deviation to say anything
            fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
            bound = (6 / (fan_in + fan_out)) ** 0.5
            assert weight.abs().max() <= bound
            assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


@pytest.mark.gpu
@every_model
def test_the_gpu_gives_what_the_cpu_gives(kind):
    model = build(kind)
    given = inputs(model)
    on_cpu = model(*given.values())
    on_gpu = model.to("cuda")(*(value.to("cuda") for value in given.values())).cpu()
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-2, atol=1e-2)  # TF32 convolutions


def test_every_kind_has_a_role_and_a_purpose_for_lists_and_cards():
    from iminet_viz import cards

    assert set(cards.ROLES) == set(cards.PURPOSE) == {*MODELS, "fusion"}
