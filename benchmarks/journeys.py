"""The journeys of a newcomer, driven in Chromium against the demo: how many acts and seconds each takes now.

    make journeys                                      all journeys, 20 minutes (a training is among them)
    make journeys ARGS="--only A2 B1"                  some of them
    make journeys ARGS="--screenshots FOLDER"          no journeys: each page, wide and narrow, in two themes

An act is one click, one key command, one chosen file or one submitted form; a command in a terminal counts
too. Seconds are the machine's: pauses in which a person would read are taken out. The figures "before" are
of a walk by hand in November 2026 at b83f6c9, on a busier machine: compare acts, not seconds.

The demo is prepared in a temporary folder; with BENCHMARK_DATA=folder, one that is there is used as it is.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

# Playwright runs an event loop in this thread, in which Django would refuse to touch the database.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

from benchmarks.environment import ROOT, start_django

DATA = start_django("journeys")

from django.core.management import call_command
from django.db import connections
from django.urls import URLPattern, get_resolver
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright
from playwright.sync_api import Error as BrowserError
from rich.console import Console
from rich.table import Table

from workbench.models import Comparison, Dataset, Member, ModelVersion, Prompt, Release, Run, Upload, User
from workbench.pipeline.datasets import DEMO

LOOK = 350  # ms in which a page takes no answer to what has just come, and a little more
PATIENCE = 900.0  # s for a long Run, above the 8 minutes that a training took before
ROWS = 999
PANDALM = ROOT.parent / "shared" / "data" / "pandalm" / "testset-v1.json"
BEFORE = {
    "A1": ("demo command to logged in", 3, "2 commands, 1 form; second start 10 s"),
    "A2": ("new dataset to first rows seen", 5, "5 clicks; 8 s"),
    "A3": ("import 999 rows until all are scored", 1, "1 click; 4 + 160 s"),
    "A4": ("add a person who can log in", 7, "7 clicks, 2 sites; 19 s"),
    "A5": ("Quality", 1, "1 button; 11 s"),
    "A6": ("release to file", 2, "2 clicks; 9 s; no download of all"),
    "A7": ("retrain on the demo", 1, "1 click; 8 min, then “failed”"),
    "A8": ("retrain with empty answers", 1, "1 click; “failed” at once"),
    "A9": ("compare, override, go back", 6, "6 clicks"),
    "B1": ("log in to first vote, keyboard", 10, "1 form, 8 Tab or Enter, 1 key; 7 s"),
    "B2": ("15 votes as it comes", 30, "2 keys each"),
    "B3": ("15 votes, straight on", 15, "1 key each; 40 ms"),
    "B4": ("undo, skip, flag, comment, diff, rank 4", 14, "1 + 1 + 3 + 3 + 1 + 5 keys"),
    "B5": ("votes offline; log out, log in", 5, "3 of 5 keys taken, 2 clicks or forms; 1 + 2 s"),
    "C": ("10 disagreements with a reason", 20, "2 keys each; about 1 s each"),
    "D1": ("prompts that mention X", None, "exact and case-sensitive only"),
    "D2": ("all answers of one source", None, "not possible"),
    "D3": ("pairs the model is unsure about", None, "no list"),
    "D4": ("exclude a bad prompt", None, "not possible"),
    "D5": ("fix a wrong label", None, "only if the pair is a case"),
    "D6": ("set gold", 4, "4 actions a pair"),
    "D7": ("one prompt with everything about it", None, "no such page"),
}
"""Name, acts and remarks from ux-2026-11.md, sections 0 and 1b (D), walked at b83f6c9. None: nobody could do
it, or nobody counted. A form with its fields is one act."""


@dataclass
class Hand:
    """A person at a page. Counts acts, and measures seconds without the pauses of a reader."""

    page: Page
    acts: int = 0
    remarks: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.perf_counter)
    paused: float = 0.0
    taken: float | None = None

    @property
    def seconds(self) -> float:
        if self.taken is not None:
            return self.taken
        return time.perf_counter() - self.begun - self.paused

    def begin(self) -> None:
        """What was done so far only led here."""
        self.acts, self.paused, self.begun = 0, 0.0, time.perf_counter()

    def stop(self) -> None:
        """What comes from now on is no part of the journey."""
        self.taken = self.seconds

    def read(self, milliseconds: float = LOOK) -> None:
        begun = time.perf_counter()
        # The page counts from its second frame on, however late a busy machine paints it.
        self.page.evaluate(
            "ms => new Promise(seen => requestAnimationFrame("
            "() => requestAnimationFrame(() => setTimeout(seen, ms))))",
            milliseconds,
        )
        self.paused += time.perf_counter() - begun

    def click(self, what: Locator) -> None:
        what.click()
        self.acts += 1

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.acts += 1

    def submit(self, button: Locator, fields: dict[str, str]) -> None:
        """Fill the fields, by label, and send the form: one act."""
        for label, value in fields.items():
            self.page.get_by_label(label, exact=True).first.fill(value)
        self.click(button)

    def type_line(self, line: str, into: Locator | None = None) -> None:
        """A line and Enter: one act. Into a field, or where the focus is."""
        if into is not None:
            into.focus()
        expect(self.page.locator("input:focus")).to_have_count(1)
        self.page.keyboard.type(line)
        self.page.keyboard.press("Enter")
        self.acts += 1


class Stage:
    """The demo as it is served, with people who have logged in."""

    def __init__(self, browser: Browser, served: "Served", pictures: Path | None) -> None:
        self.browser, self.served, self.pictures = browser, served, pictures
        self.contexts: list[BrowserContext] = []

    @property
    def demo(self) -> Dataset:
        return Dataset.objects.get(name=DEMO)

    def hand(self, name: str | None, path: str = "/", **options: object) -> Hand:
        """A person at the page `path`, logged in unless `name` is None."""
        page = self.page(name, **options)
        page.goto(path)
        return Hand(page)

    def page(self, name: str | None, **options: object) -> Page:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        context = self.browser.new_context(base_url=self.served.url, **options)  # type: ignore[arg-type]
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        if name:
            page.goto("/login/")
            log_in(page, name, self.served.passwords[name])
        return page

    def close(self) -> None:
        while self.contexts:
            self.contexts.pop().close()


def log_in(page: Page, name: str, password: str) -> None:
    page.locator("[name=username]").fill(name)
    page.locator("[name=password]").fill(password)
    page.locator("form:has([name=username]) button.primary").click()
    page.wait_for_url(lambda url: "/login" not in url)


@dataclass
class Served:
    """The `demo` command while it runs."""

    url: str
    passwords: dict[str, str]
    seconds: float


@contextmanager
def serving() -> Iterator[Served]:
    """Run `manage.py demo`, which prepares what is missing, until it has said its passwords."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--port", str(port)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        passwords: dict[str, str] = {}
        for line in process.stdout:
            if found := re.search(r"\b(admin|reviewer|annotator)\s+(\S{12,})\s*$", line):
                passwords[found[1]] = found[2]
            if len(passwords) == 3:
                break
        if len(passwords) < 3:
            raise RuntimeError("The demo did not start: run `manage.py demo` to see why.")
        yield Served(f"http://127.0.0.1:{port}", passwords, time.perf_counter() - begun)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_for(holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.5)


