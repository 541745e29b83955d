import { useEffect, useState } from 'preact/hooks';
import { reason } from '../api';
import { refresh, status } from '../cluster';
import { admin } from '../api';
import { ago, bytes, count, millis, moment } from '../format';
import { follow, looks, lookAround } from '../traffic';
import { Button, Empty, Problem, Switch, useEvery, useLoad } from '../ui';
import { Tile } from './map';
import { Members } from './members';
import { Maintenance, Upkeep } from './upkeep';

interface Line {
  at_ms: number;
  region: string;
  op: string;
  caller: string | null;
  bucket: string | null;
  key: string | null;
  status: number;
  error: string | null;
  bytes: number;
  ms: number;
  source: string | null;
}

/** What is counted, and what it means that it is not zero. */
const COUNTED: readonly (readonly [string, string, boolean])[] = [
  ['godwit_cluster_fetched_chunks_total', 'Chunks fetched from other regions', false],
  ['godwit_cluster_primaries_moved_total', 'Primaries moved', false],
  ['godwit_cluster_copies_made_total', 'Copies made', false],
  ['godwit_cluster_copies_dropped_total', 'Surplus copies dropped', false],
  ['godwit_cluster_records_repaired_total', 'Records repaired', false],
  ['godwit_cluster_register_operations_total', 'Register operations', false],
  ['godwit_cluster_register_retries_total', 'Register retries', false],
  ['godwit_notify_queued', 'Events waiting', false],
  ['godwit_lifecycle_done_total', 'Ended by lifecycle rules', false],
  ['godwit_s3_requests_shed_total', 'Requests refused for load', true],
  ['godwit_cluster_bad_chunks_total', 'Bad chunks', true],
  ['godwit_cluster_quarantined_total', 'Quarantined', true],
  ['godwit_notify_failures_total', 'Failed deliveries', true],
  ['godwit_lifecycle_errors_total', 'Lifecycle errors', true],
];

