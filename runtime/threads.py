"""BLAS threads. The functional machine's products are small: more threads only wait for each other.

On a busy machine two BLAS threads made the demo twenty times slower than one.
"""

import contextlib
import functools

from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread"]


def one_blas_thread() -> contextlib.AbstractContextManager[object]:
    """A context in which numpy's BLAS uses one thread."""
    return _controller().limit(limits=1, user_api="blas")


@functools.cache
def _controller() -> ThreadpoolController:
    """Finding the libraries takes milliseconds, so it is done once, after numpy is loaded."""
    return ThreadpoolController()
