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

    from lbench.models.workload import ModelWorkload


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
    forward: Callable[[], tuple[Any, ...]] | None = None
    """The forward half of `call`, graph included; None where the pass takes no gradient."""
    backward: Callable[[tuple[Any, ...]], Any] | None = None
    """The other half: from what `forward` returned to what `call` returns."""
    again: Callable[[], Callable[[], Any]]
    """Makes `call` once more, on a copy of the inputs of its own."""

    @property
    def in_graph(self) -> bool:
        """Whether a GPU times it in a CUDA graph however long it is."""
        return False

    @property
    def input_bytes(self) -> int:
        """Bytes of the inputs, constants left out, and of the output gradient."""
        given = [*self.inputs.tensors.values()]
        if self.output_gradient is not None:
            given.append(self.output_gradient)
        return sum(tensor.numel() * tensor.element_size() for tensor in given)

    def outputs(self, result: Any) -> dict[str, Tensor]:
        """What a call returned as canonical tensors by name: `o` (and `state`), `dq` ... for gradients.

        Raises TypeError where something else stands in the place of a tensor.
        """
        values, gradients = result
        names = self.mechanism.decode_outputs if self.case.pass_name == "decode" else ("o",)
        restore = self.backend.layout.restore
        named = {
            name: restore(name, _tensor(name, value)) for name, value in zip(names, values, strict=False)
        }
        gradient_names = (f"d{name}" for name in self.mechanism.gradients)
        return named | {
            name: restore(name.removeprefix("d"), value)
            for name, value in zip(gradient_names, gradients, strict=False)
        }


def build(case: Case, device: str) -> Workload | ModelWorkload:
    """The workload of a case, whether of a mixer alone or of a model.

    Raises what the backend raises: Unsupported, ImportError, or an error of its own.
    """
    if case.model:
        from lbench.models.workload import build as build_model

        return build_model(case, device)
    return build_mixer(case, device)


def build_mixer(case: Case, device: str) -> Workload:
    """Makes a case's inputs on a torch device, arranges them and prepares its backend's function."""
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

    def again() -> Callable[[], Any]:
        copies = {name: tensor.detach().clone() for name, tensor in arranged.items()}
        copied = None if gradient is None else gradient.clone()
        return _calls(case.pass_name, forward, copies, mechanism.gradients, copied)["call"]

    return Workload(
        case=case,
        mechanism=mechanism,
        backend=backend,
        inputs=inputs,
        output_gradient=None if gradient is None else layout.restore("o", gradient),
        again=again,
        **_calls(case.pass_name, forward, arranged, mechanism.gradients, gradient),
    )


def _calls(
    pass_name: str,
    function: Callable[..., Any],
    tensors: dict[str, Tensor],
    gradients: tuple[str, ...],
    output_gradient: Tensor | None,
) -> dict[str, Callable[..., Any]]:
    """The `call` of a workload and, where the pass takes gradients, its halves."""
    import torch

    def without_gradient() -> Any:
        with torch.no_grad():
            return _tuple(function(**tensors)), ()

    if output_gradient is None:
        return {"call": without_gradient}
    leaves = {name: tensor.requires_grad_(name in gradients) for name, tensor in tensors.items()}
    wanted = [leaves[name] for name in gradients]
    # The graph is made once, outside the timer, at the first call, so that its compilation counts there.
    graph: list[tuple[Any, ...]] = []

    def forward() -> tuple[Any, ...]:
        return _tuple(function(**leaves))

    def backward(outputs: tuple[Any, ...]) -> Any:
        kept = pass_name == "bwd"
        return outputs, torch.autograd.grad(
            _tensor("o", outputs[0]), wanted, output_gradient, retain_graph=kept
        )

    def backward_alone() -> Any:
        if not graph:
            graph.append(forward())
        return backward(graph[0])

    call = backward_alone if pass_name == "bwd" else lambda: backward(forward())
    return {"call": call, "forward": forward, "backward": backward}


def _tensor(name: str, value: Any) -> Tensor:
    import torch

    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}, not a tensor")
    return value


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
