// The console in a real browser against a running `godwit dev`: every feature, room by room, in this
// order, because later rooms use what earlier ones made. tests/console starts both; harness.mjs says
// which variables are read.
import { accessible, button, complaints, end, go, must, page, shot, step, strangers } from './harness.mjs';

const rooms = ['buckets', 'settings', 'objects', 'lists', 'map', 'keys', 'cluster', 'maintenance', 'look', 'members'];
for (const room of rooms) await import(`./${room}.mjs`);

await step('a session ends', async () => {
  await go('buckets');
  await button('Sign out').click();
  await page.getByLabel('Access key').waitFor();
  must((await page.evaluate(async () => (await fetch('api/s3/')).status)) === 401, 'nothing is answered');
  await page.setViewportSize({ width: 360, height: 740 });
  must((await page.evaluate(() => document.documentElement.scrollWidth)) <= 360, 'the sign-in page is too wide');
  await accessible('the sign-in page at 360 pixels');
  await page.emulateMedia({ colorScheme: 'dark' });
  await accessible('the sign-in page in the dark');
  await shot('signin-narrow');
});

await step('nothing was asked of another host, nothing was refused by the policy, no error', async () => {
  must(strangers.length === 0, `asked elsewhere: ${strangers.join(', ')}`);
  must(complaints.length === 0, `the browser complains:\n  ${complaints.join('\n  ')}`);
});

await end();
