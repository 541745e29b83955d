// The map of the regions.
import { about, accessible, ask, button, dialog, eventually, go, must, page, row, shot, step, tell } from './harness.mjs';

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
  await page.getByRole('button', { name: /^fra, Frankfurt/ }).click();
  await page.getByRole('region', { name: 'Region fra' }).waitFor();
  await button('Close the region').click();
  await page.getByRole('region', { name: 'Region fra' }).waitFor({ state: 'detached' });
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

await step('a primary is moved by hand, and cached copies are dropped', async () => {
  await ask('PUT', 'api/s3/traveller/sent.txt', { body: 'x'.repeat(100_000) });
  await go('objects/traveller?object=sent.txt&tab=where');
  const there = () => dialog().getByRole('row').filter({ has: page.getByRole('rowheader', { name: /^fra/ }) });
  await page.getByLabel('Move its primary to').selectOption('fra');
  await dialog().getByRole('button', { name: 'Move', exact: true }).click();
  await tell('On its way to fra.');
  await there().getByText('primary', { exact: false }).waitFor();
  // Read in a region that keeps no copy, it is cached there.
  const nrt = dialog().getByRole('row').filter({ has: page.getByRole('rowheader', { name: /^nrt/ }) });
  await eventually('it is cached in nrt', async () => {
    await ask('GET', 'api/s3/traveller/sent.txt', { headers: { 'x-godwit-client-region': 'nrt' } });
    return (await nrt.getByText('cached').count()) > 0;
  });
  await button('Drop cached copies').click();
  await nrt.getByText('nothing').waitFor();
});

await step('read leases are turned on, and who holds one is shown', async () => {
  await ask('PUT', 'api/s3/leased');
  await ask('PUT', 'api/s3/leased/often.txt', { body: 'read often' });
  await go('objects/leased?settings=location');
  must((await dialog().getByLabel('Read leases').count()) === 0, 'not without one order');
  await page.getByLabel('Strong: one order').check();
  await page.getByLabel('Read leases').check();
  await accessible('read leases');
  await button('Save promises').click();
  await eventually('leases are on', async () => (await about('leased')).leases === true);
  await go('objects/leased?object=often.txt&tab=where');
  await eventually('nrt is shown as a holder', async () => {
    for (let at = 0; at < 4; at += 1) await ask('GET', 'api/s3/leased/often.txt', { headers: { 'x-godwit-client-region': 'nrt' } });
    const row = dialog().getByRole('row').filter({ has: page.getByRole('rowheader', { name: /^nrt/ }) });
    return (await row.getByText('read lease').count()) > 0;
  });
  await go('objects/leased?settings=location');
  await page.getByLabel('Read leases').uncheck();
  await button('Save promises').click();
  await eventually('leases are off', async () => (await about('leased')).leases === false);
});
