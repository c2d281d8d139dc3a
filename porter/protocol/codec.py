"""Dataclasses to plain JSON-able values and back, validated."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from porter.domain.errors import Invalid

T = TypeVar("T")


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def dump(value: object) -> Any:
    """JSON-able form of a dataclass (nested ones too)."""
    return _adapter(cast(Any, type(value))).dump_python(value, mode="json")


def load(cls: type[T], value: object) -> T:
    """A `cls` from its JSON-able form. Raises Invalid that names the first wrong field."""
    try:
        return cast(T, _adapter(cast(Any, cls)).validate_python(value))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"cannot read {cls.__name__}: {where}: {first['msg']}") from error
