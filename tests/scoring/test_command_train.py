import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from scoring.__main__ import main
from scoring.config import PRESETS
from tests.scoring.models import save_bert
from tests.scoring.test_train import planted

torch.set_num_threads(1)


def write(path, pairs):
    rows = [
        {"prompt": pair.prompt, "completion_a": pair.a, "completion_b": pair.b, "p_a": pair.target}
        for pair in pairs
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write(data / "soft-label.train.jsonl", planted(60))
    write(data / "soft-label.validation.jsonl", planted(20, start=100))
    return data


def train_arguments(tiny, folder, out, *more):
    steps = ["--steps", "4", "--batch", "8", "--max-length", "64", "--precision", "fp32"]
    return ["train", "--model", str(tiny), "--data", str(folder), "-o", str(out), *steps, *more]


def test_training_ends_with_a_folder_and_the_figures(tiny, folder, tmp_path, capsys):
    code = main(train_arguments(tiny, folder, tmp_path / "out", "--json"))

    printed = capsys.readouterr()
    summary = json.loads(printed.out.splitlines()[-1])
    assert code == 0
    assert summary["steps"] == 4
    assert summary["metrics"]["validation"]["after"]["n"] == 20
    assert "train  60 pairs of 60 prompt groups" in printed.out
    assert "step 0/4" in printed.err
    assert "warning: only 60 pairs" in printed.err
    assert (tmp_path / "out" / "README.md").is_file()


def test_a_check_looks_the_data_over_and_trains_nothing(tiny, folder, tmp_path, capsys):
    assert main(train_arguments(tiny, folder, tmp_path / "out", "--check")) == 0

    assert "4 steps, 0.5 passes" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--data", "nowhere"], "error: nowhere is not a folder"),
        (["--learning-rate", "0"], "error: learning_rate can't be 0.0"),
        (["--max-length", "1000"], "error: max_length is 1000, but the model has 512 positions"),
        (["--profile", "aira"], "has no aira.train.jsonl; it has soft-label"),
    ],
)
def test_what_cannot_be_is_an_error_and_leaves_nothing(tiny, folder, tmp_path, capsys, more, reason):
    assert main([*train_arguments(tiny, folder, tmp_path / "out"), *more]) == 1

    assert reason in capsys.readouterr().err
    assert not [entry for entry in tmp_path.iterdir() if "out" in entry.name]


def test_a_preset_may_be_changed_line_by_line(tiny, folder):
    from scoring.__main__ import _parser
    from scoring.command_train import config_of

    words = ["train", "--model", "m", "--data", "d", "-o", "o", "--preset", "seed"]
    options = _parser().parse_args(words)
    changed = _parser().parse_args([*words, "--epochs", "1", "--seed", "7"])

    assert config_of(options) == PRESETS["seed"]
    assert config_of(changed) == replace(PRESETS["seed"], epochs=1.0, steps=None, seed=7)


def test_ctrl_c_stops_after_the_step_and_the_same_command_goes_on(tiny, folder, tmp_path, capsys):
    arguments = train_arguments(tiny, folder, tmp_path / "out", "--evaluations", "4")
    script = (
        "import os, signal, sys; import scoring.command_train as command\n"
        "bar = command._bar\n"
        "from contextlib import contextmanager\n"
        "@contextmanager\n"
        "def pressed():\n"
        "    with bar() as report:\n"
        "        def then(now):\n"
        "            if now.step == 2: os.kill(os.getpid(), signal.SIGINT)\n"
        "            return report(now)\n"
        "        yield then\n"
        "command._bar = pressed\n"
        "from scoring.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, "stopped after step 2 of 4; the same command continues" in done.stderr) == (
        130,
        True,
    )
    assert main(arguments) == 0
    assert "step 1/4" not in capsys.readouterr().err


def rows(path, values):
    path.write_text("".join(json.dumps(row) + "\n" for row in values))
    return str(path)


@pytest.fixture
def webgpt(tmp_path):
    def row(number, first, second, score):
        return {
            "question": {"full_text": f"why {number}", "dataset": "eli5"},
            "answer_0": first,
            "answer_1": second,
            "score_0": score,
            "score_1": -score,
        }

    longer = [row(n, "rain falls down [1]", "sun", 0.5) for n in range(6)]
    shorter = [row(n, "rain falls down", "sun", -1) for n in range(6, 10)]
    return rows(tmp_path / "webgpt.jsonl", [*longer, *shorter, row(11, "x", "y", 0)])


def test_the_webgpt_protocol_prints_the_table_of_the_card(webgpt, capsys):
    assert main(["evaluate", "--model", "longest", "--protocol", "webgpt", webgpt, "--json"]) == 0

    printed = capsys.readouterr().out
    assert "only pairs with a preferred answer: 10 of 11; citations kept" in printed
    assert "| Acc | WebGPT |\n|---|---|\n| longest | 60.00% |" in printed
    figures = json.loads(printed.splitlines()[-1])
    assert figures["left_out"] == 1
    assert figures["models"]["longest"]["accuracy"] == 0.6
    assert set(figures["models"]) == {"longest", "random"}


