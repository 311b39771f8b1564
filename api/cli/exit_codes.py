"""The exit codes of `orchard`. Scripts depend on them: never renumber."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit code of the process."""

    OK = 0
    ERROR = 1
    USAGE = 2
    JOB_FAILED = 3
    AUTH = 4
    QUOTA = 5


EPILOG = (
    "Exit codes: 0 done; 1 error; 2 wrong usage or an invalid job file; 3 the job failed or was cancelled; "
    "4 the key is missing, wrong or not allowed; 5 quota or rate limit. "
    "Settings: flag, then ORCHARD_URL / ORCHARD_API_KEY / ORCHARD_ADMIN_KEY / ORCHARD_PROFILE, then the profile file."
)
