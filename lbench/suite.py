"""Suites: TOML files that expand to cases. Flags of the command line replace their axes.

title = "..."
cell_timeout_s = 300
l2 = "cold"             # or "warm"
timer = "auto"          # or "events", "graph"
energy = true           # false: no energy is measured, 0.6 s a case less, 2.8 at the card's power limit
[stopping]              # fields of lbench.protocol.Stopping
budget_s = 0.5
[constancy]             # limits of `lbench check constancy`: fields of lbench.limits.Limits
alpha = 0.02
[[sweep]]               # one or more; every axis is a value or a list
mechanism = ["softmax", "lightning"]     # or backend = [...]
pass = ["fwd", "fwdbwd"]
seq = "1k..256k"
tokens = "256k"         # or batch = 1
heads = 16              # or model = ["tnl-1b"] in place of a shape, with body, checkpoint, chunk ...
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from lbench import backends, fields, mechanisms
from lbench.case import MODEL_SETTINGS, Case
from lbench.errors import UsageError, unknown
from lbench.lengths import batch_of, parse_length, parse_lengths
from lbench.limits import Limits
from lbench.protocol import L2, TIMERS, Protocol, Stopping

CHUNKS = ("chunk", "prefill_chunk")
LENGTHS = ("seq", "batch", "tokens", "heads", "kv_heads", "head_dim", "head_dim_v", *CHUNKS)
NAMES = ("backend", "mechanism", "pass", "dtype", "decay", "inputs", "model", *MODEL_SETTINGS)
AXES = {
    **dict.fromkeys(NAMES, fields.one_or_some(fields.TEXT)),
    **dict.fromkeys(LENGTHS, fields.one_or_some(fields.LENGTH)),
    "seed": fields.one_or_some(fields.WHOLE),
}
"""Of a [[sweep]], and what each may be."""
EXCLUSIVE = (("batch", "tokens"), ("backend", "mechanism"))
SHAPE = ("heads", "kv_heads", "head_dim", "head_dim_v", "decay", "inputs")
"""Axes of mixers alone: a model has a shape of its own."""
TOP = {
    "title": fields.TEXT,
    "cell_timeout_s": fields.POSITIVE,
    "l2": fields.TEXT,
    "timer": fields.TEXT,
    "energy": fields.YES_NO,
    "stopping": fields.TABLE,
    "constancy": fields.TABLE,
    "sweep": fields.some(fields.TABLE),
}
STOPPING = {
    one.name: fields.COUNT if isinstance(one.default, int) else fields.AMOUNT
    for one in dataclasses.fields(Stopping)
}


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A named list of sweeps, each a mapping from axis to its values."""

    name: str
    title: str = ""
    cell_timeout_s: float = 300.0
    """Wall time one case may take, compilation included."""
    l2: str = "cold"
    """cold | warm."""
    timer: str = "auto"
    """auto (a graph for short calls) | events | graph; a CPU has its own."""
    energy: bool = True
    """Whether calls are weighed, where the card has a counter."""
    stopping: Stopping = field(default_factory=Stopping)
    constancy: Mapping[str, float] = field(default_factory=dict)
    """What its rows must keep to in `lbench check constancy`, where it differs from `Limits`."""
    sweeps: tuple[Mapping[str, Any], ...] = ()
    written: tuple[Mapping[str, Any], ...] = ()
    """The sweeps as its file has them, before flags replace axes: an error that is theirs names the suite."""

    @property
    def protocol(self) -> Protocol:
        """How its cases are timed."""
        return Protocol(l2=self.l2, timer=self.timer, energy=self.energy, stopping=self.stopping)

    def override(self, axes: Mapping[str, Any]) -> Suite:
        """The suite with axes replaced in every sweep; `batch` takes the place of `tokens` and so on."""
        _check_exclusive(axes, "", "--")
        replaced = {other for pair in EXCLUSIVE for axis in pair if axis in axes for other in pair}
        if "model" in axes:
            # A suite of shapes lends its protocol and lengths alone.
            replaced |= {*SHAPE, "backend", "mechanism", "pass", "batch", "tokens"}
        sweeps = tuple(
            {**{axis: value for axis, value in sweep.items() if axis not in replaced}, **axes}
            for sweep in self.sweeps
        )
        return dataclasses.replace(self, sweeps=sweeps)

    def part(self, axis: str, wanted: Collection[Any]) -> Suite | None:
        """The part of the suite that has these values of an axis; None where it lacks one of them."""
        asked = {*_values(axis, list(wanted))}
        narrowed = [
            {**sweep, axis: kept}
            for sweep in self.sweeps
            if axis in sweep and (kept := [one for one in _values(axis, sweep[axis]) if one in asked])
        ]
        if not asked <= {value for sweep in narrowed for value in sweep[axis]}:
            return None
        return dataclasses.replace(self, sweeps=tuple(narrowed))

    def cases(self, device: str) -> list[Case]:
        """All cases for `cuda` or `cpu`, each once, ordered by backend, pass and length."""
        try:
            cases = _cases(self.sweeps, device)
        except UsageError as error:
            if str(error) == _error_in(self.written, device):
                raise UsageError(f"suite {self.name}, [[sweep]]: {error}") from error
            raise
        if not cases:
            raise UsageError(f"suite {self.name!r} has no case")
        return sorted(cases.values(), key=_order)

    def as_dict(self) -> dict[str, Any]:
        """The resolved suite, as kept beside the rows."""
        return {
            "name": self.name,
            "title": self.title,
            "cell_timeout_s": self.cell_timeout_s,
            "l2": self.l2,
            "timer": self.timer,
            "energy": self.energy,
            "stopping": dataclasses.asdict(self.stopping),
            "constancy": dict(self.constancy),
            "sweep": [_told(sweep) for sweep in self.sweeps],
        }


