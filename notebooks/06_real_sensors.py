# %% [markdown]
# # Real sensors
#
# This notebook uses three recorded data sets: a Segway with satellite positions, wheels and a
# gyroscope (NCLT, University of Michigan), a small robot with ultra-wideband ranges (Labyrinth, TU
# Chemnitz), and a quadrotor (DJI Phantom, University of Haifa). Real noise is not Gaussian, real
# sensors are not calibrated, and clocks are not regular. The notebook looks for the data in the
# folder `KFJAX_DATA`, or else in `../shared/data` beside the repository. If it does not find them,
# it says so and runs on simulated data of the same form.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import kfjax as kf
from kfjax.plotting import plot_path

QUICK = "KFJAX_QUICK" in os.environ  # small sizes, for automatic tests
plt.rcParams.update(
    {"figure.dpi": 72, "figure.constrained_layout.use": True}
)
HERE = Path.cwd()
PLACES = [
    Path(os.environ.get("KFJAX_DATA", "/nowhere")),
    *(p / "shared" / "data" for p in (HERE.parent, HERE.parent.parent)),
]


def folder(name):
    """Where a data set is, or None."""
    found = next(
        (place / name for place in PLACES if (place / name).is_dir()), None
    )
    print(
        f"{name}: measured data"
        if found
        else f"{name}: no measured data here; simulated data of the same"
        " form"
    )
    return found


def rmse(a):
    return float(np.sqrt(np.nanmean(np.square(a))))


# %% [markdown]
# ## 1. NCLT: satellite positions with outliers, wheels, gyroscope
#
# At 1 Hz, the wheels give a speed and the inertial unit a heading. The receiver gives a position,
# though not at every step and with jumps of many metres near buildings. Speed and heading drive the
# prediction as inputs:
#
# $$p_t = p_{t-1} + s_{t-1} v_t (\cos(\theta_t + b_{t-1}), \sin(\theta_t + b_{t-1}))$$
#
# Besides the position there are two states: the *scale* s of the wheels and the *offset* b of the
# heading, which nobody calibrated. They drift slowly, and the filter finds them.


# %%
def drive(x, u):
    heading = u["heading"] + x[2]
    step = (
        x[3] * u["speed"] * jnp.stack([jnp.cos(heading), jnp.sin(heading)])
    )
    return jnp.concatenate([x[:2] + step, x[2:]])


segway = kf.StateSpaceModel(
    drive,
    kf.Linear(np.eye(2, 4)),
    Q=np.diag([0.1, 0.1, 1e-4, 1e-6]),
    R=25.0 * np.eye(2),
    prior=kf.Gaussian(
        jnp.array([0.0, 0.0, 0.0, 1.0]), np.diag([100.0, 100.0, 0.1, 0.01])
    ),
)


def simulated_session(seed, steps=1000):
    """A drive with outliers and gaps, in the layout of the files."""
    rng = np.random.default_rng(seed)
    u = {
        "speed": rng.uniform(0.3, 1.6, steps),
        "heading": np.cumsum(rng.normal(0, 0.1, steps)),
    }
    xs, ys = kf.simulate(
        jax.random.key(seed),
        segway,
        us=jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), u),
    )
    bad = rng.random((steps, 1)) < 0.05
    ys = np.asarray(ys) + bad * rng.normal(0, 40, (steps, 2))
    ys[rng.random(steps) < 0.15] = np.nan
    return ys, np.asarray(xs[:, :2]), u


def session(name, steps):
    """Fixes [T, 2] (NaN where there was none), true position, inputs."""
    if NCLT is None:
        return [
            jax.tree.map(lambda a: a[:steps], part)
            for part in simulated_session(len(name) + int(name[-2:]))
        ]
    with np.load(NCLT / f"{name}.npz") as file:
        ys, truth, wheel = (
            file[key][:steps]
            for key in ("filtered_gps", "ground_truth", "wheel")
        )
        return (
            ys - truth[:1],
            truth - truth[:1],
            {"speed": wheel[:, :2].mean(axis=1), "heading": wheel[:, 2]},
        )


def dataset(parts):
    """One trajectory; the true calibration states are not known."""
    ys, truth, u = parts
    state = np.concatenate([truth, np.full_like(truth, np.nan)], axis=1)
    return kf.Dataset(
        ys[None],
        state[None],
        jax.tree.map(lambda a: np.asarray(a)[None], u),
    )


