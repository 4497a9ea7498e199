"""The pages by which staff look after accounts: each act works at the person's next request."""

import re

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from axes.models import AccessFailureLog
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.test import Client
from django.urls import reverse

from tests.conftest import client_of
from tests.factories import AnnotatorFactory, JudgmentFactory, UserFactory
from workbench import mails
from workbench.models import AuditEvent, Dataset, Member, User
from workbench.pipeline.people import accounts, erasing
from workbench.pipeline.runs.progress import Refused

pytestmark = pytest.mark.django_db

PASSWORD = "kitchen-lamp-42-river"


@pytest.fixture
def sam(db) -> User:
    return UserFactory.create(username="sam", is_staff=True)


@pytest.fixture
def sent(monkeypatch) -> list[tuple[object, ...]]:
    """What was to be mailed: the function and its arguments."""
    later: list[tuple[object, ...]] = []
    monkeypatch.setattr(mails, "later", lambda *args: later.append(args))
    return later


def do(by: User, act: str, to: User) -> str:
    """Press the button of an act; the page that follows."""
    path = reverse("accounts_change", args=[to.pk])
    return client_of(by).post(path, {"act": act}, follow=True).content.decode()


def rows() -> list[tuple[str, str, list[str]]]:
    return list(AuditEvent.objects.order_by("pk").values_list("kind", "word", "fields"))


def test_accounts_are_found_by_name_and_address_and_closed_ones_come_last(sam):
    for name, address in (("bob", "bob@example.org"), ("abe", "lunch@example.org"), ("cleo", "")):
        UserFactory.create(username=name, email=address, is_active=name != "abe")
    client = client_of(sam)

    def names(q: str) -> list[str]:
        page = client.get(reverse("accounts"), {"q": q}).context["page"]
        return [account.username for account in page]

    assert names("") == ["bob", "cleo", "sam", "abe"]
    assert names(" LUNCH ") == ["abe"]
    assert names("b") == ["bob", "abe"]
    assert "No account has “zed”" in client.get(reverse("accounts"), {"q": "zed"}).content.decode()


def test_staff_make_an_account_and_its_link_lets_the_person_in_once(sam):
    staff = client_of(sam)
    page = staff.post(reverse("accounts"), {"username": "dora", "email": ""}, follow=True)
    dora = User.objects.get(username="dora")
    assert "dora has an account" in page.content.decode()
    assert not dora.has_usable_password()

    html = do(sam, "show-link", dora)

    (link,) = re.findall(r'value="http://testserver(/password/reset/\S+)"', html)
    browser, new = Client(), {"password1": PASSWORD, "password2": PASSWORD}
    form = browser.get(link, follow=True)
    browser.post(form.request["PATH_INFO"], new)
    assert Client().post("/login/", {"username": "dora", "password": PASSWORD}).status_code == 302
    assert "password1" not in Client().get(link, follow=True).content.decode()
    assert rows()[:2] == [("account", "added", []), ("password_link", "", [])]


def test_a_link_is_mailed_to_the_address_of_the_account_alone(sam, sent):
    bob = UserFactory.create(username="bob", email="bob@example.org")
    nobody = UserFactory.create(username="nobody")

    assert "goes to bob@example.org" in do(sam, "mail-link", bob)
    assert "nobody has no mail address" in do(sam, "mail-link", nobody)

    assert [args[1:3] for args in sent] == [(bob, "bob@example.org")]


def test_names_and_addresses_that_are_taken_make_no_account(sam):
    UserFactory.create(username="bob", email="bob@example.org")
    taken = {"username": "Bob", "email": "BOB@example.org"}

    answer = client_of(sam).post(reverse("accounts"), taken)

    assert answer.status_code == 400
    assert set(answer.context["form"].errors) == {"username", "email"}
    assert User.objects.count() == 2


def test_nobody_takes_the_name_of_an_erased_account(sam):
    answer = client_of(sam).post(reverse("accounts"), {"username": "Erased-0123", "email": ""})

    assert "Names of erased accounts begin with" in answer.content.decode()


def test_staff_rights_are_given_and_end_at_the_next_request(sam):
    bob = UserFactory.create(username="bob")
    browser = client_of(bob)

    do(sam, "make-staff", bob)
    assert browser.get(reverse("accounts")).status_code == 200
    do(sam, "end-staff", bob)

    assert browser.get(reverse("accounts")).status_code == 403
    bob.refresh_from_db()
    assert (bob.is_staff, bob.is_superuser) == (False, False)
    fields = ["is_staff", "is_superuser"]
    assert rows() == [("account", "changed", fields), ("account", "changed", fields)]


