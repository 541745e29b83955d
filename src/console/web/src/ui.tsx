// Small parts that every page is made of. Native elements first.
import { signal } from '@preact/signals';
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { reason } from './api';

const ICONS = {
  bucket: 'M4 7h16l-1.600 11.200A2 2 0 0 1 16.400 20H7.600a2 2 0 0 1-2-1.800L4 7Zm0 0a8 3 0 0 1 16 0',
  map: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Zm-9 9h18M12 3c5 5.500 5 12.500 0 18M12 3c-5 5.500-5 12.500 0 18',
  key: 'M11.600 10H21v4h-2.500v2.500h-3V14h-3.900a4.200 4.200 0 1 1 0-4ZM7.800 12h.01',
  cluster: 'M5 5h14v5H5zM5 14h14v5H5zM8 7.500h.01M8 16.500h.01',
  folder: 'M3 7a2 2 0 0 1 2-2h4l2 2h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V7Z',
  file: 'M6 3h8l4 4v14H6V3Zm8 0v4h4',
  upload: 'M12 16V4m0 0L7.500 8.500M12 4l4.500 4.500M4 16v3a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-3',
  download: 'M12 4v12m0 0 4.500-4.500M12 16l-4.500-4.500M4 16v3a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-3',
  plus: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6 6 18',
  trash: 'M5 7h14M10 7V4h4v3m3 0-1 13H8L7 7m3 4v5m4-5v5',
  settings: 'M4 7h10m4 0h2M4 17h2m4 0h10M16 5v4M8 15v4',
  share: 'M10 14 20 4m0 0h-6m6 0v6M18 14v5a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1h5',
  copy: 'M9 9h10v11H9zM5 15V4h10',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8Zm0-5v2m0 14v2M3 12h2m14 0h2M5.600 5.600 7 7m10 10 1.400 1.400M5.600 18.400 7 17M17 7l1.400-1.400',
  moon: 'M20 14.500A8.500 8.500 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500Z',
  out: 'M15 12H4m0 0 4-4m-4 4 4 4M12 4h7v16h-7',
  pause: 'M8 5v14M16 5v14',
  play: 'M7 5l12 7-12 7V5Z',
  refresh: 'M20 11a8 8 0 1 0-2.300 6.300M20 5v6h-6',
  history: 'M4 12a8 8 0 1 1 2.300 5.700M4 18v-5h5M12 8v4l3 2',
  edit: 'M4 20h4L19 9l-4-4L4 16v4Z',
  pin: 'M12 21c4.500-5 7-8.400 7-11.500a7 7 0 1 0-14 0C5 12.600 7.500 16 12 21Zm0-9a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5Z',
  lock: 'M6 11h12v9H6zM9 11V8a3 3 0 0 1 6 0v3',
  eye: 'M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12Zm9.500 3a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z',
} as const;
export type IconName = keyof typeof ICONS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={ICONS[name]} />
    </svg>
  );
}

type ButtonProps = Omit<JSX.IntrinsicElements['button'], 'icon'> & {
  icon?: IconName;
  look?: 'primary' | 'danger' | 'quiet';
  busy?: boolean;
};

