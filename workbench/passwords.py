"""Which passwords are refused for being guessed too soon."""

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
        own = [user.username, user.email, user.first_name, user.last_name] if user else []
        # Its time grows with the square of the length, and a longer password is no weaker for its beginning.
        found = zxcvbn(password[:LONGEST_LOOKED_AT], user_inputs=[word for word in own if word])
        if found["score"] < WEAKEST_SCORE:
            why = found["feedback"]["warning"] or "This password is easy to guess."
            raise ValidationError(f"{why.rstrip('.')}. Add a few uncommon words.", code="password_guessed")

    def get_help_text(self) -> str:
        """What a good password is, for the form."""
        return "Three or four uncommon words make a good password."
