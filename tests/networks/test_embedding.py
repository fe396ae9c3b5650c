import torch
from torch import nn

from wavediff.networks.embedding import LabelEmbedding


def test_no_class_is_a_vector_of_zeros_that_learns_nothing():
    torch.manual_seed(0)
    embedding = LabelEmbedding(3, 8)
    label = torch.tensor([2, -1, 0])
    out = embedding(label)
    assert torch.equal(out[[0, 2]], embedding.weight[[2, 0]])
    assert (out[1] == 0).all()
    out.sum().backward()
    assert embedding.weight.grad[:, 0].tolist() == [1, 0, 1]


def test_its_weights_are_those_of_a_plain_table():
    assert LabelEmbedding(3, 8).state_dict().keys() == nn.Embedding(3, 8).state_dict().keys()
    assert LabelEmbedding(3, 8).num_embeddings == 3
