import { useEffect, useRef, useState } from 'preact/hooks';
import { post } from '../api/client';
import { begin, ended } from '../api/session';
import { useAction } from '../ui/dialog';
import { Button, Field, Trouble } from '../ui/parts';

/** The login; where the page was stays in its address, so that one is there again afterwards. */
export function Login() {
  const [username, name] = useState('');
  const [password, secret] = useState('');
  const first = useRef<HTMLInputElement>(null);
  const { busy, problem, run } = useAction(() => post('/api/auth/login', { body: { username, password } }), begin);
  useEffect(() => {
    document.title = 'Log in · CloudCore Edge';
    first.current?.focus();
  }, []);
  return (
    <main class="login">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        <h1 class="brand">
          <img src="/icon.svg" alt="" /> CloudCore Edge
        </h1>
        {ended.value && !problem && <p role="status">{ended.value}</p>}
        {problem && <Trouble problem={problem} title="You are not logged in" />}
        <Field label="User">
          {(props) => <input {...props} ref={first} value={username} onInput={(e) => name(e.currentTarget.value)} autocomplete="username" autocapitalize="none" spellcheck={false} required />}
        </Field>
        <Field label="Password">
          {(props) => <input {...props} type="password" value={password} onInput={(e) => secret(e.currentTarget.value)} autocomplete="current-password" required />}
        </Field>
        <Button kind="primary" type="submit" busy={busy}>
          Log in
        </Button>
        <p class="help">The first start of a hub prints the password of its user admin.</p>
      </form>
    </main>
  );
}
