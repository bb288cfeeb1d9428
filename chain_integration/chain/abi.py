"""Arguments, results and events of a contract, encoded by its JSON interface."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from eth_abi import decode, encode
from eth_abi.exceptions import EncodingError
from eth_utils import keccak, to_checksum_address
from eth_utils.abi import collapse_if_tuple

from hpu.chain_integration.chain.errors import ChainError

__all__ = ["EventType", "Function", "Interface"]

_Part = dict[str, Any]
#: The same few addresses come again and again, and a checksum is a hash.
_checksummed = functools.lru_cache(maxsize=4096)(to_checksum_address)


class Function:
    """One function, or the constructor when ``entry`` is of that type."""

    def __init__(self, entry: _Part) -> None:
        self.name: str = entry.get("name", "its creation")
        self.inputs: list[_Part] = entry.get("inputs", [])
        self.outputs: list[_Part] = entry.get("outputs", [])
        self._input_types = [collapse_if_tuple(part) for part in self.inputs]
        self._output_types = [collapse_if_tuple(part) for part in self.outputs]
        signature = f"{self.name}({','.join(self._input_types)})"
        self.selector = keccak(text=signature)[:4] if "name" in entry else b""

    def encode(self, arguments: Sequence[Any]) -> bytes:
        """Call data; a struct is given as a mapping by its fields' names, or in their order.

        Raises
        ------
        ChainError
            When an argument is missing, too many, or of another type.
        """
        if len(arguments) != len(self.inputs):
            raise ChainError(
                f"{self.name} must have {len(self.inputs)} arguments, not {len(arguments)}."
            )
        values = [_plain(*pair) for pair in zip(self.inputs, arguments, strict=True)]
        try:
            return self.selector + encode(self._input_types, values)
        except (EncodingError, TypeError) as error:
            raise ChainError(f"an argument of {self.name} cannot be used: {error}.") from error

    def decode(self, data: bytes) -> Any:
        """The result: nothing, one value, or a tuple; structs are dicts by their fields' names."""
        values = decode(self._output_types, data)
        named = [_named(*pair) for pair in zip(self.outputs, values, strict=True)]
        return None if not named else named[0] if len(named) == 1 else tuple(named)


class EventType:
    """One kind of event."""

    def __init__(self, entry: _Part) -> None:
        self.name: str = entry["name"]
        self._indexed = [part for part in entry["inputs"] if part["indexed"]]
        self._rest = [part for part in entry["inputs"] if not part["indexed"]]
        types = ",".join(collapse_if_tuple(part) for part in entry["inputs"])
        self.topic = "0x" + keccak(text=f"{self.name}({types})").hex()
        # Several roles in a process read the same events.
        self._remembered = functools.lru_cache(maxsize=1024)(self._decode)

    def topics(self, wanted: Mapping[str, Any]) -> list[str | None]:
        """A filter's topics for events whose indexed fields have the ``wanted`` values.

        Raises
        ------
        ChainError
            When a field is not indexed.
        """
        names = [part["name"] for part in self._indexed]
        for name in wanted:
            if name not in names:
                raise ChainError(f"{self.name} must be searched by one of {names}, not {name!r}.")
        return [self.topic, *(_topic(part, wanted.get(part["name"])) for part in self._indexed)]

    def decode(self, topics: Sequence[str], data: bytes) -> dict[str, Any]:
        """The event's fields by their names; structs in them are shared, not to be changed."""
        return dict(self._remembered(tuple(topics), data))

    def _decode(self, topics: tuple[str, ...], data: bytes) -> dict[str, Any]:
        indexed = [
            _named(part, decode([part["type"]], bytes.fromhex(topic.removeprefix("0x")))[0])
            for part, topic in zip(self._indexed, topics[1:], strict=True)
        ]
        values = decode([collapse_if_tuple(part) for part in self._rest], data)
        rest = [_named(*pair) for pair in zip(self._rest, values, strict=True)]
        names = [part["name"] for part in [*self._indexed, *self._rest]]
        return dict(zip(names, [*indexed, *rest], strict=True))


class Interface:
    """Functions and events of one contract."""

    def __init__(self, title: str, abi: Sequence[_Part]) -> None:
        self.title = title
        self._functions: dict[tuple[str, int], Function] = {}
        self.events: dict[str, EventType] = {}
        self.constructor = Function({"type": "constructor"})
        for entry in abi:
            if entry["type"] == "function":
                function = Function(entry)
                self._functions[function.name, len(function.inputs)] = function
            elif entry["type"] == "event":
                self.events[entry["name"]] = EventType(entry)
            elif entry["type"] == "constructor":
                self.constructor = Function(entry)

    @functools.cached_property
    def by_topic(self) -> dict[str, EventType]:
        """Kinds of events by their first topic."""
        return {event.topic: event for event in self.events.values()}

    def function(self, name: str, count: int) -> Function:
        """The function ``name``, of those of that name the one with ``count`` arguments.

        Raises
        ------
        ChainError
            When the contract has none of that name.
        """
        if (name, count) in self._functions:
            return self._functions[name, count]
        for (each, _), function in self._functions.items():
            if each == name:
                return function
        raise ChainError(f"The {self.title} contract has no function {name!r}.")

    def event(self, name: str) -> EventType:
        """The kind of event ``name``.

        Raises
        ------
        ChainError
            When the contract has none of that name.
        """
        if name not in self.events:
            raise ChainError(f"The {self.title} contract has no event {name!r}.")
        return self.events[name]


def _plain(part: _Part, value: Any) -> Any:
    """``value`` as the encoder takes it: structs as tuples."""
    if part["type"].endswith("]") and "components" in part:
        inner = {**part, "type": part["type"].rsplit("[", 1)[0]}
        return [_plain(inner, each) for each in value]
    if not part["type"].startswith("tuple"):
        return value
    fields = part["components"]
    if isinstance(value, Mapping):
        value = [_field(value, field["name"]) for field in fields]
    return tuple(_plain(*pair) for pair in zip(fields, value, strict=True))


def _field(value: Mapping[str, Any], name: str) -> Any:
    if name not in value:
        raise ChainError(f"a struct must have the field {name!r}.")
    return value[name]


def _named(part: _Part, value: Any) -> Any:
    """``value`` as the decoder gives it, structs as dicts, addresses with their checksum."""
    if part["type"].endswith("]"):
        inner = {**part, "type": part["type"].rsplit("[", 1)[0]}
        return [_named(inner, each) for each in value]
    if part["type"] == "tuple":
        fields = part["components"]
        pairs = zip(fields, value, strict=True)
        return {field["name"]: _named(field, each) for field, each in pairs}
    return _checksummed(value) if part["type"] == "address" else value


def _topic(part: _Part, value: Any) -> str | None:
    return None if value is None else "0x" + encode([part["type"]], [value]).hex()
