"""lykta.toml, parsed once into frozen data. A setting exists only if somebody changes it; everything else is a constant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from privacy.errors import ConfigError, RecordError
from privacy.files import read_own
from privacy.foreign import printable, toml
from privacy.records.basis import Hours, Label, Profile

Port = Annotated[int, Meta(ge=1, le=65535)]
Pin = Annotated[int, Meta(ge=0, le=27)]


class Node(Struct, frozen=True, forbid_unknown_fields=True):
    site: Label
    id: Label
    area: Annotated[str, Meta(min_length=1, max_length=63)]


class Camera(Struct, frozen=True, forbid_unknown_fields=True):
    """source "file" plays `file` in a loop as if it were a camera: for demo, tests and acceptance on site.

    number    index of the camera in `rpicam-hello --list-cameras`; required if there are several
    rotation  degrees: 180 if mounted upside down; the sensor cannot do quarter turns
    noiseless  the file may repeat the same picture (colour bars, a still): no `camera_frozen`; refused for a real camera
    dark_minutes  in assessed hours, darkness in which nobody could be seen makes the node `blind: too_dark` after so many minutes:
                  at a stop that is lit it is a fault, of a lamp or by a cover on the lens. Five, as a sodium lamp is bright again
                  some minutes after a loss of power (a rule of thumb, not measured). 0: an unlit stop, which stays `degraded`
    """

    source: Literal["picamera2", "file"] = "picamera2"
    file: str = ""
    number: Annotated[int, Meta(ge=0, le=7)] | None = None
    rotation: Literal[0, 180] = 0
    noiseless: bool = False
    dark_minutes: Annotated[int, Meta(ge=0, le=120)] = 5
    width: Annotated[int, Meta(ge=320, le=1920, multiple_of=2)] = 1280
    height: Annotated[int, Meta(ge=180, le=1080, multiple_of=2)] = 720
    fps: Annotated[int, Meta(ge=5, le=30)] = 15
    bitrate: Annotated[int, Meta(ge=100_000, le=8_000_000)] = 1_000_000


class Mask(Struct, frozen=True, forbid_unknown_fields=True):
    profile: Profile = "standard"
    stack: Literal["rtmdet-nano+yolox-nano+yunet", "yolox-nano+yunet", "nanodet-g+centerface"] = "yolox-nano+yunet"
    threads: Annotated[int, Meta(ge=1, le=4)] = 1


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds; the quota is in megabytes, and a share of the disk at most.

    mode   "events" films clips when something happens, "always" also routine ones in between
    """

    mode: Literal["events", "always"] = "events"
    pre_roll: Annotated[int, Meta(ge=0, le=10)] = 10
    post_roll: Annotated[int, Meta(ge=1, le=60)] = 5
    longest: Annotated[int, Meta(ge=10, le=600)] = 60
    quota_mb: Annotated[int, Meta(ge=10)] = 4000
    quota_share: Annotated[float, Meta(ge=0.05, le=0.95)] = 0.8


class Pins(Struct, frozen=True, forbid_unknown_fields=True):
    """BCM pin numbers (lines of the chip); without a number a part is not fitted, and not reported.

    factory "mock" is the fake that ships; its inputs are set through `lykta`'s control socket.

    service_button  inside the cabinet: holding it for 5 s is journalled, as proof that somebody was on site
    light           the stop's own light; light_current: an input that is closed while current flows through it
    ir_light        lit while the camera films in the dark
    tamper, door    switches that are closed in the normal state
    light_sensor    closed while it is dark; motion: closed while something moves
    status_led      the node's state, as blink codes; fan: cools the board
    """

    factory: Literal["gpio", "mock"] = "gpio"
    chip: Annotated[str, Meta(pattern=r"^/dev/gpiochip[0-9]+$")] = "/dev/gpiochip0"
    help_button: Pin = 17
    help_lamp: Pin = 27
    service_button: Pin | None = None
    light: Pin | None = None
    light_current: Pin | None = None
    ir_light: Pin | None = None
    tamper: Pin | None = None
    door: Pin | None = None
    light_sensor: Pin | None = None
    motion: Pin | None = None
    status_led: Pin | None = None
    fan: Pin | None = None


def fitted(pins: Pins) -> tuple[str, ...]:
    """Names of the fitted parts: every sensor in use is declared (R15)."""
    values = msgspec.structs.asdict(pins)
    return tuple(name.replace("_", " ") for name, line in values.items() if name not in ("factory", "chip") and line is not None)


class Light(Struct, frozen=True, forbid_unknown_fields=True):
    """When the stop's light is lit: in these hours, written as in the basis, while it is dark if there is a light sensor.

    presence_s  seconds after motion or a waiting person, also outside the hours while dark; 0: never
    """

    hours: Annotated[tuple[Hours, ...], Meta(max_length=14)] = ()
    presence_s: Annotated[int, Meta(ge=0, le=3600)] = 120


class Modem(Struct, frozen=True, forbid_unknown_fields=True):
    """How the modem is power-cycled when the link is dead: a port of a USB hub with power switching ("1-1.2"), or a pin."""

    power: Literal["none", "usb", "gpio"] = "none"
    usb_port: Annotated[str, Meta(pattern=r"^([0-9]+-[0-9]+(\.[0-9]+)*)?$")] = ""
    pin: Pin | None = None


