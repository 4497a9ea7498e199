"""Who may use which operation, as one table: an operation that is not in it fails the tests."""

from collections.abc import Callable

import pytest
from django.db import transaction
from django.test import Client, RequestFactory
from django.utils import timezone

from tests.api.conftest import program_with, token_of
from tests.api.tables import ALL_DATASETS, OWN, Row, operations, operations_of, pages
from tests.api.tables.none import OF_NO_PAGE
from tests.factories import (
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    RunFactory,
    UserFactory,
)
from tests.web.test_access import TABLE as OF_PAGES
from tests.web.test_access import example_in, invited_to, reply_in, token_naming, webhook_of
from workbench.api.document import document
from workbench.models import (
    Act,
    AllowedHost,
    Dataset,
    Invitation,
    Member,
    Release,
    Role,
    Run,
    SavedView,
    Statistics,
    User,
)
from workbench.pipeline import imports, quality, releases
from workbench.pipeline.data import acts, changes
from workbench.pipeline.people import invitations as inviting
from workbench.pipeline.text import leakage
from workbench.urls import urlpatterns
from workbench.worker import tasks

pytestmark = [pytest.mark.django_db, pytest.mark.portable]

TABLE = operations()
PAGES = [one for one in urlpatterns if getattr(one, "name", None)]
FORMS_ALONE = {
    "dataset_new", "dataset_delete", "annotate", "annotate_undo", "more_pairs", "version_add", "import_hub",
}  # fmt: skip
"""Pages that show a form, or a pair that is handed out: there is nothing to read but by what is done."""
RANK = ["annotator", "reviewer", "admin", ALL_DATASETS]
VISITORS = (
    "no token", "annotator", "annotator elsewhere", "reviewer", "admin", "staff", "expired", "revoked",
    "admin who reads", "admin who annotates", "admin of other datasets",
)  # fmt: skip


def addresses() -> dict[str, tuple[str, str]]:
    """(method, path) of each operation of the document."""
    return {
        operation["operationId"]: (method.upper(), path)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    }


ADDRESSES = addresses()


def test_the_table_holds_every_operation_and_no_other():
    assert set(TABLE) == set(ADDRESSES)


def test_each_page_has_an_operation_or_a_reason():
    assert set(pages()) == {one.name for one in PAGES}


def test_each_operation_is_on_a_page_or_known_to_be_on_none():
    assert {one for page in pages() for one in operations_of(page)} == set(ADDRESSES) - OF_NO_PAGE
    assert set(ADDRESSES) >= OF_NO_PAGE


ASKS_BY_FORM = {"model_outlook", "release_count"}
"""Pages whose form changes nothing: it asks for figures."""
MAKES_ACCOUNTS = {"accounts_person", "programs"}
"""Pages whose lists are for programs too, and whose forms are not: no token makes a token or an account."""
ASK = {"preview_upload", "preview_act", "preview_pairs", "count_release"}
"""Operations by POST that change nothing."""


def test_a_page_that_takes_a_form_names_an_operation_that_changes_something():
    """A page answers other methods than its own by those that it allows."""
    unknown = RequestFactory().generic("UNKNOWN", "/")
    takes_form = {
        one.name for one in PAGES if operations_of(one.name) and "POST" in one.callback(unknown)["Allow"]
    }
    acts = {
        name: [ADDRESSES[one][0] != "GET" and one not in ASK for one in operations_of(name)]
        for name in takes_form
    }

    assert len(takes_form) > 60
    assert {name for name, is_act in acts.items() if not any(is_act)} == ASKS_BY_FORM | MAKES_ACCOUNTS


def test_a_page_that_shows_a_list_or_a_thing_names_an_operation_that_reads_it():
    """What such a page does by a form has an operation of its own beside it, so neither hides the other."""
    shows = {name for name, row in OF_PAGES.items() if row.method == "GET" and operations_of(name)}
    reads = {name for name in shows if any(ADDRESSES[one][0] == "GET" for one in operations_of(name))}

    assert shows - reads == FORMS_ALONE


