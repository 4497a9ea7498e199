import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
)
from workbench.models import (
    Annotator,
    Comparison,
    Dataset,
    Decision,
    Flag,
    Guidelines,
    ModelVersion,
    Prompt,
    PromptChange,
    ReviewQueue,
    SavedView,
)
from workbench.pipeline.data import columns
from workbench.pipeline.data.finding import Selection
from workbench.pipeline.data.search_index import reindex
from workbench.pipeline.review import chips, decide
from workbench.pipeline.review import queue as review_queue

HTMX = {"HX-Request": "true"}


@pytest.fixture
def version(db: None) -> ModelVersion:
    return ModelVersionFactory.create(state="active", name="reward-1")


@pytest.fixture
def make(dataset: Dataset, version: ModelVersion):
    def make(
        outcomes: str = "ab", margin: float = 1.0, question: str = "Which?", source: str = ""
    ) -> Comparison:
        messages = [{"role": "user", "content": f"{question} {Comparison.objects.count()}"}]
        prompt = PromptFactory.create(dataset=dataset, messages=messages)
        a = CompletionFactory.create(prompt=prompt, source=source)
        comparison = ComparisonFactory.create(prompt=prompt, a=a)
        for outcome in outcomes:
            JudgmentFactory.create(comparison=comparison, outcome=outcome, left="a", mode="blind")
        SuggestionFactory.create(comparison=comparison, version=version, margin=margin)
        return comparison

    return make


@pytest.fixture
def client(as_user, rita) -> Client:
    return as_user(rita)


def answer(comparison: Comparison, outcome: str = "a", **more: str) -> dict[str, str]:
    return {"outcome": outcome, "seen": decide.seen(comparison), **more}


def post(client: Client, name: str, comparison: Comparison, posted: dict[str, str], **more):
    return client.post(reverse(name, args=[comparison.pk]), posted, **more)


def current_decision(comparison: Comparison) -> list[tuple[str, str]]:
    return list(comparison.decisions.filter(is_current=True).values_list("outcome", "decided_by__username"))


@pytest.mark.parametrize(("name", "status"), [("rita", 200), ("alice", 200), ("bob", 403), ("charlie", 404)])
def test_review_is_for_reviewers_and_admins(request, as_user, dataset, make, name, status):
    client, comparison = as_user(request.getfixturevalue(name)), make()

    pages = [
        client.get(reverse("review", args=[dataset.pk])),
        client.get(reverse("review_case", args=[comparison.pk])),
    ]

    assert [page.status_code for page in pages] == [status, status]


@pytest.mark.parametrize(("name", "status"), [("bob", 403), ("charlie", 404)])
def test_nobody_else_settles_or_undoes(request, as_user, rita, make, name, status):
    client, comparison, settled = as_user(request.getfixturevalue(name)), make(), make()
    decision = decide.settle(settled, rita, "a", seen_token=decide.seen(settled))

    responses = [
        post(client, "settle", comparison, answer(comparison)),
        post(client, "unsettle", settled, {"decision": decision.pk}),
    ]

    assert [response.status_code for response in responses] == [status, status]
    assert (current_decision(comparison), current_decision(settled)) == ([], [("a", "rita")])


def test_a_case_of_another_dataset_is_not_known(client, version):
    elsewhere = ComparisonFactory.create()

    assert client.get(reverse("review_case", args=[elsewhere.pk])).status_code == 404


def test_settling_is_not_done_by_a_link(client, make):
    assert client.get(reverse("settle", args=[make().pk])).status_code == 405


def test_the_queue_shows_each_case_with_its_reasons_and_opens_the_first(client, dataset, make):
    make("a", margin=-1.0, question="How hot?")
    make("ab", margin=9.0, question="How cold?")

    page = client.get(reverse("review", args=[dataset.pk]), {"queue": "all"}).content.decode()

    _, first, second = page.split('id="row-')
    assert "How cold? 1" in first.split("</li>")[0]
    assert "people disagree" in first.split("</li>")[0]
    assert "How hot? 0" in second.split("</li>")[0]
    assert "model against people" in second.split("</li>")[0]
    assert "people differ" not in second.split("</li>")[0]
    assert "How cold? 1" in page.split('id="case"')[1]


