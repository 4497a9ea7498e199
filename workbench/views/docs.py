"""The help: docs/ in the frame of the site, for everybody, and which part of it explains which page."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from workbench import docs

EXPLAINED = {
    "": ("help", "help_search", "help_picture", "help_page"),
    "how-to/accounts": ("login", "logout"),
    "how-to/accounts#your-password": ("password_change", "password_change_done"),
    "how-to/accounts#people-and-roles": ("people", "member_change", "member_remove"),
    "how-to/accounts#accounts-and-system": ("admin",),
    "how-to/datasets#home-and-overview": ("home", "dataset"),
    "how-to/datasets#create": ("dataset_new",),
    "how-to/datasets#data": ("data",),
    "how-to/datasets#settings": ("settings",),
    "how-to/datasets#guidelines": ("guidelines_revise",),
    "how-to/datasets#clone": ("clone",),
    "how-to/datasets#archive": ("archive", "bring_back"),
    "how-to/datasets#delete": ("dataset_delete",),
    "how-to/imports": ("import", "import_preview", "import_rejects"),
    "how-to/imports#near-duplicates": ("groups",),
    "how-to/vote": (
        "annotate", "annotate_next", "judge", "annotate_hold", "annotate_markdown", "straight_on",
    ),
    "how-to/vote#undo-and-skip": ("annotate_undo", "annotate_skip"),
    "how-to/vote#flags-and-comments": ("annotate_flag",),
    "how-to/vote#your-votes": ("annotate_own",),
    "how-to/review": ("review",),
    "how-to/review#settle-a-pair": ("review_case", "settle", "unsettle"),
    "how-to/review#guideline-gaps": ("guideline_gaps",),
    "how-to/quality#gold-pairs-with-a-known-answer": ("gold",),
    "how-to/review#quality": ("quality", "quality_chart", "quality_table", "quality_report"),
    "how-to/releases": ("releases", "release_count"),
    "how-to/releases#leakage": ("release_leakage",),
    "how-to/releases#what-is-in-a-release": ("release", "release_download", "release_zip"),
    "how-to/model": ("model", "model_outlook", "model_evaluate", "model_compare", "model_version"),
    "how-to/model#what-the-gate-asks": ("promote",),
    "how-to/versions": ("versions", "version", "version_delete", "version_retire"),
    "how-to/versions#score-and-switch": ("version_activate", "version_calibrate", "rollback"),
    "how-to/runs": ("runs", "run"),
    "how-to/runs#cancel-and-retry": ("run_cancel", "run_retry"),
}  # fmt: skip
"""A document of docs/ and, after #, one of its headings -> the names of the URLs that it explains. "" is the
contents; "admin" is every page of Django's admin."""

_HELP = {name: place for place, names in EXPLAINED.items() for name in names}


def help_of_the_page(request: HttpRequest) -> dict[str, Callable[[], str]]:
    """For every template: `help_url`, the address of the help for the page of this request. A function, since
    an answer of the annotation page has no link to it."""
    return {"help_url": partial(_help_url, request)}


def _help_url(request: HttpRequest) -> str:
    match = request.resolver_match
    name = (match.namespace or match.url_name or "") if match else ""
    path, mark, anchor = _HELP.get(name, "").partition("#")
    return (reverse("help_page", args=[path]) if path else reverse("help")) + mark + anchor


@login_not_required
@require_safe
def contents(request: HttpRequest) -> HttpResponse:
    return _contents(request)


@login_not_required
@require_safe
def document(request: HttpRequest, path: str) -> HttpResponse:
    """One help page; with no such page, the contents and status 404."""
    if (shown := docs.documents(docs.FOLDER).get(path)) is None:
        return _contents(request, HTTPStatus.NOT_FOUND)
    return render(request, "docs/document.html", {"document": shown})


@login_not_required
@require_safe
def search(request: HttpRequest) -> HttpResponse:
    query = request.GET.get("q", "").strip()[: docs.LONGEST_QUERY]
    library = docs.documents(docs.FOLDER)
    shown = {"query": query, "results": docs.search(library.values(), query), "installed": library}
    return render(request, "docs/results.html", shown)


@login_not_required
@require_safe
@cache_control(public=True, max_age=3600)
def picture(request: HttpRequest, name: str) -> HttpResponse:
    """A picture of a help page, from docs/pictures alone."""
    shown = docs.pictures(docs.FOLDER).get(name)
    if shown is None:
        raise Http404
    return HttpResponse(shown, content_type=docs.type_of(name))


def _contents(request: HttpRequest, status: HTTPStatus = HTTPStatus.OK) -> HttpResponse:
    library = docs.documents(docs.FOLDER)
    sections = {
        section: [document for document in library.values() if document.section == section]
        for section in docs.SECTIONS.values()
    }
    shown = {"sections": sections, "installed": library, "missing": status == HTTPStatus.NOT_FOUND}
    return render(request, "docs/contents.html", shown, status=status)
