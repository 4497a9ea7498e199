"""Refusal of passwords that are easy to guess."""

from django.core.exceptions import ValidationError
from zxcvbn import zxcvbn

from workbench.models import User

WEAKEST_SCORE = 3
"""zxcvbn's scale of 0 to 4: from 3 on, more than 10^8 guesses are needed."""

LONGEST_LOOKED_AT = 72


class GuessedPasswordValidator:
    """Refuses a password that tools guess soon, such as "passwordpassword" or "123456789012", by zxcvbn's
    estimate of guesses (Wheeler, USENIX Security 2016)."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Raise ValidationError with what makes the password easy to guess."""
        names = [user.username, user.email, user.first_name, user.last_name] if user else []
        # zxcvbn's time grows with the square of the length; a password is no weaker than its beginning.
        guess = zxcvbn(password[:LONGEST_LOOKED_AT], user_inputs=[name for name in names if name])
        if guess["score"] < WEAKEST_SCORE:
            why = guess["feedback"]["warning"] or "This password is easy to guess."
            raise ValidationError(f"{why.rstrip('.')}. Add a few uncommon words.", code="password_guessed")

    def get_help_text(self) -> str:
        return "Three or four uncommon words make a good password."