def answers_file() -> Path:
    """A made-up file of ROWS labelled pairs of short answers."""
    things = ("kettle", "bicycle", "window", "garden", "lamp", "radio", "ladder", "blanket", "stove")
    path = DATA / "answers.jsonl"
    with path.open("w") as file:
        for n in range(ROWS):
            thing = things[n % len(things)]
            row = {
                "prompt": f"How do I look after my {thing}, now that I have had it for {n + 1} weeks?",
                "chosen": f"Clean the {thing} once a week, and look for wear in month {n % 12 + 1}. " * 2,
                "rejected": f"It depends on the {thing}. Ask number {n} again later.",
            }
            file.write(json.dumps(row) + "\n")
    return path


# The journeys: each takes the stage, gives the hand that went, and leaves its page open for the picture.


def a1_start(stage: Stage) -> Hand:
    hand = stage.hand(None, "/login/")
    hand.acts = 1  # make demo
    log_in(hand.page, "admin", stage.served.passwords["admin"])
    hand.acts += 1
    hand.stop()
    hand.remarks.append(f"the command itself: {stage.served.seconds:.0f} s until pages are served")
    return hand


def a2_new_dataset(stage: Stage) -> Hand:
    hand = stage.hand("admin")
    hand.begin()
    hand.click(
        hand.page.get_by_role("link", name=re.compile("^(New dataset|Create your first dataset)$")).first
    )
    hand.submit(hand.page.get_by_role("button", name="Create dataset"), {"Name": "Household"})
    expect(hand.page.get_by_label("Drop a file here, or choose one")).to_be_visible()
    hand.page.get_by_label("Drop a file here, or choose one").set_input_files(answers_file())
    hand.acts += 1
    expect(hand.page.locator(".example").first).to_be_visible()
    return hand