def test_rows_have_plain_ids_also_beyond_a_thousand(client, dataset):
    comparison = ComparisonFactory.create(pk=1234567, prompt=PromptFactory.create(dataset=dataset))
    for outcome in "ab":
        JudgmentFactory.create(comparison=comparison, outcome=outcome)

    page = client.get(reverse("review", args=[dataset.pk])).content.decode()

    assert 'id="row-1234567"' in page
    assert 'data-row="row-1234567"' in page


def test_an_empty_queue_says_what_comes_here(client, dataset):
    page = client.get(reverse("review", args=[dataset.pk]))

    assert "No pairs to review" in page.content.decode()


def test_the_page_takes_as_many_queries_for_thirty_cases_as_for_one(client, dataset, make):
    make()
    counts = []
    for _ in range(2):
        client.get(reverse("review", args=[dataset.pk]))  # who wrote texts is read once after new ones came
        with CaptureQueriesContext(connection) as queries:
            page = client.get(reverse("review", args=[dataset.pk])).content.decode()
        counts.append(len(queries))
        for _ in range(29):
            make()

    assert page.count('id="row-') == 30
    assert counts == [15, 15]  # one of them for the cases settled in the last two weeks


def test_a_search_and_settled_cases_take_no_more_queries(client, dataset, make, rita):
    first, second = make(), make()
    reindex(dataset, [first.prompt_id, second.prompt_id])
    decide.settle(first, rita, "a", seen_token=decide.seen(first))
    url = reverse("review", args=[dataset.pk])
    client.get(url)

    with CaptureQueriesContext(connection) as queries:
        page = client.get(url, {"q": "which -nothing"}).content.decode()

    assert f'id="row-{second.pk}"' in page
    assert "Settled by you" in page
    assert len(queries) <= 17


def test_pairs_are_searched_by_the_words_of_prompts_and_answers(client, dataset, make):
    heat, cold = make(question="Why is it hot"), make(question="Why is it cold")
    reindex(dataset, [heat.prompt_id, cold.prompt_id])
    url = reverse("review", args=[dataset.pk])

    found = client.get(url, {"q": "HOT why"}).content.decode()
    refused = client.get(url, {"q": "-hot"}).content.decode()

    assert f'id="row-{heat.pk}"' in found
    assert f'id="row-{cold.pk}"' not in found
    assert "q=HOT+why" in found
    assert "“-hot” only leaves prompts out. Add a word to look for." in refused


def test_a_search_that_many_prompts_match_narrows_the_queue(client, dataset, make):
    heat, cold = make(question="Why is it hot"), make(question="Why is it cold")
    reindex(dataset, [heat.prompt_id, cold.prompt_id])

    found = client.get(reverse("review", args=[dataset.pk]), {"q": "hot"}).content.decode()

    assert f'id="row-{heat.pk}"' in found
    assert f'id="row-{cold.pk}"' not in found


def second_of(first: Comparison, version: ModelVersion, margin: float) -> Comparison:
    """Another case of the same Prompt."""
    comparison = ComparisonFactory.create(prompt=first.prompt)
    for outcome in "ab":
        JudgmentFactory.create(comparison=comparison, outcome=outcome)
    SuggestionFactory.create(comparison=comparison, version=version, margin=margin)
    return comparison


def rows_of(page: str) -> list[int]:
    return [int(part.split('"')[0]) for part in page.split('id="row-')[1:]]


def test_cases_of_one_prompt_stand_together_under_one_excerpt(client, dataset, make, version):
    first, other = make(margin=5.0, question="Why"), make(margin=4.0)
    second = second_of(first, version, 1.0)

    page = client.get(reverse("review", args=[dataset.pk])).content.decode()

    assert rows_of(page) == [first.pk, second.pk, other.pk]
    assert page.count('<span class="excerpt">Why 0</span>') == 1


def test_after_a_case_comes_the_next_of_its_prompt_and_then_what_stood_after_the_first(
    client, dataset, make, version
):
    first, other = make(margin=5.0), make(margin=4.0)
    second = second_of(first, version, 1.0)
    since = f"?as_of={first.created_at.timestamp() - 1}"

    to_second = client.post(reverse("settle", args=[first.pk]) + since, answer(first))
    to_other = client.post(reverse("settle", args=[second.pk]) + since, answer(second))

    assert to_second.url.startswith(reverse("review_case", args=[second.pk]))
    assert to_other.url.startswith(reverse("review_case", args=[other.pk]))


