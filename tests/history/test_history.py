"""What admins and reviewers do leaves a row in the transaction of the act, and nothing else does."""

import csv
import io
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, transaction
from django.http import HttpResponseBase
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.api.conftest import program_with, token_of
from tests.api.tables import operations
from tests.api.test_access import ADDRESSES, OBJECTS
from tests.conftest import client_of
from tests.datasets.test_life import sent
from tests.factories import (
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    RunFactory,
    UserFactory,
)
from tests.web.test_access import TABLE, paths_in, webhook_of
from workbench.api.sending import NDJSON
from workbench.models import (
    Act,
    Annotator,
    AuditEvent,
    Dataset,
    Event,
    Example,
    Flag,
    Member,
    Reply,
    Role,
    Run,
    User,
)
from workbench.pipeline.data import acts
from workbench.pipeline.data.changes import PutFirst
from workbench.pipeline.datasets import deleting
from workbench.pipeline.history import finding, recording
from workbench.pipeline.model.promotion import activate
from workbench.pipeline.people import erasing, invitations, pausing
from workbench.pipeline.questions import replying
from workbench.pipeline.review import decide

Kind = AuditEvent.Kind

PASSWORD = "a long enough password"
SECRETS = {
    "dora@example.org", "A secret reason.", "A secret note.", "Be secretly kind.", "secret tag",
    "Secret view", "secret.example", "secret-path", "A secret question?", "secret name",
}  # fmt: skip
"""Texts and addresses that the acts below send."""


@pytest.fixture
def sam(db: None) -> User:
    return UserFactory.create(username="sam", is_staff=True)


@dataclass(frozen=True)
class Drive:
    """A request that leaves rows of these kinds. sent: what it posts, by the objects of the world; None for a
    request by GET."""

    kinds: list[str]
    sent: Callable[["World"], dict[str, Any]] | None = field(default=lambda _: {})
    at: Callable[["World"], list[Any]] | None = None
    """The arguments of the address; None for a fresh object of the kind that TABLE names."""


class World:
    """A dataset with one of everything that the acts below are done to."""

    def __init__(self, dataset: Dataset, sam: User) -> None:
        self.dataset, self.sam = dataset, sam
        self.path_of = paths_in(dataset)
        self.bob = UserFactory.create(username="bob")
        self.member = dataset.members.create(user=self.bob, role="annotator")
        self.prompt = PromptFactory.create(
            dataset=dataset, messages=[{"role": "user", "content": "A secret question?"}]
        )
        self.pair = ComparisonFactory.create(prompt=self.prompt)
        self.first = ModelVersionFactory.create(name="first")
        self.version = ModelVersionFactory.create(name="second")
        JudgmentFactory.create(comparison__prompt__dataset=dataset)

    def act(self) -> Act:
        return acts.do(self.dataset, PutFirst(), [self.prompt.pk], by=self.sam)

    def settled(self) -> Any:
        return decide.settle(self.pair, self.sam, "a", seen_token=decide.seen(self.pair))

    def asker(self) -> Annotator:
        """Somebody who asked about the pair."""
        annotator, is_new = Annotator.objects.get_or_create(user=self.bob)
        if is_new:
            Flag.objects.create(comparison=self.pair, annotator=annotator, reason="other")
        return annotator

    def reply(self) -> Reply:
        return replying.reply(self.pair, self.asker(), "A secret reason.", self.sam)

    def example(self) -> Example:
        self.settled()
        return replying.make_example(self.pair, "A secret reason.", self.sam)

    def active(self) -> None:
        activate(self.first)
        activate(self.version, reason="better")

    def run(self, **fields: Any) -> Run:
        return RunFactory.create(dataset=self.dataset, **fields)

    def dead_delivery(self) -> Any:
        event = Event.objects.create(dataset=self.dataset, type="run.finished", number=1, facts={})
        return webhook_of(self.dataset).deliveries.create(event=event, state="dead")

    def failed_mail(self) -> Any:
        (invitation,) = invitations.invite(
            self.dataset, ["dora@example.org"], "annotator", self.sam, "https://w.example"
        ).new
        invitation.mail = "failed"
        invitation.save()
        return invitation