def a3_import(stage: Stage) -> Hand:
    upload = Upload.objects.filter(dataset__name="Household").latest("created_at")
    hand = stage.hand("admin", f"/imports/{upload.pk}/")
    hand.begin()
    hand.click(hand.page.get_by_role("button", name="Import file"))
    runs = Run.objects.filter(dataset=upload.dataset)
    wait_for(lambda: runs.filter(kind="import", state="done").exists(), "the import")
    hand.remarks.append(f"imported after {hand.seconds:.0f} s")
    wait_for(
        lambda: (
            runs.filter(kind="score", version__state="active", state__in=["done", "failed"]).exists()
            and not runs.filter(kind="score", version__state="active").open().exists()
        ),
        "scoring",
    )
    hand.stop()
    hand.page.goto(upload.dataset.get_absolute_url())
    return hand


def a4_person(stage: Stage) -> Hand:
    """By a link: three acts of the admin, and the form of the person who was invited."""
    hand = stage.hand("admin", f"/datasets/{stage.demo.pk}/people/")
    hand.begin()
    hand.click(hand.page.get_by_role("link", name="Invite people").first)
    hand.click(hand.page.get_by_role("button", name="Make link"))
    box = hand.page.get_by_label("Link for").first
    hand.click(hand.page.get_by_role("button", name="Copy").first)
    guest = stage.page(None)
    guest.goto(urlsplit(box.input_value()).path)
    for field_ in guest.locator("main form input:not([type=hidden])").all():
        kind = field_.get_attribute("type") or ""
        if kind == "checkbox":
            field_.check()
        else:
            field_.fill({"password": "a-long-pass-9", "email": "ann@example.org"}.get(kind, "ann"))
    guest.locator("main form button.primary").click()
    hand.acts += 1
    expect(guest.get_by_role("button", name="Account of ann")).to_be_visible()
    hand.page = guest
    hand.remarks.append("the person chooses the password, and stands on the first pair")
    return hand


def a5_quality(stage: Stage) -> Hand:
    hand = stage.hand("admin", stage.demo.get_absolute_url())
    hand.begin()
    hand.click(hand.page.get_by_role("link", name="Quality", exact=True))
    expect(hand.page.locator("main svg, main img").first).to_be_visible()
    return hand


def a6_release(stage: Stage) -> Hand:
    number = Release.objects.filter(dataset=stage.demo).count() + 1
    hand = stage.hand("admin", f"/datasets/{stage.demo.pk}/releases/")
    hand.begin()
    hand.click(hand.page.get_by_role("button", name="Build release"))
    files = hand.page.get_by_role("region", name="Releases").locator(f"[aria-labelledby=release-{number}]")
    files = files.get_by_role("link", name=re.compile(r"^Download all"))
    expect(files).to_be_visible(timeout=60_000)
    with hand.page.expect_download() as download:
        hand.click(files)
    hand.stop()
    hand.remarks.append(f"{download.value.suggested_filename}")
    return hand


