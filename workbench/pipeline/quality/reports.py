"""The shape of a stored report: the keys of the JSON of `manage.py statistics --json`, which pages read too.

Intervals are 95 %. A label source is "people" or "imported"; only those with opinions are there. In
`against`, "all" is both together, where both have opinions."""

from __future__ import annotations

from typing import NotRequired, TypedDict, TypeGuard

FORMAT = 6
"""A report with another number is not shown, and a new one is computed."""

SOURCE_NAMES = {"people": "people", "imported": "imported labels", "all": "both"}
OPINION = {"people": "vote", "imported": "imported label", "all": "vote or label"}
"""What one opinion of a label source is called: only what people say here is a vote."""

OPINIONS = {"people": "votes", "imported": "imported labels", "all": "votes and labels"}


class StoredFigure(TypedDict):
    """A figures.Figure. Where prompts is above 0, the interval is bootstrapped over whole prompts."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    prompts: int
    why: NotRequired[str]
    """Where value, low and high are null: "not enough data" or a sentence."""


class KnownFigure(TypedDict):
    """A StoredFigure that has a value."""

    value: float
    low: float
    high: float
    n: int
    prompts: int


AnyFigure = StoredFigure | KnownFigure


def has_value(figure: StoredFigure | None) -> TypeGuard[KnownFigure]:
    """Whether the figure has a value."""
    return figure is not None and figure["value"] is not None


class Data(TypedDict):
    taken_at: str
    comparisons: int
    judgments: int
    """Rows of any kind."""
    last_judgment: int
    """Primary key."""
    opinions: int
    votes: int
    """Opinions of people."""
    labels: int
    """Opinions of files."""
    version: str | None
    """Name of the version that serves."""
    seconds: float
    """The time that computing took."""


class Sample(TypedDict):
    """The number of independent answers, from which `against`, `audit` and the ceilings are computed, and of
    the other answers by reason."""

    answers: int
    led: int
    """Given after a Suggestion was shown."""
    picked: int
    """On Comparisons that were not picked at random."""
    asked_after: int
    """Asked for because of earlier answers."""


class AgreementRow(TypedDict):
    label: str
    units: int
    """Comparisons with two opinions or more."""
    opinions: int
    raw: StoredFigure
    alpha: StoredFigure
    alpha_ordinal: StoredFigure
    ac1: StoredFigure


class Agreements(TypedDict):
    all: AgreementRow
    unseen: AgreementRow | None
    """Of independent answers alone; null for imported labels."""
    by_source: list[AgreementRow]
    by_guidelines: list[AgreementRow]
    by_week: list[AgreementRow]
    """By the latest opinion; labels are Mondays, the oldest first."""


class Checks(TypedDict):
    """See pipeline/quality/annotators."""

    gold: StoredFigure
    consistent: StoredFigure
    left: StoredFigure
    towards: StoredFigure
    away: StoredFigure


class AnnotatorRow(Checks):
    annotator: int
    """Primary key."""
    imported: bool
    votes: int
    week: int
    """Votes of the seven days before."""
    skill: StoredFigure
    """One-coin Dawid-Skene."""
    seconds: StoredFigure
    per_hour: float | None


class Aggregation(TypedDict):
    rule: str
    """The Dataset's."""
    annotators: int
    comparisons: int
    votes_per_annotator: float
    enough: bool
    """Whether there are enough votes for skill to decide."""
    decided_by_majority: int
    decided_by_skill: int
    differ: int
    mean_skill: float
    posterior: dict[str, float]
    """Mean probability of each outcome."""


class SecondsRow(TypedDict):
    label: str
    seconds: StoredFigure


class Seconds(TypedDict):
    """Median seconds from shown to answered."""

    all: StoredFigure
    by_length: list[SecondsRow]


class Week(TypedDict):
    week: str
    judgments: int
    annotators: int
    hours: float


class Pace(TypedDict):
    per_hour: StoredFigure
    by_week: list[Week]


class SliceRow(TypedDict):
    """A model on one kind of pair. by_rule and over_rule: the length rule, and the accuracy less the rule's,
    paired; on all pairs alone."""

    kind: str
    """ "all", "length" (of the two texts), "preferred" (was the longer one preferred), "source", "topic" or
    "truncated"."""
    label: str
    accuracy: StoredFigure
    wilson: list[float] | None
    longest: StoredFigure
    random: StoredFigure
    over_longest: StoredFigure
    ceiling: StoredFigure
    by_rule: NotRequired[StoredFigure]
    over_rule: NotRequired[StoredFigure]


