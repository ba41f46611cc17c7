import { useState } from 'preact/hooks';
import { del, get, post, type Schema } from '../api/client';
import type { Role } from '../api/session';
import { useLoad } from '../api/use';
import { Confirm, Dialog, useAction } from '../ui/dialog';
import { fullTime } from '../ui/format';
import { tell } from '../ui/notes';
import { Ago, Await, Button, Copy, Empty, Field, Panel, Trouble } from '../ui/parts';
import { RoleField } from './security-users';

export function ApiKeys() {
  const list = useLoad((signal) => get('/api/kubeedge/apikeys', { query: { limit: 500 }, signal }), []);
  const [making, make] = useState(false);
  const [removing, remove] = useState<Schema['ApiKeyInfo'] | null>(null);
  return (
    <Panel title="API keys" pad={false} actions={<Button kind="primary" onClick={() => make(true)}>Make a key</Button>}>
      <Await of={list}>
        {(data) =>
          data.api_keys.length === 0 ? (
            <Empty title="No API keys">Programs use one instead of a user’s password.</Empty>
          ) : (
            <div class="table-box">
              <table class="cards">
                <thead>
                  <tr>
                    <th>Name</th>
                    <th>Role</th>
                    <th>Made by</th>
                    <th>Last used</th>
                    <th>Ends</th>
                    <th>
                      <span class="sr">Actions</span>
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {data.api_keys.map((key) => (
                    <tr key={key.key_id}>
                      <td class="title">{key.name}</td>
                      <td data-name="Role">{key.role}</td>
                      <td data-name="Made by">{key.created_by}</td>
                      <td data-name="Last used">
                        <Ago at={key.last_used_at} />
                      </td>
                      <td data-name="Ends">{key.expires_at ? fullTime(key.expires_at) : 'never'}</td>
                      <td class="end">
                        <Button kind="bare" onClick={() => remove(key)} aria-label={`End ${key.name}`}>
                          End
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
        <Confirm
          title={`End ${removing.name}?`}
          verb="End the key"
          typed={removing.name}
          act={() => del('/api/kubeedge/apikeys/{key_id}', { path: { key_id: removing.key_id } })}
          close={() => remove(null)}
          done={() => {
            tell(`${removing.name} works no more`);
            list.reload();
          }}
        >
          <p>Programs that use it are refused from now on.</p>
        </Confirm>
      )}
    </Panel>
  );
}

function Make({ close, done }: { close: () => void; done: () => void }) {
  const [name, setName] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const [days, setDays] = useState('');
  const [key, keep] = useState<string | null>(null);
  const { busy, problem, run } = useAction(
    () => post('/api/kubeedge/apikeys', { body: { name, role, expiry_days: days ? Number(days) : null } }),
    (answer) => {
      keep(answer.api_key);
      done();
    },
  );
  return (
    <Dialog title="Make an API key" close={close}>
      {key ? (
        <div class="secret" role="status">
          <b>Copy it now: it is shown once.</b>
          <code>{key}</code>
          <div class="buttons left">
            <Copy text={key} />
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
          <Field label="Name">{(props) => <input {...props} value={name} onInput={(e) => setName(e.currentTarget.value)} required placeholder="reports" autocomplete="off" />}</Field>
          <RoleField value={role} change={setRole} />
          <Field label="Days until it ends" help="Never where empty.">{(props) => <input {...props} type="number" min={1} max={3650} value={days} onInput={(e) => setDays(e.currentTarget.value)} />}</Field>
          {problem && <Trouble problem={problem} title="No key was made" />}
          <div class="buttons">
            <Button onClick={close}>Cancel</Button>
            <Button kind="primary" type="submit" busy={busy}>
              Make it
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
