"""What a build would write now: the first rows, the rows by split, and what it would leave out."""

from dataclasses import dataclass

from workbench.models import Dataset, ModelVersion
from workbench.pipeline.releases.building import Recipe, ReleaseError, Sorter
from workbench.pipeline.releases.cases import Extras, LeftOut, cases_of
from workbench.pipeline.releases.counting import Counted, counted
from workbench.pipeline.releases.files import as_text, heading
from workbench.pipeline.releases.filters import BadFilter
from workbench.pipeline.releases.flow import Flow
from workbench.pipeline.releases.histograms import Histogram, histograms
from workbench.pipeline.releases.profiles import Profile
from workbench.pipeline.text.shapes import Shape
from workbench.pipeline.text.splits import SPLITS, Split

ROWS_SHOWN = 3


@dataclass(frozen=True)
class Preview:
    """The files of the first profile and format. file: the name of the file whose first lines are shown; "" =
    no file. rows, left_out: by split and by reason. passing: of the `decided` pairs, which have a preferred
    side, those that pass the filters. histograms: of the decided pairs, by the name of the filter."""

    file: str
    heading: str
    first: list[str]
    rows: dict[Split, int]
    left_out: dict[LeftOut, int]
    total: int
    passing: int
    decided: int
    histograms: dict[str, Histogram]

    @property
    def flow(self) -> Flow:
        return Flow(self.total, {reason.value: n for reason, n in self.left_out.items()}, self.rows)


def preview(dataset: Dataset, recipe: Recipe) -> Preview:
    """The preview by the stored Decisions. Reads the columns of the Dataset, and the texts of the shown rows
    alone. Raises ReleaseError."""
    version = ModelVersion.objects.serving(dataset)
    try:
        found = counted(dataset, recipe.profiles[0], recipe.filters, version)
    except BadFilter as error:
        raise ReleaseError(str(error)) from None
    prompts, kind = found.columns.prompts, recipe.formats[0]
    has_tools = not (prompts["shape"] & Shape.NO_TOOLS).all()
    profile = found.profile.with_columns_for(Extras(tools=has_tools))
    rows = found.rows
    shown = next((split for split in SPLITS if split in rows), None)
    return Preview(
        file=f"{profile.name}.{shown}.{kind}" if shown else "",
        heading=heading(profile.columns, kind),
        first=_first(dataset, profile, kind, found, shown) if shown else [],
        rows=rows,
        left_out=found.left_out,
        total=len(found.columns.pairs["pk"]),
        passing=int((found.decided & found.passing).sum()),
        decided=int(found.decided.sum()),
        histograms=histograms(found),
    )


def _first(dataset: Dataset, profile: Profile, kind: str, found: Counted, split: Split) -> list[str]:
    sorter = Sorter([profile])
    cases = cases_of(dataset, found.first(split, ROWS_SHOWN))
    rows = [as_text(row, kind) for case in cases for _, _, row in sorter.rows(case)]
    return rows[:ROWS_SHOWN]
