"""The C++ program gives clipshift's answers: built here, where a compiler and its libraries are there."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import clipshift
from clipshift.config import Sampling
from clipshift.inference.writing import as_text
from clipshift.preprocessing.sampling import frame_sets
from clipshift.video import decode, probe
from tests.examples.conftest import EXAMPLES, packages
from tests.video.making import make_video, pictures, with_matrix

SOURCES = EXAMPLES / "cpp"
LIBRARIES = ("libavformat", "libavcodec", "libavutil", "libswscale", "nlohmann_json")
RULES: tuple[Sampling, ...] = ("middle", "middle_float", "middle_or_first", "block_middle", "ends")
LENGTHS = [(frames, 25) for frames in range(1, 200)]
TOLERANCE = 1e-4
"""Of a probability: OpenVINO adds in another order than ONNX Runtime, which now and then turns a pixel's rounding."""


def missing() -> list[str]:
    tools = [f"program {tool}" for tool in ("cmake", "c++", "pkg-config") if shutil.which(tool) is None]
    if tools:
        return tools
    libraries = [name for name in LIBRARIES if subprocess.run(["pkg-config", "--exists", name], check=False).returncode]
    return [f"library {name}" for name in libraries] + packages("openvino")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built as its README says."""
    if missing():
        pytest.skip(f"examples/cpp cannot be built here, missing: {', '.join(missing())}")
    from openvino.utils import get_cmake_path

    build = tmp_path_factory.mktemp("build")
    call("cmake", "-S", str(SOURCES), "-B", str(build), f"-DOpenVINO_DIR={get_cmake_path()}")
    call("cmake", "--build", str(build), "--parallel", "2")
    return build / "classify"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program around the functions of the example: `sampling RULE FRAMES:SEGMENTS...`, `frames VIDEO FRAME...`."""
    if missing():
        pytest.skip(f"examples/cpp cannot be built here, missing: {', '.join(missing())}")
    folder = tmp_path_factory.mktemp("parts")
    (folder / "parts.cpp").write_text(
        """
        #include <cstdio>
        #include <string>
        #include "sampling.hpp"
        #include "video.hpp"
        int main(int count, char** words) {
            const std::vector<std::string> numbers(words + 3, words + count);
            if (std::string(words[1]) == "sampling") {
                for (const std::string& pair : numbers) {
                    const std::size_t colon = pair.find(':');
                    for (auto n : sampled_frames(words[2], std::stoll(pair), std::stoll(pair.substr(colon + 1)))) {
                        std::printf("%d ", static_cast<int>(n));
                    }
                    std::printf("\\n");
                }
            } else {
                std::vector<std::int64_t> wanted;
                for (const std::string& number : numbers) wanted.push_back(std::stoll(number));
                std::printf("%d\\n", static_cast<int>(count_frames(words[2])));
                const Frames frames = read_frames(words[2], wanted);
                std::fwrite(frames.rgb.data(), 1, frames.rgb.size(), stdout);
            }
        }
        """
    )
    flags = call("pkg-config", "--cflags", "--libs", *LIBRARIES).split()
    sources = [str(folder / "parts.cpp"), str(SOURCES / "sampling.cpp"), str(SOURCES / "video.cpp")]
    call("c++", "-std=c++17", "-O1", f"-I{SOURCES}", *sources, "-o", str(folder / "parts"), *flags)
    return folder / "parts"


