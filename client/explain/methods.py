"""The methods that explain a prediction, by the name that people give."""

from collections.abc import Callable, Mapping

from torch import Tensor

from client.explain.by_gradient import expected_gradients, integrated_gradients, smooth_gradient
from client.explain.by_hiding import lime, occlusion
from client.explain.by_layer import attention_rollout, grad_cam
from client.explain.subject import Subject

Method = Callable[[Subject], Tensor]
"""Returns a map (*S): above zero what speaks for the prediction, below what speaks against it."""

METHODS: Mapping[str, Method] = {
    "grad-cam": grad_cam,
    "integrated-gradients": integrated_gradients,
    "smooth-gradient": smooth_gradient,
    "occlusion": occlusion,
    "shap": expected_gradients,
    "lime": lime,
    "attention": attention_rollout,
}
