"""``diagnose`` on public architectures, given the model and its batches alone: ``python -m benchmarks.models``.

Weights are random, configurations small where the library takes one, inputs noise, labels random; nothing is
downloaded. Four batches, which first set running statistics in training mode. "Layers" are those found without
``layers=``. "ms" is CPU time of one torch thread for a forward and backward pass (to inputs and parameters) over the
batches in evaluation mode, "time" that of ``diagnose`` over it, the median of up to three pairs. Every row is a process
of its own with a limit, so that a crash or a hang is a row, too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .diagnose import ResidualMLP
from .model_nets import AutoEncoder, Encoder, Graph, Last, Mixer, Seq2Seq, Spiking, Unrolled, Variational, plain_mlp

CLASSES, BATCHES, SAMPLES, WORDS, LENGTH, PAIRS = 10, 4, 8, 50, 16, 3
LONG = 1_500  # ms of forward and backward passes after which no pair is added
Loss = Callable[[Any, Any], Tensor]


def images(size: int = 64, channels: int = 3) -> tuple[Any, Any]:
    return torch.randn(SAMPLES, channels, size, size), torch.randint(0, CLASSES, (SAMPLES,))


def vectors(width: int = 64, count: int = 32) -> tuple[Any, Any]:
    return torch.randn(count, width), torch.randint(0, CLASSES, (count,))


def targets_like_inputs() -> tuple[Any, Any]:
    x = torch.randn(32, 64)
    return x, x


def sequences() -> tuple[Any, Any]:
    return torch.randn(SAMPLES, LENGTH, 16), torch.randint(0, CLASSES, (SAMPLES,))


def sentences() -> tuple[Any, Any]:
    return {"input_ids": torch.randint(3, WORDS, (SAMPLES, LENGTH))}, torch.randint(0, CLASSES, (SAMPLES,))


def trainer() -> dict[str, Any]:
    ids = torch.randint(3, WORDS, (SAMPLES, LENGTH))
    return {"input_ids": ids, "labels": ids}


def translations() -> dict[str, Any]:
    ids = torch.randint(3, WORDS, (SAMPLES, LENGTH))
    return {"input_ids": ids, "decoder_input_ids": ids.flip(1), "labels": ids}


def pairs() -> tuple[Any, Any]:
    ids = torch.randint(3, WORDS, (SAMPLES, LENGTH))
    return (ids, ids.flip(1)), ids


def pixels() -> tuple[Any, Any]:
    x, y = images(32)
    return {"pixel_values": x}, y


def graph() -> tuple[Any, Any]:
    edges = torch.randint(0, 64, (2, 300))
    return (torch.randn(64, 16), edges), torch.randint(0, CLASSES, (64,))


def vision(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(import_module("torchvision.models"), name)(num_classes=CLASSES, **options)


def timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: import_module("timm").create_model(name, num_classes=CLASSES, **options)


def hugging_face(config: str, model: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        library = import_module("transformers")
        made: nn.Module = getattr(library, model)(getattr(library, config)(**options))
        return made

    return make


class Row(NamedTuple):
    """An architecture: how to make it, one batch, and a loss where cross-entropy is not the one."""

    name: str
    library: str
    make: Callable[[], nn.Module]
    batch: Callable[[], Any] = images
    loss: Loss | None = None


_SMALL = {"vocab_size": WORDS, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
_WIDE = {**_SMALL, "intermediate_size": 128}
_TEXT = {**_WIDE, "num_labels": CLASSES, "pad_token_id": 0}
_PIXELS = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}
_PIXELS |= {"image_size": 32, "patch_size": 8, "num_labels": CLASSES}
_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}

ROWS = (
    Row("residual MLP", "own", lambda: ResidualMLP(64, 64, 4), vectors),
    Row("plain MLP", "own", plain_mlp, vectors),
    Row("MLP-Mixer", "own", Mixer, sequences),
    Row("autoencoder, MSE", "own", AutoEncoder, targets_like_inputs, F.mse_loss),
    Row("variational autoencoder, MSE", "own", Variational, targets_like_inputs, F.mse_loss),
    Row("LSTM, 2 layers, last step", "torch", lambda: Last(nn.LSTM(16, 32, 2, batch_first=True)), sequences),
    Row("GRU, last step", "torch", lambda: Last(nn.GRU(16, 32, batch_first=True)), sequences),
    Row("LSTM, both directions", "torch", lambda: Last(nn.LSTM(16, 16, bidirectional=True, batch_first=True)), sequences),
    Row("GRUCell, unrolled", "torch", lambda: Unrolled(nn.GRUCell(16, 32)), sequences),
    Row("RNNCell, unrolled", "torch", lambda: Unrolled(nn.RNNCell(16, 32)), sequences),
    Row("TransformerEncoder", "torch", Encoder, sequences),
    Row("Transformer", "torch", lambda: Seq2Seq(WORDS), pairs),
    Row("ResNet-18", "torchvision", vision("resnet18")),
    Row("ResNet-50", "torchvision", vision("resnet50")),
    Row("VGG-11 with batch norm", "torchvision", vision("vgg11_bn")),
    Row("AlexNet", "torchvision", vision("alexnet")),
    Row("SqueezeNet 1.1", "torchvision", vision("squeezenet1_1")),
    Row("DenseNet-121", "torchvision", vision("densenet121")),
    Row("GoogLeNet", "torchvision", vision("googlenet", aux_logits=False, init_weights=False)),
    Row("MobileNetV3 small", "torchvision", vision("mobilenet_v3_small")),
    Row("ShuffleNetV2 x0.5", "torchvision", vision("shufflenet_v2_x0_5")),
    Row("MNASNet 0.5", "torchvision", vision("mnasnet0_5")),
    Row("EfficientNet-B0", "torchvision", vision("efficientnet_b0")),
    Row("RegNetY-400MF", "torchvision", vision("regnet_y_400mf")),
    Row("ConvNeXt tiny", "torchvision", vision("convnext_tiny")),
    Row("Swin-T", "torchvision", vision("swin_t")),
    Row("ViT, 6 blocks", "torchvision", lambda: import_module("torchvision.models").VisionTransformer(64, 16, 6, 4, 96, 192, num_classes=CLASSES)),
    Row("ViT tiny", "timm", timm("vit_tiny_patch16_224", img_size=64)),
    Row("DeiT tiny, distilled", "timm", timm("deit_tiny_distilled_patch16_224", img_size=64)),
    Row("CaiT xxs24, 6 blocks", "timm", timm("cait_xxs24_224", img_size=64, depth=6)),
    Row("ConvNeXt atto", "timm", timm("convnext_atto")),
    Row("Swin, windows of 2", "timm", timm("swin_tiny_patch4_window7_224", img_size=64, window_size=2, embed_dim=48, num_heads=(2, 2, 4, 4))),
    Row("MLP-Mixer S/32", "timm", timm("mixer_s32_224", img_size=64)),
    Row("ResMLP-12", "timm", timm("resmlp_12_224", img_size=64)),
    Row("gMLP Ti/16", "timm", timm("gmlp_ti16_224", img_size=64)),
    Row("PoolFormer S12", "timm", timm("poolformer_s12")),
    Row("PVTv2 B0", "timm", timm("pvt_v2_b0")),
    Row("XCiT nano", "timm", timm("xcit_nano_12_p16_224", img_size=64)),
    Row("MobileViT xxs", "timm", timm("mobilevit_xxs")),
    Row("EdgeNeXt xx small", "timm", timm("edgenext_xx_small")),
    Row("GhostNet 1.0", "timm", timm("ghostnet_100")),
    Row("ResNeSt-14d", "timm", timm("resnest14d")),
    Row("GPT-2", "transformers", hugging_face("GPT2Config", "GPT2LMHeadModel", vocab_size=WORDS, n_embd=64, n_layer=4, n_head=4, **_SPECIAL), trainer),
    Row("Llama", "transformers", hugging_face("LlamaConfig", "LlamaForCausalLM", **_WIDE), trainer),
    Row("Mistral", "transformers", hugging_face("MistralConfig", "MistralForCausalLM", num_key_value_heads=2, **_WIDE), trainer),
    Row("Mixtral", "transformers", hugging_face("MixtralConfig", "MixtralForCausalLM", num_key_value_heads=2, num_local_experts=4, **_WIDE), trainer),
    Row("GPT-NeoX", "transformers", hugging_face("GPTNeoXConfig", "GPTNeoXForCausalLM", **_WIDE, **_SPECIAL), trainer),
    Row("OPT", "transformers", hugging_face("OPTConfig", "OPTForCausalLM", ffn_dim=128, word_embed_proj_dim=64, **_SMALL), trainer),
    Row("BLOOM", "transformers", hugging_face("BloomConfig", "BloomForCausalLM", vocab_size=WORDS, hidden_size=64, n_layer=4, n_head=4), trainer),
    Row("Mamba", "transformers", hugging_face("MambaConfig", "MambaForCausalLM", vocab_size=WORDS, hidden_size=64, num_hidden_layers=4, pad_token_id=0), trainer),
    Row("BERT, classifier", "transformers", hugging_face("BertConfig", "BertForSequenceClassification", **_TEXT), sentences),
    Row("BERT, masked", "transformers", hugging_face("BertConfig", "BertForMaskedLM", **_WIDE), trainer),
    Row("RoBERTa, classifier", "transformers", hugging_face("RobertaConfig", "RobertaForSequenceClassification", **_TEXT), sentences),
    Row("ALBERT, classifier", "transformers", hugging_face("AlbertConfig", "AlbertForSequenceClassification", **_TEXT, embedding_size=32), sentences),
    Row("DistilBERT, classifier", "transformers", hugging_face("DistilBertConfig", "DistilBertForSequenceClassification", vocab_size=WORDS, dim=64, n_layers=4, n_heads=4, hidden_dim=128, num_labels=CLASSES), sentences),
    Row("DeBERTa-v2, classifier", "transformers", hugging_face("DebertaV2Config", "DebertaV2ForSequenceClassification", **_TEXT), sentences),
    Row("T5", "transformers", hugging_face("T5Config", "T5ForConditionalGeneration", vocab_size=WORDS, d_model=64, d_kv=16, d_ff=128, num_layers=3, num_heads=4), translations),
    Row("BART", "transformers", hugging_face("BartConfig", "BartForConditionalGeneration", vocab_size=WORDS, d_model=64, encoder_layers=3, decoder_layers=3, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128), translations),
    Row("ViT", "transformers", hugging_face("ViTConfig", "ViTForImageClassification", **_PIXELS), pixels),
    Row("BEiT", "transformers", hugging_face("BeitConfig", "BeitForImageClassification", **_PIXELS), pixels),
    Row("GCN, 3 layers", "torch_geometric", lambda: Graph("GCN"), graph),
    Row("GAT, 3 layers", "torch_geometric", lambda: Graph("GAT"), graph),
    Row("GraphSAGE, 3 layers", "torch_geometric", lambda: Graph("GraphSAGE"), graph),
    Row("GIN, 3 layers", "torch_geometric", lambda: Graph("GIN"), graph),
    Row("leaky integrate-and-fire", "snntorch", Spiking, vectors),
)  # fmt: skip


def measured(row: Row) -> dict[str, Any]:
    """What the report says, and the ratio of times."""
    from fa_lint_runtime import diagnose
    from fa_lint_runtime.diagnostics.batches import call, to_batch
    from fa_lint_runtime.diagnostics.outputs import logits_of

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, batches = row.make(), [row.batch() for _ in range(BATCHES)]
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the mean over batches, from the first on
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():  # a head that starts at 0 has no gradient below it
                parameter.normal_(std=0.02)
        for item in batches:
            call(model, to_batch(item, 0).x)

    def subject() -> Any:
        return diagnose(model, batches, loss_fn=row.loss, progress=False)

    def unit() -> None:
        model.eval()
        for item in batches:
            batch = to_batch(item, 0)
            logits = logits_of(call(model, batch.x))
            if row.loss is not None:
                row.loss(logits, batch.y).backward()
            else:
                F.cross_entropy(logits.flatten(0, -2), batch.y.flatten()).backward()

    report = subject()
    unit()
    ratios, units = [], []
    while len(ratios) < PAIRS and sum(units) < LONG / 1e3:
        start = time.process_time()
        subject()
        middle = time.process_time()
        unit()
        units.append(time.process_time() - middle)
        ratios.append((middle - start) / units[-1])
    reasons = [o for o in report.criteria if o.state in ("fires", "invalid", "inconclusive")]
    reasons = reasons or [o for o in report.criteria if o.state == "not measured" and o.essential]
    return {
        "layers": f"{len(report.layers)}",
        "verdict": report.verdict,
        "ms": 1e3 * statistics.median(units),
        "time": statistics.median(ratios),
        "notes": [*(f"{o.name}: {o.text}" for o in reasons), *report.provenance.caveats],
    }


def in_process(row: Row, limit: float) -> dict[str, Any]:
    """The row in a process of its own; what ended it, in the place of the verdict."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.models", "--row", row.name, "--library", row.library]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"longer than {limit:.0f} s"}
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}


