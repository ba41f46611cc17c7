import { useState } from 'preact/hooks';
import { get, post, type Schema } from '../api/client';
import { may } from '../api/session';
import { useLoad } from '../api/use';
import { Confirm } from '../ui/dialog';
import { fullTime } from '../ui/format';
import { tell } from '../ui/notes';
import { Await, Badge, Button, Empty, Panel } from '../ui/parts';

const KINDS: Record<Schema['CertificateKind'], string> = { ca: 'The hub’s CA', link: 'Agents’ port', https: 'HTTPS', node: 'Node' };
const TONES = { valid: 'ok', expiring: 'warn', expired: 'bad', revoked: 'bad' } as const;

export function Certificates() {
  const [renewing, renew] = useState<Schema['RenewCertificates'] | null>(null);
  const list = useLoad((signal) => get('/api/kubeedge/security/certificates', { query: { limit: 500 }, signal }), []);
  return (
    <Panel
      title="Certificates"
      pad={false}
      actions={may('admin') && <Button onClick={() => renew({ target: 'server' })}>Renew the hub’s</Button>}
    >
      <Await of={list}>
        {(data) =>
          data.certificates.length === 0 ? (
            <Empty title="No certificates" />
          ) : (
            <div class="table-box">
              <table class="cards">
                <thead>
                  <tr>
                    <th>For</th>
                    <th>Kind</th>
                    <th>State</th>
                    <th>Ends</th>
                    <th>Fingerprint</th>
                    <th>
                      <span class="sr">Actions</span>
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {data.certificates.map((one) => (
                    <tr key={`${one.fingerprint}${one.kind}`}>
                      <td class="title">{one.node_name ?? one.subject}</td>
                      <td data-name="Kind">{KINDS[one.kind]}</td>
                      <td data-name="State">
                        <span class="line">
                          <Badge tone={TONES[one.status]}>{one.status}</Badge>
                          {!one.in_use && one.status !== 'revoked' && <span class="quiet small">not in use</span>}
                        </span>
                      </td>
                      <td data-name="Ends" title={fullTime(one.not_after)} class="tight">
                        {one.status === 'revoked' || one.status === 'expired' ? fullTime(one.not_after) : `in ${one.days_left} days`}
                      </td>
                      <td data-name="Fingerprint">
                        <code title={one.fingerprint}>{one.fingerprint.slice(0, 23)}…</code>
                      </td>
                      <td class="end">
                        {may('admin') && one.kind === 'node' && one.in_use && one.node_name && (
                          <Button kind="bare" onClick={() => renew({ node_name: one.node_name, target: 'node' })} aria-label={`Renew the certificate of ${one.node_name}`}>
                            Renew
                          </Button>
                        )}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Await>
      {renewing && (
        <Confirm
          title={renewing.node_name ? `Renew the certificate of ${renewing.node_name}?` : 'Renew the hub’s certificates?'}
          verb="Renew"
          act={() => post('/api/kubeedge/security/certificates/renew', { body: renewing }).then((answer) => tell(answer.message))}
          close={() => renew(null)}
          done={list.reload}
        >
          <p>No session is cut for it.</p>
        </Confirm>
      )}
    </Panel>
  );
}
