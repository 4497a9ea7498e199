import re
import zlib
from collections.abc import Sequence

import numpy as np
import pytest

from tests.factories import CompletionFactory, PromptFactory, RunFactory
from workbench.models import Dataset, Prompt, Run
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.vectors import run as vectors

WIDTH = 64


def bag_of_words(texts: Sequence[str]) -> np.ndarray:
    """Counts of words, by hash: texts with the same words have the same vector."""
    rows = np.zeros((len(texts), WIDTH), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in re.findall(r"\w+", text.lower()):
            row[zlib.crc32(word.encode()) % WIDTH] += 1
    return rows


ENCODER = vectors.Encoder("a" * 64, bag_of_words)


@pytest.fixture(autouse=True)
def folder_of_its_own(settings, tmp_path) -> None:
    settings.DATA_DIR = tmp_path


@pytest.fixture
def encoded():
    """Compute the missing vectors of the dataset by an encoder; the Run afterwards."""

    def encode(dataset: Dataset, encoder: vectors.Encoder = ENCODER) -> Run:
        run = RunFactory.create(dataset=dataset, kind="vectors")
        run.start()
        lifecycle.carry_out(run, lambda run: vectors.carry_out(run, lambda: encoder))
        run.refresh_from_db()
        return run

    return encode


def prompt(dataset: Dataset, text: str, *answers: str) -> Prompt:
    """A Prompt of one message with these answers."""
    created = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": text}])
    for answer in answers:
        CompletionFactory.create(prompt=created, text=answer)
    return created
