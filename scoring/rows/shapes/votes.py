"""Two completions and one or several votes, with ties, strengths and annotators."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scoring.formats import Message
from scoring.rows.drafts import (
    ComparisonDraft,
    CompletionDraft,
    Draft,
    ImportOptions,
    JudgmentDraft,
    instruction_of,
    leftovers,
    list_of,
    name_of,
    number_of,
    prompt_of,
    text_of,
    whole_number_of,
)
from scoring.rows.rows import BadRow, Row, Values
from scoring.rows.shapes.shape import Columns, Shape, per_row

_CITATION = re.compile(r"\[[0-9]+(?:, ?[0-9]+)*\]")
_ANNOTATOR = re.compile(r"annotator_?[0-9]+")


def _pair(
    row: Row,
    prompt: list[Message],
    completions: tuple[CompletionDraft, CompletionDraft],
    judgments: Sequence[JudgmentDraft],
    used: set[str],
    row_id: str = "",
    prompt_id: str = "",
) -> Draft:
    """A Draft of two completions; columns that are not `used` become the Comparison's metadata."""
    metadata = leftovers(row.values, used)
    comparison = ComparisonDraft(0, 1, tuple(judgments), row_id, metadata)
    return Draft(row.line, prompt, completions, (comparison,), row_id=row_id, external_id=prompt_id)


def _side(better_second: float) -> str:
    """The outcome of a number above 0 for the second completion."""
    return "tie" if better_second == 0 else "b" if better_second > 0 else "a"


def _webgpt(row: Row, options: ImportOptions) -> Draft:
    """openai/webgpt_comparisons: the scores of the two answers sum to 0, and 0 is a tie. `tokens_*` are left
    out: they repeat the texts as the token ids of another model."""
    values = row.values
    question = values["question"] if isinstance(values.get("question"), dict) else {}
    prompt = prompt_of(question.get("full_text"), "question.full_text")
    scores = [number_of(values, f"score_{i}") for i in (0, 1)]
    if scores[0] is None or scores[1] is None:
        raise BadRow("score_0", "missing", "score_0 and score_1 are both needed")
    judgment = JudgmentDraft(_side(scores[1] - scores[0]), metadata={"strength": abs(scores[0])})
    used = {"question", *(f"{name}_{i}" for name in ("answer", "score", "quotes", "tokens") for i in (0, 1))}
    draft = _pair(
        row,
        prompt,
        (_webgpt_answer(values, 0, options), _webgpt_answer(values, 1, options)),
        [judgment],
        used,
        prompt_id=name_of(question, "id"),
    )
    draft.metadata.update(leftovers(question, {"full_text", "id"}))
    return draft


def _webgpt_answer(values: Values, i: int, options: ImportOptions) -> CompletionDraft:
    text = text_of(values, f"answer_{i}")
    metadata: dict[str, Any] = {"quotes": values[f"quotes_{i}"]} if values.get(f"quotes_{i}") else {}
    if options.strip_citations:
        text, metadata["citations_stripped"] = without_citations(text)
    return CompletionDraft(text, metadata=metadata)


def without_citations(text: str) -> tuple[str, int]:
    """(text without citation marks such as [1] and [1, 2], number of marks)."""
    return _CITATION.subn("", text)


def _llmbar(row: Row, options: ImportOptions) -> Draft:
    """LLMBar: label 1 or 2 is the better output."""
    values = row.values
    label = whole_number_of(values, "label", {1, 2})
    return _pair(
        row,
        prompt_of(values.get("input"), "input"),
        (CompletionDraft(text_of(values, "output_1")), CompletionDraft(text_of(values, "output_2"))),
        [JudgmentDraft("a" if label == 1 else "b")],
        {"input", "output_1", "output_2", "label"},
    )


def _has_annotators(columns: Columns, first: Values) -> bool:
    answers = {"response1", "response2"} <= columns
    return answers and "instruction" in columns and any(_ANNOTATOR.fullmatch(name) for name in columns)


BOOLEAN_ANSWER = "an answer that is the JSON value true or false is kept as that word"


def _pandalm(row: Row, options: ImportOptions) -> Draft:
    """PandaLM: annotatorN is 0 for a tie, 1 or 2 for the better response, null for no vote.

    Some tool turned answers "true" and "false" into JSON booleans: such a value becomes the word again, with
    a note. An empty answer is an answer.
    """
    values = row.values
    annotators = sorted(name for name in values if _ANNOTATOR.fullmatch(name))
    judgments = [
        JudgmentDraft(("tie", "a", "b")[vote], name)
        for name in annotators
        if (vote := whole_number_of(values, name, {0, 1, 2}, or_none=True)) is not None
    ]
    first, second = (_pandalm_answer(values, f"response{i}") for i in (1, 2))
    draft = _pair(
        row,
        instruction_of(values),
        (first, second),
        judgments,
        {"instruction", "input", "response1", "response2", "idx", *annotators},
        row_id=name_of(values, "idx"),
    )
    odd = any("given_as" in completion.metadata for completion in draft.completions)
    return replace(draft, notes=(BOOLEAN_ANSWER,)) if odd else draft


