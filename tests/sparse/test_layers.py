"""Sparse layers do what the dense ones do under the same masks, wherever torch puts them."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return,operator,union-attr,arg-type,index,assignment"
# mypy: disable-error-code="attr-defined,comparison-overlap,name-defined"
import copy
import io
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from masked_networks import loss_of, random_masks, signal_network
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import phew

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 4), (3, 5)),
    "linear without bias": (lambda: nn.Linear(5, 4, bias=False), (3, 5)),
    "linear on a vector": (lambda: nn.Linear(5, 4), (5,)),
    "linear on sequences": (lambda: nn.Linear(5, 4), (2, 1, 3, 5)),
    "linear on nothing": (lambda: nn.Linear(5, 4), (0, 3, 5)),
    "1d": (lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1), (2, 2, 7)),
    "1d without batch": (lambda: nn.Conv1d(2, 3, 3), (2, 7)),
    "2d in groups": (lambda: nn.Conv2d(4, 6, (3, 2), groups=2, bias=False), (2, 4, 5, 5)),
    "2d by channel": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4), (2, 4, 5, 5)),
    "2d without batch": (lambda: nn.Conv2d(2, 3, 3, dilation=(1, 2)), (2, 7, 6)),
    "3d": (lambda: nn.Conv3d(2, 3, (1, 3, 2), stride=(1, 2, 1), padding=1), (1, 2, 3, 5, 4)),
    "3d without batch": (lambda: nn.Conv3d(2, 3, 2), (2, 3, 5, 4)),
    "valid": (lambda: nn.Conv2d(2, 3, 3, padding="valid"), (1, 2, 5, 5)),
    "same": (lambda: nn.Conv2d(2, 3, 3, padding="same", dilation=2), (1, 2, 6, 5)),
    "same, uneven": (lambda: nn.Conv2d(2, 3, (4, 2), padding="same"), (1, 2, 6, 5)),
    "reflect": (lambda: nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="reflect"), (1, 2, 6, 5)),
    "replicate": (lambda: nn.Conv3d(1, 2, 3, padding=1, padding_mode="replicate"), (1, 1, 3, 4, 4)),
    "circular": (lambda: nn.Conv1d(2, 3, 4, padding="same", padding_mode="circular"), (2, 2, 9)),
    "circular without batch": (
        lambda: nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"),
        (2, 9),
    ),
}


# torch.compile warns of what it does itself.
COMPILES = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def masked_layer(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a dense layer with zeros where its mask prunes, the mask and an input."""
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make()
    mask = torch.rand(layer.weight.shape) < 0.4
    layer.weight.data[~mask] = 0
    return layer, mask, torch.randn(shape)


def sparse_network() -> tuple[nn.Sequential, nn.Sequential]:
    """Return a sparse network, and the same one with held masks."""
    torch.manual_seed(0)
    held = signal_network()
    masks = random_masks(held)
    masks.apply(held)
    model = copy.deepcopy(held)
    phew.to_sparse(model, masks)
    return model, held


def inputs() -> Tensor:
    return torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(7))


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients_equal_those_of_the_masked_layer(name: str) -> None:
    layer, mask, x = masked_layer(name)
    sparse = getattr(phew.sparse, type(layer).__name__).from_dense(layer, mask)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    expected, output = layer(inputs[0]), sparse(inputs[1])
    torch.testing.assert_close(output, expected)
    weights = torch.randn_like(expected)
    own_bias = sparse.bias
    (expected * weights).sum().backward()
    bias_grad = None if own_bias is None else own_bias.grad.clone()
    (output * weights).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    torch.testing.assert_close(sparse.weight.grad, layer.weight.grad[mask])
    if own_bias is not None:
        torch.testing.assert_close(own_bias.grad, 2 * bias_grad)


