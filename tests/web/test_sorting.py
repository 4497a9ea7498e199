"""Lists in the order that somebody chooses: each order of each list, over its pages and while polled."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    RunFactory,
    ScoreFactory,
    UserFactory,
)
from workbench.models import (
    Dataset,
    Decision,
    Evaluation,
    Judgment,
    Member,
    ModelVersion,
    Release,
    Run,
    Token,
    User,
)
from workbench.views import datasets, everybody, imports, invitations, review, runs, tokens
from workbench.views import releases as releases_views

pytestmark = pytest.mark.django_db

POLL = {"HX-Request": "true"}


def page(client: Client, url: str, **query: str | int) -> str:
    answer = client.get(url, query)
    assert answer.status_code == 200
    return answer.content.decode()


def rows(html: str, pattern: str) -> list[str]:
    """What the first group of the pattern holds in each row."""
    return re.findall(pattern, html)


def chosen(html: str) -> list[str]:
    """The words of the order that the page marks as the present one."""
    return rows(html, r'<a id="sort-\w+" href="[^"]*" aria-current="true">([^<]+)</a>')


@pytest.fixture
def sam(db) -> User:
    return UserFactory.create(username="sam", is_staff=True)


# --- runs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def four_runs(dataset) -> dict[str, Run]:
    """An import of 1 minute, a training that failed after 5, scoring that runs for 3 now, and statistics that
    have not begun."""
    now = timezone.now()

    def run(kind: str, state: str, began: int | None, took: int | None = None) -> Run:
        start = None if began is None else now - timedelta(minutes=began)
        end = start + timedelta(minutes=took) if start and took else None
        return RunFactory.create(dataset=dataset, kind=kind, state=state, started_at=start, finished_at=end)

    return {
        "import": run("import", "done", 60, 1),
        "train": run("train", "failed", 50, 5),
        "score": run("score", "running", 3),
        "statistics": run("statistics", "waiting", None),
    }


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("newest", ["statistics", "score", "train", "import"]),
        ("oldest", ["import", "train", "score", "statistics"]),
        ("kind", ["import", "score", "statistics", "train"]),
        ("state", ["score", "statistics", "train", "import"]),
        ("longest", ["train", "score", "import", "statistics"]),
        ("no such order", ["statistics", "score", "train", "import"]),
    ],
)
def test_runs_come_in_the_order_that_the_address_names(sort, expected, dataset, alice, as_user, four_runs):
    html = page(as_user(alice), reverse("runs", args=[dataset.pk]), sort=sort)

    names = {run.pk: name for name, run in four_runs.items()}
    assert [names[int(pk)] for pk in rows(html, r'id="to-run-(\d+)"')] == expected


def test_runs_keep_their_order_while_they_are_polled(dataset, alice, as_user, four_runs):
    client, url = as_user(alice), reverse("runs", args=[dataset.pk])

    html = page(client, url, sort="oldest")
    (polled,) = rows(html, r'id="runs" hx-get="([^"]+)"')
    part = client.get(polled, headers=POLL).content.decode()

    assert chosen(html) == chosen(part) == ["Oldest"]
    assert rows(part, r'id="to-run-(\d+)"') == rows(html, r'id="to-run-(\d+)"')


def test_an_order_is_kept_over_the_pages_of_a_list(dataset, alice, as_user, monkeypatch):
    monkeypatch.setattr(runs, "RUNS_A_PAGE", 2)
    made = [RunFactory.create(dataset=dataset).pk for _ in range(3)]
    client, url = as_user(alice), reverse("runs", args=[dataset.pk])

    (following,) = rows(page(client, url, sort="oldest"), r'rel="next" href="([^"]+)"')
    second = client.get(url + following.replace("&amp;", "&")).content.decode()

    assert [int(pk) for pk in rows(second, r'id="to-run-(\d+)"')] == made[2:]


def test_another_order_begins_at_the_first_page(dataset, alice, as_user, monkeypatch):
    monkeypatch.setattr(runs, "RUNS_A_PAGE", 1)
    for _ in range(2):
        RunFactory.create(dataset=dataset)

    html = page(as_user(alice), reverse("runs", args=[dataset.pk]), page=2)

    assert rows(html, r'<a id="sort-oldest" href="([^"]+)"') == ["?sort=oldest"]


# --- releases -----------------------------------------------------------------------------------------------


@pytest.fixture
def three_releases(dataset) -> list[Release]:
    def release(number: int, count: int) -> Release:
        file = {"profile": None, "format": None, "split": None, "bytes": 1, "sha256": "", "rows": count}
        manifest = {"files": {"README.md": file}}
        return Release.objects.create(
            dataset=dataset, number=number, rows=count, state="ready", manifest=manifest
        )

    return [release(number, count) for number, count in ((1, 40), (2, 90), (3, 7))]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [("newest", "321"), ("oldest", "123"), ("rows", "213"), ("", "321"), ("number", "321")],
)
def test_releases_come_in_the_order_that_the_address_names(
    sort, expected, dataset, alice, as_user, three_releases
):
    html = page(as_user(alice), reverse("releases", args=[dataset.pk]), sort=sort)

    assert "".join(rows(html, r">Release (\d)</a></h3>")) == expected


def test_only_the_newest_release_shows_its_files_wherever_it_stands(dataset, alice, as_user, three_releases):
    html = page(as_user(alice), reverse("releases", args=[dataset.pk]), sort="oldest")

    assert html.count("Download all (.zip)") == 1
    assert reverse("release_zip", args=[three_releases[2].pk]) in html


def test_releases_keep_their_order_while_one_is_built(dataset, alice, as_user, three_releases):
    run = RunFactory.create(dataset=dataset, kind="release", state="running")
    Release.objects.create(dataset=dataset, number=4, run=run)
    client, url = as_user(alice), reverse("releases", args=[dataset.pk])

    (polled,) = rows(page(client, url, sort="rows"), r'id="releases" hx-get="([^"]+)"')
    part = client.get(url + polled, headers=POLL).content.decode()

    assert rows(part, r">Release (\d)</a></h3>") == ["2", "1", "3", "4"]


# --- models -------------------------------------------------------------------------------------------------


@pytest.fixture
def three_models(dataset) -> list[ModelVersion]:
    """The oldest first: an old active one, a retired one that has scored most, the largest."""
    made = [
        ModelVersionFactory.create(name=name, state=state, parameters=parameters)
        for name, state, parameters in (
            ("birch", "active", 20), ("alder", "retired", None), ("cedar", "registered", 900),
        )
    ]  # fmt: skip
    for version, count in zip(made, (1, 2, 0), strict=True):
        for _ in range(count):
            ScoreFactory.create(version=version, completion__prompt__dataset=dataset)
    ModelVersion.objects.exclude(pk__in=[version.pk for version in made]).delete()
    return made


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("newest", ["cedar", "alder", "birch"]),
        ("name", ["alder", "birch", "cedar"]),
        ("state", ["birch", "cedar", "alder"]),
        ("scores", ["alder", "birch", "cedar"]),
        ("largest", ["cedar", "birch", "alder"]),
        ("created_at", ["cedar", "alder", "birch"]),
    ],
)
def test_models_come_in_the_order_that_the_address_names(sort, expected, sam, as_user, three_models):
    html = page(as_user(sam), reverse("versions"), sort=sort)

    assert rows(html, r'<th scope="row"><a href="[^"]+">(\w+)</a>') == expected


def evaluated(version: ModelVersion, dataset: Dataset, accuracy: float, rate: float) -> None:
    """Store an evaluation of the version on the dataset. rate: texts a second."""
    model = {"accuracy": accuracy, "decided": 9, "wilson": [0.5, 0.9], "clustered": None}
    figures = {
        "model": {**model, "calibrated_ece": None, "slices": []},
        "rule": {"rule": "longest", "rule_share": {"value": 0.5}, "over_rule": {"low": None, "high": None}},
        "people": {"ceiling": None},
        "counted": {"people": 9, "imported": 0},
        "learnt": {"pairs": 0, "known": "yes"},
        "set_aside": {},
        "texts_per_second": rate,
    }
    run = RunFactory.create(dataset=dataset, kind="evaluate", state="done")
    fields = {"source": dataset.name, "split": "test", "data_sha256": "", "pairs": 9, "run": run}
    Evaluation.objects.create(version=version, dataset=dataset, figures=figures, **fields)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("newest", ["cedar", "alder", "birch"]),
        ("name", ["alder", "birch", "cedar"]),
        ("accuracy", ["birch", "cedar", "alder"]),
        ("fastest", ["cedar", "birch", "alder"]),
        ("rate", ["cedar", "alder", "birch"]),
    ],
)
def test_the_models_of_a_dataset_come_in_the_order_that_the_address_names(
    sort, expected, dataset, alice, as_user, three_models
):
    ModelVersion.objects.filter(name="alder").update(state="registered")
    birch, _, cedar = three_models
    for version, accuracy, rate in ((birch, 0.8, 10.0), (cedar, 0.7, 30.0)):
        evaluated(version, dataset, accuracy, rate)

    html = page(as_user(alice), reverse("model", args=[dataset.pk]), sort=sort)

    assert rows(html, r'<th scope="row"><a href="[^"]+">(\w+)</a>') == expected


# --- what people and programs have --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("name", ["anna", "bert", "carl", "zora"]),
        ("newest", ["zora", "carl", "anna", "bert"]),
        ("login", ["carl", "anna", "zora", "bert"]),
        ("datasets", ["bert", "anna", "carl", "zora"]),
        ("mail", ["anna", "bert", "carl", "zora"]),
    ],
)
def test_accounts_come_in_the_order_that_the_address_names(sort, expected, sam, as_user):
    made = {name: UserFactory.create(username=name) for name in ("bert", "anna", "carl", "zora")}
    for name, day in (("anna", 1), ("carl", 2)):
        User.objects.filter(username=name).update(last_login=datetime(2026, 1, day, tzinfo=UTC))
    for _ in range(2):
        Member.objects.create(dataset=DatasetFactory.create(), user=made["bert"], role="annotator")
    Member.objects.create(dataset=DatasetFactory.create(), user=made["anna"], role="annotator")
    User.objects.filter(username="zora").update(is_active=False)

    html = page(as_user(sam), reverse("accounts"), sort=sort)

    assert [
        name for name in rows(html, r'<th scope="row"><a href="[^"]+">(\w+)</a>') if name in made
    ] == expected


def test_a_search_for_an_account_keeps_its_order(sam, as_user):
    html = page(as_user(sam), reverse("accounts"), sort="newest", q="sam")

    assert '<input type="hidden" name="sort" value="newest">' in html


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("newest", ["gone", "busy", "idle", "archive"]),
        ("name", ["archive", "busy", "gone", "idle"]),
        ("used", ["busy", "idle", "gone", "archive"]),
        ("unused", ["archive", "gone", "idle", "busy"]),
        ("ends", ["idle", "busy", "archive", "gone"]),
        ("scope", ["gone", "busy", "idle", "archive"]),
    ],
)
def test_tokens_come_in_the_order_that_the_address_names(sort, expected, alice, as_user):
    now = timezone.now()
    for name, used, days, revoked in (
        ("archive", None, 300, None), ("idle", 90, 5, None), ("busy", 1, 30, None), ("gone", None, 2, now),
    ):  # fmt: skip
        Token.objects.create(
            user=alice, name=name, digest=name, scope="read", expires_at=now + timedelta(days=days),
            last_used_at=None if used is None else now - timedelta(days=used), revoked_at=revoked,
        )  # fmt: skip

    html = page(as_user(alice), reverse("tokens"), sort=sort)

    assert rows(html, r'<th scope="row">(\w+)<br>') == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("newest", ["c@x.org", "a@x.org", "b@x.org"]),
        ("who", ["a@x.org", "b@x.org", "c@x.org"]),
        ("open", ["b@x.org", "c@x.org", "a@x.org"]),
        ("came", ["a@x.org", "c@x.org", "b@x.org"]),
        ("role", ["c@x.org", "a@x.org", "b@x.org"]),
    ],
)
def test_invitations_come_in_the_order_that_the_address_names(sort, expected, dataset, alice, as_user):
    for address, days, uses in (("b@x.org", 2, 0), ("a@x.org", 9, 1), ("c@x.org", 4, 0)):
        dataset.invitations.create(
            address=address, role="annotator", uses=uses, expires_at=timezone.now() + timedelta(days=days)
        )

    html = page(as_user(alice), reverse("invitations", args=[dataset.pk]), sort=sort)

    assert rows(html, r'<th scope="row">(\w@x\.org)') == expected


# --- the rest -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("newest", ["b.jsonl", "c.jsonl", "a.jsonl"]),
        ("name", ["a.jsonl", "b.jsonl", "c.jsonl"]),
        ("size", ["c.jsonl", "a.jsonl", "b.jsonl"]),
        ("state", ["b.jsonl", "c.jsonl", "a.jsonl"]),
        ("path", ["b.jsonl", "c.jsonl", "a.jsonl"]),
    ],
)
def test_uploaded_files_come_in_the_order_that_the_address_names(sort, expected, dataset, alice, as_user):
    for name, size, state in (("a.jsonl", 20, "failed"), ("c.jsonl", 90, "done"), ("b.jsonl", 5, None)):
        upload = dataset.uploads.create(shown_name=name, path=name, size=size, sha256="")
        if state:
            RunFactory.create(dataset=dataset, kind="import", upload=upload, state=state)

    html = page(as_user(alice), reverse("import", args=[dataset.pk]), sort=sort)

    assert rows(html, r'<th scope="row"><a href="[^"]+">([^<]+)</a>') == expected


def test_the_twenty_first_uploaded_file_is_on_the_second_page(dataset, alice, as_user):
    for number in range(21):
        dataset.uploads.create(shown_name=f"{number}.jsonl", path=f"{number}", size=1, sha256="")

    html = page(as_user(alice), reverse("import", args=[dataset.pk]), page=2)

    assert rows(html, r'<th scope="row"><a href="[^"]+">([^<]+)</a>') == ["0.jsonl"]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [("largest", ["3", "2"]), ("smallest", ["2", "3"]), ("split", ["3", "2"])],
)
def test_groups_of_prompts_come_in_the_order_that_the_address_names(sort, expected, dataset, rita, as_user):
    for size in (2, 3):
        PromptFactory.create_batch(size, dataset=dataset, group=f"{size}")

    html = page(as_user(rita), reverse("groups", args=[dataset.pk]), sort=sort)

    assert rows(html, r'<p class="of"><b>(\d)</b>') == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("newest", ["anna", "rita", "anna"]),
        ("oldest", ["anna", "rita", "anna"]),
        ("reviewer", ["anna", "anna", "rita"]),
    ],
)
def test_guideline_gaps_come_in_the_order_that_the_address_names(sort, expected, dataset, rita, as_user):
    anna = UserFactory.create(username="anna")
    for number, reviewer in enumerate((anna, rita, anna)):
        Decision.objects.create(
            comparison=ComparisonFactory.create(prompt__dataset=dataset), outcome="a", method="reviewer",
            reason="guideline_gap", note=f"note {number}", decided_by=reviewer,
        )  # fmt: skip

    html = page(as_user(rita), reverse("guideline_gaps", args=[dataset.pk]), sort=sort)

    notes = rows(html, r'gap-note" dir="auto">note (\d)')
    assert rows(html, r'<p class="hint">(\w+), ') == expected
    assert notes == {"newest": ["2", "1", "0"], "oldest": ["0", "1", "2"]}.get(sort, ["2", "0", "1"])


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("name", ["anna", "bert", "carl"]),
        ("time", ["carl", "bert", "anna"]),
        ("votes", ["bert", "anna", "carl"]),
        ("pay", ["anna", "bert", "carl"]),
    ],
)
def test_the_people_of_a_time_sheet_come_in_the_order_that_the_address_names(
    sort, expected, dataset, alice, as_user
):
    for name, seconds in (("anna", [5.0, 5.0]), ("bert", [10.0] * 3), ("carl", [200.0])):
        annotator = AnnotatorFactory.create(user=UserFactory.create(username=name))
        for length in seconds:
            JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=annotator, seconds=length)
    Judgment.objects.update(created_at=datetime(2026, 11, 3, tzinfo=UTC))

    html = page(
        as_user(alice), reverse("time_sheet", args=[dataset.pk]), sort=sort, first="2026-11", last="2026-11"
    )

    people = html[html.index("By person") : html.index("By day")]
    assert [name for name in rows(people, r'<th scope="row">(\w+)</th>') if name != "Everybody"] == expected
    assert f'<input type="hidden" name="sort" value="{sort if sort != "pay" else "name"}">' in html


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("name", ["Alder", "Birch", "Cedar", "Dogwood"]),
        ("newest", ["Birch", "Dogwood", "Alder", "Cedar"]),
        ("votes", ["Dogwood", "Alder", "Birch", "Cedar"]),
        ("role", ["Alder", "Birch", "Cedar", "Dogwood"]),
    ],
)
def test_the_datasets_of_home_come_in_the_order_that_the_address_names(sort, expected, as_user):
    admin = UserFactory.create(username="ada")
    made = [DatasetFactory.create(name=name) for name in ("Cedar", "Alder", "Dogwood", "Birch")]
    for dataset in made:
        Member.objects.create(dataset=dataset, user=admin, role="admin")
    for dataset, count in ((made[1], 1), (made[2], 2)):
        for _ in range(count):
            JudgmentFactory.create(comparison__prompt__dataset=dataset)

    html = page(as_user(admin), reverse("home"), sort=sort)

    assert rows(html, r'<h2 id="dataset-\d+"><a href="[^"]+">(\w+)</a>') == expected


def test_the_numbers_of_large_datasets_come_in_the_chosen_order(as_user, monkeypatch):
    monkeypatch.setattr(datasets.overview, "are_large", lambda found: bool(found))
    admin = UserFactory.create(username="ada")
    Member.objects.create(dataset=DatasetFactory.create(), user=admin, role="admin")

    html = page(as_user(admin), reverse("home"), sort="newest")

    assert 'hx-get="?sort=newest&amp;whole=1"' in html


@pytest.mark.parametrize(
    "sorts",
    [
        runs.SORTS, releases_views.SORTS, everybody.SORTS, tokens.SORTS, invitations.SORTS, imports.SORTS,
        review.GAP_SORTS, datasets.GROUP_SORTS,
    ],
)  # fmt: skip
def test_each_order_ends_with_a_field_that_is_unique(sorts):
    unique = {"pk", "number", "username", "group", "name"}

    assert {str(fields[-1]).lstrip("-") for _, fields in sorts.values()} <= unique
