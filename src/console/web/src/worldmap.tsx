// The world as an SVG: land from data, nothing fetched.
import type { ComponentChildren } from 'preact';
import { graticule, HEIGHT, land, WIDTH } from './projection';

const LAND = land();
const GRATICULE = graticule();

export function World({ label, children }: { label: string; children?: ComponentChildren }) {
  return (
    <svg class="world" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="group" aria-label={label}>
      <path class="graticule" d={GRATICULE} aria-hidden="true" />
      <path class="land" d={LAND} aria-hidden="true" />
      {children}
    </svg>
  );
}

/** The map as decoration. */
export function Backdrop() {
  return (
    <svg class="backdrop" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true" preserveAspectRatio="xMidYMid slice">
      <path class="land" d={LAND} />
    </svg>
  );
}
