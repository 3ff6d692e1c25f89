"""Code as a user writes it, for the type checker alone: `mypy` passes over it in strict mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import kfjax as kf
from kfjax import plotting


def f(x: Array, u: Any) -> Array:
    return jnp.stack([x[0] + 0.05 * x[1], x[1] - 0.05 * 9.81 * jnp.sin(x[0])])


def h(x: Array, u: Any) -> Array:
    return jnp.sin(x[:1])


def models() -> kf.StateSpaceModel:
    prior = kf.Gaussian(jnp.zeros(2), jnp.eye(2))
    model = kf.StateSpaceModel(f, h, Q=1e-4 * np.eye(2), R=[[0.01]], prior=prior)
    kf.linear_gaussian(
        F=[[1.0, 1.0], [0.0, 1.0]], H=[[1.0, 0.0]], Q=np.eye(2), R=[[1.0]], prior=prior
    )
    kf.van_loan(np.eye(2), np.eye(2), 0.1)
    dt: Array = kf.time_steps(np.array([0.5, 1.0]), start=0.0)
    kf.systems.lorenz(observation="spherical", q_std=0.1, r_std=0.1)
    return model.replace(Q=dt[0] * jnp.eye(2))


def filters(key: Array) -> Array:
    model = models()
    _, ys = kf.simulate(key, model, steps=100)
    method: kf.Filter = kf.gated(kf.extended(iterations=3), probability=0.999)
    final, estimate = kf.run(method, model, ys, observed=np.ones(100, bool))
    state, info = kf.step(method, model, final, np.zeros(1), observed=True)
    if info.nis is not None:
        print(float(info.nis))
    smoothed = kf.smooth(kf.unscented(), model, estimate)
    ahead = kf.forecast(kf.unscented(), model, state, steps=20)
    kf.from_bytes(kf.to_bytes(state), like=state)
    filled, observed = kf.split_missing(ys)
    kf.imm((kf.extended(), kf.unscented()))
    mean: Array = smoothed.mean + ahead.state.mean.sum() + filled + observed
    return mean + jax.grad(lambda m: kf.log_likelihood(method, m, ys))(model).Q


def innovations(state: Any, info: kf.Info) -> Array | None:
    return info.innovation


def results(key: Array, model: kf.StateSpaceModel, ys: Array, path: Path) -> None:
    """Types that a type checker infers for results."""
    method = kf.extended()
    assert_type(kf.run(method, model, ys).outputs, kf.Estimate)
    assert_type(
        kf.run(method, model, ys, emit=kf.estimate_and_info).outputs, tuple[kf.Estimate, kf.Info]
    )
    assert_type(kf.run(method, model, ys, emit=innovations).outputs, Array | None)
    assert_type(kf.run(method, model, ys, emit=kf.leading(1)).outputs, kf.Estimate)
    assert_type(kf.data.run_trajectory(method, model, kf.Dataset(ys)[0]).outputs, kf.Estimate)
    assert_type(kf.step(method, model, method.init(model), ys[0])[1], kf.Info)
    assert_type(kf.simulate(key, model, steps=3), tuple[Array, Array])
    assert_type(kf.smooth(method, model, kf.run(method, model, ys).outputs), kf.Smoothed)
    assert_type(kf.forecast(method, model, model.prior, steps=3).observation, kf.Gaussian | None)
    assert_type(
        kf.monte_carlo(key, model, method, model, trials=10, steps=5), kf.evaluation.Evaluation
    )
    assert_type(kf.compare({"EKF": (method, model)}, kf.Dataset(ys)), kf.evaluation.Comparison)
    belief = kf.Gaussian(jnp.zeros(2), jnp.eye(2))
    assert_type(kf.from_bytes(kf.to_bytes(belief), like=belief), kf.Gaussian)
    assert_type(kf.training.load_params(path, like=model), kf.StateSpaceModel)
    assert_type(kf.with_model(model, R=np.eye(1)), kf.StateSpaceModel)


def every_filter(model: kf.StateSpaceModel) -> list[kf.Filter]:
    inside = kf.extended()
    kf.constrained(inside).init(kf.ConstrainedParams(model, kf.box([-1.0, -1.0], np.ones(2))))
    gaussian = [
        kf.kalman(),
        kf.cubature(),
        kf.gauss_hermite(order=5),
        kf.unscented(alpha=0.5),
        kf.constant_gain(),
    ]
    gaussian += [kf.square_root(kf.moments.Taylor()), kf.gaussian_filter(kf.moments.Unscented())]
    around = [kf.fading(inside, 1.01), kf.adaptive(inside, forgetting_R=0.99), kf.fallback(inside)]
    around += [
        kf.huber(inside),
        kf.student_t(inside, dof=4.0),
        kf.schmidt(inside, (1,)),
        kf.fixed_lag(inside, lag=3),
    ]
    sampling = [
        kf.particle(1000, ess=0.7),
        kf.auxiliary_particle(100),
        kf.rao_blackwellised((1,)),
        kf.ensemble(20),
    ]
    return [
        *gaussian,
        *around,
        *sampling,
        kf.sequential((inside, inside)),
        kf.filters.by_name("extended"),
    ]


def mistakes(key: Array, model: kf.StateSpaceModel, info: kf.Info) -> None:
    """Errors that a type checker must find; if it misses one, the comment beside it is an error."""
    kf.extended(iteration=3)  # type: ignore[call-arg]
    kf.unscented("small")  # type: ignore[arg-type]
    kf.run(kf.extended, model, np.zeros((5, 1)))  # type: ignore[arg-type]
    kf.simulate(model, key, steps=5)  # type: ignore[arg-type]
    kf.smooth(kf.kalman(), model)  # type: ignore[call-arg]
    print(info.nis + 1)  # type: ignore[operator]


def smoothing(key: Array, model: kf.StateSpaceModel, ys: Array) -> Array:
    final, estimate = kf.run(kf.kalman(), model, ys, length=jnp.asarray(50))
    smoothed: kf.Smoothed = kf.smooth(kf.kalman(), model, estimate, length=50, prior=model.prior)
    drawn = kf.sample_posterior(key, kf.kalman(), model, estimate, trajectories=10)
    filled: kf.Gaussian = kf.impute(kf.kalman(), model, smoothed, ys, observed=jnp.ones(100, bool))
    expected = kf.observation_estimate(
        kf.kalman(), model, kf.predicted(kf.kalman(), model, estimate)
    )
    at_once = kf.parallel_filter(model, ys)
    means = [
        f(model, ys).mean
        for f in (kf.parallel_smooth, kf.two_filter_smooth, kf.parallel_iterated_smooth)
    ]
    cloud, states = kf.run(kf.particle(), model, ys, key=key, emit=kf.whole_state, checked=True)
    paths: Array = kf.simulate_smoothed(key, model, states, trajectories=10).states
    if at_once.cov is not None:
        print(jnp.trace(at_once.cov[-1]), kf.steady_state(model).gain, final.mean, cloud.weights)
    return (
        smoothed.cross.sum()
        + drawn.states.sum()
        + filled.mean
        + expected.cov
        + paths.sum()
        + sum(means, 0.0)
    )


def data(path: Path) -> kf.Dataset:
    whole = kf.Dataset(np.zeros((10, 5, 1)), xs=np.zeros((10, 5, 2)), length=[5] * 10)
    train, rest = whole.split(0.8, 0.2)
    print(len(train), rest[0].missing, whole.dtype, whole.lengths.max(), kf.to_pandas)
    kf.data.write_folder(path, whole)
    return kf.data.read_data(path)


def evaluation(key: Array, truth: np.ndarray[Any, Any], mean: np.ndarray[Any, Any]) -> float:
    model = models()
    comparison = kf.compare({"EKF": (kf.extended(), model)}, kf.Dataset(truth[..., :1], xs=truth))
    study = kf.monte_carlo(key, model, kf.extended(), model, trials=1000, steps=100)
    interval = study.mse_db()
    errors = kf.evaluation.mse(truth, mean)
    kf.evaluation.nees(truth, mean, np.eye(2))
    gains: Array = kf.evaluation.gains(kf.kalman(), model, truth[0, :, :1])
    floor = kf.evaluation.to_db(jnp.trace(kf.evaluation.expected_error(model, steps=50)[-1]))
    print(comparison, errors, kf.evaluation.chi_square_interval(100), gains, floor)
    return float("nan") if interval is None else float(interval.value)


def learning(key: Array, train: kf.Dataset, validation: kf.Dataset) -> Any:
    design = kf.systems.constant_velocity()
    net = kf.learned.kalman_net(kf.learned.Architecture1(n=2, m=1), features=("F2", "F4"))
    params = kf.learned.init_params(key, net, design)
    fitted = kf.training.fit(
        kf.training.state_mse(net), params, train, validation=validation, key=key, updates=50
    )
    kf.training.fit_noise(kf.kalman(), design, train, validation=validation, key=key, updates=50)
    loss = kf.training.weighted_sum((1.0, kf.training.nll(net)), (1e-4, kf.training.l2()))
    optimizer = kf.training.clipped_adam(kf.training.Cosine(1e-2, 50))
    kf.training.fit(loss, params, train, key=key, updates=50, window=10, optimizer=optimizer)
    tuned = kf.training.tune(
        kf.kalman(), design, train, validation=validation, key=key, structure="diagonal"
    )
    learnt = kf.training.em(design, train, learn=("Q", "R"), iterations=5)
    print(tuned.scales.R, learnt.model.Q, fitted.history)
    return fitted.params


def pictures(estimate: kf.Estimate, path: Path) -> None:
    ax = plotting.plot_path(estimate.mean, estimate.cov, components=(0, 1))
    ax.figure.canvas.print_figure(path)
    axes = plotting.plot_trajectory(estimate.mean, estimate.cov)
    print(axes[0].get_ylabel())
    plotting.plot_ellipses(estimate.mean, estimate.cov, ax=ax)
    plotting.plot_nis(np.ones(10), np.ones(10), level=0.9)
    plotting.plot_errors({"EKF": np.ones(10)}, floor=0.1)
    ones = np.ones(10)
    plotting.plot_history(kf.training.History(ones, ones, ones, ones, ones))


def exports(path: Path) -> list[Any]:
    program = kf.exporting.load(kf.exporting.export_step(path, kf.extended(), models(), batch="b"))
    state, outputs = program(program.initial(batch=3), y=np.zeros((3, 1)))
    whole = kf.exporting.export_run(
        path, kf.kalman(), models(), steps=100, emit=kf.estimate, platforms=["cpu"]
    )
    return [*state, outputs["mean"], kf.exporting.load(whole)]