NCLT = folder("nclt")
LENGTH = 100 if QUICK else 1000
tuning, choosing = (
    dataset(session(name, LENGTH)) for name in ("2013-01-10", "2013-02-23")
)
test = dataset(session("2012-11-04", 4 * LENGTH))
print(test)

# %% [markdown]
# ### Persistent errors mislead the likelihood
#
# Tuned by the likelihood alone, without any ground truth, R comes out as the noise between
# *successive* fixes. But a receiver near a building is wrong by the same metres for many seconds:
# its errors are not white, and the likelihood of a model that assumes white errors trusts the
# receiver far too much. Compare R with the error that the receiver really has:

# %%
updates = 3 if QUICK else 30
by_likelihood = kf.training.tune(
    kf.extended(),
    segway,
    tuning,
    validation=choosing,
    key=jax.random.key(0),
    updates=updates,
).params
error = (tuning.ys - tuning.xs[..., :2])[tuning.observed]
print(
    "standard deviation of a fix: by likelihood"
    f" {float(jnp.sqrt(by_likelihood.R[0, 0])):.2f} m",
    end=", ",
)
print(f"its RMSE beside the ground truth {rmse(error):.2f} m")

# %% [markdown]
# ### Robust or not
#
# So R stays at five metres, and Q is tuned for the error of the estimates on the two sessions of
# 2013, which have a ground truth; the session of 2012 is for the test only. The next cell compares
# four filters with the same noise, and one with the noise that the likelihood chose:

# %%
tuned = kf.training.tune(
    kf.extended(),
    segway,
    tuning,
    validation=choosing,
    key=jax.random.key(0),
    structure="diagonal",
    objective="mse",
    updates=updates,
)
print("factors on Q and R:", tuned.scales)
model = tuned.params
filters = {
    "EKF": kf.extended(),
    "gated": kf.fallback(kf.gated(kf.extended(), 0.9999)),
    "Student t": kf.student_t(kf.extended()),
    "Huber": kf.huber(kf.extended()),
}
if QUICK:
    filters = {name: filters[name] for name in ("EKF", "Student t")}
ys = jnp.asarray(test.ys[0])
us = jax.tree.map(lambda a: jnp.asarray(a[0]), test.us)
seen, truth = jnp.asarray(test.observed[0]), np.asarray(test.xs[0, :, :2])
estimates, errors = {}, {}
# where it reports
errors["receiver alone"] = np.where(seen, ys - truth, np.nan)
print(
    f"{'receiver alone':16} RMSE per axis"
    f" {rmse(errors['receiver alone']):6.2f} m, median error"
    f" {np.nanmedian(np.abs(errors['receiver alone'])):.2f} m"
)
for name, filter in {"EKF, likelihood": kf.extended(), **filters}.items():
    noise = by_likelihood if name == "EKF, likelihood" else model
    est = kf.run(filter, noise, ys, us=us, observed=seen).outputs
    error = np.asarray(est.mean[:, :2]) - truth
    nees = np.einsum(
        "ti,tij,tj->t",
        error,
        np.linalg.inv(np.asarray(est.cov[:, :2, :2], np.float64)),
        error,
    )
    estimates[name], errors[name] = est, error
    print(
        f"{name:16} RMSE {rmse(error):6.2f} m, median"
        f" {np.median(np.abs(error)):.2f} m, NEES / 2"
        f" {nees.mean() / 2:6.2f}"
    )


def median(error):
    return np.nanmedian(np.abs(error))


for text, size in (("RMSE", rmse), ("median", median)):
    nearer = [
        name
        for name in estimates
        if size(errors[name]) < size(errors["receiver alone"])
    ]
    print(
        f"smaller {text} than the receiver alone:"
        f" {', '.join(nearer) or 'none'}"
    )

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
for ax, name in zip(axes, ("EKF", "Student t"), strict=True):
    known = np.concatenate([truth, np.full_like(truth, np.nan)], axis=1)
    plot_path(
        estimates[name].mean,
        None,
        known,
        observations=np.asarray(ys)[np.asarray(seen).all(1)][::5],
        label=name,
        ax=ax,
    )
    low, high = truth.min(0) - 40, truth.max(0) + 40
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), title=name)
plt.show()

figure, axes = plt.subplots(1, 2, figsize=(9, 2.6))
for ax, j, name in zip(
    axes,
    (2, 3),
    ("offset of the heading [rad]", "scale of the wheels"),
    strict=True,
):
    mean = estimates["Student t"].mean[:, j]
    std = jnp.sqrt(estimates["Student t"].cov[:, j, j])
    ax.plot(mean)
    ax.fill_between(
        np.arange(len(mean)),
        mean - 2 * std,
        mean + 2 * std,
        alpha=0.25,
        lw=0,
    )
    ax.set(title=name, xlabel="s")
