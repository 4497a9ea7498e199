"""An annotator's own client: what it is shown, and what becomes of what it sends."""

from uuid import uuid4

import pytest

from tests.annotate.test_ranking import prompt_with
from tests.factories import ComparisonFactory, PromptFactory, SuggestionFactory
from tests.questions.test_telling import settle
from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Dataset,
    Flag,
    Judgment,
    ModelVersion,
    Pause,
    QualificationAnswer,
    Role,
    User,
)
from workbench.pipeline.people import tokens
from workbench.pipeline.questions import replying

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair(dataset) -> Comparison:
    prompt = PromptFactory.create(
        dataset=dataset,
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How warm?"}],
    )
    return ComparisonFactory.create(prompt=prompt, a__text="Very.", b__text="21 degrees.")


class Annotating:
    """Bob's client."""

    def __init__(self, client, dataset: Dataset) -> None:
        self.client, self.at = client, f"/api/v1/datasets/{dataset.pk}"

    def post(self, path: str, status: int = 200, **body):
        answer = self.client.post(f"{self.at}/{path}", body, content_type="application/json")
        assert answer.status_code == status, answer.content
        return answer.json() if answer.content else None

    def get(self, path: str):
        return self.client.get(f"{self.at}/{path}").json()

    def claim(self, **body):
        return self.post("annotate/claim", **body)["item"]

    def vote(self, item, answer: str, status: int = 200, **more):
        key = more.pop("key", None) or str(uuid4())
        about = {"comparison": item["comparison"], "claim": item["claim"], "key": key}
        return self.post("annotate/judge", status, **about, answer=answer, **more)


@pytest.fixture
def client(program, bob, dataset) -> Annotating:
    return Annotating(program(bob, "annotate", [dataset]), dataset)


def on_left(item, pair: Comparison) -> str:
    return "a" if item["sides"][0]["text"] == pair.a.text else "b"


def test_a_claim_shows_the_messages_and_both_sides_and_nothing_of_where_they_come_from(client, pair):
    pair.a.source, pair.a.metadata = "secret-model-7b", {"score": 0.9}
    pair.a.conversation = [{"role": "assistant", "content": "Very.", "name": "secret-model-7b"}]
    pair.a.save()

    item = client.claim()

    assert [(turn["role"], turn["parts"][0]["text"]) for turn in item["turns"]] == [
        ("system", "Be brief."),
        ("user", "How warm?"),
    ]
    assert {side["name"] for side in item["sides"]} == {"left", "right"}
    assert {side["text"] for side in item["sides"]} == {"Very.", "21 degrees."}
    claim = Claim.objects.get()
    assert (item["comparison"], item["claim"]) == (pair.pk, claim.pk)
    assert on_left(item, pair) == claim.left
    assert "secret-model-7b" not in str(item)
    assert set(item) == {
        "comparison", "claim", "key", "mode", "has_reveal", "turns", "tools", "sides", "pick", "why_no_pick",
        "vote",
    }  # fmt: skip


@pytest.mark.parametrize("answer", ["left", "right:2", "tie"])
def test_a_vote_is_stored_for_the_side_that_was_shown_there(client, pair, answer):
    item = client.claim()

    client.vote(item, answer, seconds=4.5, comment="Odd.")

    (judgment,) = Judgment.objects.all()
    side, _, strength = answer.partition(":")
    left = on_left(item, pair)
    wanted = {"left": left, "right": "b" if left == "a" else "a"}.get(side, side)
    assert (judgment.outcome, judgment.seconds, judgment.comment) == (wanted, 4.5, "Odd.")
    assert judgment.strength == (None if side == "tie" else int(strength or 1))


def test_a_vote_that_is_sent_twice_is_stored_once(client, pair):
    item = client.claim()

    first = client.vote(item, "left", key=item["key"])
    again = client.vote(item, "left", key=item["key"])

    assert first["judgment"] == again["judgment"] == Judgment.objects.get().pk


def test_a_reopened_vote_is_changed_by_its_key(client, pair):
    client.vote(client.claim(), "left")

    item = client.post("annotate/reopen")["item"]
    assert item["vote"]["answer"] == "left"
    client.vote(item, "tie", status=409)
    client.vote(item, "tie", supersedes=item["vote"]["supersedes"])

    assert Judgment.objects.unchanged().get().outcome == "tie"
    assert client.post("annotate/reopen", before=item["vote"]["judgment"])["item"] is None


