import { defineConfig } from 'vite';

/** Where the API is while one develops: a hub of this machine. */
const hub = process.env.CLOUDCORE_HUB ?? 'http://127.0.0.1:5000';

export default defineConfig({
  // The pages are served from the root, and everything with a hash in its name never changes.
  base: '/',
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    // A script that is put into the page would be one more exception of the content policy.
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    proxy: { '/api': hub, '/downloads': hub, '/install.sh': hub },
  },
});
