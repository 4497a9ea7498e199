"""The models of the client are those of the API's document."""

import runpy
from pathlib import Path

import pytest
from preference_workbench.models import PARTS

from scoring.checkpoint import INDEX, TOKENIZER_FILES
from workbench.api.document import document

CLIENT = Path(__file__).resolve().parents[2] / "client"


def test_generating_them_anew_gives_the_committed_files():
    generator = runpy.run_path(str(CLIENT / "generate_models.py"))

    for file, text in generator["generated"](document()).items():
        if text != (CLIENT / "src" / "preference_workbench" / file).read_text():
            pytest.fail(f"{file} is not that of the API's document: make client-models")


def test_a_model_is_sent_with_all_files_that_can_change_its_tokens():
    assert {*TOKENIZER_FILES, "config.json", INDEX} == PARTS