def test_a_closed_account_is_out_at_the_next_request_and_opening_revives_no_session(sam, dataset, bob):
    browser = client_of(bob)
    assert browser.get(reverse("home")).status_code == 200

    do(sam, "close", bob)
    closed = browser.get(reverse("home")).status_code
    do(sam, "open", bob)

    assert closed == 302
    assert browser.get(reverse("home")).status_code == 302
    assert client_of(User.objects.get(pk=bob.pk)).get(reverse("home")).status_code == 200
    assert [kind for kind, _, _ in rows()] == ["account", "account"]


def test_a_closed_account_gets_no_link_and_no_staff_rights(sam):
    gone = UserFactory.create(username="gone", email="gone@example.org", is_active=False)

    for act in ("show-link", "mail-link", "make-staff"):
        assert "the account gone is closed" in do(sam, act, gone)

    gone.refresh_from_db()
    assert not gone.is_staff
    assert rows() == []


def test_staff_log_somebody_out_everywhere(sam, bob):
    browser = client_of(bob)

    do(sam, "log-out", bob)

    assert browser.get(reverse("home")).status_code == 302
    assert [kind for kind, _, _ in rows()] == ["sessions_ended"]


def test_a_lost_second_step_is_removed_and_the_person_is_told(sam, sent, django_capture_on_commit_callbacks):
    bob = UserFactory.create(username="bob", email="bob@example.org")
    Authenticator.objects.create(user=bob, type="totp", data={})

    with django_capture_on_commit_callbacks(execute=True):
        do(sam, "end-second-step", bob)

    assert not Authenticator.objects.exists()
    assert len(sent) == 1
    assert "bob has no second step" in do(sam, "end-second-step", bob)
    assert [kind for kind, _, _ in rows()] == ["second_step"]


def test_an_address_that_staff_replace_opens_the_account_no_more_and_is_told(
    sam, sent, django_capture_on_commit_callbacks
):
    bob = UserFactory.create(username="bob", email="old@example.org")
    EmailAddress.objects.create(user=bob, email="old@example.org", verified=True, primary=True)
    UserFactory.create(email="taken@example.org")
    client, path = client_of(sam), reverse("accounts_person", args=[bob.pk])

    assert client.post(path, {"username": "bob", "email": "TAKEN@example.org"}).status_code == 400
    with django_capture_on_commit_callbacks(execute=True):
        client.post(path, {"username": "bob", "email": "new@example.org"})

    bob.refresh_from_db()
    assert (bob.email, EmailAddress.objects.count()) == ("new@example.org", 0)
    (told,) = [args[0].__self__ for args in sent]
    assert (told.to, told.subject) == (["old@example.org"], "Your mail address was changed")
    assert "set a new password" not in told.body
    assert rows() == [("account", "changed", ["email"])]


def named(by: User, to: User, name: str):
    form = {"username": name, "email": to.email}
    return client_of(by).post(reverse("accounts_person", args=[to.pk]), form, follow=True)


def test_a_new_name_logs_in_and_the_old_one_does_not_and_stays_nowhere(
    sam, dataset, bob, sent, django_capture_on_commit_callbacks
):
    bob.set_password(PASSWORD)
    bob.email = "bob@example.org"
    bob.save()
    EmailAddress.objects.create(user=bob, email="bob@example.org", verified=True, primary=True)
    AccessFailureLog.objects.create(username="Bob", ip_address="192.0.2.1", path_info="/login/")
    of_bob, of_dataset = (ContentType.objects.get_for_model(model) for model in (User, Dataset))
    journal = {"user_id": sam.pk, "action_flag": 2}
    LogEntry.objects.create(
        **journal, content_type=of_bob, object_id=str(bob.pk), object_repr="bob", change_message=""
    )
    added = '[{"added": {"name": "member", "object": "bob is annotator"}}]'
    LogEntry.objects.create(
        **journal, content_type=of_dataset, object_id=str(dataset.pk), object_repr="", change_message=added
    )
    browser = client_of(bob)

    with django_capture_on_commit_callbacks(execute=True):
        html = named(sam, bob, "robert").content.decode()

    assert "Saved the name and mail address of robert." in html
    assert [log_in(name) for name in ("robert", "bob")] == [302, 200]
    assert browser.get(reverse("home")).status_code == 200
    assert EmailAddress.objects.filter(user=bob, verified=True).exists()
    (told,) = [args[0].__self__ for args in sent]
    assert (told.to, told.subject) == (["bob@example.org"], "Your name was changed")
    assert "Hello robert" in told.body
    assert rows() == [("account", "changed", ["username"])]
    AccessFailureLog.objects.filter(path_info="/login/", ip_address="127.0.0.1").delete()  # of just now
    left = [str(row).lower() for table in (AccessFailureLog, LogEntry) for row in table.objects.values()]
    assert [row for row in left if "bob" in row] == []


def log_in(name: str) -> int:
    return Client().post("/login/", {"username": name, "password": PASSWORD}).status_code


