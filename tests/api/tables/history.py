from tests.api.tables import ALL_DATASETS, Row

OPERATIONS = {
    "list_history": Row("", ALL_DATASETS),
    "list_dataset_history": Row("dataset", "admin"),
    "stream_history": Row("", ALL_DATASETS),
    "stream_dataset_history": Row("dataset", "admin"),
}
PAGES = {
    "history": "list_history",
    "history_csv": "stream_history",
    "dataset_history": "list_dataset_history",
    "dataset_history_csv": "stream_dataset_history",
}
