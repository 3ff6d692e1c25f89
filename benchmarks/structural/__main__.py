"""Fit many monthly series, and some of them by statsmodels, in one run.

    python -m benchmarks.structural [--quick] [--out DIR]
    python -m benchmarks.structural --scaling DIR     only more series, and a long one
    python -m benchmarks.structural --page            only the page

It writes fitting.json and RESULTS.md. Times are processor times, of one thread in statsmodels. DIR
keeps the fits of thousands of series: the same command continues after an interruption.
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import numpy as np

import kfjax as kf
from benchmarks import reporting
from benchmarks.structural.page import page
from benchmarks.structural.scaling import long_series, of_processes
from benchmarks.structural.series import STEPS, monthly

HERE = Path(__file__).parent
COUNTS = (100, 1000, 10_000)


def ours(exact, ys):
    """Fit all series twice; return the fits, and seconds with and without compilation."""
    st = kf.structural
    model = st.level(1.0) + st.seasonal(12, 1.0) + st.irregular(1.0)
    data = kf.Dataset(ys)
    seconds = []
    for _ in range(2):
        begin = time.process_time()
        start = None if exact else 1e6
        fits = kf.training.fit_many(
            kf.exact_diffuse() if exact else kf.kalman(),
            model.with_start(diffuse_variance=start),
            data,
            skip=0 if exact else 12,
            progress=False,
        )
        seconds.append(time.process_time() - begin)
    return fits, seconds


def theirs(ys, exact):
    """Fit series by statsmodels; return log-likelihoods and seconds of each."""
    from statsmodels.tsa.api import UnobservedComponents

    found = []
    for y in ys[..., 0]:
        begin = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = UnobservedComponents(y, "llevel", seasonal=12, use_exact_diffuse=exact)
            fit = model.fit(disp=False)
        found.append((float(fit.llf), time.process_time() - begin))
    return np.array(found).T


def profile(ys):
    """Return seconds per series of a likelihood, and of one with derivatives by 3 parameters."""
    st = kf.structural
    model = st.level(1.0) + st.seasonal(12, 1.0) + st.irregular(1.0)
    model = model.with_start(diffuse_variance=1e6)

    def value(stds, y):
        params = model.with_parameters(dict(zip(model.parameters, stds, strict=True)))
        return kf.log_likelihood(kf.kalman(), params, y)

    def slopes(stds, y):
        def along(direction):
            return jax.jvp(lambda free: value(free, y), (stds,), (direction,))

        return jax.vmap(along, out_axes=(None, 0))(jax.numpy.eye(3))

    stds = jax.numpy.ones((len(ys), 3))
    seconds = []
    for function in (value, slopes):
        compiled = jax.jit(jax.vmap(function))
        jax.block_until_ready(compiled(stds, ys))
        begin = time.process_time()
        for _ in range(5):
            jax.block_until_ready(compiled(stds, ys))
        seconds.append((time.process_time() - begin) / (5 * len(ys)))
    return dict(zip(("value", "slopes"), seconds, strict=True))


def measured(count, peers):
    """Return the numbers of both starts."""
    ys = monthly(count)
    rows = {}
    for name, exact in (("exactly diffuse", True), ("large variance", False)):
        fits, (first, again) = ours(exact, ys)
        best, seconds = theirs(ys[:peers], exact)
        behind = best - fits.log_likelihood[:peers]
        rows[name] = {
            "first": first,
            "each": again / count,
            "statsmodels": float(seconds.mean()),
            "as_good": float((behind < 1e-3).mean()),
            "statsmodels_as_good": float((-behind < 1e-3).mean()),
            "behind": float(behind.max()),
            "ahead": float(-behind.min()),
            "converged": float(fits.converged.mean()),
            "evaluations": float(fits.updates.mean()),
        }
    return rows


def beside_statsmodels(*, quick):
    """Return all results of one run."""
    count, peers = (32, 3) if quick else (400, 30)
    results = {"quick": quick, "series": count, "peers": peers, "steps": STEPS}
    results |= {"versions": reporting.versions(), "machine": reporting.machine()}
    results["starts"] = measured(count, peers)
    results["profile"] = profile(monthly(16))
    return results


def main():
    """Measure, and write the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few series")
    parser.add_argument("--scaling", type=Path, help="folder of the fits of many series")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    args = parser.parse_args()
    stored = args.out / "fitting.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    if not args.page:
        jax.config.update("jax_enable_x64", True)
        if args.scaling:
            results["scaling"] = of_processes(COUNTS, args.scaling)
            results["long"] = long_series()
        else:
            results |= beside_statsmodels(quick=args.quick)
        args.out.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps(results, indent=1) + "\n")
    (args.out / "RESULTS.md").write_text(page(results))


if __name__ == "__main__":
    main()
