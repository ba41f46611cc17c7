// Device: one of them, whole.

import { useState } from 'preact/hooks';
import { del, get, post, type Schema } from '../api/client';
import { may } from '../api/session';
import { useEvents, useLoad, useThrottle } from '../api/use';
import { CommandForm } from '../commands/form';
import { CommandDetail } from '../commands/life';
import { CommandTable } from '../commands/table';
import { DeviceBadge } from '../fleet/badge';
import { deviceOf, fleet, load, standing, version } from '../fleet/store';
import { go, link, route } from '../route';
import { bytes, fullTime, span } from '../ui/format';
import { Confirm, Dialog, useAction } from '../ui/dialog';
import { tell } from '../ui/notes';
import { Ago, Await, Badge, Button, Empty, Facts, Head, Panel, Trouble } from '../ui/parts';
import { DeviceApps } from './device-apps';
import { DeviceCharts } from './device-charts';
import { DeviceDiagnostics } from './device-diagnostics';
import { DeviceLogs } from './device-logs';
import { LatestPicture } from './device-picture';
import { Timeline } from './device-timeline';

type Details = Schema['DeviceOverview'];

const TABS: [string, string, 'viewer' | 'operator'][] = [
  ['', 'Overview', 'viewer'],
  ['commands', 'Commands', 'viewer'],
  ['configuration', 'Configuration', 'viewer'],
  ['diagnostics', 'Diagnostics', 'operator'],
  ['logs', 'Log', 'operator'],
];

export function DevicePage({ id }: { id: string }) {
  const details = useLoad((signal) => get('/api/kubeedge/device/{device_id}', { path: { device_id: id }, signal }), [id]);
  const [removing, remove] = useState(false);
  const [pending, wait] = useState<string | null>(null);
  const again = useThrottle(details.reload, 3000);
  useEvents((events) => {
    const mine = events.filter((event) => event.device_id === id);
    if (mine.some((event) => event.event === 'node_joined' || event.event === 'node_left' || event.event === 'alert')) again();
  });
  const capture = useAction(() => post('/api/kubeedge/device/{device_id}/command', { path: { device_id: id }, body: { command: 'capture_image' } }), (sent) => wait(sent.command_id));
  void version.value;
  const device = deviceOf(id);
  const tab = route.value.parts[2] ?? '';

  if (details.error?.status === 404 || (details.error === null && fleet.value.loaded && !device && details.data === null && !details.loading)) {
    return (
      <>
        <Head title={id} />
        <Empty title="There is no such device">
          <a href={link(['devices'])}>Go to the fleet</a>
        </Empty>
      </>
    );
  }
  return (
    <>
      <Head
        title={id}
        note={
          <span class="line">
            {device && <DeviceBadge device={device} />}
            <span>
              {details.data?.node_name}
              {details.data?.location && ` · ${details.data.location}`} · seen <Ago at={device?.last_seen} />
            </span>
          </span>
        }
      >
        {may('operator') && (
          <>
            <Button icon="camera" kind="primary" busy={capture.busy} disabled={!device || standing(device) !== 'online'} onClick={() => void capture.run()}>
              Capture
            </Button>
            <Button kind="danger" onClick={() => remove(true)}>
              Remove
            </Button>
          </>
        )}
      </Head>
      {capture.problem && <Trouble problem={capture.problem} title="The picture was not asked for" />}
      <nav class="tabs" aria-label={`Parts of ${id}`}>
        {TABS.filter(([, , role]) => may(role)).map(([name, label]) => (
          <a key={name} href={link(name ? ['devices', id, name] : ['devices', id])} aria-current={name === tab ? 'page' : undefined}>
            {label}
          </a>
        ))}
      </nav>
      <Await of={details}>
        {(data) => {
          switch (tab) {
            case 'commands':
              return <DeviceCommands id={id} />;
            case 'configuration':
              return <Configuration id={id} data={data} />;
            case 'diagnostics':
              return may('operator') ? <DeviceDiagnostics id={id} /> : null;
            case 'logs':
              return may('operator') ? <DeviceLogs id={id} /> : null;
            default:
              return <Overview id={id} data={data} />;
          }
        }}
      </Await>
      {pending && (
        <Dialog title="Capture" close={() => wait(null)}>
          <CommandDetail id={pending} />
        </Dialog>
      )}
      {removing && (
        <Confirm
          title={`Remove ${id}?`}
          verb="Remove the device"
          typed={id}
          act={() => del('/api/kubeedge/device/{device_id}', { path: { device_id: id } })}
          close={() => remove(false)}
          done={() => {
            tell(`${id} was removed`);
            void load();
            go(['devices']);
          }}
        >
          <p>Its membership ends, its session is cut, and what the hub knows of it is gone. It has to join again to come back.</p>
        </Confirm>
      )}
    </>
  );
}

