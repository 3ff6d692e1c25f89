"""Results of one device, several devices and several processes; run by test_sharding.

python tests/support/sharded.py devices quick OUT.npz        on all devices, and on one of them
python tests/support/sharded.py processes quick I N PORT OUT.npz   as process I of N

In place of quick: thorough.
"""

import contextlib
import sys
import tempfile

import jax
import numpy as np

import kfjax as kf

TRIALS, STEPS, CHUNK = 37, 9, 10


def evaluated(evaluation):
    """Every array of an evaluation by name, per trajectory and summed."""
    for kind in ("statistics", "curves"):
        for path, leaf in jax.tree_util.tree_flatten_with_path(getattr(evaluation, kind))[0]:
            yield kind + jax.tree_util.keystr(path), leaf


def dataset(model):
    """Data with gaps and lengths, whose trajectories do not divide evenly among devices."""
    rng = np.random.default_rng(0)
    xs, ys = (
        np.array(a)
        for a in jax.vmap(lambda k: kf.simulate(k, model, STEPS))(
            jax.random.split(jax.random.key(1), TRIALS)
        )
    )
    ys[rng.random(ys.shape) < 0.2] = np.nan
    return kf.Dataset(ys, xs, length=rng.integers(4, STEPS + 1, TRIALS))


def fitted(filter, params, data, key, **options):
    """The result of a short training."""
    options = {
        "updates": 9,
        "batch_size": 6,
        "reports": 3,
        "optimizer": kf.training.clipped_adam(0.03),
    } | options
    return kf.training.fit(kf.training.state_mse(filter), params, data, key=key, **options)


def quick():
    """Results by name of trials and a training, with a filter that compiles quickly."""
    key, model = jax.random.key(0), kf.systems.constant_velocity()
    params = kf.ConstantGainParams(model, np.array([[0.5], [0.3]]))
    trials = kf.monte_carlo(
        key, model, kf.constant_gain(), params, trials=TRIALS, steps=STEPS, chunk=CHUNK
    )
    yield from ((f"monte_carlo.{name}", array) for name, array in evaluated(trials))
    data = dataset(model)
    result = fitted(kf.constant_gain(), params, data[:30], key, validation=data[30:])
    yield "fit.gain", result.params.gain
    yield "fit.validation", result.history.validation


def thorough():
    """The same for other filters, data sets and forms of training."""
    yield from quick()
    key, lorenz, model = jax.random.key(0), kf.systems.lorenz(), kf.systems.constant_velocity()
    trials = kf.monte_carlo(key, lorenz, kf.extended(), lorenz, trials=TRIALS, steps=STEPS)
    yield from ((f"lorenz.{name}", array) for name, array in evaluated(trials))
    data, filters = (
        dataset(model),
        {"kalman": (kf.kalman(), model), "particle": (kf.particle(8), model)},
    )
    comparison = kf.compare(filters, data, chunk=CHUNK, repeats=1)
    for method, evaluation in comparison.evaluations.items():
        yield from ((f"{method}.{name}", array) for name, array in evaluated(evaluation))
        yield f"{method}.estimate", comparison.estimates[method].mean
    yield "fit", fitted(kf.kalman(), model, data, key).params.Q
    yield "windows", fitted(kf.kalman(), model, data, key, window=4).params.Q
    with tempfile.TemporaryDirectory() as place:
        kf.data.write_folder(f"{place}/data", data)
        yield "disk", fitted(kf.kalman(), model, kf.data.read_folder(f"{place}/data"), key).params.Q
    many = kf.training.replicate(model, 2)
    yield "several", fitted(kf.kalman(), many, data, jax.random.split(key)).params.Q


def placed(kind):
    """Results of a batch split over the default mesh, with explicit axes, and on one device."""

    def place(batch):
        if kind == "one":
            return batch
        mesh = jax.make_mesh((jax.device_count(),), ("batch",))
        rows = jax.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
        return jax.device_put(batch, rows)

    def batched(function, *batches):
        result = jax.jit(jax.vmap(function))(*map(place, batches))
        if kind != "one":
            split = [jax.typeof(leaf).sharding.spec[0] for leaf in jax.tree.leaves(result)]
            assert set(split) == {"batch"}, split
        return result

    model = kf.systems.constant_velocity()
    keys = jax.random.split(jax.random.key(2), 8)
    ys = batched(lambda key: kf.simulate(key, model, STEPS), keys)[1]
    yield "estimate.simulated", ys
    ys = np.asarray(ys)
    estimate = batched(lambda y: kf.run(kf.kalman(), model, y).outputs, ys)
    yield "estimate.kalman", estimate.cov
    particle = kf.particle(8)
    drawn = batched(lambda y, key: kf.run(particle, model, y, key=key).outputs, ys, keys)
    yield "estimate.particle", drawn.mean

    def total(model, ys):
        return jax.vmap(lambda y: kf.log_likelihood(kf.kalman(), model, y))(ys).sum()

    yield "gradient", jax.jit(jax.grad(total))(model, place(ys)).Q


def main():
    kind, how, *rest, out = sys.argv[1:]
    if kind == "processes":
        number, count, port = map(int, rest)
        jax.distributed.initialize(f"localhost:{port}", count, number)
        assert jax.process_count() == count
    ways = {"all": contextlib.nullcontext()}
    if kind == "devices":
        assert jax.device_count() == 8
        ways["one"] = jax.default_device(jax.devices()[3])
    arrays = {}
    for name, way in ways.items():
        for bits in (64,) if how == "quick" else (32, 64):
            with way, jax.enable_x64(bits == 64):
                results = dict(quick() if how == "quick" else thorough())
                if kind == "devices":
                    results |= {f"placed.{key}": value for key, value in placed(name)}
            arrays |= {f"{name}.{bits}.{key}": np.asarray(array) for key, array in results.items()}
    np.savez(out, **arrays)


if __name__ == "__main__":
    main()