def paused(world: World) -> list[int]:
    pausing.pause(world.member, world.sam, "A secret reason.")
    return [world.dataset.pk, world.member.pk]


def to_qualify(world: World) -> list[int]:
    Dataset.objects.filter(pk=world.dataset.pk).update(qualify_pairs=3)
    return member(world)


def undoable(world: World) -> list[int]:
    return [world.act().pk]


def replaced(world: World) -> list[int]:
    world.active()
    return []


def of_pair(world: World) -> list[int]:
    return [world.pair.pk]


def asked(world: World) -> list[int]:
    world.asker()
    return [world.pair.pk]


def replied(world: World) -> dict[str, Any]:
    return {"annotator": world.asker().pk, "text": "A secret reason."}


def archived(world: World) -> list[int]:
    Dataset.objects.filter(pk=world.dataset.pk).update(archived_at=timezone.now())
    return [world.dataset.pk]


def member(world: World) -> list[int]:
    return [world.dataset.pk, world.member.pk]


def settled(world: World) -> list[int]:
    world.settled()
    return [world.pair.pk]


def target_of(_: World) -> dict[str, Any]:
    return {"url": "https://8.8.8.8/secret-path", "events": ["run.finished", "release.ready"]}


def settings_of(world: World) -> dict[str, Any]:
    return sent(world.dataset, overlap=3, description="A secret note.")


def reason(_: World) -> dict[str, Any]:
    return {"reason": "A secret reason."}


