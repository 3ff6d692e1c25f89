"""Code as a user writes it, for the type checker alone: `mypy` passes over it in strict mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    kf.linear_gaussian(F=[[1.0, 1.0], [0.0, 1.0]], H=[[1.0, 0.0]], Q=np.eye(2), R=[[1.0]], prior=prior)
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
    kf.particle(1000), kf.ensemble(20), kf.square_root(kf.moments.Taylor())
    mean: Array = smoothed.mean + ahead.state.mean.sum() + filled + observed
    return mean + jax.grad(lambda m: kf.run(method, m, ys)[1].log_likelihood.sum())(model).Q


def data(path: Path) -> kf.Dataset:
    whole = kf.Dataset(np.zeros((10, 5, 1)), state=np.zeros((10, 5, 2)), length=[5] * 10)
    train, rest = whole.split(0.8, 0.2)
    print(len(train), rest[0].missing, whole.dtype, whole.lengths.max(), kf.to_pandas)
    kf.data.write_folder(path, whole)
    return kf.data.read_data(path)


def evaluation(key: Array, truth: np.ndarray[Any, Any], mean: np.ndarray[Any, Any]) -> float:
    model = models()
    comparison = kf.compare({"EKF": (kf.extended(), model)}, kf.Dataset(truth[..., :1], state=truth))
    study = kf.monte_carlo(key, model, kf.extended(), model, trials=1000, steps=100)
    interval = study.mse_db()
    errors = kf.evaluation.mse(truth, mean)
    kf.evaluation.nees(truth, mean, np.eye(2))
    print(comparison, errors, kf.evaluation.chi_square_interval(100))
    return float("nan") if interval is None else float(interval.value)


def learning(key: Array, train: kf.Dataset, validation: kf.Dataset) -> Any:
    design = kf.systems.constant_velocity()
    net = kf.learned.kalman_net(kf.learned.Architecture1(n=2, m=1), features=("F2", "F4"))
    params = kf.learned.init(key, net, design)
    fitted = kf.training.fit(kf.training.mse(net), params, train, validation=validation, key=key, steps=50)
    kf.training.fit_noise(kf.kalman(), design, train, validation=validation, key=key, steps=50)
    return fitted.params


def pictures(estimate: kf.Estimate, path: Path) -> None:
    ax = plotting.plot_path(estimate.mean, estimate.cov, components=(0, 1))
    ax.figure.canvas.print_figure(path)
    axes = plotting.plot_trajectory(estimate.mean, estimate.cov)
    print(axes[0].get_ylabel())


def exports(path: Path) -> list[Any]:
    program = kf.exporting.load(kf.exporting.export_step(path, kf.extended(), models(), batch="b"))
    state, outputs = program(program.initial(batch=3), y=np.zeros((3, 1)))
    return [*state, outputs["mean"]]
