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
# last tenth of its training still gained, read from a straight line through the second half of the
# curve, in logarithms. If that is less than 1 %, the curve has *stopped*, and what it shows is what
# training does not remove. Otherwise it *still falls*: its end is an upper bound, and one variant
# is said to be behind another, with the number of updates that it would need at its present pace.
# It is called worse only if it has stopped and the seeds do not overlap.
#
# The trainings take about a quarter of an hour of processor time. They are in `benchmarks/imitation`, where the
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

sys.path.insert(0, "..")  # the folder that holds benchmarks
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
    rehearsed = Results(folder)
    print("error after few updates", rehearsed.curve("tiny").end)
    print("and beyond", rehearsed.longer("increment, fed back").outside)
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
assert compare(asked, base) == "worse"
assert max(base.end, repaired.end) < LINEAR < min(asked.end, his.end)
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
asked_ends = [curve.end for curve in asked_sizes]
assert min(asked_ends) > 2 * max(curve.end for curve in sizes)
assert max(asked_ends[:3]) < 1.1 * min(asked_ends[:3])
answer(
    "Why are more layers and nodes worse?",
    "They hardly are, and not at the end of the training. With his"
    f" settings, three layers beside one are"
    f" {beside(asked_sizes[2], asked_sizes[0])}, and twice the units are"
    f" {beside(asked_sizes[3], asked_sizes[0])}. Without them, three layers"
    f" are {beside(sizes[2], sizes[0])}, and twice the units are"
    f" {beside(sizes[3], sizes[0])}. His settings cost far more than any"
    " layer does.",
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
    "as asked, but streams": "asked, but streams",
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
assert min(ratios.values()) > 0.2
assert reach["as asked, 1 layer"] < 0.5 * of_filter[10]
for label in ("repaired, 1 layer", "as asked, but streams"):
    assert abs(reach[label] / of_filter[10] - 1) < 0.3
answer(
    "Is it the gradients?",
    f"No. In the stack of three, the gradient in the first layer is"
    f" {ratios['as asked, 3 layers']:.2f} times that in the last with his"
    f" settings and {ratios['repaired, 3 layers']:.2f} times without them:"
    f" it does not vanish. In time, an observation ten steps back moves the"
    f" filter's estimate by {of_filter[10]:.3f}, the repaired student's by"
    f" {reach['repaired, 1 layer']:.3f}, and the one as asked by"
    f" {reach['as asked, 1 layer']:.3f}: it forgets too fast. With"
    f" everything else as asked, parallel streams alone bring that to"
    f" {reach['as asked, but streams']:.3f}: the rows of its batches were"
    " at fault, which carried memories of other places.",
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
assert kinds[0].end < min(kinds[1].end, kinds[2].end)
answer(
    "Batch normalisation in a deep net?",
    f"It does not help. Beside three layers without normalisation, those"
    f" with batch normalisation are {beside(kinds[2], kinds[0])}, and those"
    f" with layer normalisation are {beside(kinds[1], kinds[0])}.",
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
slow, fast = (results.curve(f"rate {rate}") for rate in (0.0003, 0.01))
reached = [curve.end for curve in falling[1:]]
assert reached == sorted(reached, reverse=True)
assert reached[-1] < min(base.end, slow.end, fast.end)
assert best[8] >= best[16] >= best[32]
answer(
    "Which learning rate, for which width?",
    "The best of these constant rates is "
    + ", ".join(f"{rate:g} for {n} units" for n, rate in best.items())
    + f": it does not rise with the width. For 16 units, 0.0003 ends at"
    f" {slow.told} and 0.01 at {fast.told}. A rate that falls to zero"
    f" reaches {reached[0]:.2f} in 5000 updates, {reached[1]:.2f} in 10000"
    f" and {reached[2]:.2f} in 20000: let it fall, and train longer.",
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
assert min(curve.gain for curve in found) > 0.01
answer(
    "More data, more epochs?",
    f"Beside 32,000 windows, 640 are {beside(found[0], found[2])}, and"
    f" 3,200 are {beside(found[1], found[2])}. More epochs help all of"
    f" them: the last tenth of the training still gained"
    f" {', '.join(f'{100 * c.gain:.1f} %' for c in found)}.",
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
seen = [
    np.interp(1e6, 10 * rows * curve.updates, curve.median, right=curve.end)
    for rows, curve in zip(batches, found, strict=True)
]
assert seen == sorted(seen)
answer(
    "Which batch size?",
    f"Beside 32 rows, after as many updates, 8 rows are"
    f" {beside(found[0], found[1])}, and 128 rows are"
    f" {beside(found[2], found[1])}. By data seen, small batches are ahead:"
    " the number of updates is what counts.",
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
left.set_xticks(lengths, lengths)
left.minorticks_off()
left.legend()
draw(right, [windows[0], *twos], "N = 2")
plt.show()
assert twos[1].end < 0.5 * windows[0].end
answer(
    "How long a window, and is N = 2 enough?",
    f"The filter forgets to 1/e in {fades.to_1_e} steps. With a memory"
    f" emptied every 2 steps the error ends at {windows[0].told}, every 10"
    f" at {windows[2].told}, every 40 at {windows[-1].told}. N = 2 is"
    f" enough if the last output is kept, fed back and added to:"
    f" {twos[1].told}; fed back alone: {twos[0].told}.",
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
assert kinds[0].end < kinds[3].end < kinds[1].end
assert kinds[2].end < kinds[1].end
answer(
    "Is a stateful network right?",
    f"Only if the rows are streams. With windows in the order of time, a"
    f" stateful network beside a stateless one is"
    f" {beside(kinds[1], kinds[2])}. On streams, a stateless network beside"
    f" a stateful one is {beside(kinds[3], kinds[0])}.",
)

# %% [markdown]
# ## 11. Is it the scaling to [0, 1]?

# %%
scalings = results.curves("base", "[0, 1]", "Adam", "Adam, [0, 1]")
left, right = panels(2)
draw(left, scalings[:2], "RMSprop", ["standardised", "[0, 1]"])
draw(right, scalings[2:], "Adam", ["standardised", "[0, 1]"])
plt.show()
squared = results.rows["[0, 1]"]["gradients"][0][-1] ** 2
assert not scalings[1].stopped
assert squared < 1e-6
answer(
    "Is it the scaling to [0, 1]?",
    f"It slows the training down. With RMSprop, [0, 1] is"
    f" {beside(scalings[1], scalings[0])}; with Adam it is"
    f" {beside(scalings[3], scalings[2])}. In [0, 1] the squared gradient"
    f" of a weight is {squared:.0e}, no longer large beside RMSprop's"
    " epsilon of 1e-07, which makes the steps small.",
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
loss = np.median(np.array(results.rows["dropout 0.5"]["loss"])[:, -5:])
above = loss / np.median(results.rows["dropout 0.5"]["held_out_loss"])
assert compare(found[2], found[0]) == "worse"
assert above > 2
answer(
    "Is it the dropout?",
    f"Yes, more than anything else. Before the output, and beside none,"
    f" dropout 0.5 is {beside(found[2], found[0])}, and dropout 0.1 is"
    f" {beside(found[1], found[0])}. You recognise it by a training loss"
    f" {above:.1f} times the loss on held-out data.",
)

# %% [markdown]
# ## 13. Must the output be fed back, and how?
#
# First on the problem above, with a memory that is kept, and for N = 2 in section 9. Then with a
# clock that runs freely: its bias is a random walk, which leaves the range of the training data on
# a long run. Students are trained on 50 steps from the start, and used on 500. They are built with
# `kf.learned.sequence_regressor(feedback=..., output=...)`, and see y alone. One is added to the
# linear recursion (`kf.learned.imitator`), and the last one, `kf.learned.recurrent` with F2 and F4,
# sees the innovation y - h(f(x)) and its last correction, and its output is added to f(x). The
# teacher is the same filter with Q and R tuned.

# %%
kept = results.curves("base", "fed back", "fed back, added")
names = (
    "level",
    "level, fed back",
    "increment, fed back",
    "added to a linear recursion",
    "correction, from innovations",
)
runs = {name: results.longer(name) for name in names}
print(f"{'free clock':32} within the horizon   at ten times")
for name in ("linear recursion", *names):
    row = results.longer(name)
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
level, fed_back, added, on_linear, corrected = runs.values()
assert min(level.outside, fed_back.outside) > 5 * added.outside
answer(
    "Must the output be fed back, and how?",
    f"With a kept memory, an output that is fed back is"
    f" {beside(kept[1], kept[0])}, and one that is also added to is"
    f" {beside(kept[2], kept[0])}. With a free clock it decides: at ten"
    f" times the horizon, levels have an error of {level.outside:.2f},"
    f" levels fed back {fed_back.outside:.2f}, increments fed back"
    f" {added.outside:.2f}, what is added to a linear recursion"
    f" {on_linear.outside:.2f}, and corrections from innovations"
    f" {corrected.outside:.2f}.",
)

# %% [markdown]
# ## 14. What carries over to longer runs
#
# The same students, compared with the *truth*: the loss in decibels beside their teacher, the tuned
# filter, within the horizon and at ten times it. Left, what their training still gained.

# %%
teacher = results.longer("teacher")
left, right = plt.subplots(1, 2, figsize=(8.4, 2.8))[1]
draw(left, [row.curve for row in runs.values()], "Training, validation")
left.get_legend().remove()
rows = {"linear recursion": results.longer("linear recursion")} | runs
loss = {
    name: [
        20 * np.log10(mine / its)
        for mine, its in zip(row.to_truth, teacher.to_truth, strict=True)
    ]
    for name, row in rows.items()
}
for row in runs.values():
    print(row.curve)
place = np.arange(len(loss))
for offset, part, label in ((-0.2, 0, "within"), (0.2, 1, "ten times")):
    values = [both[part] for both in loss.values()]
    right.barh(place + offset, values, 0.4, label=label)
right.set(xscale="symlog", xlabel="dB beside the teacher")
right.set_yticks(place, list(loss), fontsize=8)
right.invert_yaxis()
right.legend()
plt.show()
before = results.longer("EKF before tuning").to_truth[1]
tuning = 20 * np.log10(before / teacher.to_truth[1])
answer(
    "Does it hold on longer runs?",
    f"Beside its teacher, at ten times the horizon, the student of levels"
    f" loses {loss['level'][1]:.1f} dB, that of increments fed back"
    f" {loss['increment, fed back'][1]:.2f} dB, that of innovations"
    f" {loss['correction, from innovations'][1]:.2f} dB, what is added to a"
    " linear recursion"
    f" {loss['added to a linear recursion'][1]:.2f} dB, and"
    f" the linear recursion alone {loss['linear recursion'][1]:.1f} dB."
    f" (Tuning Q and R of the teacher gained {tuning:.2f} dB.)",
)

# %% [markdown]
# No student is better than its teacher, and none can be: if you have the filter, run the filter.
# Imitate it if the filter is too expensive (a particle filter, a smoother), if only its outputs were
# recorded, or if the student is then trained further on labels, beyond what the model knows.
#
# ## 15. The recipe
#
# 1. Measure errors in the filter's own standard deviations, and fit the linear recursion first.
# 2. Remove the dropout before the output, and let the rows of stateful batches be parallel streams
#    (`kf.data.as_streams`), or use whole trajectories. Training does not make up for either.
# 3. Standardise, let the learning rate fall to zero, and train until the error has stopped falling.
#    With a rate that falls to zero, training twice as long tells whether it has.
# 4. Ask the filter for its forgetting time before you choose a window; better, carry the memory on.
# 5. Let the network add to a linear recursion on its own estimates (`kf.learned.imitator`), or, if
#    you have even a rough model, correct its prediction from innovations. Test on longer runs than
#    those trained on.
#
# `kf.training.distil(teacher, student, data, ...)` does this with a filter as the teacher;
# `kfjax distil --data recorded.csv` and `kf.training.diagnose` do it with recorded outputs, also
# for a network of another framework.
#
# ## 16. What training removes, and what it does not
#
# All variants beside each other. Filled bars have stopped: what they show stays. Hollow ones still
# fall.

# %%
chosen = [
    name for name in results.rows if "rate" not in name and name != "tiny"
]
ends = sorted(
    (results.curve(name) for name in chosen if "falling" not in name),
    key=lambda curve: curve.end,
)
_, ax = plt.subplots(figsize=(7, 0.19 * len(ends) + 0.8))
for place, curve in enumerate(ends):
    face = COLOURS[1] if curve.stopped else "white"
    ax.barh(place, curve.end, 0.7, color=face, ec=COLOURS[1])
ax.axvline(LINEAR, color=BLACK, ls=":", lw=1)
ax.set_yticks(range(len(ends)), [c.name for c in ends], fontsize=8)
ax.set(xscale="log", xlabel="imitation error (dotted: linear recursion)")
ax.set_xticks((0.1, 0.2, 0.5, 1, 2), (0.1, 0.2, 0.5, 1, 2))
ax.minorticks_off()
plt.show()
above = [curve for curve in ends if curve.end > 1.5 * base.end]
stays = [curve.name for curve in above if curve.stopped]
slow = [curve.name for curve in above if not curve.stopped]
answer(
    "What does training not remove?",
    "These have stopped, at more than one and a half times the error of"
    " the base: " + "; ".join(stays) + ". These are there, too, but still"
    " fall: " + "; ".join(slow) + ".",
)

# %% [markdown]
# ## 17. All answers

# %%
for question, sentence in ANSWERS.items():
    print(question)
    print(textwrap.indent(textwrap.fill(sentence, 72), "    "))

# %% [markdown]
# ## 18. What others have built
#
# * **VINet** (R. Clark et al., AAAI 2017) is an LSTM from images and inertial data to poses. It
#   predicts motions and composes them, and its last pose is fed back: increments, as in section 13.
# * **LSTM-KF** (H. Coskun et al., ICCV 2017) keeps the Kalman update and lets LSTMs predict the
#   motion, Q and R.
# * **Backprop KF** (T. Haarnoja et al., NeurIPS 2016) trains a network from images to observations
#   and their covariances *through* a Kalman filter, and **torchfilter** (M. Lee et al., IROS 2020;
#   see also A. Kloss et al., Autonomous Robots 45, 2021) is a library of such differentiable filters.
# * **KalmanNet** (G. Revach et al., IEEE Trans. Signal Process. 70, 2022) learns only the gain, from
#   differences such as the innovation: notebook 04, and the last student of section 13. **RTSNet**
#   (G. Revach et al., IEEE Trans. Signal Process. 71, 2023) is its smoother: `kf.learned.rts_net`.
# * **DANSE** (A. Ghosh et al., IEEE Trans. Signal Process. 72, 2024) needs h, but neither f nor true
#   states: a recurrent network gives the prior of each step from past observations:
#   `kf.learned.danse`.
# * What the networks here are made of: S. Hochreiter, J. Schmidhuber, Neural Computation 9 (1997)
#   (LSTM). R. Jozefowicz et al., ICML 2015 (forget bias). A. Saxe et al., ICLR 2014 (orthogonal
#   starts). W. Zaremba et al., arXiv 1409.2329 (dropout in LSTMs). S. Ioffe, C. Szegedy, ICML 2015
#   (batch normalisation). J. Ba et al., arXiv 1607.06450 (layer normalisation). G. Hinton et al.,
#   arXiv 1503.02531 (distillation). B. Anderson, J. Moore, Optimal Filtering (1979), chapter 4 (how
#   a filter forgets). I. Greenberg et al., NeurIPS 2023 (tune the filter first).
