"""Who may do what, as one table: a URL that is not in it fails the tests."""

from collections.abc import Callable
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import NamedTuple
from uuid import uuid4

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, get_resolver, reverse
from django.utils import timezone

from tests.conftest import client_of
from tests.factories import (
    ComparisonFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    RunFactory,
    UserFactory,
)
from workbench.models import (
    Act,
    AllowedHost,
    Annotator,
    Dataset,
    Example,
    Invitation,
    Member,
    Release,
    Reply,
    Role,
    Token,
    User,
    Webhook,
)
from workbench.pipeline import imports, quality, releases
from workbench.pipeline.people import invitations, tokens
from workbench.pipeline.questions import replying

pytestmark = [pytest.mark.django_db, pytest.mark.portable]

OF_NO_DATASET = {
    "",
    "link",
    "version",
    "host",
    "account",
    "login",
    "document",
    "picture",
    "old link to reset",
    "old link to verify",
    "old passkey",
    "no provider",
}
PEOPLE = ("anonymous", "stranger", "annotator", "reviewer", "admin", "staff")


class Row(NamedTuple):
    """A request without a body: the kind of object, and the status for each of PEOPLE."""

    method: str
    of: str
    statuses: tuple[int, int, int, int, int, int]


OPEN = (200, 200, 200, 200, 200, 200)
LOGGED_IN = (302, 200, 200, 200, 200, 200)
ANNOTATOR = (302, 404, 200, 200, 200, 200)
REVIEWER = (302, 404, 403, 200, 200, 200)
ADMIN = (302, 404, 403, 403, 200, 200)
STAFF = (302, 403, 403, 403, 403, 200)


def to(status: int, allowed: tuple[int, ...]) -> tuple[int, ...]:
    """The same people, when success answers `status` and not 200."""
    return tuple(status if code == 200 else code for code in allowed)


