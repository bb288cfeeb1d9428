"""Errors that a user can cause. Each message is one sentence: the thing, and what to do."""

__all__ = ["DeviceError", "HpuError", "HpuWarning", "InputError", "ProgramError"]


class HpuError(Exception):
    """Base of every error that the user, not the project, can put right."""


class ProgramError(HpuError):
    """A program file that is damaged, of another version, or for another configuration."""


class InputError(HpuError):
    """An input of a wrong name, shape or type, or a file that does not hold one."""


class DeviceError(HpuError):
    """A device that cannot run a program, or stopped while running one."""


class HpuWarning(UserWarning):
    """Something that runs, but probably not as the user means it; the message says what to do."""
