# %% [markdown]
# # The Kalman filter, from one line to a climbing turn
#
# A widely read tutorial teaches the Kalman filter by three examples: a point on a line, a helix in
# space by a linear filter of four states, and a climbing turn by an extended filter of five states
# with inputs. This notebook rebuilds them with the tutorial's own constants, starting from the
# equations, and then corrects one fault after the other, since people make each of these faults in
# real work. You need no JAX for this: read `jnp` as numpy.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import kfjax as kf
from kfjax.moments import Taylor
from kfjax.plotting import plot_error_bounds, plot_path, plot_trajectory

QUICK = "KFJAX_QUICK" in os.environ  # small sizes, for automatic tests
plt.rcParams.update(
    {"figure.dpi": 72, "figure.constrained_layout.use": True}
)
TRIALS = 20 if QUICK else 300

# %% [markdown]
# ## 1. From scratch
#
# We do not know the state $x_t$, but we know how it moves, $x_t = F x_{t-1} + e_t$, and how it is
# observed, $y_t = H x_t + v_t$. The belief about the state is a Gaussian with a mean m and a
# covariance P. A step has two halves.
#
# *Predict*: $\;m \leftarrow F m, \quad P \leftarrow F P F' + Q$: the belief moves, and gets wider.
#
# *Update*: $\;S = H P H' + R, \quad K = P H' S^{-1}, \quad m \leftarrow m + K (y - H m), \quad P
# \leftarrow (I - K H) P (I - K H)' + K R K'$: the gain K weighs the surprise $y - H m$ by how sure
# we were and how good the sensor is.


# %%
def predict(m, P, F, Q):
    return F @ m, F @ P @ F.T + Q


def update(m, P, y, H, R):
    S = H @ P @ H.T + R
    K = np.linalg.solve(S, H @ P).T
    keep = np.eye(len(m)) - K @ H
    return m + K @ (y - H @ m), keep @ P @ keep.T + K @ R @ K.T


# %% [markdown]
# The first example: a point moves along a line at a velocity of 0.5 for 50 steps, and a sensor of
# standard deviation 10 sees its position. The tutorial's filter has Q = diag(1, 3). The next cell
# shows twenty lines of numpy and the same filter in kfjax; `kf.systems.tutorial_line` has the
# constants.

# %%
line = kf.systems.tutorial_line()
truth = kf.systems.noise_free(line, [0.0, 0.5])
xs, ys = kf.simulate(jax.random.key(0), truth, steps=50)

F, H, Q, R = (
    np.asarray(a, np.float64) for a in (line.f.A, line.h.A, line.Q, line.R)
)
m = np.asarray(line.prior.mean, np.float64)
P = np.asarray(line.prior.cov, np.float64)
by_hand = []
for y in np.asarray(ys, np.float64):
    m, P = update(*predict(m, P, F, Q), y, H, R)
    by_hand.append(m)
final, est = kf.run(kf.kalman(), line, ys)
print(
    "largest difference between numpy and kfjax:",
    float(np.abs(np.array(by_hand) - est.mean).max()),
)

# %% [markdown]
# The tutorial's first figure shows the true position, what the sensor saw and the estimates over
# time. Here it is by itself, with the tutorial's own times, `np.linspace(0, 50, 50)`. They are off
# by one in two ways: 50 points between 0 and 50 are 50/49 apart, although F moves the state by a
# step of 1; and the first measurement is of time 0, although the filter predicts one step before it
# uses it. `kf.simulate` and the cell above have the times 1, 2, ..., 50.

# %%
times = np.linspace(0, 50, 50)
positions = 0.5 * times
noise = 10 * np.random.default_rng(0).normal(size=(50, 1))
followed = kf.run(
    kf.kalman(), line, jnp.asarray(positions[:, None] + noise, line.dtype)
).outputs
figure, ax = plt.subplots(figsize=(7, 3))
ax.plot(times, positions, color="black", label="true position")
ax.plot(
    times, positions + noise[:, 0], ".", color="#999999", label="measured"
)
ax.plot(times, followed.mean[:, 0], label="estimated")
ax.set(
    xlabel="time", ylabel="position", title="The tutorial's first figure"
)
ax.legend(ncols=3)
plt.show()
print(
    "the tutorial's true position moves by"
    f" {positions[1] - positions[0]:.4f} in a step, not 0.5"
)
print(
    f"the first measurement is of time {times[0]:.0f}, the first"
    " prediction of time 1"
)

