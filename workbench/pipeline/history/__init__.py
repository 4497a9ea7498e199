"""History: what admins, reviewers and commands did. `recording` writes a row in the transaction of each act,
`finding` searches the rows."""
