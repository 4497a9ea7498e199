"""Several completions a prompt, ranked, rated or neither; the pairs policy makes the Comparisons."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from statistics import mean
from typing import Any

from scoring.formats import Message
from scoring.rows.drafts import (
    ComparisonDraft,
    CompletionDraft,
    Draft,
    ImportOptions,
    as_text,
    leftovers,
    list_of,
    name_of,
    number_of,
    prompt_of,
    ranked_comparisons,
    sided_comparisons,
    text_of,
)
from scoring.rows.rows import BadRow, Problem, Row, Values, kind_of
from scoring.rows.shapes.pairs import PROMPTS, completion_of, prompt_in, transcript_of
from scoring.rows.shapes.shape import Columns, Shape, in_context, per_row, together

_ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
_RANKS = ("rank", "ranks")
_SCORES = ("score", "scores", "rating", "ratings", "reward", "rewards")
_HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def _completion(
    entry: Any, column: str, text: Sequence[str] = ("text",), source: Sequence[str] = ("model",)
) -> CompletionDraft:
    """A completion given as text, as messages, or as an object with messages under "messages" or a text
    under one of the names in `text`."""
    if isinstance(entry, str):
        return CompletionDraft(entry)
    if isinstance(entry, list) and entry:
        return completion_of(entry, column)
    if not isinstance(entry, dict):
        raise BadRow(column, "not_text", f"{column} should be text or an object, not {kind_of(entry)}", entry)
    text_name = next((name for name in text if name in entry), text[0])
    source_name = next((name for name in source if name in entry), source[0])
    if messages := _messages_in(entry, source):
        metadata = leftovers(entry, {*messages, source_name})
        answer = completion_of(entry["messages"] if "messages" in messages else messages, column)
        return replace(answer, source=name_of(entry, source_name), metadata=metadata)
    try:
        metadata = leftovers(entry, {text_name, source_name})
        return CompletionDraft(text_of(entry, text_name), name_of(entry, source_name), metadata)
    except BadRow as bad:
        raise BadRow(f"{column}.{bad.field}", bad.code, f"in {column}: {bad.message}", bad.value) from None


def _messages_in(entry: Values, source: Sequence[str]) -> Values:
    """The messages of a completion given as an object, or its one message; {} for a text."""
    if isinstance(entry.get("messages"), list):
        return {"messages": entry["messages"]}
    if "role" not in entry or "content" not in entry:
        return {}
    return leftovers(entry, {"id", *source, *_RANKS, *_SCORES})


def _ratings(entries: Sequence[Any], names: Sequence[str]) -> list[float | None]:
    """The number of each entry under the first of `names` that it has; None without one."""
    ratings = []
    for entry in entries:
        name = next((name for name in names if isinstance(entry, dict) and name in entry), None)
        ratings.append(number_of(entry, name) if name else None)
    return ratings


def _completions(row: Row, options: ImportOptions) -> Draft:
    """Completions as texts, or as objects with text, source, and rank (1 is best) or score (higher is
    better). The ranks or scores may also be a list in another column."""
    values = row.values
    prompt, used = prompt_in(values)
    answers = list_of(values, "completions")
    if not answers:
        raise BadRow("completions", "empty", "completions is empty; there is nothing to compare")
    text, source = ("text", "completion", "response", "content"), ("source", "model")
    completions = [_completion(entry, f"completions[{i}]", text, source) for i, entry in enumerate(answers)]
    number_column = next((name for name in (*_RANKS, *_SCORES) if isinstance(values.get(name), list)), "")
    entries = answers
    if number_column:
        entries = [{number_column: value} for value in values[number_column]]
        if len(entries) != len(answers):
            message = f"{number_column} has {len(entries)} entries, completions has {len(answers)}"
            raise BadRow(number_column, "unequal_lists", message, values[number_column])
    ranks = _ratings(entries, _RANKS)
    if any(rank is not None for rank in ranks):
        comparisons = ranked_comparisons(ranks, options, lower_is_better=True)
    else:
        comparisons = ranked_comparisons(_ratings(entries, _SCORES), options)
    return _draft(row, prompt, completions, comparisons, {"id", "completions", number_column} | used)


def _draft(
    row: Row,
    prompt: list[Message],
    completions: Iterable[CompletionDraft],
    comparisons: tuple[ComparisonDraft, ...],
    used: set[str],
) -> Draft:
    row_id = name_of(row.values, "id")
    return Draft(
        row.line,
        prompt,
        tuple(completions),
        comparisons,
        row_id=row_id,
        external_id=row_id,
        metadata=leftovers(row.values, used),
    )


def _ultrafeedback(row: Row, options: ImportOptions) -> Draft:
    """openbmb/UltraFeedback: rating = mean of the aspect ratings. overall_score is metadata only: in the
    published set, some of a critique's 1s became 10."""
    values = row.values
    answers = list_of(values, "completions")
    completions = [_completion(e, f"completions[{i}]", ("response",)) for i, e in enumerate(answers)]
    ratings = [
        _mean_of_aspects(entry.get("annotations")) if isinstance(entry, dict) else None for entry in answers
    ]
    used = {"id", "instruction", "completions", "models"}
    prompt = prompt_of(values.get("instruction"), "instruction")
    return _draft(row, prompt, completions, ranked_comparisons(ratings, options), used)


