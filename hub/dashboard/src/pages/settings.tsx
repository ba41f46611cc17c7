// Settings: what holds, and what an administrator may change while the hub runs.

import { useState } from 'preact/hooks';
import { get, post, put, type Schema } from '../api/client';
import { may } from '../api/session';
import { useLoad } from '../api/use';
import { Confirm, useAction } from '../ui/dialog';
import { span } from '../ui/format';
import { tell } from '../ui/notes';
import { Await, Badge, Button, Facts, Field, Head, Panel, Trouble } from '../ui/parts';
import { theme, type Theme } from '../ui/theme';
import { Webhooks } from './settings-webhooks';

type Config = Schema['Configuration'];

export function Settings() {
  const config = useLoad((signal) => get('/api/kubeedge/config', { signal }), []);
  const health = useLoad((signal) => get('/api/kubeedge/metrics/health', { signal }), []);
  return (
    <>
      <Head title="Settings" note="What is changed here holds at once, and over restarts." />
      <div class="grid">
        <Panel title="The hub">
          <Await of={health}>
            {(data) => (
              <Facts
                of={[
                  ['State', <Badge tone={data.status === 'healthy' ? 'ok' : data.status === 'degraded' ? 'warn' : 'bad'}>{data.status}</Badge>],
                  ['Version', data.version],
                  ['Up for', span(data.uptime_seconds)],
                  ['Memory', data.memory_usage],
                  ['Database', `${data.components.database.status}${data.components.database.latency_ms != null ? `, ${data.components.database.latency_ms.toFixed(1)} ms` : ''}`],
                  ['Object store', data.components.object_store.status],
                  ['Agents connected', String(data.components.link.sessions)],
                  ['Kubernetes', data.components.kubernetes.status.replaceAll('_', ' ')],
                ]}
              />
            )}
          </Await>
        </Panel>
        <Maintenance />
        <Panel title="This page">
          <Field label="Theme">
            {(props) => (
              <select {...props} value={theme.value} onChange={(e) => (theme.value = e.currentTarget.value as Theme)}>
                <option value="system">As the system</option>
                <option value="light">Light</option>
                <option value="dark">Dark</option>
              </select>
            )}
          </Field>
          <p class="help">
            Keys: <kbd>/</kbd> search, <kbd>g</kbd> then <kbd>f</kbd> fleet, <kbd>d</kbd> detections, <kbd>c</kbd> commands, <kbd>a</kbd> alerts, <kbd>j</kbd> join.
          </p>
        </Panel>
      </div>
      <Await of={config}>{(data) => <Form key={JSON.stringify(data)} config={data} done={config.reload} />}</Await>
      {may('admin') && <Webhooks />}
    </>
  );
}

function Maintenance() {
  const standing = useLoad((signal) => get('/api/kubeedge/maintenance/status', { signal }), []);
  const [asking, ask] = useState(false);
  const [reason, say] = useState('');
  const stop = useAction(() => post('/api/kubeedge/maintenance/stop'), (answer) => {
    tell(answer.message);
    standing.reload();
  });
  return (
    <Panel title="Maintenance">
      <Await of={standing}>
        {(data) => (
          <div class="stack">
            <p>
              {data.active ? <Badge tone="warn">In maintenance</Badge> : <Badge tone="ok">In operation</Badge>} {data.active && `${data.reason ?? ''} (${data.by ?? ''})`}
            </p>
            <p class="help">In maintenance joins, commands, deploys and tokens are refused; agents stay connected.</p>
            {may('admin') && (
              <div class="buttons left">
                {data.active ? (
                  <Button kind="primary" busy={stop.busy} onClick={() => void stop.run()}>
                    End the maintenance
                  </Button>
                ) : (
                  <Button onClick={() => ask(true)}>Begin maintenance</Button>
                )}
              </div>
            )}
            {stop.problem && <Trouble problem={stop.problem} />}
          </div>
        )}
      </Await>
      {asking && (
        <Confirm title="Begin maintenance?" verb="Begin" act={() => post('/api/kubeedge/maintenance/start', { body: { reason: reason || null } })} close={() => ask(false)} done={standing.reload}>
          <p>Joins, commands, deploys and tokens are refused until it ends.</p>
          <Field label="Reason">{(props) => <input {...props} value={reason} onInput={(e) => say(e.currentTarget.value)} maxLength={200} />}</Field>
        </Confirm>
      )}
    </Panel>
  );
}

