"""The bench runs, and its peers train the same thing: a comparison of different work would be worthless."""

import json
import mmap
from pathlib import Path

import psutil
import pytest
import torch

from tests.bench import attach, engine
from tests.bench.encode import __main__ as encode
from tests.bench.encode import memory as encode_memory
from tests.bench.memory import PeakSampler
from tests.bench.spread import spread
from tests.bench.workloads import Scale, make_jobs, shortened
from tests.builders.waiting import wait_until

SMALL = ["--base", "mini", "--quant", "fp32", "--jobs", "2", "--steps", "2", "--threads", "1", "--json"]


@pytest.fixture(autouse=True)
def own_cache_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("tests.bench.machine.GEMM", 256)  # what it measures is not looked at here
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_all_resident_peers_see_the_same_tokens_and_compute_the_same_losses(capsys: pytest.CaptureFixture[str]) -> None:
    report = engine.main([*SMALL, "--rounds", "2", "--peers", "ours,turns,sequential,mixed", "--profile"])
    assert json.loads(capsys.readouterr().out) == report
    (result,) = report["results"]
    assert (result["job_steps"], result["tokens"], result["supervised_tokens"]) == (4, 128, 64)
    assert {peer["pad_fraction"] for peer in result["peers"].values()} == {0.0}
    ratios = result["ratios"]
    for gap in ratios["R10_deviation"].values():
        assert gap["first_step"] < 1e-6
        assert gap["last_step"] < 1e-4
    assert ratios["R1_vs_sequential"]["n"] == 2
    assert 0 < ratios["R4_share_of_limit"]["median"] < 1
    for phases in result["phases"].values():
        assert sum(phases["shares"].values()) == pytest.approx(1, abs=1e-3)
        assert all(phases["shares"][phase] > 0 for phase in ("base", "adapters", "attention", "loss", "optimizer"))


@pytest.mark.slow
def test_the_process_peer_trains_in_processes_and_says_that_it_extrapolates() -> None:
    report = engine.main([*SMALL, "--rounds", "1", "--peers", "turns,process", "--jobs", "3"])
    (result,) = report["results"]
    assert result["peers"]["process"]["extrapolated_from_jobs"] == 2
    assert result["ratios"]["R2_vs_process_cold"]["median"] > 1


def test_attaching_is_timed_on_a_warm_host(capsys: pytest.CaptureFixture[str]) -> None:
    report = attach.main([*SMALL, "--stepper", "turns", "--seats", "3", "--repeats", "1"])
    assert json.loads(capsys.readouterr().out) == report
    assert report["attach_to_first_step_s"]["median"] > 0
    assert set(report["seat"]) == {"2", "3"}


def test_the_table_names_every_peer(capsys: pytest.CaptureFixture[str]) -> None:
    engine.main([*SMALL[:-1], "--rounds", "1", "--peers", "turns,sequential"])
    shown = capsys.readouterr().out
    assert "sequential" in shown
    assert "R1_vs_sequential" in shown


@pytest.mark.parametrize("workload", ["W1", "W2", "W3", "W7-60"])
def test_a_workload_is_the_same_every_time(workload: str) -> None:
    scale = Scale(vocab_size=320, steps=2)
    jobs = make_jobs(workload, scale)
    assert jobs == make_jobs(workload, scale)
    assert len({job.id for job in jobs}) == len(jobs)
    assert all(job.supervised > 0 and job.steps == 2 for job in jobs)
    assert [job.steps for job in shortened(jobs, 1)] == [1] * len(jobs)


@pytest.mark.parametrize(("workload", "fraction"), [("W7-00", 0.0), ("W7-30", 0.3), ("W7-60", 0.6), ("W7-80", 0.8)])
def test_w7_would_waste_the_fraction_in_its_name(workload: str, fraction: float) -> None:
    lengths = [len(job.rows[0].input_ids) for job in make_jobs(workload, Scale(vocab_size=320))]
    assert 1 - sum(lengths) / (len(lengths) * max(lengths)) == pytest.approx(fraction, abs=0.01)
    assert sum(lengths) == pytest.approx(8 * 64, abs=8)


def test_w3_mixes_ranks_targets_and_batches() -> None:
    jobs = make_jobs("W3", Scale(vocab_size=320))
    assert {job.method.rank for job in jobs} == {4, 8, 16, 64}
    assert {job.training.batch_size for job in jobs} == {1, 2, 4}
    assert len({job.method.target_modules for job in jobs}) == 3
    lengths = [len(row.input_ids) for job in jobs for row in job.rows]
    assert (min(lengths), max(lengths)) >= (16, 256)
    assert max(lengths) <= 512


def test_a_spread_is_the_median_and_the_quartiles() -> None:
    assert spread([4.0, 1.0, 2.0, 3.0, 5.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0, "n": 5}
    assert spread([2.0]) == {"median": 2.0, "q1": 2.0, "q3": 2.0, "n": 1}


def test_rows_become_the_same_tokens_as_by_transformers_alone_and_all_of_it_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = encode.main(["--rows", "3", "--rounds", "1", "--messages", "4,8", "--file-mb", "0", "--json"])
    assert json.loads(capsys.readouterr().out) == report
    for figures in (*report["chat"].values(), report["prompt_completion"], report["text"]):
        assert figures["ids_equal"]
        assert figures["rows"] == 3
        assert figures["times_as_fast"]["median"] > 0
    assert set(report["growth"]) == {"chatml", "chatml_marked", "gemma3"}
    assert all([each["messages"] for each in growth] == [4, 8] for growth in report["growth"].values())


def test_the_memory_of_a_file_is_that_of_all_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    encode_memory.main(["--file-mb", "0.01"])
    figures = json.loads(capsys.readouterr().out)
    assert figures["rows"] == 6
    assert figures["peak_mb"] >= figures["before_mb"]


def test_the_sampler_sees_memory_held_while_it_watches() -> None:
    size = 64 << 20
    with PeakSampler() as sampler, mmap.mmap(-1, size) as held:  # fresh pages: an allocator may reuse resident ones
        before = psutil.Process().memory_info().rss
        held.write(b"x" * size)
        wait_until(lambda: sampler.peak >= before + size // 2, "a sample of the held memory")