def test_votes_are_dots_that_hide_their_sides(client, dataset, make):
    make("aab")

    row = client.get(reverse("review", args=[dataset.pk])).content.decode().split('id="row-')[1]

    assert 'aria-label="Votes and labels: 2 : 1">●●○</span>' in row


def test_chips_count_what_each_filter_leaves_and_undo_themselves(client, dataset, make):
    make(source="llama")
    make(source="gpt")
    flagged = make(source="gpt")
    Flag.objects.create(comparison=flagged, annotator=AnnotatorFactory.create(), reason="other")
    url = reverse("review", args=[dataset.pk])

    page = client.get(url, {"queue": "people"})
    narrowed = client.get(url, {"queue": "people", "why": "flagged"})

    chips = {title: {c.label: c.count for c in group} for title, group in page.context["view"].chips}
    assert chips["Reason"] == {"people disagree": 3, "model against people": 3, "flagged": 1}
    assert chips["Answer by"] == {"gpt": 2, "llama": 1}
    (chosen,) = [c for _, group in narrowed.context["view"].chips for c in group if c.is_set]
    assert chosen.label == "flagged"
    assert "why=" not in chosen.url


def fields_of(client, dataset, **parameters) -> dict[str, dict[str, int | None]]:
    url = reverse("review", args=[dataset.pk])
    page = client.get(url, {"queue": "all", "part": "filters", **parameters}, headers=HTMX)
    view = page.context["view"]
    return {title: {chip.label: chip.count for chip in group} for title, group in [*view.chips, *view.fields]}


def test_no_filter_is_offered_twice(client, dataset, make):
    make(source="llama")
    make(source="gpt")
    url = reverse("review", args=[dataset.pk])

    view = client.get(url, {"queue": "all", "part": "filters"}, headers=HTMX).context["view"]

    titles = [title for title, _ in [*view.chips, *view.fields]]
    assert titles.count("Answer by") == 1
    assert len(titles) == len(set(titles))


def test_the_fields_and_saved_views_of_the_data_page_narrow_the_queue(client, dataset, make, rita):
    french, english, other = make(), make(), make()
    Prompt.objects.filter(pk=french.prompt_id).update(language="fr")
    Prompt.objects.filter(pk__in=[english.prompt_id, other.prompt_id]).update(language="en")
    SavedView.objects.create(dataset=dataset, owner=rita, name="In French", query="language=fr")
    SavedView.objects.create(dataset=dataset, name="Not hers", query="language=en")
    url = reverse("review", args=[dataset.pk])

    offered = fields_of(client, dataset)
    page = client.get(url, {"queue": "all", "where": "language=fr"}).content.decode()
    broken = client.get(url, {"queue": "all", "where": "colour=red"}).content.decode()

    assert offered["Language"] == {"English": 2, "French": 1}
    assert list(offered["Saved view"]) == ["In French"]
    assert f'id="row-{french.pk}"' in page
    assert f'id="row-{english.pk}"' not in page
    assert "where=language%3Dfr" in page
    assert "There is no filter called colour" in broken
    narrowed = fields_of(client, dataset, where="language=fr")
    assert narrowed["Reason"]["people disagree"] == 1
    assert narrowed["Language"] == {"English": 2, "French": 1}


def test_counts_are_those_of_the_database_for_each_queue_and_reason(client, dataset, make, rita):
    cases = [make(), make("ab"), make("aa", margin=-1.0), make("aab", source="llama")]
    decide.settle(cases[0], rita, "a", seen_token=decide.seen(cases[0]))
    label = Annotator.objects.create(source="labels.jsonl")
    JudgmentFactory.create(comparison=cases[2], annotator=label, outcome="b", stage="imported")
    Flag.objects.create(comparison=cases[3], annotator=AnnotatorFactory.create(), reason="other")
    version = ModelVersion.objects.serving(dataset)

    for queue in ("", *ReviewQueue.values):
        filters = review_queue.Filters(queue=queue)
        counts = chips.counted(dataset, version, version, filters, Selection())
        waiting = review_queue.whole(dataset, version, filters)
        for why in review_queue.Why:
            expected = review_queue.because(waiting, why, version, None).count()
            assert counts.why.get(why, 0) == expected, (queue, why)


