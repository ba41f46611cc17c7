// The API, typed by its own OpenAPI document: a path, a parameter or a field that is not there
// does not compile.

import { signal } from '@preact/signals';
import type { components, paths } from './schema';
import { end, session } from './session';

/** The schemas by name: `Schema['DeviceSummary']`. */
export type Schema = components['schemas'];

type Method = 'get' | 'post' | 'put' | 'delete';
type Having<M extends Method> = {
  [P in keyof paths]: paths[P][M] extends { responses: unknown } ? P : never;
}[keyof paths];
type Json<R> = R extends { content: { 'application/json': infer J } } ? J : never;
type Answer<P extends keyof paths, M extends Method> = paths[P][M] extends {
  responses: { 200: infer R };
}
  ? Json<R>
  : never;
type Of<T, K extends string> = T extends { [key in K]?: infer V } ? V : never;
interface Arguments<P extends keyof paths, M extends Method> {
  path?: Of<Of<paths[P][M], 'parameters'>, 'path'>;
  query?: Of<Of<paths[P][M], 'parameters'>, 'query'>;
  body?: Json<NonNullable<Of<paths[P][M], 'requestBody'>>>;
  signal?: AbortSignal;
}

/** An answer that is none: what the API says is wrong, or that it could not be reached. */
export class Problem extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly requestId: string | null,
  ) {
    super(message);
  }
  /** Whether asking again may help by itself. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Any thrown thing as a problem. */
export function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem(error instanceof Error ? error.message : String(error), 0, 'page', null);
}

/** Until when the hub wants no more requests, milliseconds since the epoch; 0 where it does. */
export const heldUntil = signal(0);

/** The hub gives up an answer after 30 seconds. */
const LONGEST = 40_000;
/** How often a request is sent again that came too soon. */
const REPEATS = 5;

const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

async function request(method: string, url: string, args: { body?: unknown; signal?: AbortSignal }): Promise<unknown> {
  const token = session.value?.token;
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (token) headers['Authorization'] = `Bearer ${token}`;
  if (args.body !== undefined) headers['Content-Type'] = 'application/json';
  // A POST that is sent again after its answer was lost is done once.
  if (method === 'POST' && token && !url.endsWith('/auth/ticket')) headers['Idempotency-Key'] = crypto.getRandomValues(new Uint32Array(4)).join('-');
  for (let tries = 0; ; tries++) {
    const signals = [AbortSignal.timeout(LONGEST), ...(args.signal ? [args.signal] : [])];
    let response: Response;
    try {
      response = await fetch(url, {
        method,
        headers,
        body: args.body === undefined ? undefined : JSON.stringify(args.body),
        signal: AbortSignal.any(signals),
        cache: 'no-store',
      });
    } catch (error) {
      if (args.signal?.aborted) throw error;
      throw new Problem('The hub can’t be reached. Check that it runs and that this machine has a network.', 0, 'network', null);
    }
    const requestId = response.headers.get('x-request-id');
    const text = await response.text();
    let answer: unknown = null;
    try {
      answer = text ? JSON.parse(text) : null;
    } catch {
      throw new Problem(`The answer (${response.status}) is not the API’s.`, response.status, 'page', requestId);
    }
    if (response.ok) return answer;
    const said = answer as { message?: string; code?: string; request_id?: string } | null;
    if (response.status === 429 && tries < REPEATS && token) {
      const seconds = Math.min(Number(response.headers.get('retry-after')) || 5, 65);
      heldUntil.value = Date.now() + seconds * 1000;
      await sleep(seconds * 1000 + Math.random() * 400);
      continue;
    }
    if (response.status === 401 && token && session.value?.token === token && !url.endsWith('/auth/password')) {
      end('Your session is over. Log in to go on where you were.');
    }
    throw new Problem(
      said?.message ?? `The hub answered ${response.status}.`,
      response.status,
      said?.code ?? String(response.status),
      said?.request_id ?? requestId,
    );
  }
}

function address(path: string, args: { path?: unknown; query?: unknown }): string {
  const values = (args.path ?? {}) as Record<string, string | number>;
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(values[name])));
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries((args.query ?? {}) as Record<string, unknown>)) {
    if (value !== undefined && value !== null && value !== '') query.set(name, String(value));
  }
  return query.size ? `${filled}?${query}` : filled;
}

function caller<M extends Method>(method: M) {
  return <P extends Having<M>>(path: P, args: Arguments<P, M> = {}): Promise<Answer<P, M>> =>
    request(method.toUpperCase(), address(path, args), args) as Promise<Answer<P, M>>;
}

export const get = caller('get');
export const post = caller('post');
export const put = caller('put');
export const del = caller('delete');

/** A link of the API as one on this very origin, whatever the hub is called elsewhere; null where
 * it is none. Results are what devices say, so nothing else of a link is believed. */
export function ownLink(url: string): string | null {
  if (!URL.canParse(url, location.href)) return null;
  const parsed = new URL(url, location.href);
  return parsed.pathname.startsWith('/api/') ? parsed.pathname + parsed.search : null;
}

/** A picture's address, with what was detected in it or without. */
export function pictureUrl(url: string, boxes: boolean): string | null {
  const own = ownLink(url);
  return own && boxes ? `${own}${own.includes('?') ? '&' : '?'}boxes=true` : own;
}
