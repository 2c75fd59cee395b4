"""One compiled variant a stated class: sizes never are compile-time constants."""

from __future__ import annotations

import json
import os
import subprocess
import sys

# Keys of the compile cache without a GPU: meta tensors (no memory), a stand-in for the driver, no launch.
PROBE = """
import json, sys
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

class Driver:
    def get_current_target(self): return GPUTarget("cuda", 90, 32)
    def get_current_device(self): return 0

driver.set_active(Driver())
from lightning_attention import launch, shares, step
from lightning_attention.autograd import LightningAttention

keys = {}

class Recorder:
    def __init__(self, name, kernel):
        self.name = name
        self.binder = kernel.device_caches[0][-1]
    def __getitem__(self, grid):
        assert 0 < grid[0] < 2**31, grid
        def record(*args, **kwargs):
            _, specialization, options = self.binder(*args, **kwargs)
            keys.setdefault(self.name, set()).add(str(specialization) + str(options))
        return record

for module, name in (
    (launch, "walk_kernel"), (launch, "own_states_kernel"), (launch, "carry_states_kernel"),
    (shares, "cut_kernel"), (step, "step_kernel"),
):
    setattr(module, name, Recorder(name, getattr(module, name)))

def run(
    B, T, H, D=128, E=128, dtype=torch.bfloat16,
    programs=0, initial=False, final=False, documents=0, scale=1.0,
):
    shares.choose_programs = lambda *args, **kwargs: (programs, 0) if programs else (B * H, 1)
    make = lambda *shape, dtype=dtype: torch.empty(*shape, dtype=dtype, device="meta").requires_grad_()
    q, k, v = make(B, T, H, D), make(B, T, H, D), make(B, T, H, E)
    slopes = torch.empty(H, device="meta")
    rows = documents or B
    state = make(rows, H, D, E, dtype=torch.float32) if initial else None
    cu = torch.empty(documents + 1, dtype=torch.int32, device="meta") if documents else None
    o, last = LightningAttention.apply(q, k, v, slopes, state, cu, scale, final, "plain")
    outputs = [x for x in (o, last) if x is not None]
    inputs = [x for x in (q, k, v, state) if x is not None]
    torch.autograd.grad(outputs, inputs, [torch.empty_like(x) for x in outputs])

def count(calls):
    keys.clear()
    for call in calls:
        run(**call)
    return {name: len(found) for name, found in keys.items()}

def steps(shapes):
    keys.clear()
    for B, H in shapes:
        make = lambda *shape, dtype=torch.bfloat16: torch.empty(*shape, dtype=dtype, device="meta")
        state = make(B, H, 128, 128, dtype=torch.float32)
        for inplace in (False, True):
            slopes = torch.empty(H, device="meta")
            step.launch_step(*(make(B, H, 128) for _ in range(3)), slopes, state, 1.0, inplace)
    return {name: len(found) for name, found in keys.items()}

sizes = [dict(B=B, T=T, H=H) for B, T, H in (
    (1, 1, 1), (1, 15, 1), (2, 16, 16), (3, 17, 5), (1, 4096, 16), (2, 4096, 16),
    (1, 2**20, 16), (1, 2**20 - 1, 16), (1, 2**20 + 1, 16), (4096, 256, 16), (4097, 256, 16), (1, 2**25, 1))]
options = [
    dict(programs=0, initial=False, final=False, scale=1.0),
    dict(programs=2, initial=False, final=True, scale=0.1),
    dict(programs=100, initial=True, final=False, scale=1.0),
    dict(programs=132, initial=True, final=True, scale=2.0),
]
packed = [dict(B=1, documents=n) for n in (1, 7)]
print(json.dumps(dict(
    plain=count([size | option for size in sizes for option in options]),
    packed=count([size | documents | option for size in sizes for documents in packed for option in options]),
    unequal=count([size | dict(D=100, E=48) for size in sizes]),
    dtypes=count([dict(B=1, T=9, H=2, dtype=d) for d in (torch.bfloat16, torch.float16, torch.float32)]),
    steps=steps([(1, 1), (2, 16), (3, 17), (2**15, 16)]),
)))
"""


def test_variants_do_not_depend_on_sizes_states_or_segments():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    # the walk as output, dq, dk and dv; states forwards and backwards, for up to 127 and 255 programs a card
    for name in ("plain", "packed"):
        states = {"own_states_kernel": 2, "carry_states_kernel": 6}
        assert counts[name] == {"walk_kernel": 4, "cut_kernel": 3, **states}
    assert counts["unequal"] == {"walk_kernel": 4, "cut_kernel": 3}
    assert counts["dtypes"] == {"walk_kernel": 12, "cut_kernel": 1}
    assert counts["steps"] == {"step_kernel": 1}
