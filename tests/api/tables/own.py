from tests.api.tables import OWN, Row

OPERATIONS = {
    "read_account": Row("", ""),
    "change_account": Row("", OWN, 200, {"goes_straight_on": False}),
    "read_own_data": Row("", OWN),
    "read_own_hours": Row("", ""),
}
PAGES = {
    "account": ("read_account", "read_own_hours"),
    "account_data": "read_own_data",
    "own_languages": "change_account",
    "straight_on": "change_account",
}
