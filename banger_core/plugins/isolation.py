"""Calls into plugins' code: whatever escapes is told apart from our own failures, and named."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from banger_core.contracts import Machine
from banger_core.errors import BangerError, PluginError
from banger_core.plugins.loading import told
from banger_core.store.content import no_space

if TYPE_CHECKING:
    from banger_core.contracts import Layer
    from banger_core.model import Entry
    from banger_core.plugins.record import PluginRecord

    Chunk = bytes | memoryview | int

T = TypeVar("T")


@contextmanager
def isolated(plugin: PluginRecord, where: str) -> Iterator[None]:
    """Turn what is no ``BangerError`` into a ``PluginError`` that names the plugin, and a full disk
    into ``NoSpace``.

    The traceback goes to the log ``banger.plugin.NAME``. Interruptions pass through.
    """
    try:
        yield
    except BangerError:
        raise
    except (Exception, SystemExit) as problem:
        raise _blamed(problem, plugin, where) from problem


def _blamed(problem: BaseException, plugin: PluginRecord, where: str) -> BangerError:
    if full := no_space(problem):
        # Nobody is to blame for that
        return full
    log = logging.getLogger(f"banger.plugin.{plugin.name}")
    log.error("%s failed in %s", plugin.label, where, exc_info=problem)
    return plugin_error(plugin, where, told(problem, plugin.module))


def plugin_error(plugin: PluginRecord, where: str, problem: str) -> PluginError:
    """Return the error that says that ``plugin`` failed in ``where``, with ``problem`` as cause."""
    return PluginError(plugin.name, plugin.distribution, plugin.version, where, problem)


def isolate(implementation: T, plugin: PluginRecord, where: str) -> T:
    """Return ``implementation`` with every call of its public methods ``isolated``.

    Coroutines, async iterators and context managers that they return are isolated too, and so
    are a ``Machine`` and the layers of an image, to the last byte. A function is wrapped as it is.
    """
    if inspect.isfunction(implementation):
        return cast("T", _guarded(implementation, plugin, where))
    return cast("T", _Isolated(implementation, plugin, where))


class _Isolated:
    """Stands for an implementation. Methods are attributes, so that Protocol checks find them."""

    def __init__(self, implementation: object, plugin: PluginRecord, where: str) -> None:
        self._isolated = implementation
        for name, _ in inspect.getmembers_static(type(implementation), callable):
            if not name.startswith("_"):
                method = getattr(implementation, name)
                setattr(self, name, _guarded(method, plugin, f"{where}.{name}"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._isolated, name)

    def __repr__(self) -> str:
        return f"<isolated {self._isolated!r}>"


def _guarded(function: Callable[..., Any], plugin: PluginRecord, where: str) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with isolated(plugin, where):
            result = function(*args, **kwargs)
        return _guard(result, plugin, where)

    return call


def _guard(result: Any, plugin: PluginRecord, where: str) -> Any:
    if inspect.iscoroutine(result):
        return _awaited(result, plugin, where)
    if isinstance(result, AsyncIterator):
        return _iterated(result, plugin, where)
    if isinstance(result, AbstractContextManager):
        return _entered(result, plugin, where)
    if isinstance(result, Machine):
        return isolate(result, plugin, where)
    return result


async def _awaited(coroutine: Any, plugin: PluginRecord, where: str) -> Any:
    with isolated(plugin, where):
        result = await coroutine
    return _guard(result, plugin, where)


async def _iterated(
    source: AsyncIterator[Any], plugin: PluginRecord, where: str
) -> AsyncIterator[Any]:
    async with contextlib.AsyncExitStack() as stack:
        if close := getattr(source, "aclose", None):
            stack.push_async_callback(close)
        while True:
            with isolated(plugin, where):
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    return
            yield item


@contextmanager
def _entered(
    manager: AbstractContextManager[Any], plugin: PluginRecord, where: str
) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        with isolated(plugin, where):
            inside = stack.enter_context(manager)
        yield _Layers(inside, plugin, where) if _is_iterable(inside) else inside


def _is_iterable(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


class _Layers:
    """The layers of an image. Those who read them get ours, which read the plugin's."""

    def __init__(self, layers: Iterable[Layer], plugin: PluginRecord, where: str) -> None:
        self._layers, self._plugin, self._where = layers, plugin, where

    def __iter__(self) -> Iterator[Layer]:
        with isolated(self._plugin, self._where):
            for layer in self._layers:
                yield _Layer(layer, self._plugin, self._where)


class _Layer:
    """One layer. There are tens of thousands of entries: a ``with`` for each would be felt."""

    def __init__(self, layer: Layer, plugin: PluginRecord, where: str) -> None:
        self._layer, self._plugin, self._where = layer, plugin, where
        with isolated(plugin, where):
            self.digest = layer.digest

    def entries(self) -> Iterator[Entry]:
        """The layer's entries; what they and their data raise names the plugin."""
        with isolated(self._plugin, self._where), contextlib.ExitStack() as stack:
            entries = self._layer.entries()
            if close := getattr(entries, "close", None):
                stack.callback(close)
            for entry in entries:
                if entry.data is not None:
                    entry.data = self._data(entry.data)
                yield entry

    def _data(self, data: Iterator[Chunk]) -> Iterator[Chunk]:
        try:
            yield from data
        except BangerError:
            raise
        except (Exception, SystemExit) as problem:
            raise _blamed(problem, self._plugin, self._where) from problem
