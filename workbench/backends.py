"""Who logs in: by name, or by the address of the account."""

from django.contrib.auth.backends import ModelBackend
from django.db.models import Q
from django.http import HttpRequest

from workbench.models import User


def by_mail(address: str) -> User | None:
    """The active account that this mail address is of: who verified it, else the one account that staff gave
    it to."""
    return _owner(
        address, list(User.objects.filter(has_address(address)).prefetch_related("emailaddress_set"))
    )


def by_name_or_mail(typed: str) -> User | None:
    """The account of this name, else of this mail address. Makes the same queries whether there is one."""
    found = list(
        User.objects.filter(Q(username=typed) | has_address(typed))
        .distinct()
        .prefetch_related("emailaddress_set")
    )
    return next((user for user in found if user.username == typed), None) or _owner(typed, found)


def has_address(address: str) -> Q:
    """The accounts that have this mail address: that verified it, or were given it by staff."""
    verified = Q(emailaddress__email=address.lower(), emailaddress__verified=True)
    return verified | Q(email__iexact=address) if address else Q(pk=None)


def _owner(address: str, found: list[User]) -> User | None:
    found = [user for user in found if user.is_active]
    for user in found:
        if any(mail.verified and mail.email == address.lower() for mail in user.emailaddress_set.all()):
            return user
    # Compared once more: a database folds letters that are not the same, as a dotless i.
    given = [user for user in found if user.email.lower() == address.lower()]
    return given[0] if len(given) == 1 else None


class NameOrMail(ModelBackend):
    """Checks a password for a name or a mail address. Computes one hash whether or not there is an account,
    so the time of an answer does not tell."""

    def authenticate(  # type: ignore[override]
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None
    ) -> User | None:
        if not username or password is None:
            return None
        user = by_name_or_mail(username)
        if user is None:
            User().set_password(password)
            return None
        return user if user.check_password(password) and self.user_can_authenticate(user) else None
