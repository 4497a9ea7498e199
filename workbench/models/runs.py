import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NotRequired, Self, TypedDict, Unpack

from django.db import models, transaction
from django.db.models import Count, F, Max, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce
from django.utils import timezone

from scoring import shares
from workbench.models.webhooks import Event, Webhook

if TYPE_CHECKING:
    from workbench.models.dataset import Dataset
    from workbench.models.people import User


QUIET = timedelta(seconds=30)
"""A worker without a heartbeat for this long counts as gone."""

UNITS = {
    "import": "rows",
    "score": "answers",
    "release": "pairs",
    "train": "steps",
    "evaluate": "texts",
    "delete": "prompts and pairs",
    "vectors": "texts",
    "topics": "prompts",
    "fetch": "kB",
    "push": "files",
    "backup": "files",
    "register": "kB",
}
"""The unit that a Run counts, by its kind; Runs of other kinds count several things at once."""

QUEUES = {"train": "train", "evaluate": "train", "register": "train", "score": "score", "vectors": "score"}
"""The Celery queue of the kinds of Run that load a model; Runs of other kinds go to "work"."""

PHASES = {"reading": "read", "storing": "stored", "checking": "checked"}


def progress_in_words(kind: str, done: int, total: int | None, phase: str = "") -> str:
    """Progress of a Run, in units that a person counts: "64 of 722 answers", "read 250 of about 501 rows"; a
    share for statistics and leakage reports. "" before the first figure."""
    if kind in (Run.Kind.STATISTICS, Run.Kind.LEAKAGE):
        return shares.in_words(min(1.0, done / total)) if total else ""
    unit = UNITS.get(kind, "")
    if not unit or (total is None and not done):
        return ""
    # While an import reads, its total is an estimate by the bytes read so far.
    about = "about " if phase == "reading" else ""
    of = "" if total is None else f" of {about}{max(done, total):,}"
    return " ".join(filter(None, (PHASES.get(phase, ""), f"{done:,}{of}", unit)))


Split = Literal["train", "validation", "test"]


class UploadQuerySet(models.QuerySet["Upload"]):
    def for_list(self) -> Self:
        """With senders. Annotate `latest_state`: the state of the latest Run over the file, "" for a file
        that was only previewed."""
        latest = Run.objects.filter(upload=OuterRef("pk")).order_by("-pk").values("state")[:1]
        return self.select_related("uploaded_by").annotate(latest_state=Coalesce(Subquery(latest), Value("")))


class UploadOrigin(TypedDict, total=False):
    """Where a worker fetched a file: `commit` is what `revision` was at that moment. `licence`: by the card
    of the repository, "" where it states none."""

    hub: str
    repository: str
    revision: str
    commit: str
    path: str
    licence: str


