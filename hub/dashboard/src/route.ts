// Where the page is: `#/devices/cam-1/commands?status=failed`. The hash needs nothing of the
// server, so every other path stays the API's.

import { signal } from '@preact/signals';

export interface Route {
  /** Decoded parts of the path. */
  parts: string[];
  query: URLSearchParams;
}

function read(): Route {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  let parts: string[];
  try {
    parts = path.split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    parts = [path];
  }
  return { parts, query: new URLSearchParams(query) };
}

export const route = signal<Route>(read());
window.addEventListener('hashchange', () => (route.value = read()));

type Query = Record<string, string | number | undefined | null>;

export function link(parts: string[], query: Query = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value) search.set(name, String(value));
  return `#/${parts.map(encodeURIComponent).join('/')}${search.size ? `?${search}` : ''}`;
}

export function go(parts: string[], query: Query = {}): void {
  location.hash = link(parts, query);
}

/** Changes filters in place: the way back is the page before, not the filter before. */
export function refine(query: Query): void {
  const merged: Query = Object.fromEntries(route.value.query);
  history.replaceState(null, '', link(route.value.parts, { ...merged, ...query }));
  route.value = read();
}
