import { useEffect, useState } from 'preact/hooks';
import { document as fetched, path, put, reason, Refused, s3, session } from '../api';
import { status } from '../cluster';
import { ago, bytes, moment } from '../format';
import { copy, type Mark, tags as putTags, type Version, versions } from '../objects';
import { Button, Copyable, Dialog, Field, Icon, More, Problem, Tabs, attempt, useLoad, usePages } from '../ui';
import { href } from '../router';
import * as xml from '../xml';
import { Grants } from './grants';
import { saved } from './objects';
import { Pairs } from './pairs';
import { Whereabouts } from './whereabouts';

const TABS = [
  ['about', 'About'], ['where', 'Where it lives'], ['share', 'Share'], ['versions', 'Versions'],
  ['metadata', 'Metadata'], ['tags', 'Tags'], ['access', 'Access'],
] as const;
type Tab = (typeof TABS)[number][0];

interface Props {
  bucket: string;
  objectKey: string;
  tab: string;
  onTab: (tab: string) => void;
  onClose: () => void;
  onChange: () => void;
}

/** The drawer of one object. */
export function Details({ bucket, objectKey: key, tab, onTab, onClose, onChange }: Props) {
  const now: Tab = TABS.find(([id]) => id === tab)?.[0] ?? 'about';
  return (
    <Dialog drawer title={key.split('/').filter(Boolean).at(-1) ?? key} onClose={onClose}>
      <p class="mono sub">s3://{bucket}/{key}</p>
      <Tabs label="Object" tabs={TABS} value={now} onChange={onTab} />
      <div role="tabpanel" aria-label={TABS.find(([id]) => id === now)![1]} class="stack">
        {now === 'about' && <About bucket={bucket} objectKey={key} />}
        {now === 'where' && <Where bucket={bucket} objectKey={key} />}
        {now === 'share' && <Share bucket={bucket} objectKey={key} />}
        {now === 'versions' && <Versions bucket={bucket} objectKey={key} onChange={onChange} />}
        {now === 'metadata' && <Metadata bucket={bucket} objectKey={key} onChange={onChange} />}
        {now === 'tags' && <Tags bucket={bucket} objectKey={key} />}
        {now === 'access' && <Grants bucket={bucket} objectKey={key} />}
      </div>
    </Dialog>
  );
}

type Of = { bucket: string; objectKey: string };

