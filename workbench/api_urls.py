"""The addresses for a request of a program: the operations beside the pages, whose links operations give.

A URLconf of its own, which api.programs.Programs names: a web process that nobody sends such a request never
loads the operations, which take 20 MB."""

from django.urls import path

from workbench.api.operations import api
from workbench.urls import handler403, handler429, handler500
from workbench.urls import urlpatterns as pages

__all__ = ["handler403", "handler429", "handler500", "urlpatterns"]

urlpatterns = [path("api/v1/", api.urls), *pages]
