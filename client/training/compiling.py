"""Networks compiled at the site, for its own machine.

PyTorch's inductor writes a network's arithmetic as C++ (for a GPU as Triton's kernels), and the machine's
compiler makes kernels of it. The code is written here, from the network of the approved job; nothing of it
travels.

Each size of a batch has kernels of its own: kernels for any size would depend on which size came first, and a
run that was resumed would have other bits than one that never stopped.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn
from torch._dynamo import config as dynamo
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch._inductor import config as inductor
from torch._inductor.exc import CppCompileError

from shared.errors import SiteError

_MOST_SIZES = 64  # of batches and of networks side by side, each with kernels of its own
_log = logging.getLogger(__name__)


def compiled(model: nn.Module) -> nn.Module:
    """Return a network that computes with compiled kernels; its parameters are those of the one given.

    It is compiled when it first sees a batch, and once more for each other size of batches.
    """
    return cast(nn.Module, torch.compile(model, dynamic=False))


@contextmanager
def compiling(threads: int, site: str) -> Iterator[None]:
    """Let networks be compiled inside, and let what goes wrong say what to do.

    Args:
        threads: Of the kernels.
        site: Its name, for errors.

    Raises:
        SiteError: A network can't be compiled; it is never computed in another way instead.
    """
    of_inductor = inductor.patch(
        {
            "compile_threads": 1,  # helpers side by side would outlive a worker that is killed
            "cpp.threads": threads,
            # Kernels are made of them, and they lie at a name in `/tmp` that anybody could have taken.
            "cpp_cache_precompile_headers": False,
        }
    )
    of_dynamo = dynamo.patch(recompile_limit=_MOST_SIZES, fail_on_recompile_limit_hit=True)
    try:
        with of_inductor, of_dynamo:
            yield
    except (TorchDynamoException, FailOnRecompileLimitHit, CppCompileError) as error:
        _log.error("a network can't be compiled", exc_info=error)
        raise SiteError(
            f"the network can't be compiled here ({type(error).__name__}; the site's log tells more)",
            where=site,
            remedy="Mend the compiler at the site, or take [training] compile out of the job.",
        ) from error
