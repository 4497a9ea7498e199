"""The annotation page over HTTP: which texts reach the page, and when, and the answer to each request."""

import re
import time
from datetime import timedelta
from html import unescape
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    ScoreFactory,
    SuggestionFactory,
    UserFactory,
)
from workbench.models import Claim, Comparison, Dataset, Decision, Flag, Judgment, Member
from workbench.pipeline.annotate.handout import HOLD
from workbench.templatetags.text import plain

pytestmark = pytest.mark.django_db

SECRETS = ["quill-7b", "heron-70b", "reward-secret", "7.123456", "-3.654321", "10.777"]


@pytest.fixture
def comparison(dataset) -> Comparison:
    """A Comparison whose names and scores would be found anywhere: whatever leaks, leaks these."""
    prompt = PromptFactory.create(
        dataset=dataset, external_id="quill-7b-item", metadata={"winner": "quill-7b"}
    )
    a = CompletionFactory.create(prompt=prompt, text="Alpha text.", source="quill-7b")
    b = CompletionFactory.create(prompt=prompt, text="Beta text.", source="heron-70b")
    pair = ComparisonFactory.create(prompt=prompt, a=a, b=b, metadata={"label": "heron-70b"})
    version = ModelVersionFactory.create(name="reward-secret", state="active", temperature=1.0)
    ScoreFactory.create(completion=a, version=version, value=7.123456)
    ScoreFactory.create(completion=b, version=version, value=-3.654321)
    SuggestionFactory.create(comparison=pair, version=version, margin=10.777777)
    return pair


def url(name: str, dataset: Dataset) -> str:
    return reverse(name, args=[dataset.pk])


def sent(user, comparison, answer="left", **more) -> dict[str, object]:
    return {"user": user.pk, "comparison": comparison.pk, "key": str(uuid4()), "answer": answer, **more}


def judge(client, dataset, fields):
    return client.post(url("judge", dataset), fields, headers={"Accept": "application/json"})


def test_a_stranger_does_not_learn_that_the_page_exists(dataset, charlie, as_user):
    for name in ("annotate", "annotate_undo", "annotate_markdown"):
        assert as_user(charlie).get(url(name, dataset)).status_code == 404
    for name in ("annotate_next", "judge", "annotate_skip", "annotate_flag", "annotate_hold"):
        assert as_user(charlie).post(url(name, dataset)).status_code == 404


def test_a_visitor_is_sent_to_the_login(dataset, client):
    response = client.get(url("annotate", dataset))

    assert response.status_code == 302
    assert response.url.startswith(reverse("login"))


@pytest.mark.parametrize("way", ["annotate", "annotate_next"])
def test_nothing_that_could_lead_the_annotator_is_in_the_bytes_before_the_answer(
    dataset, bob, as_user, comparison, way
):
    colleague = AnnotatorFactory.create(user__username="the-other-annotator")
    JudgmentFactory.create(
        comparison=comparison, annotator=colleague, outcome="both_bad", comment="other people's words"
    )
    client = as_user(bob)

    page = (client.get if way == "annotate" else client.post)(url(way, dataset))

    everything = page.content.decode() + str(page.headers)
    assert "Alpha text." in everything
    for secret in [*SECRETS, "the-other-annotator", "other people's words", "Model’s pick", "likely"]:
        assert secret not in everything


def test_the_markdown_view_names_nobody_either(dataset, bob, as_user, comparison):
    client = as_user(bob)
    client.get(url("annotate", dataset))

    page = client.get(url("annotate_markdown", dataset), {"comparison": comparison.pk})

    assert "Alpha text." in page.content.decode()
    assert not any(secret in page.content.decode() for secret in SECRETS)


def test_the_markdown_of_what_was_not_handed_out_is_not_found(dataset, bob, rita, as_user, comparison):
    client = as_user(bob)
    as_user(rita).get(url("annotate", dataset))

    for key in (comparison.pk, "", "x", "99999999999999999999999"):
        assert client.get(url("annotate_markdown", dataset), {"comparison": key}).status_code == 404


