// Tigris' package for storage, with the endpoint set.
import assert from "node:assert/strict";

import * as tigris from "@tigrisdata/storage";

const bucket = "tigris-storage";
const config = {
  bucket,
  accessKeyId: process.env.AWS_ACCESS_KEY_ID,
  secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY,
  endpoint: process.env.AWS_ENDPOINT_URL_S3,
};
const key = "a b+%41/é.txt";

async function ok(answer) {
  const { data, error } = await answer;
  assert.equal(error, undefined);
  return data;
}

await ok(tigris.createBucket(bucket, { config }));
const { buckets } = await ok(tigris.listBuckets({ config }));
assert.deepEqual(buckets.map((b) => b.name), [bucket]);
const info = await ok(tigris.getBucketInfo(bucket, { config }));
assert.deepEqual(info.regions, ["global"]);
await ok(tigris.put(key, "hello", { config, contentType: "text/plain", metadata: { colour: "blue" } }));
assert.equal(await ok(tigris.get(key, "string", { config })), "hello");
const head = await ok(tigris.head(key, { config }));
assert.equal(head.size, 5);
assert.equal(head.contentType, "text/plain");
assert.match((await tigris.put(key, "x", { config, allowOverwrite: false })).error.message, /already exists/);
await ok(tigris.put("large", Buffer.alloc(12 << 20, 1), { config, multipart: true }));
const { items } = await ok(tigris.list({ config }));
assert.deepEqual(items.map((item) => item.name), [key, "large"]);
for (const operation of ["put", "get"]) {
  const { url } = await ok(tigris.getPresignedUrl("by url +", { operation, config }));
  const answer = await fetch(url, operation === "put" ? { method: "PUT", body: "by url" } : {});
  assert.equal(answer.status, 200);
  assert.equal(await answer.text(), operation === "put" ? "" : "by url");
}
await ok(tigris.copy("large", "copy", { config }));
await ok(tigris.move("copy", "moved", { config }));
await ok(tigris.updateObject("moved", { config, key: "renamed" }));
await ok(tigris.setObjectAccess("renamed", { config, access: "public" }));
assert.equal((await fetch(`${config.endpoint}/${bucket}/renamed`)).status, 200);
await ok(tigris.setBucketCors(bucket, { config, rules: [{ allowedOrigins: ["*"], allowedMethods: ["GET"] }] }));
await ok(tigris.setBucketTtl(bucket, { config, ttlConfig: { days: 3, enabled: true } }));
assert.equal((await ok(tigris.getBucketInfo(bucket, { config }))).settings.corsRules.length, 1);
assert.equal((await ok(tigris.listVersions({ config }))).versions.length, 4);
// What is not had is refused with the reason.
const snapshot = await tigris.createBucketSnapshot(bucket, { config, name: "one" });
assert.match(snapshot.error.message, /not implemented/);
assert.match((await tigris.listBucketSnapshots(bucket, { config })).error.message, /not implemented/);
for (const name of [key, "large", "renamed", "by url +"]) await ok(tigris.remove(name, { config }));
await ok(tigris.removeBucket(bucket, { config }));
