"""Languages by name and by code. Prompts and people have codes (ISO 639); pages show names."""

import re
from collections.abc import Iterable

from django.conf.locale import LANG_INFO

_MORE = {
    "am": "Amharic", "as": "Assamese", "fo": "Faroese", "gu": "Gujarati", "ha": "Hausa",
    "ht": "Haitian Creole", "jv": "Javanese", "ku": "Kurdish", "la": "Latin", "ln": "Lingala", "lo": "Lao",
    "mg": "Malagasy", "mt": "Maltese", "oc": "Occitan", "om": "Oromo", "or": "Odia", "ps": "Pashto",
    "qu": "Quechua", "rw": "Kinyarwanda", "sa": "Sanskrit", "se": "Northern Sami", "si": "Sinhala",
    "sn": "Shona", "so": "Somali", "st": "Southern Sotho", "tl": "Tagalog", "xh": "Xhosa", "yo": "Yoruba",
    "yue": "Cantonese", "zh": "Chinese", "zu": "Zulu",
}  # fmt: skip
NAMES: dict[str, str] = {
    **{code: info["name"] for code, info in LANG_INFO.items() if "-" not in code and "name" in info},
    **_MORE,
}
"""Names in English, by code."""
_CODES = {name.casefold(): code for code, name in NAMES.items()}
_TAG = re.compile(r"([a-z]{2,3})(?:[-_][a-z0-9_-]+)?")
NO_LANGUAGE = "zxx"
"""The code of a text in no language, such as a number."""
LONGEST = 50


def code_of(word: str) -> str:
    """The code of a language by its name or tag: "pl" for "Polish", "pt" for "pt-BR". A word that is neither
    comes back in small letters; "" for a text in no language."""
    small = " ".join(word.split()).casefold()[:LONGEST]
    if small in _CODES:
        return _CODES[small]
    tag = _TAG.fullmatch(small)
    code = tag[1] if tag else small
    return "" if code == NO_LANGUAGE else code


def name_of(code: str) -> str:
    """What pages call the language; a code without a name stands for itself."""
    return NAMES.get(code, code)


def names_of(codes: Iterable[str]) -> list[str]:
    return sorted(map(name_of, codes))
