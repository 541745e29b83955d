// What an operator does: lost writes, certificates, backups, tokens, keys of buckets.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { accessible, ask, button, closed, dialog, endpoint, eventually, go, must, page, scratch, shot, step, tell } from './harness.mjs';

await step('of two writes at the same time the one that lost is seen and brought back', async () => {
  must((await ask('PUT', 'api/s3/apart')).status === 200, 'its bucket');
  const alone = await ask('PATCH', 'api/s3/apart', { headers: { 'content-type': 'application/json' }, body: JSON.stringify({ ack: 1 }) });
  must(alone.status === 200, alone.text);
  const write = (from, body) => ask('PUT', 'api/s3/apart/note', { headers: { 'x-godwit-client-region': from }, body });
  await eventually('nrt knows the bucket', async () => (await write('nrt', 'before')).status === 200);
  await go('cluster');
  await button('Cut nrt off').click();
  await page.getByText('1 away').waitFor();
  await eventually('iad writes', async () => (await write('iad', 'of iad')).status === 200);
  await eventually('nrt writes alone', async () => (await write('nrt', 'of nrt')).status === 200);
  await button('Join nrt again').click();
  await page.getByText('all regions connected').waitFor();
  const note = async () => (await ask('GET', 'api/s3/apart/note', { headers: { 'x-godwit-client-region': 'iad' } })).text;
  await eventually('the later one is read everywhere', async () => (await note()) === 'of nrt');
  await go('objects/apart');
  await button('Bring back').click();
  await page.getByRole('tab', { name: 'Lost writes' }).click();
  await button('Bring back note of iad').waitFor();
  await accessible('lost writes');
  await shot('lost-writes');
  await button('Bring back note of iad').click();
  await tell('note is what it was in iad');
  await eventually('the loser is back', async () => (await note()) === 'of iad');
  await page.keyboard.press('Escape');
  await closed();
});

await step('a node gets its next certificate and a backup, and says whether it may be stopped', async () => {
  await go('cluster');
  const nodes = page.getByRole('region', { name: 'Maintenance of nodes' });
  const fra = nodes.getByRole('row', { name: /^fra/ });
  await fra.getByText('days left').waitFor();
  await nodes.getByRole('button', { name: 'Renew certificate of fra' }).click();
  await tell('fra has its next certificate');
  await nodes.getByRole('button', { name: 'Ask whether fra may be stopped' }).click();
  await fra.getByText(/yes, now|not now/).waitFor();
  await nodes.getByRole('button', { name: 'Back fra up' }).click();
  must(await button('Write the backup').isDisabled(), 'no file is named');
  await dialog().getByLabel('File').fill(join(scratch, 'fra.backup'));
  await accessible('a backup');
  await button('Write the backup').click();
  await closed();
  await fra.getByText('written:').waitFor();
  must(readFileSync(join(scratch, 'fra.backup')).length > 100, 'the file is there');
  await accessible('maintenance');
  await nodes.scrollIntoViewIfNeeded();
  await shot('maintenance');
});

await step('a token of the admin API is made, told once, and only looks', async () => {
  await go('keys');
  await button('New token').click();
  await dialog().getByLabel('Days').fill('1');
  await accessible('a new token');
  await button('Make the token').click();
  const token = await page.getByLabel('token', { exact: true }).inputValue();
  const use = (method, path) => fetch(`${endpoint}/-/admin/v1/${path}`, { method, headers: { authorization: `Bearer ${token}` } });
  must((await use('GET', 'status')).status === 200, 'it looks');
  must((await use('POST', 'scrub/start')).status === 403, 'it changes nothing');
  await button('I have kept it').click();
  await closed();
});

await step('a bucket is made with a key of its own', async () => {
  await go('buckets');
  await button('New bucket').click();
  await page.getByLabel('Name').fill('with-a-key');
  await page.getByLabel('An access key of its own').check();
  await button('Make the bucket').click();
  await dialog().getByLabel('secret key', { exact: true }).waitFor();
  must((await page.getByLabel('shell line', { exact: true }).inputValue()).includes('AWS_SECRET_ACCESS_KEY='), 'the line for a shell');
  await button('I have kept it').click();
  await page.getByRole('heading', { name: 'with-a-key', level: 1 }).waitFor();
  await go('keys');
  await page.getByText('with-a-key: editor').waitFor();
});
