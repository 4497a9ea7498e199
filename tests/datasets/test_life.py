"""From its settings a Dataset is renamed, archived, cloned and deleted by its admins."""

from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db.models import BooleanField, CharField, DecimalField, Field, FloatField, IntegerField, TextField
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    RunFactory,
    UserFactory,
)
from workbench.forms.datasets import SETTINGS, DatasetForm
from workbench.models import Claim, Dataset, Release, Run, ScoreBatch
from workbench.pipeline import releases
from workbench.pipeline.datasets import archiving, cloning
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


def page(client: Client, name: str, *args: object, **query: str) -> str:
    answer = client.get(reverse(name, args=args), query)
    assert answer.status_code == 200
    return answer.content.decode()


def sent(dataset: Dataset, **changes: object) -> dict[str, object]:
    """The form of the settings as a browser sends it."""
    values = {name: getattr(dataset, name) for name in DatasetForm.Meta.fields}
    return {**{name: "" if value is None else value for name, value in values.items()}, **changes}


# --- renaming -----------------------------------------------------------------------------------------------


def test_a_dataset_is_renamed_in_its_settings_and_every_page_follows(dataset, alice, as_user):
    base = ModelVersionFactory.create(name="base", origin="nicholas/reward")
    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    built = releases.build(Release(dataset=dataset, profiles=["preference"]))
    version = ModelVersionFactory.create(
        name="new", base=base, release=built, origin=f"base, trained on {built}"
    )
    figures = {"accuracy": None, "decided": 0}
    version.evaluations.create(
        dataset=dataset,
        source=dataset.name,
        split="unseen",
        pairs=0,
        figures={"model": figures, "beside": {"longest": figures}, "people": {"ceiling": None}, "learnt": {}},
    )
    client = as_user(alice)

    client.post(reverse("settings", args=[dataset.pk]), sent(dataset, name=" Pantry "))

    assert Dataset.objects.get(pk=dataset.pk).name == "Pantry"
    staff = as_user(UserFactory.create(is_staff=True))
    pages = [page(client, name, dataset.pk) for name in ("settings", "dataset", "releases", "runs", "people")]
    pages += [page(client, "home"), page(client, "release", built.pk), page(staff, "versions")]
    pages += [page(staff, "version", version.pk), page(client, "model_version", dataset.pk, version.pk)]
    for html in pages:
        assert "Pantry" in html
        assert "Kitchen" not in html


def test_the_files_of_a_release_keep_the_names_that_they_were_built_with(dataset, alice, as_user):
    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    built = releases.build(Release(dataset=dataset, profiles=["preference"]))
    Dataset.objects.filter(pk=dataset.pk).update(name="Pantry")

    answer = as_user(alice).get(reverse("release_download", args=[built.pk, releases.MANIFEST]))

    assert f'filename="kitchen-1-{releases.MANIFEST}"' in answer.headers["Content-Disposition"]


def test_a_name_that_another_dataset_has_is_refused_and_nothing_is_saved(dataset, alice, as_user):
    DatasetFactory.create(name="Pantry")

    answer = as_user(alice).post(
        reverse("settings", args=[dataset.pk]), sent(dataset, name="Pantry", licence="MIT")
    )

    assert answer.status_code == 400
    html = answer.content.decode()
    assert "Another dataset has this name. Choose a different one." in html
    assert "<h1>Kitchen</h1>" in html
    dataset.refresh_from_db()
    assert (dataset.name, dataset.licence) == ("Kitchen", "")


@pytest.mark.parametrize("url", ["settings", "dataset_new"])
def test_of_two_who_choose_one_name_at_once_the_second_is_told(url, dataset, as_user, monkeypatch):
    client = as_user(UserFactory.create(is_staff=True))
    DatasetFactory.create(name="Pantry")
    # As it is for whoever was checked before the other's name was there.
    monkeypatch.setattr(Dataset, "validate_unique", lambda *args, **kwargs: None)
    monkeypatch.setattr(Dataset, "validate_constraints", lambda *args, **kwargs: None)

    path = reverse(url, args=[dataset.pk] if url == "settings" else [])
    answer = client.post(path, sent(dataset, name="Pantry"))

    assert answer.status_code == 400
    assert "Another dataset has this name" in answer.content.decode()


# --- archiving ----------------------------------------------------------------------------------------------


def archived(dataset: Dataset) -> Dataset:
    archiving.archive(dataset)
    dataset.refresh_from_db()
    return dataset


def test_an_archived_dataset_leaves_the_list_of_everybody_and_its_admins_find_it_behind_a_link(
    dataset, alice, rita, bob, as_user
):
    as_user(alice).post(reverse("archive", args=[dataset.pk]))

    for person in (rita, bob):
        assert dataset.name not in page(as_user(person), "home")
        assert "Archived (" not in page(as_user(person), "home")
        assert dataset.name not in page(as_user(person), "home", archived="1")
    home = page(as_user(alice), "home")
    assert dataset.name not in home.partition("<main")[2]
    assert "Archived (1)" in home
    assert dataset.name in page(as_user(alice), "home", archived="1")


