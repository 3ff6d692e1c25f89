"""Cases in which two filters must agree, or one must have a property by its derivation."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.tree_util import Partial
from support.table import case, outputs, quick_jit, range_and_bearing, update

import kfjax as kf
from kfjax import moments
from kfjax.filters.registry import by_name
from kfjax.models.spaces import EUCLIDEAN

tight = {"rtol": 1e-11, "atol": 1e-12}


# linear functions


def hidden_product(A, x, u):
    """A x, in a form that filters do not recognise as linear."""
    return A @ x


def test_nonlinear_filters_are_the_kalman_filter_on_a_linear_model(x64):
    expected = outputs("kalman", "linear")
    for name in ("extended", "unscented"):
        chex.assert_trees_all_close(outputs(name, "linear"), expected, **tight)


@pytest.mark.parametrize(
    "rule", [moments.Unscented(), moments.Cubature(), moments.GaussHermite(2)], ids=str
)
def test_sigma_points_are_exact_for_linear_functions_they_cannot_see_through(x64, rule):
    model, ys = case("kalman", "linear").params, case("kalman", "linear").ys[:, :1]
    A = np.array([[1.0, 0.3], [-0.2, 0.9]])
    model = kf.linear_gaussian(
        A, [[1.0, 0.5]], [[0.1, 0.02], [0.02, 0.2]], [[0.3]], (np.ones(2), np.eye(2))
    )
    opaque = model.replace(
        f=Partial(hidden_product, model.f.A), h=Partial(hidden_product, model.h.A)
    )

    def estimates(filter, params, observed):
        filtered = kf.run(filter, params, ys, observed=observed).outputs
        return filtered, kf.smooth(filter, params, filtered)

    estimates = quick_jit(estimates, static_argnums=0)
    observed = np.array([True, True, False, True, True, True])
    expected = estimates(kf.kalman(), model, observed)
    chex.assert_trees_all_close(
        estimates(kf.gaussian_filter(rule), opaque, observed), expected, **tight
    )


# moment rules


def test_cubature_is_unscented_with_a_centre_of_weight_zero(x64):
    belief, space = (
        kf.Gaussian(jnp.array([0.3, -0.2]), jnp.array([[0.5, 0.2], [0.2, 0.4]])),
        EUCLIDEAN,
    )
    fn = lambda x: jnp.stack([x[0] * jnp.exp(x[1]), jnp.sin(x[0]) + x[1] ** 2])  # noqa: E731
    K = jnp.array([[0.3, 0.1], [-0.2, 0.4]])

    @functools.partial(quick_jit, static_argnums=0)
    def numbers(rule):
        mean, cov, cross, residual = rule(fn, belief, space, space)
        return mean, cov, cross, residual(K)

    chex.assert_trees_all_close(
        numbers(moments.Cubature()), numbers(moments.Unscented(1.0, 0.0, 0.0)), **tight
    )


@pytest.mark.parametrize(
    "rule",
    [
        moments.Taylor(),
        moments.Unscented(),
        moments.Unscented(0.5, 2.0, 1.0),
        moments.Cubature(),
        moments.GaussHermite(4),
    ],
    ids=str,
)
def test_the_residual_is_the_covariance_of_what_a_gain_leaves(x64, rule):
    P, space = jnp.array([[0.5, 0.2], [0.2, 0.4]]), EUCLIDEAN
    fn = lambda x: jnp.stack([x[0] * jnp.exp(x[1]), jnp.sin(x[0]), x[1] ** 2])  # noqa: E731
    K = jnp.array([[0.3, 0.1, 0.2], [-0.2, 0.4, 0.5]])

    @quick_jit
    def both():
        _, cov, cross, residual = rule(fn, kf.Gaussian(jnp.array([0.3, -0.2]), P), space, space)
        return residual(K), P - K @ cross.T - cross @ K.T + K @ cov @ K.T

    np.testing.assert_allclose(*both(), **tight)


def test_gauss_hermite_is_exact_for_polynomials(x64):
    """Order p integrates degree 2 p - 1 in each variable: for the covariance, fn
    of degree p - 1."""
    m, s = 0.7, 1.3
    raw = [1.0, m]  # moments of N(m, s^2): E x^(k+1) = m E x^k + k s^2 E x^(k-1)
    for k in range(1, 6):
        raw.append(m * raw[-1] + k * s**2 * raw[-2])
    fn = lambda x: jnp.stack([x[0] ** 3, x[0] ** 2 * x[1]])  # noqa: E731
    belief = kf.Gaussian(jnp.array([m, -0.4]), jnp.diag(jnp.array([s**2, 0.25])))
    mean, cov, cross, _ = moments.GaussHermite(4)(fn, belief, EUCLIDEAN, EUCLIDEAN)
    second = raw[4] * (0.25 + 0.16) - (raw[2] * -0.4) ** 2
    mixed = raw[5] * -0.4 - raw[3] * raw[2] * -0.4
    np.testing.assert_allclose(mean, [raw[3], raw[2] * -0.4], rtol=1e-12)
    np.testing.assert_allclose(cov, [[raw[6] - raw[3] ** 2, mixed], [mixed, second]], rtol=1e-12)
    np.testing.assert_allclose(cross[0, 0], raw[4] - m * raw[3], rtol=1e-12)


# angles

RULES = [
    moments.Taylor(),
    moments.Unscented(),
    moments.Unscented(0.5, 2.0, 0.0),
    moments.Cubature(),
    moments.GaussHermite(3),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_means_of_wrapped_angles_are_right_near_the_cut(x64, rule):
    """Turn, read at the cut: as for the same belief far from it. alpha = 1/2 gives the centre the
    weight -3.
    """
    angle = kf.angles(0)

    @quick_jit
    def turned(start, by):
        d = lambda x: kf.wrap_angle(x - start)  # noqa: E731
        fn = lambda x: kf.wrap_angle(x + 0.3 * jnp.sin(d(x)) + 0.2 * d(x) ** 2 + by)  # noqa: E731
        mean, cov, cross, residual = rule(fn, kf.Gaussian(start, jnp.array([[0.09]])), angle, angle)
        return kf.wrap_angle(mean - start - by), cov, cross, residual(jnp.array([[0.4]]))

    far, near = turned(jnp.array([0.0]), 0.0), turned(jnp.array([3.1]), 0.05)
    chex.assert_trees_all_close(near, far, rtol=1e-11, atol=1e-14)


def drive_without_wrapping(x, u):
    return x + jnp.stack([u[0] * jnp.cos(x[2]), u[0] * jnp.sin(x[2]), u[1]])


def bearing_cut_at_zero(landmark, x, u):
    distance, bearing = range_and_bearing(landmark, x, u)
    return jnp.stack([distance, bearing % (2 * jnp.pi)])


@pytest.mark.parametrize(
    "filter", [kf.extended(3), kf.unscented(0.5, 2.0, 0.0)], ids=["iterated", "unscented"]
)
def test_it_does_not_matter_where_the_cut_of_the_angles_lies(x64, filter):
    """Compare with the model without wrapping: a real heading, and a bearing cut at zero."""
    c = case("extended", "heading")
    flat = c.params.replace(
        f=drive_without_wrapping,
        h=Partial(bearing_cut_at_zero, c.params.h.args[0]),
        state_space=None,
        observation_space=None,
    )

    @quick_jit
    def estimates(model):
        est = kf.run(filter, model, c.ys, us=c.us, observed=c.observed).outputs
        return est, kf.smooth(filter, model, est, us=c.us)

    wrapped, expected = estimates(c.params), estimates(flat)
    assert max(abs(est.mean[:, 2]).max() for est in wrapped) <= np.pi < expected[0].mean[:, 2].max()
    unwrapped = [
        est._replace(mean=est.mean.at[:, 2].set(est.mean[:, 2] % (2 * np.pi))) for est in wrapped
    ]
    chex.assert_trees_all_close(tuple(unwrapped), expected, rtol=1e-9, atol=1e-11)


def on_the_positive_line():
    """A model of positive numbers: x' = x exp(d), differences are those of logarithms."""
    positive = kf.Space(lambda a, b: jnp.log(a) - jnp.log(b), lambda x, d: x * jnp.exp(d))
    return kf.StateSpaceModel(
        kf.Linear([[0.9]]),
        kf.Linear([[2.0]]),
        Q=[[0.04]],
        R=[[0.09]],
        prior=kf.Gaussian(jnp.array([1.5]), jnp.array([[0.2]])),
        state_space=positive,
        observation_space=positive,
    )


