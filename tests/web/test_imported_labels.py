"""An imported label is a label, and only what an annotator says is a vote: pages count them apart."""

import html
import re

import pytest
from django.urls import reverse

from tests.factories import AnnotatorFactory, JudgmentFactory
from tests.sources.test_pages import SVG, pair
from tests.test_words import texts_of_html
from workbench.models import Annotator, Comparison, Dataset, Judgment
from workbench.pipeline import quality
from workbench.pipeline.decisions import majority
from workbench.worker import tasks

pytestmark = pytest.mark.django_db

COUNTED = re.compile(
    r"\b[1-9][\d,]* (?:more |other )?votes?\b(?! and labels?| to come| to go| needed)", re.IGNORECASE
)
"""A number of votes that were given; not those that are still wanted."""


@pytest.fixture(autouse=True)
def quick_pen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality.charts, "drawn", lambda panel, theme: SVG)


@pytest.fixture
def labelled(dataset: Dataset) -> Comparison:
    """Thirty pairs of two sources with two imported labels each, and figures computed. Gives the last pair,
    whose labels differ."""
    sources = [Annotator.objects.create(source=f"crowd {n}.jsonl") for n in (1, 2)]
    for number in range(30):
        comparison = pair(dataset, "north", "south")
        for source in sources:
            differs = number == 29 and source is sources[1]
            outcome = "b" if differs or number % 3 == 0 else "a"
            JudgmentFactory.create(comparison=comparison, annotator=source, outcome=outcome, stage="imported")
    majority.derive(dataset)
    tasks.carry_out(quality.begin(dataset).pk)
    return comparison


def pages_of(comparison: Comparison) -> dict[str, str]:
    dataset = comparison.dataset_id
    names = ["dataset", "data", "review", "quality", "sources", "people", "releases", "model", "topics"]
    return {name: reverse(name, args=[dataset]) for name in names} | {
        "quality, labels": reverse("quality", args=[dataset]) + "?label_source=imported",
        "sources, labels": reverse("sources", args=[dataset]) + "?votes=imported",
        "review, labels": reverse("review", args=[dataset]) + "?queue=labels",
        "case": reverse("review_case", args=[comparison.pk]),
        "prompt": reverse("prompt", args=[comparison.prompt_id]),
    }


def test_no_page_counts_imported_labels_as_votes(labelled, alice, as_user):
    said = {}
    for name, url in pages_of(labelled).items():
        texts = texts_of_html(as_user(alice).get(url).content.decode())
        said[name] = [text for text in texts if COUNTED.search(text)]

    assert {name: texts for name, texts in said.items() if texts} == {}


def test_a_prompt_says_how_many_votes_and_how_many_imported_labels_a_pair_has(labelled, alice, as_user):
    def page() -> str:
        response = as_user(alice).get(reverse("prompt", args=[labelled.prompt_id]))
        return html.unescape(response.content.decode())

    before = page()
    JudgmentFactory.create(comparison=labelled, annotator=AnnotatorFactory.create())

    assert "<summary>2 imported labels</summary>" in before
    assert "<summary>1 vote and 2 imported labels</summary>" in page()


def test_the_figures_of_imported_labels_say_imported_labels(labelled, alice, as_user):
    page = as_user(alice).get(pages_of(labelled)["quality, labels"]).content.decode()
    board = as_user(alice).get(pages_of(labelled)["sources, labels"]).content.decode()

    assert "with two or more imported labels." in page
    assert '<th scope="col" class="number">Imported labels</th>' in board
    assert "60 imported labels on pairs of two sources" in board
    assert Judgment.objects.by_people().count() == 0