def test_a_second_answer_without_the_first_is_refused_by_its_own_code(client, pair):
    item = client.claim()
    client.vote(item, "left")

    assert client.vote(item, "right", status=409)["code"] == "answered_before"


def test_the_models_pick_comes_after_a_blind_vote_and_before_an_assisted_one(client, pair, dataset):
    version = ModelVersion.objects.get(name="longest")
    ModelVersion.objects.filter(pk=version.pk).update(state="active")
    SuggestionFactory.create(comparison=pair, version=version, margin=2.0)

    blind = client.claim()
    assert (blind["mode"], blind["has_reveal"], blind["pick"]) == ("blind", True, None)
    picked = client.vote(blind, "tie")["pick"]
    assert picked["value"] == ("left" if on_left(blind, pair) == "a" else "right")
    assert picked["differs"]

    Dataset.objects.filter(pk=dataset.pk).update(blind_share=0)
    other = ComparisonFactory.create(prompt__dataset=dataset)
    SuggestionFactory.create(comparison=other, version=version, margin=2.0)
    assisted = client.claim()
    assert assisted["pick"]["value"] == ("left" if on_left(assisted, other) == "a" else "right")
    assert client.vote(assisted, "tie")["pick"] is None


def test_a_ranking_is_answered_by_the_rank_of_each_side(client, dataset):
    dataset.allows_ranking = True
    dataset.save()
    prompt_with(dataset, 3)

    item = client.claim()
    assert [side["name"] for side in item["sides"]] == ["1", "2", "3"]
    client.vote(item, "ranks:2,1,3")

    best = item["sides"][1]["text"]
    wins = Judgment.objects.filter(outcome__in=("a", "b")).select_related("comparison__a", "comparison__b")
    preferred = [getattr(vote.comparison, vote.outcome).text for vote in wins]
    assert len(preferred) == 3
    assert preferred.count(best) == 2


def test_a_skipped_pair_goes_back_and_comes_again_on_request(client, pair):
    item = client.claim()

    client.post("annotate/skip", 204, comparison=item["comparison"], claim=item["claim"])

    nothing = client.post("annotate/claim")["nothing_left"]
    assert (nothing["reason"], nothing["skipped"]) == ("none_for_you", 1)
    assert client.claim(again=True)["comparison"] == pair.pk


def test_a_flag_is_stored_with_its_reason(client, pair):
    item = client.claim()

    client.post("annotate/flag", 204, comparison=pair.pk, claim=item["claim"], reason="unsafe", note="See b.")
    refused = client.post("annotate/flag", 422, comparison=pair.pk, claim=item["claim"], reason="review")

    assert Flag.objects.values_list("reason", "note").get() == ("unsafe", "See b.")
    assert refused["errors"][0]["field"] == "reason"


def test_what_is_held_is_named_and_a_pair_of_another_dataset_is_not_there(client, pair):
    elsewhere = ComparisonFactory.create()
    client.claim()

    assert client.post("annotate/hold", have=[pair.pk, elsewhere.pk])["held"] == [pair.pk]
    client.vote({"comparison": elsewhere.pk, "claim": None}, "left", status=404)
    assert not Judgment.objects.exists()


def test_a_client_with_open_pairs_is_told_to_answer_them_first(client, pair):
    assert client.post("annotate/claim", have=[client.claim()["comparison"]])["nothing_left"]["reason"] == (
        "answer_first"
    )


def test_an_unknown_answer_names_its_field_and_stores_nothing(client, pair):
    refused = client.vote(client.claim(), "leftish", status=422)

    assert refused["errors"][0]["field"] == "answer"
    assert not Judgment.objects.exists()


def test_whoever_is_paused_gets_the_reason_and_votes_no_more(client, pair, dataset, bob, alice):
    item = client.claim()
    began = Claim.objects.get().expires_at
    Pause.objects.create(dataset=dataset, user=bob, reason="Talk to Alice.", begun_by=alice, began_at=began)

    assert client.post("annotate/claim")["nothing_left"] == {
        "reason": "paused", "detail": "Talk to Alice.", "skipped": 0, "lacks": [], "is_sorting": False,
    }  # fmt: skip
    assert client.vote(item, "left", status=409)["code"] == "paused"


