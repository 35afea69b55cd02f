"""Evidence that a receiver is a tensor, is surely something else, or neither."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.memory import Memory
from fa_lint.semantics.names import Binding, Names

__all__ = ["ARRAY_LIBRARIES", "TENSOR_LIBRARIES", "Kinds"]

# Importing one of these makes an unknown receiver of ``.norm`` a tensor with high probability.
TENSOR_LIBRARIES = frozenset(
    "torch torchvision torchaudio lightning pytorch_lightning lightning_fabric transformers diffusers "
    "accelerate peft timm einops kornia torch_geometric torch_scatter torch_sparse torchmetrics botorch "
    "gpytorch captum functorch clip open_clip pytorch3d nerfstudio biotorch monai fairseq mmcv mmdet ignite "
    "fastai paddle".split()
)
ARRAY_LIBRARIES = TENSOR_LIBRARIES | frozenset({"numpy", "jax", "cupy", "autograd", "scipy", "tensorflow"})
_ARRAY_TYPES = frozenset({"torch.Tensor", "torch.FloatTensor", "torch.nn.Parameter", "numpy.ndarray", "jax.Array"})
# Symbolic tensors whose methods give back the same symbolic type and whose ``norm(-1)`` takes a dimension.
_SYMBOLIC = frozenset({"LazyTensor", "Vi", "Vj", "Pm"})
_ARRAY_METHODS = frozenset(
    "view reshape detach clone contiguous float double half cpu cuda to permute transpose squeeze unsqueeze "
    "flatten mean sum expand repeat type_as masked_fill softmax log_softmax sigmoid tanh exp log sqrt pow abs "
    "clamp matmul mm bmm".split()
)


class Kinds:
    """Answers :meth:`kind`: ``array``, ``foreign`` or ``unknown``."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._packages = names.top_packages()
        self._memory = Memory("unknown")
        self.defines_norm = any(names.method(owner, "norm") is not None for owner in names.classes)

    @property
    def uses_tensors(self) -> bool:
        return bool(self._packages & TENSOR_LIBRARIES)

    @property
    def uses_arrays(self) -> bool:
        return bool(self._packages & ARRAY_LIBRARIES)

    def kind(self, node: ir.Expr) -> str:
        return self._memory.ask(node.nid, lambda: self._kind(node))

    def _kind(self, node: ir.Expr) -> str:
        match node:
            case ir.Await():
                return "foreign"
            case ir.Const(value=str()) | ir.Keyed() | ir.FString() | ir.Lambda():
                return "foreign"
            case ir.Binary(left=left, right=right):
                return self._join([self.kind(left), self.kind(right)])
            case ir.Unary(operand=inner):
                return self.kind(inner)
            case ir.Subscript(value=inner):
                items = self._items(inner)
                return self._join(items) if items else self.kind(inner)
            case ir.Walrus(value=inner):
                return self.kind(inner)
            case ir.Conditional(body=body, orelse=orelse):
                return self._join([self.kind(body), self.kind(orelse)])
            case ir.Call():
                return self._call(node)
            case ir.Name(id="self" | "cls"):
                owner = self._names.enclosing_class(node)
                return "foreign" if owner is not None and self._names.method(owner, "norm") else "unknown"
            case ir.Name():
                if self._names.qualified(node) is not None:
                    return "foreign"
                return self._join([self._bound(binding) for binding in self._names.reaching(node)])
            case ir.Attr():
                if self._names.qualified(node) is not None:
                    return "foreign"
                # The answer is that of the attribute, not of the place: asked once, however many places read it.
                owner = self._names.enclosing_class(node)
                return self._memory.ask(
                    (owner and owner.nid, node.attr, isinstance(node.value, ir.Name) and node.value.id),
                    lambda: self._join([self._bound(binding) for binding in self._names.self_attribute(node)]),
                )
        return "unknown"

    def _items(self, container: ir.Expr) -> list[str]:
        """The kinds of what a container of this module holds: the items of a display, and what is stored later."""
        match container:
            case ir.Keyed(values=items) | ir.Sequence(items=items):
                return [self.kind(item) for item in items] or ["unknown"]
            case ir.Name():
                bound = self._names.reaching(container)
            case ir.Attr():
                bound = self._names.self_attribute(container)
            case _:
                return []
        found: list[str] = []
        for binding in bound:
            if binding.value is not None and binding.how == "item":
                found.append(self.kind(binding.value))
            elif isinstance(binding.value, ir.Keyed | ir.Sequence) and binding.how == "value":
                found += self._items(binding.value)
        return found

    def _join(self, kinds: list[str]) -> str:
        # One foreign way is enough to stay silent; one array way is enough to speak.
        return "foreign" if "foreign" in kinds else "array" if "array" in kinds else "unknown"

    def _bound(self, binding: Binding) -> str:
        if isinstance(binding.node, ir.Param) and binding.node.annotation is not None:
            return self._annotation(binding.node.annotation)
        if isinstance(binding.node, ir.AnnAssign):
            found = self._annotation(binding.node.annotation)
            if found != "unknown":
                return found
        if isinstance(binding.node, ir.ClassDef | ir.FunctionDef):
            return "foreign"
        if binding.how == "value" and binding.value is not None:
            return self.kind(binding.value)
        return "unknown"

    def _annotation(self, node: ir.Expr) -> str:
        if isinstance(node, ir.Const) and isinstance(node.value, str):
            return "array" if node.value.split(".")[-1] == "Tensor" else "unknown"
        name = self._names.qualified(node)
        if name in _ARRAY_TYPES or (name or "").startswith("jaxtyping."):
            return "array"
        return self._class(node, name)

    def _call(self, node: ir.Call) -> str:
        name = self._names.qualified(node.func)
        if name is not None:
            top = name.partition(".")[0]
            if (top == "torch" and not name.startswith("torch.nn.")) or name.startswith("torch.nn.functional."):
                return "array"
            if top in ("numpy", "jax"):
                return "array"
            return self._class(node.func, name)
        if isinstance(node.func, ir.Name):
            return self._class(node.func, None)
        if isinstance(node.func, ir.Attr):
            receiver = node.func.value
            if self._is_symbolic(receiver):
                return "foreign"
            if node.func.attr in _ARRAY_METHODS and self.kind(receiver) != "foreign":
                return "array"
        return "unknown"

    def _is_symbolic(self, node: ir.Expr) -> bool:
        """True if a chain of methods and operators starts at a symbolic tensor."""
        seen = 0
        stack = [node]
        while stack and seen < 64:
            seen += 1
            match stack.pop():
                case ir.Call(func=func):
                    if (self._names.qualified(func) or "").rpartition(".")[2] in _SYMBOLIC:
                        return True
                    if isinstance(func, ir.Attr):
                        stack.append(func.value)
                case ir.Attr(value=value) | ir.Unary(operand=value) | ir.Subscript(value=value):
                    stack.append(value)
                case ir.Binary(left=left, right=right):
                    stack += [left, right]
                case ir.Name() as name:
                    stack += [b.value for b in self._names.reaching(name) if b.how == "value" and b.value is not None]
        return False

    def _class(self, node: ir.Expr, name: str | None) -> str:
        """The kind of an instance of the class that ``node`` names."""
        if isinstance(node, ir.Name):
            owner = self._names.class_named(node)
            if owner is not None:
                return "array" if self._derives_tensor(owner) else "foreign"
        if name is None or name.partition(".")[0] in ARRAY_LIBRARIES - {"pykeops"}:
            return "unknown"
        last = name.rpartition(".")[2]
        is_class = last[:1].isupper() and not last.isupper()
        return "foreign" if (is_class and not last.endswith("Tensor")) or last in _SYMBOLIC else "unknown"

    def _derives_tensor(self, owner: ir.ClassDef) -> bool:
        return any(self._names.qualified(base.value) in _ARRAY_TYPES for base in owner.bases)
