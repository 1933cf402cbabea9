"""Times the reading of a few frames per clip, by clipshift and by other libraries.

    python benchmarks/decoding.py [FOLDER] [--made] [--repacked] [--sums] [--frames 8 ...] [--threads 1] [--repeat 7]
                                  [--json figures.json] [--chart figure.png]

Every reader opens each clip anew and gives the middles of its segments as RGB arrays. The clips are those of a folder,
and with `--made` (or without a folder) clips of many codecs, sizes and group lengths that are made on the spot. The
readers take turns, so that a busy machine slows all of them alike, and each turn in another order, so that none always
finds the caches warm from its like; with one thread they share one core, so that none gains by threads that were not
asked for. The table shows, as medians over the turns, the CPU's milliseconds (of all threads; what others do on
the machine counts little in it), and in brackets how often clipshift's time fits into the other's: the median of the
turns' ratios. With several threads it shows elapsed milliseconds, and clipshift with one thread as one more reader.
Frames that differ from plain PyAV's are marked. `--sums` shows, in place of each clip, its folder inside FOLDER: the
mean of its clips' times, and in brackets the median of their ratios. torchcodec, decord and OpenCV take part where they
are installed: `pip install 'clipshift[bench]'`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from typing import Any

import av
import numpy as np
from common import bar_chart, ratio, spread, take_turns, write_json

from clipshift.datasets.tools.transcode import repack_videos
from clipshift.preprocessing.sampling import segment_middles
from clipshift.video import decode, is_video_file, probe

Reader = Callable[[Path, list[int], int], np.ndarray]


def read_clipshift(path: Path, indices: list[int], threads: int) -> np.ndarray:
    return decode(path, indices, threads=threads)


def read_with_one_thread(path: Path, indices: list[int], threads: int) -> np.ndarray:  # noqa: ARG001 - as all readers
    return decode(path, indices)


def read_pyav(path: Path, indices: list[int], threads: int) -> np.ndarray:
    """Plain PyAV: frame after frame up to the last wanted one; only wanted frames become arrays."""
    wanted = set(indices)
    pictures: dict[int, np.ndarray] = {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "AUTO" if threads > 1 else "SLICE"
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                pictures[number] = frame.to_ndarray(format="rgb24")
                if len(pictures) == len(wanted):
                    break
    return np.stack([pictures[index] for index in indices])


def read_torchcodec(path: Path, indices: list[int], threads: int) -> np.ndarray:
    open_video = import_module("torchcodec.decoders").VideoDecoder
    decoder = open_video(str(path), dimension_order="NHWC", num_ffmpeg_threads=threads)
    return np.asarray(decoder.get_frames_at(indices).data)


def read_decord(path: Path, indices: list[int], threads: int) -> np.ndarray:
    return np.asarray(import_module("decord").VideoReader(str(path), num_threads=threads).get_batch(indices).asnumpy())


def read_opencv(path: Path, indices: list[int], threads: int) -> np.ndarray:
    cv2 = import_module("cv2")
    wanted = set(indices)
    pictures: dict[int, np.ndarray] = {}
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    try:
        for number in range(max(indices) + 1):
            if not capture.grab():
                raise RuntimeError(f"no frame {number}")
            if number in wanted:
                pictures[number] = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
    finally:
        capture.release()
    return np.stack([pictures[index] for index in indices])


OTHERS: dict[str, tuple[str, str, Reader]] = {
    "PyAV": ("av", "av", read_pyav),
    "torchcodec": ("torchcodec", "torchcodec", read_torchcodec),
    "decord": ("decord", "decord", read_decord),
    "OpenCV": ("cv2", "opencv-python-headless", read_opencv),
}
"""Module, distribution and reader of each library."""


@dataclass(frozen=True)
class Made:
    """How a clip is made."""

    codec: str
    suffix: str
    size: tuple[int, int] = (340, 256)
    frames: int = 250
    options: dict[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"


_X264 = {"preset": "medium", "crf": "23"}
MADE: dict[str, Made] = {
    "H.264 340x256, group 250, B pictures": Made("libx264", ".mp4", options=_X264 | {"g": "250"}),
    "H.264 340x256, group 48, B pictures": Made("libx264", ".mp4", options=_X264 | {"g": "48"}),
    "H.264 340x256, group 12, B pictures": Made("libx264", ".mp4", options=_X264 | {"g": "12"}),
    "H.264 340x256, group 250, P only": Made("libx264", ".mp4", options=_X264 | {"g": "250", "bf": "0"}),
    "H.264 1280x720, group 250, B pictures": Made("libx264", ".mp4", (1280, 720), 100, _X264 | {"g": "250"}),
    "HEVC 340x256, group 250": Made("libx265", ".mp4", options={"preset": "fast", "x265-params": "log-level=none"}),
    "MPEG-4 320x240 in AVI, group 12": Made("mpeg4", ".avi", (320, 240), options={"g": "12", "qscale": "4"}),
    "VP9 340x256, group 128": Made(
        "libvpx-vp9", ".webm", frames=150, options={"deadline": "realtime", "cpu-used": "8"}
    ),
    "AV1 340x256": Made("libsvtav1", ".mp4", frames=150, options={"preset": "10", "svtav1-params": "lp=1"}),
    "Motion JPEG 340x256 in AVI": Made("mjpeg", ".avi", frames=150, pixels="yuvj420p", options={"qscale": "4"}),
}


def make_clip(path: Path, how: Made) -> None:
    """Writes a clip in which textures of several sizes move and a little noise flickers."""
    width, height = how.size
    random = np.random.default_rng(0)
    layers = [random.integers(0, 256, (height // step + 64, width // step + 64, 3)) for step in (4, 16, 64)]
    noise = random.integers(-6, 7, (height + 32, width + 32, 1))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(how.codec, rate=25, options=how.options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, how.pixels
        stream.thread_count = 1
        for number in range(how.frames):
            picture_HWC = np.zeros((height, width, 3), dtype=np.int64)
            for step, layer in zip((4, 16, 64), layers, strict=True):
                left, top = number * 3 % (step * 32), number * 2 % (step * 32)
                rows, columns = (np.arange(height) + top) // step, (np.arange(width) + left) // step
                picture_HWC += layer[rows[:, None], columns] // 3
            shift = number * 7 % 32
            picture_HWC += noise[shift : shift + height, shift : shift + width]
            frame = av.VideoFrame.from_ndarray(picture_HWC.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def measure_clip(
    path: Path, name: str, readers: dict[str, Reader], *, frames: int, threads: int, repeat: int
) -> dict[str, Any]:
    info = probe(path)
    indices = segment_middles(info.frames, frames)
    reference = read_pyav(path, indices, threads)
    size = f"{info.width}x{info.height}"
    figures: dict[str, Any] = {"clip": name, "frames": info.frames, "wanted": frames, "codec": info.codec, "size": size}
    figures["readers"] = {}
    usable = {}
    measure = "cpu_ms" if threads == 1 else "elapsed_ms"
    for reader, read in readers.items():
        try:
            difference = np.abs(read(path, indices, threads).astype(np.int16) - reference)
        except Exception as error:  # whatever another library raises is its result
            figures["readers"][reader] = {"error": f"{type(error).__name__}: {error}"[:200]}
        else:
            usable[reader] = partial(read, path, indices, threads)
            figures["readers"][reader] = {
                "frames_that_differ": int(difference.any(axis=(1, 2, 3)).sum()),
                "mean_difference": round(float(difference.mean()), 3),
            }
    taken = take_turns(usable, repeat=repeat)
    for reader, times in taken.items():
        theirs, ours = (getattr(each, measure) for each in (times, taken["clipshift"]))
        shown = {"ms": round(median(theirs), 3), "spread_ms": round(spread(theirs), 3)}
        figures["readers"][reader] |= times.to_json() | shown | {"ratio": round(ratio(theirs, ours), 3)}
    return figures


def table(results: list[dict[str, Any]], names: list[str]) -> str:
    """The figures as Markdown."""
    lines = [f"| clip | frames | clipshift | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for result in results:
        ours = result["readers"]["clipshift"]
        cells = []
        for name in names:
            theirs = result["readers"][name]
            if "error" in theirs:
                cells.append("failed")
                continue
            differ = f", {theirs['frames_that_differ']} differ" if theirs["frames_that_differ"] else ""
            cells.append(f"{theirs['ms']:.1f} ({theirs['ratio']:.2f}){differ}")
        differ = f", {ours['frames_that_differ']} differ" if ours["frames_that_differ"] else ""
        own = f"{ours['ms']:.1f} ± {ours['spread_ms']:.1f}{differ}"
        lines.append(
            f"| {result['clip']} | {result['wanted']} of {result['frames']} | {own} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)


def by_folder(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What the readers took, clip by clip, by the folder that the clips are in."""
    folders: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        folders.setdefault(result["clip"].partition("/")[0], []).append(result["readers"])
    return folders


