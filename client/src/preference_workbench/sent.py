"""What is sent to the workbench. Generated from the document of the API: `make client-models`."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict


class AccountChange(TypedDict):
    """
    What is sent is changed. languages: names or codes.
    """

    languages: NotRequired[list[str] | None]
    goes_straight_on: NotRequired[bool | None]


class ActWanted(TypedDict):
    """
    What to do to which prompts. kind: tag, untag, exclude, restore, review, gold, overlap, priority,
    rescore, paired or copy, with its own fields, as on the page. Name the prompts by `prompts` (and some of
    their pairs by `pairs`), or by `query`: all that the selection finds, "" = all.
    """

    kind: str
    prompts: NotRequired[list[int] | None]
    pairs: NotRequired[list[int] | None]
    query: NotRequired[str | None]
    tag: NotRequired[str | None]
    where: NotRequired[str | None]
    excluded_reason: NotRequired[str | None]
    review_note: NotRequired[str | None]
    gold_note: NotRequired[str | None]
    gold_outcome: NotRequired[str | None]
    people: NotRequired[int | None]
    policy: NotRequired[str | None]
    per_prompt: NotRequired[int | None]
    to: NotRequired[int | None]
    to_name: NotRequired[str | None]


class Again(TypedDict):
    """
    deliveries: their ids; null = all that are dead.
    """

    deliveries: NotRequired[list[int] | None]


class Because(TypedDict):
    """
    Why: of a pause, the person reads it.
    """

    reason: str


class CalibrateWanted(TypedDict):
    """
    dataset: whose votes to fit on; null = of all datasets. labels: imported labels too.
    """

    dataset: NotRequired[int | None]
    labels: NotRequired[bool]


class Confirmed(TypedDict):
    """
    The name of the dataset, to confirm.
    """

    name: str


class Correction(TypedDict):
    """
    seconds: to add; below 0 takes time away. reason: the person reads it.
    """

    user: int
    day: str
    seconds: int
    reason: str


class ExampleText(TypedDict):
    """
    Why the final label is right; an empty text takes the example back.
    """

    text: str


class ExternalModel(TypedDict):
    """
    revision: the hash of the weights, in hexadecimal digits. notice: a sentence beside its picks.
    """

    name: str
    revision: str
    notice: NotRequired[str]


class FactsChange(TypedDict):
    """
    What is sent is changed. languages: names or codes; views: saved views that are shared.
    """

    languages: NotRequired[list[str] | None]
    skills: NotRequired[list[str] | None]
    views: NotRequired[list[int] | None]


class FetchWanted(TypedDict):
    """
    repository: owner/name on the hub. revision: "" = main. wanted: the path of a file or the name of a
    split; "" only lists the files, in the result of the Run.
    """

    repository: str
    revision: NotRequired[str]
    wanted: NotRequired[str]


class FlagSent(TypedDict):
    """
    A flag. reason: broken, unsafe, identity, prompt, language or other.
    """

    comparison: int
    claim: NotRequired[int | None]
    reason: str
    note: NotRequired[str]


class Grant(TypedDict):
    """
    kind: try (one more), waiver (vote without), or needed (take a waiver back).
    """

    kind: str
    reason: str


class GuidelinesText(TypedDict):
    """
    The next version. based_on: the number of the version that was read before; 0 = there was none.
    """

    text: str
    based_on: int


class HeldSent(TypedDict):
    have: list[int]


class HostWanted(TypedDict):
    """
    name: as in huggingface.co; with its port unless that is 443.
    """

    name: str


class ImportWanted(TypedDict):
    """
    How to import. columns: the column of each use, as in {"prompt": "question", "a": "first answer"}.
    dry_run: check the whole file, and store nothing.
    """

    format: NotRequired[str]
    pairs: NotRequired[str]
    minimum_gap: NotRequired[float | None]
    max_pairs: NotRequired[int | None]
    source: NotRequired[str]
    licence: NotRequired[str]
    no_labels: NotRequired[bool]
    formula_safe: NotRequired[bool]
    strip_citations: NotRequired[bool]
    no_near_duplicates: NotRequired[bool]
    lenient: NotRequired[bool]
    columns: NotRequired[dict[str, str]]
    dry_run: NotRequired[bool]


class KnownAnswer(TypedDict):
    """
    outcome: a, b, tie or both_bad; empty: the pair is ordinary again. note: why it is right, for whoever
    qualifies.
    """

    outcome: str
    note: NotRequired[str]


class LeakageWanted(TypedDict):
    """
    column: the one of the prompt, in benchmarks that are JSON lines.
    """

    column: NotRequired[str]


class ModelChange(TypedDict):
    """
    What is sent is changed. notice: a sentence to show beside its picks; "" = none.
    """

    name: NotRequired[str | None]
    notice: NotRequired[str | None]


class Name(TypedDict):
    name: str


class NamedModel(TypedDict):
    """
    A model on the hub (repository, with a revision whose commit is pinned), or in a folder that workers
    can read (its whole path). name: here; empty = its own name. template and max_length: as of
    `register_model`. activate: have it serve if no model is active.
    """

    repository: NotRequired[str]
    revision: NotRequired[str]
    folder: NotRequired[str]
    name: NotRequired[str]
    template: NotRequired[str]
    max_length: NotRequired[int | None]
    precision: NotRequired[str]
    notice: NotRequired[str]
    activate: NotRequired[bool]


class NewDataset(TypedDict):
    """
    A new dataset, with whichever settings differ from the usual.
    """

    first_view: NotRequired[int | None]
    facet_keys: NotRequired[list[str] | None]
    name: str
    description: NotRequired[str | None]
    licence: NotRequired[str | None]
    overlap: NotRequired[int | None]
    """
    How many different people vote on each pair.
    """
    max_overlap: NotRequired[int | None]
    """
    On disagreement, ask more people, up to this many per pair. 0 = don't.
    """
    due_on: NotRequired[str | None]
    """
    When all votes are to be in; empty = open.
    """
    qualify_pairs: NotRequired[int | None]
    """
    Gold pairs that an annotator answers before the first vote. 0 = none.
    """
    qualify_share: NotRequired[float | None]
    """
    Pass mark: share of these pairs that must be right; 0.8 = 8 of 10.
    """
    qualify_tries: NotRequired[int | None]
    """
    How often a person may try to qualify.
    """
    gold_share: NotRequired[float | None]
    """
    Share of an annotator's pairs whose answer is known: 0.05 = one pair in 20.
    """
    repeat_share: NotRequired[float | None]
    """
    Share of an annotator's pairs that are asked again, with sides swapped.
    """
    pause_alpha: NotRequired[float | None]
    """
    Risk of pausing a careful person by mistake: 0.01 = 1 in 100. 0 = pause nobody.
    """
    pause_good: NotRequired[float | None]
    """
    Share of known answers that a careful person gets right.
    """
    pause_bad: NotRequired[float | None]
    """
    Share that somebody gets right who should be paused.
    """
    blind_share: NotRequired[float | None]
    """
    Share of pairs voted on before the model's pick is shown: 1 = always, 0 = never.
    """
    allows_ranking: NotRequired[bool | None]
    """
    Rank three to nine answers together instead of pair by pair; stored as votes on pairs.
    """
    lease_minutes: NotRequired[int | None]
    """
    How many minutes a pair is held for the annotator who opened it.
    """
    required_language: NotRequired[str | None]
    """
    Code of the language that people must read to vote here. Empty = any.
    """
    required_skill: NotRequired[str | None]
    """
    Skill that people must have to vote here. Empty = none.
    """
    requires_prompt_language: NotRequired[bool | None]
    """
    People get only pairs whose detected language they read.
    """
    language_key: NotRequired[str | None]
    """
    Metadata key whose value is the language that people must read. Empty = none.
    """
    skill_key: NotRequired[str | None]
    """
    Metadata key whose value is the skill that people must have. Empty = none.
    """
    order: NotRequired[str | None]
    """
    Which pairs come first. Only random picks give figures that hold for the whole dataset.
    """
    random_share: NotRequired[float | None]
    """
    Share of random pairs in a mixture: 0.3 = three pairs in 10, the least allowed.
    """
    max_per_group: NotRequired[int | None]
    """
    At most this many pairs of one prompt in a row, when uncertain pairs come first.
    """
    aggregation: NotRequired[str | None]
    """
    How votes become a final label. A reviewer's label always wins. Skill (one-coin Dawid-Skene) needs 20 shared votes per annotator.
    """
    single_vote_threshold: NotRequired[float | None]
    """
    Accept one vote when the model is this sure of it too: 0.9 = 90 %. Empty = never.
    """
    audit_share: NotRequired[float | None]
    """
    Share of those pairs that all people vote on anyway: 0.1 = one pair in 10.
    """
    idle_limit: NotRequired[int | None]
    """
    Most seconds that one vote adds to a person's time; the rest counts as idle.
    """
    pay_rate: NotRequired[float | str | None]
    """
    Pay for one vote or one hour; empty = none, and the time sheet shows hours alone.
    """
    pay_per: NotRequired[str | None]
    """
    What the rate is for.
    """
    currency: NotRequired[str | None]
    """
    EUR, or another word for money.
    """
    consent: NotRequired[str | None]
    """
    What people agree to before they join by an invitation. Empty = nothing.
    """
    frozen: NotRequired[bool | None]
    """
    Benchmark only: no model is trained on this dataset, and a model that loses on it is not promoted.
    """


class NewView(TypedDict):
    """
    query: as in the address of the Data page. shared: everyone who sees that page sees the view.
    """

    name: str
    query: str
    shared: NotRequired[bool]


class PairsWanted(TypedDict):
    """
    Which pairs to make of the answers that there are, as on the page. strategy: random, uncertain,
    disagreement, or models, where `model` and `other_model` (ids) prefer different answers. topic: an id.
    key: of one request, a UUID: the same again makes nothing more.
    """

    strategy: NotRequired[str]
    model: NotRequired[int | None]
    other_model: NotRequired[int | None]
    source: NotRequired[str]
    against: NotRequired[str]
    topic: NotRequired[int | None]
    number: NotRequired[int | None]
    per_prompt: NotRequired[int | None]
    key: NotRequired[str | None]


class Promote(TypedDict):
    """
    dataset: whose votes the gate weighs. override: against the gate; it needs a reason, which is kept.
    """

    dataset: int
    override: NotRequired[bool]
    reason: NotRequired[str]


class PushWanted(TypedDict):
    """
    repository: owner/name on the hub; it is created if it is missing.
    """

    repository: str
    private: NotRequired[bool]


class QualificationSent(TypedDict):
    """
    answer: left, right, tie or both_bad.
    """

    pair: int
    answer: str
    seconds: NotRequired[float | None]


class ReleaseWanted(TypedDict):
    """
    What to release. purpose: a name that picks profile and format; without one, name both. The filters
    are those of the page: agreement, probability and confidence in per cent, lengths in characters, days in
    UTC. view: the id of a saved view. without_leaked: without the prompts of the newest leakage report.
    """

    purpose: NotRequired[str]
    profiles: NotRequired[list[str]]
    formats: NotRequired[list[str]]
    method: NotRequired[list[str]]
    min_votes: NotRequired[int | None]
    max_votes: NotRequired[int | None]
    min_agreement: NotRequired[float | None]
    max_agreement: NotRequired[float | None]
    min_posterior: NotRequired[float | None]
    source: NotRequired[list[str]]
    judged_from: NotRequired[str | None]
    judged_until: NotRequired[str | None]
    min_length: NotRequired[int | None]
    max_length: NotRequired[int | None]
    min_confidence: NotRequired[float | None]
    max_confidence: NotRequired[float | None]
    view: NotRequired[int | None]
    without_leaked: NotRequired[bool]


class ReplyText(TypedDict):
    """
    annotator: who asked; an empty text takes the reply back; closes_flag: nothing is wrong with the pair,
    so their flag is closed.
    """

    annotator: int
    text: str
    closes_flag: NotRequired[bool]


class RoleChange(TypedDict):
    role: Literal["annotator", "reviewer", "admin"]


class SampleName(TypedDict):
    name: str


class SettingsChange(TypedDict):
    """
    The settings to change; the others stay.
    """

    first_view: NotRequired[int | None]
    facet_keys: NotRequired[list[str] | None]
    name: NotRequired[str | None]
    description: NotRequired[str | None]
    licence: NotRequired[str | None]
    overlap: NotRequired[int | None]
    """
    How many different people vote on each pair.
    """
    max_overlap: NotRequired[int | None]
    """
    On disagreement, ask more people, up to this many per pair. 0 = don't.
    """
    due_on: NotRequired[str | None]
    """
    When all votes are to be in; empty = open.
    """
    qualify_pairs: NotRequired[int | None]
    """
    Gold pairs that an annotator answers before the first vote. 0 = none.
    """
    qualify_share: NotRequired[float | None]
    """
    Pass mark: share of these pairs that must be right; 0.8 = 8 of 10.
    """
    qualify_tries: NotRequired[int | None]
    """
    How often a person may try to qualify.
    """
    gold_share: NotRequired[float | None]
    """
    Share of an annotator's pairs whose answer is known: 0.05 = one pair in 20.
    """
    repeat_share: NotRequired[float | None]
    """
    Share of an annotator's pairs that are asked again, with sides swapped.
    """
    pause_alpha: NotRequired[float | None]
    """
    Risk of pausing a careful person by mistake: 0.01 = 1 in 100. 0 = pause nobody.
    """
    pause_good: NotRequired[float | None]
    """
    Share of known answers that a careful person gets right.
    """
    pause_bad: NotRequired[float | None]
    """
    Share that somebody gets right who should be paused.
    """
    blind_share: NotRequired[float | None]
    """
    Share of pairs voted on before the model's pick is shown: 1 = always, 0 = never.
    """
    allows_ranking: NotRequired[bool | None]
    """
    Rank three to nine answers together instead of pair by pair; stored as votes on pairs.
    """
    lease_minutes: NotRequired[int | None]
    """
    How many minutes a pair is held for the annotator who opened it.
    """
    required_language: NotRequired[str | None]
    """
    Code of the language that people must read to vote here. Empty = any.
    """
    required_skill: NotRequired[str | None]
    """
    Skill that people must have to vote here. Empty = none.
    """
    requires_prompt_language: NotRequired[bool | None]
    """
    People get only pairs whose detected language they read.
    """
    language_key: NotRequired[str | None]
    """
    Metadata key whose value is the language that people must read. Empty = none.
    """
    skill_key: NotRequired[str | None]
    """
    Metadata key whose value is the skill that people must have. Empty = none.
    """
    order: NotRequired[str | None]
    """
    Which pairs come first. Only random picks give figures that hold for the whole dataset.
    """
    random_share: NotRequired[float | None]
    """
    Share of random pairs in a mixture: 0.3 = three pairs in 10, the least allowed.
    """
    max_per_group: NotRequired[int | None]
    """
    At most this many pairs of one prompt in a row, when uncertain pairs come first.
    """
    aggregation: NotRequired[str | None]
    """
    How votes become a final label. A reviewer's label always wins. Skill (one-coin Dawid-Skene) needs 20 shared votes per annotator.
    """
    single_vote_threshold: NotRequired[float | None]
    """
    Accept one vote when the model is this sure of it too: 0.9 = 90 %. Empty = never.
    """
    audit_share: NotRequired[float | None]
    """
    Share of those pairs that all people vote on anyway: 0.1 = one pair in 10.
    """
    idle_limit: NotRequired[int | None]
    """
    Most seconds that one vote adds to a person's time; the rest counts as idle.
    """
    pay_rate: NotRequired[float | str | None]
    """
    Pay for one vote or one hour; empty = none, and the time sheet shows hours alone.
    """
    pay_per: NotRequired[str | None]
    """
    What the rate is for.
    """
    currency: NotRequired[str | None]
    """
    EUR, or another word for money.
    """
    consent: NotRequired[str | None]
    """
    What people agree to before they join by an invitation. Empty = nothing.
    """
    frozen: NotRequired[bool | None]
    """
    Benchmark only: no model is trained on this dataset, and a model that loses on it is not promoted.
    """


class Settling(TypedDict):
    """
    outcome: a, b, tie, both_bad or drop; seen: of the case; reason: model_wrong, slip, ambiguous,
    guideline_gap or bad_data, where the last two want a note; blind_outcome: what was chosen before the votes
    were seen.
    """

    outcome: str
    seen: str
    reason: NotRequired[str]
    note: NotRequired[str]
    blind_outcome: NotRequired[str]


class Shown(TypedDict):
    """
    The comparison and the claim of an item.
    """

    comparison: int
    claim: NotRequired[int | None]


class TrainingWanted(TypedDict):
    """
    What to train. base: the model to start from. preset: quick, recommended or seed. name: of the new
    model; empty: after the dataset and the release.
    """

    release: str
    base: int
    preset: NotRequired[str]
    name: NotRequired[str]


class Unsettling(TypedDict):
    """
    The decision to undo.
    """

    decision: int


class Vote(TypedDict):
    """
    A vote. answer: left, left:2 (much better), right, right:2, tie, both_bad, cannot_judge, or for a
    ranking ranks:2,1,2 with the rank of each side, 1 = best. seconds: from shown to answered.
    """

    comparison: int
    claim: NotRequired[int | None]
    key: str
    answer: str
    supersedes: NotRequired[str | None]
    guidelines: NotRequired[int | None]
    seconds: NotRequired[float | None]
    comment: NotRequired[str]


class Wanted(TypedDict):
    """
    have: the comparisons that the client shows or keeps; again: also what was skipped; along: hold up to
    40 more than usual, for two hours, to be voted on without a connection.
    """

    have: NotRequired[list[int]]
    again: NotRequired[bool]
    along: NotRequired[bool]


class WebhookChange(TypedDict):
    """
    What to change; the rest stays. is_active: false = paused.
    """

    url: NotRequired[str | None]
    events: NotRequired[list[str] | None]
    is_active: NotRequired[bool | None]


class WebhookWanted(TypedDict):
    url: str
    events: list[str]


class Which(TypedDict):
    """
    before: only what is older than this judgment.
    """

    before: NotRequired[int | None]


class WhyActive(TypedDict):
    """
    Why: it is kept with the promotion.
    """

    reason: NotRequired[str]


class LinkWanted(TypedDict):
    """
    A link for so many people. domain: let in mail addresses of this domain alone.
    """

    role: NotRequired[Literal["annotator", "reviewer", "admin"]]
    uses: NotRequired[int]
    days: NotRequired[int]
    domain: NotRequired[str]


class MailsWanted(TypedDict):
    """
    Whom to write to. skips_bad: leave out what is no address, in place of inviting nobody.
    """

    addresses: list[str]
    role: NotRequired[Literal["annotator", "reviewer", "admin"]]
    days: NotRequired[int]
    skips_bad: NotRequired[bool]


class NewPerson(TypedDict):
    """
    username: of somebody with an account.
    """

    username: str
    role: NotRequired[Literal["annotator", "reviewer", "admin"]]
