import { signal } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import { path, place, reason, s3 } from '../api';
import { ago, bytes, moment, plural } from '../format';
import { copy, every, type Item, list, remove, rename, sum } from '../objects';
import { go, href, route } from '../router';
import { add, dropped, finished, picked } from '../upload';
import { Ask, attempt, Button, Empty, Field, Icon, Problem, tell } from '../ui';
import { buckets } from './buckets';
import { Details } from './details';
import { BringBack } from './kept';
import { Settings } from './settings';
import { Uploads } from './uploads';

/** The height of one row, which the window into a long list counts with. */
const ROW = 48;
const AHEAD = 12;

export function Objects() {
  const { bucket, rest: prefix, query } = route.value;
  const [items, setItems] = useState<Item[]>([]);
  const [next, setNext] = useState('');
  const [state, setState] = useState<'loading' | 'ready'>('loading');
  const [error, setError] = useState('');
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [asking, setAsking] = useState<'' | 'folder' | 'delete' | 'move' | 'copy' | 'back'>('');
  const [renamed, setRenamed] = useState<Item | null>(null);
  const [round, setRound] = useState(0);
  const [over, setOver] = useState(false);
  const generation = useRef(0);
  const again = () => setRound((at) => at + 1);
  const open = query.get('object');
  const show = (more: Record<string, string> = {}) => go(href('objects', bucket, prefix, more));

  useEffect(() => {
    const own = (generation.current += 1);
    setState('loading');
    list(bucket, prefix).then(
      (page) => {
        if (own !== generation.current) return;
        setItems(page.items);
        setNext(page.next);
        setError('');
        setState('ready');
      },
      (why) => {
        if (own !== generation.current) return;
        setItems([]);
        setNext('');
        setError(reason(why));
        setState('ready');
      },
    );
  }, [bucket, prefix, round, place.value, finished.value]);
  useEffect(() => setChosen(new Set()), [bucket, prefix]);

  const counted = () => attempt(sum(bucket, selected).then((all) => tell(`${plural(all.objects, 'object')}, ${bytes(all.bytes)}.`)));
  const busy = useRef(false);
  const more = async () => {
    if (!next || busy.current) return;
    busy.current = true;
    const own = generation.current;
    const page = await list(bucket, prefix, next).catch((why) => (tell(reason(why), true), null));
    busy.current = false;
    if (!page || own !== generation.current) return;
    setItems((old) => [...old, ...page.items]);
    setNext(page.next);
  };

  const selected = items.filter((item) => chosen.has(item.key));
  const choose = (key: string, on: boolean) => {
    const all = new Set(chosen);
    if (on) all.add(key);
    else all.delete(key);
    setChosen(all);
  };
  const take = (files: { key: string; file: File }[]) => add(bucket, files.map(({ key, file }) => ({ key: prefix + key, file })));
  const drop = async (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    if (event.dataTransfer) take(await dropped(event.dataTransfer));
  };

  return (
    <div class={over ? 'dropping' : ''} onDragOver={(event) => { event.preventDefault(); setOver(true); }}
      onDragLeave={(event) => event.currentTarget === event.target && setOver(false)} onDrop={drop}>
      <div class="head">
        <div>
          <h1>{bucket}</h1>
          <Crumbs bucket={bucket} prefix={prefix} />
        </div>
        <div class="actions">
          <Search key={prefix} bucket={bucket} prefix={prefix} />
          <Button icon="refresh" aria-label="Refresh" onClick={again} />
          <Button icon="settings" onClick={() => show({ settings: 'access' })}>Settings</Button>
          <Button icon="history" onClick={() => setAsking('back')}>Bring back</Button>
          <Button icon="folder" onClick={() => setAsking('folder')}>New folder</Button>
          <Pick label="Folder" folder onPick={take} />
          <Pick label="Upload" onPick={take} />
        </div>
      </div>
      {selected.length > 0 && (
        <div class="selection" role="region" aria-label="Selection">
          <strong>{plural(selected.length, 'item')} selected</strong>
          <Button icon="copy" onClick={() => setAsking('copy')}>Copy</Button>
          <Button icon="edit" onClick={() => setAsking('move')}>Move</Button>
          <Button icon="trash" onClick={() => setAsking('delete')}>Delete</Button>
          <Button onClick={counted}>Count</Button>
          <Button look="quiet" onClick={() => setChosen(new Set())}>Select none</Button>
        </div>
      )}
      <Problem text={error} />
      {state === 'ready' && !error && items.length === 0 && (
        <Empty icon="upload" title={prefix ? 'Nothing below this prefix' : 'This bucket is empty'}>
          <p>Drop files or whole folders here, or use Upload. Large files go up in parts, several at a time.</p>
        </Empty>
      )}
      {items.length > 0 && (
        <Rows items={items} more={more} complete={!next} prefix={prefix} bucket={bucket} chosen={chosen} choose={choose}
          chooseAll={(on) => setChosen(new Set(on ? items.map((item) => item.key) : []))}
          open={(key) => show({ object: key })} rename={setRenamed} />
      )}
      {over && <div class="dropzone" aria-hidden="true">Drop to upload to {bucket}/{prefix}</div>}
      <Uploads />
      {asking === 'folder' && <NewFolder bucket={bucket} prefix={prefix} onDone={again} onClose={() => setAsking('')} />}
      {asking === 'back' && <BringBack bucket={bucket} prefix={prefix} onDone={again} onClose={() => setAsking('')} />}
      {asking === 'delete' && <Remove bucket={bucket} items={selected} onDone={() => { setChosen(new Set()); again(); }} onClose={() => setAsking('')} />}
      {(asking === 'copy' || asking === 'move') && (
        <Transfer move={asking === 'move'} bucket={bucket} prefix={prefix} items={selected}
          onDone={() => { setChosen(new Set()); again(); }} onClose={() => setAsking('')} />
      )}
      {renamed && <Rename bucket={bucket} item={renamed} onDone={again} onClose={() => setRenamed(null)} />}
      {open && <Details bucket={bucket} objectKey={open} tab={query.get('tab') ?? ''} onTab={(tab) => show({ object: open, tab })} onClose={() => show()} onChange={again} />}
      {query.has('settings') && <Settings bucket={bucket} tab={query.get('settings') ?? ''} onTab={(tab) => show({ settings: tab })} onClose={() => show()} />}
    </div>
  );
}

