// Join: a token, the one line for the device, and the device as it arrives.

import { useEffect, useState } from 'preact/hooks';
import { encode } from 'uqr';
import { del, get, post, type Schema } from '../api/client';
import { may } from '../api/session';
import { useEvents, useLoad, useThrottle } from '../api/use';
import { DeviceBadge } from '../fleet/badge';
import { deviceOf, load, standing, version } from '../fleet/store';
import { link } from '../route';
import { fullTime, percent } from '../ui/format';
import { Confirm, useAction } from '../ui/dialog';
import { tell } from '../ui/notes';
import { Ago, Await, Badge, Button, Copy, Empty, Facts, Field, Head, Panel, Trouble } from '../ui/parts';

/** What both ways to a token answer. */
type Joined = Pick<Schema['DeviceJoined'], 'device_id' | 'node_name' | 'expires_at' | 'join_command'> & { warnings?: string[] };

const NODE = '[a-z0-9]([a-z0-9\\-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9\\-]*[a-z0-9])?)*';
const DEVICE = '[A-Za-z0-9]([A-Za-z0-9._\\-]*[A-Za-z0-9])?';

export function Join() {
  const [made, keep] = useState<Joined | null>(null);
  const tokens = useLoad((signal) => get('/api/kubeedge/tokens', { query: { limit: 100 }, signal }), []);
  const again = useThrottle(tokens.reload, 3000);
  useEvents((events) => events.some((event) => event.event === 'node_joined') && again());
  return (
    <>
      <Head title="Join" note="A device joins with one line. The token in it works once, for its node only." />
      {made ? (
        <Arrival
          made={made}
          next={() => {
            keep(null);
            tokens.reload();
          }}
        />
      ) : (
        <NewDevice
          made={(joined) => {
            keep(joined);
            tokens.reload();
            void load();
          }}
        />
      )}
      <Tokens tokens={tokens} />
    </>
  );
}

function NewDevice({ made }: { made: (joined: Joined) => void }) {
  const [node, setNode] = useState('');
  const [device, setDevice] = useState('');
  const [type, setType] = useState('camera');
  const [location, setLocation] = useState('');
  const { busy, problem, run } = useAction(
    async (): Promise<Joined> => {
      const device_id = device || node;
      const known = deviceOf(device_id);
      // A device that is known and away joins again with a token alone.
      if (known) {
        const token = await post('/api/kubeedge/token/generate', { body: { node_name: known.node_name } });
        return { ...token, device_id };
      }
      return post('/api/kubeedge/device/join', { body: { node_name: node, device_id, device_type: type || null, location: location || null } });
    },
    made,
  );
  const known = deviceOf(device || node);
  return (
    <Panel title="A new device">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        <div class="form two">
          <Field label="Node name" help="Lower-case letters, digits, - and .">
            {(props) => <input {...props} value={node} onInput={(e) => setNode(e.currentTarget.value)} required pattern={NODE} maxLength={100} placeholder="pi-entrance" autocomplete="off" autocapitalize="none" spellcheck={false} />}
          </Field>
          <Field label="Device id" help="The node’s name where empty.">
            {(props) => <input {...props} value={device} onInput={(e) => setDevice(e.currentTarget.value)} pattern={DEVICE} maxLength={100} placeholder={node || 'cam-1'} autocomplete="off" spellcheck={false} />}
          </Field>
          <Field label="Type">
            {(props) => (
              <>
                <input {...props} value={type} onInput={(e) => setType(e.currentTarget.value)} list="device-types" maxLength={50} autocomplete="off" />
                <datalist id="device-types">
                  <option value="camera" />
                  <option value="sensor" />
                  <option value="gateway" />
                </datalist>
              </>
            )}
          </Field>
          <Field label="Location">{(props) => <input {...props} value={location} onInput={(e) => setLocation(e.currentTarget.value)} maxLength={200} placeholder="Entrance" autocomplete="off" />}</Field>
        </div>
        {known && standing(known) === 'online' && <p class="help">{known.device_id} is online already; a new line lets its node join once more.</p>}
        {problem && <Trouble problem={problem} title="No token was made" />}
        <div class="buttons left">
          <Button kind="primary" type="submit" busy={busy}>
            Make the join line
          </Button>
        </div>
      </form>
    </Panel>
  );
}

function tokenOf(line: string): string {
  return /--token=(\S+)/.exec(line)?.[1] ?? '';
}

