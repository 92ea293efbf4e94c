// Draw a plot on its canvas: grid, rules and lines.
//
// Each line is decimated to its lowest and highest point per column of pixels, and drawn in short pieces, because long paths are slow
// without a graphics card.

export const LEFT = 40; // CSS pixels beside, above and below the lines
export const RIGHT = 12;
export const TOP = 12;
export const BOTTOM = 40;
const PIECE = 16; // points per path
const DOTS = 40; // a line with more points has no dots, except at its end

export class PlotCanvas {
  // to: the canvas context; { toX, toY, size }: the scales, and the size in CSS pixels; look: colours by name
  constructor(to, { toX, toY, size: { width, height } }, look) {
    Object.assign(this, { to, toX, toY, width, height, look });
  }

  grid(across, upwards) {
    const { to, width, height } = this;
    to.lineWidth = 1;
    to.strokeStyle = this.look.line;
    to.fillStyle = this.look.quiet;
    to.textBaseline = "middle";
    to.textAlign = "right";
    const [low, next] = this.toY.ticks;
    for (const value of this.toY.ticks) {
      this.#level(value);
      to.fillText(upwards.tick(value, next - low), LEFT - 8, this.toY(value));
    }
    to.textBaseline = "top";
    to.textAlign = "center";
    let free = 0; // so that labels do not overlap
    for (const value of this.toX.ticks) {
      const text = across.tick(value);
      const half = to.measureText(text).width / 2;
      const at = Math.min(width - half, Math.max(half, this.toX(value)));
      if (at - half < free) continue;
      free = at + half + 10;
      to.fillText(text, at, height - BOTTOM + 8);
    }
    to.textAlign = "right";
    to.fillText(across.label, width - RIGHT, height - 14);
  }

  rules(rules) {
    const { to } = this;
    to.lineWidth = 1;
    to.strokeStyle = this.look.quiet;
    to.setLineDash([3, 4]);
    for (const { y } of rules) this.#level(y);
    to.setLineDash([]);
  }

  // Losses fall, so the lowest rule has its name at the left and the others at the right, away from the lines. An outline keeps the names
  // legible on a line.
  ruleNames(rules) {
    const { to } = this;
    const lowest = Math.min(...rules.map(({ y }) => y));
    to.textBaseline = "bottom";
    to.lineWidth = 4;
    to.strokeStyle = this.look.sheet;
    to.fillStyle = this.look.quiet;
    for (const { name, y } of rules) {
      const left = y === lowest && rules.length > 1;
      to.textAlign = left ? "left" : "right";
      const place = [name, left ? LEFT + 4 : this.width - RIGHT - 4, this.toY(y) - 3];
      to.strokeText(...place);
      to.fillText(...place);
    }
  }

  // -> the number of points that were drawn
  line({ xs, ys, colour, width = 2, faint = false }) {
    const { to } = this;
    const points = decimated(xs, ys, this.toX, this.toY);
    to.strokeStyle = to.fillStyle = this.look[colour];
    to.lineWidth = width;
    to.globalAlpha = faint ? 0.6 : 1;
    for (let from = 0; from < points.length; from += 2 * PIECE) {
      to.beginPath();
      for (let index = Math.max(0, from - 2); index < Math.min(points.length, from + 2 * PIECE); index += 2) to.lineTo(points[index], points[index + 1]);
      to.stroke();
    }
    const dotted = xs.length > DOTS || width < 2 ? points.slice(-2) : points;
    for (let index = 0; index < dotted.length; index += 2) {
      to.beginPath();
      to.arc(dotted[index], dotted[index + 1], width + 0.75, 0, 2 * Math.PI);
      to.fill();
    }
    to.globalAlpha = 1;
    return points.length / 2;
  }

  vertical(x, shade) {
    const { to } = this;
    const at = Math.round(this.toX(x)) + 0.5;
    to.strokeStyle = this.look[shade];
    to.lineWidth = 1;
    to.beginPath();
    to.moveTo(at, TOP);
    to.lineTo(at, this.height - BOTTOM);
    to.stroke();
  }

  #level(value) {
    const at = Math.round(this.toY(value)) + 0.5;
    this.to.beginPath();
    this.to.moveTo(LEFT, at);
    this.to.lineTo(this.width - RIGHT, at);
    this.to.stroke();
  }
}

// The pixels [x, y, x, y, …] of a line: both ends, and the lowest and highest point of each column of pixels in their order
export function decimated(xs, ys, toX, toY) {
  const found = [];
  const put = (index) => found.push(toX(xs[index]), toY(ys[index]));
  let column = null;
  let [low, high] = [0, 0];
  const flush = () => {
    put(Math.min(low, high));
    if (low !== high) put(Math.max(low, high));
  };
  const end = xs.length - 1;
  if (end >= 0) put(0);
  for (let index = 1; index < end; index++) {
    const at = Math.floor(toX(xs[index]));
    if (at !== column) {
      if (column !== null) flush();
      [column, low, high] = [at, index, index];
    } else if (ys[index] < ys[low]) low = index;
    else if (ys[index] > ys[high]) high = index;
  }
  if (column !== null) flush();
  if (end > 0) put(end);
  return found;
}
