/**
 * Classifies a video with a model that `clipshift export` wrote, all in the browser: nothing leaves the machine.
 *
 * The model's file says which frames it wants, resizes and normalizes them by itself, and answers probabilities. What is
 * left to do here: read that description, seek a <video> element to the frames, and hand their pixels over.
 */

import * as ort from "onnxruntime-web";

ort.env.wasm.proxy = true; // in a worker, so that the page stays alive meanwhile

const FORMAT = 2; // of the description

/** A model ready to run, and its `spec`: classes, sampling and all else that belongs to it. */
export async function loadModel(bytes) {
  const { format, input, spec } = readDescription(bytes);
  if (format > FORMAT) throw new Error("The model is of a newer format than this page knows.");
  if (input !== "frames") throw new Error("The model does not take frames. Export it without --input clips.");
  if (spec.clips !== 1) {
    throw new Error("The model is meant for several sets of frames per video, which this page does not average.");
  }
  sampledFrames(spec.input.sampling, 1, 1); // an unknown rule is told now, not at the first video
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  return { session, spec };
}

/**
 * The JSON text `clipshift` of an ONNX file's metadata, parsed.
 *
 * onnxruntime-web does not show metadata, but an ONNX file is a protocol buffer: fields, each a tag (number and wire
 * type) and a value. Field 14 of the outermost message is a metadata entry, with the key in its field 1 and the text in
 * its field 2. All fields of these messages are numbers (wire type 0) or bytes with their length (2).
 */
export function readDescription(bytes) {
  const text = new TextDecoder();
  for (const [field, entry] of fields(bytes)) {
    if (field !== 14) continue;
    const values = Object.fromEntries([...fields(entry)].map(([number, value]) => [number, text.decode(value)]));
    if (values[1] === "clipshift") return JSON.parse(values[2]);
  }
  throw new Error("The file was not made by clipshift export: it has no metadata “clipshift”.");
}

function* fields(bytes) {
  let place = 0;
  const number = () => {
    let [value, unit, byte] = [0, 1, 0];
    do {
      byte = bytes[place++];
      value += (byte & 127) * unit;
      unit *= 128;
    } while (byte >= 128);
    return value;
  };
  while (place < bytes.length) {
    const tag = number();
    const length = number(); // or, of a field that is a number, the number itself
    if (tag % 8 === 0) continue;
    if (tag % 8 !== 2 || place + length > bytes.length) throw new Error("The file is not an ONNX model.");
    yield [Math.floor(tag / 8), bytes.subarray(place, place + length)];
    place += length;
  }
}

/**
 * Numbers, from 0, of the frames that a rule of sampling takes: the rules of clipshift's video/sampling.py.
 *
 * @param {string} sampling - `input.sampling` of the spec.
 * @param {number} frames - Frames of the video, at least 1.
 * @param {number} segments - Frames to take.
 */
export function sampledFrames(sampling, frames, segments) {
  const block = Math.floor(frames / segments);
  const part = frames / segments;
  const step = segments === 1 ? 0 : (frames - 1) / (segments - 1);
  const rules = {
    middle: (i) => Math.floor(((2 * i + 1) * frames) / (2 * segments)),
    middle_float: (i) => Math.trunc(part / 2 + part * i),
    middle_or_first: (i) => (frames > segments ? Math.trunc(part / 2 + part * i) : 0),
    block_middle: (i) => (block === 0 ? i % frames : ((block - 1) >> 1) + i * block),
    ends: (i) => (i > 0 && i === segments - 1 ? frames - 1 : Math.trunc(step * i)),
  };
  if (!Object.hasOwn(rules, sampling)) {
    throw new Error(`This page does not know the rule of sampling “${sampling}”, only ${Object.keys(rules).join(", ")}.`);
  }
  return Array.from({ length: segments }, (_, i) => rules[sampling](i));
}

/** Opens a video file in a <video> element. */
export async function openVideo(video, file) {
  URL.revokeObjectURL(video.src);
  const opened = once(video, "loadeddata", 20);
  video.src = URL.createObjectURL(file);
  await opened.catch(() => {
    throw new Error("This browser cannot play the video. MP4 with H.264 and WebM with VP9 play nearly everywhere.");
  });
}

