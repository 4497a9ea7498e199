"""The pages of questions, replies and examples, as their people see them."""

import pytest
from django.urls import reverse

from tests.factories import ComparisonFactory, JudgmentFactory
from workbench.models import Annotator, Comparison, Dataset, Flag, Told
from workbench.pipeline.questions import replying
from workbench.pipeline.review import decide

pytestmark = [pytest.mark.django_db, pytest.mark.portable]


@pytest.fixture
def of_bob(bob) -> Annotator:
    return Annotator.objects.for_user(bob)


@pytest.fixture
def case(dataset: Dataset, of_bob: Annotator) -> Comparison:
    """A pair on which Bob has voted and commented, for one person."""
    texts = {"a__text": "Boil it.", "b__text": "Fry it."}
    comparison = ComparisonFactory.create(prompt__dataset=dataset, claimed=1, required=1, **texts)
    JudgmentFactory.create(
        comparison=comparison, annotator=of_bob, outcome="a", left="b", comment="Which pan?", stage="first"
    )
    comparison.claims.create(
        annotator=of_bob, slot=0, state="done", left="b", mode="blind", expires_at=comparison.created_at
    )
    return comparison


def html(client, name: str, pk: int, **headers: str) -> str:
    return client.get(reverse(name, args=[pk]), headers=headers).content.decode()


def settle(case: Comparison, by, outcome: str = "a"):
    return decide.settle(case, by, outcome, seen_token=decide.seen(case))


def test_an_annotator_sees_a_question_open_then_replied_then_settled_by_the_sides_they_saw(
    dataset, case, bob, rita, of_bob, as_user
):
    client = as_user(bob)
    first = html(client, "questions", dataset.pk)
    assert "Which pan?" in first
    assert ">Open<" in first

    as_user(rita).post(reverse("reply", args=[case.pk]), {"annotator": of_bob.pk, "text": "Any <pan>."})
    replied = html(client, "questions", dataset.pk)
    assert ">Replied<" in replied
    assert "Any &lt;pan&gt;." in replied
    assert "rita" not in replied

    settle(case, rita, "a")
    assert "Settled: Right<" in html(client, "questions", dataset.pk)


def test_a_mark_says_that_there_is_something_new_until_it_is_read(dataset, case, bob, rita, of_bob, as_user):
    client = as_user(bob)
    mark = '<span class="tag agree">new</span>'
    assert mark not in html(client, "annotate", dataset.pk)

    replying.reply(case, of_bob, "Any.", rita)

    assert mark in html(client, "annotate", dataset.pk)
    html(client, "questions", dataset.pk)
    assert mark not in html(client, "annotate", dataset.pk)


def test_an_excluded_pair_says_so(dataset, case, bob, rita, as_user):
    settle(case, rita, "drop")

    assert ">Excluded<" in html(as_user(bob), "questions", dataset.pk)


def test_reading_a_reply_refuses_the_change_of_the_vote_in_words(dataset, case, bob, rita, of_bob, as_user):
    client = as_user(bob)
    replying.reply(case, of_bob, "Any.", rita)
    html(client, "questions", dataset.pk)
    assert client.get(reverse("annotate_undo", args=[dataset.pk])).status_code == 302

    answer = client.post(
        reverse("judge", args=[dataset.pk]),
        {"user": bob.pk, "comparison": case.pk, "key": "0" * 31 + "1", "answer": "left"},
        headers={"Accept": "application/json"},
    )

    assert answer.status_code == 409
    assert "you have read what became of this pair" in answer.json()["error"]


@pytest.mark.parametrize("name", ["review_case", "prompt"])
def test_a_reviewer_sees_the_question_and_whether_the_reply_is_held(
    name, dataset, case, rita, of_bob, as_user
):
    pk = case.pk if name == "review_case" else case.prompt_id
    client = as_user(rita)
    assert "Which pan?" in html(client, name, pk)

    replying.reply(case, of_bob, "Any.", rita)
    assert "bob can read this now." in html(client, name, pk)

    Comparison.objects.update(required=0, gold_outcome="a")
    assert "Held: shown to bob once bob may judge this pair no more." in html(client, name, pk)

    Told.objects.create(comparison=case, annotator=of_bob, at=case.replies.get().created_at)
    assert "bob read this" in html(client, name, pk)


def test_a_reviewer_edits_takes_back_and_undoes_a_reply(dataset, case, rita, of_bob, as_user):
    client = as_user(rita)
    path = reverse("reply", args=[case.pk])
    here = {"next": reverse("prompt", args=[case.prompt_id])}
    for text in ("Any.", "A small one."):
        client.post(path, {"annotator": of_bob.pk, "text": text, **here})

    answer = client.post(path, {"annotator": of_bob.pk, **here}, follow=True)

    assert "Took back the reply." in answer.content.decode()
    assert "rita took the reply back" in answer.content.decode()
    undo = reverse("reply_undo", args=[case.replies.get(is_current=True).pk])
    assert f'action="{undo}"' in answer.content.decode()
    client.post(undo)
    assert case.replies.current().get().text == "A small one."


