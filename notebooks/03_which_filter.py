# %% [markdown]
# # Which filter for my nonlinearity?
#
# Kalman filters for nonlinear models differ in one thing: how they push a Gaussian through a
# function. This notebook runs the common ones, and a particle filter, on three small problems whose
# nonlinearity is of different kinds, and sets accuracy, honesty and cost side by side. Then it asks
# the question that decides: *how nonlinear is the function over the width of the belief?*

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import kfjax as kf
from kfjax.plotting import COLOURS, plot_noise_sweep

QUICK = "KFJAX_QUICK" in os.environ  # small sizes, for automatic tests
plt.rcParams.update({"figure.dpi": 72, "figure.constrained_layout.use": True})
BATCH, STEPS, PARTICLES = (20, 20, 100) if QUICK else (100, 40, 500)

# %% [markdown]
# ## The candidates
#
# | filter | how a Gaussian is moved | evaluations of f and h per step |
# |---|---|---|
# | EKF | tangent at the mean | one, and a Jacobian |
# | iterated EKF | tangent at the updated mean, again and again | some, each with a Jacobian |
# | UKF | 2 n + 1 sigma points | 2 n + 1 |
# | CKF | 2 n points, no parameters | 2 n |
# | GHKF | a grid of Gauss-Hermite points | 3^n |
# | EnKF | N random members, Gaussian update | N |
# | PF | N random members, weighted by the likelihood | N |

# %%
FILTERS = {
    "EKF": kf.extended(),
    "iterated EKF": kf.extended(iterations=3),
    "UKF": kf.unscented(),
    "CKF": kf.cubature(),
    "GHKF": kf.gauss_hermite(order=3),
    "EnKF": kf.ensemble(50),
    "PF": kf.particle(PARTICLES),
}
if QUICK:
    FILTERS = {name: FILTERS[name] for name in ("UKF", "PF")}

PROBLEMS = {
    "toy: x -> sin, y = x squared": kf.systems.toy(q_std=0.3, r_std=0.3),
    "pendulum, precise camera": kf.systems.pendulum(dt=0.05, q_density=1.0, r_std=0.1),
    "bearings only": kf.systems.bearings_only(
        sensors=((0.0, 0.0), (30.0, -10.0)),
        prior=kf.Gaussian(jnp.array([60.0, -1.0, 40.0, 0.5]), np.diag([400.0, 1.0, 400.0, 1.0]))
    ),
}  # fmt: skip
if QUICK:
    PROBLEMS.pop("pendulum, precise camera")


def data_of(model):
    xs, ys = jax.vmap(lambda key: kf.simulate(key, model, STEPS))(
        jax.random.split(jax.random.key(0), BATCH)
    )
    return kf.Dataset(ys, xs)


# %% [markdown]
# ## The comparison
#
# The same trajectories for every filter. MSE in dB with an interval; "to best" is the paired
# difference, which is what tells two filters apart; ANEES is 1 for an honest covariance; "failed"
# are trajectories that became infinite.

# %%
results = {}
for name, model in PROBLEMS.items():
    results[name] = kf.compare(
        {label: (method, model) for label, method in FILTERS.items()}, data_of(model), repeats=3
    )
    print(name)
    print(results[name], "\n")

# %% [markdown]
# ## Cost against accuracy
#
# One point per filter: to the left is cheap, down is accurate. (Times on this machine, for the
# whole batch at once, per trajectory and step.)

# %%
figure, axes = plt.subplots(1, len(PROBLEMS), figsize=(11, 3.4))
for ax, (name, result) in zip(axes, results.items(), strict=True):
    for row, colour in zip(result.rows, COLOURS, strict=False):
        median = row.median_db
        ax.plot(row.microseconds, median, "o", color=colour)
        ax.annotate(f" {row.name}", (row.microseconds, median), fontsize=8)
    ax.set(xscale="log", xlabel="us per step", title=name)
axes[0].set_ylabel("median MSE [dB]")
plt.show()

# %% [markdown]
# ## How nonlinear is it, for this belief?
#
# What counts is not the function but the function over the width of the belief. Its tangent
# predicts y as h(m) with the covariance J P J'; the Gauss-Hermite rule, nearly exact in few
# dimensions, gives the mean and covariance that really belong to the belief. Below, over the
# beliefs of the EKF before each observation: the shift of the mean, in standard deviations of the
# innovation, and the ratio of the predicted variances. Near 0 and 1, an EKF is all one needs.


