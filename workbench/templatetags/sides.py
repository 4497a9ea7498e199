"""Outcomes in the words of the page: a and b are canonical, a reader sees left and right. The side on the
left, "a" or "b", differs from reader to reader, so each filter takes it."""

from django import template

from workbench.models import Decision, Outcome

register = template.Library()

_MARKS = {"left": "◧", "right": "◨", "tie": "=", "both_bad": "⊘", "cannot_judge": "?", Decision.DROP: "×"}


@register.filter
def word(outcome: str, left: str) -> str:
    """ "Left", "Right", "Tie", "Both bad", "Can’t judge", "Excluded"."""
    if outcome == Decision.DROP:
        return "Excluded"
    return Outcome.page_words().get(Outcome.seen_as(outcome, left), "")


@register.filter
def mark(outcome: str, left: str) -> str:
    """One character for the outcome: ◧ ◨ = ⊘ ? ×. Its word stands beside it, for screen readers."""
    return _MARKS.get(Outcome.seen_as(outcome, left), "")
