// AWS's SDK for JavaScript with its defaults: checksums in trailers, streams as aws-chunked.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";

import {
  S3Client, CopyObjectCommand, CreateBucketCommand, DeleteBucketCommand, DeleteObjectCommand,
  DeleteObjectsCommand, GetObjectCommand, HeadObjectCommand, ListBucketsCommand, ListObjectsV2Command,
  PutObjectCommand, paginateListObjectsV2, waitUntilBucketExists, GetObjectAttributesCommand,
  CreateMultipartUploadCommand, AbortMultipartUploadCommand, PutObjectTaggingCommand, GetObjectTaggingCommand
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const Bucket = "aws-sdk-js";
const s3 = new S3Client({ forcePathStyle: true });
const KEYS = [
  "a//b", "/lead", "trail/", "%41", "%zz", "+", "a b+c&d=e", "?q#f", "tab\tnl\ncr\r", "\x01\x1f", "\x7f",
  "&<>\"'", "ü/é/日本語/😀", "\u{2028}", "!*'();:@&=+$,/?#[]", "\\", "k".repeat(1000), "a/./b", "a/../b", "./x", "../y", "..", ".",
];

const text = async (answer) => answer.Body.transformToString();
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

async function oddKeys() {
  for (const Key of KEYS) {
    const it = JSON.stringify(Key);
    await s3.send(new PutObjectCommand({ Bucket, Key, Body: Key, Metadata: { colour: "blue" } }));
    assert.equal(await text(await s3.send(new GetObjectCommand({ Bucket, Key }))), Key, it);
    const part = await s3.send(new GetObjectCommand({ Bucket, Key, Range: "bytes=0-0" }));
    assert.equal(part.ContentLength, 1, it);
    const CopySource = encodeURIComponent(`${Bucket}/${Key}`);
    await s3.send(new CopyObjectCommand({ Bucket, Key: `copy/${Key}`, CopySource }));
    const head = await s3.send(new HeadObjectCommand({ Bucket, Key: `copy/${Key}` }));
    assert.equal(head.Metadata.colour, "blue", it);
  }
  const wanted = new Set(KEYS.flatMap((key) => [key, `copy/${key}`]));
  for (const EncodingType of [undefined, "url"]) {
    const found = [];
    for await (const page of paginateListObjectsV2({ client: s3, pageSize: 10 }, { Bucket, EncodingType })) {
      for (const entry of page.Contents) found.push(EncodingType ? decodeURIComponent(entry.Key) : entry.Key);
    }
    assert.deepEqual(new Set(found), wanted);
  }
  const Objects = [...wanted].map((Key) => ({ Key }));
  const deleted = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
  assert.equal(deleted.Errors, undefined);
  assert.equal((await s3.send(new ListObjectsV2Command({ Bucket }))).KeyCount, 0);
}

async function streams() {
  const body = randomBytes(23 << 20);
  const pieces = function* () { for (let at = 0; at < body.length; at += 70_000) yield body.subarray(at, at + 70_000); };
  const upload = new Upload({ client: s3, params: { Bucket, Key: "large", Body: Readable.from(pieces()) }, partSize: 5 << 20 });
  const done = await upload.done();
  assert.match(done.ETag, /-5"$/);
  const back = await s3.send(new GetObjectCommand({ Bucket, Key: "large" }));
  assert.equal(digest(await back.Body.transformToByteArray()), digest(body));
  const params = { Bucket, Key: "streamed", Body: Readable.from(pieces()), ContentLength: body.length };
  for (const ChecksumAlgorithm of [undefined, "CRC32C", "SHA256", "CRC64NVME"]) {
    const Body = Readable.from(pieces());
    await s3.send(new PutObjectCommand({ ...params, Body, ChecksumAlgorithm }));
    const got = await s3.send(new GetObjectCommand({ Bucket, Key: "streamed", ChecksumMode: "ENABLED" }));
    assert.ok(got[`Checksum${ChecksumAlgorithm ?? "CRC32"}`], ChecksumAlgorithm);
    assert.equal(digest(await got.Body.transformToByteArray()), digest(body));
  }
  const small = new Upload({ client: s3, params: { Bucket, Key: "small", Body: "small" } });
  await small.done();
  const stopped = new Upload({ client: s3, params: { Bucket, Key: "stopped", Body: Readable.from(pieces()) } });
  const end = stopped.done();
  stopped.on("httpUploadProgress", () => stopped.abort());
  await assert.rejects(end, { name: "AbortError" });
  await assert.rejects(s3.send(new HeadObjectCommand({ Bucket, Key: "stopped" })), { name: "NotFound" });
}

async function byUrl() {
  const where = { Bucket, Key: "by url +" };
  const put = await fetch(await getSignedUrl(s3, new PutObjectCommand(where)), { method: "PUT", body: "by url" });
  assert.equal(put.status, 200, await put.text());
  const got = await fetch(await getSignedUrl(s3, new GetObjectCommand(where)));
  assert.equal(await got.text(), "by url");
}

await s3.send(new CreateBucketCommand({ Bucket }));
await waitUntilBucketExists({ client: s3, maxWaitTime: 10 }, { Bucket });
assert.ok((await s3.send(new ListBucketsCommand({}))).Buckets.some((b) => b.Name === Bucket));
await oddKeys();
await streams();
await byUrl();
await assert.rejects(s3.send(new GetObjectCommand({ Bucket, Key: "missing" })), { name: "NoSuchKey" });
await assert.rejects(s3.send(new PutObjectCommand({ Bucket, Key: "small", Body: "x", IfNoneMatch: "*" })), { name: "PreconditionFailed" });
const attributes = await s3.send(new GetObjectAttributesCommand({ Bucket, Key: "large", ObjectAttributes: ["ObjectParts", "ObjectSize", "Checksum"] }));
assert.equal(attributes.ObjectParts.TotalPartsCount, 5);
await assert.rejects(s3.send(new DeleteBucketCommand({ Bucket })), { name: "BucketNotEmpty" });
for (const Key of ["large", "streamed", "small", "by url +"]) await s3.send(new DeleteObjectCommand({ Bucket, Key }));
await s3.send(new DeleteBucketCommand({ Bucket }));
