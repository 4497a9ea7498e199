"""The product's web application and Celery app, where a page, a stream, an operation and a Run fail with an
error that says the text of a prompt: what a test's processes run."""

import os
from collections.abc import Iterator

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workbench.settings")
django.setup()

from django.db import IntegrityError  # noqa: E402
from django.http import StreamingHttpResponse  # noqa: E402

from workbench.api import versions as operations  # noqa: E402
from workbench.models import Prompt  # noqa: E402
from workbench.views import versions  # noqa: E402
from workbench.worker import tasks  # noqa: E402
from workbench.worker.celery import app  # noqa: E402
from workbench.wsgi import application  # noqa: E402

__all__ = ["app", "application"]


def fail(*_: object, **__: object) -> None:
    """Raise as a reader of values does, and then as a database does."""
    text = Prompt.objects.get().messages[0]["content"]
    try:
        int(text)
    except ValueError as error:
        error.add_note(f"It was {text}")
        raise IntegrityError(f"duplicate key\nDETAIL:  Key (text)=({text}) already exists.") from error


def begin_and_fail() -> Iterator[str]:
    yield "one row"
    fail()


versions.AddModelForm = fail  # of version_add
versions.render = lambda *_: StreamingHttpResponse(begin_and_fail())  # of versions
operations.page_of = fail  # of list_models
tasks.ACTS["statistics"] = fail
