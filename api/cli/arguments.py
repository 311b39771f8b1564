"""Arguments that several commands share."""

from pathlib import Path
from typing import Any

from api.cli.errors import CliError, ExitCode


def absolute(name: str | None) -> str | None:
    """A path given on the command line is relative to the working folder, not to the job file."""
    return str(Path(name).absolute()) if name and Path(name).is_file() else name


def assignment(text: str) -> tuple[str, Any]:
    """`training.warmup_ratio=0.1` -> field and value, read as YAML. Raises CliError."""
    import yaml

    field, equals, value = text.partition("=")
    if not equals or not field.strip():
        raise missing_argument(f"--set {text} names no field and value", "write --set training.warmup_ratio=0.1")
    try:
        return field.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise missing_argument(f"--set {text}: the value is no YAML", "quote it as you would in a job file") from None


def missing_argument(message: str, hint: str) -> CliError:
    """What the command line lacks or has wrong."""
    return CliError(message, code="missing_argument", hint=hint, exit_code=ExitCode.USAGE)
