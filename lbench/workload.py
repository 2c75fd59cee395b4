"""A workload: one case made ready to call. What is verified, timed and profiled is this very object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lbench import backends, mechanisms
from lbench.backends.spec import Backend
from lbench.case import Case
from lbench.mechanisms.spec import Inputs, Mechanism, shape

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A case with its inputs laid out as its backend wants them and the function to call."""

    case: Case
    mechanism: Mechanism
    backend: Backend
    inputs: Inputs
    """Canonical views of the arranged tensors."""
    output_gradient: Tensor | None
    """Canonical view; None where the pass takes no gradient."""
    call: Callable[[], Any]
    """What is timed: outputs, or outputs and gradients, in the backend's layout."""

    def outputs(self, result: Any) -> dict[str, Tensor]:
        """What a call returned as canonical tensors by name: `o` (and `state`), `dq` ... for gradients."""
        values, gradients = result
        names = self.mechanism.decode_outputs if self.case.pass_name == "decode" else ("o",)
        restore = self.backend.layout.restore
        named = {name: restore(name, value) for name, value in zip(names, values, strict=False)}
        gradient_names = (f"d{name}" for name in self.mechanism.gradients)
        return named | {
            name: restore(name.removeprefix("d"), value)
            for name, value in zip(gradient_names, gradients, strict=False)
        }


def build(case: Case, device: str) -> Workload:
    """Makes a case's inputs on a torch device, arranges them and prepares its backend's function.

    Raises what the backend raises: Unsupported, ImportError, or an error of its own.
    """
    from lbench.mechanisms.draws import dtype_of, output_gradient

    mechanism = mechanisms.load(case.mechanism)
    backend = backends.load(case.backend, case.mechanism)
    layout = backend.layout
    made = mechanism.make_inputs(case, device)
    arranged = {name: layout.arrange(name, made.tensors.pop(name)) for name in list(made.tensors)}
    constants = {name: layout.arrange(name, tensor) for name, tensor in made.constants.items()}
    forward = backend.build(case, constants)
    gradient = None
    if case.pass_name in ("bwd", "fwdbwd"):
        drawn = output_gradient(case, shape("bthe", case), device, dtype_of(case))
        gradient = layout.arrange("o", drawn)
    inputs = Inputs(
        {name: layout.restore(name, tensor).detach() for name, tensor in arranged.items()},
        {name: layout.restore(name, tensor) for name, tensor in constants.items()},
    )
    return Workload(
        case=case,
        mechanism=mechanism,
        backend=backend,
        inputs=inputs,
        output_gradient=None if gradient is None else layout.restore("o", gradient),
        call=_call(case.pass_name, forward, arranged, mechanism.gradients, gradient),
    )


def _call(
    pass_name: str,
    forward: Callable[..., Any],
    tensors: dict[str, Tensor],
    gradients: tuple[str, ...],
    output_gradient: Tensor | None,
) -> Callable[[], Any]:
    import torch

    def without_gradient() -> Any:
        with torch.no_grad():
            return _tuple(forward(**tensors)), ()

    if output_gradient is None:
        return without_gradient
    leaves = {name: tensor.requires_grad_(name in gradients) for name, tensor in tensors.items()}
    wanted = [leaves[name] for name in gradients]

    def forward_and_backward() -> Any:
        outputs = _tuple(forward(**leaves))
        return outputs, torch.autograd.grad(outputs[0], wanted, output_gradient)

    if pass_name == "fwdbwd":
        return forward_and_backward
    # The graph is made once, outside the timer, at the first call, so that its compilation counts there.
    graph: list[Any] = []

    def backward() -> Any:
        if not graph:
            graph.append(_tuple(forward(**leaves)))
        (outputs,) = graph
        return outputs, torch.autograd.grad(outputs[0], wanted, output_gradient, retain_graph=True)

    return backward


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
