import { useEffect, useState } from 'preact/hooks';
import { document as fetched, put, reason, s3 } from '../api';
import { Button, Field, Problem, tell, useLoad } from '../ui';
import * as xml from '../xml';

const GROUPS: Record<string, string> = {
  'http://acs.amazonaws.com/groups/global/AllUsers': 'everybody',
  'http://acs.amazonaws.com/groups/global/AuthenticatedUsers': 'everybody with a key',
  'http://acs.amazonaws.com/groups/s3/LogDelivery': 'log delivery',
};
const PERMISSIONS = ['READ', 'WRITE', 'READ_ACP', 'WRITE_ACP', 'FULL_CONTROL'];
const PRESETS: readonly (readonly [string, string])[] = [
  ['private', 'Private: the owner alone'],
  ['public-read', 'Everybody reads'],
  ['public-read-write', 'Everybody reads and writes'],
  ['authenticated-read', 'Everybody with a key reads'],
  ['bucket-owner-full-control', "The bucket's owner does everything"],
];
const XSI = 'http://www.w3.org/2001/XMLSchema-instance';

interface Grant {
  grantee: string;
  permission: string;
}

function grants(root: Element | null | undefined): Grant[] {
  return xml.all(xml.find(root ?? null, 'AccessControlList'), 'Grant').map((grant) => ({
    grantee: xml.text(grant, 'Grantee/URI') || xml.text(grant, 'Grantee/ID'),
    permission: xml.text(grant, 'Permission'),
  }));
}

function build(owner: string, all: readonly Grant[]): string {
  const Grant = all.map(({ grantee, permission }) => {
    const group = grantee in GROUPS;
    const type = { '@xmlns:xsi': XSI, '@xsi:type': group ? 'Group' : 'CanonicalUser' };
    return { Grantee: { ...type, ...(group ? { URI: grantee } : { ID: grantee }) }, Permission: permission };
  });
  return xml.build('AccessControlPolicy', { Owner: { ID: owner }, AccessControlList: { Grant } });
}

/** The access control list of a bucket or of an object: a preset, or one grant after the other. */
export function Grants({ bucket, objectKey: key }: { bucket: string; objectKey?: string }) {
  const load = useLoad(() => fetched(bucket, { acl: '' }, key), [bucket, key]);
  const [rows, setRows] = useState<Grant[]>([]);
  const [error, setError] = useState('');
  const [grantee, setGrantee] = useState('');
  const [permission, setPermission] = useState('READ');
  useEffect(() => setRows(grants(load.value)), [load.value]);
  const owner = xml.text(load.value ?? null, 'Owner/ID');
  const run = async (work: Promise<unknown>) => {
    setError('');
    try {
      await work;
      tell('Access saved.');
      load.again();
    } catch (why) {
      setError(reason(why));
    }
  };
  const preset = (name: string) => {
    const call = { query: { acl: '' }, headers: { 'x-amz-acl': name } };
    return run(s3('PUT', bucket, key === undefined ? call : { ...call, key }));
  };
  if (load.error) return <Problem text={load.error} />;
  const presets = key === undefined ? PRESETS.slice(0, 4) : PRESETS;
  return (
    <div class="stack">
      <Field label="Quick access" hint="A preset takes the place of all grants below.">
        <select value="" onChange={(event) => { const name = event.currentTarget.value; event.currentTarget.value = ''; if (name) void preset(name); }}>
          <option value="">Choose a preset …</option>
          {presets.map(([name, label]) => <option key={name} value={name}>{label}</option>)}
        </select>
      </Field>
      <table class="list">
        <thead><tr><th>Who</th><th>May</th><th class="tools"><span class="hidden">Actions</span></th></tr></thead>
        <tbody>
          {rows.map((grant, at) => (
            <tr key={at}>
              <th scope="row" class={grant.grantee in GROUPS ? '' : 'mono'}>{GROUPS[grant.grantee] ?? (grant.grantee === owner ? 'the owner' : grant.grantee)}</th>
              <td data-label="May">{grant.permission.toLowerCase().replace('_', ' ')}</td>
              <td class="tools"><Button look="quiet" icon="trash" aria-label="Take this grant away" onClick={() => run(put(bucket, { acl: '' }, build(owner, rows.filter((_, i) => i !== at)), key))} /></td>
            </tr>
          ))}
        </tbody>
      </table>
      <form class="row" onSubmit={(event) => { event.preventDefault(); void run(put(bucket, { acl: '' }, build(owner, [...rows, { grantee, permission }]), key)); }}>
        <Field label="Account or group">
          <input value={grantee} list="groups" required spellcheck={false} placeholder="canonical id" onInput={(event) => setGrantee(event.currentTarget.value)} />
          <datalist id="groups">{Object.entries(GROUPS).map(([uri, label]) => <option key={uri} value={uri}>{label}</option>)}</datalist>
        </Field>
        <Field label="Permission">
          <select value={permission} onChange={(event) => setPermission(event.currentTarget.value)}>
            {PERMISSIONS.map((name) => <option key={name} value={name}>{name.toLowerCase().replace('_', ' ')}</option>)}
          </select>
        </Field>
        <Button type="submit" icon="plus">Grant</Button>
      </form>
      <Problem text={error} />
    </div>
  );
}
