"""The dashboard: one client of a gateway, and what is made of its stream."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import reactivex as rx
from reactivex import GroupedObservable, Observable, abc
from reactivex import operators as ops
from reactivex.subject import Subject

from rxplus import RxWSClient

__all__ = ["Alarm", "Dashboard", "Reading"]


@dataclass(frozen=True)
class Reading:
    """What a device measured."""

    device: str
    temperature: float


@dataclass(frozen=True)
class Alarm:
    """What is wrong with a device, or no longer wrong."""

    device: str
    kind: Literal["hot", "cool again", "silent"]


class Dashboard:
    """Watches the devices behind a gateway.

    Args:
        conn_cfg: where the gateway is.
        limit: degrees above which a device is too hot.
        silent_after: seconds after which a device that says nothing is silent.
        scheduler: what tells the time; ``None``: Rx chooses.
        **options: for the :class:`rxplus.RxWSClient`.
    """

    def __init__(
        self,
        conn_cfg: Any,
        *,
        limit: float = 80.0,
        silent_after: float = 10.0,
        scheduler: abc.SchedulerBase | None = None,
        **options: Any,
    ) -> None:
        # Orders wait for the gateway, should it be away.
        self._client = RxWSClient(conn_cfg, "json", buffer_while_disconnected=True, **options)
        self._closed: Subject[None] = Subject()
        self._limit = limit
        self._silent_after = silent_after
        self._scheduler = scheduler

    @property
    def readings(self) -> Observable[Reading]:
        """What devices measure; messages of other kinds are left out."""
        return self._client.pipe(ops.filter(_is_reading), ops.map(_read))

    @property
    def alarms(self) -> Observable[Alarm]:
        """What is wrong, device by device."""
        devices: Observable[GroupedObservable[str, Reading]] = self.readings.pipe(
            ops.group_by(_device_of)
        )
        return rx.merge(
            devices.pipe(ops.flat_map(self._heat)),
            devices.pipe(ops.flat_map(self._silence)),
        ).pipe(ops.take_until(self._closed))

    @property
    def online(self) -> Observable[bool]:
        """Whether there is a connection: now, and at each change."""
        return self._client.connection_state.pipe(
            ops.map(lambda state: state == "connected"), ops.distinct_until_changed()
        )

    def set_fan(self, device: str, *, on: bool) -> None:
        """Turn the fan of a device on or off, as soon as there is a connection."""
        self._client.on_next({"order": "fan", "device": device, "on": on})

    def close(self) -> None:
        """Stop watching."""
        self._closed.on_next(None)
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _heat(self, device: GroupedObservable[str, Reading]) -> Observable[Alarm]:
        """Tell each time that a device gets too hot, or is so no longer."""
        hot: Observable[bool] = device.pipe(
            ops.map(self._is_hot),
            ops.start_with(False),
            ops.distinct_until_changed(),
        )
        return hot.pipe(
            ops.skip(1),
            ops.map(lambda hot: Alarm(device.key, "hot" if hot else "cool again")),
        )

    def _is_hot(self, reading: Reading) -> bool:
        return reading.temperature > self._limit

    def _silence(self, device: GroupedObservable[str, Reading]) -> Observable[Alarm]:
        """Tell when nothing has been heard of a device for some time."""
        silence = rx.timer(self._silent_after, scheduler=self._scheduler)
        return device.pipe(
            ops.map(lambda _: silence),
            ops.switch_latest(),
            ops.map(lambda _: Alarm(device.key, "silent")),
        )


def _is_reading(message: Any) -> bool:
    match message:
        case {"device": str(), "temperature": int() | float()}:
            return True
    return False


def _read(message: Any) -> Reading:
    return Reading(message["device"], float(message["temperature"]))


def _device_of(reading: Reading) -> str:
    return reading.device
