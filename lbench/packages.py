"""The packages lbench can use: how to see whether one works, and the line that installs it."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder


@dataclass(frozen=True, kw_only=True)
class Package:
    """What is imported to see whether a package works, and how to install it."""

    name: str
    """Import name."""
    modules: tuple[str, ...] = ()
    """What is imported; by default the package itself."""
    extension: str | None = None
    """Compiled module beside it, which not every installation has."""
    distributions: tuple[str, ...] = ()
    """Names to pip; by default the import name."""
    install: str
    rebuild: str = ""
    """The command that compiles it anew against the torch that is installed."""
    required: bool = False


def _compiled(distribution: str, switch: str) -> str:
    flags = "--no-build-isolation --no-cache-dir --force-reinstall --no-deps"
    return f"{switch}=TRUE pip install {flags} {distribution}"


PACKAGES = (
    Package(name="torch", install="pip install torch", required=True),
    Package(name="triton", install="pip install triton", required=sys.platform == "linux"),
    Package(
        name="lightning_attention", distributions=("lbench",), install="pip install lbench", required=True
    ),
    Package(name="pandas", install="pip install pandas", required=True),
    Package(name="matplotlib", install="pip install matplotlib", required=True),
    Package(
        name="fla",
        modules=("fla.ops.simple_gla", "fla.ops.gla", "fla.ops.delta_rule", "fla.ops.gated_delta_rule"),
        distributions=("flash-linear-attention", "fla-core"),
        install="pip install 'lbench[fla]'",
    ),
    Package(
        name="lightning_attn",
        modules=("lightning_attn.ops",),
        distributions=("lightning-attn",),
        install="pip install 'lbench[authors]'",
    ),
    Package(
        name="flash_attn",
        extension="flash_attn_2_cuda",
        distributions=("flash-attn",),
        install="pip install psutil ninja && pip install --no-build-isolation 'lbench[flash]'",
        rebuild=_compiled("flash-attn", "FLASH_ATTENTION_FORCE_BUILD"),
    ),
    Package(
        name="flash_attn_interface",
        distributions=("flash-attn-3", "flash_attn_3"),
        install="build it from the folder hopper of flash-attention; forward only: pip install fa3-fwd",
    ),
    Package(name="fa3_fwd_interface", distributions=("fa3-fwd",), install="pip install fa3-fwd"),
    Package(
        name="flash_attn.cute",
        modules=("flash_attn.cute", "flash_attn.cute.flash_bwd_sm90"),
        distributions=("flash-attn-4",),
        install="pip install --pre 'flash-attn-4[cu13]'",
    ),
    Package(
        name="mamba_ssm",
        modules=("mamba_ssm.ops.selective_scan_interface", "mamba_ssm.ops.triton.ssd_combined"),
        extension="selective_scan_cuda",
        distributions=("mamba-ssm",),
        install="MAMBA_KEEP_CUDA_BUILD=TRUE pip install --no-build-isolation 'lbench[mamba]'",
        rebuild=_compiled("mamba-ssm", "MAMBA_KEEP_CUDA_BUILD"),
    ),
    Package(
        name="causal_conv1d",
        extension="causal_conv1d_cuda",
        distributions=("causal-conv1d",),
        install="pip install --no-build-isolation 'lbench[mamba]'",
        rebuild=_compiled("causal-conv1d", "CAUSAL_CONV1D_FORCE_BUILD"),
    ),
    Package(name="einops", install="pip install einops"),
    Package(name="pyarrow", install="pip install 'lbench[parquet]'"),
)


def is_installed(name: str) -> bool:
    """Whether a package or a module within one is found, without importing it or what it is in."""
    outer, *inner = name.split(".")
    found = importlib.util.find_spec(outer)
    for part in inner:
        if found is None or found.submodule_search_locations is None:
            return False
        found = PathFinder.find_spec(part, list(found.submodule_search_locations))
    return found is not None


def install_line(name: str) -> str:
    """The command that installs a package, compiled module or module within a package, by its import name."""
    for package in PACKAGES:
        if name in (package.name, package.extension, *package.modules):
            return package.install
    return f"pip install {name}"
