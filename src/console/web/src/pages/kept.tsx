// What can be brought back below a prefix: what was deleted, and writes that lost against others.
import { useState } from 'preact/hooks';
import { admin, s3 } from '../api';
import { ago, bytes, moment } from '../format';
import { deletions, type Mark, type Version } from '../objects';
import { attempt, Button, Dialog, More, type Paged, Problem, Tabs, usePages } from '../ui';

interface Side {
  version: string;
  made_ms: number;
  region: string;
  size: number | null;
}
interface Kept {
  key: string;
  until_ms: number | null;
  version: Side;
  /** What readers see instead. */
  current: Side | null;
}
type Why = 'lost' | 'replaced';

async function kept(why: Why, bucket: string, prefix: string, after?: string): Promise<Paged<Kept, string>> {
  const asked = new URLSearchParams({ bucket, prefix, why, ...(after ? { after } : {}) });
  const page = await admin<{ kept: Kept[]; next: string | null }>(`kept?${asked.toString().replaceAll('+', '%20')}`);
  return { items: page.kept, ...(page.next ? { next: page.next } : {}) };
}

/** What a bucket without versions keeps of its deleted objects, where it has soft deletion. */
async function softly(bucket: string, prefix: string, after?: string): Promise<Paged<Kept, string>> {
  const page = await kept('replaced', bucket, prefix, after);
  return { ...page, items: page.items.filter((one) => one.version.size !== null && (one.current === null || one.current.size === null)) };
}

const restore = (bucket: string, key: string, version?: string) =>
  admin('restore', { method: 'POST', body: JSON.stringify({ bucket, key, ...(version ? { version } : {}) }) });

/** The newest version of each key. */
function newest(all: readonly Kept[]): Kept[] {
  const found = new Map<string, Kept>();
  for (const one of all) {
    const known = found.get(one.key);
    if (!known || known.version.made_ms < one.version.made_ms) found.set(one.key, one);
  }
  return [...found.values()];
}

type Of = { bucket: string; prefix: string; onDone: () => void };

export function BringBack({ onClose, ...of }: Of & { onClose: () => void }) {
  const [tab, setTab] = useState<'deleted' | 'lost'>('deleted');
  return (
    <Dialog wide title={`Bring back below ${of.bucket}/${of.prefix}`} onClose={onClose}>
      <Tabs label="What to bring back" tabs={[['deleted', 'Deleted'], ['lost', 'Lost writes']]} value={tab} onChange={setTab} />
      {tab === 'deleted' ? <Deleted {...of} /> : <Lost {...of} />}
    </Dialog>
  );
}

function Deleted({ bucket, prefix, onDone }: Of) {
  const load = usePages<Version, Mark>((after) => deletions(bucket, prefix, after), [bucket, prefix]);
  const soft = usePages<Kept, string>((after) => softly(bucket, prefix, after), [bucket, prefix]);
  const undelete = async (key: string, work: Promise<unknown>) => {
    if (await attempt(work, `${key} is back.`)) {
      load.again();
      soft.again();
      onDone();
    }
  };
  const marked = load.items ?? [];
  const bySoft = newest(soft.items ?? []);
  const more = load.more || soft.more;
  const further = async () => {
    await Promise.all([load.more && load.further(), soft.more && soft.further()]);
  };
  return (
    <>
      <Problem text={load.error || soft.error} />
      {load.items && soft.items && !more && marked.length + bySoft.length === 0 && <p>Nothing that could be brought back. Deleted objects are kept where the bucket keeps versions, or has soft delete.</p>}
      {marked.length + bySoft.length > 0 && (
        <ul class="plain">
          {marked.map((one) => (
            <li class="version" key={one.key}>
              <span><strong>{one.key}</strong><small>deleted {ago(one.modified)}</small></span>
              <Button icon="history" aria-label={`Undelete ${one.key}`} onClick={() => undelete(one.key, s3('DELETE', bucket, { key: one.key, query: { versionId: one.id } }))}>Undelete</Button>
            </li>
          ))}
          {bySoft.map((one) => (
            <li class="version" key={`soft ${one.key}`}>
              <span><strong>{one.key}</strong><small>{bytes(one.version.size ?? 0)}{one.until_ms ? `, kept until ${moment(one.until_ms)}` : ''}</small></span>
              <Button icon="history" aria-label={`Undelete ${one.key}`} onClick={() => undelete(one.key, restore(bucket, one.key))}>Undelete</Button>
            </li>
          ))}
        </ul>
      )}
      <More shown={marked.length + bySoft.length} what="deleted objects" more={more} further={further} />
    </>
  );
}

/** Writes that were answered and lost against another one of the same time. */
function Lost({ bucket, prefix, onDone }: Of) {
  const load = usePages<Kept, string>((after) => kept('lost', bucket, prefix, after), [bucket, prefix]);
  const bring = async (one: Kept) => {
    if (await attempt(restore(bucket, one.key, one.version.version), `${one.key} is what it was in ${one.version.region}.`)) {
      load.again();
      onDone();
    }
  };
  const side = (one: Side) => `${one.size === null ? 'deleted' : bytes(one.size)} in ${one.region}, ${moment(one.made_ms)}`;
  return (
    <>
      <p class="sub">Of two writes made at the same time in two regions one wins. The other is kept for the bucket's undo window.</p>
      <Problem text={load.error} />
      {load.items?.length === 0 && !load.more && <p>No write lost against another one.</p>}
      {load.items && load.items.length > 0 && (
        <ul class="plain">
          {load.items.map((one) => (
            <li class="version" key={`${one.key} ${one.version.version}`}>
              <span><strong>{one.key}</strong><small>{side(one.version)}{one.until_ms ? `, kept until ${moment(one.until_ms)}` : ''}</small>{one.current && <small>won: {side(one.current)}</small>}</span>
              <Button icon="history" aria-label={`Bring back ${one.key} of ${one.version.region}`} onClick={() => bring(one)}>Bring back</Button>
            </li>
          ))}
        </ul>
      )}
      <More shown={load.items?.length ?? 0} what="lost writes" more={load.more} further={load.further} />
    </>
  );
}
