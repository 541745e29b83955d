// The address after the hash: which page, and what it shows.
import { computed, signal } from '@preact/signals';

/** `#/objects/photos/2024/?at=x` is `objects`, `['photos', '2024/']`, `{at: 'x'}`. */
export interface Route {
  readonly page: string;
  readonly bucket: string;
  /** What follows the bucket: a key or a prefix, decoded. */
  readonly rest: string;
  readonly query: URLSearchParams;
}

export function parse(hash: string): Route {
  const text = hash.replace(/^#\/?/, '');
  const mark = text.indexOf('?');
  const path = mark < 0 ? text : text.slice(0, mark);
  const query = new URLSearchParams(mark < 0 ? '' : text.slice(mark + 1));
  const [page = '', bucket = '', ...rest] = path.split('/').map(decode);
  return { page: page || 'buckets', bucket, rest: rest.join('/'), query };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a page. Slashes of keys stay readable. */
export function href(page: string, bucket = '', rest = '', query: Record<string, string> = {}): string {
  const escape = (text: string) => text.split('/').map(encodeURIComponent).join('/');
  const path = [page, bucket && encodeURIComponent(bucket)].filter(Boolean).join('/');
  const tail = rest && `/${escape(rest)}`;
  const search = new URLSearchParams(query).toString();
  return `#/${path}${tail}${search && `?${search}`}`;
}

const hash = signal(location.hash);
addEventListener('hashchange', () => (hash.value = location.hash));
export const route = computed(() => parse(hash.value));

export function go(to: string): void {
  location.hash = to;
}
