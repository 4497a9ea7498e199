"""The review pages: the queue of disagreements on the left, one case on the right."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_POST
from django.views.decorators.vary import vary_on_headers

from scoring import shares
from workbench import access
from workbench.forms.review import NOTE_WANTED, GoldForm, ReviewFilterForm, SettleForm, UnsettleForm
from workbench.models import (
    Comparison,
    Dataset,
    Decision,
    Guidelines,
    ModelVersion,
    Prompt,
    ReviewQueue,
    Role,
    Statistics,
    Suggestion,
    User,
)
from workbench.pipeline import quality
from workbench.pipeline.datasets.overview import QUEUE_COUNTS
from workbench.pipeline.quality.reports import AgreementRow
from workbench.pipeline.review import decide
from workbench.pipeline.review import queue as review_queue
from workbench.pipeline.review.gold import mark_gold
from workbench.templatetags.sides import word

_LATELY = timedelta(hours=12)
GUIDELINES_SHOWN = 10
_COMES_HERE = {
    ReviewQueue.PEOPLE.value: "A pair comes here when people disagree with each other or with an imported "
    "label, or when somebody flags it, changes a vote after seeing the model, misses a known answer, or "
    "answers a repeat differently.",
    ReviewQueue.LABELS.value: "A pair comes here when imported labels disagree.",
    ReviewQueue.MODEL.value: "A pair comes here when the model picks another side than a person or an "
    "imported label.",
}


@dataclass(frozen=True)
class Tab:
    """A queue, and how many cases it has; None where counting them takes too long for a page."""

    queue: ReviewQueue
    url: str
    shown: bool
    count: int | None


@dataclass(frozen=True)
class View:
    """The part of the queue that the reviewer looks at, by the parameters of the URL."""

    dataset: Dataset
    user: User
    form: ReviewFilterForm
    version: ModelVersion | None
    filters: review_queue.Filters
    after: str
    votes_shown: bool

    @property
    def narrowed(self) -> bool:
        filters = self.filters
        return filters != review_queue.Filters(filters.queue, order=filters.order, as_of=filters.as_of)

    @property
    def title(self) -> str:
        if self.filters.old:
            return f"Changed picks: {self.filters.old} to {self.version}"
        return ReviewQueue(self.filters.queue).label if self.filters.queue else "All pairs"

    @property
    def tabs(self) -> list[Tab]:
        """The queues, the one to begin with first. Of the empty ones, only the shown queue and the queue of
        people."""
        counts = {queue: getattr(self.form.counted, name) for name, queue in QUEUE_COUNTS.items()}
        shown, first = self.filters.queue, self.form.first_queue
        return [
            Tab(queue, self.url("review", self.dataset.pk, queue=queue, after=""), queue == shown, count)
            for queue, count in sorted(counts.items(), key=lambda entry: entry[0] != first)
            if count != 0 or queue in (ReviewQueue.PEOPLE, shown)
        ]

    @property
    def what_comes_here(self) -> str:
        return _COMES_HERE.get(
            self.filters.queue, "A pair comes here when people, imported labels or the model disagree."
        )

    @property
    def order_label(self) -> str:
        return str(review_queue.Order(self.filters.order).label)

    def url(self, name: str, pk: int, **changes: str) -> str:
        """URL of a review page with the parameters of this one. It pins the version and the moment, so that
        all pages of the queue have one order while versions and people change."""
        parameters = {
            "queue": self.filters.queue or "all",
            "why": self.filters.why,
            "old": self.filters.old and self.filters.old.pk,
            "annotator": self.filters.annotator,
            "source": self.filters.source,
            "lengths": self.filters.lengths,
            "group": self.filters.group,
            "version": self.version and self.version.pk,
            "as_of": round(self.filters.as_of.timestamp(), 3),
            "order": self.filters.order if self.filters.order != review_queue.Order.VALUE else "",
            "votes": "shown" if self.votes_shown else "",
            "after": self.after,
            **changes,
        }
        query = urlencode({key: str(value) for key, value in parameters.items() if value})
        return reverse(name, args=[pk]) + (f"?{query}" if query else "")


def _partial(request: HttpRequest) -> bool:
    """True when htmx asks for a part of the page; to restore a page from history, it asks for the whole."""
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers


def _view(request: HttpRequest, dataset: Dataset) -> View:
    form = ReviewFilterForm(request.GET, dataset=dataset)
    form.is_valid()
    return View(
        dataset=dataset,
        user=access.person(request.user),
        form=form,
        version=form.shown_version,
        filters=form.filters(),
        after=form.cleaned_data.get("after", ""),
        votes_shown=form.cleaned_data.get("votes") == "shown",
    )


@require_GET
@vary_on_headers("HX-Request")
def queue(request: HttpRequest, pk: int) -> HttpResponse:
    """The queue with its first case beside it; as an htmx partial, the next rows of the queue."""
    view = _view(request, access.dataset_for(request.user, pk, Role.REVIEWER))
    page = review_queue.page(view.dataset, view.version, view.filters, view.after)
    if _partial(request):
        return render(request, "review/rows.html", _queue_context(view, page))
    return _page(request, view, page)


@require_GET
@vary_on_headers("HX-Request")
def case(request: HttpRequest, pk: int) -> HttpResponse:
    """One case, with the queue beside it; as an htmx partial, the case alone."""
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    view = _view(request, comparison.dataset)
    return _case(request, view, comparison)


@require_POST
def settle(request: HttpRequest, pk: int) -> HttpResponse:
    """Settle the case and go on to the next; 409 with the case as it is now when the page was stale."""
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    view = _view(request, comparison.dataset)
    form = SettleForm(request.POST, of=comparison)
    if not form.is_valid():
        if form.is_of_another:
            form.data = QueryDict()  # the note on another case is not shown on this one
        return _case(request, view, comparison, form=form, status=400)
    cursor = review_queue.cursor_of(comparison, view.version, view.filters)
    answer = {name: form.cleaned_data[name] for name in ("outcome", "reason", "note", "blind_outcome")}
    result = decide.settle(comparison, view.user, seen_token=form.cleaned_data["seen"], **answer)
    if isinstance(result, decide.Conflict):
        return _case(request, view, comparison, form=form, conflict=True, status=409)
    sentence = f"Settled: {word(result.outcome, decide.left_of(comparison, view.user))}."
    return _go_on(request, view, _queue_case(view, comparison), _next(view, cursor), sentence)


@require_POST
def unsettle(request: HttpRequest, pk: int) -> HttpResponse:
    """Undo a reviewer's Decision and show its case; 409 when the Decision is no longer current."""
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    view = _view(request, comparison.dataset)
    form = UnsettleForm(request.POST)
    decision = (
        comparison.decisions.filter(pk=form.cleaned_data["decision"]).first() if form.is_valid() else None
    )
    if decision is None or not decide.undo(decision, view.user):
        return _case(request, view, comparison, conflict=True, status=409)
    case = _queue_case(view, comparison)
    return _go_on(request, view, case, case, "Undone: the pair is as it was before.")


