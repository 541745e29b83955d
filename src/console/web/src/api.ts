// What the page asks of its own origin: the session, S3 and the admin API.
import { signal } from '@preact/signals';
import * as xml from './xml';

export interface Session {
  access_key: string;
  token: string;
  endpoint: string;
  version: string;
}
export interface Whoami {
  access_key: string;
  account: string;
  admin: boolean;
  region: string;
}

/** Who is signed in; `undefined` until that is known. */
export const session = signal<Session | null | undefined>(undefined);
export const whoami = signal<Whoami | null>(null);
/** The place to ask from, where one endpoint stands for many regions; empty: the nearest. */
export const place = signal(sessionStorage.getItem('place') ?? '');
place.subscribe((value) => sessionStorage.setItem('place', value));

/** A refusal, in S3's words. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message || code);
  }
}

export function reason(error: unknown): string {
  if (error instanceof Refused) return error.message;
  if (error instanceof DOMException && error.name === 'AbortError') return 'Cancelled.';
  if (error instanceof TypeError) return 'The console does not answer. Is the node running?';
  return error instanceof Error ? error.message : String(error);
}

async function refusal(response: Response): Promise<Refused> {
  const text = await response.text();
  if (text.startsWith('{')) {
    const found = JSON.parse(text) as Record<string, string>;
    return new Refused(response.status, found['code'] ?? found['Code'] ?? '', found['message'] ?? found['Message'] ?? '');
  }
  if (text.startsWith('<')) {
    const root = xml.parse(text);
    return new Refused(response.status, xml.text(root, 'Code'), xml.text(root, 'Message'));
  }
  return new Refused(response.status, String(response.status), response.status === 404 ? 'Not found.' : response.statusText);
}

/** Headers that every request of a session has. */
export function own(headers: HeadersInit = {}, from = place.value): Headers {
  const all = new Headers(headers);
  if (session.value) all.set('x-godwit-console', session.value.token);
  if (from) all.set('x-godwit-client-region', from);
  return all;
}

async function ask(path: string, init: RequestInit = {}, from?: string): Promise<Response> {
  const response = await fetch(path, { ...init, headers: own(init.headers, from), cache: 'no-store' });
  if (response.ok) return response;
  const error = await refusal(response);
  const ended = error.status === 401 || error.code === 'InvalidAccessKeyId';
  if (ended && session.value) session.value = null;
  throw error;
}

export async function resume(): Promise<void> {
  try {
    const response = await fetch('api/session', { cache: 'no-store' });
    session.value = response.ok ? ((await response.json()) as Session) : null;
  } catch {
    session.value = null;
  }
  if (session.value) await introduce();
}

export async function signIn(accessKey: string, secret: string): Promise<void> {
  const key = new TextEncoder().encode(`${accessKey.trim()}:${secret.trim()}`);
  const authorization = `Basic ${btoa(String.fromCharCode(...key))}`;
  const response = await fetch('api/session', { method: 'POST', headers: { authorization } });
  if (!response.ok) {
    const error = await refusal(response);
    const wait = response.headers.get('retry-after');
    throw wait ? new Refused(error.status, error.code, `Too many attempts. Try again in ${wait} s.`) : error;
  }
  session.value = (await response.json()) as Session;
  await introduce();
}

async function introduce(): Promise<void> {
  whoami.value = await admin<Whoami>('whoami').catch(() => null);
}

export async function signOut(): Promise<void> {
  await ask('api/session', { method: 'DELETE' }).catch(() => undefined);
  session.value = null;
  whoami.value = null;
}

/** `GET`, `POST` ... of the admin API. */
export async function admin<T>(path: string, init: RequestInit = {}, from?: string): Promise<T> {
  return (await (await ask(`api/admin/${path}`, init, from)).json()) as T;
}

/** The path of an object or a bucket below the console's own origin. */
export function path(bucket: string, key = '', query: Record<string, string> = {}): string {
  const escape = (text: string) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  const search = Object.entries(query)
    .map(([name, value]) => (value === '' ? escape(name) : `${escape(name)}=${escape(value)}`))
    .join('&');
  const object = key && `/${key.split('/').map(escape).join('/')}`;
  return `api/s3/${escape(bucket)}${object}${search && `?${search}`}`;
}

export interface Call extends RequestInit {
  key?: string;
  query?: Record<string, string>;
  /** Ask from this place. */
  from?: string;
}

/** One S3 request. */
export function s3(method: string, bucket: string, call: Call = {}): Promise<Response> {
  const { key, query, from, ...init } = call;
  return ask(path(bucket, key, query), { ...init, method }, from);
}

/** A document that is asked for, or nothing where there is none. */
export async function document(bucket: string, query: Record<string, string>, key?: string): Promise<Element | null> {
  try {
    const call: Call = key === undefined ? { query } : { query, key };
    return xml.parse(await (await s3('GET', bucket, call)).text());
  } catch (error) {
    if (error instanceof Refused && error.status === 404 && error.code !== 'NoSuchBucket' && error.code !== 'NoSuchKey') return null;
    throw error;
  }
}

const XML = { 'content-type': 'application/xml' };

/** A document that is set. */
export async function put(bucket: string, query: Record<string, string>, body: string, key?: string): Promise<void> {
  const call: Call = { query, body, headers: XML };
  await s3('PUT', bucket, key === undefined ? call : { ...call, key });
}
