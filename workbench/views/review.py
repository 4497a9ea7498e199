"""The review pages: the queue of disagreements on the left, one case on the right."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from urllib.parse import parse_qsl, urlsplit

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_POST
from django.views.decorators.vary import vary_on_headers

from workbench import access
from workbench.forms.review import NOTE_WANTED, GoldForm, ReviewFilterForm, SettleForm, UnsettleForm
from workbench.models import (
    Comparison,
    Dataset,
    Decision,
    ModelVersion,
    ReviewQueue,
    Role,
    SavedView,
    Suggestion,
    User,
)
from workbench.models.dataset import excerpt_columns, excerpt_of
from workbench.pipeline import quality
from workbench.pipeline.data import columns
from workbench.pipeline.data.fields import BadSelection
from workbench.pipeline.data.finding import Selection, Value
from workbench.pipeline.datasets.overview import QUEUE_COUNTS
from workbench.pipeline.quality.reports import agreement_under
from workbench.pipeline.questions import replying
from workbench.pipeline.review import chips, decide
from workbench.pipeline.review import queue as review_queue
from workbench.pipeline.review.gold import mark_gold
from workbench.pipeline.scoring import suggestions
from workbench.templatetags.figures import percent
from workbench.templatetags.sides import word
from workbench.templatetags.toasts import saved
from workbench.views import orders, page_to_return_to
from workbench.views.pictures import BURN_DAYS, BurnDown

CHIPS = 8
"""Filters of one kind that are offered."""

_LATELY = timedelta(hours=12)
LATELY_SHOWN = 5
GUIDELINES_SHOWN = 10
GAP_SORTS: orders.Sorts = {
    "newest": ("Newest", ["-pk"]),
    "oldest": ("Oldest", ["pk"]),
    "reviewer": ("By reviewer", ["decided_by__username", "-pk"]),
}
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
class Chip:
    """A filter that one click sets or removes, and how many cases it leaves; None where counting them takes
    too long for a page."""

    label: str
    url: str
    is_set: bool
    count: int | None = None


@dataclass
class View:
    """The part of the queue that the reviewer looks at, by the parameters of the URL."""

    dataset: Dataset
    user: User
    form: ReviewFilterForm
    version: ModelVersion | None
    filters: review_queue.Filters
    after: str
    votes_shown: bool
    asks_for_fields: bool = False

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

    @property
    def kept(self) -> list[tuple[str, str]]:
        """The parameters of this page, for the hidden fields of a form."""
        return parse_qsl(urlsplit(self.url("review", self.dataset.pk, after="", as_of="")).query)

    @cached_property
    def counts(self) -> chips.Counts | None:
        """How many cases each filter leaves; None where counting them takes too long for this page."""
        versions = (self.version, self.filters.old)
        is_slow = self.form.sizes[0] and not columns.is_ready(self.dataset, self.form.serving, versions)
        # Beside a search, whose query is one more already, the page asks for them later.
        if (is_slow or self.filters.prompts is not None) and not self.has_fields:
            return None
        return self.counted

    @cached_property
    def counted(self) -> chips.Counts:
        return chips.counted(self.dataset, self.form.serving, self.version, self.filters, self.form.selection)

    @property
    def has_fields(self) -> bool:
        """Whether the page has the fields of the Data page: one is chosen, or somebody asked for them."""
        return self.asks_for_fields or not self.form.selection.is_all

    @property
    def count_url(self) -> str:
        return self.url("review", self.dataset.pk, part="counts")

    @property
    def fields_url(self) -> str:
        return self.url("review", self.dataset.pk, part="filters")

    @property
    def chips(self) -> list[tuple[str, list[Chip]]]:
        """The quick filters by kind, the most frequent first. Without counts, all reasons and sources."""
        filters, counts = self.filters, self.counts
        whys = {
            why.value: str(why.label)
            for why in review_queue.Why
            if filters.old or why not in review_queue.FLIPS
        }
        lengths = {kind.value: str(kind.label) for kind in review_queue.Lengths}
        # The names are one query more, unless the form has looked up an annotator.
        has_names = counts and (self.has_fields or filters.annotator)
        people = self.form.names if has_names else {}
        if counts:
            sources = list(counts.source)
        else:
            sources = self.form.sources if filters.prompts is None else [filters.source]
        kinds = [
            ("why", "Reason", filters.why, whys),
            ("source", "Answer by", filters.source, {name: name for name in sources}),
            ("annotator", "Vote by", str(filters.annotator or ""), people),
            ("lengths", "Lengths", filters.lengths, lengths),
        ]
        groups = []
        for kind, title, chosen, labels in kinds:
            numbers: Mapping[str, int] | None = getattr(counts, kind) if counts else None
            offered = [v for v in labels if v and (v == chosen or numbers is None or numbers.get(v))]
            offered.sort(key=lambda value: (value != chosen, -(numbers or {}).get(value, 0)))
            if chosen or len(offered) > 1 or kind == "why":
                groups.append(
                    (title, [self._chip(kind, v, labels[v], v == chosen, numbers) for v in offered[:CHIPS]])
                )
        return [(title, group) for title, group in groups if group]

    def _chip(
        self, kind: str, value: str, label: str, is_set: bool, numbers: Mapping[str, int] | None
    ) -> Chip:
        url = self.url("review", self.dataset.pk, after="", **{kind: "" if is_set else value})
        return Chip(label, url, is_set, None if numbers is None else numbers.get(value, 0))

    def _views(self) -> list[tuple[str, list[Chip]]]:
        """Saved views of the Data page. A view of a field that is no filter now is not offered."""
        now = self.form.selection.query
        found = []
        for view in SavedView.objects.seen_by(self.user, self.dataset):
            try:
                query = Selection.parse(view.query, self.dataset.facet_keys).query
            except BadSelection:
                continue
            is_set = bool(query) and query == now
            found.append(Chip(view.name, self._where("" if is_set else query), is_set))
        return [("Saved view", found)]

    def _where(self, query: str) -> str:
        return self.url("review", self.dataset.pk, after="", where=query)

    @property
    def fields(self) -> list[tuple[str, list[Chip]]]:
        """The fields of the Data page: each with its values, and how many cases each value leaves."""
        facets = self.counts.found.facets if self.counts and self.has_fields else []
        fields = [
            (
                facet.label,
                [
                    Chip(value.words, self._where(self._with(value)), value.chosen, value.count)
                    for value in facet.values
                ],
            )
            for facet in facets
            if any(value.chosen for value in facet.values)
            or (len(facet.values) > 1 and facet.name != "source")  # there is a quick filter for it
        ]
        return [(title, group) for title, group in [*self._views(), *fields] if group]

    def _with(self, value: Value) -> str:
        return self.form.selection.with_value(value.name, value.value).query

    @property
    def votes_url(self) -> str:
        return self.url("review", self.dataset.pk, after="", votes="" if self.votes_shown else "shown")

    @property
    def orders(self) -> list[Chip]:
        return [
            Chip(
                str(order.label),
                self.url("review", self.dataset.pk, after="", order=order.value),
                self.filters.order == order,
            )
            for order in review_queue.Order
        ]

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
            "q": self.form.cleaned_data.get("q", ""),
            "where": self.form.selection.query,
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
        asks_for_fields=request.GET.get("part") == "filters",
    )


@require_GET
@vary_on_headers("HX-Request")
def queue(request: HttpRequest, pk: int) -> HttpResponse:
    """The queue with its first case beside it; as an htmx partial, the next rows of the queue, or with
    `part=counts` or `part=filters` the filters with their counts."""
    view = _view(request, access.dataset_for(request.user, pk, Role.REVIEWER))
    if _partial(request) and request.GET.get("part") in ("counts", "filters"):
        view.counts = view.counted  # reads the columns, which the page did not wait for
        return render(request, "review/filters.html", {"view": view, "dataset": view.dataset})
    if _partial(request):
        page = review_queue.page(view.dataset, view.version, view.filters, view.after)
        return render(request, "review/rows.html", _queue_context(view, page))
    return _page(request, view, _whole_page(view))


def _whole_page(view: View, opened: int | None = None) -> review_queue.Page:
    return review_queue.page(
        view.dataset, view.version, view.filters, view.after, opened=opened, known=view.form.sizes
    )


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
    answer = {name: form.cleaned_data[name] for name in ("outcome", "reason", "note", "blind_outcome")}
    result = decide.settle(comparison, view.user, seen_token=form.cleaned_data["seen"], **answer)
    if isinstance(result, decide.Conflict):
        return _case(request, view, comparison, form=form, conflict=True, status=409)
    if page := page_to_return_to(request):
        saved(request, "Settled the pair.")
        return HttpResponseRedirect(page)
    sentence = f"Settled: {word(result.outcome, decide.left_of(comparison, view.user))}."
    return _go_on(request, view, _queue_case(view, comparison), _next(view, comparison), sentence)


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
    if page := page_to_return_to(request):
        messages.info(request, "Undone: the pair is as it was before.")
        return HttpResponseRedirect(page)
    case = _queue_case(view, comparison)
    return _go_on(request, view, case, case, "Undone: the pair is as it was before.")


@require_GET
def guideline_gaps(request: HttpRequest, pk: int) -> HttpResponse:
    """Decisions with the reason "guideline gap", beside the guidelines, and people's agreement under each
    version of the guidelines."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    versions = dataset.guidelines.order_by("-number")[:GUIDELINES_SHOWN]
    stored = quality.stored(dataset)
    report = stored.report if stored else None
    sort = orders.chosen(request, GAP_SORTS)
    ordered = decide.guideline_gaps(dataset).order_by(*GAP_SORTS[sort][1])
    page = Paginator(ordered, 50).get_page(request.GET.get("page"))
    context = {
        "dataset": dataset,
        "gaps": [(gap, excerpt_of(vars(gap))) for gap in page],
        "page": page,
        **orders.links(GAP_SORTS, sort),
        "guidelines": next(iter(versions), None),
        "versions": [(version, agreement_under(report, version.number)) for version in versions],
        "stored": stored,
    }
    return render(request, "review/guideline_gaps.html", context)


