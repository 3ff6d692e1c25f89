"""Non-finite arrays, and matrices that are not covariances, raise errors that name the place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import kfjax as kf

T = 4
KEY = jax.random.key(0)
EYE = np.eye(2)
YS, US = np.zeros((T, 1)), np.ones((T, 2))
INF, NAN = np.inf, np.nan


def with_entry(array, value, *place):
    changed = np.array(array, float)
    changed[place] = value
    return changed


def model(F=((1.0, 1.0), (0.0, 1.0)), H=((1.0, 0.0),), Q=EYE, R=((1.0,),), B=None):
    return kf.linear_gaussian(F, H, Q, R, (np.zeros(2), np.eye(2)), B)


def run(ys=YS, params=None, **options):
    return kf.run(kf.extended(), model() if params is None else params, ys, **options)


def state(mean=(0.0, 0.0), cov=((1.0, 0.0), (0.0, 1.0))):
    return kf.Gaussian(np.array(mean, np.float32), np.array(cov, np.float32))


def scaled(R, x, u):
    return (1 - u[0]) * R


def shifted(Q, x, u):
    return Q + jnp.asarray([[0.0, 1.0], [0.0, 0.0]])


REFUSED = {
    "inf in ys": (lambda: run(with_entry(YS, INF, 2, 0)), r"run: ys has inf where .*\[2, 0\]"),
    "-inf in ys": (lambda: run(with_entry(YS, -INF, 2, 0)), "ys has -inf where it counts"),
    "inf beside a mask": (
        lambda: run(with_entry(YS, INF, 1, 0), observed=np.array([False, True, True, True])),
        r"ys has inf where it counts as observed, first at \[1, 0\]",
    ),
    "too large for float32": (
        lambda: run(with_entry(YS, 1e300, 1, 0)),
        r"ys has 1e\+300, too large for float32, where it counts .*\[1, 0\]",
    ),
    "the largest float32, for no data": (
        lambda: run(with_entry(YS, np.finfo(np.float32).max, 1, 0)),
        r"ys has 3\.40282e\+38, too large for float32, where .*observed=jnp\.abs\(ys\) < limit",
    ),
    "one of several sensors": (
        lambda: kf.run(
            kf.sequential(kf.extended()),
            kf.Sensors(model().f, model().Q, model().prior, {"a": kf.Sensor(model().h, [[1.0]])}),
            {"a": with_entry(YS, NAN, 3, 0)},
        ),
        r"run: ys\['a'\] has NaN where .*\[3, 0\]",
    ),
    "NaN in us": (
        lambda: run(params=model(B=np.eye(2)), us=with_entry(US, NAN, 3, 1)),
        r"run: us has NaN at \[3, 1\]; expected finite numbers",
    ),
    "inf in a dict of us": (
        lambda: run(params=model(B=np.eye(2)), us={"a": with_entry(US, INF, 0, 1)}),
        r"run: us\['a'\] has inf at \[0, 1\]",
    ),
    "NaN in a state": (
        lambda: run(state=state(mean=(0.0, NAN))),
        r"run: state\.mean has NaN at \[1\]",
    ),
    "inf in the covariance of a state": (
        lambda: run(state=state(cov=((1.0, 0.0), (0.0, INF)))),
        r"run: state\.cov has inf at \[1, 1\]",
    ),
    "forecast from NaN": (
        lambda: kf.forecast(kf.extended(), model(), state(mean=(NAN, 0.0)), steps=2),
        r"forecast: state\.mean has NaN at \[0\]",
    ),
    "u of a step": (
        lambda: kf.step(kf.extended(), model(B=np.eye(2)), state(), [0.0], u=[NAN, 0.0]),
        r"step: u has NaN at \[0\]",
    ),
    "inf in F": (
        lambda: model(F=[[1.0, INF], [0.0, 1.0]]),
        r"linear_gaussian: F has inf at \[0, 1\]",
    ),
    "NaN in H": (lambda: model(H=[[1.0, NAN]]), r"linear_gaussian: H has NaN at \[0, 1\]"),
    "NaN in B": (lambda: model(B=[[1.0], [NAN]]), r"linear_gaussian: B has NaN at \[1, 0\]"),
    "NaN in b": (lambda: kf.Linear(np.eye(2), b=[0.0, NAN]), r"Linear: b has NaN at \[1\]"),
    "inf in Q": (lambda: model(Q=np.diag([1.0, INF])), r"StateSpaceModel: Q has inf at \[1, 1\]"),
    "NaN that a tree map made": (
        lambda: run(params=jax.tree.map(lambda a: a * NAN, model())),
        r"run: params\.f\.A has NaN",
    ),
    "inequalities": (
        lambda: kf.Inequalities([[1.0, NAN]], [1.0]),
        r"Inequalities: A has NaN at \[0, 1\]",
    ),
    "a negative R(x, u)": (
        lambda: run(params=model(B=np.eye(2)).replace(R=Partial(scaled, jnp.eye(1))), us=2 * US),
        r"run: R\(x, u\) of the first step is indefinite \(smallest eigenvalue -1\)",
    ),
    "an asymmetric Q(x, u)": (
        lambda: run(params=model().replace(Q=Partial(shifted, jnp.eye(2)))),
        r"run: Q\(x, u\) of the first step is not symmetric",
    ),
    "inputs of simulate": (
        lambda: kf.simulate(KEY, model(B=np.eye(2)), us=with_entry(US, NAN, 1, 0)),
        r"simulate: us has NaN at \[1, 0\]",
    ),
    "x0 of simulate": (
        lambda: kf.simulate(KEY, model(), 3, x0=[0.0, NAN]),
        r"simulate: x0 has NaN at \[1\]",
    ),
    "inputs of a smoother": (
        lambda: kf.smooth(
            kf.extended(),
            model(B=np.eye(2)),
            kf.Gaussian(np.zeros((T, 2)), np.zeros((T, 2, 2))),
            us=with_entry(US, NAN, 1, 0),
        ),
        r"smooth: us has NaN at \[1, 0\]",
    ),
    "an estimate with NaN": (
        lambda: kf.smooth(
            kf.extended(),
            model(),
            kf.Gaussian(with_entry(np.zeros((T, 2)), NAN, 1, 0), np.zeros((T, 2, 2))),
        ),
        r"smooth: the estimate's mean has NaN at \[1, 0\]",
    ),
    "a parallel filter": (
        lambda: kf.parallel_filter(model(), with_entry(YS, INF, 1, 0)),
        r"parallel_filter: ys has inf where it counts .*\[1, 0\]",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_finite_is_named_with_its_place(name):
    call, pattern = REFUSED[name]
    with pytest.raises(ValueError, match=pattern):
        call()


def test_what_is_masked_or_after_the_end_may_be_anything():
    ys = with_entry(with_entry(YS, INF, 1, 0), NAN, 3, 0)
    us = with_entry(US, NAN, 3, 1)
    seen = np.array([True, False, True, True])
    est = run(ys, model(B=np.eye(2)), us=us, observed=seen, length=3).outputs
    assert np.isfinite(est.mean).all()
    expected = run(
        np.nan_to_num(ys, posinf=7.0), model(B=np.eye(2)), us=US, observed=seen, length=3
    )
    np.testing.assert_array_equal(est.mean, expected.outputs.mean)


CHECKED = {
    "ys": ({"ys": with_entry(YS, INF, 2, 0)}, r"ys has NaN .*or an infinity, first at \[2, 0\]"),
    "us": ({"us": with_entry(US, NAN, 3, 1)}, r"us has NaN or an infinity, first at \[3, 1\]"),
    "F": ({"F": np.array([[1.0, NAN], [0.0, 1.0]])}, r"params have NaN .*first at \[0, 1\]"),
    "R(x, u)": ({"us": 2 * US}, r"R\(x, u\) of the first step is indefinite"),
}


@pytest.mark.parametrize("name", CHECKED)
def test_the_same_is_seen_inside_of_jit_where_that_is_asked_for(name):
    changes, pattern = CHECKED[name]

    @jax.jit
    def compiled(ys, us, F):
        params = model(F, B=np.eye(2)).replace(R=Partial(scaled, jnp.eye(1)))
        return run(ys, params, us=us, checked=True).outputs

    arguments = {"ys": YS, "us": 0 * US, "F": np.eye(2)}
    raised_by(compiled, arguments)
    with pytest.raises(Exception, match=pattern):
        raised_by(compiled, arguments | changes)


def raised_by(compiled, arguments):
    """Wait for the callbacks of a compiled function."""
    jax.block_until_ready(compiled(**arguments))
    jax.effects_barrier()


@pytest.mark.parametrize("filter", [kf.kalman(), kf.unscented(), kf.particle(8), kf.ensemble(8)])
@pytest.mark.parametrize("y", [np.zeros((1, 1)), np.zeros(2), 0.0])
def test_update_by_hand_checks_the_shape_of_an_observation(filter, y):
    first = filter.init(model(), KEY)
    with pytest.raises(ValueError, match=r"update: y has shape .*; expected \(1,\), one"):
        filter.update(model(), first, y)
    with pytest.raises(ValueError, match="update: y has shape"):
        filter.update(model(), first, y, observed=True)
