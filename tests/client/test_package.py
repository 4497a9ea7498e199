"""The client as a package of its own: built from its folder and installed beside nothing else."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib

from tests.processes import ROOT

INSTALLS = re.compile(r"pip install [^`\n]*client[^`\n]*")
LOOK = """
import sys
from importlib.metadata import distribution
from pathlib import Path
sys.path.append(sys.argv[1])  # httpx2 and pydantic, after what is installed here
import preference_workbench
found = distribution("preference-workbench-client")
folder = Path(preference_workbench.__file__).parent
print(found.version, (folder / "py.typed").is_file(), folder.is_relative_to(sys.prefix))
print(*sorted(str(one).rpartition("/")[2] for one in found.files if "dist-info" not in str(one)))
"""


def run(*command: object) -> str:
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_client_is_built_without_a_network_and_works_where_it_is_installed(tmp_path):
    source = tmp_path / "client"
    shutil.copytree(
        ROOT / "client", source, ignore=shutil.ignore_patterns("*.egg-info", "build", "__pycache__")
    )
    offline = ("--no-deps", "--no-index", "--disable-pip-version-check")

    run(sys.executable, "-m", "pip", "wheel", *offline, "--no-build-isolation", "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("preference_workbench_client-*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", *offline, wheel)
    facts, files = run(python, "-P", "-c", LOOK, sysconfig.get_path("purelib")).splitlines()

    version = tomllib.loads((source / "pyproject.toml").read_text())["project"]["version"]
    assert facts == f"{version} True True"
    modules = {path.name for path in (ROOT / "client/src/preference_workbench").glob("*.py")}
    assert modules | {"py.typed"} == {name for name in files.split() if not name.endswith(".pyc")}


def test_no_line_installs_the_client_from_an_index():
    """Nobody has registered its name there: what such a line fetched would be a stranger's."""
    pages = [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "templates").rglob("*.*"),
        *(ROOT / "client").rglob("*.*"),
    ]
    found = {
        line: path.name
        for path in [*pages, ROOT / "README.md"]
        if path.suffix in (".md", ".html", ".txt", ".py")
        for line in INSTALLS.findall(path.read_text())
    }

    assert set(found) == {"pip install ./client", 'pip install "./client[datasets]"'}
