"""The page in the browser gives clipshift's answers: in headless Chromium, where that and npm's package are there."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

import clipshift
from clipshift.config import Sampling
from clipshift.preprocessing.sampling import frame_sets
from clipshift.video import decode
from tests.examples.conftest import EXAMPLES, packages
from tests.video.making import make_video, pictures, with_matrix

PAGE = EXAMPLES / "web"
RULES: tuple[Sampling, ...] = ("middle", "middle_float", "middle_or_first", "block_middle", "ends")
TOLERANCE = 0.02
"""Of a probability: the pixels differ by about one gray level of 255."""
# No sandbox: it does not start for root, as which tests in containers run. The others keep the browser off the network.
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1000,1000"
)


def missing() -> list[str]:
    programs = [f"program {name}" for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    runtime = PAGE / "node_modules" / "onnxruntime-web"
    return programs + packages("selenium") + ([] if runtime.is_dir() else ["npm package onnxruntime-web (npm install)"])


class Browser:
    """The page, open in a browser."""

    def __init__(self, driver: Any, address: str) -> None:  # noqa: ANN401 - selenium may be missing
        self.driver = driver
        driver.get(address)

    def choose(self, name: str, path: Path) -> str:
        """Chooses a file, waits for what follows, and returns what the page says; nothing if it shows an answer."""
        self.driver.find_element("id", name).send_keys(str(path))
        deadline = time.monotonic() + 60
        while self.driver.find_element("id", name).get_property("disabled"):
            assert time.monotonic() < deadline, self.text("status")
            time.sleep(0.05)
        return self.text("status")

    def text(self, name: str) -> str:
        return str(self.driver.find_element("id", name).text)

    def answer(self) -> dict[str, float]:
        """The shown classes with their whole probabilities, best first."""
        items = self.driver.find_elements("css selector", "#top li")
        return {
            item.find_element("tag name", "b").text: float(item.find_element("tag name", "meter").get_property("value"))
            for item in items
        }

    def call(self, code: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever JavaScript answers
        """Runs asynchronous JavaScript that uses the module of the page as `m`."""
        result = self.driver.execute_async_script(
            f"""
            const [given, done] = [[...arguments].slice(0, -1), arguments[arguments.length - 1]];
            import("./classify.js").then(async (m) => {{ {code} }})
                .then((value) => done({{ value }}), (error) => done({{ error: String(error) }}));
            """,
            *arguments,
        )
        assert "error" not in result, result["error"]
        return result["value"]

    def frames(self, video: Path, numbers: list[int]) -> tuple[int, np.ndarray]:
        """The number of frames that the page finds, and the pixels of some, uint8 (T, H, W, 3)."""
        self.driver.execute_script("document.getElementById('file')?.remove()")
        self.driver.execute_script(
            "document.body.append(Object.assign(document.createElement('input'), { type: 'file', id: 'file' }))"
        )
        self.driver.find_element("id", "file").send_keys(str(video))
        found = self.call(
            """
            const [video, [file]] = [document.createElement("video"), document.getElementById("file").files];
            await m.openVideo(video, file);
            const timeline = await m.readTimeline(video);
            const { data, height, width } = await m.readFrames(video, timeline, given[0]);
            const text = Array.from(data, (byte) => String.fromCharCode(byte)).join("");
            return [timeline.count, height, width, btoa(text)];
            """,
            numbers,
        )
        count, height, width, data = found
        pixels = np.frombuffer(base64.b64decode(data), np.uint8)
        return count, pixels.reshape(len(numbers), height, width, 3)


class Quiet(SimpleHTTPRequestHandler):
    """A file server that keeps no log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        pass


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The page, served from its folder and opened in headless Chromium."""
    if missing():
        pytest.skip(f"examples/web cannot be tried here, missing: {', '.join(missing())}")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(PAGE)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            driver.set_script_timeout(60)
            yield Browser(driver, f"http://127.0.0.1:{server.server_port}/")
        finally:
            driver.quit()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.slow
def test_the_answers_are_those_of_predict(
    browser: Browser, exported: Path, video: Path, record_property: Callable[[str, object], None]
) -> None:
    assert browser.choose("model-file", exported / "model.onnx") == ""
    assert "7 classes, 8 frames" in browser.text("model-name")
    assert browser.choose("video-file", video) == ""
    assert "8 of 60 frames" in browser.text("times")
    answer = browser.answer()

    expected = clipshift.load(exported).predict(video)
    assert next(iter(answer)) == expected.label
    assert len(answer) == 5
    chances = dict(expected.top(7))
    difference = max(abs(answer[name] - chances[name]) for name in answer)
    record_property("largest difference of a probability", difference)
    assert difference < TOLERANCE
    # The comparison means something: other frames of the same video give other answers.
    others = dict(clipshift.load(exported).predict(decode(video, list(range(8)))).top(7))
    assert max(abs(others[name] - chances[name]) for name in answer) > TOLERANCE


@pytest.mark.slow
def test_frames_are_the_right_ones(browser: Browser, tmp_path: Path, video: Path) -> None:
    """With about the same pixels; neighboring frames are much farther apart."""
    clips = {
        video: 60,
        make_video(tmp_path / "vp9.webm", pictures(31), codec="libvpx-vp9"): 31,
        make_video(tmp_path / "h264.mkv", pictures(90), options={"bf": "2", "g": "12"}): 90,
        make_video(tmp_path / "sound.mp4", pictures(20), with_audio=True): 20,
        make_video(tmp_path / "one.mp4", pictures(1)): 1,
    }
    clips[with_matrix(tmp_path / "turned.mp4", tmp_path / "sound.mp4", 0, 1, -1, 0)] = 20
    for clip, frames in clips.items():
        numbers = [0, frames // 3, frames // 2, frames - 1]
        count, found = browser.frames(clip, numbers)
        assert count == frames, clip.name
        expected = decode(clip, numbers)
        assert found.shape == expected.shape, clip.name
        assert np.abs(found.astype(int) - expected).mean() < 2, clip.name
    following = decode(video, [1, 21, 31]).astype(int) - decode(video, [0, 20, 30])
    assert np.abs(following).mean() > 0.1


@pytest.mark.slow
def test_what_cannot_be_used_is_refused(browser: Browser, exported: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("This is no model")
    assert browser.choose("model-file", text) == "The file is not an ONNX model."
    browser.choose("model-file", exported / "model.onnx")
    times = [40 * number + (400 if number > 12 else 0) for number in range(20)]
    uneven = make_video(tmp_path / "uneven.mp4", pictures(20), times=times)
    assert "not evenly spaced" in browser.choose("video-file", uneven)
    mpeg4 = make_video(tmp_path / "old.avi", pictures(20), codec="mpeg4")
    assert "This browser cannot play the video." in browser.choose("video-file", mpeg4)
    assert not browser.driver.find_element("id", "result").is_displayed()


@pytest.mark.slow
def test_frames_are_sampled_by_the_same_rules(browser: Browser) -> None:
    sizes = [(1, 8), (7, 8), (8, 8), (131, 8), (300, 16), (999_983, 3), (50, 1), *((n, 25) for n in range(1, 200))]
    code = "return given[1].map(([frames, segments]) => m.sampledFrames(given[0], frames, segments));"
    for rule in RULES:
        expected = [frame_sets(rule, frames, segments)[0] for frames, segments in sizes]
        assert browser.call(code, rule, sizes) == expected, rule