function Form({ config, done }: { config: Config; done: () => void }) {
  const start: Record<string, string> = {
    token_expiry: String(config.security.token_expiry),
    max_devices: String(config.limits.max_devices),
    rate_limit: String(config.security.rate_limit),
    cpu_percent: String(config.alerts.cpu_percent ?? ''),
    cpu_seconds: String(config.alerts.cpu_seconds ?? ''),
    memory_percent: String(config.alerts.memory_percent ?? ''),
    disk_percent: String(config.alerts.disk_percent ?? ''),
    temperature_celsius: String(config.alerts.temperature_celsius ?? ''),
    certificate_days: String(config.alerts.certificate_days ?? ''),
  };
  const retention = JSON.stringify(config.retention.objects ?? {});
  const [values, set] = useState(start);
  const [tls, require] = useState(config.security.require_tls);
  const [objects, keep] = useState(retention);
  const [fault, blame] = useState<string | null>(null);
  const save = useAction((body: Schema['ConfigurationChange']) => put('/api/kubeedge/config', { body }), (answer) => {
    tell(answer.message);
    done();
  });
  const admin = may('admin');
  const number = (name: string, label: string, min: number, max: number, help?: string) => (
    <Field label={label} help={help} key={name}>
      {(props) => <input {...props} type="number" min={min} max={max} required disabled={!admin} value={values[name]} onInput={(e) => set({ ...values, [name]: e.currentTarget.value })} />}
    </Field>
  );
  const submit = (event: Event): void => {
    event.preventDefault();
    const changed = (name: string): number | undefined => (values[name] !== start[name] ? Number(values[name]) : undefined);
    const body: Schema['ConfigurationChange'] = {
      token_expiry: changed('token_expiry'),
      max_devices: changed('max_devices'),
      security: { rate_limit: changed('rate_limit'), require_tls: tls !== config.security.require_tls ? tls : undefined },
      alerts: Object.fromEntries(['cpu_percent', 'cpu_seconds', 'memory_percent', 'disk_percent', 'temperature_celsius', 'certificate_days'].map((name) => [name, changed(name)])),
    };
    blame(null);
    if (objects !== retention) {
      try {
        body.retention = { objects: JSON.parse(objects) };
      } catch {
        blame('This is no JSON.');
        return;
      }
    }
    void save.run(body);
  };
  return (
    <form class="stack" onSubmit={submit}>
      <div class="grid">
        <Panel title="Limits and security">
          <div class="form two">
            {number('token_expiry', 'Hours of a join token', 1, 8760)}
            {number('max_devices', 'Most devices', 1, 1_000_000)}
            {number('rate_limit', 'Requests a minute', 0, 1_000_000, 'For each user, key or address.')}
            <label class="check">
              <input type="checkbox" checked={tls} disabled={!admin} onChange={(e) => require(e.currentTarget.checked)} /> Require TLS
            </label>
          </div>
          <p class="help">{config.security.tls_enabled ? 'The API has a TLS listener.' : 'The API has no TLS listener: start the hub with --https to require TLS.'}</p>
        </Panel>
        <Panel title="When alerts begin">
          <div class="form two">
            {number('cpu_percent', 'CPU, %', 1, 100)}
            {number('cpu_seconds', 'for so many seconds', 0, 86_400)}
            {number('memory_percent', 'Memory, %', 1, 100)}
            {number('disk_percent', 'Disk, %', 1, 100)}
            {number('temperature_celsius', 'Temperature, °C', 1, 150)}
            {number('certificate_days', 'Certificate: days left', 1, 365)}
          </div>
        </Panel>
        <Panel title="How long detections are kept">
          <Field label="Days by object" help={`{"person":30,"*":7}: without a rule for it, an object is kept ${config.retention_days} days.`} error={fault}>
            {(props) => <textarea {...props} class="code" rows={3} disabled={!admin} value={objects} onInput={(e) => keep(e.currentTarget.value)} spellcheck={false} />}
          </Field>
        </Panel>
        <Panel title="Addresses">
          <Facts
            of={[
              ['Agents call', `${config.cloudcore.advertise_address}:${config.cloudcore.advertise_port ?? config.cloudcore.ports.cloudhub}`],
              ['API', `port ${config.cloudcore.ports.http}`],
              ['API over TLS', config.cloudcore.ports.https ? `port ${config.cloudcore.ports.https}` : null],
            ]}
          />
          <p class="help">These are set when the hub starts.</p>
        </Panel>
      </div>
      {save.problem && <Trouble problem={save.problem} title="Nothing was changed" />}
      {admin && (
        <div class="buttons left">
          <Button kind="primary" type="submit" busy={save.busy}>
            Save the changes
          </Button>
        </div>
      )}
    </form>
  );
}
