// Sign in; the list of buckets: made, deleted, brought back.
import { accessible, ask, browser, button, closed, context, dialog, eventually, go, key, must, origin, page, secret, shot, step } from './harness.mjs';

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

await step('a bucket with object lock keeps versions, and the list tells what is in a bucket', async () => {
  await go('buckets');
  await button('New bucket').click();
  await page.getByLabel('Name').fill('locked');
  await page.getByLabel('Object lock').check();
  must(await page.getByLabel('Keep versions').isDisabled(), 'versions go with it');
  await button('Make the bucket').click();
  await page.getByRole('heading', { name: 'locked', level: 1 }).waitFor();
  must((await ask('GET', 'api/s3/locked?object-lock')).text.includes('Enabled'), 'it has a lock');
  await go('objects/locked?settings=versioning');
  await page.getByLabel('New objects are kept').selectOption('GOVERNANCE');
  await page.getByLabel('Days').fill('3');
  await accessible('a lock');
  await button('Save lock').click();
  await eventually('new objects are kept', async () => {
    const { text } = await ask('GET', 'api/s3/locked?object-lock');
    return text.includes('<Mode>GOVERNANCE</Mode>') && text.includes('<Days>3</Days>');
  });
  await ask('PUT', 'api/s3/at-home/two-kib', { body: 'x'.repeat(2048) });
  await go('buckets');
  const row = page.getByRole('row').filter({ has: page.getByRole('rowheader', { name: 'at-home' }) });
  await eventually('size, objects, region and lag are told', async () => {
    const text = (await row.innerText()).replaceAll('\n', ' ');
    return ['2.0 KiB', 'fra', 'even'].every((part) => text.includes(part));
  });
  await ask('DELETE', 'api/s3/at-home/two-kib');
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
