// Scales of an axis: functions from values to pixels, with `ticks` (round values to label) and `invert` (pixels to values).

// About `count` ticks, in steps of 1, 2 or 5 times a power of ten. low and high stay as they are.
export function linear(low, high, [from, to], count = 5) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((each) => each * power >= rough * 0.999) ?? 10);
  const scale = (value) => from + ((value - low) / (high - low || 1)) * (to - from);
  scale.ticks = [];
  for (let number = Math.ceil(low / step - 1e-9) + 0; number * step <= high + step * 1e-9; number++) scale.ticks.push(number * step);
  scale.invert = (pixel) => low + ((pixel - from) / (to - from)) * (high - low);
  return scale;
}

// Ticks at powers of ten, and between them if the range is short. 0 < low < high
export function logarithmic(low, high, [from, to]) {
  const [start, range] = [Math.log10(low), Math.log10(high / low)];
  const scale = (value) => from + ((Math.log10(Math.max(value, low)) - start) / range) * (to - from);
  const between = range > 3 ? [1] : range > 1 ? [1, 2, 5] : [1, 1.5, 2, 3, 5, 7];
  scale.ticks = [];
  for (let power = Math.floor(start); power <= Math.ceil(start + range); power++) {
    scale.ticks.push(...between.map((each) => each * 10 ** power).filter((value) => value >= low && value <= high));
  }
  scale.invert = (pixel) => 10 ** (start + ((pixel - from) / (to - from)) * range);
  return scale;
}
