// Fleet: how all devices are, live.

import { useMemo, useState } from 'preact/hooks';
import { get } from '../api/client';
import { live } from '../api/live';
import { may } from '../api/session';
import { useEvents, useLoad, usePolling, useThrottle } from '../api/use';
import { DeviceBadge } from '../fleet/badge';
import { allDevices, type Device, fleet, load, type Standing, standing, version } from '../fleet/store';
import { go, link, refine, route } from '../route';
import { plural, time } from '../ui/format';
import { Ago, Badge, Button, Empty, Field, Head, LinkButton, Meter, Panel, Skeleton, Trouble } from '../ui/parts';
import { Rows } from '../ui/rows';

type Order = 'name' | 'status' | 'cpu' | 'memory' | 'temperature' | 'seen';
const RANKS: Record<Standing, number> = { offline: 0, pending: 1, online: 2 };

const orders: Record<Order, (a: Device, b: Device) => number> = {
  name: (a, b) => a.device_id.localeCompare(b.device_id, undefined, { numeric: true }),
  status: (a, b) => RANKS[standing(a)] - RANKS[standing(b)],
  cpu: (a, b) => (b.cpu ?? -1) - (a.cpu ?? -1),
  memory: (a, b) => (b.memory ?? -1) - (a.memory ?? -1),
  temperature: (a, b) => (b.temperature ?? -1) - (a.temperature ?? -1),
  seen: (a, b) => (b.last_seen ?? '').localeCompare(a.last_seen ?? ''),
};

