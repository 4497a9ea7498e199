from tests.api.tables import ALL_DATASETS, Row

OPERATIONS = {
    "read_system": Row("", ALL_DATASETS),
    "list_hosts": Row("", ALL_DATASETS),
    "allow_host": Row("", ALL_DATASETS, 201, {"name": "huggingface.co"}),
    "remove_host": Row("host", ALL_DATASETS, 204),
}
PAGES = {
    "system": "read_system",
    "allowed_hosts": ("list_hosts", "allow_host"),
    "allowed_host_remove": "remove_host",
}