DRIVES: dict[str, Drive] = {
    "dataset_new": Drive(["dataset_created", "member_added"], lambda _: {"name": "secret name"}),
    "people": Drive(
        ["member_added"], lambda _: {"username": UserFactory.create().username, "role": "reviewer"}
    ),
    "member_change": Drive(["role_changed"], lambda _: {"role": "reviewer"}, member),
    "member_facts": Drive(["member_facts"], lambda _: {"languages": "Polish", "skills": "law"}, member),
    "member_qualify": Drive(
        ["qualification"], lambda _: {"kind": "try", "reason": "A secret reason."}, to_qualify
    ),
    "member_pause": Drive(["paused"], reason, member),
    "member_resume": Drive(["resumed"], reason, paused),
    "member_remove": Drive(["member_removed"], at=member),
    "time_sheet": Drive(
        ["time_corrected"],
        lambda w: {"user": w.bob.pk, "day": "2026-01-05", "seconds": 60, "reason": "A secret reason."},
    ),
    "invite_link": Drive(
        ["invited"], lambda _: {"link-role": "annotator", "link-uses": 3, "link-days": 3, "link-domain": ""}
    ),
    "invite_mails": Drive(
        ["invited"],
        lambda _: {"mails-addresses": "dora@example.org", "mails-role": "annotator", "mails-days": 3},
    ),
    "invitation_resend": Drive(["invitation_resent"], at=lambda w: [w.failed_mail().pk]),
    "invitation_revoke": Drive(["invitation_revoked"]),
    "settings": Drive(["settings"], settings_of),
    "webhooks": Drive(["webhook_added"], target_of),
    "webhook_change": Drive(["webhook_changed"], target_of),
    "webhook_switch": Drive(["webhook_changed"]),
    "webhook_rotate": Drive(["webhook_rotated"]),
    "webhook_test": Drive(["webhook_tested"]),
    "webhook_replay": Drive(["webhook_replayed"], at=lambda w: [w.dead_delivery().webhook_id]),
    "webhook_delete": Drive(["webhook_deleted"]),
    "guidelines_revise": Drive(["guidelines"], lambda _: {"text": "Be secretly kind.", "based_on": 0}),
    "clone": Drive(["dataset_cloned"], lambda _: {"clone-name": "secret name"}),
    "archive": Drive(["dataset_archived"]),
    "bring_back": Drive(["dataset_back"], at=archived),
    "dataset_delete": Drive(["dataset_deleted"], lambda w: {"name": w.dataset.name}),
    "view_save": Drive(["view_saved"], lambda _: {"name": "Secret view", "query": "q=cake"}),
    "view_delete": Drive(["view_deleted"]),
    "data_act": Drive(["act"], lambda w: {"kind": "tag", "tag": "secret tag", "prompts": [w.prompt.pk]}),
    "act_undo": Drive(["act_undone"], at=undoable),
    "more_pairs_undo": Drive(["act_undone"]),
    "gold": Drive(["gold"], lambda _: {"outcome": "a"}, of_pair),
    "settle": Drive(
        ["settled"],
        lambda w: {
            "comparison": w.pair.pk, "outcome": "a", "seen": decide.seen(w.pair), "note": "A secret note.",
        },
        of_pair,
    ),
    "unsettle": Drive(["unsettled"], lambda w: {"decision": w.pair.decisions.get().pk}, settled),
    "reply": Drive(["replied"], replied, asked),
    "reply_undo": Drive(["replied"], at=lambda w: [w.reply().pk]),
    "example": Drive(["example"], lambda _: {"text": "A secret reason."}, settled),
    "example_undo": Drive(["example"], at=lambda w: [w.example().pk]),
    "import": Drive(["uploaded"], lambda _: {"sample": "pairs.jsonl"}),
    "import_preview": Drive(["run_started"], lambda _: {"format": "auto"}),
    "import_remove": Drive(["file_removed"]),
    "import_hub": Drive(["run_started"], lambda _: {"repository": "team/secret", "revision": "main"}),
    "release_push": Drive(["run_started"], lambda _: {"repository": "team/secret"}),
    "allowed_hosts": Drive(["host_allowed"], lambda _: {"name": "secret.example"}),
    "allowed_host_remove": Drive(["host_removed"]),
    "releases": Drive(["run_started"], lambda _: {"profiles": ["preference"], "formats": ["jsonl"]}),
    "release_leakage": Drive(["run_started"], lambda _: {"column": "prompt"}),
    "topics_renew": Drive(["run_started"]),
    "model_evaluate": Drive(["run_started"], lambda w: {"version": w.version.pk}),
    "promote": Drive(["model_promoted"], at=lambda w: [w.dataset.pk, w.version.pk]),
    "version_add": Drive(["run_started"], lambda _: {"source": "folder", "folder": "/models/secret"}),
    "version": Drive(["model_changed"], lambda _: {"name": "secret name", "notice": "A secret note."}),
    "version_activate": Drive(["model_promoted"]),
    "version_retire": Drive(["model_retired"]),
    "version_delete": Drive(["model_deleted"]),
    "rollback": Drive(["model_rolled_back"], reason, replaced),
    "run_cancel": Drive(["run_cancelled"]),
    "run_retry": Drive(["run_retried"], at=lambda w: [w.run(kind="import", state="failed").pk]),
    "accounts": Drive(["account"], lambda _: {"username": "dora", "email": "dora@example.org"}),
    "accounts_person": Drive(["account"], lambda _: {"username": "dora", "email": "dora@example.org"}),
    "accounts_change": Drive(["account"], lambda _: {"act": "make-staff"}),
    "accounts_erase": Drive(["erased"], lambda w: {"name": w.bob.username}, lambda w: [w.bob.pk]),
    "login_end": Drive(
        ["sessions_ended"], at=lambda w: [w.sam.logins.create(session_key="k", browser="secret name").pk]
    ),
    "log_out_elsewhere": Drive(["sessions_ended"]),
    "tokens": Drive(
        ["token_made"],
        lambda _: {
            "token-name": "secret job", "token-scope": "read", "token-is_for_all": "on", "token-days": "9"
        },
    ),
    "programs": Drive(
        ["service_account", "member_added"], lambda _: {"service-name": "secret-job", "service-role": "admin"}
    ),
    "token_revoke": Drive(["token_revoked"]),
    "logout": Drive(["logged_out"]),
    "account_logout": Drive(["logged_out"]),
    "password_change": Drive(
        ["password"],
        lambda _: {
            "old_password": PASSWORD, "new_password1": "quite another sentence",
            "new_password2": "quite another sentence",
        },
    ),
    # by GET
    "time_sheet_csv": Drive(["downloaded"], None),
    "release_download": Drive(["downloaded"], None),
    "release_zip": Drive(["downloaded"], None),
    "import_rejects": Drive(["downloaded"], None),
    "quality_report": Drive(["downloaded"], None),
    "quality_table": Drive(["downloaded"], None),
    "sources_report": Drive(["downloaded"], None),
    "sources_table": Drive(["downloaded"], None),
    "history_csv": Drive(["downloaded"], None),
    "dataset_history_csv": Drive(["downloaded"], None),
}  # fmt: skip
"""How each URL by which admins and reviewers change or fetch something is used here."""