def _pandalm_answer(values: Values, column: str) -> CompletionDraft:
    value = values.get(column)
    if isinstance(value, bool):
        return CompletionDraft(str(value).lower(), metadata={"given_as": value})
    return CompletionDraft(text_of(values, column))


def _ukpconvarg(row: Row, options: ImportOptions) -> Draft:
    """UKPConvArg with all votes: the more convincing argument for a stance, with reasons."""
    values = row.values
    outcomes = {"a1": "a", "a2": "b", "equal": "tie"}
    judgments = []
    for vote in list_of(values, "votes"):
        value = text_of(vote, "value") if isinstance(vote, dict) else ""
        if value not in outcomes:
            raise BadRow("votes", "unknown_vote", "a vote should be a1, a2 or equal", value)
        metadata = leftovers(vote, {"annotator", "value", "reason"})
        reason = text_of(vote, "reason") if vote.get("reason") else ""
        annotator = name_of(vote, "annotator")
        judgments.append(JudgmentDraft(outcomes[value], annotator, comment=reason, metadata=metadata))
    topic = [text_of(values, "title"), text_of(values, "stance")]
    first, second = (
        CompletionDraft(text_of(values, name), metadata={"id": name_of(values, f"{name}_id")})
        for name in ("a1", "a2")
    )
    used = {"id", "title", "stance", "a1", "a2", "a1_id", "a2_id", "votes", "topic"}
    return _pair(
        row,
        prompt_of("\n".join(topic), "title"),
        (first, second),
        judgments,
        used,
        row_id=name_of(values, "id"),
        prompt_id=name_of(values, "topic"),
    )


def _shp(row: Row, options: ImportOptions) -> Draft:
    """stanfordnlp/SHP: labels is 1 if A got more upvotes, 0 if B did. A post has many rows."""
    values = row.values
    label = whole_number_of(values, "labels", {0, 1})
    return _pair(
        row,
        prompt_of(values.get("history"), "history"),
        (
            CompletionDraft(text_of(values, "human_ref_A"), metadata={"id": values.get("c_root_id_A")}),
            CompletionDraft(text_of(values, "human_ref_B"), metadata={"id": values.get("c_root_id_B")}),
        ),
        [JudgmentDraft("a" if label == 1 else "b")],
        {"history", "human_ref_A", "human_ref_B", "labels", "post_id", "c_root_id_A", "c_root_id_B"},
        prompt_id=name_of(values, "post_id"),
    )


def _summaries(row: Row, options: ImportOptions) -> Draft:
    """openai/summarize_from_feedback, comparisons: one worker's choice of two summaries a row. The prompt is
    the post or article; the rest of `info` is its metadata."""
    values = row.values
    info = values["info"] if isinstance(values.get("info"), dict) else {}
    prompt_column = "post" if info.get("post") is not None else "article"
    summaries = list_of(values, "summaries")
    if len(summaries) != 2 or not all(isinstance(summary, dict) for summary in summaries):
        raise BadRow("summaries", "not_two", "summaries should hold two objects with a text", summaries)
    first, second = (
        CompletionDraft(text_of(s, "text"), name_of(s, "policy"), leftovers(s, {"text", "policy"}))
        for s in summaries
    )
    metadata = leftovers(values, {"info", "summaries", "choice", "worker"})
    choice = whole_number_of(values, "choice", {0, 1})
    judgment = JudgmentDraft("ab"[choice], name_of(values, "worker"), metadata=metadata)
    draft = _pair(
        row,
        prompt_of(info.get(prompt_column), f"info.{prompt_column}"),
        (first, second),
        [judgment],
        set(values),
        prompt_id=name_of(info, "id"),
    )
    draft.metadata.update(leftovers(info, {prompt_column, "id"}))
    return draft


def _helpsteer2(row: Row, options: ImportOptions) -> Draft:
    """nvidia/HelpSteer2, preference: strengths from -3 (response_1 much better) to 3."""
    return _strengths(
        row,
        "prompt",
        ("response_1", "response_2"),
        ("preference_strength", "all_preferences_unprocessed", "strength"),
    )


def _helpsteer3(row: Row, options: ImportOptions) -> Draft:
    """nvidia/HelpSteer3, preference: strengths from -3 (response1 much better) to 3, 0 is a tie."""
    return _strengths(
        row,
        "context",
        ("response1", "response2"),
        ("overall_preference", "individual_preference", "score"),
    )


