"""Every model has the paper's shapes and parameters, and its shortcuts give what the long way gives."""

import pytest
import torch
from torch import nn

from iminet_viz.errors import PatternError
from iminet_viz.models import MODELS, LanguageTower, Model, SoundTower, TLIminet
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
# TL-IMINET: paper.md, section 2. Towers by hand: convolutions, then the weights and biases of fc1 and fc2.
PARAMETERS = {
    "tl-iminet": 799_417,
    "language-tower": 1_776 + 2 * 82_992 + 2_640 * 256 + 256 + 256 * 7 + 7,
    "sound-tower": 624 + 28_848 + 57_648 + 2_400 * 64 + 64 + 64 * 10 + 10,
}
NORM_PARAMETERS = {"tl-iminet": 528, "language-tower": 2 * 3 * 48, "sound-tower": 2 * (24 + 48 + 48)}

every_model = pytest.mark.parametrize("kind", MODELS)
every_tower_layer = pytest.mark.parametrize(
    ("role", "layer"), [(role, name) for role in TOWERS for name in TOWERS[role]]
)


def build(kind: str, batch_norm: bool = False) -> Model:
    torch.manual_seed(0)
    cls = MODELS[kind]
    config = {"batch_norm": batch_norm} | ({"classes": CLASSES[kind]} if kind in CLASSES else {})
    return cls(cls.CONFIG(**config)).eval()


def inputs(model: Model, batch: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {role: torch.randn(batch, *INPUTS[role], generator=generator) for role in model.FRONTENDS}


@every_model
@pytest.mark.parametrize("batch_norm", [False, True])
def test_parameter_counts(kind, batch_norm):
    expected = PARAMETERS[kind] + batch_norm * NORM_PARAMETERS[kind]
    assert sum(parameter.numel() for parameter in build(kind, batch_norm).parameters()) == expected
    assert (expected in (799_417, 799_945)) == (kind == "tl-iminet")


@every_model
@pytest.mark.parametrize("batch_norm", [False, True])
def test_forward_gives_finite_logits_and_gradients(kind, batch_norm):
    model = build(kind, batch_norm)
    logits = model(*inputs(model).values())
    assert logits.shape == ((2,) if kind == "tl-iminet" else (2, len(CLASSES[kind])))
    assert logits.isfinite().all()
    assert logits.std() > 0
    logits.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@every_model
def test_the_surface_that_the_rest_of_the_package_uses(kind):
    model = build(kind)
    assert kind == model.KIND
    assert set(model.towers) == set(model.FRONTENDS)
    for role, tower in model.towers.items():
        assert tower.input_shape == model.FRONTENDS[role].shape == INPUTS[role][1:]
    given = inputs(model)
    for layer in model.layers:
        values = model.preactivation(layer, **{role: given[role] for role in model.inputs_of(layer)})
        assert values.shape[:2] == (2, model.n_channels(layer))


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


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_factorised_score_is_the_forward_pass(batch_norm):
    model = build("tl-iminet", batch_norm)
    nn.init.normal_(model.fc1.bias)  # zero at the start: a bias counted twice would not show
    nn.init.normal_(model.fc2.bias)
    given = inputs(model, batch=3)
    queries, candidates = model.query_half(given["imitation"]), model.candidate_half(given["recording"][:2])
    scores = model.score_halves(queries, candidates)
    assert scores.shape == (3, 2)
    for query in range(3):
        for candidate in range(2):
            logit = model(given["imitation"][query, None], given["recording"][candidate, None])[0]
            assert scores[query, candidate].item() == pytest.approx(logit.item(), abs=1e-5)


@every_tower_layer
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_pooling_first_gives_what_relu_first_gives(role, layer, slope):
    block = make_tower(role, True).eval().block(layer)
    block.relu = nn.LeakyReLU(slope)  # 0 is the ReLU; 0.3 is what the patterns are made with
    x = torch.randn(2, block.conv.in_channels, 16, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x), block.pool(block.relu(block.norm(block.conv(x)))), rtol=0, atol=0)


@every_model
@pytest.mark.parametrize("batch_norm", [False, True])
def test_preactivation_is_what_the_forward_pass_computes(kind, batch_norm):
    model = build(kind, batch_norm)
    for module in model.modules():  # running statistics of a fresh norm change nothing
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    given = inputs(model)
    for layer in model.layers:
        module = model.fc1 if layer == "fc1" else _normalised(model, layer)
        seen = []
        handle = module.register_forward_hook(lambda *args, seen=seen: seen.append(args[2]))
        model(*given.values())
        handle.remove()
        torch.testing.assert_close(model.preactivation(layer, **given), seen[0], rtol=1e-5, atol=1e-5)


def _normalised(model: Model, layer: str) -> nn.Module:
    role, name = layer.split(".")
    return model.towers[role].block(name).norm


@every_model
@pytest.mark.parametrize("layer", ["conv1", "imitation.conv4", "fc2", "", "recording", "fc1.conv1"])
def test_unknown_layers_are_refused_with_the_legal_names(kind, layer):
    model = build(kind)
    for call in (lambda: model.preactivation(layer, **inputs(model)), lambda: model.n_channels(layer)):
        with pytest.raises(PatternError) as caught:
            call()
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
            assert not module.bias.any()
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
