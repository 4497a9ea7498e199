"""Projects of Label Studio and Argilla come in with the votes that their people cast, and no others."""

import csv
import io
import json
from collections.abc import Iterable

import datasets
import pytest

from scoring.rows.shapes import argilla, moving
from tests.conftest import SHARED
from workbench.models import Annotator, Comparison, Completion, Dataset, Judgment, Prompt
from workbench.pipeline import imports
from workbench.pipeline.imports import ImportOptions

pytestmark = pytest.mark.django_db

Vote = tuple[str, str, str, str]
"""(the last turn of the prompt, winner, loser or "tie" or "both_bad", annotator)."""


def take(tmp_path, content: bytes | object, name: str, **options) -> imports.ImportResult:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    seen = imports.preview(path, Dataset(name="Preview"), ImportOptions(**options))
    result = imports.import_file(path, Dataset(name="Moved"), ImportOptions(**options))
    assert (seen.result.problems, seen.result.notes) == (result.problems, result.notes)
    return result


def votes() -> set[Vote]:
    return {
        (
            judgment.comparison.prompt.messages[-1]["content"],
            *sides(judgment),
            judgment.annotator.external_id,
        )
        for judgment in Judgment.objects.filter(is_current=True).select_related(
            "annotator", "comparison__prompt", "comparison__a", "comparison__b"
        )
    }


def sides(judgment: Judgment) -> tuple[str, str]:
    a, b = judgment.comparison.a.text, judgment.comparison.b.text
    return {"a": (a, b), "b": (b, a)}.get(judgment.outcome, (min(a, b), judgment.outcome))


# --- Label Studio -------------------------------------------------------------------------------------------


def pick(side: str, tag: str = "side") -> dict:
    return {"from_name": tag, "to_name": tag, "type": "pairwise", "value": {"selected": side}}


def choose(word: str, tag: str = "verdict") -> dict:
    return {"from_name": tag, "to_name": "prompt", "type": "choices", "value": {"choices": [word]}}


def write(text: str, tag: str = "reason") -> dict:
    return {"from_name": tag, "to_name": "prompt", "type": "textarea", "value": {"text": [text]}}


def stars(number: int, answer: str, tag: str) -> dict:
    return {"from_name": tag, "to_name": answer, "type": "rating", "value": {"rating": number}}


def order(*ids: str) -> dict:
    return {"from_name": "rank", "to_name": "list", "type": "ranker", "value": {"ranker": {"rank": [*ids]}}}


def annotation(person: object, *result: dict, at: str = "2030-01-01T10:00:00Z", **more) -> dict:
    return {
        "id": 1, "completed_by": person, "result": [*result], "was_cancelled": False, "ground_truth": False,
        "created_at": "2030-01-01T09:00:00Z", "updated_at": at, "lead_time": 4.5, "prediction": {}, **more,
    }  # fmt: skip


SOUP = {
    "prompt": "How long does soup keep?",
    "answer1": "Three days\r\nin the fridge.",
    "answer2": "Years.",
    "model1": "oak",
    "model2": "elm",
}
DAYS, YEARS = SOUP["answer1"], SOUP["answer2"]


def task(*annotations: dict, number: int = 1, data: dict = SOUP, **more) -> dict:
    return {
        "id": number, "data": data, "annotations": [*annotations], "drafts": [], "predictions": [],
        "meta": {}, **more,
    }  # fmt: skip


def of_soup(winner: str, loser: str, person: str) -> Vote:
    return SOUP["prompt"], winner, loser, person


def test_the_side_of_a_pairwise_task_is_a_vote_with_person_comment_and_models(tmp_path):
    result = take(tmp_path, [task(annotation(7, pick("right"), write("It is\na joke.")))], "export.json")

    assert (result.accepted, result.format, result.judgments) == (True, "label-studio", 1)
    assert votes() == {of_soup(YEARS, DAYS, "7")}
    assert Judgment.objects.get().comment == "It is\na joke."
    assert dict(Completion.objects.values_list("text", "source")) == {DAYS: "oak", YEARS: "elm"}


def test_a_skipped_task_a_draft_and_an_empty_answer_are_no_votes_and_are_counted(tmp_path):
    draft = {"id": 3, "user": "p7@example.org", "result": [pick("left")], "annotation": 1}
    tasks = [
        task(annotation(7, pick("right")), drafts=[draft]),
        task(annotation(8, pick("left"), was_cancelled=True), annotation(9)),
        task(number=2, data=SOUP | {"prompt": "And stew?"}, drafts=[draft]),
    ]

    result = take(tmp_path, tasks, "export.json")

    assert votes() == {of_soup(YEARS, DAYS, "7")}
    assert Prompt.objects.count() == 2
    assert {note.partition(" (")[0] for note in result.notes} == {
        "a draft is no vote",
        "a task that somebody skipped is no vote",
        "an answer in which nothing was chosen is no vote",
    }


def test_a_tie_and_both_bad_are_choices_beside_the_pair(tmp_path):
    take(tmp_path, [task(annotation(7, choose("Tie")), annotation(8, choose("Both bad")))], "export.json")

    assert votes() == {of_soup(DAYS, "tie", "7"), of_soup(DAYS, "both_bad", "8")}


def test_a_prediction_is_kept_beside_the_pair_and_is_no_vote(tmp_path):
    prediction = {"id": 5, "model_version": "judge", "score": 0.7, "result": [pick("left")]}

    take(tmp_path, [task(annotation(7, pick("right"), prediction=prediction), predictions=[5])], "e.json")

    assert votes() == {of_soup(YEARS, DAYS, "7")}
    kept = Judgment.objects.get().comparison.metadata["suggestions"]
    assert [(one["agent"], one["score"]) for one in kept] == [("judge", 0.7)]
    assert not Annotator.objects.filter(external_id="judge").exists()


