"""A figure has one value and one wording, on whichever page and by whichever command it is read."""

import html
import json
import re
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from scoring.formats import EMPTY_COMPLETION, BadText, Scored
from tests.conftest import output_of
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    ModelVersionFactory,
    ScoreFactory,
    SuggestionFactory,
    UserFactory,
)
from tests.planted import has_learnt, judged_blind
from tests.quality.test_panels import report_with
from workbench.models import Member, ModelVersion, Release, Role, Run, Upload
from workbench.pipeline import imports
from workbench.pipeline.quality.panels import panels
from workbench.pipeline.releases import build
from workbench.worker import scorers, tasks

pytestmark = pytest.mark.django_db

LONG = "A long answer about water. " * 100
ROWS = [
    {"prompt": "What is dew?", "chosen": "Water on grass.", "rejected": "A kind of fish."},
    {"prompt": "What is dew?", "chosen": "Water on grass.", "rejected": "A kind of fish."},
    {"prompt": "What is dew?", "chosen": "Water on grass.", "rejected": "A kind of fish.", "note": "twice"},
    {"prompt": "What is fog?", "chosen": "A cloud on the ground.", "rejected": LONG},
    {"prompt": "What is fog?", "chosen": LONG, "rejected": "A cloud on the ground.", "note": "no"},
    {"prompt": "What is rain?", "chosen": "Drops from a cloud.", "rejected": ""},
]
"""Two rows repeat the first, the fifth contradicts the fourth: of six rows, three labels stand."""

LABELS = "3 labels (left out: 2 duplicates, 1 contradiction)"


def by_length(pairs):
    if empty := [place for place, (_, text) in enumerate(pairs) if not text]:
        raise BadText(empty[0], EMPTY_COMPLETION)
    return [Scored(len(text) / 1000, 9, 9, 0, 3 if len(text) > 1000 else 0, "fp32") for _, text in pairs]


@pytest.fixture(autouse=True)
def scored_here(monkeypatch):
    """No weights are loaded: a text of more than 1,000 characters is cut."""
    monkeypatch.setattr(scorers, "scorer_of", lambda version: by_length)
    monkeypatch.setattr(scorers, "load_scorer", lambda version: by_length)


@pytest.fixture
def version():
    return ModelVersionFactory.create(name="reader", state="active", max_length=400, temperature=1.0)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weather.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def admin(dataset, as_user):
    user = UserFactory.create(username="ada", is_staff=True)
    Member.objects.create(dataset=dataset, user=user, role=Role.ADMIN)
    return as_user(user)


def words_of(page: str) -> str:
    """What a reader sees of the page, in one line, with a bar after each cell."""
    main = re.sub(r"<(script|style|title)\b.*?</\1>", " ", page.partition("<main")[2], flags=re.DOTALL)
    main = re.sub(r"</t[dh]>", " | ", main)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def test_labels_are_counted_alike_before_and_after_the_import(file, dataset, version, admin):
    looked_at = imports.preview(BytesIO(file.read_bytes()), dataset, name=file.name)
    checked = output_of("import_dataset", dataset.name, str(file), dry_run=True)
    imported = output_of("import_dataset", dataset.name, str(file))
    output_of("statistics", dataset.name)

    assert looked_at.read == len(ROWS)
    assert looked_at.result.labels == LABELS
    assert f", {LABELS}. Format:" in checked
    assert f", {LABELS}. Format:" in imported
    for page in ("home", "dataset", "quality"):
        args = [] if page == "home" else [dataset.pk]
        assert "3 imported labels" in words_of(admin.get(reverse(page, args=args)).content.decode()), page
    assert "3 imported labels on 3 pairs" in output_of("statistics", dataset.name)


