import { useState } from 'preact/hooks';
import { admin, place } from '../api';
import { status } from '../cluster';
import { ago, bytes, moment } from '../format';
import { list } from '../objects';
import { attempt, Button, Field, Problem, useEvery, useLoad } from '../ui';
import { RegionMap } from '../worldmap';
import { purge } from './location';

export interface Whereabouts {
  size: number;
  primary: string | null;
  holders: string[];
  cached: string[];
  heat: Record<string, number>;
  moves: { at_ms: number; from: string; to: string; reason: string }[];
  note: string | null;
  /** Regions that may show it without asking, and for how long. */
  leases: { region: string; left_ms: number }[];
}

export function where(bucket: string, key: string): Promise<Whereabouts> {
  const query = new URLSearchParams({ bucket, key });
  return admin<Whereabouts>(`where?${query.toString().replaceAll('+', '%20')}`);
}

/** The objects of a prefix that are looked at, and how many at the same time. */
const SPREAD_MAX = 24;
const SPREAD_AT_ONCE = 4;

/** What each region has of the objects below a prefix. */
export interface Spread {
  objects: number;
  more: boolean;
  regions: Record<string, { primaries: number; copies: number; cached: number; heat: number }>;
  /** The same as one object would look. */
  as: Whereabouts;
}

export async function spread(bucket: string, prefix: string): Promise<Spread> {
  const page = await list(bucket, prefix, '', '');
  const keys = page.items.slice(0, SPREAD_MAX);
  const found: Whereabouts[] = [];
  const left = [...keys];
  const lane = async () => {
    for (let item = left.pop(); item; item = left.pop()) found.push(await where(bucket, item.key));
  };
  await Promise.all(Array.from({ length: SPREAD_AT_ONCE }, lane));
  const regions: Spread['regions'] = {};
  const of = (code: string) => (regions[code] ??= { primaries: 0, copies: 0, cached: 0, heat: 0 });
  for (const one of found) {
    if (one.primary) of(one.primary).primaries += 1;
    for (const code of one.holders) of(code).copies += 1;
    for (const code of one.cached) of(code).cached += 1;
    for (const [code, heat] of Object.entries(one.heat)) of(code).heat += heat;
  }
  const most = Object.entries(regions).sort(([, a], [, b]) => b.primaries - a.primaries)[0];
  const has = (part: 'copies' | 'cached') => Object.keys(regions).filter((code) => regions[code]![part] > 0);
  const as: Whereabouts = {
    size: found.reduce((sum, one) => sum + one.size, 0),
    primary: most && most[1].primaries > 0 ? most[0] : null,
    holders: has('copies'),
    cached: has('cached'),
    heat: Object.fromEntries(Object.entries(regions).map(([code, one]) => [code, one.heat])),
    moves: found.flatMap((one) => one.moves).sort((a, b) => b.at_ms - a.at_ms).slice(0, 8),
    note: null,
    leases: [],
  };
  return { objects: found.length, more: page.items.length > SPREAD_MAX || page.next !== '', regions, as };
}

/** Where an object lives: the map, the same as a table, and the moves so far. */
export function Whereabouts({ bucket, objectKey: key, seconds = 2 }: { bucket: string; objectKey: string; seconds?: number }) {
  const load = useLoad(() => where(bucket, key), [bucket, key, place.value]);
  const [chosen, setChosen] = useState('');
  useEvery(seconds, load.again, [bucket, key]);
  const found = load.value;
  const regions = status.value?.regions ?? [];
  return (
    <div class="stack">
      <Problem text={load.error} />
      {found && regions.length > 0 && <RegionMap regions={regions} found={found} chosen={chosen} onChoose={setChosen} />}
      {found && <Sides found={found} />}
      {found?.note && <p class="sub">{found.note}</p>}
      {found?.primary && <MovePrimary bucket={bucket} objectKey={key} found={found} again={load.again} />}
    </div>
  );
}

/** Another region for the primary, and cached copies that go. */
function MovePrimary({ bucket, objectKey: key, found, again }: { bucket: string; objectKey: string; found: Whereabouts; again: () => void }) {
  const others = (status.value?.regions ?? []).filter((one) => one.code !== found.primary);
  const [to, setTo] = useState('');
  const move = async () => {
    const body = JSON.stringify({ bucket, key, region: to });
    if (await attempt(admin('place', { method: 'POST', body }), `On its way to ${to}.`)) again();
  };
  if (others.length === 0) return null;
  return (
    <form class="row" onSubmit={(event) => { event.preventDefault(); void move(); }}>
      <Field label="Move its primary to" hint="It follows its readers again after ten minutes.">
        <select value={to} required onChange={(event) => setTo(event.currentTarget.value)}>
          <option value="">choose a region</option>
          {others.map((one) => <option key={one.code} value={one.code}>{one.code} {one.city}</option>)}
        </select>
      </Field>
      <div class="actions">
        <Button type="submit" icon="pin">Move</Button>
        {found.cached.length > 0 && <Button icon="trash" onClick={() => void attempt(purge(bucket, key)).then(again)}>Drop cached copies</Button>}
      </div>
    </form>
  );
}

/** The role of a region for one object. */
export function role(found: Whereabouts, code: string): 'primary' | 'holder' | 'cached' | 'none' {
  if (found.primary === code) return 'primary';
  if (found.holders.includes(code)) return 'holder';
  return found.cached.includes(code) ? 'cached' : 'none';
}

const WORDS = { primary: 'primary', holder: 'full copy', cached: 'cached', none: 'nothing' } as const;

export function Sides({ found }: { found: Whereabouts }) {
  const known = status.value?.regions.map((region) => region.code) ?? [];
  const codes = [...new Set([found.primary ?? '', ...found.holders, ...found.cached, ...Object.keys(found.heat), ...known])].filter(Boolean);
  const max = Math.max(0.001, ...Object.values(found.heat));
  return (
    <>
      <table class="list">
        <thead><tr><th>Region</th><th>Has</th><th>Reads of late</th></tr></thead>
        <tbody>
          {codes.map((code) => {
            const kind = role(found, code);
            const heat = found.heat[code] ?? 0;
            return (
              <tr key={code}>
                <th scope="row">{code} <small>{status.value?.regions.find((one) => one.code === code)?.city}</small></th>
                <td data-label="Has">
                  <span class={`dot ${kind}`} aria-hidden="true" />{WORDS[kind]}{kind !== 'none' && ` (${bytes(found.size)})`}
                  {found.leases.some((lease) => lease.region === code) && <> <span class="chip brand" title="It answers reads by itself; a change waits until it lets go.">read lease</span></>}
                </td>
                <td data-label="Reads of late"><meter aria-label={`Heat of ${code}`} min={0} max={max} value={heat} /> {heat.toFixed(1)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {found.moves.length > 0 && (
        <section aria-label="Moves">
          <h3>Moves of the primary</h3>
          <ol class="moves">
            {found.moves.map((move) => (
              <li key={move.at_ms}>
                <strong>{move.from} → {move.to}</strong> <time title={moment(move.at_ms)}>{ago(move.at_ms)}</time>
                <small>{move.reason}</small>
              </li>
            ))}
          </ol>
        </section>
      )}
    </>
  );
}
