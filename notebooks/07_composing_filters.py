# %% [markdown]
# # Composing filters
#
# A filter is three functions, and a combinator takes filters and returns one. Gates, robust
# updates, adaptive noise, several models, several sensors with their own clocks: each takes a few
# lines and is independent of the others, and they can be nested. The result can be run, streamed,
# batched and differentiated like any filter.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import kfjax as kf
from kfjax.plotting import plot_path, plot_trajectory

QUICK = "KFJAX_QUICK" in os.environ  # small sizes, for automatic tests
plt.rcParams.update(
    {"figure.dpi": 72, "figure.constrained_layout.use": True}
)
TRIALS, STEPS = (10, 60) if QUICK else (200, 150)


def rmse(mean, truth):
    return float(jnp.sqrt(jnp.mean((mean - truth) ** 2)))


# %% [markdown]
# ## Outliers: gates and robust updates
#
# A body moves in the plane, and one observed position in ten is an outlier. `kf.gated` rejects
# observations that are too surprising to be true, while `kf.student_t` and `kf.huber` give them
# less weight. The plain filter follows the outliers.

# %%
model = kf.systems.constant_velocity(2, q_density=0.09, r_std=1.0)


def spoiled(key):
    """A trajectory with outliers."""
    draw, where, how_far = jax.random.split(key, 3)
    xs, ys = kf.simulate(draw, model, STEPS)
    bad = jax.random.bernoulli(where, 0.1, (STEPS, 1))
    return xs, ys + bad * 20 * jax.random.normal(how_far, ys.shape)


X, Y = jax.vmap(spoiled)(jax.random.split(jax.random.key(0), TRIALS))
filters = {
    "plain": kf.kalman(),
    "gated": kf.gated(kf.kalman(), probability=0.999),
    "Student t": kf.student_t(kf.kalman()),
    "Huber": kf.huber(kf.kalman()),
}
if QUICK:
    filters = {name: filters[name] for name in ("plain", "gated")}
table = kf.compare(
    {name: (filter, model) for name, filter in filters.items()},
    kf.Dataset(Y, X),
    repeats=1,
)
print(table)
if not QUICK:  # what is said below
    median = {row.name: row.median_db for row in table.rows}
    mean = {row.name: row.mse_db.value for row in table.rows}
    assert (min(median, key=median.get), max(mean, key=mean.get)) == (
        "gated",
        "gated",
    )
    assert min(mean, key=mean.get) == "Student t"

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
for ax, name in zip(axes, ("plain", "gated"), strict=True):
    est = kf.run(filters[name], model, Y[0]).outputs
    plot_path(est.mean, None, X[0], components=(0, 2), label=name, ax=ax)
    ax.set_title(f"{name}: RMSE {rmse(est.mean, X[0]):.2f}")
plt.show()

# %% [markdown]
# The gate has the best median and the worst mean: in some trajectories it loses the body, and then
# rejects every observation that would bring it back (`kf.fallback` restarts such a filter). Weights
# that fall gradually avoid this; Student's t has the best mean.
#
# Combinators report what they found in `info.extra`:

# %%
_, info = kf.run(
    filters["gated"], model, Y[0], emit=kf.estimate_and_info
).outputs
print(
    "rejected at steps",
    np.flatnonzero(~np.asarray(info.extra["accepted"], bool)) + 1,
)

# %% [markdown]
# ## Noise of unknown size
#
# Half-way through the record the sensor gets five times worse. `kf.adaptive` estimates R from the
# size of the innovations and forgets old ones. The same filter with the right R at every step is
# the bound.

