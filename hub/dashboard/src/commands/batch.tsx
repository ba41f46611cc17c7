// One command to many devices, and how far it got. It goes on while other pages are open.

import { signal } from '@preact/signals';
import { useState } from 'preact/hooks';
import { get, post, type Problem, problemOf } from '../api/client';
import { listen, resync } from '../api/live';
import { link } from '../route';
import { plural, words } from '../ui/format';
import { Badge, Button, Panel } from '../ui/parts';
import { type CommandState, isOpen, StateBadge } from './life';
import type { Order } from './form';

interface Line {
  device: string;
  id: string | null;
  state: CommandState | 'waiting' | 'refused';
  said: string;
}
export interface Batch {
  id: number;
  command: string;
  lines: Line[];
}

export const batches = signal<Batch[]>([]);
let count = 0;
/** Requests at once. */
const AT_ONCE = 4;
/** Batches that stay on the page. */
const KEPT = 4;

function change(batch: number, how: (line: Line) => Line): void {
  batches.value = batches.value.map((known) => (known.id === batch ? { ...known, lines: known.lines.map(how) } : known));
}

/** Sends to each device; the rate limit of the hub is waited for. */
export async function sendToAll(devices: string[], order: Order): Promise<void> {
  const id = count++;
  const lines = devices.map((device): Line => ({ device, id: null, state: 'waiting', said: '' }));
  batches.value = [{ id, command: order.command, lines }, ...batches.value.slice(0, KEPT - 1)];
  const queue = [...devices];
  const worker = async (): Promise<void> => {
    for (let device = queue.shift(); device !== undefined; device = queue.shift()) {
      const target = device;
      let next: Partial<Line>;
      try {
        const sent = await post('/api/kubeedge/device/{device_id}/command', { path: { device_id: target }, body: order });
        next = { id: sent.command_id, state: 'queued' };
      } catch (error) {
        const problem: Problem = problemOf(error);
        next = { state: 'refused', said: `${problem.message}${problem.requestId ? ` (request ${problem.requestId})` : ''}` };
      }
      const early = next.id ? results.get(next.id) : undefined;
      change(id, (line) => (line.device === target ? { ...line, ...next, ...early } : line));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  void follow(id);
}

/** Results that came before the answer that names their command. */
const results = new Map<string, { state: CommandState; said: string }>();

listen((events) => {
  let changed = false;
  for (const event of events) {
    if (event.event !== 'command_result') continue;
    const result = event['result'] as { message?: string; error?: string } | null;
    results.set(String(event['command_id']), { state: event['status'] as CommandState, said: result?.message ?? result?.error ?? '' });
    if (results.size > 2000) results.delete(results.keys().next().value as string);
    changed = true;
  }
  if (!changed) return;
  batches.value = batches.value.map((batch) => ({
    ...batch,
    lines: batch.lines.map((line) => {
      const found = line.id ? results.get(line.id) : undefined;
      return found ? { ...line, ...found } : line;
    }),
  }));
});

/** What the stream did not tell is asked for, until all have ended. */
async function follow(id: number): Promise<void> {
  for (;;) {
    await new Promise((done) => setTimeout(done, 6000));
    const batch = batches.value.find((known) => known.id === id);
    const open = batch?.lines.filter((line) => line.state !== 'refused' && line.state !== 'waiting' && isOpen(line.state)) ?? [];
    if (!batch || open.length === 0) return;
    try {
      const list = await get('/api/kubeedge/commands', { query: { command: batch.command, limit: 500 } });
      const states = new Map(list.commands.map((command) => [command.command_id, command]));
      change(id, (line) => {
        const found = line.id ? states.get(line.id) : undefined;
        if (!found || !line.id || results.has(line.id)) return line;
        const result = found.result as { message?: string; error?: string } | null | undefined;
        return { ...line, state: found.status, said: result?.message ?? result?.error ?? line.said };
      });
    } catch {
      // It is tried again; what is shown keeps its state.
    }
  }
}
resync.subscribe(() => {
  for (const batch of batches.peek()) void follow(batch.id);
});

export function BatchPanel({ batch }: { batch: Batch }) {
  const [all, showAll] = useState(false);
  const of = (...states: Line['state'][]): number => batch.lines.filter((line) => states.includes(line.state)).length;
  const done = of('completed');
  const failed = of('failed', 'timed_out', 'cancelled', 'expired', 'refused');
  const going = batch.lines.length - done - failed;
  const shown = all ? batch.lines : batch.lines.filter((line) => line.state !== 'completed').slice(0, 8);
  return (
    <Panel
      title={`${words(batch.command)} to ${plural(batch.lines.length, 'device')}`}
      actions={
        <Button kind="bare" icon="close" aria-label="Dismiss" onClick={() => (batches.value = batches.value.filter((known) => known.id !== batch.id))} />
      }
    >
      <div class="stack">
        <div class="segments" role="img" aria-label={`${done} completed, ${failed} not, ${going} going on`}>
          <i class="seg ok" style={{ flexGrow: done }} />
          <i class="seg bad" style={{ flexGrow: failed }} />
          <i class="seg info" style={{ flexGrow: of('sent', 'running') }} />
          <i style={{ flexGrow: of('waiting', 'queued') }} />
        </div>
        <p role="status" data-testid="progress">
          {done} of {batch.lines.length} completed{failed > 0 && `, ${failed} did not`}
          {going > 0 && `, ${going} going on`}
        </p>
        {shown.length > 0 && (
          <div class="table-box">
            <table>
              <tbody>
                {shown.map((line) => (
                  <tr key={line.device}>
                    <td>
                      <a href={link(['devices', line.device, 'commands'])}>{line.device}</a>
                    </td>
                    <td>{line.state === 'waiting' ? <Badge tone="quiet">Not sent yet</Badge> : line.state === 'refused' ? <Badge tone="bad">Refused</Badge> : <StateBadge state={line.state} />}</td>
                    <td class="quiet">{line.said}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        <div class="buttons left">
          <Button kind="bare" onClick={() => showAll(!all)}>
            {all ? 'Show less' : 'Show every device'}
          </Button>
        </div>
      </div>
    </Panel>
  );
}
