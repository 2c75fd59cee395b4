"""Lightning Attention-2 in Triton: linear attention with one decay a head, forward, backward and decoding.

Importing needs torch only; calling needs Triton and an NVIDIA GPU (or Triton's interpreter, for tests).
"""

from .interface import lightning_attention, lightning_attention_step

__all__ = ["lightning_attention", "lightning_attention_step"]
