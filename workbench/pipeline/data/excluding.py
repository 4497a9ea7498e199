"""Exclusion: a Prompt leaves the queue with its Comparisons, and comes back with them.

An excluded Comparison requires nobody (`required` 0, as gold does), so the queue, its counts and its indexes
know no other rule. `required_if_restored` keeps the number for the way back. A Claim that somebody holds
stays, and its vote counts."""

from collections.abc import Collection

from django.db.models import F, Q

from workbench.models import Comparison, Dataset, Prompt
from workbench.models.dataset import OUT_OF_QUEUE

_WANTED = Q(required=None) | Q(required__gt=0)


def leave_queue(prompts: Collection[int]) -> int:
    """Take the Comparisons of these Prompts out of the queue. Returns how many left it."""
    wanted = Comparison.objects.filter(_WANTED, prompt__in=prompts)
    return wanted.update(required_if_restored=F("required"), required=0)


def rejoin_queue(prompts: Collection[int]) -> None:
    """Put the Comparisons of these Prompts back as they were; gold goes on requiring nobody."""
    ordinary = Comparison.objects.filter(prompt__in=prompts, gold_outcome="")
    ordinary.update(required=F("required_if_restored"), required_if_restored=None)


def keep_out_new(dataset: Dataset) -> None:
    """Take Comparisons out that were added to excluded Prompts. Called in the transaction that adds them."""
    excluded = Prompt.objects.of(dataset).filter(excluded_from__in=OUT_OF_QUEUE).order_by()
    pks = list(excluded.values_list("pk", flat=True))
    for start in range(0, len(pks), 1000):
        leave_queue(pks[start : start + 1000])


def set_required(comparisons: Collection[int], required: int | None) -> None:
    """Give Comparisons that are not gold a number of places of their own; those out of the queue get it when
    they come back."""
    rows = Comparison.objects.filter(pk__in=comparisons, gold_outcome="")
    out = Prompt.objects.filter(excluded_from__in=OUT_OF_QUEUE, comparisons__in=comparisons).values("pk")
    rows.filter(prompt__in=out).update(required_if_restored=required)
    rows.exclude(prompt__in=out).update(required=required)
