"""Import: files in, Prompts, Completions, Comparisons and Judgments out.

A row of a file has seven forms on its way, in this order:

1. bytes: the file, unpacked (scoring.rows.formats)
2. Row: one object of the file, with its line (scoring.rows.formats)
3. Draft: a prompt with its answers, pairs and labels, by the Shape of the file (scoring.rows.reading)
4. PackedRow: the Draft with digests, JSON texts and the canonical order of its pairs (packed)
5. bytes again: the PackedRow on disk, while the whole file is checked and prompts are grouped (spool, groups)
6. PackedRow again, with the group of its prompt (spool)
7. tuples of column values, which one transaction inserts, a table at a time (store, db.bulk)

importing drives this for a file, preview for its first rows, run for an upload by a worker.
"""

from scoring.rows.drafts import PAIRS_POLICIES, Draft, ImportOptions
from scoring.rows.formats import endings, is_table, known_name
from scoring.rows.reading import paths_in, read_file
from scoring.rows.rows import FileFault, Problem, Values, escaped
from scoring.rows.shapes import SHAPES
from scoring.rows.shapes.guesses import Guess, as_mapping, guess, is_whole, value_at
from scoring.rows.shapes.mapped import COLUMN_WORDS, OUTCOME_WORDS
from scoring.rows.shapes.votes import without_citations
from workbench.pipeline.imports.importing import ImportResult, import_file
from workbench.pipeline.imports.preview import Preview, guesses_of, preview, preview_upload
from workbench.pipeline.imports.run import begin, begin_with, carry_out
from workbench.pipeline.imports.uploads import (
    SAMPLES,
    delete_files,
    has_rejects,
    keep,
    keep_sample,
    printable_name,
    rejects_path,
    remove,
)

__all__ = [
    "COLUMN_WORDS",
    "OUTCOME_WORDS",
    "PAIRS_POLICIES",
    "SAMPLES",
    "SHAPES",
    "Draft",
    "FileFault",
    "Guess",
    "ImportOptions",
    "ImportResult",
    "Preview",
    "Problem",
    "Values",
    "as_mapping",
    "begin",
    "begin_with",
    "carry_out",
    "delete_files",
    "endings",
    "escaped",
    "guess",
    "guesses_of",
    "has_rejects",
    "import_file",
    "is_table",
    "is_whole",
    "keep",
    "keep_sample",
    "known_name",
    "paths_in",
    "preview",
    "preview_upload",
    "printable_name",
    "read_file",
    "rejects_path",
    "remove",
    "value_at",
    "without_citations",
]
