from tests.api.tables import Row

WANTED = {"url": "https://192.0.2.1/votes", "events": ["judgment.created"]}
OPERATIONS = {
    "list_webhooks": Row("dataset", "admin"),
    # No request may go to an address that is for documents (RFC 5737): it is refused whole.
    "add_webhook": Row("dataset", "admin", 409, WANTED),
    "read_webhook": Row("webhook", "admin"),
    "change_webhook": Row("webhook", "admin", 200, {"is_active": False}),
    "rotate_webhook_secret": Row("webhook", "admin", 200, {}),
    "test_webhook": Row("webhook", "admin", 202, {}),
    "list_deliveries": Row("webhook", "admin"),
    "replay_deliveries": Row("webhook", "admin", 200, {}),
    "delete_webhook": Row("webhook", "admin", 204),
}
PAGES = {
    "webhooks": ("list_webhooks", "add_webhook"),
    "webhook": ("read_webhook", "list_deliveries"),
    "webhook_change": "change_webhook",
    "webhook_switch": "change_webhook",
    "webhook_rotate": "rotate_webhook_secret",
    "webhook_test": "test_webhook",
    "webhook_replay": "replay_deliveries",
    "webhook_delete": "delete_webhook",
}
