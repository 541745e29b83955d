// The console in a real browser against a running `godwit dev`. tests/console.rs starts both:
//   GODWIT_CONSOLE, GODWIT_KEY, GODWIT_SECRET: where it is and who signs in; GODWIT_ENDPOINT: S3.
//   GODWIT_SHOTS: a folder for screenshots. GODWIT_CONSOLE_DIST: the page from there, not from the binary.
//   GODWIT_ONLY: only steps whose name has this in it (and those that they need are up to you).
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const { GODWIT_CONSOLE: origin, GODWIT_KEY: key, GODWIT_SECRET: secret, GODWIT_SHOTS: shots, GODWIT_CONSOLE_DIST: dist } = process.env;
const executablePath = process.env.GODWIT_CHROMIUM ?? '/usr/bin/chromium';
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const scratch = join(tmpdir(), `godwit-console-${process.pid}`);
mkdirSync(scratch, { recursive: true });
if (shots) mkdirSync(shots, { recursive: true });

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'];
const browser = await chromium.launch({ executablePath, args });
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light', reducedMotion: 'reduce', acceptDownloads: true });
const page = await context.newPage();
page.setDefaultTimeout(30_000);

// Whatever is asked of another host, and whatever the browser complains of, fails the run.
const strangers = [];
const complaints = [];
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
if (dist) await context.route(page_file, from_dist);

let passed = 0;
let failed = 0;
const only = process.env.GODWIT_ONLY ?? '';
async function step(name, work) {
  if (!name.includes(only)) return;
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

function must(condition, why) {
  if (!condition) throw new Error(why);
}

/** Asks until it is so, for at most 40 s. */
async function eventually(what, ask) {
  const until = Date.now() + 40_000;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > until) throw new Error(`never: ${what}`);
    await page.waitForTimeout(100);
  }
}

/** No violation of any rule of axe, in what is shown now. */
async function accessible(what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const text = found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.html.slice(0, 160)} ${node.any?.[0]?.message ?? ''}`).join('\n    ')}`);
  must(text.length === 0, `axe on ${what}:\n  ${text.join('\n  ')}`);
}