# %%
def nonlinearity(model, ys):
    """Shift of the predicted observation, and ratio of its variances, tangent against quadrature."""
    ekf = kf.extended()
    exact, tangent = kf.moments.GaussHermite(5), kf.moments.Taylor()

    def at(state):
        by_tangent, by_points = (
            rule(lambda x: model.h(x, None), state) for rule in (tangent, exact)
        )
        S = jnp.diagonal(by_points.cov + model.R)
        return jnp.abs(by_points.mean - by_tangent.mean) / jnp.sqrt(S), jnp.diagonal(
            by_tangent.cov + model.R
        ) / S

    def one(state, y):
        predicted = ekf.predict(model, state)
        return ekf.update(model, predicted, y)[0], at(predicted)

    return jax.lax.scan(one, ekf.init(model), ys)[1]


figure, axes = plt.subplots(1, 2, figsize=(9, 3))
for name, model in PROBLEMS.items():
    shift, ratio = jax.jit(jax.vmap(lambda ys, model=model: nonlinearity(model, ys)))(
        jnp.asarray(data_of(model).ys)
    )
    print(
        f"{name:28} median shift {float(jnp.median(shift)):.3f}, 95 % {float(jnp.quantile(shift, 0.95)):.3f}",
        end="",
    )
    print(
        f"   variance tangent / true: median {float(jnp.median(ratio)):.2f}, 5 % {float(jnp.quantile(ratio, 0.05)):.2f}"
    )
    axes[0].plot(np.arange(1, STEPS + 1), jnp.median(shift, axis=(0, 2)), label=name)
    axes[1].plot(np.arange(1, STEPS + 1), jnp.median(ratio, axis=(0, 2)))
axes[0].set(title="shift of the mean, in sigmas", xlabel="step")
axes[1].set(title="variance by tangent / true", xlabel="step")
axes[0].legend()
plt.show()

# %% [markdown]
# ## The level of noise decides, too
#
# The toy model again, from noisy to precise, with process and sensor noise together. The belief
# gets narrower with the noise, and so the function straighter. A particle filter shows what is
# possible (where it has enough particles).

# %%
LEVELS = np.array([-10.0, 10.0]) if QUICK else np.linspace(-12, 24, 5)
chosen = [name for name in ("EKF", "UKF", "PF") if name in FILTERS]
curves = {name: [] for name in chosen}
for level in LEVELS:
    std = 10 ** (-level / 20)
    model = kf.systems.toy(q_std=std, r_std=std)
    for name in chosen:
        study = kf.monte_carlo(
            jax.random.key(1), model, FILTERS[name], model, trials=BATCH, steps=STEPS
        )
        curves[name].append(study.mse_db())
plot_noise_sweep(LEVELS, curves, ax=plt.subplots(figsize=(6, 3.2))[1])
plt.show()

# %% [markdown]
# ## How many particles?
#
# A particle filter converges to the right answer as N grows, at a cost that grows with it, and
# needs more the more precise the sensor is.

# %%
COUNTS = (PARTICLES,) if QUICK else (30, 100, 300, 1000)
model = kf.systems.toy(q_std=0.3, r_std=0.3)
found = [
    kf.monte_carlo(
        jax.random.key(2), model, kf.particle(N), model, trials=BATCH, steps=STEPS
    ).mse_db()
    for N in COUNTS
]
reference = kf.monte_carlo(
    jax.random.key(2), model, kf.unscented(), model, trials=BATCH, steps=STEPS
).mse_db()
figure, ax = plt.subplots(figsize=(6, 2.8))
spread = [[e.value - e.low for e in found], [e.high - e.value for e in found]]
ax.errorbar(COUNTS, [e.value for e in found], spread, fmt="o-", capsize=3, label="PF")
ax.axhline(reference.value, color="#d55e00", label="UKF")
ax.set(xscale="log", xlabel="particles", ylabel="MSE [dB]", title="toy, noise 0.3")
ax.legend()
plt.show()

# %% [markdown]
# ## A rule of thumb
#
# 1. Begin with the EKF: cheapest, and Jacobians are taken for you. Look at its ANEES and at the
#    shift above.
# 2. If the belief is wide where f bends, take the UKF or the CKF; in few dimensions the GHKF says
#    whether more points would help.
# 3. A precise sensor with a strongly bent h: the iterated EKF, which linearises where the
#    observation puts the state.
# 4. Beliefs with two peaks (here: y = x squared does not tell the sign of x) are for particle
#    filters; no Gaussian filter can hold them.
# 5. Many states: the ensemble filter, which never forms the n x n covariance.
# 6. Whatever you take: tune Q and R (`kf.training.tune`, `kf.training.fit_noise`) before you judge.
