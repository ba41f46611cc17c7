import { useState } from 'preact/hooks';
import { del, get, post, type Schema } from '../api/client';
import { useLoad } from '../api/use';
import { Confirm, Dialog, useAction } from '../ui/dialog';
import { words } from '../ui/format';
import { tell } from '../ui/notes';
import { Await, Badge, Button, Copy, Empty, Field, Panel, Trouble } from '../ui/parts';

type Kind = Schema['Kind'];
const EVENTS: Kind[] = ['device_joined', 'device_left', 'alert', 'detection', 'command_sent', 'command_result', 'heartbeat'];

export function Webhooks() {
  const list = useLoad((signal) => get('/api/kubeedge/webhooks', { signal }), []);
  const [making, make] = useState(false);
  const [removing, remove] = useState<Schema['Info'] | null>(null);
  const test = useAction(
    (id: string) => post('/api/kubeedge/webhooks/{webhook_id}/test', { path: { webhook_id: id } }),
    (answer) => tell(answer.error ? `The test failed: ${answer.error}` : `The server answered ${answer.response_code}`, !!answer.error),
  );
  return (
    <Panel title="Webhooks" pad={false} actions={<Button onClick={() => make(true)}>Add a webhook</Button>}>
      {test.problem && <Trouble problem={test.problem} />}
      <Await of={list}>
        {(data) =>
          data.webhooks.length === 0 ? (
            <Empty title="No webhooks">A server of yours can be posted what happens.</Empty>
          ) : (
            <div class="table-box">
              <table class="cards">
                <thead>
                  <tr>
                    <th>URL</th>
                    <th>Events</th>
                    <th>Waiting</th>
                    <th>
                      <span class="sr">Actions</span>
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {data.webhooks.map((hook) => (
                    <tr key={hook.webhook_id}>
                      <td class="title">
                        <code>{hook.url}</code>
                      </td>
                      <td data-name="Events" class="small">{hook.events.map(words).join(', ')}</td>
                      <td data-name="Waiting">
                        {hook.waiting} {hook.dropped > 0 && <Badge tone="bad">{hook.dropped} dropped</Badge>}
                      </td>
                      <td class="end">
                        <Button kind="bare" busy={test.busy} onClick={() => void test.run(hook.webhook_id)} aria-label={`Test ${hook.url}`}>
                          Test
                        </Button>
                        <Button kind="bare" onClick={() => remove(hook)} aria-label={`Remove ${hook.url}`}>
                          Remove
                        </Button>
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Await>
      {making && <Make close={() => make(false)} done={list.reload} />}
      {removing && (
        <Confirm title="Remove this webhook?" verb="Remove" act={() => del('/api/kubeedge/webhooks/{webhook_id}', { path: { webhook_id: removing.webhook_id } })} close={() => remove(null)} done={list.reload}>
          <p>
            <code>{removing.url}</code> is told nothing more, and what waits for it is dropped.
          </p>
        </Confirm>
      )}
    </Panel>
  );
}

function Make({ close, done }: { close: () => void; done: () => void }) {
  const [url, setUrl] = useState('');
  const [events, choose] = useState<ReadonlySet<Kind>>(new Set(['device_joined', 'device_left', 'alert']));
  const [secret, keep] = useState<string | null>(null);
  const { busy, problem, run } = useAction(
    () => post('/api/kubeedge/webhooks', { body: { url, events: [...events] } }),
    (answer) => {
      done();
      if (answer.secret) keep(answer.secret);
      else close();
    },
  );
  return (
    <Dialog title="Add a webhook" close={close}>
      {secret ? (
        <div class="secret" role="status">
          <b>Its secret, shown once. Your server checks signatures with it.</b>
          <code>{secret}</code>
          <div class="buttons left">
            <Copy text={secret} />
            <Button onClick={close}>I have it</Button>
          </div>
        </div>
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void run();
          }}
        >
          <Field label="URL">{(props) => <input {...props} type="url" value={url} onInput={(e) => setUrl(e.currentTarget.value)} required placeholder="https://example.org/hook" />}</Field>
          <fieldset>
            <legend>Events</legend>
            <div class="form two">
              {EVENTS.map((event) => (
                <label class="check" key={event}>
                  <input
                    type="checkbox"
                    checked={events.has(event)}
                    onChange={() => {
                      const next = new Set(events);
                      if (!next.delete(event)) next.add(event);
                      choose(next);
                    }}
                  />
                  {words(event)}
                </label>
              ))}
            </div>
          </fieldset>
          {problem && <Trouble problem={problem} title="The webhook was not added" />}
          <div class="buttons">
            <Button onClick={close}>Cancel</Button>
            <Button kind="primary" type="submit" busy={busy} disabled={events.size === 0}>
              Add
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
