"""Observations without noise: what they determine is known to rounding, and nothing else is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import exact
from support.compiling import quick_jit
from support.table import FILTERS as TABLE

import kfjax as kf
from kfjax.moments.rounding import hidden_variances

N, M, STEPS = 3, 2, 6
FILTERS = {
    "kalman": kf.kalman(),
    "square_root": kf.square_root(kf.moments.Taylor()),
    "iterated": kf.extended(3),
    "unscented": kf.unscented(),
}
every_filter = pytest.mark.parametrize("name", FILTERS)


def steps(filter, model, ys):
    """The estimates and the Info of every step."""
    return kf.run(filter, model, np.asarray(ys), emit=kf.estimate_and_info).outputs


def scalar(H=((1.0,),), P0=1.0, Q=0.0, R=None, mean=0.0):
    """A constant, or a random walk, that is seen without noise."""
    m = len(H)
    R = np.zeros((m, m)) if R is None else R
    return kf.linear_gaussian([[1.0]], H, [[Q]], R, kf.Gaussian(np.array([mean]), [[P0]]))


def normal(y, variance):
    return -0.5 * (y**2 / variance + np.log(2 * np.pi * variance))


both_precisions = pytest.mark.parametrize("precise", [True, False], ids=["float64", "float32"])


@every_filter
@pytest.mark.parametrize("unit", [2.0**-40, 2.0**40])
def test_what_is_determined_does_not_depend_on_units(name, unit, x64):
    """Powers of two change no digit."""
    results = []
    for c in (1.0, unit):
        model = scalar(H=[[1.0], [2.0]], P0=c**2, Q=c**2)
        est, info = steps(FILTERS[name], model, [[c, 2 * c]])
        results.append((est.mean / c, est.cov / c**2, info.nis, info.dof))
    for plain, scaled in zip(*results, strict=True):
        np.testing.assert_allclose(scaled, plain, rtol=1e-12)


def test_the_square_root_form_keeps_noise_that_is_lost_in_a_sum(x64):
    """Two precise sensors of one state differ by their noise alone: the density of the pair."""
    r, ys = 1e-20, np.array([0.5, 0.5 + 3e-10])
    est, info = steps(FILTERS["square_root"], scalar(H=[[1.0], [1.0]], R=r * np.eye(2)), ys[None])
    nis = np.diff(ys)[0] ** 2 / (2 * r) + ys.sum() ** 2 / (2 * (2 + r))
    score = -0.5 * (nis + np.log(r * (2 + r)) + 2 * np.log(2 * np.pi))
    np.testing.assert_allclose(info.log_likelihood, [score], rtol=1e-6)
    np.testing.assert_allclose(est.cov, [[[r / 2]]], rtol=1e-6)
    assert info.dof.tolist() == [2]


@both_precisions
@every_filter
def test_a_redundant_channel_counts_once_and_an_impossible_one_is_impossible(name, precise):
    with jax.enable_x64(precise):
        model, chosen = scalar(H=[[1.0], [2.0]], Q=1.0), FILTERS[name]
        (est, info) = steps(chosen, model, [[1.0, 2.0]])
        np.testing.assert_allclose(info.log_likelihood, [normal(1.0, 2.0)], rtol=1e-6)
        np.testing.assert_allclose(info.nis, [0.5], rtol=1e-6)
        np.testing.assert_allclose(est.mean, [[1.0]], rtol=1e-6)
        assert info.dof.tolist() == [1]
        assert est.cov.tolist() == [[[0.0]]]
        (est, info) = steps(chosen, model, [[1.0, 9.0]])
        assert info.log_likelihood.tolist() == [-np.inf]
        assert info.nis.tolist() == [np.inf]
        np.testing.assert_allclose(est.mean, [[1.0]], rtol=1e-6)


@both_precisions
@every_filter
def test_a_dead_channel_costs_nothing_and_must_read_zero(name, precise):
    with jax.enable_x64(precise):
        model = scalar(H=[[0.0], [1.0]], R=np.diag([0.0, 1.0]))
        _, info = steps(FILTERS[name], model, [[0.0, 1.0], [0.5, 1.0]])
        np.testing.assert_allclose(info.log_likelihood[0], normal(1.0, 2.0), rtol=1e-6)
        assert info.log_likelihood[1] == -np.inf
        assert info.dof.tolist() == [1, 1]


@both_precisions
@every_filter
def test_noise_that_channels_share_does_not_keep_one_from_being_determined(name, precise):
    """Three channels of noise of rank one, of a state with a variance of rank one."""
    with jax.enable_x64(precise):
        H = np.array([[-0.5, 0.0], [1.0, -1.0], [1.0, 0.0]])
        of_state, of_noise = np.array([2.0, 1.0]) / 4, np.array([-2.0, 3.0, 1.0]) / 4
        prior = kf.Gaussian(np.zeros(2), np.outer(of_state, of_state))
        model = kf.linear_gaussian(
            np.eye(2), H, np.zeros((2, 2)), np.outer(of_noise, of_noise), prior, first="update"
        )
        ys = np.array([2 * H @ of_state - 3 * of_noise])
        expected = exact_score(np.column_stack([H @ of_state, of_noise])[:2], ys[0, :2])
        _, info = steps(FILTERS[name], model, ys)
        assert info.dof.tolist() == [2]
        np.testing.assert_allclose(info.log_likelihood, [expected], rtol=2e-5)


@every_filter
def test_noise_below_the_rounding_of_a_prediction_still_counts(x64, name):
    """The second channel has a variance of 1e-20, which is lost in a sum with one of 1."""
    model = scalar(H=[[1.0], [1.0]], R=np.diag([0.0, 1e-20]))
    _, info = steps(FILTERS[name], model, [[0.5, 0.5 + 3e-10]])
    expected = normal(0.5, 1.0) + normal(3e-10, 1e-20)
    assert info.dof.tolist() == [2]
    np.testing.assert_allclose(info.nis, [0.5**2 + 9], rtol=1e-5)
    np.testing.assert_allclose(info.log_likelihood, [expected], rtol=1e-5)


def exact_score(root, y):
    """The log density of y ~ N(0, root root')."""
    z = np.linalg.solve(root, y)
    return -0.5 * z @ z - np.log(2 * np.pi * abs(np.linalg.det(root)))


@both_precisions
@every_filter
def test_a_constant_is_known_after_one_reading(name, precise):
    with jax.enable_x64(precise):
        est, info = steps(FILTERS[name], scalar(P0=3.0), np.full((4, 1), 1.1))
        np.testing.assert_allclose(info.log_likelihood[0], normal(1.1, 3.0), rtol=1e-6)
        assert info.log_likelihood[1:].tolist() == [0.0, 0.0, 0.0]
        assert info.dof.tolist() == [1, 0, 0, 0]
        assert est.cov.ravel().tolist() == [0.0] * 4


@both_precisions
def test_a_gate_lets_nothing_impossible_pass(precise):
    with jax.enable_x64(precise):
        model = scalar(H=[[1.0], [2.0]], Q=1.0)
        _, info = steps(kf.gated(kf.kalman()), model, [[1.0, 9.0], [1.0, 2.0]])
        assert info.extra["accepted"].tolist() == [0, 1]


@both_precisions
def test_a_member_that_calls_the_reading_impossible_has_no_weight(precise):
    with jax.enable_x64(precise):
        known = scalar(P0=0.0, mean=3.0)
        noisy = scalar(P0=0.0, mean=3.0, R=[[1.0]])
        params = kf.IMMParams((known, noisy), [[0.5, 0.5], [0.5, 0.5]], [0.5, 0.5])
        final, (_, info) = kf.run(
            kf.imm((kf.kalman(), kf.kalman())), params, [[7.0]], emit=kf.estimate_and_info
        )
        assert final.weights.tolist() == [0.0, 1.0]
        np.testing.assert_allclose(info.log_likelihood, [np.log(0.5) + normal(4.0, 1.0)], rtol=1e-6)


@both_precisions
def test_sensors_without_noise_are_conditioned_on_one_after_another(precise):
    with jax.enable_x64(precise):
        sensors = {
            "a": kf.Sensor(kf.Linear([[1.0]]), [[0.0]]),
            "b": kf.Sensor(kf.Linear([[2.0]]), [[0.0]]),
        }
        params = kf.Sensors(kf.Linear([[1.0]]), [[0.0]], kf.Gaussian([0.0], [[1.0]]), sensors)
        ys = {"a": jnp.array([[1.0]]), "b": jnp.array([[9.0]])}
        est, info = kf.run(
            kf.sequential(kf.kalman()), params, ys, emit=kf.estimate_and_info
        ).outputs
        np.testing.assert_allclose(est.mean, [[1.0]], rtol=1e-6)
        assert info.log_likelihood.tolist() == [-np.inf]
        guarded = kf.sequential(kf.gated(kf.kalman()))
        _, info = kf.run(guarded, params, ys, emit=kf.estimate_and_info).outputs
        assert info.extra["accepted"].tolist() == [0.5]


# filters whose innovation has a density where R is singular; those of particles have none. The
# model here has no inputs, of which `delayed` needs one
UNSCORED = ("net", "gain", "recur", "sequence", "danse", "delayed", "forward")
SCORED = [
    name
    for name, row in TABLE.items()
    if not row.draws and not any(word in name for word in UNSCORED)
]
OF_TWO_STATES = {"exact_diffuse": kf.exact_diffuse(kf.kalman(), (0,))}


def moving(H, R):
    """A body whose position is seen without noise, with additional rows of H and R."""
    prior = kf.Gaussian(np.array([0.1, 0.2]), np.array([[1.0, 0.3], [0.3, 2.0]]))
    Q = np.array([[0.05, 0.02], [0.02, 0.1]])
    return kf.linear_gaussian([[1.0, 0.5], [0.0, 1.0]], H, Q, np.diag(R), prior)


@pytest.mark.parametrize("name", SCORED)
def test_a_redundant_channel_changes_nothing_in_any_filter(x64, name):
    row = TABLE[name]
    estimator = OF_TWO_STATES.get(name, row.filter)
    ys = np.array([[0.3, 0.1], [0.5, -0.4], [0.2, 0.3]])
    doubled = np.column_stack([ys, 2 * ys[:, 0]])
    params = row.params(moving([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.3]))
    more = row.params(moving([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]], [0.0, 0.3, 0.0]))
    plain, plain_info = steps(estimator, params, ys)
    est, info = steps(estimator, more, doubled)
    np.testing.assert_allclose(est.mean, plain.mean, atol=1e-12)
    np.testing.assert_allclose(est.cov, plain.cov, atol=1e-12)
    np.testing.assert_allclose(info.log_likelihood, plain_info.log_likelihood, atol=1e-12)
    assert info.dof.tolist() == plain_info.dof.tolist()
    doubled[-1, 2] += 1
    _, info = steps(estimator, more, doubled)
    assert info.log_likelihood[-1] == -np.inf