async function shot(name, options = {}) {
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`), ...options });
}

const go = (hash) => page.goto(`${origin}/#/${hash}`);
const button = (name, exact = true) => page.getByRole('button', { name, exact });
const dialog = () => page.getByRole('dialog');
const tell = (text) => page.getByRole('status').filter({ hasText: text }).first().waitFor();
const closed = () => dialog().waitFor({ state: 'detached' });

/** A request to the console's own origin as the page makes it. */
const ask = (method, path, { headers = {}, body } = {}) =>
  page.evaluate(async ([method, path, headers, body]) => {
    const { token } = await (await fetch('api/session')).json();
    const answer = await fetch(path, { method, headers: { 'x-godwit-console': token, ...headers }, ...(body === undefined ? {} : { body }) });
    return { status: answer.status, text: await answer.text(), headers: Object.fromEntries(answer.headers) };
  }, [method, path, headers, body]);

const file = (name, bytes, fill = 7) => {
  const path = join(scratch, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, typeof bytes === 'string' ? bytes : Buffer.alloc(bytes, fill));
  return path;
};

// ---------------------------------------------------------------- sign in

await step('a wrong secret is told, a right one signs in', async () => {
  await page.goto(origin);
  await page.getByLabel('Access key').fill(key);
  await page.getByLabel('Secret key').fill('not the secret');
  await accessible('the sign-in page');
  await shot('signin');
  await button('Sign in').click();
  await page.getByRole('alert').filter({ hasText: 'not right' }).waitFor();
  must((await page.getByLabel('Secret key').inputValue()) === '', 'the wrong secret is taken away');
});
await page.goto(origin);
await page.getByLabel('Access key').fill(key);
await page.getByLabel('Secret key').fill(secret);
await button('Sign in').click();
await page.getByRole('heading', { name: 'Buckets', level: 1 }).waitFor();

await step('the browser keeps no secret', async () => {
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  must(!kept.includes(secret) && !kept.includes('godwit-'), `kept: ${kept}`);
  const all = await context.cookies();
  must(all.length === 1 && all[0].httpOnly && all[0].sameSite === 'Strict', JSON.stringify(all));
  await page.reload();
  await page.getByRole('heading', { name: 'Buckets', level: 1 }).waitFor();
});

// ---------------------------------------------------------------- buckets

await step('an empty store says what to do', async () => {
  await page.getByText('No buckets yet').waitFor();
  await accessible('the empty list of buckets');
});

await step('a bucket is made with its options', async () => {
  await button('New bucket').click();
  await page.getByLabel('Name').fill('photos');
  await page.getByLabel('Keep versions').check();
  await page.getByLabel('Encryption').selectOption('AES256');
  await accessible('the new bucket');
  await shot('new-bucket');
  await button('Make the bucket').click();
  await page.getByRole('heading', { name: 'photos', level: 1 }).waitFor();
  must((await ask('GET', 'api/s3/photos?versioning')).text.includes('Enabled'), 'versions are kept');
  must((await ask('GET', 'api/s3/photos?encryption')).text.includes('AES256'), 'it is encrypted');
});

await step('a bucket is kept in the regions that were chosen', async () => {
  await go('buckets');
  await button('New bucket').click();
  await page.getByLabel('Name').fill('at-home');
  await page.getByLabel('Only in some regions').check();
  const first = dialog().getByRole('checkbox', { name: /fra/ });
  await first.check();
  await button('Make the bucket').click();
  await page.getByRole('heading', { name: 'at-home', level: 1 }).waitFor();
  must((await ask('GET', 'api/s3/at-home?location')).text.includes('>fra<'), 'its location is fra');
});

await step('a bucket goes only after its name was typed', async () => {
  await ask('PUT', 'api/s3/doomed');
  await ask('PUT', 'api/s3/doomed/key', { body: 'x' });
  await go('buckets');
  await button('Delete doomed').click();
  must(await button('Delete the empty bucket').isDisabled(), 'nothing was typed');
  await page.getByLabel('Type doomed to confirm').fill('doomed');
  await button('Delete the empty bucket').click();
  await page.getByRole('alert').filter({ hasText: 'not empty' }).waitFor();
  await page.getByLabel('Delete all objects').check();
  await accessible('deleting a bucket');
  await button('Delete it with everything in it').click();
  await closed();
  must((await ask('GET', 'api/s3/doomed')).status === 404, 'it is gone');
});

await step('a bucket with soft delete comes back after it was deleted', async () => {
  await ask('PUT', 'api/s3/kept', { headers: { 'x-tigris-soft-delete': '9' } });
  await go('buckets');
  await button('Delete kept').click();
  await dialog().getByText('It is kept for 9 days').waitFor();
  await page.getByLabel('Type kept to confirm').fill('kept');
  await button('Delete the empty bucket').click();
  await closed();
  await page.getByRole('heading', { name: 'Deleted buckets' }).waitFor();
  must((await ask('GET', 'api/s3/kept')).status === 404, 'it is gone');
  await accessible('deleted buckets');
  await button('Bring back kept').click();
  await page.getByRole('link', { name: 'kept', exact: true }).waitFor();
  must((await ask('GET', 'api/s3/kept')).status === 200, 'it is back');
  await ask('DELETE', 'api/s3/kept');
  await ask('DELETE', 'api/s3/kept', { headers: { 'x-tigris-soft-delete': 'true' } });
});

// ---------------------------------------------------------------- settings

const settings = async (tab) => {
  await go(`objects/photos?settings=${tab}`);
  await dialog().getByRole('tabpanel').waitFor();
};

await step('access: presets, grants, public access', async () => {
  await settings('access');
  await dialog().getByRole('cell', { name: 'full control' }).waitFor();
  await page.getByLabel('Quick access').selectOption('public-read');
  await dialog().getByRole('rowheader', { name: 'everybody', exact: true }).waitFor();
  await page.getByLabel('Account or group').fill('http://acs.amazonaws.com/groups/global/AuthenticatedUsers');
  await page.getByLabel('Permission').selectOption('WRITE');
  await button('Grant').click();
  await dialog().getByRole('rowheader', { name: 'everybody with a key' }).waitFor();
  await accessible('the access settings');
  await page.getByLabel('Quick access').selectOption('private');
  await eventually('one grant is left', async () => (await dialog().getByRole('row').count()) === 2);
  await page.getByLabel('Ignore public lists').check();
  await button('Save public access').click();
  await eventually('it is set', async () => (await ask('GET', 'api/s3/photos?publicAccessBlock')).text.includes('<IgnorePublicAcls>true'));
});

await step('policy: begun with an example, set, removed', async () => {
  await settings('policy');
  await button('Begin with an example').click();
  await button('Save policy').click();
  await button('Remove').waitFor();
  must((await ask('GET', 'api/s3/photos?policy')).text.includes('EverybodyReads'), 'it is set');
  await page.getByRole('textbox', { name: /^Policy/ }).fill('{"Statement": 1}');
  await button('Save policy').click();
  await dialog().getByRole('alert').waitFor();
  await accessible('the policy');
  await button('Remove').click();
  await button('Begin with an example').waitFor();
});

await step('CORS, lifecycle, website, notifications and tags are set by forms', async () => {
  await settings('cors');
  await button('Add a rule').click();
  await page.getByLabel('Origins').fill('https://example.com');
  await button('Save rules').click();
  await tell('Saved.');
  must((await ask('GET', 'api/s3/photos?cors')).text.includes('https://example.com'), 'CORS is set');
  await accessible('CORS');
  await settings('lifecycle');
  await button('Add a rule').click();
  await page.getByLabel('Only below prefix').fill('tmp/');
  await page.getByLabel('Objects go after, days').fill('7');
  await button('Save rules').click();
  await eventually('the rule is there', async () => (await ask('GET', 'api/s3/photos?lifecycle')).text.includes('<Days>7</Days>'));
  await accessible('lifecycle');
  await settings('website');
  await page.getByLabel('Index document').fill('home.html');
  await button('Save website').click();
  await button('Remove').waitFor();
  must((await ask('GET', 'api/s3/photos?website')).text.includes('home.html'), 'the website is set');
  await settings('events');
  await button('Add a destination').click();
  await page.getByLabel('Webhook').fill('arn:godwit:sqs::nobody:webhook');
  await button('Save notifications').click();
  await dialog().getByRole('alert').waitFor();
  await accessible('notifications');
  await settings('tags');
  await button('Add').click();
  await page.getByLabel('Name 1').fill('team');
  await page.getByLabel('Value 1').fill('birds / waders');
  await button('Save tags').click();
  await tell('Tags saved.');
  must((await ask('GET', 'api/s3/photos?tagging')).text.includes('birds / waders'), 'tags are set');
});

await step('versioning is suspended and turned on again; encryption is shown', async () => {
  await settings('versioning');
  await button('Suspend versioning').click();
  await button('Turn versioning on').click();
  await button('Suspend versioning').waitFor();
  await settings('encryption');
  await eventually('as it was made', async () => (await page.getByLabel('New objects are encrypted').inputValue()) === 'AES256');
  await accessible('encryption');
});

const about = async (bucket) => JSON.parse((await ask('GET', `api/s3/${bucket}?metadata`)).text);

await step('copies, order, quota and soft delete of a bucket are set', async () => {
  await settings('location');
  await dialog().getByText('May be kept in every region').waitFor();
  await page.getByLabel('A write is answered when').selectOption('1');
  await page.getByLabel('Copies soon after').fill('2');
  await page.getByLabel('Strong: one order').check();
  await button('Save promises').click();
  await eventually('the promises are set', async () => {
    const { ack, copies, consistency } = await about('photos');
    return ack === 1 && copies === 2 && consistency === 'strong';
  });
  await page.getByLabel('Size, GiB').fill('0.5');
  await page.getByLabel('Number of objects').fill('1000');
  await button('Save quota').click();
  await eventually('the quota is set', async () => {
    const { quota_bytes, quota_objects } = await about('photos');
    return quota_bytes === 2 ** 29 && quota_objects === 1000;
  });
  await page.getByLabel('Keep what is deleted').check();
  await page.getByLabel('Days').fill('14');
  await button('Save soft delete').click();
  await eventually('soft delete is on', async () => (await about('photos')).soft_delete.retention_days === 14);
  await accessible('promises');
  await shot('promises');
  await page.getByLabel('Keep what is deleted').uncheck();
  await button('Save soft delete').click();
  await page.getByLabel('Strong: one order').uncheck();
  await button('Save promises').click();
  await eventually('all is as before', async () => {
    const { consistency, soft_delete } = await about('photos');
    return consistency === 'eventual' && !soft_delete.enabled;
  });
});

await step('a bucket gets other regions and its cached copies go', async () => {
  await settings('location');
  const region = (code) => dialog().getByRole('row').filter({ hasText: code }).getByRole('checkbox');
  await region('iad').check();
  await region('fra').check();
  await button('Save regions').click();
  await eventually('it has two regions', async () => (await about('photos')).object_regions === 'fra,iad');
  await dialog().getByText('May be kept in fra, iad.').waitFor();
  await accessible('the regions of a bucket');
  await region('iad').uncheck();
  await region('fra').uncheck();
  await button('Save regions').click();
  await eventually('it has every region', async () => (await about('photos')).object_regions === '');
  await button('Drop cached copies').click();
  await tell('dropped');
});

// ---------------------------------------------------------------- objects

await step('files and folders go up', async () => {
  await go('objects/photos');
  await page.getByText('This bucket is empty').waitFor();
  await accessible('an empty bucket');
  const inputs = ['notes.md', 'page.html', 'b ü+&.txt'].map((name) => file(name, `# ${name}\n<script>parent.hacked = true</script>\n`));
  await page.getByLabel('Files to upload').setInputFiles(inputs);
  await page.getByText('3 of 3 done').waitFor();
  file('trip/one.txt', 'one');
  file('trip/day/two.txt', 'two');
  await page.getByLabel('A folder to upload').setInputFiles(join(scratch, 'trip'));
  await page.getByText('5 of 5 done').waitFor();
  await button('Clear').click();
  await page.getByRole('link', { name: 'trip/' }).click();
  await page.getByRole('link', { name: 'day/' }).click();
  await page.getByRole('button', { name: 'two.txt', exact: true }).waitFor();
  must((await ask('GET', 'api/s3/photos/trip/day/two.txt')).text === 'two', 'the folder is there');
});

await step('a drop of files goes to the folder that is shown', async () => {
  await go('objects/photos/dropped/');
  await page.getByText('Nothing below this prefix').waitFor();
  const data = await page.evaluateHandle(() => {
    const data = new DataTransfer();
    data.items.add(new File(['dropped'], 'dropped.txt', { type: 'text/plain' }));
    return data;
  });
  await page.getByText('Nothing below this prefix').dispatchEvent('drop', { dataTransfer: data });
  await page.getByRole('button', { name: 'dropped.txt', exact: true }).waitFor();
  must((await ask('GET', 'api/s3/photos/dropped/dropped.txt')).text === 'dropped', 'it is there');
});

await step('a large file goes up in parts, is held, resumed, and is whole', async () => {
  await go('objects/photos');
  const size = 40 * 2 ** 20;
  const large = file('large.bin', size, 3);
  const client = await context.newCDPSession(page);
  const slow = (rate) => client.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: rate });
  await slow(6 * 2 ** 20);
  await page.getByLabel('Files to upload').setInputFiles(large);
  const bar = page.getByLabel('Progress of large.bin');
  await eventually('some of it is on its way', async () => (await bar.evaluate((one) => one.value)) > 2 ** 20);
  await accessible('an upload');
  await button('Pause large.bin').click();
  await page.getByText(/paused/).waitFor();
  await slow(-1);
  await button('Resume large.bin').click();
  await page.getByText('done').first().waitFor({ timeout: 60_000 });
  await eventually('it is whole', async () => (await ask('HEAD', 'api/s3/photos/large.bin')).headers['content-length'] === String(size));
  await slow(2 * 2 ** 20);
  await page.getByLabel('Files to upload').setInputFiles(file('given-up.bin', size, 4));
  await eventually('it began', async () => (await page.getByLabel('Progress of given-up.bin').evaluate((one) => one.value)) > 2 ** 18);
  await button('Cancel given-up.bin').click();
  await slow(-1);
  await eventually('no upload is left', async () => !(await ask('GET', 'api/s3/photos?uploads')).text.includes('<Upload>'));
  must((await ask('HEAD', 'api/s3/photos/given-up.bin')).status === 404, 'it is not there');
  await client.detach();
  await button('Clear').click();
});

