"""A report in words, tables and pictures."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from workbench.pipeline.quality import charts
from workbench.pipeline.quality.panels import Panel, in_words, panels, plan, questions

NASTY = "<script>alert(1)</script>"


def figure(value: float | None, reach: float = 0.05, n: int = 100) -> dict[str, Any]:
    if value is None:
        return {"value": None, "low": None, "high": None, "n": n, "prompts": n, "why": "not enough data"}
    return {"value": value, "low": value - reach, "high": value + reach, "n": n, "prompts": n}


def agreed(label: str, raw: float | None) -> dict[str, Any]:
    every = {name: figure(raw and raw - 0.2) for name in ("alpha", "alpha_ordinal", "ac1")}
    return {"label": label, "units": 40, "opinions": 90, "raw": figure(raw), **every}


def sliced(kind: str, label: str, accuracy: float | None, over: float = 0.1) -> dict[str, Any]:
    return {
        "kind": kind,
        "label": label,
        "accuracy": figure(accuracy),
        "wilson": None,
        "longest": figure(accuracy and accuracy - over),
        "random": figure(0.5),
        "over_longest": figure(over if accuracy else None),
        "ceiling": figure(0.9),
        "by_rule": figure(accuracy and accuracy - over),
        "over_rule": figure(over if accuracy else None),
    }


def worker(pk: int, left: float | None) -> dict[str, Any]:
    shares = {name: figure(None, n=0) for name in ("consistent", "gold", "towards", "away", "seconds")}
    facts = {"annotator": pk, "imported": False, "votes": 50, "per_hour": 60.5}
    return {**facts, "skill": figure(0.8), "left": figure(left), **shares}


def board() -> dict[str, Any]:
    """Two sources with 50 votes on both, and a third that won its one vote."""

    def source(name: str, wins: float, votes: int, chance: float | None) -> dict[str, Any]:
        figures = {"against_average": figure(chance), "raw_against_average": figure(chance and chance - 0.1)}
        figures |= {"strength": figure(chance), "raw_strength": figure(chance)}
        return {"source": name, "wins": wins, "votes": votes, **figures}

    return {
        "votes": 51,
        "groups": 40,
        "ties": 1,
        "sources": [source("rowan", 30.5, 50, 0.6), source(NASTY, 19.5, 51, 0.4), source("elm", 1, 1, None)],
        "wins": [[0, 30.5, 0], [19.5, 0, 0], [0, 1, 0]],
        "pairs": [[0, 50, 0], [50, 0, 1], [0, 1, 0]],
        "controlled": True,
        "left": figure(0.52),
        "longer": figure(0.6),
        "lead": {"source": "rowan", "next": NASTY, "chance": figure(0.62), "sure": True},
        "left_out": {"both_bad": 2},
    }


def report_with(**changes: Any) -> dict[str, Any]:
    """A report of people and one calibrated model, as `compute` gives it."""
    bins = [
        {"lower": p - 0.05, "upper": p + 0.05, "n": 50, "predicted": p, "observed": p - 0.1, "low": p - 0.2}
        | {"high": p}
        for p in (0.65, 0.75, 0.85)
    ]
    model = {
        "version": "reward-1",
        "pk": 1,
        "rule": "longest",
        "learnt": 0,
        "known": "yes",
        "kind": "transformer",
        "calibrated": True,
        "temperature": 1.0,
        "n": 150,
        "slices": [
            sliced("all", "all", 0.7),
            sliced("source", NASTY, 0.6),
            sliced("length", "apart: long", 0.8),
        ],
        "confidence_auc": figure(0.6),
        "ece": figure(0.1),
        "bins": bins,
        "histogram": {"edges": [-2.0, 0.0, 2.0], "a": [5, 50], "tie": [3, 4], "b": [60, 8]},
    }
    pull = {name: figure(0.1, 0.2) for name in ("length", "bold")}
    audited = {"version": "reward-1", "pk": 1, "n": 150, "prompts": 60, "people": pull, "model": pull}
    weeks = [("2026-11-09", 0.6), ("2026-11-16", None), ("2026-11-23", 0.7)]
    report = {
        "agreement": {
            "people": {
                "all": agreed("all", 0.65),
                "unseen": agreed("unseen", 0.64),
                "by_source": [],
                "by_guidelines": [agreed("1", 0.5), agreed("2", 0.7)],
                "by_week": [agreed(week, raw) for week, raw in weeks],
            }
        },
        "sample": {"people": {"answers": 150, "led": 1200, "picked": 0, "asked_after": 3}},
        "annotators": [worker(1, 0.5), worker(2, 0.62), worker(3, None)],
        "everybody": {"gold": figure(None)},
        "aggregation": {
            "annotators": 3, "comparisons": 40, "votes_per_annotator": 30.0, "enough": True,
            "decided_by_majority": 30, "decided_by_skill": 40, "differ": 2,
        },
        "seconds": {"all": figure(30.0, 2), "by_length": [{"label": "short", "seconds": figure(25.0, 2)}]},
        "pace": {
            "per_hour": figure(80.0, 5),
            "by_week": [{"week": w, "judgments": 50, "annotators": 2, "hours": 1.5} for w, _ in weeks],
        },
        "against": {"people": [model]},
        "audit": {"people": [audited | {"excess": {"length": figure(0.3, 0.1)}, "people_given_margin": {}}]},
        "plan": [],
        "boards": {"people": board()},
    }  # fmt: skip
    return {**report, **changes}


NAMES = {1: "ann", 2: NASTY, 3: "cid"}


def panel(report: dict[str, Any], name: str) -> Panel:
    return next(shown for shown in panels(report, "people", NAMES) if shown.name == name)


def said(shown: Panel) -> str:
    return " ".join([shown.says, *shown.notes])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("agreement", "in 65 % (60 to 70) of cases"),
        ("agreement", "In the latest week (2026-11-23), they agreed in 70 % (65 to 75)."),
        ("agreement-by", "Agreement is 70 % (65 to 75) with version 2 of the guidelines. With version 1"),
        (
            "accuracy",
            "on 70 % (65 to 75) of 100 pairs, better than picking the longer answer.",
        ),
        ("accuracy", "agrees on 60 % (55 to 65), so the model is ahead: +10.0 points (+5.0 to +15.0)."),
        ("accuracy", "People disagree too, so a perfect model would reach 90 % (85 to 95)."),
        (
            "accuracy",
            "Left out: 1,200 votes given after the model’s pick was shown, 3 votes asked for because",
        ),
        ("reliability", "reward-1 is overconfident: it says 75 % on average, and people agree in 65 %."),
        ("reliability", "The expected calibration error is 0.10 (0.05 to 0.15) on 150 votes; 0 is perfect."),
        ("margins", "reward-1 is right more often when it is surer: 60 % (55 to 65), where 50 % is chance."),
        ("left", f"1 of 2 annotators seems to favour a side. The strongest case is {NASTY}, who"),
        ("pace", "One person gives about 80 votes an hour (75 to 85)."),
        ("seconds", "30 s (28 to 32 s)"),
        ("audit", "reward-1 follows length more than people do."),
        ("annotators", "They differ on 2."),
    ],
)
def test_each_panel_says_what_it_shows_with_its_interval(name, sentence):
    assert sentence in said(panel(report_with(), name))


@pytest.mark.parametrize("low", [-0.3, 0.1, -0.9], ids=["alike", "more", "less"])
def test_what_each_panel_says_is_whole_sentences(low):
    report = report_with()
    (audited,) = report["audit"]["people"]
    audited["excess"]["length"] |= {"low": low, "high": low + 0.5}

    shown_panels = panels(report, "people", NAMES)
    sentences = [text for shown in shown_panels for text in (shown.says, *shown.notes) if text]

    assert [sentence for sentence in sentences if not sentence.endswith((".", "…"))] == []


def test_a_model_that_is_not_told_apart_from_the_rule_longest_is_not_called_better():
    report = report_with()
    report["against"]["people"][0]["slices"][0] = sliced("all", "all", 0.7, over=0.02)
    says = said(panel(report, "accuracy"))

    assert "not told apart from picking the longer answer" in says
    assert "The difference may be chance." in says
    assert "less" not in says


def test_what_is_too_little_says_what_it_needs_and_is_not_drawn():
    report = report_with()
    model = report["against"]["people"][0]
    model |= {
        "slices": [sliced("all", "all", None)],
        "ece": figure(None),
        "confidence_auc": figure(None),
        "n": 3,
    }
    report["agreement"]["people"] |= {"all": agreed("all", None), "by_week": []}
    report["annotators"] = []
    report["pace"]["by_week"] = []

    drawn = ("agreement", "accuracy", "reliability", "margins", "left", "pace")
    without_data = [panel(report, name) for name in drawn]

    assert [shown.lacks for shown in without_data] == [
        "agreement (needs 10 pairs with two votes; have 40)",
        "accuracy of reward-1 (needs 10 scored pairs with votes on 5 prompts; have 100 pairs on 100 prompts)",
        "confidence of reward-1 (needs 10 votes on scored pairs that calibration left out; have 150)",
        "margins and votes (needs 10 votes on pairs that reward-1 has scored; have 3)",
        "position bias (needs 10 votes for a side by one person)",
        "pace (needs a vote)",
    ]
    assert not any(shown.has_chart for shown in without_data)


def test_an_uncalibrated_model_has_no_reliability():
    report = report_with()
    report["against"]["people"][0] |= {"calibrated": False, "bins": [], "ece": figure(None)}

    assert "needs 100 votes and a calibration" in panel(report, "reliability").lacks
    assert not panel(report, "reliability").has_chart


def test_a_dataset_without_any_model_still_has_its_panels_of_people():
    shown_panels = panels(report_with(against={}, audit={}), "people", NAMES)

    assert {shown.name for shown in shown_panels} >= {"agreement", "accuracy", "left", "pace"}
    accuracy = next(shown for shown in shown_panels if shown.name == "accuracy")
    assert "needs a model that has scored" in accuracy.lacks


def test_what_tells_of_single_annotators_is_marked():
    single = {shown.name for shown in panels(report_with(), "people", NAMES) if shown.single}
    assert single == {"left", "annotators"}


def test_the_plan_is_in_sentences():
    accuracy = {"goal": "accuracy", "version": "reward-1", "within": 0.02, "now": 0.05, "judgments": 1200}
    alpha = {"goal": "alpha", "version": "", "within": 0.05, "now": 0.04, "judgments": 0}
    unknown = {**alpha, "now": None, "judgments": None}
    effort = {"seconds": 30.0, "hours": 10.0, "measured": True}

    sentences = plan(report_with(plan=[goal | effort for goal in (accuracy, alpha, unknown)]))

    more = "1,200 more votes, about 10 hours of work, would narrow the accuracy of reward-1 to ± 2.0 points."
    assert sentences == [
        f"{more} The margin of error is ± 5.0 points now.",
        "No more votes are needed for agreement (Krippendorff’s alpha): the margin of error is ± 0.04.",
        "Not enough data to say how many more votes would narrow agreement (Krippendorff’s alpha) to ± 0.05.",
    ]


def asked(report: dict[str, Any], label_source: str = "people") -> dict[str, Panel]:
    """The panel that answers each question."""
    shown = questions(panels(report, label_source, NAMES), label_source)
    return {question.title: question.answer for question in shown}


GOAL = {"goal": "accuracy", "version": "reward-1", "within": 0.02, "now": 0.05, "judgments": 525}
EFFORT = {"seconds": 36.0, "hours": 5.2, "measured": True}


def test_six_questions_are_each_answered_by_one_sentence_and_one_picture():
    report = report_with(plan=[GOAL | EFFORT])

    answers = asked(report)

    assert list(answers) == [
        "Do people agree?",
        "Is the model right?",
        "Is its confidence honest?",
        "What sways choices?",
        "Who needs a word?",
        "What would more votes buy?",
    ]
    for answer in answers.values():
        assert answer.has_chart
        assert answer.says.count(". ") == 0, answer.says


def test_a_question_without_data_is_left_out_and_no_table_says_so():
    report = report_with(against={}, audit={})

    answers = asked(report)

    assert list(answers) == ["Do people agree?", "Who needs a word?", "Pace"]


def test_a_feature_that_nobody_has_data_on_is_in_no_row():
    report = report_with()
    (audited,) = report["audit"]["people"]
    audited["people"] = {"length": figure(0.1), "code": figure(None)}
    audited["model"] = {"length": figure(0.3), "code": figure(None)}

    assert [row["feature"] for row in panel(report, "audit").rows] == ["Length"]


def test_without_data_on_any_feature_the_regression_is_one_line():
    report = report_with()
    (audited,) = report["audit"]["people"]
    audited["people"] = audited["model"] = {"length": figure(None), "bold": figure(None)}

    shown = panel(report, "audit")

    assert shown.lacks == (
        "what sways choices (needs 100 votes for a side on 20 prompts; have 150 votes on 60 prompts)"
    )
    assert shown.rows == []


def test_who_leans_or_misses_gold_or_hurries_is_named():
    report = report_with(everybody={"gold": figure(0.9)})
    ann, _, cid = report["annotators"]
    ann["gold"], cid["seconds"] = figure(0.5, 0.2), figure(2.0, 0.5)

    says = panel(report, "annotators").says

    assert says == (
        f"Look at ann, right on gold in 50 % (30 to 70); {NASTY}, left in 62 % (57 to 67); "
        "cid, 2.0 s (1.5 to 2.5 s) a vote."
    )


def test_nobody_is_named_for_what_chance_explains():
    report = report_with(everybody={"gold": figure(0.9)})
    for row in report["annotators"]:
        row |= {"left": figure(0.52), "gold": figure(0.88), "seconds": figure(20.0)}

    assert panel(report, "annotators").says == "Nobody stands out beyond chance by side, gold or speed."


def test_label_sources_have_a_table_of_their_own():
    report = report_with()
    of_file = {**worker(4, None), "imported": True}
    report["annotators"].append(of_file)
    report["agreement"]["imported"] = report["agreement"]["people"]

    people, labels = (
        next(shown for shown in panels(report, source, {4: "file.jsonl"}) if shown.name == "annotators")
        for source in ("people", "imported")
    )

    assert people.title == "Annotators"
    assert 4 not in {row["annotator"] for row in people.rows}
    assert labels.title == "Label sources"
    assert [row["name"] for row in labels.rows] == ["file.jsonl"]


def test_more_votes_narrow_the_accuracy_by_the_rule_of_the_plan():
    """n (h / w)² in all: 100 pairs at ± 5 points are 100 (5 / 3)² = 278 at ± 3 and 625 at ± 2."""
    shown = panel(report_with(plan=[GOAL | EFFORT]), "plan")

    assert [row["margin"] for row in shown.rows] == ["± 5.0 points (now)", "± 3 points", "± 2 points"]
    assert [row["votes"] for row in shown.rows] == pytest.approx([0, 178, 525], abs=1)
    assert shown.says == (
        "178 more votes, about 1.8 hours of work, would narrow the accuracy of reward-1 from ± 5.0 to "
        "± 3 points."
    )


def test_an_agreement_of_one_week_is_still_a_picture():
    report = report_with()
    report["agreement"]["people"]["by_week"] = [agreed("2026-11-09", 0.6)]

    assert charts.drawn(panel(report, "agreement"), charts.THEMES["light"])
    assert panel(report, "agreement").described == "A dot at 65 % (60 to 70), with its interval."


def test_figures_are_written_with_their_ends():
    assert in_words(figure(0.64, 0.03)) == "64 % (61 to 67)"
    assert in_words(figure(0.4, 0.1), "log_odds") == "+0.40 (+0.30 to +0.50)"
    assert in_words({**figure(0.999, 0.0005), "low": 0.2}) == ">99 % (20 to >99)"
    assert in_words(figure(None)) == "not enough data"


def test_every_chart_is_shapes_and_text_whatever_people_are_called():
    drawn = {
        shown.name: charts.drawn(shown, charts.THEMES["dark"]).decode()
        for shown in panels(report_with(plan=[GOAL | EFFORT]), "people", NAMES)
        if shown.has_chart
    }

    from workbench.pipeline.quality.drawing import CHARTS

    assert set(drawn) == set(CHARTS) - {"sources"}  # drawn in tests of the board
    assert all("<script" not in svg and "href=" not in svg for svg in drawn.values())
    assert "&lt;script&gt;" in drawn["left"]
    assert charts.THEMES["dark"].model in drawn["left"]


def outside(svg: str) -> list[str]:
    """Texts of a picture that reach past its edges, for letters of at least half their height."""
    root = ElementTree.fromstring(svg)
    width, height = (float(root.attrib[side]) for side in ("width", "height"))
    found = []

    def walk(element: ElementTree.Element, x: float, y: float) -> None:
        moves = re.findall(r"translate\((-?[\d.]+),(-?[\d.]+)\)", element.attrib.get("transform", ""))
        x, y = x + sum(float(dx) for dx, _ in moves), y + sum(float(dy) for _, dy in moves)
        if element.tag.endswith("text") and element.text:
            size = float(element.attrib["font-size"].removesuffix("px"))
            long = 0.5 * size * len(element.text)
            before = long * {"start": 0.0, "middle": 0.5, "end": 1.0}[element.attrib["text-anchor"]]
            is_upright = "rotate(-90)" in element.attrib["transform"]
            at, room = (height - y, height) if is_upright else (x, width)
            if at - before < -1 or at - before + long > room + 1:
                found.append(element.text)
        for child in element:
            walk(child, x, y)

    walk(root, 0, 0)
    return found


@pytest.mark.parametrize("name", ["reward-1", "our-second-reward-model-of-november-by-the-kitchen-team-1"])
@pytest.mark.parametrize("source", ["people", "imported"])
def test_no_word_of_a_chart_is_cut_off_at_its_edge(name, source):
    report = report_with(plan=[GOAL | EFFORT])
    for part in ("agreement", "against", "audit"):
        report[part]["imported"] = report[part]["people"]
    report["against"][source][0]["version"] = report["audit"][source][0]["version"] = name

    cut = {
        shown.name: outside(charts.drawn(shown, charts.THEMES["light"]).decode())
        for shown in panels(report, source, {1: "ann", 2: "bob", 3: "cleo"})
        if shown.has_chart
    }

    assert cut.keys() >= {"accuracy", "reliability"}
    assert {chart: words for chart, words in cut.items() if words} == {}


@pytest.mark.parametrize(
    "inside",
    [
        "<script>1</script>",
        '<g onload="1"/>',
        '<a href="http://x"/>',
        '<g xlink:href="#a"/>',
        "<foreignObject/>",
        '<image href="x"/>',
        "<style>@import 'x'</style>",
    ],
)
def test_a_picture_that_could_do_something_is_refused(inside):
    svg = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{}</svg>'
    assert charts.checked(svg.format("<g/>").encode())

    with pytest.raises(ValueError, match="not allowed"):
        charts.checked(svg.format(inside).encode())