def draw(seed):
    """A model of small binary fractions, singular in every way, and data that it can explain."""
    rng = np.random.default_rng(seed)
    F = rng.integers(-2, 3, (N, N)) / 2
    H = rng.integers(-2, 3, (M, N)).astype(float)
    if seed % 3 == 0:
        H[1] = 2 * H[0]
    G = rng.integers(-1, 2, (N, N)) * (rng.random(N) < 0.4)
    L = rng.integers(-1, 2, (N, N)) * (rng.random(N) < 0.7)
    noise = rng.integers(0, 2, M) * (rng.random() < 0.5)
    x = L @ rng.integers(-2, 3, N)
    ys = []
    for _ in range(STEPS):
        x = F @ x + G @ rng.integers(-2, 3, N)
        ys.append(H @ x + noise * rng.integers(-2, 3, M))
    return (F, H, G @ G.T, np.diag(noise.astype(float)), np.zeros(N), L @ L.T), np.array(ys)


def assert_as_exact(filter, seed, *, rtol):
    (F, H, Q, R, mean, cov), ys = draw(seed)
    model = kf.StateSpaceModel(
        kf.Linear(F), kf.Linear(H), Q, R, kf.Gaussian(mean, cov), noise_free=True
    )
    est, info = steps(filter, model, ys)
    means, covs, scores, ranks = exact.kalman(F, H, Q, R, mean, cov, ys)
    assert info.dof.tolist() == ranks.tolist(), seed
    np.testing.assert_allclose(info.log_likelihood, scores, rtol=rtol, atol=rtol, err_msg=seed)
    size = 1 + np.abs(ys).max()
    np.testing.assert_allclose(est.mean, means, atol=rtol * size, err_msg=str(seed))
    np.testing.assert_allclose(est.cov, covs, atol=rtol * size, err_msg=str(seed))