ELSEWHERE = {
    "login": "test_a_login_is_a_row_of_staff_admins_and_reviewers_alone",
    "account_login": "the same page",
    "mfa_authenticate": "logs in by the adapter, as a password does",
    "mfa_login_webauthn": "logs in by the adapter, as a password does",
    "openid_connect_callback": "logs in by the adapter, as a password does",
    "account_reset_password_from_key": "test_a_password_that_is_set_by_a_mail_is_a_row",
    "account_confirm_email": "test_a_verified_address_is_a_row",
    "mfa_activate_totp": "test_a_second_step_is_a_row",
    "mfa_deactivate_totp": "test_a_second_step_is_a_row",
    "mfa_generate_recovery_codes": "test_a_second_step_is_a_row",
    "mfa_add_webauthn": "test_a_passkey_that_is_added_is_a_row_and_a_refused_one_is_none",
    "mfa_remove_webauthn": "test_a_second_step_is_a_row",
    "join": "test_coming_by_an_invitation_is_a_row",
    "model": "test_a_training_is_a_row",
    "version_calibrate": "test_a_calibration_is_a_row",
    "more_pairs": "test_more_pairs_are_a_row",
}
"""URLs whose rows other tests look at, as they take more than one request."""

NO_ROW = {
    **dict.fromkeys(
        (
            "annotate_next",
            "judge",
            "annotate_skip",
            "annotate_flag",
            "annotate_hold",
            "annotate_undo",
            "qualify_start",
            "qualify_answer",
        ),
        "an annotator's act: Judgments, Flags and Claims are their own record",
    ),
    "straight_on": "how somebody's own page behaves",
    "own_languages": "what a person says of themselves",
    "agree": "an Agreement is its own record",
    "account_reset_password": "asks for a mail; who asks is not known",
    "account_reset_password_done": "a page alone",
    "account_email": "sends a mail; the address counts once it is verified, which is a row",
    "account_reauthenticate": "proves again who is logged in; nothing changes",
    "mfa_reauthenticate": "the same",
    "mfa_reauthenticate_webauthn": "the same",
    "mfa_edit_webauthn": "renames a passkey",
    "password_change_done": "a page alone",
    "openid_connect_login": "leads to the provider",
    "model_outlook": "a preview",
    "release_count": "a preview; final labels that it has derived follow from votes",
    "mfa_index": "a page alone",
    # by GET
    "mfa_download_recovery_codes": "one's own codes",
    "account_data": "one's own data",
    "help_picture": "a picture of the docs, for everybody",
}
"""URLs that take a POST or give a file, and leave no row, with the reason."""