@pytest.fixture
def two_models(dataset, make, rita, version) -> tuple[ModelVersion, ModelVersion]:
    """(the one that serves, another one) on eight pairs: they part on five of them, of which one has no
    preferred side, one is settled by a reviewer, and one has imported labels."""
    other = ModelVersionFactory.create(state="ready")
    label = Annotator.objects.create(source="labels.jsonl")
    margins = [1.0, -2.0, 0.5, -1.0, 3.0, 1.5, -0.5, 2.0]
    of_other = [-1.0, 1.0, -0.5, 2.0, 2.0, 0.0, None, -4.0]
    outcomes = ["aa", "aa", "ab", "bb", "b", "a", "aab", ""]
    cases = [make(said, margin=margin) for said, margin in zip(outcomes, margins, strict=True)]
    for comparison, margin in zip(cases, of_other, strict=True):
        if margin is not None:
            SuggestionFactory.create(comparison=comparison, version=other, margin=margin)
    JudgmentFactory.create(comparison=cases[7], annotator=label, outcome="b", stage="imported")
    decide.settle(cases[3], rita, "a", seen_token=decide.seen(cases[3]))
    return version, other


def counts_by_database(dataset, version, filters) -> dict[str, int]:
    waiting = review_queue.whole(dataset, version, filters)
    whys = {why: review_queue.because(waiting, why, version, filters.old).count() for why in review_queue.Why}
    return {why.value: n for why, n in whys.items() if n}


def counts_by_columns(dataset, serving, version, filters) -> dict[str, int]:
    counts = chips.counted(dataset, serving, version, filters, Selection())
    return {why: n for why, n in counts.why.items() if n}


@pytest.mark.parametrize("queue", ["", *ReviewQueue.values])
def test_counts_of_another_model_are_those_of_the_database(dataset, two_models, queue):
    serving, other = two_models
    for filters in (review_queue.Filters(queue=queue), review_queue.Filters(queue=queue, why="model")):
        counts = counts_by_columns(dataset, serving, other, filters)
        assert counts == counts_by_database(dataset, other, filters), filters.why


def test_counts_of_two_models_are_those_of_the_database_in_a_dataset_of_any_size(
    dataset, two_models, monkeypatch
):
    serving, other = two_models
    monkeypatch.setattr(review_queue, "FIRST_BAND", 2)
    filters = review_queue.Filters(old=other)

    counts = counts_by_columns(dataset, serving, serving, filters)
    back = counts_by_columns(dataset, serving, other, review_queue.Filters(old=serving))

    assert {why: counts.get(why, 0) for why in review_queue.FLIPS} == {"towards": 1, "away": 3, "flipped": 1}
    assert {why: back.get(why, 0) for why in review_queue.FLIPS} == {"towards": 3, "away": 1, "flipped": 1}
    assert counts == counts_by_database(dataset, serving, filters)
    for why in review_queue.FLIPS:
        chosen = review_queue.Filters(old=other, why=why)
        assert counts_by_columns(dataset, serving, serving, chosen) == counts_by_database(
            dataset, serving, chosen
        )
    unsettled = review_queue.Filters(old=other, unsettled=True)
    assert counts_by_columns(dataset, serving, serving, unsettled)["away"] == 2


def test_counts_of_two_models_follow_what_changes(dataset, two_models, make):
    serving, other = two_models
    filters = review_queue.Filters(old=other)
    before = counts_by_columns(dataset, serving, serving, filters)

    for _ in range(2):
        new = make("aa", margin=1.0)
        SuggestionFactory.create(comparison=new, version=other, margin=-1.0)
        PromptChange.objects.note(dataset.pk, [new.prompt_id])
    changed = Comparison.objects.order_by("pk").first()
    changed.suggestions.filter(version=other).update(margin=1.0)
    PromptChange.objects.note(dataset.pk, [changed.prompt_id])
    after = counts_by_columns(dataset, serving, serving, filters)

    assert after == counts_by_database(dataset, serving, filters)
    assert after["towards"] == before["towards"] + 2 - 1


