from tests.api.tables import Row

OPERATIONS = {
    "claim_pair": Row("dataset", "annotator", 200, {}),
    "judge_pair": Row(
        "dataset",
        "annotator",
        422,
        {"comparison": 1, "key": "8d0e9b8e-5f0a-4a7c-9f4e-0f6f3f6e2f11", "answer": "best"},
    ),
    "skip_pair": Row("dataset", "annotator", 422, {"comparison": -1}),
    "flag_pair": Row("dataset", "annotator", 422, {"comparison": 1, "reason": "dull"}),
    "hold_pairs": Row("dataset", "annotator", 200, {"have": []}),
    "reopen_pair": Row("dataset", "annotator", 200, {}),
    "read_progress": Row("dataset", "annotator"),
    "read_examples": Row("dataset", "annotator"),
    "list_questions": Row("dataset", "annotator"),
    "read_qualification": Row("dataset", "annotator"),
    "start_qualification": Row("dataset", "annotator", 409),
    "answer_qualification": Row("dataset", "annotator", 422, {"pair": 1, "answer": "best"}),
}
PAGES = {
    "annotate": "claim_pair",
    "annotate_next": "claim_pair",
    "judge": "judge_pair",
    "annotate_skip": "skip_pair",
    "annotate_flag": "flag_pair",
    "annotate_hold": "hold_pairs",
    "annotate_undo": "reopen_pair",
    "annotate_own": "read_progress",
    "annotate_markdown": "a view of texts that claim_pair gives as they are",
    "guidelines": ("read_guidelines", "read_examples"),
    "questions": "list_questions",
    "qualify": "read_qualification",
    "qualify_start": "start_qualification",
    "qualify_answer": "answer_qualification",
}
