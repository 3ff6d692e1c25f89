# %% [markdown]
# # Why does my LSTM not learn to be a Kalman filter?
#
# The question, as engineers ask it: *I have a nonlinear Kalman filter with 7 sensors and 6 states.
# I train an LSTM on its inputs and outputs: batches of inputs `[32, 10, 7]`, targets `[32, 10, 6]`,
# two stateful layers of 64 and 32 units, dropout 0.5 before the output, everything scaled to [0,
# 1], RMSprop, mean squared error. The training error stalls, and more layers make it worse. Is the
# approach flawed? Is it the gradients, batch normalisation, the learning rate? Do I need more data,
# more epochs, larger batches? How long must a window be, are two steps enough? Is a stateful
# network right? Must the output be fed back?*
#
# This notebook rebuilds that setting and answers every question with one experiment, one picture
# and one sentence. The optimiser is RMSprop as Keras has it (rho 0.9, epsilon 1e-7) at a constant
# rate of 0.001, unless the rate or the optimiser is the question.
#
# **What a curve can carry.** After a thousand updates every network looks bad, and what makes it
# better in the end is then often just more training. So every curve below is judged by what the
# last tenth of its training still gained. If that is less than 2 %, the curve has *stopped*, and
# what it shows is what training cannot remove. Otherwise it *still falls*, and its end is only an
# upper bound. One variant is called worse than another if it has stopped and the seeds do not
# overlap.
#
# The trainings take about 20 minutes on two cores. They are in `benchmarks/imitation`, where the
# network is written out in `network.py`; `python -m benchmarks.imitation` runs them, continues
# after an interruption, and trains on if it is asked for more updates. This notebook reads the
# curves that it kept.

# %%
import os
import sys
import tempfile
import textwrap
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import kfjax as kf

sys.path.append("..")  # the folder that holds benchmarks
from benchmarks.imitation import experiments, longer, study
from benchmarks.imitation.problem import (
    SETTLE,
    STATES,
    receiver,
    streams,
)
from benchmarks.imitation.reading import Results, beside, compare

QUICK = "KFJAX_QUICK" in os.environ  # small sizes, for automatic tests
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
BLACK = "#222222"
plt.rcParams.update(
    {
        "figure.dpi": 72,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.constrained_layout.use": True,
        "axes.prop_cycle": plt.cycler(color=COLOURS),
        "legend.fontsize": 8,
    }
)

ANSWERS = {}


def answer(question, sentence):
    """Print the answer to a question, and keep it for the end."""
    ANSWERS[question] = sentence
    print(textwrap.fill(sentence, 76))


if QUICK:  # train a few updates, to show that the study runs
    folder = Path(tempfile.mkdtemp())
    study.rehearse(folder / "imitation.json")
    longer.rehearse(folder / "longer.json")
    print(Results(folder).curve("tiny"))
    print(Results(folder).longer("increment, fed back"))
results = Results()

# %% [markdown]
# ## 1. The problem, the teacher, and the unit of error
#
# A vehicle carries a receiver that measures four pseudo-ranges to known beacons and three range
# rates: seven sensors, all nonlinear. Its state has six components: position and velocity in the
# plane, the bias of its clock, and the clock's drift. The teacher is an extended Kalman filter with
# the true model; the student cannot have a better teacher.
#
# A student is good if its estimates cannot be told from those of the filter. The *imitation error*
# is the root mean square of (student - filter), in units of the filter's own standard deviations: 1
# means as far from the filter as the filter is from the truth, 0.1 is practically equal. It is
# measured on other trajectories than those of the training, and after 20 steps.
#
# The simplest student with a memory is the linear recursion $\hat x_t = A \hat x_{t-1} + B y_t +
# b$, fitted by least squares (`kf.training.fit_recursion`). A network has to beat it.

# %%
model = receiver()
test = streams(jax.random.key(1), model, 32, 60 if QUICK else 120)
record = streams(jax.random.key(2), model, 32, 60 if QUICK else 1000)
lessons = kf.Dataset(record.y, record.filtered)
exam = kf.Dataset(test.y, test.filtered)
sigma = np.asarray(test.std).mean((0, 1))


def imitation_error(estimates):
    error = (np.asarray(estimates) - test.filtered) / sigma
    return float(np.sqrt(np.mean(error[:, SETTLE:] ** 2)))


