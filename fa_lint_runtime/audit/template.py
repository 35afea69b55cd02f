"""What ``fa-diagnose audit init`` writes."""

from __future__ import annotations

__all__ = ["TEMPLATE"]

TEMPLATE = """# What is trained and measured: fa-diagnose audit THIS_FILE -j 2
# pkg.mod:name is an object of your own; modules beside this file are found.
out = "results"            # folder for cells, checkpoints and tables, relative to this file
seeds = [42, 123, 456]
models = ["residual_mlp"]  # or small_cnn, student_net, vit_mini
# model = "mine:network"   # instead: a function that returns your nn.Module
frozen = "method"          # baseline: blocks frozen, embedding trained by "method", "bp", or not at all: "head"
# frozen = "mine:baseline" # with your own model: a training function as below, that leaves the blocks alone

[methods.bp]               # built in: bp, fa, dfa, sb, cb, ep; "dfa+penalty" and the like
[methods.dfa]
# [methods.mine]
# train = "mine:train"     # train(model, data, seed, recipe) returns the trained model, or a dict of
#                          # model, feedback or credit (as diagnose takes them), accuracy.
#                          # data has train_x, train_y, test_x, test_y; recipe has lr, epochs, batch_size, ...

[data]
name = "digits"            # or mixture, digit_images, mnist, cifar10 (with root = "folder")
# name = "mine:loaders"    # a function that returns (batches to train on, batches to test on), or a Dataset

[model]                    # keywords of the model
width = 256
depth = 4

[recipe]
optimizer = "adamw"        # or adam, sgd
lr = 1e-3
weight_decay = 0.01
cosine = true
epochs = 100
batch_size = 128

# [override.dfa]           # changes of the recipe for one method
# lr = 1e-4
"""