await step('an object is shown, downloaded, and nothing in it runs', async () => {
  await go('objects/photos');
  await page.getByRole('button', { name: 'page.html', exact: true }).click();
  await page.getByText('hacked = true').waitFor();
  must(await page.evaluate(() => window.hacked === undefined), 'the script did not run');
  await accessible('an object');
  const wait = page.waitForEvent('download');
  await dialog().getByRole('link', { name: 'Download' }).click();
  const got = await wait;
  must(got.suggestedFilename() === 'page.html', got.suggestedFilename());
  must(readFileSync(await got.path(), 'utf8').startsWith('# page.html'), 'the bytes are the same');
  const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64');
  writeFileSync(join(scratch, 'dot.png'), png);
  await button('Close').click();
  await page.getByLabel('Files to upload').setInputFiles(join(scratch, 'dot.png'));
  await page.getByRole('button', { name: 'dot.png', exact: true }).click();
  await eventually('the picture is drawn', () => page.locator('img.preview').evaluate((one) => one.naturalWidth === 1));
});

const drawer = async (name, tab) => {
  await go(`objects/photos?object=${encodeURIComponent(name)}&tab=${tab}`);
  await dialog().getByRole('tabpanel').waitFor();
};

await step('metadata, tags and access of an object are changed', async () => {
  await drawer('notes.md', 'metadata');
  await page.getByLabel('cache-control').fill('max-age=60');
  await page.getByLabel('content-type').fill('text/markdown');
  await button('Add').click();
  await page.getByLabel('Name 1').fill('season');
  await page.getByLabel('Value 1').fill('spring');
  await button('Save metadata').click();
  await tell('Metadata saved.');
  const head = await ask('HEAD', 'api/s3/photos/notes.md');
  must(head.headers['x-amz-meta-season'] === 'spring' && head.headers['content-type'] === 'text/markdown' && head.headers['cache-control'] === 'max-age=60', JSON.stringify(head.headers));
  await drawer('notes.md', 'tags');
  await button('Add').click();
  await page.getByLabel('Name 1').fill('kind');
  await page.getByLabel('Value 1').fill('note');
  await button('Save tags').click();
  await tell('Tags saved.');
  must((await ask('GET', 'api/s3/photos/notes.md?tagging')).text.includes('note'), 'tags are set');
  await accessible('tags');
  await drawer('notes.md', 'access');
  await page.getByLabel('Quick access').selectOption('authenticated-read');
  await dialog().getByRole('rowheader', { name: 'everybody with a key' }).waitFor();
  await accessible('access of an object');
});

