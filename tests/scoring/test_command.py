import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scoring.__main__ import main
from tests.scoring.models import Card, sentence


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(
        tmp_path / "in.jsonl",
        [
            {"id": 7, "prompt": "why", "completion": "because it rains", "score": "old", "tags": ["é", None]},
            {"completion": "water", "prompt": [{"role": "user", "content": "what falls"}]},
            {"prompt": "why", "completion": "because it rains"},
        ],
    )


def test_a_file_is_scored_in_its_order_with_every_other_key_kept(tiny, rows, tmp_path):
    code = main(
        ["score", "--model", str(tiny), "--precision", "fp32", str(rows), "-o", str(tmp_path / "out.jsonl")]
    )

    card = Card(tiny)
    expected = [card("why", "because it rains"), card("what falls", "water"), card("why", "because it rains")]
    written = read_rows(tmp_path / "out.jsonl")
    assert code == 0
    assert [row["score"] for row in written] == pytest.approx(expected, abs=1e-4)
    assert [{**row, "score": 0} for row in written] == [{**row, "score": 0} for row in read_rows(rows)]


def test_it_runs_with_no_django_loaded(tiny, rows, tmp_path):
    script = (
        "import sys; from scoring.__main__ import main; code = main(sys.argv[1:]);"
        "assert not {'django', 'workbench', 'celery'} & set(sys.modules);"
        "sys.exit(code)"
    )
    arguments = ["score", "--model", str(tiny), str(rows), "-o", str(tmp_path / "out.jsonl"), "--json"]

    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["rows"] == 3
    assert summary["precision"] == "exact-order"
    assert sum(summary["scored_in"].values()) == 3
    assert len(read_rows(tmp_path / "out.jsonl")) == 3


def test_formats_and_baselines_are_imported_without_torch():
    script = (
        "import sys, scoring.formats, scoring.baselines;sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"prompt": "why"}', 'line 3: the column "completion" is missing'),
        ('{"prompt": "why", "completion": ""}', "line 3: the answer is empty"),
        ('{"prompt": [], "completion": "x"}', "line 3: the conversation has no messages"),
        (
            '{"prompt": 7, "completion": "x"}',
            "line 3: a prompt should be text or a list of messages, not int",
        ),
        ('{"prompt": "why", "completion": "\\u200b"}', "line 3: the answer has no character"),
        ('{"prompt": "why"', "line 3: not JSON"),
    ],
)
def test_a_bad_line_stops_the_command_and_leaves_no_file(tiny, tmp_path, capsys, line, reason):
    file = tmp_path / "in.jsonl"
    file.write_text('{"prompt": "why", "completion": "rain"}\n\n' + line + "\n")

    code = main(
        ["score", "--model", str(tiny), "--precision", "fp32", str(file), "-o", str(tmp_path / "out.jsonl")]
    )

    assert code == 1
    assert reason in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_a_failure_leaves_the_file_of_an_earlier_run(tiny, tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text("{")
    (tmp_path / "out.jsonl").write_text("earlier")

    main(["score", "--model", "longest", str(file), "-o", str(tmp_path / "out.jsonl")])

    assert (tmp_path / "out.jsonl").read_text() == "earlier"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["score", "--model", "{tmp}/none", "{in}", "-o", "{tmp}/out.jsonl"], "none is not a folder"),
        (["score", "--model", "longest", "{tmp}/none.jsonl", "-o", "{tmp}/out.jsonl"], "No such file"),
        (["score", "--model", "longest", "{in}", "-o", "{tmp}/none/out.jsonl"], "there is no folder"),
        (
            ["score", "--model", "{tiny}", "--max-length", "9999", "{in}", "-o", "{tmp}/out.jsonl"],
            "has 512 positions",
        ),
        (["check", "{tmp}"], "config.json is missing"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(tiny, rows, tmp_path, capsys, arguments, reason):
    filled = [
        part.replace("{tmp}", str(tmp_path)).replace("{in}", str(rows)).replace("{tiny}", str(tiny))
        for part in arguments
    ]

    code = main(filled)

    error = capsys.readouterr().err
    assert code == 1
    assert reason in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_a_file_without_rows_is_an_error(tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text("\n\n")

    code = main(
        ["score", "--model", "longest", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    )

    assert code == 1
    assert "has no rows" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["score", "--help"])

    assert caught.value.code == 0
    assert "python -m scoring score --model" in capsys.readouterr().out


def test_check_tells_what_a_folder_holds(tiny, capsys):
    code = main(["check", str(tiny), "--json"])

    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == 0
    assert facts["architecture"] == "BertForSequenceClassification"
    assert facts["parameters"] > 0


def test_a_large_file_streams_in_constant_memory(tmp_path):
    def peak(rows: int) -> int:
        file = tmp_path / f"{rows}.jsonl"
        line = json.dumps({"prompt": "why", "completion": sentence(60)}) + "\n"
        file.write_text(line * rows)
        script = (
            "import sys; from scoring.__main__ import main; main(sys.argv[1:]);"
            "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
        )
        arguments = ["score", "--model", "longest", str(file), "-o", str(tmp_path / "out.jsonl")]
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
        )
        return int(done.stdout.splitlines()[-1])  # KiB

    small, large = peak(10_000), peak(150_000)

    assert large - small < 8_000  # the file itself is 50 MB


def test_rows_of_one_prompt_are_scored_in_one_call(tmp_path, monkeypatch):
    monkeypatch.setattr("scoring.__main__.WINDOW", 4)
    calls: list[list[str]] = []

    def remember(pairs):
        from scoring.baselines import longest

        calls.append([prompt for prompt, _ in pairs])
        return longest(pairs)

    monkeypatch.setattr("scoring.scorers.BASELINES", {"longest": remember})
    file = write_rows(tmp_path / "in.jsonl", [{"prompt": p, "completion": "x"} for p in "aabbbbbccc"])

    main(["score", "--model", "longest", str(file), "-o", str(tmp_path / "out.jsonl")])

    assert ["".join(call) for call in calls] == ["aabbbbb", "ccc"]
