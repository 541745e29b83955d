"""s3fs (fsspec) and pyarrow, as data tools use them."""

import os
import pathlib

import pyarrow
import pyarrow.fs
import pyarrow.parquet as parquet
import s3fs

BUCKET = "data-tools"
KEYS = ["a/%41", "a/+", "a/b c&d=e#f", "a/ünïcode é 日本語", "a/<&>\"'", "a/t\tn"]


def through_s3fs():
    fs = s3fs.S3FileSystem()
    fs.mkdir(BUCKET)
    assert BUCKET in fs.ls("")
    for key in KEYS:
        fs.pipe(f"{BUCKET}/{key}", key.encode())
        assert fs.cat(f"{BUCKET}/{key}") == key.encode()
        assert fs.info(f"{BUCKET}/{key}")["size"] == len(key.encode())
    assert sorted(fs.ls(f"{BUCKET}/a")) == sorted(f"{BUCKET}/{key}" for key in KEYS)
    body = os.urandom(12 << 20)
    with fs.open(f"{BUCKET}/large", "wb", block_size=5 << 20) as out:
        out.write(body)
    with fs.open(f"{BUCKET}/large", "rb", block_size=1 << 20) as file:
        file.seek(6_000_000)
        assert file.read(1000) == body[6_000_000:6_001_000]
    fs.copy(f"{BUCKET}/large", f"{BUCKET}/copied")
    fs.mv(f"{BUCKET}/copied", f"{BUCKET}/moved")
    assert not fs.exists(f"{BUCKET}/copied") and fs.cat(f"{BUCKET}/moved") == body
    with fs.open(f"{BUCKET}/appended", "wb") as out:
        out.write(body)
    with fs.open(f"{BUCKET}/appended", "ab") as out:
        out.write(b"end")
    assert fs.cat(f"{BUCKET}/appended") == body + b"end"
    fs.setxattr(f"{BUCKET}/large", colour="blue")
    assert fs.getxattr(f"{BUCKET}/large", "colour") == "blue"
    fs.put_tags(f"{BUCKET}/large", {"k": "v"})
    assert fs.get_tags(f"{BUCKET}/large") == {"k": "v"}
    assert [len(files) for _, _, files in fs.walk(f"{BUCKET}/a")] == [len(KEYS)]
    assert fs.du(f"{BUCKET}/large") == len(body)
    fs.touch(f"{BUCKET}/touched")
    fs.chmod(f"{BUCKET}/touched", "public-read")
    assert not fs.find(f"{BUCKET}/none")
    return fs


def through_pyarrow():
    fs = pyarrow.fs.S3FileSystem(
        endpoint_override=f"localhost:{os.environ['HOST_PORT']}", scheme="http",
        region=os.environ["AWS_REGION"], allow_bucket_creation=True, allow_bucket_deletion=True,
    )
    table = pyarrow.table({"n": list(range(500_000)), "s": [f"row {n}" for n in range(500_000)]})
    parquet.write_table(table, f"{BUCKET}/table/one.parquet", filesystem=fs)
    parquet.write_to_dataset(table.slice(0, 1000).append_column("p", pyarrow.array([n % 3 for n in range(1000)])),
                             f"{BUCKET}/set", partition_cols=["p"], filesystem=fs)
    assert parquet.read_table(f"{BUCKET}/table/one.parquet", filesystem=fs).equals(table)
    assert parquet.read_table(f"{BUCKET}/set", filesystem=fs).num_rows == 1000
    assert parquet.read_table(f"{BUCKET}/table/one.parquet", columns=["n"], filesystem=fs).num_rows == 500_000
    infos = fs.get_file_info(pyarrow.fs.FileSelector(f"{BUCKET}/a"))
    assert sorted(info.path for info in infos) == sorted(f"{BUCKET}/{key}" for key in KEYS), infos
    fs.create_dir(f"{BUCKET}/empty/dir", recursive=True)
    assert fs.get_file_info(f"{BUCKET}/empty/dir").type == pyarrow.fs.FileType.Directory
    fs.copy_file(f"{BUCKET}/a/+", f"{BUCKET}/copy +")
    fs.move(f"{BUCKET}/copy +", f"{BUCKET}/moved +")
    with fs.open_input_stream(f"{BUCKET}/moved +") as file:
        assert file.read() == b"a/+"
    fs.delete_dir(f"{BUCKET}/set")
    assert fs.get_file_info(f"{BUCKET}/set").type == pyarrow.fs.FileType.NotFound


fs = through_s3fs()
through_pyarrow()
fs.rm(BUCKET, recursive=True)
assert not fs.exists(BUCKET)
