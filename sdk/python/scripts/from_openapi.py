"""Python types from an OpenAPI document: models of answers, and types of what is asked."""

from __future__ import annotations

import json
import keyword
import textwrap
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Tuple

Schema = Mapping[str, Any]

# Schemas whose name says little outside of the hub's room that has it.
NAMES = {
    "ChainState": "AuditChain",
    "CreatedKey": "CreatedKey",
    "Delivery": "WebhookDelivery",
    "EntryInfo": "AuditEntry",
    "Info": "Webhook",
    "Kind": "WebhookEvent",
    "Model": "CatalogModel",
    "ModelAnswer": "UploadedModel",
    "Standing": "MqttStanding",
    "Tested": "WebhookTested",
    "Topics": "MqttTopics",
}
# Types that the document has within others: (operation or schema, parameter or property).
INLINE = {
    ("list_security_logs", "outcome"): "AuditOutcome",
    ("list_webhook_deliveries", "status"): "DeliveryStatus",
    ("list_devices", "status"): "DeviceState",
    ("get_device_logs", "level"): "LogLevel",
    ("DeployApp", "ports"): "AppPort",
}
# Requests that are items of another request, which the document leaves open.
ITEMS = ["JoinDevice"]
# Answers of which the client gives a part only.
UNWRAPPED = {"UserAnswer_User", "UserAnswer_UserInfo", "Problem"}

MODELS_HEAD = '''"""Answers of the hub, from its OpenAPI document.

Made by scripts/generate.py: do not edit.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Optional, Union

from . import types
from ._model import Model
'''
TYPES_HEAD = '''"""Types of what methods take, from the hub's OpenAPI document.

Made by scripts/generate.py: do not edit.
"""

from __future__ import annotations

from typing import Any, Dict, List, Literal, TypedDict, Union

EventName = Literal[
    "node_joined", "node_left", "heartbeat", "detection", "command_sent", "command_result", "alert"
]
"""Events of the stream, which the document has as text."""
'''