def _mean_of_aspects(annotations: Any) -> float | None:
    """The mean without ratings of "N/A"; None without ratings."""
    if not isinstance(annotations, dict):
        return None
    aspects = [a[0] if isinstance(a, list) and a else a for a in map(annotations.get, _ASPECTS)]
    ratings = [aspect.get("Rating") for aspect in aspects if isinstance(aspect, dict)]
    numbers = [number_of({"Rating": rating}, "Rating") for rating in ratings if rating != "N/A"]
    rated = [number for number in numbers if number is not None]
    return mean(rated) if rated else None


def _nectar(row: Row, options: ImportOptions) -> Draft:
    """berkeley-nest/Nectar: a transcript that ends where the answer begins, and answers by rank."""
    values = row.values
    messages, metadata = transcript_of(text_of(values, "prompt"), "prompt")
    answers = list_of(values, "answers")
    completions = [_completion(e, f"answers[{i}]", ("answer",)) for i, e in enumerate(answers)]
    comparisons = ranked_comparisons(_ratings(answers, ("rank",)), options, lower_is_better=True)
    draft = _draft(row, prompt_of(messages, "prompt"), completions, comparisons, {"id", "prompt", "answers"})
    draft.metadata.update(metadata)
    return draft


def _best_of(row: Row, options: ImportOptions) -> Draft:
    """RewardBench 2 and RM-Bench: each chosen answer is better than each rejected answer. Two chosen or two
    rejected answers are not compared, so the pairs policy does not apply."""
    values = row.values
    texts = {side: [as_text(t, side) for t in list_of(values, side)] for side in ("chosen", "rejected")}
    completions = [CompletionDraft(text) for side in texts.values() for text in side]
    first_rejected = len(texts["chosen"])
    sides = range(first_rejected), range(first_rejected, len(completions))
    comparisons = sided_comparisons(*sides, options)
    prompt, used = prompt_in(values)
    return _draft(row, prompt, completions, comparisons, {"id", "chosen", "rejected"} | used)


def _has_lists(columns: Columns, first: Values) -> bool:
    lists = [first.get(side) for side in ("chosen", "rejected")]
    return (
        not columns.isdisjoint(PROMPTS)
        and any(lists)
        and all(isinstance(texts, list) and all(isinstance(t, str) for t in texts) for texts in lists)
    )