@require_GET
def guideline_gaps(request: HttpRequest, pk: int) -> HttpResponse:
    """Decisions with the reason "guideline gap", beside the guidelines, and people's agreement under each
    version of the guidelines."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    versions = dataset.guidelines.order_by("-number")[:GUIDELINES_SHOWN]
    stored = quality.stored(dataset)
    page = Paginator(decide.guideline_gaps(dataset), 50).get_page(request.GET.get("page"))
    excerpts = _excerpts(page)
    context = {
        "dataset": dataset,
        "gaps": [(gap, excerpts[gap.comparison.prompt_id]) for gap in page],
        "page": page,
        "guidelines": next(iter(versions), None),
        "versions": [(version, _agreement_under(version, stored)) for version in versions],
        "stored": stored,
    }
    return render(request, "review/guideline_gaps.html", context)


def _agreement_under(version: Guidelines, stored: Statistics | None) -> AgreementRow | None:
    """People's agreement under a version of the guidelines, by the stored report."""
    people = stored.report["agreement"].get("people", {}) if stored else {}
    rows = people.get("by_guidelines", [])
    return next((row for row in rows if row["label"] == str(version.number)), None)


def _next(view: View, cursor: str) -> review_queue.QueueCase | None:
    """The case after the cursor; after the last case, the first."""
    filters = replace(view.filters, unsettled=view.filters.old is not None)
    for after in (cursor, ""):
        page = review_queue.page(view.dataset, view.version, filters, after, size=1)
        if page.opened:
            return page.opened
    return None


def _queue_case(view: View, comparison: Comparison) -> review_queue.QueueCase:
    return review_queue.case(comparison.pk, view.version, view.filters.old)


