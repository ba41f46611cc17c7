import { useState } from 'preact/hooks';
import { del, get, post, put, type Schema } from '../api/client';
import { type Role, session } from '../api/session';
import { useLoad } from '../api/use';
import { Confirm, Dialog, useAction } from '../ui/dialog';
import { tell } from '../ui/notes';
import { Ago, Await, Badge, Button, Field, Panel, Trouble } from '../ui/parts';

type User = Schema['UserInfo'];
const ROLES: [Role, string][] = [
  ['viewer', 'Viewer: reads'],
  ['operator', 'Operator: also commands, joins and deploys'],
  ['admin', 'Administrator: everything'],
];

export function RoleField({ value, change }: { value: Role; change: (role: Role) => void }) {
  return (
    <Field label="Role">
      {(props) => (
        <select {...props} value={value} onChange={(e) => change(e.currentTarget.value as Role)}>
          {ROLES.map(([role, label]) => (
            <option key={role} value={role}>
              {label}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

export function Users() {
  const list = useLoad((signal) => get('/api/kubeedge/users', { query: { limit: 500 }, signal }), []);
  const [editing, edit] = useState<User | 'new' | null>(null);
  const [removing, remove] = useState<User | null>(null);
  return (
    <Panel title="Users" pad={false} actions={<Button kind="primary" onClick={() => edit('new')}>Add a user</Button>}>
      <Await of={list}>
        {(data) => (
          <div class="table-box">
            <table class="cards">
              <thead>
                <tr>
                  <th>Name</th>
                  <th>Role</th>
                  <th>State</th>
                  <th>Made</th>
                  <th>
                    <span class="sr">Actions</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {data.users.map((user) => (
                  <tr key={user.id}>
                    <td class="title">{user.username}</td>
                    <td data-name="Role">{user.role}</td>
                    <td data-name="State">{user.disabled ? <Badge tone="warn">Disabled</Badge> : <Badge tone="ok">Active</Badge>}</td>
                    <td data-name="Made">
                      <Ago at={user.created_at} />
                    </td>
                    <td class="end">
                      <Button kind="bare" onClick={() => edit(user)} aria-label={`Change ${user.username}`}>
                        Change
                      </Button>
                      {user.username !== session.value?.user.username && (
                        <Button kind="bare" onClick={() => remove(user)} aria-label={`Remove ${user.username}`}>
                          Remove
                        </Button>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Await>
      {editing && <Edit user={editing === 'new' ? null : editing} close={() => edit(null)} done={list.reload} />}
      {removing && (
        <Confirm
          title={`Remove ${removing.username}?`}
          verb="Remove the user"
          typed={removing.username}
          act={() => del('/api/kubeedge/users/{username}', { path: { username: removing.username } })}
          close={() => remove(null)}
          done={() => {
            tell(`${removing.username} was removed`);
            list.reload();
          }}
        >
          <p>All sessions of this user end at once.</p>
        </Confirm>
      )}
    </Panel>
  );
}

function Edit({ user, close, done }: { user: User | null; close: () => void; done: () => void }) {
  const [username, name] = useState(user?.username ?? '');
  const [role, setRole] = useState<Role>(user?.role ?? 'viewer');
  const [password, secret] = useState('');
  const [disabled, disable] = useState(user?.disabled ?? false);
  const { busy, problem, run } = useAction(
    async () =>
      user
        ? put('/api/kubeedge/users/{username}', { path: { username: user.username }, body: { role, disabled, password: password || null } })
        : post('/api/kubeedge/users', { body: { username, password, role } }),
    () => {
      tell(user ? `${user.username} was changed` : `${username} was added`);
      close();
      done();
    },
  );
  const self = user?.username === session.value?.user.username;
  return (
    <Dialog title={user ? `Change ${user.username}` : 'Add a user'} close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        {!user && <Field label="Name">{(props) => <input {...props} value={username} onInput={(e) => name(e.currentTarget.value)} required autocomplete="off" autocapitalize="none" spellcheck={false} />}</Field>}
        <RoleField value={role} change={setRole} />
        <Field label={user ? 'New password' : 'Password'} help={user ? 'Stays as it is where empty.' : undefined}>
          {(props) => <input {...props} type="password" value={password} onInput={(e) => secret(e.currentTarget.value)} required={!user} autocomplete="new-password" />}
        </Field>
        {user && !self && (
          <label class="check">
            <input type="checkbox" checked={disabled} onChange={(e) => disable(e.currentTarget.checked)} /> Disabled: may not log in
          </label>
        )}
        {problem && <Trouble problem={problem} />}
        <div class="buttons">
          <Button onClick={close}>Cancel</Button>
          <Button kind="primary" type="submit" busy={busy}>
            {user ? 'Change' : 'Add'}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

/** One's own. */
export function Password() {
  const [old, setOld] = useState('');
  const [next, setNext] = useState('');
  const [again, setAgain] = useState('');
  const { busy, problem, run } = useAction(
    () => post('/api/auth/password', { body: { old_password: old, new_password: next } }),
    (answer) => {
      tell(answer.message);
      setOld('');
      setNext('');
      setAgain('');
    },
  );
  const differs = again !== '' && again !== next;
  return (
    <Panel title="Change my password">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          if (!differs) void run();
        }}
      >
        <Field label="Old password">{(props) => <input {...props} type="password" value={old} onInput={(e) => setOld(e.currentTarget.value)} required autocomplete="current-password" />}</Field>
        <Field label="New password">{(props) => <input {...props} type="password" value={next} onInput={(e) => setNext(e.currentTarget.value)} required minLength={8} autocomplete="new-password" />}</Field>
        <Field label="New password again" error={differs ? 'These differ.' : null}>
          {(props) => <input {...props} type="password" value={again} onInput={(e) => setAgain(e.currentTarget.value)} required autocomplete="new-password" />}
        </Field>
        {problem && <Trouble problem={problem} title="The password stays as it was" />}
        <div class="buttons left">
          <Button kind="primary" type="submit" busy={busy} disabled={differs}>
            Change it
          </Button>
        </div>
      </form>
    </Panel>
  );
}
