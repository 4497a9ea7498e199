import json
from datetime import UTC, datetime

import pytest

from tests.factories import ComparisonFactory, DatasetFactory, JudgmentFactory
from workbench.models import Annotator, Member, Role, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def elsewhere(bob):
    other = DatasetFactory.create(name="Elsewhere")
    Member.objects.create(dataset=other, user=bob, role=Role.ADMIN)
    return other


def get(client, path: str, **query):
    return client.get(f"/api/v1/account{path}", query)


def test_an_account_shows_who_the_token_acts_for_and_what_is_left_by_the_token(
    program, bob, dataset, elsewhere
):
    of_one = get(program(bob, "annotate", [elsewhere]), "").json()
    of_all = get(program(bob), "").json()

    assert (of_one["id"], of_one["name"], of_one["is_staff"]) == (bob.pk, "bob", False)
    assert (of_one["token"]["scope"], of_one["token"]["is_for_all"]) == ("annotate", False)
    assert of_one["datasets"] == [{"id": elsewhere.pk, "name": "Elsewhere", "role": "annotator"}]
    assert {(one["name"], one["role"]) for one in of_all["datasets"]} == {
        ("Kitchen", "annotator"),
        ("Elsewhere", "admin"),
    }


def test_what_is_sent_of_an_account_is_changed_and_the_rest_stays(program, bob):
    client = program(bob)

    def change(status: int, **body):
        answer = client.patch("/api/v1/account", body, content_type="application/json")
        assert answer.status_code == status
        return answer.json()

    change(200, languages=["Polish", "en"])
    assert change(200, goes_straight_on=False)["languages"] == ["pl", "en"]
    refused = change(422, languages=[f"language {n}" for n in range(40)])
    assert refused["errors"][0]["field"] == "languages"
    stored = User.objects.get(pk=bob.pk)
    assert (stored.languages, stored.goes_straight_on) == (["pl", "en"], False)


def test_a_token_that_only_reads_changes_no_account(program, bob):
    answer = program(bob, "read").patch(
        "/api/v1/account", {"goes_straight_on": False}, content_type="application/json"
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "out_of_scope")
    assert User.objects.get(pk=bob.pk).goes_straight_on


def test_own_data_are_those_of_the_page_and_need_a_token_for_all_datasets(program, bob, dataset, as_user):
    own = json.loads(b"".join(get(program(bob, "read"), "/data")))
    page = json.loads(b"".join(as_user(bob).get("/account/data.json")))

    assert own["account"]["username"] == "bob"
    assert set(own) == set(page)
    assert get(program(bob, "read", [dataset]), "/data").status_code == 403


def test_own_hours_are_of_the_datasets_that_the_token_names(program, bob, dataset, elsewhere):
    annotator = Annotator.objects.for_user(bob)
    for of in (dataset, elsewhere):
        pair = ComparisonFactory.create(prompt__dataset=of)
        JudgmentFactory.create(comparison=pair, annotator=annotator, seconds=10)

    named = get(program(bob, "annotate", [dataset]), "/hours").json()
    both = get(program(bob), "/hours", first=f"{datetime.now(UTC):%Y-%m}").json()

    assert [(line["dataset"], line["votes"]) for line in named["lines"]] == [(dataset.pk, 1)]
    assert both["total"]["votes"] == 2
