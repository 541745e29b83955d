// Uploads: a queue, a few at a time, large files in parts side by side; each can be held, resumed
// and given up. The bytes go through XMLHttpRequest, because fetch tells no progress of what it sends.
import { computed, signal } from '@preact/signals';
import { own, path, place, reason, Refused, s3 } from './api';
import * as xml from './xml';

export type State = 'waiting' | 'running' | 'paused' | 'done' | 'failed' | 'cancelled';

export interface Upload {
  pause(): void;
  resume(): void;
  cancel(): void;
  readonly id: number;
  readonly bucket: string;
  readonly key: string;
  readonly file: File;
  state: State;
  sent: number;
  error: string;
}

const FILES_AT_ONCE = 3;
const PARTS_AT_ONCE = 4;
const WHOLE_MAX = 16 << 20;
const PART_MIN = 8 << 20;
const PARTS_MAX = 10_000;
const TRIES = 4;

/** How a file is cut: `[start, end)` of each part; one part is sent whole. */
export function plan(size: number): [number, number][] {
  if (size <= WHOLE_MAX) return [[0, size]];
  const part = Math.max(PART_MIN, Math.ceil(size / PARTS_MAX / PART_MIN) * PART_MIN);
  const parts: [number, number][] = [];
  for (let start = 0; start < size; start += part) parts.push([start, Math.min(size, start + part)]);
  return parts;
}

class Job implements Upload {
  state: State = 'waiting';
  sent = 0;
  error = '';
  private upload = '';
  private readonly etags = new Map<number, string>();
  private readonly moving = new Map<number, number>();
  private readonly running = new Set<XMLHttpRequest>();
  private readonly from = place.value;

  constructor(
    readonly id: number,
    readonly bucket: string,
    readonly key: string,
    readonly file: File,
  ) {}

  async run(): Promise<void> {
    this.set('running');
    try {
      const parts = plan(this.file.size);
      if (parts.length === 1) await this.send(0, this.file, {});
      else await this.multipart(parts);
      this.sent = this.file.size;
      this.set('done');
    } catch (error) {
      // Held or given up: that is the state already.
      if (this.is('running')) {
        this.error = reason(error);
        this.stop();
        this.set('failed');
      }
    }
  }

  private async multipart(parts: [number, number][]): Promise<void> {
    if (!this.upload) {
      const headers = { 'content-type': this.file.type || 'application/octet-stream' };
      const begun = await s3('POST', this.bucket, { key: this.key, query: { uploads: '' }, headers, from: this.from });
      this.upload = xml.text(xml.parse(await begun.text()), 'UploadId');
    }
    const left = parts.map((_, at) => at).filter((at) => !this.etags.has(at));
    const lane = async () => {
      for (let at = left.shift(); at !== undefined && this.is('running'); at = left.shift()) {
        const [start, end] = parts[at]!;
        const query = { partNumber: String(at + 1), uploadId: this.upload };
        this.etags.set(at, await this.send(at, this.file.slice(start, end), query));
      }
    };
    await Promise.all(Array.from({ length: PARTS_AT_ONCE }, lane));
    if (!this.is('running')) return;
    const Part = parts.map((_, at) => ({ PartNumber: at + 1, ETag: this.etags.get(at) ?? '' }));
    const body = xml.build('CompleteMultipartUpload', { Part });
    await s3('POST', this.bucket, { key: this.key, query: { uploadId: this.upload }, body, from: this.from });
  }