def of_key(key: str) -> tuple[Suite, Case]:
    """The one case that a key names, and a suite of it alone."""
    backend = key.partition(",")[0]
    # The key of a user's function names its mechanism itself.
    case = Case.from_key(key, mechanism="" if ":" in backend else backends.load(backend).mechanism)
    backends.load(case.backend, case.mechanism)
    if case.model:
        from lbench import models

        case = dataclasses.replace(case, model=models.load(case.model).name)
    return Suite(name="case", title="one case"), case


def of_document(document: Mapping[str, Any]) -> Suite:
    """The suite that a run was made with, from `Suite.as_dict`; its timing protocol above all."""
    content = {key: value for key, value in document.items() if key in TOP}
    return _parse(str(document.get("name", "run")), content)


def names() -> list[str]:
    """Names of the suites that come with lbench, sorted."""
    return sorted(
        path.name.removesuffix(".toml") for path in _folder().iterdir() if path.name.endswith(".toml")
    )


def describe(name: str) -> str:
    """The title of a suite."""
    return load(name).title


def load(name: str) -> Suite:
    """The suite of that name, or of a TOML file given by its path."""
    if name not in names() and Path(f"{name}.toml").is_file():
        raise UsageError(f"unknown suite {name!r}, but {name}.toml is here: `lbench run {name}.toml`")
    if name.endswith(".toml"):
        path: Any = Path(name)
        if not path.is_file():
            raise UsageError(
                f"there is no suite file {name}; `lbench list suites` shows those that come along"
            )
    elif name in names():
        path = _folder() / f"{name}.toml"
    else:
        raise unknown("suite", name, names())
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"suite {name} cannot be read: {error.strerror}") from error
    return _parse(path.name.removesuffix(".toml"), fields.parse(content, f"suite {name}"))


def _folder() -> Any:
    # A checkout keeps the suites beside the package, a wheel inside it.
    beside = Path(__file__).parent.parent / "suites"
    return beside if (beside / "quick-cpu.toml").is_file() else resources.files("lbench.suites")


def _parse(name: str, content: dict[str, Any]) -> Suite:
    fields.check(content, TOP, f"suite {name}, top level")
    fields.check(content.get("stopping", {}), STOPPING, f"suite {name}, [stopping]")
    for sweep in content.get("sweep", []):
        fields.check(sweep, AXES, f"suite {name}, [[sweep]]")
        _check_exclusive(sweep, f"suite {name}, [[sweep]]: ", "")
    for key, allowed in (("l2", L2), ("timer", TIMERS)):
        if content.get(key, allowed[0]) not in allowed:
            raise UsageError(f"suite {name}: {unknown(key, content[key], allowed)}")
    Limits.of(content.get("constancy", {}), f"suite {name}, [constancy]")
    sweeps = tuple(content.get("sweep", []))
    return Suite(
        name=name,
        title=content.get("title", ""),
        l2=content.get("l2", L2[0]),
        timer=content.get("timer", TIMERS[0]),
        energy=content.get("energy", True),
        cell_timeout_s=float(content.get("cell_timeout_s", 300.0)),
        stopping=Stopping(**content.get("stopping", {})),
        constancy=content.get("constancy", {}),
        sweeps=sweeps,
        written=sweeps,
    )


