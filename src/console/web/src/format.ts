// Numbers and dates as people read them.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes(count: number): string {
  let at = 0;
  let value = count;
  while (value >= 1024 && at < UNITS.length - 1) {
    value /= 1024;
    at += 1;
  }
  const digits = at === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[at]}`;
}

export function count(value: number): string {
  return value.toLocaleString('en-GB');
}

export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  if (seconds < 3600) return `${Math.ceil(seconds / 60)} min`;
  if (seconds < 86_400 * 2) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** `12 s ago`, and the whole date after two days. */
export function ago(at: Date | number | string, now = Date.now()): string {
  const date = new Date(at);
  const seconds = (now - date.getTime()) / 1000;
  if (Number.isNaN(seconds)) return '–';
  if (seconds < 5) return 'just now';
  if (seconds < 86_400 * 2) return `${duration(seconds)} ago`;
  return day(date);
}

export function day(at: Date | number | string): string {
  return new Date(at).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });
}

export function moment(at: Date | number | string): string {
  return new Date(at).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
}

export function millis(value: number | null | undefined): string {
  return value === null || value === undefined ? '–' : `${value} ms`;
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}