@pytest.mark.parametrize("name", ["SAM", "erased-12", "bob@example.org", "", "a b"])
def test_a_name_that_is_taken_or_none_is_said_at_its_field(sam, bob, name):
    answer = named(sam, bob, name)

    assert answer.status_code == 400
    assert set(answer.context["form"].errors) == {"username"}
    assert rows() == []


def test_capital_letters_of_ones_own_name_can_change(sam, bob):
    assert "Saved the name" in named(sam, bob, "Bob").content.decode()


def test_a_name_that_was_taken_a_moment_ago_changes_nothing(sam, bob, monkeypatch):
    monkeypatch.setattr("workbench.forms.accounts.free_name", lambda typed, _: typed)

    answer = named(sam, bob, "sam")

    assert "This name was taken a moment ago. Nothing was changed." in answer.content.decode()
    assert "Account of bob" in answer.content.decode()
    assert User.objects.filter(username="bob").exists()
    assert rows() == []


def test_nobody_changes_their_own_name_here(sam):
    assert "this is your own account" in named(sam, sam, "max").content.decode()

    assert User.objects.filter(username="sam").exists()


@pytest.mark.parametrize("act", ["end-staff", "close", "log-out", "end-second-step", "open", "unlink"])
def test_nobody_does_this_to_their_own_account(sam, act):
    assert "this is your own account" in do(sam, act, sam)

    sam.refresh_from_db()
    assert (sam.is_staff, sam.is_active, sam.session_series) == (True, True, 0)
    assert rows() == []


@pytest.mark.parametrize("act", [accounts.end_staff, accounts.close])
def test_two_staff_who_end_each_other_at_once_do_not_both_succeed(sam, act):
    """The second request has read its user before the first was stored."""
    tom = UserFactory.create(username="tom", is_staff=True)
    tom_as_read = User.objects.get(pk=tom.pk)
    act(tom, sam)

    with pytest.raises(Refused, match="no longer staff"), transaction.atomic():
        act(sam, tom_as_read)

    assert User.objects.get(pk=sam.pk).is_staff


def erase(by: User, to: User, name: str):
    return client_of(by).post(reverse("accounts_erase", args=[to.pk]), {"name": name}, follow=True)


def test_the_page_says_what_goes_and_what_stays_and_asks_for_the_name(sam, dataset, bob):
    JudgmentFactory.create(
        comparison__prompt__dataset=dataset, annotator=AnnotatorFactory.create(user=bob), comment="So."
    )

    html = client_of(sam).get(reverse("accounts_erase", args=[bob.pk])).content.decode()
    wrong = erase(sam, bob, "Bob")

    assert "1 vote with times, 1 with a comment, under a pseudonym" in html
    assert "The names differ. Type “bob”. Nobody was erased." in wrong.content.decode()
    assert User.objects.filter(username="bob", is_active=True).exists()


def test_the_typed_name_erases_the_person_at_once(sam, dataset, bob):
    browser = client_of(bob)

    html = erase(sam, bob, "bob").content.decode()

    bob.refresh_from_db()
    assert bob.is_erased
    assert f"Erased. The votes are those of {bob.username} now." in html
    assert browser.get(reverse("home")).status_code == 302
    assert not Member.objects.filter(user=bob).exists()
    assert [kind for kind, _, _ in rows()] == ["erased"]
    assert f"{bob} is erased." in do(sam, "open", bob)


def test_nobody_erases_their_own_account_or_the_only_admin_of_a_dataset(sam, alice):
    UserFactory.create(is_staff=True)

    for who, why in ((sam, "this is your own account"), (alice, "alice is the only admin of Kitchen")):
        page = client_of(sam).get(reverse("accounts_erase", args=[who.pk])).content.decode()
        assert why in page
        assert "for good" not in page
        assert f"Nobody was erased: {why}" in erase(sam, who, who.username).content.decode()

    assert set(User.objects.filter(username__in=["sam", "alice"], is_active=True)) == {sam, alice}


def test_staff_whose_rights_have_just_ended_erase_nobody(sam):
    tom = UserFactory.create(username="tom", is_staff=True)
    tom_as_read = User.objects.get(pk=tom.pk)
    accounts.end_staff(tom, sam)

    with pytest.raises(Refused, match="you are no longer staff"):
        erasing.erase(sam, tom_as_read)


def test_home_and_the_system_page_lead_staff_to_accounts(sam, bob):
    link = f'href="{reverse("accounts")}"'

    for name in ("home", "system"):
        assert link in client_of(sam).get(reverse(name)).content.decode().split("<main")[1]
    assert link not in client_of(bob).get(reverse("home")).content.decode()


def test_a_service_account_gets_no_link_and_no_staff_rights(sam):
    robot = UserFactory.create(username="robot", email="robot@example.org", is_service=True)

    for act in ("show-link", "mail-link", "make-staff"):
        assert "nobody logs in as robot" in do(sam, act, robot)

    assert rows() == []
