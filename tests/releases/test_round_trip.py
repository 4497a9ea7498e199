"""Our own Releases come back in: each profile in each format is recognised, with equal rows."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage

from scoring.formats import flatten_messages
from scoring.rows.defused import RELEASE_COLUMNS
from tests.factories import (
    AnnotatorFactory,
    CompletionFactory,
    DatasetFactory,
    JudgmentFactory,
    PromptFactory,
    UserFactory,
)
from workbench.models import (
    Comparison,
    Completion,
    Dataset,
    Decision,
    Flag,
    Judgment,
    Outcome,
    Release,
)
from workbench.pipeline import imports, releases
from workbench.pipeline.releases import FORMATS, PROFILES

pytestmark = pytest.mark.django_db

CALL = {"id": "c1", "type": "function", "function": {"name": "depth", "arguments": '{"river": "Elbe"}'}}
TOOLS = [
    {"type": "function", "function": {"name": "depth", "parameters": {"type": "object", "b": 1, "a": 2}}}
]


def ask(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def say(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}, *ask("Salt?")]
CALLED = [
    *ask("How deep is it?"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "7"},
]


def pair_of(
    dataset: Dataset,
    messages: list[dict[str, Any]],
    texts: tuple[str, str],
    *,
    tools: Any = None,
    **fields: Any,
) -> Comparison:
    """A Comparison in canonical order with metadata everywhere, and one standing vote for the first text."""
    number = dataset.prompts.count()
    prompt = PromptFactory.create(
        dataset=dataset,
        messages=messages,
        tools=tools,
        external_id=f"prompt {number}",
        metadata={"topic": "null", "z": 1, "a": [1, None]},
    )
    answers = [
        CompletionFactory.create(prompt=prompt, text=text, source=f"by {n}", metadata={"n": n})
        for n, text in enumerate(texts)
    ]
    a, b = sorted(answers, key=lambda answer: answer.sha256)
    comparison = Comparison.objects.create(
        dataset=dataset, prompt=prompt, a=a, b=b, external_id=f"row {number}", metadata={"k": "é"}
    )
    outcome = fields.pop("outcome", "a" if a == answers[0] else "b")
    JudgmentFactory.create(comparison=comparison, outcome=outcome, **fields)
    return comparison


WORDS = [
    "null",
    "None",
    "NA",
    "007",
    "=1+1",
    "-",
    "'quoted'",
    "\tTab",
    'a "b"\r\nc',
    "x\u2028y",
    "2024-01-01",
    "[]",
]


@pytest.fixture
def kept(dataset) -> Dataset:
    """A Dataset with what there is: every outcome, changed votes, comments, a reviewer's word, flags."""
    for n, word in enumerate(WORDS):
        pair_of(dataset, ask(f"{word} ({n})?"), (word, f"not {word}"), comment=f"{word}\n", strength=n % 3)
    pair_of(dataset, TALK, ("Yes.", "No."), comment="because")
    pair_of(dataset, CALLED, ("Seven.", "Eight."), tools=TOOLS, seconds=1.5, metadata={"page": 2})
    for n, outcome in enumerate(Outcome.values):
        pair_of(dataset, ask(f"Outcome {n}?"), ("One.", "Two."), outcome=outcome, strength=None)
    _, changed, settled, flagged = dataset.comparisons.order_by("pk")[:4]
    person = AnnotatorFactory.create()
    earlier = {"comparison": changed, "annotator": person, "outcome": "a", "comment": "at first"}
    first = JudgmentFactory.create(**earlier, is_current=False)
    JudgmentFactory.create(comparison=changed, annotator=person, outcome="tie", supersedes=first)
    taken_back = {"comparison": settled, "annotator": person, "outcome": "both_bad", "is_current": False}
    JudgmentFactory.create(**taken_back)
    Decision.objects.create(
        comparison=settled, outcome="drop", method="reviewer", reason="bad_data", note="cut off",
        decided_by=UserFactory.create(),
    )  # fmt: skip
    Flag.objects.create(comparison=flagged, annotator=person, reason="unsafe", note="look")
    return dataset


