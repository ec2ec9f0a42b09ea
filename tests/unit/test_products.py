"""The products of linear layers: those of torch, to rounding, whichever library makes them."""

import pytest
import torch
import torch.nn.functional as F

from workbench.core.agents.products import LARGE, ONEDNN, linear

SHAPES = {"large": (768, 250, 250), "wide": (64, 625, 250), "at the limit": (64, 128, 128), "small": (8, 25, 5)}
ONE_DNN = torch.ops.mkldnn._linear_pointwise


def parts(rows, inputs, outputs, dtype=torch.float32):
    """Input, weight and bias, which all take gradients, and a gradient to go back with."""
    draw = torch.Generator().manual_seed(rows)
    shapes = (rows, inputs), (outputs, inputs), (outputs,), (rows, outputs)
    x, weight, bias, gradient = (torch.randn(shape, generator=draw, dtype=dtype) for shape in shapes)
    return [each.requires_grad_() for each in (x, weight, bias)], gradient


def results(product, inputs, gradient):
    """A product and the gradients of all its parts."""
    out = product(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, gradient)]


def calls(monkeypatch):
    """Counts what goes to oneDNN."""
    made = []
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *given: (made.append(1), ONE_DNN(*given))[1])
    return made


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_product_and_gradients_are_those_of_torch(shape):
    inputs, gradient = parts(*shape)
    exact = results(F.linear, [each.detach().double().requires_grad_() for each in inputs], gradient.double())
    for ours, true in zip(results(linear, inputs, gradient), exact, strict=True):
        assert (ours - true).norm() <= 1e-6 * true.norm()


@pytest.mark.skipif(not ONEDNN, reason="this torch has no oneDNN")
def test_large_products_of_float32_alone_go_to_onednn(monkeypatch):
    made = calls(monkeypatch)
    for shape, count in (((64, 128, 128), 3), ((63, 128, 128), 0)):  # forward, and backward to input and weight
        assert (shape[0] * shape[1] * shape[2] >= LARGE) == (count > 0)
        made.clear()
        inputs, gradient = parts(*shape)
        results(linear, inputs, gradient)
        assert len(made) == count
    made.clear()
    inputs, gradient = parts(768, 250, 250, torch.float64)
    results(linear, inputs, gradient)
    assert not made


def test_what_needs_no_gradient_gets_none(monkeypatch):
    made = calls(monkeypatch)
    (x, weight, bias), gradient = parts(768, 250, 250)
    linear(x.detach(), weight, bias).backward(gradient)
    assert len(made) in (0, 2) and weight.grad is not None and bias.grad is not None


def test_under_autocast_products_are_of_bfloat16():
    (x, weight, bias), _ = parts(768, 250, 250)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16


def test_stacked_products_are_those_of_torch():
    stacked = [torch.stack([each.detach(), 2 * each.detach()]) for each in parts(768, 250, 250)[0]]
    inputs = [each.requires_grad_() for each in stacked]
    gradient = torch.ones(2, 768, 250)
    found = results(torch.vmap(linear), inputs, gradient)
    for ours, theirs in zip(found, results(torch.vmap(F.linear), inputs, gradient), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_the_same_product_has_the_same_bits_wherever_it_lies():
    (x, weight, bias), _ = parts(768, 250, 250)
    moved = torch.empty(768 * 250 + 16)[16:].reshape(768, 250).copy_(x.detach())
    assert torch.equal(linear(x, weight, bias), linear(moved, weight, bias))
