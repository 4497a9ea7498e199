import json

import pytest

from scoring import learnt as records
from scoring.learnt import Record, Text, texts_of
from tests.factories import DatasetFactory, ModelVersionFactory, PromptFactory
from tests.planted import has_learnt
from workbench.models import LearntMatch, ModelVersion, PromptSet
from workbench.pipeline.imports import import_file
from workbench.pipeline.text import learnt

pytestmark = pytest.mark.django_db

LONG = (
    "Please write a short note to the people who live next door and tell them that the water will be turned "
    "off on Monday morning from nine until noon because of work on the pipes in the street"
)
OPENING = "How do I keep sourdough alive?"


def prompt(dataset, *turns: str, system: str = "", **fields):
    roles = ["user", "assistant"]
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)]
    return PromptFactory.create(dataset=dataset, messages=messages, **fields)


@pytest.fixture
def version():
    return ModelVersionFactory.create()


def test_a_prompt_is_known_again_in_every_dataset_whatever_its_case_and_spaces(version):
    first_dataset, second_dataset = DatasetFactory.create(), DatasetFactory.create()
    first_prompt, second_prompt = (
        prompt(first_dataset, "What is a lease?"),
        prompt(second_dataset, "what  is a LEASE?"),
    )
    fresh = prompt(second_dataset, "What is a claim?")

    has_learnt(version, ["What is a lease?"])

    assert first_prompt.group in learnt.seen(version, first_dataset)
    assert second_prompt.group in learnt.seen(version, second_dataset)
    assert fresh.group not in learnt.seen(version, second_dataset)
    assert learnt.seen(version, second_dataset).known == "yes"


def test_a_near_duplicate_of_a_learnt_prompt_has_been_learnt(version, dataset):
    near, far = prompt(dataset, LONG.replace("Monday", "Tuesday")), prompt(dataset, LONG[:110])

    has_learnt(version, [LONG])

    seen = learnt.seen(version, dataset)
    assert near.group in seen
    assert far.group not in seen


def test_a_conversation_that_begins_like_a_learnt_one_has_been_learnt(version, dataset):
    later = prompt(dataset, OPENING, "Feed it.", "How often?")
    alone = prompt(dataset, OPENING)
    otherwise = prompt(dataset, OPENING, "Feed it.", "How often?", system="Be brief.")
    hello = prompt(dataset, "Hello there!", "Hi.", "What now?")

    has_learnt(
        version,
        [f"User: {OPENING}\n\nAssistant: No idea.\n\nUser: Really?", "User: Hello there!\n\nAssistant: Yo."],
    )

    seen = learnt.seen(version, dataset)
    assert [p.group in seen for p in (later, alone, otherwise, hello)] == [
        True,
        True,
        False,
        False,
    ]


def test_where_one_prompt_of_a_group_was_learnt_the_group_was(version, dataset):
    taught = prompt(dataset, "What is a lease?")
    prompt(dataset, "Something else entirely?", group=taught.group)

    has_learnt(version, ["Something else entirely?"])

    assert taught.group in learnt.seen(version, dataset)


def test_prompts_that_come_after_a_training_are_looked_at_too(version, dataset):
    has_learnt(version, ["What is a lease?", "What is a claim?"])
    assert not LearntMatch.objects.exists()

    late = prompt(dataset, "What is a claim?")
    later = prompt(dataset, "What is a lease?")

    assert late.group in learnt.seen(version, dataset)
    assert later.group in learnt.seen(version, dataset)


def test_a_version_has_learnt_what_its_base_had(dataset):
    base = ModelVersionFactory.create()
    has_learnt(base, ["What is a lease?"])
    version = ModelVersionFactory.create(base=base)
    has_learnt(version, ["What is a claim?"])
    first, second = prompt(dataset, "What is a lease?"), prompt(dataset, "What is a claim?")

    seen = learnt.seen(version, dataset)

    assert first.group in seen
    assert second.group in seen
    assert second.group not in learnt.seen(base, dataset)
    assert seen.known == ModelVersion.Known.YES


def test_what_is_not_on_record_is_said_to_be_unknown(dataset):
    hub = ModelVersionFactory.create()
    further = ModelVersionFactory.create(base=hub)

    learnt.remember(hub, None)
    has_learnt(further, ["What is a lease?"])

    assert (hub.learnt, further.learnt) == ("no", "partly")
    assert learnt.seen(hub, dataset).known == "no"
    assert ModelVersion.objects.get(name="longest").learnt == "yes"