def test_a_model_stands_beside_the_rules_the_ceiling_and_another_model(tiny, webgpt, tmp_path, capsys):
    second_model = str(save_bert(tmp_path / "other", seed=3))

    code = main(
        ["evaluate", "--model", str(tiny), "--against", second_model, "--agreement", "0.73", webgpt, "--json"]
    )

    printed = capsys.readouterr().out
    figures = json.loads(printed.splitlines()[-1])
    assert code == 0
    assert [line.split("  ")[0] for line in printed.splitlines() if " %" in line][1:6] == [
        "tiny", "other", "longest", "random", "human ceiling",
    ]  # fmt: skip
    assert figures["ceiling"] == pytest.approx(0.839, abs=0.001)
    assert figures["against"]["n"] == 10
    assert "tiny against other, on the same 10 decided pairs" in printed


def test_the_figures_are_those_of_the_scores(tiny, webgpt, capsys):
    from tests.scoring.models import Card

    main(["evaluate", "--model", str(tiny), "--citations", "stripped", webgpt, "--json"])

    card = Card(tiny)
    answers = ["rain falls down "] * 6 + ["rain falls down"] * 4
    first_wins = [card(f"why {n}", answer) > card(f"why {n}", "sun") for n, answer in enumerate(answers)]
    right = [wins == (n < 6) for n, wins in enumerate(first_wins)]
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["models"][str(tiny)]["accuracy"] == pytest.approx(sum(right) / 10)


def test_rewardbench_sections_are_weighted_as_there(tmp_path, capsys):
    from scoring.command_evaluate import SECTIONS

    right = {"alpacaeval-easy": 28, "mt-bench-med": 14}
    subsets = SECTIONS["Chat"]
    values = [
        {
            "prompt": f"{subset} {n}",
            "chosen": "xxx",
            "rejected": "y" if n < right.get(subset, 0) else "zzzzz",
            "subset": subset,
        }
        for subset in subsets
        for n in range(28)
    ]
    file = rows(tmp_path / "rb.jsonl", values)

    code = main(["evaluate", "--model", "longest", "--protocol", "rewardbench", file, "--json"])

    sections = json.loads(capsys.readouterr().out.splitlines()[-1])["sections"]
    assert code == 0
    assert sections["Chat"] == pytest.approx((100 * 1 + 40 * 0.5) / sum(subsets.values()))
    assert sections["Safety"] is sections["mean"] is None


def test_a_row_that_cannot_be_read_is_an_error_unless_told_to_leave_it_out(tmp_path, capsys):
    good = [{"prompt": "p", "chosen": "xx", "rejected": "y"}] * 2
    file = rows(tmp_path / "rows.jsonl", [*good, {"prompt": "p", "chosen": "x", "rejected": 3}])

    assert main(["evaluate", "--model", "longest", file]) == 1
    assert "error: rows.jsonl, line 3: rejected should be text, not a number" in capsys.readouterr().err
    assert main(["evaluate", "--model", "longest", "--lenient", file]) == 0
    assert "left out: rows.jsonl, line 3" in capsys.readouterr().err


def test_an_empty_answer_ends_no_evaluation_and_is_counted(tmp_path, capsys):
    good = [{"prompt": "p", "chosen": "xx", "rejected": "y"}] * 45
    file = rows(tmp_path / "rows.jsonl", [*good, {"prompt": "p", "chosen": "x", "rejected": ""}])

    assert main(["evaluate", "--model", "longest", file, "--json"]) == 0

    printed = capsys.readouterr().out
    assert "left out: 1 pairs with an empty answer" in printed
    figures = json.loads(printed.splitlines()[-1])
    assert (figures["pairs"], figures["unusable"]) == (45, {"pairs with an empty answer": 1})


def test_an_empty_answer_ends_no_training_and_is_counted(tiny, folder, tmp_path, capsys):
    file = folder / "soft-label.train.jsonl"
    empty = {"prompt": "p", "completion_a": "x", "completion_b": " ", "p_a": 1.0}
    file.write_text(file.read_text() + json.dumps(empty) + "\n")

    assert main(train_arguments(tiny, folder, tmp_path / "out")) == 0

    assert "warning: left out: 1 pairs with an empty answer" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "out" / "training.json").read_text())
    assert manifest["data"]["left_out"] == {"pairs with an empty answer": 1}


def test_ties_alone_are_nothing_to_evaluate_by_the_webgpt_protocol(tmp_path, capsys):
    tie = {"prompt": "p", "completion_a": "x", "completion_b": "y", "p_a": 0.5}

    file = rows(tmp_path / "t.jsonl", [tie])

    assert main(["evaluate", "--model", "longest", "--protocol", "webgpt", file]) == 1
    assert "none of the 1 pairs has a preferred answer" in capsys.readouterr().err


def test_what_a_model_has_learnt_is_left_out_of_its_figures(tiny, folder, webgpt, tmp_path, capsys):
    assert main(train_arguments(tiny, folder, tmp_path / "out")) == 0
    trained, taught = str(tmp_path / "out"), str(folder / "soft-label.train.jsonl")
    capsys.readouterr()

    assert main(["evaluate", "--model", trained, taught]) == 1
    assert "a model was trained on the prompts of all 60 pairs" in capsys.readouterr().err
    assert main(["evaluate", "--model", trained, taught, webgpt, "--json"]) == 0

    printed = capsys.readouterr().out
    figures = json.loads(printed.splitlines()[-1])
    assert (figures["pairs"], figures["learnt"]) == (11, {trained: {"pairs": 60, "known": False}})
    assert "left out: 60 pairs of prompts that out has learnt" in printed
    assert "not known: all that out was trained on" in printed
