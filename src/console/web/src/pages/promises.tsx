// What a bucket promises beyond S3: copies, order, room, and what can be brought back.
import { useEffect, useState } from 'preact/hooks';
import { admin, s3 } from '../api';
import { Field, Problem, Switch, useLoad } from '../ui';
import { Location } from './location';
import { Form } from './settings';

interface About {
  ack: string | number;
  copies: number;
  consistency: 'eventual' | 'strong';
  leases: boolean;
  quota_bytes?: number;
  quota_objects?: number;
  soft_delete: { enabled: boolean; retention_days: number };
}

const GIB = 2 ** 30;

async function about(bucket: string): Promise<About> {
  return (await (await s3('GET', bucket, { query: { metadata: '' } })).json()) as About;
}

async function patch(bucket: string, changes: Record<string, unknown>): Promise<void> {
  await s3('PATCH', bucket, { body: JSON.stringify(changes), headers: { 'content-type': 'application/json' } });
}

export function Promises({ bucket }: { bucket: string }) {
  const load = useLoad(() => about(bucket), [bucket]);
  if (load.error) return <Problem text={load.error} />;
  if (!load.value) return <p class="sub">Loading …</p>;
  const of = { bucket, found: load.value, again: load.again };
  return (
    <>
      <Location bucket={bucket} />
      <Order {...of} />
      <Quota {...of} />
      <Keeping {...of} />
      <UndoWindow bucket={bucket} />
    </>
  );
}

/** Each form takes its own fields from what was found, so that saving one leaves what is typed in another. */
type Of = { bucket: string; found: About; again: () => void };

function Order({ bucket, found, again }: Of) {
  const [ack, setAck] = useState('');
  const [copies, setCopies] = useState('');
  const [strong, setStrong] = useState(false);
  const [leases, setLeases] = useState(false);
  useEffect(() => {
    setAck(String(found.ack));
    setCopies(String(found.copies));
    setStrong(found.consistency === 'strong');
    setLeases(found.leases);
  }, [found.ack, found.copies, found.consistency, found.leases]);
  const save = async () => {
    const order = { consistency: strong ? 'strong' : 'eventual', leases: strong && leases };
    const changed = order.consistency !== found.consistency || order.leases !== found.leases;
    await patch(bucket, { ack, copies: Number(copies), ...(changed ? order : {}) });
    again();
  };
  return (
    <fieldset>
      <legend>Promises</legend>
      <Form save="Save promises" onSave={save}>
        <Field label="A write is answered when it is on disk in">
          <select value={ack} onChange={(event) => setAck(event.currentTarget.value)}>
            <option value="default">two regions, where there are two</option>
            <option value="1">one region: goes on alone when it is cut off</option>
            <option value="2">two regions</option>
            <option value="3">three regions</option>
            <option value="majority">most regions</option>
          </select>
        </Field>
        <Field label="Copies soon after"><input type="number" min="1" max="50" required value={copies} onInput={(event) => setCopies(event.currentTarget.value)} /></Field>
        <Switch label="Strong: one order for all regions" hint="Every write, read and list asks most of the voters: slower, and refused where they cannot be reached." checked={strong} onChange={setStrong} />
        {strong && <Switch label="Read leases" hint="A region that reads a key often answers by itself, without asking the voters. A change waits until those regions let go: as long as the way there, or 1.5 s for one that is away." checked={leases} onChange={setLeases} />}
      </Form>
    </fieldset>
  );
}

function Quota({ bucket, found, again }: Of) {
  const [size, setSize] = useState('');
  const [objects, setObjects] = useState('');
  useEffect(() => {
    setSize(found.quota_bytes ? String(found.quota_bytes / GIB) : '');
    setObjects(found.quota_objects ? String(found.quota_objects) : '');
  }, [found.quota_bytes, found.quota_objects]);
  const save = async () => {
    await patch(bucket, { quota_bytes: size ? Math.round(Number(size) * GIB) : null, quota_objects: objects ? Number(objects) : null });
    again();
  };
  return (
    <fieldset>
      <legend>Quota</legend>
      <Form save="Save quota" onSave={save}>
        <div class="row">
          <Field label="Size, GiB" hint="Empty: no end"><input type="number" min="0" step="any" value={size} onInput={(event) => setSize(event.currentTarget.value)} /></Field>
          <Field label="Number of objects" hint="Empty: no end"><input type="number" min="0" value={objects} onInput={(event) => setObjects(event.currentTarget.value)} /></Field>
        </div>
      </Form>
    </fieldset>
  );
}

function Keeping({ bucket, found, again }: Of) {
  const [on, setOn] = useState(false);
  const [days, setDays] = useState('');
  useEffect(() => {
    setOn(found.soft_delete.enabled);
    setDays(String(found.soft_delete.retention_days));
  }, [found.soft_delete.enabled, found.soft_delete.retention_days]);
  const save = async () => {
    await patch(bucket, { soft_delete: { enabled: on, retention_days: Number(days) } });
    again();
  };
  return (
    <fieldset>
      <legend>Soft delete</legend>
      <Form save="Save soft delete" onSave={save}>
        <Switch label="Keep what is deleted or written over" hint="In a bucket without versions. godwit undelete brings it back." checked={on} onChange={setOn} />
        {on && <Field label="Days"><input type="number" min="7" max="90" required value={days} onInput={(event) => setDays(event.currentTarget.value)} /></Field>}
      </Form>
    </fieldset>
  );
}

interface Kept {
  undo_minutes: number;
  soft_delete_days: number | null;
}

/** How long losers of concurrent writes are kept. */
function UndoWindow({ bucket }: { bucket: string }) {
  const path = `keeping?bucket=${bucket}`;
  const load = useLoad(() => admin<Kept>(path), [path]);
  const [hours, setHours] = useState('');
  const found = load.value?.undo_minutes;
  useEffect(() => { if (found !== undefined) setHours(String(found / 60)); }, [found]);
  const save = async () => {
    const kept = await admin<Kept>(path);
    await admin(path, { method: 'PUT', body: JSON.stringify({ ...kept, undo_minutes: Math.round(Number(hours) * 60) }) });
    load.again();
  };
  if (load.error) return <Problem text={load.error} />;
  return (
    <fieldset>
      <legend>Undo window</legend>
      <Form save="Save undo window" onSave={save}>
        <Field label="Hours" hint="Of two writes made at the same time in two regions one wins; the other is kept so long. 0: not at all.">
          <input type="number" min="0" step="any" required value={hours} onInput={(event) => setHours(event.currentTarget.value)} />
        </Field>
      </Form>
    </fieldset>
  );
}
