"""The docs hold together: every link leads somewhere, lines are short enough to read, and the contributor's
pages are there."""

import re
from pathlib import Path

import pytest

from tests.test_words import faults

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
USERS = [page for page in PAGES if page.parts[-2] in ("docs", "how-to", "reference", "explanation")]
OURS = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(ROOT.glob("docs/development/**/*.md"))]
PATH = re.compile(r"`((?:[\w-]+/)+(?:[\w.-]+)?)`")
CODE_SPAN = re.compile(r"`[^`]*`")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names that headings of a page have, as GitHub and others make them."""
    words = (
        re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(CODE.sub("", page.read_text()))
    )
    return {heading.strip().replace(" ", "-") for heading in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    for link in LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_prose_are_short_enough_to_read(page):
    prose = CODE.sub("", page.read_text()).splitlines()

    assert [line for line in prose if len(line) > 130 and not line.startswith(("|", "    "))] == []


@pytest.mark.parametrize("page", USERS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_users_docs_say_the_words_of_the_pages(page):
    lines = CODE.sub("", page.read_text()).splitlines()
    prose = [CODE_SPAN.sub("", line) for line in lines if not line.startswith("    ")]

    assert [fault for line in prose for fault in faults(line)] == []


def test_every_page_is_linked_from_the_readme_or_from_a_page_that_is():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        paths = (link.partition("#")[0] for link in LINK.findall(page.read_text()) if ":" not in link)
        waiting += [(page.parent / path).resolve() for path in paths if path]

    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in reached] == []


@pytest.mark.parametrize("page", OURS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_contributors_page_names_exists(page):
    named = set(PATH.findall(page.read_text()))
    places = (ROOT, ROOT / "workbench", ROOT / "workbench" / "pipeline")

    assert {path for path in named if not any((place / path).exists() for place in places)} == set()


def test_every_verb_of_make_that_is_named_somewhere_has_a_recipe():
    """make says "Nothing to be done" and succeeds where a phony verb has lost its rule."""
    makefile = (ROOT / "Makefile").read_text()
    rules = set(re.findall(r"^([a-z-]+%?):(?!=)", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    texts = [makefile, (ROOT / ".ci/run").read_text(), *(page.read_text() for page in PAGES)]
    named = {
        verb for text in texts for verb in re.findall(r"(?:^|`|exec )make ([a-z][a-z-]*)", text, re.MULTILINE)
    }

    assert [verb for verb in {*phony, *named} if verb not in rules and not verb.startswith("bench-")] == []
    assert {"test", "test-full", "demo"} <= named


def test_the_changelog_has_one_plain_line_a_change():
    changes = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("- ")]

    assert len(changes) > 50
    assert [line for line in changes if len(line) > 110] == []


FLOW_ROW = re.compile(r"^\|[^|]*\| `([\w/.]+\.(?:py|js))` \| ((?:`\w+`(?:, )?)+) \|$", re.MULTILINE)


def test_the_four_flows_name_files_and_functions_that_exist():
    flows = (ROOT / "docs/development/architecture.md").read_text().partition("## The four flows")[2]
    rows = FLOW_ROW.findall(flows)

    assert len(rows) > 30
    assert len(rows) == len([line for line in flows.split("\n") if "`" in line and line.startswith("|")])
    for path, names in rows:
        code = (ROOT / path).read_text()
        for name in re.findall(r"\w+", names):
            defined = rf"^(?:export )?(?:async )?(?:def|class|function|const) {name}\b"
            assert re.search(defined, code, re.MULTILINE), f"{path} has no {name}"
