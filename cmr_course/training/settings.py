"""Frozen dataclasses from plain mappings, such as YAML gives, and back; what is mistyped is told its nearest name."""

from __future__ import annotations

import contextlib
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union

from cmr_course.validate import is_number, is_whole, require, say

T = TypeVar("T")
PLAIN = (str, int, float, bool)


def read(kind: type[T], values: Any, where: str = "") -> T:
    """A `kind`, a dataclass, of the mapping `values`; each field of a dataclass is read in the same way.

    where: names the mapping in errors, ``optimiser.`` for example. Unknown keys, missing ones, and values of another
    type raise ValueError. ``1e-3``, which YAML 1.1 reads as text, is taken for a number where one is wanted.
    """
    good = isinstance(values, Mapping) and all(isinstance(name, str) for name in values)
    require(good, f"{where or 'recipe'}: got {say(values)}, want a mapping of names to values")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        require_known(f"{where}{name}", name, known)
    missing = [
        name
        for name, field in known.items()
        if name not in values and field.default is MISSING and field.default_factory is MISSING
    ]
    require(not missing, f"{where}{', '.join(missing)}: is missing, want a value")
    types_ = typing.get_type_hints(kind)
    return kind(**{name: _value(types_[name], value, f"{where}{name}") for name, value in values.items()})


def require_known(where: str, name: Any, known: Iterable[str]) -> None:
    """`name` must be one of `known`; the error suggests the nearest one, and else lists them all."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    meant = f"did you mean {near[0]}?" if near else f"want one of {', '.join(known)}"
    require(isinstance(name, str) and name in known, f"{where}: is not known, {meant}")


def plain(value: Any) -> Any:
    """What :func:`read` reads: dataclasses as mappings, tuples as lists; a field at None is kept."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(inner, value, where)
    if origin is tuple:
        return _several(inner, value, where)
    if origin is not None and issubclass(origin, Mapping):
        require(isinstance(value, Mapping), f"{where}: got {say(value)}, want a mapping")
        return {name: _value(inner[1], one, f"{where}.{name}") for name, one in value.items()}
    if is_dataclass(kind):
        return read(kind, value, f"{where}.")  # type: ignore[arg-type]
    return _plain(kind, value, where) if kind in PLAIN else value


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """The first of the types that `value` fits; dataclasses of a union tell themselves apart by their `kind`."""
    if value is None and type(None) in kinds:
        return None
    records: list[Any] = [one for one in kinds if is_dataclass(one)]
    several = {one.kind: one for one in records if isinstance(getattr(one, "kind", None), str)}
    if several:
        require(isinstance(value, Mapping), f"{where}: got {say(value)}, want a mapping with a kind")
        name = value.get("kind")
        require_known(f"{where}.kind {say(name)}", name, several)
        return read(several[name], value, f"{where}.")
    if records and isinstance(value, Mapping):
        return read(records[0], value, f"{where}.")
    errors = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return _value(kind, value, where)
            except ValueError as error:
                errors.append(error)
    raise errors[0]


def _several(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    require(isinstance(value, list | tuple), f"{where}: got {say(value)}, want a list")
    if len(kinds) == 2 and kinds[1] is ...:
        kinds = (kinds[0],) * len(value)
    require(len(kinds) == len(value), f"{where}: got {len(value)} values, want {len(kinds)}")
    return tuple(_value(kind, one, f"{where}[{i}]") for i, (kind, one) in enumerate(zip(kinds, value, strict=True)))


def _plain(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    fits = {
        str: lambda: isinstance(value, str),
        bool: lambda: isinstance(value, bool),
        int: lambda: is_whole(value),
        float: lambda: is_number(value),
    }
    wanted = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    require(fits[kind](), f"{where}: got {say(value)}, want {wanted[kind]}")
    return float(value) if kind is float else value
