// What happens, as it happens: the stream of server-sent events, by `fetch`, because that also
// shows the comments that keep it alive: a stream that has gone silent is lost, and is said to be.

import { signal } from '@preact/signals';
import { post, problemOf } from './client';
import { session } from './session';

export interface LiveEvent {
  event: 'node_joined' | 'node_left' | 'heartbeat' | 'detection' | 'command_sent' | 'command_result' | 'alert' | 'lagged';
  timestamp: string;
  node_name: string | null;
  device_id: string | null;
  [key: string]: unknown;
}

export type LiveState =
  | { kind: 'connecting' }
  | { kind: 'live' }
  /** `at`: the last moment that was live, or null where none was; `retry`: when it is tried again. */
  | { kind: 'lost'; at: number | null; retry: number; why: string };

/** How the stream is. */
export const live = signal<LiveState>({ kind: 'connecting' });
/** Counts up whenever what is shown may have missed something: then it is fetched again. */
export const resync = signal(0);

/** Comments come every 15 seconds. */
const SILENCE = 38_000;
/** How long events are gathered before the page hears of them. */
const GATHER = 150;
const LONGEST_WAIT = 15_000;

type Listener = (events: LiveEvent[]) => void;
const listeners = new Set<Listener>();
let gathered: LiveEvent[] = [];
let timer: ReturnType<typeof setTimeout> | undefined;

/** Hear of events, many at once; returns how to stop. */
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function hand(): void {
  timer = undefined;
  const events = gathered;
  gathered = [];
  for (const listener of listeners) listener(events);
}

function take(event: LiveEvent): void {
  if (event.event === 'lagged') {
    resync.value++;
    return;
  }
  gathered.push(event);
  timer ??= setTimeout(hand, GATHER);
}

let lastId: string | null = null;
let heardAt: number | null = null;
let stopping: AbortController | null = null;

/** Keeps the stream open until `stop`. */
export function start(): void {
  stop();
  const own = new AbortController();
  stopping = own;
  lastId = null;
  heardAt = null;
  live.value = { kind: 'connecting' };
  void keep(own.signal);
}

export function stop(): void {
  stopping?.abort();
  stopping = null;
}

let wake: () => void = () => {};
/** Does not wait for the next try. */
export const retryNow = (): void => wake();

async function keep(over: AbortSignal): Promise<void> {
  let failed = 0;
  while (!over.aborted && session.value) {
    const wasLost = live.value.kind === 'lost';
    let why = 'the hub closed it';
    try {
      await read(over, () => {
        failed = 0;
        live.value = { kind: 'live' };
        if (wasLost) resync.value++;
      });
    } catch (error) {
      why = error instanceof DOMException ? 'it went silent' : problemOf(error).message;
    }
    if (over.aborted || !session.value) return;
    const wait = Math.min(1000 * 2 ** failed, LONGEST_WAIT) * (0.8 + Math.random() * 0.4);
    failed++;
    live.value = { kind: 'lost', at: heardAt, retry: Date.now() + wait, why };
    await new Promise<void>((done) => {
      wake = done;
      setTimeout(done, wait);
      over.addEventListener('abort', () => done(), { once: true });
    });
  }
}

/** Reads one connection to its end. */
async function read(over: AbortSignal, opened: () => void): Promise<void> {
  const { ticket } = await post('/api/auth/ticket', { signal: over });
  const silent = new AbortController();
  const signal = AbortSignal.any([over, silent.signal]);
  const listenFor = (): ReturnType<typeof setTimeout> => setTimeout(() => silent.abort(), SILENCE);
  let alarm = listenFor();
  const cut = (): void => silent.abort();
  window.addEventListener('offline', cut);
  try {
    const headers: Record<string, string> = lastId ? { 'Last-Event-ID': lastId } : {};
    const response = await fetch(`/api/kubeedge/monitor/stream?ticket=${ticket}`, { headers, signal, cache: 'no-store' });
    if (!response.ok || !response.body) throw new Error(`the hub answered ${response.status}`);
    opened();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(alarm);
      alarm = listenFor();
      heardAt = Date.now();
      const blocks = (rest + value).split('\n\n');
      rest = blocks.pop() ?? '';
      for (const block of blocks) parse(block);
    }
  } finally {
    clearTimeout(alarm);
    window.removeEventListener('offline', cut);
  }
}

function parse(block: string): void {
  let data = '';
  for (const line of block.split('\n')) {
    if (line.startsWith('id:')) lastId = line.slice(3).trim();
    else if (line.startsWith('data:')) data += line.slice(5);
  }
  if (!data) return;
  try {
    take(JSON.parse(data) as LiveEvent);
  } catch {
    // A line that is no event says that something is missing.
    resync.value++;
  }
}

// Links to pictures hold for an hour: a page that stays open fetches them again before that.
setInterval(() => resync.value++, 45 * 60_000);
window.addEventListener('online', retryNow);
