from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.factories import AnnotatorFactory, ComparisonFactory, JudgmentFactory, UserFactory
from workbench.models import Judgment, Member

pytestmark = pytest.mark.django_db


def add(client, dataset, username: str, role: str = "annotator"):
    return client.post(reverse("people", args=[dataset.pk]), {"username": username, "role": role})


def roles_in(dataset) -> dict[str, str]:
    return dict(dataset.members.values_list("user__username", "role"))


def test_an_admin_adds_somebody_by_their_name(dataset, alice, charlie, as_user):
    add(as_user(alice), dataset, "charlie", "reviewer")

    assert roles_in(dataset) == {"alice": "admin", "charlie": "reviewer"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "There is no account named nobody"),
        ("Charlie", "Names are case-sensitive"),
        ("gone", "no account"),
    ],
)
def test_a_name_without_an_account_is_refused_in_words(name, said, dataset, alice, charlie, as_user):
    UserFactory.create(username="gone", is_active=False)

    answer = add(as_user(alice), dataset, name)

    assert answer.status_code == 400
    assert said in answer.content.decode()
    assert roles_in(dataset) == {"alice": "admin"}


def test_adding_a_member_again_says_where_to_change_the_role_and_keeps_the_old(dataset, alice, bob, as_user):
    answer = add(as_user(alice), dataset, "bob", "admin")

    assert "a member already" in answer.content.decode()
    assert roles_in(dataset)["bob"] == "annotator"


def test_a_role_can_be_changed_and_only_to_one_that_there_is(dataset, alice, bob, as_user):
    url = reverse("member_change", args=[dataset.pk, dataset.members.get(user=bob).pk])

    as_user(alice).post(url, {"role": "reviewer"})
    assert roles_in(dataset)["bob"] == "reviewer"

    as_user(alice).post(url, {"role": "owner"})
    assert roles_in(dataset)["bob"] == "reviewer"


@pytest.mark.parametrize("way", ["member_change", "member_remove"])
def test_the_last_admin_stays_until_there_is_another(way, dataset, alice, bob, as_user):
    own = dataset.members.get(user=alice)
    url = reverse(way, args=[dataset.pk, own.pk])

    answer = as_user(alice).post(url, {"role": "annotator"}, follow=True)
    assert "needs an admin" in answer.content.decode()
    assert roles_in(dataset)["alice"] == "admin"

    Member.objects.filter(user=bob).update(role="admin")
    as_user(alice).post(url, {"role": "annotator"})
    assert roles_in(dataset).get("alice") != "admin"


def test_removing_somebody_ends_their_access_and_keeps_what_they_judged(dataset, alice, bob, as_user):
    judgment = JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator__user=bob)
    member = dataset.members.get(user=bob)

    as_user(alice).post(reverse("member_remove", args=[dataset.pk, member.pk]))

    assert as_user(bob).get(dataset.get_absolute_url()).status_code == 404
    assert Judgment.objects.filter(pk=judgment.pk).exists()
    html = as_user(alice).get(reverse("people", args=[dataset.pk])).content.decode()
    assert "no longer a member" in html


def test_pace_counts_what_stands_here_in_all_and_in_the_last_seven_days(dataset, bob):
    annotator = AnnotatorFactory.create(user=bob)
    recent, old = (
        JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=annotator) for _ in range(2)
    )
    Judgment.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=8))
    JudgmentFactory.create(comparison=recent.comparison, annotator=annotator, current=False)
    JudgmentFactory.create(annotator=annotator)  # in another Dataset
    JudgmentFactory.create(comparison=recent.comparison)  # by somebody else

    member = Member.objects.of(dataset).with_pace().get(user=bob)

    assert (member.judgment_count, member.week_count) == (2, 1)
    assert member.last_active == recent.created_at


def test_imported_voices_are_listed_apart_with_their_counts(dataset, alice, as_user):
    label = AnnotatorFactory.create(user=None, source="file.jsonl", external_id="7")
    for comparison in ComparisonFactory.create_batch(2, prompt__dataset=dataset):
        JudgmentFactory.create(comparison=comparison, annotator=label, stage="imported")
    AnnotatorFactory.create(user=None, source="elsewhere.jsonl")

    html = as_user(alice).get(reverse("people", args=[dataset.pk])).content.decode()

    assert "file.jsonl: 7" in html
    assert '<td class="number">2</td>' in html
    assert "elsewhere.jsonl" not in html


def test_members_stand_by_role_then_name(dataset, alice, rita, bob, as_user):
    Member.objects.create(dataset=dataset, user=UserFactory.create(username="ann"), role="annotator")

    assert [m.user.username for m in Member.objects.of(dataset).by_role()] == ["alice", "rita", "ann", "bob"]


def test_the_list_asks_as_often_for_three_more_people_as_for_none(dataset, alice, as_user, queries_of):
    url = reverse("people", args=[dataset.pk])
    before = queries_of(as_user(alice), url)
    for _ in range(3):
        judgment = JudgmentFactory.create(comparison__prompt__dataset=dataset)
        Member.objects.create(dataset=dataset, user=judgment.annotator.user, role="annotator")

    assert queries_of(as_user(alice), url) == before


def test_the_list_asks_as_often_for_three_imported_voices_as_for_one(dataset, alice, as_user, queries_of):
    url = reverse("people", args=[dataset.pk])
    counts = []
    for number in range(3):
        voice = AnnotatorFactory.create(user=None, source="file.jsonl", external_id=str(number))
        JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=voice, stage="imported")
        counts.append(queries_of(as_user(alice), url))

    assert counts[0] == counts[2]


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