def test_a_layer_keeps_the_attributes_of_the_dense_one() -> None:
    layer = nn.Conv2d(4, 6, 3, padding="same", groups=2)
    layer.label = "stem"
    mask = torch.rand(6, 2, 3, 3) < 0.5
    sparse = phew.sparse.Conv2d.from_dense(layer, mask)
    assert (sparse.in_channels, sparse.out_channels, sparse.groups) == (4, 6, 2)
    assert (sparse.kernel_size, sparse.padding, sparse.label) == ((3, 3), "same", "stem")
    assert sparse.dense_mask().equal(mask)
    assert sparse.dense_weight().equal(layer.weight * mask)
    assert layer.weight.shape == (6, 2, 3, 3)
    assert f"kept={int(mask.sum())}/108" in repr(sparse)


def test_the_dense_weight_is_differentiable() -> None:
    layer, mask, _ = masked_layer("linear")
    sparse = phew.sparse.Linear.from_dense(layer, mask)
    sparse.dense_weight().square().sum().backward()
    assert sparse.weight.grad.equal(2 * sparse.weight)


@pytest.mark.parametrize(
    ("name", "shape", "rule"),
    [
        ("linear", (2, 3, 10), "input must have 5 features, got the shape (2, 3, 10)."),
        ("linear", (), "input must have 5 features, got the shape ()."),
        ("1d", (3, 7), "input must have 2 channels before 1 dimension, got the shape (1, 3, 7)."),
        ("3d", (2, 3), "input must have 2 channels before 3 dimensions, got the shape (2, 3)."),
    ],
)
def test_inputs_of_another_shape_are_refused(name: str, shape: tuple[int, ...], rule: str) -> None:
    layer, mask, _ = masked_layer(name)
    sparse = getattr(phew.sparse, type(layer).__name__).from_dense(layer, mask)
    with pytest.raises(ValueError, match="input must have") as error:
        sparse(torch.zeros(shape))
    assert str(error.value) == rule


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_networks_change_their_dtype(dtype: torch.dtype) -> None:
    model, held = sparse_network()
    expected = held.to(dtype)(inputs().to(dtype))
    output = model.to(dtype)(inputs().to(dtype))
    assert output.dtype == model[0].weight.dtype == dtype
    assert (model[0].indices.columns.dtype, model[0].indices.mask.dtype) == (
        torch.int16,
        torch.uint8,
    )
    torch.testing.assert_close(output, expected)


def test_networks_are_copied_and_pickled() -> None:
    model, held = sparse_network()
    # A saved module is pickled as a whole.
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    copies = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(file, weights_only=False),
    ]
    expected = held(inputs())
    with torch.no_grad():
        model[4].weight.zero_()
    for other in copies:
        torch.testing.assert_close(other(inputs()), expected)
        assert other[4].weight.data_ptr() != model[4].weight.data_ptr()
        masks = phew.to_dense(other)
        torch.testing.assert_close(other(inputs()), expected)
        assert masks == random_masks(held)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_its_dtype(dtype: torch.dtype) -> None:
    model, held = sparse_network()
    with torch.autocast("cpu", dtype):
        output, expected = model(inputs()), held(inputs())
    assert output.dtype == expected.dtype == dtype
    torch.testing.assert_close(output, expected)
    output.float().sum().backward()
    assert model[4].weight.grad.dtype == torch.float32
    with torch.autocast("cpu", dtype):
        assert model.double()(inputs().double()).dtype == torch.float64


@COMPILES
def test_networks_are_compiled_as_a_whole() -> None:
    model, held = sparse_network()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    output, expected = compiled(inputs()), held(inputs())
    torch.testing.assert_close(output, expected)
    output.square().sum().backward()
    expected.square().sum().backward()
    for layer, other in ((model[0], held[0]), (model[4], held[4])):
        torch.testing.assert_close(layer.weight.grad, other.weight.grad[layer.dense_mask()])
    # Another batch size is another graph, or a graph of any size.
    torch.testing.assert_close(compiled(inputs()[:3]), held(inputs()[:3]))


