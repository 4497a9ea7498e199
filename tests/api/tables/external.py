from tests.api.tables import ALL_DATASETS, Row

OPERATIONS = {
    "register_external_model": Row("", ALL_DATASETS, 201, {"name": "ours", "revision": "0123456789abcdef"}),
    "push_scores": Row("external model", ALL_DATASETS),
    "list_unscored": Row("model of a dataset", "reviewer"),
}
