"""Odd requests to every URL, by every kind of visitor: answered or refused, never an error of the server."""

import inspect
import os
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest
from django import forms as django_forms
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.web.test_access import PEOPLE, TABLE, clients, path_of  # noqa: F401
from workbench import forms

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = int(os.environ.get("ODD_REQUESTS", "20000"))


def field_names() -> list[str]:
    """The names of fields of all forms and templates, and names that views read."""
    names = {"page", "queue", "comparison"}
    for module in pkgutil.iter_modules(forms.__path__):
        for _, form in inspect.getmembers(import_module(f"{forms.__name__}.{module.name}"), inspect.isclass):
            if issubclass(form, django_forms.BaseForm):
                names |= set(form.base_fields)
    for template in (ROOT / "templates").rglob("*.html"):
        names |= set(re.findall(r'\bname="(\w+)"', template.read_text()))
    for view in (ROOT / "workbench" / "views").glob("*.py"):
        names |= set(re.findall(r'(?:GET|POST)(?:\.get|\.getlist)?[(\[]"(\w+)"', view.read_text()))
    return sorted(names)


VALUES = st.one_of(
    st.sampled_from(
        [
            "", " ", "0", "-1", "1", "1.5", "1e400", "nan", "inf", "²", "٣", "true", "on", "null", "[]", "{}",
            "9" * 19, str(2**31), str(2**63), str(-(2**63) - 1), "9" * 4301, "a", "b", "tie", "left", "all",
            "people", "\0", "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"), "‮", "\r\n",
            "%", "_", "'", '"', "<script>", "../../etc/passwd", "2026-13-45", "2026-02-30T25:61", "a" * 5000,
            "00000000-0000-0000-0000-000000000000", "1,2,3", "1:2", "validation", "random", "uncertain",
        ]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=20),
)  # fmt: skip
FIELDS = st.dictionaries(st.sampled_from(field_names()), VALUES, max_size=6)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["HTTP_HX_REQUEST", "HTTP_ACCEPT", "HTTP_RANGE", "HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE",
         "HTTP_COOKIE", "HTTP_REFERER", "HTTP_X_FORWARDED_FOR", "HTTP_HX_TARGET", "HTTP_ACCEPT_LANGUAGE"]
    ),
    st.one_of(
        st.sampled_from(["true", "application/json", "bytes=0-", "bytes=5-1", "bytes=" + "9" * 4301]),
        st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=30),
    ),
    max_size=3,
)  # fmt: skip
REQUEST = st.tuples(
    st.sampled_from(sorted(set(TABLE) - {"logout"})),
    st.sampled_from(PEOPLE),
    st.sampled_from(["GET", "GET", "POST", "POST", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"]),
    FIELDS,
    FIELDS,
    HEADERS,
)


def send_odd_requests(clients, path_of, requests: int, **options: object) -> None:  # noqa: F811
    paths = {name: path_of(name) for name in TABLE}
    for who in PEOPLE:
        clients[who].raise_request_exception = False

    @settings(
        max_examples=requests,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # shrinking would take minutes and the first failure says enough
        **options,
    )
    @given(REQUEST)
    def send(request: tuple[str, str, str, dict[str, str], dict[str, str], dict[str, str]]) -> None:
        name, who, method, query, form, headers = request
        with transaction.atomic():
            client = clients[who]
            path = paths[name].partition("?")[0]
            if method == "POST":
                answer = client.post(path, form, query_params=query, **headers)
            else:
                answer = client.generic(method, path, query_params=query, **headers)
            b"".join(answer)
        assert answer.status_code < 500, f"{method} {name} as {who}: {query} {form} {headers}"

    send()


def test_an_odd_request_is_no_error_of_the_server(clients, path_of):  # noqa: F811
    send_odd_requests(clients, path_of, 200, derandomize=True)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_many_odd_requests_are_no_error_of_the_server(clients, path_of):  # noqa: F811
    send_odd_requests(clients, path_of, REQUESTS, print_blob=True)
