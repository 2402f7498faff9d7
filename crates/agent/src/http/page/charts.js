// Pictures of values: bars of a signal, a small line, and charts with axes. Each has its content as text.

import { make, svg } from "./dom.js";
import { dbm, strength } from "./words.js";

// Four bars, of which as many are filled as the signal is strong.
export function bars(signal) {
  const known = strength(signal);
  const title = known ? `Signal ${known.words}, ${dbm(signal.dbm)}` : "No signal known";
  const picture = svg("svg", { viewBox: "0 0 22 16", class: `bars ${known ? known.level : "off"}`, role: "img", "aria-label": title });
  for (let bar = 0; bar < 4; bar += 1) {
    const height = 4 + 4 * bar;
    const is = known && bar < known.bars ? "full" : "empty";
    picture.append(svg("rect", { x: 6 * bar, y: 16 - height, width: 4, height, rx: 1, class: is }));
  }
  return picture;
}

// Pieces of a line: where no value is known, it is broken.
function pieces(values) {
  const found = [];
  let piece = [];
  values.forEach((value, place) => {
    if (value === null || value === undefined) {
      if (piece.length) found.push(piece);
      piece = [];
    } else piece.push([place, value]);
  });
  if (piece.length) found.push(piece);
  return found;
}

const join = (points) => points.map((point) => point.map((n) => n.toFixed(1)).join(",")).join(" ");

// A line of the last hour: one place a minute, the newest at the right.
export function sparkline(values, latest) {
  const [low, high, width] = [-120, -60, 60];
  const known = values.filter((value) => value !== null);
  const label = known.length
    ? `Signal of the last hour, ${dbm(Math.min(...known))} to ${dbm(Math.max(...known))}` : "No signal of the last hour";
  const picture = svg("svg", { viewBox: `0 0 ${width} 20`, preserveAspectRatio: "none", class: "spark", role: "img", "aria-label": label });
  const all = latest === undefined ? values : [...values, latest];
  const start = width - all.length + 1;
  for (const piece of pieces(all)) {
    let points = piece.map(([place, value]) =>
      [start + place, 20 - 20 * (Math.min(high, Math.max(low, value)) - low) / (high - low)]);
    // One value alone is a dash about its place, so that half of it is seen even at an edge.
    if (points.length === 1) points = [-0.4, 0.4].map((aside) => [points[0][0] + aside, points[0][1]]);
    picture.append(svg("polyline", { points: join(points) }));
  }
  return picture;
}

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [360, 150, 64, 8, 10, 24];

function axis(picture, low, high, unit, series) {
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low));
  for (const value of [low, (low + high) / 2, high]) {
    picture.append(
      svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "grid" }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, class: "tick end", text: unit(value) }),
    );
  }
  const length = series.step_seconds * (series.places - 1);
  for (const share of [0, 0.5, 1]) {
    const time = new Date(1000 * (series.end - length * (1 - share)));
    const words = time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    const place = share === 0 ? "" : share === 1 ? " end" : " middle";
    picture.append(svg("text", { x: LEFT + share * (WIDTH - LEFT - RIGHT), y: HEIGHT - 6, class: `tick${place}`, text: words }));
  }
  return y;
}

function frame(title, label, content, note) {
  return make("figure", { class: "chart" }, make("figcaption", {}, title, make("span", { class: "note" }, ...note)), content(label));
}

const nice = (value) => {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
};

// The values of a series, filled up at the left to the length of its range.
function padded(values, places, nothing) {
  return [...Array(Math.max(0, places - values.length)).fill(nothing), ...values].slice(-places);
}

export function lineChart(title, values, series, bounds, unit) {
  const all = padded(values, series.places, null);
  const known = all.filter((value) => value !== null);
  const low = bounds ? bounds[0] : 0;
  const high = bounds ? bounds[1] : known.length ? nice(Math.max(...known, 0.001)) : 1;
  const label = known.length
    ? `${title}: ${unit(Math.min(...known))} to ${unit(Math.max(...known))}, last ${unit(known[known.length - 1])}` : `${title}: no values`;
  const note = known.length ? `last ${unit(known[known.length - 1])}` : "no values yet";
  return frame(title, label, () => {
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
    const y = axis(picture, low, high, unit, series);
    const x = (place) => LEFT + place * (WIDTH - LEFT - RIGHT) / (series.places - 1);
    for (const piece of pieces(all)) {
      const points = piece.map(([place, value]) => [x(place), y(Math.min(high, Math.max(low, value)))]);
      if (points.length === 1) picture.append(svg("circle", { cx: points[0][0], cy: points[0][1], r: 2.5, class: "dot" }));
      else picture.append(svg("polyline", { points: join(points), class: "curve" }));
    }
    return picture;
  }, [note]);
}

// Columns of counts, one upon the other. `parts` are [name, class, values].
export function columnChart(title, parts, series) {
  const rows = parts.map(([name, kind, values]) => [name, kind, padded(values, series.places, 0)]);
  const sums = rows.map(([name, , values]) => [name, values.reduce((a, b) => a + b, 0)]);
  const tops = Array.from({ length: series.places }, (_, place) => rows.reduce((sum, row) => sum + row[2][place], 0));
  const high = Math.max(4, nice(Math.max(...tops, 1)));
  const label = `${title}: ${sums.map(([name, sum]) => `${sum} ${name}`).join(", ")}`;
  return frame(title, label, () => {
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
    const y = axis(picture, 0, high, (value) => String(Math.round(value)), series);
    const step = (WIDTH - LEFT - RIGHT) / series.places;
    for (let place = 0; place < series.places; place += 1) {
      let below = 0;
      for (const [, kind, values] of rows) {
        const value = values[place];
        if (!value) continue;
        const [from, to] = [y(below), y(below + value)];
        picture.append(svg("rect", { x: (LEFT + place * step + 0.5).toFixed(1), y: to.toFixed(1), width: Math.max(1, step - 1).toFixed(1), height: (from - to).toFixed(1), class: kind }));
        below += value;
      }
    }
    return picture;
  }, rows.flatMap(([name, kind], i) => [make("span", { class: `key ${kind}`, "aria-hidden": "true", text: "■" }), ` ${sums[i][1]} ${name} `]));
}
