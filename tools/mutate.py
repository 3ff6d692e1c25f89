"""Change one operation of the package at a time, and check whether a test detects it.

    python tools/mutate.py --out ~/mutants --sample 100 --seed 1  # seconds for each; continues
    python tools/mutate.py --out ~/mutants --only moments runner # modules whose paths contain these
    python tools/mutate.py --out ~/mutants --only linalg/solves.py:30  # one line
    python tools/mutate.py --out ~/mutants --sample 100 --seed 1 --report  # the results so far

Without `--only`, what computes beliefs and their errors is changed (`covering_tests.NUMERICAL`).
The tests run in a copy of the tree. They are collected once; then each change is made to functions
in memory, in a fork. Of the tests that cover a module, those run first that execute the changed
line, are quick, and have detected other changes; this is measured on the way. Results are lines of
JSON in the folder, which is outside the repository. A second call continues where the first one
stopped, except for modules that have changed since, and tries survivors again if tests changed.

The report counts what died, what survived, what is equivalent, and what is not decided, and gives
the 95 % interval of the share that dies. Changes that no test can detect because results stay the
same are listed with their reasons in `tools/equivalent_mutants.toml`, and left out.
"""

import argparse
import collections
import hashlib
import json
import sys
import time
import tomllib
from pathlib import Path

import collected_tests
import forked_tests
import swapped_code
from covering_tests import NUMERICAL, files_of_tests, modules
from mutant_runs import Run, Swapping, Tests, copied_tree
from mutants import ROOT, Mutant, mutants_of
from scipy import stats


