# %% [markdown]
# # A million trajectories
#
# One trajectory is an anecdote. Whether a filter is right, consistent and better than another is a
# question about distributions, which Monte Carlo answers: simulate, filter, and sum up. In kfjax
# this is one call at any size, in bounded memory and on all devices, and it can be killed and
# resumed.

# %%
import os
import tempfile
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import kfjax as kf
from kfjax.plotting import (
    plot_autocorrelation,
    plot_consistency,
    plot_errors,
)

QUICK = "KFJAX_QUICK" in os.environ  # small sizes, for automatic tests
plt.rcParams.update(
    {"figure.dpi": 72, "figure.constrained_layout.use": True}
)
TRIALS, STEPS = (50, 30) if QUICK else (10_000, 100)

# %% [markdown]
# ## One call
#
# The example is an extended filter on the Lorenz attractor. The result holds only sums, so that its
# size does not depend on the number of steps; every figure comes with its interval.

# %%
model = kf.systems.lorenz(q_std=0.3, r_std=1.0)
started = time.perf_counter()
study = kf.monte_carlo(
    jax.random.key(0),
    model,
    kf.extended(),
    model,
    trials=TRIALS,
    steps=STEPS,
)
print(
    f"{study.trajectories} trajectories of {STEPS} steps in"
    f" {time.perf_counter() - started:.1f} s, compilation included"
)
for name, value in (
    ("MSE [dB]", study.mse_db()),
    ("ANEES", study.anees()),
    ("NIS", study.anis()),
    ("coverage", study.coverage()),
):
    print(
        f"{name:9} {value.value:8.4f}   95 % interval {value.low:8.4f} .."
        f" {value.high:8.4f}"
    )

# %% [markdown]
# The precision grows with the number of trials: the interval shrinks with one over the square root
# of that number.

# %%
counts = (10, 20, 50) if QUICK else (100, 300, 1000, 3000, 10_000)
figure, ax = plt.subplots(figsize=(6, 2.6))
for count in counts:
    low, high = kf.evaluation.mse_db(study.mses[:count])[1:]
    ax.plot([count, count], [low, high], "-", color="#0072b2", lw=4)
ax.set(xscale="log", xlabel="trials", ylabel="MSE [dB], 95 %")
plt.show()

# %% [markdown]
# ## Is the filter consistent?
#
# This is the same study with filters that are given a wrong Q. The error alone does not show it,
# but NEES (the squared error over the variance that the filter claims) and the autocorrelation of
# the innovations do. If Q is too small, the filter is overconfident and its innovations are
# correlated.

# %%
few = TRIALS if QUICK else 1000
studies = {
    name: kf.monte_carlo(
        jax.random.key(1),
        model,
        kf.extended(),
        model.replace(Q=c * model.Q),
        trials=few,
        steps=STEPS,
    )
    for name, c in (("Q right", 1.0), ("Q / 30", 1 / 30), ("Q x 30", 30.0))
}
for name, found in studies.items():
    white = found.whiteness()
    print(
        f"{name:8} MSE {found.mse_db().value:6.2f} dB  ANEES"
        f" {found.anees().value:6.3f}  NIS {found.anis().value:6.3f}",
        end="",
    )
    print(f"   p-value of white innovations {white.p_value:.3f}")
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2))
plot_errors(
    {name: found.error_over_time() for name, found in studies.items()},
    ax=axes[0],
)
plot_consistency(
    {name: found.nees_over_time() for name, found in studies.items()},
    ax=axes[1],
)
axes[0].legend()
plt.show()

# %%
X, Y = jax.vmap(lambda key: kf.simulate(key, model, STEPS))(
    jax.random.split(jax.random.key(2), 100)
)
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
for ax, (name, c) in zip(
    axes, (("Q right", 1.0), ("Q / 30", 1 / 30)), strict=True
):
    wrong = model.replace(Q=c * model.Q)
    info = jax.vmap(
        lambda y, m=wrong: kf.run(
            kf.extended(), m, y, emit=kf.estimate_and_info
        ).outputs[1]
    )(Y)
    plot_autocorrelation(
        info.innovation, info.innovation_cov, lags=15, ax=ax
    )
    ax.set_title(name)
plt.show()

# %% [markdown]
# ## Two filters on the same trials
#
# The same key gives the same trajectories to every filter, so that differences are paired. Their
# interval is much narrower than those of the two errors.

# %%
other = kf.monte_carlo(
    jax.random.key(1), model, kf.unscented(), model, trials=few, steps=STEPS
)
ekf = studies["Q right"]
for name, found in (("EKF", ekf), ("UKF", other)):
    print(
        f"{name}: {found.mse_db().value:.4f} dB, interval"
        f" {found.mse_db().low:.4f} .. {found.mse_db().high:.4f}"
    )
paired = other.paired_db(ekf)
print(
    f"UKF - EKF on the same trials: {paired.value:+.4f} dB, interval"
    f" {paired.low:+.4f} .. {paired.high:+.4f}"
)

# %% [markdown]
# ## A million, in chunks, killed and resumed
#
# `chunk` bounds the memory, and `resume` keeps the sums of finished chunks in a folder. If you call
# a study again with the same arguments, it continues where it stopped; if you ask for more trials,
# it adds them. The numbers are those of a study that was never stopped. (Only a part of the million
# is run here; the time of the whole study is in the documentation.)

# %%
part, whole = (20, 40) if QUICK else (8_000, 20_000)
with tempfile.TemporaryDirectory() as folder:
    options = {
        "steps": STEPS,
        "chunk": part // 2,
        "resume": f"{folder}/study",
    }
    for trials in (part, whole):
        started = time.perf_counter()
        found = kf.monte_carlo(
            jax.random.key(3),
            model,
            kf.extended(),
            model,
            trials=trials,
            **options,
        )
        seconds = time.perf_counter() - started
        print(
            f"{trials} trials: {found.mse_db().value:.4f} dB after"
            f" {seconds:.1f} s"
        )
    print(
        "at this rate a million would take"
        f" {seconds / (whole - part / 2) * 1e6 / 60:.1f} minutes on this"
        " machine"
    )

# %% [markdown]
# ## Devices
#
# The batch is split over all devices of the process, and of all processes. The call does not
# change, and the results do not depend on the number of devices. Try it on a laptop with
# `XLA_FLAGS=--xla_force_host_platform_device_count=8`, set before Python starts.

# %%
print("devices here:", jax.devices())
alone = kf.monte_carlo(
    jax.random.key(4), model, kf.extended(), model, trials=50, steps=STEPS
)
again = kf.monte_carlo(
    jax.random.key(4),
    model,
    kf.extended(),
    model,
    trials=50,
    steps=STEPS,
    chunk=10,
)
print(
    "in one chunk and in five, largest difference:",
    float(np.abs(alone.mses - again.mses).max()),
)

# %% [markdown]
# To split a batch in your own code, place it on the devices; `jit` and `vmap` keep it there:

# %%
mesh = jax.make_mesh(
    (len(jax.devices()),),
    ("batch",),
    axis_types=(jax.sharding.AxisType.Auto,),
)
place = jax.sharding.NamedSharding(
    mesh, jax.sharding.PartitionSpec("batch")
)
count = len(Y) // len(jax.devices()) * len(jax.devices())
spread = jax.device_put(Y[:count], place)
means = jax.jit(
    jax.vmap(lambda y: kf.run(kf.extended(), model, y).outputs.mean)
)(spread)
print(
    "estimates",
    means.shape,
    "finite:",
    bool(jnp.isfinite(means).all()),
    "sharding:",
    means.sharding.spec,
)