def test_margins_of_other_models_are_read_once_and_only_of_the_last_few(
    dataset, two_models, django_assert_num_queries
):
    serving, other = two_models
    kept = columns.columns_of(dataset, serving)
    with django_assert_num_queries(1):
        first = columns.margins_of(dataset, other, kept)
        assert columns.margins_of(dataset, other, kept) is first
    for version in ModelVersionFactory.create_batch(columns.OTHERS_KEPT):
        columns.margins_of(dataset, version, kept)

    assert len(kept.others) == columns.OTHERS_KEPT
    assert other.pk not in kept.others


def test_the_case_takes_as_many_queries_for_nine_judgments_as_for_two(client, make):
    two, nine = make("ab"), make("abababab")
    label = Annotator.objects.create(source="labels.jsonl")
    JudgmentFactory.create(comparison=nine, annotator=label, stage="imported")
    counts = []
    for comparison in (two, nine):
        for named in ("?queue=people", ""):  # as the rows of the queue link to it, and by an address typed in
            url = reverse("review_case", args=[comparison.pk]) + named
            with CaptureQueriesContext(connection) as queries:
                client.get(url, headers=HTMX)
            counts.append(len(queries))

    assert counts == [10, 11, 10, 11]  # where no queue is named: which comes first here


def test_text_is_shown_as_it_is_and_runs_nothing(client, make):
    nasty = "<script>alert(1)</script>\n\tif a &lt; b:  {{ 1 }}"
    comparison = make()
    comparison.a.text = nasty
    comparison.a.save()

    page = client.get(reverse("review_case", args=[comparison.pk])).content.decode()

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\n\tif a &amp;lt; b:  {{ 1 }}" in page


def test_the_votes_are_closed_until_the_reviewer_asks_for_them(client, make):
    comparison = make("aab")
    url = reverse("review_case", args=[comparison.pk])

    closed, opened = (client.get(url, query).content.decode() for query in ({}, {"votes": "shown"}))

    assert '<details class="others" id="others">' in closed
    assert "2 : 1" in closed
    assert '<details class="others" id="others" open>' in opened
    assert "2 : 1" not in opened


def test_left_and_right_mean_the_texts_as_this_reviewer_sees_them(client, rita, make):
    for comparison in [make("aab") for _ in range(6)]:
        page = client.get(reverse("review_case", args=[comparison.pk])).content.decode()

        first, second = ("a", "b") if decide.left_of(comparison, rita) == "a" else ("b", "a")
        texts = [getattr(comparison, name).text for name in (first, second)]
        assert page.index(f'data-outcome="{first}"') < page.index(texts[0])
        assert page.index(texts[0]) < page.index(f'data-outcome="{second}"') < page.index(texts[1])
        labels = [f"{mark}</span> {word}</span>" for mark, word in (("◧", "Left"), ("◨", "Right"))]
        assert [page.count(s) for s in labels] == ([2, 1] if first == "a" else [1, 2])


def test_a_case_shows_who_said_what_and_what_each_model_suggests(client, dataset, make, version):
    comparison = make("a", margin=-1.25)
    judgment = comparison.judgments.get()
    judgment.comment = "Second one guesses."
    judgment.save()
    second_version = ModelVersionFactory.create(name="reward-2", temperature=1.0)
    SuggestionFactory.create(comparison=comparison, version=second_version, margin=-2.0)

    page = client.get(reverse("review_case", args=[comparison.pk])).content.decode()

    assert judgment.annotator.user.username in page
    assert "Second one guesses." in page
    assert "not calibrated" in page
    assert "1.250" in page
    assert "88\xa0%" in page


def test_settling_stores_the_answer_and_goes_on_to_the_next_case(client, make):
    first, second = make(margin=5.0), make(margin=1.0)

    response = post(
        client, "settle", first, answer(first, "b", reason="slip", note="Typing slip.", blind_outcome="a")
    )

    assert response.status_code == 302
    assert response.url.startswith(reverse("review_case", args=[second.pk]))
    decision = first.decisions.get()
    assert (decision.outcome, decision.reason, decision.note) == ("b", "slip", "Typing slip.")
    assert (decision.blind_outcome, decision.decided_by.username) == ("a", "rita")


