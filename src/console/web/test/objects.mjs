// Objects: sent, shown, changed, shared, moved, brought back.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { accessible, ask, button, closed, context, dialog, eventually, file, go, must, page, scratch, step, tell } from './harness.mjs';

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

await step('a folder is made, and what is in one is selected whole', async () => {
  await go('objects/photos/made/');
  await button('New folder').click();
  await page.getByLabel('Name').fill('inner');
  await accessible('a new folder');
  await button('Make it').click();
  await closed();
  await page.getByRole('link', { name: 'inner/' }).waitFor();
  await page.getByLabel('Select all').check();
  must(await page.getByLabel('Select inner/').isChecked(), 'it is selected');
  await button('Select none').click();
  must(!(await page.getByLabel('Select inner/').isChecked()), 'it is not selected');
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

await step('a folder that is dropped goes with all that is in it', async () => {
  await go('objects/photos/dropped/');
  await page.getByRole('button', { name: 'dropped.txt', exact: true }).waitFor();
  // No program can drop a folder: the entries that a browser makes of one.
  await page.getByRole('button', { name: 'dropped.txt', exact: true }).evaluate((element) => {
    const file = (path, text) => ({ isFile: true, fullPath: path, file: (done) => done(new File([text], path.split('/').pop())) });
    const folder = (path, entries) => ({
      isFile: false, isDirectory: true, fullPath: path,
      // A browser gives some at a time, and none at the end.
      createReader: () => ({ readEntries: (done) => done(entries.splice(0, 1)) }),
    });
    const nest = folder('/nest', [file('/nest/egg.txt', 'egg'), folder('/nest/inner', [file('/nest/inner/chick.txt', 'chick')])]);
    const event = new Event('drop', { bubbles: true, cancelable: true });
    Object.defineProperty(event, 'dataTransfer', { value: { files: [], types: ['Files'], items: [{ kind: 'file', webkitGetAsEntry: () => nest }] } });
    element.dispatchEvent(event);
  });
  await page.getByRole('link', { name: 'nest/' }).waitFor();
  await eventually('all of it is there', async () => (await ask('GET', 'api/s3/photos/dropped/nest/inner/chick.txt')).text === 'chick');
  must((await ask('GET', 'api/s3/photos/dropped/nest/egg.txt')).text === 'egg', 'and what lies beside it');
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
  await button('Bring back').click();
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
  await button('Count').click();
  await tell(/^\d+ objects, /);
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

await step('a deleted object of a bucket with soft delete is brought back', async () => {
  await ask('PUT', 'api/s3/soft');
  const keep = await ask('PATCH', 'api/s3/soft', { body: JSON.stringify({ soft_delete: { enabled: true, retention_days: 7 } }) });
  must(keep.status === 200, keep.text);
  await ask('PUT', 'api/s3/soft/gone.txt', { body: 'still here' });
  await ask('DELETE', 'api/s3/soft/gone.txt');
  await go('objects/soft');
  await button('Bring back').click();
  await button('Undelete gone.txt').click();
  await tell('gone.txt is back');
  await accessible('what was deleted');
  await page.keyboard.press('Escape');
  await eventually('it is back', async () => (await ask('GET', 'api/s3/soft/gone.txt')).text === 'still here');
});
