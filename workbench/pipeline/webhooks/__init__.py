"""Webhooks. `outbox` writes events in the transaction of the fact, `managing` looks after the addresses that
they go to, `sending` numbers and delivers them, and `posting` is the request itself. `targets` says where a
request may go."""