  private async send(part: number, body: Blob, query: Record<string, string>): Promise<string> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.put(part, body, query);
      } catch (error) {
        const again = !(error instanceof Refused) || error.status >= 500;
        if (!again || attempt >= TRIES || !this.is('running')) throw error;
        await new Promise((done) => setTimeout(done, 500 * 2 ** attempt));
      }
    }
  }

  private put(part: number, body: Blob, query: Record<string, string>): Promise<string> {
    return new Promise((done, fail) => {
      const request = new XMLHttpRequest();
      request.open('PUT', path(this.bucket, this.key, query));
      for (const [name, value] of own({}, this.from)) request.setRequestHeader(name, value);
      request.setRequestHeader('content-type', this.file.type || 'application/octet-stream');
      request.upload.onprogress = (event) => this.progress(part, event.loaded);
      request.onload = () => {
        if (request.status === 200) done(request.getResponseHeader('etag') ?? '');
        else {
          const found = request.responseText.startsWith('<') ? xml.parse(request.responseText) : null;
          fail(new Refused(request.status, xml.text(found, 'Code'), xml.text(found, 'Message')));
        }
      };
      request.onerror = () => fail(new TypeError('network'));
      request.onabort = () => fail(new DOMException('', 'AbortError'));
      request.onloadend = () => this.running.delete(request);
      this.running.add(request);
      request.send(body);
    });
  }

  private progress(part: number, sent: number): void {
    this.moving.set(part, sent);
    const parts = plan(this.file.size);
    let total = 0;
    parts.forEach(([start, end], at) => (total += this.etags.has(at) ? end - start : (this.moving.get(at) ?? 0)));
    this.sent = Math.min(total, this.file.size);
    changed();
  }

  private is(state: State): boolean {
    return this.state === state;
  }

  private set(state: State): void {
    this.state = state;
    changed();
  }

  private stop(): void {
    for (const request of [...this.running]) request.abort();
    this.moving.clear();
  }

  pause(): void {
    if (this.state !== 'running' && this.state !== 'waiting') return;
    this.state = 'paused';
    this.stop();
    changed();
  }

  resume(): void {
    if (this.state !== 'paused' && this.state !== 'failed') return;
    this.error = '';
    this.set('waiting');
    next();
  }

  cancel(): void {
    if (this.state === 'done' || this.state === 'cancelled') return;
    this.state = 'cancelled';
    this.stop();
    changed();
    next();
    if (!this.upload) return;
    // What is left of it goes with the bucket's rules, should this not arrive.
    s3('DELETE', this.bucket, { key: this.key, query: { uploadId: this.upload }, from: this.from }).catch(() => undefined);
  }
}

const jobs = signal<readonly Job[]>([]);
const beat = signal(0);
let lastId = 0;

function changed(): void {
  beat.value += 1;
}

/** All uploads of this page, newest last. */
export const uploads = computed(() => {
  void beat.value;
  return jobs.value.slice();
});

/** Grows with every upload that ended well. */
export const finished = computed(() => uploads.value.filter((job) => job.state === 'done').length);

function next(): void {
  const running = jobs.value.filter((job) => job.state === 'running').length;
  const waiting = jobs.value.filter((job) => job.state === 'waiting');
  for (const job of waiting.slice(0, Math.max(0, FILES_AT_ONCE - running))) {
    void job.run().then(next);
  }
}

export function add(bucket: string, files: readonly { key: string; file: File }[]): void {
  const fresh = files.map(({ key, file }) => new Job((lastId += 1), bucket, key, file));
  jobs.value = [...jobs.value, ...fresh];
  next();
}

export function clear(): void {
  jobs.value = jobs.value.filter((job) => !['done', 'cancelled'].includes(job.state));
}

/** The files of a drop, those in folders too, with their paths. */
export async function dropped(data: DataTransfer): Promise<{ key: string; file: File }[]> {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  if (entries.every((entry) => entry === null)) return [...data.files].map((file) => ({ key: file.name, file }));
  const found: { key: string; file: File }[] = [];
  const walk = async (entry: FileSystemEntry): Promise<void> => {
    if (entry.isFile) {
      const file = await new Promise<File>((done, fail) => (entry as FileSystemFileEntry).file(done, fail));
      found.push({ key: entry.fullPath.replace(/^\//, ''), file });
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      const some = await new Promise<FileSystemEntry[]>((done, fail) => reader.readEntries(done, fail));
      if (!some.length) break;
      for (const one of some) await walk(one);
    }
  };
  for (const entry of entries) if (entry) await walk(entry);
  return found;
}

/** The files of an input; those of a folder have their paths. */
export function picked(files: FileList): { key: string; file: File }[] {
  return [...files].map((file) => ({ key: file.webkitRelativePath || file.name, file }));
}