def test_numbers_above_999_reach_the_page_without_separators(dataset, as_user):
    bob = UserFactory.create(pk=4321, username="bob")
    Member.objects.create(dataset=dataset, user=bob, role="annotator")
    dataset.guidelines.create(pk=5678, number=1, text="Be fair.")
    dataset.lease_minutes = 120
    dataset.save()
    comparison = ComparisonFactory.create(pk=12345, prompt=PromptFactory.create(dataset=dataset))
    client = as_user(bob)

    page = client.get(url("annotate", dataset)).content.decode()
    fields = dict(re.findall(r'name="(user|comparison|guidelines|key)" value="([^"]*)"', page))
    client.post(url("judge", dataset), fields | {"answer": "tie"})

    judgment = Judgment.objects.get()
    assert (judgment.comparison, judgment.guidelines_id) == (comparison, 5678)
    for attribute in ('data-comparison="12345"', 'data-user="4321"', 'data-hold-seconds="2400"'):
        assert attribute in page
    undone = client.get(url("annotate_undo", dataset)).content.decode()
    assert f'data-judgment="{judgment.pk}"' in undone


def test_after_a_blind_answer_the_suggestion_is_revealed_without_names(dataset, bob, as_user, comparison):
    client = as_user(bob)
    client.get(url("annotate", dataset))
    Claim.objects.update(left="b")

    reply = judge(client, dataset, sent(bob, comparison, "left")).json()

    assert Judgment.objects.get().outcome == "b"
    assert (reply["suggested"], reply["differs"]) == ("right", True)
    assert "You: <b>Left</b>" in reply["reveal"]
    assert "Model: <b>Right</b>, &gt;99\xa0% likely" in reply["reveal"]
    assert not any(secret in reply["reveal"] for secret in SECRETS)


def test_an_uncalibrated_model_says_so_and_gives_no_percentage(dataset, bob, as_user, comparison):
    version = comparison.suggestions.get().version
    version.temperature, version.notice = None, "Only for the demo."
    version.save()
    client = as_user(bob)
    client.get(url("annotate", dataset))

    reveal = judge(client, dataset, sent(bob, comparison)).json()["reveal"]

    assert "The model leans <b>" in reveal
    assert "10.78" not in reveal
    assert "%" not in reveal
    assert "Only for the demo." in reveal


def test_a_change_after_the_reveal_reveals_nothing_again(dataset, bob, as_user, comparison):
    client = as_user(bob)
    client.get(url("annotate", dataset))
    fields = sent(bob, comparison, "left")
    judge(client, dataset, fields)

    reply = judge(client, dataset, sent(bob, comparison, "tie", supersedes=fields["key"])).json()

    assert reply["reveal"] == ""
    assert list(Judgment.objects.values_list("stage", "is_current")) == [("first", False), ("revealed", True)]


def test_an_assisted_annotator_sees_the_suggestion_beforehand_on_the_side_it_favours(
    dataset, bob, as_user, comparison
):
    dataset.blind_share = 0
    dataset.save()
    client = as_user(bob)
    page = client.get(url("annotate", dataset)).content.decode()
    left = Claim.objects.get().left
    pane = re.search(
        r'<section class="pane" id="side-(\w+)"(?:(?!</section>).)*Model’s pick', page, re.DOTALL
    )

    assert pane.group(1) == ("left" if left == "a" else "right")
    assert "&gt;99\xa0% likely" in page
    assert not any(secret in page for secret in SECRETS)
    assert judge(client, dataset, sent(bob, comparison, "tie")).json()["reveal"] == ""


def test_the_same_submit_twice_stores_one_judgment(dataset, bob, as_user, comparison):
    client = as_user(bob)
    client.get(url("annotate", dataset))
    fields = sent(bob, comparison)

    replies = [judge(client, dataset, fields) for _ in range(2)]

    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].json() == replies[1].json()
    assert Judgment.objects.count() == 1


def test_an_answer_whose_place_is_lost_is_kept_aside_and_answered_like_any_other(
    dataset, bob, rita, as_user, comparison
):
    client = as_user(bob)
    client.get(url("annotate", dataset))
    Claim.objects.update(expires_at=timezone.now())
    colleague = as_user(rita)
    colleague.get(url("annotate", dataset))
    judge(colleague, dataset, sent(rita, comparison))

    reply = judge(client, dataset, sent(bob, comparison, "tie"))

    late = Judgment.objects.get(annotator__user=bob)
    assert (reply.status_code, reply.json()["judgment"]) == (200, late.pk)
    assert "surplus" in late.metadata
    assert not late.is_current
    assert Claim.objects.get(annotator__user=bob).state == "done"


