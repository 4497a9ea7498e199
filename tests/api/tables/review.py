from tests.api.tables import Row

OPERATIONS = {
    "list_cases": Row("dataset", "reviewer"),
    "count_cases": Row("dataset", "reviewer"),
    "read_case": Row("comparison", "reviewer"),
    "settle_case": Row("comparison", "reviewer", 409, {"outcome": "a", "seen": "before"}),
    "unsettle_case": Row("comparison", "reviewer", 409, {"decision": 1}),
    "set_gold": Row("comparison", "reviewer", 204, {"outcome": "a"}),
    "list_gaps": Row("dataset", "reviewer"),
    "reply_to_annotator": Row("comparison", "reviewer", 409, {"annotator": 1, "text": "The left."}),
    "undo_reply": Row("reply", "reviewer"),
    "make_example": Row("comparison", "reviewer", 409, {"text": "It is right."}),
    "undo_example": Row("example", "reviewer"),
}
PAGES = {
    "review": ("list_cases", "count_cases"),
    "review_case": "read_case",
    "settle": "settle_case",
    "unsettle": "unsettle_case",
    "gold": "set_gold",
    "guideline_gaps": "list_gaps",
    "reply": "reply_to_annotator",
    "reply_undo": "undo_reply",
    "example": "make_example",
    "example_undo": "undo_example",
}
