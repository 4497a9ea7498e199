"""A body that is not what an operation reads is refused with the reason and the place."""

import pytest

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("body", "status", "code", "detail"),
    [
        (
            '{"name":',
            400,
            "bad_request",
            "The body is not JSON: unexpected end of data: line 1 column 9 (char 8).",
        ),
        (
            '{"name": nope}',
            400,
            "bad_request",
            "The body is not JSON: invalid literal, expected 'null': line 1 column 10 (char 9).",
        ),
        ("", 422, "wrong_form", "The body is missing: send a JSON object."),
        ('["name"]', 422, "wrong_form", "The body must be a JSON object: {…}."),
    ],
)
def test_a_body_that_is_no_json_object_is_refused_with_its_place(body, status, code, detail, alice, program):
    alice.is_staff = True
    alice.save()

    answer = program(alice).post("/api/v1/datasets", body, content_type="application/json")

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["detail"]) == (status, code, detail)
