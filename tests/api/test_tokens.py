"""Tokens: made on one's own page, shown once, worth no more than their account, and ended at once."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.api.conftest import program_with, token_of
from tests.factories import DatasetFactory, PromptFactory, UserFactory
from tests.webserver import ask, web_process
from workbench.api import programs
from workbench.models import Annotator, KeptAnswer, Member, Role, Token
from workbench.pipeline.people import erasing, tokens
from workbench.templatetags.figures import clock

pytestmark = pytest.mark.django_db

SECRET = re.compile(r'value="(pw_[\w-]{43})"')


def make(client: Client, dataset, **changes) -> str:
    """The page after a token was asked for."""
    sent = {"token-name": "job", "token-scope": "manage", "token-datasets": [dataset.pk], "token-days": 9}
    return client.post(reverse("tokens"), sent | changes).content.decode()


def test_a_token_is_shown_once_and_only_its_digest_is_stored(dataset, alice, as_user):
    client = as_user(alice)

    (secret,) = SECRET.findall(make(client, dataset))

    token = Token.objects.get()
    assert token.digest == Token.digest_of(secret)
    assert secret.startswith(token.prefix)
    assert secret not in str(Token.objects.values())
    assert secret not in client.get(reverse("tokens")).content.decode()
    assert program_with(secret).get(f"/api/v1/datasets/{dataset.pk}").status_code == 200


def test_the_page_of_a_token_is_kept_by_no_cache(alice, as_user):
    assert "no-store" in as_user(alice).get(reverse("tokens"))["Cache-Control"]


def test_a_token_names_only_datasets_that_its_owner_may_open(dataset, alice, as_user):
    other = DatasetFactory.create(name="Elsewhere")

    page = make(as_user(alice), dataset, **{"token-datasets": [other.pk]})

    assert not SECRET.search(page)
    assert not Token.objects.exists()


def test_a_token_needs_a_dataset_or_all_of_them(dataset, alice, as_user):
    page = make(as_user(alice), dataset, **{"token-datasets": []})

    assert "Choose at least one dataset." in page
    assert not Token.objects.exists()


def test_a_token_is_worth_the_role_that_its_account_has_at_that_moment(dataset, alice, program):
    client = program(alice, "manage", [dataset])
    settings = f"/api/v1/datasets/{dataset.pk}/settings"
    assert client.get(settings).status_code == 200
    alice.memberships.update(role=Role.ANNOTATOR)
    assert client.get(settings).status_code == 403
    alice.memberships.all().delete()
    assert client.get(settings).status_code == 404


def test_a_token_ends_with_its_account(dataset, alice, program):
    client = program(alice)
    alice.is_active = False
    alice.save()

    answer = client.get("/api/v1/datasets")

    assert answer.status_code == 401
    assert answer.json()["code"] == "ended"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer pw_no", "Basic pw_no", "Bearer pw_\x00"])
def test_what_is_no_token_lets_nobody_in(header, db):
    answer = Client().get("/api/v1/datasets", headers={"authorization": header})

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert answer.json()["code"] == "no_token"


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "key", "Authorization"])
def test_a_token_in_an_address_lets_nobody_in(name, alice):
    answer = Client().get("/api/v1/datasets", {name: token_of(alice)})

    assert (answer.status_code, answer.json()["code"]) == (401, "no_token")


def test_a_token_in_a_body_or_a_cookie_lets_nobody_in(alice):
    secret = token_of(alice)
    client = Client()
    client.cookies["token"] = client.cookies["access_token"] = secret

    for body in ({"token": secret}, {"access_token": secret}):
        answer = client.post("/api/v1/datasets", body, "application/json")
        assert (answer.status_code, answer.json()["code"]) == (401, "no_token")


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_a_web_process_logs_neither_a_token_nor_its_digest(tmp_path):
    """Whatever becomes of the request: list_models fails in this process."""
    PromptFactory.create(messages=[{"role": "user", "content": "Why?"}])
    usable = token_of(UserFactory.create(is_staff=True))
    revoked = token_of(UserFactory.create(), revoked=True)
    log = tmp_path / "web.log"

    with web_process(log, "tests.faults.failing_app") as (port, _):
        statuses = [
            ask(port, f"/api/v1/{path}", Authorization=f"Bearer {secret}")[0]
            for secret in (usable, revoked, "pw_of-nobody")
            for path in ("datasets", "datasets/999", "nowhere", "models")
        ]
        statuses += [
            ask(port, path, Authorization=f"Bearer {usable}")[0]
            for path in (f"/api/v1/models?token={usable}", f"/api/v1/nowhere?access_token={usable}")
        ]
        statuses.append(ask(port, f"/api/v1/datasets?access_token={usable}")[0])

    written = log.read_text()
    assert statuses == [200, 404, 404, 500, *[401] * 8, 500, 404, 401]
    assert "Internal Server Error: /api/v1/models" in written
    for secret in (usable, revoked):
        assert secret not in written
        assert secret.removeprefix("pw_") not in written
        assert Token.digest_of(secret) not in written


def test_a_session_counts_for_nothing_in_the_api(alice, as_user):
    assert as_user(alice).get("/api/v1/datasets").status_code == 401


def test_a_token_counts_for_nothing_on_the_pages(alice):
    client = program_with(token_of(alice))

    assert client.get(reverse("account")).status_code == 302


def test_a_revoked_token_is_refused_at_its_next_request(dataset, alice, as_user):
    secret = token_of(alice)
    program = program_with(secret)
    assert program.get("/api/v1/datasets").status_code == 200

    as_user(alice).post(reverse("token_revoke", args=[Token.objects.get().pk]))

    answer = program.get("/api/v1/datasets")
    assert answer.status_code == 401
    assert answer.json()["code"] == "revoked"


def test_an_admin_ends_tokens_that_name_the_dataset_and_not_those_for_all(dataset, alice, bob, as_user):
    token_of(bob, "annotate", [dataset])
    token_of(bob, "annotate")
    named, for_all = Token.objects.order_by("pk")
    admin = as_user(alice)

    assert admin.post(reverse("token_revoke", args=[named.pk])).status_code == 302
    assert admin.post(reverse("token_revoke", args=[for_all.pk])).status_code == 404

    named.refresh_from_db()
    for_all.refresh_from_db()
    assert named.revoked_at
    assert not for_all.revoked_at


def test_an_admin_sees_every_token_that_reaches_the_dataset(dataset, alice, bob, charlie, as_user):
    token_of(bob, "annotate", [dataset])
    token_of(bob)
    token_of(charlie)
    page = as_user(alice).get(reverse("programs", args=[dataset.pk])).content.decode()

    prefixes = list(Token.objects.order_by("pk").values_list("prefix", flat=True))
    assert [prefix in page for prefix in prefixes] == [True, True, False]


def test_staff_see_the_tokens_of_an_account_and_end_each(dataset, bob, charlie, as_user):
    token_of(bob)
    token_of(bob, "annotate", [dataset])
    token_of(charlie)
    Token.objects.filter(user=bob).update(last_used_at=timezone.now() - timedelta(days=40))
    for_all, named, of_another = Token.objects.order_by("pk")
    staff = as_user(UserFactory.create(is_staff=True))
    path = reverse("accounts_person", args=[bob.pk])

    page = staff.get(path).content.decode()
    assert (for_all.prefix in page, named.prefix in page, of_another.prefix in page) == (True, True, False)
    for_all.refresh_from_db()
    assert page.count(clock(for_all.last_used_at)) == 2
    for token in (for_all, named):
        revoke = reverse("token_revoke", args=[token.pk])
        assert revoke in page
        assert staff.post(revoke, {"next": path}).url == path

    assert reverse("token_revoke", args=[for_all.pk]) not in staff.get(path).content.decode()
    assert Token.objects.exclude(revoked_at=None).count() == 2


def test_a_program_of_staff_lists_all_tokens_and_ends_each(dataset, bob, charlie, program):
    token_of(bob)
    named = token_of(charlie, "annotate", [dataset])
    for_all = Token.objects.order_by("pk").first()
    staff = program(UserFactory.create(is_staff=True))

    listed = staff.get("/api/v1/tokens").json()["items"]
    (of_bob,) = staff.get(f"/api/v1/tokens?account={bob.pk}").json()["items"]
    ended = staff.post(f"/api/v1/tokens/{for_all.pk}/revoke")

    assert [one["person"] for one in listed[:2]] == ["bob", "charlie"]
    assert (of_bob["id"], of_bob["is_for_all"], of_bob["state"]) == (for_all.pk, True, "usable")
    assert named not in str(listed)
    assert Token.digest_of(named) not in str(listed)
    assert ended.status_code == 204
    for_all.refresh_from_db()
    assert for_all.revoked_at


def test_a_program_of_an_admin_ends_tokens_that_name_the_dataset_alone(dataset, alice, bob, program):
    other = DatasetFactory.create(name="Elsewhere")
    token_of(bob, "annotate", [dataset, other])
    token_of(bob)
    token_of(bob, "annotate", [other])
    named, for_all, elsewhere = Token.objects.order_by("pk")
    admin, path = program(alice), f"/api/v1/datasets/{dataset.pk}/tokens"

    listed = admin.get(path).json()["items"]
    answers = [admin.post(f"{path}/{one.pk}/revoke").status_code for one in (named, for_all, elsewhere)]

    of_bob = [(one["id"], one["datasets"]) for one in listed if one["person"] == "bob"]
    assert of_bob == [(named.pk, [dataset.pk]), (for_all.pk, [])]
    assert answers == [204, 404, 404]
    assert list(Token.objects.exclude(revoked_at=None)) == [named]


def test_a_service_account_has_tokens_and_no_way_to_log_in(dataset, alice, as_user):
    admin = as_user(alice)
    admin.post(reverse("programs", args=[dataset.pk]), {"service-name": "nightly", "service-role": "admin"})
    account = Member.objects.get(user__username="nightly").user

    page = admin.post(
        reverse("programs", args=[dataset.pk]),
        {
            "token-account": account.pk,
            "token-name": "job",
            "token-scope": "manage",
            "token-days": "9",
        },
    ).content.decode()

    (secret,) = SECRET.findall(page)
    assert account.is_service
    assert not account.has_usable_password()
    assert program_with(secret).get(f"/api/v1/datasets/{dataset.pk}/settings").status_code == 200


def test_a_service_account_gets_no_token_to_vote(dataset, alice, as_user):
    account = tokens.add_service_account(dataset, "nightly", Role.REVIEWER, alice)

    page = (
        as_user(alice)
        .post(
            reverse("programs", args=[dataset.pk]),
            {
                "token-account": account.pk,
                "token-name": "job",
                "token-scope": "annotate",
                "token-days": "9",
            },
        )
        .content.decode()
    )

    assert "A service account does not vote." in page
    assert not Token.objects.exists()


def test_an_erased_person_has_no_token(dataset, bob):
    token_of(bob)

    erasing.erase(bob)

    assert not Token.objects.exists()


def test_when_a_token_was_last_used_is_known_to_the_minute(alice):
    program = program_with(token_of(alice))
    program.get("/api/v1/datasets")
    first = Token.objects.get().last_used_at
    program.get("/api/v1/datasets")
    assert Token.objects.get().last_used_at == first
    Token.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    program.get("/api/v1/datasets")
    assert Token.objects.get().last_used_at > first


def test_a_token_that_asks_too_often_waits(alice, settings):
    settings.API_REQUESTS_A_MINUTE = 3
    program = program_with(token_of(alice))

    # A minute of the clock may end in between, but not twice.
    answers = [program.get("/api/v1/datasets") for _ in range(8)]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert 1 <= int(refused[0]["Retry-After"]) <= 60
    assert program_with(token_of(alice)).get("/api/v1/datasets").status_code == 200


def test_several_processes_give_a_token_no_more_requests_together(alice, settings, monkeypatch):
    settings.API_REQUESTS_A_MINUTE = 300
    monkeypatch.setattr(programs, "time", lambda: 60_000.0)
    token_of(alice)
    token = Token.objects.get()
    processes = [programs._Pace() for _ in range(3)]

    waits = [processes[n % 3].seconds_to_wait(token) for n in range(600)]

    assert waits.count(0) == 300
    assert set(waits) == {0, 60}
    monkeypatch.setattr(programs, "time", lambda: 60_060.0)
    assert processes[0].seconds_to_wait(token) == 0


def test_most_requests_of_a_token_write_nothing(alice, django_assert_num_queries):
    token_of(alice)
    token, pace = Token.objects.get(), programs._Pace()

    with django_assert_num_queries(1):
        for _ in range(20):
            assert pace.seconds_to_wait(token) == 0


def test_old_answers_are_forgotten_and_new_ones_are_kept(alice):
    token_of(alice)
    token = Token.objects.get()
    old, new = (KeptAnswer.objects.create(token=token, key=key, request="") for key in ("old", "new"))
    KeptAnswer.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(hours=49))

    KeptAnswer.objects.forget_old(timezone.now())

    assert list(KeptAnswer.objects.all()) == [new]


def test_nobody_votes_by_looking_at_tokens(bob, as_user):
    as_user(bob).get(reverse("tokens"))

    assert not Annotator.objects.exists()


def test_more_tokens_than_anybody_needs_are_refused(alice, monkeypatch, as_user, dataset):
    monkeypatch.setattr(tokens, "MOST_TOKENS", 1)
    token_of(alice)

    page = make(as_user(alice), dataset)

    assert "Revoke one first." in page
    assert Token.objects.count() == 1


def test_a_name_that_is_taken_makes_no_service_account(dataset, alice, as_user):
    UserFactory.create(username="Nightly")

    page = (
        as_user(alice)
        .post(reverse("programs", args=[dataset.pk]), {"service-name": "nightly", "service-role": "admin"})
        .content.decode()
    )

    assert "Another account is named nightly." in page
    assert Member.objects.filter(dataset=dataset).count() == 1