TABLE = {
    "home": Row("GET", "", LOGGED_IN),
    "login": Row("GET", "", (200, 302, 302, 302, 302, 302)),
    "logout": Row("POST", "", (302, 302, 302, 302, 302, 302)),
    "password_change": Row("GET", "", LOGGED_IN),
    "password_change_done": Row("GET", "", LOGGED_IN),
    "account_login": Row("GET", "", (200, 302, 302, 302, 302, 302)),
    "account_logout": Row("POST", "", (302, 302, 302, 302, 302, 302)),
    "account_reset_password": Row("GET", "", OPEN),
    "account_reset_password_done": Row("GET", "", OPEN),
    "account_reset_password_from_key": Row("GET", "old link to reset", OPEN),
    "account_reset_password_from_key_done": Row("GET", "", OPEN),
    "account_email": Row("GET", "", LOGGED_IN),
    "account_confirm_email": Row("GET", "old link to verify", OPEN),
    "account_reauthenticate": Row("GET", "", LOGGED_IN),
    "mfa_authenticate": Row("GET", "", (302, 302, 302, 302, 302, 302)),
    "mfa_login_webauthn": Row("GET", "", (200, 302, 302, 302, 302, 302)),
    "openid_connect_login": Row("GET", "no provider", (404, 404, 404, 404, 404, 404)),
    "openid_connect_callback": Row("GET", "no provider", (404, 404, 404, 404, 404, 404)),
    "mfa_index": Row("GET", "", LOGGED_IN),
    "mfa_list_webauthn": Row("GET", "", LOGGED_IN),
    "mfa_reauthenticate": Row("GET", "", to(302, LOGGED_IN)),
    "mfa_activate_totp": Row("GET", "", to(302, LOGGED_IN)),
    "mfa_deactivate_totp": Row("GET", "", to(404, LOGGED_IN)),
    "mfa_view_recovery_codes": Row("GET", "", to(404, LOGGED_IN)),
    "mfa_generate_recovery_codes": Row("GET", "", to(302, LOGGED_IN)),
    "mfa_download_recovery_codes": Row("GET", "", to(404, LOGGED_IN)),
    "mfa_add_webauthn": Row("GET", "", to(302, LOGGED_IN)),
    "mfa_reauthenticate_webauthn": Row("GET", "", to(302, LOGGED_IN)),
    "mfa_remove_webauthn": Row("GET", "old passkey", to(302, LOGGED_IN)),
    "mfa_edit_webauthn": Row("GET", "old passkey", to(302, LOGGED_IN)),
    "dataset_new": Row("GET", "", STAFF),
    "dataset": Row("GET", "dataset", ANNOTATOR),
    "data": Row("GET", "dataset", REVIEWER),
    "groups": Row("GET", "dataset", REVIEWER),
    "view_save": Row("POST", "dataset", to(302, REVIEWER)),
    "view_delete": Row("POST", "view", to(302, ADMIN)),
    "data_act": Row("POST", "dataset", to(302, REVIEWER)),
    "data_history": Row("GET", "dataset", REVIEWER),
    "act_undo": Row("POST", "act", to(302, ADMIN)),
    "prompt": Row("GET", "prompt", REVIEWER),
    "settings": Row("GET", "dataset", ADMIN),
    "guidelines_revise": Row("POST", "dataset", to(400, ADMIN)),
    "dataset_delete": Row("GET", "dataset", ADMIN),
    "clone": Row("POST", "dataset", to(400, ADMIN)),
    "archive": Row("POST", "dataset", to(302, ADMIN)),
    "bring_back": Row("POST", "dataset", to(302, ADMIN)),
    "people": Row("GET", "dataset", ADMIN),
    "invitations": Row("GET", "dataset", ADMIN),
    "invite_link": Row("POST", "dataset", to(400, ADMIN)),
    "invite_mails": Row("POST", "dataset", to(400, ADMIN)),
    "invitation_resend": Row("POST", "invitation", to(302, ADMIN)),
    "invitation_revoke": Row("POST", "invitation", to(302, ADMIN)),
    "agree": Row("GET", "dataset", to(302, ANNOTATOR)),
    "join": Row("GET", "", OPEN),
    "join_link": Row("GET", "link", to(302, OPEN)),
    "member_change": Row("POST", "member", to(302, ADMIN)),
    "member_facts": Row("POST", "member", to(302, ADMIN)),
    "member_qualify": Row("POST", "member", to(302, ADMIN)),
    "member_pause": Row("POST", "member", to(302, ADMIN)),
    "member_resume": Row("POST", "member", to(302, ADMIN)),
    "member_remove": Row("POST", "member", to(302, ADMIN)),
    "person": Row("GET", "member", ADMIN),
    "former": Row("GET", "former", ADMIN),
    "account": Row("GET", "", LOGGED_IN),
    "account_data": Row("GET", "", LOGGED_IN),
    "own_languages": Row("POST", "", to(302, LOGGED_IN)),
    "login_end": Row("POST", "login", (302, 404, 404, 404, 404, 404)),
    "log_out_elsewhere": Row("POST", "", to(302, LOGGED_IN)),
    "time_sheet": Row("GET", "dataset", ADMIN),
    "time_sheet_csv": Row("GET", "dataset", ADMIN),
    "runs": Row("GET", "dataset", ADMIN),
    "running": Row("GET", "dataset", to(286, REVIEWER)),
    "run": Row("GET", "run", ADMIN),
    "run_cancel": Row("POST", "run", to(302, ADMIN)),
    "run_retry": Row("POST", "run", to(302, ADMIN)),
    "model": Row("GET", "dataset", ADMIN),
    "model_outlook": Row("POST", "dataset", ADMIN),
    "model_evaluate": Row("POST", "dataset", to(404, ADMIN)),
    "model_compare": Row("GET", "dataset", ADMIN),
    "model_version": Row("GET", "dataset_version", ADMIN),
    "promote": Row("POST", "dataset_version", to(302, (302, 404, 403, 403, 403, 200))),
    "versions": Row("GET", "", STAFF),
    "version": Row("GET", "version", STAFF),
    "version_calibrate": Row("POST", "version", to(302, STAFF)),
    "version_delete": Row("POST", "version", to(302, STAFF)),
    "version_add": Row("GET", "", STAFF),
    "version_activate": Row("POST", "version", to(302, STAFF)),
    "rollback": Row("POST", "", to(302, STAFF)),
    "version_retire": Row("POST", "version", to(302, STAFF)),
    "annotate": Row("GET", "dataset", ANNOTATOR),
    "annotate_next": Row("POST", "dataset", ANNOTATOR),
    "judge": Row("POST", "dataset", to(302, ANNOTATOR)),
    "annotate_skip": Row("POST", "dataset", to(302, ANNOTATOR)),
    "annotate_flag": Row("POST", "dataset", to(302, ANNOTATOR)),
    "annotate_hold": Row("POST", "dataset", ANNOTATOR),
    "annotate_undo": Row("GET", "dataset", to(302, ANNOTATOR)),
    "annotate_markdown": Row("GET", "claimed", ANNOTATOR),
    "annotate_own": Row("GET", "dataset", ANNOTATOR),
    "qualify": Row("GET", "dataset", ANNOTATOR),
    "qualify_start": Row("POST", "dataset", to(302, ANNOTATOR)),
    "qualify_answer": Row("POST", "dataset", to(302, ANNOTATOR)),
    "straight_on": Row("POST", "", to(204, LOGGED_IN)),
    "gold": Row("POST", "comparison", to(302, REVIEWER)),
    "questions": Row("GET", "dataset", ANNOTATOR),
    "guidelines": Row("GET", "dataset", ANNOTATOR),
    "reply": Row("POST", "comparison", to(302, REVIEWER)),
    "example": Row("POST", "comparison", to(302, REVIEWER)),
    "reply_undo": Row("POST", "reply", to(302, REVIEWER)),
    "example_undo": Row("POST", "example", to(302, REVIEWER)),
    "quality": Row("GET", "dataset", REVIEWER),
    "quality_report": Row("GET", "figures", ADMIN),
    "quality_table": Row("GET", "table of figures", REVIEWER),
    "quality_chart": Row("GET", "chart", REVIEWER),
    "more_pairs": Row("GET", "dataset", ADMIN),
    "more_pairs_undo": Row("POST", "act on pairs", to(302, ADMIN)),
    "similar": Row("GET", "dataset", REVIEWER),
    "topics": Row("GET", "dataset", REVIEWER),
    "topics_renew": Row("POST", "dataset", to(302, ADMIN)),
    "sources": Row("GET", "dataset", REVIEWER),
    "sources_report": Row("GET", "figures", REVIEWER),
    "sources_table": Row("GET", "table of sources", REVIEWER),
    "sources_chart": Row("GET", "chart of sources", REVIEWER),
    "review": Row("GET", "dataset", REVIEWER),
    "review_case": Row("GET", "comparison", REVIEWER),
    "settle": Row("POST", "comparison", to(400, REVIEWER)),
    "unsettle": Row("POST", "comparison", to(409, REVIEWER)),
    "releases": Row("GET", "dataset", ADMIN),
    "release_leakage": Row("GET", "dataset", ADMIN),
    "release_count": Row("POST", "dataset", ADMIN),
    "release": Row("GET", "release", ADMIN),
    "release_download": Row("GET", "file", ADMIN),
    "release_pushes": Row("GET", "release", ADMIN),
    "release_push": Row("POST", "release", to(400, ADMIN)),
    "system": Row("GET", "", STAFF),
    "accounts": Row("GET", "", STAFF),
    "accounts_person": Row("GET", "account", STAFF),
    "accounts_change": Row("POST", "account", to(400, STAFF)),
    "accounts_erase": Row("GET", "account", STAFF),
    "history": Row("GET", "", STAFF),
    "history_csv": Row("GET", "", STAFF),
    "dataset_history": Row("GET", "dataset", ADMIN),
    "dataset_history_csv": Row("GET", "dataset", ADMIN),
    "tokens": Row("GET", "", LOGGED_IN),
    "token_revoke": Row("POST", "token", (302, 404, 404, 404, 302, 302)),
    "programs": Row("GET", "dataset", ADMIN),
    "openapi": Row("GET", "", OPEN),
    "metrics": Row("GET", "", (404,) * 6),
    "allowed_hosts": Row("GET", "", STAFF),
    "allowed_host_remove": Row("POST", "host", to(302, STAFF)),
    "import_hub": Row("GET", "dataset", ADMIN),
    "import_fetch": Row("GET", "fetch", ADMIN),
    "release_zip": Row("GET", "release", ADMIN),
    "import": Row("GET", "dataset", ADMIN),
    "import_preview": Row("GET", "upload", ADMIN),
    "import_rejects": Row("GET", "rejects", ADMIN),
    "import_remove": Row("POST", "upload", to(302, ADMIN)),
    "guideline_gaps": Row("GET", "dataset", REVIEWER),
    "webhooks": Row("GET", "dataset", ADMIN),
    "webhook": Row("GET", "webhook", ADMIN),
    "webhook_change": Row("POST", "webhook", to(400, ADMIN)),
    "webhook_switch": Row("POST", "webhook", to(302, ADMIN)),
    "webhook_rotate": Row("POST", "webhook", ADMIN),
    "webhook_test": Row("POST", "webhook", to(302, ADMIN)),
    "webhook_replay": Row("POST", "webhook", to(302, ADMIN)),
    "webhook_delete": Row("POST", "webhook", to(302, ADMIN)),
    "help": Row("GET", "", OPEN),
    "help_search": Row("GET", "", OPEN),
    "help_page": Row("GET", "document", OPEN),
    "help_picture": Row("GET", "picture", OPEN),
}


