"""Ports that tests give to their servers."""

import subprocess
import sys
from pathlib import Path

from tests.builders.ports import FIRST, LAST, _claim, claimed_port, claimed_ports

ROOT = Path(__file__).parents[2]


def test_no_port_is_given_twice():
    ports = [*claimed_ports(3), claimed_port(), *claimed_ports(2)]
    assert len(set(ports)) == 6
    assert all(FIRST <= port < LAST for port in ports)


def test_a_port_is_not_given_to_another_process():
    port = claimed_port()
    asked = f"from tests.builders.ports import _claim; print(_claim({port}))"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
    assert not _claim(port)
