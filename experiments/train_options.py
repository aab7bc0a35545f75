"""Options of ``attend train``: a preset's recipe and the run's own, made into a command line."""

from __future__ import annotations

import dataclasses
from dataclasses import fields, make_dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from experiments.presets import Preset, SqairPreset

# What a resumed run may change: how it is computed, not what.
RESUMABLE = {"resume", "device", "threads", "max_minutes", "workers", "cuda_graphs"}


def recipe_of(preset: Preset | SqairPreset) -> ModuleType:
    """How a preset's family is trained: its options, batches, validation and pictures."""
    from experiments import hart_recipe, sqair_recipe
    from experiments.presets import SqairPreset

    return sqair_recipe if isinstance(preset, SqairPreset) else hart_recipe


def parse(
    name: str, preset: Preset | SqairPreset, argv: list[str]
) -> tuple[Any, Preset | SqairPreset]:
    """Options, and the preset with its overrides; a resumed run's are in its ``config.json``.

    Raises:
        ValueError: a resumed run is of another preset, or what it may not change is given.
    """
    import tyro

    from experiments import runs

    bare = tyro.conf.arg(name="")
    options = recipe_of(preset).TrainOptions
    recipe = [field for field in fields(preset) if field.name != "about"]
    kinds = [("options", Annotated[options, bare])]
    for field in recipe:
        kind = type(getattr(preset, field.name))
        kinds.append((field.name, Annotated[kind, bare] if field.name == "trainer" else kind))
    command = make_dataclass("Command", kinds, frozen=True)
    defaults = {field.name: getattr(preset, field.name) for field in recipe}
    words = {"prog": f"attend train {name}", "description": f"Train {name}: {preset.about}."}
    start = command(options=options(), **defaults)
    given = tyro.cli(command, args=argv, default=start, **words)
    if given.options.resume:
        record = runs.read_config(given.options.resume)
        if record["preset"] != name:
            raise ValueError(
                f"--resume {given.options.resume} is a run of {record['preset']}, not {name}"
            )
        kept = rebuild(start, record["config"])
        given = tyro.cli(command, args=argv, default=kept, **words)
        changed = _changes(kept, given) - RESUMABLE
        if changed:
            raise ValueError(f"a resumed run cannot change {', '.join(sorted(changed))}")
    values = {field.name: getattr(given, field.name) for field in recipe}
    return given.options, dataclasses.replace(preset, **values)


def rebuild(like: Any, values: dict[str, Any]) -> Any:
    """The dataclass that ``runs.plain`` turned into ``values``.

    Args:
        like: a dataclass of that kind, nested or not; gives what ``values`` does not hold.
        values: nested dicts of plain values.
    """
    changes = {}
    for field in fields(like):
        old, new = getattr(like, field.name), values.get(field.name)
        if dataclasses.is_dataclass(old):
            changes[field.name] = rebuild(old, new or {})
        elif field.name in values:
            infinite = new is None and isinstance(old, float)  # JSON has no infinity
            changes[field.name] = old if infinite else tuple(new) if isinstance(new, list) else new
    return dataclasses.replace(like, **changes)


def _changes(a: Any, b: Any) -> set[str]:
    """Names of the fields in which two nested dataclasses of a kind differ."""
    names = set()
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if dataclasses.is_dataclass(x):
            names |= _changes(x, y)
        elif x != y:
            names.add(field.name)
    return names
