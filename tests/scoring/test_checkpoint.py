import hashlib
import json
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification, BertModel

from scoring.checkpoint import CheckpointError, fetch, files_of, open_checkpoint
from tests.scoring.hub import COMMIT, hub_with
from tests.scoring.models import TINY, save_bert, spoilt_folder


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint to spoil."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in (config | changes).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def write_header(file: Path, header: dict[str, object], data: bytes = b"") -> None:
    raw = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(raw)) + raw + data)


def test_a_checkpoint_tells_what_it_is(tiny):
    checkpoint = open_checkpoint(tiny)

    reference = BertForSequenceClassification(TINY)
    assert checkpoint.parameters == sum(parameter.numel() for parameter in reference.parameters())
    assert checkpoint.weights_sha256 == hashlib.sha256((tiny / "model.safetensors").read_bytes()).hexdigest()
    assert (checkpoint.architecture, checkpoint.max_positions) == ("BertForSequenceClassification", 512)


def test_the_tokenizer_hash_changes_with_any_tokenizer_file(tiny, folder):
    settings = folder / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace('"do_lower_case": false', '"do_lower_case": true'))

    before, after = open_checkpoint(tiny), open_checkpoint(folder)

    assert before.tokenizer_sha256 != after.tokenizer_sha256
    assert before.weights_sha256 == after.weights_sha256


def test_positions_that_roberta_keeps_for_padding_are_not_counted(folder):
    edit_config(
        folder, model_type="roberta", pad_token_id=1, architectures=["RobertaForSequenceClassification"]
    )

    assert open_checkpoint(folder).max_positions == 510


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("pickle_only", "pytorch_model.bin is a pickle"),
        ("both_formats", "pytorch_model.bin is a pickle"),
        ("remote_code", "modeling_custom.py is code"),
        ("header_too_long", "its header claims 1152921504606846976 bytes, the file has 10"),
        ("offsets_outside", "tensor w does not lie where the header says"),
        ("index_traversal", "names a shard outside the folder"),
    ],
)
def test_every_hostile_folder_is_refused_at_once(case, reason, tmp_path):
    hostile = spoilt_folder(tmp_path / case, case)
    started = time.monotonic()

    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(hostile)

    assert time.monotonic() - started < 1


def test_a_pickle_beside_the_weights_is_refused(folder):
    (folder / "training_args.bin").write_bytes(b"\x80\x04.")

    with pytest.raises(CheckpointError, match=r"training_args.bin is a pickle.*remove the file"):
        open_checkpoint(folder)


def test_code_beside_the_weights_is_refused(folder):
    (folder / "modeling_custom.py").write_text("raise SystemExit")
    (folder / "consolidated.safetensors").write_bytes(b"the same in the form of another program")

    with pytest.raises(CheckpointError, match="is code"):
        open_checkpoint(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_folder_that_asks_for_remote_code_is_refused(folder, name):
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": {"AutoTokenizer": "x.Y"}}))

    with pytest.raises(CheckpointError, match=f"{name} asks for remote code"):
        open_checkpoint(folder)


def test_a_symlink_that_leaves_the_folder_is_refused(folder, tiny):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(tiny / "model.safetensors")

    with pytest.raises(CheckpointError, match=r"model.safetensors is a symlink that leaves the folder"):
        open_checkpoint(folder)


def test_a_symlink_within_the_folder_is_followed(folder, tiny):
    (folder / "model.safetensors").rename(folder / "weights.real")
    (folder / "model.safetensors").symlink_to("weights.real")

    assert open_checkpoint(folder).weights_sha256 == open_checkpoint(tiny).weights_sha256


def test_an_adapter_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}")

    with pytest.raises(CheckpointError, match="merge the adapter into its base model"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_labels": 3}, "has 3 outputs; a reward model has one"),
        ({"id2label": {"0": "no", "1": "yes"}}, "has 2 outputs"),
        ({"id2label": None}, "has 2 outputs"),
        ({"architectures": ["BertModel"]}, "the model is BertModel, not a sequence classifier"),
        ({"architectures": None}, "the model is unnamed, not a sequence classifier"),
        ({"num_hidden_layers": 10**9}, "asks for 1000000000 layers"),
        ({"vocab_size": 10**12}, "says vocab_size 1000000000000, which does not match the weights"),
        ({"hidden_size": "32"}, "says hidden_size 32"),
    ],
)
def test_a_config_of_something_else_is_refused(folder, changes, reason):
    edit_config(folder, **changes)

    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("config.json", "config.json is missing"),
        ("model.safetensors", "there is no .safetensors file"),
        ("tokenizer.json", "the tokenizer is missing: none of tokenizer.json, vocab.txt, vocab.json"),
    ],
)
def test_a_missing_file_is_named(folder, name, reason):
    (folder / name).unlink()

    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere is not a folder"):
        open_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_config_that_is_not_json_is_refused(folder, raw):
    (folder / "config.json").write_bytes(raw)

    with pytest.raises(CheckpointError, match=r"config.json is not valid"):
        open_checkpoint(folder)


