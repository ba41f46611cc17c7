// All devices, kept up to date by events and not by fetching them again.

import { signal } from '@preact/signals';
import { get, type Problem, problemOf, type Schema } from '../api/client';
import { listen, type LiveEvent, resync } from '../api/live';

type Summary = Schema['DeviceSummary'];

export interface Device extends Summary {
  cpu: number | null;
  memory: number | null;
  temperature: number | null;
  detecting: boolean | null;
  camera: string | null;
  /** What was measured while this page was open. */
  history: Point[];
}
export interface Point {
  /** Seconds since the epoch. */
  at: number;
  cpu: number | null;
  memory: number | null;
  temperature: number | null;
}

/** Points kept of each device: half an hour of heartbeats. */
const MOST = 180;
const PAGE = 500;

const devices = new Map<string, Device>();
/** Counts up when any device has changed. */
export const version = signal(0);
export const fleet = signal<{ loaded: boolean; problem: Problem | null; at: number | null }>({ loaded: false, problem: null, at: null });

export const deviceOf = (id: string): Device | undefined => devices.get(id);
export const allDevices = (): Device[] => [...devices.values()];

export type Standing = 'online' | 'offline' | 'pending';
export function standing(device: Device): Standing {
  if (device.status === 'Ready') return 'online';
  return device.joined || device.last_seen ? 'offline' : 'pending';
}

let loading = false;
let again = false;

/** Fetches the whole list; who is gone goes, who is known keeps what was measured. */
export async function load(): Promise<void> {
  if (loading) {
    again = true;
    return;
  }
  loading = true;
  try {
    const found = new Set<string>();
    let cursor: number | undefined;
    do {
      const page = await get('/api/kubeedge/devices', { query: { limit: PAGE, cursor } });
      for (const summary of page.devices) {
        found.add(summary.device_id);
        const known = devices.get(summary.device_id);
        devices.set(summary.device_id, {
          ...(known ?? { cpu: null, memory: null, temperature: null, detecting: null, camera: null, history: [] }),
          ...summary,
        });
      }
      cursor = page.next_cursor ?? undefined;
    } while (cursor !== undefined);
    for (const id of devices.keys()) if (!found.has(id)) devices.delete(id);
    fleet.value = { loaded: true, problem: null, at: Date.now() };
  } catch (error) {
    fleet.value = { ...fleet.value, problem: problemOf(error) };
  }
  version.value++;
  loading = false;
  if (again) {
    again = false;
    void load();
  }
}

const number = (value: unknown): number | null => (typeof value === 'number' ? value : null);

/** Takes what a heartbeat says. */
function measure(device: Device, event: LiveEvent): void {
  const total = number(event['memory_total_bytes']);
  const used = number(event['memory_used_bytes']);
  device.cpu = number(event['cpu_percent']);
  device.memory = total && used !== null ? (used / total) * 100 : null;
  device.temperature = number(event['temperature_celsius']);
  device.detecting = typeof event['detecting'] === 'boolean' ? event['detecting'] : null;
  device.camera = typeof event['camera'] === 'string' ? event['camera'] : null;
  device.last_seen = event.timestamp;
  const at = Date.parse(event.timestamp) / 1000;
  const last = device.history.at(-1);
  if (last && at <= last.at) return;
  device.history = [...device.history.slice(1 - MOST), { at, cpu: device.cpu, memory: device.memory, temperature: device.temperature }];
}

/** How often, at most, the list is fetched for devices that are not in it, ms. */
const BETWEEN = 2000;
let askedAt = 0;

function apply(events: LiveEvent[]): void {
  let changed = false;
  let unknown = false;
  for (const event of events) {
    const device = event.device_id ? devices.get(event.device_id) : undefined;
    if (!device) {
      unknown ||= event.event === 'node_joined' || event.event === 'heartbeat';
      continue;
    }
    changed = true;
    if (event.event === 'node_joined') {
      device.status = 'Ready';
      device.joined = true;
      device.last_seen = event.timestamp;
    } else if (event.event === 'node_left') {
      device.status = 'NotReady';
      device.cpu = device.memory = device.temperature = null;
    } else if (event.event === 'heartbeat') {
      measure(device, event);
    }
  }
  if (changed) version.value++;
  if (unknown && Date.now() - askedAt > BETWEEN) {
    askedAt = Date.now();
    void load();
  }
}

let stop: (() => void)[] = [];

/** Keeps the fleet from a login to its end. */
export function keepFleet(): () => void {
  for (const end of stop) end();
  devices.clear();
  fleet.value = { loaded: false, problem: null, at: null };
  // Also runs now.
  stop = [listen(apply), resync.subscribe(() => void load())];
  return () => {
    for (const end of stop) end();
    stop = [];
    devices.clear();
  };
}
