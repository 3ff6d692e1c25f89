"""Maximum likelihood: published optima, standard errors, and what the likelihood does not say."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.nile import NILE, local_level

import kfjax as kf
from kfjax.training import likelihood_ratio_test, maximum_likelihood
from kfjax.training.information import Curvature, uncertainty
from kfjax.training.minimising import minimise

PRIOR = kf.Gaussian(jnp.zeros(1), jnp.eye(1))


def fitted(ys=NILE, model=None, **options):
    """A fit as all tests of the local level make it, so that they share their programs."""
    model = local_level(30.0, 100.0, variance=1e6) if model is None else model
    return maximum_likelihood(kf.kalman(), model, ys, **({"skip": 1} | options))


def test_the_nile_as_in_other_software(x64):
    """Durbin and Koopman, and statsmodels 0.15: `smooth(params, cov_type="approx")`."""
    fit = fitted()
    assert fit.converged
    assert fit.log_likelihood == pytest.approx(-632.5376855873, abs=1e-8)
    irregular, level = fit["R_std"], fit["Q_std"]
    np.testing.assert_allclose(irregular.estimate**2, 15108.3157, rtol=1e-6)
    np.testing.assert_allclose(level.estimate**2, 1463.5472, rtol=1e-5)
    # of variances: standard errors of s^2 are 2 s times those of s
    np.testing.assert_allclose(2 * irregular.estimate * irregular.std_error, 3150.031, rtol=1e-5)
    np.testing.assert_allclose(2 * level.estimate * level.std_error, 1279.8238, rtol=1e-5)
    assert (fit.observations, fit.aic) == (99, pytest.approx(1269.0753711745))
    assert fit.bic == pytest.approx(1274.2656, abs=1e-4)
    assert fit.hqic == pytest.approx(1271.1754, abs=1e-4)
    np.testing.assert_allclose(fit.params.R, [[irregular.estimate**2]], rtol=1e-12)
    # with all observations, of a prior variance of 1e7: Durbin and Koopman (2012), section 2.10
    whole = fitted(model=local_level(30.0, 100.0), skip=0)
    assert whole.log_likelihood == pytest.approx(-641.5856, abs=1e-4)
    np.testing.assert_allclose(whole["Q_std"].estimate ** 2, 1469.1, rtol=1e-3)
    np.testing.assert_allclose(whole["R_std"].estimate ** 2, 15099, rtol=1e-3)


@pytest.mark.slow
def test_the_nile_from_an_exactly_diffuse_start(x64):
    """Durbin and Koopman (2012), section 2.10 and equation (7.4)."""
    fit = maximum_likelihood(kf.exact_diffuse(kf.kalman()), local_level(30.0, 100.0), NILE)
    assert fit.log_likelihood == pytest.approx(-633.465, abs=1e-3)
    np.testing.assert_allclose(fit["Q_std"].estimate ** 2, 1469.1, rtol=1e-4)
    np.testing.assert_allclose(fit["R_std"].estimate ** 2, 15099, rtol=1e-4)


@pytest.mark.parametrize("stds", [(1e3, 0.1), (0.01, 1e4)])
def test_the_same_from_starts_that_are_wrong_by_orders_of_magnitude(x64, stds):
    fit = fitted(model=local_level(*stds, variance=1e6))
    assert fit.log_likelihood == pytest.approx(-632.5376855873, abs=1e-6)
    assert fit.converged


def test_errors_tables_and_files(x64, tmp_path):
    fit = fitted()
    level = fit["Q_std"]
    half = 1.959964 * level.std_error / level.estimate  # symmetric in the logarithm
    np.testing.assert_allclose(
        [level.low, level.high], level.estimate * np.exp([-half, half]), rtol=1e-6
    )
    np.testing.assert_allclose(level.z, level.estimate / level.std_error)
    np.testing.assert_allclose(level.p_value, math.erfc(level.z / math.sqrt(2)), rtol=1e-9)
    text = fit.summary(kf.evaluation.residual_checks(kf.kalman(), fit.params, NILE, skip=1))
    assert max(map(len, text.splitlines())) == 78
    for part in ("-632.538", "Q_std", "Ljung-Box", "The first 1 steps do not count"):
        assert part in text
    fit.save(tmp_path / "fit.json")
    written = json.loads((tmp_path / "fit.json").read_text())
    assert written["parameters"][0]["name"] == "Q_std"
    assert written["bic"] == fit.bic
    with pytest.raises(ValueError, match="Did you mean 'Q_std'"):
        fit["q_std"]


def test_a_variance_of_zero_is_named(x64):
    rng = np.random.default_rng(0)
    fit = fitted(900.0 + 100.0 * rng.normal(size=(100, 1)))  # no level moves here
    level = fit["Q_std"]
    assert fit.converged
    assert level.estimate < 0.1
    assert (level.std_error, level.low, level.p_value) == (None, None, None)
    assert "at its end 0" in level.note
    assert "Q_std: at its end 0" in fit.summary()
    # of the other one as if there were no level that moves: sigma / sqrt(2 N)
    np.testing.assert_allclose(
        fit["R_std"].std_error, fit["R_std"].estimate / math.sqrt(2 * 98), rtol=0.02
    )


@pytest.mark.slow
def test_what_only_sums_determine_is_named(x64):
    prior = kf.Gaussian(jnp.zeros(2), 10 * jnp.eye(2))
    two = kf.linear_gaussian(
        jnp.eye(2), [[1.0, 1.0]], jnp.diag(jnp.array([0.1, 0.3])), [[1]], prior
    )
    _, ys = kf.simulate(jax.random.key(1), two, 150)
    fit = maximum_likelihood(kf.kalman(), two, ys, starts=1)
    assert fit.converged
    assert [fit[f"Q_std[{i}]"].std_error for i in range(2)] == [None, None]
    assert "Q_std[0], Q_std[1]: the likelihood determines only combinations" in fit.summary()
    assert fit["R_std"].std_error > 0


START = {"phi": 0.1, "q_std": 3.0, "r": {"noise_var": 1.0}}


def autoregression(values):
    """An autoregression with noise, some of whose parameters make no difference."""
    return kf.linear_gaussian(
        values["phi"] * jnp.eye(1),
        jnp.eye(1),
        values["q_std"] ** 2 * jnp.eye(1),
        values["r"]["noise_var"] * jnp.eye(1),
        PRIOR,
    )


def near_a_fifth(values):
    """A prior that holds phi near 0.2."""
    return -0.5 * ((values["phi"] - 0.2) / 1e-3) ** 2


def test_a_function_of_named_parameters_on_several_series(x64):
    truth = {"phi": 0.8, "q_std": 1.0, "r": {"noise_var": 0.5}}
    keys = jax.random.split(jax.random.key(3), 3)
    _, ys = jax.vmap(lambda key: kf.simulate(key, autoregression(truth), 150))(keys)
    ys = np.where(np.random.default_rng(0).random(ys.shape) < 0.1, np.nan, ys)
    data = kf.Dataset(ys, length=[150, 90, 120])
    start = START | {"idle": 2.0}
    given = {"transform": autoregression, "bounds": {"phi": (-1, 1)}, "starts": 1}
    fit = maximum_likelihood(kf.kalman(), start, data, **given)
    assert [p.name for p in fit.parameters] == ["idle", "phi", "q_std", "r/noise_var"]
    assert fit["idle"].note == "the likelihood does not depend on it"
    for name, right in (("phi", 0.8), ("q_std", 1.0), ("r/noise_var", 0.5)):
        assert abs(fit[name].estimate - right) < 3 * fit[name].std_error
        assert fit[name].low < right < fit[name].high
    assert fit["phi"].low > -1
    assert fit.observations == np.isfinite(ys[data.observed[..., 0] & active(data)]).sum()
    total = sum(
        kf.log_likelihood(
            kf.kalman(), fit.params, data.ys[i], observed=data.observed[i], length=data.length[i]
        )
        for i in range(3)
    )
    np.testing.assert_allclose(fit.log_likelihood, total, rtol=1e-12)
    assert fit.values["q_std"] == pytest.approx(fit["q_std"].estimate)


@pytest.mark.slow
def test_a_prior_moves_the_estimate(x64):
    _, ys = kf.simulate(jax.random.key(0), autoregression(START), 100)
    given = {"transform": autoregression, "bounds": {"phi": (-1, 1)}, "starts": 1}
    fit = maximum_likelihood(kf.kalman(), START, ys, log_prior=near_a_fifth, **given)
    assert fit["phi"].estimate == pytest.approx(0.2, abs=0.01)
    assert fit["phi"].std_error == pytest.approx(1e-3, rel=0.05)
    assert "includes the logarithm of the prior" in fit.summary()


def active(data):
    """Which steps count [N, T]."""
    return np.arange(data.steps) < data.lengths[:, None]


@pytest.mark.slow
def test_whole_covariances_give_standard_deviations_and_correlations(x64):
    R = np.array([[2.0, -0.9], [-0.9, 1.0]])
    model = kf.linear_gaussian(jnp.eye(1), jnp.ones((2, 1)), [[0.01]], R, PRIOR)
    _, ys = kf.simulate(jax.random.key(0), model, 400)
    fit = maximum_likelihood(
        kf.kalman(), model.replace(R=np.eye(2)), ys, learn={"R": "full"}, starts=1
    )
    names = ["R_std[0]", "R_std[1]", "R_corr[1,0]"]
    assert [p.name for p in fit.parameters] == names
    std = np.sqrt(np.diag(fit.params.R))
    corr = fit.params.R[1, 0] / (std[0] * std[1])
    np.testing.assert_allclose([p.estimate for p in fit.parameters], [*std, corr], rtol=1e-9)
    # nearly what independent draws of this covariance give
    np.testing.assert_allclose(fit[names[0]].std_error, std[0] / np.sqrt(800), rtol=0.1)
    np.testing.assert_allclose(fit[names[2]].std_error, (1 - corr**2) / np.sqrt(400), rtol=0.1)


def test_a_fit_that_does_not_converge_says_so(x64):
    with pytest.warns(UserWarning, match="no maximum was found: the log-likelihood rises by about"):
        fit = fitted(model=local_level(1e3, 0.1, variance=1e6), starts=1, updates=1)
    assert not fit.converged
    assert "NO, " in fit.summary()


def test_a_saddle_is_no_maximum():
    flat = np.full((2, 2), 10.0)
    saddle = Curvature(np.zeros(2), np.diag([4.0, -1.0]), np.eye(2), flat, flat[0])
    known = uncertainty(("a", "b"), ((-np.inf, np.inf),) * 2, saddle, 1e-16)
    assert not known.is_maximum
    assert known.cov[0, 0] == 0.25
    assert np.isnan(known.cov[1, 1])


def test_parameters_of_which_only_the_sum_is_determined_are_named():
    flat = np.full((2, 3), 10.0)
    information = np.array([[4.0, 4.0, 0.0], [4.0, 4.0, 0.0], [0.0, 0.0, 25.0]])
    ridge = Curvature(np.zeros(3), information, np.diag([2.0, 2.0, 3.0]), flat, flat[0])
    known = uncertainty(("a", "b", "c"), ((0.0, np.inf),) * 3, ridge, 1e-16)
    assert known.is_maximum
    assert known.gain == 0
    assert set(known.notes) == {"a", "b"}
    assert all("only combinations" in note for note in known.notes.values())
    np.testing.assert_allclose(known.cov[2, 2], 9 / 25)
    assert np.isnan(known.cov[:2]).all()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"learn": ("S",)}, "maximum_likelihood: learn"),
        ({"learn": {"Q": "whole"}}, "expected one of diagonal, full, scalar"),
        ({"learn": "Q"}, r"expected names, such as \('Q',\)"),
        ({"bounds": {"Q": (0, 1)}}, "got bounds with covariances to learn"),
        ({"ys": NILE[:, 0]}, r"one series \[T, m\], .* is ys\[:, None\]"),
        ({"ys": NILE, "observed": np.arange(100) < 1}, "nothing was observed after the first 1"),
        ({"skip": 100}, "skip is 100; expected a whole number from 0 to 99"),
        ({"model": local_level(0.0, 1.0)}, "Q is zero; expected a variance to start from"),
        (
            {
                "model": {"phi": 2.0, "q_std": 1.0, "r": {"noise_var": 1.0}},
                "transform": autoregression,
                "bounds": {"phi": (-1, 1)},
            },
            "phi starts at 2.0; expected numbers between -1 and 1",
        ),
        (
            {"model": {"phi": 0.5}, "transform": autoregression, "bounds": {"psi": (-1, 1)}},
            "bounds has 'psi', which is not learned; .* Did you mean 'phi'",
        ),
        (
            {"model": {"phi": 0.5}, "transform": autoregression, "bounds": {"phi": (1, -1)}},
            r"bounds\['phi'\] is \(1, -1\); expected \(low, high\)",
        ),
    ],
)
def test_bad_input(changes, text):
    with pytest.raises(ValueError, match=text):
        fitted(**changes)


def test_the_likelihood_alone_is_that_with_standard_errors(x64):
    fit = fitted(standard_errors=False)
    assert fit.log_likelihood == pytest.approx(-632.5376855873, abs=1e-8)
    assert fit.converged
    assert np.isnan(fit.cov).all()
    assert {parameter.note for parameter in fit.parameters} == {
        "standard errors were not asked for"
    }
    assert "second derivatives" not in str(fit)


def test_likelihood_ratios(x64):
    """Of one parameter, 5 % is 3.841, and 2.706 if it is a variance of zero (Harvey, 1989)."""
    larger = fitted()
    smaller = dataclasses.replace(
        larger, parameters=larger.parameters[:1], log_likelihood=larger.log_likelihood - 3.8415 / 2
    )
    test = likelihood_ratio_test(smaller, larger)
    assert (test.statistic, test.dof) == (pytest.approx(3.8415), 1)
    assert test.p_value == pytest.approx(0.05, abs=1e-5)
    near = dataclasses.replace(smaller, log_likelihood=larger.log_likelihood - 2.7055 / 2)
    assert likelihood_ratio_test(near, larger, at_ends=1).p_value == pytest.approx(0.05, abs=1e-5)
    none = dataclasses.replace(smaller, parameters=(), log_likelihood=larger.log_likelihood - 1)
    # 1/4 chi^2_0 + 1/2 chi^2_1 + 1/4 chi^2_2 above 2
    mixture = 0.5 * math.erfc(1.0) + 0.25 * math.exp(-1.0)
    assert likelihood_ratio_test(none, larger, at_ends=2).p_value == pytest.approx(mixture)
    for first, second, text in (
        (larger, smaller, "Pass the smaller model first"),
        (dataclasses.replace(smaller, observations=3), larger, "fits are of 3 and 99 observations"),
        (dataclasses.replace(smaller, log_likelihood=0.0), larger, "larger model is lower"),
    ):
        with pytest.raises(ValueError, match=text):
            likelihood_ratio_test(first, second)


def test_the_minimiser_follows_a_valley_past_values_that_are_not_finite(x64):
    def rosenbrock(theta):
        x, y = theta
        value = (1 - x) ** 2 + 100 * (y - x**2) ** 2
        slope = [-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)]
        return (np.nan if y > 2.5 else value), np.array(slope)

    found = minimise(rosenbrock, np.array([-1.2, 1.0]), updates=100, tolerance=1e-8)
    np.testing.assert_allclose(found.theta, 1, atol=1e-7)
    assert found.updates < 60
    # flat to rounding: it stops
    flat = minimise(lambda x: (1.0, np.full(2, 1e-3)), np.zeros(2), updates=100, tolerance=1e-8)
    assert flat.updates == 2
    assert flat.value == 1
