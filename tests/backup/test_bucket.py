"""Backups in a bucket: the real client, on a stand-in of the store in this process."""

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from moto import mock_aws

from workbench.pipeline import backup

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.portable]


@pytest.fixture
def bucket(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-stand-in")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-stand-in")
    with mock_aws():
        import boto3

        yield boto3.resource("s3", region_name="us-east-1").create_bucket(Bucket="team-backups")


def test_a_bucket_takes_backups_gives_them_back_and_forgets_the_old(bucket, tmp_path):
    target = backup.open_target("s3://team-backups/workbench", region="us-east-1")
    files = FileSystemStorage(tmp_path / "files", base_url=None)
    files.save("models/1/weights", ContentFile(b"weights"))

    backup.take(target, tmp_path, storage=files)
    newest = backup.take(target, tmp_path, storage=files)
    backup.forget_old(target, 1)
    elsewhere = FileSystemStorage(tmp_path / "elsewhere", base_url=None)
    backup.restore(target, newest.name, tmp_path, storage=elsewhere)

    assert target.names() == [newest.name]
    assert all(item.key.startswith("workbench/") for item in bucket.objects.all())
    with elsewhere.open("models/1/weights") as file:
        assert file.read() == b"weights"


def test_files_of_a_bucket_are_backed_up_to_a_folder(bucket, tmp_path, settings):
    options = {"bucket_name": "team-backups", "region_name": "us-east-1"}
    storage = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "default": storage}
    default_storage.save("models/1/weights", ContentFile(b"weights"))

    taken = backup.take(backup.open_target(str(tmp_path / "target")), tmp_path)

    assert set(taken.files) == {"models/1/weights"}