@pytest.mark.parametrize("name", ["kalman", "square_root"])
def test_singular_models_agree_with_rational_arithmetic(x64, name):
    for seed in range(60):
        assert_as_exact(FILTERS[name], seed, rtol=1e-7)


def rotated(seed):
    """A singular model in other coordinates, in which it is singular to rounding only.

    Returns the matrices with the observations, and the true results, in these coordinates.
    """
    rng = np.random.default_rng(seed)
    F = rng.integers(-2, 3, (N, N)) / 2
    H = rng.integers(-2, 3, (M, N)).astype(float)
    G = rng.integers(-1, 2, (N, N)) * (rng.random(N) < 0.4)
    L = rng.integers(-1, 2, (N, N)) * (rng.random(N) < 0.7)
    x, ys = L @ rng.integers(-2, 3, N), []
    for _ in range(2 * STEPS):
        x = F @ x + G @ rng.integers(-2, 3, N)
        ys.append(H @ x)
    T = np.linalg.qr(rng.normal(size=(N, N)))[0]
    means, covs, scores, ranks = exact.kalman(
        F, H, G @ G.T, np.zeros((M, M)), np.zeros(N), L @ L.T, np.array(ys)
    )
    turned = (T @ F @ T.T, H @ T.T, T @ G @ G.T @ T.T, T @ L @ L.T @ T.T, np.array(ys))
    return turned, (means @ T.T, T @ covs @ T.T, scores, ranks)