function About({ bucket, objectKey: key }: Of) {
  const head = useLoad(() => s3('HEAD', bucket, { key }), [bucket, key]);
  const at = (name: string) => head.value?.headers.get(name) ?? '';
  if (head.error) return <Problem text={head.error === 'Not Found' ? 'There is no such object.' : head.error} />;
  if (!head.value) return <p class="sub">Loading …</p>;
  const size = Number(at('content-length'));
  const facts: [string, string][] = [
    ['Size', `${bytes(size)}${size > 1023 ? ` (${size.toLocaleString('en-GB')} bytes)` : ''}`],
    ['Type', at('content-type')],
    ['Changed', `${moment(at('last-modified'))} (${ago(at('last-modified'))})`],
    ['Entity tag', at('etag').replaceAll('"', '')],
    ['Version', at('x-amz-version-id')],
    ['Encryption', at('x-amz-server-side-encryption')],
    ['Cache', at('cache-control')],
    ['Lock', [at('x-amz-object-lock-mode'), at('x-amz-object-lock-retain-until-date')].filter(Boolean).join(' until ')],
    ['Legal hold', at('x-amz-object-lock-legal-hold')],
    ['Expires', at('x-amz-expiration')],
    ['Answered by', at('x-godwit-served-from')],
  ];
  return (
    <>
      <Preview bucket={bucket} objectKey={key} kind={at('content-type')} size={size} />
      <div class="actions">
        <a class="button primary" href={path(bucket, key, saved(key))} download={key.split('/').at(-1)}><Icon name="download" />Download</a>
      </div>
      <dl class="facts">
        {facts.filter(([, value]) => value).map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
      </dl>
    </>
  );
}

const TEXT_MAX = 64 << 10;

/** Pictures, sound and film as such; everything else that is text as text. Nothing of it is run. */
function Preview({ bucket, objectKey: key, kind, size }: Of & { kind: string; size: number }) {
  const from = path(bucket, key);
  const [text, setText] = useState<string | null>(null);
  const isText = /^text\/|json|xml|javascript|yaml|toml|x-sh/.test(kind) || /\.(md|txt|log|csv|rs|toml|ya?ml|json|html?|svg)$/i.test(key);
  const picture = /^image\/(png|jpeg|gif|webp|avif|bmp|svg\+xml|x-icon)/.test(kind);
  useEffect(() => {
    setText(null);
    if (picture || !isText || size === 0) return;
    s3('GET', bucket, { key, headers: { range: `bytes=0-${TEXT_MAX - 1}` } })
      .then((got) => got.text())
      .then(setText, (why) => setText(reason(why)));
  }, [bucket, key]);
  if (picture) return <img class="preview" src={from} alt={`What ${key} looks like`} />;
  if (/^video\//.test(kind)) return <video class="preview" src={from} controls preload="metadata" />;
  if (/^audio\//.test(kind)) return <audio class="preview" src={from} controls preload="metadata" />;
  if (text === null) return null;
  return (
    <pre class="preview" tabIndex={0} aria-label="The beginning of the object">
      {text}{size > TEXT_MAX && `\n… ${bytes(size - TEXT_MAX)} more`}
    </pre>
  );
}

function Where({ bucket, objectKey }: Of) {
  return (
    <>
      <Whereabouts bucket={bucket} objectKey={objectKey} />
      {status.value && <a class="button" href={href('map', bucket, objectKey)}><Icon name="map" />Watch it on the map</a>}
    </>
  );
}

const LIVES: readonly (readonly [number, string])[] = [[900, '15 minutes'], [3600, 'an hour'], [86_400, 'a day'], [604_800, 'a week']];

function Share({ bucket, objectKey: key }: Of) {
  const [seconds, setSeconds] = useState(3600);
  const [kind, setKind] = useState<'get' | 'put'>('get');
  const [url, setUrl] = useState('');
  const [error, setError] = useState('');
  const make = async (event: Event) => {
    event.preventDefault();
    setError('');
    try {
      const body = JSON.stringify({ bucket, key, key_id: session.value!.access_key, type: kind, expires_in: seconds });
      const answer = await s3('POST', '', { query: { func: 'presign' }, body, headers: { 'content-type': 'application/json' } });
      const made = new URL(((await answer.json()) as { url: string }).url);
      made.protocol = new URL(session.value!.endpoint).protocol;
      setUrl(made.href);
    } catch (why) {
      setError(reason(why));
    }
  };
  return (
    <form class="stack" onSubmit={make}>
      <p>Whoever has the link may do this one thing with this one object until it expires, as if they had your key.</p>
      <div class="row">
        <Field label="Allows">
          <select value={kind} onChange={(event) => setKind(event.currentTarget.value as 'get' | 'put')}>
            <option value="get">to download it</option>
            <option value="put">to upload over it</option>
          </select>
        </Field>
        <Field label="For">
          <select value={seconds} onChange={(event) => setSeconds(Number(event.currentTarget.value))}>
            {LIVES.map(([value, label]) => <option key={value} value={value}>{label}</option>)}
          </select>
        </Field>
        <Button type="submit" look="primary" icon="share">Make a link</Button>
      </div>
      <Problem text={error} />
      {url && <Copyable text={url} label="link" />}
    </form>
  );
}

function Versions({ bucket, objectKey: key, onChange }: Of & { onChange: () => void }) {
  const list = usePages<Version, Mark>((after) => versions(bucket, '', key, after), [bucket, key]);
  const act = async (work: Promise<unknown>, done: string) => {
    if (await attempt(work, done)) {
      list.again();
      onChange();
    }
  };
  const restore = (version: Version) =>
    version.marker
      ? s3('DELETE', bucket, { key, query: { versionId: version.id } })
      : copy({ bucket, key, version: version.id, size: version.size }, bucket, key);
  if (list.error) return <Problem text={list.error} />;
  return (
    <>
    <ul class="plain">
      {list.items?.map((version) => (
        <li key={version.id} class="version">
          <span>
            <strong>{version.marker ? 'Deleted' : bytes(version.size)}</strong>{' '}
            {version.latest && <span class="chip good">current</span>}
            <small class="mono">{moment(version.modified)} · {version.id}</small>
          </span>
          <span class="buttons">
            {!version.marker && <a class="button quiet bare" href={path(bucket, key, { versionId: version.id, ...saved(key) })} aria-label={`Download version ${version.id}`}><Icon name="download" /></a>}
            {(version.marker ? version.latest : !version.latest) && (
              <Button icon="history" onClick={() => act(restore(version), 'Restored.')}>{version.marker ? 'Undelete' : 'Restore'}</Button>
            )}
            <Button look="quiet" icon="trash" aria-label={`Delete version ${version.id} for good`}
              onClick={() => confirm('Delete this version for good?') && act(s3('DELETE', bucket, { key, query: { versionId: version.id } }), 'Deleted for good.')} />
          </span>
        </li>
      ))}
    </ul>
    <More shown={list.items?.length ?? 0} what="versions" more={list.more} further={list.further} />
    </>
  );
}

const FIELDS = ['content-type', 'cache-control', 'content-disposition', 'content-encoding', 'content-language'] as const;
const KINDS = /^x-amz-meta-/;

function Metadata({ bucket, objectKey: key, onChange }: Of & { onChange: () => void }) {
  const head = useLoad(() => s3('HEAD', bucket, { key }), [bucket, key]);
  const [fields, setFields] = useState<Record<string, string>>({});
  useEffect(() => setFields(Object.fromEntries(FIELDS.map((name) => [name, head.value?.headers.get(name) ?? '']))), [head.value]);
  if (!head.value) return head.error ? <Problem text={head.error} /> : <p class="sub">Loading …</p>;
  const pairs = [...head.value.headers].filter(([name]) => KINDS.test(name)).map(([name, value]) => [name.replace(KINDS, ''), value] as [string, string]);
  const save = async (all: [string, string][]) => {
    const headers: Record<string, string> = {
      'x-amz-copy-source': `/${path(bucket, key).replace(/^api\/s3\//, '')}`,
      'x-amz-metadata-directive': 'REPLACE',
    };
    for (const name of FIELDS) if (fields[name]) headers[name] = fields[name];
    for (const [name, value] of all) headers[`x-amz-meta-${name}`] = value;
    const access = await (await s3('GET', bucket, { key, query: { acl: '' } })).text();
    const answer = xml.parse(await (await s3('PUT', bucket, { key, headers })).text());
    if (answer.localName === 'Error') throw new Refused(500, xml.text(answer, 'Code'), xml.text(answer, 'Message'));
    // A copy is its writer's alone; whoever else was granted something keeps it.
    const granted = xml.all(xml.find(xml.parse(access), 'AccessControlList'), 'Grant').length > 1;
    if (granted) await put(bucket, { acl: '' }, access, key);
    head.again();
    onChange();
  };
  return (
    <>
      <p class="sub">A change writes the object again under its key: the same bytes, new headers.</p>
      {FIELDS.map((name) => (
        <Field key={name} label={name}><input value={fields[name] ?? ''} spellcheck={false} onInput={(event) => setFields({ ...fields, [name]: event.currentTarget.value })} /></Field>
      ))}
      <Pairs label="Metadata" pairs={pairs} onSave={save} />
    </>
  );
}

function Tags({ bucket, objectKey: key }: Of) {
  const load = useLoad(() => fetched(bucket, { tagging: '' }, key), [bucket, key]);
  if (load.error) return <Problem text={load.error} />;
  if (load.value === undefined) return <p class="sub">Loading …</p>;
  const pairs = xml.all(xml.find(load.value, 'TagSet'), 'Tag').map((tag) => [xml.text(tag, 'Key'), xml.text(tag, 'Value')] as [string, string]);
  return <Pairs label="Tags" pairs={pairs} onSave={async (all) => { await putTags(bucket, key, all); load.again(); }} />;
}

