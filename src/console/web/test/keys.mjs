// Keys, and what a key with less sees.
import { accessible, another, button, closed, dialog, go, key, must, origin, page, secret, step } from './harness.mjs';

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

await step('a key has a policy, or may everything', async () => {
  await go('keys');
  await button('New key').click();
  await button('Begin with an example').click();
  await accessible('a policy of a key');
  await button('Make the key').click();
  const limited = await page.getByLabel('access key', { exact: true }).inputValue();
  await button('I have kept it').click();
  const line = page.getByRole('row').filter({ hasText: limited });
  await line.getByText('policy').waitFor();
  await button(`Change ${limited}`).click();
  await page.getByLabel(/^Policy/).fill('{"Statement": 1}');
  await button('Save').click();
  await dialog().getByRole('alert').waitFor();
  await page.getByLabel('Everything of the account').check();
  await button('Save').click();
  await line.getByText('everything of the account').waitFor();
  await button(`Revoke ${limited}`).click();
  await accessible('revoking a key');
  await button('Revoke it for good').click();
  await line.waitFor({ state: 'detached' });
});

await step('a key with less sees less', async () => {
  const other = await another();
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
