"""What OpenVINO needs to be safe in programs with threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("openvino")

TWO_THREADS = """
import sys
import threading

import clipshift  # before OpenVINO, which else tells its makers that it is used
import numpy as np
import openvino
from openvino import opset13 as operators

from clipshift.inference.engines.openvino import the_core

given = operators.parameter([-1, 3], np.float32)
compiled = the_core().compile_model(openvino.Model([operators.relu(given)], [given], "relu"), "CPU")
requests = [compiled.create_infer_request() for _ in range(2)]
start = threading.Barrier(2)


def first_answer(request):
    start.wait()
    request.infer([np.zeros((1, 3), np.float32)])


sys.setswitchinterval(1e-6)  # so that the threads meet wherever they can
threads = [threading.Thread(target=first_answer, args=(request,)) for request in requests]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("both answered")
"""


def test_first_answers_of_two_threads_at_once() -> None:
    # In a process of its own: only the first answer is dangerous, and who hangs there holds Python's lock.
    done = subprocess.run(
        [sys.executable, "-c", TWO_THREADS], capture_output=True, text=True, check=False, timeout=1800
    )
    assert done.stdout == "both answered\n", done.stderr
