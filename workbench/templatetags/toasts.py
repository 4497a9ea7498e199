"""Messages as toasts. A view adds a message as ever; `saved` adds one with an Undo."""

from typing import TYPE_CHECKING

from django import template
from django.contrib import messages
from django.contrib.messages.storage.base import Message

from workbench.templatetags.figures import unbroken

if TYPE_CHECKING:
    from django.http import HttpRequest

register = template.Library()

_UNDO = "undo:"


def saved(request: "HttpRequest", sentence: str, undo: str = "") -> None:
    """Add a toast that says what was saved. undo: the address of the page whose POST takes it back; the toast
    stays until somebody closes it."""
    messages.info(request, sentence, extra_tags=_UNDO + undo if undo else "")


@register.filter
def sentence(message: Message) -> str:
    return unbroken(str(message.message))


@register.filter
def undo_address(message: Message) -> str:
    """The address that takes back what the toast says; "" for a toast without an Undo."""
    tags = message.extra_tags or ""
    return tags.removeprefix(_UNDO) if tags.startswith(_UNDO) else ""