def a7_retrain(stage: Stage) -> Hand:
    hand = stage.hand("admin", f"/datasets/{stage.demo.pk}/model/")
    hand.begin()
    hand.click(hand.page.get_by_role("button", name="Retrain model"))
    trained_to_its_end(hand, stage.demo)
    return hand


def trained_to_its_end(hand: Hand, dataset: Dataset) -> None:
    """Wait for the training that was just begun, and note what its page says."""
    runs = Run.objects.filter(kind="train", dataset=dataset)
    wait_for(runs.exists, "the training", 30)
    run = runs.latest("created_at")
    wait_for(lambda: not runs.open().filter(pk=run.pk).exists(), "the training")
    hand.stop()
    hand.page.goto(f"/runs/{run.pk}/")
    said = hand.page.locator("main .state .tag").first.inner_text()
    hand.remarks.append(f"ends as “{said}”: {said_of(hand.page)}")


def said_of(page: Page) -> str:
    """The first sentence on what came of a Run."""
    for found in ("main .finding", "main .notice"):
        if page.locator(found).count():
            return page.locator(found).first.inner_text().split("\n")[0][:90]
    return page.locator("main .state").inner_text().replace("\n", " ")[:90]


def a8_retrain_with_empty_answers(stage: Stage) -> Hand:
    """On a public set with empty answers, to the end of the training. Import, scoring and release come
    before."""
    if not PANDALM.exists():
        raise LookupError("../shared/data/pandalm is not there: this journey needs the public set")
    hand = stage.hand("admin", "/datasets/new/")
    hand.submit(hand.page.get_by_role("button", name="Create dataset"), {"Name": "PandaLM"})
    hand.page.get_by_label("Drop a file here, or choose one").set_input_files(PANDALM)
    hand.page.get_by_role("button", name="Import file").click()
    pandalm = Dataset.objects.get(name="PandaLM")
    runs = Run.objects.filter(dataset=pandalm)
    wait_for(lambda: runs.filter(kind="import", state="done").exists(), "the import")
    wait_for(lambda: runs.filter(kind="score").exists() and not runs.open().exists(), "scoring")
    hand.page.goto(f"/datasets/{pandalm.pk}/releases/")
    hand.page.get_by_role("button", name="Build release").click()
    wait_for(lambda: Release.objects.ready().filter(dataset=pandalm).exists(), "the release", 60)
    hand.page.goto(f"/datasets/{pandalm.pk}/model/")
    said = hand.page.locator("#outlook").get_by_text("with an empty answer").inner_text()
    hand.remarks.append(f"said before: “{said}”")
    hand.begin()
    hand.click(hand.page.get_by_role("button", name="Retrain model"))
    trained_to_its_end(hand, pandalm)
    return hand


def a9_compare(stage: Stage) -> Hand:
    if not ModelVersion.objects.filter(kind="transformer", state="registered").exists():
        raise LookupError("no second model to compare: no training of this run made one")
    hand = stage.hand("admin", f"/datasets/{stage.demo.pk}/model/")
    hand.begin()
    page = hand.page
    newest = ModelVersion.objects.filter(kind="transformer", state="registered").latest("pk")
    hand.click(page.get_by_role("link", name=f"Compare {newest}"))
    page.locator(".gate").wait_for(timeout=60_000)
    if page.get_by_text("Promote anyway").count():
        hand.click(page.get_by_text("Promote anyway"))
        page.get_by_label("Reason").fill("Only to try it")
    hand.click(page.get_by_role("button", name=re.compile(r"^Promote ")))
    page.wait_for_load_state()
    if not page.get_by_role("button", name=re.compile("^Go back to")).count():
        hand.click(page.get_by_role("button", name="Account of"))
        hand.click(page.get_by_role("link", name="Models"))
    hand.click(page.get_by_role("button", name=re.compile("^Go back to")).first)
    page.wait_for_load_state()
    return hand