def test_after_the_last_case_comes_the_first_that_is_left_and_then_the_empty_queue(client, dataset, make):
    first, last = make(margin=5.0), make(margin=1.0)

    to_first = post(client, "settle", last, answer(last))
    to_queue = post(client, "settle", first, answer(first))

    assert to_first.url.startswith(reverse("review_case", args=[first.pk]))
    assert to_queue.url.startswith(reverse("review", args=[dataset.pk]))


def test_htmx_gets_the_next_case_and_the_settled_row_with_its_undo(client, make):
    first, second = make(margin=5.0), make(margin=1.0, question="What now?")

    response = post(client, "settle", first, answer(first), headers=HTMX)

    page = response.content.decode()
    assert response["HX-Push-Url"].startswith(reverse("review_case", args=[second.pk]))
    assert "What now? 1" in page
    assert f'id="row-{first.pk}" class="line settled" hx-swap-oob="true"' in page
    assert reverse("unsettle", args=[first.pk]) in page
    assert "<html" not in page


@pytest.mark.parametrize(
    "posted",
    [{"outcome": ""}, {"outcome": "cannot_judge"}, {"outcome": "a", "reason": "because"}, {"seen": ""}],
)
def test_an_answer_that_is_none_settles_nothing(client, make, posted):
    comparison = make()

    response = post(client, "settle", comparison, answer(comparison) | posted)

    assert response.status_code == 400
    assert 'role="alert"' in response.content.decode()
    assert current_decision(comparison) == []


@pytest.mark.parametrize(
    ("reason", "lacking"),
    [("guideline_gap", "Write a note: what do the guidelines leave open"), ("bad_data", "what is wrong")],
)
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_reason_that_says_nothing_by_itself_wants_a_note(client, make, reason, lacking, headers):
    comparison = make()

    refused = post(
        client, "settle", comparison, answer(comparison, reason=reason, note="  "), headers=headers
    )
    stored_before = current_decision(comparison)
    post(client, "settle", comparison, answer(comparison, reason=reason, note="Rude answers."))

    assert refused.status_code == 400
    assert lacking in refused.content.decode()
    assert stored_before == []
    assert comparison.decisions.get().note == "Rude answers."


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_an_answer_to_one_case_that_arrives_at_another_stores_nothing_there(client, make, headers):
    meant, open_pair = make(), make()
    posted = answer(open_pair, note="About the first.") | {"comparison": meant.pk}

    response = post(client, "settle", open_pair, posted, headers=headers)

    assert response.status_code == 400
    assert "your answer was for another pair" in response.content.decode()
    assert "About the first." not in response.content.decode()
    assert not Decision.objects.exists()


def test_what_one_case_showed_is_not_what_another_shows(make):
    bare, as_bare = (ComparisonFactory.create(prompt=make().prompt) for _ in range(2))

    assert decide.seen(bare) != decide.seen(as_bare)


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_stale_page_gets_409_with_both_versions_and_overwrites_nothing(client, alice, make, headers):
    comparison = make()
    posted = answer(comparison, "tie", note="Equal to me.")
    decide.settle(comparison, alice, "both_bad", seen_token=decide.seen(comparison))

    response = post(client, "settle", comparison, posted, headers=headers)

    page = response.content.decode()
    assert response.status_code == 409
    assert "Final label now: <b>Both bad</b>, by alice" in page
    assert "You chose <b>Tie</b> (Equal to me.)" in page
    assert decide.seen(comparison) in page
    assert current_decision(comparison) == [("both_bad", "alice")]


def test_undo_brings_the_case_back(client, rita, make):
    comparison = make()
    decision = decide.settle(comparison, rita, "a", seen_token=decide.seen(comparison))

    response = post(client, "unsettle", comparison, {"decision": decision.pk})

    assert response.url.startswith(reverse("review_case", args=[comparison.pk]))
    assert current_decision(comparison) == []


def test_undoing_what_does_not_stand_any_more_changes_nothing(client, rita, alice, make):
    comparison = make()
    old = decide.settle(comparison, rita, "a", seen_token=decide.seen(comparison))
    decide.settle(comparison, alice, "b", seen_token=decide.seen(comparison))

    responses = [post(client, "unsettle", comparison, {"decision": pk}) for pk in (old.pk, 0, "x", "")]

    assert [response.status_code for response in responses] == [409] * 4
    assert current_decision(comparison) == [("b", "alice")]


