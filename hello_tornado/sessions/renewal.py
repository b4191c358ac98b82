"""What kind of new id a session gets when it is committed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Renewal:
    """A new id at commit. `restart` also starts the absolute timeout anew."""

    restart: bool = False
    new_handle: bool = False

    def __or__(self, other: "Renewal | None") -> "Renewal":
        if other is None:
            return self
        return Renewal(self.restart or other.restart, self.new_handle or other.new_handle)
