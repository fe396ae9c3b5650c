"""Construction of objects from configurations that are not trusted.

A checkpoint carries its configuration, and Hydra's ``instantiate`` would call anything that it
names. ``make`` reads the same notation, but calls only functions and classes of wavediff's own
diffusion, networks and representations, and the classes (not the functions, some of which write
files) of its tasks and series.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from wavediff.diffusion.objective import Objective
from wavediff.diffusion.sampler import Sampler
from wavediff.diffusion.schedule import Schedule
from wavediff.errors import UserError, shorten
from wavediff.moved import current
from wavediff.notation import in_full

if TYPE_CHECKING:
    from wavediff.tasks.task import Task

LARGE = 1_000_000  # beyond every size in the configuration of a model
PLAIN: dict[Any, tuple[Any, str]] = {  # types of options
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    str: (str, "a text"),
    bool: (bool, "true or false"),
    NoneType: (NoneType, "null"),
}
LISTS = (list, tuple, Sequence)
KINDS = {"schedule": Schedule, "objective": Objective, "sampler": Sampler}  # of groups
OPTIONAL = ("mel",)  # groups that a task with a representation may have
_CLASSES_ONLY = ("wavediff.tasks.", "wavediff.series.")
_ALLOWED = (
    "wavediff.diffusion.",
    "wavediff.networks.",
    "wavediff.representations.",
    *_CLASSES_ONLY,
)


def make(config: Mapping[str, Any], **kwargs: Any) -> Any:
    """Call ``_target_`` with the rest of ``config`` and ``kwargs``, nested targets first.

    With ``_partial_: true``, bind the arguments without calling the target, as Hydra does.

    Raises:
        UserError: for a target outside wavediff, or arguments that it does not accept.
    """
    config = current(config)
    target = _find(_target(config))
    special = {"_target_", "_partial_"}
    arguments = {key: _value(value) for key, value in config.items() if key not in special}
    try:
        _check_types(target, arguments)
        if config.get("_partial_"):
            inspect.signature(target).bind_partial(**arguments, **kwargs)
            return partial(target, **arguments, **kwargs)
        return target(**arguments, **kwargs)
    except (
        TypeError,
        ValueError,
        RuntimeError,
        MemoryError,
        ArithmeticError,
        LookupError,
    ) as error:
        raise UserError(f"cannot build {config['_target_']}: {shorten(error, 300)}") from error


def _check_types(target: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """See that numbers, texts and switches are given where the target wants them.

    Raises:
        TypeError: for the first that is another.
    """
    function = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):  # names for the type checker alone
        return
    for name, value in arguments.items():
        if not _fits(value, hints.get(name)):
            raise TypeError(f"{name}={shorten(repr(value))} is not {_words(hints[name])}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type of ``PLAIN``, or a list of such; others are not judged."""
    if isinstance(hint, UnionType):
        return any(_fits(value, kind) for kind in get_args(hint))
    if get_origin(hint) in LISTS:
        kind = get_args(hint)[0]
        return isinstance(value, list | tuple) and all(_fits(item, kind) for item in value)
    if not isinstance(hint, type) or hint not in PLAIN:
        return True
    return isinstance(value, PLAIN[hint][0]) and (hint is bool or not isinstance(value, bool))


def _words(hint: Any) -> str:
    if isinstance(hint, UnionType):
        return " or ".join(map(_words, get_args(hint)))
    if get_origin(hint) in LISTS:
        return f"a list, each of it {_words(get_args(hint)[0])}"
    return PLAIN[hint][1] if hint in PLAIN else "what it takes"


def _target(config: Any) -> Any:
    if not isinstance(config, Mapping):
        raise UserError(f"the configuration is damaged: {config!r} is not a group")
    return config.get("_target_")


