"""The Run that clusters the Prompts of a Dataset by their vectors, and names and measures the clusters."""

from math import sqrt

import numpy as np
import numpy.typing as npt
from django.db import transaction

from workbench.db.bulk import in_chunks
from workbench.models import Dataset, Prompt, PromptChange, Run, Topic, User
from workbench.pipeline.history.recording import record_run
from workbench.pipeline.runs.progress import Cancelled, Refused
from workbench.pipeline.topics import figures
from workbench.pipeline.topics.naming import Words
from workbench.pipeline.topics.placing import place_new
from workbench.pipeline.vectors import store
from workbench.pipeline.vectors.run import text_of_prompt
from workbench.pipeline.vectors.store import Vectors

FEWEST, MOST = 2, 60
FEWEST_PROMPTS = 10
NEW_SHARE = 0.25
"""Topics are computed again when this share of the Prompts came after the last time."""
SEED = 0
CHUNK = 1_000

Places = npt.NDArray[np.int64]


def number_of_topics(prompts: int) -> int:
    """√(N / 2), a rule of thumb (Mardia, Kent & Bibby, Multivariate Analysis, 1979), between 2 and 60."""
    return max(FEWEST, min(MOST, round(sqrt(prompts / 2))))


def begin(dataset: Dataset, by: User | None = None) -> Run:
    """The Run that will compute the topics: the open one, else a new one."""
    with transaction.atomic():
        Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
        under_way = Run.objects.of(dataset).of_kind(Run.Kind.TOPICS).open().first()
        return under_way or record_run(
            Run.objects.create(kind=Run.Kind.TOPICS, dataset=dataset, created_by=by)
        )


def begin_if_due(dataset: Dataset) -> Run | None:
    """A new Run where a quarter of the Prompts came after the last one; None for fewer than ten Prompts."""
    size = Prompt.objects.of(dataset).count()
    last = Run.objects.of(dataset).of_kind(Run.Kind.TOPICS).filter(state=Run.State.DONE).first()
    if size < FEWEST_PROMPTS or (last and size - last.result["texts"] < NEW_SHARE * size):
        return None
    return begin(dataset)


def carry_out(run: Run) -> None:
    """Compute the topics of a started Run's dataset, give Prompts that came meanwhile the nearest one, and
    finish the Run. Raises Refused where vectors are missing, and Cancelled; a Prompt may then have the topic
    of the next Run already."""
    dataset = run.dataset
    if dataset is None:
        raise Refused("The dataset is gone.")
    keys, exact = _vectors(dataset)
    if len(keys) < FEWEST_PROMPTS:
        raise Refused(f"Topics need {FEWEST_PROMPTS} prompts with a vector; this dataset has {len(keys)}.")
    if not run.update_progress(0, len(keys)):
        raise Cancelled
    clusters = _clusters(exact)
    names = _names(run, keys, clusters)
    numbers = _numbers(dataset, keys, clusters)
    try:
        topics = _stored(run, dataset, keys, clusters, names, numbers)
    finally:
        PromptChange.objects.all_of(dataset.pk)
    place_new(dataset)
    figures.measure(dataset)
    run.finish(topics=topics, texts=len(keys))


def _vectors(dataset: Dataset) -> tuple[Places, Vectors]:
    """(keys, vectors) of the Prompts that are still there."""
    rows = store.rows(dataset.pk, "prompts")
    if rows is None:
        raise Refused("The prompts have no vectors yet. Topics follow by themselves once they are there.")
    existing = Prompt.objects.of(dataset).order_by().values_list("pk", flat=True)
    there = np.isin(rows.keys[:, 0], np.fromiter(existing.iterator(chunk_size=10_000), dtype=np.int64))
    keys = np.array(rows.keys[:, 0])
    return (keys, rows.exact) if there.all() else (keys[there], rows.exact[there])


def _clusters(exact: Vectors) -> Places:
    """The cluster of each vector, from 0 on, the largest first; none is empty."""
    from sklearn.cluster import MiniBatchKMeans  # slow, and web processes never load it

    means = MiniBatchKMeans(
        number_of_topics(len(exact)), random_state=SEED, n_init=5, batch_size=4096, reassignment_ratio=0.01
    )
    labels = means.fit_predict(exact)
    used, sizes = np.unique(labels, return_counts=True)
    place = np.zeros(int(used.max()) + 1, dtype=np.int64)
    place[used[np.argsort(-sizes, kind="stable")]] = np.arange(len(used))
    clusters: Places = place[labels]
    return clusters


def _names(run: Run, keys: Places, clusters: Places) -> list[str]:
    """A name for each cluster. Reading the Prompts is the first half of the work."""
    words = Words(int(clusters.max()) + 1)
    cluster_of = dict(zip(keys.tolist(), clusters.tolist(), strict=True))
    done = 0
    for chunk in in_chunks(keys.tolist(), CHUNK):
        prompts = Prompt.objects.filter(pk__in=chunk).order_by().values_list("pk", "messages")
        for pk, messages in prompts.iterator(chunk_size=100):
            words.add(cluster_of[pk], text_of_prompt(messages))
        done += len(chunk)
        if not run.update_progress(done // 2, len(keys)):
            raise Cancelled
    return words.names()


def _numbers(dataset: Dataset, keys: Places, clusters: Places) -> list[int]:
    """The number of each cluster: that of the earlier topic with which it shares most Prompts, one each, so
    that links to a topic keep their meaning; a new number for the others."""
    from scipy.optimize import linear_sum_assignment

    before = dict(
        Prompt.objects.of(dataset).exclude(topic=None).order_by().values_list("pk", "topic__number")
    )
    old = sorted(set(before.values()))
    shared = np.zeros((int(clusters.max()) + 1, len(old)), dtype=np.int64)
    column = {number: place for place, number in enumerate(old)}
    for key, cluster in zip(keys.tolist(), clusters.tolist(), strict=True):
        if key in before:
            shared[cluster, column[before[key]]] += 1
    numbers = {
        int(row): old[at] for row, at in zip(*linear_sum_assignment(-shared), strict=True) if shared[row, at]
    }
    taken = set(numbers.values()) | set(Topic.objects.of(dataset).values_list("number", flat=True))
    fresh = (number for number in range(1, 2**15) if number not in taken)
    return [numbers[row] if row in numbers else next(fresh) for row in range(len(shared))]


def _stored(
    run: Run, dataset: Dataset, keys: Places, clusters: Places, names: list[str], numbers: list[int]
) -> int:
    """Store the topics and the topic of each Prompt, in short transactions, and remove topics without any;
    the number of topics."""
    with transaction.atomic():
        Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
        rows = []
        for place, (name, number) in enumerate(zip(names, numbers, strict=True)):
            size = int((clusters == place).sum())
            values = {"name": name, "size": size}
            rows.append(Topic.objects.update_or_create(dataset=dataset, number=number, defaults=values)[0])
    done = len(keys)
    for place, topic in enumerate(rows):
        for chunk in in_chunks(keys[clusters == place].tolist(), CHUNK):
            Prompt.objects.filter(pk__in=chunk).exclude(topic=topic).update(topic=topic)
            done += len(chunk)
            if not run.update_progress(done // 2, len(keys)):
                raise Cancelled
    with transaction.atomic():
        Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
        Topic.objects.of(dataset).exclude(pk__in=[topic.pk for topic in rows]).delete()
    return len(rows)
