"""Settings of an encoder as data: one declaration makes arguments, defaults, types and checks."""

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, NamedTuple, get_type_hints

from dld.checks import AT_LEAST_0, COUNT, FLAG, FRACTION, RATE, complaint, no_argument
from dld.errors import DldError

Count = Annotated[int, COUNT]
Share = Annotated[float, FRACTION]
Rate = Annotated[float, RATE]
AtLeast0 = Annotated[float, AT_LEAST_0]
Switch = Annotated[bool, FLAG]


class Named(NamedTuple):
    """What others call a setting: a key of HuggingFace's `config.json`, an argument of torchaudio's constructor."""

    huggingface: str
    torchaudio: str | None = None


@dataclass(frozen=True)
class EncoderConfig:
    """Base of the configurations of encoders: checks its values when it is made and prints itself as YAML.

    A subclass is a frozen dataclass. Each field is annotated with its type and with what it may be, a kind of
    `dld.checks`, and has a default.

    Raises
    ------
    DldError
        A value is not what its field allows, or contradicts another.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Small(EncoderConfig):
    ...     num_blocks: Annotated[int, COUNT] = 12
    ...     kernels: Annotated[list, FRACTION] = 0.5
    >>> print(Small(num_blocks=2))
    num_blocks: 2
    kernels: 0.5
    >>> Small(num_blocks=0)
    Traceback (most recent call last):
    dld.errors.DldError: encoder: num_blocks is 0; it must be a whole number of at least 1
    """

    #: What error messages call the owner of the settings.
    owner: ClassVar[str] = "encoder"

    def __post_init__(self) -> None:
        """Check every value by the kind in its annotation."""
        for name, kind in marks(type(self), "accepts").items():
            value = getattr(self, name)
            wrong = complaint(name, value, kind)
            if wrong:
                raise DldError(f"{self.owner}: {wrong}")
            # Lists become tuples, so that equal configurations are equal wherever they come from.
            object.__setattr__(self, name, _as_tuples(value))
        self.check()

    def check(self) -> None:
        """Raise a `DldError` where values contradict each other, though each is allowed."""

    def __str__(self) -> str:
        """Return the settings as YAML, as an experiment file has them."""
        return "\n".join(f"{field.name}: {json.dumps(getattr(self, field.name))}" for field in fields(self))


def marks(config: type[EncoderConfig], attribute: str) -> dict[str, Any]:
    """Return for each field of a configuration what its annotation holds that has an attribute.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Small(EncoderConfig):
    ...     num_blocks: Annotated[int, COUNT] = 12
    >>> marks(Small, "low")
    {'num_blocks': Whole(low=1, high=None)}
    """
    found = {}
    for name, hint in get_type_hints(config, include_extras=True).items():
        for mark in getattr(hint, "__metadata__", ()):
            if hasattr(mark, attribute):
                found[name] = mark
    return found


def configured(kind: type[EncoderConfig]) -> Callable[[Callable], Callable[..., None]]:
    """Let a constructor that takes a configuration take the configuration's fields as keyword arguments, too.

    Parameters
    ----------
    kind : type
        The class of the configuration. With a configuration and keyword arguments, these replace its values.

    Returns
    -------
    callable
        A decorator of `__init__`. `inspect.signature` of the class returns the fields.

    Raises
    ------
    DldError
        From the constructor, where there is no such field; the message names the nearest one.
    """

    def decorate(init: Callable) -> Callable[..., None]:
        @functools.wraps(init)
        def wrapper(self, *values, **settings):
            for name in settings:
                if name not in kind.__dataclass_fields__:
                    raise DldError(no_argument(type(self), name))
            if values and isinstance(values[0], kind):
                config = replace(*values, **settings)
            else:
                config = kind(*values, **settings)
            init(self, config)

        own, *_ = inspect.signature(init).parameters.values()
        signature = inspect.Signature([own, *inspect.signature(kind).parameters.values()])
        wrapper.__signature__ = signature  # type: ignore[attr-defined]
        return wrapper

    return decorate


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, (list, tuple)) else value