def sums_table(results: list[dict[str, Any]], names: list[str]) -> str:
    """The figures as Markdown: mean milliseconds of a clip and median ratio, by the folder that the clips are in."""
    lines = [f"| clips | number | clipshift | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for folder, clips in by_folder(results).items():
        cells = []
        for name in names:
            times = [readers[name]["ms"] for readers in clips if "error" not in readers[name]]
            ratios = [readers[name]["ratio"] for readers in clips if "error" not in readers[name]]
            failed = f", {len(clips) - len(times)} failed" if len(times) < len(clips) else ""
            cells.append(f"{fmean(times):.1f} ({median(ratios):.2f}){failed}" if times else "failed")
        own = fmean(readers["clipshift"]["ms"] for readers in clips)
        lines.append(f"| {folder} | {len(clips)} | {own:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def clip_bars(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The chart's bars: what each reader took for each clip."""
    return {
        f"{result['clip']}, {result['wanted']} frames": {
            name: reader["ms"] for name, reader in result["readers"].items() if "ratio" in reader
        }
        for result in results
    }


def sums_bars(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The chart's bars: the mean of what each reader took for the clips of each folder, if it read all of them."""
    return {
        f"{folder}, {len(clips)} clips": {
            name: fmean(readers[name]["ms"] for readers in clips)
            for name in clips[0]
            if not any("error" in readers[name] for readers in clips)
        }
        for folder, clips in by_folder(results).items()
    }


def repacked(clips: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Repacks clips with the defaults; by the same names."""
    source = folder / "originals"
    for number, path in enumerate(clips.values()):
        (source / "clips").mkdir(parents=True, exist_ok=True)
        (source / "clips" / f"{number}{path.suffix}").symlink_to(path.absolute())
    result = repack_videos(source, folder / "repacked", workers=0)
    for name, reason in result.failed:
        print(f"not repacked: {name}: {reason}")
    made = {name: folder / "repacked" / "clips" / f"{number}.mp4" for number, name in enumerate(clips)}
    return {name: path for name, path in made.items() if path.exists()}


def measure_repacked(original: Path, new: Path, name: str, *, frames: int, threads: int, repeat: int) -> dict[str, Any]:
    """Reading a clip and what `repack` makes of it, by clipshift and by plain PyAV."""
    indices = segment_middles(probe(original).frames, frames)
    works = {
        "original": partial(read_clipshift, original, indices, threads),
        "repacked": partial(read_clipshift, new, indices, threads),
        "original, plain PyAV": partial(read_pyav, original, indices, threads),
    }
    sizes = {"bytes": original.stat().st_size, "bytes_repacked": new.stat().st_size}
    taken = take_turns(works, repeat=repeat)
    times = {key: each.to_json() for key, each in taken.items()}
    faster = {key: round(ratio(each.cpu_ms, taken["repacked"].cpu_ms), 2) for key, each in taken.items()}
    return {"clip": name, "wanted": frames, **sizes, "times": times, "times_faster": faster}


def repacked_table(results: list[dict[str, Any]]) -> str:
    """The figures as Markdown: the CPU's milliseconds, and how often the repacked clip's fit into the others."""
    lines = ["| clip | original | plain PyAV | repacked | times faster | than plain PyAV | size |", "|---" * 7 + "|"]
    for result in results:
        keys = ("original", "original, plain PyAV", "repacked")
        cells = [f"{result['times'][key]['cpu_ms']:.1f}" for key in keys]
        cells += [f"{result['times_faster'][key]:.1f}" for key in keys[:2]]
        size = result["bytes_repacked"] / result["bytes"]
        lines.append(f"| {result['clip']} | {' | '.join(cells)} | x {size:.2f} |")
    return "\n".join(lines)


def find_clips(folder: Path | None, made: bool, scratch: Path) -> dict[str, Path]:
    """The clips by name: those below a folder, and those that are made."""
    clips = {}
    if folder is not None:
        found = sorted(path for path in folder.rglob("*") if is_video_file(path))
        clips = {path.relative_to(folder).as_posix(): path for path in found}
    if made:
        for number, (name, how) in enumerate(MADE.items()):
            if how.codec in av.codecs_available:
                clips[name] = scratch / f"{number}{how.suffix}"
                make_clip(clips[name], how)
            else:
                print(f"not made: {name}: this build of FFmpeg has no {how.codec}")
    return clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--made", action="store_true", help="also measure clips that are made on the spot")
    parser.add_argument("--repacked", action="store_true", help="also measure what `clipshift repack` makes of them")
    parser.add_argument("--sums", action="store_true", help="show the clips of a folder together")
    parser.add_argument("--frames", type=int, nargs="+", default=[8], help="wanted frames of each clip")
    parser.add_argument("--threads", type=int, default=1, help="of every reader's decoder")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("SVT_LOG", "1")  # the encoder of AV1 tells errors only
    if arguments.threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = {name: each for name, each in OTHERS.items() if find_spec(each[0]) is not None}
    readers: dict[str, Reader] = {"clipshift": read_clipshift} | {name: each[2] for name, each in found.items()}
    names = list(found)
    if arguments.threads > 1:
        readers["clipshift, 1 thread"] = read_with_one_thread
        names.insert(0, "clipshift, 1 thread")
    how = {"threads": arguments.threads, "repeat": arguments.repeat}
    with tempfile.TemporaryDirectory() as scratch:
        clips = find_clips(arguments.folder, arguments.made or arguments.folder is None, Path(scratch))
        if not clips:
            parser.error(f"no videos in {arguments.folder}")
        results = [
            measure_clip(path, name, readers, frames=frames, **how)
            for frames in arguments.frames
            for name, path in clips.items()
        ]
        print((sums_table if arguments.sums else table)(results, names))
        again = []
        if arguments.repacked:
            new = repacked(clips, Path(scratch))
            again = [
                measure_repacked(clips[name], path, name, frames=arguments.frames[0], **how)
                for name, path in new.items()
            ]
            print(repacked_table(again))
    if arguments.json is not None:
        versions = {"ffmpeg": av.ffmpeg_version_info} | {name: version(each[1]) for name, each in found.items()}
        write_json(arguments.json, {"versions": versions, "clips": results, "repacked": again})
    if arguments.chart is not None:
        bars = sums_bars(results) if arguments.sums else clip_bars(results)
        unit = "CPU's milliseconds" if arguments.threads == 1 else "milliseconds"
        bar_chart(arguments.chart, "Opening a clip and reading its frames", f"{unit}, less is better", bars)


if __name__ == "__main__":
    main()
