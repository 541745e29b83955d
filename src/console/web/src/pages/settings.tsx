import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { document as fetched, put, reason, s3 } from '../api';
import { tags as putTags } from '../objects';
import { Button, Dialog, Field, Problem, Switch, Tabs, tell, useLoad } from '../ui';
import * as xml from '../xml';
import { Grants } from './grants';
import { Lifecycle } from './lifecycle';
import { Pairs } from './pairs';
import { Promises } from './promises';

const TABS = [
  ['access', 'Access'], ['policy', 'Policy'], ['cors', 'CORS'], ['lifecycle', 'Lifecycle'], ['versioning', 'Versioning'],
  ['encryption', 'Encryption'], ['location', 'Location and promises'], ['website', 'Website'], ['events', 'Notifications'], ['tags', 'Tags'],
] as const;
type Tab = (typeof TABS)[number][0];

/** The drawer of one bucket. */
export function Settings({ bucket, tab, onTab, onClose }: { bucket: string; tab: string; onTab: (tab: string) => void; onClose: () => void }) {
  const now: Tab = TABS.find(([id]) => id === tab)?.[0] ?? 'access';
  return (
    <Dialog drawer title={`Settings of ${bucket}`} onClose={onClose}>
      <Tabs label="Settings" tabs={TABS} value={now} onChange={onTab} />
      <div role="tabpanel" aria-label={TABS.find(([id]) => id === now)![1]} class="stack" key={now}>
        {now === 'access' && <><Grants bucket={bucket} /><Block bucket={bucket} /></>}
        {now === 'policy' && <Policy bucket={bucket} />}
        {now === 'cors' && <Cors bucket={bucket} />}
        {now === 'lifecycle' && <Lifecycle bucket={bucket} />}
        {now === 'versioning' && <Versioning bucket={bucket} />}
        {now === 'encryption' && <Encryption bucket={bucket} />}
        {now === 'location' && <Promises bucket={bucket} />}
        {now === 'website' && <Website bucket={bucket} />}
        {now === 'events' && <Events bucket={bucket} />}
        {now === 'tags' && <Tags bucket={bucket} />}
      </div>
    </Dialog>
  );
}

type Of = { bucket: string };

/** A form that saves, and where it can be, takes away. */
export function Form({ children, onSave, onRemove, save = 'Save' }: {
  children: ComponentChildren;
  onSave: () => Promise<void>;
  onRemove?: (() => Promise<void>) | undefined;
  save?: string;
}) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const run = async (work: () => Promise<void>, done: string) => {
    setBusy(true);
    setError('');
    try {
      await work();
      tell(done);
    } catch (why) {
      setError(reason(why));
    }
    setBusy(false);
  };
  return (
    <form class="stack" onSubmit={(event) => { event.preventDefault(); void run(onSave, 'Saved.'); }}>
      {children}
      <Problem text={error} />
      <div class="actions">
        <Button type="submit" look="primary" busy={busy}>{save}</Button>
        {onRemove && <Button icon="trash" busy={busy} onClick={() => run(onRemove, 'Removed.')}>Remove</Button>}
      </div>
    </form>
  );
}

const BLOCKS: readonly (readonly [string, string])[] = [
  ['BlockPublicAcls', 'Refuse new public lists'],
  ['IgnorePublicAcls', 'Ignore public lists'],
  ['BlockPublicPolicy', 'Refuse new public policies'],
  ['RestrictPublicBuckets', 'Ignore public policies'],
];

function Block({ bucket }: Of) {
  const load = useLoad(() => fetched(bucket, { publicAccessBlock: '' }), [bucket]);
  const [set, setSet] = useState<Record<string, boolean>>({});
  useEffect(() => setSet(Object.fromEntries(BLOCKS.map(([name]) => [name, xml.text(load.value ?? null, name) === 'true']))), [load.value]);
  if (load.error) return <Problem text={load.error} />;
  if (load.value === undefined) return <p class="sub">Loading …</p>;
  return (
    <fieldset>
      <legend>Public access</legend>
      <Form save="Save public access" onSave={async () => { await put(bucket, { publicAccessBlock: '' }, xml.build('PublicAccessBlockConfiguration', set)); load.again(); }}>
        {BLOCKS.map(([name, label]) => <Switch key={name} label={label} checked={set[name] ?? false} onChange={(on) => setSet({ ...set, [name]: on })} />)}
      </Form>
    </fieldset>
  );
}

function example(bucket: string): string {
  const statement = { Sid: 'EverybodyReads', Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: `arn:aws:s3:::${bucket}/*` };
  return JSON.stringify({ Version: '2012-10-17', Statement: [statement] }, null, 2);
}

