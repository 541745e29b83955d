// From the globe to the page: the projection Natural Earth of Tom Patterson, as a polynomial.
// Source: B. Šavrič et al., "A polynomial equation for the Natural Earth projection", 2011.
import { LAND } from './land';

/** The map is cut in the Bering strait. */
const WEST = -169;
export const WIDTH = 1000;
const TOP = 80;
const BOTTOM = -56;

export type Point = readonly [number, number];

function natural(lon: number, lat: number): Point {
  const phi = (lat * Math.PI) / 180;
  const two = phi * phi;
  const four = two * two;
  const x = lon * (0.8707 - 0.131979 * two + four * (-0.013791 + four * (0.003971 * two - 0.001529 * four)));
  const y = phi * (1.007226 + two * (0.015085 + four * (-0.044475 + 0.028874 * two - 0.005916 * four)));
  return [(x * Math.PI) / 180, y];
}

const MIDDLE = WEST + 180;
const SCALE = WIDTH / (2 * natural(180, 0)[0]);
export const HEIGHT = Math.round((natural(0, TOP)[1] - natural(0, BOTTOM)[1]) * SCALE);

/** For longitudes from `WEST` on. */
function flat(lon: number, lat: number): Point {
  const [x, y] = natural(lon - MIDDLE, lat);
  return [WIDTH / 2 + x * SCALE, (natural(0, TOP)[1] - y) * SCALE];
}

export function project(lon: number, lat: number): Point {
  return flat(((((lon - WEST) % 360) + 360) % 360) + WEST, lat);
}

const at = (point: Point) => `${point[0].toFixed(1)} ${point[1].toFixed(1)}`;

/** All land as one path. */
export function land(): string {
  return LAND.map((ring) => {
    const steps = ring.split(' ').map(Number);
    const points: string[] = [];
    let [lon, lat] = [0, 0];
    for (let i = 0; i + 1 < steps.length; i += 2) {
      lon += steps[i] ?? 0;
      lat += steps[i + 1] ?? 0;
      points.push(at(flat(Math.min(WEST + 360, Math.max(WEST, lon / 5)), lat / 5)));
    }
    return `M${points.join('L')}Z`;
  }).join('');
}

/** Lines of equal longitude and latitude. */
export function graticule(): string {
  const lines: string[] = [];
  for (let lon = -150; lon <= 180; lon += 30) {
    const points: string[] = [];
    for (let lat = BOTTOM; lat <= TOP; lat += 4) points.push(at(project(lon, lat)));
    lines.push(`M${points.join('L')}`);
  }
  for (let lat = -30; lat <= 60; lat += 30) {
    const points: string[] = [];
    for (let lon = WEST; lon <= WEST + 360; lon += 6) points.push(at(flat(lon, lat)));
    lines.push(`M${points.join('L')}`);
  }
  return lines.join('');
}

type Vector = readonly [number, number, number];

function vector(lon: number, lat: number): Vector {
  const [l, p] = [(lon * Math.PI) / 180, (lat * Math.PI) / 180];
  return [Math.cos(p) * Math.cos(l), Math.cos(p) * Math.sin(l), Math.sin(p)];
}

/** The way along the great circle, lifted a little; in pieces where it leaves the page. */
export function arc(from: Point, to: Point): string {
  const [a, b] = [vector(...from), vector(...to)];
  const dot = Math.min(1, Math.max(-1, a[0] * b[0] + a[1] * b[1] + a[2] * b[2]));
  const angle = Math.acos(dot);
  if (angle < 1e-6) return '';
  const steps = 40;
  let path = '';
  let last: Point | undefined;
  for (let step = 0; step <= steps; step += 1) {
    const t = step / steps;
    const [s, u] = [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
    const [x, y, z] = [a[0] * s + b[0] * u, a[1] * s + b[1] * u, a[2] * s + b[2] * u];
    const point = project((Math.atan2(y, x) * 180) / Math.PI, (Math.asin(Math.min(1, Math.max(-1, z))) * 180) / Math.PI);
    const leaps = !last || Math.abs(point[0] - last[0]) > WIDTH / 2;
    path += `${leaps ? 'M' : 'L'}${at(point)}`;
    last = point;
  }
  return path;
}
