"""Several processes on one task, as `accelerate launch` starts them; a process alone does nothing
here.

Every process computes its own share of each batch; averages and gathered rows are the same bits on
all of them, so that weights, alpha and memories stay equal without ever being sent.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from msinet_core.errors import Elsewhere, ReidError

TIMEOUT = "MSINET_TIMEOUT"  # environment: seconds to wait for the other processes
DEFAULT_TIMEOUT = 600.0
LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Processes:
    """This process's place among `size` processes; `device` is its own where there are several."""

    rank: int = 0
    size: int = 1
    device: torch.device | None = None

    @property
    def is_main_process(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, in place, by its mean over the processes. All are of one type."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        means = self._together("reduce", flat).split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.detach().copy_(mean.view(tensor.shape))

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value's mean over the processes; the names are the same on all."""
        if self.size == 1:
            return dict(values)
        numbers = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        return dict(zip(values, self._together("reduce", numbers).tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        return flag if self.size == 1 else self.mean({"flag": float(flag)})["flag"] > 0

    def all_gather(self, x: Tensor) -> Tensor:
        """Every process's rows in the order of ranks: N x ... -> (size * N) x ..., N being the same
        on all.
        """
        return x if self.size == 1 else self._together("gather", x.detach().contiguous())

    def all_gather_rows(self, rows: np.ndarray) -> np.ndarray:
        """The same for parts of different lengths (some may be empty): N_rank x D, float32 -> sum
        of N x D.
        """
        if self.size == 1:
            return rows
        shapes = self.all_gather(torch.tensor([rows.shape], device=self.device)).tolist()
        most, length = (max(numbers) for numbers in zip(*shapes, strict=True))
        padded = torch.zeros(most, length, device=self.device)
        if len(rows):
            padded[: len(rows)] = torch.from_numpy(rows)
        everyones = self.all_gather(padded).cpu().numpy().reshape(self.size, most, length)
        parts = [part[:count] for part, (count, _) in zip(everyones, shapes, strict=True)]
        return np.concatenate(parts)

    def broadcast(self, content: bytes) -> bytes:
        """What the main process gives, on all."""
        if self.size == 1:
            return content
        length = self._together("broadcast", torch.tensor([len(content)], device=self.device))
        data = torch.empty(int(length), dtype=torch.uint8, device=self.device)
        if self.is_main_process and content:
            data.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        return self._together("broadcast", data).cpu().numpy().tobytes()

    def on_main_process(self, action: Callable[[], None]) -> None:
        """Let the main process act while the others wait; a `ReidError` of its ends all."""
        failure: ReidError | None = None
        if self.is_main_process:
            try:
                action()
            except ReidError as error:
                if self.size == 1:
                    raise
                failure = error
        said = self.broadcast(str(failure).encode() if failure else b"")
        if failure:
            raise failure
        if said and not self.is_main_process:
            raise Elsewhere(said.decode())

    def require_equal(self, digest: bytes, what: str) -> None:
        """`ReidError` unless all processes give the same bytes (of one length)."""
        if self.size == 1:
            return
        mine = torch.tensor(list(digest), dtype=torch.uint8, device=self.device)
        everyones = self.all_gather(mine[None])
        if not bool((everyones == everyones[0]).all()):
            raise ReidError(
                f"{what} differ between the {self.size} processes; they must run the same version "
                "on devices of one kind. The last checkpoint is whole"
            )

    def _together(self, operation: str, x: Tensor) -> Tensor:
        """accelerate's `reduce` (the mean), `gather` or `broadcast`; says what it means when the
        others do not answer.
        """
        from accelerate import utils  # slow to import, and a plain process has no use for it

        try:
            return getattr(utils, operation)(x)
        except RuntimeError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ReidError(
                f"process {self.rank} of {self.size} lost the others: one of them ended, or did "
                f"not answer within {_timeout():.0f} s ({lines[0][:200]}). See what that one "
                "printed last, then continue with --resume from the last checkpoint"
            ) from error


ALONE = Processes()


def join(cpu: bool = False) -> Processes:
    """The processes that this one was started with; `ALONE` for a plain process.

    cpu: compute on the processor although there is a GPU (Apple's is for one process alone). The
        first call connects the processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        return ALONE
    from accelerate import PartialState  # slow to import, and a plain process has no use for it

    try:
        patience = timedelta(seconds=_timeout())
        shared = torch.cuda.is_available() or torch.xpu.is_available()
        state = PartialState(cpu=cpu or not shared, timeout=patience, **_on_loopback(patience))
    except (RuntimeError, ValueError, OSError) as error:
        raise ReidError(
            f"the {os.environ['WORLD_SIZE']} processes could not be connected ({error}); start "
            "them with `accelerate launch --multi_gpu --num_processes N -m msinet_core.cli ...`"
        ) from error
    return Processes(state.process_index, state.num_processes, state.device)


def _on_loopback(patience: timedelta) -> dict[str, Any]:
    """Where the processes are to meet on this machine, a meeting place that no other machine
    reaches: torch's own listens on every interface, whatever the address says. (A launcher that
    keeps the meeting place itself, as torchrun's does, decides where it listens.)
    """
    environment = os.environ
    if environment.get("MASTER_ADDR") not in LOOPBACK or os.name == "nt":
        return {}
    if distributed.is_initialized():  # they met before, for an earlier run
        return {}
    inner = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if inner:
        environment.setdefault("GLOO_SOCKET_IFNAME", inner[0])
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return {}
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    port = int(environment.get("MASTER_PORT", "29500"))
    listening: dict[str, Any] = {}
    if rank == 0:
        listening = {"master_listen_fd": socket.create_server((LOOPBACK[0], port)).detach()}
    store = distributed.TCPStore(
        LOOPBACK[0], port, size, rank == 0, patience, wait_for_workers=False, **listening
    )
    return {"store": store, "rank": rank, "world_size": size}


def leave() -> None:
    """Close the connection to the other processes, if there is one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _timeout() -> float:
    try:
        return float(os.environ.get(TIMEOUT, DEFAULT_TIMEOUT))
    except ValueError as error:
        raise ReidError(
            f"the environment's {TIMEOUT} is {os.environ[TIMEOUT]!r}; it is a number of seconds"
        ) from error
