import { useEffect, useRef, useState } from 'preact/hooks';
import { place, reason, s3 } from '../api';
import { lookAtWires, refresh, type Region, status } from '../cluster';
import { bytes, count, millis } from '../format';
import { list } from '../objects';
import { go, href, route } from '../router';
import { looks, lookAround } from '../traffic';
import { Button, Empty, Field, Icon, Problem, useEvery, useLoad } from '../ui';
import { RegionMap } from '../worldmap';
import { buckets } from './buckets';
import { Down, Play } from './play';
import { Sides, type Spread, spread, where } from './whereabouts';

const STATES = { here: 'answers you', connected: 'connected', away: 'away' } as const;

/** The world of this cluster, and in it one object. */
export function WorldPage() {
  const { bucket, rest: key, query } = route.value;
  const regions = status.value?.regions ?? [];
  const chosen = query.get('region') ?? '';
  useEvery(3, () => { void refresh(); void lookAround(); void lookAtWires(); });
  useEffect(() => void lookAround(), [regions.length]);
  useEffect(() => void lookAtWires(), []);
  const prefix = key.endsWith('/');
  const found = useLoad(async () => (bucket && key && !prefix ? where(bucket, key) : undefined), [bucket, key, place.value]);
  useEvery(1, found.again, [bucket, key]);
  const below = useLoad(async () => (bucket && prefix ? spread(bucket, key) : undefined), [bucket, key, place.value]);
  useEvery(6, below.again, [bucket, key]);
  const choose = (code: string) => go(href('map', bucket, key, code && code !== chosen ? { region: code } : {}));
  if (!status.value) return <Empty icon="map" title="The map needs an admin key"><p>Your key has a scope; what it may see of the cluster is where its own objects live, in each object's drawer.</p></Empty>;
  const region = regions.find((one) => one.code === chosen);
  const object = bucket && key && !prefix ? found.value : undefined;
  const watched = object ?? (prefix ? below.value?.as : undefined);
  return (
    <>
      <div class="head">
        <div>
          <h1>{key ? key.split('/').filter(Boolean).at(-1) : 'Map'}</h1>
          <p class="sub">{key ? <>Where <span class="mono">s3://{bucket}/{key}</span> lives, live. <a href={href('map')}>Show all regions</a></> : `${regions.length} regions, one store. Objects move to where they are read.`}</p>
        </div>
        <Watch bucket={bucket} objectKey={key} />
      </div>
      <Problem text={found.error || below.error} />
      <RegionMap regions={regions} found={watched} chosen={chosen} onChoose={choose} />
      <Legend object={watched !== undefined} />
      {region && <RegionCard region={region} onClose={() => choose('')} />}
      {object && <Readers bucket={bucket} objectKey={key} size={object.size} regions={regions} />}
      {object && <><Sides found={object} />{object.note && <p class="sub note">{object.note}</p>}</>}
      {prefix && below.value && <Below of={below.value} />}
      {!key && <Regions regions={regions} chosen={chosen} onChoose={choose} />}
    </>
  );
}

/** What each region has of a prefix. */
function Below({ of }: { of: Spread }) {
  return (
    <>
      <p class="sub">{of.more ? `The first ${of.objects} objects below it` : `All ${of.objects} objects below it`}, {bytes(of.as.size)}.</p>
      <table class="list">
        <thead><tr><th>Region</th><th class="num">Primaries</th><th class="num">Full copies</th><th class="num">Cached</th><th class="num">Reads of late</th></tr></thead>
        <tbody>
          {Object.entries(of.regions).sort(([a], [b]) => (a < b ? -1 : 1)).map(([code, one]) => (
            <tr key={code}>
              <th scope="row">{code}</th>
              <td data-label="Primaries" class="num">{one.primaries}</td>
              <td data-label="Full copies" class="num">{one.copies}</td>
              <td data-label="Cached" class="num">{one.cached}</td>
              <td data-label="Reads of late" class="num">{one.heat.toFixed(1)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

function Legend({ object }: { object: boolean }) {
  const marks = object
    ? [['primary', 'primary, the first source'], ['holder', 'full copy'], ['cached', 'cached copy'], ['none', 'nothing there']]
    : [['connected', 'connected'], ['away', 'away'], ['none', 'the dashes run faster where the way is shorter']];
  return (
    <p class="legend">
      {marks.map(([kind, label]) => <span key={kind}><span class={`dot ${kind}`} aria-hidden="true" />{label}</span>)}
      {object && <span><span class="dot heat" aria-hidden="true" />reads of late</span>}
    </p>
  );
}

function Regions({ regions, chosen, onChoose }: { regions: readonly Region[]; chosen: string; onChoose: (code: string) => void }) {
  const all = looks.value;
  return (
    <table class="list">
      <thead>
        <tr><th>Region</th><th>State</th><th class="num">Round trip</th><th class="num">Behind by</th><th class="num">To be sent</th><th class="num">Requests/s</th><th class="num">Sent/s</th><th>Votes</th></tr>
      </thead>
      <tbody>
        {regions.map((region) => {
          const look = all[region.code];
          return (
            <tr key={region.code} class={region.code === chosen ? 'chosen' : ''}>
              <th scope="row"><button type="button" class="name" onClick={() => onChoose(region.code)}><Icon name="pin" /><span>{region.code} · {region.city}</span></button></th>
              <td data-label="State"><span class={`dot ${region.state}`} aria-hidden="true" />{STATES[region.state]} <Down code={region.code} /></td>
              <td data-label="Round trip" class="num">{region.state === 'here' ? '–' : millis(region.rtt_ms)}</td>
              <td data-label="Behind by" class="num">{count(region.behind)}</td>
              <td data-label="To be sent" class="num">{count(region.queued)}</td>
              <td data-label="Requests/s" class="num">{look ? (look.requests.at(-1) ?? 0).toFixed(1) : '–'}</td>
              <td data-label="Sent/s" class="num">{look ? bytes(look.bytes.at(-1) ?? 0) : '–'}</td>
              <td data-label="Votes">{region.voter ? 'yes' : 'no'}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

/** A region's own page: how it sees the others, and what goes through it. */
function RegionCard({ region, onClose }: { region: Region; onClose: () => void }) {
  const look = looks.value[region.code];
  return (
    <section class="card region-card" aria-label={`Region ${region.code}`}>
      <header>
        <h2>{region.city} <span class="chip">{region.code}</span> {region.voter && <span class="chip brand">voter</span>}</h2>
        <Button look="quiet" icon="close" aria-label="Close the region" onClick={onClose} />
      </header>
      <div class="tiles">
        <Tile label="State" value={STATES[region.state]} />
        <Tile label="Round trip from here" value={region.state === 'here' ? 'here' : millis(region.rtt_ms)} />
        <Tile label="We are behind it by" value={`${count(region.behind)} changes`} />
        <Tile label="Waiting to go there" value={`${count(region.queued)} changes`} />
        {look && <Tile label="Requests" value={`${(look.requests.at(-1) ?? 0).toFixed(1)}/s`} spark={look.requests} />}
        {look && <Tile label="Bytes sent" value={`${bytes(look.bytes.at(-1) ?? 0)}/s`} spark={look.bytes} />}
        {look && <Tile label="Primaries moved here" value={count(look.counters['godwit_cluster_primaries_moved_total'] ?? 0)} />}
        {look && <Tile label="Chunks fetched from others" value={count(look.counters['godwit_cluster_fetched_chunks_total'] ?? 0)} />}
      </div>
      <Down code={region.code} />
      <div class="actions"><Play code={region.code} /></div>
      {look && region.state !== 'away' ? (
        <p class="sub">
          As {region.code} sees the others: {look.status.regions.filter((one) => one.code !== region.code).map((one) => `${one.code} ${one.state === 'away' ? 'away' : millis(one.rtt_ms)}${one.behind ? `, behind by ${one.behind}` : ''}`).join(' · ') || 'it is alone'}
        </p>
      ) : <p class="sub">{region.state === 'away' ? 'It cannot be asked now' : 'It was not asked yet'}: what is shown is how the region that answers sees it.</p>}
    </section>
  );
}

export function Tile({ label, value, spark }: { label: string; value: string; spark?: readonly number[] }) {
  return (
    <div class="tile">
      <span>{label}</span>
      <strong>{value}</strong>
      {spark && spark.length > 1 && <Spark values={spark} />}
    </div>
  );
}

function Spark({ values }: { values: readonly number[] }) {
  const max = Math.max(1e-9, ...values);
  const points = values.map((value, at) => `${((at / (values.length - 1)) * 100).toFixed(1)},${(22 - (value / max) * 20).toFixed(1)}`);
  return <svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true"><polyline points={points.join(' ')} /></svg>;
}

/** Chooses the object that is watched. */
function Watch({ bucket, objectKey }: { bucket: string; objectKey: string }) {
  const [from, setFrom] = useState(bucket);
  const names = useLoad(buckets, []);
  const keys = useLoad(async () => {
    if (!from) return [];
    const [folders, all] = await Promise.all([list(from, ''), list(from, '', '', '')]);
    return [...folders.items.filter((item) => item.kind === 'folder'), ...all.items.slice(0, 200)];
  }, [from]);
  useEffect(() => setFrom(bucket), [bucket]);
  return (
    <div class="actions watch">
      <Field label="Bucket">
        <select value={from} onChange={(event) => setFrom(event.currentTarget.value)}>
          <option value="">choose …</option>
          {names.value?.map((one) => <option key={one.name}>{one.name}</option>)}
        </select>
      </Field>
      <Field label="Watch an object or a prefix">
        <select value={objectKey} disabled={!from} onChange={(event) => go(href('map', from, event.currentTarget.value))}>
          <option value="">choose …</option>
          {objectKey && <option key={objectKey}>{objectKey}</option>}
          {keys.value?.filter((item) => item.key !== objectKey).map((item) => <option key={item.key}>{item.key}</option>)}
        </select>
      </Field>
    </div>
  );
}

/** The most that one read of a reader takes. */
const READ_MAX = 1 << 20;

/** Reads the object as a client in a region would, once a second, so that one can see it move. */
function Readers({ bucket, objectKey: key, size, regions }: { bucket: string; objectKey: string; size: number; regions: readonly Region[] }) {
  const [reading, setReading] = useState('');
  const [last, setLast] = useState('');
  const busy = useRef(false);
  const read = async () => {
    if (!reading || busy.current) return;
    busy.current = true;
    const began = performance.now();
    try {
      const headers: Record<string, string> = size > READ_MAX ? { range: `bytes=0-${READ_MAX - 1}` } : {};
      const answer = await s3('GET', bucket, { key, headers, from: reading });
      await answer.arrayBuffer();
      const source = answer.headers.get('x-godwit-source') ?? '';
      setLast(`${reading}: ${Math.round(performance.now() - began)} ms, served by ${answer.headers.get('x-godwit-served-from') ?? '?'}${source && ` from ${source}`}`);
    } catch (error) {
      setLast(reason(error));
    }
    busy.current = false;
  };
  useEvery(1, () => void read(), [reading, bucket, key]);
  useEffect(() => { setLast(''); void read(); }, [reading]);
  return (
    <section class="card readers" aria-label="Readers">
      <h2>Read it from</h2>
      <div class="chips">
        {regions.map((region) => (
          <button key={region.code} type="button" class="button" aria-pressed={reading === region.code} onClick={() => setReading(reading === region.code ? '' : region.code)}>
            <Icon name={reading === region.code ? 'pause' : 'play'} />{region.code}
          </button>
        ))}
      </div>
      <p class="sub" role="status">{reading ? (last || `Reading once a second from ${reading} …`) : 'One read a second from the region that you choose. Where most reads come from, there the primary goes.'}</p>
    </section>
  );
}
