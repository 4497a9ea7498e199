"""Public preference sets go in and come out with the same rows, in the form in which they were published."""

import gzip
import json
from pathlib import Path

import pytest
from django.core.files.storage import default_storage

from tests.conftest import SHARED
from workbench.models import Dataset, Release
from workbench.pipeline import imports, releases

pytestmark = [pytest.mark.real_data, pytest.mark.django_db]


def published(path: Path) -> list[dict]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if path.suffix == ".json":
        return json.loads(data)
    return [json.loads(line) for line in data.split(b"\n") if line]


def released(dataset: Dataset, profile: str) -> list[dict]:
    release = releases.build(Release(dataset=dataset, profiles=[profile]))
    names = [name for name, file in release.manifest["files"].items() if file["rows"]]
    paths = [Path(default_storage.path(f"{release.folder}/{name}")) for name in names]
    return [json.loads(line) for path in paths for line in path.read_bytes().split(b"\n") if line]


@pytest.mark.parametrize(
    ("file", "profile", "columns"),
    [
        (
            "hh_harmless/harmless-base.test.jsonl.gz",
            "trl-implicit",
            {"chosen": "chosen", "rejected": "rejected"},
        ),
        (
            "llamafactory_dpo/dpo_en_demo.json",
            "llama-factory",
            {"conversations": "conversations", "chosen": "chosen", "rejected": "rejected"},
        ),
        (
            "webgpt_subset/webgpt.jsonl",
            "preference",
            {"prompt": "prompt", "chosen": "preferred", "rejected": "rejected"},
        ),
    ],
)
def test_a_published_set_comes_out_with_the_rows_that_went_in(dataset, file, profile, columns):
    result = imports.import_file(SHARED / "data" / file, dataset, imports.ImportOptions(lenient=True))
    assert result.accepted

    rows = released(dataset, profile)

    originals = {
        json.dumps({column: row[original] for column, original in columns.items()})
        for row in published(SHARED / "data" / file)
    }
    assert {json.dumps(row) for row in rows} <= originals
    left_out = result.ties + result.contradictions + result.empty_completions
    assert len(rows) == result.comparisons - left_out
