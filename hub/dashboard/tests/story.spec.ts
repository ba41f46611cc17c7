// The life of a small fleet, as somebody sees it in a browser: a real hub, real agents, the real
// model, real photographs.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, type Page, test } from '@playwright/test';
import { COMMANDS } from '../src/commands/schema';
import { breaches, logIn, open, PAGES, settled, tab } from './pages';
import { ADMIN, eventually, World } from './world';

test.describe.configure({ mode: 'serial' });

let world: World;
let page: Page;
/** What a browser complained of: an error in the page, or a breach of the content policy. */
const complaints: string[] = [];

test.beforeAll(async ({ browser }) => {
  world = await World.start();
  page = await tab(browser, world);
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && !/Failed to load resource|net::ERR/.test(message.text()) && complaints.push(message.text()));
  page.on('request', (request) => new URL(request.url()).host === world.ready.http || /^(data|blob):/.test(request.url()) || complaints.push(`a request to ${request.url()}`));
});

test.afterAll(async () => {
  await page?.close();
  await world?.stop();
});

test('the files are compressed, cached by their hash, and bound by a policy', async () => {
  const first = await fetch(`${world.url}/`);
  expect(first.headers.get('content-encoding')).toBe('gzip');
  expect(first.headers.get('cache-control')).toBe('no-cache');
  expect(first.headers.get('content-security-policy')).toContain("default-src 'none'");
  expect(first.headers.get('content-security-policy')).not.toContain('unsafe');
  const html = await first.text();
  const script = /src="(\/assets\/[^"]+\.js)"/.exec(html)?.[1] ?? 'no script';
  const asset = await fetch(world.url + script);
  expect(asset.headers.get('cache-control')).toContain('immutable');
  expect(asset.headers.get('content-type')).toContain('text/javascript');
  const plain = await fetch(world.url + script, { headers: { 'Accept-Encoding': 'identity' } });
  expect(plain.headers.get('content-encoding')).toBeNull();
  expect(await plain.text()).toBe(await asset.text());
  const again = await fetch(world.url + script, { headers: { 'If-None-Match': asset.headers.get('etag') ?? '' } });
  expect(again.status).toBe(304);
  // Other paths stay the API's.
  const missing = await fetch(`${world.url}/nothing-here`, { headers: { Accept: 'text/html' } });
  expect(missing.status).toBe(404);
  expect(((await missing.json()) as { code: string }).code).toBe('API-004');
});

test('every command of the API has a form', () => {
  const document = JSON.parse(readFileSync(join(import.meta.dirname, '../../../docs/openapi.json'), 'utf8'));
  const about: string = document.components.schemas.SendCommand.properties.command.description;
  const named = [...about.matchAll(/`([a-z_]+)`/g)].map((match) => match[1]);
  expect(COMMANDS.map((command) => command.name).sort()).toEqual(named.sort());
});