# %% [markdown]
# Both components of the state, with the standard deviations that the filter claims, at the times
# that F implies:

# %%
figure, axes = plt.subplots(2, 1, figsize=(7, 4), sharex=True)
plot_trajectory(est.mean, est.cov, xs, axes=axes)
axes[0].plot(np.arange(1, 51), ys[:, 0], ".", color="#999999", label="y")
axes[0].legend(ncols=4)
plt.show()

# %% [markdown]
# ### What is wrong with it
#
# Q says how much the state is pushed at each step. Nothing pushes the true state, but the filter
# expects steps of the velocity with a variance of 3, and so it follows the noise. One picture does
# not show this; many trials do. ANEES is the squared error over the variance that the filter
# claims: 1 if the filter is consistent, and less if it claims too large a variance. Both filters
# claim too much, the first because of its Q, the second because of its prior, which expects more
# than a velocity of 0.5.

# %%
calm = line.replace(Q=np.diag([1e-6, 1e-6]))
for name, model in (
    ("tutorial, Q = diag(1, 3)", line),
    ("Q near zero, as the truth", calm),
):
    study = kf.monte_carlo(
        jax.random.key(1),
        truth,
        kf.kalman(),
        model,
        trials=TRIALS,
        steps=50,
    )
    print(
        f"{name:28} RMSE {study.rmse().value:5.2f}   ANEES"
        f" {study.anees().value:5.2f}"
    )

# %% [markdown]
# Which Q do the data favour? The likelihood tells you without the true states. Every number
# in a model is a leaf, so that you can sweep over it.

# %%
factors = jnp.geomspace(1e-7, 1.0, 5 if QUICK else 22)
likelihood = jax.vmap(
    lambda c: kf.log_likelihood(kf.kalman(), line.replace(Q=c * line.Q), ys)
)
values = jax.jit(likelihood)(factors)
figure, ax = plt.subplots(figsize=(6, 2.4))
ax.plot(factors, values, "o-", ms=3)
ax.set(
    xscale="log",
    xlabel="Q / tutorial's Q",
    ylabel="log-likelihood",
    title="One trajectory of 50 steps tells",
)
plt.show()

# %% [markdown]
# ## 2. A helix in space
#
# A body circles with radius 20 at 0.1 rad per step and climbs 0.5 per step, for 100 steps. Its
# position is observed with standard deviation 1. The tutorial uses a *linear* filter of four states
# (x, y, z, turn rate). Three faults, which `kf.systems.tutorial_helix` makes on request:
#
# * **frozen_turn**: the column that turns the rate into motion is $(-r \sin\omega, r \cos\omega)$,
#   a constant: as if the body stood still on its circle. A rotation is not linear in the state; use
#   the function itself, and let the extended filter compute its Jacobian.
# * **no_climb**: there is no velocity of z in the state, so z is predicted to stand still, and the
#   estimate always lags.
# * **start**: the filter believes that the body is at (0, 20, 0); it is at (20, 0, 0).
#
# We correct them one by one.

# %%
right = kf.systems.tutorial_helix()
helix_truth = kf.systems.noise_free(right)
xs, ys = kf.simulate(jax.random.key(2), helix_truth, steps=100)
STAGES = {
    "as in the tutorial": ("frozen_turn", "no_climb", "start"),
    "right start": ("frozen_turn", "no_climb"),
    "and a climb rate": ("frozen_turn",),
    "and a turn that turns": (),
}
if QUICK:
    STAGES = {
        name: STAGES[name]
        for name in ("as in the tutorial", "and a turn that turns")
    }
figure = plt.figure(figsize=(9, 4.2))
for place, name in enumerate(
    ("as in the tutorial", "and a turn that turns")
):
    model = kf.systems.tutorial_helix(STAGES[name])
    est = kf.run(kf.extended(), model, ys).outputs
    ax = figure.add_subplot(1, 2, place + 1, projection="3d")
    plot_path(est.mean, None, xs[:, : model.n], components=(0, 1, 2), ax=ax)
    ax.set_title(name)