def test_what_chose_the_weights_is_left_out_of_figures_but_may_calibrate(version, dataset):
    taught, chose = prompt(dataset, "What is a lease?"), prompt(dataset, "What is a claim?")

    has_learnt(version, ["What is a lease?"], chosen=["What is a claim?"])

    seen = learnt.seen(version, dataset)
    assert taught.group in seen
    assert chose.group in seen
    assert (seen.may_calibrate(taught.group), seen.may_calibrate(chose.group)) == (False, True)


def test_trainings_on_the_same_prompts_share_what_is_stored(dataset):
    for _ in range(3):
        has_learnt(ModelVersionFactory.create(), ["What is a lease?", LONG])

    assert PromptSet.objects.count() == 1


def test_a_record_comes_back_from_its_file_as_it_was_and_holds_no_text(tmp_path):
    written = Record({"trained": texts_of([LONG, "Hi"]), "chosen": texts_of(["Ho"])}, whole=False, source="x")

    records.write(tmp_path, written)
    stored = records.read(tmp_path)

    assert stored is not None
    assert (stored.whole, stored.source) == (False, "x")
    assert [t.digests for t in stored.texts["trained"]] == [t.digests for t in written.texts["trained"]]
    assert any((t.runs == Text.of(LONG).runs).all() for t in stored.texts["trained"] if t.runs is not None)
    assert b"pipes" not in (tmp_path / records.FILE).read_bytes()
    assert records.read(tmp_path / "nothing") is None


def test_a_record_that_is_no_record_is_refused_with_a_sentence(tmp_path):
    (tmp_path / records.FILE).write_bytes(b"no gzip")

    with pytest.raises(records.BadRecord, match=r"learnt.jsonl.gz can't be read"):
        records.read(tmp_path)


def test_groups_of_a_file_are_known_again_without_being_stored(version):
    has_learnt(version, ["What is a lease?", LONG])

    seen = learnt.seen_of_texts(
        version, {"one": texts_of(["what is a lease?"]), "two": texts_of([LONG + " again"]), "three": []}
    )

    assert ["one" in seen, "two" in seen, "three" in seen] == [True, True, False]


def folder(path, name, record, base=""):
    path = path / name
    path.mkdir()
    if record:
        records.write(path, record)
    (path / "training.json").write_text(json.dumps({"base": {"weights": {"model.safetensors": base}}}))
    return path


def test_a_folder_that_is_added_says_what_it_has_learnt(version, dataset, tmp_path):
    taught = prompt(dataset, "What is a lease?")
    record = Record({"trained": texts_of(["What is a lease?"])}, source="train.jsonl")

    learnt.remember_folder(version, folder(tmp_path, "trained", record))

    assert taught.group in learnt.seen(version, dataset)
    assert version.learnt == "yes"


def test_a_folder_without_a_record_is_of_a_model_of_which_nothing_is_known(version, tmp_path):
    learnt.remember_folder(version, folder(tmp_path, "hub", None))

    assert version.learnt == "no"


def test_a_folder_trained_from_a_model_that_is_here_has_learnt_what_that_had(version, dataset, tmp_path):
    base = ModelVersionFactory.create(weights_sha256="b" * 64)
    has_learnt(base, ["What is a claim?"])
    taught = prompt(dataset, "What is a claim?")
    record = Record({"trained": texts_of(["What is a lease?"])}, whole=False)

    learnt.remember_folder(version, folder(tmp_path, "here", record, base="b" * 64))

    assert taught.group in learnt.seen(version, dataset)
    assert version.learnt == "yes"
    second_version = ModelVersionFactory.create()
    learnt.remember_folder(second_version, folder(tmp_path, "elsewhere", record, base="c" * 64))
    assert second_version.learnt == "partly"


def test_prompts_that_are_imported_are_looked_at_by_the_import(version, dataset, tmp_path):
    has_learnt(version, ["What is a lease?"])
    path = tmp_path / "more.jsonl"
    path.write_text(json.dumps({"prompt": "what is a LEASE?", "chosen": "x", "rejected": "y"}) + "\n")

    import_file(path, dataset)

    match = LearntMatch.objects.get(dataset=dataset)
    assert (match.up_to, len(match.groups)) == (dataset.prompts.get().pk, 8)


def test_a_record_by_itself_knows_texts_that_are_equal_nearly_equal_or_begin_alike():
    known_texts = records.Known(Record({"trained": texts_of([LONG, OPENING])}))

    met = [LONG.upper(), LONG.replace("Monday", "Tuesday"), f"User: {OPENING}\n\nAssistant: No.\n\nUser: So?"]
    unknown_texts = ["Hi", LONG[:110], f"System: Be brief.\n\nUser: {OPENING}\n\nAssistant: No.\n\nUser: So?"]
    assert [text in known_texts for text in met] == [True] * 3
    assert [text in known_texts for text in unknown_texts] == [False] * 3
