# %% [markdown]
# # Time series
#
# A series is decomposed into parts that have a meaning, its parameters are found with their
# standard errors, and it is forecast with intervals that are then tested on its past. The series
# are well known: the flow of the Nile and the passengers of an airline (below), sunspots, carbon
# dioxide at Mauna Loa, and inflation in the United States (from the package `statsmodels`). The
# last section has regimes that nobody observes. Road deaths in Great Britain, the usual example of
# a law whose effect is a step (seat belts, 1983) in a series with a season, are not among the data
# that statsmodels ships; the Nile stands in for them, with a step in a known year (a dam, 1899),
# and the airline with a season of twelve months.
#
# If you use statsmodels, a table of what its verbs are called here is on the page
# [Coming from statsmodels](../docs/start/coming-from/statsmodels-tfp.md).

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import kfjax as kf
from kfjax import structural as st

jax.config.update("jax_enable_x64", True)
QUICK = "KFJAX_QUICK" in os.environ  # small sizes, for automatic tests
plt.rcParams.update(
    {"figure.dpi": 72, "figure.constrained_layout.use": True}
)

NILE = """
1120 1160 963 1210 1160 1160 813 1230 1370 1140 995 935 1110 994 1020
960 1180 799 958 1140 1100 1210 1150 1250 1260 1220 1030 1100 774 840
874 694 940 833 701 916 692 1020 1050 969 831 726 456 824 702 1120 1100
832 764 821 768 845 864 862 698 845 744 796 1040 759 781 865 845 944 984
897 822 1010 771 676 649 846 812 742 801 1040 860 874 848 890 744 749
838 1050 918 986 797 923 975 815 1020 906 901 1170 912 746 919 718 714
740
"""
AIRLINE = """
112 118 132 129 121 135 148 148 136 119 104 118 115 126 141 135 125 149
170 170 158 133 114 140 145 150 178 163 172 178 199 199 184 162 146 166
171 180 193 181 183 218 230 242 209 191 172 194 196 196 236 235 229 243
264 272 237 211 180 201 204 188 235 227 234 264 302 293 259 229 203 229
242 233 267 269 270 315 364 347 312 274 237 278 284 277 317 313 318 374
413 405 355 306 271 306 315 301 356 348 355 422 465 467 404 347 305 336
340 318 362 348 363 435 491 505 404 359 310 337 360 342 406 396 420 472
548 559 463 407 362 405 417 391 419 461 472 535 622 606 508 461 390 432
"""


def shipped(name):
    """A table that statsmodels ships, or None without statsmodels."""
    try:
        from statsmodels import datasets
    except ImportError:
        print(f"{name}: no statsmodels here; simulated data of its form")
        return None
    return getattr(datasets, name).load_pandas().data


def fitted(model, ys, us=None):
    """The likeliest parameters; in the quick form, those it has."""
    if QUICK:
        return model
    fit = kf.training.maximum_likelihood(exact, model, ys, us=us)
    print(fit)
    return fit.params


def smoothed(model, ys, us=None):
    """Beliefs about the states given a whole series with gaps."""
    seen = ~np.isnan(ys)
    run = kf.run(
        exact, model, ys, us=us, observed=seen, emit=kf.whole_state
    )
    return kf.smooth(exact, model, run.outputs, us=us)


def band(ax, times, mean, var, label):
    """A line with the band of two standard deviations."""
    spread = 2 * np.sqrt(np.maximum(var, 0))
    ax.plot(times, mean, label=label)
    ax.fill_between(times, mean - spread, mean + spread, alpha=0.25, lw=0)


# %% [markdown]
# ## The Nile: a level
#
# The annual flow at Aswan, 1871 to 1970. The model is a level that moves at random, and noise:
#
# $$y_t = \mu_t + v_t, \qquad \mu_t = \mu_{t-1} + e_t.$$
#
# Nothing is known of the first level: `kf.exact_diffuse()` is the Kalman filter in the limit of an
# infinite variance at the start.

# %%
flow = np.array(NILE.split(), float)[:, None]
years = 1871 + np.arange(100)
exact = kf.exact_diffuse()
local_level = fitted(st.level(50.0) + st.irregular(100.0), flow)
variances = {
    name: float(std) ** 2 for name, std in local_level.parameters.items()
}
print(variances)
if not QUICK:  # Durbin and Koopman (2012), section 2.10.3
    published = {"level.std": 1469.1, "irregular.std": 15099}
    for name, value in published.items():
        np.testing.assert_allclose(variances[name], value, rtol=1e-3)