FOLLOWED = {
    "list_prompts", "list_completions", "list_comparisons", "list_scores", "list_suggestions", "list_votes",
    "list_labels", "list_flags", "list_unscored",
}  # fmt: skip
"""Operations of the API that give all rows of a dataset: these leave one row a day."""

NO_ROW_OF_OPERATION = {"read_own_data": "one's own data"}
"""Operations of the API that give a file or a stream and leave no row, with the reason."""


@pytest.fixture
def world(dataset: Dataset, sam: User) -> World:
    return World(dataset, sam)


def client_for(sam: User) -> Client:
    sam.set_password(PASSWORD)
    sam.save()
    return client_of(sam)


def send(client: Client, world: World, name: str) -> Any:
    drive = DRIVES[name]
    path = reverse(name, args=drive.at(world)) if drive.at else world.path_of(name)
    AuditEvent.objects.all()._raw_delete(connection.alias)  # rows of the set-up
    if drive.sent is None:
        answer = client.get(path)
        b"".join(answer)
        return answer
    return client.post(path, drive.sent(world))


# --- every URL ----------------------------------------------------------------------------------------------


@pytest.mark.portable
@pytest.mark.django_db
def test_each_url_that_changes_something_leaves_a_row_or_says_why_not(world, sam):
    changing = set()
    for name in TABLE:
        client = client_of(User.objects.get(pk=sam.pk))  # some of the URLs log out
        answer = client.post(world.path_of(name))
        b"".join(answer)
        if answer.status_code != 405:
            changing.add(name)

    assert changing - {*DRIVES, *ELSEWHERE, *NO_ROW} == set()


def is_file(answer: HttpResponseBase) -> bool:
    """Whether a browser or a program keeps it as a file: an attachment, a table, lines, a stream."""
    kind = answer.get("Content-Type", "").partition(";")[0]
    named = "attachment" in answer.get("Content-Disposition", "")
    return answer.status_code == 200 and (named or answer.streaming or kind in ("text/csv", NDJSON))


def downloads() -> int:
    return AuditEvent.objects.filter(kind=Kind.DOWNLOADED).count()


@pytest.mark.portable
@pytest.mark.django_db
def test_each_url_that_gives_a_file_leaves_a_row_or_says_why_not(world, sam):
    files, without_row = set(), set()
    for name in TABLE:
        path, before = world.path_of(name), downloads()
        answer = client_of(User.objects.get(pk=sam.pk)).get(path)  # some of the URLs log out
        b"".join(answer)
        if is_file(answer):
            files.add(name)
            if downloads() == before:
                without_row.add(name)

    assert {name for name, drive in DRIVES.items() if drive.sent is None} <= files
    assert without_row <= set(NO_ROW)


@pytest.mark.portable
@pytest.mark.django_db
def test_each_operation_that_gives_a_file_leaves_a_row_or_says_why_not(dataset, sam):
    program = program_with(token_of(sam))
    files, without_row = set(), set()
    for name, row in operations().items():
        method, path = ADDRESSES[name]
        if method != "GET":
            continue
        with transaction.atomic():  # each leaves the row of the day
            answer = program.get(path.format(**OBJECTS[row.of](dataset)), headers={"accept": NDJSON})
            b"".join(answer)
            if is_file(answer):
                files.add(name)
                if not downloads():
                    without_row.add(name)
            transaction.set_rollback(True)

    assert files >= FOLLOWED
    assert without_row == set(NO_ROW_OF_OPERATION)