def imported(release: Release, shuffled: bool = False, into: Dataset | None = None) -> Dataset:
    """Another Dataset with the files of rows of the release."""
    dataset = into or DatasetFactory.create()
    for name, file in release.manifest["files"].items():
        if not file["rows"]:
            continue
        path = Path(default_storage.path(f"{release.folder}/{name}"))
        if shuffled:
            lines = path.read_bytes().split(b"\n")[:-1]
            random.Random(0).shuffle(lines)
            path = path.with_name(f"shuffled-{name}")
            path.write_bytes(b"\n".join(lines) + b"\n")
        result = imports.import_file(path, dataset)
        assert result.accepted, result.problems
    return dataset


def texts_of(dataset: Dataset) -> list[Any]:
    """Prompts and completions, by SQL."""
    prompts = dataset.prompts.values_list("sha256", "messages", "tools", "external_id", "metadata", "group")
    answers = Completion.objects.filter(prompt__dataset=dataset)
    columns = ("prompt__sha256", "sha256", "text", "conversation", "source", "metadata")
    return sorted([*prompts, *answers.values_list(*columns)], key=json.dumps)


PAIR = ("comparison__prompt__sha256", "comparison__a__sha256", "comparison__b__sha256")


def votes_of(dataset: Dataset, voter: str) -> list[Any]:
    """All votes and the votes that they superseded, by SQL."""
    columns = (
        *PAIR,
        voter,
        "outcome",
        "comment",
        "comparison__external_id",
        "is_current",
        "supersedes__outcome",
    )
    return sorted(
        ((*row[:3], str(row[3]), *row[4:]) for row in Judgment.objects.of(dataset).values_list(*columns)),
        key=str,
    )


@pytest.mark.parametrize("form", [*FORMATS, "shuffled"])
def test_every_vote_comes_back_as_it_stands_with_all_that_it_came_with(kept, form):
    formats = ["jsonl" if form == "shuffled" else form]
    release = releases.build(Release(dataset=kept, profiles=["all-votes"], formats=formats))
    assert release.manifest["not_written"] == []

    again = imported(release, form == "shuffled")

    assert texts_of(again) == texts_of(kept)
    assert votes_of(again, "annotator__external_id") == votes_of(kept, "annotator__pseudonym")
    before = Judgment.objects.count()
    imported(release, into=again)
    assert Judgment.objects.count() == before
    facts_of_votes = {
        (of.comparison.external_id, of.annotator.external_id, of.is_current): (of.strength, of.metadata)
        for of in Judgment.objects.of(again)
    }
    for vote in Judgment.objects.of(kept):
        strength, metadata = facts_of_votes[
            vote.comparison.external_id, str(vote.annotator.pseudonym), vote.is_current
        ]
        release_facts = metadata.pop("release")
        assert (strength, metadata) == (vote.strength, vote.metadata)
        assert release_facts["stage"] == vote.stage
        assert release_facts["seconds"] == (vote.seconds or 0.0)
        assert release_facts["current"] is vote.is_current
    facts = dict(again.comparisons.values_list("external_id", "metadata"))
    assert all(fact["k"] == "é" for fact in facts.values())
    assert {name: facts["row 2"]["release"][name] for name in ("decided", "method", "reason", "note")} == {
        "decided": "drop",
        "method": "reviewer",
        "reason": "bad_data",
        "note": "cut off",
    }
    (flag,) = facts["row 3"]["release"]["flags"]
    assert (flag["reason"], flag["note"], flag["open"]) == ("unsafe", "look", True)


def preferred(dataset: Dataset) -> set[Any]:
    """(prompt as text, better text, worse text) of the votes for a side, by SQL."""
    return {
        (flatten_messages(messages), *((a, b) if outcome == "a" else (b, a)))
        for messages, a, b, outcome in Judgment.objects.of(dataset)
        .filter(is_current=True, outcome__in=["a", "b"])
        .values_list("comparison__prompt__messages", "comparison__a__text", "comparison__b__text", "outcome")
    }


