from importlib import import_module

import pytest

PREVIEW = import_module("workbench.pipeline.imports.preview")
"""The module: `imports.preview` is its function."""


@pytest.fixture
def unhurried(monkeypatch):
    """Previews that a busy machine does not cut short: what they show is tested, not their time."""
    monkeypatch.setattr(PREVIEW, "PREVIEW_SECONDS", 60.0)
