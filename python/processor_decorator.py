# SPDX-License-Identifier: MIT
"""For existing scripts: the decorators of multiqueue_shm under their older address."""

from multiqueue_shm.decorators import run, sharedmem_consumer, sharedmem_producer, start, stop

__all__ = ["run", "sharedmem_consumer", "sharedmem_producer", "start", "stop"]
