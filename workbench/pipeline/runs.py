"""Runs whose worker died, or whose message was lost, are put back or ended; nothing waits for ever."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from workbench.models import Run

MAX_ATTEMPTS = 3
LOST_AFTER = timedelta(seconds=120)
RING_AGAIN = timedelta(seconds=60)


def due() -> list[Run]:
    """Waiting Runs to ring for now, noted as rung. Runs of a worker that stopped reporting are put back to
    waiting first, or failed after three attempts. Score Runs are not here: their batches carry them."""
    now = timezone.now()
    ours = Run.objects.exclude(kind=Run.Kind.SCORE)
    lost = ours.filter(state=Run.State.RUNNING, heartbeat_at__lt=now - LOST_AFTER)
    lost.filter(attempts__gte=MAX_ATTEMPTS).update(
        state=Run.State.FAILED,
        finished_at=now,
        error=f"The worker was lost {MAX_ATTEMPTS} times while it did this. Nothing was half-stored.",
    )
    lost.filter(attempts__lt=MAX_ATTEMPTS).update(state=Run.State.WAITING, rung_at=None)
    with transaction.atomic():
        unheard = ours.filter(state=Run.State.WAITING).filter(
            Q(rung_at__isnull=True) | Q(rung_at__lt=now - RING_AGAIN)
        )
        waiting = list(unheard.select_for_update(skip_locked=True).order_by("pk"))
        Run.objects.filter(pk__in=[run.pk for run in waiting]).update(rung_at=now)
    return waiting
