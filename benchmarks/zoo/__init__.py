"""Models of torchvision, timm, transformers and plain PyTorch, with random weights, by name."""

import torchvision_operators as torchvision_operators  # before what imports torchvision

from zoo import plain_models, timm_models, torchvision_models, transformers_models
from zoo.entry import Entry

ZOO: dict[str, Entry] = {
    **torchvision_models.ENTRIES,
    **timm_models.ENTRIES,
    **transformers_models.ENTRIES,
    **plain_models.ENTRIES,
}