class Results:
    """The lines of JSON in a folder."""

    def __init__(self, folder: Path) -> None:
        if folder.resolve().is_relative_to(ROOT):
            raise SystemExit(f"--out {folder} is inside the repository; expected another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "results.jsonl"
        self.known: dict[str, dict[str, object]] = {}
        if self.file.exists():
            rows = map(json.loads, self.file.read_text(encoding="utf-8").splitlines())
            self.known = {row["mutant"] + row["digest"]: row for row in rows}

    def outcome(self, mutant: Mutant) -> str:
        """Return the outcome of a mutant as it was last tried, "" if it was not."""
        row = self.known.get(mutant.name + digest(mutant))
        return "" if row is None else str(row["outcome"])

    def decided(self, mutant: Mutant, tests: str) -> bool:
        """Return whether a mutant is known to die, or to survive this version of the tests."""
        row = self.known.get(mutant.name + digest(mutant))
        if row is None or row["outcome"] == "undecided":
            return False
        return row["outcome"] != "lives" or row.get("tests") == tests

    def add(self, mutant: Mutant, outcome: str, failed: str, tests: str, seconds: float) -> None:
        """Store the outcome of a mutant, and the test that detected it."""
        row = {"mutant": mutant.name, "path": mutant.path, "outcome": outcome, "by": failed}
        row |= {"seconds": round(seconds, 1), "digest": digest(mutant), "tests": tests}
        self.known[mutant.name + digest(mutant)] = row
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def report(self, mutants: list[Mutant]) -> None:
        """Print the survivors among these, how many die in each module, and the share that dies."""
        listed = equivalents()
        counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for mutant in mutants:
            word = "equivalent" if mutant.place in listed else self.outcome(mutant)
            counts[mutant.path][word] += 1
            if word in ("lives", "undecided"):
                print(f"{word}: {mutant.name}")
        totals: collections.Counter[str] = sum(counts.values(), collections.Counter())
        for path, count in [*sorted(counts.items()), ("all", totals)]:
            died = count["dies"] + count["too slow"]
            print(
                f"{path:48s} {died:4d} of {died + count['lives']:4d} die,"
                f" {count['equivalent']} equivalent, {count['undecided']} undecided,"
                f" {count['']} not tried"
            )
        low, high = interval(died, died + count["lives"])
        print(f"share that dies, with 95 % interval: {low:.3f} to {high:.3f}")


def interval(died: int, decided: int) -> tuple[float, float]:
    """Return the 95 % interval (Clopper and Pearson) of the share that dies."""
    low = stats.beta.ppf(0.025, died, decided - died + 1) if died else 0.0
    high = stats.beta.ppf(0.975, died + 1, decided - died) if died < decided else 1.0
    return float(low), float(high)


def equivalents() -> set[tuple[str, str, str]]:
    """Return the listed changes: path, text of the line, change."""
    text = (ROOT / "tools" / "equivalent_mutants.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text).get("mutant", [])
    return {(row["path"], row["line"], row["change"]) for row in rows}


def sample(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """Return some mutants at random.

    A larger sample contains a smaller one, and a change of one module leaves the mutants of others.
    """

    def rank(mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{seed} {mutant.place} {mutant.column}".encode()).digest()

    return sorted(mutants, key=rank)[:count]


def word_for(outcome: forked_tests.Outcome) -> str:
    """Return the outcome of a mutant in words."""
    if outcome.slow:
        return "too slow"
    if outcome.failed:
        return "dies"
    return "undecided" if outcome.unfinished else "lives"


def digest(mutant: Mutant) -> str:
    """Return a digest of the text of a changed module."""
    return hashlib.sha256(mutant.source.encode()).hexdigest()[:12]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument(
        "--only", nargs="+", default=NUMERICAL, help="parts of paths of modules, or path:line"
    )
    parser.add_argument("--sample", type=int, help="how many mutants, at random; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--patience",
        type=float,
        default=60.0,
        help="processor seconds for a mutant's tests;"
        " if they end before all tests that may run the line, it is undecided, and tried again",
    )
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args()


def main() -> int:
    """Run mutants that have no result yet, and print the report."""
    args = arguments()
    home = args.out.expanduser()
    paths = modules([part.partition(":")[0] for part in args.only])
    every = [mutant for path in paths for mutant in mutants_of(path)]
    every = [mutant for mutant in every if any(part in mutant.name for part in args.only)]
    print(f"{len(every)} mutants", flush=True)
    if args.sample is not None:
        every = sample(every, args.sample, args.seed)
    if not args.report:
        run(every, home, args.patience)
    Results(home).report(every)
    return 0


def run(mutants: list[Mutant], home: Path, patience: float) -> None:
    """Test mutants one after another, those first for which nothing has to be imported again."""
    results, listed = Results(home), equivalents()
    tree = copied_tree(home.resolve() / "tree")
    forked_tests.preload(tree, home / "compiled")
    tests = Tests(tree, home / "tests.json")
    left = [m for m in mutants if m.place not in listed and not results.decided(m, tests.version)]
    quick, slow = [], []
    for mutant in sorted(left, key=lambda m: results.outcome(m) == "lives"):
        before = (ROOT / mutant.path).read_text(encoding="utf-8")
        (quick if swapped_code.can_swap(before, mutant.source) else slow).append(mutant)
    if quick:
        collected_tests.collect(
            tree,
            files_of_tests(quick),
            lambda found: try_each(quick, home, tests, patience, Swapping(tree, found).run),
        )
        tests = Tests(tree, tests.file)  # measured meanwhile
    try_each(slow, home, tests, patience, tests.run)


def try_each(mutants: list[Mutant], home: Path, tests: Tests, patience: float, run: Run) -> None:
    """Test mutants one after another, and store the results."""
    results = Results(home)
    kills = collections.Counter(str(row.get("by", "")) for row in results.known.values())
    detected = {str(row["by"]) for row in results.known.values() if row["tests"] == tests.version}
    for mutant in mutants:
        begin = time.monotonic()
        outcome = tests.notice(mutant, kills, patience, run)
        kills[outcome.failed] += bool(outcome.failed)
        detected.add(outcome.failed)
        word = word_for(outcome)
        results.add(mutant, word, outcome.failed, tests.version, time.monotonic() - begin)
        print(f"{word:9s} {mutant.name}  {outcome.failed}", flush=True)
    tests.confirm(sorted(detected), run)


if __name__ == "__main__":
    sys.exit(main())