await step('an older version is restored, a deletion undone', async () => {
  await ask('PUT', 'api/s3/photos/story.txt', { body: 'first' });
  await ask('PUT', 'api/s3/photos/story.txt', { body: 'second' });
  await drawer('story.txt', 'versions');
  await button('Restore').click();
  await tell('Restored.');
  await eventually('the first is back', async () => (await ask('GET', 'api/s3/photos/story.txt')).text === 'first');
  await accessible('versions');
  await ask('DELETE', 'api/s3/photos/story.txt');
  await drawer('story.txt', 'about');
  await drawer('story.txt', 'versions');
  await go('objects/photos');
  await button('Deleted').click();
  await accessible('what was deleted');
  await button('Undelete story.txt').click();
  await page.getByText('Nothing that could be brought back').waitFor();
  await button('Close').click();
  await eventually('it is there again', async () => (await ask('GET', 'api/s3/photos/story.txt')).text === 'first');
});

await step('a link lets its holder read, without a key', async () => {
  await drawer('notes.md', 'share');
  await page.getByLabel('For').selectOption('900');
  await button('Make a link').click();
  const url = await page.getByLabel('link', { exact: true }).inputValue();
  must(url.startsWith(process.env.GODWIT_ENDPOINT), url);
  const got = await fetch(url);
  must(got.status === 200 && (await got.text()).startsWith('# notes.md'), `${got.status}`);
  must((await fetch(url.replace('notes.md', 'page.html'))).status === 403, 'for this object alone');
  await accessible('a link');
});

