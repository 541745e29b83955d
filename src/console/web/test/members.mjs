// Regions that come, go, are cut off and stopped. It is the last room: it leaves a cluster that was ill.
import { accessible, ask, button, closed, dialog, eventually, go, must, page, row, shot, step, table, tell } from './harness.mjs';

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

await step('a region is stopped on the map, started again, and has its data', async () => {
  await ask('PUT', 'api/s3/photos/before-the-stop.txt', { body: 'kept', headers: { 'x-godwit-client-region': 'nrt' } });
  await go('map?region=nrt');
  const card = page.getByRole('region', { name: 'Region nrt' });
  await card.getByRole('button', { name: 'Stop nrt' }).click();
  await tell('nrt stops.');
  await card.getByText('stopped', { exact: true }).waitFor();
  await card.getByRole('button', { name: 'Start nrt' }).waitFor();
  await accessible('a region that is stopped');
  await shot('stopped');
  const during = await ask('PUT', 'api/s3/photos/during-the-stop.txt', { body: 'kept too' });
  must(during.status === 200, during.text);
  await go('cluster');
  await page.getByText('1 away').waitFor();
  await page.getByRole('region', { name: 'Members of the cluster' }).getByText('stopped', { exact: true }).waitFor();
  await button('Start nrt').click();
  await tell('nrt starts.');
  await page.getByText('all regions connected').waitFor();
  await eventually('it has what was written before and meanwhile', async () => {
    const there = (name) => ask('GET', `api/s3/photos/${name}`, { headers: { 'x-godwit-client-region': 'nrt' } });
    const both = await Promise.all([there('before-the-stop.txt'), there('during-the-stop.txt')]);
    return both[0].text === 'kept' && both[1].text === 'kept too' && both.every((one) => one.headers['x-godwit-served-from'] === 'nrt');
  });
  const events = page.getByRole('region', { name: 'Events' });
  await events.getByText('the node stops').first().waitFor();
  await events.getByText('the node started').first().waitFor();
});

await step('a region is added, gets its token, and is removed again', async () => {
  await go('cluster');
  await button('Add a region').click();
  const fields = { Code: 'lhr', City: 'London', Latitude: '51.5', Longitude: '-0.1', Geography: 'eu', 'Failure domain': 'uk', 'Address of its mesh': '127.0.0.1:9' };
  for (const [label, value] of Object.entries(fields)) await dialog().getByLabel(label).fill(value);
  await accessible('a new region');
  await button('Make its token').click();
  must((await page.getByLabel('join token', { exact: true }).inputValue()).length > 100, 'a token is shown');
  await accessible('the token of a region');
  await button('Close').click();
  const members = page.getByRole('region', { name: 'Members of the cluster' });
  await members.getByRole('rowheader', { name: /^lhr/ }).waitFor();
  await members.getByRole('button', { name: 'Remove lhr' }).click();
  await page.getByLabel('Type lhr to confirm').fill('lhr');
  await button('Remove the lost region').click();
  await closed();
  await members.getByRole('rowheader', { name: /^lhr/ }).waitFor({ state: 'detached' });
  await page.getByText(/^Removed: lhr/).waitFor();
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
