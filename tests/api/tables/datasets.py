from tests.api.tables import ALL_DATASETS, Row

OPERATIONS = {
    "list_datasets": Row("", ""),
    "create_dataset": Row("", ALL_DATASETS, 201, {"name": "Made by a program"}),
    "read_dataset": Row("dataset", "annotator"),
    "read_settings": Row("dataset", "admin"),
    "change_settings": Row("dataset", "admin", 200, {"overlap": 2}),
    "read_guidelines": Row("dataset", "annotator"),
    "revise_guidelines": Row("dataset", "admin", 200, {"text": "Choose the better one.", "based_on": 0}),
    "clone_dataset": Row("dataset", "admin", 201, {"name": "A clone"}),
    "archive_dataset": Row("dataset", "admin", 204),
    "bring_back_dataset": Row("dataset", "admin", 204),
    "delete_dataset": Row("dataset", "admin", 202, {"name": "Kitchen"}),
}
PAGES = {
    "home": "list_datasets",
    "dataset": "read_dataset",
    "dataset_new": "create_dataset",
    "settings": ("read_settings", "change_settings"),
    "guidelines_revise": "revise_guidelines",
    "clone": "clone_dataset",
    "archive": "archive_dataset",
    "bring_back": "bring_back_dataset",
    "dataset_delete": "delete_dataset",
}
