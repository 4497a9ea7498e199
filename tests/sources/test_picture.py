"""The picture of the board is of shapes and text alone."""

from tests.quality.test_panels import NASTY, board, report_with
from workbench.pipeline.quality import charts
from workbench.pipeline.sources import panel


def test_the_picture_shows_each_source_with_a_strength_and_runs_nothing():
    shown = panel.strengths(report_with(), "people")

    svg = charts.drawn(shown, charts.THEMES["dark"]).decode()

    assert "rowan" in svg
    assert "elm" not in svg
    assert NASTY not in svg
    assert "&lt;script&gt;" in svg
    assert charts.THEMES["dark"].model in svg


def test_the_picture_is_drawn_once_for_each_board_and_theme():
    names = [
        name for name, _ in charts.draw(report_with(boards={"people": board()}), {1: "ann", 2: "b", 3: "c"})
    ]

    assert [name for name in names if name.startswith("sources")] == [
        "sources-people-light", "sources-people-dark",
    ]  # fmt: skip


def test_a_board_says_what_it_leaves_out_and_what_leads_without_the_control():
    found = board()
    found["sources"][1]["raw_strength"]["value"] = 0.9

    assert list(panel.notes(found, "people")) == [
        f"As judged, without this control, {NASTY} comes first.",
        "Of two equal answers, the left one wins 52 % (47 to 57).",
        "Of two equal answers, one twice as long as the other wins 60 % (55 to 65).",
        "1 tie counts as half a win for each.",
        "Left out: 2 “both bad”.",
    ]