@pytest.mark.parametrize(
    "filter", [kf.kalman(), kf.extended(3), kf.unscented()], ids=["kalman", "iterated", "unscented"]
)
def test_on_a_curved_space_a_linear_function_is_not_linear(x64, filter):
    """The multiplicative model is the additive one of logarithms, whatever the rule, also with
    missing data.
    """
    curved = on_the_positive_line()
    prior = kf.Gaussian(jnp.log(curved.prior.mean), curved.prior.cov)
    flat = kf.StateSpaceModel(
        kf.Linear([[1.0]], b=[np.log(0.9)]),
        kf.Linear([[1.0]], b=[np.log(2.0)]),
        curved.Q,
        curved.R,
        prior,
    )
    ys = np.exp(np.array([[0.3], [0.6], [0.1]]))
    observed = np.array([True, False, True])

    def total(filter, model, ys):
        est = kf.run(filter, model, ys, observed=observed).outputs
        return est.log_likelihood.sum(), est

    gradient, est = quick_jit(jax.grad(functools.partial(total, filter), has_aux=True))(curved, ys)
    slope, expected = quick_jit(jax.grad(functools.partial(total, kf.kalman()), has_aux=True))(
        flat, np.log(ys)
    )
    np.testing.assert_allclose(np.log(est.mean), expected.mean, **tight)
    np.testing.assert_allclose(est.cov, expected.cov, **tight)
    np.testing.assert_allclose(est.log_likelihood, expected.log_likelihood, **tight)
    np.testing.assert_allclose([gradient.Q, gradient.R], [slope.Q, slope.R], rtol=1e-8)