def b1_first_vote(stage: Stage) -> Hand:
    hand = stage.hand(None, "/login/")
    hand.begin()
    page = hand.page
    page.keyboard.type("annotator")
    page.keyboard.press("Tab")
    page.keyboard.type(stage.served.passwords["annotator"])
    hand.press("Enter")
    page.wait_for_url(lambda url: "/login" not in url)
    for _ in range(40):
        hand.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('href') || ''").endswith("/annotate/"):
            break
    hand.press("Enter")
    page.wait_for_selector("body.has-script .item")
    hand.read()
    vote(hand, "1")
    return hand


def vote(hand: Hand, key: str) -> None:
    """One key, and what else it takes until the next pair is there."""
    page = hand.page
    before = page.locator(".item").get_attribute("data-comparison")
    hand.press(key)
    come = "before => document.querySelector('.item')?.dataset.comparison !== before"
    try:
        page.wait_for_function(come, arg=before, timeout=3_000)
    except BrowserError:
        hand.press("Enter")  # the model's pick is shown first
        page.wait_for_function(come, arg=before)


def votes(hand: Hand, count: int) -> None:
    latencies = []
    for n in range(count):
        hand.read()
        seconds = hand.seconds
        vote(hand, "12"[n % 2])
        latencies.append(hand.seconds - seconds)
    hand.remarks.append(f"{1000 * sorted(latencies)[count // 2]:.0f} ms a vote, the median")


def annotator(stage: Stage, dataset: Dataset | None = None) -> Hand:
    hand = stage.hand("annotator", f"/datasets/{(dataset or stage.demo).pk}/annotate/")
    hand.page.wait_for_selector("body.has-script .item")
    hand.read()
    hand.begin()
    return hand


def b2_votes(stage: Stage) -> Hand:
    hand = annotator(stage)
    votes(hand, 15)
    return hand


def b3_votes_straight_on(stage: Stage) -> Hand:
    hand = annotator(stage)
    hand.page.keyboard.press("?")
    box = hand.page.locator("#straight-on")
    if box.is_checked():
        hand.remarks.append("the default now")
    hand.page.wait_for_timeout(LOOK)
    box.set_checked(True)
    hand.page.keyboard.press("Escape")
    hand.read()
    hand.begin()
    votes(hand, 15)
    return hand


def b4_tools(stage: Stage) -> Hand:
    hand = annotator(stage)
    page = hand.page
    counted: dict[str, int] = {}

    def count(name: str) -> None:
        counted[name] = hand.acts - sum(counted.values())
        hand.read()

    hand.press("u")
    page.locator("#answers[data-state=reopened]").wait_for()
    count("undo")
    before = page.locator(".item").get_attribute("data-comparison")
    hand.press("s")
    page.wait_for_function(
        "before => document.querySelector('.item')?.dataset.comparison !== before", arg=before
    )
    count("skip")
    hand.press("f")
    hand.read()
    hand.press("2")
    hand.press("Enter")
    expect(page.locator(".flag-mark")).to_be_visible()
    count("flag")
    hand.press("d")
    expect(page.locator("[data-do=diff]")).to_have_attribute("aria-pressed", "true")
    count("diff")
    hand.press("d")
    hand.acts -= 1  # back to the texts
    hand.press("c")
    page.keyboard.type("Both forget the battery")
    hand.press("Escape")
    vote(hand, "1")
    count("comment")
    hand.stop()
    ranked = annotator(stage, ranked_dataset())
    ranked.page.wait_for_selector("[data-ranks]")
    answers = int(ranked.page.locator("[data-ranks]").get_attribute("data-ranks") or 0)
    for n in range(1, answers + 1):
        ranked.press(str(n))
    vote(ranked, "Enter")
    counted[f"rank {answers}"] = ranked.acts
    hand.acts += ranked.acts
    hand.remarks.append(", ".join(f"{name}: {acts}" for name, acts in counted.items()))
    if answers != 4:
        hand.remarks.append("the figure before is for 4 answers")
    hand.page = ranked.page
    return hand