function Policy({ bucket }: Of) {
  const load = useLoad(async () => {
    const answer = await s3('GET', bucket, { query: { policy: '' } }).catch((error) => (error.code === 'NoSuchBucketPolicy' ? null : Promise.reject(error)));
    return answer ? answer.text() : '';
  }, [bucket]);
  const [text, setText] = useState('');
  useEffect(() => setText(load.value ? JSON.stringify(JSON.parse(load.value), null, 2) : ''), [load.value]);
  if (load.error) return <Problem text={load.error} />;
  if (load.value === undefined) return <p class="sub">Loading …</p>;
  return (
    <Form save="Save policy" onSave={async () => { JSON.parse(text); await s3('PUT', bucket, { query: { policy: '' }, body: text }); load.again(); }}
      onRemove={load.value ? async () => { await s3('DELETE', bucket, { query: { policy: '' } }); load.again(); } : undefined}>
      <Field label="Policy" hint="JSON as S3 has it. Principals are accounts; an explicit deny wins.">
        <textarea class="code" rows={16} spellcheck={false} value={text} onInput={(event) => setText(event.currentTarget.value)} />
      </Field>
      {!text && <Button onClick={() => setText(example(bucket))}>Begin with an example</Button>}
    </Form>
  );
}

interface Rule {
  origins: string;
  methods: string;
  headers: string;
  expose: string;
  age: string;
}
const EMPTY: Rule = { origins: '*', methods: 'GET, HEAD', headers: '*', expose: 'ETag', age: '3600' };
const words = (text: string) => text.split(/[\s,]+/).filter(Boolean);

function Cors({ bucket }: Of) {
  const load = useLoad(() => fetched(bucket, { cors: '' }), [bucket]);
  const [rules, setRules] = useState<Rule[]>([]);
  useEffect(() => {
    const list = (rule: Element, name: string) => xml.all(rule, name).map((one) => one.textContent).join(', ');
    setRules(xml.all(load.value ?? null, 'CORSRule').map((rule) => ({
      origins: list(rule, 'AllowedOrigin'), methods: list(rule, 'AllowedMethod'), headers: list(rule, 'AllowedHeader'),
      expose: list(rule, 'ExposeHeader'), age: xml.text(rule, 'MaxAgeSeconds'),
    })));
  }, [load.value]);
  const change = (at: number, part: keyof Rule, value: string) => setRules(rules.map((rule, i) => (i === at ? { ...rule, [part]: value } : rule)));
  const body = () => xml.build('CORSConfiguration', {
    CORSRule: rules.map((rule) => ({
      AllowedOrigin: words(rule.origins), AllowedMethod: words(rule.methods.toUpperCase()), AllowedHeader: words(rule.headers),
      ExposeHeader: words(rule.expose), MaxAgeSeconds: rule.age || undefined,
    })) as unknown as xml.Tree[],
  });
  const clear = () => s3('DELETE', bucket, { query: { cors: '' } });
  if (load.error) return <Problem text={load.error} />;
  if (load.value === undefined) return <p class="sub">Loading …</p>;
  return (
    <Form save="Save rules" onSave={async () => { await (rules.length ? put(bucket, { cors: '' }, body()) : clear()); load.again(); }}>
      <p>Which pages of other origins may use this bucket from a browser.</p>
      {rules.map((rule, at) => (
        <fieldset key={at}>
          <legend>Rule {at + 1}</legend>
          <Field label="Origins"><input value={rule.origins} required onInput={(e) => change(at, 'origins', e.currentTarget.value)} /></Field>
          <div class="row">
            <Field label="Methods"><input value={rule.methods} required onInput={(e) => change(at, 'methods', e.currentTarget.value)} /></Field>
            <Field label="Remembered, seconds"><input type="number" min="0" value={rule.age} onInput={(e) => change(at, 'age', e.currentTarget.value)} /></Field>
          </div>
          <div class="row">
            <Field label="Request headers"><input value={rule.headers} onInput={(e) => change(at, 'headers', e.currentTarget.value)} /></Field>
            <Field label="Exposed headers"><input value={rule.expose} onInput={(e) => change(at, 'expose', e.currentTarget.value)} /></Field>
          </div>
          <Button look="quiet" icon="trash" onClick={() => setRules(rules.filter((_, i) => i !== at))}>Take rule {at + 1} away</Button>
        </fieldset>
      ))}
      <Button icon="plus" onClick={() => setRules([...rules, EMPTY])}>Add a rule</Button>
    </Form>
  );
}