# sharing


def scans(jaxpr):
    """Every scan in a jaxpr, at any depth."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            yield eqn
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from scans(inner)


def carries(fn, *args):
    """Shapes of the carry of the only scan in fn."""
    (eqn,) = scans(jax.make_jaxpr(fn)(*args).jaxpr)
    at = eqn.params["num_consts"]
    return [v.aval.shape for v in eqn.invars[at : at + eqn.params["num_carry"]]]


@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_shares_one_covariance_recursion(masked):
    c = case("kalman")
    ys, observed = np.stack([c.ys] * 5), c.observed if masked else None
    run = lambda y: kf.run(c.filter, c.params, y, observed=observed)  # noqa: E731
    assert sorted(carries(jax.vmap(run), ys)) == [(4, 4), (5, 4)]


def test_a_batch_shares_covariances_on_circles_too():
    angle = {"state_space": kf.angles(0), "observation_space": kf.angles(0)}
    model = kf.linear_gaussian(
        np.eye(2), np.eye(1, 2), np.eye(2), [[0.1]], (np.zeros(2), np.eye(2))
    ).replace(**angle)
    assert sorted(
        carries(jax.vmap(lambda y: kf.run(kf.kalman(), model, y)), np.zeros((5, 3, 1)))
    ) == [(2, 2), (5, 2)]


def test_a_batch_shares_the_covariances_of_the_smoother():
    c = case("kalman")
    ys = np.stack([c.ys] * 5)

    def smoothed(y):
        return kf.smooth(c.filter, c.params, kf.run(c.filter, c.params, y).outputs)

    loops = list(scans(jax.make_jaxpr(jax.vmap(smoothed))(ys).jaxpr))
    assert len(loops) == 2
    for eqn in loops:
        outputs = [v.aval.shape for v in eqn.outvars]
        assert (5, 4) in outputs
        assert not [shape for shape in outputs if shape[-2:] == (4, 4) and 5 in shape]


def test_masks_of_their_own_end_the_sharing():
    c = case("kalman")
    run = lambda o: kf.run(c.filter, c.params, c.ys, observed=o)  # noqa: E731
    assert sorted(carries(jax.vmap(run), np.stack([c.observed] * 5))) == [(5, 4), (5, 4, 4)]


# the iterated extended filter


def cubic(x, u):
    return jnp.stack([x[0] ** 3 + 0.1 * x[1], jnp.sin(x[0] * x[1])])


def saturating(x, u):
    return 4.0 * jnp.arctan(3.0 * x)


def still(x, u):
    return x


def one_update(filter, h, R, mean, cov, y):
    """The mean after one update from a belief, with its cost -2 log p(x | y) + const, and the cost
    itself.
    """
    n = len(mean)
    model = kf.StateSpaceModel(
        still, h, 0.01 * jnp.eye(n), R, kf.Gaussian(jnp.asarray(mean), jnp.asarray(cov))
    )

    def cost(x):
        dx, dy = x - np.asarray(mean), y - np.asarray(h(x, None))
        return dx @ np.linalg.solve(cov, dx) + dy @ np.linalg.solve(R, dy)

    state, _ = update(filter, model, model.prior, y, None, None)
    return np.asarray(state.mean), cost


def test_the_iterated_filter_never_increases_its_cost(x64):
    y, R, mean, cov = (
        np.array([9.0, -0.5]),
        np.diag([0.01, 0.02]),
        np.array([0.2, 0.3]),
        np.array([[1.0, 0.3], [0.3, 2.0]]),
    )
    costs = []
    for iterations in (2, 3, 20):
        x, cost = one_update(kf.extended(iterations), cubic, R, mean, cov, y)
        costs.append(cost(x))
    assert costs[0] < cost(mean)
    assert np.all(np.diff(costs) <= 1e-12 * np.array(costs[:-1]))


def test_the_iterated_filter_converges_where_the_undamped_iteration_diverges(x64):
    """Far out on an arctangent, Gauss-Newton steps overshoot in turn to both sides, and diverge."""
    y, R, mean, cov = np.array([0.0]), np.array([[0.01]]), np.array([2.0]), np.array([[25.0]])
    x = np.array(mean)
    for _ in range(8):
        J = np.diag(12.0 / (1 + 9 * x**2))
        K = cov @ J.T @ np.linalg.inv(J @ cov @ J.T + R)
        x = mean + K @ (y - 4 * np.arctan(3 * x) - J @ (mean - x))
    found, cost = one_update(kf.extended(12), saturating, R, mean, cov, y)
    best = scipy.optimize.minimize_scalar(
        lambda v: cost(np.array([v])), bounds=(-3, 3), options={"xatol": 1e-12}
    )
    assert cost(x) > cost(mean)
    np.testing.assert_allclose(found, best.x, atol=1e-6)


def test_the_iterated_filter_finds_the_most_probable_state(x64):
    y, R, mean, cov = (
        np.array([1.4, 0.3]),
        np.diag([0.05, 0.02]),
        np.array([0.8, 0.3]),
        np.array([[0.3, 0.1], [0.1, 0.2]]),
    )
    found, cost = one_update(kf.extended(30), cubic, R, mean, cov, y)
    best = scipy.optimize.minimize(
        cost, mean, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14}
    )
    np.testing.assert_allclose(found, best.x, atol=1e-6)
    assert cost(found) <= best.fun + 1e-12


def test_the_covariance_of_the_iterated_filter_is_taken_at_the_mode(x64):
    y, R, mean, cov = (
        np.array([1.4, 0.3]),
        np.diag([0.05, 0.02]),
        np.array([0.8, 0.3]),
        np.array([[0.3, 0.1], [0.1, 0.2]]),
    )
    model = kf.StateSpaceModel(still, cubic, 0.01 * np.eye(2), R, (mean, cov))
    state, _ = update(kf.extended(30), model, model.prior, y, None, None)
    J = np.asarray(jax.jacfwd(lambda x: cubic(x, None))(state.mean))
    np.testing.assert_allclose(
        state.cov, np.linalg.inv(np.linalg.inv(cov) + J.T @ np.linalg.inv(R) @ J), rtol=1e-9
    )


def test_named_filters_have_the_default_rules_of_their_names():
    rules = {
        "kalman": moments.Taylor(),
        "extended": moments.Taylor(),
        "unscented": moments.Unscented(),
        "cubature": moments.Cubature(),
        "gauss_hermite": moments.GaussHermite(),
    }
    for name, rule in rules.items():
        assert getattr(kf, name)().rule == by_name(name).rule == rule
    assert kf.gauss_hermite(2).rule == moments.GaussHermite(2)
    assert by_name("iterated_extended") == kf.extended(iterations=3)


def test_one_iteration_is_the_plain_extended_filter():
    assert kf.extended(1) == kf.extended()
    assert kf.extended(2) != kf.extended()
    assert kf.extended(2) == kf.extended(iterations=2)