def test_answers_of_somebody_else_are_not_taken_for_ones_own(dataset, bob, rita, as_user, comparison):
    client = as_user(rita)
    client.get(url("annotate", dataset))

    reply = judge(client, dataset, sent(bob, comparison))

    assert reply.status_code == 401
    assert not Judgment.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"answer": "a"},
        {"answer": ""},
        {"key": "7"},
        {"seconds": "-1"},
        {"seconds": "nan"},
        {"comparison": "x"},
        {"comparison": str(2**70)},
        {"comment": "x" * 5001},
    ],
)
def test_a_malformed_answer_is_refused_and_names_the_field(dataset, bob, as_user, comparison, wrong):
    client = as_user(bob)
    client.get(url("annotate", dataset))

    reply = judge(client, dataset, sent(bob, comparison) | wrong)

    assert reply.status_code == 400
    assert reply.json()["error"].startswith(next(iter(wrong)))
    assert not Judgment.objects.exists()


def test_a_comparison_of_another_dataset_cannot_be_judged_through_this_one(dataset, bob, as_user):
    foreign = ComparisonFactory.create()

    reply = judge(as_user(bob), dataset, sent(bob, foreign))

    assert reply.status_code == 404


def key_in(page: str) -> str:
    return re.search(r'name="supersedes" value="([^"]+)"', page).group(1)


def test_without_the_script_an_answer_leads_on_and_the_model_is_a_line_above(
    dataset, bob, as_user, comparison
):
    client = as_user(bob)
    client.get(url("annotate", dataset))
    Claim.objects.update(left="a")

    following = client.post(url("judge", dataset), sent(bob, comparison, "right"), follow=True)
    reopened = client.get(url("annotate_undo", dataset))
    key = key_in(reopened.content.decode())
    client.post(url("judge", dataset), sent(bob, comparison, "left", supersedes=key))

    page = following.content.decode()
    assert "No pairs for you right now" in page
    assert "disagrees</span>" in page
    assert url("annotate_undo", dataset) in page.split("Last pair")[1]
    assert list(Judgment.objects.values_list("outcome", "stage")) == [("b", "first"), ("a", "revealed")]


@pytest.mark.parametrize("last", ["x", "0", "other"])
def test_the_line_is_of_ones_own_last_answer_alone(dataset, bob, rita, as_user, comparison, last):
    for person in (rita, bob):
        as_user(person).get(url("annotate", dataset))
        judge(as_user(person), dataset, sent(person, comparison))
    colleagues_judgment = Judgment.objects.exclude(annotator__user=bob).first()

    page = as_user(bob).get(
        url("annotate", dataset), {"last": colleagues_judgment.pk if last == "other" else last}
    )

    assert page.status_code == 200
    assert "Last pair" not in page.content.decode()


def test_who_wants_to_stop_after_each_answer_says_so_for_the_account(dataset, bob, as_user, comparison):
    client = as_user(bob)
    before = client.get(url("annotate", dataset)).content.decode()
    Claim.objects.update(left="a")

    stored = client.post(reverse("straight_on"), {})
    revealed = client.post(
        url("judge", dataset), sent(bob, comparison, "right"), follow=True
    ).content.decode()
    done = client.post(
        url("judge", dataset), sent(bob, comparison, "left", supersedes=key_in(revealed)), follow=True
    )
    elsewhere = as_user(bob).get(url("annotate", dataset)).content.decode()
    client.post(reverse("straight_on"), {"straight_on": "on"})
    bob.refresh_from_db()

    assert re.search('id="straight-on"[^>]* checked', before)
    assert stored.status_code == 204
    assert "disagrees</span>" in revealed
    assert list(Judgment.objects.values_list("outcome", "stage")) == [("b", "first"), ("a", "revealed")]
    assert "No pairs for you right now" in done.content.decode()
    assert not re.search('id="straight-on"[^>]* checked', elsewhere)
    assert bob.goes_straight_on


