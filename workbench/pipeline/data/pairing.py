"""Pair anew: the pairs of some Prompts that nobody has begun are replaced by those of another policy.

Pairs with a vote, a Claim, a Flag, a final label or a known answer stay. Undo brings the former pairs back
under their old primary keys, so that whatever names them finds them."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import NamedTuple

import orjson
from django.db import connection
from django.utils import timezone

from scoring.rows.drafts import policy_pairs
from workbench.db import bulk
from workbench.models import (
    Act,
    Comparison,
    Completion,
    ModelVersion,
    Score,
    Strategy,
)
from workbench.pipeline.annotate import requirements
from workbench.pipeline.data import excluding, more_pairs
from workbench.pipeline.data.change import Before, Cannot, Change, Chunk, Found
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.scoring import suggestions

POLICIES = {
    "all": "every two answers",
    "lot": "drawn by lot",
    "uncertain": "where the model is least sure",
    "adjacent": "neighbours by the model’s score",
    "best-worst": "the best against the worst by the model’s score",
}
BY_SCORE = ("uncertain", "adjacent", "best-worst")
MOST_OF_A_PROMPT = 64

_STRATEGIES = {"uncertain": Strategy.UNCERTAIN, "adjacent": Strategy.CHOSEN, "best-worst": Strategy.CHOSEN}
"""Pairs that a Score chose stand for no others: their votes count in no figure of the whole Dataset."""

_KEPT = ("a_id", "b_id", "external_id", "metadata", "random_rank", "audited", "priority", "strategy")
_COLUMNS = ("id", "dataset_id", "prompt_id", *_KEPT, "required", "created_at")


class Answer(NamedTuple):
    """A Completion of a Prompt; `score` of the version that serves, None for none."""

    pk: int
    sha256: str
    score: float | None


@dataclass(frozen=True)
class Pairing:
    """What the policy makes of one Prompt: pairs (a, b) to make, and primary keys of pairs to take away."""

    new: list[tuple[int, int]]
    gone: list[int]


@dataclass
class PairAnew(Change):
    """Replace what nobody has begun. made, removed: numbers of pairs, known after the act."""

    kind = Act.Kind.PAIRED
    button = "Pair {} anew"
    counts_pairs = False
    is_shown_first = True
    policy: str
    per_prompt: int
    made: int = 0
    removed: int = 0

    @property
    def in_words(self) -> str:
        made = f"{self.made:,} new pair{'s' * (self.made != 1)}"
        return f", {POLICIES[self.policy]}: {made}, {self.removed:,} removed"

    @property
    def promise(self) -> str:
        return f"Pairs: {POLICIES[self.policy]}, at most {self.per_prompt} per prompt."

    def examine(self, chunk: Chunk) -> Found:
        found = Found()
        found.plan = self._pairings(chunk, found.cannot)
        for prompt, pairing in found.plan.items():
            found.before[prompt] = {}
            found.pairs += len(pairing.new)
            found.removed += len(pairing.gone)
        return found

    def write(self, chunk: Chunk, found: Found) -> None:
        pairings: dict[int, Pairing] = found.plan
        gone = [pk for pairing in pairings.values() for pk in pairing.gone]
        for prompt, taken in _taken_away(gone, chunk).items():
            found.before[prompt]["gone"] = taken
        ids = bulk.NewIds(Comparison)
        rows: list[bulk.RowValues] = []
        now = str(connection.ops.adapt_datetimefield_value(timezone.now()))
        for prompt, pairing in pairings.items():
            new = found.before[prompt]["new"] = [ids.take() for _ in pairing.new]
            rows += [
                (pk, chunk.dataset.pk, prompt, a, b, now) for pk, (a, b) in zip(new, pairing.new, strict=True)
            ]
        strategy = _STRATEGIES.get(self.policy, Strategy.RANDOM).value
        columns = ("id", "dataset_id", "prompt_id", "a_id", "b_id", "created_at")
        bulk.insert(Comparison, columns, rows, {"strategy": strategy, "metadata": "{}"})
        _join_queue(chunk, [pk for prompt in pairings for pk in found.before[prompt]["new"]])
        self.made += len(rows)
        self.removed += len(gone)

    def give_back(self, chunk: Chunk, before: Before) -> Cannot:
        new = {pk for was in before.values() for pk in was["new"]}
        # Whoever hands out a pair locks it first: once all are locked, none is begun meanwhile.
        list(Comparison.objects.filter(pk__in=bulk.given(new)).select_for_update().order_by("pk").only("pk"))
        begun = more_pairs.begun(new)
        more_pairs.delete_free(new - begun)
        _bring_back(chunk, before)
        return Counter({("pair", "begun by somebody"): len(begun)})

    def _pairings(self, chunk: Chunk, cannot: Cannot) -> dict[int, Pairing]:
        """What changes, by Prompt; adds to `cannot` what does not."""
        answers = _answers(chunk, self.policy in BY_SCORE)
        there: defaultdict[int, dict[frozenset[int], int]] = defaultdict(dict)
        rows = Comparison.objects.filter(prompt__in=chunk.prompts).order_by("pk")
        if chunk.lock:
            rows = rows.select_for_update(of=("self",))
        for pk, prompt, a, b in rows.values_list("pk", "prompt_id", "a_id", "b_id"):
            there[prompt][frozenset((a, b))] = pk
        begun = more_pairs.begun([pk for pairs in there.values() for pk in pairs.values()])
        changes = {}
        for prompt in chunk.prompts:
            if len(answers[prompt]) < 2:
                scored = "scored " if self.policy in BY_SCORE else ""
                cannot["prompt", f"without two {scored}answers"] += 1
                continue
            wanted = {frozenset(pair): pair for pair in self._pairs_of(answers[prompt])}
            unwanted = {pair: pk for pair, pk in there[prompt].items() if pair not in wanted}
            gone = [pk for pk in unwanted.values() if pk not in begun]
            new = [pair for key, pair in wanted.items() if key not in there[prompt]]
            cannot["pair", "begun by somebody"] += len(unwanted) - len(gone)
            if new or gone:
                changes[prompt] = Pairing(new, gone)
            else:
                cannot["prompt", "with nothing to replace"] += 1
        return changes

    def _pairs_of(self, answers: Sequence[Answer]) -> list[tuple[int, int]]:
        """(a, b) of the policy, each in canonical order. answers: in the order of their primary keys."""
        by_digest = sorted(answers, key=lambda answer: answer.sha256)
        if self.policy == "lot":
            pairs = list(combinations(by_digest, 2))[: self.per_prompt]
        elif self.policy == "uncertain":
            margins = {
                pair: abs((pair[0].score or 0) - (pair[1].score or 0)) for pair in combinations(by_digest, 2)
            }
            pairs = sorted(margins, key=lambda pair: margins[pair])[: self.per_prompt]
        else:
            ranked = answers
            if self.policy in BY_SCORE:
                ranked = sorted(answers, key=lambda answer: -(answer.score or 0))
            places, _ = policy_pairs(range(len(ranked)), self.policy, self.per_prompt)
            pairs = [(ranked[i], ranked[j]) for i, j in places]
        return [(one.pk, two.pk) if one.sha256 < two.sha256 else (two.pk, one.pk) for one, two in pairs]


def _answers(chunk: Chunk, by_score: bool) -> defaultdict[int, list[Answer]]:
    """The Completions of each Prompt that have a text, in the order of their primary keys; by_score: only
    those that the version which serves has scored."""
    scores: dict[int, float] = {}
    if by_score:
        version = ModelVersion.objects.serving(chunk.dataset)
        if version is None:
            raise Refused("No model serves this dataset. Choose pairs that need no score.")
        of_chunk = Score.objects.filter(version=version, completion__prompt__in=chunk.prompts)
        scores = dict(of_chunk.values_list("completion", "value"))
    answers: defaultdict[int, list[Answer]] = defaultdict(list)
    rows = Completion.objects.filter(prompt__in=chunk.prompts, characters__gt=0).order_by("pk")
    for prompt, pk, sha256 in rows.values_list("prompt_id", "pk", "sha256"):
        if not by_score or pk in scores:
            answers[prompt].append(Answer(pk, sha256, scores.get(pk)))
    return answers


def _taken_away(pks: Collection[int], chunk: Chunk) -> dict[int, list[list[object]]]:
    """Delete these pairs, which nobody has begun. Gives by Prompt what brings them back: primary key, values
    of _KEPT, the places that they have in the queue, and when they were made."""
    rows: defaultdict[int, list[list[object]]] = defaultdict(list)
    fields = ("prompt_id", "pk", *_KEPT, "required", "required_if_restored", "created_at")
    out, gone = chunk.out_of_queue, Comparison.objects.filter(pk__in=bulk.given(pks))
    for prompt, pk, *kept, required, restored, at in gone.values_list(*fields):
        rows[prompt].append([pk, *kept, restored if prompt in out else required, at.isoformat()])
    more_pairs.delete_free(pks)
    return rows


def _bring_back(chunk: Chunk, before: Before) -> None:
    """Insert what was taken away, but for pairs that somebody has made again, and for pairs of answers that
    are gone."""
    there = Comparison.objects.filter(prompt__in=before).values_list("a_id", "b_id")
    made_again = {frozenset(pair) for pair in there}
    answers = set(Completion.objects.filter(prompt__in=before).values_list("pk", flat=True))
    rows: list[bulk.RowValues] = []
    back = []
    for prompt, was in before.items():
        for pk, a, b, external_id, metadata, *kept, required, at in was.get("gone", ()):
            if {a, b} <= answers and frozenset((a, b)) not in made_again:
                back.append(pk)
                created_at = str(connection.ops.adapt_datetimefield_value(datetime.fromisoformat(at)))
                metadata_json = orjson.dumps(metadata).decode()
                place = (pk, chunk.dataset.pk, prompt, a, b, external_id, metadata_json)
                rows.append((*place, *kept, required, created_at))
    bulk.insert(Comparison, _COLUMNS, rows)
    _join_queue(chunk, back)


def _join_queue(chunk: Chunk, pks: Collection[int]) -> None:
    """Give new pairs their Suggestions and their order in the queue, which those of excluded Prompts stay out
    of."""
    if out := chunk.out_of_queue:
        excluding.leave_queue(out)
    requirements.require(chunk.dataset, Comparison.objects.filter(pk__in=bulk.given(pks)))
    suggestions.suggest_new(chunk.dataset, pks)
