"""The Sources page and its files: one stored board, said in words, tables and a picture."""

import csv
import html
import io
import json
import re
from collections.abc import Sequence

import pytest
from django.test import Client
from django.urls import reverse

from tests.factories import AnnotatorFactory, ComparisonFactory, CompletionFactory, PromptFactory
from workbench.models import Annotator, Claim, Dataset, Judgment
from workbench.pipeline import quality
from workbench.pipeline.quality.panels import in_words
from workbench.pipeline.quality.reports import Board
from workbench.worker import tasks

pytestmark = [pytest.mark.django_db, pytest.mark.portable]

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>'


@pytest.fixture(autouse=True)
def quick_pen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are drawn in tests of their own; these tests only need their files."""
    monkeypatch.setattr(quality.charts, "drawn", lambda panel, theme: SVG)


@pytest.fixture
def ann() -> Annotator:
    return AnnotatorFactory.create()


def pair(dataset: Dataset, a: str, b: str, long: str = ""):
    """A pair of a prompt of its own; the answer of the source `long` is twice as long."""
    prompt = PromptFactory.create(dataset=dataset)
    of_a, of_b = (
        CompletionFactory.create(
            prompt=prompt,
            source=name,
            text=f"Answer {side} of {prompt.pk}".ljust(40 if name == long else 20, "."),
        )
        for side, name in ((1, a), (2, b))
    )
    return ComparisonFactory.create(prompt=prompt, a=of_a, b=of_b)


def vote(comparison, outcome: str, by: Annotator, left: str = "a", **fields):
    return Judgment.objects.create(
        **{"comparison": comparison, "annotator": by, "outcome": outcome, "left": left}
        | {"stage": "first", "mode": "blind"}
        | fields
    )


def voted(dataset: Dataset, by: Annotator, a: str, b: str, outcomes: Sequence[str], **fields) -> None:
    """A pair of the two sources for each outcome, with one vote on it."""
    for number, outcome in enumerate(outcomes):
        vote(pair(dataset, a, b), outcome, by, **{"left": "ab"[number % 2]} | fields)


def board(dataset: Dataset, votes: str = "people") -> Board | None:
    return quality.compute(dataset)["boards"].get(votes)


def stored(dataset: Dataset) -> dict:
    tasks.carry_out(quality.begin(dataset).pk)
    return quality.stored(dataset).report


def page(client: Client, dataset: Dataset, query: str = "") -> str:
    text = client.get(reverse("sources", args=[dataset.pk]) + query).content.decode()
    return " ".join(text.split())


def wins_of(of: Board) -> dict[tuple[str, str], tuple[float, int]]:
    names = [row["source"] for row in of["sources"]]
    return {
        (row, column): (of["wins"][i][j], of["pairs"][i][j])
        for i, row in enumerate(names)
        for j, column in enumerate(names)
        if of["pairs"][i][j]
    }


# --- which votes count --------------------------------------------------------------------------------------


def test_wins_are_counted_by_source_with_a_tie_as_half_a_win_for_each(dataset, ann):
    voted(dataset, ann, "rowan", "alder", ["a", "a", "b", "tie"])
    voted(dataset, ann, "alder", "rowan", ["b"])

    found = board(dataset)

    assert wins_of(found) == {("rowan", "alder"): (3.5, 5), ("alder", "rowan"): (1.5, 5)}
    assert found["ties"] == 1


def test_both_bad_and_cannot_judge_are_no_wins(dataset, ann):
    voted(dataset, ann, "rowan", "alder", ["a", "both_bad", "cannot_judge"])

    found = board(dataset)

    assert wins_of(found)["rowan", "alder"] == (1, 1)
    assert found["left_out"] == {"both_bad": 1}


def test_answers_of_no_source_or_of_one_source_are_left_out_and_counted(dataset, ann):
    voted(dataset, ann, "rowan", "alder", ["a"])
    voted(dataset, ann, "rowan", "", ["a", "b"])
    voted(dataset, ann, "rowan", "rowan", ["a"])

    found = board(dataset)

    assert found["votes"] == 1
    assert found["left_out"] == {"no_source": 2, "same_source": 1}


def test_a_vote_after_the_model_was_shown_does_not_count(dataset, ann):
    voted(dataset, ann, "rowan", "alder", ["a"])
    voted(dataset, ann, "alder", "rowan", ["a"], mode="assisted")

    found = board(dataset)

    assert wins_of(found)["rowan", "alder"] == (1, 1)
    assert found["left_out"] == {"led": 1}


def test_a_vote_changed_after_the_reveal_counts_as_it_was_given_blind(dataset, ann):
    comparison = pair(dataset, "rowan", "alder")
    first = vote(comparison, "a", ann, is_current=False)
    vote(comparison, "b", ann, stage="revealed", supersedes=first)

    found = board(dataset)

    assert wins_of(found)["rowan", "alder"] == (1, 1)
    assert found["left_out"] == {}


def test_people_and_imported_labels_have_boards_of_their_own(dataset, ann):
    file = Annotator.objects.create(source="crowd.jsonl")
    voted(dataset, ann, "rowan", "alder", ["a"])
    voted(dataset, file, "alder", "rowan", ["a", "a"], stage="imported", mode="", left="")

    assert wins_of(board(dataset))["rowan", "alder"] == (1, 1)
    assert wins_of(board(dataset, "imported"))["alder", "rowan"] == (2, 2)


def test_votes_on_pairs_that_were_picked_as_hard_have_no_part_in_the_random_board(dataset, ann):
    voted(dataset, ann, "rowan", "alder", ["a"])
    assert board(dataset, "random") is None
    hard = pair(dataset, "alder", "rowan")
    vote(hard, "a", ann)
    Claim.objects.create(
        comparison=hard, annotator=ann, slot=0, left="a", mode="blind", state="done",
        strategy="uncertain", expires_at="2026-11-01T00:00Z",
    )  # fmt: skip

    assert board(dataset)["votes"] == 2
    assert wins_of(board(dataset, "random"))["rowan", "alder"] == (1, 1)


# --- strengths ----------------------------------------------------------------------------------------------


def test_a_board_orders_the_sources_and_says_that_the_first_leads_for_sure(as_user, alice, dataset, ann):
    voted(dataset, ann, "rowan", "alder", "a" * 40 + "b" * 10)
    voted(dataset, ann, "alder", "birch", "a" * 40 + "b" * 10)
    stored(dataset)

    shown = page(as_user(alice), dataset)

    assert "At equal length and side, rowan wins 80 % (" in shown
    assert "of pairs against alder, the next: it leads for sure." in shown
    assert [row["source"] for row in board(dataset)["sources"]] == ["rowan", "alder", "birch"]


def test_a_lead_by_chance_is_said_not_to_be_sure(as_user, alice, dataset, ann):
    voted(dataset, ann, "rowan", "alder", "a" * 21 + "b" * 19)
    stored(dataset)

    assert "of pairs against alder, the next: it is not surely ahead." in page(as_user(alice), dataset)


def test_a_source_that_won_every_vote_gets_a_sentence_and_no_strength(as_user, alice, dataset, ann):
    voted(dataset, ann, "rowan", "alder", "ab" * 10)
    voted(dataset, ann, "cedar", "alder", "a" * 12)
    voted(dataset, ann, "dogwood", "rowan", "b" * 7)
    stored(dataset)

    shown = page(as_user(alice), dataset)

    assert "<b>cedar</b>: no strength: it won all 12 votes" in shown
    assert "<b>dogwood</b>: no strength: it lost all 7 votes" in shown
    assert "inf" not in json.dumps(board(dataset)).lower()


def test_a_source_that_no_vote_links_with_the_others_gets_a_sentence(as_user, alice, dataset, ann):
    voted(dataset, ann, "rowan", "alder", "ab" * 10)
    voted(dataset, ann, "elm", "fir", "aba")
    stored(dataset)

    shown = page(as_user(alice), dataset)

    assert "<b>elm</b>: no strength: no vote compares it with the sources above" in shown


def test_two_sources_of_which_one_won_everything_get_a_sentence_only(as_user, alice, dataset, ann):
    voted(dataset, ann, "rowan", "alder", "a" * 12)
    stored(dataset)

    shown = page(as_user(alice), dataset)

    assert "rowan won all 12 votes, so there is no strength to compare yet." in shown
    assert 'class="chart"' not in shown


def test_a_source_with_few_votes_has_no_interval_and_says_why(dataset, ann):
    voted(dataset, ann, "rowan", "alder", "ab" * 20)
    voted(dataset, ann, "elm", "alder", "aba")

    rows = {row["source"]: row for row in board(dataset)["sources"]}

    assert rows["elm"]["raw_strength"]["value"] is None
    assert rows["elm"]["raw_strength"]["why"] == "not enough data: 3 votes on 3 prompts"
    assert rows["rowan"]["raw_strength"]["value"] is not None


def test_labels_without_sides_are_controlled_by_length_alone(dataset):
    file = Annotator.objects.create(source="crowd.jsonl")
    for number in range(40):
        comparison = pair(dataset, "rowan", "alder", long="rowan" if number % 4 else "alder")
        vote(comparison, "ab"[number % 3 == 0], file, left="", stage="imported", mode="")

    found = board(dataset, "imported")

    assert found["controlled"]
    assert found["left"]["value"] is None
    assert found["longer"]["value"] is not None


# --- the page and its files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "status"), [("alice", 200), ("rita", 200), ("bob", 403), ("charlie", 404)])
def test_the_board_is_for_reviewers_and_admins(request, as_user, dataset, ann, name, status):
    voted(dataset, ann, "rowan", "alder", "ab" * 10)
    stored(dataset)
    chart = next(path for path in quality.stored(dataset).charts if "/sources-" in path).rpartition("/")[2]
    client = as_user(request.getfixturevalue(name))

    pages = [
        client.get(reverse("sources", args=[dataset.pk])),
        client.get(reverse("sources_report", args=[dataset.pk])),
        client.get(reverse("sources_table", args=[dataset.pk, "people", "wins"])),
        client.get(reverse("sources_chart", args=[dataset.pk, chart])),
    ]

    assert [answer.status_code for answer in pages] == [status] * 4


def test_page_csv_and_json_have_the_same_figures(as_user, alice, dataset, ann):
    voted(dataset, ann, "rowan", "alder", "a" * 20 + "b" * 10)
    voted(dataset, ann, "alder", "birch", ["a"] * 14 + ["tie"] * 3 + ["b"] * 8)
    stored(dataset)
    client = as_user(alice)

    shown = page(client, dataset)
    table = client.get(reverse("sources_table", args=[dataset.pk, "people", "strengths"])).content.decode()
    wins = client.get(reverse("sources_table", args=[dataset.pk, "people", "wins"])).content.decode()
    found = json.loads(client.get(reverse("sources_report", args=[dataset.pk])).content)["people"]

    rows = {row["Source"]: row for row in csv.DictReader(io.StringIO(table))}
    for row in found["sources"]:
        figure = row["against_average"]
        assert in_words(figure) in shown
        columns = ("", " low", " high")
        of_csv = [float(rows[row["source"]]["Against the average source" + end]) for end in columns]
        assert of_csv == [figure["value"], figure["low"], figure["high"]]
        assert float(rows[row["source"]]["Strength"]) == row["strength"]["value"]
    assert "15.5 of 25" in shown
    of_csv = {(row["Source"], row["Against"]): row for row in csv.DictReader(io.StringIO(wins))}
    assert of_csv["alder", "birch"]["Wins"] == "15.5"
    assert wins_of(found)["alder", "birch"] == (15.5, 25)


def test_a_cell_of_the_table_leads_to_the_pairs_that_it_counts(as_user, alice, dataset, ann):
    voted(dataset, ann, "rowan", "alder", "aab")
    voted(dataset, ann, "rowan", "hazel", "a")
    pair(dataset, "rowan", "alder")
    stored(dataset)
    client = as_user(alice)

    links = re.findall(r'<a href="([^"]*sources=[^"]*)">([^<]*)</a>', page(client, dataset))

    found = {words: client.get(html.unescape(address)).context["pair_count"] for address, words in links}
    assert found == {"2 of 3": 3, "1 of 3": 3, "1 of 1": 1, "0 of 1": 1}


def test_the_picture_has_a_text_that_says_the_same(as_user, alice, dataset, ann):
    voted(dataset, ann, "rowan", "alder", "a" * 20 + "b" * 10)
    stored(dataset)

    first = board(dataset)["sources"][0]

    assert f'alt="rowan {in_words(first["against_average"])}, ' in page(as_user(alice), dataset)


def test_a_name_that_a_spreadsheet_would_run_is_defused(as_user, alice, dataset, ann):
    voted(dataset, ann, "=1+1", "alder", "ab")
    stored(dataset)

    table = as_user(alice).get(reverse("sources_table", args=[dataset.pk, "people", "wins"])).content.decode()

    assert "'=1+1" in table


def test_without_votes_on_two_sources_the_page_says_what_will_be_there(as_user, alice, dataset, ann):
    assert "No votes or labels yet." in page(as_user(alice), dataset)
    voted(dataset, ann, "rowan", "rowan", ["a"])
    voted(dataset, ann, "alder", "alder", ["a"])
    stored(dataset)

    assert "No votes or labels compare two sources yet." in page(as_user(alice), dataset)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("", "No answer here has a source"), ("rowan", "Only rowan is named as the source of answers here")],
)
def test_where_no_two_sources_are_named_no_vote_helps_and_the_page_says_so(
    as_user, alice, dataset, ann, name, sentence
):
    voted(dataset, ann, name, "", ["a"])
    stored(dataset)

    html = page(as_user(alice), dataset)

    assert f"{sentence}, so there is nothing to compare." in html
    assert reverse("help_page", args=["how-to/imports"]) in html


def test_the_first_named_board_is_shown_where_an_address_asks_for_another(as_user, alice, dataset, ann):
    voted(dataset, ann, "rowan", "alder", ["a"])
    stored(dataset)

    assert "rowan won its one vote" in page(as_user(alice), dataset, "?votes=nobody")
