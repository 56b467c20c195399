"""The quick towers are the plain ones: same values, same gradients, and the network is as it was afterwards."""

import dataclasses

import pytest
import torch
from torch import nn

from iminet_viz.models._tower import ConvSpec, Tower
from iminet_viz.models.iminet import Iminet
from iminet_viz.models.tl_iminet import TLIminet, TLIminetConfig, make_tower
from iminet_viz.patterns.leaky import leaky
from iminet_viz.patterns.quick import quick

# Leftover bands and frames, windows of one cell and of several, a kernel that is not square.
ODD = (ConvSpec(5, (3, 4), (2, 3)), ConvSpec(4, (2, 3), (3, 2)), ConvSpec(3, (2, 2)), ConvSpec(2, (1, 2), (1, 2)))


def towers() -> dict[str, Tower]:
    """With batch norm of no special values, without, and of odd shapes."""
    made = {"imitation": make_tower("imitation", True), "recording": make_tower("recording", False)}
    made |= {"odd": Tower(ODD, (37, 53), True), "first layer alone": Tower(ODD[:1], (37, 53))}
    generator = torch.Generator().manual_seed(0)
    for tower in made.values():
        for module in tower.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.running_mean, module.bias.data, module.weight.data):
                    values.copy_(torch.randn(values.shape, generator=generator))  # also negative weights
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
            if isinstance(module, nn.Conv2d):
                module.bias.data.copy_(torch.randn(module.bias.shape, generator=generator))
        tower.eval().requires_grad_(False)
    return made


TOWERS = towers()


def values_and_gradient(tower: Tower, x: torch.Tensor, layer: str | None, channels: torch.Tensor | None):
    x = x.clone().requires_grad_()
    values = tower(x) if layer is None else tower.preactivation(x, layer, channels)
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((values * weights).sum(), x)
    return values.detach(), gradient


CASES = [(name, None, False) for name in TOWERS] + [
    (name, layer, single) for name, tower in TOWERS.items() for layer in tower.layers for single in (False, True)
]


@pytest.mark.parametrize(("name", "layer", "single"), CASES)
def test_values_and_gradients_are_those_of_the_plain_tower(name, layer, single):
    tower = TOWERS[name].double()  # no ties, no rounding: a maximum is found at the same place
    x = torch.randn(3, 1, *tower.input_shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    channels = torch.tensor([1, 0, 1]) if single else None
    with leaky(tower, 0.2):
        expected = values_and_gradient(tower, x, layer, channels)
        with quick(tower, torch.float64):
            found = values_and_gradient(tower, x, layer, channels)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))
    with quick(tower, torch.float64):  # without leaks
        again = values_and_gradient(tower, x, layer, channels)
    torch.testing.assert_close(again, values_and_gradient(tower, x, layer, channels), rtol=1e-5, atol=1e-4)


def test_half_precision_points_the_same_way():
    tower = make_tower("recording", False).eval().requires_grad_(False)
    x = torch.randn(2, 1, 128, 128, generator=torch.Generator().manual_seed(3))
    with leaky(tower, 0.3):
        _, expected = values_and_gradient(tower, x, "conv2", None)
        with quick(tower, torch.bfloat16):
            _, found = values_and_gradient(tower, x, "conv2", None)
    assert found.dtype == torch.float32
    assert torch.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.99


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_as_it_was_afterwards(fails):
    network = TLIminet(TLIminetConfig(batch_norm=True)).eval()
    x = {"imitation": torch.randn(1, 1, 39, 482), "recording": torch.randn(1, 1, 128, 128)}
    before, modules, state = network(**x), list(network.named_modules()), dict(network.state_dict())
    try:
        with quick(network, torch.float32):
            assert {name for name, _ in network.named_modules()} != {name for name, _ in modules}
            torch.testing.assert_close(network(**x), before, rtol=1e-4, atol=1e-5)
            if fails:
                raise RuntimeError("inside")
    except RuntimeError as error:
        assert str(error) == "inside"
    assert list(network.named_modules()) == modules
    assert all(value is not None and torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert torch.equal(network(**x), before)


def test_shared_layers_stay_shared():
    network = Iminet(dataclasses.replace(Iminet.CONFIG(), tying="tied")).eval()
    with quick(network, torch.float32):
        pass
    for name in network.imitation.layers:
        assert network.imitation.block(name) is network.recording.block(name)
