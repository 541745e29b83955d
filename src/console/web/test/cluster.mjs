// The cluster: its members, and regions that come, go, and are away.
import { accessible, ask, button, eventually, go, must, page, row, shot, step, table, tell } from './harness.mjs';

await step('the cluster page tells of members, lag, counters and live requests', async () => {
  await go('cluster');
  await page.getByText('all regions connected').waitFor();
  await page.getByRole('columnheader', { name: 'from nrt' }).waitFor();
  await eventually('every region was asked', async () => (await page.getByText('not known here').count()) === 0);
  await page.getByRole('rowheader', { name: 'Primaries moved' }).waitFor();
  await eventually('every node tells its disk', async () => (await page.getByText(/ free$/).count()) === 3);
  const nodes = row(table('Disks, caches and clocks'), 'nrt');
  await nodes.getByText(/ of /).waitFor();
  await nodes.getByText(/^[+−]0\.\d s$/).waitFor();
  await page.getByRole('heading', { name: 'Events' }).waitFor();
  await button('Watch').click();
  await eventually('a request is shown', async () => {
    await ask('GET', 'api/s3/photos/notes.md');
    return (await page.getByRole('rowheader', { name: 'GetObject' }).count()) > 0;
  });
  await page.getByLabel('Only refused').check();
  await eventually('a refused request is shown alone', async () => {
    await ask('GET', 'api/s3/photos/nothing-here');
    return (await page.getByText('404 NoSuchKey').count()) > 0;
  });
  await page.getByRole('rowheader', { name: 'ListBuckets' }).waitFor({ state: 'detached' });
  await accessible('the cluster');
  await shot('cluster');
  await button('Stop').click();
});

await step('scrub and repair are started, and say how far they are', async () => {
  await go('cluster');
  const line = row(table('Scrub and repair'), 'fra');
  for (const what of ['Scrub', 'Repair']) {
    await line.getByRole('button', { name: `${what} now` }).click();
    await tell(`${what.toLowerCase()} in fra: started.`);
    await eventually('it came to its end', async () => /resting, done/.test(await line.locator(`td[data-label="${what}"]`).innerText()));
  }
  must((await line.locator('td[data-label="Damaged"]').innerText()) === '0', 'nothing is damaged');
});