await step('objects are renamed, copied, moved and deleted in numbers', async () => {
  await go('objects/photos');
  await button('Rename b ü+&.txt').click();
  await page.getByLabel('Key').fill('names/renamed é.txt');
  await button('Rename').click();
  await closed();
  await eventually('it has its new name', async () => (await ask('GET', 'api/s3/photos/names/renamed%20%C3%A9.txt')).text.startsWith('# b ü+&.txt'));
  await page.getByLabel('Select names/').check();
  await page.getByLabel('Select trip/').check();
  await accessible('a selection');
  await button('Copy').click();
  await page.getByLabel('Below prefix').fill('copied/');
  await dialog().getByRole('button', { name: 'Copy', exact: true }).click();
  await closed();
  must((await ask('GET', 'api/s3/photos/copied/trip/day/two.txt')).text === 'two', 'it was copied');
  await page.getByLabel('Select copied/').check();
  await button('Move').click();
  await page.getByLabel('To bucket').selectOption('at-home');
  await dialog().getByRole('button', { name: 'Move', exact: true }).click();
  await closed();
  must((await ask('GET', 'api/s3/at-home/copied/trip/one.txt')).text === 'one', 'it was moved');
  must((await ask('HEAD', 'api/s3/photos/copied/trip/one.txt')).status === 404, 'from there');
  await page.getByLabel('Select trip/').check();
  await page.getByLabel('Select names/').check();
  await button('Delete').click();
  await page.getByLabel('Type delete to confirm').fill('delete');
  await accessible('deleting many');
  await button('Delete 2 items').click();
  await closed();
  must(!(await ask('GET', 'api/s3/photos?list-type=2&prefix=trip/')).text.includes('<Key>'), 'they are gone');
});