export function Button({ icon, look, busy, children, class: extra, ...rest }: ButtonProps) {
  const name = ['button', look, !children && 'bare', extra].filter(Boolean).join(' ');
  return (
    <button type="button" {...rest} class={name} disabled={busy || rest.disabled} aria-busy={busy}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

/** A label, its input and what helps to fill it. */
export function Field({ label, hint, children }: { label: string; hint?: ComponentChildren; children: ComponentChildren }) {
  return (
    <label class="field">
      <span class="label">{label}</span>
      {children}
      {hint && <span class="hint">{hint}</span>}
    </label>
  );
}

export function Switch({ label, hint, checked, onChange, disabled }: {
  label: string;
  hint?: string;
  checked: boolean;
  disabled?: boolean;
  onChange: (checked: boolean) => void;
}) {
  return (
    <label class="switch">
      <input type="checkbox" role="switch" checked={checked} disabled={disabled ?? false}
        onChange={(event) => onChange(event.currentTarget.checked)} />
      <span>
        {label}
        {hint && <small>{hint}</small>}
      </span>
    </label>
  );
}

/** A dialog in the middle, or a drawer at the side. */
export function Dialog({ title, drawer, wide, onClose, children }: {
  title: ComponentChildren;
  drawer?: boolean;
  wide?: boolean;
  onClose: () => void;
  children: ComponentChildren;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  const kind = [drawer ? 'drawer' : 'dialog', wide && 'wide'].filter(Boolean).join(' ');
  return (
    <dialog ref={ref} class={kind} aria-labelledby={id}
      onCancel={(event) => { event.preventDefault(); onClose(); }}
      onClick={(event) => event.target === ref.current && onClose()}>
      <div class="sheet">
        <header>
          <h2 id={id}>{title}</h2>
          <Button look="quiet" icon="close" aria-label="Close" onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

/** A form in a dialog that does one thing, and says why it could not. */
export function Ask({ title, action, danger, ready = true, onDone, onClose, children }: {
  title: string;
  action: string;
  danger?: boolean;
  ready?: boolean;
  onDone: () => Promise<void>;
  onClose: () => void;
  children: ComponentChildren;
}) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError('');
    try {
      await onDone();
      onClose();
    } catch (why) {
      setError(reason(why));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit}>
        {children}
        <Problem text={error} />
        <footer>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" look={danger ? 'danger' : 'primary'} busy={busy} disabled={!ready}>{action}</Button>
        </footer>
      </form>
    </Dialog>
  );
}

export function Problem({ text }: { text: string }) {
  return text ? <p class="problem" role="alert">{text}</p> : null;
}

export function Empty({ icon, title, children }: { icon: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <Icon name={icon} />
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Tabs<T extends string>({ tabs, value, onChange, label }: {
  tabs: readonly (readonly [T, string])[];
  value: T;
  label: string;
  onChange: (tab: T) => void;
}) {
  // Where there are more tabs than fit, the one that is shown is in sight.
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' }), [value]);
  const move = (event: KeyboardEvent, at: number) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(at + step + tabs.length) % tabs.length];
    if (!next) return;
    onChange(next[0]);
    (list.current?.children[tabs.indexOf(next)] as HTMLElement | undefined)?.focus();
  };
  return (
    <div ref={list} class="tabs" role="tablist" aria-label={label}>
      {tabs.map(([id, text], at) => (
        <button key={id} type="button" role="tab" aria-selected={id === value} tabIndex={id === value ? 0 : -1}
          onClick={() => onChange(id)} onKeyDown={(event) => move(event, at)}>{text}</button>
      ))}
    </div>
  );
}

/** Text that can be copied; where the browser has no clipboard (plain http), it can be selected. */
export function Copyable({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <span class="copyable">
      <input readOnly value={text} aria-label={label} onFocus={(event) => event.currentTarget.select()} />
      {'clipboard' in navigator && navigator.clipboard && (
        <Button icon="copy" onClick={copy} aria-label={`Copy ${label}`}>{done ? 'Copied' : 'Copy'}</Button>
      )}
    </span>
  );
}

interface Note {
  id: number;
  text: string;
  bad: boolean;
}
const notes = signal<Note[]>([]);
let lastNote = 0;

/** Tells what happened, for a moment. */
export function tell(text: string, bad = false): void {
  lastNote += 1;
  const id = lastNote;
  notes.value = [...notes.value.slice(-3), { id, text, bad }];
  setTimeout(() => (notes.value = notes.value.filter((note) => note.id !== id)), bad ? 9000 : 4000);
}

/** Does something that may fail, and tells how it went. */
export async function attempt(work: Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await work;
    if (done) tell(done);
    return true;
  } catch (error) {
    tell(reason(error), true);
    return false;
  }
}

export function Notes() {
  return (
    <div class="notes" role="status" aria-live="polite">
      {notes.value.map((note) => <p key={note.id} class={note.bad ? 'bad' : ''}>{note.text}</p>)}
    </div>
  );
}

/** Something that is fetched: what is there, or why not. */
export function useLoad<T>(load: () => Promise<T>, on: readonly unknown[]): { value: T | undefined; error: string; again: () => void } {
  const [state, setState] = useState<{ value?: T; error: string }>({ error: '' });
  const [round, setRound] = useState(0);
  useEffect(() => {
    let current = true;
    load().then(
      (value) => current && setState({ value, error: '' }),
      (error) => current && setState((old) => ({ ...old, error: reason(error) })),
    );
    return () => {
      current = false;
    };
  }, [...on, round]);
  return { value: state.value, error: state.error, again: () => setRound((at) => at + 1) };
}

export interface Paged<T, M> {
  items: T[];
  next?: M;
}

/** Pages that are loaded one after the other as somebody asks for more; again: as many as there were. */
export function usePages<T, M>(load: (after?: M) => Promise<Paged<T, M>>, on: readonly unknown[]) {
  const [state, setState] = useState<{ found?: Paged<T, M>; pages: number; error: string }>({ pages: 1, error: '' });
  const [round, setRound] = useState(0);
  const turn = useRef(0);
  const take = async (found: Paged<T, M>, pages: number, before: number) => {
    const own = turn.current;
    try {
      for (let taken = 0; taken < pages && (taken === 0 || found.next); taken += 1) {
        const { items, next } = await load(found.next);
        found = { items: [...found.items, ...items], ...(next ? { next } : {}) };
      }
      if (own === turn.current) setState({ found, pages: before + pages, error: '' });
    } catch (error) {
      if (own === turn.current) setState((old) => ({ ...old, error: reason(error) }));
    }
  };
  useEffect(() => {
    turn.current += 1;
    void take({ items: [] }, Math.max(1, state.pages), 0);
    return () => { turn.current += 1; };
  }, [...on, round]);
  return {
    items: state.found?.items,
    more: state.found?.next !== undefined,
    error: state.error,
    further: () => take(state.found ?? { items: [] }, 1, state.pages),
    again: () => setRound((at) => at + 1),
  };
}

/** Says how many are shown, and loads more of them. */
export function More({ shown, what, more, further }: { shown: number; what: string; more: boolean; further: () => Promise<void> }) {
  const [busy, setBusy] = useState(false);
  if (!more) return null;
  const load = async () => {
    setBusy(true);
    await further();
    setBusy(false);
  };
  return (
    <div class="actions more">
      <span class="sub" role="status">{shown.toLocaleString('en-GB')} {what} so far</span>
      <Button busy={busy} onClick={load}>Show more</Button>
    </div>
  );
}

/** Does something again and again while the page is looked at. */
export function useEvery(seconds: number, work: () => void, on: readonly unknown[] = []): void {
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === 'visible' && work(), seconds * 1000);
    return () => clearInterval(timer);
  }, [seconds, ...on]);
}
