from tests.api.tables import ALL_DATASETS, Row

OPERATIONS = {
    "list_tokens": Row("", ALL_DATASETS),
    "revoke_token": Row("token", ALL_DATASETS, 204),
    "list_dataset_tokens": Row("dataset", "admin"),
    "revoke_dataset_token": Row("token of a dataset", "admin", 204),
}
PAGES = {
    "accounts_person": "list_tokens",
    "programs": "list_dataset_tokens",
    "token_revoke": ("revoke_token", "revoke_dataset_token"),
}
