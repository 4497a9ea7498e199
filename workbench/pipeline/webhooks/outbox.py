"""Events, written in the transaction of the fact. Where no webhook asks for a type, nothing is read or
written for it.

A payload holds keys, words of fixed lists, numbers and times. It has no text, and of a person only the
pseudonym that Releases use. docs/reference/webhooks.md describes each."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from workbench.models import (
    Annotator,
    Comparison,
    Dataset,
    Decision,
    Event,
    Flag,
    Judgment,
    ModelVersion,
    Outcome,
    Promotion,
    Release,
    Webhook,
)

Type = Event.Type


def is_asked(dataset: Dataset, event: Event.Type) -> bool:
    """Whether an active webhook of the dataset asks for events of this type. No query."""
    return event in dataset.webhook_events


def note_votes(dataset: Dataset, annotator: Annotator, judgments: Sequence[Judgment]) -> None:
    """Tell of new answers of one annotator, and of Comparisons that need a reviewer after them."""
    if is_asked(dataset, Type.JUDGMENT):
        Event.objects.note(dataset.pk, Type.JUDGMENT, [_vote(one, annotator) for one in judgments])
    if is_asked(dataset, Type.REVIEW):
        voted = [judgment.comparison_id for judgment in judgments if judgment.is_current]
        split = [{"comparison": pk, "reason": reason} for pk, reason in _undecidable(dataset, voted)]
        Event.objects.note(dataset.pk, Type.REVIEW, split)


def _vote(judgment: Judgment, annotator: Annotator) -> dict[str, object]:
    return {
        "judgment": judgment.pk,
        "comparison": judgment.comparison_id,
        "annotator": str(annotator.pseudonym),
        "outcome": judgment.outcome,
        "strength": judgment.strength,
        "purpose": judgment.purpose,
        "is_current": judgment.is_current,
        "stage": judgment.stage,
        "mode": judgment.mode,
        "left": judgment.left,
        "seconds": judgment.seconds,
        "guidelines": judgment.guidelines_id,
        "ranking": judgment.ranking_id,
        "supersedes": judgment.supersedes_id,
        "created_at": _iso(judgment.created_at),
    }


def _undecidable(dataset: Dataset, pks: Collection[int]) -> Iterator[tuple[int, str]]:
    """Comparisons whose places are all taken by votes that give no outcome, each with the reason."""
    # Locked: of two last votes at once, each would miss the other.
    locked = Comparison.objects.select_for_update(of=("self",), no_key=True).filter(
        pk__in=pks, gold_outcome=""
    )
    places = {
        comparison.pk: dataset.initial_overlap if comparison.required is None else comparison.required
        for comparison in locked.order_by("pk")
    }
    outcomes: dict[int, list[str]] = {pk: [] for pk in places}
    votes = Judgment.objects.current().by_people().filter(comparison__in=places).order_by()
    for pk, outcome in votes.values_list("comparison", "outcome"):
        outcomes[pk].append(outcome)
    for pk, given in outcomes.items():
        opinions = [outcome for outcome in given if outcome != Outcome.CANNOT_JUDGE]
        if len(given) < places[pk]:
            continue
        if not opinions:
            yield pk, "no_opinion"
        elif max(map(opinions.count, opinions)) * 2 <= len(opinions):
            yield pk, "disagreement"


def note_flags(dataset: Dataset, pks: Collection[int], reason: str) -> None:
    """Tell that these Comparisons were flagged: one of Flag.Reason."""
    if is_asked(dataset, Type.REVIEW):
        word = "sent_to_review" if reason == Flag.Reason.REVIEW else "flagged"
        facts = [{"comparison": pk, "reason": word, "flag": reason} for pk in pks]
        Event.objects.note(dataset.pk, Type.REVIEW, facts)


@contextmanager
def noting_decisions(dataset: Dataset, pks: Collection[int]) -> Iterator[None]:
    """Tell of each of these Comparisons whose current Decision is another one after the body of `with`, or
    gone. Call it inside the transaction that changes them."""
    if not is_asked(dataset, Type.DECIDED):
        yield
        return
    before = _current(pks)
    yield
    after = _current(pks)
    changed = [pk for pk in sorted({*before, *after}) if before.get(pk) != after.get(pk)]
    decisions = Decision.objects.in_bulk([after[pk] for pk in changed if pk in after])
    facts = [_label(pk, decisions[after[pk]] if pk in after else None) for pk in changed]
    Event.objects.note(dataset.pk, Type.DECIDED, facts)


def _current(pks: Collection[int]) -> dict[int, int]:
    """Primary key of the current Decision by that of its Comparison."""
    current = Decision.objects.current().filter(comparison__in=pks).order_by()
    return dict(current.values_list("comparison", "pk"))


def _label(pk: int, decision: Decision | None) -> dict[str, object]:
    """decision: None where the Comparison has no final label any more."""
    return {
        "comparison": pk,
        "decision": decision.pk if decision else None,
        "outcome": decision.outcome if decision else None,
        "method": decision.method if decision else None,
        "reason": decision.reason if decision else "",
        "votes": decision.votes if decision else 0,
        "votes_for": decision.votes_for if decision else 0,
        "probability": decision.probability if decision else None,
        "created_at": _iso(decision.created_at) if decision else None,
    }


def note_release(release: Release) -> None:
    """Tell that the release is ready."""
    # By the database: the row of a Dataset is old at the end of a long build.
    if release.dataset.webhooks.asking_for(Type.RELEASE):
        facts: Mapping[str, object] = {
            "release": str(release.pk),
            "number": release.number,
            "rows": release.rows,
            "profiles": list(release.profiles),
            "formats": list(release.formats),
        }
        Event.objects.note(release.dataset_id, Type.RELEASE, [facts])


def note_promotion(promotion: Promotion, version: ModelVersion) -> None:
    """Tell each Dataset in use, as the active model serves all of them."""
    facts: Mapping[str, object] = {
        "promotion": promotion.pk,
        "version": version.pk,
        "weights_sha256": version.weights_sha256,
        "kind": promotion.kind,
        "replaces": promotion.supersedes_id,
    }
    asking = Webhook.objects.filter(dataset__in=Dataset.objects.in_use().values("pk"))
    for dataset_id in sorted({webhook.dataset_id for webhook in asking.asking_for(Type.PROMOTED)}):
        Event.objects.note(dataset_id, Type.PROMOTED, [facts])


def _iso(moment: datetime) -> str:
    return moment.isoformat()
