"""Relabellings against numpy's own reshape and transpose of the elements' places."""

import numpy as np
import pytest

from hpu.compiler.importer.layout import (
    FLAT,
    Digit,
    Layout,
    LayoutError,
    host_view,
    merge,
    translate,
)


def places(layout, shape4):
    """For each element of the value, its place in the device tensor (n, y, x, c), row-major."""
    strides = [int(np.prod(shape4[k + 1 :])) for k in range(4)]
    out = np.zeros((), np.int64)
    for digit in layout.digits:
        unit = 1 if digit.axis == FLAT else strides[digit.axis]
        out = out[..., None] + np.arange(digit.size) * digit.stride * unit
    return out.reshape(layout.shape)


@pytest.mark.parametrize("seed", range(60))
def test_random_walks(seed):
    """Random Transposes and Reshapes place every element where numpy does."""
    rng = np.random.default_rng(seed)
    shape4 = tuple(int(v) for v in rng.choice([1, 2, 3, 4, 6], 4))
    layout = Layout.image(shape4)
    want = np.arange(np.prod(shape4)).reshape(shape4).transpose(0, 3, 1, 2)
    for _ in range(4):
        if rng.integers(2):
            perm = rng.permutation(want.ndim)
            try:
                layout = layout.transpose(perm)
            except LayoutError:
                return  # an axis cannot be cut there: refused, not wrong
            want = want.transpose(perm)
        else:
            sizes = list(want.shape)
            k = int(rng.integers(len(sizes)))
            factor = int(rng.choice([d for d in (1, 2, 3, sizes[k]) if sizes[k] % d == 0]))
            sizes[k : k + 1] = [factor, sizes[k] // factor]
            if len(sizes) > 3:
                j = int(rng.integers(len(sizes) - 1))
                sizes[j : j + 2] = [sizes[j] * sizes[j + 1]]
            layout, want = layout.reshape(sizes), want.reshape(sizes)
        np.testing.assert_array_equal(places(layout, shape4), want, err_msg=f"seed {seed}")


@pytest.mark.parametrize("perm", [(0, 1, 2, 3), (0, 3, 1, 2), (3, 0, 2, 1), (1, 0, 3, 2)])
@pytest.mark.parametrize("shape4", [(2, 3, 4, 5), (1, 3, 1, 5), (1, 1, 1, 7), (1, 1, 1, 1)])
def test_host_view_puts_the_value_on_the_device(perm, shape4):
    layout = Layout.image(shape4).transpose(perm).reshape((int(np.prod(shape4)),))
    device = np.arange(np.prod(shape4)).reshape(shape4)
    value = device.transpose(0, 3, 1, 2).transpose(perm).reshape(-1)
    view, order = host_view(layout, shape4)
    np.testing.assert_array_equal(value.reshape(view).transpose(order), device)


def test_host_view_refuses_an_axis_in_pieces():
    layout = Layout.image((1, 1, 1, 6)).reshape((2, 3)).transpose((1, 0))
    with pytest.raises(LayoutError):
        host_view(layout, (1, 1, 1, 6))


def test_an_axis_is_cut_only_where_it_divides():
    layout = Layout.image((1, 1, 1, 6)).reshape((3, 2))
    assert layout.dims() == [(Digit(3, 2, 3),), (Digit(3, 1, 2),)]
    with pytest.raises(LayoutError):
        Layout.image((1, 4, 1, 6)).reshape((8, 3)).dims()


def test_merge_joins_one_walk():
    assert merge([Digit(0, 1, 1), Digit(3, 4, 2), Digit(3, 1, 4)]) == (Digit(3, 1, 8),)
    assert merge([Digit(3, 1, 4), Digit(3, 4, 2)]) == (Digit(3, 1, 4), Digit(3, 4, 2))


def test_translate_flattened_input():
    """A flat row of 12 bound as a 3 x 4 image: a walk over it is one over y and x."""
    flat = Layout.flat((12,))
    binding = [(Digit(FLAT, 4, 3), Digit(1, 1, 3)), (Digit(FLAT, 1, 4), Digit(2, 1, 4))]
    assert translate(flat, binding).digits == (Digit(1, 1, 3), Digit(2, 1, 4))
    turned = flat.reshape((3, 4)).transpose((1, 0))
    assert translate(turned, binding).digits == (Digit(2, 1, 4), Digit(1, 1, 3))
    with pytest.raises(LayoutError):
        translate(flat.reshape((4, 3)).transpose((1, 0)), binding)
