# %% [markdown]
# # KalmanNet on the Lorenz attractor
#
# KalmanNet keeps the prediction of a Kalman filter and lets a recurrent network compute the gain.
# It is meant for models that are *partly* known. This notebook goes from the inputs of the network
# to its training curves, and then compares it with a tuned classical filter and with a model that
# was corrected with the same labels.

# %%
import os

import jax
import matplotlib.pyplot as plt
import numpy as np

import kfjax as kf
from kfjax.plotting import plot_errors, plot_history, plot_path

QUICK = "KFJAX_QUICK" in os.environ  # small sizes, for automatic tests
plt.rcParams.update(
    {"figure.dpi": 72, "figure.constrained_layout.use": True}
)
TRAJECTORIES, HELD_OUT, STEPS, LONG = (
    (40, 40, 10, 10) if QUICK else (400, 100, 20, 200)
)
UPDATES, SEEDS = (5, 2) if QUICK else (300, 2)

# %% [markdown]
# ## The problem
#
# The truth is the Lorenz attractor, with its sensor turned by five degrees about each axis. The
# designer of the filter does not know about the turn and assumes y = x + noise.

# %%
start = kf.systems.known(np.ones(3))
truth = kf.systems.lorenz(
    observation="rotated",
    rotation_degrees=5.0,
    q_std=0.1,
    r_std=1.0,
    prior=start,
)
design = kf.systems.lorenz(q_std=0.1, r_std=1.0, prior=start)


def drawn(seed, trajectories, steps):
    keys = jax.random.split(jax.random.key(seed), trajectories)
    xs, ys = jax.vmap(lambda key: kf.simulate(key, truth, steps))(keys)
    return kf.Dataset(ys, xs)


train, validation = drawn(0, TRAJECTORIES, STEPS), drawn(1, HELD_OUT, STEPS)
test = drawn(2, HELD_OUT, LONG)
print(train, validation, test, sep="\n")

xs, ys = kf.simulate(jax.random.key(4), truth, LONG)
figure = plt.figure(figsize=(9, 4))
for place, (name, model) in enumerate(
    (("EKF that knows the turn", truth), ("EKF of the design", design))
):
    est = kf.run(kf.extended(), model, ys).outputs
    ax = figure.add_subplot(1, 2, place + 1, projection="3d")
    plot_path(est.mean, None, xs, components=(0, 1, 2), ax=ax)
    ax.set_title(name)
plt.show()

# %% [markdown]
# ## What the network sees
#
# The network does not see the state, but differences, which do not drift and have the same meaning
# everywhere on the attractor:
#
# * F1 = y_t - y_{t-1}, F2 = y_t - h(x_{t|t-1}) (the innovation), F3 = x_{t-1|t-1} - x_{t-2|t-2}, F4
#   = x_{t-1|t-1} - x_{t-1|t-2} (the last correction).
#
# In the published form each difference is divided by its length, so that the gain cannot tell a
# small innovation from a large one. `kf.learned.Asinh`, which is used here, keeps the size:
# features are whitened by scales that are measured once on training data, and compressed.

# %%
net = kf.learned.published("C4", n=3, m=3, feature_map=kf.learned.Asinh())
scales = kf.learned.measure_scales(design, train.ys)
params = kf.learned.init_params(jax.random.key(0), net, design, scales)
print(
    "weights:", sum(leaf.size for leaf in jax.tree.leaves(params.network))
)
mse = np.mean((kf.run(net, params, ys).outputs.mean - xs) ** 2)
print(
    "before training, with a gain of zero: the same as prediction alone,",
    f"{kf.evaluation.to_db(mse):.1f} dB",
)

# %% [markdown]
# ## Training
#
# The trainer is not specific to KalmanNet: a loss is built from a filter, and everything with a
# gradient can be trained. Two seeds are trained at once, and the best of all reports by
# *validation* is kept. Steps whose gradient is not finite are skipped and counted. The alternative,
# `corrected_gain`, starts as the extended filter. Its network corrects the gain, and it has a
# covariance.


# %%
def trained(filter, constants):
    keys = jax.random.split(jax.random.key(1), SEEDS)
    params = jax.vmap(
        lambda key: kf.learned.init_params(key, filter, design, constants)
    )(keys)
    optimizer = kf.training.clipped_adam(
        kf.training.Cosine(2e-3, UPDATES, warmup=0.1)
    )
    return kf.training.fit(
        kf.training.state_mse(filter),
        params,
        train,
        key=keys,
        validation=validation,
        updates=UPDATES,
        batch_size=32,
        optimizer=optimizer,
        ema=0.98,
        reports=20,
    )


