"""Combinators and tools over models with noise in their state: as over the same model with added
noise, or an error.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support.compiling import quick_jit

import kfjax as kf

STEPS = 6
F = np.array([[1.0, 0.5], [-0.1, 0.9]])
H = np.array([[1.0, 0.0], [0.3, 1.0]])
Q = np.array([[0.1, 0.02], [0.02, 0.2]])
R = np.array([[0.5, 0.1], [0.1, 0.3]])
close = functools.partial(chex.assert_trees_all_close, rtol=1e-9, atol=1e-11)


def plain(first="predict"):
    prior = kf.Gaussian(np.array([0.3, -0.2]), np.array([[1.0, 0.2], [0.2, 0.5]]))
    return kf.linear_gaussian(F, H, Q, R, prior, first=first)


def move(A, x, w, u):
    return A @ x + w


def look(A, x, v, u):
    return A @ x + v


def inside(model, in_f, in_h):
    """The model with noise as an argument of f, of h, or of both."""
    return kf.non_additive(
        Partial(move, jnp.asarray(F)) if in_f else kf.Linear(F),
        Partial(look, jnp.asarray(H)) if in_h else kf.Linear(H),
        model.Q,
        model.R,
        model.prior,
        in_f=in_f,
        in_h=in_h,
        first=model.first,
    )


AUGMENTED = {
    "f": functools.partial(inside, in_f=True, in_h=False),
    "h": functools.partial(inside, in_f=False, in_h=True),
    "both": functools.partial(inside, in_f=True, in_h=True),
    "correlated": lambda model: kf.correlated(model, np.zeros((2, 2))),
    "correlated_nonlinear": lambda model: kf.correlated(
        model.replace(f=Partial(_given, model.f)), np.zeros((2, 2))
    ),
}
every_augmentation = pytest.mark.parametrize("where", AUGMENTED)


def _given(fn, x, u):
    return fn(x, u)


def data(outlier=0.0):
    rng = np.random.default_rng(0)
    ys = rng.normal(size=(STEPS, 2)) + 0.5
    ys[3, 0] += outlier
    observed = np.ones((STEPS, 2), bool)
    observed[2], observed[4, 1] = False, False
    return ys, observed


def itself(make, model):
    return make(model)


def members(make, model):
    other = model.replace(Q=9 * model.Q, R=2 * model.R)
    return kf.IMMParams((make(model), make(other)), [[0.9, 0.1], [0.3, 0.7]], [0.6, 0.4])


def walls(make, model):
    params = make(model)
    A = np.zeros((1, params.n))
    A[0, :2] = [1.0, 0.5]
    return kf.ConstrainedParams(params, kf.filters.Inequalities(A, [0.3]))


EKF = kf.extended()
COMBINED = {
    "fading": (kf.fading(EKF, 1.2), itself),
    "imm": (kf.imm((EKF, EKF)), members),
    "faded_imm": (kf.fading(kf.imm((EKF, EKF)), 1.1), members),
    "gated": (kf.gated(EKF, 0.9), itself),
    "fallback": (kf.fallback(EKF, probability=0.9, patience=1), itself),
    "schmidt": (kf.schmidt(EKF, (1,)), itself),
    "constrained": (kf.constrained(EKF), walls),
    "truncated": (kf.constrained(EKF, kf.filters.truncated), walls),
    "square_root": (kf.square_root(kf.moments.Taylor()), itself),
}


# compositions of what runs in the quick tests take long to compile
SLOW = {("faded_imm", "predict"), ("imm", "update")}
STARTS = [(name, "predict") for name in COMBINED] + [("fading", "update"), ("imm", "update")]


@pytest.mark.parametrize(
    ("name", "first"),
    [pytest.param(*start, marks=pytest.mark.slow if start in SLOW else ()) for start in STARTS],
)
def test_combinators_act_on_the_state_alone(x64, name, first):
    method, params_of = COMBINED[name]
    ys, observed = data(outlier=20.0)

    @functools.partial(quick_jit, static_argnums=0)
    def run(where, model):
        make = AUGMENTED[where] if where else lambda model: model
        return kf.run(
            method, params_of(make, model), ys, observed=observed, emit=kf.leading(2)
        ).outputs

    expected = run("", plain(first))
    for where in ("both", "correlated"):
        close(run(where, plain(first)), expected)


@every_augmentation
def test_an_update_may_come_first(x64, where):
    prior = kf.Gaussian(np.ones(1), 4 * np.eye(1))
    model = kf.linear_gaussian([[1.0]], [[1.0]], [[0.1]], [[2.0]], prior)
    make = {"f": (True, False), "h": (False, True), "both": (True, True)}.get(where)
    one = {"A": jnp.ones((1, 1))}
    if make:
        augmented = kf.non_additive(
            Partial(_one_move, one) if make[0] else model.f,
            Partial(_one_look, one) if make[1] else model.h,
            model.Q,
            model.R,
            prior,
            in_f=make[0],
            in_h=make[1],
        )
    else:
        augmented = kf.correlated(model, [[0.0]])
    state, _ = EKF.update(augmented, EKF.init(augmented), jnp.array([3.0]))
    np.testing.assert_allclose(state.mean[0], 7 / 3)
    np.testing.assert_allclose(state.cov[0, 0], 4 / 3)


def _one_move(theta, x, w, u):
    return theta["A"] @ x + w


def _one_look(theta, x, v, u):
    return theta["A"] @ x + v


def test_a_model_may_be_augmented_twice(x64):
    model, ys = plain(), data()[0]
    zero = np.zeros((2, 2))
    twice = (
        kf.correlated(AUGMENTED["f"](model), np.zeros((4, 2))),
        kf.correlated(kf.correlated(model, zero).replace(R=1e-30 * np.eye(2)), np.zeros((4, 2))),
    )
    expected = kf.run(kf.fading(EKF, 1.2), model, ys).outputs
    for augmented in twice:
        found = kf.run(kf.fading(EKF, 1.2), augmented, ys, emit=kf.leading(2)).outputs
        close(found, expected)
        with pytest.raises(ValueError, match="of a state of 2 components"):
            kf.diffuse(augmented, [2])


def drawn_before(move, z, w, u):
    """The next z = (x, w') by a function of it, with a w' that is drawn here."""
    return move(z, u).at[2:].set(w)


def test_noise_may_be_drawn_a_step_before_it_acts():
    """The inner function has two components of noise in its state, and so has the outer one."""
    once = AUGMENTED["f"](plain())
    Q, prior = np.eye(2), kf.Gaussian(once.prior.mean, once.prior.cov)
    model = kf.non_additive(Partial(drawn_before, once.f), once.h, Q, once.R, prior)
    with pytest.raises(ValueError, match="of a state of 2 components"):
        kf.diffuse(model, [2])


@every_augmentation
def test_smoothing_imputation_and_forecasts(x64, where):
    ys, observed = data()

    @functools.partial(quick_jit, static_argnums=0)
    def everything(make, model):
        params = make(model)
        final, est = kf.run(EKF, params, ys, observed=observed)
        smoothed = kf.smooth(EKF, params, est)
        filled = kf.impute(EKF, params, smoothed, ys, observed=observed)
        lagged = kf.run(kf.fixed_lag(EKF, 2), params, ys, observed=observed, emit=kf.lagged)
        ahead = kf.forecast(EKF, params, final, steps=2)
        x, xx = slice(2), (..., slice(2), slice(2))
        beliefs = (smoothed, smoothed.initial, lagged.outputs, ahead.state)
        return (
            [(b.mean[..., x], b.cov[xx]) for b in beliefs],
            smoothed.cross[xx],
            filled,
            ahead.observation,
        )

    close(everything(AUGMENTED[where], plain()), everything(lambda model: model, plain()))


def test_draws_keep_the_moments_of_the_plain_model(x64):
    model, ys = plain(), data()[0]
    augmented = AUGMENTED["both"](model)
    est = kf.run(EKF, augmented, ys).outputs
    drawn = kf.sample_posterior(jax.random.key(0), EKF, augmented, est, trajectories=4000).states
    smoothed = kf.smooth(EKF, model, kf.run(EKF, model, ys).outputs)
    spread = np.sqrt(np.diagonal(smoothed.cov, axis1=1, axis2=2) / 4000)
    assert (np.abs(np.asarray(drawn[..., :2]).mean(0) - smoothed.mean) < 4.5 * spread).all()


@pytest.mark.parametrize("where", ["f", "h", "both"])
def test_new_observations_have_noise_of_their_own(x64, where):
    model, (ys, observed) = plain(), data()
    augmented = AUGMENTED[where](model)
    found = []
    for params in (model, augmented):
        est = kf.run(EKF, params, ys, observed=observed).outputs
        beliefs = (est, kf.predicted(EKF, params, est), kf.smooth(EKF, params, est))
        found.append([kf.observation_estimate(EKF, params, b) for b in beliefs])
    close(*found)


def test_predictions_keep_the_correlation_of_the_noise(x64):
    model, ys = plain(), data()[0]
    cross = 0.05 * np.ones((2, 2))
    both = kf.correlated(model, cross)
    final = kf.run(EKF, both, ys).final
    ahead = kf.forecast(EKF, both, final, steps=1)
    P = ahead.state.cov[0, :2, :2]
    np.testing.assert_allclose(
        ahead.observation.cov[0], H @ P @ H.T + H @ cross + cross.T @ H.T + R, rtol=1e-9
    )
    with pytest.raises(ValueError, match="noise is correlated with the state"):
        kf.observation_estimate(EKF, both, ahead.state)


@every_augmentation
def test_a_diffuse_prior_is_one_of_the_state(x64, where):
    model, ys = plain(), data()[0]
    augmented = AUGMENTED[where](model)
    for components in (None, [-1], [0]):
        runs = [
            kf.run(EKF, kf.diffuse(m, components, variance=1e4), ys, emit=kf.leading(2)).outputs
            for m in (model, augmented)
        ]
        close(*runs, rtol=1e-7)
    variances = [np.diag(kf.diffuse(m).prior.cov)[:2] for m in (model, augmented)]
    close(*variances)
    with pytest.raises(ValueError, match="of a state of 2 components"):
        kf.diffuse(augmented, [2])


def test_data_know_the_state_and_not_the_noise_beside_it(x64):
    model, ys = plain(), data()[0]
    augmented = AUGMENTED["both"](model)
    batch = kf.Dataset(ys[None], np.zeros((1, STEPS, 2)), prior_mean=[[3.0, 4.0]])
    one = jax.tree.map(lambda a: a[0], batch)
    runs = [
        kf.data.run_trajectory(EKF, m, one, emit=kf.leading(2)).outputs for m in (model, augmented)
    ]
    close(*runs)
    with pytest.raises(ValueError, match=r"xs has shape \(6, 2\) and the estimates \(6, 6\)"):
        kf.training.state_mse(EKF)(augmented, batch, jax.random.key(0))


def test_studies_count_what_is_known_exactly_as_no_freedom(x64):
    model = AUGMENTED["both"](plain())
    result = kf.monte_carlo(jax.random.key(0), model, EKF, model, trials=300, steps=4)
    value, low, high = result.anees()
    assert low < value < high


def test_an_inflated_ensemble_inflates_the_state_alone(x64):
    model = plain()
    augmented = AUGMENTED["both"](model)
    method = kf.ensemble(50, form=kf.filters.Transform(), inflation=1.5)
    start = method.predict(augmented, method.init(augmented, jax.random.key(0)))
    with_noise = start.members - start.mean[None]
    inflated = with_noise.at[:, :2].multiply(1.5)
    S = np.cov((np.asarray(inflated[:, :2]) @ H.T + np.asarray(inflated[:, 4:])).T)
    _, info = method.update(augmented, start, jnp.zeros(2))
    np.testing.assert_allclose(info.innovation_cov, S, rtol=1e-9)


def test_a_steady_gain_is_that_of_the_plain_model(x64):
    model = plain()
    both = kf.correlated(model, np.zeros((2, 2)))
    np.testing.assert_allclose(
        kf.steady_state(both).gain[:2], kf.steady_state(model).gain, rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("combine", [kf.student_t, kf.huber, kf.adaptive])
def test_what_acts_on_observation_noise_takes_it_added(x64, combine):
    model, ys = plain(), data(outlier=1000.0)[0]
    method = combine(EKF)
    runs = [
        kf.run(method, m, ys, emit=kf.leading(2)).outputs for m in (model, AUGMENTED["f"](model))
    ]
    close(*runs)
    for where in ("h", "both", "correlated"):
        with pytest.raises(ValueError, match=r"noise in its state .* and not in R; expected"):
            kf.run(method, AUGMENTED[where](model), ys)


def test_what_acts_on_process_noise_takes_it_added():
    model, (ys, _) = plain(), data()
    batch, key = kf.Dataset(ys[None]), jax.random.key(0)
    training = kf.training
    for make in AUGMENTED.values():
        augmented = make(model)
        with pytest.raises(ValueError, match="adaptive: the model has noise in its state"):
            kf.adaptive(EKF, forgetting_R=1.0, forgetting_Q=0.9).init(augmented)
        for call in (
            lambda m: training.tune(
                EKF, m, batch, validation=batch, key=key, structure="scalar", objective="likelihood"
            ),
            training.free_noise,
            lambda m: training.scale_noise(m, training.Scales(1.0, 2.0)),
        ):
            with pytest.raises(ValueError, match="noise in its state"):
                call(augmented)
    with pytest.raises(ValueError, match="em: the model has noise in its state"):
        training.em(AUGMENTED["correlated"](model), batch)


@pytest.mark.parametrize("filter", [kf.particle(10), kf.auxiliary_particle(10)])
def test_particles_are_weighed_with_added_noise(filter):
    model = plain()
    assert filter.init(AUGMENTED["f"](model), jax.random.key(0)).particles.shape == (10, 4)
    for where in ("h", "correlated"):
        with pytest.raises(ValueError, match=r"noise in its state .* and not in R"):
            filter.init(AUGMENTED[where](model), jax.random.key(0))
