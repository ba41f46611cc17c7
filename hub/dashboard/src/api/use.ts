// Data for pages: fetched, fetched again after a gap, and told how old it is.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { type Problem, problemOf } from './client';
import { listen, live, type LiveEvent, resync } from './live';

export interface Loaded<T> {
  data: T | null;
  error: Problem | null;
  loading: boolean;
  /** When `data` came, milliseconds since the epoch. */
  at: number | null;
  reload: () => void;
  /** Changes what is shown by what an event said. */
  change: (how: (data: T) => T) => void;
}

/** Fetches when `keys` change, and whenever something may have been missed. */
export function useLoad<T>(fetcher: (signal: AbortSignal) => Promise<T>, keys: unknown[]): Loaded<T> {
  const [state, set] = useState<Omit<Loaded<T>, 'reload' | 'change'>>({ data: null, error: null, loading: true, at: null });
  const [round, again] = useState(0);
  const key = JSON.stringify(keys);
  const shown = useRef(key);
  const going = useRef({ busy: false, again: false });
  useEffect(() => {
    const stop = new AbortController();
    const same = shown.current === key;
    shown.current = key;
    going.current = { busy: true, again: false };
    set((old) => ({ ...old, data: same ? old.data : null, error: null, loading: true }));
    const done = (how: (old: Omit<Loaded<T>, 'reload' | 'change'>) => Omit<Loaded<T>, 'reload' | 'change'>): void => {
      if (stop.signal.aborted) return;
      going.current.busy = false;
      set(how);
      if (going.current.again) again((n) => n + 1);
    };
    fetcher(stop.signal).then(
      (data) => done(() => ({ data, error: null, loading: false, at: Date.now() })),
      (error) => done((old) => ({ ...old, error: problemOf(error), loading: false })),
    );
    return () => stop.abort();
  }, [key, round, resync.value]);
  // What is on its way is waited for: a slow hub is not asked ever again without being heard.
  const reload = useCallback(() => {
    if (going.current.busy) going.current.again = true;
    else again((n) => n + 1);
  }, []);
  const change = useCallback((how: (data: T) => T) => set((old) => (old.data === null ? old : { ...old, data: how(old.data) })), []);
  return { ...state, reload, change };
}

/** Hears of events while the component is shown. */
export function useEvents(listener: (events: LiveEvent[]) => void): void {
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => listen((events) => latest.current(events)), []);
}

/** Fetches again every `ms` while `active`, and not while the page is hidden. */
export function usePolling(reload: () => void, ms: number, active: boolean): void {
  useEffect(() => {
    if (!active) return;
    const timer = setInterval(() => document.visibilityState === 'visible' && live.value.kind === 'live' && reload(), ms);
    return () => clearInterval(timer);
  }, [reload, ms, active]);
}

/** Calls at once, and then at most every `ms`: events may come by the hundred, and the hub counts
 * requests. */
export function useThrottle(call: () => void, ms: number): () => void {
  const latest = useRef(call);
  latest.current = call;
  const state = useRef({ last: 0, timer: undefined as ReturnType<typeof setTimeout> | undefined });
  useEffect(() => () => clearTimeout(state.current.timer), []);
  return useCallback(() => {
    const own = state.current;
    if (own.timer !== undefined) return;
    const wait = Math.max(0, own.last + ms - Date.now());
    own.timer = setTimeout(() => {
      own.timer = undefined;
      own.last = Date.now();
      latest.current();
    }, wait);
  }, [ms]);
}
