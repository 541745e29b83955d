// MinIO's client for JavaScript.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";

import * as Minio from "minio";

const bucket = "minio-js";
const client = new Minio.Client({
  endPoint: "localhost",
  port: Number(process.env.HOST_PORT),
  useSSL: false,
  accessKey: process.env.AWS_ACCESS_KEY_ID,
  secretKey: process.env.AWS_SECRET_ACCESS_KEY,
});
const KEYS = ["a//b", "%41", "+", "a b+c&d=e?f#g", "ünïcode/é/日本語/😀", "t\tn\nr\r", "&<>\"'", "trail/", "a/./b", "!*'();:@$,[]"];

const all = async (stream) => Buffer.concat(await stream.toArray());
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
const list = async (...how) => (await client.listObjectsV2(bucket, ...how).toArray()).map((o) => o.name ?? o.prefix);

await client.makeBucket(bucket);
assert.ok(await client.bucketExists(bucket));
for (const key of KEYS) {
  await client.putObject(bucket, key, key, Buffer.byteLength(key), { colour: "blue" });
  assert.equal((await all(await client.getObject(bucket, key))).toString(), key);
  const stat = await client.statObject(bucket, key);
  assert.equal(stat.metaData.colour, "blue");
  assert.equal((await all(await client.getPartialObject(bucket, key, 0, 1))).length, 1);
  await client.copyObject(bucket, `copy/${key}`, `/${bucket}/${key}`);
}
const keys = [...KEYS, ...KEYS.map((key) => `copy/${key}`)];
assert.deepEqual((await list("", true)).sort(), keys.sort());
assert.deepEqual((await list("", false)).filter((name) => name === "copy/"), ["copy/"]);
const failed = await client.removeObjects(bucket, keys);
assert.deepEqual(failed.filter(Boolean), []);
assert.deepEqual(await list("", true), []);

const body = randomBytes(70 << 20);
await client.putObject(bucket, "large", Readable.from((function* () {
  for (let at = 0; at < body.length; at += 1 << 20) yield body.subarray(at, at + (1 << 20));
})()));
assert.equal(digest(await all(await client.getObject(bucket, "large"))), digest(body));
await client.setObjectTagging(bucket, "large", { k: "v" });
assert.deepEqual(await client.getObjectTagging(bucket, "large"), [{ Key: "k", Value: "v" }]);

const put = await fetch(await client.presignedPutObject(bucket, "by url +", 60), { method: "PUT", body: "by url" });
assert.equal(put.status, 200);
const got = await fetch(await client.presignedGetObject(bucket, "by url +", 60));
assert.equal(await got.text(), "by url");
await assert.rejects(client.statObject(bucket, "missing"), { code: "NotFound" });
await assert.rejects(client.removeBucket(bucket), { code: "BucketNotEmpty" });
await client.setBucketVersioning(bucket, { Status: "Enabled" });
assert.equal((await client.getBucketVersioning(bucket)).Status, "Enabled");
await client.setBucketVersioning(bucket, { Status: "Suspended" });
for (const key of ["large", "by url +"]) await client.removeObject(bucket, key, { versionId: "null" });
await client.removeBucket(bucket);
