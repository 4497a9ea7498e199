from tests.api.tables import Row

OPERATIONS = {
    "list_prompts": Row("dataset", "reviewer"),
    "list_completions": Row("dataset", "reviewer"),
    "list_comparisons": Row("dataset", "reviewer"),
    "list_scores": Row("model of a dataset", "reviewer"),
    "list_suggestions": Row("model of a dataset", "reviewer"),
    "list_votes": Row("dataset", "reviewer"),
    "list_labels": Row("dataset", "reviewer"),
    "list_flags": Row("dataset", "reviewer"),
    "read_prompt": Row("prompt", "reviewer"),
}
PAGES = {"prompt": "read_prompt"}