@pytest.mark.django_db
def test_a_program_that_follows_the_votes_leaves_one_row_a_day(dataset, rita, sam):
    reviewer, staff = (program_with(token_of(user)) for user in (rita, sam))
    votes, labels = (f"/api/v1/datasets/{dataset.pk}/{kind}" for kind in ("votes", "labels"))

    def follow(program: Client, path: str) -> list[str | None]:
        b"".join(program.get(path, headers={"accept": NDJSON}))
        return [event.actor.username for event in AuditEvent.objects.filter(word="rows").order_by("pk")]

    assert follow(reviewer, votes) == ["rita"]
    assert follow(reviewer, f"{votes}?since=7") == ["rita"]
    assert follow(reviewer, labels) == ["rita"]
    assert follow(staff, votes) == ["rita", "sam"]
    other = DatasetFactory.create()
    assert follow(staff, f"/api/v1/datasets/{other.pk}/votes") == ["rita", "sam", "sam"]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE workbench_auditevent SET at = %s", [(timezone.now() - timedelta(days=1.1))])
    assert follow(reviewer, votes) == ["rita", "sam", "sam", "rita"]


@pytest.mark.django_db
def test_a_page_of_a_list_is_no_download(dataset, rita):
    program_with(token_of(rita)).get(f"/api/v1/datasets/{dataset.pk}/votes")

    assert downloads() == 0


def test_no_url_stands_in_two_places():
    assert set(DRIVES).isdisjoint(ELSEWHERE)
    assert set(NO_ROW).isdisjoint({*DRIVES, *ELSEWHERE})
    assert {*DRIVES, *ELSEWHERE, *NO_ROW} <= set(TABLE)


@pytest.mark.django_db
@pytest.mark.parametrize("name", DRIVES)
def test_an_act_leaves_its_rows(name, world, sam, messages):
    answer = send(client_for(sam), world, name)

    assert answer.status_code in (200, 302), answer.content.decode()
    assert sorted(AuditEvent.objects.values_list("kind", flat=True)) == sorted(DRIVES[name].kinds)
    for event in AuditEvent.objects.all():
        assert event.actor == sam
        assert re.fullmatch("[0-9a-f]{32}", event.request_id)
        of_no_dataset = ("", "version", "host", "account", "login")
        assert (event.dataset_id is None) == (TABLE[name].of in of_no_dataset or "model_" in event.kind) or (
            name == "dataset_new"
        )


@pytest.mark.django_db
@pytest.mark.parametrize("name", DRIVES)
def test_a_row_holds_no_text_and_no_address(name, world, sam, messages):
    send(client_for(sam), world, name)

    stored = " ".join(str(list(row)).lower() for row in AuditEvent.objects.values_list())
    assert [text for text in SECRETS if text.lower() in stored] == []
    assert "sam" not in stored
    assert "bob" not in stored


class Broken(Exception):
    """The database fails after a row of history is written."""


def tables() -> dict[str, list[Any]]:
    """Every row of every table of the workbench and of accounts."""
    labels = ("workbench", "account", "mfa", "admin")
    models = [model for label in labels for model in apps.get_app_config(label).get_models()]
    models = [model for model in models if model._meta.db_table not in OF_NO_ACT]
    return {model.__name__: sorted(map(repr, model._default_manager.values_list())) for model in models}


OF_NO_ACT = ("django_session", "workbench_login", "workbench_servererror")
"""Tables that a request writes to on its own."""


