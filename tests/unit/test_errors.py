"""The error tree of the workers: codes, retryability, and survival across processes."""

import pickle

import pytest

from workers.contract import errors
from workers.contract.errors import DataError, ErrorCode, InfraError, UserError, WorkerError
from workers.contract.rows import RowIssue


def classes(root: type[WorkerError] = WorkerError) -> list[type[WorkerError]]:
    return [root, *(each for child in root.__subclasses__() for each in classes(child))]


@pytest.mark.parametrize("error", classes(), ids=lambda cls: cls.__name__)
def test_every_error_survives_pickling_and_has_a_message(error: type[WorkerError]):
    copy = pickle.loads(pickle.dumps(error("line 3: too long")))
    assert type(copy) is error
    assert str(copy) == "line 3: too long"
    assert str(error()).endswith(".")
    assert error.code in set(ErrorCode)


def test_a_data_error_keeps_its_lines_across_processes():
    issue = RowIssue(line=7, field="messages", code="too_long", message="300 tokens, 128 allowed")
    copy = pickle.loads(pickle.dumps(DataError("1 bad line", [issue])))
    assert copy.issues == (issue,)


def test_no_user_error_is_retried():
    assert not any(error.retryable for error in classes(UserError))


def test_every_concrete_error_is_the_users_or_the_machinerys():
    loose = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, WorkerError)]
    assert all(issubclass(e, UserError | InfraError) for e in loose if e is not WorkerError)
