"""The rules for operations: a table of the names of operations by the rule that follows them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from phew.capture.calls import Call
from phew.capture.operations import (
    constants,
    indexing,
    joins,
    movement,
    products,
    resampling,
    weights,
)
from phew.capture.tracer import Tracer

Rule = Callable[[Tracer, Call], None]

_DIMENSIONS = (1, 2, 3)
WEIGHTED: dict[Rule, tuple[str, ...]] = {
    weights.convolution: ("convolution", "_convolution", "cudnn_convolution"),
    weights.deformable_convolution: ("deform_conv2d",),
    weights.embedding: ("embedding", "_embedding_bag", "_embedding_bag_forward_only"),
    weights.grouped_product: ("_grouped_mm", "grouped_mm_fallback"),
    products.linear: ("linear",),
    products.multiply: ("addmm", "mm", "addmv", "mv", "bmm", "baddbmm", "dot", "vdot"),
}
"""Rules of operations that apply weights to an activation."""

_RULES: dict[Rule, tuple[str, ...]] = {
    **WEIGHTED,
    movement.same: (
        *movement.COPIES,
        "native_dropout",
        # These are activations that torch does not tag as pointwise.
        *("hardswish", "hardswish_", "mish_", "_prelu_kernel", "rrelu_with_noise"),
        *("fake_quantize_per_tensor_affine_cachemask", "_fused_moving_avg_obs_fq_helper"),
        *("fake_quantize_per_channel_affine_cachemask", "renorm"),
        *("quantize_per_tensor", "quantize_per_channel", "dequantize"),
        # A pooling to one place calls this to keep channels last: it changes nothing but strides.
        "as_strided_",
    ),
    movement.move: (
        *(movement.VIEWS - {"view", "_unsafe_view", "view_copy"}),
        *("flip", "roll", "repeat", "pixel_shuffle", "pixel_unshuffle", "rot90"),
        *("channel_shuffle", "native_channel_shuffle"),
    ),
    movement.view: ("view", "_unsafe_view", "view_copy", "_reshape_alias", "_reshape_copy"),
    movement.as_strided: ("as_strided", "as_strided_copy"),
    movement.restride: ("unsqueeze_", "squeeze_", "t_", "transpose_", "swapdims_", "swapaxes_"),
    movement.concatenate: ("cat",),
    movement.stack: ("stack",),
    movement.pad: ("constant_pad_nd",),
    movement.copy: ("copy_", "copy"),
    movement.put_part: ("slice_scatter", "select_scatter", "diagonal_scatter"),
    movement.pack: ("_pack_padded_sequence",),
    movement.fill: ("zero_", "fill_", "normal_", "uniform_", "exponential_"),
    movement.draw: ("bernoulli", "bernoulli_"),
    movement.constant: (
        *(f"{kind}_like" for kind in ("empty", "zeros", "ones", "full", "rand", "randn")),
        *(f"new_{kind}" for kind in ("empty", "empty_strided", "zeros", "ones", "full")),
        "empty_permuted",
    ),
    movement.as_complex: ("view_as_complex",),
    movement.as_real: ("view_as_real",),
    indexing.index: ("index", "_unsafe_index"),
    indexing.index_select: ("index_select",),
    indexing.gather: ("gather", "take_along_dim"),
    indexing.sort: ("topk", "sort", "median", "nanmedian", "kthvalue", "mode"),
    indexing.put: ("index_put", "index_put_", "_unsafe_index_put", "_index_put_impl_"),
    indexing.put_slices: (
        *("index_add", "index_add_", "index_copy", "index_copy_", "scatter", "scatter_"),
        *("scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_"),
        *("index_reduce", "index_reduce_", "index_fill", "index_fill_"),
    ),
    indexing.select_flagged: ("masked_select", "take"),
    indexing.put_flagged: ("masked_scatter", "masked_scatter_"),
    # Torch does not tag these as pointwise.
    joins.pointwise: (
        *("complex", "polar", "copysign"),
        *("floor_divide", "floor_divide_", "__or__", "__ior__"),
        *("bucketize", "searchsorted"),
        # Nor does torch 2.8 these.
        *("leaky_relu", "leaky_relu_", "celu_", "elu_", "hardsigmoid_", "hardtanh_", "selu_"),
    ),
    constants.multiply: (
        *("mul", "mul_", "logical_and", "logical_and_", "bitwise_and", "bitwise_and_"),
        *("__and__", "__iand__"),
    ),
    constants.where: ("where",),
    constants.masked_fill: ("masked_fill", "masked_fill_"),
    constants.triangle: ("tril", "triu", "tril_", "triu_"),
    joins.shift: ("log_sigmoid_forward", "_softmax", "_log_softmax", "_safe_softmax"),
    joins.gated_linear_unit: ("glu",),
    joins.reduce: (
        *("mean", "sum", "nansum", "amax", "amin", "max", "min", "aminmax", "logsumexp", "prod"),
        *("var", "std", "var_mean", "std_mean", "norm", "linalg_vector_norm"),
        *("any", "all", "count_nonzero"),
    ),
    joins.normalise_channels: (
        *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
        *("_batch_norm_with_update", "_batch_norm_no_update", "cudnn_batch_norm"),
        *("miopen_batch_norm", "native_group_norm"),
    ),
    joins.normalise_features: ("native_layer_norm", "_fused_rms_norm"),
    products.scaled_dot_product_attention: (
        *("_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention"),
        *("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_cudnn_attention"),
        *("_scaled_dot_product_attention_math", "scaled_dot_product_attention"),
        *("_scaled_dot_product_fused_attention_overrideable",),
    ),
    products.solve: ("linalg_solve_triangular", "_linalg_solve_ex"),
    products.invert: ("linalg_inv_ex", "linalg_cholesky_ex", "cholesky", "linalg_matrix_exp"),
    products.distances: ("_cdist_forward", "_euclidean_dist"),
    resampling.resample: (
        *(f"{kind}_pool{n}d" for kind in ("avg", "_adaptive_avg") for n in _DIMENSIONS),
        *(f"max_pool{n}d_with_indices" for n in _DIMENSIONS),
        *(f"adaptive_max_pool{n}d" for n in _DIMENSIONS),
        *("fractional_max_pool2d", "fractional_max_pool3d", "max_unpool2d", "max_unpool3d"),
        *(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in _DIMENSIONS),
        *(f"upsample_nearest{n}d" for n in _DIMENSIONS),
        *(f"_upsample_nearest_exact{n}d" for n in _DIMENSIONS),
        *("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d"),
        *("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "_upsample_lanczos2d_aa"),
    ),
    resampling.make_grid: ("affine_grid_generator",),
    resampling.sample_grid: ("grid_sampler_2d", "grid_sampler_3d", "_grid_sampler_2d_cpu_fallback"),
    resampling.pool_regions: ("roi_align", "roi_pool", "ps_roi_align"),
    resampling.unfold_windows: ("im2col",),
    resampling.fold_windows: ("col2im",),
    resampling.transform: ("_fft_r2c", "_fft_c2c", "_fft_c2r"),
    resampling.accumulate: ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "cumsum_"),
}
_RULE_OF_NAME = {name: rule for rule, names in _RULES.items() for name in names}

NORMALISATIONS = (joins.normalise_channels, joins.normalise_features)
"""Rules of operations that bring units to one size."""

CHOICES = (
    *(indexing.index, indexing.index_select, indexing.gather, indexing.put, indexing.put_slices),
    *(indexing.select_flagged, indexing.put_flagged, weights.embedding),
)
"""Rules of operations in which units that indices and flags have may not pass on."""


def rule_of(call: Call) -> Rule:
    """Return the rule that follows an operation."""
    rule = _RULE_OF_NAME.get(call.name)
    if rule is None:
        rule = joins.pointwise if torch.Tag.pointwise in call.operation.tags else joins.unknown
    return rule