function Crumbs({ bucket, prefix }: { bucket: string; prefix: string }) {
  const parts = prefix.split('/').filter((part, at, all) => part || at < all.length - 1);
  return (
    <nav class="crumbs" aria-label="Where in the bucket">
      <a href={href('buckets')}>Buckets</a><span aria-hidden="true">/</span>
      <a href={href('objects', bucket)}>{bucket}</a>
      {parts.map((part, at) => {
        const to = `${parts.slice(0, at + 1).join('/')}/`;
        return <><span aria-hidden="true">/</span><a href={href('objects', bucket, to)} aria-current={to === prefix ? 'page' : undefined}>{part || '(empty)'}</a></>;
      })}
    </nav>
  );
}

/** Goes to a prefix that is typed; with thousands of keys that is how one is found. */
function Search({ bucket, prefix }: { bucket: string; prefix: string }) {
  return (
    <form role="search" onSubmit={(event) => {
      event.preventDefault();
      const input = event.currentTarget.elements.namedItem('prefix') as HTMLInputElement;
      go(href('objects', bucket, input.value));
    }}>
      <input name="prefix" type="search" placeholder="Prefix, then Enter" aria-label="Go to a prefix" defaultValue={prefix} spellcheck={false} />
    </form>
  );
}

function Pick({ label, folder, onPick }: { label: string; folder?: boolean; onPick: (files: { key: string; file: File }[]) => void }) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => { if (folder && input.current) input.current.webkitdirectory = true; }, [folder]);
  return (
    <>
      <Button icon="upload" {...(folder ? {} : { look: 'primary' as const })} onClick={() => input.current?.click()}>{label}</Button>
      <input ref={input} type="file" multiple hidden aria-label={folder ? 'A folder to upload' : 'Files to upload'} onChange={(event) => {
        const files = event.currentTarget.files;
        if (files) onPick(picked(files));
        event.currentTarget.value = '';
      }} />
    </>
  );
}

