"""Changes of one operation of a module at a time."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SWAPPED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
# Functions whose first two arguments may be swapped.
SYMMETRIC = (
    "max", "min", "maximum", "minimum", "logical_and", "logical_or", "add", "multiply", "equal",
)  # fmt: skip


class Mutant(NamedTuple):
    """One change of one module."""

    path: str
    line: int
    column: int
    before: str
    after: str
    text: str  # of the line
    source: str  # of the module, changed

    @property
    def name(self) -> str:
        """The key of a mutant: path of the module, position and change."""
        return f"{self.path}:{self.line}:{self.column}: {self.before} -> {self.after}"

    @property
    def place(self) -> tuple[str, str, str]:
        """The key in a list of mutants, independent of line numbers: path, text and change."""
        return self.path, self.text, f"{self.before} -> {self.after}"


def variants(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the changes of an expression."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        other = SWAPPED[type(node.ops[0])]()
        yield ast.Compare(node.left, [other, *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
        yield ast.BinOp(node.left, SWAPPED[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(SWAPPED[type(node.op)](), node.values)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.Constant):
        yield from other_constants(node.value)
    elif isinstance(node, ast.Call):
        yield from other_calls(node)


def other_constants(value: object) -> Iterator[ast.expr]:
    """Yield the negated boolean, or shifted numbers."""
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, float):
        yield ast.Constant(2 * value if value else 1.0)


def other_calls(node: ast.Call) -> Iterator[ast.expr]:
    """Yield the branches of a `where`, and a call with its first two arguments swapped."""
    name = ast.unparse(node.func).rpartition(".")[2]
    if name == "where" and len(node.args) == 3:
        yield node.args[1]
        yield node.args[2]
    elif (
        len(node.args) > 1
        and name not in SYMMETRIC
        and not any(isinstance(a, ast.Starred) for a in node.args[:2])
    ):
        first, second, *others = node.args
        yield ast.Call(node.func, [second, first, *others], node.keywords)


def expressions(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions that run: no annotations, decorators, docstrings or error texts."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.expr):
        yield node
    skipped = {"annotation", "returns", "decorator_list", "type_params"}
    for field, value in ast.iter_fields(node):
        if field in skipped:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from expressions(child)


def mutants_of(path: str) -> Iterator[Mutant]:
    """Yield all mutants of a module, in the order of its text."""
    source = (ROOT / path).read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    text = source.encode()
    for node in expressions(ast.parse(source)):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        for changed in variants(node):
            if ast.dump(changed) == ast.dump(node):  # f(a, a)
                continue
            after = ast.unparse(ast.fix_missing_locations(changed))
            whole = text[:begin] + f"({after})".encode() + text[end:]
            place = (path, node.lineno, node.col_offset + 1)
            here = lines[node.lineno - 1].strip()
            yield Mutant(*place, ast.unparse(node), after, here, whole.decode())
