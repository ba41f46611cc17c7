// The frame: who is in sees navigation, the state of the live connection, and a page.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { get, heldUntil } from './api/client';
import { live, retryNow, start, stop } from './api/live';
import { end, may, type Role, session } from './api/session';
import { useEvents, useLoad, useThrottle } from './api/use';
import { keepFleet } from './fleet/store';
import { Alerts } from './pages/alerts';
import { Api } from './pages/api';
import { Apps } from './pages/apps';
import { Backups } from './pages/backups';
import { Commands } from './pages/commands';
import { Detections } from './pages/detections';
import { DevicePage } from './pages/device';
import { Fleet } from './pages/fleet';
import { Join } from './pages/join';
import { Login } from './pages/login';
import { Security } from './pages/security';
import { Settings } from './pages/settings';
import { link, route } from './route';
import { time, words } from './ui/format';
import { Icon, type IconName } from './ui/icons';
import { Boundary } from './ui/boundary';
import { Notes, tell } from './ui/notes';
import { Badge, Button, Empty } from './ui/parts';
import { theme, turn } from './ui/theme';

interface Place {
  name: string;
  label: string;
  icon: IconName;
  role: Role;
  page: () => ComponentChildren;
}

/** All pages; who may not see one is not offered it. */
const PLACES: Place[] = [
  { name: 'devices', label: 'Fleet', icon: 'fleet', role: 'viewer', page: () => (route.value.parts[1] ? <DevicePage key={route.value.parts[1]} id={route.value.parts[1]} /> : <Fleet />) },
  { name: 'detections', label: 'Detections', icon: 'detections', role: 'viewer', page: () => <Detections /> },
  { name: 'commands', label: 'Commands', icon: 'commands', role: 'viewer', page: () => <Commands /> },
  { name: 'alerts', label: 'Alerts', icon: 'alerts', role: 'viewer', page: () => <Alerts /> },
  { name: 'join', label: 'Join', icon: 'join', role: 'operator', page: () => <Join /> },
  { name: 'apps', label: 'Apps', icon: 'apps', role: 'viewer', page: () => <Apps /> },
  { name: 'backups', label: 'Backups', icon: 'backups', role: 'admin', page: () => <Backups /> },
  { name: 'security', label: 'Security', icon: 'security', role: 'viewer', page: () => <Security /> },
  { name: 'settings', label: 'Settings', icon: 'settings', role: 'viewer', page: () => <Settings /> },
  { name: 'api', label: 'API', icon: 'api', role: 'viewer', page: () => <Api /> },
];

export function App() {
  return (
    <>
      {session.value ? <Shell key={session.value.token} /> : <Login />}
      <Notes />
    </>
  );
}

function Shell() {
  const [open, show] = useState(false);
  const main = useRef<HTMLElement>(null);
  const name = route.value.parts[0] ?? 'devices';
  const page = `${name}/${route.value.parts[1] ?? ''}`;
  const place = PLACES.find((known) => known.name === name);
  useEffect(() => {
    const leave = keepFleet();
    start();
    return () => {
      stop();
      leave();
    };
  }, []);
  // A screen reader hears which page it is; the page begins at its top.
  const first = useRef(true);
  useEffect(() => {
    show(false);
    if (!first.current) main.current?.querySelector('h1')?.focus({ preventScroll: true });
    first.current = false;
    scrollTo(0, 0);
  }, [page]);
  useKeys();
  const lost = live.value.kind === 'lost';
  return (
    <div class={lost ? 'shell stale' : 'shell'}>
      <a class="skip" href="#main" onClick={(e) => (e.preventDefault(), main.current?.querySelector('h1')?.focus())}>
        Skip to the page
      </a>
      <Side current={name} open={open} close={() => show(false)} />
      {open && <button class="veil" aria-label="Close the menu" onClick={() => show(false)} />}
      <div class="page-column">
        <div class="bar">
          <Button kind="bare" icon="menu" aria-label="Menu" aria-expanded={open} onClick={() => show(!open)} />
          <a class="brand" href="#/devices">
            CloudCore Edge
          </a>
          <Standing />
        </div>
        <Lost />
        <main class="main" id="main" ref={main}>
          <div class="stack">
            {place === undefined ? (
              <Empty title="There is no such page">
                <a href="#/devices">Go to the fleet</a>
              </Empty>
            ) : may(place.role) ? (
              <Boundary key={page}>{place.page()}</Boundary>
            ) : (
              <Empty title={`${place.label} is for the role ${place.role}`}>Your role is {session.value?.user.role}. An administrator can change it.</Empty>
            )}
          </div>
        </main>
      </div>
    </div>
  );
}

