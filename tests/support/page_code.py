"""Check code on pages against kfjax: names exist, calls bind, options and paths exist."""

import ast
import builtins
import contextlib
import functools
import importlib
import inspect
import io
import pkgutil
import re
import shlex
import types
import typing
from collections.abc import Iterator
from typing import Any

from support.pages import ROOT, Page, Piece, parsed

import kfjax as kf
from kfjax._cli.parser import main

ROOTS = {"kf", "kfjax"}
PATH = re.compile(r"(?:kfjax|tests|docs|benchmarks|tools|notebooks)/[\w./-]*")
COMMAND = re.compile(r"(?:^|&&|\s)\s*(?:\S*/)?kfjax (?P<rest>[a-z]+(?: .*)?)$")
CLASS = re.compile(r"[A-Z]\w*[a-z]\w*")
FOREIGN = {  # names of other libraries that pages compare kfjax with
    *("Bearing", "ESSrmin", "Elevation", "KNetArchitecture", "MultiModelPredictor"),
    *("ParticleUpdater", "UnobservedComponents", "DynamicFactor"),
    *("MarkovRegression", "MarkovAutoregression"),
}
ABSENT = object()
# The packages whose names a page may use without their prefix, by a part of the page's path.
SUBJECTS = {
    "methods/learned": ("learned",),
    "gain-network": ("learned",),
    "benchmarks/learned": ("learned",),
    "benchmarks/kalmannet": ("learned",),
    "methods/learning": ("training",),
    "choose-q-and-r": ("training",),
    "plot-results": ("plotting",),
    "export-a-filter": ("exporting",),
    "use-your-own-data": ("data",),
    "scale-up": ("data",),
    "particle": ("filters",),
    "ensemble": ("filters",),
    "gaussian-filters": ("filters", "moments"),
}


def problems(page: Page) -> list[str]:
    """Return a line for every piece of code on a page that does not agree with kfjax."""
    found = []
    for piece in page.pieces:
        found += [f"{page.name}:{line}: {text}" for line, text in problems_of(piece, page)]
    return found


def problems_of(piece: Piece, page: Page) -> Iterator[tuple[int, str]]:
    """Yield (line, what is wrong) for one piece of code."""
    code = piece.code.strip()
    if piece.kind == "shell":
        for number, line in enumerate(re.sub(r"\\\n\s*", "", piece.code).split("\n")):
            for reason in command_problems(line.partition("  #")[0]):
                yield piece.line + number, f"`{line.strip()}`: {reason}"
        return
    if piece.kind == "snippet":
        if PATH.fullmatch(code) and not (ROOT / code).exists():
            yield piece.line, f"`{code}`: there is no such file"
            return
        if re.match(r"kfjax [a-z]|python |pytest ", code):
            for reason in command_problems(code):
                yield piece.line, f"`{code}`: {reason}"
            return
        if CLASS.fullmatch(code) and code not in every_name() | page.known | FOREIGN:
            yield piece.line, f"`{code}`: no module of kfjax has this name"
            return
    tree = parsed(piece.code if piece.kind == "python" else code)
    if tree is None:
        if piece.kind == "python" or re.match(r"(kf|kfjax)\.\w+[.(]", code):
            yield piece.line, f"`{code[:80]}`: not valid Python"
        return
    bare = bare_names(page) if piece.kind == "snippet" else {}
    yield from tree_problems(tree, piece, bare | imported(tree))