def _go_on(
    request: HttpRequest,
    view: View,
    done: review_queue.QueueCase,
    following: review_queue.QueueCase | None,
    sentence: str,
) -> HttpResponse:
    """Go on to the following case, with a sentence on the one that is done. For htmx: the following case, the
    row of the one that is done, and the latest Decisions, each for its place on the page."""
    if following:
        url = view.url("review_case", following.comparison.pk)
    else:
        url = view.url("review", view.dataset.pk, after="")
    if not _partial(request):
        messages.info(request, sentence)
        return HttpResponseRedirect(url)
    context = {
        "view": view,
        "sentence": sentence,
        "row": _row(view, done),
        "lately": _lately(view),
        **_case_context(view, following),
    }
    response = render(request, "review/answer.html", context)
    response["HX-Push-Url"] = url
    return response


@require_POST
def gold(request: HttpRequest, pk: int) -> HttpResponse:
    """Make the Comparison gold, with the sent outcome as its known answer; with none, ordinary again."""
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    form = GoldForm(request.POST)
    if form.is_valid():
        mark_gold(comparison, form.cleaned_data["outcome"])
    else:
        messages.error(request, "Nothing was changed: a known answer is left, right, tie or both bad.")
    return redirect("review_case", pk)


def _case(
    request: HttpRequest,
    view: View,
    comparison: Comparison,
    form: SettleForm | None = None,
    conflict: bool = False,
    status: int = 200,
) -> HttpResponse:
    if not _partial(request):
        page = review_queue.page(view.dataset, view.version, view.filters, view.after, opened=comparison.pk)
        return _page(request, view, page, form, conflict, status)
    context = {"view": view, **_case_context(view, _queue_case(view, comparison), form, conflict)}
    return render(request, "review/case.html", context, status=status)


def _page(
    request: HttpRequest,
    view: View,
    page: review_queue.Page,
    form: SettleForm | None = None,
    conflict: bool = False,
    status: int = 200,
) -> HttpResponse:
    context = {
        **_queue_context(view, page),
        **_case_context(view, page.opened, form, conflict),
        "tabs": view.tabs,
        "model_accuracy": view.form.model_accuracy if view.filters.queue == ReviewQueue.MODEL else None,
        "lately": _lately(view),
        "on_case": request.resolver_match is not None and request.resolver_match.url_name != "review",
    }
    return render(request, "review/review.html", context, status=status)


def _queue_context(view: View, page: review_queue.Page) -> dict[str, object]:
    return {
        "view": view,
        "dataset": view.dataset,
        "rows": [_row(view, case) for case in page.cases],
        "more_url": page.after and view.url("review", view.dataset.pk, after=page.after),
    }


