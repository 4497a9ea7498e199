"""Import: files in, Prompts, Completions, Comparisons and Judgments out.

files -> rows with line numbers -> a Shape's Drafts -> spool on disk -> one transaction.
"""

from scoring.rows.drafts import PAIRS_POLICIES, Draft, ImportOptions
from scoring.rows.formats import endings, is_table, known_name
from scoring.rows.reading import read_file
from scoring.rows.rows import Problem, escaped
from scoring.rows.shapes import SHAPES
from scoring.rows.shapes.mapped import COLUMN_WORDS, OUTCOME_WORDS
from scoring.rows.shapes.votes import without_citations
from workbench.pipeline.imports.importing import ImportResult, import_file
from workbench.pipeline.imports.preview import Preview, preview
from workbench.pipeline.imports.run import carry_out, rejects_path

__all__ = [
    "COLUMN_WORDS",
    "OUTCOME_WORDS",
    "PAIRS_POLICIES",
    "SHAPES",
    "Draft",
    "ImportOptions",
    "ImportResult",
    "Preview",
    "Problem",
    "carry_out",
    "endings",
    "escaped",
    "import_file",
    "is_table",
    "known_name",
    "preview",
    "read_file",
    "rejects_path",
    "without_citations",
]
