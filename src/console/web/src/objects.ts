// Objects over S3: pages of keys, versions, copies, deletions.
import { path, put, Refused, s3 } from './api';
import * as xml from './xml';

export interface Item {
  kind: 'folder' | 'object';
  /** The whole key, or the whole prefix with its slash. */
  key: string;
  size: number;
  modified: string;
  etag: string;
}
export interface Page {
  items: Item[];
  next: string;
}

export async function list(bucket: string, prefix: string, token = '', delimiter = '/'): Promise<Page> {
  const query: Record<string, string> = { 'list-type': '2', 'encoding-type': 'url', prefix, 'max-keys': '1000' };
  if (delimiter) query['delimiter'] = delimiter;
  if (token) query['continuation-token'] = token;
  const root = xml.parse(await (await s3('GET', bucket, { query })).text());
  const decode = (text: string) => decodeURIComponent(text.replace(/\+/g, ' '));
  const folders = xml.all(root, 'CommonPrefixes').map((entry) => ({
    kind: 'folder' as const, key: decode(xml.text(entry, 'Prefix')), size: 0, modified: '', etag: '',
  }));
  const objects = xml.all(root, 'Contents').map((entry) => ({
    kind: 'object' as const,
    key: decode(xml.text(entry, 'Key')),
    size: Number(xml.text(entry, 'Size')),
    modified: xml.text(entry, 'LastModified'),
    etag: xml.text(entry, 'ETag'),
  }));
  const items = [...folders, ...objects.filter((item) => item.key !== prefix || !delimiter)];
  items.sort((a, b) => (a.key < b.key ? -1 : 1));
  return { items, next: xml.text(root, 'NextContinuationToken') };
}

/** Every key below the prefixes and the keys given. */
export async function* every(bucket: string, items: readonly Item[]): AsyncGenerator<string> {
  for await (const { key } of below(bucket, items)) yield key;
}

/** How many objects these are, with what is below the folders, and their bytes. */
export async function sum(bucket: string, items: readonly Item[]): Promise<{ objects: number; bytes: number }> {
  const all = { objects: 0, bytes: 0 };
  for await (const { size } of below(bucket, items)) {
    all.objects += 1;
    all.bytes += size;
  }
  return all;
}

async function* below(bucket: string, items: readonly Item[]): AsyncGenerator<Item> {
  for (const item of items) {
    if (item.kind === 'object') {
      yield item;
      continue;
    }
    let token = '';
    do {
      const page = await list(bucket, item.key, token, '');
      yield* page.items;
      token = page.next;
    } while (token);
  }
}

export interface Doomed {
  Key: string;
  VersionId?: string;
}

/** Deletes up to 1000; throws what the first of them was refused for. */
export async function removeSome(bucket: string, some: readonly Doomed[]): Promise<void> {
  if (!some.length) return;
  const body = xml.build('Delete', { Quiet: true, Object: some as unknown as xml.Tree[] });
  const headers = { 'content-type': 'application/xml', 'x-amz-checksum-crc32': crc32(body) };
  const answer = xml.parse(await (await s3('POST', bucket, { query: { delete: '' }, body, headers })).text());
  const error = xml.all(answer, 'Error')[0];
  if (error) throw new Refused(403, xml.text(error, 'Code'), `${xml.text(error, 'Key')}: ${xml.text(error, 'Message')}`);
}

export async function remove(bucket: string, items: readonly Item[], progress: (count: number) => void): Promise<void> {
  let [some, count]: [Doomed[], number] = [[], 0];
  const flush = async () => {
    await removeSome(bucket, some);
    count += some.length;
    some = [];
    progress(count);
  };
  for await (const key of every(bucket, items)) {
    some.push({ Key: key });
    if (some.length === 1000) await flush();
  }
  await flush();
}

/** Deletes every version, marker and upload, so that the bucket can go. */
export async function empty(bucket: string, progress: (count: number) => void): Promise<void> {
  let count = 0;
  for (;;) {
    const { items } = await versions(bucket, '', '');
    if (!items.length) break;
    await removeSome(bucket, items.map(({ key, id }) => ({ Key: key, VersionId: id })));
    count += items.length;
    progress(count);
  }
  const uploads = xml.parse(await (await s3('GET', bucket, { query: { uploads: '' } })).text());
  for (const upload of xml.all(uploads, 'Upload')) {
    const query = { uploadId: xml.text(upload, 'UploadId') };
    await s3('DELETE', bucket, { key: xml.text(upload, 'Key'), query });
  }
}

export interface Version {
  key: string;
  id: string;
  latest: boolean;
  marker: boolean;
  size: number;
  modified: string;
}

/** Where a page of versions begins: after this version of this key. */
export interface Mark {
  key: string;
  id: string;
}

