import pytest
from django.urls import reverse

from tests.factories import DatasetFactory, ModelVersionFactory, ScoreFactory, UserFactory
from workbench.models import AuditEvent, ModelVersion
from workbench.pipeline.model import registry
from workbench.pipeline.runs.progress import Refused
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(as_user):
    return as_user(UserFactory.create(is_staff=True))


@pytest.fixture
def enqueued(monkeypatch):
    """Ids of Datasets that a message was sent for, in order."""
    ids: list[int] = []
    monkeypatch.setattr(tasks.score_missing, "apply_async", lambda args, **_: ids.extend(args))
    return ids


def test_a_model_is_shown_with_all_that_pins_it_and_what_it_has_scored(staff):
    version = ModelVersionFactory.create(
        name="rm-1",
        origin="nicholasKluge/RewardModel",
        revision="abcdef0123456789",
        parameters=108_311_041,
        weights_sha256="0123456789abcdef" * 4,
        max_length=400,
        precision="exact-order",
        notice="Trained on machine labels.",
    )
    ScoreFactory.create_batch(2, version=version)

    html = staff.get(reverse("versions")).content.decode()

    row = html.partition("rm-1")[2].partition("</tr>")[0]
    for shown in (
        "nicholasKluge/RewardModel at abcdef01",
        "108,311,041 parameters",
        "bert-pair, 400 tokens, exact-order",
        "0123456789ab</code>",
        "Trained on machine labels.",
        "not calibrated",
        'data-label="Answers scored">2</td>',
    ):
        assert shown in row


def test_activating_a_model_has_every_dataset_scored_newest_first_once_it_is_stored(
    staff, enqueued, django_capture_on_commit_callbacks
):
    old = ModelVersionFactory.create(state="active")
    version = ModelVersionFactory.create()
    datasets = DatasetFactory.create_batch(3)

    with django_capture_on_commit_callbacks(execute=True):
        staff.post(reverse("version_activate", args=[version.pk]), {"reason": "Trained on more."})
        assert enqueued == []

    old.refresh_from_db()
    assert ModelVersion.objects.active() == version
    assert old.state == "registered"
    assert enqueued == [dataset.pk for dataset in reversed(datasets)]


def test_a_registered_model_can_be_retired_and_taken_back_by_activating_it(staff, enqueued):
    version = ModelVersionFactory.create()

    staff.post(reverse("version_retire", args=[version.pk]))
    version.refresh_from_db()
    assert version.state == "retired"

    staff.post(reverse("version_activate", args=[version.pk]))
    assert ModelVersion.objects.active() == version


def test_the_active_model_cannot_be_retired_and_the_page_says_what_to_do(staff):
    version = ModelVersionFactory.create(state="active")

    answer = staff.post(reverse("version_retire", args=[version.pk]), follow=True)

    version.refresh_from_db()
    assert version.state == "active"
    assert "Only a registered model can be retired" in answer.content.decode()


def test_the_page_says_how_to_add_a_model(staff):
    assert f'href="{reverse("version_add")}"' in staff.get(reverse("versions")).content.decode()


def test_the_list_asks_as_often_for_three_more_models_as_for_none(staff, queries_of):
    before = queries_of(staff, reverse("versions"))
    ScoreFactory.create_batch(3)

    assert queries_of(staff, reverse("versions")) == before


def test_the_page_of_a_calibrated_version_shows_what_held_on_other_prompts(staff):
    bin_ = {
        "lower": 0.5,
        "upper": 0.6,
        "n": 40,
        "predicted": 0.55,
        "observed": 0.6,
        "low": 0.45,
        "high": 0.74,
    }
    figures = {
        "n": 160,
        "measured_on": 40,
        "ece_before": 0.31,
        "ece_after": 0.05,
        "bins": [bin_],
        "dataset": "",
    }
    version = ModelVersionFactory.create(temperature=2.5, calibration=figures, parameters=7)

    page = staff.get(reverse("version", args=[version.pk])).content.decode()

    assert "sigmoid(margin / 2.500)" in page
    assert "0.310" in page
    assert "0.050" in page
    assert "45 to 74\xa0%" in page


