"""Who trains the jobs of a workload. A peer holds its own copy of the base and may train again and again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tests.bench.peers.peer import Peer, Run
from workers.contract.spec import HostSpec

__all__ = ["PEERS", "Peer", "Run", "make_peer"]


def _ours(spec: HostSpec) -> Peer:
    from tests.bench.peers.product import ProductPeer, fused_stepper

    return ProductPeer(spec, fused_stepper)


def _turns(spec: HostSpec) -> Peer:
    from tests.bench.peers.product import ProductPeer
    from workers.lanes.solo.stepper import SequentialStepper

    return ProductPeer(spec, SequentialStepper)


def _sequential(spec: HostSpec) -> Peer:
    from tests.bench.peers.sequential import SequentialPeer

    return SequentialPeer(spec)


def _mixed(spec: HostSpec) -> Peer:
    from tests.bench.peers.mixed import MixedPeer

    return MixedPeer(spec)


def _process(spec: HostSpec) -> Peer:
    from tests.bench.peers.process import ProcessPeer

    return ProcessPeer(spec)


PEERS: Final[Mapping[str, Callable[[HostSpec], Peer]]] = {
    "ours": _ours,
    "turns": _turns,
    "sequential": _sequential,
    "process": _process,
    "mixed": _mixed,
}


def make_peer(name: str, spec: HostSpec) -> Peer:
    """Load the base for the peer called `name`. Raises KeyError."""
    return PEERS[name](spec)


def names(text: str) -> Sequence[str]:
    """The peers of a comma-separated list. Raises ValueError for one that does not exist."""
    chosen = tuple(part for part in text.split(",") if part)
    if unknown := sorted(set(chosen) - set(PEERS)):
        raise ValueError(f"no peer is called {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return chosen
