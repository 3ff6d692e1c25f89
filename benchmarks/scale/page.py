"""The page of results in markdown."""

from benchmarks.scale.plotting import PICTURE

SHOWING = f"![Memory and rate against the number of trajectories]({PICTURE})\n\n"

HEAD = """# Scale: a million trajectories, and data larger than memory

Written by `python -m benchmarks.scale`; do not edit. Measured on {machine}: wall times depend on \
the other load of the machine, processor times (of all threads) less so. A process that has only \
imported kfjax takes {base:.0f} MiB. Versions: {versions}.

{picture}## Monte Carlo: extended Kalman filter on the Lorenz attractor, 100 steps, float32

Every trajectory is simulated, filtered, and evaluated with all metrics and their intervals, 5,000 \
at a time. Times leave out the first chunk, which compiles. Rates are trajectories per second, and \
per second of processor time. The mean squared error (MSE), in dB, has its 95 % confidence \
interval. The average normalised estimation error squared (ANEES) is 1 for a consistent filter; \
beside it is the interval in which a consistent filter lies with 95 % probability.

| trajectories | seconds | processor seconds | rate | rate, processor | peak memory, MiB \
| MSE, dB | ANEES |
|---|---|---|---|---|---|---|---|
"""

MILLION = """
The last row is the remainder of a study that was killed (SIGKILL) after {killed_after:,} \
trajectories, {seconds_before:.0f} s after its start, and then called again with the same \
arguments, including `resume=FOLDER`. The error and its interval are those of all trajectories. In \
total it took {total:.0f} s, with two compilations. The folder has {files:.0f} MiB. Failed \
trajectories: {failed}.
"""

DISK = """
## Data on disk: one epoch of training, and an evaluation

There are {trials:,} trajectories of 100 steps in {file:.0f} MiB of .npy files, written part by \
part in {writing:.0f} s. One epoch of `kf.training.fit` (batches of 100, random order) took \
{training:.0f} s, and `kf.compare` (chunks of 1000) {evaluation:.0f} s. The memory of the process \
grew by at most {growth:.0f} MiB more than with 2,000 trajectories: for batches, the order of the \
epoch, and the sums of the evaluation, with a row per trajectory.
"""


def page(results):
    """Return the page."""
    million = results["million"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    head = HEAD.format(
        machine=results["machine"], versions=versions, base=million["base"], picture=SHOWING
    )
    rows = [_row(row) for row in (*results["growing"], million)]
    total = million["seconds_before"] + million["start"] + million["seconds"]
    tail = MILLION.format(total=total, **million) + DISK.format(**results["disk"])
    return "".join([head, *rows, tail])


def _row(row):
    """Return the line of a study."""
    run = row["trials"] - row.get("killed_after", 0)
    trials = f"{run:,}"
    if run < row["trials"]:
        trials += f" of {row['trials']:,}"
    cells = (
        trials,
        f"{row['seconds']:.0f}",
        f"{row['processor']:.0f}",
        f"{run / row['seconds']:,.0f}",
        f"{run / row['processor']:,.0f}",
        f"{row['peak']:.0f}",
        _with_interval(row["mse_db"]),
        _with_interval(row["anees"]),
    )
    return f"| {' | '.join(cells)} |\n"


def _with_interval(figures):
    value, low, high = figures
    return f"{value:.4f} ({low:.4f} .. {high:.4f})"
