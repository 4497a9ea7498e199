"""The texts of a Dataset that are most like a given one, by the cosine of their vectors.

All rows are compared in int8, and the best RERANKED are ranked again by the exact vectors. Nothing is encoded
here: the vector of the given text is looked up, so that a web process needs no model."""

from collections.abc import Iterable, Iterator, Sequence

import numkong
import numpy as np
import numpy.typing as npt

from workbench.models import Completion, Dataset, Prompt
from workbench.pipeline.vectors import store
from workbench.pipeline.vectors.store import Rows, Vectors

RERANKED = 1_000
SCANNED_AT_ONCE = 1 << 17
"""Rows; so many products are in memory at a time."""

Places = npt.NDArray[np.int64]


class NoVector(LookupError):
    """The text has no vector here (yet)."""


def like_prompt(dataset: Dataset, prompt: int, most: int) -> list[tuple[int, float]]:
    """(primary key, cosine) of the Prompts most like this one, the nearest first. Raises NoVector."""
    rows = store.rows(dataset.pk, "prompts")
    query = _vector(rows, prompt)
    found = _others(rows, query, prompt)
    return _existing(dataset, ((key, cosine) for key, _, cosine in found), most)


def like_completion(dataset: Dataset, completion: int, most: int) -> list[tuple[int, int, float]]:
    """(primary key of a Prompt, that of its nearest Completion, its cosine), the nearest first, for the
    Completions most like this one, without those of its own Prompt. Raises NoVector."""
    rows = store.rows(dataset.pk, "completions")
    query = _vector(rows, completion)
    place = rows.place_of(completion) if rows else None
    own = int(rows.keys[place, 1]) if rows and place is not None else 0
    nearest: dict[int, tuple[int, float]] = {}
    for key, prompt, cosine in _others(rows, query, own, column=1):
        nearest.setdefault(prompt, (key, cosine))
    kept = _existing(dataset, ((prompt, cosine) for prompt, (_, cosine) in nearest.items()), most)
    return [(prompt, nearest[prompt][0], cosine) for prompt, cosine in kept]


def best_answers(dataset: Dataset, prompt: int, among: Sequence[int]) -> dict[int, tuple[int, float]]:
    """By primary key of each of these Prompts: (primary key, cosine) of the Completion that is most like the
    given Prompt. A Prompt without vectors of Completions is left out. Raises NoVector."""
    query = _vector(store.rows(dataset.pk, "prompts"), prompt)
    rows = store.rows(dataset.pk, "completions")
    if rows is None or not among:
        return {}
    (places,) = np.nonzero(np.isin(rows.keys[:, 1], np.array(among, dtype=np.int64)))
    cosines = rows.exact[places] @ query
    best: dict[int, tuple[int, float]] = {}
    for at in np.argsort(-cosines, kind="stable").tolist():
        key, of = rows.keys[places[at]].tolist()
        best.setdefault(of, (key, float(cosines[at])))
    existing = set(
        Completion.objects.filter(pk__in=[key for key, _ in best.values()]).values_list("pk", flat=True)
    )
    return {of: found for of, found in best.items() if found[0] in existing}


def nearest(rows: Rows, query: Vectors, most: int) -> tuple[Places, Vectors]:
    """(places, cosines) of the `most` rows nearest to the query (width,), the nearest first."""
    rounded, _ = store.round_rows(query[None])
    size = len(rows)
    products = np.empty(size, dtype=np.float32)
    for start in range(0, size, SCANNED_AT_ONCE):
        part = slice(start, start + SCANNED_AT_ONCE)
        products[part] = np.asarray(numkong.cdist(rounded, rows.scanned[part], "dot"))[0]
    products *= rows.scales
    candidates = np.arange(size)
    if size > (kept := max(most, RERANKED)):
        candidates = np.sort(np.argpartition(products, size - kept)[size - kept :])
    cosines = rows.exact[candidates] @ query
    order = np.argsort(-cosines, kind="stable")[:most]
    return candidates[order], cosines[order]


def _vector(rows: Rows | None, key: int) -> Vectors:
    place = rows.place_of(key) if rows else None
    if rows is None or place is None:
        raise NoVector
    return np.array(rows.exact[place])


def _others(rows: Rows | None, query: Vectors, own: int, column: int = 0) -> Iterator[tuple[int, int, float]]:
    """(key, key of its Prompt, cosine) of the nearest rows, the nearest first, without those whose key in
    this column is `own`."""
    if rows is None:
        return
    places, cosines = nearest(rows, query, RERANKED)
    keys = rows.keys[places]
    for (key, prompt), cosine in zip(keys.tolist(), cosines.tolist(), strict=True):
        if (key, prompt)[column] != own:
            yield key, prompt, cosine


def _existing(dataset: Dataset, found: Iterable[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """The first `most` whose Prompt is still there: rows of deleted texts stay in the files."""
    kept: list[tuple[int, float]] = []
    ranked = list(found)
    for start in range(0, len(ranked), 2 * most):
        part = ranked[start : start + 2 * most]
        prompts = Prompt.objects.of(dataset).filter(pk__in=[key for key, _ in part])
        existing = set(prompts.order_by().values_list("pk", flat=True))
        kept += [row for row in part if row[0] in existing]
        if len(kept) >= most:
            break
    return kept[:most]
