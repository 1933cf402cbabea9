"""What the server bears: throughput beside others, ten times its load, hostile videos, rough clients.

    python benchmarks/serving.py throughput --videos FOLDER [--others PYTHON] [--seconds 10] [--json figures.json]
    python benchmarks/serving.py parts --videos FOLDER [--turns 3] [--repeat 10]
    python benchmarks/serving.py overload --videos FOLDER [--seconds 300]
    python benchmarks/serving.py hostile [--videos FOLDER] [--cases 10000] [--seed 0]
    python benchmarks/serving.py rough --videos FOLDER [--seconds 60] [--seed 0]

All servers run the same ONNX file, a TSM-MobileNetV2 with seeded weights (`--model` names another export), and get the
same clips in the same order from `--concurrency` clients. Contestants take turns within one run, so that a busy machine
slows all of them alike; the processor time of a clip hardly hangs on what else the machine does:

- `clipshift serve` as it is;
- `fastapi:DECODER`: FastAPI (Starlette where that is not installed), whose handler runs in its pool of threads, writes
  the upload to a file, takes the middle frames by a decoder, and calls ONNX Runtime with its own settings: what people
  write;
- `litserve:DECODER`: LitServe as its manual says, with the same work in a worker for each core, of one thread each.

Decoders are `pyav` (frame after frame), `opencv`, `decord`, `torchcodec`, and `clipshift`, which is
`clipshift.load(...).predict(file)`: with that a rival has all of clipshift inside but its server. `--others` is the
Python of an environment with litserve, fastapi and these decoders that can import clipshift, too.

`parts` shows where the processor time of a clip goes, and beside it what decoding it and running the network take with
no server at all: less than that no server with this decoder, file and engine can take. `overload`, `hostile` and
`rough` end with 1 where what they promise is not held.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from common import ratio, write_json
from serving_rough import disturbed

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent
_PATH = "/v1/models/gate/predict"
_RECIPE = "tsm-mobilenetv2"
_SERVERS = {"fastapi": "FastAPI", "litserve": "LitServe"}
_USUAL_RIVALS = ["fastapi:pyav", "fastapi:opencv", "fastapi:clipshift"]
_RIVALS_OF_OTHERS = ["litserve:opencv", "litserve:torchcodec", "litserve:decord", "litserve:clipshift"]


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

    def note(self, status: int, began: float) -> float:
        """Count an answer to a request of a moment (`time.monotonic`); its seconds."""
        took = time.monotonic() - began
        self.statuses[status] += 1
        self.slowest = max(self.slowest, took)
        if status != 429:
            self.times.append(took)
        return took

    def to_json(self) -> dict[str, Any]:
        """The figures."""
        return {
            "seconds": round(self.seconds, 1),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "rate": round(self.rate, 2),
            "p50_ms": round(self.percentile(50)),
            "p99_ms": round(self.percentile(99)),
            "slowest_s": round(self.slowest, 2),
        }

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
                load.note(status, began)
                if status == 429:
                    await asyncio.sleep(pause)

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
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):  # LitServe's workers go on without it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
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


def contestants(model: Path, others: str | None, rivals: list[str]) -> dict[str, tuple[str, list[str]]]:
    """The commands of all servers, by name."""
    own = ["-m", "clipshift", "serve", f"gate={model}", "--port", "{port}", "--queue", "64"]
    found = {"clipshift serve": (sys.executable, own)}
    for rival in rivals:
        kind, _, decoder = rival.partition(":")
        rival_command = [str(_HERE / "serving_rivals.py"), kind, decoder, str(model), "{port}"]
        found[f"{_SERVERS[kind]}, {decoder}"] = (others or sys.executable, rival_command)
    return found


def throughput(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Clips a second at several numbers of clients; all servers are there, and are asked in turns, one at a time."""
    model = options.model or make_model(scratch)
    rates: dict[str, dict[str, list[float]]] = {}
    cpu: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(server(python, arguments, scratch / f"{number}.log"))
            for number, (name, (python, arguments)) in enumerate(
                contestants(model, options.others, options.rivals).items()
            )
        }
        for address, _ in running.values():
            asyncio.run(put_under_load(address, options.clips, clients=4, seconds=options.seconds))
        for turn, clients in itertools.product(range(options.turns), options.concurrency):
            names = list(running)
            random.Random(turn).shuffle(names)
            for name in names:
                address, pid = running[name]
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
        own = figures["clipshift serve"]
        for name in sorted(figures, key=list(running).index):
            by_clients = figures[name]
            shown = (
                f" {statistics.median(each):.1f} ({ratio(each, own[clients]):.2f}) |"
                for clients, each in by_clients.items()
            )
            print(f"| {name} |" + "".join(shown))
    print("\nin brackets: divided by clipshift's, the median of the turns' ratios")
    return {"rates": rates, "cpu_ms": cpu}


