"""Mail addresses out of what an admin pastes."""

import re
from dataclasses import dataclass, field

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

MOST = 500
"""Addresses in one paste."""

LONGEST = 254

# Between two addresses; not inside "Doe, Jane" <jane@example.org>.
_ENTRY = re.compile(r'(?:"[^"]*"|<[^>]*>|[^,;"<])+')
_NAMED = re.compile(r"[^<>]*<\s*([^<>\s]+)\s*>")


@dataclass(frozen=True)
class BadLine:
    """What is no address, and its line, from 1."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"Line {self.line}: “{self.text}” is no mail address."


@dataclass
class Pasted:
    """Addresses in lower case, in the order of the text and each once, and what is none."""

    addresses: list[str] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)


def read(text: str) -> Pasted:
    """The addresses of a text: one a line, or several with commas or semicolons. "Name <address>" is read."""
    pasted = Pasted()
    for number, line in enumerate(text.splitlines(), 1):
        for entry in filter(None, (part.strip() for part in _ENTRY.findall(line))):
            named = _NAMED.fullmatch(entry)
            address = (named[1] if named else entry).lower()
            if _is_address(address):
                pasted.addresses.append(address)
            else:
                pasted.bad.append(BadLine(number, entry if len(entry) <= 80 else entry[:79] + "…"))
    pasted.addresses = list(dict.fromkeys(pasted.addresses))
    return pasted


def _is_address(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return len(text) <= LONGEST
