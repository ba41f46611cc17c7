// A real hub and real agents, as processes of their own, in a folder that goes with them.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../../..');
const bin = resolve(process.env.CLOUDCORE_BIN ?? join(root, 'target/debug'));
export const PHOTOS = join(root, '.cache/photos');
const MODEL = join(root, '.cache/models/nanodet.json');
export const ADMIN = { username: 'admin', password: 'a password for tests' };

interface Ready {
  http: string;
  quic: string;
  mqtt: string;
}

const wait = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** Asks until the answer is there; only gives up when it can't be meant any more. */
export async function eventually<T>(what: string, ask: () => Promise<T | null | false> | T | null | false): Promise<T> {
  const end = Date.now() + 120_000;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not within two minutes`);
    await wait(100);
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise((done) => child.once('exit', done));
}

export class World {
  private hub: ChildProcess | null = null;
  private agents = new Map<string, ChildProcess>();
  private token = '';
  ready: Ready = { http: '127.0.0.1:0', quic: '127.0.0.1:0', mqtt: '127.0.0.1:0' };

  private constructor(private readonly dir: string) {}

  static async start(): Promise<World> {
    const world = new World(mkdtempSync(join(tmpdir(), 'cloudcore-dashboard-')));
    await world.startHub();
    const { token } = (await world.call('POST', '/api/auth/login', ADMIN)) as { token: string };
    world.token = token;
    return world;
  }

  get url(): string {
    return `http://${this.ready.http}`;
  }

  /** Starts the hub; after the first time with the addresses that it had. */
  async startHub(): Promise<void> {
    const out = join(this.dir, 'hub.out');
    const log = openSync(join(this.dir, 'hub.log'), 'a');
    const said = openSync(out, 'w');
    this.hub = spawn(
      join(bin, 'cloudcore-hub'),
      ['serve', '--data-dir', join(this.dir, 'hub'), '--http', this.ready.http, '--quic', this.ready.quic, '--mqtt', this.ready.mqtt, '--rate-limit', '100000'],
      { env: { ...process.env, CLOUDCORE_ADMIN_PASSWORD: ADMIN.password }, stdio: ['ignore', said, log] },
    );
    closeSync(log);
    closeSync(said);
    const line = await eventually('the hub is ready', () => {
      if (this.hub?.exitCode !== null) throw new Error(`the hub ended: ${readFileSync(join(this.dir, 'hub.log'), 'utf8').slice(-2000)}`);
      return readFileSync(out, 'utf8').split('\n').find((text) => text.includes('"ready"'));
    });
    this.ready = JSON.parse(line) as Ready;
  }

  async killHub(): Promise<void> {
    if (!this.hub) return;
    this.hub.kill('SIGKILL');
    await ended(this.hub);
    this.hub = null;
  }

  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(this.url + path, {
      method,
      headers: { 'Content-Type': 'application/json', ...(this.token ? { Authorization: `Bearer ${this.token}` } : {}) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return JSON.parse(text);
  }

  /** What the line of a page does on a node, then the agent that runs there. */
  join(device: string, line: string, camera: boolean): void {
    const words = line.trim().split(/\s+/).slice(1);
    const more = camera ? ['--camera', `file://${PHOTOS}?fps=1`, '--model', MODEL] : [];
    const joined = spawnSync(join(bin, 'cloudcore-agent'), [...words, '--data-dir', join(this.dir, device), '--no-service', ...more], { encoding: 'utf8' });
    if (joined.status !== 0) throw new Error(`${device} did not join: ${joined.stderr}`);
    this.run(device);
  }

  run(device: string): void {
    const log = openSync(join(this.dir, `${device}.log`), 'a');
    const agent = spawn(join(bin, 'cloudcore-agent'), ['run', '--data-dir', join(this.dir, device)], { stdio: ['ignore', log, log] });
    closeSync(log);
    this.agents.set(device, agent);
  }

  async kill(device: string): Promise<void> {
    const agent = this.agents.get(device);
    if (!agent) return;
    agent.kill('SIGKILL');
    await ended(agent);
    this.agents.delete(device);
  }

  async stop(): Promise<void> {
    for (const device of [...this.agents.keys()]) await this.kill(device);
    await this.killHub();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