def test_calibrating_on_too_little_says_so_and_changes_nothing(staff):
    version = ModelVersionFactory.create()

    page = staff.post(reverse("version_calibrate", args=[version.pk]), follow=True).content.decode()

    assert "not enough data: 0 votes" in page
    version.refresh_from_db()
    assert not version.calibrated


def test_a_version_with_scores_is_not_deleted_and_an_unused_one_is(staff):
    used, unused = ScoreFactory.create().version, ModelVersionFactory.create()

    refused = staff.post(reverse("version_delete", args=[used.pk]), follow=True)
    staff.post(reverse("version_delete", args=[unused.pk]))

    assert "Retire it" in refused.content.decode()
    assert list(ModelVersion.objects.transformers()) == [used]


def test_a_model_shows_one_pair_by_tokens_and_how_much_was_cut(staff):
    tokens = [
        {"text": "<|user|>", "id": 3, "part": "template", "type": 0},
        {"text": "\n\n", "id": 4, "part": "template", "type": 0},
        {"text": " <b>why", "id": 5, "part": "prompt", "type": 0},
        {"text": "because", "id": 6, "part": "answer", "type": 1},
    ]
    version = ModelVersionFactory.create(template="chat", found={"tokens": tokens, "compared": 14})
    ScoreFactory.create(version=version, prompt_cut=30, completion_cut=1)
    ScoreFactory.create(version=version)

    html = staff.get(reverse("version", args=[version.pk])).text

    assert "14 sample texts had the same scores as in plain transformers" in html
    assert '<li class="template" title="token 4">↵↵</li>' in html
    assert '<li class="prompt" title="token 5"> &lt;b&gt;why</li>' in html
    assert '<li class="answer" title="token 6, type 1">because</li>' in html
    assert "1 of 2 scored answers were cut, by 30 tokens of prompts and 1 of answers" in html


def test_staff_give_a_model_another_name_and_notice_and_nothing_else_changes(staff):
    version = ModelVersionFactory.create(name="rm-1", notice="Old.", temperature=1.5)
    before = ModelVersion.objects.values().get(pk=version.pk)

    place = reverse("version", args=[version.pk])
    html = staff.post(place, {"name": "rm-one", "notice": "Trained on machine labels."}, follow=True).text

    named = {"name": "rm-one", "notice": "Trained on machine labels."}
    assert ModelVersion.objects.values().get(pk=version.pk) == before | named
    assert "Saved the name and notice of rm-one." in html
    assert '<p class="notice">Trained on machine labels.</p>' in html
    (row,) = AuditEvent.objects.filter(kind="model_changed")
    assert (row.target, row.target_id, row.fields) == ("modelversion", str(version.pk), ["name", "notice"])


def test_the_same_name_and_notice_leave_no_row(staff):
    version = ModelVersionFactory.create(name="rm-1", notice="Old.")

    staff.post(reverse("version", args=[version.pk]), {"name": "rm-1", "notice": "Old."})

    assert not AuditEvent.objects.exists()


def test_a_name_that_is_taken_is_said_at_its_field(staff):
    ModelVersionFactory.create(name="taken")
    version = ModelVersionFactory.create(name="rm-1")

    answer = staff.post(reverse("version", args=[version.pk]), {"name": "taken", "notice": ""})

    assert answer.status_code == 400
    assert "Another model has this name. Nothing was changed." in answer.text
    assert "<title>rm-1" in answer.text
    assert ModelVersion.objects.get(pk=version.pk).name == "rm-1"


def test_a_name_that_is_taken_meanwhile_is_refused(staff):
    ModelVersionFactory.create(name="taken")
    version = ModelVersionFactory.create(name="rm-1")

    with pytest.raises(Refused, match="Another model is named taken"):
        registry.rename(version, "taken", "", UserFactory.create())

    assert version.name == "rm-1"


def test_a_baseline_keeps_its_name_by_which_it_is_found(staff):
    longest = ModelVersion.objects.get(name="longest")
    place = reverse("version", args=[longest.pk])

    assert "Save name and notice" not in staff.get(place).text
    html = staff.post(place, {"name": "longest-rule", "notice": ""}, follow=True).text

    assert "longest is a baseline: the name is that of its rule and cannot be changed." in html
    assert ModelVersion.objects.filter(name="longest").exists()