def call(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def run(program: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=1800)


def answers(program: Path, *words: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(program, "--json", *words).stdout.splitlines()]


@pytest.mark.slow
def test_the_answers_are_those_of_predict(
    program: Path, exported: Path, video: Path, record_property: Callable[[str, object], None]
) -> None:
    expected = clipshift.load(exported).predict(video)
    (answer,) = answers(program, exported / "model.onnx", video)
    found = np.array([answer["probabilities"][name] for name in expected.classes])
    difference = float(np.abs(found - expected.probabilities).max())
    record_property("largest difference of a probability", difference)
    assert difference < TOLERANCE
    assert answer["label"] == expected.label
    # The comparison means something: other frames of the same video give other answers.
    others = clipshift.load(exported).predict(decode(video, list(range(8))))
    assert np.abs(others.probabilities - expected.probabilities).max() > 100 * TOLERANCE

    text = run(program, exported / "model.onnx", video)
    assert text.returncode == 0, text.stderr
    assert text.stdout == as_text(expected, 5) + "\n"


@pytest.mark.slow
def test_openvino_files_work_as_well(program: Path, exported: Path, video: Path, tmp_path: Path) -> None:
    import openvino

    from clipshift.inference.engines.openvino import the_core

    path = tmp_path / "model.xml"
    openvino.save_model(the_core().read_model(exported / "model.onnx"), path, compress_to_fp16=False)
    (other,) = answers(program, path, video)
    (answer,) = answers(program, exported / "model.onnx", video)
    assert other["probabilities"] == pytest.approx(answer["probabilities"], abs=2e-6)


@pytest.mark.slow
def test_a_bad_video_is_one_line(program: Path, exported: Path, video: Path, tmp_path: Path) -> None:
    bad, short = tmp_path / "bad.mp4", tmp_path / "short.avi"
    bad.write_text("this is no video")
    make_video(short, pictures(40), codec="mpeg4")
    short.write_bytes(short.read_bytes()[: short.stat().st_size // 2])
    done = run(program, exported / "model.onnx", tmp_path / "none.mp4", bad, short, video)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"{tmp_path / 'none.mp4'}: ERROR The file does not exist."
    assert lines[1].startswith(f"{bad}: ERROR The file is not a video that can be read.")
    assert lines[2].startswith(f"{short}: ERROR The video is damaged or cut off, after frame ")
    assert lines[3].startswith(f"{video}: ")
    assert len(lines) == 4


def with_description(model: onnx.ModelProto, path: Path, **changes: object) -> Path:
    """The model with other values in its description; `sampling` and `clips` are those of its `spec`."""
    (entry,) = (entry for entry in model.metadata_props if entry.key == "clipshift")
    description = json.loads(entry.value)
    for key, value in changes.items():
        place = {"sampling": description["spec"]["input"], "clips": description["spec"]}.get(key, description)
        assert key in place
        place[key] = value
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    onnx.helper.set_model_props(changed, {"clipshift": json.dumps(description)})
    path.write_bytes(changed.SerializeToString())
    return path


@pytest.mark.slow
def test_models_that_it_cannot_use_are_refused(program: Path, exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported / "model.onnx")
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    (tmp_path / "bare.onnx").write_bytes(bare.SerializeToString())
    (tmp_path / "text.onnx").write_text("hello")
    clips = tmp_path / "clips.onnx"
    cases = {
        tmp_path / "none.onnx": "there is no such file",
        tmp_path / "text.onnx": "the file is no model that OpenVINO can read",
        tmp_path / "bare.onnx": "the file was not made by `clipshift export`",
        with_description(model, tmp_path / "dense.onnx", sampling="dense"): 'the model\'s rule of sampling, "dense"',
        with_description(model, tmp_path / "several.onnx", clips=2): "several sets of frames per video",
        with_description(model, tmp_path / "new.onnx", format=2): "newer format",
        with_description(model, clips, input="clips"): "export it without --input clips",
    }
    for path, message in cases.items():
        done = run(program, path, "video.mp4")
        assert done.returncode == 2
        assert message in done.stderr.splitlines()[-1]
        assert done.stdout == ""


def test_frames_are_sampled_by_the_same_rules(parts: Path) -> None:
    sizes = [(1, 8), (7, 8), (8, 8), (9, 8), (30, 25), (131, 8), (300, 16), (999_983, 3), (50, 1), *LENGTHS]
    for rule in RULES:
        lines = call(str(parts), "sampling", rule, *(f"{frames}:{segments}" for frames, segments in sizes)).splitlines()
        expected = [frame_sets(rule, frames, segments)[0] for frames, segments in sizes]
        assert [[int(word) for word in line.split()] for line in lines] == expected, rule


def test_frames_are_equal(parts: Path, tmp_path: Path, video: Path) -> None:
    """Bit for bit, in 8 bits, whatever the sides, the matrix and the range; 10 bits are not, see the README."""
    odd = np.ascontiguousarray(pictures(12, width=104, height=72)[:, :63, :97])
    x264 = "x264-params"
    clips = [
        video,
        make_video(tmp_path / "odd.mp4", odd, pix_fmt="yuv444p"),
        make_video(tmp_path / "even.mp4", odd[:, :62, :94]),
        make_video(tmp_path / "bt709.mp4", pictures(12), options={x264: "colormatrix=bt709"}),
        make_video(tmp_path / "full.mp4", pictures(12), options={x264: "colormatrix=bt709:fullrange=on"}),
        make_video(tmp_path / "vp9.webm", pictures(12), codec="libvpx-vp9"),
        make_video(tmp_path / "one.mp4", pictures(1)),
    ]
    turns = {"90": (0, 1, -1, 0), "180": (-1, 0, 0, -1), "270": (0, -1, 1, 0), "mirror": (-1, 0, 0, 1)}
    for name, matrix in turns.items():
        clips.append(with_matrix(tmp_path / f"{name}.mp4", clips[3], *matrix))
    for clip in clips:
        info = probe(clip)
        numbers = [info.frames - 1, 0, info.frames // 2, 0]
        words = [str(parts), "frames", str(clip), *map(str, numbers)]
        done = subprocess.run(words, capture_output=True, check=True, timeout=1800)
        count, _, data = done.stdout.partition(b"\n")
        assert int(count) == info.frames
        found = np.frombuffer(data, np.uint8).reshape(4, info.height, info.width, 3)
        np.testing.assert_array_equal(found, decode(clip, numbers), err_msg=clip.name)
