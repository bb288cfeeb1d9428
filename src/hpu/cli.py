"""The command ``hpu``: one verb per file in ``runtime/cli_*.py``, loaded when it is used."""

import importlib
import os
import sys
import warnings
from typing import Any

import click

from hpu import __version__

__all__ = ["cli", "main"]

#: Verb → module and the click command in it.
_VERBS = {
    "check": ("hpu.runtime.cli_compile", "check"),
    "compile": ("hpu.runtime.cli_compile", "compile_command"),
    "run": ("hpu.runtime.cli_run", "run"),
    "quantise": ("hpu.runtime.cli_quantise", "quantise"),
    "compare": ("hpu.runtime.cli_compare", "compare"),
    "profile": ("hpu.runtime.cli_profile", "profile"),
    "asm": ("hpu.runtime.cli_asm", "asm"),
    "disasm": ("hpu.runtime.cli_asm", "disasm"),
    "rtl": ("hpu.runtime.cli_rtl", "rtl"),
    "fpga": ("hpu.runtime.cli_fpga_build", "fpga"),
    "hw": ("hpu.runtime.cli_hw", "hw"),
    "keys": ("hpu.chain_integration.cli_keys", "keys"),
    "chain": ("hpu.chain_integration.cli_chain", "chain"),
    "node": ("hpu.chain_integration.cli_roles", "node"),
    "retriever": ("hpu.chain_integration.cli_roles", "retriever"),
    "verifier": ("hpu.chain_integration.cli_roles", "verifier"),
    "order": ("hpu.chain_integration.cli_order", "order"),
}


class _Verbs(click.Group):
    """Loads a verb's module when the verb is used, and turns users' errors into one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            return None
        module, attribute = _VERBS[name]
        return getattr(importlib.import_module(module), attribute)

    def invoke(self, ctx: click.Context) -> Any:
        from hpu.runtime.errors import HpuError, HpuWarning

        with warnings.catch_warnings():
            warnings.simplefilter("always", HpuWarning)
            warnings.showwarning = _show
            try:
                return super().invoke(ctx)
            except HpuError as error:
                raise _Refusal(str(error)) from error


def _show(message: Warning | str, category: type[Warning], *place: Any, **_more: Any) -> None:
    """A warning as one line on stderr."""
    click.echo(f"Warning: {message}", err=True)


class _Refusal(click.ClickException):
    """A user's error: one sentence on stderr, exit status 2."""

    exit_code = 2


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="hpu")
def cli() -> None:
    """Compile ONNX networks for the HAI HPU, run them and see where the time goes.

    \b
    Examples:
      hpu check model.onnx
      hpu compile model.onnx -o model.hpu
      hpu run model.hpu --input x.npz --output y.npz
      hpu compare model.onnx --input x.npz
      hpu profile model.hpu --device rtl --html report.html
    """


def main() -> None:
    """Entry point: quiet when the reader of a pipe goes away."""
    try:
        cli()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