def _told(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """A sweep as it is kept: a model from a file by its name, which holds no path."""
    return {axis: _values(axis, value) if axis == "model" else value for axis, value in sweep.items()}


def _cases(sweeps: Iterable[Mapping[str, Any]], device: str) -> dict[str, Case]:
    return {case.key: case for sweep in sweeps for case in _expand(sweep, device)}


def _error_in(sweeps: Iterable[Mapping[str, Any]], device: str) -> str:
    try:
        _cases(sweeps, device)
    except UsageError as error:
        return str(error)
    return ""


def _expand(sweep: Mapping[str, Any], device: str) -> Iterator[Case]:
    if "model" in sweep:
        from lbench.models.sweep import of_models

        yield from of_models({axis: _values(axis, value) for axis, value in sweep.items()}, device)
        return
    for axis in (axis for axis in MODEL_SETTINGS if axis in sweep):
        raise UsageError(f"{axis} is an axis of models; name them with --model")
    axes = {axis: _values(axis, value) for axis, value in sweep.items()}
    who = _who(axes.pop("backend", None), axes.pop("mechanism", None))
    lengths = axes.pop("seq", [1024])
    for (backend, mechanism), seq_len in itertools.product(who, lengths):
        for point in itertools.product(*axes.values()):
            fields = dict(zip(axes, point, strict=True))
            if "tokens" in fields:
                fields["batch"] = batch_of(fields.pop("tokens"), seq_len)
            fields = {"pass_name" if name == "pass" else name: value for name, value in fields.items()}
            yield Case(backend=backend, mechanism=mechanism, seq_len=seq_len, device=device, **fields)


def _who(chosen: list[str] | None, of_mechanisms: list[str] | None) -> list[tuple[str, str]]:
    """(backend, mechanism) pairs of a sweep."""
    if chosen is not None and chosen != ["all"]:
        mechanism = _one_mechanism(chosen, of_mechanisms or [])
        loaded = [backends.load(name, mechanism) for name in chosen]
        return [(backend.name, backend.mechanism) for backend in loaded]
    wanted = of_mechanisms if of_mechanisms is not None else mechanisms.names()
    for name in wanted:
        mechanisms.load(name)
    return [(backend.name, name) for name in wanted for backend in backends.of_mechanism(name)]


def _one_mechanism(functions: list[str], given: list[str]) -> str:
    """What functions of a user compute; empty where that is not said."""
    if len(given) > 1:
        raise UsageError(
            f"--mechanism {','.join(given)} with --backend {','.join(functions)}; a function computes one "
            f"mechanism: give it alone, and the others in a run of their own (--resume adds to a folder)"
        )
    return given[0] if given else ""


def _values(axis: str, value: Any) -> list[Any]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if axis == "seq":
        return [length for text in values for length in parse_lengths(str(text))]
    if axis in LENGTHS:
        return [parse_length(str(text), axis) for text in values]
    if axis == "model":
        from lbench import models

        return [models.name_of(text) for text in values]
    return values


def _order(case: Case) -> tuple[Any, ...]:
    size = (case.pass_name, case.seq_len * case.batch, case.seq_len)
    return (case.model, case.mechanism, case.backend, *size)


def _check_exclusive(axes: Mapping[str, Any], where: str, flag: str) -> None:
    for first, second in EXCLUSIVE:
        if first in axes and second in axes and not (first == "backend" and _user_functions_only(axes)):
            for name in _listed(axes, "backend"):
                backends.check_function(name)
            both = f"{flag}{first} and {flag}{second}"
            raise UsageError(f"{where}{both} exclude each other; give one of them")


def _user_functions_only(axes: Mapping[str, Any]) -> bool:
    chosen = _listed(axes, "backend")
    return bool(chosen) and all(":" in name for name in chosen)


def _listed(axes: Mapping[str, Any], axis: str) -> list[str]:
    given = axes.get(axis) or []
    return [given] if isinstance(given, str) else list(given)
