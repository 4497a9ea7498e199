from tests.api.tables import Row

OPERATIONS = {
    "list_invitations": Row("dataset", "admin"),
    "create_invitation_link": Row("dataset", "admin", 201, {}),
    "invite_by_mail": Row("dataset", "admin", 200, {"addresses": ["dora@example.org"]}),
    "resend_invitation": Row("mailed invitation", "admin", 204),
    "revoke_invitation": Row("invitation", "admin", 204),
}
PAGES = {
    "invitations": "list_invitations",
    "invite_link": "create_invitation_link",
    "invite_mails": "invite_by_mail",
    "invitation_resend": "resend_invitation",
    "invitation_revoke": "revoke_invitation",
}
