"""Models of torchvision, timm, transformers and plain PyTorch, with random weights, by name."""

from zoo import plain_models, timm_models, torchvision_models, transformers_models
from zoo.entry import Entry

ZOO: dict[str, Entry] = {
    **torchvision_models.ENTRIES,
    **timm_models.ENTRIES,
    **transformers_models.ENTRIES,
    **plain_models.ENTRIES,
}