@pytest.fixture
def cast(dataset: Dataset) -> dict[str, Client]:
    """A client for each of VISITORS."""
    other = DatasetFactory.create(name="Elsewhere")

    def member(role: Role, of: Dataset = dataset) -> User:
        user = UserFactory.create()
        Member.objects.create(dataset=of, user=user, role=role)
        return user

    admin = member(Role.ADMIN)
    staff = UserFactory.create(is_staff=True)
    clients = {
        "annotator": token_of(member(Role.ANNOTATOR)),
        "annotator elsewhere": token_of(member(Role.ANNOTATOR, other)),
        "reviewer": token_of(member(Role.REVIEWER)),
        "admin": token_of(admin),
        "staff": token_of(staff),
        "expired": token_of(staff, days=-1),
        "revoked": token_of(staff, revoked=True),
        "admin who reads": token_of(admin, "read", [dataset]),
        "admin who annotates": token_of(admin, "annotate", [dataset]),
        "admin of other datasets": token_of(staff, "manage", [other]),
    }
    return {"no token": Client(), **{name: program_with(secret) for name, secret in clients.items()}}


def tagged(dataset: Dataset) -> Act:
    """An act to undo."""
    prompt = ComparisonFactory.create(prompt__dataset=dataset).prompt_id
    return acts.do(dataset, changes.GiveTag("odd"), [prompt], by=UserFactory.create())


def built(dataset: Dataset) -> Release:
    """A ready release of one pair."""
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset), outcome="a")
    return releases.build(Release(dataset=dataset, profiles=["preference"]))


def with_leakage_report(dataset: Dataset) -> dict[str, object]:
    run = leakage.begin(dataset)
    assert run is not None
    tasks.carry_out(run.pk)
    return {"pk": dataset.pk}


def with_figures(dataset: Dataset) -> Dataset:
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset), outcome="a")
    Statistics.objects.create(
        dataset=dataset,
        judgments=1,
        last_judgment=1,
        taken_at=timezone.now(),
        report=quality.compute(dataset),
    )
    return dataset


def member_of(dataset: Dataset) -> Member:
    return Member.objects.create(dataset=dataset, user=UserFactory.create(), role=Role.ANNOTATOR)


def voted_in(dataset: Dataset) -> int:
    """Somebody who is no member, by their primary key as an Annotator."""
    return JudgmentFactory.create(comparison__prompt__dataset=dataset).annotator_id


def mailed_to(dataset: Dataset) -> Invitation:
    (invitation,) = inviting.invite(
        dataset, ["new@example.org"], Role.ANNOTATOR, UserFactory.create(), "https://site"
    ).new
    inviting.sent(inviting.take(dataset.pk))
    return invitation


