from tests.api.tables import ALL_DATASETS, Row

OPERATIONS = {
    "list_models": Row("", ALL_DATASETS),
    "register_model": Row("", ALL_DATASETS, 422),
    "add_model": Row("", ALL_DATASETS, 422, {}),
    "register_trained_model": Row("release", "admin", 422),
    "read_model": Row("model", ALL_DATASETS),
    "change_model": Row("model", ALL_DATASETS, 200, {"notice": "Trained on machine labels."}),
    "calibrate_model": Row("model", ALL_DATASETS, 409, {}),
    "activate_model": Row("model", ALL_DATASETS, 200, {}),
    "roll_back_model": Row("", ALL_DATASETS, 409, {}),
    "retire_model": Row("model", ALL_DATASETS),
    "delete_model": Row("model", ALL_DATASETS, 204),
    "list_promotions": Row("", ALL_DATASETS),
}
PAGES = {
    "versions": ("list_models", "list_promotions"),
    "rollback": "roll_back_model",
    "version": ("read_model", "change_model"),
    "version_calibrate": "calibrate_model",
    "version_delete": "delete_model",
    "version_activate": "activate_model",
    "version_retire": "retire_model",
    "version_add": "add_model",
}
