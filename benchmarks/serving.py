"""What the server bears: throughput beside others, ten times its load, and hostile videos.

    python benchmarks/serving.py throughput --videos FOLDER [--others PYTHON] [--seconds 10] [--json figures.json]
    python benchmarks/serving.py overload --videos FOLDER [--seconds 300]
    python benchmarks/serving.py hostile [--videos FOLDER] [--cases 10000] [--seed 0]

All servers run the same ONNX file, a TSM-MobileNetV2 with seeded weights (`--model` names another export), and get the
same clips in the same order from `--concurrency` clients. Contestants take turns within one run, so that a busy machine
slows all of them alike; the processor time of a clip hardly hangs on what else the machine does:

- `clipshift serve` as it is;
- `plain`: FastAPI (Starlette where that is not installed), whose handler runs in its pool of threads, writes the upload
  to a file, decodes all frames by PyAV, takes the middle frames, and calls ONNX Runtime with its own settings: what
  people write;
- `plain, clipshift`: the same with `clipshift.load(...).predict(file)` inside;
- `LitServe`: what its manual says, with the work of `plain, clipshift`; in two workers.

`--others` is the Python of an environment with litserve and fastapi that can import clipshift, too.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from common import write_json

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent
_PATH = "/v1/models/gate/predict"
_RECIPE = "tsm-mobilenetv2"


@dataclass
class Load:
    """What clients saw.

    Attributes:
        seconds: For how long they asked.
        statuses: How often each answer came.
        times: Seconds of each answer that was not a refusal for want of a place.
        slowest: Seconds of the slowest answer of any kind.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def rate(self) -> float:
        """Clips a second."""
        return self.statuses[200] / self.seconds

    def percentile(self, percent: int) -> float:
        """Milliseconds within which so many of a hundred accepted requests were answered."""
        if len(self.times) < 2:
            return float("nan")
        return 1000 * statistics.quantiles(self.times, n=100, method="inclusive")[percent - 1]


async def put_under_load(address: str, clips: list[Path], *, clients: int, seconds: float, pause: float = 0.0) -> Load:
    """Let clients ask one request after the other, for some seconds."""
    load, contents = Load(), [(clip.name, clip.read_bytes()) for clip in clips]
    turn = itertools.count()
    limits = httpx2.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx2.AsyncClient(base_url=address, timeout=120, limits=limits, trust_env=False) as client:
        start = time.monotonic()

        async def ask() -> None:
            while time.monotonic() < start + seconds:
                began = time.monotonic()
                status = (await client.post(_PATH, files={"video": contents[next(turn) % len(contents)]})).status_code
                took = time.monotonic() - began
                load.statuses[status] += 1
                load.slowest = max(load.slowest, took)
                if status == 429:
                    await asyncio.sleep(pause)
                else:
                    load.times.append(took)

        await asyncio.gather(*(ask() for _ in range(clients)))
        load.seconds = time.monotonic() - start
    return load


