import { render } from 'preact';
import './styles/base.css';
import './styles/parts.css';
import './styles/shell.css';
import './styles/pages.css';
import './ui/theme';
import { App } from './app';

const place = document.getElementById('app');
if (place) render(<App />, place);
