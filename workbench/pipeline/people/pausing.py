"""Pausing people who answer as if by chance: a sequential test on gold and repeats, and what an admin does.

The test is Wald's sequential probability ratio test without its lower boundary ("Sequential Tests of
Statistical Hypotheses", 1945): somebody good is right in a share `good` of gold, somebody bad in `bad`. While
somebody is good, the likelihood ratio of bad to good is a martingale that begins at 1. So it ever reaches
1 / alpha with a probability of at most alpha (Ville, 1939), however often it is looked at. With 75 % against
50 % and alpha 0.01, a coin-thrower is paused after about ln(100) / 0.144 = 32 gold pairs.

A repeat has no known answer: somebody who is right in a share p gives the same answer again in
p² + (1 - p)², 62.5 % for 75 % and 50 % for a coin.

The test runs by the clock, and leaves out the answers of the last minutes: a warning or a pause that followed
an answer at once would tell that it was to a check. Whoever is paused was warned first, and has answered a
check since, so that a pause may come a check or two later than the boundary says."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.utils import timezone

from workbench.models import Annotator, Claim, Dataset, Judgment, Member, Pause, Purpose, Role, User
from workbench.pipeline.annotate import handout, statements
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.quality.annotators import gold_and_repeats, shares_of
from workbench.pipeline.quality.shares import Share
from workbench.pipeline.runs.progress import Refused

HELD_BACK = timedelta(minutes=5)
"""Age from which an answer counts. Some twenty pairs are between an answer and what follows from it."""

LOOKED_AT_WITHIN = timedelta(minutes=10)
"""How long the clock looks at a person after an answer to gold or a repeat counts."""

TOLD = (
    "Too many of your answers differ from known answers, or from your own when asked again. "
    "An admin of the dataset can tell you more and let you go on."
)
"""What the test tells a person whom it pauses. It names no pair and no number: those would give gold away."""


@dataclass(frozen=True)
class Evidence:
    """First answers to gold (right, wrong) and to repeats (same, other)."""

    right: int = 0
    wrong: int = 0
    same: int = 0
    other: int = 0

    @property
    def in_words(self) -> str:
        """For admins: "12 of 30 known answers right, 4 of 9 repeats the same"."""
        gold, repeats = self.right + self.wrong, self.same + self.other
        parts = [f"{self.right} of {gold} known answers right"] if gold else []
        return ", ".join([*parts, *([f"{self.same} of {repeats} repeats the same"] if repeats else [])])


def log_ratio(evidence: Evidence, good: float, bad: float) -> float:
    """ln of the likelihood ratio of somebody right in a share `bad` of gold to somebody right in `good`. Both
    lie between 0 and 1."""

    def same(p: float) -> float:
        return p * p + (1 - p) * (1 - p)

    return (
        evidence.right * math.log(bad / good)
        + evidence.wrong * math.log((1 - bad) / (1 - good))
        + evidence.same * math.log(same(bad) / same(good))
        + evidence.other * math.log((1 - same(bad)) / (1 - same(good)))
    )


def boundary(alpha: float) -> float:
    """The log ratio at which somebody is paused. A warning comes halfway."""
    return math.log(1 / alpha)


def evidence_on(dataset: Dataset, annotators: Sequence[int]) -> dict[int, Evidence]:
    """The evidence on each of these annotators (primary keys) since an admin last let them go on, but for
    answers of the last minutes."""
    resumed = (
        Pause.objects.filter(dataset=dataset, user=OuterRef("annotator__user"))
        .exclude(ended_at=None)
        .order_by("-ended_at")
        .values("ended_at")[:1]
    )
    # By primary key: SQLite would read all first answers of the Dataset.
    until = timezone.now() - HELD_BACK
    checks = Judgment.objects.exclude(purpose=Purpose.WORK).filter(
        annotator__in=annotators, created_at__lt=until
    )
    (gold, is_right), (repeats, is_same) = (
        (
            answers.filter(pk__in=checks.order_by().values("pk"))
            .annotate(resumed=Subquery(resumed))
            .filter(Q(resumed=None) | Q(created_at__gt=F("resumed"))),
            hit,
        )
        for answers, hit in gold_and_repeats(dataset)
    )
    right, same, none = shares_of(gold, is_right), shares_of(repeats, is_same), Share(0, 0)

    def evidence(annotator: int) -> Evidence:
        of_gold, of_repeats = right.get(annotator, none), same.get(annotator, none)
        k, same_again = int(of_gold.k), int(of_repeats.k)
        return Evidence(k, int(of_gold.n) - k, same_again, int(of_repeats.n) - same_again)

    return {annotator: evidence(annotator) for annotator in annotators}


def of(dataset: Dataset, members: Iterable[Member]) -> list[Pause]:
    """The pauses and warnings of the Dataset, the latest first; each has `evidence_in_words`. Gives each of
    the members its open one as `pause`."""
    pauses = list(dataset.pauses.select_related("user", "begun_by", "ended_by"))
    for pause in pauses:
        pause.evidence_in_words = Evidence(**pause.evidence).in_words
    is_open = {pause.user_id: pause for pause in pauses if pause.ended_at is None}
    for member in members:
        member.pause = is_open.get(member.user_id)
    return pauses


def look_at_latest(dataset: Dataset) -> list[Pause]:
    """Warn or pause those who have lately answered gold or a repeat, by the Dataset's rates. Gives the Pauses
    that began or were announced now."""
    if not dataset.pause_alpha:
        return []
    # From the members, as the query runs all the time: from the votes, it would read those of all pairs.
    until = timezone.now() - HELD_BACK
    checks = Judgment.objects.of(dataset).exclude(purpose=Purpose.WORK)
    latest = checks.filter(created_at__gte=until - LOOKED_AT_WITHIN, created_at__lt=until)
    members = Annotator.objects.filter(user__memberships__dataset=dataset)
    seen = members.filter(Exists(latest.filter(annotator=OuterRef("pk")))).select_related("user")
    people = {annotator.pk: annotator for annotator in seen}
    begun = []
    for annotator, evidence in (evidence_on(dataset, list(people)) if people else {}).items():
        ratio = log_ratio(evidence, dataset.pause_good, dataset.pause_bad)
        is_paused = ratio >= boundary(dataset.pause_alpha)
        if is_paused or ratio >= boundary(dataset.pause_alpha) / 2:
            begun += _note(dataset, people[annotator], evidence, is_paused)
    return begun


def _note(dataset: Dataset, annotator: Annotator, evidence: Evidence, is_paused: bool) -> list[Pause]:
    """Store a warning, or begin the pause of somebody who has been warned, unless it is stored. An admin has
    no pause: nobody might end it."""
    with transaction.atomic():
        statements.lock(annotator.pk)
        pauses = Pause.objects.open().filter(dataset=dataset, user=annotator.user)
        pause = pauses.first() or Pause(dataset=dataset, user=annotator.user, reason=TOLD)
        is_warned = pause.pk is not None
        begins = is_paused and is_warned and _has_gone_on(pause, annotator)
        if pause.began_at or (is_warned and not begins) or _is_admin(dataset, annotator):
            return []
        pause.evidence = asdict(evidence)
        if begins:
            pause.began_at = timezone.now()
            _give_back(dataset, annotator)
        pause.save()
    return [pause]


def _has_gone_on(warning: Pause, annotator: Annotator) -> bool:
    """Whether an answer to gold or a repeat that was given after the warning counts by now. Evidence may
    cross both bounds in one look, as after a night without the clock."""
    checks = Judgment.objects.of(warning.dataset).exclude(purpose=Purpose.WORK).filter(annotator=annotator)
    until = timezone.now() - HELD_BACK
    return checks.filter(created_at__gt=warning.announced_at, created_at__lt=until).exists()


def _is_admin(dataset: Dataset, annotator: Annotator) -> bool:
    admins = dataset.members.filter(user=annotator.user, role=Role.ADMIN)
    return bool(annotator.user and annotator.user.is_staff) or admins.exists()


def _give_back(dataset: Dataset, annotator: Annotator) -> int:
    """Free what the annotator holds, so that others get it. Returns how many pairs that were."""
    live = Claim.objects.select_for_update(of=("self",)).filter(
        annotator=annotator, comparison__dataset=dataset, state=Claim.State.LIVE
    )
    held = list(live.order_by("pk"))
    handout.give_back(held, state=Claim.State.EXPIRED, expires_at=timezone.now())
    return len(held)


def pause(member: Member, by: User, reason: str) -> Pause:
    """Pause a member by hand. Raises Refused where they are paused already."""
    with transaction.atomic():
        annotator = Annotator.objects.for_user(member.user)
        statements.lock(annotator.pk)
        pauses = Pause.objects.open().filter(dataset=member.dataset, user=member.user)
        pause = pauses.first() or Pause(dataset=member.dataset, user=member.user)
        if pause.began_at:
            raise Refused(f"{member.user} is paused already.")
        pause.reason, pause.begun_by, pause.began_at = reason, by, timezone.now()
        pause.save()
        record(Kind.PAUSED, by=by, dataset=member.dataset, target=member.user)
        if held := _give_back(member.dataset, annotator):
            record(Kind.CLAIMS_ENDED, by=by, dataset=member.dataset, target=member.user, count=held)
    return pause


def resume(member: Member, by: User, reason: str) -> Pause:
    """Let a paused or warned member go on; the test begins anew. Raises Refused where they are neither."""
    with transaction.atomic():
        pauses = Pause.objects.select_for_update().open().filter(dataset=member.dataset, user=member.user)
        pause = pauses.first()
        if pause is None:
            raise Refused(f"{member.user} is not paused.")
        pause.ended_at, pause.ended_by, pause.ended_reason = timezone.now(), by, reason
        pause.save(update_fields=["ended_at", "ended_by", "ended_reason"])
        record(Kind.RESUMED, by=by, dataset=member.dataset, target=member.user)
    return pause