def _value(node: Any) -> Any:
    if isinstance(node, Mapping):
        if "_target_" in node:
            return make(node)
        return {key: _value(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_value(value) for value in node]
    if isinstance(node, int) and abs(node) > LARGE:
        raise UserError(f"the configuration is damaged: no model has a size of {shorten(node)}")
    return node


def _find(target: Any) -> Callable[..., Any]:
    """Find a function or class by its path; a path through our modules into others is rejected."""
    if isinstance(target, str) and target.startswith(_ALLOWED):
        module, _, name = target.rpartition(".")
        try:
            found: Any = getattr(importlib.import_module(module), name, None)
        except (ImportError, ValueError):
            found = None
        own = target == f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
        if own and (isinstance(found, type) or not target.startswith(_CLASSES_ONLY)):
            return found
    raise UserError(
        f"the configuration asks for {target!r}, which is not part of wavediff's models: "
        "use this checkpoint only if you trust its source"
    )


def build_task(config: Mapping[str, Any], weights: int | None = None) -> Task:
    """Build the task that ``config`` describes, with newly initialised weights.

    Args:
        config: plain, resolved configuration with the ``groups`` of the task's class; other
            groups are ignored.
        weights: number of weights in the checkpoint; a network of more than twice as many is
            rejected before its memory is allocated.

    Raises:
        UserError: for a group that is missing or cannot be built.
    """
    if not isinstance(config, Mapping):
        raise UserError("the configuration is damaged: it has no groups")
    config = current(config)
    kind = _task_class(config)
    needed = kind.groups
    missing = [group for group in needed if group not in config]
    if missing:
        raise UserError(f"the configuration lacks {', '.join(missing)}")
    optional = [group for group in OPTIONAL if "representation" in needed and config.get(group)]
    config = {group: config[group] for group in (*needed, *optional)}
    parts, local, channels = {}, {}, 1  # a network without a representation sees the audio itself
    if "mel" in config:
        parts["mel"] = make(config["mel"])
    if "representation" in config:
        parts["representation"] = make(config["representation"], **parts)
        channels = parts["representation"].channels
    if "mel" in config:
        local = _local(parts["mel"], parts["representation"])
    with _at_most(weights, config["network"]):
        parts["network"] = make(config["network"], **(local | kind.network_arguments(channels)))
    whole = in_full(config)
    for group in config.keys() - {"task", *parts}:
        parts[group] = make(whole[group])
    for group, part in parts.items():
        if group in KINDS and not isinstance(part, KINDS[group]):
            raise UserError(f"{shorten(whole[group].get('_target_'))} is no {group}")
    task = make(config["task"], **parts)
    task.config = config
    return task


@contextmanager
def _at_most(weights: int | None, network: Mapping[str, Any]) -> Iterator[None]:
    """Limit the modules of ``network`` built in the block to twice as many ``weights``.

    They are counted before they are initialised, which is what allocates the memory.

    Raises:
        UserError: for more weights, or sizes far beyond them; never where ``weights`` is None.
    """
    asked = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal asked
        asked += 0 if parameter is None else parameter.numel()
        if weights is not None and asked > 2 * weights:
            raise UserError(f"its configuration asks for {asked} weights and more, not {weights}")

    sizes = network.values() if isinstance(network, Mapping) else ()
    if weights is not None and any(
        isinstance(size, int) and size > max(weights, LARGE) for size in sizes
    ):
        raise UserError(f"its network has sizes far beyond the {weights} weights of the checkpoint")
    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def completed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """``config`` with what its task derives from the data, such as the number of variables."""
    return _task_class(current(config)).complete(config)


def _task_class(config: Mapping[str, Any]) -> type[Task]:
    if "task" not in config:
        raise UserError("the configuration lacks task")
    kind: Any = _find(_target(config["task"]))
    try:
        _ = kind.groups, kind.network_arguments, kind.complete
    except AttributeError:  # another class of the package
        raise UserError(f"{config['task']['_target_']} is not a task") from None
    return kind


def _local(mel: Any, representation: Any) -> dict[str, int]:
    """Arguments of the network that depend on the mel."""
    if mel.hop_length % representation.hop_length:
        raise UserError(
            f"the mel's hop_length, {mel.hop_length}, must be a multiple of the representation's, "
            f"{representation.hop_length}"
        )
    if representation.extra:
        raise UserError(
            f"{type(representation).__name__} has other frames than a mel: leave the mel out, or "
            "give another representation"
        )
    upsample = mel.hop_length // representation.hop_length
    return {"local_channels": mel.n_mels, "upsample": upsample}
