// Apps: containers on devices, kept as they are wanted.

import { useState } from 'preact/hooks';
import { del, get, post, type Schema } from '../api/client';
import { may } from '../api/session';
import { useEvents, useLoad, usePolling } from '../api/use';
import { allDevices, version } from '../fleet/store';
import { link, refine, route } from '../route';
import { plural } from '../ui/format';
import { Confirm, Dialog, useAction } from '../ui/dialog';
import { tell } from '../ui/notes';
import { Ago, Await, Badge, Button, Empty, Field, Head, Panel, Trouble } from '../ui/parts';
import { AppBadge } from './device-apps';

type App = Schema['App'];

export function Apps() {
  const device = route.value.query.get('device') ?? '';
  const [deploying, deploy] = useState(false);
  const [changing, change] = useState<App | null>(null);
  const [removing, remove] = useState<App | null>(null);
  const list = useLoad((signal) => get('/api/kubeedge/apps', { query: { limit: 200, device_id: device || undefined }, signal }), [device]);
  useEvents((events) => events.some((event) => event.event === 'command_result' && ['deploy_app', 'remove_app'].includes(String(event['command']))) && list.reload());
  usePolling(list.reload, 8000, list.data?.apps.some((app) => app.devices.some((one) => one.status !== 'Running')) ?? false);
  const forms = (deploying || changing) && (
    <Deploy
      from={changing}
      close={() => {
        deploy(false);
        change(null);
      }}
      done={list.reload}
    />
  );
  return (
    <>
      <Head title="Apps" note="Containers on devices; each device keeps its apps running, also without the hub.">
        {may('operator') && (
          <Button kind="primary" onClick={() => deploy(true)}>
            Deploy an app
          </Button>
        )}
      </Head>
      {device && (
        <p class="line">
          Only apps on <b>{device}</b> <Button onClick={() => refine({ device: '' })}>Show all</Button>
        </p>
      )}
      <Await of={list}>
        {(data) =>
          data.apps.length === 0 ? (
            <Panel>
              <Empty title="No app is deployed">{may('operator') ? 'Deploy one: it needs an image, and devices whose owner allows apps.' : 'An operator can deploy one.'}</Empty>
            </Panel>
          ) : (
            <div class="stack live-data">
              {data.apps.map((app) => (
                <Panel
                  key={app.name}
                  title={app.name}
                  pad={false}
                  actions={
                    <>
                      <Badge tone={app.devices_running === app.devices.length ? 'ok' : 'warn'}>
                        {app.devices_running} of {app.devices.length} running
                      </Badge>
                      {may('operator') && (
                        <>
                          <Button onClick={() => change(app)}>Change</Button>
                          <Button kind="danger" onClick={() => remove(app)}>
                            Remove
                          </Button>
                        </>
                      )}
                    </>
                  }
                >
                  <AppDevices app={app} />
                </Panel>
              ))}
            </div>
          )
        }
      </Await>
      {forms}
      {removing && (
        <Confirm
          title={`Remove ${removing.name}?`}
          verb="Remove the app"
          typed={removing.name}
          act={() => del('/api/kubeedge/apps/{name}', { path: { name: removing.name } })}
          close={() => remove(null)}
          done={() => {
            tell(`${removing.name} is being removed`);
            list.reload();
          }}
        >
          <p>Its containers stop on {plural(removing.devices.length, 'device')}.</p>
        </Confirm>
      )}
    </>
  );
}

/** Why it is as it is, and how it does. */
function saidOf(one: App['devices'][number]): string {
  const said = [one.message ?? one.reason, one.health && `health: ${one.health}`, one.restarts ? `restarted ${plural(one.restarts, 'time')}` : null, one.node && `on node ${one.node}`];
  return said.filter(Boolean).join(', ');
}