@pytest.mark.parametrize("kept", [0, 4, 9, 4_000, -1])
def test_weights_cut_short_are_refused(folder, kept):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])

    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({}, "holds no tensors"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "does not lie where"),
        ({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, "does not lie where"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "is it cut short"),
        ({"w": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}}, "not a count"),
        ({"w": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}}, "not a count"),
        ({"w": {"dtype": "F1", "shape": [2], "data_offsets": [0, 8]}}, "unknown type"),
        ({"w": {"dtype": "F32", "shape": [2]}}, "data_offsets"),
        ({"w": 7}, "not subscriptable"),
        ({"w": {"dtype": "F32", "shape": None, "data_offsets": [0, 8]}}, "is damaged"),
    ],
)
def test_a_header_that_lies_is_refused(folder, header, reason):
    write_header(folder / "model.safetensors", header, bytes(8))

    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(folder)


def shard(folder: Path) -> None:
    """Split the weights into two files with an index, like the weights of a large model."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, members in parts.items():
        save_file({name: tensors[name] for name in members}, folder / file, {"format": "pt"})
    index = {
        "metadata": {},
        "weight_map": {name: file for file, members in parts.items() for name in members},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_sharded_checkpoint_counts_all_its_parameters(folder, tiny):
    shard(folder)

    checkpoint = open_checkpoint(folder)

    assert checkpoint.parameters == open_checkpoint(tiny).parameters
    assert len([name for name in files_of(checkpoint) if name.endswith(".safetensors")]) == 2


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ({}, "has no weight_map"),
        ({"weight_map": {"w": "/etc/hostname"}}, "outside the folder"),
        ({"weight_map": {"w": 3}}, "outside the folder"),
        ({"weight_map": {"w": "pytorch_model.bin"}}, "outside the folder"),
        ({"weight_map": {"w": "model-00003-of-00003.safetensors"}}, "which is missing"),
    ],
)
def test_an_index_that_points_elsewhere_is_refused(folder, index, reason):
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(folder)


def test_loose_weight_files_without_an_index_are_refused(folder):
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")

    with pytest.raises(CheckpointError, match=r"found model.safetensors, other.safetensors"):
        open_checkpoint(folder)


def test_a_weight_file_that_the_index_does_not_name_is_refused(folder):
    """Its tensors, such as those of an adapter, would be ignored."""
    shard(folder)
    query = "bert.encoder.layer.0.attention.self.query"
    save_file({f"{query}.lora_A.weight": torch.ones(4, 32)}, folder / "extra.safetensors")

    with pytest.raises(
        CheckpointError,
        match=r"found extra.safetensors, which .*index.json does not name",
    ):
        open_checkpoint(folder)


def test_nothing_but_the_checkpoints_own_files_is_ever_opened(folder):
    (folder / "notes.md").write_text("private")
    (folder / "generation_config.json").write_text("{}")
    script = """
import os, sys
opened = set()
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        opened.add(os.fsdecode(arguments[0]))
sys.addaudithook(watch)
from scoring.engine import load
load(sys.argv[1], precision="fp32")([("why", "because")])
print(*sorted(os.path.basename(path) for path in opened if path.startswith(sys.argv[1])))
"""

    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True, timeout=120
    )

    opened = set(done.stdout.split())
    assert {"config.json", "model.safetensors"} <= opened
    assert opened <= set(files_of(open_checkpoint(folder)))


@pytest.mark.parametrize("revision", ["main", "v1.0", "abc1234", "A" * 40, "", f"{COMMIT}\n"])
def test_a_revision_that_can_change_is_refused(revision, tmp_path):
    with pytest.raises(CheckpointError, match="is not a full commit hash"):
        fetch("owner/reward", revision, tmp_path)


@pytest.mark.parametrize("name", ["reward", "../etc", "a/b/c", "http://hub/a", "owner/../reward"])
def test_a_name_that_is_no_repository_is_refused(name, tmp_path):
    with pytest.raises(CheckpointError, match="not the name of a model on the hub"):
        fetch(name, COMMIT, tmp_path)


def test_a_fetched_model_is_a_folder_of_real_files_without_its_pickle(folder, tmp_path):
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "modeling_custom.py").write_text("raise SystemExit")

    with hub_with(folder) as hub:
        path = hub.fetch(tmp_path / "fetched")

    assert open_checkpoint(path).parameters > 0
    assert not [
        request for request in hub.requests if request.endswith((".bin", ".py")) or "consolidated" in request
    ]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [("model.safetensors", "has no .safetensors file"), ("config.json", "config.json is missing")],
)
def test_a_repository_without_what_a_checkpoint_needs_is_refused(folder, tmp_path, spoil, reason):
    (folder / spoil).unlink()

    with hub_with(folder) as hub, pytest.raises(CheckpointError, match=reason):
        open_checkpoint(hub.fetch(tmp_path / "fetched"))


def test_a_revision_or_repository_the_hub_lacks_is_said_plainly(folder, tmp_path):
    with hub_with(folder) as hub:
        with pytest.raises(CheckpointError, match=f"owner/reward has no revision {'0' * 40}"):
            hub.fetch(tmp_path / "one", revision="0" * 40)
        with pytest.raises(CheckpointError, match="there is no model owner/other on the hub"):
            hub.fetch(tmp_path / "two", repo_id="owner/other")


def test_a_hub_that_does_not_answer_is_said_plainly(folder, tmp_path):
    with hub_with(folder) as hub:
        pass

    with pytest.raises(CheckpointError, match="owner/reward could not be fetched from the model hub"):
        hub.fetch(tmp_path / "fetched")


def test_an_encoder_without_a_head_is_no_reward_model(tmp_path):
    path = save_bert(tmp_path / "encoder", kind=BertModel)

    with pytest.raises(CheckpointError, match="the model is BertModel, not a sequence classifier"):
        open_checkpoint(path)
