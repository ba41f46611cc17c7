// What pages are made of.

import type { ButtonHTMLAttributes, AnchorHTMLAttributes, ComponentChildren } from 'preact';
import { useEffect, useId, useState } from 'preact/hooks';
import type { Problem } from '../api/client';
import { live } from '../api/live';
import type { Loaded } from '../api/use';
import { fullTime, span, time } from './format';
import { Icon, type IconName } from './icons';

type Tone = 'ok' | 'warn' | 'bad' | 'info' | 'quiet';

/** A state, by a word, a shape and a colour. */
export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return (
    <span class={`badge ${tone}`}>
      <i aria-hidden="true" />
      {children}
    </span>
  );
}

interface ButtonProps extends Omit<ButtonHTMLAttributes, 'icon'> {
  kind?: 'primary' | 'plain' | 'danger' | 'bare';
  icon?: IconName;
  busy?: boolean;
  type?: 'button' | 'submit';
  disabled?: boolean;
}

export function Button({ kind = 'plain', icon, busy = false, type = 'button', disabled, children, ...rest }: ButtonProps) {
  return (
    <button {...rest} type={type} class={`button ${kind}`} disabled={disabled || busy} aria-busy={busy || undefined}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

export function LinkButton({ href, kind = 'plain', children, ...rest }: { href: string; kind?: 'primary' | 'plain'; children: ComponentChildren } & AnchorHTMLAttributes) {
  return (
    <a {...rest} href={href} class={`button ${kind}`}>
      {children}
    </a>
  );
}

interface FieldProps {
  label: string;
  help?: ComponentChildren;
  error?: string | null;
  children: (props: { id: string; 'aria-describedby'?: string; 'aria-invalid'?: boolean }) => ComponentChildren;
}

/** A label, a control, and what helps with it. */
export function Field({ label, help, error, children }: FieldProps) {
  const id = useId();
  const about = error || help ? `${id}-about` : undefined;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, 'aria-describedby': about, 'aria-invalid': error ? true : undefined })}
      {about && (
        <p id={about} class={error ? 'help bad-text' : 'help'}>
          {error || help}
        </p>
      )}
    </div>
  );
}

/** `3 min ago`, kept true; the exact time is its title. */
export function Ago({ at }: { at: string | number | null | undefined }) {
  const [, tick] = useState(0);
  const seconds = at == null ? 0 : (Date.now() - new Date(at).getTime()) / 1000;
  const every = seconds < 90 ? 5_000 : 30_000;
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), every);
    return () => clearInterval(timer);
  }, [every]);
  if (at == null) return <span class="quiet">never</span>;
  return (
    <time dateTime={new Date(at).toISOString()} title={fullTime(at)}>
      {seconds < 3 ? 'now' : `${span(seconds)} ago`}
    </time>
  );
}

/** A page's head: its name, what it says of itself, and what can be done. */
export function Head({ title, note, children }: { title: string; note?: ComponentChildren; children?: ComponentChildren }) {
  useEffect(() => {
    document.title = `${title} · CloudCore Edge`;
  }, [title]);
  return (
    <header class="head">
      <div>
        <h1 tabIndex={-1}>{title}</h1>
        {note && <p class="note">{note}</p>}
      </div>
      {children && <div class="actions">{children}</div>}
    </header>
  );
}

export function Panel({ title, actions, children, pad = true, class: more = '' }: { title?: string; actions?: ComponentChildren; children: ComponentChildren; pad?: boolean; class?: string }) {
  const id = useId();
  return (
    <section class={`panel ${more}`} aria-labelledby={title ? id : undefined}>
      {title && (
        <header>
          <h2 id={id}>{title}</h2>
          {actions && <div class="actions">{actions}</div>}
        </header>
      )}
      <div class={pad ? 'body' : 'body flush'}>{children}</div>
    </section>
  );
}

/** What a problem was, the request's id, and what to do. */
export function Trouble({ problem, retry, title = 'That did not work' }: { problem: Problem; retry?: () => void; title?: string }) {
  const forbidden = problem.status === 403;
  return (
    <div class="trouble" role="alert">
      <strong>{forbidden ? 'You may not see this' : title}</strong>
      <p>{forbidden ? `${problem.message} Ask an administrator for the role.` : problem.message}</p>
      <p class="quiet small">
        {problem.code !== 'network' && problem.code !== 'page' && <>Code {problem.code}. </>}
        {problem.requestId && (
          <>
            Request <code>{problem.requestId}</code>
          </>
        )}
      </p>
      {retry && !forbidden && <Button onClick={retry}>Try again</Button>}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <strong>{title}</strong>
      {children && <div>{children}</div>}
    </div>
  );
}

export function Skeleton({ rows = 4 }: { rows?: number }) {
  return (
    <div class="skeleton" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, i) => (
        <i key={i} />
      ))}
    </div>
  );
}

/** Loading, trouble or the data; data that could not be fetched again says of when it is. */
export function Await<T>({ of, rows, children }: { of: Loaded<T>; rows?: number; children: (data: T) => ComponentChildren }) {
  if (of.data === null) {
    return of.error ? <Trouble problem={of.error} retry={of.reload} title="This could not be loaded" /> : <Skeleton rows={rows} />;
  }
  return (
    <>
      {of.error && <Trouble problem={of.error} retry={of.reload} title={`Shown as of ${time(of.at ?? 0)}: it could not be fetched again`} />}
      {!of.error && <AsOf at={of.at} />}
      {children(of.data)}
    </>
  );
}

/** While nothing is live: of when what is shown is. */
function AsOf({ at }: { at: number | null }) {
  if (live.value.kind !== 'lost' || at === null) return null;
  return <p class="asof">As of {time(live.value.at ?? at)}</p>;
}

export function Copy({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [done, set] = useState<'' | 'Copied' | 'Select and copy it by hand'>('');
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      set('Copied');
    } catch {
      set('Select and copy it by hand');
    }
    setTimeout(() => set(''), 2500);
  };
  return (
    <Button icon="copy" onClick={() => void copy()}>
      <span aria-live="polite">{done || label}</span>
    </Button>
  );
}

export function Meter({ value, label }: { value: number | null | undefined; label: string }) {
  const tone = value == null ? '' : value >= 90 ? 'bad' : value >= 75 ? 'warn' : 'ok';
  return (
    <span class="meter">
      <span class="number">{value == null ? '–' : `${Math.round(value)}%`}</span>
      <svg viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label={`${label}: ${value == null ? 'unknown' : `${Math.round(value)} percent`}`}>
        <rect class="track" width="100" height="4" rx="2" />
        {value != null && <rect class={tone} width={Math.max(1, Math.min(100, value))} height="4" rx="2" />}
      </svg>
    </span>
  );
}

/** Names and values. */
export function Facts({ of }: { of: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {of.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value ?? <span class="quiet">–</span>}</dd>
        </div>
      ))}
    </dl>
  );
}