OBJECTS: dict[str, Callable[[Dataset], dict[str, object]]] = {
    "": lambda dataset: {},
    "dataset": lambda dataset: {"pk": dataset.pk},
    "run": lambda dataset: {"pk": RunFactory.create(dataset=dataset).pk},
    "failed run": lambda dataset: {
        "pk": RunFactory.create(dataset=dataset, kind="decide", state=Run.State.FAILED).pk
    },
    "release": lambda dataset: {"pk": built(dataset).pk},
    "two releases": lambda dataset: {"pk": built(dataset).pk, "other": built(dataset).pk},
    "file of a release": lambda dataset: {"pk": built(dataset).pk, "name": releases.MANIFEST},
    "dataset with a leakage report": with_leakage_report,
    "dataset with figures": lambda dataset: {"pk": with_figures(dataset).pk},
    "table of figures": lambda dataset: {
        "pk": with_figures(dataset).pk,
        "label_source": "people",
        "name": "agreement",
    },
    "board of sources": lambda dataset: {"pk": with_figures(dataset).pk, "votes": "people"},
    "model of a dataset": lambda dataset: {
        "pk": dataset.pk,
        "version_pk": ModelVersionFactory.create(name="other").pk,
    },
    "member": lambda dataset: {"pk": dataset.pk, "member_pk": member_of(dataset).pk},
    "former member": lambda dataset: {"pk": dataset.pk, "annotator_pk": voted_in(dataset)},
    "invitation": lambda dataset: {"pk": invited_to(dataset).pk},
    "mailed invitation": lambda dataset: {"pk": mailed_to(dataset).pk},
    "external model": lambda dataset: {
        "pk": ModelVersionFactory.create(name="elsewhere", kind="external").pk
    },
    "model": lambda dataset: {"pk": ModelVersionFactory.create(name="other").pk},
    "host": lambda dataset: {"pk": AllowedHost.objects.create(name="hub.example").pk},
    "two models": lambda dataset: {
        "pk": dataset.pk,
        "new": ModelVersionFactory.create().pk,
        "old": ModelVersionFactory.create().pk,
    },
    "upload": lambda dataset: {"pk": imports.keep_sample("pairs.jsonl", dataset, UserFactory.create()).pk},
    "view": lambda dataset: {
        "pk": SavedView.objects.create(dataset=dataset, name="All", query="", shared=True).pk
    },
    "act": lambda dataset: {"pk": tagged(dataset).pk},
    "act of pairs": lambda dataset: {
        "pk": dataset.pk,
        "act_pk": Act.objects.create(dataset=dataset, kind="pairs", details={"pairs": []}).pk,
    },
    "prompt": lambda dataset: {"pk": ComparisonFactory.create(prompt__dataset=dataset).prompt_id},
    "comparison": lambda dataset: {"pk": ComparisonFactory.create(prompt__dataset=dataset).pk},
    "example": lambda dataset: {"pk": example_in(dataset).pk},
    "reply": lambda dataset: {"pk": reply_in(dataset).pk},
    "webhook": lambda dataset: {"pk": webhook_of(dataset).pk},
    "token": lambda dataset: {"pk": token_naming(dataset).pk},
    "token of a dataset": lambda dataset: {"pk": dataset.pk, "token_pk": token_naming(dataset).pk},
}
"""Kind of object -> the parts of a path that names one."""


def expected(row: Row, method: str, visitor: str) -> int | set[int]:
    """The status for this visitor."""
    if visitor in ("no token", "expired", "revoked"):
        return 401
    changes = method != "GET"
    if row.role == ALL_DATASETS:
        return row.status if visitor == "staff" else 403
    if row.role == OWN:
        named = ("admin who reads", "admin who annotates", "admin of other datasets")
        return 403 if visitor in named else row.status
    if row.role == "":
        return {row.status, 403} if visitor in ("admin who reads", "admin who annotates") else row.status
    if visitor in ("annotator elsewhere", "admin of other datasets"):
        return 404
    if visitor == "admin who reads":
        return 403 if changes else row.status
    held = {"admin who annotates": "annotator", "staff": "admin"}.get(visitor, visitor)
    return row.status if RANK.index(held) >= RANK.index(row.role) else 403


@pytest.mark.parametrize("operation", TABLE)
def test_an_operation_is_open_to_those_who_may_use_it(operation, dataset, cast, messages):
    row, (method, path) = TABLE[operation], ADDRESSES[operation]
    path = path.format(**OBJECTS[row.of](dataset))
    body = b"" if row.body is None else _json(row.body)

    for visitor in VISITORS:
        with transaction.atomic():  # each visitor finds what the first one found
            answer = cast[visitor].generic(method, path, body, content_type="application/json")
            content = b"".join(answer)
            transaction.set_rollback(True)
        wanted = expected(row, method, visitor)
        wanted = wanted if isinstance(wanted, set) else {wanted}
        assert answer.status_code in wanted, (visitor, content)
        if answer.status_code >= 400:
            assert answer["Content-Type"] == "application/problem+json", visitor


def _json(body: object) -> bytes:
    import orjson

    return orjson.dumps(body)
