"""The reference of all operations as markdown, written from the OpenAPI document."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workbench.api.document import document

PATH = "reference/operations"
_INTRO = """# Operations of the API

Every operation, as in the [OpenAPI document](/api/v1/openapi.json). [How to](../how-to/api.md) says how
programs get in and send a request again; [API](api.md) lists the codes of refusals.
"""
_SHARED = {"401", "403", "404", "409", "412", "413", "423", "429", "400", "422"}

Schema = Mapping[str, Any]


def text() -> str:
    """The reference: operations by noun, then the shapes of what they take and give."""
    written = document()
    by_tag: dict[str, list[tuple[str, str, Schema]]] = defaultdict(list)
    for path, methods in written["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append((method.upper(), path, operation))
    parts = [_INTRO]
    for tag, operations in by_tag.items():
        parts += [f"## {tag.capitalize()}", *(_operation(*one) for one in operations)]
    parts.append("## Shapes")
    parts += [_shape(name, schema) for name, schema in sorted(written["components"]["schemas"].items())]
    return "\n\n".join(parts) + "\n"


def _operation(method: str, path: str, operation: Schema) -> str:
    lines = [f"### {operation['operationId']}", f"`{method} {path}`", operation.get("description", "")]
    rows = [
        (f"`{one['name']}`", one["in"], _type(one["schema"]), one.get("description", ""))
        for one in operation.get("parameters", ())
        if one["name"] not in ("Idempotency-Key", "If-Match")
    ]
    if rows:
        lines.append(_table(("Parameter", "In", "Type", "Meaning"), rows))
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        lines.append(f"Body ({kind}): {_type(body['schema'])}")
    answers = [
        (status, ", ".join(_contents(answer)) or "nothing")
        for status, answer in operation["responses"].items()
        if status not in _SHARED
    ]
    lines.append(_table(("Status", "Answer"), answers))
    return "\n\n".join(filter(None, lines))


def _contents(answer: Schema) -> Iterator[str]:
    for kind, content in answer.get("content", {}).items():
        said = _type(content.get("schema", {}))
        yield said if kind == "application/json" else f"{said} ({kind})"


def _shape(name: str, schema: Schema) -> str:
    lines = [f"### {name}", schema.get("description", "")]
    required = set(schema.get("required", ()))
    rows = [
        (f"`{field}`", _type(one), "yes" if field in required else "", one.get("description", ""))
        for field, one in schema.get("properties", {}).items()
    ]
    lines.append(_table(("Field", "Type", "Required", "Meaning"), rows) if rows else _type(schema))
    return "\n\n".join(filter(None, lines))


def _type(schema: Schema) -> str:
    """The type in words, with links to shapes."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[several]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    words = [str(schema.get("type", "anything")), schema.get("format", "")]
    limits = [
        f"{sign} {schema[key]}"
        for key, sign in (("minimum", "≥"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in schema and abs(schema[key]) < 2**53
    ]
    return " ".join(filter(None, [*words, *limits]))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(said: str) -> str:
    return " ".join(said.replace("|", "\\|").split())