function Side({ current, open, close }: { current: string; open: boolean; close: () => void }) {
  const alerts = useLoad((signal) => get('/api/kubeedge/alerts', { query: { active: true, limit: 1 }, signal }), []);
  const again = useThrottle(alerts.reload, 5000);
  useEvents((events) => events.some((event) => event.event === 'alert') && again());
  const active = alerts.data?.count ?? 0;
  const user = session.value?.user;
  return (
    <aside class={open ? 'side open' : 'side'} onKeyDown={(e) => e.key === 'Escape' && close()}>
      <a class="brand" href="#/devices">
        <img src="/icon.svg" alt="" /> CloudCore Edge
      </a>
      <nav aria-label="Pages">
        {PLACES.filter((place) => may(place.role)).map((place) => (
          <a key={place.name} href={link([place.name])} aria-current={place.name === current ? 'page' : undefined} onClick={close}>
            <Icon name={place.icon} />
            {place.label}
            {place.name === 'alerts' && active > 0 && (
              <span class="count">
                {active}
                <span class="sr"> active</span>
              </span>
            )}
          </a>
        ))}
      </nav>
      <div class="foot">
        <p class="who">
          <Standing />
        </p>
        <p class="who">
          {user?.username} · {user?.role}
        </p>
        <Button kind="bare" icon="sun" onClick={turn}>
          Theme: {theme.value}
        </Button>
        <Button kind="bare" icon="out" onClick={() => end()}>
          Log out
        </Button>
      </div>
    </aside>
  );
}

function Standing() {
  const state = live.value;
  if (state.kind === 'live') return <Badge tone="ok">Live</Badge>;
  if (state.kind === 'connecting') return <Badge tone="quiet">Connecting</Badge>;
  return <Badge tone="warn">Not live</Badge>;
}

/** Says in words that nothing is live, since when, and what happens next. */
function Lost() {
  const [, tick] = useState(0);
  const state = live.value;
  const held = heldUntil.value > Date.now();
  const before = useRef(state.kind);
  useEffect(() => {
    if (state.kind === 'live' && before.current === 'lost') tell('Live again. What was missed has been fetched.');
    before.current = state.kind;
  }, [state.kind]);
  useEffect(() => {
    if (state.kind !== 'lost' && !held) return;
    const timer = setInterval(() => tick((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, [state, held]);
  if (state.kind === 'lost') {
    const seconds = Math.max(0, Math.ceil((state.retry - Date.now()) / 1000));
    return (
      <div class="banner">
        <span role="status">
          <b>Not live.</b> {state.at ? `What you see is as of ${time(state.at)}.` : 'Nothing was live yet.'} <span class="sr">{words(state.why)}</span>
        </span>
        <span class="line">
          <span aria-hidden="true">{seconds > 0 ? `Trying again in ${seconds} s` : 'Connecting…'}</span>
          <Button onClick={retryNow}>Try now</Button>
        </span>
      </div>
    );
  }
  if (held) {
    return (
      <div class="banner" role="status">
        <span>The hub’s rate limit is reached. Going on in {Math.ceil((heldUntil.value - Date.now()) / 1000)} s; what you see may be older.</span>
      </div>
    );
  }
  return null;
}

/** `/` goes to the search, `g` and a letter to a page. */
function useKeys(): void {
  useEffect(() => {
    let after = 0;
    const pressed = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || target.closest('input, select, textarea, dialog')) return;
      if (event.key === '/') {
        const search = document.querySelector<HTMLInputElement>('input[type=search]');
        if (search) event.preventDefault();
        search?.focus();
      } else if (event.key === 'g') {
        after = Date.now();
      } else if (Date.now() - after < 1200) {
        after = 0;
        const KEYS: Record<string, string> = { f: 'devices', d: 'detections', c: 'commands', a: 'alerts', j: 'join', p: 'apps', b: 'backups', s: 'security', t: 'settings' };
        const found = KEYS[event.key];
        if (found) location.hash = link([found]);
      }
    };
    window.addEventListener('keydown', pressed);
    return () => window.removeEventListener('keydown', pressed);
  }, []);
}
