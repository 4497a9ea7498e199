"""New Prompts join the nearest of the topics that there are, until the topics are computed again."""

import numpy as np
from django.db import transaction

from workbench.db.bulk import in_chunks
from workbench.models import Dataset, Prompt, PromptChange, Topic
from workbench.pipeline.vectors import store
from workbench.pipeline.vectors.similar import Places
from workbench.pipeline.vectors.store import Rows, Vectors

CHUNK = 1_000


def place_new(dataset: Dataset) -> int:
    """Give each Prompt that has a vector and no topic the nearest topic; how many these are. A topic's centre
    is the mean of the vectors of its Prompts."""
    rows = store.rows(dataset.pk, "prompts")
    topics = np.array(Topic.objects.of(dataset).order_by("pk").values_list("pk", flat=True), dtype=np.int64)
    if rows is None or not len(topics) or not Prompt.objects.of(dataset).filter(topic=None).exists():
        return 0
    of = _topics_of(dataset, rows, topics)
    used = np.unique(of[of >= 0])
    (new,) = np.nonzero(of == _NONE)
    if not len(used) or not len(new):
        return 0
    centres = np.stack([rows.exact[of == place].mean(axis=0) for place in used.tolist()])
    nearest = topics[used[_nearest(rows, new, centres)]]
    keys = rows.keys[new, 0]
    return sum(
        _store(dataset, topic, chunk)
        for topic in np.unique(nearest).tolist()
        for chunk in in_chunks(keys[nearest == topic].tolist(), CHUNK)
    )


_NONE, _GONE = -1, -2


def _topics_of(dataset: Dataset, rows: Rows, topics: Places) -> Places:
    """For each row, the place of its Prompt's topic among `topics`; _NONE for a Prompt without one, _GONE
    where the Prompt is gone."""
    place_of = {topic: place for place, topic in enumerate(topics.tolist())}
    found = Prompt.objects.of(dataset).order_by().values_list("pk", "topic_id")
    topic_of = {
        pk: place_of.get(topic, _NONE) if topic else _NONE for pk, topic in found.iterator(chunk_size=10_000)
    }
    return np.fromiter((topic_of.get(key, _GONE) for key in rows.keys[:, 0].tolist()), np.int64, len(rows))


def _nearest(rows: Rows, new: Places, centres: Vectors) -> Places:
    """The place of the centre nearest to each new row: |x - c|² = |x|² - 2 (x·c - |c|²/2)."""
    half = (centres**2).sum(axis=1) / 2
    return np.concatenate(
        [np.argmax(rows.exact[chunk] @ centres.T - half, axis=1) for chunk in in_chunks(new.tolist(), CHUNK)]
    )


def _store(dataset: Dataset, topic: int, prompts: list[int]) -> int:
    """A Run that computes the topics anew takes the same lock to remove a topic."""
    with transaction.atomic():
        Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
        if not Topic.objects.filter(pk=topic).exists():
            return 0
        Prompt.objects.filter(pk__in=prompts, topic=None).update(topic=topic)
        Topic.objects.filter(pk=topic).update(size=Prompt.objects.filter(topic=topic).count())
        PromptChange.objects.note(dataset.pk, prompts)
    return len(prompts)
