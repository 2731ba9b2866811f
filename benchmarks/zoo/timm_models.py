"""One or a few models for each of timm's files."""

from __future__ import annotations

import warnings
from functools import partial

import timm
from torch import nn

from zoo.entry import Entry, image

SIZES = {
    64: """
        gernet_s mobileone_s0 convmixer_768_32 cspresnet50 cspnext_tiny densenet121 dpn48b
        tf_efficientnetv2_b0 mnasnet_small tinynet_e mobilenetv2_050 efficientvim_m1
        efficientvit_b0 ghostnet_050 ghostnetv2_100 ghostnetv3_050 hardcorenas_a
        inception_next_atto lcnet_050 fbnetv3_b mobilenetv3_small_050 lowformer_b0 poolformer_s12
        caformer_s18 convformer_s18 naflexvit_base_patch16_gap nextvit_small dm_nfnet_f0
        eca_nfnet_l0 pvt_v2_b0 regnetx_002 regnety_002 repvit_m0_9 res2net50_14w_8s resnetv2_50
        resnetv2_50d_evos selecsls42 legacy_seresnet18 shvit_s1 skresnet18 starnet_s050
        tiny_vit_5m_224 tresnet_m ese_vovnet19b_slim legacy_xception xception41 resnetaa50 vgg11_bn
    """,
    96: "inception_resnet_v2",
    224: """
        cait_xxs24_224 coat_tiny deit_tiny_distilled_patch16_224 efficientformer_l1
        efficientformerv2_s0 levit_128s coatnet_pico_rw_224 mixer_s32_224 gmixer_12_224
        resmlp_12_224 samvit_base_patch16_224 swiftformer_xs swin_tiny_patch4_window7_224
        visformer_tiny vit_tiny_patch16_224 vit_base_patch16_siglip_224 vit_tiny_r_s16_p8_224
        vitamin_small_224 xcit_nano_12_p16_224
    """,
    240: "crossvit_9_240",
    256: "maxvit_nano_rw_256",
}
"""The names of models, by the size of their images in pixels."""


def _build(name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm warns of names and functions that will change
        model: nn.Module = timm.create_model(name, pretrained=False)
    return model


ENTRIES = {
    f"timm/{name}": Entry(partial(_build, name), image(size))
    for size, names in SIZES.items()
    for name in names.split()
}
