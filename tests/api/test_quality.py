"""The figures of a dataset from a program: the stored report and its tables, and the models by them."""

import json

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.api.conftest import program_with, token_of
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
    UserFactory,
)
from workbench.models import AuditEvent, Dataset, ModelVersion, Promotion, Release, Run, Statistics
from workbench.pipeline import quality, releases
from workbench.pipeline.model import promotion
from workbench.pipeline.model.promotion import activate
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


def post(client, path, body):
    return client.post(f"/api/v1{path}", json.dumps(body), content_type="application/json")


def get(client, path):
    return client.get(f"/api/v1{path}")


def stored(dataset: Dataset) -> Statistics:
    return Statistics.objects.create(
        dataset=dataset,
        judgments=1,
        last_judgment=0,
        taken_at=timezone.now(),
        report=quality.compute(dataset),
    )


@pytest.fixture
def judged(dataset) -> None:
    """Two people on each of 12 pairs of two sources; they differ on the first."""
    ann, bea = AnnotatorFactory.create(), AnnotatorFactory.create()
    for number in range(12):
        prompt = PromptFactory.create(dataset=dataset)
        a, b = (CompletionFactory.create(prompt=prompt, source=name) for name in ("alder", "birch"))
        comparison = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        JudgmentFactory.create(comparison=comparison, annotator=ann, outcome="a")
        JudgmentFactory.create(comparison=comparison, annotator=bea, outcome="a" if number else "b")


def test_the_stored_report_is_that_of_the_page_with_its_date(dataset, alice, as_user, program, judged):
    row = stored(dataset)

    answer = get(program(alice), f"/datasets/{dataset.pk}/statistics").json()

    page = as_user(alice).get(reverse("quality_report", args=[dataset.pk])).json()
    assert answer["report"] == page
    assert answer["taken_at"][:19] == row.taken_at.isoformat()[:19]
    assert answer["votes_since"] == 24
    assert AuditEvent.objects.filter(kind=AuditEvent.Kind.DOWNLOADED, word="figures").count() == 2


def test_the_run_that_computes_them_now_is_named(dataset, alice, program, judged):
    stored(dataset)
    run = quality.begin(dataset)

    assert get(program(alice), f"/datasets/{dataset.pk}/statistics").json()["run"]["id"] == run.pk


def test_before_the_first_figures_there_are_none(dataset, alice, program):
    client = program(alice)

    for path in ("statistics", "quality", "quality/people/agreement", "sources", "sources/people"):
        assert get(client, f"/datasets/{dataset.pk}/{path}").status_code == 404


def test_tables_on_single_annotators_are_for_admins(dataset, alice, rita, program, judged):
    stored(dataset)
    path = f"/datasets/{dataset.pk}/quality"

    of_admin, of_reviewer = (
        {table["name"] for table in get(program(one), path).json()["tables"]} for one in (alice, rita)
    )

    assert "annotators" in of_admin
    assert of_admin - of_reviewer == {"annotators", "left"} & of_admin
    assert get(program(alice), f"{path}/people/annotators").status_code == 200
    assert get(program(rita), f"{path}/people/annotators").status_code == 404


def test_a_token_that_reviews_gets_what_a_reviewer_gets(dataset, alice, program, judged):
    stored(dataset)

    assert get(program(alice, "review"), f"/datasets/{dataset.pk}/statistics").status_code == 403
    assert (
        get(program(alice, "review"), f"/datasets/{dataset.pk}/quality/people/annotators").status_code == 404
    )


def test_a_table_has_the_rows_of_the_stored_report(dataset, alice, program, judged):
    report = stored(dataset).report

    table = get(program(alice), f"/datasets/{dataset.pk}/quality/people/agreement").json()

    figures = report["agreement"]["people"]["all"]
    (row,) = (row for row in table["rows"] if row["label"] == "All weeks")
    assert row["raw"] == figures["raw"]
    assert table["row_count"] == len(table["rows"])
    assert {
        name: column[name]
        for column in table["columns"]
        if column["key"] == "raw"
        for name in ("key", "kind")
    } == {"key": "raw", "kind": "share"}


