import re
from uuid import uuid4

import pytest
from django.urls import reverse

from tests.factories import ComparisonFactory, CompletionFactory, JudgmentFactory, PromptFactory
from workbench.models import Act, Comparison, Dataset, Decision, Prompt
from workbench.pipeline.data import more_pairs
from workbench.pipeline.data.acts import do
from workbench.pipeline.data.changes import Exclude, MarkGold

pytestmark = [pytest.mark.django_db, pytest.mark.portable]


@pytest.fixture
def pair(dataset: Dataset) -> Comparison:
    return ComparisonFactory.create(prompt__dataset=dataset)


def post(client, dataset: Dataset, **fields):
    return client.post(reverse("data_act", args=[dataset.pk]), fields, follow=True)


def test_an_admin_excludes_a_checked_prompt_and_undoes_it_by_the_toast(dataset, alice, as_user, pair):
    page = reverse("prompt", args=[pair.prompt_id])
    fields = {"prompts": pair.prompt_id, "where": "both", "excluded_reason": "Spam", "next": page}

    answer = post(as_user(alice), dataset, kind="exclude", **fields)

    assert answer.redirect_chain[-1][0] == page
    assert "Excluded 1 prompt from the queue and releases: Spam." in answer.content.decode()
    undo = reverse("act_undo", args=[Act.objects.get().pk])
    assert undo in answer.content.decode()

    as_user(alice).post(undo)
    assert Prompt.objects.get().excluded_from == ""


def test_a_reviewer_tags_and_may_not_exclude(dataset, rita, as_user, pair):
    client = as_user(rita)

    tagged = post(client, dataset, kind="tag", prompts=pair.prompt_id, tag="hard")
    excluded = post(
        client, dataset, kind="exclude", prompts=pair.prompt_id, where="both", excluded_reason="no"
    )

    assert "Tagged 1 prompt: hard." in tagged.content.decode()
    assert excluded.status_code == 403


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"kind": "exclude", "where": "both"}, "Write why the prompts are excluded."),
        ({"kind": "gold"}, "Write why the known answer is right."),
        ({"kind": "explode"}, "Choose what to do."),
        ({"kind": "priority", "prompts": "1; DROP"}, "The page sent no list of prompts."),
        ({"kind": "restore"}, "Nothing was changed: 1 prompt not excluded."),
    ],
)
def test_an_act_that_lacks_something_is_refused_with_a_sentence(
    dataset, alice, as_user, pair, fields, sentence
):
    answer = post(as_user(alice), dataset, **{"prompts": pair.prompt_id, **fields})

    assert sentence in answer.content.decode()
    assert not Act.objects.exists()


def test_no_act_sends_anybody_to_another_site(dataset, alice, as_user, pair):
    answer = as_user(alice).post(
        reverse("data_act", args=[dataset.pk]),
        {"kind": "priority", "prompts": pair.prompt_id, "next": "//evil.example"},
    )

    assert answer.headers["Location"] == reverse("data", args=[dataset.pk])


def test_the_history_lists_acts_with_undo_for_those_who_may(dataset, alice, rita, as_user, pair):
    act = do(dataset, Exclude("queue", "Spam"), [pair.prompt_id], by=alice)
    page, undo = reverse("data_history", args=[dataset.pk]), reverse("act_undo", args=[act.pk])

    seen_by_alice = as_user(alice).get(page).content.decode()
    seen_by_rita = as_user(rita).get(page).content.decode()

    assert "Excluded 1 prompt from the queue: Spam" in seen_by_rita
    assert undo in seen_by_alice
    assert undo not in seen_by_rita


def test_an_undone_act_says_who_undid_it(dataset, alice, as_user, pair):
    act = do(dataset, Exclude("queue", "Spam"), [pair.prompt_id], by=alice)
    as_user(alice).post(reverse("act_undo", args=[act.pk]))

    assert (
        "undone by alice" in as_user(alice).get(reverse("data_history", args=[dataset.pk])).content.decode()
    )


def test_more_pairs_are_undone_from_the_history_as_well(dataset, alice, as_user):
    prompt = PromptFactory.create(dataset=dataset)
    CompletionFactory.create_batch(3, prompt=prompt)
    act = more_pairs.make(dataset, more_pairs.Wanted(per_prompt=3), None, alice, uuid4())
    begun = Comparison.objects.first()
    JudgmentFactory.create(comparison=begun)
    page, undo = reverse("data_history", args=[dataset.pk]), reverse("act_undo", args=[act.pk])
    assert undo in as_user(alice).get(page).content.decode()
    assert "Made pairs of 1 prompt: 3 pairs" in as_user(alice).get(page).content.decode()

    answer = as_user(alice).post(undo, {"next": page}, follow=True)

    assert list(Comparison.objects.all()) == [begun]
    assert "What came later stays: 1 pair begun by somebody." in answer.content.decode()


