"""What a Dataset and its Comparisons require of people, and who has it.

A Dataset may require a language and a skill of everybody; that is looked up at each request. A Comparison may
require what its row says: the language of its prompt, or values of its metadata. That is stored with the
Comparison (`needs`, which names a Requirement), so that the queue finds it by an index.

A Requirement holds as long as the Dataset has the rule that it follows from. After a change of the rule,
nobody gets these Comparisons until a worker has written new ones. Votes stay, and so do Claims that people
hold.

Pages for annotators count by what is required of people, and never by what people answered."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.db import transaction
from django.db.models import Count, Q

from workbench.db.bulk import in_chunks
from workbench.models import Comparison, Dataset, Member, Requirement
from workbench.models.annotation import ComparisonQuerySet
from workbench.models.dataset import text_digest
from workbench.pipeline.annotate import statements
from workbench.pipeline.text.language_names import LONGEST, code_of, names_of

ROWS_AT_ONCE = 1000  # Comparisons that are locked against annotators meanwhile
MOST_KINDS = 200
"""Different Requirements of a Dataset; a request reads all of them."""
MOST_WORDS = 10
WAITING_KEPT_SECONDS = 10

Words = tuple[tuple[str, ...], tuple[str, ...]]
"""Codes of languages and skills, each sorted."""


# --- words --------------------------------------------------------------------------------------------------


def skill_of(word: str) -> str:
    return " ".join(word.split()).casefold()[:LONGEST]


def in_words(languages: Collection[str], skills: Collection[str]) -> str:
    """What somebody has who meets this: "reads Polish and has the skill “law”"."""
    parts = []
    if languages:
        parts.append(f"reads {_listed(names_of(languages))}")
    if skills:
        quoted = [f"“{skill}”" for skill in sorted(skills)]
        parts.append(f"has the skill{'s' * (len(quoted) > 1)} {_listed(quoted)}")
    return " and ".join(parts)


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# --- who has it ---------------------------------------------------------------------------------------------


def met_by(dataset: Dataset, user: int | None) -> tuple[int, ...] | None:
    """The Requirements that this member meets, by primary key; None where they get every Comparison. Empty
    for who lacks what the Dataset requires of everybody."""
    if not _requires_something(dataset):
        return None
    languages, skills = _facts_of(dataset, user)
    wanted_languages, wanted_skills = _of_everybody(dataset)
    if not (wanted_languages <= languages and wanted_skills <= skills):
        return ()
    if not dataset.requires_by_pair:
        return None
    return tuple(
        row.pk
        for row in _kinds(dataset)
        if languages.issuperset(row.languages) and skills.issuperset(row.skills)
    )


def _requires_something(dataset: Dataset) -> bool:
    return bool(dataset.required_language or dataset.required_skill or dataset.requires_by_pair)


def _facts_of(dataset: Dataset, user: int | None) -> tuple[set[str], set[str]]:
    member = statements.member_in.first(dataset.pk, user) if user else None
    return (set(member.reads), set(member.skills)) if member else (set(), set())


def _of_everybody(dataset: Dataset) -> tuple[set[str], set[str]]:
    return {dataset.required_language} - {""}, {dataset.required_skill} - {""}


# --- what a Comparison requires -----------------------------------------------------------------------------


def require(dataset: Dataset, comparisons: ComparisonQuerySet) -> None:
    """Write what these Comparisons of the Dataset require, in the caller's transaction or in short ones. Does
    nothing where the Dataset requires nothing by pair."""
    if not dataset.requires_by_pair:
        return
    for pks in in_chunks(list(comparisons.order_by("pk").values_list("pk", flat=True)), ROWS_AT_ONCE):
        with transaction.atomic():
            _write(dataset, pks)


def renew(dataset: Dataset) -> None:
    """Write what those Comparisons require that have no Requirement, or one that is gone."""
    if dataset.requires_by_pair:
        known = Requirement.objects.filter(dataset=dataset, rule=dataset.rule_by_pair).values("pk")
        require(dataset, dataset.comparisons.filter(Q(needs=None) | ~Q(needs__in=known)))
        _forget_old_rules(dataset)


@transaction.atomic
def _forget_old_rules(dataset: Dataset) -> None:
    current = Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
    Requirement.objects.filter(dataset=dataset).exclude(rule=current.rule_by_pair).delete()


def _write(dataset: Dataset, pks: Sequence[int]) -> None:
    rows = Comparison.objects.filter(pk__in=pks).order_by("pk")
    # Locked in one order, as in queue.renew; then the Dataset, as when a ranking is handed out.
    list(rows.select_for_update(of=("self",), no_key=True).only("pk"))
    # Read under its lock, so that all Comparisons of this step follow from one rule.
    dataset = Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
    by_words: defaultdict[Words, list[int]] = defaultdict(list)
    for pk, *facts in rows.values_list("pk", "prompt__language", "prompt__metadata", "metadata"):
        by_words[_required(dataset, *facts)].append(pk)
    ids = _ids(dataset, by_words)
    for words, with_these in by_words.items():
        changed = Comparison.objects.filter(pk__in=with_these)
        changed.exclude(needs=ids.get(words)).update(needs=ids.get(words))


def _required(
    dataset: Dataset, language: str, of_prompt: Mapping[str, Any], of_pair: Mapping[str, Any]
) -> Words:
    """What a row requires. The row's own value goes before the language that was detected."""

    def values(key: str) -> list[str]:
        value = of_prompt.get(key, of_pair.get(key)) if key else None
        words = value if isinstance(value, list) else [value]
        return [str(word) for word in words[:MOST_WORDS] if isinstance(word, str | int | float)]

    languages = {code_of(word) for word in values(dataset.language_key)} - {""}
    if not languages and dataset.requires_prompt_language:
        languages = {code_of(language)} - {""}
    skills = {skill_of(word) for word in values(dataset.skill_key)} - {""}
    return tuple(sorted(languages)), tuple(sorted(skills))


