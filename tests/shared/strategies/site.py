"""Sites of a least-squares problem that train with plain SGD: what the papers' equations are tried on."""

from dataclasses import dataclass

import numpy as np
import torch

from shared.strategies.vectors import Alignment, Beside, Contrast, Pull, Trained

SIZE = 4


@dataclass
class Site:
    """Trains ‖A w - b‖² / 2 of its own for some steps; a `Train`.

    Attributes:
        rate: Of each step.
        left: Rounds after this one.
    """

    a: np.ndarray  # (m, SIZE)
    b: np.ndarray  # (m,)
    rate: float
    steps: int
    left: int = 0

    @classmethod
    def drawn(cls, seed: int, rate: float, steps: int) -> "Site":
        generator = np.random.default_rng(seed)
        return cls(generator.normal(size=(6, SIZE)) / 2, generator.normal(size=6), rate, steps)

    def gradient(self, w: np.ndarray) -> np.ndarray:
        return self.a.T @ (self.a @ w - self.b)

    def __call__(
        self,
        model: np.ndarray,
        pull: Pull | None = None,
        *,
        free: np.ndarray | None = None,
        radius: float = 0.0,
        beside: Beside | None = None,
        contrast: Contrast | None = None,  # it has no features
        alignment: Alignment | None = None,
    ) -> Trained:
        moves = torch.ones(SIZE) if free is None else torch.from_numpy(free).float()
        now = torch.from_numpy(model.copy())
        a, b = torch.from_numpy(self.a.astype(np.float32)), torch.from_numpy(self.b.astype(np.float32))
        own = None if beside is None else torch.from_numpy(beside.model.copy())
        for _ in range(self.steps):
            gradient = a.T @ (a @ now - b)
            if own is not None:
                there = beside.point(own, now)
                beside.step(own, now, a.T @ (a @ there - b), self.rate)
            if radius:
                gradient = a.T @ (a @ (now + radius * gradient / gradient.norm()) - b)
            if pull is not None:
                gradient = gradient + pull(now)
            now = now - self.rate * gradient * moves
        if own is not None:
            beside.model = own.numpy()
        return Trained(now.numpy(), self.rate * self.steps, self.steps)

    def loss(self, model: np.ndarray) -> float:
        return float(np.square(self.a @ model - self.b).sum()) / 2

    def place(self, model: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(model[:SIZE].copy())
