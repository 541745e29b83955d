// The settings of a bucket.
import { about, accessible, ask, button, dialog, eventually, go, must, page, shot, step, tell } from './harness.mjs';

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
  await dialog().getByRole('row').filter({ hasText: 'everybody with a key' }).getByRole('button', { name: 'Take this grant away' }).click();
  await dialog().getByRole('rowheader', { name: 'everybody with a key' }).waitFor({ state: 'detached' });
  await page.getByLabel('Quick access').selectOption('public-read-write');
  await eventually('everybody reads and writes', async () => (await dialog().getByRole('rowheader', { name: 'everybody', exact: true }).count()) === 2);
  await page.getByLabel('Quick access').selectOption('authenticated-read');
  await dialog().getByRole('rowheader', { name: 'everybody with a key' }).waitFor();
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
  await accessible('the website');
  await button('Remove').click();
  await button('Remove').waitFor({ state: 'detached' });
  must((await ask('GET', 'api/s3/photos?website')).status === 404, 'the website is gone');
  await settings('events');
  await button('Add a destination').click();
  await page.getByLabel('Webhook').fill('arn:godwit:sqs::nobody:webhook');
  await button('Save notifications').click();
  await dialog().getByRole('alert').waitFor();
  await settings('tags');
  await button('Add').click();
  await page.getByLabel('Name 1').fill('team');
  await page.getByLabel('Value 1').fill('birds / waders');
  await button('Save tags').click();
  await tell('Tags saved.');
  must((await ask('GET', 'api/s3/photos?tagging')).text.includes('birds / waders'), 'tags are set');
});

await step('a webhook of the settings is told of changes below a prefix', async () => {
  must((await ask('PUT', 'api/s3/hooked')).status === 200, 'its bucket');
  await go('objects/hooked?settings=events');
  await button('Add a destination').click();
  await page.getByLabel('Webhook').fill('arn:godwit:sqs::console:webhook');
  await page.getByLabel('Only below prefix').fill('told/');
  await button('Save notifications').click();
  await eventually('the destination is set', async () => (await ask('GET', 'api/s3/hooked?notification')).text.includes('sqs::console:webhook'));
  await accessible('a destination');
  // tests/console looks that the webhook hears of it.
  must((await ask('PUT', 'api/s3/hooked/told/of.txt', { body: 'told' })).status === 200, 'an object is put');
  must((await ask('DELETE', 'api/s3/hooked/told/of.txt')).status === 204, 'and deleted');
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
  await page.getByLabel('Hours').fill('48');
  await button('Save undo window').click();
  await eventually('the undo window is set', async () => JSON.parse((await ask('GET', 'api/admin/keeping?bucket=photos')).text).undo_minutes === 48 * 60);
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
