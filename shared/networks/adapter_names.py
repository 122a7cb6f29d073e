"""The names of a network's tensors with adapters beside its layers, and without (`shared.networks.lora`)."""

from collections.abc import Collection

BASE, DOWN, UP = ".base.", ".down.weight", ".up.weight"


def adapted_layers(names: Collection[str]) -> set[str]:
    """Return the names of the layers that have an adapter, of those of a network's tensors."""
    return {name.removesuffix(DOWN) for name in names if name.endswith(DOWN)} & {
        name.removesuffix(UP) for name in names if name.endswith(UP)
    }


def names_without_adapters(names: Collection[str]) -> dict[str, str]:
    """Return for each tensor that a network has without its adapters the name that it has with them."""
    adapted = adapted_layers(names)
    found = {}
    for name in names:
        layer, base, rest = name.rpartition(BASE)
        if base and layer in adapted:
            found[f"{layer}.{rest}"] = name
        elif not name.endswith((DOWN, UP)) or name.removesuffix(DOWN).removesuffix(UP) not in adapted:
            found[name] = name
    return found