function Overview({ id, data }: { id: string; data: Details }) {
  const device = deviceOf(id);
  const status = data.device_status;
  const online = device !== undefined && standing(device) === 'online';
  return (
    <div class="stack live-data">
      {!online && (
        <p role="status">
          <Badge tone="warn">Away</Badge> {data.joined ? 'What follows is what it said last.' : 'It has not joined yet.'}
        </p>
      )}
      {status.camera_error && (
        <p role="status">
          <Badge tone="bad">Camera</Badge> {status.camera_error}
        </p>
      )}
      <DeviceCharts id={id} status={status} />
      <div class="grid wide-left">
        <div class="stack">
          <LatestPicture id={id} />
          <Timeline id={id} />
        </div>
        <div class="stack">
          <Panel title="About">
            <Facts
              of={[
                ['Type', data.device_type],
                ['Agent', data.agent_version],
                ['System', data.platform.os],
                ['Machine', [data.platform.hostname, data.platform.arch].filter(Boolean).join(', ') || null],
                ['Up for', status.uptime_seconds != null ? span(status.uptime_seconds) : null],
                ['Disk', status.disk_total_bytes ? `${bytes(status.disk_used_bytes ?? 0)} of ${bytes(status.disk_total_bytes)}` : null],
                ['Camera', status.camera],
                ['Detecting', status.detecting == null ? null : (device?.detecting ?? status.detecting) ? 'yes' : 'no'],
                ['Waits to be sent', status.outbox_events != null ? `${status.outbox_events} events` : null],
                ['Detections', data.metrics.total_detections.toLocaleString()],
                ['Latency', data.metrics.average_latency],
                ['Last heartbeat', status.last_heartbeat ? fullTime(status.last_heartbeat) : null],
              ]}
            />
          </Panel>
          <DeviceApps id={id} apps={data.applications} />
          <Panel title="Latest commands" pad={false} actions={<a href={link(['devices', id, 'commands'])}>All</a>}>
            <CommandTable device={id} limit={5} brief />
          </Panel>
        </div>
      </div>
    </div>
  );
}

function DeviceCommands({ id }: { id: string }) {
  const [sent, keep] = useState<string | null>(null);
  const send = useAction((order: Schema['SendCommand']) => post('/api/kubeedge/device/{device_id}/command', { path: { device_id: id }, body: order }), (answer) => keep(answer.command_id));
  return (
    <div class="stack">
      {may('operator') && (
        <Panel title="Send a command">
          <div class="stack">
            <CommandForm busy={send.busy} verb="Send" send={(order) => void send.run(order)} />
            {send.problem && <Trouble problem={send.problem} title="The command was refused" />}
          </div>
        </Panel>
      )}
      <Panel title="Commands" pad={false}>
        <CommandTable device={id} />
      </Panel>
      {sent && (
        <Dialog title="Command" close={() => keep(null)}>
          <CommandDetail id={sent} />
        </Dialog>
      )}
    </div>
  );
}

function Configuration({ id, data }: { id: string; data: Details }) {
  const [sent, keep] = useState<string | null>(null);
  const send = useAction((order: Schema['SendCommand']) => post('/api/kubeedge/device/{device_id}/command', { path: { device_id: id }, body: order }), (answer) => keep(answer.command_id));
  return (
    <div class="grid wide-left">
      {may('operator') ? (
        <Panel title="Change settings of the agent">
          <div class="stack">
            <p class="help">What is filled in is changed; all else stays. It holds once the device has said so.</p>
            <CommandForm only="set_config" busy={send.busy} verb="Change" send={(order) => void send.run(order)} />
            {send.problem && <Trouble problem={send.problem} title="The settings were refused" />}
          </div>
        </Panel>
      ) : null}
      <Panel title="As the hub knows it">
        <pre class="code-box" tabIndex={0}>{JSON.stringify(data.configuration, null, 2)}</pre>
      </Panel>
      {sent && (
        <Dialog title="Change of settings" close={() => keep(null)}>
          <CommandDetail id={sent} />
        </Dialog>
      )}
    </div>
  );
}
