"""Each operation of the hub has its method, and each parameter its argument."""

from __future__ import annotations

import inspect
import re
from typing import Any, Dict, Iterator, Set, Tuple

import pytest

from kubeedge_cloudcore import AsyncCloudCoreClient, CloudCoreClient

# What a browser or another client is for.
WITHOUT = {"websocket": "the same events come from monitor_stream, which resumes"}
# Arguments by another name or in another form: (operation, parameter) and why.
OTHERWISE = {
    ("get_device_logs", "follow"): "follow_device_logs",
    ("get_image", "device_id"): "image_url",
    ("get_image", "hash"): "image_url",
    ("get_image", "expires"): "image_url",
    ("get_image", "signature"): "image_url",
    ("monitor_stream", "Last-Event-ID"): "last_event_id",
}
# What the client does by itself.
BEYOND = {"idempotency_key", "self"}


def operations(document: Dict[str, Any]) -> Iterator[Tuple[str, Set[str], Set[str]]]:
    """Names, with their parameters and those that have to be there."""
    schemas = document["components"]["schemas"]
    for item in document["paths"].values():
        for operation in item.values():
            has = {p["name"] for p in operation.get("parameters", [])}
            needs = {p["name"] for p in operation.get("parameters", []) if p.get("required")}
            for media in operation.get("requestBody", {}).get("content", {}).values():
                schema = media["schema"]
                schema = schema.get("oneOf", [schema])[0]
                if "$ref" in schema:
                    schema = schemas[schema["$ref"].rpartition("/")[2]]
                has |= set(schema.get("properties", {}))
                needs |= set(schema.get("required", []))
            yield operation["operationId"], has, needs


def test_every_operation_has_a_method_with_its_parameters(client: CloudCoreClient) -> None:
    wrong = []
    for name, has, needs in operations(client.get_openapi()):
        method = getattr(CloudCoreClient, name, None)
        if name in WITHOUT:
            assert method is None, f"{name} is there: take it off the list"
            continue
        if method is None:
            wrong.append(f"no method {name}")
            continue
        arguments = inspect.signature(method).parameters
        for parameter in has:
            if parameter not in arguments and (name, parameter) not in OTHERWISE:
                wrong.append(f"{name} has no argument {parameter}")
        for parameter in needs & set(arguments):
            if arguments[parameter].default is not inspect.Parameter.empty:
                wrong.append(f"{name} does not need {parameter}")
    assert not wrong


def test_every_argument_is_a_parameter(client: CloudCoreClient) -> None:
    """What the hub takes away, or names otherwise, is no argument any more."""
    for name, has, _ in operations(client.get_openapi()):
        if name in WITHOUT or name in ("get_image", "get_release", "monitor_stream"):
            continue
        arguments = set(inspect.signature(getattr(CloudCoreClient, name)).parameters)
        if name == "upload_model":
            arguments.discard("progress")
        if "cursor" not in has:
            arguments.discard("limit")
        assert arguments - BEYOND <= has, name


@pytest.mark.parametrize("kind", [CloudCoreClient, AsyncCloudCoreClient])
def test_every_public_method_is_documented_and_typed(kind: type) -> None:
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if name.startswith("_"):
            continue
        assert method.__doc__, name
        signature = inspect.signature(method)
        assert signature.return_annotation is not inspect.Signature.empty, name
        for argument in signature.parameters.values():
            assert argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL), name


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> Dict[str, str]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {
            re.sub("^aclose$", "close", name): re.sub(
                r"Async(Stream|HTTP)?|Base(?=Transport)", r"\1", str(inspect.signature(method))
            )
            for name, method in found
            if not name.startswith("_")
        }

    assert methods(CloudCoreClient) == methods(AsyncCloudCoreClient)
