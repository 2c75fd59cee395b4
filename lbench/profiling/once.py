"""The program that Nsight Compute watches: one case, called until it is warm, then once between its marks.

python -m lbench.profiling.once CASE_AS_JSON DEVICE
"""

from __future__ import annotations

import json
import sys

WARM_UPS = 2


def main(arguments: list[str]) -> None:
    """Calls the case; only the last call lies between the marks that ncu listens to."""
    import torch

    from lbench import workload
    from lbench.case import Case

    fields, device = arguments
    torch.cuda.set_device(device)
    work = workload.build(Case.from_dict(json.loads(fields)), device)
    for _ in range(WARM_UPS):
        work.call()
    torch.cuda.synchronize()
    driver = torch.cuda.cudart()
    driver.cudaProfilerStart()
    work.call()
    torch.cuda.synchronize()
    driver.cudaProfilerStop()


if __name__ == "__main__":
    main(sys.argv[1:])
