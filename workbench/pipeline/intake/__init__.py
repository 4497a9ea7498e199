"""Import: files in, Prompts, Completions, Comparisons and Judgments out.

files -> rows with line numbers -> a Shape's Drafts -> spool on disk -> one transaction.
"""

from workbench.pipeline.intake.checks import TOKEN_LIMIT
from workbench.pipeline.intake.drafts import PAIRS_POLICIES, Draft, ImportOptions
from workbench.pipeline.intake.files import endings, is_table, known_name
from workbench.pipeline.intake.importing import (
    Cancelled,
    ImportResult,
    Preview,
    import_file,
    preview,
    read_file,
)
from workbench.pipeline.intake.rows import Problem, escaped
from workbench.pipeline.intake.runs import carry_out, rejects_path
from workbench.pipeline.intake.shapes import SHAPES
from workbench.pipeline.intake.shapes.mapped import COLUMN_WORDS, OUTCOME_WORDS
from workbench.pipeline.intake.shapes.votes import without_citations

__all__ = [
    "COLUMN_WORDS",
    "OUTCOME_WORDS",
    "PAIRS_POLICIES",
    "SHAPES",
    "TOKEN_LIMIT",
    "Cancelled",
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