/** Shown once: the line, its code, and who comes. */
function Arrival({ made, next }: { made: Joined; next: () => void }) {
  const [arrived, arrive] = useState(false);
  void version.value;
  const device = deviceOf(made.device_id);
  const online = device !== undefined && standing(device) === 'online';
  useEvents((events) => events.some((event) => event.event === 'node_joined' && event.device_id === made.device_id) && arrive(true));
  const here = arrived && online;
  useEffect(() => {
    if (here) tell(`${made.device_id} is online`);
  }, [here]);
  const installer = `curl -fsSL ${location.origin}/install.sh | sh -s -- --token ${tokenOf(made.join_command)} --node ${made.node_name}`;
  return (
    <div class="grid wide-left">
      <Panel title={`The line for ${made.node_name}`} actions={<Badge tone="warn">Shown once</Badge>}>
        <div class="stack">
          <div class="command-line">
            <p>On the device, as root, where the agent is installed:</p>
            <pre class="code-box" tabIndex={0} data-testid="join-line">{made.join_command}</pre>
            <div class="buttons left">
              <Copy text={made.join_command} label="Copy the line" />
            </div>
          </div>
          {made.warnings?.map((warning) => (
            <p key={warning}>
              <Badge tone="warn">Cluster</Badge> {warning}
            </p>
          ))}
          <details>
            <summary>The agent is not there yet</summary>
            <div class="command-line">
              <p class="help">This fetches it from this hub, if its downloads folder has it, and joins. Over plain HTTP only on a network that is your own.</p>
              <pre class="code-box" tabIndex={0}>{installer}</pre>
              <div class="buttons left">
                <Copy text={installer} />
              </div>
            </div>
          </details>
          <p class="help">The token ends {fullTime(made.expires_at)}. It is kept nowhere in readable form: copy it now.</p>
        </div>
      </Panel>
      <div class="stack">
        <Panel title="Its arrival">
          <div class="stack" role="status" aria-live="polite">
            {here && device ? (
              <>
                <p>
                  <DeviceBadge device={device} /> <b>{made.device_id} has arrived.</b>
                </p>
                <Facts
                  of={[
                    ['Agent', device.agent_version],
                    ['Address', device.addresses[0]?.address],
                    ['CPU', percent(device.cpu)],
                    ['Memory', percent(device.memory)],
                  ]}
                />
              </>
            ) : (
              <p>
                <Badge tone="info">Waiting</Badge> Waiting for {made.device_id} to call. This page sees it by itself.
              </p>
            )}
          </div>
          <div class="buttons left">
            {here && (
              <a class="button primary" href={link(['devices', made.device_id])}>
                Open the device
              </a>
            )}
            <Button onClick={next}>Join another</Button>
          </div>
        </Panel>
        <Panel title="The line as a QR code">
          <Qr text={made.join_command} label={`Join line of ${made.node_name}`} />
        </Panel>
      </div>
    </div>
  );
}

function Qr({ text, label }: { text: string; label: string }) {
  const { data, size } = encode(text, { ecc: 'L', border: 2 });
  let path = '';
  data.forEach((row, y) => row.forEach((dark, x) => dark && (path += `M${x} ${y}h1v1h-1z`)));
  return (
    <div class="qr">
      <svg viewBox={`0 0 ${size} ${size}`} role="img" aria-label={label} shape-rendering="crispEdges">
        <path d={path} />
      </svg>
    </div>
  );
}

/** Tokens that are shown at first. */
const FEW = 10;
const TONES = { active: 'ok', used: 'quiet', expired: 'quiet', revoked: 'bad' } as const;

function Tokens({ tokens }: { tokens: ReturnType<typeof useLoad<Schema['TokenList']>> }) {
  const [revoking, revoke] = useState<string | null>(null);
  const [all, showAll] = useState(false);
  return (
    <Panel title="Tokens" pad={false}>
      <Await of={tokens}>
        {(data) =>
          data.tokens.length === 0 ? (
            <Empty title="No tokens yet">Each join line has one.</Empty>
          ) : (
            <div class="table-box">
              <table class="cards">
                <thead>
                  <tr>
                    <th>Node</th>
                    <th>Device</th>
                    <th>State</th>
                    <th>Made</th>
                    <th>Ends</th>
                    <th>
                      <span class="sr">Actions</span>
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {data.tokens.slice(0, all ? undefined : FEW).map((token) => (
                    <tr key={`${token.node_name}${token.created_at}`}>
                      <td class="title">{token.node_name}</td>
                      <td data-name="Device">{token.device_id && <a href={link(['devices', token.device_id])}>{token.device_id}</a>}</td>
                      <td data-name="State">
                        <span class="line">
                          <Badge tone={TONES[token.status]}>{token.status}</Badge>
                          {token.reusable && <Badge tone="warn">reusable</Badge>}
                        </span>
                      </td>
                      <td data-name="Made">
                        <Ago at={token.created_at} />
                      </td>
                      <td data-name="Ends" class="tight">{fullTime(token.expires_at)}</td>
                      <td class="end">
                        {may('operator') && token.status !== 'revoked' && token.status !== 'expired' && (
                          <Button kind="bare" onClick={() => revoke(token.node_name)} aria-label={`Revoke ${token.node_name}`}>
                            Revoke
                          </Button>
                        )}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
              {!all && data.tokens.length > FEW && (
                <div class="empty">
                  <Button onClick={() => showAll(true)}>Show all {data.tokens.length}</Button>
                </div>
              )}
            </div>
          )
        }
      </Await>
      {revoking && (
        <Confirm
          title={`Revoke ${revoking}?`}
          verb="Revoke"
          typed={revoking}
          act={() => del('/api/kubeedge/token/{node_name}', { path: { node_name: revoking } })}
          close={() => revoke(null)}
          done={() => {
            tell(`${revoking} was revoked`);
            tokens.reload();
          }}
        >
          <p>Its tokens work no more. If the node has joined, its certificate is revoked and it is cut off at once.</p>
        </Confirm>
      )}
    </Panel>
  );
}
