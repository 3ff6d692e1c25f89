"""Latency of one streamed step of `kf.step`, from an observation to a readable estimate.

    python benchmarks/latency.py [--steps 2000] [--x64] [--donate]
    python benchmarks/latency.py --filterpy        the same two-state filter and filterpy

Each filter takes observations one at a time, as in an application: a numpy observation goes in, and
the clock stops when the new mean is back in numpy. The first 50 steps, which include the
compilation, do not count. The table has the median and the 99th percentile; on a shared machine the
latter depends on the machine as much as on the filter.
"""

import argparse
import functools
import json
import time

import jax
import numpy as np

import kfjax as kf

WARM_UP = 50
COMPILED_IN = "`kalman()`, `kf.stepper`"


def two_speeds(model):
    """Return an IMM of two models: one drifts slowly, the other moves."""
    return kf.IMMParams(
        (model, model.replace(Q=100 * model.Q)), [[0.95, 0.05], [0.1, 0.9]], [0.5, 0.5]
    )


def cases():
    """Yield (name, filter, params, model that makes the data) of every row."""
    linear = kf.systems.constant_velocity(2, dt=0.1)
    lorenz = kf.systems.lorenz(observation="spherical", q_std=0.1, r_std=0.1)
    yield "`kalman()`", kf.kalman(), linear, linear
    yield COMPILED_IN, kf.kalman(), linear, linear
    yield "`square_root(Taylor())`", kf.square_root(kf.moments.Taylor()), linear, linear
    yield "`imm` of two `kalman()`", kf.imm((kf.kalman(), kf.kalman())), two_speeds(linear), linear
    yield "`extended()`", kf.extended(), lorenz, lorenz
    yield "`gated(extended())`", kf.gated(kf.extended()), lorenz, lorenz
    yield "`unscented()`", kf.unscented(), lorenz, lorenz
    yield "`particle(1000)`", kf.particle(1000), lorenz, lorenz
    yield "`particle(10000)`", kf.particle(10_000), lorenz, lorenz


def latencies(take, method, params, ys):
    """Return the seconds of every step after the warm-up."""
    state = method.init(params, jax.random.key(1))
    seconds = []
    for y in ys:
        start = time.perf_counter()
        state, _ = take(state, y)
        np.asarray(state.mean)
        seconds.append(time.perf_counter() - start)
    return np.array(seconds[WARM_UP:])


def measured(steps, *, donate=False):
    """Yield the rows of the table, with the median and the 99th percentile in microseconds."""
    for name, method, params, model in cases():
        ys = np.asarray(kf.simulate(jax.random.key(0), model, steps=steps + WARM_UP)[1])
        take = functools.partial(kf.step, method, params, donate=donate)
        if name is COMPILED_IN:
            take = kf.stepper(method, params)
        median, high = 1e6 * np.percentile(latencies(take, method, params, ys), [50, 99])
        yield {
            "name": name,
            "n": model.n,
            "m": ys.shape[1],
            "median_us": round(median, 1),
            "high_us": round(high, 1),
        }


def state_only(state, info):
    """Keep nothing but the state."""
    del state, info


def beside_filterpy(steps, rounds=15):
    """Print the median time of a step of one Kalman filter with two states, all in turn."""
    from filterpy.kalman import KalmanFilter

    model = kf.systems.constant_velocity(dt=0.1)
    method = kf.kalman()
    ys = np.asarray(kf.simulate(jax.random.key(0), model, steps=steps + WARM_UP)[1])

    def stepped(state, y):
        if not isinstance(state, KalmanFilter):
            state = KalmanFilter(2, 1)
            state.F, state.H = np.asarray(model.f.A), np.asarray(model.h.A)
            state.Q, state.R = np.asarray(model.Q), np.asarray(model.R)
            state.x, state.P = np.zeros(2), np.asarray(model.prior.cov)
        state.predict()
        state.update(y)
        state.mean = state.x
        return state, None

    takes = {
        "filterpy": stepped,
        "`kf.step`": functools.partial(kf.step, method, model),
        "`kf.stepper`": kf.stepper(method, model),
        "`kf.stepper`, the state only": kf.stepper(method, model, emit=state_only),
    }
    times = {name: [] for name in takes}
    for _ in range(rounds):
        for name, take in takes.items():
            times[name].append(1e6 * np.median(latencies(take, method, model, ys)))
    medians = {name: np.median(found) for name, found in times.items()}
    print("| two states | median, us | of filterpy |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.1f} | {median / medians['filterpy']:.2f} |")


def main():
    """Measure all filters, print the table, and write it as JSON if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000, help="counted steps of each filter")
    parser.add_argument("--x64", action="store_true", help="double precision")
    parser.add_argument("--donate", action="store_true", help="donate the state to every step")
    parser.add_argument("--filterpy", action="store_true", help="beside filterpy, in float64")
    parser.add_argument("--to", metavar="FILE", help="also write the rows as JSON")
    arguments = parser.parse_args()
    x64 = arguments.x64 or arguments.filterpy or jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", x64)
    if arguments.filterpy:
        beside_filterpy(arguments.steps)
        return
    rows = []
    print("| filter | n | m | median, us | 99 %, us |\n|---|---|---|---|---|")
    for row in measured(arguments.steps, donate=arguments.donate):
        rows.append(row)
        print("| {name} | {n} | {m} | {median_us:.0f} | {high_us:.0f} |".format(**row), flush=True)
    if arguments.to:
        with open(arguments.to, "w") as file:
            json.dump(
                {"latency": rows, "steps": arguments.steps, **kf.evaluation.environment()}, file
            )


if __name__ == "__main__":
    main()