def test_the_board_of_sources_is_that_of_the_page(dataset, rita, as_user, program, judged):
    stored(dataset)
    client = program(rita)

    boards = get(client, f"/datasets/{dataset.pk}/sources").json()["boards"]
    table = get(client, f"/datasets/{dataset.pk}/sources/people").json()

    assert boards == as_user(rita).get(reverse("sources_report", args=[dataset.pk])).json()
    assert [row["source"] for row in table["rows"]] == [row["source"] for row in boards["people"]["sources"]]


# --- models -------------------------------------------------------------------------------------------------


@pytest.fixture
def old() -> ModelVersion:
    version = ModelVersionFactory.create(name="old", temperature=1.0)
    activate(version)
    return version


@pytest.fixture
def new() -> ModelVersion:
    return ModelVersionFactory.create(name="new", temperature=1.0)


def scored(dataset: Dataset, right: ModelVersion, wrong: ModelVersion, count: int = 12) -> None:
    """Pairs that the one model has right, and the other wrong."""
    for _ in range(count):
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        JudgmentFactory.create(comparison=comparison, outcome="a")
        for version, margin in ((right, 1.0), (wrong, -1.0)):
            SuggestionFactory.create(comparison=comparison, version=version, margin=margin)


def test_models_are_listed_with_their_accuracy_here_and_on_benchmarks(
    dataset, alice, as_user, program, old, new
):
    benchmark = DatasetFactory.create(name="Bench", frozen=True)
    scored(dataset, old, new)
    stored(dataset)

    listed = get(program(alice), f"/datasets/{dataset.pk}/models").json()

    assert listed["active_id"] == old.pk
    measured = {one["model"]["name"]: one["measured"] for one in listed["items"]}
    assert [on["dataset_id"] for on in measured["old"]] == [dataset.pk, benchmark.pk]
    of_page = quality.overall(dataset.statistics.report, old)
    assert measured["old"][0]["accuracy"] == of_page.accuracy["value"] == 1.0
    assert measured["new"][0]["accuracy"] == 0.0


def test_a_token_that_names_its_datasets_learns_nothing_of_a_benchmark(dataset, alice, program, old, new):
    DatasetFactory.create(name="Bench", frozen=True)
    scored(dataset, old, new)
    client = program(alice, "manage", [dataset])

    listed = get(client, f"/datasets/{dataset.pk}/models")
    compared = get(client, f"/datasets/{dataset.pk}/models/{new.pk}/compared-with/{old.pk}")

    assert b"Bench" not in listed.content + compared.content
    assert compared.json()["gate"] is None
    assert [one["dataset"] for one in compared.json()["compared"]] == ["Kitchen"]


def test_a_comparison_has_the_figures_and_the_gate_of_the_page(dataset, alice, program, old, new):
    scored(dataset, new, old)

    answer = get(program(alice), f"/datasets/{dataset.pk}/models/{new.pk}/compared-with/{old.pk}").json()

    gate = promotion.weigh(new, dataset)
    assert (answer["gate"]["verdict"], answer["gate"]["sentence"]) == (gate.verdict, gate.sentence)
    (compared,) = answer["compared"]
    assert (compared["n"], compared["n01"], compared["n10"]) == (12, 12, 0)
    assert compared["p"] == gate.test.paired.p


def test_without_the_active_model_there_is_no_gate_to_ask(dataset, alice, program, old, new):
    third = ModelVersionFactory.create(name="third")
    client = program(alice)

    answer = get(client, f"/datasets/{dataset.pk}/models/{new.pk}/compared-with/{third.pk}").json()
    same = get(client, f"/datasets/{dataset.pk}/models/{new.pk}/compared-with/{new.pk}")

    assert answer["gate"] is None
    assert (same.status_code, same.json()["detail"]) == (422, "Choose two different models.")