TURNS = {"trl-implicit", "llama-factory"}


@pytest.mark.portable
@pytest.mark.parametrize(
    ("profile", "form"),
    [
        (name, form)
        for name, profile in PROFILES.items()
        for form in FORMATS
        if name != "all-votes" and (profile.is_flat or form != "csv")
    ],
)
def test_every_profile_is_recognised_and_prefers_what_was_preferred(dataset, profile, form):
    for n in range(30):  # so many that the evaluation set, of the test split alone, has some
        word = WORDS[n % len(WORDS)]
        pair_of(dataset, ask(f"{word} ({n})?"), (f"{word}", f"not {word}"))
    pair_of(dataset, TALK, ("Yes.", "No."))
    release = releases.build(Release(dataset=dataset, profiles=[profile], formats=[form]))
    assert release.manifest["not_written"] == []

    again = imported(release)

    if PROFILES[profile].splits == ("test",):
        assert preferred(again)
        assert preferred(again) < preferred(dataset)
    else:
        assert preferred(again) == preferred(dataset)


def test_the_columns_a_csv_of_a_release_is_known_by_are_those_of_the_profiles():
    assert {tuple(profile.columns) for profile in PROFILES.values() if profile.is_flat} == RELEASE_COLUMNS


def taken(tmp_path, dataset: Dataset, *cells: str, header: str = '"prompt","chosen","rejected"') -> Any:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([header, *(f'"p{n}","{cell}","r"' for n, cell in enumerate(cells)), ""]))
    return imports.import_file(path, dataset)


@pytest.mark.parametrize(
    ("cells", "header"),
    [
        (["'tis", "'=1"], '"prompt","chosen","rejected"'),
        (["-bullet", "'=1"], '"prompt","chosen","rejected"'),
        (["'=1", "''x"], "prompt,chosen,rejected"),
        (["'=1", "''x"], '"prompt","chosen","rejected"\r'),
    ],
)
def test_a_csv_that_no_release_would_write_is_taken_as_it_is(cells, header, dataset, tmp_path):
    result = taken(tmp_path, dataset, *cells, header=header)

    assert result.accepted, result.problems
    assert set(Completion.objects.exclude(text="r").values_list("text", flat=True)) == set(cells)
    assert not any("is removed" in note for note in result.notes)


def test_what_is_taken_away_from_a_csv_of_a_release_is_told_with_its_lines(dataset, tmp_path):
    result = taken(tmp_path, dataset, "plain", "'=1", "''x", "-1")

    texts = Completion.objects.exclude(text="r").values_list("text", flat=True)
    assert set(texts) == {"plain", "=1", "'x", "-1"}
    assert any("is removed" in note and "lines 3, 4" in note for note in result.notes)


def test_a_csv_that_is_half_of_a_release_is_refused_with_both_lines(dataset, tmp_path):
    result = taken(tmp_path, dataset, "plain", "'=1", "-bullet")

    assert not result.accepted
    (problem,) = result.problems
    assert (problem.line, "line 3" in problem.message, "--formula-safe" in problem.message) == (4, True, True)


SPOKEN = [{"name": "depth", "description": "", "parameters": {"z": None, "a": [1.5, "é", {}]}}]
REASONED = {
    "role": "assistant", "content": [{"type": "text", "text": "Seven."}], "reasoning": "7 m", "name": "x"
}  # fmt: skip
CALLING = [{"role": "assistant", "content": None, "tool_calls": [CALL]}]
TALKS = [
    {"prompt": CALLED, "chosen": [REASONED], "rejected": CALLING, "tools": TOOLS},
    {"prompt": ask("How deep?"), "chosen": CALLING, "rejected": say("I can't."), "tools": SPOKEN},
    {"prompt": ask("How deep?"), "chosen": CALLING, "rejected": say("I can't.")},
    {"prompt": [{"role": "system", "content": ""}, *TALK], "chosen": say("Yes."), "rejected": say("No.")},
    {
        "prompt": ask("And the Oder?"),
        "chosen": [*CALLING, {"role": "tool", "tool_call_id": "c1", "content": "3"}, *say("Three.")],
        "rejected": say("Deep."),
        "tools": TOOLS,
    },
]
ANSWERS_ONCE = {"axolotl": [0, 1, 2, 3]}


