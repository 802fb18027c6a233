"""Read the settings of a finished experiment as data: nothing that the file names is imported or run.

`hyperparams.yaml` keeps its tags, so that the run can be repeated from it. Of what has a tag, only what makes up the
network is built, and only from the classes in `CLASSES`; the rest is data, see `dld.config.plain`.
"""

import inspect
from typing import Any

import torch
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from dld.checks import no_argument
from dld.config.plain import PlainSettings, is_object, one_line, shown, tag_of
from dld.encoders import GatedConformer, GatedEncoder, GatedWavLM, GatedWhisper
from dld.errors import DldError
from dld.frontends import GlobalCMVN, KaldiFbank, LogMel, UtteranceCMVN, Waveform, WhisperLogMel
from dld.network import GatedCTC

LARGEST_NUMBER = 1_000_000
#: Arguments by which something is built before its shape can be compared with the weights: smallest and largest value.
BOUNDS = {
    "num_blocks": (1, 1_000),
    "n_mels": (1, 1_000),
    "n_features": (1, 1_000),
    "n_fft": (1, 100_000),
    "window_ms": (0.1, 1_000),
    "hop_ms": (0.1, 1_000),
}

#: Name in the file → class that a network may be built from. None opens a path or imports a name that it is given.
CLASSES: dict[str, type] = {}


def allow(cls: type) -> type:
    """Let networks of finished experiments be built from a class of your own; a decorator.

    Its arguments come from the file, so it must not open a path or import a name that it is given.
    """
    CLASSES[f"{cls.__module__}.{cls.__qualname__}"] = cls
    return cls


_cls: type
for _cls in (GatedConformer, GatedWavLM, GatedWhisper):
    CLASSES[f"dld.encoders.{_cls.__name__}"] = allow(_cls)
for _cls in (KaldiFbank, LogMel, Waveform, WhisperLogMel, UtteranceCMVN, GlobalCMVN):
    CLASSES[f"dld.frontends.{_cls.__name__}"] = allow(_cls)
    # The name before version 0.2.
    CLASSES[f"dld.features.{_cls.__name__}"] = _cls
allow(GatedCTC)


class Settings(PlainSettings):
    """The settings of a finished experiment, and the network that they describe; see `PlainSettings`."""

    def network(self, shapes: dict[str, tuple[torch.Size, torch.dtype]] | None = None) -> GatedCTC:
        """Build the network.

        Parameters
        ----------
        shapes : dict of str to (torch.Size, torch.dtype), optional
            Shapes of the weights to load, compared before memory is taken for a network of another size.

        Returns
        -------
        GatedCTC

        Raises
        ------
        DldError
            The file asks for anything but a `GatedCTC` made of `CLASSES`, or it does not fit `shapes`.
        """
        node = self._network_node()
        # The weights are loaded afterwards: what initialises them must not change the caller's random numbers.
        with torch.random.fork_rng(devices=[]):
            if shapes is not None:
                self._compare(self._network(node, "meta"), shapes)
            return self._network(node, "cpu")

    def check_network(self) -> None:
        """Raise as `network` would, without taking memory for it."""
        with torch.random.fork_rng(devices=[]):
            self._network(self._network_node(), "meta")

    def _network_node(self) -> Node:
        node = dict(self._pairs(self.root)).get("network")
        if node is None:
            raise DldError(f"{self.path}: missing key 'network'; train again, or copy the whole experiment")
        return node

    def _network(self, node: Node, device: str) -> GatedCTC:
        network = self._build(node, "network", device, {})
        if not isinstance(network, GatedCTC):
            raise DldError(f"{self._where(node, 'network')}: is not a dld.network.GatedCTC")
        return network

    def _build(self, node: Node, key: str, device: str, built: dict[int, Any]) -> Any:
        """Build what a node of the network describes; on the device "meta" encoder and head take no memory."""
        if not is_object(node):
            if isinstance(node, MappingNode):
                return {name: self._build(child, f"{key}.{name}", device, built) for name, child in self._pairs(node)}
            if isinstance(node, SequenceNode):
                return [self._build(child, f"{key}[{i}]", device, built) for i, child in enumerate(node.value)]
            return self._argument(node, key)
        if id(node) not in built:
            cls = self._class(node, key)
            names: dict[str, Any] = {}
            arguments: list[Any] = []
            if isinstance(node, MappingNode):
                names = {name: self._build(child, f"{key}.{name}", device, built) for name, child in self._pairs(node)}
            elif isinstance(node, SequenceNode):
                arguments = [self._build(child, f"{key}[{i}]", device, built) for i, child in enumerate(node.value)]
            try:
                bound = _bind(cls, arguments, names)
                _check_bounds(bound.arguments)
                # Front ends compute filters when they are built, so they are always real; they are small.
                with torch.device(device if issubclass(cls, (GatedEncoder, GatedCTC)) else "cpu"):
                    built[id(node)] = cls(*bound.args, **bound.kwargs)
            except Exception as error:  # whatever a constructor makes of a value is a mistake in the file
                raise DldError(
                    f"{self._where(node, key)}: {tag_of(node)[5:]} cannot be built: {one_line(error)}"
                ) from None
        return built[id(node)]

    def _class(self, node: Node, key: str) -> type:
        kind, name = tag_of(node)[1:].split(":", 1)
        if kind != "new" or name not in CLASSES:
            raise DldError(
                f"{self._where(node, key)}: {shown(tag_of(node))} is not one of the classes that the network of a "
                "finished experiment is built from (dld.saved.CLASSES); if it is yours, name it with dld.saved.allow"
            )
        return CLASSES[name]

    def _argument(self, node: Node, key: str) -> Any:
        value = self._scalar(node, key)
        if isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:
            raise DldError(f"{self._where(node, key)}: {shown(node.value)} is larger than any setting of a network")
        return value

    def _compare(self, network: GatedCTC, shapes: dict[str, tuple[torch.Size, torch.dtype]]) -> None:
        own = {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
        wrong = sorted(set(own) ^ set(shapes)) or sorted(name for name in own if own[name] != shapes[name])
        if wrong:
            raise DldError(
                f"{self.path}: the network it describes does not fit the weights next to it: {len(wrong)} tensors "
                f"differ, the first is {shown(wrong[0])}; copy the whole experiment again"
            )


def _bind(cls: type, arguments: list, names: dict[str, Any]) -> inspect.BoundArguments:
    """Return arguments by their names, an error naming the nearest one where there is no such argument."""
    signature = inspect.signature(cls)
    for name in names:
        if name not in signature.parameters:
            raise DldError(no_argument(cls, name))
    return signature.bind(*arguments, **names)


def _check_bounds(arguments: dict[str, Any]) -> None:
    for name, (low, high) in BOUNDS.items():
        value = arguments.get(name)
        if value is not None and (type(value) not in (int, float) or not low <= value <= high):
            raise DldError(f"{name} must be a number from {low} to {high}")
