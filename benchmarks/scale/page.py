"""The page that is generated from the results."""

HEAD = """# Scale: a million trajectories, and data larger than memory

Written by `python -m benchmarks.scale`; do not edit. {machine}: wall times hang on what
else they do, processor times (of all threads) less. A process that has only imported kfjax takes {base:.0f} MiB.
Versions: {versions}.

## Monte Carlo: extended Kalman filter on the Lorenz attractor, 100 steps, float32

Every trajectory is drawn, filtered, and measured by all metrics with intervals, 5,000 at a time. The first chunk, which
compiles, is not in the times. Rates are trajectories per second, and per second of processor time. MSE with its
confidence interval, ANEES with its acceptance interval, 95 %.

| trajectories | seconds | processor seconds | rate | rate, processor | peak memory, MiB | MSE, dB | ANEES |
|---|---|---|---|---|---|---|---|
"""

MILLION = """
The last row is what was left of a study that was killed (SIGKILL) with {killed_after:,} trajectories done,
{seconds_before:.0f} s after its start, and called again with the same arguments, `resume=FOLDER` among them; the error
and its interval are of all trajectories. All in all it took {total:.0f} s, with compiling twice. The folder takes
{files:.0f} MiB. Trajectories that failed: {failed}.
"""

DISK = """
## Data on disk: one epoch of training, and an evaluation

{trials:,} trajectories of 100 steps in {file:.0f} MiB of .npy files, written part by part in {writing:.0f} s. One epoch
of `kf.training.fit` (batches of 100, random order) took {training:.0f} s, `kf.compare` (chunks of 1000)
{evaluation:.0f} s. The memory of the process grew by {growth:.0f} MiB at most over what it was after the same on 2,000
trajectories: batches, the order of the epoch, and the sums of the evaluation, a row per trajectory.
"""


def page(results):
    """Return the page in markdown."""
    rows = [*results["growing"], results["million"]]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    base = results["million"]["base"]
    parts = [HEAD.format(machine=results["machine"].capitalize(), versions=versions, base=base)]
    parts += [_row(row) for row in rows]
    million = results["million"]
    total = million["seconds_before"] + million["start"] + million["seconds"]
    return "".join([*parts, MILLION.format(total=total, **million), DISK.format(**results["disk"])])


def _row(row):
    run = row["trials"] - row.get("killed_after", 0)
    (mse, *mse_range), (anees, *anees_range) = row["mse_db"], row["anees"]
    cells = (
        f"{run:,}" + (f" of {row['trials']:,}" if run < row["trials"] else ""),
        f"{row['seconds']:.0f}",
        f"{row['processor']:.0f}",
        f"{run / row['seconds']:,.0f}",
        f"{run / row['processor']:,.0f}",
        f"{row['peak']:.0f}",
        f"{mse:.4f} ({mse_range[0]:.4f} .. {mse_range[1]:.4f})",
        f"{anees:.4f} ({anees_range[0]:.4f} .. {anees_range[1]:.4f})",
    )
    return f"| {' | '.join(cells)} |\n"
