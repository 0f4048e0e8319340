"""Write crates/lab/tests/expected/statistics.json: numbers, and what SciPy and plain enumeration make of them.

The laboratory's statistics are compared with this file by `cargo nextest run -p lab`. It is committed; run this again only
to add cases, with SciPy 1.11 or newer (`pip install scipy`). Where SciPy has no function (intervals of the signed-rank
and rank-sum estimates, Holm), the definition is enumerated here, over all sign patterns and all assignments.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy
import scipy
from scipy import optimize, stats

OUTPUT = Path(__file__).resolve().parent.parent / "crates" / "lab" / "tests" / "expected" / "statistics.json"
RANDOM = numpy.random.default_rng(20261125)
# All of them: an exact test.
EVERY = stats.PermutationMethod(n_resamples=numpy.inf)


def signed_rank(differences: list[float]) -> dict:
    x = numpy.array(differences)
    tied = len(set(abs(x))) < len(x) or 0.0 in x
    method = EVERY if tied else "exact"
    p = stats.wilcoxon(x, zero_method="wilcox", method=method).pvalue
    walsh = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(differences, 2))
    low, high, level = signed_rank_limits(len(x), walsh)
    return {
        "differences": differences,
        "p": float(p),
        "estimate": float(numpy.median(walsh)),
        "low": low,
        "high": high,
        "level": level,
        "deviation": float(numpy.std(x, ddof=1)),
    }


def signed_rank_limits(n: int, walsh: list[float]) -> tuple[float | None, float | None, float]:
    """The largest k with P(W <= k - 1) <= 2.5 %, over all 2^n sign patterns."""
    sums = sorted(
        sum(rank for rank, sign in enumerate(signs, 1) if sign) for signs in itertools.product((0, 1), repeat=n)
    )
    return limits(sums, walsh)


def limits(null: list[int], values: list[float]) -> tuple[float | None, float | None, float]:
    """From the k-th value to the k-th from above; `null` has the statistic of every equally likely case."""
    k = 0
    while 2 * sum(value <= k for value in null) / len(null) <= 0.05:
        k += 1
    if k == 0:
        return None, None, 1.0
    level = 1 - 2 * sum(value <= k - 1 for value in null) / len(null)
    return values[k - 1], values[-k], level


def rank_sum(a: list[float], b: list[float]) -> dict:
    pooled = a + b
    tied = len(set(pooled)) < len(pooled)
    if len(pooled) > 60:
        p = stats.mannwhitneyu(a, b, method="asymptotic").pvalue
        low = high = level = None
    else:
        p = stats.mannwhitneyu(a, b, method=EVERY if tied else "exact").pvalue
        differences = sorted(y - x for x in a for y in b)
        ranks = range(1, len(pooled) + 1)
        least = len(b) * (len(b) + 1) // 2
        null = [sum(chosen) - least for chosen in itertools.combinations(ranks, len(b))]
        low, high, level = limits(null, differences)
    u = stats.mannwhitneyu(b, a, method="asymptotic").statistic
    return {
        "a": a,
        "b": b,
        "p": float(p),
        "estimate": float(numpy.median([y - x for x in a for y in b])),
        "probability": float(u / (len(a) * len(b))),
        "low": low,
        "high": high,
        "level": level,
    }


def theil_sen(x: list[float], y: list[float]) -> dict:
    result = stats.theilslopes(y, x, alpha=0.95)
    return {
        "points": list(zip(x, y)),
        "slope": float(result.slope),
        "intercept": float(result.intercept),
        "low": float(result.low_slope),
        "high": float(result.high_slope),
    }


def quantiles(values: list[float]) -> dict:
    at = [0.1, 0.25, 0.5, 0.9, 0.95, 0.99]
    return {
        "values": values,
        "q": at,
        "interpolated": [float(value) for value in numpy.quantile(values, at)],
        "harrell_davis": [float(value) for value in stats.mstats.hdquantiles(values, at)],
    }


def scalability(gamma: float, sigma: float, kappa: float, noise: float) -> dict:
    def law(n, gamma, sigma, kappa):
        return gamma * n / (1 + sigma * (n - 1) + kappa * n * (n - 1))

    n = numpy.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32], dtype=float)
    x = law(n, gamma, sigma, kappa) * (1 + noise * RANDOM.standard_normal(len(n)))
    start = (x[0], 0.05, 0.001)
    found, covariance = optimize.curve_fit(law, n, x, p0=start, xtol=1e-14, ftol=1e-14, gtol=1e-14, maxfev=20_000)
    assert found[1] > 0 and found[2] > 0, "the bound would matter: choose another case"
    half = stats.t.ppf(0.975, len(n) - 3) * covariance[2, 2] ** 0.5
    return {
        "points": list(zip(n.tolist(), x.tolist())),
        "gamma": float(found[0]),
        "sigma": float(found[1]),
        "kappa": float(found[2]),
        "kappa_low": float(found[2] - half),
        "kappa_high": float(found[2] + half),
    }


def holm(p_values: list[float]) -> dict:
    """Each hypothesis is rejected at its adjusted p: the definition, by looking for the smallest level that rejects it."""

    def rejected(level: float, index: int) -> bool:
        order = sorted(range(len(p_values)), key=lambda i: p_values[i])
        for position, i in enumerate(order):
            if p_values[i] > level / (len(p_values) - position):
                return False
            if i == index:
                return True
        return False

    adjusted = []
    for index in range(len(p_values)):
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if rejected(middle, index) else (middle, high)
        adjusted.append(high)
    return {"p": p_values, "adjusted": adjusted}


def normal(n: int, mean: float = 0.0, deviation: float = 1.0) -> list[float]:
    return RANDOM.normal(mean, deviation, n).tolist()


def rounded(values: list[float], digits: int) -> list[float]:
    return [round(value, digits) for value in values]


def main() -> None:
    cases = {
        "scipy": scipy.__version__,
        "signed_rank": [signed_rank(normal(n, 0.3)) for n in range(3, 15)]
        + [signed_rank(rounded(normal(n, 0.5), 1)) for n in (8, 10, 12)]
        + [signed_rank([float(round(value)) for value in normal(n, 0.8, 1.5)]) for n in (9, 12)],
        "rank_sum": [rank_sum(normal(m), normal(n, 0.8)) for m, n in ((3, 3), (4, 4), (5, 8), (9, 9), (10, 7))]
        + [rank_sum(rounded(normal(m), 0), rounded(normal(n, 0.8), 0)) for m, n in ((5, 5), (7, 6))]
        + [rank_sum(rounded(normal(50), 1), rounded(normal(60, 0.3), 1))],
        "theil_sen": [theil_sen(list(range(n)), normal(n, 5.0)) for n in (5, 12, 30)]
        + [theil_sen([0.0, 0.0, 32.0, 32.0, 128.0, 128.0, 512.0, 512.0], rounded(normal(8, 9.0, 3.0), 0))],
        "quantiles": [quantiles(RANDOM.exponential(1.0, n).tolist()) for n in (5, 23, 150, 400)],
        "scalability": [scalability(1000, 0.05, 0.002, 0.01), scalability(30, 0.2, 0.01, 0.02)],
        "holm": [holm([0.001, 0.2, 0.012, 0.04, 0.04]), holm([0.0078] * 9), holm(RANDOM.random(12).tolist())],
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(cases, indent=1) + "\n")
    print(f"{OUTPUT.relative_to(Path.cwd()) if OUTPUT.is_relative_to(Path.cwd()) else OUTPUT}: SciPy {scipy.__version__}")


if __name__ == "__main__":
    main()
