"""Estimates about texts before people judge them. They refuse no row."""

import re
from collections import Counter

from scoring.messages import message_reading
from scoring.rows.drafts import Draft

TOKEN_LIMIT = 512  # of the seed model
CHARACTERS_A_TOKEN = 4

_NAMES_MODEL = re.compile(
    r"\bas an? (?:AI|artificial intelligence|large language|language)\b(?: \w+)? model"
    r"|\b(?:I am|I'm|my name is) (?:an AI|ChatGPT|GPT-?\d|Claude|Bard|Gemini|LLaMA|Vicuna|Alpaca|Assistant)\b"
    r"|\b(?:developed|created|trained|made) by (?:OpenAI|Anthropic|Google|Meta|LMSYS|Mistral)\b",
    re.IGNORECASE,
)
_CUT_FROM = 200


def names_a_model(text: str, source: str = "") -> bool:
    """True when the text says which model wrote it, which may sway an annotator."""
    return bool(_NAMES_MODEL.search(text)) or (len(source) > 3 and source in text)


def looks_cut_off(text: str) -> bool:
    """True for a long text that ends in the middle of a sentence. Lists and code may look so, too."""
    last = text.rstrip()[-1:]
    return len(text) >= _CUT_FROM and last.isalnum() and last.isascii() and "\n" not in text[-40:]


def over_token_limit(prompt: str, completion: str, limit: int = TOKEN_LIMIT) -> bool:
    """characters / 4 > limit, an estimate of the tokens of a pair."""
    return len(prompt) + len(completion) > limit * CHARACTERS_A_TOKEN


def observe(draft: Draft, limit: int = TOKEN_LIMIT) -> Counter[str]:
    """Completions of a Draft by estimate: over_token_limit (of `limit` tokens), names_a_model, cut_off."""
    prompt = "".join(map(message_reading, draft.messages))
    counts: Counter[str] = Counter()
    for completion in draft.completions:
        counts["over_token_limit"] += over_token_limit(prompt, completion.text, limit)
        counts["names_a_model"] += names_a_model(completion.text, completion.source)
        counts["cut_off"] += looks_cut_off(completion.text)
    return counts