plt.show()

# %% [markdown]
# The hard gate does worst: once it has lost the truth, every right fix looks impossible, and the
# filter rejects what would bring it back. Weights that fall gradually do not have this problem. The
# last two lines say which filters are nearer to the truth than the receiver alone (where it
# reports): a filter gains in the jumps, and pays for it elsewhere.
#
# A NEES far above 1 says that the filter is overconfident: errors of a receiver near a building
# persist for many steps, and a filter that assumes white errors averages them away. The gate and
# the weights help against jumps, but not against persistent errors. A state for the slow error of
# the receiver, or a realistic inflation of R, would.
#
# ## 2. Ultra-wideband ranges: a biased, irregular sensor
#
# A small robot measures the distance to one of four anchors in turn, at irregular times; wheels
# give its speed and turn. Ranges are too long by some constant, and now and then by half a metre.
# The bias is an additional state, which is *calibrated while driving*.


# %%
def robot(x, u):
    forward = (u["right"] + u["left"]) / 2
    turn = 0.7 * (u["right"] - u["left"]) / u["wheel_base"] * u["dt"]
    heading = x[2] + turn / 2
    move = (
        u["dt"] * forward * jnp.stack([jnp.cos(heading), jnp.sin(heading)])
    )
    return kf.angles(2).retract(
        x, jnp.concatenate([move, turn[None], jnp.zeros(1)])
    )


def ranged(x, u):
    return (jnp.sqrt(jnp.sum((x[:2] - u["anchor"]) ** 2) + 1e-9) + x[3])[
        None
    ]


def slip(x, u):
    return u["dt"] * jnp.diag(jnp.array([0.11**2, 0.11**2, 0.3**2, 1e-6]))


def uwb_model(bias_std):
    """The bias starts at zero, known to bias_std."""
    prior = kf.Gaussian(
        jnp.array([1.2, 1.2, 0.0, 0.0]),
        jnp.diag(jnp.array([0.7, 0.7, 2.0, bias_std]) ** 2),
    )
    return kf.StateSpaceModel(
        robot, ranged, slip, [[0.08**2]], prior, state_space=kf.angles(2)
    )


def simulated_robot(steps=200):
    rng = np.random.default_rng(0)
    corners = np.array([[0.0, 0.0], [2.4, 0.0], [2.4, 2.4], [0.0, 2.4]])
    us = {
        "dt": rng.uniform(0.1, 0.2, steps),
        "anchor": np.resize(corners, (steps, 2)),
        "wheel_base": np.full(steps, 0.3),
    }
    us |= {"right": np.full(steps, 0.25), "left": np.full(steps, 0.18)}
    us = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), us)
    start = kf.systems.known(jnp.array([1.2, 0.6, 0.0, 0.11]))
    xs, ys = kf.simulate(
        jax.random.key(0), uwb_model(0.0).replace(prior=start), us=us
    )
    ys = np.asarray(ys) + 0.5 * (rng.random((steps, 1)) < 0.05)
    return ys, np.asarray(xs), us


def recorded_robot(path):
    data = kf.data.read_indoor_uwb(path)
    us = {
        name: jnp.asarray(data.us[name][0], jnp.float32)
        for name in ("dt", "anchor", "right", "left", "wheel_base")
    }
    return np.asarray(data.ys[0]), np.asarray(data.xs[0]), us


uwb = folder("indoor_uwb")
ys, truth, us = simulated_robot() if uwb is None else recorded_robot(uwb)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
for name, method, bias_std in (
    ("UKF, no bias", kf.unscented(), 1e-4),
    ("UKF, bias as a state", kf.unscented(), 0.3),
    ("the same, Student t", kf.student_t(kf.unscented()), 0.3),
):
    est = kf.run(
        method, uwb_model(bias_std), jnp.asarray(ys, jnp.float32), us=us
    ).outputs
    error = np.asarray(est.mean[:, :2]) - truth[:, :2]
    half = len(error) // 2
    print(
        f"{name:22} RMSE in the second half"
        f" {100 * rmse(error[half:]):5.1f} cm, bias"
        f" {float(est.mean[-1, 3]):+.3f} m"
    )
    axes[0].plot(*np.asarray(est.mean[:, :2]).T, lw=1, label=name)
    axes[1].plot(np.linalg.norm(error, axis=1), lw=1, label=name)
