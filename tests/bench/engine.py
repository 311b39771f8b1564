"""`python -m tests.bench.engine --workload W1 [--quant nf4] [--peers ours,turns,sequential] --json`."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import torch

from tests.bench.exclusive import alone
from tests.bench.machine import describe_machine, gemm_peak
from tests.bench.options import Subject, add_subject, chosen_subjects
from tests.bench.peers import Peer, make_peer, names
from tests.bench.phases import profile_phases
from tests.bench.ratios import FLOPS_PER_WEIGHT, multiplied_weights, peer_figures, ratios
from tests.bench.rounds import alternate
from tests.bench.table import as_table
from workers.bases.load import TORCH_DTYPES


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the bench, print it, and return what was printed."""
    given = _parser().parse_args(arguments)
    with redirect_stdout(sys.stderr):  # libraries greet on standard output, which is for the report alone
        results = _run(given)
    report = {"command": sys.argv[1:] if arguments is None else list(arguments), **results}
    print(json.dumps(report, indent=1) if given.json else as_table(report))
    return report


def _run(given: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(given.threads)
    machine = describe_machine(given.threads)
    subjects = chosen_subjects(given)
    peers = {name: make_peer(name, subjects[0].host) for name in given.peers}
    peaks: dict[str, float] = {}
    _raise_peaks(peaks)
    results = [_measure(subject, peers, peaks, given) for subject in subjects]
    machine["gemm_peak_tflops"] = {name: round(peak / 1e12, 3) for name, peak in peaks.items()}
    return {"machine": machine, "results": results}


def _raise_peaks(peaks: dict[str, float]) -> None:
    """Measure again and keep the best: neighbours on the machine can only lower it."""
    for kind, dtype in TORCH_DTYPES.items():
        peaks[kind.value] = max(peaks.get(kind.value, 0.0), gemm_peak(dtype))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engine", description=__doc__)
    add_subject(parser)
    parser.add_argument("--peers", type=names, default=names("ours,turns,sequential"), help="ours,turns,sequential,...")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="share of wall by phase, of every peer in this process")
    parser.add_argument("--memory", action="store_true", help="peak memory (R5), each peer in a process of its own")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser


def _measure(
    subject: Subject, peers: Mapping[str, Peer], peaks: dict[str, float], given: argparse.Namespace
) -> dict[str, Any]:
    jobs, host = subject.jobs, subject.host
    rounds = alternate(peers, jobs, given.rounds, _tell)
    _raise_peaks(peaks)
    first = "ours" if "ours" in peers else next(iter(peers))
    result: dict[str, Any] = {
        "workload": subject.workload,
        "base": host.base.id,
        "quantization": host.quantization.value,
        "compute_dtype": host.compute_dtype.value,
        "jobs": len(jobs),
        "job_steps": sum(job.steps for job in jobs),
        "tokens": sum(job.tokens for job in jobs),
        "supervised_tokens": sum(job.supervised for job in jobs),
        "rounds": given.rounds,
        "subject": first,
        "peers": {name: peer_figures(name, rounds, jobs) for name in peers},
    }
    resident = next((peer.base for peer in peers.values() if peer.base is not None), None)
    if resident is not None:
        weights = multiplied_weights(resident.model)
        dtype = str(TORCH_DTYPES[host.compute_dtype]).removeprefix("torch.")
        limit = peaks[host.compute_dtype.value] / (FLOPS_PER_WEIGHT * weights)
        result["limit"] = {"weights": weights, "dtype": dtype, "tokens_per_s": round(limit, 1)}
        result["ratios"] = ratios(first, rounds, jobs, limit)
    if given.profile:
        result["phases"] = {name: profile_phases(peer, jobs) for name, peer in peers.items() if peer.base is not None}
        result.setdefault("ratios", {})["R7_non_compute"] = result["phases"].get(first, {}).get("non_compute")
    if given.memory:
        from tests.bench.memory import compare_memory

        result.setdefault("ratios", {})["R5_memory"] = compare_memory(first, subject.workload, given)
    return result


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    with alone():
        main()