# %% [markdown]
# Durbin and Koopman report variances of 15,099 and 1469.1, which are these. Smoothing gives the
# level in every year, given all years:

# %%
level = smoothed(local_level, flow)
figure, ax = plt.subplots(figsize=(7, 2.6))
ax.plot(years, flow, ".", color="#999999", label="observed")
band(ax, years, level.mean[:, 0], level.cov[:, 0, 0], "level")
ax.set(xlabel="year", ylabel="flow [1e8 m³]")
ax.legend()
plt.show()

# %% [markdown]
# The level falls around 1899, when work on a dam began. Did it fall at once? A regression on a step
# in that year answers. It is added like any other component:

# %%
us = {"step": st.shift(100, 1899 - 1871)[:, None]}
with_step = (
    st.level(10.0) + st.regression(1, name="step") + st.irregular(100.0)
)
broken = fitted(with_step, flow, us)
at = broken.blocks["step"].start
belief = smoothed(broken, flow, us)
size = float(belief.mean[-1, at])
deviation = float(np.sqrt(belief.cov[-1, at, at]))
print(f"step in 1899: {size:.0f} +- {deviation:.0f}")
stds = [float(m.parameters["level.std"]) for m in (local_level, broken)]
print(f"level.std: {stds[0]:.1f}, with the step {stds[1]:.2f}")
if not QUICK:
    assert stds[1] < 0.05 * stds[0]
    assert size < -5 * deviation

# %% [markdown]
# With the step, the level hardly moves otherwise: its standard deviation is less than a twentieth
# of what it was. The section on regimes finds the year without being told.
#
# ## Airline passengers: decomposition, forecasts, and a test of the forecasts
#
# Monthly totals, 1949 to 1960. The season grows with the level, so the model is about logarithms: a
# trend, a season of twelve months, and noise. Thirteen states start exactly diffuse.

# %%
passengers = np.log(np.array(AIRLINE.split(), float))[:, None]
dates = 1949 + np.arange(144) / 12
season = (
    st.seasonal(12, 0.01, harmonics=1) if QUICK else st.seasonal(12, 0.01)
)
airline = st.trend(0.02, None) + season + st.irregular(0.01)
print(f"{len(airline.diffuse)} diffuse states")
assert QUICK or len(airline.diffuse) == 13
model = fitted(airline, passengers)

# %% [markdown]
# `st.decompose` returns what each component contributes, with its covariance:

# %%
parts = st.decompose(model, smoothed(model, passengers))
figure, axes = plt.subplots(2, 1, figsize=(7, 4.4), sharex=True)
axes[0].plot(
    dates, passengers, ".", ms=3, color="#999999", label="observed"
)
for ax, (name, part) in zip(axes, parts.items(), strict=True):
    band(ax, dates, part.mean[:, 0], part.cov[:, 0, 0], name)
    ax.legend()
axes[1].set(xlabel="year")
axes[0].set(ylabel="log passengers")
plt.show()

# %% [markdown]
# **Forecasts** of two years, from parameters that were fitted to the ten years before. Their
# intervals are those of the model:

# %%
train, test = kf.data.split_time(kf.Dataset(passengers[None]), 120, 24)
known = fitted(airline, passengers[:120])
ahead = kf.evaluation.forecast_series(
    exact, known, train, steps=24, level=0.95
)
(ax,) = kf.plotting.plot_forecast(train, ahead, actual=test, last=60)
ax.set(ylabel="log passengers")
plt.show()
low, high = np.asarray(ahead.low)[0, :, 0], np.asarray(ahead.high)[0, :, 0]
inside = (low <= passengers[120:, 0]) & (passengers[120:, 0] <= high)
print(f"{inside.sum()} of 24 months are inside their 95 % intervals")

# %% [markdown]
# One forecast says little about a method. A **backtest** forecasts from every month in the past,
# with parameters that know only the first eight years, beside the two forecasts that cost nothing:
# the last value, and the value of the same month a year before.

# %%
first_years = fitted(airline, passengers[:96])
result = kf.evaluation.backtest(
    exact,
    first_years,
    passengers,
    horizon=12,
    first=96,
    season=12,
    name="structural",
)
print(result)
if not QUICK:
    mase = {
        (row.method, row.horizon): row.mase.value for row in result.rows
    }
    rivals = ("naive", "seasonal naive")
    assert all(
        mase["structural", ahead] < mase[rival, ahead]
        for ahead in (None, *range(1, 13))
        for rival in rivals
    )
    assert "No verdict between structural and seasonal" in result.answer

