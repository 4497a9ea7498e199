from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.factories import AnnotatorFactory, ComparisonFactory, JudgmentFactory, UserFactory
from workbench.models import Judgment, Member
from workbench.pipeline.people.members import active_members

pytestmark = pytest.mark.django_db


def add(client, dataset, username: str, role: str = "annotator"):
    return client.post(reverse("people", args=[dataset.pk]), {"username": username, "role": role})


def roles_in(dataset) -> dict[str, str]:
    return dict(dataset.members.values_list("user__username", "role"))


def test_an_admin_adds_somebody_by_their_name(dataset, alice, charlie, as_user):
    add(as_user(alice), dataset, "charlie", "reviewer")

    assert roles_in(dataset) == {"alice": "admin", "charlie": "reviewer"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nobody", "No account is named nobody"),
        ("Charlie", "Capital letters count"),
        ("gone", "No account"),
    ],
)
def test_a_name_without_an_account_is_refused_in_words(name, reason, dataset, alice, charlie, as_user):
    UserFactory.create(username="gone", is_active=False)

    answer = add(as_user(alice), dataset, name)

    assert answer.status_code == 400
    assert reason in answer.content.decode()
    assert roles_in(dataset) == {"alice": "admin"}


def test_adding_a_member_again_says_where_to_change_the_role_and_keeps_the_old(dataset, alice, bob, as_user):
    answer = add(as_user(alice), dataset, "bob", "admin")

    assert "already a member" in answer.content.decode()
    assert roles_in(dataset)["bob"] == "annotator"


def test_a_role_can_be_changed_and_only_to_one_that_there_is(dataset, alice, bob, as_user):
    url = reverse("member_change", args=[dataset.pk, dataset.members.get(user=bob).pk])

    as_user(alice).post(url, {"role": "reviewer"})
    assert roles_in(dataset)["bob"] == "reviewer"

    as_user(alice).post(url, {"role": "owner"})
    assert roles_in(dataset)["bob"] == "reviewer"


@pytest.mark.parametrize("way", ["member_change", "member_remove"])
def test_the_last_admin_stays_until_there_is_another(way, dataset, alice, bob, as_user):
    member = dataset.members.get(user=alice)
    url = reverse(way, args=[dataset.pk, member.pk])

    answer = as_user(alice).post(url, {"role": "annotator"}, follow=True)
    assert "needs an admin" in answer.content.decode()
    assert roles_in(dataset)["alice"] == "admin"

    Member.objects.filter(user=bob).update(role="admin")
    as_user(alice).post(url, {"role": "annotator"})
    assert roles_in(dataset).get("alice") != "admin"


def test_removing_somebody_ends_their_access_and_keeps_what_they_judged(
    dataset, alice, bob, as_user, store_figures
):
    judgment = JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator__user=bob)
    member = dataset.members.get(user=bob)

    as_user(alice).post(reverse("member_remove", args=[dataset.pk, member.pk]))

    assert as_user(bob).get(dataset.get_absolute_url()).status_code == 404
    assert Judgment.objects.filter(pk=judgment.pk).exists()
    store_figures(dataset)
    html = as_user(alice).get(reverse("people", args=[dataset.pk])).content.decode()
    assert "no longer a member" in html


def test_a_member_was_last_active_when_they_last_judged_here(dataset, bob, rita):
    annotator = AnnotatorFactory.create(user=bob)
    newest, old = (
        JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=annotator) for _ in range(2)
    )
    Judgment.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=8))
    JudgmentFactory.create(annotator=annotator)  # in another Dataset
    JudgmentFactory.create(comparison=newest.comparison)  # by somebody else

    members = active_members(dataset)

    assert [(m.user, m.annotator, m.last_active) for m in members] == [
        (rita, None, None),
        (bob, annotator.pk, newest.created_at),
    ]


def test_votes_are_shown_as_of_the_last_report_with_the_new_ones_since(
    dataset, alice, bob, as_user, store_figures
):
    annotator = AnnotatorFactory.create(user=bob)
    for _ in range(12):
        JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=annotator, left="a")
    store_figures(dataset)
    JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=annotator, left="a")

    html = as_user(alice).get(reverse("people", args=[dataset.pk])).content.decode()

    assert "1 new vote since" in html
    row = html.split(">bob</a>")[1].split("</tr>")[0]
    assert 'data-label="Votes">12</td>' in row
    everybody, of_bob = html.split("<h2>Reliability checks</h2>")[1].split("<details")[1:]
    assert "<summary>Everyone</summary>" in everybody
    assert "<summary>bob</summary>" in of_bob
    for checks in (everybody, of_bob):
        assert "<b>100\xa0%</b></td><td>76 to 100\xa0%</td>" in checks.split("Chose left")[1]
        assert "too few votes yet" in checks.split("Right on known answers")[1]


def test_before_anything_is_computed_the_page_has_the_members_and_says_when_the_rest_comes(
    dataset, alice, as_user
):
    url = reverse("people", args=[dataset.pk])
    nothing = as_user(alice).get(url).content.decode()
    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    judged = as_user(alice).get(url).content.decode()

    assert "alice" in nothing
    assert "No votes or labels yet" in nothing
    assert "The first figures appear by themselves" in judged


def test_imported_voices_are_listed_apart_with_their_counts(dataset, alice, as_user, store_figures):
    label = AnnotatorFactory.create(user=None, source="file.jsonl", external_id="7")
    for comparison in ComparisonFactory.create_batch(2, prompt__dataset=dataset):
        JudgmentFactory.create(comparison=comparison, annotator=label, stage="imported")
    AnnotatorFactory.create(user=None, source="elsewhere.jsonl")
    store_figures(dataset)

    html = as_user(alice).get(reverse("people", args=[dataset.pk])).content.decode()

    assert "file.jsonl: 7" in html
    assert '<td class="number">2</td>' in html
    assert "elsewhere.jsonl" not in html


def test_members_stand_by_role_then_name(dataset, alice, rita, bob, as_user):
    Member.objects.create(dataset=dataset, user=UserFactory.create(username="ann"), role="annotator")

    assert [m.user.username for m in dataset.members.by_role()] == ["alice", "rita", "ann", "bob"]


def test_somebody_can_change_their_own_password(bob, as_user):
    answer = as_user(bob).post(
        reverse("password_change"),
        {
            "old_password": "correct horse battery",
            "new_password1": "a much longer staple",
            "new_password2": "a much longer staple",
        },
    )

    bob.refresh_from_db()
    assert answer.headers["Location"] == reverse("password_change_done")
    assert bob.check_password("a much longer staple")