class Upload(models.Model):
    """An uploaded file, stored under a name of our own; its name on the sender's disk is only shown."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="uploads")
    shown_name = models.CharField(max_length=100)
    path = models.CharField(max_length=200)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    origin: "models.Field[UploadOrigin, UploadOrigin]" = models.JSONField(
        default=dict, blank=True, help_text="Where a worker fetched the file; empty for a file that was sent."
    )
    uploaded_by = models.ForeignKey("workbench.User", null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = UploadQuerySet.as_manager()

    def __str__(self) -> str:
        return self.shown_name

    @property
    def latest_run(self) -> "Run | None":
        return self.run_set.order_by("-pk").first()


class Finding(TypedDict):
    """The outcome of a training. `better`: whether the gate would promote the new version; None where no
    model was active. `undecided`: whether too few votes count to say that."""

    better: bool | None
    said: str
    undecided: NotRequired[bool]


class PreflightFinding(TypedDict):
    level: Literal["error", "warning"]
    text: str


class PreflightLengths(TypedDict):
    mean: float
    median: float
    p95: float
    longest: int
    cut_share: float


class PreflightFacts(TypedDict):
    """scoring.preflight.Preflight as JSON."""

    pairs: dict[Split, int]
    groups: dict[Split, int]
    ties: int
    identical: int
    alike: int
    crowded: int
    contradicted: int
    longer_preferred: float | None
    prompt: PreflightLengths
    completion: PreflightLengths
    steps: int
    epochs: float
    findings: list[PreflightFinding]


class Validation(TypedDict):
    log_loss: float
    accuracy: float | None
    best: bool


class LeakFacts(TypedDict):
    """A leak as JSON, in the result of a Run and in the output with --json."""

    reference: str
    size: int
    alike: dict[Split, int]
    examples: dict[Split, list[int]]


class FetchedFile(TypedDict):
    path: str
    bytes: int
    sha256: str
    upload: str


class ShownToken(TypedDict):
    """One token of a sample pair. part: "template", "prompt" or "answer". type: its token type."""

    text: str
    id: int
    part: str
    type: int


class Found(TypedDict):
    """What the self-test found out about a checkpoint, to be shown before and after it is registered.

    template: how texts are laid out; tokens: the sample pair (prompt, answer) as the model reads it.
    compared: sample texts with the score of plain `transformers`; difference: the largest, in standard
    deviations of their scores. together: which texts can share a batch. note: why not in the wanted
    precision, or ""."""

    template: str
    max_length: int
    max_positions: int
    prompt: str
    answer: str
    tokens: list[ShownToken]
    compared: int
    difference: float
    together: str
    note: str


class RunResult(TypedDict, total=False):
    """The result of a Run, by its kind. A deletion has the numbers of pipeline.datasets.deleting.Extent."""

    # an import: its phase while it runs, then the counts of pipeline.imports
    phase: str
    rows: int  # and of a release
    problems: list[dict[str, str | int | None]]
    # scoring
    scored: int
    failed: int
    empty: int
    changed: int  # of Scores that were computed again
    # a training: (time, line), (step, loss), (step, figures); of these, a registration has stage and log
    stage: str
    log: list[tuple[str, str]]
    loss: list[tuple[int, float]]
    validation: list[tuple[int, Validation]]
    preflight: PreflightFacts
    pairs_per_second: float
    ended: str
    finding: Finding
    version: int
    model: str
    serves: bool  # a model that was named: whether it is active now, with what comes next in `said`
    # a registration; `choices`: templates, of which a person has to name one
    found: Found
    choices: list[str]
    # an evaluation
    pairs: int
    evaluation: int
    said: str
    # a release
    number: int
    # a leakage report: the number of groups with a leak
    groups: int
    references: list[LeakFacts]
    # statistics
    opinions: int
    seconds: float
    # final labels
    made: int
    withdrawn: int
    # vectors and topics
    texts: int
    topics: int
    # a fetch from the hub: (path, bytes) of the files there, how many there are, and those that were fetched
    commit: str  # and of a push
    revision: str
    licence: str
    listing: list[tuple[str, int]]
    listed: int
    fetched: list[FetchedFile]
    missing_host: str  # and of a push: a host that nobody has allowed
    # a push to the hub
    repository: str
    url: str
    unchanged: bool
    # a backup: its name, and the moment after which nothing is in it (ISO 8601)
    backup: str
    made_at: str
    bytes: int


class RunQuerySet(models.QuerySet["Run"]):
    def of(self, dataset: "Dataset") -> Self:
        return self.filter(dataset=dataset)

    def open(self) -> Self:
        return self.filter(state__in=[Run.State.WAITING, Run.State.RUNNING])

    def for_list(self) -> Self:
        """With the rows that a line of a list names."""
        return self.select_related("dataset", "version", "upload", "created_by")

    def without_result(self) -> Self:
        """Without results, which may be large. Annotate `stored_phase`: the phase of an import."""
        return self.defer("result").annotate(stored_phase=KT("result__phase"))

    def deletions_for(self, user: "User") -> Self:
        """Unfinished deletions of Datasets, for the user who ordered them and for staff."""
        pending = self.filter(kind=Run.Kind.DELETE).exclude(state=Run.State.DONE)
        return pending if user.is_staff else pending.filter(created_by=user)

    def of_kind(self, kind: "Run.Kind") -> Self:
        return self.filter(kind=kind)

    def failed_since(self, moment: "datetime") -> Self:
        return self.filter(state=Run.State.FAILED, finished_at__gte=moment)

    def failed_by_kind(self) -> list[tuple[str, int]]:
        """(kind, number of failed Runs) of each kind."""
        failed = self.filter(state=Run.State.FAILED).order_by("kind").values("kind")
        return [(row["kind"], row["count"]) for row in failed.annotate(count=Count("pk"))]


class Run(models.Model):
    """One long job. Its row precedes its message, so that pages show its state while no worker is alive."""

    class Kind(models.TextChoices):
        IMPORT = "import", "Import"
        SCORE = "score", "Score"
        RELEASE = "release", "Release"
        LEAKAGE = "leakage", "Leakage report"
        TRAIN = "train", "Train"
        EVALUATE = "evaluate", "Evaluate"
        STATISTICS = "statistics", "Statistics"
        DECIDE = "decide", "Final labels"
        DELETE = "delete", "Delete"
        VECTORS = "vectors", "Similar texts"
        TOPICS = "topics", "Topics"
        FETCH = "fetch", "Fetch"
        PUSH = "push", "Push"
        BACKUP = "backup", "Backup"
        REGISTER = "register", "Register"

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting: no worker has started yet"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed: see the error, then try again"
        CANCELLED = "cancelled", "Cancelled by a person"

    kind = models.CharField(max_length=20, choices=Kind.choices)
    state = models.CharField(max_length=20, choices=State.choices, default=State.WAITING)
    dataset = models.ForeignKey("workbench.Dataset", null=True, on_delete=models.CASCADE, related_name="runs")
    version = models.ForeignKey("workbench.ModelVersion", null=True, on_delete=models.PROTECT)
    upload = models.ForeignKey(Upload, null=True, on_delete=models.SET_NULL)
    params = models.JSONField(default=dict, blank=True)
    result: "models.Field[RunResult, RunResult]" = models.JSONField(default=dict, blank=True)
    done = models.PositiveBigIntegerField(default=0)
    total = models.PositiveBigIntegerField(null=True)
    error = models.TextField(blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    enqueued_at = models.DateTimeField(null=True, help_text="When a worker was last told of the run.")
    created_by = models.ForeignKey("workbench.User", null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = RunQuerySet.as_manager()

    if TYPE_CHECKING:
        # Annotated by without_result.
        stored_phase: str | None

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"Run {self.pk} ({self.get_kind_display().lower()})"

    @property
    def is_open(self) -> bool:
        return self.state in {self.State.WAITING, self.State.RUNNING}

    @property
    def state_sentence(self) -> str:
        """The meaning of the state, for states whose name does not give it; else ""."""
        return self.get_state_display().partition(": ")[2]

    @property
    def found_nothing_better(self) -> bool:
        """Whether a training ended without a failure, and without a model that the gate would promote however
        many votes came."""
        finding = self.result.get("finding")
        if self.state != self.State.DONE or finding is None:
            return False
        return finding["better"] is False and not finding.get("undecided")

    @property
    def found_undecided(self) -> bool:
        """Whether a training has made a model of which too few votes say whether it is better."""
        return self.state == self.State.DONE and bool(self.result.get("finding", {}).get("undecided"))

    @property
    def queue(self) -> str:
        """The Celery queue of the workers that carry out the Run."""
        return QUEUES.get(self.kind, "work")

    @property
    def unit(self) -> str:
        """What the Run counts; "" where it counts several things at once, so that its rate says nothing."""
        return UNITS.get(self.kind, "")

    @property
    def progress(self) -> str:
        """Progress in words, the same on all pages and in all commands. "" for a failed or cancelled import,
        which has stored nothing."""
        if self.kind == self.Kind.IMPORT and self.state in (self.State.FAILED, self.State.CANCELLED):
            return ""
        progress = progress_in_words(self.kind, self.done, self.total, self.phase)
        if self.kind != self.Kind.SCORE:
            return progress
        empty, changed = self.result.get("empty", 0), self.result.get("changed")
        failed = self.result.get("failed", 0) - empty
        parts = [f"{empty:,} empty, so never scored"] if empty else []
        parts += [f"{failed:,} could not be scored"] if failed else []
        if changed is not None:
            parts += [f"{changed:,} score{'s' * (changed != 1)} changed" if changed else "no score changed"]
        return "; ".join([progress, *parts])

    @property
    def phase(self) -> str:
        """Phase of a running import: "reading", "storing", or "checking" in a dry run; else ""."""
        if self.kind != self.Kind.IMPORT:
            return ""
        phase = self.stored_phase if hasattr(self, "stored_phase") else self.result.get("phase")
        return "checking" if phase == "storing" and self.params.get("dry_run") else phase or ""

    @property
    def _units_done(self) -> float:
        """Units done. Of an import, reading is one half and storing the other."""
        if not self.phase or self.total is None:
            return self.done
        return (self.done if self.phase == "reading" else self.total + self.done) / 2

    @property
    def rate(self) -> float | None:
        """Units a second since the Run started or was reopened; None before the first unit. The rate falls
        while nothing is done."""
        done = self._units_done - self.params.get("done_before", 0)
        if not self.started_at or done <= 0:
            return None
        seconds = ((self.finished_at or timezone.now()) - self.started_at).total_seconds()
        return done / seconds if seconds > 0 else None

    @property
    def time_left(self) -> timedelta | None:
        """Remaining units / rate, or what is left of the limit of a training, if that is less; None while
        rate or total is unknown, and after the end."""
        if not (self.is_open and self.rate and self.total and self.started_at):
            return None
        seconds = max(0, self.total - self._units_done) / self.rate
        if limit := self.params.get("max_seconds"):
            spent = (timezone.now() - self.started_at).total_seconds()
            seconds = min(seconds, max(0.0, limit - spent))
        return timedelta(seconds=seconds)

    @property
    def took(self) -> timedelta | None:
        """From start to end; None before the end."""
        return self.finished_at - self.started_at if self.finished_at and self.started_at else None

    @property
    def is_quiet(self) -> bool:
        """Whether its worker has sent no heartbeat for QUIET: stuck or dead. The reconciler decides."""
        heard = self.heartbeat_at or self.started_at
        return self.state == self.State.RUNNING and heard is not None and timezone.now() - heard > QUIET

    def start(self) -> bool:
        """Take a waiting Run. False where another worker has taken or ended the Run."""
        now = timezone.now()
        waiting = Run.objects.filter(pk=self.pk, state=self.State.WAITING)
        taken = waiting.update(
            state=self.State.RUNNING, started_at=now, heartbeat_at=now, attempts=F("attempts") + 1
        )
        self.refresh_from_db()
        return taken == 1

    def update_progress(self, done: int, total: int | None = None, result: RunResult | None = None) -> bool:
        """Store progress, a heartbeat, and the result so far. False where the Run was cancelled or given to
        another worker: its work should stop."""
        changes: dict[str, object] = {"done": done, "heartbeat_at": timezone.now()}
        if total is not None:
            changes["total"] = total
        if result is not None:
            changes["result"] = result
        return self._ours().filter(state=self.State.RUNNING).update(**changes) == 1

    def heartbeat(self) -> bool:
        """Record that the worker is alive, without progress; False as for `update_progress`."""
        return self._ours().filter(state=self.State.RUNNING).update(heartbeat_at=timezone.now()) == 1

    def hand_back(self) -> bool:
        """Put the Run back to waiting when its worker stops; the attempt does not count."""
        held = self._ours().filter(state=self.State.RUNNING)
        return held.update(state=self.State.WAITING, attempts=F("attempts") - 1, enqueued_at=None) == 1

    def _ours(self) -> RunQuerySet:
        """The Run as this worker started it; empty for a worker that hung while another took the Run. The
        batches of a score Run have leases instead."""
        runs = Run.objects.filter(pk=self.pk)
        return runs if self.kind == self.Kind.SCORE else runs.filter(started_at=self.started_at)

    def hold_up(self, reason: str) -> None:
        """Store why an open Run makes no progress; "" clears the reason."""
        Run.objects.filter(pk=self.pk).open().update(error=reason[:2000])

    def finish(self, **result: Unpack[RunResult]) -> bool:
        return self._end(self._ours(), self.State.DONE, result=result)

    def fail(self, error: str, **result: Unpack[RunResult]) -> bool:
        return self._end(self._ours(), self.State.FAILED, error=error, result=result)

    @property
    def can_be_cancelled(self) -> bool:
        """False for a deletion: half a Dataset is of no use."""
        return self.kind != self.Kind.DELETE

    def cancel(self) -> bool:
        return self.can_be_cancelled and self._end(Run.objects.filter(pk=self.pk), self.State.CANCELLED)

    def retry(self) -> bool:
        """Put a failed or cancelled Run back to waiting with all its attempts; False for any other Run. A
        training keeps its result so far, and resumes from its state."""
        kept = {} if self.kind == self.Kind.TRAIN else {"result": {}, "done": 0}
        ended = Run.objects.filter(pk=self.pk, state__in=[self.State.FAILED, self.State.CANCELLED])
        again = ended.update(
            state=self.State.WAITING,
            attempts=0,
            error="",
            enqueued_at=None,
            started_at=None,
            heartbeat_at=None,
            finished_at=None,
            **kept,
        )
        self.refresh_from_db()
        return again == 1

    def reopen(self, done: int) -> None:
        """Put the Run back to waiting with `done` units done, however it ended."""
        Run.objects.filter(pk=self.pk).update(
            state=self.State.WAITING,
            done=done,
            params=self.params | {"done_before": done},
            error="",
            finished_at=None,
        )

    def _end(self, held: RunQuerySet, state: State, **changes: object) -> bool:
        with transaction.atomic():
            ended = held.open().update(state=state, finished_at=timezone.now(), **changes)
            self.refresh_from_db()
            if ended and self.dataset_id:
                self._tell_the_end(self.dataset_id)
        return ended == 1

    def _tell_the_end(self, dataset: int) -> None:
        if Webhook.objects.filter(dataset=dataset).asking_for(Event.Type.RUN):
            started, finished = (at and at.isoformat() for at in (self.started_at, self.finished_at))
            facts = {
                "run": self.pk,
                "kind": self.kind,
                "state": self.state,
                "done": self.done,
                "total": self.total,
                "started_at": started,
                "finished_at": finished,
            }
            Event.objects.note(dataset, Event.Type.RUN, [facts])


class ScoreBatchQuerySet(models.QuerySet["ScoreBatch"]):
    def unfinished(self) -> Self:
        return self.filter(state__in=[ScoreBatch.State.WAITING, ScoreBatch.State.LEASED])

    def failed(self) -> Self:
        return self.filter(state=ScoreBatch.State.FAILED)

    def scored(self) -> int:
        """Completions of these batches with a Score."""
        done, halved = ScoreBatch.State.DONE, ScoreBatch.State.SPLIT
        counts = self.aggregate(
            whole=Sum("size", filter=Q(state=done), default=0),
            part=Sum("scored", filter=~Q(state__in=[done, halved]), default=0),
        )
        return int(counts["whole"] + counts["part"])

    def stuck(self, lease_seconds: float) -> Self:
        """Leased by a worker that was silent for QUIET, the longest silent first. Workers renew a lease by
        `lease_seconds` at each slice."""
        leased = self.filter(state=ScoreBatch.State.LEASED)
        silent = leased.filter(lease_until__lt=timezone.now() - QUIET + timedelta(seconds=lease_seconds))
        return silent.order_by("lease_until")

    def by_worker(self) -> QuerySet["ScoreBatch", dict[str, Any]]:
        """Per worker: worker, batches and completions done, rate (completions a second in the last minute),
        last (when its last batch was done)."""
        finished = self.filter(state=ScoreBatch.State.DONE).exclude(worker="")
        recent = Q(finished_at__gte=timezone.now() - timedelta(seconds=60))
        return (
            finished.order_by("worker")
            .values("worker")
            .annotate(
                batches=Count("pk"),
                completions=Sum("size"),
                rate=Sum("size", filter=recent, default=0) / 60.0,
                last=Max("finished_at"),
            )
        )

    def unheld(self, now: datetime) -> Self:
        """Waiting, or leased by a worker that has not renewed its lease in time."""
        return self.filter(
            Q(state=ScoreBatch.State.WAITING) | Q(state=ScoreBatch.State.LEASED, lease_until__lt=now)
        )

    def claimable(self, now: datetime) -> Self:
        """Unheld with an attempt left."""
        return self.unheld(now).filter(attempts__lt=ScoreBatch.MAX_ATTEMPTS)

    def out_of_attempts(self, now: datetime) -> Self:
        """Unheld with no attempt left; a late message must not start another."""
        return self.unheld(now).filter(attempts__gte=ScoreBatch.MAX_ATTEMPTS)

    def enqueued(self, now: datetime, within: timedelta) -> Self:
        """Waiting, with a message under way."""
        return self.filter(state=ScoreBatch.State.WAITING, enqueued_at__gte=now - within)

    def stale(self, now: datetime, after: timedelta) -> Self:
        """Claimable with no message under way: never enqueued, enqueued in vain, or not enqueued since the
        lease ran out."""
        lost = (
            Q(enqueued_at__isnull=True) | Q(enqueued_at__lt=now - after) | Q(enqueued_at__lt=F("lease_until"))
        )
        return self.claimable(now).filter(lost)


class ScoreBatch(models.Model):
    """At most 256 completions for one ModelVersion to score. These rows are the queue of record; the broker
    is only a doorbell."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting for a worker"
        LEASED = "leased", "Leased: a worker has it until lease_until"
        DONE = "done", "Done: every answer has a score"
        SPLIT = "split", "Split: kept failing, its halves carry on"
        FAILED = "failed", "Failed: one answer cannot be scored; see the reason"
        CANCELLED = "cancelled", "Cancelled with its run"

    MAX_ATTEMPTS = 3
    MAX_SIZE = 256

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="batches")
    version = models.ForeignKey("workbench.ModelVersion", on_delete=models.PROTECT, related_name="batches")
    completion_ids = models.JSONField()
    size = models.PositiveSmallIntegerField()
    scored = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Answers of the batch that have a score so far."
    )
    state = models.CharField(max_length=20, choices=State.choices, default=State.WAITING)
    lease_until = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.TextField(blank=True)
    worker = models.CharField(max_length=200, blank=True)
    enqueued_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = ScoreBatchQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(
                fields=["state", "lease_until"],
                condition=Q(state__in=["waiting", "leased"]),
                name="score_batch_unfinished",
            )
        ]

    def __str__(self) -> str:
        return f"ScoreBatch {self.pk}"

    def lease(self, worker: str, seconds: float) -> bool:
        """Lease the batch. False where another worker has it, it is finished, or no attempt is left."""
        now = timezone.now()
        taken = (
            ScoreBatch.objects.claimable(now)
            .filter(pk=self.pk)
            .update(
                state=self.State.LEASED,
                lease_until=now + timedelta(seconds=seconds),
                attempts=F("attempts") + 1,
                worker=worker,
            )
        )
        self.refresh_from_db()
        return taken == 1

    def note(self, worker: str, scored: int) -> None:
        """Store the number of scored completions, here and on the Run, unless the lease was lost."""
        held = ScoreBatch.objects.filter(pk=self.pk, state=self.State.LEASED, worker=worker)
        if scored > self.scored and held.update(scored=scored):
            Run.objects.filter(pk=self.run_id).update(done=F("done") + scored - self.scored)
            self.scored = scored

    def renew(self, worker: str, seconds: float) -> bool:
        """Renew the lease. False where another worker has it, or the Run was cancelled."""
        held = ScoreBatch.objects.filter(pk=self.pk, state=self.State.LEASED, worker=worker)
        return held.update(lease_until=timezone.now() + timedelta(seconds=seconds)) == 1


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self, within: timedelta = QUIET) -> Self:
        return self.filter(last_seen__gte=timezone.now() - within, stopped_at__isnull=True)


