// Who is logged in. The token is in memory and in this tab's storage, and in no URL.

import { computed, signal } from '@preact/signals';
import type { components } from './schema';

export type Role = components['schemas']['Role'];
export interface Session {
  token: string;
  user: { id: number; username: string; role: Role };
}

const KEY = 'cloudcore.session';

/** The session, where there is one. */
export const session = signal<Session | null>(stored());
/** Why the last session ended, for the login page. */
export const ended = signal<string | null>(null);

function stored(): Session | null {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEY) ?? 'null') as Session | null;
    return found?.token && found.user?.role ? found : null;
  } catch {
    return null;
  }
}

export function begin(next: Session): void {
  sessionStorage.setItem(KEY, JSON.stringify(next));
  ended.value = null;
  session.value = next;
}

/** Ends the session; `why` is shown at the login. */
export function end(why: string | null = null): void {
  sessionStorage.removeItem(KEY);
  ended.value = why;
  session.value = null;
}

const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 };

const rank = computed(() => (session.value ? RANK[session.value.user.role] : -1));

/** Whether who is logged in may do what this role may. */
export const may = (role: Role): boolean => rank.value >= RANK[role];