await step('a folder of many keys is a window that loads as it is scrolled', async () => {
  // Not from the page: a browser has six connections to one host.
  const [{ name, value }] = await context.cookies();
  const { token } = JSON.parse((await ask('GET', 'api/session')).text);
  const headers = { cookie: `${name}=${value}`, 'x-godwit-console': token };
  const left = Array.from({ length: 1300 }, (_, at) => `many/key-${String(at).padStart(5, '0')}`);
  let made = 0;
  const lane = async () => {
    for (let at = left.pop(); at; at = left.pop()) {
      const answer = await fetch(`${origin}/api/s3/at-home/${at}`, { method: 'PUT', headers, body: 'x' });
      if (answer.ok) made += 1;
    }
  };
  await Promise.all(Array.from({ length: 64 }, lane));
  must(made === 1300, `${made} were made`);
  await go('objects/at-home/many/');
  await page.getByText('1,000 items so far').waitFor();
  const rows = () => page.locator('.rows tbody tr').count();
  must((await rows()) < 80, `${await rows()} rows are in the page`);
  await accessible('a long list');
  const box = page.locator('.window');
  await eventually('the last key is shown', async () => {
    await box.evaluate((one) => (one.scrollTop = one.scrollHeight));
    return page.getByRole('button', { name: 'key-01299', exact: true }).isVisible();
  });
  await page.getByText('1,300 items').waitFor();
  must((await rows()) < 80, `${await rows()} rows are in the page at its end`);
  await page.getByRole('searchbox', { name: 'Go to a prefix' }).fill('many/key-0077');
  await page.keyboard.press('Enter');
  await page.getByText('10 items').waitFor();
});

// ---------------------------------------------------------------- map, keys, cluster

