"""Observability and controllability do not depend on units or on the length of a step."""

import math

import jax
import numpy as np
import pytest

import kfjax as kf


def integrators(n, dt):
    """A chain of n integrators over a step dt."""
    return np.array(
        [
            [dt ** (j - i) / math.factorial(j - i) if j >= i else 0.0 for j in range(n)]
            for i in range(n)
        ]
    )


def linear(F, H, Q=None):
    n, m = len(F), len(H)
    Q = np.eye(n) if Q is None else Q
    return kf.linear_gaussian(F, H, Q, np.eye(m), kf.Gaussian(np.zeros(n), np.eye(n)))


@pytest.mark.parametrize("dt", [1e3, 1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("double", [False, True])
def test_ranks_of_chains_for_steps_of_any_length(dt, double):
    with jax.enable_x64(double):
        for n in (2, 3, 6):
            F, first = integrators(n, dt), np.eye(n)[:1]
            assert kf.observability(linear(F, first)).rank == n
            assert kf.observability(linear(F, np.eye(n)[1:2])).rank == n - 1  # not the position
            driven_last, driven_first = np.diag(np.eye(n)[-1]), np.diag(np.eye(n)[0])
            assert kf.controllability(linear(F, first, 1e-6 * driven_last)).rank == n
            assert kf.controllability(linear(F, first, driven_first)).rank == 1


@pytest.mark.parametrize("dt", [1.0, 1e-3, 1e-6])
def test_constant_acceleration_is_observable_and_controllable(dt):
    model = kf.systems.constant_acceleration(dt=dt)
    assert kf.observability(model).rank == 3
    assert kf.controllability(model).rank == 3


@pytest.mark.parametrize("double", [False, True])
def test_what_is_missing_in_other_coordinates_and_units(double):
    rng = np.random.default_rng(0)
    with jax.enable_x64(double):
        for n, seen in ((3, 2), (4, 1), (5, 3)):
            F = np.tril(rng.uniform(-1, 1, (n, n))) + np.diag(np.arange(n))
            F[:seen, :seen] += np.triu(np.ones((seen, seen)), 1)
            F[:seen, seen:] = 0
            H = np.eye(n)[:1] + np.eye(n)[seen - 1 : seen]
            turn = np.linalg.qr(rng.normal(size=(n, n)))[0]
            units = 10.0 ** rng.integers(-6, 7, n)
            T = units[:, None] * turn
            inverse = turn.T / units
            rank = kf.observability(linear(T @ F @ inverse, H @ inverse))
            assert rank.rank == seen
            assert rank.singular_values.shape == (n,)
            # the directions of the original states that H, H F, ... do not hold
            hidden = inverse @ rank.missing
            np.testing.assert_allclose(
                hidden[:seen] / np.linalg.norm(hidden, axis=0), 0, atol=1e-3 if not double else 1e-9
            )


def test_two_oscillators_are_told_apart_at_short_steps(x64):
    for dt in (1.0, 1e-2, 1e-4):
        F = np.zeros((4, 4))
        for i, w in ((0, 1.0), (2, 2.0)):
            c, s = np.cos(w * dt), np.sin(w * dt)
            F[i : i + 2, i : i + 2] = [[c, s / w], [-w * s, c]]
        assert kf.observability(linear(F, [[1.0, 0.0, 1.0, 0.0]])).rank == 4
        same = F.copy()
        same[2:, 2:] = F[:2, :2]
        assert kf.observability(linear(same, [[1.0, 0.0, 1.0, 0.0]])).rank == 2


def test_nothing_observed_and_nothing_driven():
    rank = kf.observability(linear(np.eye(2), np.zeros((1, 2))))
    assert rank.rank == 0
    np.testing.assert_allclose(rank.missing @ rank.missing.T, np.eye(2), atol=1e-12)
    np.testing.assert_array_equal(rank.singular_values, [0.0, 0.0])
