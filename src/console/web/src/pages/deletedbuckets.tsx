import { useState } from 'preact/hooks';
import { place, s3 } from '../api';
import { ago, moment } from '../format';
import { Button, Icon, Problem, useEvery, useLoad } from '../ui';

interface Deleted {
  Name: string;
  DeletionDate: string;
  RetainUntilDate: string;
}

/** Deleted buckets of the account that can be brought back. */
async function deleted(): Promise<Deleted[]> {
  const query = { OnlyDeleted: 'true' };
  const response = await s3('GET', '', { query, headers: { accept: 'application/json' } });
  const page = (await response.json()) as { Buckets: { Bucket: Deleted[] } };
  return page.Buckets.Bucket;
}

/** What soft delete keeps of buckets; nothing where there is none. */
export function DeletedBuckets({ since, onBack }: { since: number | undefined; onBack: () => void }) {
  const list = useLoad(deleted, [place.value, since]);
  const [problem, setProblem] = useState('');
  const [busy, setBusy] = useState('');
  useEvery(10, list.again);
  if (!list.value?.length) return <Problem text={list.error} />;
  const restore = async (name: string) => {
    setBusy(name);
    setProblem('');
    try {
      await s3('POST', name, { query: { restore: '' } });
      onBack();
    } catch (why) {
      setProblem(`${name}: ${why instanceof Error ? why.message : String(why)}`);
    }
    setBusy('');
    list.again();
  };
  return (
    <section aria-labelledby="deleted-buckets">
      <h2 id="deleted-buckets">Deleted buckets</h2>
      <p class="sub">Their names are kept for you. A bucket comes back with its settings and its deleted objects.</p>
      <Problem text={problem} />
      <table class="list">
        <thead><tr><th>Name</th><th>Deleted</th><th>Gone for good</th><th class="tools"><span class="hidden">Actions</span></th></tr></thead>
        <tbody>
          {list.value.map((bucket) => (
            <tr key={bucket.Name}>
              <th scope="row"><span class="name"><Icon name="bucket" /><span>{bucket.Name}</span></span></th>
              <td data-label="Deleted" title={moment(bucket.DeletionDate)}>{ago(bucket.DeletionDate)}</td>
              <td data-label="Gone for good">{moment(bucket.RetainUntilDate)}</td>
              <td class="tools">
                <Button look="quiet" disabled={busy !== ''} onClick={() => void restore(bucket.Name)} aria-label={`Bring back ${bucket.Name}`}>Bring back</Button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