def test_an_answer_that_another_window_was_before_is_told_what_stands_and_can_change_it(
    dataset, bob, as_user, comparison
):
    client = as_user(bob)
    client.get(url("annotate", dataset))
    first = sent(bob, comparison, "left", comment="Shorter.")
    judge(client, dataset, first)

    refused = judge(client, dataset, sent(bob, comparison, "right"))
    stored = refused.json()["stored"]
    changed = judge(client, dataset, sent(bob, comparison, "right:2", supersedes=stored["supersedes"]))

    assert refused.status_code == 409
    assert "“Left”" in refused.json()["error"]
    assert "ress u to change it" in refused.json()["error"]
    assert (stored["answer"], stored["comment"], stored["supersedes"]) == ("left", "Shorter.", first["key"])
    assert changed.status_code == 200
    assert Judgment.objects.current().get().strength == 2


def test_without_the_script_a_refusal_is_said_on_the_page(dataset, bob, as_user, comparison):
    page = as_user(bob).post(url("judge", dataset), sent(bob, comparison), follow=True)

    assert "not given to you" in page.content.decode()


def test_the_page_asks_for_more_until_it_holds_enough(dataset, bob, as_user):
    for _ in range(HOLD + 1):
        ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset))
    client, have = as_user(bob), []
    while (page := client.post(url("annotate_next", dataset), {"have": ",".join(have)})).status_code == 200:
        have.append(re.search(r'data-comparison="(\d+)"', page.content.decode()).group(1))

    assert page.status_code == 204
    assert len(set(have)) == len(have) == HOLD


@pytest.mark.parametrize("have", ["1,", "a", "1;2", "-1", "1" * 30])
def test_a_malformed_list_of_what_the_page_has_is_refused(dataset, bob, as_user, have):
    page = as_user(bob).post(url("annotate_next", dataset), {"have": have})

    assert page.status_code in (302, 400)
    assert not Claim.objects.exists()


def test_a_skip_gives_the_place_back(dataset, bob, as_user, comparison):
    client = as_user(bob)
    client.get(url("annotate", dataset))

    client.post(url("annotate_skip", dataset), sent(bob, comparison))

    assert Claim.objects.get().state == "skipped"
    page = client.get(url("annotate", dataset)).content.decode()
    assert "You skipped 1" in page
    assert "Alpha text." in client.get(url("annotate", dataset), {"again": 1}).content.decode()


def test_a_flag_is_no_answer(dataset, bob, as_user, comparison):
    client = as_user(bob)
    client.get(url("annotate", dataset))
    fields = {"user": bob.pk, "comparison": comparison.pk, "reason": "identity", "note": "says its name"}

    reply = client.post(url("annotate_flag", dataset), fields, headers={"Accept": "application/json"})

    assert reply.status_code == 200
    assert Flag.objects.get().reason == "identity"
    assert not Judgment.objects.exists()
    assert Claim.objects.get().state == "live"


def test_undo_reopens_the_last_answer_and_the_one_before(dataset, bob, as_user):
    for n in range(2):
        messages = [{"role": "user", "content": f"Question {n}"}]
        ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset, messages=messages))
    client = as_user(bob)
    for _ in range(2):
        page = client.get(url("annotate", dataset)).content.decode()
        pk = re.search(r'data-comparison="(\d+)"', page).group(1)
        judge(client, dataset, sent(bob, Comparison.objects.get(pk=pk), "tie"))
    first, second = Judgment.objects.order_by("pk")

    last = client.get(url("annotate_undo", dataset), headers={"X-Requested-With": "fetch"}).content.decode()
    before = client.get(url("annotate_undo", dataset), {"before": second.pk}).content.decode()

    assert f'data-supersedes="{second.idempotency_key}"' in last
    assert "<html" not in last
    assert f'data-supersedes="{first.idempotency_key}"' in before
    assert "<html" in before


def test_holding_says_what_is_still_held_and_which_guidelines_are_current(dataset, bob, as_user, comparison):
    guidelines = dataset.guidelines.create(number=1, text="Be fair.")
    client = as_user(bob)
    client.get(url("annotate", dataset))

    reply = client.post(url("annotate_hold", dataset), {"have": f"{comparison.pk},{comparison.pk + 1}"})

    assert reply.json() == {"held": [comparison.pk], "guidelines": guidelines.pk}


