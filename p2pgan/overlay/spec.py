"""The text that names a family of overlays and its parameters: `family`, `family:A`, `family:A,B`.

Values are read one by one by the family's builder, which knows their ranges; every error names the
whole specification and the number of nodes, since a value is often wrong only for that number.
"""

from dataclasses import dataclass

from p2pgan.errors import OverlayError


@dataclass(frozen=True)
class Spec:
    """A specification for a number of nodes."""

    text: str
    nodes: int

    @property
    def family(self) -> str:
        """What stands before the colon."""
        return self.text.partition(":")[0].strip()

    @property
    def arguments(self) -> tuple[str, ...]:
        """What stands behind the colon, split at commas."""
        _, colon, rest = self.text.partition(":")
        return tuple(value.strip() for value in rest.split(",")) if colon else ()

    @property
    def at(self) -> str:
        """The place of errors."""
        return f"overlay `{self.text}` of {self.nodes} node" + ("s" if self.nodes != 1 else "")

    def error(self, expected: str, got: object, hint: str = "") -> OverlayError:
        """An error at this specification, for the caller to raise."""
        return OverlayError(expected=expected, got=f"`{got}`", at=self.at, hint=hint)

    def check_count(self, parameters: tuple[str, ...]) -> None:
        """
        Raises:
            OverlayError: if there are more values than the family has parameters.
        """
        if len(self.arguments) > len(parameters):
            form = self.family + (":" + ",".join(parameters) if parameters else " alone")
            raise self.error(f"`{form}`" if parameters else form, self.text)

    def whole(self, position: int, name: str, *, least: int, most: int) -> int | None:
        """The value at `position` as a whole number in a range; `None` if it is not given.

        Raises:
            OverlayError: if it is something else.
        """
        if position >= len(self.arguments):
            return None
        text = self.arguments[position]
        # Signs, underscores and other scripts' digits are more likely slips than numbers.
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
        if value is None or not least <= value <= most:
            raise self.error(f"{name}, a whole number {_range(least, most)}", text)
        return value

    def probability(self, position: int, name: str) -> float | None:
        """The value at `position` as a number from 0 to 1; `None` if it is not given.

        Raises:
            OverlayError: if it is something else.
        """
        if position >= len(self.arguments):
            return None
        try:
            value = float(self.arguments[position])
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise self.error(f"{name}, a number from 0 to 1", self.arguments[position])
        return value


def _range(least: int, most: int) -> str:
    if most < least:
        return f"of at least {least}, which so few nodes do not allow"
    return f"from {least} to {most}" if most > least else f"equal to {least}"