# %% [markdown]
# The errors of the structural model are the smallest at every horizon. The 37 origins overlap,
# though, and the last line does not rule out that chance put it before the seasonal naive forecast.
# `kfjax forecast data.csv --time month --ys passengers --model auto` does all this on the command
# line.
#
# ## Carbon dioxide: months without observations
#
# Weekly measurements at Mauna Loa, 1958 to 2001, averaged over months. In some months nothing was
# measured. They are NaN, and nothing else has to be done about them: the smoothed states of these
# months, and their observations, are known as well as their neighbours tell.

# %%
co2 = shipped("co2")
if co2 is None:
    rng = np.random.default_rng(0)
    months = np.arange(526)
    monthly = (
        315
        + 0.1 * months
        + 3 * np.sin(2 * np.pi * months / 12)
        + 0.3 * rng.normal(size=526)
    )
    monthly[[3, 7, 8, 40]] = np.nan
else:
    monthly = co2["co2"].resample("MS").mean().to_numpy()
ys = monthly[-144:, None] if QUICK else monthly[:, None]
print(f"{np.isnan(ys).sum()} of {len(ys)} months are missing")
slope_std, harmonics = (None, 1) if QUICK else (0.01, 4)
waves = (
    st.trend(0.2, slope_std)
    + st.seasonal(12, 0.02, harmonics=harmonics)
    + st.irregular(0.2)
)
model = fitted(waves, ys)
belief = smoothed(model, ys)
whole = kf.observation_estimate(kf.exact_diffuse(), model, belief)

figure, ax = plt.subplots(figsize=(7, 2.6))
shown = slice(0, 96)
dates = 1958 + 2 / 12 + np.arange(len(ys)) / 12
ax.plot(dates[shown], ys[shown, 0], ".", color="#222222", label="observed")
gaps = np.isnan(ys[:, 0])
filled = np.where(gaps, whole.mean[:, 0], np.nan)
spread = 2 * np.sqrt(np.where(gaps, whole.cov[:, 0, 0], np.nan))
ax.errorbar(
    dates[shown],
    filled[shown],
    spread[shown],
    fmt="o",
    ms=3,
    label="filled in",
)
ax.set(xlabel="year", ylabel="CO2 [ppm]")
ax.legend()
plt.show()

# %% [markdown]
# ## Sunspots: a cycle whose period is a parameter
#
# Annual numbers, 1700 to 2008; their square roots have variations of the same size at all levels.
# The cycle is stochastic and damped, around a level that moves.

# %%
table = shipped("sunspots")
if table is None:
    rng = np.random.default_rng(1)
    counts = (
        50
        + 40 * np.sin(2 * np.pi * np.arange(309) / 11)
        + 5 * rng.normal(size=309)
    )
    counts = np.maximum(counts, 0.0)
else:
    counts = table["SUNACTIVITY"].to_numpy()
roots = np.sqrt(counts)[:, None]
cyclic = (
    st.level(0.3) + st.cycle(11.0, 1.0, damping=0.95) + st.irregular(0.5)
)
if QUICK:
    print(float(kf.log_likelihood(exact, cyclic, roots)))
else:
    fit = kf.training.maximum_likelihood(exact, cyclic, roots)
    print(fit)
    period = fit["cycle.period"]
    print(f"95 % interval: {period.low:.2f} to {period.high:.2f} years")
    assert table is None or 10 < period.low < 11 < period.high < 11.5

# %% [markdown]
# The interval holds eleven years, the number in textbooks. There is no noise beside the cycle: its
# standard deviation is at the end of its range, which the table says.
#
# ## Hidden regimes: the Nile again
#
# A hidden Markov model of two regimes, each with its mean and variance. Expectation maximisation
# starts from two means that need not be good:

# %%
emission = kf.GaussianEmission([[1200.0], [800.0]], [[[2e4]], [[2e4]]])
two = kf.HiddenMarkovModel(emission, [[0.9, 0.1], [0.1, 0.9]], [0.5, 0.5])
found = kf.training.em(two, kf.Dataset(flow[None]), iterations=60)
means = np.asarray(found.model.emission.mean)[:, 0]
path = kf.viterbi(found.model, flow)
weights = kf.forward_backward(found.model, flow).weights
changes = years[1:][np.diff(path.regimes) != 0]
print(f"means {means.round()}, changes in {changes}")
print(f"log-likelihood: {found.log_likelihood[-1]:.2f}")
assert changes.tolist() == [1899]

