"""Which environments rows may be mixed from."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbench import results
from lbench.environment import PACKAGES, describe, differences

ROOT = Path(__file__).parent.parent
KEPT = sorted(ROOT.glob("results/*/environments/*.json"))


@pytest.fixture(scope="module")
def record() -> dict:
    return describe("cpu")


def test_everything_recorded_counts_but_the_memory_of_the_host(record: dict) -> None:
    assert not differences(record, record)
    others = record.keys() - {"packages"}
    counted = {name for name in others if differences(record, record | {name: "another"})}
    assert others - counted == {"memory_mib"}
    assert differences(record, record | {"threads": -1}) == [f"threads {record['threads']}, here -1"]


@pytest.mark.parametrize("package", [name for name in PACKAGES if name not in ("torch", "triton")])
def test_a_package_counts_where_both_have_it(record: dict, package: str) -> None:
    def having(version: str) -> dict:
        return record | {"packages": record["packages"] | {package: version}}

    assert differences(having("1"), having("2")) == [f"{package} 1, here 2"]
    without = record | {"packages": {k: v for k, v in record["packages"].items() if k != package}}
    assert not differences(without, having("1"))
    assert not differences(having("1"), without)


def test_a_record_of_an_older_lbench_is_compared_by_what_it_holds(record: dict) -> None:
    older = {name: value for name, value in record.items() if name not in ("pinned_to", "switches")}
    assert not differences(older, record)
    assert differences(older | {"cpu": "another"}, record)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_folders_can_be_gone_on_with_on_a_machine_that_grew(path: Path) -> None:
    kept = results.read(path.parent.parent).environments[path.stem]
    assert not differences(kept, kept | {"memory_mib": 2 * kept["memory_mib"]})
    assert differences(kept, kept | {"driver": "1.0"})
