"""AKL and GCS as pictures: how beta follows accuracy, and how the weights act on a pool.

Every number comes from :mod:`fgexpo.kl` and :mod:`fgexpo.curriculum`, the code that a run uses.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure

from ..curriculum.gaussian import effective_sample_size, gaussian_weights
from ..curriculum.pass_rates import PassRateTable
from ..kl import Rho

GRID = np.linspace(0, 1, 201)


def rho_figure(kl_coef: float, shapes: Mapping[str, Rho]) -> Figure:
    """Rho, and the resulting beta for ``kl_coef``, against batch accuracy."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, rho in shapes.items():
        axes.plot(GRID, [rho(accuracy) for accuracy in GRID], label=name)
    axes.axhline(1, color="grey", linewidth=1, linestyle="--", label="plain GRPO")
    axes.set(xlabel="batch accuracy", ylabel="rho", xlim=(0, 1), ylim=(0, None))
    if kl_coef > 0:
        scale = partial(np.multiply, kl_coef), partial(np.multiply, 1 / kl_coef)
        beta = axes.secondary_yaxis("right", functions=scale)
        beta.set_ylabel(f"beta, at kl_coef {kl_coef:g}")
    axes.legend(fontsize="small")
    return figure


def weight_figure(mean: float, stds: Sequence[float]) -> Figure:
    """Sampling weight against pass-rate, for several widths of the Gaussian."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for std in stds:
        weights = gaussian_weights(torch.from_numpy(GRID), mean, std)
        axes.plot(GRID, weights.numpy(), label=f"std {std:g}")
    axes.axvline(mean, color="grey", linewidth=1, linestyle="--")
    axes.set(xlabel="pass-rate", ylabel="weight", xlim=(0, 1), ylim=(0, 1.05))
    axes.legend(fontsize="small")
    return figure


def hopeless_history(decay: float, visits: int) -> torch.Tensor:
    """Pass-rate before the first and after each visit of a question never solved, [V + 1]."""
    table = PassRateTable(1, decay)
    rates = [float(table.pass_rates)]
    for _ in range(visits):
        table.update(torch.tensor([0]), torch.tensor([0.0]))
        rates.append(float(table.pass_rates))
    return torch.tensor(rates, dtype=torch.float64)


def visits_until(
    share: float, decay: float, mean: float = 0.5, std: float = 0.35, most: int = 1000
) -> int | None:
    """Visits until a question never solved has this share of its first weight; None for never."""
    weights = gaussian_weights(hopeless_history(decay, most), mean, std)
    below = (weights <= share * weights[0]).nonzero()
    return int(below[0]) if len(below) else None


def hopeless_figure(
    decays: Sequence[float], mean: float = 0.5, std: float = 0.35, visits: int = 60
) -> Figure:
    """How a question that is never solved leaves the curriculum, visit by visit."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for decay in decays:
        rates = hopeless_history(decay, visits)
        weights = gaussian_weights(rates, mean, std)
        half = visits_until(0.5, decay, mean, std)
        left.plot(rates.numpy())
        when = "never half" if half is None else f"half after {half}"
        (line,) = right.plot(weights.numpy(), label=f"decay {decay:g}: {when}")
        if half is not None and half <= visits:
            right.plot(half, float(weights[half]), "o", color=line.get_color())
    left.set(xlabel="visits", ylabel="pass-rate", ylim=(0, 1))
    right.set(xlabel="visits", ylabel="weight", ylim=(0, 1.05))
    right.legend(fontsize="small")
    return figure


def made_pool(size: int, spread: float, seed: int = 0) -> torch.Tensor:
    """Pass-rates from a Beta distribution of mean 0.5; its standard deviation is ``spread``, [M].

    Args:
        size: M.
        spread: from 0 (all at 0.5) to below 0.5 (all hopeless or mastered).
        seed: of the draw.
    """
    if spread == 0:
        return torch.full((size,), 0.5, dtype=torch.float64)
    shape = (0.25 / spread**2 - 1) / 2  # variance 1 / (4 (2 shape + 1))
    drawn = np.random.default_rng(seed).beta(shape, shape, size)
    return torch.from_numpy(drawn)


def sample_size_figure(pool: torch.Tensor, mean: float = 0.5, std: float = 0.35) -> Figure:
    """A pool, and its effective share under the weights, for every width of the Gaussian."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.hist(pool.numpy(), bins=40, range=(0, 1), color="tab:blue", alpha=0.7)
    left.set(xlabel="pass-rate", ylabel="questions", title=f"a pool of {len(pool)}")
    widths = np.linspace(0.05, 1, 60)
    right.plot(widths, [sample_share(pool, mean, width) for width in widths])
    share = sample_share(pool, mean, std)
    right.plot(std, share, "o", color="tab:red", label=f"std {std:g}: {share:.1%}")
    right.set(xlabel="std of the Gaussian", ylabel="effective share of the pool", ylim=(0, 1.02))
    right.legend(fontsize="small")
    return figure


def sample_share(pool: torch.Tensor, mean: float, std: float) -> float:
    """Effective sample size of the weights, as a share of the pool."""
    return effective_sample_size(gaussian_weights(pool, mean, std)) / len(pool)
