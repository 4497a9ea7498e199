"""Numbers in a URL that no database has: not found, on every page."""

import re
import time

import pytest
from django.urls import get_resolver

PATHS = [
    pattern.pattern._route
    for pattern in get_resolver().url_patterns
    if "<id:" in getattr(pattern.pattern, "_route", "")
]
NUMBERS = ["0", str(2**31), str(2**63 - 1), str(2**63), "9" * 4301, "²", "-1"]


@pytest.mark.parametrize("route", PATHS)
def test_a_number_that_no_row_has_is_not_found(route, alice, as_user):
    alice.set_password("a long enough password")
    alice.save()
    client = as_user(alice)
    # Some pages ask for the password first, unless it was given a moment ago.
    session = client.session
    just_now = {"method": "password", "at": time.time(), "reauthenticated": True}
    session["account_authentication_methods"] = [just_now]
    session["account_authentication_methods_user"] = str(alice.pk)
    session.save()

    for number in NUMBERS:
        path = "/" + re.sub(r"<id:\w+>", number, route)
        path = re.sub(r"<(?:str|slug):\w+>", "a", path)
        for answer in (client.get(path), client.post(path)):
            assert answer.status_code in {404, 405, 403}, (path, answer.status_code)