def fail_at_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise once a row of history is written: the act must not stay."""
    save = AuditEvent.save

    def save_and_fail(self: AuditEvent, *args: object, **kwargs: object) -> None:
        save(self, *args, **kwargs)
        raise Broken

    monkeypatch.setattr(AuditEvent, "save", save_and_fail)


class FailAfterTheRow:
    """Raises at the first write that follows a row of history: the row must not stay."""

    has_row = has_failed = False

    def __call__(self, execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        is_write = sql.startswith(("INSERT", "UPDATE", "DELETE")) and not any(
            name in sql for name in OF_NO_ACT
        )
        if is_write and self.has_row and "workbench_auditevent" not in sql:
            self.has_failed = True
            raise Broken
        self.has_row = self.has_row or (is_write and "workbench_auditevent" in sql)
        return execute(sql, *args)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fails", ["at the row", "after the row"])
@pytest.mark.parametrize("name", DRIVES)
def test_neither_the_act_nor_its_row_is_stored_alone(name, fails, world, sam, messages, monkeypatch):
    client = client_for(sam)
    client.raise_request_exception = False
    drive, later = DRIVES[name], FailAfterTheRow()
    path = reverse(name, args=drive.at(world)) if drive.at else world.path_of(name)
    sent = drive.sent(world) if drive.sent else None
    before = tables()

    with connection.execute_wrapper(later) if fails == "after the row" else nullcontext():
        if fails == "at the row":
            fail_at_the_row(monkeypatch)
        answer = client.get(path) if sent is None else client.post(path, sent)
        b"".join(answer)

    if fails == "after the row" and not later.has_failed:
        return  # the row came last
    assert answer.status_code == 500
    assert tables() == before


# --- what a row is ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_row_outside_of_a_transaction_is_refused(sam):
    with pytest.raises(RuntimeError, match="in the transaction of the act"):
        recording.record(Kind.SETTINGS, by=sam)

    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["dora@example.org", "Be kind.", "two words", "", "Ü"])
def test_a_text_is_no_name_of_a_field(text, sam):
    with pytest.raises(ValueError, match="is not the name of a field"):
        recording.record(Kind.SETTINGS, by=sam, fields=[text])


@pytest.mark.django_db
def test_history_is_append_only(sam):
    recording.record(Kind.SETTINGS, by=sam)
    event = AuditEvent.objects.get()

    for change in (
        event.save,
        event.delete,
        AuditEvent.objects.all().delete,
        lambda: AuditEvent.objects.update(kind="gold"),
    ):
        with pytest.raises(TypeError, match="append-only"):
            change()
    assert AuditEvent.objects.get().kind == "settings"


@pytest.mark.django_db
def test_the_settings_that_changed_are_named(dataset, alice, as_user):
    as_user(alice).post(reverse("settings", args=[dataset.pk]), sent(dataset, overlap=3))

    assert AuditEvent.objects.get().fields == ["overlap"]


@pytest.mark.django_db
def test_saving_what_is_there_leaves_no_row(dataset, alice, as_user):
    as_user(alice).post(reverse("settings", args=[dataset.pk]), sent(dataset))

    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_a_command_leaves_its_name_and_no_person():
    version = ModelVersionFactory.create(name="quick")

    call_command("promote", "quick")

    event = AuditEvent.objects.get()
    assert (event.kind, event.actor, event.command) == ("model_promoted", None, "promote")
    assert event.target_id == str(version.pk)


@pytest.mark.django_db
def test_rows_of_a_deleted_dataset_stay_for_staff(dataset, alice, sam, as_user):
    as_user(alice).post(reverse("archive", args=[dataset.pk]))
    key = dataset.pk
    run = deleting.begin(dataset, alice)

    run.start()
    deleting.carry_out(run)

    page = as_user(sam).get(reverse("history")).content.decode()
    assert f"dataset {key}, deleted" in page
    assert "Archived a dataset" in page
    assert {event.dataset_id for event in AuditEvent.objects.all()} == {key}


@pytest.mark.django_db
def test_of_an_erased_person_history_shows_the_pseudonym(dataset, rita, alice, as_user, sam):
    as_user(rita).post(reverse("data_act", args=[dataset.pk]), {})
    pausing.pause(Member.objects.get(user=rita), alice, "A break.")
    with transaction.atomic():
        recording.record(Kind.SETTLED, by=rita, dataset=dataset)

    name = erasing.erase(rita)

    page = as_user(sam).get(reverse("history")).content.decode()
    assert "rita" not in page
    assert page.count(name) == 3  # paused, settled, erased


# --- the page -----------------------------------------------------------------------------------------------


@pytest.fixture
def rows(dataset, alice, rita, bob) -> None:
    """Alice gave Bob access last year; Rita settled a pair today, and Paul changed another dataset."""
    other = DatasetFactory.create(name="Pantry")
    with transaction.atomic():
        recording.record(
            Kind.MEMBER_ADDED, by=alice, dataset=dataset, target=bob, fields=["role"], word=Role.ANNOTATOR
        )
        recording.record(Kind.SETTLED, by=rita, dataset=dataset)
        recording.record(Kind.SETTINGS, by=UserFactory.create(username="paul"), dataset=other)
    year_ago = timezone.now() - timedelta(days=365)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE workbench_auditevent SET at = %s WHERE kind = 'member_added'", [year_ago.isoformat()]
        )


def shown(client: Client, of: Dataset | None, **query: Any) -> list[str]:
    """The kinds of the rows on the page, in its order."""
    url = reverse("dataset_history", args=[of.pk]) if of else reverse("history")
    return [entry.event.kind for entry in client.get(url, query).context["entries"]]


@pytest.mark.django_db
def test_the_newest_row_comes_first(rows, sam, as_user):
    assert shown(as_user(sam), None) == ["settings", "settled", "member_added"]


@pytest.mark.django_db
def test_an_admin_sees_the_rows_of_the_own_dataset_alone(rows, alice, dataset, as_user):
    assert shown(as_user(alice), dataset) == ["settled", "member_added"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ({"person": "RITA"}, ["settled"]),
        ({"person": "bob"}, ["member_added"]),
        ({"person": "nobody"}, []),
        ({"kind": "settled"}, ["settled"]),
        ({"first": "2000-01-01", "last": "2000-01-02"}, []),
    ],
)
def test_history_is_searched_by_person_kind_and_time(query, kinds, rows, sam, as_user):
    assert shown(as_user(sam), None, **query) == kinds


@pytest.mark.django_db
def test_history_is_searched_by_dataset_and_days(rows, sam, dataset, as_user):
    today = f"{timezone.localdate()}"

    assert shown(as_user(sam), None, dataset=dataset.pk) == ["settled", "member_added"]
    assert shown(as_user(sam), None, dataset=dataset.pk, first=today, last=today) == ["settled"]


@pytest.mark.django_db
def test_a_day_that_is_none_is_an_error_at_its_field(rows, sam, as_user):
    answer = as_user(sam).get(reverse("history"), {"first": "yesterday"})

    assert answer.status_code == 400
    assert "Enter a valid date." in answer.content.decode()


@pytest.mark.django_db
def test_older_rows_are_on_the_next_page(sam, as_user):
    with transaction.atomic():
        for _ in range(finding.A_PAGE + 1):
            recording.record(Kind.HOST_ALLOWED, by=sam)
    client = as_user(sam)
    first = client.get(reverse("history"))

    second = client.get(reverse("history"), {"before": first.context["older"]})

    assert len(first.context["entries"]) == finding.A_PAGE
    assert len(second.context["entries"]) == 1
    assert second.context["older"] is None


@pytest.mark.django_db
def test_the_file_has_what_the_page_finds(rows, alice, dataset, as_user):
    answer = as_user(alice).get(reverse("dataset_history_csv", args=[dataset.pk]), {"kind": "member_added"})

    (line,) = csv.DictReader(io.StringIO(answer.getvalue().decode()))
    assert (line["kind"], line["who"], line["object"], line["word"], line["fields"]) == (
        "member_added",
        "alice",
        "user",
        "annotator",
        "role",
    )


@pytest.mark.parametrize(
    ("kind", "count", "said"),
    [("imported", 72, "72 rows"), ("act", 1_200, "1,200 prompts"), ("invited", 1, "1 person")],
)
def test_a_number_says_what_it_counts(dataset, sam, kind, count, said):
    with transaction.atomic():
        recording.record(AuditEvent.Kind(kind), by=sam, dataset=dataset, count=count)

    (entry,) = finding.entries(list(AuditEvent.objects.all()))

    assert entry.details == said
