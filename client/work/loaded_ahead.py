"""What the process has loaded from which workers are forked."""

from shared.loading import loading

with loading(for_good=True):
    import monai.networks.nets  # noqa: F401
    import torch._dynamo  # noqa: F401 (which optimisers load)

    import client.work.site_worker  # noqa: F401
