"""Select the parameters to prune by `include` and `exclude`, and say why others are not."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from typing import TypeGuard

from torch import nn

from phew.arguments import Selector, Selectors, as_module, name_matcher
from phew.running.adapters import names_of_adapters
from phew.running.wrapped import is_wrapper

_NOT_INCLUDED = "not in include"
_ADAPTER = "adapter of PEFT (pruned where include names it)"
_VECTOR, _SCALAR = "vector (bias, normalisation, ...)", "scalar"
_MOST_REASONS = 5


class Selection:
    """The parameters of a model that the caller lets be pruned. Tied ones go by their first name.

    Args:
        model: The model.
        include: Which parameters alone are to be pruned; None for all but lookup embeddings and
            adapters.
        exclude: Which parameters are not to be pruned.

    Attributes:
        included: Names of the parameters that `include` selects and `exclude` does not.
        refused: Names of the parameters that may not be pruned, and why.

    Raises:
        TypeError: If an argument is no selector or sequence of them.
        ValueError: If a selector matches no parameter.
    """

    def __init__(self, model: nn.Module, include: Selectors | None, exclude: Selectors) -> None:
        self._include = None if include is None else _as_sequence("include", include)
        self.refused: dict[str, str] = {}
        included: set[str] = set()
        if self._include is not None:
            included.update(_matches(model, "include", self._include))
            others = (name for name, _ in model.named_parameters() if name not in included)
            self.refused = dict.fromkeys(others, _NOT_INCLUDED)
        for name, selector in _matches(model, "exclude", _as_sequence("exclude", exclude)).items():
            self.refused[name] = f"excluded by {_shown(selector)}"
        self.included = included - self.refused.keys()
        for name, parameter in model.named_parameters():
            if is_wrapper(parameter) and not parameter.requires_grad and name not in included:
                kind = type(parameter).__name__
                self.refused.setdefault(name, f"not trained, and computed by {kind} from others")
        for name in names_of_adapters(model):
            if name not in included:
                self.refused.setdefault(name, _ADAPTER)

    def allows(self, name: str, by_request: Container[str]) -> bool:
        """Return whether a weight of a link may be pruned, given those that include must name."""
        return name not in self.refused and (name not in by_request or name in self.included)

    def check(self, prunable: Collection[str], reasons: Mapping[str, str]) -> None:
        """Refuse a selection that leaves nothing to prune.

        Args:
            prunable: Names of the parameters that can be pruned and have elements.
            reasons: Why others are not prunable, by name.

        Raises:
            ValueError: If there are none.
        """
        if prunable:
            return
        if self._include is not None:
            selectors = ", ".join(map(_shown, self._include))
            selected = {name: why for name, why in reasons.items() if why != _NOT_INCLUDED}
            raise ValueError(
                f"include must select weights of two or more dimensions that example_inputs lead "
                f"through, got [{selectors}], which selects none{_listed(selected)}. "
                "Leave include out to prune all such weights."
            )
        raise ValueError(
            "model must have prunable weights (parameters of two or more dimensions that are not "
            f"excluded and that example_inputs lead through), got none{_listed(reasons)}."
        )


def why_not_prunable(
    model: nn.Module,
    selection: Selection,
    *,
    prunable: Collection[str],
    by_request: Mapping[str, str],
    uses: Mapping[str, str],
) -> dict[str, str]:
    """Give a reason for each parameter that is not prunable.

    Args:
        model: The model.
        selection: The parameters that the caller lets be pruned.
        prunable: Names of the prunable parameters.
        by_request: Why parameters are pruned only where `include` names them, by name.
        uses: The first operation that used each parameter, by name.

    Returns:
        The reasons by name, in the model's order.
    """
    reasons = {}
    for name, parameter in model.named_parameters():
        if name in prunable:
            continue
        if name in selection.refused:
            reasons[name] = selection.refused[name]
        elif name in by_request and parameter.dim() > 1:
            reasons[name] = by_request[name]
        elif name not in uses:
            reasons[name] = "never used by the example inputs"
        elif parameter.dim() < 2:
            reasons[name] = _VECTOR if parameter.dim() else _SCALAR
        else:
            reasons[name] = f"not a weight of a link: used by {uses[name]}"
    return reasons


def _listed(reasons: Mapping[str, str]) -> str:
    """List why parameters are not prunable, those first that are no vectors."""
    ordered = sorted(reasons.items(), key=lambda item: item[1] in (_VECTOR, _SCALAR))
    lines = [f"{name!r}: {reason}" for name, reason in ordered[:_MOST_REASONS]]
    more = ["..."] if len(ordered) > _MOST_REASONS else []
    return f" ({'; '.join([*lines, *more])})" if lines else ""


def _as_sequence(argument: str, selectors: Selectors) -> Sequence[Selector]:
    """Return selectors, of which one may stand alone."""
    given = [selectors] if _is_selector(selectors) else selectors
    if not isinstance(given, Sequence) or not all(map(_is_selector, given)):
        raise TypeError(
            f"{argument} must be a name pattern, a module or a type of module, or a sequence of "
            f"these, got {selectors!r}."
        )
    return given


def _is_selector(item: object) -> TypeGuard[Selector]:
    return isinstance(item, str | nn.Module) or (
        isinstance(item, type) and issubclass(item, nn.Module)
    )


def _matches(model: nn.Module, argument: str, selectors: Sequence[Selector]) -> dict[str, Selector]:
    """Map the names of the parameters that a selector matches to the first that does."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    first_name: dict[nn.Parameter, str] = {}
    for name, parameter in parameters.items():
        first_name.setdefault(parameter, name)
    matches: dict[str, Selector] = {}
    for selector in selectors:
        if isinstance(selector, str):
            found = _named(parameters, selector)
        elif isinstance(selector, nn.Module):
            inner = as_module(selector)
            inside = any(module is inner for module in model.modules())
            found = list(inner.parameters()) if inside else []
        else:
            found = _owned_by(model, selector)
        if not found:
            known = ", ".join([*map(repr, list(parameters)[:3]), "..."]) if parameters else "none"
            raise ValueError(
                f"{argument} must match parameters, got {_shown(selector)}, which matches none. "
                f"The model's are: {known} (see named_parameters())."
            )
        for parameter in found:
            matches.setdefault(first_name[parameter], selector)
    return matches


def _named(parameters: Mapping[str, nn.Parameter], pattern: str) -> list[nn.Parameter]:
    """List the parameters whose name matches, or that of a module that they are in."""
    is_match = name_matcher(pattern)
    return [parameter for name, parameter in parameters.items() if is_match(name)]


def _owned_by(model: nn.Module, kind: type[nn.Module]) -> list[nn.Parameter]:
    """List the parameters that the modules of a type own themselves."""
    owned: list[nn.Parameter] = []
    for module in model.modules():
        if isinstance(module, kind):
            owned += module.parameters(recurse=False)
            # A weight norm computes the module's own weight from parameters that it keeps here.
            if isinstance(parametrizations := getattr(module, "parametrizations", None), nn.Module):
                owned += parametrizations.parameters()
    return owned


def _shown(selector: Selector) -> str:
    if isinstance(selector, str):
        return repr(selector)
    return selector.__name__ if isinstance(selector, type) else f"a {type(selector).__name__}"