def written(dataset: Dataset) -> list[str]:
    """Prompts, tools and answers as JSON, keys in their order: equal by value alone is not as it came."""
    answers = Completion.objects.filter(prompt__dataset=dataset).select_related("prompt")
    return sorted(json.dumps([of.prompt.messages, of.prompt.tools, of.messages]) for of in answers)


CONVERSATIONAL = ("trl-chat", "trl-chat-implicit", "axolotl", "kto-chat", "all-votes")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("profile", CONVERSATIONAL)
def test_calls_and_tools_of_a_file_go_out_and_come_back_equal(dataset, tmp_path, profile, form):
    talks = [TALKS[n] for n in ANSWERS_ONCE.get(profile, range(len(TALKS)))]
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in talks))
    assert imports.import_file(path, dataset).accepted

    release = releases.build(Release(dataset=dataset, profiles=[profile], formats=[form]))
    assert release.manifest["not_written"] == []
    again = imported(release)

    conversations = [
        [row["prompt"], row.get("tools"), row[side]] for row in talks for side in ("chosen", "rejected")
    ]
    assert written(dataset) == written(again) == sorted(map(json.dumps, conversations))
    keys = dataset.prompts.values_list("sha256", "group", "messages", "tools").order_by("sha256")
    assert list(again.prompts.values_list("sha256", "group", "messages", "tools").order_by("sha256")) == list(
        keys
    )
    assert judged(again) == judged(dataset)


def judged(dataset: Dataset) -> list[Any]:
    votes = Judgment.objects.of(dataset).filter(is_current=True)
    return sorted(votes.values_list(*PAIR, "outcome"))


RIVERS = {"prompt": "Which is longer?", "a": "The Elbe", "b": "The Oder", "who": "p1"}
NAMED = {"prompt": "prompt", "a": "a", "b": "b", "outcome": "says", "annotator": "who"}


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("columns", "earlier", "later"),
    [
        ({}, {"current": False}, {"current": True}),
        ({}, {"current": "False"}, {"current": "True"}),
        ({"current": "valid"}, {"valid": 0}, {"valid": 1}),
        ({"time": "at"}, {"at": "2026-05-01T10:00:00Z"}, {"at": "2026-05-01T13:00:00+02:00"}),
        ({"time": "at"}, {"at": 9}, {"at": 10}),
    ],
)
def test_of_several_votes_of_one_voice_in_any_table_the_one_that_stands_stands(
    dataset, tmp_path, columns, earlier, later, backwards
):
    turned = {"a": RIVERS["b"], "b": RIVERS["a"]}  # the other way round, as tools show them
    rows = [RIVERS | {"says": "a"} | earlier, RIVERS | turned | {"says": "a"} | later]
    if backwards:
        rows.reverse()
    rows.append(RIVERS | {"says": "a", "who": "p2"} | later)
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    result = imports.import_file(path, dataset, imports.ImportOptions(columns=NAMED | columns))

    assert result.accepted, result.problems
    votes = Judgment.objects.of(dataset).values_list("annotator__external_id", "outcome", *PAIR[1:])
    comparison = dataset.comparisons.get()
    texts = {"a": comparison.a.text, "b": comparison.b.text}
    assert {who: texts[outcome] for who, outcome, *_ in votes} == {"p1": "The Oder", "p2": "The Elbe"}
    assert any("no longer stands" in note for note in result.notes)


def test_a_column_named_current_that_holds_something_else_says_nothing_of_votes(dataset, tmp_path):
    path = tmp_path / "votes.jsonl"
    path.write_text(json.dumps(RIVERS | {"says": "a", "current": "12 A"}))

    assert imports.import_file(path, dataset, imports.ImportOptions(columns=NAMED)).accepted
    assert Judgment.objects.of(dataset).count() == 1