def of_matrices(filter, F, H, Q, P, ys):
    """The results of a filter for a model without noise in its observations."""
    prior = kf.Gaussian(jnp.zeros(N), kf.linalg.symmetric(P))
    noise = kf.linalg.symmetric(Q), jnp.zeros((M, M))
    model = kf.StateSpaceModel(kf.Linear(F), kf.Linear(H), *noise, prior, noise_free=True)
    return kf.run(filter, model, ys, emit=kf.estimate_and_info).outputs


# With the later seeds, states grow a thousandfold, or are zero after larger ones. There the
# covariance form is at its limit, and its result depends on how it is compiled. So it is with 60
# digits: of seed 296, the rounding of the given matrices is a variance of 1e-16 of the terms in the
# direction that is known, and F makes it four times as large in every step, since an observation
# that is determined has no gain. After four steps it is more than rounding hides (5e-15).
ROTATED = {"kalman": [*range(40)], "square_root": [*range(40), 101, 142, 296, 315, 418]}


@pytest.mark.parametrize("name", ROTATED)
def test_rotated_singular_models_agree_with_rational_arithmetic(x64, name):
    seeds = ROTATED[name]
    arrays, expected = zip(*map(rotated, seeds), strict=True)
    arrays = [np.stack(part) for part in zip(*arrays, strict=True)]
    found = quick_jit(jax.vmap(functools.partial(of_matrices, FILTERS[name])))(*arrays)
    size = 1 + np.abs(arrays[-1]).max((1, 2))
    for index, (means, covs, scores, ranks) in enumerate(expected):
        est, info = jax.tree.map(lambda a: a[index], found)
        scale = size[index] + np.abs(means).max()
        np.testing.assert_allclose(est.mean, means, atol=1e-9 * scale, err_msg=seeds[index])
        np.testing.assert_allclose(est.cov, covs, atol=1e-9 * (1 + covs.max()))
        np.testing.assert_array_equal(info.dof, ranks, seeds[index])
        np.testing.assert_allclose(info.log_likelihood, scores, rtol=1e-6, atol=1e-6)


def shared_noise(rng):
    """Two channels with one noise v, y = H x + l v: l_2 y_1 - l_1 y_2 is a multiple of x_1."""
    loading = rng.integers(1, 8, 2) / 4 * rng.choice([-1, 1], 2)
    H = np.outer(loading, rng.integers(1, 4, N) / 4)
    H[:, 0] += [1, 0]
    root = np.tril(rng.integers(1, 5, (N, N)) / 4)
    ys = H @ root @ rng.integers(-4, 5, N) / 4 + rng.integers(-4, 5, (3, 1)) / 4 * loading
    return H, np.outer(loading, loading), root @ root.T, ys


@both_precisions
def test_a_state_is_known_where_the_noise_that_channels_share_cancels(precise):
    """To the bit, for 50 models: one channel is left to learn from at later steps."""
    with jax.enable_x64(precise):
        rng = np.random.default_rng(0)
        records = [map(jnp.asarray, shared_noise(rng)) for _ in range(50)]
        H, R, P, ys = map(jnp.stack, zip(*records, strict=True))
        still = kf.linear_gaussian(np.eye(N), H[0], 0 * P[0], R[0], kf.Gaussian(0 * P[0, 0], P[0]))

        def one(H, R, P, ys):
            prior = kf.Gaussian(still.prior.mean, P)
            model = still.replace(h=kf.Linear(H), R=R, prior=prior)
            return kf.run(kf.kalman(), model, ys, emit=kf.estimate_and_info).outputs

        est, info = quick_jit(jax.vmap(one))(H, R, P, ys)
        assert not est.cov[:, :, 0].any()
        np.testing.assert_array_equal(info.dof, np.tile([2, 1, 1], (50, 1)))
        assert np.isfinite(info.log_likelihood).all()


