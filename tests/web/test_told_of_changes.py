"""Whoever's password or second step was changed gets a mail: somebody else may have done it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.mfa.models import Authenticator
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from tests.conftest import client_of
from tests.factories import UserFactory
from tests.web.test_two_steps import RIGHT, log_in, with_app
from workbench import mails
from workbench.models import User

NEW = "quite another sentence"


@pytest.fixture(autouse=True)
def no_code_was_used():
    cache.clear()


@pytest.fixture
def ann(transactional_db) -> User:
    ann = UserFactory.create(username="ann", email="ann@example.org")
    ann.set_password(RIGHT)
    ann.save()
    return ann


@pytest.fixture
def sam(transactional_db) -> User:
    return UserFactory.create(username="sam", is_staff=True, is_superuser=True)


@pytest.fixture
def told(monkeypatch):
    """(to, subject) of the mails that were sent, once all that were begun are done."""
    with ThreadPoolExecutor(1) as senders:
        monkeypatch.setattr(mails, "_senders", senders)
        monkeypatch.setattr(mails, "DELAY", 0)

        def sent() -> list[tuple[str, str]]:
            senders.submit(lambda: None).result()
            return [(message.to[0], message.subject) for message in mail.outbox]

        yield sent


PASSWORD = ("ann@example.org", "Your password was changed")
SECOND_STEP = ("ann@example.org", "Your two-step login was changed")


def test_of_a_new_password(ann, told):
    browser = Client()
    log_in(browser)

    sent = {"old_password": RIGHT, "new_password1": NEW, "new_password2": NEW}
    browser.post(reverse("password_change"), sent)

    assert told() == [PASSWORD]
    plain, html = mail.outbox[0].body, mail.outbox[0].alternatives[0].content
    assert "http://testserver/password/reset/" in plain
    assert 'href="http://testserver/password/reset/"' in html
    assert NEW not in plain + html


def test_of_a_password_that_staff_set(ann, sam, told):
    sent = {"usable_password": "true", "password1": NEW, "password2": NEW}
    client_of(sam).post(reverse("admin:auth_user_password_change", args=[ann.pk]), sent)

    assert told() == [PASSWORD]


def test_of_a_second_step_that_is_added(ann, told):
    with_app(Client())

    assert told() == [SECOND_STEP]


def test_of_a_password_that_is_set_by_a_link(ann, told):
    browser = Client()
    page = browser.get(mails.password_link(ann, ""), follow=True)

    browser.post(page.redirect_chain[-1][0], {"password1": NEW, "password2": NEW})

    ann.refresh_from_db()
    assert ann.check_password(NEW)
    assert told() == [PASSWORD]


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("mfa_generate_recovery_codes", {"totp", "recovery_codes", "webauthn"}),
        ("mfa_deactivate_totp", {"webauthn", "recovery_codes"}),
        ("mfa_remove_webauthn", {"totp", "recovery_codes"}),
    ],
)
def test_of_new_codes_and_of_each_second_step_that_is_removed(ann, told, name, left):
    browser = Client()
    with_app(browser)
    key = Authenticator.objects.create(user=ann, type=Authenticator.Type.WEBAUTHN, data={"name": "key"})
    codes = Authenticator.objects.get(type=Authenticator.Type.RECOVERY_CODES).data
    told()
    mail.outbox.clear()

    browser.post(reverse(name, args=[key.pk] if name == "mfa_remove_webauthn" else []))

    assert set(ann.authenticator_set.values_list("type", flat=True)) == left
    if name == "mfa_generate_recovery_codes":
        assert Authenticator.objects.get(type=Authenticator.Type.RECOVERY_CODES).data != codes
    assert told() == [SECOND_STEP]


def test_of_a_second_step_that_staff_delete(ann, sam, told):
    key = Authenticator.objects.create(user=ann, type=Authenticator.Type.WEBAUTHN, data={"name": "key"})

    client_of(sam).post(reverse("admin:mfa_authenticator_delete", args=[key.pk]), {"post": "yes"})

    assert told() == [SECOND_STEP]


def test_nobody_is_told_of_a_wrong_password(ann, told):
    browser = Client()
    log_in(browser)

    sent = {"old_password": "wrong", "new_password1": NEW, "new_password2": NEW}
    browser.post(reverse("password_change"), sent)

    assert told() == []


def test_a_person_without_an_address_changes_the_password_all_the_same(ann, told):
    User.objects.update(email="")
    browser = Client()
    log_in(browser)

    sent = {"old_password": RIGHT, "new_password1": NEW, "new_password2": NEW}
    answer = browser.post(reverse("password_change"), sent)

    assert answer.status_code == 302
    assert told() == []


def test_of_a_new_mail_address_at_the_old_one(ann, told):
    EmailAddress.objects.create(user=ann, email="ann@example.org", verified=True, primary=True)
    new = EmailAddress.objects.create(user=ann, email="ann@example.net", verified=False)

    Client().post(reverse("account_confirm_email", args=[EmailConfirmationHMAC(new).key]))

    ann.refresh_from_db()
    assert ann.email == "ann@example.net"
    assert told() == [("ann@example.org", "Your mail address was changed")]
    plain = mail.outbox[0].body
    assert "Links to set a password no longer come here." in plain
    assert "/password/reset/" not in plain


def test_nobody_is_told_of_the_address_that_they_verify_first(ann, told):
    first = EmailAddress.objects.create(user=ann, email="ann@example.org", verified=False, primary=True)

    Client().post(reverse("account_confirm_email", args=[EmailConfirmationHMAC(first).key]))

    assert told() == []