@COMPILES
def test_compiled_networks_follow_autocast() -> None:
    model, _ = sparse_network()
    compiled = torch.compile(model.eval(), fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(compiled(inputs()), model(inputs()))
    torch.testing.assert_close(compiled(inputs()), model(inputs()))


@COMPILES
@pytest.mark.slow
def test_inductor_compiles_networks() -> None:
    model, held = sparse_network()
    output = torch.compile(model, fullgraph=True)(inputs())
    torch.testing.assert_close(output, held(inputs()))
    output.sum().backward()
    assert model[0].weight.grad is not None


def test_networks_are_exported_for_batches_of_any_size() -> None:
    model, held = sparse_network()
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(
        model.eval(), (inputs(),), dynamic_shapes=({0: batch},), strict=False
    )
    others = torch.randn(9, 2, 8)
    torch.testing.assert_close(exported.module()(others), held.eval()(others))


def test_gradient_checkpointing_recomputes_layers() -> None:
    model, held = sparse_network()
    x = inputs().requires_grad_()
    output = checkpoint(model, x, use_reentrant=False)
    output.square().sum().backward()
    held(inputs()).square().sum().backward()
    mask = model[4].dense_mask()
    torch.testing.assert_close(model[4].weight.grad, held[4].weight.grad[mask])


def test_functions_of_parameters_have_gradients_and_are_mapped() -> None:
    model, held = sparse_network()
    model.eval()
    held.eval()
    parameters = {name: each.detach() for name, each in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (x,)).square().sum()

    gradients = torch.func.grad(loss)(parameters, inputs())
    held(inputs()).square().sum().backward()
    mask = model[4].dense_mask()
    torch.testing.assert_close(gradients["4.weight"], held[4].weight.grad[mask])
    # vmap gives the gradient of each example by itself.
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, inputs()[:, None])
    torch.testing.assert_close(each["4.weight"].sum(0), gradients["4.weight"])
    # An ensemble: the weights differ, the example does not.
    ensemble = {name: torch.stack([each, 2 * each]) for name, each in parameters.items()}
    losses = torch.func.vmap(loss, in_dims=(0, None))(ensemble, inputs())
    torch.testing.assert_close(losses[0], loss(parameters, inputs()))


