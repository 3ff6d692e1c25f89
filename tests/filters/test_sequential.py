"""Several sensors: the joint update, the laws, rates, angles."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.combining import changed, tight
from support.table import MODELS, Case, predict, quick_jit, run, traces, update

import kfjax as kf
from kfjax.filters import adaptive, gated, sequential

# several sensors


def two_sensors(structure):
    """The linear problem as one sensor per channel, and as a joint model with the
    block-diagonal R."""
    problem = MODELS["linear"]()
    H, R = problem.model.h.A, np.diag([0.5, 0.4])
    channel = {"a": slice(0, 1), "b": slice(1, 2)}
    split = {
        name: (kf.Linear(H[s]), R[s, s], problem.ys[:, s], problem.observed[:, s])
        for name, s in channel.items()
    }
    parts = {name: kf.Sensor(h, R) for name, (h, R, _, _) in split.items()}
    ys = {name: y for name, (_, _, y, _) in split.items()}
    observed = {name: seen for name, (_, _, _, seen) in split.items()}
    if structure == "tuple":
        parts, ys, observed = (tuple(tree.values()) for tree in (parts, ys, observed))
    motion = problem.model
    sensors = kf.Sensors(motion.f, motion.Q, motion.prior, parts)
    return sensors, ys, observed, problem.model.replace(R=R), problem


smooth = quick_jit(kf.smooth, static_argnums=0)


@pytest.mark.parametrize("structure", ["dict", "tuple"])
def test_sequential_equals_the_joint_update(x64, structure):
    sensors, ys, observed, joint, problem = two_sensors(structure)
    method = sequential(kf.kalman())
    final, (est, info) = run(Case(method, sensors, ys, None, observed))
    expected_final, (expected, reference) = run(
        Case(kf.kalman(), joint, problem.ys, None, problem.observed)
    )
    chex.assert_trees_all_close((final, est), (expected_final, expected), **tight)
    for field in ("log_likelihood", "nis", "dof"):
        np.testing.assert_allclose(getattr(info, field), getattr(reference, field), **tight)
    smoothed = smooth(method, sensors, est)
    chex.assert_trees_all_close(smoothed, smooth(kf.kalman(), joint, expected), **tight)
    parts = [info.extra["sensors"][k] for k in (("a", "b") if structure == "dict" else (0, 1))]
    np.testing.assert_array_equal(np.stack([part.dof for part in parts], axis=1), problem.observed)


def test_sequential_of_gated_rejects_one_sensor_and_keeps_the_other(x64):
    sensors, ys, observed, joint, problem = two_sensors("dict")
    ys["b"] = changed(ys["b"], 1, 1e3)
    for inner in (gated(kf.kalman()), (kf.kalman(), gated(kf.kalman()))):
        est, info = run(Case(sequential(inner), sensors, ys, None, observed)).outputs
        mask = np.array(problem.observed)
        mask[1, 1] = False
        expected = run(Case(kf.kalman(), joint, problem.ys, None, mask)).outputs[0]
        chex.assert_trees_all_close((est.mean, est.cov), (expected.mean, expected.cov), **tight)
        rejected = jax.tree.map(lambda a: a[1], info.extra["sensors"]["b"])
        assert rejected.nis > 1e3
        np.testing.assert_allclose(
            est.log_likelihood - expected.log_likelihood,
            np.where(np.arange(len(mask)) == 1, rejected.log_likelihood, 0),
            **tight,
        )


def test_sequential_obeys_the_laws(x64):
    sensors, ys, observed, _, _ = two_sensors("dict")
    method = sequential(kf.extended())
    state = predict(method, sensors, method.init(sensors), None)
    missing = {"a": jnp.full(1, jnp.nan), "b": jnp.full(1, jnp.nan)}
    new, info = update(method, sensors, state, missing, None, np.False_)
    chex.assert_trees_all_equal(new, state)
    chex.assert_trees_all_equal(info, jax.tree.map(np.zeros_like, info))
    c = Case(method, sensors, ys, None, observed)
    outputs = run(c)
    before = traces[0]
    batch = jax.tree.map(lambda a: jnp.stack([a, a + 1.0]), ys)
    masks = jax.tree.map(lambda a: np.stack([a, ~a]), observed)
    both = jax.vmap(lambda y, o: run(c, ys=y, observed=o))(batch, masks)
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[0], both), outputs, **tight)
    chex.assert_trees_all_close(run(c), outputs, **tight)
    assert traces[0] == before
    shorter = quick_jit(lambda ys: kf.run(method, sensors, ys, observed=observed, length=3).final)(
        ys
    )
    chex.assert_trees_all_close(shorter.mean, outputs[1][0].mean[2], **tight)


def test_sequential_sensors_have_angles_and_inputs_of_their_own(x64):
    problem = MODELS["heading"]()
    landmark = problem.model.h
    sensors = kf.Sensors(
        problem.model.f,
        problem.model.Q,
        problem.model.prior,
        {
            "bearing": kf.Sensor(pick(landmark, 1), [[0.02]], space=kf.angles(0)),
            "range": kf.Sensor(pick(landmark, 0), [[0.05]]),
        },
        problem.model.state_space,
    )
    ys = {"bearing": problem.ys[:, 1:] + 2 * np.pi, "range": problem.ys[:, :1]}
    est = run(Case(sequential(kf.extended()), sensors, ys, problem.us, None)).outputs[0]
    joint = run(Case(kf.extended(), problem.model, problem.ys, problem.us, None)).outputs[0]
    np.testing.assert_allclose(est.mean, joint.mean, atol=0.02)


def test_with_model_reaches_the_motion_of_sensors(x64):
    sensors, ys, observed, joint, problem = two_sensors("dict")
    changed_sensors = kf.with_model(sensors, Q=4 * joint.Q)
    np.testing.assert_array_equal(changed_sensors.Q, 4 * joint.Q)
    est = run(Case(sequential(kf.kalman()), changed_sensors, ys, None, observed)).outputs[0]
    expected = run(
        Case(kf.kalman(), joint.replace(Q=4 * joint.Q), problem.ys, None, problem.observed)
    )[1][0]
    chex.assert_trees_all_close(est, expected, **tight)
    with pytest.raises(
        ValueError, match="got R; expected fields among Q, f, first, prior, sensors"
    ):
        kf.with_model(sensors, R=np.eye(1))


def test_noise_of_the_motion_adapts_around_sensors(x64):
    sensors, ys, observed, joint, problem = two_sensors("dict")
    method = adaptive(sequential(kf.kalman()), forgetting_R=1.0, forgetting_Q=0.9)
    est = run(Case(method, sensors, ys, None, observed)).outputs[0]
    expected = run(
        Case(
            adaptive(kf.kalman(), forgetting_R=1.0, forgetting_Q=0.9),
            joint,
            problem.ys,
            None,
            problem.observed,
        )
    )[1][0]
    chex.assert_trees_all_close(est, expected, **tight)


def test_forecasts_of_several_sensors_have_no_observation():
    sensors = two_sensors("dict")[0]
    method = sequential(kf.kalman())
    ahead = kf.forecast(method, sensors, method.init(sensors), steps=2)
    assert ahead.observation is None
    with pytest.raises(
        ValueError, match=r"expected the model with one of them\. Pass sensors\.one"
    ):
        kf.observation_estimate(method, sensors, ahead.state)
    one = kf.observation_estimate(kf.kalman(), sensors.one("a"), ahead.state)
    assert one.mean.shape == (2, 1)


def pick(h, i):
    return jax.tree_util.Partial(picked, float(i), h)


def picked(i, h, x, u):
    return jnp.where(i > 0, h(x, u)[1:], h(x, u)[:1])


def test_split_missing_takes_sensors():
    filled, observed = kf.split_missing(
        {"a": np.array([[1.0], [np.nan]]), "b": np.array([[2.0, np.nan]])}
    )
    np.testing.assert_array_equal(filled["b"], [[2.0, 0.0]])
    np.testing.assert_array_equal(observed["a"], [[True], [False]])
