"""Models of torchvision, timm, transformers and plain PyTorch, and how phew copes with them."""

# Every module of the zoo may import torchvision, so its operators are mended first.
from zoo import torchvision_operators as torchvision_operators
