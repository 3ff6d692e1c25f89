"""The experiments: which variants of a network are trained, in groups of one shape."""

from typing import NamedTuple

from benchmarks.imitation.network import Shape
from benchmarks.imitation.training import Options, Setting

STEPS = 320_000  # of the training record: 32,000 windows of 10
SEEDS = (1, 2)
BASE = Options()
UNIT = BASE._replace(unit=1)
ASKED = Options(unit=1, dropout=0.5, in_time=1)  # windows in the order of time
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
DEPTHS = {"1 layer": (16,), "2 layers": (16, 16), "3 layers": (16, 16, 16)}


class Group(NamedTuple):
    """Variants that share a compilation.

    Attributes:
        setting: the `Setting`.
        variants: `Options` by name.
        seeds: random seeds of the weights and of dropout.
    """

    setting: Setting
    variants: dict[str, Options]
    seeds: tuple[int, ...] = SEEDS


def groups():
    """Return all groups by name, the most important ones first."""
    return {
        "base": Group(Setting(), _rates(), (1, 2, 3)),
        "dropout": Group(Setting(Shape(DEPTHS["1 layer"], dropout=True)), _dropout()),
        "rows": Group(Setting(), _rows()),
        "windows": Group(Setting(rows=8, window=40), _windows()),
        "asked, 2 layers": _deep("2 layers", "asked"),
        "asked, 3 layers": _deep("3 layers", "asked"),
        "2 layers": _deep("2 layers"),
        "3 layers": _deep("3 layers"),
        "batch norm": _deep("3 layers", "batch norm"),
        "8 units": _width(8),
        "adam": Group(Setting(optimizer="adam"), {"Adam": BASE, "Adam, [0, 1]": UNIT}),
        "8 rows": Group(Setting(rows=8), {"8 rows": BASE._replace(batches=4000)}),
        "128 rows": Group(Setting(rows=128), {"128 rows": BASE._replace(batches=250)}),
        "32 units": _width(32),
        "layer norm": _deep("3 layers", "layer norm"),
        "asked, 32 units": Group(Setting(Shape((32,), dropout=True)), {"asked, 32 units": ASKED}),
        "his size": Group(Setting(Shape((64, 32), dropout=True)), _his_size(), (1,)),
    }


def _rates():
    """Return learning rates; falling ones show what longer training would gain."""
    falling = BASE._replace(rate=1e-2)
    return {
        "base": BASE,
        "rate 0.003": BASE._replace(rate=3e-3),
        "rate 0.01": BASE._replace(rate=1e-2),
        "rate 0.0003": BASE._replace(rate=3e-4),
        "falling in 5000": falling._replace(falls=5_000),
        "falling in 10000": falling._replace(falls=10_000),
        "falling in 20000": falling._replace(falls=20_000),
    }


def _dropout():
    """Return the asked network with one layer, repaired step by step, and rates of dropout."""
    return {
        "asked, 1 layer": ASKED,
        "asked, but streams": ASKED._replace(in_time=0),
        "asked, but standardised": ASKED._replace(unit=0),
        "dropout 0.1": BASE._replace(dropout=0.1),
        "dropout 0.5": BASE._replace(dropout=0.5),
    }


def _rows():
    """Return variants of the rows of a batch, of scaling, of feedback, and of the record."""
    fed_back = BASE._replace(feedback=1.0)
    return {
        "stateful, order of time": BASE._replace(in_time=1),
        "stateless, order of time": BASE._replace(in_time=1, wipe=10),
        "stateless, streams": BASE._replace(wipe=10),
        "[0, 1]": UNIT,
        "fed back": fed_back,
        "fed back, added": fed_back._replace(increment=1.0),
        "640 windows": BASE._replace(batches=20),
        "3200 windows": BASE._replace(batches=100),
    }


def _windows():
    """Return window lengths, all on the same batches of 8 rows of 40 steps."""
    lengths = (2, 5, 10, 20, 40)
    found = {f"N = {N}": BASE._replace(wipe=N, test_wipe=N) for N in lengths}
    two = found["N = 2"]._replace(keep_output=1, feedback=1.0)
    added = two._replace(increment=1.0)
    return found | {"N = 2, fed back": two, "N = 2, fed back, added": added}


def _deep(layers, kind=""):
    """Return a stack of layers: as asked, repaired, and repaired with normalisation."""
    asked = kind == "asked"
    norm = kind.removesuffix(" norm") if kind.endswith("norm") else ""
    name = {"asked": f"asked, {layers}", "": layers}.get(kind, f"{layers}, {kind}")
    setting = Setting(Shape(DEPTHS[layers], norm=norm, dropout=asked))
    return Group(setting, {name: ASKED if asked else BASE})


def _width(units):
    """Return rates for one layer of another width."""
    variants = {f"{units} units, rate {rate:g}": BASE._replace(rate=rate) for rate in RATES}
    return Group(Setting(Shape((units,))), variants)


def _his_size():
    """Return the variants of the layers in the question: as asked, and repaired."""
    return {"asked, 64 + 32": ASKED, "64 + 32": BASE}
