"""A Dataset that is deleted leaves no row and no file, however often the worker dies, and takes nothing of
any other with it."""

from collections import Counter
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from django.apps import apps
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    RunFactory,
    ScoreFactory,
    SuggestionFactory,
    UserFactory,
)
from workbench.models import (
    Annotator,
    Comparison,
    Dataset,
    Event,
    Learnt,
    LearntMatch,
    ModelVersion,
    Prompt,
    PromptChange,
    PromptKey,
    PromptSet,
    Release,
    Run,
    ScoreBatch,
    Statistics,
    User,
)
from workbench.pipeline import imports, releases
from workbench.pipeline.data.search_index import reindex
from workbench.pipeline.datasets import deleting
from workbench.pipeline.questions import replying, telling
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.runs.progress import Cancelled
from workbench.pipeline.webhooks.sending import fan_out
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty_storage(request, settings, tmp_path) -> None:
    """Of their own, as what other tests have left under the same primary keys would be deleted along."""
    backends = {
        "folder": settings.STORAGES["default"]["BACKEND"],
        "bucket": "tests.faults.remote_storage.RemoteStorage",
    }
    chosen = {"BACKEND": backends[getattr(request, "param", "folder")]}
    chosen["OPTIONS"] = {"location": str(tmp_path / "files")}
    settings.STORAGES = {**settings.STORAGES, "default": chosen}


def file(path: str) -> str:
    return default_storage.save(path, ContentFile(b"{}"))