class BinRow(TypedDict):
    """A scoring.calibrate.Bin."""

    lower: float
    upper: float
    n: int
    predicted: float
    observed: float
    low: float
    high: float


class Histogram(TypedDict):
    """Answers by margin and outcome. There is one edge more than bins."""

    edges: list[float]
    a: list[int]
    tie: list[int]
    b: list[int]


class ModelRow(TypedDict):
    """One version against one label source. Each pair counts once; pairs of prompt groups that the version
    has learnt are left out."""

    version: str
    pk: int
    kind: str
    calibrated: bool
    temperature: float | None
    n: int
    learnt: int
    """Pairs left out because the version has learnt their prompt groups."""
    known: str
    """Whether what the version has learnt is known (ModelVersion.learnt)."""
    rule: str
    """The length rule: "longest" or "shortest", whichever is right more often on training prompts."""
    slices: list[SliceRow]
    """The first is of all pairs; there are no others against "all"."""
    confidence_auc: StoredFigure
    """AUC of |margin| for "the model is right"."""
    ece: StoredFigure
    """As bins: of prompt groups without a part in fitting the temperature."""
    bins: list[BinRow]
    histogram: Histogram


class Audit(TypedDict):
    """Log-odds by feature (see pipeline/quality/audit)."""

    n: int
    prompts: int
    people: dict[str, StoredFigure]
    model: dict[str, StoredFigure]
    excess: dict[str, StoredFigure]
    people_given_margin: dict[str, StoredFigure]


class AuditRow(Audit):
    version: str
    pk: int


class Goal(TypedDict):
    """How many more Judgments a figure needs to be known within ± `within`."""

    goal: str
    """ "accuracy" or "alpha"."""
    version: str
    within: float
    now: float | None
    """Half the interval."""
    judgments: int | None
    """How many more; null = not known."""
    seconds: float | None
    """A Judgment."""
    hours: float | None
    measured: bool


class BoardRow(TypedDict):
    """A source of answers on the board. Strengths are log-odds above the mean of the sources; raw ones are
    without control of side and length. against_average: the chance to win against a source of mean
    strength."""

    source: str
    votes: int
    wins: float
    """A tie is half a win."""
    strength: StoredFigure
    against_average: StoredFigure
    raw_strength: StoredFigure
    raw_against_average: StoredFigure


class Lead(TypedDict):
    """The strongest source. chance: how often it wins against the next. sure: whether it is ahead of each
    other source, all of them together at 95 %."""

    source: str
    next: str
    chance: StoredFigure
    sure: bool


class Board(TypedDict):
    """Bradley-Terry strengths of the sources that wrote the answers (see pipeline/sources/board)."""

    votes: int
    groups: int
    """Prompt groups behind the votes."""
    ties: int
    sources: list[BoardRow]
    """The strongest first, then those without a strength."""
    wins: list[list[float]]
    """Wins of the row over the column, in the order of `sources`."""
    pairs: list[list[int]]
    """Votes on the two, in the same order."""
    controlled: bool
    """Whether `strength` is known: side and length are controlled."""
    left: StoredFigure
    """How often the answer on the left wins against its equal."""
    longer: StoredFigure
    """How often an answer twice as long wins against its equal."""
    lead: Lead | None
    left_out: dict[str, int]
    """Opinions that do not count, by reason: led (given after a Suggestion), both_bad, no_source,
    same_source, rare_source."""


class Report(TypedDict):
    format: int
    data: Data
    sample: dict[str, Sample]
    agreement: dict[str, Agreements]
    annotators: list[AnnotatorRow]
    """Most votes first: all people, and label sources among the first 500."""
    everybody: Checks
    """Of all people together."""
    aggregation: Aggregation
    seconds: Seconds
    pace: Pace
    against: dict[str, list[ModelRow]]
    """The serving version first; without `longest`, `shortest` and `random`."""
    audit: dict[str, list[AuditRow]]
    plan: list[Goal]
    boards: dict[str, Board]
    """By votes: "people" (blind votes), "random" (of these, the independent ones, where they are fewer),
    "imported"."""
    charts: NotRequired[list[str]]
    """Paths in storage; added when the report is stored."""


def label_sources(report: Report) -> list[str]:
    """The label sources with opinions, people first."""
    return [label_source for label_source in ("people", "imported") if label_source in report["agreement"]]


def agreement_under(report: Report | None, version: int) -> AgreementRow | None:
    """People's agreement under the version of the guidelines of this number."""
    people = report["agreement"].get("people") if report else None
    rows = people["by_guidelines"] if people else []
    return next((row for row in rows if row["label"] == str(version)), None)
