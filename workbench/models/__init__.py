from workbench.models.annotation import (
    Annotator,
    Arm,
    Claim,
    Comparison,
    Decision,
    Flag,
    Judgment,
    Outcome,
    Purpose,
    Ranking,
)
from workbench.models.dataset import Completion, Dataset, Guidelines, Prompt, PromptKey
from workbench.models.evaluations import Evaluation, Promotion
from workbench.models.people import Member, Role, User
from workbench.models.releases import Download, Release
from workbench.models.runs import Run, ScoreBatch, Upload, Worker
from workbench.models.scores import ModelVersion, Score, Suggestion
from workbench.models.statistics import Statistics

__all__ = [
    "Annotator",
    "Arm",
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
    "Member",
    "ModelVersion",
    "Outcome",
    "Promotion",
    "Prompt",
    "PromptKey",
    "Purpose",
    "Ranking",
    "Release",
    "Role",
    "Run",
    "Score",
    "ScoreBatch",
    "Statistics",
    "Suggestion",
    "Upload",
    "User",
    "Worker",
]