recursion = kf.training.fit_recursion(lessons)
LINEAR = imitation_error(recursion.run(exam))
spread = np.asarray(test.truth).std((0, 1))
rmse = np.sqrt(np.mean((test.filtered - test.truth) ** 2, (0, 1)))
_, ax = plt.subplots(figsize=(6, 2.4))
at = np.arange(6)
ax.bar(at - 0.2, spread, 0.4, label="spread of the true state")
ax.bar(at + 0.2, rmse, 0.4, label="error of the filter")
ax.set(yscale="log", xticks=at, title="What the filter achieves")
ax.set_xticklabels(STATES)
ax.legend()
plt.show()
print(
    f"The position varies by {spread[0]:.0f} m, and the filter knows it"
    f" to {rmse[0]:.1f} m.\nThe best linear recursion has an imitation"
    f" error of {LINEAR:.2f}."
)

# %% [markdown]
# A loss that looks small can be useless: with the position scaled to [0, 1], an error of one
# standard deviation of the filter is a squared error of a few ten-thousandths. That is the first
# trap, and the reason for the unit above.
#
# ## 2. Is there a fundamental flaw in the approach?
#
# The network of the question, as asked: [0, 1], dropout 0.5, consecutive windows as the rows of a
# stateful batch. Then one thing is repaired at a time. *Base* is one layer of 16 units with
# everything repaired: standardised series, no dropout, and rows that are parallel streams, so that
# row b of a batch continues where row b of the previous batch ended.


# %%
def draw(ax, curves, title, labels=None):
    """Draw medians and ranges over the seeds."""
    labels = labels or [curve.name for curve in curves]
    for curve, label in zip(curves, labels, strict=True):
        (line,) = ax.plot(curve.updates, curve.median, lw=1.2, label=label)
        ax.fill_between(
            curve.updates,
            curve.error.min(0),
            curve.error.max(0),
            color=line.get_color(),
            alpha=0.2,
            lw=0,
        )
    ax.axhline(LINEAR, color=BLACK, ls=":", lw=1)
    ax.set(yscale="log", ylim=(0.08, 5), xlabel="updates", title=title)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.legend()


def panels(count, height=2.6):
    _, axes = plt.subplots(
        1, count, figsize=(4.2 * count, height), sharey=True, squeeze=False
    )
    axes[0, 0].set_ylabel("imitation error")
    return axes[0]


asked, base, *steps = results.curves(
    "asked, 1 layer",
    "base",
    "asked, but streams",
    "asked, but standardised",
    "dropout 0.5",
)
his, repaired = results.curves("asked, 64 + 32", "64 + 32")
left, right = panels(2)
draw(left, [asked, *steps, base], "One layer of 16")
draw(right, [his, repaired], "His layers", ["as asked", "repaired"])
plt.show()
assert compare(asked, base) == compare(his, repaired) == "worse"
assert base.end < LINEAR < asked.end
answer(
    "Is there a fundamental flaw?",
    f"No: as asked, one layer ends at {asked.told} and his own two at"
    f" {his.told}. Repaired, the same networks end at {base.told} and at"
    f" {repaired.told}, better than the linear recursion"
    f" ({LINEAR:.2f}, dotted).",
)

# %% [markdown]
# ## 3. Why are more layers, and more nodes, worse?
#
# The same networks with his settings and without them, to the end of the training.

# %%
print("with his settings")
asked_sizes = results.curves(
    "asked, 1 layer",
    "asked, 2 layers",
    "asked, 3 layers",
    "asked, 32 units",
)
print("without them")
sizes = results.curves(
    "base", "2 layers", "3 layers", "32 units, rate 0.001"
)
names = ("16", "16 + 16", "16 + 16 + 16", "32")
left, right = panels(2)
draw(left, asked_sizes, "With his settings", names)
draw(right, sizes, "Repaired", names)
plt.show()
deep_asked = compare(asked_sizes[2], asked_sizes[0])
deep = compare(sizes[2], sizes[0])
wide = compare(sizes[3], sizes[0])
answer(
    "Why are more layers and nodes worse?",
    f"With his settings, three layers are {deep_asked} compared with one"
    f" ({asked_sizes[2].told}; {asked_sizes[0].told}). Without them they"
    f" are {deep} ({sizes[2].told}; {sizes[0].told}). Twice the units:"
    f" {wide} ({sizes[3].told}).",
)

