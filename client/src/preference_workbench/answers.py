"""What the workbench answers. Generated from the document of the API: `make client-models`."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, Field
from typing import Any, Literal
from uuid import UUID
from datetime import date as date_aliased


class Accuracy(BaseModel):
    """
    How often a model agrees with people on a dataset, on pairs that it has not learnt. Null where there is
    not enough data. rule: the length rule beside it, which is right in `by_rule`. ceiling: how often people
    agree. ece: the calibration error.
    """

    dataset_id: int
    dataset: str
    accuracy: float | None
    interval: tuple[float, float] | None
    decided: int
    rule: str
    by_rule: float | None
    beats_rule: bool | None
    ece: float | None
    ceiling: tuple[float, float] | None
    warning: str
    remarks: list[str]
    evaluation_id: int | None


class ActExtent(BaseModel):
    """
    What an act would change, and what it would leave, with the reason. removed: pairs that it takes away.
    sample: the first prompts.
    """

    prompts: int
    pairs: int
    removed: int
    answers: int
    left: list[str]
    sample: list[int]


class ActOut(BaseModel):
    """
    An act of the history. sentence: in words. details: what was chosen, and what was left as it was.
    """

    id: int
    kind: str
    sentence: str
    by: str | None
    at: AwareDatetime
    query: str
    details: dict[str, Any]
    prompt_count: int
    pair_count: int
    undone_at: AwareDatetime | None
    undone_by: str | None


class Acts(BaseModel):
    items: list[ActOut]
    next_after: int | None


class AgreementUnder(BaseModel):
    """
    People's agreement under one version of the guidelines, as of the last figures: null where there are
    too few votes.
    """

    number: int
    created_at: AwareDatetime
    value: float | None
    low: float | None
    high: float | None
    pairs: int


class Boards(BaseModel):
    """
    Who writes the better answers: strengths, wins and votes of the sources, by the votes they rest on
    ("people", "random", "imported").
    """

    taken_at: AwareDatetime
    boards: dict[str, Any]


class CaseDecision(BaseModel):
    """
    A final label. method: reviewer, or how it follows from the votes.
    """

    id: int
    outcome: str
    method: str
    reason: str
    note: str
    blind_outcome: str
    votes: int
    votes_for: int
    probability: float | None
    decided_by: str
    is_current: bool
    created_at: AwareDatetime
    undone_by: str
    undone_at: AwareDatetime | None


class CaseExample(BaseModel):
    """
    Why the pair is an example in the guidelines. An empty text: it was taken back.
    """

    id: int
    text: str
    by: str
    created_at: AwareDatetime
    is_held: bool


class CaseFlag(BaseModel):
    annotator: int
    name: str
    reason: str
    note: str
    created_at: AwareDatetime
    closed_at: AwareDatetime | None


class CasePick(BaseModel):
    """
    What a model picks. lead: its margin; probability: of the picked answer, null while not calibrated.
    """

    version: int
    name: str
    is_serving: bool
    outcome: str
    lead: float
    probability: float | None
    notice: str


class CaseReply(BaseModel):
    """
    What a reviewer answered to one annotator. is_held: that person may still vote on the pair, and reads
    it later; an empty text: it was taken back.
    """

    id: int
    annotator: int
    text: str
    by: str
    created_at: AwareDatetime
    is_held: bool
    read_at: AwareDatetime | None


class CaseSide(BaseModel):
    """
    One of the two answers. source: who wrote it.
    """

    completion: int
    source: str
    text: str
    messages: list[dict[str, Any]]


class CaseVote(BaseModel):
    """
    A vote or a label. purpose: work, gold or repeat; left: the answer that stood on the left.
    """

    id: int
    annotator: int
    name: str
    is_imported: bool
    outcome: str
    strength: int | None
    purpose: str
    stage: str
    mode: str
    left: str
    suggested: str
    seconds: float | None
    comment: str
    is_current: bool
    created_at: AwareDatetime


class ColumnOut(BaseModel):
    """
    A column of a table. kind: text, count and decimal have plain cells; the others have figures: value,
    low, high, n.
    """

    key: str
    label: str
    kind: str


class ComparisonOut(BaseModel):
    """
    A pair with its texts. gold_outcome: the known answer; "" = none.
    """

    id: int
    prompt_id: int
    messages: list[dict[str, Any]]
    a_id: int
    a: str
    a_source: str
    b_id: int
    b: str
    b_source: str
    external_id: str
    metadata: dict[str, Any]
    gold_outcome: str
    created_at: AwareDatetime


class ComparisonRows(BaseModel):
    items: list[ComparisonOut]
    next_after: int | None


class CompletionOut(BaseModel):
    """
    An answer. text: the reading view, which models score. messages: as they came; null = one assistant
    message with the text.
    """

    id: int
    prompt_id: int
    text: str
    messages: list[dict[str, Any]] | None
    source: str
    metadata: dict[str, Any]
    created_at: AwareDatetime


class CompletionRows(BaseModel):
    items: list[CompletionOut]
    next_after: int | None


class DeliveryOut(BaseModel):
    """
    An event on its way to a webhook. sequence: its number in the dataset, 0 for a test, null while it has
    none. status: of the last HTTP answer; null = there was none.
    """

    id: int
    event: str
    sequence: int | None
    state: str
    attempts: int
    next_at: AwareDatetime
    last_at: AwareDatetime | None
    status: int | None
    milliseconds: int | None
    error: str


class DownloadOut(BaseModel):
    """
    One request for a file of a release. first_byte: where a resumed download went on.
    """

    id: int
    file: str
    first_byte: int
    username: str
    created_at: AwareDatetime


class Downloads(BaseModel):
    items: list[DownloadOut]
    next_after: int | None


class EvaluationOut(BaseModel):
    """
    The figures of a model on the pairs of a dataset, at one moment.
    """

    id: int
    split: str
    protocol: str
    pairs: int
    data_sha256: str
    figures: dict[str, Any]
    run_id: int | None
    created_at: AwareDatetime


class EventOut(BaseModel):
    """
    Something that happened to a prompt. act: the act that can be undone; null = none.
    """

    at: AwareDatetime
    who: str
    what: str
    detail: str
    act: int | None


class ExampleRow(BaseModel):
    """
    A pair as an annotator would see it. more: the further pairs of its prompt.
    """

    line: int
    messages: list[Any]
    left: str
    right: str
    labels: str
    more: int


class FacetValue(BaseModel):
    """
    name=value chooses it. count: the prompts that have it among those that all other fields find.
    """

    name: str
    value: str
    words: str
    count: int
    chosen: bool


class FailureOut(BaseModel):
    """
    Requests of the last day that ended in an error of the workbench.
    """

    view: str
    error: str
    count: int
    last: AwareDatetime


class Fault(BaseModel):
    """
    One thing that is wrong with what was sent. line: of the file or of the rows; null where none.
    """

    message: str
    code: str
    field: str = ""
    line: int | None = None


class FlagOut(BaseModel):
    """
    A pair that somebody should look at. closed_at: null while it is open.
    """

    id: int
    comparison_id: int
    username: str | None
    reason: str
    note: str
    created_at: AwareDatetime
    closed_at: AwareDatetime | None


class FlagRows(BaseModel):
    items: list[FlagOut]
    next_after: int | None


class FoundPrompt(BaseModel):
    id: int
    excerpt: str


class FoundPrompts(BaseModel):
    """
    The prompts in the order of the selection at the moment of the request: what comes, goes or gets other
    figures between two pages moves the rest. prompts, pairs: how many are found. waiting: new prompts that
    the search for words left out, as they can't be searched yet. next_start: null at the end.
    """

    prompts: int
    pairs: int
    waiting: int
    items: list[FoundPrompt]
    next_start: int | None


class Gap(BaseModel):
    """
    A pair that the guidelines do not cover.
    """

    comparison: int
    prompt: int
    excerpt: str
    note: str
    by: str
    created_at: AwareDatetime


class Gaps(BaseModel):
    items: list[Gap]
    next_after: int | None
    versions: list[AgreementUnder]


class GrantOut(BaseModel):
    """
    What an admin gave. kind: try, waiver, or needed: a waiver was taken back.
    """

    kind: str
    reason: str
    by: str
    created_at: AwareDatetime


class GroupOut(BaseModel):
    """
    Prompts that are the same or nearly the same, which stay in one split.
    """

    group: str
    split: str
    prompts: list[int]


class Groups(BaseModel):
    """
    Groups of several prompts, the largest first. next_after: what to ask for next; null at the end.
    """

    items: list[GroupOut]
    next_after: str | None


class Guest(BaseModel):
    """
    Somebody who came by the invitation.
    """

    user: int
    name: str
    at: AwareDatetime


class GuidelinesOut(BaseModel):
    """
    A version of the guidelines. number 0 = there is none yet.
    """

    number: int
    text: str
    created_at: AwareDatetime | None


class Held(BaseModel):
    """
    held: comparisons that are still held; the others went to somebody else.
    """

    held: list[int]
    guidelines: int | None


class HistoryRow(BaseModel):
    """
    An act. says: the kind in words; who: in words; object: what it was done to; word: of a fixed list, as
    a role; count: of how many things; fields: the names of what was changed.
    """

    id: int
    at: AwareDatetime
    kind: str
    says: str
    who: str
    user: int | None
    command: str
    dataset: str
    dataset_id: int | None
    object: str
    object_id: str
    word: str
    count: int | None
    fields: list[str]
    request: str


class HistoryRows(BaseModel):
    """
    Newest first. next_before: what to ask for next; null at the end.
    """

    items: list[HistoryRow]
    next_before: int | None


class HostOut(BaseModel):
    """
    A host that workers may ask. added_by: the name of the account.
    """

    id: int
    name: str
    added_by: str | None
    created_at: AwareDatetime


class Hosts(BaseModel):
    items: list[HostOut]
    next_after: int | None


class InvitationOut(BaseModel):
    """
    An invitation. link: null for a token that only reads, as whoever has the link comes in; address: whom
    the mail goes to, empty for a link to copy; domain: of the mail addresses that it lets in, empty for any;
    state: open, revoked, expired, accepted or used up; mail: none, waiting, sending, sent, failed, unsure.
    """

    id: int
    role: str
    link: str | None
    address: str
    domain: str
    uses: int
    max_uses: int
    state: str
    mail: str
    mail_error: str
    created_at: AwareDatetime
    created_by: str
    expires_at: AwareDatetime
    came: list[Guest]


class Invitations(BaseModel):
    items: list[InvitationOut]
    next_after: int | None


class Invited(BaseModel):
    """
    Addresses that get a mail; that were invited before; that are members' already; and lines that are no
    address.
    """

    invited: list[str]
    before: list[str]
    members: list[str]
    skipped: list[str]


class LabelOut(BaseModel):
    """
    A final label. A later one of the pair takes its place: `is_current` is as of now.
    """

    id: int
    comparison_id: int
    outcome: str
    method: str
    reason: str
    note: str
    votes: int
    votes_for: int
    probability: float | None
    decided_by: str | None
    supersedes_id: int | None
    is_current: bool
    undone_at: AwareDatetime | None
    created_at: AwareDatetime


class LabelRows(BaseModel):
    """
    next_since: what to ask for next, now or later. more: whether there are rows already.
    """

    items: list[LabelOut]
    next_since: int
    more: bool


class Lacking(BaseModel):
    """
    Pairs that wait for somebody else. words: what that person has.
    """

    pairs: int
    words: str


class LeakOut(BaseModel):
    """
    What is like one reference, which has `size` prompts. alike: prompts of the dataset by split; examples:
    the ids of the first of them.
    """

    reference: str
    size: int
    alike: dict[str, int]
    examples: dict[str, list[int]]


class LeakageReport(BaseModel):
    """
    The newest report that is done. groups: groups of prompts with a leak.
    """

    run_id: int
    finished_at: AwareDatetime
    groups: int
    references: list[LeakOut]


class ModelInFull(BaseModel):
    """
    A model with all that is known of it. calibration: the data that its temperature was fitted on, and how
    well it fits. guard: answers that score closer than this are scored again in fp32.
    """

    id: int
    name: str
    kind: str
    state: str
    origin: str
    revision: str
    notice: str
    parameters: int | None
    weights_sha256: str
    tokenizer_sha256: str
    template: str
    max_length: int
    precision: str
    temperature: float | None
    learnt: str
    base_id: int | None
    release_id: UUID | None
    created_at: AwareDatetime
    activated_at: AwareDatetime | None
    architecture: str
    guard: float | None
    calibration: dict[str, Any]
    training: dict[str, Any]


class ModelOut(BaseModel):
    """
    A model, pinned: the same id gives the same score for the same text. origin: a repository on the hub,
    or a folder. learnt: whether the prompts that it was trained on are on record. base_id: the model that its
    training started from; release_id: the release that it was trained on.
    """

    id: int
    name: str
    kind: str
    state: str
    origin: str
    revision: str
    notice: str
    parameters: int | None
    weights_sha256: str
    tokenizer_sha256: str
    template: str
    max_length: int
    precision: str
    temperature: float | None
    learnt: str
    base_id: int | None
    release_id: UUID | None
    created_at: AwareDatetime
    activated_at: AwareDatetime | None


class Models(BaseModel):
    items: list[ModelOut]
    next_after: int | None


class NewPairOut(BaseModel):
    """
    margin: of the model that chose the pair; other_margin: of the second, where two did.
    """

    prompt: int
    a: int
    b: int
    margin: float | None
    other_margin: float | None


class NothingLeft(BaseModel):
    """
    Why no item came. detail: in words; is_sorting: a worker still reads what some pairs require.
    """

    reason: Literal[
        "paused", "must_qualify", "no_pairs", "none_for_you", "answer_first"
    ]
    detail: str
    skipped: int = 0
    lacks: list[Lacking] = Field([], validate_default=True)
    is_sorting: bool = False


class OwnLine(BaseModel):
    votes: int
    changes: int
    untimed: int
    seconds: str
    pay: str | None
    user: int
    person: str
    day: date_aliased
    reason: str
    corrected_by: str
    dataset: int


class OwnQuestion(BaseModel):
    """
    A flag or a comment of the account, and what became of it. flag: the reason in words, empty for a
    comment; prompt, left and right: their beginnings; outcome: of a reviewer, by these sides; is_closed: a
    reviewer closed the flag and left the pair without a final label.
    """

    at: AwareDatetime
    flag: str
    text: str
    prompt: str
    left: str
    right: str
    outcome: str
    is_excluded: bool
    is_closed: bool
    is_news: bool
    reply: str
    replied_at: AwareDatetime | None


class OwnQuestions(BaseModel):
    """
    A page of questions, newest first. pages: how many there are.
    """

    items: list[OwnQuestion]
    pages: int


class PairsMade(BaseModel):
    """
    act: null where there were no such pairs.
    """

    act: ActOut | None


class PairsPreview(BaseModel):
    """
    pairs: that would be made; possible: that there are of this kind. votes, seconds: what they cost.
    """

    pairs: int
    prompts: int
    possible: int
    votes: int
    seconds: float
    first: list[NewPairOut]


class PairsUndone(BaseModel):
    """
    stayed: pairs that somebody has begun.
    """

    removed: int
    stayed: int


class PauseOut(BaseModel):
    """
    A pause of somebody's voting; a warning until it begins. reason: what the person is told; evidence: in
    words, empty where an admin began it.
    """

    reason: str
    evidence: str
    announced_at: AwareDatetime
    began_at: AwareDatetime | None
    begun_by: str
    ended_at: AwareDatetime | None
    ended_by: str
    ended_reason: str


class PersonFigure(BaseModel):
    """
    A figure with its 95 % interval; null where there is not enough data.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


