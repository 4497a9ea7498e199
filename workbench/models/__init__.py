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
from workbench.models.dataset import Completion, Dataset, Guidelines, Prompt, PromptKey, Strategy
from workbench.models.evaluations import Evaluation, Promotion
from workbench.models.learnt import Learnt, LearntKey, LearntMatch, LearntText, PromptSet
from workbench.models.people import Member, Role, User
from workbench.models.releases import Download, Release
from workbench.models.runs import Run, ScoreBatch, Upload, Worker
from workbench.models.scores import ModelVersion, Score, Suggestion
from workbench.models.statistics import Statistics

__all__ = [
    "Annotator",
    "Claim",
    "Comparison",
    "Completion",
    "Dataset",
    "Decision",
    "Download",
    "Evaluation",
    "Flag",
    "Guidelines",
    "Judgment",
    "Learnt",
    "LearntKey",
    "LearntMatch",
    "LearntText",
    "Member",
    "ModelVersion",
    "OpinionSource",
    "Outcome",
    "Promotion",
    "Prompt",
    "PromptKey",
    "PromptSet",
    "Purpose",
    "Ranking",
    "Release",
    "ReviewQueue",
    "Role",
    "Run",
    "Score",
    "ScoreBatch",
    "Statistics",
    "Strategy",
    "Suggestion",
    "Upload",
    "User",
    "Worker",
]
