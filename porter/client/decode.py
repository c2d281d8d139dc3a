"""JSON to frozen dataclasses. What a class does not know is left out, so that a newer control plane
can be talked to; what it needs and does not find is an error."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from porter.client.errors import NotUnderstood

T = TypeVar("T")
KEY = "key"
"""In a field's metadata: its name in JSON, where that is another."""


def load(cls: type[T], document: Any) -> T:
    """Raises NotUnderstood, which names the field."""
    if not isinstance(document, dict):
        raise _wrong(cls.__name__, document)
    values: dict[str, Any] = {}
    kind: Any = cls
    for name, key, hint, needed in _plan(kind):
        if key in document:
            values[name] = _value(hint, document[key], f"{cls.__name__}.{name}")
        elif needed:
            raise _wrong(f"{cls.__name__}.{name}", None)
    return cls(**values)


@cache
def _plan(cls: Any) -> list[tuple[str, str, Any, bool]]:
    hints = get_type_hints(cls)
    return [
        (
            one.name,
            one.metadata.get(KEY, one.name),
            hints[one.name],
            one.default is MISSING and one.default_factory is MISSING,
        )
        for one in fields(cls)
        if one.init
    ]


def _value(hint: Any, raw: Any, where: str) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return raw
    if origin in (Union, types.UnionType):
        (other,) = (one for one in get_args(hint) if one is not type(None))
        return None if raw is None else _value(other, raw, where)
    if origin is tuple:
        if not isinstance(raw, list):
            raise _wrong(where, raw)
        return tuple(_value(get_args(hint)[0], one, where) for one in raw)
    if is_dataclass(hint):
        return load(hint, raw)  # type: ignore[arg-type]
    if hint is datetime:
        return _time(raw, where)
    if hint is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if not isinstance(raw, origin or hint) or (hint is int and isinstance(raw, bool)):
        raise _wrong(where, raw)
    return raw


def _time(raw: Any, where: str) -> datetime:
    try:
        return datetime.fromisoformat(raw)
    except (TypeError, ValueError):
        raise _wrong(where, raw) from None


def _wrong(where: str, raw: Any) -> NotUnderstood:
    return NotUnderstood(
        f"cannot understand the control plane's answer: {where} is {str(raw)[:80]!r}",
        "use a client that is as new as the control plane",
    )
