"""Which prompts are alike, which split each is in, and which of them a model has learnt."""
