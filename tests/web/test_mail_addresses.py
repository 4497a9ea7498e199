"""An account has a mail address: to log in with, to reset a password, and verified by a link. No page tells
whether somebody has an account."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from aiosmtpd.controller import Controller
from allauth.account.models import EmailAddress
from axes.models import AccessFailureLog
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core import mail
from django.core.cache import cache
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.conftest import client_of
from tests.factories import UserFactory
from tests.webserver import free_port
from workbench import mails, pace
from workbench import settings as product
from workbench.models import User

RIGHT, NEW = "kitchen-lamp-42-river", "river-lamp-42-kitchen"
TOKEN = re.compile(r'(csrfmiddlewaretoken" value="|X-CSRFToken": ")\w+')


@pytest.fixture(autouse=True)
def no_mail_was_asked_for():
    cache.clear()


@pytest.fixture
def ann(transactional_db) -> User:
    return person("ann", "ann@example.org")


@pytest.fixture
def posted(monkeypatch):
    """The mails that were sent, once all that were begun are done."""
    with ThreadPoolExecutor(1) as senders:
        monkeypatch.setattr(mails, "_senders", senders)
        monkeypatch.setattr(mails, "DELAY", 0)

        def outbox() -> list[mail.EmailMultiAlternatives]:
            senders.submit(lambda: None).result()
            return mail.outbox

        yield outbox


def person(name: str, address: str = "", *, verified: bool = True, **fields: object) -> User:
    user = UserFactory.create(username=name, email=address, **fields)
    user.set_password(RIGHT)
    user.save()
    if address and verified:
        EmailAddress.objects.create(user=user, email=address, verified=True, primary=True)
    return user


def log_in(typed: str, password: str = RIGHT, client: Client | None = None):
    return (client or Client()).post("/login/", {"username": typed, "password": password})


def link_in(message: mail.EmailMultiAlternatives) -> str:
    (link,) = re.findall(r"http://testserver(/\S+/)$", message.body, re.MULTILINE)
    return link


def shown(answer) -> tuple[int, str, str]:
    """Status, address and page of an answer, without the token of its forms."""
    return answer.status_code, answer.headers.get("Location", ""), TOKEN.sub("", answer.content.decode())


class CountedHasher(MD5PasswordHasher):
    """Counts the hashes that it computes."""

    computed = 0

    def encode(self, password: str, salt: str) -> str:
        type(self).computed += 1
        return super().encode(password, salt)


# --- logging in ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["ann", "ann@example.org", "Ann@Example.org", " ann "])
def test_people_log_in_by_name_or_mail_address(typed, ann):
    assert log_in(typed).status_code == 302


def test_an_address_that_staff_gave_logs_in_too(db):
    person("bob", "bob@example.org", verified=False)

    assert log_in("bob@example.org").status_code == 302


def test_an_address_that_two_accounts_were_given_logs_nobody_in(db):
    person("bob", "kitchen@example.org", verified=False)
    person("bea", "kitchen@example.org", verified=False)

    assert log_in("kitchen@example.org").status_code == 200
    assert log_in("bea").status_code == 302


def test_an_address_is_of_whoever_verified_it(ann):
    other = person("bob", "ann@example.org", verified=False)
    other.set_password(NEW)
    other.save()

    assert log_in("ann@example.org", RIGHT).status_code == 302
    assert log_in("ann@example.org", NEW).status_code == 200


@pytest.mark.parametrize("typed", ["ann", "ann@example.org", "gone", "nobody", "nobody@example.org"])
def test_a_refused_login_reads_the_same_and_computes_one_hash_whether_or_not_there_is_an_account(
    typed, ann, settings
):
    person("gone", "gone@example.org", is_active=False)
    settings.PASSWORD_HASHERS = [f"{__name__}.CountedHasher"]
    for user in User.objects.all():
        user.set_password(RIGHT)
        user.save()
    of_nobody = shown(log_in("somebody", "wrong"))
    CountedHasher.computed = 0

    refused = log_in(typed, "wrong")

    assert shown(refused) == of_nobody
    assert CountedHasher.computed == 1


def test_a_login_makes_the_same_queries_whether_or_not_there_is_an_account(ann):
    counts = set()
    for typed in ("ann", "ann@example.org", "nobody", "nobody@example.org"):
        with CaptureQueriesContext(connection) as queries:
            log_in(typed, "wrong")
        accounts = [query for query in queries if "workbench_user" in query["sql"].split("WHERE")[0]]
        counts.add(len(accounts))

    assert counts == {1}


def test_spaces_and_capitals_are_no_fresh_start_for_guesses(ann):
    for number in range(30):
        Client(REMOTE_ADDR=f"192.0.2.{number}").post(
            "/login/", {"username": " ANN@example.org" + " " * number, "password": "wrong"}
        )

    last = Client(REMOTE_ADDR="192.0.2.7").post(
        "/login/", {"username": "ann@EXAMPLE.org", "password": "wrong"}
    )

    assert last.status_code == 429


# --- a forgotten password -----------------------------------------------------------------------------------


def test_a_forgotten_password_is_replaced_by_the_link_of_a_mail(ann, posted):
    elsewhere = client_of(ann)
    browser = Client()
    browser.post("/password/reset/", {"email": "Ann@example.org"})
    (message,) = posted()

    form = browser.get(link_in(message), follow=True)
    place = form.redirect_chain[-1][0]
    browser.post(place, {"password1": NEW, "password2": NEW})

    assert message.to == ["ann@example.org"]
    assert log_in("ann", NEW).status_code == 302
    assert log_in("ann", RIGHT).status_code == 200
    assert elsewhere.get("/").status_code == 302  # to the login page
    assert "This link was used already" in Client().get(link_in(message)).content.decode()


def test_a_link_ends_after_a_day(ann, posted, settings):
    Client().post("/password/reset/", {"email": "ann@example.org"})
    settings.PASSWORD_RESET_TIMEOUT = -1

    page = Client().get(link_in(posted()[0])).content.decode()

    assert product.PASSWORD_RESET_TIMEOUT == 24 * 60 * 60
    assert "This link was used already, or it is more than a day old." in page


def test_a_new_password_by_mail_has_to_be_as_good_as_any(ann, posted):
    browser = Client()
    browser.post("/password/reset/", {"email": "ann@example.org"})
    place = browser.get(link_in(posted()[0]), follow=True).redirect_chain[-1][0]

    refused = browser.post(place, {"password1": "passwordpassword", "password2": "passwordpassword"})

    assert "Add a few uncommon words." in refused.content.decode()
    assert log_in("ann", RIGHT).status_code == 302


def test_the_answer_to_a_reset_is_the_same_and_looks_no_account_up(ann, posted):
    person("gone", "gone@example.org", is_active=False)
    answers, queries = [], []
    for address in ("ann@example.org", "gone@example.org", "nobody@example.org"):
        with CaptureQueriesContext(connection) as captured:
            answers.append(shown(Client().post("/password/reset/", {"email": address})))
        queries.append([query["sql"].split("WHERE")[0].split("VALUES")[0] for query in captured])

    assert len(set(answers)) == 1
    assert queries[0] == queries[1] == queries[2]
    assert not [sql for sql in queries[0] if "workbench_user" in sql or "emailaddress" in sql]
    assert [message.to for message in posted()] == [["ann@example.org"]]


def ask(address: str, number: int = 1):
    return Client(REMOTE_ADDR=f"192.0.2.{number}").post("/password/reset/", {"email": address})


def test_many_resets_of_one_address_have_to_wait_whichever_process_answers(ann, posted):
    answers = []
    for number in range(6):
        cache.clear()  # as in another process
        answers.append(ask("ann@example.org" if number % 2 else "ANN@example.org", number))

    assert [answer.status_code for answer in answers] == [302] * 5 + [429]
    assert int(answers[-1]["Retry-After"]) >= 1
    assert "Asked for too often. Nothing was sent" in answers[-1].content.decode()
    assert len(posted()) == 5
    AccessFailureLog.objects.update(attempt_time=timezone.now() - timedelta(seconds=61))
    assert ask("ann@example.org").status_code == 302


def test_many_resets_from_one_network_address_have_to_wait(transactional_db):
    statuses = [ask(f"somebody-{number}@example.org").status_code for number in range(21)]

    assert statuses == [302] * 20 + [429]
    assert ask("somebody@example.org", 2).status_code == 302


def test_a_reset_that_has_to_wait_reads_the_same_whether_or_not_there_is_an_account(ann):
    refused = set()
    for address in ("ann@example.org", "nobody@example.org"):
        answers = [ask(address, number) for number in range(6)]
        page = shown(answers[-1])[2]
        refused.add(re.sub(r"\d+ seconds?", "", page.replace(address, "")))

    assert len(refused) == 1


def test_mails_that_were_asked_for_slow_no_login_down(ann):
    asked = RequestFactory(REMOTE_ADDR="192.0.2.1").post("/password/reset/")
    for _ in range(30):
        pace.note_mail(asked, "ann@example.org")

    assert log_in("ann@example.org", client=Client(REMOTE_ADDR="192.0.2.1")).status_code == 302


# --- verification -------------------------------------------------------------------------------------------


def test_one_s_own_address_is_verified_by_the_link_of_a_mail(transactional_db, posted):
    bob = person("bob")
    browser = Client()
    log_in("bob", client=browser)

    asked = browser.post("/account/mail/", {"action_add": "", "email": "bob@example.org"})
    again = browser.post(asked.headers["Location"], {"password": RIGHT})
    before = log_in("bob@example.org").status_code
    (message,) = posted()
    verified = browser.post(link_in(message), follow=True)

    assert asked.headers["Location"].startswith("/account/password/?next=")
    assert again.status_code == 302
    assert before == 200
    assert "bob@example.org is verified." in verified.content.decode()
    assert log_in("bob@example.org").status_code == 302
    bob.refresh_from_db()
    assert bob.email == "bob@example.org"


@pytest.mark.parametrize("action", ["action_add", "action_send"])
def test_many_mails_to_verify_an_address_have_to_wait_whichever_process_answers(action, ann, posted):
    person("bob")
    browser = Client()
    log_in("bob", client=browser)
    place = browser.post("/account/mail/", {"action_add": "", "email": "bob@example.org"}).headers["Location"]
    browser.post(place, {"password": RIGHT})
    answers = []
    for _ in range(6):
        cache.clear()  # as in another process
        if action == "action_add":
            EmailAddress.objects.all().delete()
        answers.append(browser.post("/account/mail/", {action: "", "email": "bob@example.org"}))

    assert [answer.status_code for answer in answers] == [302] * 4 + [429] * 2
    assert "Asked for too often. Nothing was sent" in answers[-1].content.decode()
    assert len(posted()) == 5


def test_wrong_passwords_before_a_change_of_the_address_are_slowed_down(ann):
    browser = client_of(ann)

    statuses = [browser.post("/account/password/", {"password": "wrong"}).status_code for _ in range(6)]

    assert statuses == [200] * 5 + [429]
    assert log_in("ann").status_code == 302


def test_an_address_of_another_account_is_taken_without_a_word_and_verified_by_nobody(ann, posted):
    browser = Client()
    person("bob")
    log_in("bob", client=browser)
    place = browser.post("/account/mail/", {"action_add": "", "email": "ann@example.org"}).headers["Location"]

    page = browser.post(place, {"password": RIGHT}, follow=True).content.decode()
    (message,) = posted()
    refused = browser.post(link_in(message), follow=True).content.decode()
    browser.post("/account/mail/", {"action_primary": "", "email": "ann@example.org"})

    assert "A mail to ann@example.org is on its way." in page
    assert "ann@example.org could not be verified." in refused
    assert User.objects.get(username="bob").email == ""


def test_an_address_that_staff_replace_opens_the_account_no_more(ann):
    staff = client_of(UserFactory.create(is_staff=True, is_superuser=True))
    form = staff.get(f"/admin/workbench/user/{ann.pk}/change/").context["adminform"].form
    fields = {name: value for name, value in form.initial.items() if value is not None}
    moment = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}

    saved = staff.post(
        f"/admin/workbench/user/{ann.pk}/change/", fields | moment | {"email": "ann@new.example.org"}
    )

    assert saved.status_code == 302
    assert log_in("ann@example.org").status_code == 200
    assert log_in("ann@new.example.org").status_code == 302


# --- mails --------------------------------------------------------------------------------------------------


def test_a_mail_is_plain_text_and_html_and_fetches_nothing(ann, posted):
    Client().post("/password/reset/", {"email": "ann@example.org"})

    (message,) = posted()

    ((page, kind),) = message.alternatives
    assert kind == "text/html"
    assert link_in(message) in page
    assert re.findall(r"<(img|link|script|style|iframe)\b", page) == []
    assert set(re.findall(r"https?://[^/\s\"<]+", page)) == {"http://testserver"}


def test_mails_go_to_the_console_by_default(capsys):
    printer = mail.get_connection(product.EMAIL_BACKEND)

    mail.EmailMessage("Hello", "A link", to=["ann@example.org"], connection=printer).send()

    assert "Subject: Hello" in capsys.readouterr().out


def test_mails_go_by_smtp_when_it_is_set(ann, posted, settings):
    received = []

    class Inbox:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802  aiosmtpd's name
            received.append(envelope)
            return "250 OK"

    server = Controller(Inbox(), hostname="127.0.0.1", port=free_port())
    server.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = server.hostname, server.port

    Client().post("/password/reset/", {"email": "ann@example.org"})
    posted()
    server.stop()

    assert [envelope.rcpt_tos for envelope in received] == [["ann@example.org"]]


def test_a_mail_server_that_is_away_changes_no_answer_and_is_logged(ann, posted, settings, caplog):
    usual = shown(Client().post("/password/reset/", {"email": "ann@example.org"}))
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1

    without = shown(Client().post("/password/reset/", {"email": "ann@example.org"}))
    posted()

    assert without == usual
    assert "A mail could not be sent" in caplog.text


def test_links_lead_to_the_public_address_of_the_site(ann, posted, settings):
    settings.PUBLIC_URL = "https://votes.example.org"
    browser = Client()
    browser.post("/password/reset/", {"email": "ann@example.org"})
    log_in("ann", client=browser)
    browser.post("/account/password/", {"password": RIGHT})

    browser.post("/account/mail/", {"email": "anna@example.org", "action_add": ""})

    reset, verify = posted()
    assert "https://votes.example.org/password/" in reset.body
    assert "https://votes.example.org/account/verify/" in verify.body
    assert "testserver" not in str(reset.message()) + str(verify.message())
