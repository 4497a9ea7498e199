"""Completions that a model does not read to the end, or whose prompt it cuts: how many, in one sentence."""

from scoring.rows.checks import CHARACTERS_A_TOKEN, TOKEN_LIMIT
from workbench.models import Dataset, ModelVersion, Run, Score


def limit_of(version: ModelVersion | None) -> int:
    """The number of tokens to which the version cuts a pair; without a version, the seed model's."""
    return version.max_length if version and version.kind == ModelVersion.Kind.TRANSFORMER else TOKEN_LIMIT


def counted(dataset: Dataset, version: ModelVersion) -> int:
    """How many of the Dataset's completions the version has scored without reading all of them."""
    return Score.objects.cut().filter(version=version, completion__prompt__dataset=dataset).count()


def in_words(completions: int, limit: int) -> str:
    """ "74 answers are cut at 512 tokens" """
    return f"{completions:,} answer{' is' if completions == 1 else 's are'} cut at {limit:,} tokens"


def estimate_in_words(completions: int, limit: int) -> str:
    """ "about 15 answers are cut at 512 tokens (by 4 characters a token)", without a tokenizer."""
    return f"about {in_words(completions, limit)} (by {CHARACTERS_A_TOKEN} characters a token)"


def of_run(run: Run) -> str:
    """How many completions of the whole Dataset the version of a score Run has cut; "" for none."""
    if run.dataset is None or run.version is None:
        return ""
    completions = counted(run.dataset, run.version)
    return in_words(completions, limit_of(run.version)) if completions else ""