def test_a_decision_of_another_case_is_not_undone_through_this_one(client, rita, make):
    comparison, other_comparison = make(), ComparisonFactory.create()
    decision = decide.settle(other_comparison, rita, "a", seen_token=decide.seen(other_comparison))

    assert post(client, "unsettle", comparison, {"decision": decision.pk}).status_code == 409

    assert current_decision(other_comparison) == [("a", "rita")]


def test_lately_settled_cases_can_be_undone_from_the_queue(client, dataset, rita, make):
    comparison = make(question="Settled before lunch?")
    decide.settle(comparison, rita, "drop", seen_token=decide.seen(comparison))

    page = client.get(reverse("review", args=[dataset.pk])).content.decode()

    assert "Settled by you" in page
    assert "<b>Excluded</b> Settled before lunch? 0" in page
    assert reverse("unsettle", args=[comparison.pk]) in page


def test_filters_narrow_the_queue_and_travel_with_its_links(client, dataset, make):
    kept, left_out = make(source="llama"), make(source="gpt")

    page = client.get(reverse("review", args=[dataset.pk]), {"source": "llama", "why": "people"})

    html = page.content.decode()
    assert f'id="row-{kept.pk}"' in html
    assert f'id="row-{left_out.pk}"' not in html
    assert "why=people&amp;source=llama&amp;version=" in html


@pytest.mark.parametrize(
    "query",
    [
        {"source": "nobody"},
        {"why": "comparison__dataset"},
        {"order": "-a__text"},
        {"annotator": "99"},
        {"version": "x"},
        {"after": "[1"},
        {"why": "towards"},
        {"old": "x"},
        {"pk": "1", "dataset__name": "x"},
    ],
)
def test_what_is_not_on_the_list_filters_nothing_and_is_said(client, dataset, make, query):
    comparison = make()

    page = client.get(reverse("review", args=[dataset.pk]), query)

    html = page.content.decode()
    assert page.status_code == 200
    assert f'id="row-{comparison.pk}"' in html
    assert ('class="error"' in html) == ("pk" not in query)


def test_flips_between_two_models_are_a_queue_that_keeps_what_is_settled_and_goes_on_to_what_is_not(
    client, dataset, make, rita
):
    old = ModelVersionFactory.create(name="reward-0")
    settled, first, second, kept = make("aa", 4.0), make("aa", 3.0), make("bb", 2.0), make("aa", 1.0)
    for comparison, margin in ((settled, -1.0), (first, -1.0), (second, -1.0), (kept, 1.0)):
        SuggestionFactory.create(comparison=comparison, version=old, margin=margin)
    decide.settle(settled, rita, "a", seen_token=decide.seen(settled))
    filters = {"old": old.pk}

    page = client.get(reverse("review", args=[dataset.pk]), filters).content.decode()
    only = client.get(reverse("review", args=[dataset.pk]), {**filters, "why": "away"}).content.decode()
    url = reverse("settle", args=[second.pk]) + f"?old={old.pk}"
    to_first = client.post(url, answer(second))

    shown = [f'id="row-{comparison.pk}"' in page for comparison in (settled, first, second, kept)]
    assert shown == [True, True, True, False]
    assert "Changed picks: reward-0 to reward-1" in page
    assert "changed pick, now wrong" in page.split(f'id="row-{second.pk}"')[1].split("</li>")[0]
    assert only.count('id="row-') == 1
    assert to_first.url.startswith(reverse("review_case", args=[first.pk]))
    assert f"old={old.pk}" in to_first.url


def test_a_model_has_no_flips_since_itself(client, dataset, make, version):
    comparison = make()

    page = client.get(reverse("review", args=[dataset.pk]), {"old": version.pk}).content.decode()

    assert "Choose a different model under" in page
    assert f'id="row-{comparison.pk}"' in page


def test_the_next_rows_come_as_a_part_of_the_page(client, dataset, make):
    for n in range(31):
        make(margin=float(n))
    first = client.get(reverse("review", args=[dataset.pk]))
    (more,) = {
        part.split('"')[0]
        for part in first.content.decode().split('hx-get="')
        if "after=" in part.split('"')[0]
    }

    next_rows = client.get(more.replace("&amp;", "&"), headers=HTMX).content.decode()

    assert next_rows.count('id="row-') == 1
    assert "<html" not in next_rows
    assert 'id="more"' not in next_rows