# %% [markdown]
# ## 4. Is it the gradients?
#
# Two places to look. How much does the last estimate depend on an observation k steps before: for
# the filter this falls as it forgets, and a student whose dependence falls faster has not learned
# the filter's memory. And how large is the gradient in the first layer beside that in the last one:
# if it vanished on its way down, deep networks could not learn.

# %%
lags = study.LAGS
few = kf.Dataset(test.y[:8, : lags + 10], test.filtered[:8, : lags + 10])
of_filter = kf.training.gradient_per_lag(
    kf.extended(), model, few, scale=sigma
)[:lags]
left, right = plt.subplots(1, 2, figsize=(8.4, 2.6))[1]
left.plot(of_filter, color=BLACK, label="filter")
students = {
    "repaired, 1 layer": "base",
    "repaired, 3 layers": "3 layers",
    "as asked, 1 layer": "asked, 1 layer",
    "as asked, 3 layers": "asked, 3 layers",
}
dependence = {
    label: np.array(results.rows[name]["dependence"])
    for label, name in students.items()
}
for label, slopes in dependence.items():
    left.plot(slopes, lw=1.2, label=label)
left.set(
    yscale="log",
    xlabel="lag k",
    title="Dependence of the last estimate on y",
)
left.legend()
ratios = {}
for label in ("repaired, 3 layers", "as asked, 3 layers"):
    norms = np.array(results.rows[students[label]]["gradients"])
    ratio = norms[0] / norms[-1]
    right.plot(ratio, label=label)
    ratios[label] = np.median(ratio)
right.set(
    yscale="log",
    xlabel="thousands of updates",
    title="First layer over last",
)
right.legend()
plt.show()
reach = {label: slopes[10] for label, slopes in dependence.items()}
answer(
    "Is it the gradients?",
    f"In the stack of three, the gradient in the first layer is"
    f" {ratios['as asked, 3 layers']:.2f} of that in the last with his"
    f" settings and {ratios['repaired, 3 layers']:.2f} without them: it"
    f" does not vanish. An observation ten steps back moves the filter's"
    f" estimate by {of_filter[10]:.3f}, the repaired student's by"
    f" {reach['repaired, 1 layer']:.3f}, and as asked by"
    f" {reach['as asked, 3 layers']:.3f}.",
)

# %% [markdown]
# ## 5. Would batch normalisation help a deep network?

# %%
kinds = results.curves(
    "3 layers", "3 layers, layer norm", "3 layers, batch norm"
)
(ax,) = panels(1)
draw(ax, kinds, "Three layers of 16", ["none", "layer", "batch"])
plt.show()
answer(
    "Batch normalisation in a deep net?",
    f"Batch normalisation is {beside(kinds[2], kinds[0])}, and layer"
    f" normalisation is {beside(kinds[1], kinds[0])}.",
)

# %% [markdown]
# ## 6. Which learning rate, for which width?
#
# Left: constant rates, one layer of 8, 16 or 32 units; hollow points still fall. Right: a rate of
# 0.01 that falls to zero, in three lengths of training. Such a curve is always flat at its end, so
# what a longer training would gain is seen from the other lengths.

# %%
rates = experiments.RATES
by_width = {
    8: [f"8 units, rate {rate:g}" for rate in rates],
    16: ["rate 0.0003", "base", "rate 0.003", "rate 0.01"],
    32: [f"32 units, rate {rate:g}" for rate in rates],
}
left, right = panels(2)
best = {}
for (width, names), colour in zip(by_width.items(), COLOURS, strict=False):
    found = results.curves(*names)
    left.plot(rates, [c.end for c in found], color=colour, label=f"{width}")
    for rate, curve in zip(rates, found, strict=True):
        face = colour if curve.stopped else "white"
        left.plot(rate, curve.end, "o", color=colour, mfc=face)
    best[width] = rates[int(np.argmin([c.end for c in found]))]
