"""One prompt with all that is known of it."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from workbench import access
from workbench.models import Decision, Role
from workbench.pipeline.data.prompt import page_of
from workbench.views.acts import offered


@require_safe
def prompt(request: HttpRequest, pk: int) -> HttpResponse:
    """For reviewers: votes are folded while a pair is not settled, as on the review page."""
    prompt = access.prompt_for(request.user, pk)
    dataset = prompt.dataset
    context = {
        "dataset": dataset,
        "tab": "data",
        "page": page_of(prompt),
        "reasons": Decision.Reason.choices,
        "is_admin": access.may(dataset, Role.ADMIN),
        **offered(request.user, dataset),
    }
    return render(request, "data/prompt.html", context)
