import { useEffect, useState } from 'preact/hooks';
import { reason } from '../api';
import { Button, Problem, tell } from '../ui';

type Pair = [string, string];

/** Names and values that are edited together: tags, metadata. */
export function Pairs({ label, pairs, onSave }: { label: string; pairs: readonly Pair[]; onSave: (pairs: Pair[]) => Promise<void> }) {
  const [rows, setRows] = useState<Pair[]>([]);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const known = JSON.stringify(pairs);
  useEffect(() => setRows(JSON.parse(known) as Pair[]), [known]);
  const change = (at: number, part: 0 | 1, value: string) =>
    setRows(rows.map((row, i) => (i === at ? (part ? [row[0], value] : [value, row[1]]) : row)));
  const save = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError('');
    try {
      await onSave(rows.filter(([name]) => name.trim() !== ''));
      tell(`${label} saved.`);
    } catch (why) {
      setError(reason(why));
    }
    setBusy(false);
  };
  return (
    <form class="stack" onSubmit={save}>
      {rows.length === 0 && <p class="sub">None yet.</p>}
      {rows.map(([name, value], at) => (
        <div class="pair" key={at}>
          <input aria-label={`Name ${at + 1}`} placeholder="name" value={name} spellcheck={false} onInput={(event) => change(at, 0, event.currentTarget.value)} />
          <input aria-label={`Value ${at + 1}`} placeholder="value" value={value} spellcheck={false} onInput={(event) => change(at, 1, event.currentTarget.value)} />
          <Button look="quiet" icon="trash" aria-label={`Remove ${name || `row ${at + 1}`}`} onClick={() => setRows(rows.filter((_, i) => i !== at))} />
        </div>
      ))}
      <Problem text={error} />
      <div class="actions">
        <Button icon="plus" onClick={() => setRows([...rows, ['', '']])}>Add</Button>
        <Button type="submit" look="primary" busy={busy}>Save {label.toLowerCase()}</Button>
      </div>
    </form>
  );
}
