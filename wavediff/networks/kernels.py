"""Sizes of convolution kernels."""

LONGEST = 1023  # beyond what any network of the field has, and within any memory


def check_kernel(size: int, name: str = "kernel_size") -> None:
    """Check the size of a kernel.

    Raises:
        ValueError: unless it is 1 to ``LONGEST``.
    """
    if not 1 <= size <= LONGEST:
        raise ValueError(f"{name} must be 1 to {LONGEST}, not {size}")