def test_gradients_are_differentiated() -> None:
    model, held = sparse_network()
    norms = []
    for network in (model, held):
        network.eval()
        x = inputs().requires_grad_()
        (gradient,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
        gradient.square().sum().backward()
        norms.append(gradient)
    torch.testing.assert_close(norms[0], norms[1])
    mask = model[4].dense_mask()
    torch.testing.assert_close(model[4].weight.grad, held[4].weight.grad[mask])


def test_layers_are_made_on_meta_and_filled_by_a_state() -> None:
    model, held = sparse_network()
    state = {name: each.clone() for name, each in model.state_dict().items()}
    model.to("meta")
    assert model(torch.empty(5, 2, 8, device="meta")).shape == (5, 4)
    emptied = copy.deepcopy(model).to_empty(device="cpu")
    emptied.load_state_dict(state)
    model.load_state_dict(state, assign=True)
    for network in (model, emptied):
        torch.testing.assert_close(network(inputs()), held(inputs()))
        phew.to_dense(network)
        assert network[4].weight.equal(held[4].weight)


def test_networks_train_with_empty_layers() -> None:
    model = signal_network()
    masks = {name: torch.zeros_like(mask) for name, mask in random_masks(model).items()}
    phew.to_sparse(model, masks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    before = model[4].bias.clone()
    loss_of(model).backward()
    optimizer.step()
    assert not model[4].bias.equal(before)
    assert not model[4].dense_weight().any()


def test_processes_share_gradients_of_kept_weights_alone(tmp_path: object) -> None:
    store = torch.distributed.FileStore(f"{tmp_path}/store", 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model, held = sparse_network()
        sent = []

        def record(state: object, bucket: torch.distributed.GradBucket) -> object:
            sent.append(bucket.buffer().numel())
            future: torch.futures.Future[Tensor] = torch.futures.Future()
            future.set_result(bucket.buffer())
            return future

        # DistributedDataParallel does not take annotations that are texts.
        future_type = torch.futures.Future[Tensor]
        record.__annotations__ = {"bucket": torch.distributed.GradBucket, "return": future_type}
        parallel = nn.parallel.DistributedDataParallel(model)
        parallel.register_comm_hook(None, record)
        parallel(inputs()).square().sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    held(inputs()).square().sum().backward()
    mask = model[4].dense_mask()
    torch.testing.assert_close(model[4].weight.grad, held[4].weight.grad[mask])
    assert sum(sent) == sum(parameter.numel() for parameter in model.parameters())


def test_gradients_are_clipped_as_those_of_held_weights() -> None:
    model, held = sparse_network()
    norms = []
    for network in (model, held):
        network(inputs()).square().sum().backward()
        norms.append(nn.utils.clip_grad_norm_(network.parameters(), 0.5))
    torch.testing.assert_close(norms[0], norms[1])


def test_masks_of_other_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="mask must be bool") as error:
        phew.sparse.Linear.from_dense(nn.Linear(3, 2), torch.ones(3, 2))
    assert str(error.value) == (
        "mask must be bool, of the shape (2, 3) of the weight, got torch.float32, (3, 2)."
    )


def test_a_layer_says_which_way_it_takes() -> None:
    layer = nn.Linear(64, 64)
    mask = torch.arange(64 * 64).view(64, 64) % 10 == 0
    sparse = phew.sparse.Linear.from_dense(layer, mask)
    assert sparse.way == "auto"
    assert sparse.chosen_way(torch.zeros(2, 3, 64)) == "sparse"
    assert sparse.chosen_way(torch.zeros(64)) == "sparse"
    assert sparse.chosen_way(torch.zeros(2, 64, dtype=torch.float16)) == "dense"
    assert sparse.chosen_way(torch.zeros(2, 64, device="meta")) == "dense"
    sparse.way = "dense"
    assert sparse.chosen_way(torch.zeros(2, 64)) == "dense"
    dense = phew.sparse.Linear.from_dense(layer, mask, way="dense")
    x = torch.randn(2, 64)
    torch.testing.assert_close(dense(x), phew.sparse.Linear.from_dense(layer, mask)(x))
    third = phew.sparse.Linear.from_dense(layer, torch.arange(64 * 64).view(64, 64) % 3 == 0)
    assert third.chosen_way(torch.zeros(10, 64)) == "sparse"
    assert third.chosen_way(torch.zeros(10, 64, dtype=torch.bfloat16)) == "dense"


def test_convolutions_choose_by_density() -> None:
    for kernel_size, num_images, share, way in (
        (3, 2, 10, "sparse"),
        (3, 1, 3, "dense"),
        (1, 1, 3, "sparse"),
        (1, 2, 3, "dense"),
    ):
        layer = nn.Conv2d(8, 8, kernel_size)
        mask = torch.arange(layer.weight.numel()).view_as(layer.weight) % share == 0
        sparse = phew.sparse.Conv2d.from_dense(layer, mask)
        assert sparse.chosen_way(torch.zeros(num_images, 8, 9, 9)) == way


def test_there_is_no_other_way() -> None:
    layer = nn.Linear(2, 2)
    mask = torch.eye(2) > 0
    message = '^way must be "auto", "sparse" or "dense", got \'fast\'\\.$'
    with pytest.raises(ValueError, match=message):
        phew.sparse.Linear.from_dense(layer, mask, way="fast")
    model = nn.Sequential(layer)
    with pytest.raises(ValueError, match=message):
        phew.to_sparse(model, {"0.weight": mask}, way="fast")
    assert type(model[0]) is nn.Linear
    sparse = phew.sparse.Linear.from_dense(layer, mask)
    with pytest.raises(ValueError, match=message):
        sparse.way = "fast"
