"""Every method's step on a GPU that isn't there: everything is on it, and nothing waits for it or is copied to it.

The same is asked of a real GPU in test_on_a_gpu.py; here `make test` sees it on every machine. A process of its own
loads a library, before torch, that says there is a GPU.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from catalogue import CATALOGUE

HERE = Path(__file__).parent

if torch.version.cuda or torch.version.hip:
    pytest.skip("this build of torch has guards of its own: tests/gpu/test_on_a_gpu.py", allow_module_level=True)
if sys.platform != "linux" or not shutil.which("g++"):
    pytest.skip("needs Linux and g++ to compile fake_cuda.cpp", allow_module_level=True)


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    """What was found in the first and in a later step, by "method, precision"."""
    folder, installed = tmp_path_factory.mktemp("fake_cuda"), Path(torch.__file__).parent
    guard, results = folder / "fake_cuda.so", folder / "results.json"
    compile_ = ["g++", "-std=c++20", "-O1", "-shared", "-fPIC", f"-I{installed}/include", str(HERE / "fake_cuda.cpp")]
    compile_ += ["-o", str(guard), f"-L{installed}/lib", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{installed}/lib"]
    made = subprocess.run(compile_, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    path = os.pathsep.join(map(str, (HERE.parent, HERE.parents[1])))
    env = os.environ | {"LD_PRELOAD": str(guard), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(HERE / "fake_cuda.py"), str(results)], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(results.read_text(encoding="utf-8"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CATALOGUE)
def test_a_step_stays_on_the_gpu_and_waits_for_nothing(found, name, precision):
    steps = found[f"{name}, {precision}"]
    assert not steps["later"]
    # The first makes the optimizers' moments and may look, but not be on another device.
    assert not [fault for fault in steps["first"] if not fault.startswith(("wait", "copy"))]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("item", "wait: _local_scalar_dense"),
        ("mask", "wait: index"),
        ("count", "wait: nonzero"),
        ("condition", "wait: _local_scalar_dense"),
        ("host_tensor", "error: .* cuda:0 and cpu"),
        ("host_noise", "error: .* cuda:0 and cpu"),
        ("sent", "copy: cpu to cuda"),
        ("list_sent", "copy: cpu to cuda"),
        ("fetched", "copy: cuda to cpu"),
        ("host_generator", "generator: of cpu for cuda"),
        ("plain attribute", "error: .*Please convert all Tensors"),
        ("sound", None),
    ],
)
def test_planted_faults_are_found(found, fault, said):
    steps = found[f"planted {fault}"]
    if said is None:
        assert steps == {"first": [], "later": []}
        return
    for lines in steps.values():
        assert re.match(rf"{said}.* in gpu/fake_cuda\.py:\d+ ", lines[0]), lines
