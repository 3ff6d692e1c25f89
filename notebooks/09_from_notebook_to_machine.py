# %% [markdown]
# # From notebook to machine
#
# A filter that was tuned in a notebook has to run somewhere: one observation at a time, through
# gaps and restarts, perhaps on a machine without this library. This notebook takes four steps: the
# streaming loop, its latency, saving and resuming, and a file that holds the filter.

# %%
import os
import tempfile
import time
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import kfjax as kf
from kfjax.plotting import plot_trajectory

QUICK = "KFJAX_QUICK" in os.environ  # small sizes, for automatic tests
plt.rcParams.update(
    {"figure.dpi": 72, "figure.constrained_layout.use": True}
)

# %% [markdown]
# ## The filter
#
# The example is a gated unscented filter for a pendulum whose angle is measured, with gaps and
# outliers.

# %%
model = kf.systems.pendulum(
    dt=0.02, observation="angle", q_density=0.25, r_std=0.1
)
method = kf.gated(kf.unscented())
STEPS = 60 if QUICK else 400
xs, ys = kf.simulate(jax.random.key(0), model, STEPS)
ys = np.array(ys)
ys[30:45], ys[50] = np.nan, 3.0  # nothing for a while, then nonsense

# %% [markdown]
# ## The loop
#
# `kf.step` is one compiled predict and update. You hold the state. Three habits help: pass the mask
# from the first step on (calls with and without a mask are two programs), compile before the first
# observation arrives, and let the state stay on the device.

# %%
state = method.init(model)
# compiles; the result is thrown away
kf.step(method, model, state, ys[0], observed=~np.isnan(ys[0]))

means, covs, accepted = [], [], []
for y in ys:
    state, info = kf.step(method, model, state, y, observed=~np.isnan(y))
    means.append(state.mean)
    covs.append(state.cov)
    accepted.append(bool(info.extra["accepted"].all()))
print(
    "rejected steps:",
    [
        t + 1
        for t, fine in enumerate(accepted)
        if not fine and np.isfinite(ys[t]).all()
    ],
)

figure, axes = plt.subplots(2, 1, figsize=(7, 3.8), sharex=True)
plot_trajectory(np.stack(means), np.stack(covs), xs, axes=axes)
axes[0].axvspan(30.5, 45.5, color="#eeeeee")
axes[0].set_title(
    "streamed; nothing seen in the grey part, an outlier after it"
)
plt.show()

# %% [markdown]
# The loop takes the same steps as `kf.run` and gives the same numbers:

# %%
observed = ~np.isnan(ys)
final, est = kf.run(method, model, ys, observed=observed)
print(
    "largest difference to kf.run:",
    float(np.abs(np.stack(means) - est.mean).max()),
)

# %% [markdown]
# ## Latency
#
# The latency is measured from a numpy observation to a mean in numpy. The call takes most of it,
# not the arithmetic. To save the last microseconds, compile the model into the step.

# %%
compiled_in = jax.jit(
    lambda state, y, observed: kf.step(
        method, model, state, y, observed=observed
    )
)


def latencies(take, rounds=50 if QUICK else 1000):
    state, times = method.init(model), []
    for k in range(rounds + 20):
        y, seen = np.asarray(ys[k % STEPS]), np.asarray(observed[k % STEPS])
        started = time.perf_counter()
        state, _ = take(state, y, seen)
        np.asarray(state.mean)
        times.append(time.perf_counter() - started)
    return 1e6 * np.array(times[20:])


measured = {
    "kf.step": latencies(
        lambda state, y, seen: kf.step(
            method, model, state, y, observed=seen
        )
    ),
    "model compiled in": latencies(compiled_in),
}
for name, times in measured.items():
    print(
        f"{name:18} median {np.median(times):7.1f} us, 99 %"
        f" {np.quantile(times, 0.99):7.1f} us"
    )
figure, ax = plt.subplots(figsize=(6, 2.4))
edges = np.geomspace(
    min(t.min() for t in measured.values()),
    max(np.quantile(t, 0.99) for t in measured.values()),
    40,
)
for name, times in measured.items():
    ax.hist(times, edges, alpha=0.6, label=name)
ax.set(xscale="log", xlabel="us per observation")
ax.legend()
plt.show()

# %% [markdown]
# ## Saving and resuming
#
# The state holds everything that the next step needs. As bytes it is an npz file in memory, which
# uses no pickle and runs no code when it is read. The resumed filter gives the same bits.

# %%
before = kf.run(
    method, model, ys[: STEPS // 2], observed=observed[: STEPS // 2]
).final
data = kf.to_bytes(before)
after = kf.from_bytes(data, like=method.init(model))
resumed = kf.run(
    method,
    model,
    ys[STEPS // 2 :],
    observed=observed[STEPS // 2 :],
    state=after,
).final
print(
    len(data),
    "bytes; same bits as the run that was never stopped:",
    bool((resumed.mean == final.mean).all()),
)

# %% [markdown]
# Damaged bytes, or those of another filter, raise an error that says what is wrong:

# %%
try:
    kf.from_bytes(data[:-40], like=method.init(model))
except ValueError as error:
    print(error)

# %% [markdown]
# ## A file that runs without kfjax
#
# `kf.exporting.export_step` writes one predict and update, with the parameters in it, as a program
# of `jax.export`: it runs on any machine with JAX. The archive also contains a loader,
# `kfjax_program.py`, that needs only JAX and numpy. If the path ends in .onnx, you get an ONNX
# model instead, provided that the operations allow it. A learned filter is exported in the same
# way.

# %%
with tempfile.TemporaryDirectory() as place:
    path = kf.exporting.export_step(
        Path(place) / "tracker.zip", method, model, masked=True
    )
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")
    program = kf.exporting.load(path)
print("inputs:", program.input_names, "  state:", program.state_names)
state = program.initial()
for y, seen in zip(np.asarray(ys), np.asarray(observed), strict=True):
    state, outputs = program(state, y=y, observed=seen)
print(
    "largest difference to kf.run:",
    float(np.abs(np.asarray(outputs["mean"]) - final.mean).max()),
)

# %% [markdown]
# ## Before you rely on it
#
# * Run `kf.monte_carlo` on the model you ship (notebook 08), and watch NIS on the machine: it needs
#   no truth.
# * Decide what happens after a failure: `kf.fallback` restarts the filter after NaN, or after
#   several impossible observations.
# * Keep what the model was built from: it is in the exported file, but not in a saved state.

# %%
watched = kf.run(
    method, model, ys, observed=observed, emit=kf.estimate_and_info
).outputs[1]
nis = np.asarray(watched.nis)[
    np.asarray(watched.extra["accepted"]) > 0
]  # what passed the gate
low, high = kf.evaluation.chi_square_interval(len(nis))
print(
    f"mean NIS {nis.mean():.2f}; consistent between {low:.2f} and"
    f" {high:.2f}"
)
