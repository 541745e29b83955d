"""boto3: the most parts that an upload can have, and a reader who takes its time."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

BUCKET = "many-parts"
KEY = "most"
PARTS = 10_000
LEAST = 5 << 20


def number_of(part):
    return (b"%05d" % part) * 16


def main():
    s3 = boto3.client("s3", config=Config(max_pool_connections=16, read_timeout=300))
    s3.create_bucket(Bucket=BUCKET)
    where = {"Bucket": BUCKET, "Key": KEY}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    where["UploadId"] = upload

    def send(part):
        answer = s3.upload_part(**where, PartNumber=part, Body=number_of(part))
        return {"PartNumber": part, "ETag": answer["ETag"]}

    with ThreadPoolExecutor(16) as senders:
        parts = list(senders.map(send, range(1, PARTS + 1)))
    try:
        s3.upload_part(**where, PartNumber=PARTS + 1, Body=b"one too many")
        raise AssertionError("a part beyond the last number was taken")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidArgument", error.response
    pages = s3.get_paginator("list_parts").paginate(**where)
    listed = [part for page in pages for part in page["Parts"]]
    assert [part["PartNumber"] for part in listed] == list(range(1, PARTS + 1))
    assert [part["ETag"] for part in listed] == [part["ETag"] for part in parts]
    # Parts below the least size: all but the last are refused.
    try:
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        raise AssertionError("parts of 80 bytes were taken")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "EntityTooSmall", error.response
    s3.abort_multipart_upload(**where)
    whole_size(s3)


def whole_size(s3):
    """The same with parts that are long enough, copied within the service: 48 GiB by name."""
    body = bytes(range(256)) * (LEAST // 256)
    s3.put_object(Bucket=BUCKET, Key="source", Body=body)
    source = {"Bucket": BUCKET, "Key": "source"}
    where = {"Bucket": BUCKET, "Key": KEY}
    where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]

    def take(part):
        answer = s3.upload_part_copy(**where, PartNumber=part, CopySource=source)
        return {"PartNumber": part, "ETag": answer["CopyPartResult"]["ETag"]}

    with ThreadPoolExecutor(16) as senders:
        parts = list(senders.map(take, range(1, PARTS + 1)))
    made = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    md5s = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
    assert made["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-{PARTS}"', made
    head = s3.head_object(Bucket=BUCKET, Key=KEY)
    assert head["ContentLength"] == PARTS * LEAST
    last = s3.get_object(Bucket=BUCKET, Key=KEY, PartNumber=PARTS)
    assert last["PartsCount"] == PARTS and last["Body"].read() == body
    start = 7_777 * LEAST + 100
    middle = s3.get_object(Bucket=BUCKET, Key=KEY, Range=f"bytes={start}-{start + 999}")
    assert middle["Body"].read() == body[100:1100]
    slow_reader(s3, body)
    s3.delete_object(Bucket=BUCKET, Key=KEY)
    s3.delete_object(Bucket=BUCKET, Key="source")
    s3.delete_bucket(Bucket=BUCKET)


def slow_reader(s3, body):
    """Thirty seconds for twenty megabytes, and nothing is cut off."""
    length = 4 * LEAST
    stream = s3.get_object(Bucket=BUCKET, Key=KEY, Range=f"bytes=0-{length - 1}")["Body"]
    read = b""
    for _ in range(30):
        read += stream.read(length // 30 + 1)
        time.sleep(1)
    assert read == body * 4


main()
