"""The help: docs/ in the frame of the site, for everybody, and which part of it explains which page."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from http import HTTPStatus

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from workbench import docs
from workbench.api import reference

EXPLAINED = {
    "": ("help", "help_search", "help_picture", "help_page"),
    "how-to/accounts": ("login", "logout", "account_login", "account_logout"),
    "how-to/invite": ("invitations", "invite_link", "invite_mails", "invitation_resend", "invitation_revoke"),
    "how-to/invite#what-they-see": ("join", "join_link", "agree"),
    "how-to/accounts#your-password": (
        "password_change", "password_change_done", "account_reset_password", "account_reset_password_done",
        "account_reset_password_from_key", "account_reset_password_from_key_done",
    ),
    "how-to/accounts#your-mail-address": (
        "account_email", "account_confirm_email", "account_reauthenticate",
    ),
    "how-to/accounts#log-in-by-your-organisation": ("openid_connect_login", "openid_connect_callback"),
    "how-to/accounts#two-step-login": (
        "mfa_authenticate", "mfa_login_webauthn", "mfa_index", "mfa_list_webauthn", "mfa_reauthenticate",
        "mfa_activate_totp", "mfa_deactivate_totp", "mfa_view_recovery_codes", "mfa_generate_recovery_codes",
        "mfa_download_recovery_codes", "mfa_add_webauthn", "mfa_reauthenticate_webauthn",
        "mfa_remove_webauthn", "mfa_edit_webauthn",
    ),
    "how-to/accounts#people-and-roles": (
        "people", "member_change", "member_pause", "member_resume", "member_remove",
    ),
    "how-to/qualify": ("member_qualify",),
    "how-to/qualify#what-people-see": ("qualify", "qualify_start", "qualify_answer"),
    "how-to/accounts#your-account": (
        "account", "account_data", "own_languages", "login_end", "log_out_elsewhere",
    ),
    "how-to/accounts#one-person": ("person", "former"),
    "how-to/assign": ("member_facts",),
    "how-to/accounts#time-sheet": ("time_sheet", "time_sheet_csv"),
    "how-to/accounts#accounts": ("accounts", "accounts_person", "accounts_change", "admin"),
    "how-to/accounts#end-access-or-erase-a-person": ("accounts_erase",),
    "how-to/deploy#watch-the-installation": ("system", "metrics"),
    "how-to/datasets#home-and-overview": ("home", "dataset"),
    "how-to/datasets#create": ("dataset_new",),
    "how-to/curate": ("data",),
    "how-to/curate#save-a-view": ("view_save", "view_delete"),
    "how-to/curate#act": ("data_act",),
    "how-to/curate#undo": ("data_history", "act_undo"),
    "how-to/curate#one-prompt": ("prompt",),
    "how-to/datasets#settings": ("settings",),
    "how-to/datasets#guidelines": ("guidelines_revise",),
    "how-to/datasets#clone": ("clone",),
    "how-to/datasets#archive": ("archive", "bring_back"),
    "how-to/datasets#delete": ("dataset_delete",),
    "how-to/imports": ("import", "import_preview", "import_rejects", "import_remove"),
    "how-to/imports#near-duplicates": ("groups",),
    "how-to/hub": ("import_hub", "import_fetch"),
    "how-to/hub#push-a-release": ("release_push", "release_pushes"),
    "how-to/hub#allowed-hosts": ("allowed_hosts", "allowed_host_remove"),
    "reference/api": ("openapi",),
    "how-to/api": ("tokens", "token_revoke", "programs"),
    "how-to/webhooks": (
        "webhooks", "webhook", "webhook_change", "webhook_switch", "webhook_rotate", "webhook_delete",
    ),
    "how-to/webhooks#the-log": ("webhook_test", "webhook_replay"),
    "how-to/history": ("history", "history_csv", "dataset_history", "dataset_history_csv"),
    "how-to/vote": (
        "annotate", "annotate_next", "judge", "annotate_hold", "annotate_markdown", "straight_on",
    ),
    "how-to/vote#undo-and-skip": ("annotate_undo", "annotate_skip"),
    "how-to/vote#flags-and-comments": ("annotate_flag",),
    "how-to/vote#your-votes": ("annotate_own",),
    "how-to/vote#your-questions": ("questions",),
    "how-to/vote#guidelines-and-examples": ("guidelines",),
    "how-to/review": ("review",),
    "how-to/review#settle-a-pair": ("review_case", "settle", "unsettle"),
    "how-to/review#guideline-gaps": ("guideline_gaps",),
    "how-to/review#questions-and-replies": ("reply", "reply_undo"),
    "how-to/review#examples": ("example", "example_undo"),
    "how-to/quality#gold-pairs-with-a-known-answer": ("gold",),
    "how-to/review#quality": ("quality", "quality_chart", "quality_table", "quality_report"),
    "how-to/more-pairs": ("more_pairs", "more_pairs_undo"),
    "how-to/similar": ("similar",),
    "how-to/similar#topics": ("topics", "topics_renew"),
    "how-to/sources": ("sources", "sources_chart", "sources_table", "sources_report"),
    "how-to/releases": ("releases", "release_count"),
    "how-to/releases#leakage": ("release_leakage",),
    "how-to/releases#what-is-in-a-release": ("release", "release_download", "release_zip"),
    "how-to/model": ("model", "model_outlook", "model_evaluate", "model_compare", "model_version"),
    "how-to/model#what-the-gate-asks": ("promote",),
    "how-to/versions": ("versions", "version", "version_delete", "version_retire"),
    "how-to/versions#add-a-model-from-a-page": ("version_add",),
    "how-to/versions#score-and-switch": ("version_activate", "version_calibrate", "rollback"),
    "how-to/runs": ("runs", "running", "run"),
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


def _library() -> Mapping[str, docs.Document]:
    """All help pages by path: the files, and the reference that is written from the operations."""
    files = docs.documents(docs.FOLDER)
    return {**files, reference.PATH: _operations()} if "reference/api" in files else files


@cache
def _operations() -> docs.Document:
    return docs.document(reference.PATH, reference.text())


@login_not_required
@require_safe
def contents(request: HttpRequest) -> HttpResponse:
    return _contents(request)


@login_not_required
@require_safe
def document(request: HttpRequest, path: str) -> HttpResponse:
    """One help page; with no such page, the contents and status 404."""
    if (shown := _library().get(path)) is None:
        return _contents(request, HTTPStatus.NOT_FOUND)
    return render(request, "docs/document.html", {"document": shown})


@login_not_required
@require_safe
def search(request: HttpRequest) -> HttpResponse:
    query = request.GET.get("q", "").strip()[: docs.LONGEST_QUERY]
    library = _library()
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
    library = _library()
    sections = {
        section: [document for document in library.values() if document.section == section]
        for section in docs.SECTIONS.values()
    }
    shown = {"sections": sections, "installed": library, "missing": status == HTTPStatus.NOT_FOUND}
    return render(request, "docs/contents.html", shown, status=status)