def ranked_dataset() -> Dataset:
    """The prompts of the demo with four answers, to be ranked."""
    name = "Demo ranked"
    if found := Dataset.objects.filter(name=name).first():
        return found
    path = DATA / "ranked.jsonl"
    lines = (ROOT / "demo" / "prompts.jsonl").read_text().splitlines()
    path.write_text("\n".join(line for line in lines if len(json.loads(line)["completions"]) == 4))
    call_command("import_dataset", name, str(path), no_labels=True, stdout=StringIO())
    dataset = Dataset.objects.get(name=name)
    dataset.allows_ranking = True
    dataset.save()
    Member.objects.create(dataset=dataset, user=User.objects.get(username="annotator"), role="annotator")
    return dataset


def b5_offline(stage: Stage) -> Hand:
    hand = annotator(stage)
    page, demo = hand.page, stage.demo
    by = User.objects.get(username="annotator").annotator
    stored = by.judgments.filter(comparison__dataset=demo).count
    begun = stored()
    page.context.set_offline(True)
    given = 0
    for n in range(5):
        hand.read()
        before = page.evaluate("document.querySelector('.item')?.dataset.comparison")
        if not before:
            break
        hand.press("12"[n % 2])
        given += 1
        page.wait_for_timeout(300)
    page.context.set_offline(False)
    wait_for(lambda: stored() >= begun + given, "votes given offline", 60)
    hand.remarks.append(f"{given} of 5 votes were taken offline, all stored")
    if given < 5:
        hand.remarks.append("stops when what was fetched ahead is used up")
    page.wait_for_selector(".item, [data-end]")
    hand.click(page.get_by_role("button", name="Account of"))
    hand.acts -= 1  # the act counted before is “log out”
    hand.click(page.get_by_role("button", name="Log out"))
    page.goto(f"/datasets/{demo.pk}/annotate/")
    log_in(page, "annotator", stage.served.passwords["annotator"])
    hand.acts += 1
    page.wait_for_selector("body.has-script .item")
    return hand


def c_disagreements(stage: Stage) -> Hand:
    hand = stage.hand("reviewer", f"/datasets/{stage.demo.pk}/review/?queue=all")
    page = hand.page
    if not page.locator("#case .answer").count():
        page.locator("#rows .line a").first.click()
    page.locator("#case .answer").wait_for()
    hand.read()
    hand.begin()
    settled = 0
    for n in range(10):
        if not page.locator("#case .answer").count():
            break
        before = page.locator("#case [name=comparison]").get_attribute("value")
        reason = page.locator("#case .reasons input[type=radio]:not([data-asks])").first
        hand.press(reason.get_attribute("data-key") or "")
        hand.press("12"[n % 2])
        hand.press("Enter")
        page.wait_for_function(
            "before => document.querySelector('#case [name=comparison]')?.value !== before", arg=before
        )
        settled += 1
        hand.read()
    hand.remarks.append(f"{settled} settled: reason, choice, Enter")
    return hand


def curator(stage: Stage) -> Hand:
    hand = stage.hand("admin", stage.demo.get_absolute_url())
    hand.begin()
    return hand


def search(hand: Hand, words: str) -> None:
    hand.type_line(words, hand.page.get_by_role("searchbox"))
    expect(hand.page.locator(".chosen")).to_be_visible()


def choose(hand: Hand, facet: str) -> None:
    hand.click(hand.page.get_by_role("link", name="Data", exact=True))
    hand.click(hand.page.locator(".facets").get_by_role("link", name=facet).first)
    expect(hand.page.locator(".chosen")).to_be_visible()


def pump() -> Prompt:
    return next(p for p in Prompt.objects.filter(dataset__name=DEMO) if "heat pump" in json.dumps(p.messages))


def open_pump(hand: Hand) -> None:
    search(hand, "heat pump")
    hand.click(hand.page.locator(f"#prompt-{pump().pk}").get_by_role("link", name=f"#{pump().pk}"))
    expect(hand.page.get_by_role("heading", name="Pairs")).to_be_visible()


def d1_mention(stage: Stage) -> Hand:
    hand = curator(stage)
    search(hand, "FRIDGE")
    expect(hand.page.locator(".found mark").first).to_be_visible()
    return hand


