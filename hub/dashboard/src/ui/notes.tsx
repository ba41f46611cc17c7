// Short notes about what was done; read aloud, and gone after a while.

import { signal } from '@preact/signals';
import { Button } from './parts';

interface Note {
  id: number;
  text: string;
  bad: boolean;
}
const notes = signal<Note[]>([]);
let next = 0;

export function tell(text: string, bad = false): void {
  const id = next++;
  notes.value = [...notes.value.slice(-3), { id, text, bad }];
  if (!bad) setTimeout(() => drop(id), 6000);
}

function drop(id: number): void {
  notes.value = notes.value.filter((note) => note.id !== id);
}

export function Notes() {
  return (
    <div class="notes" role="status" aria-live="polite">
      {notes.value.map((note) => (
        <div key={note.id} class={note.bad ? 'bad' : ''}>
          <span>{note.text}</span>
          <Button kind="bare" icon="close" aria-label="Dismiss" onClick={() => drop(note.id)} />
        </div>
      ))}
    </div>
  );
}
