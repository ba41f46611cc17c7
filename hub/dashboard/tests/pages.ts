// What the stories do again and again.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import AxeBuilder from '@axe-core/playwright';
import { type Browser, type BrowserContextOptions, expect, type Page } from '@playwright/test';
import { ADMIN, type World } from './world';

const DIST = join(import.meta.dirname, '../dist');

/** A tab of its own. With `DASHBOARD_DIST=1` its files are those of `dist/`, under the hub's own
 * policy: while one works on pages, the hub need not be built for each change. */
export async function tab(browser: Browser, world: World, options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext(options);
  if (process.env.DASHBOARD_DIST) {
    const policy = (await fetch(`${world.url}/`)).headers.get('content-security-policy') ?? '';
    await context.route(/\/(assets\/.*|icon\.svg|)$/, (route) => {
      const path = join(DIST, new URL(route.request().url()).pathname.replace(/^\/$/, 'index.html'));
      return existsSync(path) ? route.fulfill({ path, headers: { 'Content-Security-Policy': policy } }) : route.fallback();
    });
  }
  return context.newPage();
}

export async function logIn(page: Page, world: World, who = ADMIN, at = ''): Promise<void> {
  await page.goto(`${world.url}/${at}`);
  await page.getByLabel('User').fill(who.username);
  await page.getByLabel('Password').fill(who.password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await expect(page.getByRole('main').getByRole('heading', { level: 1 })).toBeVisible();
}

export async function open(page: Page, path: string): Promise<void> {
  await page.evaluate((hash) => (location.hash = hash), `#/${path}`);
  await expect(page.getByRole('main').getByRole('heading', { level: 1 })).toBeVisible();
}

/** Nothing is on its way any more. */
export async function settled(page: Page): Promise<void> {
  await expect(page.locator('.skeleton')).toHaveCount(0);
  await page.evaluate(async () => {
    const pictures = [...document.images].filter((image) => !image.complete && image.getBoundingClientRect().top < innerHeight);
    await Promise.all(pictures.map((image) => new Promise((done) => image.addEventListener('load', done, { once: true }) ?? setTimeout(done, 3000))));
  });
}

/** Breaches of accessibility that keep somebody out. Swagger's own page is not ours. */
export async function breaches(page: Page, rules: readonly string[]): Promise<string[]> {
  const axe = new AxeBuilder({ page }).setLegacyMode().exclude('iframe');
  const found = await (rules.length ? axe.withRules([...rules]) : axe).analyze();
  return found.violations
    .filter((one) => one.impact === 'serious' || one.impact === 'critical')
    .map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.target.join(' ')).join(', ')}`);
}

/** All pages, with what has to be there. */
export const PAGES = [
  'devices',
  'devices/cam-1',
  'devices/cam-1/commands',
  'devices/cam-1/configuration',
  'devices/cam-1/diagnostics',
  'devices/cam-1/logs',
  'detections',
  'commands',
  'alerts',
  'join',
  'apps',
  'backups',
  'security/users',
  'security/keys',
  'security/certificates',
  'security/log',
  'security/password',
  'settings',
  'api',
];
