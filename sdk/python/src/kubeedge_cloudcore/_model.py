"""How an answer is read: a JSON object whose documented keys are attributes as well.

Whatever the hub adds must not break a client, so nothing here fails on an unknown key or a null,
and nothing is converted before it is asked for.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Dict, List, Mapping, Optional, TypeVar, Union
from typing import get_args as _args
from typing import get_origin as _origin
from typing import get_type_hints as _type_hints

M = TypeVar("M", bound="Model")

# Names of what opens something: shown by no repr, wherever in an answer they stand.
SECRET = re.compile(
    r"^(token|api_key|password|passphrase|secret|ticket|join_command|\w*_join_command)$"
)
# A signed link is good for whoever has its query.
_LINK = re.compile(r"(signature=)[^&\s'\"]+")


def shown(key: Optional[str], value: Any) -> str:
    """The value's repr, without what opens something."""
    if isinstance(value, str):
        hidden = key is not None and SECRET.match(key)
        return "'***'" if hidden else _LINK.sub(r"\1***", repr(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {shown(str(k), v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(shown(key, v) for v in value) + "]"
    return repr(value)


class Model(Dict[str, Any]):
    """An answer of the hub.

    It is the JSON object as it came, so ``answer["key"]``, ``json.dumps(answer)`` and keys that
    this version of the package does not know all work. Beside that each documented key is an
    attribute with its type: times are :class:`~datetime.datetime`, nested objects are models. A
    documented key that is not there is ``None`` either way, as long as it may be null.
    """

    # Some are named Test…, and no tests.
    __test__ = False

    _hints: ClassVar[Optional[Dict[str, Any]]] = None

    @classmethod
    def _fields(cls) -> Dict[str, Any]:
        if "_hints" not in cls.__dict__:
            hints = _type_hints(cls)
            cls._hints = {name: hint for name, hint in hints.items() if not name.startswith("_")}
        return cls._hints or {}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            hint = None if name.startswith("_") else self._fields().get(name)
            if hint is None:
                raise AttributeError(f"{type(self).__name__} has no field {name!r}")
            if name not in self and not _may_be_none(hint):
                raise AttributeError(f"the hub's answer has no {name!r} ({type(self).__name__})")
            return convert(hint, self.get(name))

    def __missing__(self, key: str) -> Any:
        if _may_be_none(self._fields().get(key)):
            return None
        raise KeyError(key)

    def __dir__(self) -> List[str]:
        return [*super().__dir__(), *self._fields()]

    def __repr__(self) -> str:
        inner = ", ".join(f"{key}={shown(key, value)}" for key, value in self.items())
        return f"{type(self).__name__}({inner})"


def _may_be_none(hint: Any) -> bool:
    return _origin(hint) is Union and type(None) in _args(hint)


def convert(hint: Any, value: Any) -> Any:
    """The JSON value as its type; what has another form than documented stays as it came."""
    if value is None:
        return None
    origin, args = _origin(hint), _args(hint)
    if origin is Union:
        inner = [arg for arg in args if arg is not type(None)]
        return convert(inner[0], value) if len(inner) == 1 else value
    if origin is list and isinstance(value, list):
        return [convert(args[0], item) for item in value]
    if origin is dict and isinstance(value, dict):
        return {key: convert(args[1], item) for key, item in value.items()}
    if hint is datetime and isinstance(value, str):
        return time(value)
    if isinstance(hint, type) and issubclass(hint, Model) and isinstance(value, dict):
        return hint(value)
    return value


def time(text: str) -> datetime:
    """An RFC 3339 time.

    Raises:
        ValueError: it is none.
    """
    # Python 3.9 knows no Z, and fractions of three or six digits only.
    text = re.sub(r"\.(\d+)", lambda m: "." + m[1][:6].ljust(6, "0"), text, count=1)
    return datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text))