def _next(view: View, done: Comparison) -> review_queue.QueueCase | None:
    """The next case of the same Prompt; after the last of them, the case after the first of them; after the
    last case of the queue, the first."""
    filters = replace(view.filters, unsettled=view.filters.old is not None)
    of_prompt = replace(filters, prompts=frozenset([done.prompt_id]))
    if view.filters.prompts is None or done.prompt_id in view.filters.prompts:
        page = review_queue.page(view.dataset, view.version, of_prompt, _cursor(view, done), size=1)
        if page.opened:
            return page.opened
    for after in (_cursor_of_first(view, done), ""):
        page = review_queue.page(view.dataset, view.version, filters, after, size=1)
        if page.opened:
            return page.opened
    return None


def _cursor(view: View, comparison: Comparison) -> str:
    return review_queue.cursor_of(comparison, view.version, view.filters)


def _cursor_of_first(view: View, done: Comparison) -> str:
    """The cursor of the first case of the Prompt among those settled since the page was opened."""
    since = Decision.objects.current().filter(
        method=Decision.Method.REVIEWER, created_at__gte=view.filters.as_of, comparison__prompt=done.prompt_id
    )
    settled = Comparison.objects.filter(pk__in=since.values("comparison")).exclude(pk=done.pk)
    return review_queue.first_of([_cursor(view, comparison) for comparison in [done, *settled]])


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
    decisions, lately = _decisions(view, following.comparison if following else None)
    context = {
        "view": view,
        "sentence": sentence,
        "row": _row(view, done),
        "lately": _lately(view, lately),
        **_case_context(view, following, decisions),
    }
    response = render(request, "review/answer.html", context)
    response["HX-Push-Url"] = url
    return response