class Clients(dict[str, Client]):
    """A client of each of PEOPLE, logged in when a test asks for it first."""

    def __init__(self, **people: User) -> None:
        super().__init__(anonymous=Client())
        self.people = people

    def __missing__(self, who: str) -> Client:
        return self.setdefault(who, client_of(self.people[who]))


@pytest.fixture
def clients(dataset: Dataset, alice, rita, bob, charlie) -> Clients:
    staff = UserFactory.create(username="sam", is_staff=True)
    return Clients(stranger=charlie, annotator=bob, reviewer=rita, admin=alice, staff=staff)


@pytest.fixture
def path_of(dataset: Dataset) -> Callable[[str], str]:
    return paths_in(dataset)


def invited_to(dataset: Dataset) -> Invitation:
    return invitations.create_link(dataset, Role.ANNOTATOR, UserFactory.create())


def webhook_of(dataset: Dataset) -> Webhook:
    return dataset.webhooks.create(url="https://hooks.example/", events=["run.finished"], sealed_secret="x")


def reply_in(dataset: Dataset) -> Reply:
    judgment = JudgmentFactory.create(comparison__prompt__dataset=dataset, comment="Which?")
    return replying.reply(judgment.comparison, judgment.annotator, "The left.", UserFactory.create())


def example_in(dataset: Dataset) -> Example:
    pair = ComparisonFactory.create(prompt__dataset=dataset)
    return Example.objects.create(comparison=pair, text="It is right.", by=UserFactory.create())


