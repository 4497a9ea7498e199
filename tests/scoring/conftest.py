from pathlib import Path

import pytest
from hypothesis import settings

from tests.scoring.models import save_bert

# Timing one example says nothing on a busy machine.
settings.register_profile("scoring", deadline=None)
settings.load_profile("scoring")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with a random two-layer BERT; read only."""
    return save_bert(tmp_path_factory.mktemp("models") / "tiny")