def test_every_page_of_an_archived_dataset_says_so_and_offers_nothing_that_would_be_refused(
    dataset, alice, bob, as_user
):
    ComparisonFactory.create(prompt__dataset=dataset)
    archived(dataset)

    for name in ("dataset", "data", "import", "runs", "people", "model", "releases", "settings", "quality"):
        html = page(as_user(alice), name, dataset.pk)
        assert "but not vote, import or start runs" in html
    assert "Archived since" in page(as_user(bob), "dataset", dataset.pk)
    assert "Continue" not in page(as_user(bob), "dataset", dataset.pk)
    assert 'type="file"' not in page(as_user(alice), "import", dataset.pk)
    assert "Build release" not in page(as_user(alice), "releases", dataset.pk)


def test_the_runs_of_a_dataset_that_is_archived_are_cancelled_and_its_settings_said_how_many(
    dataset, alice, as_user
):
    run = RunFactory.create(dataset=dataset, version=ModelVersionFactory.create())
    batch = ScoreBatch.objects.create(run=run, version=run.version, completion_ids=[1], size=1)
    RunFactory.create(dataset=dataset, kind="import", state="running")
    elsewhere = RunFactory.create(kind="import")

    assert "2 unfinished runs will be cancelled" in page(as_user(alice), "settings", dataset.pk)
    as_user(alice).post(reverse("archive", args=[dataset.pk]))

    assert {run.state for run in Run.objects.of(dataset)} == {"cancelled"}
    batch.refresh_from_db()
    assert batch.state == "cancelled"
    elsewhere.refresh_from_db()
    assert elsewhere.state == "waiting"


def test_no_pair_of_an_archived_dataset_is_handed_out_and_the_page_says_why(dataset, bob, as_user):
    ComparisonFactory.create(prompt__dataset=dataset)
    archived(dataset)

    html = page(as_user(bob), "annotate", dataset.pk)

    assert "This dataset is archived" in html
    assert not Claim.objects.exists()


def test_the_script_of_the_annotation_page_is_answered_with_the_sentence(dataset, bob, as_user):
    archived(dataset)
    fetch = {"X-Requested-With": "fetch"}

    for name in ("judge", "annotate_next", "annotate_hold", "annotate_skip", "annotate_flag"):
        answer = as_user(bob).post(reverse(name, args=[dataset.pk]), headers=fetch)
        assert answer.status_code == 423
        assert answer.json() == {
            "error": "Kitchen is archived: you can read and export it, but not vote, import or start runs."
        }


def test_whoever_is_no_member_is_not_told_that_it_is_archived(dataset, charlie, as_user):
    archived(dataset)

    assert as_user(charlie).post(reverse("judge", args=[dataset.pk])).status_code == 404


def test_an_archived_dataset_is_neither_scored_nor_put_in_order_until_it_is_brought_back(
    dataset, alice, as_user
):
    ModelVersionFactory.create(state="active")
    ComparisonFactory.create(prompt__dataset=dataset)
    Dataset.objects.filter(pk=dataset.pk).update(needs_scoring=True, queue_stale_since=timezone.now())
    archived(dataset)

    tasks.score_missing(dataset.pk)
    tasks.reconcile()
    assert not Run.objects.exists()
    as_user(alice).post(reverse("bring_back", args=[dataset.pk]))
    tasks.reconcile()

    assert Run.objects.of(dataset).of_kind("score").exists()
    dataset.refresh_from_db()
    assert dataset.archived_at is None
    assert dataset.name in page(as_user(alice), "home")


@pytest.mark.parametrize(
    "command",
    [
        ["score", "Kitchen"],
        ["statistics", "Kitchen"],
        ["import_dataset", "Kitchen", __file__],
        ["release", "Kitchen", "--out", "nowhere"],
        ["gold", "Kitchen", __file__],
        ["evaluate", "longest", "--on", "Kitchen"],
    ],
)
def test_no_command_writes_to_an_archived_dataset(command, dataset):
    archived(dataset)

    with pytest.raises(CommandError, match="Kitchen is archived"):
        call_command(*command)

    assert not Run.objects.exists()


# --- cloning ------------------------------------------------------------------------------------------------


def other_than(field: Field) -> object:
    """A value of a setting that is not its default."""
    if field.choices:
        return next(value for value, _ in field.choices if value != field.default)
    if isinstance(field, BooleanField):
        return not field.default
    if isinstance(field, CharField | TextField):
        return "of its own"
    if isinstance(field, DecimalField):
        return Decimal("0.5")
    return 3 if isinstance(field, IntegerField) else 0.5 if isinstance(field, FloatField) else {"a": "b"}


