// What every region says of itself, and how much goes through it, asked while somebody looks.
import { signal } from '@preact/signals';
import { admin, own } from './api';
import { status, type Status } from './cluster';

export interface Node {
  now_ms: number;
  disk_total_bytes: number;
  disk_free_bytes: number;
  segment_bytes: number;
  segment_live_bytes: number;
  cache_bytes: number;
  memory_cache_bytes: number;
  corrupt_reads: number;
  poisoned: boolean;
}
export interface Scrub {
  phase: string;
  stopped: boolean;
  finished_ms: number | null;
  next_ms: number;
  bytes: number;
  bytes_total: number;
  damaged_total: number;
}
export interface Repair {
  phase: string;
  stopped: boolean;
  finished_ms: number | null;
  records: number;
  records_total: number;
  below_copies: number;
  making: number;
}

/** One look at a region: its view of the others and what it counted. */
export interface Look {
  at: number;
  status: Status;
  node: Node | null;
  /** How far its clock is ahead of this computer's, milliseconds, give or take half the way. */
  clock: number | null;
  scrub: Scrub | null;
  repair: Repair | null;
  counters: Readonly<Record<string, number>>;
  /** Requests and bytes a second, oldest first. */
  requests: readonly number[];
  bytes: readonly number[];
}

/** By code; regions that cannot be reached are not there: what they said before is not so any more. */
export const looks = signal<Readonly<Record<string, Look>>>({});

const KEPT = 40;

/** Prometheus text as sums by name, and by name and labels. */
export function counters(text: string): Record<string, number> {
  const out: Record<string, number> = {};
  for (const line of text.split('\n')) {
    const match = /^([a-z0-9_]+)(\{[^}]*\})? (\S+)/.exec(line);
    if (!match || match[1]!.endsWith('_bucket')) continue;
    out[match[1]!] = (out[match[1]!] ?? 0) + Number(match[3]);
    if (match[2]) out[match[1]! + match[2]] = Number(match[3]);
  }
  return out;
}

async function look(code: string): Promise<void> {
  const of = (path: string) => `${path}?region=${code}`;
  const asked = Date.now();
  const [seen, answer, node, scrub, repair] = await Promise.all([
    admin<Status>(of('status')),
    fetch(`api/admin/${of('metrics')}`, { headers: own({}), cache: 'no-store' }),
    admin<Node>(of('node')).catch(() => null),
    admin<Scrub>(of('scrub')).catch(() => null),
    admin<Repair>(of('repair')).catch(() => null),
  ]);
  if (!answer.ok) throw new Error(`${code}: ${answer.status}`);
  const clock = node && node.now_ms - (asked + Date.now()) / 2;
  const now = counters(await answer.text());
  const at = performance.now();
  const before = looks.peek()[code];
  const since = before ? (at - before.at) / 1000 : 0;
  const rate = (name: string) => (before && since > 0 ? Math.max(0, (now[name] ?? 0) - (before.counters[name] ?? 0)) / since : 0);
  const grow = (list: readonly number[] | undefined, value: number) => [...(list ?? []), value].slice(-KEPT);
  looks.value = {
    ...looks.peek(),
    [code]: {
      at,
      status: seen,
      node,
      clock,
      scrub,
      repair,
      counters: now,
      requests: grow(before?.requests, rate('godwit_s3_requests_total')),
      bytes: grow(before?.bytes, rate('godwit_s3_sent_bytes_total')),
    },
  };
}

/** Asks every region once. */
export async function lookAround(): Promise<void> {
  const codes = (status.peek()?.regions ?? []).map((region) => region.code);
  await Promise.all(codes.map((code) => look(code).catch(() => {
    const { [code]: _, ...others } = looks.peek();
    looks.value = others;
  })));
}

/** Follows the requests of all regions, one JSON document a line. */
export async function follow(line: (value: Record<string, unknown>) => void, stop: AbortSignal): Promise<void> {
  const answer = await fetch('api/admin/trace?region=all', { headers: own({}), signal: stop, cache: 'no-store' });
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const piece = await reader?.read();
    if (!piece || piece.done) return;
    const lines = (rest + piece.value).split('\n');
    rest = lines.pop() ?? '';
    for (const text of lines) if (text.trim()) line(JSON.parse(text) as Record<string, unknown>);
  }
}