test('somebody logs in, and comes to the page that was asked for', async () => {
  await page.goto(`${world.url}/#/join`);
  await page.getByLabel('User').fill('admin');
  await page.getByLabel('Password').fill('wrong');
  await page.getByRole('button', { name: 'Log in' }).click();
  await expect(page.getByRole('alert')).toContainText('API-002');
  await page.getByLabel('Password').fill(ADMIN.password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await expect(page.getByRole('heading', { name: 'Join' })).toBeVisible();
  await expect(page.getByText('Live', { exact: true }).first()).toBeVisible();
  expect(page.url()).not.toContain('token');
});

test('a node joins with the line of the page, and is seen to arrive', async () => {
  await page.getByLabel('Node name').fill('node-1');
  await page.getByLabel('Device id').fill('cam-1');
  await page.getByLabel('Location').fill('Entrance');
  await page.getByRole('button', { name: 'Make the join line' }).click();
  const line = await page.getByTestId('join-line').innerText();
  expect(line).toMatch(/^keadm join .*--edgenode-name=node-1 /);
  await expect(page.getByRole('img', { name: 'Join line of node-1' })).toBeVisible();
  await expect(page.getByText('Waiting for cam-1')).toBeVisible();
  world.join('cam-1', line, true);
  await expect(page.getByText('cam-1 has arrived.')).toBeVisible();
  await page.getByRole('link', { name: 'Open the device' }).click();
  await expect(page.getByRole('heading', { name: 'cam-1' })).toBeVisible();
  await expect(page.getByRole('main').getByText('Online').first()).toBeVisible();
});

test('a picture is taken and shown', async () => {
  await page.getByRole('button', { name: 'Capture', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Capture' });
  await expect(dialog.getByText('Completed')).toBeVisible();
  await whole(dialog.getByRole('img', { name: 'Taken by cam-1' }));
  await page.keyboard.press('Escape');
  await expect(dialog).toHaveCount(0);
  await expect(page.getByText('taken by command')).toBeVisible();
});

/** The picture has come, whole. */
async function whole(image: ReturnType<Page['getByRole']>): Promise<void> {
  await expect.poll(() => image.evaluate((element) => (element instanceof HTMLImageElement ? element.naturalWidth : 0))).toBeGreaterThan(100);
}

test('detection is started by a form, and what is seen is on the wall with its box', async () => {
  await page.getByRole('link', { name: 'Commands' }).last().click();
  await page.getByLabel('Command', { exact: true }).selectOption('start_detection');
  await page.getByLabel('Least confidence').fill('2');
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  await expect(page.getByText('From 0 to 1.')).toBeVisible();
  await page.getByLabel('Least confidence').fill('0.25');
  await page.getByLabel('Frame every, seconds').fill('1');
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Command' });
  await expect(dialog.getByText('Completed')).toBeVisible();
  await page.keyboard.press('Escape');
  await open(page, 'detections');
  const wall = page.locator('.shot');
  await eventually('all three photographs are seen', async () => {
    const button = page.getByRole('button', { name: /new detection|Look again/ });
    if (await button.isVisible()) await button.click();
    const text = (await wall.allInnerTexts()).join(' ');
    return text.includes('Person') && text.includes('Cat') && text.includes('Cup');
  });
  await page.getByLabel('Object').selectOption('person');
  await expect(wall.first()).toContainText('Person');
  const image = wall.first().getByRole('img');
  await whole(image);
  expect(await image.getAttribute('src')).toContain('boxes=true');
  // The same picture without its box is another one.
  const [drawn, plain] = await page.evaluate(async (source) => {
    const size = async (url: string): Promise<string> => {
      const bytes = await (await fetch(url)).arrayBuffer();
      return [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].join();
    };
    return [await size(source), await size(source.replace('&boxes=true', ''))];
  }, (await image.getAttribute('src')) ?? '');
  expect(drawn).not.toBe(plain);
  await page.getByLabel('Object').selectOption('');
  await world.call('POST', '/api/kubeedge/device/cam-1/command', { command: 'stop_detection' });
});

test('a command goes to twenty devices, and all of it is followed', async () => {
  for (const tens of [0, 1]) {
    const devices = Array.from({ length: 10 }, (_, i) => ({ node_name: `pi-${tens}${i}`, device_id: `pi-${tens}${i}`, device_type: 'sensor', location: 'Hall' }));
    const batch = (await world.call('POST', '/api/kubeedge/batch-join', { devices })) as { results: { device: string; details: { join_command: string } }[] };
    for (const { device, details } of batch.results) world.join(device, details.join_command, false);
  }
  await open(page, 'devices?type=sensor');
  await page.getByLabel('Type').selectOption('sensor');
  await page.getByLabel('Status').selectOption('online');
  await expect(page.getByText('20 devices shown')).toBeVisible();
  await page.getByLabel('Select all 20 shown').check();
  await page.getByRole('button', { name: 'Send a command' }).click();
  await page.getByLabel('Command', { exact: true }).selectOption('ping');
  await page.getByRole('button', { name: 'Send to 20 devices' }).click();
  await expect(page.getByTestId('progress')).toHaveText('20 of 20 completed');
});

test('an agent that is killed is seen to go, and to come back', async () => {
  await open(page, 'devices/pi-19');
  await expect(page.getByRole('main').getByText('Online').first()).toBeVisible();
  await world.kill('pi-19');
  await expect(page.getByRole('main').getByText('Offline').first()).toBeVisible();
  await open(page, 'alerts');
  world.run('pi-19');
  await open(page, 'devices/pi-19');
  await expect(page.getByRole('main').getByText('Online').first()).toBeVisible();
});

test('a backup is made, and put back', async () => {
  await open(page, 'backups');
  await page.getByRole('button', { name: 'Make a backup' }).click();
  await page.getByLabel('Name', { exact: true }).fill('before');
  await page.getByLabel('Users and API keys').uncheck();
  await page.getByRole('button', { name: 'Make it' }).click();
  const row = page.getByRole('row', { name: /before/ });
  await expect(row).toContainText('devices');
  await world.call('POST', '/api/kubeedge/device/join', { node_name: 'late', device_id: 'late' });
  await open(page, 'devices');
  await page.getByLabel('Type').selectOption('');
  await page.getByLabel('Status').selectOption('');
  await page.getByRole('searchbox').fill('late');
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await open(page, 'backups');
  await row.getByRole('button', { name: 'Restore before' }).click();
  const dialog = page.getByRole('dialog');
  await expect(dialog.getByRole('button', { name: 'Restore', exact: true })).toBeDisabled();
  await dialog.getByLabel('Type before to go on').fill('before');
  await dialog.getByRole('button', { name: 'Restore', exact: true }).click();
  await expect(dialog.getByText('Done')).toBeVisible();
  await page.getByRole('button', { name: 'Close' }).last().click();
  const list = (await world.call('GET', '/api/kubeedge/devices?limit=100')) as { devices: { device_id: string }[] };
  expect(list.devices.map((device) => device.device_id)).not.toContain('late');
});

test('a hub that is gone is said to be, and what is shown is not called live', async () => {
  await open(page, 'devices');
  await expect(page.getByText('Live', { exact: true }).first()).toBeVisible();
  await world.killHub();
  await expect(page.getByText(/Not live\. What you see is as of \d\d:\d\d:\d\d/)).toBeVisible();
  await expect(page.getByText(/^As of \d\d:\d\d:\d\d/).first()).toBeVisible();
  await world.startHub();
  await page.getByRole('button', { name: 'Try now' }).click({ timeout: 5000 }).catch(() => {});
  await expect(page.getByText('Live', { exact: true }).first()).toBeVisible();
  await expect(page.getByText('Live again.')).toBeVisible();
  await expect(page.getByText(/Not live\./)).toHaveCount(0);
  await expect(page.getByRole('row', { name: /cam-1 .*Online/ })).toBeVisible();
});

test('who may not do something is not offered it', async ({ browser }) => {
  const vera = { username: 'vera', password: 'a password of vera' };
  await world.call('POST', '/api/kubeedge/users', { ...vera, role: 'viewer' });
  const other = await tab(browser, world);
  await logIn(other, world, vera);
  await expect(other.getByRole('navigation').getByRole('link', { name: 'Fleet' })).toBeVisible();
  for (const name of ['Join', 'Backups']) await expect(other.getByRole('navigation').getByRole('link', { name })).toHaveCount(0);
  await expect(other.getByRole('checkbox')).toHaveCount(0);
  await open(other, 'devices/cam-1');
  for (const name of ['Capture', 'Remove']) await expect(other.getByRole('button', { name, exact: true })).toHaveCount(0);
  await open(other, 'commands');
  await expect(other.getByRole('button', { name: /Send|Choose devices/ })).toHaveCount(0);
  await open(other, 'security');
  await expect(other.getByRole('link', { name: 'Certificates' })).toBeVisible();
  await expect(other.getByRole('link', { name: 'Audit log' })).toHaveCount(0);
  await other.evaluate(() => (location.hash = '#/backups'));
  await expect(other.getByText('Backups is for the role admin')).toBeVisible();
  // A session that ends leads to the login, and back.
  await world.call('PUT', '/api/kubeedge/users/vera', { password: 'another password of vera' });
  await open(other, 'alerts').catch(() => {});
  await expect(other.getByRole('button', { name: 'Log in' })).toBeVisible();
  await other.getByLabel('User').fill('vera');
  await other.getByLabel('Password').fill('another password of vera');
  await other.getByRole('button', { name: 'Log in' }).click();
  await expect(other.getByRole('heading', { name: 'Alerts' })).toBeVisible();
  await other.context().close();
});

test('a thousand devices are a list of a few rows', async ({ browser }) => {
  const many = await tab(browser, world);
  const names = Array.from({ length: 1000 }, (_, i) => `dev-${String(i).padStart(4, '0')}`);
  const now = new Date().toISOString().replace(/\.\d+/, '');
  await many.route('**/api/kubeedge/devices?*', (route) => {
    const from = Number(new URL(route.request().url()).searchParams.get('cursor') ?? 0);
    const devices = names.slice(from, from + 500).map((name) => ({
      node_name: name, device_id: name, status: 'Ready', roles: [], age: '1d', age_seconds: 1, version: null, agent_version: '0.1.0', pods_count: null, addresses: [], device_type: 'camera', location: 'Hall', joined: true, last_seen: now,
    }));
    return route.fulfill({ json: { count: 1000, devices, next_cursor: from + 500 < 1000 ? from + 500 : null } });
  });
  await logIn(many, world);
  await expect(many.getByText('1000 devices shown').or(many.getByText('1,000 devices shown'))).toBeVisible();
  const rows = many.locator('.rows .row:not(.header)');
  expect(await rows.count()).toBeLessThan(80);
  await many.locator('.rows .scroll').evaluate((box) => (box.scrollTop = box.scrollHeight));
  await expect(many.getByRole('link', { name: 'dev-0999' })).toBeVisible();
  await many.getByRole('searchbox').fill('dev-0500');
  await expect(many.getByText('1 device shown')).toBeVisible();
  await many.context().close();
});

/** What there is to look at, and what axe looks at: colours are all that a theme changes. */
const LOOKS = [
  { name: 'light', width: 1360, height: 1000, colorScheme: 'light', rules: [] },
  { name: 'dark', width: 1360, height: 1000, colorScheme: 'dark', rules: ['color-contrast'] },
  { name: 'phone', width: 390, height: 844, colorScheme: 'light', rules: ['target-size', 'scrollable-region-focusable', 'label', 'button-name'] },
] as const;

for (const { name, width, height, colorScheme, rules } of LOOKS) {
  test(`every page can be used by everybody: ${name}`, async ({ browser }) => {
    // They have done their part, and a machine may have two cores.
    for (let i = 0; i < 20; i++) await world.kill(`pi-${String(i).padStart(2, '0')}`);
    const found: string[] = [];
    const seen = await tab(browser, world, { viewport: { width, height }, colorScheme, reducedMotion: 'reduce' });
    await seen.goto(`${world.url}/`);
    await expect(seen.getByLabel('User')).toBeVisible();
    await seen.screenshot({ path: `screenshots/${name}-login.png` });
    found.push(...(await breaches(seen, rules)).map((one) => `login: ${one}`));
    await logIn(seen, world);
    for (const path of PAGES) {
      await open(seen, path);
      await settled(seen);
      found.push(...(await breaches(seen, rules)).map((one) => `${path}: ${one}`));
      const wide = await seen.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) found.push(`${path}: ${wide} px wider than the window`);
      await seen.screenshot({ path: `screenshots/${name}-${path.replaceAll('/', '-')}.png`, fullPage: name === 'phone' });
    }
    await seen.context().close();
    expect(found).toEqual([]);
  });
}

test('no page complained, and none asked anybody else', () => {
  expect(complaints).toEqual([]);
});