@require_POST
def gold(request: HttpRequest, pk: int) -> HttpResponse:
    """Make the Comparison gold, with the sent outcome as its known answer and an explanation; with none,
    ordinary again."""
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    form = GoldForm(request.POST)
    if form.is_valid():
        sent = form.cleaned_data
        mark_gold(comparison, sent["outcome"], access.person(request.user), sent["note"])
    elif "note" in form.errors:
        messages.error(request, "Nothing was changed: an explanation has at most 1,000 characters.")
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
        return _page(request, view, _whole_page(view, comparison.pk), form, conflict, status)
    decisions, _ = _decisions(view, comparison)
    context = {"view": view, **_case_context(view, _queue_case(view, comparison), decisions, form, conflict)}
    return render(request, "review/case.html", context, status=status)


def _page(
    request: HttpRequest,
    view: View,
    page: review_queue.Page,
    form: SettleForm | None = None,
    conflict: bool = False,
    status: int = 200,
) -> HttpResponse:
    decisions, lately = _decisions(view, page.opened.comparison if page.opened else None)
    context = {
        **_queue_context(view, page),
        **_case_context(view, page.opened, decisions, form, conflict),
        "tabs": view.tabs,
        "burn_down": _burn_down(view, page.facts),
        "model_accuracy": view.form.model_accuracy if view.filters.queue == ReviewQueue.MODEL else None,
        "lately": _lately(view, lately),
        "on_case": request.resolver_match is not None and request.resolver_match.url_name != "review",
    }
    return render(request, "review/review.html", context, status=status)


def _burn_down(view: View, facts: list[review_queue.Facts] | None) -> BurnDown | None:
    """Open cases of the whole queue over the last days; None where the page has no facts of it."""
    if facts is None:
        return None
    start = timezone.now() - timedelta(days=BURN_DAYS)
    settled = review_queue.settled_since(view.dataset, view.version, view.filters.queue, start)
    return BurnDown.of(facts, settled)


