import { useEffect, useState } from 'preact/hooks';
import { place, s3 } from '../api';
import { status } from '../cluster';
import { ago, bytes, count, duration, moment, plural } from '../format';
import { go, href } from '../router';
import { Button, Empty, Icon, Problem, useEvery, useLoad } from '../ui';
import { DeletedBuckets } from './deletedbuckets';
import { type NewKey, Told } from './keys';
import { DeleteBucket, NewBucket } from './newbucket';

export interface Bucket {
  name: string;
  created: string;
  regions: string[];
  /** Nothing where the key may not know. */
  size?: number;
  objects?: number;
}

interface Listed {
  Buckets: { Bucket: { Name: string; CreationDate: string; Regions?: string }[] };
  NextContinuationToken?: string;
}

/** All buckets of the account. */
export async function buckets(): Promise<Bucket[]> {
  const found: Bucket[] = [];
  let token = '';
  do {
    const query: Record<string, string> = token ? { 'continuation-token': token } : {};
    const response = await s3('GET', '', { query, headers: { accept: 'application/json' } });
    const page = (await response.json()) as Listed;
    for (const { Name, CreationDate, Regions = '' } of page.Buckets.Bucket) {
      found.push({ name: Name, created: CreationDate, regions: Regions.split(',').filter(Boolean) });
    }
    token = page.NextContinuationToken ?? '';
  } while (token);
  return found;
}

/** How much is in a bucket, as far as the region that answers knows. */
async function usage(bucket: Bucket): Promise<Bucket> {
  try {
    const answer = await s3('GET', bucket.name, { query: { metadata: '', 'with-size': 'true' } });
    const found = (await answer.json()) as { estimated_size?: number; estimated_unique_rows?: number };
    return { ...bucket, size: found.estimated_size ?? 0, objects: found.estimated_unique_rows ?? 0 };
  } catch {
    return bucket;
  }
}

/** Whether the other regions have what was written here. */
function late(bucket: string) {
  const lags = (status.value?.replication?.buckets ?? []).filter((lag) => lag.bucket === bucket);
  if (!lags.length) return <span class="even">even</span>;
  const worst = Math.max(...lags.map((lag) => lag.lag_ms));
  return <span class="late" title={lags.map((lag) => `${lag.region}: ${plural(lag.changes, 'change')}`).join(', ')}>{plural(lags.length, 'region')} behind by {duration(worst / 1000)}</span>;
}

/** Buckets that are asked for their usage at the same time, and at most. */
const ASKED_AT_ONCE = 6;
const ASKED_MAX = 200;

export function Buckets() {
  const [filter, setFilter] = useState('');
  const [making, setMaking] = useState(false);
  const [keyed, setKeyed] = useState<{ key: NewKey; bucket: string } | null>(null);
  const [doomed, setDoomed] = useState<Bucket | null>(null);
  const [sized, setSized] = useState<Record<string, Bucket>>({});
  const list = useLoad(buckets, [place.value]);
  useEvery(10, list.again);
  useEffect(() => {
    let current = true;
    const left = (list.value ?? []).slice(0, ASKED_MAX);
    const lane = async () => {
      for (let next = left.shift(); next && current; next = left.shift()) {
        const known = await usage(next);
        if (current) setSized((old) => ({ ...old, [known.name]: known }));
      }
    };
    for (let at = 0; at < ASKED_AT_ONCE; at += 1) void lane();
    return () => {
      current = false;
    };
  }, [list.value]);
  const all = (list.value ?? []).map((bucket) => ({ ...bucket, ...sized[bucket.name] }));
  const shown = all.filter((bucket) => bucket.name.includes(filter.toLowerCase()));
  const total = all.reduce((sum, bucket) => sum + (bucket.size ?? 0), 0);
  const lag = Math.max(0, ...(status.value?.regions ?? []).map((region) => region.behind));
  return (
    <>
      <div class="head">
        <div>
          <h1>Buckets</h1>
          {list.value && (
            <p class="sub">
              {plural(list.value.length, 'bucket')} · {bytes(total)}
              {status.value && ` · ${lag ? `${plural(lag, 'change')} of other regions on the way here` : 'all changes of other regions are here'}`}
            </p>
          )}
        </div>
        <div class="actions">
          {(list.value?.length ?? 0) > 5 && (
            <input type="search" placeholder="Filter" aria-label="Filter buckets" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
          )}
          <Button look="primary" icon="plus" onClick={() => setMaking(true)}>New bucket</Button>
        </div>
      </div>
      <Problem text={list.error} />
      {list.value?.length === 0 && (
        <Empty icon="bucket" title="No buckets yet">
          <p>A bucket has one name in all regions, and its objects move to where they are read.</p>
          <Button look="primary" icon="plus" onClick={() => setMaking(true)}>Make the first one</Button>
        </Empty>
      )}
      {shown.length > 0 && (
        <table class="list">
          <thead><tr><th>Name</th><th>Location</th><th class="num">Objects</th><th class="num">Size</th>{status.value && <th>Elsewhere</th>}<th>Created</th><th class="tools"><span class="hidden">Actions</span></th></tr></thead>
          <tbody>
            {shown.map((bucket) => (
              <tr key={bucket.name}>
                <th scope="row"><a class="name" href={href('objects', bucket.name)}><Icon name="bucket" /><span>{bucket.name}</span></a></th>
                <td data-label="Location">{bucket.regions.length ? bucket.regions.join(', ') : 'everywhere'}</td>
                <td data-label="Objects" class="num">{bucket.objects === undefined ? '–' : count(bucket.objects)}</td>
                <td data-label="Size" class="num">{bucket.size === undefined ? '–' : bytes(bucket.size)}</td>
                {status.value && <td data-label="Elsewhere">{late(bucket.name)}</td>}
                <td data-label="Created" title={moment(bucket.created)}>{ago(bucket.created)}</td>
                <td class="tools">
                  <a class="button quiet bare" href={href('objects', bucket.name, '', { settings: 'access' })} aria-label={`Settings of ${bucket.name}`}><Icon name="settings" /></a>
                  <Button look="quiet" icon="trash" aria-label={`Delete ${bucket.name}`} onClick={() => setDoomed(bucket)} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <DeletedBuckets since={list.value?.length} onBack={list.again} />
      {making && <NewBucket onKey={(key, bucket) => setKeyed({ key, bucket })} onDone={list.again} onClose={() => setMaking(false)} />}
      {keyed && <Told of={keyed.key} onClose={() => { setKeyed(null); go(href('objects', keyed.bucket)); }} />}
      {doomed && <DeleteBucket bucket={doomed} onDone={list.again} onClose={() => setDoomed(null)} />}
    </>
  );
}
