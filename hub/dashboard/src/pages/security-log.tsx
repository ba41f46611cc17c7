import { useState } from 'preact/hooks';
import { get, type Schema } from '../api/client';
import { useLoad } from '../api/use';
import { refine, route } from '../route';
import { useAction } from '../ui/dialog';
import { fullTime, plural } from '../ui/format';
import { Await, Badge, Button, Empty, Panel, Trouble } from '../ui/parts';

const TONES: Record<string, 'ok' | 'warn' | 'bad'> = { done: 'ok', refused: 'bad', failed: 'warn' };

export function AuditLog() {
  const outcome = route.value.query.get('outcome') ?? '';
  const actor = route.value.query.get('actor') ?? '';
  const [most, raise] = useState(100);
  const list = useLoad(
    (signal) => get('/api/kubeedge/security/logs', { query: { limit: most, actor: actor || undefined, outcome: (outcome || undefined) as 'done' | undefined }, signal }),
    [outcome, actor, most],
  );
  const [chain, told] = useState<Schema['ChainState'] | null>(null);
  const verify = useAction(() => get('/api/kubeedge/security/logs/verify'), told);
  return (
    <Panel
      title="Audit log"
      pad={false}
      actions={
        <>
          <input type="search" aria-label="Only this actor" placeholder="Who" value={actor} onChange={(e) => refine({ actor: e.currentTarget.value.trim() })} size={10} />
          <select aria-label="Only this outcome" value={outcome} onChange={(e) => refine({ outcome: e.currentTarget.value })}>
            <option value="">All outcomes</option>
            <option value="done">Done</option>
            <option value="refused">Refused</option>
            <option value="failed">Failed</option>
          </select>
          <Button busy={verify.busy} onClick={() => void verify.run()}>
            Check the chain
          </Button>
        </>
      }
    >
      <div role="status">
        {chain && (
          <p class="empty">
            {chain.intact ? <Badge tone="ok">Whole</Badge> : <Badge tone="bad">Broken at entry {chain.first_broken}</Badge>} {plural(chain.entries, 'entry', 'entries')}, each chained to the one before.
          </p>
        )}
      </div>
      {verify.problem && <Trouble problem={verify.problem} />}
      <Await of={list}>
        {(data) =>
          data.logs.length === 0 ? (
            <Empty title="No entry matches" />
          ) : (
            <div class="table-box">
              <table class="cards">
                <thead>
                  <tr>
                    <th>When</th>
                    <th>Who</th>
                    <th>What</th>
                    <th>Outcome</th>
                    <th>From</th>
                    <th>Request</th>
                  </tr>
                </thead>
                <tbody>
                  {data.logs.map((entry) => (
                    <tr key={entry.id}>
                      <td data-name="When" class="tight">{fullTime(entry.timestamp)}</td>
                      <td data-name="Who">
                        <span>
                          {entry.actor}
                          {entry.role && <span class="quiet small"> {entry.role}</span>}
                        </span>
                      </td>
                      <td class="title">
                        <code>
                          {entry.action.split(' ')[0]} {entry.target}
                        </code>
                      </td>
                      <td data-name="Outcome">
                        <Badge tone={TONES[entry.outcome] ?? 'warn'}>
                          {entry.outcome} {entry.status}
                        </Badge>
                      </td>
                      <td data-name="From">{entry.address}</td>
                      <td data-name="Request">
                        <code>{entry.request_id}</code>
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
              {data.next_cursor != null && most < 500 && (
                <div class="empty">
                  <Button onClick={() => raise(most + 200)}>Show older ones</Button>
                </div>
              )}
            </div>
          )
        }
      </Await>
    </Panel>
  );
}
