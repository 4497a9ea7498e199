"""Models from a program: list, register, calibrate, activate, retire, go back, delete."""

import io
import json
import tarfile
from urllib.parse import urlencode

import pytest

from tests.api.conftest import program_with, token_of
from tests.factories import (
    ComparisonFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    ScoreFactory,
    UserFactory,
)
from tests.scoring.models import save_bert
from workbench.models import AuditEvent, ModelVersion, Promotion, Release, Run
from workbench.pipeline import releases
from workbench.pipeline.model import calibration
from workbench.pipeline.model.promotion import activate
from workbench.worker import scorers, tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def sam():
    return UserFactory.create(username="sam", is_staff=True)


@pytest.fixture
def staff(sam):
    return program_with(token_of(sam))


@pytest.fixture
def old() -> ModelVersion:
    version = ModelVersionFactory.create(name="old")
    activate(version)
    return version


@pytest.fixture
def new() -> ModelVersion:
    return ModelVersionFactory.create(name="new")


def post(client, path, body=None):
    return client.post(f"/api/v1{path}", json.dumps(body or {}), content_type="application/json")


def patch(client, path, body):
    return client.patch(f"/api/v1{path}", json.dumps(body), content_type="application/json")


def test_models_are_listed_by_key_and_one_tells_its_checksums(staff, old, new):
    listed = staff.get("/api/v1/models?limit=1000").json()["items"]
    one = staff.get(f"/api/v1/models/{new.pk}").json()

    assert [(model["name"], model["state"]) for model in listed if model["kind"] == "transformer"] == [
        ("old", "active"),
        ("new", "registered"),
    ]
    assert (one["weights_sha256"], one["max_length"]) == (new.weights_sha256, new.max_length)


def test_too_few_votes_to_calibrate_are_refused_and_nothing_changes(staff, new, dataset):
    answer = post(staff, f"/models/{new.pk}/calibrate", {"dataset": dataset.pk})

    assert (answer.status_code, answer.json()["code"]) == (409, "refused")
    assert answer.json()["detail"].startswith("new was not calibrated: ")
    new.refresh_from_db()
    assert new.temperature is None


def test_calibrating_takes_the_dataset_and_the_labels_that_are_sent(staff, sam, new, dataset, monkeypatch):
    asked = []
    monkeypatch.setattr(calibration, "calibrate", lambda *what, **by: asked.append((*what, by["by"])))

    post(staff, f"/models/{new.pk}/calibrate", {"dataset": dataset.pk, "labels": True})
    post(staff, f"/models/{new.pk}/calibrate")
    unknown = post(staff, f"/models/{new.pk}/calibrate", {"dataset": dataset.pk + 1})

    assert asked == [(new, dataset, True, sam), (new, None, False, sam)]
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "dataset")


def test_activating_another_model_needs_a_reason_and_going_back_undoes_it(staff, sam, old, new, messages):
    without = post(staff, f"/models/{new.pk}/activate")
    done = post(staff, f"/models/{new.pk}/activate", {"reason": "Measured elsewhere."})
    active = ModelVersion.objects.active()
    back = post(staff, "/models/roll-back", {"reason": "It was not."})

    assert (without.status_code, done.status_code, active) == (409, 200, new)
    assert (back.json()["version"], back.json()["kind"]) == ("old", "rollback")
    assert ModelVersion.objects.active() == old
    rows = staff.get("/api/v1/promotions").json()["items"]
    assert [(row["kind"], row["version"], row["by"]) for row in rows] == [
        ("first", "old", None),
        ("override", "new", "sam"),
        ("rollback", "old", "sam"),
    ]


def test_without_a_model_before_there_is_none_to_go_back_to(staff, old):
    answer = post(staff, "/models/roll-back")

    assert (answer.status_code, answer.json()["detail"]) == (409, "There is no model to go back to from old.")
    assert Promotion.objects.count() == 1


def test_only_a_registered_model_is_retired(staff, sam, old, new):
    retired = post(staff, f"/models/{new.pk}/retire")
    refused = post(staff, f"/models/{old.pk}/retire")

    assert retired.json()["state"] == "retired"
    assert refused.status_code == 409
    assert refused.json()["detail"] == "old is active. Only a registered model can be retired."
    assert AuditEvent.objects.filter(kind=AuditEvent.Kind.MODEL_RETIRED, actor=sam).count() == 1


def test_a_model_is_renamed_and_keeps_what_was_not_sent(staff, sam, old, new):
    ModelVersion.objects.filter(pk=new.pk).update(notice="Old.")

    renamed = patch(staff, f"/models/{new.pk}", {"name": "newer"})
    taken = patch(staff, f"/models/{new.pk}", {"name": "old"})
    rule = patch(staff, f"/models/{ModelVersion.objects.get(name='longest').pk}", {"notice": "A rule."})

    assert (renamed.json()["name"], renamed.json()["notice"]) == ("newer", "Old.")
    assert (taken.status_code, rule.status_code) == (422, 409)
    assert AuditEvent.objects.filter(kind=AuditEvent.Kind.MODEL_CHANGED, actor=sam).count() == 1


