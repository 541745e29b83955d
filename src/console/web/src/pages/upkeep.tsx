// What an operator does to one node: checks and repair, its certificate, backups, and before it stops.
import { useState } from 'preact/hooks';
import { admin } from '../api';
import { ago, bytes, count, day, plural } from '../format';
import { looks, lookAround } from '../traffic';
import { Ask, attempt, Button, Field, Switch, tell, useEvery, useLoad } from '../ui';

/** Scrub and repair of each node: how far, what was found, and their switches. */
export function Upkeep({ codes }: { codes: readonly string[] }) {
  const all = looks.value;
  const turn = async (code: string, what: 'scrub' | 'repair', stopped: boolean) => {
    const verb = stopped ? 'start' : 'stop';
    await attempt(admin(`${what}/${verb}?region=${code}`, { method: 'POST' }), `${what} in ${code}: ${stopped ? 'started' : 'stopped'}.`);
    await lookAround();
  };
  return (
    <section>
      <h2>Scrub and repair</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Scrub and repair">
        <table class="list">
          <thead><tr><th>Node</th><th>Scrub reads what is held</th><th>Repair compares with others</th><th class="num">Damaged</th><th class="num">Too few copies</th><th class="tools"><span class="hidden">Actions</span></th></tr></thead>
          <tbody>
            {codes.map((code) => {
              const { scrub, repair } = all[code] ?? {};
              if (!scrub || !repair) return <tr key={code}><th scope="row">{code}</th><td data-label="Scrub" colSpan={5}>cannot be reached</td></tr>;
              return (
                <tr key={code}>
                  <th scope="row">{code}</th>
                  <td data-label="Scrub">{scrub.stopped ? 'stopped' : scrub.phase === 'resting' ? `resting${scrub.finished_ms ? `, done ${ago(scrub.finished_ms)}` : ''}` : <><meter aria-label={`Scrub of ${code}`} min={0} max={Math.max(1, scrub.bytes_total)} value={scrub.bytes} /> {scrub.phase}</>}</td>
                  <td data-label="Repair">{repair.stopped ? 'stopped' : repair.phase === 'resting' ? `resting${repair.finished_ms ? `, done ${ago(repair.finished_ms)}` : ''}` : <><meter aria-label={`Repair of ${code}`} min={0} max={Math.max(1, repair.records_total)} value={repair.records} /> {repair.phase}</>}</td>
                  <td data-label="Damaged" class={`num ${scrub.damaged_total ? 'late' : ''}`}>{count(scrub.damaged_total)}</td>
                  <td data-label="Too few copies" class={`num ${repair.below_copies ? 'late' : ''}`}>{count(repair.below_copies)}</td>
                  <td class="tools">
                    <Button look="quiet" onClick={() => turn(code, 'scrub', scrub.stopped || scrub.phase === 'resting')}>{scrub.stopped || scrub.phase === 'resting' ? 'Scrub now' : 'Stop scrub'}</Button>
                    <Button look="quiet" onClick={() => turn(code, 'repair', repair.stopped || repair.phase === 'resting')}>{repair.stopped || repair.phase === 'resting' ? 'Repair now' : 'Stop repair'}</Button>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}

interface Certificate {
  until_ms: number;
  days_left: number;
  trouble: string | null;
}
interface Backup {
  state: 'none' | 'running' | 'done' | 'failed';
  restores: boolean;
  path: string;
  records: number;
  blobs: number;
  bytes: number;
  absent: number;
  why: string | null;
}
interface Health {
  maintenance: { ok: boolean; reasons: string[] };
}

/** Certificates and backups of all nodes, and whether one may be taken down. */
export function Maintenance({ codes }: { codes: readonly string[] }) {
  return (
    <section>
      <h2>Maintenance</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Maintenance of nodes">
        <table class="list">
          <thead><tr><th>Node</th><th>Certificate</th><th>Backup</th><th>May it be stopped?</th><th class="tools"><span class="hidden">Actions</span></th></tr></thead>
          <tbody>{codes.map((code) => <Row key={code} code={code} />)}</tbody>
        </table>
      </div>
    </section>
  );
}

function Row({ code }: { code: string }) {
  const of = (path: string) => `${path}?region=${code}`;
  const post = (path: string) => admin(of(path), { method: 'POST' });
  const certificate = useLoad(() => admin<Certificate>(of('certs')), [code]);
  const backup = useLoad(() => admin<Backup>(of('backup')), [code]);
  const [health, setHealth] = useState<Health | null>(null);
  const [asking, setAsking] = useState(false);
  const running = backup.value?.state === 'running';
  useEvery(running ? 1 : 20, () => { backup.again(); certificate.again(); }, [running]);
  const renew = async () => {
    await attempt(post('certs/renew'), `${code} has its next certificate.`);
    certificate.again();
  };
  const stop = async () => {
    await attempt(post('backup/stop'), `The backup of ${code} was ended.`);
    backup.again();
  };
  const look = () => attempt(admin<Health>(of('health')).then(setHealth));
  return (
    <tr>
      <th scope="row">{code}</th>
      <td data-label="Certificate">{certificate.value ? <Until of={certificate.value} /> : certificate.error || '…'}</td>
      <td data-label="Backup">{backup.value ? <Told of={backup.value} /> : backup.error || '…'}</td>
      <td data-label="May it be stopped?">
        {health && (health.maintenance.ok ? <span class="chip good">yes, now</span> : <><span class="chip warn">not now</span> <small>{health.maintenance.reasons.join('; ')}</small></>)}{' '}
        <Button look="quiet" icon="refresh" aria-label={`Ask whether ${code} may be stopped`} onClick={look} />
      </td>
      <td class="tools">
        <Button look="quiet" onClick={renew}>{`Renew certificate of ${code}`}</Button>
        {running
          ? <Button look="quiet" onClick={stop}>{`End backup of ${code}`}</Button>
          : <Button look="quiet" onClick={() => setAsking(true)}>{`Back ${code} up …`}</Button>}
        {asking && <BackUp code={code} onDone={backup.again} onClose={() => setAsking(false)} />}
      </td>
    </tr>
  );
}

function Until({ of: { until_ms, days_left, trouble } }: { of: Certificate }) {
  return <>{trouble ? <span class="chip bad">{trouble}</span> : <>until {day(until_ms)} <small>{plural(days_left, 'day')} left</small></>}</>;
}

function Told({ of }: { of: Backup }) {
  if (of.state === 'none') return <>none since it started</>;
  if (of.state === 'failed') return <span class="chip bad">{of.why}</span>;
  const state = of.state === 'running' ? 'under way' : of.restores ? 'brought back' : 'written';
  return (
    <>
      {state}: {plural(of.records, 'record')}, {bytes(of.bytes)} <small>{of.path}</small>
      {of.absent > 0 && <small> {count(of.absent)} bodies are in other regions only: make one there too</small>}
    </>
  );
}

function BackUp({ code, onDone, onClose }: { code: string; onDone: () => void; onClose: () => void }) {
  const [path, setPath] = useState('');
  const [restores, setRestores] = useState(false);
  const run = async () => {
    const verb = restores ? 'restore' : 'create';
    await admin(`backup/${verb}?region=${code}`, { method: 'POST', body: JSON.stringify({ path }) });
    tell(restores ? `${code} brings bytes back.` : `${code} writes its backup.`);
    onDone();
  };
  return (
    <Ask title={`Backup of ${code}`} action={restores ? 'Bring bytes back' : 'Write the backup'} ready={path.startsWith('/')} onDone={run} onClose={onClose}>
      <p>{restores ? 'Bytes that its records name and that it lost come back from the file; never a record.' : 'Its records and bytes in one file, while it runs. The file has the secrets of access keys: keep it like one.'}</p>
      <Field label="File" hint={`An absolute path on the machine of ${code}. A file that is there is not written over.`}>
        <input value={path} required spellcheck={false} autocapitalize="none" onInput={(event) => setPath(event.currentTarget.value)} />
      </Field>
      <Switch label="Bring bytes back from it instead" checked={restores} onChange={setRestores} />
    </Ask>
  );
}