def test_htmx_gets_the_questions_alone(case, rita, of_bob, as_user):
    answer = as_user(rita).post(
        reverse("reply", args=[case.pk]),
        {"annotator": of_bob.pk, "text": "Any."},
        headers={"HX-Request": "true"},
    )

    body = answer.content.decode()
    assert "<html" not in body
    assert f'id="questions-{case.pk}"' in body
    assert "Any." in body


def test_a_reply_to_somebody_who_asked_nothing_is_refused(case, rita, as_user):
    of_rita = Annotator.objects.for_user(rita)

    answer = as_user(rita).post(
        reverse("reply", args=[case.pk]), {"annotator": of_rita.pk, "text": "Any."}, follow=True
    )

    assert "has neither flagged this pair nor commented on it" in answer.content.decode()
    assert not case.replies.exists()


def test_a_reply_that_was_changed_meanwhile_is_not_undone(case, rita, of_bob, as_user):
    old = replying.reply(case, of_bob, "Any.", rita)
    replying.reply(case, of_bob, "A small one.", rita)

    answer = as_user(rita).post(reverse("reply_undo", args=[old.pk]), follow=True)

    assert "Nothing was undone: somebody has changed it since." in answer.content.decode()
    assert case.replies.current().get().text == "A small one."


def test_the_guidelines_list_the_examples_with_both_texts_the_label_and_why(
    dataset, case, bob, rita, alice, as_user
):
    dataset.revise_guidelines("Be **kind**.", alice)
    settle(case, rita, "a")
    as_user(rita).post(reverse("example", args=[case.pk]), {"text": "Boiling is safe."})

    page = html(as_user(bob), "guidelines", dataset.pk)

    assert "Be <strong>kind</strong>." in page
    for words in ("Boil it.", "Fry it.", "Left is better", "Boiling is safe."):
        assert words in page
    part = html(as_user(bob), "guidelines", dataset.pk, **{"HX-Request": "true"})
    assert "Boiling is safe." in part
    assert "kind" not in part


def test_a_reviewer_takes_an_example_back_and_undoes_it(dataset, case, bob, rita, as_user):
    settle(case, rita)
    client, path = as_user(rita), reverse("example", args=[case.pk])
    client.post(path, {"text": "Boiling is safe."})
    assert "Annotators see it." in html(client, "review_case", case.pk)

    client.post(path)

    assert "Boiling is safe." not in html(as_user(bob), "guidelines", dataset.pk)
    client.post(reverse("example_undo", args=[case.examples.get(is_current=True).pk]))
    assert "Boiling is safe." in html(as_user(bob), "guidelines", dataset.pk)


def test_a_flag_keeps_the_sides_that_its_annotator_saw(dataset, bob, of_bob, as_user):
    case = ComparisonFactory.create(prompt__dataset=dataset, a__text="Boil it.", b__text="Fry it.")
    Flag.objects.create(comparison=case, annotator=of_bob, reason="other", left="b")

    page = html(as_user(bob), "questions", dataset.pk)

    assert page.index("Fry it.") < page.index("Boil it.")


def test_questions_come_by_pages_newest_first(dataset, bob, of_bob, as_user):
    for number in range(21):
        case = ComparisonFactory.create(prompt__dataset=dataset)
        Flag.objects.create(comparison=case, annotator=of_bob, reason="other", note=f"Note {number}.")

    page = html(as_user(bob), "questions", dataset.pk)

    assert page.count('<article class="question"') == 20
    assert "Note 20." in page
    assert "Note 0." not in page
    assert "Page 1 of 2" in page


def test_a_reviewer_closes_a_flag_with_the_reply_and_undo_opens_it_again(
    dataset, case, bob, rita, of_bob, as_user
):
    flag = Flag.objects.create(comparison=case, annotator=of_bob, reason="other", note="Odd.", left="a")
    client = as_user(rita)
    client.post(
        reverse("reply", args=[case.pk]), {"annotator": of_bob.pk, "text": "It is fine.", "closes_flag": "on"}
    )
    assert not Comparison.objects.flagged().exists()
    assert ">Flag closed<" in html(as_user(bob), "questions", dataset.pk)

    client.post(reverse("reply_undo", args=[case.replies.get().pk]))

    flag.refresh_from_db()
    assert flag.closed_at is None
    assert ">Flag closed<" not in html(as_user(bob), "questions", dataset.pk)


def test_undo_leaves_a_flag_closed_that_was_settled(case, rita, of_bob):
    flag = Flag.objects.create(comparison=case, annotator=of_bob, reason="other")
    row = replying.reply(case, of_bob, "It is fine.", rita)
    settle(case, rita)

    replying.undo(row, rita)

    flag.refresh_from_db()
    assert flag.closed_at is not None
