"""The ten problems: models, how their data are drawn, and which part of the state is scored."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import kfjax as kf
from benchmarks.choosing import models


class Problem(NamedTuple):
    """A model, and how its filters are judged.

    Attributes:
        name: short name.
        title: what it is, for the page.
        source: where its form and numbers come from.
        model: the model that draws the states, and that filters are given.
        scored: components of the state whose squared errors are summed.
        unit: unit of the error, and its factor from the unit of the state.
        steps: number of steps of a record.
        us: inputs of every record [T, ...], or None.
        observe: `(key, xs) -> ys` where the noise is not the model's Gaussian, or None.
        density: log p(y | x) for particle filters, or None.
        linear: components of the state that f and h are affine in, given the others, or ().
        robust: whether the noise has outliers.
        grid: (lowest, highest) state for an exact filter on a grid, or None.
    """

    name: str
    title: str
    source: str
    model: Any
    scored: tuple[int, ...]
    unit: tuple[str, float]
    steps: int = 100
    us: Any = None
    observe: Callable[..., Any] | None = None
    density: Callable[..., Any] | None = None
    linear: tuple[int, ...] = ()
    robust: bool = False
    grid: tuple[float, float] | None = None


def records(problem, key, count, steps=None):
    """Return `count` records of a problem, a `Dataset`."""
    steps = steps or problem.steps
    us = first_steps(problem.us, steps)
    first, second = jax.random.split(key)
    keys = jax.random.split(first, count)
    simulated = jax.vmap(lambda key: kf.simulate(key, problem.model, steps, us=us))
    xs, ys = jax.jit(simulated)(keys)
    if problem.observe is not None:
        ys = problem.observe(second, xs)
    us = jax.tree.map(lambda u: np.broadcast_to(u, (count, *u.shape)), us)
    return kf.Dataset(np.asarray(ys), np.asarray(xs), us)


def first_steps(us, steps):
    """Return the inputs of the first steps."""
    return jax.tree.map(lambda u: u[:steps], us)


def _bearings():
    prior = kf.Gaussian(jnp.array([60.0, -1.0, 40.0, 0.5]), jnp.diag(jnp.array([400.0, 1, 400, 1])))
    model = kf.systems.bearings_only(sensors=((0.0, 0.0), (30.0, -10.0)), prior=prior)
    return Problem(
        "bearings-only",
        "A body seen by two direction finders (0.02 rad), its start known to 20 m",
        "the setting of notebook 03",
        model,
        (0, 2),
        ("m", 1.0),
        linear=(1, 3),
    )


def _turn():
    model = kf.systems.coordinated_turn(
        q_density=0.1,
        turn_rate_density=1.75e-4,
        prior=kf.Gaussian(
            jnp.array([1000.0, 300.0, 1000.0, 0.0, -np.pi / 60]),
            jnp.diag(jnp.array([100.0, 10.0, 100.0, 10.0, 1e-4])),
        ),
    ).replace(
        h=Partial(models.range_and_bearing, jnp.zeros(2)),
        R=jnp.diag(jnp.array([100.0, 1e-5])),
        observation_space=kf.angles(1),
    )
    return Problem(
        "coordinated turn",
        "An aircraft that turns at an unknown rate, seen by a radar",
        "I. Arasaratnam, S. Haykin, Cubature Kalman filters, IEEE TAC 54 (2009), section VI",
        model,
        (0, 2),
        ("m", 1.0),
    )


def _reentry():
    return Problem(
        "reentry",
        "A vehicle that enters the atmosphere with an unknown drag, seen by a radar",
        "S. Julier, J. Uhlmann, Unscented filtering and nonlinear estimation, Proc. IEEE 92 (2004)",
        models.reentry(),
        (0, 1),
        ("m", 1000.0),
        steps=150,
    )


def _growth():
    return Problem(
        "nonlinear growth",
        "The univariate growth model: y = x^2 / 20 does not tell x from -x",
        "N. Gordon, D. Salmond, A. Smith, IEE Proc. F 140 (1993), section 5.1",
        models.growth(q_var=10.0),
        (0,),
        ("1", 1.0),
        us=models.growth_inputs(100),
        grid=(-45.0, 45.0),
    )


def _volatility():
    return Problem(
        "stochastic volatility",
        "The log-volatility of returns, from the logarithms of their squares",
        "S. Kim, N. Shephard, S. Chib, Rev. Econ. Stud. 65 (1998): noise log chi-square",
        models.volatility(),
        (0,),
        ("1", 1.0),
        observe=models.log_squared_returns,
        density=Partial(models.log_chi_square),
        robust=True,
        grid=(-5.0, 5.0),
    )


def _pendulum():
    return Problem(
        "pendulum",
        "A randomly driven pendulum, seen from the side by a precise camera",
        "S. Särkkä, Bayesian Filtering and Smoothing (2013), example 3.7, with stronger noise",
        kf.systems.pendulum(dt=0.05, q_density=1.0, r_std=0.1),
        (0,),
        ("rad", 1.0),
        linear=(1,),
    )


def _robot():
    return Problem(
        "robot",
        "A robot that sees one landmark a step, its start known to 2 m and 1 rad",
        "S. Thrun, W. Burgard, D. Fox, Probabilistic Robotics (2005), chapter 7",
        models.robot(),
        (0, 1),
        ("m", 1.0),
        us=models.robot_inputs(100),
    )


def _battery():
    return Problem(
        "battery",
        "The charge of a cell from current and voltage, its start known to 15 %",
        "G. Plett, J. Power Sources 134 (2004), part 2: one resistor and capacitor",
        models.battery(),
        (0,),
        ("% of charge", 100.0),
        us=models.battery_inputs(100),
        linear=(1,),
    )


def _population():
    return Problem(
        "population",
        "The logarithm of a chaotic population, from counts of a part of it",
        "S. Wood, Nature 466 (2010): Ricker's map; counts become 2 sqrt(count + 3/8)",
        models.population(),
        (0,),
        ("1", 1.0),
        observe=models.rooted_counts,
        density=Partial(models.poisson),
        grid=(-36.0, 5.0),
    )


def _lorenz():
    prior = kf.Gaussian(jnp.array([0.0, 0.0, 25.0]), jnp.diag(jnp.array([60.0, 80.0, 70.0])))
    model = kf.systems.lorenz(dt=0.1, integrator="rk4", q_std=0.3, r_std=1.0, prior=prior).replace(
        h=kf.Linear([[1.0, 0.0, 0.0]]), R=jnp.eye(1)
    )
    return Problem(
        "Lorenz",
        "The Lorenz attractor, of which the first component is seen every 0.1",
        "E. Lorenz, J. Atmos. Sci. 20 (1963)",
        model,
        (0, 1, 2),
        ("1", 1.0),
    )


def problems():
    """Return the ten problems by name."""
    made = (
        _bearings,
        _turn,
        _reentry,
        _growth,
        _volatility,
        _pendulum,
        _robot,
        _battery,
        _population,
        _lorenz,
    )
    return {problem.name: problem for problem in (make() for make in made)}
