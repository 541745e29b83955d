import { useState } from 'preact/hooks';
import { place, Refused, s3 } from '../api';
import { status } from '../cluster';
import { ago, bytes, count, moment, plural } from '../format';
import { href } from '../router';
import { Empty, Problem, useEvery, useLoad } from '../ui';

export interface Bucket {
  name: string;
  created: string;
  regions: string[];
  size: number;
  objects: number;
}

interface Listed {
  Buckets: { Bucket: Record<string, string | number>[] };
  NextContinuationToken?: string;
}

/** All buckets of the account, with how much is in them. */
export async function buckets(): Promise<Bucket[]> {
  const found: Bucket[] = [];
  let token = '';
  do {
    const query: Record<string, string> = token ? { 'continuation-token': token } : {};
    const response = await s3('GET', '', { query, headers: { accept: 'application/json' } });
    const page = (await response.json()) as Listed;
    for (const entry of page.Buckets.Bucket) {
      found.push({
        name: String(entry['Name']),
        created: String(entry['CreationDate']),
        regions: String(entry['Regions'] ?? '').split(',').filter(Boolean),
        size: Number(entry['SizeBytes'] ?? 0),
        objects: Number(entry['UniqueObjects'] ?? 0),
      });
    }
    token = page.NextContinuationToken ?? '';
  } while (token);
  return found;
}

export function Buckets() {
  const [filter, setFilter] = useState('');
  const list = useLoad(buckets, [place.value]);
  useEvery(5, list.again);
  const shown = (list.value ?? []).filter((bucket) => bucket.name.includes(filter.toLowerCase()));
  const total = (list.value ?? []).reduce((sum, bucket) => sum + bucket.size, 0);
  const lag = Math.max(0, ...(status.value?.regions ?? []).map((region) => region.behind));
  return (
    <>
      <div class="head">
        <div>
          <h1>Buckets</h1>
          {list.value && (
            <p class="sub">{plural(list.value.length, 'bucket')} · {bytes(total)}{status.value && ` · ${lag ? `${plural(lag, 'change')} on the way here` : 'nothing on the way here'}`}</p>
          )}
        </div>
        <div class="actions">
          {(list.value?.length ?? 0) > 5 && (
            <input type="search" placeholder="Filter" aria-label="Filter buckets" value={filter} onInput={(e) => setFilter(e.currentTarget.value)} />
          )}
        </div>
      </div>
      <Problem text={list.error} />
      {list.value?.length === 0 && (
        <Empty icon="bucket" title="No buckets yet">
          <p>A bucket has one name in all regions, and its objects move to where they are read.</p>
        </Empty>
      )}
      {shown.length > 0 && (
        <table class="list">
          <thead><tr><th>Name</th><th>Location</th><th class="num">Objects</th><th class="num">Size</th><th>Created</th></tr></thead>
          <tbody>
            {shown.map((bucket) => (
              <tr key={bucket.name}>
                <th scope="row"><a href={href('objects', bucket.name)}>{bucket.name}</a></th>
                <td data-label="Location">{bucket.regions.length ? bucket.regions.join(', ') : 'everywhere'}</td>
                <td data-label="Objects" class="num">{count(bucket.objects)}</td>
                <td data-label="Size" class="num">{bytes(bucket.size)}</td>
                <td data-label="Created" title={moment(bucket.created)}>{ago(bucket.created)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}

/** What a person is told where a key may not do something. */
export function denied(error: unknown): boolean {
  return error instanceof Refused && error.status === 403;
}