def test_a_person_of_a_snapshot_is_the_number_that_other_exports_have(tmp_path):
    take(tmp_path, [task(annotation({"id": 7, "email": "p7@example.org"}, pick("left")))], "snapshot.json")
    result = take(tmp_path, [task(annotation(7, pick("left")))], "export.json")

    assert votes() == {of_soup(DAYS, YEARS, "7")}
    assert (result.judgments, result.repeated_judgments) == (0, 1)


def test_the_later_of_two_answers_of_a_person_counts(tmp_path):
    late = annotation(7, pick("left"), at="2030-01-03T10:00:00Z")
    early = annotation(7, pick("right"), at="2030-01-02T10:00:00Z")

    result = take(tmp_path, [task(late, early)], "export.json")

    assert votes() == {of_soup(DAYS, YEARS, "7")}
    assert (result.judgments, result.superseded) == (1, 1)


def test_answers_of_people_that_were_deleted_stay_apart(tmp_path):
    gone = [annotation(None, pick("left"), id=11), annotation(None, pick("right"), id=12)]

    take(tmp_path, [task(*gone)], "export.json")

    assert votes() == {of_soup(DAYS, YEARS, "annotation 11"), of_soup(YEARS, DAYS, "annotation 12")}


ITEMS = [
    {"id": "x", "title": "oak", "body": "Red."},
    {"id": "y", "title": "elm", "body": "Blue."},
    {"id": "z", "title": "ash", "body": "Green."},
]


def test_a_ranking_becomes_its_pairs_for_each_person_by_the_items_of_its_own_task(tmp_path):
    colour = {"prompt": "Name a colour.", "items": ITEMS}
    other = {"prompt": "Name a warm one.", "items": [ITEMS[1] | {"id": "x"}, ITEMS[0] | {"id": "y"}]}
    tasks = [
        task(annotation(7, order("y", "x", "z")), annotation(8, order("z", "y", "x")), data=colour),
        task(annotation(7, order("y", "x")), number=2, data=other),
    ]

    take(tmp_path, tasks, "export.json")

    first, warm = "Name a colour.", "Name a warm one."
    assert votes() == {
        (first, "Blue.", "Red.", "7"), (first, "Blue.", "Green.", "7"), (first, "Red.", "Green.", "7"),
        (first, "Green.", "Blue.", "8"), (first, "Green.", "Red.", "8"), (first, "Blue.", "Red.", "8"),
        (warm, "Red.", "Blue.", "7"),
    }  # fmt: skip
    assert Completion.objects.get(text="Green.").source == "ash"


def test_an_order_with_an_unknown_item_refuses_the_task_with_its_line(tmp_path):
    result = take(
        tmp_path, [task(annotation(7, order("y", "q")), data={"prompt": "p", "items": ITEMS})], "export.json"
    )

    assert not result.accepted
    (problem,) = result.problems
    assert (problem.line, problem.code) == (1, "unknown_answer")
    assert '"q"' in problem.message


def test_stars_become_a_win_a_tie_or_nothing(tmp_path):
    def rated(*numbers: int) -> list[dict]:
        return [stars(n, f"answer{place}", f"stars{place}") for place, n in enumerate(numbers, 1) if n]

    people = [annotation(7, *rated(2, 5)), annotation(8, *rated(3, 3)), annotation(9, *rated(0, 4))]
    result = take(tmp_path, [task(*people)], "export.json")

    assert votes() == {of_soup(YEARS, DAYS, "7"), of_soup(DAYS, "tie", "8")}
    assert "fewer than two answers" in result.notes[0]


TALK = [{"author": "Guest", "text": "Hello."}, {"author": "Waiter", "text": "Hello."}]


def test_conversations_that_differ_before_the_last_turn_are_two_prompts(tmp_path):
    def talk(first: str) -> dict:
        turns = [{"author": "Host", "text": first}, {"author": "Guest", "text": "And to drink?"}]
        return {"dialogue": turns, "answer1": "Tea.", "answer2": "Ink."}

    tasks = [
        task(annotation(7, choose("Answer 1 is better")), data=talk("Soup?")),
        task(annotation(7, choose("B")), number=2, data=talk("Fish?")),
    ]
    take(tmp_path, tasks, "export.json")

    assert votes() == {("And to drink?", "Tea.", "Ink.", "7"), ("And to drink?", "Ink.", "Tea.", "7")}
    assert [message["role"] for message in Prompt.objects.first().messages] == ["assistant", "user"]


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("Left is better", "a"), ("response B", "b"), ("A > B", "a"), ("A is worse than B", "b"),
        ("B is worse", "a"), ("about the same", "tie"), ("Neither", "both_bad"), ("both wrong", "both_bad"),
    ],
)  # fmt: skip
def test_a_choice_names_a_side_in_usual_words(word, outcome, tmp_path):
    take(tmp_path, [task(annotation(7, choose(word)))], "export.json")

    expected = {"a": (DAYS, YEARS), "b": (YEARS, DAYS)}.get(outcome, (DAYS, outcome))
    assert votes() == {of_soup(*expected, "7")}


def test_a_choice_in_unknown_words_is_refused_until_the_mapping_names_it(tmp_path):
    tasks = [task(annotation(7, choose("oben"), write("weil")), annotation(8, choose("unten")))]

    refused = take(tmp_path, tasks, "export.json")
    result = take(
        tmp_path, tasks, "export.json", columns={"outcome": "verdict", "says_a": "oben", "says_b": "unten"}
    )

    assert "says_a" in refused.problems[0].message
    assert (result.accepted, result.format) == (True, "label-studio")
    assert votes() == {of_soup(DAYS, YEARS, "7"), of_soup(YEARS, DAYS, "8")}


