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

effect(() => {
  void place.value;
  if (whoami.value) void refresh();
});
setInterval(() => document.visibilityState === 'visible' && whoami.value && void refresh(), 5000);