def token_naming(dataset: Dataset) -> Token:
    """A token of somebody else that names the dataset."""
    token, _ = tokens.make(
        UserFactory.create(), "job", Token.Scope.READ, datasets=[dataset], days=9, by=UserFactory.create()
    )
    return token


def paths_in(dataset: Dataset) -> Callable[[str], str]:
    """The URL of a row of TABLE, on a fresh object of the kind that it is of."""

    def member() -> tuple[list[object], str]:
        return [dataset.pk, dataset.members.create(user=UserFactory.create(), role="annotator").pk], ""

    def claimed() -> tuple[list[object], str]:
        everybody = User.objects.all()
        comparison = ComparisonFactory.create(prompt__dataset=dataset, claimed=len(everybody))
        for slot, user in enumerate(everybody):
            comparison.claims.create(
                annotator=Annotator.objects.for_user(user),
                slot=slot,
                left="a",
                mode="blind",
                expires_at=timezone.now() + timedelta(minutes=20),
            )
        return [dataset.pk], f"?comparison={comparison.pk}"

    def built(file: bool = False) -> tuple[list[object], str]:
        JudgmentFactory.create(comparison__prompt__dataset=dataset)
        built = releases.build(Release(dataset=dataset, profiles=["preference"]))
        return [built.pk, releases.MANIFEST] if file else [built.pk], ""

    def uploaded(rejects: bool = False) -> tuple[list[object], str]:
        row = b'{"prompt": "p", "chosen": "c", "rejected": "r"}\n'
        path = default_storage.save(f"uploads/{uuid4()}", ContentFile(row))
        upload = dataset.uploads.create(shown_name="a.jsonl", path=path, size=len(row), sha256="")
        if not rejects:
            return [upload.pk], ""
        run = RunFactory.create(dataset=dataset, kind="import", upload=upload, state="done")
        default_storage.save(imports.rejects_path(run), ContentFile(row))
        return [upload.pk, run.pk], ""

    def figures(*of: str, chart: str = "accuracy") -> tuple[list[object], str]:
        by = {"comparison__a__source": "rowan", "comparison__b__source": "alder"}
        JudgmentFactory.create(comparison__prompt__dataset=dataset, **by)
        run = quality.begin(dataset)
        run.start()
        stored = quality.carry_out(run)
        name = f"{chart}-people-light-0.svg"
        path = default_storage.save(f"statistics/{dataset.pk}/{name}", ContentFile(b"<svg/>"))
        stored.report["charts"] = [path]
        stored.save()
        return [dataset.pk, *of], ""

    def act_on_pairs() -> tuple[list[object], str]:
        return [dataset.pk, dataset.acts.create(kind="pairs", details={"pairs": []}).pk], ""

    kinds: dict[str, Callable[[], tuple[list[object], str]]] = {
        "reply": lambda: ([reply_in(dataset).pk], ""),
        "example": lambda: ([example_in(dataset).pk], ""),
        "": lambda: ([], ""),
        "dataset": lambda: ([dataset.pk], ""),
        "member": member,
        "invitation": lambda: ([invited_to(dataset).pk], ""),
        "token": lambda: ([token_naming(dataset).pk], ""),
        "link": lambda: ([invited_to(dataset).token], ""),
        "webhook": lambda: ([webhook_of(dataset).pk], ""),
        "view": lambda: ([dataset.views.create(name=str(uuid4()), shared=True).pk], ""),
        "prompt": lambda: ([PromptFactory.create(dataset=dataset).pk], ""),
        "act": lambda: ([Act.objects.create(dataset=dataset, kind="priority").pk], ""),
        "comparison": lambda: ([ComparisonFactory.create(prompt__dataset=dataset).pk], ""),
        "claimed": claimed,
        "run": lambda: ([RunFactory.create(dataset=dataset).pk], ""),
        "fetch": lambda: ([RunFactory.create(dataset=dataset, kind="fetch").pk], ""),
        "former": lambda: (
            [dataset.pk, JudgmentFactory.create(comparison__prompt__dataset=dataset).annotator_id],
            "",
        ),
        "login": lambda: ([UserFactory.create().logins.create(session_key=uuid4().hex).pk], ""),
        "account": lambda: ([UserFactory.create().pk], ""),
        "host": lambda: ([AllowedHost.objects.create(name=f"{uuid4()}.example").pk], ""),
        "release": built,
        "file": lambda: built(file=True),
        "upload": uploaded,
        "rejects": lambda: uploaded(rejects=True),
        "figures": figures,
        "table of figures": lambda: figures("people", "accuracy"),
        "chart": lambda: figures("accuracy-people-light-0.svg"),
        "act on pairs": lambda: (
            [dataset.pk, dataset.acts.create(kind="pairs", details={"pairs": []}).pk],
            "",
        ),
        "table of sources": lambda: figures("people", "strengths"),
        "chart of sources": lambda: figures("sources-people-light-0.svg", chart="sources"),
        "version": lambda: ([ModelVersionFactory.create().pk], ""),
        "dataset_version": lambda: ([dataset.pk, ModelVersionFactory.create().pk], ""),
        "old passkey": lambda: ([1], ""),
        "no provider": lambda: (["nobody"], ""),
        "old link to reset": lambda: (["1", "old-link"], ""),
        "old link to verify": lambda: (["old-link"], ""),
        "document": lambda: (["how-to/imports"], ""),
        "picture": lambda: (["annotate.webp"], ""),
    }

    def path(name: str) -> str:
        args, query = kinds[TABLE[name].of]()
        return reverse(name, args=args) + query

    return path


