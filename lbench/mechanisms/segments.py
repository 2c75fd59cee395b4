"""The exact answer of every recurrent mechanism, segment by segment in float64, in little memory.

A mechanism gives one segment: outputs and last state from the segment's tensors and the state before it. The
walk here carries states forward, then goes back from the last segment, with gradients by autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lbench.case import Case
from lbench.mechanisms.spec import Inputs, Mechanism, Part

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]
BLOCK = 64
"""Tokens of a block of `linear_recurrence`."""
MOST_BLOCKS = 64
"""Blocks of a segment; the carry between them costs their number squared."""
CPU_BUDGET = 1 << 23
"""float64 numbers that the work on one segment may hold at once: 64 MiB, near the caches."""
GPU_BUDGET = (1 << 24, 1 << 30)
"""The same on a GPU, least and most (8 GiB): an eighth of what is free, as short segments cost launches."""
COPIES = 8
"""Copies of a segment's numbers: powers of decay, the graph and its gradients."""


def linear_recurrence(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S_t = exp(g_t) S_{t-1} + k_t v_t^T, o_t = q_t S_t: o [B, T, H, E], last S [B, H, D, E].

    q, k [B, T, H, D], v [B, T, H, E], log decay g [B, T, H, D or 1]. Exact while the log decays of half a
    block (32 tokens) sum to more than -700, as float64 holds e^700.
    """
    import torch

    length = q.shape[1]
    block = min(BLOCK, length)
    q, k, v, log_decay = (_in_blocks(term, block) for term in (q, k, v, log_decay))
    summed = log_decay.cumsum(-2)
    # Powers are taken from the middle of a block, which halves their exponents.
    middle, last = summed[..., block // 2, :].unsqueeze(-2), summed[..., -1, :]
    q, k = q * (summed - middle).exp(), k * (middle - summed).exp()
    intra = (q @ k.mT).tril() @ v
    added = (last - middle.squeeze(-2)).exp().unsqueeze(-1) * (k.mT @ v)
    starts = _states(torch.cat([state.unsqueeze(2), added], 2), last)
    inter = q @ (middle.mT.exp() * starts[:, :, :-1])
    output = (intra + inter).flatten(2, 3).movedim(1, 2)[:, :length]
    return output, starts[:, :, -1]


def _in_blocks(term: Tensor, block: int) -> Tensor:
    """[B, T, H, X] -> [B, H, N, block, X], filled up with zeros (which change no state)."""
    from torch.nn import functional

    padding = -term.shape[1] % block
    return functional.pad(term, (0, 0, 0, 0, 0, padding)).movedim(1, 2).unflatten(2, (-1, block))


def _states(added: Tensor, log_decay: Tensor) -> Tensor:
    """States at the N block starts and at the end, from the first state and what each block adds.

    added [B, H, N+1, D, E], log_decay of whole blocks [B, H, N, D or 1].
    """
    from torch.nn import functional

    summed = functional.pad(log_decay, (0, 0, 1, 0)).cumsum(2).mT  # [B, H, D or 1, N+1]
    differences = (summed.unsqueeze(-1) - summed.unsqueeze(-2)).tril()
    weights = differences.exp().tril()
    channels, size = weights.shape[2], added.shape[3:]
    rows = added.unflatten(3, (channels, -1)).flatten(4).transpose(2, 3)  # [B, H, D or 1, N+1, E or D E]
    return (weights @ rows).transpose(2, 3).flatten(3).unflatten(3, size)


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """A mechanism's segment, and the walk that yields its truth."""

    segment: Callable[[Case, Tensors, Tensors, Tensor], tuple[Tensor, Tensor]]
    """(case, float64 tensors of some tokens, float64 constants, state before) -> output, state after."""
    state_shape: Callable[[Case], tuple[int, ...]] = lambda case: (case.heads, case.head_dim, case.head_dim_v)
    """Axes of the state behind the batch."""
    block: int = BLOCK
    """Tokens that a segment works on at once; segments are multiples of it."""
    numbers: Callable[[Case], int] = lambda case: (
        case.heads
        * (2 * (case.head_dim + case.head_dim_v) + BLOCK + 2 * case.head_dim * case.head_dim_v // BLOCK)
    )
    """Numbers that the work on one token of one batch element holds, not counting copies of them."""

    def reference(
        self, case: Case, inputs: Inputs, output_gradient: Tensor | None, mechanism: Mechanism
    ) -> Iterator[Part]:
        """Parts of `o` (and of the new `state` for decode), then of every gradient; parameters come last."""
        walk = _Walk(self, case, inputs, mechanism)
        if case.pass_name == "decode":
            yield from walk.step()
            return
        rows, length = walk.slices()
        carried: dict[tuple[int, int], Tensor] = {}
        for row in range(0, case.batch, rows):
            yield from walk.forward(slice(row, min(row + rows, case.batch)), length, carried)
        if output_gradient is not None:
            for row in range(0, case.batch, rows):
                yield from walk.backward(
                    slice(row, min(row + rows, case.batch)), length, carried, output_gradient
                )
            yield from (Part(f"d{name}", (), total) for name, total in walk.parameters.items())


class _Walk:
    """One pass over batch slices and time segments of one case."""

    def __init__(self, recurrence: Recurrence, case: Case, inputs: Inputs, mechanism: Mechanism) -> None:
        self.recurrence, self.case, self.inputs, self.mechanism = recurrence, case, inputs, mechanism
        self.constants = {name: tensor.double() for name, tensor in inputs.constants.items()}
        self.parameters: dict[str, Tensor] = {}

    def slices(self) -> tuple[int, int]:
        """Batch elements of a slice and tokens of a segment that keep the work within its budget."""
        block = self.recurrence.block
        tokens = self._budget() // (COPIES * self.recurrence.numbers(self.case))
        length = min(max(tokens // block, 1), MOST_BLOCKS) * block
        return max(tokens // min(length, self.case.seq_len), 1), length

    def _budget(self) -> int:
        import torch

        device = next(iter(self.inputs.tensors.values())).device
        if device.type != "cuda":
            return CPU_BUDGET
        # What torch's allocator holds unused is free for this work too.
        unused_bytes = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free_bytes = torch.cuda.mem_get_info(device)[0] + unused_bytes
        least, most = GPU_BUDGET
        return min(max(free_bytes // 8 // 8, least), most)

    def step(self) -> Iterator[Part]:
        """A decoding step, one batch element at a time."""
        dims = self.mechanism.decode_tensors
        for row in range(self.case.batch):
            rows = slice(row, row + 1)
            tensors = self._doubles(dims, rows, slice(None))
            state = tensors.pop("state")
            output, new_state = self._segment(tensors, state.reshape(1, *self._state_shape))
            yield Part("o", (rows,), output)
            yield Part("state", (rows,), new_state.reshape(state.shape))

    def forward(self, rows: slice, length: int, carried: dict[tuple[int, int], Tensor]) -> Iterator[Part]:
        """Outputs of a batch slice; the state at the start of every segment goes into `carried`."""
        import torch

        state = self._zero_state(rows)
        for start in range(0, self.case.seq_len, length):
            carried[rows.start, start] = state
            times = slice(start, min(start + length, self.case.seq_len))
            with torch.no_grad():
                output, state = self._segment(self._doubles(self.mechanism.tensors, rows, times), state)
            yield Part("o", (rows, times), output)
            state = state.clone()  # else a view: every carried state would keep those of its whole segment

    def backward(
        self,
        rows: slice,
        length: int,
        carried: dict[tuple[int, int], Tensor],
        output_gradient: Tensor,
    ) -> Iterator[Part]:
        """Gradients of a batch slice from its last segment to its first, those of parameters summed up."""
        import torch

        dims, names = self.mechanism.tensors, self.mechanism.gradients
        state_gradient = self._zero_state(rows)
        for start in reversed(range(0, self.case.seq_len, length)):
            times = slice(start, min(start + length, self.case.seq_len))
            tensors = self._doubles(dims, rows, times)
            state = carried.pop((rows.start, start)).requires_grad_()
            leaves = [tensors[name].requires_grad_() for name in names]
            with torch.enable_grad():
                outputs = self._segment(tensors, state)
            given = (output_gradient[rows, times].double(), state_gradient)
            *gradients, state_gradient = torch.autograd.grad(outputs, [*leaves, state], given)
            for name, gradient in zip(names, gradients, strict=True):
                if "t" in dims[name]:
                    yield Part(f"d{name}", (rows, times), gradient)
                else:
                    self.parameters[name] = self.parameters.get(name, 0) + gradient

    @property
    def _state_shape(self) -> tuple[int, ...]:
        return self.recurrence.state_shape(self.case)

    def _zero_state(self, rows: slice) -> Tensor:
        import torch

        device = next(iter(self.inputs.tensors.values())).device
        return torch.zeros(rows.stop - rows.start, *self._state_shape, dtype=torch.float64, device=device)

    def _doubles(self, dims: Mapping[str, str], rows: slice, times: slice) -> Tensors:
        """The segment of every tensor in float64: its own memory, or the whole where it is a parameter."""
        import torch

        cut = {"b": rows, "t": times}
        return {
            name: self.inputs.tensors[name][tuple(cut.get(dim, slice(None)) for dim in tensor_dims)]
            .detach()
            .to(torch.float64, copy=True)
            for name, tensor_dims in dims.items()
        }

    def _segment(self, tensors: Tensors, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.recurrence.segment(self.case, tensors, self.constants, state)
