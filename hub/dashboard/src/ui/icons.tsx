// Icons of our own, drawn on a grid of 20; they say nothing that words beside them do not.

const PATHS = {
  fleet: 'M3 4h14v4H3zM3 12h14v4H3zM6 6h.01M6 14h.01',
  detections: 'M3 7V4h3M14 4h3v3M17 13v3h-3M6 16H3v-3M10 7.500a2.500 2.500 0 1 0 0 5a2.500 2.500 0 1 0 0-5',
  commands: 'M4 5l4 5-4 5M10 15h6',
  alerts: 'M10 3a5 5 0 0 1 5 5v3l1.500 3h-13L5 11V8a5 5 0 0 1 5-5M8.500 16.500h3',
  join: 'M10 4v12M4 10h12',
  apps: 'M4 4h5v5H4zM11 4h5v5h-5zM4 11h5v5H4zM11 11h5v5h-5z',
  backups: 'M4 6c0-1.600 2.700-2.500 6-2.500s6 .900 6 2.500-2.700 2.500-6 2.500S4 7.600 4 6v8c0 1.600 2.700 2.500 6 2.500s6-.900 6-2.500V6M4 10c0 1.600 2.700 2.500 6 2.500s6-.900 6-2.500',
  security: 'M10 3l6 2v5c0 3.500-2.500 6-6 7-3.500-1-6-3.500-6-7V5zM7.500 10l2 2 3.500-4',
  settings: 'M4 6h6M14 6h2M4 14h2M10 14h6M12 4v4M8 12v4',
  api: 'M7 5c-2 0-2 1-2 2.500S5 10 3.500 10C5 10 5 11 5 12.500S5 15 7 15M13 5c2 0 2 1 2 2.500S15 10 16.500 10C15 10 15 11 15 12.500S15 15 13 15',
  menu: 'M3 6h14M3 10h14M3 14h14',
  close: 'M5 5l10 10M15 5L5 15',
  copy: 'M7 7h9v9H7zM4 13V4h9',
  search: 'M9 4a5 5 0 1 0 0 10A5 5 0 1 0 9 4M13 13l4 4',
  camera: 'M3 7h3l1.500-2h5L14 7h3v9H3zM10 8.500a2.500 2.500 0 1 0 0 5a2.500 2.500 0 1 0 0-5',
  sun: 'M10 7a3 3 0 1 0 0 6a3 3 0 1 0 0-6M10 2v2M10 16v2M2 10h2M16 10h2M4.500 4.500l1.400 1.400M14.100 14.100l1.400 1.400M4.500 15.500l1.400-1.400M14.100 5.900l1.400-1.400',
  out: 'M8 4H4v12h4M9 10h8M14 7l3 3-3 3',
  back: 'M12 5l-5 5 5 5',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
