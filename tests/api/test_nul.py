"""Databases store no half character, and PostgreSQL no NUL, in a text or in JSON: no request brings one."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from django.db import transaction

from tests.api.tables import operations
from tests.api.test_access import ADDRESSES, OBJECTS
from tests.api.test_reference import samples
from workbench.api.document import document

pytestmark = pytest.mark.django_db
TABLE = operations()
NUL, HALF = "a\0b", "a\ud800b"


def bodies() -> dict[str, dict[str, Any]]:
    """The schema of the JSON body of each operation that has one."""
    return {
        operation["operationId"]: operation["requestBody"]["content"]["application/json"]["schema"]
        for methods in document()["paths"].values()
        for operation in methods.values()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }


BODIES = bodies()
SHAPES = document()["components"]["schemas"]


def holding(odd: str, schema: dict[str, Any]) -> Iterator[object]:
    """Values of a field that hold the odd text: alone, or in a list or an object."""
    for one in [schema, *schema.get("anyOf", [])]:
        kind = one.get("type")
        if kind == "string" and "enum" not in one and "format" not in one:
            yield odd
        elif kind == "array":
            yield from ([value] for value in holding(odd, one.get("items", {})))
        elif kind == "object" and "properties" not in one:
            yield from ({"a": odd}, {odd: "a"})


def fields(operation: str) -> dict[str, dict[str, Any]]:
    schema = BODIES[operation]
    return SHAPES[schema["$ref"].rpartition("/")[2]]["properties"] if "$ref" in schema else {}


@pytest.mark.parametrize("odd", [NUL, HALF], ids=["NUL", "half a character"])
@pytest.mark.parametrize("operation", BODIES)
def test_an_odd_character_in_a_body_is_no_fault(operation, odd, dataset, alice, program, messages):
    alice.is_staff = True
    alice.save()
    row, (method, path) = TABLE[operation], ADDRESSES[operation]
    path = path.format(**OBJECTS[row.of](dataset))
    client = program(alice)
    client.raise_request_exception = False
    usual = {name: next(samples(of_field, SHAPES), None) for name, of_field in fields(operation).items()}
    usual |= deepcopy(row.body) if isinstance(row.body, dict) else {}

    for name, of_field in fields(operation).items():
        for value in holding(odd, of_field):
            for body in ({**usual, name: value}, {**(row.body or {}), name: value}):
                with transaction.atomic():
                    answer = client.generic(method, path, json.dumps(body), "application/json")
                    transaction.set_rollback(True)
                assert answer.status_code < 500, (name, value, b"".join(answer))
