from django import forms

from workbench.models import Dataset


class CalibrateForm(forms.Form):
    """The data to fit a temperature on."""

    dataset = forms.ModelChoiceField(
        Dataset.objects.not_deleted(), required=False, empty_label="all datasets"
    )
    labels = forms.BooleanField(required=False, label="Include imported labels")