def test_every_url_of_the_workbench_stands_in_the_table():
    patterns = [pattern for pattern in get_resolver().url_patterns if isinstance(pattern, URLPattern)]

    assert {pattern.name for pattern in patterns} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_a_page_is_for_those_the_table_says(name: str, clients, path_of):
    row = TABLE[name]

    path, statuses = path_of(name), {}
    for who in PEOPLE:
        answer = clients[who].generic(row.method, path)
        b"".join(answer)  # a file that is not sent to its end stays open
        statuses[who] = answer.status_code
        path = path if row.method == "GET" else path_of(name)

    assert statuses == dict(zip(PEOPLE, row.statuses, strict=True))


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.method == "POST"])
def test_a_change_cannot_be_made_by_following_a_link(name: str, clients, path_of):
    answer = clients["staff"].get(path_of(name))

    assert answer.status_code == 405


@pytest.mark.parametrize(
    "name", [name for name, row in TABLE.items() if row.statuses[0] == 302 and name != "join_link"]
)
def test_somebody_who_is_not_logged_in_is_sent_to_the_login_page(name: str, clients, path_of):
    row = TABLE[name]

    answer = clients["anonymous"].generic(row.method, path_of(name))

    assert answer.headers["Location"].startswith(reverse("login"))


# --- rights that change while somebody is logged in ---------------------------------------------------------


