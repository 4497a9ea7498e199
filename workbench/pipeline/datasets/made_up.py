"""The votes of the demo: made up by a rule, so that a newcomer sees a dataset that people have voted on."""

from datetime import timedelta
from uuid import NAMESPACE_URL, uuid5

from django.db import transaction
from django.utils import timezone

from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Dataset,
    Judgment,
    Member,
    ModelVersion,
    Outcome,
    Role,
    Strategy,
    User,
)
from workbench.pipeline.annotate import answers
from workbench.pipeline.annotate.handout import draw, side_at
from workbench.pipeline.text import learnt

VOTERS = ("ada-made-up", "ben-made-up", "cleo-made-up")
PAIRS = 70
OTHER_SIDE, TIE = 0.07, 0.07
DAYS = 9
SECONDS_A_PAIR = 25

RULE = (
    "Written for this project. The votes of Ada, Ben and Cleo are made up: two of them on each of 70 pairs, "
    "as the file says, but for 7 in 100 on the other side and 7 in 100 ties."
)
"""The rule in words, on every page with the description of the demo."""


def vote(dataset: Dataset, version: ModelVersion) -> int:
    """Store the made-up votes of a dataset with one imported label a pair, on pairs that the version has not
    learnt, and return their number. They are stored as a page stores them; only their time is set back: over
    the DAYS before today. The same file gets the same votes."""
    seen = learnt.seen(version, dataset)
    comparisons = dataset.comparisons.select_related("prompt", "a", "b").order_by("pk")
    unseen = [pair for pair in comparisons if pair.prompt.group not in seen]
    chosen = sorted(unseen, key=_draw_of)[:PAIRS]
    said = dict(Judgment.objects.labels().of(dataset).values_list("comparison", "outcome"))
    voters = [_voter(dataset, name) for name in VOTERS]
    numbers = dict.fromkeys(VOTERS, 0)
    with transaction.atomic():
        for place, pair in enumerate(chosen):
            left_out = int(3 * draw(_draw_of(pair), "nobody"))
            for slot, voter in enumerate(voter for at, voter in enumerate(voters) if at != left_out):
                name = str(voter)
                _vote(dataset, pair, voter, slot, numbers[name], said[pair.pk])
                numbers[name] += 1
            Comparison.objects.filter(pk=pair.pk).update(claimed=2)
            days = DAYS - place * DAYS // PAIRS
            at = timezone.now() - timedelta(days=days, seconds=-SECONDS_A_PAIR * place)
            Judgment.objects.by_people().filter(comparison=pair).update(created_at=at)
    return sum(numbers.values())


def _draw_of(pair: Comparison) -> float:
    return draw("demo", pair.prompt.external_id, pair.a.text, pair.b.text)


def _voter(dataset: Dataset, name: str) -> Annotator:
    user, created = User.objects.get_or_create(username=name)
    if created:
        user.set_unusable_password()
        user.save()
    Member.objects.get_or_create(dataset=dataset, user=user, defaults={"role": Role.ANNOTATOR})
    return Annotator.objects.for_user(user)


def _vote(dataset: Dataset, pair: Comparison, voter: Annotator, slot: int, number: int, label: str) -> None:
    pair.dataset = dataset
    Claim.objects.create(
        comparison=pair, annotator=voter, slot=slot, number=number, left=side_at(number, voter),
        mode=Claim.Mode.BLIND, strategy=Strategy.RANDOM, expires_at=timezone.now() + timedelta(minutes=20),
    )  # fmt: skip
    chance, pace = draw(_draw_of(pair), str(voter)), draw(_draw_of(pair), str(voter), "pace")
    answers.record(
        voter,
        pair,
        answers.Answer(
            _outcome(label, chance),
            key=uuid5(NAMESPACE_URL, f"{dataset.pk}/{pair.pk}/{voter}"),
            seconds=round(6 + 30 * pace * pace, 1),
            guidelines=dataset.current_guidelines,
            facts={"made_up": True},
        ),
    )


def _outcome(label: str, chance: float) -> str:
    if chance < OTHER_SIDE:
        return {"a": "b", "b": "a"}.get(label, label)
    return Outcome.TIE if chance < OTHER_SIDE + TIE else label
