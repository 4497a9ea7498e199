"""Gold: Comparisons with a known answer, by which annotators are measured."""

from collections.abc import Sequence

from django.db import transaction

from workbench.models import Comparison, Dataset, Outcome, PromptChange, User
from workbench.models.dataset import OUT_OF_QUEUE
from workbench.pipeline.history.recording import Kind, record

KNOWN_ANSWERS = (Outcome.A, Outcome.B, Outcome.TIE, Outcome.BOTH_BAD)


def mark_gold(comparison: Comparison, outcome: str, by: User | None = None, note: str = "") -> None:
    """Make the outcome ("a", "b", "tie" or "both_bad") the known answer of the Comparison, and the note its
    explanation; "" makes it ordinary again. Its votes stay, and it collects no more votes while it is gold.
    Answers given to it as gold stay gold. ValueError for another outcome."""
    if outcome and outcome not in KNOWN_ANSWERS:
        raise ValueError(f"{outcome!r} cannot be a known answer. Use a, b, tie or both_bad.")
    none_wanted = outcome or comparison.prompt.excluded_from in OUT_OF_QUEUE
    with transaction.atomic():
        row = Comparison.objects.filter(pk=comparison.pk)
        row.update(
            gold_outcome=outcome, gold_note=note if outcome else "", required=0 if none_wanted else None
        )
        PromptChange.objects.note(comparison.dataset_id, [comparison.prompt_id])
        kind = Kind.GOLD if outcome else Kind.GOLD_ENDED
        record(kind, by=by, dataset=comparison.dataset_id, target=comparison)


def mark_many_gold(dataset: Dataset, rows: Sequence[tuple[int, str, str]], write: bool = True) -> int:
    """Mark Comparisons as gold from rows of (line, primary key or external id, outcome). Returns the number
    of rows.

    All or nothing: ValueError names each line that is wrong, and nothing is written."""
    matches = {name: _named(dataset, name) for name in {name for _, name, _ in rows}}
    problems, marked = [], set()
    for line, name, outcome in rows:
        if len(matches[name]) != 1:
            problems.append(f"line {line}: {len(matches[name]) or 'no'} pairs here have the id {name[:80]!r}")
        elif matches[name][0].pk in marked:
            problems.append(f"line {line}: {name[:80]!r} is listed twice")
        elif outcome and outcome not in KNOWN_ANSWERS:
            problems.append(
                f"line {line}: {outcome[:80]!r} cannot be a known answer; use a, b, tie or both_bad"
            )
        else:
            marked.add(matches[name][0].pk)
    if problems:
        raise ValueError("\n".join(problems))
    with transaction.atomic():
        for _, name, outcome in rows if write else ():
            mark_gold(matches[name][0], outcome)
    return len(marked)


def _named(dataset: Dataset, name: str) -> list[Comparison]:
    """The Comparisons with this external id, two at most; else the Comparison with this primary key."""
    by_id = list(dataset.comparisons.filter(external_id=name)[:2]) if name else []
    is_key = name.isascii() and name.isdigit() and len(name) < 19
    return by_id or (list(dataset.comparisons.filter(pk=int(name))) if is_key else [])
