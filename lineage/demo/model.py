"""A language model of one hidden layer over the last letters (after Bengio et al., 2003), in numpy.

Small enough to train in seconds, large enough that its loss really falls.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Adam", "LetterModel"]

Floats = NDArray[np.float32]
Tokens = NDArray[np.int64]

CONTEXT, WIDTH, HIDDEN = 10, 16, 128


class LetterModel:
    """Predicts the next token from the CONTEXT tokens before it.

    Attributes:
        weights: embedding (V, WIDTH), hidden (CONTEXT * WIDTH, HIDDEN), output (HIDDEN, V) and
            their biases, float32.
    """

    def __init__(self, weights: dict[str, Floats]) -> None:
        self.weights = weights

    @classmethod
    def fresh(cls, vocabulary: int, seed: int) -> Self:
        """Draw new weights."""
        draw = np.random.default_rng(seed)

        def matrix(rows: int, columns: int) -> Floats:
            return draw.standard_normal((rows, columns), np.float32) / np.float32(rows**0.5)

        return cls(
            {
                "embedding": matrix(vocabulary, WIDTH),
                "hidden": matrix(CONTEXT * WIDTH, HIDDEN),
                "hidden_bias": np.zeros(HIDDEN, np.float32),
                "output": matrix(HIDDEN, vocabulary),
                "output_bias": np.zeros(vocabulary, np.float32),
            }
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a checkpoint."""
        with np.load(folder / "weights.npz") as file:
            return cls({name: file[name] for name in file.files})

    def save(self, folder: Path, facts: dict[str, float]) -> None:
        """Write a checkpoint: weights and what is known of them."""
        folder.mkdir(parents=True)
        np.savez(folder / "weights.npz", allow_pickle=False, **self.weights)
        (folder / "facts.json").write_text(json.dumps(facts))

    def probabilities(self, context: Tokens) -> tuple[Floats, Floats, Floats]:
        """Return (probabilities (B, V), hidden (B, HIDDEN), inputs) for contexts (B, CONTEXT)."""
        w = self.weights
        inputs = w["embedding"][context].reshape(len(context), -1)
        hidden = np.tanh(inputs @ w["hidden"] + w["hidden_bias"])
        scores = hidden @ w["output"] + w["output_bias"]
        scores -= scores.max(axis=1, keepdims=True)
        odds = np.exp(scores)
        return odds / odds.sum(axis=1, keepdims=True), hidden, inputs

    def gradients(
        self, context: Tokens, target: Tokens, share: Floats
    ) -> tuple[float, dict[str, Floats]]:
        """Return the mean loss and the gradients of the weighted sum of losses.

        Args:
            context: (B, CONTEXT).
            target: (B,), the tokens that followed.
            share: (B,), how much each example counts; 1 / B each for plain training.
        """
        w = self.weights
        chance, hidden, inputs = self.probabilities(context)
        rows = np.arange(len(target))
        loss = float(-np.log(chance[rows, target] + 1e-9).mean())
        of_scores = chance * share[:, None]
        of_scores[rows, target] -= share
        of_hidden = (of_scores @ w["output"].T) * (1 - hidden**2)
        of_inputs = (of_hidden @ w["hidden"].T).reshape(*context.shape, WIDTH)
        of_embedding = np.zeros_like(w["embedding"])
        np.add.at(of_embedding, context, of_inputs)
        return loss, {
            "embedding": of_embedding,
            "hidden": inputs.T @ of_hidden,
            "hidden_bias": of_hidden.sum(axis=0),
            "output": hidden.T @ of_scores,
            "output_bias": of_scores.sum(axis=0),
        }


class Adam:
    """The optimiser (Kingma and Ba, 2015)."""

    def __init__(self, model: LetterModel, rate: float) -> None:
        self._model, self._rate, self._steps = model, rate, 0
        self._mean = {name: np.zeros_like(w) for name, w in model.weights.items()}
        self._square = {name: np.zeros_like(w) for name, w in model.weights.items()}

    def step(self, gradients: dict[str, Floats]) -> None:
        """Change the model's weights a little, against the gradients."""
        self._steps += 1
        for name, gradient in gradients.items():
            mean, square = self._mean[name], self._square[name]
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            corrected = mean / (1 - 0.9**self._steps)
            spread = np.sqrt(square / (1 - 0.999**self._steps)) + 1e-8
            self._model.weights[name] -= self._rate * corrected / spread
