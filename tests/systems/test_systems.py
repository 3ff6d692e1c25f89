"""Systems: discretisations against scipy, constants, and error texts. Lorenz has its own file."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad_vec
from scipy.linalg import expm
from support.compiling import quick_jit
from support.flows import evolve, exact_flow, path

import kfjax as kf

SYSTEMS = kf.systems.names()


def integrators(order):
    """Drift of a chain of integrators, and the diffusion of unit noise into the last."""
    return np.eye(order, k=1), np.diag(np.eye(order)[-1])


@functools.partial(quick_jit, static_argnums=1)
def simulated_and_filtered(model, steps, us):
    xs, ys = kf.simulate(jax.random.key(1), model, steps, us=us)
    return xs, ys, kf.run(kf.unscented(), model, ys, us=us).outputs


def first(us):
    return jax.tree.map(lambda a: a[0], us)


# every system, with its defaults


@pytest.mark.parametrize("name", SYSTEMS)
def test_defaults_simulate_and_filter_in_float32(name):
    model, us = kf.systems.get(name)(), kf.systems.example_inputs(name, steps=12)
    xs, ys, est = simulated_and_filtered(model, 12, us)
    assert {leaf.dtype for leaf in jax.tree.leaves((model, xs, ys, est))} == {jnp.dtype("float32")}
    assert xs.shape == (12, model.n)
    assert all(np.isfinite(leaf).all() for leaf in (xs, ys, *est))
    assert np.linalg.eigvalsh(est.cov).min() > 0


@pytest.mark.parametrize("name", SYSTEMS)
def test_models_built_alike_share_a_compilation_and_use_the_widest_precision(name, x64):
    build = kf.systems.get(name)
    model, u = build(), first(kf.systems.example_inputs(name, steps=1))
    assert jax.tree.structure(model) == jax.tree.structure(build())
    assert model.dtype == jnp.float64
    x, y = (jax.eval_shape(fn, model.prior.mean, u) for fn in (model.f, model.h))
    R = jax.eval_shape(model.observation_noise, model.prior.mean, u)
    assert (x.shape, y.shape) == ((model.n,), R.shape[:1])
    assert x.dtype == y.dtype == jnp.float64


@pytest.mark.parametrize("name", ["bearing_range", "bearings_only", "range_only", "lorenz"])
def test_derivatives_are_finite_where_a_direction_is_not_defined(name):
    model = kf.systems.get(name)(**({"observation": "spherical"} if name == "lorenz" else {}))
    u = jax.tree.map(jnp.zeros_like, first(kf.systems.example_inputs(name, steps=1)))
    for derivative in (lambda fn: fn, jax.jacfwd, jax.jacrev):
        assert np.isfinite(quick_jit(derivative(model.h))(jnp.zeros(model.n), u)).all()


# linear systems


def test_canonical_matrices():
    inverse = kf.systems.canonical(5, form="inverse_canonical")
    F = np.eye(5)
    F[0] = 1
    np.testing.assert_array_equal(inverse.f.A, F)
    np.testing.assert_array_equal(inverse.h.A[0], np.ones(5))
    np.testing.assert_array_equal(inverse.h.A[1:], np.eye(5)[::-1][1:])
    np.testing.assert_array_equal(kf.systems.canonical(5, 2).h.A, np.eye(5)[:2])
    np.testing.assert_array_equal(kf.systems.canonical(5, 2, "canonical").h.A, F[:2])
    np.testing.assert_allclose(
        kf.systems.canonical(2, q_std=[1.0, 2.0], r_std=3.0).Q, np.diag([1.0, 4.0])
    )


def test_rotations(x64):
    c, s = np.cos(np.pi / 18), np.sin(np.pi / 18)
    R, F = np.array([[c, -s], [s, c]]), np.array([[1.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(kf.systems.rotate(F, 10.0, order="left"), R @ F, rtol=1e-14)
    np.testing.assert_allclose(kf.systems.rotate(F, 10.0, order="right"), F @ R, rtol=1e-14)
    turned = kf.systems.roll_pitch_yaw(90.0, 90.0, 90.0) @ np.eye(3)
    np.testing.assert_allclose(
        turned, [[0, 0, 1], [0, 1, 0], [-1, 0, 0]], atol=1e-15
    )  # x -> -z, y -> y, z -> x
    single = [
        kf.systems.roll_pitch_yaw(*angles)
        for angles in ((9.0, 0.0, 0.0), (0.0, 9.0, 0.0), (0.0, 0.0, 9.0))
    ]
    for axis, matrix in enumerate(single):  # each turns the next axis towards the one after
        a, b = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
        np.testing.assert_allclose(
            matrix @ a, np.cos(np.pi / 20) * a + np.sin(np.pi / 20) * b, atol=1e-15
        )
    np.testing.assert_allclose(
        kf.systems.lorenz(observation="rotated", rotation_degrees=9.0).h.A,
        single[2] @ single[1] @ single[0],
        atol=1e-15,
    )


# kinematics


@pytest.mark.parametrize(
    ("build", "order"), [("constant_velocity", 2), ("constant_acceleration", 3)]
)
def test_integrators_are_discretised_exactly(x64, build, order):
    dt, density, (A, D) = 0.37, 1.69, integrators(order)
    model = kf.systems.get(build)(2, dt=dt, q_density=density)
    Q, _ = quad_vec(lambda s: expm(A * s) @ D @ expm(A * s).T, 0, dt)
    np.testing.assert_allclose(model.f.A, np.kron(np.eye(2), expm(A * dt)), rtol=1e-13)
    np.testing.assert_allclose(model.Q, np.kron(np.eye(2), density * Q), rtol=1e-12, atol=1e-16)
    van_loan = quick_jit(kf.van_loan)(np.kron(np.eye(2), A), density * np.kron(np.eye(2), D), dt)
    np.testing.assert_allclose(van_loan.F, model.f.A, rtol=1e-13)
    np.testing.assert_allclose(van_loan.Q, model.Q, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize(
    "build", ["constant_velocity", "constant_acceleration", "wiener_velocity", "coordinated_turn"]
)
def test_steps_from_the_inputs_equal_fixed_ones(x64, build):
    fixed, free = kf.systems.get(build)(dt=0.4), kf.systems.get(build)(dt=None)
    x = jnp.linspace(1.0, 2.0, fixed.n)
    for u in (jnp.asarray(0.4), {"dt": jnp.asarray(0.4)}):
        np.testing.assert_allclose(free.f(x, u), fixed.f(x, None), rtol=1e-14)
        np.testing.assert_allclose(free.process_noise(x, u), fixed.Q, rtol=1e-14)


def test_two_irregular_steps_are_one_long_one(x64):
    """Semigroup: F(a + b) = F(b) F(a), Q(a + b) = F(b) Q(a) F(b)' + Q(b)."""
    a, b, both = (kf.systems.constant_acceleration(dt=dt) for dt in (0.3, 1.1, 1.4))
    F = np.asarray(b.f.A)
    np.testing.assert_allclose(F @ a.f.A, both.f.A, rtol=1e-14)
    np.testing.assert_allclose(F @ a.Q @ F.T + b.Q, both.Q, rtol=1e-13)


