"""Write answers.py and sent.py of the client from the document of the API: `make client-models`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = Path(__file__).parent / "src" / "preference_workbench"
RULES = ("maxLength", "minLength", "maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum", "pattern")
"""The workbench checks these, and its sentence says what is wrong: a client that checks them too would refuse
what a later workbench allows."""
OPTIONS = [
    "--input-file-type=openapi",
    "--target-python-version=3.11",
    "--formatters=ruff-format",
    "--disable-timestamp",
    "--use-schema-description",
    "--use-field-description",
    "--strict-nullable",
    "--use-standard-collections",
    "--use-union-operator",
    "--enum-field-as-literal=all",
    "--collapse-root-models",
]
KINDS = {
    "answers.py": ("What the workbench answers.", "pydantic_v2.BaseModel", "responses"),
    "sent.py": ("What is sent to the workbench.", "typing.TypedDict", "requestBody"),
}
"""file -> (its first line, the kind of its classes, the part of an operation that names them)."""


def generated(document: dict[str, Any]) -> dict[str, str]:
    """file -> its text."""
    with TemporaryDirectory() as folder:
        return {file: _written(document, Path(folder), file) for file in KINDS}


def _written(document: dict[str, Any], folder: Path, file: str) -> str:
    line, kind, part = KINDS[file]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    named = _named_in([operation.get(part) for operation in operations])
    schemas = document["components"]["schemas"]
    while wider := _named_in([schemas[name] for name in named]) - named:
        named |= wider
    wanted = {
        "openapi": document["openapi"],
        "info": {"title": "-", "version": "1"},
        "paths": {},
        "components": {"schemas": {name: _plain(schemas[name]) for name in sorted(named)}},
    }
    source, target = folder / f"{file}.json", folder / file
    source.write_text(json.dumps(wanted))
    command = [sys.executable, "-m", "datamodel_code_generator", f"--input={source}", f"--output={target}"]
    header = (
        f'--custom-file-header="""{line} Generated from the document of the API: `make client-models`."""'
    )
    subprocess.run([*command, f"--output-model-type={kind}", header, *OPTIONS], check=True)  # noqa: S603
    return target.read_text()


def _named_in(value: object) -> set[str]:
    """The schemas that a part of the document refers to."""
    if isinstance(value, dict):
        reference = value.get("$ref")
        own = {reference.rpartition("/")[2]} if isinstance(reference, str) else set()
        return own.union(*map(_named_in, value.values()))
    return set().union(*map(_named_in, value)) if isinstance(value, list) else set()


def _plain(value: Any) -> Any:
    """A schema without its rules, and without titles, which the generator would make classes of."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _plain(one)
        for name, one in value.items()
        if name not in RULES
        and not (name == "title" and isinstance(one, str))
        and not (name == "additionalProperties" and isinstance(one, bool))
    }


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workbench.settings")
    import django

    django.setup()
    from workbench.api.document import document

    for file, text in generated(document()).items():
        (FOLDER / file).write_text(text)
