"""The networks that a job may name.

The registry of the options is the list: names, policies, templates, tables of docs and tests follow from it.
Nothing here loads PyTorch; `NetworkOptions.build` does.
"""

from shared.networks.aggregators import (
    AttentionMILOptions,
    CLAMOptions,
    JoinedViewsOptions,
    PoolingOptions,
    RecurrentOptions,
    TransformerOptions,
)
from shared.networks.attention_unet import AttentionUNetOptions
from shared.networks.belief import BeliefNetworkOptions
from shared.networks.capsule import CapsuleOptions
from shared.networks.cascade import CascadeOptions
from shared.networks.class_means import ClassMeansOptions
from shared.networks.cnn import CNNOptions
from shared.networks.cnn_cascade import CNNCascadeOptions
from shared.networks.conv_lstm import ConvLSTMOptions
from shared.networks.dense_unet import DenseUNetOptions
from shared.networks.densenet import DenseNet121Options
from shared.networks.diffusion_unet import DiffusionUNetOptions
from shared.networks.discriminator import DiscriminatorOptions
from shared.networks.dncnn import DnCNNOptions
from shared.networks.dynunet import DynUNetOptions
from shared.networks.efficientnet import EfficientNetB0Options
from shared.networks.efficientnet_lite import EfficientNetLite0Options
from shared.networks.fcn import FCNOptions
from shared.networks.fusion import FusionOptions
from shared.networks.generator import GeneratorOptions
from shared.networks.highresnet import HighResNetOptions
from shared.networks.inception import InceptionOptions
from shared.networks.mednext import MedNeXtOptions
from shared.networks.mlp import MLPOptions
from shared.networks.options import Ends, NetworkOptions
from shared.networks.registration import GlobalNetOptions, VoxelMorphOptions
from shared.networks.resnet import ResNetOptions
from shared.networks.retinanet import RetinaNetOptions
from shared.networks.segnet import SegNetOptions
from shared.networks.segresnet import SegResNetOptions
from shared.networks.segresnet_ds import SegResNetDSOptions
from shared.networks.senet import SENetOptions
from shared.networks.swin_unetr import SwinUNETROptions
from shared.networks.two_paths import TwoPathsOptions
from shared.networks.unet import UNetOptions
from shared.networks.unet_plus_plus import UNetPlusPlusOptions
from shared.networks.unetr import UNETROptions
from shared.networks.varnet import VarNetOptions
from shared.networks.vgg import VGGOptions
from shared.networks.vit import ViTOptions
from shared.networks.vnet import VNetOptions
from shared.networks.vqvae import CodeTransformerOptions, VQVAEOptions
from shared.registry import Registry

__all__ = ["NETWORKS", "Ends", "NetworkOptions", "fitting_networks"]

NETWORKS = Registry(
    "wardround.networks",
    (
        CNNOptions,
        ResNetOptions,
        DenseNet121Options,
        EfficientNetB0Options,
        EfficientNetLite0Options,
        ViTOptions,
        BeliefNetworkOptions,
        UNetOptions,
        DynUNetOptions,
        SegResNetOptions,
        AttentionUNetOptions,
        SwinUNETROptions,
        VNetOptions,
        VoxelMorphOptions,
        GlobalNetOptions,
        DnCNNOptions,
        RetinaNetOptions,
        VGGOptions,
        InceptionOptions,
        SENetOptions,
        CapsuleOptions,
        FCNOptions,
        SegNetOptions,
        TwoPathsOptions,
        CascadeOptions,
        DenseUNetOptions,
        UNetPlusPlusOptions,
        HighResNetOptions,
        MedNeXtOptions,
        SegResNetDSOptions,
        UNETROptions,
        MLPOptions,
        FusionOptions,
        ClassMeansOptions,
        GeneratorOptions,
        DiscriminatorOptions,
        DiffusionUNetOptions,
        VQVAEOptions,
        CodeTransformerOptions,
        CNNCascadeOptions,
        VarNetOptions,
        PoolingOptions,
        AttentionMILOptions,
        TransformerOptions,
        CLAMOptions,
        JoinedViewsOptions,
        RecurrentOptions,
        ConvLSTMOptions,
    ),
    NetworkOptions,  # type: ignore[type-abstract]
)
"""The options of every network, by the name that a job gives."""


def fitting_networks(ends: Ends) -> list[str]:
    """Return the names of the networks that have these ends."""
    return [
        name
        for name, options in NETWORKS.items()
        if options.gives == ends.gives
        and ends.dimensions in options.dimensions
        and ends.stack in options.stacks
    ]
