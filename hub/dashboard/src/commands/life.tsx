// A command's life, in words.

import { useEffect, useState } from 'preact/hooks';
import { del, get, ownLink, type Schema } from '../api/client';
import { may } from '../api/session';
import { useEvents, useLoad, usePolling } from '../api/use';
import { link } from '../route';
import { time } from '../ui/format';
import { useAction } from '../ui/dialog';
import { Badge, Button, Facts, Skeleton, Trouble } from '../ui/parts';
import { Picture } from '../ui/picture';

export type CommandState = Schema['CommandState'];
export type Command = Schema['CommandStatus'];

export const isOpen = (state: CommandState): boolean => state === 'queued' || state === 'sent' || state === 'running';

const TONES: Record<CommandState, 'ok' | 'bad' | 'warn' | 'info' | 'quiet'> = {
  queued: 'quiet',
  sent: 'info',
  running: 'info',
  completed: 'ok',
  failed: 'bad',
  timed_out: 'bad',
  cancelled: 'quiet',
  expired: 'warn',
};
const SAID: Record<CommandState, string> = {
  queued: 'Waits for the device',
  sent: 'Sent',
  running: 'Running',
  completed: 'Completed',
  failed: 'Failed',
  timed_out: 'Timed out',
  cancelled: 'Cancelled',
  expired: 'Expired',
};

export function StateBadge({ state }: { state: CommandState }) {
  return <Badge tone={TONES[state]}>{SAID[state]}</Badge>;
}

/** What a result says in a line. */
export function resultLine(command: Command): string {
  const result = (command.result ?? {}) as Record<string, unknown>;
  if (typeof result['message'] === 'string') return result['message'];
  if (typeof result['error'] === 'string') return result['error'];
  if (result['image_url']) return `A picture, ${String(result['size'] ?? '')}`;
  return '';
}

/** One command as it happens, with its whole result. */
export function CommandDetail({ id }: { id: string }) {
  const command = useLoad((signal) => get('/api/kubeedge/command/{command_id}/status', { path: { command_id: id }, signal }), [id]);
  const open = command.data !== null && isOpen(command.data.status);
  useEvents((events) => events.some((event) => event['command_id'] === id) && command.reload());
  // That it was sent, or runs, is no event; it is so soon, or for long.
  const isYoung = open && Date.now() - Date.parse(command.data?.sent_at ?? '') < 15_000;
  usePolling(command.reload, isYoung ? 1500 : 6000, open);
  const cancel = useAction(() => del('/api/kubeedge/command/{command_id}', { path: { command_id: id } }), command.reload);
  const known = command.data;
  if (!known) return command.error ? <Trouble problem={command.error} retry={command.reload} /> : <Skeleton />;
  const result = (known.result ?? null) as Record<string, unknown> | null;
  const url = typeof result?.['image_url'] === 'string' ? result['image_url'] : null;
  const file = typeof result?.['file_url'] === 'string' ? ownLink(result['file_url']) : null;
  return (
    <div class="stack" aria-live="polite">
      <Facts
        of={[
          ['State', <StateBadge state={known.status} />],
          ['Device', <a href={link(['devices', known.device_id])}>{known.device_id}</a>],
          ['Accepted', time(known.sent_at)],
          [open ? 'Must end by' : 'Ended', time(open ? known.deadline : (known.completed_at ?? known.deadline))],
          ['Took', known.execution_time ?? (open ? <Elapsed since={known.sent_at} /> : null)],
          ['Id', <code>{known.command_id}</code>],
        ]}
      />
      {url && <Picture url={url} alt={`Taken by ${known.device_id}`} eager />}
      {file && (
        <a href={file} rel="noreferrer">
          Download the file
        </a>
      )}
      {result && (
        <details open={!url}>
          <summary>Result</summary>
          <pre class="code-box" tabIndex={0}>{readable(result)}</pre>
        </details>
      )}
      {cancel.problem && <Trouble problem={cancel.problem} />}
      {open && may('operator') && (
        <div class="buttons">
          <Button kind="danger" busy={cancel.busy} onClick={() => void cancel.run()}>
            Cancel the command
          </Button>
        </div>
      )}
    </div>
  );
}

/** Text that has lines is shown as lines. */
function readable(result: Record<string, unknown>): string {
  const logs = result['logs'] ?? result['stdout'];
  if (typeof logs === 'string' && logs) return logs;
  return JSON.stringify(result, null, 2);
}

function Elapsed({ since }: { since: string }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  return <>{Math.max(0, Math.round((Date.now() - Date.parse(since)) / 1000))} s so far</>;
}