def test_what_is_measured():
    e = np.eye(6)
    for measure, rows in (("position", [0, 3]), ("velocity", [1, 4]), ("acceleration", [2, 5])):
        np.testing.assert_array_equal(
            kf.systems.constant_acceleration(2, measure=measure).h.A, e[rows]
        )


@pytest.mark.parametrize("w", [0.0, 1e-6, -0.3])
def test_coordinated_turn_is_exact(x64, w):
    x, model = np.array([1.0, 3.0, -2.0, 0.5, w]), kf.systems.coordinated_turn(dt=0.8)
    exact = exact_flow(lambda _, z: [z[1], -z[4] * z[3], z[3], z[4] * z[1], 0.0], x, 0.8)
    np.testing.assert_allclose(evolve(model, x), exact, rtol=1e-10, atol=1e-12)
    step, jacobian = 1e-4, quick_jit(jax.jacfwd(model.f))(jnp.asarray(x), None)
    slopes = [
        (evolve(model, x + step * e) - evolve(model, x - step * e)) / (2 * step) for e in np.eye(5)
    ]
    np.testing.assert_allclose(jacobian, np.transpose(slopes), atol=1e-7)


# the toy model and the pendulum


def test_toy_constants(x64):
    full, partial = (kf.systems.TOY_TABLE_II[name] for name in ("full", "partial"))
    np.testing.assert_allclose(full, [0.9, 1.1, 0.1 * np.pi, 0.01, 1, 1, 0])
    np.testing.assert_allclose(partial, [1, 1, 0, 0, 1, 1, 0])
    x, model = np.array([0.3, -2.0]), kf.systems.toy()
    np.testing.assert_allclose(
        evolve(model, x), 0.9 * np.sin(1.1 * x + 0.1 * np.pi) + 0.01, rtol=1e-14
    )
    other = kf.systems.toy(full._replace(a=2.0, b=3.0, c=1.0))
    np.testing.assert_allclose(other.h(jnp.asarray(x), None), 2 * (3 * x + 1) ** 2, rtol=1e-14)
    assert (
        jax.grad(lambda m: m.f(jnp.asarray(x), None).sum())(model).f.args[0][3] == 2
    )  # delta is a leaf


