"""The page: what it is made of, and in headless Chromium, where that is there, what it shows."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import clipshift
from clipshift.datasets.motion_streams import write_motion_streams
from clipshift.serving.access import Tokens
from tests.exporting.making import CAUSAL, save_model
from tests.serving.running import PATIENCE, Running, running

TOKEN = "0123456789abcdef"  # noqa: S105
# No sandbox: it does not start for root, as which tests in containers run. The others keep the browser off the network.
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=400,800"
)


@pytest.mark.parametrize("path", ["/", "/docs", "/page/page.js", "/page/page.css", "/page/docs.js"])
def test_nothing_is_from_elsewhere(path: str, shared_server: Running) -> None:
    answer = shared_server.client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not re.search(
        r"https?:|//\w+\.\w+|style=|onclick=", re.sub(r"^\s*//.*", "", answer.text, flags=re.MULTILINE)
    )
    for used in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
        if not used.startswith("data:"):
            assert shared_server.client.get(f"/{used.removeprefix('./')}").status_code == 200, used


def test_other_files_are_not_there(shared_server: Running) -> None:
    for path in ("/page/%2e%2e%2fpages.py", "/page/pages.py", "/page/"):
        assert shared_server.client.get(path).status_code == 404


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing or find_spec("selenium") is None:
        pytest.skip("chromium, chromedriver or selenium are not here (make examples installs them)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield browser
    browser.quit()


class Page:
    """The page of a server in the browser."""

    def __init__(self, driver: Any, server: Running, path: str = "/") -> None:  # noqa: ANN401
        self.driver = driver
        self.complaints()  # of tests before
        driver.get(server.server.address + path)
        self.wait(lambda: driver.execute_script("return document.body.dataset.ready") == "yes")

    def wait(self, true: Any) -> None:  # noqa: ANN401
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, self.text("status")
            time.sleep(0.05)

    def find(self, name: str) -> Any:  # noqa: ANN401
        return self.driver.find_element("id", name)

    def text(self, name: str) -> str:
        return str(self.find(name).text)

    def choose(self, clip: Path) -> None:
        self.find("clip").send_keys(str(clip))
        self.wait(lambda: self.find("answer").is_displayed() or "failed" in self.find("status").get_attribute("class"))

    def complaints(self) -> list[str]:
        return [each["message"] for each in self.driver.get_log("browser") if each["level"] == "SEVERE"]


def test_a_clip_is_answered_with_its_frames(driver: Any, shared_server: Running, clip: Path) -> None:  # noqa: ANN401
    page = Page(driver, shared_server)
    assert "4 classes, 4 frames, ONNX Runtime" in page.text("about")
    page.choose(clip)
    expected = shared_server.predict(clip).json()
    assert page.text("answer-name") == f"{expected['label']} ({clip.name})"
    items = driver.find_elements("css selector", "#classes li")
    shown = {each.find_element("tag name", "b").text: each.find_element("tag name", "output").text for each in items}
    assert shown == {name: f"{100 * chance:.1f}%" for name, chance in expected["probabilities"].items()}
    pictures = driver.find_elements("css selector", "#frames img")
    assert [each.get_attribute("alt").split(",")[0] for each in pictures] == [
        "frame 1",
        "frame 3",
        "frame 5",
        "frame 7",
    ]
    assert all(int(each.get_property("naturalWidth")) == 48 for each in pictures)
    assert re.fullmatch(r"Answered in \d+ ms: upload [\d.]+ ms, .*, network [\d.]+ ms\.", page.text("times"))
    wide = driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0  # it fits on a phone
    assert page.complaints() == []


def test_an_answer_is_explained_on_a_button(driver: Any, shared_server: Running, clip: Path) -> None:  # noqa: ANN401
    page = Page(driver, shared_server)
    page.choose(clip)
    assert not page.find("explanation").is_displayed()
    page.find("why").click()
    page.wait(lambda: page.find("explanation").is_displayed())
    with clipshift.Client(shared_server.server.address) as client:
        expected = client.explain(clip, "gate")
    assert page.text("explanation-name") == f"Why {expected['label']}"
    shown = [each.text.splitlines() for each in driver.find_elements("css selector", "#effects li")]
    assert shown == [
        [f"Frame {one['index']} ({one['time']:.2f} s)", f"adds {one['logit_drop']:.2f}"] for one in expected["frames"]
    ]
    drops = [one["logit_drop"] for one in expected["frames"]]
    assert (f"Frame {expected['frames'][drops.index(max(drops))]['index']} " in page.text("sentence")) == (
        max(drops) > 0
    )
    heat = driver.find_elements("css selector", "#effects .heat")
    assert [int(each.get_property("naturalWidth")) for each in heat] == [24] * 4
    assert "Note: An exported model has no gradients" in page.text("notes")
    wide = driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0
    assert page.complaints() == []


def test_a_time_line_is_beside_the_answer_of_a_causal_network(
    driver: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    video = write_motion_streams(tmp_path / "streams", streams=1, seconds=10, size=32) / "0000.mp4"
    folder = save_model(tmp_path / "model", model=CAUSAL)
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    described["input"]["rate"] = 6.0
    (folder / "model.json").write_text(json.dumps(described), encoding="utf-8")
    with running(folder) as server, clipshift.Client(server.server.address) as client:
        page = Page(driver, server)
        page.choose(video)
        page.wait(lambda: " in 0:10.0." in page.text("timeline-status"))
        shown = [
            [cell.text for cell in row.find_elements("tag name", "td")]
            for row in driver.find_elements("css selector", "#events tr")
        ][1:]
        *_, last = client.timeline(video)
        (line,) = last.value["database"].values()
        assert [row[2:] for row in shown] == [[one["label"], f"{one['score']:.2f}"] for one in line["annotations"]]
        assert len(driver.find_elements("css selector", "#lanes i")) == len(shown) > 0
        assert page.complaints() == []


def test_what_is_no_clip_is_told(driver: Any, shared_server: Running, tmp_path: Path) -> None:  # noqa: ANN401
    broken = tmp_path / "<b>broken.mp4"
    broken.write_bytes(b"no video")
    page = Page(driver, shared_server)
    page.choose(broken)
    assert page.text("status").startswith("<b>broken.mp4: The file is not a video that can be read.")
    assert not page.find("answer").is_displayed()


def test_the_keyboard_is_enough(driver: Any, shared_server: Running) -> None:  # noqa: ANN401
    from selenium.webdriver import ActionChains, Keys

    Page(driver, shared_server)
    reached = []
    for _ in range(4):
        ActionChains(driver).send_keys(Keys.TAB).perform()
        reached.append(driver.execute_script("return document.activeElement.id || document.activeElement.tagName"))
    assert [each for each in reached if each != "BODY"][:3] == ["A", "model", "clip"]


def test_a_token_is_asked_for(driver: Any, gate: Path, clip: Path) -> None:  # noqa: ANN401
    with running(gate, tokens=Tokens([TOKEN])) as server:
        page = Page(driver, server)
        assert page.find("token-row").is_displayed()
        page.find("token").send_keys(TOKEN)
        page.find("open").click()
        page.wait(lambda: "4 classes" in page.text("about"))
        page.choose(clip)
        assert page.find("answer").is_displayed()


def test_the_interface_is_shown(driver: Any, shared_server: Running) -> None:  # noqa: ANN401
    page = Page(driver, shared_server, "/docs")
    assert "POST /v1/models/{name}/predict" in page.text("operations")
    assert page.complaints() == []