axes[0].plot(*truth[:, :2].T, color="#222222", label="true")
axes[0].set(aspect="equal", title="path [m]")
axes[1].set(yscale="log", xlabel="range", title="error of the position [m]")
axes[1].legend()
plt.show()

# %% [markdown]
# ## 3. Quadrotor: an accelerometer with a bias
#
# This is the vertical channel of a quadrotor, with two accelerometers at 120 Hz as input and a
# height once a second. An accelerometer that is off by a tenth of a metre per second squared is off
# by five metres after ten seconds of dead reckoning. The state consists of the height, the climb
# rate and the bias of the accelerometer. The truth, at 10 Hz, provides the heights and is used for
# tests between them.

# %%
RATE = 120


def vertical(x, u):
    dt = 1.0 / RATE
    a = u - x[2]
    return jnp.stack(
        [x[0] + dt * x[1] + 0.5 * dt**2 * a, x[1] + dt * a, x[2]]
    )


def flight_model(bias_std):
    prior = kf.Gaussian(
        jnp.zeros(3), jnp.diag(jnp.array([1.0, 0.5, bias_std]) ** 2)
    )
    return kf.StateSpaceModel(
        vertical,
        kf.Linear([[1.0, 0, 0]]),
        np.diag([1e-8, 3e-3, 1e-8]),
        [[0.05**2]],
        prior,
    )


def simulated_flight(steps=20 * RATE):
    a = (
        np.random.default_rng(1).normal(0, 0.5, steps).astype(np.float32)
        + 0.1
    )
    xs, _ = kf.simulate(
        jax.random.key(1),
        flight_model(1e-6).replace(
            prior=kf.systems.known(np.array([0, 0, 0.1]))
        ),
        us=jnp.asarray(a),
    )
    return a, np.asarray(xs[:, 0])


def recorded_flight(path):
    imus = [
        np.genfromtxt(path / f"IMU_{k}.csv", delimiter=",", skip_header=1)
        for k in (1, 2)
    ]
    time, height = np.genfromtxt(
        path / "GT.csv", delimiter=",", skip_header=1
    )[:, [0, 9]].T
    roll, pitch = np.radians(
        np.mean([imu[:, 1:3] for imu in imus], axis=0)
    ).T
    fx, fy, fz = np.mean([imu[:, 4:7] for imu in imus], axis=0).T
    up = (
        -np.sin(pitch) * fx
        + np.cos(pitch) * (np.sin(roll) * fy + np.cos(roll) * fz)
        - 9.81
    )
    return up.astype(np.float32), np.interp(
        imus[0][:, 0], time, -height
    ).astype(np.float32)


quadrotor = folder("quadrotor_dr")
up, height = (
    simulated_flight()
    if quadrotor is None
    else recorded_flight(quadrotor / "StraightLine" / "path_1")
)
steps = np.arange(len(up))
# six seconds without a height
outage = (steps > 10 * RATE) & (steps < 16 * RATE)
seen = jnp.asarray((steps % RATE == RATE - 1) & ~outage)
figure, ax = plt.subplots(figsize=(8, 2.8))
ax.plot(steps / RATE, height, color="#222222", label="true")
for name, bias_std in (("no bias", 1e-6), ("bias as a state", 0.5)):
    model = flight_model(bias_std)
    est = kf.run(
        kf.extended(),
        model,
        jnp.asarray(height)[:, None],
        us=jnp.asarray(up),
        observed=seen,
    ).outputs
    error = np.asarray(est.mean[:, 0]) - height
    print(
        f"{name:16} RMSE with heights {rmse(error[~outage]):.2f} m,"
        f" without {rmse(error[outage]):.2f} m;"
        f" bias {float(est.mean[-1, 2]):+.3f} m/s^2"
    )
    ax.plot(steps / RATE, est.mean[:, 0], lw=1.2, label=name)
ax.axvspan(10, 16, color="#eeeeee")
ax.set(xlabel="s", ylabel="height [m]", title="No height in the grey part")
ax.legend()
plt.show()

# %% [markdown]
# ## Conclusions
#
# * Look at medians and at NEES as well as the RMSE, since outliers dominate means but not medians.
# * Make uncalibrated quantities states, with a prior that says how wrong they may be.
# * Tune on some records and test on others, and never tune with the ground truth of the test.
