# %% [markdown]
# # Quickstart
#
# This notebook shows what you can do with one model: filter one trajectory, a batch, a sweep of
# parameters, data with gaps, or one observation at a time, and smooth, forecast and differentiate.
# It takes a few minutes to read and needs no knowledge of JAX.

# %%
import os
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import kfjax as kf
from kfjax.plotting import plot_trajectory

QUICK = "KFJAX_QUICK" in os.environ  # small sizes, for automatic tests
plt.rcParams.update(
    {"figure.dpi": 72, "figure.constrained_layout.use": True}
)

# %% [markdown]
# ## A model
#
# The example is a pendulum, with an angle and a rate, that is pushed at random and seen from the
# side. A model consists of two functions, two covariances, and a belief about the start:
#
# $$x_t = f(x_{t-1}, u_t) + e_t, \quad e_t \sim N(0, Q), \qquad y_t = h(x_t, u_t) + v_t, \quad v_t \sim N(0, R).$$
#
# `u` is an input, which is not used here. Write `jnp` (JAX's numpy) instead of `np` inside f and h;
# nothing else changes.

# %%
DT = 0.05


def f(x, u):
    """One step: angle and rate."""
    angle, rate = x
    return jnp.stack([angle + DT * rate, rate - DT * 9.81 * jnp.sin(angle)])


def h(x, u):
    """What the camera sees: the displacement to the side."""
    return jnp.sin(x[:1])


Q = 0.2**2 * np.array([[DT**3 / 3, DT**2 / 2], [DT**2 / 2, DT]])
model = kf.StateSpaceModel(
    f,
    h,
    Q=Q,
    R=[[0.2**2]],
    prior=kf.Gaussian(jnp.array([1.0, 0.0]), 0.1 * jnp.eye(2)),
)

# %% [markdown]
# Simulate the model to get data whose truth is known. Random numbers in JAX come from a key that
# you pass.

# %%
STEPS = 40 if QUICK else 150
key = jax.random.key(0)
xs, ys = kf.simulate(key, model, steps=STEPS)
print("states", xs.shape, "observations", ys.shape)

# %% [markdown]
# ## One trajectory
#
# A filter is a value, such as `kf.extended()`. `kf.run` returns the final state and the estimates
# of all steps.

# %%
final, est = kf.run(kf.extended(), model, ys)
print(
    "mean",
    est.mean.shape,
    "cov",
    est.cov.shape,
    "log-likelihood",
    float(est.log_likelihood.sum()),
)

figure, axes = plt.subplots(2, 1, figsize=(7, 4), sharex=True)
plot_trajectory(est.mean, est.cov, xs, axes=axes, label="EKF")
axes[0].plot(
    np.arange(1, STEPS + 1), ys[:, 0], ".", color="#999999", ms=3, label="y"
)
axes[0].legend(ncols=4)
plt.show()

# %% [markdown]
# **Smoothing** also uses the observations that come later, and **forecasting** continues without
# observations.

# %%
smoothed = kf.smooth(kf.extended(), model, est)
ahead = kf.forecast(kf.extended(), model, final, steps=30)


def rmse(mean, truth=xs):
    return float(jnp.sqrt(jnp.mean((mean - truth) ** 2)))


print(
    f"RMSE of the filter {rmse(est.mean):.3f}, of the smoother"
    f" {rmse(smoothed.mean):.3f}"
)

figure, ax = plt.subplots(figsize=(7, 2.6))
later = np.arange(STEPS + 1, STEPS + 31)
spread = 2 * jnp.sqrt(ahead.state.cov[:, 0, 0])
ax.plot(np.arange(1, STEPS + 1), smoothed.mean[:, 0], label="smoothed")
ax.plot(later, ahead.state.mean[:, 0], label="forecast")
ax.fill_between(
    later,
    ahead.state.mean[:, 0] - spread,
    ahead.state.mean[:, 0] + spread,
    alpha=0.25,
    lw=0,
)
ax.set(xlabel="step", ylabel="angle")
ax.legend()
plt.show()

# %% [markdown]
# ## A batch
#
# A filter is written for one trajectory. `jax.vmap` makes a batch of anything, here of simulations
# and of filters. `jax.jit` compiles the whole, and the second call needs no compilation.

# %%
BATCH = 64 if QUICK else 1000
X, Y = jax.vmap(lambda k: kf.simulate(k, model, STEPS))(
    jax.random.split(key, BATCH)
)


@jax.jit
def filtered(model, Y):
    return jax.vmap(lambda ys: kf.run(kf.extended(), model, ys).outputs)(Y)


