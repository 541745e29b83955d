import { useState } from 'preact/hooks';
import { admin, reason, session } from '../api';
import { ago, moment, plural } from '../format';
import { Ask, Button, Copyable, Dialog, Empty, Field, Problem, Switch, tell, useLoad } from '../ui';
import { buckets } from './buckets';

type Role = 'admin' | 'editor' | 'read-only';
interface Key {
  access_key: string;
  admin: boolean;
  roles: Record<string, Role>;
  policy: unknown;
  created_ms: number;
}
export interface NewKey extends Key {
  secret_key: string;
}

const path = (key: string) => `keys?access_key=${encodeURIComponent(key)}`;

/** The access keys of the account. */
export function Keys() {
  const load = useLoad(() => admin<{ keys: Key[] }>('keys'), []);
  const [editing, setEditing] = useState<Key | 'new' | null>(null);
  const [doomed, setDoomed] = useState<Key | null>(null);
  const [made, setMade] = useState<NewKey | null>(null);
  const [tokening, setTokening] = useState(false);
  const keys = [...(load.value?.keys ?? [])].sort((a, b) => b.created_ms - a.created_ms);
  return (
    <>
      <div class="head">
        <div>
          <h1>Access keys</h1>
          {load.value && <p class="sub">{plural(keys.length, 'key')} of this account, known in every region</p>}
        </div>
        <div class="actions">
          <Button onClick={() => setTokening(true)}>New token</Button>
          <Button look="primary" icon="plus" onClick={() => setEditing('new')}>New key</Button>
        </div>
      </div>
      <Problem text={load.error} />
      {load.value && keys.length === 0 && <Empty icon="key" title="No keys" />}
      {keys.length > 0 && (
        <table class="list">
          <thead><tr><th>Access key</th><th>May</th><th>Made</th><th class="tools"><span class="hidden">Actions</span></th></tr></thead>
          <tbody>
            {keys.map((key) => {
              const self = key.access_key === session.value?.access_key;
              return (
                <tr key={key.access_key}>
                  <th scope="row" class="mono">{key.access_key} {self && <span class="chip good">you</span>}</th>
                  <td data-label="May"><Scope of={key} /></td>
                  <td data-label="Made" title={moment(key.created_ms)}>{ago(key.created_ms)}</td>
                  <td class="tools">
                    <Button look="quiet" icon="edit" disabled={self} aria-label={`Change ${key.access_key}`} onClick={() => setEditing(key)} />
                    <Button look="quiet" icon="trash" disabled={self} aria-label={`Revoke ${key.access_key}`} onClick={() => setDoomed(key)} />
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
      {editing && <Edit of={editing === 'new' ? null : editing} onMade={setMade} onDone={load.again} onClose={() => setEditing(null)} />}
      {tokening && <NewToken onClose={() => setTokening(false)} />}
      {made && <Told of={made} onClose={() => setMade(null)} />}
      {doomed && (
        <Ask title="Revoke this key?" action="Revoke it for good" danger onClose={() => setDoomed(null)} onDone={async () => {
          await admin(path(doomed.access_key), { method: 'DELETE' });
          tell('The key is revoked in every region that hears of it.');
          load.again();
        }}>
          <p class="mono">{doomed.access_key}</p>
          <p>Whoever uses it is refused from now on. It cannot be brought back.</p>
        </Ask>
      )}
    </>
  );
}

function Scope({ of: key }: { of: Key }) {
  if (key.admin) return <span class="chip brand">everything of the account</span>;
  return (
    <span class="chips">
      {Object.entries(key.roles).map(([bucket, role]) => <span class="chip" key={bucket}>{bucket}: {role}</span>)}
      {key.policy !== null && <span class="chip warn">policy</span>}
    </span>
  );
}

const EXAMPLE = JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: ['s3:GetObject', 's3:ListBucket'], Resource: ['arn:aws:s3:::photos', 'arn:aws:s3:::photos/*'] }] }, null, 2);

function Edit({ of: key, onMade, onDone, onClose }: { of: Key | null; onMade: (key: NewKey) => void; onDone: () => void; onClose: () => void }) {
  const [all, setAll] = useState(key?.admin ?? false);
  const [roles, setRoles] = useState<Record<string, Role>>(key?.roles ?? {});
  const [policy, setPolicy] = useState(key?.policy ? JSON.stringify(key.policy, null, 2) : '');
  const known = useLoad(buckets, []);
  const names = [...new Set([...(known.value?.map((one) => one.name) ?? []), ...Object.keys(roles)])];
  const some = Object.keys(roles).length > 0 || policy.trim() !== '';
  const save = async () => {
    const body = JSON.stringify(all ? {} : { roles, policy: policy.trim() ? (JSON.parse(policy) as unknown) : null });
    const headers = { 'content-type': 'application/json' };
    if (key) await admin(path(key.access_key), { method: 'PUT', body, headers });
    else onMade(await admin<NewKey>('keys', { method: 'POST', body, headers }));
    onDone();
  };
  return (
    <Ask title={key ? `Change ${key.access_key}` : 'New access key'} action={key ? 'Save' : 'Make the key'} ready={all || some} onDone={save} onClose={onClose}>
      <fieldset>
        <legend>What it may do</legend>
        <label class="switch"><input type="radio" name="scope" checked={!all} onChange={() => setAll(false)} /><span>Only what is said here<small>Roles in buckets, and a policy besides.</small></span></label>
        <label class="switch"><input type="radio" name="scope" checked={all} onChange={() => setAll(true)} /><span>Everything of the account<small>All buckets, all keys, the map and the cluster.</small></span></label>
      </fieldset>
      {!all && (
        <>
          <fieldset class="roles">
            <legend>Roles</legend>
            {names.length === 0 && <p class="sub">There are no buckets yet.</p>}
            {names.map((name) => (
              <label key={name} class="role">
                <span>{name}</span>
                <select value={roles[name] ?? ''} onChange={(event) => {
                  const { [name]: _, ...rest } = roles;
                  const role = event.currentTarget.value as Role | '';
                  setRoles(role ? { ...rest, [name]: role } : rest);
                }}>
                  <option value="">none</option>
                  <option value="read-only">read-only</option>
                  <option value="editor">editor</option>
                  <option value="admin">admin</option>
                </select>
              </label>
            ))}
          </fieldset>
          <Field label="Policy" hint="JSON, as IAM attaches it to a user. Its denies win over roles.">
            <textarea class="code" rows={8} spellcheck={false} value={policy} onInput={(event) => setPolicy(event.currentTarget.value)} />
          </Field>
          {!policy && <Button look="quiet" onClick={() => setPolicy(EXAMPLE)}>Begin with an example</Button>}
        </>
      )}
    </Ask>
  );
}

/** A token of the admin API, for Prometheus and scripts. */
function NewToken({ onClose }: { onClose: () => void }) {
  const [days, setDays] = useState('30');
  const [looks, setLooks] = useState(true);
  const [made, setMade] = useState<{ token: string; expires_ms: number } | null>(null);
  const [error, setError] = useState('');
  const make = async () => {
    const body = JSON.stringify({ expires_in: Math.round(Number(days) * 86_400), read_only: looks });
    try {
      setMade(await admin('tokens', { method: 'POST', body }));
    } catch (why) {
      setError(reason(why));
    }
  };
  return (
    <Dialog title="A token of the admin API" onClose={onClose}>
      {made ? (
        <>
          <p>This is the only time that it is shown. It ends on {moment(made.expires_ms)}, or with your key.</p>
          <Field label="Token" hint="As Authorization: Bearer TOKEN, in place of a signature."><Copyable text={made.token} label="token" /></Field>
          <footer><Button look="primary" onClick={onClose}>I have kept it</Button></footer>
        </>
      ) : (
        <form class="stack" onSubmit={(event) => { event.preventDefault(); void make(); }}>
          <Field label="Days" hint="It may do what your key may, in the admin API."><input type="number" min="0.01" max="365" step="any" required value={days} onInput={(event) => setDays(event.currentTarget.value)} /></Field>
          <Switch label="It may only look" checked={looks} onChange={setLooks} />
          <Problem text={error} />
          <footer><Button onClick={onClose}>Cancel</Button><Button type="submit" look="primary">Make the token</Button></footer>
        </form>
      )}
    </Dialog>
  );
}

/** The one time that a secret is shown. */
export function Told({ of: key, onClose }: { of: NewKey; onClose: () => void }) {
  const endpoint = session.value!.endpoint;
  const shell = `export AWS_ENDPOINT_URL_S3=${endpoint} AWS_REGION=auto AWS_ACCESS_KEY_ID=${key.access_key} AWS_SECRET_ACCESS_KEY=${key.secret_key}`;
  return (
    <Dialog title="The new key" onClose={onClose}>
      <p>This is the only time that the secret is shown.</p>
      <Field label="Access key"><Copyable text={key.access_key} label="access key" /></Field>
      <Field label="Secret key"><Copyable text={key.secret_key} label="secret key" /></Field>
      <Field label="For a shell"><Copyable text={shell} label="shell line" /></Field>
      <footer><Button look="primary" onClick={onClose}>I have kept it</Button></footer>
    </Dialog>
  );
}
