"""Profiles of Releases as the pages call them."""

from collections.abc import Sequence

from django import template

from workbench.pipeline.releases import PROFILES

register = template.Library()


@register.filter
def titles(names: Sequence[str]) -> str:
    """ "TRL, conversations; Every vote" for ["trl-chat", "all-votes"]."""
    return "; ".join(PROFILES[name].title if name in PROFILES else name for name in names)
