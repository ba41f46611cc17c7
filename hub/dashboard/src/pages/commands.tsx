// Commands: sent to one device or many, and what became of them.

import { useState } from 'preact/hooks';
import { may } from '../api/session';
import { BatchPanel, batches, sendToAll } from '../commands/batch';
import { CommandForm } from '../commands/form';
import type { CommandState } from '../commands/life';
import { COMMANDS } from '../commands/schema';
import { CommandTable } from '../commands/table';
import { DeviceBadge } from '../fleet/badge';
import { allDevices, standing, version } from '../fleet/store';
import { refine, route } from '../route';
import { plural, words } from '../ui/format';
import { Button, Field, Head, Panel } from '../ui/parts';

const STATES: CommandState[] = ['queued', 'sent', 'running', 'completed', 'failed', 'timed_out', 'cancelled', 'expired'];

export function Commands() {
  const query = route.value.query;
  const [targets, aim] = useState<ReadonlySet<string>>(() => new Set((query.get('devices') ?? '').split(',').filter(Boolean)));
  return (
    <>
      <Head title="Commands" note="What is accepted is kept and done once, also when a device is away meanwhile." />
      {may('operator') && (
        <div class="split">
          <Panel title="To whom">
            <Targets targets={targets} aim={aim} />
          </Panel>
          <Panel title="What">
            <CommandForm busy={false} verb={targets.size === 0 ? 'Choose devices first' : `Send to ${plural(targets.size, 'device')}`} disabled={targets.size === 0} send={(order) => void sendToAll([...targets], order)} />
          </Panel>
        </div>
      )}
      {batches.value.map((batch) => (
        <BatchPanel key={batch.id} batch={batch} />
      ))}
      <Panel
        title="All commands"
        pad={false}
        actions={
          <div class="line">
            <select aria-label="Only this command" value={query.get('command') ?? ''} onChange={(e) => refine({ command: e.currentTarget.value })}>
              <option value="">All commands</option>
              {COMMANDS.map((command) => (
                <option key={command.name} value={command.name}>
                  {command.label}
                </option>
              ))}
            </select>
            <select aria-label="Only this state" value={query.get('state') ?? ''} onChange={(e) => refine({ state: e.currentTarget.value })}>
              <option value="">All states</option>
              {STATES.map((state) => (
                <option key={state} value={state}>
                  {words(state)}
                </option>
              ))}
            </select>
          </div>
        }
      >
        <CommandTable command={query.get('command') ?? ''} status={(query.get('state') ?? '') as CommandState | ''} />
      </Panel>
    </>
  );
}

/** Rows of the list; more are found by typing. */
const MOST = 200;

function Targets({ targets, aim }: { targets: ReadonlySet<string>; aim: (targets: ReadonlySet<string>) => void }) {
  const [search, find] = useState('');
  void version.value;
  const all = allDevices().sort((a, b) => a.device_id.localeCompare(b.device_id, undefined, { numeric: true }));
  const wanted = search.toLowerCase();
  const shown = all.filter((device) => `${device.device_id} ${device.node_name} ${device.location ?? ''} ${device.device_type ?? ''}`.toLowerCase().includes(wanted));
  const add = (ids: string[]): void => aim(new Set([...targets, ...ids]));
  const toggle = (id: string): void => {
    const next = new Set(targets);
    if (!next.delete(id)) next.add(id);
    aim(next);
  };
  return (
    <div class="stack">
      <Field label="Find devices">{(props) => <input {...props} type="search" value={search} onInput={(e) => find(e.currentTarget.value)} placeholder="Name, location or type" />}</Field>
      <div class="line">
        <Button onClick={() => add(shown.map((device) => device.device_id))}>Add all {shown.length}</Button>
        <Button onClick={() => add(shown.filter((device) => standing(device) === 'online').map((device) => device.device_id))}>Add online</Button>
        <Button onClick={() => aim(new Set())} disabled={targets.size === 0}>
          Clear
        </Button>
      </div>
      <fieldset>
        <legend>{plural(targets.size, 'device')} chosen</legend>
        <div class="targets" tabIndex={0} role="group" aria-label="Devices">
          {shown.slice(0, MOST).map((device) => (
            <label class="check" key={device.device_id}>
              <input type="checkbox" checked={targets.has(device.device_id)} onChange={() => toggle(device.device_id)} />
              <span class="ellipsis">{device.device_id}</span>
              <DeviceBadge device={device} />
            </label>
          ))}
          {shown.length > MOST && <p class="check quiet">{shown.length - MOST} more: type to find them</p>}
          {shown.length === 0 && <p class="check quiet">No device matches.</p>}
        </div>
      </fieldset>
    </div>
  );
}
