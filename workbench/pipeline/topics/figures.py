"""How often the model is right, and people agree, in each topic: by the functions of every other page."""

from collections.abc import Sequence

import numpy as np

from workbench.db.bulk import in_chunks
from workbench.models import Comparison, Dataset, ModelVersion, Topic, TopicFigure
from workbench.pipeline.quality import accuracy, voting
from workbench.pipeline.text import learnt

NOTHING: TopicFigure = {"value": None, "low": None, "high": None, "n": 0}


def measure(dataset: Dataset) -> None:
    """Store the figures of each topic of the dataset. Accuracy is of the serving version, on pairs that the
    version has not learnt (quality.accuracy). Agreement is raw, of votes and labels (quality.voting)."""
    topics = list(Topic.objects.of(dataset))
    if not topics:
        return
    opinions = accuracy.opinions_of(dataset)
    version = ModelVersion.objects.serving(dataset)
    topic_of: dict[int, int | None] = {}
    for chunk in in_chunks(opinions.keys, accuracy.CHUNK):
        pairs = Comparison.objects.filter(pk__in=chunk).order_by()
        topic_of |= dict(pairs.values_list("pk", "prompt__topic"))
    of = np.array([topic_of.get(key) or 0 for key in opinions.keys], dtype=np.int64)
    target, _ = opinions.labels()
    margin = accuracy.margins(version, opinions.keys) if version else np.full(len(of), np.nan)
    seen = learnt.seen(version, dataset) if version else None
    group = np.unique(opinions.groups, return_inverse=True)[1] if opinions.groups else of
    rule = accuracy.length_rule(target, opinions.lengths, opinions.groups)
    counts = opinions.counts.sum(axis=1)
    for topic in topics:
        places = np.flatnonzero(of == topic.pk)
        groups = [opinions.groups[place] for place in places.tolist()]
        measured = NOTHING
        if seen is not None and len(places):
            found = accuracy.measure(
                margin[places], target[places], groups, opinions.lengths[places], seen, rule
            )
            share = found.share
            measured = {"value": share.value, "low": share.low, "high": share.high, "n": found.decided}
        agreed = NOTHING
        if len(places):
            own = np.unique(group[places], return_inverse=True)[1]
            figure = voting.raw_agreement(counts[places], own)
            agreed = {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}
        topic.figures = {
            "accuracy": measured,
            "agreement": agreed,
            "version": version.name if version else None,
        }
    Topic.objects.bulk_update(topics, ["figures"])


def is_thin(topic: Topic) -> bool:
    """Whether too few pairs of the topic are judged to say how far people agree."""
    figure = topic.figures.get("agreement")
    return figure is None or figure["value"] is None


def disputed(topics: Sequence[Topic]) -> set[int]:
    """The numbers of the topics in which people agree less than in all of them together, beyond chance."""
    known = [figure for topic in topics if (figure := topic.figures.get("agreement")) and figure["value"]]
    pairs = sum(figure["n"] for figure in known)
    mean = sum((figure["value"] or 0.0) * figure["n"] for figure in known) / pairs if pairs else 0.0
    return {
        topic.number
        for topic in topics
        if (figure := topic.figures.get("agreement")) and figure["high"] is not None and figure["high"] < mean
    }
