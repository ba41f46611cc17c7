"""Whether an answer has what its model says."""

from __future__ import annotations

from typing import Any, Union, get_args, get_origin

from kubeedge_cloudcore._model import Model


def assert_fits(answer: Model) -> None:
    """Each documented key is there, and its attribute has the type that it says."""
    for name, hint in answer._fields().items():
        if name == "truncated":
            continue
        where = f"{type(answer).__name__}.{name}"
        assert name in answer, f"{where} is not there"
        _assert_is(getattr(answer, name), hint, where)


def _assert_is(value: Any, hint: Any, where: str) -> None:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Union:
        if value is None:
            assert type(None) in args, f"{where} is null"
            return None
        # Of a union with text, the rest are the values that are known.
        hints = [arg for arg in args if arg is not type(None)]
        hint = str if str in hints else hints[0]
        return _assert_is(value, hint, where)
    if hint is Any:
        return None
    expected = origin or hint
    if expected is float:
        assert isinstance(value, (int, float)), f"{where} is {value!r}"
        return None
    assert isinstance(value, expected), f"{where} is {value!r}, and no {expected}"
    if isinstance(value, Model):
        assert_fits(value)
    elif expected is list:
        for item in value:
            _assert_is(item, args[0], f"{where}[]")
    elif expected is dict:
        for item in value.values():
            _assert_is(item, args[1], f"{where}{{}}")
    return None
