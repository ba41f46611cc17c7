// A page that fails is a page that says so: the others go on.

import { Component, type ComponentChildren } from 'preact';
import { problemOf } from '../api/client';
import { Trouble } from './parts';

export class Boundary extends Component<{ children: ComponentChildren }, { error: unknown }> {
  override state = { error: null as unknown };

  static override getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override componentDidCatch(error: unknown): void {
    console.error(error);
  }

  override render() {
    if (this.state.error === null) return this.props.children;
    return <Trouble problem={problemOf(this.state.error)} title="This page failed" retry={() => this.setState({ error: null })} />;
  }
}
