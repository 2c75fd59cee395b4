"""How the workers of pytest-xdist share the tests out: file by file, those that take long first."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

LONG = (
    "test_page_in_a_browser.py",
    "faults/test_faults.py",
    "kernels/test_kernel_library.py",
    "plot/test_figures.py",
    "test_docs.py",
    "models/test_decoder.py",
    "kernels/test_kernel_forward.py",
    "cli/test_run.py",
    "models/test_passes.py",
    "kernels/test_kernel_gradients.py",
    "kernels/test_kernel_prepared.py",
    "cli/test_verify_command.py",
    "gates/test_budget.py",
)
"""A worker that came to one of these last would keep the others waiting."""


def rank(path: str) -> int:
    """Where a file stands in the queue."""
    return next((place for place, name in enumerate(LONG) if path.endswith(name)), len(LONG))


class ByFile(LoadScopeScheduling):
    """A file goes to one worker, so that what its tests share is made once. Experiments go one by one."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, name = nodeid.partition("::")
        return nodeid.partition(": ")[0] if name.startswith("test_fault[") else path