def filled(dataset: Dataset, people: list[Annotator], version: ModelVersion, lesson: PromptSet) -> Dataset:
    """The dataset with rows in every table, and with every kind of file, that a Dataset may have."""
    dataset.members.create(user=people[0].user, role="admin")
    dataset.visits.create(user=people[0].user, at=timezone.now())
    dataset.pauses.create(user=people[1].user, reason="A break.")
    dataset.time_corrections.create(user=people[1].user, day="2026-01-01", seconds=60, reason="A meeting.")
    dataset.qualification_grants.create(annotator=people[1], kind="try", reason="A bad day.")
    invitation = dataset.invitations.create(role="annotator", expires_at=timezone.now())
    invitation.acceptances.create(user=people[1].user)
    dataset.agreements.create(user=people[1].user, consent_sha256="0" * 64)
    guidelines = dataset.revise_guidelines("Be kind.", None)
    attempt = dataset.qualification_tries.create(
        annotator=people[1], number=1, guidelines=guidelines, pairs=1, needed=1
    )
    label_source = AnnotatorFactory.create(user=None, source=f"crowd of {dataset.name}")
    for number in range(3):
        prompt = PromptFactory.create(dataset=dataset)
        a, b = CompletionFactory.create_batch(2, prompt=prompt)
        reindex(dataset, [prompt.pk])
        for completion in (a, b):
            ScoreFactory.create(completion=completion, version=version)
        comparison = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        suggestion = SuggestionFactory.create(comparison=comparison, version=version)
        ranking = prompt.rankings.create(annotator=people[0], shown=[a.pk, b.pk])
        comparison.claims.create(
            annotator=people[0], slot=0, left="a", mode="assisted", state="done", ranking=ranking,
            suggestion=suggestion, expires_at=timezone.now(),
        )  # fmt: skip
        first = JudgmentFactory.create(
            comparison=comparison,
            annotator=people[0],
            is_current=False,
            guidelines=guidelines,
            ranking=ranking,
        )
        JudgmentFactory.create(comparison=comparison, annotator=people[0], supersedes=first, version=version)
        JudgmentFactory.create(comparison=comparison, annotator=people[1])
        JudgmentFactory.create(comparison=comparison, annotator=label_source, stage="imported")
        before = comparison.decisions.create(outcome="a", method="agreement", is_current=False)
        decision = comparison.decisions.create(outcome="b", method="reviewer", supersedes=before)
        comparison.flags.create(
            annotator=people[1], reason="other", closed_at=timezone.now(), closed_by=decision
        )
        reply = replying.reply(comparison, people[1], "Thank you.", people[0].user)
        replying.undo(reply, people[0].user)
        replying.make_example(comparison, "It is right.", people[0].user)
        telling.tell(people[0], [comparison.pk])
        PromptKey.objects.create(dataset=dataset, key=number - 1, prompt_id=prompt.pk)
    attempt.answers.create(annotator=people[1], comparison=comparison, position=1, left="a")
    tag = dataset.tags.create(name="odd")
    tag.prompts.add(prompt)
    act = dataset.acts.create(kind="tag", by=people[0].user)
    act.on_prompts.create(prompt=prompt)
    dataset.first_view = dataset.views.create(name="Odd", query="tag=odd")
    dataset.members.get().views.add(dataset.first_view)
    dataset.first_view.pairs.create(comparison=comparison)
    dataset.requirements.create(languages=["pl"], skills=[], rule="a digest", key="a digest")
    dataset.save()
    PromptChange.objects.note(dataset.pk, [prompt.pk])
    built = releases.build(Release(dataset=dataset, profiles=["preference"], run=RunFactory(dataset=dataset)))
    built.downloads.create(file="manifest.json", user=people[0].user)
    upload = dataset.uploads.create(shown_name="a.jsonl", path=file(f"uploads/{uuid4()}"), size=2, sha256="")
    sent = RunFactory.create(dataset=dataset, kind="import", upload=upload, state="failed")
    file(imports.rejects_path(sent))
    params = {"files": [{"name": "b", "path": file(f"leakage/benchmark-{uuid4()}")}]}
    report = RunFactory.create(dataset=dataset, kind="leakage", state="done", params=params)
    file(f"leakage/groups-{report.pk}")
    scored = RunFactory.create(dataset=dataset, version=version)
    ScoreBatch.objects.create(run=scored, version=version, completion_ids=[1], size=1)
    Statistics.objects.create(
        dataset=dataset, judgments=1, last_judgment=1, taken_at=timezone.now(), run=scored,
        report={"charts": [file(f"statistics/{dataset.pk}/a.svg")]},
    )  # fmt: skip
    LearntMatch.objects.create(prompts=lesson, dataset=dataset)
    dataset.prompts.update(topic=dataset.topics.create(number=1, name="cake, oven"))
    webhook = dataset.webhooks.create(url="https://hooks.example/", events=["run.finished"])
    Event.objects.note(dataset.pk, Event.Type.RUN, [{"run": scored.pk}])
    fan_out(dataset.pk)
    assert webhook.deliveries.exists()
    version.evaluations.create(
        dataset=dataset, source=dataset.name, split="unseen", pairs=1, figures={}, run=scored
    )
    return dataset


STAY = {
    "User",
    "Login",
    "ModelVersion",
    "Promotion",
    "PromptSet",
    "Learnt",
    "LearntText",
    "LearntKey",
    "Worker",
    "ServerError",
    "AllowedHost",
    "AuditEvent",
    "Token",
    "KeptAnswer",
}
"""What is of no one Dataset."""


def rows() -> Counter[str]:
    models = [model for model in apps.get_app_config("workbench").get_models() if model.__name__ not in STAY]
    return Counter({model.__name__: model._default_manager.count() for model in models})


def files() -> set[Path]:
    place = Path(settings.STORAGES["default"]["OPTIONS"]["location"])
    return {path for path in place.rglob("*") if path.is_file()}


@pytest.fixture
def people() -> list[Annotator]:
    return AnnotatorFactory.create_batch(2)


@pytest.fixture
def lesson() -> PromptSet:
    return PromptSet.objects.create(sha256="0" * 64, source="Release 1 of Kitchen", size=3)


@pytest.fixture
def witness(people, lesson) -> Dataset:
    """Another Dataset, of which nothing may go."""
    return filled(DatasetFactory.create(name="Pantry"), people, ModelVersionFactory.create(), lesson)