@pytest.mark.parametrize("damping", [0.0, 0.7])
def test_pendulum_swings(x64, damping):
    x, model = np.array([2.0, -1.0]), kf.systems.pendulum(dt=0.01, length=0.8, damping=damping)
    exact = exact_flow(lambda _, z: [z[1], -9.81 / 0.8 * np.sin(z[0]) - damping * z[1]], x, 0.01)
    np.testing.assert_allclose(evolve(model, x), exact, atol=1e-8)
    np.testing.assert_allclose(model.h(jnp.asarray(x), None), [0.8 * np.sin(2.0)], rtol=1e-14)
    angle = kf.systems.pendulum(observation="angle")
    np.testing.assert_allclose(
        angle.observation_space.difference(jnp.array([3.1]), jnp.array([-3.1])), [6.2 - 2 * np.pi]
    )


# tracking


def test_bearings_and_ranges(x64):
    x = jnp.array([5.0, 1.0, -2.0, 1.0])
    radar = kf.systems.bearing_range(sensor=(2.0, 2.0), range_std=3.0, bearing_std=0.1)
    np.testing.assert_allclose(radar.h(x, None), [5, np.arctan2(-4, 3)], rtol=1e-14)
    np.testing.assert_allclose(radar.R, np.diag([9, 0.01]), rtol=1e-14)
    gap = radar.observation_space.difference(jnp.array([1.0, 3.0]), jnp.array([3.0, -3.0]))
    np.testing.assert_allclose(gap, [-2, 6 - 2 * np.pi], rtol=1e-14)
    finders = kf.systems.bearings_only(sensors=[[2.0, 2.0], [5.0, 0.0], [5.0, -5.0]])
    np.testing.assert_allclose(
        finders.h(x, None), [np.arctan2(-4, 3), -np.pi / 2, np.pi / 2], rtol=1e-14
    )
    assert finders.R.shape == (3, 3)
    u = {"anchors": jnp.array([[2.0, 2.0], [5.0, 10.0]]), "dt": jnp.asarray(0.5)}
    two = kf.systems.range_only(ranges=2)
    np.testing.assert_allclose(two.h(x, u), [5, 12], rtol=1e-14)
    np.testing.assert_allclose(two.f(x, u), [5.5, 1, -1.5, 1], rtol=1e-14)


# the tutorial


def test_tutorial_truths(x64):
    line = kf.systems.noise_free(kf.systems.tutorial_line(), [0.0, 0.5])
    xs, _ = kf.simulate(jax.random.key(0), line, steps=50)
    np.testing.assert_allclose(xs, np.stack([0.5 * np.arange(1, 51), np.full(50, 0.5)], axis=1))
    xs = path(kf.systems.tutorial_helix(), 100)
    angle = 0.1 * np.arange(1, 101)
    helix = np.stack([20 * np.cos(angle), 20 * np.sin(angle), 0.5 * np.arange(1, 101)], axis=1)
    np.testing.assert_allclose(xs[:, :3], helix, atol=1e-11)


def test_tutorial_helix_as_published(x64):
    model = kf.systems.tutorial_helix(("frozen_turn", "no_climb", "start"))
    F = np.eye(4)
    F[:2, 3] = -20 * np.sin(0.1), 20 * np.cos(0.1)
    np.testing.assert_allclose(model.f.A, F, rtol=1e-14)
    np.testing.assert_array_equal(model.h.A, np.eye(4)[:3])
    np.testing.assert_allclose(model.prior.mean, [0, 20, 0, 0.1])
    np.testing.assert_allclose(model.Q, 0.1 * np.eye(4))
    one_fault = kf.systems.tutorial_helix("no_climb")
    np.testing.assert_allclose(evolve(one_fault, [20, 0, 3, 0.1])[2:], [3, 0.1])