@dataclass(frozen=True)
class Row:
    """A line of the queue. The sides of the votes are hidden until the reviewer has settled the case or
    chosen to see them: a third opinion that has seen the other two is none."""

    case: review_queue.QueueCase
    url: str
    undo_url: str
    left: str
    excerpt: str
    certainty: str
    votes_shown: bool

    @property
    def age(self) -> str:
        """How long the case has waited, in its largest unit: "3 d"."""
        if self.case.since is None:
            return ""
        waited = timezone.now() - self.case.since
        units = [("d", 86_400), ("h", 3_600), ("min", 60)]
        whole = ((int(waited.total_seconds() // seconds), name) for name, seconds in units)
        return next((f"{n} {name}" for n, name in whole if n), "now")

    @property
    def settled(self) -> bool:
        decision = self.case.decision
        return decision is not None and decision.method == Decision.Method.REVIEWER

    @property
    def marks(self) -> list[str]:
        """One outcome for each vote, sides as on this reviewer's page."""
        return [outcome for outcome, n in sorted(self.case.votes.items()) for _ in range(min(n, 9))]

    @property
    def split(self) -> str:
        """The votes without their sides, the largest number first: "2 : 1"."""
        return " : ".join(str(n) for n in sorted(self.case.votes.values(), reverse=True))

    @property
    def suggested(self) -> str:
        margin = self.case.margin or 0
        return "tie" if margin == 0 else "a" if margin > 0 else "b"


def _row(view: View, case: review_queue.QueueCase) -> Row:
    comparison = case.comparison
    return Row(
        case=case,
        url=view.url("review_case", comparison.pk),
        undo_url=view.url("unsettle", comparison.pk),
        left=decide.left_of(comparison, view.user),
        excerpt=case.excerpt,
        certainty=_certainty(view.version, case.margin),
        votes_shown=view.votes_shown,
    )


def _certainty(version: ModelVersion | None, margin: float | None) -> str:
    """How sure the model is of the side it picks, without the side; "" while it is not calibrated."""
    if version is None or margin is None:
        return ""
    probability = Suggestion(version=version, margin=abs(margin)).probability
    return "" if probability is None else f"{shares.in_words(probability)} sure"


def _excerpts(decisions: Iterable[Decision]) -> dict[int, str]:
    return Prompt.objects.filter(pk__in={decision.comparison.prompt_id for decision in decisions}).excerpts()


def _lately(view: View) -> list[dict[str, object]]:
    """This reviewer's latest current Decisions, newest first, each with the URL to undo it."""
    since = timezone.now() - _LATELY
    decisions = (
        Decision.objects.current()
        .by_reviewers_of(view.dataset)
        .filter(decided_by=view.user, created_at__gte=since)
        .select_related("comparison")
        .order_by("-pk")[:5]
    )
    excerpts = _excerpts(decisions)
    return [
        {
            "decision": decision,
            "word": word(decision.outcome, decide.left_of(decision.comparison, view.user)),
            "excerpt": excerpts[decision.comparison.prompt_id],
            "url": view.url("review_case", decision.comparison_id),
            "undo_url": view.url("unsettle", decision.comparison_id),
        }
        for decision in decisions
    ]


def _case_context(
    view: View,
    case: review_queue.QueueCase | None,
    form: SettleForm | None = None,
    conflict: bool = False,
) -> dict[str, object]:
    """All about one case, in four queries."""
    if case is None:
        return {"comparison": None}
    comparison = case.comparison
    left = decide.left_of(comparison, view.user)
    sides = (comparison.a, comparison.b) if left == "a" else (comparison.b, comparison.a)
    outcomes = ("a", "b") if left == "a" else ("b", "a")
    decisions = list(comparison.decisions.select_related("decided_by", "undone_by").order_by("-pk"))
    current = next((decision for decision in decisions if decision.is_current), None)
    judgments = list(
        comparison.judgments.select_related("annotator__user", "version").order_by("annotator", "pk")
    )
    flags = list(comparison.flags.select_related("annotator__user").order_by("pk"))
    return {
        "comparison": comparison,
        "case": case,
        "left": left,
        "panes": [
            {
                "name": name,
                "outcome": outcome,
                "completion": completion,
                "words": len(completion.text.split()),
            }
            for name, outcome, completion in zip(("Left", "Right"), outcomes, sides, strict=True)
        ],
        "earlier": comparison.prompt.messages[:-1],
        "last_messages": comparison.prompt.messages[-1:],
        "judgments": judgments,
        "flags": flags,
        "suggestions": _suggestions(comparison, view.dataset),
        "decisions": decisions,
        "current": current,
        "settled": current is not None and current.method == Decision.Method.REVIEWER,
        "token": decide.token_of(
            comparison,
            [judgment for judgment in judgments if judgment.is_current],
            [flag for flag in flags if flag.closed_at is None],
            [current] if current else [],
        ),
        "form": form,
        "conflict": conflict,
        "votes_shown": view.votes_shown or conflict or form is not None,
        "reasons": _REASON_KEYS,
        "settle_url": view.url("settle", comparison.pk),
        "undo_url": view.url("unsettle", comparison.pk),
        "group_url": view.url(
            "review", view.dataset.pk, queue="all", group=comparison.prompt.group, after=""
        ),
    }


_REASON_KEYS = [
    (key, reason.value, reason.label, NOTE_WANTED.get(reason, ""))
    for key, reason in zip(
        "msagb",
        [
            Decision.Reason.MODEL_WRONG,
            Decision.Reason.SLIP,
            Decision.Reason.AMBIGUOUS,
            Decision.Reason.GUIDELINE_GAP,
            Decision.Reason.BAD_DATA,
        ],
        strict=True,
    )
]


def _suggestions(comparison: Comparison, dataset: Dataset) -> list[dict[str, object]]:
    """The Suggestions: of the version that serves the Dataset first, of baselines last. `lead` and
    `probability` are of the preferred side."""
    held = dataset.held_by_id

    def serves(version: ModelVersion) -> bool:
        return version.pk == held if held else version.state == ModelVersion.State.ACTIVE

    suggestions = sorted(
        comparison.suggestions.select_related("version"),
        key=lambda suggestion: (
            not serves(suggestion.version),
            suggestion.version.kind == ModelVersion.Kind.BASELINE,
            -suggestion.version.created_at.timestamp(),
        ),
    )
    return [
        {
            "version": suggestion.version,
            "outcome": suggestion.outcome,
            "active": serves(suggestion.version),
            "lead": abs(suggestion.margin),
            "probability": Suggestion(version=suggestion.version, margin=abs(suggestion.margin)).probability,
        }
        for suggestion in suggestions
    ]