/** The nodes: how each sees the others, what it counted, what it is doing. */
export function Nodes() {
  useEvery(3, () => { void refresh(); void lookAround(); });
  const regions = status.value?.regions ?? [];
  useEffect(() => void lookAround(), [regions.length]);
  if (!status.value) return <Empty icon="cluster" title="The cluster needs an admin key"><p>Your key has a scope of its own.</p></Empty>;
  const all = looks.value;
  const codes = regions.map((region) => region.code);
  const away = regions.filter((region) => region.state === 'away').length;
  const sum = (name: string) => Object.values(all).reduce((total, look) => total + (look.counters[name] ?? 0), 0);
  const known = Object.keys(all).length > 0;
  const rate = Object.values(all).reduce((total, look) => total + (look.requests.at(-1) ?? 0), 0);
  return (
    <>
      <div class="head">
        <div>
          <h1>Cluster</h1>
          <p class="sub">godwit {status.value.version} · {regions.length} regions, {regions.filter((region) => region.voter).length} of them vote · answered by {status.value.region}</p>
        </div>
        <span class={`chip ${away ? 'bad' : 'good'}`}>{away ? `${away} away` : 'all regions connected'}</span>
      </div>
      <div class="tiles">
        <Tile label="Requests" value={`${rate.toFixed(1)}/s`} />
        <Tile label="Answered so far" value={count(sum('godwit_s3_requests_total'))} />
        <Tile label="Bytes sent" value={bytes(sum('godwit_s3_sent_bytes_total'))} />
        <Tile label="Primaries moved" value={count(sum('godwit_cluster_primaries_moved_total'))} />
      </div>
      <section>
        <h2>Replication</h2>
        <p class="sub">Each row is a region; each column, how many changes of that other region it has still to apply, and how long the way is.</p>
        <div class="scroll" tabIndex={0} role="region" aria-label="Replication between regions">
          <table class="list matrix">
            <thead><tr><th>In</th>{codes.map((code) => <th key={code}>from {code}</th>)}</tr></thead>
            <tbody>
              {codes.map((code) => {
                const look = all[code];
                const view = look?.status.regions ?? (status.value?.region === code ? regions : []);
                return (
                  <tr key={code}>
                    <th scope="row">{code} <small>{regions.find((one) => one.code === code)?.city}</small></th>
                    {codes.map((other) => {
                      const one = view.find((region) => region.code === other);
                      const from = `from ${other}`;
                      if (other === code) return <td key={other} data-label={from} class="self">–</td>;
                      if (!one) return <td key={other} data-label={from}>not known here</td>;
                      return <td key={other} data-label={from} class={one.state === 'away' ? 'away' : one.behind ? 'late' : 'even'}>{one.state === 'away' ? 'away' : one.behind ? `${count(one.behind)} behind` : 'even'} <small>{millis(one.rtt_ms)}</small></td>;
                    })}
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      </section>
      <Members />
      {known && <Disks codes={codes} />}
      {known && <Upkeep codes={codes} />}
      <Maintenance codes={codes} />
      {known && (
        <section>
          <h2>Counted since each node started</h2>
          <div class="scroll" tabIndex={0} role="region" aria-label="Counters">
            <table class="list">
              <thead><tr><th>What</th>{codes.map((code) => <th key={code} class="num">{code}</th>)}</tr></thead>
              <tbody>
                {COUNTED.map(([name, label, bad]) => (
                  <tr key={name}>
                    <th scope="row">{label}</th>
                    {codes.map((code) => {
                      const value = all[code]?.counters[name];
                      return <td key={code} data-label={code} class={`num ${bad && value ? 'late' : ''}`}>{value === undefined ? '–' : count(value)}</td>;
                    })}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </section>
      )}
      <Events />
      <Requests />
    </>
  );
}

/** The share of chunks that readers were given without a question to another region. */
function hits(counters: Readonly<Record<string, number>>): string {
  const all = counters['godwit_read_chunks_total'] ?? 0;
  const fetched = counters['godwit_read_chunks_total{source="region"}'] ?? 0;
  return all ? `${((1 - fetched / all) * 100).toFixed(0)} %` : '–';
}

/** What each node keeps, where, and what its clock says. */
function Disks({ codes }: { codes: readonly string[] }) {
  const all = looks.value;
  return (
    <section>
      <h2>Nodes</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Disks, caches and clocks">
        <table class="list">
          <thead><tr><th>Node</th><th>Disk</th><th class="num">Bodies in segments</th><th class="num">Cached from others</th><th class="num">In memory</th><th class="num">Cache hits</th><th class="num">Clock</th><th class="num">Bad reads</th></tr></thead>
          <tbody>
            {codes.map((code) => {
              const { node, clock } = all[code] ?? {};
              if (!node) return <tr key={code}><th scope="row">{code}</th><td data-label="Disk" colSpan={7}>cannot be reached</td></tr>;
              const used = node.disk_total_bytes - node.disk_free_bytes;
              return (
                <tr key={code}>
                  <th scope="row">{code} {node.poisoned && <span class="chip bad">takes no writes: its disk failed</span>}</th>
                  <td data-label="Disk"><meter aria-label={`Disk of ${code}`} min={0} max={Math.max(1, node.disk_total_bytes)} high={node.disk_total_bytes * 0.9} value={used} /> {bytes(node.disk_free_bytes)} free</td>
                  <td data-label="Bodies in segments" class="num">{bytes(node.segment_live_bytes)} <small>of {bytes(node.segment_bytes)}</small></td>
                  <td data-label="Cached from others" class="num">{bytes(node.cache_bytes)}</td>
                  <td data-label="In memory" class="num">{bytes(node.memory_cache_bytes)}</td>
                  <td data-label="Cache hits" class="num">{hits(all[code]!.counters)}</td>
                  <td data-label="Clock" class={`num ${Math.abs(clock ?? 0) > 2000 ? 'late' : ''}`}>{clock === null || clock === undefined ? '–' : `${clock <= -50 ? '−' : '+'}${(Math.abs(clock) / 1000).toFixed(1)} s`}</td>
                  <td data-label="Bad reads" class={`num ${node.corrupt_reads ? 'late' : ''}`}>{count(node.corrupt_reads)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      <p class="sub">Clocks are compared with this computer's; two that agree show the same.</p>
    </section>
  );
}

interface Happened {
  at_ms: number;
  region: string;
  kind: string;
  bad: boolean;
  what: string;
}

const EVENTS_MAX = 40;

/** What happened of late, as each region saw it. */
function Events() {
  const load = useLoad(() => admin<{ events: Happened[]; silent: string[] }>('events'), []);
  useEvery(5, load.again);
  const events = load.value?.events.slice(0, EVENTS_MAX) ?? [];
  return (
    <section>
      <h2>Events</h2>
      <p class="sub">What happened of late, as each region saw it.{load.value && load.value.silent.length > 0 && ` Not asked: ${load.value.silent.join(', ')}.`}</p>
      <Problem text={load.error} />
      {load.value && events.length === 0 && <p class="sub">Nothing yet.</p>}
      {events.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Events">
          <table class="list">
            <thead><tr><th>When</th><th>Seen by</th><th>What</th></tr></thead>
            <tbody>
              {events.map((event, at) => (
                <tr key={`${event.at_ms}${event.region}${at}`}>
                  <td data-label="When"><time title={moment(event.at_ms)}>{ago(event.at_ms)}</time></td>
                  <td data-label="Seen by">{event.region}</td>
                  <th scope="row"><span class={`chip ${event.bad ? 'bad' : ''}`}>{event.kind}</span> {event.what}</th>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

const LINES_MAX = 60;

/** The requests of the region that answers, as they end. */
function Requests() {
  const [on, setOn] = useState(false);
  const [lines, setLines] = useState<Line[]>([]);
  const [errors, setErrors] = useState(false);
  const [problem, setProblem] = useState('');
  useEffect(() => {
    if (!on) return undefined;
    const stop = new AbortController();
    setProblem('');
    follow((line) => setLines((old) => [line as unknown as Line, ...old].slice(0, LINES_MAX)), stop.signal)
      .catch((error) => stop.signal.aborted || setProblem(reason(error)));
    return () => stop.abort();
  }, [on]);
  const shown = lines.filter((line) => !errors || line.status >= 400);
  return (
    <section>
      <div class="head">
        <div>
          <h2>Requests</h2>
          <p class="sub">As they end, in all regions.</p>
        </div>
        <div class="actions">
          <Switch label="Only refused" checked={errors} onChange={setErrors} />
          <Button icon={on ? 'pause' : 'play'} onClick={() => setOn(!on)}>{on ? 'Stop' : 'Watch'}</Button>
        </div>
      </div>
      <Problem text={problem} />
      {on && shown.length === 0 && <p class="sub" role="status">Waiting for the next request …</p>}
      {shown.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Requests as they end">
          <table class="list requests">
            <thead><tr><th>At</th><th>In</th><th>Operation</th><th>What</th><th class="num">Status</th><th class="num">ms</th><th class="num">Bytes</th><th>From</th></tr></thead>
            <tbody>
              {shown.map((line, at) => (
                <tr key={`${line.at_ms}${at}`}>
                  <td data-label="At">{new Date(line.at_ms).toLocaleTimeString('en-GB')}</td>
                  <td data-label="In">{line.region}</td>
                  <th scope="row">{line.op}</th>
                  <td data-label="What" class="mono">{[line.bucket, line.key].filter(Boolean).join('/') || '–'}</td>
                  <td data-label="Status" class={`num ${line.status >= 400 ? 'late' : ''}`}>{line.status} {line.error}</td>
                  <td data-label="ms" class="num">{line.ms}</td>
                  <td data-label="Bytes" class="num">{bytes(line.bytes)}</td>
                  <td data-label="From">{line.source ?? '–'}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
