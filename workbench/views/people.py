from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from workbench import access
from workbench.forms import MemberForm, RoleForm
from workbench.models import Annotator, Member, Role

LAST_ADMIN = "A Dataset needs an admin. Make somebody else an admin first."


@require_http_methods(["GET", "HEAD", "POST"])
def people(request: HttpRequest, pk: int) -> HttpResponse:
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = MemberForm(request.POST or None, dataset=dataset)
    if form.is_valid():
        member = form.save()
        messages.info(request, f"{member.user} is {member.role} here now.")
        return redirect("people", pk=pk)
    context = {
        "dataset": dataset,
        "tab": "people",
        "members": Member.objects.of(dataset).by_role().with_pace(),
        "others": Annotator.objects.others_in(dataset),
        "form": form,
        "roles": Role.choices,
    }
    return render(request, "people/people.html", context, status=400 if form.errors else 200)


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
