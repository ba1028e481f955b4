"""Frozen dataclasses that cost next to nothing to define.

`dataclasses` compiles six methods for every class: half a millisecond on a desk and twenty times
that on a small board, which starts the agent for every session, and the agent defines more than
seventy. Here all classes share theirs. `fields`, `replace`, equality, hashes, text and errors are
as usual; `__post_init__`, inheritance and `field(init=False)` are not there.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Tuple

__all__ = ["record"]

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:

    def record(*, frozen):
        """As `dataclasses.dataclass(frozen=True)`, the only kind there is."""
        assert frozen
        return _record


def _record(cls: Any) -> Any:
    dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    for name, method in _METHODS.items():
        setattr(cls, name, method)
    return cls


def _init(self: Any, *values: Any, **named: Any) -> None:
    """Every field from its argument, its default, or its factory.

    Raises:
        TypeError: one is missing, or there are more.
    """
    fields = dataclasses.fields(self)
    for field, value in zip(fields, values):
        if field.name in named:
            raise TypeError("%s: two values for %r" % (type(self).__name__, field.name))
        named[field.name] = value
    found = {field.name: _value(self, field, named) for field in fields}
    if len(values) > len(fields) or len(named) > len(fields) or set(named) - set(found):
        raise TypeError("%s: it has only %s" % (type(self).__name__, ", ".join(found)))
    self.__dict__.update(found)


def _value(self: Any, field: Any, named: Any) -> Any:
    if field.name in named:
        return named[field.name]
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise TypeError("%s: no value for %r" % (type(self).__name__, field.name))


def _values(self: Any) -> Tuple[Any, ...]:
    return tuple(self.__dict__[field.name] for field in dataclasses.fields(self))


def _equal(self: Any, other: Any) -> Any:
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _text(self: Any) -> str:
    pairs = zip(dataclasses.fields(self), _values(self))
    shown = ", ".join("%s=%r" % (field.name, value) for field, value in pairs)
    return "%s(%s)" % (type(self).__qualname__, shown)


def _refuse_change(self: Any, name: str, *_: Any) -> None:
    raise dataclasses.FrozenInstanceError("%s is frozen: %r" % (type(self).__name__, name))


_METHODS = {
    "__init__": _init,
    "__repr__": _text,
    "__eq__": _equal,
    "__hash__": _hash,
    "__setattr__": _refuse_change,
    "__delattr__": _refuse_change,
}
