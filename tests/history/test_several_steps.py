"""Acts that take more than one request, a worker or a command, and the rows that they leave in history."""

from pathlib import Path
from unittest.mock import Mock

import pytest
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.core.context import request_context
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.internal import auth as webauthn
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from tests.factories import (
    ComparisonFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    UserFactory,
)
from tests.model.test_calibration import judged_by_people_who_follow
from tests.sources.test_more_pairs import answers
from tests.web.test_two_steps import RIGHT, log_in, with_app
from workbench.models import Annotator, AuditEvent, Dataset, Member, Release, Run, User
from workbench.pipeline import imports, releases
from workbench.pipeline.people import invitations, pausing
from workbench.pipeline.review import decide

pytestmark = [pytest.mark.django_db, pytest.mark.portable]


@pytest.fixture(autouse=True)
def no_code_was_used():
    cache.clear()


@pytest.fixture
def ann(dataset: Dataset) -> User:
    """A reviewer."""
    ann = UserFactory.create(username="ann", email="ann@example.org")
    ann.set_password(RIGHT)
    ann.save()
    Member.objects.create(dataset=dataset, user=ann, role="reviewer")
    return ann


def kinds() -> list[str]:
    """From the oldest to the newest."""
    return list(AuditEvent.objects.order_by("pk").values_list("kind", flat=True))


# --- accounts -----------------------------------------------------------------------------------------------


def test_a_login_is_a_row_of_staff_admins_and_reviewers_alone(ann):
    log_in()
    ann.memberships.update(role="annotator")
    log_in()
    ann.is_staff = True
    ann.save()
    log_in()

    assert kinds() == ["logged_in", "logged_in"]
    assert {event.actor for event in AuditEvent.objects.all()} == {ann}


def test_a_wrong_password_is_no_row(ann):
    Client().post("/login/", {"username": "ann", "password": "wrong"})

    assert kinds() == []


def test_a_login_with_a_second_step_is_one_row(ann):
    browser = Client()
    _, codes = with_app(browser)
    before = kinds()

    other = Client()
    log_in(other)
    between = kinds()
    other.post("/login/code/", {"code": codes[0]})

    assert between == before
    assert kinds() == [*before, "logged_in"]


def test_a_second_step_is_a_row(ann):
    browser = Client()

    with_app(browser)
    browser.post("/account/two-steps/codes/new/")
    browser.post("/account/two-steps/app/remove/")
    key = Authenticator.objects.create(user=ann, type=Authenticator.Type.WEBAUTHN, data={"name": "key"})
    browser.post(f"/account/two-steps/passkeys/{key.pk}/remove/")

    assert kinds() == ["logged_in", *["second_step"] * 4]


def test_a_passkey_that_is_added_is_a_row_and_a_refused_one_is_none(ann, monkeypatch):
    """With the browser's part played: tests/browser/test_two_steps.py has a real one."""
    browser = Client()
    log_in(browser)
    place = browser.get(reverse("mfa_add_webauthn")).headers["Location"]
    browser.post(place, {"password": RIGHT})
    sent = {"name": "Key", "credential": '{"id": "a key"}', "passwordless": "on"}
    browser.post(reverse("mfa_add_webauthn"), sent)
    assert kinds() == ["logged_in"]

    monkeypatch.setattr(webauthn, "parse_registration_response", lambda _: None)
    monkeypatch.setattr(webauthn, "complete_registration", lambda _: Mock(is_user_verified=lambda: True))
    browser.post(reverse("mfa_add_webauthn"), sent)

    assert Authenticator.objects.filter(user=ann, type=Authenticator.Type.WEBAUTHN).count() == 1
    assert kinds() == ["logged_in", "second_step"]


def test_a_password_that_is_set_by_a_mail_is_a_row(ann):
    with request_context(RequestFactory().get("/")):
        get_adapter().set_password(ann, "quite another sentence")

    assert kinds() == ["password"]


def test_a_verified_address_is_a_row(ann):
    address = EmailAddress.objects.create(user=ann, email="ann@example.net", verified=False, primary=True)

    Client().post(reverse("account_confirm_email", args=[EmailConfirmationHMAC(address).key]))

    assert kinds() == ["mail_address"]


def test_coming_by_an_invitation_is_a_row(dataset, alice, charlie, as_user):
    invitation = invitations.create_link(dataset, "reviewer", alice)
    client = as_user(charlie)

    client.get(reverse("join_link", args=[invitation.token]))
    client.post(reverse("join"))

    joined = AuditEvent.objects.first()
    assert (joined.kind, joined.actor, joined.word) == ("joined", charlie, "reviewer")