await step('the map shows the regions, by mouse, keyboard and table', async () => {
  await go('map');
  await page.getByRole('group', { name: /Map of the regions/ }).waitFor();
  for (const code of ['iad', 'fra', 'nrt']) await page.getByRole('rowheader', { name: new RegExp(code) }).waitFor();
  await eventually('every region was asked', async () => (await page.locator('td[data-label="Requests/s"]', { hasText: '–' }).count()) === 0);
  await accessible('the map');
  await page.getByRole('button', { name: /^nrt, Tokyo/ }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('region', { name: 'Region nrt' }).waitFor();
  await page.getByText('As nrt sees the others').waitFor();
  await accessible("a region's page");
  await shot('region');
  await page.keyboard.press('Enter');
  await page.getByRole('region', { name: 'Region nrt' }).waitFor({ state: 'detached' });
});

await step('an object moves to where it is read, while one looks', async () => {
  await ask('PUT', 'api/s3/traveller');
  await ask('PUT', 'api/s3/traveller/films/godwit.bin', { body: 'x'.repeat(300_000) });
  await go('map/traveller/films/godwit.bin');
  const primary = () => page.locator('tr', { has: page.locator('.dot.primary') }).getByRole('rowheader').innerText();
  must((await primary()).startsWith('iad'), await primary());
  await accessible('where an object lives');
  await button('nrt').click();
  await page.getByText(/^nrt: \d+ ms/).waitFor();
  await eventually('the primary is in nrt', async () => (await primary()).startsWith('nrt'));
  await page.getByRole('region', { name: 'Moves' }).getByText('iad → nrt').waitFor();
  await accessible('an object that moved');
  await button('nrt').click();
  await page.getByLabel('Watch an object or a prefix').selectOption('films/');
  await page.getByText('All 1 objects below it').waitFor();
  const row = page.getByRole('row').filter({ has: page.getByRole('rowheader', { name: 'nrt', exact: true }) });
  must((await row.locator('td').first().innerText()) === '1', 'its one primary is in nrt');
  await accessible('a prefix on the map');
});

await step('the drawer of an object says where it lives', async () => {
  await go('objects/traveller?object=films%2Fgodwit.bin&tab=where');
  await dialog().getByText('primary', { exact: false }).first().waitFor();
  await dialog().getByRole('link', { name: 'Watch it on the map' }).waitFor();
  await accessible('the drawer with the map');
});

let narrow = { id: '', secret: '' };
await step('a key is made with a role, told once, changed and revoked', async () => {
  await go('keys');
  await page.getByText('you', { exact: true }).waitFor();
  await accessible('the keys');
  await button('New key').click();
  await dialog().getByLabel('photos').selectOption('read-only');
  await accessible('a new key');
  await button('Make the key').click();
  narrow = { id: await page.getByLabel('access key', { exact: true }).inputValue(), secret: await page.getByLabel('secret key', { exact: true }).inputValue() };
  must(narrow.secret.length > 20, 'the secret is shown');
  await accessible('the new key');
  await button('I have kept it').click();
  await page.getByText('photos: read-only').waitFor();
  await button(`Change ${narrow.id}`).click();
  await dialog().getByLabel('at-home').selectOption('editor');
  await button('Save').click();
  await page.getByText('at-home: editor').waitFor();
});

await step('a key with less sees less', async () => {
  const other = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  if (dist) await other.route(page_file, from_dist);
  const theirs = await other.newPage();
  await theirs.goto(origin);
  await theirs.getByLabel('Access key').fill(narrow.id);
  await theirs.getByLabel('Secret key').fill(narrow.secret);
  await theirs.getByRole('button', { name: 'Sign in' }).click();
  await theirs.getByText('key with a scope').waitFor();
  must((await theirs.getByRole('link', { name: 'Cluster' }).count()) === 0, 'no pages that it may not use');
  await theirs.goto(`${origin}/#/objects/traveller`);
  await theirs.getByRole('alert').waitFor();
  await theirs.goto(`${origin}/#/objects/photos`);
  await theirs.getByRole('button', { name: 'notes.md', exact: true }).waitFor();
  await button(`Revoke ${narrow.id}`).click();
  await button('Revoke it for good').click();
  await closed();
  await theirs.getByRole('button', { name: 'Refresh' }).click();
  await theirs.getByRole('heading', { name: 'godwit' }).waitFor();
  await other.close();
});

await step('the cluster page tells of members, lag, counters and live requests', async () => {
  await go('cluster');
  await page.getByText('all regions connected').waitFor();
  await page.getByRole('columnheader', { name: 'from nrt' }).waitFor();
  await eventually('every region was asked', async () => (await page.getByText('not known here').count()) === 0);
  await page.getByRole('rowheader', { name: 'Primaries moved' }).waitFor();
  await eventually('every node tells its disk', async () => (await page.getByText(/ free$/).count()) === 3);
  await page.getByRole('button', { name: 'Scrub now' }).first().click();
  await tell(/scrub in \w+: started/);
  await page.getByRole('heading', { name: 'Events' }).waitFor();
  await button('Watch').click();
  await eventually('a request is shown', async () => {
    await ask('GET', 'api/s3/photos/notes.md');
    return (await page.getByRole('rowheader', { name: 'GetObject' }).count()) > 0;
  });
  await accessible('the cluster');
  await shot('cluster');
  await button('Stop').click();
});

// ---------------------------------------------------------------- how it looks

const PAGES = ['buckets', 'objects/photos', 'objects/photos?object=notes.md', 'objects/photos?settings=access', 'map', 'map/traveller/films/godwit.bin', 'keys', 'cluster'];

await step('every page fits 360 pixels and can be used there', async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  for (const where of PAGES) {
    await go(where);
    await page.getByRole('heading', { level: 1 }).first().waitFor();
    // Pages that ask again and again are never idle.
    await page.waitForLoadState('networkidle', { timeout: 2_000 }).catch(() => undefined);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    must(wide <= 360, `${where} is ${wide} wide`);
    await accessible(`${where} at 360 pixels`);
  }
  await go('objects/photos');
  await page.getByRole('button', { name: 'notes.md', exact: true }).waitFor();
  await shot('narrow');
  await page.setViewportSize({ width: 1280, height: 800 });
});