function Versioning({ bucket }: Of) {
  const load = useLoad(() => fetched(bucket, { versioning: '' }), [bucket]);
  const lock = useLoad(() => fetched(bucket, { 'object-lock': '' }), [bucket]);
  const state = xml.text(load.value ?? null, 'Status');
  const set = (Status: string) => async () => { await put(bucket, { versioning: '' }, xml.build('VersioningConfiguration', { Status })); load.again(); };
  if (load.error) return <Problem text={load.error} />;
  if (load.value === undefined) return <p class="sub">Loading …</p>;
  const locked = xml.text(lock.value ?? null, 'ObjectLockEnabled') === 'Enabled';
  return (
    <>
      <p>
        <span class={`chip ${state === 'Enabled' ? 'good' : ''}`}>{state === 'Enabled' ? 'on' : state === 'Suspended' ? 'suspended' : 'off'}</span>{' '}
        {state === 'Enabled' ? 'Every write and deletion keeps what was there before.' : 'A write takes the place of what was there.'}
      </p>
      {!locked && <Form save={state === 'Enabled' ? 'Suspend versioning' : 'Turn versioning on'} onSave={set(state === 'Enabled' ? 'Suspended' : 'Enabled')}>{null}</Form>}
      {locked && <Lock bucket={bucket} found={lock.value ?? null} again={lock.again} />}
    </>
  );
}

function Lock({ bucket, found, again }: Of & { found: Element | null; again: () => void }) {
  const [mode, setMode] = useState(xml.text(found, 'Rule/DefaultRetention/Mode'));
  const [days, setDays] = useState(xml.text(found, 'Rule/DefaultRetention/Days') || '30');
  const body = () => xml.build('ObjectLockConfiguration', {
    ObjectLockEnabled: 'Enabled', Rule: mode ? { DefaultRetention: { Mode: mode, Days: days } } : undefined,
  });
  return (
    <fieldset>
      <legend>Object lock</legend>
      <Form save="Save lock" onSave={async () => { await put(bucket, { 'object-lock': '' }, body()); again(); }}>
        <div class="row">
          <Field label="New objects are kept">
            <select value={mode} onChange={(e) => setMode(e.currentTarget.value)}>
              <option value="">only when asked for</option>
              <option value="GOVERNANCE">unless somebody may bypass it</option>
              <option value="COMPLIANCE">whatever happens</option>
            </select>
          </Field>
          {mode && <Field label="Days"><input type="number" min="1" value={days} onInput={(e) => setDays(e.currentTarget.value)} /></Field>}
        </div>
      </Form>
    </fieldset>
  );
}

function Encryption({ bucket }: Of) {
  const load = useLoad(() => fetched(bucket, { encryption: '' }), [bucket]);
  const by = 'Rule/ApplyServerSideEncryptionByDefault';
  const [kind, setKind] = useState('');
  const [key, setKey] = useState('');
  useEffect(() => {
    setKind(xml.text(load.value ?? null, `${by}/SSEAlgorithm`));
    setKey(xml.text(load.value ?? null, `${by}/KMSMasterKeyID`));
  }, [load.value]);
  const save = async () => {
    await (kind ? put(bucket, { encryption: '' }, encryption(kind, key)) : s3('DELETE', bucket, { query: { encryption: '' } }));
    load.again();
  };
  if (load.error) return <Problem text={load.error} />;
  if (load.value === undefined) return <p class="sub">Loading …</p>;
  return (
    <Form save="Save encryption" onSave={save}>
      <Field label="New objects are encrypted" hint="With keys of the nodes' keyring, before they reach any disk.">
        <select value={kind} onChange={(e) => setKind(e.currentTarget.value)}>
          <option value="">only when asked for</option>
          <option value="AES256">with the keyring's first key (SSE-S3)</option>
          <option value="aws:kms">with a named key (SSE-KMS)</option>
        </select>
      </Field>
      {kind === 'aws:kms' && <Field label="Key" hint="A name of the keyring; empty for the first."><input value={key} onInput={(e) => setKey(e.currentTarget.value)} /></Field>}
    </Form>
  );
}

export function encryption(SSEAlgorithm: string, key = ''): string {
  const apply = { SSEAlgorithm, KMSMasterKeyID: key || undefined };
  return xml.build('ServerSideEncryptionConfiguration', { Rule: { ApplyServerSideEncryptionByDefault: apply } });
}

