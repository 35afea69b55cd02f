"""Networks of the shapes that people have, small enough to differentiate numerically."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.checkpoint as checkpointing
from torch import Tensor, nn

D, C, T = 8, 5, 6


class ResidualBlock(nn.Module):
    """f_l of the original: the skip is outside."""

    def __init__(self, d: int = D) -> None:
        super().__init__()
        self.ln, self.fc1, self.fc2 = nn.LayerNorm(d), nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, h: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.ln(h))))


class ResidualMLP(nn.Module):
    """The original's contract."""

    def __init__(self, inputs: int = 7, d: int = D, classes: int = C, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, d)
        self.blocks = nn.ModuleList(ResidualBlock(d) for _ in range(depth))
        self.out_ln, self.out_head = nn.LayerNorm(d), nn.Linear(d, classes)

    def forward(self, x: Tensor, return_hidden: bool = False) -> Any:
        h = self.embed(x)
        hidden = [h]
        for block in self.blocks:
            h = h + block(h)
            hidden.append(h)
        logits = self.out_head(self.out_ln(h))
        return (logits, hidden) if return_hidden else logits


class NoContract(ResidualMLP):
    """The same without ``return_hidden``."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """``nn.TransformerEncoder``, by default with the batch second."""

    def __init__(self, batch_first: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(7, D)
        layer = nn.TransformerEncoderLayer(D, 2, 16, dropout=0.1, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head, self.batch_first = nn.Linear(D, C), batch_first

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        h = self.encoder(h if self.batch_first else h.transpose(0, 1))
        return self.head(h[:, 0] if self.batch_first else h[0])  # type: ignore[no-any-return]


class BasicBlock(nn.Module):
    """torchvision's: in-place ReLU, in-place skip, BatchNorm."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(out), nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.down = None if stride == 1 else nn.Conv2d(channels, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.down is None else self.down(x)
        return self.relu(out)  # type: ignore[no-any-return]


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(BasicBlock(4, 4, 1), BasicBlock(4, 4, 1))
        self.layer2 = nn.Sequential(BasicBlock(4, 8, 2), BasicBlock(8, 8, 1))
        self.fc = nn.Linear(8, C)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.qkv, self.out, self.causal = nn.Linear(D, 3 * D), nn.Linear(D, D), causal

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.qkv(h).chunk(3, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal))  # type: ignore[no-any-return]


class PreNormBlock(nn.Module):
    """timm's: the skip is inside."""

    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(D), SelfAttention(causal), nn.LayerNorm(D)
        self.mlp = nn.Sequential(nn.Linear(D, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, D))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class VisionTransformer(nn.Module):
    """timm style: patches, cls token, positions, blocks in a Sequential, ``forward_features``."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, D, 4, 4)
        self.cls_token, self.pos_embed = nn.Parameter(torch.randn(1, 1, D)), nn.Parameter(torch.randn(1, 5, D))
        self.blocks = nn.Sequential(*(PreNormBlock() for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(D), nn.Linear(D, C)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.norm(self.blocks(x))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x)[:, 0])  # type: ignore[no-any-return]


class TupleBlock(PreNormBlock):
    """Hugging Face style: keyword arguments in, a tuple out."""

    def forward(self, hidden_states: Tensor, use_cache: bool = False) -> Any:  # type: ignore[override]
        out = super().forward(hidden_states)
        return (out, out.detach().mean()) if use_cache else (out,)


@dataclass
class CausalOutput:
    logits: Tensor
    hidden: tuple[Tensor, ...] = ()


class GPT(nn.Module):
    """Integer inputs, tuple outputs, a dataclass of results; classifies the last position."""

    def __init__(self, depth: int = 3, whole: bool = False) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(11, D),
                "wpe": nn.Embedding(T, D),
                "h": nn.ModuleList(TupleBlock(causal=True) for _ in range(depth)),
                "ln_f": nn.LayerNorm(D),
            }
        )
        self.lm_head, self.whole = nn.Linear(D, 11 if whole else C, bias=False), whole

    def forward(self, input_ids: Tensor, use_cache: bool = True) -> CausalOutput:
        h = self.transformer["wte"](input_ids) + self.transformer["wpe"](torch.arange(input_ids.shape[1]))
        for block in self.transformer["h"]:  # type: ignore[union-attr]
            h = block(hidden_states=h, use_cache=use_cache)[0]
        h = self.transformer["ln_f"](h)
        return CausalOutput(self.lm_head(h if self.whole else h[:, -1]))


class Checkpointed(NoContract):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        h = self.embed(x)
        for block in self.blocks:
            h = h + checkpointing.checkpoint(block, h, use_reentrant=self.reentrant)
        return self.out_head(self.out_ln(h))  # type: ignore[no-any-return]


class SharedBlock(nn.Module):
    """One block called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block, self.head = nn.Linear(7, D), PreNormFlat(), nn.Linear(D, C)
        self.blocks = nn.ModuleList([self.block])

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        for _ in range(3):
            h = self.block(h)
        return self.head(h)  # type: ignore[no-any-return]


class PreNormFlat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln, self.fc = nn.LayerNorm(D), nn.Linear(D, D)

    def forward(self, h: Tensor) -> Tensor:
        return h + torch.tanh(self.fc(self.ln(h)))


class Overwritten(nn.Module):
    """What blocks return is changed in place before the next one sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(7, D), nn.Linear(D, C)
        self.blocks = nn.ModuleList(PreNormFlat() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        for block in self.blocks:
            h = block(h)
            h.mul_(0.5).add_(1.0)
        return self.head(h)  # type: ignore[no-any-return]


def plain_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(7, D), nn.Tanh(), nn.Linear(D, D), nn.Tanh(), nn.Linear(D, D), nn.Tanh(), nn.Linear(D, C)
    )


def frozen(model: nn.Module, *names: str) -> nn.Module:
    for name, parameter in model.named_parameters():
        if not names or name.startswith(names):
            parameter.requires_grad_(False)
    return model


def vectors(n: int) -> Tensor:
    return torch.randn(n, 7)


def sequences(n: int) -> Tensor:
    return torch.randn(n, T, 7)


def images(n: int) -> Tensor:
    return torch.randn(n, 3, 8, 8)


def tokens(n: int) -> Tensor:
    return torch.randint(0, 11, (n, T))


# name: (model, inputs, layers, number of hidden states)
ZOO: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Any], Any, int]] = {
    "encoder": (Encoder, sequences, None, 4),
    "encoder, batch first": (lambda: Encoder(True), sequences, None, 4),
    "resnet": (ResNet, images, None, 5),
    "resnet by glob": (ResNet, images, "layer?.*", 5),
    "vit": (VisionTransformer, images, None, 4),
    "gpt, tuples and keywords": (GPT, tokens, "transformer.h.*", 4),
    "gpt found": (GPT, tokens, None, 4),
    "gpt, embedding frozen": (lambda: frozen(GPT(), "transformer.wte", "transformer.wpe"), tokens, None, 4),
    "residual outside": (NoContract, vectors, None, 5),
    "residual outside, all frozen": (lambda: frozen(NoContract()), vectors, None, 5),
    "checkpoint": (lambda: Checkpointed(False), vectors, None, 5),
    "checkpoint, re-entrant": (lambda: Checkpointed(True), vectors, None, 5),
    "checkpoint, re-entrant, frozen": (lambda: frozen(Checkpointed(True)), vectors, None, 5),
    "shared block": (SharedBlock, vectors, "block", 4),
    "overwritten in place": (Overwritten, vectors, None, 4),
    "plain layers": (plain_mlp, vectors, None, 3),
}