@pytest.mark.django_db(transaction=True)  # progress is told through a connection of its own
def test_an_import_says_its_labels_as_its_preview_did(file, dataset, version, admin):
    with file.open("rb") as sent:
        admin.post(reverse("import", args=[dataset.pk]), {"file": sent})
    preview = reverse("import_preview", args=[Upload.objects.get().pk])

    before = words_of(admin.get(preview).content.decode())
    admin.post(preview, {"format": "auto"})
    run = Run.objects.get(kind="import")
    tasks.carry_out(run.pk)

    after = words_of(admin.get(preview).content.decode())
    page = words_of(admin.get(reverse("run", args=[run.pk])).content.decode())
    assert [text.count(LABELS) for text in (before, after, page)] == [1, 1, 1]
    assert "about 2 answers are cut at 400 tokens (by 4 characters a token)" in before
    assert " 0 " not in page.partition("Labels")[2]


def test_cut_texts_are_counted_by_one_function_wherever_they_are_said(file, dataset, version, admin):
    output_of("import_dataset", dataset.name, str(file))

    scored = output_of("score", dataset.name, model="reader")

    sentence = "1 answer is cut at 400 tokens"
    run = Run.objects.get(kind="score", version=version)
    assert f"reader: {sentence}" in scored
    overview = words_of(admin.get(reverse("dataset", args=[dataset.pk])).content.decode())
    assert sentence in overview
    assert sentence in words_of(admin.get(reverse("run", args=[run.pk])).content.decode())
    assert "about" not in overview


FIGURES = {
    # Not what a figure of Quality needs of them, and has.
    "labels": r"(?<!needs )(?<!have )\b(\d[\d,]*) (?:imported )?labels?\b",
    "cut": r"(?<!about )\b([\d,]+) answers? (?:is|are) cut at 400 tokens",
    "answers": r"of ([\d,]+) answers\b",
    "prompts": r"\bPrompts ([\d,]+)\b",
    "votes": r"\b([\d,]+) votes? and 3 imported|\bVotes ([\d,]+) of",
    "empty": r"\b(\d+) empty, so never scored",
}
"""What stands beside a figure; in brackets, the figure."""


@pytest.mark.django_db(transaction=True)  # progress is told through a connection of its own
def test_each_figure_of_a_dataset_has_one_value_on_all_pages_and_in_all_commands(
    file, dataset, version, admin
):
    """With rows that repeat, an empty answer, a cut text, labels, votes, and a model that learnt some. Of
    accuracy tests/test_learnt_everywhere.py says the same."""
    with file.open("rb") as sent:
        admin.post(reverse("import", args=[dataset.pk]), {"file": sent})
    upload = Upload.objects.get()
    admin.post(reverse("import_preview", args=[upload.pk]), {"format": "auto"})
    tasks.carry_out(Run.objects.get(kind="import").pk)
    for comparison in dataset.comparisons.order_by("pk")[:2]:
        judged_blind(comparison, "a")
    has_learnt(version, ["What is rain?"])
    read = {"score": output_of("score", dataset.name)}
    read["evaluate"] = output_of("evaluate", "reader", on=dataset.name)
    read["statistics"] = output_of("statistics", dataset.name)
    release = build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))
    of_dataset = [dataset.pk]
    pages = {
        **{
            name: reverse(name, args=of_dataset)
            for name in ("dataset", "data", "quality", "runs", "model", "people", "review", "releases")
        },
        "labels": reverse("quality", args=of_dataset) + "?label_source=imported",
        "home": reverse("home"),
        "versions": reverse("versions"),
        "import": reverse("import_preview", args=[upload.pk]),
        "release": reverse("release", args=[release.pk]),
        "version": reverse("model_version", args=[*of_dataset, version.pk]),
        **{f"run of {run}": reverse("run", args=[run.pk]) for run in Run.objects.of(dataset)},
    }
    read |= {name: words_of(admin.get(url).content.decode()) for name, url in pages.items()}

    values = {
        figure: {
            (next(filter(None, match.groups())), name)
            for name, text in read.items()
            for match in re.finditer(beside, text)
        }
        for figure, beside in FIGURES.items()
    }

    assert {figure: {value for value, _ in readings} for figure, readings in values.items()} == {
        "labels": {"3"},
        "cut": {"1"},
        "answers": {"6"},
        "prompts": {"3"},
        "votes": {"2"},
        "empty": {"1"},
    }, values
    places = {figure: sorted({name for _, name in readings}) for figure, readings in values.items()}
    assert all(len(names) > 1 for names in places.values()), places