def test_a_clone_has_every_setting_the_guidelines_and_the_people_and_none_of_the_data(
    dataset, alice, rita, bob, as_user
):
    settings = [field for field in Dataset._meta.concrete_fields if field.name not in cloning.NOT_A_SETTING]
    for field in settings:
        setattr(dataset, field.attname, other_than(field))
    dataset.save()
    dataset.revise_guidelines("First.", None)
    dataset.revise_guidelines("Second.", None, based_on=1)
    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    RunFactory.create(dataset=dataset)

    answer = as_user(alice).post(reverse("clone", args=[dataset.pk]), {"clone-name": " Pantry "})

    clone = Dataset.objects.get(name="Pantry")
    assert answer.headers["Location"] == reverse("settings", args=[clone.pk])
    assert {name for names in SETTINGS.values() for name in names} - {"name", "first_view", "due_on"} <= {
        f.name for f in settings
    }
    for field in settings:
        assert getattr(clone, field.attname) == other_than(field), field.name
    assert list(clone.guidelines.values_list("number", "text", "created_by")) == [(1, "Second.", alice.pk)]
    assert set(clone.members.values_list("user__username", "role")) == {
        ("alice", "admin"),
        ("rita", "reviewer"),
        ("bob", "annotator"),
    }
    data = (clone.prompts, clone.comparisons, clone.runs, clone.releases, clone.uploads, clone.evaluations)
    assert not any(rows.exists() for rows in data)


def test_whoever_clones_is_an_admin_of_the_clone_and_an_archived_dataset_can_be_cloned(
    dataset, alice, as_user
):
    archived(dataset)
    staff = UserFactory.create(is_staff=True)

    as_user(staff).post(reverse("clone", args=[dataset.pk]), {"clone-name": "Pantry"})

    clone = Dataset.objects.get(name="Pantry")
    assert clone.archived_at is None
    assert clone.members.get(user=staff).role == "admin"


@pytest.mark.parametrize("name", ["Kitchen", "", "a\x00b", "x" * 101])
def test_a_clone_needs_a_name_of_its_own_and_the_page_says_so_at_the_field(name, dataset, alice, as_user):
    answer = as_user(alice).post(reverse("clone", args=[dataset.pk]), {"clone-name": name})

    assert answer.status_code == 400
    assert answer.context["clone"].errors.keys() == {"name"}
    assert Dataset.objects.count() == 1


# --- deleting -----------------------------------------------------------------------------------------------


def test_the_page_shows_what_goes_and_what_stays_before_anything_is_deleted(dataset, alice, as_user):
    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    JudgmentFactory.create(
        comparison__prompt__dataset=dataset,
        annotator=AnnotatorFactory(user=None, source="crowd"),
        stage="imported",
    )
    built = releases.build(Release(dataset=dataset, profiles=["preference"]))
    ModelVersionFactory.create(name="taught", release=built)

    html = " ".join(page(as_user(alice), "dataset_delete", dataset.pk).split())

    files = len(releases.names_of(built.manifest))
    for sentence in (
        "2 prompts with their answers and scores, and 2 pairs",
        "1 vote by 1 person, and 1 imported label",
        f"1 release with {files} files",
        "The model trained on this dataset: taught. The record of its training data stays too.",
        "You cannot stop or undo a deletion",
    ):
        assert sentence in html


@pytest.mark.parametrize("typed", ["", "kitchen", "Kitchen ", "Pantry"])
def test_nothing_is_deleted_unless_its_name_is_typed_as_it_is(typed, dataset, alice, as_user):
    answer = as_user(alice).post(reverse("dataset_delete", args=[dataset.pk]), {"name": typed})

    assert answer.status_code == 400
    assert not Run.objects.exists()
    assert Dataset.objects.not_deleted().exists()


def test_a_deleted_dataset_is_gone_from_every_page_at_once_and_its_admin_follows_the_run(
    dataset, alice, bob, as_user, messages, django_capture_on_commit_callbacks
):
    client = as_user(alice)

    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(reverse("dataset_delete", args=[dataset.pk]), {"name": "Kitchen"})

    run = Run.objects.get()
    assert answer.headers["Location"] == reverse("run", args=[run.pk])
    assert messages == [(tasks.carry_out, run.pk)]
    html = page(client, "run", run.pk)
    assert "You cannot stop a deletion" in html
    assert "Kitchen" in html
    assert 'id="cancel"' not in html
    assert "Deleting Kitchen</a>" in page(client, "home")
    for name in ("dataset", "annotate", "settings", "releases"):
        assert client.get(reverse(name, args=[dataset.pk])).status_code == 404
    assert "Kitchen" not in page(as_user(bob), "home")
    assert as_user(bob).get(reverse("run", args=[run.pk])).status_code == 404

    answer = client.post(reverse("run_cancel", args=[run.pk]), follow=True)
    assert "You cannot cancel a deletion" in answer.content.decode()
    tasks.carry_out(run.pk)
    html = page(client, "run", run.pk)
    assert "done" in html
    assert "Kitchen" not in page(client, "home")


def test_the_django_admin_deletes_no_dataset(dataset, as_user):
    client = as_user(UserFactory.create(is_staff=True, is_superuser=True))

    assert client.post(reverse("admin:workbench_dataset_delete", args=[dataset.pk])).status_code == 403
    client.post(
        reverse("admin:workbench_dataset_changelist"),
        {"action": "delete_selected", "_selected_action": [dataset.pk], "post": "yes"},
    )

    assert Dataset.objects.filter(pk=dataset.pk).exists()
