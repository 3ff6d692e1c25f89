"""Fig. 10: the Lorenz attractor filtered with a Taylor order of 2, where the data have 5."""

import functools

from benchmarks.kalmannet import lorenz
from benchmarks.kalmannet.data import drawn
from benchmarks.kalmannet.figures import against_noise, panels
from benchmarks.kalmannet.lorenz import EKF, KALMAN_NET, OEKF, SEARCHED
from benchmarks.kalmannet.study import Study

NU = -20
RESIDUAL = lorenz.LEARNED.format("f")
LEARNED_NET = lorenz.LEARNED_NET.format("f")


@functools.cache
def cases(size):
    """Return the cases, one per noise level."""
    steps = size.choose(100, 2000, 2000)
    counts = size.choose((4, 2, 2), (8, 4, 10), (30, 5, 30))

    def case(level):
        truth, design = (lorenz.start(level, NU, taylor_order=order) for order in (5, 2))
        parts = drawn(300 + level, truth, counts, steps)
        return lorenz.Case(truth, design, parts, {f"{level} dB": parts.test})

    return [case(level) for level in size.levels]


def rows(size):
    """Return the rows of the study."""
    budget = lorenz.windowed(size)
    return lorenz.rows(size, lambda: cases(size), network="C4", budget=budget, learns="f")


def verdicts(results):
    """Compare KalmanNet with the EKF whose q is searched, and with the EKF of the learned f."""
    claim = "KalmanNet is better than an EKF with searched q at every noise level"
    return (lorenz.against_searched(results, claim), *lorenz.like_for_like(results, "f"))


def details(results):
    """Describe how far rows are above the EKF with the true model."""
    rows = (EKF, SEARCHED, OEKF, KALMAN_NET, RESIDUAL, LEARNED_NET)
    return lorenz.from_truth(results, rows)


def draw(results):
    """Draw the errors against the noise."""
    figure, axes = panels(1, width=6)
    title = "Fig. 10: J = 2 for J = 5"
    against_noise(axes[0], results, list(results.rows), lambda level: f"{level} dB", title)
    return figure


STUDY = Study(
    "Fig. 10: the Lorenz attractor, J = 2 where the data have J = 5",
    """\
h = I, T = 2000, nu = -20 dB, and x_0 = (1, 1, 1) is known. Filters use J = 2.

q is searched in steps of half a decade. The OEKF tunes all diagonal entries of Q and R on pieces \
of 50 steps. KalmanNet C4 is trained on pieces of 5 steps (150 batches of 32), then in 600 \
windows of 50 steps that continue through trajectories of 500 steps, so that it learns to correct \
its own errors (our choice; full size: 1000 and 3000). The cubic that corrects f is fitted to \
one-step differences of the same labels; KalmanNet has this f in a row of its own.""",
    rows,
    verdicts,
    details,
    notes=("The paper's figure has no printed numbers.",),
    draw=draw,
    form="The paper's figure shows the MSE in dB against 1/r² in dB. So does ours.",
)