def _queue_context(view: View, page: review_queue.Page) -> dict[str, object]:
    return {
        "view": view,
        "dataset": view.dataset,
        "rows": [
            _row(
                view,
                case,
                follows=before is not None and before.comparison.prompt_id == case.comparison.prompt_id,
            )
            for before, case in zip([None, *page.cases], page.cases, strict=False)
        ],
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
    certainty: str
    votes_shown: bool
    follows: bool
    """It is of the Prompt of the line before."""

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
        """One outcome for each vote and imported label, sides as on this reviewer's page."""
        return [outcome for outcome, n in sorted(self.case.votes.items()) for _ in range(min(n, 9))]

    @property
    def split(self) -> str:
        """The votes and labels without their sides, the largest number first: "2 : 1"."""
        return " : ".join(str(n) for n in sorted(self.case.votes.values(), reverse=True))

    @property
    def dots(self) -> str:
        """A dot for each vote and label, one form for each outcome, without its side: "●●○"."""
        counts = sorted(self.case.votes.values(), reverse=True)
        return "".join(dot * min(n, 9) for dot, n in zip("●○◌◍◎", counts, strict=False))

    @property
    def suggested(self) -> str:
        margin = self.case.margin or 0
        return "tie" if margin == 0 else "a" if margin > 0 else "b"


def _row(view: View, case: review_queue.QueueCase, follows: bool = False) -> Row:
    comparison = case.comparison
    return Row(
        case=case,
        url=view.url("review_case", comparison.pk),
        undo_url=view.url("unsettle", comparison.pk),
        left=decide.left_of(comparison, view.user),
        certainty=_certainty(view.version, case.margin),
        votes_shown=view.votes_shown,
        follows=follows,
    )


def _certainty(version: ModelVersion | None, margin: float | None) -> str:
    """How sure the model is of the side it picks, without the side; "" while it is not calibrated."""
    if version is None or margin is None:
        return ""
    probability = Suggestion(version=version, margin=abs(margin)).probability
    return "" if probability is None else f"{percent(probability)} sure"


def _decisions(view: View, comparison: Comparison | None) -> tuple[list[Decision], list[Decision]]:
    """The Decisions of the Comparison, and this reviewer's latest current ones, newest first, each with the
    columns of its excerpt. One query."""
    since = timezone.now() - _LATELY
    own = Decision.objects.current().by_reviewers_of(view.dataset)
    latest = own.filter(decided_by=view.user, created_at__gte=since).order_by("-pk")[:LATELY_SHOWN]
    keys = Decision.objects.filter(pk__in=latest.values("pk")).order_by().values("pk")
    keys = keys.union(Decision.objects.filter(comparison=comparison).order_by().values("pk"))
    related = ("comparison", "decided_by", "undone_by")
    shown = Decision.objects.filter(pk__in=keys).select_related(*related).order_by("-pk")
    decisions = list(shown.annotate(**excerpt_columns("comparison__prompt__")))
    lately = [
        decision
        for decision in decisions
        if decision.is_current
        and decision.method == Decision.Method.REVIEWER
        and decision.decided_by == view.user
        and decision.created_at >= since
    ]
    of_case = [decision for decision in decisions if comparison and decision.comparison_id == comparison.pk]
    return of_case, lately[:LATELY_SHOWN]


def _lately(view: View, decisions: Iterable[Decision]) -> list[dict[str, object]]:
    """This reviewer's latest Decisions, each with the URL to undo it."""
    return [
        {
            "decision": decision,
            "word": word(decision.outcome, decide.left_of(decision.comparison, view.user)),
            "excerpt": excerpt_of(vars(decision)),
            "url": view.url("review_case", decision.comparison_id),
            "undo_url": view.url("unsettle", decision.comparison_id),
        }
        for decision in decisions
    ]


def _case_context(
    view: View,
    case: review_queue.QueueCase | None,
    decisions: list[Decision],
    form: SettleForm | None = None,
    conflict: bool = False,
) -> dict[str, object]:
    """All about one case and its Decisions, in four queries."""
    if case is None:
        return {"comparison": None}
    comparison = case.comparison
    left = decide.left_of(comparison, view.user)
    sides = (comparison.a, comparison.b) if left == "a" else (comparison.b, comparison.a)
    outcomes = ("a", "b") if left == "a" else ("b", "a")
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
        "suggestions": suggestions.said_of(comparison, view.dataset),
        "questions": replying.about(view.dataset, [comparison], flags, judgments, decisions)[comparison.pk],
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
