"""Which modules are the blocks of a model: what the caller names, else the longest row of like blocks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

__all__ = ["Blocks", "Layers", "find_blocks", "follows_contract", "rows_of_blocks"]

Layers = str | Sequence[str | nn.Module]


@dataclass(frozen=True)
class Blocks:
    """Modules to look at, in the order of their registration.

    Attributes:
        modules: qualified name to module.
        source: how they were found, for the report.
        alike: they are blocks of one kind, so that each takes what the one before it led to. False for a mere list of
            layers, between which activations and reshapes may lie.
        caveats: like blocks that are none of these.
    """

    modules: dict[str, nn.Module]
    source: str
    alike: bool
    caveats: tuple[str, ...] = ()

    def without(self, name: str) -> Blocks:
        """All but one of them."""
        rest = {other: module for other, module in self.modules.items() if other != name}
        return Blocks(rest, _described(rest), self.alike, self.caveats)


def follows_contract(model: nn.Module) -> bool:
    """True if ``model(x, return_hidden=True)`` is on offer: it returns ``(logits, [h_0, …, h_L])``."""
    return "return_hidden" in inspect.signature(model.forward).parameters


def find_blocks(model: nn.Module, layers: Layers | None) -> Blocks:
    """The blocks of ``model``.

    Args:
        model: unwrapped.
        layers: a glob over qualified names in which ``*`` stays within one segment (``"blocks.*"``,
            ``"layer?.*"``), the name of a container (its children), a sequence of names or modules, or None: the
            longest row of sibling blocks of one class, else every layer with parameters of its own but the last.

    Raises:
        ValueError: nothing matches; says what there is.
        TypeError: neither names nor modules.
    """
    if layers is None:
        return next(b for b in rows_of_blocks(model) if len(b.modules) > 1)
    names = {module: name for name, module in model.named_modules()}
    if not isinstance(layers, Sequence) or not all(isinstance(item, str | nn.Module) for item in layers):
        raise TypeError(f"layers takes a glob or a sequence of names and modules, got {layers!r}")
    wanted = [layers] if isinstance(layers, str) else list(layers)
    found: dict[str, nn.Module] = {}
    for item in wanted:
        if isinstance(item, nn.Module):
            if item not in names:
                raise ValueError(f"layers: a {type(item).__name__} that is no part of the model")
            found[names[item]] = item
        else:
            found |= _matching(model, item)
    classes = {type(module) for module in found.values()}
    source = f'layers="{layers}"' if isinstance(layers, str) else "layers as given"
    return Blocks(found, f"{source}: {_described(found)}", isinstance(layers, str) and len(classes) == 1)


def _matching(model: nn.Module, pattern: str) -> dict[str, nn.Module]:
    segments = pattern.split(".")
    found = {
        name: module
        for name, module in model.named_modules()
        if name.count(".") + 1 == len(segments)
        and name
        and all(fnmatchcase(part, want) for part, want in zip(name.split("."), segments, strict=True))
    }
    if len(found) == 1 and isinstance(next(iter(found.values())), nn.ModuleList | nn.Sequential):
        ((name, container),) = found.items()
        found = {f"{name}.{child}": module for child, module in container.named_children()}
    if not found:
        containers = [n for n, m in model.named_modules() if isinstance(m, nn.ModuleList | nn.Sequential) and n]
        hint = ", ".join(f'"{n}.*"' for n in containers[:6]) or ", ".join(n for n, _ in model.named_children())
        raise ValueError(f'layers="{pattern}" matches no module; there is {hint or "no submodule at all"}')
    return found


def rows_of_blocks(model: nn.Module) -> Iterator[Blocks]:
    """The longest row of like blocks first; a block in a container of its own, which may be called several times; at
    the end every layer with parameters of its own but the last.

    Whether blocks of a row run one after the other, or are branches, shows when the model runs.
    """
    uniform = list(_rows(model).values())
    for row in sorted([*uniform, *_of_mixed_kinds(model)], key=len, reverse=True):
        own = any(row is other for other in uniform)
        if len(row) > 1 or not any(_is_leaf(block) for block in row.values()):
            yield Blocks(row, _described(row), own, _left_out(model, row, uniform) if own else ())
    yield _plain_layers(model)


def _left_out(model: nn.Module, row: dict[str, nn.Module], others: list[dict[str, nn.Module]]) -> tuple[str, ...]:
    """Rows of the same kind, and others that hold a good part of the parameters: a decoder beside an encoder."""

    def size(of: dict[str, nn.Module]) -> int:
        return sum(p.numel() for block in of.values() for p in block.parameters())

    kinds, least = {type_before_parametrizations(block) for block in row.values()}, size({"": model}) / 10
    left = []
    for other in others:
        same = {type_before_parametrizations(block) for block in other.values()} <= kinds
        nested = any(f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.") for a in row for b in other)
        if other is not row and not nested and (same or (len(other) > 1 and size(other) > least)):
            left.append(f"not measured: {_described(other)}; name them with layers=…")
    return tuple(left)


def _rows(model: nn.Module) -> dict[tuple[str, type], dict[str, nn.Module]]:
    """Children of one class in a container, or in sibling containers (``layer1`` … ``layer4`` of a ResNet), or in the
    containers of sibling stages, if these run one after the other (``stages.0.blocks`` … of a ConvNeXt)."""
    rows: dict[tuple[str, type], dict[str, nn.Module]] = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential):
            continue
        children = list(module.named_children())
        classes = {type_before_parametrizations(child) for _, child in children}
        if len(classes) != 1 or not any(True for _ in module.parameters()):
            continue
        # A stack of bare Linear layers is no row of blocks unless a ModuleList says so.
        (kind,) = classes
        if isinstance(module, nn.Sequential) and _is_leaf(children[0][1]):
            continue
        parent = name.rpartition(".")[0]
        if isinstance(module, nn.Sequential):
            parent = re.sub(r"(^|\.)\d+$", r"\1*", parent)
        row = rows.setdefault((parent, kind), {})
        row.update({f"{name}.{child}" if name else child: block for child, block in children})
    return rows


def _of_mixed_kinds(model: nn.Module) -> list[dict[str, nn.Module]]:
    """A stem, blocks and a last convolution in one Sequential (MobileNet); blocks of one class that are attributes of a
    module, or of sibling modules of one class (GoogLeNet, RegNet). Only what holds a good part of the parameters."""
    rows: dict[tuple[Any, ...], dict[str, nn.Module]] = {}
    modules = dict(model.named_modules())
    for name, module in modules.items():
        blocks = {
            f"{name}.{n}" if name else n: m
            for n, m in module.named_children()
            if not _is_leaf(m) and not isinstance(m, nn.ModuleList) and any(True for _ in m.parameters())
        }
        if isinstance(module, nn.Sequential):
            if len({type_before_parametrizations(m) for m in module.children()}) > 1:
                rows[(name,)] = blocks
        elif not isinstance(module, nn.ModuleList) and not _is_in_a_row(module, modules[name.rpartition(".")[0]]):
            for block_name, block in blocks.items():
                if not isinstance(block, nn.Sequential):
                    key = name.rpartition(".")[0], type(module), type_before_parametrizations(block)
                    rows.setdefault(key, {})[block_name] = block
    least = sum(p.numel() for p in model.parameters()) / 4
    return [
        r for r in rows.values() if len(r) > 2 and sum(p.numel() for m in r.values() for p in m.parameters()) > least
    ]


def _is_in_a_row(module: nn.Module, parent: nn.Module) -> bool:
    """It is a block itself, and its children are parts of it: the two attentions of a decoder layer."""
    alike = [m for m in parent.children() if type(m) is type(module)]
    return isinstance(parent, nn.ModuleList | nn.Sequential) and len(alike) > 1


def _is_leaf(module: nn.Module) -> bool:
    """Without children, but for those that make its parameters (``torch.nn.utils.parametrize``)."""
    return all(name == "parametrizations" for name, _ in module.named_children())


def _plain_layers(model: nn.Module) -> Blocks:
    leaves = {
        name: module
        for name, module in model.named_modules()
        if name
        and "parametrizations" not in name.split(".")
        and _is_leaf(module)
        and not isinstance(module, nn.Embedding | nn.EmbeddingBag)  # takes no hidden state
        and any(p.ndim >= 2 for p in module.parameters())
    }
    if len(leaves) < 2:
        raise ValueError(
            f"no blocks found in {type(model).__name__}: name them, for example layers=[model.fc1, model.fc2]"
        )
    hidden = dict(list(leaves.items())[:-1])
    return Blocks(hidden, f"no row of like blocks; {_described(hidden)}", False)


def _described(modules: dict[str, nn.Module]) -> str:
    names = list(modules)
    kinds = sorted({type_before_parametrizations(m).__name__.removeprefix("FSDP") for m in modules.values()})
    span = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
    return f"{span} ({len(names)} × {'/'.join(kinds[:3])})"
