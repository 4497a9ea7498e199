"""An admin invites by link or mail; whoever comes has an account, a role and the first pair at once."""

import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from email import message_from_bytes, policy

import pytest
from aiosmtpd.controller import Controller
from django.core import mail
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.factories import ComparisonFactory, UserFactory
from tests.webserver import free_port
from workbench.models import Acceptance, Dataset, Invitation, Member, User
from workbench.pipeline.people import addresses, invitations
from workbench.pipeline.runs.progress import Refused
from workbench.worker import mails, tasks

pytestmark = pytest.mark.django_db

PASSWORD = "kitchen-lamp-42-river"


def link_to(dataset, by, role="annotator", **more) -> Invitation:
    return invitations.create_link(dataset, role, by, **more)


def opened(invitation: Invitation, client: Client | None = None) -> Client:
    client = client or Client()
    answer = client.get(reverse("join_link", args=[invitation.token]))
    assert answer.headers["Location"] == reverse("join")
    return client


def join(client: Client, name="dora", **more):
    data = {"username": name, "email": f"{name}@example.org", "password": PASSWORD} | more
    return client.post(reverse("join"), data)


def text_of(answer) -> str:
    return " ".join(answer.content.decode().split())


def paste(client, dataset, text: str, **more):
    data = {"mails-addresses": text, "mails-role": "annotator", "mails-days": "14"} | more
    return client.post(reverse("invite_mails", args=[dataset.pk]), data, follow=True)


def mailed(dataset, by, *to: str) -> list[Invitation]:
    return invitations.invite(dataset, to, "annotator", by, "https://w.example").new


# --- addresses ----------------------------------------------------------------------------------------------


def test_addresses_are_read_one_a_line_with_commas_and_with_names():
    text = 'Ann@Example.org\nBen <ben@example.org>, "Doe, Cleo" <cleo@example.org>;\n\ndora@example.org,'

    pasted = addresses.read(text)

    assert pasted.addresses == ["ann@example.org", "ben@example.org", "cleo@example.org", "dora@example.org"]
    assert pasted.bad == []


def test_what_is_no_address_is_named_with_its_line():
    pasted = addresses.read("ann@example.org\nben at example.org\ncleo@example.org, @x\n<dora>")

    assert [str(bad) for bad in pasted.bad] == [
        "Line 2: “ben at example.org” is no mail address.",
        "Line 3: “@x” is no mail address.",
        "Line 4: “<dora>” is no mail address.",
    ]


def test_an_address_with_a_line_end_in_it_is_none():
    assert addresses.read("ann@example.org\rBcc: ben@example.org").addresses == ["ann@example.org"]


# --- inviting by mail ---------------------------------------------------------------------------------------


def test_five_hundred_pasted_addresses_become_five_hundred_invitations(dataset, alice, as_user, messages):
    everybody = [f"person-{n}@example.org" for n in range(500)]

    answer = paste(as_user(alice), dataset, "\n".join(everybody))

    assert "Invited 500 people." in text_of(answer)
    assert sorted(dataset.invitations.values_list("address", flat=True)) == sorted(everybody)
    assert len({invitation.token for invitation in dataset.invitations.all()}) == 500


def test_more_than_five_hundred_are_refused(dataset, alice, as_user):
    answer = paste(as_user(alice), dataset, "\n".join(f"p{n}@example.org" for n in range(501)))

    assert "Nobody was invited: these are 501 addresses, and at most 500 go at once." in text_of(answer)
    assert not dataset.invitations.exists()


def test_nobody_is_invited_while_a_line_is_bad_unless_bad_lines_are_skipped(
    dataset, alice, as_user, messages
):
    answer = paste(as_user(alice), dataset, "ann@example.org\nben")

    assert answer.status_code == 400
    assert "Line 2: “ben” is no mail address." in text_of(answer)
    assert not dataset.invitations.exists()

    answer = paste(as_user(alice), dataset, "ann@example.org\nben", **{"mails-skips_bad": "on"})

    assert "Invited 1 person. Skipped 1 that is no address." in text_of(answer)
    assert dataset.invitations.get().address == "ann@example.org"