export function Fleet() {
  const query = route.value.query;
  const search = (query.get('q') ?? '').toLowerCase();
  const status = query.get('status') ?? '';
  const type = query.get('type') ?? '';
  const order = (query.get('sort') ?? 'name') as Order;
  const [selected, select] = useState<ReadonlySet<string>>(new Set());
  const canCommand = may('operator');

  const devices = allDevices();
  const types = [...new Set(devices.map((device) => device.device_type).filter((name): name is string => !!name))].sort();
  const shown = useMemo(() => {
    const found = allDevices().filter(
      (device) =>
        (!status || standing(device) === status) &&
        (!type || device.device_type === type) &&
        (!search || `${device.device_id} ${device.node_name} ${device.location ?? ''} ${device.addresses.map((a) => a.address).join(' ')}`.toLowerCase().includes(search)),
    );
    return found.sort((a, b) => orders[order]?.(a, b) || orders.name(a, b));
  }, [version.value, status, type, search, order]);
  const picked = shown.filter((device) => selected.has(device.device_id));
  const toggle = (id: string): void => {
    const next = new Set(selected);
    if (!next.delete(id)) next.add(id);
    select(next);
  };

  if (!fleet.value.loaded) {
    return (
      <>
        <Head title="Fleet" />
        <Panel pad={false}>{fleet.value.problem ? <Trouble problem={fleet.value.problem} retry={() => void load()} title="The devices could not be loaded" /> : <Skeleton rows={10} />}</Panel>
      </>
    );
  }
  const by = (state: Standing): number => devices.filter((device) => standing(device) === state).length;
  return (
    <>
      <Head title="Fleet" note={live.value.kind === 'lost' && fleet.value.at ? `As of ${time(live.value.at ?? fleet.value.at)}` : `${plural(devices.length, 'device')}, kept up to date as they report`}>
        {may('operator') && (
          <LinkButton kind="primary" href={link(['join'])}>
            Join a device
          </LinkButton>
        )}
      </Head>
      {fleet.value.problem && <Trouble problem={fleet.value.problem} retry={() => void load()} title="The list could not be fetched again" />}
      <Tiles online={by('online')} offline={by('offline')} pending={by('pending')} />
      <div class="filters" role="search">
        <div class="grow">
          <Field label="Search">
            {(props) => <input {...props} type="search" placeholder="Name, location or address ( / )" value={query.get('q') ?? ''} onInput={(e) => refine({ q: e.currentTarget.value })} />}
          </Field>
        </div>
        <Field label="Status">
          {(props) => (
            <select {...props} value={status} onChange={(e) => refine({ status: e.currentTarget.value })}>
              <option value="">All</option>
              <option value="online">Online</option>
              <option value="offline">Offline</option>
              <option value="pending">Not joined</option>
            </select>
          )}
        </Field>
        <Field label="Type">
          {(props) => (
            <select {...props} value={type} onChange={(e) => refine({ type: e.currentTarget.value })}>
              <option value="">All</option>
              {types.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          )}
        </Field>
        <Field label="Order">
          {(props) => (
            <select {...props} value={order} onChange={(e) => refine({ sort: e.currentTarget.value })}>
              <option value="name">Name</option>
              <option value="status">Status: offline first</option>
              <option value="cpu">CPU: highest first</option>
              <option value="memory">Memory: highest first</option>
              <option value="temperature">Temperature: highest first</option>
              <option value="seen">Seen last</option>
            </select>
          )}
        </Field>
      </div>
      <Panel pad={false}>
        {picked.length > 0 && (
          <div class="selection">
            <b>{plural(picked.length, 'device')} selected</b>
            <Button kind="primary" onClick={() => go(['commands'], { devices: picked.map((device) => device.device_id).join(',') })}>
              Send a command
            </Button>
            <Button onClick={() => select(new Set())}>Clear</Button>
          </div>
        )}
        {devices.length === 0 ? (
          <Empty title="No device has joined yet">
            {may('operator') ? <a href={link(['join'])}>Join the first one: it takes one line on the device</a> : 'Ask an operator to join one.'}
          </Empty>
        ) : shown.length === 0 ? (
          <Empty title="No device matches">
            <Button onClick={() => refine({ q: '', status: '', type: '' })}>Clear the filters</Button>
          </Empty>
        ) : (
          <Rows
            class={canCommand ? 'fleet live-data' : 'fleet live-data view'}
            label="Devices"
            items={shown}
            height={46}
            keyOf={(device) => device.device_id}
            head={<FleetHead shown={shown} picked={picked.length} select={canCommand ? select : null} />}
            row={(device) => <DeviceRow device={device} selected={selected.has(device.device_id)} toggle={canCommand ? toggle : null} />}
          />
        )}
      </Panel>
      <p class="quiet small" role="status">
        {plural(shown.length, 'device')} shown
      </p>
    </>
  );
}

function FleetHead({ shown, picked, select }: { shown: Device[]; picked: number; select: ((ids: ReadonlySet<string>) => void) | null }) {
  return (
    <>
      {select && (
        <span role="columnheader">
          <input
            type="checkbox"
            aria-label={`Select all ${shown.length} shown`}
            checked={picked === shown.length}
            ref={(box) => {
              if (box) box.indeterminate = picked > 0 && picked < shown.length;
            }}
            onChange={(e) => select(e.currentTarget.checked ? new Set(shown.map((device) => device.device_id)) : new Set())}
          />
        </span>
      )}
      <span role="columnheader">Device</span>
      <span role="columnheader">Status</span>
      <span role="columnheader" class="wide narrow-hide">Location</span>
      <span role="columnheader" class="narrow-hide">CPU</span>
      <span role="columnheader" class="narrow-hide">Memory</span>
      <span role="columnheader" class="wide narrow-hide">Temp.</span>
      <span role="columnheader" class="wide narrow-hide">Camera</span>
      <span role="columnheader" class="narrow-hide">Seen</span>
    </>
  );
}

function DeviceRow({ device, selected, toggle }: { device: Device; selected: boolean; toggle: ((id: string) => void) | null }) {
  const online = standing(device) === 'online';
  return (
    <>
      {toggle && (
        <span role="cell">
          <input type="checkbox" aria-label={`Select ${device.device_id}`} checked={selected} onChange={() => toggle(device.device_id)} />
        </span>
      )}
      <span role="cell">
        <a class="first ellipsis" href={link(['devices', device.device_id])}>
          {device.device_id}
        </a>
        <span class="quiet small ellipsis" style={{ display: 'block' }}>
          {device.node_name}
          {device.device_type && ` · ${device.device_type}`}
        </span>
      </span>
      <span role="cell">
        <DeviceBadge device={device} />
      </span>
      <span role="cell" class="wide narrow-hide ellipsis">{device.location ?? '–'}</span>
      <span role="cell" class="narrow-hide">
        <Meter value={online ? device.cpu : null} label="CPU" />
      </span>
      <span role="cell" class="narrow-hide">
        <Meter value={online ? device.memory : null} label="Memory" />
      </span>
      <span role="cell" class="wide narrow-hide">{online && device.temperature !== null ? `${Math.round(device.temperature)} °C` : '–'}</span>
      <span role="cell" class="wide narrow-hide">
        <CameraState device={device} online={online} />
      </span>
      <span role="cell" class="narrow-hide quiet">
        <Ago at={device.last_seen} />
      </span>
    </>
  );
}

function CameraState({ device, online }: { device: Device; online: boolean }) {
  if (!online || !device.camera || device.camera === 'none') return <>–</>;
  if (device.camera !== 'ready') return <Badge tone="warn">{device.camera}</Badge>;
  return device.detecting ? <Badge tone="info">Detects</Badge> : <>Ready</>;
}

function Tiles({ online, offline, pending }: { online: number; offline: number; pending: number }) {
  const metrics = useLoad((signal) => get('/api/kubeedge/metrics', { signal }), []);
  const [more, count] = useState(0);
  usePolling(metrics.reload, 60_000, true);
  const again = useThrottle(metrics.reload, 5000);
  useEvents((events) => {
    const started = events.filter((event) => event.event === 'detection' && event['phase'] === 'started').length;
    if (started) count((n) => n + started);
    if (events.some((event) => event.event === 'alert')) again();
  });
  const at = metrics.at;
  const since = useMemo(() => more, [at]);
  const summary = metrics.data?.summary;
  return (
    <div class="tiles live-data">
      <a class="tile" href={link(['devices'], { status: 'online' })}>
        <b>{online}</b>
        <span>online</span>
      </a>
      <a class="tile" href={link(['devices'], { status: 'offline' })}>
        <b>{offline}</b>
        <span>offline</span>
      </a>
      {pending > 0 && (
        <a class="tile" href={link(['devices'], { status: 'pending' })}>
          <b>{pending}</b>
          <span>not joined yet</span>
        </a>
      )}
      <a class="tile" href={link(['detections'])}>
        <b>{summary ? (summary.total_detections_today + more - since).toLocaleString() : '–'}</b>
        <span>detections today</span>
      </a>
      <a class="tile" href={link(['alerts'])}>
        <b>{metrics.data?.alerts.length ?? '–'}</b>
        <span>active alerts</span>
      </a>
      <div class="tile">
        <b>{summary?.average_latency ?? '–'}</b>
        <span>average latency</span>
      </div>
    </div>
  );
}
