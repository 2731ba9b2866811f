"""Callbacks for libraries that train, which prune, save masks and apply them again on resuming.

Nothing here is imported with phew: `phew.integrations.lightning` needs Lightning, and
`phew.integrations.transformers` needs transformers and accelerate.
"""