class Worker(models.Model):
    """A worker process as it last reported; pages say "no worker since hh:mm" by it."""

    name = models.CharField(max_length=200, unique=True)
    queues = models.CharField(max_length=200)
    device = models.CharField(max_length=100, blank=True)
    version = models.CharField(max_length=50, blank=True, help_text="Of the workbench that the worker runs.")
    texts_scored = models.BigIntegerField(default=0, help_text="Texts given to models since it started.")
    started_at = models.DateTimeField()
    last_seen = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True, help_text="When the worker stopped.")

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["-last_seen"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_alive(self) -> bool:
        return self.stopped_at is None and timezone.now() - self.last_seen <= QUIET

    def serves(self, queue: str) -> bool:
        return queue in self.queues.split(", ")


class ServerErrorQuerySet(models.QuerySet["ServerError"]):
    KEPT = timedelta(days=30)

    def forget_old(self) -> None:
        self.filter(at__lt=timezone.now() - self.KEPT).delete()

    def since(self, moment: datetime) -> QuerySet["ServerError", dict[str, Any]]:
        """Per view and error: view, error, count, last (when), the most frequent first."""
        rows = self.filter(at__gte=moment).order_by().values("view", "error")
        return rows.annotate(count=Count("pk"), last=Max("at")).order_by("-count", "-last")


class ServerError(models.Model):
    """A request that ended in an error of ours. It says where, and no more: the text of an error may hold the
    text of an item."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    view = models.CharField(max_length=100, help_text="Name of the view.")
    error = models.CharField(max_length=300, help_text="Class of the error, and the line that raised it.")
    request_id = models.CharField(max_length=64)

    objects = ServerErrorQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.error} in {self.view}"