def test_members_and_those_invited_before_are_named_and_not_invited_twice(
    dataset, alice, bob, as_user, messages
):
    User.objects.filter(pk=bob.pk).update(email="Bob@example.org")
    mailed(dataset, alice, "ann@example.org")

    answer = paste(as_user(alice), dataset, "bob@example.org, ANN@example.org, new@example.org")

    assert (
        "Invited 1 person. Invited before, so not again: ann@example.org. Members already: bob@example.org."
        in text_of(answer)
    )
    assert dataset.invitations.count() == 2


@pytest.mark.django_db(transaction=True)
def test_the_same_list_sent_twice_at_once_invites_each_address_once(dataset, alice):
    everybody = [f"person-{n}@example.org" for n in range(50)]
    barrier = threading.Barrier(2)

    def send(_) -> int:
        barrier.wait()
        try:
            return len(mailed(dataset, alice, *everybody))
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        invited = list(pool.map(send, range(2)))

    assert sorted(invited) == [0, 50]
    assert dataset.invitations.count() == 50


# --- mails --------------------------------------------------------------------------------------------------


class Mailbox:
    """What a mail server has taken, and the answers that it gives instead, by address."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.answers: dict[str, list[str]] = {}
        self.breaks: set[str] = set()

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if self.answers.get(address):
            return self.answers[address].pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        for address in envelope.rcpt_tos:
            self.taken.append((address, envelope.content))
        if self.breaks & set(envelope.rcpt_tos):
            server.transport.abort()  # taken, but the sender never hears of it
        return "250 OK"

    @property
    def addresses(self) -> list[str]:
        return [address for address, _ in self.taken]


@contextmanager
def serving(mailbox: Mailbox, settings):
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    server.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.stop()


@pytest.fixture
def mailbox(settings):
    mailbox = Mailbox()
    with serving(mailbox, settings):
        yield mailbox


def later(**time) -> None:
    """Let so much time pass for all mails that wait or are being sent."""
    for invitation in Invitation.objects.all():
        for field in ("mail_due_at", "mail_taken_at"):
            if moment := getattr(invitation, field):
                setattr(invitation, field, moment - timedelta(**time))
        invitation.save()


def states(dataset) -> Counter[str]:
    return Counter(dataset.invitations.values_list("mail", flat=True))


@pytest.mark.django_db(transaction=True)
def test_five_hundred_mails_go_out_once_each_by_several_workers_though_the_server_refuses_some_at_first(
    dataset, alice, mailbox
):
    everybody = [f"person-{n}@example.org" for n in range(500)]
    mailbox.answers = {address: ["451 Try later"] for address in everybody[::10]}
    mailed(dataset, alice, *everybody)

    def work(_) -> None:
        try:
            while mails.send_some(dataset.pk):
                pass
        finally:
            connection.close()

    workers = 3 if connection.vendor == "postgresql" else 1  # SQLite has one writer at a time
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
        assert states(dataset) == {"sent": 450, "waiting": 50}
        later(minutes=2)
        list(pool.map(work, range(workers)))

    assert states(dataset) == {"sent": 500}
    assert sorted(mailbox.addresses) == sorted(everybody)


def test_a_mail_is_plain_text_and_html_with_the_link_and_loads_nothing(dataset, alice, mailbox):
    (invitation,) = mailed(dataset, alice, "dora@example.org")

    tasks.send_invitations(dataset.pk)

    message = message_from_bytes(mailbox.taken[0][1], policy=policy.default)
    link = "https://w.example" + reverse("join_link", args=[invitation.token])
    plain, html = (message.get_body([kind]).get_content() for kind in ("plain", "html"))
    assert message["Subject"] == "alice invites you to Kitchen"
    assert message["To"] == "dora@example.org"
    assert link in plain.split()
    assert re.findall(r'(?:href|src)="([^"]*)"', html) == [link]
    assert "<img" not in html
    assert "style" not in html


def test_the_address_in_mails_is_that_of_the_settings_where_there_is_one(dataset, alice, settings):
    settings.PUBLIC_URL = "https://workbench.example"
    mailed(dataset, alice, "dora@example.org")

    tasks.send_invitations(dataset.pk)

    assert "https://workbench.example/join/" in mail.outbox[0].body


def test_text_of_people_is_no_markup_in_a_mail_and_adds_no_line_to_its_head(dataset, alice):
    Dataset.objects.filter(pk=dataset.pk).update(name="<b>Tea</b>\n& cake")
    mailed(dataset, alice, "dora@example.org")

    tasks.send_invitations(dataset.pk)

    assert mail.outbox[0].subject == "alice invites you to <b>Tea</b> & cake"
    assert "<b>Tea</b>\n& cake" in mail.outbox[0].body
    assert "&lt;b&gt;Tea" in mail.outbox[0].alternatives[0].content


def test_a_refusal_for_now_is_tried_again_and_given_up_after_five_waits(dataset, alice, mailbox):
    mailbox.answers = {"dora@example.org": ["451 Try later"] * 9}
    (invitation,) = mailed(dataset, alice, "dora@example.org")

    for _ in range(9):
        tasks.send_invitations(dataset.pk)
        later(hours=8)

    invitation.refresh_from_db()
    assert (invitation.mail, invitation.mail_tries) == ("failed", 6)
    assert invitation.mail_error == "The mail server refused it: 451 Try later"
    assert mailbox.taken == []


def test_a_mail_is_not_tried_again_before_its_time(dataset, alice, mailbox):
    mailbox.answers = {"dora@example.org": ["451 Try later"]}
    mailed(dataset, alice, "dora@example.org")

    for _ in range(3):
        tasks.send_invitations(dataset.pk)

    assert mailbox.taken == []


def test_a_refusal_for_ever_is_shown_with_the_words_of_the_server(dataset, alice, as_user, mailbox):
    mailbox.answers = {"dora@example.org": ["550 No such person"]}
    mailed(dataset, alice, "dora@example.org", "ed@example.org")

    tasks.send_invitations(dataset.pk)

    page = text_of(as_user(alice).get(reverse("invitations", args=[dataset.pk])))
    assert "The mail server refused it: 550 No such person" in page
    assert mailbox.addresses == ["ed@example.org"]


def test_a_mail_that_may_have_gone_out_is_never_sent_again_by_itself(dataset, alice, mailbox):
    mailbox.breaks = {"dora@example.org"}
    (invitation, _) = mailed(dataset, alice, "dora@example.org", "ed@example.org")

    for _ in range(3):
        tasks.send_invitations(dataset.pk)
        later(days=1)
        tasks.reconcile()

    invitation.refresh_from_db()
    assert invitation.mail == "unsure"
    assert sorted(mailbox.addresses) == ["dora@example.org", "ed@example.org"]


def test_a_mail_whose_worker_died_is_never_sent_again_by_itself(dataset, alice, messages):
    mailed(dataset, alice, "dora@example.org")
    invitation = invitations.take(dataset.pk)  # and here it dies

    later(minutes=11)
    tasks.reconcile()
    tasks.send_invitations(dataset.pk)

    invitation.refresh_from_db()
    assert (invitation.mail, invitation.mail_error) == ("unsure", invitations.UNSURE)
    assert mail.outbox == []


def test_while_no_server_answers_mails_wait_and_go_out_when_it_is_back(dataset, alice, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9  # nobody listens there
    mailed(dataset, alice, "dora@example.org", "ed@example.org")
    tasks.send_invitations(dataset.pk)
    assert states(dataset) == {"waiting": 2}

    mailbox = Mailbox()
    with serving(mailbox, settings):
        later(minutes=2)
        tasks.send_invitations(dataset.pk)

    assert sorted(mailbox.addresses) == ["dora@example.org", "ed@example.org"]


def test_the_clock_sends_what_no_worker_was_told_of(dataset, alice, messages):
    mailed(dataset, alice, "dora@example.org")

    tasks.reconcile()

    assert (tasks.send_invitations, dataset.pk) in messages


def test_no_mail_goes_out_for_an_invitation_that_was_revoked(dataset, alice, as_user):
    (invitation,) = mailed(dataset, alice, "dora@example.org")

    as_user(alice).post(reverse("invitation_revoke", args=[invitation.pk]))
    tasks.send_invitations(dataset.pk)

    assert mail.outbox == []


def test_resend_sends_one_more_mail_and_an_expired_invitation_is_valid_again(
    dataset, alice, as_user, messages
):
    (invitation,) = mailed(dataset, alice, "dora@example.org")
    tasks.send_invitations(dataset.pk)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(days=1))

    as_user(alice).post(reverse("invitation_resend", args=[invitation.pk]))
    again = as_user(alice).post(reverse("invitation_resend", args=[invitation.pk]), follow=True)
    tasks.send_invitations(dataset.pk)

    assert "Nothing was sent: the mail is on its way already, or the invitation is over." in text_of(again)
    assert len(mail.outbox) == 2
    assert join(opened(invitation)).headers["Location"] == reverse("annotate", args=[dataset.pk])


# --- coming -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "page"), [("annotator", "annotate"), ("reviewer", "review"), ("admin", "dataset")]
)
def test_whoever_opens_a_link_gets_an_account_and_the_work_of_the_role(role, page, dataset, alice):
    client = opened(link_to(dataset, alice, role))

    answer = join(client)

    assert answer.headers["Location"] == reverse(page, args=[dataset.pk])
    assert client.get(answer.headers["Location"]).status_code == 200
    dora = User.objects.get(username="dora")
    assert dora.check_password(PASSWORD)
    assert dora.email == "dora@example.org"
    assert not dora.is_staff
    assert dataset.members.get(user=dora).role == role


def test_the_address_of_a_mail_becomes_that_of_the_account(dataset, alice):
    (invitation,) = mailed(dataset, alice, "dora@example.org")

    join(opened(invitation), email="mallory@example.com")

    assert User.objects.get(username="dora").email == "dora@example.org"


def test_the_admin_sees_who_came(dataset, alice, as_user):
    join(opened(link_to(dataset, alice, uses=3)))

    page = text_of(as_user(alice).get(reverse("invitations", args=[dataset.pk])))

    assert "1 of 3: dora" in page


def test_whoever_has_an_account_logs_in_and_joins_with_it(dataset, alice, charlie):
    client = opened(link_to(dataset, alice))
    assert f'href="/login/?next={reverse("join")}"' in text_of(client.get(reverse("join")))

    login = client.post(
        f"/login/?next={reverse('join')}",
        {"username": "charlie", "password": "correct horse battery", "next": reverse("join")},
    )
    assert login.headers["Location"] == reverse("join")
    assert "You are logged in as <b>charlie</b>" in text_of(client.get(reverse("join")))
    client.post(reverse("join"))

    assert dataset.members.get(user=charlie).role == "annotator"


def test_opening_a_link_alone_joins_nobody(dataset, alice, charlie, as_user):
    client = opened(link_to(dataset, alice), as_user(charlie))

    client.get(reverse("join"))

    assert not dataset.members.filter(user=charlie).exists()


def test_a_member_who_opens_a_link_goes_on_and_uses_nothing_up(dataset, alice, rita, as_user):
    invitation = link_to(dataset, alice)

    answer = opened(invitation, as_user(rita)).post(reverse("join"))

    assert answer.headers["Location"] == reverse("review", args=[dataset.pk])
    invitation.refresh_from_db()
    assert invitation.uses == 0
    assert dataset.members.get(user=rita).role == "reviewer"


def test_whoever_was_removed_cannot_come_back_by_the_same_link(dataset, alice):
    invitation = link_to(dataset, alice, uses=5)
    client = opened(invitation)
    join(client)
    dataset.members.get(user__username="dora").remove()

    answer = opened(invitation, client).post(reverse("join"))

    assert answer.status_code == 410
    assert "An admin ended your access to Kitchen. Ask for a new invitation." in text_of(answer)
    assert not dataset.members.filter(user__username="dora").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "password1234"}, "Add a few uncommon words"),
        ({"password": "short"}, "at least 12 characters"),
        ({"username": "ALICE"}, "The name ALICE is taken"),
        ({"username": "dora@example.org"}, "A name has no @"),
        ({"username": "do ra"}, "Enter a valid username"),
        ({"email": "Charlie@example.org"}, "This address has an account already"),
        ({"email": "nonsense"}, "Enter a valid email address"),
    ],
)
def test_an_account_that_would_not_do_is_refused_and_uses_nothing_up(wrong, said, dataset, alice, charlie):
    User.objects.filter(pk=charlie.pk).update(email="charlie@example.org")
    invitation = link_to(dataset, alice)

    answer = join(opened(invitation), **wrong)

    assert answer.status_code == 400
    assert said in text_of(answer)
    invitation.refresh_from_db()
    assert invitation.uses == 0


def test_a_mail_to_somebody_with_an_account_asks_for_a_login(dataset, alice, charlie):
    User.objects.filter(pk=charlie.pk).update(email="charlie@example.org")
    (invitation,) = mailed(dataset, alice, "charlie@example.org")

    answer = join(opened(invitation))

    assert "charlie@example.org has an account already. Log in with it to join." in text_of(answer)
    assert not User.objects.filter(username="dora").exists()


def test_a_link_for_one_domain_takes_addresses_of_it_alone(dataset, alice, charlie, as_user):
    invitation = link_to(dataset, alice, domain="example.org", uses=5)

    for address in ("dora@example.com", "dora@sub.example.org", "dora@notexample.org"):
        answer = join(opened(invitation), email=address)
        assert "This link is for mail addresses of example.org." in text_of(answer)
    refused = opened(invitation, as_user(charlie)).post(reverse("join"))

    assert "This link is for mail addresses of example.org. Yours: none." in text_of(refused)
    assert join(opened(invitation)).status_code == 302


# --- consent ------------------------------------------------------------------------------------------------


def with_consent(dataset, text: str) -> None:
    Dataset.objects.filter(pk=dataset.pk).update(consent=text)


def test_nobody_joins_without_agreeing_and_what_they_agreed_to_is_kept(dataset, alice):
    with_consent(dataset, "Votes are published.")
    invitation = link_to(dataset, alice)
    client = opened(invitation)
    assert "Votes are published." in text_of(client.get(reverse("join")))
    agreed_to = invitations.digest("Votes are published.")

    refused = join(client, agreed_to=agreed_to)
    join(client, agreed_to=agreed_to, agrees="on")

    assert "You can go on once you agree to the text." in text_of(refused)
    acceptance = Acceptance.objects.get(user__username="dora")
    assert acceptance.consent_sha256 == agreed_to
    assert timezone.now() - acceptance.at < timedelta(minutes=1)


def test_a_text_that_has_changed_meanwhile_is_shown_again(dataset, alice):
    with_consent(dataset, "Votes are published.")
    client = opened(link_to(dataset, alice))
    client.get(reverse("join"))
    with_consent(dataset, "Votes and names are published.")

    answer = join(client, agreed_to=invitations.digest("Votes are published."), agrees="on")

    page = text_of(answer)
    assert "The text has changed meanwhile. Read it again." in page
    assert "Votes and names are published." in page
    assert invitations.digest("Votes and names are published.") in page
    assert not User.objects.filter(username="dora").exists()


# --- links that are over ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"revoked_at": timezone.now()}, "This invitation was withdrawn. Ask alice for a new one."),
        ({"expires_at": timezone.now()}, "This invitation has expired. Ask alice for a new one."),
        ({"uses": 1}, "Too many people used this link. If it was you, log in."),
    ],
)
def test_a_link_that_is_over_says_so_and_whom_to_ask(change, said, dataset, alice):
    invitation = link_to(dataset, alice)
    Invitation.objects.filter(pk=invitation.pk).update(**change)
    client = opened(invitation)

    assert client.get(reverse("join")).status_code == 410
    answer = join(client)

    assert said in text_of(answer)
    assert not User.objects.filter(username="dora").exists()


def test_nobody_joins_an_archived_dataset(dataset, alice):
    invitation = link_to(dataset, alice)
    Dataset.objects.filter(pk=dataset.pk).update(archived_at=timezone.now())

    answer = join(opened(invitation))

    assert "Kitchen is archived: nobody votes there now." in text_of(answer)
    assert not User.objects.filter(username="dora").exists()


@pytest.mark.parametrize("token", ["1", "nonsense", "-", "999999999999999999-x", "²-x", "1-" + "x" * 300])
def test_a_link_that_this_site_did_not_make_is_answered_by_one_sentence(token, dataset, alice):
    answer = Client().get(reverse("join_link", args=[token]))

    assert answer.status_code == 404
    assert "This site has no such invitation." in text_of(answer)
    assert "sessionid" not in answer.cookies


def test_a_link_with_another_s_key_or_of_another_installation_opens_nothing(dataset, alice, settings):
    one, other = link_to(dataset, alice), link_to(dataset, alice)
    mixed = f"{one.pk}-{other.token.partition('-')[2]}"
    assert Client().get(reverse("join_link", args=[mixed])).status_code == 404

    token = one.token
    settings.SECRET_KEY = "another"

    assert Client().get(reverse("join_link", args=[token])).status_code == 404


def test_a_copy_of_the_database_holds_no_link(dataset, alice):
    invitation = link_to(dataset, alice)
    stored = [str(value) for value in Invitation.objects.values_list().get(pk=invitation.pk)]

    assert not any(invitation.token.partition("-")[2] in value for value in stored)


def test_the_token_stands_in_no_address_that_is_logged_or_told_to_others(dataset, alice, caplog):
    invitation = link_to(dataset, alice)
    client = Client()

    answer = client.get(reverse("join_link", args=[invitation.token]))
    page = client.get(reverse("join"))
    Invitation.objects.update(revoked_at=timezone.now())
    for _ in range(2):
        client.get(reverse("join_link", args=[invitation.token]), follow=True)
    join(client)

    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer.headers["Cache-Control"]
    assert invitation.token not in page.content.decode()
    assert invitation.token not in caplog.text


# --- two at once --------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_two_people_who_take_the_last_place_at_once_one_gets_in(dataset, alice):
    invitation = link_to(dataset, alice, uses=3)
    people = UserFactory.create_batch(8)
    barrier = threading.Barrier(len(people))

    def come(user: User) -> str:
        barrier.wait()
        try:
            invitations.accept(invitation, user)
        except Refused as refused:
            return str(refused)
        finally:
            connection.close()
        return "in"

    with ThreadPoolExecutor(len(people)) as pool:
        results = list(pool.map(come, people))

    assert results.count("in") == 3
    assert set(results) == {
        "in", "Too many people used this link. If it was you, log in. Otherwise: ask alice for a new one."
    }  # fmt: skip
    assert Member.objects.filter(dataset=dataset, user__in=people).count() == 3
    assert Acceptance.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_a_double_click_makes_one_account_and_uses_one_place(dataset, alice):
    invitation = link_to(dataset, alice, uses=2)
    clients = [opened(invitation) for _ in range(2)]
    barrier = threading.Barrier(2)

    def click(client: Client) -> int:
        barrier.wait()
        try:
            return join(client).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(click, clients))

    assert sorted(statuses) == [302, 400]
    assert User.objects.filter(username="dora").count() == 1
    invitation.refresh_from_db()
    assert invitation.uses == 1


# --- for admins ---------------------------------------------------------------------------------------------


def test_an_admin_makes_a_link_and_copies_it_from_the_list(dataset, alice, as_user):
    client = as_user(alice)
    form = {"link-role": "reviewer", "link-uses": "7", "link-days": "3", "link-domain": "Example.org"}

    page = text_of(client.post(reverse("invite_link", args=[dataset.pk]), form, follow=True))

    invitation = dataset.invitations.get()
    assert (invitation.role, invitation.max_uses, invitation.domain) == ("reviewer", 7, "example.org")
    assert f'value="http://testserver/join/{invitation.token}/"' in page


def test_a_revoked_invitation_keeps_who_came(dataset, alice, as_user):
    invitation = link_to(dataset, alice, uses=5)
    join(opened(invitation))

    as_user(alice).post(reverse("invitation_revoke", args=[invitation.pk]))

    assert dataset.members.filter(user__username="dora").exists()
    assert join(opened(invitation), "ed").status_code == 410


def test_without_a_mail_server_the_page_says_that_mails_are_printed(dataset, alice, as_user, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

    page = text_of(as_user(alice).get(reverse("invitations", args=[dataset.pk])))

    assert "No mail server is set, so workers print mails and send none." in page


def test_an_admin_of_one_dataset_cannot_end_an_invitation_of_another(dataset, alice, as_user):
    elsewhere = link_to(Dataset.objects.create(name="Elsewhere"), alice)

    answer = as_user(alice).post(reverse("invitation_revoke", args=[elsewhere.pk]))

    assert answer.status_code == 404


def test_what_was_written_by_whoever_joins_stays_when_something_is_wrong(dataset, alice):
    ComparisonFactory.create(prompt__dataset=dataset)

    page = text_of(join(opened(link_to(dataset, alice)), email="nonsense"))

    assert 'value="dora"' in page
    assert PASSWORD not in page
