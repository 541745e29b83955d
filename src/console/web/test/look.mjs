// How it looks: narrow, dark, and in pictures.
import { accessible, button, dialog, eventually, go, must, page, shot, step, table } from './harness.mjs';

/** Every page and every tab, and what is there when it was loaded. */
const PAGES = [
  ['buckets', () => page.getByRole('rowheader', { name: 'photos' })],
  ['objects/photos', () => page.getByRole('button', { name: 'notes.md', exact: true })],
  ['objects/photos?object=notes.md', () => dialog().getByText('text/markdown')],
  ['objects/photos?object=notes.md&tab=versions', () => dialog().getByText('current')],
  ['objects/photos?object=notes.md&tab=metadata', () => page.getByLabel('cache-control')],
  ['objects/photos?object=notes.md&tab=access', () => dialog().getByRole('cell', { name: 'full control' })],
  ['objects/photos?object=notes.md&tab=share', () => button('Make a link')],
  ['objects/traveller?object=films%2Fgodwit.bin&tab=where', () => dialog().locator('.dot.primary')],
  ['objects/photos?settings=access', () => dialog().getByRole('cell', { name: 'full control' })],
  ['objects/photos?settings=policy', () => button('Begin with an example')],
  ['objects/photos?settings=cors', () => page.getByLabel('Origins')],
  ['objects/photos?settings=lifecycle', () => page.getByLabel('Only below prefix')],
  ['objects/photos?settings=location', () => button('Save promises')],
  ['objects/photos?settings=tags', () => page.getByLabel('Value 1')],
  ['objects/locked?settings=versioning', () => page.getByLabel('New objects are kept')],
  ['map', () => page.getByRole('rowheader', { name: /nrt/ })],
  ['map?region=nrt', () => page.getByText('As nrt sees the others')],
  ['map/traveller/films/godwit.bin', () => page.locator('.dot.primary')],
  ['keys', () => page.getByText('you', { exact: true })],
  ['cluster', () => table('Disks, caches and clocks')],
];

/** Shows all of them, one after the other. */
async function each(how, check) {
  const wrong = [];
  for (const [where, there] of PAGES) {
    try {
      await go(where);
      await there().first().waitFor();
      await check(where);
      await accessible(`${where} ${how}`);
    } catch (error) {
      // All are told; later steps find the page as they want it.
      wrong.push(`${where}: ${error.message}`);
    }
    if (process.env.GODWIT_SHOTS_ALL) await shot(`${how} ${where}`.replaceAll(/[^a-z0-9]+/g, '-'));
  }
  return wrong.join('\n');
}

await step('every page fits 360 pixels and can be used there', async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  const wrong = await each('at 360 pixels', async (where) => {
    const wide = () => Math.max(...[document.documentElement, ...document.querySelectorAll('dialog[open], dialog[open] .sheet, .scroll')].map((one) => one.scrollWidth));
    const found = await page.evaluate(wide);
    must(found <= 360, `${where} is ${found} wide`);
  });
  await go('objects/photos');
  await page.getByRole('button', { name: 'notes.md', exact: true }).waitFor();
  await shot('narrow');
  await page.setViewportSize({ width: 1280, height: 800 });
  must(wrong === '', wrong);
});

await step('dark colours have their contrast', async () => {
  await go('buckets');
  await button('Dark colours').click();
  const wrong = await each('in the dark', () => undefined);
  await go('map/traveller/films/godwit.bin');
  await page.locator('.dot.primary').first().waitFor();
  await shot('map-dark');
  await button('Light colours').click();
  must(wrong === '', wrong);
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
