"""Examples in the guidelines: pairs that a reviewer marked, shown while nobody may judge them any more."""

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Exists, OuterRef, Subquery

from workbench.models import Annotator, Comparison, Completion, Dataset, Decision, Example, Prompt
from workbench.models.annotation import ComparisonQuerySet
from workbench.pipeline.annotate import statements
from workbench.pipeline.datasets import overview
from workbench.pipeline.questions.telling import still_judged, tell
from workbench.pipeline.review.gold import KNOWN_ANSWERS

MOST = 50
"""Examples on a page, the newest."""


@dataclass(frozen=True)
class Shown:
    """An example as annotators see it. answers: (side, Completion), a on the left."""

    prompt: Prompt
    answers: list[tuple[str, Completion]]
    outcome: str
    why: str


def shown_to(dataset: Dataset, annotator: Annotator) -> list[Shown]:
    """The examples of the Dataset, newest first: those that have a final label, and that nobody may judge any
    more. The annotator is told of each (see `telling`)."""
    if not Example.objects.current().filter(comparison__dataset=dataset).exists():
        return []
    with transaction.atomic():
        statements.lock(annotator.pk)
        closed = _shown(dataset)
        rows = list(closed[:MOST])
        not_told = closed.filter(pk__in=[row.pk for row in rows]).not_told(annotator.pk)
        tell(annotator, list(not_told.values_list("pk", flat=True)))
    texts = overview.within_memory(list({row.prompt_id for row in rows}), overview.MOST_OF_A_PAGE)
    prompts = {prompt.pk: prompt for prompt in texts}
    examples = []
    for row in rows:
        prompt, facts = prompts[row.prompt_id], vars(row)
        completions = {completion.pk: completion for completion in prompt.completions.all()}
        answers = [("Left", completions[row.a_id]), ("Right", completions[row.b_id])]
        examples.append(Shown(prompt, answers, facts["outcome"], facts["why"]))
    return examples


def _shown(dataset: Dataset) -> ComparisonQuerySet:
    examples = Example.objects.current().filter(comparison=OuterRef("pk"))
    labels = Decision.objects.current().filter(comparison=OuterRef("pk"), outcome__in=KNOWN_ANSWERS)
    marked = Comparison.objects.filter(Exists(examples), Exists(labels), dataset=dataset)
    judged = still_judged(marked, dataset).values("pk")
    facts = {"why": Subquery(examples.values("text")), "outcome": Subquery(labels.values("outcome"))}
    newest = Subquery(examples.values("pk"))
    found = marked.exclude(pk__in=judged).annotate(**facts, newest=newest)
    return found.order_by("-newest")