for attempt in ("first call, with compilation", "second call"):
    started = time.perf_counter()
    batch = jax.block_until_ready(filtered(model, Y))
    print(
        f"{attempt}: {time.perf_counter() - started:.3f} s for {BATCH}"
        f" trajectories of {STEPS} steps"
    )

# %% [markdown]
# If the true states are known, you can compare the errors of filters, with intervals, and check
# whether their covariances match these errors (ANEES is 1 for a consistent filter and larger for an
# overconfident one). `kf.compare` does this on any data. Its times are medians of repeated calls,
# after compilation.

# %%
filters = {"EKF": (kf.extended(), model), "UKF": (kf.unscented(), model)}
filters["EKF, R too small"] = (kf.extended(), model.replace(R=model.R / 9))
table = kf.compare(filters, kf.Dataset(Y, X), repeats=2 if QUICK else 9)
print(table)

# %% [markdown]
# ## A sweep
#
# The model is an argument, and `vmap` may run over every number in it: one compiled program serves
# all values. Which Q fits the data? The likelihood tells you. Here it is that of fifty records,
# since one record of this length hardly distinguishes a small Q from a smaller one.

# %%
factors = jnp.geomspace(1e-2, 1e2, 7 if QUICK else 25)
likelihood = jax.jit(
    jax.vmap(
        lambda c: jax.vmap(
            lambda y: kf.log_likelihood(
                kf.extended(), model.replace(Q=c * model.Q), y
            )
        )(Y[:50]).sum()
    )
)
found = likelihood(factors)
top = int(jnp.argmax(found))
assert 0 < top < len(factors) - 1, (
    "the grid ends before the likelihood falls"
)
best = float(factors[top])

figure, ax = plt.subplots(figsize=(7, 2.4))
ax.plot(factors, found, "o-", ms=3)
ax.axvline(1, color="#222222", ls="--", lw=1)
ax.set(
    xscale="log",
    xlabel="Q / true Q",
    ylabel="log-likelihood",
    title=f"largest at {best:.2f}",
)
plt.show()

# %% [markdown]
# Instead of a grid, you can use the gradient of the log-likelihood, with respect to every number in
# the model at once.

# %%
gradient = jax.grad(lambda m: kf.log_likelihood(kf.extended(), m, ys))(
    model.replace(R=4 * model.R)
)
print(
    "d log-likelihood / d R, with R four times too large:",
    float(gradient.R[0, 0]),
)

# %% [markdown]
# ## Missing data
#
# Use `observed` to mark what was seen. The values of the other entries, such as NaN, do not matter.
# Estimates, likelihoods and gradients are the same as if the entries were deleted.

# %%
gap = slice(STEPS // 3, STEPS // 2)
gaps = ys.at[gap].set(jnp.nan)
patchy = kf.run(
    kf.extended(), model, gaps, observed=~jnp.isnan(gaps)
).outputs
repaired = kf.smooth(kf.extended(), model, patchy)

figure, axes = plt.subplots(1, 2, figsize=(9, 2.6), sharey=True)
for ax, shown, name in zip(
    axes, (patchy, repaired), ("filter", "smoother"), strict=True
):
    plot_trajectory(
        shown.mean, shown.cov, xs, components=[0], axes=[ax], label=name
    )
    ax.axvspan(gap.start + 0.5, gap.stop + 0.5, color="#eeeeee")
    ax.set_title(f"{name}, nothing seen in the grey part")
plt.show()

# %% [markdown]
# Without a mask, NaN raises an error that says what to do:

# %%
try:
    kf.run(kf.extended(), model, gaps)
except ValueError as error:
    print(error)

# %% [markdown]
# ## Streaming
#
# The same filter also takes one observation at a time. It has no hidden state: you hold the state,
# and can save it or send it elsewhere.

# %%
state = kf.extended().init(model)
for y in ys:
    state, info = kf.step(kf.extended(), model, state, y)
print("streamed ", np.asarray(state.mean))
print("in one go", np.asarray(final.mean))
saved = kf.to_bytes(state)
again = kf.from_bytes(saved, like=state)
print(
    len(saved),
    "bytes; the same state:",
    bool((again.mean == state.mean).all()),
)

# %% [markdown]
# ## Where to go next
#
# * Notebook 02 explains Kalman filters from the beginning, and notebook 03 which filter to use for
#   which problem.
# * Notebook 07 shows gates, robust updates and several models at once, and notebooks 04 and 05
#   learned filters.
# * Notebook 09 deploys a filter.