class Change(NamedTuple):
    """Who of PEOPLE somebody is by their rights before and after, by whom and on which page these change, and
    the status of URLs where they differ from `after` all the same."""

    before: str
    after: str
    by: str
    page: str
    form: dict[str, str] = {}
    but: dict[str, int] = {}


ANNOTATOR_NOW, REVIEWER_NOW = {"role": "annotator"}, {"role": "reviewer"}
CLOSE, LOG_OUT, END_STAFF = {"act": "close"}, {"act": "log-out"}, {"act": "end-staff"}
REASON = {"reason": "They asked for a break."}
PAUSED = {"qualify": 302}  # to the page that says why
CHANGES = {
    "annotator who is removed": Change("annotator", "stranger", "admin", "member_remove"),
    "annotator who is paused": Change("annotator", "annotator", "admin", "member_pause", REASON, PAUSED),
    "annotator who is a reviewer now": Change(
        "annotator", "reviewer", "admin", "member_change", REVIEWER_NOW
    ),
    "reviewer who is an annotator now": Change(
        "reviewer", "annotator", "admin", "member_change", ANNOTATOR_NOW
    ),
    "admin who is an annotator now": Change("admin", "annotator", "admin", "member_change", ANNOTATOR_NOW),
    "admin whose account is closed": Change("admin", "anonymous", "staff", "accounts_change", CLOSE),
    "admin whom staff log out": Change("admin", "anonymous", "staff", "accounts_change", LOG_OUT),
    "admin who logs out everywhere else": Change("admin", "anonymous", "elsewhere", "log_out_elsewhere"),
    "admin who ends this login elsewhere": Change("admin", "anonymous", "elsewhere", "login_end"),
    "staff who log out here": Change("staff", "anonymous", "same browser", "logout"),
    "staff no longer": Change("staff", "stranger", "staff", "accounts_change", END_STAFF),
}


@pytest.mark.parametrize("visitor", CHANGES)
def test_a_change_of_rights_acts_at_the_next_request_of_an_open_session(
    visitor: str, clients, path_of, dataset
):
    before, after, by, page, form, but = CHANGES[visitor]
    person = UserFactory.create(is_staff=before == "staff")
    member = dataset.members.create(user=person, role=before) if before in Role else None
    browser, same_browser, elsewhere = Client(), Client(), client_of(person)
    browser.force_login(person, backend="workbench.backends.NameOrMail")
    for path in (reverse("home"), reverse("dataset", args=[dataset.pk])):
        assert browser.get(path).status_code == 200
    session = browser.cookies[settings.SESSION_COOKIE_NAME].value
    clients |= {"same browser": same_browser, "elsewhere": elsewhere}
    changing = clients[by]
    args = {
        "member": lambda: [dataset.pk, member.pk],
        "account": lambda: [person.pk],
        "login": lambda: [person.logins.get(session_key=session).pk],
        "": list,
    }
    place = reverse(page, args=args[TABLE[page].of]())
    same_browser.cookies[settings.SESSION_COOKIE_NAME] = session
    keys = [(client, client.cookies[settings.SESSION_COOKIE_NAME].value) for client in (browser, changing)]
    statuses, wanted = {}, {}

    for name, row in TABLE.items():
        with transaction.atomic():  # each URL is the first one asked for after the change
            path = path_of(name)
            assert changing.post(place, form).status_code == 302
            answer = browser.generic(row.method, path)
            b"".join(answer)
            transaction.set_rollback(True)
        for client, key in keys:
            client.cookies = SimpleCookie({settings.SESSION_COOKIE_NAME: key})
        statuses[name] = answer.status_code
        wanted[name] = but.get(name, row.statuses[PEOPLE.index(after)])

    assert statuses == wanted


