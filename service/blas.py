"""The environment variables that tell BLAS libraries how many threads to use.

They count only before numpy is loaded, so this module loads nothing.
"""

from __future__ import annotations

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