function Website({ bucket }: Of) {
  const load = useLoad(() => fetched(bucket, { website: '' }), [bucket]);
  const [index, setIndex] = useState('index.html');
  const [error, setError] = useState('');
  useEffect(() => {
    if (!load.value) return;
    setIndex(xml.text(load.value, 'IndexDocument/Suffix'));
    setError(xml.text(load.value, 'ErrorDocument/Key'));
  }, [load.value]);
  const body = () => xml.build('WebsiteConfiguration', { IndexDocument: { Suffix: index }, ErrorDocument: error ? { Key: error } : undefined });
  if (load.error) return <Problem text={load.error} />;
  if (load.value === undefined) return <p class="sub">Loading …</p>;
  return (
    <Form save="Save website" onSave={async () => { await put(bucket, { website: '' }, body()); load.again(); }}
      onRemove={load.value ? async () => { await s3('DELETE', bucket, { query: { website: '' } }); load.again(); } : undefined}>
      <p>The objects that everybody may read, as a site of their own at <code>{bucket}.web.localhost</code> or below the domains of the settings.</p>
      <Field label="Index document"><input value={index} required onInput={(e) => setIndex(e.currentTarget.value)} /></Field>
      <Field label="Error document" hint="Its key, where there is one."><input value={error} onInput={(e) => setError(e.currentTarget.value)} /></Field>
    </Form>
  );
}

interface Target {
  arn: string;
  events: string;
  prefix: string;
}

function Events({ bucket }: Of) {
  const load = useLoad(() => fetched(bucket, { notification: '' }), [bucket]);
  const [rows, setRows] = useState<Target[]>([]);
  useEffect(() => {
    setRows(xml.all(load.value ?? null, 'QueueConfiguration').map((one) => {
      const rules = xml.all(xml.find(one, 'Filter/S3Key'), 'FilterRule');
      const prefix = rules.find((rule) => xml.text(rule, 'Name').toLowerCase() === 'prefix');
      return { arn: xml.text(one, 'Queue'), events: xml.all(one, 'Event').map((event) => event.textContent).join(', '), prefix: xml.text(prefix ?? null, 'Value') };
    }));
  }, [load.value]);
  const change = (at: number, part: keyof Target, value: string) => setRows(rows.map((row, i) => (i === at ? { ...row, [part]: value } : row)));
  const body = () => xml.build('NotificationConfiguration', {
    QueueConfiguration: rows.map((row) => ({
      Queue: row.arn, Event: words(row.events),
      Filter: row.prefix ? { S3Key: { FilterRule: { Name: 'prefix', Value: row.prefix } } } : undefined,
    })) as unknown as xml.Tree[],
  });
  if (load.error) return <Problem text={load.error} />;
  if (load.value === undefined) return <p class="sub">Loading …</p>;
  return (
    <Form save="Save notifications" onSave={async () => { await put(bucket, { notification: '' }, body()); load.again(); }}>
      <p>Events go to webhooks of the node's settings, at least once each.</p>
      {rows.map((row, at) => (
        <fieldset key={at}>
          <legend>Destination {at + 1}</legend>
          <Field label="Webhook" hint="arn:godwit:sqs::NAME:webhook, NAME as in the settings."><input value={row.arn} required spellcheck={false} onInput={(e) => change(at, 'arn', e.currentTarget.value)} /></Field>
          <div class="row">
            <Field label="Events"><input value={row.events} required spellcheck={false} onInput={(e) => change(at, 'events', e.currentTarget.value)} /></Field>
            <Field label="Only below prefix"><input value={row.prefix} spellcheck={false} onInput={(e) => change(at, 'prefix', e.currentTarget.value)} /></Field>
          </div>
          <Button look="quiet" icon="trash" onClick={() => setRows(rows.filter((_, i) => i !== at))}>Take destination {at + 1} away</Button>
        </fieldset>
      ))}
      <Button icon="plus" onClick={() => setRows([...rows, { arn: 'arn:godwit:sqs::NAME:webhook', events: 's3:ObjectCreated:*, s3:ObjectRemoved:*', prefix: '' }])}>Add a destination</Button>
    </Form>
  );
}

function Tags({ bucket }: Of) {
  const load = useLoad(() => fetched(bucket, { tagging: '' }), [bucket]);
  if (load.error) return <Problem text={load.error} />;
  if (load.value === undefined) return <p class="sub">Loading …</p>;
  const pairs = xml.all(xml.find(load.value, 'TagSet'), 'Tag').map((tag) => [xml.text(tag, 'Key'), xml.text(tag, 'Value')] as [string, string]);
  return <Pairs label="Tags" pairs={pairs} onSave={async (all) => { await putTags(bucket, undefined, all); load.again(); }} />;
}
