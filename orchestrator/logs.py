"""Logging of the control plane's processes: one JSON object a line, on standard error."""

import sys

import structlog


def configure_logs() -> None:
    """Call once, in `main()`. Tracebacks carry no local variables: those hold keys and tenants' rows."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