def test_a_judgment_keeps_the_guidelines_that_the_page_showed(dataset, bob, as_user, comparison):
    old = dataset.guidelines.create(number=1, text="Be fair.")
    client = as_user(bob)
    client.get(url("annotate", dataset))
    dataset.guidelines.create(number=2, text="Be fairer.")

    judge(client, dataset, sent(bob, comparison, guidelines=old.pk))

    assert Judgment.objects.get().guidelines == old


def test_the_end_page_says_the_same_whoever_has_the_rest_and_for_what_reason(
    dataset, bob, rita, as_user, comparison
):
    client = as_user(bob)
    as_user(rita).get(url("annotate", dataset))

    with_rita = client.get(url("annotate", dataset)).content.decode()
    Decision.objects.create(comparison=comparison, outcome="a", method="reviewer")
    Claim.objects.all().delete()
    settled = client.get(url("annotate", dataset)).content.decode()

    ends = [
        re.search('<section class="end".*?</section>', html, re.DOTALL).group()
        for html in (with_rita, settled)
    ]
    assert "No pairs for you right now" in ends[0]
    assert ends[0] == ends[1]


def test_an_empty_dataset_says_what_comes_here(dataset, bob, as_user):
    assert "No pairs yet" in as_user(bob).get(url("annotate", dataset)).content.decode()


def test_text_is_escaped_and_keeps_every_character(dataset, bob, as_user):
    text = '  <script>x</script> & "q" {{ 7 }}\r\n\tcode\n```py\n    if a < b:\n```\n'
    prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": text}])
    ComparisonFactory.create(prompt=prompt)

    page = as_user(bob).get(url("annotate", dataset)).content.decode()

    shown = (
        "  &lt;script&gt;x&lt;/script&gt; &amp; &quot;q&quot; {{ 7 }}&#13;\n\tcode\n"
        '<span class="code" tabindex="0">```py\n    if a &lt; b:\n```</span>\n</div>'
    )
    assert shown in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**bold**", "<strong>bold</strong>"),
        ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;"),
        ("[a](https://x.test)", 'href="https://x.test" target="_blank" rel="noopener noreferrer nofollow"'),
        ("[a](javascript:alert(1))", "[a](javascript:alert(1))"),
        ("[a](//x.test)", "[a](//x.test)"),
        ("![a](https://x.test/p.gif)", '!<a href="https://x.test/p.gif"'),
        ("```\n<i>\n```", "<code>&lt;i&gt;\n</code>"),
        (r"$a_1 * b_2 * c < \frac12$", r"$a_1 * b_2 * c &lt; \frac12$</span>"),
        (r"so \(x_1\) and \[y_2\]", r">\(x_1\)</span> and <span"),
        ("*$5* or $6, say", "<em>$5</em> or $6, say"),
    ],
)
def test_markdown_shows_no_html_and_loads_nothing(dataset, bob, as_user, text, shown):
    prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": text}])
    comparison = ComparisonFactory.create(prompt=prompt)
    client = as_user(bob)
    client.get(url("annotate", dataset))

    page = client.get(url("annotate_markdown", dataset), {"comparison": comparison.pk}).content.decode()

    assert shown in page
    assert "<img" not in page


@pytest.mark.parametrize("n", [1, 100])
def test_a_next_item_takes_at_most_15_queries_and_its_answer_16_however_many_there_are(
    dataset, bob, as_user, comparison, n
):
    dataset.order, dataset.overlap = "mixture", 3
    dataset.save()
    client = as_user(bob)
    ComparisonFactory.create_batch(n, prompt__dataset=dataset)
    client.get(url("annotate", dataset))
    held = Claim.objects.get().comparison_id

    with CaptureQueriesContext(connection) as for_next:
        shown = client.post(url("annotate_next", dataset), {"have": held})
    new = Claim.objects.select_related("comparison").exclude(comparison=held).get()
    with CaptureQueriesContext(connection) as for_answer:
        judge(client, dataset, sent(bob, new.comparison, claim=new.pk))

    assert shown.status_code == 200
    # One of an answer's says which prompt changed (PromptChange), for the columns of the Data page.
    for captured, most in ((for_next, 15), (for_answer, 16)):
        assert len([query for query in captured if "SAVEPOINT" not in query["sql"]]) <= most