def _ids(dataset: Dataset, kinds: Iterable[Words]) -> dict[Words, int]:
    """The Requirement of each kind; of a kind beyond MOST_KINDS, none."""
    rule = dataset.rule_by_pair
    keys = {text_digest(json.dumps([rule, words])): words for words in kinds}
    stored = dict(Requirement.objects.filter(dataset=dataset, rule=rule).values_list("key", "pk"))
    new = [key for key in keys if key not in stored][: max(0, MOST_KINDS - len(stored))]
    created = Requirement.objects.bulk_create(
        Requirement(
            dataset=dataset, rule=rule, key=key, languages=list(keys[key][0]), skills=list(keys[key][1])
        )
        for key in new
    )
    stored |= {row.key: row.pk for row in created}
    return {words: stored[key] for key, words in keys.items() if key in stored}


# --- what waits ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Waiting:
    """Pairs that wait for people who have this; `able`: how many members have."""

    pairs: int
    languages: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    able: int = 0

    @property
    def words(self) -> str:
        return in_words(self.languages, self.skills)


def lacking(dataset: Dataset, user: int | None) -> list[Waiting]:
    """What this member lacks to get more pairs, most pairs first. pairs: that wait for somebody who has it,
    as far as the first round of votes; what the Dataset requires of everybody comes alone, with all pairs."""
    if not _requires_something(dataset):
        return []
    languages, skills = _facts_of(dataset, user)
    everybody = _of_everybody(dataset)
    waiting = _waiting(dataset)
    if lacks := _without(everybody, languages, skills):
        return [Waiting(sum(waiting.values()), *lacks)]
    counts: defaultdict[Words, int] = defaultdict(int)
    for row in _kinds(dataset):
        lacks = _without((set(row.languages), set(row.skills)), languages, skills)
        if lacks and row.pk in waiting:
            counts[lacks] += waiting[row.pk]
    rows = [Waiting(n, *lacks) for lacks, n in counts.items()]
    return sorted(rows, key=lambda row: (-row.pairs, row.words))


def _kinds(dataset: Dataset) -> list[Requirement]:
    """The Requirements that hold."""
    rows = statements.requirements_of(dataset.pk) if dataset.requires_by_pair else []
    return [row for row in rows if row.rule == dataset.rule_by_pair]


def _without(wanted: tuple[set[str], set[str]], languages: set[str], skills: set[str]) -> Words | None:
    """What of this somebody with these languages and skills lacks."""
    lacks = tuple(sorted(wanted[0] - languages)), tuple(sorted(wanted[1] - skills))
    return lacks if any(lacks) else None


def short_of_people(dataset: Dataset) -> list[Waiting]:
    """What fewer members have than have to vote on each pair that requires it, most pairs first."""
    if not _requires_something(dataset):
        return []
    members = Member.objects.filter(dataset=dataset, user__is_active=True).select_related("user")
    people = [(set(member.reads), set(member.skills)) for member in members]
    waiting = _waiting(dataset)
    everybody = _of_everybody(dataset)
    kinds: dict[Words, int] = defaultdict(int)
    for row in _kinds(dataset):
        languages, skills = everybody[0].union(row.languages), everybody[1].union(row.skills)
        kinds[tuple(sorted(languages)), tuple(sorted(skills))] += waiting.get(row.pk, 0)
    if not dataset.requires_by_pair:
        kinds[tuple(everybody[0]), tuple(everybody[1])] = sum(waiting.values())
    rows = [
        Waiting(n, *words, sum(has[0].issuperset(words[0]) and has[1].issuperset(words[1]) for has in people))
        for words, n in kinds.items()
        if n and any(words)
    ]
    return sorted(
        (row for row in rows if row.able < dataset.overlap), key=lambda row: (row.able, -row.pairs, row.words)
    )


def untold(dataset: Dataset) -> str:
    """A sentence on the pairs that nobody gets, as it is not told yet what they require; "" for none."""
    known = {row.pk for row in _kinds(dataset)}
    waiting = _waiting(dataset) if dataset.requires_by_pair else {}
    pairs = sum(n for needs, n in waiting.items() if needs not in known)
    if not pairs:
        return ""
    wait = f"{pairs:,} pair{'s wait' if pairs > 1 else ' waits'}"
    if len(known) >= MOST_KINDS:
        return f"{wait} for nobody: a dataset takes at most {MOST_KINDS} different requirements."
    return f"{wait} until a worker has read what is required."


def _waiting(dataset: Dataset) -> dict[int | None, int]:
    """How many pairs have free places of the first round, by Requirement. A count of some seconds ago will
    do, as pages ask again and again."""

    def counted() -> dict[int | None, int]:
        free = Q(claimed__lt=dataset.initial_overlap, required=None)
        rows = dataset.comparisons.filter(free).unsettled_by_reviewer().order_by()
        return dict(rows.values_list("needs").annotate(n=Count("pk")))

    kinds = (dataset.pk, dataset.initial_overlap, dataset.requires_by_pair)
    found = cache.get_or_set(f"waiting:{':'.join(map(str, kinds))}", counted, WAITING_KEPT_SECONDS)
    return found or {}
