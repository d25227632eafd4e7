"""What more rows would give: a power law through the scores of trainings with fewer rows.

Errors of a model fall with its training rows n about as c + a n^-b (Cortes et al., Learning Curves: Asymptotic Values
and Rate of Convergence, NIPS 1993; Hestness et al., Deep Learning Scaling is Predictable, Empirically, 2017). It holds
in the middle of a curve; do not ask it about many times the rows that were measured.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

EXPONENTS = np.geomspace(0.01, 2, 60)  # steps of 9 %, far less than what a curve of few sizes can tell
SCATTER_EXPONENTS = np.linspace(0, 0.5, 6)  # how the scatter falls with the rows; 0.5 is that of a mean over rows
RESAMPLES = 1000
QUANTILES = (0.025, 0.975)


class Curve(NamedTuple):
    """c + scale (rows / largest)^-b, of one fit or of R fits `(R,)`; relative to the largest rows for its numerics."""

    scale: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def error(self, relative: np.ndarray) -> np.ndarray:
        """Errors `(R, Q)` of rows `(Q,)`, given as shares of the largest; `(Q,)` of one fit."""
        scale, b, c = (np.asarray(part)[..., None] for part in self)
        return c + scale * relative**-b


class Scatter(NamedTuple):
    """The standard deviation of the error of one training: level (rows / largest)^-exponent."""

    level: float
    exponent: float

    def std(self, relative: np.ndarray) -> np.ndarray:
        """The standard deviation for rows `(Q,)`, given as shares of the largest; beyond it, that of the largest."""
        return self.level * np.minimum(relative, 1.0) ** -self.exponent


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """A fitted curve of scores by training rows, with what is not certain about it."""

    largest: int  # the most rows that were measured
    lower_is_better: bool
    curve: Curve
    resampled: Curve  # fits to resampled scores
    scatter: Scatter
    noise: np.ndarray  # (R,) of one training, in standard deviations

    @property
    def a(self) -> float:
        """The error that falls with the rows, if there were one row."""
        return float(self.curve.scale * float(self.largest) ** self.curve.b)

    @property
    def b(self) -> float:
        """How fast the error falls: with twice as many rows to 2^-b of what can fall."""
        return float(self.curve.b)

    @property
    def c(self) -> float:
        """The error that no number of rows removes."""
        return float(self.curve.c)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """The expected scores `(Q,)` of trainings with these rows `(Q,)`."""
        return self.to_scores(self.curve.error(self.to_relative(rows)))

    def interval(self, rows: np.ndarray) -> np.ndarray:
        """Low and high end `(2, Q)` of the 95 % prediction interval of the score of one new training with these rows.

        Two things are uncertain: the curve, and the scatter of one training around it. The scatter is known from
        sizes with several draws, or else from the distance of the scores to the curve.
        """
        relative = self.to_relative(rows)
        errors = self.resampled.error(relative) + self.noise[:, None] * self.scatter.std(relative)
        ends = np.sort(self.to_scores(np.quantile(np.maximum(errors, 0), QUANTILES, axis=0)), axis=0)
        expected = self.predict(rows)
        return np.stack([np.minimum(ends[0], expected), np.maximum(ends[1], expected)])

    def to_relative(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows, dtype=float) / self.largest

    def to_scores(self, errors: np.ndarray) -> np.ndarray:
        return errors if self.lower_is_better else 1 - errors


class Sizes(NamedTuple):
    """The trainings `(P,)` by their S sizes."""

    relative: np.ndarray  # (S,) rows as a share of the largest size
    draws: np.ndarray  # (S,) trainings of each size
    means: np.ndarray  # (S,) of the errors
    of_training: np.ndarray  # (P,) the size of each training
    errors: np.ndarray  # (P,)


def fit_power_law(rows: np.ndarray, scores: np.ndarray, lower_is_better: bool, seed: int) -> PowerLaw:
    """Fit c + a rows^-b with a >= 0, 0.01 <= b <= 2, c >= 0 to trainings with `rows` `(P,)` and `scores` `(P,)`.

    The error is 1 - score, or the score itself where lower is better, such as a loss. A size weighs as much as its
    draws and the scatter of one training allow. The fit is repeated on scores drawn anew, from a normal distribution
    around the curve (a parametric bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 6);
    draws with replacement of three draws a size would be a third less scattered than the trainings are. The scatter is
    itself uncertain, by a chi-square distribution, as in Student's t. Raises ValueError below three distinct sizes,
    and below four trainings.
    """
    scores = np.asarray(scores, dtype=float)
    sizes = group_by_size(np.asarray(rows), scores if lower_is_better else 1 - scores)
    scatter, freedom = estimate_scatter(sizes)
    weights = sizes.draws * sizes.relative ** (2 * scatter.exponent)
    curve = fit_curve(sizes, weights)
    scatter, freedom = add_misfit(scatter, freedom, sizes, curve)
    generator = np.random.default_rng(seed)
    uncertain = np.sqrt(freedom / generator.chisquare(freedom, size=RESAMPLES))
    std = scatter.std(sizes.relative) / np.sqrt(sizes.draws)
    drawn = curve.error(sizes.relative) + std * uncertain[:, None] * generator.normal(size=(RESAMPLES, len(std)))
    resampled = fit_curves(sizes.relative, drawn, weights)
    noise = uncertain * generator.normal(size=RESAMPLES)
    return PowerLaw(int(np.max(rows)), lower_is_better, curve, resampled, scatter, noise)


def group_by_size(rows: np.ndarray, errors: np.ndarray) -> Sizes:
    sizes, of_training, draws = np.unique(rows, return_inverse=True, return_counts=True)
    if len(sizes) < 3:
        raise ValueError(f"a power law needs trainings of at least three sizes, and there are {len(sizes)}")
    if len(rows) < 4:  # a curve with three numbers goes through three scores, as if there were no scatter
        raise ValueError(f"a power law needs at least four trainings, and there are {len(rows)}")
    return Sizes(sizes / sizes[-1], draws, np.bincount(of_training, errors) / draws, of_training, errors)


def estimate_scatter(sizes: Sizes) -> tuple[Scatter, int]:
    """The scatter of trainings of one size, and its degrees of freedom; level 0 where no size has several draws.

    One level and one exponent for all sizes, because a few draws a size say little about the scatter of that size. The
    exponent is the smallest one whose log likelihood (of normal deviations) is at most 1 below the highest: in doubt
    the scatter does not fall with the rows, and the interval is the wider one.
    """
    freedom = int((sizes.draws - 1).sum())
    deviations = sizes.errors - sizes.means[sizes.of_training]
    squares = np.bincount(sizes.of_training, deviations**2)
    if freedom == 0 or squares.sum() <= np.finfo(float).eps:
        return Scatter(0.0, 0.0), max(freedom, 1)
    variances = [(squares * sizes.relative ** (2 * exponent)).sum() / freedom for exponent in SCATTER_EXPONENTS]
    logs = ((sizes.draws - 1) * np.log(sizes.relative)).sum() / freedom
    unlikely = freedom / 2 * (np.log(variances) - 2 * SCATTER_EXPONENTS * logs)
    best = int(np.argmax(unlikely <= unlikely.min() + 1))
    return Scatter(float(np.sqrt(variances[best])), float(SCATTER_EXPONENTS[best])), freedom


def add_misfit(scatter: Scatter, freedom: int, sizes: Sizes, curve: Curve) -> tuple[Scatter, int]:
    """The scatter around the curve, where that is larger than the one among trainings of a size."""
    residuals = (sizes.errors - curve.error(sizes.relative)[sizes.of_training]) ** 2
    scaled = residuals * sizes.relative[sizes.of_training] ** (2 * scatter.exponent)
    free = max(len(residuals) - 3, 1)  # three numbers were fitted
    level = float(np.sqrt(scaled.sum() / free))
    return (scatter._replace(level=level), free) if level > scatter.level else (scatter, freedom)


def fit_curve(sizes: Sizes, weights: np.ndarray) -> Curve:
    """The weighted least squares fit to the mean errors: the best exponent of `EXPONENTS`, then refined."""
    from scipy.optimize import minimize_scalar

    def squares(log_exponent: float) -> float:
        return float(fit_linear(sizes.relative[None] ** -np.exp(log_exponent), sizes.means[None], weights)[2][0, 0])

    best = float(np.log(fit_curves(sizes.relative, sizes.means[None], weights).b[0]))
    step = float(np.log(EXPONENTS[1] / EXPONENTS[0]))
    bounds = (max(best - step, np.log(EXPONENTS[0])), min(best + step, np.log(EXPONENTS[-1])))
    refined = float(minimize_scalar(squares, bounds=bounds, method="bounded").x)
    exponent = np.clip(np.exp(min(best, refined, key=squares)), EXPONENTS[0], EXPONENTS[-1])
    scale, c, _ = fit_linear(sizes.relative[None] ** -exponent, sizes.means[None], weights)
    return Curve(scale[0, 0], exponent, c[0, 0])


def fit_curves(relative: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> Curve:
    """The best curve of each row of `errors` `(R, S)`, with an exponent of `EXPONENTS`.

    For a given exponent the rest is linear and has one solution (variable projection: Golub and Pereyra, 1973), so that
    no start can lead to a local minimum.
    """
    scale, c, squares = fit_linear(relative ** -EXPONENTS[:, None], errors, weights)
    best = (squares.argmin(axis=0), np.arange(len(errors)))
    return Curve(scale[best], EXPONENTS[best[0]], c[best])


def fit_linear(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope >= 0 and constant >= 0 of least squares for each `x` `(E, S)` and `y` `(R, S)`, and mean squares: `(E, R)`.

    Where the free solution is not allowed, the best one is on a border: without slope or without constant.
    """
    share = weights / weights.sum()
    mean_x, mean_y = (x @ share)[:, None], y @ share
    x_x, x_y = (x**2 @ share)[:, None], (x * share) @ y.T
    free = (x_y - mean_x * mean_y) / (x_x - mean_x**2)
    zero = np.zeros_like(free)
    slopes = np.stack([np.maximum(free, 0), zero, np.maximum(x_y / x_x, 0)])
    constants = np.stack([np.maximum(mean_y - free * mean_x, 0), zero + np.maximum(mean_y, 0), zero])
    squares = slopes**2 * x_x + constants**2 + 2 * (slopes * constants * mean_x - slopes * x_y - constants * mean_y)
    best = squares.argmin(axis=0)[None]
    slope, constant, square = (np.take_along_axis(part, best, axis=0)[0] for part in (slopes, constants, squares))
    return slope, constant, square + y**2 @ share


def describe_gain(law: PowerLaw, rows: int, metric: str) -> str:
    """What trainings with `rows` rows would reach, compared with the most rows that were measured."""
    now, then = law.predict(np.array([law.largest, rows]))
    low, high = law.interval(np.array([rows]))[:, 0]
    text = (
        f"With {rows:,} rows, {describe_factor(rows / law.largest)} as many, {metric} on validation would be about "
        f"{then:.3f} instead of {now:.3f} (95 % interval of a training: {low:.3f} to {high:.3f})."
    )
    if (high < now) if law.lower_is_better else (low > now):
        return text
    return f"{text} The interval includes {now:.3f}: it is not certain that more rows improve a training."


def describe_factor(factor: float) -> str:
    return "twice" if factor == 2 else f"{factor:.3g} times"
