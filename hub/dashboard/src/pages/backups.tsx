// Backups: made, kept, and put back.

import { useEffect, useState } from 'preact/hooks';
import { del, get, post, type Schema } from '../api/client';
import { resync } from '../api/live';
import { useLoad } from '../api/use';
import { bytes, fullTime, plural, span } from '../ui/format';
import { Dialog, Confirm, useAction } from '../ui/dialog';
import { tell } from '../ui/notes';
import { Ago, Await, Badge, Button, Empty, Facts, Field, Head, Panel, Trouble } from '../ui/parts';

type Part = Schema['BackupInclude'];
const PARTS: [Part, string][] = [
  ['config', 'Settings'],
  ['tokens', 'Join tokens'],
  ['devices', 'Devices'],
  ['users', 'Users and API keys'],
  ['commands', 'Commands'],
  ['detections', 'Detections'],
  ['webhooks', 'Webhooks'],
  ['apps', 'Apps'],
  ['models', 'Catalog of models'],
  ['certificates', 'Certificates and the hub’s keys'],
];

export function Backups() {
  const list = useLoad((signal) => get('/api/kubeedge/backups', { query: { limit: 200 }, signal }), []);
  const [making, make] = useState(false);
  const [restoring, restore] = useState<Schema['Backup'] | null>(null);
  const [removing, remove] = useState<Schema['Backup'] | null>(null);
  return (
    <>
      <Head title="Backups" note="One consistent moment of the hub, checked whole before any of it is put back.">
        <Button kind="primary" onClick={() => make(true)}>
          Make a backup
        </Button>
      </Head>
      <Panel pad={false}>
        <Await of={list}>
          {(data) =>
            data.backups.length === 0 ? (
              <Empty title="No backup yet">
                <Button onClick={() => make(true)}>Make the first one</Button>
              </Empty>
            ) : (
              <div class="table-box">
                <table class="cards">
                  <thead>
                    <tr>
                      <th>Name</th>
                      <th>Made</th>
                      <th>Holds</th>
                      <th>Size</th>
                      <th>Opens with</th>
                      <th>
                        <span class="sr">Actions</span>
                      </th>
                    </tr>
                  </thead>
                  <tbody>
                    {[...data.backups].sort((a, b) => b.created_at.localeCompare(a.created_at)).map((backup) => (
                      <tr key={backup.backup_id}>
                        <td class="title">
                          {backup.name}
                          {backup.description && <div class="quiet small">{backup.description}</div>}
                        </td>
                        <td data-name="Made" class="tight" title={fullTime(backup.created_at)}>
                          <Ago at={backup.created_at} />
                        </td>
                        <td data-name="Holds" class="small">{backup.include.join(', ')}</td>
                        <td data-name="Size" class="tight">{bytes(backup.size_bytes)}</td>
                        <td data-name="Opens with">{backup.sealed_by === 'hub' ? 'this hub’s key' : 'a passphrase'}</td>
                        <td class="end">
                          <Button kind="bare" onClick={() => restore(backup)} aria-label={`Restore ${backup.name}`}>
                            Restore
                          </Button>
                          <Button kind="bare" onClick={() => remove(backup)} aria-label={`Remove ${backup.name}`}>
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
      </Panel>
      {making && <Make close={() => make(false)} done={list.reload} />}
      {restoring && <Restore backup={restoring} close={() => restore(null)} />}
      {removing && (
        <Confirm
          title={`Remove ${removing.name}?`}
          verb="Remove the backup"
          typed={removing.name}
          act={() => del('/api/kubeedge/backup/{backup_id}', { path: { backup_id: removing.backup_id } })}
          close={() => remove(null)}
          done={() => {
            tell(`${removing.name} was removed`);
            list.reload();
          }}
        >
          <p>The archive is deleted from the object store. This can’t be undone.</p>
        </Confirm>
      )}
    </>
  );
}

/** The API says no shares of the work: what is known is that it goes on, and for how long. */
function Going({ what }: { what: string }) {
  const [since] = useState(Date.now);
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, []);
  return (
    <div role="status" class="stack">
      <span>
        {what} <span aria-hidden="true">{span((Date.now() - since) / 1000)}</span>
      </span>
      <progress class="progress" aria-label={what} />
    </div>
  );
}

function Make({ close, done }: { close: () => void; done: () => void }) {
  const [name, setName] = useState('');
  const [description, describe] = useState('');
  const [passphrase, setPassphrase] = useState('');
  const [parts, choose] = useState<ReadonlySet<Part>>(new Set(PARTS.map(([part]) => part).filter((part) => part !== 'certificates')));
  const { busy, problem, run } = useAction(
    () => post('/api/kubeedge/backup', { body: { name: name || null, description: description || null, include: [...parts], passphrase: passphrase || null } }),
    (backup) => {
      tell(`${backup.name} is made: ${bytes(backup.size_bytes)}`);
      close();
      done();
    },
  );
  return (
    <Dialog title="Make a backup" close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        <Field label="Name" help="The time where empty.">
          {(props) => <input {...props} value={name} onInput={(e) => setName(e.currentTarget.value)} pattern="[A-Za-z0-9_\-]+" maxLength={64} placeholder="before-the-move" autocomplete="off" />}
        </Field>
        <Field label="Description">{(props) => <input {...props} value={description} onInput={(e) => describe(e.currentTarget.value)} maxLength={500} autocomplete="off" />}</Field>
        <fieldset>
          <legend>What it holds</legend>
          <div class="form two">
            {PARTS.map(([part, label]) => (
              <label class="check" key={part}>
                <input
                  type="checkbox"
                  checked={parts.has(part)}
                  onChange={() => {
                    const next = new Set(parts);
                    if (!next.delete(part)) next.add(part);
                    choose(next);
                  }}
                />
                {label}
              </label>
            ))}
          </div>
        </fieldset>
        <Field label="Passphrase" help="Opens it on another hub, too; this hub’s own key where empty. Nobody can recover it.">
          {(props) => <input {...props} type="password" value={passphrase} onInput={(e) => setPassphrase(e.currentTarget.value)} minLength={8} maxLength={1024} autocomplete="new-password" />}
        </Field>
        <p class="help">Pictures, heartbeats and the audit log are not in a backup.</p>
        {busy && <Going what="The backup is being made" />}
        {problem && <Trouble problem={problem} title={problem.status === 503 ? 'It takes longer than an answer' : 'No backup was made'} />}
        <div class="buttons">
          <Button onClick={close}>{busy ? 'Close, it goes on' : 'Cancel'}</Button>
          <Button kind="primary" type="submit" busy={busy} disabled={parts.size === 0}>
            Make it
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

function Restore({ backup, close }: { backup: Schema['Backup']; close: () => void }) {
  const [typed, type] = useState('');
  const [passphrase, setPassphrase] = useState('');
  const [done, finish] = useState<Schema['RestoreAnswer'] | null>(null);
  const { busy, problem, run } = useAction(
    () => post('/api/kubeedge/restore', { body: { backup_id: backup.backup_id, passphrase: passphrase || null } }),
    (answer) => {
      finish(answer);
      resync.value++;
    },
  );
  if (done) {
    return (
      <Dialog title="Restored" close={close}>
        <div class="stack" role="status">
          <p>
            <Badge tone="ok">Done</Badge> {done.message}
          </p>
          <Facts
            of={[
              ['As it was', fullTime(done.backup_created_at)],
              ['Rows', done.rows.toLocaleString()],
              ['Put back', done.restored.join(', ')],
              ['Left out', done.skipped.join(', ') || null],
              ['Sessions that were cut', String(done.sessions_closed)],
            ]}
          />
          {done.restored.includes('users') && <p class="help">Users were put back: you may have to log in again.</p>}
          <div class="buttons">
            <Button kind="primary" onClick={close}>
              Close
            </Button>
          </div>
        </div>
      </Dialog>
    );
  }
  return (
    <Dialog title={`Restore ${backup.name}?`} close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        <div class="prose">
          <p>
            The hub’s {backup.include.join(', ')} become what they were at {fullTime(backup.created_at)}, all of it or nothing. What came since is lost; what was revoked stays revoked.
          </p>
          {backup.include.includes('users') && <p>Everybody has to log in again, and passwords are those of then.</p>}
        </div>
        {backup.sealed_by !== 'hub' && (
          <Field label="Passphrase">{(props) => <input {...props} type="password" value={passphrase} onInput={(e) => setPassphrase(e.currentTarget.value)} required autocomplete="off" />}</Field>
        )}
        <Field label={`Type ${backup.name} to go on`}>{(props) => <input {...props} value={typed} onInput={(e) => type(e.currentTarget.value)} autocomplete="off" spellcheck={false} />}</Field>
        {busy && <Going what={`${plural(backup.include.length, 'part')} being checked and put back`} />}
        {problem && <Trouble problem={problem} title="Nothing was restored" />}
        <div class="buttons">
          <Button onClick={close}>Cancel</Button>
          <Button kind="danger" type="submit" busy={busy} disabled={typed !== backup.name}>
            Restore
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
