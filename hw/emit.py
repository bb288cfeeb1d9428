"""From Amaranth to Verilog, with every replicated block emitted once.

A flat machine of 65,536 PEs takes hours to build. So a block that stands many times in a machine
(PE tile, lane group, buffer bank) is put in its parent with :func:`instance`, which leaves a black
box of the block's name there, and :func:`verilog` writes the block's own module once.
"""

import re

from amaranth.back import verilog as backend
from amaranth.hdl import ClockSignal, Fragment, Instance, ResetSignal, Value
from amaranth.lib import wiring

__all__ = ["instance", "verilog"]


#: Yosys writes one line per word of a memory's initial contents.
_ZERO_WORDS = re.compile(r"  initial begin\n((?:    (?:\\\S+ |\w+)\[\d+\] = \d+'h0+;\n)+)  end\n")
_LAST_WORD = re.compile(r"    (\S+ ?)\[(\d+)\] = (\d+)'h0+;\n\Z")


def instance(
    component: wiring.Component, name: str, *, within: bool = False, domain: str = "sync"
) -> Instance:
    """``component`` as a black box called ``name``, connected to the component's own port signals.

    The parent drives and reads ``component``'s ports as if it were an ordinary submodule.
    Components of one name must be built from equal parameters: only the first is emitted. With
    ``within`` the module's text is part of its parent's (a memory that stands many times in one
    block and is too small for a block of its own); only one block may have it then. Its ``sync``
    is the parent's ``domain``.
    """
    ports = []
    for path, member, value in component.signature.flatten(component):
        kind = "i" if member.flow == wiring.In else "o"
        ports.append((kind, "__".join(map(str, path)), Value.cast(value)))
    clock, reset = ClockSignal(domain), ResetSignal(domain)
    box = Instance(name, ("i", "clk", clock), ("i", "rst", reset), *ports)
    box.component, box.within = component, within
    component._MustUse__used = True  # it is elaborated by verilog(), not by its parent
    return box


def verilog(top: wiring.Component, name: str = "top") -> dict[str, str]:
    """Verilog text of ``top`` and of every block below it, by module name; ``name`` comes first."""
    texts: dict[str, str] = {}
    _emit(top, name, texts)
    return texts


def _emit(component: wiring.Component, name: str, texts: dict[str, str]) -> None:
    texts[name] = ""  # holds the place: parents before children
    texts[name] = _text(component, name)
    inner: set[str] = set()
    for box in _boxes(Fragment.get(component, platform=None)):
        if box.within and box.type not in inner:
            inner.add(box.type)
            texts[name] += _text(box.component, box.type)
        elif not box.within and box.type not in texts:
            _emit(box.component, box.type, texts)


def _text(component: wiring.Component, name: str) -> str:
    text = backend.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    return _ZERO_WORDS.sub(_zero_loop, text)


def _zero_loop(found: re.Match) -> str:
    """The same memory set to zero by a loop: a large one's text is otherwise megabytes."""
    last = _LAST_WORD.search(found[1])
    if last is None or found[1].count("\n") != int(last[2]) + 1:
        return found[0]
    loop = f"for (word = 0; word <= {last[2]}; word = word + 1)"
    label = re.sub(r"\W", "_", last[1].strip())
    return (
        f"  initial begin : zero_{label}\n    integer word;\n"
        f"    {loop}\n      {last[1]}[word] = {last[3]}'h0;\n  end\n"
    )


def _boxes(fragment: Fragment):
    for child, _name, _src in fragment.subfragments:
        if isinstance(child, Instance) and hasattr(child, "component"):
            yield child
        else:
            yield from _boxes(child)