corrected = kf.learned.corrected_gain(3, 3, hidden=16)
fits = {"KalmanNet": (net, trained(net, scales))}
if not QUICK:
    fits["gain that starts at the EKF"] = (
        corrected,
        trained(corrected, None),
    )
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
for ax, (name, (_, fitted)) in zip(axes, fits.items(), strict=False):
    plot_history(fitted.history, ylabel="MSE", ax=ax)
    ax.set_title(name)
    losses = ", ".join(
        f"{10 * np.log10(v):.2f}" for v in np.atleast_1d(fitted.validation)
    )
    print(
        f"{name:28} validation {losses} dB by seed, refused steps"
        f" {np.atleast_1d(fitted.refused)}"
    )
plt.show()

# %% [markdown]
# ## The baselines that a learned filter has to beat
#
# * The design's filter with Q and R *tuned* on the same labels.
# * The model *corrected* with the same labels: least squares of y on x gives H, which an ordinary
#   extended filter with tuned noise then uses. This takes three lines.
# * As a bound, the filter that knows the turn.

# %%
tuned = kf.training.tune(
    kf.extended(),
    design,
    train,
    validation=validation,
    key=jax.random.key(0),
    structure="diagonal",
    objective="mse",
    updates=5 if QUICK else 60,
)
x, y = (
    np.asarray(a, np.float64).reshape(-1, 3) for a in (train.xs, train.ys)
)
H = np.linalg.lstsq(x, y, rcond=None)[0].T
mended = design.replace(h=kf.Linear(H.astype(np.float32)))
print(
    "H from labels, largest error of an entry:",
    float(np.abs(H - truth.h.A).max()),
)

contenders = {
    "EKF, design": (kf.extended(), design),
    "EKF, design, tuned": (kf.extended(), tuned.params),
    "EKF, H from the labels": (kf.extended(), mended),
    "EKF that knows the turn": (kf.extended(), truth),
}
for name, (filter, fitted) in fits.items():
    contenders[name] = (filter, fitted.run(fitted.best_run).params)

# %% [markdown]
# ## The verdict
#
# The test trajectories were not used in training and are ten times as long. The table covers the
# whole length; the errors within the horizon of the training are below it.

# %%
results = kf.compare(contenders, test, repeats=1)
print(results)
figure, ax = plt.subplots(figsize=(8, 3.4))
curves = {
    name: e.error_over_time() for name, e in results.evaluations.items()
}
plot_errors(curves, ax=ax)
ax.axvline(STEPS, color="#222222", lw=0.8, ls=":")
ax.set_title("Ten times the training's horizon (dotted)")
ax.legend(fontsize=8)
plt.show()

# %%
within = {
    name: 10 * np.log10(np.mean(10 ** (curve[:STEPS] / 10)))
    for name, curve in curves.items()
}
whole = {name: e.mse_db().value for name, e in results.evaluations.items()}
for name in contenders:
    print(
        f"{name:28} within the horizon {within[name]:7.2f} dB, ten times"
        f" the horizon {whole[name]:7.2f} dB"
    )
for name in fits:
    for text, found in (
        ("within the horizon", within),
        ("ten times", whole),
    ):
        gain = found["EKF, design, tuned"] - found[name]
        missing = found[name] - found["EKF, H from the labels"]
        print(
            f"{name}, {text}: ahead of the tuned filter by {gain:+.2f} dB,"
            f" behind the mended model by {missing:+.2f} dB"
        )

if not QUICK:  # what is said below
    assert within["EKF, design, tuned"] < within["EKF, design"] - 1
    assert max(within[name] for name in fits) < within["EKF, design, tuned"]
    assert min(whole[name] for name in fits) > whole["EKF, design, tuned"]
    others = [
        name for name in contenders if name != "EKF that knows the turn"
    ]
    assert min(others, key=whole.get) == "EKF, H from the labels"
    assert min(others, key=within.get) == "EKF, H from the labels"

# %% [markdown]
# ## Conclusions
#
# * Judge a learned gain only against a *tuned* filter, on runs longer than those it was trained on.
#   Within the horizon both learned gains beat the tuned filter of the design, over ten times the
#   horizon neither does.
# * If you have labels, first use them on the *model*. If the fault can be written down (here it is
#   a matrix), a model corrected by least squares is the better choice: its covariance is
#   consistent, and it needs no seeds. Networks are for what is left.
# * Test over several seeds, and look at the trajectories that go wrong, not only at the mean.
# * KalmanNet has no covariance (ANEES is empty); `recursive_kalman_net`, `split_kalman_net` and
#   `corrected_gain` have one.
#
# The experiments of the paper, with seeds, tuned baselines and floors, are in `benchmarks/`.