await step('dark colours have their contrast', async () => {
  await button('Dark colours').click();
  for (const where of PAGES) {
    await go(where);
    await page.getByRole('heading', { level: 1 }).first().waitFor();
    await accessible(`${where} in the dark`);
  }
  await go('map/traveller/films/godwit.bin');
  await page.locator('.dot.primary').first().waitFor();
  await shot('map-dark');
  await button('Light colours').click();
});

await step('pictures for the README', async () => {
  await go('buckets');
  await page.getByRole('rowheader', { name: 'photos' }).waitFor();
  await shot('buckets');
  await go('objects/photos');
  await page.getByRole('button', { name: 'notes.md', exact: true }).waitFor();
  await shot('objects');
  await go('objects/photos?object=notes.md');
  await dialog().getByText('text/markdown').waitFor();
  await shot('object');
  await go('map');
  await eventually('every region was asked', async () => (await page.locator('td[data-label="Requests/s"]', { hasText: '–' }).count()) === 0);
  await shot('map');
  await go('map/traveller/films/godwit.bin');
  await page.locator('.dot.primary').first().waitFor();
  await shot('moved');
});

await step('a deleted object of a bucket with soft delete is brought back', async () => {
  await ask('PUT', 'api/s3/soft');
  const keep = await ask('PATCH', 'api/s3/soft', { body: JSON.stringify({ soft_delete: { enabled: true, retention_days: 7 } }) });
  must(keep.status === 200, keep.text);
  await ask('PUT', 'api/s3/soft/gone.txt', { body: 'still here' });
  await ask('DELETE', 'api/s3/soft/gone.txt');
  await go('objects/soft');
  await button('Deleted').click();
  await button('Undelete gone.txt').click();
  await tell('gone.txt is back');
  await accessible('what was deleted');
  await page.keyboard.press('Escape');
  await eventually('it is back', async () => (await ask('GET', 'api/s3/soft/gone.txt')).text === 'still here');
});

await step('a region is cut off, nothing answered is lost, and it is joined again', async () => {
  await ask('PUT', 'api/s3/photos/before-the-cut.txt', { body: 'kept' });
  await go('cluster');
  await button('Cut nrt off').click();
  await tell('nrt is cut off');
  await page.getByText('1 away').waitFor();
  await page.getByRole('region', { name: 'Events' }).getByText('nrt is away').first().waitFor();
  await accessible('a region that is cut off');
  must((await ask('GET', 'api/s3/photos/before-the-cut.txt')).text === 'kept', 'it is read');
  const during = await ask('PUT', 'api/s3/photos/during-the-cut.txt', { body: 'kept too' });
  must(during.status === 200, during.text);
  await button('Join nrt again').click();
  await page.getByText('all regions connected').waitFor();
  await eventually('it is read in nrt', async () => {
    const there = await ask('GET', 'api/s3/photos/during-the-cut.txt', { headers: { 'x-godwit-client-region': 'nrt' } });
    return there.text === 'kept too';
  });
});

await step('a region is drained and taken back', async () => {
  await go('cluster');
  const members = page.getByRole('region', { name: 'Members of the cluster' });
  await members.getByRole('rowheader', { name: /^nrt/ }).waitFor();
  await accessible('the members');
  await members.getByRole('button', { name: 'Drain nrt' }).click();
  await members.getByText('drains: what it has moves away').waitFor();
  await accessible('a region that drains');
  await members.getByRole('button', { name: 'Undrain nrt' }).click();
  await members.getByText('drains: what it has moves away').waitFor({ state: 'detached' });
  await members.getByRole('button', { name: 'Remove nrt' }).click();
  must(await button('Remove the drained region').isDisabled(), 'its code was not typed');
  await accessible('removing a region');
  await page.keyboard.press('Escape');
  await closed();
});

await step('a session ends', async () => {
  await go('buckets');
  await button('Sign out').click();
  await page.getByLabel('Access key').waitFor();
  must((await page.evaluate(async () => (await fetch('api/s3/')).status)) === 401, 'nothing is answered');
});

await step('nothing was asked of another host, nothing was refused by the policy, no error', async () => {
  must(strangers.length === 0, `asked elsewhere: ${strangers.join(', ')}`);
  must(complaints.length === 0, `the browser complains:\n  ${complaints.join('\n  ')}`);
});

await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