@pytest.fixture
def small_steps(monkeypatch) -> None:
    for name in ("COMPARISONS", "PROMPTS", "KEYS", "EVENTS", "RUNS"):
        monkeypatch.setattr(deleting, name, 1)


def ordered(dataset: Dataset, by: User) -> Run:
    run = deleting.begin(dataset, by)
    assert run is not None
    return run


@pytest.mark.parametrize("empty_storage", ["folder", "bucket"], indirect=True)
def test_no_row_and_no_file_is_left_and_no_other_dataset_loses_any(people, lesson, witness, small_steps):
    version = ModelVersionFactory.create()
    rows_before, files_before = rows(), files()
    dataset = filled(DatasetFactory.create(name="Kitchen"), people, version, lesson)
    lacking = {name for name, count in rows().items() if count == rows_before[name]}
    assert lacking == set(), "a table that this test does not know: put rows of a Dataset into it"
    assert len(files() - files_before) >= 6

    released = releases.names_of(dataset.releases.get().manifest)

    run = ordered(dataset, people[0].user)
    tasks.carry_out(run.pk)

    assert rows() - rows_before == Counter({"Run": 1})
    assert rows_before - rows() == Counter()
    assert files() == files_before
    run.refresh_from_db()
    assert (run.state, run.done, run.total) == ("done", 6, 6)
    assert run.result == {
        "prompts": 3, "comparisons": 3, "votes": 9, "people": 2, "labels": 3,
        "releases": 1, "files": len(released), "uploads": 1,
    }  # fmt: skip
    assert (run.created_by, run.params["name"]) == (people[0].user, "Kitchen")


def test_a_model_that_was_trained_on_it_stays_and_is_still_known_to_have_learnt_it(people, lesson):
    version = ModelVersionFactory.create(name="taught", learnt_on_record="yes")
    Learnt.objects.create(version=version, prompts=lesson, use="trained")
    dataset = filled(DatasetFactory.create(name="Kitchen"), people, version, lesson)
    ModelVersion.objects.filter(pk=version.pk).update(
        release=dataset.releases.get(), trained_by=dataset.runs.first()
    )
    assert deleting.extent(dataset).models == ["taught"]

    tasks.carry_out(ordered(dataset, people[0].user).pk)

    version.refresh_from_db()
    assert (version.release, version.trained_by, version.learnt) == (None, None, "yes")
    assert [lesson.prompts for lesson in version.lessons.all()] == [lesson]


class Killed(BaseException):
    """As SIGKILL: nothing of ours runs after it."""


def test_killed_at_any_step_it_goes_on_where_it_was_until_nothing_is_left(
    people, lesson, witness, small_steps, monkeypatch
):
    rows_before, files_before = rows(), files()
    dataset = filled(DatasetFactory.create(name="Kitchen"), people, ModelVersionFactory.create(), lesson)
    run = ordered(dataset, people[0].user)
    beat, attempts = Run.update_progress, 0

    def killed(self: Run, *args: object) -> bool:
        assert beat(self, *args)
        raise Killed

    monkeypatch.setattr(Run, "update_progress", killed)
    done = []
    while Dataset.objects.filter(pk=dataset.pk).exists():
        Run.objects.filter(pk=run.pk).update(state="waiting")
        try:
            tasks.carry_out(run.pk)
        except Killed:
            attempts += 1
        run.refresh_from_db()
        done.append((run.done, run.total))

    assert attempts > 10
    assert done == sorted(done)
    assert {total for _, total in done} == {6}
    assert rows() - rows_before == Counter({"Run": 1})
    assert files() == files_before


def test_it_takes_as_many_queries_for_thirty_judgments_as_for_one(people):
    def queries(judgments: int) -> int:
        dataset = DatasetFactory.create()
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        for _ in range(judgments):
            JudgmentFactory.create(comparison=comparison)
        run = ordered(dataset, people[0].user)
        with CaptureQueriesContext(connection) as captured:
            tasks.carry_out(run.pk)
        assert not Dataset.objects.exists()
        return len(captured)

    assert queries(30) == queries(1)


