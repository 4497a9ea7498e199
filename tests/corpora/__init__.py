"""Broken and hostile files, each built from a few lines, with what an import of each does.

    python -m tests.corpora FOLDER        writes all of them, and expected.json

FILES is the table; STRANGE_NAMES are names that a browser may send; model folders of the kind are in
tests/scoring/models.py (spoilt_folder).
"""

from tests.corpora.broken import BROKEN
from tests.corpora.hostile import HOSTILE, STRANGE_NAMES, hostile_texts
from tests.corpora.table import CorpusFile

FILES: tuple[CorpusFile, ...] = (*BROKEN, *HOSTILE)

__all__ = ["FILES", "STRANGE_NAMES", "CorpusFile", "hostile_texts"]
