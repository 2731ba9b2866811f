"""What each operation does to the units: a table, and one short function for each kind."""

from __future__ import annotations

from collections.abc import Callable

import torch

from phew.capture.operations import joins, movement, weights
from phew.capture.tracer import Call, ParameterView, Tracer

Rule = Callable[[Tracer, Call], None]

_DIMENSIONS = (1, 2, 3)
_RULES: dict[Rule, tuple[str, ...]] = {
    movement.same: (
        *movement.COPIES,
        "native_dropout",
        # Activations that torch does not tag as pointwise, and softmax, a normalisation.
        *("hardswish", "hardswish_", "mish_", "_prelu_kernel", "rrelu_with_noise"),
        *("log_sigmoid_forward", "_softmax", "_log_softmax"),
        # Only strides change: how a pooling to one place keeps channels last.
        "as_strided_",
    ),
    movement.move: (
        *(movement.VIEWS - {"view", "_unsafe_view"}),
        *("flip", "roll", "repeat", "pixel_shuffle", "pixel_unshuffle"),
        *("channel_shuffle", "native_channel_shuffle"),
    ),
    movement.view: ("view", "_unsafe_view"),
    movement.concatenate: ("cat",),
    movement.stack: ("stack",),
    movement.pad: ("constant_pad_nd",),
    movement.copy: ("copy_",),
    movement.fill: ("zero_", "fill_"),
    movement.constant: (
        *(f"{kind}_like" for kind in ("empty", "zeros", "ones", "full", "rand", "randn")),
        *(f"new_{kind}" for kind in ("empty", "empty_strided", "zeros", "ones", "full")),
    ),
    joins.reduce: ("mean", "sum", "amax", "amin", "max", "min", "logsumexp", "var"),
    joins.resample: (
        *(f"{kind}_pool{n}d" for kind in ("avg", "_adaptive_avg") for n in _DIMENSIONS),
        *(f"max_pool{n}d_with_indices" for n in _DIMENSIONS),
        *(f"adaptive_max_pool{n}d" for n in _DIMENSIONS),
        *(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in _DIMENSIONS),
        *(f"upsample_nearest{n}d" for n in _DIMENSIONS),
        *("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d"),
    ),
    joins.normalise_channels: (
        *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
        *("_batch_norm_with_update", "_batch_norm_no_update", "cudnn_batch_norm"),
        *("miopen_batch_norm", "native_group_norm"),
    ),
    joins.normalise_features: ("native_layer_norm", "_fused_rms_norm"),
    weights.convolution: ("convolution",),
    weights.linear: ("linear",),
    weights.matrix_product: ("addmm", "mm", "addmv", "mv"),
    weights.embedding: ("embedding",),
}
_RULE_OF_NAME = {name: rule for rule, names in _RULES.items() for name in names}


def follow(tracer: Tracer, call: Call) -> None:
    """Label what an operation returned."""
    rule = _RULE_OF_NAME.get(call.name)
    if rule is None:
        rule = joins.pointwise if torch.Tag.pointwise in call.operation.tags else joins.unknown
    labelled = any(tracer.labels_of(tensor) is not None for tensor in call.tensors)
    if not labelled and not _has_weights(tracer, call):
        _follow_parameters(tracer, call)
        return
    try:
        rule(tracer, call)
    except Exception:
        # A case that the rule was not written for must not keep the model from being pruned.
        joins.unknown(tracer, call)


def _has_weights(tracer: Tracer, call: Call) -> bool:
    """Return whether an operation without units is weighted: its input is then an entry."""
    weighted = _RULE_OF_NAME.get(call.name) in (
        weights.convolution,
        weights.linear,
        weights.matrix_product,
        weights.embedding,
    )
    return weighted and any(tracer.parameter_view(tensor) is not None for tensor in call.tensors)


def _follow_parameters(tracer: Tracer, call: Call) -> None:
    """Follow an operation that has no units among its arguments, but may have parameters."""
    views = [tracer.parameter_view(tensor) for tensor in call.tensors]
    view = views[0] if len(views) == 1 else None
    if view is not None and call.name in movement.COPIES:
        tracer.set_parameter_view(call.result, view)
    elif view is not None and call.name in movement.VIEWS:
        parts = movement.as_list(call.operation(view.index, *call.args[1:], **call.kwargs))
        for output, part in zip(call.outputs, parts, strict=True):
            if any(
                step == 0 < size - 1 for size, step in zip(part.shape, part.stride(), strict=True)
            ):
                tracer.set_computed(output)
            else:
                tracer.set_parameter_view(output, ParameterView(view.name, part))
    elif any(views) or any(map(tracer.is_computed, call.tensors)):
        for output in call.outputs:
            tracer.set_computed(output)
