"""Secrets that the database stores sealed with SECRET_KEY: a backup of the database alone opens none."""

import base64
import hashlib

from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings


def seal_for(purpose: str) -> MultiFernet:
    """What seals and opens secrets of this purpose: "second-step". No other purpose opens them."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    digests = (hashlib.sha256(f"workbench.{purpose}:{key!s}".encode()).digest() for key in keys)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
