"""Outcomes in the words of the page. a and b are canonical; a reader sees left and right, and which of the
two is on the left differs from reader to reader: each filter takes the completion on the left, "a" or "b"."""

from django import template

register = template.Library()

_WORDS = {"tie": "Tie", "both_bad": "Both bad", "cannot_judge": "Can’t judge", "drop": "Excluded"}
_MARKS = {"left": "◧", "right": "◨", "tie": "=", "both_bad": "⊘", "cannot_judge": "?", "drop": "×"}


@register.filter
def side(outcome: str, left: str) -> str:
    """ "left" or "right" for a and b; any other outcome as it is."""
    if outcome in ("a", "b"):
        return "left" if outcome == left else "right"
    return outcome


@register.filter
def word(outcome: str, left: str) -> str:
    """ "Left", "Right", "Tie", "Both bad", "Can’t judge", "Excluded"."""
    return _WORDS.get(outcome) or side(outcome, left).capitalize()


@register.filter
def mark(outcome: str, left: str) -> str:
    """One character for the outcome: ◧ ◨ = ⊘ ? ×. Always beside its word, for whoever cannot see it."""
    return _MARKS.get(side(outcome, left), "")