@pytest.mark.parametrize("inner", [kf.kalman(), kf.gated(kf.kalman())], ids=str)
def test_guards_take_what_confirms_a_state_that_is_known(inner):
    constant = kf.linear_gaussian(
        [[1.0]], [[1.0]], [[0.0]], [[0.0]], kf.Gaussian(jnp.zeros(1), 3 * jnp.eye(1))
    )
    guarded = kf.fallback(inner, patience=2)
    ys = jnp.full((6, 1), 1.1)
    final, (est, info) = kf.run(guarded, constant, ys, emit=kf.estimate_and_info)
    assert final.resets.item() == 0
    assert info.extra["accepted"].tolist() == [1] * 6
    np.testing.assert_allclose(est.mean, ys, rtol=1e-6)


def test_a_noise_of_zero_inside_a_trace_is_one(x64):
    """A batch of models over R, one of them without noise; and axes that fit either."""
    model = scalar(P0=3.0, R=[[1.0]])
    ys = np.full((4, 1), 1.1)
    scores = jax.vmap(
        lambda r: kf.run(kf.kalman(), model.replace(R=r[None, None]), ys).outputs.log_likelihood
    )(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(scores[0], [normal(1.1, 3.0), 0, 0, 0], atol=1e-12)
    for one in (model, model.replace(R=[[0.0]])):
        batch = one.replace(Q=one.Q)
        object.__setattr__(batch, "Q", jnp.stack([one.Q, one.Q]))
        found = jax.vmap(
            lambda m: kf.log_likelihood(kf.kalman(), m, ys), in_axes=(kf.StateSpaceModel.axes(Q=0),)
        )(batch)
        np.testing.assert_allclose(found, kf.log_likelihood(kf.kalman(), one, ys))


@pytest.mark.parametrize("name", ["kalman", "unscented"])
def test_the_derivative_by_a_noise_of_zero_is_that_of_a_little_noise(name, x64):
    """More noise raises a variance of zero, so that its derivative is not zero."""
    model = scalar(P0=1.0, Q=0.1, R=[[1.0]])

    def score(r):
        est = kf.run(FILTERS[name], model.replace(R=r * jnp.eye(1)), np.array([[1.0], [0.5]]))
        return est.outputs.log_likelihood.sum() + est.final.cov[0, 0]

    slope = (score(1e-7) - score(0.0)) / 1e-7
    np.testing.assert_allclose(jax.grad(score)(0.0), slope, rtol=1e-5)


def test_variances_count_as_rounding_up_to_that_of_their_terms_where_no_noise_enters(x64):
    """Eight times the number of terms and their sum, in units of the precision."""
    eps = np.finfo(float).eps
    terms, noise = np.array([2.0, 2.0, 0.0]), np.array([0.0, 1e-20, 0.0])
    np.testing.assert_allclose(hidden_variances(jnp.asarray(terms), noise, 3), [48 * eps, 0, 0])


@pytest.mark.parametrize("unit", [2.0**-60, 2.0**60])
def test_what_counts_as_rounding_does_not_depend_on_units(unit, x64):
    eps = np.finfo(float).eps
    terms, noise = np.full(2, 1.0), np.array([30 * eps, 130 * eps]) ** 2
    plain = hidden_variances(jnp.asarray(terms), noise, 3)
    assert (np.asarray(plain) > 0).tolist() == [True, False]
    scaled = hidden_variances(jnp.asarray(unit * terms), unit * noise, 3)
    np.testing.assert_array_equal(scaled, unit * plain)


@pytest.mark.parametrize("correlation", [0.5, -0.5])
def test_a_precise_sensor_beside_a_perfect_one_keeps_its_noise(correlation, x64):
    """The variance that it leaves is far below the rounding of the variance before."""
    prior = kf.Gaussian(np.zeros(2), np.array([[1.0, correlation], [correlation, 1.0]]))
    R = np.diag([0.0, 1e-20])
    model = kf.linear_gaussian(np.eye(2), np.eye(2), np.zeros((2, 2)), R, prior)
    est, info = steps(kf.kalman(), model, np.zeros((1, 2)))
    np.testing.assert_allclose(est.cov[0], R, rtol=1e-6)
    assert info.dof.tolist() == [2]