figure, ax = plt.subplots(figsize=(7, 2.6))
ax.plot(years, flow, ".", color="#999999")
ax.step(
    years,
    means[np.asarray(path.regimes)],
    where="mid",
    label="mean of the likeliest regime",
)
ax.set(xlabel="year", ylabel="flow [1e8 m³]")
ax.legend()
right = ax.twinx()
right.plot(years, weights[:, 1], color="#cc3311", lw=1)
right.set(ylabel="probability of low flow", ylim=(-0.05, 1.05))
plt.show()

# %% [markdown]
# The likeliest path changes once, in 1899: the first year of low flow.
#
# ## Regimes of a state: calm and wild inflation
#
# Inflation in the United States, by quarter. Its level moves at random, and in some times more than
# in others: a regime that decides the noise. `kf.imm` filters both models and mixes them,
# `kf.imm_smooth` goes back over the whole record, and every parameter is found by maximum
# likelihood: `transform` makes the models of free numbers.

# %%
macro = shipped("macrodata")
if macro is None:
    rng = np.random.default_rng(2)
    wild = (np.arange(203) // 40) % 2 == 1
    moves = np.where(wild, 1.5, 0.3) * rng.normal(size=203)
    inflation = (3 + np.cumsum(moves) + 0.5 * rng.normal(size=203))[:, None]
else:
    inflation = macro["infl"].to_numpy()[:, None]
quarters = 1959 + np.arange(len(inflation)) / 4
members = (kf.kalman(), kf.kalman())
switching = kf.imm(members)
prior = kf.Gaussian(jnp.array([2.0]), jnp.array([[4.0]]))


def params_of(theta):
    """Two models of a level, calm and wild, and the chain between them."""
    Q, R = jnp.exp(theta["log_q"]), jnp.exp(theta["log_r"])
    stay = jax.nn.sigmoid(theta["logit_stay"])
    chain = jnp.stack(
        [
            jnp.stack([stay[0], 1 - stay[0]]),
            jnp.stack([1 - stay[1], stay[1]]),
        ]
    )
    models = [
        kf.linear_gaussian(
            np.eye(1),
            np.eye(1),
            Q[k, None, None],
            R[k, None, None],
            prior,
            first="update",
        ).replace(noise_free=False)
        for k in range(2)
    ]
    return kf.IMMParams(tuple(models), chain, jnp.array([0.5, 0.5]))


start = {
    "log_q": jnp.log(jnp.array([0.1, 2.0])),
    "log_r": jnp.log(jnp.array([1.0, 4.0])),
    "logit_stay": jnp.array([3.0, 2.0]),
}
theta = start
if not QUICK:
    fit = kf.training.maximum_likelihood(
        switching, start, inflation, transform=params_of, starts=1
    )
    print(fit)
    theta = fit.values
best = params_of(theta)
states = kf.run(switching, best, inflation, emit=kf.whole_state).outputs
given_all = kf.imm_smooth(members, best, states)

figure, axes = plt.subplots(2, 1, figsize=(7, 4.2), sharex=True)
axes[0].plot(
    quarters, inflation, ".", ms=3, color="#999999", label="observed"
)
band(
    axes[0], quarters, given_all.mean[:, 0], given_all.cov[:, 0, 0], "level"
)
axes[0].set(ylabel="inflation [% a year]")
axes[0].legend()
axes[1].plot(quarters, states.weights[:, 1], lw=1, label="filtered")
axes[1].plot(quarters, given_all.weights[:, 1], label="smoothed")
axes[1].set(xlabel="year", ylabel="probability of wild")
axes[1].legend()
plt.show()
if not QUICK and macro is not None:  # what is said below
    wild = np.asarray(given_all.weights[:, 1])
    assert wild[(quarters >= 1973) & (quarters < 1976)].min() > 0.8
    assert wild[(quarters >= 1979) & (quarters < 1983)].min() > 0.8
    assert wild[(quarters >= 1992) & (quarters < 2004)].max() < 0.2
    assert wild[quarters >= 2006].min() > 0.5
    filtered = np.asarray(states.weights[:, 1])
    assert np.abs(wild - 0.5).mean() > np.abs(filtered - 0.5).mean()

# %% [markdown]
# Inflation is wild in the years of both oil crises, 1973 to 1975 and 1979 to 1982, and again from
# 2006 on; it is calm from 1992 to 2003. The smoothed probabilities, which know what came later, are
# further from one half than the filtered ones.
#
# ## Where to go next
#
# * [Structural time series](../docs/methods/structural.md): all components, several series, irregular
#   times.
# * [Many series](../docs/howto/fit-many-series.md): one call that fits thousands.
# * [Hidden regimes](../docs/methods/regimes.md): other emissions, inputs, gradients.