def test_a_flagged_case_shows_the_flag_and_settling_closes_it(client, make):
    comparison = make("")
    Flag.objects.create(
        comparison=comparison, annotator=AnnotatorFactory.create(), reason="unsafe", note="A name."
    )
    page = client.get(reverse("review_case", args=[comparison.pk])).content.decode()

    post(
        client,
        "settle",
        comparison,
        answer(comparison, Decision.DROP, reason="bad_data", note="It is cut off."),
    )

    assert "Harmful or private content: A name." in page
    assert not Flag.objects.open().exists()


def test_guideline_gaps_collect_beside_the_guidelines_with_the_agreement_under_each_version(
    client, dataset, rita, make, store_figures
):
    old, new = (
        Guidelines.objects.create(dataset=dataset, number=n, text=f"Version **{n}**.") for n in (1, 2)
    )
    gap, slip = make("ab", question="May it be rude?"), make("aa", question="Is it right?")
    for _ in range(10):
        make("ab").judgments.update(guidelines=old)
        make("aa").judgments.update(guidelines=new)
    settled = {"reason": "guideline_gap", "note": "Say what to do about rude answers."}
    decide.settle(gap, rita, "tie", seen_token=decide.seen(gap), **settled)
    decide.settle(slip, rita, "a", seen_token=decide.seen(slip), reason="slip", note="Not this one.")

    url = reverse("guideline_gaps", args=[dataset.pk])
    assert "Not computed yet" in client.get(url).content.decode()
    store_figures(dataset)

    page = client.get(url).content.decode()

    assert "May it be rude? 0" in page
    assert "Say what to do about rude answers." in page
    assert "Not this one." not in page
    assert "Version <strong>2</strong>." in page
    shares = [" ".join(row.split()) for row in page.split("<tr>")[2:]]
    assert ">100 %<" in shares[0]
    assert ">0 %<" in shares[1]


@pytest.mark.parametrize(("name", "status"), [("rita", 200), ("bob", 403), ("charlie", 404)])
def test_guideline_gaps_are_for_reviewers(request, as_user, dataset, name, status):
    page = as_user(request.getfixturevalue(name)).get(reverse("guideline_gaps", args=[dataset.pk]))

    assert page.status_code == status


def test_a_settled_case_becomes_gold_and_ordinary_again(client, make):
    comparison = make()
    post(client, "settle", comparison, answer(comparison, "b"))
    page = client.get(reverse("review_case", args=[comparison.pk])).content.decode()
    assert "Use as a check" in page

    post(client, "gold", comparison, {"outcome": "b"})
    comparison.refresh_from_db()
    assert (comparison.gold_outcome, comparison.required) == ("b", 0)
    assert "Stop using it" in client.get(reverse("review_case", args=[comparison.pk])).content.decode()

    post(client, "gold", comparison, {"outcome": "drop"})
    comparison.refresh_from_db()
    assert comparison.gold_outcome == "b"
    post(client, "gold", comparison, {"outcome": ""})
    comparison.refresh_from_db()
    assert (comparison.gold_outcome, comparison.required) == ("", None)


def test_a_check_gets_an_explanation_which_changes_later_and_goes_with_it(client, make):
    comparison = make()
    post(client, "settle", comparison, answer(comparison, "b"))

    post(client, "gold", comparison, {"outcome": "b", "note": "It names the temperature."})
    comparison.refresh_from_db()
    assert comparison.gold_note == "It names the temperature."
    page = client.get(reverse("review_case", args=[comparison.pk])).content.decode()
    assert 'value="It names the temperature."' in page
    post(client, "gold", comparison, {"outcome": "b", "note": "It names 180 °C."})
    comparison.refresh_from_db()
    assert (comparison.gold_outcome, comparison.gold_note) == ("b", "It names 180 °C.")

    post(client, "gold", comparison, {"outcome": "b", "note": "x" * 1001})
    comparison.refresh_from_db()
    assert comparison.gold_note == "It names 180 °C."
    post(client, "gold", comparison, {"outcome": "", "note": "left over"})
    comparison.refresh_from_db()
    assert (comparison.gold_outcome, comparison.gold_note) == ("", "")