function AppDevices({ app }: { app: App }) {
  return (
    <div class="table-box">
      <table class="cards">
        <thead>
          <tr>
            <th>Device</th>
            <th>State</th>
            <th>Image</th>
            <th>Port</th>
            <th>Said</th>
            <th>Changed</th>
          </tr>
        </thead>
        <tbody>
          {app.devices.map((one) => (
            <tr key={one.device_id}>
              <td class="title">
                <a href={link(['devices', one.device_id])}>{one.device_id}</a>
              </td>
              <td data-name="State">
                <AppBadge status={one.status} />
              </td>
              <td data-name="Image">
                <code>{one.image}</code>
              </td>
              <td data-name="Port">{one.port ?? ''}</td>
              <td data-name="Said" class="quiet">{saidOf(one)}</td>
              <td data-name="Changed" class="tight">
                <Ago at={one.updated_at} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Deploy({ from, close, done }: { from: App | null; close: () => void; done: () => void }) {
  void version.value;
  const [name, setName] = useState(from?.name ?? '');
  const [image, setImage] = useState(from?.image ?? '');
  const [config, setConfig] = useState('');
  const [cpu, setCpu] = useState(from?.resources.cpu ?? '');
  const [memory, setMemory] = useState(from?.resources.memory ?? '');
  const [ports, setPorts] = useState(from?.ports?.map((port) => `${port.host}:${port.container}`).join(', ') ?? '');
  const [secrets, setSecrets] = useState('');
  const [devices, choose] = useState<ReadonlySet<string>>(new Set(from?.devices.map((one) => one.device_id) ?? []));
  const [fault, blame] = useState<{ config?: string; ports?: string }>({});
  const { busy, problem, run } = useAction(
    (body: Schema['DeployApp']) => post('/api/kubeedge/apps/deploy', { body }),
    (answer) => {
      const failed = answer.results.filter((result) => result.status === 'failed');
      tell(failed.length ? `${answer.deployment_name}: ${plural(failed.length, 'device')} refused: ${failed[0]?.message ?? failed[0]?.reason ?? ''}` : `${answer.deployment_name} is on its way to ${plural(answer.results.length, 'device')}`, failed.length > 0);
      close();
      done();
    },
  );
  const submit = (event: Event): void => {
    event.preventDefault();
    const body: Schema['DeployApp'] = { name, image, device_ids: [...devices] };
    const faults: typeof fault = {};
    if (config.trim()) {
      try {
        body.config = JSON.parse(config);
      } catch {
        faults.config = 'This is no JSON.';
      }
    }
    if (ports.trim()) {
      const pairs = ports.split(/[ ,]+/).map((pair) => /^(\d+):(\d+)$/.exec(pair));
      if (pairs.some((pair) => !pair)) faults.ports = 'Like 8080:80, host first.';
      else body.ports = pairs.map((pair) => ({ host: Number(pair?.[1]), container: Number(pair?.[2]) }));
    }
    if (secrets.trim()) body.image_pull_secrets = secrets.split(/[ ,]+/).filter(Boolean);
    if (cpu || memory) body.resources = { cpu: cpu || null, memory: memory || null };
    blame(faults);
    if (Object.keys(faults).length === 0) void run(body);
  };
  return (
    <Dialog title={from ? `Change ${from.name}` : 'Deploy an app'} close={close}>
      <form onSubmit={submit}>
        <Field label="Name">{(props) => <input {...props} value={name} onInput={(e) => setName(e.currentTarget.value)} required readOnly={from !== null} maxLength={50} placeholder="object-detection" autocomplete="off" />}</Field>
        <Field label="Image">{(props) => <input {...props} value={image} onInput={(e) => setImage(e.currentTarget.value)} required placeholder="registry.local/edge-app:1.0" autocomplete="off" spellcheck={false} />}</Field>
        <Field label="Configuration" help={from ? 'Secrets in it are not shown: fill in all of it, or leave it empty for none.' : 'A JSON object that the app is given.'} error={fault.config}>
          {(props) => <textarea {...props} class="code" rows={3} value={config} onInput={(e) => setConfig(e.currentTarget.value)} placeholder='{"interval":5}' spellcheck={false} />}
        </Field>
        <div class="form two">
          <Field label="CPU">{(props) => <input {...props} value={cpu} onInput={(e) => setCpu(e.currentTarget.value)} placeholder="500m" autocomplete="off" />}</Field>
          <Field label="Memory">{(props) => <input {...props} value={memory} onInput={(e) => setMemory(e.currentTarget.value)} placeholder="512Mi" autocomplete="off" />}</Field>
          <Field label="Ports" error={fault.ports} help="Host:container, as 8080:80">
            {(props) => <input {...props} value={ports} onInput={(e) => setPorts(e.currentTarget.value)} placeholder="8080:80" autocomplete="off" />}
          </Field>
        </div>
        <Field label="Image pull secrets" help="Of the cluster, where it runs the app; a device with an engine of its own has its own.">
          {(props) => <input {...props} value={secrets} onInput={(e) => setSecrets(e.currentTarget.value)} autocomplete="off" spellcheck={false} />}
        </Field>
        <fieldset>
          <legend>{plural(devices.size, 'device')} chosen</legend>
          <div class="targets" tabIndex={0} role="group" aria-label="Devices">
            {allDevices().map((device) => (
              <label class="check" key={device.device_id}>
                <input
                  type="checkbox"
                  checked={devices.has(device.device_id)}
                  onChange={() => {
                    const next = new Set(devices);
                    if (!next.delete(device.device_id)) next.add(device.device_id);
                    choose(next);
                  }}
                />
                {device.device_id}
              </label>
            ))}
          </div>
        </fieldset>
        {problem && <Trouble problem={problem} title="The app was not deployed" />}
        <div class="buttons">
          <Button onClick={close}>Cancel</Button>
          <Button kind="primary" type="submit" busy={busy} disabled={devices.size === 0}>
            Deploy
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
