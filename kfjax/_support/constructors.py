"""Cached constructors of static values that print and pickle as calls."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax

from kfjax._support.arguments import check_flag, check_function

__all__ = ["constructor"]

Arguments = ParamSpec("Arguments")
Built = TypeVar("Built")
KEPT = 1024  # most recent results of each constructor


class Call(NamedTuple):
    """A call of a function, with the arguments as they were given.

    Attributes:
        function: the function that was called.
        args: positional arguments.
        kwargs: keyword arguments.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        """Return the call as code, such as "gated(extended(), 0.999)"."""
        given = [readable(value) for value in self.args]
        given += [f"{name}={readable(value)}" for name, value in self.kwargs.items()]
        return f"{self.function.__name__}({', '.join(given)})"


def readable(value: object) -> str:
    """Return an argument as code: functions by name, dataclasses by the fields that differ."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field for field in dataclasses.fields(value) if field.init and field.repr]
        changed = [field.name for field in fields if _differs(value, field)]
        return str(Call(type(value), (), {name: getattr(value, name) for name in changed}))
    if type(value) is tuple:
        items = [readable(item) for item in value]
        if len(items) == 1:
            return f"({items[0]},)"
        return f"({', '.join(items)})"
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    return repr(value)


def _differs(value: object, field: dataclasses.Field) -> bool:
    """Return whether a field of a dataclass differs from its default."""
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return bool(getattr(value, field.name) != default)


class _Constructed:
    """Mixin of NamedTuples that record the call that made them; copies by `_replace` do not."""

    call: Call | None = None

    def __repr__(self) -> str:
        if self.call is None:
            return super().__repr__()
        return str(self.call)

    def __reduce__(self) -> Any:
        if self.call is None:
            return _plain_type(self), tuple(self)  # type: ignore[arg-type]
        return functools.partial(self.call.function, *self.call.args, **self.call.kwargs), ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self  # it is immutable


@functools.cache
def _constructed(kind: type) -> Any:
    """Return the subtype of a NamedTuple whose instances record the call that made them."""
    return type(kind.__name__, (_Constructed, kind), {"__module__": kind.__module__})


def constructor(build: Callable[Arguments, Built]) -> Callable[Arguments, Built]:
    """Decorate a function that builds a filter, so that its filters are values.

    The same call gives the same object (as long as fewer than 1024 others came between), and calls
    with equal arguments give equal filters. A filter is a static argument of jitted functions,
    which are compiled again for an equivalent filter with other function objects.

    A filter prints as the call that made it: positional arguments as given, keyword arguments that
    differ from their defaults. It is pickled as that call too, so that `build` and functions among
    its arguments must be defined at the top level of a module. The same holds for other NamedTuples
    of functions, such as optax optimisers; any other result is only cached.

    Args:
        build: a function of hashable arguments: numbers, tuples, functions, other filters. An array
            would be a constant that no gradient reaches; arrays belong in the params.

    Returns:
        `build`, with these properties.

    Raises:
        ValueError: if `build` is not a function; when called, if an argument cannot be hashed.

    Example:
        >>> @kf.constructor
        ... def first_channels(filter: kf.Filter, count: int = 1) -> kf.Filter:
        ...     def update(params, state, y, u=None, observed=None):
        ...         kept = jnp.arange(y.shape[0]) < count
        ...         observed = kept if observed is None else kept & observed
        ...         return filter.update(params, state, y, u, observed)
        ...
        ...     return filter._replace(update=update)
        >>> first_channels(kf.extended(), count=2)
        first_channels(extended(), count=2)
        >>> first_channels(kf.extended()) == first_channels(kf.extended(), 1)
        True
    """
    check_function("constructor: build", build, "a function that builds a filter")
    signature = inspect.signature(build)
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}

    @functools.lru_cache(maxsize=KEPT)
    def cached(*args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Return the result, and a dict for its versions by the call as it was written."""
        return build(*args, **kwargs), {}

    @functools.wraps(build)
    def public(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Built:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{build.__name__}() {error}; its signature is {signature}") from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            _check_hashable(f"{build.__name__}: {name}", value)
            # a function may stand in place of some flags
            if isinstance(defaults[name], bool) and not callable(value):
                check_flag(f"{build.__name__}: {name}", value)
        built, by_text = cached(*bound.args, **bound.kwargs)
        if not (isinstance(built, tuple) and hasattr(built, "_fields")):
            return built
        changed = {name: value for name, value in kwargs.items() if value != defaults.get(name)}
        call = Call(public, args, changed)
        # equal calls can be written in several ways, and a filter prints as it was written
        text = str(call)
        if text not in by_text:
            by_text[text] = _constructed(_plain_type(built))._make(built)
            by_text[text].call = call
        return by_text[text]

    return public


def _plain_type(built: Any) -> type:
    """Return the type of a NamedTuple, which may itself come from a constructor."""
    if isinstance(built, _Constructed):
        return type(built).__mro__[2]
    return type(built)


def _check_hashable(name: str, value: object) -> None:
    """Raise a ValueError unless a value can be hashed."""
    try:
        hash(value)
    except TypeError as error:
        is_array = isinstance(value, jax.Array) or hasattr(value, "dtype")
        kind = "an array" if is_array else f"a {type(value).__name__}"
        remedy = "Put arrays in params (the model)."
        if isinstance(value, list):
            remedy = "Write a tuple instead of the list."
        elif callable(value) and not is_array:  # a module of Equinox
            remedy = "Put arrays in params; a module as network goes by kf.learned.ModuleNetwork."
        raise ValueError(
            f"{name} is or holds {kind}; expected a plain number or a hashable value, since a"
            f" filter is static. {remedy}"
        ) from error