def tree_problems(tree: ast.AST, piece: Piece, bare: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield the names that do not exist, and the calls that do not bind."""
    for node in ast.walk(tree):
        reason = None
        if isinstance(node, ast.Attribute):
            reason = name_problem(node, bare)
        if isinstance(node, ast.Call):
            reason = call_problem(node, bare, partial=piece.kind == "snippet")
        if isinstance(node, ast.Assign):
            reason = unpacking_problem(node, bare)
        if reason is not None:
            line = piece.line + (node.lineno - 1 if piece.kind == "python" else 0)
            yield line, f"`{ast.unparse(node)}`: {reason}"


def name_problem(node: ast.Attribute, bare: dict[str, Any]) -> str | None:
    """Return what is wrong with a dotted name rooted in kfjax, or None."""
    owner = value_of(node.value, bare)
    checked = isinstance(owner, types.ModuleType | type)  # functions have no attributes of interest
    if not checked or value_of(node, bare) is not ABSENT:
        return None
    return f"{getattr(owner, '__name__', owner)} has no public {node.attr}"


def call_problem(node: ast.Call, bare: dict[str, Any], *, partial: bool) -> str | None:
    """Return why a call of something in kfjax does not bind, or None.

    Arguments may be left out where `...` or `*args` stands, and in prose (`partial`) if only
    keywords are given: `Dataset(length=lengths)`.
    """
    function = value_of(node.func, bare)
    if function is ABSENT:
        return None
    if not callable(function):
        return "it cannot be called"
    try:
        signature = inspect.signature(function)
    except ValueError:
        return None
    elided = any(is_ellipsis(a) or isinstance(a, ast.Starred) for a in node.args)
    elided |= any(keyword.arg is None for keyword in node.keywords)
    positional = [a for a in node.args if not (is_ellipsis(a) or isinstance(a, ast.Starred))]
    named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg is not None}
    elided |= partial and bool(named) and not positional
    bind = signature.bind_partial if elided else signature.bind
    try:
        bind(*positional, **named)
    except TypeError as error:
        return f"{error}; the signature is {shown(signature)}"
    return None


def unpacking_problem(node: ast.Assign, bare: dict[str, Any]) -> str | None:
    """Return why the result of a call cannot be unpacked into so many names, or None."""
    if not isinstance(node.targets[0], ast.Tuple) or not isinstance(node.value, ast.Call):
        return None
    names = node.targets[0].elts
    fields = fields_returned(value_of(node.value.func, bare))
    starred = any(isinstance(name, ast.Starred) for name in names)
    if fields is None or starred or len(names) == len(fields):
        return None
    return f"it returns {len(fields)} values, {', '.join(fields)}; {len(names)} names take them"


def fields_returned(function: Any) -> list[str] | None:
    """Return what a function's result unpacks into, as its annotation says; None if unknown."""
    try:
        returned = typing.get_type_hints(function)["return"]
    except (KeyError, NameError, TypeError):
        return None
    kind = typing.get_origin(returned) or returned
    if hasattr(kind, "_fields"):
        return list(kind._fields)
    parts = typing.get_args(returned)
    if kind is not tuple or Ellipsis in parts:
        return None
    return [getattr(part, "__name__", str(part)) for part in parts]


def is_ellipsis(node: ast.expr) -> bool:
    """Return whether an argument is `...`, for arguments that are left out."""
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def shown(signature: inspect.Signature) -> str:
    """Return a signature without annotations."""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def value_of(node: ast.expr, bare: dict[str, Any]) -> Any:
    """Return the object that a name or a dotted name stands for, ABSENT if it is not of kfjax."""
    if isinstance(node, ast.Name):
        return kf if node.id in ROOTS else bare.get(node.id, ABSENT)
    if not isinstance(node, ast.Attribute):
        return ABSENT
    owner = value_of(node.value, bare)
    return ABSENT if owner is ABSENT else attribute(owner, node.attr)


def attribute(owner: Any, name: str) -> Any:
    """Return a public attribute of a module, or a field or attribute of a class."""
    if isinstance(owner, types.ModuleType):
        if name in getattr(owner, "__all__", dir(owner)):
            return getattr(owner, name)
        return submodule(owner, name)
    fields = getattr(owner, "__dataclass_fields__", {})
    return fields[name] if name in fields else getattr(owner, name, ABSENT)


def submodule(package: types.ModuleType, name: str) -> Any:
    """Return a module of a package that is not private."""
    if name.startswith("_") or not hasattr(package, "__path__"):
        return ABSENT
    found = {info.name for info in pkgutil.iter_modules(package.__path__)}
    return importlib.import_module(f"{package.__name__}.{name}") if name in found else ABSENT


def imported(tree: ast.AST) -> dict[str, Any]:
    """Return the names that a block imports from kfjax."""
    names: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kfjax":
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                names[alias.asname or alias.name] = getattr(module, alias.name)
    return names


def bare_names(page: Page) -> dict[str, Any]:
    """Return the names that a page may use without a prefix."""
    names = {name: getattr(kf, name) for name in kf.__all__}
    for part, packages in SUBJECTS.items():
        if part in page.name:
            for package in packages:
                names |= public_names(f"kfjax.{package}")
    if page.module is not None:
        package = ".".join(page.module.split(".")[:2])
        names |= public_names(package) | vars(importlib.import_module(page.module))
    return {
        name: value
        for name, value in names.items()
        if name not in page.known and not isinstance(value, types.ModuleType) and callable(value)
    }


@functools.cache
def every_name() -> frozenset[str]:
    """Return the names in all modules of kfjax, and those of Python itself."""
    names = set(dir(builtins))
    for info in pkgutil.walk_packages(kf.__path__, "kfjax."):
        if not info.name.endswith("__main__"):
            names |= set(vars(importlib.import_module(info.name)))
    return frozenset(names)


def public_names(package: str) -> dict[str, Any]:
    """Return the public names of a package that is itself public."""
    module = importlib.import_module(package)
    return {name: getattr(module, name) for name in getattr(module, "__all__", ())}


def command_problems(command: str) -> Iterator[str]:
    """Yield what is wrong with a shell command: options of `kfjax`, and paths of the repository."""
    for word in re.split(r"[\s,;=]+", command):
        if PATH.fullmatch(word) and not (ROOT / word).exists():
            yield f"there is no {word}"
    for part in command.split("&&"):
        match = COMMAND.search(part.strip())
        if match:
            yield from option_problems(match["rest"])


def option_problems(rest: str) -> Iterator[str]:
    """Yield what is wrong with the arguments of `kfjax`."""
    subcommand, *arguments = shlex.split(rest)
    known = options().get(subcommand)
    if known is None:
        yield f"`kfjax {subcommand}` is not a command; there are {sorted(options())}"
        return
    for argument in arguments:
        option = argument.partition("=")[0]
        if option.startswith("--") and option not in known:
            yield f"`kfjax {subcommand}` has no option {option}"


@functools.cache
def options() -> dict[str, set[str]]:
    """Return the options of every command of `kfjax`, from its usage."""
    commands = help_of().partition("\ncommands:\n")[2]
    names = re.findall(r"^ {4}([a-z]+) ", commands, re.MULTILINE)
    return {name: {"--help", *re.findall(r"--[\w-]+", usage(help_of(name)))} for name in names}


def usage(text: str) -> str:
    """Return the usage at the head of a help text."""
    return text.partition("\n\n")[0]


def help_of(*command: str) -> str:
    """Return the help text of `kfjax`, or of one of its commands."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return output.getvalue()