def test_it_is_hidden_and_its_name_is_free_from_the_moment_that_it_is_ordered(dataset, alice):
    dataset.frozen = True
    dataset.save()
    open_run = RunFactory.create(dataset=dataset, kind="import")

    run = ordered(dataset, alice)

    assert not Dataset.objects.not_deleted().exists()
    assert not Dataset.objects.filter(frozen=True).exists()
    assert not Dataset.objects.filter(name="Kitchen").exists()
    assert not Dataset.objects.needing_scores().exists()
    open_run.refresh_from_db()
    assert open_run.state == "cancelled"
    assert deleting.begin(dataset, alice) is None
    assert run.dataset is None


def test_a_deletion_cannot_be_cancelled_and_one_that_failed_goes_on_when_it_is_tried_again(
    dataset, alice, monkeypatch
):
    PromptFactory.create(dataset=dataset)
    run = ordered(dataset, alice)
    assert not run.cancel()
    monkeypatch.setattr(deleting.charts, "delete_files", lambda dataset: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tasks.carry_out(run.pk)
    run.refresh_from_db()
    assert (run.state, Prompt.objects.count()) == ("failed", 0)
    assert "Try again to continue." in run.error
    monkeypatch.undo()

    assert run.retry()
    tasks.carry_out(run.pk)

    run.refresh_from_db()
    assert (run.state, Dataset.objects.count()) == ("done", 0)


def test_a_worker_that_is_to_end_hands_the_deletion_to_the_next(dataset, alice, small_steps):
    for _ in range(2):
        ComparisonFactory.create(prompt__dataset=dataset)
    run = ordered(dataset, alice)
    run.start()

    lifecycle.carry_out(run, partial(deleting.carry_out, is_stopping=lambda: True), lambda: True)

    run.refresh_from_db()
    assert (run.state, run.attempts, Comparison.objects.count()) == ("waiting", 0, 1)


def test_a_voice_that_said_something_elsewhere_stays(dataset, alice):
    both = AnnotatorFactory.create(user=None, source="crowd")
    JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=both, stage="imported")
    kept = JudgmentFactory.create(annotator=both, stage="imported")

    tasks.carry_out(ordered(dataset, alice).pk)

    assert Annotator.objects.filter(pk=both.pk).exists()
    kept.refresh_from_db()


def test_a_release_and_an_import_that_were_going_on_put_nothing_back(dataset, alice, tmp_path):
    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    before = files()
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n')
    ordered(dataset, alice)

    with pytest.raises(Cancelled):
        releases.build(Release(dataset=dataset, profiles=["preference"]))
    with pytest.raises(Cancelled):
        imports.import_file(path, dataset, imports.ImportOptions(), name=path.name)

    assert not Release.objects.exists()
    assert Prompt.objects.count() == 1
    assert files() == before


def test_who_ordered_what_and_that_it_was_done_is_logged(dataset, alice, caplog):
    run = ordered(dataset, alice)
    tasks.carry_out(run.pk)

    assert f"{run}: user {alice.pk} ordered the deletion of dataset {dataset.pk}, 'Kitchen'" in caplog.text
    assert f"{run}: Dataset {dataset.pk}, 'Kitchen', is deleted" in caplog.text


def test_of_a_user_who_is_gone_the_record_stays(dataset):
    user = UserFactory.create()
    run = ordered(dataset, user)
    user.delete()

    run.refresh_from_db()
    assert (run.created_by, run.params["name"]) == (None, "Kitchen")


def test_what_a_training_has_on_the_disk_of_the_worker_goes_too(dataset, alice, settings):
    run = RunFactory.create(dataset=dataset, kind="train", state="failed", finished_at=timezone.now())
    place = settings.DATA_DIR / "training" / f"run-{run.pk}"
    place.mkdir(parents=True)

    tasks.carry_out(ordered(dataset, alice).pk)

    assert not place.exists()
