"""Peak memory of encoding a file, in a process that does nothing else."""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.bench.encode.subjects import bench_tokenizer, chat_rows
from tests.bench.memory import PeakSampler
from tests.builders.encoded import encode_training
from tests.builders.tiny_base import CHATML
from workers.contract.rows import DatasetFormat
from workers.contract.spec import MAX_SEQ_LEN, DatasetRef, DataSpec
from workers.data.text_encoder import TextEncoder


def memory_figures(megabytes: float) -> dict[str, Any]:
    """Of a file of chat rows; measured in a fresh process."""
    command = [sys.executable, "-m", "tests.bench.encode.memory", "--file-mb", str(megabytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring the memory failed:\n{done.stderr[-4000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def write_file(path: Path, size: int) -> DatasetRef:
    """Chat rows of `size` bytes."""
    digest, written, rows = hashlib.sha256(), 0, 0
    with path.open("wb") as stream:
        for row in chat_rows():
            line = json.dumps(row).encode() + b"\n"
            stream.write(line)
            digest.update(line)
            written, rows = written + len(line), rows + 1
            if written >= size:
                break
    return DatasetRef(
        file_id="file-bench", uri=path.as_uri(), sha256=digest.hexdigest(), rows=rows, format=DatasetFormat.CHAT
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Encode a file and print the peak."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.encode.memory", description=__doc__)
    parser.add_argument("--file-mb", type=float, required=True)
    given = parser.parse_args(arguments)
    encoder = TextEncoder(bench_tokenizer(), CHATML)
    with tempfile.TemporaryDirectory(prefix="orchard-encode-") as folder:
        training = write_file(Path(folder) / "rows.jsonl", int(given.file_mb * 1e6))
        before, began = psutil.Process().memory_info().rss, time.perf_counter()
        with PeakSampler() as sampler:
            encoded = encode_training(encoder, DataSpec(training=training, max_seq_len=MAX_SEQ_LEN))
        seconds = time.perf_counter() - began
    tokens = sum(len(row.input_ids) for row in encoded.rows)
    grown = sampler.peak - before
    figures = {
        "file_mb": round(given.file_mb, 3),
        "rows": len(encoded.rows),
        "tokens": tokens,
        "seconds": round(seconds, 2),
        "mb_per_s": round(given.file_mb / seconds, 2),
        "before_mb": round(before / 1e6, 1),
        "peak_mb": round(sampler.peak / 1e6, 1),
        "bytes_per_token": round(grown / tokens, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