@pytest.mark.parametrize("n", [1, 30])
def test_the_page_opens_with_16_queries_for_one_comparison_and_for_thirty(
    dataset, bob, alice, as_user, comparison, django_assert_num_queries, n
):
    dataset.overlap = 2
    dataset.save()
    dataset.revise_guidelines("The safer one.", bob)
    ComparisonFactory.create_batch(n - 1, prompt__dataset=dataset)
    client = as_user(bob)
    client.get(url("annotate_own", dataset))  # makes the annotator
    as_user(alice).get(url("annotate", dataset))  # a process asks once what the database can do

    with django_assert_num_queries(18):  # two of them begin and end the transaction
        page = client.get(url("annotate", dataset))

    assert "data-comparison" in page.content.decode()


@pytest.mark.parametrize(
    "text",
    [
        "word " * 40_000,
        "x" * 200_000,
        "line\r\n" * 30_000,
        "\n" * 200_000,
        "`" * 200_000,
        "a\n```\n" + "b < c\n" * 30_000,
        "a\n```\nb\n```\n" * 15_000,
        "Z" + "\u0300\u0301" * 100_000,
    ],
    ids=["words", "one-line", "lines", "nothing", "backticks", "an-open-fence", "fences", "accents"],
)
def test_a_long_text_comes_in_blocks_and_keeps_every_character(text):
    start = time.process_time()

    html = plain(text)

    assert time.process_time() - start < 2
    blocks = html.split('<div class="block')[1:]
    assert len(blocks) > 10
    assert max(map(len, blocks)) < 200_000
    assert max(block.count("\n") for block in blocks) <= 1_000
    assert unescape(re.sub(r"<[^>]+>", "", html)) == text


def test_gold_and_repeats_look_like_work_in_every_byte(dataset, bob, as_user, monkeypatch):
    monkeypatch.setattr("workbench.pipeline.annotate.handout.REPEAT_AFTER", 1)
    dataset.gold_share = dataset.repeat_share = 0.2
    dataset.save()
    for _ in range(3):
        texts = {"a__text": "One text.", "b__text": "Two texts."}
        ComparisonFactory.create(
            prompt=PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": "Which?"}],
                                        sha256=uuid4().hex), **texts
        )  # fmt: skip
    Comparison.objects.filter(pk=Comparison.objects.first().pk).update(gold_outcome="a", required=0)
    client = as_user(bob)
    seen, queries = {}, {}

    for purpose, dice in (("work", 0.9), ("gold", 0.0), ("repeat", 0.3)):
        monkeypatch.setattr("workbench.pipeline.annotate.handout.random.random", lambda dice=dice: dice)
        shown = client.post(url("annotate_next", dataset)).content.decode()
        claim = Claim.objects.order_by("-number").first()
        assert claim.purpose == purpose
        fields = sent(bob, claim.comparison, "left", claim=claim.pk)
        with CaptureQueriesContext(connection) as captured:
            reply = judge(client, dataset, fields)
        everything = f"{shown}\n{reply.status_code}\n{sorted(reply.headers)}\n{reply.content.decode()}"
        # Numbers and keys differ between any two items, and sides by design.
        seen[purpose] = re.sub(r"[0-9a-f-]{36}|\d+|One text|Two texts", "#", everything)
        queries[purpose] = len(captured)

    assert seen["gold"] == seen["work"]
    assert seen["repeat"] == seen["work"]
    assert len(set(queries.values())) == 1
    assert not re.search("gold|repeat|purpose", seen["gold"])


def test_own_answers_are_counted_by_day_gold_and_repeats_among_them(dataset, bob, as_user):
    annotator = AnnotatorFactory.create(user=bob)
    for days, purpose in ((0, "work"), (0, "gold"), (0, "repeat"), (2, "work"), (2, "gold")):
        gold = ComparisonFactory.create(
            prompt=PromptFactory.create(dataset=dataset), gold_outcome="a", required=0
        )
        judgment = JudgmentFactory.create(
            comparison=gold, annotator=annotator, purpose=purpose, is_current=purpose == "work"
        )
        Judgment.objects.filter(pk=judgment.pk).update(created_at=timezone.now() - timedelta(days=days))

    page = as_user(bob).get(url("annotate_own", dataset)).content.decode()

    assert re.findall(r'<td class="number">(\d+)</td>', page) == ["3", "2"]
    assert "<b>3</b> today" in page
    assert "%" not in page.partition("<main")[2]
