"""Prompts that are like a given text, and the topics of a Dataset. Vectors are looked up: no model is loaded
here."""

from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from workbench import access
from workbench.forms.datasets import SimilarForm
from workbench.models import Completion, Dataset, Prompt, Role, Run, Topic, TopicFigure
from workbench.pipeline.topics import figures
from workbench.pipeline.topics import run as pipeline
from workbench.pipeline.vectors import similar as ranking
from workbench.templatetags.toasts import saved
from workbench.views import orders
from workbench.worker import encoders, tasks

SHOWN = 30


@dataclass(frozen=True)
class Found:
    """A Prompt that is like the given text, with its best matching answer (None without any)."""

    prompt: int
    excerpt: str
    similarity: float
    answer: Completion | None


@require_safe
def similar(request: HttpRequest, pk: int) -> HttpResponse:
    """The prompts nearest to a prompt, or to an answer, with the answer that matches best. Not for
    annotators: what others wrote of the same thing would lead them."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    form = SimilarForm(request.GET)
    asked = form.cleaned_data if form.is_valid() else {}
    completion = _completion(dataset, asked.get("completion"))
    prompt = completion.prompt_id if completion else asked.get("prompt")
    context: dict[str, object] = {"dataset": dataset, "tab": "data", "answer": completion}
    excerpts = Prompt.objects.of(dataset).filter(pk=prompt).excerpts() if prompt else {}
    if prompt in excerpts:
        context |= {"prompt": prompt, "excerpt": excerpts[prompt]}
        try:
            context["found"] = (
                _like_answer(dataset, completion) if completion else _like_prompt(dataset, prompt)
            )
        except ranking.NoVector:
            context |= {"missing": True, "fault": encoders.fault(), **_computing(dataset)}
    return render(request, "datasets/similar.html", context)


def _completion(dataset: Dataset, pk: int | None) -> Completion | None:
    return Completion.objects.of(dataset).shortened().filter(pk=pk).first() if pk else None


def _like_prompt(dataset: Dataset, prompt: int) -> list[Found]:
    near = ranking.like_prompt(dataset, prompt, SHOWN)
    best = ranking.best_answers(dataset, prompt, [key for key, _ in near])
    return _shown([(key, best[key][0] if key in best else None, cosine) for key, cosine in near])


def _like_answer(dataset: Dataset, completion: Completion) -> list[Found]:
    return _shown([*ranking.like_completion(dataset, completion.pk, SHOWN)])


def _shown(rows: list[tuple[int, int | None, float]] | list[tuple[int, int, float]]) -> list[Found]:
    excerpts = Prompt.objects.filter(pk__in=[prompt for prompt, *_ in rows]).excerpts()
    answers = Completion.objects.filter(pk__in=[key for _, key, _ in rows if key]).shortened().in_bulk()
    return [
        Found(prompt, excerpts[prompt], max(0.0, cosine), answers.get(key) if key else None)
        for prompt, key, cosine in rows
        if prompt in excerpts
    ]


def _computing(dataset: Dataset) -> dict[str, object]:
    """The last Run of vectors, where it is open or has failed."""
    last = Run.objects.of(dataset).of_kind(Run.Kind.VECTORS).order_by("-pk").first()
    return {"run": last} if last and (last.is_open or last.state == Run.State.FAILED) else {}


Place = tuple[bool, float, int]


def _lowest(figure: TopicFigure | None, topic: Topic) -> Place:
    """The lowest figure first, topics without the figure last."""
    value = figure["value"] if figure else None
    return value is None, value or 0.0, -topic.size


SORTS: dict[str, tuple[str, Callable[[Topic], Place]]] = {
    "size": ("Largest", lambda topic: (False, -topic.size, topic.number)),
    "thinnest": ("Smallest", lambda topic: (False, topic.size, topic.number)),
    "accuracy": ("Model least often right", lambda topic: _lowest(topic.figures.get("accuracy"), topic)),
    "agreement": ("People agree least", lambda topic: _lowest(topic.figures.get("agreement"), topic)),
}


@require_safe
def topics(request: HttpRequest, pk: int) -> HttpResponse:
    """The topics of the Dataset with their stored figures."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    sort = orders.chosen(request, SORTS)
    rows = sorted(Topic.objects.of(dataset), key=SORTS[sort][1])
    runs = Run.objects.of(dataset).of_kind(Run.Kind.TOPICS).order_by("-pk")
    last = runs.first()
    context = {
        "dataset": dataset,
        "tab": "data",
        "topics": rows,
        "largest": max((topic.size for topic in rows), default=0),
        "prompts": sum(topic.size for topic in rows),
        "thin": {topic.number for topic in rows if figures.is_thin(topic)},
        "disputed": figures.disputed(rows),
        "version": next((topic.figures.get("version") for topic in rows if topic.figures), None),
        **orders.links(SORTS, sort),
        "last": last,
        "computed": runs.filter(state=Run.State.DONE).first(),
        "fewest": pipeline.FEWEST_PROMPTS,
        "fault": "" if rows else encoders.fault(),
    }
    return render(request, "datasets/topics.html", context)


@require_POST
def topics_renew(request: HttpRequest, pk: int) -> HttpResponse:
    """Have a worker compute the topics now."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    run = pipeline.begin(dataset, access.person(request.user))
    tasks.enqueue_run(run)
    saved(request, "The topics are being computed. They appear here when they are ready.")
    return redirect("topics", pk=pk)
