"""The texts of virtual time: how a quantity is spread over machines, connections and messages.

    0.05                  a number, always the same
    uniform:0.01,0.2      anything between two numbers
    lognormal:0.05,0.5    around a median; SIGMA is the standard deviation of the logarithm

Some keys know more forms, such as `overlay` or `file:PATH`. Every parser raises one `ConfigError`
that names the key, the forms or the range, and the whole text.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from p2pgan.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

SIGMA_MAX: Final = 5.0
"""Of a log-normal distribution: the largest of a thousand draws is then some ten million times the
median, and more is likelier a slip."""

SHARES_SUM_SLACK: Final = 1e-6
"""By which the shares of classes may miss 1, so that three times 0.333333 is a whole."""


@dataclass(frozen=True)
class Constant:
    """Always the same value."""

    value: float

    @property
    def mean(self) -> float:
        """Of many draws."""
        return self.value

    def draw(self, rng: "np.random.Generator") -> float:
        """The value; nothing is drawn."""
        del rng
        return self.value


@dataclass(frozen=True)
class Uniform:
    """Every value of a range as likely as the others."""

    low: float
    high: float

    @property
    def mean(self) -> float:
        """Of many draws."""
        return (self.low + self.high) / 2

    def draw(self, rng: "np.random.Generator") -> float:
        """One value."""
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class LogNormal:
    """The exponential of a normal distribution: most near the median, some many times as large."""

    median: float
    sigma: float

    @classmethod
    def of_mean(cls, mean: float, sigma: float) -> "LogNormal":
        """The one with that mean, which is `exp(σ²/2)` medians."""
        return cls(mean / math.exp(sigma**2 / 2), sigma)

    @property
    def mean(self) -> float:
        """Of many draws."""
        return self.median * math.exp(self.sigma**2 / 2)

    def draw(self, rng: "np.random.Generator") -> float:
        """One value."""
        return self.median * math.exp(self.sigma * float(rng.standard_normal()))


Distribution = Constant | Uniform | LogNormal
"""What has a `mean`, and draws values from a generator."""


@dataclass(frozen=True)
class Classes:
    """Kinds of machines: the share of each among the nodes, and its speed."""

    shares: tuple[float, ...]
    speeds: tuple[float, ...]


@dataclass(frozen=True)
class Home:
    """A machine's own line, in Mbit/s: everything that comes, and everything that goes."""

    down_mbps: float
    up_mbps: float


@dataclass(frozen=True)
class Sessions:
    """For how long a machine is on and off, in turns."""

    on_s: LogNormal
    off_s: LogNormal


@dataclass(frozen=True)
class PerEdge:
    """The overlay's edges say it."""


@dataclass(frozen=True)
class Table:
    """A CSV file says it."""

    path: str


UNLIMITED: Final = Constant(math.inf)
"""The bandwidth of connections that take no time."""


def latency(text: str, key: str) -> Distribution | PerEdge:
    """Seconds that a message takes.

    Args:
        text: a number, `uniform:FROM,TO`, `lognormal:MEDIAN,SIGMA` or `overlay`.
        key: whose value it is.
    Raises:
        ConfigError: for anything else, or less than 0.
    """
    given = _Given(
        text, key, "a number, `uniform:FROM,TO`, `lognormal:MEDIAN,SIGMA` or `overlay`, in seconds"
    )
    return PerEdge() if given.is_word("overlay") else given.distribution(may_be_zero=True)


def bandwidth(text: str, key: str) -> Distribution | PerEdge | Home:
    """Mbit/s of a connection, or of a machine.

    Args:
        text: `unlimited`, a number, `uniform:FROM,TO`, `lognormal:MEDIAN,SIGMA`, `home:DOWN,UP` or
            `overlay`.
        key: whose value it is.
    Raises:
        ConfigError: for anything else, or 0 and less.
    """
    given = _Given(
        text,
        key,
        "`unlimited`, a number, `uniform:FROM,TO`, `lognormal:MEDIAN,SIGMA`, `home:DOWN,UP` or "
        "`overlay`, in Mbit/s",
    )
    if given.is_word("unlimited"):
        return UNLIMITED
    if given.is_word("overlay"):
        return PerEdge()
    if given.form == "home":
        down, up = given.numbers("DOWN", "UP")
        given.check(min(down, up) > 0, "`home:DOWN,UP` with two numbers above 0")
        return Home(down, up)
    return given.distribution(may_be_zero=False)