class PersonFigures(BaseModel):
    """
    Votes and checks, as of the last figures of the dataset. week: votes of its last seven days; gold:
    right on known answers; consistent: the same answer when asked again; left: chose left; towards, away:
    changed to the model's pick, and to something else; seconds: for a vote.
    """

    votes: int
    week: int
    gold: PersonFigure
    consistent: PersonFigure
    left: PersonFigure
    towards: PersonFigure
    away: PersonFigure
    skill: PersonFigure
    seconds: PersonFigure
    per_hour: float | None


class PersonOut(BaseModel):
    """
    A member. id: of the membership; languages: codes, as an admin says; says: the
    languages that the person says they read; annotator: null before the first vote; settled: cases of the
    review; has_failed: no try to qualify is left.
    """

    id: int
    user: int
    name: str
    is_service: bool
    role: str
    languages: list[str]
    says: str
    skills: list[str]
    annotator: int | None
    last_active: AwareDatetime | None
    settled: int
    agreed_at: AwareDatetime | None
    pause: PauseOut | None
    has_failed: bool
    figures: PersonFigures | None


class Problem(BaseModel):
    """
    Why a request was refused. Nothing was changed. code: a word that stays the same; detail: a sentence
    for people.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[Fault]


class ProfileChange(BaseModel):
    """
    Rows of one profile. flipped: the other answer is preferred now. moved: in another split.
    """

    added: int
    removed: int
    flipped: int
    moved: int


class PromotionOut(BaseModel):
    """
    A change of the active model. kind: first, earned, override or rollback.
    """

    id: int
    version_id: int
    version: str
    supersedes_id: int | None
    kind: str
    reason: str
    by: str | None
    created_at: AwareDatetime


class Promotions(BaseModel):
    items: list[PromotionOut]
    next_after: int | None


class PromptOut(BaseModel):
    """
    A prompt with its messages as they came. language: "" = not sure. excluded_from: "" = nothing.
    """

    id: int
    messages: list[dict[str, Any]]
    tools: list[Any] | None
    external_id: str
    metadata: dict[str, Any]
    group: str
    language: str
    topic_id: int | None
    excluded_from: str
    excluded_reason: str
    created_at: AwareDatetime


class PromptRows(BaseModel):
    items: list[PromptOut]
    next_after: int | None


class PushedScores(BaseModel):
    """
    known: scores that were there already, with the same value.
    """

    stored: int
    known: int


class QualificationAttempt(BaseModel):
    """
    A try. right and passed: null until it ends.
    """

    number: int
    pairs: int
    needed: int
    answered: int
    right: int | None
    passed: bool | None


class QualificationResult(BaseModel):
    """
    An answered pair. known: the right answer; why: its explanation; is_last: the try is over.
    """

    pair: int
    answer: str
    known: str
    is_right: bool
    why: str
    is_last: bool


class QualificationStanding(BaseModel):
    """
    How the account stands. state: off, exempt, waived, passed, too_few (pairs with a known answer: nobody
    is asked), open, due or failed; pairs and needed: how many are asked, and how many right ones pass; left:
    tries that may be started.
    """

    state: str
    pairs: int
    needed: int
    left: int
    last: QualificationAttempt | None


class QueueOut(BaseModel):
    """
    What waits in a queue. age: of the oldest that waits, in seconds; 0 = none waits.
    """

    name: str
    waiting: int
    running: int
    age: float
    workers: int


class ReleaseChange(BaseModel):
    """
    What changed from one release to another. settings, outcomes: before and after, where they differ.
    missing: profiles that only one of the two has.
    """

    profiles: dict[str, ProfileChange]
    missing: dict[str, str]
    settings: dict[str, tuple[Any, Any]]
    outcomes: dict[str, tuple[int, int]]


class ReleaseCheck(BaseModel):
    """
    damaged: what is wrong with each file that is not as it was released.
    """

    is_whole: bool
    damaged: dict[str, str]


class ReleaseOut(BaseModel):
    """
    A release. It is ready once its Run is done, and never changes after that.
    """

    id: UUID
    number: int
    dataset_id: int
    is_ready: bool
    profiles: list[str]
    formats: list[str]
    filters: dict[str, Any]
    rows: int
    run_id: int | None
    created_at: AwareDatetime


class ReleaseProfile(BaseModel):
    """
    The columns of a file with their types, and what becomes of each final label. is_flat: whether a CSV
    can hold it.
    """

    name: str
    title: str
    purpose: str
    reads: str
    columns: dict[str, str]
    rule: dict[str, str]
    is_flat: bool


class ReleasePurpose(BaseModel):
    """
    What a release is for: it picks a profile and a format.
    """

    name: str
    title: str
    hint: str
    profile: str
    format: str


class ReleaseWithManifest(BaseModel):
    """
    A release with its manifest: the rule, counts and `load` call of each profile, and each file with its
    rows, bytes and sha256. Empty until the release is ready.
    """

    id: UUID
    number: int
    dataset_id: int
    is_ready: bool
    profiles: list[str]
    formats: list[str]
    filters: dict[str, Any]
    rows: int
    run_id: int | None
    created_at: AwareDatetime
    manifest: dict[str, Any]


class Releases(BaseModel):
    items: list[ReleaseOut]
    next_after: int | None


class ReviewCase(BaseModel):
    """
    All about one pair. seen: to be sent with the answer; outcomes name the answers a and b, and `left` is
    the one that this reviewer's page shows on the left; gold_outcome: the known answer, empty for none;
    gold_note: its explanation.
    """

    comparison: int
    dataset: int
    prompt: int
    group: str
    why: list[str]
    messages: list[dict[str, Any]]
    tools: Any
    a: CaseSide
    b: CaseSide
    left: str
    gold_outcome: str
    gold_note: str
    settled: bool
    seen: str
    votes: list[CaseVote]
    picks: list[CasePick]
    flags: list[CaseFlag]
    decisions: list[CaseDecision]
    replies: list[CaseReply]
    example: CaseExample | None
    may_be_example: bool


class ReviewCounts(BaseModel):
    """
    How many cases each filter leaves. queues: the whole queues. waiting: as in ReviewRows.
    """

    queues: dict[str, int | None]
    why: dict[str, int]
    source: dict[str, int]
    annotator: dict[str, int]
    lengths: dict[str, int]
    waiting: int


class ReviewRow(BaseModel):
    """
    A case of the queue. why: the reasons; split: how many votes each outcome has, the most first; votes:
    by outcome, and suggested: the model's pick; both null until the case is settled or `votes` is shown;
    sure: the probability of the pick; settled: the outcome, empty while the case is open.
    """

    comparison: int
    prompt: int
    excerpt: str
    why: list[str]
    since: AwareDatetime | None
    split: list[int]
    votes: dict[str, int] | None
    suggested: str | None
    sure: float | None
    settled: str
    decision: int | None


class ReviewRows(BaseModel):
    """
    after: what to ask for next, empty at the end. waiting: new prompts that a search leaves out, as a
    worker has not yet made them searchable.
    """

    items: list[ReviewRow]
    after: str
    as_of: float
    version: int | None
    waiting: int


class RowProblem(BaseModel):
    """
    What is wrong with a row. line: null for the file as a whole. excerpt: of the value.
    """

    line: int | None
    field: str
    code: str
    message: str
    excerpt: str


class RunOut(BaseModel):
    """
    A long job. It has ended when `is_open` is false. total: null while nobody knows it. progress: in
    words, as on the pages. release_id: of the release that it builds. error: why it failed, or why it waits.
    result: by its kind.
    """

    id: int
    kind: str
    state: str
    is_open: bool
    dataset_id: int | None
    version_id: int | None
    release_id: UUID | None
    done: int
    total: int | None
    progress: str
    error: str
    result: dict[str, Any]
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None


class Runs(BaseModel):
    items: list[RunOut]
    next_after: int | None


class Samples(BaseModel):
    """
    Files to try the import with: what is in each, by name.
    """

    items: dict[str, str]


class ScoreOut(BaseModel):
    """
    What a model gives a completion. prompt_cut, completion_cut: tokens that it did not read.
    """

    id: int
    completion_id: int
    value: float
    precision: str
    prompt_cut: int
    completion_cut: int


class ScoreRows(BaseModel):
    items: list[ScoreOut]
    next_after: int | None


class SentAgain(BaseModel):
    count: int


class Settings(BaseModel):
    """
    The settings of a dataset, as on its Settings page.
    """

    first_view: int | None
    facet_keys: list[str]
    name: str
    description: str | None = None
    licence: str | None = None
    overlap: int = 1
    """
    How many different people vote on each pair.
    """
    max_overlap: int = 0
    """
    On disagreement, ask more people, up to this many per pair. 0 = don't.
    """
    due_on: date_aliased | None = None
    """
    When all votes are to be in; empty = open.
    """
    qualify_pairs: int = 0
    """
    Gold pairs that an annotator answers before the first vote. 0 = none.
    """
    qualify_share: float = 0.8
    """
    Pass mark: share of these pairs that must be right; 0.8 = 8 of 10.
    """
    qualify_tries: int = 2
    """
    How often a person may try to qualify.
    """
    gold_share: float = 0.0
    """
    Share of an annotator's pairs whose answer is known: 0.05 = one pair in 20.
    """
    repeat_share: float = 0.0
    """
    Share of an annotator's pairs that are asked again, with sides swapped.
    """
    pause_alpha: float = 0.01
    """
    Risk of pausing a careful person by mistake: 0.01 = 1 in 100. 0 = pause nobody.
    """
    pause_good: float = 0.75
    """
    Share of known answers that a careful person gets right.
    """
    pause_bad: float = 0.5
    """
    Share that somebody gets right who should be paused.
    """
    blind_share: float = 1.0
    """
    Share of pairs voted on before the model's pick is shown: 1 = always, 0 = never.
    """
    allows_ranking: bool = False
    """
    Rank three to nine answers together instead of pair by pair; stored as votes on pairs.
    """
    lease_minutes: int = 20
    """
    How many minutes a pair is held for the annotator who opened it.
    """
    required_language: str | None = ""
    """
    Code of the language that people must read to vote here. Empty = any.
    """
    required_skill: str | None = ""
    """
    Skill that people must have to vote here. Empty = none.
    """
    requires_prompt_language: bool = False
    """
    People get only pairs whose detected language they read.
    """
    language_key: str | None = ""
    """
    Metadata key whose value is the language that people must read. Empty = none.
    """
    skill_key: str | None = ""
    """
    Metadata key whose value is the skill that people must have. Empty = none.
    """
    order: str = "random"
    """
    Which pairs come first. Only random picks give figures that hold for the whole dataset.
    """
    random_share: float = 0.3
    """
    Share of random pairs in a mixture: 0.3 = three pairs in 10, the least allowed.
    """
    max_per_group: int = 1
    """
    At most this many pairs of one prompt in a row, when uncertain pairs come first.
    """
    aggregation: str = "majority"
    """
    How votes become a final label. A reviewer's label always wins. Skill (one-coin Dawid-Skene) needs 20 shared votes per annotator.
    """
    single_vote_threshold: float | None = None
    """
    Accept one vote when the model is this sure of it too: 0.9 = 90 %. Empty = never.
    """
    audit_share: float = 0.1
    """
    Share of those pairs that all people vote on anyway: 0.1 = one pair in 10.
    """
    idle_limit: int = 300
    """
    Most seconds that one vote adds to a person's time; the rest counts as idle.
    """
    pay_rate: str | None = None
    """
    Pay for one vote or one hour; empty = none, and the time sheet shows hours alone.
    """
    pay_per: str = "hour"
    """
    What the rate is for.
    """
    currency: str | None = ""
    """
    EUR, or another word for money.
    """
    consent: str | None = ""
    """
    What people agree to before they join by an invitation. Empty = nothing.
    """
    frozen: bool = False
    """
    Benchmark only: no model is trained on this dataset, and a model that loses on it is not promoted.
    """


class ShownExample(BaseModel):
    """
    A pair that a reviewer made an example. outcome: the right one, with these sides.
    """

    prompt: str
    left: str
    right: str
    outcome: str
    why: str


class ShownPart(BaseModel):
    """
    A piece of a message. kind: text, reasoning, refusal, call, result or other; name: of the tool that is
    called.
    """

    kind: str
    name: str
    text: str


class ShownPick(BaseModel):
    """
    What the model picks. value: an answer that could be sent; differs: from the vote.
    """

    value: str
    words: str
    sure: str
    notice: str
    differs: bool


class ShownTurn(BaseModel):
    """
    A message. more: its other keys.
    """

    role: str
    name: str
    parts: list[ShownPart]
    more: dict[str, Any]


class ShownVote(BaseModel):
    """
    The vote of a reopened item. supersedes: to be sent with the vote that takes its place.
    """

    judgment: int
    answer: str
    comment: str
    supersedes: str


class SimilarPrompt(BaseModel):
    """
    completion: its answer that matches best. similarity: from 0 to 1 = the same.
    """

    prompt: int
    completion: int | None
    similarity: float


class SimilarPrompts(BaseModel):
    items: list[SimilarPrompt]


class SliceChange(BaseModel):
    """
    Both models on one kind of pair. p: by prompt group, valid however often somebody looks; holm_p:
    corrected for all kinds.
    """

    name: str
    label: str
    n: int
    n01: int
    n10: int
    difference: float | None
    clustered: tuple[float, float] | None
    p: float | None
    holm_p: float | None


class StatisticsOut(BaseModel):
    """
    The stored figures as a whole. taken_at: the moment of their data. votes_since: how many votes are
    newer, counted up to 10,000. run: the one that computes them again now; they renew themselves. report: the
    JSON of `manage.py statistics --json`.
    """

    taken_at: AwareDatetime
    votes_since: int
    run: RunOut | None
    report: dict[str, Any]


class SuggestionOut(BaseModel):
    """
    What a model says of a pair: score of a minus score of b.
    """

    id: int
    comparison_id: int
    margin: float


class SuggestionRows(BaseModel):
    items: list[SuggestionOut]
    next_after: int | None


class TableOut(BaseModel):
    """
    A table of figures. says: its one sentence; lacks: what is missing until there is one.
    """

    name: str
    title: str
    says: str
    lacks: str
    warning: str
    notes: list[str]
    reading: str
    columns: list[ColumnOut]
    row_count: int


class TableWithRows(BaseModel):
    name: str
    title: str
    says: str
    lacks: str
    warning: str
    notes: list[str]
    reading: str
    columns: list[ColumnOut]
    row_count: int
    rows: list[dict[str, Any]]


class Tags(BaseModel):
    items: list[str]


class TimeLine(BaseModel):
    """
    The answers of a person on a day (UTC), or a correction of their time, with its reason.
    """

    votes: int
    changes: int
    untimed: int
    seconds: str
    pay: str | None
    user: int
    person: str
    day: date_aliased
    reason: str
    corrected_by: str


class TimeTotal(BaseModel):
    """
    votes: first answers; changes: later ones; untimed: answers whose time nobody measured; pay: null
    without a rate.
    """

    votes: int
    changes: int
    untimed: int
    seconds: str
    pay: str | None


class TokenInUse(BaseModel):
    """
    The token of the request. is_for_all: for every dataset that the account may open.
    """

    name: str
    prefix: str
    scope: str
    is_for_all: bool
    expires_at: AwareDatetime


class TokenOut(BaseModel):
    """
    A token without its secret. account: whose it is; prefix: the first characters of the secret;
    is_for_all: for every dataset that the account may open; datasets: those that it names; last_used_at: to
    the minute; state: usable, expired or revoked.
    """

    id: int
    account: int
    person: str
    name: str
    prefix: str
    scope: str
    is_for_all: bool
    datasets: list[int]
    created_at: AwareDatetime
    expires_at: AwareDatetime
    last_used_at: AwareDatetime | None
    state: str


class Tokens(BaseModel):
    items: list[TokenOut]
    next_after: int | None


class TopicOut(BaseModel):
    """
    Prompts of similar meaning. figures: accuracy of the model and agreement of people, with intervals.
    """

    id: int
    number: int
    name: str
    size: int
    figures: dict[str, Any]


class Topics(BaseModel):
    """
    run: the last Run that computed topics.
    """

    items: list[TopicOut]
    run: RunOut | None


class TrainingOutlook(BaseModel):
    """
    What a training on a release would learn from. rows: by split.
    """

    profile: str
    rows: dict[str, int]
    warnings: list[str]
    usual_preset: str
    usual_base: int | None


class TryOut(BaseModel):
    """
    A try to qualify.
    """

    number: int
    pairs: int
    needed: int
    answered: int
    right: int | None
    passed: bool | None
    started_at: AwareDatetime
    ended_at: AwareDatetime | None


class UndoneOut(BaseModel):
    """
    How many prompts got back what they had, and what stays, with the reason. emptied: another dataset that
    has no prompt any more; "" = none.
    """

    prompts: int
    left: list[str]
    emptied: str


class UploadOut(BaseModel):
    """
    An uploaded file. latest_run: the id of the latest Run that checked or imported it.
    """

    id: UUID
    dataset_id: int
    name: str
    size: int
    sha256: str
    created_at: AwareDatetime
    latest_run: int | None


class Uploads(BaseModel):
    """
    The latest first. next_before: what to ask for next; null at the end.
    """

    items: list[UploadOut]
    next_before: str | None


class ViewOut(BaseModel):
    id: int
    name: str
    query: str
    shared: bool
    is_own: bool
    created_at: AwareDatetime


class Views(BaseModel):
    items: list[ViewOut]


class VoteOut(BaseModel):
    """
    An answer to a pair, never changed: a later one names it as `supersedes`. annotator_id: the same person
    or label source has the same. source: of an imported label; "" = a person. suggested: what the model said
    then. purpose: work, gold or repeat.
    """

    id: int
    comparison_id: int
    annotator_id: int
    username: str | None
    source: str
    outcome: str
    strength: int | None
    comment: str
    stage: str
    purpose: str
    left: str
    suggested: str
    seconds: float | None
    supersedes_id: int | None
    is_current: bool
    created_at: AwareDatetime


class VoteRows(BaseModel):
    """
    next_since: what to ask for next, now or later. more: whether there are rows already.
    """

    items: list[VoteOut]
    next_since: int
    more: bool


class Voted(BaseModel):
    """
    The stored vote. pick: the model's, after a first blind vote that has one.
    """

    judgment: int
    pick: ShownPick | None


class VotesOfDay(BaseModel):
    date: date_aliased
    votes: int


class WebhookOut(BaseModel):
    """
    An address that is told of what happens in a dataset. last_error: "" = the last request was taken.
    """

    id: int
    dataset_id: int
    url: str
    events: list[str]
    is_active: bool
    created_at: AwareDatetime
    last_at: AwareDatetime | None
    last_error: str


class WebhookSecret(BaseModel):
    """
    secret: shown this once. Receivers check the signature of each request with it.
    """

    webhook: WebhookOut
    secret: str


class Webhooks(BaseModel):
    items: list[WebhookOut]


class WeighedDifference(BaseModel):
    """
    A difference of accuracy, new - old, against at_least: 0 for "better", -margin for "no worse".
    interval: holds however often somebody looks, at 1 - level; null for too few prompt groups. met: true
    where all of it is above at_least, false where all of it is below at_least + margin. more_pairs: how many
    more would decide; null where it is decided, or cannot be told.
    """

    pairs: int
    groups: int
    difference: float
    interval: tuple[float, float] | None
    level: float
    at_least: float
    margin: float
    met: bool | None
    more_pairs: int | None


class WorkerOut(BaseModel):
    """
    A worker as it last reported. queues: the names of those that it serves.
    """

    name: str
    is_alive: bool
    queues: str
    device: str
    version: str
    texts_scored: int
    started_at: AwareDatetime
    last_seen: AwareDatetime
    stopped_at: AwareDatetime | None


class Written(BaseModel):
    """
    What was stored. id: to undo it by.
    """

    id: int
    text: str


class ComparedModels(BaseModel):
    """
    Two models on the pairs of a dataset that neither has learnt; differences are new - old. n: decided
    pairs; the new one alone is right on n01, the old one alone on n10. p: McNemar's exact test. lacking:
    pairs that one of the two has not scored; empty: pairs with an empty answer, which no model scores.
    """

    dataset_id: int
    dataset: str
    n: int
    ties: int
    groups: int
    new_accuracy: float | None
    old_accuracy: float | None
    n01: int
    n10: int
    both_right: int
    p: float | None
    accuracy_difference: float | None
    accuracy_interval: tuple[float, float] | None
    log_loss_difference: float | None
    log_loss_interval: tuple[float, float] | None
    slices: list[SliceChange]
    lacking: int
    empty: int
    learnt: int
    remarks: str
    warning: str


class DatasetModel(BaseModel):
    """
    A model, with where it comes from and what came of it in this dataset. bases: their ids, the nearest
    first. training: settings, data and software. evaluations: the latest 30.
    """

    id: int
    name: str
    kind: str
    state: str
    origin: str
    revision: str
    notice: str
    parameters: int | None
    weights_sha256: str
    tokenizer_sha256: str
    template: str
    max_length: int
    precision: str
    temperature: float | None
    learnt: str
    base_id: int | None
    release_id: UUID | None
    created_at: AwareDatetime
    activated_at: AwareDatetime | None
    bases: list[int]
    score_count: int
    training: dict[str, Any]
    evaluations: list[EvaluationOut]
    promotions: list[PromotionOut]


class DatasetOut(BaseModel):
    """
    A dataset. role: what the token may do in it, at most.
    """

    id: int
    name: str
    description: str
    licence: str
    role: Literal["annotator", "reviewer", "admin"]
    created_at: AwareDatetime
    archived_at: AwareDatetime | None


class Datasets(BaseModel):
    items: list[DatasetOut]
    next_after: int | None


class Deliveries(BaseModel):
    """
    The newest first. next_before: what to ask for next; null at the end.
    """

    items: list[DeliveryOut]
    next_before: int | None


class FacetOut(BaseModel):
    name: str
    label: str
    values: list[FacetValue]


class FacetsOut(BaseModel):
    """
    The fields with their most frequent values. waiting: as in FoundPrompts. model: the one whose figures
    the fields are of.
    """

    prompts: int
    pairs: int
    waiting: int
    facets: list[FacetOut]
    model_id: int | None


class FormerVoter(BaseModel):
    """
    Somebody who voted here and is a member no more, or a label source.
    """

    annotator: int
    name: str
    figures: PersonFigures


class GateCondition(BaseModel):
    """
    met: null where there is not enough data to tell. on: the dataset of the difference, where the check
    rests on one. more_votes: more_pairs by the overlap of the dataset.
    """

    name: str
    met: bool | None
    said: str
    on: str
    weighed: WeighedDifference | None
    more_votes: int | None


class GateOut(BaseModel):
    """
    Whether the new model may replace the active one. verdict: first, promote, no, or not enough data.
    candidate: place of the new model among all that may replace the active one; it fixes the level.
    """

    verdict: str
    sentence: str
    candidate: int
    conditions: list[GateCondition]


class GuidelinesWithExamples(BaseModel):
    """
    id: null where the dataset has no guidelines.
    """

    id: int | None
    number: int
    text: str
    examples: list[ShownExample]


class MeasuredModel(BaseModel):
    model: ModelOut
    measured: list[Accuracy]


class MeasuredModels(BaseModel):
    """
    The models in use, measured here and on the benchmarks. active_id: the one that shows its picks.
    """

    active_id: int | None
    items: list[MeasuredModel]


class OwnHours(BaseModel):
    """
    Hours and pay by day and dataset, and in all.
    """

    first: date_aliased
    last: date_aliased
    lines: list[OwnLine]
    total: TimeTotal


class OwnProgress(BaseModel):
    """
    How many votes the account gave: in all, today, in the last hour, and on each of its last days.
    has_news: something became of one of its questions.
    """

    total: int
    today: int
    hour: int
    days: list[VotesOfDay]
    has_news: bool


class OwnRole(BaseModel):
    """
    A dataset that the token reaches, and the role that is left to the account there by the token.
    """

    id: int
    name: str
    role: Literal["annotator", "reviewer", "admin"]


class PairOfPrompt(BaseModel):
    """
    A pair of answers with all its votes, final labels and flags, the oldest first.
    """

    id: int
    a_id: int
    b_id: int
    gold_outcome: str
    votes: list[VoteOut]
    labels: list[LabelOut]
    flags: list[FlagOut]


class People(BaseModel):
    """
    Members by role and name; others whose votes are here. taken_at: when the figures were computed.
    """

    items: list[PersonOut]
    others: list[FormerVoter]
    taken_at: AwareDatetime | None


class PersonQualification(BaseModel):
    """
    state: off, exempt, waived, passed, too_few, open, due or failed; left: tries that may be started.
    """

    state: str
    left: int
    tries: list[TryOut]
    grants: list[GrantOut]


class PreviewOut(BaseModel):
    """
    The first rows of a file: the recognised format ("" = none), and what an import of these rows would
    store. whole: there are no further rows. paths: the columns. guesses: a column for each use whose name
    says so; send them as `columns` if they are right. counts: as in the result of an import.
    """

    title: str
    format: str
    read_as: list[str]
    read: int
    whole: bool
    accepted: bool
    counts: dict[str, int]
    problem_count: int
    problems: list[RowProblem]
    notes: list[str]
    paths: list[str]
    guesses: dict[str, str]
    examples: list[ExampleRow]


class PromptPage(BaseModel):
    """
    All that is known of a prompt. siblings: the first prompts of its group. releases: those with a row of
    it.
    """

    prompt: PromptOut
    completions: list[CompletionOut]
    scores: list[dict[str, Any]]
    pairs: list[PairOfPrompt]
    tags: list[str]
    split: str
    siblings: list[int]
    releases: list[str]
    history: list[EventOut]


class Pushes(BaseModel):
    items: list[RunOut]


class QualityOut(BaseModel):
    """
    The tables of the votes of people, or of imported labels.
    """

    taken_at: AwareDatetime
    label_source: str
    label_sources: dict[str, str]
    tables: list[TableOut]


class ReleaseCount(BaseModel):
    """
    What a build would write by the current final labels. decided: pairs with a preferred side; passing:
    those of them that pass the filters. rows: by split. left_out: pairs by reason. first: the first lines of
    `file`. as_of: when the final labels last followed from the votes. is_stale: whether there are newer
    votes. run: the Run that derives final labels from them; count again when it is done.
    """

    total: int
    decided: int
    passing: int
    rows: dict[str, int]
    left_out: dict[str, int]
    file: str
    first: list[str]
    as_of: AwareDatetime | None
    is_stale: bool
    run: RunOut | None


class ReleaseKinds(BaseModel):
    purposes: list[ReleasePurpose]
    profiles: list[ReleaseProfile]
    formats: list[str]


class ShownSide(BaseModel):
    """
    An answer in the order shown. name: left or right, or 1, 2, 3, ... in a ranking; text: as models read
    it; turns: its messages, empty where it is the text alone.
    """

    name: str
    text: str
    turns: list[ShownTurn]


class SystemOut(BaseModel):
    """
    faults: what needs attention, in sentences. disk: in bytes. failed, errors: of the last day.
    """

    version: str
    faults: list[str]
    workers: list[WorkerOut]
    queues: list[QueueOut]
    disk_free: int
    disk_total: int
    backup_at: AwareDatetime | None
    failed: list[RunOut]
    errors: list[FailureOut]


class TimeSheet(BaseModel):
    """
    rate: what is paid per hour or vote, as `per` says.
    """

    first: date_aliased
    last: date_aliased
    lines: list[TimeLine]
    total: TimeTotal
    rate: str | None
    per: str
    currency: str


class Account(BaseModel):
    """
    Who the token acts for. languages: codes, as the person says; goes_straight_on: the annotation page
    goes on to the next pair after a vote.
    """

    id: int
    name: str
    is_staff: bool
    is_service: bool
    languages: list[str]
    goes_straight_on: bool
    token: TokenInUse
    datasets: list[OwnRole]


class Comparing(BaseModel):
    """
    gate: null unless the old model is the active one, and for a token that does not name every benchmark:
    it weighs all of them.
    """

    gate: GateOut | None
    compared: list[ComparedModels]


class PersonDetails(BaseModel):
    """
    A member, or somebody who was one (`role` is empty and `id` is 0). ended_at: when access ended;
    flags: how many; views: the saved views whose pairs they get first; qualification: null where the dataset
    asks for none.
    """

    id: int
    user: int
    name: str
    is_service: bool
    role: str
    languages: list[str]
    says: str
    skills: list[str]
    annotator: int | None
    last_active: AwareDatetime | None
    settled: int
    agreed_at: AwareDatetime | None
    pause: PauseOut | None
    has_failed: bool
    figures: PersonFigures | None
    ended_at: AwareDatetime | None
    views: list[int]
    flags: int
    pauses: list[PauseOut]
    qualification: PersonQualification | None


class ShownItem(BaseModel):
    """
    A pair, or a ranking of three or more answers, as its annotator sees it. comparison, claim and key go
    back with the vote. has_reveal: the model's pick comes with the answer to the vote; pick: the one that is
    shown before. tools: what the model could call.
    """

    comparison: int
    claim: int | None
    key: UUID
    mode: str
    has_reveal: bool
    turns: list[ShownTurn]
    tools: Any
    sides: list[ShownSide]
    pick: ShownPick | None
    why_no_pick: str
    vote: ShownVote | None


class NextItem(BaseModel):
    """
    The next item, or why there is none. guidelines: the version that holds, to be sent with the vote;
    hold_seconds: how often to hold what is open; is_warned: a pause of the account's voting is near.
    """

    item: ShownItem | None
    nothing_left: NothingLeft | None
    guidelines: int | None
    hold_seconds: int
    is_warned: bool


class QualificationPair(BaseModel):
    """
    A pair of a try. pair: to be sent with the answer; position: from 1.
    """

    pair: int
    position: int
    pairs: int
    item: ShownItem


class Reopened(BaseModel):
    """
    item: null where there is no vote to reopen.
    """

    item: ShownItem | None


class QualificationNow(BaseModel):
    """
    pair: the one that waits for an answer; null where none does, as `standing` says.
    """

    standing: QualificationStanding
    pair: QualificationPair | None
