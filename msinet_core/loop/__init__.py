"""What search and training share: devices, schedules, data for a run, stopping, resuming, the loop."""

from msinet_core.errors import Stopped
from msinet_core.loop.averages import Averages
from msinet_core.loop.devices import (
    autocast,
    choose_device,
    compile_if_asked,
    descent,
    keep_freed_memory,
    memory_format,
    products_as_asked,
    worker_threads,
)
from msinet_core.loop.epochs import Progress, carry_out, run_epochs
from msinet_core.loop.feeding import (
    augmentation_of,
    cache_of,
    open_dataset,
    step_paths,
    training_batches,
    usable_identities,
)
from msinet_core.loop.replaying import Replayed
from msinet_core.loop.resuming import begin, claimed, save, shared_checkpoint
from msinet_core.loop.schedule import Schedule
from msinet_core.loop.stopping import Stop
from msinet_core.loop.worker import Worker

__all__ = [
    "Averages",
    "Progress",
    "Replayed",
    "Schedule",
    "Stop",
    "Stopped",
    "Worker",
    "augmentation_of",
    "autocast",
    "begin",
    "cache_of",
    "carry_out",
    "choose_device",
    "claimed",
    "compile_if_asked",
    "descent",
    "keep_freed_memory",
    "memory_format",
    "open_dataset",
    "products_as_asked",
    "run_epochs",
    "save",
    "shared_checkpoint",
    "step_paths",
    "training_batches",
    "usable_identities",
    "worker_threads",
]