def parts(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Where the processor time of a clip goes, for each clip by one client; beside it the least that has to be done."""
    import clipshift

    model = options.model or make_model(scratch)
    scorer = clipshift.load(model, device="cpu", threads=2, mode="throughput").scorer
    arguments = ["-m", "clipshift", "serve", f"gate={model}", "--port", "{port}", "--threads", "1"]
    columns = ("serving", "serving, kernel", "decoders", "decoders, kernel", "decoding alone", "network alone")
    found: dict[str, list[list[float]]] = {clip.name: [] for clip in options.clips}
    with server(sys.executable, arguments, scratch / "log") as (address, pid), _client(address) as client:
        for turn in range(options.turns + 1):
            for clip in options.clips:
                upload, before = (clip.name, clip.read_bytes()), _cpu_by_process(pid)
                for _ in range(options.repeat):
                    client.post(_PATH, files={"video": upload}).raise_for_status()
                after = _cpu_by_process(pid)
                used = [after[each] - before.get(each, np.zeros(2)) for each in after if each != pid]
                served = [*(after[pid] - before[pid]), *np.sum(used, axis=0)]
                least = _least(scorer, clip, options.repeat)
                if turn:  # the first is for warming up
                    found[clip.name].append([1000 * each / options.repeat for each in (*served, *least)])
    print("| CPU ms |" + "".join(f" {each} |" for each in columns) + " together | bound |\n|---|" + "---|" * 8)
    medians = {name: np.median(each, axis=0) for name, each in found.items()}
    for name, row in (medians | {"mean": np.mean(list(medians.values()), axis=0)}).items():
        whole, least = row[:4].sum(), row[4:].sum()
        print(f"| {name} |" + "".join(f" {each:.1f} |" for each in row) + f" {whole:.1f} | {least:.1f} |")
    return {"columns": columns, "turns": found}


def _least(scorer: Any, clip: Path, repeat: int) -> tuple[float, float]:  # noqa: ANN401 - an ExportScorer
    """Processor time of decoding a clip so often, and of the network, in this process and one thread."""
    from clipshift.preprocessing.sampling import frame_sets
    from clipshift.video import open_clip

    settings, began = scorer.spec.input, time.process_time()
    for _ in range(repeat):
        with open_clip(clip) as reader:
            [indices] = frame_sets(settings.sampling, reader.info.frames, settings.segments, 1)
            frames_THWC = reader.read(indices)
    decoded = time.process_time()
    for _ in range(repeat):
        scorer.session.run(frames_THWC[None])
    return decoded - began, time.process_time() - decoded


@contextmanager
def _client(address: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=address, timeout=60, trust_env=False) as client:
        yield client


def _cpu_times(session: int) -> dict[int, np.ndarray]:
    """Processor seconds of each process of a session: its own, the kernel's for it, and both of its ended children."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if int(fields[3]) == session:
            found[int(folder.name)] = np.array(fields[11:15], dtype=float) / os.sysconf("SC_CLK_TCK")
    return found


def _cpu_by_process(session: int) -> dict[int, np.ndarray]:
    """Processor seconds of each process of a session: of its own, and of the kernel for it."""
    return {pid: times[:2] for pid, times in _cpu_times(session).items()}


def _cpu_seconds(session: int) -> float:
    """Processor time of all processes of a session, and of those that have ended in it."""
    return float(sum(times.sum() for times in _cpu_times(session).values()))


def overload(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """A full queue of a server that nobody else asks; ten times as many clients; and afterwards."""
    model = options.model or make_model(scratch)
    queue = 16
    arguments = ["-m", "clipshift", "serve", f"gate={model}", "--port", "{port}", "--queue", str(queue)]
    inside = queue + 2 * (len(os.sched_getaffinity(0)))
    loads: dict[str, Load] = {}
    states: dict[str, dict[str, int]] = {}
    with server(sys.executable, arguments, scratch / "log") as (address, pid):

        def put(name: str, **how: Any) -> Load:  # noqa: ANN401
            loads[name] = asyncio.run(put_under_load(address, options.clips, **how))
            time.sleep(8)  # idle connections are closed
            states[name] = _state(pid)
            return loads[name]

        put("warming up", clients=inside, seconds=max(5.0, options.seconds / 20))
        full = put("full queue", clients=inside, seconds=options.seconds / 5)
        pause = inside / full.rate  # of as many clients as ten times the load needs
        much = put("ten times", clients=10 * inside, seconds=options.seconds, pause=pause)
        put("full queue again", clients=inside, seconds=options.seconds / 5)
    for name, load in loads.items():
        print(
            f"{name}: {load.rate:.1f}/s, p50 {load.percentile(50):.0f} ms, p99 {load.percentile(99):.0f} ms, "
            f"{dict(load.statuses)}; afterwards {states[name]}"
        )
    p99 = much.percentile(99) / full.percentile(99)
    print(f"p99 of accepted under ten times the load: {p99:.2f} times that of a full queue")
    return {
        "p99_ratio": p99,
        "loads": {name: load.to_json() for name, load in loads.items()},
        "states": states,
        "held": {
            "p99 at most twice": p99 <= 2,
            "the rest is told to come again": set(much.statuses) <= {200, 429},
            "as many handles and processes": all(
                states["full queue again"][each] == states["full queue"][each] for each in ("handles", "processes")
            ),
            "memory within a tenth": states["full queue again"]["mebibytes"] <= 1.1 * states["full queue"]["mebibytes"],
        },
    }


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
    load, memory = Load(), list[int]()
    late, unexplained = list[tuple[int, str, float, int]](), list[tuple[int, str, int]]()
    arguments = ["-m", "clipshift", "serve", f"gate={model}", "--port", "{port}", "--decode-seconds", "2"]

    async def all_cases(address: str, pid: int) -> None:
        cases, begin = iter(range(options.cases)), time.monotonic()

        async def work() -> None:
            for case in cases:
                if options.minutes and time.monotonic() > begin + 60 * options.minutes:
                    return
                source = random.Random(f"{options.seed} {case}")
                name, content = source.choice(contents)
                data = damaged(content, source) or b"\0"
                began = time.monotonic()
                answer = await client.post(_PATH, params={"name": name}, content=data)
                took = load.note(answer.status_code, began)
                if took > 5:
                    late.append((case, name, round(took, 1), answer.status_code))
                if answer.status_code != 200 and not (400 <= answer.status_code < 500 and answer.json()["error"]):
                    unexplained.append((case, name, answer.status_code))
                if case % 250 == 249:
                    memory.append(_memory(pid))
                    print(
                        f"{case + 1} in {time.monotonic() - begin:.0f} s: {dict(load.statuses)}, slowest "
                        f"{load.slowest:.1f} s, {memory[-1]} MiB",
                        flush=True,
                    )

        async with httpx2.AsyncClient(base_url=address, timeout=60, trust_env=False) as client:
            await asyncio.gather(*(work() for _ in range(4)))
        load.seconds = time.monotonic() - begin

    with server(sys.executable, arguments, scratch / "log") as (address, pid):
        asyncio.run(all_cases(address, pid))
        deaths, end = _deaths(address), _state(pid)
    answered = sum(load.statuses.values())
    print(f"{answered} videos: {dict(load.statuses)}; slowest {load.slowest:.1f} s; later than 5 s: {late}")
    print(f"without a reason: {unexplained}; memory in MiB: {memory}; decoders that died: {deaths or 'none'}; {end}")
    half = len(memory) // 2
    later = memory[half:]
    return {
        "cases": answered,
        "seed": options.seed,
        "load": load.to_json(),
        "late": late,
        "memory": memory,
        "deaths": deaths,
        "state": end,
        "held": {
            "every answer 200 or 4xx with its reason": not unexplained,
            "each within 5 s": not late,
            # The first eighth has not seen all sizes yet. Single samples fall into the midst of a large clip.
            "no growing memory": statistics.median(later or [0])
            <= 1.1 * statistics.median(memory[len(memory) // 8 : half] or later or [0]),
        },
    }


def rough(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Clients that ask as they should, calmly first, and then beside much that is rough.

    Decoders are killed at random moments; a hundred connections send one byte a second, of a head or of a body; twenty
    ask for much and never read; twenty leave in the middle of a body.
    """
    model = options.model or make_model(scratch)
    arguments = ["-m", "clipshift", "serve", f"gate={model}", "--port", "{port}"]
    loads, kills = {}, 0
    with server(sys.executable, arguments, scratch / "log") as (address, pid):
        for name in ("warming up", "calm"):
            seconds = options.seconds if name == "calm" else 5
            loads[name] = asyncio.run(put_under_load(address, options.clips, clients=2, seconds=seconds))
        time.sleep(8)
        before = _state(pid)
        with disturbed(address, _PATH, lambda: _decoders_of(pid), random.Random(options.seed)) as disturbances:
            loads["rough"] = asyncio.run(put_under_load(address, options.clips, clients=2, seconds=options.seconds))
        kills = disturbances["killed"]
        time.sleep(12)  # idle connections are closed, decoders replaced
        after, deaths = _state(pid), _deaths(address)
    for name, load in loads.items():
        print(
            f"{name}: {load.rate:.1f}/s, p50 {load.percentile(50):.0f} ms, p99 {load.percentile(99):.0f} ms, "
            f"{dict(load.statuses)}"
        )
    print(f"{disturbances}; died: {deaths}; before {before}, after {after}")
    lost = sum(count for status, count in loads["rough"].statuses.items() if status != 200)
    return {
        "loads": {name: load.to_json() for name, load in loads.items()},
        "disturbances": disturbances,
        "deaths": deaths,
        "before": before,
        "after": after,
        "p99_ratio": loads["rough"].percentile(99) / loads["calm"].percentile(99),
        "held": {
            "a killed decoder costs one request at most": lost <= kills and set(loads["rough"].statuses) <= {200, 422},
            "as many handles and processes": all(before[each] == after[each] for each in ("handles", "processes")),
        },
    }


def _decoders_of(pid: int) -> list[int]:
    return [each for each in _cpu_by_process(pid) if each != pid and _is_decoder(each)]


def _is_decoder(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _deaths(address: str) -> dict[str, float]:
    """How many decoders died, by the one word of why."""
    lines = httpx2.get(f"{address}/metrics", trust_env=False).text.splitlines()
    found = (line for line in lines if line.startswith("clipshift_decoder_deaths_total"))
    return {line.partition('"')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in found}


def _state(pid: int) -> dict[str, int]:
    """What a server holds."""
    return {"mebibytes": _memory(pid), "handles": _handles(pid), "processes": len(_cpu_by_process(pid))}


def _memory(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def _handles(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


_COMMANDS = {"throughput": throughput, "parts": parts, "overload": overload, "hostile": hostile, "rough": rough}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=_COMMANDS)
    parser.add_argument("--videos", type=Path, help="folder of clips")
    parser.add_argument("--model", type=Path, help="an export for ONNX Runtime in place of a seeded one")
    parser.add_argument("--others", help="of throughput: Python of the rivals")
    parser.add_argument("--rivals", nargs="+", help="of throughput: SERVER:DECODER ...")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=10, help="of parts: requests for each clip in each turn")
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
    options.rivals = options.rivals or _USUAL_RIVALS + (_RIVALS_OF_OTHERS if options.others else [])
    with tempfile.TemporaryDirectory() as scratch:
        figures = _COMMANDS[options.what](options, Path(scratch))
    for promise, held in figures.get("held", {}).items():
        print(f"{promise}: {'held' if held else 'NOT HELD'}")
    if options.json:
        write_json(options.json, {"options": {"what": options.what, "seconds": options.seconds}, "figures": figures})
    if not all(figures.get("held", {}).values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
