"""A method that fa-lint does not know: PEPITA (Dellaferrera and Kreiman, 2022), for `fa-diagnose audit pepita.toml`."""

import torch
from torch import nn
from torch.nn import functional as F


def network(width=256):
    return nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def states(model, x):
    """The input and what each layer makes of it."""
    found = [x]
    for layer in model:
        found.append(layer(found[-1]))
    return found


@torch.no_grad()
def train(model, data, seed, recipe):
    generator = torch.Generator().manual_seed(seed)
    projection = 0.005 * torch.randn(784, 10, generator=generator)
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(data.train_x), generator=generator).split(recipe.batch_size):
            x, y = data.train_x[rows], data.train_y[rows]
            error = states(model, x)[-1].softmax(1) - F.one_hot(y, 10)
            again = states(model, x + error @ projection.T)
            credit = credits(model, projection, x, error) | {"4": error}
            for index in (0, 2, 4):
                model[index].weight -= recipe.lr * credit[str(index)].T @ again[index] / len(x)
                model[index].bias -= recipe.lr * credit[str(index)].mean(0)
    return {"model": model, "credit": lambda i: credits(model, projection, i.x, i.error.float())}


def credits(model, projection, x, error):
    """What trains layers 0 and 2: their activity less that of a second pass, into which the error was fed."""
    first, second = states(model, x), states(model, x + error @ projection.T)
    return {str(index): first[index + 2] - second[index + 2] for index in (0, 2)}


def head_alone(model, data, seed, recipe):
    """The baseline: layers 0 and 2 stay as they are."""
    model[:4].requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model[4].parameters(), recipe.lr)
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(data.train_x), generator=generator).split(recipe.batch_size):
            loss = F.cross_entropy(model(data.train_x[rows]), data.train_y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.requires_grad_(True)