def test_a_reviewer_may_not_undo_more_pairs(dataset, alice, rita, as_user):
    CompletionFactory.create_batch(2, prompt=PromptFactory.create(dataset=dataset))
    act = more_pairs.make(dataset, more_pairs.Wanted(), None, alice, uuid4())
    page, undo = reverse("data_history", args=[dataset.pk]), reverse("act_undo", args=[act.pk])

    assert undo not in as_user(rita).get(page).content.decode()
    assert as_user(rita).post(undo).status_code == 403


def test_an_act_on_all_found_is_shown_first_and_then_done(dataset, alice, as_user):
    for source in ("rowan", "rowan", "alder"):
        prompt = PromptFactory.create(dataset=dataset)
        CompletionFactory.create(prompt=prompt, source=source)
    client = as_user(alice)
    fields = {"kind": "tag", "tag": "hard", "all": "1", "query": "source=rowan"}

    shown = post(client, dataset, **fields)
    assert "Tagged: 2 prompts" in shown.content.decode()
    assert not Act.objects.exists()

    post(client, dataset, **fields, sure="1")
    act = Act.objects.get()
    assert (act.prompt_count, act.query) == (2, "source=rowan")


def test_the_data_page_offers_acts_and_a_box_for_each_prompt(dataset, alice, as_user, pair):
    page = as_user(alice).get(reverse("data", args=[dataset.pk])).content.decode()

    assert f'name="prompts" value="{pair.prompt_id}" form="acts"' in page
    assert reverse("prompt", args=[pair.prompt_id]) in page
    assert "All 1 found" in page


# --- the page of a prompt -----------------------------------------------------------------------------------


def test_a_prompt_shows_its_answers_pairs_labels_and_history(dataset, alice, rita, as_user):
    prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": "Why do onions?"}])
    first = CompletionFactory.create(prompt=prompt, text="Because.", source="rowan")
    second = CompletionFactory.create(prompt=prompt, text="They do not.", source="alder")
    pair = ComparisonFactory.create(prompt=prompt, a=second, b=first)
    JudgmentFactory.create(comparison=pair, outcome="b", annotator__user=alice, comment="Short")
    Decision.objects.create(comparison=pair, outcome="b", method="reviewer", decided_by=rita)

    page = as_user(rita).get(reverse("prompt", args=[prompt.pk])).content.decode()

    for text in ("Why do onions?", "Because.", "rowan", "They do not.", "alder"):
        assert text in page
    assert re.search(r'class="won">\s*<a[^>]*>Won</a> <span class="hint">1 : 0', page)
    assert "answers 1 and 2: Answer 1. Short" in page
    assert "Final label: <b>Answer 1</b>" in page


def test_votes_are_folded_while_a_pair_is_open(dataset, rita, as_user, pair):
    page = as_user(rita).get(reverse("prompt", args=[pair.prompt_id])).content.decode()
    assert '<details class="wins" open>' not in page

    Decision.objects.create(comparison=pair, outcome="a", method="reviewer", decided_by=rita)

    page = as_user(rita).get(reverse("prompt", args=[pair.prompt_id])).content.decode()
    assert '<details class="wins" open>' in page


def test_a_reviewer_settles_on_the_page_of_the_prompt_and_undoes_it(dataset, rita, as_user, pair):
    client, address = as_user(rita), reverse("prompt", args=[pair.prompt_id])
    token = re.search(r'name="seen" value="(\w+)"', client.get(address).content.decode())[1]
    fields = {"seen": token, "comparison": pair.pk, "outcome": "tie", "next": address}

    answer = client.post(reverse("settle", args=[pair.pk]), fields)

    decision = Decision.objects.current().get()
    assert (answer.headers["Location"], decision.outcome) == (address, "tie")

    undo = {"decision": decision.pk, "next": address}
    assert client.post(reverse("unsettle", args=[pair.pk]), undo).headers["Location"] == address
    assert not Decision.objects.current().exists()


def test_the_explanation_of_gold_shows_on_the_page_of_the_prompt(dataset, alice, as_user, pair):
    do(dataset, MarkGold("It cites its source", "a"), [pair.prompt_id], by=alice)

    page = as_user(alice).get(reverse("prompt", args=[pair.prompt_id])).content.decode()

    assert "It cites its source" in page


def test_the_comment_of_somebody_who_did_not_vote_shows_on_the_page_of_the_prompt(
    dataset, alice, as_user, pair
):
    pair.metadata = {"comments_without_vote": [{"annotator": "p7", "comment": "<b>Neither</b> is true."}]}
    pair.save()

    page = as_user(alice).get(reverse("prompt", args=[pair.prompt_id])).content.decode()

    assert '&lt;b&gt;Neither&lt;/b&gt; is true. <span class="hint">p7, without a vote</span>' in page


def test_a_prompt_of_more_characters_than_a_page_shows_how_it_begins(dataset, alice, as_user, monkeypatch):
    prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": "word " * 300}])
    monkeypatch.setattr("workbench.pipeline.datasets.overview.MOST_OF_ONE", 1000)

    page = as_user(alice).get(reverse("prompt", args=[prompt.pk])).content.decode()

    assert "characters are too many to show" in page