/**
 * When the frames of an open video are shown: `first` + i `step` seconds for frame i of `count`.
 *
 * A <video> element tells neither how many frames it has nor their rate, but which moment the frame belongs to that it
 * shows. So frame 1 is looked for by doubling the time until the frame changes; then frames 2, 4, 8 ... are visited, each
 * of which makes the step twice as precise (Matroska, for one, rounds all times to 1/1000 s); at last the last one.
 *
 * @throws {Error} The frames are not evenly spaced, as in recordings of a variable rate.
 */
export async function readTimeline(video) {
  if (!Number.isFinite(video.duration)) throw new Error("The video does not say how long it is.");
  const first = await show(video, 0);
  const last = await show(video, video.duration);
  if (last === first) return { first, step: video.duration, count: 1 };
  let step = 0;
  for (let time = 1 / 512; step === 0; time *= 2) {
    step = (await show(video, Math.min(first + time, last))) - first;
  }
  for (let number = 2; first + (number + 0.5) * step < last; number *= 2) {
    const passed = (await show(video, first + (number + 0.5) * step)) - first;
    if (Math.round(passed / step) !== number) throw uneven();
    step = passed / number;
  }
  if (last + step / 2 > video.duration) throw uneven();
  const count = Math.round((last - first) / step) + 1;
  return { first, step: (last - first) / (count - 1), count };
}

/**
 * Pixels of frames of an open video: { data, height, width }, data being uint8, frame by frame, row by row, RGB.
 *
 * @throws {Error} The browser shows another frame than was asked for.
 */
export async function readFrames(video, timeline, numbers, onFrame = () => {}) {
  const [height, width] = storedSize(video);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const data = new Uint8Array(numbers.length * height * width * 3);
  let place = 0;
  let before;
  for (const number of numbers) {
    if (number !== before) {
      const shown = await show(video, timeline.first + (number + 0.5) * timeline.step);
      if (Math.abs(shown - timeline.first - number * timeline.step) > timeline.step / 2) throw uneven();
      context.drawImage(video, 0, 0, width, height);
      before = number;
    }
    const rgba = context.getImageData(0, 0, width, height).data;
    for (let i = 0; i < rgba.length; i += 4) {
      data[place++] = rgba[i];
      data[place++] = rgba[i + 1];
      data[place++] = rgba[i + 2];
    }
    onFrame(canvas, number);
  }
  return { data, height, width };
}

/** The probability of each class, in the order of `spec.classes`. */
export async function classify({ session, spec }, { data, height, width }) {
  const frames = new ort.Tensor("uint8", data, [1, spec.input.segments, height, width, 3]);
  const { probabilities } = await session.run({ frames }, ["probabilities"]);
  return Array.from(probabilities.data);
}

/** Shows the frame at a time, in seconds, and returns the frame's own time. */
async function show(video, time) {
  const shown = new Promise((resolve) => video.requestVideoFrameCallback(resolve));
  const sought = once(video, "seeked", 20);
  video.currentTime = time;
  await sought;
  // Where the frame is the one that was there before, there may be no callback.
  await Promise.race([shown, new Promise((resolve) => setTimeout(resolve, 500))]);
  const frame = new VideoFrame(video);
  frame.close();
  return frame.timestamp / 1e6;
}

/** Height and width of the frames as stored: a player stretches those whose pixels are not square, clipshift does not. */
function storedSize(video) {
  const frame = new VideoFrame(video);
  const { width, height } = frame.visibleRect;
  frame.close();
  // Stretching leaves one side as it is; a turn by 90 degrees, neither.
  const turned = video.videoWidth !== width && video.videoHeight !== height;
  return turned ? [width, height] : [height, width];
}

function once(target, type, seconds) {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(1000 * seconds);
    signal.onabort = () => reject(new Error(`The browser gave no frame within ${seconds} seconds.`));
    target.addEventListener(type, resolve, { once: true, signal });
    target.addEventListener("error", () => reject(new Error("The video cannot be decoded.")), { once: true, signal });
  });
}

function uneven() {
  return new Error("The frames of the video are not evenly spaced, so a browser cannot tell them apart by their times.");
}