def test_tutorial_climb_with_and_without_its_faults(x64):
    us = kf.systems.example_inputs("tutorial_climb", steps=100)
    published, right = (
        kf.systems.tutorial_climb(faults) for faults in (("euler", "shared_rate"), ())
    )
    radius = {}
    for name, model in (("published", published), ("right", right)):
        xs = path(model, 100, us)
        radius[name] = np.hypot(xs[-1, 0], xs[-1, 1])
        z = {"published": 0.5 * 100, "right": 0.1 * 100 + 0.01 * 100**2 / 2}[name]
        np.testing.assert_allclose(xs[-1, 2:], [z, 0.5, 1.1], rtol=1e-12)
    assert radius["published"] == pytest.approx(1.4e6, rel=0.01)
    assert radius["right"] == pytest.approx(20)
    np.testing.assert_allclose(published.R, 0.5 * np.eye(3), rtol=1e-14)


# bad input


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda s: s.get("lorentz"), "'lorentz'.*Did you mean 'lorenz'"),
        (lambda s: s.example_inputs("lorenz", 0), "steps is 0; expected a whole number"),
        (lambda s: s.canonical(2, 3), "m is 3 and n is 2"),
        (lambda s: s.canonical(form="invers_canonical"), "Did you mean 'inverse_canonical'"),
        (
            lambda s: s.canonical(q_std=[1.0, 2.0, 3.0]),
            "q_std has shape \\(3,\\); expected one standard deviation, or 2",
        ),
        (
            lambda s: s.canonical(r_std=-1.0),
            "r_std is -1.0; expected a finite number",
        ),
        (lambda s: s.rotate(np.eye(2), 10.0, order="rigth"), "Did you mean 'right'"),
        (lambda s: s.rotate(np.ones(2), 10.0), "matrix has shape \\(2,\\)"),
        (lambda s: s.constant_velocity(0), "dimensions is 0"),
        (lambda s: s.constant_velocity(dt=0.0), "dt is 0.0; expected a finite number above 0"),
        (
            lambda s: s.constant_velocity(measure="acceleration"),
            "measure is 'acceleration'; expected one of position",
        ),
        (
            lambda s: s.constant_velocity(dt=None).f(jnp.zeros(2), None),
            "reads dt from u: got none.*kf.time_steps",
        ),
        (lambda s: s.constant_velocity(dt=None).f(jnp.zeros(2), jnp.ones(3)), "got shape \\(3,\\)"),
        (
            lambda s: s.constant_velocity(2, q_density=[1.0, 2.0]),
            "q_density has shape \\(2,\\); expected a number",
        ),
        (lambda s: s.toy("ful"), "Did you mean 'full'"),
        (lambda s: s.lorenz(observation="sperical"), "Did you mean 'spherical'"),
        (
            lambda s: s.lorenz(integrator="euler"),
            "integrator is 'euler'; expected one of rk4, taylor",
        ),
        (lambda s: s.lorenz(taylor_order=0), "taylor_order is 0"),
        (lambda s: s.lorenz(substeps=1.5), "substeps is 1.5"),
        (lambda s: s.lorenz(integrator="rk4", taylor_order=3), "expected them for 'taylor' only"),
        (lambda s: s.lorenz(rotation_degrees=3.0), "expected it for 'rotated' only"),
        (lambda s: s.decimated_lorenz(dense_dt=0.3e-1), "expected dt to be a multiple"),
        (lambda s: s.pendulum(length=0.0), "length is 0.0"),
        (
            lambda s: s.bearings_only(sensors=[0.0, 1.0]),
            "sensors has shape \\(2,\\); expected \\[m, 2\\]",
        ),
        (lambda s: s.bearing_range(sensor=[0.0, 1.0, 2.0]), "expected \\[2\\]"),
        (lambda s: s.range_only().h(jnp.zeros(4), None), "expected a dict of 'anchors' \\[m, 2\\]"),
        (lambda s: s.tutorial_helix("strat"), "Did you mean 'start'"),
        (lambda s: s.tutorial_climb().f(jnp.zeros(5), None), "expected \\[2\\], \\(dt, alpha\\)"),
        (lambda s: s.known(1.0), "x0 has shape"),
    ],
)
def test_bad_input(call, text):
    with pytest.raises(ValueError, match=text):
        call(kf.systems)
