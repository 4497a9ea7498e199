"""From its settings a Dataset is renamed, archived, cloned and deleted by its admins."""

import pytest
from django.test import Client
from django.urls import reverse

from tests.factories import DatasetFactory, JudgmentFactory, ModelVersionFactory, UserFactory
from workbench.forms import DatasetForm
from workbench.models import Dataset, Release
from workbench.pipeline import release

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
    built = release.build(Release(dataset=dataset, profiles=["preference"]))
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
    built = release.build(Release(dataset=dataset, profiles=["preference"]))
    Dataset.objects.filter(pk=dataset.pk).update(name="Pantry")

    answer = as_user(alice).get(reverse("release_download", args=[built.pk, release.MANIFEST]))

    assert f'filename="kitchen-1-{release.MANIFEST}"' in answer.headers["Content-Disposition"]


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
