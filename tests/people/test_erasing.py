"""Erasing a person: the name goes everywhere, and what they did stays."""

from uuid import UUID

import pytest
from allauth.mfa.models import Authenticator
from axes.models import AccessFailureLog, AccessLog
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.management import CommandError
from django.db import models
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.conftest import output_of
from tests.factories import AnnotatorFactory, JudgmentFactory, UserFactory
from workbench.models import Dataset, Flag, Judgment, Member, Pause, QualificationTry, Release, User
from workbench.pipeline import releases
from workbench.pipeline.people import erasing
from workbench.pipeline.questions import replying, telling

pytestmark = pytest.mark.django_db

PSEUDONYM = UUID("0123456789abcdef0123456789abcdef")


@pytest.fixture
def robert(dataset: Dataset, alice: User) -> User:
    """A member who has left traces wherever a person can."""
    user = UserFactory.create(
        username="robert", first_name="Robert", last_name="Roe", email="robert@example.org",
        languages=["of robert"],
    )  # fmt: skip
    user.emailaddress_set.create(email="robert@example.org", verified=True)
    Authenticator.objects.create(user=user, type="totp", data={"secret": "x"})
    Member.objects.create(dataset=dataset, user=user, role="annotator")
    annotator = AnnotatorFactory.create(user=user, pseudonym=PSEUDONYM)
    vote = JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=annotator, seconds=10)
    Flag.objects.create(comparison=vote.comparison, annotator=annotator, reason="other")
    replying.reply(vote.comparison, annotator, "Thank you.", alice)
    telling.tell(annotator, [vote.comparison_id])
    Pause.objects.create(dataset=dataset, user=user, reason="Robert hurries.", begun_by=alice)
    dataset.qualification_tries.create(annotator=annotator, number=1, pairs=1, needed=1)
    dataset.qualification_grants.create(annotator=annotator, kind="try", reason="Robert was ill.", by=alice)
    dataset.time_corrections.create(user=user, day="2026-11-03", seconds=60, reason="A call.")
    dataset.invitations.create(address="Robert@example.org", role="annotator", expires_at=timezone.now())
    user.logins.create(session_key="of robert", browser="Firefox on Linux")
    dataset.visits.create(user=user, at=timezone.now())
    dataset.views.create(name="Of Robert", owner=user, query="")
    for log in (AccessFailureLog, AccessLog):
        log.objects.create(username="robert", ip_address="192.0.2.1", attempt_time=timezone.now())
    LogEntry.objects.create(
        user=alice,
        content_type=ContentType.objects.get_for_model(User),
        object_id=user.pk,
        object_repr="robert",
        action_flag=1,
    )
    LogEntry.objects.create(
        user=alice,
        content_type=ContentType.objects.get_for_model(Dataset),
        object_id=dataset.pk,
        object_repr="Kitchen",
        change_message='[{"added": {"object": "robert is annotator of Kitchen"}}]',
        action_flag=2,
    )
    return user


def texts_of_the_database() -> str:
    """Every text in every table."""
    kinds = (models.CharField, models.TextField, models.JSONField)
    texts = []
    for model in apps.get_models():
        names = [field.attname for field in model._meta.concrete_fields if isinstance(field, kinds)]
        texts += [str(value) for row in model._base_manager.values_list(*names) for value in row]
    return "\n".join(texts)


def test_the_name_is_nowhere_in_the_database_afterwards(robert):
    assert "robert" in texts_of_the_database().casefold()

    erasing.erase(robert)

    assert "robert" not in texts_of_the_database().casefold()
    assert not Authenticator.objects.exists()
    assert not QualificationTry.objects.exists()


def test_votes_flags_and_hours_stay_under_the_pseudonym_of_releases(dataset, alice, robert, as_user):
    output = output_of("erase", "robert", "--yes")

    assert "erased-0123456789ab" in output
    vote = Judgment.objects.get()
    assert (str(vote.annotator), vote.annotator.pseudonym) == ("erased-0123456789ab", PSEUDONYM)
    assert vote.annotator.flags.count() == 1
    assert (vote.annotator.replies.count(), vote.annotator.told.count()) == (1, 0)
    assert robert.time_corrections.count() == 1
    html = as_user(alice).get(reverse("time_sheet", args=[dataset.pk])).content.decode()
    assert "erased-0123456789ab" in html


def test_sessions_end_and_nobody_logs_in(robert, rita, as_user):
    browser, of_rita = as_user(robert), as_user(rita)

    erasing.erase(robert)

    assert browser.get(reverse("home")).status_code == 302
    assert of_rita.get(reverse("home")).status_code == 200
    assert Session.objects.count() == 1
    for name in ("robert", "robert@example.org", robert.username):
        answer = Client().post(reverse("login"), {"username": name, "password": "correct horse battery"})
        assert answer.status_code == 200  # the form again


def test_a_release_has_the_same_votes_under_the_same_pseudonym_before_and_after(dataset, robert):
    def annotators() -> object:
        release = Release(dataset=dataset, profiles=["all-votes"], formats=["jsonl"])
        return releases.build(release).manifest["annotators"]

    before = annotators()
    erasing.erase(robert)

    assert annotators() == before


def test_the_only_admin_of_a_dataset_and_the_only_staff_are_not_erased(dataset, alice):
    with pytest.raises(CommandError, match="alice is the only admin of Kitchen"):
        output_of("erase", "alice", "--yes")
    sam = UserFactory.create(username="sam", is_staff=True)
    with pytest.raises(CommandError, match="sam is the only staff account"):
        output_of("erase", "sam", "--yes")

    assert set(User.objects.values_list("username", flat=True)) == {"alice", "sam"}
    UserFactory.create(is_staff=True)
    assert "Erased." in output_of("erase", "sam", "--yes")
    sam.refresh_from_db()
    assert not sam.is_staff


def test_nobody_is_erased_without_yes_or_twice(robert):
    assert "1 vote would stay, 0 with a comment. Nothing was erased" in output_of("erase", "robert")
    assert User.objects.filter(username="robert").exists()

    name = erasing.erase(robert)

    with pytest.raises(CommandError, match="is erased already"):
        output_of("erase", name, "--yes")
