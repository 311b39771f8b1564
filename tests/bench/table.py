"""A report for people."""

from typing import Any


def as_table(report: dict[str, Any]) -> str:
    """The machine, then one table of peers, the ratios and the phases for each workload."""
    machine = report["machine"]
    peaks = ", ".join(f"{name} {peak} TFLOP/s" for name, peak in machine["gemm_peak_tflops"].items())
    lines = [
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores, {' '.join(machine['flags'])}; {peaks}; "
        f"torch {machine['versions']['torch']}; load before {machine['load_average_before'][0]}"
    ]
    for result in report["results"]:
        lines += ["", *_result(result)]
    return "\n".join(lines)


def _result(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{result['workload']} on {result['base']} {result['quantization']}/{result['compute_dtype']}: "
        f"{result['jobs']} jobs, {result['job_steps']} job-steps, {result['tokens']} tokens, {result['rounds']} rounds",
        f"  {'peer':<12}{'train s':>10}{'attach s':>10}{'ms/job-step':>13}{'tokens/s':>10}{'pads':>7}",
    ]
    for name, peer in result["peers"].items():
        medians = [peer[key]["median"] for key in ("train_s", "attach_s", "ms_per_job_step", "tokens_per_s")]
        seconds, attach, milliseconds, rate = medians
        pads = peer.get("pad_fraction")
        lines.append(
            f"  {name:<12}{seconds:>10.2f}{attach:>10.2f}{milliseconds:>13.2f}{rate:>10.0f}"
            f"{'' if pads is None else format(pads, '.0%'):>7}"
        )
    lines += [f"  {result['subject']}: {label} {_told(value)}" for label, value in result.get("ratios", {}).items()]
    for name, phases in result.get("phases", {}).items():
        shares = ", ".join(f"{phase} {share:.0%}" for phase, share in phases["shares"].items())
        lines.append(f"  phases of {name}: {shares}")
    return lines


def _told(value: Any) -> str:
    if isinstance(value, dict) and {"median", "q1", "q3"} <= value.keys():
        return f"{value['median']:.3g} [{value['q1']:.3g}, {value['q3']:.3g}]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_told(part)}" for key, part in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)