def test_a_service_account_never_votes(program, dataset, alice, pair):
    job = tokens.add_service_account(dataset, "job", Role.ADMIN, alice)
    client = Annotating(program(job), dataset)

    refused = client.post("annotate/claim", 403)

    assert (refused["code"], refused["detail"]) == (
        "no_voter", "A service account does not vote. Use the token of a person.",
    )  # fmt: skip
    client.vote({"comparison": pair.pk, "claim": None}, "left", status=403)
    client.post("qualification/start", 403)
    assert not Annotator.objects.filter(user=job).exists()
    assert not Claim.objects.exists()


def test_a_token_that_only_reads_gets_no_pair(program, dataset, bob, pair):
    client = Annotating(program(bob, "read", [dataset]), dataset)

    assert client.post("annotate/claim", 403)["code"] == "out_of_scope"
    assert not Claim.objects.exists()


def test_progress_counts_like_the_page(client, pair, as_user, bob, dataset):
    client.vote(client.claim(), "left")

    progress = client.get("annotate/progress")

    assert (progress["total"], progress["today"], progress["hour"]) == (1, 1, 1)
    assert progress["days"][0]["votes"] == 1


def test_qualifying_tells_what_is_right_after_each_answer(client, dataset):
    ComparisonFactory.create_batch(
        4, prompt__dataset=dataset, gold_outcome="a", required=0, gold_note="It is right."
    )
    ComparisonFactory.create(prompt__dataset=dataset)
    dataset.qualify_pairs, dataset.qualify_share, dataset.qualify_tries = 2, 1, 1
    dataset.save()

    assert client.get("qualification")["state"] == "due"
    assert client.post("annotate/claim")["nothing_left"]["reason"] == "must_qualify"
    for position in (1, 2):
        pair = client.post("qualification/start")["pair"]
        assert (pair["position"], pair["pairs"]) == (position, 2)
        assert "gold" not in str(pair)
        assert "It is right." not in str(pair)
        shown = QualificationAnswer.objects.get(pk=pair["pair"])
        right = "left" if shown.left == "a" else "right"
        result = client.post("qualification/answer", pair=pair["pair"], answer=right)
        assert (result["is_right"], result["known"], result["why"]) == (True, right, "It is right.")
    assert result["is_last"]
    standing = client.get("qualification")
    assert (standing["state"], standing["last"]["right"]) == ("passed", 2)
    assert client.claim()


def test_a_question_shows_what_became_of_it(client, pair, dataset, rita: User):
    item = client.claim()
    client.post("annotate/flag", 204, comparison=pair.pk, claim=item["claim"], reason="unsafe", note="Look.")

    page = client.get("annotate/questions")

    assert page["pages"] == 1
    (question,) = page["items"]
    assert (question["flag"], question["text"], question["outcome"]) == (
        "Harmful or private content", "Look.", "",
    )  # fmt: skip
    assert [question["left"], question["right"]] == [side["text"] for side in item["sides"]]

    client.vote(item, "left")
    settle(pair, rita, "a")
    replying.reply(pair, Annotator.objects.get(user__username="bob"), "Well seen.", rita)
    (answered,) = client.get("annotate/questions")["items"]
    seen_as = "left" if on_left(item, pair) == "a" else "right"
    assert (answered["reply"], answered["outcome"], answered["is_news"]) == ("Well seen.", seen_as, True)
    assert client.vote(item, "tie", status=409)["code"] == "already_told"


def test_the_guidelines_come_with_their_examples(client, pair, dataset, rita, alice):
    dataset.revise_guidelines("Prefer numbers.", alice)
    client.vote(client.claim(), "left")
    settle(pair, rita, "b")
    replying.make_example(pair, "It names the number.", rita)

    shown = client.get("annotate/guidelines")

    assert (shown["id"], shown["text"]) == (dataset.current_guidelines.pk, "Prefer numbers.")
    assert shown["examples"] == [
        {
            "prompt": "Be brief.\nHow warm?",
            "left": "Very.",
            "right": "21 degrees.",
            "outcome": "right",
            "why": "It names the number.",
        }
    ]
