from django import forms

from workbench.forms.fields import LARGEST


class ReplyForm(forms.Form):
    """A reply to an annotator (a primary key); an empty text takes it back."""

    annotator = forms.IntegerField(min_value=0, max_value=LARGEST)
    text = forms.CharField(max_length=5000, required=False)
    closes_flag = forms.BooleanField(required=False)


class ExampleForm(forms.Form):
    """Why the final label of an example is right; an empty text takes the example back."""

    text = forms.CharField(max_length=300, required=False)