def test_the_mapping_names_the_prompt_and_the_answer_on_the_left(tmp_path):
    data = {"topic": "Food", "frage": "Was?", "hell": "Brot.", "dunkel": "Holz."}
    columns = {"prompt": "data.frage", "a": "dunkel", "b": "hell"}

    take(tmp_path, [task(annotation(7, pick("left")), data=data)], "export.json", columns=columns)

    assert votes() == {("Was?", "Holz.", "Brot.", "7")}
    assert Judgment.objects.get().comparison.metadata["topic"] == "Food"


def test_a_named_column_that_no_task_has_is_an_error(tmp_path):
    result = take(tmp_path, [task(annotation(7, pick("left")))], "export.json", columns={"prompt": "promt"})

    assert not result.accepted
    assert 'no "promt" for prompt' in result.problems[0].message


ROWS = [
    {**SOUP, "id": 1, "side": [{"selected": "left"}], "annotator": 8, "annotation_id": 3},
    {**SOUP, "id": 1, "verdict": "Tie", "reason": "x", "annotator": 7, "annotation_id": 2},
    {**SOUP, "prompt": '=SUM(A1) "quoted"\tand\r\nmore', "id": 2, "side": [{"selected": "right"}],
     "annotator": 7, "annotation_id": 1},
    {**SOUP, "prompt": "Nothing chosen.", "id": 3, "annotator": 7, "annotation_id": 4},
]  # fmt: skip
TIMES = {"created_at": "2030-01-01T09:00:00Z", "updated_at": "2030-01-01T10:00:00Z", "lead_time": 2.5}
IN_ROWS = {
    of_soup(DAYS, YEARS, "8"), of_soup(DAYS, "tie", "7"), (ROWS[2]["prompt"], YEARS, DAYS, "7"),
}  # fmt: skip