# %%
xs, ys = kf.simulate(jax.random.key(1), model, STEPS)
_, worse = kf.simulate(
    jax.random.key(1), model.replace(R=25 * model.R), STEPS
)
ys = jnp.where(jnp.arange(STEPS)[:, None] < STEPS // 2, ys, worse)
truly = model.replace(R=lambda x, u: u * model.R)
factor = jnp.where(jnp.arange(STEPS) < STEPS // 2, 1.0, 25.0)
adaptive = kf.adaptive(kf.kalman(), forgetting_R=0.95)


def scale_of_R(state, info):
    return state.mean, state.R_scale[0, 0]


means, scales = kf.run(adaptive, model, ys, emit=scale_of_R).outputs
plain = kf.run(kf.kalman(), model, ys).outputs
best = kf.run(kf.kalman(), truly, ys, us=factor).outputs
print(
    f"RMSE plain {rmse(plain.mean, xs):.3f}, adaptive"
    f" {rmse(means, xs):.3f}, told the truth {rmse(best.mean, xs):.3f}"
)
figure, ax = plt.subplots(figsize=(7, 2.4))
ax.plot(np.arange(1, STEPS + 1), scales, label="estimated")
ax.plot(
    np.arange(1, STEPS + 1), factor, color="#222222", ls="--", label="true"
)
ax.set(yscale="log", xlabel="step", ylabel="R / nominal R")
ax.legend()
plt.show()

# %% [markdown]
# ## Several models: IMM
#
# The body cruises, and now and then manoeuvres. One filter has to choose between noise and lag; an
# interacting multiple model runs a calm and a lively filter, and weights them by how well they
# predict.

# %%
calm = kf.systems.constant_velocity(2, q_density=9e-4, r_std=1.0)
lively = calm.replace(Q=calm.Q * 40.0**2)
manoeuvre = (jnp.arange(STEPS) // 25) % 3 == 2


def switching(x, u):
    return jnp.where(u, lively.Q, calm.Q)


truth = calm.replace(Q=switching)
X, Y = jax.vmap(lambda key: kf.simulate(key, truth, us=manoeuvre))(
    jax.random.split(jax.random.key(2), TRIALS)
)
chain = kf.IMMParams(
    (calm, lively),
    transition=[[0.96, 0.04], [0.08, 0.92]],
    weights=[0.9, 0.1],
)
candidates = {
    "calm": (kf.kalman(), calm),
    "lively": (kf.kalman(), lively),
    "IMM": (kf.imm((kf.kalman(), kf.kalman())), chain),
}
print(kf.compare(candidates, kf.Dataset(Y, X), repeats=1))


def weights(state, info):
    return state.weights


found = kf.run(*candidates["IMM"], Y[0], emit=weights).outputs
figure, ax = plt.subplots(figsize=(7, 2.2))
ax.fill_between(
    np.arange(1, STEPS + 1),
    0,
    manoeuvre,
    color="#eeeeee",
    step="mid",
    label="manoeuvre",
)
ax.plot(
    np.arange(1, STEPS + 1), found[:, 1], label="weight of the lively model"
)
ax.set(xlabel="step")
ax.legend()
plt.show()

# %% [markdown]
# ## Several sensors, each with its own clock
#
# A satellite receiver reports a position every ten steps, a wheel its speed at every step, a radar
# bearings at irregular times. `kf.sequential` updates with each of them in turn; one that did not
# report is simply unobserved. Each sensor may have its own filter: here the filter of the radar is
# gated.


# %%
def bearing(x, u):
    return kf.systems.bearing(x[0] + 30.0, x[2])[None]


def speed(x, u):
    return jnp.sqrt(x[1] ** 2 + x[3] ** 2 + 1e-6)[None]


body = kf.systems.constant_velocity(
    2,
    dt=1.0,
    q_density=0.01,
    prior=kf.Gaussian(
        jnp.array([20.0, -0.5, 20.0, 0.5]), np.diag([9.0, 0.3, 9.0, 0.3])
    ),
)
sensors = kf.Sensors(
    body.f,
    body.Q,
    body.prior,
    {
        "bearing": kf.Sensor(bearing, [[0.02**2]], space=kf.angles(0)),
        "position": kf.Sensor(
            kf.Linear([[1.0, 0, 0, 0], [0, 0, 1.0, 0]]), 4.0 * np.eye(2)
        ),
        "speed": kf.Sensor(speed, [[0.1**2]]),
    },
)
xs, _ = kf.simulate(jax.random.key(3), body, STEPS)
ys = {}
for key, (name, sensor) in zip(
    jax.random.split(jax.random.key(4), 3),
    sensors.sensors.items(),
    strict=True,
):
    noise = jax.random.normal(key, (STEPS, len(sensor.R))) @ jnp.sqrt(
        sensor.R
    )
    ys[name] = jax.vmap(lambda x, h=sensor.h: h(x, None))(xs) + noise
at = jnp.arange(1, STEPS + 1)
reported = {
    "bearing": jax.random.bernoulli(jax.random.key(5), 0.3, (STEPS,)),
    "position": at % 10 == 0,
    "speed": at > 0,
}
ekf = kf.extended()
# in the order of the names
tracker = kf.sequential((kf.gated(ekf), ekf, ekf))
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
never = {"bearing": at < 0, "speed": at < 0}
masks = {"position alone": reported | never, "all three sensors": reported}
for ax, (name, seen) in zip(axes, masks.items(), strict=True):
    est = kf.run(tracker, sensors, ys, observed=seen).outputs
    plot_path(est.mean, est.cov, xs, components=(0, 2), ax=ax)
    ax.set_title(
        f"{name}: RMSE {rmse(est.mean[:, ::2], xs[:, ::2]):.2f} of the"
        " position"
    )
plt.show()

# %% [markdown]
# ## All at once, streamed
#
# The next cell runs an interacting multiple model of a gated unscented filter and a particle
# filter, with missing data, one observation at a time:

# %%
pendulum = kf.systems.pendulum(dt=0.05)
xs, ys = kf.simulate(jax.random.key(6), pendulum, steps=60)
ys = ys.at[20:30].set(jnp.nan)
tracker = kf.imm(
    (kf.gated(kf.unscented(), 0.999), kf.particle(100 if QUICK else 500))
)
params = kf.IMMParams(
    (pendulum, pendulum.replace(Q=25 * pendulum.Q)),
    transition=[[0.95, 0.05], [0.1, 0.9]],
    weights=[0.8, 0.2],
)
state, means, covs = tracker.init(params, jax.random.key(7)), [], []
for y in ys:
    state, info = kf.step(tracker, params, state, y, observed=~jnp.isnan(y))
    means.append(state.mean)
    covs.append(state.cov)
figure, axes = plt.subplots(2, 1, figsize=(7, 3.6), sharex=True)
plot_trajectory(jnp.stack(means), jnp.stack(covs), xs, axes=axes)
axes[0].axvspan(20.5, 30.5, color="#eeeeee")
axes[0].set_title("nothing seen in the grey part")
plt.show()

# %% [markdown]
# ## Write your own combinator
#
# A combinator takes a `Filter` and returns a `Filter`, usually with one of its functions replaced.
# With `kf.constructor` the same call returns the same filter, so that nothing is compiled twice,
# and the filter prints as the call that made it. This combinator keeps standard deviations above a
# floor:


# %%
@kf.constructor
def floored(filter, std):
    """Never let a variance fall below std squared."""

    def update(params, state, y, u=None, observed=None):
        new, info = filter.update(params, state, y, u, observed)
        missing = jnp.maximum(std**2 - jnp.diagonal(new.cov), 0)
        belief = kf.Gaussian(new.mean, new.cov + jnp.diag(missing))
        kept = filter.recentre(params, new, belief)
        if observed is None:
            return kept, info
        # the law: nothing observed, nothing changed
        seen = jnp.any(observed)
        return jax.tree.map(
            lambda a, b: jnp.where(seen, a, b), kept, state
        ), info

    return filter._replace(update=update, rule=None)


est = kf.run(
    floored(kf.unscented(), 0.2), pendulum, ys, observed=~jnp.isnan(ys)
).outputs
stds = jnp.sqrt(jnp.diagonal(est.cov, axis1=1, axis2=2))[
    ~jnp.isnan(ys[:, 0])
]
print(
    "smallest standard deviation where something was seen:",
    round(float(stds.min()), 4),
)
