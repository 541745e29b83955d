"""boto 2, which signs with version 2 and knows nothing newer."""

import io
import os
import urllib.request

import boto
from boto.s3.connection import OrdinaryCallingFormat
from boto.s3.cors import CORSConfiguration

BUCKET = "boto2"
KEYS = ["%41", "+", "a b", "ü/é 日本語", "<&>", "t\tn", "./x", "?q", "#f"]

connection = boto.connect_s3(
    os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], is_secure=False,
    host="localhost", port=int(os.environ["HOST_PORT"]), calling_format=OrdinaryCallingFormat(),
)
bucket = connection.create_bucket(BUCKET)
for name in KEYS:
    key = bucket.new_key(name)
    key.set_metadata("colour", "blue")
    key.set_contents_from_string(name)
    assert key.get_contents_as_string() == name.encode(), name
    assert bucket.get_key(name).get_metadata("colour") == "blue"
    assert key.get_contents_as_string(headers={"Range": "bytes=0-0"}) == name.encode()[:1]
    bucket.copy_key("copy/" + name, BUCKET, name)
assert sorted(key.name for key in bucket.list()) == sorted(KEYS + ["copy/" + name for name in KEYS])
assert "copy/" in [entry.name for entry in bucket.list("", "/")]
key = bucket.get_key("a b")
key.set_acl("public-read")
assert len(key.get_acl().acl.grants) == 2
assert urllib.request.urlopen(key.generate_url(60)).read() == b"a b"
upload = bucket.initiate_multipart_upload("large")
upload.upload_part_from_file(io.BytesIO(b"x" * (5 << 20)), 1)
upload.upload_part_from_file(io.BytesIO(b"y"), 2)
assert [part.part_number for part in upload] == [1, 2]
upload.complete_upload()
assert bucket.get_key("large").get_contents_as_string(headers={"Range": "bytes=5242879-"}) == b"xy"
cors = CORSConfiguration()
cors.add_rule(["GET"], ["https://a.example"])
bucket.set_cors(cors)
assert "https://a.example" in bucket.get_cors().to_xml()
bucket.delete_cors()
bucket.configure_versioning(True)
bucket.new_key("a b").set_contents_from_string("two")
assert len([v for v in bucket.list_versions() if v.name == "a b"]) == 2
assert not bucket.delete_keys([key.name for key in bucket.list()]).errors
for version in bucket.list_versions():
    bucket.delete_key(version.name, version_id=version.version_id)
bucket.delete()
