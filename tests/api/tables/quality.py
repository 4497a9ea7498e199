from tests.api.tables import ALL_DATASETS, Row

OPERATIONS = {
    "read_statistics": Row("dataset with figures", "admin"),
    "read_quality": Row("dataset with figures", "reviewer"),
    "read_quality_table": Row("table of figures", "reviewer"),
    "read_sources": Row("dataset with figures", "reviewer"),
    "read_source_table": Row("board of sources", "reviewer", 404),
    "list_dataset_models": Row("dataset", "admin"),
    "compare_models": Row("two models", "admin"),
    "read_dataset_model": Row("model of a dataset", "admin"),
    "evaluate_model": Row("model of a dataset", "admin", 202),
    "promote_model": Row("model", ALL_DATASETS, 404, {"dataset": 10**9}),
    "read_training_outlook": Row("release", "admin"),
    "train_model": Row(
        "dataset", "admin", 422, {"release": "00000000-0000-0000-0000-000000000000", "base": 1}
    ),
}
PAGES = {
    "quality": "read_quality",
    "quality_report": "read_statistics",
    "quality_table": "read_quality_table",
    "sources": "read_sources",
    "sources_report": "read_sources",
    "sources_table": "read_source_table",
    "model": ("list_dataset_models", "train_model"),
    "model_outlook": "read_training_outlook",
    "model_evaluate": "evaluate_model",
    "model_compare": "compare_models",
    "model_version": "read_dataset_model",
    "promote": "promote_model",
}
