// The cluster as the region that answers sees it, asked again while somebody looks.
import { effect, signal } from '@preact/signals';
import { admin, place, whoami } from './api';

export interface Region {
  code: string;
  city: string;
  lat: number;
  lon: number;
  state: 'here' | 'connected' | 'away';
  rtt_ms: number | null;
  behind: number;
  queued: number;
  voter: boolean;
}
/** Changes of the region that answers that another one has not applied. */
export interface Lag {
  bucket: string;
  region: string;
  changes: number;
  lag_ms: number;
}
export interface Status {
  version: string;
  region: string;
  regions: Region[];
  replication?: { below_copies: number; damaged: number; buckets: Lag[] };
}

/** `null` for keys that may not ask. */
export const status = signal<Status | null>(null);

export async function refresh(): Promise<void> {
  if (!whoami.value?.admin) {
    status.value = null;
    return;
  }
  status.value = await admin<Status>('status').catch(() => status.peek());
}

/** The regions of `godwit dev`, to play with; nothing of the kind elsewhere. */
export interface Wires {
  dev: boolean;
  emulated: boolean;
  cut: string[];
  down: { region: string; state: 'stopping' | 'stopped' | 'starting'; since_ms: number; why: string | null }[];
}

export const wires = signal<Wires | null>(null);
const REAL: Wires = { dev: false, emulated: false, cut: [], down: [] };

/** Asked again only where there is something to play with. */
export async function lookAtWires(): Promise<void> {
  if (!whoami.peek()?.admin || wires.peek()?.dev === false) return;
  wires.value = await admin<Wires>('dev').catch(() => wires.peek() ?? REAL);
}

/** Cuts a region off or joins it again, stops it or starts it. */
export async function play(code: string, what: 'cut' | 'join' | 'stop' | 'start'): Promise<void> {
  const path = what === 'join' ? 'cut' : what;
  const body = { region: code, ...(path === 'cut' ? { cut: what === 'cut' } : {}) };
  wires.value = await admin<Wires>(`dev/${path}`, { method: 'POST', body: JSON.stringify(body) });
}

effect(() => {
  void whoami.value;
  wires.value = null;
});
effect(() => {
  void place.value;
  if (whoami.value) void refresh();
});
setInterval(() => document.visibilityState === 'visible' && whoami.value && void refresh(), 5000);
