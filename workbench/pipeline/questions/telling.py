"""Who may still judge a Comparison, and so is told nothing of what others, the model or a reviewer said.

Whoever is told is kept from judging: a row of Told says so. The queue, gold and repeats pass the Comparison
over for them, undo does not reopen it, and `annotate.answers` refuses an answer to it. So nobody first reads
what became of a Comparison and then judges it, even where it is reopened, gets a higher overlap or becomes
gold later."""

from collections.abc import Collection

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from workbench.models import Annotator, Claim, Comparison, Dataset, Member, Purpose, Told
from workbench.models.annotation import ComparisonQuerySet
from workbench.pipeline.annotate import statements


def still_judged(
    comparisons: ComparisonQuerySet, dataset: Dataset, by: int | OuterRef | None = None
) -> ComparisonQuerySet:
    """Those of the Comparisons of the Dataset that may still be judged: by this annotator (a primary key, or
    a reference to one), or for None by anybody. A Comparison may be judged

    - while it is gold: it checks whoever has not had it yet, and the answer key is a secret from all;
    - while somebody has it on screen (a live Claim), or is yet to answer it as a repeat or as a check;
    - while a place is free and no reviewer has settled it: by anybody who has not voted on it.

    A Claim on work that expired or was skipped has given its place back, and counts as none. An annotator who
    was told may judge no more. A vote can be changed until then, but that is no reason to tell nothing: who
    has voted and is told can change it no longer."""
    told = Told.objects.filter(comparison=OuterRef("comparison"), annotator=OuterRef("annotator"))
    claims = Claim.objects.filter(comparison=OuterRef("pk"))
    if by is not None:
        claims = claims.filter(annotator=by)  # type: ignore[misc]  # a reference serves too
    live = claims.filter(state=Claim.State.LIVE)
    put_off = claims.filter(statements.CONTROLS, state__in=[Claim.State.EXPIRED, Claim.State.SKIPPED])
    put_off = put_off.exclude(purpose=Purpose.GOLD, comparison__gold_outcome="").exclude(Exists(told))
    if by is None:
        # Whoever has left is not asked again; staff vote without a role.
        here = Member.objects.filter(dataset=dataset, user=OuterRef("annotator__user"))
        put_off = put_off.filter(Q(Exists(here)) | Q(annotator__user__is_staff=True))
    free = Comparison.objects.filter(pk=OuterRef("pk")).unfilled(dataset.initial_overlap)
    is_free = Q(Exists(free.unsettled_by_reviewer()))
    if by is not None:
        is_free &= ~Q(Exists(claims.filter(state=Claim.State.DONE)))
    judged = comparisons.filter(~Q(gold_outcome="") | Q(Exists(live)) | Q(Exists(put_off)) | is_free)
    if by is None:
        return judged
    is_told = Told.objects.filter(comparison=OuterRef("pk"), annotator=by)  # type: ignore[misc]
    return judged.exclude(Exists(is_told))


def closed_to(dataset: Dataset, annotator: Annotator, pks: Collection[int]) -> set[int]:
    """Which of these Comparisons the annotator may judge no more."""
    open_still = still_judged(Comparison.objects.filter(pk__in=pks), dataset, annotator.pk)
    return set(pks) - set(open_still.values_list("pk", flat=True))


def tell(annotator: Annotator, pks: Collection[int]) -> None:
    """Note that the annotator is shown what became of these Comparisons. Call it under the annotator's lock
    (`annotate.statements.lock`), where they are closed to the annotator, and before anything is shown."""
    now = timezone.now()
    rows = [Told(comparison_id=pk, annotator=annotator, at=now) for pk in sorted(pks)]
    Told.objects.bulk_create(
        rows,
        update_conflicts=True,
        update_fields=["at"],
        unique_fields=["annotator", "comparison"],
    )
