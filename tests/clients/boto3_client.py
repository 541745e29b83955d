"""boto3, with the settings that its users have: none but the five variables."""

import hashlib
import io
import os
import pathlib
import urllib.error
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

WORK = pathlib.Path(os.environ["WORK"])
BUCKET = "boto3-bucket"
ODD = [
    "a//b", "//lead", "/", "trail/", "./x", "../y", "a/../b", ".", "..", "%41", "%", "%zz", "100%25", "+",
    "a b", " lead", "trail ", "t\tn\nr\rc", "\x01/\x1f", "\x7f", "&<>\r\n\t'\"", "&amp;", "]]>", "a\\b",
    "?q", "a?versionId=1", "#frag", "é", "e\u0301", "日本語", "😀", "\u202e", "\ufeff", "\uffff", "\u2028",
    "!*'();:@&=+$,/?#[]", "{}|^~`", "k" * 1000, "é" * 500,
]
LISTS = {"list_objects": "Contents", "list_objects_v2": "Contents", "list_object_versions": "Versions"}


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        return
    raise AssertionError(f"not refused with {code}")


def objects(s3):
    s3.put_object(
        Bucket=BUCKET,
        Key="a/héllo wörld+&.txt",
        Body=b"hello\n",
        ContentType="text/plain; charset=utf-8",
        CacheControl="max-age=60",
        Metadata={"colour": "blue"},
    )
    got = s3.get_object(Bucket=BUCKET, Key="a/héllo wörld+&.txt")
    assert got["Body"].read() == b"hello\n"
    assert got["ContentType"] == "text/plain; charset=utf-8"
    assert got["CacheControl"] == "max-age=60"
    assert got["Metadata"] == {"colour": "blue"}
    assert got["ETag"] == '"b1946ac92492d2347c6235b4d2611184"'
    head = s3.head_object(Bucket=BUCKET, Key="a/héllo wörld+&.txt")
    assert head["ContentLength"] == 6
    ranged = s3.get_object(Bucket=BUCKET, Key="a/héllo wörld+&.txt", Range="bytes=1-3")
    assert ranged["Body"].read() == b"ell" and ranged["ContentRange"] == "bytes 1-3/6"
    refused("NoSuchKey", s3.get_object, Bucket=BUCKET, Key="missing")
    refused("NoSuchBucket", s3.get_object, Bucket="no-such-bucket-here", Key="k")
    refused("InvalidRange", s3.get_object, Bucket=BUCKET, Key="a/héllo wörld+&.txt", Range="bytes=9-")
    refused("PreconditionFailed", s3.put_object, Bucket=BUCKET, Key="a/héllo wörld+&.txt", Body=b"", IfNoneMatch="*")
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "a/héllo wörld+&.txt"})
    assert s3.get_object(Bucket=BUCKET, Key="copy")["Body"].read() == b"hello\n"
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        s3.put_object(Bucket=BUCKET, Key="sum", Body=b"hello\n", ChecksumAlgorithm=algorithm)
        got = s3.get_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")
        assert got[f"Checksum{algorithm}"] and got["Body"].read() == b"hello\n"


def odd_keys(s3):
    for key in ODD:
        body = key.encode()
        where = {"Bucket": BUCKET, "Key": key}
        s3.put_object(**where, Body=body)
        assert s3.get_object(**where)["Body"].read() == body, key
        assert s3.get_object(**where, Range="bytes=0-0")["Body"].read() == body[:1], key
        s3.copy_object(Bucket=BUCKET, Key="odd/" + key, CopySource=where)
        assert s3.head_object(Bucket=BUCKET, Key="odd/" + key)["ContentLength"] == len(body), key
    wanted = sorted((key.encode() for key in ODD + ["odd/" + key for key in ODD]))
    for operation, entries in LISTS.items():
        pages = s3.get_paginator(operation).paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 7})
        found = [entry["Key"].encode() for page in pages for entry in page[entries]]
        assert found == wanted, (operation, set(found) ^ set(wanted))
        page = getattr(s3, operation)(Bucket=BUCKET, Prefix="\x01")
        assert [entry["Key"] for entry in page[entries]] == ["\x01/\x1f"], page
    for key in ("\x01/\x1f", "&<>\r\n\t'\""):
        # The answers repeat the key, which not every character survives; they have to be readable.
        where = {"Bucket": BUCKET, "Key": key}
        upload = s3.create_multipart_upload(**where)["UploadId"]
        part = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"part")
        assert len(s3.list_parts(**where, UploadId=upload)["Parts"]) == 1
        parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
        s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
        assert s3.get_object(**where)["Body"].read() == b"part"
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k.decode()} for k in wanted]})
    assert len(answer["Deleted"]) == len(wanted) and "Errors" not in answer, answer
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


