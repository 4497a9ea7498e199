"""The guidelines of a Dataset: each version is a row of its own."""

from django.db import transaction

from workbench.models import Dataset, Guidelines, User
from workbench.pipeline.history.recording import Kind, record


@transaction.atomic
def revise(dataset: Dataset, text: str, by: User, based_on: int) -> Guidelines:
    """Store the text as the next version, and return it; the current version if the text is the same. Raises
    as `Dataset.revise_guidelines` does."""
    before = dataset.guidelines.count()
    stored = dataset.revise_guidelines(text, by, based_on)
    if stored.number > before:
        record(Kind.GUIDELINES, by=by, dataset=dataset, target=stored, fields=["text"])
    return stored