def test_a_pause_acts_at_the_next_request_of_an_open_page(clients, dataset, bob):
    pair = ComparisonFactory.create(prompt__dataset=dataset)
    page, browser = reverse("annotate", args=[dataset.pk]), clients["annotator"]
    assert pair.a.text in browser.get(page).content.decode()
    member, claim = dataset.members.get(user=bob), pair.claims.get()
    clients["admin"].post(reverse("member_pause", args=[dataset.pk, member.pk]), REASON)

    vote = {"user": bob.pk, "comparison": pair.pk, "claim": claim.pk, "answer": "left", "key": "0" * 32}
    refused = browser.post(reverse("judge", args=[dataset.pk]), vote, headers={"X-Requested-With": "fetch"})
    shown = browser.get(page).content.decode()

    assert refused.status_code == 409
    assert pair.a.text not in shown
    assert REASON["reason"] in shown


NO_CHANGE_OF_WHAT_IS_ARCHIVED = {
    "dataset_delete",
    "clone",
    "archive",
    "bring_back",
    "people",
    "agree",
    "invitation_revoke",
    "member_change",
    "member_facts",
    "member_pause",
    "member_qualify",
    "member_resume",
    "member_remove",
    "time_sheet",
    "token_revoke",
    "webhook_delete",
    "webhook_switch",
}
"""Members may come and go, and the Dataset as a whole has its own rules."""


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.of not in OF_NO_DATASET])
def test_nobody_changes_an_archived_dataset_by_any_url(name: str, clients, path_of, dataset):
    path = path_of(name)
    Dataset.objects.filter(pk=dataset.pk).update(archived_at=timezone.now())

    answer = clients["staff"].post(path)

    if name in NO_CHANGE_OF_WHAT_IS_ARCHIVED:
        assert answer.status_code in {200, 302, 400}
    elif answer.status_code != 405:  # there is nothing to post here
        assert answer.status_code == 423
        assert f"{dataset} is archived: you can read and export it" in answer.content.decode()


READ = [name for name, row in TABLE.items() if row.method == "GET" and row.of not in OF_NO_DATASET]


@pytest.mark.parametrize("name", [name for name in READ if name != "annotate_undo"])  # it begins a change
def test_an_archived_dataset_can_be_read_and_exported(name: str, clients, path_of, dataset):
    path = path_of(name)
    Dataset.objects.filter(pk=dataset.pk).update(archived_at=timezone.now())

    answer = clients["admin"].get(path, follow=True)

    b"".join(answer)
    assert answer.status_code == (286 if name == "running" else 200)  # a bar that asks no more


def test_a_run_of_no_dataset_is_for_staff(clients):
    run = RunFactory.create(dataset=None)

    assert clients["staff"].get(reverse("run", args=[run.pk])).status_code == 200
    assert clients["admin"].get(reverse("run", args=[run.pk])).status_code == 404


def test_an_admin_of_one_dataset_cannot_change_the_members_of_another(clients, dataset):
    elsewhere = Member.objects.create(
        dataset=Dataset.objects.create(name="Elsewhere"), user=UserFactory.create(), role="annotator"
    )

    answer = clients["admin"].post(reverse("member_remove", args=[dataset.pk, elsewhere.pk]))

    assert answer.status_code == 404
    assert Member.objects.filter(pk=elsewhere.pk).exists()
