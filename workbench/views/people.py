from collections.abc import Sequence

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from workbench import access
from workbench.forms.people import MemberForm, RoleForm
from workbench.models import Member, Role
from workbench.pipeline import quality
from workbench.pipeline.people.members import active_members
from workbench.pipeline.quality import annotators
from workbench.pipeline.quality.panels import names_of
from workbench.pipeline.quality.reports import Checks, StoredFigure, has_value
from workbench.views.figures import as_of, computing

LAST_ADMIN = "A dataset needs an admin. Make somebody else an admin first."


@require_http_methods(["GET", "HEAD", "POST"])
def people(request: HttpRequest, pk: int) -> HttpResponse:
    """Members with their roles and last activity; their votes and checks, by the stored report."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    form = MemberForm(request.POST or None, dataset=dataset)
    if form.is_valid():
        member = form.save()
        messages.info(request, f"Added {member.user} as {member.role}.")
        return redirect("people", pk=pk)
    members = list(active_members(dataset))
    stored = quality.stored(dataset)
    context = {
        "dataset": dataset,
        "tab": "people",
        "members": [(member, None) for member in members],
        "form": form,
        "roles": Role.choices,
        **computing(dataset),
        **as_of(dataset, stored),
        **(_reliability(stored.report, members) if stored else {}),
    }
    return render(request, "people/people.html", context, status=400 if form.errors else 200)


def _reliability(report: quality.Report, members: Sequence[Member]) -> dict[str, object]:
    """The rows of the report: of each member and of others who have voted; the checks of everyone, then of
    each member who has voted."""
    rows = {row["annotator"]: row for row in report["annotators"]}
    names = names_of(report)
    member_rows = [(member, rows.pop(member.annotator or 0, None)) for member in members]
    of_members = [(str(member.user), _shares(row)) for member, row in member_rows if row]
    return {
        "members": member_rows,
        "others": [(names.get(pk, "removed"), row) for pk, row in rows.items() if row["votes"]],
        "quality": [("Everyone", _shares(report["everybody"])), *of_members],
    }


def _shares(row: Checks) -> list[tuple[str, StoredFigure, bool]]:
    """(name, share, whether there is enough data to show it) of each check, for people/quality.html."""
    figures = (row["gold"], row["consistent"], row["left"], row["towards"], row["away"])
    return [
        (name, figure, has_value(figure))
        for name, figure in zip(annotators.NAMES.values(), figures, strict=True)
    ]


@require_POST
def member_change(request: HttpRequest, pk: int, member_pk: int) -> HttpResponse:
    member = access.member_for(request.user, pk, member_pk)
    form = RoleForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Nothing was changed: choose a role from the list.")
    elif not member.change_role(form.cleaned_data["role"]):
        messages.error(request, LAST_ADMIN)
    return redirect("people", pk=pk)


@require_POST
def member_remove(request: HttpRequest, pk: int, member_pk: int) -> HttpResponse:
    """Take somebody's access away; their votes stay."""
    member = access.member_for(request.user, pk, member_pk)
    if not member.remove():
        messages.error(request, LAST_ADMIN)
    return redirect("people", pk=pk)