left.set(xscale="log", xlabel="constant learning rate", title="Widths")
left.legend(title="units")
falling = results.curves(
    "base", "falling in 5000", "falling in 10000", "falling in 20000"
)
draw(right, falling, "Falling to zero")
plt.show()
answer(
    "Which learning rate, for which width?",
    "The best constant rates are "
    + ", ".join(f"{rate:g} for {n} units" for n, rate in best.items())
    + f". A rate that falls to zero is better than any of them:"
    f" {falling[1].end:.2f} after 5000 updates, {falling[2].end:.2f} after"
    f" 10000.",
)

# %% [markdown]
# ## 7. More data, and more epochs?
#
# The same number of updates on 640, 3,200 and 32,000 windows of ten steps. More updates on the same
# windows are more epochs.

# %%
amounts = {"640": "640 windows", "3200": "3200 windows", "32000": "base"}
found = results.curves(*amounts.values())
left, right = plt.subplots(1, 2, figsize=(8.4, 2.6))[1]
draw(left, found, "Held out", [f"{name} windows" for name in amounts])
left.set_ylabel("imitation error")
for name, row in amounts.items():
    loss = np.median(np.array(results.rows[row]["loss"]), axis=0)
    (line,) = right.plot(found[0].updates[: len(loss)], loss, label=name)
    held_out = np.median(results.rows[row]["held_out_loss"])
    right.plot(
        found[0].updates[len(loss) - 1],
        held_out,
        "o",
        color=line.get_color(),
    )
right.set(
    yscale="log",
    xlabel="updates",
    title="Training loss; points: loss held out",
)
right.legend(title="windows")
plt.show()
answer(
    "More data, more epochs?",
    f"A twentieth... {beside(found[0], found[2])}",
)

# %% [markdown]
# ## 8. Which batch size?

# %%
batches = {8: "8 rows", 32: "base", 128: "128 rows"}
found = results.curves(*batches.values())
left, right = panels(2)
draw(left, found, "By updates", [f"{rows} rows" for rows in batches])
for rows, curve in zip(batches, found, strict=True):
    right.plot(10 * rows * curve.updates, curve.median, label=f"{rows}")
right.set(xscale="log", xlabel="steps of data seen", title="By data seen")
plt.show()
answer(
    "Which batch size?",
    f"After as many updates, 8 rows are {beside(found[0], found[1])}, and"
    f" 128 rows are {beside(found[2], found[1])}.",
)

# %% [markdown]
# ## 9. How long a window, and is N = 2 enough?
#
# The memory is emptied every N steps, and the last step of a window counts. The filter itself tells
# what to expect: `kf.training.forgetting` measures how long an error in its estimate persists, and
# `kf.training.finite_memory_floor` the error of the best affine map from N observations.

# %%
lengths = (2, 5, 10, 20, 40)
fades = kf.training.forgetting(kf.extended(), model, few, scale=sigma)
print("the filter forgets to 1/e in", fades.to_1_e, "steps")
floors = [
    np.sqrt(
        np.mean(
            kf.training.finite_memory_floor(
                lessons, exam, N, scale=sigma, start=40
            )
            ** 2
        )
    )
    for N in lengths
]
windows = results.curves(*(f"N = {N}" for N in lengths))
twos = results.curves("N = 2, fed back", "N = 2, fed back, added")
left, right = panels(2)
left.plot(lengths, floors, "s--", color=BLACK, label="best affine map")
left.plot(lengths, [c.end for c in windows], "o-", label="LSTM")
left.set(xscale="log", xlabel="window N", title="At the last step of N")
left.legend()
draw(right, [windows[0], *twos], "N = 2")
plt.show()
answer(
    "How long a window, and is N = 2 enough?",
    f"With N = 2 the error ends at {windows[0].told}, with"
    f" N = 40 at {windows[-1].told}; the filter forgets to 1/e in"
    f" {fades.to_1_e} steps. N = 2 is enough if the last output is kept,"
    f" fed back and added to: {twos[1].told}; fed back alone:"
    f" {twos[0].told}.",
)

# %% [markdown]
# ## 10. Is a stateful network right?
#
# `kf.data.check_streams` says whether row b of a batch continues row b of the one before. To check
# your own batching, run it on the numbers of the steps.

