"""The panel that says what more votes would bring."""

from __future__ import annotations

from workbench.pipeline.quality import planning
from workbench.pipeline.quality.figures import ENOUGH, Figure
from workbench.pipeline.quality.panels.panel import Column, Panel
from workbench.pipeline.quality.panels.words import count, hours_of_work, plan
from workbench.pipeline.quality.reports import OPINIONS, Goal, Report, has_value, label_sources

_STEPS = (0.2, 0.15, 0.1, 0.05, 0.03, planning.ACCURACY_WITHIN)
"""Margins of error worth asking for."""

_DRAWN = 2
"""Steps in the picture: votes grow with the square of the narrowing, and the first would vanish."""


def votes(report: Report, label_source: str) -> Panel | None:
    """How the margin of error of the first model's accuracy would narrow; None for a label source that the
    plan of the report is not made for."""
    if label_source != next(iter(label_sources(report)), None):
        return None
    title = "More votes, smaller margins of error"
    goal = next((goal for goal in report["plan"] if goal["goal"] == "accuracy"), None)
    models = report["against"].get(label_source, [])
    if goal is None or not models:
        needs = f"needs a model that has scored pairs with {OPINIONS[label_source]}"
        return Panel("plan", title, lacks=f"what more votes would buy ({needs})")
    accuracy = models[0]["slices"][0]["accuracy"]
    if goal["now"] is None or not has_value(accuracy):
        needs = f"needs {ENOUGH} scored pairs with {OPINIONS[label_source]}; have {accuracy['n']:,}"
        return Panel("plan", title, lacks=f"what more votes would buy ({needs})", notes=_said(report))
    goals = [
        planning.for_accuracy(goal["version"], Figure(**accuracy), goal["seconds"], within)
        for within in _STEPS
        if within <= 0.8 * goal["now"]
    ]
    now = f"± {100 * goal['now']:.1f}"
    steps: list[dict[str, object]] = [
        {
            "margin": f"± {100 * step['within']:.0f} points",
            "within": step["within"],
            "votes": step["judgments"],
            "hours": step["hours"],
        }
        for step in goals
    ]
    rows: list[dict[str, object]] = [
        {"margin": f"{now} points (now)", "within": goal["now"], "votes": 0, "hours": None},
        *steps,
    ]
    model = goal["version"]
    return Panel(
        name="plan",
        title=title,
        says=_first_step(goals[0], now, model)
        if goals
        else f"The accuracy of {model} is known within {now} points: no more votes are needed.",
        columns=(
            Column("margin", "Margin of error"),
            Column("votes", "More votes", "count"),
            Column("hours", "Hours of work", "decimal"),
        ),
        rows=rows,
        reading=f"The margin of error of the accuracy of {model} narrows with the root of the number of "
        "votes, if new prompts are like the present ones. Hours are at the pace so far.",
        described="A falling curve: "
        + "; ".join(f"{row['margin']} with {row['votes']:,} more votes" for row in rows[: 1 + _DRAWN])
        + "."
        if goals
        else "",
        drawn=1 + _DRAWN,
        context={"n": str(accuracy["n"])},
        notes=_said(report),
    )


def _first_step(step: Goal, now: str, model: str) -> str:
    hours = "" if step["hours"] is None else f", about {hours_of_work(step['hours'])} of work,"
    return (
        f"{count(step['judgments'] or 0, 'more vote')}{hours} would narrow the accuracy of {model} from "
        f"{now} to ± {100 * step['within']:.0f} points."
    )


def _said(report: Report) -> list[str]:
    """The goals of the plan that can be said, in sentences."""
    return plan({**report, "plan": [goal for goal in report["plan"] if goal["judgments"] is not None]})
