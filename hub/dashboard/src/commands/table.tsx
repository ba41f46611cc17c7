// Commands as a list that follows what happens.

import { useState } from 'preact/hooks';
import { get } from '../api/client';
import { useEvents, useLoad, usePolling, useThrottle } from '../api/use';
import { link } from '../route';
import { words } from '../ui/format';
import { Dialog } from '../ui/dialog';
import { Ago, Await, Button, Empty } from '../ui/parts';
import { type Command, CommandDetail, type CommandState, isOpen, resultLine, StateBadge } from './life';

interface Props {
  device?: string;
  command?: string;
  status?: CommandState | '';
  limit?: number;
  /** In a narrow place: what it was and how it stands. */
  brief?: boolean;
}

export function CommandTable({ device, command, status, limit = 50, brief = false }: Props) {
  const [most, raise] = useState(limit);
  const [shown, show] = useState<string | null>(null);
  const list = useLoad(
    (signal) => get('/api/kubeedge/commands', { query: { device_id: device, command: command || undefined, status: status || undefined, limit: most }, signal }),
    [device, command, status, most],
  );
  const again = useThrottle(list.reload, 3000);
  // One fetch for many events: a fan-out has as many of them as devices.
  useEvents((events) => {
    const mine = events.filter((event) => (event.event === 'command_sent' || event.event === 'command_result') && (!device || event.device_id === device));
    if (mine.length === 0) return;
    const ended = new Map(mine.filter((event) => event.event === 'command_result').map((event) => [String(event['command_id']), event]));
    list.change((data) => ({
      ...data,
      commands: data.commands.map((known) => {
        const event = ended.get(known.command_id);
        return event ? { ...known, status: event['status'] as CommandState, result: event['result'] as Command['result'], completed_at: event.timestamp } : known;
      }),
    }));
    if (mine.some((event) => event.event === 'command_sent')) again();
  });
  usePolling(list.reload, 6000, list.data?.commands.some((known) => isOpen(known.status)) ?? false);
  return (
    <Await of={list}>
      {(data) =>
        data.commands.length === 0 ? (
          <Empty title="No commands">What is sent appears here, and its state as it changes.</Empty>
        ) : (
          <div class="table-box live-data">
            <table class="cards">
              <thead>
                <tr>
                  <th>Command</th>
                  {!device && <th>Device</th>}
                  <th>State</th>
                  {!brief && <th>Said</th>}
                  {!brief && <th>Took</th>}
                  <th>Accepted</th>
                  <th>
                    <span class="sr">Details</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {data.commands.map((known) => (
                  <tr key={known.command_id}>
                    <td class="title">{words(known.command)}</td>
                    {!device && (
                      <td data-name="Device">
                        <a href={link(['devices', known.device_id])}>{known.device_id}</a>
                      </td>
                    )}
                    <td data-name="State">
                      <StateBadge state={known.status} />
                    </td>
                    {!brief && (
                      <td data-name="Said" class="quiet">
                        {resultLine(known)}
                      </td>
                    )}
                    {!brief && (
                      <td data-name="Took" class="tight">
                        {known.execution_time ?? ''}
                      </td>
                    )}
                    <td data-name="Accepted" class="tight">
                      <Ago at={known.sent_at} />
                    </td>
                    <td class="end">
                      <Button kind="bare" onClick={() => show(known.command_id)} aria-label={`Details of ${words(known.command)} on ${known.device_id}`}>
                        Details
                      </Button>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
            {!brief && data.next_cursor != null && most < 500 && data.count > data.commands.length && (
              <div class="empty">
                <Button onClick={() => raise(Math.min(500, most + 100))}>Show more of {data.count}</Button>
              </div>
            )}
            {shown && (
              <Dialog title="Command" close={() => show(null)}>
                <CommandDetail id={shown} />
              </Dialog>
            )}
          </div>
        )
      }
    </Await>
  );
}
