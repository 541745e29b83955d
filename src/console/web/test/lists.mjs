// Lists that are longer than a page.
import { accessible, ask, button, closed, dialog, eventually, go, make, must, page, step, tell } from './harness.mjs';

const VERSIONED = '<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>';

/** Lists of versions come in pages of so many, until it is undone. */
async function pages(of) {
  const versions = (url) => url.pathname.startsWith('/api/s3/') && url.searchParams.has('versions');
  await page.route(versions, (route) => {
    const url = new URL(route.request().url());
    url.searchParams.set('max-keys', String(of));
    return route.continue({ url: url.href });
  });
  return () => page.unroute(versions);
}

await step('a folder of many keys is a window that loads as it is scrolled', async () => {
  await ask('PUT', 'api/s3/long');
  must((await ask('PATCH', 'api/s3/long', { body: JSON.stringify({ ack: 1 }) })).status === 200, 'one region answers');
  await make('long', Array.from({ length: 1300 }, (_, at) => `many/key-${String(at).padStart(5, '0')}`));
  await go('objects/long/many/');
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

await step('deleted objects are shown page by page', async () => {
  await ask('PUT', 'api/s3/layers');
  must((await ask('PUT', 'api/s3/layers?versioning', { body: VERSIONED })).status === 200, 'it keeps versions');
  await make('layers', Array.from({ length: 13 }, (_, at) => `old/${String(at).padStart(2, '0')}`));
  await go('objects/layers');
  await page.getByLabel('Select old/').check();
  await button('Delete').click();
  await page.getByLabel('Type delete to confirm').fill('delete');
  await button('Delete 1 item').click();
  await closed();
  await go('objects/layers/old/');
  await page.getByText('Nothing below this prefix').waitFor();
  // Each deleted key has two versions.
  const undo = await pages(10);
  await button('Bring back').click();
  await dialog().getByText('5 deleted objects so far').waitFor();
  await accessible('a page of what was deleted');
  await button('Show more').click();
  await dialog().getByText('10 deleted objects so far').waitFor();
  await button('Show more').click();
  await button('Undelete old/12').waitFor();
  must((await button('Show more').count()) === 0, 'that was the last page');
  await button('Undelete old/12').click();
  await tell('old/12 is back.');
  await button('Undelete old/12').waitFor({ state: 'detached' });
  await undo();
  await button('Close').click();
});

await step('the versions of one key are shown page by page, downloaded, and deleted for good', async () => {
  await make('layers', Array.from({ length: 25 }, () => 'often'));
  const undo = await pages(20);
  const shown = () => dialog().getByRole('button', { name: /^Delete version/ });
  await go('objects/layers?object=often&tab=versions');
  await dialog().getByText('20 versions so far').waitFor();
  await accessible('a page of versions');
  await button('Show more').click();
  await button('Show more').waitFor({ state: 'detached' });
  must((await shown().count()) === 25, 'all are there');
  const wait = page.waitForEvent('download');
  await dialog().getByRole('link', { name: /^Download version/ }).last().click();
  must((await wait).suggestedFilename() === 'often', 'under its name');
  await undo();
  page.once('dialog', (asked) => asked.accept());
  await shown().last().click();
  await tell('Deleted for good.');
  await eventually('one is gone', async () => (await shown().count()) === 24);
  await button('Close').click();
});

await step('the list of buckets is filtered', async () => {
  await go('buckets');
  await page.getByLabel('Filter buckets').fill('lo');
  await page.getByRole('rowheader', { name: 'photos' }).waitFor({ state: 'detached' });
  await page.getByRole('rowheader', { name: 'long' }).waitFor();
  await page.getByLabel('Filter buckets').fill('');
  await page.getByRole('rowheader', { name: 'photos' }).waitFor();
});
