"""Linear-quadratic control: a network of known blocks whose exact credit, the costate, is a formula."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LinearQuadratic"]


@dataclass(frozen=True)
class LinearQuadratic:
    """``x_{t+1} = A x_t + B u_t`` at cost ``½ Σ_t (xᵀQx + uᵀRu) + ½ x_Tᵀ S x_T``.

    The optimal control is ``u_t = -K_t x_t``. The costate
    ``λ_t = ∂(cost from t on)/∂x_t`` along the optimal path is ``P_t x_t``, with ``P`` from the Riccati
    recursion: the credit that any rule should approximate.

    Attributes:
        A, B, Q, R, S: fp64 matrices, (n, n), (n, m), (n, n), (m, m), (n, n).
        horizon: T.

    Source:
        Anderson and Moore, "Optimal Control: Linear Quadratic Methods" (1990), chapter 2. The instance is ours.

    Example:
        >>> system = LinearQuadratic.random(seed=0)
        >>> states, controls = system.optimal_path(torch.randn(5, 16, dtype=torch.float64))
        >>> states.shape, controls.shape, system.costates(states).shape
        (torch.Size([11, 5, 16]), torch.Size([10, 5, 4]), torch.Size([11, 5, 16]))
    """

    A: Tensor
    B: Tensor
    Q: Tensor
    R: Tensor
    S: Tensor
    horizon: int

    @classmethod
    def random(cls, n: int = 16, m: int = 4, horizon: int = 10, seed: int = 0) -> LinearQuadratic:
        """A random system near the identity, as a residual network is: ``A = I + 0.3 N / sqrt(n)``."""
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        eye = torch.eye(n, dtype=torch.float64)
        return cls(
            A=eye + 0.3 * normal(n, n) / math.sqrt(n),
            B=normal(n, m) / math.sqrt(n),
            Q=0.1 * eye,
            R=torch.eye(m, dtype=torch.float64),
            S=eye,
            horizon=horizon,
        )

    def riccati(self) -> tuple[list[Tensor], list[Tensor]]:
        """``[P_0, …, P_T]`` and the gains ``[K_0, …, K_{T-1}]``."""
        P: list[Tensor] = [self.S]
        K: list[Tensor] = []
        for _ in range(self.horizon):
            after = P[0]
            gain = torch.linalg.solve(self.R + self.B.T @ after @ self.B, self.B.T @ after @ self.A)
            P.insert(0, self.Q + self.A.T @ after @ (self.A - self.B @ gain))
            K.insert(0, gain)
        return P, K

    def optimal_path(self, start: Tensor) -> tuple[Tensor, Tensor]:
        """States (T + 1, N, n) and controls (T, N, m) from N starting points (N, n), fp64."""
        _, gains = self.riccati()
        states, controls = [start], []
        for gain in gains:
            controls.append(-states[-1] @ gain.T)
            states.append(states[-1] @ self.A.T + controls[-1] @ self.B.T)
        return torch.stack(states), torch.stack(controls)

    def costates(self, states: Tensor) -> Tensor:
        """``λ_t = P_t x_t`` for states (T + 1, N, n)."""
        P, _ = self.riccati()
        return torch.stack([x @ p.T for x, p in zip(states, P, strict=True)])

    def cost_from(self, t: int, x: Tensor, controls: Tensor) -> Tensor:
        """Cost of each trajectory (N,) from time ``t`` at ``x`` (N, n) under given controls (T, N, m)."""
        cost = x.new_zeros(len(x))
        for u in controls[t:]:
            cost = cost + 0.5 * ((x @ self.Q * x).sum(1) + (u @ self.R * u).sum(1))
            x = x @ self.A.T + u @ self.B.T
        return cost + 0.5 * (x @ self.S * x).sum(1)
