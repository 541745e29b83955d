import { useState } from 'preact/hooks';
import { admin, put, s3, whoami } from '../api';
import { status } from '../cluster';
import { plural } from '../format';
import { empty } from '../objects';
import { go, href } from '../router';
import { Ask, Field, Switch, tell, useLoad } from '../ui';
import * as xml from '../xml';
import type { Bucket } from './buckets';
import type { NewKey } from './keys';
import { encryption } from './settings';

/** A new bucket with its options. */
export function NewBucket({ onKey, onDone, onClose }: { onKey: (key: NewKey, bucket: string) => void; onDone: () => void; onClose: () => void }) {
  const [name, setName] = useState('');
  const [only, setOnly] = useState<string[] | null>(null);
  const [versions, setVersions] = useState(false);
  const [lock, setLock] = useState(false);
  const [open, setOpen] = useState(false);
  const [keyed, setKeyed] = useState(false);
  const [kind, setKind] = useState('');
  const regions = status.value?.regions ?? [];
  const make = async () => {
    const headers: Record<string, string> = {};
    if (only?.length) headers['x-godwit-regions'] = only.join(',');
    if (lock) headers['x-amz-bucket-object-lock-enabled'] = 'true';
    if (open) headers['x-amz-acl'] = 'public-read';
    await s3('PUT', name, { headers });
    if (versions && !lock) await put(name, { versioning: '' }, xml.build('VersioningConfiguration', { Status: 'Enabled' }));
    if (kind) await put(name, { encryption: '' }, encryption(kind));
    tell(`${name} is there, in every region.`);
    onDone();
    if (keyed) onKey(await admin<NewKey>('keys', { method: 'POST', body: JSON.stringify({ roles: { [name]: 'editor' } }) }), name);
    else go(href('objects', name));
  };
  return (
    <Ask title="New bucket" action="Make the bucket" ready={name.length > 2 && only?.length !== 0} onDone={make} onClose={onClose}>
      <Field label="Name" hint="3 to 63 small letters, digits, dots and hyphens. One name in all regions.">
        <input value={name} autoFocus required minLength={3} maxLength={63} pattern="[a-z0-9][a-z0-9.\-]+[a-z0-9]" spellcheck={false} autocapitalize="none"
          onInput={(event) => setName(event.currentTarget.value)} />
      </Field>
      <fieldset>
        <legend>Where bytes may be</legend>
        <label class="switch"><input type="radio" name="where" checked={only === null} onChange={() => setOnly(null)} /><span>Everywhere<small>Objects live where they are read, and move by themselves.</small></span></label>
        <label class="switch"><input type="radio" name="where" checked={only !== null} onChange={() => setOnly([])} /><span>Only in some regions<small>Readers elsewhere are served from there; nothing is kept outside.</small></span></label>
        {only !== null && (regions.length ? (
          <div class="chips">
            {regions.map(({ code, city }) => (
              <label class="chip" key={code}>
                <input type="checkbox" checked={only.includes(code)} onChange={(event) => setOnly(event.currentTarget.checked ? [...only, code] : only.filter((one) => one !== code))} />
                {code} {city}
              </label>
            ))}
          </div>
        ) : (
          <Field label="Regions" hint="Codes with commas"><input onInput={(event) => setOnly(event.currentTarget.value.split(',').map((code) => code.trim()).filter(Boolean))} /></Field>
        ))}
      </fieldset>
      <Switch label="Keep versions" hint="What is overwritten or deleted can be restored." checked={versions || lock} disabled={lock} onChange={setVersions} />
      <Switch label="Object lock" hint="Versions can be kept from deletion for a time. It cannot be turned off later." checked={lock} onChange={setLock} />
      <Switch label="Everybody may read" checked={open} onChange={setOpen} />
      {whoami.value?.admin && <Switch label="An access key of its own" hint="It may read and write here, and nothing else: for an application." checked={keyed} onChange={setKeyed} />}
      <Field label="Encryption">
        <select value={kind} onChange={(event) => setKind(event.currentTarget.value)}>
          <option value="">when a request asks for it</option>
          <option value="AES256">always, with the keyring's first key</option>
        </select>
      </Field>
    </Ask>
  );
}

/** Days that a deleted bucket can be brought back for; 0 where it is gone at once. */
async function daysKept(bucket: string): Promise<number> {
  const answer = await s3('GET', bucket, { query: { metadata: '' } });
  const { soft_delete: soft } = (await answer.json()) as { soft_delete?: { enabled: boolean; retention_days: number } };
  return soft?.enabled ? soft.retention_days : 0;
}

/** Deletes a bucket, after its name was typed; with what is in it, where that is asked for. */
export function DeleteBucket({ bucket, onDone, onClose }: { bucket: Bucket; onDone: () => void; onClose: () => void }) {
  const [typed, setTyped] = useState('');
  const [all, setAll] = useState(false);
  const [count, setCount] = useState(0);
  const kept = useLoad(() => daysKept(bucket.name), [bucket.name]);
  const run = async () => {
    if (all) await empty(bucket.name, setCount);
    await s3('DELETE', bucket.name);
    tell(`${bucket.name} is gone.`);
    onDone();
  };
  return (
    <Ask title={`Delete ${bucket.name}?`} action={all ? 'Delete it with everything in it' : 'Delete the empty bucket'} danger ready={typed === bucket.name} onDone={run} onClose={onClose}>
      <p>{kept.value ? `It is kept for ${plural(kept.value, 'day')}, and can be brought back from the list of buckets until then.` : 'The name becomes free for everybody.'} {(bucket.objects ?? 0) > 0 && `There are ${plural(bucket.objects ?? 0, 'object')} in it.`}</p>
      <Switch label="Delete all objects, versions and unfinished uploads first" checked={all} onChange={setAll} />
      <Field label={`Type ${bucket.name} to confirm`}><input value={typed} spellcheck={false} autocapitalize="none" onInput={(event) => setTyped(event.currentTarget.value)} /></Field>
      <p class="sub" role="status">{count > 0 && `${plural(count, 'version')} deleted`}</p>
    </Ask>
  );
}
