"""From key press to the next pair painted, in Chromium against real web processes on loopback.

    make bench-paint                                       SQLite, 100 pairs judged
    make bench-paint ARGS="--pairs 300 --think 400"        with 400 ms of thinking between two keys

Prints p50 and p95 in ms of three kinds of completions: about 180 words each, 1,500 words each, and 100,000
characters each. An answer is painted when the frame after the one that holds the next pair has begun. Beside
it stands what a key that does nothing takes for two frames: what the machine itself takes while it is busy.
"""

import argparse
import os
import shutil

# First: it settles where the data goes, and sets Django up.
from benchmarks.bench_annotate import logged_in, make_dataset, percentiles, web

# isort: split
from django.conf import settings
from django.core.management import call_command
from django.db.models import F, Value
from django.db.models.functions import Concat, Repeat
from playwright.sync_api import Page, sync_playwright

from workbench.models import Completion, Dataset

KINDS = {"180 words": 1, "1,500 words": 8, "100,000 characters": 78}  # times the 180 words

WATCH = """
() => {
  window.painted = [];
  window.idle = [];
  addEventListener("keydown", ({ key }) => {
    const pressed = performance.now();
    const before = document.querySelector(".item").dataset.comparison;
    const since = () => performance.now() - pressed;
    const look = () => {
      if (key === "z") return requestAnimationFrame(() => window.idle.push(since()));
      if (document.querySelector(".item")?.dataset.comparison === before) return requestAnimationFrame(look);
      requestAnimationFrame(() => window.painted.push(since()));
    };
    requestAnimationFrame(look);
  }, true);
}
"""


def prepare(pairs: int, times: int) -> tuple[Dataset, str]:
    """A Dataset whose completions are `times` as long, and the session of its annotator."""
    dataset = make_dataset(pairs + 5, overlap=1)
    more = Repeat(Value("more words "), (times - 1) * 115)
    Completion.objects.of(dataset).update(text=Concat(F("text"), more))
    return dataset, logged_in(dataset)[1]


def judge(page: Page, dataset: Dataset, pairs: int, think: int) -> tuple[list[float], list[float]]:
    """Milliseconds from each key to the next pair on screen, and from as many keys that do nothing to as many
    frames: what a busy machine takes for those alone."""
    page.goto(f"/datasets/{dataset.pk}/annotate/")
    page.wait_for_selector("body.has-script .item")
    page.evaluate(WATCH)
    for n in range(pairs):
        for key, list_name in (("z", "idle"), ("123"[n % 3], "painted")):
            page.wait_for_timeout(think / 2)
            page.keyboard.press(key)
            page.wait_for_function("([name, n]) => window[name].length > n", arg=[list_name, n])
    painted, idle = page.evaluate("[window.painted, window.idle]")
    return painted, idle


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--think", type=int, default=400)
    options = parser.parse_args()
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    print(f"{options.pairs} pairs each, {options.think} ms between keys; goal: p50 100 ms or less")
    print("completions          p50    p95  no-key p50")
    # Before Playwright starts: its event loop runs in this thread, where Django refuses to touch a database.
    prepared = [(kind, *prepare(options.pairs, times)) for kind, times in KINDS.items()]
    with web() as (port, _), sync_playwright() as playwright:
        args = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=executable, args=args)
        for kind, dataset, session in prepared:
            context = browser.new_context(base_url=f"http://127.0.0.1:{port}")
            name = settings.SESSION_COOKIE_NAME
            context.add_cookies([{"name": name, "value": session, "url": f"http://127.0.0.1:{port}"}])
            painted, idle = judge(context.new_page(), dataset, options.pairs, options.think)
            (middle, most), (floor, _) = percentiles(painted), percentiles(idle)
            print(f"{kind:18} {middle:5.0f}  {most:5.0f}  {floor:10.0f}")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