def table(rows: Iterable[dict], delimiter: str) -> bytes:
    """A table as a data frame writes it: columns by name, lists as JSON, numbers beside gaps as 7.0."""
    rows = [row | TIMES for row in rows]
    names = sorted({name for row in rows for name in row})
    gaps = any("annotator" not in row for row in rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = {name: json.dumps(v) if isinstance(v, list) else v for name, v in row.items()}
        if gaps and "annotator" in row:
            cells["annotator"] = f"{row['annotator']}.0"
        writer.writerow(cells)
    return text.getvalue().encode()


@pytest.mark.parametrize("form", ["json", "csv", "tsv"])
def test_one_annotation_a_row_gives_the_same_votes(form, tmp_path):
    content = (
        [row | TIMES for row in ROWS] if form == "json" else table(ROWS, {"csv": ",", "tsv": "\t"}[form])
    )

    result = take(tmp_path, content, f"min.{form}")

    assert (result.problems, result.format) == ((), "label-studio")
    assert votes() == IN_ROWS
    assert Judgment.objects.get(outcome="tie").comment == "x"
    assert (result.prompts, result.completions) == (3, 6)
    assert Completion.objects.filter(text=DAYS).first().source == "oak"


def test_a_table_of_all_tasks_has_rows_without_annotator(tmp_path):
    unvoted = {**SOUP, "prompt": "Not yet.", "id": 9}

    result = take(tmp_path, table([*ROWS, unvoted], ","), "all.csv")

    assert votes() == IN_ROWS
    assert result.prompts == 4


def test_a_table_that_names_people_by_email_says_that_other_exports_do_not(tmp_path):
    row = {**SOUP, "id": 1, "annotation_id": 1, "annotator": "ada@example.org", "lead_time": 2}
    by_email = table([{**row, "side": json.dumps([{"selected": "left"}])}], ",")
    by_number = by_email.replace(b"ada@example.org", b"2")

    notes = take(tmp_path, by_email, "snapshot.csv").notes

    assert any("whoever is in both counts as two people" in note for note in notes)
    assert not any("e-mail" in note for note in take(tmp_path, by_number, "export.csv").notes)


def test_rankings_ratings_and_conversations_are_read_from_cells(tmp_path):
    ranking = {"prompt": "Name a colour.", "items": ITEMS, "id": 1, "annotator": 7, "annotation_id": 1,
               "rank": [{"ranker": {"rank": ["y", "x", "z"]}}]}  # fmt: skip
    talk = {"dialogue": TALK, "answer1": "Hi.", "answer2": "Bye.", "id": 1, "annotator": 7,
            "annotation_id": 2, "stars1": [{"rating": 2}], "stars2": [{"rating": 4}]}  # fmt: skip

    take(tmp_path, table([ranking], ","), "ranking.csv")
    take(tmp_path, table([talk], ","), "talk.csv")

    first = "Name a colour."
    assert votes() == {
        (first, "Blue.", "Red.", "7"), (first, "Blue.", "Green.", "7"), (first, "Red.", "Green.", "7"),
        ("Hello.", "Bye.", "Hi.", "7"),
    }  # fmt: skip


def test_of_several_questions_the_overall_one_is_the_vote_until_the_mapping_names_another(tmp_path):
    annotations = [annotation(7, pick("left", "kinder"), pick("right", "overall"), choose("loud", "tone"))]

    result = take(tmp_path, [task(*annotations)], "export.json")
    assert votes() == {of_soup(YEARS, DAYS, "7")}
    assert "several questions of the file could be the vote" in result.notes[0]
    assert Judgment.objects.get().metadata["kinder"] == "left"
    Judgment.objects.all().delete()
    result = take(tmp_path, [task(*annotations)], "export.json", columns={"outcome": "kinder"})

    assert votes() == {of_soup(DAYS, YEARS, "7")}
    assert result.notes == ()


def test_a_choice_about_something_else_is_no_vote_of_somebody_who_chose_no_side(tmp_path):
    both, one = annotation(7, pick("left"), choose("loud", "tone")), annotation(8, choose("calm", "tone"))

    result = take(tmp_path, [task(both, one)], "export.json")

    assert (result.problems, votes()) == ((), {of_soup(DAYS, YEARS, "7")})
    assert "nothing was chosen" in result.notes[0]


def test_answers_that_begin_after_many_tasks_without_any_are_votes(tmp_path):
    waiting = [task(number=n, data=SOUP | {"prompt": f"Soup {n}?"}) for n in range(2, 203)]

    result = take(tmp_path, [*waiting, task(annotation(7, choose("Answer 2 is better")))], "export.json")

    assert (result.problems, votes()) == ((), {of_soup(YEARS, DAYS, "7")})


def test_an_export_of_before_version_1_calls_annotations_completions(tmp_path):
    made = {"id": 1001, "lead_time": 3, "created_at": 1_600_000_000}
    completions = [
        {**made, "result": [pick("left")]}, {**made, "id": 1002, "result": [pick("right")], "skipped": True}
    ]  # fmt: skip

    result = take(tmp_path, [{"id": 1, "data": SOUP, "completions": completions}], "export.json")

    assert (result.problems, result.format) == ((), "label-studio")
    assert votes() == {of_soup(DAYS, YEARS, "annotation 1001")}
    assert "does not say who made it" in " ".join(result.notes)


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ("response_a", "response_b", "Response A"), ("model_1_output", "model_2_output", "Model 1"),
        ("left", "right", "left"), ("candidate-1", "candidate-2", "candidate-1"), ("A", "B", "A"),
        ("answerOne", "answerTwo", "answerOne"), ("réponse_1", "réponse_2", "1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("asked", ["prompt", "question", "Instruction", "query", "text", "Frage"])
def test_answers_are_found_by_many_names(first, second, word, asked, tmp_path):
    data = {"number": 3, asked: "Grüße?", first: "Yes. 👋", second: "No."}

    result = take(tmp_path, [task(annotation(7, choose(word)), data=data)], "export.json")

    assert (result.problems, votes()) == ((), {("Grüße?", "Yes. 👋", "No.", "7")})


@pytest.mark.parametrize("form", ["json", "csv", "tsv"])
def test_the_agreement_of_a_task_is_no_vote(form, tmp_path):
    rows = [{**SOUP, "id": 1, "verdict": "Answer 2", "annotator": 7, "annotation_id": 1, "agreement": 1.0}]
    content = rows if form == "json" else table(rows, {"csv": ",", "tsv": "\t"}[form])
    content = [row | TIMES for row in content] if isinstance(content, list) else content

    take(tmp_path, content, f"min.{form}")

    assert votes() == {of_soup(YEARS, DAYS, "7")}


# --- Argilla ------------------------------------------------------------------------------------------------

CAM = "33333333-cccc-5ccc-8ccc-333333333333"
ANN, BEN = "11111111-aaaa-5aaa-8aaa-111111111111", "22222222-bbbb-5bbb-8bbb-222222222222"


def record(number: int, fields: dict, replies: dict, suggestion: tuple | None = None, **metadata) -> dict:
    """`replies`: question -> [(user, value, status)]. `suggestion`: (question, value, score, agent)."""
    return {
        "id": f"ext-{number}", "fields": fields, "metadata": metadata, "replies": replies,
        "suggestion": suggestion,
    }  # fmt: skip


def nested(record: dict) -> dict:
    question, value, score, agent = record["suggestion"] or ("", None, None, None)
    return {
        "id": record["id"],
        "status": "completed",
        "_server_id": f"s-{record['id']}",
        "fields": record["fields"],
        "metadata": record["metadata"],
        "suggestions": {question: {"value": value, "score": score, "agent": agent}} if question else {},
        "responses": {
            q: [{"value": value, "user_id": user} for user, value, _ in replies]
            for q, replies in record["replies"].items()
        },
        "vectors": {},
    }


def flat(record: dict, labels: tuple[str, ...] = ()) -> dict:
    row = {key: value for key, value in nested(record).items() if key in ("id", "status", "_server_id")}
    row |= record["fields"] | record["metadata"]
    for question, replies in record["replies"].items():
        users, values, states = ([one[place] for one in replies] or None for place in (0, 1, 2))
        row |= {
            f"{question}.responses": values,
            f"{question}.responses.users": users,
            f"{question}.responses.status": states,
        }
    if record["suggestion"]:
        question, value, score, agent = record["suggestion"]
        value = labels.index(value) if value in labels else 0 if labels else value
        row |= {f"{question}.suggestion": value, f"{question}.suggestion.score": score,
                f"{question}.suggestion.agent": agent}  # fmt: skip
    return row


LABELS = ("left", "right", "tie")
EGG = {"prompt": "How long for an egg?", "response_a": "Seven minutes.", "response_b": "It's\na 'day'."}
TOAST = {"prompt": "How hot for toast?", "response_a": "Warm.", "response_b": "Very."}
RECORDS = [
    record(
        1, EGG,
        {"better": [(ANN, "left", "submitted"), (BEN, "right", "discarded")],
         "comment": [(BEN, "no", "discarded")]},
        ("better", "right", 0.75, "judge"), topic="food",
    ),
    record(
        2, TOAST,
        {"better": [(ANN, "right", "draft"), (BEN, "tie", "submitted")],
         "comment": [(BEN, "Both 'work';\n\"so\"", "submitted")]},
        ("better", None, None, None), topic=None,
    ),
    record(3, TOAST | {"prompt": "Nobody yet."}, {"better": [], "comment": []},
           ("better", None, None, None), topic=None),
]  # fmt: skip
SUBMITTED = {
    (EGG["prompt"], "Seven minutes.", "It's\na 'day'.", ANN), (TOAST["prompt"], "Very.", "tie", BEN),
}  # fmt: skip
AS_IF_SUBMITTED = SUBMITTED | {
    (EGG["prompt"], "It's\na 'day'.", "Seven minutes.", BEN), (TOAST["prompt"], "Very.", "Warm.", ANN),
}  # fmt: skip


def as_dataset(records: list[dict], labels: tuple[str, ...] = LABELS) -> datasets.Dataset:
    dataset = datasets.Dataset.from_list([flat(one, labels) for one in records])
    for column in dataset.column_names:
        if labels and column.endswith(".suggestion"):
            dataset = dataset.cast_column(column, datasets.ClassLabel(names=list(labels)))
    return dataset


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_a_data_set_of_argilla_gives_the_submitted_votes_alone(form, tmp_path):
    path = tmp_path / f"made.{form}"
    dataset = as_dataset(RECORDS)
    {"parquet": dataset.to_parquet, "jsonl": dataset.to_json, "csv": dataset.to_csv}[form](path)

    result = take(tmp_path, path.read_bytes(), f"to_datasets.{form}")

    assert (result.problems, result.format, result.prompts) == ((), "argilla", 3)
    assert votes() == SUBMITTED
    assert Judgment.objects.get(outcome="tie").comment == "Both 'work';\n\"so\""
    notes = {note.partition(" (")[0] for note in result.notes}
    assert {"a draft is no vote", "a discarded response is no vote"} <= notes
    assert any("number of a label" in note for note in notes) == (form != "parquet")


@pytest.mark.parametrize(("form", "label"), [("parquet", "right"), ("jsonl", 1)])
def test_a_suggestion_has_its_label_by_parquet_and_none_has_no_agent(form, label, tmp_path):
    dataset = as_dataset(RECORDS)
    {"parquet": dataset.to_parquet, "jsonl": dataset.to_json}[form](tmp_path / "made")

    take(tmp_path, (tmp_path / "made").read_bytes(), f"to_datasets.{form}")

    pairs = Dataset.objects.get().comparisons.select_related("prompt")
    kept = {pair.prompt.external_id: pair.metadata.get("suggestions") for pair in pairs}
    one = {"question": "better", "value": label, "score": 0.75, "agent": "judge"}
    assert kept == {"ext-1": [one], "ext-2": None, "ext-3": None}
    assert set(Annotator.objects.values_list("external_id", flat=True)) == {ANN, BEN}


def by_name(rows: list[dict]) -> dict:
    return {name: [row.get(name) for row in rows] for name in {name: 1 for row in rows for name in row}}


def by_id(rows: list[dict]) -> dict:
    return {row["id"]: row for row in rows}


@pytest.mark.parametrize("shaped", [list, by_name, by_id])
def test_a_flat_list_or_object_of_records_gives_the_submitted_votes(shaped, tmp_path):
    result = take(tmp_path, shaped([flat(one) for one in RECORDS]), "flat.json")

    assert (result.problems, result.prompts) == ((), 3)
    assert votes() == SUBMITTED


@pytest.mark.parametrize("shaped", [list, by_name, by_id])
def test_a_nested_list_or_object_of_records_says_that_it_cannot_tell_drafts(shaped, tmp_path):
    result = take(tmp_path, shaped([nested(one) for one in RECORDS]), "records.json")

    assert (result.problems, result.prompts) == ((), 3)
    assert votes() == AS_IF_SUBMITTED
    (note,) = result.notes
    assert "does not say which responses are drafts or discarded" in note
    assert "(2 rows" in note


def test_columns_of_records_of_unequal_length_are_refused(tmp_path):
    columns = by_name([flat(one) for one in RECORDS])
    columns["prompt"].pop()

    result = take(tmp_path, columns, "flat.json")

    assert not result.accepted
    assert "prompt has 2 values, and id has 3" in result.problems[0].message


def test_lists_of_a_question_that_are_not_as_long_as_each_other_refuse_the_record(tmp_path):
    row = flat(RECORDS[0])
    row["better.responses.users"].pop()

    result = take(tmp_path, [row], "flat.json")

    assert [problem.code for problem in result.problems] == ["unequal_lists"]


def test_a_list_that_a_data_frame_shortened_in_a_cell_refuses_the_row(tmp_path):
    header = "id,status,_server_id,prompt,response_a,response_b,better.responses,better.responses.users"
    row = "1,x,s,Name a bird.,A wren.,A bat.,['left' ... 'left'],['u1' ... 'u9']"

    result = take(tmp_path, f"{header}\n{row}\n".encode(), "to_datasets.csv")

    (problem,) = result.problems
    assert (problem.line, problem.field, problem.code) == (2, "better.responses", "not_a_list")


def test_a_saved_mapping_reads_the_next_export_of_the_same_columns(tmp_path):
    def export(number: int) -> list[dict]:
        return [task(annotation(7, pick("left")), number=number, data=SOUP | {"prompt": f"Soup {number}?"})]

    take(tmp_path, export(1), "one.json", columns={"a": "data.answer2", "b": "data.answer1"})
    (tmp_path / "two.json").write_text(json.dumps(export(2)))
    result = imports.import_file(tmp_path / "two.json", Dataset.objects.get())

    assert result.format == "label-studio"
    assert votes() == {(f"Soup {number}?", YEARS, DAYS, "7") for number in (1, 2)}


THREE = {"prompt": "Name a colour.", "response_1": "Red.", "response_2": "Blue.", "response_3": "Green."}


def ranked(number: int, *orders: tuple[str, str, str]) -> dict:
    fields = THREE | {"prompt": f"Name a colour, {number}."}
    replies = [(user, [f"response_{n}" for n in digits], state) for user, digits, state in orders]
    return record(number, fields, {"ranking": replies})


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_ranking_of_argilla_is_best_first(form, tmp_path):
    dataset = as_dataset([ranked(1, (ANN, "213", "submitted"), (BEN, "321", "draft"))], ())
    {"parquet": dataset.to_parquet, "csv": dataset.to_csv}[form](tmp_path / "made")

    take(tmp_path, (tmp_path / "made").read_bytes(), f"to_datasets.{form}")

    prompt = "Name a colour, 1."
    assert votes() == {
        (prompt, "Blue.", "Red.", ANN), (prompt, "Blue.", "Green.", ANN), (prompt, "Red.", "Green.", ANN),
    }  # fmt: skip


@pytest.mark.parametrize("second", ["123", "13"])
def test_rankings_that_are_all_in_the_order_of_the_settings_are_no_votes_until_somebody_says_so(
    second, tmp_path
):
    rows = [flat(ranked(1, (ANN, "123", "submitted"), (BEN, second, "submitted")))]

    result = take(tmp_path, rows, "flat.json")
    assert (result.accepted, result.judgments, result.comparisons) == (True, 0, 3)
    assert "lost the ranks" in result.notes[0]

    result = take(tmp_path, rows, "flat.json", columns={"outcome": "ranking"})
    assert result.judgments == {"123": 6, "13": 4}[second]


def test_ranks_beside_the_values_decide_over_the_order_of_the_list(tmp_path):
    row = nested(ranked(1))
    places = [{"value": "response_1", "rank": 2}, {"value": "response_2", "rank": 1},
              {"value": "response_3", "rank": 2}]  # fmt: skip
    row["responses"] = {"ranking": [{"value": places, "user_id": user} for user in (ANN, BEN, CAM)]}

    take(tmp_path, [row], "records.json")

    prompt = "Name a colour, 1."
    assert votes() == {
        vote
        for user in (ANN, BEN, CAM)
        for vote in (
            (prompt, "Blue.", "Red.", user),
            (prompt, "Blue.", "Green.", user),
            (prompt, "Green.", "tie", user),
        )
    }


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_ratings_are_matched_by_user_and_not_by_place(form, tmp_path):
    replies = {
        "rating_1": [(ANN, 2, "submitted"), (BEN, 4, "submitted")],
        "rating_2": [(BEN, 1, "submitted"), (ANN, 2, "submitted")],
    }
    fields = {"prompt": "Name a bird.", "response_1": "A wren.", "response_2": "A bat."}
    dataset = as_dataset([record(1, fields, replies), record(2, fields | {"prompt": "One alone."},
                          {"rating_1": [(ANN, 5, "submitted")], "rating_2": []})], ())  # fmt: skip
    {"jsonl": dataset.to_json, "csv": dataset.to_csv}[form](tmp_path / "made")

    take(tmp_path, (tmp_path / "made").read_bytes(), f"to_datasets.{form}")

    assert votes() == {("Name a bird.", "A bat.", "tie", ANN), ("Name a bird.", "A wren.", "A bat.", BEN)}


def test_ratings_whose_names_match_no_answer_are_taken_in_the_order_of_the_answers(tmp_path):
    replies = {"upper": [(ANN, 2, "submitted")], "lower": [(ANN, 3, "submitted")]}
    fields = {"prompt": "Name a bird.", "response_1": "A bat.", "response_2": "A wren."}

    take(tmp_path, [flat(record(1, fields, replies))], "flat.json")

    assert votes() == {("Name a bird.", "A wren.", "A bat.", ANN)}


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_chats_that_differ_in_a_turn_of_the_assistant_are_two_prompts(form, tmp_path):
    def chat(turn: str) -> dict:
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": turn},
                 {"role": "user", "content": "It's \"late\""}]  # fmt: skip
        return {"chat": turns, "response_a": "Sleep.", "response_b": "Run."}

    records = [
        record(n, chat(turn), {"better": [(ANN, "right", "submitted")]}) for n, turn in enumerate("xy")
    ]
    dataset = as_dataset(records, ())
    {"parquet": dataset.to_parquet, "jsonl": dataset.to_json, "csv": dataset.to_csv}[form](tmp_path / "made")

    result = take(tmp_path, (tmp_path / "made").read_bytes(), f"to_datasets.{form}")

    assert (result.problems, result.prompts, result.judgments) == ((), 2, 2)
    assert votes() == {('It\'s "late"', "Run.", "Sleep.", ANN)}


def test_a_comment_of_somebody_who_did_not_vote_is_kept_beside_the_pair(tmp_path):
    silent = annotation(7, write("Both are about the fridge."))

    result = take(tmp_path, [task(silent, annotation(8, pick("left")))], "export.json")

    assert votes() == {of_soup(DAYS, YEARS, "8")}
    assert Comparison.objects.get().metadata["comments_without_vote"] == [
        {"annotator": "7", "comment": "Both are about the fridge."}
    ]
    assert f"{moving.COMMENT_ALONE} (1 row: line 1)" in result.notes


# --- Argilla 1 and its server -------------------------------------------------------------------------------

BREAD = {"prompt": "How do I keep bread?", "response_1": "In a box.", "response_2": "In the sun."}
BOX, SUN = BREAD["response_1"], BREAD["response_2"]


def response(user: str | None, status: str | None = "submitted", **values) -> dict:
    named = {name: {"value": value} for name, value in values.items()}
    return {"user_id": user, "values": named or None, "status": status}


def of_client(*responses: dict, **more) -> dict:
    """A record of version 1, as its client writes it."""
    return {
        "id": None, "fields": BREAD, "metadata": {"topic": "food"}, "responses": [*responses],
        "suggestions": [], "vectors": {}, "external_id": "ext-1", **more,
    }  # fmt: skip


def of_server(*responses: dict, **more) -> dict:
    """The same as GET /api/v1/datasets/ID/records sends it."""
    at = {"inserted_at": "2030-01-01T10:00:00", "updated_at": "2030-01-01T10:00:00"}
    sent = [{"id": f"r{n}", "record_id": "rec", **one, **at} for n, one in enumerate(responses)]
    return {**of_client(*sent), "id": "rec", "status": "pending", "dataset_id": "d1", **at, **more}


def of_bread(winner: str, loser: str, person: str) -> Vote:
    return BREAD["prompt"], winner, loser, person


ANSWERED = (
    response(ANN, better="response_1", comment="Dry."),
    response(BEN, better="response_2"),
    response(CAM, "draft", better="response_1"),
    response("dee", "discarded", better="response_1"),
    response("eve", "discarded"),
)
FORMS = {
    "records of the client": json.dumps([of_client(*ANSWERED)]).encode(),
    "a line of the client": json.dumps(of_client(*ANSWERED)).encode(),
    "a page of the server": json.dumps({"items": [of_server(*ANSWERED)], "total": 1}).encode(),
    "a page of its search": json.dumps(
        {"items": [{"record": of_server(*ANSWERED), "query_score": None}], "total": 1}
    ).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_records_with_a_response_a_person_give_the_submitted_votes_alone(form, tmp_path):
    result = take(tmp_path, FORMS[form], "records.json")

    assert (result.accepted, result.format, result.judgments) == (True, "argilla", 2)
    assert votes() == {of_bread(BOX, SUN, ANN), of_bread(SUN, BOX, BEN)}
    assert Judgment.objects.get(annotator__external_id=ANN).comment == "Dry."
    assert {note.partition(" (")[0] for note in result.notes} == {
        argilla.NO_VOTE["draft"],
        argilla.NO_VOTE["discarded"],
    }


def hub_row(*answers: tuple, **more) -> dict:
    """A row as version 1 pushed it to a hub; `answers`: (user, value, status)."""
    told = [dict(zip(("user_id", "value", "status"), one, strict=True)) for one in answers]
    return {
        **BREAD, "better": told, "better-suggestion": "response_1",
        "better-suggestion-metadata": {"type": "model", "score": 0.5, "agent": "oak-1"},
        "external_id": "ext-1", "metadata": '{"topic": "food"}', **more,
    }  # fmt: skip


def test_a_data_set_that_version_1_pushed_to_a_hub_has_votes_a_suggestion_and_metadata(tmp_path):
    row = hub_row((ANN, "response_1", "submitted"), (BEN, "response_2", "discarded"))

    result = take(tmp_path, json.dumps(row).encode() + b"\n", "train.jsonl")

    assert (result.format, result.judgments) == ("argilla", 1)
    assert votes() == {of_bread(BOX, SUN, ANN)}
    metadata = Prompt.objects.get().comparisons.get().metadata
    assert metadata["topic"] == "food"
    assert metadata["suggestions"] == [
        {"question": "better", "value": "response_1", "score": 0.5, "agent": "oak-1"}
    ]


def classified(annotation: object, **more) -> dict:
    """A text classification record of version 1, as `rg.load(...).to_pandas()` has it."""
    return {
        "text": None, "inputs": BREAD, "prediction": [{"label": "response_2", "score": 0.75}],
        "prediction_agent": "oak-1", "annotation": annotation, "annotation_agent": "ann",
        "multi_label": False, "explanation": None, "id": "ext-1", "metadata": {"topic": "food"},
        "status": "Validated", "event_timestamp": None, "metrics": {}, "search_keywords": None,
        "vectors": None, **more,
    }  # fmt: skip


def test_a_text_classification_record_of_version_1_over_two_answers_is_a_preference(tmp_path):
    records = [
        classified("response_1"),
        classified(None, id="2", inputs=BREAD | {"prompt": "And rolls?"}, status="Default"),
        classified("response_2", id="3", inputs=BREAD | {"prompt": "And buns?"}, status="Discarded"),
        classified(["response_2"], id="4", inputs=BREAD | {"prompt": "And cake?"}, annotation_agent="ben"),
    ]

    result = take(tmp_path, records, "records.json")

    assert (result.problems, result.format) == ((), "argilla")
    assert votes() == {of_bread(BOX, SUN, "ann"), ("And cake?", SUN, BOX, "ben")}
    assert "a discarded response is no vote" in " ".join(result.notes)
    metadata = Prompt.objects.order_by("pk").first().comparisons.get().metadata
    assert metadata["topic"] == "food"
    assert metadata["suggestions"] == [
        {"question": "prediction", "value": "response_2", "score": 0.75, "agent": "oak-1"}
    ]


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (classified("spam", inputs={"text": "Buy now"}, text="Buy now"), "text classification"),
        (
            {name: value for name, value in classified([["PER", 0, 3]]).items() if name != "inputs"}
            | {"text": "Ann ran", "tokens": ["Ann", "ran"]},
            "token classification",
        ),
        (
            {name: value for name, value in classified("Kurz.").items() if name != "inputs"}
            | {"text": "Long."},
            "text-to-text",
        ),
    ],
)
def test_a_record_of_version_1_without_two_answers_is_refused_by_what_it_is(tmp_path, record, kind):
    result = take(tmp_path, [record], "records.json")

    (problem,) = result.problems
    assert f"this is a {kind} record of Argilla 1" in problem.message
    assert "so it holds no preference" in problem.message
    assert not Prompt.objects.exists()


