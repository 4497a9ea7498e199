"""The board of sources in words: a sentence, two tables and what the chart shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from scoring import shares
from workbench.pipeline.data.fields import Between
from workbench.pipeline.quality.panels.panel import Column, Panel
from workbench.pipeline.quality.panels.words import count, in_words
from workbench.pipeline.quality.reports import OPINION, OPINIONS, Board, BoardRow, Report, has_value

CHOICES = {
    "people": "blind votes of people",
    "random": "blind votes on random pairs",
    "imported": "imported labels",
}
"""The boards by the votes or labels that they are of. They are never mixed."""


def opinion(votes: str) -> tuple[str, str]:
    """What one opinion on this board is called, and several: only what people say here is a vote."""
    key = "imported" if votes == "imported" else "people"
    return OPINION[key], OPINIONS[key]


MOST_DRAWN = 20
"""Sources in the picture; the table has all."""

MOST_IN_TABLE = 20
"""Sources in the table of wins on the page; the file has all."""

_LEFT_OUT = {
    "led": ("vote given after the model’s pick was shown", "votes given after the model’s pick was shown"),
    "both_bad": ("“both bad”", "“both bad”"),
    "no_source": ("on an answer of no known source", "on answers of no known source"),
    "same_source": ("on two answers of one source", "on two answers of one source"),
    "rare_source": ("on a rare source", "on rare sources"),
}


@dataclass(frozen=True)
class Cell:
    """The votes on two sources: how many of `votes` the row won; a tie is half a win."""

    row: str
    column: str
    wins: float
    votes: int

    @property
    def in_words(self) -> str:
        """ "12 of 20"; "12.5 of 20" where ties count."""
        return f"{self.wins:g} of {self.votes:,}"

    @property
    def query(self) -> str:
        """The address of the Data page's pairs of the two sources that have a vote."""
        return urlencode({"sources": f"{self.row}{Between.SEPARATOR}{self.column}", "votes": "1-"})

    @property
    def fifth(self) -> int:
        """The fifth of the scale that the share of wins is in, from 0 to 4: a shade of the cell."""
        return min(4, int(5 * self.wins / self.votes))


def strengths(report: Report, votes: str) -> Panel | None:
    """The strengths by these votes (see CHOICES); None where the report has no such board."""
    board = report["boards"].get(votes)
    if board is None:
        return None
    name, names = opinion(votes)
    compared = [row for row in board["sources"] if _headline(board, row)]
    return Panel(
        name="sources",
        title="Who writes the better answers",
        says=_says(board, name, names),
        columns=(
            Column("source", "Source"),
            Column("votes", names.capitalize(), "count"),
            Column("wins", "Wins", "decimal"),
            Column("controlled", "Against the average source", "share"),
            Column("raw", "Without control of length and side", "share"),
            Column("strength", "Strength", "log_odds"),
            Column("raw_strength", "Strength without control", "log_odds"),
        ),
        rows=[
            {
                "source": row["source"],
                "votes": row["votes"],
                "wins": row["wins"],
                "controlled": row["against_average"],
                "raw": row["raw_against_average"],
                "strength": row["strength"],
                "raw_strength": row["raw_strength"],
            }
            for row in board["sources"]
        ],
        reading="The chance to win a pair against the average source, with its 95 % interval. "
        + ("Dots: at equal length and side. Diamonds: as judged." if board["controlled"] else ""),
        described="; ".join(_described(board, row) for row in compared[:MOST_DRAWN]),
        drawn=MOST_DRAWN,
    )


def _headline(board: Board, row: BoardRow) -> str:
    """The chance against the average source in words, by which the board is ordered; "" where not known."""
    figure = row["against_average" if board["controlled"] else "raw_against_average"]
    return in_words(figure) if has_value(figure) else ""


def _described(board: Board, row: BoardRow) -> str:
    raw = row["raw_against_average"]
    beside = f", {shares.in_words(raw['value'])} as judged" if board["controlled"] and has_value(raw) else ""
    return f"{row['source']} {_headline(board, row)}{beside}"


def _says(board: Board, name: str, names: str) -> str:
    lead = board["lead"]
    if lead is None:
        extreme = next((row for row in board["sources"] if row["wins"] == row["votes"]), None)
        if extreme:
            every = f"its one {name}" if extreme["votes"] == 1 else f"all {extreme['votes']:,} {names}"
            return f"{extreme['source']} won {every}, so there is no strength to compare yet."
        return f"Not known who leads: two sources with 10 {names} on 5 prompts are needed."
    equal = "At equal length and side, " if board["controlled"] else ""
    chance = f"{lead['source']} wins {in_words(lead['chance'])} of pairs against {lead['next']}, the next"
    verdict = "it leads for sure." if lead["sure"] else "it is not surely ahead."
    return f"{equal}{chance}: {verdict}"


def notes(board: Board, votes: str) -> Iterator[str]:
    """What a reader has to know of the figures, a sentence each."""
    names = opinion(votes)[1]
    raw_first = max(
        (row for row in board["sources"] if has_value(row["raw_strength"])),
        key=lambda row: row["raw_strength"]["value"] or 0.0,
        default=None,
    )
    lead = board["lead"]
    if lead and raw_first and raw_first["source"] != lead["source"]:
        yield f"As judged, without this control, {raw_first['source']} comes first."
    left, longer = board["left"], board["longer"]
    if has_value(left):
        yield f"Of two equal answers, the left one wins {in_words(left)}."
    if has_value(longer):
        yield f"Of two equal answers, one twice as long as the other wins {in_words(longer)}."
    if not board["controlled"] and board["lead"]:
        yield f"Length and side are not controlled: too few {names}, or they follow from these alone."
    if board["ties"]:
        yield f"{count(board['ties'], 'tie')} count{'s' * (board['ties'] == 1)} as half a win for each."
    left_out = [f"{n:,} {_LEFT_OUT[reason][n > 1]}" for reason, n in board["left_out"].items()]
    if left_out:
        yield f"Left out: {', '.join(left_out)}."


def unranked(board: Board) -> Iterator[tuple[str, str]]:
    """(source, why it has no strength)."""
    for row in board["sources"]:
        if not _headline(board, row):
            figure = row["against_average"] if board["controlled"] else row["raw_against_average"]
            yield row["source"], in_words(figure)


def wins(board: Board, votes: str) -> Panel:
    """All pairs of two sources with votes or labels, a row a pair and order."""
    cells = [cell for row in cells_of(board, len(board["sources"])) for cell in row if cell]
    return Panel(
        name="wins",
        title="Wins",
        says="",
        columns=(
            Column("source", "Source"),
            Column("against", "Against"),
            Column("wins", "Wins", "decimal"),
            Column("votes", opinion(votes)[1].capitalize(), "count"),
        ),
        rows=[
            {"source": cell.row, "against": cell.column, "wins": cell.wins, "votes": cell.votes}
            for cell in cells
        ],
    )


def cells_of(board: Board, most: int = MOST_IN_TABLE) -> list[list[Cell | None]]:
    """The table of wins of the first `most` sources: None where no vote compares the two."""
    names = [row["source"] for row in board["sources"]][:most]
    return [
        [
            Cell(row, column, board["wins"][i][j], board["pairs"][i][j]) if board["pairs"][i][j] else None
            for j, column in enumerate(names)
        ]
        for i, row in enumerate(names)
    ]
