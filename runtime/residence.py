"""What stands where in the machine's memories, and while which nodes run."""

import msgspec

__all__ = ["SPACES", "Residence"]

#: Memories: the unified buffer (places and sizes in words) and DRAM (in bytes).
SPACES = ("ub", "dram")


class Residence(msgspec.Struct, frozen=True, kw_only=True):
    """Something of ``size`` from ``base`` on, held while the nodes ``first`` … ``last`` run.

    ``kind``: ``tensor``, ``buffer`` (working memory of one node), ``input`` or ``output``. ``name``
    is the ONNX value's, or the node's for a buffer. ``first`` and ``last`` are indices into the
    program's nodes.
    """

    space: str
    kind: str
    name: str
    base: int
    size: int
    first: int
    last: int
