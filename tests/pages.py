from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from workbench.models import Dataset, ModelVersion, Statistics
from workbench.pipeline import quality


@pytest.fixture
def queries_of() -> Callable[[Client, str], int]:
    """How many queries a page takes. Asked with one row and with three, a list must answer the same."""

    def queries(client: Client, url: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url).status_code == 200
        return len(captured)

    return queries


@pytest.fixture
def store_figures() -> Callable[[Dataset], Statistics]:
    """Stores the figures of a Dataset as its Run does, without charts."""

    def store(dataset: Dataset) -> Statistics:
        report = quality.compute(dataset)
        data = {key: report["data"][key] for key in ("judgments", "last_judgment", "taken_at")}
        fields = {"report": report, "version": ModelVersion.objects.active(), **data}
        return Statistics.objects.update_or_create(dataset=dataset, defaults=fields)[0]

    return store