@pytest.fixture
def flattered(dataset, version):
    """It is right in all of 32 pairs that two people agree on; they differ on 8 more, so that no model should
    reach 89 %. Another one is wrong in every fourth."""
    people = AnnotatorFactory.create_batch(2)
    second_version = ModelVersionFactory.create(name="other", temperature=1.0)
    for number in range(40):
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        judged_blind(comparison, "a", people[0])
        judged_blind(comparison, "a" if number < 32 else "b", people[1])
        for model, margin in ((version, 1.0), (second_version, 1.0 if number % 4 else -1.0)):
            SuggestionFactory.create(comparison=comparison, version=model, margin=margin)
            for side, value in ((comparison.a, margin), (comparison.b, 0.0)):
                ScoreFactory.create(completion=side, version=model, value=value)
    return version


ABOVE = "100 % is 11.3 points above the human ceiling of 89 %: people do not agree that well"


def test_an_accuracy_above_the_human_ceiling_carries_a_warning_wherever_it_is_read(flattered, dataset, admin):
    evaluated = output_of("evaluate", "reader", on=dataset.name)
    output_of("evaluate", "other", on=dataset.name)
    figures = output_of("statistics", dataset.name)
    weighed = StringIO()
    with pytest.raises(CommandError):
        call_command("promote", "other", on=dataset.name, dry_run=True, stdout=weighed)
    of_dataset, second_version = [dataset.pk], ModelVersion.objects.get(name="other")
    pages = {
        "overview": reverse("dataset", args=of_dataset),
        "quality": reverse("quality", args=of_dataset) + "?label_source=people",
        "model": reverse("model", args=of_dataset),
        "version": reverse("model_version", args=[*of_dataset, flattered.pk]),
        "compare": reverse("model_compare", args=of_dataset) + f"?new={second_version.pk}&old={flattered.pk}",
        "review": reverse("review", args=of_dataset) + "?queue=model",
        "run": reverse("run", args=[Run.objects.filter(kind="evaluate").last().pk]),
    }

    read = {name: words_of(admin.get(url).content.decode()) for name, url in pages.items()}
    read |= {"evaluate": evaluated, "statistics": figures, "promote": weighed.getvalue()}

    lacking = [name for name, text in read.items() if ABOVE not in text.replace("\N{NO-BREAK SPACE}", " ")]
    assert lacking == [], {name: re.findall(r"[^.]*human ceiling[^.]*", read[name]) for name in lacking}


def test_labels_of_a_file_are_called_nothing_else():
    """Neither in the words of pages, commands and reports nor in the docs."""
    root = Path(__file__).parents[1]
    places = ("docs/**/*.md", "README.md", "templates/**/*.html", "workbench/**/*.py", "scoring/**/*.py")
    other_word = re.compile(
        r"imported (voice|label_source)|labels? of (the|a) file|file.s label\b|labels that came|"
        r"(voice|label_source) of",
        re.IGNORECASE,
    )
    misnamed = {
        f"{file.relative_to(root)}: {match[0]}"
        for place in places
        for file in root.glob(place)
        if "migrations" not in file.parts
        for match in other_word.finditer(file.read_text())
    }

    assert misnamed == set()


def test_the_figures_of_labels_are_not_said_to_be_of_people():
    read = panels(
        {**report_with(), "agreement": {"imported": report_with()["agreement"]["people"]}}, "imported", {}
    )
    names = ("reliability", "audit", "agreement", "accuracy")
    of_labels = [panel for panel in read if panel.name in names]
    texts = [
        text for panel in of_labels for text in (panel.says, *(column.label for column in panel.columns))
    ]

    assert [text for text in texts if re.search(r"\bpeople\b", text, re.IGNORECASE)] == []
