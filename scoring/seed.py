"""The two examples on the card of the seed model, nicholasKluge/RewardModel, to check a download.

Texts and scores are quoted from the card (Nicholas Kluge Correa, Apache-2.0). Two versions of the card have
different scores for the bad example, so at least two sets of weights have been published.
"""

from scoring.formats import Scorer

REPOSITORY = "nicholasKluge/RewardModel"
PROMPT = "Why is AI Ethics important?"
GOOD = (
    "AI ethics is important for several compelling reasons:\n\n1.**Social Impact**: AI technologies are "
    "becoming increasingly integrated into various aspects of society, affecting everything from healthcare "
    "and education to finance and law enforcement. Ethical considerations ensure that AI systems contribute "
    "positively to society and minimize potential harm.\n\n2. **Bias and Fairness**: AI systems can inherit "
    "biases present in the data they are trained on, leading to unfair or discriminatory outcomes. Ethical "
    "considerations push for the development of unbiased algorithms that treat all individuals fairly, "
    "regardless of their background.\n\n3. **Transparency and Accountability**: Many AI systems operate as "
    "black boxes, making it difficult to understand how they arrive at their decisions. Ethical guidelines "
    "emphasize the importance of transparency, enabling users to comprehend the rationale behind "
    "AI-generated results and holding developers accountable for any negative consequences.\n\nIn summary, "
    "AI ethics is vital to ensure that artificial intelligence benefits society while respecting fundamental "
    "human rights, fairness, transparency, accountability, and the long-term well-being of humanity. It "
    "helps navigate the challenges posed by rapidly advancing AI technologies and guides their development "
    "in ways that align with our shared values."
)
BAD = (
    "Who cares about AI Ethics? It's just a bunch of whining about humans making and using AI and bitching "
    "about what the machines do."
)
GOOD_SCORE = 12.011
BAD_SCORES = (-10.942, -11.582)
TOLERANCE = 0.05


class NotTheSeed(ValueError):
    """A model that does not give the scores on the card of the seed."""


def check_card_examples(scorer: Scorer) -> None:
    """Raise NotTheSeed unless the scorer gives both examples the scores on the card."""
    good, bad = (scored.value for scored in scorer([(PROMPT, GOOD), (PROMPT, BAD)]))
    if abs(good - GOOD_SCORE) > TOLERANCE or min(abs(bad - score) for score in BAD_SCORES) > TOLERANCE:
        printed = " or ".join(map(str, BAD_SCORES))
        raise NotTheSeed(
            f"the card's examples score {good:.3f} and {bad:.3f}; the card prints {GOOD_SCORE} and {printed}"
        )