def test_a_model_with_scores_is_not_deleted_and_an_unused_one_is(staff, new):
    used = ScoreFactory.create(version=ModelVersionFactory.create(name="used")).version

    assert staff.delete(f"/api/v1/models/{used.pk}").status_code == 409
    assert staff.delete(f"/api/v1/models/{new.pk}").status_code == 204
    assert set(ModelVersion.objects.transformers()) == {used}


# --- trained elsewhere --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> bytes:
    """A tar of a model folder."""
    folder, packed = save_bert(tmp_path_factory.mktemp("model"), seed=5), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in folder.iterdir():
            archive.add(path, path.name)
    return packed.getvalue()


@pytest.fixture
def release(dataset) -> Release:
    for number in range(40):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt), mode="blind")
    return releases.build(Release(dataset=dataset, profiles=["trl-chat"], formats=["jsonl"]))


def send(client, path, tar, key="", **wanted):
    headers = {"idempotency-key": key} if key else {}
    return client.post(
        f"/api/v1{path}?{urlencode(wanted)}", tar, content_type="application/x-tar", headers=headers
    )


def test_a_checkpoint_that_was_trained_on_a_release_becomes_a_model_that_scores(
    dataset, release, alice, program, checkpoint, messages, django_capture_on_commit_callbacks
):
    scorers.load_engine.cache_clear()
    settings = json.dumps({"learning_rate": 1e-5})

    with django_capture_on_commit_callbacks(execute=True):
        answer = send(
            program(alice, "manage", [dataset]), f"/releases/{release.pk}/models", checkpoint,
            name="mine", max_length=128, precision="fp32", settings=settings,
        )  # fmt: skip
    tasks.carry_out(answer.json()["id"])

    run = Run.objects.get(pk=answer.json()["id"])
    assert (answer.status_code, run.state, run.error) == (202, "done", "")
    assert messages == [(tasks.carry_out, run.pk)]
    version = ModelVersion.objects.get(name="mine")
    assert (version.release, version.max_length, version.learnt) == (release, 128, "partly")
    assert version.training == {"config": {"learning_rate": 1e-5}}
    assert version.evaluations.get().dataset == dataset
    assert scorers.load_scorer(version)([("a", "b")])[0].value is not None
    read = program(alice).get(f"/api/v1/datasets/{dataset.pk}/models/{version.pk}").json()
    assert (read["release_id"], read["state"]) == (str(release.pk), "registered")


def test_the_same_checkpoint_sent_again_with_its_key_is_one_run(release, alice, program, checkpoint):
    client, path = program(alice), f"/releases/{release.pk}/models"

    first, again = (send(client, path, checkpoint, key="once", name="mine") for _ in range(2))
    other = send(client, path, checkpoint + bytes(512), key="once", name="mine")

    assert first.json()["id"] == again.json()["id"] == Run.objects.get(kind="register").pk
    assert (other.status_code, other.json()["code"]) == (422, "key_of_another")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"name": "mine", "precision": "int8"}, "precision"),
        ({"name": "mine", "max_length": 0}, "max_length"),
        ({"name": "mine", "base": 0}, "base"),
        ({"name": "mine", "settings": "[1]"}, "settings"),
        ({"name": "mine", "settings": json.dumps({"a": "b\0"})}, "settings"),
        ({"name": "mine", "settings": '{"a": {"b": 1}}'}, "settings"),
        ({"name": "mine", "settings": "{"}, "settings"),
        ({"name": ""}, "name"),
    ],
)
def test_what_is_no_order_is_refused_with_its_field_and_begins_nothing(
    release, alice, program, checkpoint, wanted, field
):
    answer = send(program(alice), f"/releases/{release.pk}/models", checkpoint, **wanted)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert not Run.objects.exists()


def test_a_pickle_in_the_tar_fails_the_run_and_is_never_opened(staff, messages):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("pytorch_model.bin")
        archive.addfile(entry, io.BytesIO())

    run = Run.objects.get(pk=send(staff, "/models", packed.getvalue(), name="mine").json()["id"])
    tasks.carry_out(run.pk)

    run.refresh_from_db()
    assert run.state == "failed"
    assert "'pytorch_model.bin' is no file of a model" in run.error
    assert not ModelVersion.objects.filter(name="mine").exists()


def test_without_a_release_registering_is_for_staff(release, alice, program, checkpoint):
    assert send(program(alice), "/models", checkpoint, name="mine").status_code == 403
    assert not Run.objects.exists()


def test_nobody_sends_a_byte_that_may_not_register(release, rita, charlie, program, monkeypatch):
    from workbench.api import requests

    monkeypatch.setattr(requests, "receive", lambda request: pytest.fail("received"))
    path = f"/releases/{release.pk}/models"

    assert send(program(rita), path, b"x", name="mine").status_code == 403
    assert send(program(charlie), path, b"x", name="mine").status_code == 404
