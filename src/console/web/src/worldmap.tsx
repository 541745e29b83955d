// The world as an SVG: land from data, nothing fetched.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { arc, graticule, HEIGHT, land, project, WIDTH } from './projection';

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

interface Placed {
  code: string;
  city: string;
  lat: number;
  lon: number;
  state: string;
  rtt_ms: number | null;
  behind: number;
  queued: number;
}
interface Found {
  primary: string | null;
  holders: string[];
  cached: string[];
  heat: Record<string, number>;
  moves: { at_ms: number; from: string; to: string }[];
}

/** Regions on the map; with an object, what each has of it and how much it reads it. */
export function RegionMap({ regions, found, chosen, onChoose }: {
  regions: readonly Placed[];
  found?: Found | undefined;
  chosen: string;
  onChoose: (code: string) => void;
}) {
  const here = regions.find((region) => region.state === 'here');
  const at = (code: string) => regions.find((region) => region.code === code);
  const hottest = Math.max(1, ...Object.values(found?.heat ?? {}));
  const trails = (found?.moves ?? []).slice(0, 4).map((move, age) => ({ ...move, age, a: at(move.from), b: at(move.to) }));
  const fresh = found?.moves[0] && Date.now() - found.moves[0].at_ms < 15_000 ? found.moves[0] : undefined;
  return (
    <World label="Map of the regions; the table beside it says the same">
      <g aria-hidden="true">
        {!found && here && regions.filter((one) => one !== here).map((one) => {
          const slow = Math.min(1, (one.rtt_ms ?? 400) / 300);
          return (
            <path key={one.code} class={`link ${one.state}`} d={arc([here.lon, here.lat], [one.lon, one.lat])}
              style={{ strokeWidth: `${2.4 - 1.4 * slow}px`, animationDuration: `${1.2 + 2.4 * slow}s` }} />
          );
        })}
        {trails.map(({ a, b, age, at_ms }) => a && b && (
          <path key={at_ms} class={`trail ${fresh && age === 0 ? 'fresh' : ''}`} style={{ opacity: String(0.9 - age * 0.2) }} d={arc([a.lon, a.lat], [b.lon, b.lat])} />
        ))}
        {found && regions.map((one) => {
          const heat = found.heat[one.code] ?? 0;
          const [x, y] = project(one.lon, one.lat);
          return heat > 0.05 && <circle key={one.code} class="heat" cx={x} cy={y} r={12 + 34 * Math.sqrt(heat / hottest)} />;
        })}
        {!found && regions.map((one) => {
          const [x, y] = project(one.lon, one.lat);
          return <text key={one.code} class="way-time" x={x + (x < 880 ? 16 : -16)} y={y + 21} text-anchor={x < 880 ? 'start' : 'end'}>{wayTo(one).slice(2)}</text>;
        })}
        {fresh && <Flight key={fresh.at_ms} from={at(fresh.from)} to={at(fresh.to)} />}
      </g>
      {regions.map((one) => {
        const [x, y] = project(one.lon, one.lat);
        const kind = found ? roleOf(found, one.code) : one.state;
        const label = `${one.code}, ${one.city}: ${found ? WORDS[kind] ?? kind : `${kind}${wayTo(one)}`}`;
        const right = x < 880;
        return (
          <g key={one.code} class={`region ${kind} ${chosen === one.code ? 'chosen' : ''}`} transform={`translate(${x.toFixed(1)} ${y.toFixed(1)})`}
            role="button" tabindex={0} aria-label={label} aria-pressed={chosen === one.code} onClick={() => onChoose(one.code)}
            onKeyDown={(event) => { if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); onChoose(one.code); } }}>
            <circle class="target" r="22" />
            {(kind === 'primary' || kind === 'here') && <circle class="pulse" r="9" />}
            <circle class="ring" r="11" />
            <circle class="mark" r={kind === 'primary' || kind === 'here' ? 7.5 : 6} />
            <text x={right ? 16 : -16} y="5" text-anchor={right ? 'start' : 'end'}>{one.code}</text>
          </g>
        );
      })}
    </World>
  );
}

/** `, 90 ms`, where that was measured. */
function wayTo(one: Placed): string {
  return one.rtt_ms === null || one.state === 'here' ? '' : `, ${one.rtt_ms} ms`;
}

const WORDS: Readonly<Record<string, string>> = { holder: 'full copy', cached: 'cached copy', none: 'nothing' };

function roleOf(found: Found, code: string): string {
  if (found.primary === code) return 'primary';
  if (found.holders.includes(code)) return 'holder';
  return found.cached.includes(code) ? 'cached' : 'none';
}

/** The bird that carries the primary to where it is read. */
function Flight({ from, to }: { from: Placed | undefined; to: Placed | undefined }) {
  const way = useRef<SVGPathElement>(null);
  const bird = useRef<SVGGElement>(null);
  useEffect(() => {
    const path = way.current;
    const mark = bird.current;
    if (!path || !mark || matchMedia('(prefers-reduced-motion: reduce)').matches) return undefined;
    const length = path.getTotalLength();
    const began = performance.now();
    let frame = 0;
    const step = (now: number) => {
      const t = Math.min(1, (now - began) / 2600);
      const eased = t < 0.5 ? 2 * t * t : 1 - (2 - 2 * t) ** 2 / 2;
      const a = path.getPointAtLength(length * eased);
      const b = path.getPointAtLength(Math.min(length, length * eased + 2));
      const angle = (Math.atan2(b.y - a.y, b.x - a.x) * 180) / Math.PI;
      mark.setAttribute('transform', `translate(${a.x} ${a.y}) rotate(${angle})${Math.abs(angle) > 90 ? ' scale(1 -1)' : ''}`);
      mark.style.opacity = String(Math.min(1, 8 * Math.min(t, 1 - t)));
      if (t < 1) frame = requestAnimationFrame(step);
    };
    frame = requestAnimationFrame(step);
    return () => cancelAnimationFrame(frame);
  }, []);
  if (!from || !to) return null;
  return (
    <>
      <path ref={way} class="way" d={arc([from.lon, from.lat], [to.lon, to.lat])} />
      <g ref={bird} class="bird" style={{ opacity: '0' }}>
        <path d="M-16 2 L-3 -1 C0 -9 -5 -15 -12 -17 C-5 -17 3 -13 6 -5 C9 -6 12 -5 13 -3 L24 -1 L12 1 C8 5 0 6 -6 5 Z" />
      </g>
    </>
  );
}
