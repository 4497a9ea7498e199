"""The hub: fetch files of a data set, push a release, and the hosts that workers may ask. These pages only
store Runs: a web process makes no request of its own."""

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access
from workbench.forms.hub import FetchForm, HostForm, PushForm
from workbench.models import AllowedHost, Dataset, Release, Role, Run
from workbench.pipeline.hub import fetching, hosts, pushing
from workbench.views import STOP_POLLING, Request, page_to_return_to
from workbench.worker import tasks
from workbench.worker.workforce import workforce

FETCHES_SHOWN = 20


def hub_facts() -> dict[str, object]:
    """The hub of this installation, and the hosts that workers may ask."""
    host, allowed = hosts.hub_host(), set(AllowedHost.objects.values_list("name", flat=True))
    return {
        "hub_host": host,
        "hub_url": settings.HUB_URL,
        "hub_allowed": host in allowed,
        "hosts_allowed": allowed,
    }


@require_http_methods(["GET", "HEAD", "POST"])
def import_hub(request: HttpRequest, pk: int) -> HttpResponse:
    """Name a repository, a revision and a file; the earlier fetches."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = FetchForm(request.POST) if request.method == "POST" else FetchForm()
    if request.method == "POST" and form.is_valid():
        order = fetching.Order(**form.cleaned_data)
        run = fetching.begin(dataset, order, access.person(request.user))
        tasks.enqueue_run(run)
        return redirect("import_fetch", pk=run.pk)
    context = {
        "dataset": dataset,
        "tab": "import",
        "form": form,
        "fetches": _fetches(dataset),
        **hub_facts(),
    }
    return render(request, "hub/import.html", context, status=400 if form.errors else 200)


def _fetches(dataset: Dataset) -> list[Run]:
    runs = Run.objects.of(dataset).of_kind(Run.Kind.FETCH).select_related("created_by")
    return list(runs[:FETCHES_SHOWN])


@require_safe
@vary_on_headers("HX-Request")
def import_fetch(request: Request, pk: int) -> HttpResponse:
    """A fetch: its progress, then the files that it found or the uploads that it made."""
    run = access.run_for(request.user, pk)
    if run.kind != Run.Kind.FETCH or run.dataset is None:
        raise Http404
    context = {"dataset": run.dataset, "tab": "import", "run": run, "workforce": workforce([run])}
    if not request.htmx:
        return render(request, "hub/fetch.html", context | hub_facts())
    answer = render(
        request, "hub/fetched.html", context | hub_facts(), status=200 if run.is_open else STOP_POLLING
    )
    fetched = run.result.get("fetched", [])
    if run.state == Run.State.DONE and len(fetched) == 1:
        answer["HX-Redirect"] = reverse("import_preview", args=[fetched[0]["upload"]])
    return answer


@require_POST
def release_push(request: HttpRequest, pk: UUID) -> HttpResponse:
    release = access.release_for(request.user, pk)
    if not release.is_ready:
        raise Http404
    form = PushForm(request.POST)
    if not form.is_valid():
        context = {"dataset": release.dataset, "tab": "releases", "release": release}
        return render(request, "hub/push.html", context | push_facts(release, form), status=400)
    run = pushing.begin(
        release,
        form.cleaned_data["repository"],
        access.person(request.user),
        private=form.cleaned_data["private"],
    )
    tasks.enqueue_run(run)
    return redirect(reverse("release", args=[pk]) + "#hub")


@require_safe
@vary_on_headers("HX-Request")
def release_pushes(request: Request, pk: UUID) -> HttpResponse:
    """The part of a release's page about the hub, which asks for itself while a push runs; without htmx, a
    page of its own."""
    release = access.release_for(request.user, pk)
    if not release.is_ready:
        raise Http404
    facts = push_facts(release)
    context = {"dataset": release.dataset, "tab": "releases", "release": release, **facts}
    if not request.htmx:
        return render(request, "hub/push.html", context)
    return render(request, "hub/pushes.html", context, status=200 if facts["push_open"] else STOP_POLLING)


def push_facts(release: Release, form: PushForm | None = None) -> dict[str, object]:
    """For hub/pushes.html: the form, the pushes so far, and what stands in the way."""
    pushes = pushing.pushes_of(release)
    running = [run for run in pushes if run.is_open]
    latest = str(pushes[0].params["repository"]) if pushes else ""
    return {
        "push_form": form or PushForm(initial={"repository": latest}),
        "pushes": pushes,
        "push_open": bool(running),
        "workforce": workforce(running),
        **hub_facts(),
    }


@require_http_methods(["GET", "HEAD", "POST"])
def allowed_hosts(request: HttpRequest) -> HttpResponse:
    """The hosts that workers may ask, for staff."""
    user = access.staff_only(request.user)
    sent = request.method == "POST"
    back = page_to_return_to(request)
    form = HostForm(request.POST) if sent else HostForm(initial={"name": request.GET.get("name", "")[:260]})
    if sent and form.is_valid():
        hosts.allow(form.cleaned_data["name"], user)
        messages.info(request, f"{form.cleaned_data['name']} is allowed.")
        return HttpResponseRedirect(back or reverse("allowed_hosts"))
    listed = list(AllowedHost.objects.select_related("added_by"))
    names = {host.name for host in listed}
    context = {
        "form": form,
        "back": back,
        "hosts": listed,
        "suggested": [
            name for name in dict.fromkeys((hosts.hub_host(), *hosts.SUGGESTED)) if name not in names
        ],
        "private_hosts": settings.PRIVATE_HOSTS,
        **hub_facts(),
    }
    return render(request, "hub/hosts.html", context, status=400 if form.errors else 200)


@require_POST
def allowed_host_remove(request: HttpRequest, pk: int) -> HttpResponse:
    user = access.staff_only(request.user)
    if host := AllowedHost.objects.filter(pk=pk).first():
        hosts.remove(host, user)
        messages.info(request, f"{host} is no longer allowed.")
    return redirect("allowed_hosts")