def _helpsteer(rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
    """nvidia/HelpSteer2: one rated response a row; rows of one prompt follow each other. The rating is
    helpfulness; other ratings are metadata."""
    for _, group in groupby(rows, key=lambda row: (row.values.get("prompt"), row.context)):
        good: list[tuple[Row, CompletionDraft, float | None]] = []
        for row in group:
            try:
                prompt = prompt_of(row.values.get("prompt"), "prompt")
                metadata = leftovers(row.values, {"prompt", "response"})
                completion = CompletionDraft(text_of(row.values, "response"), metadata=metadata)
                good.append((row, completion, number_of(row.values, "helpfulness")))
            except BadRow as bad:
                yield bad.at(row)
        if good:
            comparisons = ranked_comparisons([rating for *_, rating in good], options)
            draft = Draft(good[0][0].line, prompt, tuple(c for _, c, _ in good), comparisons)
            yield in_context(draft, good[0][0])


def _kto(rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
    """KTO: a completion a row, labelled good or bad. Each good completion of a prompt is compared with each
    bad one. Such sets come shuffled, so rows of one prompt may be anywhere."""
    for group in together(rows, lambda row: [row.values.get(name) for name in PROMPTS]):
        good: list[tuple[Row, list[Message], CompletionDraft, bool]] = []
        for row in group:
            try:
                good.append((row, *_kto_row(row.values)))
            except BadRow as bad:
                yield bad.at(row)
        if good:
            liked = [n for n, (*_, label) in enumerate(good) if label]
            disliked = [n for n, (*_, label) in enumerate(good) if not label]
            comparisons = sided_comparisons(liked, disliked, options)
            notes = () if comparisons else (ONE_CLASS.format("good" if liked else "bad"),)
            completions = tuple(completion for _, _, completion, _ in good)
            draft = Draft(good[0][0].line, good[0][1], completions, comparisons, notes=notes)
            yield in_context(draft, good[0][0])


ONE_CLASS = (
    "nothing to compare: all answers to the prompt are labelled {}, and a pair needs a good and a bad answer "
    "to one prompt"
)


def _kto_row(values: Values) -> tuple[list[Message], CompletionDraft, bool]:
    word = str(values.get("label")).strip().lower()
    label = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}.get(word)
    if label is None:
        raise BadRow(
            "label", "unknown_label", "label should be true or false, or 1 or 0", values.get("label")
        )
    prompt, used = prompt_in(values)
    metadata = leftovers(values, {"completion", "label"} | used) | {"label": label}
    completion = replace(completion_of(values.get("completion"), "completion"), metadata=metadata)
    return prompt, completion, label


def _with_prompt(*needs: str) -> Callable[[Columns, Values], bool]:
    def fits(columns: Columns, first: Values) -> bool:
        return columns.issuperset(needs) and not columns.isdisjoint(PROMPTS)

    return fits


def _prompt_alone(row: Row, options: ImportOptions) -> Draft:
    """A prompt without completions, as in a benchmark."""
    prompt, used = prompt_in(row.values)
    return _draft(row, prompt, (), (), {"id"} | used)


SHAPES = (
    Shape(
        "prompts",
        "prompts alone, as in a benchmark",
        fits=lambda _columns, _first: False,  # a table with unknown columns would fit too
        drafts=per_row(_prompt_alone),
    ),
    Shape(
        "ultrafeedback",
        "openbmb/UltraFeedback: instruction, completions[] with response, model, annotations",
        needs=("instruction", "completions"),
        drafts=per_row(_ultrafeedback),
        texts=("instruction",),
        ranked=True,
    ),
    Shape(
        "completions",
        "prompt, completions[] with text, source and rank or score",
        needs=("completions",),
        fits=_with_prompt("completions"),
        drafts=per_row(_completions),
        texts=("prompt",),
        ranked=True,
    ),
    Shape(
        "nectar",
        "berkeley-nest/Nectar: prompt, answers[] with answer, model, rank",
        needs=("prompt", "answers"),
        drafts=per_row(_nectar),
        texts=("prompt",),
        ranked=True,
    ),
    Shape(
        "best-of",
        "RewardBench 2: prompt, chosen[], rejected[]",
        fits=_has_lists,
        drafts=per_row(_best_of),
        texts=("prompt",),
    ),
    Shape(
        "helpsteer2",
        "nvidia/HelpSteer2: prompt, response, helpfulness, correctness, coherence, complexity, verbosity",
        needs=("prompt", "response", *_HELPSTEER),
        drafts=_helpsteer,
        texts=("prompt", "response"),
        ranked=True,
    ),
    Shape(
        "kto",
        "KTO: prompt, completion, label (true or false)",
        needs=("completion", "label"),
        fits=_with_prompt("completion", "label"),
        drafts=_kto,
        texts=("prompt", "completion"),
    ),
)
