// The agent's log, as it is written.

import { useEffect, useRef, useState } from 'preact/hooks';
import { Problem, problemOf } from '../api/client';
import { session } from '../api/session';
import { Badge, Button, Panel, Trouble } from '../ui/parts';

const LEVELS = ['error', 'warn', 'info', 'debug', 'trace'];
/** Lines that are kept. */
const MOST = 2000;

export function DeviceLogs({ id }: { id: string }) {
  const [level, choose] = useState('info');
  const [lines, write] = useState<string[]>([]);
  const [state, set] = useState<'opening' | 'following' | 'ended'>('opening');
  const [problem, blame] = useState<Problem | null>(null);
  const [round, again] = useState(0);
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    const stop = new AbortController();
    write([]);
    blame(null);
    set('opening');
    follow(id, level, stop.signal, (more) => write((old) => [...old, ...more].slice(-MOST)), () => set('following'))
      .catch((error) => stop.signal.aborted || blame(problemOf(error)))
      .finally(() => stop.signal.aborted || set('ended'));
    return () => stop.abort();
  }, [id, level, round]);
  useEffect(() => {
    if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines]);
  return (
    <Panel
      title="The agent’s log"
      actions={
        <>
          {state === 'following' ? <Badge tone="ok">Following</Badge> : state === 'opening' ? <Badge tone="quiet">Opening</Badge> : <Badge tone="warn">Ended</Badge>}
          <select aria-label="Least urgent level" value={level} onChange={(e) => choose(e.currentTarget.value)}>
            {LEVELS.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
          {state === 'ended' && <Button onClick={() => again(round + 1)}>Follow again</Button>}
        </>
      }
    >
      {problem && <Trouble problem={problem} title="The log can’t be read" />}
      <pre
        class="log"
        ref={box}
        tabIndex={0}
        aria-label={`Log of ${id}`}
        onScroll={(e) => {
          const element = e.currentTarget;
          atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < 30;
        }}
      >
        {lines.length ? lines.join('\n') : state === 'ended' ? 'Nothing was said.' : ''}
      </pre>
    </Panel>
  );
}

async function follow(id: string, level: string, signal: AbortSignal, told: (lines: string[]) => void, opened: () => void): Promise<void> {
  const response = await fetch(`/api/kubeedge/device/${encodeURIComponent(id)}/logs?follow=true&lines=300&level=${level}`, {
    headers: { Authorization: `Bearer ${session.value?.token ?? ''}` },
    signal,
    cache: 'no-store',
  });
  if (!response.ok || !response.body) {
    const said = (await response.json().catch(() => null)) as { message?: string; code?: string; request_id?: string } | null;
    throw new Problem(said?.message ?? `The hub answered ${response.status}.`, response.status, said?.code ?? '', said?.request_id ?? null);
  }
  opened();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop() ?? '';
    if (lines.length) told(lines);
  }
}
