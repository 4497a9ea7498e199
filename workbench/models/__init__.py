from workbench.models.annotation import (
    Annotator,
    Claim,
    Comparison,
    Decision,
    Flag,
    Judgment,
    OpinionSource,
    Outcome,
    Purpose,
    Ranking,
    ReviewQueue,
)
from workbench.models.audit import AuditEvent
from workbench.models.curation import Act, ActOnPrompt, PromptChange, PromptTag, SavedView, Tag, ViewPair
from workbench.models.dataset import (
    Completion,
    Dataset,
    Excluded,
    Guidelines,
    PayPer,
    Prompt,
    PromptKey,
    Strategy,
)
from workbench.models.evaluations import Evaluation, Promotion
from workbench.models.hosts import AllowedHost
from workbench.models.invitations import Acceptance, Agreement, Invitation
from workbench.models.learnt import Learnt, LearntKey, LearntMatch, LearntText, PromptSet
from workbench.models.people import Login, Member, Pause, Requirement, Role, TimeCorrection, User, Visit
from workbench.models.qualification import QualificationAnswer, QualificationGrant, QualificationTry
from workbench.models.questions import Example, Reply, Told
from workbench.models.releases import Download, Release
from workbench.models.runs import Run, ScoreBatch, ServerError, Upload, Worker
from workbench.models.scores import ModelVersion, Score, Suggestion
from workbench.models.search import SearchDocument, SearchWord
from workbench.models.statistics import Statistics
from workbench.models.tokens import KeptAnswer, Token
from workbench.models.topics import Topic, TopicFigure, TopicFigures
from workbench.models.webhooks import Delivery, Event, EventStream, Webhook

__all__ = [
    "Acceptance",
    "Act",
    "ActOnPrompt",
    "Agreement",
    "AllowedHost",
    "Annotator",
    "AuditEvent",
    "Claim",
    "Comparison",
    "Completion",
    "Dataset",
    "Decision",
    "Delivery",
    "Download",
    "Evaluation",
    "Event",
    "EventStream",
    "Example",
    "Excluded",
    "Flag",
    "Guidelines",
    "Invitation",
    "Judgment",
    "KeptAnswer",
    "Learnt",
    "LearntKey",
    "LearntMatch",
    "LearntText",
    "Login",
    "Member",
    "ModelVersion",
    "OpinionSource",
    "Outcome",
    "Pause",
    "PayPer",
    "Promotion",
    "Prompt",
    "PromptChange",
    "PromptKey",
    "PromptSet",
    "PromptTag",
    "Purpose",
    "QualificationAnswer",
    "QualificationGrant",
    "QualificationTry",
    "Ranking",
    "Release",
    "Reply",
    "Requirement",
    "ReviewQueue",
    "Role",
    "Run",
    "SavedView",
    "Score",
    "ScoreBatch",
    "SearchDocument",
    "SearchWord",
    "ServerError",
    "Statistics",
    "Strategy",
    "Suggestion",
    "Tag",
    "TimeCorrection",
    "Token",
    "Told",
    "Topic",
    "TopicFigure",
    "TopicFigures",
    "Upload",
    "User",
    "ViewPair",
    "Visit",
    "Webhook",
    "Worker",
]
