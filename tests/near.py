"""How tests compare floats, so that no verdict hangs on the processor.

Another processor adds the same numbers in another order: it rounds otherwise, by an amount that
nobody has promised. In float64 that is 1e-14 of what is compared, far below any promise; what is
about float32 or bf16 needs a measured margin. Either is relative to the largest number compared: an
absolute limit says nothing without that size, and a limit element by element explodes at zeros.
"""

import numpy as np
import torch

# Of what would be 0 in exact arithmetic, of float64 numbers about as large as one.
ROUNDING = 1e-10


def same(found, expected, rel=1e-9):
    """Equal but for the order of float64 sums; what is no tensor counts as float64."""
    found, expected = _tensor(found), _tensor(expected)
    assert found.dtype == expected.dtype == torch.float64, (found.dtype, expected.dtype)
    _compare(found, expected, rel)


def rounded(found, expected, rel):
    """Equal but for what float32 or bf16 rounds away, by a margin that its caller has measured."""
    found, expected = _tensor(found), _tensor(expected)
    assert torch.float64 != found.dtype or torch.float64 != expected.dtype, "that is for same()"
    _compare(found.double(), expected.double(), rel)


def logged(found, expected):
    """Numbers that Lightning's log has kept in float32, whatever they were made in."""
    _compare(_tensor(found), _tensor(expected), 1e-6)


def within(found, expected, margin):
    """Numbers that chance or a model moves by up to ``margin``, which rounding cannot reach."""
    found, expected, margin = (_tensor(x).double() for x in (found, expected, margin))
    assert (margin > 1e-4 * expected.abs()).all(), "so small a margin is about rounding"
    assert ((found - expected).abs() <= margin).all(), (found, expected)


def _tensor(values):
    if isinstance(values, torch.Tensor):
        return values.detach()
    array = np.asarray(values)
    return torch.from_numpy(array if array.dtype.kind == "f" else array.astype(float))


def _compare(found, expected, rel):
    assert found.shape == expected.shape and found.numel(), (found.shape, expected.shape)
    size, off = float(expected.abs().max()), float((found - expected).abs().max())
    # Not "off > limit": a number that is not finite is not near.
    assert off <= rel * size, f"off by {off:.3g} of {size:.3g}, and {rel:.3g} of it is the limit"