def test_changes_in_accounts_are_rows(as_user, bob, dataset):
    client = as_user(UserFactory.create(username="sam", is_staff=True, is_superuser=True))
    change = reverse("admin:workbench_user_change", args=[bob.pk])
    form = client.get(change).context["adminform"].form
    sent = {name: form[name].value() for name in form.fields if form[name].value() not in (None, False)}
    joined = {"date_joined_0": "2026-01-05", "date_joined_1": "12:00:00"}

    client.post(change, {**sent, **joined, "first_name": "Robert"})
    passwords = {"usable_password": "true", "password1": RIGHT, "password2": RIGHT}
    client.post(reverse("admin:auth_user_password_change", args=[bob.pk]), passwords)

    rows = [(event.kind, event.word, event.target_id, event.fields) for event in AuditEvent.objects.all()]
    assert rows == [
        ("account", "changed", str(bob.pk), ["password"]),
        ("account", "changed", str(bob.pk), ["first_name", "date_joined"]),
    ]


# --- pairs that somebody holds ------------------------------------------------------------------------------


def held(dataset: Dataset, user: User) -> None:
    comparison = ComparisonFactory.create(prompt__dataset=dataset)
    comparison.claims.create(
        annotator=Annotator.objects.for_user(user), slot=0, left="a", mode="blind", expires_at=timezone.now()
    )
    comparison.claimed = 1
    comparison.save()


def test_what_a_paused_person_held_is_a_row(dataset, alice, bob):
    held(dataset, bob)

    pausing.pause(dataset.members.get(user=bob), alice, "A break.")

    claims = AuditEvent.objects.get(kind="claims_ended")
    assert (claims.actor, claims.target_id, claims.count) == (alice, str(bob.pk), 1)


def test_what_others_held_of_a_settled_pair_is_a_row(dataset, rita, bob):
    held(dataset, bob)
    pair = dataset.comparisons.get()

    decide.settle(pair, rita, "a", seen_token=decide.seen(pair))

    assert kinds() == ["settled", "claims_ended"]


def test_a_conflict_is_no_row(dataset, rita):
    pair = ComparisonFactory.create(prompt__dataset=dataset)

    decide.settle(pair, rita, "a", seen_token="old")

    assert kinds() == []


# --- workers ------------------------------------------------------------------------------------------------


def test_imported_rows_are_a_row_of_whoever_ordered_the_import(dataset, alice):
    upload = imports.keep_sample("pairs.jsonl", dataset, alice)
    run = imports.begin(upload, imports.ImportOptions(), alice)
    run.start()

    imports.carry_out(run)

    imported = AuditEvent.objects.first()
    assert kinds() == ["uploaded", "run_started", "imported"]
    assert (imported.actor, imported.count) == (alice, dataset.prompts.count() and run.done)


def test_a_built_release_is_a_row_of_whoever_ordered_it(dataset, alice):
    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    run = releases.begin(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]), alice)
    run.start()

    releases.carry_out(run)

    assert kinds() == ["run_started", "release_built"]
    assert {event.actor for event in AuditEvent.objects.all()} == {alice}


def test_what_the_clock_begins_is_no_row(dataset):
    from workbench.pipeline import quality

    quality.begin(dataset)

    assert kinds() == []


def test_a_training_is_a_row(dataset, alice, as_user, messages):
    for number in range(30):  # of one, all might be in the test split
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt))
    release = releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))
    base = ModelVersionFactory.create()
    AuditEvent.objects.all()._raw_delete("default")

    chosen = {"release": release.pk, "base": base.pk, "preset": "seed", "name": "mine"}
    as_user(alice).post(reverse("model", args=[dataset.pk]), chosen)

    event = AuditEvent.objects.get()
    assert (event.kind, event.word, event.target_id) == (
        "run_started",
        "train",
        str(Run.objects.get(kind="train").pk),
    )


def test_a_calibration_is_a_row(as_user):
    sam = UserFactory.create(username="sam", is_staff=True)
    version = ModelVersionFactory.create()
    dataset = judged_by_people_who_follow(2.0, version, n=300)

    as_user(sam).post(reverse("version_calibrate", args=[version.pk]), {"dataset": dataset.pk})

    event = AuditEvent.objects.get()
    assert (event.kind, event.actor, event.fields) == (
        "model_calibrated",
        sam,
        ["temperature", "calibration"],
    )


def test_more_pairs_are_a_row(dataset, alice, as_user, messages):
    answers(dataset)

    as_user(alice).post(
        reverse("more_pairs", args=[dataset.pk]), {"strategy": "random", "number": 3, "per_prompt": 3}
    )

    event = AuditEvent.objects.get()
    assert (event.kind, event.word, event.count) == ("act", "pairs", 1)


# --- commands -----------------------------------------------------------------------------------------------


def test_an_import_by_command_is_a_row_with_the_command(tmp_path: Path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n')

    call_command("import_dataset", "Pantry", str(file))

    assert kinds() == ["dataset_created", "imported"]
    assert {event.command for event in AuditEvent.objects.all()} == {"import_dataset"}


def test_an_erasure_by_command_is_a_row(bob, alice):
    call_command("erase", "bob", "--yes")

    event = AuditEvent.objects.get()
    assert (event.kind, event.command, event.target_id) == ("erased", "erase", str(bob.pk))