# %%
steps = np.arange(960)
print("order of time:", kf.data.check_streams(steps.reshape(3, 32, 10)))
print(
    "streams:      ",
    kf.data.check_streams(kf.data.as_streams(steps, 32, 10)),
)
kinds = results.curves(
    "base",
    "stateful, order of time",
    "stateless, order of time",
    "stateless, streams",
)
(ax,) = panels(1)
draw(
    ax,
    kinds,
    "Used on a stream",
    ["stateful, streams (base)", *(curve.name for curve in kinds[1:])],
)
plt.show()
answer(
    "Is a stateful network right?",
    f"Yes, if rows are streams. With windows in the order of time, a"
    f" stateful network is {beside(kinds[1], kinds[2])} compared with a"
    f" stateless one; the stateless one on streams is"
    f" {beside(kinds[3], kinds[0])} compared with a stateful one.",
)

# %% [markdown]
# ## 11. Is it the scaling to [0, 1]?

# %%
scalings = results.curves("base", "[0, 1]", "Adam", "Adam, [0, 1]")
left, right = panels(2)
draw(left, scalings[:2], "RMSprop", ["standardised", "[0, 1]"])
draw(right, scalings[2:], "Adam", ["standardised", "[0, 1]"])
plt.show()
answer(
    "Is it the scaling to [0, 1]?",
    f"With RMSprop, [0, 1] is {beside(scalings[1], scalings[0])}; with Adam"
    f" it is {beside(scalings[3], scalings[2])}.",
)

# %% [markdown]
# ## 12. Is it the dropout?

# %%
kinds = {0: "base", 0.1: "dropout 0.1", 0.5: "dropout 0.5"}
found = results.curves(*kinds.values())
left, right = plt.subplots(1, 2, figsize=(8.4, 2.6))[1]
draw(left, found, "Held out", [f"dropout {part}" for part in kinds])
for part, name in kinds.items():
    row = results.rows[name]
    loss = np.median(np.array(row["loss"]), axis=0)
    (line,) = right.plot(found[0].updates[: len(loss)], loss, label=part)
    right.plot(
        found[0].updates[len(loss) - 1],
        np.median(row["held_out_loss"]),
        "o",
        color=line.get_color(),
    )
right.set(
    yscale="log",
    xlabel="updates",
    title="Training loss; points: loss held out",
)
plt.show()
answer(
    "Is it the dropout?",
    f"Dropout 0.5 is {beside(found[2], found[0])}, and dropout 0.1 is"
    f" {beside(found[1], found[0])}.",
)

# %% [markdown]
# ## 13. Must the output be fed back, and how?
#
# First on the problem above, with a memory that is kept, and for N = 2 in section 9. Then with a
# clock that runs freely: its bias is a random walk, which leaves the range of the training data on
# a long run. Students are trained on 50 steps from the start, and used on 500. They are built with
# `kf.learned.sequence_regressor(feedback=..., output=...)`, and see y alone; the last one,
# `kf.learned.recurrent` with F2 and F4, sees the innovation y - h(f(x)) and its last correction, and
# its output is added to f(x). Its teacher is the same filter with Q and R tuned.

# %%
kept = results.curves("base", "fed back", "fed back, added")
names = (
    "level",
    "level, fed back",
    "increment, fed back",
    "added to a linear recursion",
    "correction, from innovations",
)
runs = {name: results.longer(name) for name in names if name in results.far}
print(
    f"{'free clock, teacher imitated':32} within the horizon   at ten times"
)
for name, row in (
    {"linear recursion": results.longer("linear recursion")} | runs
).items():
    print(f"{name:32} {row.inside:12.2f} {row.outside:18.2f}")
left, right = panels(2)
draw(
    left,
    kept,
    "Memory kept, clock pulled back",
    ["not fed back", "fed back", "fed back, added"],
)
for name, row in runs.items():
    right.plot(5 * np.arange(1, 101), row.over_time, lw=1.2, label=name)
right.axvline(50, color=BLACK, ls="--", lw=1)
right.set(xlabel="step", title="Free clock (line: end of training)")
right.legend()
plt.show()
answer(
    "Must the output be fed back, and how?",
    "...",
)

# %% [markdown]
# ## 14. All answers

# %%
for question, sentence in ANSWERS.items():
    print(question)
    print(textwrap.indent(textwrap.fill(sentence, 72), "    "))
