"""MinIO's client for Python, which signs chunk by chunk and asks for names in URL form."""

import hashlib
import io
import os
import pathlib
import urllib.request
from datetime import timedelta

from minio import Minio
from minio.commonconfig import ComposeSource, CopySource, Tags
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.versioningconfig import ENABLED, VersioningConfig

BUCKET = "minio-python"
WORK = pathlib.Path(os.environ["WORK"])
KEYS = ["a//b", "a/b c+d&e=f?g#h", "%41", "+", "ünïcode/é 日本語 😀", "t\tn\nr\rc\x01", "<&>\"'", "trailing/"]


def refused(code, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except S3Error as error:
        assert error.code == code, error
        return
    raise AssertionError(f"not refused with {code}")


def odd_keys(client):
    for key in KEYS:
        body = key.encode()
        client.put_object(BUCKET, key, io.BytesIO(body), len(body), metadata={"colour": "blue"})
        assert client.get_object(BUCKET, key).read() == body, key
        stat = client.stat_object(BUCKET, key)
        assert stat.size == len(body) and stat.metadata["x-amz-meta-colour"] == "blue"
        client.copy_object(BUCKET, "copy/" + key, CopySource(BUCKET, key))
        assert client.get_object(BUCKET, "copy/" + key).read() == body, key
    found = [entry.object_name for entry in client.list_objects(BUCKET, recursive=True)]
    assert sorted(found) == sorted(KEYS + ["copy/" + key for key in KEYS]), found
    folders = [entry.object_name for entry in client.list_objects(BUCKET) if entry.is_dir]
    assert folders == ["a/", "copy/", "trailing/", "ünïcode/"], folders
    errors = list(client.remove_objects(BUCKET, [DeleteObject(k) for k in found if "\x01" not in k]))
    assert not errors, [str(error) for error in errors]
    for key in KEYS:
        client.remove_object(BUCKET, key)
        client.remove_object(BUCKET, "copy/" + key)
    assert not list(client.list_objects(BUCKET, recursive=True))


def multipart(client):
    body = os.urandom(17 << 20)
    # Without a length the client cannot know that one request would do.
    client.put_object(BUCKET, "large", io.BytesIO(body), -1, part_size=5 << 20)
    assert client.stat_object(BUCKET, "large").etag.endswith("-4")
    answer = client.get_object(BUCKET, "large", offset=5_000_000, length=1_000_000)
    assert answer.read() == body[5_000_000:6_000_000]
    path = WORK / "large"
    client.fget_object(BUCKET, "large", str(path))
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(body).digest()
    client.fput_object(BUCKET, "small", __file__)
    sources = [ComposeSource(BUCKET, "large"), ComposeSource(BUCKET, "small")]
    client.compose_object(BUCKET, "composed", sources)
    whole = client.get_object(BUCKET, "composed").read()
    assert whole == body + pathlib.Path(__file__).read_bytes()


def presigned(client):
    url = client.presigned_put_object(BUCKET, "by url +", timedelta(minutes=5))
    with urllib.request.urlopen(urllib.request.Request(url, data=b"by url", method="PUT")) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(client.presigned_get_object(BUCKET, "by url +")) as answer:
        assert answer.read() == b"by url"


def settings(client):
    tags = Tags.new_object_tags()
    tags["k"] = "v"
    client.set_object_tags(BUCKET, "small", tags)
    assert client.get_object_tags(BUCKET, "small") == tags
    client.set_bucket_versioning(BUCKET, VersioningConfig(ENABLED))
    assert client.get_bucket_versioning(BUCKET).status == ENABLED
    client.put_object(BUCKET, "small", io.BytesIO(b"two"), 3)
    client.remove_object(BUCKET, "small")
    refused("NoSuchKey", client.stat_object, BUCKET, "small")
    versions = list(client.list_objects(BUCKET, include_version=True, recursive=True))
    small = [entry for entry in versions if entry.object_name == "small"]
    assert [entry.is_delete_marker for entry in small] == [False, False, True], small
    assert client.get_object(BUCKET, "small", version_id=small[0].version_id).read() == b"two"
    for entry in versions:
        client.remove_object(BUCKET, entry.object_name, version_id=entry.version_id)


def main():
    client = Minio(
        f"localhost:{os.environ['HOST_PORT']}",
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        secure=False,
    )
    client.make_bucket(BUCKET)
    assert client.bucket_exists(BUCKET) and BUCKET in [b.name for b in client.list_buckets()]
    odd_keys(client)
    multipart(client)
    presigned(client)
    refused("BucketNotEmpty", client.remove_bucket, BUCKET)
    settings(client)
    client.remove_bucket(BUCKET)
    assert not client.bucket_exists(BUCKET)


main()
