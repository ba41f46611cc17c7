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
  useEffect(() => {
    const stop = new AbortController();
    const same = shown.current === key;
    shown.current = key;
    set((old) => ({ ...old, data: same ? old.data : null, error: null, loading: true }));
    fetcher(stop.signal).then(
      (data) => stop.signal.aborted || set({ data, error: null, loading: false, at: Date.now() }),
      (error) => stop.signal.aborted || set((old) => ({ ...old, error: problemOf(error), loading: false })),
    );
    return () => stop.abort();
  }, [key, round, resync.value]);
  const reload = useCallback(() => again((n) => n + 1), []);
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
