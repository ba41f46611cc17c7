// Dialogs are the browser's own: it holds the focus in, gives it back, and closes on Escape.

import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { type Problem, problemOf } from '../api/client';
import { Button, Field, Trouble } from './parts';

export function Dialog({ title, close, children }: { title: string; close: () => void; children: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog ref={element} aria-labelledby={id} onClose={close} onClick={(event) => event.target === element.current && close()}>
      <div class="dialog">
        <header>
          <h2 id={id}>{title}</h2>
          <Button kind="bare" icon="close" onClick={close} aria-label="Close" />
        </header>
        {children}
      </div>
    </dialog>
  );
}

interface ConfirmProps {
  title: string;
  /** What will happen. */
  children: ComponentChildren;
  /** What the button does, in a word. */
  verb: string;
  /** What has to be typed, where a second click is not enough. */
  typed?: string;
  act: () => Promise<unknown>;
  close: () => void;
  done?: () => void;
}

/** Asks again before something is destroyed. */
export function Confirm({ title, children, verb, typed, act, close, done }: ConfirmProps) {
  const [text, write] = useState('');
  const { busy, problem, run } = useAction(act, () => {
    close();
    done?.();
  });
  return (
    <Dialog title={title} close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        <div class="prose">{children}</div>
        {typed && (
          <Field label={`Type ${typed} to go on`}>
            {(props) => <input {...props} value={text} onInput={(e) => write(e.currentTarget.value)} autocomplete="off" spellcheck={false} />}
          </Field>
        )}
        {problem && <Trouble problem={problem} />}
        <div class="buttons">
          <Button onClick={close}>Cancel</Button>
          <Button kind="danger" type="submit" busy={busy} disabled={typed !== undefined && text !== typed}>
            {verb}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

/** Something that is done by a click: whether it goes on, and what went wrong. */
export function useAction<A extends unknown[], T>(act: (...args: A) => Promise<T>, then?: (result: T) => void) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const run = async (...args: A): Promise<void> => {
    setBusy(true);
    setProblem(null);
    try {
      const result = await act(...args);
      setBusy(false);
      then?.(result);
    } catch (error) {
      setBusy(false);
      setProblem(problemOf(error));
    }
  };
  return { busy, problem, run, clear: () => setProblem(null) };
}