def speeds(text: str, key: str) -> Constant | LogNormal | Classes | Table:
    """How many times as fast as a machine of speed 1 a machine is.

    Args:
        text: `equal`, `lognormal:SIGMA`, `classes:SHARExSPEED,…` or `file:PATH`.
        key: whose value it is.
    Raises:
        ConfigError: for anything else, or speeds and shares of 0 and less.
    """
    given = _Given(text, key, "`equal`, `lognormal:SIGMA`, `classes:SHARExSPEED,…` or `file:PATH`")
    match given.form:
        case "lognormal":
            (sigma,) = given.numbers("SIGMA")
            given.check_sigma(sigma)
            return LogNormal(1.0, sigma)
        case "classes":
            return _classes(given)
        case "file":
            return given.table()
    given.check(given.is_word("equal"), given.forms)
    return Constant(1.0)


def sessions(text: str, key: str) -> Sessions | Table | None:
    """When machines are on; `None`: always.

    Args:
        text: `none`, `lognormal:MEAN_S,SIGMA,OFF_S` or `file:PATH`.
        key: whose value it is.
    Raises:
        ConfigError: for anything else, or times of 0 and less.
    """
    given = _Given(text, key, "`none`, `lognormal:MEAN_S,SIGMA,OFF_S` or `file:PATH`")
    match given.form:
        case "lognormal":
            on_s, sigma, off_s = given.numbers("MEAN_S", "SIGMA", "OFF_S")
            given.check(min(on_s, off_s) > 0, "a `MEAN_S` and an `OFF_S` above 0")
            given.check_sigma(sigma)
            return Sessions(LogNormal.of_mean(on_s, sigma), LogNormal.of_mean(off_s, sigma))
        case "file":
            return given.table()
    given.check(given.is_word("none"), given.forms)
    return None


def number(text: str) -> float | None:
    """A finite number; `None` if the text is none."""
    # Underscores and other scripts' digits are more likely slips than numbers.
    if not text.isascii() or "_" in text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class _Given:
    """A text that came for a key, and the forms that it may have."""

    text: str
    key: str
    forms: str

    @property
    def form(self) -> str:
        """What stands before the colon; empty without one."""
        form, colon, _ = self.text.partition(":")
        return form.strip() if colon else ""

    @property
    def rest(self) -> str:
        """What stands behind the colon."""
        return self.text.partition(":")[2].strip()

    @property
    def values(self) -> list[str]:
        """What stands behind the colon, split at commas."""
        return [value.strip() for value in self.rest.split(",")]

    def is_word(self, word: str) -> bool:
        return self.text.strip() == word

    def check(self, ok: bool, expected: str) -> None:
        if not ok:
            raise ConfigError(expected=expected, got=f"`{self.text}`", at=self.key)

    def check_sigma(self, sigma: float) -> None:
        self.check(0 <= sigma <= SIGMA_MAX, f"a `SIGMA` from 0 to {SIGMA_MAX:g}")

    def numbers(self, *names: str) -> list[float]:
        """The values behind the colon, one for each name."""
        found = [value for value in map(number, self.values) if value is not None]
        complete = len(found) == len(self.values) == len(names)
        what = "a number" if len(names) == 1 else f"{len(names)} numbers"
        self.check(complete, f"`{self.form}:{','.join(names)}` with {what}")
        return found

    def distribution(self, *, may_be_zero: bool) -> Distribution:
        """A number, `uniform:FROM,TO` or `lognormal:MEDIAN,SIGMA`."""
        least = "of 0 or more" if may_be_zero else "above 0"
        match self.form:
            case "uniform":
                low, high = self.numbers("FROM", "TO")
                self.check(low <= high, "`uniform:FROM,TO` with `FROM` no larger than `TO`")
                self.check(low > 0 or (may_be_zero and low == 0), f"a `FROM` {least}")
                return Uniform(low, high)
            case "lognormal":
                median, sigma = self.numbers("MEDIAN", "SIGMA")
                self.check(median > 0, "a `MEDIAN` above 0")
                self.check_sigma(sigma)
                return LogNormal(median, sigma)
        value = number(self.text)
        if value is None:
            raise ConfigError(expected=self.forms, got=f"`{self.text}`", at=self.key)
        self.check(value > 0 or (may_be_zero and value == 0), f"a number {least}")
        return Constant(value)

    def table(self) -> Table:
        """The file behind the colon."""
        self.check(bool(self.rest), "`file:PATH` with a path")
        return Table(self.rest)


def _classes(given: _Given) -> Classes:
    pairs = [[number(part.strip()) for part in value.split("x")] for value in given.values]
    found = [[part for part in pair if part is not None and part > 0] for pair in pairs]
    complete = all(len(pair) == len(kept) == 2 for pair, kept in zip(pairs, found, strict=True))
    given.check(complete, "`classes:SHARExSPEED,…` with shares and speeds above 0")
    shares, speeds = zip(*found, strict=True)
    total = math.fsum(shares)
    given.check(abs(total - 1) <= SHARES_SUM_SLACK, f"shares that sum to 1, not to {total:g}")
    return Classes(shares, speeds)