def test_a_ranking_of_version_1_comes_as_two_lists_and_responses_as_three(tmp_path):
    ranking = {"rank": [2, 1], "value": ["response_1", "response_2"]}
    columns = {"user_id": [ANN, BEN], "value": [ranking, ranking], "status": ["submitted", "draft"]}

    take(tmp_path, json.dumps(hub_row(better=columns)).encode(), "train.jsonl")

    assert votes() == {of_bread(SUN, BOX, ANN)}


def test_responses_that_name_nobody_are_kept_apart_and_said_to_name_nobody(tmp_path):
    nobody = [response(None, better=side) for side in ("response_1", "response_2")]

    result = take(tmp_path, [of_client(*nobody)], "records.json")

    assert result.judgments == 2
    assert len({person for *_, person in votes()}) == 2
    assert result.notes == (f"{argilla.NOBODY} (1 row: line 1)",)


def test_records_that_the_server_sent_without_responses_say_how_to_ask_for_them(tmp_path):
    result = take(tmp_path, {"items": [of_server(responses=None)], "total": 1}, "records.json")

    assert (result.accepted, result.format, result.judgments) == (True, "argilla", 0)
    assert result.notes == (f"{argilla.NOT_ASKED_FOR} (1 row: line 1)",)


@pytest.mark.parametrize("status", ["SUBMITTED", "ResponseStatus.submitted", " submitted"])
def test_the_status_of_a_response_is_read_in_other_spellings(status, tmp_path):
    row = flat(RECORDS[0])
    row["better.responses.status"] = [status, status.replace("submitted", "draft").replace("SUBM", "DISC")
                                      .replace("ITTED", "ARDED")]  # fmt: skip

    result = take(tmp_path, [row], "flat.json")

    assert (result.problems, len(votes())) == ((), 1)