def d2_source(stage: Stage) -> Hand:
    hand = curator(stage)
    choose(hand, "rowan")
    return hand


def d3_unsure(stage: Stage) -> Hand:
    hand = curator(stage)
    choose(hand, "50 to 59 %")
    return hand


def d4_exclude(stage: Stage) -> Hand:
    hand = curator(stage)
    search(hand, "heat pump")
    hand.click(hand.page.locator(f"#prompt-{pump().pk}").get_by_label("Exclude prompt"))
    hand.type_line("Asks for physics")
    expect(hand.page.get_by_text("Excluded 1 prompt from the queue and releases")).to_be_visible()
    hand.stop()
    hand.page.get_by_role("button", name="Undo").click()
    expect(hand.page.get_by_text("Undone for 1 prompt")).to_be_visible()
    return hand


def d5_label(stage: Stage) -> Hand:
    hand = curator(stage)
    open_pump(hand)
    hand.click(hand.page.locator("article.pair .settle").get_by_role("button", name="Answer").first)
    expect(hand.page.get_by_text("Settled the pair.")).to_be_visible()
    return hand


def d6_gold(stage: Stage) -> Hand:
    hand = curator(stage)
    search(hand, "heat pump")
    hand.click(hand.page.locator(f"#prompt-{pump().pk}").get_by_label("Gold"))
    hand.type_line("Only one answer explains the refrigerant")
    gold = hand.page.get_by_text(re.compile("Made gold"))
    expect(gold.first).to_be_visible()
    hand.remarks.append(f"{Comparison.objects.filter(prompt=pump()).count()} pairs at once")
    return hand


def d7_prompt(stage: Stage) -> Hand:
    hand = curator(stage)
    open_pump(hand)
    return hand


JOURNEYS: dict[str, Callable[[Stage], Hand]] = {
    "A1": a1_start, "A2": a2_new_dataset, "A3": a3_import, "A4": a4_person, "A5": a5_quality,
    "A6": a6_release, "B1": b1_first_vote, "B2": b2_votes, "B3": b3_votes_straight_on, "B4": b4_tools,
    "B5": b5_offline, "C": c_disagreements, "D1": d1_mention, "D2": d2_source, "D3": d3_unsure,
    "D4": d4_exclude, "D5": d5_label, "D6": d6_gold, "D7": d7_prompt,
    "A8": a8_retrain_with_empty_answers, "A7": a7_retrain, "A9": a9_compare,
}  # fmt: skip
"""In the order in which they go: what needs much of the machine comes last."""


def measured(name: str, stage: Stage) -> list[str]:
    """A row of the table."""
    title, acts, remarks = BEFORE[name]
    row = [f"{name} {title}", "–" if acts is None else str(acts)]
    try:
        hand = JOURNEYS[name](stage)
    except (BrowserError, AssertionError, TimeoutError, LookupError) as error:
        said = " ".join(str(error).split())[:160]
        print(f"{name}: could not be done: {error}", file=sys.stderr, flush=True)
        picture(stage, name)
        return [*row, "–", "–", "–", remarks, f"could not be done: {said}"]
    taken = hand.seconds
    picture(stage, name, hand.page)
    ratio = "–" if acts is None else f"{hand.acts / acts:.2f}"
    print(f"{name}: {hand.acts} acts, {taken:.1f} s. {'; '.join(hand.remarks)}", file=sys.stderr, flush=True)
    return [*row, str(hand.acts), ratio, f"{taken:.1f}", remarks, "; ".join(hand.remarks)]


def picture(stage: Stage, name: str, page: Page | None = None) -> None:
    """How the page looks at the end of the journey."""
    if page is None and stage.contexts and stage.contexts[-1].pages:
        page = stage.contexts[-1].pages[-1]
    if page is not None and stage.pictures:
        with suppress(BrowserError):  # Chromium fails at it now and then on a busy machine
            page.screenshot(path=stage.pictures / f"{name}.png")


