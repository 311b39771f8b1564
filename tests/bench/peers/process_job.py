"""One job in a process of its own, as a user of TRL writes it: `python -m tests.bench.peers.process_job job.json`."""

import json
import sys
import time
from pathlib import Path
from typing import Any


def main(file: Path) -> None:
    """Load, train, save; write `report.json` beside the adapter."""
    import torch
    from datasets import Dataset, disable_progress_bars  # type: ignore[import-untyped]
    from peft import LoraConfig
    from trl import SFTTrainer  # type: ignore[attr-defined]

    disable_progress_bars()
    job = json.loads(file.read_text())
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    method, output = job["method"], Path(job["output"])
    model, tokenizer = _load(job)
    trainer = SFTTrainer(
        model=model,
        args=_arguments(job),
        train_dataset=Dataset.from_list(job["rows"]),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=method["rank"],
            lora_alpha=method["alpha"],
            lora_dropout=method["dropout"],
            target_modules=method["target_modules"],
        ),
    )
    started = time.perf_counter()
    trainer.train()
    train_s = time.perf_counter() - started
    trainer.save_model(str(output / "adapter"))
    report = {"train_s": train_s, "steps": trainer.state.global_step, "trainer": "trl.SFTTrainer"}
    (output / "report.json").write_text(json.dumps(report))


def _load(job: dict[str, Any]) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    dtype = torch.bfloat16 if job["compute_dtype"] == "bf16" else torch.float32
    quantization = {
        "nf4": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype),
        "int8": BitsAndBytesConfig(load_in_8bit=True),
        "none": None,
    }[job["quantization"]]
    model = AutoModelForCausalLM.from_pretrained(
        job["base"], dtype=dtype, quantization_config=quantization, device_map={"": "cpu"}
    )
    return model, AutoTokenizer.from_pretrained(job["base"])


def _arguments(job: dict[str, Any]) -> Any:
    from trl import SFTConfig  # type: ignore[attr-defined]

    training = job["training"]
    rows_per_step = training["batch_size"]
    return SFTConfig(
        output_dir=job["output"],
        max_steps=-(-len(job["rows"]) // rows_per_step),
        per_device_train_batch_size=training["micro_batch_size"],
        gradient_accumulation_steps=rows_per_step // training["micro_batch_size"],
        learning_rate=training["learning_rate"],
        lr_scheduler_type=training["lr_schedule"],
        max_grad_norm=training["max_grad_norm"],
        weight_decay=training["weight_decay"],
        optim="adamw_torch_fused",
        bf16=job["compute_dtype"] == "bf16",
        use_cpu=True,
        gradient_checkpointing=False,  # no other peer recomputes
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=job["seed"],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
