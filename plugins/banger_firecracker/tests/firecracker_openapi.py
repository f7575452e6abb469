"""Judges requests by Firecracker's own description of its API: ``firecracker_api.yaml``, from
https://github.com/firecracker-microvm/firecracker (src/firecracker/swagger/firecracker.yaml,
1.17.0-dev, Apache-2.0), unchanged. Fields that it does not know are refused.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import yaml

_TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


@cache
def _description():
    return yaml.safe_load(Path(__file__).with_name("firecracker_api.yaml").read_text())


def problems(method, path, body):
    """Return what is wrong with a request; empty when nothing is."""
    for template, operations in _description()["paths"].items():
        pattern = re.sub(r"\{[^}]*\}", "[A-Za-z0-9_]+", template)
        if re.fullmatch(pattern, path) and method.lower() in operations:
            return _request(operations[method.lower()], body)
    return [f"there is no {method} {path}"]


def _request(operation, body):
    wanted = [each for each in operation.get("parameters", []) if each["in"] == "body"]
    if not wanted:
        return [] if body is None else ["it takes no body"]
    return list(_value(wanted[0]["schema"], body, "body"))


def _value(schema, value, where):
    if "$ref" in schema:
        schema = _description()["definitions"][schema["$ref"].rpartition("/")[2]]
    kind = _TYPES[schema.get("type", "object")]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        yield f"{where} is no {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is none of {schema['enum']}"
    if kind is int and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{where} is out of bounds"
    if kind is list:
        for index, item in enumerate(value):
            yield from _value(schema["items"], item, f"{where}[{index}]")
    if kind is dict:
        yield from _fields(schema, value, where)


def _fields(schema, value, where):
    fields = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in value:
            yield f"{where} lacks {name}"
    for name, item in value.items():
        if name in fields:
            yield from _value(fields[name], item, f"{where}.{name}")
        elif not schema.get("additionalProperties"):
            yield f"{where} has an unknown field {name}"
