// The regions of a bucket: where it may lie, where it lies, and cached copies that go.
import { useEffect, useState } from 'preact/hooks';
import { admin } from '../api';
import { status } from '../cluster';
import { bytes, count } from '../format';
import { attempt, Button, Problem, Switch, tell, useEvery, useLoad } from '../ui';
import { Form } from './settings';

interface Location {
  regions: string[];
  versions: number;
  riding: number;
  primaries: Record<string, number>;
  held: Record<string, { versions: number; bytes: number }>;
  outside: number;
  cut: boolean;
}
interface Purged {
  regions: { region: string; copies: number; bytes: number; error: string | null }[];
}

export async function purge(bucket: string, prefix: string): Promise<void> {
  const body = JSON.stringify({ bucket, prefix });
  const { regions } = await admin<Purged>('purge', { method: 'POST', body });
  const gone = regions.reduce((sum, one) => sum + one.copies, 0);
  const silent = regions.filter((one) => one.error).map((one) => one.region);
  tell(`${count(gone)} cached ${gone === 1 ? 'copy' : 'copies'} dropped${silent.length ? `; not asked: ${silent.join(', ')}` : ''}.`, silent.length > 0);
}

/** Asked again while versions lie where they may not. */
export function Location({ bucket }: { bucket: string }) {
  const ask = () => admin<Location>(`location?bucket=${encodeURIComponent(bucket)}`);
  const load = useLoad(ask, [bucket]);
  const found = load.value;
  useEvery(5, () => found && found.outside > 0 && load.again(), [found?.outside]);
  const [chosen, setChosen] = useState<string[]>([]);
  const [leave, setLeave] = useState(false);
  const now = found?.regions.join() ?? '';
  useEffect(() => setChosen(now ? now.split(',') : []), [now]);
  const known = status.value?.regions ?? [];
  const codes = [...new Set([...known.map((one) => one.code), ...Object.keys(found?.held ?? {}), ...chosen])].sort();
  const save = async () => {
    const body = JSON.stringify({ regions: chosen, leave_small: leave });
    await admin(`location?bucket=${encodeURIComponent(bucket)}`, { method: 'PUT', body });
    load.again();
  };
  if (!found) return load.error ? <Problem text={load.error} /> : <p class="sub">Loading …</p>;
  const turn = (code: string, on: boolean) => setChosen(on ? [...chosen, code].sort() : chosen.filter((one) => one !== code));
  return (
    <fieldset>
      <legend>Regions</legend>
      <p class="sub">{found.regions.length ? `May be kept in ${found.regions.join(', ')}.` : 'May be kept in every region: objects live where they are read.'}</p>
      <Form save="Save regions" onSave={save}>
        <table class="list">
          <thead><tr><th>Region</th><th class="num">Primaries</th><th class="num">Copies</th><th class="num">Bytes</th></tr></thead>
          <tbody>
            {codes.map((code) => (
              <tr key={code}>
                <th scope="row"><label><input type="checkbox" checked={chosen.includes(code)} onChange={(event) => turn(code, event.currentTarget.checked)} /> {code} <small>{known.find((one) => one.code === code)?.city}</small></label></th>
                <td data-label="Primaries" class="num">{count(found.primaries[code] ?? 0)}</td>
                <td data-label="Copies" class="num">{count(found.held[code]?.versions ?? 0)}</td>
                <td data-label="Bytes" class="num">{bytes(found.held[code]?.bytes ?? 0)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        <p class="sub">None chosen: every region. Copies follow in the background; reads go on.</p>
        {found.riding > 0 && chosen.length > 0 && (
          <Switch label="Leave small objects where they are" hint={`${count(found.riding)} ride in their rows, which are in every region.`} checked={leave} onChange={setLeave} />
        )}
      </Form>
      {found.outside > 0 && <p role="status"><span class="chip">moving</span> {count(found.outside)} versions lie where they may not any more.</p>}
      <div class="actions"><Button icon="trash" onClick={() => void attempt(purge(bucket, ''))}>Drop cached copies</Button></div>
    </fieldset>
  );
}
