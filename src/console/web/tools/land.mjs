// Makes src/land.ts: `node tools/land.mjs land-110m.json`, with the file of the package
// world-atlas 2.0.2 (Natural Earth, 1:110 million, public domain). Run by hand, its output is kept.
import { readFileSync, writeFileSync } from 'node:fs';

const topology = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { scale, translate } = topology.transform;
const arcs = topology.arcs.map((arc) => {
  let [x, y] = [0, 0];
  return arc.map(([dx, dy]) => {
    [x, y] = [x + dx, y + dy];
    return [x * scale[0] + translate[0], y * scale[1] + translate[1]];
  });
});
const ring = (indexes) => {
  const points = [];
  for (const index of indexes) {
    const arc = index < 0 ? [...arcs[~index]].reverse() : arcs[index];
    points.push(...(points.length ? arc.slice(1) : arc));
  }
  return points;
};
const area = (points) => {
  let sum = 0;
  points.forEach(([x, y], at) => {
    const [nextX, nextY] = points[(at + 1) % points.length];
    sum += x * nextY - nextX * y;
  });
  return Math.abs(sum / 2);
};
const rings = topology.objects.land.geometries
  .flatMap((shape) => (shape.type === 'Polygon' ? [shape.arcs] : shape.arcs))
  .map((polygon) => ring(polygon[0]))
  .filter((points) => Math.max(...points.map(([, y]) => y)) > -58)
  .filter((points) => area(points) > 1.5)
  // Across the date line longitudes go on counting; the map is cut in the Bering strait, at -169.
  .map((points) => {
    let turns = 0;
    const whole = points.map(([x, y], at) => {
      const step = at ? x - points[at - 1][0] : 0;
      turns -= step > 180 ? 360 : step < -180 ? -360 : 0;
      return [x + turns, y];
    });
    const middle = (Math.max(...whole.map(([x]) => x)) + Math.min(...whole.map(([x]) => x))) / 2;
    const shift = middle < -169 ? 360 : middle > 191 ? -360 : 0;
    return whole.map(([x, y]) => [x + shift, y]);
  });
const encoded = rings.map((points) => {
  let [lastX, lastY] = [0, 0];
  const out = [];
  for (const [lon, lat] of points) {
    const [x, y] = [Math.round(lon * 5), Math.round(lat * 5)];
    if (out.length && x === lastX && y === lastY) continue;
    out.push(x - lastX, y - lastY);
    [lastX, lastY] = [x, y];
  }
  return out.join(' ');
});
writeFileSync(
  new URL('../src/land.ts', import.meta.url),
  `// Outlines of land: Natural Earth, 1:110 million, public domain. Made by tools/land.mjs.
// Each ring: longitude and latitude in fifths of a degree, each as the step from the one before.
export const LAND: readonly string[] = ${JSON.stringify(encoded, null, 1)};
`,
);
