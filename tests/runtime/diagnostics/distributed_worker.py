"""Run under torchrun: diagnose a model on every rank and write rank 0's report, and that of each rank's hash."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from zoo import GPT, C, NoContract, VisionTransformer, images, tokens, vectors

from fa_lint_runtime import DiagnosticReport, Feedback, diagnose

KINDS = {"mlp": (NoContract, vectors), "vit": (VisionTransformer, images), "gpt": (GPT, tokens)}


def report(kind: str, wrap: str, count: int) -> tuple[nn.Module, DiagnosticReport]:
    """The report of one process or of one rank: same seed, same batches."""
    make, inputs = KINDS[kind]
    torch.manual_seed(11)
    model: nn.Module = make()
    batches = [(inputs(8 + i % 2), torch.randint(0, C, (8 + i % 2,))) for i in range(count)]
    if wrap == "ddp":
        model = nn.parallel.DistributedDataParallel(model)
    elif wrap == "fsdp2":
        from torch.distributed.fsdp import fully_shard

        for name, module in model.named_modules():
            if name.rpartition(".")[0] in ("blocks", "transformer.h"):
                fully_shard(module)
        fully_shard(model)
    feedback = None
    if kind == "mlp":
        feedback = Feedback.dfa([8] * 4, classes=C, seed=0)
    token = "last" if kind == "gpt" else "cls"
    found = diagnose(model, batches, 0.5, 0.2, feedback=feedback, token=token, progress=False)
    return model, found


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    kind, wrap, count, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    model, found = report(kind, wrap, count)
    (folder / f"rank{dist.get_rank()}.json").write_text(found.to_json(), encoding="utf-8")
    # A training step works afterwards.
    inputs = KINDS[kind][1]
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        loss = nn.functional.cross_entropy(_logits(model(inputs(8))), torch.randint(0, C, (8,)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.barrier()
    # Without the end of the interpreter: there torch 2.13 aborts now and then, as FSDP2 still holds threads of gloo
    # ("terminate called without an active exception").
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _logits(output: object) -> torch.Tensor:
    logits = getattr(output, "logits", output)
    assert isinstance(logits, torch.Tensor)
    return logits


if __name__ == "__main__":
    main()
