"""Webhooks of a Dataset: who is told, of what, and how it went. Workers send; a web process only looks up the
host of a new address."""

from datetime import timedelta

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access
from workbench.forms.fields import LARGEST
from workbench.forms.webhooks import WebhookForm
from workbench.models import Delivery, Event, Role, Webhook
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.webhooks import managing
from workbench.views import POLL_SECONDS, STOP_POLLING, Request

SOON = timedelta(minutes=1)
"""The log renews itself while a delivery is due within this time."""


@require_http_methods(["GET", "HEAD", "POST"])
def webhooks(request: HttpRequest, pk: int) -> HttpResponse:
    """The webhooks with their last delivery. A POST adds one, and answers with its secret, this once."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    sent = request.method == "POST"
    form = WebhookForm(request.POST) if sent else WebhookForm(initial={"events": _all_events()})
    if sent and form.is_valid():
        url, events = form.cleaned_data["url"], form.cleaned_data["events"]
        try:
            webhook, secret = managing.register(dataset, url, events, access.person(request.user))
        except Refused as refused:
            form.add_error("url", str(refused))
        else:
            return _secret_page(request, webhook, secret)
    listed = managing.listed(dataset)
    context = {"dataset": dataset, "tab": "settings", "form": form, "webhooks": listed}
    context["is_full"] = len(listed) >= managing.MOST
    return render(request, "webhooks/webhooks.html", context, status=400 if form.errors else 200)


@require_safe
@vary_on_headers("HX-Request")
def webhook(request: Request, pk: int) -> HttpResponse:
    """One webhook with its log, which asks for itself while something is on its way."""
    found = access.webhook_for(request.user, pk)
    if not request.htmx:
        return _page(request, found)
    facts = _log(request, found)
    status = 200 if facts["is_moving"] else STOP_POLLING
    return render(request, "webhooks/log.html", {"webhook": found, **facts}, status=status)


@require_POST
def webhook_change(request: HttpRequest, pk: int) -> HttpResponse:
    """Store another address or other events."""
    found = access.webhook_for(request.user, pk)
    form = WebhookForm(request.POST)
    if form.is_valid():
        try:
            managing.change(found, access.person(request.user), **form.cleaned_data)
        except Refused as refused:
            form.add_error("url", str(refused))
        else:
            messages.info(request, "Webhook saved.")
            return redirect("webhook", pk=pk)
    return _page(request, found, form)


@require_POST
def webhook_switch(request: HttpRequest, pk: int) -> HttpResponse:
    """Pause the webhook, or with `active` put it back to work."""
    found = access.webhook_for(request.user, pk, even_archived=True)
    is_active = "active" in request.POST
    managing.change(found, access.person(request.user), is_active=is_active)
    messages.info(request, "The webhook is active." if is_active else "The webhook is paused.")
    return redirect("webhook", pk=pk)


@require_POST
def webhook_rotate(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a new secret, and show it this once."""
    found = access.webhook_for(request.user, pk)
    return _secret_page(request, found, managing.rotate(found, access.person(request.user)), is_new=False)


@require_POST
def webhook_test(request: HttpRequest, pk: int) -> HttpResponse:
    """Have a test event sent."""
    found = access.webhook_for(request.user, pk)
    try:
        managing.test(found, access.person(request.user))
    except Refused as refused:
        messages.error(request, str(refused))
    else:
        messages.info(request, "A worker sends the test now: see the log.")
    return redirect("webhook", pk=pk)


@require_POST
def webhook_replay(request: HttpRequest, pk: int) -> HttpResponse:
    """Send the `delivery` again, or without one all that are dead."""
    found = access.webhook_for(request.user, pk)
    named = request.POST.get("delivery", "")
    keys = [int(named)] if named.isascii() and named.isdigit() and int(named) <= LARGEST else []
    try:
        count = managing.replay(found, access.person(request.user), keys if named else None)
    except Refused as refused:
        messages.error(request, str(refused))
    else:
        messages.info(request, f"A worker sends {count:,} event{'' if count == 1 else 's'} again.")
    return redirect("webhook", pk=pk)


@require_POST
def webhook_delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete the webhook with its log."""
    found = access.webhook_for(request.user, pk, even_archived=True)
    managing.delete(found, access.person(request.user))
    messages.info(request, "The webhook is deleted. Nothing more is sent there.")
    return redirect("webhooks", pk=found.dataset_id)


def _all_events() -> list[str]:
    return [name for name, _ in Event.Type.to_ask_for()]


def _secret_page(request: HttpRequest, webhook: Webhook, secret: str, *, is_new: bool = True) -> HttpResponse:
    """The answer to the POST itself, as the secret is stored nowhere that could show it again."""
    context = {"dataset": webhook.dataset, "tab": "settings", "webhook": webhook, "secret": secret}
    context["is_new"], context["hours"] = is_new, int(managing.OLD_SECRET_SIGNS.total_seconds() // 3600)
    return render(request, "webhooks/secret.html", context)


def _page(request: HttpRequest, webhook: Webhook, form: WebhookForm | None = None) -> HttpResponse:
    stored = WebhookForm(initial={"url": webhook.url, "events": webhook.events})
    context = {
        "dataset": webhook.dataset,
        "tab": "settings",
        "webhook": webhook,
        "form": form or stored,
        "poll_seconds": POLL_SECONDS,
        **_log(request, webhook),
    }
    return render(request, "webhooks/webhook.html", context, status=400 if form else 200)


def _log(request: HttpRequest, webhook: Webhook) -> dict[str, object]:
    """For webhooks/log.html."""
    state, before = request.GET.get("state", ""), request.GET.get("before", "")
    state = state if state in Delivery.State.values else ""
    is_key = before.isascii() and before.isdigit() and int(before) <= LARGEST
    deliveries, older = managing.log(webhook, int(before) if is_key else None, state)
    soon = Delivery.objects.due(timezone.now() + SOON).filter(webhook=webhook)
    return {
        "deliveries": deliveries,
        "older": older,
        "state": state,
        "states": Delivery.State.values,
        "dead": Delivery.objects.dead().filter(webhook=webhook).count(),
        "is_moving": webhook.is_active and not is_key and soon.exists(),
    }
