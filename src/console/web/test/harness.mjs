// What every step of the test in the browser uses: the browser, a page, and questions to it.
//   GODWIT_CONSOLE, GODWIT_KEY, GODWIT_SECRET: where it is and who signs in; GODWIT_ENDPOINT: S3.
//   GODWIT_SHOTS: a folder for screenshots; with GODWIT_SHOTS_ALL of every page, narrow and dark too.
//   GODWIT_CONSOLE_DIST: the page from there, not from the binary.
//   GODWIT_ONLY: only steps whose name has this in it, or one of these with | between them (those that
//   they need are up to you).
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

export const { GODWIT_CONSOLE: origin, GODWIT_KEY: key, GODWIT_SECRET: secret, GODWIT_ENDPOINT: endpoint, GODWIT_SHOTS: shots, GODWIT_CONSOLE_DIST: dist } = process.env;
const executablePath = process.env.GODWIT_CHROMIUM ?? '/usr/bin/chromium';
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const scratch = join(tmpdir(), `godwit-console-${process.pid}`);
mkdirSync(scratch, { recursive: true });
if (shots) mkdirSync(shots, { recursive: true });

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'];
export const browser = await chromium.launch({ executablePath, args });
export const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light', reducedMotion: 'reduce', acceptDownloads: true });
export const page = await context.newPage();
page.setDefaultTimeout(30_000);

// Whatever is asked of another host, and whatever the browser complains of, fails the run.
export const strangers = [];
export const complaints = [];
page.on('request', (request) => {
  if (!/^(blob|data):/.test(request.url()) && !request.url().startsWith(`${origin}/`)) strangers.push(request.url());
});
page.on('console', (message) => message.type() === 'error' && !/Failed to load resource/.test(message.text()) && complaints.push(message.text()));
page.on('pageerror', (error) => complaints.push(String(error)));
const page_file = (url) => /^\/(app\.(js|css))?$/.test(url.pathname);
const from_dist = async (route) => {
  const name = new URL(route.request().url()).pathname.slice(1) || 'index.html';
  const response = await route.fetch();
  await route.fulfill({ response, body: readFileSync(join(dist, name)) });
};
/** Another session of the browser; its pages are those of GODWIT_CONSOLE_DIST as well. */
export async function another() {
  const other = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  if (dist) await other.route(page_file, from_dist);
  return other;
}
if (dist) await context.route(page_file, from_dist);

let passed = 0;
let failed = 0;
const only = (process.env.GODWIT_ONLY ?? '').split('|');
export async function step(name, work) {
  if (!only.some((part) => name.includes(part))) return;
  const began = Date.now();
  try {
    await work();
    passed += 1;
    console.log(`ok ${name} (${Date.now() - began} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}: ${error.stack ?? error}`);
    if (shots) await page.screenshot({ path: join(shots, `failed-${failed}.png`) }).catch(() => undefined);
    await page.keyboard.press('Escape').catch(() => undefined);
  }
}

export function must(condition, why) {
  if (!condition) throw new Error(why);
}

/** Asks until it is so, for at most 40 s. */
export async function eventually(what, ask) {
  const until = Date.now() + 40_000;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > until) throw new Error(`never: ${what}`);
    await page.waitForTimeout(100);
  }
}

/** No violation of any rule of axe, in what is shown now. */
export async function accessible(what) {
  // It stays in a page until that is loaded anew.
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const text = found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.html.slice(0, 160)} ${node.any?.[0]?.message ?? ''}`).join('\n    ')}`);
  must(text.length === 0, `axe on ${what}:\n  ${text.join('\n  ')}`);
}

export async function shot(name, options = {}) {
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`), ...options });
}

export const go = (hash) => page.goto(`${origin}/#/${hash}`);
export const button = (name, exact = true) => page.getByRole('button', { name, exact });
export const dialog = () => page.getByRole('dialog');
export const tell = (text) => page.getByRole('status').filter({ hasText: text }).first().waitFor();
export const closed = () => dialog().waitFor({ state: 'detached' });

/** A request to the console's own origin as the page makes it. */
export const ask = (method, path, { headers = {}, body } = {}) =>
  page.evaluate(async ([method, path, headers, body]) => {
    const { token } = await (await fetch('api/session')).json();
    const answer = await fetch(path, { method, headers: { 'x-godwit-console': token, ...headers }, ...(body === undefined ? {} : { body }) });
    return { status: answer.status, text: await answer.text(), headers: Object.fromEntries(answer.headers) };
  }, [method, path, headers, body]);

export const file = (name, bytes, fill = 7) => {
  const path = join(scratch, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, typeof bytes === 'string' ? bytes : Buffer.alloc(bytes, fill));
  return path;
};

/** What a bucket's JSON says. */
export const about = async (bucket) => JSON.parse((await ask('GET', `api/s3/${bucket}?metadata`)).text);

/** A table of the page, by its name. */
export const table = (name) => page.getByRole('region', { name, exact: true });

/** A row of `within`, by the name that it begins with. */
export const row = (within, name) => within.getByRole('row').filter({ has: page.getByRole('rowheader', { name: new RegExp(`^${name}`) }) });

/** Makes many objects, not from the page: a browser has six connections to one host. */
export async function make(bucket, keys) {
  const [{ name, value }] = await context.cookies();
  const { token } = JSON.parse((await ask('GET', 'api/session')).text);
  const headers = { cookie: `${name}=${value}`, 'x-godwit-console': token };
  const left = keys.slice();
  const lane = async () => {
    for (let at = left.pop(); at; at = left.pop()) {
      // Refused for load, it is asked again.
      await eventually(`${at} is made`, async () => {
        const answer = await fetch(`${origin}/api/s3/${bucket}/${at}`, { method: 'PUT', headers, body: 'x' });
        await answer.arrayBuffer();
        return answer.ok;
      });
    }
  };
  await Promise.all(Array.from({ length: 12 }, lane));
}

/** Ends the browser, says how it went, and ends the program. */
export async function end() {
  await browser.close();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}
