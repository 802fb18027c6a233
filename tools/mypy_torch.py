"""A plugin of mypy for torch (`plugins` in pyproject.toml).

torch declares what is not written in a module class, hence every registered buffer, parameter and submodule, as
`Tensor | Module`, so that each use of one would need a cast. Here it is `Any`. What a class declares itself
(`window: Tensor`) is checked as declared.
"""

from collections.abc import Callable

from mypy.plugin import AttributeContext, Plugin
from mypy.types import AnyType, Type, TypeOfAny, UnionType, get_proper_type

MODULE = "torch.nn.modules.module.Module."


def _registered(context: AttributeContext) -> Type:
    """Return `Any` for what `Module.__getattr__` returns, and the declared type of everything else."""
    declared = get_proper_type(context.default_attr_type)
    return AnyType(TypeOfAny.special_form) if isinstance(declared, UnionType) else declared


class TorchPlugin(Plugin):
    """Give registered attributes of modules the type `Any`."""

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        """Return the hook for attributes that `torch.nn.Module` provides."""
        return _registered if fullname.startswith(MODULE) else None


def plugin(version: str) -> type[Plugin]:
    """Return the plugin class, as mypy asks for it."""
    return TorchPlugin