def _strengths(
    row: Row, prompt_column: str, responses: tuple[str, str], columns: tuple[str, str, str]
) -> Draft:
    """A strength for the pair, or one for each annotator: these are then the Judgments, and the strength of
    the pair is metadata. Annotators are numbered within their row."""
    values = row.values
    overall, individual, strength_column = columns
    votes = values.get(individual) or []
    if not isinstance(votes, list) or not all(isinstance(vote, dict) for vote in votes):
        raise BadRow(individual, "not_a_list", f"{individual} should be a list of objects", votes)
    judgments = [
        _strength(vote, strength_column, f"annotator {n}", leftovers(vote, {strength_column}))
        for n, vote in enumerate(votes, 1)
    ]
    if not judgments:
        judgments = [_strength(values, overall, "", {})]
    used = {prompt_column, *responses, *([individual] if votes else [overall])}
    first, second = (CompletionDraft(text_of(values, name)) for name in responses)
    return _pair(row, prompt_of(values.get(prompt_column), prompt_column), (first, second), judgments, used)


def _strength(values: Values, column: str, annotator: str, metadata: Values) -> JudgmentDraft:
    strength = whole_number_of(values, column, set(range(-3, 4)))
    return JudgmentDraft(_side(strength), annotator, abs(strength), metadata=metadata)


def _judgebench(row: Row, options: ImportOptions) -> Draft:
    """JudgeBench: label is A>B, B>A or A=B."""
    values = row.values
    outcomes = {"A>B": "a", "B>A": "b", "A=B": "tie"}
    label = text_of(values, "label")
    if label not in outcomes:
        raise BadRow("label", "unknown_label", "label should be A>B, B>A or A=B", label)
    source = name_of(values, "response_model")
    return _pair(
        row,
        prompt_of(values.get("question"), "question"),
        (
            CompletionDraft(text_of(values, "response_A"), source),
            CompletionDraft(text_of(values, "response_B"), source),
        ),
        [JudgmentDraft(outcomes[label])],
        {"question", "response_A", "response_B", "label", "response_model", "pair_id"},
        row_id=name_of(values, "pair_id"),
    )


SHAPES = (
    Shape(
        "webgpt",
        "openai/webgpt_comparisons: question, answer_0, answer_1, score_0, score_1",
        needs=("question", "answer_0", "answer_1", "score_0", "score_1"),
        drafts=per_row(_webgpt),
        texts=("question", "answer_0", "answer_1"),
    ),
    Shape(
        "llmbar",
        "LLMBar: input, output_1, output_2, label",
        needs=("input", "output_1", "output_2", "label"),
        drafts=per_row(_llmbar),
        texts=("input", "output_1", "output_2"),
    ),
    Shape(
        "pandalm",
        "PandaLM: instruction, input, response1, response2, annotator1, annotator2, …",
        fits=_has_annotators,
        drafts=per_row(_pandalm),
        texts=("instruction", "input", "response1", "response2"),
    ),
    Shape(
        "ukpconvarg",
        "UKPConvArg: title, stance, a1, a2, votes[]",
        needs=("title", "stance", "a1", "a2", "votes"),
        drafts=per_row(_ukpconvarg),
        texts=("title", "stance", "a1", "a2"),
    ),
    Shape(
        "shp",
        "stanfordnlp/SHP: history, human_ref_A, human_ref_B, labels",
        needs=("history", "human_ref_A", "human_ref_B", "labels"),
        drafts=per_row(_shp),
        texts=("history", "human_ref_A", "human_ref_B"),
    ),
    Shape(
        "summaries",
        "openai/summarize_from_feedback: info, summaries[], choice, worker",
        needs=("info", "summaries", "choice"),
        drafts=per_row(_summaries),
    ),
    Shape(
        "helpsteer2-preference",
        "nvidia/HelpSteer2 preference: prompt, response_1, response_2, preference_strength",
        needs=("prompt", "response_1", "response_2", "preference_strength"),
        drafts=per_row(_helpsteer2),
        texts=("prompt", "response_1", "response_2"),
    ),
    Shape(
        "helpsteer3",
        "nvidia/HelpSteer3 preference: context, response1, response2, overall_preference",
        needs=("context", "response1", "response2", "overall_preference"),
        drafts=per_row(_helpsteer3),
        texts=("context", "response1", "response2"),
    ),
    Shape(
        "judgebench",
        "JudgeBench: question, response_A, response_B, label",
        needs=("question", "response_A", "response_B", "label"),
        drafts=per_row(_judgebench),
        texts=("question", "response_A", "response_B"),
    ),
)
