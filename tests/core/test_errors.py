"""Bad input: one line that says what was given, what was expected, and what to do."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import kfjax as kf

T = 4
YS, EXTENDED = np.zeros((T, 1)), kf.extended()
EYE, PRIOR = np.eye(2), kf.Gaussian(np.zeros(2), np.eye(2))


def model(F=((1.0, 1.0), (0.0, 1.0)), H=((1.0, 0.0),), Q=EYE, R=((1.0,),), prior=PRIOR, B=None):
    return kf.linear_gaussian(F, H, Q, R, prior, B)


def bent(
    f=lambda x, u: jnp.sin(x), h=lambda x, u: x[:1], Q=EYE, R=((1.0,),), prior=PRIOR, **fields
):
    return kf.StateSpaceModel(f, h, Q, R, prior, **fields)


def run(ys=YS, us=None, filter=EXTENDED, params=None, **options):
    return kf.run(filter, model() if params is None else params, ys, us=us, **options)


def estimate(steps=T):
    return kf.Estimate(np.zeros((steps, 2)), np.zeros((steps, 2, 2)), None)


def state(n=2, dtype=np.float32):
    return kf.Gaussian(np.zeros(n, dtype), np.eye(n, dtype=dtype))


NAN = np.full((T, 1), np.nan)

MODELS = {
    "prior": (
        lambda: model(prior=np.zeros(2)),
        r"prior is ndarray; expected kf\.Gaussian\(mean \[n\], cov \[n, n\]\)",
    ),
    "prior shapes": (
        lambda: model(prior=(np.zeros(3), EYE)),
        r"prior has mean \(3,\) and cov \(2, 2\); expected \[n\] and \[n, n\].*jax\.vmap",
    ),
    "Q shape": (
        lambda: model(Q=np.eye(3)),
        r"Q has shape \(3, 3\); expected \(2, 2\), as prior\.cov",
    ),
    "Q scalar": (lambda: model(Q=0.1), r"Q has shape \(\); expected \(2, 2\)"),
    "one number for R": (
        lambda: model(R=0.5),
        r"R has shape \(\); expected \[m, m\]\. A single variance is \[\[R\]\]",
    ),
    "variances for Q": (
        lambda: model(Q=np.ones(2)),
        r"Q has shape \(2,\); expected \(2, 2\), as prior\.cov\. .* jnp\.diag\(Q\)",
    ),
    "F missing": (lambda: model(F=None), r"linear_gaussian: F is None; expected an array"),
    "H with one axis": (
        lambda: model(H=[1.0, 0.0]),
        r"linear_gaussian: H has shape \(2,\); expected 2 axes .* H\[None, :\]",
    ),
    "rows of the inputs": (
        lambda: model(B=np.ones((3, 1))),
        r"linear_gaussian: B has 3 rows; expected 2, as many as F",
    ),
    "one number for R of a sensor": (
        lambda: kf.Sensor(lambda x, u: x[:1], 0.5),
        r"Sensor: R has shape \(\); expected \[m, m\]\. A single variance is",
    ),
    "Q missing": (lambda: model(Q=None), "Q is None; expected a covariance"),
    "R shape": (lambda: model(R=[1.0]), r"R has shape \(1,\); expected \[m, m\]"),
    "asymmetric Q": (
        lambda: model(Q=[[1.0, 0.5], [0.0, 1.0]]),
        (
            r"Q is not symmetric \(largest difference 0\.5\); expected a covariance\. Use \(C"
            r" \+ C\.T\) / 2"
        ),
    ),
    "indefinite R": (
        lambda: model(R=[[-1.0]]),
        r"R is indefinite \(smallest eigenvalue -1\); expected .* Check signs",
    ),
    "indefinite P0": (
        lambda: model(prior=(np.zeros(2), [[1.0, 2.0], [2.0, 1.0]])),
        r"prior\.cov is indefinite \(smallest eigenvalue -1\); expected a covariance",
    ),
    "a negative variance beside a large one": (
        lambda: model(Q=np.diag([1e6, -0.5])),
        r"Q is indefinite .*-0\.5",
    ),
    "NaN in Q": (
        lambda: model(Q=np.full((2, 2), np.nan)),
        r"Q has NaN at \[0, 0\]; expected finite",
    ),
    "NaN in the mean": (
        lambda: model(prior=([0.0, np.nan], EYE)),
        r"prior\.mean has NaN at \[1\]; expected finite",
    ),
    "a matrix for f": (
        lambda: bent(f=EYE),
        r"f is ndarray; expected a function of \(x, u\)\. .*kf\.Linear\(A\)",
    ),
    "a mask among the leaves": (
        lambda: bent(f=Partial(lambda mask, x, u: x, np.array([True]))),
        r"got a leaf of type bool; expected real numbers\. Keep masks.*functools\.partial",
    ),
    "complex numbers": (
        lambda: model(Q=1j * EYE),
        "got a leaf of type complex128; expected real numbers",
    ),
    "half a space": (
        lambda: bent(state_space=kf.Space(jnp.subtract, None)),
        r"state_space is .*; expected kf\.Space\(difference, retract\) .* kf\.angles\(2\)",
    ),
    "A of f": (
        lambda: model(F=np.eye(3)),
        r"f = Linear with A of shape \(3, 3\); expected \(2, 2\), given Q, R and",
    ),
    "A of h": (
        lambda: model(H=np.eye(2)),
        r"h = Linear with A of shape \(2, 2\); expected \(1, 2\), given Q, R and",
    ),
    "axes of A": (
        lambda: kf.Linear([1.0, 2.0]),
        r"A has shape \(2,\); expected 2 axes \[k, n\]\. Reshape it",
    ),
    "rows of B": (
        lambda: kf.Linear(EYE, B=np.ones((3, 1))),
        "B has 3 rows; expected 2, as many as A",
    ),
    "replace": (
        lambda: model().replace(q=EYE),
        "got q; expected fields among Q, R, f, first, h",
    ),
    "axes": (
        lambda: kf.StateSpaceModel.axes(q=0),
        "got q; expected fields among Q, R, f, first, h",
    ),
    "with_model": (
        lambda: kf.with_model({"a": 1.0}, Q=EYE),
        "params is dict; expected one that holds a StateSpaceModel",
    ),
    "angle": (
        lambda: kf.angles(2).difference(np.zeros(2), np.zeros(2)),
        r"angle indices are \(2,\); expected .* below 2",
    ),
}

RUNS = {
    "transposed": (
        lambda: run(np.zeros((1, T))),
        (
            rf"run: ys has shape \(1, {T}\); expected \[T, m\] with m = 1, as h returns\. It"
            rf" looks transposed: pass ys\.T"
        ),
    ),
    "one axis": (
        lambda: run(np.zeros(T)),
        rf"ys has shape \({T},\); expected .* Pass ys\[:, None\]",
    ),
    "a batch": (
        lambda: run(np.zeros((5, T, 1))),
        r"ys has shape \(5, 4, 1\); expected .* jax\.vmap",
    ),
    "channels": (
        lambda: run(np.zeros((T, 3))),
        r"ys has shape \(4, 3\); expected \[T, m\] with m = 1.* Reshape",
    ),
    "T = 0": (
        lambda: run(np.zeros((0, 1))),
        r"ys has shape \[\(0, 1\)\]; expected \[T, m\] with T at least 1",
    ),
    "NaN": (
        lambda: run(NAN),
        (
            r"ys has NaN where it counts as observed, first at \[0, 0\]; expected numbers\."
            r" .*observed=~jnp\.isnan\(ys\)"
        ),
    ),
    "a mask too long": (
        lambda: run(observed=np.ones(T + 1, bool)),
        r"observed has shape \(5,\); expected a leading axis of 4 steps",
    ),
    "a mask too wide": (
        lambda: run(observed=np.ones((T, 2), bool)),
        r"observed has shape \(4, 2\); expected \(4,\) or \(4, 1\)",
    ),
    "a mask of floats": (
        lambda: run(observed=np.ones(T)),
        r"observed has dtype float32; expected booleans\. For NaN pass observed=",
    ),
    "masks of many parts": (
        lambda: run(observed=(True,) * T),
        "observed has 4 parts; expected 1, in the structure of ys",
    ),
    "inputs too short": (
        lambda: run(us=np.zeros((2, 1))),
        r"us has shape \(2, 1\); expected a leading axis of 4 steps",
    ),
    "no inputs": (
        lambda: run(params=model(B=EYE)),
        r"Linear: got no input u; expected one, since B is given\. Pass us= to run",
    ),
    "number of inputs": (
        lambda: run(us=np.zeros((T, 3)), params=model(B=EYE)),
        r"input u has shape \(3,\); expected \(2,\), the columns of B",
    ),
    "a length beyond the end": (
        lambda: run(length=T + 1),
        "length is 5; expected 0 to 4, the number of steps",
    ),
    "lengths": (
        lambda: run(length=np.array([1, 2])),
        r"length is \[1 2\]; expected one integer\. .*jax\.vmap",
    ),
    "state and key": (
        lambda: run(state=state(), key=jax.random.key(0)),
        r"got both state and key; expected one\. .*drop key",
    ),
    "state shape": (
        lambda: run(state=state(3)),
        (
            r"mean of shape \(3,\) and float32; expected \(2,\) and float32, as the prior.*"
            r" Start from filter\.init"
        ),
    ),
    "state dtype": (
        lambda: run(state=state(dtype=np.float16)),
        r"\(2,\) and float16; expected \(2,\) and float32",
    ),
    "no parentheses": (
        lambda: run(filter=kf.unscented),
        (
            r"run: filter is unscented; expected a kfjax\.Filter\. Call its constructor, as in"
            r" kf\.extended\(\)"
        ),
    ),
    "kalman on a nonlinear model": (
        lambda: run(filter=kf.kalman(), params=bent()),
        r"nonlinear f or h; expected kf\.Linear for both\. Use kf\.extended\(\)",
    ),
    "kalman from a state": (
        lambda: run(filter=kf.kalman(), params=bent(), state=state()),
        r"nonlinear f or h; expected kf\.Linear for both",
    ),
    "h returns a number": (
        lambda: run(params=bent(h=lambda x, u: x[0])),
        r"h returns shape \(\); expected \[m\]\. Return a vector",
    ),
    "h returns a list": (
        lambda: run(params=bent(h=lambda x, u: [x[0]])),
        r"h returns a list; expected an array\. Use jnp\.stack",
    ),
    "f returns too much": (
        lambda: run(params=bent(f=lambda x, u: jnp.zeros(3))),
        r"f gives shape \(3,\); expected \(2,\), as the prior",
    ),
    "a function for Q": (
        lambda: run(params=bent(Q=lambda x, u: jnp.ones(2))),
        r"Q gives shape \(2,\); expected \(2, 2\), as the prior",
    ),
    "a function for R": (
        lambda: run(params=bent(R=lambda x, u: jnp.eye(2))),
        r"R gives shape \(2, 2\); expected \(1, 1\)",
    ),
}

OTHERS = {
    "step shape": (
        lambda: kf.step(kf.extended(), model(), state(), np.zeros(2)),
        r"step: y has shape \(2,\); expected \(1,\), as h returns",
    ),
    "step NaN": (
        lambda: kf.step(kf.extended(), model(), state(), [np.nan]),
        "step: y has NaN where it counts",
    ),
    "step state": (
        lambda: kf.step(kf.extended(), model(), state(3), [0.0]),
        r"step: the state has a mean of shape \(3,\) .*expected \(2,\)",
    ),
    "forecast without steps": (
        lambda: kf.forecast(kf.extended(), model(), state()),
        "expected one number of steps",
    ),
    "forecast of no steps": (
        lambda: kf.forecast(kf.extended(), model(), state(), steps=0),
        r"steps is 0; expected a whole number",
    ),
    "forecast of two numbers of steps": (
        lambda: kf.forecast(kf.extended(), model(B=EYE), state(), us=np.zeros((3, 2)), steps=2),
        r"got steps=2 and us of lengths \[3\]; expected one number of steps",
    ),
    "forecast from an estimate": (
        lambda: kf.forecast(kf.extended(), model(), estimate(), steps=2),
        r"forecast: the state has a mean of shape \(4, 2\) .*final state of a run",
    ),
    "simulate": (
        lambda: kf.simulate(jax.random.key(0), model()),
        "expected one number of steps, at least 1",
    ),
    "smooth without a rule": (
        lambda: kf.smooth(kf.extended()._replace(rule=None), model(), estimate()),
        (
            r"smooth: the filter has no moment rule, .*; expected a Gaussian filter such as"
            r" kf\.extended\(\)"
        ),
    ),
    "smooth without covariances": (
        lambda: kf.smooth(kf.extended(), model(), estimate()._replace(cov=None)),
        r"the estimate has no covariance; expected mean \[T, n\] and cov \[T, n, n\]",
    ),
    "smooth a state": (
        lambda: kf.smooth(kf.extended(), model(), state()),
        r"smooth: the estimate has mean \(2,\) and cov \(2, 2\); expected \[T, 2\] and \[T, 2, 2\]",
    ),
    "smooth inputs": (
        lambda: kf.smooth(kf.extended(), model(B=EYE), estimate(), us=np.zeros((3, 2))),
        r"smooth: us has shape \(3, 2\); expected a leading axis of 4 steps",
    ),
    "smooth without parentheses": (
        lambda: kf.smooth(kf.extended, model(), estimate()),
        "smooth: filter is extended",
    ),
    "impute shapes": (
        lambda: kf.impute(
            kf.extended(), model(), estimate(), np.zeros((3, 1)), observed=np.ones(3, bool)
        ),
        (
            r"impute: ys is \(3, 1\) and observed \(3,\) for 4 estimates; expected \[T, m\],"
            r" and \[T\] or \[T, m\]"
        ),
    ),
    "impute NaN": (
        lambda: kf.impute(kf.extended(), model(), estimate(), NAN, observed=np.ones(T, bool)),
        "impute: ys has NaN where it counts as observed",
    ),
    "times": (
        lambda: kf.time_steps([0.0, 2.0, 1.0], start=0.0),
        r"got a step of -1 at index 2; expected times that never decrease.* Sort the data",
    ),
    "start after the first time": (
        lambda: kf.time_steps([1.0], start=2.0),
        "got a step of -1 at index 0",
    ),
    "NaN among times": (
        lambda: kf.time_steps([0.0, np.nan], start=0.0),
        "got a step of nan at index 1",
    ),
    "shape of times": (
        lambda: kf.time_steps(np.zeros((2, 2)), 0.0),
        r"times has shape \(2, 2\); expected \[T\]",
    ),
    "dates": (
        lambda: kf.time_steps(np.array(["2024-01-01"], "datetime64[s]"), 0.0),
        r"times has dtype datetime64\[s\]; expected numbers\. Convert dates to seconds",
    ),
    "van_loan shapes": (
        lambda: kf.van_loan(EYE, np.eye(3), 1.0),
        r"A is \(2, 2\) and diffusion \(3, 3\); expected",
    ),
    "van_loan diffusion": (lambda: kf.van_loan(EYE, -EYE, 1.0), "diffusion is indefinite"),
    "van_loan B": (
        lambda: kf.van_loan(EYE, EYE, 1.0, B=np.ones(2)),
        r"B has shape \(2,\); expected \(2, p\)",
    ),
    "van_loan fast": (
        lambda: kf.van_loan([[-1e37]], [[1.0]], 1.0),
        r"van_loan: \|A\| dt is 1e\+37; expected at most 6\.6e\+35\. Check the units",
    ),
    "a learned filter on a plain model": (
        lambda: run(filter=kf.learned.corrected_gain(2, 1, hidden=4)),
        r"params is a StateSpaceModel; expected a kfjax\.learned\.Learned\. .*init_params",
    ),
    "a learned filter steps with a plain model": (
        lambda: kf.step(kf.learned.corrected_gain(2, 1, hidden=4), model(), state(), [0.0]),
        r"params is a StateSpaceModel; expected a kfjax\.learned\.Learned\. .*init_params",
    ),
    "van_loan dt": (
        lambda: kf.van_loan(EYE, EYE, -1.0),
        r"dt is -1\.0; expected a step of at least 0",
    ),
    "an array in a constructor": (
        lambda: kf.unscented(jnp.ones(())),
        r"unscented: alpha is or holds an array; expected a plain number .*Put arrays in params",
    ),
    "a tracer in a constructor": (
        lambda: jax.jit(lambda a: kf.run(kf.unscented(a), model(), np.zeros((T, 1))).final)(1.0),
        r"unscented: alpha is or holds an array; expected .*Put arrays in params",
    ),
    "a list in a constructor": (
        lambda: kf.imm([kf.kalman(), kf.kalman()]),
        r"imm: filters is or holds a list; expected .*Write a tuple",
    ),
    "observations in parts, of one h": (
        lambda: run({"a": YS}),
        r"update: y is a dict; expected an array \[m\].* kf\.sequential",
    ),
    "an estimate for observations": (
        lambda: kf.parallel_smooth(model(), estimate()),
        r"update: y is a Estimate; expected an array \[m\]",
    ),
    "a mask in parts": (
        lambda: run(observed={"a": np.ones(T, bool)}),
        r"run: observed is a dict; expected one array of booleans",
    ),
    "a mask in parts, of a step": (
        lambda: kf.step(EXTENDED, model(), None, YS[0], observed={"a": True}),
        r"step: observed is a dict; expected one array of booleans",
    ),
    "a mask of another length, by hand": (
        lambda: EXTENDED.update(model(), PRIOR, YS[0], None, np.ones(2, bool)),
        r"update: observed is ndarray of shape \(2,\) and bool; expected a boolean, or .*\(1,\)",
    ),
    "a masked array": (
        lambda: run(np.ma.masked_equal(YS + 999.0, 999.0)),
        r"run: ys is a masked array of numpy; expected an ordinary one\. Pass value\.data",
    ),
    "a masked array of inputs": (
        lambda: run(us={"a": np.ma.masked_equal(YS, 1.0)}),
        r"run: us\['a'\] is a masked array of numpy; expected an ordinary one",
    ),
    "no channel": (
        lambda: model(H=np.zeros((0, 2)), R=np.zeros((0, 0))),
        r"R has shape \(0, 0\); expected at least one channel",
    ),
    "noise_free of another kind": (
        lambda: bent(noise_free="yes"),
        "noise_free is 'yes'; expected True, False, or None",
    ),
    "noise_free False of a singular R": (
        lambda: bent(R=[[0.0]], noise_free=False),
        "noise_free is False and R is singular; expected None",
    ),
    "noise_free left behind": (
        lambda: dataclasses.replace(bent(), R=np.zeros((1, 1))),
        r"noise_free is False and R is singular; .*model\.replace\(R=",
    ),
    "noise_free False of a sensor": (
        lambda: kf.Sensor(kf.Linear([[1.0]]), [[0.0]], noise_free=False),
        "Sensor: noise_free is False and R is singular",
    ),
    "R as a function of a simulation": (
        lambda: kf.simulate(jax.random.key(0), bent(R=lambda x, u: -jnp.eye(1)), steps=3),
        r"simulate: R\(x, u\) of the first step is indefinite .*; expected a covariance",
    ),
    "half an angle": (lambda: kf.angles(0.0), r"angles: got 0\.0; expected whole numbers"),
    "angles in a list": (lambda: kf.angles([0, 1]), "angles: got a list; expected whole numbers"),
    "a truth value of an angle": (lambda: kf.angles(True), "angles: got True; expected whole"),
    "scales of data": (
        lambda: kf.learned.state_scales(kf.Dataset(YS[None]), YS),
        r"state_scales: model is a Dataset; expected a kfjax\.StateSpaceModel",
    ),
    "scales of a model": (
        lambda: kf.learned.series_scales(kf.Dataset(YS[None]), model()),
        r"series_scales: model is a Dataset; expected a kfjax\.StateSpaceModel",
    ),
    "no iterations": (lambda: kf.extended(0), "iterations is 0; expected a whole number"),
    "half iterations": (lambda: kf.extended(1.5), r"iterations is 1\.5; expected a whole number"),
    "alpha": (lambda: kf.unscented(0.0), r"alpha is 0\.0; expected a finite number above 0"),
    "kappa": (
        lambda: run(filter=kf.unscented(1.0, 2.0, -2.0), params=bent()),
        r"kappa is -2\.0 for n = 2; expected more",
    ),
    "order": (lambda: kf.gauss_hermite(1), "order is 1; expected a whole number of at least 2"),
    "too many points": (
        lambda: run(filter=kf.gauss_hermite(400), params=bent()),
        r"order 400 in 2 dimensions needs 160000 points; expected at most .* Use kf\.cubature\(\)",
    ),
    "an unknown filter": (
        lambda: kf.filters.by_name("kalmann"),
        "unknown filter 'kalmann'; expected one of .*'kalman'",
    ),
}

ALL = {
    f"{group}: {name}": case
    for group, cases in (("model", MODELS), ("run", RUNS), ("other", OTHERS))
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", ALL)
def test_bad_input_is_refused_in_one_line(name):
    call, pattern = ALL[name]
    with pytest.raises(ValueError, match="expected") as caught:
        call()
    text = str(caught.value)
    assert re.search(pattern, text), text
    assert "\n" not in text


def test_a_mask_is_not_taken_for_inputs():
    seen = np.ones(T, bool)
    with pytest.raises(TypeError, match="positional arguments"):
        kf.run(kf.unscented(), model(), np.zeros((T, 1)), seen)
    with pytest.raises(TypeError, match="positional arguments"):
        kf.step(kf.unscented(), model(), state(), np.zeros(1), seen)


def test_an_indefinite_matrix_inside_a_trace_is_not_looked_at():
    jax.jit(lambda Q: model().replace(Q=Q))(-EYE)
    jax.vmap(lambda q: model().replace(Q=q * EYE).Q)(np.array([-1.0, 1.0]))


def test_rounding_is_no_reason_to_refuse_a_covariance():
    rng = np.random.default_rng(0)
    v = rng.normal(size=(2, 1)).astype(np.float32)
    model(Q=v @ v.T)
    model(Q=np.array([[1.0, 1e-8], [0.0, 1.0]], np.float32))
    model(Q=np.array([[1.0, 1e-14], [0.0, 0.0]], np.float32))  # beside a variance of zero
    with pytest.raises(ValueError, match="Q is not symmetric"):
        model(Q=np.array([[1.0, 1e-8], [0.0, 0.0]], np.float32))


def test_a_constructor_without_an_argument_says_which_one_it_is():
    with pytest.raises(TypeError, match=r"square_root\(\) missing a required argument: 'rule'"):
        kf.square_root()
