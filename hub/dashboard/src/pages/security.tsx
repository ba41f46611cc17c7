// Security: users, API keys, certificates, the audit log.

import { may, type Role } from '../api/session';
import { link, route } from '../route';
import { Head } from '../ui/parts';
import { ApiKeys } from './security-keys';
import { AuditLog } from './security-log';
import { Certificates } from './security-certificates';
import { Password, Users } from './security-users';

const TABS: [string, string, Role][] = [
  ['users', 'Users', 'admin'],
  ['keys', 'API keys', 'admin'],
  ['certificates', 'Certificates', 'viewer'],
  ['log', 'Audit log', 'admin'],
  ['password', 'My password', 'viewer'],
];

export function Security() {
  const tabs = TABS.filter(([, , role]) => may(role));
  const tab = tabs.find(([name]) => name === route.value.parts[1])?.[0] ?? tabs[0]?.[0] ?? '';
  return (
    <>
      <Head title="Security" />
      <nav class="tabs" aria-label="Parts of security">
        {tabs.map(([name, label]) => (
          <a key={name} href={link(['security', name])} aria-current={name === tab ? 'page' : undefined}>
            {label}
          </a>
        ))}
      </nav>
      {tab === 'users' && <Users />}
      {tab === 'keys' && <ApiKeys />}
      {tab === 'certificates' && <Certificates />}
      {tab === 'log' && <AuditLog />}
      {tab === 'password' && <Password />}
    </>
  );
}