class Broker(Struct, frozen=True, forbid_unknown_fields=True):
    host: str
    port: Port = 8883


class Ingest(Struct, frozen=True, forbid_unknown_fields=True):
    host: str
    port: Port = 8443


class Upload(Struct, frozen=True, forbid_unknown_fields=True):
    """Which clips are uploaded, and the limits of the link.

    what           events: all but routine ones; a clip that an order exports is always sent
    hours          local time for what is not urgent, written as in the basis; none: at any time
    kbit_s         of the uploads together; 0: no limit
    budget_mb_day  limit a day on a metered link, which help ignores; 0: none
    """

    what: Literal["events", "help", "all", "nothing"] = "events"
    hours: Annotated[tuple[Hours, ...], Meta(max_length=14)] = ()
    kbit_s: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    budget_mb_day: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class Clock(Struct, frozen=True, forbid_unknown_fields=True):
    """Source that makes the time trusted (R07): systemd-timesyncd's mark, a real-time clock, or the host that runs this node."""

    trust: Literal["timesync", "rtc", "host"] = "timesync"


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    node: Node
    broker: Broker
    ingest: Ingest
    camera: Camera = field(default_factory=Camera)
    mask: Mask = field(default_factory=Mask)
    record: Record = field(default_factory=Record)
    pins: Pins = field(default_factory=Pins)
    light: Light = field(default_factory=Light)
    modem: Modem = field(default_factory=Modem)
    upload: Upload = field(default_factory=Upload)
    clock: Clock = field(default_factory=Clock)


_NOISE = "every sensor has noise: a picture that repeats itself is a fault"


def parse(text: str, name: str = "lykta.toml") -> Config:
    """Config from TOML; an unknown key, wrong type or bad value raises `ConfigError` with field, rule and value."""
    return build(tree(text, name), name)


def tree(text: str, name: str = "lykta.toml") -> dict[str, Any]:
    """The parsed TOML, by section, before validation."""
    try:
        return toml(text, name)
    except RecordError as problem:
        raise ConfigError(str(problem), "correct the line it names") from problem


def build(data: dict[str, Any], name: str) -> Config:
    """Config from sections; `ConfigError` as `parse`."""
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as problem:
        raise ConfigError(f"{name}: {_explain(str(problem), data)}", "`lykta config schema` lists every setting") from problem
    if config.camera.source == "file" and not config.camera.file:
        raise ConfigError(f'{name}: camera.file: must be set when camera.source is "file" (got "")', "name a video file")
    if config.camera.source == "picamera2" and config.camera.noiseless:
        raise ConfigError(f'{name}: camera.noiseless: must be false when camera.source is "picamera2" (got true)', _NOISE)
    _check_modem(config, name)
    return config


def _check_modem(config: Config, name: str) -> None:
    """The device that switches must be given, and a pin may have only one use."""
    modem, lines = config.modem, msgspec.structs.asdict(config.pins)
    if modem.power == "usb" and not modem.usb_port:
        raise ConfigError(f'{name}: modem.usb_port: must be set when modem.power is "usb" (got "")', 'for instance "1-1.2"')
    if modem.power == "gpio" and modem.pin is None:
        raise ConfigError(f'{name}: modem.pin: must be set when modem.power is "gpio" (got none)', "see the wiring plan")
    for part, line in lines.items():
        if modem.pin is not None and line == modem.pin:
            raise ConfigError(f"{name}: modem.pin and pins.{part}: must differ (got {line} twice)", "see the wiring plan")


def load(path: Path) -> Config:
    """Load one file; the settings in force are `agent.runtime.settings_in_force.effective`."""
    return parse(read(path), path.name)


def read(path: Path) -> str:
    try:
        return read_own(path).decode()
    except FileNotFoundError as problem:
        raise ConfigError(f"{path}: no such file", "write it, or take the one of the node's bundle") from problem
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{path}: not UTF-8 text", "write it again") from problem
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror}", "may this user read it? check the disk") from problem


def schema() -> dict[str, Any]:
    """JSON Schema of lykta.toml."""
    return msgspec.json.schema(Config)


def _explain(problem: str, data: dict[str, Any]) -> str:
    """msgspec says "rule - at `$.a.b`"; operators want "a.b: rule (got value)"."""
    rule, _, where = problem.partition(" - at `$")
    path = re.findall(r"[^.\[\]]+", where.rstrip("`"))
    if "unknown field" in rule:
        return f"{'.'.join([*path, rule.split('`')[1]])}: unknown key"
    value: Any = data
    for step in path:
        value = _inside(value, step)
    rule = rule[0].lower() + rule[1:]
    return f"{'.'.join(path) or 'file'}: {rule}" + (f" (got {printable(repr(value))})" if path else "")


def _inside(value: Any, step: str) -> Any:
    if isinstance(value, list) and step.isdecimal():
        return value[int(step)]
    return value.get(step) if isinstance(value, dict) else None