def line(row: Row, found: dict[str, Any]) -> str:
    if "error" in found:
        return f"| {row.name} | {row.library} | no | – | – | – | – | {found['error'][:200]} |"
    works = "yes" if found["verdict"] == "no fault found" else "no"
    note = "; ".join(found["notes"]).replace("|", "¦")[:200]
    return f"| {row.name} | {row.library} | {works} | {found['layers']} | {found['verdict']} | {found['ms']:.0f} | {found['time']:.2f} | {note} |"


def versions() -> str:
    found = []
    for library in ("torch", "torchvision", "timm", "transformers", "torch_geometric", "snntorch"):
        try:
            found.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            found.append(f"no {library}")
    return ", ".join(found)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="diagnose on public architectures")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds a row")
    parser.add_argument("--only", default="", help="rows whose name or library holds this")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--library", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.row is not None:
        # torchvision registers shapes for operators that are missing where torch is a CPU build; no model here calls them.
        with mock.patch("torch.library.register_fake", return_value=lambda function: function):
            try:
                import_module("torchvision")
            except ImportError:
                warnings.warn("no torchvision", stacklevel=1)
        (row,) = (r for r in ROWS if (r.name, r.library) == (given.row, given.library))
        print(json.dumps(measured(row)))
        return
    print(f"{versions()}; {platform.machine()}, {os.cpu_count()} cores, one torch thread\n")
    print("| model | library | by default | layers | verdict | ms | time | notes |\n|---|---|---|---|---|---|---|---|")
    for row in ROWS:
        if given.only in row.name or given.only in row.library:
            print(line(row, in_process(row, given.limit)), flush=True)


if __name__ == "__main__":
    main()