class Document:
    """The document, and what of it is wanted."""

    def __init__(self, path: Path) -> None:
        document = json.loads(path.read_text())
        self.schemas: Dict[str, Schema] = document["components"]["schemas"]
        self.operations = [
            operation for item in document["paths"].values() for operation in item.values()
        ]
        unknown = sorted((set(NAMES) | set(ITEMS) | UNWRAPPED) - set(self.schemas))
        if unknown:
            raise SystemExit(f"from_openapi.py names schemas that are not there: {unknown}")

    def models(self) -> str:
        """The module of answers."""
        wanted: Set[str] = set()
        for operation in self.operations:
            for status, response in operation["responses"].items():
                if status.startswith("2"):
                    self._reach(response.get("content", {}), wanted)
        wanted -= UNWRAPPED
        wanted |= {"User", "UserInfo"}
        names = [name for name in sorted(wanted) if not self._is_enum(name)]
        names = [name for name in names if not _is_list(self.schemas[name])]
        return MODELS_HEAD + "".join(self._model(name) for name in self._bases_first(names))

    def types(self) -> str:
        """The module of what methods take."""
        enums = [name for name in sorted(self.schemas) if self._is_enum(name)]
        parts = [_literal(_name(name), self.schemas[name]) for name in enums]
        for operation in self.operations:
            for parameter in operation.get("parameters", []):
                name = INLINE.get((operation["operationId"], parameter["name"]))
                if name is not None:
                    parts.append(_literal(name, {**parameter, **parameter["schema"]}))
        wanted: Set[str] = set(ITEMS)
        for operation in self.operations:
            content = operation.get("requestBody", {}).get("content", {})
            bodies: Set[str] = set()
            for media in content.values():
                bodies |= set(_references(media.get("schema", {}), deep=False))
            for body in bodies:
                self._reach(self.schemas[body], wanted)
                for key, value in self.schemas[body].get("properties", {}).items():
                    if (body, key) in INLINE and "$ref" not in value["items"]:
                        parts.append(self._typed_dict(INLINE[body, key], value["items"]))
        for name in sorted(wanted):
            if not self._is_enum(name):
                parts.append(self._typed_dict(_name(name), self.schemas[name]))
        return TYPES_HEAD + "".join(parts)

    def _reach(self, schema: Any, found: Set[str]) -> None:
        for name in _references(schema):
            if name not in found:
                found.add(name)
                self._reach(self.schemas[name], found)

    def _is_enum(self, name: str) -> bool:
        return "enum" in self.schemas[name]

    def _bases_first(self, names: List[str]) -> Iterator[str]:
        done: Set[str] = set()
        for name in names:
            base = self._parts(self.schemas[name])[0]
            for each in (base, name):
                if each is not None and each not in done:
                    done.add(each)
                    yield each

    def _parts(self, schema: Schema) -> Tuple[Optional[str], Schema]:
        """A schema's base, and what it has beside that."""
        if "allOf" not in schema:
            return None, schema
        base, own = schema["allOf"]
        return base["$ref"].rpartition("/")[2], own

    def _model(self, name: str) -> str:
        base, schema = self._parts(self.schemas[name])
        text = self.schemas[name].get("description") or (
            f"{_words(self.schemas[base].get('description'))} With more." if base else ""
        )
        parent = _name(base) if base else "Model"
        lines = [f"\n\nclass {_name(name)}({parent}):", _docstring(text or _name(name))]
        for key, value in schema.get("properties", {}).items():
            _check(name, key)
            hint = self._hint(value, model=True)
            if key not in schema.get("required", []) and not hint.startswith("Optional["):
                hint = f"Optional[{hint}]"
            lines.append(f"    {key}: {hint}")
            said = self._said(value)
            if said:
                lines.append(_docstring(said))
        return "\n".join(lines) + "\n"

    def _said(self, schema: Schema) -> str:
        if schema.get("description"):
            return str(schema["description"])
        for part in schema.get("oneOf", []):
            if part.get("description"):
                return str(part["description"])
        return ""

    def _typed_dict(self, name: str, schema: Schema) -> str:
        properties, needed = schema.get("properties", {}), schema.get("required", [])
        parts, base = [], "TypedDict"
        optional = [key for key in properties if key not in needed]
        if needed and optional:
            parts.append((f"_{name}", base, list(needed), "", "What it needs."))
            base = f"_{name}"
        about = schema.get("description", name)
        keys = optional if base != "TypedDict" else list(properties)
        parts.append((name, base, keys, "" if needed and not optional else ", total=False", about))
        text = ""
        for own, parent, keys, total, said in parts:
            text += f"\n\nclass {own}({parent}{total}):\n{_docstring(said)}\n"
            for key in keys:
                hint = self._hint(properties[key], model=False)
                text += (
                    f"    {key}: {hint.removeprefix('Optional[').removesuffix(']')}\n"
                    if (hint.startswith("Optional["))
                    else f"    {key}: {hint}\n"
                )
                if self._said(properties[key]):
                    text += _docstring(self._said(properties[key])) + "\n"
        return text

    def _hint(self, schema: Schema, *, model: bool) -> str:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if not self._is_enum(name):
                return _name(name)
            # An answer may have a value that this version does not know.
            return f"Union[types.{_name(name)}, str]" if model else _name(name)
        if "oneOf" in schema:
            inner = [part for part in schema["oneOf"] if part.get("type") != "null"]
            hint = self._hint(inner[0], model=model)
            return f"Optional[{hint}]" if len(inner) < len(schema["oneOf"]) else hint
        kinds = schema.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        hints = [self._plain(kind, schema, model) for kind in kinds if kind != "null"]
        hint = hints[0] if len(hints) == 1 else f"Union[{', '.join(hints)}]" if hints else "Any"
        return f"Optional[{hint}]" if "null" in kinds else hint

    def _plain(self, kind: str, schema: Schema, model: bool) -> str:
        if kind == "array":
            return f"List[{self._hint(schema.get('items', {}), model=model)}]"
        if kind == "object":
            values = schema.get("additionalProperties")
            inner = self._hint(values, model=model) if isinstance(values, dict) else "Any"
            return f"Dict[str, {inner}]"
        if kind == "string":
            return "datetime" if model and schema.get("format") == "date-time" else "str"
        return {"integer": "int", "number": "float", "boolean": "bool"}[kind]


def _references(schema: Any, *, deep: bool = True) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item, deep=deep)
    elif isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        for key, value in schema.items():
            if key not in ("example", "examples", "properties") or (key == "properties" and deep):
                values = list(value.values()) if key == "properties" else value
                yield from _references(values, deep=deep)


def _is_list(schema: Schema) -> bool:
    properties = schema.get("properties", {})
    return "count" in properties and any(p.get("type") == "array" for p in properties.values())


def _name(schema: str) -> str:
    return NAMES.get(schema, schema)


def _literal(name: str, schema: Schema) -> str:
    # Some are a pattern of their values.
    each = schema.get("enum") or schema["pattern"].strip("^()$").split("|")
    values = ", ".join(f'"{value}"' for value in each)
    said = schema.get("description")
    return f"\n{name} = Literal[{values}]\n" + (f"{_docstring(said, 0)}\n" if said else "")


def _check(name: str, key: str) -> None:
    if keyword.iskeyword(key) or not key.isidentifier() or hasattr(dict, key):
        raise SystemExit(f"{name}.{key} can't be an attribute")


def _words(text: Optional[str]) -> str:
    return " ".join((text or "").split())


def _docstring(text: str, indent: int = 4) -> str:
    text = _words(text).replace("\\", "\\\\").replace('"""', "'''").replace("`", "``")
    text = f'"""{text}"""' if not text.endswith('"') else f'"""{text} """'
    lines = textwrap.wrap(text, 96 - indent, break_long_words=False)
    return textwrap.indent("\n".join(lines), " " * indent)