def test_a_response_without_a_status_is_a_vote_and_the_file_is_said_not_to_tell(tmp_path):
    row = flat(RECORDS[0])
    row["better.responses.status"] = [None, "discarded"]

    result = take(tmp_path, [row], "flat.json")

    assert {vote[3] for vote in votes()} == {ANN}
    assert any("does not say which responses are drafts" in note for note in result.notes)


MARKS = {
    "themes": [(ANN, ["food", "time"], "submitted"), (BEN, ["time"], "submitted")],
    "spans": [(ANN, [{"start": 0, "end": 3, "label": "typo"}], "submitted")],
    "better": [(ANN, "left", "submitted"), (BEN, "tie", "submitted")],
}


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv", "nested"])
def test_labels_and_spans_are_kept_beside_the_vote(form, tmp_path):
    rows = [record(1, EGG, MARKS), record(2, TOAST, MARKS)]
    dataset = as_dataset(rows, ())
    if form == "nested":
        (tmp_path / "made").write_text(json.dumps([nested(row) for row in rows]))
    else:
        {"parquet": dataset.to_parquet, "jsonl": dataset.to_json, "csv": dataset.to_csv}[form](
            tmp_path / "made"
        )

    name = f"to_datasets.{'json' if form == 'nested' else form}"
    result = take(tmp_path, (tmp_path / "made").read_bytes(), name)

    assert (result.problems, len(votes())) == ((), 4)
    kept = Judgment.objects.exclude(outcome="tie").first().metadata
    assert kept == {"themes": ["food", "time"], "spans": [{"start": 0, "end": 3, "label": "typo"}]}


