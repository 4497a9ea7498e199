"""The reference is written from the operations, and every refusal has its place in the help."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from ninja import Schema
from pydantic import ValidationError

from workbench.api import reference
from workbench.api.document import document
from workbench.api.imports import ImportWanted
from workbench.api.sending import Asked, Body

CODE = settings.BASE_DIR / "workbench" / "api"


def test_the_reference_names_every_operation_with_its_address_and_its_sentence():
    text = reference.text()

    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            assert (
                f"### {operation['operationId']}\n\n`{method.upper()} {path}`\n\n{operation['description']}"
                in text
            )


def test_every_link_in_the_reference_leads_to_a_shape():
    text = reference.text()

    shapes = {line[4:].lower() for line in text.splitlines() if line.startswith("### ")}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= shapes


@pytest.mark.django_db
def test_the_reference_is_a_page_of_the_help_for_everybody():
    page = Client().get("/help/reference/operations/").content.decode()

    assert "list_datasets" in page
    assert "/help/reference/operations/" in Client().get("/help/").content.decode()


@pytest.mark.django_db
def test_the_reference_is_shown_under_the_strict_policy_and_runs_no_script_of_its_own():
    page = Client().get("/help/reference/operations/")
    policy = dict(one.strip().split(" ", 1) for one in page["Content-Security-Policy"].split(";"))

    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert not [said for said in policy.values() if "unsafe" in said or "http" in said or "*" in said]
    scripts = re.findall(r"<script\b[^>]*>", page.content.decode())
    assert [one for one in scripts if not re.search(r' src="/static/', one)] == []


def test_every_code_of_a_refusal_is_explained():
    said = "".join(path.read_text() for path in CODE.glob("*.py"))
    codes = set(re.findall(r'(?:problem|Conflict|answers)\(\s*\d+,\s*"(\w+)"', said))
    codes |= set(re.findall(r'\d+: \("(\w+)",', said)) | set(re.findall(r'return "(\w+)", ', said))
    page = Path(settings.BASE_DIR / "docs/reference/api.md").read_text()
    explained = re.findall(r"^### (\w+)$", page, re.MULTILINE)

    assert sorted(codes) == sorted(explained)


def test_a_body_with_a_field_that_nobody_knows_is_refused():
    written = document()
    bodies = {
        content["schema"]["$ref"].rpartition("/")[2]
        for methods in written["paths"].values()
        for operation in methods.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if "$ref" in content["schema"]
    }
    shapes = written["components"]["schemas"]

    assert bodies
    assert [name for name in sorted(bodies) if shapes[name].get("additionalProperties") is not False] == []


def test_no_two_shapes_have_one_name():
    """A shape that another took the place of would be lost in the document without a word."""

    def below(kind: type) -> list[type]:
        return [one for sub in kind.__subclasses__() for one in (sub, *below(sub))]

    # Ninja makes a class twice where it takes the fields of a model.
    ours = {
        (one.__module__, one.__name__) for one in below(Schema) if one.__module__.startswith("workbench.")
    }
    names = [name for _, name in ours]
    assert sorted(names) == sorted(set(names))


FORMATS = {
    "date": "2026-11-29",
    "date-time": "2026-11-29T12:00:00Z",
    "uuid": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "duration": "PT1M",
    "time": "12:00:00Z",
}
WRONG_TYPE = re.compile(r".*_type$|is_instance_of|enum")


def samples(schema: dict[str, Any], shapes: dict[str, Any]) -> Iterator[object]:
    """Values of a schema as JSON writes them, one of each kind that it allows."""
    if ref := schema.get("$ref"):
        yield from samples(shapes[ref.rpartition("/")[2]], shapes)
    for one in schema.get("anyOf", schema.get("oneOf", schema.get("allOf", []))):
        yield from samples(one, shapes)
    yield from schema.get("enum", [schema["const"]] if "const" in schema else [])
    kind = schema.get("type")
    if kind == "string" and "enum" not in schema:
        yield FORMATS.get(schema.get("format", ""), "abc")
    elif kind == "array":
        parts = schema.get("prefixItems", [schema.get("items", {})])
        yield [one for part in parts for one in islice(samples(part, shapes), 1)]
    elif kind == "object":
        properties = schema.get("properties", {})
        yield {name: next(samples(one, shapes), None) for name, one in properties.items()}
    elif kind in ("integer", "number", "boolean", "null"):
        yield {"integer": 1, "number": 1, "boolean": True, "null": None}[kind]


def bodies() -> list[type[Body]]:
    def below(kind: type[Body]) -> list[type[Body]]:
        return [one for sub in kind.__subclasses__() for one in (sub, *below(sub))]

    return sorted(
        {one for one in below(Body) if one.__module__.startswith("workbench.")}, key=lambda one: one.__name__
    )


@pytest.mark.parametrize("body", bodies())
def test_a_body_takes_each_kind_of_value_that_the_document_allows_as_json_writes_it(body):
    schema = body.model_json_schema()
    shapes = schema.get("$defs", {})
    refused = []
    for name, of_field in schema.get("properties", {}).items():
        for value in samples(of_field, shapes):
            try:
                body.model_validate({name: value})
            except ValidationError as error:
                refused += [
                    (fault["loc"], fault["type"], value)
                    for fault in error.errors()
                    if fault["loc"][0] == name and WRONG_TYPE.fullmatch(fault["type"])
                ]

    assert not refused


def test_each_body_is_json_or_a_file():
    """A body of several kinds is rows, which come as JSON lines too."""
    kinds = {
        operation["operationId"]: set(operation["requestBody"]["content"])
        for methods in document()["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    }

    files = {name for name, kind in kinds.items() if kind == {"application/octet-stream"}}
    assert {name for name, kind in kinds.items() if "application/json" in kind} == set(kinds) - files
    assert files == {
        "upload_file", "register_model", "register_trained_model", "push_scores",
        "begin_leakage_report_against",
    }  # fmt: skip


@pytest.mark.parametrize("said", [0, 1, "false", "true", "off"])
def test_no_body_takes_a_number_or_a_word_for_true_or_false(said):
    asked = [
        (body, name)
        for body in {*bodies(), ImportWanted}
        if body is ImportWanted or not issubclass(body, Asked)  # what an address says is all text
        for name, field in body.model_fields.items()
        if field.annotation in (bool, bool | None)
    ]
    assert len(asked) > 10

    for body, name in asked:
        with pytest.raises(ValidationError) as refused:
            body.model_validate({name: said})
        assert (name,) in [fault["loc"] for fault in refused.value.errors()], (body, name)
