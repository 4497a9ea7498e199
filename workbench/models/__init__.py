from workbench.models.annotation import (
    Annotator,
    Claim,
    Comparison,
    Decision,
    Flag,
    Judgment,
    Outcome,
    Purpose,
    Ranking,
    ReviewQueue,
    SaidBy,
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
    "SaidBy",
    "Score",
    "ScoreBatch",
    "Statistics",
    "Strategy",
    "Suggestion",
    "Upload",
    "User",
    "Worker",
]