def listings(s3):
    keys = [f"list/{n:03}" for n in range(25)] + ["list/sub/x", "list/sub/y"]
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"")
    for operation in ("list_objects", "list_objects_v2"):
        pages = s3.get_paginator(operation).paginate(
            Bucket=BUCKET, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": 10}
        )
        pages = list(pages)
        assert len(pages) == 3, len(pages)
        found = [o["Key"] for page in pages for o in page.get("Contents", [])]
        folders = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
        assert found == keys[:25] and folders == ["list/sub/"], (found, folders)
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in keys]})
    assert len(answer["Deleted"]) == len(keys) and "Errors" not in answer
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="list/")["KeyCount"] == 0


def multipart(s3):
    body = os.urandom(100 << 20)
    config = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=16 << 20)
    s3.upload_fileobj(io.BytesIO(body), BUCKET, "large", Config=config)
    head = s3.head_object(Bucket=BUCKET, Key="large")
    assert head["ContentLength"] == len(body) and head["ETag"].endswith('-7"'), head
    back = io.BytesIO()
    s3.download_fileobj(BUCKET, "large", back, Config=config)
    assert hashlib.sha256(back.getvalue()).digest() == hashlib.sha256(body).digest()
    part = s3.get_object(Bucket=BUCKET, Key="large", PartNumber=2)
    assert part["Body"].read() == body[16 << 20 : 32 << 20] and part["PartsCount"] == 7

    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="pieces")["UploadId"]
    one = s3.upload_part(Bucket=BUCKET, Key="pieces", UploadId=upload, PartNumber=1, Body=body[: 5 << 20])
    two = s3.upload_part_copy(
        Bucket=BUCKET, Key="pieces", UploadId=upload, PartNumber=2,
        CopySource={"Bucket": BUCKET, "Key": "large"}, CopySourceRange=f"bytes=0-{(1 << 20) - 1}",
    )
    parts = [
        {"PartNumber": 1, "ETag": one["ETag"]},
        {"PartNumber": 2, "ETag": two["CopyPartResult"]["ETag"]},
    ]
    assert [p["PartNumber"] for p in s3.list_parts(Bucket=BUCKET, Key="pieces", UploadId=upload)["Parts"]] == [1, 2]
    open_uploads = s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert [u["Key"] for u in open_uploads] == ["pieces"]
    s3.complete_multipart_upload(Bucket=BUCKET, Key="pieces", UploadId=upload, MultipartUpload={"Parts": parts})
    got = s3.get_object(Bucket=BUCKET, Key="pieces")["Body"].read()
    assert got == body[: 5 << 20] + body[: 1 << 20]

    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="given-up")["UploadId"]
    s3.abort_multipart_upload(Bucket=BUCKET, Key="given-up", UploadId=upload)
    refused("NoSuchUpload", s3.list_parts, Bucket=BUCKET, Key="given-up", UploadId=upload)
    refused("NoSuchKey", s3.get_object, Bucket=BUCKET, Key="given-up")


def presigned(s3, version):
    where = {"Bucket": BUCKET, "Key": "signed " + version}
    # Part of what is signed; without it urllib sends a type of its own.
    url = s3.generate_presigned_url("put_object", Params={**where, "ContentType": "text/plain"})
    headers = {"Content-Type": "text/plain"}
    request = urllib.request.Request(url, data=b"by url", method="PUT", headers=headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    if version == "s3":
        # This version has the headers in the query, and the signature covers them as headers.
        url = s3.generate_presigned_url("put_object", Params={**where, "Metadata": {"a": "1"}})
        request = urllib.request.Request(url, data=b"by url", method="PUT", headers=headers)
        try:
            urllib.request.urlopen(request)
            raise AssertionError("a type that is not signed was taken")
        except urllib.error.HTTPError as error:
            assert error.code == 403
        typed = {**where, "Metadata": {"a": "1"}, "ContentType": "text/plain"}
        url = s3.generate_presigned_url("put_object", Params=typed)
        request = urllib.request.Request(url, data=b"by url", method="PUT", headers=headers)
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        assert s3.head_object(**where)["Metadata"] == {"a": "1"}
    url = s3.generate_presigned_url("get_object", Params=where)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"by url"


def main():
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    assert BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert "LocationConstraint" in s3.get_bucket_location(Bucket=BUCKET)
    odd_keys(s3)
    objects(s3)
    listings(s3)
    multipart(s3)
    for version in ("s3", "s3v4"):
        presigned(boto3.client("s3", config=Config(signature_version=version)), version)
    virtual = boto3.client(
        "s3",
        endpoint_url=f"http://localhost:{os.environ['HOST_PORT']}",
        config=Config(s3={"addressing_style": "virtual"}),
    )
    assert virtual.get_object(Bucket=BUCKET, Key="copy")["Body"].read() == b"hello\n"
    path = WORK / "hello.txt"
    path.write_bytes(b"hello\n")
    s3.upload_file(str(path), BUCKET, "file")
    s3.download_file(BUCKET, "file", str(path) + ".back")
    assert path.read_bytes() == (WORK / "hello.txt.back").read_bytes()
    refused("BucketNotEmpty", s3.delete_bucket, Bucket=BUCKET)
    for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
        s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
    s3.delete_bucket(Bucket=BUCKET)
    assert BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


main()
