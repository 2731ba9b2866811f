"""Models of torchvision, timm, transformers and plain PyTorch, and how phew copes with them."""

# Modules of the zoo import torchvision, whose operators must be mended before.
from zoo import torchvision_operators as torchvision_operators
