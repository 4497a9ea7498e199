"""Pages that are no operation, and why; operations that are on no page."""

LOGIN = "logging in is for people; programs have tokens"
HELP = "the help is for people"
DRAWN = "a picture of figures that an operation gives as numbers"

PAGES = {
    **dict.fromkeys(
        (
            "login", "logout", "account_login", "account_logout", "password_change", "password_change_done",
            "account_reset_password", "account_reset_password_done", "account_reset_password_from_key",
            "account_reset_password_from_key_done", "account_email", "account_confirm_email",
            "account_reauthenticate", "mfa_authenticate", "mfa_login_webauthn", "openid_connect_login",
            "openid_connect_callback", "mfa_index", "mfa_list_webauthn", "mfa_reauthenticate",
            "mfa_activate_totp", "mfa_deactivate_totp", "mfa_view_recovery_codes",
            "mfa_generate_recovery_codes", "mfa_download_recovery_codes", "mfa_add_webauthn",
            "mfa_reauthenticate_webauthn", "mfa_remove_webauthn", "mfa_edit_webauthn", "log_out_elsewhere",
            "login_end", "join", "join_link",
        ),
        LOGIN,
    ),
    **dict.fromkeys(("help", "help_search", "help_picture", "help_page"), HELP),
    **dict.fromkeys(("quality_chart", "sources_chart"), DRAWN),
    "tokens": "a token makes no tokens",
    **dict.fromkeys(
        ("accounts", "accounts_change", "accounts_erase"),
        "a token opens, closes and erases no accounts",
    ),
    "agree": "a person agrees to a text, and no program",
    "metrics": "programs read it already, with a token of its own",
    "openapi": "the document of the operations",
}  # fmt: skip

OF_NO_PAGE = {
    "push_rows", "list_prompts", "list_completions", "list_comparisons", "list_scores", "list_suggestions",
    "list_votes", "list_labels", "list_flags", "register_model", "register_trained_model",
    "register_external_model", "push_scores", "list_unscored", "diff_releases", "verify_release",
}  # fmt: skip
"""Rows by the thousand, models that were trained or run elsewhere, and what a command does on the server."""