/** A window into the list: only the rows that are seen are in the page. */
function Rows({ items, more, complete, prefix, bucket, chosen, choose, chooseAll, open, rename }: {
  items: Item[];
  more: () => void;
  complete: boolean;
  prefix: string;
  bucket: string;
  chosen: ReadonlySet<string>;
  choose: (key: string, on: boolean) => void;
  chooseAll: (on: boolean) => void;
  open: (key: string) => void;
  rename: (item: Item) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const look = () => setHeight(element.clientHeight);
    look();
    const observer = new ResizeObserver(look);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const first = Math.max(0, Math.floor(top / ROW) - AHEAD);
  const last = Math.min(items.length, Math.ceil((top + height) / ROW) + AHEAD);
  useEffect(() => { if (last >= items.length && !complete) more(); }, [last, items.length, complete]);
  const all = chosen.size > 0 && chosen.size === items.length;
  return (
    <>
      <div class="window" ref={box} tabIndex={0} role="region" aria-label="Objects" onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
        <table class="list rows" aria-rowcount={complete ? items.length + 1 : -1}>
          <thead>
            <tr aria-rowindex={1}>
              <th class="check"><input type="checkbox" aria-label="Select all" checked={all} onChange={(event) => chooseAll(event.currentTarget.checked)} /></th>
              <th>Name</th><th class="num">Size</th><th class="when">Changed</th><th class="tools"><span class="hidden">Actions</span></th>
            </tr>
          </thead>
          <tbody>
            {first > 0 && <tr aria-hidden="true" style={{ height: `${first * ROW}px` }} />}
            {items.slice(first, last).map((item, at) => {
              const name = item.key.slice(prefix.length) || item.key;
              return (
                <tr key={item.key} aria-rowindex={first + at + 2}>
                  <td class="check"><input type="checkbox" aria-label={`Select ${name}`} checked={chosen.has(item.key)} onChange={(event) => choose(item.key, event.currentTarget.checked)} /></td>
                  <th scope="row">
                    {item.kind === 'folder'
                      ? <a class="name" href={href('objects', bucket, item.key)}><Icon name="folder" /><span>{name}</span></a>
                      : <button type="button" class="name" onClick={() => open(item.key)}><Icon name="file" /><span>{name}</span></button>}
                  </th>
                  <td class="num">{item.kind === 'object' && bytes(item.size)}</td>
                  <td class="when" title={item.modified && moment(item.modified)}>{item.modified && ago(item.modified)}</td>
                  <td class="tools">
                    {item.kind === 'object' && (
                      <>
                        <Button look="quiet" icon="edit" aria-label={`Rename ${name}`} onClick={() => rename(item)} />
                        <a class="button quiet bare" href={path(bucket, item.key, saved(item.key))} download={name} aria-label={`Download ${name}`}><Icon name="download" /></a>
                      </>
                    )}
                  </td>
                </tr>
              );
            })}
            {last < items.length && <tr aria-hidden="true" style={{ height: `${(items.length - last) * ROW}px` }} />}
          </tbody>
        </table>
      </div>
      <p class="sub" role="status">{complete ? plural(items.length, 'item') : `${plural(items.length, 'item')} so far; more come as you scroll`}</p>
    </>
  );
}

/** What makes the browser save an object under its own name. */
export function saved(key: string): Record<string, string> {
  const name = key.split('/').filter(Boolean).at(-1) ?? 'object';
  return { 'response-content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(name)}` };
}

function NewFolder({ bucket, prefix, onDone, onClose }: { bucket: string; prefix: string; onDone: () => void; onClose: () => void }) {
  const [name, setName] = useState('');
  return (
    <Ask title="New folder" action="Make it" ready={name !== ''} onClose={onClose} onDone={async () => {
      await s3('PUT', bucket, { key: `${prefix}${name.replace(/\/+$/, '')}/`, body: '' });
      onDone();
    }}>
      <Field label="Name" hint="S3 has no folders: this makes an empty object whose key ends in a slash.">
        <input value={name} autoFocus required onInput={(event) => setName(event.currentTarget.value)} />
      </Field>
    </Ask>
  );
}

const progress = signal('');

function Remove({ bucket, items, onDone, onClose }: { bucket: string; items: Item[]; onDone: () => void; onClose: () => void }) {
  const folders = items.filter((item) => item.kind === 'folder').length;
  const [typed, setTyped] = useState('');
  const first = items[0];
  useEffect(() => { progress.value = ''; }, []);
  return (
    <Ask title={`Delete ${plural(items.length, 'item')}?`} action={`Delete ${plural(items.length, 'item')}`} danger
      ready={folders === 0 || typed === 'delete'} onClose={onClose} onDone={async () => {
        await remove(bucket, items, (count) => (progress.value = `${plural(count, 'object')} deleted`));
        tell(progress.value);
        onDone();
      }}>
      <p>{items.length === 1 && first ? <code>{first.key}</code> : 'The objects that you selected'}{folders > 0 && ', with everything below the folders,'} will be deleted in all regions. Where the bucket keeps versions, they can be restored.</p>
      {folders > 0 && (
        <Field label="Type delete to confirm"><input value={typed} onInput={(event) => setTyped(event.currentTarget.value)} /></Field>
      )}
      <p role="status" class="sub">{progress.value}</p>
    </Ask>
  );
}

function Rename({ bucket, item, onDone, onClose }: { bucket: string; item: Item; onDone: () => void; onClose: () => void }) {
  const [to, setTo] = useState(item.key);
  return (
    <Ask title="Rename" action="Rename" ready={to !== '' && to !== item.key} onClose={onClose} onDone={async () => {
      await rename(bucket, item.key, to, item.size);
      tell('Renamed.');
      onDone();
    }}>
      <Field label="Key" hint="The whole key. Bytes stay where they are.">
        <input value={to} autoFocus spellcheck={false} onInput={(event) => setTo(event.currentTarget.value)} />
      </Field>
    </Ask>
  );
}

function Transfer({ move, bucket, prefix, items, onDone, onClose }: {
  move: boolean;
  bucket: string;
  prefix: string;
  items: Item[];
  onDone: () => void;
  onClose: () => void;
}) {
  const [target, setTarget] = useState(bucket);
  const [below, setBelow] = useState(prefix);
  const [names, setNames] = useState<string[]>([bucket]);
  useEffect(() => { buckets().then((all) => setNames(all.map((one) => one.name)), () => undefined); progress.value = ''; }, []);
  const verb = move ? 'Move' : 'Copy';
  const run = async () => {
    let count = 0;
    for await (const key of every(bucket, items)) {
      const to = below + key.slice(prefix.length);
      const head = await s3('HEAD', bucket, { key });
      const size = Number(head.headers.get('content-length') ?? 0);
      if (move && target === bucket) await rename(bucket, key, to, size);
      else await copy({ bucket, key, size }, target, to);
      if (move && target !== bucket) await s3('DELETE', bucket, { key });
      count += 1;
      progress.value = `${plural(count, 'object')} done`;
    }
    onDone();
  };
  return (
    <Ask title={`${verb} ${plural(items.length, 'item')}`} action={verb} ready={target !== bucket || below !== prefix} onClose={onClose}
      onDone={() => run().then(() => tell(`${verb}: ${progress.value}.`))}>
      <Field label="To bucket">
        <select value={target} onChange={(event) => setTarget(event.currentTarget.value)}>
          {names.map((name) => <option key={name}>{name}</option>)}
        </select>
      </Field>
      <Field label="Below prefix" hint="Ends in a slash where it is a folder.">
        <input value={below} spellcheck={false} onInput={(event) => setBelow(event.currentTarget.value)} />
      </Field>
      <p role="status" class="sub">{progress.value}</p>
    </Ask>
  );
}