/** Up to a thousand versions below a prefix, or of one key alone, and where the next ones begin. */
export async function versions(bucket: string, prefix: string, only: string, after?: Mark): Promise<{ items: Version[]; next?: Mark }> {
  const query: Record<string, string> = { versions: '', prefix: only || prefix, 'max-keys': '1000' };
  if (after) query['key-marker'] = after.key;
  if (after?.id) query['version-id-marker'] = after.id;
  const root = xml.parse(await (await s3('GET', bucket, { query })).text());
  const found = [...root.children].filter((one) => ['Version', 'DeleteMarker'].includes(one.localName));
  const all = found.map((one) => ({
    key: xml.text(one, 'Key'),
    id: xml.text(one, 'VersionId'),
    latest: xml.text(one, 'IsLatest') === 'true',
    marker: one.localName === 'DeleteMarker',
    size: Number(xml.text(one, 'Size') || 0),
    modified: xml.text(one, 'LastModified'),
  }));
  const items = only ? all.filter((one) => one.key === only) : all;
  const next = { key: xml.text(root, 'NextKeyMarker'), id: xml.text(root, 'NextVersionIdMarker') };
  // After the last version of a key come those of others.
  const more = xml.text(root, 'IsTruncated') === 'true' && (!only || next.key === only);
  return more ? { items, next } : { items };
}

/** Pages of versions that are looked through for something to show, at a time. */
const LOOK_THROUGH_MAX = 10;

/** Keys whose newest version is a deletion. */
export async function deletions(bucket: string, prefix: string, after?: Mark): Promise<{ items: Version[]; next?: Mark }> {
  let page: { items: Version[]; next?: Mark } = { items: [], ...(after ? { next: after } : {}) };
  for (let looked = 0; looked < LOOK_THROUGH_MAX && !page.items.length; looked += 1) {
    const { items, next } = await versions(bucket, prefix, '', page.next);
    page = { items: items.filter((one) => one.marker && one.latest), ...(next ? { next } : {}) };
    if (!next) break;
  }
  return page;
}

function source(bucket: string, key: string, version = ''): string {
  const plain = path(bucket, key).replace(/^api\/s3\//, '/');
  return version ? `${plain}?versionId=${encodeURIComponent(version)}` : plain;
}

/** S3 copies at most 5 GiB in one piece. */
const COPY_MAX = 5 * 2 ** 30;
const COPY_PART = 2 ** 30;

export async function copy(from: { bucket: string; key: string; version?: string; size: number }, bucket: string, key: string): Promise<void> {
  const headers = { 'x-amz-copy-source': source(from.bucket, from.key, from.version) };
  if (from.size <= COPY_MAX) {
    await done(await s3('PUT', bucket, { key, headers }));
    return;
  }
  const head = await s3('HEAD', from.bucket, { key: from.key });
  const kind = { 'content-type': head.headers.get('content-type') ?? 'application/octet-stream' };
  const begun = await s3('POST', bucket, { key, query: { uploads: '' }, headers: kind });
  const uploadId = xml.text(xml.parse(await begun.text()), 'UploadId');
  const Part: { PartNumber: number; ETag: string }[] = [];
  for (let start = 0; start < from.size; start += COPY_PART) {
    const range = `bytes=${start}-${Math.min(from.size, start + COPY_PART) - 1}`;
    const query = { partNumber: String(Part.length + 1), uploadId };
    const part = await s3('PUT', bucket, { key, query, headers: { ...headers, 'x-amz-copy-source-range': range } });
    Part.push({ PartNumber: Part.length + 1, ETag: xml.text(await done(part), 'ETag') });
  }
  await done(await s3('POST', bucket, { key, query: { uploadId }, body: xml.build('CompleteMultipartUpload', { Part }) }));
}

/** A copy can fail after its 200. */
async function done(response: Response): Promise<Element> {
  const root = xml.parse(await response.text());
  if (root.localName === 'Error') throw new Refused(500, xml.text(root, 'Code'), xml.text(root, 'Message'));
  return root;
}

/** Renames without moving bytes where the bucket never had versions, else by a copy. */
export async function rename(bucket: string, key: string, to: string, size: number): Promise<void> {
  try {
    const headers = { 'x-amz-copy-source': source(bucket, key), 'x-godwit-rename': 'true' };
    await s3('PUT', bucket, { key: to, headers });
  } catch (error) {
    if (!(error instanceof Refused) || error.status === 403 || error.status === 404) throw error;
    await copy({ bucket, key, size }, bucket, to);
    await s3('DELETE', bucket, { key });
  }
}

export async function tags(bucket: string, key: string | undefined, pairs: readonly (readonly [string, string])[]): Promise<void> {
  if (!pairs.length) {
    const call = { query: { tagging: '' } };
    await s3('DELETE', bucket, key === undefined ? call : { ...call, key });
    return;
  }
  const Tag = pairs.map(([Key, Value]) => ({ Key, Value }));
  await put(bucket, { tagging: '' }, xml.build('Tagging', { TagSet: { Tag } }), key);
}

const TABLE = Uint32Array.from({ length: 256 }, (_, at) => {
  let value = at;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** What S3 wants with a list of deletions; base64 of the CRC-32 of the text. */
export function crc32(text: string): string {
  let crc = 0xffffffff;
  for (const byte of new TextEncoder().encode(text)) crc = (crc >>> 8) ^ TABLE[(crc ^ byte) & 255]!;
  crc = ~crc >>> 0;
  return btoa(String.fromCharCode(crc >>> 24, (crc >>> 16) & 255, (crc >>> 8) & 255, crc & 255));
}