plt.show()

# %%
keys = jax.random.split(jax.random.key(3), TRIALS)
X, Y = jax.vmap(lambda key: kf.simulate(key, helix_truth, 100))(keys)
for name, faults in STAGES.items():
    model = kf.systems.tutorial_helix(faults)
    est = jax.jit(
        jax.vmap(
            lambda y, model=model: kf.run(kf.extended(), model, y).outputs
        )
    )(Y)
    error = est.mean[..., :3] - X[..., :3]
    first, later = (
        float(jnp.sqrt(jnp.mean(e**2)))
        for e in (error[:, :20], error[:, 20:])
    )
    nees = jax.vmap(jax.vmap(lambda e, P: e @ jnp.linalg.solve(P, e) / 3))(
        error, est.cov[..., :3, :3]
    )[:, 20:].mean()
    print(
        f"{name:22} RMSE in the first 20 steps {first:5.2f}, later"
        f" {later:5.2f}; NEES / 3 later {float(nees):6.2f}"
    )

# %% [markdown]
# The sensor alone has an error of 1 per axis: a filter above that is worse than no filter. The last
# stage still has the wrong Q, since nothing pushes the true state.

# %%
quiet = right.replace(Q=1e-6 * np.eye(5))
final, est = kf.run(kf.extended(), quiet, ys)
figure, axes = plt.subplots(3, 1, figsize=(7, 4.5), sharex=True)
plot_error_bounds(xs, est.mean, est.cov, axes=axes)
axes[0].set_title("Everything right: errors in their 2-sigma bounds")
plt.show()

# %% [markdown]
# ## 3. A climbing turn with inputs: the extended filter
#
# There are five states: x, y, z, turn rate w and climb rate v. The inputs are the time step and an
# acceleration, u = (dt, alpha). In the tutorial, with dt = 1:
#
# * **euler**: the turn is a first-order step, $x - w\,y\,dt,\; y + w\,x\,dt$. This is not a
#   rotation: the radius grows in each step.
# * **shared_rate**: z climbs by w dt, the *turn* rate; alpha accelerates the climb rate v, which is
#   never used.
# * The Jacobian is taken at the predicted state instead of the state before the step; kfjax
#   computes it with `jax.jacfwd` at the right one.
# * The truth is the faulty prediction itself, without noise. Nothing in the tutorial's plots
#   therefore shows any of this.

# %%
us = jnp.asarray(np.tile([[1.0, 0.01]], (100, 1)))
faulty = kf.systems.tutorial_climb(("euler", "shared_rate"))
mended = kf.systems.tutorial_climb()
figure = plt.figure(figsize=(9, 4))
for place, (name, model) in enumerate(
    (("the tutorial's truth", faulty), ("a truth that turns", mended))
):
    path, seen = kf.simulate(
        jax.random.key(4), kf.systems.noise_free(model), us=us
    )
    radius = jnp.hypot(path[:, 0], path[:, 1])
    print(
        f"{name:22} radius after 1 step {float(radius[0]):.2f}, after 100"
        f" steps {float(radius[-1]):.4g}"
    )
    ax = figure.add_subplot(1, 2, place + 1, projection="3d")
    shown = path[:8] if place == 0 else path
    ax.plot(*shown[:, :3].T, "-o", ms=2)
    ax.set_title(name + (", first 8 steps" if place == 0 else ""))
plt.show()

# %% [markdown]
# At the radius that the tutorial's truth reaches, float32 numbers are so far apart that the
# sensor's noise is hardly represented:

# %%
largest = float(
    jnp.abs(
        kf.simulate(
            jax.random.key(4), kf.systems.noise_free(faulty), us=us
        )[0]
    ).max()
)
print(
    f"spacing of float32 there: {np.spacing(np.float32(largest)):.3f} "
    f" (the sensor's deviation: {0.5**0.5:.3f})"
)

# %% [markdown]
# The next cell runs the corrected filter on a truth that turns, and the tutorial's filter on the
# same data:

# %%
truth = kf.systems.noise_free(mended)
xs, ys = kf.simulate(jax.random.key(5), truth, us=us)
figure = plt.figure(figsize=(9, 4))
for place, (name, model) in enumerate(
    (("the tutorial's filter", faulty), ("mended", mended))
):
    est = kf.run(kf.extended(), model, ys, us=us).outputs
    error = float(
        jnp.sqrt(jnp.mean((est.mean[20:, :3] - xs[20:, :3]) ** 2))
    )
    print(f"{name:24} position RMSE after 20 steps {error:6.3f}")
    ax = figure.add_subplot(1, 2, place + 1, projection="3d")
    plot_path(est.mean, None, xs, components=(0, 1, 2), ax=ax)
    ax.set_title(f"{name}: RMSE {error:.2f}")
plt.show()

# %% [markdown]
# The last fault is the wrong place of the Jacobian. A moment rule of kfjax,
# `rule(fn, belief, source, target)`, says how Gaussians move through a function. A rule that
# repeats the mistake takes a few lines, and `kf.gaussian_filter` makes a filter of it.

# %%


class MisplacedJacobian(Taylor):
    """Linearises f at f(m) instead of m, as the tutorial does."""

    def __call__(self, fn, belief, source, target):
        found = super().__call__(fn, belief, source, target)
        if found.mean.shape != belief.mean.shape:  # h: nothing to misplace
            return found
        J = jax.jacfwd(fn)(fn(belief.mean))
        return found._replace(
            cov=J @ belief.cov @ J.T, cross=belief.cov @ J.T
        )


misplaced = kf.gaussian_filter(MisplacedJacobian())
pushed = mended.replace(prior=kf.systems.known(mended.prior.mean))
for name, filter in (
    ("Jacobian where it belongs", kf.extended()),
    ("Jacobian at f(m)", misplaced),
):
    study = kf.monte_carlo(
        jax.random.key(6), pushed, filter, mended, trials=TRIALS, us=us
    )
    print(
        f"{name:28} RMSE {study.rmse().value:7.3f}   ANEES"
        f" {study.anees().value:7.2f}"
    )

# %% [markdown]
# ### The tutorial's third plot
#
# The tutorial draws its extended filter on its own truth, over all 100 steps, with the start and
# the end marked. Here it is with all of its faults: the first-order turn, the shared rate and the
# misplaced Jacobian, in filter and truth alike.

# %%
path, seen = kf.simulate(
    jax.random.key(4), kf.systems.noise_free(faulty), us=us
)
est = kf.run(misplaced, faulty, seen, us=us).outputs
figure = plt.figure(figsize=(6, 5))
ax = figure.add_subplot(projection="3d")
ax.plot(*path[:, :3].T, color="black", label="the tutorial's truth")
ax.plot(*est.mean[:, :3].T, "--", label="its extended filter")
ax.scatter(*path[0, :3], marker="o", s=60, color="tab:green", label="start")
ax.scatter(*path[-1, :3], marker="s", s=60, color="tab:red", label="end")
ax.set(
    xlabel="x",
    ylabel="y",
    zlabel="z",
    title="The tutorial's third plot: 100 steps",
)
ax.legend()
plt.show()
error = jnp.sqrt(jnp.mean((est.mean[:, :3] - path[:, :3]) ** 2, axis=1))
for step in (1, 50, 100):
    radius = float(jnp.hypot(path[step - 1, 0], path[step - 1, 1]))
    print(
        f"step {step:3}: radius {radius:12.2f}, error per axis"
        f" {float(error[step - 1]):6.2f}"
    )

# %% [markdown]
# At this scale the two lines coincide and the plot looks convincing: the filter is as wrong as the
# truth that it is compared with. The spiral comes from the first-order turn; on a truth that turns,
# a filter with this f has an error larger than the sensor's, as shown above.

# %% [markdown]
# ## Conclusions
#
# * The filter takes ten lines; the work is in the model. Every fault above but one was in f, Q or
#   the start; the one in the filter was a Jacobian written by hand.
# * Look at errors *and* at the covariance that goes with them, over many trials: a filter may look
#   fine on one picture.
# * Never simulate the truth with the filter's own prediction, because then all faults cancel.
# * Do not write Jacobians by hand.