def walk(stage: Stage, names: list[str]) -> Table:
    table = Table(
        "journey", "acts before", "acts now", "ratio", "seconds now", "said before", "remarks",
        title=f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start",
    )  # fmt: skip
    for name in JOURNEYS:
        if name in names:
            table.add_row(*measured(name, stage))
            stage.close()
            connections.close_all()
    return table


# A picture of each page

LOOKS = [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]


def patterns(found: object, prefix: str = "") -> Iterator[str]:
    """The routes of our own pages: all of the URLconf but Django's admin."""
    for pattern in found:  # type: ignore[attr-defined]
        if isinstance(pattern, URLPattern):
            yield prefix + str(pattern.pattern)


def addresses(stage: Stage) -> list[str]:
    """All addresses that rows of the demo fill in. Which of them are pages, the server tells."""
    demo = stage.demo
    firsts: dict[str, object] = {
        "datasets": demo.pk,
        "prompts": demo.prompts.exclude(comparisons=None).first(),
        "review": Comparison.objects.filter(dataset=demo).first(),
        "runs": Run.objects.order_by("-pk").first(),
        "models": ModelVersion.objects.active(),
        "releases": Release.objects.ready().filter(dataset=demo).first(),
        "imports": Upload.objects.order_by("-created_at").first(),
    }
    found = ["/admin/", f"/datasets/{demo.pk}/data/?q=fridge", f"/datasets/{demo.pk}/review/?queue=model"]
    for route in patterns(get_resolver().url_patterns):
        path = route.replace("<id:version_pk>", str(ModelVersion.objects.active().pk))  # type: ignore[union-attr]
        path = path.replace("<path:path>", "tutorial")
        of = firsts.get(path.split("/")[0])
        pk = getattr(of, "pk", of)
        if isinstance(pk, UUID) == ("<uuid:pk>" in path) and pk is not None:
            path = re.sub("<(id|uuid):pk>", str(pk), path)
        if "<" not in path and "logout" not in path:
            found.append("/" + path)
    return sorted(set(found))


def take_pictures(stage: Stage, folder: Path) -> None:
    """Each page as each of two people sees it, whole, in LOOKS; prints those wider than the window."""
    hand = stage.hand("admin", f"/datasets/{stage.demo.pk}/import/")
    hand.page.get_by_label("Drop a file here, or choose one").set_input_files(answers_file())
    hand.page.locator(".example").first.wait_for()
    paths = addresses(stage)
    for who in ("admin", "annotator"):
        for width, theme in LOOKS:
            page = stage.page(who, viewport={"width": width, "height": 900}, color_scheme=theme)
            for path in paths:
                answer = page.request.get(path, max_redirects=0)
                is_html = "html" in answer.headers.get("content-type", "")
                if answer.status != 200 or not is_html or "<!doctype" not in answer.text()[:500].lower():
                    continue
                page.goto(path)
                page.wait_for_load_state("networkidle")
                name = re.sub(r"[^\w]+", "-", urlsplit(path).path + urlsplit(path).query).strip("-") or "home"
                page.screenshot(path=folder / f"{who}-{width}-{theme}-{name}.png", full_page=True)
                wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                if wide > 0:
                    print(f"{who} {width} {theme} {path}: {wide} px wider than the window")
        anonymous = stage.page(None)
        anonymous.goto("/login/")
        anonymous.screenshot(path=folder / "nobody-login.png")
        stage.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=BEFORE, default=list(BEFORE), metavar="JOURNEY")
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER", help="of every page; no journeys")
    parser.add_argument("--ends", type=Path, metavar="FOLDER", help="a picture of the end of each journey")
    options = parser.parse_args()
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    pictures = options.ends or DATA / "pictures"
    for folder in filter(None, (pictures, options.screenshots)):
        folder.mkdir(parents=True, exist_ok=True)
    with serving() as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        stage = Stage(browser, served, pictures)
        if options.screenshots:
            take_pictures(stage, options.screenshots)
        else:
            Console(width=200).print(walk(stage, options.only))
        browser.close()


if __name__ == "__main__":
    main()