def test_evaluating_begins_a_run(dataset, alice, program, new, messages, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        answer = post(program(alice), f"/datasets/{dataset.pk}/models/{new.pk}/evaluate", {})

    run = Run.objects.get(kind="evaluate")
    assert (answer.status_code, answer.json()["id"]) == (202, run.pk)
    assert (run.version, run.dataset, run.created_by) == (new, dataset, alice)
    assert messages == [(tasks.carry_out, run.pk)]


def test_one_model_shows_its_bases_and_only_what_came_of_it_here(dataset, alice, program, old):
    elsewhere = DatasetFactory.create(name="Elsewhere")
    trained = ModelVersionFactory.create(name="trained", base=old)
    for on in (dataset, elsewhere):
        trained.evaluations.create(
            dataset=on, source=on.name, split="unseen", data_sha256="0", pairs=1, figures={"on": on.name}
        )

    answer = get(program(alice), f"/datasets/{dataset.pk}/models/{trained.pk}").json()

    assert answer["bases"] == [old.pk]
    assert [one["figures"] for one in answer["evaluations"]] == [{"on": "Kitchen"}]


@pytest.fixture
def release(dataset) -> Release:
    for number in range(30):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt))
    return releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))


def test_a_training_on_a_release_is_a_run_and_its_outlook_is_told_before(
    dataset, alice, program, old, release, messages, django_capture_on_commit_callbacks
):
    client = program(alice)
    outlook = get(client, f"/releases/{release.pk}/training-outlook").json()
    wanted = {"release": str(release.pk), "base": old.pk, "preset": "seed", "name": "mine"}

    with django_capture_on_commit_callbacks(execute=True):
        answer = post(client, f"/datasets/{dataset.pk}/trainings", wanted)

    run = Run.objects.get(kind="train")
    assert (outlook["profile"], outlook["usual_preset"], outlook["usual_base"]) == (
        "preference",
        "quick",
        old.pk,
    )
    assert any("don’t expect much" in warning for warning in outlook["warnings"])
    assert (answer.status_code, answer.json()["id"]) == (202, run.pk)
    assert (run.params["preset"], run.params["name"], run.params["base"]) == ("seed", "mine", old.pk)
    assert messages == [(tasks.carry_out, run.pk)]


def test_a_release_of_another_dataset_is_not_trained_on_here(dataset, alice, program, old, release):
    elsewhere = DatasetFactory.create(name="Elsewhere")
    elsewhere.members.create(user=alice, role="admin")
    wanted = {"release": str(release.pk), "base": old.pk, "preset": "seed"}

    answer = post(program(alice), f"/datasets/{elsewhere.pk}/trainings", wanted)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "release")
    assert not Run.objects.filter(kind="train").exists()


@pytest.fixture
def staff():
    return program_with(token_of(UserFactory.create(username="sam", is_staff=True)))


def test_a_promotion_that_the_gate_refuses_says_why_and_changes_nothing(dataset, staff, old, new):
    scored(dataset, new, old)

    answer = post(staff, f"/models/{new.pk}/promote", {"dataset": dataset.pk})

    assert (answer.status_code, answer.json()["code"]) == (409, "refused")
    assert answer.json()["detail"] == promotion.weigh(new, dataset).sentence
    assert ModelVersion.objects.active() == old


def test_an_override_needs_a_reason_which_is_kept(dataset, staff, old, new, messages):
    path = f"/models/{new.pk}/promote"

    without = post(staff, path, {"dataset": dataset.pk, "override": True})
    done = post(staff, path, {"dataset": dataset.pk, "override": True, "reason": "We measured elsewhere."})

    assert (without.status_code, done.status_code) == (409, 200)
    promoted = Promotion.objects.get(version=new)
    assert done.json() == {
        "id": promoted.pk,
        "version_id": new.pk,
        "version": "new",
        "supersedes_id": old.pk,
        "kind": "override",
        "reason": "We measured elsewhere.",
        "by": "sam",
        "created_at": done.json()["created_at"],
    }
    assert ModelVersion.objects.active() == new


def test_promoting_is_for_staff_with_a_token_for_all_datasets(dataset, alice, program, old, new):
    sam = UserFactory.create(is_staff=True)
    wanted = {"dataset": dataset.pk, "override": True, "reason": "why not"}

    by_admin = post(program(alice), f"/models/{new.pk}/promote", wanted)
    narrow = post(program(sam, "manage", [dataset]), f"/models/{new.pk}/promote", wanted)

    assert (by_admin.status_code, narrow.status_code) == (403, 403)
    assert ModelVersion.objects.active() == old
