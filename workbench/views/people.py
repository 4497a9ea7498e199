from collections.abc import Iterable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from workbench import access
from workbench.forms import MemberForm, RoleForm
from workbench.models import Annotator, Dataset, Member, Role
from workbench.pipeline import quality

LAST_ADMIN = "A Dataset needs an admin. Make somebody else an admin first."


@require_http_methods(["GET", "HEAD", "POST"])
def people(request: HttpRequest, pk: int) -> HttpResponse:
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = MemberForm(request.POST or None, dataset=dataset)
    if form.is_valid():
        member = form.save()
        messages.info(request, f"{member.user} is {member.role} here now.")
        return redirect("people", pk=pk)
    members = Member.objects.of(dataset).by_role().with_pace()
    context = {
        "dataset": dataset,
        "tab": "people",
        "members": members,
        "quality": _quality(dataset, members),
        "others": Annotator.objects.others_in(dataset),
        "form": form,
        "roles": Role.choices,
    }
    return render(request, "people/people.html", context, status=400 if form.errors else 200)


def _quality(dataset: Dataset, members: Iterable[Member]) -> list[tuple[str, quality.Quality]]:
    """How the answers of all hold, and of each member who has answered, in the order of the table above."""
    found = quality.by_annotator(dataset)
    annotators = dict(Annotator.objects.filter(pk__in=found).values_list("user", "pk"))
    own = [
        (str(each.user), found[annotators[each.user_id]]) for each in members if each.user_id in annotators
    ]
    return [("Everybody", quality.together(found.values())), *own]


@require_POST
def member_change(request: HttpRequest, pk: int, member_pk: int) -> HttpResponse:
    member = access.member_for(request.user, pk, member_pk)
    form = RoleForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Choose one of the roles.")
    elif not member.change_role(form.cleaned_data["role"]):
        messages.error(request, LAST_ADMIN)
    return redirect("people", pk=pk)


@require_POST
def member_remove(request: HttpRequest, pk: int, member_pk: int) -> HttpResponse:
    """Take somebody's access away. What they have judged stays."""
    member = access.member_for(request.user, pk, member_pk)
    if not member.remove():
        messages.error(request, LAST_ADMIN)
    return redirect("people", pk=pk)
