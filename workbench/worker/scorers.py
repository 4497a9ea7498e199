"""The Scorer of a ModelVersion in this process: loaded once, checked, and bounded in time."""

import logging
import signal
import threading
from collections.abc import Sequence
from functools import lru_cache
from types import FrameType
from typing import TYPE_CHECKING, cast

from django.conf import settings

from scoring.baselines import BASELINES
from scoring.checkpoint import CheckpointError
from scoring.formats import Pair, Scored, Scorer
from workbench.models import ModelVersion
from workbench.pipeline.model import registry
from workbench.worker.heartbeat import Heartbeat

if TYPE_CHECKING:
    from scoring.engine import Engine

log = logging.getLogger(__name__)


class TooSlow(TimeoutError):
    """A model took longer over a batch than it may."""


def load_scorer(version: ModelVersion) -> Scorer:
    """The version's Scorer. Raises CheckpointError for weights or a tokenizer other than the registered ones,
    and any error of the storage."""
    if version.kind == ModelVersion.Kind.BASELINE:
        return BASELINES[version.name]
    if version.is_external:
        raise CheckpointError(f"{version} is scored elsewhere")
    return load_engine(version.pk)


@lru_cache(maxsize=1)
def load_engine(version_id: int) -> Scorer:
    """A model, loaded once per process and checked by its self-test. Baselines stay out of this cache: they
    score in turn with the model, and would evict it each time."""
    from scoring.engine import load  # slow: torch comes with it

    version = ModelVersion.objects.get(pk=version_id)
    folder = registry.local_checkpoint(version, settings.DATA_DIR / "cache" / "checkpoints")
    engine = load(
        folder,
        max_length=version.max_length,
        template=version.template,
        precision=version.precision,
        guard=version.guard,
        device=settings.DEVICE,
    )
    for part in ("weights", "tokenizer"):
        if getattr(engine.checkpoint, f"{part}_sha256") != getattr(version, f"{part}_sha256"):
            raise CheckpointError(f"the {part} in {folder.name} are not what was registered")
    registry.check_self_test(version, engine.alone)
    if engine.note:
        log.info("%s: %s", version, engine.note)
    Heartbeat.device = engine.device
    return engine


def alone(score: Scorer) -> Scorer:
    """The same model for completions whose siblings are in another call (see `Engine.alone`)."""
    without_siblings: Scorer = getattr(score, "alone", score)
    return without_siblings


def sharing_guard(version: ModelVersion, score: Scorer) -> Scorer:
    """The same scorer, with the widest guard that any worker has measured for the version: workers compare
    each other's Scores in bf16."""
    if not getattr(score, "exact_order", False):
        return score
    engine = cast("Engine", score)
    if version.guard is not None:
        engine.guard = max(version.guard, engine.guard or 0.0)

    def call(pairs: Sequence[Pair]) -> list[Scored]:
        scored = engine(pairs)
        if engine.guard is not None and engine.guard != version.guard:
            version.widen_guard(engine.guard)
        return scored

    return call


def bounded(score: Scorer, seconds: float) -> Scorer:
    """The same scorer, with TooSlow for a call that takes longer than `seconds`: a text on which the
    model hangs costs an attempt, and not the worker. The limit works in the main thread, where the solo pool
    runs tasks; in other threads, only the lease ends."""

    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise TooSlow(f"no answer within {seconds:g} s")

    def call(pairs: Sequence[Pair]) -> list[Scored]:
        if threading.current_thread() is not threading.main_thread():
            return score(pairs)
        before = signal.signal(signal.SIGALRM, expire)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return score(pairs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return call


def scorer_of(version: ModelVersion) -> Scorer:
    """The version's Scorer for completions without all their siblings."""
    return alone(load_scorer(version))