@contextmanager
def server(python: str, arguments: list[str], log: Path) -> Iterator[tuple[str, int]]:
    """A process that serves; its address, once it answers, and its number."""
    port = _free_port()
    command = [python, *(each.replace("{port}", str(port)) for each in arguments)]
    paths = os.pathsep.join([str(_ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process, log)
        yield address, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx2.get(address, trust_env=False)
        except httpx2.TransportError:
            time.sleep(0.2)
        else:
            return
    sys.exit(f"{' '.join(map(str, process.args))} does not serve:\n{log.read_text(errors='replace')[-2000:]}")  # type: ignore[arg-type]


def make_model(folder: Path) -> Path:
    """A network with seeded weights and 400 classes, as an ONNX file."""
    from streaming import seeded_network

    import clipshift
    from clipshift.datasets.motion import write_motion_clips
    from clipshift.models import save_bundle

    network, spec = seeded_network(_RECIPE)
    save_bundle(folder / "model", network, spec)
    clips = write_motion_clips(folder / "clips", clips_per_class=1, validation_per_class=1, frames=8, size=64) / "val"
    clipshift.export(folder / "model", to="onnx", out=folder / "gate", data=clips / "**/*.mp4", license="none")
    return folder / "gate"


def contestants(model: Path, others: str | None) -> dict[str, tuple[str, list[str]]]:
    """The commands of all servers, by name."""
    own = ["-m", "clipshift", "serve", f"gate={model}", "--port", "{port}", "--queue", "64"]
    rival = str(_HERE / "serving_rivals.py")
    python = others or sys.executable
    found = {
        "clipshift serve": (sys.executable, own),
        "plain": (python, [rival, "plain", str(model), "{port}"]),
        "plain, clipshift": (python, [rival, "plain-clipshift", str(model), "{port}"]),
    }
    if others:
        found["LitServe"] = (python, [rival, "litserve", str(model), "{port}"])
    return found


def throughput(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Clips a second at several numbers of clients, in turns."""
    model = options.model or make_model(scratch)
    rates: dict[str, dict[str, list[float]]] = {}
    cpu: dict[str, dict[str, list[float]]] = {}
    for turn in range(options.turns):
        for name, (python, arguments) in contestants(model, options.others).items():
            with server(python, arguments, scratch / f"{turn}.log") as (address, pid):
                asyncio.run(put_under_load(address, options.clips, clients=4, seconds=options.seconds / 4))
                for clients in options.concurrency:
                    began = _cpu_seconds(pid)
                    load = asyncio.run(put_under_load(address, options.clips, clients=clients, seconds=options.seconds))
                    used = 1000 * (_cpu_seconds(pid) - began) / max(1, load.statuses[200])
                    rates.setdefault(name, {}).setdefault(str(clients), []).append(load.rate)
                    cpu.setdefault(name, {}).setdefault(str(clients), []).append(used)
                    said = f"{load.rate:.2f}/s, {used:.0f} ms of CPU each, {dict(load.statuses)}"
                    print(f"turn {turn}, {name}, {clients} clients: {said}", flush=True)
    for title, figures in (("clips a second", rates), ("CPU ms a clip", cpu)):
        print(f"\n| {title}, with so many clients |" + "".join(f" {each} |" for each in options.concurrency))
        print("|---|" + "---|" * len(options.concurrency))
        for name, by_clients in figures.items():
            print(f"| {name} |" + "".join(f" {statistics.median(each):.1f} |" for each in by_clients.values()))
    return {"rates": rates, "cpu_ms": cpu}


def _cpu_seconds(session: int) -> float:
    """Processor time of all processes of a session, and of those that have ended in it."""
    ticks = 0
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def overload(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """A full queue of a server that nobody else asks; ten times as many clients; and afterwards."""
    model = options.model or make_model(scratch)
    queue = 16
    arguments = ["-m", "clipshift", "serve", f"gate={model}", "--port", "{port}", "--queue", str(queue)]
    with server(sys.executable, arguments, scratch / "log") as (address, pid):
        asyncio.run(put_under_load(address, options.clips, clients=4, seconds=5))
        before = (_memory(pid), _handles(pid))
        inside = queue + 2 * (len(os.sched_getaffinity(0)))
        full = asyncio.run(put_under_load(address, options.clips, clients=inside, seconds=options.seconds / 5))
        pause = inside / full.rate  # of as many clients as ten times the load needs
        much = asyncio.run(
            put_under_load(address, options.clips, clients=10 * inside, seconds=options.seconds, pause=pause)
        )
        after = asyncio.run(put_under_load(address, options.clips, clients=inside, seconds=options.seconds / 5))
        time.sleep(8)  # idle connections are closed
        end = (_memory(pid), _handles(pid))
    for name, load in (("full queue", full), ("ten times", much), ("full queue again", after)):
        print(
            f"{name}: {load.rate:.1f}/s, p50 {load.percentile(50):.0f} ms, p99 {load.percentile(99):.0f} ms, "
            f"{dict(load.statuses)}"
        )
    ratio = much.percentile(99) / full.percentile(99)
    print(f"p99 of accepted under ten times the load: {ratio:.2f} times that of a full queue")
    print(f"memory (MiB) and open files, before and after: {before} {end}")
    return {"p99_ratio": ratio, "before": before, "after": end, "statuses": dict(much.statuses)}


def hostile(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Damaged videos: every one is answered in time, by a server that stays as it is."""
    sys.path.insert(0, str(_ROOT))
    from tests.fuzz.mutate_containers import damaged
    from tests.fuzz.samples import make_videos

    model = options.model or make_model(scratch)
    (scratch / "samples").mkdir()
    make_videos(scratch / "samples")
    samples = [each for each in sorted((scratch / "samples").iterdir()) if each.is_file()] + options.clips
    contents = [(each.name, each.read_bytes()) for each in samples]
    statuses: Counter[int] = Counter()
    slowest, memory, late = 0.0, [], []
    arguments = ["-m", "clipshift", "serve", f"gate={model}", "--port", "{port}", "--decode-seconds", "2"]

    async def all_cases(address: str, pid: int) -> None:
        nonlocal slowest
        cases = iter(range(options.cases))
        begin = time.monotonic()
        async with httpx2.AsyncClient(base_url=address, timeout=60, trust_env=False) as client:

            async def work() -> None:
                nonlocal slowest
                for case in cases:
                    if options.minutes and time.monotonic() > begin + 60 * options.minutes:
                        return
                    source = random.Random(f"{options.seed} {case}")
                    name, content = source.choice(contents)
                    data = damaged(content, source) or b"\0"
                    began = time.monotonic()
                    answer = await client.post(_PATH, params={"name": name}, content=data)
                    took = time.monotonic() - began
                    slowest = max(slowest, took)
                    if took > 5:
                        late.append((case, round(took, 1), answer.status_code))
                    statuses[answer.status_code] += 1
                    if answer.status_code != 200:
                        assert answer.json()["error"], case
                    if case % 500 == 0:
                        memory.append(_memory(pid))
                        print(case, dict(statuses), f"slowest {slowest:.1f} s, {memory[-1]} MiB", flush=True)

            await asyncio.gather(*(work() for _ in range(4)))
        metrics = (await httpx2.AsyncClient(trust_env=False).get(f"{address}/metrics")).text
        deaths.extend(line for line in metrics.splitlines() if line.startswith("clipshift_decoder_deaths_total"))

    deaths: list[str] = []
    with server(sys.executable, arguments, scratch / "log") as (address, pid):
        asyncio.run(all_cases(address, pid))
    print(f"{sum(statuses.values())} videos: {dict(statuses)}; slowest {slowest:.1f} s; later than 5 s: {late}")
    print(f"memory in MiB: {memory}; decoders that died: {deaths or 'none'}")
    return {"statuses": dict(statuses), "slowest": slowest, "late": late, "memory": memory, "deaths": deaths}


def _memory(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def _handles(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("throughput", "overload", "hostile"))
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--others")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 8, 32])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0, help="of hostile: stop after so many")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.clips = (
        [] if options.videos is None else sorted(each for each in options.videos.iterdir() if each.is_file())
    )
    if not options.clips and options.what != "hostile":
        parser.error("--videos FOLDER is needed, with clips in it")
    with tempfile.TemporaryDirectory() as scratch:
        figures = {"throughput": throughput, "overload": overload, "hostile": hostile}[options.what](
            options, Path(scratch)
        )
    if options.json:
        write_json(options.json, {"options": {"what": options.what, "seconds": options.seconds}, "figures": figures})


if __name__ == "__main__":
    main()
