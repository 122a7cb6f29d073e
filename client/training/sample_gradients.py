"""Per-sample gradients and their norms: Opacus' hooks, with convolutions that suit a processor.

Opacus unfolds the images for a convolution, and runs transposed ones through functorch. Here each image's
gradient is one call of the convolution's own backward pass: on one core that took 0.6 to 0.9 of the time of
a step (U-Net, 128 x 128), and needs no unfolded copy.
"""

import math
from collections.abc import Sequence

import torch
from opacus.grad_sample import GradSampleHooks, GradSampleHooksFastGradientClipping
from opacus.grad_sample.conv import compute_conv_grad_sample
from opacus.utils.tensor_utils import unfold2d, unfold3d
from torch import Tensor, nn

_TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, *_TRANSPOSED)
_Convolution = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
_Values = dict[Tensor, Tensor]  # by parameter


def convolution_gradients(layer: _Convolution, activations: list[Tensor], backprops: Tensor) -> _Values:
    """Return the gradients (B, ...) of a convolution's parameters, one a sample.

    Args:
        layer: 2D or 3D, transposed or not.
        activations: Its input (B, C, *S), in a list as Opacus has it.
        backprops: Gradient of the summed loss by its output (B, K, *T).
    """
    images = activations[0]
    if images.is_cuda and not layer.transposed:  # many small kernels would keep a GPU waiting
        gradients: _Values = compute_conv_grad_sample(layer, activations, backprops)
        return gradients
    weights = images.new_empty((len(images), *layer.weight.shape))
    for image, backprop, weight in zip(images.split(1), backprops.split(1), weights, strict=True):
        _, gradient, _ = torch.ops.aten.convolution_backward(
            backprop,
            image,
            layer.weight,
            None,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.transposed,
            layer.output_padding,
            layer.groups,
            [False, True, False],
        )
        weight.copy_(gradient)
    return {layer.weight: weights} | _bias(layer, backprops)


def convolution_norms(layer: _Convolution, activations: list[Tensor], backprops: Tensor) -> _Values:
    """Return the norms (B,) of the gradients of a convolution's parameters, one a sample.

    Where the output has few positions T, the norm comes from two Gram matrices (T, T) and the gradient
    is never made: ghost clipping. Elsewhere the gradient is the smaller of the two (Bu et al. 2022,
    "Scalable and efficient training of large convolutional neural networks with differential privacy",
    section 4).
    """
    positions = math.prod(backprops.shape[2:])
    plain = isinstance(layer, nn.Conv2d | nn.Conv3d) and layer.groups == 1
    if not plain or 2 * positions**2 >= layer.weight.numel():
        gradients = convolution_gradients(layer, activations, backprops)
        return {parameter: gradient.flatten(1).norm(dim=1) for parameter, gradient in gradients.items()}
    unfold = unfold2d if isinstance(layer, nn.Conv2d) else unfold3d
    columns = unfold(
        activations[0],
        kernel_size=layer.kernel_size,
        padding=layer.padding,
        stride=layer.stride,
        dilation=layer.dilation,
    )  # (B, C times the kernel's size, T)
    # In double precision: what cancels in this sum would make a norm look smaller than it is.
    columns, outer = columns.double(), backprops.flatten(2).double()
    squares = (columns.mT @ columns) * (outer.mT @ outer)
    norms = {layer.weight: squares.sum((1, 2)).clamp(min=0).sqrt().float()}
    return norms | {
        parameter: gradient.norm(dim=1) for parameter, gradient in _bias(layer, backprops).items()
    }


def _bias(layer: _Convolution, backprops: Tensor) -> _Values:
    return {} if layer.bias is None else {layer.bias: backprops.flatten(2).sum(2)}


class SampleGradients(GradSampleHooks):
    """Knows each sample's gradient (B, ...) by every parameter after a backward pass."""

    GRAD_SAMPLERS = GradSampleHooks.GRAD_SAMPLERS | dict.fromkeys(_CONVOLUTIONS, convolution_gradients)

    def collect(self, parameters: Sequence[nn.Parameter]) -> list[Tensor | None]:
        """Return what the last backward pass left, and forget it; None where that was nothing, or not all."""
        return _collect(self._module, parameters, "grad_sample")


class SampleNorms(GradSampleHooksFastGradientClipping):
    """Knows the norm of each sample's gradient after a backward pass; holds those of one layer at a time."""

    GRAD_SAMPLERS = SampleGradients.GRAD_SAMPLERS
    NORM_SAMPLERS = GradSampleHooksFastGradientClipping.NORM_SAMPLERS | dict.fromkeys(
        _CONVOLUTIONS, convolution_norms
    )

    def collect(self, parameters: Sequence[nn.Parameter]) -> list[Tensor | None]:
        """Return what the last backward pass left, and forget it; None where that was nothing, or not all."""
        return _collect(self._module, parameters, "_norm_sample")

    def capture_activations_hook(
        self, module: nn.Module, forward_input: list[Tensor], forward_output: Tensor
    ) -> None:
        """Keep a layer's input. Opacus refuses a layer that is used twice; here a trial finds it."""
        GradSampleHooks.capture_activations_hook(self, module, forward_input, forward_output)


def whole(found: Sequence[Tensor | None]) -> list[Tensor]:
    """Return what was found of every parameter.

    Raises:
        ValueError: Something is missing, which a trial would have shown.
    """
    said = [value for value in found if value is not None]
    if len(said) < len(found):
        raise ValueError("the hooks lack the gradients of a parameter that they had before")
    return said


def _collect(model: nn.Module, parameters: Sequence[nn.Parameter], name: str) -> list[Tensor | None]:
    partly: set[nn.Parameter] = set()
    for module in model.modules():
        if vars(module).pop("activations", None):  # of a call that no backward pass has come by
            partly.update(module.parameters())
        vars(module).pop("max_batch_len", None)
    found: list[Tensor | None] = []
    for parameter in parameters:
        value = getattr(parameter, name, None)
        found.append(value if isinstance(value, Tensor) and parameter not in partly else None)
        for left in ("_current_grad_sample", "_norm_sample"):
            vars(parameter).pop(left, None)
        vars(parameter).update(grad_sample=None, _forward_counter=0)
    return found
