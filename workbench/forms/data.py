from django import forms
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import QueryDict

from workbench.models import Dataset, SavedView, User
from workbench.pipeline.data.fields import BadSelection
from workbench.pipeline.data.finding import Selection
from workbench.pipeline.history.recording import Kind, record


class ViewForm(forms.ModelForm):
    """A name for the selection of the Data page; a name that the person has used is given to the new one."""

    class Meta:
        model = SavedView
        fields = ["name", "shared", "query"]
        labels = {"name": "Name of this view", "shared": "Show to everyone who sees this page"}
        widgets = {"query": forms.HiddenInput}
        error_messages = {"name": {"required": "Give the view a name."}}

    def __init__(self, data: QueryDict | None = None, *, dataset: Dataset, query: str = "") -> None:
        super().__init__(data, initial={"query": query})
        self._dataset = dataset

    def clean_query(self) -> str:
        try:
            selection = Selection.parse(self.cleaned_data["query"], self._dataset.facet_keys)
        except BadSelection as error:
            raise ValidationError(str(error)) from None
        return selection.query

    def stored(self, by: User) -> SavedView:
        values = {"shared": self.cleaned_data["shared"], "query": self.cleaned_data["query"]}
        named = {"dataset": self._dataset, "owner": by, "name": self.cleaned_data["name"]}
        try:
            with transaction.atomic():
                view = SavedView.objects.update_or_create(**named, defaults=values)[0]
                record(Kind.VIEW_SAVED, by=by, dataset=self._dataset, target=view, fields=list(values))
                return view
        except IntegrityError:  # two windows at once
            return SavedView.objects.get(**named)
