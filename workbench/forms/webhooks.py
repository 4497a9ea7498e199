from django import forms

from workbench.models import Event


class WebhookForm(forms.Form):
    """Where a webhook sends, and what."""

    url = forms.CharField(
        label="Address",
        max_length=2000,
        help_text="For example https://hooks.example.org/votes.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false", "inputmode": "url"}
        ),
    )
    events = forms.MultipleChoiceField(
        label="Events",
        choices=Event.Type.to_ask_for(),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one event."},
    )