def test_models_beside_the_answers_are_their_sources(tmp_path):
    fields = {"instruction": "Name a bird.", "generation_1": "A wren.", "generation_2": "A bat."}
    row = flat(record(1, fields, {"best": [(ANN, "generation_2", "submitted")]},
                      generation_1_model="oak", generation_2_model="elm"))  # fmt: skip

    take(tmp_path, [row], "flat.json")

    assert dict(Completion.objects.values_list("text", "source")) == {"A wren.": "oak", "A bat.": "elm"}


def test_the_index_of_a_data_frame_is_not_who_wrote_an_answer(tmp_path):
    dataset = as_dataset(RECORDS, ())
    dataset.to_csv(tmp_path / "made", index=True)

    take(tmp_path, (tmp_path / "made").read_bytes(), "to_datasets.csv")

    assert votes() == SUBMITTED
    assert {*Completion.objects.values_list("source", flat=True)} == {""}


# --- exports of both tools, with the votes that must come out -----------------------------------------------

INDEX = SHARED / "moving-in/index.json"
FILES = json.loads(INDEX.read_text())["files"] if INDEX.is_file() else [{"path": "none"}]


@pytest.mark.real_data("moving-in")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file["path"])
def test_an_export_comes_in_with_every_vote_of_its_index_and_no_other(file):
    result = imports.import_file(INDEX.parent / file["path"], Dataset(name="Moved"))

    assert (result.prompts, result.completions) == (file["prompts"], file["completions"])
    expected = {tuple(vote[:4]) for vote in file["votes"] if vote[4]}
    stored = votes()
    assert len(stored) == Judgment.objects.count() == file["counted"] == len(expected)
    assert [vote for vote in expected if not any(is_that(vote, one) for one in stored)] == []


def is_that(expected: Vote, stored: Vote) -> bool:
    """Whether a stored vote is one of the index, which has the beginnings of texts, and both_bad as a tie."""
    prompt, winner, loser, person = expected
    if person != stored[3] or not stored[0].startswith(prompt):
        return False
    if loser == "tie":
        return stored[2] in ("tie", "both_bad")
    return stored[1].startswith(winner) and stored[2].startswith(loser)
