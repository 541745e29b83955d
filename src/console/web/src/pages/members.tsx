// Who belongs to the cluster: regions that come, are drained and go.
import { useEffect, useState } from 'preact/hooks';
import { admin, reason } from '../api';
import { lookAtWires } from '../cluster';
import { ago, count } from '../format';
import { Ask, attempt, Button, Copyable, Dialog, Field, Problem, Switch, useEvery, useLoad } from '../ui';
import { Down, Play } from './play';

interface Member {
  code: string;
  city: string;
  state: 'joining' | 'active' | 'draining';
  voter: boolean;
  connected: boolean;
  address: string | null;
}
interface Regions {
  region: string;
  epoch: number;
  voters_change: boolean;
  change: { phase: string; rewritten: number; found: number } | null;
  regions: Member[];
  gone: { code: string; at_ms: number; lost: boolean }[];
}
interface Remaining {
  region: string;
  voter: boolean;
  copies: number;
  uploads: number;
  pending: number;
  changes: number;
}

const STATES = { joining: 'joins: fetches what there is', active: 'active', draining: 'drains: what it has moves away' };

const post = (path: string, body: unknown) => admin(`regions/${path}`, { method: 'POST', body: JSON.stringify(body) });

export function Members() {
  const load = useLoad(() => admin<Regions>('regions'), []);
  useEvery(3, () => { load.again(); void lookAtWires(); });
  useEffect(() => void lookAtWires(), []);
  const [adding, setAdding] = useState(false);
  const [doomed, setDoomed] = useState<Member | null>(null);
  const [recovering, setRecovering] = useState(false);
  const found = load.value;
  const away = found?.regions.filter((one) => !one.connected) ?? [];
  const voters = found?.regions.filter((one) => one.voter) ?? [];
  const majority = voters.filter((one) => one.connected).length * 2 > voters.length;
  const turn = async (member: Member) => {
    const verb = member.state === 'draining' ? 'undrain' : 'drain';
    await attempt(post(verb, { region: member.code }), verb === 'drain' ? `${member.code} drains.` : `${member.code} is active again.`);
    load.again();
  };
  return (
    <section>
      <div class="head">
        <div>
          <h2>Regions</h2>
          <p class="sub">{found ? `Electorate ${found.epoch}: ${found.regions.filter((one) => one.voter).map((one) => one.code).join(', ')} vote.` : 'Who belongs to the cluster.'}</p>
        </div>
        {found && <div class="actions"><Button icon="plus" onClick={() => setAdding(true)}>Add a region</Button></div>}
      </div>
      <Problem text={load.error} />
      {found?.voters_change && (
        <p role="status">
          <span class="chip">voters change</span>{' '}
          {found.change ? `${found.change.phase}: ${count(found.change.rewritten)} of ${count(found.change.found)} registers` : 'another node drives it'}
        </p>
      )}
      {found && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Members of the cluster">
          <table class="list">
            <thead><tr><th>Region</th><th>State</th><th>Votes</th><th>Still has</th><th class="tools"><span class="hidden">Actions</span></th></tr></thead>
            <tbody>
              {found.regions.map((member) => (
                <tr key={member.code}>
                  <th scope="row">{member.code} <small>{member.city}</small></th>
                  <td data-label="State"><span class={`chip ${member.connected ? (member.state === 'active' ? 'good' : '') : 'bad'}`}>{member.connected ? member.state : 'away'}</span> <small>{STATES[member.state]}</small> <Down code={member.code} /></td>
                  <td data-label="Votes">{member.voter ? 'yes' : 'no'}</td>
                  <td data-label="Still has">{member.state === 'draining' ? <Remains code={member.code} /> : '–'}</td>
                  <td class="tools">
                    {member.state !== 'joining' && <Button look="quiet" onClick={() => turn(member)}>{member.state === 'draining' ? `Undrain ${member.code}` : `Drain ${member.code}`}</Button>}
                    <Play code={member.code} />
                    <Button look="quiet" icon="trash" aria-label={`Remove ${member.code}`} onClick={() => setDoomed(member)} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {found && found.gone.length > 0 && <p class="sub">Removed: {found.gone.map((one) => `${one.code} (${one.lost ? 'lost' : 'drained'}, ${ago(one.at_ms)})`).join(', ')}</p>}
      {found && !majority && (
        <div class="problem" role="alert">
          <p>Most voters are away: no names, keys or conditional writes until they are back.</p>
          <Button look="danger" onClick={() => setRecovering(true)}>They will never be back …</Button>
        </div>
      )}
      {recovering && <Recover lost={away.map((one) => one.code)} onDone={load.again} onClose={() => setRecovering(false)} />}
      {adding && <AddRegion onDone={load.again} onClose={() => setAdding(false)} />}
      {doomed && <Remove member={doomed} onDone={load.again} onClose={() => setDoomed(null)} />}
    </section>
  );
}

function Remains({ code }: { code: string }) {
  const load = useLoad(() => admin<Remaining>(`regions/remains?region=${code}`), [code]);
  useEvery(3, load.again);
  if (load.error) return <>{load.error}</>;
  if (!load.value) return <>…</>;
  const { copies, uploads, pending, changes, voter } = load.value;
  const left = [[copies, 'copies'], [uploads, 'parts'], [pending, 'writes under way'], [changes, 'changes that others lack']] as const;
  const said = left.filter(([number]) => number > 0).map(([number, what]) => `${count(number)} ${what}`);
  if (voter) said.push('a vote');
  return <>{said.length ? said.join(', ') : 'nothing: it can be removed'}</>;
}

function Remove({ member, onDone, onClose }: { member: Member; onDone: () => void; onClose: () => void }) {
  const [lost, setLost] = useState(!member.connected);
  const [typed, setTyped] = useState('');
  const run = async () => {
    await post('remove', { region: member.code, lost });
    onDone();
  };
  return (
    <Ask title={`Remove ${member.code}?`} action={lost ? 'Remove the lost region' : 'Remove the drained region'} danger ready={typed === member.code} onDone={run} onClose={onClose}>
      <p>Its node is turned away from then on. {lost ? 'What only it had is given up; copies that counted on it are made again at once.' : 'It must be drained first, so that nothing is lost.'}</p>
      <Switch label="It is gone for good and cannot be drained" checked={lost} onChange={setLost} />
      <Field label={`Type ${member.code} to confirm`}><input value={typed} spellcheck={false} autocapitalize="none" onInput={(event) => setTyped(event.currentTarget.value)} /></Field>
    </Ask>
  );
}

/** Goes on without most voters. */
function Recover({ lost, onDone, onClose }: { lost: readonly string[]; onDone: () => void; onClose: () => void }) {
  const [typed, setTyped] = useState('');
  const codes = lost.join(',');
  const run = async () => {
    await post('recover', { lost });
    onDone();
  };
  return (
    <Ask title="Go on without the lost regions?" action="They are lost for good" danger ready={typed === codes} onDone={run} onClose={onClose}>
      <p>The regions that are left decide alone from then on. What only the lost ones had is given up, and if one of them still runs somewhere, there are two clusters. Do it only when their disks are gone.</p>
      <Field label={`Type ${codes} to confirm`}><input value={typed} spellcheck={false} autocapitalize="none" onInput={(event) => setTyped(event.currentTarget.value)} /></Field>
    </Ask>
  );
}

const FIELDS = [
  ['code', 'Code', 'three letters, as fra'], ['city', 'City', ''], ['lat', 'Latitude', ''], ['lon', 'Longitude', ''],
  ['geography', 'Geography', 'as eu, na, as'], ['failure_domain', 'Failure domain', 'what fails together: a provider, a country'],
  ['address', 'Address of its mesh', 'HOST:PORT, where the settings of the others do not say it'],
] as const;

function AddRegion({ onDone, onClose }: { onDone: () => void; onClose: () => void }) {
  const [of, setOf] = useState<Record<string, string>>({});
  const [voter, setVoter] = useState(true);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const [token, setToken] = useState('');
  const add = async () => {
    setBusy(true);
    setError('');
    try {
      const body = { ...of, lat: Number(of['lat']), lon: Number(of['lon']), address: of['address'] || null, role: 'full', voter };
      const made = (await post('add', body)) as { token: string };
      setToken(made.token);
      onDone();
    } catch (why) {
      setError(reason(why));
    }
    setBusy(false);
  };
  if (token) {
    return (
      <Dialog title={`${of['code']} may join`} onClose={onClose}>
        <p>Start its node with this token as <code>GODWIT_TOKEN</code>. It is a secret, and shown this once.</p>
        <Field label="Join token"><Copyable text={token} label="join token" /></Field>
      </Dialog>
    );
  }
  return (
    <Dialog title="Add a region" onClose={onClose}>
      <form class="stack" onSubmit={(event) => { event.preventDefault(); void add(); }}>
        {FIELDS.map(([name, label, hint]) => (
          <Field key={name} label={label} hint={hint}>
            <input value={of[name] ?? ''} required={name !== 'address'} spellcheck={false} onInput={(event) => setOf({ ...of, [name]: event.currentTarget.value })} />
          </Field>
        ))}
        <Switch label="It may vote" checked={voter} onChange={setVoter} />
        <Problem text={error} />
        <div class="actions"><Button type="submit" look="primary" busy={busy}>Make its token</Button></div>
      </form>
    </Dialog>
  );
}
