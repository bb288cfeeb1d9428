"""From Amaranth to Verilog, with every replicated block emitted once.

A flat machine of 65,536 PEs takes hours to build. So a block that stands many times in a machine (PE
tile, lane group, buffer bank) is put in its parent with :func:`instance`, which leaves a black box
of the block's name there, and :func:`verilog` writes the block's own module once.
"""

from amaranth.back import verilog as backend
from amaranth.hdl import ClockSignal, Fragment, Instance, ResetSignal, Value
from amaranth.lib import wiring

__all__ = ["instance", "verilog"]


def instance(component: wiring.Component, name: str) -> Instance:
    """``component`` as a black box called ``name``, connected to the component's own port signals.

    The parent drives and reads ``component``'s ports as if it were an ordinary submodule. Components
    of one name must be built from equal parameters: only the first is emitted.
    """
    ports = []
    for path, member, value in component.signature.flatten(component):
        kind = "i" if member.flow == wiring.In else "o"
        ports.append((kind, "__".join(map(str, path)), Value.cast(value)))
    box = Instance(name, ("i", "clk", ClockSignal()), ("i", "rst", ResetSignal()), *ports)
    box.component = component
    component._MustUse__used = True  # it is elaborated by verilog(), not by its parent
    return box


def verilog(top: wiring.Component, name: str = "top") -> dict[str, str]:
    """Verilog text of ``top`` and of every block below it, by module name; ``name`` comes first."""
    texts: dict[str, str] = {}
    _emit(top, name, texts)
    return texts


def _emit(component: wiring.Component, name: str, texts: dict[str, str]) -> None:
    texts[name] = ""  # holds the place: parents before children
    texts[name] = backend.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    for box in _boxes(Fragment.get(component, platform=None)):
        if box.type not in texts:
            _emit(box.component, box.type, texts)


def _boxes(fragment: Fragment):
    for child, _name, _src in fragment.subfragments:
        if isinstance(child, Instance) and hasattr(child, "component"):
            yield child
        else:
            yield from _boxes(child)
