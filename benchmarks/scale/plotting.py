"""The picture of studies of growing size, from the stored results."""

from matplotlib.figure import Figure

from kfjax.plotting import COLOURS

PICTURE = "scale.png"


def draw(folder, results):
    """Write the picture: memory and rate against the number of trajectories."""
    rows = [*results["growing"], results["million"]]
    run = [row["trials"] - row.get("killed_after", 0) for row in rows]
    trials = [row["trials"] for row in rows]
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(trials, [row["peak"] for row in rows], "o-", color=COLOURS[0])
    left.axhline(results["million"]["base"], color="0.5", ls="--", lw=1, label="import alone")
    left.legend(frameon=False)
    left.set(ylabel="peak memory, MiB", ylim=(0, None))
    rates = [count / row["processor"] for count, row in zip(run, rows, strict=True)]
    right.plot(trials, rates, "o-", color=COLOURS[0])
    right.set(ylabel="trajectories per processor second", ylim=(0, None))
    for ax in (left, right):
        ax.set(xscale="log", xlabel="trajectories")
        ax.grid(alpha=0.3)
    figure.savefig(folder / PICTURE, dpi=110, metadata={"Software": None})
